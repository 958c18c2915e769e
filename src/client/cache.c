#include "client/cache.h"

#include "state/path.h"

#define CACHE_NO_MEMORY_MS 50 /* until another try to get it */

static void cache_pump(struct cache *h);
static void cache_event(void *user, const struct zk_event *event);

/* --- the table --- */

static struct cache_node *cache_find(const struct cache *h, struct slice path) {
    if (!h->cap) return NULL;
    uint64_t hash = slice_hash(path, h->seed);
    for (struct cache_node *n = h->buckets[hash & (h->cap - 1)]; n; n = n->next)
        if (n->hash == hash && slice_eq(slice_of(n->path, n->path_len), path)) return n;
    return NULL;
}

/* Not being able to grow makes it slower, nothing else. */
static void cache_grow(struct cache *h) {
    uint32_t cap = h->cap ? h->cap * 2 : 16;
    struct cache_node **buckets = mem_try(sizeof *buckets * cap);
    if (!buckets) return;
    for (uint32_t i = 0; i < h->cap; i++) {
        for (struct cache_node *n = h->buckets[i], *next; n; n = next) {
            next = n->next;
            n->next = buckets[n->hash & (cap - 1)];
            buckets[n->hash & (cap - 1)] = n;
        }
    }
    mem_free(h->buckets);
    h->buckets = buckets;
    h->cap = cap;
}

static struct cache_node *cache_add(struct cache *h, struct slice path,
                                    struct cache_node *parent) {
    if (h->n >= h->cap) cache_grow(h);
    struct cache_node *n = h->cap ? mem_try(sizeof *n + path.n + 1) : NULL;
    if (!n) return NULL;
    n->hash = slice_hash(path, h->seed);
    n->path_len = (uint32_t)path.n;
    memcpy(n->path, path.p, path.n);
    n->data_len = -1;
    n->next = h->buckets[n->hash & (h->cap - 1)];
    h->buckets[n->hash & (h->cap - 1)] = n;
    h->n++;
    n->parent = parent;
    if (parent) {
        n->sibling = parent->children;
        parent->children = n;
    }
    return n;
}

static void cache_unlink(struct cache *h, struct cache_node *n) {
    struct cache_node **link = &h->buckets[n->hash & (h->cap - 1)];
    while (*link != n) link = &(*link)->next;
    *link = n->next;
    for (link = n->parent ? &n->parent->children : NULL; link; link = &(*link)->sibling) {
        if (*link != n) continue;
        *link = n->sibling;
        break;
    }
    h->n--;
    mem_free(n->data);
    mem_free(n);
}

/* Frees a record that nobody needs, and those above it that were there for its sake. */
static void cache_settle(struct cache *h, struct cache_node *n) {
    while (n && !n->there && !n->queued && !n->reading && !n->children) {
        struct cache_node *up = n->parent;
        cache_unlink(h, n);
        n = up;
    }
}

/* How many levels below the root a path is; -1: it is not below it. */
static int cache_level(const struct cache *h, struct slice path) {
    size_t n = strlen(h->root);
    if (n == 1) n = 0;
    if (path.n < n || memcmp(path.p, h->root, n) != 0) return -1;
    if (path.n == n || path.n == 1) return 0;
    if (path.p[n] != '/') return -1;
    int level = 0;
    for (size_t i = n; i < path.n; i++) level += path.p[i] == '/';
    return level;
}

static bool cache_keeps(const struct cache *h, int level) {
    return level >= 0 && (!h->levels || level < h->levels);
}

/* The record of a path at or below the root, made with all above it. NULL: no memory. */
static struct cache_node *cache_make(struct cache *h, struct slice path) {
    struct slice root = slice_str(h->root);
    struct cache_node *n = cache_find(h, root);
    if (!n) n = cache_add(h, root, NULL);
    size_t end = root.n == 1 ? 0 : root.n;
    while (n && end < path.n && path.n > 1) {
        while (++end < path.n && path.p[end] != '/') continue;
        struct slice here = slice_of(path.p, end);
        struct cache_node *child = cache_find(h, here);
        if (!child) child = cache_add(h, here, n);
        if (!child) cache_settle(h, n);
        n = child;
    }
    return n;
}

/* --- telling --- */

