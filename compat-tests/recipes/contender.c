/*
 * The recipes of zk.h behind the line protocol of the tests (see harness/clients.py): one JSON
 * request per line on stdin, one JSON reply or event per line on stdout.
 *
 * A client is a session with objects, which a test names by `as`, or by their path. Calls that may
 * wait are answered from callbacks, all others at once.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zk.h"

#define CLOSE_MS 5000
#define CONNECT_MS 30000

enum kind { LOCK, LEADER, BARRIER, DOUBLE_BARRIER, QUEUE, COUNTER, CACHE, MEMBER };

struct object {
    struct object *next;
    struct client *client;
    enum kind kind;
    void *it;           /* struct zk_lock and so on */
    _Atomic json_int_t waiting; /* the request whose answer comes later */
    char name[];
};

struct client {
    struct client *next;
    struct zk *zk;
    struct object *objects;
    char name[];
};

static struct client *clients;

static void *need(void *p) {
    if (!p) abort();
    return p;
}

/* --- lines that leave --- */

static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER;

static void emit(json_t *line) {
    char *text = need(json_dumps(need(line), JSON_COMPACT));
    (void)pthread_mutex_lock(&out_lock);
    (void)puts(text);
    (void)fflush(stdout);
    (void)pthread_mutex_unlock(&out_lock);
    free(text);
    json_decref(line);
}

static void reply(json_int_t id, json_t *result) {
    emit(json_pack("{s:I, s:o}", "id", id, "result", result));
}

/* value belongs to this; it is the answer when there is no error. */
static void answer(json_int_t id, int error, json_t *value) {
    if (!error) {
        reply(id, value);
        return;
    }
    json_decref(value);
    emit(json_pack("{s:I, s:i, s:s}", "id", id, "err", error, "msg", zk_strerror(error)));
}

static const char *const STATES[] = {"none", "waiting", "owned", "suspended", "lost"};

static void on_hold(void *user, enum zk_hold_state state, int64_t token) {
    struct object *o = user;
    emit(json_pack("{s:s, s:{s:s, s:s, s:s, s:I}}", "client", o->client->name, "event", "kind",
                   "hold", "as", o->name, "hold", STATES[state], "token", (json_int_t)token));
}

static void on_state(void *user, enum zk_state state, int64_t session_id) {
    struct client *c = user;
    emit(json_pack("{s:s, s:{s:s, s:s, s:I}}", "client", c->name, "event", "kind", "session",
                   "state", zk_state_name(state), "session", (json_int_t)session_id));
}

/* Whoever was not in time does not have it: no error for the tests. */
static void on_done(void *user, int error) {
    struct object *o = user;
    bool got = error == ZK_OK;
    if (error == ZK_TIMED_OUT) error = ZK_OK;
    answer(o->waiting, error, json_boolean(got));
}

/* --- arguments --- */

static const char *text(const json_t *args, const char *key) {
    return json_string_value(json_object_get(args, key));
}

static int number(const json_t *args, const char *key, int otherwise) {
    const json_t *value = json_object_get(args, key);
    return json_is_number(value) ? (int)json_number_value(value) : otherwise;
}

static bool flag(const json_t *args, const char *key) {
    return json_is_true(json_object_get(args, key));
}

/* --- objects --- */

static struct object *find(struct client *c, enum kind kind, const json_t *args) {
    const char *name = text(args, "as") ? text(args, "as") : text(args, "path");
    for (struct object *o = c->objects; o; o = o->next)
        if (o->kind == kind && strcmp(o->name, name) == 0) return o;
    struct object *o = need(calloc(1, sizeof *o + strlen(name) + 1));
    o->client = c;
    o->kind = kind;
    strcpy(o->name, name);
    o->next = c->objects;
    c->objects = o;
    return o;
}

static void free_object(struct object *o) {
    switch (o->kind) {
    case LOCK: zk_lock_free(o->it); break;
    case LEADER: zk_leader_free(o->it); break;
    case BARRIER: zk_barrier_free(o->it); break;
    case DOUBLE_BARRIER: zk_double_barrier_free(o->it); break;
    case QUEUE: zk_queue_free(o->it); break;
    case COUNTER: zk_counter_free(o->it); break;
    case CACHE: zk_cache_free(o->it); break;
    case MEMBER: zk_member_free(o->it); break;
    }
    o->it = NULL;
}

