#include "node/node.h"

#include "node/pipeline.h"
#include "node/role.h"
#include "node/serve.h"
#include "node/throttle.h"

#define NODE_IDLE_CHECK_MS 1000

static int64_t node_later(const struct node *n, int64_t ms) {
    return ms > INT64_MAX / 2 ? INT64_MAX / 2 : n->now + (ms > 0 ? ms : 1);
}

ZK_PRIVATE void node_start(struct node *n, bool snapshot) {
    node_prepare(n);
    n->appended = n->synced = n->db.last_zxid;
    n->loaded = true;
    n->serving = n->role.phase == ROLE_ALONE;
    n->roll_next = true; /* a start never appends to an old file */
    session_touch_all(&n->db.sessions, n->now);
    /* stock: SessionTrackerImpl.initializeNextSessionId; wall clock, so that no reboot repeats */
    uint64_t sid = n->role.phase == ROLE_ALONE ? 1 : (uint64_t)n->role.self;
    n->next_session = (int64_t)(((uint64_t)n->wall << 24 >> 8) | sid << 56);
    n->reap_next = node_later(n, n->cfg->container_check_interval_ms);
    throttle_start(n);
    pipeline_draw_roll(n);
    if (n->role.phase != ROLE_ALONE)
        role_start(n); /* becoming part of an ensemble costs no snapshot */
    else if (snapshot)
        pipeline_snapshot_begin(n);
}

ZK_PRIVATE void node_epochs(struct node *n, int64_t accepted, int64_t current) {
    n->role.accepted = accepted;
    n->role.current = current;
}

ZK_PRIVATE uint32_t node_link_accept(struct node *n, enum link_kind kind, int64_t now,
                                     int64_t wall) {
    n->now = now;
    n->wall = wall;
    return n->loaded ? role_link_accept(n, kind) : LINK_NONE;
}

ZK_PRIVATE const struct link *node_link(struct node *n, uint32_t link) {
    return link_at(&n->role.links, link);
}

ZK_PRIVATE bool node_link_wants(const struct node *n, uint32_t link) {
    return link_wants(&n->role.links, link);
}

ZK_PRIVATE void node_link_sent(struct node *n, uint32_t link, size_t bytes) {
    link_sent(&n->role.links, link, bytes);
}

/* --- what time brings --- */

static void node_expire(struct node *n) {
    struct session_table *t = &n->db.sessions;
    for (uint32_t s; (s = session_expired(t, n->now)) != SESSION_NONE;) {
        struct session *e = &t->slots[s];
        if (e->closing) continue; /* only its transaction has not been applied yet */
        const struct conn *c = e->conn == CONN_NONE ? NULL : &n->conns[e->conn];
        if (c && buf_len(&c->in) && node_conn_pending(c)) {
            session_touch(t, s, n->now, c->timeout); /* it waits for us, not we for it */
            continue;
        }
        n->stats.sessions_expired++;
        log_line(&n->log, LOG_INFO_LEVEL, "Expiring session 0x%llx, timeout of %dms exceeded",
                 (unsigned long long)e->id, e->timeout);
        pipeline_close_session(n, e->id);
    }
}

/* Whether a childless container or TTL node has outlived its purpose. stock: ContainerManager */
static bool node_reapable(const struct node *n, uint32_t id) {
    const struct tree_node *z = tree_node(&n->db.tree, id);
    if (z->children) return false;
    int64_t unused = n->wall - z->stat.mtime, never = n->cfg->container_max_never_used_ms;
    if (idset_has(&n->db.tree.ttls, id)) return unused > tree_ttl_ms(z->stat.owner);
    if (!idset_has(&n->db.tree.containers, id)) return false;
    return z->stat.cversion > 0 || (never != 0 && unused > never);
}

static void node_reap_find(struct node *n, const struct idset *set) {
    uint32_t pos = 0, id;
    while (idset_next(set, &pos, &id)) {
        if (!node_reapable(n, id)) continue;
        size_t at = n->reaping.n;
        jw_i32(&n->reaping, 0);
        tree_put_path(&n->db.tree, id, &n->reaping);
        put_be32(n->reaping.p + at, (uint32_t)(n->reaping.n - at - 4));
    }
}

