/*
 * One run of a recipe after the other, each with another allocation of the library that fails:
 *   torture <host> <path> <recipe>
 * Prints how many failed. A run may end in an error, but not in a crash, a leak or a wait without
 * end; one without failures must work, on the same handle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zk.h"

/* The linker leads the library's allocations here (--wrap), and these to the C library's. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static _Atomic long countdown, failures;

static int fails(void) {
    if (countdown <= 0 || --countdown) return 0;
    failures++;
    return 1;
}

void *__wrap_malloc(size_t n) {
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n) {
    return fails() ? NULL : __real_realloc(p, n);
}

#define WAIT_MS 3000

static int run_lock(struct zk *zk, const char *path, enum zk_lock_kind kind) {
    const char *extra[] = {"x-"};
    struct zk_lock_options options = {.kind = kind, .leases = kind == ZK_LOCK_LEASE,
                                      .extra_patterns = extra, .extra_count = 1, .data = "d",
                                      .data_len = 1};
    struct zk_lock *lock, *other = NULL;
    int error = zk_lock_new(zk, path, &options, &lock);
    if (error) return error;
    error = zk_lock_acquire(lock, WAIT_MS);
    if (!error) error = zk_lock_new(zk, path, &options, &other);
    if (!error && zk_lock_acquire(other, 20) == ZK_OK) abort();
    if (!error && zk_lock_state(lock) == ZK_HOLD_OWNED) error = zk_lock_release(lock);
    zk_lock_free(other);
    zk_lock_free(lock);
    return error;
}

static int run_leader(struct zk *zk, const char *path) {
    struct zk_leader_options options = {.id = "me"};
    struct zk_leader *leader;
    char who[8];
    int error = zk_leader_new(zk, path, &options, &leader);
    if (error) return error;
    error = zk_leader_wait(leader, WAIT_MS);
    if (!error) error = zk_leader_who(leader, who, sizeof who);
    if (!error) error = zk_leader_resign(leader);
    if (!error) error = zk_leader_wait(leader, WAIT_MS);
    zk_leader_free(leader);
    return error;
}

static int run_barrier(struct zk *zk, const char *path) {
    struct zk_double_barrier *barrier;
    int error = zk_double_barrier_new(zk, path, 1, &barrier);
    if (error) return error;
    error = zk_double_barrier_enter(barrier, WAIT_MS);
    if (!error) error = zk_double_barrier_leave(barrier, WAIT_MS);
    zk_double_barrier_free(barrier);
    return error;
}

static int run_queue(struct zk *zk, const char *path) {
    struct zk_queue *queue;
    int error = zk_queue_new(zk, path, ZK_QUEUE_DISTRIBUTED, &queue), len;
    if (error) return error;
    error = zk_queue_put(queue, "item", 4, 0);
    if (!error) error = zk_queue_take(queue, WAIT_MS);
    if (!error && (!zk_queue_item(queue, &len) || len != 4)) abort();
    zk_queue_free(queue);
    return error;
}

static int run_counter(struct zk *zk, const char *path) {
    struct zk_counter *counter;
    int error = zk_counter_new(zk, path, 8, &counter);
    if (error) return error;
    error = zk_counter_add(counter, 1);
    zk_counter_free(counter);
    return error;
}

static int run_cache(struct zk *zk, const char *path) {
    struct zk_cache *cache;
    struct zk_result *r = NULL;
    int error = zk_cache_new(zk, path, NULL, &cache);
    if (error) return error;
    error = zk_cache_wait(cache, WAIT_MS);
    if (!error) error = zk_call(zk, zk_set(path, "x", 1, -1), NULL);
    if (!error) error = zk_cache_get(cache, path, &r);
    zk_result_free(r);
    zk_cache_free(cache);
    return error;
}

static int run_member(struct zk *zk, const char *path) {
    struct zk_member *member;
    int error = zk_member_new(zk, path, "data", 4, NULL, &member);
    if (error) return error;
    error = zk_member_wait(member, WAIT_MS);
    if (!error) error = zk_member_set(member, "other", 5);
    zk_member_free(member);
    return error;
}

static int run_service(struct zk *zk, const char *path) {
    struct zk_service s = {.name = "name", .id = "id", .address = "host", .port = 1,
                           .ssl_port = -1, .payload = "\"p\""}, **list;
    struct zk_member *member;
    int n, error = zk_service_register(zk, path, &s, NULL, &member);
    if (error) return error;
    error = zk_member_wait(member, WAIT_MS);
    if (!error) error = zk_service_list(zk, path, "name", &list, &n);
    if (!error) zk_services_free(list, n);
    zk_member_free(member);
    return error;
}

static int run(struct zk *zk, const char *what, const char *path) {
    if (strcmp(what, "lock") == 0) return run_lock(zk, path, ZK_LOCK_MUTEX);
    if (strcmp(what, "lease") == 0) return run_lock(zk, path, ZK_LOCK_LEASE);
    if (strcmp(what, "leader") == 0) return run_leader(zk, path);
    if (strcmp(what, "barrier") == 0) return run_barrier(zk, path);
    if (strcmp(what, "queue") == 0) return run_queue(zk, path);
    if (strcmp(what, "counter") == 0) return run_counter(zk, path);
    if (strcmp(what, "cache") == 0) return run_cache(zk, path);
    if (strcmp(what, "member") == 0) return run_member(zk, path);
    return run_service(zk, path);
}

int main(int argc, char **argv) {
    struct zk_options options = {.flags = ZK_RENEW_SESSION};
    struct zk *zk;
    char path[200];
    if (argc != 4) return 2;
    options.hosts = argv[1];
    (void)snprintf(path, sizeof path, "%s/%s", argv[2], argv[3]);
    if (zk_open(&zk, &options) || zk_wait_connected(zk, 30000)) return 3;
    if (strcmp(argv[3], "cache") == 0 && zk_call(zk, zk_create(path, "", 0, ZK_PERSISTENT), NULL))
        return 4;
    for (long at = 1; at < 1000; at++) {
        long before = failures;
        countdown = at;
        int error = run(zk, argv[3], path);
        countdown = 0;
        if (error && failures == before) {
            printf("allocation %ld: %s without a failure\n", at, zk_error_name(error));
            return 1;
        }
        if (failures == before) break; /* it needs no more than that */
        if (at % 10 == 0) error = run(zk, argv[3], path);
        if (at % 10 == 0 && error) {
            printf("after allocation %ld: %s\n", at, zk_error_name(error));
            return 1;
        }
    }
    zk_free(zk);
    printf("%ld failed\n", (long)failures);
    return 0;
}
