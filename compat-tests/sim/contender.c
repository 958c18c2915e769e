/*
 * Contenders: the product's own client and lock, several of them, for one lock.
 *
 * Each has a client machine (src/client) whose orders are carried out here, on the same network as
 * everybody's. It waits for the lock, holds it for a while, gives it back, and sometimes dies with
 * all it has. What must hold, whatever happens to servers, disks and network:
 *   mutual exclusion   no two hold the lock, as they are told, at the same time
 *   tokens             each new owner's token is larger than all before it
 *   outcome            a wish for the lock ends once, and never well for one that has it not
 *   liveness           once a quorum is well each of them gets the lock (nemesis.c)
 * They have dice of their own, so that runs without them are what they would be.
 */
#include <stdio.h>

#include "client/lock.h"
#include "sim.h"

#define CONTENDER_HOST (SIM_CLIENT_HOST + SIM_CLIENTS)
#define LOCK_PATH "/lock"

enum contender_phase { CONTENDER_DEAD, CONTENDER_MAKING, CONTENDER_IDLE, CONTENDER_WAITING,
                       CONTENDER_HOLDING };

struct contender {
    uint32_t id, life;
    enum contender_phase phase;
    struct client *c;
    struct lock lock;
    bool locked;     /* lock was made */
    uint32_t stream; /* SIM_NONE: none */
    bool standing;
    bool owns;       /* as it was told */
    int64_t act_at;  /* when its owner does something */
    int64_t wake_at;
    int64_t got_at;  /* the lock, last */
    int64_t cut_until; /* from the servers, one way or both; 0: not */
};

static struct contender contenders[SIM_CONTENDERS];
static struct prng dice;
static int64_t last_token;

static uint64_t roll(uint64_t bound) {
    return prng_below(&dice, bound);
}

static int64_t contender_ms(void) {
    return sim.now / MS + 1000;
}

static void contender_wake(struct contender *k, int64_t at) {
    if (at < sim.now) at = sim.now;
    if (k->wake_at && k->wake_at >= sim.now && k->wake_at <= at) return;
    k->wake_at = at;
    event_at(at, EV_CONTENDER, k->id, k->life, at);
}

/* --- what it is told --- */

static void contender_told(void *user, enum zk_hold_state state, int64_t token) {
    struct contender *k = user;
    bool fresh = state == ZK_HOLD_OWNED && token != last_token;
    k->owns = state == ZK_HOLD_OWNED;
    story("k%u: lock %d, token 0x%llx", k->id, (int)state, (unsigned long long)token);
    if (!k->owns) return;
    for (uint32_t i = 0; i < sim.t.contenders; i++)
        if (i != k->id && contenders[i].owns)
            sim_fail("mutual exclusion", "k%u and k%u hold the lock", i, k->id);
    if (fresh && token < last_token)
        sim_fail("tokens", "k%u is given 0x%llx after 0x%llx", k->id, (unsigned long long)token,
                 (unsigned long long)last_token);
    last_token = token;
}

static void contender_answered(void *user, int error) {
    struct contender *k = user;
    if (k->phase != CONTENDER_WAITING)
        sim_fail("outcome", "k%u hears %d and waits for nothing", k->id, error);
    story("k%u: acquire %d", k->id, error);
    k->phase = error ? CONTENDER_IDLE : CONTENDER_HOLDING;
    k->act_at = sim.now + (int64_t)roll(error ? 500 : 300) * MS;
    if (!error) k->got_at = sim.now;
    contender_wake(k, k->act_at);
}

/* --- the host's part --- */

static void contender_obey(struct contender *k, const struct client_order *o) {
    struct net_addr at = {.ip_len = 4, .port = PORT_CLIENT};
    switch (o->kind) {
    case CLIENT_RESOLVE:
        at.ip[0] = (uint8_t)atoi(o->name + 1);
        client_resolved(k->c, &at, 1);
        break;
    case CLIENT_DIAL:
        k->standing = false;
        k->stream = net_dial(END_CLIENT, CONTENDER_HOST + k->id, 0, o->addr.ip[0], PORT_CLIENT);
        break;
    case CLIENT_HANG_UP:
        if (k->stream != SIM_NONE) net_close(k->stream, 0, roll(5) == 0);
        k->stream = SIM_NONE;
        k->standing = false;
        break;
    case CLIENT_PROBE:
        break;
    }
}