struct cache_post {
    struct client_post post;
    zk_cache_fn fn;
    void *user;
    struct zk_cache_change change;
    struct zk_cache_node before, now;
    char bytes[]; /* path, data before, data now */
};

static void cache_run(struct client_post *post) {
    struct cache_post *p = (struct cache_post *)(void *)post;
    p->fn(p->user, &p->change);
    mem_free(p);
}

static void cache_drop(struct client_post *post) {
    mem_free(post);
}

static size_t cache_room(const struct zk_cache_node *n) {
    return n && n->data_len > 0 ? (size_t)n->data_len + 1 : 1;
}

static const struct zk_cache_node *cache_copy(struct zk_cache_node *to,
                                              const struct zk_cache_node *from, const char *path,
                                              char **bytes) {
    if (!from) return NULL;
    *to = *from;
    to->path = path;
    if (from->data) to->data = memcpy(*bytes, from->data, (size_t)from->data_len);
    *bytes += cache_room(from);
    return to;
}

/* False: no memory. */
static bool cache_tell(struct cache *h, enum zk_cache_event event, const char *path,
                       const struct zk_cache_node *before, const struct zk_cache_node *now) {
    if (!h->fn) return true;
    size_t path_len = strlen(path) + 1;
    struct cache_post *p = mem_try(sizeof *p + path_len + cache_room(before) + cache_room(now));
    if (!p) return false;
    char *bytes = p->bytes + path_len;
    memcpy(p->bytes, path, path_len);
    p->post.owner = h->owner;
    p->post.run = cache_run;
    p->post.drop = cache_drop;
    p->fn = h->fn;
    p->user = h->user;
    p->change.event = event;
    p->change.path = p->bytes;
    p->change.before = cache_copy(&p->before, before, p->bytes, &bytes);
    p->change.now = cache_copy(&p->now, now, p->bytes, &bytes);
    p->change.error = h->error;
    client_post(h->c, &p->post);
    return true;
}

static struct zk_cache_node cache_view(const struct cache_node *n) {
    struct zk_cache_node view = {n->path, n->data, n->data_len, n->stat};
    return view;
}

/* --- the queue of what is to be read --- */

static void cache_push(struct cache *h, struct cache_node *n) {
    if (n->reading) n->again = true;
    if (n->reading || n->queued) return;
    n->queued = true;
    n->queued_next = NULL;
    *h->queue_end = n;
    h->queue_end = &n->queued_next;
}

static struct cache_node *cache_pop(struct cache *h) {
    struct cache_node *n = h->queue;
    if (!n) return NULL;
    h->queue = n->queued_next;
    if (!h->queue) h->queue_end = &h->queue;
    n->queued = false;
    return n;
}

static void cache_again(void *user) {
    struct cache *h = user;
    cache_pump(h);
}

/* There was no memory: once more, a little later. */
static void cache_postpone(struct cache *h, struct cache_node *n) {
    if (n) cache_push(h, n);
    h->timer.fn = cache_again;
    client_timer_set(h->c, &h->timer, client_now(h->c) + CACHE_NO_MEMORY_MS);
}

/* --- what was read --- */

/* False: no memory; nothing has changed. */
static bool cache_gone(struct cache *h, struct cache_node *n) {
    if (!n->there) return true;
    struct zk_cache_node before = cache_view(n);
    if (!cache_tell(h, ZK_CACHE_REMOVED, n->path, &before, NULL)) return false;
    mem_free(n->data);
    n->data = NULL;
    n->data_len = -1;
    n->there = false;
    return true;
}

static bool cache_apply(struct cache *h, struct cache_node *n, const struct zk_result *r) {
    struct zk_cache_node before = cache_view(n), now = {n->path, r->data, r->data_len, r->stat};
    bool same = n->there && n->stat.czxid == r->stat.czxid && n->stat.mzxid == r->stat.mzxid;
    n->round = h->round;
    if (same) {
        n->stat = r->stat; /* the children and the ACL may differ */
        return true;
    }
    void *data = r->data ? recipe_copy(r->data, (size_t)r->data_len) : NULL;
    if (r->data && !data) return false;
    if (!cache_tell(h, n->there ? ZK_CACHE_CHANGED : ZK_CACHE_ADDED, n->path,
                    n->there ? &before : NULL, &now)) {
        mem_free(data);
        return false;
    }
    mem_free(n->data);
    n->data = data;
    n->data_len = r->data_len;
    n->stat = r->stat;
    n->there = true;
    return true;
}

