#include "ensemble/leader.h"

#include "ensemble/packet.h"
#include "ensemble/quorum.h"
#include "store/snapfile.h"

#define LEADER_OUT_MAX (64u << 20)    /* unsent bytes beyond it: the learner is cut off */
#define LEADER_QUEUE_MAX (256u << 20) /* ... waiting behind a snapshot */
#define LEADER_IMAGE_OUT (1u << 20)   /* a snapshot waits while so much of it is unsent */
#define LEADER_IMAGE_NODES 256u
#define LEADER_IMAGE_BYTES 65536u
#define LEADER_SYNC_MAX (768u << 20)  /* ... of what brings a learner up */
#define LEADER_PEERS_MAX 512u
#define LEADER_CUTS_MAX 64u
#define LEADER_EPOCH_MAX (INT32_MAX - 2)
#define LEADER_HELLO_MAX 4096u /* bytes of a packet from somebody who is not known yet */
#define ZXID_COUNTER 0xffffffffLL

struct leader_cut {
    int64_t sid, last; /* zxid that its log ended with */
};

struct leader_sync {
    uint64_t owner;
    int64_t zxid; /* answered when this is committed */
};

static const struct slice leader_null = {NULL, 0};

static int64_t leader_epoch_zxid(int64_t epoch) {
    return (int64_t)((uint64_t)epoch << 32);
}

ZK_PRIVATE void leader_init(struct leader *l, const struct config *cfg, int64_t self,
                            struct links *links, struct db *db, struct history *history,
                            struct logq *log) {
    memset(l, 0, sizeof *l);
    l->cfg = cfg;
    l->self = self;
    l->links = links;
    l->db = db;
    l->history = history;
    l->log = log;
    l->next_owner = LEADER_OWNER_SELF + 1;
}

ZK_PRIVATE void leader_free(struct leader *l) {
    for (uint32_t i = 0; i < l->n_peers; i++) buf_free(&l->peers[i].queue);
    mem_free(l->peers);
    buf_free(&l->syncs);
    buf_free(&l->cuts);
    l->peers = NULL;
    l->n_peers = l->cap_peers = 0;
}

static void leader_lose(struct leader *l, const char *why) {
    if (l->phase == LEADER_LOST) return;
    l->phase = LEADER_LOST;
    l->why = why;
}

static int64_t leader_limit(const struct leader *l, int32_t ticks) {
    return (int64_t)ticks * l->cfg->tick_time_ms;
}

static struct leader_peer *leader_owner(struct leader *l, uint64_t owner) {
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase != PEER_FREE && l->peers[i].owner == owner) return &l->peers[i];
    return NULL;
}

/* --- the learners' connections --- */

static void leader_drop(struct leader *l, struct leader_peer *p, const char *why) {
    log_line(l->log, LOG_WARN_LEVEL, "Closing connection to server %lld: %s", (long long)p->sid,
             why);
    link_close(l->links, p->link);
    buf_free(&p->queue);
    p->phase = PEER_FREE;
}

ZK_PRIVATE void leader_closed(struct leader *l, uint32_t link) {
    for (uint32_t i = 0; i < l->n_peers; i++) {
        struct leader_peer *p = &l->peers[i];
        if (p->phase == PEER_FREE || p->link != link) continue;
        log_line(l->log, LOG_INFO_LEVEL, "Server %lld is gone", (long long)p->sid);
        buf_free(&p->queue);
        p->phase = PEER_FREE;
    }
}

/* All places are taken: who has not said who it is gives way. */
static uint32_t leader_oldest_stranger(struct leader *l) {
    uint32_t oldest = LEADER_PEERS_MAX;
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase == PEER_INFO &&
            (oldest == LEADER_PEERS_MAX || l->peers[i].heard < l->peers[oldest].heard))
            oldest = i;
    if (oldest < LEADER_PEERS_MAX) leader_drop(l, &l->peers[oldest], "others want its place");
    return oldest;
}

ZK_PRIVATE void leader_accepted(struct leader *l, uint32_t link, int64_t now) {
    uint32_t i = 0;
    l->now = now;
    while (i < l->n_peers && l->peers[i].phase != PEER_FREE) i++;
    if (i == LEADER_PEERS_MAX && (i = leader_oldest_stranger(l)) == LEADER_PEERS_MAX) {
        link_close(l->links, link);
        return;
    }
    if (i == l->n_peers) {
        if (l->n_peers == l->cap_peers) {
            l->cap_peers = l->cap_peers ? l->cap_peers * 2 : 8;
            l->peers = mem_realloc(l->peers, sizeof *l->peers * l->cap_peers);
        }
        l->n_peers++;
    }
    struct leader_peer fresh = {.phase = PEER_INFO, .link = link, .owner = l->next_owner++,
                                .sid = -1, .heard = now};
    l->peers[i] = fresh;
}

