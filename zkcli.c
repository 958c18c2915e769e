/* Generated from src/shell by `make zkcli.c`; never edited by hand. */
/* System interfaces beyond C11: POSIX, and epoll where there is one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#define ZK_PRIVATE static

#include "zk.h"

/* ==== shell/shell.h ==== */

/*
 * shell: zkcli, the ZooKeeper shell.
 *
 *   zkcli [-server hosts] [-timeout ms] [-r] [-waitforconnection] [-client-configuration file]
 *         [--json] [command words...]
 *
 * With a command it runs that one, else it reads lines: with editing from a terminal, plainly from
 * anything else. Commands, texts, streams and exit codes (0; 1 error; 2 bad configuration; 127 no
 * such command) are those of stock's zkCli.sh 3.9. Kinder than stock: what makes stock end with a
 * stack trace is one line here, a line of blanks is ignored, the session is always closed.
 *
 * It is one program of several files, which know nothing of the library but zk.h; `make zkcli.c`
 * puts them together. One thread does it all: the session lives in turn(), which waits for the
 * server and the keyboard. It ends when memory does.
 */
#ifndef SHELL_SHELL_H
#define SHELL_SHELL_H

#include <signal.h>
#include <stdio.h>


/* zkcli.c has every function static; a build from src/ needs those that are shared extern. */
#ifndef ZK_PRIVATE
#define ZK_PRIVATE
#endif

#define WINDOW 1000 /* requests in flight */
#define COUNT(a) (sizeof(a) / sizeof *(a))

struct text { /* grows; NUL-terminated once something was put */
    char *s;
    size_t n, cap;
};

struct args {
    const struct command *command;
    char **raw, **word; /* all words; those that are neither options nor their values */
    int raw_n, n;
    int32_t version;        /* of -v */
    const char *value[128]; /* of an option, by its first letter; "" when it takes none */
};

struct command {
    const char *name, *usage; /* more lines of usage may follow the first */
    const char *options;      /* "s v: file:" (with : it takes a value); NULL: words are words */
    char group;               /* '|': at most one of the options, '!': exactly one */
    int words;                /* at least, itself included; 0: does without a session, too */
    int (*run)(struct args *a);
    const char *old; /* a word too many was a watch (version) once: what to write today */
};

struct shell {
    struct zk *zk;            /* NULL: closed */
    const struct zk_result *result; /* of the latest call() */
    const char *host;
    int timeout_ms, op_timeout_ms, count, exit_code, pending, error, acl_n;
    unsigned flags, max_packet;
    bool json, quiet, wait, editing, quitting, inside; /* inside: a callback may run */
    enum zk_watch_kind mode;                           /* of addWatch, the latest one given */
    char **history;                                    /* lines of this run, count of them */
    struct text document, warnings, *doc; /* doc: where JSON goes, one of the others */
    struct zk_acl *acl;                   /* that was read last */
};
extern struct shell sh;

struct tree { /* a subtree, as walk() has read it */
    struct node {
        char *name;
        uint32_t parent, first, n; /* n children, from first on, sorted by name */
        int error;
    } *node;
    uint32_t n, cap, asked, done;
    char *root;
    bool watch;
    int64_t batch;   /* of deleteall */
    int32_t version; /* of setAcl */
};
extern struct tree tree;

extern volatile sig_atomic_t interrupted; /* 0, SIGINT or SIGTERM */

/* text */
ZK_PRIVATE void *grow(void *p, size_t n);
ZK_PRIVATE char *copy(const char *s);
ZK_PRIVATE void put(struct text *t, const void *s, size_t n);
ZK_PRIVATE void add(struct text *t, const char *s);
ZK_PRIVATE const char *fmt(const char *format, ...);
ZK_PRIVATE size_t utf8_next(const char *s, size_t n, uint32_t *c);
ZK_PRIVATE void put_utf8(struct text *t, const char *s, size_t n);
ZK_PRIVATE bool is_utf8(const void *data, size_t n);
ZK_PRIVATE void put_json(struct text *t, const char *s, size_t n);
ZK_PRIVATE void put_base64(struct text *t, const void *data, size_t n);
ZK_PRIVATE const char *read_base64(const char *s, struct text *out);
ZK_PRIVATE bool number(const char *s, int base, int64_t min, int64_t max, int64_t *out);
ZK_PRIVATE int64_t now_ms(void);
ZK_PRIVATE char *cut(char **p, char at);

/* json */
struct jsin {
    char *start, *p, *end;
    const char *wrong; /* NULL, or what and where */
};
ZK_PRIVATE void jsin_wrong(struct jsin *j, const char *what);
ZK_PRIVATE bool jsin_take(struct jsin *j, char c);
ZK_PRIVATE void jsin_need(struct jsin *j, char c);
ZK_PRIVATE bool jsin_null(struct jsin *j);
ZK_PRIVATE int64_t jsin_int(struct jsin *j);
ZK_PRIVATE char *jsin_string(struct jsin *j, size_t *n);

/* output */
ZK_PRIVATE void out(FILE *to, const char *s);
ZK_PRIVATE void js_put(const char *brackets);
ZK_PRIVATE void js(const char *key, const char *value);
ZK_PRIVATE void js_text(const char *key, const char *s);
ZK_PRIVATE void js_print(struct text *t);
ZK_PRIVATE void js_end(void);
ZK_PRIVATE void say(FILE *to, const char *key, const char *before, const char *value);
ZK_PRIVATE void say_number(FILE *to, const char *key, const char *before, int64_t n);
ZK_PRIVATE void say_list(const char *key, const char *const *names, int n);
ZK_PRIVATE void say_stat(const struct zk_stat *s);
ZK_PRIVATE void js_identity(const struct zk_acl *who);
ZK_PRIVATE void say_data(char form, const void *data, int len);
ZK_PRIVATE const char *date(int64_t ms);
ZK_PRIVATE void warn(FILE *to, const char *text);
ZK_PRIVATE void js_error(int error, const char *text);
ZK_PRIVATE int fail(int error, const char *text);
ZK_PRIVATE int fail_softly(int error, const char *text);
ZK_PRIVATE int refuse(const char *text);
ZK_PRIVATE const char *keeper_text(int error, const char *path);
ZK_PRIVATE int fail_zk(int error, const char *path);
ZK_PRIVATE int usage(const struct args *a);
ZK_PRIVATE int bad_number(const char *s);

/* session */
ZK_PRIVATE const char *event_name(enum zk_event_type type);
ZK_PRIVATE enum zk_state state(void);
ZK_PRIVATE bool alive(void);
ZK_PRIVATE bool up(void);
ZK_PRIVATE void catch_interrupts(void);
ZK_PRIVATE bool turn(int fd, int64_t ms);
ZK_PRIVATE int open_session(const char *host);
ZK_PRIVATE void close_session(void);
ZK_PRIVATE void hang_up(void);
ZK_PRIVATE int connected(void);
ZK_PRIVATE int call(struct zk_op op);
ZK_PRIVATE const char *path_error(const char *p);
ZK_PRIVATE int check_path(const char *p);
ZK_PRIVATE int run(struct zk_op op);
ZK_PRIVATE void on_event(void *user, const struct zk_event *e);
ZK_PRIVATE struct zk_op watching(const struct args *a, struct zk_op op);

/* words */
ZK_PRIVATE char **split(char *line, int *n);
ZK_PRIVATE int parse_options(struct args *a);
ZK_PRIVATE int old_spelling(struct args *a);
ZK_PRIVATE const char *perms_text(int p);
ZK_PRIVATE void acl_entry(char *entry);
ZK_PRIVATE void acl_parse(char *list);

/* subtree */
ZK_PRIVATE int by_name(const void *a, const void *b);
ZK_PRIVATE void submit(struct zk_op op, zk_result_fn done, void *user);
ZK_PRIVATE int flow(const char *what, int window, bool (*next)(void));
ZK_PRIVATE const char *tree_path(uint32_t i);
ZK_PRIVATE int walk(const char *root, uint32_t must);
ZK_PRIVATE int list_tree(const char *root, bool watch);
ZK_PRIVATE int set_acl_tree(struct args *a);

/* commands */
ZK_PRIVATE const char *command_name(size_t i);
ZK_PRIVATE void usage_list(FILE *to);
ZK_PRIVATE int execute(char **words, int n);
ZK_PRIVATE void run_words(char **words, int n);
ZK_PRIVATE void run_line(const char *line);

ZK_PRIVATE void terminal(void); /* lines from a terminal */
ZK_PRIVATE void on_frame(void *user, bool sent, const uint8_t *bytes, size_t n); /* for explain */
ZK_PRIVATE int shell_main(int argc, char **argv);

/* What the table of commands calls, each in the file that its subject names. */
ZK_PRIVATE int do_add_auth(struct args *a);
ZK_PRIVATE int do_add_watch(struct args *a);
ZK_PRIVATE int do_config(struct args *a);
ZK_PRIVATE int do_create(struct args *a);
ZK_PRIVATE int do_del_quota(struct args *a);
ZK_PRIVATE int do_delete(struct args *a);
ZK_PRIVATE int do_delete_all(struct args *a);
ZK_PRIVATE int do_explain(struct args *a);
ZK_PRIVATE int do_export(struct args *a);
ZK_PRIVATE int do_get(struct args *a);
ZK_PRIVATE int do_get_acl(struct args *a);
ZK_PRIVATE int do_get_all_children_number(struct args *a);
ZK_PRIVATE int do_get_ephemerals(struct args *a);
ZK_PRIVATE int do_import(struct args *a);
ZK_PRIVATE int do_list_quota(struct args *a);
ZK_PRIVATE int do_ls(struct args *a);
ZK_PRIVATE int do_reconfig(struct args *a);
ZK_PRIVATE int do_remove_watches(struct args *a);
ZK_PRIVATE int do_set(struct args *a);
ZK_PRIVATE int do_set_acl(struct args *a);
ZK_PRIVATE int do_set_quota(struct args *a);
ZK_PRIVATE int do_stat(struct args *a);
ZK_PRIVATE int do_sync(struct args *a);
ZK_PRIVATE int do_tree(struct args *a);
ZK_PRIVATE int do_watch(struct args *a);
ZK_PRIVATE int do_whoami(struct args *a);

#endif

/* ==== shell/text.c ==== */

/*
 * shell/text: texts that grow, numbers, UTF-8, base64, and JSON as it goes out.
 */

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

/* ==== shell/json.c ==== */

/*
 * shell/json: JSON as it comes in: one value in one line, read strictly. Strings are decoded where
 * they stand, for that never makes them longer. The first thing that is wrong ends the reading:
 * everything after it reads as nothing.
 */

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

/* ==== shell/output.c ==== */

/*
 * shell/output: what the user sees. Each fact is said twice, as text and as JSON; the mode that is
 * off swallows it. Errors have the words of stock (KeeperException, CliWrapperException).
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void out_bytes(FILE *to, const char *s, size_t n) {
    struct text t = {0};
    if (sh.json) return;
    if (to == stderr) fflush(stdout);
    put_utf8(&t, s, n);
    if (t.n) fwrite(t.s, 1, t.n, to);
    free(t.s);
}

void out(FILE *to, const char *s) { out_bytes(to, s, strlen(s)); }

void js_put(const char *brackets) { add(sh.doc, sh.json ? brackets : ""); }

/* A value as it stands in JSON, "[" and "{" too; key NULL: an element of an array. */
void js(const char *key, const char *value) {
    if (!sh.json) return;
    char last = sh.doc->n ? sh.doc->s[sh.doc->n - 1] : '{';
    if (last != '{' && last != '[') add(sh.doc, ",");
    if (key) put_json(sh.doc, key, strlen(key)), add(sh.doc, ":");
    add(sh.doc, value);
}

void js_text(const char *key, const char *s) {
    js(key, "");
    if (sh.json) put_json(sh.doc, s, strlen(s));
}

void js_print(struct text *t) {
    if (sh.json) fwrite(t->s, 1, t->n, stdout), putchar('\n');
    fflush(stdout);
    t->n = 0;
}

/* Ends the document of a command. Warnings that come between two are in the next one. */
void js_end(void) {
    if (sh.warnings.n) js("warnings", fmt("[%s]", sh.warnings.s));
    sh.warnings.n = 0;
    js_put("}");
    js_print(&sh.document);
}

void say(FILE *to, const char *key, const char *before, const char *value) {
    js_text(key, value);
    out(to, fmt("%s%s\n", before, value));
}

/* Something beside the result. */
void warn(FILE *to, const char *text) {
    struct text *doc = sh.doc;
    sh.doc = &sh.warnings;
    js_text(NULL, text);
    sh.doc = doc;
    out(to, text);
}

void js_error(int error, const char *text) {
    js("error", fmt("{\"code\":%d", error));
    js_text("name", zk_error_name(error));
    js_text("message", text);
    js_put("}");
}

/* The one way in which a command goes wrong; its exit code. */
int fail(int error, const char *text) {
    js_error(error, text);
    out(stderr, fmt("%s\n", text));
    return 1;
}

/* The same where stock says it on stdout and ends with 0: only JSON tells it from a success. */
int fail_softly(int error, const char *text) {
    js_error(error, text);
    out(stdout, fmt("%s\n", text));
    return 0;
}

int refuse(const char *text) { return fail(ZK_BAD_ARGUMENTS, text); }

/* stock: KeeperException.Code, CliWrapperException */
static const struct error_row {
    int code;
    const char *text, *line; /* line: what stands in front of the path */
} errors[] = {
    {ZK_SYSTEM_ERROR, "SystemError", NULL}, {ZK_CONNECTION_LOSS, "ConnectionLoss", NULL},
    {ZK_RUNTIME_INCONSISTENCY, "RuntimeInconsistency", NULL}, {ZK_API_ERROR, "APIError", NULL},
    {ZK_DATA_INCONSISTENCY, "DataInconsistency", NULL}, {ZK_UNIMPLEMENTED, "Unimplemented", NULL},
    {ZK_MARSHALLING_ERROR, "MarshallingError", NULL},
    {ZK_OPERATION_TIMEOUT, "OperationTimeout", NULL},
    {ZK_BAD_ARGUMENTS, "BadArguments", "Arguments are not valid : "},
    {ZK_NEW_CONFIG_NO_QUORUM, "NewConfigNoQuorum",
     "No quorum of new config is connected and up-to-date with the leader of last commmitted config"
     " - try invoking reconfiguration after new servers are connected and synced"},
    {ZK_RECONFIG_IN_PROGRESS, "ReconfigInProgress",
     "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)"},
    {ZK_NO_NODE, "NoNode", "Node does not exist: "},
    {ZK_NO_AUTH, "NoAuth", "Insufficient permission : "},
    {ZK_BAD_VERSION, "BadVersion", "version No is not valid : "},
    {ZK_NO_CHILDREN_FOR_EPHEMERALS, "NoChildrenForEphemerals", "Ephemerals cannot have children: "},
    {ZK_NODE_EXISTS, "NodeExists", "Node already exists: "},
    {ZK_NOT_EMPTY, "Directory not empty", "Node not empty: "},
    {ZK_SESSION_EXPIRED, "Session expired", NULL}, {ZK_CLOSING, "Session expired", NULL},
    {ZK_INVALID_ACL, "InvalidACL", "Acl is not valid : "}, {ZK_AUTH_FAILED, "AuthFailed", NULL},
    {ZK_SESSION_MOVED, "Session moved", NULL}, {ZK_NO_WATCHER, "No such watcher", NULL},
    {ZK_NOT_READ_ONLY, "Not a read-only call", "Not a read-only call: "},
    {ZK_EPHEMERAL_ON_LOCAL_SESSION, "Ephemeral node on local session", NULL},
    {ZK_RECONFIG_DISABLED, "Reconfig is disabled", NULL},
    {ZK_SESSION_CLOSED_REQUIRE_SASL_AUTH, "Session closed because client failed to authenticate",
     NULL},
    {ZK_QUOTA_EXCEEDED, "Quota has exceeded", "Quota has exceeded : "},
    {ZK_THROTTLED_OP, "Op throttled due to high load", NULL},
};

