#include "base/sum.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define SUM_X86 1
#include <immintrin.h>
#else
#define SUM_X86 0
#endif

/* --- Adler-32: a = 1 + sum of bytes, b = sum of all values of a, both modulo 65521 --- */

#define SUM_ADLER_MOD 65521u
/* Bytes between two reductions; a lane's 32 bits would do for sixteen times as many. */
#define SUM_ADLER_RUN 5536u
#define SUM_ADLER_LANES 16u

/*
 * Each lane sums every 16th byte, and sums its own sums; a lane's byte weighs less in b the later
 * it comes within the row. The inner loops have no dependency, so that compilers vectorise them.
 */
ZK_PRIVATE uint32_t sum_adler32(uint32_t adler, const uint8_t *p, size_t n) {
    uint32_t a = adler & 0xffff, b = adler >> 16;
    while (n >= SUM_ADLER_LANES) {
        size_t run = n < SUM_ADLER_RUN ? n - n % SUM_ADLER_LANES : SUM_ADLER_RUN;
        uint32_t sum[SUM_ADLER_LANES] = {0}, sums[SUM_ADLER_LANES] = {0};
        const uint8_t *end = p + run;
        for (; p != end; p += SUM_ADLER_LANES) {
            for (size_t i = 0; i < SUM_ADLER_LANES; i++) {
                sums[i] += sum[i];
                sum[i] += p[i];
            }
        }
        uint64_t wide = b + (uint64_t)run * a;
        for (uint32_t i = 0; i < SUM_ADLER_LANES; i++) {
            wide += (uint64_t)SUM_ADLER_LANES * sums[i] + (SUM_ADLER_LANES - i) * sum[i];
            a += sum[i];
        }
        a %= SUM_ADLER_MOD;
        b = (uint32_t)(wide % SUM_ADLER_MOD);
        n -= run;
    }
    for (; n; n--) {
        a += *p++;
        b += a;
    }
    return b % SUM_ADLER_MOD << 16 | a % SUM_ADLER_MOD;
}

/* --- CRC-32 --- */

/*
 * Row k of the table is the remainder of each byte followed by k zero bytes. Remainders are linear:
 * an entry is the xor of the entries of its single bits, so eight constants make a row.
 */
#define SUM_CRC_BIT(i, bit, c) (((i) >> (bit)&1u) ? (c) : 0u)
#define SUM_CRC_1(i, a, b, c, d, e, f, g, h)                                                       \
    (SUM_CRC_BIT(i, 0, a) ^ SUM_CRC_BIT(i, 1, b) ^ SUM_CRC_BIT(i, 2, c) ^ SUM_CRC_BIT(i, 3, d) ^   \
     SUM_CRC_BIT(i, 4, e) ^ SUM_CRC_BIT(i, 5, f) ^ SUM_CRC_BIT(i, 6, g) ^ SUM_CRC_BIT(i, 7, h))
#define SUM_CRC_4(i, ...)                                                                          \
    SUM_CRC_1((i), __VA_ARGS__), SUM_CRC_1((i) + 1u, __VA_ARGS__),                                 \
        SUM_CRC_1((i) + 2u, __VA_ARGS__), SUM_CRC_1((i) + 3u, __VA_ARGS__)
#define SUM_CRC_16(i, ...)                                                                         \
    SUM_CRC_4((i), __VA_ARGS__), SUM_CRC_4((i) + 4u, __VA_ARGS__),                                 \
        SUM_CRC_4((i) + 8u, __VA_ARGS__), SUM_CRC_4((i) + 12u, __VA_ARGS__)
#define SUM_CRC_64(i, ...)                                                                         \
    SUM_CRC_16((i), __VA_ARGS__), SUM_CRC_16((i) + 16u, __VA_ARGS__),                              \
        SUM_CRC_16((i) + 32u, __VA_ARGS__), SUM_CRC_16((i) + 48u, __VA_ARGS__)
#define SUM_CRC_ROW(...)                                                                           \
    {                                                                                              \
        SUM_CRC_64(0u, __VA_ARGS__), SUM_CRC_64(64u, __VA_ARGS__),                                 \
            SUM_CRC_64(128u, __VA_ARGS__), SUM_CRC_64(192u, __VA_ARGS__)                           \
    }

