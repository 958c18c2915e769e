/*
 * Prints what src/ensemble/config makes of a file, for test_config.py.
 *   config_dump props FILE             each property as key -> [value]
 *   config_dump file FILE [STEP...]    fields as key=value; steps are jvm=FLAGS (before the file),
 *                                      dynamic=FILE and myid=TEXT (after it)
 *   config_dump args PORT DIR [TICK [CNXNS]]
 * Log lines come first, as LEVEL text. A failure is one line, ERROR or WRAPPED and the message.
 */
#include <stdio.h>

#include "ensemble/config.h"

static struct buf read_file(const char *path) {
    struct buf b = {0};
    FILE *f = fopen(path, "rb");
    if (!f) abort();
    for (size_t n = 1; n;) {
        uint8_t *to = buf_reserve(&b, 4096);
        n = fread(to, 1, 4096, f);
        b.n += n;
    }
    (void)fclose(f);
    return b;
}

static int props(const char *path) {
    struct buf text = read_file(path);
    struct config_props p;
    int rc = config_props_load(&p, buf_slice(&text));
    if (rc) puts("MALFORMED");
    for (uint32_t i = 0; i < p.n && !rc; i++) printf("%s -> [%s]\n", p.at[i].key, p.at[i].value);
    config_props_free(&p);
    buf_free(&text);
    return 0;
}

static const char *str(const char *s) {
    return s ? s : "(null)";
}

#define INT(f) printf(#f "=%lld\n", (long long)c->f)
#define FRACTION(f) printf(#f "=%g\n", c->f)
#define TEXT(f) printf(#f "=%s\n", str(c->f))

static void print_server(const struct config *c) {
    INT(client_port), TEXT(client_port_address), INT(listen_backlog), INT(max_client_cnxns);
    INT(max_cnxns), INT(tcp_keepalive), INT(sessionless_timeout_ms), INT(tick_time_ms);
    INT(min_session_timeout_ms), INT(max_session_timeout_ms), INT(local_sessions);
    INT(local_sessions_upgrading), TEXT(data_dir), TEXT(data_log_dir), INT(datadir_autocreate);
    INT(db_autocreate), INT(trust_empty_snapshot), INT(snap_count), INT(snap_size_limit_kb);
    INT(txn_log_size_limit_kb), INT(pre_alloc_size_kb), INT(commit_log_count);
    FRACTION(snapshot_size_factor), INT(force_sync), INT(fsync_warning_ms);
    INT(digest_enabled), INT(autopurge_retain), INT(autopurge_interval_h);
    TEXT(super_digest), INT(digest_auth), INT(enforce_auth), TEXT(enforce_auth_schemes);
    TEXT(four_letter_whitelist), INT(metrics);
}

static void print_requests(const struct config *c) {
    INT(extended_types), INT(emulate353), INT(jute_max_buffer), INT(jute_extra_size);
    INT(global_outstanding_limit), INT(skip_acl), INT(enforce_quota);
    INT(large_request_max_bytes), INT(large_request_threshold);
    INT(connection_throttle_tokens), INT(connection_throttle_fill_ms);
    INT(connection_throttle_fill_count), INT(connection_throttle_freeze_ms);
    FRACTION(connection_throttle_drop_increase), FRACTION(connection_throttle_drop_decrease);
    FRACTION(connection_throttle_decrease_ratio), INT(connection_throttle_weighted);
    INT(connection_throttle_global_weight), INT(connection_throttle_local_weight);
    INT(connection_throttle_renew_weight), INT(container_check_interval_ms);
    INT(container_max_per_minute), INT(container_max_never_used_ms);
}

static void print_ensemble(const struct config *c) {
    INT(init_limit), INT(sync_limit), INT(learner_master_limit), INT(observer_master_port);
    INT(quorum_listen_on_all_ips), INT(sync_enabled), INT(standalone_enabled);
    INT(reconfig_enabled), INT(multi_address), INT(multi_address_check);
    INT(multi_address_check_ms), TEXT(dynamic_config_file), INT(server_id);
    INT(leader_serves), INT(force_snapshot_sync), INT(cnx_timeout_ms);
    INT(quorum_cnxn_timeout_ms), INT(election_bind_retries), INT(notification_min_ms);
    INT(notification_max_ms), INT(leader_epoch_wait_ms), INT(leader_connect_delay_ms);
    INT(observer_election_delay_ms), INT(hierarchical);
    struct buf text = {0};
    config_string(c, &text);
    buf_putc(&text, '\0');
    for (char *line = (char *)text.p, *end; line; line = end) {
        if ((end = strchr(line, '\n'))) *end++ = '\0';
        printf("string: %s\n", line);
    }
    buf_free(&text);
    for (uint32_t i = 0; i < c->member_count; i++) {
        const struct config_member *m = &c->members[i];
        printf("member=%lld %s %s %d\n", (long long)m->id, m->observer ? "observer" : "participant",
               str(m->client_host), (int)m->client_port);
    }
}

static const char *step(int argc, char **argv, const char *name) {
    size_t n = strlen(name);
    for (int i = 3; i < argc; i++)
        if (strncmp(argv[i], name, n) == 0) return argv[i] + n;
    return NULL;
}

static int file(struct config *c, struct logq *log, int argc, char **argv) {
    const char *jvm = step(argc, argv, "jvm="), *dynamic = step(argc, argv, "dynamic=");
    const char *myid = step(argc, argv, "myid=");
    struct buf text = read_file(argv[2]);
    if (jvm) config_jvm_flags(c, jvm, log);
    int rc = config_parse(c, buf_slice(&text), log);
    buf_free(&text);
    if (!rc && dynamic) {
        text = read_file(dynamic);
        rc = config_parse_dynamic(c, buf_slice(&text), log);
        buf_free(&text);
    }
    return !rc && myid ? config_parse_myid(c, slice_str(myid)) : rc;
}

int main(int argc, char **argv) {
    static const char *const levels[] = {"", "ERROR", "WARN", "INFO", "DEBUG"};
    struct logq log = {.max_level = LOG_DEBUG_LEVEL};
    struct config c;
    const char *line;
    int level;
    if (argc < 3) return 2;
    if (strcmp(argv[1], "props") == 0) return props(argv[2]);
    config_defaults(&c);
    int rc = strcmp(argv[1], "file") == 0
                 ? file(&c, &log, argc, argv)
                 : config_parse_args(&c, argc - 2, (const char *const *)(argv + 2));
    while (log_take(&log, &level, &line)) printf("%s %s\n", levels[level], line);
    if (rc) {
        printf("%s %s\n", c.error_kind == CONFIG_ERROR_WRAPPED ? "WRAPPED" : "PLAIN", c.error);
    } else {
        print_server(&c);
        print_requests(&c);
        print_ensemble(&c);
    }
    config_free(&c);
    buf_free(&log.lines);
    return 0;
}
