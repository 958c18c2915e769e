/*
 * session: the sessions of the ensemble as this server knows them, and when they expire.
 *
 * Expiry is in buckets of one tick: a touch at time t moves the session to the bucket
 * up(t + timeout), up(x) = (x / tick + 1) * tick; a bucket expires whole when its time has come.
 * Buckets sit in a wheel of WHEEL slots; a session further away than one turn is skipped until its
 * time comes. stock: SessionTrackerImpl, ExpiryQueue.
 *
 * Times are milliseconds of the monotonic clock that the caller passes in.
 */
#ifndef ZK_SESSION_H
#define ZK_SESSION_H

#include "base/base.h"

#define SESSION_NONE UINT32_MAX
#define SESSION_WHEEL 256u

struct session {
    int64_t id;
    int64_t expires; /* bucket time, ms */
    int32_t timeout; /* ms, persisted: that of creation */
    int32_t lease;   /* ms: that of the connection here; a learner tells it to the leader */
    uint32_t conn;   /* connection that serves it, SESSION_NONE */
    uint64_t owner;  /* of an ensemble's leader: whose requests count, see leader; 0 anybody's */
    uint32_t prev, next;
    bool live;      /* the slot is in use */
    bool committed; /* its createSession has been applied: belongs to the database */
    bool closing;   /* its closeSession is on the way */
    bool touched;   /* since the leader was told last */
};

struct session_table {
    struct session *slots; /* owned */
    uint32_t n, cap, free_list;
    uint32_t count, committed;
    struct map index;
    int64_t tick;      /* ms */
    int64_t next_due;  /* the next bucket time to look at */
    uint32_t wheel[SESSION_WHEEL];
};

ZK_PRIVATE void session_init(struct session_table *t, int64_t tick_ms, int64_t now);
ZK_PRIVATE void session_free(struct session_table *t);
ZK_PRIVATE uint32_t session_find(const struct session_table *t, int64_t id);
/* Adds or finds; a new one expires only after its first touch. */
ZK_PRIVATE uint32_t session_add(struct session_table *t, int64_t id, int32_t timeout);
ZK_PRIVATE void session_remove(struct session_table *t, uint32_t s);
ZK_PRIVATE void session_touch(struct session_table *t, uint32_t s, int64_t now, int32_t timeout);
ZK_PRIVATE void session_touch_all(struct session_table *t, int64_t now);
/* The next session whose bucket has come, taken out of its bucket; SESSION_NONE when there is
 * none. Call until then. */
ZK_PRIVATE uint32_t session_expired(struct session_table *t, int64_t now);

#endif
