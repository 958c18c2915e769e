#include "client/codec.h"

#include "state/path.h"

/* What an operation is made of: drives checking, sizing and writing of the request. */
enum codec_part {
    PART_PATH = 1,     /* under the chroot */
    PART_WATCH = 2,    /* a flag whether to watch */
    PART_VERSION = 4,
    PART_DATA = 8,
    PART_ACL = 16,
    PART_OPS = 32,
    PART_IN_MULTI = 64,
    PART_IN_READ = 128 /* may stand in a multi_read */
};

enum { CODEC_MULTI_HEADER = 9 }; /* bytes: in front of each operation, and at the end */

struct codec_shape {
    int32_t op; /* on the wire */
    int parts;  /* enum codec_part */
};

static const struct codec_shape CODEC_SHAPES[] = {
    [ZK_OP_CREATE] = {ZOP_CREATE2, PART_PATH | PART_DATA | PART_ACL | PART_IN_MULTI},
    [ZK_OP_DELETE] = {ZOP_DELETE, PART_PATH | PART_VERSION | PART_IN_MULTI},
    [ZK_OP_EXISTS] = {ZOP_EXISTS, PART_PATH | PART_WATCH},
    [ZK_OP_GET] = {ZOP_GET_DATA, PART_PATH | PART_WATCH | PART_IN_READ},
    [ZK_OP_SET] = {ZOP_SET_DATA, PART_PATH | PART_DATA | PART_VERSION | PART_IN_MULTI},
    [ZK_OP_GET_ACL] = {ZOP_GET_ACL, PART_PATH},
    [ZK_OP_SET_ACL] = {ZOP_SET_ACL, PART_PATH | PART_ACL | PART_VERSION},
    [ZK_OP_GET_CHILDREN] = {ZOP_GET_CHILDREN2, PART_PATH | PART_WATCH | PART_IN_READ},
    [ZK_OP_SYNC] = {ZOP_SYNC, PART_PATH},
    [ZK_OP_CHECK] = {ZOP_CHECK, PART_PATH | PART_VERSION | PART_IN_MULTI},
    [ZK_OP_MULTI] = {ZOP_MULTI, PART_OPS},
    [ZK_OP_MULTI_READ] = {ZOP_MULTI_READ, PART_OPS},
    [ZK_OP_GET_EPHEMERALS] = {ZOP_GET_EPHEMERALS, PART_PATH},
    [ZK_OP_GET_ALL_CHILDREN_NUMBER] = {ZOP_GET_ALL_CHILDREN_NUMBER, PART_PATH},
    [ZK_OP_ADD_WATCH] = {ZOP_ADD_WATCH, PART_PATH},
    [ZK_OP_REMOVE_WATCHES] = {ZOP_REMOVE_WATCHES, PART_PATH},
    [ZK_OP_WHO_AM_I] = {ZOP_WHO_AM_I, 0},
    [ZK_OP_ADD_AUTH] = {ZOP_AUTH, PART_DATA},
    [ZK_OP_GET_CONFIG] = {ZOP_GET_DATA, PART_WATCH},
    [ZK_OP_RECONFIG] = {ZOP_RECONFIG, 0},
};

static const struct codec_shape *codec_shape(const struct zk_op *op) {
    return &CODEC_SHAPES[op->type];
}

static bool codec_is_ttl(const struct zk_op *op) {
    return op->mode == ZK_PERSISTENT_WITH_TTL || op->mode == ZK_PERSISTENT_SEQUENTIAL_WITH_TTL;
}

/* --- checking --- */

static bool codec_path_ok(const struct zk_op *op) {
    struct slice path = slice_str(op->path);
    bool sequence = op->type == ZK_OP_CREATE && (op->mode == ZK_PERSISTENT_SEQUENTIAL ||
                                                 op->mode == ZK_EPHEMERAL_SEQUENTIAL ||
                                                 op->mode == ZK_PERSISTENT_SEQUENTIAL_WITH_TTL);
    if (path_valid(path)) return true;
    /* What counts is the name that the server will make of it: "/a/" becomes "/a/0000000000". */
    struct slice name = path_name(path);
    if (!sequence || name.n == path.n) return false;
    if (name.n && !slice_is(name, ".") && !slice_is(name, "..")) return false;
    return path.n == name.n + 1 || path_valid(slice_of(path.p, path.n - name.n - 1));
}