/* Where packets to the learner go: behind the snapshot while one is under way. */
static struct buf *leader_out(struct leader *l, struct leader_peer *p) {
    return p->phase == PEER_IMAGE ? &p->queue : link_out(l->links, p->link);
}

static bool leader_enrolled(const struct leader_peer *p) {
    return p->phase >= PEER_IMAGE;
}

/* --- bringing a learner up to our history --- */

struct leader_plan {
    enum packet_type op; /* PROPOSAL: a DIFF, if the log on disk has it all */
    int64_t zxid; /* of the op's packet */
    int64_t from; /* transactions after it are told */
};

/*
 * What a learner whose log ends with `last` needs. A TRUNC is only right when its log is sure to
 * hold the zxid it is cut to: histories agree within an epoch as far as both go, so the cut has to
 * lie in the epoch of its last transaction. stock: LearnerHandler.syncFollower, which cuts to its
 * own last zxid whatever the epoch, and never cuts where a snapshot would do
 */
static struct leader_plan leader_plan_sync(const struct leader *l, int64_t last) {
    const struct history *h = l->history;
    int64_t max = l->committed; /* which may be ahead of our own disk, and so of our tree */
    struct leader_plan diff = {PACKET_DIFF, max, last}, snap = {PACKET_SNAP, 0, 0};
    if (l->cfg->force_snapshot_sync) return snap;
    if (last == max) return diff;
    if (last < h->floor) {
        struct leader_plan log = {PACKET_PROPOSAL, max, last};
        return l->cfg->snapshot_size_factor >= 0 && last > 0 ? log : snap;
    }
    if (last < max && history_knows(h, last)) return diff;
    if ((last & ZXID_COUNTER) == 0) return last < max ? diff : snap; /* led, but wrote nothing */
    uint32_t after = history_after(h, last < max ? last : max);
    int64_t before = after ? history_at(h, after - 1)->zxid : h->floor;
    if (before >> 32 != last >> 32 || (before & ZXID_COUNTER) == 0) return snap;
    struct leader_plan trunc = {PACKET_TRUNC, before, before};
    return trunc;
}

/*
 * A learner that comes back with what it was told to cut cannot cut it: its snapshots go beyond.
 * Remembered from term to term: without that learner there may be no quorum for this one.
 */
static bool leader_cut_before(struct leader *l, const struct leader_peer *p) {
    struct leader_cut c, mine = {p->sid, p->last_zxid};
    size_t at = 0;
    for (; at < l->cuts.n; at += sizeof c) {
        memcpy(&c, l->cuts.p + at, sizeof c);
        if (c.sid == mine.sid) break;
    }
    bool before = at < l->cuts.n && c.last == mine.last;
    if (at == LEADER_CUTS_MAX * sizeof c) at = 0;
    if (at == l->cuts.n) buf_put(&l->cuts, &mine, sizeof mine);
    memcpy(l->cuts.p + at, &mine, sizeof mine);
    return before;
}

/* Enrols: everything after `from` is told, now or from now on. */
static void leader_enrol(struct leader *l, struct leader_peer *p, int64_t from) {
    struct buf *out = leader_out(l, p);
    const struct history *h = l->history;
    p->base = l->committed;
    p->sent = l->committed;
    for (uint32_t i = history_after(h, from); i < h->n; i++) {
        const struct history_entry *e = history_at(h, i);
        bool committed = e->zxid <= l->committed;
        if (!committed && p->observer) break;
        size_t at = packet_begin(out, PACKET_PROPOSAL, e->zxid);
        struct slice txn = history_bytes(e);
        buf_put(out, txn.p, txn.n);
        packet_end(out, at);
        if (committed) packet_put(out, PACKET_COMMIT, e->zxid, leader_null);
        if (e->zxid > p->sent) p->sent = e->zxid;
    }
}

static void leader_newleader(struct leader *l, struct leader_peer *p) {
    struct buf text = {0};
    config_string(l->cfg, &text);
    packet_put(link_out(l->links, p->link), PACKET_NEWLEADER, leader_epoch_zxid(l->epoch),
               buf_slice(&text));
    buf_free(&text);
    p->phase = PEER_NEWLEADER;
    p->heard = l->now;
    const struct link *k = link_at(l->links, p->link);
    p->mark = k->sent + buf_len(&k->out);
}