static const struct error_row *error_row(int error) {
    static const struct error_row other = {0, NULL, NULL};
    for (size_t i = 0; i < COUNT(errors); i++)
        if (errors[i].code == error) return &errors[i];
    return &other;
}

const char *keeper_text(int error, const char *path) {
    const char *text = error_row(error)->text;
    if (error <= ZK_OUT_OF_MEMORY) return zk_strerror(error);
    return fmt("KeeperErrorCode = %s%s%s%s", text ? text : "Unknown error ",
               text ? "" : zk_error_name(error), path && *path ? " for " : "", path ? path : "");
}

int fail_zk(int error, const char *path) {
    const char *line = error_row(error)->line;
    if (!line) return fail(error, keeper_text(error, path));
    bool whole = error == ZK_NEW_CONFIG_NO_QUORUM || error == ZK_RECONFIG_IN_PROGRESS;
    return fail(error, fmt("%s%s", line, whole ? "" : path ? path : "null"));
}

int usage(const struct args *a) {
    return refuse(fmt("%s %s", a->command->name, a->command->usage));
}

int bad_number(const char *s) {
    return refuse(fmt("java.lang.NumberFormatException: For input string: \"%s\"", s));
}

/* stock: Date.toString */
const char *date(int64_t ms) {
    char when[64] = "?";
    time_t seconds = (time_t)(ms / 1000);
    struct tm *tm = localtime(&seconds);
    if (tm) (void)strftime(when, sizeof when, "%a %b %d %H:%M:%S %Z %Y", tm);
    return fmt("%s", when);
}

void say_stat(const struct zk_stat *s) {
    const struct {
        const char *name;
        char form; /* x: hexadecimal, t: time, d: decimal */
        int64_t v;
    } rows[] = {{"cZxid", 'x', s->czxid}, {"ctime", 't', s->ctime}, {"mZxid", 'x', s->mzxid},
                {"mtime", 't', s->mtime}, {"pZxid", 'x', s->pzxid}, {"cversion", 'd', s->cversion},
                {"dataVersion", 'd', s->version}, {"aclVersion", 'd', s->aversion},
                {"ephemeralOwner", 'x', s->ephemeral_owner}, {"dataLength", 'd', s->data_length},
                {"numChildren", 'd', s->num_children}};
    js("stat", "{");
    for (size_t i = 0; i < COUNT(rows); i++) {
        char form = rows[i].form;
        const char *hex = fmt("0x%" PRIx64, rows[i].v), *decimal = fmt("%" PRId64, rows[i].v);
        js(rows[i].name, form == 'x' ? fmt("\"%s\"", hex) : decimal);
        out(stdout, fmt("%s = %s\n", rows[i].name,
                        form == 'x' ? hex : form == 't' ? date(rows[i].v) : decimal));
    }
    js_put("}");
}

void say_list(const char *key, const char *const *names, int n) {
    js(key, "["), out(stdout, "[");
    for (int i = 0; i < n; i++) {
        js_text(NULL, names[i]);
        out(stdout, fmt("%s%s", i ? ", " : "", names[i]));
    }
    js_put("]"), out(stdout, "]\n");
}

/* stock: ByteBufUtil.prettyHexDump */
static void put_hexdump(struct text *t, const unsigned char *p, size_t n) {
    static const char edge[] = "+-------------------------------------------------+";
    if (!n) return;
    add(t, fmt("%9s%s\n%9s|  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n", "", edge, ""));
    add(t, fmt("+--------%s----------------+\n", edge));
    for (size_t row = 0, i; row < n; row += 16) {
        add(t, fmt("|%08zx|", row));
        for (i = row; i < row + 16; i++) add(t, i < n ? fmt(" %02x", (unsigned)p[i]) : "   ");
        add(t, " |");
        for (i = row; i < row + 16; i++)
            add(t, fmt("%c", i >= n ? ' ' : p[i] < 0x20 || p[i] >= 0x7f ? '.' : p[i]));
        add(t, "|\n");
    }
    add(t, fmt("+--------%s----------------+", edge));
}

/* form: 'b' base64, 'x' hexdump, 't' text. In JSON it is text where it can be, else base64. */
void say_data(char form, const void *data, int len) {
    struct text t = {0};
    size_t n = (size_t)(len < 0 ? 4 : len);
    if (len < 0) data = "null";
    put_utf8(&t, data, n);
    if (sh.json) form = form == 'b' || !is_utf8(data, n) ? 'b' : 't';
    if (form != 't') t.n = 0;
    if (form == 'x') put_hexdump(&t, data, n);
    if (form == 'b') put_base64(&t, data, n);
    js(form == 'b' && len >= 0 ? "data_base64" : "data", len < 0 ? "null" : "");
    if (sh.json && len >= 0) put_json(sh.doc, t.s, t.n);
    add(&t, "\n");
    out_bytes(stdout, t.s, t.n);
    free(t.s);
}

void say_number(FILE *to, const char *key, const char *before, int64_t n) {
    js(key, fmt("%" PRId64, n));
    out(to, fmt("%s%" PRId64 "\n", before, n));
}

/* The object stays open, for the permissions. */
void js_identity(const struct zk_acl *who) {
    js(NULL, "{");
    js_text("scheme", who->scheme);
    js_text("id", who->id);
}

/* ==== shell/words.c ==== */

/*
 * shell/words: lines into words, words into options and arguments (stock: commons-cli), ACLs.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Cuts a line into words, in place. Quotes count where a word begins; those without end do not. */
char **split(char *line, int *n) {
    char **words = grow(NULL, sizeof *words * (strlen(line) / 2 + 2));
    *n = 0;
    for (char *p = line, *end; *p;) {
        bool quote = *p == '"' || *p == '\'';
        end = quote ? strchr(p + 1, *p) : p + strcspn(p, " \t\n\v\f\r");
        if (end && end != p) {
            words[(*n)++] = p + quote;
            p = end + (*end != '\0');
            *end = '\0';
        } else {
            p++;
        }
    }
    return words;
}

/* An option of the list by its name, or NULL. */
static const char *option_find(const char *list, const char *name, size_t n) {
    for (const char *p = list; *p; p += strcspn(p, " "), p += *p == ' ')
        if (n && strcspn(p, ": ") == n && strncmp(p, name, n) == 0) return p;
    return NULL;
}

static bool option_valued(const char *option) { return option[strcspn(option, ": ")] == ':'; }
static int option_fail(const char *what) { return refuse(fmt("org.apache.commons.cli.%s", what)); }

/* The option found for a word. What can be wrong is said in the words of commons-cli. */
static int option_take(struct args *a, const char *option, const char *word, const char **open) {
    if (!option)
        return option_fail(fmt("UnrecognizedOptionException: Unrecognized option: %s", word));
    if (*open)
        return option_fail(fmt("MissingArgumentException: Missing argument for option: %.*s",
                               (int)strcspn(*open, ": "), *open));
    for (const char *p = a->command->options; a->command->group && *p; p++)
        if (isalpha((unsigned char)*p) && a->value[(int)*p] && *p != *option)
            return option_fail(fmt("AlreadySelectedException: The option '%c' was specified but an"
                                   " option from this group has already been selected: '%c'",
                                   *option, *p));
    if (!a->value[(int)*option]) a->value[(int)*option] = "";
    *open = option_valued(option) ? option : NULL;
    return 0;
}

/* The first value holds. */
static void option_value(struct args *a, const char **open, const char *value) {
    if (!*a->value[(int)**open]) a->value[(int)**open] = value;
    *open = NULL;
}

/* stock: DefaultParser. A word with options: -s, -sw, -v3, -v=3, -file. */
static int option_parse(struct args *a, const char *word, const char **open) {
    const char *list = a->command->options, *t = word + 1;
    size_t n = strcspn(t, "="), whole = *t == '-' || t[n] || option_find(list, t, n) ? n : 1;
    for (int err; *t; t += whole) {
        const char *o = *t == '-' ? NULL : option_find(list, t, whole);
        if (o && t[whole] == '=' && (whole > 1 || !option_valued(o))) o = NULL;
        if ((err = option_take(a, o, word, open))) return err;
        if (!*open || !t[whole]) continue;
        option_value(a, open, t + whole + (t[whole] == '='));
        break;
    }
    return 0;
}

/* After an option that takes a value: all but another option, and negative numbers. */
static bool option_is_value(const char *list, const char *word) {
    char *end;
    bool other = word[0] == '-' && (option_find(list, word + 1, strcspn(word + 1, "=")) ||
                                    option_find(list, word + 1, 1));
    if (other) (void)strtod(word, &end);
    return !other || !*end;
}

int parse_options(struct args *a) {
    const char *open = NULL, *list = a->command->options, *p = list;
    bool plain = !list;
    memset(a->value, 0, sizeof a->value);
    a->n = 0;
    for (int i = 0, err = 0; i < a->raw_n; i++) {
        char *w = a->raw[i];
        if (!plain && strcmp(w, "--") == 0) plain = true;
        else if (!plain && open && option_is_value(list, w)) option_value(a, &open, w);
        else if (!plain && w[0] == '-' && w[1]) err = option_parse(a, w, &open);
        else a->word[a->n++] = w;
        if (err) return err;
    }
    if (open) return option_take(a, open, "", &open);
    if (a->command->group != '!') return 0;
    while (*p && !a->value[(int)*p]) p++;
    return *p ? 0 : option_fail("MissingOptionException: Missing required option: [-n num soft"
                                " quota, -b bytes soft quota, -N num hard quota,"
                                " -B bytes hard quota]");
}

/* A word too many: it stands for -w (of delete: it is ignored), and the options are read again. */
int old_spelling(struct args *a) {
    static char watch[] = "-w";
    const char *name = a->command->name, *word = *name == 'd' ? "version" : "watch";
    if (*word == 'w') a->raw[2] = watch;
    warn(stderr, fmt("'%s path [%s]' has been deprecated. Please use '%s %s path' instead.\n", name,
                     word, name, a->command->old));
    return parse_options(a);
}

const char *perms_text(int p) {
    return fmt("%s%s%s%s%s", p & ZK_PERM_CREATE ? "c" : "", p & ZK_PERM_DELETE ? "d" : "",
               p & ZK_PERM_READ ? "r" : "", p & ZK_PERM_WRITE ? "w" : "",
               p & ZK_PERM_ADMIN ? "a" : "");
}

/* One "scheme:id:perms", which it cuts, onto sh.acl. stock: AclParser */
void acl_entry(char *entry) {
    static const char letters[] = "rwcda";
    char *first = strchr(entry, ':'), *last = strrchr(entry, ':');
    uint32_t c;
    if (!first || first == last) {
        warn(stderr, fmt("%s does not have the form scheme:id:perm\n", entry));
        return;
    }
    *first = *last = '\0';
    sh.acl = grow(sh.acl, sizeof *sh.acl * (size_t)(sh.acl_n + 1));
    struct zk_acl *acl = &sh.acl[sh.acl_n++];
    *acl = (struct zk_acl){.scheme = entry, .id = first + 1};
    for (size_t i = 1, len; last[i]; i += len) {
        const char *known = strchr(letters, last[i]);
        len = utf8_next(last + i, strlen(last + i), &c);
        if (known) acl->perms |= 1 << (known - letters);
        else warn(stderr, fmt("Unknown perm type: %.*s\n", (int)len, last + i));
    }
}

void acl_parse(char *list) {
    size_t n = strlen(list);
    sh.acl_n = 0;
    while (n > 1 && list[n - 1] == ',') list[--n] = '\0';
    while (list && strcmp(list, ",") != 0) acl_entry(cut(&list, ','));
}

/* ==== shell/session.c ==== */

/*
 * shell/session: the one session, run by the shell's only thread in turn().
 */

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

volatile sig_atomic_t interrupted;

/* In JSON those of watches only, as a document of their own. */
static void say_event(const char *state, const char *type, const char *path, int64_t zxid) {
    struct text alone = {0}, *doc = sh.doc;
    if (sh.quiet) return;
    if (sh.editing) out(stdout, "\r\033[K");
    out(stdout, fmt("\nWATCHER::\n\nWatchedEvent state:%s type:%s path:%s zxid: %" PRId64 "\n",
                    state, type, path, zxid));
    sh.doc = &alone;
    js_text("event", type);
    js_text("path", path);
    js("zxid", zxid < 0 ? "null" : fmt("\"0x%" PRIx64 "\"", zxid));
    if (sh.json && strcmp(type, "None") != 0) printf("{%s}\n", alone.s);
    fflush(stdout);
    sh.doc = doc;
    free(alone.s);
}

const char *event_name(enum zk_event_type type) {
    static const char *const names[] = {
        "None", "NodeCreated", "NodeDeleted", "NodeDataChanged", "NodeChildrenChanged",
        "DataWatchRemoved", "ChildWatchRemoved", "PersistentWatchRemoved"};
    return (size_t)type < COUNT(names) ? names[type] : "Unknown";
}

enum zk_state state(void) { return sh.zk ? zk_state(sh.zk) : ZK_STATE_CLOSED; }
bool alive(void) { return state() < ZK_STATE_EXPIRED; }
bool up(void) { return state() == ZK_STATE_CONNECTED || state() == ZK_STATE_READ_ONLY; }

/* One event that meets watches of several paths is said once. */
void on_event(void *user, const struct zk_event *e) {
    static struct zk_event last;
    static struct text path;
    (void)user;
    bool again = e->zxid >= 0 && e->zxid == last.zxid && e->type == last.type && path.n &&
                 strcmp(e->path, path.s) == 0;
    last = *e;
    path.n = 0;
    add(&path, e->path);
    const char *session = state() == ZK_STATE_READ_ONLY ? "ConnectedReadOnly" : "SyncConnected";
    if (!again) say_event(session, event_name(e->type), e->path, e->zxid);
}

static void on_state(void *user, enum zk_state now, int64_t session_id) {
    static const char *const names[] = {NULL, NULL, "SyncConnected", "ConnectedReadOnly",
                                        "Disconnected", NULL, "Expired", "AuthFailed", NULL};
    (void)user, (void)session_id;
    if (names[now]) say_event(names[now], "None", "null", -1);
}

