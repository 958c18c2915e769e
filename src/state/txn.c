#include "state/txn.h"

#include "state/path.h"

#define TXN_MAX UINT32_MAX /* a record was bounded as a whole when it was framed */
#define TXN_AHEAD 8 /* operations of a multi whose nodes are fetched meanwhile */

/* --- the database --- */

ZK_PRIVATE void db_init(struct db *db, uint64_t seed, int64_t tick_ms, int64_t now) {
    memset(db, 0, sizeof *db);
    tree_init(&db->tree, seed);
    acl_init(&db->acls, seed);
    db->quota.seed = seed;
    session_init(&db->sessions, tick_ms, now);
}

ZK_PRIVATE void db_free(struct db *db) {
    tree_free(&db->tree);
    acl_free(&db->acls);
    session_free(&db->sessions);
    quota_free(&db->quota);
}

ZK_PRIVATE void db_add_builtin(struct db *db) {
    static const uint8_t read_only[] = "\0\0\0\1\0\0\0\1\0\0\0\5world\0\0\0\6anyone";
    struct tree *t = &db->tree;
    struct zstat zero = {0}, config = {.aversion = -1}; /* stock: DataTree.addConfigNode */
    struct slice empty = slice_of("", 0);
    uint32_t root = tree_add(t, TREE_NONE, empty, empty, ACL_OPEN, &zero);
    uint32_t zk = tree_add(t, root, slice_str("/zookeeper"), empty, ACL_OPEN, &zero);
    uint32_t acl = acl_intern(&db->acls, slice_of(read_only, sizeof read_only - 1));
    (void)tree_add(t, zk, slice_str("/zookeeper/config"), empty, acl, &config);
    (void)tree_add(t, zk, slice_str("/zookeeper/quota"), empty, ACL_OPEN, &zero);
}

/* --- results and events --- */

static struct txn_result *txn_result(struct txn_out *o, int32_t type, int32_t err,
                                     struct slice path) {
    if (o->n_results == o->cap_results) {
        o->cap_results = o->cap_results ? o->cap_results * 2 : 8;
        o->results = mem_realloc(o->results, sizeof *o->results * o->cap_results);
    }
    struct txn_result *r = &o->results[o->n_results++];
    r->type = err ? ZOP_ERROR : type;
    r->err = err;
    r->path = path;
    r->has_stat = false;
    return r;
}

static void txn_event(struct db *db, struct txn_out *o, int32_t type, struct slice path,
                      uint32_t acl, uint32_t parent_acl) {
    if (!o->want_events) return;
    if (o->n_events == o->cap_events) {
        o->cap_events = o->cap_events ? o->cap_events * 2 : 8;
        o->events = mem_realloc(o->events, sizeof *o->events * o->cap_events);
    }
    struct txn_event *e = &o->events[o->n_events++];
    e->type = type;
    e->path = path;
    e->acl = acl_ref(&db->acls, acl);
    e->parent_acl = acl_ref(&db->acls, parent_acl);
}

ZK_PRIVATE void txn_out_clear(struct db *db, struct txn_out *o) {
    for (uint32_t i = 0; i < o->n_events; i++) {
        acl_unref(&db->acls, o->events[i].acl);
        acl_unref(&db->acls, o->events[i].parent_acl);
    }
    mem_free(o->kept);
    o->kept = NULL;
    o->n_events = o->n_results = 0;
    o->err = 0;
    o->has_digest = false;
}

ZK_PRIVATE void txn_out_free(struct db *db, struct txn_out *o) {
    txn_out_clear(db, o);
    mem_free(o->results);
    mem_free(o->events);
    memset(o, 0, sizeof *o);
}

static void txn_result_stat(struct db *db, struct txn_result *r, uint32_t id) {
    tree_client_stat(&db->tree, tree_node(&db->tree, id), r->stat);
    r->has_stat = true;
}

/* --- single operations --- */

struct txn_create {
    struct slice path, data, acl;
    int64_t owner;
    int32_t parent_cversion; /* -1: one more than the parent has */
};

