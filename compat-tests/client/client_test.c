/*
 * What zk.h promises of the client, case by case: client_test CASE DIRECTORY
 *
 * Each case starts a server of its own in this process and talks to it over loopback. It ends with
 * "ok", or at the first CHECK that does not hold. Built with sanitizers by test_client.py.
 */
#define _GNU_SOURCE 1
#include <dirent.h>
#include <poll.h>
#include <sys/wait.h>

#include "cases.h"

/* --- arguments --- */

static void case_null(void) {
    struct zk *zk = (struct zk *)&zk;
    uint8_t passwd[16];
    char text[8];
    struct zk_counters counters;
    struct zk_options none = {0};
    IS(zk_open(NULL, &none), ZK_BAD_ARGUMENTS);
    IS(zk_open(&zk, NULL), ZK_BAD_ARGUMENTS);
    CHECK(!zk);
    IS(zk_open(&zk, &none), ZK_BAD_ARGUMENTS);
    IS(zk_call(NULL, zk_get("/"), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_submit(NULL, zk_get("/"), NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_cancel(NULL, 1), ZK_BAD_ARGUMENTS);
    IS(zk_flush(NULL), ZK_BAD_ARGUMENTS);
    IS(zk_close(NULL, 0), ZK_BAD_ARGUMENTS);
    IS(zk_abandon(NULL), ZK_BAD_ARGUMENTS);
    IS(zk_wait_connected(NULL, 0), ZK_BAD_ARGUMENTS);
    IS(zk_set_hosts(NULL, "a"), ZK_BAD_ARGUMENTS);
    IS(zk_step(NULL), ZK_BAD_ARGUMENTS);
    IS(zk_fd(NULL), -1);
    IS(zk_wants(NULL), 0);
    IS(zk_wait_ms(NULL), -1);
    IS(zk_state(NULL), ZK_STATE_CLOSED);
    IS(zk_session_id(NULL), 0);
    IS(zk_session_timeout(NULL), 0);
    IS(zk_last_zxid(NULL), 0);
    zk_session_passwd(NULL, passwd);
    zk_session_passwd(NULL, NULL);
    zk_get_counters(NULL, &counters);
    IS(counters.requests, 0);
    IS(strlen(zk_server_address(NULL, text, sizeof text)), 0);
    zk_result_free(NULL);
    zk_free(NULL);
    struct zk_options nowhere = {.hosts = "a", .flags = ZK_OWN_LOOP};
    IS(zk_open(&zk, &nowhere), ZK_OK);
    zk_session_passwd(zk, NULL);
    zk_free(zk);
    struct zk_server *server = (struct zk_server *)&server;
    struct zk_server_options options = {0};
    IS(zk_server_start(&server, NULL, text, sizeof text), ZK_SERVER_BAD_CONFIG);
    CHECK(!server && *text);
    IS(zk_server_start(NULL, &options, NULL, 0), ZK_SERVER_BAD_CONFIG);
    IS(zk_server_port(NULL), 0);
    IS(zk_server_wait(NULL, text, sizeof text), ZK_SERVER_FAILED);
    zk_server_interrupt(NULL);
    zk_server_stop(NULL);
}

static void case_hosts(void) {
    static const char *const bad[] = {"", ",", "a:", "a:0", "a:65536", "a:x", "a:1x", "[::1", "[]:1",
                                      "[::1]x", ":2181", "/only", "a/b//c", "a:1/x/", "a:1,b:-1"};
    static const char *const good[] = {"a", "a:1", " a:1 , b:2 ", "[::1]:5,[::2]", "a,,b", "a:1/",
                                       "a:1/x/y"};
    struct zk *zk;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct zk_options o = {.hosts = bad[i]};
        IS(zk_open(&zk, &o), ZK_BAD_ARGUMENTS);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct zk_options o = {.hosts = good[i], .flags = ZK_OWN_LOOP};
        IS(zk_open(&zk, &o), ZK_OK);
        zk_free(zk);
    }
}

static void case_arguments(void) {
    static const char *const paths[] = {NULL, "", "a", "/a/", "//", "/a//b", "/./a", "/a/..",
                                        "/\x01", "/\xff"};
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    const struct zk_acl half = {31, "world", NULL};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const char *p = paths[i];
        const struct zk_op ops[] = {zk_create(p, "", 0, ZK_PERSISTENT), zk_delete(p, -1),
                                    zk_exists(p), zk_get(p), zk_set(p, "", 0, -1), zk_get_acl(p),
                                    zk_get_children(p), zk_sync(p), zk_get_ephemerals(p),
                                    zk_get_all_children_number(p),
                                    zk_add_watch(p, ZK_WATCH_PERSISTENT, on_event, &e),
                                    zk_remove_watches(p, ZK_WATCH_ANY, NULL, NULL)};
        for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
            IS(zk_call(zk, ops[k], NULL), ZK_BAD_ARGUMENTS);
            IS(zk_submit(zk, ops[k], on_result, &e), ZK_BAD_ARGUMENTS);
            IS(zk_call(zk, zk_multi(&ops[k], 1), NULL), ZK_BAD_ARGUMENTS);
        }
    }
    struct zk_op op = zk_create("/a", NULL, 3, ZK_PERSISTENT);
    IS(zk_call(zk, op, NULL), ZK_BAD_ARGUMENTS);
    op = zk_create("/a", "", 0, (enum zk_create_mode)9);
    IS(zk_call(zk, op, NULL), ZK_BAD_ARGUMENTS);
    op = zk_create("/a", "", 0, ZK_PERSISTENT_WITH_TTL);
    IS(zk_call(zk, op, NULL), ZK_BAD_ARGUMENTS);
    op = zk_create("/a", "", 0, ZK_PERSISTENT);
    op.acl = &half;
    op.acl_count = 1;
    IS(zk_call(zk, op, NULL), ZK_INVALID_ACL);
    IS(zk_call(zk, zk_set_acl("/", NULL, 0, -1), NULL), ZK_INVALID_ACL);
    IS(zk_call(zk, zk_op_of((enum zk_op_type)0, "/"), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_op_of((enum zk_op_type)99, "/"), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_add_auth(NULL, "x", 1), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_add_watch("/", ZK_WATCH_DATA, on_event, &e), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_add_watch("/", ZK_WATCH_RECURSIVE, NULL, &e), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_watching(zk_delete("/a", -1), on_event, &e), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_multi(NULL, 3), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_multi(NULL, -1), NULL), ZK_BAD_ARGUMENTS);
    op = zk_get("/");
    IS(zk_call(zk, zk_multi(&op, 1), NULL), ZK_BAD_ARGUMENTS);
    op = zk_check("/", -1);
    IS(zk_call(zk, zk_multi_read(&op, 1), NULL), ZK_BAD_ARGUMENTS);
    static char big[1 << 20];
    IS(zk_call(zk, zk_create("/a", big, sizeof big, ZK_PERSISTENT), NULL), ZK_TOO_LARGE);
    IS(zk_call(zk, zk_remove_watches("/", ZK_WATCH_ANY, NULL, NULL), NULL), ZK_NO_WATCHER);
    IS(zk_step(zk), ZK_WRONG_THREAD);
    IS(zk_cancel(zk, 12345), ZK_BAD_ARGUMENTS);
    IS(zk_cancel(zk, -1), ZK_BAD_ARGUMENTS);
    IS(zk_set_hosts(zk, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_set_hosts(zk, "a:1/chroot"), ZK_BAD_ARGUMENTS);
    IS(e.results, 0);
    IS(zk_call(zk, zk_get("/"), NULL), ZK_OK); /* nothing of this reached the server */
    zk_free(zk);
    zk_server_stop(s);
}