static void on_log(void *user, int level, const char *text) {
    (void)user;
    if (level <= ZK_LOG_WARN) warn(stderr, fmt("zkcli: %s\n", text));
}

static void on_interrupt(int signal_number) { interrupted = signal_number; }

/* The next interrupt ends what is being done, a second one the shell; SIGTERM both. */
void catch_interrupts(void) {
    struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    if (interrupted == SIGINT) interrupted = 0;
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
}

/* One turn of the loop: waits for the session or for input on fd (-1: none), at most ms (-1: a
 * second, for a signal may have come just before). True when there is input. */
bool turn(int fd, int64_t ms) {
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = -1}};
    if (alive()) {
        int wants = zk_wants(sh.zk), wait = zk_wait_ms(sh.zk);
        p[1].fd = zk_fd(sh.zk);
        if (wants & ZK_READABLE) p[1].events |= POLLIN;
        if (wants & ZK_WRITABLE) p[1].events |= POLLOUT;
        if (wait >= 0 && (ms < 0 || wait < ms)) ms = wait;
    }
    if (poll(p, 2, ms < 0 || ms > 1000 ? 1000 : (int)ms) < 0) p[0].revents = 0;
    sh.inside = true;
    if (sh.zk) (void)zk_step(sh.zk);
    sh.inside = false;
    return p[0].revents != 0;
}

void close_session(void) {
    bool told = alive();
    if (sh.zk) (void)(up() ? zk_close(sh.zk, 2000) : zk_abandon(sh.zk));
    zk_free(sh.zk);
    sh.zk = NULL;
    if (told) say_event("Closed", "None", "null", -1);
}

static uint64_t failures(void) {
    struct zk_counters counters = {0};
    zk_get_counters(sh.zk, &counters);
    return counters.failures;
}

/* Waits for a connection, until every server has been tried in vain. */
int connected(void) {
    int64_t end = now_ms() + sh.timeout_ms;
    uint64_t hosts = 1, before = failures();
    for (const char *p = sh.host; *p && *p != '/'; p++) hosts += *p == ',';
    for (; !up(); (void)turn(-1, end - now_ms())) {
        if (!alive()) return state() == ZK_STATE_AUTH_FAILED ? ZK_AUTH_FAILED : ZK_SESSION_EXPIRED;
        if (failures() - before >= hosts || now_ms() >= end || interrupted)
            return ZK_CONNECTION_LOSS;
    }
    return ZK_OK;
}

/* Closes on behalf of the user, who is told of the first connection before it goes.
 * stock: ClientCnxn.close, whose request stands behind a handshake that is under way */
void hang_up(void) {
    if (state() == ZK_STATE_CONNECTING && !failures()) (void)connected();
    close_session();
}

int open_session(const char *host) {
    struct zk_options o = {.hosts = host, .session_timeout_ms = sh.timeout_ms,
                           .op_timeout_ms = sh.op_timeout_ms, .max_packet = sh.max_packet,
                           .flags = sh.flags | ZK_OWN_LOOP | ZK_FAIL_FAST, .on_state = on_state,
                           .log = on_log, .on_frame = on_frame};
    hang_up();
    sh.host = copy(host);
    int err = zk_open(&sh.zk, &o);
    return err ? fail(err, fmt("Cannot use the connect string \"%s\"", host)) : 0;
}

static struct { /* what came of the latest call() */
    struct zk_result result;
    struct text bytes; /* that the result points to */
    const char **names;
    struct zk_acl *acl;
} kept;

/* A result is valid during its callback only. All strings of it, one behind the other. */
static void on_called(void *user, const struct zk_result *r) {
    size_t n = (size_t)r->count;
    (void)user;
    kept.bytes.n = 0;
    if (r->path) put(&kept.bytes, r->path, strlen(r->path) + 1);
    if (r->data) put(&kept.bytes, r->data, (size_t)r->data_len + 1);
    for (size_t i = 0; r->names && i < n; i++)
        put(&kept.bytes, r->names[i], strlen(r->names[i]) + 1);
    for (size_t i = 0; r->acl && i < n; i++) {
        put(&kept.bytes, r->acl[i].scheme, strlen(r->acl[i].scheme) + 1);
        put(&kept.bytes, r->acl[i].id, strlen(r->acl[i].id) + 1);
    }
    char *p = kept.bytes.s;
    kept.result = *r;
    if (r->path) kept.result.path = p, p += strlen(p) + 1;
    if (r->data) kept.result.data = p, p += r->data_len + 1;
    if (r->names) kept.result.names = kept.names = grow(kept.names, sizeof *kept.names * n);
    for (size_t i = 0; r->names && i < n; i++, p += strlen(p) + 1) kept.names[i] = p;
    if (r->acl) kept.result.acl = kept.acl = grow(kept.acl, sizeof *kept.acl * n);
    for (size_t i = 0; r->acl && i < n; i++, p += strlen(p) + 1) {
        kept.acl[i] = (struct zk_acl){.perms = r->acl[i].perms, .scheme = p};
        kept.acl[i].id = p += strlen(p) + 1;
    }
    sh.result = &kept.result;
}

/* Does an operation; what came of it is in sh.result until the next one. */
int call(struct zk_op op) {
    int err = connected();
    sh.result = NULL;
    if (err) return err;
    int64_t id = zk_submit(sh.zk, op, on_called, NULL);
    if (id < 0) return (int)id;
    while (!sh.result) {
        if (interrupted) (void)zk_cancel(sh.zk, id);
        (void)turn(-1, -1);
    }
    return sh.result->error;
}

/* What is wrong with a path, or NULL. stock: PathUtils.validatePath */
const char *path_error(const char *p) {
    const char *why = NULL;
    size_t n = strlen(p), len;
    uint32_t c;
    int i = 0;
    if (n == 0) return "Path length must be > 0";
    if (*p != '/') return "Path must start with / character";
    if (n > 1 && p[n - 1] == '/') return "Path must not end with / character";
    for (const char *s = p + 1; *s && !why; s += len, i++) {
        bool ends = !s[1] || s[1] == '/';
        len = utf8_next(s, n - (size_t)(s - p), &c);
        if (c == '/' && s[-1] == '/') why = "empty node name specified";
        if (c == '.' && ends && (s[-1] == '/' || (s[-1] == '.' && s[-2] == '/')))
            why = "relative paths not allowed";
        if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xd800 && c < 0xf900) || c >= 0xfff0)
            why = "invalid character";
    }
    return why ? fmt("Invalid path string \"%s\" caused by %s @%d", p, why, i) : NULL;
}

int check_path(const char *p) {
    const char *why = path_error(p);
    return why ? refuse(why) : 0;
}

/* Does an operation on a path and says what goes wrong: an exit code. */
int run(struct zk_op op) {
    int err = check_path(op.path);
    if (err || !(err = call(op))) return err;
    return fail_zk(err, op.path);
}

struct zk_op watching(const struct args *a, struct zk_op op) {
    return a->value['w'] ? zk_watching(op, on_event, NULL) : op;
}

/* ==== shell/subtree.c ==== */

/*
 * shell/subtree: commands on whole subtrees, with many requests in flight, whose replies come in
 * order.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tree tree;

int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static struct { /* the latest requests */
    int64_t id[2 * WINDOW];
    size_t n;
} latest;

void submit(struct zk_op op, zk_result_fn done, void *user) {
    int64_t id = zk_submit(sh.zk, op, done, user);
    if (id < 0) sh.error = (int)id;
    else sh.pending++, latest.id[latest.n++ % COUNT(latest.id)] = id;
}

/* Their replies are not waited for. */
static void cancel_all(void) {
    sh.error = ZK_CANCELED;
    size_t n = latest.n < COUNT(latest.id) ? latest.n : COUNT(latest.id);
    for (size_t i = 0; i < n; i++) (void)zk_cancel(sh.zk, latest.id[i]);
}

/* Keeps so many requests in flight until next() has no more to submit; the first error ends it.
 * When that takes longer than a second it says on a terminal how far it has come. */
int flow(const char *what, int window, bool (*next)(void)) {
    int64_t said = now_ms() + 800;
    bool told = false;
    tree.asked = tree.done = 0;
    for (sh.error = connected();;) {
        while (!sh.error && sh.pending < window && next()) {}
        if (!sh.pending) break;
        (void)turn(-1, -1);
        if (interrupted && !sh.error) cancel_all();
        if (now_ms() - said < 200 || !isatty(2)) continue;
        told = fprintf(stderr, "\r%s %u nodes", what, tree.done) > 0;
        said = now_ms();
    }
    if (told) fputs("\r\033[K", stderr);
    return sh.error;
}

/* Good until the next. */
const char *tree_path(uint32_t i) {
    static struct text t;
    size_t n = !i || tree.root[1] ? strlen(tree.root) : 0, end = n;
    for (uint32_t j = i; j; j = tree.node[j].parent) end += strlen(tree.node[j].name) + 1;
    if (end >= t.cap) t.s = grow(t.s, t.cap = end * 2 + 1);
    memcpy(t.s, tree.root, n);
    t.s[end] = '\0';
    for (uint32_t j = i; j; j = tree.node[j].parent) {
        n = strlen(tree.node[j].name);
        memcpy(t.s + (end -= n), tree.node[j].name, n);
        t.s[--end] = '/';
    }
    return t.s;
}

static void on_children(void *user, const struct zk_result *r) {
    uint32_t i = tree.done++, first = tree.n;
    (void)user, sh.pending--;
    for (int k = 0; k < r->count; k++) {
        if (tree.n == tree.cap) tree.node = grow(tree.node, sizeof *tree.node * (tree.cap *= 2));
        tree.node[tree.n++] = (struct node){.name = copy(r->names[k]), .parent = i};
    }
    tree.node[i].error = r->error;
    tree.node[i].first = first;
    tree.node[i].n = tree.n - first;
    qsort(tree.node + first, tree.n - first, sizeof *tree.node, by_name);
}

static bool next_children(void) {
    if (tree.asked == tree.n) return false;
    struct zk_op op = zk_get_children(tree_path(tree.asked++));
    submit(tree.watch ? zk_watching(op, on_event, NULL) : op, on_children, NULL);
    return true;
}

/* Reads the names of a subtree. An exit code: 1 if the first so many nodes cannot all be read. */
int walk(const char *root, uint32_t must) {
    int err = check_path(root);
    if (err) return err;
    while (tree.n > 1) free(tree.node[--tree.n].name);
    if (!tree.cap) tree.node = grow(NULL, sizeof *tree.node * (tree.cap = 64));
    memset(tree.node, 0, sizeof *tree.node);
    tree.n = 1;
    free(tree.root);
    tree.root = copy(root);
    if ((err = flow("read", WINDOW, next_children))) return fail_zk(err, root);
    for (uint32_t i = 0; i < must && i < tree.n; i++)
        if (tree.node[i].error) return fail_zk(tree.node[i].error, tree_path(i));
    return 0;
}

static void say_path(uint32_t i) {
    js_text(NULL, tree_path(i));
    out(stdout, fmt("%s\n", tree_path(i)));
}

/* The paths of a node's children, then what is below each of them. */
int list_tree(const char *root, bool watch) {
    int err = watch ? run(zk_watching(zk_get(root), on_event, NULL)) : 0;
    tree.watch = watch;
    if (!err) err = walk(root, 1);
    tree.watch = false;
    if (err) return err;
    uint32_t *stack = grow(NULL, sizeof *stack * tree.n), n = 1, at = 0;
    js("paths", "[");
    say_path(stack[0] = 0);
    while (n && !err && !interrupted) {
        const struct node *node = &tree.node[at = stack[--n]];
        if (node->error != ZK_NO_NODE) err = node->error;
        for (uint32_t k = 0; k < node->n; k++) {
            say_path(node->first + k);
            stack[n++] = node->first + node->n - 1 - k;
        }
    }
    js_put("]");
    free(stack);
    return err ? fail_zk(err, tree_path(at)) : 0;
}

static void on_deleted(void *user, const struct zk_result *r) {
    (void)user, sh.pending--;
    if (r->error) sh.error = r->error;
}

/* From the end: children stand behind their parents. */
static bool next_batch(void) {
    size_t bytes = 0;
    int n = 0;
    if (tree.done == tree.n) return false;
    struct zk_op *ops = grow(NULL, sizeof *ops * (size_t)tree.batch);
    for (; tree.done < tree.n && n < tree.batch && bytes < 500000; n++) {
        ops[n] = zk_delete(copy(tree_path(tree.n - ++tree.done)), -1);
        bytes += strlen(ops[n].path) + 32;
    }
    submit(zk_multi(ops, n), on_deleted, NULL);
    while (n) free((void *)(uintptr_t)ops[--n].path);
    free(ops);
    return true;
}

int do_delete_all(struct args *a) {
    const char *b = a->value['b'];
    tree.batch = 1000;
    if (b && !number(b, 10, INT32_MIN, INT32_MAX, &tree.batch))
        return refuse("-b argument must be an int value");
    int err = walk(a->word[1], UINT32_MAX);
    for (uint32_t i = tree.n; tree.batch <= 0 && !err && !interrupted && i--;)
        err = run(zk_delete(tree_path(i), -1));
    if (tree.batch > tree.n) tree.batch = tree.n;
    if (!err && tree.batch > 0 && (err = flow("deleted", 10, next_batch)))
        return fail(err, "Failed to delete some node(s) in the subtree!"), err == ZK_CANCELED;
    return err;
}

static void on_acl_set(void *user, const struct zk_result *r) {
    (void)user, sh.pending--;
    if (r->error && !sh.error) warn(stdout, keeper_text(r->error, tree_path(tree.done)));
    tree.done++;
}

static bool next_acl(void) {
    if (tree.asked == tree.n) return false;
    submit(zk_set_acl(tree_path(tree.asked++), sh.acl, sh.acl_n, tree.version), on_acl_set,
           NULL);
    return true;
}

int set_acl_tree(struct args *a) {
    tree.version = a->version;
    int err = walk(a->word[1], 1);
    if (!err && (err = flow("set", WINDOW, next_acl))) err = fail_zk(err, a->word[1]);
    return err;
}

int do_tree(struct args *a) {
    struct {
        uint32_t node;
        size_t indent;
    } *stack, at;
    struct text indent = {0};
    uint32_t n = 1;
    int err = walk(a->n > 1 ? a->word[1] : "/", 1);
    if (err) return err;
    stack = grow(NULL, sizeof *stack * tree.n);
    memset(stack, 0, sizeof *stack);
    js("paths", "[");
    while (n && !interrupted) {
        at = stack[--n];
        const struct node *node = &tree.node[at.node], *parent = &tree.node[node->parent];
        bool last = at.node + 1 == parent->first + parent->n;
        indent.n = at.indent;
        put(&indent, "", 0);
        js_text(NULL, tree_path(at.node));
        out(stdout, fmt("%s%s%s\n", indent.s, !at.node ? "" : last ? "└── " : "├── ",
                        at.node ? node->name : tree.root));
        if (at.node) add(&indent, last ? "    " : "│   ");
        for (uint32_t k = node->n; k--; n++) {
            stack[n].node = node->first + k;
            stack[n].indent = indent.n;
        }
    }
    js_put("]");
    free(indent.s);
    free(stack);
    return 0;
}