static bool txn_read_create(struct jr *r, int32_t type, int64_t client, struct txn_create *c) {
    c->path = jr_bytes(r);
    c->data = jr_bytes(r);
    c->acl = jr_acl(r);
    c->owner = 0;
    if (type == ZOP_CREATE || type == ZOP_CREATE2)
        c->owner = jr_bool(r) ? client : 0;
    if (r->bad) return false;
    const uint8_t *at = r->p;
    c->parent_cversion = jr_i32(r);
    if (r->bad && type == ZOP_CREATE) {
        /* stock: CreateTxnV0 of 3.3 ends here; SerializeUtils.deserializeTxn */
        r->bad = false;
        r->p = at;
        c->parent_cversion = -1;
    }
    if (type == ZOP_CREATE_CONTAINER) c->owner = OWNER_CONTAINER;
    if (type == ZOP_CREATE_TTL) {
        int64_t ttl = jr_i64(r);
        if (ttl < 1 || ttl > TTL_MAX_MS) return false;
        c->owner = (int64_t)((uint64_t)0xff << 56 | (uint64_t)ttl);
    }
    return !r->bad && c->path.p;
}

/* The parent counts a child and remembers when; never backwards. */
static void txn_bump_parent(struct db *db, uint32_t parent, int32_t cversion, int64_t zxid) {
    struct zstat s = tree_node(&db->tree, parent)->stat;
    if (cversion <= s.cversion) return;
    s.cversion = cversion;
    s.pzxid = zxid;
    tree_set_stat(&db->tree, parent, &s);
}

static int txn_create(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                      struct txn_out *o) {
    struct txn_create c;
    if (!txn_read_create(r, type, h->client_id, &c)) return ZERR_MARSHALLINGERROR;
    struct tree *t = &db->tree;
    uint32_t parent = tree_parent(t, c.path);
    if (parent == TREE_NONE) return ZERR_NONODE;
    const struct tree_node *p = tree_node(t, parent);
    int32_t cversion = c.parent_cversion;
    if (cversion == -1) cversion = (int32_t)((uint32_t)p->stat.cversion + 1);
    struct slice name = path_name(c.path);
    if (!name.n) return ZERR_BADARGUMENTS;
    uint32_t acl = acl_intern(&db->acls, c.acl);
    uint32_t old = tree_child(t, parent, name);
    if (old != TREE_NONE) {
        acl_unref(&db->acls, tree_node(t, old)->acl);
        tree_set_acl(t, old, acl, tree_node(t, old)->stat.aversion);
        /* stock: only for type 1, FileTxnSnapLog.processTransaction */
        if (type == ZOP_CREATE) txn_bump_parent(db, parent, cversion, h->zxid);
        return ZERR_NODEEXISTS;
    }
    struct zstat stat = {.czxid = h->zxid, .mzxid = h->zxid, .pzxid = h->zxid, .ctime = h->time,
                         .mtime = h->time, .owner = c.owner};
    txn_bump_parent(db, parent, cversion, h->zxid);
    uint32_t id = tree_add(t, parent, c.path, c.data, acl, &stat);
    quota_created(&db->quota, t, c.path, c.data.n);
    txn_result_stat(db, txn_result(o, type, 0, c.path), id);
    txn_event(db, o, EVENT_CREATED, c.path, acl, tree_node(t, parent)->acl);
    return 0;
}

static int txn_remove(struct db *db, int64_t zxid, struct slice path, struct txn_out *o) {
    struct tree *t = &db->tree;
    uint32_t parent = tree_parent(t, path);
    if (parent == TREE_NONE) return ZERR_NONODE;
    struct zstat s = tree_node(t, parent)->stat;
    if (zxid > s.pzxid) {
        s.pzxid = zxid;
        tree_set_stat(t, parent, &s);
    }
    uint32_t id = tree_lookup(t, path);
    /* A node with children cannot be here: neither a server of ours nor stock logs that. */
    if (id == TREE_NONE || id == TREE_ROOT || tree_node(t, id)->children) return ZERR_NONODE;
    const struct tree_node *n = tree_node(t, id);
    uint32_t acl = n->acl;
    txn_event(db, o, EVENT_DELETED, path, acl, tree_node(t, parent)->acl);
    quota_removed(&db->quota, t, path, tree_data(n).n);
    tree_remove(t, id, path);
    acl_unref(&db->acls, acl);
    return 0;
}

static int txn_delete(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                      struct txn_out *o) {
    struct slice path = jr_bytes(r);
    if (r->bad || !path.p) return ZERR_MARSHALLINGERROR;
    int err = txn_remove(db, h->zxid, path, o);
    if (!err) (void)txn_result(o, type, 0, path);
    return err;
}