static void leader_begin_sync(struct leader *l, struct leader_peer *p) {
    static const char *const names[] = {[PACKET_DIFF] = "DIFF", [PACKET_TRUNC] = "TRUNC",
                                        [PACKET_SNAP] = "SNAP", [PACKET_PROPOSAL] = "DIFF, log"};
    struct leader_plan plan = leader_plan_sync(l, p->last_zxid);
    if (plan.op == PACKET_TRUNC && leader_cut_before(l, p)) plan.op = PACKET_SNAP;
    /* From here on what an older connection of it has acknowledged may be cut. */
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (&l->peers[i] != p && l->peers[i].phase > PEER_HISTORY && l->peers[i].sid == p->sid)
            leader_drop(l, &l->peers[i], "it has connected anew");
    log_line(l->log, LOG_INFO_LEVEL, "Synchronizing server %lld, last zxid 0x%llx: %s 0x%llx",
             (long long)p->sid, (unsigned long long)p->last_zxid, names[plan.op],
             (unsigned long long)plan.zxid);
    p->heard = l->now;
    p->base = l->committed;
    if (plan.op == PACKET_SNAP || plan.op == PACKET_PROPOSAL) {
        p->phase = plan.op == PACKET_SNAP ? PEER_IMAGE_WAIT : PEER_LOG;
        p->cursor = plan.from;
        p->began = false;
        return;
    }
    packet_put(link_out(l->links, p->link), (int32_t)plan.op, plan.zxid, leader_null);
    leader_enrol(l, p, plan.from);
    leader_newleader(l, p);
}

/* --- snapshots for learners: one walk of the tree for all that wait when it begins --- */

static uint32_t leader_count(const struct leader *l, enum peer_phase phase) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n_peers; i++) n += l->peers[i].phase == phase;
    return n;
}

static void leader_image_put(struct leader *l, struct slice bytes) {
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase == PEER_IMAGE)
            buf_put(link_out(l->links, l->peers[i].link), bytes.p, bytes.n);
}

/*
 * A snapshot must not take back what was committed when the learner came: it may be the learner's
 * disk that the quorum counted on.
 */
static bool leader_image_fits(const struct leader *l, const struct leader_peer *p) {
    return p->phase == PEER_IMAGE_WAIT && l->db->last_zxid >= p->base;
}

static bool leader_image_wanted(const struct leader *l) {
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (leader_image_fits(l, &l->peers[i])) return true;
    return false;
}

static void leader_image_begin(struct leader *l) {
    struct buf head = {0};
    l->image.active = true;
    l->image.zxid = l->db->last_zxid;
    snapfile_put_state(&head, l->db);
    for (uint32_t i = 0; i < l->n_peers; i++) {
        struct leader_peer *p = &l->peers[i];
        if (!leader_image_fits(l, p)) continue;
        packet_put(link_out(l->links, p->link), PACKET_SNAP, l->image.zxid, leader_null);
        p->phase = PEER_IMAGE;
        leader_enrol(l, p, l->image.zxid);
    }
    leader_image_put(l, buf_slice(&head));
    buf_free(&head);
    tree_image_begin(&l->db->tree);
}

static void leader_image_end(struct leader *l) {
    struct buf tail = {0};
    jw_str(&tail, "/");
    jw_str(&tail, PACKET_SIGNATURE);
    leader_image_put(l, buf_slice(&tail));
    buf_free(&tail);
    l->image.active = false;
    for (uint32_t i = 0; i < l->n_peers; i++) {
        struct leader_peer *p = &l->peers[i];
        if (p->phase != PEER_IMAGE) continue;
        buf_put(link_out(l->links, p->link), p->queue.p, p->queue.n);
        buf_free(&p->queue);
        leader_newleader(l, p);
    }
}

ZK_PRIVATE bool leader_image_step(struct leader *l) {
    if (!l->image.active) {
        if (l->db->tree.image.active || !leader_image_wanted(l)) return false;
        leader_image_begin(l);
    }
    if (!leader_count(l, PEER_IMAGE)) { /* nobody is left to read it */
        tree_image_abort(&l->db->tree);
        l->image.active = false;
        return leader_image_wanted(l);
    }
    for (uint32_t i = 0; i < l->n_peers; i++) {
        const struct leader_peer *p = &l->peers[i];
        if (p->phase == PEER_IMAGE && buf_len(&link_at(l->links, p->link)->out) > LEADER_IMAGE_OUT)
            return false; /* the host's next report of bytes sent brings us here again */
    }
    struct buf *out = &l->db->tree.image.out;
    bool done = tree_image_step(&l->db->tree, LEADER_IMAGE_NODES, LEADER_IMAGE_BYTES);
    leader_image_put(l, buf_slice(out));
    buf_clear(out);
    if (done) leader_image_end(l);
    return true;
}

/* --- what only the log on disk holds --- */

