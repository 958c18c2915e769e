#include "ensemble/learner.h"

#include "ensemble/packet.h"
#include "ensemble/quorum.h"

#define LEARNER_TRIES 5     /* of the configured delay: so long the leader may take to listen */
#define LEARNER_DELAY_MS 2 /* before the second try; doubled each time, up to the configured one */

static const struct slice learner_null = {NULL, 0};

ZK_PRIVATE void learner_init(struct learner *l, const struct config *cfg, int64_t self,
                             struct links *links, struct logq *log) {
    memset(l, 0, sizeof *l);
    l->cfg = cfg;
    l->self = self;
    l->links = links;
    l->log = log;
    l->link = LINK_NONE;
    l->uncut = -1;
}

static void learner_drop_stream(struct learner *l) {
    if (!l->stream.db) return;
    snapfile_close(&l->stream);
    db_free(&l->incoming);
    memset(&l->stream, 0, sizeof l->stream);
}

ZK_PRIVATE void learner_free(struct learner *l) {
    learner_drop_stream(l);
    buf_free(&l->unacked);
    buf_free(&l->inform);
}

static void learner_lose(struct learner *l, const char *why) {
    if (l->phase == LEARNER_LOST || l->phase == LEARNER_OFF) return;
    l->phase = LEARNER_LOST;
    l->why = why;
}

static void learner_dial(struct learner *l) {
    const struct config_member *m = quorum_member(l->cfg, l->leader);
    l->tries++;
    l->link = link_dial(l->links, LINK_QUORUM, m->host, (uint16_t)m->quorum_port, l->now);
}

ZK_PRIVATE void learner_start(struct learner *l, int64_t now, int64_t leader, bool observer,
                              int64_t accepted, int64_t current, int64_t last_zxid) {
    ZK_ASSERT(l->phase == LEARNER_OFF && l->link == LINK_NONE);
    l->now = l->since = l->heard = now;
    l->leader = leader;
    l->observer = observer;
    l->accepted = accepted;
    l->current = current;
    l->logged = l->committed = last_zxid;
    l->epoch = 0;
    l->hold = false;
    l->tries = 0;
    buf_clear(&l->unacked);
    buf_clear(&l->inform);
    l->phase = LEARNER_CONNECTING;
    if (quorum_member(l->cfg, leader))
        learner_dial(l);
    else
        learner_lose(l, "the leader is no member");
}

ZK_PRIVATE void learner_stop(struct learner *l) {
    if (l->link != LINK_NONE) link_close(l->links, l->link);
    l->link = LINK_NONE;
    learner_drop_stream(l);
    l->phase = LEARNER_OFF;
}

ZK_PRIVATE void learner_opened(struct learner *l, int64_t now) {
    l->now = l->heard = now;
    struct buf *out = link_out(l->links, l->link);
    size_t at = packet_begin(out, l->observer ? PACKET_OBSERVERINFO : PACKET_FOLLOWERINFO,
                             (int64_t)((uint64_t)l->accepted << 32));
    jw_i64(out, l->self);
    jw_i32(out, PACKET_VERSION);
    jw_i64(out, 0);
    packet_end(out, at);
    l->phase = LEARNER_REGISTERED;
}

/* stock: the configured delay at once. Ours listens a few milliseconds after it was elected. */
static int64_t learner_delay(const struct learner *l) {
    int64_t most = l->cfg->leader_connect_delay_ms, ms = LEARNER_DELAY_MS;
    for (int32_t i = 1; i < l->tries && ms < most; i++) ms *= 2;
    return ms < most ? ms : most;
}

ZK_PRIVATE void learner_fail(struct learner *l, const char *why) {
    if (l->link != LINK_NONE) link_close(l->links, l->link);
    l->link = LINK_NONE;
    learner_lose(l, why);
}

ZK_PRIVATE void learner_closed(struct learner *l, int64_t now) {
    l->now = now;
    l->link = LINK_NONE;
    if (l->phase != LEARNER_CONNECTING)
        learner_lose(l, "the leader has closed the connection");
    else if (now - l->since >= LEARNER_TRIES * (int64_t)l->cfg->leader_connect_delay_ms)
        learner_lose(l, "the leader cannot be reached");
    else
        l->retry_at = now + learner_delay(l);
}

ZK_PRIVATE void learner_heard(struct learner *l, int64_t now) {
    l->heard = now;
}

/* --- what has been done meanwhile --- */

/*
 * What cannot be cut has to be replaced. Every leader sends SNAP to one that stands at the start of
 * an epoch which it does not know. stock: gives up, and the process ends
 */
static int64_t learner_claim(const struct learner *l) {
    if (l->uncut != l->logged) return l->logged;
    return (int64_t)((uint64_t)(l->epoch + 1) << 32);
}

