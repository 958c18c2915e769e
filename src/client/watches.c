#include "client/watches.h"

static uint32_t watches_hash(const struct watches *w, struct slice path) {
    return (uint32_t)slice_hash(path, w->seed);
}

static struct watched *watches_find(const struct watches *w, struct slice path) {
    if (!w->cap) return NULL;
    uint32_t h = watches_hash(w, path);
    for (struct watched *at = w->buckets[h & (w->cap - 1)]; at; at = at->next)
        if (at->hash == h && slice_eq(slice_of(at->path, at->path_len), path)) return at;
    return NULL;
}

/* Not being able to grow makes it slower, nothing else. */
static void watches_grow(struct watches *w) {
    uint32_t cap = w->cap ? w->cap * 2 : 16;
    struct watched **buckets = mem_try(sizeof *buckets * cap);
    if (!buckets) return;
    for (uint32_t i = 0; i < w->cap; i++) {
        for (struct watched *at = w->buckets[i], *next; at; at = next) {
            next = at->next;
            at->next = buckets[at->hash & (cap - 1)];
            buckets[at->hash & (cap - 1)] = at;
        }
    }
    mem_free(w->buckets);
    w->buckets = buckets;
    w->cap = cap;
}

static struct watched *watches_make(struct watches *w, struct slice path) {
    if (w->n >= w->cap) watches_grow(w);
    struct watched *at = w->cap ? mem_try(sizeof *at + path.n + 1) : NULL;
    if (!at) return NULL;
    at->hash = watches_hash(w, path);
    at->path_len = (uint32_t)path.n;
    if (path.n) memcpy(at->path, path.p, path.n);
    struct watched **bucket = &w->buckets[at->hash & (w->cap - 1)];
    at->next = *bucket;
    *bucket = at;
    w->n++;
    return at;
}

/* Takes a path without watchers out. */
static void watches_drop(struct watches *w, struct watched *gone) {
    struct watched **link = &w->buckets[gone->hash & (w->cap - 1)];
    while (*link != gone) link = &(*link)->next;
    *link = gone->next;
    mem_free(gone);
    w->n--;
}

static void watches_count(struct watches *w, uint8_t before, uint8_t after) {
    w->watchers += (uint32_t)(after != 0) - (uint32_t)(before != 0);
    w->recursive += (uint32_t)((after & WATCH_BIT_RECURSIVE) != 0) -
                    (uint32_t)((before & WATCH_BIT_RECURSIVE) != 0);
}

ZK_PRIVATE void watches_free(struct watches *w) {
    for (uint32_t i = 0; i < w->cap; i++) {
        for (struct watched *at = w->buckets[i], *next; at; at = next) {
            next = at->next;
            for (struct watcher *one = at->first, *after; one; one = after) {
                after = one->next;
                mem_free(one);
            }
            mem_free(at);
        }
    }
    mem_free(w->buckets);
    uint64_t seed = w->seed;
    memset(w, 0, sizeof *w);
    w->seed = seed;
}

ZK_PRIVATE bool watches_add(struct watches *w, struct slice path, const struct watcher *what) {
    struct watched *at = watches_find(w, path);
    if (!at) at = watches_make(w, path);
    if (!at) return false;
    struct watcher **link = &at->first; /* at the end: told in the order they came */
    while (*link && ((*link)->fn != what->fn || (*link)->user != what->user)) link = &(*link)->next;
    if (!*link) {
        *link = mem_try(sizeof **link);
        if (!*link) {
            if (!at->first) watches_drop(w, at);
            return false;
        }
        (*link)->fn = what->fn;
        (*link)->user = what->user;
        (*link)->inside = what->inside;
    }
    uint8_t before = (*link)->bits;
    (*link)->bits |= what->bits;
    watches_count(w, before, (*link)->bits);
    return true;
}

