#include "state/prep.h"

#include <stdio.h>

#include "state/path.h"

/* Answers of the preparing functions beside the wire's codes. */
#define PREP_UNREADABLE (-1000) /* no zxid, no transaction, MARSHALLINGERROR */

ZK_PRIVATE void prep_init(struct prep *p, struct db *db, const struct prep_config *cfg) {
    memset(p, 0, sizeof *p);
    p->db = db;
    p->cfg = *cfg;
    p->free_list = p->head = p->tail = PREP_NONE;
    p->zxid = db->last_zxid;
    p->digest = db->tree.digest;
}

/* --- change records --- */

static uint64_t prep_hash(const struct prep *p, struct slice path) {
    return slice_hash(path, p->db->tree.seed);
}

static struct slice prep_path(const struct prep_change *c) {
    return slice_of(c->path, c->path_len);
}

static uint32_t prep_newest(const struct prep *p, struct slice path) {
    if (!p->index.count) return PREP_NONE;
    struct map_iter it;
    uint32_t i = map_first(&p->index, prep_hash(p, path), &it);
    for (; i != MAP_NONE; i = map_next(&p->index, &it))
        if (slice_eq(prep_path(&p->changes[i]), path)) return i;
    return PREP_NONE;
}

/* False when the node does not exist; the acl of the view is borrowed. */
static bool prep_view(const struct prep *p, struct slice path, struct prep_view *v) {
    path = path_key(path);
    uint32_t i = prep_newest(p, path);
    if (i != PREP_NONE) {
        *v = p->changes[i].view;
        return v->exists;
    }
    uint32_t id = tree_lookup(&p->db->tree, path);
    memset(v, 0, sizeof *v);
    if (id == TREE_NONE) return false;
    const struct tree_node *n = tree_node(&p->db->tree, id);
    v->exists = true;
    v->stat = n->stat;
    v->children = n->children;
    v->acl = n->acl;
    v->digest = n->digest;
    v->data_len = n->data_len;
    return true;
}

static bool prep_session_owned(const struct prep *p, const struct prep_view *v) {
    return tree_owner_kind(&p->db->tree, v->stat.owner) == OWNER_SESSION;
}

static uint32_t prep_new_change(struct prep *p) {
    uint32_t i = p->free_list;
    if (i != PREP_NONE) {
        p->free_list = p->changes[i].fifo_next;
        return i;
    }
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 64;
        p->changes = mem_realloc(p->changes, sizeof *p->changes * p->cap);
    }
    return p->n++;
}

/* The digest of a node whose state becomes v; the one of the tree moves along. */
static uint32_t prep_digest(struct prep *p, struct slice path, const struct prep_view *v,
                            const struct slice *data) {
    struct prep_view old;
    uint32_t digest = 0;
    if (!p->cfg.digest || tree_digest_excluded(path)) return 0;
    if (prep_view(p, path, &old)) p->digest -= old.digest;
    if (v->exists)
        digest = data ? tree_digest_of(path, *data, &v->stat)
                      : tree_digest_moved(old.digest, &old.stat, &v->stat);
    p->digest += digest;
    return digest;
}

/* Records the state of a node after the transaction in the making. data: NULL when it stays. */
static void prep_push(struct prep *p, int64_t zxid, struct slice path, const struct prep_view *v,
                      const struct slice *data) {
    path = path_key(path);
    uint32_t digest = prep_digest(p, path, v, data);
    uint32_t older = prep_newest(p, path), i = prep_new_change(p);
    uint64_t hash = prep_hash(p, path);
    struct prep_change *c = &p->changes[i];
    p->queued++;
    c->view = *v;
    c->view.digest = digest;
    (void)acl_ref(&p->db->acls, v->acl);
    c->zxid = zxid;
    c->path = slab_alloc(&p->slab, path.n);
    if (path.n) memcpy(c->path, path.p, path.n);
    c->path_len = (uint32_t)path.n;
    c->older = older;
    c->newer = PREP_NONE;
    if (older != PREP_NONE) {
        p->changes[older].newer = i;
        (void)map_del(&p->index, hash, older);
    }
    map_add(&p->index, hash, i);
    c->fifo_next = PREP_NONE;
    c->fifo_prev = p->tail;
    if (p->tail != PREP_NONE)
        p->changes[p->tail].fifo_next = i;
    else
        p->head = i;
    p->tail = i;
    if (v->exists && prep_session_owned(p, v)) p->ephemeral_changes++;
}

