#include "store/unpack.h"

#include "base/sum.h"

#define UNPACK_WINDOW 32768u /* how far back a match may reach */
#define UNPACK_PIECE 65536u  /* content handed out at a time */
#define UNPACK_BITS 15       /* longest Huffman code */
#define UNPACK_NO_CODE 0xffffu
#define SNAPPY_MAGIC_LEN 16u
#define SNAPPY_RATIO 64u /* a block cannot swell by more than 64 / 3 */

ZK_PRIVATE const char *unpack_why(enum unpack_status status) {
    return status == UNPACK_SHORT ? "the compressed data ends too early"
                                  : "the compressed data is damaged";
}

/* --- deflate: bits and codes --- */

/* A Huffman code as one table: the next 15 bits -> symbol << 4 | length of its code. */
struct unpack_code {
    uint16_t at[1u << UNPACK_BITS];
};

struct inflate {
    const uint8_t *p, *end; /* borrowed */
    uint64_t bits;          /* the lowest `n_bits` are the next ones */
    unsigned n_bits;
    enum unpack_status status; /* sticky */
    struct unpack_code literals, distances;
    uint8_t out[UNPACK_WINDOW + UNPACK_PIECE]; /* the window, then what is not handed out yet */
    size_t n, given; /* end of the content in `out`; up to here it has been handed out */
    uint64_t total;  /* bytes handed out */
    uint32_t crc;
    const struct unpack_sink *sink;
};

static void inflate_fail(struct inflate *f, enum unpack_status why) {
    if (f->status == UNPACK_OK) f->status = why;
}

static void inflate_fill(struct inflate *f) {
    while (f->n_bits <= 56 && f->p < f->end) {
        f->bits |= (uint64_t)*f->p++ << f->n_bits;
        f->n_bits += 8;
    }
}

/* The next n bits, n <= 16; zeros once something is wrong. */
static unsigned inflate_bits(struct inflate *f, unsigned n) {
    inflate_fill(f);
    if (n > f->n_bits) inflate_fail(f, UNPACK_SHORT);
    if (f->status != UNPACK_OK) return 0;
    unsigned v = (unsigned)(f->bits & ((1u << n) - 1));
    f->bits >>= n;
    f->n_bits -= n;
    return v;
}

static unsigned inflate_symbol(struct inflate *f, const struct unpack_code *c) {
    inflate_fill(f);
    uint16_t e = c->at[f->bits & ((1u << UNPACK_BITS) - 1)];
    if (e == UNPACK_NO_CODE) inflate_fail(f, UNPACK_BAD);
    if (e != UNPACK_NO_CODE && (e & 15u) > f->n_bits) inflate_fail(f, UNPACK_SHORT);
    if (f->status != UNPACK_OK) return 0;
    f->bits >>= e & 15u;
    f->n_bits -= e & 15u;
    return e >> 4;
}

static unsigned inflate_reverse(unsigned code, unsigned len) {
    unsigned r = 0;
    for (; len--; code >>= 1) r = r << 1 | (code & 1);
    return r;
}

/*
 * Canonical codes from their lengths: shorter ones first, equal ones in the order of the symbols.
 * More codes than there is room for are an error; fewer are not (RFC 1951 allows one distance
 * code alone), what is left over decodes as an error.
 */
static void inflate_build(struct inflate *f, struct unpack_code *c, const uint8_t *lens,
                          unsigned n) {
    unsigned code = 0;
    memset(c->at, 0xff, sizeof c->at);
    for (unsigned len = 1; len <= UNPACK_BITS; len++, code <<= 1) {
        for (unsigned sym = 0; sym < n; sym++) {
            if (lens[sym] != len) continue;
            if (code >= 1u << len) {
                inflate_fail(f, UNPACK_BAD);
                return;
            }
            for (unsigned i = inflate_reverse(code++, len); i < 1u << UNPACK_BITS; i += 1u << len)
                c->at[i] = (uint16_t)(sym << 4 | len);
        }
    }
}

/* --- deflate: content --- */

/* Hands out everything and moves the window to the front. */
static void inflate_give(struct inflate *f) {
    struct slice piece = slice_of(f->out + f->given, f->n - f->given);
    if (f->status != UNPACK_OK || !piece.n) return;
    f->crc = sum_crc32(f->crc, piece.p, piece.n);
    f->total += piece.n;
    if (!f->sink->take(f->sink->ctx, piece)) inflate_fail(f, UNPACK_REFUSED);
    size_t keep = f->n < UNPACK_WINDOW ? f->n : UNPACK_WINDOW;
    memmove(f->out, f->out + f->n - keep, keep);
    f->n = f->given = keep;
}

static void inflate_byte(struct inflate *f, uint8_t byte) {
    if (f->n == sizeof f->out) inflate_give(f);
    f->out[f->n++] = byte;
}

