/*
 * The C client of zk.h behind the line protocol of the tests (see harness/clients.py): one JSON
 * request per line on stdin, one JSON reply or event per line on stdout.
 *
 *   driver          the library's own threads run the sessions
 *   driver loop     this program's only thread runs them all (ZK_OWN_LOOP)
 *
 * Requests are submitted in the order of their lines and answered from callbacks.
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "zk.h"

#define CLOSE_MS 10000
/* The client's own limit is raised, so that only the server's is tested. */
#define MAX_PACKET (16 * 1024 * 1024)

/* What a test calls a watch; the library knows the watch by the address of this. */
struct label {
    struct label *next;
    struct handle *handle;
    char name[];
};

struct lock {
    struct lock *next;
    struct zk_lock *lock;
    char path[];
};

/* One session. Made by `connect`, owned by the list of handles, then by whoever closes it. */
struct handle {
    struct handle *next;
    struct zk *zk;
    struct label *labels;
    struct lock *locks;
    json_int_t connect_id; /* of the request that waits for the connection; 0: none */
    int64_t connect_until;
    char name[];
};

static bool own_loop;
static struct handle *handles;
static pthread_mutex_t connect_lock = PTHREAD_MUTEX_INITIALIZER;

static void *need(void *p) {
    if (!p) {
        (void)fputs("driver: out of memory\n", stderr);
        abort();
    }
    return p;
}

static int64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- lines that leave --- */

/* One write per line, so that the lines of several threads do not mix; takes the line over. */
static void emit(json_t *line) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    char *text = need(json_dumps(need(line), JSON_COMPACT));
    (void)pthread_mutex_lock(&lock);
    (void)puts(text);
    (void)fflush(stdout);
    (void)pthread_mutex_unlock(&lock);
    free(text);
    json_decref(line);
}

static void reply(json_int_t id, json_t *result) {
    emit(json_pack("{s:I, s:o}", "id", id, "result", result));
}

static void reply_error(json_int_t id, int error, json_t *results) {
    json_t *line = json_pack("{s:I, s:i, s:s, s:o*}", "id", id, "err", error, "msg",
                             zk_strerror(error), "results", results);
    emit(line);
}

static void event(const char *client, json_t *fields) {
    emit(json_pack("{s:s, s:o}", "client", client, "event", fields));
}

/* --- bytes as base64 --- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static json_t *encode(const void *data, int len) {
    const uint8_t *in = data;
    char *out, *p;
    if (len < 0) return json_null();
    out = p = need(malloc((size_t)len / 3 * 4 + 5));
    for (int i = 0; i < len; i += 3) {
        int have = len - i < 3 ? len - i : 3;
        uint32_t word = (uint32_t)in[i] << 16;
        if (have > 1) word |= (uint32_t)in[i + 1] << 8;
        if (have > 2) word |= in[i + 2];
        *p++ = digits[word >> 18];
        *p++ = digits[word >> 12 & 63];
        *p++ = have > 1 ? digits[word >> 6 & 63] : '=';
        *p++ = have > 2 ? digits[word & 63] : '=';
    }
    json_t *text = need(json_stringn(out, (size_t)(p - out)));
    free(out);
    return text;
}

/* The bytes behind a string, -1 for null; *out is to be freed. */
static int decode(const json_t *value, uint8_t **out) {
    const char *text = json_string_value(value);
    uint32_t word = 0;
    int len = 0, bits = 0;
    *out = NULL;
    if (!text) return -1;
    *out = need(malloc(strlen(text) + 1));
    for (; *text && *text != '='; text++) {
        const char *at = strchr(digits, *text);
        if (!at) break;
        word = word << 6 | (uint32_t)(at - digits);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        (*out)[len++] = (uint8_t)(word >> bits);
    }
    return len;
}

/* --- what a request's arguments become --- */

/* Memory that an operation points to, until it is submitted. */
struct scratch {
    void **blocks;
    size_t count;
};

