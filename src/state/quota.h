/*
 * quota: limits on subtrees and the bookkeeping of their use.
 *
 * A limit for /p is the node /zookeeper/quota/p/zookeeper_limits, its use is the data of
 * /zookeeper/quota/p/zookeeper_stats, changed in place by every write below /p: no transaction, no
 * stat change, no watch. The set of limited paths is derived from the tree and rebuilt on load.
 * stock: Quotas, StatsTrack, PathTrie, DataTree, ZooKeeperServer.checkQuota.
 */
#ifndef ZK_QUOTA_H
#define ZK_QUOTA_H

#include "state/tree.h"

struct quota {
    struct slice *paths; /* owned, each owned; p == NULL: free */
    uint32_t n, cap, live;
    struct map index;
    uint64_t seed; /* of the index; survives quota_free */
    uint64_t exceeded; /* writes refused */
    struct buf refused; /* path of the last of them */
};

/* What a limits or stats node says; -1 where it says nothing. */
struct quota_track {
    int64_t count, bytes, count_hard, bytes_hard;
};

ZK_PRIVATE void quota_free(struct quota *q);
ZK_PRIVATE void quota_rebuild(struct quota *q, struct tree *t); /* after a load */
/* The node at path was created, is about to be removed, or its data changed in length. */
ZK_PRIVATE void quota_created(struct quota *q, struct tree *t, struct slice path, size_t len);
ZK_PRIVATE void quota_removed(struct quota *q, struct tree *t, struct slice path, size_t len);
ZK_PRIVATE void quota_resized(struct quota *q, struct tree *t, struct slice path, int64_t diff);
/* 0 or ZERR_QUOTAEXCEEDED; *soft is set when a soft limit is passed. */
ZK_PRIVATE int quota_check(struct quota *q, struct tree *t, struct slice path, int64_t count_diff,
                           int64_t bytes_diff, bool *soft);
/* Creates, deletes and data that would break stock servers when they apply them. */
ZK_PRIVATE bool quota_refuses_create(struct slice path);
ZK_PRIVATE bool quota_refuses_delete(struct slice path);
ZK_PRIVATE bool quota_refuses_data(struct slice path, struct slice data);
ZK_PRIVATE bool quota_parse(struct slice text, struct quota_track *out);

#endif
