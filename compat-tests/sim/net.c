/*
 * Byte streams between processes.
 *
 * What is sent arrives after the latency of its moment, in order, in pieces that have nothing to do
 * with the writes. A direction holds a limited number of bytes, after which the sender waits. A
 * process that is killed leaves its host to say goodbye; a host without power says nothing, and its
 * peers find out when they send to it after it is back, or not at all. Blocked hosts lose nothing:
 * TCP sends again when the way is free.
 */
#include "svg.h"

#define NET_READ 65536u
#define NET_SYN_AGAIN (1 * SEC)
#define NET_SYN_TRIES 30

struct mark {
    int64_t at;
    size_t n;
};

static struct stream *net_stream(uint32_t id) {
    ZK_ASSERT(id < sim.net.n && sim.net.streams[id].used);
    return &sim.net.streams[id];
}

static int64_t net_latency(void) {
    int64_t us = sim.t.net_min + (int64_t)rnd((uint64_t)sim.t.net_spread + 1);
    return chance(3) ? us + (int64_t)rnd(50 * MS) : us;
}

static bool net_blocked(uint32_t from, uint32_t to) {
    return sim.net.blocked[from][to];
}

static struct server *net_server(uint32_t host) {
    return host < SIM_CLIENT_HOST ? &sim.servers[host] : NULL;
}

static bool net_dark(uint32_t host) {
    const struct server *s = net_server(host);
    return s && s->dark;
}

int net_side(uint32_t stream, uint32_t host) {
    return net_stream(stream)->end[0].host == host ? 0 : 1;
}

static void net_free(struct stream *k) {
    for (int i = 0; i < 2; i++) {
        buf_free(&k->flow[i].bytes);
        buf_free(&k->flow[i].marks);
    }
    uint32_t gen = k->gen + 1;
    memset(k, 0, sizeof *k);
    k->gen = gen;
}

static bool net_pending(const struct flow *f) {
    return buf_len(&f->bytes) || f->fin || f->reset;
}

/* Something of the flow is due: at the time of its next byte, or now. */
static void net_schedule(uint32_t id, int side, int64_t at) {
    struct stream *k = net_stream(id);
    struct flow *f = &k->flow[side];
    if (f->queued || !net_pending(f)) return;
    f->queued = true;
    struct mark m;
    if (!f->reset && buf_len(&f->marks)) {
        memcpy(&m, f->marks.p + f->marks.head, sizeof m);
        if (m.at > at) at = m.at;
    }
    event_at(at, EV_DELIVER, id, k->gen, side);
}

/* --- dialing --- */

uint32_t net_dial(enum end_kind kind, uint32_t host, uint32_t number, uint32_t to, uint16_t port) {
    uint32_t i = 0;
    struct net *n = &sim.net;
    while (i < n->n && n->streams[i].used) i++;
    if (i == n->n) {
        if (n->n == n->cap) {
            n->cap = n->cap ? n->cap * 2 : 64;
            n->streams = mem_realloc(n->streams, sizeof *n->streams * n->cap);
        }
        memset(&n->streams[n->n++], 0, sizeof *n->streams);
    }
    struct stream *k = &n->streams[i];
    k->used = true;
    k->port = port;
    k->end[0] = (struct end){kind, host, number, false};
    k->end[1] = (struct end){END_GONE, to, SIM_NONE, false};
    event_at(sim.now + net_latency(), EV_ARRIVE, i, k->gen, 0);
    return i;
}

/* Numbers of clients go on with those of contenders. */
static void net_tell_gone(uint32_t client) {
    if (client < SIM_CLIENTS)
        caller_closed(client);
    else
        contender_closed(client - SIM_CLIENTS);
}

static void net_tell_opened(uint32_t client) {
    if (client < SIM_CLIENTS)
        caller_opened(client);
    else
        contender_opened(client - SIM_CLIENTS);
}

