/*
 * client/cache: a copy of a node, its children, or a whole subtree, kept in step by one persistent
 * watch.
 *
 *   WAITING --connected--> SYNCING --everything read--> READY --connection breaks--> WAITING
 * The watch is set first and the nodes are read afterwards, by a few readers at a time; an event
 * sends a node to the readers again. What the server sends is in order, so that what was read after
 * an event is newer than it. After a pause everything is read again: each round has a number, and
 * nodes that the round has not seen at its end are gone.
 *
 * A change is told as it is applied; without the memory to tell it, it is not applied, and the node
 * is read again later. Nodes that are not there (placeholders above others, names still to be read)
 * are in the table too, as long as somebody needs them.
 * stock: Curator's CuratorCache; NodeCache, PathChildrenCache and TreeCache by the levels.
 */
#ifndef ZK_CLIENT_CACHE_H
#define ZK_CLIENT_CACHE_H

#include "client/recipe.h"

#define CACHE_READERS 32

enum cache_state { CACHE_WAITING, CACHE_SYNCING, CACHE_READY, CACHE_FAILED };

struct cache_node {
    struct cache_node *next; /* of the bucket */
    struct cache_node *parent, *children, *sibling;
    struct cache_node *queued_next;
    uint64_t hash;
    bool there;            /* known to exist; else only somebody needs this record */
    bool queued, reading;  /* to be read, being read */
    bool again;            /* to be read again when that is done */
    bool children_wanted;  /* to be listed, too */
    uint32_t round;        /* that saw it last */
    uint32_t listed;       /* round in whose list it was: its own children are wanted then */
    void *data;            /* owned; a NUL follows */
    int data_len;
    struct zk_stat stat;
    uint32_t path_len;
    char path[];
};

struct cache;
struct cache_reader {
    struct cache *cache;
    struct cache_node *node; /* NULL: idle */
    struct ask ask;
};

/* What the watch calls; it outlives the cache until the watch is off the server. */
struct cache_ear {
    struct client *c;
    struct cache *cache; /* NULL: it is gone */
    char *path;          /* owned: the root */
    enum zk_watch_kind kind;
    struct ask ask; /* sets the watch */
};

struct cache {
    struct client *c;
    struct cache_ear *ear; /* owned */
    const void *owner;
    const char *root; /* the ear's */
    int levels; /* 0: all */
    zk_cache_fn fn;
    void *user;
    enum cache_state state;
    int error;
    struct client_observer observer;
    struct client_timer timer; /* for memory */
    struct cache_reader readers[CACHE_READERS];
    int busy; /* of those */
    struct cache_node *queue, **queue_end;
    struct cache_node **buckets; /* owned */
    uint32_t cap, n;
    uint64_t seed;
    uint32_t round;
    struct wish wish;
};

ZK_PRIVATE int cache_init(struct cache *h, struct client *c, const void *owner, const char *path,
                          const struct zk_cache_options *options);
ZK_PRIVATE void cache_free(struct cache *h);
ZK_PRIVATE int cache_wait(struct cache *h, int timeout_ms, zk_done_fn done, void *user);
/* A copy, as of get and get_children together. ZK_NO_NODE */
ZK_PRIVATE int cache_get(struct cache *h, const char *path, struct zk_result **out);

#endif
