#include "store/snapfile.h"

#include <stdio.h>

#include "base/sum.h"
#include "state/path.h"

#define SNAPFILE_HEADER_LEN 16u
#define SNAPFILE_SEAL_LEN 13u
#define SNAPFILE_DIGEST_LEN 20u

/* --- writing --- */

ZK_PRIVATE void snapfile_put_head(struct buf *out, const struct db *db) {
    buf_put(out, "ZKSN", 4);
    jw_i32(out, 2);
    jw_i64(out, -1);
    snapfile_put_state(out, db);
}

ZK_PRIVATE void snapfile_put_state(struct buf *out, const struct db *db) {
    const struct session_table *t = &db->sessions;
    jw_i32(out, (int32_t)t->committed);
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->slots[i].live || !t->slots[i].committed) continue;
        jw_i64(out, t->slots[i].id);
        jw_i32(out, t->slots[i].timeout);
    }
    size_t at = out->n;
    int32_t lists = 0;
    jw_i32(out, 0);
    for (uint32_t i = 1; i < db->acls.n; i++) {
        if (!db->acls.entries[i].refs) continue;
        jw_i64(out, i);
        jw_raw(out, db->acls.entries[i].bytes);
        lists++;
    }
    put_be32(out->p + at, (uint32_t)lists);
}

static uint32_t snapfile_put_seal(struct buf *out, size_t from, uint32_t adler) {
    adler = sum_adler32(adler, out->p + from, out->n - from);
    from = out->n;
    jw_i64(out, adler);
    jw_str(out, "/");
    return sum_adler32(adler, out->p + from, out->n - from);
}

ZK_PRIVATE void snapfile_put_tail(struct buf *out, uint32_t adler, int64_t zxid, uint64_t digest) {
    size_t from = out->n;
    jw_str(out, "/");
    adler = snapfile_put_seal(out, from, adler);
    from = out->n;
    jw_i64(out, zxid);
    jw_i32(out, 2);
    jw_i64(out, zxid ? (int64_t)digest : 0); /* stock: a fresh tree has the empty digest */
    adler = snapfile_put_seal(out, from, adler);
    from = out->n;
    jw_i64(out, zxid);
    (void)snapfile_put_seal(out, from, adler);
}

/* --- reading --- */

ZK_PRIVATE void snapfile_open(struct snapfile *s, struct db *db, uint32_t max) {
    memset(s, 0, sizeof *s);
    s->db = db;
    db->tree.loading = true;
    s->max = max;
    s->adler = SUM_ADLER32_INIT;
}

ZK_PRIVATE void snapfile_open_stream(struct snapfile *s, struct db *db, uint32_t max) {
    snapfile_open(s, db, max);
    s->stream = true;
    s->section = SNAP_SESSION_COUNT;
}

static bool snapfile_fail(struct snapfile *s, const char *why) {
    if (s->section != SNAP_FAILED) (void)snprintf(s->error, sizeof s->error, "%s", why);
    s->section = SNAP_FAILED;
    return false;
}

static bool snapfile_header(struct snapfile *s, struct jr *r) {
    int32_t magic = jr_i32(r);
    (void)jr_i32(r);
    (void)jr_i64(r);
    if (r->bad) return false;
    if (magic != 0x5a4b534e) return snapfile_fail(s, "not a snapshot: wrong magic number");
    s->section = SNAP_SESSION_COUNT;
    return true;
}

static bool snapfile_count(struct snapfile *s, struct jr *r, enum snapfile_section next) {
    s->left = jr_i32(r);
    if (r->bad) return false;
    if (s->left < 0) return snapfile_fail(s, "negative count");
    s->section = next;
    return true;
}

static bool snapfile_session(struct snapfile *s, struct jr *r) {
    if (s->left == 0) {
        s->section = SNAP_ACL_COUNT;
        return true;
    }
    int64_t id = jr_i64(r);
    int32_t timeout = jr_i32(r);
    if (r->bad) return false;
    if (timeout < 0) return snapfile_fail(s, "negative session timeout");
    struct session_table *t = &s->db->sessions;
    uint32_t i = session_add(t, id, timeout); /* may move the slots */
    struct session *e = &t->slots[i];
    if (!e->committed) t->committed++;
    e->committed = true;
    e->timeout = timeout;
    s->left--;
    return true;
}