static void net_tell_bytes(uint32_t client, struct slice bytes) {
    if (client < SIM_CLIENTS)
        caller_bytes(client, bytes);
    else
        contender_bytes(client - SIM_CLIENTS, bytes);
}

static void net_tell_room(uint32_t client) {
    if (client < SIM_CLIENTS)
        caller_room(client);
    else
        contender_room(client - SIM_CLIENTS);
}

static void net_tell_closed(const struct end *e) {
    if (e->kind == END_CLIENT)
        net_tell_gone(e->host - SIM_CLIENT_HOST);
    else
        server_closed(net_server(e->host), e->kind == END_LINK, e->number);
}

static void net_refused(uint32_t id) {
    struct stream *k = net_stream(id);
    struct end e = k->end[0];
    net_free(k);
    if (e.kind != END_GONE) net_tell_closed(&e);
}

static void net_arrive(uint32_t id, int64_t tries) {
    struct stream *k = net_stream(id);
    uint32_t from = k->end[0].host, to = k->end[1].host;
    struct server *s = net_server(to);
    if (k->end[0].kind == END_GONE) {
        net_free(k);
        return;
    }
    if (s->paused_until > sim.now) {
        event_at(s->paused_until, EV_ARRIVE, id, k->gen, tries);
        return;
    }
    if (net_blocked(from, to) || net_blocked(to, from) || s->dark) {
        if (tries >= NET_SYN_TRIES)
            net_refused(id);
        else
            event_at(sim.now + NET_SYN_AGAIN, EV_ARRIVE, id, k->gen, tries + 1);
        return;
    }
    uint32_t number = SIM_NONE;
    bool listens = server_listens(s, k->port);
    if (listens) number = server_accept(s, k->port, from, id);
    k = net_stream(id);
    int64_t back = sim.now + net_latency();
    if (number != SIM_NONE) {
        k->end[1].number = number;
        k->end[1].kind = k->port == PORT_CLIENT ? END_CONN : END_LINK;
    } else {
        k->flow[1].fin = listens;
    }
    k->flow[1].last_arrival = back;
    event_at(back, EV_STANDS, id, k->gen, listens);
}

static void net_stands(uint32_t id, bool accepted) {
    struct stream *k = net_stream(id);
    struct end e = k->end[0];
    if (!accepted) {
        net_refused(id);
        return;
    }
    k->standing = true;
    if (e.kind == END_GONE && k->end[1].kind == END_GONE) {
        net_free(k);
        return;
    }
    net_schedule(id, 0, sim.now);
    net_schedule(id, 1, sim.now);
    if (e.kind == END_CLIENT)
        net_tell_opened(e.host - SIM_CLIENT_HOST);
    else if (e.kind == END_LINK)
        server_opened(net_server(e.host), e.number);
}

/* --- sending --- */

size_t net_send(uint32_t id, int side, struct slice bytes) {
    struct stream *k = net_stream(id);
    struct flow *f = &k->flow[side];
    struct end *peer = &k->end[1 - side];
    size_t queued = buf_len(&f->bytes), room = queued < sim.t.socket ? sim.t.socket - queued : 0;
    size_t take = bytes.n < room ? bytes.n : room;
    if (take < bytes.n) k->end[side].waits = true;
    if (!take) return 0;
    if (peer->kind == END_GONE && (side == 1 || k->standing)) {
        /* Nobody there: what answers is the other host's kernel, if it has power. */
        if (net_dark(peer->host) || k->flow[1 - side].fin) return take;
        k->flow[1 - side].reset = true;
        k->flow[1 - side].queued = false;
        net_schedule(id, 1 - side, sim.now + 2 * net_latency());
        return take;
    }
    int64_t at = sim.now + net_latency();
    if (at < f->last_arrival) at = f->last_arrival;
    f->last_arrival = at;
    struct mark m = {at, take};
    buf_compact(&f->bytes);
    buf_compact(&f->marks);
    buf_put(&f->bytes, bytes.p, take);
    svg_sent(id, side, slice_of(bytes.p, take));
    buf_put(&f->marks, &m, sizeof m);
    net_schedule(id, side, sim.now);
    return take;
}