/* Unlinks a record that is first or last in the order; the path index must be settled. */
static void prep_discard(struct prep *p, uint32_t i) {
    struct prep_change *c = &p->changes[i];
    if (c->fifo_prev != PREP_NONE)
        p->changes[c->fifo_prev].fifo_next = c->fifo_next;
    else
        p->head = c->fifo_next;
    if (c->fifo_next != PREP_NONE)
        p->changes[c->fifo_next].fifo_prev = c->fifo_prev;
    else
        p->tail = c->fifo_prev;
    if (c->view.exists && prep_session_owned(p, &c->view)) p->ephemeral_changes--;
    acl_unref(&p->db->acls, c->view.acl);
    slab_free(&p->slab, c->path, c->path_len);
    c->fifo_next = p->free_list;
    p->free_list = i;
}

ZK_PRIVATE void prep_applied(struct prep *p, int64_t zxid) {
    while (p->head != PREP_NONE && p->changes[p->head].zxid <= zxid) {
        uint32_t i = p->head;
        struct prep_change *c = &p->changes[i];
        if (c->newer == PREP_NONE)
            (void)map_del(&p->index, prep_hash(p, prep_path(c)), i);
        else
            p->changes[c->newer].older = PREP_NONE;
        p->removed++;
        prep_discard(p, i);
    }
}

/* Takes back the newest records down to the mark (the tail before they were made). */
static void prep_rollback(struct prep *p, uint32_t mark, uint64_t digest) {
    while (p->tail != mark) {
        uint32_t i = p->tail;
        struct prep_change *c = &p->changes[i];
        uint64_t hash = prep_hash(p, prep_path(c));
        (void)map_del(&p->index, hash, i);
        if (c->older != PREP_NONE) {
            map_add(&p->index, hash, c->older);
            p->changes[c->older].newer = PREP_NONE;
        }
        prep_discard(p, i);
    }
    p->digest = digest;
}

ZK_PRIVATE void prep_free(struct prep *p) {
    if (!p->db) return; /* never initialised: the server did not get that far */
    prep_rollback(p, PREP_NONE, 0);
    mem_free(p->changes);
    map_free(&p->index);
    slab_free_all(&p->slab);
    buf_free(&p->acl);
    memset(p, 0, sizeof *p);
}

/* --- checks --- */

static int prep_session(const struct prep *p, const struct prep_request *q) {
    if (q->internal) return 0;
    uint32_t s = session_find(&p->db->sessions, q->session);
    if (s == SESSION_NONE) return q->owner ? ZERR_SESSIONEXPIRED : ZERR_UNKNOWNSESSION;
    struct session *e = &p->db->sessions.slots[s];
    if (e->closing) return ZERR_SESSIONEXPIRED;
    if (!e->owner) e->owner = q->owner;
    return q->owner && q->owner != e->owner ? ZERR_SESSIONMOVED : 0;
}

static int prep_acl(const struct prep *p, const struct prep_request *q, uint32_t acl,
                    int32_t perm) {
    if (q->internal || p->cfg.skip_acl) return 0;
    return acl_allows(&p->db->acls, acl, perm, q->auth) ? 0 : ZERR_NOAUTH;
}

static int prep_quota(struct prep *p, struct slice path, int64_t count, int64_t bytes) {
    bool soft;
    if (!p->cfg.enforce_quota) return 0;
    return quota_check(&p->db->quota, &p->db->tree, path, count, bytes, &soft);
}

static bool prep_is_builtin(struct slice path) {
    return slice_is(path, "/") || slice_is(path, "/zookeeper") ||
           slice_is(path, "/zookeeper/quota") || slice_is(path, "/zookeeper/config");
}

/* --- create --- */

static bool prep_is_sequential(int32_t flags) {
    return flags == MODE_PERSISTENT_SEQUENTIAL || flags == MODE_EPHEMERAL_SEQUENTIAL ||
           flags == MODE_TTL_SEQUENTIAL;
}

/*
 * Opcode and mode must agree on what kind of node it is. stock applies by opcode but keeps its
 * pending state by mode, and exits when it applies a createTTL without a ttl.
 */
