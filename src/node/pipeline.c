#include "node/pipeline.h"

#include "base/sum.h"
#include "node/reads.h"
#include "node/role.h"
#include "node/serve.h"
#include "state/path.h"
#include "store/logfile.h"
#include "store/snapfile.h"

#define PIPELINE_BLOB 262144u       /* records share blobs of this size */
#define PIPELINE_SNAP_CHUNK 262144u /* snapshot bytes per output */
#define PIPELINE_XID_AUTH (-4)
#define PIPELINE_STAT_DATA_LEN 52 /* where dataLength stands in a Stat */
#define PIPELINE_SNAP_NODES 256u    /* nodes per slice of the walk */
#define PIPELINE_SNAP_BUSY_MS 100   /* so long after a write there is one slice a millisecond */

/* --- frames to clients --- */

ZK_PRIVATE size_t reply_begin(struct buf *out) {
    size_t at = out->n;
    (void)buf_grow(out, 20);
    return at;
}

ZK_PRIVATE void reply_end(struct node *n, uint32_t conn, size_t at, int32_t xid, int64_t zxid,
                          int32_t err) {
    struct buf *out = &node_conn(n, conn)->out;
    uint8_t *p = out->p + at;
    put_be32(p, (uint32_t)(out->n - at - 4));
    put_be32(p + 4, (uint32_t)xid);
    put_be64(p + 8, (uint64_t)zxid);
    put_be32(p + 16, (uint32_t)err);
    int64_t len = (int64_t)(out->n - at - 4);
    struct node_stats *st = &n->stats;
    if (xid == XID_EVENT) st->watch_bytes += len;
    if (xid != XID_EVENT && xid != XID_PING && xid != PIPELINE_XID_AUTH) st->response_bytes += len;
    if (xid <= 0) return; /* stock: ServerCnxn.serialize */
    st->last_response = len;
    if (st->min_response < 0 || len < st->min_response) st->min_response = len;
    if (len > st->max_response) st->max_response = len;
}

ZK_PRIVATE void reply_count(struct node *n, uint32_t conn, int32_t xid, int32_t op, int64_t zxid,
                            int64_t received) {
    struct conn *c = node_conn(n, conn);
    struct node_stats *st = &n->stats;
    int64_t ms = n->now - received;
    if (ms < 0) ms = 0;
    if (op != ZOP_CREATE_SESSION) { /* its answer is the handshake's, counted there */
        c->sent++;
        st->sent++;
    }
    if (!op) return; /* stock: what is answered outside the request processors leaves no trace */
    c->last_op = op;
    if (xid >= 0 && xid > c->last_cxid) c->last_cxid = xid;
    c->last_zxid = zxid;
    c->last_response = n->now;
    c->last_latency = ms;
    if (ms > c->max_latency) c->max_latency = ms;
    if (c->reset ? c->latency_count == 0 || ms < c->min_latency : ms < c->min_latency)
        c->min_latency = ms;
    c->latency_sum += ms;
    c->latency_count++;
    if (ms < st->latency_min) st->latency_min = ms;
    if (ms > st->latency_max) st->latency_max = ms;
    st->latency_sum += ms;
    st->latency_count++;
    bool write = (wire_op_flags(op) & OP_WRITE) != 0;
    metrics_sample(&n->metrics, write ? &n->metrics.update_ms : &n->metrics.read_ms, ms);
}

ZK_PRIVATE void reply_error(struct node *n, uint32_t conn, int32_t xid, int64_t zxid,
                            int32_t err) {
    struct buf *out = node_conn_out(n, conn);
    size_t at = reply_begin(out);
    reply_end(n, conn, at, xid, zxid, err);
}

ZK_PRIVATE void event_send(struct node *n, uint32_t conn, int32_t type, struct slice path,
                           int64_t zxid) {
    struct buf *out = node_conn_out(n, conn);
    size_t at = reply_begin(out);
    jw_i32(out, type);
    jw_i32(out, EVENT_STATE_CONNECTED);
    jw_bytes(out, path);
    reply_end(n, conn, at, XID_EVENT, zxid, 0);
    node_conn(n, conn)->sent++;
    n->stats.sent++;
}

