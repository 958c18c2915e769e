/*
 * host/duct: a connection within the process: what a socket is between two machines.
 *
 * Bytes stand in memory. Each side has a bell, a pipe that is readable when there is something to
 * look at: bytes, room after there was none, or that the other side has gone. A poller watches the
 * bell as it would watch a socket, for input only. Each side belongs to one thread at a time; the
 * two may be different ones. The last to close frees it.
 */
#ifndef ZK_HOST_DUCT_H
#define ZK_HOST_DUCT_H

#include <pthread.h>

#include "host/os.h"

#define DUCT_MAX (1u << 20) /* bytes on their way, in each direction */

enum duct_side { DUCT_CLIENT, DUCT_SERVER };

struct duct {
    pthread_mutex_t lock; /* of everything here */
    struct {
        struct buf in; /* bytes for this side */
        int bell[2];
        bool full; /* the other side was told to wait for room here */
        bool gone;
    } side[2];
};

/* Where a client of the process knocks; the first member of struct zk_server. */
struct duct_door {
    bool (*offer)(struct duct_door *door, struct duct *d); /* takes d's server side; false: no */
};

ZK_PRIVATE struct duct *duct_new(void); /* NULL: no memory, or no descriptors */
ZK_PRIVATE void duct_close(struct duct *d, enum duct_side side);
ZK_PRIVATE void duct_wake(struct duct *d, enum duct_side side); /* makes its bell readable */
ZK_PRIVATE int duct_bell(const struct duct *d, enum duct_side side);
/* As os_recv and os_send. */
ZK_PRIVATE int64_t duct_recv(struct duct *d, enum duct_side side, void *p, size_t n);
ZK_PRIVATE int64_t duct_send(struct duct *d, enum duct_side side, const void *p, size_t n);

#endif