ZK_PRIVATE void learner_saved_accepted(struct learner *l) {
    if (l->phase != LEARNER_ACCEPTING) return;
    int32_t current = l->accepted == l->epoch ? -1 : (int32_t)l->current;
    if (l->accepted < l->epoch) l->accepted = l->epoch;
    struct buf *out = link_out(l->links, l->link);
    size_t at = packet_begin(out, PACKET_ACKEPOCH, learner_claim(l));
    jw_i32(out, current);
    packet_end(out, at);
    l->phase = LEARNER_SYNC;
    l->hold = false;
}

ZK_PRIVATE void learner_truncated(struct learner *l, int64_t last_zxid) {
    l->hold = false;
    if (last_zxid != l->stream_zxid) {
        l->uncut = last_zxid;
        learner_lose(l, "our log does not hold the zxid that the leader wanted it cut to");
    }
    l->logged = l->committed = last_zxid;
}

static void learner_ack(struct learner *l, int64_t zxid) {
    packet_put(link_out(l->links, l->link), PACKET_ACK, zxid, learner_null);
}

ZK_PRIVATE void learner_saved_current(struct learner *l) {
    if (l->phase != LEARNER_NEWLEADER) return;
    l->current = l->epoch;
    l->phase = LEARNER_ACKED;
    l->hold = false;
    learner_ack(l, (int64_t)((uint64_t)l->epoch << 32));
}

ZK_PRIVATE void learner_synced(struct learner *l, int64_t zxid) {
    if (l->phase != LEARNER_BROADCAST) return;
    while (buf_len(&l->unacked)) {
        int64_t z;
        memcpy(&z, l->unacked.p + l->unacked.head, sizeof z);
        if (z > zxid) return;
        buf_consume(&l->unacked, sizeof z);
        learner_ack(l, z);
    }
}

/* --- what we say --- */

ZK_PRIVATE void learner_pong(struct learner *l, int64_t zxid, struct slice touched) {
    static const uint8_t none;
    packet_put(link_out(l->links, l->link), PACKET_PING, zxid,
               touched.p ? touched : slice_of(&none, 0));
}

ZK_PRIVATE void learner_revalidate(struct learner *l, int64_t session, int32_t timeout) {
    struct buf *out = link_out(l->links, l->link);
    size_t at = packet_begin(out, PACKET_REVALIDATE, -1);
    jw_i64(out, session);
    jw_i32(out, timeout);
    packet_end(out, at);
}

ZK_PRIVATE void learner_request(struct learner *l, int64_t session, int32_t cxid, int32_t op,
                                struct slice body, struct slice auth, uint32_t n_auth) {
    struct buf *out = link_out(l->links, l->link);
    size_t at = packet_begin(out, PACKET_REQUEST, -1);
    jw_i64(out, session);
    jw_i32(out, cxid);
    jw_i32(out, op);
    buf_put(out, body.p, body.n);
    packet_end_data(out, at);
    jw_i32(out, (int32_t)n_auth);
    buf_put(out, auth.p, auth.n);
}

/* --- what the leader says --- */

/*
 * An observer's promise counts for nothing: where it met a leader that never came to be, the next
 * one may have an earlier epoch. stock: refuses that until an election goes beyond its promise
 */
static enum learner_event learner_leaderinfo(struct learner *l, const struct packet *k) {
    int64_t epoch = k->zxid >> 32, least = l->observer ? l->current : l->accepted;
    if (k->type != PACKET_LEADERINFO || epoch < least || epoch > INT32_MAX) {
        learner_lose(l, "the leader names no epoch that we may accept");
        return LEARNER_NOTHING;
    }
    l->epoch = epoch;
    l->phase = LEARNER_ACCEPTING;
    l->hold = true;
    if (epoch > l->accepted) return LEARNER_ACCEPT_EPOCH;
    learner_saved_accepted(l); /* it is on disk since we accepted it */
    return LEARNER_NOTHING;
}

static enum learner_event learner_first(struct learner *l, const struct packet *k,
                                        struct learner_news *out) {
    out->zxid = l->stream_zxid = k->zxid;
    switch (k->type) {
    case PACKET_DIFF:
        l->phase = LEARNER_HISTORY;
        return LEARNER_NOTHING;
    case PACKET_TRUNC:
        l->phase = LEARNER_HISTORY;
        l->hold = true;
        return LEARNER_TRUNCATE;
    case PACKET_SNAP:
        l->phase = LEARNER_SNAPSHOT;
        db_init(&l->incoming, l->seed, l->cfg->tick_time_ms, l->now);
        l->incoming.tree.extended_types = l->cfg->extended_types;
        l->incoming.tree.emulate353 = l->cfg->emulate353;
        snapfile_open_stream(&l->stream, &l->incoming,
                             (uint32_t)l->cfg->jute_max_buffer + (uint32_t)l->cfg->jute_extra_size);
        return LEARNER_NOTHING;
    default:
        learner_lose(l, "the leader began with something that is no DIFF, TRUNC or SNAP");
        return LEARNER_NOTHING;
    }
}

