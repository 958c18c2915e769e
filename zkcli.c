/*
 * zkcli: the ZooKeeper shell.
 *
 *   zkcli [-server hosts] [-timeout ms] [-r] [-waitforconnection] [-client-configuration file]
 *         [--json] [command words...]
 *
 * With a command it runs that one, else it reads lines, as stock does when it has no JLine.
 * Commands, texts, streams and exit codes (0; 1 error; 2 bad configuration; 127 no
 * such command) are those of stock's zkCli.sh 3.9. Kinder than stock: what makes stock end with a
 * stack trace is one line here, a line of blanks is ignored, the session is always closed.
 * One thread does it all: the session lives in turn(), which waits for the server and the keyboard.
 */
#define _POSIX_C_SOURCE 200809L

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "zk.h"

#define WINDOW 1000 /* requests in flight */
#define QUOTA "/zookeeper/quota"
#define COUNT(a) (sizeof(a) / sizeof *(a))

struct text { /* grows; NUL-terminated once something was put */
    char *s;
    size_t n, cap;
};

struct args {
    const struct command *command;
    char **raw, **word; /* all words; those that are neither options nor their values */
    int raw_n, n;
    int32_t version;        /* of -v */
    const char *value[128]; /* of an option, by its first letter; "" when it takes none */
};

struct command {
    const char *name, *usage; /* more lines of usage may follow the first */
    const char *options;      /* "s v: file:" (with : it takes a value); NULL: words are words */
    char group;               /* '|': at most one of the options, '!': exactly one */
    int words;                /* at least, itself included; 0: does without a session, too */
    int (*run)(struct args *a);
    const char *old; /* a word too many was a watch (version) once: what to write today */
};

static struct shell {
    struct zk *zk;            /* NULL: closed */
    struct zk_result *result; /* of the latest call() */
    const char *host;
    int timeout_ms, op_timeout_ms, count, exit_code, pending, error, acl_n;
    unsigned flags, max_packet, failed;       /* failed: attempts to connect */
    bool json, quiet, wait, quitting, inside; /* inside: a callback may run */
    enum zk_watch_kind mode;                  /* of addWatch, the latest one given */
    char **history;                           /* lines of this run, count of them */
    struct text document, warnings, *doc;     /* doc: where JSON goes, one of the others */
    struct zk_acl *acl;                       /* that was read last */
} sh = {.timeout_ms = 30000, .mode = ZK_WATCH_RECURSIVE, .doc = &sh.document};

static struct tree { /* a subtree, as walk() has read it */
    struct node {
        char *name;
        uint32_t parent, first, n; /* n children, from first on, sorted by name */
        int error;
    } *node;
    uint32_t n, cap, asked, done;
    char *root;
    bool watch;
    int64_t batch;   /* of deleteall */
    int32_t version; /* of setAcl */
} tree;

static volatile sig_atomic_t interrupted;

/* --- text --- */

static void *grow(void *p, size_t n) {
    void *q = realloc(p, n ? n : 1);
    if (q) return q;
    fputs("zkcli: out of memory\n", stderr);
    exit(1);
}

static char *copy(const char *s) { return strcpy(grow(NULL, strlen(s) + 1), s); }

static void put(struct text *t, const void *s, size_t n) {
    if (t->n + n + 1 > t->cap) t->s = grow(t->s, t->cap = (t->n + n + 1) * 2);
    if (n) memcpy(t->s + t->n, s, n);
    t->s[t->n += n] = '\0';
}

static void add(struct text *t, const char *s) { put(t, s, strlen(s)); }

/* A formatted text, good for 15 more of them. Callbacks use up texts of their own. */
static const char *fmt(const char *format, ...) {
    static struct text ring[2][16];
    static unsigned turns[2];
    struct text *t = &ring[sh.inside][turns[sh.inside]++ % 16];
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    size_t n = (size_t)vsnprintf(NULL, 0, format, again) + 1;
    if (n > t->cap) t->s = grow(t->s, t->cap = n);
    (void)vsnprintf(t->s, n, format, ap);
    va_end(again);
    va_end(ap);
    return t->s;
}

/* One character of UTF-8; its length. What is malformed is U+FFFD, in pieces as Java cuts them. */
static size_t utf8_next(const char *s, size_t n, uint32_t *c) {
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s;
    size_t more = *p < 0x80 ? 0 : *p < 0xc2 ? 4 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : 4;
    *c = more ? 0xfffd : *p;
    if (more == 0 || more == 4) return 1;
    uint32_t v = *p & (0x3fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if (i == n || (p[i] & 0xc0) != 0x80) return i;
        v = v << 6 | (p[i] & 0x3f);
        uint32_t low = v << 6 * (more - 1);
        if (i == 1 && (low < least[more] || low > 0x10ffff)) return 1;
    }
    if (v - 0xd800 >= 0x800) *c = v;
    return more + 1;
}

static void put_utf8(struct text *t, const char *s, size_t n) {
    uint32_t c;
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_next(s + i, n - i, &c);
        put(t, c == 0xfffd ? "\xef\xbf\xbd" : s + i, c == 0xfffd ? 3 : len);
    }
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_base64(struct text *t, const void *data, size_t n) {
    const unsigned char *p = data;
    put(t, "", 0);
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
                     (i + 2 < n ? p[i + 2] : 0);
        char d[] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=',
                    i + 2 < n ? digits[v & 63] : '='};
        put(t, d, 4);
    }
}

/* NULL, or what is wrong with it. Padding may be absent. */
static const char *read_base64(const char *s, struct text *out) {
    size_t n = strlen(s), pad = 0;
    unsigned v = 0;
    while (pad < 2 && n && s[n - 1] == '=') n--, pad++;
    put(out, "", 0);
    for (size_t i = 0; i < n; i++) {
        const char *digit = strchr(digits, s[i]);
        if (!digit) return fmt("Illegal base64 character %x", (unsigned)(unsigned char)s[i]);
        v = v << 6 | (unsigned)(digit - digits);
        char byte = (char)(v >> (6 - 2 * (i % 4)));
        if (i % 4) put(out, &byte, 1);
    }
    bool bad = n % 4 == 1 || (pad && (n + pad) % 4);
    return bad ? "Input byte array has wrong 4-byte ending unit" : NULL;
}

/* stock: Integer.parseInt, Long.parseLong; base 0: Integer.decode */
static bool number(const char *s, int base, int64_t min, int64_t max, int64_t *out) {
    char *end;
    if (!isxdigit((unsigned char)s[*s == '-' || *s == '+']) || (base && strpbrk(s, "xX")))
        return false;
    errno = 0;
    *out = strtoll(s, &end, base);
    return !errno && !*end && *out >= min && *out <= max;
}

static int64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Cuts off the text in front of a character; *p is what follows, NULL after the last. */
static char *cut(char **p, char at) {
    char *start = *p, *end = start ? strchr(start, at) : NULL;
    if (end) *end++ = '\0';
    *p = end;
    return start;
}

/* --- output: each fact is said twice, as text and as JSON; the mode that is off swallows it --- */

static void out_bytes(FILE *to, const char *s, size_t n) {
    struct text t = {0};
    if (sh.json) return;
    if (to == stderr) fflush(stdout);
    put_utf8(&t, s, n);
    if (t.n) fwrite(t.s, 1, t.n, to);
    free(t.s);
}

static void out(FILE *to, const char *s) { out_bytes(to, s, strlen(s)); }

static void js_quote(const char *s, size_t n) {
    uint32_t c;
    put(sh.doc, "\"", 1);
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_next(s + i, n - i, &c);
        if (c < 0x20 || c == 0x7f) add(sh.doc, fmt("\\u%04x", c));
        else if (c == '"' || c == '\\') add(sh.doc, fmt("\\%c", (int)c));
        else put_utf8(sh.doc, s + i, len);
    }
    put(sh.doc, "\"", 1);
}

static void js_put(const char *brackets) { add(sh.doc, sh.json ? brackets : ""); }

/* A value as it stands in JSON, "[" and "{" too; key NULL: an element of an array. */
static void js(const char *key, const char *value) {
    if (!sh.json) return;
    char last = sh.doc->n ? sh.doc->s[sh.doc->n - 1] : '{';
    if (last != '{' && last != '[') add(sh.doc, ",");
    if (key) js_quote(key, strlen(key)), add(sh.doc, ":");
    add(sh.doc, value);
}

