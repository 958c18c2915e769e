#include "ensemble/election.h"

#include "base/jute.h"

#define ELECTION_LAYOUT 2     /* of what is sent: with a config string */
#define ELECTION_NOBODY INT64_MIN /* what an observer proposes, and its zxid and epoch */

struct election_note {
    int64_t sid;
    int32_t state; /* as it came */
    int32_t version;
    struct election_vote vote;
    struct slice config; /* borrowed */
};

ZK_PRIVATE void election_init(struct election *e, const struct config *cfg, int64_t self,
                              struct links *links, struct logq *log) {
    memset(e, 0, sizeof *e);
    e->cfg = cfg;
    e->log = log;
    e->self = self;
    e->vote.leader = ELECTION_NOBODY;
    mesh_init(&e->mesh, cfg, self, links, log);
    config_string(cfg, &e->config);
    e->ballots = mem_zalloc(sizeof *e->ballots * cfg->member_count);
    e->outside = mem_zalloc(sizeof *e->outside * cfg->member_count);
}

ZK_PRIVATE void election_free(struct election *e) {
    mesh_free(&e->mesh);
    buf_free(&e->config);
    mem_free(e->ballots);
    mem_free(e->outside);
    memset(e, 0, sizeof *e);
}

/* --- notifications --- */

static void election_tell(struct election *e, int64_t sid, const struct election_vote *v,
                          int64_t now) {
    struct buf b = {0};
    jw_i32(&b, (int32_t)e->state);
    jw_i64(&b, v->leader);
    jw_i64(&b, v->zxid);
    jw_i64(&b, v->round);
    jw_i64(&b, v->epoch);
    jw_i32(&b, ELECTION_LAYOUT);
    jw_bytes(&b, buf_slice(&e->config));
    mesh_send(&e->mesh, sid, buf_slice(&b), now);
    buf_free(&b);
}

/* The proposal, to every voter, this server included. */
static void election_propose(struct election *e, int64_t now) {
    for (uint32_t i = 0; i < e->cfg->member_count; i++)
        if (!e->cfg->members[i].observer)
            election_tell(e, e->cfg->members[i].id, &e->proposal, now);
    e->repeat_at = now + e->interval;
}

/*
 * stock: the length alone tells the oldest layouts apart, and a message of 40 bytes is read as if
 * its version were 0.
 */
static bool election_parse(struct slice s, struct election_note *n) {
    struct jr r = jr_open(s, MESH_FRAME_MAX);
    n->state = jr_i32(&r);
    n->vote.leader = jr_i64(&r);
    n->vote.zxid = jr_i64(&r);
    n->vote.round = jr_i64(&r);
    n->vote.epoch = s.n == 28 ? n->vote.zxid >> 32 : jr_i64(&r);
    n->version = s.n == 28 || s.n == 40 ? 0 : jr_i32(&r);
    n->config = slice_of(NULL, 0);
    if (n->version >= ELECTION_LAYOUT) {
        n->config = jr_bytes(&r);
        if (!n->config.p) return false;
    }
    return !r.bad;
}

/* --- votes --- */

static int election_order(int64_t a, int64_t b) {
    return a < b ? -1 : a > b;
}

/* stock: totalOrderPredicate; the round has no part in it */
static bool election_better(const struct election *e, const struct election_vote *a,
                            const struct election_vote *b) {
    if (!quorum_weight(e->cfg, a->leader)) return false;
    int order = election_order(a->epoch, b->epoch);
    if (!order) order = election_order(a->zxid, b->zxid);
    if (!order) order = election_order(a->leader, b->leader);
    return order > 0;
}

/*
 * Two votes for the same. Members of a running ensemble may differ in zxid and round (who joined
 * late, or after a reconfig), and servers of old do not know the epoch. stock: Vote.equals
 */
static bool election_same(const struct election_ballot *a, const struct election_ballot *b) {
    const struct election_vote *x = &a->vote, *y = &b->vote;
    if (a->state == SERVER_LOOKING || b->state == SERVER_LOOKING)
        return x->leader == y->leader && x->zxid == y->zxid && x->round == y->round &&
               x->epoch == y->epoch;
    if ((a->version > 0) != (b->version > 0)) return x->leader == y->leader;
    return x->leader == y->leader && x->epoch == y->epoch;
}

