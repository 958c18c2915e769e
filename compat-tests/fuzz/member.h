/*
 * Server 2 of an ensemble of three on a perfect disk, for targets that are the other servers.
 * Input of a target: pieces of { byte action, two bytes of length, bytes }, see seat_feed().
 */
#ifndef FUZZ_MEMBER_H
#define FUZZ_MEMBER_H

#include "rooms.h"

#define MEMBER_LINKS 64

struct seat {
    struct config cfg;
    struct node node;
    int64_t now;
    bool open[MEMBER_LINKS]; /* links that stand, by number */
    uint32_t dialed;         /* to the leader's quorum port; LINK_NONE */
    uint32_t accepted[4];    /* the last ones on the port under test */
};

static void seat_step(struct seat *m, struct node_input in) {
    in.now = in.wall = m->now;
    node_step(&m->node, &in);
}

static void seat_gone(struct seat *m, uint32_t link) {
    if (link >= MEMBER_LINKS || !m->open[link]) return;
    m->open[link] = false;
    if (m->dialed == link) m->dialed = LINK_NONE;
    struct node_input in = {.kind = NODE_LINK_CLOSED, .link = link};
    seat_step(m, in);
}

static void seat_dial(struct seat *m, uint32_t link) {
    ZK_ASSERT(link < MEMBER_LINKS);
    m->open[link] = true;
    if (node_link(&m->node, link)->kind == LINK_ELECTION) {
        seat_gone(m, link);
        return;
    }
    m->dialed = link;
    struct node_input in = {.kind = NODE_LINK_OPENED, .link = link};
    seat_step(m, in);
}

static void seat_load(struct seat *m, const struct node_output *o) {
    struct db db;
    if (!o->reload) return;
    db_init(&db, 1, m->cfg.tick_time_ms, m->now);
    db_add_builtin(&db);
    if (o->zxid > 0) db.last_zxid = o->zxid;
    struct node_input in = {.kind = NODE_LOADED, .db = &db};
    seat_step(m, in);
    db_free(&db);
}

static void seat_output(struct seat *m, struct node_output *o) {
    struct node_input in = {.kind = NODE_LOG_SYNCED, .zxid = o->zxid};
    switch (o->kind) {
    case NODE_APPEND:
        seat_step(m, in);
        break;
    case NODE_SAVE_EPOCH:
        in.kind = NODE_EPOCH_SAVED;
        seat_step(m, in);
        break;
    case NODE_LOAD:
        seat_load(m, o);
        break;
    case NODE_READ_LOG:
        in.kind = NODE_LOG_READ;
        seat_step(m, in);
        break;
    case NODE_SNAPSHOT_CHUNK:
        in.kind = NODE_SNAPSHOT_ROOM;
        seat_step(m, in);
        break;
    case NODE_SNAPSHOT_END:
        in.kind = NODE_SNAPSHOT_DONE;
        seat_step(m, in);
        break;
    case NODE_LINK_DIAL:
        seat_dial(m, o->link);
        break;
    case NODE_LINK_SEND:
        if (o->link < MEMBER_LINKS && m->open[o->link])
            node_link_sent(&m->node, o->link, buf_len(&node_link(&m->node, o->link)->out));
        break;
    case NODE_LINK_CLOSE:
        seat_gone(m, o->link);
        break;
    default:
        break;
    }
    buf_free(&o->owned);
}

static void seat_run(struct seat *m) {
    struct node_output o;
    do {
        while (node_take_output(&m->node, &o)) seat_output(m, &o);
    } while (node_idle_work(&m->node) || m->node.out_n);
}

static void seat_wait(struct seat *m, int64_t ms) {
    struct node_input in = {.kind = NODE_TICK};
    m->now += ms;
    seat_step(m, in);
    seat_run(m);
}

static void seat_bytes(struct seat *m, uint32_t link, struct slice bytes) {
    if (link >= MEMBER_LINKS || !m->open[link]) return;
    struct node_input in = {.kind = NODE_LINK_BYTES, .link = link, .bytes = bytes};
    seat_step(m, in);
    seat_run(m);
}

static uint32_t seat_accept(struct seat *m, enum link_kind kind) {
    uint32_t link = node_link_accept(&m->node, kind, m->now, m->now);
    if (link != LINK_NONE) {
        ZK_ASSERT(link < MEMBER_LINKS);
        m->open[link] = true;
    }
    seat_run(m);
    return link;
}

/* Server 3 knocks and says whom it votes for; 200 ms later that is decided. */
static void seat_elect(struct seat *m, int64_t leader) {
    struct buf b = {0};
    jw_i64(&b, -65536);
    jw_i64(&b, 3);
    jw_str(&b, "c:3");
    jw_i32(&b, 44);
    jw_i32(&b, SERVER_LOOKING);
    jw_i64(&b, leader);
    jw_i64(&b, 0);
    jw_i64(&b, 1);
    jw_i64(&b, leader == 3 ? 0 : 1); /* server 2 is made to win by its epoch */
    jw_i32(&b, 2);
    jw_i32(&b, 0);
    seat_bytes(m, seat_accept(m, LINK_ELECTION), buf_slice(&b));
    buf_free(&b);
    for (int i = 0; i < 4; i++) seat_wait(m, 100);
}

static void seat_open(struct seat *m) {
    struct logq log = {.max_level = 0};
    memset(m, 0, sizeof *m);
    m->now = 1000;
    m->dialed = LINK_NONE;
    for (int i = 0; i < 4; i++) m->accepted[i] = LINK_NONE;
    config_defaults(&m->cfg);
    (void)config_parse(&m->cfg, slice_str("tickTime=2000\ninitLimit=5\nsyncLimit=2\nclientPort=1\n"
                                          "dataDir=/nowhere\nserver.1=a:1:2\nserver.2=b:1:2\n"
                                          "server.3=c:2:3\n"), &log);
    m->cfg.server_id = 2;
    node_state_init(&m->node, &m->cfg, 1, m->now, m->now);
    m->node.log.max_level = 0;
    db_add_builtin(&m->node.db);
    node_epochs(&m->node, 1, 1);
    node_start(&m->node, false);
    seat_run(m);
    seat_wait(m, 1);
}

static void seat_close(struct seat *m) {
    seat_wait(m, 100000);
    node_state_free(&m->node);
    config_free(&m->cfg);
}

/*
 * Action, modulo 8: 0 to 3 bytes for the accepted link of that number, made when there is none;
 * 4 bytes for the link that was dialed; 5 the accepted link of number length % 4 breaks; 6 time
 * passes; 7 the dialed link breaks.
 */
static void seat_feed(struct seat *m, enum link_kind kind, const uint8_t *data, size_t size) {
    while (size >= 3) {
        unsigned action = data[0] % 8;
        size_t n = (size_t)data[1] << 8 | data[2];
        data += 3;
        size -= 3;
        if (action == 5) {
            seat_gone(m, m->accepted[n % 4]);
        } else if (action == 6) {
            seat_wait(m, (int64_t)(n % 4096));
        } else if (action == 7) {
            seat_gone(m, m->dialed);
        } else {
            uint32_t *link = action == 4 ? &m->dialed : &m->accepted[action];
            if (action < 4 && (*link == LINK_NONE || !m->open[*link]))
                *link = seat_accept(m, kind);
            if (n > size) n = size;
            seat_bytes(m, *link, slice_of(data, n));
            data += n;
            size -= n;
        }
        seat_run(m);
    }
}

#endif
