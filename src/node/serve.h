/*
 * node/serve: the server's side of a client connection.
 *
 * Phases (enum conn_phase):
 *   NEW      -> a four-letter word is answered and the connection closed; a ConnectRequest leads to
 *               WAITING (new session: its transaction is under way) or OPEN (renewal), or to a
 *               refusal and CLOSING
 *   WAITING  -> OPEN when the createSession has been applied; input waits meanwhile
 *   OPEN     -> requests; CLOSING after closeSession, an error that ends it, or expiry
 *   CLOSING  -> output is flushed, input dropped, then the slot is free
 * stock: NIOServerCnxn, ZooKeeperServer.processConnectRequest, processPacket.
 */
#ifndef ZK_NODE_SERVE_H
#define ZK_NODE_SERVE_H

#include "node/state.h"

/* CONN_NONE when the limits refuse it: the host closes the socket. */
ZK_PRIVATE uint32_t serve_open(struct node *n, const struct net_addr *addr);
ZK_PRIVATE void serve_bytes(struct node *n, uint32_t conn, struct slice bytes);
ZK_PRIVATE void serve_run(struct node *n, uint32_t conn); /* what waits, as far as it may */
/*
 * The reads whose turn has come, whatever they cost: the next write of the connection is about to
 * be applied, and they must not see it.
 */
ZK_PRIVATE void serve_due(struct node *n, uint32_t conn);
ZK_PRIVATE bool serve_turn(struct node *n); /* those whose budget ran out; true: some again */
ZK_PRIVATE void serve_stalled(struct node *n); /* those in line, as far as there is room */
ZK_PRIVATE void serve_keep_stalled(struct node *n); /* their sessions: they wait for us */
ZK_PRIVATE void serve_lost(struct node *n, uint32_t conn);   /* the peer is gone */
ZK_PRIVATE void serve_close(struct node *n, uint32_t conn);  /* after what it has to be told */
/* The leader has answered whether the session may go on here. */
ZK_PRIVATE void serve_renewed(struct node *n, uint32_t conn, bool valid);
ZK_PRIVATE void serve_session_created(struct node *n, uint32_t conn);
ZK_PRIVATE void serve_idle(struct node *n); /* closes those that never asked for a session */

#endif