ZK_PRIVATE void reply_connect(struct node *n, uint32_t conn, bool accepted) {
    struct conn *c = node_conn(n, conn);
    struct buf *out = node_conn_out(n, conn);
    uint8_t passwd[16] = {0};
    if (accepted) sum_session_passwd(c->session, passwd);
    jw_i32(out, c->old_handshake ? 36 : 37);
    jw_i32(out, 0);
    jw_i32(out, accepted ? c->timeout : 0);
    jw_i64(out, accepted ? c->session : 0);
    jw_bytes(out, slice_of(passwd, sizeof passwd));
    if (!c->old_handshake) jw_u8(out, 0);
    c->sent++;
    n->stats.sent++;
}

/* --- into the log --- */

static struct pending *pipeline_push(struct node *n) {
    if (n->pend_n == n->pend_cap)
        n->pending = ring_grow(n->pending, sizeof *n->pending, &n->pend_head, &n->pend_cap, 256);
    struct pending *p = &n->pending[(n->pend_head + n->pend_n++) & (n->pend_cap - 1)];
    memset(p, 0, sizeof *p);
    p->conn = CONN_NONE;
    return p;
}

ZK_PRIVATE void pipeline_draw_roll(struct node *n) {
    int64_t half = n->cfg->snap_count / 2, kb = n->cfg->snap_size_limit_kb;
    n->roll_at_records = half + (half ? (int64_t)prng_below(&n->rng, (uint64_t)half) : 0);
    n->roll_at_bytes = INT64_MAX;
    if (kb > 0) {
        int64_t bytes = kb > INT64_MAX / 2048 ? INT64_MAX / 2 : kb * 512;
        n->roll_at_bytes = bytes + (int64_t)prng_below(&n->rng, (uint64_t)bytes);
    }
}

/* When enough has been logged the next record starts a new file and a snapshot begins. */
static void pipeline_maybe_roll(struct node *n) {
    int64_t limit_kb = n->cfg->txn_log_size_limit_kb;
    if (n->log_records > n->roll_at_records || n->log_bytes > n->roll_at_bytes) {
        n->roll_next = true;
        n->log_records = n->log_bytes = 0;
        pipeline_draw_roll(n);
        pipeline_snapshot_begin(n);
    } else if (limit_kb > 0 && n->file_bytes / 1024 >= limit_kb) {
        n->roll_next = true;
    }
}

/* Frames the transaction for the log and queues it. */
static void pipeline_append(struct node *n, struct pending *p, struct slice body) {
    uint32_t need = (uint32_t)body.n + LOGFILE_ENTRY_OVERHEAD;
    struct blob *b = n->log_blob;
    if (!b || b->cap - b->n < need) {
        blob_unref(b);
        b = n->log_blob = blob_new(need > PIPELINE_BLOB ? need : PIPELINE_BLOB);
    }
    logfile_put_entry(b->p + b->n, body);
    struct node_output *o = node_output(n, NODE_APPEND);
    o->zxid = p->zxid;
    o->bytes = slice_of(b->p + b->n, need);
    o->roll = n->roll_next;
    if (n->roll_next) n->file_bytes = 0;
    n->roll_next = false;
    p->blob = blob_ref(b);
    p->off = b->n + 12;
    p->len = (uint32_t)body.n;
    b->n += need;
    n->appended = p->zxid;
    n->last_append = n->now;
    n->sync_wanted = true;
    n->log_records++;
    n->log_bytes += need;
    n->file_bytes += need;
    role_appended(n, p);
    pipeline_maybe_roll(n);
}

ZK_PRIVATE void pipeline_log(struct node *n, const struct pipeline_txn *t) {
    struct pending *p = pipeline_push(n);
    p->zxid = t->zxid;
    p->op = t->type;
    p->session = t->session;
    p->received = n->now;
    pipeline_append(n, p, t->bytes);
}

/*
 * A leader's sync: what is committed may be ahead of its tree, which waits for its own disk. stock:
 * does not, and answers at once
 */
static void pipeline_sync(struct node *n, const struct pipeline_request *q) {
    struct pending *p = pipeline_push(n);
    struct conn *c = node_conn(n, q->conn);
    p->zxid = n->appended;
    p->conn = q->conn;
    p->conn_gen = c->gen;
    p->xid = q->xid;
    p->op = q->op;
    p->received = n->now;
    p->body = blob_copy(q->body);
    node_conn_submitted(n, c);
    if (n->pend_n == 1) pipeline_apply(n);
}

