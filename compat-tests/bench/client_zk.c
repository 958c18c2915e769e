/* client.h on zk.h. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>

#include "zk.h"

static struct zk *handle(struct session *s) { return (struct zk *)s; }

struct session *session_open(const char *hosts) {
    struct zk *zk;
    struct zk_options o = {.hosts = hosts, .session_timeout_ms = 30000};
    if (zk_open(&zk, &o) || zk_wait_connected(zk, 30000)) {
        fprintf(stderr, "no connection\n");
        exit(1);
    }
    return (struct session *)zk;
}

void session_close(struct session *s) { zk_free(handle(s)); }

static int call(struct session *s, struct zk_op op) {
    struct zk_result *r;
    int error = zk_call(handle(s), op, &r);
    zk_result_free(r);
    return error;
}

int session_get(struct session *s, const char *path) { return call(s, zk_get(path)); }

int session_set(struct session *s, const char *path, const char *data, int n) {
    return call(s, zk_set(path, data, n, -1));
}

int session_create(struct session *s, const char *path, const char *data, int n) {
    return call(s, zk_create(path, data, n, ZK_PERSISTENT));
}

static void done(void *user, const struct zk_result *r) {
    (void)user;
    bench_done(r->error);
}

static void later(struct session *s, struct zk_op op) {
    int64_t id = zk_submit(handle(s), op, done, NULL);
    if (id < 0) bench_done((int)id);
}

void session_get_later(struct session *s, const char *path) { later(s, zk_get(path)); }

void session_set_later(struct session *s, const char *path, const char *data, int n) {
    later(s, zk_set(path, data, n, -1));
}

static void changed(void *user, const struct zk_event *e) {
    (void)user;
    (void)e;
}

void session_watch_later(struct session *s, const char *path) {
    later(s, zk_watching(zk_exists(path), changed, NULL));
}
