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
#include "shell/shell.h"

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
