/*
 * event_loop: the client in a program that has a loop of its own, and no other thread.
 *
 *   cc -std=c11 -pthread -I.. event_loop.c ../zk.c -o event_loop && ./event_loop [127.0.0.1:2181]
 *
 * Reads lines from standard input, writes each into /example-loop, and prints what the node holds
 * whenever it changes. One descriptor, one timeout, one step: epoll, libuv or a game loop do as
 * well as poll.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "zk.h"

#define NODE "/example-loop"

struct program {
    struct zk *zk;
    int writes, shown; /* begun, and seen to arrive */
};

static void on_change(void *user, const struct zk_event *event);

static void on_data(void *user, const struct zk_result *result) {
    struct program *p = user;
    if (result->error) return; /* the next change, or the next connection, brings it again */
    printf("now: %.*s\n", result->data_len, (const char *)result->data);
    (void)fflush(stdout);
    p->shown = (int)result->stat.version;
}

/* A one-shot watch: reading sets the next one. */
static void on_change(void *user, const struct zk_event *event) {
    struct program *p = user;
    if (event->type <= ZK_NODE_DATA_CHANGED)
        (void)zk_submit(p->zk, zk_watching(zk_get(NODE), on_change, p), on_data, p);
}

static void on_written(void *user, const struct zk_result *result) {
    (void)user;
    if (result->error) printf("not written: %s\n", zk_strerror(result->error));
}

static bool read_line(struct program *p) {
    char line[256];
    if (!fgets(line, sizeof line, stdin)) return false;
    line[strcspn(line, "\n")] = '\0';
    p->writes++;
    return zk_submit(p->zk, zk_set(NODE, line, (int)strlen(line), -1), on_written, p) > 0;
}

int main(int argc, char **argv) {
    struct zk_options options = {.hosts = argc > 1 ? argv[1] : "127.0.0.1:2181",
                                 .flags = ZK_OWN_LOOP};
    struct program p = {0};
    int error = zk_open(&p.zk, &options);
    if (error) {
        (void)fprintf(stderr, "%s\n", zk_strerror(error));
        return 1;
    }
    (void)setvbuf(stdin, NULL, _IONBF, 0); /* poll must see what fgets has not read */
    (void)zk_submit(p.zk, zk_create(NODE, "nothing yet", 11, ZK_PERSISTENT), NULL, NULL);
    (void)zk_submit(p.zk, zk_watching(zk_get(NODE), on_change, &p), on_data, &p);
    struct zk_counters counters = {.waiting = 1};
    for (bool reading = true; (reading || counters.waiting) && !error;) {
        int wants = zk_wants(p.zk);
        struct pollfd both[2] = {
            {.fd = zk_fd(p.zk), .events = (short)((wants & ZK_READABLE ? POLLIN : 0) |
                                                  (wants & ZK_WRITABLE ? POLLOUT : 0))},
            {.fd = reading ? STDIN_FILENO : -1, .events = POLLIN}};
        (void)poll(both, 2, zk_wait_ms(p.zk));
        if (both[1].revents) reading = read_line(&p);
        error = zk_step(p.zk); /* callbacks come from here, and only from here */
        zk_get_counters(p.zk, &counters);
    }
    printf("%d lines written\n", p.writes);
    zk_free(p.zk);
    return error ? 1 : 0;
}
