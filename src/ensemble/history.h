/*
 * history: the newest transactions of this server's log, in memory.
 *
 * What is proposed comes in at the end, in zxid order and without a hole; what is committed is so
 * from the front. Committed ones are kept for learners that are a little behind, as many as
 * `keep`, and dropped from the front; others never are. Everything after `floor` is here: floor is
 * the zxid before the first entry, and the log's last zxid when there is none.
 * stock: ZKDatabase.committedLog, Leader.outstandingProposals
 */
#ifndef ZK_HISTORY_H
#define ZK_HISTORY_H

#include "base/base.h"

#define HISTORY_BYTES_MAX (64u << 20) /* committed ones beyond it go, down to HISTORY_LEAST */
#define HISTORY_LEAST 500u

struct history_entry {
    int64_t zxid;
    struct blob *blob; /* counted */
    uint32_t off, len; /* header, record, digest */
};

struct history {
    struct history_entry *ring; /* owned */
    uint32_t head, n, cap;
    uint32_t committed; /* of the n, from the front */
    uint32_t keep;
    size_t bytes;
    int64_t floor;
};

/* Forgets everything; the log ends with zxid last. */
ZK_PRIVATE void history_reset(struct history *h, int64_t last);
ZK_PRIVATE void history_free(struct history *h);
ZK_PRIVATE void history_add(struct history *h, int64_t zxid, struct blob *blob, uint32_t off,
                            uint32_t len);
ZK_PRIVATE void history_commit(struct history *h, int64_t zxid); /* everything up to it */
ZK_PRIVATE const struct history_entry *history_at(const struct history *h, uint32_t i);
ZK_PRIVATE uint32_t history_after(const struct history *h, int64_t zxid); /* first one beyond */
/* Whether a log that ends with zxid is a beginning of this one, as far as can be seen from here. */
ZK_PRIVATE bool history_knows(const struct history *h, int64_t zxid);
ZK_PRIVATE struct slice history_bytes(const struct history_entry *e);

#endif