static int codec_check_ops(const struct zk_op *op, struct slice chroot, uint32_t max) {
    if (op->op_count < 0 || (op->op_count && !op->ops)) return ZK_BAD_ARGUMENTS;
    int place = op->type == ZK_OP_MULTI ? PART_IN_MULTI : PART_IN_READ;
    for (int i = 0; i < op->op_count; i++) {
        const struct zk_op *one = &op->ops[i];
        int err = codec_check(one, chroot, max);
        if (err) return err;
        if (!(codec_shape(one)->parts & place) || one->watch) return ZK_BAD_ARGUMENTS;
    }
    return ZK_OK;
}

static int codec_check_create(const struct zk_op *op) {
    if (op->mode < ZK_PERSISTENT || op->mode > ZK_PERSISTENT_SEQUENTIAL_WITH_TTL)
        return ZK_BAD_ARGUMENTS;
    bool ttl_ok = op->ttl_ms > 0 && op->ttl_ms <= TTL_MAX_MS;
    return codec_is_ttl(op) && !ttl_ok ? ZK_BAD_ARGUMENTS : ZK_OK;
}

static int codec_check_watch(const struct zk_op *op) {
    if (op->type == ZK_OP_ADD_WATCH)
        return op->watch && (op->watch_kind == ZK_WATCH_PERSISTENT ||
                             op->watch_kind == ZK_WATCH_RECURSIVE)
                   ? ZK_OK
                   : ZK_BAD_ARGUMENTS;
    if (op->type == ZK_OP_REMOVE_WATCHES)
        return op->watch_kind >= ZK_WATCH_CHILDREN && op->watch_kind <= ZK_WATCH_RECURSIVE
                   ? ZK_OK
                   : ZK_BAD_ARGUMENTS;
    return op->watch && !(codec_shape(op)->parts & PART_WATCH) ? ZK_BAD_ARGUMENTS : ZK_OK;
}

/* acl NULL stands for open in a create; in a set_acl it would open what was closed. */
static int codec_check_acl(const struct zk_op *op) {
    if (op->acl_count < 0 || (op->acl_count && !op->acl)) return ZK_BAD_ARGUMENTS;
    if (op->type == ZK_OP_SET_ACL && !op->acl_count) return ZK_INVALID_ACL;
    if (op->acl && !op->acl_count) return ZK_INVALID_ACL;
    for (int i = 0; i < op->acl_count; i++)
        if (!op->acl[i].scheme || !op->acl[i].id) return ZK_INVALID_ACL;
    return ZK_OK;
}

ZK_PRIVATE int codec_check(const struct zk_op *op, struct slice chroot, uint32_t max) {
    if (op->type < ZK_OP_CREATE || op->type > ZK_OP_RECONFIG) return ZK_BAD_ARGUMENTS;
    int parts = codec_shape(op)->parts;
    if ((parts & PART_PATH) && (!op->path || !codec_path_ok(op))) return ZK_BAD_ARGUMENTS;
    if ((parts & PART_DATA) && (op->data_len < -1 || (op->data_len > 0 && !op->data)))
        return ZK_BAD_ARGUMENTS;
    if (op->type == ZK_OP_ADD_AUTH && !op->scheme) return ZK_BAD_ARGUMENTS;
    int err = codec_check_watch(op);
    if (!err && op->type == ZK_OP_CREATE) err = codec_check_create(op);
    if (!err && (parts & PART_ACL)) err = codec_check_acl(op);
    if (!err && (parts & PART_OPS)) err = codec_check_ops(op, chroot, max);
    if (!err && codec_size(op, chroot) - 4 > max) err = ZK_TOO_LARGE;
    return err;
}

/* --- writing --- */

static size_t codec_len(const char *s) {
    return s ? strlen(s) : 0;
}

