#include "node/serve.h"

#include "base/sum.h"
#include "node/ops.h"
#include "node/pipeline.h"
#include "node/reads.h"
#include "node/role.h"
#include "node/throttle.h"

#define SERVE_CONNECT_MAX 4096u    /* bytes of a ConnectRequest: strangers get no large buffer */
#define SERVE_IN_PAUSE 262144u     /* waiting input beyond it stops the reading */
/* What one connection may have done before the others get their turn: requests, roughly. */
#define SERVE_BUDGET 2048
#define SERVE_BYTES_A_UNIT 8192u
#define SERVE_WORK_A_UNIT 512u
#define SERVE_REFUSED 0x80000000u /* with the length of a waiting frame: it came too late */
#define SERVE_PASSED_MAX 128u /* reads waiting beyond which no write passes them */

ZK_PRIVATE uint32_t serve_open(struct node *n, const struct net_addr *addr) {
    int64_t per_ip = n->cfg->max_client_cnxns, all = n->cfg->max_cnxns;
    if ((per_ip > 0 && node_ip_count(n, addr) >= per_ip) || (all > 0 && n->live_conns >= all)) {
        n->stats.connections_rejected++;
        return CONN_NONE;
    }
    return node_conn_add(n, addr);
}

ZK_PRIVATE void serve_close(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    if (c->phase == CONN_CLOSING) return;
    c->phase = CONN_CLOSING;
    c->phase_since = n->now;
    node_conn_forget(n, conn);
    watch_drop_conn(&n->watches, conn);
    if (c->session_slot != SESSION_NONE && n->db.sessions.slots[c->session_slot].conn == conn)
        n->db.sessions.slots[c->session_slot].conn = SESSION_NONE;
    c->session_slot = SESSION_NONE;
    node_output(n, NODE_CLOSE)->conn = conn;
}

ZK_PRIVATE void serve_lost(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    int64_t session = c->session;
    bool closes = c->phase == CONN_OPEN && throttle_leave(n, c);
    if (c->phase != CONN_CLOSING) n->stats.connection_drops++;
    node_conn_drop(n, conn);
    if (closes) pipeline_close_session(n, session);
}

/* A learner tells the leader, which alone decides when a session expires. */
static void serve_touch(struct node *n, uint32_t slot, int32_t timeout) {
    if (role_learns(n))
        role_touch(n, slot, timeout);
    else
        session_touch(&n->db.sessions, slot, n->now, timeout);
}

/* --- handshake --- */

struct serve_connect {
    int64_t last_zxid, session;
    int32_t timeout;
    struct slice passwd;
};

static bool serve_read_connect(struct conn *c, struct slice frame, struct serve_connect *q) {
    struct jr r = jr_open(frame, JUTE_MAX_BUFFER);
    (void)jr_i32(&r); /* protocol version: any */
    q->last_zxid = jr_i64(&r);
    q->timeout = jr_i32(&r);
    q->session = jr_i64(&r);
    q->passwd = jr_bytes(&r);
    if (r.bad) return false;
    c->old_handshake = jr_left(&r) == 0; /* clients before 3.4 do not know readOnly */
    return true;
}

static void serve_new_session(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    uint8_t body[4];
    while (session_find(&n->db.sessions, n->next_session) != SESSION_NONE) n->next_session++;
    c->session = n->next_session++;
    c->session_slot = session_add(&n->db.sessions, c->session, c->timeout);
    n->db.sessions.slots[c->session_slot].conn = conn;
    n->db.sessions.slots[c->session_slot].owner = role_self_owner(n);
    serve_touch(n, c->session_slot, c->timeout);
    c->phase = CONN_WAITING;
    put_be32(body, (uint32_t)c->timeout);
    struct pipeline_request q = {.conn = conn, .op = ZOP_CREATE_SESSION, .session = c->session,
                                 .body = slice_of(body, sizeof body), .internal = true};
    pipeline_submit(n, &q);
}

static void serve_renew(struct node *n, uint32_t conn, const struct serve_connect *q) {
    struct conn *c = node_conn(n, conn);
    n->stats.revalidated++;
    uint8_t passwd[16];
    uint32_t s = session_find(&n->db.sessions, q->session);
    /* stock: the old connection is closed before the password is looked at */
    if (s != SESSION_NONE && n->db.sessions.slots[s].conn != SESSION_NONE)
        serve_close(n, n->db.sessions.slots[s].conn);
    sum_session_passwd(q->session, passwd);
    bool valid = slice_eq(q->passwd, slice_of(passwd, sizeof passwd));
    c->session = q->session;
    c->phase = CONN_WAITING;
    if (valid && role_learns(n)) {
        role_revalidate(n, conn, q->session);
        return;
    }
    serve_renewed(n, conn, valid && s != SESSION_NONE && !n->db.sessions.slots[s].closing);
}