ZK_PRIVATE uint32_t pipeline_take_large(struct node *n, struct slice body) {
    int32_t threshold = n->cfg->large_request_threshold;
    uint32_t large = threshold > 0 && body.n > (size_t)threshold ? (uint32_t)body.n : 0;
    n->large_in_flight += large;
    return large;
}

ZK_PRIVATE void pipeline_submit(struct node *n, const struct pipeline_request *q) {
    static const struct auth_set nobody = {{NULL, 0, 0, 0}, 0, false};
    struct conn *c = q->conn == CONN_NONE ? NULL : node_conn(n, q->conn);
    struct prep_request req = {.op = q->op, .session = q->session, .cxid = q->xid, .body = q->body,
                               .auth = q->auth ? q->auth : c ? &c->auth : &nobody,
                               .time = n->wall, .internal = q->internal,
                               .forwarded = q->forwarded,
                               .owner = q->forwarded ? q->owner : role_self_owner(n)};
    bool made;
    if (role_learns(n) && c) {
        role_forward(n, q);
        return;
    }
    if (q->op == ZOP_SYNC) {
        pipeline_sync(n, q);
        return;
    }
    if (role_exhausted(n)) { /* the next epoch will serve it */
        if (c) serve_close(n, q->conn);
        return;
    }
    buf_clear(&n->scratch);
    uint64_t refused = n->db.quota.exceeded;
    int err = prep_write(&n->prep, &req, &n->scratch, &made);
    n->stats.requests++;
    if (n->db.quota.exceeded != refused)
        metrics_refused(&n->metrics, buf_slice(&n->db.quota.refused));
    struct pending *p = pipeline_push(n);
    p->zxid = made ? n->prep.zxid : n->appended;
    p->conn = q->conn;
    p->xid = q->xid;
    p->op = q->op;
    p->err = err;
    p->session = q->session;
    p->received = n->now;
    p->large = pipeline_take_large(n, q->body);
    if (c) {
        p->conn_gen = c->gen;
        node_conn_submitted(n, c);
    }
    if (made) pipeline_append(n, p, buf_slice(&n->scratch));
    if (!made && n->pend_n == 1) pipeline_apply(n);
}

/* A place in the order of writes without a write: reads of the connection wait for those before. */
ZK_PRIVATE void pipeline_barrier(struct node *n, uint32_t conn) {
    if (role_learns(n)) {
        role_barrier(n, conn);
        return;
    }
    if (!n->pend_n) return;
    struct pending *p = pipeline_push(n);
    p->zxid = n->appended;
    p->conn = conn;
    p->conn_gen = node_conn(n, conn)->gen;
    p->op = ZOP_NOTIFICATION;
    node_conn_submitted(n, node_conn(n, conn));
}

ZK_PRIVATE void pipeline_close_session(struct node *n, int64_t session) {
    if (role_learns(n)) {
        role_close_session(n, session);
        return;
    }
    struct pipeline_request q = {.conn = CONN_NONE, .op = ZOP_CLOSE_SESSION, .session = session,
                                 .internal = true};
    pipeline_submit(n, &q);
}

ZK_PRIVATE void pipeline_flush(struct node *n) {
    if (!n->sync_wanted) return;
    n->sync_wanted = false;
    node_output(n, NODE_SYNC)->zxid = n->appended;
}

/* --- events --- */

static uint32_t pipeline_hit(const struct buf *hits, size_t at) {
    uint32_t conn;
    memcpy(&conn, hits->p + at, sizeof conn);
    return conn;
}

/* stock: WatchManager.triggerWatch, which counts a table that nobody heard from as nothing */
static void pipeline_count_watchers(struct node *n, int32_t type) {
    struct metrics *m = &n->metrics;
    if (!n->hits.n) return;
    metrics_add(type == EVENT_CREATED ? &m->created
                : type == EVENT_DELETED ? &m->deleted
                : type == EVENT_DATA_CHANGED ? &m->changed : &m->children,
                (int64_t)(n->hits.n / sizeof(uint32_t)));
}

