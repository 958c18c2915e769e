#include "node/throttle.h"

#include "base/wire.h"

struct throttle_arrival {
    int64_t at;   /* monotonic ms */
    size_t bytes; /* of input that came then and has not been taken */
};

struct throttle_place {
    uint32_t conn, gen;
};

/* --- connections --- */

ZK_PRIVATE void throttle_start(struct node *n) {
    n->throttle.tokens = n->cfg->connection_throttle_tokens;
    if (n->cfg->connection_throttle_weighted)
        n->throttle.tokens *= n->cfg->connection_throttle_global_weight;
    n->throttle.filled = n->throttle.frozen = n->now;
    n->throttle.turn = CONN_NONE;
}

/* The share that is refused at random grows while the bucket is empty. */
static void throttle_weigh(struct node *n, int64_t most) {
    const struct config *c = n->cfg;
    double ratio = (double)(most - n->throttle.tokens) / (double)most;
    if (n->now - n->throttle.frozen <= c->connection_throttle_freeze_ms) return;
    if (n->throttle.tokens == 0)
        n->throttle.drop += c->connection_throttle_drop_increase;
    else if (ratio <= c->connection_throttle_decrease_ratio)
        n->throttle.drop -= c->connection_throttle_drop_decrease;
    if (n->throttle.drop > 1) n->throttle.drop = 1;
    if (n->throttle.drop < 0) n->throttle.drop = 0;
    n->throttle.frozen = n->now;
}

ZK_PRIVATE bool throttle_admits(struct node *n, bool renewal) {
    const struct config *c = n->cfg;
    int64_t weight = c->connection_throttle_weighted ? c->connection_throttle_global_weight : 1;
    int64_t most = c->connection_throttle_tokens * weight, need = weight;
    if (most <= 0) return true;
    if (renewal && c->connection_throttle_weighted) need = c->connection_throttle_renew_weight;
    int64_t fill = c->connection_throttle_fill_ms > 0 ? c->connection_throttle_fill_ms : 1;
    int64_t since = n->now - n->throttle.filled;
    if (since > fill) {
        double rate = (double)weight * c->connection_throttle_fill_count / (double)fill;
        double more = rate * (double)since;
        bool full = more >= (double)(most - n->throttle.tokens);
        n->throttle.tokens = full ? most : n->throttle.tokens + (int64_t)more;
        n->throttle.filled = n->now;
    }
    if (c->connection_throttle_freeze_ms >= 0) {
        throttle_weigh(n, most);
        if ((double)prng_below(&n->rng, 1u << 20) / (1u << 20) < n->throttle.drop) return false;
    }
    if (n->throttle.tokens < need) return false;
    n->throttle.tokens -= need;
    return true;
}

/* --- requests --- */

static bool throttle_room(const struct node *n) {
    return n->in_process < (uint32_t)n->cfg->request_throttle_max;
}

ZK_PRIVATE void throttle_arrived(struct node *n, struct conn *c, size_t bytes) {
    struct throttle_arrival last = {n->now, 0};
    if (n->cfg->request_throttle_max <= 0) return;
    if (buf_len(&c->arrivals)) memcpy(&last, c->arrivals.p + c->arrivals.n - sizeof last,
                                      sizeof last);
    if (buf_len(&c->arrivals) && last.at == n->now) {
        c->arrivals.n -= sizeof last;
    } else {
        last.at = n->now;
        last.bytes = 0;
    }
    last.bytes += bytes;
    buf_compact(&c->arrivals);
    buf_put(&c->arrivals, &last, sizeof last);
}

ZK_PRIVATE void throttle_restart(struct node *n, struct conn *c) {
    struct throttle_arrival all = {n->now, 0};
    for (size_t at = c->arrivals.head; at < c->arrivals.n; at += sizeof all) {
        struct throttle_arrival a;
        memcpy(&a, c->arrivals.p + at, sizeof a);
        all.bytes += a.bytes;
    }
    if (!all.bytes) return;
    buf_clear(&c->arrivals);
    buf_put(&c->arrivals, &all, sizeof all);
}