static void js_text(const char *key, const char *s) {
    js(key, "");
    if (sh.json) js_quote(s, strlen(s));
}

static void js_print(struct text *t) {
    if (sh.json) fwrite(t->s, 1, t->n, stdout), putchar('\n');
    fflush(stdout);
    t->n = 0;
}

static void say(FILE *to, const char *key, const char *before, const char *value) {
    js_text(key, value);
    out(to, fmt("%s%s\n", before, value));
}

/* Something beside the result. */
static void warn(FILE *to, const char *text) {
    struct text *doc = sh.doc;
    sh.doc = &sh.warnings;
    js_text(NULL, text);
    sh.doc = doc;
    out(to, text);
}

/* The one way in which a command goes wrong; its exit code. */
static int fail(int error, const char *text) {
    js("error", fmt("{\"code\":%d", error));
    js_text("name", zk_error_name(error));
    js_text("message", text);
    js_put("}");
    out(stderr, fmt("%s\n", text));
    return 1;
}

static int refuse(const char *text) { return fail(ZK_BAD_ARGUMENTS, text); }

/* stock: KeeperException.Code, CliWrapperException */
static const struct error_row {
    int code;
    const char *text, *line; /* line: what stands in front of the path */
} errors[] = {
    {ZK_SYSTEM_ERROR, "SystemError", NULL}, {ZK_CONNECTION_LOSS, "ConnectionLoss", NULL},
    {ZK_RUNTIME_INCONSISTENCY, "RuntimeInconsistency", NULL}, {ZK_API_ERROR, "APIError", NULL},
    {ZK_DATA_INCONSISTENCY, "DataInconsistency", NULL}, {ZK_UNIMPLEMENTED, "Unimplemented", NULL},
    {ZK_MARSHALLING_ERROR, "MarshallingError", NULL},
    {ZK_OPERATION_TIMEOUT, "OperationTimeout", NULL},
    {ZK_BAD_ARGUMENTS, "BadArguments", "Arguments are not valid : "},
    {ZK_NEW_CONFIG_NO_QUORUM, "NewConfigNoQuorum",
     "No quorum of new config is connected and up-to-date with the leader of last commmitted config"
     " - try invoking reconfiguration after new servers are connected and synced"},
    {ZK_RECONFIG_IN_PROGRESS, "ReconfigInProgress",
     "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)"},
    {ZK_NO_NODE, "NoNode", "Node does not exist: "},
    {ZK_NO_AUTH, "NoAuth", "Insufficient permission : "},
    {ZK_BAD_VERSION, "BadVersion", "version No is not valid : "},
    {ZK_NO_CHILDREN_FOR_EPHEMERALS, "NoChildrenForEphemerals", "Ephemerals cannot have children: "},
    {ZK_NODE_EXISTS, "NodeExists", "Node already exists: "},
    {ZK_NOT_EMPTY, "Directory not empty", "Node not empty: "},
    {ZK_SESSION_EXPIRED, "Session expired", NULL}, {ZK_CLOSING, "Session expired", NULL},
    {ZK_INVALID_ACL, "InvalidACL", "Acl is not valid : "}, {ZK_AUTH_FAILED, "AuthFailed", NULL},
    {ZK_SESSION_MOVED, "Session moved", NULL}, {ZK_NO_WATCHER, "No such watcher", NULL},
    {ZK_NOT_READ_ONLY, "Not a read-only call", "Not a read-only call: "},
    {ZK_EPHEMERAL_ON_LOCAL_SESSION, "Ephemeral node on local session", NULL},
    {ZK_RECONFIG_DISABLED, "Reconfig is disabled", NULL},
    {ZK_SESSION_CLOSED_REQUIRE_SASL_AUTH, "Session closed because client failed to authenticate",
     NULL},
    {ZK_QUOTA_EXCEEDED, "Quota has exceeded", "Quota has exceeded : "},
    {ZK_THROTTLED_OP, "Op throttled due to high load", NULL},
};

static const struct error_row *error_row(int error) {
    static const struct error_row other = {0, NULL, NULL};
    for (size_t i = 0; i < COUNT(errors); i++)
        if (errors[i].code == error) return &errors[i];
    return &other;
}

static const char *keeper_text(int error, const char *path) {
    const char *text = error_row(error)->text;
    if (error <= ZK_OUT_OF_MEMORY) return zk_strerror(error);
    return fmt("KeeperErrorCode = %s%s%s%s", text ? text : "Unknown error ",
               text ? "" : zk_error_name(error), path && *path ? " for " : "", path ? path : "");
}

static int fail_zk(int error, const char *path) {
    const char *line = error_row(error)->line;
    if (!line) return fail(error, keeper_text(error, path));
    bool whole = error == ZK_NEW_CONFIG_NO_QUORUM || error == ZK_RECONFIG_IN_PROGRESS;
    return fail(error, fmt("%s%s", line, whole ? "" : path ? path : "null"));
}

static int usage(const struct args *a) {
    return refuse(fmt("%s %s", a->command->name, a->command->usage));
}

static int bad_number(const char *s) {
    return refuse(fmt("java.lang.NumberFormatException: For input string: \"%s\"", s));
}

/* stock: Date.toString */
static const char *date(int64_t ms) {
    char when[64] = "?";
    time_t seconds = (time_t)(ms / 1000);
    struct tm *tm = localtime(&seconds);
    if (tm) (void)strftime(when, sizeof when, "%a %b %d %H:%M:%S %Z %Y", tm);
    return fmt("%s", when);
}

static void say_stat(const struct zk_stat *s) {
    const struct {
        const char *name;
        char form; /* x: hexadecimal, t: time, d: decimal */
        int64_t v;
    } rows[] = {{"cZxid", 'x', s->czxid}, {"ctime", 't', s->ctime}, {"mZxid", 'x', s->mzxid},
                {"mtime", 't', s->mtime}, {"pZxid", 'x', s->pzxid}, {"cversion", 'd', s->cversion},
                {"dataVersion", 'd', s->version}, {"aclVersion", 'd', s->aversion},
                {"ephemeralOwner", 'x', s->ephemeral_owner}, {"dataLength", 'd', s->data_length},
                {"numChildren", 'd', s->num_children}};
    js("stat", "{");
    for (size_t i = 0; i < COUNT(rows); i++) {
        char form = rows[i].form;
        const char *hex = fmt("0x%" PRIx64, rows[i].v), *decimal = fmt("%" PRId64, rows[i].v);
        js(rows[i].name, form == 'x' ? fmt("\"%s\"", hex) : decimal);
        out(stdout, fmt("%s = %s\n", rows[i].name,
                        form == 'x' ? hex : form == 't' ? date(rows[i].v) : decimal));
    }
    js_put("}");
}

static void say_list(const char *key, const char *const *names, int n) {
    js(key, "["), out(stdout, "[");
    for (int i = 0; i < n; i++) {
        js_text(NULL, names[i]);
        out(stdout, fmt("%s%s", i ? ", " : "", names[i]));
    }
    js_put("]"), out(stdout, "]\n");
}

/* stock: ByteBufUtil.prettyHexDump */
static void put_hexdump(struct text *t, const unsigned char *p, size_t n) {
    static const char edge[] = "+-------------------------------------------------+";
    if (!n) return;
    add(t, fmt("%9s%s\n%9s|  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n", "", edge, ""));
    add(t, fmt("+--------%s----------------+\n", edge));
    for (size_t row = 0, i; row < n; row += 16) {
        add(t, fmt("|%08zx|", row));
        for (i = row; i < row + 16; i++) add(t, i < n ? fmt(" %02x", (unsigned)p[i]) : "   ");
        add(t, " |");
        for (i = row; i < row + 16; i++)
            add(t, fmt("%c", i >= n ? ' ' : p[i] < 0x20 || p[i] >= 0x7f ? '.' : p[i]));
        add(t, "|\n");
    }
    add(t, fmt("+--------%s----------------+", edge));
}

