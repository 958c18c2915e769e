/*
 * host/courier: carries the bytes of one client machine: its connection, its names, its readiness.
 *
 * It executes the machine's orders and feeds it what comes of them. It has no thread and no lock:
 * whoever owns the machine calls it, by one thread at a time, except for courier_poll, which may
 * run without the lock. A socket that another thread waits for (courier_lend) is shut, but not
 * closed, before that thread is back: its number must not come to mean something else.
 *
 * One descriptor for callers with a loop of their own stays the same all the time: the poller's,
 * or, where a poller has none, a number that each new socket is moved to.
 *
 * With a `door` it does not dial: it offers a duct to that server of the same process.
 */
#ifndef ZK_HOST_COURIER_H
#define ZK_HOST_COURIER_H

#include "client/session.h"
#include "host/duct.h"
#include "host/resolver.h"

#define COURIER_READ 65536
#define COURIER_EVENTS 4
#define COURIER_DEAF_MS 100

struct courier {
    struct client *client; /* borrowed */
    struct os_poller *poller;
    int wake[2]; /* [0] is watched; a byte ends a courier_poll */
    int fd;      /* of the connection; -1: none */
    struct duct *duct; /* that the connection is; fd is its bell. NULL: fd is a socket */
    struct duct_door *door; /* of a server of this process; NULL: dial */
    int stable;  /* the number that sockets are moved to; -1: they keep their own */
    bool standing, want_write, lent, shut;
    struct resolver *resolver; /* made for the first name */
    uint64_t ticket;           /* of the question that counts */
    int probe;                 /* a socket that asks "isro"; -1: none */
    bool probe_asked;
    struct buf scratch; /* COURIER_READ bytes of room */
};

ZK_PRIVATE int courier_open(struct courier *k, struct client *client);
ZK_PRIVATE void courier_close(struct courier *k);
/* In a copy that fork has made: closes the descriptors and leaves what they lead to alone, which
 * is the other process's too: the connection, the poller's list. What has a lock is lost. */
ZK_PRIVATE void courier_drop(struct courier *k);

/* Executes all orders, and sends what should be sent, or, if `all`, everything. */
ZK_PRIVATE void courier_run(struct courier *k, bool all);
/* Waits; the events are for courier_take. Needs no lock. */
ZK_PRIVATE int courier_poll(struct courier *k, struct os_event out[COURIER_EVENTS], int timeout_ms);
ZK_PRIVATE void courier_take(struct courier *k, const struct os_event *events, int n);
ZK_PRIVATE void courier_wake(struct courier *k); /* by any thread */

/* One thread may wait for the connection's input by itself: gives it the socket, or -1. */
ZK_PRIVATE int courier_lend(struct courier *k);
ZK_PRIVATE void courier_give_back(struct courier *k);
/* Reads once from the connection. */
ZK_PRIVATE void courier_read(struct courier *k);

ZK_PRIVATE int courier_fd(const struct courier *k); /* for the caller's own loop */
/* How long a sleeper on it may not hear of courier_wake; -1: hears at once. */
ZK_PRIVATE int courier_deaf_ms(const struct courier *k);
ZK_PRIVATE bool courier_wants_write(const struct courier *k);

#endif
