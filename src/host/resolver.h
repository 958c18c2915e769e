/*
 * host/resolver: names of hosts become addresses without making the loop wait.
 *
 * A few threads ask the system, one name each at a time, in the order of the questions: there are
 * no more of them than were needed at once. Answers come back through resolver_take() after a byte
 * on the loop's pipe. Nothing is remembered: every dial asks anew. The system may take very long
 * over a name, and nothing can stop it: the others then answer, and a resolver that is freed
 * meanwhile lives on, unseen, until its last thread returns.
 */
#ifndef ZK_HOST_RESOLVER_H
#define ZK_HOST_RESOLVER_H

#include <pthread.h>

#include "host/os.h"

#define RESOLVER_HOST 256 /* a name, with a NUL */
#define RESOLVER_THREADS 4

struct resolver;

struct resolver_answer {
    uint64_t ticket;
    int n; /* addresses; 0: the name is unknown */
    struct net_addr at[OS_ADDRS_MAX];
};

/* wake_fd: the write end of the loop's pipe. NULL: no memory. */
ZK_PRIVATE struct resolver *resolver_new(int wake_fd);
ZK_PRIVATE void resolver_free(struct resolver *r);     /* NULL is fine */
/* ticket: for the answer; not in use by another question. No thread or memory to be had for it: the
 * answer is that there is no such host. */
ZK_PRIVATE void resolver_ask(struct resolver *r, uint64_t ticket, const char *host, uint16_t port);
/* Nobody wants the answer any more; it may come all the same. */
ZK_PRIVATE void resolver_forget(struct resolver *r, uint64_t ticket);
ZK_PRIVATE bool resolver_take(struct resolver *r, struct resolver_answer *out);

#endif