static void *keep(struct scratch *s, void *block) {
    s->blocks = need(realloc(s->blocks, (s->count + 1) * sizeof *s->blocks));
    return s->blocks[s->count++] = block;
}

static void forget(struct scratch *s) {
    while (s->count) free(s->blocks[--s->count]);
    free(s->blocks);
}

/* A string that a C program cannot pass on is refused like one that the library refuses. */
static bool text_of(json_t *args, const char *name, const char **out) {
    json_t *value = json_object_get(args, name);
    *out = json_string_value(value);
    return !*out || strlen(*out) == json_string_length(value);
}

static json_int_t number_of(json_t *args, const char *name, json_int_t otherwise) {
    json_t *value = json_object_get(args, name);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

static void data_of(struct scratch *s, json_t *args, const char *name, struct zk_op *op) {
    uint8_t *bytes;
    op->data_len = decode(json_object_get(args, name), &bytes);
    op->data = keep(s, bytes);
}

static bool acl_of(struct scratch *s, json_t *args, struct zk_op *op) {
    json_t *list = json_object_get(args, "acl");
    size_t count = json_array_size(list);
    struct zk_acl *acl = keep(s, need(calloc(count + 1, sizeof *acl)));
    for (size_t i = 0; i < count; i++) {
        json_t *entry = json_array_get(list, i);
        acl[i].perms = (int)json_integer_value(json_array_get(entry, 0));
        acl[i].scheme = json_string_value(json_array_get(entry, 1));
        acl[i].id = json_string_value(json_array_get(entry, 2));
        if (!acl[i].scheme || !acl[i].id) return false;
    }
    op->acl = acl;
    op->acl_count = (int)count;
    return true;
}

static void on_event(void *user, const struct zk_event *e) {
    static const char *const names[] = {
        [ZK_NODE_CREATED] = "created",
        [ZK_NODE_DELETED] = "deleted",
        [ZK_NODE_DATA_CHANGED] = "changed",
        [ZK_NODE_CHILDREN_CHANGED] = "child",
        [ZK_DATA_WATCH_REMOVED] = "data_watch_removed",
        [ZK_CHILD_WATCH_REMOVED] = "child_watch_removed",
        [ZK_PERSISTENT_WATCH_REMOVED] = "persistent_watch_removed",
    };
    const struct label *label = user;
    event(label->handle->name,
          json_pack("{s:s, s:s, s:s, s:s, s:I}", "kind", "watch", "watch", label->name, "type",
                    names[e->type], "path", e->path, "zxid", (json_int_t)e->zxid));
}

static void watch_of(struct handle *h, json_t *args, struct zk_op *op) {
    const char *name = json_string_value(json_object_get(args, "watch"));
    struct label *label = h->labels;
    if (!name) return;
    while (label && strcmp(label->name, name)) label = label->next;
    if (!label) {
        label = need(calloc(1, sizeof *label + strlen(name) + 1));
        (void)strcpy(label->name, name);
        label->handle = h;
        label->next = h->labels;
        h->labels = label;
    }
    op->watch = on_event;
    op->watch_user = label;
}

/* --- results --- */

/* A request on its way; owned by its callback. */
struct call {
    json_int_t id;
    const struct verb *verb;
    bool want_stat;
    const struct verb **parts; /* of a multi */
};

static json_t *stat_json(const struct zk_stat *s) {
    return json_pack("{s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:I, s:i, s:i, s:I}", "czxid",
                     (json_int_t)s->czxid, "mzxid", (json_int_t)s->mzxid, "ctime",
                     (json_int_t)s->ctime, "mtime", (json_int_t)s->mtime, "version", s->version,
                     "cversion", s->cversion, "aversion", s->aversion, "ephemeralOwner",
                     (json_int_t)s->ephemeral_owner, "dataLength", s->data_length, "numChildren",
                     s->num_children, "pzxid", (json_int_t)s->pzxid);
}

static json_t *show_nothing(const struct call *call, const struct zk_result *r) {
    (void)call;
    (void)r;
    return json_null();
}

static json_t *show_created(const struct call *call, const struct zk_result *r) {
    return json_pack("{s:s, s:o*}", "path", r->path, "stat",
                     call->want_stat && r->has_stat ? stat_json(&r->stat) : NULL);
}

static json_t *show_exists(const struct call *call, const struct zk_result *r) {
    (void)call;
    return r->error == ZK_NO_NODE ? json_null() : stat_json(&r->stat);
}

static json_t *show_stat(const struct call *call, const struct zk_result *r) {
    (void)call;
    return json_pack("{s:o}", "stat", stat_json(&r->stat));
}

static json_t *show_data(const struct call *call, const struct zk_result *r) {
    (void)call;
    return json_pack("{s:o, s:o}", "data", encode(r->data, r->data_len), "stat",
                     stat_json(&r->stat));
}

static json_t *names_json(const struct zk_result *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->count; i++) (void)json_array_append_new(list, json_string(r->names[i]));
    return list;
}