ZK_PRIVATE void serve_renewed(struct node *n, uint32_t conn, bool valid) {
    struct conn *c = node_conn(n, conn);
    if (!valid) {
        reply_connect(n, conn, false);
        serve_close(n, conn);
        return;
    }
    /* A learner may not have heard of the session yet. */
    uint32_t s = session_add(&n->db.sessions, c->session, c->timeout);
    uint32_t other = n->db.sessions.slots[s].conn; /* two may have asked at the same time */
    if (other != CONN_NONE && other != conn) serve_close(n, other);
    c->session_slot = s;
    c->phase = CONN_OPEN;
    n->db.sessions.slots[s].conn = conn;
    n->db.sessions.slots[s].owner = role_self_owner(n);
    serve_touch(n, s, c->timeout);
    reply_connect(n, conn, true);
    pipeline_barrier(n, conn); /* the session's own writes may still be under way */
    if (buf_len(&c->in)) node_conn_ready(n, conn);
}

ZK_PRIVATE void serve_session_created(struct node *n, uint32_t conn) {
    node_conn(n, conn)->phase = CONN_OPEN;
    reply_connect(n, conn, true);
}

static void serve_connect(struct node *n, uint32_t conn, struct slice frame) {
    struct conn *c = node_conn(n, conn);
    struct serve_connect q;
    n->stats.connection_requests++;
    if (!n->serving || !serve_read_connect(c, frame, &q)) {
        serve_close(n, conn);
        return;
    }
    if (!throttle_admits(n, q.session != 0)) {
        n->stats.connections_rejected++;
        serve_close(n, conn);
        return;
    }
    if (q.last_zxid > n->db.last_zxid) {
        log_line(&n->log, LOG_INFO_LEVEL,
                 "Refusing session(0x%llx) request: it has seen zxid 0x%llx, our last zxid is "
                 "0x%llx; client must try another server",
                 (unsigned long long)q.session, (unsigned long long)q.last_zxid,
                 (unsigned long long)n->db.last_zxid);
        serve_close(n, conn);
        return;
    }
    c->timeout = q.timeout < n->min_timeout ? n->min_timeout : q.timeout;
    if (c->timeout > n->max_timeout) c->timeout = n->max_timeout;
    char ip[ACL_IP_TEXT];
    acl_ip_format(ip, c->addr.ip, c->addr.ip_len);
    auth_add(&c->auth, "ip", slice_str(ip));
    if (q.session)
        serve_renew(n, conn, &q);
    else
        serve_new_session(n, conn);
}

/* --- requests --- */

static void serve_auth(struct node *n, uint32_t conn, int32_t xid, struct slice body) {
    struct conn *c = node_conn(n, conn);
    struct jr r = jr_open(body, n->max_string);
    (void)jr_i32(&r);
    struct slice scheme = jr_bytes(&r), data = jr_bytes(&r);
    if (r.bad) {
        serve_close(n, conn);
        return;
    }
    char ip[ACL_IP_TEXT];
    acl_ip_format(ip, c->addr.ip, c->addr.ip_len);
    int err = auth_request(&c->auth, &n->auth_cfg, scheme, data, ip);
    reply_error(n, conn, xid, 0, err);
    reply_count(n, conn, xid, 0, 0, n->now);
    if (!err) return;
    n->stats.auth_failed++;
    serve_close(n, conn);
}

/* No login is configured, which stock answers with a null token. */
static void serve_sasl(struct node *n, uint32_t conn, int32_t xid, struct slice body) {
    struct jr r = jr_open(body, n->max_string);
    struct slice token = jr_bytes(&r);
    if (r.bad || !token.p) {
        serve_close(n, conn);
        return;
    }
    struct buf *out = node_conn_out(n, conn);
    size_t at = reply_begin(out);
    jw_i32(out, -1);
    reply_end(n, conn, at, xid, 0, 0);
    reply_count(n, conn, xid, 0, 0, n->now);
}