/* An access control list; NULL stands for an open one. */
static const struct zk_acl *codec_acl_of(const struct zk_op *op, int *n) {
    static const struct zk_acl open = {ZK_PERM_ALL, "world", "anyone"};
    *n = op->acl ? op->acl_count : 1;
    return op->acl ? op->acl : &open;
}

/* stock: ZooKeeper.delete, which lets the root be refused rather than take the chroot away */
static struct slice codec_chroot_of(const struct zk_op *op, struct slice chroot) {
    bool root = op->type == ZK_OP_DELETE && strcmp(op->path, "/") == 0;
    return root ? slice_of(NULL, 0) : chroot;
}

static size_t codec_path_size(const struct zk_op *op, struct slice chroot) {
    chroot = codec_chroot_of(op, chroot);
    bool alone = chroot.n && strcmp(op->path, "/") == 0;
    return 4 + chroot.n + (alone ? 0 : strlen(op->path));
}

static size_t codec_acl_size(const struct zk_op *op) {
    int count;
    const struct zk_acl *acl = codec_acl_of(op, &count);
    size_t n = 4;
    for (int i = 0; i < count; i++) n += 12 + strlen(acl[i].scheme) + strlen(acl[i].id);
    return n;
}

/* What codec_put_body writes. */
static size_t codec_body_size(const struct zk_op *op, struct slice chroot) {
    int parts = codec_shape(op)->parts;
    size_t n = op->type == ZK_OP_GET_CONFIG ? 4 + strlen(CODEC_CONFIG_PATH) : 0;
    if (op->type == ZK_OP_ADD_AUTH) n += 8 + strlen(op->scheme);
    if (parts & PART_PATH) n += codec_path_size(op, chroot);
    if (parts & PART_WATCH) n += 1;
    if (parts & PART_DATA) n += 4 + (size_t)(op->data_len > 0 ? op->data_len : 0);
    if (parts & PART_ACL) n += codec_acl_size(op);
    if (parts & PART_VERSION) n += 4;
    if (op->type == ZK_OP_CREATE) n += codec_is_ttl(op) ? 12 : 4;
    if (op->type == ZK_OP_ADD_WATCH || op->type == ZK_OP_REMOVE_WATCHES) n += 4;
    if (op->type == ZK_OP_RECONFIG)
        n += 20 + codec_len(op->joining) + codec_len(op->leaving) + codec_len(op->members);
    return n;
}

ZK_PRIVATE size_t codec_size(const struct zk_op *op, struct slice chroot) {
    size_t n = 12 + codec_body_size(op, chroot);
    if (!(codec_shape(op)->parts & PART_OPS)) return n;
    for (int i = 0; i < op->op_count; i++)
        n += CODEC_MULTI_HEADER + codec_body_size(&op->ops[i], chroot);
    return n + CODEC_MULTI_HEADER;
}

ZK_PRIVATE struct slice codec_path(struct buf *out, struct slice path, struct slice chroot) {
    size_t from = out->n;
    buf_put(out, chroot.p, chroot.n);
    if (!chroot.n || !slice_is(path, "/")) buf_put(out, path.p, path.n);
    return slice_of(out->p + from, out->n - from);
}

static void codec_put_path(struct buf *out, const struct zk_op *op, struct slice chroot) {
    size_t at = out->n;
    (void)buf_grow(out, 4);
    struct slice path = codec_path(out, slice_str(op->path), codec_chroot_of(op, chroot));
    put_be32(out->p + at, (uint32_t)path.n);
}

static void codec_put_text(struct buf *out, const char *s) {
    if (s)
        jw_str(out, s);
    else
        jw_i32(out, -1);
}

static void codec_put_data(struct buf *out, const struct zk_op *op) {
    jw_i32(out, op->data_len);
    if (op->data_len > 0) buf_put(out, op->data, (size_t)op->data_len);
}

static void codec_put_acl(struct buf *out, const struct zk_op *op) {
    int n;
    const struct zk_acl *acl = codec_acl_of(op, &n);
    jw_i32(out, n);
    for (int i = 0; i < n; i++) {
        jw_i32(out, acl[i].perms);
        jw_str(out, acl[i].scheme);
        jw_str(out, acl[i].id);
    }
}

