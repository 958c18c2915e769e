/*
 * zookeeper_ops.c: the operations of the C interface of Apache ZooKeeper, on top of zk.h.
 *
 * Each operation is made once, as a struct zk_op; then it is submitted with a completion, or called
 * and its result copied to where the program wants it.
 */
#include "zookeeper_private.h"

#include <limits.h>
#include <string.h>

static const int64_t TTL_MAX = 0xffffffffff; /* ms */

/* --- values --- */

static struct Stat stat_of(const struct zk_stat *s) {
    return (struct Stat){
        .czxid = s->czxid,
        .mzxid = s->mzxid,
        .ctime = s->ctime,
        .mtime = s->mtime,
        .version = s->version,
        .cversion = s->cversion,
        .aversion = s->aversion,
        .ephemeralOwner = s->ephemeral_owner,
        .dataLength = s->data_length,
        .numChildren = s->num_children,
        .pzxid = s->pzxid,
    };
}

static void put_stat(struct Stat *out, const struct zk_result *r) {
    if (out && r->has_stat) *out = stat_of(&r->stat);
}

/* Cut if need be; ends in a NUL. */
static void put_path(char *out, int n, const char *path) {
    if (!out || n <= 0 || !path) return;
    size_t len = strnlen(path, (size_t)n - 1);
    memcpy(out, path, len);
    out[len] = '\0';
}

/* False: no memory; then *out is empty. */
static bool put_acl(struct ACL_vector *out, const struct zk_result *r) {
    if (allocate_ACL_vector(out, r->count)) {
        out->count = 0;
        return false;
    }
    for (int i = 0; i < r->count; i++) {
        struct ACL *one = &out->data[i];
        one->perms = r->acl[i].perms;
        one->id.scheme = strdup(r->acl[i].scheme);
        one->id.id = strdup(r->acl[i].id);
        if (one->id.scheme && one->id.id) continue;
        (void)deallocate_ACL_vector(out);
        out->count = 0;
        return false;
    }
    return true;
}

/* --- operations --- */

/* NULL and a negative length both say null. */
static void set_value(struct zk_op *op, const char *value, int len) {
    op->data = value;
    op->data_len = value ? len : -1;
}

/* An ACL that is missing is sent as an empty one, for the server to refuse. */
static int set_acl(struct zk_op *op, const struct ACL_vector *acl, struct zk_acl **owned) {
    static const struct zk_acl none;
    int count = acl && acl->count > 0 ? acl->count : 0;
    struct zk_acl *list = count ? malloc((size_t)count * sizeof *list) : NULL;
    *owned = list;
    if (count && !list) return ZSYSTEMERROR;
    for (int i = 0; i < count; i++)
        list[i] = (struct zk_acl){acl->data[i].perms, acl->data[i].id.scheme, acl->data[i].id.id};
    op->acl = count ? list : &none;
    op->acl_count = count;
    return ZOK;
}

static bool mode_takes_ttl(int mode) {
    return mode == ZOO_PERSISTENT_WITH_TTL || mode == ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL;
}

static bool mode_is_known(int mode) {
    return mode >= ZOO_PERSISTENT && mode <= ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL;
}

static int create_op(struct zk_op *op, const char *path, const char *value, int len,
                     const struct ACL_vector *acl, int mode, int64_t ttl, struct zk_acl **owned) {
    bool timed = mode_takes_ttl(mode);
    *owned = NULL;
    if (!mode_is_known(mode)) return ZBADARGUMENTS;
    if (timed ? ttl <= 0 || ttl > TTL_MAX : ttl >= 0) return ZBADARGUMENTS;
    *op = zk_create(path, NULL, -1, (enum zk_create_mode)mode);
    op->ttl_ms = ttl;
    set_value(op, value, len);
    return set_acl(op, acl, owned);
}

static struct zk_op set_op(const char *path, const char *value, int len, int version) {
    struct zk_op op = zk_set(path, NULL, -1, version);
    set_value(&op, value, len);
    return op;
}

/*
 * stock: what cannot be sent fails when the attempt to connect does. Here it waits for another
 * server to answer, though not for ever. What goes out at once has all the time it needs, with a
 * limit only for what the connection is lost under just now.
 */
static int patience(zhandle_t *zh) {
    int state = zoo_state(zh), timeout = zk_session_timeout(zh->zk);
    if (state != ZOO_CONNECTED_STATE && state != ZOO_READONLY_STATE) return timeout / 3 * 2 + 1;
    return timeout < INT_MAX / 10 ? timeout * 10 : INT_MAX;
}

/* The watcher and context of the session, if they are wanted. */
struct session_watcher {
    watcher_fn fn;
    void *ctx;
};