ZK_PRIVATE void leader_log_step(struct leader *l) {
    if (l->log_read.busy || l->log_read.wanted) return;
    for (uint32_t i = 0; i < l->n_peers; i++) {
        const struct leader_peer *p = &l->peers[i];
        if (p->phase != PEER_LOG) continue;
        if (buf_len(&link_at(l->links, p->link)->out) > LEADER_IMAGE_OUT) continue;
        l->log_read.wanted = true;
        l->log_read.first = !p->began;
        l->log_read.owner = p->owner;
        l->log_read.after = p->cursor;
        return;
    }
}

ZK_PRIVATE void leader_log_read(struct leader *l, struct slice txns, int64_t now) {
    struct leader_peer *p = leader_owner(l, l->log_read.owner);
    l->log_read.busy = false;
    l->now = now;
    if (!p || p->phase != PEER_LOG) return;
    if (!txns.n) {
        if (p->began)
            leader_drop(l, p, "the log does not go on to where our history begins");
        else
            p->phase = PEER_IMAGE_WAIT;
        return;
    }
    struct buf *out = link_out(l->links, p->link);
    if (!p->began) packet_put(out, PACKET_DIFF, l->committed, leader_null);
    p->began = true;
    p->heard = now;
    struct jr r = jr_open(txns, UINT32_MAX);
    while (jr_left(&r)) {
        struct slice txn = jr_bytes(&r);
        ZK_ASSERT(!r.bad && txn.n >= TXN_HEADER_LEN);
        int64_t zxid = (int64_t)be64(txn.p + 12);
        packet_put(out, PACKET_PROPOSAL, zxid, txn);
        packet_put(out, PACKET_COMMIT, zxid, leader_null);
        p->cursor = zxid;
    }
    if (p->cursor < l->history->floor) return; /* leader_log_step asks for more */
    leader_enrol(l, p, p->cursor);
    leader_newleader(l, p);
}

/* --- the barriers --- */

/*
 * Whether a quorum, with us, has come as far as `least`. Who had accepted the epoch before does not
 * say how far its history goes, so it cannot vouch that nobody is ahead of us.
 */
static bool leader_quorum(const struct leader *l, enum peer_phase least) {
    struct sidset set;
    sidset_clear(&set);
    (void)sidset_add(&set, l->cfg, l->self);
    for (uint32_t i = 0; i < l->n_peers; i++) {
        const struct leader_peer *p = &l->peers[i];
        if (!p->voter || p->phase < least) continue;
        if (l->phase == LEADER_EPOCH && (p->current == -1 || p->last_zxid == -1)) continue;
        (void)sidset_add(&set, l->cfg, p->sid);
    }
    return quorum_reached(l->cfg, &set);
}

static void leader_enter(struct leader *l, enum leader_phase phase) {
    l->phase = phase;
    l->since = l->now;
}

static void leader_put_info(struct leader *l, struct leader_peer *p) {
    struct buf *out = link_out(l->links, p->link);
    size_t at = packet_begin(out, PACKET_LEADERINFO, leader_epoch_zxid(l->epoch));
    jw_i32(out, PACKET_VERSION);
    packet_end(out, at);
    p->phase = PEER_ACKEPOCH;
    p->heard = l->now;
}

static void leader_uptodate(struct leader *l, struct leader_peer *p) {
    packet_put(link_out(l->links, p->link), PACKET_UPTODATE, -1, leader_null);
    p->phase = PEER_ACTIVE;
    p->heard = p->probe_since = l->now;
    p->probe = !p->observer && p->sent > p->base ? p->sent : 0;
}

/* Moves on everybody in phase `from`. */
static void leader_each(struct leader *l, enum peer_phase from,
                        void (*step)(struct leader *, struct leader_peer *)) {
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase == from) step(l, &l->peers[i]);
}

static void leader_establish(struct leader *l) {
    log_line(l->log, LOG_INFO_LEVEL, "Have quorum of supporters; starting up and setting last "
             "processed zxid: 0x%llx", (unsigned long long)leader_epoch_zxid(l->epoch));
    leader_enter(l, LEADER_BROADCAST);
    l->up = true;
    leader_each(l, PEER_SYNCED, leader_uptodate);
}

