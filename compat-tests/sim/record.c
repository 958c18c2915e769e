/*
 * What is known of the history: every transaction that any server ever logged, which of them are
 * committed, and what each committed one made of the paths it touched. The answers that clients get
 * are held against it: a read that says it was made at zxid z must show the paths as they were.
 *
 * Transactions form a tree, each knowing the one before it in the log of who proposed it; the
 * committed ones must form a path. What a transaction made of a path is taken from the first server
 * that applies it; that all servers agree is what the digests are for.
 */
#include "sim.h"

struct record_path {
    uint8_t *path; /* owned */
    size_t len;
    struct buf versions; /* struct version, by zxid; committed */
};
struct record_effect {
    uint32_t path;
    struct version v;
};
struct record_epoch {
    int64_t epoch, tip;
};

/* --- transactions --- */

struct known *record_txn(int64_t zxid) {
    struct map_iter it;
    uint32_t i = map_first(&sim.record.by_zxid, hash_u64((uint64_t)zxid), &it);
    for (; i != MAP_NONE; i = map_next(&sim.record.by_zxid, &it))
        if (sim.record.txns[i].zxid == zxid) return &sim.record.txns[i];
    return NULL;
}

static uint64_t record_request_hash(int64_t session, int32_t cxid) {
    return hash_u64((uint64_t)session ^ (uint64_t)(uint32_t)cxid << 20);
}

struct known *record_add(const struct known *t) {
    struct record *h = &sim.record;
    struct mem_owner *before = mem_owned_by(&sim.mem);
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 256;
        h->txns = mem_realloc(h->txns, sizeof *h->txns * h->cap);
    }
    h->txns[h->n] = *t;
    map_add(&h->by_zxid, hash_u64((uint64_t)t->zxid), h->n);
    map_add(&h->by_request, record_request_hash(t->session, t->cxid), h->n);
    (void)mem_owned_by(before);
    return &h->txns[h->n++];
}

struct known *record_request(int64_t session, int32_t cxid) {
    struct map_iter it;
    struct known *best = NULL;
    uint32_t i = map_first(&sim.record.by_request, record_request_hash(session, cxid), &it);
    for (; i != MAP_NONE; i = map_next(&sim.record.by_request, &it)) {
        struct known *t = &sim.record.txns[i];
        if (t->session != session || t->cxid != cxid) continue;
        if (!best || t->committed) best = t;
    }
    return best;
}

/* A server that stands alone gives the zxids of what it lost to something else. */
void record_forget_after(int64_t zxid) {
    struct record *h = &sim.record;
    while (h->n && h->txns[h->n - 1].zxid > zxid) {
        struct known *t = &h->txns[h->n - 1];
        if (t->committed)
            sim_fail("durability", "0x%llx was committed", (unsigned long long)t->zxid);
        (void)map_del(&h->by_zxid, hash_u64((uint64_t)t->zxid), h->n - 1);
        (void)map_del(&h->by_request, record_request_hash(t->session, t->cxid), h->n - 1);
        buf_free(&t->effects);
        h->n--;
    }
}

uint64_t record_hash(const struct txn_header *h, struct slice rest) {
    uint64_t x = slice_hash(rest, (uint64_t)h->zxid);
    x = hash_u64(x ^ (uint64_t)h->client_id);
    x = hash_u64(x ^ (uint64_t)h->time);
    return hash_u64(x ^ (uint64_t)(uint32_t)h->cxid ^ (uint64_t)(uint32_t)h->type << 32);
}

/* --- epochs --- */

void record_epoch_began(int64_t epoch, int64_t tip) {
    struct mem_owner *before = mem_owned_by(&sim.mem);
    struct record_epoch e = {epoch, tip};
    buf_put(&sim.record.epochs, &e, sizeof e);
    (void)mem_owned_by(before);
}

int64_t record_last_epoch(void) {
    const struct record_epoch *e = (const struct record_epoch *)(const void *)sim.record.epochs.p;
    int64_t last = 0;
    for (size_t n = sim.record.epochs.n / sizeof *e; n-- > 0;)
        if (e[n].epoch > last) last = e[n].epoch;
    return last;
}

bool record_led(int64_t epoch) {
    const struct record_epoch *e = (const struct record_epoch *)(const void *)sim.record.epochs.p;
    for (size_t n = sim.record.epochs.n / sizeof *e; n-- > 0;)
        if (e[n].epoch == epoch) return true;
    return false;
}

int64_t record_true(int64_t zxid) {
    const struct record_epoch *e = (const struct record_epoch *)(const void *)sim.record.epochs.p;
    if (zxid & 0xffffffff) return zxid;
    for (size_t n = sim.record.epochs.n / sizeof *e; n-- > 0;)
        if (e[n].epoch == zxid >> 32) return e[n].tip;
    return zxid;
}

/* --- paths --- */

static struct record_path *record_paths(void) {
    return (struct record_path *)(void *)sim.record.paths.p;
}

static uint32_t record_path(struct slice path, bool make) {
    struct map_iter it;
    uint64_t hash = slice_hash(path, 1);
    uint32_t i = map_first(&sim.record.by_path, hash, &it);
    for (; i != MAP_NONE; i = map_next(&sim.record.by_path, &it)) {
        const struct record_path *p = &record_paths()[i];
        if (slice_eq(slice_of(p->path, p->len), path)) return i;
    }
    if (!make) return SIM_NONE;
    struct record_path fresh = {.path = mem_alloc(path.n + 1), .len = path.n};
    memcpy(fresh.path, path.p, path.n);
    i = (uint32_t)(sim.record.paths.n / sizeof fresh);
    buf_put(&sim.record.paths, &fresh, sizeof fresh);
    map_add(&sim.record.by_path, hash, i);
    return i;
}