/* form: 'b' base64, 'x' hexdump, 't' text. In JSON it is text where it can be, else base64. */
static void say_data(char form, const void *data, int len) {
    struct text t = {0};
    size_t n = (size_t)(len < 0 ? 4 : len);
    if (len < 0) data = "null";
    put_utf8(&t, data, n);
    bool clean = t.n == n && (!n || memcmp(t.s, data, n) == 0);
    if (sh.json) form = form == 'b' || !clean ? 'b' : 't';
    if (form != 't') t.n = 0;
    if (form == 'x') put_hexdump(&t, data, n);
    if (form == 'b') put_base64(&t, data, n);
    js(form == 'b' && len >= 0 ? "data_base64" : "data", len < 0 ? "null" : "");
    if (sh.json && len >= 0) js_quote(t.s, t.n);
    add(&t, "\n");
    out_bytes(stdout, t.s, t.n);
    free(t.s);
}

/* --- the session --- */

/* In JSON those of watches only, as a document of their own. */
static void say_event(const char *state, const char *type, const char *path, int64_t zxid) {
    struct text alone = {0}, *doc = sh.doc;
    if (sh.quiet) return;
    out(stdout, fmt("\nWATCHER::\n\nWatchedEvent state:%s type:%s path:%s zxid: %" PRId64 "\n",
                    state, type, path, zxid));
    sh.doc = &alone;
    js_text("event", type);
    js_text("path", path);
    js("zxid", zxid < 0 ? "null" : fmt("\"0x%" PRIx64 "\"", zxid));
    if (sh.json && strcmp(type, "None") != 0) printf("{%s}\n", alone.s);
    fflush(stdout);
    sh.doc = doc;
    free(alone.s);
}

static const char *event_name(enum zk_event_type type) {
    static const char *const names[] = {
        "None", "NodeCreated", "NodeDeleted", "NodeDataChanged", "NodeChildrenChanged",
        "DataWatchRemoved", "ChildWatchRemoved", "PersistentWatchRemoved"};
    return (size_t)type < COUNT(names) ? names[type] : "Unknown";
}

static enum zk_state state(void) { return sh.zk ? zk_state(sh.zk) : ZK_STATE_CLOSED; }
static bool alive(void) { return state() < ZK_STATE_EXPIRED; }
static bool up(void) { return state() == ZK_STATE_CONNECTED || state() == ZK_STATE_READ_ONLY; }

/* One event that meets watches of several paths is said once. */
static void on_event(void *user, const struct zk_event *e) {
    static struct zk_event last;
    static struct text path;
    (void)user;
    bool again = e->zxid >= 0 && e->zxid == last.zxid && e->type == last.type && path.n &&
                 strcmp(e->path, path.s) == 0;
    last = *e;
    path.n = 0;
    add(&path, e->path);
    const char *session = state() == ZK_STATE_READ_ONLY ? "ConnectedReadOnly" : "SyncConnected";
    if (!again) say_event(session, event_name(e->type), e->path, e->zxid);
}

static void on_state(void *user, enum zk_state now, int64_t session_id) {
    static const char *const names[] = {NULL, NULL, "SyncConnected", "ConnectedReadOnly",
                                        "Disconnected", NULL, "Expired", "AuthFailed", NULL};
    (void)user, (void)session_id;
    if (names[now]) say_event(names[now], "None", "null", -1);
}

static void on_log(void *user, int level, const char *text) {
    (void)user;
    if (strncmp(text, "connection given up", 19) == 0) sh.failed++;
    if (level <= ZK_LOG_WARN) fprintf(stderr, "zkcli: %s\n", text);
}

static void on_interrupt(int signal_number) { (void)signal_number, interrupted = 1; }

/* The next interrupt ends what is being done, a second one the shell. */
static void catch_interrupts(void) {
    struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    interrupted = 0;
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
}

/* One turn of the loop: waits for the session or for input on fd (-1: none), at most ms (-1: a
 * second, for a signal may have come just before). True when there is input. */
static bool turn(int fd, int64_t ms) {
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = -1}};
    if (alive()) {
        int wants = zk_wants(sh.zk), wait = zk_wait_ms(sh.zk);
        p[1].fd = zk_fd(sh.zk);
        if (wants & ZK_READABLE) p[1].events |= POLLIN;
        if (wants & ZK_WRITABLE) p[1].events |= POLLOUT;
        if (wait >= 0 && (ms < 0 || wait < ms)) ms = wait;
    }
    if (poll(p, 2, ms < 0 || ms > 1000 ? 1000 : (int)ms) < 0) p[0].revents = 0;
    sh.inside = true;
    if (sh.zk) (void)zk_step(sh.zk);
    sh.inside = false;
    return p[0].revents != 0;
}

static void close_session(void) {
    bool told = alive();
    if (sh.zk) (void)(up() ? zk_close(sh.zk, 2000) : zk_abandon(sh.zk));
    zk_free(sh.zk);
    sh.zk = NULL;
    if (told) say_event("Closed", "None", "null", -1);
}

static int open_session(const char *host) {
    struct zk_options o = {.hosts = host, .session_timeout_ms = sh.timeout_ms,
                           .op_timeout_ms = sh.op_timeout_ms, .max_packet = sh.max_packet,
                           .flags = sh.flags | ZK_OWN_LOOP | ZK_FAIL_FAST, .on_state = on_state,
                           .log = on_log};
    close_session();
    sh.host = copy(host);
    int err = zk_open(&sh.zk, &o);
    return err ? fail(err, fmt("Cannot use the connect string \"%s\"", host)) : 0;
}

/* Waits for a connection, until every server has been tried in vain. */
static int connected(void) {
    int64_t end = now_ms() + sh.timeout_ms;
    unsigned hosts = 1;
    for (const char *p = sh.host; *p && *p != '/'; p++) hosts += *p == ',';
    for (sh.failed = 0; !up(); (void)turn(-1, end - now_ms())) {
        if (!alive()) return state() == ZK_STATE_AUTH_FAILED ? ZK_AUTH_FAILED : ZK_SESSION_EXPIRED;
        if (sh.failed >= hosts || now_ms() >= end || interrupted) return ZK_CONNECTION_LOSS;
    }
    return ZK_OK;
}

/* Does an operation; what came of it is in sh.result until the next one. */
static int call(struct zk_op op) {
    zk_result_free(sh.result);
    sh.result = NULL;
    int err = connected();
    sh.inside = true;
    if (!err) err = zk_call(sh.zk, op, &sh.result);
    sh.inside = false;
    return err;
}

/* stock: PathUtils.validatePath */
static int check_path(const char *p) {
    const char *why = NULL;
    size_t n = strlen(p), len;
    uint32_t c;
    int i = 0;
    if (n == 0) return refuse("Path length must be > 0");
    if (*p != '/') return refuse("Path must start with / character");
    if (n > 1 && p[n - 1] == '/') return refuse("Path must not end with / character");
    for (const char *s = p + 1; *s && !why; s += len, i++) {
        bool ends = !s[1] || s[1] == '/';
        len = utf8_next(s, n - (size_t)(s - p), &c);
        if (c == '/' && s[-1] == '/') why = "empty node name specified";
        if (c == '.' && ends && (s[-1] == '/' || (s[-1] == '.' && s[-2] == '/')))
            why = "relative paths not allowed";
        if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xd800 && c < 0xf900) || c >= 0xfff0)
            why = "invalid character";
    }
    return why ? refuse(fmt("Invalid path string \"%s\" caused by %s @%d", p, why, i)) : 0;
}

/* Does an operation on a path and says what goes wrong: an exit code. */
static int run(struct zk_op op) {
    int err = check_path(op.path);
    if (err || !(err = call(op))) return err;
    return fail_zk(err, op.path);
}

static struct zk_op watching(const struct args *a, struct zk_op op) {
    return a->value['w'] ? zk_watching(op, on_event, NULL) : op;
}

/* --- words and options --- */

/* Cuts a line into words, in place. Quotes count where a word begins; those without end do not. */
static char **split(char *line, int *n) {
    char **words = grow(NULL, sizeof *words * (strlen(line) / 2 + 2));
    *n = 0;
    for (char *p = line, *end; *p;) {
        bool quote = *p == '"' || *p == '\'';
        end = quote ? strchr(p + 1, *p) : p + strcspn(p, " \t\n\v\f\r");
        if (end && end != p) {
            words[(*n)++] = p + quote;
            p = end + (*end != '\0');
            *end = '\0';
        } else {
            p++;
        }
    }
    return words;
}

/* An option of the list by its name, or NULL. */
static const char *option_find(const char *list, const char *name, size_t n) {
    for (const char *p = list; *p; p += strcspn(p, " "), p += *p == ' ')
        if (n && strcspn(p, ": ") == n && strncmp(p, name, n) == 0) return p;
    return NULL;
}

