/*
 * base: memory, byte slices, growable buffers, shared blobs, hash maps, id sets, random numbers.
 *
 * Everything here is pure: no system call, no clock, no global. Other rooms are written in terms of
 * these few types, so their ownership rules are the rules of the whole library:
 *   slice  borrowed bytes, never freed through the slice
 *   buf    owned growable bytes with a read position; a FIFO of bytes
 *   blob   shared bytes with a reference count; used by one thread, or handed over whole
 *   map    u64 hash -> u32 value, open addressing; the owner of the values compares the keys
 *   idset  set of u32, open addressing
 */
#ifndef ZK_BASE_H
#define ZK_BASE_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* In the amalgamation every internal function is static; a build from src/ needs them extern. */
#ifndef ZK_PRIVATE
#define ZK_PRIVATE
#endif

#if defined(__GNUC__)
#define ZK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define ZK_PRINTF(fmt, args)
#endif

/*
 * Memory. ZK_MALLOC, ZK_REALLOC and ZK_FREE may be replaced at compile time. Running out of memory
 * in the server is not survivable in a consistent way: ZK_OOM() is called and must not return.
 * Lengths that come from outside are bounded before they reach these functions. The client, which
 * lives in other people's programs, asks with mem_try and buf_try_reserve first.
 */
#ifndef ZK_MALLOC
#define ZK_MALLOC(n) malloc(n)
#define ZK_REALLOC(p, n) realloc(p, n)
#define ZK_FREE(p) free(p)
#endif
#ifndef ZK_OOM
#define ZK_OOM() abort()
#endif

/* Invariants of our own, on in release builds. Never used on bytes that came from outside. */
#ifndef ZK_ASSERT
#define ZK_ASSERT(x) ((x) ? (void)0 : zk_assert_failed(#x, __FILE__, __LINE__))
#endif
ZK_PRIVATE void zk_assert_failed(const char *what, const char *file, int line);

ZK_PRIVATE void *mem_alloc(size_t n);  /* never NULL; n may be 0 */
ZK_PRIVATE void *mem_zalloc(size_t n); /* zero-filled */
ZK_PRIVATE void *mem_realloc(void *p, size_t n);
ZK_PRIVATE void mem_free(void *p); /* NULL is fine */
ZK_PRIVATE void *mem_try(size_t n); /* zero-filled; NULL when there is no memory: for the client */

/*
 * More room for a full ring, an array of *cap records (a power of two, or 0) of which the first
 * stands at *head: at least `least` records, twice as many otherwise. The first then stands at 0.
 */
ZK_PRIVATE void *ring_grow(void *ring, size_t size, uint32_t *head, uint32_t *cap, uint32_t least);

/* Borrowed bytes. p may be NULL only when n is 0; `null` marks jute's null string or buffer. */
struct slice {
    const uint8_t *p;
    size_t n;
};

ZK_PRIVATE struct slice slice_of(const void *p, size_t n);
ZK_PRIVATE struct slice slice_str(const char *s); /* bytes of a C string, without the NUL */
ZK_PRIVATE bool slice_eq(struct slice a, struct slice b);
ZK_PRIVATE bool slice_is(struct slice a, const char *s);
ZK_PRIVATE bool slice_starts(struct slice a, const char *prefix);
ZK_PRIVATE int slice_cmp(struct slice a, struct slice b); /* memcmp order, shorter first */
ZK_PRIVATE uint64_t slice_hash(struct slice a, uint64_t seed);

/* Big-endian loads and stores at any alignment. */
ZK_PRIVATE uint32_t be32(const uint8_t *p);
ZK_PRIVATE uint64_t be64(const uint8_t *p);
ZK_PRIVATE void put_be32(uint8_t *p, uint32_t v);
ZK_PRIVATE void put_be64(uint8_t *p, uint64_t v);

/* Owned growable bytes: written at `n`, consumed at `head`. Zero-initialised is empty and valid. */
struct buf {
    uint8_t *p; /* owned */
    size_t head, n, cap;
};