/* Passes every barrier that can be passed now. */
static void leader_advance(struct leader *l) {
    if (l->phase == LEADER_DISCOVERY && leader_quorum(l, PEER_EPOCH)) {
        l->epoch = l->accepted + 1;
        for (uint32_t i = 0; i < l->n_peers; i++) /* strangers do not use the epochs up */
            if (l->peers[i].phase == PEER_EPOCH && quorum_member(l->cfg, l->peers[i].sid) &&
                l->peers[i].accepted >= l->epoch)
                l->epoch = l->peers[i].accepted + 1;
        l->want_accepted = true;
        leader_enter(l, LEADER_ACCEPTING);
    }
    if (l->phase == LEADER_EPOCH && leader_quorum(l, PEER_HISTORY)) {
        l->want_current = true;
        leader_enter(l, LEADER_SYNC);
    }
    if (l->phase >= LEADER_EPOCH && l->phase != LEADER_LOST)
        leader_each(l, PEER_EPOCH, leader_put_info);
    if (l->phase == LEADER_SYNC || l->phase == LEADER_BROADCAST)
        leader_each(l, PEER_HISTORY, leader_begin_sync);
    if (l->phase == LEADER_SYNC && l->current_saved && leader_quorum(l, PEER_SYNCED))
        leader_establish(l);
    if (l->phase == LEADER_BROADCAST) leader_each(l, PEER_SYNCED, leader_uptodate);
}

ZK_PRIVATE void leader_start(struct leader *l, int64_t now, int64_t accepted, int64_t current) {
    ZK_ASSERT(l->phase == LEADER_OFF);
    l->now = now;
    l->accepted = accepted;
    l->current = current;
    l->last_zxid = l->synced = l->proposed = l->committed = l->db->last_zxid;
    l->epoch = 0;
    l->want_accepted = l->want_current = l->current_saved = l->up = false;
    l->outrun_by = -1;
    l->next_ping = l->next_check = now;
    l->sizes.last = l->sizes.least = l->sizes.most = -1;
    leader_enter(l, LEADER_DISCOVERY);
    if (accepted > LEADER_EPOCH_MAX) leader_lose(l, "our epochs are used up");
    leader_advance(l);
}

ZK_PRIVATE void leader_stop(struct leader *l) {
    for (uint32_t i = 0; i < l->n_peers; i++) {
        if (l->peers[i].phase == PEER_FREE) continue;
        link_close(l->links, l->peers[i].link);
        buf_free(&l->peers[i].queue);
        l->peers[i].phase = PEER_FREE;
    }
    if (l->image.active) tree_image_abort(&l->db->tree);
    l->image.active = false;
    buf_clear(&l->syncs);
    l->log_read.wanted = false;
    l->log_read.owner = 0; /* an answer on its way is nobody's */
    l->phase = LEADER_OFF;
}

ZK_PRIVATE void leader_saved_accepted(struct leader *l, int64_t now) {
    l->now = now;
    if (l->phase != LEADER_ACCEPTING) return;
    leader_enter(l, LEADER_EPOCH);
    leader_advance(l);
}

ZK_PRIVATE void leader_saved_current(struct leader *l, int64_t now) {
    l->now = now;
    l->current_saved = true;
    leader_advance(l);
}

/* --- what learners say --- */

/* FOLLOWERINFO or OBSERVERINFO. A server without a database says that its epoch is -1. */
static void leader_info(struct leader *l, struct leader_peer *p, const struct packet *k) {
    if (k->type != PACKET_FOLLOWERINFO && k->type != PACKET_OBSERVERINFO) {
        leader_drop(l, p, "its first packet is no FOLLOWERINFO or OBSERVERINFO");
        return;
    }
    struct jr r = jr_open(k->data, UINT32_MAX);
    int64_t sid = jr_i64(&r);
    int32_t version = jr_i32(&r);
    int64_t config = jr_left(&r) >= 8 ? jr_i64(&r) : 0;
    int64_t epoch = k->zxid >> 32;
    if (r.bad || version < PACKET_VERSION || config > 0 || epoch < -1 || epoch > LEADER_EPOCH_MAX) {
        leader_drop(l, p, "its protocol, configuration or epoch is none of ours");
        return;
    }
    p->sid = sid;
    p->observer = k->type == PACKET_OBSERVERINFO;
    p->voter = !p->observer && sid != l->self && quorum_is_voter(l->cfg, sid);
    p->accepted = epoch;
    if (p->voter && epoch > l->epoch && l->phase == LEADER_BROADCAST &&
        l->now - l->since > leader_limit(l, l->cfg->init_limit)) {
        l->outrun_by = sid;
        l->outrun_to = epoch;
    }
    p->phase = PEER_EPOCH;
    leader_advance(l);
}

static void leader_ackepoch(struct leader *l, struct leader_peer *p, const struct packet *k) {
    struct jr r = jr_open(k->data, UINT32_MAX);
    int32_t current = jr_i32(&r);
    if (k->type != PACKET_ACKEPOCH || r.bad || k->zxid < -1) {
        leader_drop(l, p, "its answer to LEADERINFO is no ACKEPOCH");
        return;
    }
    p->current = current;
    p->last_zxid = k->zxid;
    bool ahead = current > l->current || (current == l->current && k->zxid > l->last_zxid);
    if (l->phase == LEADER_EPOCH && current != -1 && ahead) {
        leader_drop(l, p, "Follower is ahead of the leader");
        return;
    }
    p->phase = PEER_HISTORY;
    leader_advance(l);
}