static json_t *show_names(const struct call *call, const struct zk_result *r) {
    (void)call;
    return names_json(r);
}

static json_t *show_children(const struct call *call, const struct zk_result *r) {
    (void)call;
    return json_pack("{s:o, s:o}", "children", names_json(r), "stat", stat_json(&r->stat));
}

static json_t *show_acl(const struct call *call, const struct zk_result *r) {
    json_t *list = json_array();
    (void)call;
    for (int i = 0; i < r->count; i++)
        (void)json_array_append_new(list, json_pack("[i, s, s]", r->acl[i].perms, r->acl[i].scheme,
                                                    r->acl[i].id));
    return json_pack("{s:o, s:o}", "acl", list, "stat", stat_json(&r->stat));
}

static json_t *show_identities(const struct call *call, const struct zk_result *r) {
    json_t *list = json_array();
    (void)call;
    for (int i = 0; i < r->count; i++)
        (void)json_array_append_new(list, json_pack("[s, s]", r->acl[i].scheme, r->acl[i].id));
    return list;
}

static json_t *show_number(const struct call *call, const struct zk_result *r) {
    (void)call;
    return json_integer(r->number);
}

/* --- the operations --- */

struct verb {
    const char *name;
    enum zk_op_type type;
    /* Fills in what is not a path or version; NULL: nothing. False: bad arguments. */
    bool (*fill)(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op);
    json_t *(*show)(const struct call *call, const struct zk_result *r);
};

static bool fill_create(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    (void)h;
    data_of(s, args, "data", op);
    op->mode = (enum zk_create_mode)number_of(args, "mode", 0);
    op->ttl_ms = number_of(args, "ttl", -1);
    return acl_of(s, args, op);
}

static bool fill_set(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    (void)h;
    data_of(s, args, "data", op);
    return true;
}

static bool fill_acl(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    (void)h;
    return acl_of(s, args, op);
}

static bool fill_watch(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    (void)s;
    watch_of(h, args, op);
    return true;
}

static bool fill_add_watch(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    bool recursive = json_is_true(json_object_get(args, "recursive"));
    op->watch_kind = recursive ? ZK_WATCH_RECURSIVE : ZK_WATCH_PERSISTENT;
    return fill_watch(s, h, args, op);
}

static bool fill_remove(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    op->watch_kind = (enum zk_watch_kind)number_of(args, "type", ZK_WATCH_ANY);
    return fill_watch(s, h, args, op);
}

static bool fill_auth(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    (void)h;
    data_of(s, args, "auth", op);
    return text_of(args, "scheme", &op->scheme);
}

static bool fill_reconfig(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    (void)s;
    (void)h;
    op->config_version = number_of(args, "from", -1);
    return text_of(args, "joining", &op->joining) && text_of(args, "leaving", &op->leaving) &&
           text_of(args, "members", &op->members);
}

