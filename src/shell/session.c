/*
 * shell/session: the one session, run by the shell's only thread in turn().
 */
#include "shell/shell.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

volatile sig_atomic_t interrupted;

/* In JSON those of watches only, as a document of their own. */
static void say_event(const char *state, const char *type, const char *path, int64_t zxid) {
    struct text alone = {0}, *doc = sh.doc;
    if (sh.quiet) return;
    if (sh.editing) out(stdout, "\r\033[K");
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

const char *event_name(enum zk_event_type type) {
    static const char *const names[] = {
        "None", "NodeCreated", "NodeDeleted", "NodeDataChanged", "NodeChildrenChanged",
        "DataWatchRemoved", "ChildWatchRemoved", "PersistentWatchRemoved"};
    return (size_t)type < COUNT(names) ? names[type] : "Unknown";
}

enum zk_state state(void) { return sh.zk ? zk_state(sh.zk) : ZK_STATE_CLOSED; }
bool alive(void) { return state() < ZK_STATE_EXPIRED; }
bool up(void) { return state() == ZK_STATE_CONNECTED || state() == ZK_STATE_READ_ONLY; }

/* One event that meets watches of several paths is said once. */
void on_event(void *user, const struct zk_event *e) {
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
    if (level <= ZK_LOG_WARN) warn(stderr, fmt("zkcli: %s\n", text));
}

static void on_interrupt(int signal_number) { interrupted = signal_number; }

/* The next interrupt ends what is being done, a second one the shell; SIGTERM both. */
void catch_interrupts(void) {
    struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    if (interrupted == SIGINT) interrupted = 0;
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
}

/* One turn of the loop: waits for the session or for input on fd (-1: none), at most ms (-1: a
 * second, for a signal may have come just before). True when there is input. */
bool turn(int fd, int64_t ms) {
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

void close_session(void) {
    bool told = alive();
    if (sh.zk) (void)(up() ? zk_close(sh.zk, 2000) : zk_abandon(sh.zk));
    zk_free(sh.zk);
    sh.zk = NULL;
    if (told) say_event("Closed", "None", "null", -1);
}

static uint64_t failures(void) {
    struct zk_counters counters = {0};
    zk_get_counters(sh.zk, &counters);
    return counters.failures;
}

/* Waits for a connection, until every server has been tried in vain. */
int connected(void) {
    int64_t end = now_ms() + sh.timeout_ms;
    uint64_t hosts = 1, before = failures();
    for (const char *p = sh.host; *p && *p != '/'; p++) hosts += *p == ',';
    for (; !up(); (void)turn(-1, end - now_ms())) {
        if (!alive()) return state() == ZK_STATE_AUTH_FAILED ? ZK_AUTH_FAILED : ZK_SESSION_EXPIRED;
        if (failures() - before >= hosts || now_ms() >= end || interrupted)
            return ZK_CONNECTION_LOSS;
    }
    return ZK_OK;
}

/* Closes on behalf of the user, who is told of the first connection before it goes.
 * stock: ClientCnxn.close, whose request stands behind a handshake that is under way */
void hang_up(void) {
    if (state() == ZK_STATE_CONNECTING && !failures()) (void)connected();
    close_session();
}

int open_session(const char *host) {
    struct zk_options o = {.hosts = host, .session_timeout_ms = sh.timeout_ms,
                           .op_timeout_ms = sh.op_timeout_ms, .max_packet = sh.max_packet,
                           .flags = sh.flags | ZK_OWN_LOOP | ZK_FAIL_FAST, .on_state = on_state,
                           .log = on_log, .on_frame = on_frame};
    hang_up();
    sh.host = copy(host);
    int err = zk_open(&sh.zk, &o);
    return err ? fail(err, fmt("Cannot use the connect string \"%s\"", host)) : 0;
}

static struct { /* what came of the latest call() */
    struct zk_result result;
    struct text bytes; /* that the result points to */
    const char **names;
    struct zk_acl *acl;
} kept;

/* A result is valid during its callback only. All strings of it, one behind the other. */
static void on_called(void *user, const struct zk_result *r) {
    size_t n = (size_t)r->count;
    (void)user;
    kept.bytes.n = 0;
    if (r->path) put(&kept.bytes, r->path, strlen(r->path) + 1);
    if (r->data) put(&kept.bytes, r->data, (size_t)r->data_len + 1);
    for (size_t i = 0; r->names && i < n; i++)
        put(&kept.bytes, r->names[i], strlen(r->names[i]) + 1);
    for (size_t i = 0; r->acl && i < n; i++) {
        put(&kept.bytes, r->acl[i].scheme, strlen(r->acl[i].scheme) + 1);
        put(&kept.bytes, r->acl[i].id, strlen(r->acl[i].id) + 1);
    }
    char *p = kept.bytes.s;
    kept.result = *r;
    if (r->path) kept.result.path = p, p += strlen(p) + 1;
    if (r->data) kept.result.data = p, p += r->data_len + 1;
    if (r->names) kept.result.names = kept.names = grow(kept.names, sizeof *kept.names * n);
    for (size_t i = 0; r->names && i < n; i++, p += strlen(p) + 1) kept.names[i] = p;
    if (r->acl) kept.result.acl = kept.acl = grow(kept.acl, sizeof *kept.acl * n);
    for (size_t i = 0; r->acl && i < n; i++, p += strlen(p) + 1) {
        kept.acl[i] = (struct zk_acl){.perms = r->acl[i].perms, .scheme = p};
        kept.acl[i].id = p += strlen(p) + 1;
    }
    sh.result = &kept.result;
}

/* Does an operation; what came of it is in sh.result until the next one. */
int call(struct zk_op op) {
    int err = connected();
    sh.result = NULL;
    if (err) return err;
    int64_t id = zk_submit(sh.zk, op, on_called, NULL);
    if (id < 0) return (int)id;
    while (!sh.result) {
        if (interrupted) (void)zk_cancel(sh.zk, id);
        (void)turn(-1, -1);
    }
    return sh.result->error;
}

/* What is wrong with a path, or NULL. stock: PathUtils.validatePath */
const char *path_error(const char *p) {
    const char *why = NULL;
    size_t n = strlen(p), len;
    uint32_t c;
    int i = 0;
    if (n == 0) return "Path length must be > 0";
    if (*p != '/') return "Path must start with / character";
    if (n > 1 && p[n - 1] == '/') return "Path must not end with / character";
    for (const char *s = p + 1; *s && !why; s += len, i++) {
        bool ends = !s[1] || s[1] == '/';
        len = utf8_next(s, n - (size_t)(s - p), &c);
        if (c == '/' && s[-1] == '/') why = "empty node name specified";
        if (c == '.' && ends && (s[-1] == '/' || (s[-1] == '.' && s[-2] == '/')))
            why = "relative paths not allowed";
        if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xd800 && c < 0xf900) || c >= 0xfff0)
            why = "invalid character";
    }
    return why ? fmt("Invalid path string \"%s\" caused by %s @%d", p, why, i) : NULL;
}

int check_path(const char *p) {
    const char *why = path_error(p);
    return why ? refuse(why) : 0;
}

/* Does an operation on a path and says what goes wrong: an exit code. */
int run(struct zk_op op) {
    int err = check_path(op.path);
    if (err || !(err = call(op))) return err;
    return fail_zk(err, op.path);
}

struct zk_op watching(const struct args *a, struct zk_op op) {
    return a->value['w'] ? zk_watching(op, on_event, NULL) : op;
}
