#include "node/mntr.h"

/* One metric; its table says what type the value has. */
struct mntr_row {
    const char *name;
    size_t offset; /* of the value within struct node; MNTR_NONE: always 0 */
};
#define MNTR_NONE SIZE_MAX
#define MNTR_ROW(name, member) {name, offsetof(struct node, member)}
#define MNTR_ZERO(name) {name, MNTR_NONE}

/* int64_t */
static const struct mntr_row mntr_counters[] = {
    MNTR_ROW("bytes_received_count", stats.bytes_received),
    MNTR_ROW("response_bytes", stats.response_bytes),
    MNTR_ROW("watch_bytes", stats.watch_bytes),
    MNTR_ROW("connection_request_count", stats.connection_requests),
    MNTR_ROW("connection_revalidate_count", stats.revalidated),
    MNTR_ROW("connection_rejected", stats.connections_rejected),
    MNTR_ROW("connection_drop_count", stats.connection_drops),
    MNTR_ROW("sessionless_connections_expired", stats.sessionless_expired),
    MNTR_ROW("stale_sessions_expired", stats.sessions_expired),
    MNTR_ROW("large_requests_rejected", stats.large_rejected),
    MNTR_ROW("throttled_ops", stats.throttled),
    MNTR_ROW("request_throttle_wait_count", stats.throttle_waits),
    MNTR_ROW("stale_requests", stats.stale),
    MNTR_ROW("stale_requests_dropped", stats.stale_dropped),
    MNTR_ROW("digest_mismatches_count", stats.digest_mismatches),
    MNTR_ROW("prep_processor_request_queued", stats.requests),
    MNTR_ROW("sync_processor_request_queued", stats.requests),
    MNTR_ROW("outstanding_changes_queued", prep.queued),
    MNTR_ROW("outstanding_changes_removed", prep.removed),
    MNTR_ROW("snapshot_error_count", stats.snapshots_failed),
    MNTR_ZERO("add_dead_watcher_stall_time"),
    MNTR_ZERO("cnxn_closed_without_zk_server_running"),
    MNTR_ZERO("commit_count"),
    MNTR_ZERO("dead_watchers_cleared"),
    MNTR_ZERO("dead_watchers_queued"),
    MNTR_ZERO("diff_count"),
    MNTR_ZERO("ensemble_auth_fail"),
    MNTR_ZERO("ensemble_auth_skip"),
    MNTR_ZERO("ensemble_auth_success"),
    MNTR_ZERO("insecure_admin_count"),
    MNTR_ZERO("learner_commit_received_count"),
    MNTR_ZERO("learner_proposal_received_count"),
    MNTR_ZERO("looking_count"),
    MNTR_ZERO("proposal_count"),
    MNTR_ZERO("quit_leading_due_to_disloyal_voter"),
    MNTR_ZERO("request_commit_queued"),
    MNTR_ZERO("requests_not_forwarded_to_commit_processor"),
    MNTR_ZERO("response_packet_cache_hits"),
    MNTR_ZERO("response_packet_cache_misses"),
    MNTR_ZERO("response_packet_get_children_cache_hits"),
    MNTR_ZERO("response_packet_get_children_cache_misses"),
    MNTR_ZERO("restore_error_count"),
    MNTR_ZERO("restore_rate_limited_count"),
    MNTR_ZERO("revalidate_count"),
    MNTR_ZERO("skip_learner_request_to_next_processor_count"),
    MNTR_ZERO("snap_count"),
    MNTR_ZERO("snapshot_rate_limited_count"),
    MNTR_ZERO("stale_replies"),
    MNTR_ZERO("tls_handshake_exceeded"),
    MNTR_ZERO("unrecoverable_error_count"),
    MNTR_ZERO("unsuccessful_handshake"),
};

