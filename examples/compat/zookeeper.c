/*
 * zookeeper.c: handles, the session, watchers and the loop of the C interface of Apache ZooKeeper,
 * on top of zk.h.
 */
#include "zookeeper_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum {
    CLOSE_WAIT_MS = 3000,
    MAX_PACKET = 64 * 1024 * 1024, /* stock has no limit of its own */
    ADDRESS_ROOM = 64
};

static _Atomic bool keep_order;

/* --- references --- */

static void watch_map_free(struct watch_map *map) {
    for (size_t i = 0; i < map->cap; i++) {
        for (struct watch *w = map->buckets[i], *next; w; w = next) {
            next = w->next;
            free(w->path);
            free(w);
        }
    }
    for (struct watch *w = map->unused, *next; w; w = next) {
        next = w->next;
        free(w);
    }
    free(map->buckets);
}

/* Callbacks may still come until zk_free has returned, and find a closed handle. */
static void *destroy(void *arg) {
    zhandle_t *zh = arg;
    zk_free(zh->zk);
    watch_map_free(&zh->watches);
    (void)pthread_mutex_destroy(&zh->lock);
    (void)pthread_mutex_destroy(&zh->auth_lock);
    free(zh->hosts);
    free(zh);
    return NULL;
}

static bool drop_reference(zhandle_t *zh) {
    (void)pthread_mutex_lock(&zh->lock);
    bool last = !--zh->refs;
    (void)pthread_mutex_unlock(&zh->lock);
    return last;
}

int zh_enter(zhandle_t *zh) {
    if (!zh) return ZBADARGUMENTS;
    (void)pthread_mutex_lock(&zh->lock);
    bool closed = zh->closed;
    if (!closed) zh->refs++;
    (void)pthread_mutex_unlock(&zh->lock);
    if (closed) return ZINVALIDSTATE;
    if (!is_unrecoverable(zh)) return ZOK;
    zh_leave(zh);
    return ZINVALIDSTATE;
}

void zh_leave(zhandle_t *zh) {
    if (drop_reference(zh)) (void)destroy(zh);
}

void zh_hold(zhandle_t *zh) {
    (void)pthread_mutex_lock(&zh->lock);
    zh->refs++;
    (void)pthread_mutex_unlock(&zh->lock);
}

/* A callback cannot wait for its own end, so the last one leaves that to a thread. Without threads
 * it is never the last: zookeeper_process or zookeeper_close is below it. */
void zh_release(zhandle_t *zh) {
    pthread_t thread;
    if (!drop_reference(zh)) return;
    if (pthread_create(&thread, NULL, destroy, zh) == 0)
        (void)pthread_detach(thread);
    else
        zk_free(zh->zk); /* what is left of the handle is lost, which is better than a crash */
}

/* For a watcher that is to be called. */
static bool enter_callback(zhandle_t *zh) {
    (void)pthread_mutex_lock(&zh->lock);
    bool open = !zh->closed;
    if (open) zh->refs++;
    (void)pthread_mutex_unlock(&zh->lock);
    return open;
}

/* --- watches --- */

static size_t bucket_of(const struct watch_map *map, const char *path) {
    size_t hash = 1469598103u;
    while (*path) hash = (hash ^ (unsigned char)*path++) * 16777619u;
    return hash & (map->cap - 1);
}

static bool map_grow(struct watch_map *map) {
    struct watch_map bigger = {.cap = map->cap ? 2 * map->cap : 16};
    if (map->n < map->cap) return true;
    bigger.buckets = calloc(bigger.cap, sizeof *bigger.buckets);
    if (!bigger.buckets) return map->cap > 0;
    for (size_t i = 0; i < map->cap; i++) {
        for (struct watch *w = map->buckets[i], *next; w; w = next) {
            struct watch **bucket = &bigger.buckets[bucket_of(&bigger, w->path)];
            next = w->next;
            w->next = *bucket;
            *bucket = w;
        }
    }
    free(map->buckets);
    map->buckets = bigger.buckets;
    map->cap = bigger.cap;
    return true;
}

