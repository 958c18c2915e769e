/* A node on a perfect disk, for targets that feed it bytes. */
#ifndef FUZZ_NODE_H
#define FUZZ_NODE_H

#include "rooms.h"

struct fuzz_node {
    struct config cfg;
    struct node node;
    int64_t now;
    bool closing[8]; /* connections that the node has asked to close */
};

static void fuzz_outputs(struct fuzz_node *f) {
    struct node_output o;
    int64_t synced = f->node.synced;
    bool snap_done = false;
    for (bool more = true; more;) {
        more = false;
        while (node_take_output(&f->node, &o)) {
            if (o.kind == NODE_SEND)
                node_conn_sent(&f->node, o.conn, buf_len(&node_conn(&f->node, o.conn)->out));
            if (o.kind == NODE_CLOSE && o.conn < 8) f->closing[o.conn] = true;
            if (o.kind == NODE_APPEND) synced = o.zxid;
            if (o.kind == NODE_SNAPSHOT_END) snap_done = true;
            buf_free(&o.owned);
        }
        struct node_input in = {.kind = NODE_LOG_SYNCED, .now = f->now, .wall = f->now};
        if (synced > f->node.synced) {
            in.zxid = synced;
            node_step(&f->node, &in);
            more = true;
        }
        in.kind = NODE_SNAPSHOT_DONE;
        if (snap_done) node_step(&f->node, &in);
        snap_done = false;
    }
}

static void fuzz_open(struct fuzz_node *f) {
    struct logq log = {.max_level = 0};
    memset(f, 0, sizeof *f);
    f->now = 1000;
    config_defaults(&f->cfg);
    (void)config_parse(&f->cfg, slice_str("tickTime=2000\ndataDir=/nowhere\nclientPort=1\n"
                                          "extendedTypesEnabled=true\nenforceQuota=true\n"
                                          "4lw.commands.whitelist=*\n"), &log);
    node_state_init(&f->node, &f->cfg, 1, f->now, f->now);
    f->node.log.max_level = 0;
    db_add_builtin(&f->node.db);
    node_start(&f->node, false);
    fuzz_outputs(f);
}

static uint32_t fuzz_accept(struct fuzz_node *f) {
    struct net_addr addr = {{127, 0, 0, 1}, 4, 1};
    return node_accept(&f->node, &addr, f->now, f->now);
}

static void fuzz_bytes(struct fuzz_node *f, uint32_t conn, const uint8_t *p, size_t n) {
    struct node_input in = {.kind = NODE_CONN_BYTES, .now = f->now, .wall = f->now, .conn = conn,
                            .bytes = slice_of(p, n)};
    if (f->closing[conn]) return;
    node_step(&f->node, &in);
    fuzz_outputs(f);
}

static void fuzz_close(struct fuzz_node *f) {
    struct node_input in = {.kind = NODE_TICK, .now = f->now + 100000, .wall = f->now + 100000};
    node_step(&f->node, &in); /* sessions expire */
    fuzz_outputs(f);
    node_state_free(&f->node);
    config_free(&f->cfg);
}

#endif