static bool fill_multi(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op);
static json_t *show_multi(const struct call *call, const struct zk_result *r);

static const struct verb verbs[] = {
    {"create", ZK_OP_CREATE, fill_create, show_created},
    {"delete", ZK_OP_DELETE, NULL, show_nothing},
    {"exists", ZK_OP_EXISTS, fill_watch, show_exists},
    {"get", ZK_OP_GET, fill_watch, show_data},
    {"set", ZK_OP_SET, fill_set, show_stat},
    {"get_acl", ZK_OP_GET_ACL, NULL, show_acl},
    {"set_acl", ZK_OP_SET_ACL, fill_acl, show_stat},
    {"children", ZK_OP_GET_CHILDREN, fill_watch, show_children},
    {"sync", ZK_OP_SYNC, NULL, show_nothing},
    {"check", ZK_OP_CHECK, NULL, show_nothing},
    {"multi", ZK_OP_MULTI, fill_multi, show_multi},
    {"add_auth", ZK_OP_ADD_AUTH, fill_auth, show_nothing},
    {"add_watch", ZK_OP_ADD_WATCH, fill_add_watch, show_nothing},
    {"remove_watches", ZK_OP_REMOVE_WATCHES, fill_remove, show_nothing},
    {"ephemerals", ZK_OP_GET_EPHEMERALS, NULL, show_names},
    {"all_children_number", ZK_OP_GET_ALL_CHILDREN_NUMBER, NULL, show_number},
    {"who_am_i", ZK_OP_WHO_AM_I, NULL, show_identities},
    {"get_config", ZK_OP_GET_CONFIG, fill_watch, show_data},
    {"reconfig", ZK_OP_RECONFIG, fill_reconfig, show_data},
};

static const struct verb *verb_named(const char *name) {
    for (size_t i = 0; name && i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].name, name)) return &verbs[i];
    return NULL;
}

static bool make_op(struct scratch *s, struct handle *h, json_t *args, const struct verb *verb,
                    struct zk_op *op) {
    const char *path;
    bool fine = text_of(args, "path", &path);
    *op = zk_op_of(verb->type, path);
    op->version = (int32_t)number_of(args, "version", -1);
    return (!verb->fill || verb->fill(s, h, args, op)) && fine;
}

static bool fill_multi(struct scratch *s, struct handle *h, json_t *args, struct zk_op *op) {
    json_t *list = json_object_get(args, "ops");
    size_t count = json_array_size(list);
    struct zk_op *ops = keep(s, need(calloc(count + 1, sizeof *ops)));
    for (size_t i = 0; i < count; i++) {
        json_t *part = json_array_get(list, i);
        const struct verb *verb = verb_named(json_string_value(json_object_get(part, "op")));
        if (!verb || !make_op(s, h, part, verb, &ops[i])) return false;
    }
    op->ops = ops;
    op->op_count = (int)count;
    return true;
}

static json_t *show_multi(const struct call *call, const struct zk_result *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->count; i++) {
        const struct zk_result *part = &r->results[i];
        const char *name = call->parts[i]->name;
        json_t *item;
        if (r->error)
            item = json_pack("{s:s, s:i}", "op", "error", "err", part->error);
        else if (call->parts[i]->type == ZK_OP_CREATE)
            item = json_pack("{s:s, s:s}", "op", name, "path", part->path);
        else if (call->parts[i]->type == ZK_OP_SET)
            item = json_pack("{s:s, s:o}", "op", name, "stat", stat_json(&part->stat));
        else
            item = json_pack("{s:s}", "op", name);
        (void)json_array_append_new(list, item);
    }
    return list;
}

static void on_result(void *user, const struct zk_result *r) {
    struct call *call = user;
    bool missing = call->verb->type == ZK_OP_EXISTS && r->error == ZK_NO_NODE;
    if (!r->error || missing)
        reply(call->id, call->verb->show(call, r));
    else
        reply_error(call->id, r->error,
                    call->verb->type == ZK_OP_MULTI ? show_multi(call, r) : NULL);
    free(call->parts);
    free(call);
}