static void pipeline_notify(struct node *n, int32_t type, struct slice path, uint32_t acl,
                            int64_t zxid) {
    for (size_t at = 0; at < n->hits.n; at += sizeof(uint32_t)) {
        uint32_t conn = pipeline_hit(&n->hits, at);
        const struct conn *c = node_conn(n, conn);
        if (c->phase != CONN_OPEN) continue;
        if (n->cfg->skip_acl || acl_allows(&n->db.acls, acl, PERM_READ, &c->auth))
            event_send(n, conn, type, path, zxid);
    }
}

/* The child pass of a delete leaves out those that the data pass has told; both are sorted. */
static void pipeline_subtract(struct buf *hits, const struct buf *told) {
    size_t kept = 0, k = 0;
    for (size_t at = 0; at < hits->n; at += 4) {
        uint32_t conn = pipeline_hit(hits, at);
        while (k < told->n && pipeline_hit(told, k) < conn) k += 4;
        if (k < told->n && pipeline_hit(told, k) == conn) continue;
        memmove(hits->p + 4 * kept++, hits->p + at, 4);
    }
    hits->n = 4 * kept;
}

static void pipeline_event(struct node *n, const struct txn_event *e, int64_t zxid) {
    struct slice path = e->path.n ? e->path : slice_of("/", 1);
    watch_fire_data(&n->watches, path, &n->hits);
    pipeline_count_watchers(n, e->type);
    pipeline_notify(n, e->type, path, e->acl, zxid);
    if (e->type == EVENT_DATA_CHANGED) return;
    if (e->type == EVENT_DELETED && n->watches.n_child) {
        struct buf told = {0};
        buf_put(&told, n->hits.p, n->hits.n);
        watch_fire_child(&n->watches, path, &n->hits);
        pipeline_count_watchers(n, EVENT_DELETED);
        pipeline_subtract(&n->hits, &told);
        pipeline_notify(n, EVENT_DELETED, path, e->acl, zxid);
        buf_free(&told);
    }
    struct slice parent = path_parent(path);
    if (!parent.n) parent = slice_of(path.p, 1);
    watch_fire_child(&n->watches, parent, &n->hits);
    pipeline_count_watchers(n, EVENT_CHILDREN_CHANGED);
    pipeline_notify(n, EVENT_CHILDREN_CHANGED, parent, e->parent_acl, zxid);
}

/* --- replies of writes --- */

static void pipeline_put_result(struct buf *out, const struct txn_result *r) {
    switch (r->type) {
    case ZOP_CREATE:
        jw_bytes(out, r->path);
        break;
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        jw_bytes(out, r->path);
        buf_put(out, r->stat, sizeof r->stat);
        break;
    case ZOP_SET_DATA:
    case ZOP_SET_ACL:
        buf_put(out, r->stat, sizeof r->stat);
        break;
    case ZOP_ERROR:
        jw_i32(out, r->err);
        break;
    default:
        break;
    }
}

static void pipeline_put_multi(struct buf *out, const struct txn_out *o) {
    for (uint32_t i = 0; i < o->n_results; i++) {
        const struct txn_result *r = &o->results[i];
        int32_t type = r->type;
        /* stock: every create that answers with a Stat is reported as create2 */
        if (type == ZOP_CREATE_CONTAINER || type == ZOP_CREATE_TTL) type = ZOP_CREATE2;
        jw_multi_header(out, type, false, r->err);
        pipeline_put_result(out, r);
    }
    jw_multi_header(out, -1, true, -1);
}

static void pipeline_reply(struct node *n, const struct pending *p) {
    int64_t zxid = p->blob ? p->zxid : n->db.last_zxid;
    if (p->op == ZOP_CREATE_SESSION) {
        serve_session_created(n, p->conn);
        reply_count(n, p->conn, p->xid, p->op, zxid, p->received);
        return;
    }
    if (p->body) {
        reads_serve(n, p->conn, p->xid, p->op, slice_of(p->body->p, p->body->n));
        return;
    }
    int32_t err = p->err;
    if (!err && p->op != ZOP_MULTI) err = n->applied.err;
    if (err == ZERR_SESSIONMOVED) { /* its other connection goes on; any answer would be late */
        serve_close(n, p->conn);
        return;
    }
    struct buf *out = node_conn_out(n, p->conn);
    size_t at = reply_begin(out);
    if (!err && p->op == ZOP_MULTI)
        pipeline_put_multi(out, &n->applied);
    else if (!err && n->applied.n_results)
        pipeline_put_result(out, &n->applied.results[0]);
    reply_end(n, p->conn, at, p->xid, zxid, err);
    reply_count(n, p->conn, p->xid, p->op, zxid, p->received);
    if (err) node_conn(n, p->conn)->last_op = 0; /* stock: FinalRequestProcessor */
    if (p->op == ZOP_CLOSE_SESSION) serve_close(n, p->conn);
}

