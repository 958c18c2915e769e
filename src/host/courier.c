#include "host/courier.h"

#include <errno.h>

enum courier_tag { COURIER_WAKE, COURIER_SOCKET, COURIER_PROBE };
#define COURIER_PROBE_TICKET (1ull << 63) /* marks the questions of probes */

ZK_PRIVATE int courier_open(struct courier *k, struct client *client) {
    memset(k, 0, sizeof *k);
    k->client = client;
    k->fd = k->stable = k->probe = k->wake[0] = k->wake[1] = -1;
    k->poller = os_poller_new();
    bool ok = k->poller && buf_try_reserve(&k->scratch, COURIER_READ) && os_pipe(k->wake) == 0 &&
              os_poller_add(k->poller, k->wake[0], COURIER_WAKE) == 0;
    if (ok && os_poller_fd(k->poller) < 0) ok = (k->stable = os_dup(k->wake[0])) >= 0;
    if (ok) return ZK_OK;
    courier_close(k);
    return ZK_SYSTEM_ERROR;
}

/* --- the connection --- */

static void courier_drop_probe(struct courier *k) {
    if (k->probe < 0) return;
    os_poller_del(k->poller, k->probe);
    (void)os_close(k->probe);
    k->probe = -1;
}

/* Nobody wants to know any more. */
static void courier_forget(struct courier *k) {
    if (k->resolver) resolver_forget(k->resolver, k->ticket);
    if (k->resolver) resolver_forget(k->resolver, k->ticket | COURIER_PROBE_TICKET);
    k->ticket = 0;
}

static void courier_hang_up(struct courier *k) {
    courier_forget(k);
    courier_drop_probe(k);
    if (k->fd < 0) return;
    if (k->lent) {
        k->shut = true;
        if (k->duct)
            duct_wake(k->duct, DUCT_CLIENT);
        else
            os_shut(k->fd);
        return;
    }
    os_poller_del(k->poller, k->fd);
    if (k->stable >= 0)
        (void)os_dup_over(k->wake[0], k->stable); /* which ends the socket that had the number */
    else
        (void)os_close(k->fd);
    if (k->duct) duct_close(k->duct, DUCT_CLIENT);
    k->duct = NULL;
    k->fd = -1;
    k->standing = k->want_write = k->shut = false;
}

ZK_PRIVATE void courier_close(struct courier *k) {
    if (k->poller) courier_hang_up(k);
    resolver_free(k->resolver);
    os_poller_free(k->poller);
    for (int i = 0; i < 2; i++)
        if (k->wake[i] >= 0) (void)os_close(k->wake[i]);
    if (k->stable >= 0) (void)os_close(k->stable);
    buf_free(&k->scratch);
    memset(k, 0, sizeof *k);
    k->fd = k->stable = k->probe = k->wake[0] = k->wake[1] = -1;
}

ZK_PRIVATE void courier_drop(struct courier *k) {
    if (k->fd >= 0 && k->fd != k->stable) (void)os_close(k->fd);
    if (k->probe >= 0) (void)os_close(k->probe);
    if (k->stable >= 0) (void)os_close(k->stable);
    for (int i = 0; i < 2; i++) (void)os_close(k->wake[i]);
    os_poller_free(k->poller);
    buf_free(&k->scratch);
}

/* A descriptor for a duct: its bell, by another number, to be closed like any other. */
static int courier_connect_inside(struct courier *k) {
    struct duct *d = duct_new();
    if (!d) return -1;
    int fd = os_dup(duct_bell(d, DUCT_CLIENT));
    if (fd < 0 || !k->door->offer(k->door, d)) {
        duct_close(d, DUCT_SERVER);
        duct_close(d, DUCT_CLIENT);
        if (fd >= 0) (void)os_close(fd);
        return -1;
    }
    k->duct = d;
    return fd;
}

