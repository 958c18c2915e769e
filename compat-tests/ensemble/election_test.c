/*
 * Scenarios of election, mesh and quorum, for test_election.py: election_test NAME [SEEDS [-v]]
 */
#include "net.h"

/* --- whole ensembles --- */

static void random_histories(void) {
    for (int i = 0; i < net.n; i++) {
        net.s[i].epoch = roll(3);
        net.s[i].zxid = net.s[i].epoch << 32 | roll(3);
    }
}

/* The best of those for which `with` says so. */
static int64_t best(const bool *with) {
    int b = RAW;
    for (int i = 0; i < net.n; i++) {
        if (!with[i] || !quorum_is_voter(&net.s[i].cfg, net.s[i].sid)) continue;
        struct server *x = &net.s[i], *y = &net.s[b == RAW ? i : b];
        if (b == RAW || x->epoch > y->epoch || (x->epoch == y->epoch && x->zxid >= y->zxid)) b = i;
    }
    return net.s[b].sid;
}

/* Everybody at once: the best leads, and soon. */
static void cold_start(uint64_t seed) {
    static const struct {
        int voters, observers;
    } sizes[] = {{1, 0}, {2, 0}, {3, 0}, {3, 1}, {5, 0}, {5, 2}};
    bool all[SERVERS] = {true, true, true, true, true, true, true, true};
    int pick = (int)(seed % (sizeof sizes / sizeof *sizes));
    world(seed, sizes[pick].voters, sizes[pick].observers, (int64_t)(seed % 4 * 5), "");
    random_histories();
    int64_t want = best(all);
    for (int i = 0; i < net.n; i++) boot(i);
    for (int i = 0; i < net.n; i++) {
        look(i);
        run(roll(3));
    }
    CHECK(settle(1500) >= 0);
    CHECK(leader() == want);
    world_end();
}

/* All start anew at about the same time, and each refuses before it is up: nobody leads meanwhile
 * that the late ones would not follow. */
static void one_after_the_other(uint64_t seed) {
    world(seed, 3, 0, (int64_t)(seed % 3), "");
    for (int i = 0; i < net.n; i++) start(i), run(20 + roll(40));
    CHECK(settle(1500) >= 0);
    CHECK(leader() == net.s[net.n - 1].e.self);
    world_end();
}

/* A minority cannot be reached, silently: the rest decides as if it were alone, 200 ms later. */
static void dark(uint64_t seed) {
    bool with[SERVERS];
    world(seed, 5, 0, 5, "");
    random_histories();
    for (int i = 0; i < net.n; i++) with[i] = true;
    with[roll(5)] = false;
    with[roll(5)] = false;
    for (int i = 0; i < net.n; i++)
        for (int k = 0; k < net.n; k++) net.cut[i][k] = with[i] != with[k];
    int64_t want = best(with);
    for (int i = 0; i < net.n; i++) boot(i);
    for (int i = 0; i < net.n; i++)
        if (with[i]) look(i);
    for (int i = 0; i < net.n; i++)
        if (!with[i]) crash(i);
    int64_t took = settle(1000);
    CHECK(took >= ELECTION_SETTLE_MS);
    CHECK(leader() == want);
    world_end();
}

/* The leader dies: what is left decides without the settle time, for nobody else can answer. */
static void failover(uint64_t seed) {
    world(seed, 3, 1, 2, "");
    random_histories();
    for (int i = 0; i < net.n; i++) start(i);
    (void)settle(3000);
    int64_t old = leader();
    crash(index_of(old));
    for (int i = 0; i < net.n; i++)
        if (net.s[i].up) look(i);
    int64_t from = net.now;
    while (net.s[index_of(old) ? 0 : 1].e.state == SERVER_LOOKING) step();
    CHECK(net.now - from < 100);
    (void)settle(2000);
    int64_t now = leader();
    start(index_of(old));
    CHECK(settle(500) < 300);
    CHECK(leader() == now);
    world_end();
}

/* Whoever comes late, or back, finds the leader that there is, however good it is itself. */
static void join(uint64_t seed) {
    world(seed, 5, 1, 10, "");
    for (int i = 0; i < 3; i++) boot(i);
    for (int i = 0; i < 3; i++) look(i);
    (void)settle(3000);
    CHECK(leader() == 3);
    run(roll(2000));
    for (int i = 3; i < 6; i++) {
        net.s[i].zxid = net.s[i].epoch = roll(2);
        start(i);
        run(roll(300));
    }
    (void)settle(1000);
    CHECK(leader() == 3);
    for (int round = 0; round < 3; round++) {
        int i = (int)roll(6);
        if (net.s[i].sid == 3) continue;
        crash(i);
        run(roll(100));
        start(i);
        (void)settle(1000);
        CHECK(leader() == 3);
    }
    world_end();
}