/* --- commit --- */

static void pipeline_check_digest(struct node *n, int64_t zxid) {
    if (!n->cfg->digest_enabled || !n->applied.has_digest) return;
    if (n->applied.digest == n->db.tree.digest) return;
    if (n->stats.digest_mismatches++ == 0)
        log_line(&n->log, LOG_ERROR_LEVEL, "First digest mismatch on txn: 0x%llx",
                 (unsigned long long)zxid);
}

static void pipeline_record_digest(struct node *n, int64_t zxid) {
    if (!n->cfg->digest_enabled || zxid % NODE_DIGEST_INTERVAL) return;
    if (!n->digests) n->digests = mem_alloc(sizeof *n->digests * NODE_DIGESTS);
    struct node_digest d = {zxid, n->db.tree.digest};
    n->digests[n->n_digests++ % NODE_DIGESTS] = d;
}

/* What a transaction wrote where. body: the record of a closeSession lists what it deletes. */
static void pipeline_count_writes(struct node *n, const struct txn_header *h, struct jr body) {
    metrics_sample(&n->metrics, &n->metrics.propagation_ms,
                   n->wall > h->time ? n->wall - h->time : 0);
    for (uint32_t i = 0; i < n->applied.n_results; i++) {
        const struct txn_result *r = &n->applied.results[i];
        if (r->type == ZOP_SET_ACL || r->type == ZOP_CHECK || r->type == ZOP_ERROR) continue;
        bool deleted = r->type == ZOP_DELETE || r->type == ZOP_DELETE_CONTAINER;
        uint32_t len = r->has_stat && !deleted ? be32(r->stat + PIPELINE_STAT_DATA_LEN) : 0;
        metrics_wrote(&n->metrics, r->path, len);
    }
    if (h->type != ZOP_CLOSE_SESSION) return;
    for (int32_t left = jr_count(&body); left > 0 && !body.bad; left--) {
        struct slice path = jr_bytes(&body);
        if (!body.bad && path.p) metrics_wrote(&n->metrics, path, 0);
    }
}

static void pipeline_commit(struct node *n, const struct pending *p) {
    if (p->conn != CONN_NONE && n->conns[p->conn].phase != CONN_FREE &&
        n->conns[p->conn].gen == p->conn_gen)
        serve_due(n, p->conn);
    txn_out_clear(&n->db, &n->applied);
    n->applied.want_events = n->watches.live != 0;
    uint32_t holder = CONN_NONE;
    if (p->op == ZOP_CLOSE_SESSION) {
        uint32_t s = session_find(&n->db.sessions, p->session);
        if (s != SESSION_NONE) holder = n->db.sessions.slots[s].conn;
    }
    if (p->blob) {
        struct jr r = jr_open(slice_of(p->blob->p + p->off, p->len), UINT32_MAX);
        struct txn_header h = jr_txn_header(&r);
        (void)txn_apply(&n->db, &h, slice_of(r.p, (size_t)(r.end - r.p)), &n->applied);
        pipeline_check_digest(n, p->zxid);
        pipeline_record_digest(n, p->zxid);
        pipeline_count_writes(n, &h, r);
        metrics_sample(&n->metrics, &n->metrics.flush_ms, n->now - p->received);
        prep_applied(&n->prep, p->zxid);
        for (uint32_t i = 0; i < n->applied.n_events; i++)
            pipeline_event(n, &n->applied.events[i], p->zxid);
        role_applied(n, p->zxid);
    }
    if (p->conn != CONN_NONE) {
        struct conn *c = &n->conns[p->conn];
        if (c->phase != CONN_FREE && c->gen == p->conn_gen) {
            node_conn_completed(n, c);
            if (c->phase != CONN_CLOSING && p->op != ZOP_NOTIFICATION) pipeline_reply(n, p);
        }
    }
    /* An expired session's connection is closed without a word. stock: closeSession */
    if (holder != CONN_NONE && holder != p->conn) serve_close(n, holder);
}