static void inflate_stored(struct inflate *f) {
    (void)inflate_bits(f, f->n_bits & 7); /* to the next whole byte */
    unsigned len = inflate_bits(f, 16), check = inflate_bits(f, 16);
    if (f->status == UNPACK_OK && (len ^ check) != 0xffff) inflate_fail(f, UNPACK_BAD);
    for (; len && f->status == UNPACK_OK; len--) {
        uint8_t byte = (uint8_t)inflate_bits(f, 8);
        if (f->status == UNPACK_OK) inflate_byte(f, byte);
    }
}

static void inflate_match(struct inflate *f, unsigned symbol) {
    static const uint16_t len_base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,
                                          15, 17, 19, 23, 27, 31, 35, 43, 51,  59,
                                          67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t len_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                          2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t dist_base[30] = {
        1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    if (symbol > 285) {
        inflate_fail(f, UNPACK_BAD);
        return;
    }
    unsigned len = len_base[symbol - 257] + inflate_bits(f, len_extra[symbol - 257]);
    unsigned d = inflate_symbol(f, &f->distances);
    if (d > 29) {
        inflate_fail(f, UNPACK_BAD);
        return;
    }
    size_t back = dist_base[d] + (size_t)inflate_bits(f, d < 4 ? 0 : d / 2 - 1);
    if (f->status == UNPACK_OK && back > f->n) inflate_fail(f, UNPACK_BAD);
    if (f->n + len > sizeof f->out) inflate_give(f);
    if (f->status != UNPACK_OK) return;
    for (; len; len--, f->n++) f->out[f->n] = f->out[f->n - back]; /* may overlap: byte by byte */
}

static void inflate_coded(struct inflate *f) {
    while (f->status == UNPACK_OK) {
        unsigned symbol = inflate_symbol(f, &f->literals);
        if (symbol == 256) return;
        if (f->status != UNPACK_OK) return;
        if (symbol < 256)
            inflate_byte(f, (uint8_t)symbol);
        else
            inflate_match(f, symbol);
    }
}

static void inflate_fixed_codes(struct inflate *f) {
    uint8_t lens[288];
    for (unsigned i = 0; i < 288; i++) lens[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    inflate_build(f, &f->literals, lens, 288);
    memset(lens, 5, 30);
    inflate_build(f, &f->distances, lens, 30);
}

/* The lengths of both codes are themselves Huffman coded, with runs. */
static void inflate_dynamic_codes(struct inflate *f) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14,
                                      1, 15};
    uint8_t lens[286 + 30 + 138] = {0}; /* a last run may go too far before it is noticed */
    unsigned literals = inflate_bits(f, 5) + 257, distances = inflate_bits(f, 5) + 1;
    unsigned orders = inflate_bits(f, 4) + 4, n = 0;
    for (unsigned i = 0; i < orders; i++) lens[order[i]] = (uint8_t)inflate_bits(f, 3);
    if (literals > 286 || distances > 30) inflate_fail(f, UNPACK_BAD);
    inflate_build(f, &f->literals, lens, 19);
    while (f->status == UNPACK_OK && n < literals + distances) {
        unsigned symbol = inflate_symbol(f, &f->literals), run = 1;
        uint8_t len = (uint8_t)symbol;
        if (symbol >= 16) len = symbol == 16 && n ? lens[n - 1] : 0;
        if (symbol == 16 && !n) inflate_fail(f, UNPACK_BAD);
        if (symbol == 16) run = 3 + inflate_bits(f, 2);
        if (symbol == 17) run = 3 + inflate_bits(f, 3);
        if (symbol == 18) run = 11 + inflate_bits(f, 7);
        memset(lens + n, len, run);
        n += run;
    }
    if (n != literals + distances) inflate_fail(f, UNPACK_BAD);
    if (f->status != UNPACK_OK) return;
    inflate_build(f, &f->literals, lens, literals);
    inflate_build(f, &f->distances, lens + literals, distances);
}

static void inflate_all(struct inflate *f) {
    bool last = false;
    while (!last && f->status == UNPACK_OK) {
        last = inflate_bits(f, 1) != 0;
        switch (inflate_bits(f, 2)) {
        case 0:
            inflate_stored(f);
            break;
        case 1:
            inflate_fixed_codes(f);
            inflate_coded(f);
            break;
        case 2:
            inflate_dynamic_codes(f);
            inflate_coded(f);
            break;
        default:
            inflate_fail(f, UNPACK_BAD);
        }
    }
    inflate_give(f);
    f->p -= f->n_bits / 8; /* whole bytes that were read ahead */
}

/* --- gzip --- */