/* --- life and death --- */

static void case_closed(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    for (int i = 0; i < 100; i++) CHECK(zk_submit(zk, zk_exists("/"), on_result, &e) > 0);
    IS(zk_close(zk, WAIT_MS), ZK_OK);
    IS(e.results, 100); /* all told before it returned */
    IS(e.errors, 0);    /* the goodbye was behind them */
    IS(zk_state(zk), ZK_STATE_CLOSED);
    IS(zk_close(zk, WAIT_MS), ZK_OK);
    IS(zk_call(zk, zk_get("/"), NULL), ZK_CLOSING);
    IS(zk_submit(zk, zk_get("/"), on_result, &e), ZK_CLOSING);
    IS(zk_wait_connected(zk, 100), ZK_CLOSING);
    IS(zk_set_hosts(zk, "a:1"), ZK_OK);
    IS(zk_flush(zk), ZK_OK);
    IS(e.last_state, ZK_STATE_CLOSED);
    zk_free(zk);
    zk_server_stop(s);
}

/* Nobody answers: closing tells what is due, in the time it is given. */
static void case_close_in_vain(void) {
    struct ear e = {0};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int mute = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(mute, (struct sockaddr *)&at, len) == 0 && listen(mute, 5) == 0);
    getsockname(mute, (struct sockaddr *)&at, &len);
    struct zk *zk;
    struct zk_options o = {.hosts = at_port(ntohs(at.sin_port)), .on_state = on_state, .user = &e};
    IS(zk_open(&zk, &o), ZK_OK);
    CHECK(zk_submit(zk, zk_get("/"), on_result, &e) > 0);
    IS(zk_wait_connected(zk, 50), ZK_TIMED_OUT);
    struct zk_op op = zk_get("/");
    op.timeout_ms = 50;
    IS(zk_call(zk, op, NULL), ZK_TIMED_OUT);
    IS(zk_close(zk, 50), ZK_OK);
    IS(e.results, 1);
    IS(e.last_error, ZK_CLOSING);
    zk_free(zk);
    close(mute);
}

/* The session ends behind the client's back: another one with its password closes it. */
static void end_session_of(struct zk *zk, struct zk_server *s) {
    struct ear e = {0};
    uint8_t passwd[16];
    zk_session_passwd(zk, passwd);
    struct zk *thief = open_with((struct zk_options){.hosts = at_port(zk_server_port(s)),
                                                     .session_id = zk_session_id(zk),
                                                     .session_passwd = passwd}, &e);
    CHECK(zk_session_id(thief) == zk_session_id(zk));
    zk_free(thief);
}

