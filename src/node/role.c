#include "node/role.h"

#include "ensemble/packet.h"
#include "ensemble/quorum.h"
#include "node/pipeline.h"
#include "node/reads.h"
#include "node/serve.h"

#define ROLE_READ 65536u /* unread bytes of a link besides a whole packet */
#define ROLE_PAUSE_MS 10 /* before an election, after a role that never came to be; doubled ... */
#define ROLE_PAUSE_MAX_MS 1000 /* ... up to this */
#define ROLE_COUNTER_MAX 0xfffffffeLL /* the last counter of an epoch that is given out */

static struct role *role_of(struct node *n) {
    return &n->role;
}

ZK_PRIVATE bool role_learns(const struct node *n) {
    return n->role.phase == ROLE_LEARNING;
}

ZK_PRIVATE bool role_decides(const struct node *n) {
    return n->role.phase == ROLE_ALONE ||
           (n->role.phase == ROLE_LEADING && n->role.leader.phase == LEADER_BROADCAST);
}

ZK_PRIVATE uint64_t role_self_owner(const struct node *n) {
    return n->role.phase == ROLE_LEADING ? LEADER_OWNER_SELF : 0;
}

ZK_PRIVATE bool role_exhausted(const struct node *n) {
    return n->role.phase == ROLE_LEADING && n->role.leader.phase == LEADER_BROADCAST &&
           !n->role.leader.up && (n->prep.zxid & 0xffffffffLL) >= n->role.counter_max;
}

ZK_PRIVATE const char *role_name(const struct node *n) {
    if (n->role.phase == ROLE_ALONE) return "standalone";
    if (!n->serving && !role_decides(n)) return NULL;
    return n->role.phase == ROLE_LEADING ? "leader"
           : n->role.learner.observer    ? "observer"
                                         : "follower";
}

ZK_PRIVATE void role_init(struct node *n) {
    struct role *o = role_of(n);
    o->phase = ROLE_ALONE;
    links_init(&o->links, PACKET_LONGEST(n->max_string) + ROLE_READ);
    n->committed = INT64_MAX;
    if (!config_distributed(n->cfg)) return;
    o->phase = ROLE_DRAINING;
    o->self = n->cfg->server_id;
    o->history.keep = (uint32_t)n->cfg->commit_log_count;
    o->counter_max = ROLE_COUNTER_MAX;
    election_init(&o->election, n->cfg, o->self, &o->links, &n->log);
    leader_init(&o->leader, n->cfg, o->self, &o->links, &n->db, &o->history, &n->log);
    learner_init(&o->learner, n->cfg, o->self, &o->links, &n->log);
}

ZK_PRIVATE void role_free(struct node *n) {
    struct role *o = role_of(n);
    if (o->phase != ROLE_ALONE) {
        election_free(&o->election);
        leader_free(&o->leader);
        learner_free(&o->learner);
        history_free(&o->history);
    }
    links_free(&o->links);
    auth_free(&o->auth);
    if (o->errand == ROLE_TAKE) db_free(&o->learner.incoming);
    for (uint32_t i = 0; i < o->wait_n; i++)
        blob_unref(o->waiting[(o->wait_head + i) & (o->wait_cap - 1)].body);
    mem_free(o->waiting);
    buf_free(&o->revalidating);
    buf_free(&o->touched);
    buf_free(&o->saving);
}

/* --- what goes to the disk --- */

static void role_save_epoch(struct node *n, bool accepted, int64_t epoch) {
    struct role_save s = {epoch, accepted};
    buf_compact(&n->role.saving);
    buf_put(&n->role.saving, &s, sizeof s);
    struct node_output *o = node_output(n, NODE_SAVE_EPOCH);
    o->epoch = epoch;
    o->accepted = accepted;
}

