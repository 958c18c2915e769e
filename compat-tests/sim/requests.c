/*
 * What clients ask, and what they hold the answers to.
 *
 *   session order    replies come in the order of the requests, events in their place among them
 *   zxid             of a session, never goes back
 *   writes           an acknowledged one is committed, at the zxid of the reply, as what was asked
 *   reads            show the path as the committed history has it at the zxid of the reply
 *   watches          fire once, for the first change after they were left, before a reply shows it
 *   expiry           not before the timeout has passed in silence
 */
#include <stdio.h>

#include "caller.h"

#define XID_SET_WATCHES (-8)
#define X(zxid) ((unsigned long long)(zxid))

static const uint8_t acl_open[] = {0, 0, 0, 1, 0, 0, 0, 31, 0, 0, 0, 5, 'w', 'o', 'r', 'l', 'd',
                                   0, 0, 0, 6, 'a', 'n', 'y', 'o', 'n', 'e'};

/* --- asking --- */

static void request_path(char out[CALLER_PATH]) {
    unsigned top = (unsigned)rnd(sim.t.paths), child = (unsigned)rnd(4);
    if (chance(500))
        (void)snprintf(out, CALLER_PATH, "/n%u", top);
    else
        (void)snprintf(out, CALLER_PATH, "/n%u/c%u", top, child);
}

static void put_create(struct buf *b, const char *path, struct slice data, int32_t flags) {
    jw_str(b, path);
    jw_bytes(b, data);
    buf_put(b, acl_open, sizeof acl_open);
    jw_i32(b, flags);
}

static struct slice request_data(struct caller *c, char out[64]) {
    int n = snprintf(out, 64, "c%u.%u w%llu", c->id, c->life, (unsigned long long)c->writes++);
    return slice_of(out, (size_t)n + (chance(100) ? 20 : 0));
}

static void put_multi_part(struct caller *c, struct buf *b) {
    char path[CALLER_PATH], data[64] = "";
    request_path(path);
    int32_t mode = (int32_t)rnd(2);
    switch (rnd(4)) {
    case 0:
        jw_multi_header(b, ZOP_CREATE, false, -1);
        put_create(b, path, request_data(c, data), mode);
        break;
    case 1:
        jw_multi_header(b, ZOP_DELETE, false, -1);
        jw_str(b, path);
        jw_i32(b, -1);
        break;
    case 2:
        jw_multi_header(b, ZOP_CHECK, false, -1);
        jw_str(b, path);
        jw_i32(b, chance(700) ? -1 : (int32_t)rnd(3));
        break;
    default:
        jw_multi_header(b, ZOP_SET_DATA, false, -1);
        jw_str(b, path);
        jw_bytes(b, request_data(c, data));
        jw_i32(b, -1);
        break;
    }
}

static void put_body(struct caller *c, struct caller_pending *p, struct buf *b) {
    char data[64] = "";
    switch (p->op) {
    case ZOP_CREATE:
    case ZOP_CREATE2: {
        static const int32_t modes[] = {0, 0, 0, 1, 1, 2, 3};
        int32_t mode = modes[rnd(sizeof modes / sizeof *modes)];
        if (mode >= 2) (void)snprintf(p->path, CALLER_PATH, "/n%u/q", (unsigned)rnd(sim.t.paths));
        put_create(b, p->path, request_data(c, data), mode);
        break;
    }
    case ZOP_DELETE:
        jw_str(b, p->path);
        jw_i32(b, chance(800) ? -1 : (int32_t)rnd(3));
        break;
    case ZOP_SET_DATA:
        jw_str(b, p->path);
        jw_bytes(b, request_data(c, data));
        jw_i32(b, chance(800) ? -1 : (int32_t)rnd(3));
        break;
    case ZOP_MULTI:
        for (uint64_t n = 1 + rnd(4); n > 0; n--) put_multi_part(c, b);
        jw_multi_header(b, -1, true, -1);
        break;
    case ZOP_SYNC:
        jw_str(b, p->path);
        break;
    case ZOP_CLOSE_SESSION:
        break;
    default: /* reads */
        jw_str(b, p->path);
        jw_u8(b, p->watch);
        break;
    }
}

/* A sequential node that exists, so that directories do not grow for ever. */
static bool request_old_node(char path[CALLER_PATH]) {
    char parent[16];
    (void)snprintf(parent, sizeof parent, "/n%u", (unsigned)rnd(sim.t.paths));
    const struct version *v = record_at(slice_str(parent), sim.record.tip);
    if (!v || !v->exists || v->children < 8) return false;
    int32_t next = (int32_t)be32(v->stat + 44); /* cversion: about the last number used */
    (void)snprintf(path, CALLER_PATH, "%s/q%010d", parent, (int)rnd((uint64_t)next / 2 + 1));
    return true;
}

