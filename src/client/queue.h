/*
 * client/queue: items as sequential nodes, taken in the order of their names.
 *
 *   put   PUTTING
 *   take  LISTING -> READING the first -> TAKING (delete) -> over; NO_NODE on the way: the next one
 *         none: LISTING with a watch -> none: WAITING
 *         TAKING, reply lost: SYNCING -> CHECKING whether it is still there: -> TAKING or uncertain
 * The names of one listing are used up before the next, except of a queue with priorities, where
 * what came later may go first. An item of several messages, as Curator's putMulti makes, is handed
 * out one by one.
 * stock: SimpleDistributedQueue, DistributedQueue, DistributedPriorityQueue, ItemSerializer.
 */
#ifndef ZK_CLIENT_QUEUE_H
#define ZK_CLIENT_QUEUE_H

#include "client/recipe.h"

enum queue_step {
    QUEUE_IDLE,
    QUEUE_PUTTING,
    QUEUE_LISTING,
    QUEUE_READING,
    QUEUE_TAKING,
    QUEUE_SYNCING,
    QUEUE_CHECKING,
    QUEUE_WAITING
};

struct queue {
    struct client *c;
    const void *owner;
    enum zk_queue_layout layout;
    char *path; /* owned */
    enum queue_step step;
    bool patient;  /* waits when there is nothing */
    bool watching;
    bool overdue; /* hears to its end, for a while, what becomes of an item */
    char **names; /* owned: one block, in order */
    int next_name, n_names;
    int foreign; /* of those read so far, no items */
    char *at;     /* owned: the path that is put or taken */
    void *data;   /* owned: of what is put, or was read */
    int len;
    struct slice item, rest; /* in data: handed out, and what follows in its envelope */
    struct recipe_node node; /* of what is created: plain */
    struct ask ask;
    struct mkdirs parents;
    struct client_observer observer;
    struct wish wish;
};

ZK_PRIVATE int queue_init(struct queue *q, struct client *c, const void *owner, const char *path,
                          enum zk_queue_layout layout);
ZK_PRIVATE void queue_free(struct queue *q);
ZK_PRIVATE int queue_put(struct queue *q, const void *data, int len, int32_t priority,
                         zk_done_fn done, void *user);
ZK_PRIVATE int queue_take(struct queue *q, int timeout_ms, zk_done_fn done, void *user);

#endif
