/*
 * shell/output: what the user sees. Each fact is said twice, as text and as JSON; the mode that is
 * off swallows it. Errors have the words of stock (KeeperException, CliWrapperException).
 */
#include "shell/shell.h"

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