/* ==== shell/nodes.c ==== */

/*
 * shell/nodes: commands on one node. The stat that -s asks for is added by execute().
 */

#include <stdlib.h>
#include <string.h>

int do_ls(struct args *a) {
    if (a->value['R']) return list_tree(a->word[1], a->value['w']);
    int err = run(watching(a, zk_get_children(a->word[1])));
    if (err) return err;
    size_t n = (size_t)sh.result->count;
    const char **names = grow(NULL, sizeof *names * n);
    if (n) memcpy(names, sh.result->names, sizeof *names * n);
    qsort(names, n, sizeof *names, by_name);
    say_list("children", names, (int)n);
    free(names);
    return 0;
}

int do_get(struct args *a) {
    int err = run(watching(a, zk_get(a->word[1])));
    char form = a->value['x'] ? 'x' : a->value['b'] ? 'b' : 't';
    if (!err) say_data(form, sh.result->data, sh.result->data_len);
    return err;
}

int do_stat(struct args *a) {
    a->value['s'] = "";
    return run(watching(a, zk_exists(a->word[1])));
}

int do_set(struct args *a) {
    struct text data = {0};
    const char *bad = a->value['b'] ? read_base64(a->word[2], &data) : NULL;
    if (!a->value['b']) add(&data, a->word[2]);
    int err = bad ? refuse(fmt("java.lang.IllegalArgumentException: %s", bad))
                  : run(zk_set(a->word[1], data.s, (int)data.n, a->version));
    free(data.s);
    return err;
}

int do_create(struct args *a) {
    bool e = a->value['e'], s = a->value['s'], c = a->value['c'];
    const char *t = a->value['t'], *path = a->word[1], *data = a->n > 2 ? a->word[2] : NULL;
    struct zk_op op = zk_create(path, data, data ? (int)strlen(data) : -1, ZK_CONTAINER);
    bool long_ttl = !t || number(t, 10, INT64_MIN, INT64_MAX, &op.ttl_ms);
    const char *bad =
        c && (e || s) ? "-c cannot be combined with -s or -e. Containers cannot be ephemeral or"
                        " sequential."
        : !long_ttl ? "-t argument must be a long value"
        : t && e    ? "TTLs cannot be used with Ephemeral znodes"
        : t && c    ? "TTLs cannot be used with Container znodes"
        : t && (op.ttl_ms <= 0 || op.ttl_ms > 0xffffffffff)
            ? "ttl must be positive and cannot be larger than: 1099511627775" : NULL;
    if (bad) return refuse(bad);
    a->value['s'] = NULL;
    if (t) op.mode = s ? ZK_PERSISTENT_SEQUENTIAL_WITH_TTL : ZK_PERSISTENT_WITH_TTL;
    else if (!c) op.mode = (enum zk_create_mode)(e + 2 * s);
    if (a->n > 3) acl_parse(a->word[3]), op.acl = sh.acl, op.acl_count = sh.acl_n;
    int err = check_path(fmt("%s%s", path, s ? "1" : "")); /* a sequence number will follow */
    if (err) return err;
    if (a->n > 3 && !sh.acl_n) err = ZK_INVALID_ACL, path = NULL;
    else err = call(op);
    if (err == ZK_EPHEMERAL_ON_LOCAL_SESSION)
        warn(stderr, "Unable to create ephemeral node on a local session\n");
    if (err == ZK_INVALID_ACL) warn(stderr, fmt("%s\n", keeper_text(err, path)));
    if (err) return fail_zk(err, path);
    say(stderr, "created", "Created ", sh.result->path);
    return 0;
}

int do_delete(struct args *a) { return run(zk_delete(a->word[1], a->version)); }

int do_get_acl(struct args *a) {
    int err = run(zk_get_acl(a->word[1]));
    if (err) return err;
    js("acl", "[");
    for (int i = 0; i < sh.result->count; i++) {
        const struct zk_acl *acl = &sh.result->acl[i];
        js_identity(acl);
        js_text("perms", perms_text(acl->perms));
        js_put("}");
        out(stdout, fmt("'%s,'%s\n: %s\n", acl->scheme, acl->id, perms_text(acl->perms)));
    }
    js_put("]");
    return 0;
}

int do_set_acl(struct args *a) {
    acl_parse(a->word[2]);
    int err = check_path(a->word[1]);
    if (err) return err;
    if (!sh.acl_n) return fail_zk(ZK_INVALID_ACL, NULL);
    if (a->value['R']) return set_acl_tree(a);
    return run(zk_set_acl(a->word[1], sh.acl, sh.acl_n, a->version));
}

int do_get_ephemerals(struct args *a) {
    int err = run(zk_get_ephemerals(a->n > 1 ? a->word[1] : "/"));
    if (!err) say_list("ephemerals", sh.result->names, sh.result->count);
    return err;
}

int do_get_all_children_number(struct args *a) {
    int err = run(zk_get_all_children_number(a->word[1]));
    if (!err) js("number", fmt("%d", sh.result->number));
    if (!err) out(stdout, fmt("%d\n", sh.result->number));
    return err;
}

int do_sync(struct args *a) {
    struct zk_op op = zk_sync(a->word[1]);
    op.timeout_ms = 30000;
    int err = check_path(op.path);
    if (err) return err;
    err = call(op);
    if (err) return fail_softly(err, fmt("Sync has failed. rc=%d", err));
    say(stdout, "sync", "", "Sync is OK");
    return 0;
}

/* ==== shell/watch.c ==== */

/*
 * shell/watch
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- watch: events with what the node then holds --- */

struct seen {
    enum zk_event_type type;
    int64_t zxid;
    char path[];
};

static void on_seen(void *user, const struct zk_result *r) {
    struct seen *seen = user;
    struct zk_event e = {seen->type, seen->path, seen->zxid};
    js_put("{");
    js_text("event", event_name(e.type));
    js_text("path", e.path);
    js("zxid", e.zxid < 0 ? "null" : fmt("\"0x%" PRIx64 "\"", e.zxid));
    out(stdout, fmt("%s %s zxid: %" PRId64 "\n", event_name(e.type), e.path, e.zxid));
    if (r && !r->error) say_data('t', r->data, r->data_len);
    js_put("}");
    js_print(sh.doc);
    fflush(stdout);
    free(seen);
}

/* Its data is asked for even when there can be none: that keeps the events in order. */
static void on_watch(void *user, const struct zk_event *e) {
    (void)user;
    if (e->type > ZK_NODE_CHILDREN_CHANGED) return; /* that the watch is gone */
    struct seen *seen = grow(NULL, sizeof *seen + strlen(e->path) + 1);
    seen->type = e->type;
    seen->zxid = e->zxid;
    memcpy(seen->path, e->path, strlen(e->path) + 1);
    if (zk_submit(sh.zk, zk_get(seen->path), on_seen, seen) < 0) on_seen(seen, NULL);
}

int do_watch(struct args *a) {
    struct text events = {0};
    enum zk_watch_kind kind = a->value['R'] ? ZK_WATCH_RECURSIVE : ZK_WATCH_PERSISTENT;
    int err = run(zk_add_watch(a->word[1], kind, on_watch, NULL));
    if (err) return err;
    sh.doc = &events;
    while (!interrupted && alive()) (void)turn(-1, -1);
    sig_atomic_t was = interrupted;
    catch_interrupts(); /* the next one */
    if (alive()) (void)call(zk_remove_watches(a->word[1], kind, on_watch, NULL));
    interrupted = was;
    sh.doc = &sh.document;
    free(events.s);
    return alive() ? 0 : fail_zk(ZK_SESSION_EXPIRED, NULL);
}

int do_add_watch(struct args *a) {
    const char *mode = a->value['m'];
    bool stays = mode && strcasecmp(mode, "PERSISTENT") == 0;
    if (a->n != 2 || (mode && !stays && strcasecmp(mode, "PERSISTENT_RECURSIVE"))) return usage(a);
    if (mode) sh.mode = stays ? ZK_WATCH_PERSISTENT : ZK_WATCH_RECURSIVE;
    return run(zk_add_watch(a->word[1], sh.mode, on_event, NULL));
}

int do_remove_watches(struct args *a) {
    const char *const *v = a->value;
    enum zk_watch_kind kind = v['c'] ? ZK_WATCH_CHILDREN : v['d'] ? ZK_WATCH_DATA
                              : v['p'] ? ZK_WATCH_PERSISTENT : v['r'] ? ZK_WATCH_RECURSIVE
                                                                    : ZK_WATCH_ANY;
    struct zk_op op = zk_remove_watches(a->word[1], kind, NULL, NULL);
    op.local = a->value['l'];
    return run(op);
}

/* ==== shell/quota.c ==== */

/*
 * shell/quota: limits and use stand in two nodes below /zookeeper/quota and the path.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define QUOTA "/zookeeper/quota"

struct quota { /* stock: StatsTrack */
    int64_t value[4];
    bool hard[4]; /* a hard limit that is said */
};

static const struct {
    char option;
    const char *name;
} quotas[] = {{'n', "count"}, {'b', "bytes"}, {'N', "countHardLimit"}, {'B', "byteHardLimit"}};

static const char *quota_node(const char *path, const char *leaf) {
    return fmt(QUOTA "%s/zookeeper_%s", path, leaf);
}

/* What the latest reply holds. */
static struct quota quota_read(void) {
    struct quota q = {.value = {-1, -1, -1, -1}};
    for (const char *s = sh.result->data ? sh.result->data : ""; *s; s += strspn(s, ",;")) {
        size_t n = strcspn(s, "=");
        for (int i = 0; i < 4; i++) {
            if (!s[n] || strncmp(s, quotas[i].name, n) || quotas[i].name[n]) continue;
            q.value[i] = strtoll(s + n + 1, NULL, 10);
            q.hard[i] = i > 1;
        }
        s += strcspn(s, ",;");
    }
    return q;
}

static const char *quota_text(const struct quota *q) {
    const char *t = fmt("count=%" PRId64 ",bytes=%" PRId64 "%s", q->value[0], q->value[1],
                        q->hard[2] || q->hard[3] ? "=" : "");
    for (int i = 3; i > 1; i--)
        if (q->hard[i]) t = fmt("%s;%s=%" PRId64, t, quotas[i].name, q->value[i]);
    return t;
}

/* Changes one limit. An error, unsaid. */
static int quota_put(const char *path, struct quota *q, int which, int64_t value, bool fresh) {
    q->value[which] = value;
    q->hard[which] |= which > 1;
    const char *text = quota_text(q), *node = quota_node(path, "limits");
    struct zk_op op = zk_set(node, text, (int)strlen(text), -1);
    return call(fresh ? zk_create(node, text, (int)strlen(text), ZK_PERSISTENT) : op);
}

/* Warns of what is beyond the limits already. */
static int quota_set(const char *path, int which, int64_t value) {
    struct quota limits = {.value = {-1, -1, -1, -1}, .hard = {false, false, true, true}}, now;
    int err = call(zk_get(quota_node(path, "limits")));
    bool fresh = err == ZK_NO_NODE;
    if (!err) limits = quota_read();
    if (!err || fresh) err = quota_put(path, &limits, which, value, fresh);
    if (!err && fresh)
        err = call(zk_create(quota_node(path, "stats"), "count=0,bytes=0", 15, ZK_PERSISTENT));
    if (!err) err = call(zk_get(quota_node(path, "stats")));
    if (err) return fail_zk(err, quota_node(path, "limits"));
    now = quota_read();
    for (int i = 0; i < 2; i++)
        if ((limits.value[i] > -1 && limits.value[i] < now.value[i]) ||
            (limits.value[i + 2] > -1 && limits.value[i + 2] < now.value[i]))
            warn(stdout, fmt("[Warning]: the %s quota you create is less than the existing %s:%"
                             PRId64 "\n", quotas[i].name, quotas[i].name, now.value[i]));
    return 0;
}

/* Is there a quota above the path, or below it? Makes the nodes down to its own. */
static int quota_parents(const char *path) {
    char *full = copy(fmt(QUOTA "%s", path));
    int err = walk(full, 0);
    for (uint32_t i = 1; !err && i < tree.n; i++)
        if (tree.node[i].parent && strcmp(tree.node[i].name, "zookeeper_limits") == 0)
            err = refuse(fmt("%s has a child %s which has a quota", path,
                             tree_path(tree.node[i].parent) + strlen(QUOTA)));
    for (size_t n = 0; !err && full[n];) {
        n += 1 + strcspn(full + n + 1, "/");
        const char *part = fmt("%.*s", (int)n, full), *above = full[n] ? part + strlen(QUOTA) : "";
        if (n > strlen(QUOTA) && *above && !call(zk_exists(quota_node(above, "limits"))))
            err = refuse(fmt("%s has a parent %s which has a quota", path, above));
        else if ((err = call(zk_exists(part))) == ZK_NO_NODE)
            err = run(zk_create(part, NULL, -1, ZK_PERSISTENT));
        else if (err) err = fail_zk(err, part);
    }
    free(full);
    return err;
}

int do_set_quota(struct args *a) {
    const char *path = a->word[1], *v;
    int which = 0, err;
    int64_t value = 0;
    while (!(v = a->value[(int)quotas[which].option])) which++;
    bool count = which % 2 == 0; /* an int; bytes are a long */
    const char *bad =
        strncmp(path, QUOTA, strlen(QUOTA)) == 0 ? "cannot set a quota under the path: " QUOTA
        : !number(v, 10, count ? INT32_MIN : INT64_MIN, count ? INT32_MAX : INT64_MAX, &value)
            ? "NumberFormatException happens when parsing the option value"
        : count && value <= 0 ? "the num quota must be greater than zero"
        : value < 0           ? "the bytes quota must be greater than or equal to zero" : NULL;
    if (bad) return refuse(bad), 0;
    if ((err = check_path(path)) || (err = check_path(fmt(QUOTA "%s", path)))) return err;
    err = call(zk_exists(path));
    if (err == ZK_NO_NODE) return fail(err, fmt("%s does not exist.", path));
    if (err) return fail_zk(err, path);
    if ((err = quota_parents(path))) return err;
    return quota_set(path, which, value);
}

int do_list_quota(struct args *a) {
    static const char *const leaf[] = {"limits", "stats"}, *const what[] = {"quota", "stat"};
    const char *path = a->word[1];
    say(stderr, "node", "absolute path is ", quota_node(path, "limits"));
    for (int i = 0, err; i < 2; i++) {
        if ((err = check_path(quota_node(path, leaf[i])))) return err;
        err = call(zk_get(quota_node(path, leaf[i])));
        if (err == ZK_NO_NODE) return fail(err, fmt("quota for %s does not exist.", path)), 0;
        if (err) return fail_zk(err, quota_node(path, leaf[i]));
        struct quota q = quota_read();
        say(stdout, what[i], fmt("Output %s for %s ", what[i], path), quota_text(&q));
    }
    return 0;
}

