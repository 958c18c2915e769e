/*
 * node: one server as a machine. Takes inputs, calls the rooms, leaves outputs (node/state.h).
 */
#ifndef ZK_NODE_NODE_H
#define ZK_NODE_NODE_H

#include "node/state.h"

/* The state has been loaded into n->db: sessions are tracked, requests are served from now on. */
ZK_PRIVATE void node_start(struct node *n, bool snapshot);
ZK_PRIVATE void node_step(struct node *n, const struct node_input *in);
/* Work that waits for a free moment (a snapshot being walked): true when there is more. */
ZK_PRIVATE bool node_idle_work(struct node *n);
/* Monotonic ms at which a tick is wanted next. */
ZK_PRIVATE int64_t node_next_tick(const struct node *n);
/* A connection was accepted: its number, CONN_NONE when the limits refuse it. */
ZK_PRIVATE uint32_t node_accept(struct node *n, const struct node_addr *addr, int64_t now,
                                int64_t wall);

#endif