static void case_expired(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    end_session_of(zk, s);
    await_state(&e, ZK_STATE_EXPIRED);
    IS(zk_call(zk, zk_get("/"), NULL), ZK_SESSION_EXPIRED);
    IS(zk_submit(zk, zk_get("/"), on_result, &e), ZK_SESSION_EXPIRED);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_SESSION_EXPIRED);
    IS(zk_close(zk, WAIT_MS), ZK_OK);
    IS(zk_call(zk, zk_get("/"), NULL), ZK_SESSION_EXPIRED);
    zk_free(zk);
    zk_server_stop(s);
}

static void case_renewed(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, ZK_RENEW_SESSION);
    int64_t first = zk_session_id(zk);
    IS(zk_call(zk, zk_watching(zk_exists("/late"), on_event, &e), NULL), ZK_NO_NODE);
    IS(zk_call(zk, zk_create("/mine", "", 0, ZK_EPHEMERAL), NULL), ZK_OK);
    int states = e.states;
    end_session_of(zk, s);
    await(&e.states, states + 3); /* suspended, expired, connected */
    await_state(&e, ZK_STATE_CONNECTED);
    CHECK(zk_session_id(zk) != first);
    IS(zk_call(zk, zk_exists("/mine"), NULL), ZK_NO_NODE);
    IS(create(zk, "/late"), ZK_OK);
    await(&e.events, 1); /* the watch came along */
    zk_free(zk);
    zk_server_stop(s);
}

static void case_reattached(void) {
    struct ear e = {0}, f = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    uint8_t passwd[16];
    IS(zk_call(zk, zk_create("/mine", "", 0, ZK_EPHEMERAL), NULL), ZK_OK);
    int64_t id = zk_session_id(zk);
    zk_session_passwd(zk, passwd);
    IS(zk_abandon(zk), ZK_OK);
    zk_free(zk);
    zk = open_with((struct zk_options){.hosts = at_port(zk_server_port(s)), .session_id = id,
                                       .session_passwd = passwd}, &f);
    CHECK(zk_session_id(zk) == id);
    IS(zk_call(zk, zk_exists("/mine"), NULL), ZK_OK);
    zk_free(zk);
    zk_server_stop(s);
}

/* --- connections come and go --- */

static void case_reconnects(void) {
    struct ear e = {0}, data = {0}, child = {0}, all = {0};
    struct zk_server *s = serve(0);
    int port = zk_server_port(s);
    struct zk *zk = open_at(s, &e, 0);
    const struct zk_acl mine = {31, "auth", ""};
    IS(create(zk, "/a"), ZK_OK);
    IS(zk_call(zk, zk_add_auth("digest", "me:secret", 9), NULL), ZK_OK);
    struct zk_op op = zk_create("/locked", "x", 1, ZK_PERSISTENT);
    op.acl = &mine;
    op.acl_count = 1;
    IS(zk_call(zk, op, NULL), ZK_OK);
    IS(zk_call(zk, zk_watching(zk_get("/"), on_event, &e), NULL), ZK_OK);
    IS(zk_call(zk, zk_watching(zk_get("/a"), on_event, &data), NULL), ZK_OK);
    IS(zk_call(zk, zk_watching(zk_get_children("/a"), on_event, &child), NULL), ZK_OK);
    IS(zk_call(zk, zk_add_watch("/", ZK_WATCH_RECURSIVE, on_event, &all), NULL), ZK_OK);
    int64_t id = zk_session_id(zk);
    zk_server_stop(s);
    await_state(&e, ZK_STATE_SUSPENDED);
    struct zk_op removal = zk_remove_watches("/", ZK_WATCH_ANY, on_event, &e);
    removal.local = true; /* nobody can be asked */
    IS(zk_call(zk, removal, NULL), ZK_OK);
    await(&e.events, 1);
    IS(e.last_type, ZK_DATA_WATCH_REMOVED);
    CHECK(zk_submit(zk, zk_get("/locked"), on_result, &e) > 0); /* waits for the next connection */
    s = serve(port);
    await(&e.results, 1);
    IS(e.last_error, ZK_OK); /* the identity was told again */
    CHECK(zk_session_id(zk) == id);
    IS(zk_call(zk, zk_set("/a", "new", 3, -1), NULL), ZK_OK);
    IS(create(zk, "/a/b"), ZK_OK);
    await(&data.events, 1);
    await(&child.events, 1);
    await(&all.events, 2);
    IS(zk_call(zk, zk_set("/a", "newer", 5, -1), NULL), ZK_OK);
    await(&all.events, 3);
    IS(data.events, 1); /* once is once */
    IS(data.last_type, ZK_NODE_DATA_CHANGED);
    IS(child.last_type, ZK_NODE_CHILDREN_CHANGED);
    zk_free(zk);
    zk_server_stop(s);
}