void caller_request(struct caller *c) {
    static const int32_t ops[] = {
        ZOP_CREATE, ZOP_CREATE, ZOP_CREATE2, ZOP_CREATE2, ZOP_DELETE, ZOP_DELETE, ZOP_DELETE,
        ZOP_SET_DATA, ZOP_SET_DATA, ZOP_SET_DATA, ZOP_SET_DATA, ZOP_SET_DATA, ZOP_MULTI, ZOP_MULTI,
        ZOP_GET_DATA, ZOP_GET_DATA, ZOP_GET_DATA, ZOP_GET_DATA, ZOP_EXISTS, ZOP_EXISTS,
        ZOP_GET_CHILDREN2, ZOP_GET_CHILDREN2, ZOP_SYNC};
    struct caller_pending p = {.xid = ++c->xid, .sent = sim.now};
    p.op = ops[rnd(sizeof ops / sizeof *ops)];
    if (chance(3)) p.op = ZOP_CLOSE_SESSION;
    p.watch = chance(400);
    p.least = sim.acked_zxid;
    p.epoch = record_last_epoch();
    request_path(p.path);
    if (p.op == ZOP_DELETE && chance(600)) (void)request_old_node(p.path);
    struct buf *b = caller_begin(c, p.xid, p.op);
    put_body(c, &p, b);
    c->closing_session = p.op == ZOP_CLOSE_SESSION;
    if (!c->depth) buf_clear(&c->pending);
    buf_put(&c->pending, &p, sizeof p);
    c->depth++;
    caller_end(c);
}

static void put_watches(struct caller *c, struct buf *b, enum watch_kind kind) {
    const struct caller_watch *w = (const struct caller_watch *)(const void *)c->watches.p;
    size_t n = c->watches.n / sizeof *w, at = b->n;
    int32_t count = 0;
    jw_i32(b, 0);
    for (size_t i = 0; i < n; i++) {
        if (w[i].kind != kind) continue;
        jw_str(b, w[i].path);
        count++;
    }
    put_be32(b->p + at, (uint32_t)count);
}

void caller_set_watches(struct caller *c) {
    struct buf *b = caller_begin(c, XID_SET_WATCHES, ZOP_SET_WATCHES);
    jw_i64(b, c->last_zxid);
    put_watches(c, b, WATCHES_DATA);
    put_watches(c, b, WATCHES_EXIST);
    put_watches(c, b, WATCHES_CHILD);
    caller_end(c);
    c->rewatching = true;
    c->watches_since = c->last_zxid;
}

/* --- watches --- */

static struct caller_watch *watch_list(struct caller *c, size_t *n) {
    *n = c->watches.n / sizeof(struct caller_watch);
    return (struct caller_watch *)(void *)c->watches.p;
}

static void watch_leave(struct caller *c, const char *path, enum watch_kind kind, int64_t zxid) {
    struct caller_watch fresh = {.kind = kind, .zxid = zxid};
    size_t n;
    struct caller_watch *w = watch_list(c, &n);
    for (size_t i = 0; i < n; i++)
        if (w[i].kind == kind && strcmp(w[i].path, path) == 0) return;
    memcpy(fresh.path, path, CALLER_PATH);
    buf_put(&c->watches, &fresh, sizeof fresh);
}

/* Whether the step from one version to the next is what a watch waits for. */
static bool watch_sees(enum watch_kind kind, const struct version *a, const struct version *b) {
    bool was = a && a->exists, is = b->exists;
    if (was != is) return kind != WATCHES_CHILD || !is;
    if (!is) return false;
    if (a->czxid != b->czxid) return true;
    return kind == WATCHES_CHILD ? a->pzxid != b->pzxid : a->mzxid != b->mzxid;
}

/* The zxid at which the watch has to fire; INT64_MAX: not yet. */
static int64_t watch_due(const struct caller_watch *w) {
    struct slice path = slice_str(w->path);
    const struct version *a = record_at(path, w->zxid), *b = record_next(path, w->zxid);
    for (; b; a = b, b = record_next(path, b->zxid))
        if (watch_sees(w->kind, a, b)) return b->zxid;
    return INT64_MAX;
}

/* No reply may show what a watch has not told. */
static void watch_check(struct caller *c, int64_t zxid) {
    size_t n;
    const struct caller_watch *w = watch_list(c, &n);
    for (size_t i = 0; i < n && !c->rewatching; i++)
        if (watch_due(&w[i]) <= zxid)
            sim_fail("watch", "c%u sees 0x%llx before the event of %s at 0x%llx", c->id, X(zxid),
                     w[i].path, X(watch_due(&w[i])));
}

