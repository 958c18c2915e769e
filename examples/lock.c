#define _DEFAULT_SOURCE 1 /* usleep */
/*
 * lock: one process at a time.
 *
 *   cc -std=c11 -pthread -I.. lock.c ../zk.c -o lock && ./lock [127.0.0.1:2181 [/path [seconds]]]
 *
 * Waits for the lock, works, gives it back. Start it in several terminals; kill the owner.
 * Curator's InterProcessMutex on the same path excludes it, and is excluded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "zk.h"

/* Called by a thread of the library, at once when the connection breaks: whoever does something as
 * the owner stops then, since the lock may belong to somebody else soon. */
static void on_state(void *user, enum zk_hold_state state, int64_t token) {
    static const char *const names[] = {"none", "waiting", "owned", "suspended", "lost"};
    (void)user;
    printf("lock: %s, token 0x%llx\n", names[state], (unsigned long long)token);
    (void)fflush(stdout);
}

int main(int argc, char **argv) {
    const char *path = argc > 2 ? argv[2] : "/example-lock";
    int seconds = argc > 3 ? atoi(argv[3]) : 5;
    struct zk_options options = {.hosts = argc > 1 ? argv[1] : "127.0.0.1:2181",
                                 .session_timeout_ms = 6000, .flags = ZK_RENEW_SESSION};
    struct zk_lock_options lock_options = {.on_state = on_state};
    struct zk_lock *lock;
    struct zk *zk;
    int error = zk_open(&zk, &options);
    if (!error) error = zk_lock_new(zk, path, &lock_options, &lock);
    if (!error) error = zk_lock_acquire(lock, -1);
    if (error) {
        (void)fprintf(stderr, "%s: %s\n", path, zk_strerror(error));
        return 1;
    }

    /* The token grows from owner to owner: send it along, and let others refuse older ones. */
    for (int i = 0; i < seconds * 10 && zk_lock_state(lock) == ZK_HOLD_OWNED; i++) {
        printf("working with token 0x%llx\n", (unsigned long long)zk_lock_token(lock));
        (void)usleep(100000);
    }

    error = zk_lock_release(lock);
    printf("released: %s\n", zk_error_name(error));
    zk_lock_free(lock);
    zk_free(zk);
    return 0;
}