ZK_PRIVATE void pipeline_synced(struct node *n, int64_t zxid) {
    if (zxid > n->synced) n->synced = zxid;
    role_log_synced(n);
    pipeline_apply(n);
}

/* What waited for the answer to p. */
static void pipeline_resume(struct node *n, const struct pending *p) {
    if (p->conn == CONN_NONE) return;
    struct conn *c = &n->conns[p->conn];
    if (c->phase == CONN_FREE || c->gen != p->conn_gen) return;
    if (buf_len(&c->deferred) || buf_len(&c->in)) serve_run(n, p->conn);
}

ZK_PRIVATE void pipeline_apply(struct node *n) {
    int64_t to = n->synced < n->committed ? n->synced : n->committed;
    while (n->pend_n) {
        struct pending p = n->pending[n->pend_head];
        if (p.zxid > to) break;
        if (p.blob) role_claim(n, &p);
        n->pend_head = (n->pend_head + 1) & (n->pend_cap - 1);
        n->pend_n--;
        n->large_in_flight -= p.large;
        pipeline_commit(n, &p);
        blob_unref(p.blob);
        blob_unref(p.body);
        pipeline_resume(n, &p);
        role_answer(n);
    }
}

/* --- snapshots --- */

static void pipeline_snapshot_emit(struct node *n, struct buf *bytes) {
    if (!buf_len(bytes)) return;
    struct slice s = buf_slice(bytes);
    n->snap.adler = sum_adler32(n->snap.adler, s.p, s.n);
    struct node_output *o = node_output(n, NODE_SNAPSHOT_CHUNK);
    o->owned = *bytes;
    memset(bytes, 0, sizeof *bytes);
}

ZK_PRIVATE void pipeline_snapshot_abort(struct node *n) {
    if (!n->snap.active || n->snap.finishing) return;
    tree_image_abort(&n->db.tree);
    n->snap.active = false;
    (void)node_output(n, NODE_SNAPSHOT_ABORT);
}

ZK_PRIVATE void pipeline_snapshot_begin(struct node *n) {
    if (n->snap.active || n->db.tree.image.active) {
        log_line(&n->log, LOG_WARN_LEVEL, "Too busy to snap, skipping");
        return;
    }
    memset(&n->snap, 0, sizeof n->snap);
    n->snap.active = true;
    n->snap.zxid = n->db.last_zxid;
    n->snap.digest = n->db.tree.digest;
    n->snap.adler = SUM_ADLER32_INIT;
    n->snap.started = n->now;
    node_output(n, NODE_SNAPSHOT_BEGIN)->zxid = n->snap.zxid;
    struct buf head = {0};
    snapfile_put_head(&head, &n->db);
    tree_image_begin(&n->db.tree);
    pipeline_snapshot_emit(n, &head);
}

ZK_PRIVATE bool pipeline_snapshot_step(struct node *n) {
    if (!n->snap.active || n->snap.blocked || n->snap.finishing) return false;
    struct buf *out = &n->db.tree.image.out;
    if (n->now - n->last_append < PIPELINE_SNAP_BUSY_MS && n->now == n->snap.slice_at) return false;
    n->snap.slice_at = n->now;
    bool done = tree_image_step(&n->db.tree, PIPELINE_SNAP_NODES, PIPELINE_SNAP_CHUNK);
    if (done) {
        pipeline_snapshot_emit(n, out);
        struct buf tail = {0};
        snapfile_put_tail(&tail, n->snap.adler, n->snap.zxid, n->snap.digest);
        struct node_output *o = node_output(n, NODE_SNAPSHOT_CHUNK);
        o->owned = tail;
        node_output(n, NODE_SNAPSHOT_END)->zxid = n->snap.zxid;
        n->snap.finishing = true;
        return false;
    }
    if (buf_len(out) >= PIPELINE_SNAP_CHUNK) {
        pipeline_snapshot_emit(n, out);
        n->snap.blocked = true; /* until the host has room again */
    }
    return true;
}
