/*
 * Model clients: sessions, requests in a pipeline, watches, reconnects to another server.
 *
 * A client speaks the wire protocol and believes nothing. Each answer is held against the record:
 * order of the replies, zxids that never go back, writes that are where the reply says they are,
 * reads that show the tree as it was at their zxid, watches that fire once and in time.
 */
#include <stdio.h>

#include "client.h"

#define CLIENT_ENOUGH 3000 /* writes of a seed, after which time is better spent on faults */

static struct client clients[SIM_CLIENTS];

static void client_wake(struct client *c, int64_t delay) {
    int64_t at = sim.now + delay;
    if (c->wake_at && c->wake_at >= sim.now && c->wake_at <= at) return;
    c->wake_at = at;
    event_at(at, EV_CLIENT, c->id, c->life, at);
}

static void client_fresh_session(struct client *c) {
    c->session = 0;
    memset(c->passwd, 0, sizeof c->passwd);
    c->last_zxid = 0;
    c->xid = 0;
    memset(c->answered, 0, sizeof c->answered);
    buf_clear(&c->watches);
    c->asked_timeout = (int32_t)rnd_between(2 * sim.t.tick, 20 * sim.t.tick);
}

void client_create(uint32_t id) {
    struct client *c = &clients[id];
    memset(c, 0, sizeof *c);
    c->id = id;
    c->stream = SIM_NONE;
    client_fresh_session(c);
    client_wake(c, (int64_t)rnd(1 * SEC));
}

struct client *client_at(uint32_t id) {
    return &clients[id];
}

/* --- sending --- */

struct buf *client_begin(struct client *c, int32_t xid, int32_t op) {
    c->frame_at = c->out.n;
    jw_i32(&c->out, 0);
    jw_i32(&c->out, xid);
    jw_i32(&c->out, op);
    return &c->out;
}

static void client_push(struct client *c) {
    if (!buf_len(&c->out) || c->stream == SIM_NONE) return;
    size_t n = net_send(c->stream, 0, buf_slice(&c->out));
    buf_consume(&c->out, n);
    if (!buf_len(&c->out)) buf_clear(&c->out);
    c->last_sent = sim.now;
}

void client_room(uint32_t id) {
    client_push(&clients[id]);
}

void client_end(struct client *c) {
    put_be32(c->out.p + c->frame_at, (uint32_t)(c->out.n - c->frame_at - 4));
    client_push(c);
}

static void client_lost(struct client *c, bool close) {
    if (c->stream != SIM_NONE && close) net_close(c->stream, 0, chance(200));
    c->stream = SIM_NONE;
    c->phase = CLIENT_AWAY;
    buf_clear(&c->in);
    buf_clear(&c->out);
    buf_clear(&c->pending);
    c->depth = 0;
    c->rewatching = false;
    if (c->closing_session) client_fresh_session(c); /* it may live on: then it expires */
    c->closing_session = false;
    client_wake(c, (int64_t)rnd(500 * MS));
}

static void client_connect(struct client *c) {
    c->server = (uint32_t)rnd(sim.n_servers);
    c->phase = CLIENT_DIALING;
    c->since = sim.now;
    c->stream = net_dial(END_CLIENT, SIM_CLIENT_HOST + c->id, 0, c->server, PORT_CLIENT);
    client_wake(c, 3 * SEC);
}

void client_opened(uint32_t id) {
    struct client *c = &clients[id];
    if (c->phase != CLIENT_DIALING) return;
    c->phase = CLIENT_SHAKING;
    c->since = c->heard = sim.now;
    jw_i32(&c->out, 45);
    jw_i32(&c->out, 0);
    jw_i64(&c->out, c->last_zxid);
    jw_i32(&c->out, c->asked_timeout);
    jw_i64(&c->out, c->session);
    jw_bytes(&c->out, slice_of(c->passwd, sizeof c->passwd));
    jw_u8(&c->out, 0);
    client_push(c);
}

void client_closed(uint32_t id) {
    client_lost(&clients[id], false);
}

void client_abandon(uint32_t id) {
    struct client *c = &clients[id];
    story("c%u dies, session 0x%llx", id, (unsigned long long)c->session);
    if (c->session) c->dead_sessions++;
    client_lost(c, true);
    client_fresh_session(c);
    c->closing_session = false;
    c->life++;
    c->wake_at = 0;
    client_wake(c, (int64_t)rnd(3 * SEC));
}

