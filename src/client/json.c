#include "client/json.h"

#define JSON_DEPTH 32

ZK_PRIVATE struct json json_open(struct slice text) {
    struct json j = {text.p, text.p + text.n, false};
    if (!text.p) j.end = j.p;
    return j;
}

static void json_spaces(struct json *j) {
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r'))
        j->p++;
}

/* The next character that is no space; 0: none. */
static uint8_t json_peek(struct json *j) {
    json_spaces(j);
    return j->bad || j->p == j->end ? 0 : *j->p;
}

static bool json_take(struct json *j, uint8_t c) {
    if (json_peek(j) != c) return false;
    j->p++;
    return true;
}

static void json_need(struct json *j, uint8_t c) {
    if (!json_take(j, c)) j->bad = true;
}

static bool json_word(struct json *j, const char *word) {
    size_t n = strlen(word);
    if (json_peek(j) != (uint8_t)*word || (size_t)(j->end - j->p) < n) return false;
    if (memcmp(j->p, word, n) != 0) return false;
    j->p += n;
    return true;
}

ZK_PRIVATE bool json_null(struct json *j) {
    return json_word(j, "null");
}

ZK_PRIVATE bool json_bool(struct json *j) {
    if (json_word(j, "true")) return true;
    if (!json_word(j, "false")) j->bad = true;
    return false;
}

static bool json_is_digit(const struct json *j) {
    return j->p < j->end && *j->p >= '0' && *j->p <= '9';
}

/* At least one. */
static void json_digits(struct json *j) {
    if (!json_is_digit(j)) j->bad = true;
    while (json_is_digit(j)) j->p++;
}

/* Past a number of any size. */
static void json_number(struct json *j) {
    (void)json_take(j, '-');
    bool zero = j->p < j->end && *j->p == '0';
    if (zero)
        j->p++; /* after which no digit may follow */
    else
        json_digits(j);
    if (zero && json_is_digit(j)) j->bad = true;
    if (j->p < j->end && *j->p == '.') {
        j->p++;
        json_digits(j);
    }
    if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
        j->p++;
        if (j->p < j->end && (*j->p == '+' || *j->p == '-')) j->p++;
        json_digits(j);
    }
}

/* Fractions and exponents are gone past; what does not fit is bad. */
ZK_PRIVATE int64_t json_int(struct json *j) {
    json_spaces(j);
    const uint8_t *p = j->p;
    int64_t value = 0;
    json_number(j);
    if (j->bad) return 0;
    bool minus = *p == '-';
    for (p += minus; p < j->p && *p >= '0' && *p <= '9'; p++) {
        if (value > (INT64_MAX - 9) / 10) j->bad = true;
        if (!j->bad) value = value * 10 + (*p - '0');
    }
    return minus ? -value : value;
}

/* --- strings --- */

/* The bytes of one character; 0: that is not UTF-8. */
static size_t json_char(const uint8_t *p, const uint8_t *end) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = *p < 0x80 ? 1 : *p < 0xc0 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf8 ? 4 : 0;
    if (n < 2) return n;
    if ((size_t)(end - p) < n) return 0;
    uint32_t c = *p & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

ZK_PRIVATE bool json_is_text(const char *s) {
    const uint8_t *p = (const uint8_t *)s, *end = p + strlen(s);
    size_t n;
    for (; p < end; p += n)
        if (!(n = json_char(p, end))) return false;
    return true;
}

static uint32_t json_hex(struct json *j) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = j->p < j->end ? *j->p++ : 0;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit > 15) j->bad = true;
        value = value << 4 | (digit & 15);
    }
    return value;
}

static size_t json_utf8(char *out, uint32_t c) {
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)(lead[n] | c);
    return n;
}

