/*
 * capi.h: what the programs in this folder share. Each is compiled against the stock C client and
 * against ours, and says the same on both: what differs from run to run (ids, times) is not shown.
 *
 * A program is called with the address of a server and a path of its own, which it shows as "ROOT".
 */
#ifndef CAPI_H
#define CAPI_H

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

#define WAIT_S 20
#define TIMEOUT_MS 10000

static const char *address, *root;

/* A line of the output. The path of this run is masked. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    char text[8192], *at = text, *found;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (; (found = strstr(at, root)); at = found + strlen(root)) {
        *found = '\0';
        (void)printf("%sROOT", at);
    }
    (void)puts(at);
    (void)fflush(stdout);
}

static inline void fail(const char *what) {
    say("FAILED: %s", what);
    exit(1);
}

/* path below the root; a few at a time. */
static inline const char *at(const char *name) {
    static __thread char paths[8][512];
    static __thread unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s%s", root, name);
    return path;
}

/* Counts things that happen on other threads. */
struct counter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int count;
};
#define COUNTER {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void count_one(struct counter *c) {
    (void)pthread_mutex_lock(&c->lock);
    c->count++;
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->lock);
}

/* Until it has counted up to n; then it begins anew. */
static inline void wait_count(struct counter *c, int n, const char *what) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    (void)pthread_mutex_lock(&c->lock);
    while (c->count < n)
        if (pthread_cond_timedwait(&c->changed, &c->lock, &until)) fail(what);
    c->count -= n;
    (void)pthread_mutex_unlock(&c->lock);
}

static inline void say_stat(const char *what, int rc, const struct Stat *s) {
    if (rc || !s) {
        say("%s: %d %s", what, rc, s ? "with a stat" : "without a stat");
        return;
    }
    say("%s: 0 version %d,%d,%d length %d children %d ephemeral %d changed %d times %d", what,
        s->version, s->cversion, s->aversion, s->dataLength, s->numChildren,
        s->ephemeralOwner != 0, s->mzxid != s->czxid,
        s->ctime > 1000000000000 && s->mtime >= s->ctime);
}

static inline int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline void say_names(const char *what, int rc, const struct String_vector *v) {
    char text[4096] = "", *names[256];
    int n = rc || !v ? 0 : v->count;
    for (int i = 0; i < n && i < 256; i++) names[i] = v->data[i];
    qsort(names, (size_t)n, sizeof *names, compare_names);
    for (int i = 0; i < n; i++) {
        (void)strcat(text, " ");
        (void)strcat(text, names[i]);
    }
    say("%s: %d %s%s", what, rc, v ? "names" : "NULL", text);
}

static inline void say_acl(const char *what, int rc, const struct ACL_vector *v) {
    char text[4096] = "";
    for (int i = 0; !rc && v && i < v->count; i++) {
        size_t n = strlen(text);
        (void)snprintf(text + n, sizeof text - n, " %d:%s:%s", v->data[i].perms,
                       v->data[i].id.scheme, v->data[i].id.id);
    }
    say("%s: %d %s%s", what, rc, v ? "acl" : "NULL", text);
}

static inline void say_data(const char *what, int rc, const char *data, int len) {
    say("%s: %d len %d %.*s", what, rc, len, data && len > 0 ? len : 0, data ? data : "");
}

/* --- a session --- */

static struct counter connected = COUNTER;

static inline void on_session(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
    (void)zh;
    (void)path;
    (void)ctx;
    if (type == ZOO_SESSION_EVENT && state == ZOO_CONNECTED_STATE) count_one(&connected);
}

static inline zhandle_t *open_client(const char *hosts) {
    zhandle_t *zh = zookeeper_init(hosts, on_session, TIMEOUT_MS, NULL, NULL, ZOO_NO_LOG_CLIENTENV);
    if (!zh) fail("zookeeper_init");
    wait_count(&connected, 1, "no connection");
    return zh;
}

static inline void begin(int argc, char **argv) {
    if (argc < 3) exit(2);
    address = argv[1];
    root = argv[2];
    zoo_set_debug_level((ZooLogLevel)0);
}

#endif
