#include "ensemble/link.h"

ZK_PRIVATE void links_init(struct links *l, size_t in_max) {
    memset(l, 0, sizeof *l);
    l->in_max = in_max;
    l->free_list = LINK_NONE;
}

ZK_PRIVATE void links_free(struct links *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        buf_free(&l->at[i].in);
        buf_free(&l->at[i].out);
    }
    mem_free(l->at);
    buf_free(&l->effects);
    links_init(l, 0);
}

ZK_PRIVATE struct link *link_at(struct links *l, uint32_t id) {
    ZK_ASSERT(id < l->n && l->at[id].phase != LINK_FREE);
    return &l->at[id];
}

static void link_effect(struct links *l, enum link_effect_kind kind, uint32_t id) {
    struct link_effect e = {kind, id};
    buf_compact(&l->effects);
    buf_put(&l->effects, &e, sizeof e);
}

static uint32_t link_new(struct links *l, enum link_kind kind, int64_t now) {
    uint32_t id = l->free_list;
    if (id != LINK_NONE) {
        l->free_list = l->at[id].next_free;
    } else {
        if (l->n == l->cap) {
            l->cap = l->cap ? l->cap * 2 : 16;
            l->at = mem_realloc(l->at, sizeof *l->at * l->cap);
        }
        id = l->n++;
    }
    memset(&l->at[id], 0, sizeof l->at[id]);
    l->at[id].kind = kind;
    l->at[id].since = now;
    l->live++;
    return id;
}

ZK_PRIVATE uint32_t link_dial(struct links *l, enum link_kind kind, const char *host,
                              uint16_t port, int64_t now) {
    uint32_t id = link_new(l, kind, now);
    struct link *k = &l->at[id];
    k->phase = LINK_DIALING;
    k->dialed = true;
    size_t n = strlen(host);
    if (n >= sizeof k->host) n = sizeof k->host - 1; /* no such name exists: the dial fails */
    memcpy(k->host, host, n);
    k->port = port;
    link_effect(l, LINK_DIAL, id);
    return id;
}

ZK_PRIVATE uint32_t link_accepted(struct links *l, enum link_kind kind, int64_t now) {
    uint32_t id = link_new(l, kind, now);
    l->at[id].phase = LINK_OPEN;
    return id;
}

ZK_PRIVATE struct buf *link_out(struct links *l, uint32_t id) {
    struct link *k = link_at(l, id);
    buf_compact(&k->out);
    if (!k->dirty && k->phase == LINK_OPEN) {
        k->dirty = true;
        link_effect(l, LINK_SEND, id);
    }
    return &k->out;
}

ZK_PRIVATE void link_close(struct links *l, uint32_t id) {
    struct link *k = link_at(l, id);
    if (k->phase == LINK_CLOSING) return;
    k->phase = LINK_CLOSING;
    buf_free(&k->in);
    link_effect(l, LINK_CLOSE, id);
}

ZK_PRIVATE bool link_take_effect(struct links *l, struct link_effect *e) {
    if (!buf_len(&l->effects)) return false;
    memcpy(e, l->effects.p + l->effects.head, sizeof *e);
    buf_consume(&l->effects, sizeof *e);
    return true;
}

ZK_PRIVATE void link_opened(struct links *l, uint32_t id) {
    struct link *k = link_at(l, id);
    if (k->phase != LINK_DIALING) return;
    k->phase = LINK_OPEN;
    if (buf_len(&k->out)) (void)link_out(l, id); /* what was written meanwhile */
}

ZK_PRIVATE bool link_received(struct links *l, uint32_t id, struct slice bytes) {
    struct link *k = link_at(l, id);
    if (k->phase != LINK_OPEN) return false;
    buf_compact(&k->in);
    buf_put(&k->in, bytes.p, bytes.n);
    return true;
}

ZK_PRIVATE bool link_wants(const struct links *l, uint32_t id) {
    return buf_len(&l->at[id].in) < l->in_max;
}

ZK_PRIVATE void link_sent(struct links *l, uint32_t id, size_t bytes) {
    struct link *k = link_at(l, id);
    buf_consume(&k->out, bytes);
    k->sent += bytes;
    k->dirty = buf_len(&k->out) != 0;
}

ZK_PRIVATE void link_gone(struct links *l, uint32_t id) {
    struct link *k = link_at(l, id);
    buf_free(&k->in);
    buf_free(&k->out);
    k->phase = LINK_FREE;
    k->next_free = l->free_list;
    l->free_list = id;
    l->live--;
}