/* NULL: it is not there. */
static struct watch *map_find(const struct watch_map *map, const char *path, watcher_fn fn,
                              void *ctx) {
    struct watch *w = map->cap ? map->buckets[bucket_of(map, path)] : NULL;
    while (w && (w->fn != fn || w->ctx != ctx || strcmp(w->path, path))) w = w->next;
    return w;
}

static struct watch *map_add(struct watch_map *map, zhandle_t *zh, const char *path,
                             watcher_fn fn, void *ctx) {
    struct watch *w = map->unused;
    char *copy = map_grow(map) ? strdup(path) : NULL;
    if (copy && w) map->unused = w->next;
    if (copy && !w) w = malloc(sizeof *w);
    if (!copy || !w) {
        free(copy);
        return NULL;
    }
    struct watch **bucket = &map->buckets[bucket_of(map, path)];
    *w = (struct watch){.next = *bucket, .zh = zh, .path = copy, .fn = fn, .ctx = ctx};
    for (int t = 0; t < WATCH_TABLES; t++) w->tables[t].fired_zxid = -1;
    *bucket = w;
    map->n++;
    return w;
}

static bool is_armed(const struct watch *w) {
    for (int t = 0; t < WATCH_TABLES; t++)
        if (w->tables[t].armed) return true;
    return false;
}

/* Puts aside what is not needed any more. */
static void map_settle(struct watch_map *map, struct watch *w) {
    struct watch **link = &map->buckets[bucket_of(map, w->path)];
    if (w->pending || is_armed(w)) return;
    while (*link != w) link = &(*link)->next;
    *link = w->next;
    free(w->path);
    w->path = NULL;
    w->next = map->unused;
    map->unused = w;
    map->n--;
}

static const char *watch_path(const struct zk_op *op) {
    return op->path ? op->path : ZOO_CONFIG_NODE;
}

static void on_watch(void *user, const struct zk_event *event);

bool watch_begin(zhandle_t *zh, struct zk_op *op, watcher_fn fn, void *ctx,
                 struct watch_use *use) {
    memset(use, 0, sizeof *use);
    if (!fn) return true;
    (void)pthread_mutex_lock(&zh->lock);
    struct watch *w = map_find(&zh->watches, watch_path(op), fn, ctx);
    if (!w) w = map_add(&zh->watches, zh, watch_path(op), fn, ctx);
    if (w) {
        use->watch = w;
        use->order = ++zh->watches.orders;
        use->alone = !w->pending && !is_armed(w);
        for (int t = 0; t < WATCH_TABLES; t++) use->fired[t] = w->tables[t].fired;
        w->pending++;
        *op = zk_watching(*op, on_watch, w);
    }
    (void)pthread_mutex_unlock(&zh->lock);
    return w;
}

/* The table in which a result has set its watch; -1: none. A result that could not be made for want
 * of memory does not tell: then the watch had better be kept. */
static int table_of(enum zk_op_type type, int error) {
    if (type == ZK_OP_EXISTS && error == ZK_NO_NODE) return WATCH_EXIST;
    if (error && error != ZK_OUT_OF_MEMORY) return -1;
    return type == ZK_OP_GET_CHILDREN ? WATCH_CHILD : WATCH_DATA;
}

void watch_end(zhandle_t *zh, const struct watch_use *use, enum zk_op_type type, int error,
               int64_t zxid, bool sync) {
    struct watch *w = use->watch;
    int t = table_of(type, error);
    if (!w) return;
    (void)pthread_mutex_lock(&zh->lock);
    w->pending--;
    if (t >= 0) {
        bool gone = w->tables[t].fired_zxid > zxid;
        gone = gone || (use->alone && w->tables[t].fired != use->fired[t]);
        if (!gone) {
            w->tables[t].armed = true;
            w->tables[t].order = use->order;
            w->tables[t].armed_zxid = zxid;
            w->tables[t].doubt = sync && !use->alone;
        }
    }
    map_settle(&zh->watches, w);
    (void)pthread_mutex_unlock(&zh->lock);
}

static bool uses_up(enum zk_event_type type, int t) {
    if (type == ZK_NODE_DELETED) return true;
    return (type == ZK_NODE_CHILDREN_CHANGED) == (t == WATCH_CHILD);
}

