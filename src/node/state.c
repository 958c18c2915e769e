#include "node/state.h"

#include "node/role.h"
#include "state/path.h"

#define NODE_OUT_KEEP 65536u /* larger output buffers are freed when drained */

ZK_PRIVATE void node_state_init(struct node *n, const struct config *cfg, uint64_t seed,
                                int64_t now, int64_t wall) {
    memset(n, 0, sizeof *n);
    n->cfg = cfg;
    n->rng.state = seed;
    n->now = n->started = now;
    n->wall = wall;
    n->tick = cfg->tick_time_ms > 0 ? cfg->tick_time_ms : 1;
    n->min_timeout = cfg->min_session_timeout_ms;
    n->max_timeout = cfg->max_session_timeout_ms;
    n->max_frame = (uint32_t)cfg->jute_max_buffer;
    uint64_t most = (uint64_t)n->max_frame + (uint32_t)cfg->jute_extra_size;
    n->max_string = most > INT32_MAX ? INT32_MAX : (uint32_t)most;
    n->free_conns = n->free_ips = CONN_NONE;
    n->log.max_level = LOG_INFO_LEVEL;
    n->auth_cfg.digest_enabled = cfg->digest_auth;
    n->auth_cfg.super_digest = cfg->super_digest ? slice_str(cfg->super_digest) : slice_of("", 0);
    n->stats.latency_min = INT64_MAX;
    n->stats.last_response = n->stats.min_response = n->stats.max_response = -1;
    n->trace_mask = 306;
    n->last_snapshot_zxid = -1;
    db_init(&n->db, prng_next(&n->rng), n->tick, now);
    n->db.tree.extended_types = cfg->extended_types;
    n->db.tree.emulate353 = cfg->emulate353;
    watch_init(&n->watches, prng_next(&n->rng));
    metrics_init(&n->metrics, prng_next(&n->rng));
    role_init(n);
}

ZK_PRIVATE void node_prepare(struct node *n) {
    struct prep_config pc = {.skip_acl = n->cfg->skip_acl,
                             .enforce_quota = n->cfg->enforce_quota,
                             .digest = n->cfg->digest_enabled,
                             .digest_auth = n->cfg->digest_auth,
                             .reconfig = n->cfg->reconfig_enabled,
                             .max_record = n->max_string};
    prep_init(&n->prep, &n->db, &pc);
}

ZK_PRIVATE void node_state_free(struct node *n) {
    for (uint32_t i = 0; i < n->n_conns; i++)
        if (n->conns[i].phase != CONN_FREE) node_conn_drop(n, i);
    struct node_output out;
    while (node_take_output(n, &out)) buf_free(&out.owned);
    for (uint32_t i = 0; i < n->pend_n; i++) {
        blob_unref(n->pending[(n->pend_head + i) & (n->pend_cap - 1)].blob);
        blob_unref(n->pending[(n->pend_head + i) & (n->pend_cap - 1)].body);
    }
    for (uint32_t i = 0; i < n->pool_n; i++) buf_free(&n->pool[i]);
    blob_unref(n->log_blob);
    role_free(n);
    txn_out_free(&n->db, &n->applied);
    prep_free(&n->prep);
    watch_free(&n->watches);
    metrics_free(&n->metrics);
    mem_free(n->digests);
    db_free(&n->db);
    mem_free(n->conns);
    mem_free(n->ip_counts);
    map_free(&n->per_ip);
    mem_free(n->outputs);
    mem_free(n->pending);
    buf_free(&n->ready);
    buf_free(&n->stalled);
    buf_free(&n->reaping);
    buf_free(&n->scratch);
    buf_free(&n->hits);
    buf_free(&n->log.lines);
    memset(n, 0, sizeof *n);
}

/* --- outputs --- */

ZK_PRIVATE struct node_output *node_output(struct node *n, enum node_output_kind kind) {
    if (n->out_n == n->out_cap)
        n->outputs = ring_grow(n->outputs, sizeof *n->outputs, &n->out_head, &n->out_cap, 64);
    struct node_output *o = &n->outputs[(n->out_head + n->out_n++) & (n->out_cap - 1)];
    memset(o, 0, sizeof *o);
    o->kind = kind;
    return o;
}

ZK_PRIVATE bool node_take_output(struct node *n, struct node_output *out) {
    if (!n->out_n) return false;
    *out = n->outputs[n->out_head];
    n->out_head = (n->out_head + 1) & (n->out_cap - 1);
    n->out_n--;
    return true;
}

/* --- connections --- */

static uint64_t node_addr_hash(const struct net_addr *a) {
    return slice_hash(slice_of(a->ip, a->ip_len), a->ip_len);
}

static uint32_t node_ip_find(const struct node *n, const struct net_addr *a) {
    struct map_iter it;
    uint32_t i = map_first(&n->per_ip, node_addr_hash(a), &it);
    for (; i != MAP_NONE; i = map_next(&n->per_ip, &it)) {
        const struct net_addr *b = &n->ip_counts[i].addr;
        if (b->ip_len == a->ip_len && memcmp(b->ip, a->ip, a->ip_len) == 0) return i;
    }
    return MAP_NONE;
}

ZK_PRIVATE uint32_t node_ip_count(const struct node *n, const struct net_addr *addr) {
    uint32_t i = node_ip_find(n, addr);
    return i == MAP_NONE ? 0 : n->ip_counts[i].count;
}