/* struct metrics_sum */
static const struct mntr_row mntr_sums[] = {
    MNTR_ROW("fsynctime", metrics.fsync_ms),
    MNTR_ROW("snapshottime", metrics.snapshot_ms),
    MNTR_ROW("dbinittime", metrics.init_ms),
    MNTR_ROW("startup_snap_load_time", metrics.snap_load_ms),
    MNTR_ROW("startup_txns_load_time", metrics.log_load_ms),
    MNTR_ROW("startup_txns_loaded", metrics.log_loaded),
    MNTR_ROW("sync_processor_batch_size", metrics.batch),
    MNTR_ROW("node_created_watch_count", metrics.created),
    MNTR_ROW("node_deleted_watch_count", metrics.deleted),
    MNTR_ROW("node_changed_watch_count", metrics.changed),
    MNTR_ROW("node_children_watch_count", metrics.children),
    MNTR_ZERO("commit_commit_proc_req_queued"),
    MNTR_ZERO("commit_process_time"),
    MNTR_ZERO("concurrent_request_processing_in_commit_processor"),
    MNTR_ZERO("connection_token_deficit"),
    MNTR_ZERO("election_time"),
    MNTR_ZERO("follower_sync_time"),
    MNTR_ZERO("inflight_diff_count"),
    MNTR_ZERO("inflight_snap_count"),
    MNTR_ZERO("leader_unavailable_time"),
    MNTR_ZERO("learner_request_processor_queue_size"),
    MNTR_ZERO("netty_queued_buffer_capacity"),
    MNTR_ZERO("observer_sync_time"),
    MNTR_ZERO("pending_session_queue_size"),
    MNTR_ZERO("prep_process_time"),
    MNTR_ZERO("prep_processor_queue_size"),
    MNTR_ZERO("proposal_process_time"),
    MNTR_ZERO("read_commit_proc_issued"),
    MNTR_ZERO("read_commit_proc_req_queued"),
    MNTR_ZERO("reads_after_write_in_session_queue"),
    MNTR_ZERO("reads_issued_from_session_queue"),
    MNTR_ZERO("requests_in_session_queue"),
    MNTR_ZERO("restore_time"),
    MNTR_ZERO("session_queues_drained"),
    MNTR_ZERO("socket_closing_time"),
    MNTR_ZERO("sync_process_time"),
    MNTR_ZERO("sync_processor_queue_size"),
    MNTR_ZERO("time_waiting_empty_pool_in_commit_processor_read_ms"),
    MNTR_ZERO("unavailable_time"),
    MNTR_ZERO("write_batch_time_in_commit_processor"),
    MNTR_ZERO("write_commit_proc_issued"),
    MNTR_ZERO("write_commit_proc_req_queued"),
};

/* struct metrics_dist */
static const struct mntr_row mntr_dists[] = {
    MNTR_ROW("readlatency", metrics.read_ms),
    MNTR_ROW("updatelatency", metrics.update_ms),
    MNTR_ROW("propagation_latency", metrics.propagation_ms),
    MNTR_ROW("sync_processor_queue_and_flush_time_ms", metrics.flush_ms),
    MNTR_ROW("request_throttle_queue_time_ms", metrics.throttle_ms),
    MNTR_ZERO("close_session_prep_time"),
    MNTR_ZERO("commit_propagation_latency"),
    MNTR_ZERO("dead_watchers_cleaner_latency"),
    MNTR_ZERO("jvm_pause_time_ms"),
    MNTR_ZERO("local_write_committed_time_ms"),
    MNTR_ZERO("om_commit_process_time_ms"),
    MNTR_ZERO("om_proposal_process_time_ms"),
    MNTR_ZERO("prep_processor_queue_time_ms"),
    MNTR_ZERO("proposal_ack_creation_latency"),
    MNTR_ZERO("proposal_latency"),
    MNTR_ZERO("quorum_ack_latency"),
    MNTR_ZERO("read_commitproc_time_ms"),
    MNTR_ZERO("read_final_proc_time_ms"),
    MNTR_ZERO("server_write_committed_time_ms"),
    MNTR_ZERO("sync_processor_queue_flush_time_ms"),
    MNTR_ZERO("sync_processor_queue_time_ms"),
    MNTR_ZERO("write_commitproc_time_ms"),
    MNTR_ZERO("write_final_proc_time_ms"),
};

/* --- lines --- */

static void mntr_put(struct buf *out, const char *name, int64_t value) {
    buf_printf(out, "zk_%s\t%lld\n", name, (long long)value);
}

/* kind_[space_]name, space: the key of a set */
static void mntr_key(struct buf *out, const char *kind, struct slice space, const char *name) {
    buf_puts(out, "zk_");
    buf_puts(out, kind);
    if (space.n) {
        buf_put(out, space.p, space.n);
        buf_putc(out, '_');
    }
    buf_puts(out, name);
    buf_putc(out, '\t');
}

static void mntr_put_sum(struct buf *out, struct slice space, const char *name,
                         const struct metrics_sum *s) {
    const struct {
        const char *kind;
        int64_t value;
    } parts[] = {{"min_", s->min}, {"max_", s->max}, {"cnt_", s->count}, {"sum_", s->total}};
    mntr_key(out, "avg_", space, name);
    metrics_put_average(out, s->total, s->count);
    buf_putc(out, '\n');
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        mntr_key(out, parts[i].kind, space, name);
        buf_printf(out, "%lld\n", (long long)parts[i].value);
    }
}