static void case_loss(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *fast = open_at(s, &e, ZK_FAIL_FAST);
    zk_server_stop(s);
    await_state(&e, ZK_STATE_SUSPENDED);
    IS(zk_call(fast, zk_get("/"), NULL), ZK_CONNECTION_LOSS);
    await_state(&e, ZK_STATE_LOST); /* nobody said so: the time is over */
    zk_free(fast);
    CHECK(zk_maybe_applied(ZK_CONNECTION_LOSS) && !zk_maybe_applied(ZK_NO_NODE));
}

static void case_auth_refused(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    IS(zk_call(zk, zk_add_auth("nonsense", "x", 1), NULL), ZK_AUTH_FAILED);
    await_state(&e, ZK_STATE_AUTH_FAILED);
    IS(zk_call(zk, zk_get("/"), NULL), ZK_AUTH_FAILED);
    zk_free(zk);
    zk_server_stop(s);
}

static void case_new_hosts(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *zk;
    struct zk_options o = {.hosts = "127.0.0.1:1", .on_state = on_state, .user = &e};
    IS(zk_open(&zk, &o), ZK_OK);
    CHECK(zk_submit(zk, zk_get("/"), on_result, &e) > 0);
    IS(zk_wait_connected(zk, 300), ZK_TIMED_OUT); /* refused many times; the request waits */
    IS(e.results, 0);
    IS(zk_set_hosts(zk, at_port(zk_server_port(s))), ZK_OK);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    await(&e.results, 1);
    IS(e.last_error, ZK_OK);
    char address[64];
    CHECK(strcmp(zk_server_address(zk, address, sizeof address), at_port(zk_server_port(s))) == 0);
    zk_free(zk);
    zk_server_stop(s);
}

static void case_names(void) {
    struct ear e = {0};
    char hosts[128];
    struct zk_server *s = serve(0);
    snprintf(hosts, sizeof hosts, "no-such-host.invalid:1,localhost:%d,127.0.0.1:%d",
             zk_server_port(s), zk_server_port(s));
    struct zk *zk = open_with((struct zk_options){.hosts = hosts,
                                                  .flags = ZK_KEEP_HOST_ORDER}, &e);
    zk_free(zk);
    zk_server_stop(s);
}

/* --- callbacks --- */

static void call_inside(void *user, const struct zk_result *r) {
    struct ear *e = user;
    IS(r->error, ZK_OK);
    IS(create(e->zk, "/inside"), ZK_OK);
    CHECK(zk_submit(e->zk, zk_get("/inside"), on_result, e) > 0);
}

static void close_inside(void *user, const struct zk_result *r) {
    struct ear *e = user;
    (void)r;
    while (!e->go) usleep(1000);
    IS(zk_close(e->zk, WAIT_MS), ZK_OK);
    e->results++;
}

static void free_inside(void *user, const struct zk_result *r) {
    struct ear *e = user;
    (void)r;
    while (!e->go) usleep(1000);
    zk_free(e->zk);
    e->results++;
}

/* Of a folder, its own two names included. */
static int entries(const char *folder) {
    int n = 0;
    DIR *all = opendir(folder);
    CHECK(all);
    while (readdir(all)) n++;
    closedir(all);
    return n;
}

static int threads(void) { return entries("/proc/self/task"); }

static void case_callbacks(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    e.zk = open_at(s, &e, 0);
    CHECK(zk_submit(e.zk, zk_get("/"), call_inside, &e) > 0);
    await(&e.results, 1);
    IS(e.last_error, ZK_OK);
    CHECK(zk_submit(e.zk, zk_get("/"), NULL, NULL) > 0); /* nobody is told */
    CHECK(zk_submit(e.zk, zk_get("/"), close_inside, &e) > 0);
    CHECK(zk_submit(e.zk, zk_get("/"), on_result, &e) > 0);
    e.go = true;
    await(&e.results, 3);
    await_state(&e, ZK_STATE_CLOSED);
    zk_free(e.zk);
    int before = threads();
    e.results = 0;
    e.go = false;
    e.zk = open_at(s, &e, 0);
    CHECK(zk_submit(e.zk, zk_get("/"), free_inside, &e) > 0);
    CHECK(zk_submit(e.zk, zk_get("/"), on_result, &e) > 0);
    e.go = true;
    await(&e.results, 2);
    await_state(&e, ZK_STATE_CLOSED);
    for (int i = 0; threads() > before; i++) { /* nothing can be asked of a freed handle */
        CHECK(i < WAIT_MS);
        usleep(1000);
    }
    zk_server_stop(s);
}

struct numbers {
    _Atomic int next;
    _Atomic bool go_on;
    int order[2000];
};

static void on_number(void *user, const struct zk_result *r) {
    struct numbers *n = user;
    IS(r->error, ZK_OK);
    n->order[n->next] = r->stat.version;
    n->next++;
}

static void on_number_event(void *user, const struct zk_event *event) {
    struct numbers *n = user;
    (void)event;
    n->order[n->next] = -1;
    n->next++;
}

static void on_gate(void *user, const struct zk_result *r) {
    struct numbers *n = user;
    (void)r;
    while (!n->go_on) usleep(1000);
}

static void submit_reads(struct zk *zk, struct numbers *n) {
    for (int i = 0; i < 10; i++) CHECK(zk_submit(zk, zk_get("/n"), on_number, n) > 0);
    IS(zk_call(zk, zk_sync("/"), NULL), ZK_OK); /* they have arrived */
}

