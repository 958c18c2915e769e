/*
 * node/pipeline: the way of a write from its frame to its reply, and of watch events.
 *
 * A prepared transaction is framed for the log into the current blob and put into a ring of pending
 * writes, in zxid order. When the log is synced up to it, it is applied, its events are sent, then
 * its reply. Nothing leaves before the sync that covers it has returned.
 */
#ifndef ZK_NODE_PIPELINE_H
#define ZK_NODE_PIPELINE_H

#include "node/state.h"

struct pipeline_request {
    uint32_t conn; /* CONN_NONE: the server itself */
    int32_t xid, op;
    int64_t session;
    struct slice body;
    bool internal;
    bool forwarded; /* by a learner: fails as a transaction, since there is no other answer */
    uint64_t owner; /* ... its connection */
    const struct auth_set *auth; /* ... its client's identities */
};

/* A transaction that the leader made. */
struct pipeline_txn {
    int64_t zxid, session;
    int32_t type;
    struct slice bytes; /* header, record, digest */
};

ZK_PRIVATE void pipeline_submit(struct node *n, const struct pipeline_request *q);
ZK_PRIVATE void pipeline_barrier(struct node *n, uint32_t conn);
ZK_PRIVATE void pipeline_close_session(struct node *n, int64_t session); /* expiry */
ZK_PRIVATE void pipeline_log(struct node *n, const struct pipeline_txn *t);
ZK_PRIVATE void pipeline_synced(struct node *n, int64_t zxid);
ZK_PRIVATE void pipeline_apply(struct node *n); /* what is durable and committed */
ZK_PRIVATE void pipeline_flush(struct node *n); /* end of a step: asks for the sync it needs */

/* Replies. begin reserves frame length and header; end fills them in. */
ZK_PRIVATE size_t reply_begin(struct buf *out);
ZK_PRIVATE void reply_end(struct node *n, uint32_t conn, size_t at, int32_t xid, int64_t zxid,
                          int32_t err);
/* What a finished request leaves in the statistics of the connection and the server. */
/* What a request takes of the budget of large ones; given back with its answer. */
ZK_PRIVATE uint32_t pipeline_take_large(struct node *n, struct slice body);
ZK_PRIVATE void reply_count(struct node *n, uint32_t conn, int32_t xid, int32_t op, int64_t zxid,
                            int64_t received);
ZK_PRIVATE void reply_error(struct node *n, uint32_t conn, int32_t xid, int64_t zxid, int32_t err);
ZK_PRIVATE void event_send(struct node *n, uint32_t conn, int32_t type, struct slice path,
                           int64_t zxid);
ZK_PRIVATE void reply_connect(struct node *n, uint32_t conn, bool accepted);

/* Snapshot of the whole state, in slices. */
ZK_PRIVATE void pipeline_snapshot_begin(struct node *n);
ZK_PRIVATE void pipeline_snapshot_abort(struct node *n); /* unless it is about to get its name */
ZK_PRIVATE bool pipeline_snapshot_step(struct node *n); /* true when there is more to do now */
ZK_PRIVATE void pipeline_draw_roll(struct node *n);

#endif
