/*
 * node/mntr: the table of metrics, and the answer to `mntr`.
 *
 * Every metric that a stock server shows has a row: its kind and where the value is. Rows without a
 * source belong to machinery that this server does not have (a commit processor, learners, TLS, a
 * JVM): they are 0, as they are on a stock server that does not use it. Order: gauges, gauge sets,
 * counters, counter sets, basic summaries, advanced ones, summary sets. stock: ServerMetrics,
 * DefaultMetricsProvider, ZooKeeperServer.registerMetrics.
 */
#ifndef ZK_NODE_MNTR_H
#define ZK_NODE_MNTR_H

#include "node/state.h"

ZK_PRIVATE void mntr_dump(const struct node *n, const struct node_facts *facts, struct buf *out);
ZK_PRIVATE uint32_t mntr_alive(const struct node *n); /* connections that are not being closed */

#endif