/* The voters whose ballot says the same as this one. */
static struct sidset election_count(const struct election *e, const struct election_ballot *ballots,
                                    const struct election_ballot *same) {
    struct sidset set;
    sidset_clear(&set);
    for (uint32_t i = 0; i < e->cfg->member_count; i++)
        if (ballots[i].cast && election_same(&ballots[i], same))
            (void)sidset_add(&set, e->cfg, e->cfg->members[i].id);
    return set;
}

static struct election_ballot *election_ballot(const struct election *e,
                                               struct election_ballot *ballots, int64_t sid) {
    return &ballots[quorum_member(e->cfg, sid) - e->cfg->members];
}

/*
 * A leader that others name has to say itself that it leads, among the same votes: it may have died
 * since. This server has to be in the round that it is said to lead in.
 */
static bool election_confirmed(const struct election *e, struct election_ballot *ballots,
                               const struct election_vote *v) {
    if (v->leader == e->self) return v->round == e->clock;
    const struct election_ballot *b = election_ballot(e, ballots, v->leader);
    return b->cast && b->state == SERVER_LEADING;
}

/* --- the end of an election --- */

static bool election_decide(struct election *e, const struct election_vote *v) {
    bool voter = quorum_is_voter(e->cfg, e->self);
    e->looking = e->settling = false;
    e->decided_once = true;
    memset(e->ballots, 0, sizeof *e->ballots * e->cfg->member_count);
    e->vote = *v;
    e->state = v->leader == e->self ? SERVER_LEADING
               : voter              ? SERVER_FOLLOWING
                                    : SERVER_OBSERVING;
    log_line(e->log, LOG_INFO_LEVEL,
             "election: server %lld leads; round %lld, epoch 0x%llx, zxid 0x%llx",
             (long long)v->leader, (long long)v->round, (unsigned long long)v->epoch,
             (unsigned long long)v->zxid);
    return true;
}

/* Nobody who could have something better is still to be heard of. */
static bool election_complete(const struct election *e, const struct sidset *same) {
    for (uint32_t i = 0; i < e->cfg->member_count; i++) {
        const struct config_member *m = &e->cfg->members[i];
        if (m->observer || sidset_has(same, e->cfg, m->id)) continue;
        if (!e->decided_once || m->id == e->self || !mesh_dark(&e->mesh, m->id)) return false;
    }
    return true;
}

/* Whether the proposal has its quorum, and for long enough. */
static bool election_settle(struct election *e, int64_t now) {
    if (!e->looking) return false;
    struct election_ballot mine = {true, SERVER_LOOKING, 0, e->proposal};
    struct sidset same = election_count(e, e->ballots, &mine);
    if (!quorum_reached(e->cfg, &same)) {
        e->settling = false;
        return false;
    }
    if (!e->settling) e->settled_at = now + ELECTION_SETTLE_MS;
    e->settling = true;
    if (now < e->settled_at && !election_complete(e, &same)) return false;
    return election_decide(e, &e->proposal);
}

/* --- the votes of others --- */

static void election_cast(const struct election *e, struct election_ballot *ballots,
                          const struct election_note *n) {
    struct election_ballot *b = election_ballot(e, ballots, n->sid);
    b->cast = true;
    b->state = (enum server_state)n->state;
    b->version = n->version;
    b->vote = n->vote;
}

static void election_adopt(struct election *e, const struct election_vote *v, int64_t now) {
    e->settling = false;
    e->proposal = *v;
    e->proposal.round = e->clock;
    election_propose(e, now);
}

/* A voter that looks for a leader, too. */
static bool election_heard_looking(struct election *e, const struct election_note *n, int64_t now) {
    if (n->vote.round < e->clock) {
        election_tell(e, n->sid, &e->proposal, now);
        return false;
    }
    /* a server without a database, where one is not made by itself */
    if (e->own.zxid == -1 || n->vote.zxid == -1) return false;
    if (n->vote.round > e->clock) {
        e->clock = n->vote.round;
        memset(e->ballots, 0, sizeof *e->ballots * e->cfg->member_count);
        election_adopt(e, election_better(e, &n->vote, &e->own) ? &n->vote : &e->own, now);
    } else if (election_better(e, &n->vote, &e->proposal)) {
        election_adopt(e, &n->vote, now);
    } else if (election_ballot(e, e->outside, n->sid)->cast) {
        /* It still followed the old leader when we told it. stock: leaves that to the repetition,
         * after 200 ms or more */
        election_tell(e, n->sid, &e->proposal, now);
    }
    election_cast(e, e->ballots, n);
    return election_settle(e, now);
}

