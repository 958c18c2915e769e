#include "base/base.h"

#include <stdio.h>

ZK_PRIVATE void zk_assert_failed(const char *what, const char *file, int line) {
    (void)fprintf(stderr, "zk: assertion failed: %s (%s:%d)\n", what, file, line);
    abort();
}

ZK_PRIVATE void *mem_alloc(size_t n) {
    void *p = ZK_MALLOC(n ? n : 1);
    if (!p) ZK_OOM();
    return p;
}

ZK_PRIVATE void *mem_zalloc(size_t n) {
    void *p = mem_alloc(n);
    memset(p, 0, n);
    return p;
}

ZK_PRIVATE void *mem_realloc(void *p, size_t n) {
    p = ZK_REALLOC(p, n ? n : 1);
    if (!p) ZK_OOM();
    return p;
}

ZK_PRIVATE void mem_free(void *p) {
    ZK_FREE(p);
}

ZK_PRIVATE void *ring_grow(void *ring, size_t size, uint32_t *head, uint32_t *cap,
                           uint32_t least) {
    size_t before = size * *head, behind = size * (*cap - *head);
    uint32_t more = *cap ? *cap * 2 : least;
    uint8_t *grown = mem_alloc(size * more);
    if (behind) memcpy(grown, (uint8_t *)ring + before, behind);
    if (before) memcpy(grown + behind, ring, before);
    mem_free(ring);
    *head = 0;
    *cap = more;
    return grown;
}

ZK_PRIVATE void *mem_try(size_t n) {
    void *p = ZK_MALLOC(n ? n : 1);
    if (p) memset(p, 0, n);
    return p;
}

ZK_PRIVATE struct slice slice_of(const void *p, size_t n) {
    struct slice s = {p, n};
    return s;
}

ZK_PRIVATE struct slice slice_str(const char *s) {
    return slice_of(s, strlen(s));
}