static int txn_set_data(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                        struct txn_out *o) {
    struct req_set q = jr_req_set_data(r);
    if (r->bad || !q.path.p) return ZERR_MARSHALLINGERROR;
    struct tree *t = &db->tree;
    uint32_t id = tree_lookup(t, q.path);
    if (id == TREE_NONE) return ZERR_NONODE;
    struct zstat s = tree_node(t, id)->stat;
    int64_t grown = (int64_t)q.data.n - (int64_t)tree_data(tree_node(t, id)).n;
    s.version = q.version;
    s.mtime = h->time;
    s.mzxid = h->zxid;
    tree_set_data(t, id, q.path, q.data, &s);
    quota_resized(&db->quota, t, q.path, grown);
    txn_result_stat(db, txn_result(o, type, 0, q.path), id);
    txn_event(db, o, EVENT_DATA_CHANGED, q.path, tree_node(t, id)->acl, ACL_OPEN);
    return 0;
}

static int txn_set_acl(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                       struct txn_out *o) {
    (void)h;
    struct req_set q = jr_req_set_acl(r);
    if (r->bad || !q.path.p) return ZERR_MARSHALLINGERROR;
    struct tree *t = &db->tree;
    uint32_t id = tree_lookup(t, q.path);
    if (id == TREE_NONE) return ZERR_NONODE;
    uint32_t acl = acl_intern(&db->acls, q.data);
    acl_unref(&db->acls, tree_node(t, id)->acl);
    tree_set_acl(t, id, acl, q.version);
    txn_result_stat(db, txn_result(o, type, 0, q.path), id);
    return 0;
}

static int txn_create_session(struct db *db, const struct txn_header *h, struct jr *r) {
    int32_t timeout = jr_i32(r);
    if (r->bad || timeout < 0) return ZERR_MARSHALLINGERROR;
    struct session_table *t = &db->sessions;
    uint32_t i = session_add(t, h->client_id, timeout); /* may move the slots */
    struct session *s = &t->slots[i];
    s->timeout = timeout;
    if (!s->committed) t->committed++;
    s->committed = true;
    return 0;
}

static int txn_path_cmp(const void *a, const void *b) {
    struct slice x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return slice_cmp(x, y);
}

/*
 * What a session still owns although its closeSession did not list it: more ephemerals than fit
 * in one record, or a log written without the list.
 */
static void txn_remove_leftovers(struct db *db, const struct txn_header *h, struct txn_out *o) {
    const struct idset *owned = tree_owned(&db->tree, h->client_id);
    if (!owned) return;
    struct buf text = {0};
    uint32_t n = owned->count, pos = 0, id, k = 0;
    struct slice *paths = mem_alloc(sizeof *paths * n);
    while (idset_next(owned, &pos, &id)) {
        size_t from = text.n;
        tree_put_path(&db->tree, id, &text);
        paths[k++].n = text.n - from;
    }
    const uint8_t *p = text.p; /* only now the text has stopped moving */
    for (k = 0; k < n; p += paths[k++].n) paths[k].p = p;
    qsort(paths, n, sizeof *paths, txn_path_cmp); /* slots depend on history, the order must not */
    for (k = 0; k < n; k++) (void)txn_remove(db, h->zxid, paths[k], o);
    mem_free(paths);
    ZK_ASSERT(!o->kept);
    o->kept = text.p;
}

static int txn_close_session(struct db *db, const struct txn_header *h, struct jr *r,
                             struct txn_out *o) {
    int32_t n = jr_count(r); /* absent in logs before 3.6: nothing is listed then */
    for (; n > 0 && !r->bad; n--) {
        struct slice path = jr_bytes(r);
        if (!r->bad && path.p) (void)txn_remove(db, h->zxid, path, o);
    }
    r->bad = false;
    txn_remove_leftovers(db, h, o);
    uint32_t s = session_find(&db->sessions, h->client_id);
    if (s != SESSION_NONE) session_remove(&db->sessions, s);
    return 0;
}