static struct session_watcher session_watcher(zhandle_t *zh, int wanted) {
    struct session_watcher w = {NULL, NULL};
    if (!zh || !wanted) return w;
    (void)pthread_mutex_lock(&zh->lock);
    w = (struct session_watcher){zh->watcher, zh->context};
    (void)pthread_mutex_unlock(&zh->lock);
    return w;
}

/* --- multi --- */

/* What a multi leaves behind for its results. */
struct slot {
    int type;
    char *path;
    int path_len;
    struct Stat *stat;
    bool bare; /* to be created without an ACL */
};

/* A multi in the terms of zk.h. All owned. */
struct multi {
    struct zk_op *ops;
    struct zk_acl **acls;
    struct slot *slots;
    int count;
};

static void multi_free(struct multi *m) {
    for (int i = 0; m->acls && i < m->count; i++) free(m->acls[i]);
    free(m->acls);
    free(m->ops);
    free(m->slots);
    memset(m, 0, sizeof *m);
}

static int multi_part(const zoo_op_t *from, struct zk_op *op, struct zk_acl **acl,
                      struct slot *slot) {
    int64_t ttl;
    slot->type = from->type;
    switch (from->type) {
    case ZOO_CREATE_OP:
    case ZOO_CREATE2_OP:
    case ZOO_CREATE_CONTAINER_OP:
    case ZOO_CREATE_TTL_OP:
        slot->path = from->create_op.buf;
        slot->path_len = from->create_op.buflen;
        slot->bare = !from->create_op.acl || from->create_op.acl->count <= 0;
        ttl = mode_takes_ttl(from->create_op.flags) ? from->create_op.ttl : -1;
        return create_op(op, from->create_op.path, from->create_op.data, from->create_op.datalen,
                         from->create_op.acl, from->create_op.flags, ttl, acl);
    case ZOO_DELETE_OP:
        *op = zk_delete(from->delete_op.path, from->delete_op.version);
        return ZOK;
    case ZOO_SETDATA_OP:
        slot->stat = from->set_op.stat;
        *op = set_op(from->set_op.path, from->set_op.data, from->set_op.datalen,
                     from->set_op.version);
        return ZOK;
    case ZOO_CHECK_OP:
        *op = zk_check(from->check_op.path, from->check_op.version);
        return ZOK;
    default: return ZUNIMPLEMENTED;
    }
}

static int multi_make(struct multi *m, int count, const zoo_op_t *ops) {
    size_t n = count > 0 ? (size_t)count : 1;
    memset(m, 0, sizeof *m);
    if (count < 0 || (count && !ops)) return ZBADARGUMENTS;
    m->count = count;
    m->ops = calloc(n, sizeof *m->ops);
    m->acls = calloc(n, sizeof *m->acls);
    m->slots = calloc(n, sizeof *m->slots);
    int rc = m->ops && m->acls && m->slots ? ZOK : ZSYSTEMERROR;
    for (int i = 0; !rc && i < count; i++)
        rc = multi_part(&ops[i], &m->ops[i], &m->acls[i], &m->slots[i]);
    if (rc) multi_free(m);
    return rc;
}

/* stock: an operation that cannot be sent is no bad argument within a multi. */
static int multi_refused(int rc) { return rc == ZBADARGUMENTS ? ZMARSHALLINGERROR : rc; }

/* Of an operation when there was no reply. An ACL that is missing was refused before the server
 * could see it: then what it would have said. */
static int error_without_reply(const struct slot *slots, int i, int rc) {
    if (rc != ZINVALIDACL) return rc;
    for (int before = 0; before < i; before++)
        if (slots[before].bare) return ZRUNTIMEINCONSISTENCY;
    return slots[i].bare ? rc : ZOK;
}

/* Every operation has its error, also when there was no reply. r may be NULL. */
static void multi_results(const struct slot *slots, int count, zoo_op_result_t *results, int rc,
                          const struct zk_result *r) {
    for (int i = 0; results && i < count; i++) {
        const struct zk_result *part = r && i < r->count ? &r->results[i] : NULL;
        bool makes = slots[i].type != ZOO_DELETE_OP && slots[i].type != ZOO_SETDATA_OP &&
                     slots[i].type != ZOO_CHECK_OP;
        results[i].err = part ? part->error : error_without_reply(slots, i, rc);
        if (makes || slots[i].type == ZOO_SETDATA_OP) results[i].stat = NULL;
        if (makes) {
            results[i].value = rc ? NULL : slots[i].path;
            results[i].valuelen = slots[i].path_len;
        }
        if (rc || !part) continue;
        put_path(slots[i].path, slots[i].path_len, part->path);
        if (slots[i].stat) put_stat(slots[i].stat, part);
        if (slots[i].stat) results[i].stat = slots[i].stat;
    }
}

