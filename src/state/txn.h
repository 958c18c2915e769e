/*
 * txn: the replicated state, and the application of one committed transaction to it.
 *
 * Applying is the same code for a live commit, for the replay of a log and for what a leader sends.
 * It is deterministic and idempotent: replay over a snapshot that is ahead of its name ends in the
 * right state. It checks nothing of the protocol; whatever cannot be applied gives an error result
 * and leaves the state as it is. stock: DataTree.processTxn, FileTxnSnapLog.processTransaction.
 */
#ifndef ZK_TXN_H
#define ZK_TXN_H

#include "base/wire.h"
#include "state/acl.h"
#include "state/quota.h"
#include "state/session.h"
#include "state/tree.h"

struct db {
    struct tree tree;
    struct acl_table acls;
    struct session_table sessions;
    struct quota quota;
    int64_t last_zxid;
};

/* What one operation of a transaction did. */
struct txn_result {
    int32_t type; /* of the operation; ZOP_ERROR for a failed one */
    int32_t err;
    struct slice path; /* borrowed from the record */
    uint8_t stat[WIRE_STAT_LEN];
    bool has_stat;
};

/* A change that watches may hear of, in the order of emission. */
struct txn_event {
    int32_t type;      /* EVENT_CREATED, EVENT_DELETED, EVENT_DATA_CHANGED */
    struct slice path; /* borrowed from the record */
    uint32_t acl;      /* of the node; counted until txn_out_clear */
    uint32_t parent_acl; /* of its parent, likewise; creates and deletes */
};

struct txn_out {
    bool want_events;
    int32_t err; /* of the whole transaction */
    struct txn_result *results;
    uint32_t n_results, cap_results;
    struct txn_event *events;
    uint32_t n_events, cap_events;
    bool has_digest; /* the record ended with a TxnDigest of a version we know */
    uint64_t digest;
    void *kept; /* owned; paths that events speak of and the record does not hold */
};

ZK_PRIVATE void db_init(struct db *db, uint64_t seed, int64_t tick_ms, int64_t now);
ZK_PRIVATE void db_free(struct db *db);
ZK_PRIVATE void db_add_builtin(struct db *db); /* the nodes of an empty database */
/* After a load: sessions that own ephemerals but do not exist lose them. Returns nodes removed. */
ZK_PRIVATE uint32_t db_drop_orphans(struct db *db);

/* record: the bytes after the header, a TxnDigest at its end allowed. Results and events go to out
 * (cleared first); slices in it live as long as the record. Returns out->err. */
ZK_PRIVATE int txn_apply(struct db *db, const struct txn_header *h, struct slice record,
                         struct txn_out *out);
/* It will be applied soon; see tree_hint. */
ZK_PRIVATE void txn_hint(struct db *db, int32_t type, struct slice record);
ZK_PRIVATE void txn_out_clear(struct db *db, struct txn_out *out);
ZK_PRIVATE void txn_out_free(struct db *db, struct txn_out *out);

#endif
