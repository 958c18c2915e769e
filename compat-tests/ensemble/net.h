/*
 * A network of election machines in memory, under one seed, in steps of a millisecond: for
 * election_test.c. Connections are byte streams that come late and in pieces, stall, and break. A
 * side of a connection that belongs to no machine is raw: the test writes and reads its bytes.
 *
 * What a machine decides is played out in the plainest way that could work: a leader needs a quorum
 * of followers that can reach it, a follower needs its leader; otherwise they look again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/jute.h"
#include "ensemble/election.h"

#define SERVERS 8
#define CONNS 512
#define RAW (-1)

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) fail(#x, __LINE__);                                                              \
    } while (0)

struct server {
    int64_t sid;
    bool up, established;
    struct config cfg;
    struct links links;
    struct logq log;
    struct election e;
    int64_t zxid, epoch, ok_at, decided_at;
};

struct conn {
    bool used, opened, refused;
    int server[2];     /* side 0 has dialed */
    uint32_t link[2];
    bool here[2];      /* the side has not hung up */
    bool deaf[2];      /* it does not read */
    bool eof[2];       /* to be told when the bytes are through */
    struct buf to[2];  /* bytes on the way */
    struct buf got;    /* those that a raw side has read */
    int64_t at[2];     /* the next piece arrives */
};

static struct net {
    struct prng rng;
    uint64_t seed;
    int64_t now, delay; /* delay: the longest, ms */
    int n;
    struct server s[SERVERS];
    struct conn c[CONNS];
    unsigned next;
    bool cut[SERVERS][SERVERS];
    bool verbose;
} net;

static void fail(const char *what, int line) {
    printf("FAILED line %d, seed %llu, at %lld ms: %s\n", line, (unsigned long long)net.seed,
           (long long)net.now, what);
    for (int i = 0; i < net.n; i++) {
        struct election *e = &net.s[i].e;
        if (net.s[i].up)
            printf("  server %lld: state %d, leader %lld, round %lld, epoch %lld, zxid %llx\n",
                   (long long)net.s[i].sid, (int)e->state, (long long)e->vote.leader,
                   (long long)e->clock, (long long)net.s[i].epoch,
                   (unsigned long long)net.s[i].zxid);
    }
    exit(1);
}

static int64_t roll(int64_t below) {
    return (int64_t)prng_below(&net.rng, (uint64_t)below);
}

static int64_t late(void) {
    return net.now + (net.delay ? roll(net.delay + 1) : 0);
}

static bool reachable(int a, int b) {
    return a == RAW || b == RAW || (!net.cut[a][b] && !net.cut[b][a]);
}

/* --- connections --- */

static struct conn *conn_new(int from, int to) {
    for (int i = 0; i < CONNS; i++) { /* a place is left alone for as long as possible */
        struct conn *c = &net.c[net.next++ % CONNS];
        if (c->used) continue;
        memset(c, 0, sizeof *c);
        c->used = c->here[0] = true;
        c->server[0] = from;
        c->server[1] = to;
        c->link[0] = c->link[1] = LINK_NONE;
        c->at[0] = c->at[1] = late();
        return c;
    }
    fail("too many connections", __LINE__);
    return NULL;
}

static void conn_free(struct conn *c) {
    buf_free(&c->to[0]);
    buf_free(&c->to[1]);
    buf_free(&c->got);
    memset(c, 0, sizeof *c);
}

static struct conn *conn_find(int server, uint32_t link, int *side) {
    for (int i = 0; i < CONNS; i++)
        for (*side = 0; *side < 2; ++*side)
            if (net.c[i].used && net.c[i].here[*side] && net.c[i].server[*side] == server &&
                net.c[i].link[*side] == link)
                return &net.c[i];
    fail("no such connection", __LINE__);
    return NULL;
}

static void decided(struct server *s, bool ended) {
    if (!ended) return;
    CHECK(s->e.state != SERVER_LOOKING && !s->e.looking);
    s->ok_at = s->decided_at = net.now;
    s->established = false;
}

/* Which server listens there: ports are 38880 + sid. */
static int listener(const struct link *k) {
    for (int i = 0; i < net.n; i++)
        if (k->port == 38880 + net.s[i].sid) return i;
    return RAW;
}