static void create_init(zoo_op_t *op, int type, const char *path, const char *value, int len,
                        const struct ACL_vector *acl, int mode, char *buffer, int room) {
    if (!op) return;
    memset(op, 0, sizeof *op);
    op->type = type;
    op->create_op.path = path;
    op->create_op.data = value;
    op->create_op.datalen = len;
    op->create_op.acl = acl;
    op->create_op.flags = mode;
    op->create_op.ttl = 0;
    op->create_op.buf = buffer;
    op->create_op.buflen = room;
}

void zoo_create_op_init(zoo_op_t *op, const char *path, const char *value, int valuelen,
                        const struct ACL_vector *acl, int mode, char *path_buffer,
                        int path_buffer_len) {
    int type = mode == ZOO_CONTAINER      ? ZOO_CREATE_CONTAINER_OP
               : mode_takes_ttl(mode) ? ZOO_CREATE_TTL_OP
                                          : ZOO_CREATE_OP;
    create_init(op, type, path, value, valuelen, acl, mode, path_buffer, path_buffer_len);
}

void zoo_create2_op_init(zoo_op_t *op, const char *path, const char *value, int valuelen,
                         const struct ACL_vector *acl, int mode, char *path_buffer,
                         int path_buffer_len) {
    create_init(op, ZOO_CREATE2_OP, path, value, valuelen, acl, mode, path_buffer,
                path_buffer_len);
}

void zoo_delete_op_init(zoo_op_t *op, const char *path, int version) {
    if (!op) return;
    memset(op, 0, sizeof *op);
    op->type = ZOO_DELETE_OP;
    op->delete_op.path = path;
    op->delete_op.version = version;
}

void zoo_set_op_init(zoo_op_t *op, const char *path, const char *buffer, int buflen, int version,
                     struct Stat *stat) {
    if (!op) return;
    memset(op, 0, sizeof *op);
    op->type = ZOO_SETDATA_OP;
    op->set_op.path = path;
    op->set_op.data = buffer;
    op->set_op.datalen = buflen;
    op->set_op.version = version;
    op->set_op.stat = stat;
}

void zoo_check_op_init(zoo_op_t *op, const char *path, int version) {
    if (!op) return;
    memset(op, 0, sizeof *op);
    op->type = ZOO_CHECK_OP;
    op->check_op.path = path;
    op->check_op.version = version;
}

/* --- asynchronous --- */

/* What to do with a result. r is never NULL. */
struct call;
typedef void (*finish_fn)(const struct call *call, int rc, const struct zk_result *r);

/* A completion that is due. Owned by the library until it is called. */
struct call {
    zhandle_t *zh;
    enum zk_op_type type;
    int refused; /* what the completion is to hear instead of the result */
    finish_fn finish;
    struct watch_use use;
    struct watch_removal removal;
    union {
        void_completion_t nothing;
        stat_completion_t stat;
        data_completion_t data;
        strings_completion_t strings;
        strings_stat_completion_t strings_stat;
        string_completion_t string;
        string_stat_completion_t string_stat;
        acl_completion_t acl;
    } done;
    const void *data;
    struct slot *slots; /* of a multi; owned */
    int count;
    zoo_op_result_t *results;
};

static void drop_call(const struct call *call) {
    free(call->removal.path);
    free(call->slots);
}

static void on_done(void *user, const struct zk_result *r) {
    struct call *call = user;
    zhandle_t *zh = call->zh;
    watch_end(zh, &call->use, call->type, r->error, r->zxid, false);
    removal_end(zh, &call->removal, r->error);
    call->finish(call, r->error || !call->refused ? zoo_error(r->error) : call->refused, r);
    free(call->slots);
    free(call);
    zh_release(zh);
}

/*
 * stock: an ACL and a mode are for the server to refuse, and the removal of all watches where there
 * are none, so the completion hears of that, in its turn. zk.h refuses them at once; a question
 * without consequences goes to the server in its place.
 */
static int64_t submit_or_refuse(zhandle_t *zh, struct zk_op op, struct call *call) {
    bool all = op.type == ZK_OP_REMOVE_WATCHES && !op.watch;
    int64_t rc = call->refused;
    if (!rc) {
        rc = zk_submit(zh->zk, op, on_done, call); /* which now may be gone already */
        if (rc != ZINVALIDACL && !(rc == ZNOWATCHER && all)) return rc;
    }
    call->refused = (int)rc;
    return zk_submit(zh->zk, zk_exists("/"), on_done, call);
}