/* Takes in what has come of the snapshot; what follows it goes back to the link. */
static enum learner_event learner_snapshot(struct learner *l, struct learner_news *out) {
    struct buf *in = &link_at(l->links, l->link)->in;
    if (!snapfile_feed(&l->stream, buf_slice(in))) {
        log_line(l->log, LOG_ERROR_LEVEL, "snapshot from the leader: %s", l->stream.error);
        learner_lose(l, "the leader's snapshot is damaged");
        return LEARNER_NOTHING;
    }
    buf_clear(in);
    if (l->stream.section != SNAP_RECEIVED) return LEARNER_NOTHING;
    struct slice rest = buf_slice(&l->stream.in);
    buf_put(in, rest.p, rest.n);
    snapfile_close(&l->stream);
    memset(&l->stream, 0, sizeof l->stream);
    l->incoming.last_zxid = l->logged = l->committed = out->zxid = l->stream_zxid;
    l->phase = LEARNER_HISTORY;
    l->hold = true;
    return LEARNER_SNAPSHOT_READ;
}

/* A transaction: nothing may be missing before it. Those that we have are passed over. */
static enum learner_event learner_proposal(struct learner *l, const struct packet *k,
                                           struct slice txn, struct learner_news *out) {
    struct jr r = jr_open(txn, UINT32_MAX);
    struct txn_header h = jr_txn_header(&r);
    if (r.bad || h.zxid != k->zxid) {
        learner_lose(l, "a proposal that cannot be read");
        return LEARNER_NOTHING;
    }
    if (!wire_op_flags(h.type) && h.type != ZOP_ERROR) {
        learner_lose(l, "a transaction of an unknown type");
        return LEARNER_NOTHING;
    }
    if (k->zxid <= l->logged) return LEARNER_NOTHING;
    bool begins = k->zxid >> 32 > l->logged >> 32 && (k->zxid & 0xffffffffLL) == 1; /* an epoch */
    if (k->zxid != l->logged + 1 && !begins) {
        learner_lose(l, "transactions are missing before a proposal");
        return LEARNER_NOTHING;
    }
    l->logged = k->zxid;
    if (!l->observer) buf_put(&l->unacked, &k->zxid, sizeof k->zxid);
    out->zxid = k->zxid;
    out->txn = txn;
    return LEARNER_PROPOSED;
}

static enum learner_event learner_commit(struct learner *l, int64_t zxid,
                                         struct learner_news *out) {
    if (zxid <= l->committed) return LEARNER_NOTHING;
    if (zxid > l->logged) {
        learner_lose(l, "a commit of what was never proposed");
        return LEARNER_NOTHING;
    }
    l->committed = out->zxid = zxid;
    return LEARNER_COMMITTED;
}

static enum learner_event learner_inform(struct learner *l, const struct packet *k,
                                         struct slice txn, struct learner_news *out) {
    enum learner_event e = learner_proposal(l, k, txn, out);
    if (e == LEARNER_PROPOSED) buf_put(&l->inform, &k->zxid, sizeof k->zxid);
    return e;
}

static enum learner_event learner_newleader(struct learner *l) {
    if (l->phase != LEARNER_HISTORY) return LEARNER_NOTHING;
    l->phase = LEARNER_NEWLEADER;
    l->hold = true;
    return LEARNER_SYNCED_UP;
}

/* What was committed before is not acknowledged: the leader did not wait for us. */
static enum learner_event learner_uptodate(struct learner *l) {
    if (l->phase != LEARNER_ACKED) return LEARNER_NOTHING;
    l->phase = LEARNER_BROADCAST;
    learner_ack(l, (int64_t)((uint64_t)l->epoch << 32));
    while (buf_len(&l->unacked)) {
        int64_t z;
        memcpy(&z, l->unacked.p + l->unacked.head, sizeof z);
        if (z > l->committed) break;
        buf_consume(&l->unacked, sizeof z);
    }
    return LEARNER_UP;
}

static enum learner_event learner_revalidated(const struct packet *k, struct learner_news *out) {
    struct jr r = jr_open(k->data, UINT32_MAX);
    out->session = jr_i64(&r);
    out->valid = jr_bool(&r);
    return r.bad ? LEARNER_NOTHING : LEARNER_REVALIDATED;
}