/* One after the other, no closer to each other than the rate allows. */
static void node_reap(struct node *n) {
    int64_t most = n->cfg->container_max_per_minute;
    int64_t apart = most > 0 ? 60000 / most : 60000;
    if (n->now >= n->reap_next && !buf_len(&n->reaping)) {
        n->reap_next = node_later(n, n->cfg->container_check_interval_ms);
        node_reap_find(n, &n->db.tree.containers);
        node_reap_find(n, &n->db.tree.ttls);
    }
    while (buf_len(&n->reaping) && n->now >= n->reap_at) {
        struct slice left = buf_slice(&n->reaping);
        size_t len = be32(left.p) + (size_t)4;
        /* Meanwhile the path may have become somebody else's. */
        uint32_t id = tree_lookup(&n->db.tree, slice_of(left.p + 4, len - 4));
        struct pipeline_request q = {.conn = CONN_NONE, .op = ZOP_DELETE_CONTAINER,
                                     .body = slice_of(left.p, len), .internal = true};
        bool due = id != TREE_NONE && node_reapable(n, id);
        if (due) pipeline_submit(n, &q);
        if (due) n->reap_at = n->now + apart;
        buf_consume(&n->reaping, len);
    }
    if (!buf_len(&n->reaping)) buf_free(&n->reaping);
}

static void node_tick(struct node *n) {
    serve_keep_stalled(n);
    if (n->loaded && role_decides(n)) {
        node_expire(n);
        node_reap(n);
    }
    role_tick(n);
    serve_idle(n);
}

ZK_PRIVATE int64_t node_next_tick(const struct node *n) {
    int64_t next = n->now + NODE_IDLE_CHECK_MS, role = role_next_tick(n);
    if (role < next) next = role;
    if (!n->loaded || !role_decides(n)) return next;
    if (n->db.sessions.next_due < next) next = n->db.sessions.next_due;
    int64_t reap = buf_len(&n->reaping) ? n->reap_at : n->reap_next;
    return reap < next ? reap : next;
}

/* --- inputs --- */

static void node_snapshot_done(struct node *n) {
    n->snap.active = false;
    n->stats.snapshots++;
    metrics_add(&n->metrics.snapshot_ms, n->now - n->snap.started);
    n->last_snapshot_zxid = n->snap.zxid;
    n->last_snapshot_wall = n->wall;
    log_line(&n->log, LOG_INFO_LEVEL, "Snapshot taken in %lld ms",
             (long long)(n->now - n->snap.started));
}

/* The log has everything that the snapshot would have had: the next one will do. */
static void node_snapshot_failed(struct node *n) {
    if (n->snap.active && !n->snap.finishing) tree_image_abort(&n->db.tree);
    n->snap.active = false;
    n->stats.snapshots_failed++;
}

ZK_PRIVATE uint32_t node_accept(struct node *n, const struct net_addr *addr, int64_t now,
                                int64_t wall) {
    n->now = now;
    n->wall = wall;
    return serve_open(n, addr);
}

ZK_PRIVATE void node_step(struct node *n, const struct node_input *in) {
    n->now = in->now;
    n->wall = in->wall;
    switch (in->kind) {
    case NODE_TICK:
        node_tick(n);
        break;
    case NODE_CONN_BYTES:
        serve_bytes(n, in->conn, in->bytes);
        break;
    case NODE_CONN_CLOSED:
        serve_lost(n, in->conn);
        break;
    case NODE_LOG_SYNCED:
        pipeline_synced(n, in->zxid);
        break;
    case NODE_SNAPSHOT_ROOM:
        n->snap.blocked = false;
        break;
    case NODE_SNAPSHOT_DONE:
        node_snapshot_done(n);
        role_snapshot_over(n, false);
        break;
    case NODE_SNAPSHOT_FAILED:
        node_snapshot_failed(n);
        role_snapshot_over(n, true);
        break;
    case NODE_LINK_OPENED:
        role_link_opened(n, in->link);
        break;
    case NODE_LINK_BYTES:
        role_link_bytes(n, in->link, in->bytes);
        break;
    case NODE_LINK_CLOSED:
        role_link_closed(n, in->link);
        break;
    case NODE_LISTEN_FAILED:
        role_listen_failed(n);
        break;
    case NODE_EPOCH_SAVED:
        role_epoch_saved(n);
        break;
    case NODE_LOG_READ:
        role_log_read(n, in->bytes);
        break;
    case NODE_LOADED:
        role_loaded(n, in->db);
        break;
    }
    role_settle(n);
    pipeline_flush(n);
}

ZK_PRIVATE bool node_idle_work(struct node *n) {
    bool turn = serve_turn(n), image = role_idle_work(n);
    serve_stalled(n);
    role_settle(n); /* what was served has to leave for the leader or the learners */
    pipeline_flush(n);
    return pipeline_snapshot_step(n) || turn || image;
}