/* Takes over what `made` owns, whatever becomes of it. The handle was entered. */
static int submit_entered(zhandle_t *zh, struct zk_op op, const struct call *made, watcher_fn fn,
                          void *ctx) {
    struct call *call = malloc(sizeof *call);
    int64_t rc = ZK_OUT_OF_MEMORY;
    if (call) {
        *call = *made;
        call->zh = zh;
        call->type = op.type;
        if (op.type != ZK_OP_ADD_AUTH) op.timeout_ms = patience(zh);
        if (watch_begin(zh, &op, fn, ctx, &call->use)) {
            zh_hold(zh);
            rc = submit_or_refuse(zh, op, call);
            if (rc > 0) return ZOK;
            watch_end(zh, &call->use, op.type, ZK_BUSY, 0, false); /* nothing has come of it */
            zh_leave(zh);
        }
    }
    drop_call(made);
    free(call);
    switch (rc) {
    case ZK_SESSION_EXPIRED:
    case ZK_AUTH_FAILED:
    case ZK_CLOSING: return ZINVALIDSTATE; /* it went while we were busy */
    case ZK_OUT_OF_MEMORY: return ZMARSHALLINGERROR;
    default: return zoo_error((int)rc);
    }
}

static int submit(zhandle_t *zh, struct zk_op op, struct call call, watcher_fn fn, void *ctx) {
    int rc = zh_enter(zh);
    if (rc) {
        drop_call(&call);
        return rc;
    }
    rc = submit_entered(zh, op, &call, fn, ctx);
    zh_leave(zh);
    return rc;
}

static void finish_nothing(const struct call *call, int rc, const struct zk_result *r) {
    (void)r;
    if (call->done.nothing) call->done.nothing(rc, call->data);
}

static void finish_stat(const struct call *call, int rc, const struct zk_result *r) {
    struct Stat stat = stat_of(&r->stat);
    if (call->done.stat) call->done.stat(rc, rc ? NULL : &stat, call->data);
}

static void finish_data(const struct call *call, int rc, const struct zk_result *r) {
    struct Stat stat = stat_of(&r->stat);
    if (!call->done.data) return;
    if (rc)
        call->done.data(rc, NULL, 0, NULL, call->data);
    else
        call->done.data(rc, r->data_len < 0 ? NULL : r->data, r->data_len, &stat, call->data);
}

/* Completions get vectors they may not keep: these only borrow. */
static struct String_vector borrowed_names(const struct zk_result *r, int rc) {
    struct String_vector v = {rc ? 0 : r->count, NULL};
    if (v.count) v.data = malloc((size_t)v.count * sizeof *v.data);
    if (!v.data) v.count = 0;
    for (int i = 0; i < v.count; i++) memcpy(&v.data[i], &r->names[i], sizeof v.data[i]);
    return v;
}

static void finish_strings(const struct call *call, int rc, const struct zk_result *r) {
    struct String_vector names = borrowed_names(r, rc);
    if (!rc && names.count != r->count) rc = ZSYSTEMERROR;
    if (call->done.strings) call->done.strings(rc, rc ? NULL : &names, call->data);
    free(names.data);
}

static void finish_strings_stat(const struct call *call, int rc, const struct zk_result *r) {
    struct String_vector names = borrowed_names(r, rc);
    struct Stat stat = stat_of(&r->stat);
    if (!rc && names.count != r->count) rc = ZSYSTEMERROR;
    if (call->done.strings_stat)
        call->done.strings_stat(rc, rc ? NULL : &names, rc ? NULL : &stat, call->data);
    free(names.data);
}

static void finish_string(const struct call *call, int rc, const struct zk_result *r) {
    if (call->done.string) call->done.string(rc, rc ? NULL : r->path, call->data);
}

static void finish_string_stat(const struct call *call, int rc, const struct zk_result *r) {
    struct Stat stat = stat_of(&r->stat);
    if (!call->done.string_stat) return;
    call->done.string_stat(rc, rc ? NULL : r->path, rc || !r->has_stat ? NULL : &stat, call->data);
}

static void finish_acl(const struct call *call, int rc, const struct zk_result *r) {
    struct ACL_vector acl = {0, NULL};
    struct Stat stat = stat_of(&r->stat);
    if (!call->done.acl) return;
    if (!rc && !put_acl(&acl, r)) rc = ZSYSTEMERROR;
    call->done.acl(rc, rc ? NULL : &acl, rc ? NULL : &stat, call->data);
    (void)deallocate_ACL_vector(&acl);
}

static void finish_multi(const struct call *call, int rc, const struct zk_result *r) {
    multi_results(call->slots, call->count, call->results, rc, r);
    if (call->done.nothing) call->done.nothing(rc, call->data);
}

