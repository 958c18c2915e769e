#include "node/reads.h"

#include "node/pipeline.h"
#include "state/path.h"

#define READS_REPLY_MAX (64u << 20) /* bytes of one reply, about */

/* One read under way: the reply grows in the connection's output buffer. */
struct reads {
    struct node *n;
    uint32_t conn;
    struct buf *out;
    struct jr body;
    int64_t zxid;        /* of the reply */
    bool body_and_error; /* the reply has both: multiRead only */
};

/* A path that need not exist: kept or echoed, so it must be the text that stock would have. */
static struct slice reads_text(const struct reads *q, struct slice path) {
    return path.p ? path_as_java(path, &q->n->scratch) : path;
}

static int reads_may(const struct reads *q, const struct tree_node *node, int32_t perms) {
    if (q->n->cfg->skip_acl) return 0;
    const struct auth_set *who = &node_conn(q->n, q->conn)->auth;
    q->n->work += acl_bytes(&q->n->db.acls, node->acl).n * who->count / 16;
    return acl_allows(&q->n->db.acls, node->acl, perms, who) ? 0 : ZERR_NOAUTH;
}

static void reads_put_stat(const struct reads *q, const struct tree_node *node) {
    tree_client_stat(&q->n->db.tree, node, buf_grow(q->out, WIRE_STAT_LEN));
}

static void reads_watch(const struct reads *q, struct slice path, uint32_t kinds) {
    /* stock: a watch on "" is no watch on the root, although "" reads the root */
    if (kinds & WATCH_IN_DATA) node_conn(q->n, q->conn)->data_watcher = true;
    watch_add(&q->n->watches, reads_text(q, path), q->conn, kinds);
}

/* The node of a read that needs READ on it. */
static int reads_node(const struct reads *q, struct slice path, const struct tree_node **node) {
    if (!path.p) return ZERR_MARSHALLINGERROR;
    uint32_t id = tree_lookup(&q->n->db.tree, path);
    if (id == TREE_NONE) return ZERR_NONODE;
    *node = tree_node(&q->n->db.tree, id);
    return reads_may(q, *node, PERM_READ);
}

/* --- nodes --- */

static int reads_exists(struct reads *q) {
    struct req_path r = jr_req_path_bool(&q->body);
    if (q->body.bad || !r.path.p) return ZERR_MARSHALLINGERROR;
    if (r.path.n && memchr(r.path.p, 0, r.path.n)) return ZERR_BADARGUMENTS;
    const struct tree_node *node = NULL;
    int err = reads_node(q, r.path, &node);
    if (err && err != ZERR_NONODE) return err;
    if (r.arg) reads_watch(q, r.path, WATCH_DATA);
    if (err) return err;
    reads_put_stat(q, node);
    metrics_read(&q->n->metrics, r.path, WIRE_STAT_LEN);
    return 0;
}

static int reads_data_of(struct reads *q, const struct req_path *r) {
    const struct tree_node *node;
    int err = reads_node(q, r->path, &node);
    if (err) return err;
    if (r->arg) reads_watch(q, r->path, WATCH_DATA);
    jw_bytes(q->out, tree_data(node));
    metrics_read(&q->n->metrics, r->path, (int64_t)tree_data(node).n + WIRE_STAT_LEN);
    reads_put_stat(q, node);
    return 0;
}

static int reads_children_of(struct reads *q, const struct req_path *r, bool stat) {
    const struct tree_node *node;
    int err = reads_node(q, r->path, &node);
    if (err) return err;
    if (node->children > READS_REPLY_MAX / 8) return ZERR_MARSHALLINGERROR;
    if (r->arg) reads_watch(q, r->path, WATCH_CHILD);
    int64_t names = WIRE_STAT_LEN;
    jw_i32(q->out, (int32_t)node->children);
    for (uint32_t id = node->first_child; id != TREE_NONE;) {
        const struct tree_node *child = tree_node(&q->n->db.tree, id);
        jw_bytes(q->out, tree_name(child));
        names += (int64_t)tree_name(child).n;
        id = child->next;
    }
    metrics_read(&q->n->metrics, r->path, names);
    if (stat) reads_put_stat(q, node);
    return 0;
}

