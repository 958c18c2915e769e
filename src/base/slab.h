/*
 * slab: small blocks without a header, in size classes of 16 bytes.
 *
 * A million small payloads must not cost a million malloc headers. Blocks up to SLAB_MAX come from
 * chunks that are carved once and never returned; a freed block goes to the free list of its class.
 * Larger blocks go to the allocator. The caller remembers each block's size.
 */
#ifndef ZK_SLAB_H
#define ZK_SLAB_H

#include "base/base.h"

#define SLAB_UNIT 16u
#define SLAB_MAX 2048u
#define SLAB_CHUNK 61440u

/* Gets chunks ready. take: one, as mem_alloc() gives it, or NULL: there is none just now. */
struct slab_source {
    void *(*take)(void *ctx); /* NULL: there is no source */
    void *ctx;
};

struct slab {
    struct slab_source source;
    void *free[SLAB_MAX / SLAB_UNIT + 1]; /* per class, linked through the first word */
    uint8_t *cur;                         /* chunk being carved: the unused rest */
    size_t left;
    void *chunks; /* owned, linked through the first word */
};

ZK_PRIVATE void *slab_alloc(struct slab *s, size_t n); /* NULL only for n == 0 */
ZK_PRIVATE void slab_free(struct slab *s, void *p, size_t n);
/* True when blocks of a and b bytes have the same real size, so that one may hold the other. */
ZK_PRIVATE bool slab_same(size_t a, size_t b);
/* SLAB_CHUNK bytes for the caller's own records; freed with mem_free. */
ZK_PRIVATE void *slab_chunk(const struct slab *s);
ZK_PRIVATE void slab_free_all(struct slab *s); /* small blocks; large ones go one by one */

#endif