static bool prep_mode_fits(int32_t op, int32_t flags) {
    switch (op) {
    case ZOP_CREATE_CONTAINER:
        return flags == MODE_CONTAINER;
    case ZOP_CREATE_TTL:
        return flags == MODE_TTL || flags == MODE_TTL_SEQUENTIAL;
    default:
        return flags >= MODE_PERSISTENT && flags <= MODE_EPHEMERAL_SEQUENTIAL;
    }
}

static int prep_check_mode(const struct prep *p, int32_t op, const struct req_create *c) {
    if (c->flags < MODE_PERSISTENT || c->flags > MODE_TTL_SEQUENTIAL) return ZERR_BADARGUMENTS;
    bool ttl = c->flags >= MODE_TTL;
    if (ttl && !p->db->tree.extended_types) return ZERR_UNIMPLEMENTED;
    if (ttl ? c->ttl < 1 || c->ttl > TTL_MAX_MS : c->ttl >= 0) return ZERR_BADARGUMENTS;
    return prep_mode_fits(op, c->flags) ? 0 : ZERR_BADARGUMENTS;
}

static int64_t prep_owner(const struct prep_request *q, const struct req_create *c) {
    switch (c->flags) {
    case MODE_EPHEMERAL:
    case MODE_EPHEMERAL_SEQUENTIAL:
        return q->session;
    case MODE_CONTAINER:
        return OWNER_CONTAINER;
    case MODE_TTL:
    case MODE_TTL_SEQUENTIAL:
        return (int64_t)((uint64_t)0xff << 56 | (uint64_t)c->ttl);
    default:
        return 0;
    }
}

static void prep_put_create(struct buf *out, int32_t op, struct slice data, struct slice acl,
                            const struct req_create *c, int32_t parent_cversion) {
    jw_bytes(out, data);
    jw_raw(out, acl);
    if (op == ZOP_CREATE || op == ZOP_CREATE2)
        jw_u8(out, c->flags == MODE_EPHEMERAL || c->flags == MODE_EPHEMERAL_SEQUENTIAL);
    jw_i32(out, parent_cversion);
    if (op == ZOP_CREATE_TTL) jw_i64(out, c->ttl);
}

/* The node's path goes to out first: a sequential one exists nowhere else. */
static void prep_put_path(struct buf *out, const struct req_create *c, int32_t counter) {
    char digits[16] = "";
    int n = prep_is_sequential(c->flags) ? snprintf(digits, sizeof digits, "%010d", counter) : 0;
    jw_i32(out, (int32_t)(c->path.n + (size_t)n));
    buf_put(out, c->path.p, c->path.n);
    buf_put(out, digits, (size_t)n);
}

static int prep_create(struct prep *p, const struct prep_request *q, int32_t op, struct jr *r,
                       int64_t zxid, struct buf *out) {
    struct req_create c = jr_req_create(r, op);
    struct prep_view parent, old;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_check_mode(p, op, &c);
    if (!err) err = prep_session(p, q);
    if (err) return err;
    if (!c.path.p) return ZERR_MARSHALLINGERROR; /* stock: any exception but a refusal */
    if (!path_has_parent(c.path)) return ZERR_BADARGUMENTS;
    struct slice parent_path = path_parent(c.path);
    buf_clear(&p->acl);
    err = acl_fixup(&p->db->acls, c.acl, q->auth, p->cfg.digest_auth, &p->acl);
    if (err) return err;
    if (!prep_view(p, parent_path, &parent)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, parent.acl, PERM_CREATE))) return err;
    size_t at = out->n;
    prep_put_path(out, &c, parent.stat.cversion);
    struct slice path = slice_of(out->p + at + 4, out->n - at - 4);
    if (!path_valid(path) || quota_refuses_create(path)) return ZERR_BADARGUMENTS;
    if (prep_view(p, path, &old)) return ZERR_NODEEXISTS;
    if (prep_session_owned(p, &parent)) return ZERR_NOCHILDRENFOREPHEMERALS;
    if ((err = prep_quota(p, path, 1, (int64_t)c.data.n))) return err;
    int32_t counter = (int32_t)((uint32_t)parent.stat.cversion + 1);
    prep_put_create(out, op, c.data, buf_slice(&p->acl), &c, counter);
    path = slice_of(out->p + at + 4, path.n); /* out may have moved */

    parent.children++;
    if (counter > parent.stat.cversion) {
        parent.stat.cversion = counter;
        parent.stat.pzxid = zxid;
    }
    prep_push(p, zxid, parent_path, &parent, NULL);
    struct prep_view node = {.exists = true,
                             .stat = {.czxid = zxid, .mzxid = zxid, .pzxid = zxid,
                                      .ctime = q->time, .mtime = q->time,
                                      .owner = prep_owner(q, &c)},
                             .acl = acl_intern(&p->db->acls, buf_slice(&p->acl)),
                             .data_len = c.data.p ? (int32_t)c.data.n : TREE_DATA_NULL};
    prep_push(p, zxid, path, &node, &c.data);
    acl_unref(&p->db->acls, node.acl);
    return 0;
}