static void mntr_put_dist(struct buf *out, const char *name, const struct metrics_dist *d) {
    static const struct slice none = {NULL, 0};
    static const struct {
        const char *kind;
        int per_mille;
    } parts[] = {{"p50_", 500}, {"p95_", 950}, {"p99_", 990}, {"p999_", 999}};
    mntr_put_sum(out, none, name, &d->sum);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        mntr_key(out, parts[i].kind, none, name);
        buf_printf(out, "%lld\n", (long long)metrics_quantile(d, parts[i].per_mille));
    }
}

static const void *mntr_value(const struct node *n, const struct mntr_row *row, const void *zero) {
    return row->offset == MNTR_NONE ? zero : (const char *)n + row->offset;
}

/* --- gauges --- */

ZK_PRIVATE uint32_t mntr_alive(const struct node *n) {
    uint32_t alive = 0;
    for (uint32_t i = 0; i < n->n_conns; i++)
        alive += n->conns[i].phase != CONN_FREE && n->conns[i].phase != CONN_CLOSING;
    return alive;
}

/* What only members of an ensemble have. stock: QuorumZooKeeperServer.registerMetrics */
static void mntr_ensemble(const struct node *n, struct buf *out) {
    const struct role *o = &n->role;
    if (o->phase == ROLE_ALONE) return;
    mntr_put(out, "quorum_size", quorum_voters(n->cfg));
    buf_printf(out, "zk_peer_state\t%s - broadcast\n",
               o->phase == ROLE_LEADING ? "leading" : o->learner.observer ? "observing"
                                                                         : "following");
    if (o->phase != ROLE_LEADING) return;
    struct leader_census c = leader_count_all(&o->leader);
    const struct {
        const char *name;
        int64_t value;
    } gauges[] = {
        {"learners", c.learners},
        {"synced_followers", c.followers},
        {"synced_non_voting_followers", c.others},
        {"synced_observers", c.observers},
        {"pending_syncs", c.syncs},
        {"leader_uptime", n->now - o->leader.since},
        {"last_proposal_size", o->leader.sizes.last},
        {"max_proposal_size", o->leader.sizes.most},
        {"min_proposal_size", o->leader.sizes.least},
    };
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        mntr_put(out, gauges[i].name, gauges[i].value);
}

static void mntr_gauges(const struct node *n, const struct node_facts *f, struct buf *out) {
    const struct node_stats *st = &n->stats;
    const struct tree *t = &n->db.tree;
    uint64_t watches = n->watches.n_data + n->watches.n_child;
    const struct {
        const char *name;
        int64_t value;
    } gauges[] = {
        {"max_latency", st->latency_max},
        {"min_latency", st->latency_count ? st->latency_min : 0},
        {"packets_received", st->received},
        {"packets_sent", st->sent},
        {"num_alive_connections", mntr_alive(n)},
        {"outstanding_requests", n->pend_n},
        {"uptime", n->now - n->started},
        {"znode_count", t->count + (int64_t)1}, /* stock keeps the root under two names */
        {"watch_count", (int64_t)watches},
        {"ephemerals_count", (int64_t)t->ephemerals},
        {"approximate_data_size", (int64_t)t->data_bytes + 1}, /* ... one of them "/" */
        {"global_sessions", n->db.sessions.committed},
        {"local_sessions", 0},
        {"open_file_descriptor_count", f->open_files},
        {"max_file_descriptor_count", f->max_files},
        {"last_client_response_size", st->last_response},
        {"max_client_response_size", st->max_response},
        {"min_client_response_size", st->min_response},
        {"outstanding_tls_handshake", 0},
        {"auth_failed_count", st->auth_failed},
        {"non_mtls_remote_conn_count", 0},
        {"non_mtls_local_conn_count", 0},
    };
    buf_puts(out, "zk_avg_latency\t");
    metrics_put_average(out, st->latency_sum, st->latency_count);
    buf_putc(out, '\n');
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        mntr_put(out, gauges[i].name, gauges[i].value);
    buf_puts(out, "zk_connection_drop_probability\t");
    metrics_put_average(out, (int64_t)(n->throttle.drop * 10000 + 0.5), 10000);
    buf_putc(out, '\n');
}

/* --- quotas --- */

struct mntr_quota {
    struct slice space; /* borrowed from the name of a node */
    int64_t values[4];
    bool has[4];
};

enum { QUOTA_COUNT_LIMIT, QUOTA_BYTES_LIMIT, QUOTA_COUNT_USAGE, QUOTA_BYTES_USAGE };

static int mntr_quota_cmp(const void *a, const void *b) {
    struct mntr_quota x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return slice_cmp(x.space, y.space);
}