static bool option_valued(const char *option) { return option[strcspn(option, ": ")] == ':'; }
static int option_fail(const char *what) { return refuse(fmt("org.apache.commons.cli.%s", what)); }

/* The option found for a word. What can be wrong is said in the words of commons-cli. */
static int option_take(struct args *a, const char *option, const char *word, const char **open) {
    if (!option)
        return option_fail(fmt("UnrecognizedOptionException: Unrecognized option: %s", word));
    if (*open)
        return option_fail(fmt("MissingArgumentException: Missing argument for option: %.*s",
                               (int)strcspn(*open, ": "), *open));
    for (const char *p = a->command->options; a->command->group && *p; p++)
        if (isalpha((unsigned char)*p) && a->value[(int)*p] && *p != *option)
            return option_fail(fmt("AlreadySelectedException: The option '%c' was specified but an"
                                   " option from this group has already been selected: '%c'",
                                   *option, *p));
    if (!a->value[(int)*option]) a->value[(int)*option] = "";
    *open = option_valued(option) ? option : NULL;
    return 0;
}

/* The first value holds. */
static void option_value(struct args *a, const char **open, const char *value) {
    if (!*a->value[(int)**open]) a->value[(int)**open] = value;
    *open = NULL;
}

/* stock: DefaultParser. A word with options: -s, -sw, -v3, -v=3, -file. */
static int option_parse(struct args *a, const char *word, const char **open) {
    const char *list = a->command->options, *t = word + 1;
    size_t n = strcspn(t, "="), whole = *t == '-' || t[n] || option_find(list, t, n) ? n : 1;
    for (int err; *t; t += whole) {
        const char *o = *t == '-' ? NULL : option_find(list, t, whole);
        if (o && t[whole] == '=' && (whole > 1 || !option_valued(o))) o = NULL;
        if ((err = option_take(a, o, word, open))) return err;
        if (!*open || !t[whole]) continue;
        option_value(a, open, t + whole + (t[whole] == '='));
        break;
    }
    return 0;
}

/* After an option that takes a value: all but another option, and negative numbers. */
static bool option_is_value(const char *list, const char *word) {
    char *end;
    bool other = word[0] == '-' && (option_find(list, word + 1, strcspn(word + 1, "=")) ||
                                    option_find(list, word + 1, 1));
    if (other) (void)strtod(word, &end);
    return !other || !*end;
}

static int parse_options(struct args *a) {
    const char *open = NULL, *list = a->command->options, *p = list;
    bool plain = !list;
    memset(a->value, 0, sizeof a->value);
    a->n = 0;
    for (int i = 0, err = 0; i < a->raw_n; i++) {
        char *w = a->raw[i];
        if (!plain && strcmp(w, "--") == 0) plain = true;
        else if (!plain && open && option_is_value(list, w)) option_value(a, &open, w);
        else if (!plain && w[0] == '-' && w[1]) err = option_parse(a, w, &open);
        else a->word[a->n++] = w;
        if (err) return err;
    }
    if (open) return option_take(a, open, "", &open);
    if (a->command->group != '!') return 0;
    while (*p && !a->value[(int)*p]) p++;
    return *p ? 0 : option_fail("MissingOptionException: Missing required option: [-n num soft"
                                " quota, -b bytes soft quota, -N num hard quota,"
                                " -B bytes hard quota]");
}

/* A word too many: it stands for -w (of delete: it is ignored), and the options are read again. */
static int old_spelling(struct args *a) {
    static char watch[] = "-w";
    const char *name = a->command->name, *word = *name == 'd' ? "version" : "watch";
    if (*word == 'w') a->raw[2] = watch;
    warn(stderr, fmt("'%s path [%s]' has been deprecated. Please use '%s %s path' instead.\n", name,
                     word, name, a->command->old));
    return parse_options(a);
}

static const char *perms_text(int p) {
    return fmt("%s%s%s%s%s", p & ZK_PERM_CREATE ? "c" : "", p & ZK_PERM_DELETE ? "d" : "",
               p & ZK_PERM_READ ? "r" : "", p & ZK_PERM_WRITE ? "w" : "",
               p & ZK_PERM_ADMIN ? "a" : "");
}

/* One "scheme:id:perms", which it cuts, onto sh.acl. stock: AclParser */
static void acl_entry(char *entry) {
    static const char letters[] = "rwcda";
    char *first = strchr(entry, ':'), *last = strrchr(entry, ':');
    uint32_t c;
    if (!first || first == last) {
        warn(stderr, fmt("%s does not have the form scheme:id:perm\n", entry));
        return;
    }
    *first = *last = '\0';
    sh.acl = grow(sh.acl, sizeof *sh.acl * (size_t)(sh.acl_n + 1));
    struct zk_acl *acl = &sh.acl[sh.acl_n++];
    *acl = (struct zk_acl){.scheme = entry, .id = first + 1};
    for (size_t i = 1, len; last[i]; i += len) {
        const char *known = strchr(letters, last[i]);
        len = utf8_next(last + i, strlen(last + i), &c);
        if (known) acl->perms |= 1 << (known - letters);
        else warn(stderr, fmt("Unknown perm type: %.*s\n", (int)len, last + i));
    }
}

static void acl_parse(char *list) {
    size_t n = strlen(list);
    sh.acl_n = 0;
    while (n > 1 && list[n - 1] == ',') list[--n] = '\0';
    while (list && strcmp(list, ",") != 0) acl_entry(cut(&list, ','));
}

/* --- subtrees: many requests in flight, whose replies come in order --- */

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void submit(struct zk_op op, zk_result_fn done) {
    int64_t id = zk_submit(sh.zk, op, done, NULL);
    if (id < 0) sh.error = (int)id;
    else sh.pending++;
}

/* Keeps so many requests in flight until next() has no more to submit; the first error ends it.
 * When that takes longer than a second it says on a terminal how far it has come. */
static int flow(const char *what, int window, bool (*next)(void)) {
    int64_t said = now_ms() + 800;
    bool told = false;
    tree.asked = tree.done = 0;
    for (sh.error = connected();;) {
        while (!sh.error && sh.pending < window && next()) {}
        if (!sh.pending) break;
        (void)turn(-1, -1);
        if (interrupted && !sh.error) sh.error = ZK_CANCELED;
        if (now_ms() - said < 200 || !isatty(2)) continue;
        told = fprintf(stderr, "\r%s %u nodes", what, tree.done) > 0;
        said = now_ms();
    }
    if (told) fputs("\r\033[K", stderr);
    return sh.error;
}

/* Good until the next. */
static const char *tree_path(uint32_t i) {
    static struct text t;
    size_t n = !i || tree.root[1] ? strlen(tree.root) : 0, end = n;
    for (uint32_t j = i; j; j = tree.node[j].parent) end += strlen(tree.node[j].name) + 1;
    if (end >= t.cap) t.s = grow(t.s, t.cap = end * 2 + 1);
    memcpy(t.s, tree.root, n);
    t.s[end] = '\0';
    for (uint32_t j = i; j; j = tree.node[j].parent) {
        n = strlen(tree.node[j].name);
        memcpy(t.s + (end -= n), tree.node[j].name, n);
        t.s[--end] = '/';
    }
    return t.s;
}

static void on_children(void *user, const struct zk_result *r) {
    uint32_t i = tree.done++, first = tree.n;
    (void)user, sh.pending--;
    for (int k = 0; k < r->count; k++) {
        if (tree.n == tree.cap) tree.node = grow(tree.node, sizeof *tree.node * (tree.cap *= 2));
        tree.node[tree.n++] = (struct node){.name = copy(r->names[k]), .parent = i};
    }
    tree.node[i].error = r->error;
    tree.node[i].first = first;
    tree.node[i].n = tree.n - first;
    qsort(tree.node + first, tree.n - first, sizeof *tree.node, by_name);
}

static bool next_children(void) {
    if (tree.asked == tree.n) return false;
    struct zk_op op = zk_get_children(tree_path(tree.asked++));
    submit(tree.watch ? zk_watching(op, on_event, NULL) : op, on_children);
    return true;
}