/* --- closing --- */

static void net_end(uint32_t id, int side, bool quiet, bool abort) {
    struct stream *k = net_stream(id);
    struct flow *to_us = &k->flow[1 - side], *from_us = &k->flow[side];
    k->end[side].kind = END_GONE;
    bool unread = buf_len(&to_us->bytes) != 0;
    buf_free(&to_us->bytes);
    buf_free(&to_us->marks);
    if (quiet) return;
    if (k->end[1 - side].kind == END_GONE && (side == 1 || k->standing)) {
        net_free(k);
        return;
    }
    if (abort || (unread && chance(500)))
        from_us->reset = true;
    else
        from_us->fin = true;
    if (side == 0 && !k->standing) return; /* its arrival will see it */
    from_us->queued = false; /* an event under way finds nothing more to do */
    net_schedule(id, side, sim.now + net_latency());
}

void net_close(uint32_t id, int side, bool abort) {
    net_end(id, side, false, abort);
}

void net_host_gone(uint32_t host, bool dark) {
    for (uint32_t i = 0; i < sim.net.n; i++)
        for (int side = 0; side < 2; side++) {
            const struct stream *k = &sim.net.streams[i];
            if (k->used && k->end[side].kind != END_GONE && k->end[side].host == host)
                net_end(i, side, dark, false);
        }
}

/* --- delivery --- */

static bool net_held(uint32_t id, int side) {
    struct stream *k = net_stream(id);
    struct flow *f = &k->flow[side];
    const struct end *to = &k->end[1 - side];
    const struct server *s = net_server(to->host);
    int64_t until = f->stalled_until;
    if (side == 1 && !k->standing) return true;
    if (s && s->paused_until > until) until = s->paused_until;
    if (net_blocked(k->end[side].host, to->host)) return true;
    if (until > sim.now) {
        net_schedule(id, side, until);
        return true;
    }
    return s && to->kind != END_GONE && !f->reset &&
           !server_reads(s, to->kind == END_LINK, to->number);
}

static size_t net_due(struct flow *f) {
    size_t due = 0;
    for (size_t at = f->marks.head; at < f->marks.n; at += sizeof(struct mark)) {
        struct mark m;
        memcpy(&m, f->marks.p + at, sizeof m);
        if (m.at > sim.now) break;
        due += m.n;
    }
    if (due > 1 && chance(sim.t.split)) due = 1 + rnd(due - 1);
    return due < NET_READ ? due : NET_READ;
}

static void net_take_marks(struct flow *f, size_t n) {
    while (n) {
        struct mark m;
        memcpy(&m, f->marks.p + f->marks.head, sizeof m);
        size_t part = m.n < n ? m.n : n;
        m.n -= part;
        n -= part;
        memcpy(f->marks.p + f->marks.head, &m, sizeof m);
        if (!m.n) buf_consume(&f->marks, sizeof m);
    }
}

static void net_ended(uint32_t id, int side) {
    struct stream *k = net_stream(id);
    struct end e = k->end[1 - side];
    bool other_gone = k->end[side].kind == END_GONE;
    k->end[1 - side].kind = END_GONE;
    if (other_gone) {
        net_free(k);
    } else { /* a reset while the sender holds on: it hears of it too */
        k->flow[1 - side].reset = true;
        net_schedule(id, 1 - side, sim.now);
    }
    if (e.kind != END_GONE) net_tell_closed(&e);
}