/* The end of any object. */
static void forget(struct client *c, json_int_t id, const json_t *args) {
    for (struct object *o = c->objects; o; o = o->next)
        if (strcmp(o->name, text(args, "as") ? text(args, "as") : text(args, "path")) == 0)
            free_object(o);
    reply(id, json_true());
}

/* The object will answer this request, from a callback. */
static struct object *waits(struct object *o, json_int_t id) {
    o->waiting = id;
    return o;
}

/* ... unless the call is refused. */
static void began(struct object *o, int error) {
    if (error) answer(o->waiting, error, json_null());
}

/* --- bytes as base64 --- */

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static json_t *encode(const void *data, int len) {
    const uint8_t *in = data;
    if (len < 0) return json_null();
    char *out = need(malloc((size_t)len / 3 * 4 + 5)), *p = out;
    for (int i = 0; i < len; i += 3) {
        int have = len - i < 3 ? len - i : 3;
        uint32_t word = (uint32_t)in[i] << 16;
        if (have > 1) word |= (uint32_t)in[i + 1] << 8;
        if (have > 2) word |= in[i + 2];
        *p++ = DIGITS[word >> 18];
        *p++ = DIGITS[word >> 12 & 63];
        *p++ = have > 1 ? DIGITS[word >> 6 & 63] : '=';
        *p++ = have > 2 ? DIGITS[word & 63] : '=';
    }
    json_t *result = need(json_stringn(out, (size_t)(p - out)));
    free(out);
    return result;
}

/* To be freed. */
static uint8_t *decode(const json_t *args, const char *key, int *len) {
    const char *in = text(args, key) ? text(args, key) : "";
    uint8_t *out = need(malloc(strlen(in) + 1));
    uint32_t word = 0;
    int bits = 0;
    *len = 0;
    for (; *in && *in != '='; in++) {
        word = word << 6 | (uint32_t)(strchr(DIGITS, *in) - DIGITS);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        out[(*len)++] = (uint8_t)(word >> bits);
    }
    return out;
}

/* --- locks --- */

static void on_revoke(void *user) {
    struct object *o = user;
    emit(json_pack("{s:s, s:{s:s, s:s}}", "client", o->client->name, "event", "kind", "revoke",
                   "as", o->name));
}

static int make_lock(struct object *o, const json_t *args) {
    struct zk_lock_options options = {.on_state = on_hold, .user = o};
    const char *extra[4];
    options.kind = (enum zk_lock_kind)number(args, "kind", ZK_LOCK_MUTEX);
    options.kazoo = flag(args, "kazoo");
    if (flag(args, "revocable")) options.on_revoke = on_revoke;
    options.reentrant = flag(args, "reentrant");
    options.leases = number(args, "leases", 0);
    for (size_t i = 0; i < 4 && i < json_array_size(json_object_get(args, "extra")); i++) {
        extra[i] = json_string_value(json_array_get(json_object_get(args, "extra"), i));
        options.extra_count++;
    }
    options.extra_patterns = extra;
    return zk_lock_new(o->client->zk, text(args, "path"), &options, (struct zk_lock **)&o->it);
}

static void lock_acquire(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, LOCK, args);
    int error = o->it ? ZK_OK : make_lock(o, args);
    json_int_t before = o->waiting;
    o->waiting = id;
    if (!error) error = zk_lock_acquire_async(o->it, number(args, "wait_ms", -1), on_done, o);
    if (!error) return;
    o->waiting = before;
    answer(id, error, json_null());
}

static void lock_try(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, LOCK, args);
    int error = o->it ? ZK_OK : make_lock(o, args);
    if (!error) error = zk_lock_try(o->it);
    answer(id, error == ZK_LOCKED ? ZK_OK : error, json_boolean(error == ZK_OK));
}