ZK_PRIVATE void role_epoch_saved(struct node *n) {
    struct role *o = role_of(n);
    struct role_save s;
    ZK_ASSERT(buf_len(&o->saving));
    memcpy(&s, o->saving.p + o->saving.head, sizeof s);
    buf_consume(&o->saving, sizeof s);
    *(s.accepted ? &o->accepted : &o->current) = s.epoch;
    if (o->phase == ROLE_LEADING && s.epoch == o->leader.epoch) {
        if (s.accepted)
            leader_saved_accepted(&o->leader, n->now);
        else
            leader_saved_current(&o->leader, n->now);
    } else if (o->phase == ROLE_LEARNING && s.epoch == o->learner.epoch) {
        if (s.accepted)
            learner_saved_accepted(&o->learner);
        else
            learner_saved_current(&o->learner);
    }
}

static void role_load(struct node *n, int64_t cut, bool reload) {
    struct node_output *o = node_output(n, NODE_LOAD);
    o->zxid = cut;
    o->reload = reload;
    if (reload) n->role.loading = true;
}

/* The tree is another one from now on, and the log goes on behind its last zxid. */
static void role_take_db(struct node *n, struct db *db) {
    txn_out_clear(&n->db, &n->applied);
    prep_free(&n->prep);
    struct db old = n->db;
    n->db = *db;
    db_init(db, n->db.tree.seed, n->cfg->tick_time_ms, n->now);
    db_free(&old);
    node_prepare(n);
    n->appended = n->synced = n->committed = n->db.last_zxid;
    n->roll_next = true;
    history_reset(&n->role.history, n->db.last_zxid);
}

/*
 * What changes the disk's idea of the state has to wait for a snapshot that is about to get its
 * name; one that is not so far is given up.
 */
static void role_do(struct node *n) {
    struct role *o = role_of(n);
    if (o->errand == ROLE_NOTHING) return;
    pipeline_snapshot_abort(n);
    if (n->snap.active) return;
    enum role_errand errand = o->errand;
    o->errand = ROLE_NOTHING;
    if (errand == ROLE_TRUNCATE) {
        role_load(n, o->learner.stream_zxid, true);
    } else if (errand == ROLE_RELOAD) {
        role_load(n, -1, true);
    } else {
        o->cut = n->db.last_zxid > o->learner.incoming.last_zxid;
        role_take_db(n, &o->learner.incoming);
        db_free(&o->learner.incoming);
        o->unsaved = true;
        if (o->cut) role_load(n, n->db.last_zxid, false);
        pipeline_snapshot_begin(n);
    }
}

ZK_PRIVATE void role_snapshot_over(struct node *n, bool failed) {
    struct role *o = role_of(n);
    if (!o->unsaved || o->errand != ROLE_NOTHING) return;
    if (failed) {
        learner_fail(&o->learner, "the leader's snapshot cannot be saved");
        return;
    }
    o->unsaved = false;
    if (o->cut) role_load(n, n->db.last_zxid, false); /* what was refused before can go now */
    o->learner.hold = false;
}

/* --- the end of a role --- */

static void role_forget_clients(struct node *n) {
    struct role *o = role_of(n);
    for (uint32_t i = 0; i < n->n_conns; i++)
        if (n->conns[i].phase != CONN_FREE && n->conns[i].phase != CONN_CLOSING)
            serve_close(n, i);
    while (o->wait_n) {
        n->large_in_flight -= o->waiting[o->wait_head].large;
        blob_unref(o->waiting[o->wait_head].body);
        o->wait_head = (o->wait_head + 1) & (o->wait_cap - 1);
        o->wait_n--;
    }
    buf_clear(&o->revalidating);
    buf_clear(&o->touched);
}

/*
 * Before the next election: none after a role that was filled; else longer and longer, as the same
 * thing may go wrong again at once.
 */
static void role_pause(struct node *n) {
    struct role *o = role_of(n);
    o->failures = o->filled ? 0 : o->failures + 1;
    int64_t ms = ROLE_PAUSE_MS;
    for (uint32_t i = 1; i < o->failures && ms < ROLE_PAUSE_MAX_MS; i++) ms *= 2;
    o->look_at = n->now + (o->failures ? ms : 0);
    int32_t delay = n->cfg->observer_election_delay_ms;
    if (o->phase == ROLE_LEARNING && o->learner.observer && delay > 0)
        o->look_at += (int64_t)prng_below(&n->rng, (uint64_t)delay);
    o->filled = false;
}

