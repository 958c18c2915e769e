#include "state/path.h"

/* How many continuation bytes follow a first byte; 0 when it cannot be one. */
static int path_follow(uint8_t c) {
    if (c >= 0xc2 && c <= 0xdf) return 1;
    if (c >= 0xe0 && c <= 0xef) return 2;
    return c >= 0xf0 && c <= 0xf4 ? 3 : 0;
}

/* What some first bytes allow as the second one is less than any continuation byte. */
static bool path_second_ok(uint8_t c, uint8_t second) {
    if (c == 0xe0) return second >= 0xa0;
    if (c == 0xf0) return second >= 0x90;
    return c != 0xf4 || second <= 0x8f;
}

/* One UTF-8 character; 0xfffd for each malformed piece, cut where Java's decoder cuts it. */
static uint32_t path_char(struct slice s, size_t *i) {
    const uint32_t bad = 0xfffd;
    uint8_t c = s.p[(*i)++];
    if (c < 0x80) return c;
    int more = path_follow(c);
    uint32_t v = c & (0x3fu >> more);
    for (int k = 0; k < more; k++) {
        if (*i >= s.n || (s.p[*i] & 0xc0) != 0x80) return bad;
        if (k == 0 && !path_second_ok(c, s.p[*i])) return bad;
        v = v << 6 | (s.p[(*i)++] & 0x3fu);
    }
    return !more || (v >= 0xd800 && v <= 0xdfff) ? bad : v;
}

static void path_put_unit(struct buf *out, uint32_t u) {
    if (u < 0x80) {
        buf_putc(out, (char)u);
    } else if (u < 0x800) {
        buf_putc(out, (char)(0xc0 | u >> 6));
        buf_putc(out, (char)(0x80 | (u & 0x3f)));
    } else {
        buf_putc(out, (char)(0xe0 | u >> 12));
        buf_putc(out, (char)(0x80 | (u >> 6 & 0x3f)));
        buf_putc(out, (char)(0x80 | (u & 0x3f)));
    }
}

ZK_PRIVATE struct slice path_as_java(struct slice text, struct buf *scratch) {
    size_t i = 0;
    while (i < text.n && text.p[i] < 0x80) i++;
    if (i == text.n) return text;
    buf_clear(scratch);
    for (i = 0; i < text.n;) {
        uint32_t c = path_char(text, &i);
        if (c >= 0x10000) path_put_unit(scratch, 0xd7c0 + (c >> 10));
        path_put_unit(scratch, c >= 0x10000 ? 0xdc00 | (c & 0x3ff) : c);
    }
    return buf_slice(scratch);
}

static bool path_char_ok(uint32_t c) {
    if (c < 0x20 || (c >= 0x7f && c <= 0x9f)) return false;
    if (c >= 0xd800 && c <= 0xf8ff) return false;
    return c < 0xfff0; /* beyond the BMP a character is two surrogates, which are not allowed */
}

static bool path_component_ok(struct slice s) {
    return s.n != 0 && !slice_is(s, ".") && !slice_is(s, "..");
}

ZK_PRIVATE bool path_valid(struct slice path) {
    if (!path.p || path.n == 0 || path.p[0] != '/') return false;
    if (path.n == 1) return true;
    size_t start = 1;
    for (size_t i = 1; i < path.n;) {
        if (path.p[i] == '/') {
            if (!path_component_ok(slice_of(path.p + start, i - start))) return false;
            start = ++i;
        } else if (!path_char_ok(path_char(path, &i))) {
            return false;
        }
    }
    return path_component_ok(slice_of(path.p + start, path.n - start));
}

static size_t path_last_slash(struct slice path) {
    size_t i = path.n;
    while (i > 0 && path.p[i - 1] != '/') i--;
    return i; /* one past the slash; 0: none */
}

ZK_PRIVATE bool path_has_parent(struct slice path) {
    return path.p && path.n && path_last_slash(path) > 0 && !memchr(path.p, 0, path.n);
}

ZK_PRIVATE struct slice path_parent(struct slice path) {
    size_t i = path_last_slash(path);
    return slice_of(path.p, i ? i - 1 : 0);
}

ZK_PRIVATE struct slice path_name(struct slice path) {
    size_t i = path_last_slash(path);
    return slice_of(path.p + i, path.n - i);
}

ZK_PRIVATE struct slice path_key(struct slice path) {
    return path.n == 1 && path.p[0] == '/' ? slice_of(path.p, 0) : path;
}

ZK_PRIVATE bool path_is_under(struct slice path, const char *prefix) {
    size_t n = strlen(prefix);
    return path.n > n && path.p[n] == '/' && memcmp(path.p, prefix, n) == 0;
}