uint64_t record_name_hash(struct slice name) {
    return slice_hash(name, 2);
}

static struct version record_look(struct db *db, struct slice path, int64_t zxid) {
    struct version v = {.zxid = zxid};
    uint32_t id = tree_lookup(&db->tree, path);
    if (id == TREE_NONE) return v;
    const struct tree_node *n = tree_node(&db->tree, id);
    v.exists = true;
    v.czxid = n->stat.czxid;
    v.mzxid = n->stat.mzxid;
    v.pzxid = n->stat.pzxid;
    v.children = n->children;
    v.data = slice_hash(tree_data(n), tree_data(n).p != NULL);
    tree_client_stat(&db->tree, n, v.stat);
    for (uint32_t c = n->first_child; c != TREE_NONE; c = tree_node(&db->tree, c)->next)
        v.names += record_name_hash(tree_name(tree_node(&db->tree, c)));
    return v;
}

static void record_touch(struct known *t, struct db *db, struct slice path) {
    struct record_effect e = {record_path(path, true), record_look(db, path, t->zxid)};
    buf_put(&t->effects, &e, sizeof e);
}

static void record_touch_both(struct known *t, struct db *db, struct slice path) {
    size_t n = path.n;
    while (n > 1 && path.p[n - 1] != '/') n--;
    record_touch(t, db, path);
    record_touch(t, db, slice_of(path.p, n > 1 ? n - 1 : 1));
}

static void record_one(struct known *t, struct db *db, int32_t type, struct jr *r) {
    switch (type) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
    case ZOP_DELETE:
    case ZOP_DELETE_CONTAINER:
        record_touch_both(t, db, jr_bytes(r));
        break;
    case ZOP_SET_DATA:
    case ZOP_SET_ACL:
        record_touch(t, db, jr_bytes(r));
        break;
    case ZOP_CLOSE_SESSION:
        for (int32_t n = jr_count(r); n > 0 && !r->bad; n--)
            record_touch_both(t, db, jr_bytes(r));
        break;
    default:
        break;
    }
}

void record_effects(struct known *t, struct db *db, const struct txn_header *h,
                    struct slice record) {
    struct mem_owner *before = mem_owned_by(&sim.mem);
    struct jr r = jr_open(record, UINT32_MAX);
    if (h->type == ZOP_MULTI) {
        for (int32_t n = jr_count(&r); n > 0 && !r.bad; n--) {
            int32_t type = jr_i32(&r);
            struct slice body = jr_bytes(&r);
            struct jr one = jr_open(body, UINT32_MAX);
            record_one(t, db, type, &one);
        }
    } else {
        record_one(t, db, h->type, &r);
    }
    (void)mem_owned_by(before);
}

/* --- commit --- */

struct session_fate *record_session(int64_t id) {
    struct map_iter it;
    struct buf *all = &sim.record.sessions;
    struct session_fate *f = (struct session_fate *)(void *)all->p;
    uint32_t i = map_first(&sim.record.by_session, hash_u64((uint64_t)id), &it);
    for (; i != MAP_NONE; i = map_next(&sim.record.by_session, &it))
        if (f[i].id == id) return &f[i];
    struct session_fate fresh = {id, 0, 0};
    i = (uint32_t)(all->n / sizeof fresh);
    buf_put(all, &fresh, sizeof fresh);
    map_add(&sim.record.by_session, hash_u64((uint64_t)id), i);
    return (struct session_fate *)(void *)all->p + i;
}

void record_commit(struct known *t) {
    struct mem_owner *before = mem_owned_by(&sim.mem);
    t->committed = true;
    sim.record.tip = t->zxid;
    for (size_t at = 0; at < t->effects.n; at += sizeof(struct record_effect)) {
        struct record_effect e;
        memcpy(&e, t->effects.p + at, sizeof e);
        buf_put(&record_paths()[e.path].versions, &e.v, sizeof e.v);
    }
    buf_free(&t->effects);
    struct session_fate *f = record_session(t->session);
    if (t->type == ZOP_CREATE_SESSION) f->born = t->zxid;
    if (t->type == ZOP_CLOSE_SESSION) f->died = t->zxid;
    (void)mem_owned_by(before);
}

static const struct version *record_versions(struct slice path, size_t *n) {
    uint32_t i = record_path(path, false);
    if (i == SIM_NONE) return NULL;
    const struct buf *b = &record_paths()[i].versions;
    *n = b->n / sizeof(struct version);
    return (const struct version *)(const void *)b->p;
}

const struct version *record_at(struct slice path, int64_t zxid) {
    size_t n = 0;
    const struct version *v = record_versions(path, &n);
    while (n && v[n - 1].zxid > zxid) n--;
    return n ? &v[n - 1] : NULL;
}

const struct version *record_next(struct slice path, int64_t zxid) {
    size_t n = 0, i;
    const struct version *v = record_versions(path, &n);
    for (i = n; i && v[i - 1].zxid > zxid; i--) continue;
    return i < n ? &v[i] : NULL;
}