static int reads_get_data(struct reads *q) {
    struct req_path r = jr_req_path_bool(&q->body);
    return q->body.bad ? ZERR_MARSHALLINGERROR : reads_data_of(q, &r);
}

static int reads_get_children(struct reads *q, bool stat) {
    struct req_path r = jr_req_path_bool(&q->body);
    return q->body.bad ? ZERR_MARSHALLINGERROR : reads_children_of(q, &r, stat);
}

static int reads_get_acl(struct reads *q) {
    struct slice path = jr_bytes(&q->body);
    if (q->body.bad || !path.p) return ZERR_MARSHALLINGERROR;
    uint32_t id = tree_lookup(&q->n->db.tree, path);
    if (id == TREE_NONE) return ZERR_NONODE;
    const struct tree_node *node = tree_node(&q->n->db.tree, id);
    int err = reads_may(q, node, PERM_READ | PERM_ADMIN);
    if (err) return err;
    struct slice acl = acl_bytes(&q->n->db.acls, node->acl);
    if (reads_may(q, node, PERM_ADMIN))
        acl_put_masked(q->out, acl);
    else
        buf_put(q->out, acl.p, acl.n);
    reads_put_stat(q, node);
    return 0;
}

static int reads_all_children_number(struct reads *q) {
    struct slice path = jr_bytes(&q->body);
    const struct tree_node *node;
    if (q->body.bad) return ZERR_MARSHALLINGERROR;
    int err = reads_node(q, path, &node);
    if (err) return err;
    uint32_t id = tree_lookup(&q->n->db.tree, path);
    /* stock: keeps the root as "" and as "/", and the second is a descendant of the first */
    uint64_t alias = path.n == 0;
    if (id != TREE_ROOT) q->n->work += q->n->db.tree.count; /* at most */
    jw_i32(q->out, (int32_t)(tree_count_below(&q->n->db.tree, id) + alias));
    return 0;
}

static int reads_ephemerals(struct reads *q) {
    struct slice prefix = jr_bytes(&q->body);
    if (q->body.bad) return ZERR_MARSHALLINGERROR;
    struct slice core = prefix; /* stock: trimmed to see whether it means all, compared as it is */
    while (core.n && core.p[0] <= ' ') core = slice_of(core.p + 1, core.n - 1);
    while (core.n && core.p[core.n - 1] <= ' ') core.n--;
    bool all = !core.n || slice_is(core, "/");
    const struct tree *t = &q->n->db.tree;
    const struct idset *owned = tree_owned(t, node_conn(q->n, q->conn)->session);
    size_t at = q->out->n;
    int32_t count = 0;
    uint32_t pos = 0, id;
    jw_i32(q->out, 0);
    while (owned && idset_next(owned, &pos, &id)) {
        size_t from = q->out->n;
        jw_i32(q->out, 0);
        tree_put_path(t, id, q->out);
        size_t len = q->out->n - from - 4;
        bool match = all || (len >= prefix.n && !memcmp(q->out->p + from + 4, prefix.p, prefix.n));
        put_be32(q->out->p + from, (uint32_t)len);
        if (match)
            count++;
        else
            q->out->n = from;
    }
    put_be32(q->out->p + at, (uint32_t)count);
    return 0;
}

/* --- multiRead --- */

/* Whether the request is a list of reads, or (in *writes) one of writes: both can be read. */
static bool reads_multi_check(struct jr r, bool *writes) {
    struct jr all = r;
    int32_t count;
    *writes = false;
    for (;;) {
        struct multi_header h = jr_multi_header(&r);
        if (r.bad) return false;
        if (h.done) return true;
        if (h.type != ZOP_GET_DATA && h.type != ZOP_GET_CHILDREN) break;
        (void)jr_req_path_bool(&r);
        if (r.bad) return false;
    }
    *writes = prep_multi_check(all, &count) == 0;
    return *writes;
}

/*
 * stock: what cannot be executed breaks the list off; the reply then has an error in its header
 * and nevertheless the results so far. MultiRead in FinalRequestProcessor.
 */
