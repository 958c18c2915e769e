/*
 * watch: who wants to hear of which path.
 *
 * One entry per watched path (the node need not exist), holding a sorted array of u32 watchers:
 * connection << 4 | kinds. The kinds are the two standard watches, consumed when they fire, and the
 * two persistent ones. For each connection the set of its entries, so that a closed connection
 * leaves nothing behind. A watch belongs to the connection, not to the session.
 *
 * Two tables in stock's terms: the data table holds DATA, PERSISTENT and RECURSIVE, the child
 * table CHILD and PERSISTENT. stock: WatchManager, DataTree.
 */
#ifndef ZK_WATCH_H
#define ZK_WATCH_H

#include "base/base.h"

enum {
    WATCH_DATA = 1,
    WATCH_CHILD = 2,
    WATCH_PERSISTENT = 4,
    WATCH_RECURSIVE = 8,
    WATCH_ANY = 15
};
#define WATCH_IN_DATA (WATCH_DATA | WATCH_PERSISTENT | WATCH_RECURSIVE)
#define WATCH_IN_CHILD (WATCH_CHILD | WATCH_PERSISTENT)
#define WATCH_CONN_MAX (1u << 28)

struct watch_entry {
    uint8_t *path; /* owned */
    uint32_t path_len;
    uint32_t n, cap; /* cap 0: the one watcher is in `one` */
    union {
        uint32_t one;
        uint32_t *many; /* owned, sorted */
    } w;
};

struct watch_table {
    struct watch_entry *entries; /* owned; path == NULL: free, next one in path_len */
    uint32_t n, cap, free_list, live;
    struct map index;
    struct idset *by_conn; /* owned; indexed by connection */
    uint32_t conns_cap;
    uint64_t n_data, n_child, n_recursive; /* (path, connection) pairs per table */
    uint64_t seed;
};

ZK_PRIVATE void watch_init(struct watch_table *t, uint64_t seed);
ZK_PRIVATE void watch_free(struct watch_table *t);
ZK_PRIVATE void watch_add(struct watch_table *t, struct slice path, uint32_t conn, uint32_t kinds);
/* True when any of the kinds was set. */
ZK_PRIVATE bool watch_remove(struct watch_table *t, struct slice path, uint32_t conn,
                             uint32_t kinds);
ZK_PRIVATE uint32_t watch_kinds(const struct watch_table *t, struct slice path, uint32_t conn);
ZK_PRIVATE void watch_drop_conn(struct watch_table *t, uint32_t conn);

/*
 * One pass over the data or the child table: appends to hits (u32 each, no connection twice) those
 * that get one event for the path, and consumes their standard watches. In the data table the
 * recursive watches of all ancestors take part.
 */
ZK_PRIVATE void watch_fire_data(struct watch_table *t, struct slice path, struct buf *hits);
ZK_PRIVATE void watch_fire_child(struct watch_table *t, struct slice path, struct buf *hits);

ZK_PRIVATE uint32_t watch_watchers(const struct watch_entry *e, const uint32_t **w);

#endif