static void misfortune(void) {
    int i = (int)roll(net.n), k = (int)roll(net.n);
    switch (roll(8)) {
    case 0:
        crash(i);
        break;
    case 1:
    case 2:
        if (!net.s[i].up) start(i);
        break;
    case 3:
    case 4:
        for (int64_t at = roll(CONNS), n = 0; n < CONNS; n++) {
            struct conn *c = &net.c[(at + n) % CONNS];
            if (!c->used || !c->opened) continue;
            reset(c);
            break;
        }
        break;
    case 5:
        net.cut[i][k] = true;
        break;
    case 6:
        memset(net.cut, 0, sizeof net.cut);
        break;
    default:
        if (net.s[i].up && net.s[i].e.state != SERVER_LOOKING) look(i);
    }
}

/* Anything may happen for a while; then all is well, and they must agree and stay so. */
static void chaos(uint64_t seed) {
    world(seed, seed % 2 ? 3 : 5, (int)(seed % 3 == 0), 1 + (int64_t)(seed % 40), "");
    random_histories();
    for (int turns = 50 + (int)roll(150); turns > 0; turns--) {
        misfortune();
        run(roll(150));
    }
    memset(net.cut, 0, sizeof net.cut);
    for (int i = 0; i < net.n; i++)
        if (!net.s[i].up) start(i);
    (void)settle(70000);
    int64_t who = leader();
    run(3000);
    CHECK(leader() == who);
    world_end();
}

/* --- one machine, and bytes --- */

#define V1 "ffffffffffff0000"
#define CFG_VERSION "version=100000000"

static void hex(struct buf *out, const char *text) {
    for (; *text; text++) {
        if (*text == ' ') continue;
        char two[3] = {text[0], text[1], 0};
        buf_putc(out, (char)strtoul(two, NULL, 16));
        text++;
    }
}

static void hello(struct buf *out, int64_t sid, const char *address) {
    hex(out, V1);
    put_be64(buf_grow(out, 8), (uint64_t)sid);
    put_be32(buf_grow(out, 4), (uint32_t)strlen(address));
    buf_puts(out, address);
}

static void payload(struct buf *out, int state, int64_t to, int64_t zxid, int64_t round,
                    int64_t epoch) {
    put_be32(buf_grow(out, 4), (uint32_t)state);
    put_be64(buf_grow(out, 8), (uint64_t)to);
    put_be64(buf_grow(out, 8), (uint64_t)zxid);
    put_be64(buf_grow(out, 8), (uint64_t)round);
    put_be64(buf_grow(out, 8), (uint64_t)epoch);
}

static void notification(struct buf *out, int state, int64_t to, int64_t round, int64_t epoch,
                         const char *config) {
    size_t n = strlen(config);
    put_be32(buf_grow(out, 4), (uint32_t)(44 + n));
    payload(out, state, to, 0, round, epoch);
    put_be32(buf_grow(out, 4), 2);
    put_be32(buf_grow(out, 4), (uint32_t)n);
    buf_puts(out, config);
}

static struct conn *raw_to(int server) {
    struct conn *c = conn_new(RAW, server);
    accept_conn(c);
    return c;
}

static int raw_side(const struct conn *c) {
    return c->server[0] == RAW ? 0 : 1;
}

static void raw_send(struct conn *c, struct buf *bytes) {
    if (c->used) buf_put(&c->to[!raw_side(c)], bytes->p, bytes->n);
    buf_free(bytes);
    run(5);
}

static void raw_vote(struct conn *c, int state, int64_t to, int64_t round, int64_t epoch) {
    struct buf b = {0};
    notification(&b, state, to, round, epoch, "version=0");
    raw_send(c, &b);
}

/* A connection from somebody with that id, who has said so. */
static struct conn *raw_as(int server, int64_t sid) {
    struct conn *c = raw_to(server);
    struct buf b = {0};
    hello(&b, sid, "127.0.0.1:9");
    raw_send(c, &b);
    return c;
}