/* One limits or stats node: what it adds to its namespace. */
static bool mntr_quota_node(const struct tree_node *node, struct mntr_quota *q) {
    struct quota_track track;
    bool limits = slice_is(tree_name(node), "zookeeper_limits");
    if (!limits && !slice_is(tree_name(node), "zookeeper_stats")) return false;
    memset(q, 0, sizeof *q);
    if (!quota_parse(tree_data(node), &track)) return false;
    int first = limits ? QUOTA_COUNT_LIMIT : QUOTA_COUNT_USAGE;
    q->values[first] = limits && track.count_hard > -1 ? track.count_hard : track.count;
    q->values[first + 1] = limits && track.bytes_hard > -1 ? track.bytes_hard : track.bytes;
    q->has[first] = q->has[first + 1] = true;
    return true;
}

/* The ancestor of a node that is a child of `top`. */
static uint32_t mntr_space_of(const struct tree *t, uint32_t top, uint32_t id) {
    while (tree_node(t, id)->parent != top) id = tree_node(t, id)->parent;
    return id;
}

/* stock: QuotaMetricsUtils, which adds up the quotas below one first component */
static void mntr_quotas(const struct node *n, struct buf *out) {
    static const char *const names[] = {
        "quota_count_limit_per_namespace", "quota_bytes_limit_per_namespace",
        "quota_count_usage_per_namespace", "quota_bytes_usage_per_namespace"};
    const struct tree *t = &n->db.tree;
    uint32_t top = tree_lookup(t, slice_str("/zookeeper/quota"));
    if (top == TREE_NONE) return;
    struct buf found = {0};
    for (uint32_t id = top; id != TREE_NONE; id = tree_walk(t, top, id)) {
        struct mntr_quota q;
        if (id == top || tree_node(t, id)->parent == top) continue;
        if (!mntr_quota_node(tree_node(t, id), &q)) continue;
        q.space = tree_name(tree_node(t, mntr_space_of(t, top, id)));
        buf_put(&found, &q, sizeof q);
    }
    size_t count = found.n / sizeof(struct mntr_quota);
    if (count) qsort(found.p, count, sizeof(struct mntr_quota), mntr_quota_cmp);
    for (size_t k = 0; k < 4; k++) {
        for (size_t i = 0; i < count;) {
            struct mntr_quota first, q;
            int64_t sum = 0;
            bool any = false;
            memcpy(&first, found.p + i * sizeof first, sizeof first);
            for (; i < count; i++) {
                memcpy(&q, found.p + i * sizeof q, sizeof q);
                if (!slice_eq(q.space, first.space)) break;
                any = any || q.has[k];
                sum += q.values[k];
            }
            if (!any) continue;
            mntr_key(out, "", first.space, names[k]);
            buf_printf(out, "%lld\n", (long long)sum);
        }
    }
    buf_free(&found);
}

/* --- all of it --- */

static void mntr_spaces(const struct metrics *m, struct buf *out) {
    for (uint32_t i = 0; i < m->n_spaces; i++) {
        const struct metrics_space *s = &m->spaces[i];
        struct slice name = slice_of(s->name, s->name_len);
        if (s->has_read) mntr_put_sum(out, name, "read_per_namespace", &s->read);
        if (s->has_written) mntr_put_sum(out, name, "write_per_namespace", &s->written);
    }
}

ZK_PRIVATE void mntr_dump(const struct node *n, const struct node_facts *facts, struct buf *out) {
    static const struct slice none = {NULL, 0};
    static const struct metrics_dist zero = {{0, 0, 0, 0}, NULL};
    static const int64_t nothing = 0;
    if (n->cfg->metrics == CONFIG_METRICS_NULL) return;
    mntr_gauges(n, facts, out);
    mntr_ensemble(n, out);
    mntr_quotas(n, out);
    for (size_t i = 0; i < sizeof mntr_counters / sizeof mntr_counters[0]; i++) {
        int64_t value;
        memcpy(&value, mntr_value(n, &mntr_counters[i], &nothing), sizeof value);
        mntr_put(out, mntr_counters[i].name, value);
    }
    for (uint32_t i = 0; i < n->metrics.n_spaces; i++) {
        const struct metrics_space *s = &n->metrics.spaces[i];
        if (!s->has_refused) continue;
        mntr_key(out, "", slice_of(s->name, s->name_len), "quota_exceeded_error_per_namespace");
        buf_printf(out, "%lld\n", (long long)s->refused);
    }
    for (size_t i = 0; i < sizeof mntr_sums / sizeof mntr_sums[0]; i++)
        mntr_put_sum(out, none, mntr_sums[i].name, mntr_value(n, &mntr_sums[i], &zero.sum));
    for (size_t i = 0; i < sizeof mntr_dists / sizeof mntr_dists[0]; i++)
        mntr_put_dist(out, mntr_dists[i].name, mntr_value(n, &mntr_dists[i], &zero));
    mntr_spaces(&n->metrics, out);
}