static void leader_ack(struct leader *l, struct leader_peer *p, int64_t zxid) {
    if ((zxid & ZXID_COUNTER) == 0 || zxid <= p->acked || zxid > p->sent) return;
    p->acked = zxid;
    if (!p->probe || zxid < p->probe) return;
    p->probe = p->sent > zxid ? p->sent : 0;
    p->probe_since = l->now;
}

static void leader_ack_newleader(struct leader *l, struct leader_peer *p, const struct packet *k) {
    if (k->type != PACKET_ACK) {
        leader_drop(l, p, "its answer to NEWLEADER is no ACK");
        return;
    }
    if (k->zxid != leader_epoch_zxid(l->epoch)) { /* of a proposal: servers before 3.9.3 do that */
        leader_ack(l, p, k->zxid);
        return;
    }
    if (p->base > p->acked) p->acked = p->base;
    p->phase = PEER_SYNCED;
    leader_advance(l);
}

static void leader_pong(struct leader *l, struct slice data) {
    struct jr r = jr_open(data, UINT32_MAX);
    while (jr_left(&r) >= 12) {
        int64_t id = jr_i64(&r);
        int32_t timeout = jr_i32(&r);
        uint32_t s = session_find(&l->db->sessions, id);
        if (s != SESSION_NONE && timeout >= 0) session_touch(&l->db->sessions, s, l->now, timeout);
    }
}

static void leader_revalidate(struct leader *l, struct leader_peer *p, struct slice data) {
    struct jr r = jr_open(data, UINT32_MAX);
    int64_t id = jr_i64(&r);
    int32_t timeout = jr_i32(&r);
    if (r.bad) {
        leader_drop(l, p, "a REVALIDATE that cannot be read");
        return;
    }
    uint32_t s = session_find(&l->db->sessions, id);
    struct session *e = s == SESSION_NONE ? NULL : &l->db->sessions.slots[s];
    bool valid = e && !e->closing && timeout >= 0; /* its creation may still be under way */
    if (valid) {
        session_touch(&l->db->sessions, s, l->now, timeout);
        e->owner = p->owner;
    }
    struct buf *out = leader_out(l, p);
    size_t at = packet_begin(out, PACKET_REVALIDATE, -1);
    jw_i64(out, id);
    jw_u8(out, valid);
    packet_end(out, at);
}

static bool leader_request(const struct leader_peer *p, const struct packet *k,
                           struct leader_request *out) {
    struct jr r = jr_open(k->data, UINT32_MAX);
    out->owner = p->owner;
    out->session = jr_i64(&r);
    out->cxid = jr_i32(&r);
    out->op = jr_i32(&r);
    out->body = slice_of(r.p, jr_left(&r));
    out->auth = k->auth;
    out->n_auth = k->n_auth > 0 ? k->n_auth : 0;
    return !r.bad;
}

/* A packet in broadcast; true: it is a request. */
static bool leader_broadcast(struct leader *l, struct leader_peer *p, const struct packet *k,
                             struct leader_request *out) {
    switch (k->type) {
    case PACKET_ACK:
        leader_ack(l, p, k->zxid);
        return false;
    case PACKET_PING:
        leader_pong(l, k->data);
        return false;
    case PACKET_REVALIDATE:
        leader_revalidate(l, p, k->data);
        return false;
    case PACKET_REQUEST:
        if (leader_request(p, k, out)) return true;
        leader_drop(l, p, "a REQUEST that cannot be read");
        return false;
    default:
        log_line(l->log, LOG_WARN_LEVEL, "unexpected quorum packet of type %d", k->type);
        return false;
    }
}

static bool leader_packet(struct leader *l, struct leader_peer *p, const struct packet *k,
                          struct leader_request *out) {
    p->heard = l->now;
    switch (p->phase) {
    case PEER_INFO:
        leader_info(l, p, k);
        return false;
    case PEER_ACKEPOCH:
        leader_ackepoch(l, p, k);
        return false;
    case PEER_NEWLEADER:
        leader_ack_newleader(l, p, k);
        return false;
    default:
        return leader_broadcast(l, p, k, out);
    }
}

/* What comes in the other phases waits in the link. */
static bool leader_listens(enum peer_phase phase) {
    return phase == PEER_INFO || phase == PEER_ACKEPOCH || phase == PEER_NEWLEADER ||
           phase == PEER_ACTIVE;
}

