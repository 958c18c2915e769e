/*
 * learner: the follower's and the observer's half of Zab, as a machine.
 *
 *   CONNECTING  the leader's quorum port is dialed, a few times
 *   REGISTERED  FOLLOWERINFO is out; LEADERINFO has to come
 *   ACCEPTING   the new acceptedEpoch goes to disk before ACKEPOCH is sent
 *   SYNC        ACKEPOCH is out; DIFF, TRUNC or SNAP has to come
 *   SNAPSHOT    the leader's tree streams in
 *   HISTORY     the transactions that bring us up to date, until NEWLEADER
 *   NEWLEADER   all that came before is made durable, then currentEpoch, then it is acknowledged
 *   ACKED       until UPTODATE
 *   BROADCAST
 *   LOST        `why` says it; the node leaves
 *
 * Between SYNC and ACKED lies what nearly all data losses of the last ten years were made of. The
 * order here: transactions are logged as they come, each snapshot is durable before anything is
 * logged behind it, and NEWLEADER is acknowledged when the log, the snapshot and then currentEpoch
 * are on disk. Only what is committed is applied. Nothing else is sent between ACKEPOCH and that
 * acknowledgement.
 *
 * The node pulls what comes in with learner_next(), does what it says, and holds the machine
 * (`hold`) while something has to reach the disk first: bytes then wait in the link.
 *
 * stock: Learner, Follower, Observer
 */
#ifndef ZK_LEARNER_H
#define ZK_LEARNER_H

#include "base/log.h"
#include "ensemble/config.h"
#include "ensemble/link.h"
#include "state/txn.h"
#include "store/snapfile.h"

enum learner_phase {
    LEARNER_OFF,
    LEARNER_CONNECTING,
    LEARNER_REGISTERED,
    LEARNER_ACCEPTING,
    LEARNER_SYNC,
    LEARNER_SNAPSHOT,
    LEARNER_HISTORY,
    LEARNER_NEWLEADER,
    LEARNER_ACKED,
    LEARNER_BROADCAST,
    LEARNER_LOST
};

enum learner_event {
    LEARNER_NOTHING,       /* more has to come in first */
    LEARNER_ACCEPT_EPOCH,  /* save acceptedEpoch; then learner_saved_accepted() */
    LEARNER_TRUNCATE,      /* cut everything beyond zxid, load again; then learner_truncated() */
    LEARNER_SNAPSHOT_READ, /* `incoming` is the leader's tree at zxid: take it over, make it
                              durable; then release the hold */
    LEARNER_PROPOSED,      /* zxid, txn: to the log */
    LEARNER_COMMITTED,     /* everything up to zxid is committed */
    LEARNER_SYNCED_UP,     /* NEWLEADER: save currentEpoch when all is durable; then
                              learner_saved_current() */
    LEARNER_UP,            /* UPTODATE: serve */
    LEARNER_PINGED,        /* answer with learner_pong() */
    LEARNER_SYNC_DONE,     /* the oldest sync is answered: it comes after all committed so far */
    LEARNER_REVALIDATED    /* session, valid */
};

struct learner_news {
    int64_t zxid;
    struct slice txn; /* borrowed until the next call */
    int64_t session;
    bool valid;
};

struct learner {
    const struct config *cfg; /* borrowed, as links and log */
    struct links *links;
    struct logq *log;
    int64_t self, leader; /* sids */
    bool observer;
    enum learner_phase phase;
    const char *why;  /* of LEARNER_LOST */
    bool hold;        /* nothing is read */
    uint32_t link;    /* LINK_NONE between two tries */
    int32_t tries;
    int64_t now, since, retry_at; /* monotonic ms */
    int64_t heard;                /* its last bytes */
    int64_t epoch;                /* the leader's */
    int64_t accepted, current;    /* our epochs */
    int64_t logged;    /* zxid: the end of our log, with what has come in */
    int64_t committed; /* zxid */
    int64_t uncut;     /* the last zxid of a log that could not be cut as a leader wanted, or -1 */
    struct buf unacked; /* int64 zxids of proposals not acknowledged yet */
    struct buf inform;  /* int64: an INFORM's zxid, to be told as committed next */
    uint64_t seed;      /* of the hashes of the next tree; nobody outside can know it */
    struct db incoming; /* while a snapshot streams in */
    struct snapfile stream;
    int64_t stream_zxid;
};

ZK_PRIVATE void learner_init(struct learner *l, const struct config *cfg, int64_t self,
                             struct links *links, struct logq *log);
ZK_PRIVATE void learner_free(struct learner *l);
/* Everything in our log, up to last_zxid, is in the tree and durable. */
ZK_PRIVATE void learner_start(struct learner *l, int64_t now, int64_t leader, bool observer,
                              int64_t accepted, int64_t current, int64_t last_zxid);
ZK_PRIVATE void learner_stop(struct learner *l);

ZK_PRIVATE void learner_opened(struct learner *l, int64_t now);
ZK_PRIVATE void learner_closed(struct learner *l, int64_t now);
ZK_PRIVATE void learner_fail(struct learner *l, const char *why); /* it cannot go on */
ZK_PRIVATE void learner_heard(struct learner *l, int64_t now); /* bytes have come in */
ZK_PRIVATE enum learner_event learner_next(struct learner *l, int64_t now,
                                           struct learner_news *out);
ZK_PRIVATE void learner_tick(struct learner *l, int64_t now);
ZK_PRIVATE int64_t learner_next_tick(const struct learner *l);

ZK_PRIVATE void learner_saved_accepted(struct learner *l);
ZK_PRIVATE void learner_truncated(struct learner *l, int64_t last_zxid);
ZK_PRIVATE void learner_saved_current(struct learner *l);
/* The log is durable up to zxid: acknowledges what has to be. */
ZK_PRIVATE void learner_synced(struct learner *l, int64_t zxid);

/* touched: session, timeout; repeated. */
ZK_PRIVATE void learner_pong(struct learner *l, int64_t zxid, struct slice touched);
ZK_PRIVATE void learner_revalidate(struct learner *l, int64_t session, int32_t timeout);
/* auth: the connection's identities, serialized; n of them. */
ZK_PRIVATE void learner_request(struct learner *l, int64_t session, int32_t cxid, int32_t op,
                                struct slice body, struct slice auth, uint32_t n_auth);

#endif
