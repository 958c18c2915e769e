/*
 * election: finding the leader. stock: FastLeaderElection
 *
 * Owns the mesh of election connections, the vote that this server holds, and while it looks for a
 * leader the votes of the others. Answers those who look at any time.
 *
 *   idle -> looking -> settling -> decided        idle: before the first look, and between the end
 *             ^---------------'                   of a role and election_look
 *
 * looking   proposes the best (epoch, zxid, id) it has heard of and tells every voter when that
 *           changes, and again and again at growing intervals.
 * settling  a quorum proposes the same: somebody better may still turn up, for 200 ms.
 * decided   state and vote are the result.
 * Or a quorum of servers that are not looking name a leader, which itself says that it leads.
 *
 * Notification: int state, long leader, long zxid, long round, long epoch, int version 2, int n,
 * n bytes of config string (44 + n). Received also: 28 bytes (no epoch: that of the zxid) and 40
 * (version not looked at).
 *
 * Here the settling ends early when it has no purpose: every voter either proposes the same or has
 * refused a connection or hung up. Not in the first election since the start: who refuses then is
 * about to start like this one, and may be better. Later on, one that starts joins as a follower.
 * An observer asks again every few seconds; stock: after up to a minute, as voters do.
 * stock: the 200 ms start again with every worse vote, so that one that talks all the time could
 * delay the rest; and the wait for a vote likewise. Here both are fixed when they begin. There
 * a newer round that brings nothing better is not looked at while settling; here it is joined, for
 * who is in it does not count in the old one any more.
 */
#ifndef ZK_ELECTION_H
#define ZK_ELECTION_H

#include "ensemble/mesh.h"

#define ELECTION_SETTLE_MS 200
#define ELECTION_ASK_MS 5000 /* the longest that an observer waits before it asks again */

enum server_state { SERVER_LOOKING, SERVER_FOLLOWING, SERVER_LEADING, SERVER_OBSERVING }; /* wire */

struct election_vote {
    int64_t leader, zxid, round, epoch;
};

/* What a voter said last. */
struct election_ballot {
    bool cast;
    enum server_state state;
    int32_t version; /* of the layout */
    struct election_vote vote;
};

struct election {
    const struct config *cfg; /* borrowed */
    struct logq *log;         /* borrowed */
    struct mesh mesh;
    int64_t self;
    struct buf config; /* our config string */

    enum server_state state;
    struct election_vote vote; /* the result; stays what it was while looking */
    bool looking;              /* state is SERVER_LOOKING and the election is under way */
    bool voter_looked;         /* while not looking: a voter reported that it looks; the owner
                                  clears it */
    int64_t clock;             /* round of the last election */

    /* while looking */
    struct election_vote own;  /* what this server would propose by itself */
    struct election_vote proposal;
    struct election_ballot *ballots, *outside; /* owned; by place in cfg->members: of this round,
                                                  of those that are not looking. While not looking:
                                                  ballots of those that are */
    bool settling, decided_once;
    int64_t settled_at, repeat_at; /* monotonic ms */
    int64_t interval;              /* ms, until the proposal is repeated */
};

/* `self` is a member of cfg, which stays as it is. */
ZK_PRIVATE void election_init(struct election *e, const struct config *cfg, int64_t self,
                              struct links *links, struct logq *log);
ZK_PRIVATE void election_free(struct election *e);

/* A role has ended and what this server holds is not known yet: nobody is answered meanwhile. */
ZK_PRIVATE void election_idle(struct election *e);
/*
 * Looks for a leader: the last zxid in the log, committed or not, and the current epoch. What has
 * been heard meanwhile and the own vote are counted by the next call, for which a tick is wanted
 * at once: the election does not end within this one.
 */
ZK_PRIVATE void election_look(struct election *e, int64_t now, int64_t last_zxid,
                              int64_t current_epoch);
/* This server leads or follows in `epoch` now. stock: QuorumPeer.updateElectionVote */
ZK_PRIVATE void election_led(struct election *e, int64_t epoch);

/* While not looking: a voter looks, and by its own vote its currentEpoch is none beyond `epoch`. */
ZK_PRIVATE bool election_asks_from(const struct election *e, int64_t sid, int64_t epoch);

/*
 * Time, and what happens to links of kind LINK_ELECTION (see mesh.h). True: the election ended just
 * now, `state` and `vote` say how.
 */
ZK_PRIVATE bool election_tick(struct election *e, int64_t now);
ZK_PRIVATE bool election_accepted(struct election *e, uint32_t link, int64_t now);
ZK_PRIVATE bool election_opened(struct election *e, uint32_t link, int64_t now);
ZK_PRIVATE bool election_input(struct election *e, uint32_t link, int64_t now);
ZK_PRIVATE bool election_closed(struct election *e, uint32_t link, int64_t now);
ZK_PRIVATE int64_t election_next_tick(const struct election *e); /* INT64_MAX: none is wanted */

#endif
