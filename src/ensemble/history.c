#include "ensemble/history.h"

ZK_PRIVATE void history_reset(struct history *h, int64_t last) {
    for (uint32_t i = 0; i < h->n; i++) blob_unref(history_at(h, i)->blob);
    h->head = h->n = h->committed = 0;
    h->bytes = 0;
    h->floor = last;
}

ZK_PRIVATE void history_free(struct history *h) {
    history_reset(h, 0);
    mem_free(h->ring);
    h->ring = NULL;
    h->cap = 0;
}

ZK_PRIVATE const struct history_entry *history_at(const struct history *h, uint32_t i) {
    ZK_ASSERT(i < h->n);
    return &h->ring[(h->head + i) & (h->cap - 1)];
}

ZK_PRIVATE struct slice history_bytes(const struct history_entry *e) {
    return slice_of(e->blob->p + e->off, e->len);
}

ZK_PRIVATE void history_add(struct history *h, int64_t zxid, struct blob *blob, uint32_t off,
                            uint32_t len) {
    int64_t last = h->n ? history_at(h, h->n - 1)->zxid : h->floor;
    ZK_ASSERT(zxid > last);
    if (h->n == h->cap) h->ring = ring_grow(h->ring, sizeof *h->ring, &h->head, &h->cap, 256);
    struct history_entry e = {zxid, blob_ref(blob), off, len};
    h->ring[(h->head + h->n++) & (h->cap - 1)] = e;
    h->bytes += len;
}

static void history_drop_first(struct history *h) {
    const struct history_entry *e = history_at(h, 0);
    h->floor = e->zxid;
    h->bytes -= e->len;
    blob_unref(e->blob);
    h->head = (h->head + 1) & (h->cap - 1);
    h->n--;
    h->committed--;
}

ZK_PRIVATE void history_commit(struct history *h, int64_t zxid) {
    while (h->committed < h->n && history_at(h, h->committed)->zxid <= zxid) h->committed++;
    while (h->committed > h->keep || (h->bytes > HISTORY_BYTES_MAX && h->committed > HISTORY_LEAST))
        history_drop_first(h);
}

ZK_PRIVATE uint32_t history_after(const struct history *h, int64_t zxid) {
    uint32_t low = 0, high = h->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (history_at(h, mid)->zxid <= zxid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

ZK_PRIVATE bool history_knows(const struct history *h, int64_t zxid) {
    if (zxid == h->floor) return true;
    uint32_t i = history_after(h, zxid);
    return i > 0 && history_at(h, i - 1)->zxid == zxid;
}