/* Results and events are told as the server sent them, an event before a read that shows more. */
static void case_order(void) {
    struct ear e = {0};
    struct numbers n = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0), *other = open_at(s, &e, 0);
    IS(create(zk, "/n"), ZK_OK);
    for (int i = 0; i < 1000; i++)
        CHECK(zk_submit(zk, zk_set("/n", "x", 1, -1), on_number, &n) > 0);
    await(&n.next, 1000);
    for (int i = 0; i < 1000; i++) IS(n.order[i], i + 1);
    n.next = 0;
    IS(zk_call(zk, zk_watching(zk_get("/n"), on_number_event, &n), NULL), ZK_OK);
    CHECK(zk_submit(zk, zk_get("/"), on_gate, &n) > 0); /* what comes now piles up behind it */
    submit_reads(zk, &n);
    IS(zk_call(other, zk_set("/n", "y", 1, -1), NULL), ZK_OK);
    submit_reads(zk, &n);
    IS(n.next, 0);
    n.go_on = true;
    await(&n.next, 21);
    for (int i = 0; i < 21; i++) IS(n.order[i], i < 10 ? 1000 : i == 10 ? -1 : 1001);
    zk_free(other);
    zk_free(zk);
    zk_server_stop(s);
}

static void case_cancel(void) {
    struct ear e = {0}, f = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    for (int i = 0; i < 200; i++) {
        int64_t id = zk_submit(zk, zk_watching(zk_exists("/x"), on_event, &e), on_result, &f);
        CHECK(id > 0);
        int err = zk_cancel(zk, id);
        CHECK(err == ZK_OK || err == ZK_BAD_ARGUMENTS);
        await(&f.results, i + 1);
        IS(f.last_error, err == ZK_OK ? ZK_CANCELED : ZK_NO_NODE);
        IS(zk_cancel(zk, id), ZK_BAD_ARGUMENTS);
    }
    IS(zk_call(zk, zk_get("/"), NULL), ZK_OK); /* replies still find their requests */
    int port = zk_server_port(s);
    zk_server_stop(s);
    await_state(&e, ZK_STATE_SUSPENDED);
    int64_t id = zk_submit(zk, zk_create("/never", "", 0, ZK_PERSISTENT), on_result, &f), after;
    after = zk_submit(zk, zk_get("/"), on_result, &f);
    IS(zk_cancel(zk, id), ZK_OK); /* it has not even been sent */
    await(&f.results, 201);
    s = serve(port);
    await(&f.results, 202);
    IS(f.last_error, ZK_OK);
    IS(zk_cancel(zk, after), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_exists("/never"), NULL), ZK_NO_NODE);
    zk_free(zk);
    zk_server_stop(s);
    IS(f.results, 202);
}

/* --- many threads, and none --- */

struct worker {
    pthread_t thread;
    struct zk *zk;
    int number;
    struct ear ear;
};

static void *work(void *arg) {
    struct worker *w = arg;
    char path[32];
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "/w%d-%d", w->number, i);
        IS(create(w->zk, path), ZK_OK);
        CHECK(zk_submit(w->zk, zk_watching(zk_get(path), on_event, &w->ear), on_result,
                        &w->ear) > 0);
        struct zk_result *r;
        IS(zk_call(w->zk, zk_get(path), &r), ZK_OK);
        CHECK(r->data_len == 4 && memcmp(r->data, "data", 5) == 0);
        zk_result_free(r);
        IS(zk_call(w->zk, zk_delete(path, 0), NULL), ZK_OK);
    }
    return NULL;
}

static void case_threads(void) {
    struct ear e = {0};
    static struct worker workers[8];
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    for (int i = 0; i < 8; i++) {
        workers[i] = (struct worker){.zk = zk, .number = i};
        CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(workers[i].thread, NULL);
        await(&workers[i].ear.results, 300);
        await(&workers[i].ear.events, 300);
        IS(workers[i].ear.errors, 0);
    }
    zk_free(zk);
    zk_server_stop(s);
}

static _Atomic bool storm_over;

static void *weather(void *arg) {
    struct worker *w = arg;
    while (!storm_over) {
        int err = zk_call(w->zk, zk_get("/"), NULL);
        CHECK(err == ZK_OK || err == ZK_CONNECTION_LOSS);
        if (err == ZK_OK) w->ear.results++;
        err = (int)zk_submit(w->zk, zk_watching(zk_exists("/none"), on_event, &w->ear), NULL, NULL);
        CHECK(err > 0 || err == ZK_BUSY);
    }
    return NULL;
}