static void role_leave(struct node *n, const char *why) {
    struct role *o = role_of(n);
    log_line(&n->log, LOG_WARN_LEVEL, "Leaving as %s: %s",
             o->phase == ROLE_LEADING ? "leader" : "learner", why);
    if (o->phase == ROLE_LEADING) {
        node_output(n, NODE_UNLISTEN);
        leader_stop(&o->leader);
    } else {
        learner_stop(&o->learner);
    }
    election_idle(&o->election);
    role_pause(n);
    n->serving = false;
    role_forget_clients(n);
    o->newleader = false;
    o->phase = ROLE_DRAINING;
    if (o->errand == ROLE_TAKE) db_free(&o->learner.incoming);
    o->errand = o->unsaved ? ROLE_RELOAD : ROLE_NOTHING;
}

/* Sessions that never came to be; the rest belongs to nobody yet. */
static void role_forget_sessions(struct node *n) {
    struct session_table *t = &n->db.sessions;
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->slots[i].live) continue;
        t->slots[i].owner = 0;
        t->slots[i].closing = t->slots[i].touched = false;
        if (!t->slots[i].committed) session_remove(t, i);
    }
}

static void role_drain(struct node *n) {
    struct role *o = role_of(n);
    role_do(n);
    if (n->synced < n->appended || buf_len(&o->saving) || o->loading || o->unsaved ||
        o->errand != ROLE_NOTHING || n->now < o->look_at)
        return;
    n->committed = n->appended;
    pipeline_apply(n);
    history_commit(&o->history, n->appended);
    role_forget_sessions(n);
    o->phase = ROLE_LOOKING;
    election_look(&o->election, n->now, n->db.last_zxid, o->current);
}

ZK_PRIVATE void role_loaded(struct node *n, struct db *db) {
    struct role *o = role_of(n);
    o->loading = o->unsaved = false;
    role_take_db(n, db);
    if (o->phase == ROLE_LEARNING) learner_truncated(&o->learner, n->db.last_zxid);
}

ZK_PRIVATE void role_start(struct node *n) {
    struct role *o = role_of(n);
    int64_t epoch = n->db.last_zxid >> 32;
    if (o->current < 0) o->current = epoch;
    if (o->accepted < o->current) o->accepted = o->current;
    if (epoch > o->current)
        log_line(&n->log, LOG_WARN_LEVEL, "The log goes on to epoch 0x%llx, beyond the current "
                 "one, 0x%llx: it was not acknowledged", (unsigned long long)epoch,
                 (unsigned long long)o->current);
    history_reset(&o->history, n->db.last_zxid);
    n->committed = n->db.last_zxid;
    o->phase = ROLE_DRAINING;
    role_settle(n);
}

/* --- the election has ended --- */

static void role_decided(struct node *n) {
    struct role *o = role_of(n);
    n->roll_next = true;
    n->committed = n->db.last_zxid;
    if (o->election.state == SERVER_LEADING) {
        log_line(&n->log, LOG_INFO_LEVEL, "LEADING - round %lld, last zxid 0x%llx",
                 (long long)o->election.vote.round, (unsigned long long)n->db.last_zxid);
        o->phase = ROLE_LEADING;
        node_output(n, NODE_LISTEN);
        leader_start(&o->leader, n->now, o->promised > o->accepted ? o->promised : o->accepted,
                     o->current);
        return;
    }
    bool observer = o->election.state == SERVER_OBSERVING;
    log_line(&n->log, LOG_INFO_LEVEL, "%s %lld", observer ? "OBSERVING" : "FOLLOWING",
             (long long)o->election.vote.leader);
    o->phase = ROLE_LEARNING;
    o->learner.seed = hash_u64(n->db.tree.seed);
    learner_start(&o->learner, n->now, o->election.vote.leader, observer, o->accepted, o->current,
                  n->db.last_zxid);
}