static void courier_dial(struct courier *k, const struct net_addr *addr) {
    int fd = k->door ? courier_connect_inside(k) : os_connect(addr, false);
    if (fd >= 0 && k->stable >= 0) {
        int err = os_dup_over(fd, k->stable);
        (void)os_close(fd);
        fd = err ? -1 : k->stable;
    }
    k->fd = fd;
    k->standing = k->duct != NULL;
    k->want_write = !k->duct;
    if (fd < 0 || os_poller_add(k->poller, fd, COURIER_SOCKET) != 0)
        client_dialed(k->client, false); /* which makes it hang up */
    else if (k->standing)
        client_dialed(k->client, true);
    else
        os_poller_set(k->poller, fd, COURIER_SOCKET, true, true);
}

static void courier_dialed(struct courier *k) {
    int err = os_connected(k->fd);
    if (err == -EINPROGRESS) return;
    k->standing = err == 0;
    k->want_write = false;
    os_poller_set(k->poller, k->fd, COURIER_SOCKET, true, false);
    client_dialed(k->client, err == 0);
}

/* A bell says by itself that there is room again; input is not looked for while it is lent. */
static void courier_watch(struct courier *k) {
    os_poller_set(k->poller, k->fd, COURIER_SOCKET, !k->lent, k->want_write && !k->duct);
}

static void courier_send(struct courier *k) {
    struct buf *out = client_out(k->client);
    while (buf_len(out)) {
        int64_t n = k->duct ? duct_send(k->duct, DUCT_CLIENT, out->p + out->head, buf_len(out))
                            : os_send(k->fd, out->p + out->head, buf_len(out));
        if (n <= 0) {
            if (n != -EAGAIN && n != -EWOULDBLOCK) {
                client_broken(k->client, "sending failed");
                return;
            }
            break;
        }
        buf_consume(out, (size_t)n);
    }
    client_sent(k->client);
    bool more = buf_len(out) != 0;
    if (more == k->want_write) return;
    k->want_write = more;
    courier_watch(k);
}

ZK_PRIVATE void courier_read(struct courier *k) {
    if (k->fd < 0 || !k->standing || k->shut) return;
    int64_t n = k->duct ? duct_recv(k->duct, DUCT_CLIENT, k->scratch.p, COURIER_READ)
                        : os_recv(k->fd, k->scratch.p, COURIER_READ);
    if (k->duct && k->want_write) courier_send(k);
    if (k->fd < 0 || k->shut) return;
    if (n == -EAGAIN || n == -EWOULDBLOCK) return;
    if (n > 0)
        client_received(k->client, slice_of(k->scratch.p, (size_t)n));
    else
        client_broken(k->client, n ? "receiving failed" : "the server hung up");
}

/* --- names --- */

static void courier_ask(struct courier *k, uint64_t ticket, const char *name, uint16_t port) {
    if (!k->resolver) k->resolver = resolver_new(k->wake[1]);
    if (k->resolver) resolver_ask(k->resolver, ticket, name, port);
}

static void courier_resolve(struct courier *k, const struct client_order *o) {
    struct net_addr at[OS_ADDRS_MAX] = {0};
    static const uint64_t mask = COURIER_PROBE_TICKET - 1;
    k->ticket = (uint64_t)client_random(k->client) & mask;
    int n = k->door ? 1 : os_resolve(o->name, o->port, true, at);
    if (n > 0)
        client_resolved(k->client, at, n);
    else
        courier_ask(k, k->ticket, o->name, o->port);
}

/* --- is there a server that can write? --- */

static void courier_dial_probe(struct courier *k, const struct net_addr *addr) {
    courier_drop_probe(k);
    k->probe = os_connect(addr, false);
    k->probe_asked = false;
    if (k->probe < 0) return;
    (void)os_poller_add(k->poller, k->probe, COURIER_PROBE);
    os_poller_set(k->poller, k->probe, COURIER_PROBE, true, true);
}

static void courier_begin_probe(struct courier *k, const struct client_order *o) {
    struct net_addr at[OS_ADDRS_MAX];
    if (k->door) return;
    if (os_resolve(o->name, o->port, true, at) > 0)
        courier_dial_probe(k, &at[0]);
    else
        courier_ask(k, k->ticket | COURIER_PROBE_TICKET, o->name, o->port);
}