/* --- delete, setData, setACL, check --- */

/* The records of a deleted node and its parent, which the caller has looked up. */
static void prep_push_delete(struct prep *p, int64_t zxid, struct slice path,
                             struct prep_view *parent, struct prep_view *node) {
    parent->children--;
    if (zxid > parent->stat.pzxid) parent->stat.pzxid = zxid;
    prep_push(p, zxid, path_parent(path), parent, NULL);
    node->exists = false;
    prep_push(p, zxid, path, node, NULL);
}

static int prep_delete(struct prep *p, const struct prep_request *q, struct jr *r, int64_t zxid,
                       struct buf *out) {
    struct req_path d = jr_req_path_i32(r);
    struct prep_view parent, node;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_session(p, q);
    if (err) return err;
    if (!d.path.p) return ZERR_MARSHALLINGERROR;
    if (!path_has_parent(d.path) || prep_is_builtin(d.path) || quota_refuses_delete(d.path))
        return ZERR_BADARGUMENTS;
    if (!prep_view(p, path_parent(d.path), &parent)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, parent.acl, PERM_DELETE))) return err;
    if (!prep_view(p, d.path, &node)) return ZERR_NONODE;
    if (d.arg != -1 && d.arg != node.stat.version) return ZERR_BADVERSION;
    if (node.children) return ZERR_NOTEMPTY;
    jw_bytes(out, d.path);
    prep_push_delete(p, zxid, d.path, &parent, &node);
    return 0;
}

/* From the reaper only: a container or TTL node that may have got a child meanwhile. */
static int prep_delete_container(struct prep *p, struct jr *r, int64_t zxid, struct buf *out) {
    struct slice path = jr_bytes(r);
    struct prep_view parent, node;
    if (r->bad || !path.p) return PREP_UNREADABLE;
    if (!path_has_parent(path) || prep_is_builtin(path)) return ZERR_BADARGUMENTS;
    if (!prep_view(p, path, &node)) return ZERR_NONODE;
    if (node.children) return ZERR_NOTEMPTY;
    if (prep_session_owned(p, &node)) return ZERR_BADVERSION;
    if (!prep_view(p, path_parent(path), &parent)) return ZERR_NONODE;
    jw_bytes(out, path);
    prep_push_delete(p, zxid, path, &parent, &node);
    return 0;
}

static int32_t prep_next_version(int32_t version) {
    return (int32_t)((uint32_t)version + 1);
}

static int prep_set_data(struct prep *p, const struct prep_request *q, struct jr *r, int64_t zxid,
                         struct buf *out) {
    struct req_set s = jr_req_set_data(r);
    struct prep_view node;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_session(p, q);
    if (err) return err;
    if (!path_valid(s.path) || quota_refuses_data(s.path, s.data)) return ZERR_BADARGUMENTS;
    if (!prep_view(p, s.path, &node)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, node.acl, PERM_WRITE))) return err;
    int64_t old_len = node.data_len > 0 ? node.data_len : 0;
    if ((err = prep_quota(p, s.path, 0, (int64_t)s.data.n - old_len))) return err;
    if (s.version != -1 && s.version != node.stat.version) return ZERR_BADVERSION;
    node.stat.version = prep_next_version(node.stat.version);
    node.stat.mzxid = zxid;
    node.stat.mtime = q->time;
    node.data_len = s.data.p ? (int32_t)s.data.n : TREE_DATA_NULL;
    jw_bytes(out, s.path);
    jw_bytes(out, s.data);
    jw_i32(out, node.stat.version);
    prep_push(p, zxid, s.path, &node, &s.data);
    return 0;
}

