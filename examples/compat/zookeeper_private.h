/*
 * zookeeper_private.h: what the files of the compatibility layer share.
 *
 * zookeeper.c       handles, the session, watchers, the loop
 * zookeeper_ops.c   operations
 * zookeeper_log.c   the log, errors in words, constants
 * zookeeper_jute.c  records as bytes
 */
#ifndef ZOO_PRIVATE_H
#define ZOO_PRIVATE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <pthread.h>
#include <stdbool.h>

#include "zk.h"
#include "zookeeper.h"
#include "zookeeper_log.h"

/* What a watcher holds at a path; events use them up one by one. */
enum watch_table { WATCH_DATA, WATCH_EXIST, WATCH_CHILD, WATCH_TABLES };

/*
 * A watcher and its context at one path. It is used while it is armed, as far as we know, or while
 * an operation is under way that may arm it; then it is kept for another use, so that its address,
 * by which the library knows it, stays good as long as the handle.
 *
 * The result of a synchronous call may overtake events that came before it. Where events carry the
 * zxid of their change the two can be put in order; where they do not (old servers), `doubt` says
 * that the next event may be older than what armed the watch.
 */
struct watch {
    struct watch *next; /* of the same bucket, or of those that are not used */
    zhandle_t *zh;
    char *path; /* owned; NULL: not used */
    watcher_fn fn;
    void *ctx;
    unsigned pending;
    struct {
        bool armed, doubt;
        uint64_t order;     /* of the operation that armed it */
        int64_t armed_zxid; /* what the server had applied then */
        int64_t fired_zxid; /* of the latest event that had one */
        unsigned fired;     /* events without */
    } tables[WATCH_TABLES];
};

struct watch_map {
    struct watch **buckets; /* owned */
    struct watch *unused;   /* owned */
    size_t cap, n;          /* cap: a power of two, or 0 */
    uint64_t orders;        /* of operations that arm or remove */
};

/* An operation that may arm a watch. */
struct watch_use {
    struct watch *watch; /* NULL: none */
    uint64_t order;
    unsigned fired[WATCH_TABLES]; /* when the operation began */
    bool alone; /* nothing else had armed the watch then, or may */
};

/* An operation that removes watches. */
struct watch_removal {
    char *path; /* owned */
    enum zk_watch_kind kind;
    const struct watch *only; /* NULL: all of that path */
    uint64_t order;
};

/* One reference is the user's, until zookeeper_close; each call under way, each completion that is
 * due and each watcher that is running has one too. The last one frees the handle. */
struct _zhandle {
    struct zk *zk;
    pthread_mutex_t lock; /* of what follows */
    unsigned refs;
    bool closed;
    bool begun; /* without threads: zookeeper_interest was called */
    watcher_fn watcher;
    void *context;
    _Atomic(log_callback_fn) log_callback;
    clientid_t id;
    char *hosts; /* owned; the one that is next comes first */
    struct watch_map watches;
    pthread_mutex_t auth_lock; /* of zoo_lock_auth; nobody else's */
};

#define ZOO_PRIVATE __attribute__((visibility("hidden")))

/* Takes a reference for a call. ZBADARGUMENTS (NULL) or ZINVALIDSTATE (closed, session over). */
ZOO_PRIVATE int zh_enter(zhandle_t *zh);
ZOO_PRIVATE void zh_leave(zhandle_t *zh);
/* One more, for a completion; given back from within a callback. */
ZOO_PRIVATE void zh_hold(zhandle_t *zh);
ZOO_PRIVATE void zh_release(zhandle_t *zh);

/* Adds the watch to op, and remembers in use that it may become armed. fn NULL: no watch. False: no
 * memory. */
ZOO_PRIVATE bool watch_begin(zhandle_t *zh, struct zk_op *op, watcher_fn fn, void *ctx,
                             struct watch_use *use);
/* The operation is over. sync: its result may have overtaken events. */
ZOO_PRIVATE void watch_end(zhandle_t *zh, const struct watch_use *use, enum zk_op_type type,
                           int error, int64_t zxid, bool sync);
/* Makes an operation that removes this watch, or with fn NULL all. ZNOWATCHER: it is nowhere. */
ZOO_PRIVATE int removal_begin(zhandle_t *zh, struct zk_op *op, watcher_fn fn, void *ctx,
                              struct watch_removal *removal);
/* The operation is over, with what it owns. */
ZOO_PRIVATE void removal_end(zhandle_t *zh, struct watch_removal *removal, int error);

/* A number of zk.h as one of enum ZOO_ERRORS. */
ZOO_PRIVATE int zoo_error(int error);
ZOO_PRIVATE void log_environment(log_callback_fn callback);

#endif
