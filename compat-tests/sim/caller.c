/*
 * Model clients: sessions, requests in a pipeline, watches, reconnects to another server.
 *
 * A client speaks the wire protocol and believes nothing. Each answer is held against the record:
 * order of the replies, zxids that never go back, writes that are where the reply says they are,
 * reads that show the tree as it was at their zxid, watches that fire once and in time.
 */
#include <stdio.h>

#include "caller.h"

#define CALLER_ENOUGH 3000 /* writes of a seed, after which time is better spent on faults */

static struct caller clients[SIM_CLIENTS];

static void caller_wake(struct caller *c, int64_t delay) {
    int64_t at = sim.now + delay;
    if (c->wake_at && c->wake_at >= sim.now && c->wake_at <= at) return;
    c->wake_at = at;
    event_at(at, EV_CLIENT, c->id, c->life, at);
}

static void caller_fresh_session(struct caller *c) {
    c->session = 0;
    memset(c->passwd, 0, sizeof c->passwd);
    c->last_zxid = 0;
    c->xid = 0;
    memset(c->answered, 0, sizeof c->answered);
    buf_clear(&c->watches);
    c->asked_timeout = (int32_t)rnd_between(2 * sim.t.tick, 20 * sim.t.tick);
}

void caller_create(uint32_t id) {
    struct caller *c = &clients[id];
    memset(c, 0, sizeof *c);
    c->id = id;
    c->stream = SIM_NONE;
    caller_fresh_session(c);
    caller_wake(c, (int64_t)rnd(1 * SEC));
}

struct caller *caller_at(uint32_t id) {
    return &clients[id];
}

/* --- sending --- */

struct buf *caller_begin(struct caller *c, int32_t xid, int32_t op) {
    c->frame_at = c->out.n;
    jw_i32(&c->out, 0);
    jw_i32(&c->out, xid);
    jw_i32(&c->out, op);
    return &c->out;
}

static void caller_push(struct caller *c) {
    if (!buf_len(&c->out) || c->stream == SIM_NONE) return;
    size_t n = net_send(c->stream, 0, buf_slice(&c->out));
    buf_consume(&c->out, n);
    if (!buf_len(&c->out)) buf_clear(&c->out);
    c->last_sent = sim.now;
}

void caller_room(uint32_t id) {
    caller_push(&clients[id]);
}

void caller_end(struct caller *c) {
    put_be32(c->out.p + c->frame_at, (uint32_t)(c->out.n - c->frame_at - 4));
    caller_push(c);
}

static void caller_lost(struct caller *c, bool close) {
    if (c->stream != SIM_NONE && close) net_close(c->stream, 0, chance(200));
    c->stream = SIM_NONE;
    c->phase = CALLER_AWAY;
    buf_clear(&c->in);
    buf_clear(&c->out);
    buf_clear(&c->pending);
    c->depth = 0;
    c->rewatching = false;
    if (c->closing_session) caller_fresh_session(c); /* it may live on: then it expires */
    c->closing_session = false;
    caller_wake(c, (int64_t)rnd(500 * MS));
}

static void caller_connect(struct caller *c) {
    c->server = (uint32_t)rnd(sim.n_servers);
    c->phase = CALLER_DIALING;
    c->since = sim.now;
    c->stream = net_dial(END_CLIENT, SIM_CLIENT_HOST + c->id, 0, c->server, PORT_CLIENT);
    caller_wake(c, 3 * SEC);
}

void caller_opened(uint32_t id) {
    struct caller *c = &clients[id];
    if (c->phase != CALLER_DIALING) return;
    c->phase = CALLER_SHAKING;
    c->since = c->heard = sim.now;
    jw_i32(&c->out, 45);
    jw_i32(&c->out, 0);
    jw_i64(&c->out, c->last_zxid);
    jw_i32(&c->out, c->asked_timeout);
    jw_i64(&c->out, c->session);
    jw_bytes(&c->out, slice_of(c->passwd, sizeof c->passwd));
    jw_u8(&c->out, 0);
    caller_push(c);
}

void caller_closed(uint32_t id) {
    caller_lost(&clients[id], false);
}

void caller_abandon(uint32_t id) {
    struct caller *c = &clients[id];
    story("c%u dies, session 0x%llx", id, (unsigned long long)c->session);
    if (c->session) c->dead_sessions++;
    caller_lost(c, true);
    caller_fresh_session(c);
    c->closing_session = false;
    c->life++;
    c->wake_at = 0;
    caller_wake(c, (int64_t)rnd(3 * SEC));
}