/* Reads the names of a subtree. An exit code: 1 if the first so many nodes cannot all be read. */
static int walk(const char *root, uint32_t must) {
    int err = check_path(root);
    if (err) return err;
    while (tree.n > 1) free(tree.node[--tree.n].name);
    if (!tree.cap) tree.node = grow(NULL, sizeof *tree.node * (tree.cap = 64));
    memset(tree.node, 0, sizeof *tree.node);
    tree.n = 1;
    free(tree.root);
    tree.root = copy(root);
    if ((err = flow("read", WINDOW, next_children))) return fail_zk(err, root);
    for (uint32_t i = 0; i < must && i < tree.n; i++)
        if (tree.node[i].error) return fail_zk(tree.node[i].error, tree_path(i));
    return 0;
}

static void say_path(uint32_t i) {
    js_text(NULL, tree_path(i));
    out(stdout, fmt("%s\n", tree_path(i)));
}

/* The paths of a node's children, then what is below each of them. */
static int list_tree(const char *root, bool watch) {
    int err = watch ? run(zk_watching(zk_get(root), on_event, NULL)) : 0;
    tree.watch = watch;
    if (!err) err = walk(root, 1);
    tree.watch = false;
    if (err) return err;
    uint32_t *stack = grow(NULL, sizeof *stack * tree.n), n = 1, at = 0;
    js("paths", "[");
    say_path(stack[0] = 0);
    while (n && !err) {
        const struct node *node = &tree.node[at = stack[--n]];
        if (node->error != ZK_NO_NODE) err = node->error;
        for (uint32_t k = 0; k < node->n; k++) {
            say_path(node->first + k);
            stack[n++] = node->first + node->n - 1 - k;
        }
    }
    js_put("]");
    free(stack);
    return err ? fail_zk(err, tree_path(at)) : 0;
}

static void on_deleted(void *user, const struct zk_result *r) {
    (void)user, sh.pending--;
    if (r->error) sh.error = r->error;
}

/* From the end: children stand behind their parents. */
static bool next_batch(void) {
    size_t bytes = 0;
    int n = 0;
    if (tree.done == tree.n) return false;
    struct zk_op *ops = grow(NULL, sizeof *ops * (size_t)tree.batch);
    for (; tree.done < tree.n && n < tree.batch && bytes < 500000; n++) {
        ops[n] = zk_delete(copy(tree_path(tree.n - ++tree.done)), -1);
        bytes += strlen(ops[n].path) + 32;
    }
    submit(zk_multi(ops, n), on_deleted);
    while (n) free((void *)(uintptr_t)ops[--n].path);
    free(ops);
    return true;
}

static int do_delete_all(struct args *a) {
    const char *b = a->value['b'];
    tree.batch = 1000;
    if (b && !number(b, 10, INT32_MIN, INT32_MAX, &tree.batch))
        return refuse("-b argument must be an int value");
    int err = walk(a->word[1], UINT32_MAX);
    for (uint32_t i = tree.n; tree.batch <= 0 && !err && i--;)
        err = run(zk_delete(tree_path(i), -1));
    if (tree.batch > tree.n) tree.batch = tree.n;
    if (!err && tree.batch > 0 && (err = flow("deleted", 10, next_batch)))
        return fail(err, "Failed to delete some node(s) in the subtree!"), 0;
    return err;
}

static void on_acl_set(void *user, const struct zk_result *r) {
    (void)user, sh.pending--;
    if (r->error) warn(stdout, keeper_text(r->error, tree_path(tree.done)));
    tree.done++;
}

static bool next_acl(void) {
    if (tree.asked == tree.n) return false;
    submit(zk_set_acl(tree_path(tree.asked++), sh.acl, sh.acl_n, tree.version), on_acl_set);
    return true;
}

static int set_acl_tree(struct args *a) {
    tree.version = a->version;
    int err = walk(a->word[1], 1);
    if (!err && (err = flow("set", WINDOW, next_acl))) err = fail_zk(err, a->word[1]);
    return err;
}

/* --- commands on one node; the stat that -s asks for is added by execute() --- */

static int do_ls(struct args *a) {
    if (a->value['R']) return list_tree(a->word[1], a->value['w']);
    int err = run(watching(a, zk_get_children(a->word[1])));
    if (err) return err;
    size_t n = (size_t)sh.result->count;
    const char **names = grow(NULL, sizeof *names * n);
    if (n) memcpy(names, sh.result->names, sizeof *names * n);
    qsort(names, n, sizeof *names, by_name);
    say_list("children", names, (int)n);
    free(names);
    return 0;
}

static int do_get(struct args *a) {
    int err = run(watching(a, zk_get(a->word[1])));
    char form = a->value['x'] ? 'x' : a->value['b'] ? 'b' : 't';
    if (!err) say_data(form, sh.result->data, sh.result->data_len);
    return err;
}

static int do_stat(struct args *a) {
    a->value['s'] = "";
    return run(watching(a, zk_exists(a->word[1])));
}

static int do_set(struct args *a) {
    struct text data = {0};
    const char *bad = a->value['b'] ? read_base64(a->word[2], &data) : NULL;
    if (!a->value['b']) add(&data, a->word[2]);
    int err = bad ? refuse(fmt("java.lang.IllegalArgumentException: %s", bad))
                  : run(zk_set(a->word[1], data.s, (int)data.n, a->version));
    free(data.s);
    return err;
}

static int do_create(struct args *a) {
    bool e = a->value['e'], s = a->value['s'], c = a->value['c'];
    const char *t = a->value['t'], *path = a->word[1], *data = a->n > 2 ? a->word[2] : NULL;
    struct zk_op op = zk_create(path, data, data ? (int)strlen(data) : -1, ZK_CONTAINER);
    bool long_ttl = !t || number(t, 10, INT64_MIN, INT64_MAX, &op.ttl_ms);
    const char *bad =
        c && (e || s) ? "-c cannot be combined with -s or -e. Containers cannot be ephemeral or"
                        " sequential."
        : !long_ttl ? "-t argument must be a long value"
        : t && e    ? "TTLs cannot be used with Ephemeral znodes"
        : t && c    ? "TTLs cannot be used with Container znodes"
        : t && (op.ttl_ms <= 0 || op.ttl_ms > 0xffffffffff)
            ? "ttl must be positive and cannot be larger than: 1099511627775" : NULL;
    if (bad) return refuse(bad);
    a->value['s'] = NULL;
    if (t) op.mode = s ? ZK_PERSISTENT_SEQUENTIAL_WITH_TTL : ZK_PERSISTENT_WITH_TTL;
    else if (!c) op.mode = (enum zk_create_mode)(e + 2 * s);
    if (a->n > 3) acl_parse(a->word[3]), op.acl = sh.acl, op.acl_count = sh.acl_n;
    int err = check_path(fmt("%s%s", path, s ? "1" : "")); /* a sequence number will follow */
    if (err) return err;
    if (a->n > 3 && !sh.acl_n) err = ZK_INVALID_ACL, path = NULL;
    else err = call(op);
    if (err == ZK_EPHEMERAL_ON_LOCAL_SESSION)
        warn(stderr, "Unable to create ephemeral node on a local session\n");
    if (err == ZK_INVALID_ACL) warn(stderr, fmt("%s\n", keeper_text(err, path)));
    if (err) return fail_zk(err, path);
    say(stderr, "created", "Created ", sh.result->path);
    return 0;
}

static int do_delete(struct args *a) { return run(zk_delete(a->word[1], a->version)); }

static void js_identity(const struct zk_acl *who) {
    js(NULL, "{");
    js_text("scheme", who->scheme);
    js_text("id", who->id);
}

static int do_get_acl(struct args *a) {
    int err = run(zk_get_acl(a->word[1]));
    if (err) return err;
    js("acl", "[");
    for (int i = 0; i < sh.result->count; i++) {
        const struct zk_acl *acl = &sh.result->acl[i];
        js_identity(acl);
        js_text("perms", perms_text(acl->perms));
        js_put("}");
        out(stdout, fmt("'%s,'%s\n: %s\n", acl->scheme, acl->id, perms_text(acl->perms)));
    }
    js_put("]");
    return 0;
}

static int do_set_acl(struct args *a) {
    acl_parse(a->word[2]);
    int err = check_path(a->word[1]);
    if (err) return err;
    if (!sh.acl_n) return fail_zk(ZK_INVALID_ACL, NULL);
    if (a->value['R']) return set_acl_tree(a);
    return run(zk_set_acl(a->word[1], sh.acl, sh.acl_n, a->version));
}

