/*
 * host/reserve: chunks for a database that is being loaded, made ready on a thread of their own.
 *
 * The first touch of a page takes the system longer than what a load then writes there. A million
 * nodes touch 60,000 of them: a fifth of the time of a load, and more on a machine that has to get
 * the memory from its host. So a thread stays a few chunks ahead. It is started when a load turns
 * out to be a large one; who finds nothing ready does not wait.
 */
#ifndef ZK_HOST_RESERVE_H
#define ZK_HOST_RESERVE_H

#include <pthread.h>

#include "base/slab.h"

#define RESERVE_CHUNKS 64u /* ready at most */
#define RESERVE_AFTER 64u  /* chunks: from then on it is a large load */

struct reserve {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    void *ready[RESERVE_CHUNKS]; /* owned */
    uint32_t n, asked;
    bool running, stopping; /* running: belongs to the one who loads */
};

/* From now on the slab's chunks come from here; the slab belongs to the caller's thread. */
ZK_PRIVATE void reserve_begin(struct reserve *r, struct slab *slab);
ZK_PRIVATE void reserve_end(struct reserve *r, struct slab *slab); /* ends the thread */

#endif