static void lock_release(struct client *c, json_int_t id, const json_t *args) {
    answer(id, zk_lock_release(find(c, LOCK, args)->it), json_true());
}

static void lock_revoke(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, LOCK, args);
    int error = o->it ? ZK_OK : make_lock(o, args);
    answer(id, error ? error : zk_lock_revoke(o->it), json_true());
}

static void lock_state(struct client *c, json_int_t id, const json_t *args) {
    reply(id, json_string(STATES[zk_lock_state(find(c, LOCK, args)->it)]));
}

static void lock_token(struct client *c, json_int_t id, const json_t *args) {
    reply(id, json_integer(zk_lock_token(find(c, LOCK, args)->it)));
}

static void lock_downgrade(struct client *c, json_int_t id, const json_t *args) {
    struct object *write = find(c, LOCK, args);
    json_t *as = json_pack("{s:s, s:s, s:i}", "path", text(args, "path"), "as", text(args, "read"),
                           "kind", ZK_LOCK_READ);
    struct object *read = find(c, LOCK, as);
    int error = read->it ? ZK_OK : make_lock(read, as);
    if (!error) error = zk_lock_downgrade(write->it, read->it, number(args, "wait_ms", -1));
    json_decref(as);
    answer(id, error, json_true());
}

/* Acquires and releases so often, to see how fast that is. */
static void lock_loop(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, LOCK, args);
    int error = o->it ? ZK_OK : make_lock(o, args);
    for (int i = number(args, "count", 1); i > 0 && !error; i--) {
        error = zk_lock_acquire(o->it, -1);
        if (!error) error = zk_lock_release(o->it);
    }
    answer(id, error, json_true());
}

/* --- leadership --- */

static void latch_start(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, LEADER, args);
    struct zk_leader_options options = {.on_state = on_hold, .user = o};
    options.selector = flag(args, "selector");
    options.id = text(args, "id") ? text(args, "id") : c->name;
    answer(id, zk_leader_new(c->zk, text(args, "path"), &options, (struct zk_leader **)&o->it),
           json_true());
}

static void latch_leads(struct client *c, json_int_t id, const json_t *args) {
    reply(id, json_boolean(zk_leader_state(find(c, LEADER, args)->it) == ZK_HOLD_OWNED));
}

static void latch_leader(struct client *c, json_int_t id, const json_t *args) {
    char who[100];
    int error = zk_leader_who(find(c, LEADER, args)->it, who, sizeof who);
    answer(id, error, json_string(who));
}

static void latch_wait(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, LEADER, args);
    o->waiting = id;
    int error = zk_leader_wait_async(o->it, number(args, "wait_ms", -1), on_done, o);
    if (error) answer(id, error, json_null());
}

static void latch_resign(struct client *c, json_int_t id, const json_t *args) {
    answer(id, zk_leader_resign(find(c, LEADER, args)->it), json_true());
}

/* --- barriers --- */

static struct object *barrier(struct client *c, const json_t *args) {
    struct object *o = find(c, BARRIER, args);
    if (!o->it) (void)zk_barrier_new(c->zk, text(args, "path"), (struct zk_barrier **)&o->it);
    return o;
}

static void barrier_close(struct client *c, json_int_t id, const json_t *args) {
    answer(id, zk_barrier_close(barrier(c, args)->it), json_true());
}

static void barrier_open(struct client *c, json_int_t id, const json_t *args) {
    answer(id, zk_barrier_open(barrier(c, args)->it), json_true());
}

static void barrier_wait(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = waits(barrier(c, args), id);
    began(o, zk_barrier_wait_async(o->it, number(args, "wait_ms", -1), on_done, o));
}

static struct object *double_barrier(struct client *c, const json_t *args) {
    struct object *o = find(c, DOUBLE_BARRIER, args);
    if (!o->it)
        (void)zk_double_barrier_new(c->zk, text(args, "path"), number(args, "members", 1),
                                    (struct zk_double_barrier **)&o->it);
    return o;
}

static void double_enter(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = waits(double_barrier(c, args), id);
    began(o, zk_double_barrier_enter_async(o->it, number(args, "wait_ms", -1),
                                                      on_done, o));
}