bool caller_session_live(int64_t session) {
    for (uint32_t i = 0; i < sim.t.clients; i++)
        if (clients[i].session == session) return true;
    return false;
}

bool caller_progress(int64_t since) {
    for (uint32_t i = 0; i < sim.t.clients; i++)
        if (clients[i].acked_at > since) return true;
    return false;
}

/* --- what comes in --- */

static void caller_handshake(struct caller *c, struct slice frame) {
    struct jr r = jr_open(frame, 1u << 20);
    (void)jr_i32(&r);
    int32_t timeout = jr_i32(&r);
    int64_t session = jr_i64(&r);
    struct slice passwd = jr_bytes(&r);
    if (r.bad || passwd.n != 16) sim_fail("protocol", "c%u: bad connect response", c->id);
    if (!timeout || !session) {
        caller_expired(c);
        caller_fresh_session(c);
        caller_lost(c, true);
        return;
    }
    bool again = c->session != 0;
    if (again && session != c->session) sim_fail("session", "c%u is given another one", c->id);
    story("c%u %s session 0x%llx at s%u", c->id, again ? "resumes" : "begins",
          (unsigned long long)session, c->server + 1);
    c->session = session;
    c->timeout = timeout;
    memcpy(c->passwd, passwd.p, 16);
    c->phase = CALLER_OPEN;
    c->since = sim.now;
    if (buf_len(&c->watches)) caller_set_watches(c);
    caller_wake(c, 0);
}

void caller_bytes(uint32_t id, struct slice bytes) {
    struct caller *c = &clients[id];
    uint32_t life = c->life;
    if (c->phase != CALLER_SHAKING && c->phase != CALLER_OPEN) return;
    c->heard = sim.now;
    buf_compact(&c->in);
    buf_put(&c->in, bytes.p, bytes.n);
    while (buf_len(&c->in) >= 4 && life == c->life) {
        const uint8_t *p = c->in.p + c->in.head;
        size_t len = be32(p);
        if (len > 1u << 24) sim_fail("protocol", "c%u: a frame of %zu bytes", id, len);
        if (buf_len(&c->in) < len + 4) break;
        struct slice frame = slice_of(p + 4, len);
        if (c->phase == CALLER_SHAKING)
            caller_handshake(c, frame);
        else if (c->phase == CALLER_OPEN)
            caller_reply(c, frame);
        if (c->phase == CALLER_AWAY) return;
        buf_consume(&c->in, len + 4);
    }
    if (c->phase == CALLER_OPEN && c->depth < sim.t.depth) caller_wake(c, rnd_wait(sim.t.think));
}

/* --- time --- */

static void caller_time(struct caller *c) {
    int64_t limit = c->phase == CALLER_OPEN ? c->timeout * MS * 2 / 3 : 4 * SEC;
    if (c->phase == CALLER_AWAY) {
        caller_connect(c);
        return;
    }
    if (c->phase == CALLER_DIALING) {
        if (sim.now - c->since >= 3 * SEC) caller_lost(c, true);
        return;
    }
    if (sim.now - c->heard > limit) {
        story("c%u hears nothing from s%u", c->id, c->server + 1);
        caller_lost(c, true);
        return;
    }
    caller_push(c);
    if (c->phase != CALLER_OPEN || c->closing_session) return;
    if (sim.now - c->last_sent >= c->timeout * MS / 3) {
        (void)caller_begin(c, XID_PING, ZOP_PING);
        caller_end(c);
    }
    if (sim.now >= c->next_request && !sim.quiet) {
        c->next_request = sim.now + rnd_wait(sim.t.think);
        if (sim.acked > CALLER_ENOUGH) c->next_request += rnd_wait(2 * SEC);
        for (uint64_t n = 1 + rnd(sim.t.depth); n > 0 && c->depth < sim.t.depth; n--)
            if (!c->closing_session) caller_request(c);
    }
}

void caller_event(const struct event *e) {
    struct caller *c = &clients[e->who];
    if (e->gen != c->life || e->arg != c->wake_at) return;
    c->wake_at = 0;
    caller_time(c);
    if (c->phase != CALLER_OPEN) {
        caller_wake(c, 500 * MS);
        return;
    }
    int64_t wait = c->last_sent + c->timeout * MS / 3 - sim.now;
    if (c->next_request - sim.now < wait) wait = c->next_request - sim.now;
    caller_wake(c, wait < 1 * MS ? 1 * MS : wait);
}