static int do_get_ephemerals(struct args *a) {
    int err = run(zk_get_ephemerals(a->n > 1 ? a->word[1] : "/"));
    if (!err) say_list("ephemerals", sh.result->names, sh.result->count);
    return err;
}

static int do_get_all_children_number(struct args *a) {
    int err = run(zk_get_all_children_number(a->word[1]));
    if (!err) js("number", fmt("%d", sh.result->number));
    if (!err) out(stdout, fmt("%d\n", sh.result->number));
    return err;
}

static int do_sync(struct args *a) {
    struct zk_op op = zk_sync(a->word[1]);
    op.timeout_ms = 30000;
    int err = check_path(op.path);
    if (err) return err;
    err = call(op);
    say(stdout, "sync", "", err ? fmt("Sync has failed. rc=%d", err) : "Sync is OK");
    return 0;
}

static int do_add_watch(struct args *a) {
    const char *mode = a->value['m'];
    bool stays = mode && strcasecmp(mode, "PERSISTENT") == 0;
    if (a->n != 2 || (mode && !stays && strcasecmp(mode, "PERSISTENT_RECURSIVE"))) return usage(a);
    if (mode) sh.mode = stays ? ZK_WATCH_PERSISTENT : ZK_WATCH_RECURSIVE;
    return run(zk_add_watch(a->word[1], sh.mode, on_event, NULL));
}

static int do_remove_watches(struct args *a) {
    const char *const *v = a->value;
    enum zk_watch_kind kind = v['c'] ? ZK_WATCH_CHILDREN : v['d'] ? ZK_WATCH_DATA
                              : v['p'] ? ZK_WATCH_PERSISTENT : v['r'] ? ZK_WATCH_RECURSIVE
                                                                    : ZK_WATCH_ANY;
    struct zk_op op = zk_remove_watches(a->word[1], kind, NULL, NULL);
    op.local = a->value['l'];
    return run(op);
}

/* --- quotas: limits and use stand in two nodes below /zookeeper/quota and the path --- */

struct quota { /* stock: StatsTrack */
    int64_t value[4];
    bool hard[4]; /* a hard limit that is said */
};

static const struct {
    char option;
    const char *name;
} quotas[] = {{'n', "count"}, {'b', "bytes"}, {'N', "countHardLimit"}, {'B', "byteHardLimit"}};

static const char *quota_node(const char *path, const char *leaf) {
    return fmt(QUOTA "%s/zookeeper_%s", path, leaf);
}

/* What the latest reply holds. */
static struct quota quota_read(void) {
    struct quota q = {.value = {-1, -1, -1, -1}};
    for (const char *s = sh.result->data ? sh.result->data : ""; *s; s += strspn(s, ",;")) {
        size_t n = strcspn(s, "=");
        for (int i = 0; i < 4; i++) {
            if (!s[n] || strncmp(s, quotas[i].name, n) || quotas[i].name[n]) continue;
            q.value[i] = strtoll(s + n + 1, NULL, 10);
            q.hard[i] = i > 1;
        }
        s += strcspn(s, ",;");
    }
    return q;
}

static const char *quota_text(const struct quota *q) {
    const char *t = fmt("count=%" PRId64 ",bytes=%" PRId64 "%s", q->value[0], q->value[1],
                        q->hard[2] || q->hard[3] ? "=" : "");
    for (int i = 3; i > 1; i--)
        if (q->hard[i]) t = fmt("%s;%s=%" PRId64, t, quotas[i].name, q->value[i]);
    return t;
}

/* Changes one limit. An error, unsaid. */
static int quota_put(const char *path, struct quota *q, int which, int64_t value, bool fresh) {
    q->value[which] = value;
    q->hard[which] |= which > 1;
    const char *text = quota_text(q), *node = quota_node(path, "limits");
    struct zk_op op = zk_set(node, text, (int)strlen(text), -1);
    return call(fresh ? zk_create(node, text, (int)strlen(text), ZK_PERSISTENT) : op);
}

/* Warns of what is beyond the limits already. */
static int quota_set(const char *path, int which, int64_t value) {
    struct quota limits = {.value = {-1, -1, -1, -1}, .hard = {false, false, true, true}}, now;
    int err = call(zk_get(quota_node(path, "limits")));
    bool fresh = err == ZK_NO_NODE;
    if (!err) limits = quota_read();
    if (!err || fresh) err = quota_put(path, &limits, which, value, fresh);
    if (!err && fresh)
        err = call(zk_create(quota_node(path, "stats"), "count=0,bytes=0", 15, ZK_PERSISTENT));
    if (!err) err = call(zk_get(quota_node(path, "stats")));
    if (err) return fail_zk(err, quota_node(path, "limits"));
    now = quota_read();
    for (int i = 0; i < 2; i++)
        if ((limits.value[i] > -1 && limits.value[i] < now.value[i]) ||
            (limits.value[i + 2] > -1 && limits.value[i + 2] < now.value[i]))
            warn(stdout, fmt("[Warning]: the %s quota you create is less than the existing %s:%"
                             PRId64 "\n", quotas[i].name, quotas[i].name, now.value[i]));
    return 0;
}

/* Is there a quota above the path, or below it? Makes the nodes down to its own. */
static int quota_parents(const char *path) {
    char *full = copy(fmt(QUOTA "%s", path));
    int err = walk(full, 0);
    for (uint32_t i = 1; !err && i < tree.n; i++)
        if (tree.node[i].parent && strcmp(tree.node[i].name, "zookeeper_limits") == 0)
            err = refuse(fmt("%s has a child %s which has a quota", path,
                             tree_path(tree.node[i].parent) + strlen(QUOTA)));
    for (size_t n = 0; !err && full[n];) {
        n += 1 + strcspn(full + n + 1, "/");
        const char *part = fmt("%.*s", (int)n, full), *above = full[n] ? part + strlen(QUOTA) : "";
        if (n > strlen(QUOTA) && *above && !call(zk_exists(quota_node(above, "limits"))))
            err = refuse(fmt("%s has a parent %s which has a quota", path, above));
        else if ((err = call(zk_exists(part))) == ZK_NO_NODE)
            err = run(zk_create(part, NULL, -1, ZK_PERSISTENT));
        else if (err) err = fail_zk(err, part);
    }
    free(full);
    return err;
}

static int do_set_quota(struct args *a) {
    const char *path = a->word[1], *v;
    int which = 0, err;
    int64_t value = 0;
    while (!(v = a->value[(int)quotas[which].option])) which++;
    bool count = which % 2 == 0; /* an int; bytes are a long */
    const char *bad =
        strncmp(path, QUOTA, strlen(QUOTA)) == 0 ? "cannot set a quota under the path: " QUOTA
        : !number(v, 10, count ? INT32_MIN : INT64_MIN, count ? INT32_MAX : INT64_MAX, &value)
            ? "NumberFormatException happens when parsing the option value"
        : count && value <= 0 ? "the num quota must be greater than zero"
        : value < 0           ? "the bytes quota must be greater than or equal to zero" : NULL;
    if (bad) return refuse(bad), 0;
    if ((err = check_path(path)) || (err = check_path(fmt(QUOTA "%s", path)))) return err;
    err = call(zk_exists(path));
    if (err == ZK_NO_NODE) return fail(err, fmt("%s does not exist.", path));
    if (err) return fail_zk(err, path);
    if ((err = quota_parents(path))) return err;
    return quota_set(path, which, value);
}

static int do_list_quota(struct args *a) {
    static const char *const leaf[] = {"limits", "stats"}, *const what[] = {"quota", "stat"};
    const char *path = a->word[1];
    say(stderr, "node", "absolute path is ", quota_node(path, "limits"));
    for (int i = 0, err; i < 2; i++) {
        if ((err = check_path(quota_node(path, leaf[i])))) return err;
        err = call(zk_get(quota_node(path, leaf[i])));
        if (err == ZK_NO_NODE) return fail(err, fmt("quota for %s does not exist.", path)), 0;
        if (err) return fail_zk(err, quota_node(path, leaf[i]));
        struct quota q = quota_read();
        say(stdout, what[i], fmt("Output %s for %s ", what[i], path), quota_text(&q));
    }
    return 0;
}