static void effect(int i, const struct link_effect *fx) {
    struct server *s = &net.s[i];
    struct link *k = link_at(&s->links, fx->link);
    int side;
    if (fx->kind == LINK_DIAL) {
        struct conn *c = conn_new(i, listener(k));
        c->link[0] = fx->link;
        c->refused = c->server[1] != RAW && !net.s[c->server[1]].up;
        return;
    }
    struct conn *c = conn_find(i, fx->link, &side);
    struct slice out = buf_slice(&k->out);
    if (c->opened && c->here[!side] && !(c->deaf[!side] && buf_len(&c->to[!side]) > 65536)) {
        buf_put(&c->to[!side], out.p, out.n);
        link_sent(&s->links, fx->link, out.n);
    }
    if (fx->kind == LINK_SEND) return;
    c->here[side] = false;
    c->eof[!side] = true;
    decided(s, election_closed(&s->e, fx->link, net.now));
    link_gone(&s->links, fx->link);
}

static void drain(int i) {
    struct link_effect fx;
    const char *text;
    int level;
    while (link_take_effect(&net.s[i].links, &fx)) effect(i, &fx);
    while (log_take(&net.s[i].log, &level, &text))
        if (net.verbose)
            printf("%6lld  %lld: %s\n", (long long)net.now, (long long)net.s[i].sid, text);
}

/* The end of a connection, as one side of it learns. */
static void lose(struct conn *c, int side) {
    int i = c->server[side];
    if (!c->here[side]) return;
    c->here[side] = false;
    if (i == RAW) return;
    decided(&net.s[i], election_closed(&net.s[i].e, c->link[side], net.now));
    link_gone(&net.s[i].links, c->link[side]);
    drain(i);
}

static void reset(struct conn *c) {
    lose(c, 0);
    lose(c, 1);
    conn_free(c);
}

static void accept_conn(struct conn *c) {
    int i = c->server[1];
    c->opened = c->here[1] = true;
    if (i != RAW) {
        c->link[1] = link_accepted(&net.s[i].links, LINK_ELECTION, net.now);
        decided(&net.s[i], election_accepted(&net.s[i].e, c->link[1], net.now));
        drain(i);
    }
    i = c->server[0];
    if (i != RAW) {
        link_opened(&net.s[i].links, c->link[0]);
        decided(&net.s[i], election_opened(&net.s[i].e, c->link[0], net.now));
        drain(i);
    }
}

static void deliver(struct conn *c, int side) {
    int i = c->server[side];
    size_t n = buf_len(&c->to[side]);
    if (!c->here[side] || c->deaf[side] || net.now < c->at[side]) return;
    c->at[side] = late();
    if (!n) {
        if (c->eof[side]) lose(c, side);
        return;
    }
    if (net.delay && roll(2)) n = 1 + (size_t)roll((int64_t)n);
    struct slice piece = slice_of(buf_slice(&c->to[side]).p, n);
    if (i == RAW) {
        buf_put(&c->got, piece.p, piece.n);
    } else if (link_received(&net.s[i].links, c->link[side], piece)) {
        decided(&net.s[i], election_input(&net.s[i].e, c->link[side], net.now));
    }
    buf_consume(&c->to[side], n);
    if (i != RAW) drain(i);
}

static void conn_step(struct conn *c) {
    if (!reachable(c->server[0], c->server[1])) return;
    if (!c->opened) {
        if (!c->here[0]) {
            conn_free(c);
        } else if (net.now >= c->at[0]) {
            if (c->refused || (c->server[1] != RAW && !net.s[c->server[1]].up))
                reset(c);
            else
                accept_conn(c);
        }
        return;
    }
    deliver(c, 0);
    deliver(c, 1);
    if (!c->here[0] && !c->here[1]) conn_free(c);
}

/* --- servers --- */

static void boot(int i) {
    struct server *s = &net.s[i];
    s->up = true;
    s->log.max_level = net.verbose ? LOG_DEBUG_LEVEL : LOG_INFO_LEVEL;
    links_init(&s->links, 1u << 24);
    election_init(&s->e, &s->cfg, s->sid, &s->links, &s->log);
}

static void look(int i) {
    net.s[i].established = false;
    election_look(&net.s[i].e, net.now, net.s[i].zxid, net.s[i].epoch);
    CHECK(net.s[i].e.looking);
    drain(i);
}

static void start(int i) {
    boot(i);
    look(i);
}

static void crash(int i) {
    struct server *s = &net.s[i];
    if (!s->up) return;
    s->up = false;
    for (int k = 0; k < CONNS; k++) {
        struct conn *c = &net.c[k];
        for (int side = 0; c->used && side < 2; side++)
            if (c->server[side] == i && c->here[side]) {
                c->here[side] = false;
                c->eof[!side] = true;
                if (!c->opened) conn_free(c);
            }
    }
    election_free(&s->e);
    links_free(&s->links);
    buf_free(&s->log.lines);
}

static int index_of(int64_t sid) {
    for (int i = 0; i < net.n; i++)
        if (net.s[i].sid == sid) return i;
    return RAW;
}