/* One word goes out and one comes back; whatever else happens is a no. */
static void courier_probe(struct courier *k) {
    uint8_t answer[8];
    if (!k->probe_asked) {
        int err = os_connected(k->probe);
        if (err == -EINPROGRESS) return;
        k->probe_asked = true;
        os_poller_set(k->poller, k->probe, COURIER_PROBE, true, false);
        if (err || os_send(k->probe, "isro", 4) != 4) courier_drop_probe(k);
        return;
    }
    int64_t n = os_recv(k->probe, answer, sizeof answer);
    if (n == -EAGAIN || n == -EWOULDBLOCK) return;
    courier_drop_probe(k);
    client_probed(k->client, n == 2 && memcmp(answer, "rw", 2) == 0);
}

/* --- turns --- */

static void courier_obey(struct courier *k, const struct client_order *o) {
    switch (o->kind) {
    case CLIENT_RESOLVE: courier_resolve(k, o); break;
    case CLIENT_DIAL: courier_dial(k, &o->addr); break;
    case CLIENT_HANG_UP: courier_hang_up(k); break;
    case CLIENT_PROBE: courier_begin_probe(k, o); break;
    }
}

ZK_PRIVATE void courier_run(struct courier *k, bool all) {
    struct client_order o;
    for (;;) {
        /* A socket that is lent and shut must be back before there can be another. */
        while (!k->shut && client_take_order(k->client, &o)) courier_obey(k, &o);
        if (k->fd < 0 || !k->standing || k->shut) return;
        if (!client_should_send(k->client) && !(all && buf_len(client_out(k->client)))) return;
        if (k->want_write) return; /* the socket is full, and will say when it is not */
        courier_send(k);
        if (k->want_write) return;
    }
}

ZK_PRIVATE int courier_poll(struct courier *k, struct os_event out[COURIER_EVENTS],
                            int timeout_ms) {
    return os_poller_wait(k->poller, out, COURIER_EVENTS, timeout_ms);
}

static void courier_take_answers(struct courier *k) {
    struct resolver_answer a;
    while (k->resolver && resolver_take(k->resolver, &a)) {
        if ((a.ticket & ~COURIER_PROBE_TICKET) != k->ticket) continue; /* nobody asks any more */
        if (!(a.ticket & COURIER_PROBE_TICKET))
            client_resolved(k->client, a.at, a.n);
        else if (a.n)
            courier_dial_probe(k, &a.at[0]);
    }
}

ZK_PRIVATE void courier_take(struct courier *k, const struct os_event *events, int n) {
    for (int i = 0; i < n; i++) {
        const struct os_event *e = &events[i];
        if (e->tag == COURIER_WAKE) {
            os_drain(k->wake[0]);
            courier_take_answers(k);
        } else if (e->tag == COURIER_PROBE) {
            if (k->probe >= 0) courier_probe(k);
        } else if (k->fd >= 0 && !k->standing) {
            courier_dialed(k);
        } else if (k->fd >= 0) {
            if (e->writable && k->want_write) courier_send(k);
            if ((e->readable || e->failed) && !k->lent) courier_read(k);
        }
    }
}

ZK_PRIVATE void courier_wake(struct courier *k) {
    os_notify(k->wake[1]);
}

ZK_PRIVATE int courier_lend(struct courier *k) {
    if (k->lent || k->fd < 0 || !k->standing || os_poller_fd(k->poller) < 0) return -1;
    k->lent = true;
    courier_watch(k);
    return k->fd;
}

ZK_PRIVATE void courier_give_back(struct courier *k) {
    k->lent = false;
    if (k->shut)
        courier_hang_up(k);
    else if (k->fd >= 0)
        courier_watch(k);
}

ZK_PRIVATE int courier_fd(const struct courier *k) {
    return k->stable >= 0 ? k->stable : os_poller_fd(k->poller);
}

ZK_PRIVATE int courier_deaf_ms(const struct courier *k) {
    return k->stable >= 0 ? COURIER_DEAF_MS : -1;
}

ZK_PRIVATE bool courier_wants_write(const struct courier *k) {
    return k->stable >= 0 && k->want_write;
}
