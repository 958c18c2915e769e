#include "state/path.h"

/* One UTF-8 character; 0xfffd for anything malformed. Advances *i by at least one byte. */
static uint32_t path_char(struct slice s, size_t *i) {
    const uint32_t bad = 0xfffd;
    uint8_t c = s.p[(*i)++];
    if (c < 0x80) return c;
    int more = c >= 0xc2 && c <= 0xdf ? 1 : c >= 0xe0 && c <= 0xef ? 2 : c >= 0xf0 && c <= 0xf4 ? 3 : 0;
    if (!more) return bad;
    static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
    uint32_t v = c & (0x3fu >> more);
    for (int k = 0; k < more; k++) {
        if (*i >= s.n || (s.p[*i] & 0xc0) != 0x80) return bad;
        v = v << 6 | (s.p[(*i)++] & 0x3fu);
    }
    if (v < least[more] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff)) return bad;
    return v;
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