static int submit_create(zhandle_t *zh, const char *path, const char *value, int len,
                         const struct ACL_vector *acl, int mode, int64_t ttl, struct call call) {
    struct zk_op op;
    struct zk_acl *owned;
    int rc = create_op(&op, path, value, len, acl, mode, ttl, &owned);
    if (rc == ZBADARGUMENTS && !mode_is_known(mode) && path && ttl < 0) {
        call.refused = rc;
        op = zk_exists("/");
        rc = ZOK;
    }
    if (!rc) rc = submit(zh, op, call, NULL, NULL);
    free(owned);
    return rc;
}

int zoo_acreate(zhandle_t *zh, const char *path, const char *value, int valuelen,
                const struct ACL_vector *acl, int mode, string_completion_t completion,
                const void *data) {
    return zoo_acreate_ttl(zh, path, value, valuelen, acl, mode, -1, completion, data);
}

int zoo_acreate_ttl(zhandle_t *zh, const char *path, const char *value, int valuelen,
                    const struct ACL_vector *acl, int mode, int64_t ttl,
                    string_completion_t completion, const void *data) {
    struct call call = {.finish = finish_string, .done.string = completion, .data = data};
    return submit_create(zh, path, value, valuelen, acl, mode, ttl, call);
}

int zoo_acreate2(zhandle_t *zh, const char *path, const char *value, int valuelen,
                 const struct ACL_vector *acl, int mode, string_stat_completion_t completion,
                 const void *data) {
    return zoo_acreate2_ttl(zh, path, value, valuelen, acl, mode, -1, completion, data);
}

int zoo_acreate2_ttl(zhandle_t *zh, const char *path, const char *value, int valuelen,
                     const struct ACL_vector *acl, int mode, int64_t ttl,
                     string_stat_completion_t completion, const void *data) {
    struct call call = {.finish = finish_string_stat, .done.string_stat = completion, .data = data};
    return submit_create(zh, path, value, valuelen, acl, mode, ttl, call);
}

int zoo_adelete(zhandle_t *zh, const char *path, int version, void_completion_t completion,
                const void *data) {
    struct call call = {.finish = finish_nothing, .done.nothing = completion, .data = data};
    return submit(zh, zk_delete(path, version), call, NULL, NULL);
}

int zoo_aexists(zhandle_t *zh, const char *path, int watch, stat_completion_t completion,
                const void *data) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_awexists(zh, path, w.fn, w.ctx, completion, data);
}

int zoo_awexists(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                 stat_completion_t completion, const void *data) {
    struct call call = {.finish = finish_stat, .done.stat = completion, .data = data};
    if (!path) return ZBADARGUMENTS;
    return submit(zh, zk_exists(path), call, watcher, watcherCtx);
}

int zoo_aget(zhandle_t *zh, const char *path, int watch, data_completion_t completion,
             const void *data) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_awget(zh, path, w.fn, w.ctx, completion, data);
}

int zoo_awget(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
              data_completion_t completion, const void *data) {
    struct call call = {.finish = finish_data, .done.data = completion, .data = data};
    if (!path) return ZBADARGUMENTS;
    return submit(zh, zk_get(path), call, watcher, watcherCtx);
}

int zoo_agetconfig(zhandle_t *zh, int watch, data_completion_t completion, const void *data) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_awgetconfig(zh, w.fn, w.ctx, completion, data);
}

int zoo_awgetconfig(zhandle_t *zh, watcher_fn watcher, void *watcherCtx,
                    data_completion_t completion, const void *data) {
    struct call call = {.finish = finish_data, .done.data = completion, .data = data};
    return submit(zh, zk_get_config(), call, watcher, watcherCtx);
}

int zoo_areconfig(zhandle_t *zh, const char *joining, const char *leaving, const char *members,
                  int64_t version, data_completion_t dc, const void *data) {
    struct call call = {.finish = finish_data, .done.data = dc, .data = data};
    return submit(zh, zk_reconfig(joining, leaving, members, version), call, NULL, NULL);
}

int zoo_aset(zhandle_t *zh, const char *path, const char *buffer, int buflen, int version,
             stat_completion_t completion, const void *data) {
    struct call call = {.finish = finish_stat, .done.stat = completion, .data = data};
    return submit(zh, set_op(path, buffer, buflen, version), call, NULL, NULL);
}

int zoo_aget_children(zhandle_t *zh, const char *path, int watch, strings_completion_t completion,
                      const void *data) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_awget_children(zh, path, w.fn, w.ctx, completion, data);
}

