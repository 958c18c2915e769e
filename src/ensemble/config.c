#include "ensemble/config.h"

#include <limits.h>
#include <stdio.h>

/* --- properties: bytes to pairs. stock: java.util.Properties.load --- */

static bool config_is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\f';
}

static bool config_is_eol(uint8_t c) {
    return c == '\n' || c == '\r';
}

/*
 * Appends the next logical line to `line`: comments and blank lines skipped, continuations joined,
 * escapes still in place. False at the end of the text.
 *
 * stock: a line that begins with an escaped line end is still a new line, so that a comment mark
 * at the start of the next one makes a comment; after any other text it is part of the value.
 */
static bool config_line(struct slice *text, struct buf *line) {
    bool escaped = false, skip = true, joined = false;
    buf_clear(line);
    while (text->n) {
        uint8_t c = *text->p++;
        text->n--;
        if (skip) {
            if (config_is_blank(c) || (!joined && config_is_eol(c))) continue;
            skip = joined = false;
        }
        if (!buf_len(line) && (c == '#' || c == '!')) {
            for (; text->n && !config_is_eol(*text->p); text->p++) text->n--;
            skip = true;
        } else if (!config_is_eol(c)) {
            buf_putc(line, (char)c);
            escaped = c == '\\' && !escaped;
        } else if (!buf_len(line)) {
            skip = true;
        } else if (!escaped) {
            return true;
        } else {
            line->n--;
            if (!text->n) return true;
            skip = joined = true;
            escaped = false;
            if (c == '\r' && text->n && *text->p == '\n') {
                text->p++;
                text->n--;
            }
        }
    }
    if (!buf_len(line)) return false;
    if (escaped) line->n--;
    return true;
}

/* NUL takes two bytes, as in Java's modified UTF-8, so that C strings can hold every value. */
static void config_put_utf8(struct buf *out, uint32_t c) {
    if (c && c < 0x80) {
        buf_putc(out, (char)c);
    } else if (c < 0x800) {
        buf_putc(out, (char)(0xc0 | c >> 6));
        buf_putc(out, (char)(0x80 | (c & 63)));
    } else {
        if (c < 0x10000) {
            buf_putc(out, (char)(0xe0 | c >> 12));
        } else {
            buf_putc(out, (char)(0xf0 | c >> 18));
            buf_putc(out, (char)(0x80 | (c >> 12 & 63)));
        }
        buf_putc(out, (char)(0x80 | (c >> 6 & 63)));
        buf_putc(out, (char)(0x80 | (c & 63)));
    }
}

static int config_hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits of a \u escape; -1 when they are not there. */
static int config_hex4(struct slice s) {
    if (s.n < 4) return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int digit = config_hex_digit(s.p[i]);
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* The code point of an escape whose backslash is gone; -1 when it is malformed. */
static int config_escape(struct slice *in) {
    uint8_t c = *in->p;
    *in = slice_of(in->p + 1, in->n - 1);
    if (c != 'u') return c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 'f' ? '\f' : c;
    int v = config_hex4(*in);
    if (v < 0) return -1;
    *in = slice_of(in->p + 4, in->n - 4);
    if (v < 0xd800 || v > 0xdbff || in->n < 6 || in->p[0] != '\\' || in->p[1] != 'u') return v;
    int low = config_hex4(slice_of(in->p + 2, 4));
    if (low < 0xdc00 || low > 0xdfff) return v;
    *in = slice_of(in->p + 6, in->n - 6);
    return 0x10000 + (v - 0xd800) * 0x400 + (low - 0xdc00);
}

/* Escapes resolved, Latin-1 to UTF-8, and trimmed: stock trims keys and values alike. */
static char *config_unescape(struct slice in) {
    struct buf out = {0};
    size_t end = 0;
    while (in.n) {
        int c = *in.p;
        in = slice_of(in.p + 1, in.n - 1);
        if (c == '\\' && in.n) c = config_escape(&in);
        if (c < 0) {
            buf_free(&out);
            return NULL;
        }
        if (c > ' ' || out.n) config_put_utf8(&out, (uint32_t)c);
        if (c > ' ') end = out.n;
    }
    out.n = end;
    buf_putc(&out, '\0');
    return (char *)out.p;
}

static uint32_t config_props_find(const struct config_props *p, const char *key) {
    struct map_iter it;
    uint32_t i = map_first(&p->index, slice_hash(slice_str(key), 0), &it);
    while (i != MAP_NONE && strcmp(p->at[i].key, key) != 0) i = map_next(&p->index, &it);
    return i;
}

/* Takes both strings; a key that is there already gets the new value. */
static void config_props_put(struct config_props *p, char *key, char *value) {
    uint32_t i = config_props_find(p, key);
    if (i != MAP_NONE) {
        mem_free(key);
        mem_free(p->at[i].value);
        p->at[i].value = value;
        return;
    }
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 32;
        p->at = mem_realloc(p->at, p->cap * sizeof *p->at);
    }
    p->at[p->n].key = key;
    p->at[p->n].value = value;
    map_add(&p->index, slice_hash(slice_str(key), 0), p->n++);
}

/* The key ends before the first unescaped separator; one = or : may stand among the blanks. */
static int config_props_line(struct config_props *p, struct slice line) {
    size_t key = 0, value;
    bool escaped = false;
    for (; key < line.n; key++) {
        uint8_t c = line.p[key];
        if (!escaped && (c == '=' || c == ':' || config_is_blank(c))) break;
        escaped = c == '\\' && !escaped;
    }
    for (value = key; value < line.n && config_is_blank(line.p[value]);) value++;
    if (value < line.n && (line.p[value] == '=' || line.p[value] == ':')) value++;
    while (value < line.n && config_is_blank(line.p[value])) value++;
    char *k = config_unescape(slice_of(line.p, key));
    char *v = config_unescape(slice_of(line.p + value, line.n - value));
    if (!k || !v) {
        mem_free(k);
        mem_free(v);
        return -1;
    }
    config_props_put(p, k, v);
    return 0;
}

ZK_PRIVATE int config_props_load(struct config_props *p, struct slice text) {
    struct buf line = {0};
    int rc = 0;
    memset(p, 0, sizeof *p);
    while (!rc && config_line(&text, &line)) rc = config_props_line(p, buf_slice(&line));
    buf_free(&line);
    return rc;
}

ZK_PRIVATE const char *config_props_get(const struct config_props *p, const char *key) {
    uint32_t i = config_props_find(p, key);
    return i == MAP_NONE ? NULL : p->at[i].value;
}

ZK_PRIVATE void config_props_free(struct config_props *p) {
    for (uint32_t i = 0; i < p->n; i++) {
        mem_free(p->at[i].key);
        mem_free(p->at[i].value);
    }
    mem_free(p->at);
    map_free(&p->index);
    memset(p, 0, sizeof *p);
}

/* --- numbers and words, as Java reads them --- */

static char config_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool config_is_word(const char *s, const char *word) {
    while (*s && config_lower(*s) == config_lower(*word)) s++, word++;
    return !*s && !*word;
}