static bool watch_hears(enum watch_kind kind, int32_t type) {
    if (type == EVENT_DELETED) return true;
    return type == EVENT_CHILDREN_CHANGED ? kind == WATCHES_CHILD : kind != WATCHES_CHILD;
}

/* A multi may make and delete a node: the watch hears of it, and nothing is to be seen. */
static bool watch_passing(const struct caller_watch *w, int64_t zxid) {
    const struct version *v = record_next(slice_str(w->path), zxid - 1);
    return watch_due(w) > zxid && v && v->zxid == zxid;
}

/* zxid -1: an event made up for after a reconnect, one for each watch. */
static void watch_fired(struct caller *c, int64_t zxid, struct jr *r) {
    int32_t type = jr_i32(r);
    (void)jr_i32(r);
    struct slice path = jr_bytes(r);
    size_t n, heard = 0, kept = 0;
    struct caller_watch *w = watch_list(c, &n);
    story("c%u: event %d of %.*s at 0x%llx", c->id, type, (int)path.n, (const char *)path.p,
          X(zxid));
    for (size_t i = 0; i < n; i++) {
        struct caller_watch k = w[i];
        bool over = zxid == -1 && heard;
        if (over || !slice_is(path, k.path) || !watch_hears(k.kind, type)) {
            w[kept++] = k;
            continue;
        }
        heard++;
        int64_t due = watch_due(&k);
        if (zxid > 0 && due != zxid && !watch_passing(&k, zxid))
            sim_fail("watch", "c%u: event of %s at 0x%llx, the first change is at 0x%llx", c->id,
                     k.path, X(zxid), X(due));
        if (zxid == -1 && due > sim.record.tip)
            sim_fail("watch", "c%u: event of %s, which has not changed", c->id, k.path);
    }
    c->watches.n = kept * sizeof *w;
    sim.events_seen++;
    if (!heard || r->bad)
        sim_fail("watch", "c%u: event %d of %.*s that nobody waits for", c->id, type, (int)path.n,
                 (const char *)path.p);
}

/* After a reconnect: what was missed has been told by now, the rest waits again. */
static void watch_again(struct caller *c, int64_t zxid) {
    size_t n;
    struct caller_watch *w = watch_list(c, &n);
    for (size_t i = 0; i < n; i++) {
        const struct version *v = record_at(slice_str(w[i].path), zxid);
        bool is = v && v->exists;
        bool missed = w[i].kind == WATCHES_EXIST ? is
                      : w[i].kind == WATCHES_DATA ? !is || v->mzxid > c->watches_since
                                                  : !is || v->pzxid > c->watches_since;
        if (missed) sim_fail("watch", "c%u: the event of %s was not made up for", c->id, w[i].path);
        if (zxid > w[i].zxid) w[i].zxid = zxid;
    }
    c->rewatching = false;
}

/* --- replies --- */

static void reply_write(struct caller *c, const struct caller_pending *p, int64_t zxid,
                        int32_t err) {
    const struct known *t = record_request(c->session, p->xid);
    if (!t) {
        if (!err) sim_fail("durability", "c%u: request %d is acknowledged and in no log", c->id,
                           p->xid);
        return;
    }
    if (!t->committed || t->zxid != zxid)
        sim_fail("durability", "c%u: request %d is answered at 0x%llx, it is 0x%llx and %s", c->id,
                 p->xid, X(zxid), X(t->zxid), t->committed ? "committed" : "not committed");
    if ((t->type == ZOP_ERROR) != (err != 0))
        sim_fail("durability", "c%u: request %d is answered with %d, its transaction is of type %d",
                 c->id, p->xid, err, t->type);
    c->acked_at = sim.now;
    if (zxid > sim.acked_zxid) sim.acked_zxid = zxid;
    sim.acked++;
}

static void read_children(struct caller *c, const struct caller_pending *p, struct jr *r,
                          const struct version *v) {
    uint64_t names = 0;
    int32_t n = jr_count(r);
    for (int32_t i = 0; i < n && !r->bad; i++) names += record_name_hash(jr_bytes(r));
    if (r->bad || n != (int32_t)v->children || names != v->names)
        sim_fail("read", "c%u: the children of %s are others", c->id, p->path);
}