int do_del_quota(struct args *a) {
    const char *path = a->word[1];
    char *node = copy(quota_node(path, "limits"));
    int err = check_path(node), which = 0;
    if (err) return err;
    while (which < 4 && !a->value[(int)quotas[which].option]) which++;
    err = call(zk_get(node));
    if (err == ZK_NO_NODE) (void)fail_softly(err, fmt("Quota does not exist for %s", path));
    if (!err && which < 4) {
        struct quota limits = quota_read();
        err = quota_put(path, &limits, which, -1, false);
    } else if (!err) {
        err = call(zk_delete(node, -1));
        if (!err) err = call(zk_delete(quota_node(path, "stats"), -1));
        for (int no = err; !no; no = strlen(node) > strlen(QUOTA) ? call(zk_delete(node, -1)) : 1)
            *strrchr(node, '/') = '\0'; /* parents, as long as they have no other children */
    }
    free(node);
    return err && err != ZK_NO_NODE ? fail_zk(err, quota_node(path, "limits")) : 0;
}

/* ==== shell/ensemble.c ==== */

/*
 * shell/ensemble: identities and the configuration of the ensemble.
 */

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int do_whoami(struct args *a) {
    int err = call(zk_who_am_i());
    (void)a, out(stdout, "Auth scheme: User\n");
    if (err) return js_error(err, keeper_text(err, NULL)), 0; /* stock: not a word of it */
    js("identities", "[");
    for (int i = 0; i < sh.result->count; i++) {
        js_identity(&sh.result->acl[i]);
        js_put("}");
        out(stdout, fmt("%s: %s\n", sh.result->acl[i].scheme, sh.result->acl[i].id));
    }
    js_put("]");
    return 0;
}

int do_add_auth(struct args *a) {
    const char *auth = a->n > 2 ? a->word[2] : NULL;
    struct zk_op op = zk_add_auth(a->word[1], auth, auth ? (int)strlen(auth) : -1);
    int64_t id = zk_submit(sh.zk, op, NULL, NULL);
    return id < 0 ? fail_zk((int)id, NULL) : 0;
}

/* With -c the addresses for clients, which stand behind a semicolon. */
int do_config(struct args *a) {
    int err = call(watching(a, zk_get_config()));
    if (err) return fail_zk(err, "/zookeeper/config");
    char *text = copy(sh.result->data ? sh.result->data : ""), *rest = text, *line, *client;
    const char *clients = "", *version = "";
    if (!a->value['c']) say(stdout, "config", "", text);
    for (const char *comma = ""; a->value['c'] && (line = cut(&rest, '\n'));) {
        client = strchr(line, ';');
        if (strncmp(line, "version=", 8) == 0) version = line + 8;
        if (strncmp(line, "server.", 7) != 0) continue;
        clients = fmt("%s%s%s", clients, comma, client ? client + 1 : "");
        comma = ",";
    }
    if (a->value['c']) say(stdout, "clients", fmt("%s ", version), clients);
    free(text);
    return 0;
}

/* The lines of a dynamic configuration file as a list. NULL: errno says why. */
static const char *read_members(const char *path) {
    FILE *f = fopen(path, "r");
    const char *all = "";
    char line[4096];
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line && *line != '#') all = fmt("%s%s%s", all, *all ? "," : "", line);
    }
    if (f) (void)fclose(f);
    return f ? all : NULL;
}

static const char *lower(const char *s) {
    char *p = s ? copy(s) : NULL;
    for (size_t i = 0; p && p[i]; i++) p[i] = (char)tolower((unsigned char)p[i]);
    return p;
}

int do_reconfig(struct args *a) {
    const char *file = a->value['f'], *v = a->value['v'], *members = lower(a->value['m']);
    const char *join = lower(a->value['a']), *leave = lower(a->value['r']);
    int64_t version = -1;
    if (!file && !members && !join && !leave) return usage(a);
    if (v && !number(v, 16, INT64_MIN, INT64_MAX, &version))
        return refuse("-v must be followed by a long (configuration version)");
    if ((file || members) && (join || leave))
        return refuse("Can't use -file or -members together with -add or -remove (mixing"
                      " incremental and non-incremental modes is not allowed)");
    if (file && members)
        return refuse("Can't use -file and -members together (conflicting non-incremental modes)");
    if (file && !(members = read_members(file)))
        return refuse(fmt("Error processing %s%s (%s)", file, file, strerror(errno)));
    int err = call(zk_reconfig(join, leave, members, version));
    if (err) return fail_zk(err, "");
    say(stdout, "config", "Committed new configuration:\n", sh.result->data ? sh.result->data : "");
    return 0;
}

/* ==== shell/transfer.c ==== */

/*
 * shell/transfer: export and import of a subtree, as lines of JSON, one for each node, parents
 * before their children:
 *
 *   {"path":"/app/a","type":"persistent","data":"text","acl":[{"scheme":"world","id":"anyone",
 *    "perms":"cdrwa"}]}
 *
 * data      null, or text; what is no UTF-8 is data_base64 instead
 * type      persistent, ephemeral, container, or ttl with "ttl" in milliseconds. An export writes
 *           the first two: the protocol does not tell the others from persistent ones
 * A line may lack all but the path: that is a persistent node without data that is open to anyone.
 * Ephemerals are written down, and left out by an import, whose session would take them with it.
 * An import reads the whole file before it creates anything, if it is one that can be read twice.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TTL_MOST 0xffffffffff /* stock: EphemeralType.TTL */

static struct {
    FILE *file;
    struct text line;
    char *from, *to;   /* of an import: the path of the first line, and what stands for it */
    uint32_t lines;    /* read so far */
    uint32_t bad_line; /* the first one that went wrong, and what is wrong with it */
    char *bad;
    int failed;        /* errno of writing it */
    uint32_t count, ephemerals, kept, masked; /* nodes */
} ex;

/* --- export --- */

static void put_string(const char *before, const char *s) {
    add(&ex.line, before);
    put_json(&ex.line, s, strlen(s));
}

/* With every reply: true when it was good. */
static bool arrived(const struct zk_result *r, int but) {
    sh.pending--;
    if (r->error && r->error != but) sh.error = r->error;
    return !r->error;
}

/* A node takes two requests: its data begins the line, its ACL ends it. */
static void on_export_data(void *user, const struct zk_result *r) {
    const char *path = tree_path(tree.done);
    (void)user;
    ex.line.n = 0;
    bool own = !tree.root[1] && strncmp(path, "/zookeeper", 10) == 0 && strchr("/", path[10]);
    if (!arrived(r, ZK_NO_NODE) || own) return; /* the server's own nodes stay behind */
    put_string("{\"path\":", path);
    put_string(",\"type\":", r->stat.ephemeral_owner ? "ephemeral" : "persistent");
    ex.ephemerals += r->stat.ephemeral_owner != 0;
    if (r->data_len < 0) {
        add(&ex.line, ",\"data\":null");
    } else if (is_utf8(r->data, (size_t)r->data_len)) {
        add(&ex.line, ",\"data\":");
        put_json(&ex.line, r->data, (size_t)r->data_len);
    } else {
        add(&ex.line, ",\"data_base64\":\"");
        put_base64(&ex.line, r->data, (size_t)r->data_len);
        add(&ex.line, "\"");
    }
}

/* stock: DataTree.getACL hides digests from who may not administrate. No digest is that short. */
static bool is_masked(const struct zk_acl *acl) {
    const char *password = strrchr(acl->id, ':');
    return strcmp(acl->scheme, "digest") == 0 && password && strcmp(password, ":x") == 0;
}

static void on_export_acl(void *user, const struct zk_result *r) {
    bool masked = false;
    (void)user;
    tree.done++;
    if (!arrived(r, ZK_NO_NODE) || !ex.line.n) return;
    for (int i = 0; i < r->count; i++) {
        put_string(i ? ",{\"scheme\":" : ",\"acl\":[{\"scheme\":", r->acl[i].scheme);
        put_string(",\"id\":", r->acl[i].id);
        put_string(",\"perms\":", perms_text(r->acl[i].perms));
        add(&ex.line, "}");
        masked |= is_masked(&r->acl[i]);
    }
    add(&ex.line, r->count ? "]}\n" : "}\n");
    ex.masked += masked;
    ex.count++;
    if (fwrite(ex.line.s, 1, ex.line.n, ex.file) < ex.line.n && !ex.failed) ex.failed = errno;
}

static bool next_export(void) {
    if (tree.asked == tree.n || ex.failed) return false;
    const char *path = tree_path(tree.asked++);
    submit(zk_get(path), on_export_data, NULL);
    if (!sh.error) submit(zk_get_acl(path), on_export_acl, NULL);
    return true;
}

static void say_counts(const char *key, const char *text) {
    say_number(stderr, key, text, ex.count);
    if (ex.kept) say_number(stderr, "kept", "Nodes left as they were: ", ex.kept);
    if (!ex.masked) return;
    say_number(stderr, "masked", "Digests hidden by the server, for want of admin permission: ",
               ex.masked);
}

/* Under another name first, unless it is a device or a pipe: half an export replaces no whole one.
 * Only its owner can read it, for it may hold secrets. An errno; sh.error is what the server
 * said. */
static int export_to(const char *name) {
    struct stat st;
    bool straight = lstat(name, &st) == 0 && !S_ISREG(st.st_mode);
    char *part = copy(straight ? name : fmt("%s.XXXXXX", name));
    int fd = straight ? open(name, O_WRONLY) : mkstemp(part);
    ex.failed = 0;
    if (fd < 0 || !(ex.file = fdopen(fd, "w"))) {
        ex.failed = errno;
    } else {
        (void)flow("exported", WINDOW, next_export);
        if (fclose(ex.file) && !ex.failed) ex.failed = errno;
        bool good = !ex.failed && !sh.error;
        if (!straight && !(good ? rename(part, name) == 0 : remove(part) == 0)) ex.failed = errno;
    }
    free(part);
    return ex.failed;
}

int do_export(struct args *a) {
    int err = walk(a->word[1], UINT32_MAX);
    if (err) return err;
    ex.count = ex.ephemerals = ex.kept = ex.masked = 0;
    err = export_to(a->word[2]);
    if (sh.error) return fail_zk(sh.error, tree_path(tree.done < tree.n ? tree.done : 0));
    if (err) return fail(ZK_SYSTEM_ERROR, fmt("%s: %s", a->word[2], strerror(err)));
    say_counts("exported", "Nodes exported: ");
    if (ex.ephemerals) say_number(stderr, "ephemerals", "Ephemerals among them: ", ex.ephemerals);
    return 0;
}

/* --- import --- */

/* Of several lines that went wrong the first one counts. */
static void bad_line(uint32_t line, const char *what) {
    if (ex.bad && line >= ex.bad_line) return;
    free(ex.bad);
    ex.bad = copy(what);
    ex.bad_line = line;
}

/* The next line into ex.line. False: there is none, or one that is longer than any node. */
static bool read_line(void) {
    size_t most = 16 * (size_t)(sh.max_packet ? sh.max_packet : 1 << 20);
    int c;
    ex.line.n = 0;
    put(&ex.line, "", 0);
    while ((c = getc(ex.file)) != EOF && c != '\n' && ex.line.n <= most) {
        char byte = (char)c;
        put(&ex.line, &byte, 1);
    }
    if (c == EOF && !ex.line.n) {
        if (ferror(ex.file)) bad_line(ex.lines + 1, strerror(errno));
        return false;
    }
    ex.lines++;
    if (ex.line.n > most) bad_line(ex.lines, "too long");
    return ex.line.n <= most;
}

static void read_acl(struct jsin *j) {
    static const char letters[] = "rwcda", *const keys[] = {"scheme", "id", "perms"};
    jsin_need(j, '[');
    do {
        const char *value[3] = {0};
        jsin_need(j, '{');
        do {
            const char *key = jsin_string(j, NULL);
            size_t k = 0;
            while (k < COUNT(keys) && strcmp(key, keys[k]) != 0) k++;
            if (k == COUNT(keys) || value[k]) jsin_wrong(j, "scheme, id and perms, once each");
            else jsin_need(j, ':'), value[k] = jsin_string(j, NULL);
        } while (jsin_take(j, ','));
        jsin_need(j, '}');
        if (!value[0] || !value[1] || !value[2]) jsin_wrong(j, "an ACL has scheme, id and perms");
        if (j->wrong) return;
        sh.acl = grow(sh.acl, sizeof *sh.acl * (size_t)(sh.acl_n + 1));
        sh.acl[sh.acl_n] = (struct zk_acl){.scheme = value[0], .id = value[1]};
        for (const char *p = value[2], *known; *p; p++) {
            if (!(known = strchr(letters, *p))) jsin_wrong(j, "perms are letters of cdrwa");
            else sh.acl[sh.acl_n].perms |= 1 << (known - letters);
        }
        sh.acl_n++;
    } while (jsin_take(j, ','));
    jsin_need(j, ']');
}

static void read_data(struct jsin *j, struct zk_op *op) {
    size_t n = 0;
    if (jsin_null(j)) return;
    op->data = jsin_string(j, &n);
    op->data_len = (int)n;
}

static void read_data_base64(struct jsin *j, struct zk_op *op) {
    static struct text bytes;
    const char *text = jsin_string(j, NULL), *bad;
    bytes.n = 0;
    if ((bad = read_base64(text, &bytes))) jsin_wrong(j, bad);
    op->data = bytes.s;
    op->data_len = (int)bytes.n;
}

static void read_type(struct jsin *j, struct zk_op *op) {
    static const struct {
        const char *name;
        enum zk_create_mode mode;
    } types[] = {{"persistent", ZK_PERSISTENT}, {"ephemeral", ZK_EPHEMERAL},
                 {"container", ZK_CONTAINER}, {"ttl", ZK_PERSISTENT_WITH_TTL}};
    const char *name = jsin_string(j, NULL);
    size_t i = 0;
    while (i < COUNT(types) && strcmp(name, types[i].name) != 0) i++;
    if (i == COUNT(types)) jsin_wrong(j, "the type is persistent, ephemeral, container or ttl");
    else op->mode = types[i].mode;
}

/* A value by its key. `seen` has a bit for each that was there. */
static void read_member(struct jsin *j, const char *key, struct zk_op *op, unsigned *seen) {
    static const char *const keys[] = {"path", "type", "ttl", "data", "data_base64", "acl"};
    size_t k = 0;
    while (k < COUNT(keys) && strcmp(key, keys[k]) != 0) k++;
    if (k == COUNT(keys)) jsin_wrong(j, fmt("unknown key \"%s\"", key));
    else if (*seen & 1u << k || (k == 4 && *seen & 8) || (k == 3 && *seen & 16))
        jsin_wrong(j, fmt("%s once more", k == 4 ? "data" : keys[k]));
    *seen |= 1u << k;
    jsin_need(j, ':');
    switch (k) {
    case 0: op->path = jsin_string(j, NULL); break;
    case 1: read_type(j, op); break;
    case 2: op->ttl_ms = jsin_int(j); break;
    case 3: read_data(j, op); break;
    case 4: read_data_base64(j, op); break;
    default: read_acl(j);
    }
}