static int reads_multi(struct reads *q) {
    bool writes;
    int broken = 0;
    size_t start = q->out->n;
    if (!reads_multi_check(q->body, &writes)) return ZERR_MARSHALLINGERROR;
    for (;;) {
        struct multi_header h = jr_multi_header(&q->body);
        if (h.done) break;
        struct req_path r = jr_req_path_bool(&q->body);
        if (writes || !r.path.p) {
            broken = ZERR_MARSHALLINGERROR;
            q->body_and_error = true;
            break;
        }
        size_t at = q->out->n;
        if (at - start > READS_REPLY_MAX) return ZERR_MARSHALLINGERROR;
        r.arg = 0; /* watches cannot be left by a multiRead */
        jw_multi_header(q->out, h.type, false, 0);
        int err = h.type == ZOP_GET_DATA ? reads_data_of(q, &r) : reads_children_of(q, &r, false);
        if (!err) continue;
        q->out->n = at;
        jw_multi_header(q->out, ZOP_ERROR, false, err);
        jw_i32(q->out, err);
    }
    jw_multi_header(q->out, -1, true, -1);
    return broken;
}

/* --- watches --- */

static uint32_t reads_watcher_kinds(int32_t type) {
    static const uint32_t kinds[] = {0, WATCH_CHILD, WATCH_DATA, WATCH_ANY, WATCH_PERSISTENT,
                                     WATCH_RECURSIVE};
    return type >= 1 && type <= 5 ? kinds[type] : 0;
}

static int reads_watcher(struct reads *q, bool remove) {
    struct req_path r = jr_req_path_i32(&q->body);
    uint32_t kinds = reads_watcher_kinds(r.arg);
    if (q->body.bad || !kinds) return ZERR_MARSHALLINGERROR;
    if (!r.path.p) return ZERR_NOWATCHER;
    r.path = reads_text(q, r.path);
    struct watch_table *w = &q->n->watches;
    bool found = remove ? watch_remove(w, r.path, q->conn, kinds)
                        : (watch_kinds(w, r.path, q->conn) & kinds) != 0;
    if (remove && found) node_conn(q->n, q->conn)->data_watcher = false;
    return found ? 0 : ZERR_NOWATCHER;
}

static int reads_add_watch(struct reads *q) {
    struct req_path r = jr_req_path_i32(&q->body);
    if (q->body.bad || r.arg < 0 || r.arg > 1) return ZERR_MARSHALLINGERROR;
    if (r.path.p) reads_watch(q, r.path, r.arg ? WATCH_RECURSIVE : WATCH_PERSISTENT);
    jw_i32(q->out, 0);
    return 0;
}

enum reads_list { LIST_DATA, LIST_EXIST, LIST_CHILD, LIST_PERSISTENT, LIST_RECURSIVE, LISTS };

/* One watch that the client had: the event it missed, or the watch again. */
static void reads_rewatch(struct reads *q, enum reads_list list, struct slice path, int64_t since) {
    static const uint32_t kinds[LISTS] = {WATCH_DATA, WATCH_DATA, WATCH_CHILD, WATCH_PERSISTENT,
                                          WATCH_RECURSIVE};
    uint32_t id = tree_lookup(&q->n->db.tree, path);
    const struct tree_node *node = id == TREE_NONE ? NULL : tree_node(&q->n->db.tree, id);
    int32_t missed = 0;
    switch (list) {
    case LIST_DATA:
        missed = !node ? EVENT_DELETED : node->stat.mzxid > since ? EVENT_DATA_CHANGED : 0;
        break;
    case LIST_EXIST:
        missed = node ? EVENT_CREATED : 0;
        break;
    case LIST_CHILD:
        missed = !node ? EVENT_DELETED : node->stat.pzxid > since ? EVENT_CHILDREN_CHANGED : 0;
        break;
    default:
        break;
    }
    if (missed)
        event_send(q->n, q->conn, missed, reads_text(q, path), -1);
    else
        reads_watch(q, path, kinds[list]);
}