/* An event takes what it uses up; see struct watch. */
static void disarm(struct watch *w, int t, int64_t zxid) {
    if (zxid < 0) {
        w->tables[t].fired++;
        if (!w->tables[t].doubt) w->tables[t].armed = false;
        w->tables[t].doubt = false;
        return;
    }
    if (zxid > w->tables[t].armed_zxid) w->tables[t].armed = false;
    if (zxid > w->tables[t].fired_zxid) w->tables[t].fired_zxid = zxid;
}

static void on_watch(void *user, const struct zk_event *event) {
    struct watch *w = user;
    zhandle_t *zh = w->zh;
    watcher_fn fn = NULL;
    void *ctx = NULL;
    /* That a watch was removed is not told, and was seen to when the removal ended. */
    if (event->type > ZK_NODE_CHILDREN_CHANGED || !enter_callback(zh)) return;
    (void)pthread_mutex_lock(&zh->lock);
    if (w->path && !strcmp(w->path, event->path)) {
        fn = w->fn;
        ctx = w->ctx;
        for (int t = 0; t < WATCH_TABLES; t++)
            if (uses_up(event->type, t)) disarm(w, t, event->zxid);
        map_settle(&zh->watches, w);
    }
    (void)pthread_mutex_unlock(&zh->lock);
    /* The numbers of the types are the same. */
    if (fn) fn(zh, (int)event->type, zoo_state(zh), event->path, ctx);
    zh_release(zh);
}

/* --- removing watches --- */

int removal_begin(zhandle_t *zh, struct zk_op *op, watcher_fn fn, void *ctx,
                  struct watch_removal *removal) {
    int rc = ZOK;
    memset(removal, 0, sizeof *removal);
    (void)pthread_mutex_lock(&zh->lock);
    struct watch *only = fn ? map_find(&zh->watches, op->path, fn, ctx) : NULL;
    if (fn && !only) rc = ZNOWATCHER;
    removal->path = rc ? NULL : strdup(op->path);
    if (!rc && !removal->path) rc = ZSYSTEMERROR;
    removal->kind = op->watch_kind;
    removal->only = only;
    removal->order = ++zh->watches.orders;
    (void)pthread_mutex_unlock(&zh->lock);
    if (only) *op = zk_watching(*op, on_watch, only);
    return rc;
}

/* Of this table, and armed before the removal. */
static bool is_removed(const struct watch *w, int t, const struct watch_removal *removal) {
    bool child = t == WATCH_CHILD;
    if (removal->kind == (child ? ZK_WATCH_DATA : ZK_WATCH_CHILDREN)) return false;
    return w->tables[t].armed && w->tables[t].order < removal->order;
}

void removal_end(zhandle_t *zh, struct watch_removal *removal, int error) {
    const struct watch_map *map = &zh->watches;
    (void)pthread_mutex_lock(&zh->lock);
    bool any = !error && removal->path && map->cap;
    struct watch *w = any ? map->buckets[bucket_of(map, removal->path)] : NULL;
    for (struct watch *next; w; w = next) {
        next = w->next;
        if (strcmp(w->path, removal->path) || (removal->only && removal->only != w)) continue;
        for (int t = 0; t < WATCH_TABLES; t++)
            if (is_removed(w, t, removal)) w->tables[t].armed = false;
        map_settle(&zh->watches, w);
    }
    (void)pthread_mutex_unlock(&zh->lock);
    free(removal->path);
    removal->path = NULL;
}

/* --- the session --- */

struct listener {
    watcher_fn fn;
    void *ctx;
};

static int compare_listeners(const void *a, const void *b) {
    return memcmp(a, b, sizeof(struct listener));
}

/* All watchers that are armed, each once. NULL: none, or no memory for them. */
static struct listener *listeners_of(zhandle_t *zh, size_t *count) {
    const struct watch_map *map = &zh->watches;
    struct listener *all = map->n ? calloc(map->n, sizeof *all) : NULL;
    size_t n = 0, kept = 0;
    for (size_t i = 0; all && i < map->cap; i++)
        for (const struct watch *w = map->buckets[i]; w; w = w->next)
            if (is_armed(w)) all[n++] = (struct listener){w->fn, w->ctx};
    if (n) qsort(all, n, sizeof *all, compare_listeners);
    for (size_t i = 0; i < n; i++)
        if (!kept || memcmp(&all[i], &all[kept - 1], sizeof *all)) all[kept++] = all[i];
    *count = kept;
    return all;
}