ZK_PRIVATE void buf_free(struct buf *b);
ZK_PRIVATE void buf_clear(struct buf *b);                     /* keeps the memory */
ZK_PRIVATE uint8_t *buf_reserve(struct buf *b, size_t extra); /* room for extra bytes at the end */
ZK_PRIVATE uint8_t *buf_grow(struct buf *b, size_t extra);    /* reserve and advance; returns it */
ZK_PRIVATE bool buf_try_reserve(struct buf *b, size_t extra); /* false when there is no memory */
ZK_PRIVATE void buf_put(struct buf *b, const void *p, size_t n);
ZK_PRIVATE void buf_puts(struct buf *b, const char *s);
ZK_PRIVATE void buf_putc(struct buf *b, char c);
ZK_PRIVATE void buf_printf(struct buf *b, const char *fmt, ...) ZK_PRINTF(2, 3);
ZK_PRIVATE void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
ZK_PRIVATE void buf_consume(struct buf *b, size_t n); /* drops n bytes from the front */
/*
 * Takes back the room of what was consumed, when that is cheap. A FIFO calls it before it appends:
 * appending itself never moves bytes within the buffer, so offsets taken meanwhile stay right.
 */
ZK_PRIVATE void buf_compact(struct buf *b);
ZK_PRIVATE struct slice buf_slice(const struct buf *b);
ZK_PRIVATE size_t buf_len(const struct buf *b);

/* Shared bytes. The count is plain: a blob belongs to one thread at a time. */
struct blob {
    uint32_t refs;
    uint32_t n, cap;
    uint8_t p[];
};

ZK_PRIVATE struct blob *blob_new(uint32_t cap); /* one reference */
ZK_PRIVATE struct blob *blob_copy(struct slice bytes); /* likewise */
ZK_PRIVATE struct blob *blob_ref(struct blob *b);
ZK_PRIVATE void blob_unref(struct blob *b); /* NULL is fine */

/*
 * Hash index: maps a 64-bit hash to u32 values; several values may share a hash, the caller
 * compares the real keys while walking. MAP_NONE is never a value.
 */
#define MAP_NONE UINT32_MAX
struct map_slot {
    uint32_t tag; /* low 32 bits of the hash */
    uint32_t value;
};
struct map {
    struct map_slot *slots; /* owned */
    uint32_t cap, count;    /* cap is a power of two or 0 */
};
struct map_iter {
    uint32_t pos, left, tag;
};

ZK_PRIVATE void map_free(struct map *m);
ZK_PRIVATE void map_add(struct map *m, uint64_t hash, uint32_t value);
ZK_PRIVATE bool map_del(struct map *m, uint64_t hash, uint32_t value);
/* Candidates for a hash: for (v = map_first(m, h, &it); v != MAP_NONE; v = map_next(m, &it)) */
ZK_PRIVATE uint32_t map_first(const struct map *m, uint64_t hash, struct map_iter *it);
ZK_PRIVATE uint32_t map_next(const struct map *m, struct map_iter *it);

/* Set of u32 (not UINT32_MAX), iterated by slot. Zero-initialised is empty. */
struct idset {
    uint32_t *slots; /* owned; UINT32_MAX is empty */
    uint32_t cap, count;
};

ZK_PRIVATE void idset_free(struct idset *s);
ZK_PRIVATE bool idset_add(struct idset *s, uint32_t id); /* false when it was there */
ZK_PRIVATE bool idset_del(struct idset *s, uint32_t id); /* false when it was not */
ZK_PRIVATE bool idset_has(const struct idset *s, uint32_t id);
/* Iterates: for (i = 0; idset_next(s, &i, &id);) — no change of the set meanwhile. */
ZK_PRIVATE bool idset_next(const struct idset *s, uint32_t *pos, uint32_t *id);

ZK_PRIVATE uint64_t hash_u64(uint64_t x);

/* Where a socket leads. */
struct net_addr {
    uint8_t ip[16];
    uint8_t ip_len; /* 4 or 16 */
    uint16_t port;
};

/* Seeded random numbers (splitmix64); the only source of randomness in the pure rooms. */
struct prng {
    uint64_t state;
};
ZK_PRIVATE uint64_t prng_next(struct prng *r);
ZK_PRIVATE uint64_t prng_below(struct prng *r, uint64_t bound); /* bound > 0 */

#endif