static int prep_set_acl(struct prep *p, const struct prep_request *q, struct jr *r, int64_t zxid,
                        struct buf *out) {
    struct req_set s = jr_req_set_acl(r);
    struct prep_view node;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_session(p, q);
    if (err) return err;
    if (!path_valid(s.path)) return ZERR_BADARGUMENTS;
    buf_clear(&p->acl);
    err = acl_fixup(&p->db->acls, s.data, q->auth, p->cfg.digest_auth, &p->acl);
    if (err) return err;
    if (!prep_view(p, s.path, &node)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, node.acl, PERM_ADMIN))) return err;
    if (s.version != -1 && s.version != node.stat.aversion) return ZERR_BADVERSION;
    node.stat.aversion = prep_next_version(node.stat.aversion);
    node.acl = acl_intern(&p->db->acls, buf_slice(&p->acl));
    jw_bytes(out, s.path);
    jw_raw(out, buf_slice(&p->acl));
    jw_i32(out, node.stat.aversion);
    prep_push(p, zxid, s.path, &node, NULL);
    acl_unref(&p->db->acls, node.acl);
    return 0;
}

static int prep_check(struct prep *p, const struct prep_request *q, struct jr *r,
                      struct buf *out) {
    struct req_path c = jr_req_path_i32(r);
    struct prep_view node;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_session(p, q);
    if (err) return err;
    if (!path_valid(c.path)) return ZERR_BADARGUMENTS;
    if (!prep_view(p, c.path, &node)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, node.acl, PERM_READ))) return err;
    if (c.arg != -1 && c.arg != node.stat.version) return ZERR_BADVERSION;
    jw_bytes(out, c.path);
    jw_i32(out, prep_next_version(node.stat.version)); /* stock: current version + 1 */
    return 0;
}

/* --- sessions --- */

static int prep_create_session(struct jr *r, struct buf *out) {
    int32_t timeout = jr_i32(r);
    if (r->bad) return PREP_UNREADABLE;
    jw_i32(out, timeout);
    return 0;
}

/* The tree may be behind: the path may be gone by now, or be somebody else's node. */
static void prep_put_owned(struct prep *p, int64_t session, int64_t zxid, struct slice path,
                           struct buf *out, int32_t *count, size_t limit) {
    struct prep_view parent, node;
    if (!prep_view(p, path, &node) || node.stat.owner != session) return;
    if (prep_view(p, path_parent(path), &parent)) prep_push_delete(p, zxid, path, &parent, &node);
    /* What does not fit is deleted all the same: appliers remove what the session still owns. */
    if (out->n + path.n + 4 > limit) return;
    jw_bytes(out, path);
    ++*count;
}

static int prep_close_session(struct prep *p, const struct prep_request *q, int64_t zxid,
                              struct buf *out) {
    uint32_t s = session_find(&p->db->sessions, q->session);
    size_t at = out->n, limit = at + p->cfg.max_record - 256;
    int32_t count = 0;
    jw_i32(out, 0);
    uint32_t last = p->tail; /* records made from here on are our own deletions */
    bool pending = p->ephemeral_changes != 0;
    const struct idset *owned = tree_owned(&p->db->tree, q->session);
    uint32_t pos = 0, id;
    struct buf path = {0};
    while (owned && idset_next(owned, &pos, &id)) {
        buf_clear(&path);
        tree_put_path(&p->db->tree, id, &path);
        prep_put_owned(p, q->session, zxid, buf_slice(&path), out, &count, limit);
    }
    for (uint32_t i = pending ? p->head : PREP_NONE; i != PREP_NONE;) {
        const struct prep_change *c = &p->changes[i];
        uint32_t next = i == last ? PREP_NONE : c->fifo_next;
        if (c->newer == PREP_NONE && c->view.exists && c->view.stat.owner == q->session) {
            buf_clear(&path);
            buf_put(&path, c->path, c->path_len);
            prep_put_owned(p, q->session, zxid, buf_slice(&path), out, &count, limit);
        }
        i = next;
    }
    buf_free(&path);
    if (s != SESSION_NONE) p->db->sessions.slots[s].closing = true;
    put_be32(out->p + at, (uint32_t)count);
    return 0;
}

/* --- one operation, a multi, a request --- */

