/*
 * prep: turns a write request into a transaction, or into the error that the client gets.
 *
 * Preparation runs ahead of application: between the two lie the log and, in an ensemble, the
 * quorum. What has been prepared and not yet applied is kept as change records, one per node
 * touched, newest first per path; a node's state for the next request is its newest record, or the
 * tree. Records leave in zxid order when their transaction has been applied. A multi that fails
 * takes back the records it made. The order of the checks is the contract: each operation's checks
 * are written in stock's order. stock: PrepRequestProcessor, ZooKeeperServer.ChangeRecord.
 *
 * The digest that a transaction carries is the digest of the tree after it, so it is kept here,
 * ahead of the tree.
 */
#ifndef ZK_PREP_H
#define ZK_PREP_H

#include "state/txn.h"

#define PREP_NONE UINT32_MAX

struct prep_config {
    bool skip_acl, enforce_quota, digest, digest_auth, reconfig;
    uint32_t max_record; /* largest body of a log entry, bytes */
};

/* A node as the next request sees it. */
struct prep_view {
    bool exists;
    struct zstat stat;
    uint32_t children;
    uint32_t acl;
    uint32_t digest;
    int32_t data_len;
};

struct prep_change {
    struct prep_view view; /* holds a reference to its acl */
    int64_t zxid;
    uint8_t *path; /* owned, slab */
    uint32_t path_len;
    uint32_t older;     /* record of the same path below this one */
    uint32_t newer;     /* ... above it */
    uint32_t fifo_next; /* in order of making; links the free list too */
    uint32_t fifo_prev;
};

struct prep {
    struct db *db; /* borrowed */
    struct prep_config cfg;
    struct prep_change *changes; /* owned */
    uint32_t n, cap, free_list, head, tail;
    uint32_t ephemeral_changes; /* pending records of nodes that a session owns */
    struct map index; /* newest record of each path */
    struct slab slab;
    int64_t zxid;     /* last one given out */
    int64_t queued, removed; /* change records ever made; ... whose transaction was applied */
    uint64_t digest;  /* of the tree after it */
    struct buf acl;   /* scratch */
};

struct prep_request {
    int32_t op;
    int64_t session; /* 0: the server itself */
    int32_t cxid;
    struct slice body;
    const struct auth_set *auth;
    int64_t time;   /* wall clock, ms */
    bool internal;  /* made by this server: no session check, more opcodes */
    bool forwarded; /* by a learner: what cannot be read becomes a transaction that fails */
    uint64_t owner; /* whose request it is; see struct session. 0: nobody asks */
};

ZK_PRIVATE void prep_init(struct prep *p, struct db *db, const struct prep_config *cfg);
ZK_PRIVATE void prep_free(struct prep *p);
/*
 * Appends header, record and digest of the transaction to out and takes a zxid; returns what the
 * client will be told. A request that cannot be read takes no zxid: *made is false and nothing was
 * appended. (stock 3.9 logs such an error under the last zxid, which an ensemble cannot commit.)
 */
ZK_PRIVATE int prep_write(struct prep *p, const struct prep_request *q, struct buf *out,
                          bool *made);
/* Whether a stock leader could read the body of a write: it fails with a null in a place where a
 * string or a list has to be, and then commits nothing any more. */
ZK_PRIVATE bool prep_readable(int32_t op, struct slice body);
/* Looks through the operations of a multi: 0 when each can be read and may stand in one. */
ZK_PRIVATE int prep_multi_check(struct jr r, int32_t *count);
/* Everything up to zxid is in the tree. */
ZK_PRIVATE void prep_applied(struct prep *p, int64_t zxid);

#endif
