/*
 * client/counter: a number in a node, changed by whoever sees it first as it is.
 *
 *   READING -> over, or WRITING what follows from it, under the version that was read
 *   WRITING: another version -> READING; no parent -> made, WRITING
 *   WRITING, reply lost: SYNCING -> READING: the same zxid as before -> WRITING, else uncertain
 * stock: DistributedAtomicValue, SharedValue.
 */
#ifndef ZK_CLIENT_COUNTER_H
#define ZK_CLIENT_COUNTER_H

#include "client/recipe.h"

enum counter_job { COUNTER_GET, COUNTER_SET, COUNTER_ADD, COUNTER_CAS };

enum counter_step { COUNTER_IDLE, COUNTER_READING, COUNTER_WRITING, COUNTER_SYNCING };

struct counter {
    struct client *c;
    const void *owner;
    char *path; /* owned */
    int bytes;  /* 4 or 8 */
    enum counter_job job;
    enum counter_step step;
    int64_t operand, expected;
    int64_t value;         /* seen or made last */
    int64_t wish_value;    /* being written */
    int64_t mzxid;         /* of what was read; 0: no node */
    int32_t version;
    bool doubtful;         /* what was written may have been applied */
    uint8_t text[8];
    struct recipe_node node; /* plain */
    struct ask ask;
    struct mkdirs parents;
    struct client_observer observer;
    struct wish wish;
};

ZK_PRIVATE int counter_init(struct counter *n, struct client *c, const void *owner,
                            const char *path, int bytes);
ZK_PRIVATE void counter_free(struct counter *n);
ZK_PRIVATE int counter_do(struct counter *n, enum counter_job job, int64_t operand,
                          int64_t expected, zk_done_fn done, void *user);

#endif