/* --- leading --- */

static void role_lead_up(struct node *n) {
    struct role *o = role_of(n);
    o->leader.up = false;
    o->filled = true;
    election_led(&o->election, o->leader.epoch);
    prep_free(&n->prep);
    node_prepare(n);
    n->prep.zxid = (int64_t)((uint64_t)o->leader.epoch << 32);
    session_touch_all(&n->db.sessions, n->now);
    n->serving = n->cfg->leader_serves;
}

/* Who asks for something lives. The ping of its server says that too, but up to half a tick later.
 * What a longer timeout has given stays. */
static void role_heard_of(struct node *n, int64_t session) {
    struct session_table *t = &n->db.sessions;
    uint32_t s = session_find(t, session);
    if (s == SESSION_NONE || t->slots[s].expires >= n->now + t->slots[s].timeout) return;
    session_touch(t, s, n->now, t->slots[s].timeout);
}

/* A request that a learner passed on: it becomes a transaction, if only one that fails. */
static void role_request(struct node *n, const struct leader_request *r) {
    struct role *o = role_of(n);
    role_heard_of(n, r->session);
    if (r->op == ZOP_SYNC) {
        leader_sync(&o->leader, r->owner);
        return;
    }
    bool known = (wire_op_flags(r->op) & OP_WRITE) != 0;
    bool session = r->op == ZOP_CREATE_SESSION || r->op == ZOP_CLOSE_SESSION;
    if (r->op == ZOP_CREATE_SESSION && r->body.n >= 4) {
        int32_t timeout = (int32_t)be32(r->body.p);
        if (timeout < 0) timeout = 0;
        uint32_t s = session_add(&n->db.sessions, r->session, timeout);
        n->db.sessions.slots[s].owner = r->owner;
        session_touch(&n->db.sessions, s, n->now, timeout);
    }
    buf_clear(&o->auth.ids);
    o->auth.count = 0;
    o->auth.super = false;
    auth_add_all(&o->auth, r->auth, (uint32_t)r->n_auth);
    struct pipeline_request q = {.conn = CONN_NONE, .xid = r->cxid, .session = r->session,
                                 .op = known ? r->op : ZOP_NOTIFICATION, .body = r->body,
                                 .internal = session, .forwarded = true, .owner = r->owner,
                                 .auth = &o->auth};
    pipeline_submit(n, &q);
}

static void role_read_log(struct node *n) {
    struct leader *l = &n->role.leader;
    struct node_output *o = node_output(n, NODE_READ_LOG);
    o->zxid = l->log_read.after;
    o->upto = n->role.history.floor;
    o->first = l->log_read.first;
    l->log_read.wanted = false;
    l->log_read.busy = true;
}

ZK_PRIVATE void role_log_read(struct node *n, struct slice txns) {
    leader_log_read(&n->role.leader, txns, n->now);
}

/*
 * A voter that accepted the epoch of a leader that never came to be can follow nobody before the
 * next election. One whose history has that epoch is another matter: no quorum of ours can have
 * been there, so its data is not of this ensemble, and an election is what it must not get.
 * stock: both try for ever
 */
static bool role_makes_room(struct node *n, int64_t sid) {
    if (election_asks_from(&n->role.election, sid, n->role.leader.epoch)) {
        n->role.promised = n->role.leader.outrun_to; /* our next epoch is beyond it */
        return true;
    }
    log_line(&n->log, LOG_ERROR_LEVEL, "Server %lld has data of a later epoch than that of this "
             "ensemble, 0x%llx: it is kept out. Is it the data of another ensemble?",
             (long long)sid, (unsigned long long)n->role.leader.epoch);
    return false;
}