int zoo_awget_children(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                       strings_completion_t completion, const void *data) {
    struct call call = {.finish = finish_strings, .done.strings = completion, .data = data};
    if (!path) return ZBADARGUMENTS;
    return submit(zh, zk_get_children(path), call, watcher, watcherCtx);
}

int zoo_aget_children2(zhandle_t *zh, const char *path, int watch,
                       strings_stat_completion_t completion, const void *data) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_awget_children2(zh, path, w.fn, w.ctx, completion, data);
}

int zoo_awget_children2(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                        strings_stat_completion_t completion, const void *data) {
    struct call call = {
        .finish = finish_strings_stat, .done.strings_stat = completion, .data = data};
    if (!path) return ZBADARGUMENTS;
    return submit(zh, zk_get_children(path), call, watcher, watcherCtx);
}

int zoo_async(zhandle_t *zh, const char *path, string_completion_t completion, const void *data) {
    struct call call = {.finish = finish_string, .done.string = completion, .data = data};
    return submit(zh, zk_sync(path), call, NULL, NULL);
}

int zoo_aget_acl(zhandle_t *zh, const char *path, acl_completion_t completion, const void *data) {
    struct call call = {.finish = finish_acl, .done.acl = completion, .data = data};
    return submit(zh, zk_get_acl(path), call, NULL, NULL);
}

int zoo_aset_acl(zhandle_t *zh, const char *path, int version, struct ACL_vector *acl,
                 void_completion_t completion, const void *data) {
    struct call call = {.finish = finish_nothing, .done.nothing = completion, .data = data};
    struct zk_op op = zk_set_acl(path, NULL, 0, version);
    struct zk_acl *owned;
    int rc = set_acl(&op, acl, &owned);
    if (!rc) rc = submit(zh, op, call, NULL, NULL);
    free(owned);
    return rc;
}

int zoo_amulti(zhandle_t *zh, int count, const zoo_op_t *ops, zoo_op_result_t *results,
               void_completion_t completion, const void *data) {
    struct multi m;
    int rc = zh ? multi_make(&m, count, ops) : ZBADARGUMENTS;
    if (rc) return rc;
    struct call call = {.finish = finish_multi, .done.nothing = completion, .data = data};
    call.slots = m.slots;
    call.count = count;
    call.results = results;
    m.slots = NULL;
    rc = submit(zh, zk_multi(m.ops, count), call, NULL, NULL);
    multi_free(&m);
    return multi_refused(rc);
}

int zoo_add_auth(zhandle_t *zh, const char *scheme, const char *cert, int certLen,
                 void_completion_t completion, const void *data) {
    struct call call = {.finish = finish_nothing, .done.nothing = completion, .data = data};
    if (!scheme) return ZBADARGUMENTS;
    struct zk_op op = zk_add_auth(scheme, cert, cert ? certLen : -1);
    op.timeout_ms = -1;
    return submit(zh, op, call, NULL, NULL);
}

static int removal_op(const char *path, ZooWatcherType wtype, int local, struct zk_op *op) {
    if (!path || wtype < ZWATCHTYPE_CHILD || wtype > ZWATCHTYPE_ANY) return ZBADARGUMENTS;
    *op = zk_remove_watches(path, (enum zk_watch_kind)wtype, NULL, NULL);
    op->local = local != 0;
    return ZOK;
}

int zoo_aremove_watches(zhandle_t *zh, const char *path, ZooWatcherType wtype, watcher_fn watcher,
                        void *watcherCtx, int local, void_completion_t *completion,
                        const void *data) {
    struct call call = {.finish = finish_nothing, .data = data};
    struct zk_op op;
    int rc = zh ? removal_op(path, wtype, local, &op) : ZBADARGUMENTS;
    if (!rc) rc = removal_begin(zh, &op, watcher, watcherCtx, &call.removal);
    if (rc) return rc;
    /* stock: what is declared as a pointer to a completion is the completion itself */
    memcpy(&call.done.nothing, &completion, sizeof completion);
    return submit(zh, op, call, NULL, NULL);
}

int zoo_aremove_all_watches(zhandle_t *zh, const char *path, ZooWatcherType wtype, int local,
                            void_completion_t *completion, const void *data) {
    return zoo_aremove_watches(zh, path, wtype, NULL, NULL, local, completion, data);
}

/* --- synchronous --- */

#ifndef ZOO_SINGLE_THREADED

static void put_data(char *out, int *n, const struct zk_result *r) {
    if (r->data_len < *n) *n = r->data_len;
    if (out && *n > 0) memcpy(out, r->data, (size_t)*n);
}