static int txn_apply_one(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                         struct txn_out *o) {
    switch (type) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        return txn_create(db, h, type, r, o);
    case ZOP_DELETE:
    case ZOP_DELETE_CONTAINER:
        return txn_delete(db, h, type, r, o);
    case ZOP_SET_DATA:
    case ZOP_RECONFIG:
        return txn_set_data(db, h, type, r, o);
    case ZOP_SET_ACL:
        return txn_set_acl(db, h, type, r, o);
    case ZOP_CHECK:
        (void)txn_result(o, type, 0, jr_req_path_i32(r).path);
        return 0;
    case ZOP_CREATE_SESSION:
        return txn_create_session(db, h, r);
    case ZOP_CLOSE_SESSION:
        return txn_close_session(db, h, r, o);
    case ZOP_ERROR:
        return jr_i32(r);
    default:
        return ZERR_UNIMPLEMENTED;
    }
}

/* --- multi --- */

/* One failed operation makes the whole transaction an error: nothing of it is applied. */
static bool txn_multi_failed(struct jr r, int32_t n) {
    for (; n > 0 && !r.bad; n--) {
        int32_t type = jr_i32(&r);
        (void)jr_bytes(&r);
        if (!r.bad && type == ZOP_ERROR) return true;
    }
    return false;
}

ZK_PRIVATE void txn_hint(struct db *db, int32_t type, struct slice record) {
    struct jr r = jr_open(record, TXN_MAX);
    switch (type) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
    case ZOP_DELETE:
    case ZOP_DELETE_CONTAINER:
    case ZOP_SET_DATA:
        tree_hint(&db->tree, jr_bytes(&r));
        break;
    default:
        break;
    }
}

static void txn_hint_next(struct db *db, struct jr *ahead) {
    int32_t type = jr_i32(ahead);
    struct slice record = jr_bytes(ahead);
    if (!ahead->bad) txn_hint(db, type, record);
}

static int txn_multi(struct db *db, const struct txn_header *h, struct jr *r, struct txn_out *o) {
    int32_t n = jr_count(r), first = 0;
    bool failed = txn_multi_failed(*r, n);
    struct jr ahead = *r;
    for (int32_t i = 0; i < n && i < TXN_AHEAD; i++) txn_hint_next(db, &ahead);
    for (; n > 0; n--) {
        if (n > TXN_AHEAD) txn_hint_next(db, &ahead);
        int32_t type = jr_i32(r), err = 0;
        struct jr sub = jr_open(jr_bytes(r), TXN_MAX);
        if (r->bad) return first ? first : ZERR_MARSHALLINGERROR;
        if (failed) {
            err = type == ZOP_ERROR ? jr_i32(&sub) : 0;
            struct txn_result *res = txn_result(o, type, err, slice_of(NULL, 0));
            res->type = ZOP_ERROR;
        } else if (type == ZOP_CREATE_SESSION || type == ZOP_CLOSE_SESSION) {
            err = ZERR_UNIMPLEMENTED; /* nobody writes that */
        } else {
            err = txn_apply_one(db, h, type, &sub, o);
            if (err) (void)txn_result(o, type, err, slice_of(NULL, 0));
        }
        if (err && !first) first = err;
    }
    return first;
}

/* --- whole transactions --- */

ZK_PRIVATE int txn_apply(struct db *db, const struct txn_header *h, struct slice record,
                         struct txn_out *o) {
    struct jr r = jr_open(record, TXN_MAX);
    txn_out_clear(db, o);
    if (h->type == ZOP_MULTI) {
        o->err = txn_multi(db, h, &r, o);
    } else {
        o->err = txn_apply_one(db, h, h->type, &r, o);
        if (!o->n_results) (void)txn_result(o, h->type, o->err, slice_of(NULL, 0));
    }
    if (jr_left(&r) >= 12) {
        o->has_digest = jr_i32(&r) == 2;
        o->digest = (uint64_t)jr_i64(&r);
    }
    if (h->zxid > db->last_zxid) db->last_zxid = h->zxid;
    return o->err;
}

ZK_PRIVATE uint32_t db_drop_orphans(struct db *db) {
    struct txn_out out = {0};
    uint32_t removed = 0;
    for (uint32_t i = 0; i < db->tree.n_owners; i++) {
        const struct tree_owner *o = &db->tree.owners[i];
        if (!o->nodes.count || session_find(&db->sessions, o->session) != SESSION_NONE) continue;
        removed += o->nodes.count;
        struct txn_header h = {.client_id = o->session, .zxid = db->last_zxid,
                               .type = ZOP_CLOSE_SESSION};
        txn_remove_leftovers(db, &h, &out);
        txn_out_clear(db, &out);
    }
    txn_out_free(db, &out);
    return removed;
}
