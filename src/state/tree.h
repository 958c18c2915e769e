/*
 * tree: the znodes.
 *
 * Nodes are u32 ids into chunks of fixed 120-byte records; name and data share one block of the
 * slab. One hash index for the whole tree, keyed by (parent id, name) and grown one bucket at a
 * time (linear hashing), so no insert pays for a rehash but while the tree is loaded. Children of a
 * node form a doubly linked list for listing. Rare facts live in side tables: the nodes that a
 * session owns, the containers, the TTL nodes.
 *
 * Digest: the tree's digest is the sum of the node digests, each CRC-32 of path, data and 60 bytes
 * of stat. A node keeps its own, so that a change of its stat costs 60 bytes of CRC whatever its
 * data. stock: DigestCalculator version 2, AdHash.
 *
 * Image: tree_image_begin() fixes a point in time. From then on a node is emitted before its first
 * change (ancestors before it), tree_image_step() emits the others in id order, and a node born
 * later is skipped; what comes out is the tree as it was at begin, parents before children. A mark
 * bit per node, whose meaning flips with each image, says whether the node has been emitted.
 *
 * Who calls must keep the order: tree functions check nothing of the protocol.
 */
#ifndef ZK_TREE_H
#define ZK_TREE_H

#include "base/slab.h"
#include "base/wire.h"

#define TREE_NONE UINT32_MAX
#define TREE_ROOT 0u
#define TREE_DATA_NULL (-1)

enum { TREE_SYSTEM = 1, TREE_MARK = 2, TREE_LIVE = 4 };

struct tree_node {
    struct zstat stat;
    uint8_t *block; /* owned, slab: name, then data */
    uint32_t name_len;
    int32_t data_len;    /* TREE_DATA_NULL for null */
    uint32_t parent;
    uint32_t acl;        /* id in the ACL table; the tree does not count references */
    uint32_t first_child, next, prev; /* siblings */
    uint32_t hash_next, hash;
    uint32_t digest; /* 0 below /zookeeper */
    uint32_t children;
    uint32_t flags;
};

/* The first node of a hash bucket, and what spares most looks at it: if the tag's top bit is clear,
 * it is the only one, and the rest is its hash; else the rest tells what hashes there may be. */
struct tree_head {
    uint32_t id, tag;
};

/* Nodes owned by one session. */
struct tree_owner {
    int64_t session;
    struct idset nodes;
};

struct tree {
    struct tree_node **chunks; /* owned */
    uint32_t n_chunks, n_ids;  /* ids ever used */
    struct slab slab;
    uint32_t free_list; /* through next */
    uint32_t count;     /* live nodes, root included */
    struct tree_head *heads; /* owned; of hash buckets */
    uint32_t n_buckets, heads_cap, mask_low;
    bool loading;       /* set by who loads: nobody waits, so buckets may double at once */
    uint32_t parent; /* what tree_parent() said last; TREE_NONE: it is gone */
    struct buf parent_path;
    uint64_t seed;
    uint64_t digest;
    uint64_t data_bytes; /* node data and paths. stock: approximateDataSize */
    struct tree_owner *owners; /* owned; slot with an empty set is free */
    uint32_t n_owners, owners_cap, live_owners;
    uint32_t free_owner; /* through session */
    struct map owner_index;
    struct idset containers, ttls;
    uint64_t ephemerals;
    bool extended_types, emulate353; /* how owners are read. stock: EphemeralType */
    struct {
        bool active;
        uint32_t mark;          /* TREE_MARK or 0: the value that means emitted */
        uint32_t cursor, limit; /* ids still to walk: [cursor, limit) */
        struct buf out;         /* emitted records */
        uint64_t emitted;
        struct buf scratch, path;
        uint32_t path_of;       /* `path` begins with the path of this node ... */
        size_t path_of_len;     /* ... which is this long */
    } image;
};

enum tree_owner_kind { OWNER_NONE, OWNER_SESSION, OWNER_IS_CONTAINER, OWNER_TTL };
ZK_PRIVATE enum tree_owner_kind tree_owner_kind(const struct tree *t, int64_t owner);
ZK_PRIVATE int64_t tree_ttl_ms(int64_t owner);

ZK_PRIVATE void tree_init(struct tree *t, uint64_t seed); /* empty: not even a root */
ZK_PRIVATE void tree_free(struct tree *t);
ZK_PRIVATE struct tree_node *tree_node(const struct tree *t, uint32_t id);
/* What is looked up moves to the front of its bucket: const is what a tree holds, not where. */
ZK_PRIVATE uint32_t tree_lookup(const struct tree *t, struct slice path);
/* Of the parent. Of siblings that come one after the other, only the first has it looked up. */
ZK_PRIVATE uint32_t tree_parent(struct tree *t, struct slice path);
ZK_PRIVATE uint32_t tree_child(const struct tree *t, uint32_t parent, struct slice name);
/* This node, which need not exist, will be asked for soon: what is far from the processor in a
 * large tree is fetched meanwhile. */
ZK_PRIVATE void tree_hint(struct tree *t, struct slice path);
ZK_PRIVATE struct slice tree_name(const struct tree_node *n);
ZK_PRIVATE struct slice tree_data(const struct tree_node *n); /* p == NULL for null */
ZK_PRIVATE void tree_put_path(const struct tree *t, uint32_t id, struct buf *out); /* "" for root */

/*
 * Adds a node; path is the full one, "" makes the root. The parent must exist and the name must be
 * new. The parent's stat is untouched. acl is stored as given.
 */
ZK_PRIVATE uint32_t tree_add(struct tree *t, uint32_t parent, struct slice path, struct slice data,
                             uint32_t acl, const struct zstat *stat);
ZK_PRIVATE void tree_remove(struct tree *t, uint32_t id, struct slice path); /* no children */
ZK_PRIVATE void tree_set_data(struct tree *t, uint32_t id, struct slice path, struct slice data,
                              const struct zstat *stat);
ZK_PRIVATE void tree_set_stat(struct tree *t, uint32_t id, const struct zstat *stat);
ZK_PRIVATE void tree_set_acl(struct tree *t, uint32_t id, uint32_t acl, int32_t aversion);
ZK_PRIVATE void tree_client_stat(const struct tree *t, const struct tree_node *n,
                                 uint8_t out[WIRE_STAT_LEN]);
ZK_PRIVATE uint64_t tree_count_below(const struct tree *t, uint32_t id); /* descendants */
/* Pre-order walk of a subtree: next node after id, TREE_NONE at the end. */
ZK_PRIVATE uint32_t tree_walk(const struct tree *t, uint32_t top, uint32_t id);

/* Digests. Nodes below /zookeeper count as 0. */
ZK_PRIVATE uint32_t tree_digest_of(struct slice path, struct slice data, const struct zstat *stat);
/* What the digest of a node that counts becomes when nothing but its stat changes. */
ZK_PRIVATE uint32_t tree_digest_moved(uint32_t digest, const struct zstat *from,
                                      const struct zstat *to);
ZK_PRIVATE bool tree_digest_excluded(struct slice path);

ZK_PRIVATE const struct idset *tree_owned(const struct tree *t, int64_t session); /* or NULL */

/* Point-in-time image. Records: ustring path, buffer data, long acl id, StatPersisted. */
ZK_PRIVATE void tree_image_begin(struct tree *t);
/* One slice: so many nodes, or until the output has so many bytes. True: all emitted, ended. */
ZK_PRIVATE bool tree_image_step(struct tree *t, uint32_t nodes, size_t bytes);
ZK_PRIVATE void tree_image_abort(struct tree *t);

#endif