static void reply_read(struct caller *c, const struct caller_pending *p, int64_t zxid, int32_t err,
                       struct jr *r) {
    const struct version *v = record_at(slice_str(p->path), zxid);
    bool is = v && v->exists;
    if (zxid > sim.record.tip)
        sim_fail("read", "c%u: a read at 0x%llx, beyond all that is committed", c->id, X(zxid));
    if ((err != 0) == is || (err && err != ZERR_NONODE))
        sim_fail("read", "c%u: %s is answered with %d at 0x%llx", c->id, p->path, err, X(zxid));
    if (!err) {
        if (p->op == ZOP_GET_CHILDREN2) read_children(c, p, r, v);
        if (p->op == ZOP_GET_DATA) {
            struct slice data = jr_bytes(r);
            if (slice_hash(data, data.p != NULL) != v->data)
                sim_fail("read", "c%u: %s holds other data at 0x%llx", c->id, p->path, X(zxid));
        }
        if (jr_left(r) != WIRE_STAT_LEN || memcmp(r->p, v->stat, WIRE_STAT_LEN) != 0)
            sim_fail("read", "c%u: %s has another stat at 0x%llx", c->id, p->path, X(zxid));
    }
    sim.reads++;
    if (!p->watch || (err && p->op != ZOP_EXISTS)) return;
    watch_leave(c, p->path,
                p->op == ZOP_GET_CHILDREN2 ? WATCHES_CHILD : err ? WATCHES_EXIST : WATCHES_DATA,
                zxid);
}

/* What anybody had been told before is to be seen after, unless the leader was a deposed one, which
 * answers until it notices. stock: as well */
static void reply_sync(struct caller *c, const struct caller_pending *p, int64_t zxid) {
    int64_t last = record_last_epoch();
    if (sim.servers[c->server].node.role.current != last) return;
    if (p->epoch == last && p->epoch == p->least >> 32 && zxid < p->least)
        sim_fail("sync", "c%u: a sync ends at 0x%llx, 0x%llx was acknowledged before it", c->id,
                 X(zxid), X(p->least));
}

static void reply_answer(struct caller *c, int32_t xid, int64_t zxid, int32_t err, struct jr *r) {
    struct caller_pending p;
    if (!c->depth) sim_fail("session order", "c%u: reply %d to nothing", c->id, xid);
    memcpy(&p, c->pending.p + c->pending.head, sizeof p);
    buf_consume(&c->pending, sizeof p);
    c->depth--;
    if (p.xid != xid)
        sim_fail("session order", "c%u: reply %d, %d comes first", c->id, xid, p.xid);
    c->answered[c->n_answered++ % CALLER_ANSWERS] = p.sent;
    if (err == ZERR_SESSIONEXPIRED || err == ZERR_SESSIONMOVED) {
        story("c%u is told %d", c->id, err);
        return;
    }
    if (zxid < c->last_zxid)
        sim_fail("zxid", "c%u: reply at 0x%llx after 0x%llx", c->id, X(zxid), X(c->last_zxid));
    c->last_zxid = zxid;
    story("c%u: %d (op %d %s) is answered with %d at 0x%llx", c->id, xid, p.op, p.path, err,
          X(zxid));
    if (p.op == ZOP_SYNC) {
        reply_sync(c, &p, zxid);
        return;
    }
    watch_check(c, zxid);
    if (wire_op_flags(p.op) & OP_WRITE)
        reply_write(c, &p, zxid, err);
    else
        reply_read(c, &p, zxid, err, r);
}

void caller_reply(struct caller *c, struct slice frame) {
    struct jr r = jr_open(frame, 1u << 24);
    int32_t xid = jr_i32(&r);
    int64_t zxid = jr_i64(&r);
    int32_t err = jr_i32(&r);
    story_mix((uint64_t)zxid ^ (uint64_t)(uint32_t)xid << 32);
    if (r.bad) sim_fail("protocol", "c%u: a reply without a header", c->id);
    if (xid == XID_EVENT) {
        watch_fired(c, zxid, &r);
    } else if (xid == XID_PING) {
        if (zxid < c->last_zxid) sim_fail("zxid", "c%u: a ping's goes back", c->id);
        watch_check(c, zxid);
    } else if (xid == XID_SET_WATCHES) {
        watch_again(c, zxid);
    } else {
        reply_answer(c, xid, zxid, err, &r);
    }
}

/* --- expiry --- */

void caller_expired(struct caller *c) {
    story("c%u is told that session 0x%llx is gone", c->id, X(c->session));
    const struct known *t = record_txn(record_session(c->session)->died);
    if (t && t->cxid == 0) {
        int64_t slack = sim.t.standalone ? 1 * SEC / 20 : sim.t.sync_limit * sim.t.tick * MS + SEC;
        int64_t last = 0;
        for (int i = 0; i < CALLER_ANSWERS; i++)
            if (c->answered[i] < t->proposed_at && c->answered[i] > last) last = c->answered[i];
        int64_t silent = t->proposed_at - last;
        slack += c->timeout * MS / 100;
        if (last && silent + slack < c->timeout * MS)
            sim_fail("expiry", "c%u: expired after %lld ms of silence, its timeout is %d", c->id,
                     (long long)(silent / MS), c->timeout);
    }
}