static int do_del_quota(struct args *a) {
    const char *path = a->word[1];
    char *node = copy(quota_node(path, "limits"));
    int err = check_path(node), which = 0;
    if (err) return err;
    while (which < 4 && !a->value[(int)quotas[which].option]) which++;
    err = call(zk_get(node));
    if (err == ZK_NO_NODE) say(stdout, "quota", "Quota does not exist for ", path);
    if (!err && which < 4) {
        struct quota limits = quota_read();
        err = quota_put(path, &limits, which, -1, false);
    } else if (!err) {
        err = call(zk_delete(node, -1));
        if (!err) err = call(zk_delete(quota_node(path, "stats"), -1));
        for (int no = err; !no; no = strlen(node) > strlen(QUOTA) ? call(zk_delete(node, -1)) : 1)
            *strrchr(node, '/') = '\0'; /* parents, as long as they have no other children */
    }
    free(node);
    return err && err != ZK_NO_NODE ? fail_zk(err, quota_node(path, "limits")) : 0;
}

/* --- the ensemble --- */

static int do_whoami(struct args *a) {
    int err = call(zk_who_am_i());
    (void)a, js("identities", "[");
    out(stdout, "Auth scheme: User\n");
    for (int i = 0; !err && i < sh.result->count; i++) {
        js_identity(&sh.result->acl[i]);
        js_put("}");
        out(stdout, fmt("%s: %s\n", sh.result->acl[i].scheme, sh.result->acl[i].id));
    }
    js_put("]");
    return 0;
}

static int do_add_auth(struct args *a) {
    const char *auth = a->n > 2 ? a->word[2] : NULL;
    struct zk_op op = zk_add_auth(a->word[1], auth, auth ? (int)strlen(auth) : -1);
    int64_t id = zk_submit(sh.zk, op, NULL, NULL);
    return id < 0 ? fail_zk((int)id, NULL) : 0;
}

/* With -c the addresses for clients, which stand behind a semicolon. */
static int do_config(struct args *a) {
    int err = call(watching(a, zk_get_config()));
    if (err) return fail_zk(err, "/zookeeper/config");
    char *text = copy(sh.result->data ? sh.result->data : ""), *rest = text, *line, *client;
    const char *clients = "", *version = "";
    if (!a->value['c']) say(stdout, "config", "", text);
    for (const char *comma = ""; a->value['c'] && (line = cut(&rest, '\n'));) {
        client = strchr(line, ';');
        if (strncmp(line, "version=", 8) == 0) version = line + 8;
        if (strncmp(line, "server.", 7) != 0) continue;
        clients = fmt("%s%s%s", clients, comma, client ? client + 1 : "");
        comma = ",";
    }
    if (a->value['c']) say(stdout, "clients", fmt("%s ", version), clients);
    free(text);
    return 0;
}

/* The lines of a dynamic configuration file as a list. NULL: errno says why. */
static const char *read_members(const char *path) {
    FILE *f = fopen(path, "r");
    const char *all = "";
    char line[4096];
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line && *line != '#') all = fmt("%s%s%s", all, *all ? "," : "", line);
    }
    if (f) (void)fclose(f);
    return f ? all : NULL;
}

static const char *lower(const char *s) {
    char *p = s ? copy(s) : NULL;
    for (size_t i = 0; p && p[i]; i++) p[i] = (char)tolower((unsigned char)p[i]);
    return p;
}

static int do_reconfig(struct args *a) {
    const char *file = a->value['f'], *v = a->value['v'], *members = lower(a->value['m']);
    const char *join = lower(a->value['a']), *leave = lower(a->value['r']);
    int64_t version = -1;
    if (!file && !members && !join && !leave) return usage(a);
    if (v && !number(v, 16, INT64_MIN, INT64_MAX, &version))
        return refuse("-v must be followed by a long (configuration version)");
    if ((file || members) && (join || leave))
        return refuse("Can't use -file or -members together with -add or -remove (mixing"
                      " incremental and non-incremental modes is not allowed)");
    if (file && members)
        return refuse("Can't use -file and -members together (conflicting non-incremental modes)");
    if (file && !(members = read_members(file)))
        return refuse(fmt("Error processing %s%s (%s)", file, file, strerror(errno)));
    int err = call(zk_reconfig(join, leave, members, version));
    if (err) return fail_zk(err, "");
    say(stdout, "config", "Committed new configuration:\n", sh.result->data ? sh.result->data : "");
    return 0;
}

/* --- the shell itself --- */

static int execute(char **words, int n);

static int do_version(struct args *a) {
    if (a->n > 1) return usage(a);
    say(stdout, "version", "ZooKeeper CLI version: ", ZK_COMPATIBLE_VERSION "-zk." ZK_VERSION);
    return 0;
}

/* Said instead of most commands, and after those that can do without a session. */
static int not_connected(void) {
    if (alive()) return 0;
    if (sh.json) (void)fail(ZK_CLOSING, "Not connected");
    out(stdout, "Not connected\n");
    return 0;
}

static int do_print_watches(struct args *a) {
    if (a->n == 1) say(stdout, "printwatches", "printwatches is ", sh.quiet ? "off" : "on");
    else sh.quiet = strcmp(a->word[1], "on") != 0;
    return not_connected();
}

static int do_history(struct args *a) {
    (void)a, js("history", "[");
    for (int i = sh.count < 10 ? 0 : sh.count - 10; i <= sh.count; i++) {
        const char *line = sh.history ? sh.history[i] : "null";
        js(NULL, fmt("{\"number\":%d", i));
        js_text("line", line);
        js_put("}");
        out(stdout, fmt("%d - %s\n", i, line));
    }
    js_put("]");
    return not_connected();
}

static int do_redo(struct args *a) {
    int64_t i;
    int n;
    if (a->n < 2) return not_connected();
    if (!number(a->word[1], 0, INT32_MIN, INT32_MAX, &i)) return bad_number(a->word[1]);
    if (i < 0 || i >= sh.count) return refuse("Command index out of range");
    char *line = copy(sh.history[i]), **words = split(line, &n);
    bool again = strcmp(words[0], "redo") == 0; /* there is no line without words */
    if (!again) {
        sh.history[sh.count] = copy(sh.history[i]);
        (void)execute(words, n), (void)not_connected();
    }
    free(words);
    free(line);
    return again ? refuse("No redoing redos") : 0;
}

static int do_connect(struct args *a) { return open_session(a->n > 1 ? a->word[1] : sh.host); }

static int do_close(struct args *a) { return (void)a, close_session(), 0; }

static int do_quit(struct args *a) {
    sh.quitting = true;
    return (void)do_close(a), sh.exit_code;
}

/* --- the table of commands, and the way through it --- */

static const struct command commands[] = {
    {"addWatch", "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] -"
                 " default is PERSISTENT_RECURSIVE", "m:", 0, 1, do_add_watch, NULL},
    {"addauth", "scheme auth", "", 0, 2, do_add_auth, NULL},
    {"close", "", NULL, 0, 1, do_close, NULL},
    {"config", "[-c] [-w] [-s]", "c w s", 0, 1, do_config, NULL},
    {"connect", "host:port", NULL, 0, 0, do_connect, NULL},
    {"create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", "s e c t:", 0, 2, do_create, NULL},
    {"delete", "[-v version] path", "v:", 0, 2, do_delete, "[-v version]"},
    {"deleteall", "path [-b batch size]", "b:", 0, 2, do_delete_all, NULL},
    {"delquota", "[-n|-b|-N|-B] path", "n b N B", '|', 2, do_del_quota, NULL},
    {"get", "[-s] [-w] [-b] [-x] path\n -b   Output data in base64 format\n"
            " -s   Print znode stats additionally\n -w   Watch for changes on the znode\n"
            " -x   Output data in hexdump format\n", "s w b x", 0, 2, do_get, "[-s] [-w]"},
    {"getAcl", "[-s] path", "s", 0, 2, do_get_acl, NULL},
    {"getAllChildrenNumber", "path", "", 0, 2, do_get_all_children_number, NULL},
    {"getEphemerals", "path", "", 0, 1, do_get_ephemerals, NULL},
    {"history", "", NULL, 0, 0, do_history, NULL},
    {"listquota", "path", "", 0, 2, do_list_quota, NULL},
    {"ls", "[-s] [-w] [-R] path", "? s w R", 0, 2, do_ls, "[-w]"},
    {"printwatches", "on|off", NULL, 0, 0, do_print_watches, NULL},
    {"quit", "", NULL, 0, 0, do_quit, NULL},
    {"reconfig", "[-s] [-v version] [[-file path] | [-members"
                 " serverID=host:port1:port2;port3[,...]*]] | [-add"
                 " serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
     "s v: file: members: add: remove:", 0, 1, do_reconfig, NULL},
    {"redo", "cmdno", NULL, 0, 0, do_redo, NULL},
    {"removewatches", "path [-c|-d|-a] [-l]", "c d p r a l", 0, 2, do_remove_watches, NULL},
    {"set", "path data [-s] [-v version] [-b]\n -b         Supply data in base64 format\n"
            " -s         Print znode stats additionally\n"
            " -v <arg>   Set with an expected version\n", "s v: b", 0, 3, do_set, NULL},
    {"setAcl", "[-s] [-v version] [-R] path acl", "s v: R", 0, 3, do_set_acl, NULL},
    {"setquota", "-n|-b|-N|-B val path", "n: b: N: B:", '!', 2, do_set_quota, NULL},
    {"stat", "[-w] path", "w", 0, 2, do_stat, "[-w]"},
    {"sync", "path", "", 0, 2, do_sync, NULL},
    {"version", "", "", 0, 1, do_version, NULL},
    {"whoami", "", NULL, 0, 1, do_whoami, NULL},
};

