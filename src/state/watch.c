#include "state/watch.h"

#include "state/path.h"

ZK_PRIVATE void watch_init(struct watch_table *t, uint64_t seed) {
    memset(t, 0, sizeof *t);
    t->seed = seed;
    t->free_list = MAP_NONE;
}

ZK_PRIVATE void watch_free(struct watch_table *t) {
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->entries[i].path) continue;
        mem_free(t->entries[i].path);
        if (t->entries[i].cap) mem_free(t->entries[i].w.many);
    }
    for (uint32_t i = 0; i < t->conns_cap; i++) idset_free(&t->by_conn[i]);
    mem_free(t->entries);
    mem_free(t->by_conn);
    map_free(&t->index);
    memset(t, 0, sizeof *t);
}

ZK_PRIVATE uint32_t watch_watchers(const struct watch_entry *e, const uint32_t **w) {
    *w = e->cap ? e->w.many : &e->w.one;
    return e->n;
}

static uint32_t watch_find(const struct watch_table *t, struct slice path) {
    if (!t->live) return MAP_NONE;
    struct map_iter it;
    uint32_t i = map_first(&t->index, slice_hash(path, t->seed), &it);
    for (; i != MAP_NONE; i = map_next(&t->index, &it)) {
        const struct watch_entry *e = &t->entries[i];
        if (slice_eq(slice_of(e->path, e->path_len), path)) return i;
    }
    return MAP_NONE;
}

static uint32_t watch_new_entry(struct watch_table *t, struct slice path) {
    uint32_t i = t->free_list;
    if (i != MAP_NONE) {
        t->free_list = t->entries[i].path_len;
    } else {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 16;
            t->entries = mem_realloc(t->entries, sizeof *t->entries * t->cap);
        }
        i = t->n++;
    }
    struct watch_entry *e = &t->entries[i];
    memset(e, 0, sizeof *e);
    e->path = mem_alloc(path.n);
    if (path.n) memcpy(e->path, path.p, path.n);
    e->path_len = (uint32_t)path.n;
    map_add(&t->index, slice_hash(path, t->seed), i);
    t->live++;
    return i;
}

static void watch_free_entry(struct watch_table *t, uint32_t i) {
    struct watch_entry *e = &t->entries[i];
    map_del(&t->index, slice_hash(slice_of(e->path, e->path_len), t->seed), i);
    mem_free(e->path);
    if (e->cap) mem_free(e->w.many);
    memset(e, 0, sizeof *e);
    e->path_len = t->free_list;
    t->free_list = i;
    t->live--;
}

static uint32_t *watch_array(struct watch_entry *e) {
    return e->cap ? e->w.many : &e->w.one;
}