static int reads_set_watches(struct reads *q, int lists) {
    int64_t since = jr_i64(&q->body);
    struct jr check = q->body;
    for (int i = 0; i < lists; i++) {
        int32_t count = jr_count(&check);
        for (; count > 0 && !check.bad; count--) (void)jr_bytes(&check);
    }
    if (check.bad) return ZERR_MARSHALLINGERROR;
    for (int i = 0; i < lists; i++) {
        int32_t count = jr_count(&q->body);
        if (count < 0) return ZERR_MARSHALLINGERROR; /* the lists before it have been served */
        for (; count > 0; count--) {
            struct slice path = jr_bytes(&q->body);
            if (!path.p && i >= LIST_PERSISTENT) continue; /* stock: takes it, nothing fires it */
            if (!path.p) return ZERR_MARSHALLINGERROR;
            reads_rewatch(q, (enum reads_list)i, path, since);
        }
    }
    return 0;
}

/* --- the rest --- */

static int reads_sync(struct reads *q) {
    struct slice path = jr_bytes(&q->body);
    if (q->body.bad) return ZERR_MARSHALLINGERROR;
    jw_bytes(q->out, reads_text(q, path));
    return 0;
}

static int reads_who_am_i(struct reads *q) {
    const struct auth_set *who = &node_conn(q->n, q->conn)->auth;
    struct slice scheme, id;
    jw_i32(q->out, (int32_t)who->count);
    struct auth_iter it = auth_first(who);
    while (auth_next(&it, &scheme, &id)) {
        const uint8_t *colon = id.n ? memchr(id.p, ':', id.n) : NULL;
        if (slice_is(scheme, "digest") && colon) id.n = (size_t)(colon - id.p);
        jw_bytes(q->out, scheme);
        jw_bytes(q->out, id);
    }
    return 0;
}

static int reads_dispatch(struct reads *q, int32_t op) {
    switch (op) {
    case ZOP_PING:
        return 0;
    case ZOP_EXISTS:
        return reads_exists(q);
    case ZOP_GET_DATA:
        return reads_get_data(q);
    case ZOP_GET_ACL:
        return reads_get_acl(q);
    case ZOP_GET_CHILDREN:
    case ZOP_GET_CHILDREN2:
        return reads_get_children(q, op == ZOP_GET_CHILDREN2);
    case ZOP_SYNC:
        return reads_sync(q);
    case ZOP_MULTI_READ:
        return reads_multi(q);
    case ZOP_CHECK_WATCHES:
    case ZOP_REMOVE_WATCHES:
        return reads_watcher(q, op == ZOP_REMOVE_WATCHES);
    case ZOP_ADD_WATCH:
        return reads_add_watch(q);
    case ZOP_SET_WATCHES:
        return reads_set_watches(q, 3);
    case ZOP_SET_WATCHES2:
        return reads_set_watches(q, LISTS);
    case ZOP_GET_EPHEMERALS:
        return reads_ephemerals(q);
    case ZOP_GET_ALL_CHILDREN_NUMBER:
        return reads_all_children_number(q);
    case ZOP_WHO_AM_I:
        return reads_who_am_i(q);
    default:
        return ZERR_UNIMPLEMENTED;
    }
}

ZK_PRIVATE void reads_serve(struct node *n, uint32_t conn, int32_t xid, int32_t op,
                            struct slice body) {
    struct reads q = {n, conn, node_conn_out(n, conn), jr_open(body, n->max_string),
                      n->db.last_zxid, false};
    /* Catch-up events leave before the reply that acknowledges the watches. */
    bool events_first = op == ZOP_SET_WATCHES || op == ZOP_SET_WATCHES2;
    n->stats.requests++;
    int err = events_first ? reads_dispatch(&q, op) : 0;
    size_t at = reply_begin(q.out);
    if (!events_first) err = reads_dispatch(&q, op);
    if (err && !q.body_and_error) q.out->n = at + 20;
    if (op == ZOP_PING) xid = XID_PING; /* stock: whatever xid the ping had */
    reply_end(n, conn, at, xid, q.zxid, err);
    reply_count(n, conn, xid, op, q.zxid, n->now);
}