static void role_lead(struct node *n) {
    struct role *o = role_of(n);
    struct leader_request r = {0};
    while (leader_next(&o->leader, n->now, &r)) {
        if (o->leader.up) role_lead_up(n); /* the first request is of the new epoch */
        if (role_exhausted(n)) break;
        role_request(n, &r);
    }
    n->committed = leader_commit(&o->leader);
    pipeline_apply(n);
    if (o->leader.want_accepted || o->leader.want_current) {
        role_save_epoch(n, o->leader.want_accepted, o->leader.epoch);
        o->leader.want_accepted = o->leader.want_current = false;
    }
    leader_log_step(&o->leader);
    if (o->leader.log_read.wanted) role_read_log(n);
    if (o->leader.up) role_lead_up(n);
    int64_t outrun_by = o->leader.outrun_by;
    o->leader.outrun_by = -1;
    if (o->leader.phase == LEADER_LOST)
        role_leave(n, o->leader.why);
    else if (outrun_by >= 0 && role_makes_room(n, outrun_by))
        role_leave(n, "a voter has promised itself to a later epoch");
    else if (role_exhausted(n))
        role_leave(n, "the zxids of this epoch are used up");
}

/* --- learning --- */

static void role_append(struct node *n, const struct learner_news *news) {
    struct jr r = jr_open(news->txn, UINT32_MAX);
    struct txn_header h = jr_txn_header(&r);
    struct pipeline_txn t = {news->zxid, h.client_id, h.type, news->txn};
    pipeline_log(n, &t);
}

static void role_pong(struct node *n, int64_t zxid) {
    struct role *o = role_of(n);
    struct buf table = {0};
    (void)buf_reserve(&table, 1);
    for (size_t at = 0; at < o->touched.n; at += sizeof(uint32_t)) {
        uint32_t i;
        memcpy(&i, o->touched.p + at, sizeof i);
        struct session *s = &n->db.sessions.slots[i];
        if (!s->live || !s->touched) continue;
        s->touched = false;
        jw_i64(&table, s->id);
        jw_i32(&table, s->lease);
    }
    buf_clear(&o->touched);
    learner_pong(&o->learner, zxid, buf_slice(&table));
    buf_free(&table);
}

ZK_PRIVATE void role_touch(struct node *n, uint32_t slot, int32_t timeout) {
    struct session *s = &n->db.sessions.slots[slot];
    s->lease = timeout;
    if (s->touched) return;
    s->touched = true;
    buf_put(&n->role.touched, &slot, sizeof slot);
}

static void role_revalidated(struct node *n, const struct learner_news *news) {
    struct role *o = role_of(n);
    struct role_revalidation v;
    for (size_t at = 0; at < o->revalidating.n; at += sizeof v) {
        memcpy(&v, o->revalidating.p + at, sizeof v);
        if (v.session != news->session) continue;
        memmove(o->revalidating.p + at, o->revalidating.p + at + sizeof v,
                o->revalidating.n - at - sizeof v);
        o->revalidating.n -= sizeof v;
        const struct conn *c = &n->conns[v.conn];
        if (c->phase == CONN_WAITING && c->gen == v.gen) serve_renewed(n, v.conn, news->valid);
        return;
    }
}

ZK_PRIVATE void role_revalidate(struct node *n, uint32_t conn, int64_t session) {
    struct conn *c = node_conn(n, conn);
    struct role_revalidation v = {session, conn, c->gen};
    buf_put(&n->role.revalidating, &v, sizeof v);
    learner_revalidate(&n->role.learner, session, c->timeout);
}

static void role_learner_up(struct node *n) {
    struct role *o = role_of(n);
    log_line(&n->log, LOG_INFO_LEVEL, "Synchronized with the leader, epoch 0x%llx, zxid 0x%llx",
             (unsigned long long)o->learner.epoch, (unsigned long long)n->db.last_zxid);
    election_led(&o->election, o->learner.epoch);
    n->serving = o->filled = true;
    learner_synced(&o->learner, n->synced);
}

static void role_sync_done(struct node *n) {
    struct role *o = role_of(n);
    for (uint32_t i = 0; i < o->wait_n; i++) {
        struct role_wait *w = &o->waiting[(o->wait_head + i) & (o->wait_cap - 1)];
        if (w->op != ZOP_SYNC || w->ready_at >= 0) continue;
        w->ready_at = n->committed;
        return;
    }
}