static void do_op(struct handle *h, json_int_t id, const struct verb *verb, json_t *args) {
    struct call *call = need(calloc(1, sizeof *call));
    struct scratch scratch = {NULL, 0};
    struct zk_op op;
    int64_t number = ZK_BAD_ARGUMENTS;
    call->id = id;
    call->verb = verb;
    call->want_stat = json_is_true(json_object_get(args, "stat"));
    if (make_op(&scratch, h, args, verb, &op)) {
        call->parts = need(calloc((size_t)op.op_count + 1, sizeof *call->parts));
        for (int i = 0; i < op.op_count; i++)
            for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++)
                if (verbs[v].type == op.ops[i].type) call->parts[i] = &verbs[v];
        number = zk_submit(h->zk, op, on_result, call);
    }
    if (number <= 0) {
        reply_error(id, (int)number, NULL);
        free(call->parts);
        free(call);
    }
    forget(&scratch);
}

/* --- locks --- */

static struct lock *lock_at(struct handle *h, const char *path) {
    struct lock *lock = h->locks;
    while (lock && strcmp(lock->path, path)) lock = lock->next;
    return lock;
}

/* Whoever waits for a lock; owned by its callback. */
static void on_locked(void *user, int error) {
    json_int_t *id = user;
    if (error && error != ZK_TIMED_OUT)
        reply_error(*id, error, NULL);
    else
        reply(*id, json_boolean(!error));
    free(id);
}

static void acquire(struct handle *h, json_int_t id, json_t *args) {
    const char *path = json_string_value(json_object_get(args, "path"));
    struct zk_lock_options options = {.kind = ZK_LOCK_MUTEX};
    struct lock *lock = lock_at(h, path);
    json_int_t *waiting;
    int error = ZK_OK;
    if (!lock) {
        lock = need(calloc(1, sizeof *lock + strlen(path) + 1));
        (void)strcpy(lock->path, path);
        error = zk_lock_new(h->zk, path, &options, &lock->lock);
        lock->next = h->locks;
        h->locks = lock;
    }
    waiting = need(malloc(sizeof *waiting));
    *waiting = id;
    if (!error)
        error = zk_lock_acquire_async(lock->lock, (int)number_of(args, "wait_ms", -1), on_locked,
                                      waiting);
    if (error) on_locked(waiting, error);
}

/* The lock's node goes before whatever is asked later: the reply to that tells that it is gone. */
static void release(struct handle *h, json_int_t id, json_t *args) {
    const char *path = json_string_value(json_object_get(args, "path"));
    struct lock *lock = lock_at(h, path);
    int error = lock ? zk_lock_release(lock->lock) : ZK_BAD_ARGUMENTS;
    if (error)
        reply_error(id, error, NULL);
    else
        do_op(h, id, verb_named("sync"), args);
}

/* --- sessions --- */

/* Answers the request that waits for the connection, once. */
static void connected(struct handle *h, int error) {
    json_int_t id;
    uint8_t passwd[16];
    (void)pthread_mutex_lock(&connect_lock);
    id = h->connect_id;
    h->connect_id = 0;
    (void)pthread_mutex_unlock(&connect_lock);
    if (!id) return;
    if (error) {
        reply_error(id, error, NULL);
        return;
    }
    zk_session_passwd(h->zk, passwd);
    reply(id, json_pack("{s:I, s:o, s:i}", "session_id", (json_int_t)zk_session_id(h->zk), "passwd",
                        encode(passwd, sizeof passwd), "timeout_ms", zk_session_timeout(h->zk)));
}

