#define _DEFAULT_SOURCE 1 /* usleep */
/*
 * watch: prints what happens to a node and everything below it.
 *
 *   cc -std=c11 -pthread -I.. watch.c ../zk.c -o watch && ./watch [127.0.0.1:2181 [/path [events]]]
 *
 * A recursive watch stays until it is removed, and is set again after every reconnect; what
 * happened while there was no connection is not told, so the states are printed too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "zk.h"

static const char *const NAMES[] = {"?", "created", "deleted", "changed", "children changed"};

struct watcher {
    _Atomic int left; /* events to print */
};

static void on_event(void *user, const struct zk_event *event) {
    struct watcher *w = user;
    if (event->type > ZK_NODE_CHILDREN_CHANGED) return; /* the watch itself is gone */
    printf("%s %s, zxid 0x%llx\n", event->path, NAMES[event->type],
           (unsigned long long)event->zxid);
    (void)fflush(stdout);
    w->left--;
}

static void on_state(void *user, enum zk_state state, int64_t session) {
    (void)user;
    printf("session 0x%llx: %s\n", (unsigned long long)session, zk_state_name(state));
    (void)fflush(stdout);
}

/* Callbacks come by a thread of the library; this one only waits. */
static void wait_for_events(struct zk *zk, struct watcher *w) {
    while (w->left > 0 && zk_state(zk) < ZK_STATE_EXPIRED) (void)usleep(10000);
}

int main(int argc, char **argv) {
    const char *path = argc > 2 ? argv[2] : "/";
    struct watcher w = {argc > 3 ? atoi(argv[3]) : 1000000};
    struct zk_options options = {.hosts = argc > 1 ? argv[1] : "127.0.0.1:2181",
                                 .on_state = on_state};
    struct zk *zk;
    int error = zk_open(&zk, &options);
    if (!error) error = zk_wait_connected(zk, 10000);
    if (!error) error = zk_call(zk, zk_add_watch(path, ZK_WATCH_RECURSIVE, on_event, &w), NULL);
    if (error) {
        (void)fprintf(stderr, "%s: %s\n", path, zk_strerror(error));
        return 1;
    }
    wait_for_events(zk, &w);
    zk_free(zk);
    return 0;
}