static void role_event(struct node *n, enum learner_event e, const struct learner_news *news) {
    struct role *o = role_of(n);
    switch (e) {
    case LEARNER_NOTHING:
        break;
    case LEARNER_ACCEPT_EPOCH:
        role_save_epoch(n, true, o->learner.epoch);
        break;
    case LEARNER_TRUNCATE:
        o->errand = ROLE_TRUNCATE;
        break;
    case LEARNER_SNAPSHOT_READ:
        o->errand = ROLE_TAKE;
        break;
    case LEARNER_PROPOSED:
        role_append(n, news);
        break;
    case LEARNER_COMMITTED:
        n->committed = news->zxid;
        break;
    case LEARNER_SYNCED_UP:
        o->newleader = true;
        break;
    case LEARNER_UP:
        role_learner_up(n);
        break;
    case LEARNER_PINGED:
        role_pong(n, news->zxid);
        break;
    case LEARNER_SYNC_DONE:
        role_sync_done(n);
        break;
    case LEARNER_REVALIDATED:
        role_revalidated(n, news);
        break;
    }
}

static void role_learn(struct node *n) {
    struct role *o = role_of(n);
    struct learner_news news;
    enum learner_event e;
    while ((e = learner_next(&o->learner, n->now, &news)) != LEARNER_NOTHING)
        role_event(n, e, &news);
    role_do(n);
    pipeline_apply(n);
    role_answer(n);
    if (o->newleader && n->synced >= n->appended && !o->unsaved) {
        o->newleader = false;
        role_save_epoch(n, false, o->learner.epoch);
    }
    if (o->learner.phase == LEARNER_LOST) role_leave(n, o->learner.why);
}

ZK_PRIVATE void role_log_synced(struct node *n) {
    struct role *o = role_of(n);
    if (o->phase == ROLE_LEADING) leader_synced(&o->leader, n->synced);
    if (o->phase == ROLE_LEARNING) learner_synced(&o->learner, n->synced);
}

/* --- requests that wait for the leader --- */

static struct role_wait *role_wait_push(struct node *n, uint32_t conn) {
    struct role *o = role_of(n);
    if (o->wait_n == o->wait_cap)
        o->waiting = ring_grow(o->waiting, sizeof *o->waiting, &o->wait_head, &o->wait_cap, 64);
    struct role_wait *w = &o->waiting[(o->wait_head + o->wait_n++) & (o->wait_cap - 1)];
    struct conn *c = node_conn(n, conn);
    struct role_wait fresh = {.conn = conn, .gen = c->gen, .ready_at = -1, .after = n->appended,
                              .received = n->now};
    *w = fresh;
    node_conn_submitted(n, c);
    return w;
}

ZK_PRIVATE void role_barrier(struct node *n, uint32_t conn) {
    if (n->role.wait_n) role_wait_push(n, conn)->ready_at = 0;
}

ZK_PRIVATE void role_forward(struct node *n, const struct pipeline_request *q) {
    struct role *o = role_of(n);
    struct conn *c = node_conn(n, q->conn);
    struct role_wait *w = role_wait_push(n, q->conn);
    w->session = q->session;
    w->xid = q->xid;
    w->op = q->op;
    w->large = pipeline_take_large(n, q->body);
    n->stats.requests++;
    if (!prep_readable(q->op, q->body)) {
        w->err = ZERR_MARSHALLINGERROR; /* a stock leader would stop at it for ever */
        w->ready_at = 0;
        role_answer(n);
        return;
    }
    if (q->op == ZOP_SYNC) {
        w->body = blob_copy(q->body);
    }
    bool session = q->op == ZOP_CREATE_SESSION;
    learner_request(&o->learner, q->session, q->xid, q->op, q->body,
                    session ? slice_of(NULL, 0) : buf_slice(&c->auth.ids),
                    session ? 0 : c->auth.count);
}

ZK_PRIVATE void role_close_session(struct node *n, int64_t session) {
    struct slice nothing = slice_of(NULL, 0);
    learner_request(&role_of(n)->learner, session, 0, ZOP_CLOSE_SESSION, nothing, nothing, 0);
}