static bool serve_authenticated(const struct node *n, const struct conn *c) {
    const char *p = n->cfg->enforce_auth_schemes;
    if (!n->cfg->enforce_auth) return true;
    while (p && *p) {
        size_t len = strcspn(p, ",");
        struct slice scheme = slice_of(p, len);
        while (scheme.n && *scheme.p == ' ') scheme = slice_of(scheme.p + 1, scheme.n - 1);
        while (scheme.n && scheme.p[scheme.n - 1] == ' ') scheme.n--;
        if (auth_has_scheme(&c->auth, scheme)) return true;
        p += len + (p[len] == ',');
    }
    return false;
}

static void serve_refuse(struct node *n, uint32_t conn, int32_t xid, int64_t zxid, int32_t err) {
    reply_error(n, conn, xid, zxid, err);
    serve_close(n, conn);
}

/* Keeps what is no write until the writes before it have been answered. */
static void serve_defer(struct node *n, struct conn *c, struct slice frame, bool refused) {
    node_buf_take(n, &c->deferred);
    buf_compact(&c->deferred);
    uint8_t *p = buf_grow(&c->deferred, frame.n + 8);
    c->n_deferred++;
    put_be32(p, c->submitted);
    put_be32(p + 4, (uint32_t)frame.n | (refused ? SERVE_REFUSED : 0));
    memcpy(p + 8, frame.p, frame.n);
}

/* Writes, and in an ensemble the sync too, get their place in the order of all servers. */
static bool serve_ordered(const struct node *n, int32_t op) {
    return (wire_op_flags(op) & OP_WRITE) != 0 ||
           (op == ZOP_SYNC && n->role.phase != ROLE_ALONE);
}

/* A request whose turn has come. Takes what it cost from the budget. */
static void serve_now(struct node *n, uint32_t conn, int32_t xid, int32_t op, struct slice body,
                      bool refused) {
    const struct conn *c = node_conn(n, conn);
    int flags = wire_op_flags(op);
    size_t before = buf_len(&c->out);
    n->work = 0;
    if (!serve_authenticated(n, c)) {
        serve_refuse(n, conn, xid, 0, ZERR_SESSIONCLOSEDREQUIRESASLAUTH);
    } else if (!(flags & OP_CLIENT)) {
        serve_refuse(n, conn, xid, -1, ZERR_UNIMPLEMENTED);
    } else if (refused) {
        reply_error(n, conn, xid, n->db.last_zxid, ZERR_THROTTLEDOP);
        reply_count(n, conn, xid, 0, 0, n->now);
    } else if (serve_ordered(n, op)) {
        struct pipeline_request q = {.conn = conn, .xid = xid, .op = op, .session = c->session,
                                     .body = body};
        pipeline_submit(n, &q);
    } else {
        reads_serve(n, conn, xid, op, body);
    }
    size_t after = buf_len(&node_conn(n, conn)->out);
    size_t bytes = (after > before ? after - before : 0) + body.n;
    n->budget -= 1 + (int64_t)(bytes / SERVE_BYTES_A_UNIT + n->work / SERVE_WORK_A_UNIT);
}

/*
 * The gate: whether a connection may be served now. When it may not, one of these will call
 * serve_run() again: its writes are answered (pipeline), its output has been sent (node_conn_sent),
 * its turn comes round (serve_turn, after the budget ran out), or there is room for its next
 * request (serve_stalled).
 */
static bool serve_may(struct node *n, uint32_t conn) {
    const struct conn *c = node_conn(n, conn);
    if (c->phase != CONN_NEW && c->phase != CONN_OPEN) return false;
    if (buf_len(&c->out) >= NODE_OUT_PAUSE) return false;
    if (n->budget > 0) return true;
    node_conn_ready(n, conn);
    return false;
}