static const uint32_t sum_crc_table[8][256] = {
    SUM_CRC_ROW(0x77073096, 0xee0e612c, 0x076dc419, 0x0edb8832, 0x1db71064,
                0x3b6e20c8, 0x76dc4190, 0xedb88320),
    SUM_CRC_ROW(0x191b3141, 0x32366282, 0x646cc504, 0xc8d98a08, 0x4ac21251,
                0x958424a2, 0xf0794f05, 0x3b83984b),
    SUM_CRC_ROW(0x01c26a37, 0x0384d46e, 0x0709a8dc, 0x0e1351b8, 0x1c26a370,
                0x384d46e0, 0x709a8dc0, 0xe1351b80),
    SUM_CRC_ROW(0xb8bc6765, 0xaa09c88b, 0x8f629757, 0xc5b428ef, 0x5019579f,
                0xa032af3e, 0x9b14583d, 0xed59b63b),
    SUM_CRC_ROW(0x3d6029b0, 0x7ac05360, 0xf580a6c0, 0x30704bc1, 0x60e09782,
                0xc1c12f04, 0x58f35849, 0xb1e6b092),
    SUM_CRC_ROW(0xcb5cd3a5, 0x4dc8a10b, 0x9b914216, 0xec53826d, 0x03d6029b,
                0x07ac0536, 0x0f580a6c, 0x1eb014d8),
    SUM_CRC_ROW(0xa6770bb4, 0x979f1129, 0xf44f2413, 0x33ef4e67, 0x67de9cce,
                0xcfbd399c, 0x440b7579, 0x8816eaf2),
    SUM_CRC_ROW(0xccaa009e, 0x4225077d, 0x844a0efa, 0xd3e51bb5, 0x7cbb312b,
                0xf9766256, 0x299dc2ed, 0x533b85da),
};

/* Eight bytes a step, or four, a row of the table for each. */
ZK_PRIVATE uint32_t sum_crc32_portable(uint32_t crc, const uint8_t *p, size_t n) {
    crc = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = sum_crc_table[7][crc & 0xff] ^ sum_crc_table[6][crc >> 8 & 0xff] ^
              sum_crc_table[5][crc >> 16 & 0xff] ^ sum_crc_table[4][crc >> 24] ^
              sum_crc_table[3][p[4]] ^ sum_crc_table[2][p[5]] ^ sum_crc_table[1][p[6]] ^
              sum_crc_table[0][p[7]];
    }
    if (n >= 4) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = sum_crc_table[3][crc & 0xff] ^ sum_crc_table[2][crc >> 8 & 0xff] ^
              sum_crc_table[1][crc >> 16 & 0xff] ^ sum_crc_table[0][crc >> 24];
        p += 4;
        n -= 4;
    }
    for (; n; n--) crc = crc >> 8 ^ sum_crc_table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if SUM_X86
#define SUM_CLMUL __attribute__((target("pclmul,sse4.1")))