/* Digits only, after the sign has been seen. */
static bool config_digits(const char *s, bool negative, int radix, int64_t *out) {
    uint64_t v = 0, max = (uint64_t)INT64_MAX + (negative ? 1u : 0u);
    if (!*s) return false;
    for (; *s; s++) {
        int digit = config_hex_digit((uint8_t)*s);
        if (digit < 0 || digit >= radix) return false;
        if (v > (max - (unsigned)digit) / (unsigned)radix) return false;
        v = v * (unsigned)radix + (unsigned)digit;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* Long.parseLong: an optional sign and digits, nothing else. */
static bool config_parse_number(const char *s, int radix, int64_t *out) {
    bool negative = *s == '-';
    return config_digits(s + (negative || *s == '+'), negative, radix, out);
}

/* Long.decode, which Long.getLong uses: also 0x, # and a leading 0 for octal. */
static bool config_decode_number(const char *s, int64_t *out) {
    bool negative = *s == '-';
    if (negative || *s == '+') s++;
    if (*s == '#') return config_digits(s + 1, negative, 16, out);
    if (*s != '0' || !s[1]) return config_digits(s, negative, 10, out);
    if (s[1] == 'x' || s[1] == 'X') return config_digits(s + 2, negative, 16, out);
    return config_digits(s + 1, negative, 8, out);
}

/* Decimal fractions, the part of Double.parseDouble that people write; strtod asks the locale. */
static bool config_parse_fraction(const char *s, double *out) {
    double v = 0, scale = 1;
    bool negative = *s == '-', digits = false;
    if (negative || *s == '+') s++;
    for (; *s >= '0' && *s <= '9'; s++, digits = true) v = v * 10 + (*s - '0');
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++, digits = true) {
            v = v * 10 + (*s - '0');
            scale *= 10;
        }
    if (*s == 'e' || *s == 'E') {
        int64_t e;
        if (!config_parse_number(s + 1, 10, &e) || e < -300 || e > 300) return false;
        for (; e > 0; e--) v *= 10;
        for (; e < 0; e++) scale *= 10;
        s += strlen(s);
    }
    if (!digits || *s) return false;
    *out = negative ? -v / scale : v / scale;
    return true;
}

static char *config_copy(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(mem_alloc(n), s, n);
}

static void config_set(char **field, const char *value) {
    char *copy = value ? config_copy(value) : NULL;
    mem_free(*field);
    *field = copy;
}

/* java.io.File: no repeated slashes, none at the end. */
static void config_set_path(char **field, const char *value) {
    char *s = config_copy(value), *to = s;
    for (const char *from = s; *from; from++)
        if (*from != '/' || to == s || to[-1] != '/') *to++ = *from;
    if (to - s > 1 && to[-1] == '/') to--;
    *to = '\0';
    mem_free(*field);
    *field = s;
}

static int config_fail(struct config *c, enum config_error kind, const char *fmt, ...)
    ZK_PRINTF(3, 4);

static int config_fail(struct config *c, enum config_error kind, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(c->error, sizeof c->error, fmt, ap);
    va_end(ap);
    c->error_kind = kind;
    return -1;
}

/* stock: NumberFormatException */
static int config_fail_number(struct config *c, const char *value, int radix) {
    return config_fail(c, CONFIG_ERROR_WRAPPED, "For input string: \"%s\"%s", value,
                       radix == 16 ? " under radix 16" : "");
}

/* --- the keys --- */

enum config_kind {
    /* typed keys, read strictly */
    CONFIG_INT,
    CONFIG_LONG,
    CONFIG_BOOL,
    CONFIG_TEXT,
    CONFIG_PATH,
    /* pass-through keys: what cannot be read leaves the default */
    CONFIG_GET_INT,
    CONFIG_GET_LONG,
    CONFIG_GET_DOUBLE,
    CONFIG_IS_TRUE,   /* true in any case */
    CONFIG_IS_YES,    /* exactly yes */
    CONFIG_IS_NOT_NO, /* anything but no */
    CONFIG_ANY        /* not looked at */
};

enum config_mark {
    CONFIG_OBEYED,   /* text: the default, NULL for none */
    CONFIG_ACCEPTED, /* has no effect that anybody could miss; text: why */
    CONFIG_UNBUILT,  /* has no effect, and should have; text: what is missing */
    CONFIG_REFUSED   /* text: what is missing */
};

/* A boolean that is not obeyed is reported only when it is true. A name may end in *. */
struct config_key {
    const char *name;
    enum config_kind kind;
    enum config_mark mark;
    size_t at; /* of the field, when obeyed */
    const char *text;
};

#define CONFIG_KEY(name, kind, field, text)                                                        \
    { name, kind, CONFIG_OBEYED, offsetof(struct config, field), text }
#define CONFIG_NO_TLS "TLS is not built in"
#define CONFIG_NO_SASL "SASL is not built in"
#define CONFIG_NO_ADMIN "the admin HTTP server is not built in"
#define CONFIG_JVM "there is no JVM"
#define CONFIG_THREADS "one thread serves all connections"
#define CONFIG_GROUP_COMMIT "a sync takes whatever has come while the one before it ran"
#define CONFIG_ALWAYS "it is always written"
#define CONFIG_ENSEMBLE "there is nothing here that it would set"

static const struct config_key config_typed_keys[] = {
    CONFIG_KEY("dataDir", CONFIG_PATH, data_dir, NULL),
    CONFIG_KEY("dataLogDir", CONFIG_PATH, data_log_dir, NULL),
    CONFIG_KEY("clientPort", CONFIG_INT, client_port, "-2147483648"),
    CONFIG_KEY("clientPortAddress", CONFIG_TEXT, client_port_address, NULL),
    CONFIG_KEY("secureClientPort", CONFIG_INT, secure_client_port, "-2147483648"),
    CONFIG_KEY("secureClientPortAddress", CONFIG_TEXT, secure_client_port_address, NULL),
    CONFIG_KEY("observerMasterPort", CONFIG_INT, observer_master_port, "0"),
    CONFIG_KEY("clientPortListenBacklog", CONFIG_INT, listen_backlog, "-1"),
    CONFIG_KEY("tickTime", CONFIG_INT, tick_time_ms, "3000"),
    CONFIG_KEY("maxClientCnxns", CONFIG_INT, max_client_cnxns, "60"),
    CONFIG_KEY("minSessionTimeout", CONFIG_INT, min_session_timeout_ms, "-1"),
    CONFIG_KEY("maxSessionTimeout", CONFIG_INT, max_session_timeout_ms, "-1"),
    CONFIG_KEY("initLimit", CONFIG_INT, init_limit, "0"),
    CONFIG_KEY("syncLimit", CONFIG_INT, sync_limit, "0"),
    CONFIG_KEY("connectToLearnerMasterLimit", CONFIG_INT, learner_master_limit, "0"),
    CONFIG_KEY("electionAlg", CONFIG_INT, election_alg, "3"),
    CONFIG_KEY("quorumListenOnAllIPs", CONFIG_BOOL, quorum_listen_on_all_ips, "false"),
    CONFIG_KEY("peerType", CONFIG_TEXT, peer_type, "participant"),
    CONFIG_KEY("syncEnabled", CONFIG_BOOL, sync_enabled, "true"),
    CONFIG_KEY("localSessionsEnabled", CONFIG_BOOL, local_sessions, "false"),
    CONFIG_KEY("localSessionsUpgradingEnabled", CONFIG_BOOL, local_sessions_upgrading, "false"),
    CONFIG_KEY("standaloneEnabled", CONFIG_BOOL, standalone_enabled, "true"),
    CONFIG_KEY("reconfigEnabled", CONFIG_BOOL, reconfig_enabled, "false"),
    CONFIG_KEY("dynamicConfigFile", CONFIG_TEXT, dynamic_config_file, NULL),
    CONFIG_KEY("autopurge.snapRetainCount", CONFIG_INT, autopurge_retain, "3"),
    CONFIG_KEY("autopurge.purgeInterval", CONFIG_INT, autopurge_interval_h, "0"),
    CONFIG_KEY("quorum.auth.enableSasl", CONFIG_BOOL, sasl_enabled, "false"),
    CONFIG_KEY("quorum.auth.serverRequireSasl", CONFIG_BOOL, sasl_server_required, "false"),
    CONFIG_KEY("quorum.auth.learnerRequireSasl", CONFIG_BOOL, sasl_learner_required, "false"),
    CONFIG_KEY("metricsProvider.className", CONFIG_TEXT, metrics_class,
               "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"),
    CONFIG_KEY("multiAddress.enabled", CONFIG_BOOL, multi_address, "false"),
    CONFIG_KEY("multiAddress.reachabilityCheckEnabled", CONFIG_BOOL, multi_address_check, "true"),
    CONFIG_KEY("multiAddress.reachabilityCheckTimeoutMs", CONFIG_INT, multi_address_check_ms,
               "1000"),
    {"sslQuorum", CONFIG_BOOL, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"portUnification", CONFIG_BOOL, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"sslQuorumReloadCertFiles", CONFIG_BOOL, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"quorum.auth.learner.saslLoginContext", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"quorum.auth.server.saslLoginContext", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"quorum.auth.kerberos.servicePrincipal", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"quorum.cnxn.threads.size", CONFIG_INT, CONFIG_ACCEPTED, 0, CONFIG_THREADS},
    {"jvm.pause.monitor", CONFIG_BOOL, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"jvm.pause.info-threshold.ms", CONFIG_LONG, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"jvm.pause.warn-threshold.ms", CONFIG_LONG, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"jvm.pause.sleep.time.ms", CONFIG_LONG, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"oraclePath", CONFIG_ANY, CONFIG_REFUSED, 0, "quorums with an oracle are not built in"},
    /* members; read by config_membership */
    {"server.*", CONFIG_ANY, CONFIG_OBEYED, 0, NULL},
    {"group*", CONFIG_ANY, CONFIG_OBEYED, 0, NULL},
    {"weight*", CONFIG_ANY, CONFIG_OBEYED, 0, NULL},
    {"version", CONFIG_ANY, CONFIG_OBEYED, 0, NULL},
    {"metricsProvider.*", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     "the metrics providers that are built in take no options"},
};

/* stock: these become the system property zookeeper.<key>, which some class reads later. */
static const struct config_key config_passed_keys[] = {
    /* storage */
    CONFIG_KEY("snapCount", CONFIG_GET_INT, snap_count, "100000"),
    CONFIG_KEY("snapSizeLimitInKb", CONFIG_GET_LONG, snap_size_limit_kb, "4194304"),
    CONFIG_KEY("txnLogSizeLimitInKb", CONFIG_GET_LONG, txn_log_size_limit_kb, "-1"),
    CONFIG_KEY("preAllocSize", CONFIG_GET_LONG, pre_alloc_size_kb, "65536"),
    CONFIG_KEY("commitLogCount", CONFIG_GET_INT, commit_log_count, "500"),
    CONFIG_KEY("snapshotSizeFactor", CONFIG_GET_DOUBLE, snapshot_size_factor, "0.33"),
    CONFIG_KEY("forceSync", CONFIG_IS_NOT_NO, force_sync, "yes"),
    CONFIG_KEY("fsync.warningthresholdms", CONFIG_GET_LONG, fsync_warning_ms, "1000"),
    {"flushDelay", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_GROUP_COMMIT},
    {"maxWriteQueuePollTime", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_GROUP_COMMIT},
    {"maxBatchSize", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_GROUP_COMMIT},
    CONFIG_KEY("snapshot.trust.empty", CONFIG_IS_TRUE, trust_empty_snapshot, "false"),
    CONFIG_KEY("datadir.autocreate", CONFIG_IS_TRUE, datadir_autocreate, "true"),
    CONFIG_KEY("db.autocreate", CONFIG_IS_TRUE, db_autocreate, "true"),
    {"serializeLastProcessedZxid.enabled", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ALWAYS},
    CONFIG_KEY("digest.enabled", CONFIG_IS_TRUE, digest_enabled, "true"),
    {"closeSessionTxn.enabled", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ALWAYS},
    CONFIG_KEY("extendedTypesEnabled", CONFIG_IS_TRUE, extended_types, "false"),
    CONFIG_KEY("emulate353TTLNodes", CONFIG_IS_TRUE, emulate353, "false"),
    {"snapshot.compression.method", CONFIG_ANY, CONFIG_UNBUILT, 0,
     "snapshots are written without compression"},
    CONFIG_KEY("forceSnapshotSync", CONFIG_IS_TRUE, force_snapshot_sync, "false"),

    /* requests, sessions, throttling */
    CONFIG_KEY("globalOutstandingLimit", CONFIG_GET_INT, global_outstanding_limit, "1000"),
    CONFIG_KEY("maxCnxns", CONFIG_GET_INT, max_cnxns, "0"),
    CONFIG_KEY("clientTcpKeepAlive", CONFIG_IS_TRUE, tcp_keepalive, "false"),
    {"enableEagerACLCheck", CONFIG_ANY, CONFIG_ACCEPTED, 0, "the leader checks every write"},
    CONFIG_KEY("skipACL", CONFIG_IS_YES, skip_acl, "no"),
    CONFIG_KEY("enforceQuota", CONFIG_IS_TRUE, enforce_quota, "false"),
    CONFIG_KEY("largeRequestMaxBytes", CONFIG_GET_INT, large_request_max_bytes, "104857600"),
    CONFIG_KEY("largeRequestThreshold", CONFIG_GET_INT, large_request_threshold, "-1"),
    CONFIG_KEY("request_throttle_max_requests", CONFIG_GET_INT, request_throttle_max, "0"),
    {"request_throttle_stall_time", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     "a request goes on as soon as there is room"},
    CONFIG_KEY("request_throttle_drop_stale", CONFIG_IS_TRUE, request_throttle_drop_stale, "true"),
    CONFIG_KEY("request_stale_latency_check", CONFIG_IS_TRUE, request_stale_latency_check,
               "false"),
    {"request_stale_connection_check", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     "what a closed connection has left is never carried out"},
    CONFIG_KEY("throttled_op_wait_time", CONFIG_GET_INT, throttled_op_wait_ms, "0"),
    CONFIG_KEY("connection_throttle_tokens", CONFIG_GET_INT, connection_throttle_tokens, "0"),
    CONFIG_KEY("connection_throttle_fill_time", CONFIG_GET_INT, connection_throttle_fill_ms, "1"),
    CONFIG_KEY("connection_throttle_fill_count", CONFIG_GET_INT, connection_throttle_fill_count,
               "1"),
    CONFIG_KEY("connection_throttle_freeze_time", CONFIG_GET_INT, connection_throttle_freeze_ms,
               "-1"),
    CONFIG_KEY("connection_throttle_drop_increase", CONFIG_GET_DOUBLE,
               connection_throttle_drop_increase, "0.02"),
    CONFIG_KEY("connection_throttle_drop_decrease", CONFIG_GET_DOUBLE,
               connection_throttle_drop_decrease, "0.002"),
    CONFIG_KEY("connection_throttle_decrease_ratio", CONFIG_GET_DOUBLE,
               connection_throttle_decrease_ratio, "0"),
    CONFIG_KEY("connection_throttle_weight_enabled", CONFIG_IS_TRUE, connection_throttle_weighted,
               "false"),
    CONFIG_KEY("connection_throttle_global_session_weight", CONFIG_GET_INT,
               connection_throttle_global_weight, "3"),
    CONFIG_KEY("connection_throttle_local_session_weight", CONFIG_GET_INT,
               connection_throttle_local_weight, "1"),
    CONFIG_KEY("connection_throttle_renew_session_weight", CONFIG_GET_INT,
               connection_throttle_renew_weight, "2"),
    CONFIG_KEY("nio.sessionlessCnxnTimeout", CONFIG_GET_INT, sessionless_timeout_ms, "10000"),
    CONFIG_KEY("jute.maxbuffer.extrasize", CONFIG_GET_INT, jute_extra_size, "-1"),
    {"maxResponseCacheSize", CONFIG_ANY, CONFIG_ACCEPTED, 0, "replies are not cached"},
    {"maxGetChildrenResponseCacheSize", CONFIG_ANY, CONFIG_ACCEPTED, 0, "replies are not cached"},
    {"request_throttler.shutdownTimeout", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_THREADS},
    {"nio.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_THREADS},
    {"commitProcessor.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_THREADS},
    {"intBufferStartingSizeBytes", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"serverCnxnFactory", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to serve connections"},
    {"watchManagerName", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to keep watches"},
    {"watcherCleanThreadsNum", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to keep watches"},
    {"watcherCleanThreshold", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to keep watches"},
    {"watcherCleanIntervalInSeconds", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     "there is one way to keep watches"},
    {"maxInProcessingDeadWatchers", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     "there is one way to keep watches"},
    {"bitHashCacheSize", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to keep watches"},
    {"netty.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to serve connections"},
    {"client.portUnification", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0, CONFIG_NO_TLS},
    {"client.certReload", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0, CONFIG_NO_TLS},
    {"pathStats.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, "requests are not counted by path"},
    {"messageTracker.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},

    /* the ensemble */
    CONFIG_KEY("leaderServes", CONFIG_IS_NOT_NO, leader_serves, "yes"),
    CONFIG_KEY("cnxTimeout", CONFIG_INT, cnx_timeout_ms, "5000"),
    CONFIG_KEY("quorumCnxnTimeoutMs", CONFIG_GET_INT, quorum_cnxn_timeout_ms, "-1"),
    CONFIG_KEY("electionPortBindRetry", CONFIG_GET_INT, election_bind_retries, "3"),
    CONFIG_KEY("fastleader.minNotificationInterval", CONFIG_GET_INT, notification_min_ms, "200"),
    CONFIG_KEY("fastleader.maxNotificationInterval", CONFIG_GET_INT, notification_max_ms, "60000"),
    {"fastleader.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    CONFIG_KEY("leader.maxTimeToWaitForEpoch", CONFIG_GET_INT, leader_epoch_wait_ms, "-1"),
    {"leader.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"learner.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    CONFIG_KEY("leaderConnectDelayDuringRetryMs", CONFIG_GET_INT, leader_connect_delay_ms, "100"),
    CONFIG_KEY("observer.syncEnabled", CONFIG_TEXT, observer_sync, NULL),
    CONFIG_KEY("observer.election.DelayMs", CONFIG_GET_INT, observer_election_delay_ms, "200"),
    {"observer.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"observerMaster.sizeLimit", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"follower.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"forward_learner_requests_to_commit_processor_disabled", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     CONFIG_ENSEMBLE},
    CONFIG_KEY("tcpKeepAlive", CONFIG_IS_TRUE, quorum_keepalive, "false"),
    {"kerberos.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},

    /* security */
    CONFIG_KEY("DigestAuthenticationProvider.superDigest", CONFIG_TEXT, super_digest, NULL),
    CONFIG_KEY("DigestAuthenticationProvider.enabled", CONFIG_IS_TRUE, digest_auth, "true"),
    CONFIG_KEY("DigestAuthenticationProvider.digestAlg", CONFIG_TEXT, digest_algorithm, "SHA1"),
    CONFIG_KEY("enforce.auth.enabled", CONFIG_IS_TRUE, enforce_auth, "false"),
    CONFIG_KEY("enforce.auth.schemes", CONFIG_TEXT, enforce_auth_schemes, NULL),
    {"IPAuthenticationProvider.usexforwardedfor", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0,
     CONFIG_NO_ADMIN},
    {"X509AuthenticationProvider.*", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_TLS},
    {"superUser*", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_SASL},
    {"ensembleAuthName", CONFIG_ANY, CONFIG_UNBUILT, 0, "the scheme ensemble is not built in"},
    {"sessionRequireClientSASLAuth", CONFIG_IS_TRUE, CONFIG_REFUSED, 0, CONFIG_NO_SASL},
    {"allowSaslFailedClients", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"letAnySaslUserDoX", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"sasl.serverconfig", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_SASL},
    {"requireKerberosConfig", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"security.auth_to_local", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"kinit", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"ssl.*", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_TLS},
    {"fips-mode", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_TLS},

    /* operation */
    CONFIG_KEY("4lw.commands.whitelist", CONFIG_TEXT, four_letter_whitelist, "srvr"),
    {"admin.portUnification", CONFIG_IS_TRUE, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"admin.forceHttps", CONFIG_IS_TRUE, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"admin.needClientAuth", CONFIG_IS_TRUE, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"admin.rateLimiterIntervalInMS", CONFIG_INT, CONFIG_ACCEPTED, 0, CONFIG_NO_ADMIN},
    {"admin.serverPort", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_ADMIN},
    {"admin.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_ADMIN},
    {"audit.enable", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0, "there is no audit log"},
    {"audit.impl.class", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"jmx.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"test.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, "it is there for tests of the JVM server"},
    {"testingonly.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, "it is there for tests of the JVM server"},
};

/*
 * stock: JVM properties without a prefix, which a file cannot set there. Here the file may hold
 * them as well, because there is no JVM command line to put them on.
 */
static const struct config_key config_jvm_keys[] = {
    CONFIG_KEY("jute.maxbuffer", CONFIG_GET_INT, jute_max_buffer, "1048575"),
    CONFIG_KEY("znode.container.checkIntervalMs", CONFIG_GET_LONG, container_check_interval_ms,
               "60000"),
    CONFIG_KEY("znode.container.maxPerMinute", CONFIG_GET_LONG, container_max_per_minute, "10000"),
    CONFIG_KEY("znode.container.maxNeverUsedIntervalMs", CONFIG_GET_LONG,
               container_max_never_used_ms, "0"),
    {"readonlymode.enabled", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0, "read-only mode is not built in"},
    {"leader.nodelay", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"follower.nodelay", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
};

struct config_table {
    const struct config_key *keys;
    size_t n;
};

static const struct config_table config_tables[] = {
    {config_typed_keys, sizeof config_typed_keys / sizeof *config_typed_keys},
    {config_passed_keys, sizeof config_passed_keys / sizeof *config_passed_keys},
    {config_jvm_keys, sizeof config_jvm_keys / sizeof *config_jvm_keys},
};

enum { CONFIG_TYPED, CONFIG_PASSED, CONFIG_JVM_ONLY, CONFIG_TABLES };

static bool config_key_matches(const struct config_key *k, const char *name) {
    size_t n = strlen(k->name);
    return k->name[n - 1] == '*' ? strncmp(k->name, name, n - 1) == 0 : strcmp(k->name, name) == 0;
}

static const struct config_key *config_find_in(const struct config_table *t, const char *name) {
    for (size_t i = 0; i < t->n; i++)
        if (config_key_matches(&t->keys[i], name)) return &t->keys[i];
    return NULL;
}

/* The names of the JVM table are looked up first: leader.nodelay is not one of leader.*. */
static const struct config_key *config_find(const char *name) {
    const struct config_key *k = NULL;
    for (int t = CONFIG_TABLES; t-- > 0 && !k;) k = config_find_in(&config_tables[t], name);
    return k;
}

/* --- values into fields --- */

static bool config_store_number(struct config *c, const struct config_key *k, int64_t v) {
    char *field = (char *)c + k->at;
    if (k->kind == CONFIG_LONG || k->kind == CONFIG_GET_LONG) {
        *(int64_t *)(void *)field = v;
        return true;
    }
    if (v < INT32_MIN || v > INT32_MAX) return false;
    *(int32_t *)(void *)field = (int32_t)v;
    return true;
}

/* False when the value cannot be read; of strict kinds config_valid has been asked before. */
static bool config_store(struct config *c, const struct config_key *k, const char *value) {
    char *field = (char *)c + k->at;
    int64_t v;
    switch (k->kind) {
    case CONFIG_INT:
    case CONFIG_LONG:
        return config_parse_number(value, 10, &v) && config_store_number(c, k, v);
    case CONFIG_GET_INT:
    case CONFIG_GET_LONG:
        return config_decode_number(value, &v) && config_store_number(c, k, v);
    case CONFIG_GET_DOUBLE:
        return config_parse_fraction(value, (double *)(void *)field);
    case CONFIG_BOOL:
    case CONFIG_IS_TRUE:
        *(bool *)field = config_is_word(value, "true");
        return true;
    case CONFIG_IS_YES:
        *(bool *)field = strcmp(value, "yes") == 0;
        return true;
    case CONFIG_IS_NOT_NO:
        *(bool *)field = strcmp(value, "no") != 0;
        return true;
    case CONFIG_TEXT:
        config_set((char **)(void *)field, value);
        return true;
    case CONFIG_PATH:
        config_set_path((char **)(void *)field, value);
        return true;
    case CONFIG_ANY:
        break;
    }
    return true;
}

/* Strict kinds are checked also where nothing is stored. */
static bool config_valid(const struct config_key *k, const char *value) {
    int64_t v;
    if (k->kind == CONFIG_BOOL)
        return config_is_word(value, "true") || config_is_word(value, "false");
    if (k->kind != CONFIG_INT && k->kind != CONFIG_LONG) return true;
    if (!config_parse_number(value, 10, &v)) return false;
    return k->kind == CONFIG_LONG || (v >= INT32_MIN && v <= INT32_MAX);
}

static void config_store_default(struct config *c, const struct config_key *k) {
    if (k->mark != CONFIG_OBEYED || !k->text) return;
    bool ok = config_store(c, k, k->text);
    ZK_ASSERT(ok);
}

/* A key that has no field: says so, or remembers the refusal. */
static void config_note(struct config *c, const struct config_key *k, const char *name,
                        const char *value, struct logq *log) {
    bool boolean = k->kind == CONFIG_BOOL || k->kind == CONFIG_IS_TRUE;
    if (boolean && !config_is_word(value, "true")) return;
    if (k->mark == CONFIG_REFUSED) {
        if (!*c->refusal)
            (void)snprintf(c->refusal, sizeof c->refusal, "%s is set, but %s", name, k->text);
        return;
    }
    log_line(log, k->mark == CONFIG_UNBUILT ? LOG_WARN_LEVEL : LOG_INFO_LEVEL,
             "%s has no effect: %s", name, k->text);
}

static int config_apply(struct config *c, const struct config_key *k, const char *name,
                        const char *value, struct logq *log) {
    bool ok = config_valid(k, value);
    if (ok && k->mark != CONFIG_OBEYED) {
        config_note(c, k, name, value, log);
        return 0;
    }
    if (ok && config_store(c, k, value)) {
        if (k->kind == CONFIG_PATH && *value && *value != '/' && strncmp(value, "./", 2) != 0)
            log_line(log, LOG_WARN_LEVEL,
                     "%s is relative. Prepend ./ to indicate that you're sure!",
                     *(char **)(void *)((char *)c + k->at));
        return 0;
    }
    if (k->kind == CONFIG_BOOL)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "Invalid option %s for %s. Choose 'true' or 'false.'", value, name);
    if (k->kind == CONFIG_INT || k->kind == CONFIG_LONG) return config_fail_number(c, value, 10);
    log_line(log, LOG_WARN_LEVEL, "%s is not a valid value for %s", value, name);
    config_store_default(c, k);
    return 0;
}

static void config_unknown(const char *name, struct logq *log) {
    if (strncmp(name, "zookeeper.", 10) == 0 && config_find(name + 10))
        log_line(log, LOG_WARN_LEVEL, "%s has no effect: the name of the key is %s", name,
                 name + 10);
    else
        log_line(log, LOG_WARN_LEVEL, "%s has no effect: there is no such key", name);
}

ZK_PRIVATE void config_defaults(struct config *c) {
    memset(c, 0, sizeof *c);
    c->server_id = CONFIG_UNSET;
    for (int t = 0; t < CONFIG_TABLES; t++)
        for (size_t i = 0; i < config_tables[t].n; i++)
            config_store_default(c, &config_tables[t].keys[i]);
}

static void config_member_free(struct config_member *m) {
    mem_free(m->host);
    mem_free(m->client_host);
}

static void config_members_free(struct config *c) {
    for (uint32_t i = 0; i < c->member_count; i++) config_member_free(&c->members[i]);
    mem_free(c->members);
    c->members = NULL;
    c->member_count = 0;
    c->hierarchical = false;
    c->members_version = 0;
}

ZK_PRIVATE void config_free(struct config *c) {
    for (int t = 0; t < CONFIG_TABLES; t++) {
        for (size_t i = 0; i < config_tables[t].n; i++) {
            const struct config_key *k = &config_tables[t].keys[i];
            if (k->mark == CONFIG_OBEYED && (k->kind == CONFIG_TEXT || k->kind == CONFIG_PATH))
                mem_free(*(char **)(void *)((char *)c + k->at));
        }
    }
    config_members_free(c);
    memset(c, 0, sizeof *c);
}

/* --- members: the lines server.N, group.N, weight.N. stock: QuorumPeer.QuorumServer --- */

#define CONFIG_WRONG_FORM                                                                          \
    "%s does not have the form server_config or server_config;client_config where server_config"   \
    " is the pipe separated list of host:port:port or host:port:port:type and client_config is"    \
    " port or host:port"

/*
 * The next part of `s` up to `sep`, cut out in place; NULL when there is none. As String.split
 * does, empty parts at the end are none, and a string without parts is one empty part.
 */
static char *config_split(char **s, char sep) {
    char *part = *s;
    if (!part) return NULL;
    char *end = strchr(part, sep);
    *s = NULL;
    if (!end) return part;
    *end++ = '\0';
    size_t rest = 0;
    while (end[rest] == sep) rest++;
    if (end[rest]) *s = end;
    return part;
}

/* host:part:part, the host possibly in brackets; at most max parts. -1 on error. */
static int config_host_parts(struct config *c, char *s, char **parts, int max) {
    int n = 0;
    if (*s == '[') {
        char *close = strchr(s, ']');
        if (!close)
            return config_fail(c, CONFIG_ERROR_PLAIN,
                               "%s starts with '[' but has no matching ']:'", s);
        if (close[1] && !close[2])
            return config_fail(c, CONFIG_ERROR_PLAIN, "%s doesn't have a port after colon", s);
        parts[n++] = s + 1;
        *close = '\0';
        s = close[1] ? close + 2 : NULL;
    }
    for (char *part; n < max && (part = config_split(&s, ':'));) parts[n++] = part;
    return n;
}

/* One port of a server line; -1 on error. */
static int32_t config_member_port(struct config *c, const char *host, const char *text) {
    int64_t port;
    if (!config_parse_number(text, 10, &port) || port < INT32_MIN || port > INT32_MAX)
        return config_fail(c, CONFIG_ERROR_PLAIN, "Address unresolved: %s:%s", host, text);
    if (port < 0 || port > 65535)
        return config_fail(c, CONFIG_ERROR_WRAPPED, "port out of range:%d", (int)port);
    return (int32_t)port;
}

/* String.trim on a part that was cut out in place. */
static char *config_trim(char *s) {
    size_t n = strlen(s);
    while (n && (uint8_t)s[n - 1] <= ' ') s[--n] = '\0';
    while (*s && (uint8_t)*s <= ' ') s++;
    return s;
}

/* Participant 0, observer 1, anything else -1. */
static int config_role(struct config *c, const char *s) {
    if (config_is_word(s, "participant")) return 0;
    if (config_is_word(s, "observer")) return 1;
    return config_fail(c, CONFIG_ERROR_PLAIN, "Unrecognised peertype: %s", s);
}

/* The part after the semicolon: port or host:port. */
static int config_member_client(struct config *c, struct config_member *m, char *s,
                                const char *whole) {
    char *parts[3];
    int n = config_host_parts(c, s, parts, 3);
    if (n < 0) return -1;
    if (n < 1 || n > 2) return config_fail(c, CONFIG_ERROR_PLAIN, CONFIG_WRONG_FORM, whole);
    const char *host = n == 2 ? parts[0] : "0.0.0.0";
    /* stock: the message has the name of the server, which is not known yet */
    m->client_port = config_member_port(c, "null", parts[n - 1]);
    if (m->client_port < 0) return -1;
    m->client_host = config_copy(host);
    return 0;
}

/* One address of a server: host:port:port[:role]; *role is -1 before the first role. */
static int config_member_address(struct config *c, struct config_member *m, char *s,
                                 int *role, const char *whole) {
    char *parts[5];
    int n = config_host_parts(c, s, parts, 5);
    if (n < 0) return -1;
    if (n < 3 || n > 4) return config_fail(c, CONFIG_ERROR_PLAIN, CONFIG_WRONG_FORM, whole);
    int32_t quorum = config_member_port(c, parts[0], parts[1]);
    int32_t election = quorum < 0 ? -1 : config_member_port(c, parts[0], parts[2]);
    if (election < 0) return -1;
    if (quorum == election)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "Client and election port must be different! Please update the"
                           " configuration file on server.%lld",
                           (long long)m->id);
    if (!m->host) {
        m->host = config_copy(parts[0]);
        m->quorum_port = quorum;
        m->election_port = election;
    }
    if (n < 4) return 0;
    int r = config_role(c, config_trim(parts[3]));
    if (r < 0) return -1;
    /* stock: QuorumPeer.QuorumServer names the role it starts with, whatever the first one was */
    if (*role >= 0 && *role != r)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "Multiple addresses should have similar roles: PARTICIPANT vs %s",
                           r ? "OBSERVER" : "PARTICIPANT");
    *role = r;
    return 0;
}

static int config_member_parse(struct config *c, struct config_member *m, const char *whole) {
    char *copy = config_copy(whole), *rest = copy, *addresses, *client, *address;
    int rc = -1, role = -1;
    addresses = config_split(&rest, ';');
    client = config_split(&rest, ';');
    if (rest) {
        (void)config_fail(c, CONFIG_ERROR_PLAIN, CONFIG_WRONG_FORM, whole);
        goto out;
    }
    if (client && config_member_client(c, m, client, whole) < 0) goto out;
    if (strchr(addresses, '|') && !c->multi_address) {
        (void)config_fail(c, CONFIG_ERROR_PLAIN,
                          "Multiple address feature is disabled, but multiple addresses were"
                          " specified for sid %lld",
                          (long long)m->id);
        goto out;
    }
    while ((address = config_split(&addresses, '|')))
        if (config_member_address(c, m, address, &role, whole) < 0) goto out;
    m->observer = role == 1;
    rc = 0;
out:
    mem_free(copy);
    return rc;
}

static struct config_member *config_member_find(struct config *c, int64_t id) {
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i].id == id) return &c->members[i];
    return NULL;
}

/* The number after the first dot of a key, or the whole key when it has no dot, as stock does. */
static int config_key_id(struct config *c, const char *key, int64_t *id) {
    const char *dot = strchr(key, '.'), *text = dot ? dot + 1 : key;
    return config_parse_number(text, 10, id) ? 0 : config_fail_number(c, text, 10);
}

/* stock: a second line of the same id replaces the first; they differ as text (server.01). */
static int config_server(struct config *c, const char *key, const char *value) {
    struct config_member m = {.client_port = CONFIG_UNSET, .weight = 1};
    if (config_key_id(c, key, &m.id) < 0) return -1;
    if (config_member_parse(c, &m, value) < 0) {
        config_member_free(&m);
        return -1;
    }
    struct config_member *old = config_member_find(c, m.id);
    if (old) {
        config_member_free(old);
    } else if (c->member_count == CONFIG_MEMBERS_MAX) {
        config_member_free(&m);
        return config_fail(c, CONFIG_ERROR_PLAIN, "there are more than %d servers",
                           CONFIG_MEMBERS_MAX);
    } else {
        size_t size = (c->member_count + 1) * sizeof *c->members;
        c->members = mem_realloc(c->members, size);
        old = &c->members[c->member_count++];
    }
    *old = m;
    return 0;
}

/* What the lines group.N=id:id and weight.N say; they may stand above the servers they name. */
struct config_grouping {
    int64_t id, value; /* value: the group, or the weight */
};

static const struct config_grouping *config_grouping_find(const struct buf *pairs, int64_t id) {
    const struct config_grouping *all = (const struct config_grouping *)(const void *)pairs->p;
    for (size_t i = 0; i < pairs->n / sizeof *all; i++)
        if (all[i].id == id) return &all[i];
    return NULL;
}

static void config_grouping_put(struct buf *pairs, int64_t id, int64_t value) {
    struct config_grouping pair = {id, value};
    buf_put(pairs, &pair, sizeof pair);
}

/* stock: QuorumHierarchical.parse */
static int config_group(struct config *c, const char *key, const char *value, struct buf *groups) {
    int64_t group, id;
    if (config_key_id(c, key, &group) < 0) return -1;
    char *copy = config_copy(value), *rest = copy, *part;
    int rc = 0;
    while (!rc && (part = config_split(&rest, ':'))) {
        if (!config_parse_number(part, 10, &id))
            rc = config_fail_number(c, part, 10);
        else if (config_grouping_find(groups, id))
            rc = config_fail(c, CONFIG_ERROR_PLAIN, "Server %lldis in multiple groups",
                             (long long)id);
        else
            config_grouping_put(groups, id, group);
    }
    mem_free(copy);
    return rc;
}

/* Every participant must be in a group once there are groups. */
static int config_set_groups(struct config *c, const struct buf *groups,
                             const struct buf *weights) {
    c->hierarchical = true;
    for (uint32_t i = 0; i < c->member_count; i++) {
        struct config_member *m = &c->members[i];
        const struct config_grouping *group = config_grouping_find(groups, m->id);
        const struct config_grouping *weight = config_grouping_find(weights, m->id);
        if (m->observer) continue;
        if (!group)
            return config_fail(c, CONFIG_ERROR_PLAIN, "Server %lldis not in a group",
                               (long long)m->id);
        m->group = group->value;
        if (weight) m->weight = weight->value;
    }
    return 0;
}

static bool config_starts(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int config_member_line(struct config *c, const char *key, const char *value,
                              struct buf *groups, struct buf *weights) {
    int64_t id, n;
    if (config_starts(key, "server.")) return config_server(c, key, value);
    if (config_starts(key, "group")) return config_group(c, key, value, groups);
    if (config_starts(key, "weight")) {
        if (config_key_id(c, key, &id) < 0) return -1;
        if (!config_parse_number(value, 10, &n)) return config_fail_number(c, value, 10);
        if (n < 0 || n > INT32_MAX)
            return config_fail(c, CONFIG_ERROR_PLAIN, "%s=%s is out of range", key, value);
        config_grouping_put(weights, id, n);
    }
    if (strcmp(key, "version") == 0 && !config_parse_number(value, 16, &c->members_version))
        return config_fail_number(c, value, 16);
    return 0;
}

static int config_by_id(const void *a, const void *b) {
    const struct config_member *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* stock: the counts of QuorumPeerConfig.parseDynamicConfig and what checkValidity asks for */
static int config_check_members(struct config *c, struct logq *log) {
    uint32_t participants = 0;
    for (uint32_t i = 0; i < c->member_count; i++) participants += !c->members[i].observer;
    uint32_t observers = c->member_count - participants;
    if (participants == 0) {
        if (!c->standalone_enabled)
            return config_fail(
                c, CONFIG_ERROR_WRAPPED,
                "standaloneEnabled = false then number of participants should be >0");
        if (observers)
            return config_fail(c, CONFIG_ERROR_WRAPPED,
                               "Observers w/o participants is an invalid configuration");
        return 0;
    }
    if (participants == 1 && c->standalone_enabled) {
        log_line(log, LOG_ERROR_LEVEL,
                 "Invalid configuration, only one server specified (ignoring)");
        if (observers)
            return config_fail(c, CONFIG_ERROR_WRAPPED,
                               "Observers w/o quorum is an invalid configuration");
        return 0;
    }
    if (participants <= 2)
        log_line(log, LOG_WARN_LEVEL,
                 "No server failure will be tolerated. You need at least 3 servers.");
    else if (participants % 2 == 0)
        log_line(log, LOG_WARN_LEVEL,
                 "Non-optimal configuration, consider an odd number of servers.");
    if (!c->init_limit) return config_fail(c, CONFIG_ERROR_WRAPPED, "initLimit is not set");
    if (!c->sync_limit) return config_fail(c, CONFIG_ERROR_WRAPPED, "syncLimit is not set");
    return 0;
}

ZK_PRIVATE bool config_distributed(const struct config *c) {
    uint32_t participants = 0;
    for (uint32_t i = 0; i < c->member_count; i++) participants += !c->members[i].observer;
    return participants > 1 || (participants == 1 && !c->standalone_enabled);
}

static int config_membership(struct config *c, const struct config_props *p, struct logq *log) {
    struct buf groups = {0}, weights = {0};
    bool hierarchical = false;
    int rc = 0;
    config_members_free(c);
    for (uint32_t i = 0; i < p->n && !rc; i++) {
        const char *key = p->at[i].key;
        hierarchical |= config_starts(key, "group") || config_starts(key, "weight");
        rc = config_member_line(c, key, p->at[i].value, &groups, &weights);
    }
    if (c->member_count) qsort(c->members, c->member_count, sizeof *c->members, config_by_id);
    if (!rc && hierarchical) rc = config_set_groups(c, &groups, &weights);
    buf_free(&groups);
    buf_free(&weights);
    if (!rc && config_role(c, c->peer_type) == 1)
        log_line(log, LOG_WARN_LEVEL,
                 "Peer type from servers list (PARTICIPANT) doesn't match peerType (OBSERVER)."
                 " Defaulting to servers list.");
    return rc ? rc : config_check_members(c, log);
}

ZK_PRIVATE void config_put_host(struct buf *out, const char *host) {
    bool v6 = strchr(host, ':') != NULL;
    buf_printf(out, "%s%s%s", v6 ? "[" : "", host, v6 ? "]" : "");
}

static void config_put_member(struct buf *out, const struct config_member *m) {
    buf_printf(out, "server.%lld=", (long long)m->id);
    config_put_host(out, m->host);
    buf_printf(out, ":%d:%d:%s", (int)m->quorum_port, (int)m->election_port,
               m->observer ? "observer" : "participant");
    if (m->client_host) {
        buf_putc(out, ';');
        config_put_host(out, m->client_host);
        buf_printf(out, ":%d", (int)m->client_port);
    }
    buf_putc(out, '\n');
}

/* A line for each group, where its first member turns up. */
static void config_put_groups(const struct config *c, struct buf *out) {
    for (uint32_t i = 0; i < c->member_count; i++) {
        const struct config_member *first = &c->members[i];
        bool seen = first->observer;
        for (uint32_t k = 0; k < i && !seen; k++)
            seen = !c->members[k].observer && c->members[k].group == first->group;
        if (seen) continue;
        buf_printf(out, "group.%lld=%lld", (long long)first->group, (long long)first->id);
        for (uint32_t k = i + 1; k < c->member_count; k++)
            if (!c->members[k].observer && c->members[k].group == first->group)
                buf_printf(out, ":%lld", (long long)c->members[k].id);
        buf_putc(out, '\n');
    }
}

ZK_PRIVATE void config_string(const struct config *c, struct buf *out) {
    for (uint32_t i = 0; i < c->member_count; i++) config_put_member(out, &c->members[i]);
    if (c->hierarchical) {
        config_put_groups(c, out);
        for (uint32_t i = 0; i < c->member_count; i++)
            if (!c->members[i].observer)
                buf_printf(out, "weight.%lld=%lld\n", (long long)c->members[i].id,
                           (long long)c->members[i].weight);
    }
    buf_printf(out, "version=%llx", (unsigned long long)c->members_version);
}

/* --- checks, in the order of QuorumPeerConfig.parseProperties --- */

static int config_check_sasl(struct config *c) {
    static const char off[] = "%s is disabled, so cannot enable %s";
    const char *server = "quorum.auth.serverRequireSasl";
    const char *learner = "quorum.auth.learnerRequireSasl";
    if (!c->sasl_enabled && (c->sasl_server_required || c->sasl_learner_required))
        return config_fail(c, CONFIG_ERROR_WRAPPED, off, "quorum.auth.enableSasl",
                           c->sasl_server_required ? server : learner);
    if (c->sasl_server_required && !c->sasl_learner_required)
        return config_fail(c, CONFIG_ERROR_WRAPPED, off, learner, server);
    return 0;
}

/* A port with its address; `key` is clientPort or secureClientPort. */
static int config_check_port(struct config *c, const char *key, int32_t port, const char *address,
                             struct logq *log) {
    if (port == CONFIG_UNSET) {
        log_line(log, LOG_INFO_LEVEL, "%s is not set", key);
        if (!address) return 0;
        return config_fail(c, CONFIG_ERROR_WRAPPED, "%sAddress is set but %s is not set", key, key);
    }
    if (port < 0 || port > 65535)
        return config_fail(c, CONFIG_ERROR_WRAPPED, "port out of range:%d", (int)port);
    const char *host = address ? address : "0.0.0.0";
    bool v6 = strchr(host, ':') != NULL;
    log_line(log, LOG_INFO_LEVEL, "%sAddress is %s%s%s:%d", key, v6 ? "[" : "", host, v6 ? "]" : "",
             (int)port);
    return 0;
}

/* stock: int arithmetic that wraps */
static int32_t config_times(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a * (uint32_t)b);
}

static int config_check_times(struct config *c) {
    if (c->tick_time_ms == 0) return config_fail(c, CONFIG_ERROR_WRAPPED, "tickTime is not set");
    if (c->min_session_timeout_ms == -1)
        c->min_session_timeout_ms = config_times(c->tick_time_ms, 2);
    if (c->max_session_timeout_ms == -1)
        c->max_session_timeout_ms = config_times(c->tick_time_ms, 20);
    if (c->min_session_timeout_ms > c->max_session_timeout_ms)
        return config_fail(c, CONFIG_ERROR_WRAPPED,
                           "minSessionTimeout must not be larger than maxSessionTimeout");
    return 0;
}

static int config_check_metrics(struct config *c, struct logq *log) {
    log_line(log, LOG_INFO_LEVEL, "metricsProvider.className is %s", c->metrics_class);
    if (strcmp(c->metrics_class, "org.apache.zookeeper.metrics.impl.NullMetricsProvider") == 0)
        c->metrics = CONFIG_METRICS_NULL;
    else if (strcmp(c->metrics_class,
                    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider") == 0)
        log_line(log, LOG_WARN_LEVEL,
                 "%s is not built in: metrics are those of the default provider",
                 c->metrics_class);
    else if (strcmp(c->metrics_class, "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"))
        return config_fail(c, CONFIG_ERROR_WRAPPED, "metrics provider class was not found");
    return 0;
}

static int config_check(struct config *c, struct logq *log) {
    if (c->election_alg != 3)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "Invalid electionAlg value. Only 3 is supported.");
    if (config_role(c, c->peer_type) < 0 || config_check_sasl(c) < 0) return -1;
    if (c->autopurge_retain < 3) {
        log_line(log, LOG_WARN_LEVEL, "Invalid autopurge.snapRetainCount: %d. Defaulting to 3",
                 (int)c->autopurge_retain);
        c->autopurge_retain = 3;
    }
    if (!c->data_dir || !*c->data_dir)
        return config_fail(c, CONFIG_ERROR_WRAPPED, "dataDir is not set");
    if (!c->data_log_dir || !*c->data_log_dir) config_set(&c->data_log_dir, c->data_dir);
    /* stock: InetAddress.getByName("") is the loopback address */
    if (c->client_port_address && !*c->client_port_address)
        config_set(&c->client_port_address, "localhost");
    if (config_check_port(c, "clientPort", c->client_port, c->client_port_address, log) < 0 ||
        config_check_port(c, "secureClientPort", c->secure_client_port,
                          c->secure_client_port_address, log) < 0)
        return -1;
    if (c->observer_master_port <= 0)
        log_line(log, LOG_INFO_LEVEL, "observerMasterPort is not set");
    if (config_check_times(c) < 0) return -1;
    return config_check_metrics(c, log);
}

/* What is read for its checks, and for nothing else. */
static void config_tell_unbuilt(const struct config *c, struct logq *log) {
    const struct {
        bool wanted;
        const char *name, *what;
    } all[] = {
        {c->local_sessions, "localSessionsEnabled", "local sessions are not built in"},
        {c->reconfig_enabled, "reconfigEnabled", "dynamic reconfiguration is not built in"},
        {c->observer_master_port > 0, "observerMasterPort", "observer masters are not built in"},
        {c->multi_address, "multiAddress.enabled", "the first address of a server is used"},
        {!c->sync_enabled, "syncEnabled=false", "observers always keep a log"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].wanted)
            log_line(log, LOG_WARN_LEVEL, "%s has no effect: %s", all[i].name, all[i].what);
}

/* Bounds of pass-through keys, which stock checks in the classes that read them. */
static void config_check_bounds(struct config *c, struct logq *log) {
    if (c->snap_count < 2) {
        c->snap_count = 2;
        log_line(log, LOG_WARN_LEVEL,
                 "SnapCount should be 2 or more. Now, snapCount is reset to 2");
    }
    if (c->commit_log_count < 500) {
        log_line(log, LOG_WARN_LEVEL,
                 "The configured commitLogCount %d is less than the recommended 500, going to use"
                 " the recommended one",
                 (int)c->commit_log_count);
        c->commit_log_count = 500;
    }
    if (c->snapshot_size_factor > 1) {
        c->snapshot_size_factor = 0.33;
        log_line(log, LOG_WARN_LEVEL,
                 "The configured snapshotSizeFactor is invalid, going to use the default 0.33");
    }
    if (c->max_cnxns < 0) {
        c->max_cnxns = 0;
        log_line(log, LOG_WARN_LEVEL,
                 "maxCnxns should be greater than or equal to 0, using default value 0.");
    }
    if (c->large_request_max_bytes <= 0) {
        log_line(log, LOG_WARN_LEVEL,
                 "Invalid max bytes for all large requests %d. It should be a positive number.",
                 (int)c->large_request_max_bytes);
        c->large_request_max_bytes = 104857600;
    }
    if (c->large_request_threshold == 0 || c->large_request_threshold < -1) {
        log_line(log, LOG_WARN_LEVEL,
                 "Invalid large request threshold %d. It should be -1 or positive. Setting to -1",
                 (int)c->large_request_threshold);
        c->large_request_threshold = -1;
    }
    if (c->observer_sync) c->sync_enabled = config_is_word(c->observer_sync, "true");
    config_tell_unbuilt(c, log);
    if (c->jute_max_buffer < 0) c->jute_max_buffer = 0;
    if (c->jute_extra_size == -1) c->jute_extra_size = c->jute_max_buffer;
    if (c->jute_extra_size < 1024) c->jute_extra_size = 1024;
}

/* stock: AuthenticationHelper, when the server is made. Each scheme must have its provider. */
static int config_check_schemes(struct config *c) {
    if (!c->enforce_auth) return 0;
    if (!c->enforce_auth_schemes || !*c->enforce_auth_schemes)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "zookeeper.enforce.auth.enabled is true zookeeper.enforce.auth.schemes"
                           " must be  configured.");
    char *copy = config_copy(c->enforce_auth_schemes), *rest = copy, *scheme;
    int rc = 0;
    while (!rc && (scheme = config_split(&rest, ','))) {
        scheme = config_trim(scheme);
        bool known = strcmp(scheme, "ip") == 0 || (strcmp(scheme, "digest") == 0 && c->digest_auth);
        if (!known)
            rc = config_fail(c, CONFIG_ERROR_PLAIN, "Authentication scheme %s is not available.",
                             scheme);
    }
    mem_free(copy);
    return rc;
}

/* What is not built in, after everything that stock itself would have objected to. */
static int config_check_refusals(struct config *c) {
    if (*c->refusal) return config_fail(c, CONFIG_ERROR_PLAIN, "%s", c->refusal);
    if (c->secure_client_port != CONFIG_UNSET)
        return config_fail(c, CONFIG_ERROR_PLAIN, "secureClientPort is set, but " CONFIG_NO_TLS);
    if (c->sasl_enabled)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "quorum.auth.enableSasl is set, but " CONFIG_NO_SASL);
    if (!config_is_word(c->digest_algorithm, "SHA1") &&
        !config_is_word(c->digest_algorithm, "SHA-1"))
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "don't support this ACL digest algorithm: %s in the current environment",
                           c->digest_algorithm);
    return 0;
}

/* --- entrances --- */

/* authProvider.<any>=<class>. stock: ProviderRegistry */
static void config_auth_provider(const char *value, struct logq *log) {
    static const char package[] = "org.apache.zookeeper.server.auth.";
    const char *name = config_starts(value, package) ? value + sizeof package - 1 : "";
    if (strcmp(name, "DigestAuthenticationProvider") && strcmp(name, "IPAuthenticationProvider"))
        log_line(log, LOG_WARN_LEVEL, "Problems loading %s", value);
}

static int config_pair(struct config *c, const struct config_props *p, const char *key,
                       const char *value, struct logq *log) {
    bool member = config_starts(key, "server.") || config_starts(key, "group") ||
                  config_starts(key, "weight");
    if (member && config_props_get(p, "dynamicConfigFile"))
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "parameter: %s must be in a separate dynamic config file", key);
    if (config_starts(key, "authProvider.")) {
        config_auth_provider(value, log);
        return 0;
    }
    const struct config_key *k = config_find(key);
    if (k) return config_apply(c, k, key, value, log);
    config_unknown(key, log);
    return 0;
}

ZK_PRIVATE int config_parse(struct config *c, struct slice text, struct logq *log) {
    struct config_props p;
    int rc = 0;
    if (config_props_load(&p, text) < 0)
        rc = config_fail(c, CONFIG_ERROR_WRAPPED, "Malformed \\uxxxx encoding.");
    for (uint32_t i = 0; i < p.n && !rc; i++)
        rc = config_pair(c, &p, p.at[i].key, p.at[i].value, log);
    if (!rc) rc = config_check(c, log);
    if (!rc && !c->dynamic_config_file) rc = config_membership(c, &p, log);
    if (!rc) config_check_bounds(c, log);
    if (!rc) rc = config_check_schemes(c);
    if (!rc) rc = config_check_refusals(c);
    config_props_free(&p);
    return rc;
}

ZK_PRIVATE int config_parse_dynamic(struct config *c, struct slice text, struct logq *log) {
    struct config_props p;
    int rc = 0;
    if (config_props_load(&p, text) < 0)
        rc = config_fail(c, CONFIG_ERROR_WRAPPED, "Malformed \\uxxxx encoding.");
    if (!rc && config_props_get(&p, "version"))
        rc = config_fail(c, CONFIG_ERROR_PLAIN, "dynamic file shouldn't have version inside");
    for (uint32_t i = 0; i < p.n && !rc; i++) {
        const char *key = p.at[i].key;
        if (!config_starts(key, "server.") && !config_starts(key, "group") &&
            !config_starts(key, "weight"))
            rc = config_fail(c, CONFIG_ERROR_PLAIN, "Unrecognised parameter: %s", key);
    }
    if (!rc) rc = config_membership(c, &p, log);
    config_props_free(&p);
    return rc;
}

/*
 * stock: QuorumPeerConfig.setupClientPort. Also a standalone server takes the client address of
 * its own server line, which must not contradict clientPort.
 */
ZK_PRIVATE int config_parse_myid(struct config *c, struct slice line) {
    char text[32] = "";
    int64_t id;
    if (line.n < sizeof text && line.n) memcpy(text, line.p, line.n);
    if (!config_parse_number(text, 10, &id))
        return config_fail(c, CONFIG_ERROR_WRAPPED, "serverid %.*s is not a number",
                           (int)(line.n < 200 ? line.n : 200), (const char *)line.p);
    c->server_id = id;
    const struct config_member *m = config_member_find(c, id);
    if (!m || !m->client_host) return 0;
    const char *host = c->client_port_address ? c->client_port_address : "0.0.0.0";
    bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    if (c->client_port != CONFIG_UNSET &&
        (c->client_port != m->client_port || (!any && strcmp(host, m->client_host) != 0)))
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "client address for this server (id = %lld) in static config file is"
                           " %s:%d is different from client address found in dynamic file: %s:%d",
                           (long long)id, host, (int)c->client_port, m->client_host,
                           (int)m->client_port);
    c->client_port = m->client_port;
    config_set(&c->client_port_address, m->client_host);
    return 0;
}

/* stock: ServerConfig.parse(String[]); without a file the limit per client is off. */
ZK_PRIVATE int config_parse_args(struct config *c, int n, const char *const *args) {
    const char *names[] = {"clientPort", "dataDir", "tickTime", "maxClientCnxns"};
    struct logq quiet = {.max_level = 0};
    ZK_ASSERT(n >= 2 && n <= 4);
    c->max_client_cnxns = 0;
    for (int i = 0; i < n; i++)
        if (config_apply(c, config_find(names[i]), names[i], args[i], &quiet) < 0) return -1;
    if (config_check(c, &quiet) < 0) return -1;
    config_check_bounds(c, &quiet);
    return 0;
}

static void config_jvm_word(struct config *c, char *word, struct logq *log) {
    if (strncmp(word, "-D", 2) != 0) return;
    char *name = word + 2, *value = strchr(name, '=');
    bool prefixed = config_starts(name, "zookeeper.");
    if (!value) return;
    *value++ = '\0';
    if (prefixed) name += strlen("zookeeper.");
    const struct config_table *t = &config_tables[prefixed ? CONFIG_PASSED : CONFIG_JVM_ONLY];
    const struct config_key *k = config_find_in(t, name);
    if (k) (void)config_apply(c, k, name, value, log);
}

ZK_PRIVATE void config_jvm_flags(struct config *c, const char *flags, struct logq *log) {
    char *copy = config_copy(flags);
    for (char *s = copy; *s;) {
        while (*s && (uint8_t)*s <= ' ') s++;
        char *word = s;
        while (*s && (uint8_t)*s > ' ') s++;
        if (*s) *s++ = '\0';
        config_jvm_word(c, word, log);
    }
    mem_free(copy);
}
