/*
 * leader: the leader's half of Zab, as a machine.
 *
 *   DISCOVERY  a quorum of acceptedEpochs comes in; the new epoch is beyond all of them
 *   ACCEPTING  the new acceptedEpoch goes to our disk
 *   EPOCH      LEADERINFO is out; a quorum has to say ACKEPOCH, and nobody in it may be ahead of us
 *   SYNC       learners are brought up to our history, and ACK NEWLEADER; our currentEpoch is saved
 *   BROADCAST  proposals, acknowledgements, commits
 *   LOST       no quorum any more, or none in time: `why` says it; the node leaves
 *
 * and for each learner:
 *
 *   INFO -> EPOCH -> ACKEPOCH -> HISTORY [-> LOG] [-> IMAGE_WAIT -> IMAGE] -> NEWLEADER -> SYNCED
 *     -> ACTIVE
 *
 * From a certain step on a learner is told everything that is proposed, in order and without a gap:
 * it is enrolled when it has been told all that is older than our history, or when its snapshot
 * begins. While that streams, what follows it collects in `queue`. LOG: what is older than our
 * history is read from the log on disk, piece by piece; the host finds out whether it is all there.
 *
 * A transaction is committed when a quorum has it on disk. Acknowledgements of one learner come in
 * order, so the last one stands for all before it; this server's own is the synced zxid of its log.
 * Nothing below the NEWLEADER quorum is counted: `committed` starts at the end of our history,
 * which that quorum has taken over whole.
 *
 * stock: Leader, LearnerHandler
 */
#ifndef ZK_LEADER_H
#define ZK_LEADER_H

#include "base/log.h"
#include "ensemble/config.h"
#include "ensemble/history.h"
#include "ensemble/link.h"
#include "state/txn.h"

enum leader_phase {
    LEADER_OFF,
    LEADER_DISCOVERY,
    LEADER_ACCEPTING,
    LEADER_EPOCH,
    LEADER_SYNC,
    LEADER_BROADCAST,
    LEADER_LOST
};

enum peer_phase {
    PEER_FREE,
    PEER_INFO,       /* its first packet has to come */
    PEER_EPOCH,      /* waits for the epoch */
    PEER_ACKEPOCH,   /* has LEADERINFO; its ACKEPOCH has to come */
    PEER_HISTORY,    /* waits until a quorum has said ACKEPOCH */
    PEER_LOG,        /* is told what only the log on disk holds */
    PEER_IMAGE_WAIT, /* will get a snapshot when the tree has no other image under way */
    PEER_IMAGE,      /* gets one */
    PEER_NEWLEADER,  /* has NEWLEADER; its ACK has to come */
    PEER_SYNCED,     /* waits for the leader to be established */
    PEER_ACTIVE
};

struct leader_peer {
    enum peer_phase phase;
    uint32_t link;
    uint64_t owner; /* names this connection as the owner of sessions */
    int64_t sid;
    bool observer, voter;
    int64_t accepted, current; /* its epochs; current -1: it had accepted this one before */
    int64_t last_zxid;         /* of its log when it came */
    int64_t cursor;            /* in PEER_LOG: told so far */
    bool began;                /* ... and its DIFF is out */
    int64_t base;              /* committed when it was enrolled: NEWLEADER's ACK covers it */
    int64_t acked, sent;       /* last proposal acknowledged, told; zxids */
    int64_t heard;             /* monotonic ms: its last packet */
    int64_t probe, probe_since; /* a proposal whose acknowledgement is timed; 0: none */
    uint64_t mark;             /* of the link's bytes: the end of what NEWLEADER ends */
    uint64_t link_sent;        /* bytes the host had taken at the last look */
    struct buf queue;
};

/* A request that a learner passed on. Slices borrow until the next call. */
struct leader_request {
    uint64_t owner;
    int64_t session;
    int32_t cxid, op;
    struct slice body, auth;
    int32_t n_auth;
};

