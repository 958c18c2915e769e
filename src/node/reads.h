/*
 * node/reads: the requests that change nothing: reads of the tree, watches, and ping, sync, whoAmI.
 *
 * Each is answered at once from the applied state. stock: FinalRequestProcessor.
 */
#ifndef ZK_NODE_READS_H
#define ZK_NODE_READS_H

#include "node/state.h"

/* Answers one request; body is what follows the request header. */
ZK_PRIVATE void reads_serve(struct node *n, uint32_t conn, int32_t xid, int32_t op,
                            struct slice body);

#endif