static void double_leave(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = waits(double_barrier(c, args), id);
    began(o, zk_double_barrier_leave_async(o->it, number(args, "wait_ms", -1),
                                                      on_done, o));
}

/* --- queues --- */

static struct object *queue(struct client *c, const json_t *args) {
    struct object *o = find(c, QUEUE, args);
    if (!o->it)
        (void)zk_queue_new(c->zk, text(args, "path"),
                           (enum zk_queue_layout)number(args, "layout", ZK_QUEUE_SIMPLE),
                           (struct zk_queue **)&o->it);
    return o;
}

static void queue_put(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = waits(queue(c, args), id);
    int len;
    uint8_t *data = decode(args, "data", &len);
    began(o, zk_queue_put_async(o->it, data, len, number(args, "priority", 0),
                                           on_done, o));
    free(data);
}

static void on_item(void *user, int error) {
    struct object *o = user;
    int len;
    const void *item = zk_queue_item(o->it, &len);
    if (error == ZK_TIMED_OUT)
        reply(o->waiting, json_null());
    else
        answer(o->waiting, error, encode(item, error ? -1 : len));
}

static void queue_take(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = waits(queue(c, args), id);
    began(o, zk_queue_take_async(o->it, number(args, "wait_ms", -1), on_item, o));
}

/* --- counters --- */

static void counter(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, COUNTER, args);
    const char *op = text(args, "do");
    json_int_t value = json_integer_value(json_object_get(args, "value"));
    json_int_t expected = json_integer_value(json_object_get(args, "expected"));
    int error = ZK_OK;
    if (!o->it)
        error = zk_counter_new(c->zk, text(args, "path"), number(args, "bytes", 4),
                               (struct zk_counter **)&o->it);
    if (!error && strcmp(op, "get") == 0) error = zk_counter_get(o->it);
    if (!error && strcmp(op, "set") == 0) error = zk_counter_set(o->it, value);
    if (!error && strcmp(op, "add") == 0) error = zk_counter_add(o->it, value);
    if (!error && strcmp(op, "cas") == 0)
        error = zk_counter_compare_and_set(o->it, expected, value);
    if (error && error != ZK_BAD_VERSION && error != ZK_UNCERTAIN)
        answer(id, error, json_null());
    else
        reply(id, json_pack("{s:i, s:I}", "error", error, "value",
                            (json_int_t)zk_counter_value(o->it)));
}

/* --- caches --- */

static json_t *node_json(const struct zk_cache_node *node) {
    if (!node) return json_null();
    return json_pack("{s:o, s:i, s:I}", "data", encode(node->data, node->data_len), "version",
                     node->stat.version, "czxid", (json_int_t)node->stat.czxid);
}

static void on_change(void *user, const struct zk_cache_change *change) {
    static const char *const EVENTS[] = {"", "added", "changed", "removed", "ready", "stale",
                                         "failed"};
    struct object *o = user;
    emit(json_pack("{s:s, s:{s:s, s:s, s:s, s:s, s:o, s:o, s:i}}", "client", o->client->name,
                   "event", "kind", "cache", "as", o->name, "type", EVENTS[change->event], "path",
                   change->path, "before", node_json(change->before), "now",
                   node_json(change->now), "error", change->error));
}

static void cache_start(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, CACHE, args);
    struct zk_cache_options options = {number(args, "levels", 0), on_change, o};
    answer(id, zk_cache_new(c->zk, text(args, "path"), &options, (struct zk_cache **)&o->it),
           json_true());
}

static void cache_wait(struct client *c, json_int_t id, const json_t *args) {
    answer(id, zk_cache_wait(find(c, CACHE, args)->it, number(args, "wait_ms", -1)),
           json_true());
}

static void cache_get(struct client *c, json_int_t id, const json_t *args) {
    struct zk_result *r;
    int error = zk_cache_get(find(c, CACHE, args)->it, text(args, "node"), &r);
    if (error) {
        answer(id, error == ZK_NO_NODE ? ZK_OK : error, json_null());
        return;
    }
    json_t *names = json_array();
    for (int i = 0; i < r->count; i++) json_array_append_new(names, json_string(r->names[i]));
    reply(id, json_pack("{s:o, s:i, s:o}", "data", encode(r->data, r->data_len), "version",
                        r->stat.version, "children", names));
    zk_result_free(r);
}