/* Behind a backslash. No string of C can hold a NUL: that is bad here. */
static size_t json_escape(struct json *j, char *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint8_t c = j->p < j->end ? *j->p++ : 0;
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        *out = to[at - from];
        return 1;
    }
    uint32_t code = c == 'u' ? json_hex(j) : 0;
    if (code >= 0xd800 && code < 0xdc00 && j->end - j->p >= 6 && j->p[0] == '\\' &&
        j->p[1] == 'u') {
        j->p += 2;
        uint32_t low = json_hex(j);
        if (low < 0xdc00 || low > 0xdfff) j->bad = true;
        code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
    }
    if (!code || (code >= 0xd800 && code < 0xe000)) {
        j->bad = true;
        return 0;
    }
    return json_utf8(out, code);
}

/* The next character of a string into out, which has room for 4 bytes. 0: its end, or bad. */
static size_t json_next(struct json *j, char *out) {
    uint8_t c = j->p < j->end ? *j->p : 0;
    size_t n = c < 0x20 ? 0 : json_char(j->p, j->end);
    if (!n) {
        j->bad = true;
        return 0;
    }
    if (c == '"' || c == '\\') j->p++;
    if (c == '"') return 0;
    if (c == '\\') return json_escape(j, out);
    memcpy(out, j->p, n);
    j->p += n;
    return n;
}

ZK_PRIVATE size_t json_string(struct json *j, char *out) {
    char c[4];
    size_t n = 0, m;
    json_need(j, '"');
    while (!j->bad && (m = json_next(j, c)) > 0) {
        memcpy(out + n, c, m);
        n += m;
    }
    out[n] = '\0';
    return n;
}

/* Past a string, unread. */
static void json_skip_string(struct json *j) {
    char c[4];
    json_need(j, '"');
    while (!j->bad && json_next(j, c) > 0) continue;
}

/* --- structure --- */

static void json_skip(struct json *j, int depth) {
    uint8_t open = json_peek(j), close = open == '{' ? '}' : ']';
    if (open == '"') {
        json_skip_string(j);
    } else if (open == 't' || open == 'f') {
        (void)json_bool(j);
    } else if (open != '{' && open != '[') {
        if (!json_null(j)) json_number(j);
    } else if (depth == JSON_DEPTH) {
        j->bad = true;
    } else {
        j->p++;
        if (json_take(j, close)) return;
        do {
            if (open == '{') {
                json_skip_string(j);
                json_need(j, ':');
            }
            json_skip(j, depth + 1);
        } while (!j->bad && json_take(j, ','));
        json_need(j, close);
    }
}

ZK_PRIVATE struct slice json_any(struct json *j) {
    json_spaces(j);
    const uint8_t *from = j->p;
    json_skip(j, 0);
    return j->bad ? slice_of(NULL, 0) : slice_of(from, (size_t)(j->p - from));
}

ZK_PRIVATE bool json_at_end(struct json *j) {
    json_spaces(j);
    return !j->bad && j->p == j->end;
}

ZK_PRIVATE void json_enter(struct json *j) {
    json_need(j, '{');
}

ZK_PRIVATE bool json_key(struct json *j, char *key, size_t n, bool *first) {
    if (j->bad || json_take(j, '}')) return false;
    if (!*first) json_need(j, ',');
    *first = false;
    json_spaces(j);
    const uint8_t *from = j->p + 1;
    json_skip_string(j);
    size_t len = j->bad ? 0 : (size_t)(j->p - 1 - from);
    if (len >= n) len = 0; /* no key that anybody asks for */
    memcpy(key, from, len);
    key[len] = '\0';
    json_need(j, ':');
    return !j->bad;
}

ZK_PRIVATE void json_put_string(struct buf *b, const char *s) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    buf_putc(b, '"');
    for (; *s; s++) {
        const char *at = strchr(from, *s);
        if (at) {
            buf_putc(b, '\\');
            buf_putc(b, to[at - from]);
        } else if ((uint8_t)*s < 0x20) {
            buf_printf(b, "\\u%04x", (unsigned)(uint8_t)*s);
        } else {
            buf_putc(b, *s);
        }
    }
    buf_putc(b, '"');
}