static void lead_step(int i) {
    struct server *s = &net.s[i];
    struct sidset set;
    int64_t epoch = s->epoch;
    sidset_clear(&set);
    (void)sidset_add(&set, &s->cfg, s->sid);
    for (int k = 0; k < net.n; k++) {
        struct server *f = &net.s[k];
        if (!f->up || f->e.state != SERVER_FOLLOWING || f->e.vote.leader != s->sid) continue;
        if (!reachable(i, k)) continue;
        (void)sidset_add(&set, &s->cfg, f->sid);
        if (f->epoch > epoch) epoch = f->epoch;
    }
    if (quorum_reached(&s->cfg, &set)) {
        s->ok_at = net.now;
        if (s->established) return;
        s->established = true;
        s->epoch = epoch + 1;
        s->zxid = s->epoch << 32;
        election_led(&s->e, s->epoch);
    } else if (net.now - s->ok_at > 1000) {
        look(i);
    }
}

static void follow_step(int i) {
    struct server *s = &net.s[i];
    int k = index_of(s->e.vote.leader);
    bool ok = k != RAW && net.s[k].up && net.s[k].e.state == SERVER_LEADING && reachable(i, k);
    if (!ok) {
        if (net.now - s->ok_at > 500) look(i);
        return;
    }
    s->ok_at = net.now;
    if (!net.s[k].established) return;
    s->epoch = net.s[k].epoch;
    s->zxid = net.s[k].zxid;
    election_led(&s->e, s->epoch);
}

static void step(void) {
    net.now++;
    for (int i = 0; i < CONNS; i++)
        if (net.c[i].used) conn_step(&net.c[i]);
    for (int i = 0; i < net.n; i++) {
        struct server *s = &net.s[i];
        if (!s->up) continue;
        if (election_next_tick(&s->e) <= net.now) {
            decided(s, election_tick(&s->e, net.now));
            drain(i);
        }
        if (s->e.state == SERVER_LEADING)
            lead_step(i);
        else if (s->e.state != SERVER_LOOKING)
            follow_step(i);
    }
}

static void run(int64_t ms) {
    for (int64_t end = net.now + ms; net.now < end;) step();
}

/* One leader, and everybody who is up is with it. */
static bool agreed(void) {
    int leader = RAW;
    for (int i = 0; i < net.n; i++)
        if (net.s[i].up && net.s[i].e.state == SERVER_LEADING) leader = i;
    if (leader == RAW || !net.s[leader].established) return false;
    for (int i = 0; i < net.n; i++) {
        struct server *s = &net.s[i];
        if (!s->up || i == leader) continue;
        enum server_state want =
            quorum_is_voter(&s->cfg, s->sid) ? SERVER_FOLLOWING : SERVER_OBSERVING;
        if (s->e.state != want || s->e.vote.leader != net.s[leader].sid) return false;
    }
    return true;
}

/* Until all agree; how long that took. */
static int64_t settle(int64_t limit) {
    int64_t from = net.now;
    while (!agreed()) {
        CHECK(net.now - from < limit);
        step();
    }
    return net.now - from;
}

static int64_t leader(void) {
    CHECK(agreed());
    for (int i = 0; i < net.n; i++)
        if (net.s[i].up && net.s[i].e.state == SERVER_LEADING) return net.s[i].sid;
    return -1;
}

/* A world of `voters` and `observers`, ids 1 and up, all down; `more` goes into zoo.cfg. */
static void world(uint64_t seed, int voters, int observers, int64_t delay, const char *more) {
    bool verbose = net.verbose;
    memset(&net, 0, sizeof net);
    net.verbose = verbose;
    net.seed = net.rng.state = seed;
    net.delay = delay;
    net.n = voters + observers;
    struct buf text = {0};
    buf_printf(&text, "dataDir=/d\nclientPort=1\ntickTime=1000\ninitLimit=5\nsyncLimit=2\n%s\n",
               more);
    for (int i = 0; i < net.n; i++)
        buf_printf(&text, "server.%d=127.0.0.1:%d:%d:%s\n", i + 1, 28881 + i, 38881 + i,
                   i < voters ? "participant" : "observer");
    for (int i = 0; i < net.n; i++) {
        struct server *s = &net.s[i];
        struct logq quiet = {0};
        s->sid = i + 1;
        config_defaults(&s->cfg);
        (void)config_parse(&s->cfg, buf_slice(&text), &quiet);
        CHECK((int)s->cfg.member_count == net.n);
    }
    buf_free(&text);
}

static void world_end(void) {
    for (int i = 0; i < net.n; i++) {
        crash(i);
        config_free(&net.s[i].cfg);
    }
    for (int i = 0; i < CONNS; i++)
        if (net.c[i].used) conn_free(&net.c[i]);
}