static int prep_one(struct prep *p, const struct prep_request *q, int32_t op, struct jr *r,
                    int64_t zxid, struct buf *out) {
    switch (op) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        return prep_create(p, q, op, r, zxid, out);
    case ZOP_DELETE:
        return prep_delete(p, q, r, zxid, out);
    case ZOP_SET_DATA:
        return prep_set_data(p, q, r, zxid, out);
    case ZOP_SET_ACL:
        return prep_set_acl(p, q, r, zxid, out);
    case ZOP_CHECK:
        return prep_check(p, q, r, out);
    case ZOP_DELETE_CONTAINER:
        return prep_delete_container(p, r, zxid, out);
    case ZOP_CREATE_SESSION:
        return prep_create_session(r, out);
    case ZOP_CLOSE_SESSION:
        return prep_close_session(p, q, zxid, out);
    default:
        return ZERR_UNIMPLEMENTED;
    }
}

/*
 * Reads over one operation. 0 or why the multi as a whole is refused: MARSHALLINGERROR as soon as
 * it shows, null paths only when all has been read (*null_path).
 */
static int prep_multi_skip(struct jr *r, int32_t type, bool *null_path) {
    struct req_create c;
    struct slice path;
    switch (type) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        c = jr_req_create(r, type);
        path = c.path;
        if (r->bad || type == ZOP_CREATE_TTL) break;
        /* stock: only these three headers look at mode and list while they are read */
        if (c.flags < MODE_PERSISTENT || c.flags >= MODE_TTL) return ZERR_MARSHALLINGERROR;
        if (!c.acl.p) return PREP_UNREADABLE;
        break;
    case ZOP_DELETE:
    case ZOP_CHECK:
        path = jr_req_path_i32(r).path;
        break;
    case ZOP_SET_DATA:
        path = jr_req_set_data(r).path;
        break;
    default:
        return ZERR_MARSHALLINGERROR;
    }
    if (r->bad) return ZERR_MARSHALLINGERROR;
    if (!path.p) *null_path = true;
    return 0;
}

ZK_PRIVATE int prep_multi_check(struct jr r, int32_t *count) {
    bool null_path = false;
    *count = 0;
    for (;;) {
        struct multi_header h = jr_multi_header(&r);
        if (r.bad) return ZERR_MARSHALLINGERROR;
        if (h.done) return null_path ? ZERR_MARSHALLINGERROR : 0;
        int err = prep_multi_skip(&r, h.type, &null_path);
        if (err) return err;
        ++*count;
    }
}

/* stock: Op.create picks the operation from header and mode, MultiOperationRecord. */
static int32_t prep_multi_op(int32_t type, struct jr at) {
    if (type != ZOP_CREATE && type != ZOP_CREATE2 && type != ZOP_CREATE_CONTAINER &&
        type != ZOP_CREATE_TTL)
        return type;
    struct req_create c = jr_req_create(&at, type);
    if (c.flags == MODE_CONTAINER) return ZOP_CREATE_CONTAINER;
    if (type != ZOP_CREATE_TTL) return type;
    return c.flags == MODE_TTL || c.flags == MODE_TTL_SEQUENTIAL ? ZOP_CREATE_TTL : ZOP_CREATE;
}

/* Prepares the operations in turn; after the first failure the rest is not looked at. */
static int prep_multi(struct prep *p, const struct prep_request *q, struct jr *r, int64_t zxid,
                      struct buf *out) {
    int32_t count;
    int err = prep_multi_check(*r, &count), failed = 0;
    if (err) return err;
    uint32_t mark = p->tail;
    uint64_t digest = p->digest;
    size_t start = out->n;
    jw_i32(out, count);
    for (int32_t i = 0; i < count; i++) {
        int32_t type = jr_multi_header(r).type, op = prep_multi_op(type, *r);
        size_t at = out->n;
        struct jr next = *r;
        bool null_path;
        (void)prep_multi_skip(&next, type, &null_path);
        jw_i32(out, op);
        jw_i32(out, 0);
        int e = failed ? ZERR_RUNTIMEINCONSISTENCY : prep_one(p, q, op, r, zxid, out);
        if (e == ZERR_MARSHALLINGERROR) {
            prep_rollback(p, mark, digest);
            return ZERR_MARSHALLINGERROR; /* stock: an exception fails the multi as a whole */
        }
        if (e) {
            out->n = at;
            jw_i32(out, ZOP_ERROR);
            jw_i32(out, 4);
            jw_i32(out, e);
            failed = failed ? failed : e;
        }
        if (out->n - start > p->cfg.max_record) {
            prep_rollback(p, mark, digest);
            return ZERR_BADARGUMENTS; /* an entry that large would keep servers from starting */
        }
        put_be32(out->p + at + 4, (uint32_t)(out->n - at - 8));
        *r = next;
    }
    if (failed) prep_rollback(p, mark, digest);
    return 0; /* the reply says 0 and carries a result per operation */
}

