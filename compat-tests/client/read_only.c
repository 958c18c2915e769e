/*
 * A client that is content with a server that can only read: read_only HOSTS
 *
 * Says each state; for each line of its input does a read, or for "write" a write, and says what
 * came of it.
 */
#include <stdio.h>
#include <string.h>

#include "zk.h"

static void on_state(void *user, enum zk_state state, int64_t session) {
    (void)user;
    (void)session;
    printf("state %s\n", zk_state_name((int)state));
    (void)fflush(stdout);
}

int main(int argc, char **argv) {
    char line[64];
    struct zk *zk;
    struct zk_options o = {.hosts = argc > 1 ? argv[1] : "", .flags = ZK_CAN_BE_READ_ONLY,
                           .session_timeout_ms = 4000, .op_timeout_ms = 20000,
                           .on_state = on_state};
    if (zk_open(&zk, &o)) return 1;
    while (fgets(line, sizeof line, stdin)) {
        struct zk_op op = zk_get("/");
        if (strcmp(line, "write\n") == 0) op = zk_create("/written", "x", 1, ZK_PERSISTENT);
        int error = zk_call(zk, op, NULL);
        printf("%s", line);
        printf("%s\n", zk_error_name(error));
        (void)fflush(stdout);
    }
    zk_free(zk);
    return 0;
}