/* --- members and services --- */

static void member_start(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, MEMBER, args);
    struct zk_member_options options = {.on_state = on_hold, .user = o};
    options.persistent = flag(args, "persistent");
    int len;
    uint8_t *data = decode(args, "data", &len);
    int error = zk_member_new(c->zk, text(args, "path"), data, len, &options,
                              (struct zk_member **)&o->it);
    free(data);
    if (!error && !flag(args, "now")) error = zk_member_wait(o->it, CONNECT_MS);
    answer(id, error, json_true());
}

static void member_set(struct client *c, json_int_t id, const json_t *args) {
    int len;
    uint8_t *data = decode(args, "data", &len);
    answer(id, zk_member_set(find(c, MEMBER, args)->it, data, len), json_true());
    free(data);
}

static void member_state(struct client *c, json_int_t id, const json_t *args) {
    reply(id, json_string(STATES[zk_member_state(find(c, MEMBER, args)->it)]));
}

static void service_register(struct client *c, json_int_t id, const json_t *args) {
    struct object *o = find(c, MEMBER, args);
    struct zk_member_options options = {.on_state = on_hold, .user = o};
    struct zk_service s = {
        .name = text(args, "name"), .id = text(args, "id"), .address = text(args, "address"),
        .port = number(args, "port", -1), .ssl_port = number(args, "ssl_port", -1),
        .payload = text(args, "payload"), .uri_spec = text(args, "uri_spec"),
        .registered = json_integer_value(json_object_get(args, "registered")),
        .type = (enum zk_service_type)number(args, "type", 0), .disabled = flag(args, "disabled")};
    int error = zk_service_register(c->zk, text(args, "path"), &s, &options,
                                    (struct zk_member **)&o->it);
    if (!error) error = zk_member_wait(o->it, CONNECT_MS);
    answer(id, error, json_true());
}

static json_t *service_json(const struct zk_service *s) {
    return json_pack("{s:s?, s:s?, s:s?, s:i, s:i, s:s?, s:s?, s:I, s:i, s:b}", "name", s->name,
                     "id", s->id, "address", s->address, "port", s->port, "ssl_port",
                     s->ssl_port, "payload", s->payload, "uri_spec", s->uri_spec, "registered",
                     (json_int_t)s->registered, "type", s->type, "disabled", s->disabled);
}

static void service_list(struct client *c, json_int_t id, const json_t *args) {
    struct zk_service **all;
    int n, error = zk_service_list(c->zk, text(args, "path"), text(args, "name"), &all, &n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, service_json(all[i]));
    zk_services_free(all, n);
    answer(id, error, list);
}

static void service_read(struct client *c, json_int_t id, const json_t *args) {
    struct zk_service *s;
    int len;
    uint8_t *data = decode(args, "data", &len);
    (void)c;
    int error = zk_service_read(data, len, &s);
    free(data);
    answer(id, error, error ? json_null() : service_json(s));
    zk_service_free(s);
}

/* --- sessions --- */

static void connect_client(const char *name, json_int_t id, const json_t *args) {
    struct client *c = need(calloc(1, sizeof *c + strlen(name) + 1));
    struct zk_options options = {.hosts = text(args, "hosts"), .on_state = on_state, .user = c};
    strcpy(c->name, name);
    c->next = clients;
    clients = c;
    options.session_timeout_ms = number(args, "timeout_ms", 10000);
    options.op_timeout_ms = number(args, "op_ms", 0);
    options.flags = flag(args, "final") ? 0 : ZK_RENEW_SESSION;
    if (flag(args, "own_loop")) options.flags |= ZK_OWN_LOOP; /* then only calls that wait */
    if (flag(args, "fail_fast")) options.flags |= ZK_FAIL_FAST;
    if (flag(args, "no_watch_reset")) options.flags |= ZK_NO_WATCH_RESET;
    int error = zk_open(&c->zk, &options);
    if (!error) error = zk_wait_connected(c->zk, CONNECT_MS);
    if (error) {
        answer(id, error, json_null());
        return;
    }
    uint8_t passwd[16];
    zk_session_passwd(c->zk, passwd);
    reply(id, json_pack("{s:I, s:s, s:i}", "session_id", (json_int_t)zk_session_id(c->zk),
                        "passwd", "", "timeout_ms", zk_session_timeout(c->zk)));
}

