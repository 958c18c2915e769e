/*
 * node/throttle: what a server delays or refuses when it has too much to do; off unless configured.
 *
 * New connections: a bucket of tokens (stock: BlueThrottle). Requests: no more than
 * request_throttle_max_requests are under way at once; a connection whose next request finds no
 * room waits in line, and its input with it. A request that has waited longer than
 * throttled_op_wait_time is answered ZTHROTTLEDOP in its turn and not carried out
 * (stock: RequestThrottler).
 */
#ifndef ZK_NODE_THROTTLE_H
#define ZK_NODE_THROTTLE_H

#include "node/state.h"

ZK_PRIVATE void throttle_start(struct node *n);
/* Whether a new connection may ask for a session. */
ZK_PRIVATE bool throttle_admits(struct node *n, bool renewal);

/* Input has come; the next request may wait in it. */
ZK_PRIVATE void throttle_arrived(struct node *n, struct conn *c, size_t bytes);
/* It has waited for something that no throttle is about: it counts as having come now. */
ZK_PRIVATE void throttle_restart(struct node *n, struct conn *c);
/* Whether the connection's next request has to wait; it stands in line then. */
ZK_PRIVATE bool throttle_stalls(struct node *n, uint32_t conn);
/* The next in line for whom there is room; CONN_NONE: nobody. */
ZK_PRIVATE uint32_t throttle_next(struct node *n);
/* Those in line, one after the other; *at is 0 at first. */
ZK_PRIVATE bool throttle_in_line(const struct node *n, size_t *at, uint32_t *conn);

enum throttle_verdict {
    THROTTLE_SERVE,
    THROTTLE_REFUSE, /* ZTHROTTLEDOP */
    THROTTLE_DROP    /* the session has timed out meanwhile: the connection ends */
};
/* The connection's next request is taken: `bytes` of its input are done with. */
ZK_PRIVATE enum throttle_verdict throttle_taken(struct node *n, struct conn *c, int32_t op,
                                                size_t bytes);
/* The connection has ended. True: a closeSession was waiting among its requests. */
ZK_PRIVATE bool throttle_leave(struct node *n, struct conn *c);

#endif