/* ex.line, which is cut up, as an operation that borrows from it. NULL, or what is wrong. */
static const char *read_node(struct zk_op *op) {
    struct jsin j = {.start = ex.line.s, .p = ex.line.s, .end = ex.line.s + ex.line.n};
    unsigned seen = 0;
    *op = zk_create(NULL, NULL, -1, ZK_PERSISTENT);
    sh.acl_n = 0;
    jsin_need(&j, '{');
    do read_member(&j, jsin_string(&j, NULL), op, &seen);
    while (jsin_take(&j, ','));
    jsin_need(&j, '}');
    if (!j.wrong && (jsin_take(&j, '\0') || j.p < j.end)) jsin_wrong(&j, "something follows");
    if (j.wrong) return j.wrong;
    bool ttl = op->mode == ZK_PERSISTENT_WITH_TTL;
    if (!op->path) return "there is no path";
    if (ttl != (seen >> 2 & 1)) return ttl ? "there is no ttl" : "a ttl is for the type ttl";
    if (ttl && (op->ttl_ms <= 0 || op->ttl_ms > TTL_MOST)) return "ttl is from 1 to 1099511627775";
    if (sh.acl_n) op->acl = sh.acl, op->acl_count = sh.acl_n;
    return path_error(op->path);
}

/* Where a node of the file goes. NULL: it is not below the first one. */
static const char *new_path(const char *path) {
    size_t n = ex.from[1] ? strlen(ex.from) : 0;
    if (!ex.to) return path;
    if (strncmp(path, ex.from, n) != 0 || (path[n] && path[n] != '/')) return NULL;
    const char *below = path[1] ? path + n : "";
    return ex.to[1] || !*below ? fmt("%s%s", ex.to, below) : below;
}

/* The next line as an operation; false at the end, and with ex.bad set. */
static bool next_node(struct zk_op *op) {
    if (!read_line()) return false;
    const char *bad = read_node(op);
    if (!bad && !ex.from) ex.from = copy(op->path);
    if (!bad && !(op->path = new_path(op->path)))
        bad = fmt("not below %s, the path of the first line", ex.from);
    if (bad) bad_line(ex.lines, bad);
    return !bad;
}

static void on_imported(void *user, const struct zk_result *r) {
    uint32_t line = (uint32_t)(uintptr_t)user;
    tree.done++;
    if (arrived(r, ZK_NODE_EXISTS)) ex.count++;
    else if (r->error == ZK_NODE_EXISTS) ex.kept++;
    else bad_line(line, keeper_text(r->error, NULL));
}

static bool next_import(void) {
    struct zk_op op;
    if (ex.bad || !next_node(&op)) return false;
    if (op.mode == ZK_EPHEMERAL) return ex.ephemerals++, true;
    submit(op, on_imported, (void *)(uintptr_t)ex.lines);
    if (sh.error) bad_line(ex.lines, keeper_text(sh.error, NULL));
    return true;
}

/* Reads it all without doing anything, when it can be read again. */
static void check_file(void) {
    struct zk_op op;
    if (fseek(ex.file, 0, SEEK_SET)) return;
    while (next_node(&op)) {}
    ex.lines = 0;
    rewind(ex.file);
}

int do_import(struct args *a) {
    const char *name = a->word[1], *to = a->n > 2 ? a->word[2] : NULL;
    int err = to ? check_path(to) : 0;
    if (err) return err;
    if (!(ex.file = fopen(name, "r")))
        return fail(ZK_SYSTEM_ERROR, fmt("%s: %s", name, strerror(errno)));
    ex.to = to ? copy(to) : NULL;
    ex.lines = ex.count = ex.ephemerals = ex.kept = ex.masked = 0;
    sh.error = 0;
    check_file();
    if (!ex.bad) (void)flow("imported", WINDOW, next_import);
    if (ex.bad)
        err = fail(sh.error ? sh.error : ZK_MARSHALLING_ERROR,
                   fmt("%s: line %u: %s", name, ex.bad_line, ex.bad));
    else if (sh.error) err = fail_zk(sh.error, to);
    else if (!ex.lines) err = fail(ZK_MARSHALLING_ERROR, fmt("%s: there is nothing in it", name));
    if (ex.lines && (ex.count || !err)) say_counts("imported", "Nodes imported: ");
    if (ex.ephemerals && !err)
        say_number(stderr, "ephemerals", "Ephemerals left out: ", ex.ephemerals);
    (void)fclose(ex.file);
    free(ex.from), free(ex.to), free(ex.bad);
    ex.from = ex.to = ex.bad = NULL;
    return err;
}

/* ==== shell/explain.c ==== */

/*
 * shell/explain: the frames of a command, byte by byte.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SHOWN 200 /* bytes of a text that are said beside the hexadecimal ones */

/* Fields as name:form. i int, l long, x zxid or id, b bool, t time, e error, o opcode, p
 * permissions, f mode of a create, m mode of a watch, k kind of a watch, v event, w state;
 * s string, d buffer; S Stat; vectors: V of strings, A of ACLs, C of identities; Q and R multi. */
static const struct record {
    int op;
    const char *name, *request, *reply;
} records[] = {
    {-11, "closeSession", "", ""},
    {1, "create", "path:s data:d acl:A flags:f", "path:s"},
    {2, "delete", "path:s version:i", ""},
    {3, "exists", "path:s watch:b", "stat:S"},
    {4, "getData", "path:s watch:b", "data:d stat:S"},
    {5, "setData", "path:s data:d version:i", "stat:S"},
    {6, "getACL", "path:s", "acl:A stat:S"},
    {7, "setACL", "path:s acl:A version:i", "stat:S"},
    {8, "getChildren", "path:s watch:b", "children:V"},
    {9, "sync", "path:s", "path:s"},
    {11, "ping", "", ""},
    {12, "getChildren2", "path:s watch:b", "children:V stat:S"},
    {13, "check", "path:s version:i", ""},
    {14, "multi", "ops:Q", "results:R"},
    {15, "create2", "path:s data:d acl:A flags:f", "path:s stat:S"},
    {16, "reconfig", "joining:s leaving:s members:s version:x", "data:d stat:S"},
    {17, "checkWatches", "path:s type:k", ""},
    {18, "removeWatches", "path:s type:k", ""},
    {19, "createContainer", "path:s data:d acl:A flags:f", "path:s stat:S"},
    {21, "createTTL", "path:s data:d acl:A flags:f ttl:l", "path:s stat:S"},
    {22, "multiRead", "ops:Q", "results:R"},
    {100, "auth", "type:i scheme:s auth:d", ""},
    {101, "setWatches", "relativeZxid:x data:V exist:V child:V", ""},
    {103, "getEphemerals", "prefix:s", "ephemerals:V"},
    {104, "getAllChildrenNumber", "path:s", "total:i"},
    {105, "setWatches2", "relativeZxid:x data:V exist:V child:V persistent:V recursive:V", ""},
    {106, "addWatch", "path:s mode:m", "err:i"},
    {107, "whoAmI", "", "identities:C"},
    {-1, "error", "", "err:e"},
};

static struct {
    const uint8_t *p;
    size_t n, at;
    struct text waiting; /* xid and opcode of requests without their reply */
    struct text frames;  /* in JSON */
    int due;             /* replies */
    bool on;
} frame;

static const struct record *record_of(int64_t op) {
    static const struct record unknown = {0, "unknown", "", ""};
    for (size_t i = 0; i < COUNT(records); i++)
        if (records[i].op == op) return &records[i];
    return &unknown;
}

/* The next number of n bytes; what is not there counts as 0. */
static int64_t peek(size_t n) {
    uint64_t v = 0;
    for (size_t i = frame.at; i < frame.at + n; i++) v = v << 8 | (i < frame.n ? frame.p[i] : 0);
    return n == 4 ? (int32_t)v : (int64_t)v;
}

/* Shows the next n bytes and goes on behind them. */
static void show(size_t n, const char *name, const char *value) {
    struct text hex = {0};
    char *meaning = copy(value);
    if (n > frame.n - frame.at) n = frame.n - frame.at;
    for (size_t i = 0; i < n; i++) add(&hex, fmt("%02x ", frame.p[frame.at + i]));
    for (size_t i = 0; i < n; i += 16)
        out(stdout, fmt("  %04zx  %-49.*s%s%s%s\n", frame.at + i, 48, hex.s + 3 * i, i ? "" : name,
                        i ? "" : " = ", i ? "" : meaning));
    js(NULL, "{");
    js_text("name", name);
    js_text("value", meaning);
    js_text("bytes", n ? fmt("%.*s", (int)(3 * n - 1), hex.s) : "");
    js_put("}");
    frame.at += n;
    free(meaning);
    free(hex.s);
}

static void show_fields(const char *before, const char *spec);

/* Operations or results, each behind its header, up to the header that says done. */
static void show_multi(const char *before, bool results) {
    for (int i = 0; frame.at < frame.n; i++) {
        const struct record *r = record_of(peek(4));
        bool done = frame.at + 4 < frame.n && frame.p[frame.at + 4];
        show_fields(fmt("%s[%d].", before, i), "type:o done:b err:i");
        if (done) return;
        show_fields(fmt("%s[%d].", before, i), results ? r->reply : r->request);
    }
}

/* What a number stands for, or NULL. */
static const char *meaning(char form, int64_t v) {
    static const struct {
        char form;
        const char *names[8];
    } lists[] = {
        {'f', {"PERSISTENT", "EPHEMERAL", "PERSISTENT_SEQUENTIAL", "EPHEMERAL_SEQUENTIAL",
               "CONTAINER", "PERSISTENT_WITH_TTL", "PERSISTENT_SEQUENTIAL_WITH_TTL"}},
        {'m', {"PERSISTENT", "PERSISTENT_RECURSIVE"}},
        {'k', {NULL, "Children", "Data", "Any", "Persistent", "PersistentRecursive"}},
        {'w', {"Disconnected", NULL, NULL, "SyncConnected", "AuthFailed", "ConnectedReadOnly"}},
    };
    if (form == 't') return date(v);
    if (form == 'e') return zk_error_name((int)v);
    if (form == 'o') return record_of(v)->name;
    if (form == 'p') return perms_text((int)v);
    if (form == 'v') return event_name((enum zk_event_type)v);
    if (v == -1 && strchr("sdVAC", form)) return "null";
    for (size_t k = 0; k < COUNT(lists); k++)
        if (lists[k].form == form && v >= 0 && v < 8) return lists[k].names[v];
    return NULL;
}

/* Bytes behind their number, which say how many of them there are; *n grows by those. */
static const char *show_text(int64_t said, size_t *n) {
    struct text t = {0};
    const char *s = (const char *)frame.p + frame.at + *n;
    size_t left = frame.n - frame.at - *n, len = (uint64_t)said < left ? (size_t)said : left;
    *n += len;
    put_json(&t, s, len < TEXT_SHOWN ? len : TEXT_SHOWN);
    const char *value = !is_utf8(s, len) ? fmt("%" PRId64 " bytes", said)
                        : fmt("%" PRId64 " %s%s", said, t.s, len < TEXT_SHOWN ? "" : " ...");
    free(t.s);
    return value;
}

static void show_field(const char *name, char form) {
    static const struct {
        char form;
        const char *element;
    } vectors[] = {{'V', ":s"}, {'A', "perms:p scheme:s id:s"}, {'C', "scheme:s user:s"}};
    size_t n = form == 'b' ? 1 : strchr("lxt", form) ? 8 : 4;
    int64_t v = peek(n);
    const char *value = fmt(form == 'x' ? "0x%" PRIx64 : "%" PRId64, v), *means = meaning(form, v);
    if (form == 'b') value = v ? "true" : "false";
    if (means) value = fmt("%s (%s)", value, means);
    if ((form == 's' || form == 'd') && v >= 0) value = show_text(v, &n);
    if (form == 'Q' || form == 'R') show_multi(name, form == 'R');
    else if (form == 'S')
        show_fields(fmt("%s.", name),
                    "czxid:x mzxid:x ctime:t mtime:t version:i cversion:i aversion:i"
                    " ephemeralOwner:x dataLength:i numChildren:i pzxid:x");
    else show(n, name, value);
    for (size_t k = 0; k < COUNT(vectors); k++)
        for (int i = 0; vectors[k].form == form && i < v && frame.at < frame.n; i++)
            show_fields(fmt("%s[%d]%s", name, i, form == 'V' ? "" : "."), vectors[k].element);
}

static void show_fields(const char *before, const char *spec) {
    char *prefix = copy(before), *fields = copy(spec), *rest = fields, *field;
    while (*spec && frame.at < frame.n && (field = cut(&rest, ' '))) {
        char *name = cut(&field, ':'), *whole = copy(fmt("%s%s", prefix, name));
        if (field) show_field(whole, *field);
        free(whole);
    }
    free(prefix);
    free(fields);
}

/* The opcode that a reply answers. They come in order; requests before it got none. */
static int answered(int xid) {
    int at[2] = {0, 0};
    while (frame.waiting.n >= sizeof at && at[0] != xid) {
        memcpy(at, frame.waiting.s, sizeof at);
        frame.waiting.n -= sizeof at;
        memmove(frame.waiting.s, frame.waiting.s + sizeof at, frame.waiting.n);
    }
    return at[0] == xid ? at[1] : 0;
}

/* stock: ConnectRequest and ConnectResponse have no header; no other frame begins with 0. */
void on_frame(void *user, bool sent, const uint8_t *bytes, size_t n) {
    static const char *const greetings[] = {
        "protocolVersion:i timeOut:i sessionId:x passwd:d readOnly:b",
        "protocolVersion:i lastZxidSeen:x timeOut:i sessionId:x passwd:d readOnly:b"};
    struct text *doc = sh.doc, spec = {0};
    bool inside = sh.inside;
    (void)user;
    if (!frame.on) return;
    sh.inside = true;
    sh.doc = &frame.frames;
    frame.p = bytes, frame.n = n, frame.at = 4;
    int xid = (int)peek(4), op = xid == -2 ? 11 : xid == -4 ? 100 : 0;
    frame.at = sent ? 8 : 16;
    if (xid != 0 && sent) op = (int)peek(4);
    if (sent) frame.due = xid ? frame.due + 1 : 1;
    else frame.due -= xid != -1 && frame.due > 0;
    if (xid > 0 && sent) put(&frame.waiting, (int[]){xid, op}, 2 * sizeof op);
    if (xid > 0 && !sent) op = answered(xid);
    const struct record *r = record_of(op);
    const char *name = xid == 0 ? (sent ? "ConnectRequest" : "ConnectResponse")
                       : xid == -1 ? "WatcherEvent" : r->name;
    add(&spec, "length:i ");
    if (xid == 0) frame.waiting.n = 0, add(&spec, greetings[sent]);
    else if (sent) add(&spec, fmt("xid:i type:o %s", r->request));
    else if (xid == -1) add(&spec, "xid:i zxid:x err:e type:v state:w path:s");
    else add(&spec, fmt("xid:i zxid:x err:e %s", peek(4) ? "" : r->reply)); /* errors: no body */
    js(NULL, fmt("{\"sent\":%s", sent ? "true" : "false"));
    js_text("name", name);
    js("fields", "[");
    out(stdout, fmt("%s %s, %zu bytes\n", sent ? "sent" : "received", name, n));
    frame.at = 0;
    show_fields("", spec.s);
    if (frame.at < n) show(n - frame.at, "rest", "not known");
    js_put("]}");
    sh.doc = doc;
    sh.inside = inside;
    free(spec.s);
}

