/*
 * What the cases have in common: checks, a server of this process, and what a client hears.
 *
 * A case ends at the first CHECK that does not hold. The programs are run by test_client.py.
 */
#ifndef CASES_H
#define CASES_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "zk.h"

#define CHECK(x)                                                           \
    do {                                                                   \
        if (!(x)) {                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);        \
            _exit(1);                                                      \
        }                                                                  \
    } while (0)
#define IS(got, want)                                                                         \
    do {                                                                                      \
        int got_ = (int)(got), want_ = (int)(want);                                           \
        if (got_ != want_) {                                                                  \
            fprintf(stderr, "%s:%d: %s is %d (%s), not %s\n", __FILE__, __LINE__, #got, got_, \
                    zk_error_name(got_), #want);                                              \
            _exit(1);                                                                         \
        }                                                                                     \
    } while (0)

enum { WAIT_MS = 20000, OPEN_MS = 4000 };

static const char *directory;

/* --- a server, and what a client hears --- */

static struct zk_server *serve(int port) {
    struct zk_server *server;
    char error[256];
    struct zk_server_options o = {.config_text = "tickTime=500\nmaxClientCnxns=0\n"
                                                 "minSessionTimeout=500\n",
                                  .data_dir = directory,
                                  .address = "127.0.0.1",
                                  .client_port = port ? port : -1};
    if (zk_server_start(&server, &o, error, sizeof error)) {
        fprintf(stderr, "%s\n", error);
        _exit(1);
    }
    return server;
}

struct ear {
    _Atomic int results, errors, events, states, last_error, last_type, last_state;
    _Atomic int64_t session;
    struct zk *zk; /* for callbacks that call back */
    _Atomic bool go; /* ... once they may */
};

static void on_result(void *user, const struct zk_result *r) {
    struct ear *e = user;
    e->last_error = r->error;
    if (r->error) e->errors++;
    e->results++;
}

static void on_event(void *user, const struct zk_event *event) {
    struct ear *e = user;
    e->last_type = (int)event->type;
    e->events++;
}

static void on_state(void *user, enum zk_state state, int64_t session) {
    struct ear *e = user;
    e->last_state = (int)state;
    e->session = session;
    e->states++;
}

/* Until a counter has come this far. */
static void await(_Atomic int *counter, int value) {
    for (int i = 0; *counter < value; i++) {
        CHECK(i < WAIT_MS);
        usleep(1000);
    }
}

static void await_state(struct ear *e, enum zk_state state) {
    for (int i = 0; e->last_state != (int)state; i++) {
        CHECK(i < WAIT_MS);
        usleep(1000);
    }
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const char *at_port(int port) {
    static _Thread_local char hosts[64];
    snprintf(hosts, sizeof hosts, "127.0.0.1:%d", port);
    return hosts;
}

static struct zk *open_with(struct zk_options o, struct ear *e) {
    struct zk *zk;
    o.on_state = on_state;
    o.user = e;
    if (!o.session_timeout_ms) o.session_timeout_ms = OPEN_MS;
    IS(zk_open(&zk, &o), ZK_OK);
    if (!(o.flags & ZK_OWN_LOOP)) IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    return zk;
}

static struct zk *open_at(struct zk_server *s, struct ear *e, unsigned flags) {
    return open_with((struct zk_options){.hosts = at_port(zk_server_port(s)), .flags = flags}, e);
}

static int create(struct zk *zk, const char *path) {
    return zk_call(zk, zk_create(path, "data", 4, ZK_PERSISTENT), NULL);
}

/* --- which case --- */

struct test_case {
    const char *name;
    void (*run)(void);
};

/* "--list", or a case and its directory. */
static int run_case(const struct test_case *cases, size_t n, int argc, char **argv) {
    for (size_t i = 0; i < n; i++) {
        if (argc == 2 && strcmp(argv[1], "--list") == 0) puts(cases[i].name);
        if (argc != 3 || strcmp(argv[1], cases[i].name) != 0) continue;
        directory = argv[2];
        cases[i].run();
        puts("ok");
    }
    return 0;
}

#endif