/* False: no memory; then *out is empty. */
static bool put_names(struct String_vector *out, const struct zk_result *r) {
    if (allocate_String_vector(out, r->count)) {
        out->count = 0;
        return false;
    }
    for (int i = 0; i < r->count; i++) {
        out->data[i] = strdup(r->names[i]);
        if (out->data[i]) continue;
        (void)deallocate_String_vector(out);
        out->count = 0;
        return false;
    }
    return true;
}

/* *r is to be freed, and is not NULL after ZOK. */
static int wait_for(zhandle_t *zh, struct zk_op op, watcher_fn fn, void *ctx,
                    struct zk_result **r) {
    struct watch_use use;
    int rc = zh_enter(zh);
    *r = NULL;
    if (rc) return rc;
    rc = ZSYSTEMERROR;
    if (watch_begin(zh, &op, fn, ctx, &use)) {
        op.timeout_ms = patience(zh);
        rc = zk_call(zh->zk, op, r);
        watch_end(zh, &use, op.type, rc, *r ? (*r)->zxid : 0, true);
        rc = zoo_error(rc);
    }
    zh_leave(zh);
    return rc;
}

static int wait_for_create(zhandle_t *zh, const char *path, const char *value, int len,
                           const struct ACL_vector *acl, int mode, int64_t ttl, char *buffer,
                           int room, struct Stat *stat) {
    struct zk_op op;
    struct zk_acl *owned;
    struct zk_result *r = NULL;
    int rc = create_op(&op, path, value, len, acl, mode, ttl, &owned);
    if (!rc) rc = wait_for(zh, op, NULL, NULL, &r);
    if (!rc) put_path(buffer, room, r->path);
    if (!rc) put_stat(stat, r);
    zk_result_free(r);
    free(owned);
    return rc;
}

int zoo_create(zhandle_t *zh, const char *path, const char *value, int valuelen,
               const struct ACL_vector *acl, int mode, char *path_buffer, int path_buffer_len) {
    return wait_for_create(zh, path, value, valuelen, acl, mode, -1, path_buffer, path_buffer_len,
                           NULL);
}

int zoo_create_ttl(zhandle_t *zh, const char *path, const char *value, int valuelen,
                   const struct ACL_vector *acl, int mode, int64_t ttl, char *path_buffer,
                   int path_buffer_len) {
    return wait_for_create(zh, path, value, valuelen, acl, mode, ttl, path_buffer,
                           path_buffer_len, NULL);
}

int zoo_create2(zhandle_t *zh, const char *path, const char *value, int valuelen,
                const struct ACL_vector *acl, int mode, char *path_buffer, int path_buffer_len,
                struct Stat *stat) {
    return wait_for_create(zh, path, value, valuelen, acl, mode, -1, path_buffer, path_buffer_len,
                           stat);
}

int zoo_create2_ttl(zhandle_t *zh, const char *path, const char *value, int valuelen,
                    const struct ACL_vector *acl, int mode, int64_t ttl, char *path_buffer,
                    int path_buffer_len, struct Stat *stat) {
    return wait_for_create(zh, path, value, valuelen, acl, mode, ttl, path_buffer,
                           path_buffer_len, stat);
}

/* Operations of whose result only the stat may be wanted. */
static int wait_for_stat(zhandle_t *zh, struct zk_op op, watcher_fn fn, void *ctx,
                         struct Stat *stat) {
    struct zk_result *r;
    int rc = wait_for(zh, op, fn, ctx, &r);
    if (!rc) put_stat(stat, r);
    zk_result_free(r);
    return rc;
}

int zoo_delete(zhandle_t *zh, const char *path, int version) {
    return wait_for_stat(zh, zk_delete(path, version), NULL, NULL, NULL);
}

int zoo_exists(zhandle_t *zh, const char *path, int watch, struct Stat *stat) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_wexists(zh, path, w.fn, w.ctx, stat);
}

int zoo_wexists(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                struct Stat *stat) {
    if (!path) return ZBADARGUMENTS;
    return wait_for_stat(zh, zk_exists(path), watcher, watcherCtx, stat);
}

int zoo_set(zhandle_t *zh, const char *path, const char *buffer, int buflen, int version) {
    return zoo_set2(zh, path, buffer, buflen, version, NULL);
}

int zoo_set2(zhandle_t *zh, const char *path, const char *buffer, int buflen, int version,
             struct Stat *stat) {
    return wait_for_stat(zh, set_op(path, buffer, buflen, version), NULL, NULL, stat);
}

static int wait_for_data(zhandle_t *zh, struct zk_op op, watcher_fn fn, void *ctx, char *buffer,
                         int *buffer_len, struct Stat *stat) {
    struct zk_result *r;
    if (!buffer_len) return ZBADARGUMENTS;
    int rc = wait_for(zh, op, fn, ctx, &r);
    if (!rc) put_data(buffer, buffer_len, r);
    if (!rc) put_stat(stat, r);
    zk_result_free(r);
    return rc;
}