static bool is_open(zhandle_t *zh) {
    (void)pthread_mutex_lock(&zh->lock);
    bool open = !zh->closed;
    (void)pthread_mutex_unlock(&zh->lock);
    return open;
}

/* A change of the session goes to every watcher, and uses none of them up. */
static void tell_all(zhandle_t *zh, int state) {
    struct listener *all, session;
    size_t n;
    (void)pthread_mutex_lock(&zh->lock);
    all = listeners_of(zh, &n);
    session = (struct listener){zh->watcher, zh->context};
    (void)pthread_mutex_unlock(&zh->lock);
    for (size_t i = 0; i < n && is_open(zh); i++)
        if (all[i].fn != session.fn || all[i].ctx != session.ctx)
            all[i].fn(zh, ZOO_SESSION_EVENT, state, "", all[i].ctx);
    if (is_open(zh)) session.fn(zh, ZOO_SESSION_EVENT, state, "", session.ctx);
    free(all);
}

/* What a state is called; a session that may be lost is still looking for a server. */
static int state_of(enum zk_state state) {
    static const int states[] = {
        [ZK_STATE_CONNECTING] = 1, [ZK_STATE_CONNECTED] = 3,   [ZK_STATE_READ_ONLY] = 5,
        [ZK_STATE_SUSPENDED] = 1,  [ZK_STATE_LOST] = 1,        [ZK_STATE_EXPIRED] = -112,
        [ZK_STATE_CLOSED] = 0,     [ZK_STATE_AUTH_FAILED] = -113,
    };
    return states[state];
}

static void on_state(void *user, enum zk_state state, int64_t session_id) {
    zhandle_t *zh = user;
    (void)session_id;
    if (state == ZK_STATE_LOST || state == ZK_STATE_CLOSED || !enter_callback(zh)) return;
    tell_all(zh, state_of(state));
    zh_release(zh);
}

static void on_log(void *user, int level, const char *text) {
    zhandle_t *zh = user;
    if (level <= (int)logLevel)
        log_message(zoo_get_log_callback(zh), (ZooLogLevel)level, 0, "zk", "%s", text);
}

static void no_watcher(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
    (void)zh;
    (void)type;
    (void)state;
    (void)path;
    (void)ctx;
}

/* --- servers --- */

/* Whether a name of the list, "host:port", has a port and an address. */
static int look_up(const char *name, size_t n) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char host[NI_MAXHOST];
    const char *colon = n ? memrchr(name, ':', n) : NULL;
    size_t len = colon ? (size_t)(colon - name) : 0;
    int rc;
    if (!len || len >= sizeof host || memchr(colon, ']', n - len)) return EINVAL;
    if (name[0] == '[' && colon[-1] == ']') {
        name++;
        len -= 2;
    }
    memcpy(host, name, len);
    host[len] = '\0';
    rc = getaddrinfo(host, NULL, &hints, &found);
    if (!rc) freeaddrinfo(found);
    return rc == EAI_MEMORY ? ENOMEM : rc ? ENOENT : 0;
}

/*
 * stock: a list without a port, or of which no name has an address, is refused at once. That is all
 * that is done here: zk.h looks names up on its own, again and again.
 */
static int check_hosts(const char *hosts, bool chroot) {
    size_t n = strcspn(hosts, "/");
    int answer = EINVAL;
    bool found = false;
    if (hosts[n] && !chroot) return EINVAL;
    while (n) {
        size_t len = strcspn(hosts, ",/");
        int rc = len ? look_up(hosts, len) : 0;
        if (rc && rc != ENOENT) return rc;
        if (len && !found) answer = rc;
        found = found || (len && !rc);
        len += hosts[len] == ',';
        hosts += len;
        n -= len;
    }
    return found ? 0 : answer;
}