/* Takes bits from *link; frees it when it has none left. True: *link is the next one now. */
static bool watches_take(struct watches *w, struct watcher **link, uint8_t bits) {
    struct watcher *one = *link;
    uint8_t before = one->bits;
    one->bits &= (uint8_t)~bits;
    watches_count(w, before, one->bits);
    if (one->bits) return false;
    *link = one->next;
    mem_free(one);
    return true;
}

/* --- events --- */

/* Which bits at the path itself an event is for, and which of them it uses up. */
static uint8_t watches_one_shot(enum zk_event_type type) {
    switch (type) {
    case ZK_NODE_CREATED:
    case ZK_NODE_DATA_CHANGED: return WATCH_BIT_DATA | WATCH_BIT_EXIST;
    case ZK_NODE_CHILDREN_CHANGED: return WATCH_BIT_CHILD;
    case ZK_NODE_DELETED: return WATCH_BIT_DATA | WATCH_BIT_EXIST | WATCH_BIT_CHILD;
    case ZK_DATA_WATCH_REMOVED:
    case ZK_CHILD_WATCH_REMOVED:
    case ZK_PERSISTENT_WATCH_REMOVED: break; /* never from a server */
    }
    return 0;
}

/* Those that are to be told of one event, each once. */
struct watches_told {
    struct watcher few[8], *all; /* all: owned unless it is few; bits: those that are used up */
    uint32_t n, cap;
};

static bool watches_told_has(const struct watches_told *t, const struct watcher *one) {
    for (uint32_t i = 0; i < t->n; i++)
        if (t->all[i].fn == one->fn && t->all[i].user == one->user) return true;
    return false;
}

static bool watches_told_grow(struct watches_told *t) {
    struct watcher *all = mem_try(sizeof *all * t->cap * 2);
    if (!all) return false;
    memcpy(all, t->all, sizeof *all * t->n);
    if (t->all != t->few) mem_free(t->all);
    t->all = all;
    t->cap *= 2;
    return true;
}

/* Those at a path that want it. Within one path nobody is there twice, so the first need no look.
 * False: no memory. */
static bool watches_collect(const struct watches *w, struct slice path, uint8_t want, uint8_t used,
                            struct watches_told *t) {
    const struct watched *at = watches_find(w, path);
    bool look = t->n != 0;
    for (const struct watcher *one = at ? at->first : NULL; one; one = one->next) {
        if (!(one->bits & want) || (look && watches_told_has(t, one))) continue;
        if (t->n == t->cap && !watches_told_grow(t)) return false;
        t->all[t->n] = *one;
        t->all[t->n++].bits = one->bits & used;
    }
    return true;
}

/* And those above it. */
static bool watches_collect_all(const struct watches *w, enum zk_event_type type,
                                struct slice path, struct watches_told *t) {
    uint8_t used = watches_one_shot(type);
    uint8_t want = used | WATCH_BIT_PERSISTENT;
    bool above = type != ZK_NODE_CHILDREN_CHANGED; /* they hear of the child itself */
    if (above) want |= WATCH_BIT_RECURSIVE;
    if (!watches_collect(w, path, want, used, t)) return false;
    for (struct slice up = path; above && w->recursive && up.n > 1;) {
        do up.n--;
        while (up.n && up.p[up.n] != '/');
        struct slice at = up.n ? up : slice_of(path.p, 1);
        if (!watches_collect(w, at, WATCH_BIT_RECURSIVE, 0, t)) return false;
    }
    return true;
}

static void watches_use_up(struct watches *w, struct slice path, uint8_t used) {
    struct watched *at = watches_find(w, path);
    for (struct watcher **link = at ? &at->first : NULL; link && *link;)
        if (!((*link)->bits & used) || !watches_take(w, link, used)) link = &(*link)->next;
    if (at && !at->first) watches_drop(w, at);
}

