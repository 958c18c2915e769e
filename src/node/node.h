/*
 * node: one server as a machine. Takes inputs, calls the rooms, leaves outputs (node/state.h).
 */
#ifndef ZK_NODE_NODE_H
#define ZK_NODE_NODE_H

#include "node/state.h"

/*
 * The state has been loaded into n->db: requests are served from now on, or, in an ensemble, a
 * leader is looked for.
 */
ZK_PRIVATE void node_start(struct node *n, bool snapshot);
ZK_PRIVATE void node_step(struct node *n, const struct node_input *in);
/* Work that waits for a free moment (a snapshot being walked): true when there is more. */
ZK_PRIVATE bool node_idle_work(struct node *n);
/* Monotonic ms at which a tick is wanted next. */
ZK_PRIVATE int64_t node_next_tick(const struct node *n);
/* A connection was accepted: its number, CONN_NONE when the limits refuse it. */
ZK_PRIVATE uint32_t node_accept(struct node *n, const struct net_addr *addr, int64_t now,
                                int64_t wall);

/* --- an ensemble --- */
/* Before node_start: what the epoch files say. -1: the file does not exist. */
ZK_PRIVATE void node_epochs(struct node *n, int64_t accepted, int64_t current);
/* A server connected to the election or the quorum port: the number of the link, LINK_NONE to hang
 * up. */
ZK_PRIVATE uint32_t node_link_accept(struct node *n, enum link_kind kind, int64_t now,
                                     int64_t wall);
/* NODE_LINK_DIAL, NODE_LINK_SEND: where to, and what to send. Valid until the next input. */
ZK_PRIVATE const struct link *node_link(struct node *n, uint32_t link);
/* Whether more should be received from it; asked again after each input. */
ZK_PRIVATE bool node_link_wants(const struct node *n, uint32_t link);
ZK_PRIVATE void node_link_sent(struct node *n, uint32_t link, size_t bytes); /* host: consumed */

#endif