static void on_state(void *user, enum zk_state state, int64_t session_id) {
    /* A session that is lost to us is still no more than disconnected to the tests. */
    static const struct {
        const char *name;
        int error;
    } told[] = {
        [ZK_STATE_CONNECTED] = {"connected", ZK_OK},
        [ZK_STATE_READ_ONLY] = {"connected_read_only", ZK_OK},
        [ZK_STATE_SUSPENDED] = {"disconnected", 1},
        [ZK_STATE_EXPIRED] = {"expired", ZK_SESSION_EXPIRED},
        [ZK_STATE_AUTH_FAILED] = {"auth_failed", ZK_AUTH_FAILED},
        [ZK_STATE_CLOSED] = {"closed", ZK_CLOSING},
    };
    struct handle *h = user;
    (void)session_id;
    if (!told[state].name) return;
    event(h->name, json_pack("{s:s, s:s}", "kind", "session", "state", told[state].name));
    if (told[state].error <= 0) connected(h, told[state].error);
}

static void open_session(const char *name, json_int_t id, json_t *args) {
    struct handle *h = need(calloc(1, sizeof *h + strlen(name) + 1));
    const char *hosts = json_string_value(json_object_get(args, "hosts"));
    const char *chroot = json_string_value(json_object_get(args, "chroot"));
    char *both = need(malloc(strlen(hosts ? hosts : "") + strlen(chroot ? chroot : "") + 1));
    uint8_t *passwd;
    int error;
    struct zk_options options = {
        .hosts = both,
        .session_timeout_ms = (int)number_of(args, "timeout_ms", 0),
        .flags = own_loop ? ZK_OWN_LOOP : 0,
        .max_packet = MAX_PACKET,
        .session_id = number_of(args, "session_id", 0),
        .on_state = on_state,
        .user = h,
    };
    (void)strcpy(h->name, name);
    (void)sprintf(both, "%s%s", hosts ? hosts : "", chroot ? chroot : "");
    if (json_is_true(json_object_get(args, "read_only"))) options.flags |= ZK_CAN_BE_READ_ONLY;
    if (decode(json_object_get(args, "passwd"), &passwd) == 16) options.session_passwd = passwd;
    h->connect_id = id;
    h->connect_until = now_ms() + number_of(args, "wait_ms", CLOSE_MS);
    /* A state may come before the handle is here: connected() waits for that. */
    (void)pthread_mutex_lock(&connect_lock);
    error = zk_open(&h->zk, &options);
    (void)pthread_mutex_unlock(&connect_lock);
    free(passwd);
    free(both);
    if (error) {
        reply_error(id, error, NULL);
        free(h);
        return;
    }
    h->next = handles;
    handles = h;
}

struct closing {
    struct handle *handle;
    json_int_t id; /* 0: nobody is to be told */
};

static void *close_session(void *user) {
    struct closing *closing = user;
    struct handle *h = closing->handle;
    (void)zk_close(h->zk, CLOSE_MS);
    while (h->locks) {
        struct lock *lock = h->locks;
        h->locks = lock->next;
        zk_lock_free(lock->lock);
        free(lock);
    }
    zk_free(h->zk);
    if (closing->id) reply(closing->id, json_null());
    while (h->labels) {
        struct label *label = h->labels;
        h->labels = label->next;
        free(label);
    }
    free(h);
    free(closing);
    return NULL;
}

/* Closing waits for the server, which may not answer: not in the thread that reads requests. */
static void begin_close(struct handle *h, json_int_t id, json_t *args) {
    struct closing *closing = need(calloc(1, sizeof *closing));
    struct handle **link = &handles;
    pthread_t thread;
    (void)args;
    while (*link != h) link = &(*link)->next;
    *link = h->next;
    closing->handle = h;
    closing->id = id;
    if (own_loop || !id || pthread_create(&thread, NULL, close_session, closing))
        (void)close_session(closing);
    else
        (void)pthread_detach(thread);
}

/* --- lines that come --- */

/* What is done to a session besides operations. */
static const struct {
    const char *name;
    void (*run)(struct handle *h, json_int_t id, json_t *args);
} others[] = {
    {"close", begin_close},
    {"lock_acquire", acquire},
    {"lock_release", release},
};