/* The server goes and comes while threads wait for replies. */
static void case_storm(void) {
    struct ear e = {0};
    static struct worker workers[4];
    struct zk_server *s = serve(0);
    int port = zk_server_port(s);
    struct zk *zk = open_with((struct zk_options){.hosts = at_port(port),
                                                  .session_timeout_ms = 20000}, &e);
    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){.zk = zk, .number = i};
        CHECK(pthread_create(&workers[i].thread, NULL, weather, &workers[i]) == 0);
    }
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++) await(&workers[i].ear.results, workers[i].ear.results + 20);
        int states = e.states;
        zk_server_stop(s);
        await(&e.states, states + 1);
        s = serve(port);
        await_state(&e, ZK_STATE_CONNECTED);
    }
    storm_over = true;
    for (int i = 0; i < 4; i++) pthread_join(workers[i].thread, NULL);
    zk_free(zk);
    zk_server_stop(s);
}

static void step_until(struct zk *zk, _Atomic int *counter, int value) {
    for (int i = 0; *counter < value; i++) {
        CHECK(i < WAIT_MS);
        struct pollfd p = {.fd = zk_fd(zk), .events = 0};
        int wants = zk_wants(zk), ms = zk_wait_ms(zk);
        if (wants & ZK_READABLE) p.events |= POLLIN;
        if (wants & ZK_WRITABLE) p.events |= POLLOUT;
        poll(&p, 1, ms < 0 || ms > 1000 ? 1000 : ms);
        int err = zk_step(zk);
        CHECK(err == ZK_OK || err == ZK_CLOSING);
    }
}

static void case_own_loop(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    int port = zk_server_port(s), fd;
    struct zk *zk = open_at(s, &e, ZK_OWN_LOOP);
    fd = zk_fd(zk);
    CHECK(fd >= 0);
    for (int i = 0; i < 50; i++) CHECK(zk_submit(zk, zk_exists("/"), on_result, &e) > 0);
    step_until(zk, &e.results, 50);
    IS(e.errors, 0);
    IS(zk_call(zk, zk_get("/"), NULL), ZK_OK); /* does the work while it waits */
    zk_server_stop(s);
    int states = e.states;
    step_until(zk, &e.states, states + 1);
    IS(e.last_state, ZK_STATE_SUSPENDED);
    s = serve(port);
    CHECK(zk_submit(zk, zk_exists("/"), on_result, &e) > 0);
    step_until(zk, &e.results, 51);
    CHECK(zk_fd(zk) == fd);
    e.zk = zk;
    e.go = true;
    CHECK(zk_submit(zk, zk_exists("/"), free_inside, &e) > 0);
    step_until(zk, &e.results, 52); /* the last step frees it */
    zk_server_stop(s);
}

static void case_inside(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_with((struct zk_options){.server = s}, &e);
    struct zk *below = open_with((struct zk_options){.server = s, .hosts = "/a"}, &e);
    static char big[900000];
    IS(create(zk, "/a"), ZK_OK);
    IS(zk_call(below, zk_create("/b", big, sizeof big, ZK_PERSISTENT), NULL), ZK_OK);
    for (int i = 0; i < 50; i++) CHECK(zk_submit(zk, zk_get("/a/b"), on_result, &e) > 0);
    await(&e.results, 50);
    IS(e.errors, 0);
    zk_free(below);
    zk_free(zk);
    zk_server_stop(s);
}

/* --- freed while others are inside --- */

static void frees_when_closed(void *user, enum zk_state state, int64_t session) {
    struct ear *e = user;
    (void)session;
    if (state != ZK_STATE_CLOSED) return;
    zk_free(e->zk);
    e->results++;
}

static void *waits_inside(void *arg) {
    IS(zk_call(((struct ear *)arg)->zk, zk_get("/"), NULL), ZK_CLOSING);
    return NULL;
}

/* A thread waits, another closes; what it hears of that frees the handle under both. */
static void free_under(struct zk_server *s, unsigned flags) {
    struct ear e = {0};
    pthread_t thread;
    struct zk_counters now = {0};
    struct zk_options o = {.hosts = s ? at_port(zk_server_port(s)) : "127.0.0.1:1",
                           .flags = flags, .on_state = frees_when_closed, .user = &e};
    IS(zk_open(&e.zk, &o), ZK_OK);
    if (s) IS(zk_wait_connected(e.zk, WAIT_MS), ZK_OK);
    if (!s) CHECK(pthread_create(&thread, NULL, waits_inside, &e) == 0);
    for (int i = 0; !s && !now.waiting; i++) { /* until it is inside */
        CHECK(i < WAIT_MS);
        usleep(1000);
        zk_get_counters(e.zk, &now);
    }
    IS(zk_close(e.zk, WAIT_MS), ZK_OK);
    await(&e.results, 1);
    if (!s) pthread_join(thread, NULL);
}

static void case_free_under(void) {
    struct ear e = {0};
    struct zk_server *s = serve(0);
    int before = threads();
    for (int i = 0; i < 20; i++) {
        free_under(i % 4 < 2 ? s : NULL, i % 2 ? ZK_OWN_LOOP : 0);
        e.results = 0;
        e.go = true;
        struct zk_options o = {.hosts = "127.0.0.1:1", .flags = i % 2 ? ZK_OWN_LOOP : 0};
        IS(zk_open(&e.zk, &o), ZK_OK);
        CHECK(zk_submit(e.zk, zk_get("/"), free_inside, &e) > 0);
        IS(zk_close(e.zk, WAIT_MS), ZK_OK);
        await(&e.results, 1);
    }
    for (int i = 0; threads() > before; i++) {
        CHECK(i < WAIT_MS);
        usleep(1000);
    }
    zk_server_stop(s);
}