int zoo_set_servers(zhandle_t *zh, const char *hosts) {
    char *copy;
    int rc;
    if (!hosts) return ZBADARGUMENTS;
    rc = zh_enter(zh);
    if (rc) return rc;
    copy = check_hosts(hosts, false) ? NULL : strdup(hosts);
    rc = copy ? zoo_error(zk_set_hosts(zh->zk, hosts)) : ZBADARGUMENTS;
    if (rc) {
        free(copy);
    } else {
        (void)pthread_mutex_lock(&zh->lock);
        free(zh->hosts);
        zh->hosts = copy;
        (void)pthread_mutex_unlock(&zh->lock);
    }
    zh_leave(zh);
    return rc;
}

int zoo_set_servers_resolution_delay(zhandle_t *zh, int delay_ms) {
    return !zh || delay_ms < -1 ? ZBADARGUMENTS : ZOK;
}

/* The first of the list goes to its end. */
void zoo_cycle_next_server(zhandle_t *zh) {
    char *list = NULL;
    if (zh_enter(zh)) return;
    (void)pthread_mutex_lock(&zh->lock);
    size_t n = strlen(zh->hosts), first = strcspn(zh->hosts, ",");
    if (first < n) list = malloc(n + 1);
    if (list) {
        memcpy(list, zh->hosts + first + 1, n - first - 1);
        list[n - first - 1] = ',';
        memcpy(list + n - first, zh->hosts, first);
        list[n] = '\0';
        memcpy(zh->hosts, list, n);
    }
    (void)pthread_mutex_unlock(&zh->lock);
    if (list) (void)zk_set_hosts(zh->zk, list);
    free(list);
    zh_leave(zh);
}

const char *zoo_get_current_server(zhandle_t *zh) {
    static _Thread_local char text[NI_MAXHOST + ADDRESS_ROOM];
    text[0] = '\0';
    if (zh_enter(zh)) return text;
    if (!*zk_server_address(zh->zk, text, sizeof text)) {
        (void)pthread_mutex_lock(&zh->lock);
        size_t n = strcspn(zh->hosts, ",");
        if (n < sizeof text) memcpy(text, zh->hosts, n);
        if (n < sizeof text) text[n] = '\0';
        (void)pthread_mutex_unlock(&zh->lock);
    }
    zh_leave(zh);
    return text;
}