static bool raw_open(const struct conn *c) {
    return c->used && c->here[!raw_side(c)];
}

/* The connection that a server has dialed to a port where no machine is. */
static struct conn *dialed_by(int server) {
    for (int i = 0; i < CONNS; i++)
        if (net.c[i].used && net.c[i].server[0] == server && net.c[i].server[1] == RAW)
            return &net.c[i];
    return NULL;
}

/* Frees the place of a machine, so that its port is a raw one. */
static void vacate(int64_t sid) {
    net.s[index_of(sid)].sid = -sid;
}

static void same(const struct buf *got, const struct buf *want) {
    for (size_t i = 0; i < got->n && i < want->n; i++)
        if (got->p[i] != want->p[i]) {
            printf("byte %lu: %02x, not %02x\n", (unsigned long)i, got->p[i], want->p[i]);
            CHECK(false);
        }
    CHECK(got->n == want->n);
}

#define CFG_TEXT                                                                                   \
    "server.1=127.0.0.1:28881:38881:participant\nserver.2=127.0.0.1:28882:38882:participant\n"     \
    "server.3=127.0.0.1:28883:38883:participant\nversion=100000000"
#define ZERO "0000000000000000"
#define ONE "0000000000000001"
#define TWO "0000000000000002"

/* What stock servers said to each other: server 2 finds 1, and both elect 2. */
static void golden_start(uint64_t seed) {
    struct buf want = {0}, b = {0};
    world(seed, 3, 0, 0, CFG_VERSION "\nfastleader.minNotificationInterval=60000");
    vacate(1);
    vacate(3);
    net.cut[1][2] = true;
    start(1);
    run(3);
    struct conn *one = NULL;
    for (int i = 0; i < CONNS; i++) /* both peers are raw: 1 gets to hear votes, 3 only our name */
        if (net.c[i].used && net.c[i].server[0] == 1 && net.c[i].here[0]) one = &net.c[i];
    CHECK(one);
    hex(&want, V1 TWO "0000000f 3132372e302e302e313a3338383832");
    hex(&want, "000000be 00000000" TWO ZERO ONE ZERO "00000002 00000092");
    buf_puts(&want, CFG_TEXT);
    same(&one->got, &want);
    hex(&b, "000000be 00000000" ONE ZERO ONE ZERO "00000002 00000092");
    buf_puts(&b, CFG_TEXT);
    raw_send(one, &b);
    CHECK(net.s[1].e.looking && !net.s[1].e.settling);
    hex(&b, "000000be 00000000" TWO ZERO ONE ZERO "00000002 00000092");
    buf_puts(&b, CFG_TEXT);
    raw_send(one, &b);
    int64_t from = net.now;
    CHECK(net.s[1].e.settling);
    while (net.s[1].e.looking) step();
    CHECK(net.now >= MESH_DARK_MS && net.now - from <= 200);
    CHECK(net.s[1].e.state == SERVER_LEADING && net.s[1].e.vote.leader == 2);
    same(&one->got, &want);
    buf_free(&want);
    world_end();
}

/* Server 3 joins: its vote is answered by a stale one, by FOLLOWING and by LEADING. */
static void golden_join(uint64_t seed) {
    struct buf want = {0}, b = {0};
    world(seed, 3, 0, 0, "");
    start(2);
    run(3);
    struct conn *peer[2] = {NULL, NULL};
    for (int i = 0, n = 0; i < CONNS && n < 2; i++)
        if (net.c[i].used && net.c[i].server[0] == 2) peer[n++] = &net.c[i];
    CHECK(!peer[0]); /* 1 and 2 are down: refused */
    world_end();
    world(seed, 3, 0, 0, "");
    vacate(1);
    vacate(2);
    start(2);
    run(3);
    for (int i = 0, n = 0; i < CONNS && n < 2; i++)
        if (net.c[i].used && net.c[i].server[0] == 2) peer[n++] = &net.c[i];
    CHECK(peer[0] && peer[1]);
    hex(&want, V1 "0000000000000003 0000000f 3132372e302e302e313a3338383833");
    hex(&want, "000000b6 00000000 0000000000000003" ZERO ONE ZERO "00000002 0000008a");
    buf_put(&want, CFG_TEXT, 0x8a - 9);
    buf_puts(&want, "version=0");
    same(&peer[0]->got, &want);
    hex(&b, "000000be 00000000" TWO ZERO ONE ZERO "00000002 00000092");
    buf_puts(&b, CFG_TEXT);
    hex(&b, "000000be 00000001" TWO ZERO ONE ONE "00000002 00000092");
    buf_puts(&b, CFG_TEXT);
    raw_send(peer[0], &b);
    CHECK(net.s[2].e.looking);
    hex(&b, "000000be 00000002" TWO ZERO ONE ONE "00000002 00000092");
    buf_puts(&b, CFG_TEXT);
    raw_send(peer[1], &b);
    CHECK(net.s[2].e.state == SERVER_FOLLOWING && net.s[2].e.vote.leader == 2);
    CHECK(net.s[2].e.vote.epoch == 1 && net.s[2].e.clock == 1);
    buf_free(&want);
    world_end();
}