/* False: no memory. */
static bool cache_list(struct cache *h, struct cache_node *n, const struct zk_result *r) {
    for (int i = 0; i < r->count; i++) {
        char *path = recipe_join(n->path, r->names[i]);
        struct slice at = path ? slice_str(path) : slice_of(NULL, 0);
        struct cache_node *child = path ? cache_find(h, at) : NULL;
        if (path && !child) child = cache_add(h, at, n);
        mem_free(path);
        if (!child) return false;
        /* An event may have had it read already, but not its children. */
        if (child->listed == h->round) continue;
        child->listed = h->round;
        child->children_wanted = true;
        cache_push(h, child);
    }
    return true;
}

/* --- readers --- */

static void cache_fail(struct cache *h, int error) {
    if (h->state == CACHE_FAILED && h->error == error) return;
    h->state = CACHE_FAILED;
    h->error = error;
    (void)cache_tell(h, ZK_CACHE_FAILED, h->root, NULL, NULL);
    wish_end(&h->wish, error);
}

/* ok false: to be read again, when there is memory. */
static void cache_read_over(struct cache_reader *r, bool ok) {
    struct cache *h = r->cache;
    struct cache_node *n = r->node;
    r->node = NULL;
    h->busy--;
    n->reading = false;
    bool again = n->again;
    n->again = false;
    if (!ok)
        cache_postpone(h, n);
    else if (again)
        cache_push(h, n);
    cache_settle(h, n);
    if (ok) cache_pump(h);
}

static void cache_listed(void *user, const struct zk_result *result) {
    struct cache_reader *r = user;
    struct cache_node *n = r->node;
    bool ok = result->error != ZK_OUT_OF_MEMORY;
    if (ok && !result->error) ok = cache_list(r->cache, n, result);
    n->children_wanted = !ok;
    cache_read_over(r, ok);
}

static void cache_got(void *user, const struct zk_result *result) {
    struct cache_reader *r = user;
    struct cache *h = r->cache;
    struct cache_node *n = r->node;
    bool ok = true, missing = result->error == ZK_NO_NODE || result->error == ZK_NO_AUTH;
    if (!result->error)
        ok = cache_apply(h, n, result);
    else if (missing) /* what may not be read is not there for us */
        ok = cache_gone(h, n);
    else if (result->error == ZK_OUT_OF_MEMORY)
        ok = false;
    else
        cache_fail(h, result->error);
    if (result->error || !ok || !n->children_wanted) {
        cache_read_over(r, ok);
        return;
    }
    ask_start(&r->ask, h->c, zk_get_children(n->path), ASK_ALWAYS, cache_listed, r);
}

static void cache_read(struct cache_reader *r, struct cache_node *n) {
    struct cache *h = r->cache;
    int below = cache_level(h, slice_of(n->path, n->path_len)) + 1;
    if (!cache_keeps(h, below)) n->children_wanted = false;
    r->node = n;
    n->reading = true;
    h->busy++;
    ask_start(&r->ask, h->c, zk_get(n->path), ASK_ALWAYS, cache_got, r);
}

/* The end of a round: what it has not seen is gone. False: no memory to tell. */
static bool cache_sweep(struct cache *h) {
    for (uint32_t i = 0; i < h->cap; i++) {
        struct cache_node *n = h->buckets[i];
        while (n) {
            if (!n->there || n->round == h->round) {
                n = n->next;
                continue;
            }
            if (!cache_gone(h, n)) return false;
            cache_settle(h, n);
            n = h->buckets[i]; /* the record may be gone, and others with it */
        }
    }
    return true;
}

static void cache_pump(struct cache *h) {
    if (h->state != CACHE_SYNCING && h->state != CACHE_READY) return;
    for (int i = 0; i < CACHE_READERS && h->queue && !h->timer.link; i++)
        if (!h->readers[i].node) cache_read(&h->readers[i], cache_pop(h));
    if (h->state == CACHE_READY || h->queue || h->busy || h->timer.link) return;
    if (!cache_sweep(h) || !cache_tell(h, ZK_CACHE_READY, h->root, NULL, NULL)) {
        cache_postpone(h, NULL);
        return;
    }
    h->state = CACHE_READY;
    wish_end(&h->wish, ZK_OK);
}

