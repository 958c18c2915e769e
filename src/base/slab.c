#include "base/slab.h"

static size_t slab_class(size_t n) {
    return (n + SLAB_UNIT - 1) / SLAB_UNIT;
}

ZK_PRIVATE void *slab_chunk(const struct slab *s) {
    void *ready = s->source.take ? s->source.take(s->source.ctx) : NULL;
    return ready ? ready : mem_alloc(SLAB_CHUNK);
}

ZK_PRIVATE void *slab_alloc(struct slab *s, size_t n) {
    if (n == 0) return NULL;
    if (n > SLAB_MAX) return mem_alloc(n);
    size_t c = slab_class(n), size = c * SLAB_UNIT;
    void *p = s->free[c];
    if (p) {
        memcpy(&s->free[c], p, sizeof p);
        return p;
    }
    if (s->left < size) {
        /* What is left of the old chunk serves smaller blocks. */
        if (s->left >= SLAB_UNIT) {
            size_t rest = s->left / SLAB_UNIT;
            memcpy(s->cur, &s->free[rest], sizeof(void *));
            s->free[rest] = s->cur;
        }
        uint8_t *chunk = slab_chunk(s);
        memcpy(chunk, &s->chunks, sizeof(void *));
        s->chunks = chunk;
        s->cur = chunk + SLAB_UNIT;
        s->left = SLAB_CHUNK - SLAB_UNIT;
    }
    p = s->cur;
    s->cur += size;
    s->left -= size;
    return p;
}

ZK_PRIVATE void slab_free(struct slab *s, void *p, size_t n) {
    if (!p) return;
    if (n > SLAB_MAX) {
        mem_free(p);
        return;
    }
    size_t c = slab_class(n);
    memcpy(p, &s->free[c], sizeof p);
    s->free[c] = p;
}

ZK_PRIVATE bool slab_same(size_t a, size_t b) {
    if (a > SLAB_MAX || b > SLAB_MAX) return a == b;
    return slab_class(a) == slab_class(b);
}

ZK_PRIVATE void slab_free_all(struct slab *s) {
    for (void *p = s->chunks; p;) {
        void *next;
        memcpy(&next, p, sizeof next);
        mem_free(p);
        p = next;
    }
    memset(s, 0, sizeof *s);
}