/* A voter that has a leader, or is it. */
static bool election_heard_decided(struct election *e, const struct election_note *n) {
    struct election_ballot b = {true, (enum server_state)n->state, n->version, n->vote};
    struct sidset same;
    if (n->vote.round == e->clock) {
        election_cast(e, e->ballots, n);
        same = election_count(e, e->ballots, &b);
        if (quorum_reached(e->cfg, &same) && election_confirmed(e, e->ballots, &n->vote))
            return election_decide(e, &n->vote);
    }
    election_cast(e, e->outside, n);
    same = election_count(e, e->outside, &b);
    if (!quorum_reached(e->cfg, &same) || !election_confirmed(e, e->outside, &n->vote))
        return false;
    e->clock = n->vote.round;
    return election_decide(e, &n->vote);
}

/* A voter was heard of. */
static bool election_heard(struct election *e, const struct election_note *n, int64_t now) {
    if (n->state < SERVER_LOOKING || n->state > SERVER_OBSERVING) return false;
    if (!e->looking) {
        if (n->state != SERVER_LOOKING) return false;
        e->voter_looked = true;
        election_cast(e, e->ballots, n);
        election_tell(e, n->sid, &e->vote, now);
        return false;
    }
    if (!quorum_is_voter(e->cfg, n->vote.leader)) {
        log_line(e->log, LOG_WARN_LEVEL, "election: server %lld votes for %lld, which is no voter",
                 (long long)n->sid, (long long)n->vote.leader);
        return false;
    }
    if (n->state == SERVER_LOOKING) return election_heard_looking(e, n, now);
    return n->state != SERVER_OBSERVING && election_heard_decided(e, n);
}

/* The version is the last line of a config string; -1 when there is none. */
static int64_t election_config_version(struct slice config) {
    static const char key[] = "version=";
    size_t at = config.n, digits = 0;
    uint64_t v = 0;
    while (at && config.p[at - 1] != '\n') at--;
    struct slice line = slice_of(config.p + at, config.n - at);
    if (!slice_starts(line, key)) return -1;
    for (size_t i = sizeof key - 1; i < line.n; i++, digits++) {
        uint8_t c = line.p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0 || digits == 16) return -1;
        v = v << 4 | (unsigned)digit;
    }
    return digits ? (int64_t)v : -1;
}

static bool election_message(struct election *e, int64_t sid, struct slice message, int64_t now) {
    struct election_note n = {.sid = sid};
    if (!election_parse(message, &n)) {
        log_line(e->log, LOG_WARN_LEVEL,
                 "election: server %lld sent a notification of %lu bytes that makes no sense",
                 (long long)sid, (unsigned long)message.n);
        return false;
    }
    log_line(e->log, LOG_DEBUG_LEVEL,
             "election: server %lld in state %d votes for %lld; round %lld, epoch 0x%llx,"
             " zxid 0x%llx",
             (long long)sid, (int)n.state, (long long)n.vote.leader, (long long)n.vote.round,
             (unsigned long long)n.vote.epoch, (unsigned long long)n.vote.zxid);
    if (n.config.n && election_config_version(n.config) > e->cfg->members_version)
        log_line(e->log, LOG_DEBUG_LEVEL, "election: the config of server %lld is newer",
                 (long long)sid);
    if (quorum_is_voter(e->cfg, sid)) return election_heard(e, &n, now);
    /* an observer or a stranger: it asks, and its own vote does not count */
    struct election_vote v = e->vote;
    v.round = e->clock;
    election_tell(e, sid, &v, now);
    return false;
}

static bool election_is_idle(const struct election *e) {
    return e->state == SERVER_LOOKING && !e->looking;
}

