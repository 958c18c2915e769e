/*
 * shell/explain: the frames of a command, byte by byte.
 */
#include "shell/shell.h"

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