ZK_PRIVATE void role_claim(struct node *n, struct pending *p) {
    struct role *o = role_of(n);
    if (!role_learns(n)) return;
    role_answer(n); /* what was due before this transaction must not hide who waits for it */
    if (!o->wait_n) return;
    struct role_wait *w = &o->waiting[o->wait_head];
    struct jr r = jr_open(slice_of(p->blob->p + p->off, p->len), UINT32_MAX);
    struct txn_header h = jr_txn_header(&r);
    if (w->ready_at >= 0 || w->op == ZOP_SYNC || w->session != h.client_id || w->xid != h.cxid)
        return;
    /* Of a session that has moved here an older request may have the same cxid: it was proposed
     * before the leader let the session move. */
    if (p->zxid <= w->after) return;
    /* An expiry has cxid 0, which a client's write may have, too. */
    if (h.type == ZOP_CLOSE_SESSION && w->op != ZOP_CLOSE_SESSION) return;
    p->conn = w->conn;
    p->conn_gen = w->gen;
    p->xid = w->xid;
    p->op = w->op;
    p->received = w->received;
    p->large = w->large;
    if (h.type == ZOP_ERROR) p->err = jr_i32(&r);
    o->wait_head = (o->wait_head + 1) & (o->wait_cap - 1);
    o->wait_n--;
}

ZK_PRIVATE void role_answer(struct node *n) {
    struct role *o = role_of(n);
    while (o->wait_n) {
        struct role_wait w = o->waiting[o->wait_head];
        if (w.ready_at < 0 || n->db.last_zxid < w.ready_at) return;
        o->wait_head = (o->wait_head + 1) & (o->wait_cap - 1);
        o->wait_n--;
        n->large_in_flight -= w.large;
        struct conn *c = &n->conns[w.conn];
        bool there = c->phase != CONN_FREE && c->gen == w.gen;
        if (there) serve_due(n, w.conn);
        if (there) node_conn_completed(n, c);
        if (there && c->phase == CONN_OPEN) {
            if (w.err)
                reply_error(n, w.conn, w.xid, n->db.last_zxid, w.err);
            else if (w.op == ZOP_SYNC)
                reads_serve(n, w.conn, w.xid, w.op, slice_of(w.body->p, w.body->n));
            int64_t budget = n->budget; /* of the connection being served, if any */
            if (buf_len(&c->deferred) || buf_len(&c->in)) serve_run(n, w.conn);
            n->budget = budget;
        }
        blob_unref(w.body);
    }
}

/* --- what the pipeline reports --- */

ZK_PRIVATE void role_appended(struct node *n, const struct pending *p) {
    struct role *o = role_of(n);
    if (o->phase == ROLE_ALONE) return;
    history_add(&o->history, p->zxid, p->blob, p->off, p->len);
    if (o->phase == ROLE_LEADING)
        leader_propose(&o->leader, p->zxid, slice_of(p->blob->p + p->off, p->len));
}

ZK_PRIVATE void role_applied(struct node *n, int64_t zxid) {
    if (n->role.phase != ROLE_ALONE) history_commit(&n->role.history, zxid);
}

/* --- links --- */

ZK_PRIVATE uint32_t role_link_accept(struct node *n, enum link_kind kind) {
    struct role *o = role_of(n);
    if (o->phase == ROLE_ALONE || (kind == LINK_QUORUM && o->phase != ROLE_LEADING))
        return LINK_NONE;
    uint32_t id = link_accepted(&o->links, kind, n->now);
    if (kind == LINK_QUORUM)
        leader_accepted(&o->leader, id, n->now);
    else if (election_accepted(&o->election, id, n->now))
        role_decided(n);
    return id;
}

