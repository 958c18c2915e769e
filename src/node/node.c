#include "node/node.h"

#include "node/pipeline.h"
#include "node/serve.h"

#define NODE_IDLE_CHECK_MS 1000

ZK_PRIVATE void node_start(struct node *n, bool snapshot) {
    struct prep_config pc = {.skip_acl = n->cfg->skip_acl,
                             .enforce_quota = n->cfg->enforce_quota,
                             .digest = n->cfg->digest_enabled,
                             .digest_auth = n->cfg->digest_auth,
                             .reconfig = n->cfg->reconfig_enabled,
                             .max_record = n->max_string};
    prep_init(&n->prep, &n->db, &pc);
    n->appended = n->synced = n->db.last_zxid;
    n->serving = true;
    n->roll_next = true; /* a start never appends to an old file */
    session_touch_all(&n->db.sessions, n->now);
    /* stock: SessionTrackerImpl.initializeNextSessionId; wall clock, so that no reboot repeats */
    n->next_session = (int64_t)(((uint64_t)n->wall << 24 >> 8) | (uint64_t)1 << 56);
    n->reap_next = n->now + n->cfg->container_check_interval_ms;
    n->throttle.tokens = n->cfg->connection_throttle_tokens;
    if (n->cfg->connection_throttle_weighted)
        n->throttle.tokens *= n->cfg->connection_throttle_global_weight;
    n->throttle.filled = n->throttle.frozen = n->now;
    pipeline_draw_roll(n);
    if (snapshot) pipeline_snapshot_begin(n);
}

/* --- what time brings --- */

static void node_expire(struct node *n) {
    struct session_table *t = &n->db.sessions;
    for (uint32_t s; (s = session_expired(t, n->now)) != SESSION_NONE;) {
        struct session *e = &t->slots[s];
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
static bool node_reapable(const struct node *n, const struct tree_node *z, bool ttl) {
    if (z->children) return false;
    int64_t unused = n->wall - z->stat.mtime, never = n->cfg->container_max_never_used_ms;
    if (ttl) return unused > tree_ttl_ms(z->stat.owner);
    return z->stat.cversion > 0 || (never != 0 && unused > never);
}

static void node_reap_set(struct node *n, const struct idset *set, bool ttl) {
    struct buf paths = {0};
    uint32_t pos = 0, id;
    int64_t most = n->cfg->container_max_per_minute > 0 ? n->cfg->container_max_per_minute : 1;
    while (most > 0 && idset_next(set, &pos, &id)) {
        if (!node_reapable(n, tree_node(&n->db.tree, id), ttl)) continue;
        most--;
        size_t at = paths.n;
        jw_i32(&paths, 0);
        tree_put_path(&n->db.tree, id, &paths);
        put_be32(paths.p + at, (uint32_t)(paths.n - at - 4));
    }
    for (size_t at = 0; at < paths.n;) {
        size_t len = be32(paths.p + at) + (size_t)4;
        struct pipeline_request q = {.conn = CONN_NONE, .op = ZOP_DELETE_CONTAINER,
                                     .body = slice_of(paths.p + at, len), .internal = true};
        pipeline_submit(n, &q);
        at += len;
    }
    buf_free(&paths);
}

static void node_reap(struct node *n) {
    if (n->now < n->reap_next) return;
    int64_t every = n->cfg->container_check_interval_ms;
    n->reap_next = n->now + (every > 0 ? every : 1);
    node_reap_set(n, &n->db.tree.containers, false);
    node_reap_set(n, &n->db.tree.ttls, true);
}

static void node_tick(struct node *n) {
    if (n->serving) {
        node_expire(n);
        node_reap(n);
    }
    serve_idle(n);
}

ZK_PRIVATE int64_t node_next_tick(const struct node *n) {
    int64_t next = n->now + NODE_IDLE_CHECK_MS;
    if (!n->serving) return next;
    if (n->db.sessions.next_due < next) next = n->db.sessions.next_due;
    if (n->reap_next < next) next = n->reap_next;
    return next;
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

ZK_PRIVATE uint32_t node_accept(struct node *n, const struct node_addr *addr, int64_t now,
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
        break;
    case NODE_SNAPSHOT_FAILED:
        node_snapshot_failed(n);
        break;
    }
    pipeline_flush(n);
}

ZK_PRIVATE bool node_idle_work(struct node *n) {
    bool turn = serve_turn(n);
    pipeline_flush(n);
    return pipeline_snapshot_step(n) || turn;
}