/* Offset of the deflated data; 0 when the header is not whole or not gzip's. */
static size_t gzip_header(struct slice in) {
    enum { GZIP_CRC = 2, GZIP_EXTRA = 4, GZIP_NAME = 8, GZIP_COMMENT = 16 };
    if (in.n < 10 || in.p[0] != 0x1f || in.p[1] != 0x8b || in.p[2] != 8) return 0;
    unsigned flags = in.p[3], texts = (flags & GZIP_NAME ? 1 : 0) + (flags & GZIP_COMMENT ? 1 : 0);
    size_t at = 10;
    if (flags & GZIP_EXTRA) {
        if (in.n < at + 2) return 0;
        at += 2 + (size_t)(in.p[at] | (unsigned)in.p[at + 1] << 8);
    }
    for (; texts; texts--) {
        const uint8_t *nul = at < in.n ? memchr(in.p + at, 0, in.n - at) : NULL;
        if (!nul) return 0;
        at = (size_t)(nul - in.p) + 1;
    }
    if (flags & GZIP_CRC) at += 2;
    return at <= in.n ? at : 0;
}

static uint32_t unpack_le32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

ZK_PRIVATE enum unpack_status unpack_gzip(struct slice in, const struct unpack_sink *sink) {
    size_t at = gzip_header(in);
    if (!at) return UNPACK_BAD;
    struct inflate *f = mem_zalloc(sizeof *f);
    f->p = in.p + at;
    f->end = in.p + in.n;
    f->sink = sink;
    f->crc = SUM_CRC32_INIT;
    inflate_all(f);
    if (f->end - f->p < 8) {
        inflate_fail(f, UNPACK_SHORT);
    } else if (unpack_le32(f->p) != f->crc || unpack_le32(f->p + 4) != (uint32_t)f->total) {
        inflate_fail(f, UNPACK_BAD);
    }
    enum unpack_status status = f->status;
    mem_free(f);
    return status;
}

/* --- snappy --- */

struct snappy {
    const uint8_t *p, *end; /* borrowed */
    uint8_t *out;
    size_t n, max;
};

/* A number of 1..4 bytes, little-endian. */
static bool snappy_number(struct snappy *s, size_t bytes, size_t *v) {
    if ((size_t)(s->end - s->p) < bytes) return false;
    *v = 0;
    for (size_t i = 0; i < bytes; i++) *v |= (size_t)*s->p++ << 8 * i;
    return true;
}

static bool snappy_literal(struct snappy *s, unsigned tag) {
    size_t len = tag >> 2;
    if (len >= 60 && !snappy_number(s, len - 59, &len)) return false;
    len++;
    if (len > (size_t)(s->end - s->p) || len > s->max - s->n) return false;
    memcpy(s->out + s->n, s->p, len);
    s->p += len;
    s->n += len;
    return true;
}

static bool snappy_copy(struct snappy *s, unsigned tag) {
    size_t len = (tag >> 2) + 1, back;
    unsigned kind = tag & 3;
    if (!snappy_number(s, kind == 3 ? 4 : kind, &back)) return false;
    if (kind == 1) {
        len = (tag >> 2 & 7) + 4;
        back |= (size_t)(tag >> 5) << 8;
    }
    if (!back || back > s->n || len > s->max - s->n) return false;
    for (; len; len--, s->n++) s->out[s->n] = s->out[s->n - back]; /* may overlap */
    return true;
}

/* The length that a raw block claims; false when it cannot be true. */
static bool snappy_length(struct snappy *s, size_t *len) {
    size_t room = (size_t)(s->end - s->p);
    *len = 0;
    for (unsigned shift = 0; shift <= 28 && s->p < s->end; shift += 7) {
        *len |= (size_t)(*s->p & 0x7f) << shift;
        if (!(*s->p++ & 0x80)) return *len <= room * SNAPPY_RATIO;
    }
    return false;
}

static enum unpack_status snappy_block(struct slice in, const struct unpack_sink *sink,
                                       struct buf *out) {
    struct snappy s = {.p = in.p, .end = in.p + in.n};
    if (!snappy_length(&s, &s.max)) return UNPACK_BAD;
    buf_clear(out);
    s.out = buf_grow(out, s.max);
    while (s.p < s.end) {
        unsigned tag = *s.p++;
        if (!((tag & 3) == 0 ? snappy_literal(&s, tag) : snappy_copy(&s, tag))) return UNPACK_BAD;
    }
    if (s.n != s.max) return UNPACK_BAD;
    return !s.n || sink->take(sink->ctx, slice_of(s.out, s.n)) ? UNPACK_OK : UNPACK_REFUSED;
}

ZK_PRIVATE enum unpack_status unpack_snappy(struct slice in, const struct unpack_sink *sink) {
    enum unpack_status status = UNPACK_OK;
    struct buf out = {0};
    if (in.n < SNAPPY_MAGIC_LEN || memcmp(in.p, "\202SNAPPY\0", 8) != 0) return UNPACK_BAD;
    for (size_t at = SNAPPY_MAGIC_LEN; at < in.n && status == UNPACK_OK;) {
        if (in.n - at < 4 || be32(in.p + at) > in.n - at - 4) {
            status = UNPACK_SHORT;
            break;
        }
        uint32_t len = be32(in.p + at);
        status = snappy_block(slice_of(in.p + at + 4, len), sink, &out);
        at += len + (size_t)4;
    }
    buf_free(&out);
    return status;
}