static void do_request(struct handle *h, json_int_t id, const char *op, json_t *args) {
    const struct verb *verb = verb_named(op);
    if (verb) {
        do_op(h, id, verb, args);
        return;
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (strcmp(others[i].name, op)) continue;
        others[i].run(h, id, args);
        return;
    }
    emit(json_pack("{s:I, s:s}", "id", id, "unsupported", op));
}

static void serve(const char *line, size_t len) {
    json_error_t problem;
    json_t *request = json_loadb(line, len, JSON_ALLOW_NUL, &problem);
    json_int_t id = number_of(request, "id", 0);
    const char *client = json_string_value(json_object_get(request, "client"));
    const char *op = json_string_value(json_object_get(request, "op"));
    json_t *args = json_object_get(request, "args");
    struct handle *h = handles;
    if (!client || !op) {
        (void)fprintf(stderr, "driver: not a request: %s\n", problem.text);
        exit(1);
    }
    while (h && strcmp(h->name, client)) h = h->next;
    if (!strcmp(op, "connect"))
        open_session(client, id, args);
    else if (h)
        do_request(h, id, op, args);
    else /* made by what we do not have, such as curator_connect */
        emit(json_pack("{s:I, s:s}", "id", id, "unsupported", op));
    json_decref(request);
}

/* Reads what there is and serves the whole lines of it. False: the end. */
static bool read_lines(void) {
    static char *buffer;
    static size_t have, room;
    char *end;
    ssize_t got;
    if (room - have < 65536) buffer = need(realloc(buffer, room = have + (1u << 20)));
    got = read(STDIN_FILENO, buffer + have, room - have);
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) {
        free(buffer);
        return false;
    }
    have += (size_t)got;
    while ((end = memchr(buffer, '\n', have))) {
        size_t len = (size_t)(end - buffer) + 1;
        serve(buffer, len);
        have -= len;
        memmove(buffer, buffer + len, have);
    }
    return true;
}

/* How long to wait at most; tells those whose time to connect is over. */
static int check_deadlines(void) {
    int64_t now = now_ms(), next = INT_MAX;
    for (struct handle *h = handles; h; h = h->next) {
        bool waits;
        int own = own_loop ? zk_wait_ms(h->zk) : -1;
        if (own >= 0 && own < next) next = own;
        (void)pthread_mutex_lock(&connect_lock);
        waits = h->connect_id;
        (void)pthread_mutex_unlock(&connect_lock);
        if (!waits) continue;
        if (h->connect_until <= now)
            connected(h, ZK_CONNECTION_LOSS);
        else if (h->connect_until - now < next)
            next = h->connect_until - now;
    }
    return (int)next;
}

/* Waits for stdin and, in loop mode, for the sessions. */
static short wait_for_input(void) {
    static struct pollfd *fds;
    static nfds_t room;
    nfds_t count = 1;
    for (struct handle *h = handles; own_loop && h; h = h->next) count++;
    if (room < count) fds = need(realloc(fds, (room = 2 * count) * sizeof *fds));
    fds[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    count = 1;
    for (struct handle *h = handles; own_loop && h; h = h->next) {
        int wants = zk_wants(h->zk);
        short events = (short)((wants & ZK_READABLE ? POLLIN : 0) |
                               (wants & ZK_WRITABLE ? POLLOUT : 0));
        fds[count++] = (struct pollfd){.fd = zk_fd(h->zk), .events = events};
    }
    if (poll(fds, count, check_deadlines()) < 0) return 0;
    for (struct handle *h = handles; own_loop && h; h = h->next) (void)zk_step(h->zk);
    return fds[0].revents;
}

int main(int argc, char **argv) {
    struct rlimit files;
    own_loop = argc > 1 && !strcmp(argv[1], "loop");
    /* A session owns several descriptors. */
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    for (;;)
        if (wait_for_input() && !read_lines()) break;
    while (handles) begin_close(handles, 0, NULL);
    return 0;
}