/* --- events --- */

static void cache_stop_reading(struct cache *h);
static void cache_sync(void *user);

/* There was no memory to go on: from the beginning, a little later. */
static void cache_retry(struct cache *h) {
    cache_stop_reading(h);
    h->state = CACHE_WAITING;
    h->timer.fn = cache_sync;
    client_timer_set(h->c, &h->timer, client_now(h->c) + CACHE_NO_MEMORY_MS);
}

static void cache_event(void *user, const struct zk_event *event) {
    struct cache *h = ((struct cache_ear *)user)->cache;
    struct slice path = slice_str(event->path);
    if (!h) return;
    if (event->type != ZK_NODE_CREATED && event->type != ZK_NODE_DATA_CHANGED &&
        event->type != ZK_NODE_DELETED)
        return;
    if (h->state != CACHE_SYNCING && h->state != CACHE_READY) return;
    if (!cache_keeps(h, cache_level(h, path))) return;
    struct cache_node *n = cache_find(h, path);
    if (event->type == ZK_NODE_DELETED) {
        if (!n) return;
        if (!cache_gone(h, n)) cache_postpone(h, n);
        cache_settle(h, n);
        return;
    }
    if (!n) n = cache_make(h, path);
    if (!n) { /* which node it was cannot be kept: all is to be read */
        cache_retry(h);
        return;
    }
    cache_push(h, n);
    cache_pump(h);
}

/* --- rounds --- */

static void cache_stop_reading(struct cache *h) {
    client_timer_stop(h->c, &h->timer);
    for (int i = 0; i < CACHE_READERS; i++) {
        struct cache_reader *r = &h->readers[i];
        ask_stop(&r->ask);
        if (!r->node) continue;
        r->node->reading = r->node->again = false;
        cache_settle(h, r->node);
        r->node = NULL;
    }
    h->busy = 0;
    struct cache_node *n;
    while ((n = cache_pop(h))) cache_settle(h, n);
}

static void cache_deaf(struct cache_ear *ear) {
    client_unwatch(ear->c, cache_event, ear);
    mem_free(ear->path);
    mem_free(ear);
}

static void cache_watch_removed(void *user, const struct zk_result *r) {
    (void)r;
    cache_deaf(user);
}

/* The watch is taken off the server, unless others have it too; until then the ear lives. */
static void cache_remove_watch(struct cache_ear *ear) {
    struct zk_op op = zk_remove_watches(ear->path, ear->kind, cache_event, ear);
    op.local = true;
    op.timeout_ms = -1;
    if (client_submit(ear->c, &op, CLIENT_INSIDE, cache_watch_removed, ear) <= 0) cache_deaf(ear);
}

static void cache_watches(void *user, const struct zk_result *r) {
    struct cache_ear *ear = user;
    struct cache *h = ear->cache;
    if (!h) {
        cache_remove_watch(ear);
        return;
    }
    struct cache_node *root = r->error ? NULL : cache_make(h, slice_str(h->root));
    if (r->error && r->error != ZK_OUT_OF_MEMORY) {
        cache_fail(h, r->error);
        return;
    }
    if (!root) {
        cache_retry(h);
        return;
    }
    root->children_wanted = true;
    cache_push(h, root);
    cache_pump(h);
}

static void cache_sync(void *user) {
    struct cache *h = user;
    cache_stop_reading(h);
    h->state = CACHE_SYNCING;
    h->error = ZK_OK;
    h->round++;
    ask_stop(&h->ear->ask);
    ask_start(&h->ear->ask, h->c, zk_add_watch(h->root, h->ear->kind, cache_event, h->ear),
              ASK_ALWAYS, cache_watches, h->ear);
}

static void cache_observe(void *user, enum zk_state state, int64_t session_id) {
    struct cache *h = user;
    (void)session_id;
    if (client_is_over(h->c)) {
        cache_stop_reading(h);
        cache_fail(h, client_error(h->c));
    } else if (state == ZK_STATE_CONNECTED || state == ZK_STATE_READ_ONLY) {
        cache_sync(h);
    } else if (h->state == CACHE_SYNCING || h->state == CACHE_READY) {
        cache_stop_reading(h);
        ask_stop(&h->ear->ask);
        h->state = CACHE_WAITING;
        (void)cache_tell(h, ZK_CACHE_STALE, h->root, NULL, NULL);
    }
}

