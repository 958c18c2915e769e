/*
 * node/role: what this server is in its ensemble, and the change from one role to another.
 *
 *   ALONE      no ensemble
 *   DRAINING   a role has ended: the log, epochs and snapshots under way reach the disk first; then
 *              everything logged is applied, committed or not, because all of it counts now. Memory
 *              that is not what the disk holds (a snapshot was cut short) is loaded again
 *   LOOKING    election
 *   LEADING    node's prepared transactions are proposed; a quorum commits
 *   LEARNING   follower or observer: requests go to the leader, transactions come from it
 *
 * Whatever the role, a transaction is in the pending ring from the moment it is appended until it
 * is applied, and it is applied when it is durable here and committed. Requests of our own clients
 * that went to the leader wait in `waiting`, in the order in which they went; the transaction that
 * answers the first one is known by its session and cxid. stock: QuorumPeer, CommitProcessor
 */
#ifndef ZK_NODE_ROLE_H
#define ZK_NODE_ROLE_H

#include "node/state.h"

struct pipeline_request;

ZK_PRIVATE void role_init(struct node *n);
ZK_PRIVATE void role_free(struct node *n);
ZK_PRIVATE void role_start(struct node *n); /* the state has been loaded */
/* After each input: lets the machines of the role do what they can now. */
ZK_PRIVATE void role_settle(struct node *n);
ZK_PRIVATE void role_tick(struct node *n);
ZK_PRIVATE int64_t role_next_tick(const struct node *n);
ZK_PRIVATE bool role_idle_work(struct node *n);

/* Inputs. */
ZK_PRIVATE void role_link_opened(struct node *n, uint32_t link);
ZK_PRIVATE void role_link_bytes(struct node *n, uint32_t link, struct slice bytes);
ZK_PRIVATE void role_link_closed(struct node *n, uint32_t link);
ZK_PRIVATE uint32_t role_link_accept(struct node *n, enum link_kind kind);
ZK_PRIVATE void role_listen_failed(struct node *n);
ZK_PRIVATE void role_epoch_saved(struct node *n);
ZK_PRIVATE void role_log_read(struct node *n, struct slice txns);
ZK_PRIVATE void role_loaded(struct node *n, struct db *db);
ZK_PRIVATE void role_log_synced(struct node *n);
ZK_PRIVATE void role_snapshot_over(struct node *n, bool failed);

/* Whether this server decides what becomes a transaction, and when a session expires. */
ZK_PRIVATE bool role_decides(const struct node *n);
ZK_PRIVATE bool role_learns(const struct node *n);
ZK_PRIVATE uint64_t role_self_owner(const struct node *n); /* of sessions of our own clients */
ZK_PRIVATE bool role_exhausted(const struct node *n);      /* the epoch has no zxid left */

/* Of a learner's clients. */
ZK_PRIVATE void role_forward(struct node *n, const struct pipeline_request *q);
ZK_PRIVATE void role_close_session(struct node *n, int64_t session); /* nobody waits for it */
ZK_PRIVATE void role_barrier(struct node *n, uint32_t conn);
ZK_PRIVATE void role_revalidate(struct node *n, uint32_t conn, int64_t session);
ZK_PRIVATE void role_touch(struct node *n, uint32_t session_slot, int32_t timeout);
/* A committed transaction: whose request it answers goes into p. */
ZK_PRIVATE void role_claim(struct node *n, struct pending *p);
/* What waits for nothing but what is applied by now. */
ZK_PRIVATE void role_answer(struct node *n);
/* A transaction has been appended, or applied. */
ZK_PRIVATE void role_appended(struct node *n, const struct pending *p);
ZK_PRIVATE void role_applied(struct node *n, int64_t zxid);

/* "standalone", "leader", "follower", "observer"; NULL while there is none of these. */
ZK_PRIVATE const char *role_name(const struct node *n);

#endif