/* Machine 1 alone; 2 and 3 are raw and dial it, as larger ids do. */
static void alone(uint64_t seed, const char *more) {
    world(seed, 3, 1, 0, more);
    vacate(2);
    vacate(3);
    vacate(4);
    start(0);
    run(3);
    /* Nothing is known of 2, so nothing is decided early. */
    for (uint32_t i = 0; i < net.s[0].e.mesh.n_peers; i++)
        net.s[0].e.mesh.peers[i].knocked = INT64_MIN;
}

/* Others may name a leader as often as they like: it has to say so itself. */
static void out_of_election(uint64_t seed) {
    for (int64_t round = 1; round < 8; round += 6) { /* ours, and another one */
        alone(seed, "");
        struct conn *two = raw_as(0, 2), *three = raw_as(0, 3);
        struct election *e = &net.s[0].e;
        raw_vote(two, SERVER_FOLLOWING, 3, round, 5);
        CHECK(e->looking);
        raw_vote(three, SERVER_FOLLOWING, 3, round, 5);
        CHECK(e->looking);
        raw_vote(three, SERVER_LEADING, 3, round, 4); /* the epoch before */
        CHECK(e->looking);
        raw_vote(three, SERVER_LEADING, 3, round, 5);
        CHECK(e->state == SERVER_FOLLOWING && e->vote.leader == 3 && e->vote.epoch == 5);
        CHECK(e->clock == round);
        world_end();
    }
    alone(seed, ""); /* others say that we lead: only in our round */
    struct conn *two = raw_as(0, 2), *three = raw_as(0, 3);
    raw_vote(two, SERVER_FOLLOWING, 1, 7, 5);
    raw_vote(three, SERVER_FOLLOWING, 1, 7, 5);
    CHECK(net.s[0].e.looking);
    world_end();
}

/* The last notification that a raw side has got. */
static struct jr last_frame(struct conn *c) {
    struct slice s = buf_slice(&c->got);
    struct jr r = jr_open(slice_of(NULL, 0), 0);
    if (raw_side(c) == 1 && s.n) s = slice_of(s.p + 35, s.n - 35); /* after the initial message */
    while (s.n > 4 && s.n - 4 >= be32(s.p)) {
        r = jr_open(slice_of(s.p + 4, be32(s.p)), MESH_FRAME_MAX);
        s = slice_of(s.p + 4 + be32(s.p), s.n - 4 - be32(s.p));
    }
    buf_clear(&c->got);
    return r;
}

static void answered(struct conn *c, int state, int64_t to, int64_t round, int64_t epoch) {
    struct jr r = last_frame(c);
    CHECK(jr_left(&r) > 40);
    CHECK(jr_i32(&r) == state);
    CHECK(jr_i64(&r) == to);
    (void)jr_i64(&r);
    CHECK(jr_i64(&r) == round);
    CHECK(jr_i64(&r) == epoch);
}

static bool silent(struct conn *c) {
    struct jr r = last_frame(c);
    return jr_left(&r) == 0;
}