/* --- life --- */

ZK_PRIVATE int cache_init(struct cache *h, struct client *c, const void *owner, const char *path,
                          const struct zk_cache_options *options) {
    static const struct zk_cache_options plain;
    const struct zk_cache_options *o = options ? options : &plain;
    memset(h, 0, sizeof *h);
    if (!path || !path_valid(slice_str(path)) || o->levels < 0) return ZK_BAD_ARGUMENTS;
    h->c = c;
    h->owner = owner;
    h->levels = o->levels;
    h->fn = o->on_change;
    h->user = o->user;
    h->seed = client_random(c);
    h->queue_end = &h->queue;
    h->timer.user = h;
    for (int i = 0; i < CACHE_READERS; i++) h->readers[i].cache = h;
    h->ear = mem_try(sizeof *h->ear);
    if (!h->ear) return ZK_OUT_OF_MEMORY;
    h->root = h->ear->path = recipe_copy(path, strlen(path));
    if (!h->root) {
        mem_free(h->ear);
        return ZK_OUT_OF_MEMORY;
    }
    h->ear->c = c;
    h->ear->cache = h;
    h->ear->kind = o->levels == 1 ? ZK_WATCH_PERSISTENT : ZK_WATCH_RECURSIVE;
    h->observer.fn = cache_observe;
    h->observer.user = h;
    client_observe(c, &h->observer);
    enum zk_state state = client_state(c);
    if (state == ZK_STATE_CONNECTED || state == ZK_STATE_READ_ONLY) cache_sync(h);
    return ZK_OK;
}

ZK_PRIVATE void cache_free(struct cache *h) {
    client_unobserve(h->c, &h->observer);
    cache_stop_reading(h);
    wish_stop(&h->wish);
    h->ear->cache = NULL;
    if (ask_sent(&h->ear->ask)) { /* whose answer may set a watch */
        h->ear->ask.last = true;
    } else {
        ask_stop(&h->ear->ask);
        cache_remove_watch(h->ear);
    }
    for (uint32_t i = 0; i < h->cap; i++) {
        for (struct cache_node *n = h->buckets[i], *next; n; n = next) {
            next = n->next;
            mem_free(n->data);
            mem_free(n);
        }
    }
    mem_free(h->buckets);
}

/* --- asking --- */

static void cache_late(void *user) {
    struct cache *h = user;
    wish_end(&h->wish, ZK_TIMED_OUT);
}

ZK_PRIVATE int cache_wait(struct cache *h, int timeout_ms, zk_done_fn done, void *user) {
    if (h->state == CACHE_FAILED) return h->error;
    int error = wish_begin(&h->wish, h->c, h->owner, timeout_ms, cache_late, h, done, user);
    if (!error && h->state == CACHE_READY) wish_end(&h->wish, ZK_OK);
    return error;
}

static const char *cache_name(const struct cache_node *n) {
    return strrchr(n->path, '/') + 1;
}

/* One block, as all results are. */
ZK_PRIVATE int cache_get(struct cache *h, const char *path, struct zk_result **out) {
    const struct cache_node *n = cache_find(h, slice_str(path));
    if (!n || !n->there) return ZK_NO_NODE;
    size_t data_len = n->data ? (size_t)n->data_len : 0, names = 0, room = data_len + 1;
    for (const struct cache_node *child = n->children; child; child = child->sibling) {
        if (!child->there) continue;
        room += sizeof(char *) + strlen(cache_name(child)) + 1;
        names++;
    }
    struct zk_result *r = mem_try(sizeof *r + room);
    if (!r) return ZK_OUT_OF_MEMORY;
    const char **list = (const char **)(void *)(r + 1);
    char *text = (char *)(list + names);
    r->names = list;
    r->data_len = n->data_len;
    r->has_stat = true;
    r->stat = n->stat;
    r->zxid = n->stat.mzxid;
    if (n->data) r->data = memcpy(text, n->data, data_len);
    text += data_len + 1;
    for (const struct cache_node *child = n->children; child; child = child->sibling) {
        if (!child->there) continue;
        size_t len = strlen(cache_name(child)) + 1;
        list[r->count++] = memcpy(text, cache_name(child), len);
        text += len;
    }
    *out = r;
    return ZK_OK;
}
