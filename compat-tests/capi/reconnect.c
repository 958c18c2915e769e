/* A connection that breaks and comes back, and a session that is lost. What is to be done to the
 * connection is asked for by a line that begins with '!'; an empty line on stdin says that it is
 * done. Compiled for both forms of the library, see async.c. The first argument is the address of
 * what can be broken, the third that of the server itself. */
#include "capi.h"
#include "loop.h"

static zhandle_t *zh, *other;
static _Atomic int due, state;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *told[64];
static _Atomic int told_count;

static void ask(const char *what) {
    say("!%s", what);
    if (getchar() != '\n') fail("no answer");
}

static void on_event(zhandle_t *from, int type, int now, const char *path, void *ctx) {
    char text[512];
    (void)from;
    (void)snprintf(text, sizeof text, "  %s: type %d state %d path %s", (const char *)ctx, type,
                   now, path ? path : "");
    (void)pthread_mutex_lock(&lock);
    told[told_count] = strdup(text);
    told_count++;
    (void)pthread_mutex_unlock(&lock);
}

static void on_state(zhandle_t *from, int type, int now, const char *path, void *ctx) {
    if (type == ZOO_SESSION_EVENT) state = now;
    on_event(from, type, now, path, ctx);
}

static void on_rc(int rc, const struct Stat *stat, const void *data) {
    (void)stat;
    if (data) say("%s: %d", (const char *)data, rc);
    due--;
}

static void on_data(int rc, const char *value, int len, const struct Stat *stat,
                    const void *data) {
    (void)value, (void)len;
    on_rc(rc, stat, data);
}

static void on_strings(int rc, const struct String_vector *strings, const void *data) {
    (void)strings;
    on_rc(rc, NULL, data);
}

static void on_string(int rc, const char *value, const void *data) {
    (void)value;
    on_rc(rc, NULL, data);
}

static void done(int rc) {
    if (rc) say("refused: %d", rc);
    if (rc) due--;
    finish(zh, &due);
}

static void wait_state(int wanted) {
    time_t until = time(NULL) + WAIT_S;
    while (state != wanted) {
        if (time(NULL) > until) fail("a state that does not come");
        turn(zh);
        if (other) turn(other);
    }
}

/* n watchers have spoken. */
static void say_told(const char *when, int n) {
    time_t until = time(NULL) + WAIT_S;
    while (told_count < n && time(NULL) <= until) turn(zh);
    (void)pthread_mutex_lock(&lock);
    qsort(told, (size_t)told_count, sizeof *told, compare_names);
    say("%s:", when);
    for (int i = 0; i < told_count; i++) say("%s", told[i]);
    while (told_count) {
        told_count--;
        free(told[told_count]);
    }
    (void)pthread_mutex_unlock(&lock);
}

static void with_other(int rc) {
    if (rc) fail("the other handle");
    for (time_t until = time(NULL) + WAIT_S; due > 0;) {
        if (time(NULL) > until) fail("the other handle does not answer");
        turn(zh);
        turn(other);
    }
}

static void make(zhandle_t *by, const char *path, int mode) {
    due = 1;
    with_other(zoo_acreate(by, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, mode, on_string, NULL));
}

static void change(const char *path) {
    due = 1;
    with_other(zoo_aset(other, path, "x", 1, -1, on_rc, NULL));
}

static void watch(void) {
    due = 1;
    done(zoo_awget(zh, at("/same"), on_event, "same", on_data, NULL));
    due = 1;
    done(zoo_awget(zh, at("/changes"), on_event, "changes", on_data, NULL));
    due = 1;
    done(zoo_awexists(zh, at("/comes"), on_event, "comes", on_rc, NULL));
    due = 1;
    done(zoo_awget_children(zh, root, on_event, "children", on_strings, NULL));
}

/* Until a node is there, or not. */
static _Atomic int found;
static void on_found(int rc, const struct Stat *stat, const void *data) {
    (void)stat, (void)data;
    found = rc;
    due--;
}
static void wait_gone(const char *path) {
    time_t until = time(NULL) + WAIT_S;
    do {
        if (time(NULL) > until) fail("a session that does not end");
        due = 1;
        with_other(zoo_awexists(other, path, NULL, NULL, on_found, NULL));
    } while (found != ZNONODE);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    other = open_loop_client(argv[3]);
    zh = zookeeper_init(address, on_state, 1000, NULL, "session", ZOO_NO_LOG_CLIENTENV);
    wait_state(ZOO_CONNECTED_STATE);
    int64_t id = zoo_client_id(zh)->client_id;
    make(other, root, 0);
    make(other, at("/same"), 0);
    make(other, at("/changes"), 0);
    make(zh, at("/ephemeral"), ZOO_EPHEMERAL);
    watch();
    say_told("connected", 1);
    ask("refuse");
    wait_state(ZOO_CONNECTING_STATE);
    /* The event may come before the state of the handle changes. */
    time_t until = time(NULL) + WAIT_S;
    while (zoo_state(zh) == ZOO_CONNECTED_STATE && time(NULL) <= until) turn(zh);
    say("state: %d %d", zoo_state(zh) != ZOO_CONNECTED_STATE, is_unrecoverable(zh));
    change(at("/changes"));
    make(other, at("/comes"), 0);
    ask("accept");
    wait_state(ZOO_CONNECTED_STATE);
    say("same session: %d", zoo_client_id(zh)->client_id == id);
    say_told("back again", 2 * 5 + 3);
    change(at("/same"));
    say_told("what was watched still is", 1);
    watch();
    due = 1;
    ask("stall");
    /* Sent, and never answered. */
    int rc = zoo_aexists(zh, at("/same"), 0, on_rc, NULL);
    if (rc) fail("a request");
    wait_state(ZOO_CONNECTING_STATE);
    finish(zh, &due);
    wait_gone(at("/ephemeral"));
    ask("resume");
    wait_state(ZOO_EXPIRED_SESSION_STATE);
    say_told("expired", 2 * 5);
    say("state: %d %d", zoo_state(zh), is_unrecoverable(zh));
    say("refused: %d", zoo_aexists(zh, "/", 0, on_rc, NULL));
    say("close: %d", zookeeper_close(zh));
    say("close: %d", zookeeper_close(other));
    return 0;
}
