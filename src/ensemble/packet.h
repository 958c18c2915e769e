/*
 * packet: what goes over the quorum port. stock: QuorumPacket
 *
 *   int type, long zxid, buffer data, vector<Id> authinfo      Id: ustring scheme, ustring id
 *
 * There is no outer frame: a packet ends where its fields end.
 */
#ifndef ZK_PACKET_H
#define ZK_PACKET_H

#include "base/jute.h"

/* M is the leader, L a learner. */
enum packet_type {
    PACKET_REQUEST = 1,       /* L: session, cxid, opcode, body; authinfo */
    PACKET_PROPOSAL = 2,      /* M: header, record, digest */
    PACKET_ACK = 3,           /* L: of a proposal; of NEWLEADER and UPTODATE: epoch << 32 */
    PACKET_COMMIT = 4,        /* M */
    PACKET_PING = 5,          /* M; echoed with the sessions touched */
    PACKET_REVALIDATE = 6,    /* L: session, timeout; M: session, bool */
    PACKET_SYNC = 7,          /* M: the oldest sync that was forwarded is answered */
    PACKET_INFORM = 8,        /* M to observers: as PROPOSAL, committed already */
    PACKET_COMMIT_AND_ACTIVATE = 9,
    PACKET_NEWLEADER = 10,    /* M: epoch << 32; configuration */
    PACKET_FOLLOWERINFO = 11, /* L: acceptedEpoch << 32; sid, version, configuration version */
    PACKET_UPTODATE = 12,     /* M */
    PACKET_DIFF = 13,         /* M: zxid the learner will be at */
    PACKET_TRUNC = 14,        /* M: zxid to cut to */
    PACKET_SNAP = 15,         /* M: zxid of the tree; the snapshot follows */
    PACKET_OBSERVERINFO = 16, /* L */
    PACKET_LEADERINFO = 17,   /* M: epoch << 32; version */
    PACKET_ACKEPOCH = 18,     /* L: last logged zxid; currentEpoch, or -1 */
    PACKET_INFORM_AND_ACTIVATE = 19
};

#define PACKET_VERSION 0x10000 /* of the protocol between learner and leader */
#define PACKET_LONGEST(max) (10 * (size_t)(max)) /* a packet with all its identities, bytes */
#define PACKET_SIGNATURE "BenWasHere" /* ends a snapshot on the wire */

struct packet {
    int32_t type;
    int64_t zxid;
    struct slice data; /* p == NULL: null */
    struct slice auth; /* the Ids, serialized one after the other; n_auth of them */
    int32_t n_auth;    /* -1: null */
};

enum packet_status {
    PACKET_MORE, /* not all of it is there */
    PACKET_READ,
    PACKET_BAD /* a length that cannot be */
};

/* Reads the packet at the front of in; slices borrow. max: longest data or string, bytes. */
ZK_PRIVATE enum packet_status packet_take(struct slice in, uint32_t max, struct packet *p,
                                          size_t *used);
/* data.p == NULL writes null; authinfo is null. */
ZK_PRIVATE void packet_put(struct buf *out, int32_t type, int64_t zxid, struct slice data);
/* The same with data written in between: begin leaves room for its length. */
ZK_PRIVATE size_t packet_begin(struct buf *out, int32_t type, int64_t zxid);
ZK_PRIVATE void packet_end_data(struct buf *out, size_t at); /* authinfo has to follow */
ZK_PRIVATE void packet_end(struct buf *out, size_t at);      /* ... is null */

#endif
