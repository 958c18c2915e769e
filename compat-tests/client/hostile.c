/*
 * A client of a server that lies: hostile HOSTS OPERATIONS
 *
 * Does so many operations, one after the other, each with a short timeout, watches and all; what
 * comes of them does not matter. Prints what the last one came to. An allocation in FAIL_EVERY
 * (environment; 0: none) finds no memory.
 */
#include "rooms.h"

#include <stdatomic.h>
#include <stdio.h>

static atomic_uint allocations;
static unsigned fail_every;

void *test_realloc(void *p, size_t n);

void *test_realloc(void *p, size_t n) {
    if (fail_every && atomic_fetch_add(&allocations, 1) % fail_every == fail_every - 1) return NULL;
    return realloc(p, n);
}

static void on_event(void *user, const struct zk_event *e) {
    (void)user;
    if (strlen(e->path) > 1u << 20) abort();
}

static _Atomic int told;

static void on_result(void *user, const struct zk_result *r) {
    (void)user;
    (void)r;
    told++;
}

int main(int argc, char **argv) {
    struct zk *zk = NULL;
    int last = 0, begun = 0, count = argc > 2 ? atoi(argv[2]) : 1;
    const char *every = getenv("FAIL_EVERY");
    struct zk_options o = {.hosts = argv[1], .session_timeout_ms = 1000, .op_timeout_ms = 100};
    fail_every = every ? (unsigned)atoi(every) : 0;
    for (int i = 0; i < 100 && !zk; i++) (void)zk_open(&zk, &o);
    if (!zk) return 1;
    for (int i = 0; i < count; i++) {
        const struct zk_op ops[] = {
            zk_watching(zk_get("/a"), on_event, NULL), zk_get_children("/a"), zk_get_acl("/a"),
            zk_multi_read((struct zk_op[]){zk_get("/a")}, 1), zk_get_ephemerals("/"),
            zk_add_watch("/", ZK_WATCH_RECURSIVE, on_event, NULL), zk_who_am_i(),
            zk_create("/a", "b", 1, ZK_EPHEMERAL_SEQUENTIAL)};
        struct zk_op op = ops[i % (int)(sizeof ops / sizeof *ops)];
        struct zk_result *r;
        begun += zk_submit(zk, op, on_result, NULL) > 0;
        last = zk_call(zk, op, &r);
        zk_result_free(r);
    }
    zk_close(zk, 100);
    if (told != begun) {
        fprintf(stderr, "%d begun, %d told\n", begun, (int)told);
        return 1;
    }
    zk_free(zk);
    printf("%s\n", zk_error_name(last));
    return 0;
}