/* Position of the connection, or where it would be inserted. */
static uint32_t watch_position(struct watch_entry *e, uint32_t conn) {
    const uint32_t *w = watch_array(e);
    uint32_t lo = 0, hi = e->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (w[mid] >> 4 < conn)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static uint32_t watch_get(struct watch_entry *e, uint32_t conn, uint32_t *at) {
    *at = watch_position(e, conn);
    if (*at == e->n) return 0;
    uint32_t w = watch_array(e)[*at];
    return w >> 4 == conn ? w & WATCH_ANY : 0;
}

static void watch_count(struct watch_table *t, uint32_t kinds, bool add) {
    uint64_t one = add ? 1 : UINT64_MAX;
    if (kinds & WATCH_IN_DATA) t->n_data += one;
    if (kinds & WATCH_IN_CHILD) t->n_child += one;
    if (kinds & WATCH_RECURSIVE) t->n_recursive += one;
}

static void watch_insert(struct watch_entry *e, uint32_t at, uint32_t value) {
    if (e->n == (e->cap ? e->cap : 1)) {
        uint32_t cap = e->cap ? e->cap * 2 : 4;
        if (e->cap) {
            e->w.many = mem_realloc(e->w.many, sizeof(uint32_t) * cap);
        } else {
            uint32_t one = e->w.one;
            e->w.many = mem_alloc(sizeof(uint32_t) * cap);
            e->w.many[0] = one;
        }
        e->cap = cap;
    }
    uint32_t *w = watch_array(e);
    memmove(w + at + 1, w + at, sizeof *w * (e->n - at));
    w[at] = value;
    e->n++;
}

/* Sets the kinds of one watcher; 0 removes it, and the entry with its last watcher. */
static void watch_set(struct watch_table *t, uint32_t i, uint32_t conn, uint32_t kinds) {
    struct watch_entry *e = &t->entries[i];
    uint32_t at, old = watch_get(e, conn, &at);
    watch_count(t, old, false);
    watch_count(t, kinds, true);
    uint32_t value = conn << 4 | kinds;
    if (old && kinds) {
        watch_array(e)[at] = value;
    } else if (kinds) {
        watch_insert(e, at, value);
        (void)idset_add(&t->by_conn[conn], i);
    } else if (old) {
        uint32_t *w = watch_array(e);
        memmove(w + at, w + at + 1, sizeof *w * (e->n - at - 1));
        e->n--;
        (void)idset_del(&t->by_conn[conn], i);
        if (!e->n) watch_free_entry(t, i);
    }
}

ZK_PRIVATE void watch_add(struct watch_table *t, struct slice path, uint32_t conn, uint32_t kinds) {
    ZK_ASSERT(conn < WATCH_CONN_MAX);
    if (conn >= t->conns_cap) {
        uint32_t cap = t->conns_cap ? t->conns_cap : 64;
        while (cap <= conn) cap *= 2;
        t->by_conn = mem_realloc(t->by_conn, sizeof *t->by_conn * cap);
        memset(t->by_conn + t->conns_cap, 0, sizeof *t->by_conn * (cap - t->conns_cap));
        t->conns_cap = cap;
    }
    uint32_t i = watch_find(t, path), at;
    if (i == MAP_NONE) i = watch_new_entry(t, path);
    watch_set(t, i, conn, watch_get(&t->entries[i], conn, &at) | kinds);
}

ZK_PRIVATE uint32_t watch_kinds(const struct watch_table *t, struct slice path, uint32_t conn) {
    uint32_t i = watch_find(t, path), at;
    return i == MAP_NONE ? 0 : watch_get(&t->entries[i], conn, &at);
}

ZK_PRIVATE bool watch_remove(struct watch_table *t, struct slice path, uint32_t conn,
                             uint32_t kinds) {
    uint32_t i = watch_find(t, path), at;
    if (i == MAP_NONE) return false;
    uint32_t old = watch_get(&t->entries[i], conn, &at);
    if (!(old & kinds)) return false;
    watch_set(t, i, conn, old & ~kinds);
    return true;
}

ZK_PRIVATE void watch_drop_conn(struct watch_table *t, uint32_t conn) {
    if (conn >= t->conns_cap) return;
    struct idset mine = t->by_conn[conn];
    memset(&t->by_conn[conn], 0, sizeof mine);
    uint32_t i, pos = 0;
    while (idset_next(&mine, &pos, &i)) watch_set(t, i, conn, 0);
    idset_free(&mine);
}

/* --- firing --- */

static void watch_collect(struct watch_table *t, uint32_t i, uint32_t kinds, uint32_t consumed,
                          struct buf *hits) {
    size_t from = hits->n;
    const uint32_t *w;
    uint32_t n = watch_watchers(&t->entries[i], &w);
    bool consume = false;
    for (uint32_t k = 0; k < n; k++) {
        if (!(w[k] & kinds)) continue;
        uint32_t conn = w[k] >> 4;
        buf_put(hits, &conn, sizeof conn);
        consume = consume || (w[k] & consumed);
    }
    if (!consume) return;
    for (size_t at = from; at < hits->n; at += sizeof(uint32_t)) {
        uint32_t conn, pos;
        memcpy(&conn, hits->p + at, sizeof conn);
        uint32_t old = watch_get(&t->entries[i], conn, &pos);
        watch_set(t, i, conn, old & ~consumed); /* may free the entry with the last one */
    }
}

static int watch_cmp(const void *a, const void *b) {
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static void watch_unique(struct buf *hits) {
    size_t n = buf_len(hits) / sizeof(uint32_t), kept = 0;
    if (n < 2) return;
    uint8_t *p = hits->p + hits->head;
    qsort(p, n, sizeof(uint32_t), watch_cmp);
    for (size_t i = 0; i < n; i++) {
        if (kept && memcmp(p + (kept - 1) * 4, p + i * 4, 4) == 0) continue;
        memmove(p + kept++ * 4, p + i * 4, 4);
    }
    hits->n = hits->head + kept * sizeof(uint32_t);
}

ZK_PRIVATE void watch_fire_data(struct watch_table *t, struct slice path, struct buf *hits) {
    buf_clear(hits);
    if (!t->n_data) return;
    uint32_t i = watch_find(t, path);
    if (i != MAP_NONE) watch_collect(t, i, WATCH_IN_DATA, WATCH_DATA, hits);
    if (!t->n_recursive) return;
    for (struct slice up = path; up.n > 1;) {
        up = path_parent(up);
        if (!up.n) up = slice_of(path.p, 1);
        i = watch_find(t, up);
        if (i != MAP_NONE) watch_collect(t, i, WATCH_RECURSIVE, 0, hits);
    }
    watch_unique(hits);
}

ZK_PRIVATE void watch_fire_child(struct watch_table *t, struct slice path, struct buf *hits) {
    buf_clear(hits);
    if (!t->n_child) return;
    uint32_t i = watch_find(t, path);
    if (i != MAP_NONE) watch_collect(t, i, WATCH_IN_CHILD, WATCH_CHILD, hits);
}