/* Who is answered, with what: in each state. */
static void answers(uint64_t seed) {
    alone(seed, "fastleader.minNotificationInterval=60000");
    struct election *e = &net.s[0].e;
    struct conn *two = raw_as(0, 2), *observer = raw_as(0, 4), *stranger = raw_as(0, 99);
    answered(two, SERVER_LOOKING, 1, 1, 0); /* said before there was a channel */
    CHECK(silent(observer) && silent(stranger));
    raw_vote(observer, SERVER_LOOKING, INT64_MIN, 1, INT64_MIN);
    answered(observer, SERVER_LOOKING, 1, 1, 0);
    raw_vote(stranger, 77, 99, 50, 9);
    answered(stranger, SERVER_LOOKING, 1, 1, 0);
    CHECK(silent(two) && e->clock == 1);
    raw_vote(two, SERVER_LOOKING, 2, 0, 0); /* an old round */
    answered(two, SERVER_LOOKING, 1, 1, 0);
    raw_vote(two, SERVER_LOOKING, 2, 4, 0); /* a newer one, and better */
    answered(two, SERVER_LOOKING, 2, 4, 0);
    raw_vote(two, SERVER_LOOKING, 4, 9, 0); /* votes for an observer */
    raw_vote(two, SERVER_LOOKING, 99, 9, 0);
    raw_vote(two, SERVER_OBSERVING, 3, 4, 0);
    raw_vote(two, 4, 3, 4, 0);
    raw_vote(two, -1, 3, 4, 0);
    CHECK(silent(two) && e->clock == 4 && e->proposal.leader == 2);
    run(250); /* 3 hangs somewhere: two of three are enough after a while */
    CHECK(e->state == SERVER_FOLLOWING && !e->voter_looked);
    election_led(e, 6);
    raw_vote(two, SERVER_LEADING, 2, 4, 6);
    CHECK(silent(two));
    raw_vote(two, SERVER_LOOKING, 2, 9, 0);
    answered(two, SERVER_FOLLOWING, 2, 4, 6);
    CHECK(e->voter_looked);
    raw_vote(observer, SERVER_LOOKING, INT64_MIN, 1, INT64_MIN);
    answered(observer, SERVER_FOLLOWING, 2, 4, 6);
    election_idle(e);
    raw_vote(observer, SERVER_LOOKING, INT64_MIN, 1, INT64_MIN);
    CHECK(silent(observer)); /* it waits until there is something to say */
    net.s[0].epoch = 6;
    look(0);
    run(5);
    answered(observer, SERVER_LOOKING, 2, 5, 6);
    answered(two, SERVER_LOOKING, 1, 5, 6);
    world_end();
}