/* Creates have an opcode for each kind. A plain one in a multi is the old opcode: servers before
 * 3.8.1 lose create2 there on all but the leader. */
static int32_t codec_opcode(const struct zk_op *op, bool in_multi) {
    int32_t code = codec_shape(op)->op;
    if (op->type == ZK_OP_GET_CHILDREN && in_multi) return ZOP_GET_CHILDREN;
    if (op->type != ZK_OP_CREATE) return code;
    if (codec_is_ttl(op)) return ZOP_CREATE_TTL;
    if (op->mode == ZK_CONTAINER) return ZOP_CREATE_CONTAINER;
    return in_multi && !op->want_stat ? ZOP_CREATE : code;
}

static void codec_put_body(struct buf *out, const struct zk_op *op, struct slice chroot) {
    int parts = codec_shape(op)->parts;
    if (op->type == ZK_OP_GET_CONFIG) jw_str(out, CODEC_CONFIG_PATH);
    if (op->type == ZK_OP_ADD_AUTH) {
        jw_i32(out, 0);
        jw_str(out, op->scheme);
    }
    if (parts & PART_PATH) codec_put_path(out, op, chroot);
    if (parts & PART_WATCH) jw_u8(out, op->watch != NULL);
    if (parts & PART_DATA) codec_put_data(out, op);
    if (parts & PART_ACL) codec_put_acl(out, op);
    if (parts & PART_VERSION) jw_i32(out, op->version);
    if (op->type == ZK_OP_CREATE) jw_i32(out, (int32_t)op->mode);
    if (op->type == ZK_OP_CREATE && codec_is_ttl(op)) jw_i64(out, op->ttl_ms);
    if (op->type == ZK_OP_ADD_WATCH) jw_i32(out, op->watch_kind == ZK_WATCH_RECURSIVE);
    if (op->type == ZK_OP_REMOVE_WATCHES) jw_i32(out, (int32_t)op->watch_kind);
    if (op->type == ZK_OP_RECONFIG) {
        codec_put_text(out, op->joining);
        codec_put_text(out, op->leaving);
        codec_put_text(out, op->members);
        jw_i64(out, op->config_version);
    }
}

ZK_PRIVATE void codec_request(struct buf *out, const struct zk_op *op, int32_t xid,
                              struct slice chroot) {
    size_t at = out->n;
    jw_i32(out, 0);
    jw_i32(out, xid);
    jw_i32(out, codec_opcode(op, false));
    codec_put_body(out, op, chroot);
    if (codec_shape(op)->parts & PART_OPS) {
        for (int i = 0; i < op->op_count; i++) {
            jw_multi_header(out, codec_opcode(&op->ops[i], true), false, -1);
            codec_put_body(out, &op->ops[i], chroot);
        }
        jw_multi_header(out, -1, true, -1);
    }
    put_be32(out->p + at, (uint32_t)(out->n - at - 4));
}

/* --- reading --- */

/* One block, handed out from the front: room was counted before. */
struct shelf {
    uint8_t *p, *end;
};

static void *shelf_take(struct shelf *s, size_t n) {
    uint8_t *p = s->p;
    n = (n + 7) & ~(size_t)7;
    ZK_ASSERT(n <= (size_t)(s->end - s->p));
    s->p += n;
    return p;
}

static const char *shelf_text(struct shelf *s, struct slice text) {
    char *p = shelf_take(s, text.n + 1);
    if (text.n) memcpy(p, text.p, text.n);
    p[text.n] = '\0';
    return p;
}

ZK_PRIVATE struct slice codec_strip(struct slice path, struct slice chroot) {
    if (!chroot.n || path.n < chroot.n || memcmp(path.p, chroot.p, chroot.n) != 0) return path;
    if (path.n == chroot.n) return slice_str("/");
    if (path.p[chroot.n] != '/') return path;
    return slice_of(path.p + chroot.n, path.n - chroot.n);
}

