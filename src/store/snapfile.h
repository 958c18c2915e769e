/*
 * store/snapfile: the bytes of a snapshot.
 *
 *   magic "ZKSN" 4, version 2  4, dbid -1  8
 *   sessions     int count, { long id, int timeout }
 *   ACL lists    int count, { long id, vector<ACL> }
 *   nodes        { ustring path, buffer data, long acl id, StatPersisted 60 }, the root as ""
 *   end          ustring "/"
 *   seal         long Adler-32 of everything before it, ustring "/"
 *   digest       long zxid, int 2, long digest; seal
 *   last zxid    long; seal
 *
 * The writer makes the head and the tail; the nodes between them are the tree's image. The reader
 * is fed the file in pieces and builds a database; it trusts nothing, and a file whose first seal
 * does not match is refused whole. Both tail sections may be missing (older servers).
 * stock: FileSnap, SerializeUtils, DataTree.serialize.
 */
#ifndef ZK_SNAPFILE_H
#define ZK_SNAPFILE_H

#include "state/txn.h"

/* Everything before the nodes, as of now. */
ZK_PRIVATE void snapfile_put_head(struct buf *out, const struct db *db);
/* ... without the file's header: what a leader sends. */
ZK_PRIVATE void snapfile_put_state(struct buf *out, const struct db *db);
/* Everything after the nodes; adler: of all bytes so far. */
ZK_PRIVATE void snapfile_put_tail(struct buf *out, uint32_t adler, int64_t zxid, uint64_t digest);

enum snapfile_section {
    SNAP_HEADER,
    SNAP_SESSION_COUNT,
    SNAP_SESSIONS,
    SNAP_ACL_COUNT,
    SNAP_ACLS,
    SNAP_NODES,
    SNAP_SEAL,
    SNAP_TAIL,
    SNAP_RECEIVED, /* of a stream: the signature has been read */
    SNAP_FAILED
};

#define SNAPFILE_AHEAD 8u /* nodes whose places in memory are fetched meanwhile */

/* A node that was decoded, and is added when a few more are. */
struct snapfile_node {
    struct slice path, data; /* of `in` */
    int64_t acl;             /* as the file names it */
    struct zstat stat;
};

struct snapfile {
    struct db *db; /* borrowed; must be empty: sessions, ACLs and nodes go there */
    enum snapfile_section section;
    bool stream;          /* from a leader, not from a file */
    uint32_t max;         /* longest string or buffer */
    int32_t left;         /* sessions or ACL lists still to come */
    struct buf in;        /* what has not been decoded yet */
    uint32_t adler;       /* of everything decoded */
    struct buf acl_ids;   /* int64 file id, u32 table id; repeated */
    struct map acl_index; /* file id -> position in acl_ids */
    struct snapfile_node ahead[SNAPFILE_AHEAD]; /* a ring */
    uint32_t ahead_first, ahead_n;
    uint64_t nodes;
    uint32_t missing_acls;
    char error[160];
    /* from the tail */
    bool has_digest;
    int64_t digest_zxid;
    uint64_t digest;
};

ZK_PRIVATE void snapfile_open(struct snapfile *s, struct db *db, uint32_t max);
/*
 * The same state as a leader sends it: no header, no seals, and a signature after the end of the
 * nodes. When `section` is SNAP_RECEIVED, what is left in `in` comes after the snapshot.
 */
ZK_PRIVATE void snapfile_open_stream(struct snapfile *s, struct db *db, uint32_t max);
ZK_PRIVATE bool snapfile_feed(struct snapfile *s, struct slice bytes); /* false: see error */
/* All bytes have been fed: true when the file is whole. */
ZK_PRIVATE bool snapfile_finish(struct snapfile *s);
ZK_PRIVATE void snapfile_close(struct snapfile *s);

#endif