struct leader {
    const struct config *cfg; /* borrowed, as the next four */
    struct links *links;
    struct db *db;
    struct history *history;
    struct logq *log;
    int64_t self;
    enum leader_phase phase;
    const char *why; /* of LEADER_LOST */
    int64_t now, since, next_ping, next_check; /* monotonic ms */
    int64_t epoch;     /* to be established; 0 until it is known */
    int64_t accepted, current, last_zxid; /* ours when it began */
    bool want_accepted, want_current; /* `epoch` has to be saved: the node clears it when it asks */
    bool current_saved;
    int64_t outrun_by; /* a voter that has accepted a later epoch, after some time; -1: none */
    int64_t outrun_to; /* ... that epoch */
    bool up; /* established, and the node has not taken notice yet */
    int64_t synced, proposed, committed; /* zxids */
    struct leader_peer *peers; /* owned */
    uint32_t n_peers, cap_peers, next_peer;
    uint64_t next_owner;
    struct {
        bool active;
        int64_t zxid;
    } image;
    struct {
        bool wanted, busy; /* the node has to ask for it, has asked for it */
        bool first;        /* a learner's first piece */
        uint64_t owner;    /* of the learner */
        int64_t after;     /* zxid */
    } log_read;
    struct buf cuts;  /* struct leader_cut: TRUNCs that were sent */
    struct buf syncs; /* struct leader_sync, oldest first */
    struct {
        int64_t last, least, most; /* bytes of a proposal; -1 unset */
    } sizes;
};

#define LEADER_OWNER_SELF 1u /* owner of the sessions of the leader's own clients */

ZK_PRIVATE void leader_init(struct leader *l, const struct config *cfg, int64_t self,
                            struct links *links, struct db *db, struct history *history,
                            struct logq *log);
ZK_PRIVATE void leader_free(struct leader *l);
/* Everything in our log is in the tree and durable. */
ZK_PRIVATE void leader_start(struct leader *l, int64_t now, int64_t accepted, int64_t current);
ZK_PRIVATE void leader_stop(struct leader *l); /* closes all links, forgets the learners */

ZK_PRIVATE void leader_accepted(struct leader *l, uint32_t link, int64_t now);
ZK_PRIVATE void leader_closed(struct leader *l, uint32_t link);
/* Reads what the learners have sent; true: a request for the node, call again. */
ZK_PRIVATE bool leader_next(struct leader *l, int64_t now, struct leader_request *out);
ZK_PRIVATE void leader_tick(struct leader *l, int64_t now);
ZK_PRIVATE int64_t leader_next_tick(const struct leader *l);

ZK_PRIVATE void leader_saved_accepted(struct leader *l, int64_t now);
ZK_PRIVATE void leader_saved_current(struct leader *l, int64_t now);
ZK_PRIVATE void leader_propose(struct leader *l, int64_t zxid, struct slice txn);
ZK_PRIVATE void leader_synced(struct leader *l, int64_t zxid); /* our own log */
/* Commits what a quorum has by now, and says so; returns the zxid committed. */
ZK_PRIVATE int64_t leader_commit(struct leader *l);
/* A learner's sync: answered when what was proposed before it is committed. */
ZK_PRIVATE void leader_sync(struct leader *l, uint64_t owner);

/* What mntr shows. */
struct leader_census {
    uint32_t learners, followers, others, observers, syncs; /* others: followers without a vote */
};
ZK_PRIVATE struct leader_census leader_count_all(const struct leader *l);

/* One slice of the snapshot that learners get; true: there is more to do now. */
ZK_PRIVATE bool leader_image_step(struct leader *l);
/*
 * Asks for the next piece of log, by log_read.wanted, when a learner has room for it. The answer:
 * int length and transaction, repeated, in order and without a hole after log_read.after; none when
 * the log does not have them or they are too many.
 */
ZK_PRIVATE void leader_log_step(struct leader *l);
ZK_PRIVATE void leader_log_read(struct leader *l, struct slice txns, int64_t now);

#endif