/* False: the frame has to wait as it is. */
static bool serve_request(struct node *n, uint32_t conn, struct slice frame) {
    struct conn *c = node_conn(n, conn);
    struct jr r = jr_open(frame, n->max_string);
    int32_t xid = jr_i32(&r), op = jr_i32(&r);
    if (r.bad) {
        serve_close(n, conn);
        return true;
    }
    struct slice body = slice_of(r.p, (size_t)(r.end - r.p));
    int flags = wire_op_flags(op);
    bool behind = node_conn_pending(c) || buf_len(&c->deferred);
    bool crowded = xid > 0 && n->pend_n + n->role.wait_n >
                                  (uint32_t)n->cfg->global_outstanding_limit;
    bool full = buf_len(&c->deferred) + frame.n > SERVE_IN_PAUSE;
    /* Reads that a write has passed are served when that is applied, see serve_due(). */
    bool deep = serve_ordered(n, op) && c->n_deferred > SERVE_PASSED_MAX;
    /* What may change what the connection is allowed to do keeps its place among its requests. */
    bool barrier = !(flags & OP_CLIENT) || op == ZOP_AUTH || op == ZOP_SASL ||
                   !serve_authenticated(n, c);
    if (behind && (crowded || full || deep || barrier)) return false;
    enum throttle_verdict verdict = throttle_taken(n, c, op, frame.n + 4);
    c->received++;
    n->stats.received++;
    if (op == ZOP_AUTH) {
        serve_auth(n, conn, xid, body);
        return true;
    }
    if (op == ZOP_SASL) {
        serve_sasl(n, conn, xid, body);
        return true;
    }
    if (verdict == THROTTLE_DROP) {
        serve_close(n, conn);
        return true;
    }
    bool refused = verdict == THROTTLE_REFUSE;
    serve_touch(n, c->session_slot, c->timeout);
    if (behind && (refused || !serve_ordered(n, op)))
        serve_defer(n, c, frame, refused);
    else
        serve_now(n, conn, xid, op, body, refused);
    return true;
}

/* Reads that waited for writes which are answered now; `due`: without looking at the gate. */
static void serve_deferred(struct node *n, uint32_t conn, bool due) {
    while (buf_len(&node_conn(n, conn)->deferred) && (due || serve_may(n, conn))) {
        const struct conn *c = node_conn(n, conn);
        const uint8_t *p = c->deferred.p + c->deferred.head;
        size_t len = be32(p + 4) & ~SERVE_REFUSED;
        if ((int32_t)(c->completed - be32(p)) < 0) return;
        struct slice body = slice_of(p + 16, len - 8);
        bool refused = (be32(p + 4) & SERVE_REFUSED) != 0;
        serve_now(n, conn, (int32_t)be32(p + 8), (int32_t)be32(p + 12), body, refused);
        if (node_conn(n, conn)->phase == CONN_CLOSING) return; /* nothing is kept any more */
        buf_consume(&node_conn(n, conn)->deferred, len + 8);
        node_conn(n, conn)->n_deferred--;
    }
    if (!buf_len(&node_conn(n, conn)->deferred)) node_buf_give(n, &node_conn(n, conn)->deferred);
}

/* --- frames --- */

/* A first word that is a command: answered, then closed. */
static void serve_word(struct node *n, uint32_t conn, struct slice in) {
    node_conn(n, conn)->received++;
    n->stats.received++;
    ops_answer(n, conn, in);
    serve_close(n, conn);
}

/* Whether a frame of this length may be taken in; large ones share a budget. */
static bool serve_length_ok(struct node *n, const struct conn *c, uint32_t len) {
    int32_t threshold = n->cfg->large_request_threshold;
    if (c->phase == CONN_NEW) return len <= SERVE_CONNECT_MAX;
    if (len > n->max_frame) return false;
    if (threshold <= 0 || len <= (uint32_t)threshold) return true;
    if (len <= n->cfg->large_request_max_bytes - n->large_in_flight) return true;
    n->stats.large_rejected++;
    return false;
}

/* Serves complete frames from the front of `in`; returns how much of it is done with. */
static size_t serve_frames(struct node *n, uint32_t conn, struct slice in) {
    size_t at = 0;
    for (;;) {
        struct conn *c = node_conn(n, conn);
        size_t left = in.n - at;
        if (left < 4) break;
        if (!serve_may(n, conn)) {
            c->held = true;
            break;
        }
        const uint8_t *p = in.p + at;
        if (c->phase == CONN_NEW && ops_is_word(slice_of(p, left))) {
            serve_word(n, conn, slice_of(p, left));
            break;
        }
        uint32_t len = be32(p);
        if (!n->serving || !serve_length_ok(n, c, len)) {
            if (n->serving)
                log_line(&n->log, LOG_WARN_LEVEL, "Len error. A message with advertised length "
                         "of %d is either a malformed message or too large", (int32_t)len);
            serve_close(n, conn);
            break;
        }
        if (left - 4 < len) break;
        if (c->held) throttle_restart(n, c);
        c->held = false;
        if (throttle_stalls(n, conn)) break;
        struct slice frame = slice_of(p + 4, len);
        n->stats.bytes_received += (int64_t)len + 4;
        if (c->phase == CONN_NEW) {
            c->received++;
            n->stats.received++;
            (void)throttle_taken(n, c, ZOP_CREATE_SESSION, len + (size_t)4);
            serve_connect(n, conn, frame);
        } else if (!serve_request(n, conn, frame)) {
            n->stats.bytes_received -= (int64_t)len + 4; /* it will be looked at again */
            c->held = true;
            break;
        }
        at += len + (size_t)4;
    }
    return at;
}

