/*
 * config: settings that follow what operators change.
 *
 *   cc -std=c11 -pthread -I.. config.c ../zk.c -o config && ./config [127.0.0.1:2181 [changes]]
 *
 * Each child of /example-config is a setting, its data the value. A cache keeps them in memory: a
 * look costs nothing, and every change is told.
 */
#define _DEFAULT_SOURCE 1 /* usleep */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "zk.h"

#define ROOT "/example-config"

static _Atomic int changes_left;

static void on_change(void *user, const struct zk_cache_change *change) {
    (void)user;
    switch (change->event) {
    case ZK_CACHE_ADDED:
    case ZK_CACHE_CHANGED:
        printf("%s = %.*s\n", change->path, change->now->data_len,
               (const char *)change->now->data);
        break;
    case ZK_CACHE_REMOVED: printf("%s is back to its default\n", change->path); break;
    case ZK_CACHE_READY: printf("all settings are known\n"); break;
    case ZK_CACHE_STALE: printf("not connected: these are the settings of a moment ago\n"); break;
    case ZK_CACHE_FAILED: printf("%s: %s\n", change->path, zk_strerror(change->error)); break;
    }
    (void)fflush(stdout);
    changes_left--;
}

/* A setting, or what it is when nobody has set it. */
static int setting(struct zk_cache *cache, const char *path, int otherwise) {
    struct zk_result *result;
    if (zk_cache_get(cache, path, &result) != ZK_OK) return otherwise;
    int value = result->data ? atoi(result->data) : otherwise;
    zk_result_free(result);
    return value;
}

int main(int argc, char **argv) {
    struct zk_options options = {.hosts = argc > 1 ? argv[1] : "127.0.0.1:2181",
                                 .flags = ZK_RENEW_SESSION};
    struct zk_cache_options cache_options = {.levels = 2, .on_change = on_change};
    struct zk_cache *cache;
    struct zk *zk;
    changes_left = argc > 2 ? atoi(argv[2]) : 1000000;
    int error = zk_open(&zk, &options);
    if (!error) error = zk_call(zk, zk_create(ROOT, NULL, -1, ZK_PERSISTENT), NULL);
    if (error == ZK_NODE_EXISTS) error = ZK_OK;
    if (!error) error = zk_cache_new(zk, ROOT, &cache_options, &cache);
    if (!error) error = zk_cache_wait(cache, 10000);
    if (error) {
        (void)fprintf(stderr, "%s\n", zk_strerror(error));
        return 1;
    }
    while (changes_left > 0) {
        (void)setting(cache, ROOT "/workers", 4); /* as often as the program likes */
        (void)usleep(10000);
    }
    printf("workers: %d\n", setting(cache, ROOT "/workers", 4));
    zk_cache_free(cache);
    zk_free(zk);
    return 0;
}
