/*
 * client/latch: who leads: a place in a line that is taken again whenever it is lost.
 *
 *   WAITING --first--> OWNED --connection breaks--> SUSPENDED --node is still there--> OWNED
 *   SUSPENDED --session may be over--> LOST --new place, or the old one after all--> ...
 * What the server refuses for good ends it: NONE.
 * stock: Curator's LeaderLatch and LeaderSelector.
 */
#ifndef ZK_CLIENT_LATCH_H
#define ZK_CLIENT_LATCH_H

#include "client/line.h"

struct latch {
    struct client *c;
    struct line_rule rule;
    struct recipe_node node;
    char *path;         /* owned */
    struct line *line;  /* NULL: ended */
    int error;          /* why it ended */
    struct wish wish;
    struct notice notice; /* its state is the latch's */
};

ZK_PRIVATE int latch_init(struct latch *l, struct client *c, const void *owner, const char *path,
                          const struct zk_leader_options *options);
ZK_PRIVATE void latch_free(struct latch *l);
ZK_PRIVATE int latch_wait(struct latch *l, int timeout_ms, zk_done_fn done, void *user);
ZK_PRIVATE int latch_resign(struct latch *l);
/* Of the children of its node the one that leads; NULL: none. */
ZK_PRIVATE const char *latch_first(const struct latch *l, const struct zk_result *children);

#endif
