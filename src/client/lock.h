/*
 * client/lock: mutex, read and write lock, semaphore: who holds a line's first place.
 *
 *   FREE --acquire--> WAITING --first--> OWNED --release--> FREE
 *   OWNED --connection breaks--> SUSPENDED --node is still there--> OWNED
 *   OWNED, SUSPENDED --session may be over, or node gone--> LOST --release or acquire--> ...
 * What is lost is left, so that a session that lives on after all keeps nobody out.
 *
 * A semaphore is two lines: a mutex at <path>/locks, held by the one who takes his lease, and the
 * leases at <path>/leases.
 * stock: Curator's InterProcessMutex, InterProcessReadWriteLock, InterProcessSemaphoreV2; kazoo's
 * Lock, ReadLock, WriteLock.
 */
#ifndef ZK_CLIENT_LOCK_H
#define ZK_CLIENT_LOCK_H

#include "client/line.h"

/* What the data of a node becomes when its owner shall give it back. stock: Revoker */
#define LOCK_REVOKE "__REVOKE__"

struct lock {
    struct client *c;
    bool reentrant, trying;
    struct line_rule rule, lease_rule;
    const char **blockers; /* owned, with the texts of the extra patterns behind it */
    struct recipe_node node;
    char *path;         /* owned: of the line */
    char *leases;       /* owned: of the leases; NULL when it is no semaphore */
    struct line *line;  /* NULL: not in line */
    struct line *lease; /* of a semaphore */
    struct wish wish;
    struct notice notice; /* its state is the lock's */
    unsigned depth;       /* of re-entry */
    char place[12];       /* of rule.place */
    void (*on_revoke)(void *user); /* NULL: nobody listens */
    struct ask revoke;             /* looks at the own node's data */
    bool listening;                /* ... which may be watched */
};

/* owner: of its posts. */
ZK_PRIVATE int lock_init(struct lock *l, struct client *c, const void *owner, const char *path,
                         const struct zk_lock_options *options);
ZK_PRIVATE void lock_free(struct lock *l); /* leaves */

/* timeout_ms < 0: none. trying: ZK_LOCKED rather than to wait for somebody. */
ZK_PRIVATE int lock_acquire(struct lock *l, int timeout_ms, bool trying, zk_done_fn done,
                            void *user);
ZK_PRIVATE int lock_release(struct lock *l);
/* A read lock takes the place of a write lock that is held on the same path. */
ZK_PRIVATE int lock_downgrade(struct lock *write, struct lock *read, int timeout_ms,
                              zk_done_fn done, void *user);
/* Of the children of its node the first in line; NULL: none. */
ZK_PRIVATE const char *lock_first(const struct lock *l, const struct zk_result *children);
ZK_PRIVATE int64_t lock_token(const struct lock *l); /* 0: not held for sure */

#endif