SUM_CLMUL static __m128i sum_crc_fold(__m128i x, __m128i k, __m128i next) {
    __m128i low = _mm_clmulepi64_si128(x, k, 0x00), high = _mm_clmulepi64_si128(x, k, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

SUM_CLMUL static __m128i sum_crc_load(const uint8_t *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/*
 * Folds by carry-less multiplication, as in Intel's "Fast CRC Computation for Generic Polynomials
 * Using PCLMULQDQ"; the constants are x^n modulo the polynomial, bit-reflected. n is a multiple of
 * 16 and at least 16; crc comes and goes inverted.
 */
SUM_CLMUL static uint32_t sum_crc_clmul(uint32_t crc, const uint8_t *p, size_t n) {
    const __m128i by64 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    const __m128i by16 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i by4 = _mm_set_epi64x(0, 0x163cd6124);
    const __m128i barrett = _mm_set_epi64x(0x1f7011641, 0x1db710641);
    const __m128i low32 = _mm_setr_epi32(-1, 0, -1, 0);
    __m128i x = _mm_xor_si128(sum_crc_load(p), _mm_cvtsi32_si128((int)crc));
    p += 16;
    n -= 16;
    if (n >= 48) {
        __m128i y = sum_crc_load(p), z = sum_crc_load(p + 16), w = sum_crc_load(p + 32);
        for (p += 48, n -= 48; n >= 64; p += 64, n -= 64) {
            x = sum_crc_fold(x, by64, sum_crc_load(p));
            y = sum_crc_fold(y, by64, sum_crc_load(p + 16));
            z = sum_crc_fold(z, by64, sum_crc_load(p + 32));
            w = sum_crc_fold(w, by64, sum_crc_load(p + 48));
        }
        x = sum_crc_fold(sum_crc_fold(sum_crc_fold(x, by16, y), by16, z), by16, w);
    }
    for (; n; p += 16, n -= 16) x = sum_crc_fold(x, by16, sum_crc_load(p));

    /* 128 bits to 64, then to 32 (Barrett) */
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, by16, 0x10));
    __m128i t = _mm_clmulepi64_si128(_mm_and_si128(x, low32), by4, 0x00);
    x = _mm_xor_si128(_mm_srli_si128(x, 4), t);
    t = _mm_clmulepi64_si128(_mm_and_si128(x, low32), barrett, 0x10);
    t = _mm_clmulepi64_si128(_mm_and_si128(t, low32), barrett, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(x, t), 1);
}
#endif

ZK_PRIVATE uint32_t sum_crc32(uint32_t crc, const uint8_t *p, size_t n) {
#if SUM_X86
    if (n >= 32 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
        size_t bulk = n - n % 16;
        crc = ~sum_crc_clmul(~crc, p, bulk);
        p += bulk;
        n -= bulk;
    }
#endif
    return sum_crc32_portable(crc, p, n);
}

/* --- SHA-1 --- */

static uint32_t sum_rotl(uint32_t x, int n) {
    return x << n | x >> (32 - n);
}

static void sum_sha1_block(uint32_t h[5], const uint8_t *p) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++) w[i] = be32(p + 4 * i);
    for (int i = 16; i < 80; i++) w[i] = sum_rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (i < 40 || i >= 60) {
            f = b ^ c ^ d;
            k = i < 40 ? 0x6ed9eba1 : 0xca62c1d6;
        } else {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        }
        uint32_t t = sum_rotl(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = sum_rotl(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

ZK_PRIVATE void sum_sha1(const uint8_t *p, size_t n, uint8_t out[SUM_SHA1_BYTES]) {
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    size_t done = 0;
    for (; n - done >= 64; done += 64) sum_sha1_block(h, p + done);
    uint8_t last[128] = {0};
    size_t rest = n - done, padded = rest < 56 ? 64 : 128;
    if (rest) memcpy(last, p + done, rest);
    last[rest] = 0x80;
    put_be64(last + padded - 8, (uint64_t)n * 8);
    for (size_t i = 0; i < padded; i += 64) sum_sha1_block(h, last + i);
    for (int i = 0; i < 5; i++) put_be32(out + 4 * i, h[i]);
}

/* --- base64 --- */

ZK_PRIVATE void sum_base64_encode(struct buf *out, const uint8_t *p, size_t n) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)p[i] << 16;
        if (left > 1) v |= (uint32_t)p[i + 1] << 8;
        if (left > 2) v |= p[i + 2];
        buf_putc(out, letters[v >> 18]);
        buf_putc(out, letters[v >> 12 & 63]);
        buf_putc(out, left > 1 ? letters[v >> 6 & 63] : '=');
        buf_putc(out, left > 2 ? letters[v & 63] : '=');
    }
}

static uint32_t sum_base64_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26u;
    if (c >= '0' && c <= '9') return c - '0' + 52u;
    if (c == '+') return 62;
    return c == '/' ? 63 : 64;
}

ZK_PRIVATE bool sum_base64_decode(struct buf *out, const uint8_t *p, size_t n) {
    if (n % 4 == 0 && n && p[n - 1] == '=') {
        n--;
        if (p[n - 1] == '=') n--;
    }
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t six = sum_base64_value(p[i]);
        if (six > 63) return false;
        v = v << 6 | six;
        if (i % 4) buf_putc(out, (char)(uint8_t)(v >> (6 - 2 * (i % 4))));
    }
    return n % 4 != 1;
}

/* --- session password --- */

/* stock: ZooKeeperServer.generatePasswd, the first 16 bytes of java.util.Random(id ^ secret). */
ZK_PRIVATE void sum_session_passwd(int64_t id, uint8_t out[16]) {
    const uint64_t mask = ((uint64_t)1 << 48) - 1, factor = 0x5deece66d;
    uint64_t s = ((uint64_t)id ^ 0xb3415c00 ^ factor) & mask;
    for (int i = 0; i < 16; i += 4) {
        s = (s * factor + 0xb) & mask;
        for (int k = 0; k < 4; k++) out[i + k] = (uint8_t)(s >> (16 + 8 * k));
    }
}