/* Initial messages that are refused, and those that are not. */
static void hellos(uint64_t seed) {
    static const struct {
        const char *bytes;
        bool kept;
    } rows[] = {
        {"ffffffffffff0000 0000000000000003 00000000", false},
        {"ffffffffffff0000 0000000000000003 00000801", false},
        {"ffffffffffff0000 0000000000000003 ffffffff", false},
        {"fffffffffffeffff 0000000000000003 00000003 613a31", false},
        {"8000000000000000", false},
        {"ffffffffffff0000 0000000000000003 00000003 613a31", true},
        {"ffffffffffff0001 0000000000000003 00000003 613a31", true},
        {"ffffffffffff0001 0000000000000003 00000007 613a317c623a32", true}, /* a:1|b:2 */
        {"ffffffffffff0000 0000000000000003 00000006 5b3a3a5d3a31", true},   /* [::]:1 */
        {"ffffffffffff0000 0000000000000003 00000007 613a317c623a78", false}, /* a:1|b:x */
        {"ffffffffffff0000 0000000000000003 00000004 613a317c", false},       /* a:1| */
        {"ffffffffffff0000 0000000000000003 00000002 6131", false},
        {"ffffffffffff0000 0000000000000003 00000003 5d3a31", true},
        {"ffffffffffff0000 0000000000000003 00000004 5b5d3a31", false}, /* []:1 */
        {"ffffffffffff0000 0000000000000003 00000007 613a3635353336", false}, /* a:65536 */
        {"ffffffffffff0000 0000000000000003 00000003 003a31", false},
        {"0000000000000003", true},
        {"0000000000000001", false}, /* our own name */
        {"ffffffffffff0000 7fffffffffffffff 00000003 613a31", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t cut = 0; cut < 24; cut++) {
            struct buf b = {0}, rest = {0};
            alone(seed, "");
            struct conn *c = raw_to(0);
            hex(&b, rows[i].bytes);
            if (cut < b.n) {
                buf_put(&rest, b.p + cut, b.n - cut);
                b.n = cut;
            }
            raw_send(c, &b);
            raw_send(c, &rest);
            CHECK(raw_open(c) == rows[i].kept);
            if (rows[i].kept) {
                raw_vote(c, SERVER_LOOKING, 3, 1, 0);
                CHECK(net.s[0].e.proposal.leader == 3);
            }
            world_end();
        }
}

/* Notifications that are ignored, understood, or end the channel. */
static void notifications(uint64_t seed) {
    static const uint32_t lengths[] = {1, 10, 27, 29, 36, 39, 41, 43};
    struct buf b = {0};
    alone(seed, "");
    struct election *e = &net.s[0].e;
    struct conn *c = raw_as(0, 3);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        put_be32(buf_grow(&b, 4), lengths[i]);
        size_t at = b.n;
        payload(&b, SERVER_LOOKING, 3, 1, 9, 9);
        put_be32(buf_grow(&b, 4), 2);
        put_be32(buf_grow(&b, 4), 0);
        b.n = at + lengths[i];
        raw_send(c, &b);
    }
    for (int n = -1; n < 2; n += 2) { /* a config of -1 bytes, and one that is not all there */
        put_be32(buf_grow(&b, 4), 44);
        payload(&b, SERVER_LOOKING, 3, 1, 9, 9);
        put_be32(buf_grow(&b, 4), 2);
        put_be32(buf_grow(&b, 4), (uint32_t)n);
        raw_send(c, &b);
    }
    CHECK(raw_open(c) && e->clock == 1);
    static const char *const configs[] = {"", "version=zz", "\n", "version=",
                                          "server.x=y\nversion=5", "version=fffffffffffffffff",
                                          "version=7fffffffffffffff"};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        notification(&b, SERVER_LOOKING, 3, 2 + (int64_t)i, 0, configs[i]);
        raw_send(c, &b);
        CHECK(raw_open(c) && e->clock == 2 + (int64_t)i && e->proposal.leader == 3);
    }
    put_be32(buf_grow(&b, 4), 28);
    payload(&b, SERVER_LOOKING, 3, (int64_t)7 << 32 | 5, 20, 0);
    b.n -= 8;
    raw_send(c, &b);
    CHECK(e->clock == 20 && e->proposal.epoch == 7);
    put_be32(buf_grow(&b, 4), 40);
    payload(&b, SERVER_LOOKING, 3, 5, 21, 8);
    put_be32(buf_grow(&b, 4), 99); /* a version that is not looked at */
    raw_send(c, &b);
    CHECK(e->clock == 21 && e->proposal.epoch == 8);
    raw_vote(c, SERVER_LOOKING, 3, INT64_MAX, 9); /* the round after it exists */
    CHECK(e->clock == INT64_MAX && raw_open(c));
    look(0);
    put_be32(buf_grow(&b, 4), MESH_FRAME_MAX + 1);
    raw_send(c, &b);
    CHECK(!raw_open(c));
    world_end();
}

/* Bytes of any kind, from strangers and in the name of 3, while 1 and 2 find each other. */
static void noise(uint64_t seed) {
    world(seed, 3, 0, 3, "");
    vacate(3);
    boot(0);
    boot(1);
    look(0);
    look(1);
    for (int i = 0; i < 60; i++) {
        struct conn *c = roll(2) ? raw_as((int)roll(2), roll(2) ? 3 : 50 + roll(1000)) : raw_to(0);
        struct buf b = {0};
        for (int64_t n = roll(200); n > 0; n--)
            buf_putc(&b, roll(3) ? 0 : (char)roll(roll(2) ? 3 : 256));
        if (!raw_open(c)) buf_clear(&b);
        raw_send(c, &b);
        if (c->used && roll(2)) reset(c);
    }
    (void)settle(3000);
    CHECK(leader() == 2);
    world_end();
}

/* --- peers that do not do their part --- */

/* 3 takes connections and reads nothing: it costs a bounded buffer, and nobody else anything. */
static void deaf(uint64_t seed) {
    alone(seed, "fastleader.minNotificationInterval=1\nfastleader.maxNotificationInterval=1");
    struct conn *two = raw_as(0, 2), *three = raw_as(0, 3);
    three->deaf[0] = true;
    for (int i = 0; i < 3000; i++) {
        run(1);
        buf_clear(&two->got);
    }
    CHECK(raw_open(three));
    CHECK(buf_len(&three->to[0]) > 65536);
    size_t out = buf_len(&link_at(&net.s[0].links, three->link[1])->out);
    CHECK(out > 0 && out <= MESH_OUT_MAX + 1024);
    raw_vote(two, SERVER_LOOKING, 2, 1, 0);
    answered(two, SERVER_LOOKING, 2, 1, 0);
    run(210);
    CHECK(net.s[0].e.state == SERVER_FOLLOWING);
    world_end();
}