static void codec_stat(struct jr *r, struct zk_stat *s) {
    s->czxid = jr_i64(r);
    s->mzxid = jr_i64(r);
    s->ctime = jr_i64(r);
    s->mtime = jr_i64(r);
    s->version = jr_i32(r);
    s->cversion = jr_i32(r);
    s->aversion = jr_i32(r);
    s->ephemeral_owner = jr_i64(r);
    s->data_length = jr_i32(r);
    s->num_children = jr_i32(r);
    s->pzxid = jr_i64(r);
}

/* A reply is read by the parts that its record has, in this order. */
enum codec_reply_part {
    HAS_PATH = 1,
    HAS_DATA = 2,
    HAS_NAMES = 4,
    HAS_ACL = 8,
    HAS_IDS = 16, /* who_am_i: scheme and name, no perms */
    HAS_NUMBER = 32,
    HAS_STAT = 64
};

static int codec_reply_parts(int32_t op) {
    switch (op) {
    case ZOP_CREATE:
    case ZOP_SYNC: return HAS_PATH;
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL: return HAS_PATH | HAS_STAT;
    case ZOP_EXISTS:
    case ZOP_SET_DATA:
    case ZOP_SET_ACL: return HAS_STAT;
    case ZOP_GET_DATA:
    case ZOP_RECONFIG: return HAS_DATA | HAS_STAT;
    case ZOP_GET_ACL: return HAS_ACL | HAS_STAT;
    case ZOP_GET_CHILDREN:
    case ZOP_GET_EPHEMERALS: return HAS_NAMES;
    case ZOP_GET_CHILDREN2: return HAS_NAMES | HAS_STAT;
    case ZOP_GET_ALL_CHILDREN_NUMBER: return HAS_NUMBER;
    case ZOP_WHO_AM_I: return HAS_IDS;
    default: return 0;
    }
}

/* Entries that could stand in what is left, each of at least so many bytes. Bad otherwise. */
static int32_t codec_count(struct jr *r, size_t least) {
    int32_t n = jr_count(r);
    if (n < 0) return 0;
    if ((size_t)n > jr_left(r) / least) r->bad = true;
    return r->bad ? 0 : n;
}

/* How much memory the parts of one record will need; goes past it. */
static size_t codec_measure(struct jr *r, int parts) {
    size_t need = 0;
    if (parts & HAS_PATH) {
        struct slice path = jr_bytes(r);
        need += path.n + 16;
        if (!path.p) r->bad = true; /* who creates a node counts on its name */
    }
    if (parts & HAS_DATA) need += jr_bytes(r).n + 16;
    if (parts & HAS_NAMES) {
        int32_t n = codec_count(r, 4);
        need += (size_t)n * sizeof(char *);
        for (int32_t i = 0; i < n; i++) need += jr_bytes(r).n + 16;
    }
    if (parts & (HAS_ACL | HAS_IDS)) {
        int32_t n = codec_count(r, 8);
        need += (size_t)n * sizeof(struct zk_acl);
        for (int32_t i = 0; i < n; i++) {
            if (parts & HAS_ACL) (void)jr_i32(r);
            need += jr_bytes(r).n + 16;
            need += jr_bytes(r).n + 16;
        }
    }
    struct zk_stat stat;
    if (parts & HAS_NUMBER) (void)jr_i32(r);
    if (parts & HAS_STAT) codec_stat(r, &stat);
    return need + 16;
}

static void codec_names(struct jr *r, struct shelf *s, struct zk_result *out,
                        struct slice chroot) {
    int32_t n = codec_count(r, 4);
    const char **names = shelf_take(s, (size_t)n * sizeof *names);
    for (int32_t i = 0; i < n; i++) {
        struct slice one = jr_bytes(r);
        names[i] = shelf_text(s, codec_strip(one, chroot));
    }
    out->count = n;
    out->names = names;
}

static void codec_acl(struct jr *r, struct shelf *s, struct zk_result *out, bool perms) {
    int32_t n = codec_count(r, 8);
    struct zk_acl *acl = shelf_take(s, (size_t)n * sizeof *acl);
    for (int32_t i = 0; i < n; i++) {
        acl[i].perms = perms ? jr_i32(r) : 0;
        acl[i].scheme = shelf_text(s, jr_bytes(r));
        acl[i].id = shelf_text(s, jr_bytes(r));
    }
    out->count = n;
    out->acl = acl;
}