int do_explain(struct args *a) {
    if (a->n < 2) return usage(a);
    frame.on = true;
    frame.due = 0;
    int err = execute(a->word + 1, a->n - 1);
    for (int64_t end = now_ms() + 1000; alive() && now_ms() < end && !interrupted;) {
        if (!frame.due && state() != ZK_STATE_CONNECTING) break;
        (void)turn(-1, end - now_ms()); /* addauth and connect do not wait */
    }
    frame.on = false;
    if (frame.frames.n) js("frames", fmt("[%s]", frame.frames.s));
    frame.frames.n = 0;
    return err;
}

/* ==== shell/commands.c ==== */

/*
 * shell/commands: the table of commands, the way through it, and those about the shell itself.
 */

#include <stdlib.h>
#include <string.h>

static int do_version(struct args *a) {
    if (a->n > 1) return usage(a);
    say(stdout, "version", "ZooKeeper CLI version: ", ZK_COMPATIBLE_VERSION "-zk." ZK_VERSION);
    return 0;
}

/* Said instead of most commands, and after those that can do without a session. */
static int not_connected(void) {
    return alive() ? 0 : fail_softly(ZK_CLOSING, "Not connected");
}

static int do_print_watches(struct args *a) {
    if (a->n == 1) say(stdout, "printwatches", "printwatches is ", sh.quiet ? "off" : "on");
    else sh.quiet = strcmp(a->word[1], "on") != 0;
    return not_connected();
}

static int do_history(struct args *a) {
    (void)a, js("history", "[");
    for (int i = sh.count < 10 ? 0 : sh.count - 10; i <= sh.count; i++) {
        const char *line = sh.history ? sh.history[i] : "null";
        js(NULL, fmt("{\"number\":%d", i));
        js_text("line", line);
        js_put("}");
        out(stdout, fmt("%d - %s\n", i, line));
    }
    js_put("]");
    return not_connected();
}

static int do_redo(struct args *a) {
    int64_t i;
    int n;
    if (a->n < 2) return not_connected();
    if (!number(a->word[1], 0, INT32_MIN, INT32_MAX, &i)) return bad_number(a->word[1]);
    if (i < 0 || i >= sh.count) return refuse("Command index out of range");
    char *line = copy(sh.history[i]), **words = split(line, &n);
    bool again = strcmp(words[0], "redo") == 0; /* there is no line without words */
    if (!again) {
        sh.history[sh.count] = copy(sh.history[i]);
        (void)execute(words, n), (void)not_connected();
    }
    free(words);
    free(line);
    return again ? refuse("No redoing redos") : 0;
}

static int do_connect(struct args *a) { return open_session(a->n > 1 ? a->word[1] : sh.host); }

static int do_close(struct args *a) { return (void)a, hang_up(), 0; }

static int do_quit(struct args *a) {
    sh.quitting = true;
    return (void)do_close(a), sh.exit_code;
}

/* --- the table of commands, and the way through it --- */

static const struct command commands[] = {
    {"addWatch", "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] -"
                 " default is PERSISTENT_RECURSIVE", "m:", 0, 1, do_add_watch, NULL},
    {"addauth", "scheme auth", "", 0, 2, do_add_auth, NULL},
    {"close", "", NULL, 0, 1, do_close, NULL},
    {"config", "[-c] [-w] [-s]", "c w s", 0, 1, do_config, NULL},
    {"connect", "host:port", NULL, 0, 0, do_connect, NULL},
    {"create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", "s e c t:", 0, 2, do_create, NULL},
    {"delete", "[-v version] path", "v:", 0, 2, do_delete, "[-v version]"},
    {"deleteall", "path [-b batch size]", "b:", 0, 2, do_delete_all, NULL},
    {"delquota", "[-n|-b|-N|-B] path", "n b N B", '|', 2, do_del_quota, NULL},
    {"explain", "command [words...]", NULL, 0, 0, do_explain, NULL},
    {"export", "path file", "", 0, 3, do_export, NULL},
    {"get", "[-s] [-w] [-b] [-x] path\n -b   Output data in base64 format\n"
            " -s   Print znode stats additionally\n -w   Watch for changes on the znode\n"
            " -x   Output data in hexdump format\n", "s w b x", 0, 2, do_get, "[-s] [-w]"},
    {"getAcl", "[-s] path", "s", 0, 2, do_get_acl, NULL},
    {"getAllChildrenNumber", "path", "", 0, 2, do_get_all_children_number, NULL},
    {"getEphemerals", "path", "", 0, 1, do_get_ephemerals, NULL},
    {"history", "", NULL, 0, 0, do_history, NULL},
    {"import", "file [path]", "", 0, 2, do_import, NULL},
    {"listquota", "path", "", 0, 2, do_list_quota, NULL},
    {"ls", "[-s] [-w] [-R] path", "? s w R", 0, 2, do_ls, "[-w]"},
    {"printwatches", "on|off", NULL, 0, 0, do_print_watches, NULL},
    {"quit", "", NULL, 0, 0, do_quit, NULL},
    {"reconfig", "[-s] [-v version] [[-file path] | [-members"
                 " serverID=host:port1:port2;port3[,...]*]] | [-add"
                 " serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
     "s v: file: members: add: remove:", 0, 1, do_reconfig, NULL},
    {"redo", "cmdno", NULL, 0, 0, do_redo, NULL},
    {"removewatches", "path [-c|-d|-a] [-l]", "c d p r a l", 0, 2, do_remove_watches, NULL},
    {"set", "path data [-s] [-v version] [-b]\n -b         Supply data in base64 format\n"
            " -s         Print znode stats additionally\n"
            " -v <arg>   Set with an expected version\n", "s v: b", 0, 3, do_set, NULL},
    {"setAcl", "[-s] [-v version] [-R] path acl", "s v: R", 0, 3, do_set_acl, NULL},
    {"setquota", "-n|-b|-N|-B val path", "n: b: N: B:", '!', 2, do_set_quota, NULL},
    {"stat", "[-w] path", "w", 0, 2, do_stat, "[-w]"},
    {"sync", "path", "", 0, 2, do_sync, NULL},
    {"tree", "[path]", "", 0, 1, do_tree, NULL},
    {"version", "", "", 0, 1, do_version, NULL},
    {"watch", "[-R] path", "R", 0, 2, do_watch, NULL},
    {"whoami", "", NULL, 0, 1, do_whoami, NULL},
};

const char *command_name(size_t i) { return i < COUNT(commands) ? commands[i].name : NULL; }

void usage_list(FILE *to) {
    out(to, "ZooKeeper -server host:port -client-configuration properties-file cmd args\n");
    for (const struct command *c = commands; c < commands + COUNT(commands); c++)
        out(to, fmt("\t%s %.*s\n", c->name, (int)strcspn(c->usage, "\n"), c->usage));
}

/* Does what the words say, once the options are parsed; the exit code. */
static int execute_parsed(struct args *a) {
    const struct command *c = a->command;
    const char *v = a->value['v'];
    int64_t version = -1;
    int err;
    if (c->run == do_ls && a->value['?'])
        say(stdout, "help", "", "usage: ls [options] path\n -?   help\n -R   recurse\n -s   stat\n"
                                " -w   watch");
    if (a->n < c->words) return usage(a);
    if (c->old && a->n > 2 && (err = old_spelling(a))) return err;
    if (v && c->run != do_reconfig && !number(v, 10, INT32_MIN, INT32_MAX, &version))
        return bad_number(v);
    a->version = (int32_t)version;
    err = c->run(a);
    if (!err && a->value['s'] && sh.result && sh.result->has_stat) say_stat(&sh.result->stat);
    return err;
}

int execute(char **words, int n) {
    struct args a = {.command = commands, .raw = words, .raw_n = n};
    const struct command *end = commands + COUNT(commands);
    while (a.command < end && strcmp(a.command->name, words[0]) != 0) a.command++;
    if (a.command == end) {
        usage_list(stderr);
        (void)fail(ZK_UNIMPLEMENTED, fmt("Command not found: Command not found %s", words[0]));
        return 127;
    }
    if (!alive() && a.command->words) return not_connected();
    a.word = grow(NULL, sizeof *a.word * (size_t)n);
    int err = parse_options(&a);
    if (!err) err = execute_parsed(&a);
    free(a.word);
    return err;
}

/* A command with all that is said about it. */
void run_words(char **words, int n) {
    js_put("{");
    js_text("command", words[0]);
    sh.result = NULL;
    sh.exit_code = execute(words, n);
    (void)turn(-1, 0); /* events that came with the reply */
    js_end();
}

void run_line(const char *line) {
    char *text = copy(line);
    int n;
    char **words = split(text, &n);
    if (n) {
        sh.history = grow(sh.history, sizeof *sh.history * (size_t)(sh.count + 1));
        sh.history[sh.count] = copy(line);
        run_words(words, n);
        sh.count++;
    }
    free(words);
    free(text);
}

/* ==== shell/terminal.c ==== */

/*
 * shell/terminal: lines from a terminal, with editing, completion and a history that lasts.
 *
 * Arrows, Home, End, Delete, Ctrl-A E K L U W, Alt-B D F, Tab; Ctrl-R looks for a line; Ctrl-C
 * drops the line, Ctrl-D ends an empty one, Ctrl-Z suspends.
 */

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct {
    struct text line;
    size_t at;   /* of the cursor */
    char **past; /* lines of this run and earlier ones, n of them */
    int n, back; /* back: so many lines up from the end */
    struct termios saved;
} ed;

/* A key; -1 at the end of input. Sequences of a terminal stand for control characters, or for one
 * of these. */
enum { DELETE = 256, WORD_LEFT, WORD_RIGHT, WORD_DELETE };

static int read_key(void) {
    static const struct {
        const char *sequence;
        int key;
    } keys[] = {{"[A", 16}, {"[B", 14}, {"[C", 6}, {"[D", 2}, {"[H", 1}, {"[F", 5}, {"OA", 16},
                {"OB", 14}, {"OC", 6}, {"OD", 2}, {"OH", 1}, {"OF", 5}, {"[1~", 1}, {"[4~", 5},
                {"[7~", 1}, {"[8~", 5}, {"[3~", DELETE}, {"[1;5C", WORD_RIGHT},
                {"[1;5D", WORD_LEFT}, {"[1;3C", WORD_RIGHT}, {"[1;3D", WORD_LEFT},
                {"f", WORD_RIGHT}, {"b", WORD_LEFT}, {"d", WORD_DELETE}, {"\x7f", 23}};
    char c, s[8];
    size_t n = 0;
    if (read(0, &c, 1) != 1) return -1;
    if (c != 27) return (unsigned char)c;
    while (n < sizeof s - 1 && turn(0, 50) && read(0, &s[n], 1) == 1) {
        bool leads = n == 0 && (s[0] == '[' || s[0] == 'O');
        if (n++ == 0 ? !leads : isalpha((unsigned char)s[n - 1]) || s[n - 1] == '~') break;
    }
    s[n] = '\0';
    for (size_t i = 0; i < COUNT(keys); i++)
        if (strcmp(s, keys[i].sequence) == 0) return keys[i].key;
    return 0;
}

/* The whole character that a key begins; its length. */
static size_t read_char(int key, char *bytes) {
    size_t n = 1, more = key < 0xc0 ? 0 : key < 0xe0 ? 1 : key < 0xf0 ? 2 : 3;
    bytes[0] = (char)key;
    while (n <= more && turn(0, 50) && read(0, &bytes[n], 1) == 1) n++;
    return n;
}

static int next_key(void) { return turn(0, -1) ? read_key() : interrupted ? -1 : 0; }

/* How wide a terminal draws a character: Chinese, Japanese, Korean and pictures take two columns,
 * marks over letters none. */
static size_t width(uint32_t c) {
    static const struct {
        uint32_t first, last;
        size_t wide;
    } ranges[] = {{0x300, 0x36f, 0}, {0x1100, 0x115f, 2}, {0x200b, 0x200d, 0}, {0x2e80, 0xa4cf, 2},
                  {0xac00, 0xd7a3, 2}, {0xf900, 0xfaff, 2}, {0xfe00, 0xfe0f, 0},
                  {0xfe30, 0xfe6f, 2}, {0xff00, 0xff60, 2}, {0xffe0, 0xffe6, 2},
                  {0x1f300, 0x1faff, 2}, {0x20000, 0x3fffd, 2}};
    for (size_t i = 0; i < COUNT(ranges); i++)
        if (c >= ranges[i].first && c <= ranges[i].last) return ranges[i].wide;
    return 1;
}

static size_t columns(const char *s, size_t n) {
    size_t wide = 0;
    uint32_t c;
    for (size_t i = 0; i < n;) i += utf8_next(s + i, n - i, &c), wide += width(c);
    return wide;
}

static bool continues(size_t at) { return (ed.line.s[at] & 0xc0) == 0x80; }