/* Guests who do not say their name are shown out; a crowd of them does not keep members out. */
static void silent_guests(uint64_t seed) {
    alone(seed, "");
    struct conn *c[MESH_GUESTS_MAX + 5];
    for (int i = 0; i < MESH_GUESTS_MAX + 5; i++) c[i] = raw_to(0);
    run(2);
    CHECK(!raw_open(c[0]) && !raw_open(c[4]) && raw_open(c[5]));
    struct conn *two = raw_as(0, 2);
    raw_vote(two, SERVER_LOOKING, 2, 1, 0);
    answered(two, SERVER_LOOKING, 2, 1, 0);
    int64_t limit = 2000;
    run(limit - 20);
    CHECK(raw_open(c[10]));
    run(30);
    CHECK(!raw_open(c[10]) && raw_open(two) && net.s[0].e.mesh.n_guests == 0);
    world_end();
}

/* A connection that does not come about is given up, and the vote goes on without. */
static void dial_timeout(uint64_t seed) {
    world(seed, 3, 0, 0, "");
    boot(1);
    boot(2);
    net.cut[0][1] = net.cut[0][2] = true;
    start(0);
    uint32_t link = net.s[0].e.mesh.peers[0].dialing;
    int side;
    struct conn *c = conn_find(0, link, &side);
    run(4990);
    CHECK(c->used && c->here[0] && !c->opened);
    run(20);
    CHECK(!c->here[0] && net.s[0].e.looking);
    world_end();
}

/* Strangers: so many and no more; their place is free again when they go. */
static void strangers(uint64_t seed) {
    alone(seed, "");
    struct mesh *m = &net.s[0].e.mesh;
    struct conn *c[MESH_STRANGERS_MAX + 3];
    for (int i = 0; i < MESH_STRANGERS_MAX + 3; i++) c[i] = raw_as(0, 1000 + i);
    CHECK(raw_open(c[MESH_STRANGERS_MAX - 1]) && !raw_open(c[MESH_STRANGERS_MAX]));
    CHECK(m->strangers == MESH_STRANGERS_MAX);
    struct conn *two = raw_as(0, 2);
    CHECK(raw_open(two));
    for (int i = 0; i < MESH_STRANGERS_MAX; i++) reset(c[i]);
    CHECK(m->strangers == 0);
    struct conn *small = raw_as(0, -5); /* a smaller id: dialed back, at the address it named */
    run(3);
    CHECK(!raw_open(small) && m->strangers == 1);
    CHECK(dialed_by(0));
    struct conn *back = NULL;
    for (int i = 0; i < CONNS; i++)
        if (net.c[i].used && net.c[i].server[0] == 0 && net.c[i].here[0] &&
            link_at(&net.s[0].links, net.c[i].link[0])->port == 9)
            back = &net.c[i];
    CHECK(back);
    raw_vote(back, SERVER_LOOKING, 2, 1, 0);
    answered(back, SERVER_LOOKING, 1, 1, 0);
    reset(back);
    CHECK(m->strangers == 0);
    world_end();
}

/* Which connection stays: the one that the larger id dialed. */
static void who_dials(uint64_t seed) {
    world(seed, 3, 0, 0, "");
    vacate(1);
    vacate(3);
    start(1);
    run(3);
    struct conn *one = NULL, *three = raw_as(1, 3);
    for (int i = 0; i < CONNS; i++)
        if (net.c[i].used && net.c[i].server[0] == 1 && net.c[i].here[0]) one = &net.c[i];
    CHECK(one && raw_open(one) && raw_open(three));
    struct conn *again = raw_as(1, 3);
    CHECK(raw_open(again) && !raw_open(three));
    struct conn *knock = raw_as(1, 1); /* 1 has lost it, and says so */
    run(3);
    CHECK(!raw_open(knock));
    int open = 0;
    for (int i = 0; i < CONNS; i++)
        open += net.c[i].used && net.c[i].server[0] == 1 && net.c[i].here[0];
    CHECK(open == 1 && !raw_open(one));
    answered(again, SERVER_LOOKING, 2, 1, 0); /* the last message comes with each channel */
    world_end();
}

/* --- quorums --- */

static bool quorum_of(const struct config *cfg, const int64_t *sids) {
    struct sidset set;
    sidset_clear(&set);
    for (; *sids; sids++) (void)sidset_add(&set, cfg, *sids);
    return quorum_reached(cfg, &set);
}