/* After serving: what is left waits in the connection, and reading stops while too much does. */
static void serve_settle(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    if (c->phase == CONN_CLOSING) return;
    size_t left = buf_len(&c->in);
    if (!left && c->in.cap) buf_free(&c->in);
    bool whole = left >= 4 && left - 4 >= be32(c->in.p + c->in.head); /* not just half a frame */
    bool pause = whole && left > SERVE_IN_PAUSE;
    if (pause == c->paused) return;
    c->paused = pause;
    node_output(n, pause ? NODE_READ_PAUSE : NODE_READ_RESUME)->conn = conn;
}

ZK_PRIVATE void serve_due(struct node *n, uint32_t conn) {
    const struct conn *c = node_conn(n, conn);
    if (c->phase == CONN_OPEN && c->n_deferred) serve_deferred(n, conn, true);
}

ZK_PRIVATE void serve_run(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    n->budget = SERVE_BUDGET;
    serve_deferred(n, conn, false);
    if (buf_len(&c->in)) {
        struct buf in = c->in; /* serving may close the connection, which frees its buffer */
        memset(&c->in, 0, sizeof c->in);
        buf_consume(&in, serve_frames(n, conn, buf_slice(&in)));
        c = node_conn(n, conn);
        if (c->phase == CONN_CLOSING)
            buf_free(&in);
        else
            c->in = in;
    }
    serve_settle(n, conn);
}

ZK_PRIVATE void serve_bytes(struct node *n, uint32_t conn, struct slice bytes) {
    struct conn *c = node_conn(n, conn);
    c->last_io = n->now;
    if (c->phase == CONN_CLOSING) return;
    throttle_arrived(n, c, bytes.n);
    /* What waits for the disk waits for us, not for the client: the session is alive. */
    if (c->session_slot != SESSION_NONE && node_conn_pending(c))
        serve_touch(n, c->session_slot, c->timeout);
    if (buf_len(&c->in)) {
        buf_compact(&c->in);
        buf_put(&c->in, bytes.p, bytes.n);
        serve_run(n, conn);
        return;
    }
    n->budget = SERVE_BUDGET;
    size_t used = serve_frames(n, conn, bytes);
    c = node_conn(n, conn);
    if (used < bytes.n && c->phase != CONN_CLOSING)
        buf_put(&c->in, bytes.p + used, bytes.n - used);
    serve_settle(n, conn);
}

ZK_PRIVATE bool serve_turn(struct node *n) {
    struct buf now = n->ready;
    memset(&n->ready, 0, sizeof n->ready);
    for (size_t at = 0; at < now.n; at += sizeof(uint32_t)) {
        uint32_t conn;
        memcpy(&conn, now.p + at, sizeof conn);
        n->conns[conn].ready = false;
        if (n->conns[conn].phase != CONN_FREE) serve_run(n, conn);
    }
    buf_free(&now);
    return n->ready.n != 0;
}

ZK_PRIVATE void serve_stalled(struct node *n) {
    for (uint32_t conn; (conn = throttle_next(n)) != CONN_NONE;) serve_run(n, conn);
}

ZK_PRIVATE void serve_keep_stalled(struct node *n) {
    uint32_t conn;
    for (size_t at = 0; throttle_in_line(n, &at, &conn);) {
        const struct conn *c = node_conn(n, conn);
        if (c->session_slot != SESSION_NONE) serve_touch(n, c->session_slot, c->timeout);
    }
}

/* Peers that never ask for a session, and closed ones that do not read what they are told. */
ZK_PRIVATE void serve_idle(struct node *n) {
    for (uint32_t i = 0; i < n->n_conns; i++) {
        struct conn *c = &n->conns[i];
        if ((c->phase != CONN_NEW && c->phase != CONN_CLOSING) || c->stalled) continue;
        if (n->now - c->phase_since < n->cfg->sessionless_timeout_ms) continue;
        if (c->phase == CONN_CLOSING) {
            node_output(n, NODE_ABORT)->conn = i;
        } else {
            n->stats.sessionless_expired++;
            serve_close(n, i);
        }
    }
}