static uint32_t *snapfile_acl_slot(struct snapfile *s, int64_t file_id, uint32_t *store) {
    struct map_iter it;
    uint32_t at = map_first(&s->acl_index, hash_u64((uint64_t)file_id), &it);
    for (; at != MAP_NONE; at = map_next(&s->acl_index, &it)) {
        int64_t id;
        memcpy(&id, s->acl_ids.p + at, sizeof id);
        if (id != file_id) continue;
        memcpy(store, s->acl_ids.p + at + sizeof id, sizeof *store);
        return store;
    }
    return NULL;
}

static bool snapfile_acl(struct snapfile *s, struct jr *r) {
    if (s->left == 0) {
        s->section = SNAP_NODES;
        return true;
    }
    int64_t id = jr_i64(r);
    struct slice list = jr_acl(r);
    uint32_t known;
    if (r->bad) return false;
    if (!list.p) return snapfile_fail(s, "null ACL list");
    if (!snapfile_acl_slot(s, id, &known)) {
        uint32_t at = (uint32_t)s->acl_ids.n, mine = acl_intern(&s->db->acls, list);
        buf_put(&s->acl_ids, &id, sizeof id);
        buf_put(&s->acl_ids, &mine, sizeof mine);
        map_add(&s->acl_index, hash_u64((uint64_t)id), at);
    }
    s->left--;
    return true;
}

/*
 * A node whose list is not in the file (stock can lose one in a fuzzy snapshot) gets a list that
 * lets nobody in; the replay of its transaction puts the right one there.
 */
static uint32_t snapfile_node_acl(struct snapfile *s, int64_t file_id) {
    static const uint8_t nobody[] = "\0\0\0\1\0\0\0\0\0\0\0\5world\0\0\0\6anyone";
    uint32_t id;
    if (file_id == -1) return ACL_OPEN;
    if (snapfile_acl_slot(s, file_id, &id)) return acl_ref(&s->db->acls, id);
    s->missing_acls++;
    return acl_intern(&s->db->acls, slice_of(nobody, sizeof nobody - 1));
}

static bool snapfile_add(struct snapfile *s, const struct snapfile_node *n) {
    struct tree *t = &s->db->tree;
    uint32_t parent = TREE_NONE;
    if (path_has_parent(n->path)) {
        parent = tree_parent(t, n->path);
        if (parent == TREE_NONE) return snapfile_fail(s, "a node without its parent");
        struct slice name = path_name(n->path);
        if (!name.n || tree_child(t, parent, name) != TREE_NONE)
            return snapfile_fail(s, "a node twice, or without a name");
    } else if (n->path.n || t->count) {
        return snapfile_fail(s, "a path without a slash");
    }
    if (t->count == 0 && parent != TREE_NONE) return snapfile_fail(s, "the root is missing");
    (void)tree_add(t, parent, n->path, n->data, snapfile_node_acl(s, n->acl), &n->stat);
    s->nodes++;
    return true;
}

/* Adds nodes until so many are left. */
static bool snapfile_add_all_but(struct snapfile *s, uint32_t left) {
    for (; s->ahead_n > left; s->ahead_n--) {
        if (!snapfile_add(s, &s->ahead[s->ahead_first])) return false;
        s->ahead_first = (s->ahead_first + 1) % SNAPFILE_AHEAD;
    }
    return true;
}

static bool snapfile_node(struct snapfile *s, struct jr *r) {
    struct snapfile_node *n = &s->ahead[(s->ahead_first + s->ahead_n) % SNAPFILE_AHEAD];
    struct zstat *st = &n->stat;
    n->path = jr_bytes(r);
    if (r->bad) return false;
    if (!n->path.p) return snapfile_fail(s, "null path");
    if (slice_is(n->path, "/")) {
        s->section = SNAP_SEAL;
        return true;
    }
    n->data = jr_bytes(r);
    n->acl = jr_i64(r);
    st->czxid = jr_i64(r);
    st->mzxid = jr_i64(r);
    st->ctime = jr_i64(r);
    st->mtime = jr_i64(r);
    st->version = jr_i32(r);
    st->cversion = jr_i32(r);
    st->aversion = jr_i32(r);
    st->owner = jr_i64(r);
    st->pzxid = jr_i64(r);
    if (r->bad) return false;
    tree_hint(&s->db->tree, n->path);
    s->ahead_n++;
    return snapfile_add_all_but(s, SNAPFILE_AHEAD - 1);
}

static bool snapfile_check_seal(struct jr *r, uint32_t adler) {
    int64_t sum = jr_i64(r);
    struct slice mark = jr_bytes(r);
    return !r->bad && sum == (int64_t)adler && slice_is(mark, "/");
}