#define SET(...) (const int64_t[]){__VA_ARGS__, 0}

static void quorums(uint64_t seed) {
    world(seed, 5, 1, 0, "");
    const struct config *cfg = &net.s[0].cfg;
    struct sidset set;
    sidset_clear(&set);
    CHECK(sidset_add(&set, cfg, 6) && !sidset_add(&set, cfg, 6) && !sidset_add(&set, cfg, 7));
    CHECK(sidset_has(&set, cfg, 6) && !sidset_has(&set, cfg, 1) && !sidset_has(&set, cfg, 0));
    sidset_del(&set, cfg, 6);
    sidset_del(&set, cfg, 7);
    CHECK(!sidset_has(&set, cfg, 6));
    CHECK(quorum_voters(cfg) == 5 && quorum_is_voter(cfg, 5) && !quorum_is_voter(cfg, 6));
    CHECK(quorum_member(cfg, 6) && !quorum_member(cfg, 7) && quorum_weight(cfg, 6) == 0);
    CHECK(quorum_of(cfg, SET(1, 2, 5)) && !quorum_of(cfg, SET(1, 2, 6)));
    CHECK(!quorum_of(cfg, SET(1, 2, 99)) && !quorum_of(cfg, SET(0)));
    world_end();
    world(seed, 4, 1, 0, "");
    CHECK(!quorum_of(&net.s[0].cfg, SET(1, 2, 5)) && quorum_of(&net.s[0].cfg, SET(1, 2, 3)));
    world_end();
    world(seed, 4, 0, 0, "group.1=1:2:3\ngroup.2=4\nweight.4=0"); /* one group that counts */
    CHECK(quorum_of(&net.s[0].cfg, SET(1, 2)) && !quorum_of(&net.s[0].cfg, SET(1, 4)));
    world_end();
    /* three groups, of which one has no weight: both others are needed */
    world(seed, 6, 1, 0,
          "group.1=1:2\ngroup.2=3:4\ngroup.3=5:6\nweight.1=3\nweight.5=0\nweight.6=0");
    cfg = &net.s[0].cfg;
    CHECK(quorum_of(cfg, SET(1, 3, 4)) && !quorum_of(cfg, SET(1, 3)) && !quorum_of(cfg, SET(1, 2)));
    CHECK(!quorum_of(cfg, SET(2, 3, 4)) && !quorum_of(cfg, SET(1, 2, 5, 6)));
    CHECK(quorum_weight(cfg, 1) == 3 && quorum_weight(cfg, 5) == 0 && quorum_weight(cfg, 7) == 0);
    struct buf text = {0};
    config_string(cfg, &text);
    buf_putc(&text, '\0');
    CHECK(strstr((char *)text.p,
                 ":observer\ngroup.1=1:2\ngroup.2=3:4\ngroup.3=5:6\nweight.1=3\nweight.2=1\n"));
    buf_free(&text);
    for (int i = 0; i < 6; i++) boot(i); /* 6 would be the best, and has no weight */
    for (int i = 0; i < 6; i++) look(i);
    (void)settle(3000);
    CHECK(leader() == 4);
    world_end();
}

static const struct {
    const char *name;
    void (*run)(uint64_t seed);
} scenarios[] = {
    {"cold_start", cold_start},     {"dark", dark},
    {"failover", failover},         {"join", join},
    {"chaos", chaos},               {"golden_start", golden_start},
    {"golden_join", golden_join},   {"out_of_election", out_of_election},
    {"answers", answers},           {"hellos", hellos},
    {"notifications", notifications}, {"noise", noise},
    {"deaf", deaf},                 {"silent_guests", silent_guests},
    {"strangers", strangers},       {"who_dials", who_dials},
    {"dial_timeout", dial_timeout}, {"quorums", quorums},
    {"one_after_the_other", one_after_the_other},
};

int main(int argc, char **argv) {
    uint64_t seeds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    net.verbose = argc > 3;
    for (size_t i = 0; argc > 1 && i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) != 0) continue;
        for (uint64_t seed = net.verbose ? seeds : 1; seed <= seeds; seed++) scenarios[i].run(seed);
        printf("%s: %llu seeds\n", argv[1], (unsigned long long)seeds);
        return 0;
    }
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) puts(scenarios[i].name);
    return argc > 1 ? 2 : 0;
}
