/*
 * embed_server: a ZooKeeper server inside another program, twice.
 *
 *   cc -std=c11 -pthread -I.. embed_server.c ../zk.c -o embed_server && ./embed_server [seconds]
 *
 * Starts two independent servers on free ports of the loopback interface, says where they are,
 * and stops them in order. Any ZooKeeper client can connect meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "zk.h"

#define SERVERS 2

/* The library says nothing by itself: what it has to say comes here. */
static void print_line(void *user, int level, const char *text) {
    if (level <= ZK_LOG_WARN) printf("[%s] %s\n", (const char *)user, text);
}

static struct zk_server *start(const char *name, const char *dir) {
    char error[256];
    struct zk_server *server;
    struct zk_server_options options = {
        .config_text = "tickTime=2000\n"
                       "maxClientCnxns=0\n"
                       "autopurge.purgeInterval=1\n",
        .data_dir = dir,
        .address = "127.0.0.1",
        .client_port = -1, /* any free port */
        .log = print_line,
        .log_user = (void *)name,
    };
    int err = zk_server_start(&server, &options, error, sizeof error);
    if (err) {
        (void)fprintf(stderr, "%s: %s\n", name, error);
        exit(1);
    }
    printf("%s serves on 127.0.0.1:%d, data in %s\n", name, zk_server_port(server), dir);
    (void)fflush(stdout);
    return server;
}

int main(int argc, char **argv) {
    static const char *const names[SERVERS] = {"first", "second"};
    char dirs[SERVERS][64];
    struct zk_server *servers[SERVERS];

    for (int i = 0; i < SERVERS; i++) {
        (void)snprintf(dirs[i], sizeof dirs[i], "./embed-data-%s", names[i]);
        servers[i] = start(names[i], dirs[i]);
    }

    (void)sleep(argc > 1 ? (unsigned)atoi(argv[1]) : 60u);

    /* What was accepted is made durable and answered; then the threads are joined. */
    for (int i = 0; i < SERVERS; i++) zk_server_stop(servers[i]);
    printf("both stopped\n");
    return 0;
}
