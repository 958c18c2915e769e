/*
 * get_set: the first ten minutes with the client.
 *
 *   cc -std=c11 -pthread -I.. get_set.c ../zk.c -o get_set && ./get_set [127.0.0.1:2181]
 *
 * Connects, creates a node, reads it, changes it only if nobody else did, does two things as one,
 * and reads many nodes without waiting for each.
 */
#include <stdio.h>
#include <stdlib.h>

#include "zk.h"

static void must(int error, const char *what) {
    if (!error) return;
    (void)fprintf(stderr, "%s: %s (%s)\n", what, zk_error_name(error), zk_strerror(error));
    exit(1);
}

static void on_read(void *user, const struct zk_result *result) {
    int *reads = user;
    must(result->error, "read");
    (*reads)++;
}

int main(int argc, char **argv) {
    struct zk_options options = {.hosts = argc > 1 ? argv[1] : "127.0.0.1:2181"};
    struct zk_result *result;
    struct zk *zk;
    must(zk_open(&zk, &options), "open");
    must(zk_wait_connected(zk, 10000), "connect");

    /* An operation is a value; zk_call does it and waits. */
    int error = zk_call(zk, zk_create("/example", "hello", 5, ZK_PERSISTENT), &result);
    must(error == ZK_NODE_EXISTS ? ZK_OK : error, "create");
    zk_result_free(result);

    must(zk_call(zk, zk_get("/example"), &result), "get");
    printf("/example holds \"%.*s\", version %d\n", result->data_len, (const char *)result->data,
           (int)result->stat.version);
    int version = (int)result->stat.version;
    zk_result_free(result);

    /* Only if it is still the version that was read. */
    must(zk_call(zk, zk_set("/example", "world", 5, version), NULL), "set");
    printf("an old version is refused: %s\n",
           zk_error_name(zk_call(zk, zk_set("/example", "lost", 4, version), NULL)));

    /* All or nothing. */
    struct zk_op ops[] = {zk_check("/example", version + 1),
                          zk_create("/example/a", NULL, -1, ZK_EPHEMERAL),
                          zk_create("/example/b", NULL, -1, ZK_EPHEMERAL)};
    error = zk_call(zk, zk_multi(ops, 3), &result);
    for (int i = 0; result && i < result->count; i++)
        printf("operation %d of the multi: %s\n", i, zk_error_name(result->results[i].error));
    zk_result_free(result);
    must(error, "multi");

    must(zk_call(zk, zk_get_children("/example"), &result), "children");
    for (int i = 0; i < result->count; i++) printf("child: %s\n", result->names[i]);
    zk_result_free(result);

    /* Many at once: zk_submit returns at once, the callback comes later. */
    int reads = 0;
    for (int i = 0; i < 1000; i++)
        if (zk_submit(zk, zk_get("/example"), on_read, &reads) < 0) must(ZK_BUSY, "submit");
    must(zk_close(zk, 5000), "close"); /* every callback has been called when it returns */
    printf("%d reads\n", reads);
    zk_free(zk);
    return 0;
}