static bool leader_read(struct leader *l, struct leader_peer *p, struct leader_request *out) {
    while (leader_listens(p->phase)) {
        uint32_t max = p->phase < PEER_NEWLEADER ? LEADER_HELLO_MAX
                                                 : (uint32_t)l->cfg->jute_max_buffer +
                                                       (uint32_t)l->cfg->jute_extra_size;
        struct buf *in = &link_at(l->links, p->link)->in;
        struct packet k;
        size_t used;
        enum packet_status st = packet_take(buf_slice(in), max, &k, &used);
        if (st == PACKET_MORE) return false;
        if (st == PACKET_BAD) {
            leader_drop(l, p, "unreasonable length");
            return false;
        }
        buf_consume(in, used);
        if (leader_packet(l, p, &k, out)) return true;
    }
    return false;
}

ZK_PRIVATE bool leader_next(struct leader *l, int64_t now, struct leader_request *out) {
    l->now = now;
    for (; l->next_peer < l->n_peers && l->phase != LEADER_LOST; l->next_peer++)
        if (leader_read(l, &l->peers[l->next_peer], out)) return true;
    l->next_peer = 0;
    return false;
}

/* --- broadcast --- */

static void leader_tell(struct leader *l, struct leader_peer *p, enum packet_type type,
                        int64_t zxid, struct slice data) {
    struct buf *out = leader_out(l, p);
    packet_put(out, (int32_t)type, zxid, data);
    size_t most = p->phase == PEER_IMAGE       ? LEADER_QUEUE_MAX
                  : p->phase == PEER_NEWLEADER ? LEADER_SYNC_MAX
                                               : LEADER_OUT_MAX;
    if (buf_len(out) > most) leader_drop(l, p, "it does not read what it is sent");
}

ZK_PRIVATE void leader_propose(struct leader *l, int64_t zxid, struct slice txn) {
    int64_t size = (int64_t)txn.n;
    l->proposed = zxid;
    l->sizes.last = size;
    if (l->sizes.least < 0 || size < l->sizes.least) l->sizes.least = size;
    if (size > l->sizes.most) l->sizes.most = size;
    for (uint32_t i = 0; i < l->n_peers; i++) {
        struct leader_peer *p = &l->peers[i];
        if (!leader_enrolled(p) || p->observer) continue;
        p->sent = zxid;
        if (!p->probe && p->phase == PEER_ACTIVE) {
            p->probe = zxid;
            p->probe_since = l->now;
        }
        leader_tell(l, p, PACKET_PROPOSAL, zxid, txn);
    }
}

ZK_PRIVATE void leader_synced(struct leader *l, int64_t zxid) {
    if (zxid > l->synced) l->synced = zxid;
}

/* The largest zxid that a quorum has on disk, and so may be committed. */
static int64_t leader_durable(const struct leader *l) {
    int64_t best = l->committed;
    for (uint32_t i = 0; i <= l->n_peers; i++) {
        bool self = i == l->n_peers;
        if (!self && (l->peers[i].phase != PEER_ACTIVE || !l->peers[i].voter)) continue;
        int64_t zxid = self ? l->synced : l->peers[i].acked;
        if (zxid <= best) continue;
        struct sidset set;
        sidset_clear(&set);
        if (l->synced >= zxid) (void)sidset_add(&set, l->cfg, l->self);
        for (uint32_t k = 0; k < l->n_peers; k++)
            if (l->peers[k].phase == PEER_ACTIVE && l->peers[k].voter && l->peers[k].acked >= zxid)
                (void)sidset_add(&set, l->cfg, l->peers[k].sid);
        if (quorum_reached(l->cfg, &set)) best = zxid;
    }
    /* Quotas are checked against our tree: nobody may have seen what is not in it yet. */
    if (l->cfg->enforce_quota && best > l->synced)
        best = l->synced > l->committed ? l->synced : l->committed;
    return best;
}

static void leader_answer_syncs(struct leader *l) {
    struct leader_sync s;
    while (buf_len(&l->syncs)) {
        memcpy(&s, l->syncs.p + l->syncs.head, sizeof s);
        if (s.zxid > l->committed) return;
        buf_consume(&l->syncs, sizeof s);
        struct leader_peer *p = leader_owner(l, s.owner);
        if (p) leader_tell(l, p, PACKET_SYNC, 0, leader_null);
    }
}