static void net_deliver(uint32_t id, int side) {
    struct stream *k = net_stream(id);
    struct flow *f = &k->flow[side];
    f->queued = false;
    if (!net_pending(f) || net_held(id, side)) return;
    size_t n = f->reset ? 0 : net_due(f);
    if (!n) {
        if (f->reset || !buf_len(&f->bytes))
            net_ended(id, side);
        else
            net_schedule(id, side, sim.now);
        return;
    }
    uint8_t *copy = mem_alloc(n);
    memcpy(copy, f->bytes.p + f->bytes.head, n);
    buf_consume(&f->bytes, n);
    net_take_marks(f, n);
    svg_delivered(id, side, n);
    struct end e = k->end[1 - side];
    if (k->end[side].waits && k->end[side].kind != END_GONE) {
        k->end[side].waits = false;
        event_at(sim.now + net_latency(), EV_ROOM, id, k->gen, side);
    }
    net_schedule(id, side, sim.now + (int64_t)rnd(200));
    story_mix((uint64_t)n ^ (uint64_t)id << 32);
    if (e.kind == END_CLIENT)
        net_tell_bytes(e.host - SIM_CLIENT_HOST, slice_of(copy, n));
    else if (e.kind != END_GONE)
        server_bytes(net_server(e.host), e.kind == END_LINK, e.number, slice_of(copy, n));
    mem_free(copy);
}

static void net_room(uint32_t id, int side) {
    const struct end *e = &net_stream(id)->end[side];
    if (e->kind == END_CLIENT)
        net_tell_room(e->host - SIM_CLIENT_HOST);
    else if (e->kind != END_GONE)
        server_room(net_server(e->host), e->kind == END_LINK, e->number);
}

void net_wake(uint32_t id, int side) {
    net_schedule(id, 1 - side, sim.now);
}

void net_unblock(void) {
    for (uint32_t i = 0; i < sim.net.n; i++) {
        if (!sim.net.streams[i].used || !sim.net.streams[i].standing) continue;
        net_schedule(i, 0, sim.now + (int64_t)rnd(200 * MS));
        net_schedule(i, 1, sim.now + (int64_t)rnd(200 * MS));
    }
}

void net_calm(void) {
    for (uint32_t i = 0; i < sim.net.n; i++)
        for (int side = 0; side < 2; side++) {
            struct flow *f = &sim.net.streams[i].flow[side];
            f->stalled_until = 0;
            if (!sim.net.streams[i].used) continue;
            f->queued = false;
            net_schedule(i, side, sim.now);
        }
}

bool net_spoil(bool reset) {
    uint32_t n = sim.net.n, i = n ? (uint32_t)rnd(n) : 0;
    for (uint32_t k = 0; k < n; k++, i = (i + 1) % n) {
        struct stream *s = &sim.net.streams[i];
        if (!s->used || !s->standing) continue;
        int side = (int)rnd(2);
        if (!reset) {
            s->flow[side].stalled_until = sim.now + rnd_wait(3 * SEC);
            return true;
        }
        for (side = 0; side < 2; side++) {
            s->flow[side].reset = true;
            s->flow[side].queued = false;
            net_schedule(i, side, sim.now + (int64_t)rnd(50 * MS));
        }
        return true;
    }
    return false;
}

void net_forget_sent(uint32_t host) {
    for (uint32_t i = 0; i < sim.net.n; i++)
        for (int side = 0; side < 2; side++) {
            struct stream *k = &sim.net.streams[i];
            if (!k->used || k->end[side].host != host) continue;
            buf_clear(&k->flow[side].bytes);
            buf_clear(&k->flow[side].marks);
        }
}

void net_event(const struct event *e) {
    if (e->who >= sim.net.n || !sim.net.streams[e->who].used) return;
    if (sim.net.streams[e->who].gen != e->gen) return;
    switch (e->kind) {
    case EV_ARRIVE:
        net_arrive(e->who, e->arg);
        break;
    case EV_STANDS:
        net_stands(e->who, e->arg != 0);
        break;
    case EV_ROOM:
        net_room(e->who, (int)e->arg);
        break;
    default:
        net_deliver(e->who, (int)e->arg);
        break;
    }
}
