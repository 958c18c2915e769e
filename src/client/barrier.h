/*
 * client/barrier: a barrier that is closed while a node is there, and the double barrier, through
 * which members go together.
 *
 * One step at a time, each an answer of the server or an event:
 *   barrier  CLOSING | OPENING | WAITING (look with a watch; gone: over)
 *   enter    LOOKING for `ready` with a watch -> JOINING (own node) -> COUNTING the members, unless
 *            it was ready -> RAISING `ready` when they are enough, else back to LOOKING
 *   leave    GATHERING the members -> none: LOWERING `ready`, over
 *            alone: QUITTING. The first by name waits for the last of them to go; all others quit
 *            and wait for the first: LURKING
 * stock: Curator's DistributedBarrier and DistributedDoubleBarrier.
 */
#ifndef ZK_CLIENT_BARRIER_H
#define ZK_CLIENT_BARRIER_H

#include "client/protect.h"

enum barrier_step {
    BARRIER_IDLE,
    BARRIER_CLOSING,
    BARRIER_OPENING,
    BARRIER_WAITING,
    BARRIER_LOOKING,
    BARRIER_JOINING,
    BARRIER_COUNTING,
    BARRIER_RAISING,
    BARRIER_GATHERING,
    BARRIER_QUITTING,
    BARRIER_LURKING,
    BARRIER_LOWERING,
    BARRIER_EVICTING /* a node of an earlier session of ours */
};

struct barrier {
    struct client *c;
    const void *owner;
    int members; /* 0: a single barrier */
    char *path, *ready, *own; /* owned; the latter two of a double barrier */
    char *other; /* owned: whom we wait for */
    struct recipe_node node; /* of what is created: plain */
    struct erase *eraser;    /* owned: of our node */
    enum barrier_step step;
    bool inside; /* entered, and not left yet */
    bool joined; /* our node is there */
    bool is_ready;
    bool watching;
    struct ask ask;
    struct mkdirs parents;
    struct client_observer observer;
    struct wish wish;
};

ZK_PRIVATE int barrier_init(struct barrier *b, struct client *c, const void *owner,
                            const char *path, int members);
ZK_PRIVATE void barrier_free(struct barrier *b);
/* first: CLOSING, OPENING, WAITING; LOOKING to enter, GATHERING to leave. */
ZK_PRIVATE int barrier_do(struct barrier *b, enum barrier_step first, int timeout_ms,
                          zk_done_fn done, void *user);

#endif
