/*
 * slab: small blocks without a header, in size classes of 16 bytes.
 *
 * A million small payloads must not cost a million malloc headers. Blocks up to SLAB_MAX come from
 * 64 KiB chunks that are carved once and never returned; a freed block goes to the free list of its
 * class. Larger blocks go to the allocator. The caller remembers each block's size.
 */
#ifndef ZK_SLAB_H
#define ZK_SLAB_H

#include "base/base.h"

#define SLAB_UNIT 16u
#define SLAB_MAX 2048u
#define SLAB_CHUNK 65536u

struct slab {
    void *free[SLAB_MAX / SLAB_UNIT + 1]; /* per class, linked through the first word */
    uint8_t *cur;                         /* chunk being carved: the unused rest */
    size_t left;
    void *chunks; /* owned, linked through the first word */
};

ZK_PRIVATE void *slab_alloc(struct slab *s, size_t n); /* NULL only for n == 0 */
ZK_PRIVATE void slab_free(struct slab *s, void *p, size_t n);
/* True when blocks of a and b bytes have the same real size, so that one may hold the other. */
ZK_PRIVATE bool slab_same(size_t a, size_t b);
ZK_PRIVATE void slab_free_all(struct slab *s); /* small blocks; large ones go one by one */

#endif