/* --- another process --- */

static int descriptors(void) { return entries("/proc/self/fd"); }

/* Everything of the copies is refused, and their end is silent. */
static void in_the_child(struct zk **zk, int n, struct zk_lock *lock) {
    uint8_t passwd[16];
    int before = descriptors();
    alarm(WAIT_MS / 1000);
    for (int i = 0; i < n; i++) {
        IS(zk_call(zk[i], zk_get("/"), NULL), ZK_CLOSING);
        IS(zk_submit(zk[i], zk_get("/"), NULL, NULL), ZK_CLOSING);
        IS(zk_step(zk[i]), ZK_CLOSING);
        IS(zk_close(zk[i], -1), ZK_CLOSING);
        IS(zk_abandon(zk[i]), ZK_CLOSING);
        IS(zk_state(zk[i]), ZK_STATE_CLOSED);
        IS(zk_fd(zk[i]), -1);
        zk_session_passwd(zk[i], passwd);
    }
    IS(zk_lock_release(lock), ZK_CLOSING);
    IS(zk_lock_state(lock), ZK_HOLD_NONE);
    zk_lock_free(lock);
    for (int i = 0; i < n; i++) zk_free(zk[i]);
    CHECK(descriptors() <= before - 4 * n); /* socket, poller, and the two that wake it */
    _exit(0);
}

static void case_forked(void) {
    struct ear e = {0};
    int status;
    struct zk_lock *lock;
    struct zk_server *s = serve(0);
    struct zk *zk[] = {open_at(s, &e, 0), open_at(s, &e, ZK_OWN_LOOP)};
    for (int i = 0; i < 2; i++)
        IS(zk_call(zk[i], zk_create(i ? "/b" : "/a", "", 0, ZK_EPHEMERAL), NULL), ZK_OK);
    IS(zk_lock_new(zk[0], "/lock", NULL, &lock), ZK_OK);
    IS(zk_lock_acquire(lock, WAIT_MS), ZK_OK);
    usleep(50000); /* nobody is at a handle when it is copied */
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) in_the_child(zk, 2, lock);
    CHECK(waitpid(child, &status, 0) == child);
    IS(status, 0);
    IS(zk_lock_state(lock), ZK_HOLD_OWNED);
    for (int i = 0; i < 2; i++) {
        IS(zk_call(zk[i], zk_exists(i ? "/a" : "/b"), NULL), ZK_OK);
        IS(zk_call(zk[i], zk_set(i ? "/b" : "/a", "x", 1, -1), NULL), ZK_OK);
    }
    IS(e.last_state, ZK_STATE_CONNECTED); /* all the time */
    zk_lock_free(lock);
    for (int i = 0; i < 2; i++) zk_free(zk[i]);
    zk_server_stop(s);
}

/* --- calls from where none are allowed --- */

struct outing {
    struct zk *zk;
    struct zk *other; /* whose calls are as allowed there as anywhere */
    struct zk_lock *lock;
    _Atomic bool go;
    _Atomic int turns;
};

static void refused_here(struct outing *o) {
    uint8_t passwd[16];
    int len;
    if (!o->go) return;
    o->go = false;
    IS(zk_call(o->zk, zk_get("/"), NULL), ZK_WRONG_THREAD);
    IS(zk_submit(o->zk, zk_get("/"), NULL, NULL), ZK_WRONG_THREAD);
    IS(zk_cancel(o->zk, 1), ZK_WRONG_THREAD);
    IS(zk_flush(o->zk), ZK_WRONG_THREAD);
    IS(zk_step(o->zk), ZK_WRONG_THREAD);
    IS(zk_close(o->zk, -1), ZK_WRONG_THREAD);
    IS(zk_abandon(o->zk), ZK_WRONG_THREAD);
    IS(zk_wait_connected(o->zk, -1), ZK_WRONG_THREAD);
    IS(zk_set_hosts(o->zk, "a:1"), ZK_WRONG_THREAD);
    IS(zk_state(o->zk), ZK_STATE_CLOSED);
    CHECK(zk_session_id(o->zk) == 0);
    zk_session_passwd(o->zk, passwd);
    zk_free(o->zk);
    IS(zk_lock_acquire(o->lock, -1), ZK_WRONG_THREAD);
    IS(zk_lock_release(o->lock), ZK_WRONG_THREAD);
    IS(zk_lock_state(o->lock), ZK_HOLD_NONE);
    IS(zk_lock_revoke(o->lock), ZK_WRONG_THREAD);
    zk_lock_free(o->lock);
    CHECK(!zk_queue_item(NULL, &len));
    if (o->other) IS(zk_call(o->other, zk_get("/"), NULL), ZK_OK);
    IS(zk_call(o->zk, zk_get("/"), NULL), ZK_WRONG_THREAD); /* still */
    o->turns++;
}

static void on_frame_calls(void *user, bool sent, const uint8_t *bytes, size_t n) {
    (void)sent;
    (void)bytes;
    (void)n;
    refused_here(user);
}