ZK_PRIVATE bool slice_eq(struct slice a, struct slice b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

ZK_PRIVATE bool slice_is(struct slice a, const char *s) {
    return slice_eq(a, slice_str(s));
}

ZK_PRIVATE bool slice_starts(struct slice a, const char *prefix) {
    size_t n = strlen(prefix);
    return a.n >= n && memcmp(a.p, prefix, n) == 0;
}

ZK_PRIVATE int slice_cmp(struct slice a, struct slice b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    if (c) return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

ZK_PRIVATE uint64_t hash_u64(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t base_rotl(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

struct base_sip {
    uint64_t a, b, c, d;
};

/* By value: in registers, and not a call for each eight bytes of every name. */
static inline struct base_sip base_sip_round(struct base_sip v) {
    v.a += v.b;
    v.b = base_rotl(v.b, 13) ^ v.a;
    v.a = base_rotl(v.a, 32);
    v.c += v.d;
    v.d = base_rotl(v.d, 16) ^ v.c;
    v.a += v.d;
    v.d = base_rotl(v.d, 21) ^ v.a;
    v.c += v.b;
    v.b = base_rotl(v.b, 17) ^ v.c;
    v.c = base_rotl(v.c, 32);
    return v;
}

static inline struct base_sip base_sip_word(struct base_sip v, uint64_t w) {
    v.d ^= w;
    v = base_sip_round(v);
    v.a ^= w;
    return v;
}

/* SipHash-1-3: names come from clients, who must not be able to choose where they collide. */
ZK_PRIVATE uint64_t slice_hash(struct slice a, uint64_t seed) {
    uint64_t k = hash_u64(seed + 1), w;
    struct base_sip v = {seed ^ 0x736f6d6570736575u, k ^ 0x646f72616e646f6du,
                         seed ^ 0x6c7967656e657261u, k ^ 0x7465646279746573u};
    const uint8_t *p = a.p;
    size_t left = a.n;
    for (; left >= 8; p += 8, left -= 8) {
        memcpy(&w, p, 8);
        v = base_sip_word(v, w);
    }
    w = 0;
    if (left) memcpy(&w, p, left);
    v = base_sip_word(v, w ^ (uint64_t)a.n << 56);
    v.c ^= 0xff;
    v = base_sip_round(base_sip_round(base_sip_round(v)));
    return v.a ^ v.b ^ v.c ^ v.d;
}

ZK_PRIVATE uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

ZK_PRIVATE uint64_t be64(const uint8_t *p) {
    return (uint64_t)be32(p) << 32 | be32(p + 4);
}

ZK_PRIVATE void put_be32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

ZK_PRIVATE void put_be64(uint8_t *p, uint64_t v) {
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

/* --- buf --- */

ZK_PRIVATE void buf_free(struct buf *b) {
    mem_free(b->p);
    memset(b, 0, sizeof *b);
}

ZK_PRIVATE void buf_clear(struct buf *b) {
    b->head = b->n = 0;
}

ZK_PRIVATE uint8_t *buf_reserve(struct buf *b, size_t extra) {
    if (b->cap - b->n >= extra && b->p) return b->p + b->n;
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->n < extra) cap *= 2;
    b->p = mem_realloc(b->p, cap);
    b->cap = cap;
    return b->p + b->n;
}

ZK_PRIVATE bool buf_try_reserve(struct buf *b, size_t extra) {
    if (b->cap - b->n >= extra && b->p) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->n < extra) cap *= 2;
    uint8_t *p = ZK_REALLOC(b->p, cap);
    if (!p) return false;
    b->p = p;
    b->cap = cap;
    return true;
}

ZK_PRIVATE void buf_compact(struct buf *b) {
    size_t live = b->n - b->head;
    if (!b->head || b->head < live) return; /* moving less than was consumed keeps it linear */
    memmove(b->p, b->p + b->head, live);
    b->head = 0;
    b->n = live;
}

ZK_PRIVATE uint8_t *buf_grow(struct buf *b, size_t extra) {
    uint8_t *p = buf_reserve(b, extra);
    b->n += extra;
    return p;
}

ZK_PRIVATE void buf_put(struct buf *b, const void *p, size_t n) {
    if (n) memcpy(buf_grow(b, n), p, n);
}

ZK_PRIVATE void buf_puts(struct buf *b, const char *s) {
    buf_put(b, s, strlen(s));
}

ZK_PRIVATE void buf_putc(struct buf *b, char c) {
    buf_put(b, &c, 1);
}

ZK_PRIVATE void buf_vprintf(struct buf *b, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    ZK_ASSERT(n >= 0);
    char *p = (char *)buf_reserve(b, (size_t)n + 1);
    (void)vsnprintf(p, (size_t)n + 1, fmt, again);
    b->n += (size_t)n;
    va_end(again);
}

ZK_PRIVATE void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

ZK_PRIVATE void buf_consume(struct buf *b, size_t n) {
    ZK_ASSERT(n <= b->n - b->head);
    b->head += n;
    if (b->head == b->n) b->head = b->n = 0;
}

ZK_PRIVATE struct slice buf_slice(const struct buf *b) {
    return b->p ? slice_of(b->p + b->head, b->n - b->head) : slice_of(NULL, 0);
}

ZK_PRIVATE size_t buf_len(const struct buf *b) {
    return b->n - b->head;
}

/* --- blob --- */

ZK_PRIVATE struct blob *blob_new(uint32_t cap) {
    struct blob *b = mem_alloc(sizeof *b + cap);
    b->refs = 1;
    b->n = 0;
    b->cap = cap;
    return b;
}

ZK_PRIVATE struct blob *blob_copy(struct slice bytes) {
    struct blob *b = blob_new((uint32_t)bytes.n);
    if (bytes.n) memcpy(b->p, bytes.p, bytes.n);
    b->n = (uint32_t)bytes.n;
    return b;
}

ZK_PRIVATE struct blob *blob_ref(struct blob *b) {
    b->refs++;
    return b;
}

ZK_PRIVATE void blob_unref(struct blob *b) {
    if (!b) return;
    ZK_ASSERT(b->refs > 0);
    if (--b->refs == 0) mem_free(b);
}

/* --- map: linear probing, deletion by shifting back --- */

static uint32_t map_home(const struct map *m, uint32_t tag) {
    return (uint32_t)((tag * 0x9e3779b1u) >> 7) & (m->cap - 1);
}

ZK_PRIVATE void map_free(struct map *m) {
    mem_free(m->slots);
    memset(m, 0, sizeof *m);
}

static void map_place(struct map *m, uint32_t tag, uint32_t value) {
    uint32_t i = map_home(m, tag);
    while (m->slots[i].value != MAP_NONE) i = (i + 1) & (m->cap - 1);
    m->slots[i].tag = tag;
    m->slots[i].value = value;
    m->count++;
}

static void map_resize(struct map *m, uint32_t cap) {
    struct map old = *m;
    m->slots = mem_alloc(sizeof *m->slots * cap);
    for (uint32_t i = 0; i < cap; i++) m->slots[i].value = MAP_NONE;
    m->cap = cap;
    m->count = 0;
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.slots[i].value != MAP_NONE) map_place(m, old.slots[i].tag, old.slots[i].value);
    mem_free(old.slots);
}

ZK_PRIVATE void map_add(struct map *m, uint64_t hash, uint32_t value) {
    ZK_ASSERT(value != MAP_NONE);
    if ((uint64_t)m->count * 4 + 4 > (uint64_t)m->cap * 3) map_resize(m, m->cap ? m->cap * 2 : 8);
    map_place(m, (uint32_t)hash, value);
}

ZK_PRIVATE bool map_del(struct map *m, uint64_t hash, uint32_t value) {
    if (!m->cap) return false;
    uint32_t tag = (uint32_t)hash, mask = m->cap - 1;
    uint32_t i = map_home(m, tag);
    while (m->slots[i].value != value || m->slots[i].tag != tag) {
        if (m->slots[i].value == MAP_NONE) return false;
        i = (i + 1) & mask;
    }
    for (uint32_t j = i;;) {
        j = (j + 1) & mask;
        if (m->slots[j].value == MAP_NONE) break;
        uint32_t home = map_home(m, m->slots[j].tag);
        if (((j - home) & mask) >= ((j - i) & mask)) {
            m->slots[i] = m->slots[j];
            i = j;
        }
    }
    m->slots[i].value = MAP_NONE;
    m->count--;
    return true;
}

ZK_PRIVATE uint32_t map_first(const struct map *m, uint64_t hash, struct map_iter *it) {
    it->tag = (uint32_t)hash;
    it->left = m->cap;
    it->pos = m->cap ? map_home(m, it->tag) : 0;
    return map_next(m, it);
}

ZK_PRIVATE uint32_t map_next(const struct map *m, struct map_iter *it) {
    for (; it->left; it->left--) {
        struct map_slot s = m->slots[it->pos];
        if (s.value == MAP_NONE) break;
        it->pos = (it->pos + 1) & (m->cap - 1);
        if (s.tag == it->tag) {
            it->left--;
            return s.value;
        }
    }
    it->left = 0;
    return MAP_NONE;
}

/* --- idset --- */

static uint32_t idset_home(const struct idset *s, uint32_t id) {
    return (uint32_t)((id * 0x9e3779b1u) >> 7) & (s->cap - 1);
}

ZK_PRIVATE void idset_free(struct idset *s) {
    mem_free(s->slots);
    memset(s, 0, sizeof *s);
}

static void idset_resize(struct idset *s, uint32_t cap) {
    struct idset old = *s;
    s->slots = mem_alloc(sizeof *s->slots * cap);
    memset(s->slots, 0xff, sizeof *s->slots * cap);
    s->cap = cap;
    for (uint32_t i = 0; i < old.cap; i++) {
        if (old.slots[i] == UINT32_MAX) continue;
        uint32_t j = idset_home(s, old.slots[i]);
        while (s->slots[j] != UINT32_MAX) j = (j + 1) & (cap - 1);
        s->slots[j] = old.slots[i];
    }
    mem_free(old.slots);
}

static uint32_t idset_find(const struct idset *s, uint32_t id) {
    uint32_t i = idset_home(s, id);
    while (s->slots[i] != UINT32_MAX && s->slots[i] != id) i = (i + 1) & (s->cap - 1);
    return i;
}

ZK_PRIVATE bool idset_add(struct idset *s, uint32_t id) {
    ZK_ASSERT(id != UINT32_MAX);
    if ((uint64_t)s->count * 4 + 4 > (uint64_t)s->cap * 3) idset_resize(s, s->cap ? s->cap * 2 : 4);
    uint32_t i = idset_find(s, id);
    if (s->slots[i] == id) return false;
    s->slots[i] = id;
    s->count++;
    return true;
}

ZK_PRIVATE bool idset_del(struct idset *s, uint32_t id) {
    if (!s->count) return false;
    uint32_t mask = s->cap - 1, i = idset_find(s, id);
    if (s->slots[i] != id) return false;
    for (uint32_t j = i;;) {
        j = (j + 1) & mask;
        if (s->slots[j] == UINT32_MAX) break;
        uint32_t home = idset_home(s, s->slots[j]);
        if (((j - home) & mask) >= ((j - i) & mask)) {
            s->slots[i] = s->slots[j];
            i = j;
        }
    }
    s->slots[i] = UINT32_MAX;
    s->count--;
    if (!s->count) idset_free(s);
    return true;
}

ZK_PRIVATE bool idset_has(const struct idset *s, uint32_t id) {
    return s->count && s->slots[idset_find(s, id)] == id;
}

ZK_PRIVATE bool idset_next(const struct idset *s, uint32_t *pos, uint32_t *id) {
    while (*pos < s->cap) {
        uint32_t v = s->slots[(*pos)++];
        if (v == UINT32_MAX) continue;
        *id = v;
        return true;
    }
    return false;
}

/* --- prng --- */

ZK_PRIVATE uint64_t prng_next(struct prng *r) {
    r->state += 0x9e3779b97f4a7c15u;
    return hash_u64(r->state);
}

ZK_PRIVATE uint64_t prng_below(struct prng *r, uint64_t bound) {
    return prng_next(r) % bound;
}