struct sockaddr *zookeeper_get_connected_host(zhandle_t *zh, struct sockaddr *addr,
                                              socklen_t *addr_len) {
    char text[ADDRESS_ROOM + 2], *port;
    union {
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    socklen_t len = 0;
    if (!addr || !addr_len || zh_enter(zh)) return NULL;
    port = strrchr(zk_server_address(zh->zk, text, sizeof text), ':') ? strrchr(text, ':') : NULL;
    zh_leave(zh);
    if (!port) return NULL;
    *port++ = '\0';
    if (text[0] == '[') {
        text[strcspn(text, "]%")] = '\0';
        at.v6.sin6_family = AF_INET6;
        at.v6.sin6_port = htons((uint16_t)atoi(port));
        if (inet_pton(AF_INET6, text + 1, &at.v6.sin6_addr) == 1) len = sizeof at.v6;
    } else {
        at.v4.sin_family = AF_INET;
        at.v4.sin_port = htons((uint16_t)atoi(port));
        if (inet_pton(AF_INET, text, &at.v4.sin_addr) == 1) len = sizeof at.v4;
    }
    if (!len) return NULL;
    memcpy(addr, &at, *addr_len < len ? *addr_len : len);
    *addr_len = len;
    return addr;
}

void zoo_deterministic_conn_order(int yesOrNo) { keep_order = yesOrNo != 0; }

/* --- life --- */

static int open_session(zhandle_t *zh, const char *host, int timeout, const clientid_t *id,
                        int flags) {
    struct zk_options options = {
        .hosts = host,
        .session_timeout_ms = timeout,
        .op_timeout_ms = -1,
        .max_packet = MAX_PACKET,
        .on_state = on_state,
        .user = zh,
        .log = on_log,
        .log_user = zh,
    };
#ifdef ZOO_SINGLE_THREADED
    options.flags |= ZK_OWN_LOOP;
#endif
    if (keep_order) options.flags |= ZK_KEEP_HOST_ORDER;
    if (flags & ZOO_READONLY) options.flags |= ZK_CAN_BE_READ_ONLY;
    if (id && id->client_id) {
        options.session_id = id->client_id;
        options.session_passwd = (const uint8_t *)id->passwd;
    }
    /* A watcher may be called before the handle is here: enter_callback() waits for that. */
    (void)pthread_mutex_lock(&zh->lock);
    int rc = zk_open(&zh->zk, &options);
    (void)pthread_mutex_unlock(&zh->lock);
    switch (rc) {
    case ZK_OK: return 0;
    case ZK_BAD_ARGUMENTS: return EINVAL;
    default: return ENOMEM;
    }
}

zhandle_t *zookeeper_init2(const char *host, watcher_fn fn, int recv_timeout,
                           const clientid_t *clientid, void *context, int flags,
                           log_callback_fn log_callback) {
    if (!(flags & ZOO_NO_LOG_CLIENTENV)) log_environment(log_callback);
    LOG_INFO(log_callback, "opening a session: host=%s timeout=%d session=%#llx flags=%d",
             host ? host : "(null)", recv_timeout,
             clientid ? (unsigned long long)clientid->client_id : 0ull, flags);
    zhandle_t *zh = NULL;
    int problem = host ? check_hosts(host, true) : EINVAL;
    if (!problem) problem = (zh = calloc(1, sizeof *zh)) ? 0 : ENOMEM;
    if (problem) {
        errno = problem;
        return NULL;
    }
    zh->hosts = strndup(host, strcspn(host, "/"));
    zh->refs = 1;
    zh->watcher = fn ? fn : no_watcher;
    zh->context = context;
    zh->log_callback = log_callback;
    if (clientid) zh->id = *clientid;
    (void)pthread_mutex_init(&zh->lock, NULL);
    (void)pthread_mutex_init(&zh->auth_lock, NULL);
    problem = zh->hosts ? open_session(zh, host, recv_timeout, clientid, flags) : ENOMEM;
    if (!problem) return zh;
    (void)destroy(zh);
    errno = problem;
    return NULL;
}

zhandle_t *zookeeper_init(const char *host, watcher_fn fn, int recv_timeout,
                          const clientid_t *clientid, void *context, int flags) {
    return zookeeper_init2(host, fn, recv_timeout, clientid, context, flags, NULL);
}

int zookeeper_close(zhandle_t *zh) {
    if (!zh) return ZBADARGUMENTS;
    (void)pthread_mutex_lock(&zh->lock);
    bool closed = zh->closed;
    zh->closed = true;
    (void)pthread_mutex_unlock(&zh->lock);
    if (closed) return ZBADARGUMENTS;
    int rc = zoo_error(zk_close(zh->zk, CLOSE_WAIT_MS));
    zh_leave(zh);
    return rc;
}

#ifdef HAVE_OPENSSL_H
zhandle_t *zookeeper_init_ssl(const char *host, const char *cert, watcher_fn fn, int recv_timeout,
                              const clientid_t *clientid, void *context, int flags) {
    (void)host, (void)cert, (void)fn, (void)recv_timeout, (void)clientid, (void)context;
    (void)flags;
    errno = ENOSYS;
    return NULL;
}
#endif

#ifdef HAVE_CYRUS_SASL_H
zhandle_t *zookeeper_init_sasl(const char *host, watcher_fn fn, int recv_timeout,
                               const clientid_t *clientid, void *context, int flags,
                               log_callback_fn log_callback, zoo_sasl_params_t *sasl_params) {
    (void)host, (void)fn, (void)recv_timeout, (void)clientid, (void)context, (void)flags;
    (void)log_callback, (void)sasl_params;
    errno = ENOSYS;
    return NULL;
}

sasl_callback_t *zoo_sasl_make_basic_callbacks(const char *user, const char *realm,
                                               const char *password_file) {
    (void)user, (void)realm, (void)password_file;
    errno = ENOSYS;
    return NULL;
}

sasl_callback_t *zoo_sasl_make_password_callbacks(const char *user, const char *realm,
                                                  zoo_sasl_password_t *password) {
    (void)user, (void)realm, (void)password;
    errno = ENOSYS;
    return NULL;
}
#endif

/* --- facts and settings of a handle --- */

/* Also of a handle that is closed, while a call or callback still has it. */
int zoo_state(zhandle_t *zh) {
    if (!zh) return 0;
#ifdef ZOO_SINGLE_THREADED
    if (!zh->begun) return ZOO_NOTCONNECTED_STATE;
#endif
    return state_of(zk_state(zh->zk));
}

int is_unrecoverable(zhandle_t *zh) { return zoo_state(zh) < 0 ? ZINVALIDSTATE : ZOK; }

const clientid_t *zoo_client_id(zhandle_t *zh) {
    uint8_t passwd[16];
    if (!zh) return NULL;
    zk_session_passwd(zh->zk, passwd);
    (void)pthread_mutex_lock(&zh->lock);
    zh->id.client_id = zk_session_id(zh->zk);
    memcpy(zh->id.passwd, passwd, sizeof passwd);
    (void)pthread_mutex_unlock(&zh->lock);
    return &zh->id;
}

int zoo_recv_timeout(zhandle_t *zh) { return zh ? zk_session_timeout(zh->zk) : 0; }

const void *zoo_get_context(zhandle_t *zh) {
    if (!zh) return NULL;
    (void)pthread_mutex_lock(&zh->lock);
    const void *context = zh->context;
    (void)pthread_mutex_unlock(&zh->lock);
    return context;
}

void zoo_set_context(zhandle_t *zh, void *context) {
    if (!zh) return;
    (void)pthread_mutex_lock(&zh->lock);
    zh->context = context;
    (void)pthread_mutex_unlock(&zh->lock);
}

watcher_fn zoo_set_watcher(zhandle_t *zh, watcher_fn newFn) {
    if (!zh) return NULL;
    (void)pthread_mutex_lock(&zh->lock);
    watcher_fn old = zh->watcher;
    zh->watcher = newFn ? newFn : no_watcher;
    (void)pthread_mutex_unlock(&zh->lock);
    return old;
}

log_callback_fn zoo_get_log_callback(const zhandle_t *zh) { return zh ? zh->log_callback : NULL; }

void zoo_set_log_callback(zhandle_t *zh, log_callback_fn callback) {
    if (zh) zh->log_callback = callback;
}

int zoo_lock_auth(zhandle_t *zh) {
    return zh ? pthread_mutex_lock(&zh->auth_lock) : ZBADARGUMENTS;
}

int zoo_unlock_auth(zhandle_t *zh) {
    return zh ? pthread_mutex_unlock(&zh->auth_lock) : ZBADARGUMENTS;
}

void close_zsock(zsock_t *zsock) {
    if (zsock->sock >= 0) (void)close(zsock->sock);
    zsock->sock = -1;
}

/* --- without threads --- */

static bool is_connected(int state) {
    return state == ZOO_CONNECTED_STATE || state == ZOO_READONLY_STATE;
}

/* One turn; says what became of the session in it. */
static int turn(zhandle_t *zh) {
    int before = zoo_state(zh);
    zh->begun = true;
    int rc = zk_step(zh->zk);
    if (rc == ZK_CLOSING) return ZOK; /* by a callback: there is nothing wrong */
    if (rc) return rc == ZK_WRONG_THREAD ? ZINVALIDSTATE : zoo_error(rc);
    return is_connected(before) && !is_connected(zoo_state(zh)) ? ZCONNECTIONLOSS : ZOK;
}

int zookeeper_interest(zhandle_t *zh, int *fd, int *interest, struct timeval *tv) {
    if (!fd || !interest || !tv) return ZBADARGUMENTS;
    int rc = zh_enter(zh);
    if (rc) return rc;
    rc = turn(zh);
    int wants = zk_wants(zh->zk), ms = zk_wait_ms(zh->zk);
    if (ms < 0) ms = INT_MAX;
    *fd = zk_fd(zh->zk);
    *interest = 0;
    if (wants & ZK_READABLE) *interest |= ZOOKEEPER_READ;
    if (wants & ZK_WRITABLE) *interest |= ZOOKEEPER_WRITE;
    tv->tv_sec = ms / 1000;
    tv->tv_usec = ms % 1000 * 1000;
    zh_leave(zh);
    return rc;
}

int zookeeper_process(zhandle_t *zh, int events) {
    (void)events; /* zk.h asks the descriptor itself */
    int rc = zh_enter(zh);
    if (rc) return rc;
    rc = turn(zh);
    zh_leave(zh);
    return rc;
}