static void on_log_calls(void *user, int level, const char *text) {
    (void)level;
    (void)text;
    refused_here(user);
}

static void case_called_out(void) {
    struct ear e = {0};
    struct outing inner = {0}, outer = {0};
    struct zk_server *s = serve(0);
    struct zk_options o = {.hosts = at_port(zk_server_port(s)), .on_frame = on_frame_calls,
                           .log = on_log_calls};
    o.frame_user = o.log_user = &inner;
    inner.zk = open_with(o, &e);
    IS(zk_lock_new(inner.zk, "/lock", NULL, &inner.lock), ZK_OK);
    o.frame_user = o.log_user = &outer;
    o.flags = ZK_OWN_LOOP;
    outer.zk = open_with(o, &e);
    IS(zk_lock_new(outer.zk, "/lock", NULL, &outer.lock), ZK_OK);
    outer.other = inner.zk;
    inner.go = outer.go = true;
    IS(zk_call(outer.zk, zk_get("/"), NULL), ZK_OK);
    await(&inner.turns, 1);
    IS(outer.turns, 1);
    inner.go = true;
    zk_server_stop(s); /* of which the log speaks */
    await(&inner.turns, 2);
    zk_lock_free(inner.lock);
    zk_lock_free(outer.lock);
    zk_free(outer.zk);
    zk_free(inner.zk);
}

/* --- the chroot --- */

static void case_chroot(void) {
    struct ear e = {0};
    char hosts[64];
    struct zk_result *r;
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    IS(create(zk, "/app"), ZK_OK);
    IS(create(zk, "/apple"), ZK_OK);
    snprintf(hosts, sizeof hosts, "127.0.0.1:%d/app", zk_server_port(s));
    struct zk *below = open_with((struct zk_options){.hosts = hosts}, &e);
    IS(zk_call(below, zk_create("/x", "", 0, ZK_EPHEMERAL_SEQUENTIAL), &r), ZK_OK);
    CHECK(strcmp(r->path, "/x0000000000") == 0);
    zk_result_free(r);
    IS(zk_call(below, zk_get_children("/"), &r), ZK_OK);
    CHECK(r->count == 1 && strcmp(r->names[0], "x0000000000") == 0);
    zk_result_free(r);
    IS(zk_call(below, zk_get_ephemerals("/"), &r), ZK_OK);
    CHECK(r->count == 1 && strcmp(r->names[0], "/x0000000000") == 0);
    zk_result_free(r);
    struct zk_op ops[] = {zk_create("/m", "", 0, ZK_PERSISTENT), zk_check("/m", 0)};
    IS(zk_call(below, zk_multi(ops, 2), &r), ZK_OK);
    CHECK(strcmp(r->results[0].path, "/m") == 0);
    zk_result_free(r);
    IS(zk_call(below, zk_sync("/"), &r), ZK_OK);
    CHECK(strcmp(r->path, "/") == 0);
    zk_result_free(r);
    IS(zk_call(below, zk_get_config(), NULL), ZK_OK);
    IS(zk_call(below, zk_delete("/", -1), NULL), ZK_BAD_ARGUMENTS);
    IS(zk_call(zk, zk_exists("/app/m"), NULL), ZK_OK);
    zk_free(below);
    zk_free(zk);
    zk_server_stop(s);
}

/* --- words --- */

static void case_words(void) {
    for (int error = -1015; error <= 0; error++) {
        bool known = strcmp(zk_error_name(error), "UNKNOWN") != 0;
        CHECK(*zk_strerror(error));
        bool own = (error <= -1000 && error >= -1005) || error <= -1010;
        if (own) CHECK(known);
        if (own) CHECK(strcmp(zk_strerror(error), "unknown error") != 0);
    }
    CHECK(strcmp(zk_error_name(ZK_NO_NODE), "NONODE") == 0);
    CHECK(strcmp(zk_error_name(7), "UNKNOWN") == 0);
    CHECK(strcmp(zk_state_name(ZK_STATE_LOST), "LOST") == 0);
    CHECK(strcmp(zk_state_name(99), "UNKNOWN") == 0);
}

int main(int argc, char **argv) {
    static const struct test_case CASES[] = {
        {"null", case_null},           {"hosts", case_hosts},
        {"arguments", case_arguments}, {"closed", case_closed},
        {"close-in-vain", case_close_in_vain}, {"expired", case_expired},
        {"renewed", case_renewed},     {"reattached", case_reattached},
        {"reconnects", case_reconnects}, {"loss", case_loss},
        {"auth-refused", case_auth_refused}, {"new-hosts", case_new_hosts},
        {"names", case_names},         {"callbacks", case_callbacks},
        {"order", case_order},         {"cancel", case_cancel},
        {"threads", case_threads},     {"storm", case_storm},
        {"own-loop", case_own_loop},   {"inside", case_inside},
        {"chroot", case_chroot},       {"words", case_words},
        {"called-out", case_called_out}, {"free-under", case_free_under},
        {"forked", case_forked},
    };
    return run_case(CASES, sizeof CASES / sizeof *CASES, argc, argv);
}