/* Everything that an input has made due. */
static void contender_settle(struct contender *k) {
    struct client_order o;
    struct client_post *p;
    const char *text;
    int level;
    bool more = true;
    while (more) {
        more = false;
        while (client_take_order(k->c, &o)) contender_obey(k, &o);
        struct buf *out = client_out(k->c);
        if (k->standing && k->stream != SIM_NONE && buf_len(out)) {
            buf_consume(out, net_send(k->stream, 0, buf_slice(out)));
            client_sent(k->c);
        }
        for (; (p = client_take_post(k->c)); more = true) p->run(p);
    }
    while (client_take_log(k->c, &level, &text)) story("k%u: %s", k->id, text);
    int64_t next = client_next_at(k->c);
    if (next != INT64_MAX) contender_wake(k, (next - 1000) * MS);
}

void contender_opened(uint32_t id) {
    struct contender *k = &contenders[id];
    k->standing = true;
    client_clock(k->c, contender_ms());
    client_dialed(k->c, true);
    contender_settle(k);
}

void contender_closed(uint32_t id) {
    struct contender *k = &contenders[id];
    k->stream = SIM_NONE;
    client_clock(k->c, contender_ms());
    if (k->standing)
        client_broken(k->c, "the server hung up");
    else
        client_dialed(k->c, false);
    k->standing = false;
    contender_settle(k);
}

void contender_bytes(uint32_t id, struct slice bytes) {
    struct contender *k = &contenders[id];
    client_clock(k->c, contender_ms());
    client_received(k->c, bytes);
    contender_settle(k);
}

void contender_room(uint32_t id) {
    contender_settle(&contenders[id]);
}

/* --- its life --- */

/* What it hears all the time, whether it is heard or not. */
static void contender_hears(void *user, const struct zk_event *event) {
    (void)user;
    sim.events_seen++;
    story_mix((uint64_t)event->zxid);
}

static void contender_made(void *user, const struct zk_result *r) {
    struct contender *k = user;
    struct zk_op op = zk_add_watch("/", ZK_WATCH_RECURSIVE, contender_hears, k);
    if (k->phase == CONTENDER_MAKING) (void)client_submit(k->c, &op, CLIENT_INSIDE, NULL, NULL);
    bool there = r->error == ZK_OK || r->error == ZK_NODE_EXISTS;
    k->phase = there ? CONTENDER_IDLE : CONTENDER_MAKING;
    k->act_at = sim.now + (int64_t)roll(300) * MS;
    contender_wake(k, k->act_at);
}

static void contender_birth(struct contender *k) {
    char hosts[128] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < sim.n_servers; i++)
        n += (size_t)snprintf(hosts + n, sizeof hosts - n, "%ss%u", i ? "," : "", i);
    struct zk_options options = {.flags = ZK_RENEW_SESSION, .op_timeout_ms = -1};
    /* A follower that its leader does not hear any more answers pings for syncLimit ticks. A session
     * that may be given up before that proves nothing to its owner: see zk_lock. */
    uint64_t ticks = (uint64_t)sim.t.sync_limit + 4;
    if (ticks < 20) ticks += roll(21 - ticks);
    options.session_timeout_ms = (int)ticks * sim.t.tick;
    struct client_setup setup = {.options = &options, .chroot = "", .seed = prng_next(&dice),
                                 .now = contender_ms()};
    if (hosts_parse(&setup.hosts, hosts, NULL) || client_new(&k->c, &setup))
        sim_fail("contender", "k%u cannot be made", k->id);
    struct zk_lock_options lock = {.on_state = contender_told, .user = k};
    if (lock_init(&k->lock, k->c, k, LOCK_PATH, &lock))
        sim_fail("contender", "no lock can be made");
    k->stream = SIM_NONE;
    k->phase = CONTENDER_MAKING;
    k->owns = false;
    k->act_at = sim.now;
}

static void contender_death(struct contender *k) {
    story("k%u dies", k->id);
    if (k->stream != SIM_NONE) net_close(k->stream, 0, roll(2) == 0);
    lock_free(&k->lock);
    client_free(k->c);
    k->c = NULL;
    k->stream = SIM_NONE;
    k->phase = CONTENDER_DEAD;
    k->owns = k->standing = false;
    k->life++;
    k->wake_at = 0;
    k->act_at = sim.now + (int64_t)roll(3000) * MS;
}