static void node_ip_add(struct node *n, const struct net_addr *a) {
    uint32_t i = node_ip_find(n, a);
    if (i == MAP_NONE) {
        i = n->free_ips;
        if (i != CONN_NONE) {
            n->free_ips = n->ip_counts[i].next_free;
        } else {
            if (n->n_ips == n->cap_ips) {
                n->cap_ips = n->cap_ips ? n->cap_ips * 2 : 16;
                n->ip_counts = mem_realloc(n->ip_counts, sizeof *n->ip_counts * n->cap_ips);
            }
            i = n->n_ips++;
        }
        n->ip_counts[i].addr = *a;
        n->ip_counts[i].count = 0;
        map_add(&n->per_ip, node_addr_hash(a), i);
    }
    n->ip_counts[i].count++;
}

static void node_ip_del(struct node *n, const struct net_addr *a) {
    uint32_t i = node_ip_find(n, a);
    ZK_ASSERT(i != MAP_NONE);
    if (--n->ip_counts[i].count) return;
    (void)map_del(&n->per_ip, node_addr_hash(a), i);
    n->ip_counts[i].next_free = n->free_ips;
    n->free_ips = i;
}

ZK_PRIVATE uint32_t node_conn_pending(const struct conn *c) {
    return c->submitted - c->completed;
}

ZK_PRIVATE void node_conn_submitted(struct node *n, struct conn *c) {
    c->submitted++;
    n->in_process++;
}

ZK_PRIVATE void node_conn_completed(struct node *n, struct conn *c) {
    c->completed++;
    n->in_process--;
}

ZK_PRIVATE struct conn *node_conn(struct node *n, uint32_t id) {
    ZK_ASSERT(id < n->n_conns && n->conns[id].phase != CONN_FREE);
    return &n->conns[id];
}

ZK_PRIVATE uint32_t node_conn_add(struct node *n, const struct net_addr *addr) {
    uint32_t id = n->free_conns, gen = 0;
    if (id != CONN_NONE) {
        n->free_conns = n->conns[id].next_free;
        gen = n->conns[id].gen;
    } else {
        ZK_ASSERT(n->n_conns < WATCH_CONN_MAX - 1);
        if (n->n_conns == n->cap_conns) {
            n->cap_conns = n->cap_conns ? n->cap_conns * 2 : 64;
            n->conns = mem_realloc(n->conns, sizeof *n->conns * n->cap_conns);
        }
        id = n->n_conns++;
    }
    struct conn *c = &n->conns[id];
    bool ready = gen && c->ready; /* its last use may still be in the list */
    memset(c, 0, sizeof *c);
    c->ready = ready;
    c->phase = CONN_NEW;
    c->gen = gen + 1;
    c->addr = *addr;
    c->session_slot = SESSION_NONE;
    c->last_io = c->phase_since = n->now;
    c->established = n->wall;
    c->last_cxid = -1;
    node_ip_add(n, addr);
    n->live_conns++;
    return id;
}

ZK_PRIVATE void node_buf_take(struct node *n, struct buf *b) {
    if (!b->p && n->pool_n) *b = n->pool[--n->pool_n];
}

ZK_PRIVATE void node_buf_give(struct node *n, struct buf *b) {
    if (b->p && b->cap <= NODE_OUT_KEEP && n->pool_n < sizeof n->pool / sizeof n->pool[0]) {
        buf_clear(b);
        n->pool[n->pool_n++] = *b;
        memset(b, 0, sizeof *b);
    } else {
        buf_free(b);
    }
}

ZK_PRIVATE void node_conn_forget(struct node *n, uint32_t id) {
    struct conn *c = node_conn(n, id);
    c->n_deferred = 0;
    node_buf_give(n, &c->deferred);
    buf_free(&c->in);
    buf_free(&c->arrivals);
}

ZK_PRIVATE void node_conn_drop(struct node *n, uint32_t id) {
    struct conn *c = node_conn(n, id);
    watch_drop_conn(&n->watches, id);
    if (c->session_slot != SESSION_NONE && n->db.sessions.slots[c->session_slot].conn == id)
        n->db.sessions.slots[c->session_slot].conn = SESSION_NONE;
    node_ip_del(n, &c->addr);
    auth_free(&c->auth);
    node_conn_forget(n, id);
    n->in_process -= node_conn_pending(c);
    node_buf_give(n, &c->out);
    c->phase = CONN_FREE;
    c->next_free = n->free_conns;
    n->free_conns = id;
    n->live_conns--;
    ZK_ASSERT(n->live_conns || !n->in_process);
}

ZK_PRIVATE struct buf *node_conn_out(struct node *n, uint32_t id) {
    struct conn *c = node_conn(n, id);
    node_buf_take(n, &c->out);
    buf_compact(&c->out);
    if (!c->dirty) {
        c->dirty = true;
        node_output(n, NODE_SEND)->conn = id;
    }
    return &c->out;
}

ZK_PRIVATE void node_conn_ready(struct node *n, uint32_t id) {
    struct conn *c = node_conn(n, id);
    if (c->ready) return;
    c->ready = true;
    buf_put(&n->ready, &id, sizeof id);
}

ZK_PRIVATE void node_conn_sent(struct node *n, uint32_t id, size_t bytes) {
    struct conn *c = node_conn(n, id);
    n->stats.bytes_sent += (int64_t)bytes;
    buf_consume(&c->out, bytes);
    c->dirty = false;
    bool waits = buf_len(&c->in) || buf_len(&c->deferred);
    if (waits && buf_len(&c->out) < NODE_OUT_PAUSE) node_conn_ready(n, id);
    if (!buf_len(&c->out)) node_buf_give(n, &c->out);
}

ZK_PRIVATE void node_addr_format(const struct net_addr *a, struct buf *out) {
    char text[ACL_IP_TEXT];
    acl_ip_format(text, a->ip, a->ip_len);
    buf_printf(out, "/%s:%u", text, (unsigned)a->port);
}