ZK_PRIVATE bool throttle_stalls(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    bool turn = n->throttle.turn == conn || !buf_len(&n->stalled);
    if (n->cfg->request_throttle_max <= 0 || (turn && throttle_room(n))) return false;
    if (c->stalled) return true;
    struct throttle_place place = {conn, c->gen};
    c->stalled = true;
    n->stats.throttle_waits++;
    buf_compact(&n->stalled);
    buf_put(&n->stalled, &place, sizeof place);
    return true;
}

ZK_PRIVATE uint32_t throttle_next(struct node *n) {
    while (buf_len(&n->stalled) && throttle_room(n)) {
        struct throttle_place place;
        memcpy(&place, n->stalled.p + n->stalled.head, sizeof place);
        buf_consume(&n->stalled, sizeof place);
        struct conn *c = &n->conns[place.conn];
        if (c->phase == CONN_FREE || c->gen != place.gen) continue;
        c->stalled = false;
        n->throttle.turn = place.conn;
        return place.conn;
    }
    n->throttle.turn = CONN_NONE;
    return CONN_NONE;
}

ZK_PRIVATE bool throttle_in_line(const struct node *n, size_t *at, uint32_t *conn) {
    struct slice line = buf_slice(&n->stalled);
    while (*at < line.n) {
        struct throttle_place place;
        memcpy(&place, line.p + *at, sizeof place);
        *at += sizeof place;
        const struct conn *c = &n->conns[place.conn];
        *conn = place.conn;
        if (c->phase != CONN_FREE && c->gen == place.gen) return true;
    }
    return false;
}

/* When the last of these bytes came. */
static int64_t throttle_came(const struct node *n, struct conn *c, size_t bytes) {
    int64_t at = n->now;
    while (bytes && buf_len(&c->arrivals)) {
        struct throttle_arrival a;
        memcpy(&a, c->arrivals.p + c->arrivals.head, sizeof a);
        at = a.at;
        size_t taken = a.bytes < bytes ? a.bytes : bytes;
        bytes -= taken;
        a.bytes -= taken;
        if (a.bytes)
            memcpy(c->arrivals.p + c->arrivals.head, &a, sizeof a);
        else
            buf_consume(&c->arrivals, sizeof a);
    }
    if (!buf_len(&c->arrivals)) buf_free(&c->arrivals);
    return at;
}

ZK_PRIVATE enum throttle_verdict throttle_taken(struct node *n, struct conn *c, int32_t op,
                                                size_t bytes) {
    const struct config *cfg = n->cfg;
    if (cfg->request_throttle_max <= 0) return THROTTLE_SERVE;
    int64_t waited = n->now - throttle_came(n, c, bytes);
    metrics_sample(&n->metrics, &n->metrics.throttle_ms, waited);
    bool exempt = op == ZOP_CLOSE_SESSION || op == ZOP_CREATE_SESSION || op == ZOP_AUTH ||
                  op == ZOP_SASL;
    if (exempt) return THROTTLE_SERVE;
    if (cfg->request_stale_latency_check && waited > c->timeout) {
        n->stats.stale++;
        if (cfg->request_throttle_drop_stale) {
            n->stats.stale_dropped++;
            return THROTTLE_DROP;
        }
    }
    if (op == ZOP_PING || cfg->throttled_op_wait_ms <= 0 || waited <= cfg->throttled_op_wait_ms)
        return THROTTLE_SERVE;
    n->stats.throttled++;
    return THROTTLE_REFUSE;
}

ZK_PRIVATE bool throttle_leave(struct node *n, struct conn *c) {
    bool closes = false;
    if (!c->stalled) return false;
    for (struct slice in = buf_slice(&c->in); in.n >= 4;) {
        size_t len = be32(in.p);
        if (in.n - 4 < len) break;
        if (len >= 8 && (int32_t)be32(in.p + 8) == ZOP_CLOSE_SESSION)
            closes = true;
        else
            n->stats.stale_dropped++;
        in = slice_of(in.p + 4 + len, in.n - 4 - len);
    }
    return closes;
}