/* Decodes one thing; false when there is not enough yet, or it is wrong. */
static bool snapfile_one(struct snapfile *s, struct jr *r) {
    switch (s->section) {
    case SNAP_HEADER:
        return snapfile_header(s, r);
    case SNAP_SESSION_COUNT:
        return snapfile_count(s, r, SNAP_SESSIONS);
    case SNAP_SESSIONS:
        return snapfile_session(s, r);
    case SNAP_ACL_COUNT:
        return snapfile_count(s, r, SNAP_ACLS);
    case SNAP_ACLS:
        return snapfile_acl(s, r);
    case SNAP_NODES:
        return snapfile_node(s, r);
    default:
        return false;
    }
}

/* Everything is there. */
static bool snapfile_whole(struct snapfile *s) {
    if (tree_lookup(&s->db->tree, slice_str("/")) == TREE_NONE)
        return snapfile_fail(s, "the root is missing");
    quota_rebuild(&s->db->quota, &s->db->tree);
    s->db->tree.loading = false;
    return true;
}

static bool snapfile_signature(struct snapfile *s) {
    struct jr r = jr_open(buf_slice(&s->in), s->max);
    struct slice signature = jr_bytes(&r);
    if (r.bad) return !r.oversize || snapfile_fail(s, "unreasonable length");
    if (!slice_is(signature, "BenWasHere")) return snapfile_fail(s, "the signature is missing");
    if (!snapfile_whole(s)) return false;
    buf_consume(&s->in, signature.n + 4);
    s->section = SNAP_RECEIVED;
    return true;
}

ZK_PRIVATE bool snapfile_feed(struct snapfile *s, struct slice bytes) {
    buf_compact(&s->in);
    buf_put(&s->in, bytes.p, bytes.n);
    struct slice in = buf_slice(&s->in);
    struct jr r = jr_open(in, s->max);
    const uint8_t *done = r.p, *start = r.p;
    while (snapfile_one(s, &r)) done = r.p;
    if (s->section == SNAP_FAILED || !snapfile_add_all_but(s, 0)) return false;
    if (r.oversize) return snapfile_fail(s, "unreasonable length");
    s->adler = sum_adler32(s->adler, start, (size_t)(done - start));
    if (done > start) buf_consume(&s->in, (size_t)(done - start));
    if (s->stream) return s->section != SNAP_SEAL || snapfile_signature(s);
    if (s->section == SNAP_SEAL && buf_len(&s->in) >= SNAPFILE_SEAL_LEN) {
        struct slice seal = slice_of(buf_slice(&s->in).p, SNAPFILE_SEAL_LEN);
        struct jr q = jr_open(seal, s->max);
        if (!snapfile_check_seal(&q, s->adler)) return snapfile_fail(s, "checksum does not match");
        s->adler = sum_adler32(s->adler, seal.p, seal.n);
        buf_consume(&s->in, SNAPFILE_SEAL_LEN);
        s->section = SNAP_TAIL;
    }
    if (s->section == SNAP_TAIL && buf_len(&s->in) > 4096) s->in.n = s->in.head + 4096;
    return true;
}

/* The digest section and the last zxid, told apart by how many bytes are left. */
ZK_PRIVATE bool snapfile_finish(struct snapfile *s) {
    if (s->section == SNAP_FAILED) return false;
    if (s->section != SNAP_TAIL) return snapfile_fail(s, "the file ends too early");
    struct slice tail = buf_slice(&s->in);
    struct jr r = jr_open(tail, s->max);
    if (tail.n >= SNAPFILE_DIGEST_LEN + SNAPFILE_SEAL_LEN) {
        s->digest_zxid = jr_i64(&r);
        int32_t version = jr_i32(&r);
        s->digest = (uint64_t)jr_i64(&r);
        s->has_digest = version == 2;
        uint32_t adler = sum_adler32(s->adler, tail.p, SNAPFILE_DIGEST_LEN);
        if (version >= 2 && !snapfile_check_seal(&r, adler))
            return snapfile_fail(s, "checksum of the digest does not match");
    }
    return snapfile_whole(s);
}

ZK_PRIVATE void snapfile_close(struct snapfile *s) {
    for (size_t at = 0; at < s->acl_ids.n; at += 12) {
        uint32_t id;
        memcpy(&id, s->acl_ids.p + at + 8, sizeof id);
        acl_unref(&s->db->acls, id); /* lists that no node uses go away here */
    }
    buf_free(&s->in);
    buf_free(&s->acl_ids);
    map_free(&s->acl_index);
}