/* From DIFF, TRUNC or SNAP on. */
static enum learner_event learner_packet(struct learner *l, const struct packet *k,
                                         struct learner_news *out) {
    bool up = l->phase == LEARNER_BROADCAST;
    struct slice txn = k->data;
    out->zxid = k->zxid;
    switch (k->type) {
    case PACKET_PROPOSAL:
        return learner_proposal(l, k, txn, out);
    case PACKET_COMMIT_AND_ACTIVATE: /* of a configuration that we do not change with */
    case PACKET_COMMIT:
        return learner_commit(l, k->zxid, out);
    case PACKET_INFORM_AND_ACTIVATE:
        if (txn.n < 8) return LEARNER_NOTHING;
        txn = slice_of(txn.p + 8, txn.n - 8);
        return learner_inform(l, k, txn, out);
    case PACKET_INFORM:
        return learner_inform(l, k, txn, out);
    case PACKET_NEWLEADER:
        return learner_newleader(l);
    case PACKET_UPTODATE:
        return learner_uptodate(l);
    case PACKET_PING: /* stock: not answered before UPTODATE */
        return up ? LEARNER_PINGED : LEARNER_NOTHING;
    case PACKET_SYNC:
        return up ? LEARNER_SYNC_DONE : LEARNER_NOTHING;
    case PACKET_REVALIDATE:
        return up ? learner_revalidated(k, out) : LEARNER_NOTHING;
    default:
        log_line(l->log, LOG_WARN_LEVEL, "Unexpected quorum packet of type %d", k->type);
        return LEARNER_NOTHING;
    }
}

/* An observer is told of a transaction and its commit in one packet: two events. */
static bool learner_take_inform(struct learner *l, struct learner_news *out) {
    if (!buf_len(&l->inform)) return false;
    memcpy(&out->zxid, l->inform.p + l->inform.head, sizeof out->zxid);
    buf_consume(&l->inform, sizeof out->zxid);
    l->committed = out->zxid;
    return true;
}

ZK_PRIVATE enum learner_event learner_next(struct learner *l, int64_t now,
                                           struct learner_news *out) {
    uint32_t max = (uint32_t)l->cfg->jute_max_buffer + (uint32_t)l->cfg->jute_extra_size;
    l->now = now;
    while (!l->hold && l->link != LINK_NONE && l->phase >= LEARNER_REGISTERED &&
           l->phase != LEARNER_LOST) {
        struct buf *in = &link_at(l->links, l->link)->in;
        enum learner_event e;
        if (learner_take_inform(l, out)) return LEARNER_COMMITTED;
        if (l->phase == LEARNER_SNAPSHOT) {
            e = learner_snapshot(l, out);
            return e;
        }
        struct packet k;
        size_t used;
        enum packet_status st = packet_take(buf_slice(in), max, &k, &used);
        if (st == PACKET_BAD) learner_lose(l, "unreasonable length in a packet");
        if (st != PACKET_READ) break;
        buf_consume(in, used);
        e = l->phase == LEARNER_REGISTERED ? learner_leaderinfo(l, &k)
            : l->phase == LEARNER_SYNC     ? learner_first(l, &k, out)
                                           : learner_packet(l, &k, out);
        if (e != LEARNER_NOTHING) return e;
    }
    return LEARNER_NOTHING;
}

/* --- time --- */

ZK_PRIVATE void learner_tick(struct learner *l, int64_t now) {
    l->now = now;
    if (l->phase == LEARNER_OFF || l->phase == LEARNER_LOST) return;
    bool up = l->phase >= LEARNER_ACKED;
    int64_t limit = (int64_t)(up ? l->cfg->sync_limit : l->cfg->init_limit) * l->cfg->tick_time_ms;
    if (l->hold) l->heard = now; /* it is we who do not listen */
    if (l->phase == LEARNER_CONNECTING) {
        int32_t ticks = l->cfg->learner_master_limit > 0 ? l->cfg->learner_master_limit
                                                         : l->cfg->init_limit;
        if (now - l->since > (int64_t)ticks * l->cfg->tick_time_ms)
            learner_lose(l, "the leader cannot be reached in time");
        else if (l->link == LINK_NONE && now >= l->retry_at)
            learner_dial(l);
    } else if (now - l->heard > limit) {
        learner_lose(l, "the leader has been silent for too long");
    }
}

ZK_PRIVATE int64_t learner_next_tick(const struct learner *l) {
    if (l->phase == LEARNER_OFF || l->phase == LEARNER_LOST) return INT64_MAX;
    if (l->phase == LEARNER_CONNECTING && l->link == LINK_NONE) return l->retry_at;
    return l->now + l->cfg->tick_time_ms / 2;
}
