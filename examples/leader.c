/*
 * leader: one of several processes does the work, another one when that dies.
 *
 *   cc -std=c11 -pthread -I.. leader.c ../zk.c -o leader
 *   ./leader 127.0.0.1:2181 /example-leader my-name [turns]
 *
 * Curator's LeaderLatch on the same path takes part. After `turns` pieces of work the leader steps
 * back to the end of the line.
 */
#define _DEFAULT_SOURCE 1 /* usleep */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "zk.h"

static void on_state(void *user, enum zk_hold_state state, int64_t token) {
    const char *name = user;
    if (state == ZK_HOLD_OWNED)
        printf("%s leads, token 0x%llx\n", name, (unsigned long long)token);
    if (state == ZK_HOLD_SUSPENDED) printf("%s holds still: the connection broke\n", name);
    if (state == ZK_HOLD_LOST) printf("%s does not lead any more\n", name);
    (void)fflush(stdout);
}

int main(int argc, char **argv) {
    const char *path = argc > 2 ? argv[2] : "/example-leader";
    char *name = argc > 3 ? argv[3] : "somebody";
    char leader_name[64];
    int turns = argc > 4 ? atoi(argv[4]) : 3;
    struct zk_options options = {.hosts = argc > 1 ? argv[1] : "127.0.0.1:2181",
                                 .session_timeout_ms = 6000, .flags = ZK_RENEW_SESSION};
    struct zk_leader_options leader_options = {.id = name, .on_state = on_state, .user = name};
    struct zk_leader *leader;
    struct zk *zk;
    int error = zk_open(&zk, &options);
    if (!error) error = zk_leader_new(zk, path, &leader_options, &leader);
    if (!error) error = zk_leader_wait(leader, -1);
    if (error) {
        (void)fprintf(stderr, "%s: %s\n", path, zk_strerror(error));
        return 1;
    }
    for (int i = 1; i <= turns && zk_leader_state(leader) == ZK_HOLD_OWNED; i++) {
        printf("%s works, turn %d\n", name, i);
        (void)usleep(100000);
    }
    error = zk_leader_resign(leader);
    printf("%s resigns: %s\n", name, zk_error_name(error));
    if (zk_leader_who(leader, leader_name, sizeof leader_name) == ZK_OK)
        printf("now %s leads\n", leader_name);
    zk_leader_free(leader);
    zk_free(zk);
    return 0;
}