/* Messages wait while there is nothing to answer with. */
static bool election_drain(struct election *e, int64_t now) {
    struct slice message;
    int64_t sid;
    bool ended = false;
    while (!election_is_idle(e) && mesh_take(&e->mesh, &sid, &message))
        ended |= election_message(e, sid, message, now);
    return ended;
}

/* --- what the owner says --- */

ZK_PRIVATE void election_idle(struct election *e) {
    e->state = SERVER_LOOKING;
    e->looking = e->settling = false;
}

ZK_PRIVATE void election_look(struct election *e, int64_t now, int64_t last_zxid,
                              int64_t current_epoch) {
    size_t size = sizeof *e->ballots * e->cfg->member_count;
    struct election_vote nobody = {ELECTION_NOBODY, ELECTION_NOBODY, 0, ELECTION_NOBODY};
    struct election_vote self = {e->self, last_zxid, 0, current_epoch};
    e->state = SERVER_LOOKING;
    e->looking = true;
    e->voter_looked = e->settling = false;
    memset(e->ballots, 0, size);
    memset(e->outside, 0, size);
    if (e->vote.leader == ELECTION_NOBODY) e->vote = self;
    e->own = quorum_is_voter(e->cfg, e->self) ? self : nobody;
    e->clock = (int64_t)((uint64_t)e->clock + 1); /* a round that was heard may be any number */
    e->interval = e->cfg->notification_min_ms > 0 ? e->cfg->notification_min_ms : 1;
    log_line(e->log, LOG_INFO_LEVEL, "election: looking; round %lld, epoch 0x%llx, zxid 0x%llx",
             (long long)e->clock, (unsigned long long)current_epoch,
             (unsigned long long)last_zxid);
    election_adopt(e, &e->own, now);
}

ZK_PRIVATE void election_led(struct election *e, int64_t epoch) {
    e->vote.epoch = epoch;
}

ZK_PRIVATE bool election_asks_from(const struct election *e, int64_t sid, int64_t epoch) {
    const struct election_ballot *b = election_ballot(e, e->ballots, sid);
    return !e->looking && b->cast && b->vote.leader == sid && b->vote.epoch <= epoch;
}

/* Nobody has answered for a while. */
static void election_repeat(struct election *e, int64_t now) {
    int64_t max = e->cfg->notification_max_ms > 0 ? e->cfg->notification_max_ms : 1;
    /* Nobody tells an observer of a new leader but in answer to its question. */
    if (!quorum_is_voter(e->cfg, e->self) && max > ELECTION_ASK_MS) max = ELECTION_ASK_MS;
    e->interval = e->interval * 2 < max ? e->interval * 2 : max;
    if (mesh_delivered(&e->mesh)) {
        election_propose(e, now);
    } else {
        mesh_connect_all(&e->mesh, now);
        e->repeat_at = now + e->interval;
    }
}

ZK_PRIVATE bool election_tick(struct election *e, int64_t now) {
    mesh_tick(&e->mesh, now);
    if (e->looking && e->settling && election_settle(e, now)) return true;
    if (e->looking && now >= e->repeat_at) election_repeat(e, now);
    return election_drain(e, now);
}

ZK_PRIVATE bool election_accepted(struct election *e, uint32_t link, int64_t now) {
    mesh_accepted(&e->mesh, link, now);
    return false;
}

ZK_PRIVATE bool election_opened(struct election *e, uint32_t link, int64_t now) {
    mesh_opened(&e->mesh, link, now);
    return false;
}

ZK_PRIVATE bool election_input(struct election *e, uint32_t link, int64_t now) {
    mesh_input(&e->mesh, link, now);
    return election_drain(e, now);
}

ZK_PRIVATE bool election_closed(struct election *e, uint32_t link, int64_t now) {
    mesh_closed(&e->mesh, link, now);
    return e->settling && election_settle(e, now);
}

ZK_PRIVATE int64_t election_next_tick(const struct election *e) {
    int64_t at = mesh_next_tick(&e->mesh);
    if (!election_is_idle(e) && buf_len(&e->mesh.inbox)) at = e->mesh.now;
    if (e->looking && e->repeat_at < at) at = e->repeat_at;
    if (e->looking && e->settling && e->settled_at < at) at = e->settled_at;
    return at;
}