int zoo_get(zhandle_t *zh, const char *path, int watch, char *buffer, int *buffer_len,
            struct Stat *stat) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_wget(zh, path, w.fn, w.ctx, buffer, buffer_len, stat);
}

int zoo_wget(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx, char *buffer,
             int *buffer_len, struct Stat *stat) {
    if (!path) return ZBADARGUMENTS;
    return wait_for_data(zh, zk_get(path), watcher, watcherCtx, buffer, buffer_len, stat);
}

int zoo_getconfig(zhandle_t *zh, int watch, char *buffer, int *buffer_len, struct Stat *stat) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_wgetconfig(zh, w.fn, w.ctx, buffer, buffer_len, stat);
}

int zoo_wgetconfig(zhandle_t *zh, watcher_fn watcher, void *watcherCtx, char *buffer,
                   int *buffer_len, struct Stat *stat) {
    return wait_for_data(zh, zk_get_config(), watcher, watcherCtx, buffer, buffer_len, stat);
}

int zoo_reconfig(zhandle_t *zh, const char *joining, const char *leaving, const char *members,
                 int64_t version, char *buffer, int *buffer_len, struct Stat *stat) {
    return wait_for_data(zh, zk_reconfig(joining, leaving, members, version), NULL, NULL, buffer,
                         buffer_len, stat);
}

int zoo_get_children(zhandle_t *zh, const char *path, int watch, struct String_vector *strings) {
    return zoo_get_children2(zh, path, watch, strings, NULL);
}

int zoo_wget_children(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                      struct String_vector *strings) {
    return zoo_wget_children2(zh, path, watcher, watcherCtx, strings, NULL);
}

int zoo_get_children2(zhandle_t *zh, const char *path, int watch, struct String_vector *strings,
                      struct Stat *stat) {
    struct session_watcher w = session_watcher(zh, watch);
    return zoo_wget_children2(zh, path, w.fn, w.ctx, strings, stat);
}

int zoo_wget_children2(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                       struct String_vector *strings, struct Stat *stat) {
    struct zk_result *r;
    if (!path) return ZBADARGUMENTS;
    int rc = wait_for(zh, zk_get_children(path), watcher, watcherCtx, &r);
    if (!rc && strings && !put_names(strings, r)) rc = ZSYSTEMERROR;
    if (!rc) put_stat(stat, r);
    zk_result_free(r);
    return rc;
}

int zoo_get_acl(zhandle_t *zh, const char *path, struct ACL_vector *acl, struct Stat *stat) {
    struct zk_result *r;
    int rc = wait_for(zh, zk_get_acl(path), NULL, NULL, &r);
    if (!rc && acl && !put_acl(acl, r)) rc = ZSYSTEMERROR;
    if (!rc) put_stat(stat, r);
    zk_result_free(r);
    return rc;
}

int zoo_set_acl(zhandle_t *zh, const char *path, int version, const struct ACL_vector *acl) {
    struct zk_op op = zk_set_acl(path, NULL, 0, version);
    struct zk_acl *owned;
    int rc = set_acl(&op, acl, &owned);
    if (!rc) rc = wait_for_stat(zh, op, NULL, NULL, NULL);
    free(owned);
    return rc;
}

int zoo_multi(zhandle_t *zh, int count, const zoo_op_t *ops, zoo_op_result_t *results) {
    struct multi m;
    struct zk_result *r = NULL;
    int rc = zh ? multi_make(&m, count, ops) : ZBADARGUMENTS;
    if (rc) return rc;
    rc = wait_for(zh, zk_multi(m.ops, count), NULL, NULL, &r);
    if (!r) rc = multi_refused(rc);
    multi_results(m.slots, count, results, rc, r);
    zk_result_free(r);
    multi_free(&m);
    return rc;
}

int zoo_remove_watches(zhandle_t *zh, const char *path, ZooWatcherType wtype, watcher_fn watcher,
                       void *watcherCtx, int local) {
    struct watch_removal removal;
    struct zk_op op;
    int rc = zh ? removal_op(path, wtype, local, &op) : ZBADARGUMENTS;
    if (!rc) rc = removal_begin(zh, &op, watcher, watcherCtx, &removal);
    if (rc) return rc;
    rc = wait_for_stat(zh, op, NULL, NULL, NULL);
    removal_end(zh, &removal, rc);
    return rc;
}

int zoo_remove_all_watches(zhandle_t *zh, const char *path, ZooWatcherType wtype, int local) {
    return zoo_remove_watches(zh, path, wtype, NULL, NULL, local);
}

#endif