/* The lists may change under fn: all is copied, and the used bits taken, before the first call. */
ZK_PRIVATE bool watches_fire(struct watches *w, enum zk_event_type type, struct slice path,
                             watches_fn fn, void *user) {
    struct watches_told t = {.cap = sizeof t.few / sizeof *t.few};
    t.all = t.few;
    bool ok = watches_collect_all(w, type, path, &t);
    if (ok)
        watches_use_up(w, path, watches_one_shot(type));
    else
        t.n = 0; /* nothing was touched yet */
    for (uint32_t i = 0; i < t.n; i++) {
        ok = ok && fn(user, &t.all[i]);
        if (!ok && t.all[i].bits) (void)watches_add(w, path, &t.all[i]); /* as it was */
    }
    if (t.all != t.few) mem_free(t.all);
    return ok;
}

/* --- removal --- */

ZK_PRIVATE uint8_t watches_bits(enum zk_watch_kind kind) {
    static const uint8_t bits[] = {
        [ZK_WATCH_CHILDREN] = WATCH_BIT_CHILD,
        [ZK_WATCH_DATA] = WATCH_BIT_DATA | WATCH_BIT_EXIST,
        [ZK_WATCH_ANY] = WATCH_BIT_CHILD | WATCH_BIT_DATA | WATCH_BIT_EXIST |
                         WATCH_BIT_PERSISTENT | WATCH_BIT_RECURSIVE,
        [ZK_WATCH_PERSISTENT] = WATCH_BIT_PERSISTENT,
        [ZK_WATCH_RECURSIVE] = WATCH_BIT_RECURSIVE,
    };
    return kind >= ZK_WATCH_CHILDREN && kind <= ZK_WATCH_RECURSIVE ? bits[kind] : 0;
}

static bool watches_is(const struct watcher *one, zk_watch_fn fn, void *user) {
    return !fn || (one->fn == fn && one->user == user);
}

ZK_PRIVATE bool watches_held(const struct watches *w, struct slice path, uint8_t bits,
                             zk_watch_fn fn, void *user, bool *by_others) {
    const struct watched *at = watches_find(w, path);
    bool held = false;
    *by_others = false;
    for (const struct watcher *one = at ? at->first : NULL; one; one = one->next) {
        if (!(one->bits & bits)) continue;
        if (watches_is(one, fn, user))
            held = true;
        else
            *by_others = true;
    }
    return held;
}

ZK_PRIVATE void watches_remove(struct watches *w, struct slice path, uint8_t bits, zk_watch_fn fn,
                               void *user, watches_fn told, void *told_user) {
    struct watched *at = watches_find(w, path);
    for (struct watcher **link = at ? &at->first : NULL; link && *link;) {
        struct watcher lost = **link;
        lost.bits &= bits;
        bool freed = lost.bits && watches_is(&lost, fn, user) && watches_take(w, link, bits);
        if (lost.bits && watches_is(&lost, fn, user)) (void)told(told_user, &lost);
        if (!freed) link = &(*link)->next;
    }
    if (at && !at->first) watches_drop(w, at);
}

ZK_PRIVATE void watches_forget(struct watches *w, zk_watch_fn fn, void *user) {
    for (uint32_t i = 0; i < w->cap; i++) {
        for (struct watched *at = w->buckets[i], *next; at; at = next) {
            next = at->next;
            for (struct watcher **link = &at->first; *link;)
                if (!watches_is(*link, fn, user) || !watches_take(w, link, UINT8_MAX))
                    link = &(*link)->next;
            if (!at->first) watches_drop(w, at);
        }
    }
}

ZK_PRIVATE uint8_t watches_bits_of(const struct watched *at) {
    uint8_t bits = 0;
    for (const struct watcher *one = at->first; one; one = one->next) bits |= one->bits;
    return bits;
}

ZK_PRIVATE const struct watched *watches_next(const struct watches *w, const struct watched *at,
                                              uint8_t *bits) {
    uint32_t i = at ? at->hash & (w->cap - 1) : 0;
    at = at ? at->next : w->cap ? w->buckets[0] : NULL;
    while (!at && ++i < w->cap) at = w->buckets[i];
    *bits = at ? watches_bits_of(at) : 0;
    return at;
}
