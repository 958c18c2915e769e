/*
 * client/watches: who wants to be told of what, by the path on the server.
 *
 * One table of paths; at each path its watchers, each with the kinds of watch it holds there. The
 * same function and user at one path is one watcher, whatever it was set by and however often, and
 * whoever watches several paths is told of an event once. Paths are those of the server, chroot
 * included.
 *   DATA, EXIST, CHILD   one-shot: set by reads, gone with the event
 *   PERSISTENT           stays; the node itself and its children's coming and going
 *   RECURSIVE            stays; the node and everything below it
 * stock: ZKWatchManager.
 */
#ifndef ZK_CLIENT_WATCHES_H
#define ZK_CLIENT_WATCHES_H

#include "base/base.h"
#include "zk.h"

enum watch_bit {
    WATCH_BIT_DATA = 1,
    WATCH_BIT_EXIST = 2,
    WATCH_BIT_CHILD = 4,
    WATCH_BIT_PERSISTENT = 8,
    WATCH_BIT_RECURSIVE = 16
};

struct watcher {
    struct watcher *next;
    zk_watch_fn fn;
    void *user;
    uint8_t bits; /* enum watch_bit */
    bool inside;  /* called at once rather than posted */
};

struct watched {
    struct watched *next; /* of the same bucket */
    struct watcher *first; /* owned */
    uint32_t hash, path_len;
    char path[]; /* with a NUL */
};

struct watches {
    struct watched **buckets; /* owned */
    uint32_t cap, n;          /* cap: a power of two or 0; n: paths */
    uint32_t watchers;
    uint32_t recursive; /* watchers with that bit: none, and no ancestor is looked at */
    uint64_t seed;      /* of the hashes */
};

ZK_PRIVATE void watches_free(struct watches *w);
/* False: no memory. */
ZK_PRIVATE bool watches_add(struct watches *w, struct slice path, const struct watcher *what);

/* Calls fn(user, watcher) for each that is to be told of an event, once however many of its watches
 * it is for, and takes away those that are used up by it. fn may refuse (no memory): then the rest
 * stays, and the result is false. fn may add and remove watches. */
typedef bool (*watches_fn)(void *user, const struct watcher *who);
ZK_PRIVATE bool watches_fire(struct watches *w, enum zk_event_type type, struct slice path,
                             watches_fn fn, void *user);

/* The bits that removing this kind takes from a watcher. */
ZK_PRIVATE uint8_t watches_bits(enum zk_watch_kind kind);
/* Whether fn and user (fn NULL: anybody) hold one of the bits at path, and whether others do. */
ZK_PRIVATE bool watches_held(const struct watches *w, struct slice path, uint8_t bits,
                             zk_watch_fn fn, void *user, bool *by_others);
/* Takes the bits away; calls told for each watcher that lost some, with those in its `bits`. */
ZK_PRIVATE void watches_remove(struct watches *w, struct slice path, uint8_t bits, zk_watch_fn fn,
                               void *user, watches_fn told, void *told_user);
/* Everywhere, whoever holds them inside or not; nobody is told. */
ZK_PRIVATE void watches_forget(struct watches *w, zk_watch_fn fn, void *user);

/* The bits of all watchers of a path. */
ZK_PRIVATE uint8_t watches_bits_of(const struct watched *at);
/* Goes through all paths: for (at = NULL; (at = watches_next(w, at, &bits));) */
ZK_PRIVATE const struct watched *watches_next(const struct watches *w, const struct watched *at,
                                              uint8_t *bits);

#endif