bool client_session_live(int64_t session) {
    for (uint32_t i = 0; i < sim.t.clients; i++)
        if (clients[i].session == session) return true;
    return false;
}

bool client_progress(int64_t since) {
    for (uint32_t i = 0; i < sim.t.clients; i++)
        if (clients[i].acked_at > since) return true;
    return false;
}

/* --- what comes in --- */

static void client_handshake(struct client *c, struct slice frame) {
    struct jr r = jr_open(frame, 1u << 20);
    (void)jr_i32(&r);
    int32_t timeout = jr_i32(&r);
    int64_t session = jr_i64(&r);
    struct slice passwd = jr_bytes(&r);
    if (r.bad || passwd.n != 16) sim_fail("protocol", "c%u: bad connect response", c->id);
    if (!timeout || !session) {
        client_expired(c);
        client_fresh_session(c);
        client_lost(c, true);
        return;
    }
    bool again = c->session != 0;
    if (again && session != c->session) sim_fail("session", "c%u is given another one", c->id);
    story("c%u %s session 0x%llx at s%u", c->id, again ? "resumes" : "begins",
          (unsigned long long)session, c->server + 1);
    c->session = session;
    c->timeout = timeout;
    memcpy(c->passwd, passwd.p, 16);
    c->phase = CLIENT_OPEN;
    c->since = sim.now;
    if (buf_len(&c->watches)) client_set_watches(c);
    client_wake(c, 0);
}

void client_bytes(uint32_t id, struct slice bytes) {
    struct client *c = &clients[id];
    uint32_t life = c->life;
    if (c->phase != CLIENT_SHAKING && c->phase != CLIENT_OPEN) return;
    c->heard = sim.now;
    buf_compact(&c->in);
    buf_put(&c->in, bytes.p, bytes.n);
    while (buf_len(&c->in) >= 4 && life == c->life) {
        const uint8_t *p = c->in.p + c->in.head;
        size_t len = be32(p);
        if (len > 1u << 24) sim_fail("protocol", "c%u: a frame of %zu bytes", id, len);
        if (buf_len(&c->in) < len + 4) break;
        struct slice frame = slice_of(p + 4, len);
        if (c->phase == CLIENT_SHAKING)
            client_handshake(c, frame);
        else if (c->phase == CLIENT_OPEN)
            client_reply(c, frame);
        if (c->phase == CLIENT_AWAY) return;
        buf_consume(&c->in, len + 4);
    }
    if (c->phase == CLIENT_OPEN && c->depth < sim.t.depth) client_wake(c, rnd_wait(sim.t.think));
}

/* --- time --- */

static void client_time(struct client *c) {
    int64_t limit = c->phase == CLIENT_OPEN ? c->timeout * MS * 2 / 3 : 4 * SEC;
    if (c->phase == CLIENT_AWAY) {
        client_connect(c);
        return;
    }
    if (c->phase == CLIENT_DIALING) {
        if (sim.now - c->since >= 3 * SEC) client_lost(c, true);
        return;
    }
    if (sim.now - c->heard > limit) {
        story("c%u hears nothing from s%u", c->id, c->server + 1);
        client_lost(c, true);
        return;
    }
    client_push(c);
    if (c->phase != CLIENT_OPEN || c->closing_session) return;
    if (sim.now - c->last_sent >= c->timeout * MS / 3) {
        (void)client_begin(c, XID_PING, ZOP_PING);
        client_end(c);
    }
    if (sim.now >= c->next_request && !sim.quiet) {
        c->next_request = sim.now + rnd_wait(sim.t.think);
        if (sim.acked > CLIENT_ENOUGH) c->next_request += rnd_wait(2 * SEC);
        for (uint64_t n = 1 + rnd(sim.t.depth); n > 0 && c->depth < sim.t.depth; n--)
            if (!c->closing_session) client_request(c);
    }
}

void client_event(const struct event *e) {
    struct client *c = &clients[e->who];
    if (e->gen != c->life || e->arg != c->wake_at) return;
    c->wake_at = 0;
    client_time(c);
    if (c->phase != CLIENT_OPEN) {
        client_wake(c, 500 * MS);
        return;
    }
    int64_t wait = c->last_sent + c->timeout * MS / 3 - sim.now;
    if (c->next_request - sim.now < wait) wait = c->next_request - sim.now;
    client_wake(c, wait < 1 * MS ? 1 * MS : wait);
}