static void usage_list(FILE *to) {
    out(to, "ZooKeeper -server host:port -client-configuration properties-file cmd args\n");
    for (const struct command *c = commands; c < commands + COUNT(commands); c++)
        out(to, fmt("\t%s %.*s\n", c->name, (int)strcspn(c->usage, "\n"), c->usage));
}

/* Does what the words say, once the options are parsed; the exit code. */
static int execute_parsed(struct args *a) {
    const struct command *c = a->command;
    const char *v = a->value['v'];
    int64_t version = -1;
    int err;
    if (c->run == do_ls && a->value['?'])
        say(stdout, "help", "", "usage: ls [options] path\n -?   help\n -R   recurse\n -s   stat\n"
                                " -w   watch");
    if (a->n < c->words) return usage(a);
    if (c->old && a->n > 2 && (err = old_spelling(a))) return err;
    if (v && c->run != do_reconfig && !number(v, 10, INT32_MIN, INT32_MAX, &version))
        return bad_number(v);
    a->version = (int32_t)version;
    err = c->run(a);
    if (!err && a->value['s'] && sh.result && sh.result->has_stat) say_stat(&sh.result->stat);
    return err;
}

static int execute(char **words, int n) {
    struct args a = {.command = commands, .raw = words, .raw_n = n};
    const struct command *end = commands + COUNT(commands);
    while (a.command < end && strcmp(a.command->name, words[0]) != 0) a.command++;
    if (a.command == end) {
        usage_list(stderr);
        (void)fail(ZK_UNIMPLEMENTED, fmt("Command not found: Command not found %s", words[0]));
        return 127;
    }
    if (!alive() && a.command->words) return not_connected();
    a.word = grow(NULL, sizeof *a.word * (size_t)n);
    int err = parse_options(&a);
    if (!err) err = execute_parsed(&a);
    free(a.word);
    return err;
}

/* A command with all that is said about it. */
static void run_words(char **words, int n) {
    catch_interrupts();
    js_put("{");
    js_text("command", words[0]);
    zk_result_free(sh.result);
    sh.result = NULL;
    sh.exit_code = execute(words, n);
    (void)turn(-1, 0); /* events that came with the reply */
    if (sh.warnings.n) js("warnings", fmt("[%s]", sh.warnings.s));
    sh.warnings.n = 0;
    js_put("}");
    js_print(&sh.document);
}

static void run_line(const char *line) {
    char *text = copy(line);
    int n;
    char **words = split(text, &n);
    if (n) {
        sh.history = grow(sh.history, sizeof *sh.history * (size_t)(sh.count + 1));
        sh.history[sh.count] = copy(line);
        run_words(words, n);
        sh.count++;
    }
    free(words);
    free(text);
}

/* Lines from anything else. */
static void script(void) {
    struct text line = {0};
    char bytes[4096];
    ssize_t n = 1;
    while (n > 0 && !sh.quitting && !interrupted) {
        if (!turn(0, -1)) continue;
        n = read(0, bytes, sizeof bytes);
        if (n <= 0 && line.n) run_line(line.s);
        for (ssize_t i = 0; i < n && !sh.quitting && !interrupted; i++) {
            put(&line, &bytes[i], bytes[i] != '\n');
            if (bytes[i] != '\n') continue;
            if (line.n && line.s[line.n - 1] == '\r') line.s[line.n - 1] = '\0';
            run_line(line.s);
            line.n = 0;
        }
    }
    free(line.s);
}

/* --- how it is called --- */

/* stock: ZKClientConfig. Other keys are for TLS, SASL or Java. False: cannot be done. */
static bool configure(char *line) {
    char *value = line + strcspn(line, "=: \t\r\n");
    size_t blanks = strspn(value, "=: \t");
    int64_t v = 0;
    if (*line == '#' || *line == '!') return true;
    *value = '\0';
    value += blanks;
    value[strcspn(value, " \t\r\n")] = '\0';
    bool on = strcasecmp(value, "true") == 0, good = number(value, 10, 0, INT32_MAX, &v);
    if (strcmp(line, "zookeeper.client.secure") == 0) return !on;
    if (strcmp(line, "zookeeper.disableAutoWatchReset") == 0 && on) sh.flags |= ZK_NO_WATCH_RESET;
    if (strcmp(line, "zookeeper.request.timeout") == 0 && good) sh.op_timeout_ms = (int)v;
    if (strcmp(line, "jute.maxbuffer") == 0 && good) sh.max_packet = (unsigned)v;
    return true;
}

static int configure_all(const char *file) {
    char line[4096], *flags = copy(getenv("CLIENT_JVMFLAGS") ? getenv("CLIENT_JVMFLAGS") : "");
    FILE *f = file ? fopen(file, "r") : NULL;
    bool good = true;
    if (file && !f) return fail(ZK_SYSTEM_ERROR, fmt("Error while processing %s", file)), 2;
    while (f && fgets(line, sizeof line, f)) good &= configure(line + strspn(line, " \t"));
    if (f) (void)fclose(f);
    for (char *rest = flags, *word; (word = cut(&rest, ' '));)
        if (strncmp(word, "-D", 2) == 0) good &= configure(word + 2);
    free(flags);
    return good ? 0 : (fail(ZK_UNIMPLEMENTED, "zookeeper.client.secure: there is no TLS"), 2);
}

int main(int argc, char **argv) {
    const char *host = "localhost:2181", *timeout = "30000", *file = NULL, **value;
    int i = 1, err;
    int64_t ms;
    for (; i < argc && argv[i][0] == '-'; i++) { /* what is not known is skipped */
        const char *o = argv[i];
        value = strcmp(o, "-server") == 0 ? &host : strcmp(o, "-timeout") == 0 ? &timeout
                : strcmp(o, "-client-configuration") == 0 ? &file : NULL;
        if (strcmp(o, "-r") == 0) sh.flags |= ZK_CAN_BE_READ_ONLY;
        if (strcmp(o, "-waitforconnection") == 0) sh.wait = true;
        if (strcmp(o, "--json") == 0) sh.json = true;
        if (strcmp(o, "--help") == 0) return usage_list(stdout), 0;
        if (value && i + 1 < argc) *value = argv[++i];
        else if (value) fprintf(stderr, "Error: no argument found for option %s\n", o);
    }
    out(stdout, fmt("Connecting to %s\n", host));
    if ((err = configure_all(file))) return err;
    if (!number(timeout, 10, INT32_MIN, INT32_MAX, &ms)) return bad_number(timeout);
    sh.timeout_ms = (int)ms;
    if ((err = open_session(host))) return err;
    if (sh.wait && (connected() || state() == ZK_STATE_READ_ONLY)) {
        close_session();
        return fail(ZK_CONNECTION_LOSS,
                    "java.io.IOException: org.apache.zookeeper.KeeperException$"
                    "ConnectionLossException: KeeperErrorCode = ConnectionLoss");
    }
    if (i == argc) out(stdout, "Welcome to ZooKeeper!\nJLine support is disabled\n");
    fflush(stdout);
    if (i < argc) run_words(argv + i, argc - i);
    else script();
    sh.quiet = true;
    close_session();
    return fflush(stdout) ? 1 : sh.exit_code;
}