/* A line that is too long is shown in part, around the cursor. */
static void redraw(const char *prompt) {
    struct winsize size;
    size_t wide = ioctl(1, TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
    size_t lead = columns(prompt, strlen(prompt)), room = wide > lead + 1 ? wide - lead - 1 : 1;
    size_t from = 0, to = ed.line.n;
    while (columns(ed.line.s + from, ed.at - from) > room)
        do from++;
        while (continues(from));
    while (columns(ed.line.s + from, to - from) > room)
        do to--;
        while (continues(to));
    printf("\r%s%.*s\033[K\r\033[%zuC", prompt, (int)(to - from), ed.line.s + from,
           lead + columns(ed.line.s + from, ed.at - from));
    fflush(stdout);
}

static void erase(size_t from, size_t to) {
    memmove(ed.line.s + from, ed.line.s + to, ed.line.n - to + 1);
    ed.line.n -= to - from;
    ed.at = from;
}

static void insert(const char *s, size_t n) {
    put(&ed.line, s, n);
    memmove(ed.line.s + ed.at + n, ed.line.s + ed.at, ed.line.n - n - ed.at);
    memcpy(ed.line.s + ed.at, s, n);
    ed.at += n;
}

/* The place one character on, or back. */
static size_t beside(int way) {
    size_t at = ed.at;
    if (way > 0 ? at == ed.line.n : at == 0) return at;
    do at = way > 0 ? at + 1 : at - 1;
    while (continues(at));
    return at;
}

/* The place beyond blanks and then a word, on or back. */
static size_t beyond_word(int way) {
    size_t at = ed.at, step = way > 0 ? 0 : 1, end = way > 0 ? ed.line.n : 0;
    while (at != end && ed.line.s[at - step] == ' ') at = way > 0 ? at + 1 : at - 1;
    while (at != end && ed.line.s[at - step] != ' ') at = way > 0 ? at + 1 : at - 1;
    return at;
}

static void recall(int back) {
    if (back < 0 || back > ed.n) return;
    ed.back = back;
    ed.line.n = 0;
    add(&ed.line, back ? ed.past[ed.n - back] : "");
    ed.at = ed.line.n;
}

/* Where the word at the cursor begins, behind its quote if it has one. */
static size_t word_start(char *quote) {
    const char *s = ed.line.s, *end = s + ed.at, *p = s, *close;
    for (*quote = '\0'; p < end;) {
        const char *start = p;
        if (*p == '"' || *p == '\'') {
            close = memchr(p + 1, *p, (size_t)(end - p) - 1);
            if (!close) return *quote = *p, (size_t)(p + 1 - s);
            p = close + 1;
        } else if (isspace((unsigned char)*p)) {
            p++;
        } else {
            while (p < end && !isspace((unsigned char)*p)) p++;
            if (p == end) return (size_t)(start - s);
        }
    }
    return ed.at;
}

/* What of the names begins like part, sorted, to found; their number. */
static size_t matching(const char *part, const char *const *names, size_t n, const char **found) {
    size_t k = 0;
    for (size_t i = 0; names && i < n; i++)
        if (strncmp(names[i], part, strlen(part)) == 0) found[k++] = names[i];
    for (size_t i = 0; !names && i < n; i++)
        if (strncmp(command_name(i), part, strlen(part)) == 0) found[k++] = command_name(i);
    qsort(found, k, sizeof *found, by_name);
    return k;
}

/* Puts a quote in front of a word that has become one with blanks, and behind one that is whole. */
static void put_quotes(size_t start, char quote, bool whole) {
    size_t at = ed.at;
    if (!quote && memchr(ed.line.s + start, ' ', at - start)) {
        quote = memchr(ed.line.s + start, '"', at - start) ? '\'' : '"';
        ed.at = start;
        insert(&quote, 1);
        ed.at = at + 1;
    }
    if (whole && quote) insert(&quote, 1);
    if (whole) insert(" ", 1);
}

/* Nodes when the word begins with a slash, else commands. */
static void complete(void) {
    char quote;
    size_t start = word_start(&quote), most = 0;
    const char *word = fmt("%.*s", (int)(ed.at - start), ed.line.s + start), *part = word;
    const char *const *names = NULL;
    while (command_name(most)) most++;
    if (*word == '/') {
        part = strrchr(word, '/') + 1;
        const char *dir = fmt("%.*s", part == word + 1 ? 1 : (int)(part - word - 1), word);
        struct zk_op op = zk_get_children(dir);
        op.timeout_ms = 2000;
        bool good = up() && !path_error(dir) && !call(op);
        most = good ? (size_t)sh.result->count : 0;
        names = good ? sh.result->names : NULL;
    }
    const char **found = grow(NULL, sizeof *found * most);
    size_t n = matching(part, names, most, found);
    size_t known = strlen(part), common = n ? strlen(found[0]) : known;
    for (size_t i = 1; i < n; i++)
        while (strncmp(found[0], found[i], common) != 0) common--;
    for (size_t i = 0; n > 1 && common == known && i < n; i++)
        printf("%s%s%s", i ? "  " : "\n", found[i], i + 1 < n ? "" : "\n");
    if (n) insert(found[0] + known, common - known);
    if (n) put_quotes(start, quote, n == 1);
    free(found);
}

/* The latest line with the text in it, so many lines up or more; 0: there is none. */
static int find_back(const char *text, int back) {
    while (back <= ed.n && !strstr(ed.past[ed.n - back], text)) back++;
    return back <= ed.n ? back : 0;
}

/* Ctrl-R: looks for a line while its text is typed; again: for an older one. The key that ended it,
 * 0 after Ctrl-G, which gives up. */
static int search(void) {
    struct text what = {0}, prompt = {0};
    int key = 0, back = 1, found;
    put(&what, "", 0);
    do {
        char bytes[4];
        bool erases = key == 8 || key == 127;
        while (erases && what.n && (what.s[--what.n] & 0xc0) == 0x80) {}
        put(&what, bytes, key >= 32 && !erases ? read_char(key, bytes) : 0);
        if (erases) back = 1;
        found = what.n ? find_back(what.s, back + (key == 18)) : 0;
        if (found) recall(back = found);
        prompt.n = 0;
        add(&prompt, fmt("(search)`%s': ", what.s));
        redraw(prompt.s);
        key = next_key();
    } while (key == 0 || key == 18 || key == 8 || (key >= 32 && key < DELETE));
    free(what.s);
    free(prompt.s);
    if (key == 7) recall(0);
    return key == 7 ? 0 : key;
}

static void suspend(void) {
    struct termios raw;
    (void)tcgetattr(0, &raw);
    (void)tcsetattr(0, TCSADRAIN, &ed.saved);
    printf("\n");
    fflush(stdout);
    (void)raise(SIGTSTP);
    (void)tcsetattr(0, TCSADRAIN, &raw);
}

/* True: the line is complete, or with *key -1 the input. */
static bool edit(int *key) {
    char bytes[4];
    if (*key == 18) *key = search();
    if (*key == 4) *key = ed.line.n ? DELETE : -1;
    switch (*key) {
    case 1: ed.at = 0; break;
    case 2: ed.at = beside(-1); break;
    case 3: recall(0), *key = '\n', printf("^C"); break;
    case 5: ed.at = ed.line.n; break;
    case 6: ed.at = beside(1); break;
    case 8: case 127: erase(beside(-1), ed.at); break;
    case 9: complete(); break;
    case 11: erase(ed.at, ed.line.n); break;
    case 12: printf("\033[H\033[2J"); break;
    case 14: recall(ed.back - 1); break;
    case 16: recall(ed.back + 1); break;
    case 21: erase(0, ed.at); break;
    case 23: erase(beyond_word(-1), ed.at); break;
    case 26: suspend(); break;
    case DELETE: erase(ed.at, beside(1)); break;
    case WORD_LEFT: ed.at = beyond_word(-1); break;
    case WORD_RIGHT: ed.at = beyond_word(1); break;
    case WORD_DELETE: erase(ed.at, beyond_word(1)); break;
    default: if (*key >= 32) insert(bytes, read_char(*key, bytes));
    }
    return *key == -1 || *key == '\r' || *key == '\n';
}

/* The next line from the terminal, until the next call; NULL at the end. */
static const char *edit_line(void) {
    static const char *const names[] = {
        "", "CONNECTING", "CONNECTED", "CONNECTEDREADONLY", "CONNECTING", "CONNECTING", "CLOSED",
        "AUTH_FAILED", "CLOSED"};
    struct text prompt = {0};
    struct termios raw = ed.saved;
    int key;
    raw.c_iflag &= (tcflag_t) ~(ICRNL | IXON);
    raw.c_lflag &= (tcflag_t) ~(ECHO | ICANON | ISIG | IEXTEN);
    (void)tcsetattr(0, TCSADRAIN, &raw);
    recall(0);
    catch_interrupts(); /* a signal now ends the input, and finds the terminal put back in order */
    sh.editing = true;
    do {
        prompt.n = 0;
        add(&prompt, fmt("[zk: %s(%s) %d] ", sh.host, names[state()], sh.count));
        redraw(prompt.s);
        key = next_key();
    } while (!edit(&key));
    sh.editing = false;
    (void)tcsetattr(0, TCSADRAIN, &ed.saved);
    catch_interrupts(); /* from here on it is the command that they end */
    printf("\n");
    fflush(stdout);
    free(prompt.s);
    return key < 0 ? NULL : ed.line.s;
}

static void remember(const char *line) {
    if (ed.n && strcmp(ed.past[ed.n - 1], line) == 0) return;
    ed.past = grow(ed.past, sizeof *ed.past * (size_t)(ed.n + 1));
    ed.past[ed.n++] = copy(line);
}

/* Lines from a terminal. Those of earlier runs are in ~/.zkcli_history, but for secrets. */
void terminal(void) {
    const char *home = getenv("HOME"), *next;
    int fd = home ? open(fmt("%s/.zkcli_history", home), O_RDWR | O_CREAT | O_APPEND, 0600) : -1;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "a+");
    char *line = NULL;
    size_t cap = 0;
    while (f && getline(&line, &cap, f) > 0) {
        line[strcspn(line, "\n")] = '\0';
        remember(line);
    }
    if (f && ed.n > 2000 && ftruncate(fd, 0) == 0)
        for (int i = ed.n - 1000; i < ed.n; i++) fprintf(f, "%s\n", ed.past[i]);
    if (f) fflush(f);
    (void)tcgetattr(0, &ed.saved);
    for (int64_t end = now_ms() + 200; state() == ZK_STATE_CONNECTING && now_ms() < end;)
        (void)turn(-1, end - now_ms()); /* so that the first prompt says CONNECTED */
    while (!sh.quitting && (next = edit_line())) {
        next += strspn(next, " \t");
        if (!*next) continue;
        remember(next);
        if (f && !strstr(next, "addauth")) fprintf(f, "%s\n", next), fflush(f);
        run_line(ed.past[ed.n - 1]);
    }
    if (!sh.quitting) out(stdout, "JLine support is disabled\n");
    if (f) (void)fclose(f);
    free(line);
}

/* ==== shell/main.c ==== */

/*
 * shell/main: how it is called, and lines from a pipe.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct shell sh = {.timeout_ms = 30000, .mode = ZK_WATCH_RECURSIVE, .doc = &sh.document};

/* Lines from anything else. */
static void script(void) {
    struct text line = {0};
    char bytes[4096];
    ssize_t n = 1;
    while (n > 0 && !sh.quitting && !interrupted) {
        if (!turn(0, -1)) continue;
        n = read(0, bytes, sizeof bytes);
        if (n <= 0 && line.n) run_line(line.s);
        for (ssize_t i = 0; i < n && !sh.quitting && !interrupted; i++) {
            put(&line, &bytes[i], bytes[i] != '\n');
            if (bytes[i] != '\n') continue;
            if (line.n && line.s[line.n - 1] == '\r') line.s[line.n - 1] = '\0';
            run_line(line.s);
            line.n = 0;
        }
    }
    free(line.s);
}

/* stock: ZKClientConfig. Other keys are for TLS, SASL or Java. False: cannot be done. */
static bool configure(char *line) {
    char *value = line + strcspn(line, "=: \t\r\n");
    size_t blanks = strspn(value, "=: \t");
    int64_t v = 0;
    if (*line == '#' || *line == '!') return true;
    *value = '\0';
    value += blanks;
    value[strcspn(value, " \t\r\n")] = '\0';
    bool on = strcasecmp(value, "true") == 0, good = number(value, 10, 0, INT32_MAX, &v);
    if (strcmp(line, "zookeeper.client.secure") == 0) return !on;
    if (strcmp(line, "zookeeper.disableAutoWatchReset") == 0 && on) sh.flags |= ZK_NO_WATCH_RESET;
    if (strcmp(line, "zookeeper.request.timeout") == 0 && good) sh.op_timeout_ms = (int)v;
    if (strcmp(line, "jute.maxbuffer") == 0 && good) sh.max_packet = (unsigned)v;
    return true;
}

static int configure_all(const char *file) {
    char line[4096], *flags = copy(getenv("CLIENT_JVMFLAGS") ? getenv("CLIENT_JVMFLAGS") : "");
    FILE *f = file ? fopen(file, "r") : NULL;
    bool good = true;
    if (file && !f) return fail(ZK_SYSTEM_ERROR, fmt("Error while processing %s", file)), 2;
    while (f && fgets(line, sizeof line, f)) good &= configure(line + strspn(line, " \t"));
    if (f) (void)fclose(f);
    for (char *rest = flags, *word; (word = cut(&rest, ' '));)
        if (strncmp(word, "-D", 2) == 0) good &= configure(word + 2);
    free(flags);
    return good ? 0 : (fail(ZK_UNIMPLEMENTED, "zookeeper.client.secure: there is no TLS"), 2);
}

static void help(void) {
    printf("zkcli [-server host:port[,...][/chroot]] [-timeout ms] [-r] [-waitforconnection]\n"
           "      [-client-configuration file] [--json] [command words...]\n\n");
    usage_list(stdout);
}

/* Streams that are closed would become the connection, with output among its frames. */
static void fill_streams(void) {
    int fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0 && fd < 3) {}
    if (fd >= 0) (void)close(fd);
}

/* The exit code: output that was lost is an error. */
static int finish(void) {
    sh.quiet = true;
    close_session();
    if (sh.warnings.n) js_put("{"), js_end(); /* there is no next document to hold them */
    bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (lost) fputs("zkcli: output was lost\n", stderr);
    return lost ? 1 : sh.exit_code;
}

/* Opens the session, in so far as what the command line says can be used. */
static int start(const char *host, const char *timeout, const char *file) {
    int64_t ms;
    int err = configure_all(file);
    if (err) return err;
    if (!number(timeout, 10, INT32_MIN, INT32_MAX, &ms)) return bad_number(timeout);
    if (ms < 0) return refuse(fmt("-timeout cannot be negative: %s", timeout));
    sh.timeout_ms = (int)ms;
    if ((err = open_session(host))) return err;
    if (!sh.wait || !(connected() || state() == ZK_STATE_READ_ONLY)) return 0;
    close_session();
    return fail(ZK_CONNECTION_LOSS, "java.io.IOException: org.apache.zookeeper.KeeperException$"
                                    "ConnectionLossException: KeeperErrorCode = ConnectionLoss");
}

int shell_main(int argc, char **argv) {
    const char *host = "localhost:2181", *timeout = "30000", *file = NULL, **value;
    int i = 1, err;
    fill_streams();
    for (; i < argc && argv[i][0] == '-'; i++) { /* what is not known is skipped */
        const char *o = argv[i];
        value = strcmp(o, "-server") == 0 ? &host : strcmp(o, "-timeout") == 0 ? &timeout
                : strcmp(o, "-client-configuration") == 0 ? &file : NULL;
        if (strcmp(o, "-r") == 0) sh.flags |= ZK_CAN_BE_READ_ONLY;
        if (strcmp(o, "-waitforconnection") == 0) sh.wait = true;
        if (strcmp(o, "--json") == 0) sh.json = true;
        if (strcmp(o, "--help") == 0) return help(), 0;
        if (value && i + 1 < argc) *value = argv[++i];
        else if (value) warn(stderr, fmt("Error: no argument found for option %s\n", o));
    }
    out(stdout, fmt("Connecting to %s\n", host));
    js_put("{");
    err = start(host, timeout, file);
    if (err) return js_end(), err;
    sh.document.n = 0;
    bool keyboard = isatty(0) && isatty(1);
    if (i == argc)
        out(stdout, fmt("Welcome to ZooKeeper!\nJLine support is %s\n",
                        keyboard ? "enabled" : "disabled"));
    fflush(stdout);
    catch_interrupts();
    if (i < argc) run_words(argv + i, argc - i);
    else if (keyboard) terminal();
    else script();
    return finish();
}

int main(int argc, char **argv) { return shell_main(argc, argv); }
