/* client.h on the C client of Apache ZooKeeper, libzookeeper_mt. */
#include "client.h"

#define THREADED
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

static zhandle_t *handle(struct session *s) { return (zhandle_t *)s; }

static void changed(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
    (void)zh, (void)type, (void)state, (void)path, (void)ctx;
}

struct session *session_open(const char *hosts) {
    zoo_set_debug_level((ZooLogLevel)0);
    zhandle_t *zh = zookeeper_init(hosts, changed, 30000, NULL, NULL, 0);
    for (int i = 0; zh && i < 300000 && zoo_state(zh) != ZOO_CONNECTED_STATE; i++) usleep(100);
    if (!zh || zoo_state(zh) != ZOO_CONNECTED_STATE) {
        fprintf(stderr, "no connection\n");
        exit(1);
    }
    return (struct session *)zh;
}

void session_close(struct session *s) { zookeeper_close(handle(s)); }

int session_get(struct session *s, const char *path) {
    char data[65536];
    int n = sizeof data;
    struct Stat stat;
    return zoo_get(handle(s), path, 0, data, &n, &stat);
}

int session_set(struct session *s, const char *path, const char *data, int n) {
    return zoo_set(handle(s), path, data, n, -1);
}

int session_create(struct session *s, const char *path, const char *data, int n) {
    return zoo_create(handle(s), path, data, n, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
}

static void got(int rc, const char *value, int n, const struct Stat *stat, const void *data) {
    (void)value, (void)n, (void)stat, (void)data;
    bench_done(rc);
}

static void stated(int rc, const struct Stat *stat, const void *data) {
    (void)stat, (void)data;
    bench_done(rc);
}

void session_get_later(struct session *s, const char *path) {
    int rc = zoo_aget(handle(s), path, 0, got, NULL);
    if (rc) bench_done(rc);
}

void session_set_later(struct session *s, const char *path, const char *data, int n) {
    int rc = zoo_aset(handle(s), path, data, n, -1, stated, NULL);
    if (rc) bench_done(rc);
}

void session_watch_later(struct session *s, const char *path) {
    int rc = zoo_awexists(handle(s), path, changed, NULL, stated, NULL);
    if (rc) bench_done(rc);
}