ZK_PRIVATE void role_link_opened(struct node *n, uint32_t link) {
    struct role *o = role_of(n);
    const struct link *k = link_at(&o->links, link);
    link_opened(&o->links, link);
    if (k->phase != LINK_OPEN) return;
    if (k->kind == LINK_QUORUM) {
        if (link == o->learner.link) learner_opened(&o->learner, n->now);
    } else if (election_opened(&o->election, link, n->now)) {
        role_decided(n);
    }
}

ZK_PRIVATE void role_link_bytes(struct node *n, uint32_t link, struct slice bytes) {
    struct role *o = role_of(n);
    if (!link_received(&o->links, link, bytes)) return;
    if (link_at(&o->links, link)->kind == LINK_QUORUM) {
        if (link == o->learner.link) learner_heard(&o->learner, n->now);
    } else if (election_input(&o->election, link, n->now)) {
        role_decided(n);
    }
}

ZK_PRIVATE void role_link_closed(struct node *n, uint32_t link) {
    struct role *o = role_of(n);
    bool decided = false;
    if (link_at(&o->links, link)->kind == LINK_ELECTION)
        decided = election_closed(&o->election, link, n->now);
    else if (link == o->learner.link)
        learner_closed(&o->learner, n->now);
    else
        leader_closed(&o->leader, link);
    link_gone(&o->links, link);
    if (decided) role_decided(n);
}

ZK_PRIVATE void role_listen_failed(struct node *n) {
    if (n->role.phase == ROLE_LEADING) role_leave(n, "the quorum port cannot be bound");
}

static void role_pass_effects(struct node *n) {
    static const enum node_output_kind kinds[] = {[LINK_DIAL] = NODE_LINK_DIAL,
                                                  [LINK_SEND] = NODE_LINK_SEND,
                                                  [LINK_CLOSE] = NODE_LINK_CLOSE};
    struct link_effect e;
    while (link_take_effect(&n->role.links, &e)) node_output(n, kinds[e.kind])->link = e.link;
}

/* --- time, and the turn of the machines --- */

/* A leader that waits for its quorum while a voter looks elsewhere. stock: maxTimeToWaitForEpoch */
static void role_disloyal(struct node *n) {
    struct role *o = role_of(n);
    int64_t most = n->cfg->leader_epoch_wait_ms;
    if (most < 0 || o->leader.phase != LEADER_DISCOVERY || !o->election.voter_looked) return;
    if (n->now - o->leader.since > most) role_leave(n, "a voter looks for another leader");
}

ZK_PRIVATE void role_tick(struct node *n) {
    struct role *o = role_of(n);
    if (o->phase == ROLE_ALONE) return;
    if (election_tick(&o->election, n->now)) role_decided(n);
    if (o->phase == ROLE_LEADING) {
        leader_tick(&o->leader, n->now);
        role_disloyal(n);
    }
    if (o->phase == ROLE_LEARNING) learner_tick(&o->learner, n->now);
}

ZK_PRIVATE int64_t role_next_tick(const struct node *n) {
    const struct role *o = &n->role;
    if (o->phase == ROLE_ALONE) return INT64_MAX;
    int64_t next = election_next_tick(&o->election), other = INT64_MAX;
    if (o->phase == ROLE_LEADING) other = leader_next_tick(&o->leader);
    if (o->phase == ROLE_LEARNING) other = learner_next_tick(&o->learner);
    if (o->phase == ROLE_DRAINING && o->look_at > n->now) other = o->look_at;
    return other < next ? other : next;
}

ZK_PRIVATE bool role_idle_work(struct node *n) {
    if (n->role.phase != ROLE_LEADING) return false;
    bool more = leader_image_step(&n->role.leader);
    role_pass_effects(n);
    return more;
}

ZK_PRIVATE void role_settle(struct node *n) {
    struct role *o = role_of(n);
    enum role_phase before;
    if (o->phase == ROLE_ALONE || !n->loaded) return;
    do {
        before = o->phase;
        if (o->phase == ROLE_LEADING) role_lead(n);
        if (o->phase == ROLE_LEARNING) role_learn(n);
        if (o->phase == ROLE_DRAINING) role_drain(n);
    } while (o->phase != before);
    role_pass_effects(n);
}
