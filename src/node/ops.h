/*
 * node/ops: the four-letter words.
 *
 * A command is recognised only as the first four bytes of a connection; its answer is text, after
 * which the connection is closed. Names, texts, the order of lines and the whitelist are stock's
 * (FourLetterCommands and the classes of org.apache.zookeeper.server.command). Where stock prints
 * in the order of a Java hash table, the order here is that of our own tables.
 */
#ifndef ZK_NODE_OPS_H
#define ZK_NODE_OPS_H

#include "node/state.h"

/* Tools take this apart: release-revision, date. The revision is "zk" ten times in ASCII. */
#define OPS_VERSION \
    "3.9.5-7a6b7a6b7a6b7a6b7a6b7a6b7a6b7a6b7a6b7a6b, built on 2026-11-23 00:00 UTC"

ZK_PRIVATE bool ops_is_word(struct slice in); /* in: the first bytes of a connection, 4 or more */
/* Appends the answer to the connection's output; in: all bytes that came with the word. */
ZK_PRIVATE void ops_answer(struct node *n, uint32_t conn, struct slice in);

#endif
