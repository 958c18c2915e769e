/*
 * shell/text: texts that grow, numbers, UTF-8, base64, and JSON as it goes out.
 */
#include "shell/shell.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *grow(void *p, size_t n) {
    void *q = realloc(p, n ? n : 1);
    if (q) return q;
    fputs("zkcli: out of memory\n", stderr);
    exit(1);
}

char *copy(const char *s) { return strcpy(grow(NULL, strlen(s) + 1), s); }

void put(struct text *t, const void *s, size_t n) {
    if (t->n + n + 1 > t->cap) t->s = grow(t->s, t->cap = (t->n + n + 1) * 2);
    if (n) memcpy(t->s + t->n, s, n);
    t->s[t->n += n] = '\0';
}

void add(struct text *t, const char *s) { put(t, s, strlen(s)); }

/* A formatted text, good for 15 more of them. Callbacks use up texts of their own. */
const char *fmt(const char *format, ...) {
    static struct text ring[2][16];
    static unsigned turns[2];
    struct text *t = &ring[sh.inside][turns[sh.inside]++ % 16];
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    size_t n = (size_t)vsnprintf(NULL, 0, format, again) + 1;
    if (n > t->cap) t->s = grow(t->s, t->cap = n);
    (void)vsnprintf(t->s, n, format, ap);
    va_end(again);
    va_end(ap);
    return t->s;
}

/* One character of UTF-8; its length. What is malformed is U+FFFD, in pieces as Java cuts them. */
size_t utf8_next(const char *s, size_t n, uint32_t *c) {
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s;
    size_t more = *p < 0x80 ? 0 : *p < 0xc2 ? 4 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : 4;
    *c = more ? 0xfffd : *p;
    if (more == 0 || more == 4) return 1;
    uint32_t v = *p & (0x3fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if (i == n || (p[i] & 0xc0) != 0x80) return i;
        v = v << 6 | (p[i] & 0x3f);
        uint32_t low = v << 6 * (more - 1);
        if (i == 1 && (low < least[more] || low > 0x10ffff)) return 1;
    }
    if (v - 0xd800 >= 0x800) *c = v;
    return more + 1;
}

void put_utf8(struct text *t, const char *s, size_t n) {
    uint32_t c;
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_next(s + i, n - i, &c);
        put(t, c == 0xfffd ? "\xef\xbf\xbd" : s + i, c == 0xfffd ? 3 : len);
    }
}

bool is_utf8(const void *data, size_t n) {
    const char *s = data;
    uint32_t c;
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_next(s + i, n - i, &c);
        if (c == 0xfffd && (len != 3 || memcmp(s + i, "\xef\xbf\xbd", 3) != 0)) return false;
    }
    return true;
}

/* In quotes, as JSON has it. */
void put_json(struct text *t, const char *s, size_t n) {
    uint32_t c;
    put(t, "\"", 1);
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_next(s + i, n - i, &c);
        if (c < 0x20 || c == 0x7f) add(t, fmt("\\u%04x", c));
        else if (c == '"' || c == '\\') add(t, fmt("\\%c", (int)c));
        else put_utf8(t, s + i, len);
    }
    put(t, "\"", 1);
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void put_base64(struct text *t, const void *data, size_t n) {
    const unsigned char *p = data;
    put(t, "", 0);
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
                     (i + 2 < n ? p[i + 2] : 0);
        char d[] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=',
                    i + 2 < n ? digits[v & 63] : '='};
        put(t, d, 4);
    }
}

/* NULL, or what is wrong with it. Padding may be absent. */
const char *read_base64(const char *s, struct text *out) {
    size_t n = strlen(s), pad = 0;
    unsigned v = 0;
    while (pad < 2 && n && s[n - 1] == '=') n--, pad++;
    put(out, "", 0);
    for (size_t i = 0; i < n; i++) {
        const char *digit = strchr(digits, s[i]);
        if (!digit) return fmt("Illegal base64 character %x", (unsigned)(unsigned char)s[i]);
        v = v << 6 | (unsigned)(digit - digits);
        char byte = (char)(v >> (6 - 2 * (i % 4)));
        if (i % 4) put(out, &byte, 1);
    }
    bool bad = n % 4 == 1 || (pad && (n + pad) % 4);
    return bad ? "Input byte array has wrong 4-byte ending unit" : NULL;
}

/* stock: Integer.parseInt, Long.parseLong; base 0: Integer.decode */
bool number(const char *s, int base, int64_t min, int64_t max, int64_t *out) {
    char *end;
    if (!isxdigit((unsigned char)s[*s == '-' || *s == '+']) || (base && strpbrk(s, "xX")))
        return false;
    errno = 0;
    *out = strtoll(s, &end, base);
    return !errno && !*end && *out >= min && *out <= max;
}

int64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Cuts off the text in front of a character; *p is what follows, NULL after the last. */
char *cut(char **p, char at) {
    char *start = *p, *end = start ? strchr(start, at) : NULL;
    if (end) *end++ = '\0';
    *p = end;
    return start;
}