/* Whether a stock leader gets through this list: it compares the entries with each other, then
 * reads scheme and identity, but of `auth` only the scheme. (kazoo sends empty strings as null.) */
static bool prep_acl_whole(struct slice vector) {
    struct jr r = jr_open(vector, UINT32_MAX);
    int32_t n = jr_count(&r), own = 0;
    bool open = false;
    for (int32_t i = 0; i < n; i++) {
        struct wire_acl a = jr_acl_entry(&r);
        if (r.bad) return false;
        if (!a.scheme.p) return n == 1; /* refused at once */
        bool is_own = slice_is(a.scheme, "auth");
        if (!a.id.p && !is_own) return false;
        own += is_own;
        open = open || !a.id.p;
    }
    return vector.p && !r.bad && (own < 2 || !open);
}

static bool prep_readable_one(int32_t op, struct jr *r) {
    struct req_create c;
    struct req_set s;
    switch (op) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        c = jr_req_create(r, op);
        return !r->bad && c.path.p && prep_acl_whole(c.acl);
    case ZOP_DELETE:
    case ZOP_CHECK:
        return jr_req_path_i32(r).path.p && !r->bad;
    case ZOP_SET_DATA:
        return jr_req_set_data(r).path.p && !r->bad;
    case ZOP_SET_ACL:
        s = jr_req_set_acl(r);
        return !r->bad && s.path.p && prep_acl_whole(s.data);
    case ZOP_RECONFIG:
        for (int i = 0; i < 3; i++) (void)jr_bytes(r); /* joining, leaving, new members */
        (void)jr_i64(r);
        return !r->bad;
    default:
        return true;
    }
}

ZK_PRIVATE bool prep_readable(int32_t op, struct slice body) {
    struct jr r = jr_open(body, UINT32_MAX);
    while (op == ZOP_MULTI) {
        struct multi_header h = jr_multi_header(&r);
        struct jr ahead = r;
        bool null_path;
        if (r.bad || h.done) return !r.bad;
        if (prep_multi_skip(&ahead, h.type, &null_path) || !prep_readable_one(h.type, &r))
            return false;
    }
    return prep_readable_one(op, &r);
}

/* stock: a standalone server refuses what only a leader could do. */
static int prep_reconfig(const struct prep *p, const struct prep_request *q, struct jr *r) {
    for (int i = 0; i < 3; i++) (void)jr_bytes(r); /* joining, leaving, new members */
    (void)jr_i64(r);
    if (r->bad) return PREP_UNREADABLE;
    if (!p->cfg.reconfig) return ZERR_RECONFIGDISABLED;
    int err = prep_session(p, q);
    return err ? err : ZERR_UNIMPLEMENTED;
}

ZK_PRIVATE int prep_write(struct prep *p, const struct prep_request *q, struct buf *out,
                          bool *made) {
    struct jr r = jr_open(q->body, UINT32_MAX);
    size_t at = out->n;
    int64_t zxid = p->zxid + 1;
    struct txn_header h = {q->session, q->cxid, zxid, q->time, q->op};
    uint32_t mark = p->tail;
    uint64_t digest = p->digest;
    int err;
    jw_txn_header(out, &h);
    if (q->op == ZOP_MULTI)
        err = prep_multi(p, q, &r, zxid, out);
    else if (q->op == ZOP_RECONFIG)
        err = prep_reconfig(p, q, &r);
    else
        err = prep_one(p, q, q->op, &r, zxid, out);
    if (!err && out->n - at + 12 > p->cfg.max_record) {
        /* An entry that large would keep every server from starting again. */
        prep_rollback(p, mark, digest);
        err = ZERR_BADARGUMENTS;
    }
    if (err == PREP_UNREADABLE && q->forwarded) err = ZERR_MARSHALLINGERROR;
    *made = err != PREP_UNREADABLE;
    if (!*made) {
        out->n = at;
        return ZERR_MARSHALLINGERROR;
    }
    p->zxid = zxid;
    if (err) {
        out->n = at;
        h.type = ZOP_ERROR;
        jw_txn_header(out, &h);
        jw_i32(out, err);
    } else if (p->cfg.digest) {
        jw_i32(out, 2);
        jw_i64(out, (int64_t)p->digest);
    }
    return err;
}