static void session(struct client *c, json_int_t id, const json_t *args) {
    (void)args;
    reply(id, json_integer(zk_session_id(c->zk)));
}

static void watches(struct client *c, json_int_t id, const json_t *args) {
    struct zk_counters counters;
    (void)args;
    zk_get_counters(c->zk, &counters);
    reply(id, json_integer(counters.watches));
}

/* Requests without their replies. */
static void waiting(struct client *c, json_int_t id, const json_t *args) {
    struct zk_counters counters;
    (void)args;
    zk_get_counters(c->zk, &counters);
    reply(id, json_integer(counters.waiting));
}

static void free_objects(struct client *c) {
    while (c->objects) {
        struct object *o = c->objects;
        c->objects = o->next;
        free_object(o);
        free(o);
    }
}

static void close_client(struct client *c, json_int_t id, const json_t *args) {
    (void)zk_close(c->zk, CLOSE_MS);
    if (!flag(args, "keep")) free_objects(c); /* else at the end of the program */
    reply(id, json_null());
}

static const struct {
    const char *name;
    void (*run)(struct client *c, json_int_t id, const json_t *args);
} OPS[] = {
    {"lock_acquire", lock_acquire},
    {"lock_try", lock_try},
    {"lock_release", lock_release},
    {"lock_revoke", lock_revoke},
    {"lock_state", lock_state},
    {"lock_token", lock_token},
    {"lock_downgrade", lock_downgrade},
    {"lock_loop", lock_loop},
    {"latch_start", latch_start},
    {"latch_leads", latch_leads},
    {"latch_leader", latch_leader},
    {"latch_wait", latch_wait},
    {"latch_resign", latch_resign},
    {"latch_close", forget},
    {"barrier_close", barrier_close},
    {"barrier_open", barrier_open},
    {"barrier_wait", barrier_wait},
    {"double_enter", double_enter},
    {"double_leave", double_leave},
    {"queue_put", queue_put},
    {"queue_take", queue_take},
    {"counter", counter},
    {"cache_start", cache_start},
    {"cache_wait", cache_wait},
    {"cache_get", cache_get},
    {"member_start", member_start},
    {"member_set", member_set},
    {"member_state", member_state},
    {"service_register", service_register},
    {"service_list", service_list},
    {"service_read", service_read},
    {"free", forget},
    {"session", session},
    {"watches", watches},
    {"waiting", waiting},
    {"close", close_client},
};

static void serve(const json_t *request) {
    /* What was answered came before what was asked then: also for the eyes of a sanitizer. */
    (void)pthread_mutex_lock(&out_lock);
    (void)pthread_mutex_unlock(&out_lock);
    json_int_t id = json_integer_value(json_object_get(request, "id"));
    const char *name = text(request, "client"), *op = text(request, "op");
    const json_t *args = json_object_get(request, "args");
    if (strcmp(op, "connect") == 0) {
        connect_client(name, id, args);
        return;
    }
    struct client *c = clients;
    while (c && strcmp(c->name, name) != 0) c = c->next;
    for (size_t i = 0; c && i < sizeof OPS / sizeof *OPS; i++) {
        if (strcmp(OPS[i].name, op) != 0) continue;
        OPS[i].run(c, id, args);
        return;
    }
    emit(json_pack("{s:I, s:s}", "id", id, "unsupported", op));
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        json_t *request = need(json_loads(line, 0, NULL));
        serve(request);
        json_decref(request);
    }
    free(line);
    while (clients) {
        struct client *c = clients;
        clients = c->next;
        free_objects(c);
        zk_free(c->zk);
        free(c);
    }
    return 0;
}
