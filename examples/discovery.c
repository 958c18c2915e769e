/*
 * discovery: services announce themselves, clients find them.
 *
 *   cc -std=c11 -pthread -I.. discovery.c ../zk.c -o discovery
 *   ./discovery 127.0.0.1:2181 announce web 10.0.0.1 8080 [seconds]
 *   ./discovery 127.0.0.1:2181 find web
 *
 * Below /services, in the JSON of Curator's x-discovery: Java programs find the same services.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "zk.h"

#define BASE "/services"

static int announce(struct zk *zk, char **argv, unsigned seconds) {
    char id[64];
    (void)snprintf(id, sizeof id, "%s-%ld", argv[0], (long)getpid());
    struct zk_service service = {.name = argv[0], .id = id, .address = argv[1],
                                 .port = atoi(argv[2]), .ssl_port = -1};
    struct zk_member *member;
    int error = zk_service_register(zk, BASE, &service, NULL, &member);
    if (error) return error;
    error = zk_member_wait(member, 10000);
    if (!error) {
        printf("announced %s\n", id);
        (void)fflush(stdout);
        (void)sleep(seconds);
    }
    zk_member_free(member); /* and it is gone */
    return error;
}

static int find(struct zk *zk, const char *name) {
    struct zk_service **found;
    int n;
    int error = zk_service_list(zk, BASE, name, &found, &n);
    if (error) return error;
    for (int i = 0; i < n; i++)
        if (!found[i]->disabled)
            printf("%s at %s:%d\n", found[i]->id, found[i]->address ? found[i]->address : "?",
                   found[i]->port);
    printf("%d of %s\n", n, name);
    zk_services_free(found, n);
    return ZK_OK;
}

int main(int argc, char **argv) {
    bool announces = argc > 5 && strcmp(argv[2], "announce") == 0;
    if (!announces && (argc < 4 || strcmp(argv[2], "find") != 0)) {
        (void)fprintf(stderr, "discovery hosts announce name address port [seconds]\n"
                              "discovery hosts find name\n");
        return 2;
    }
    struct zk_options options = {.hosts = argv[1], .flags = ZK_RENEW_SESSION};
    struct zk *zk;
    int error = zk_open(&zk, &options);
    if (!error && announces)
        error = announce(zk, argv + 3, argc > 6 ? (unsigned)atoi(argv[6]) : 60u);
    else if (!error)
        error = find(zk, argv[3]);
    if (error) (void)fprintf(stderr, "%s\n", zk_strerror(error));
    zk_free(zk);
    return error ? 1 : 0;
}