/* Blocks the way to the servers, or from them, or both, or opens them. */
static void contender_ways(const struct contender *k, bool to, bool from) {
    uint32_t here = CONTENDER_HOST + k->id;
    for (uint32_t s = 0; s < sim.n_servers; s++) {
        sim.net.blocked[here][s] = to;
        sim.net.blocked[s][here] = from;
    }
    net_unblock();
}

/* An owner that hears nothing, or is not heard, for longer than its session lasts. */
static void contender_cut(struct contender *k) {
    uint64_t ways = 1 + roll(3);
    contender_ways(k, ways & 1, ways & 2);
    k->cut_until = sim.now + (int64_t)roll(3) * client_timeout(k->c) * MS;
    story("k%u is cut off, %s", k->id, ways == 1 ? "unheard" : ways == 2 ? "deaf" : "both ways");
}

static void contender_mend(struct contender *k) {
    if (!k->cut_until || (sim.now < k->cut_until && sim.phase == PHASE_FAULTS)) return;
    k->cut_until = 0;
    if (sim.phase == PHASE_FAULTS) contender_ways(k, false, false); /* else all is open again */
}

/* The process around the lock does its next thing. */
static void contender_act(struct contender *k) {
    struct zk_op op;
    k->act_at = INT64_MAX;
    if (k->phase != CONTENDER_DEAD && sim.phase == PHASE_FAULTS && roll(200) == 0) {
        contender_death(k);
        return;
    }
    if (k->phase == CONTENDER_HOLDING && sim.phase == PHASE_FAULTS && !k->cut_until &&
        roll(20) == 0) {
        contender_cut(k);
        k->act_at = sim.now + (int64_t)roll(3) * client_timeout(k->c) * MS; /* and keeps the lock */
        return;
    }
    switch (k->phase) {
    case CONTENDER_DEAD:
        contender_birth(k);
        break;
    case CONTENDER_MAKING:
        op = zk_create(LOCK_PATH, NULL, -1, ZK_PERSISTENT);
        (void)client_submit(k->c, &op, CLIENT_INSIDE, contender_made, k);
        break;
    case CONTENDER_IDLE:
        if (sim.quiet) break;
        k->phase = CONTENDER_WAITING;
        if (lock_acquire(&k->lock, roll(3) ? -1 : (int)roll(3000), false, contender_answered, k))
            sim_fail("outcome", "k%u may not even wait", k->id);
        break;
    case CONTENDER_WAITING:
        break;
    case CONTENDER_HOLDING:
        k->phase = CONTENDER_IDLE;
        k->owns = false; /* it stops being the owner before it says so */
        k->act_at = sim.now + (int64_t)roll(300) * MS;
        if (lock_release(&k->lock)) sim_fail("outcome", "k%u cannot give back what it has", k->id);
        break;
    }
}

void contender_event(const struct event *e) {
    struct contender *k = &contenders[e->who];
    if (e->gen != k->life || e->arg != k->wake_at) return;
    k->wake_at = 0;
    if (k->c) client_tick(k->c, contender_ms());
    contender_mend(k);
    if (sim.now >= k->act_at) contender_act(k);
    if (k->c) contender_settle(k);
    if (k->act_at != INT64_MAX) contender_wake(k, k->act_at);
    if (k->cut_until) contender_wake(k, k->cut_until);
}

void contender_create(uint32_t id) {
    struct contender *k = &contenders[id];
    memset(k, 0, sizeof *k);
    if (id == 0) {
        dice.state = hash_u64(sim.seed);
        last_token = 0;
    }
    k->id = id;
    k->stream = SIM_NONE;
    k->act_at = (int64_t)roll(1000) * MS;
    contender_wake(k, k->act_at);
}

/* --- what is asked about them --- */

bool contender_session_live(int64_t session) {
    for (uint32_t i = 0; i < sim.t.contenders; i++)
        if (contenders[i].c && client_session_id(contenders[i].c) == session) return true;
    return false;
}

bool contender_progress(int64_t since) {
    for (uint32_t i = 0; i < sim.t.contenders; i++)
        if (contenders[i].got_at <= since) return false;
    return true;
}
