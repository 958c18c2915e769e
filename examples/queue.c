/*
 * queue: some put, some take, each item goes to one.
 *
 *   cc -std=c11 -pthread -I.. queue.c ../zk.c -o queue
 *   ./queue 127.0.0.1:2181 put one two three     ./queue 127.0.0.1:2181 take [how-many]
 *
 * Items are bytes as they are, below /example-queue: Curator's SimpleDistributedQueue and the queue
 * of ZooKeeper's own recipes put and take there too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zk.h"

static int put(struct zk_queue *queue, const char *item) {
    int error = zk_queue_put(queue, item, (int)strlen(item), 0);
    printf("put %s: %s\n", item, zk_error_name(error));
    return error;
}

static int take(struct zk_queue *queue) {
    int n;
    int error = zk_queue_take(queue, 5000);
    const char *item = error ? NULL : zk_queue_item(queue, &n);
    if (item) printf("took %.*s\n", n, item);
    return error;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        (void)fprintf(stderr, "queue hosts put items...   queue hosts take [how many]\n");
        return 2;
    }
    bool takes = strcmp(argv[2], "take") == 0;
    int count = !takes ? argc - 3 : argc > 3 ? atoi(argv[3]) : 1;
    struct zk_options options = {.hosts = argv[1]};
    struct zk_queue *queue;
    struct zk *zk;
    int error = zk_open(&zk, &options);
    if (!error) error = zk_queue_new(zk, "/example-queue", ZK_QUEUE_SIMPLE, &queue);
    for (int i = 0; i < count && !error; i++) error = takes ? take(queue) : put(queue, argv[3 + i]);
    if (error) {
        (void)fprintf(stderr, "%s\n", zk_strerror(error));
        return 1;
    }
    zk_queue_free(queue);
    zk_free(zk);
    return 0;
}