ZK_PRIVATE int64_t leader_commit(struct leader *l) {
    int64_t to = l->phase == LEADER_BROADCAST ? leader_durable(l) : l->committed;
    const struct history *h = l->history;
    for (uint32_t i = history_after(h, l->committed); i < h->n && l->committed < to; i++) {
        const struct history_entry *e = history_at(h, i);
        l->committed = e->zxid;
        for (uint32_t k = 0; k < l->n_peers; k++) {
            struct leader_peer *p = &l->peers[k];
            if (!leader_enrolled(p)) continue;
            if (p->observer)
                leader_tell(l, p, PACKET_INFORM, e->zxid, history_bytes(e));
            else
                leader_tell(l, p, PACKET_COMMIT, e->zxid, leader_null);
        }
        leader_answer_syncs(l);
    }
    return l->committed;
}

ZK_PRIVATE void leader_sync(struct leader *l, uint64_t owner) {
    struct leader_sync s = {owner, l->proposed};
    buf_compact(&l->syncs);
    buf_put(&l->syncs, &s, sizeof s);
    leader_answer_syncs(l);
}

ZK_PRIVATE struct leader_census leader_count_all(const struct leader *l) {
    struct leader_census c = {.syncs = (uint32_t)(buf_len(&l->syncs) / sizeof(struct leader_sync))};
    for (uint32_t i = 0; i < l->n_peers; i++) {
        const struct leader_peer *p = &l->peers[i];
        if (p->phase == PEER_FREE || p->phase == PEER_INFO) continue;
        c.learners++;
        if (p->phase != PEER_ACTIVE) continue;
        ++*(p->observer ? &c.observers : p->voter ? &c.followers : &c.others);
    }
    return c;
}

/* --- time --- */

static void leader_watch_peer(struct leader *l, struct leader_peer *p) {
    uint64_t sent = link_at(l->links, p->link)->sent;
    int64_t init = leader_limit(l, l->cfg->init_limit), sync = leader_limit(l, l->cfg->sync_limit);
    bool reads = sent != p->link_sent && (p->phase < PEER_NEWLEADER || p->link_sent < p->mark);
    if (p->phase < PEER_SYNCED && reads) p->heard = l->now; /* not our pings, but its history */
    p->link_sent = sent;
    bool log = l->log_read.busy && l->log_read.owner == p->owner;
    if (p->phase == PEER_EPOCH || p->phase == PEER_HISTORY || p->phase == PEER_IMAGE_WAIT || log ||
        p->phase == PEER_SYNCED)
        p->heard = l->now; /* it waits for us */
    if (l->now - p->heard > (p->phase == PEER_ACTIVE ? sync : init))
        leader_drop(l, p, "it has been silent for too long");
    else if (p->phase == PEER_IMAGE && l->now - p->heard > init / 4 && leader_count(l, PEER_IMAGE) +
             leader_count(l, PEER_IMAGE_WAIT) > 1)
        leader_drop(l, p, "it does not read its snapshot, and others wait for theirs");
    else if (p->probe && l->now - p->probe_since > sync)
        leader_drop(l, p, "it does not acknowledge what it is sent");
}

static void leader_ping(struct leader *l) {
    l->next_ping = l->now + l->cfg->tick_time_ms / 2;
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase >= PEER_NEWLEADER)
            leader_tell(l, &l->peers[i], PACKET_PING,
                        l->proposed > leader_epoch_zxid(l->epoch) ? l->proposed
                                                                  : leader_epoch_zxid(l->epoch),
                        leader_null);
}

ZK_PRIVATE void leader_tick(struct leader *l, int64_t now) {
    l->now = now;
    if (l->phase == LEADER_OFF || l->phase == LEADER_LOST) return;
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase != PEER_FREE) leader_watch_peer(l, &l->peers[i]);
    if (now >= l->next_ping) leader_ping(l);
    if (l->phase < LEADER_BROADCAST) {
        /* Who voted for us dials at once; if a quorum does not, it has found somebody else. */
        int32_t ticks = l->phase == LEADER_DISCOVERY && l->cfg->sync_limit < l->cfg->init_limit
                            ? l->cfg->sync_limit : l->cfg->init_limit;
        if (now - l->since > leader_limit(l, ticks))
            leader_lose(l, l->phase <= LEADER_ACCEPTING
                               ? "Timeout while waiting for epoch from quorum"
                           : l->phase == LEADER_EPOCH
                               ? "Timeout while waiting for epoch to be acked by quorum"
                               : "Timeout while waiting for NEWLEADER to be acked by quorum");
    } else if (now >= l->next_check) {
        l->next_check = now + l->cfg->tick_time_ms;
        if (!leader_quorum(l, PEER_EPOCH))
            leader_lose(l, "Not sufficient followers synced, only synced with a minority");
    }
}

ZK_PRIVATE int64_t leader_next_tick(const struct leader *l) {
    if (l->phase == LEADER_OFF || l->phase == LEADER_LOST) return INT64_MAX;
    return l->next_ping;
}
