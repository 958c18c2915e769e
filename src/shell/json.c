/*
 * shell/json: JSON as it comes in: one value in one line, read strictly. Strings are decoded where
 * they stand, for that never makes them longer. The first thing that is wrong ends the reading:
 * everything after it reads as nothing.
 */
#include "shell/shell.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char nothing[1];

void jsin_wrong(struct jsin *j, const char *what) {
    if (!j->wrong) j->wrong = fmt("column %zu: %s", (size_t)(j->p - j->start) + 1, what);
    j->p = j->end;
}

static void jsin_blanks(struct jsin *j) {
    while (j->p < j->end && (*j->p == ' ' || (*j->p >= '\t' && *j->p <= '\r'))) j->p++;
}

bool jsin_take(struct jsin *j, char c) {
    jsin_blanks(j);
    bool there = j->p < j->end && *j->p == c;
    j->p += there;
    return there;
}

void jsin_need(struct jsin *j, char c) {
    if (!jsin_take(j, c)) jsin_wrong(j, fmt("%c expected", c));
}

bool jsin_null(struct jsin *j) {
    jsin_blanks(j);
    bool null = j->end - j->p >= 4 && memcmp(j->p, "null", 4) == 0;
    j->p += null ? 4 : 0;
    return null;
}

/* Without fraction and exponent. */
int64_t jsin_int(struct jsin *j) {
    char *end = j->p;
    jsin_blanks(j);
    errno = 0;
    int64_t v = j->p < j->end && isdigit((unsigned char)*j->p) ? strtoll(j->p, &end, 10) : 0;
    if (end == j->p || errno || end > j->end) return jsin_wrong(j, "a whole number expected"), 0;
    j->p = end;
    return v;
}

static uint32_t jsin_hex4(struct jsin *j) {
    uint32_t v = 0;
    for (int i = 0; i < 4; i++, j->p++) {
        char c = j->p < j->end ? (char)tolower((unsigned char)*j->p) : '\0';
        if (!isxdigit((unsigned char)c)) return jsin_wrong(j, "\\u has four hexadecimal digits"), 0;
        v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return v;
}

/* What stands behind a backslash, to `to`; the end of it there. */
static char *jsin_escape(struct jsin *j, char *to) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    static const uint32_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    const char *known = j->p < j->end && *j->p ? strchr(from, *j->p) : NULL;
    if (known) return *to = into[known - from], j->p++, to + 1;
    if (j->p == j->end || *j->p++ != 'u') return jsin_wrong(j, "no such escape"), to;
    uint32_t c = jsin_hex4(j), low;
    if (c >= 0xd800 && c < 0xdc00 && j->end - j->p > 2 && j->p[0] == '\\' && j->p[1] == 'u') {
        j->p += 2;
        low = jsin_hex4(j);
        c = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : c;
    }
    if (c >= 0xd800 && c < 0xe000) jsin_wrong(j, "half a surrogate pair");
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (char)(lead[more] | c >> 6 * more);
    while (more--) *to++ = (char)(0x80 | (c >> 6 * more & 0x3f));
    return to;
}

/* With a NUL behind it. n NULL: there may be none inside. */
char *jsin_string(struct jsin *j, size_t *n) {
    if (!jsin_take(j, '"')) return jsin_wrong(j, "a string expected"), nothing;
    char *start = j->p, *to = start;
    while (j->p < j->end && *j->p != '"') {
        uint32_t c;
        size_t len = utf8_next(j->p, (size_t)(j->end - j->p), &c);
        bool bad = c == 0xfffd && (len != 3 || memcmp(j->p, "\xef\xbf\xbd", 3) != 0);
        if (c < 0x20 || bad) {
            jsin_wrong(j, bad ? "not UTF-8" : "a control character");
            return nothing;
        }
        memmove(to, j->p, len);
        j->p += len;
        to = c == '\\' ? jsin_escape(j, to) : to + len;
    }
    if (j->wrong) return nothing;
    if (j->p == j->end) return jsin_wrong(j, "a string without an end"), nothing;
    j->p++;
    *to = '\0';
    if (n) *n = (size_t)(to - start);
    else if (memchr(start, '\0', (size_t)(to - start))) jsin_wrong(j, "a null character");
    return start;
}
