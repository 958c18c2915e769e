#include "host/duct.h"

#include <errno.h>

ZK_PRIVATE struct duct *duct_new(void) {
    struct duct *d = mem_try(sizeof *d);
    if (!d) return NULL;
    if (os_pipe(d->side[0].bell)) {
        mem_free(d);
        return NULL;
    }
    if (os_pipe(d->side[1].bell)) {
        (void)os_close(d->side[0].bell[0]);
        (void)os_close(d->side[0].bell[1]);
        mem_free(d);
        return NULL;
    }
    (void)pthread_mutex_init(&d->lock, NULL);
    return d;
}

ZK_PRIVATE void duct_wake(struct duct *d, enum duct_side side) {
    os_notify(d->side[side].bell[1]);
}

static enum duct_side duct_other(enum duct_side side) {
    return side == DUCT_CLIENT ? DUCT_SERVER : DUCT_CLIENT;
}

ZK_PRIVATE void duct_close(struct duct *d, enum duct_side side) {
    enum duct_side other = duct_other(side);
    (void)pthread_mutex_lock(&d->lock);
    d->side[side].gone = true;
    bool last = d->side[other].gone;
    if (!last) duct_wake(d, other);
    (void)pthread_mutex_unlock(&d->lock);
    if (!last) return;
    for (int i = 0; i < 2; i++) {
        buf_free(&d->side[i].in);
        (void)os_close(d->side[i].bell[0]);
        (void)os_close(d->side[i].bell[1]);
    }
    (void)pthread_mutex_destroy(&d->lock);
    mem_free(d);
}

ZK_PRIVATE int duct_bell(const struct duct *d, enum duct_side side) {
    return d->side[side].bell[0];
}

ZK_PRIVATE int64_t duct_recv(struct duct *d, enum duct_side side, void *p, size_t n) {
    enum duct_side other = duct_other(side);
    (void)pthread_mutex_lock(&d->lock);
    struct buf *in = &d->side[side].in;
    bool gone = d->side[other].gone;
    if (n > buf_len(in)) n = buf_len(in);
    if (n) memcpy(p, in->p + in->head, n);
    if (n) buf_consume(in, n);
    if (!buf_len(in) && !gone) os_drain(d->side[side].bell[0]);
    if (n && d->side[side].full) {
        d->side[side].full = false;
        if (!gone) duct_wake(d, other);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return n ? (int64_t)n : gone ? 0 : -EAGAIN;
}

ZK_PRIVATE int64_t duct_send(struct duct *d, enum duct_side side, const void *p, size_t n) {
    enum duct_side other = duct_other(side);
    int64_t result = -EPIPE;
    (void)pthread_mutex_lock(&d->lock);
    struct buf *to = &d->side[other].in;
    if (!d->side[other].gone) {
        size_t room = buf_len(to) < DUCT_MAX ? DUCT_MAX - buf_len(to) : 0;
        bool quiet = !buf_len(to);
        if (n > room) {
            n = room;
            d->side[other].full = true;
        }
        buf_compact(to);
        bool starved = n && !buf_try_reserve(to, n);
        if (starved) {
            n = 0;
            d->side[other].full = true; /* room for more, too, comes from reading */
        }
        buf_put(to, p, n);
        if (n && quiet) duct_wake(d, other);
        result = n ? (int64_t)n : starved && quiet ? -ENOMEM : -EAGAIN;
    }
    (void)pthread_mutex_unlock(&d->lock);
    return result;
}