/* What codec_measure went past, into out. */
static void codec_record(struct jr *r, struct shelf *s, int parts, struct zk_result *out,
                         struct slice chroot) {
    if (parts & HAS_PATH) out->path = shelf_text(s, codec_strip(jr_bytes(r), chroot));
    if (parts & HAS_DATA) {
        struct slice data = jr_bytes(r);
        if (data.p) out->data = shelf_text(s, data);
        out->data_len = data.p ? (int)data.n : -1;
    }
    /* Only whole paths are below a chroot; children are names. */
    if (parts & HAS_NAMES) codec_names(r, s, out, parts == HAS_NAMES ? chroot : slice_of(NULL, 0));
    if (parts & HAS_ACL) codec_acl(r, s, out, true);
    if (parts & HAS_IDS) codec_acl(r, s, out, false);
    if (parts & HAS_NUMBER) out->number = jr_i32(r);
    if (parts & HAS_STAT) codec_stat(r, &out->stat);
    out->has_stat = (parts & HAS_STAT) != 0;
}

/* --- of a multi --- */

static size_t codec_measure_multi(struct jr *r, int32_t *count) {
    size_t need = 0;
    for (*count = 0; !r->bad; (*count)++) {
        struct multi_header h = jr_multi_header(r);
        if (h.done) return need;
        need += sizeof(struct zk_result);
        if (h.type == ZOP_ERROR)
            (void)jr_i32(r);
        else
            need += codec_measure(r, codec_reply_parts(h.type));
    }
    return need;
}

static void codec_multi(struct jr *r, struct shelf *s, int32_t n, struct zk_result *out,
                        struct slice chroot) {
    struct zk_result *results = shelf_take(s, (size_t)n * sizeof *results);
    memset(results, 0, (size_t)n * sizeof *results);
    for (int32_t i = 0; i < n; i++) {
        struct multi_header h = jr_multi_header(r);
        results[i].zxid = out->zxid;
        results[i].data_len = -1;
        if (h.type == ZOP_ERROR)
            results[i].error = jr_i32(r);
        else
            codec_record(r, s, codec_reply_parts(h.type), &results[i], chroot);
        bool counts = results[i].error && results[i].error != ZK_RUNTIME_INCONSISTENCY;
        if (counts && !out->error) out->error = results[i].error;
    }
    out->count = n;
    out->results = results;
}

static struct zk_result *codec_plain(int64_t zxid, int32_t error, size_t more, struct shelf *s) {
    size_t n = sizeof(struct zk_result) + 16 + more;
    struct zk_result *out = mem_try(sizeof *out + 16 + more);
    if (!out) return NULL;
    out->zxid = zxid;
    out->error = error;
    out->data_len = -1;
    s->p = (uint8_t *)(out + 1);
    s->end = (uint8_t *)out + n;
    return out;
}

ZK_PRIVATE struct zk_result *codec_reply(const struct codec_answer *a, struct slice chroot) {
    struct shelf shelf;
    bool multi = a->type == ZK_OP_MULTI || a->type == ZK_OP_MULTI_READ;
    int parts = codec_reply_parts(CODEC_SHAPES[a->type].op);
    /* A multi_read that failed as a whole may have results all the same. */
    if (a->error && !(a->type == ZK_OP_MULTI_READ && a->body.n))
        return codec_plain(a->zxid, a->error, 0, &shelf);
    struct jr r = jr_open(a->body, UINT32_MAX);
    int32_t count = 0;
    size_t need = multi ? codec_measure_multi(&r, &count) : codec_measure(&r, parts);
    if (r.bad || (multi && count != a->op_count))
        return codec_plain(a->zxid, a->error ? a->error : ZK_MARSHALLING_ERROR, 0, &shelf);
    struct zk_result *out = codec_plain(a->zxid, a->error, need, &shelf);
    if (!out) return NULL;
    r = jr_open(a->body, UINT32_MAX);
    if (multi)
        codec_multi(&r, &shelf, count, out, chroot);
    else
        codec_record(&r, &shelf, parts, out, chroot);
    ZK_ASSERT(!r.bad);
    return out;
}
