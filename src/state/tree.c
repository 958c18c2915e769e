#include "state/tree.h"

#include "base/sum.h"
#include "state/path.h"

#define TREE_CHUNK 512u
#define TREE_MIN_BUCKETS 64u
#define TREE_MORE 0x80000000u
#define TREE_DIGESTED 60u /* bytes of a stat that go into its node's digest */
#define TREE_FAR 16384u /* nodes: larger trees do not stay in a processor's cache */

_Static_assert(TREE_CHUNK * sizeof(struct tree_node) <= SLAB_CHUNK, "a chunk of nodes is one");

static const struct tree_head TREE_EMPTY = {TREE_NONE, 0};

/* --- records --- */

ZK_PRIVATE struct tree_node *tree_node(const struct tree *t, uint32_t id) {
    return &t->chunks[id / TREE_CHUNK][id % TREE_CHUNK];
}

static uint32_t tree_new_id(struct tree *t) {
    uint32_t id = t->free_list;
    if (id != TREE_NONE) {
        t->free_list = tree_node(t, id)->next;
        return id;
    }
    ZK_ASSERT(t->n_ids < TREE_NONE - 1);
    if (t->n_ids == t->n_chunks * TREE_CHUNK) {
        if ((t->n_chunks & (t->n_chunks - 1)) == 0) /* the table doubles at powers of two */
            t->chunks = mem_realloc(t->chunks,
                                    sizeof *t->chunks * (t->n_chunks ? t->n_chunks * 2 : 1));
        t->chunks[t->n_chunks++] = slab_chunk(&t->slab);
    }
    return t->n_ids++;
}

static size_t tree_block_len(uint32_t name_len, int32_t data_len) {
    return name_len + (data_len > 0 ? (size_t)data_len : 0);
}

ZK_PRIVATE struct slice tree_name(const struct tree_node *n) {
    return slice_of(n->block, n->name_len);
}

ZK_PRIVATE struct slice tree_data(const struct tree_node *n) {
    static const uint8_t empty[1] = {0};
    if (n->data_len < 0) return slice_of(NULL, 0);
    if (n->data_len == 0) return slice_of(empty, 0);
    return slice_of(n->block + n->name_len, (size_t)n->data_len);
}

/* --- hash index: linear hashing --- */

static uint32_t tree_hash(const struct tree *t, uint32_t parent, struct slice name) {
    return (uint32_t)slice_hash(name, t->seed + parent * 0x9e3779b97f4a7c15u);
}

static uint32_t tree_bucket(const struct tree *t, uint32_t hash) {
    uint32_t b = hash & (t->mask_low * 2 + 1);
    return b < t->n_buckets ? b : hash & t->mask_low;
}

/* What a hash leaves in the tag of a bucket with several nodes; of two hashes rarely the same. */
static uint32_t tree_marks(uint32_t hash) {
    return TREE_MORE | 1u << (hash >> 21 & 31) | 1u << (hash >> 26 & 31);
}

static void tree_index(struct tree *t, uint32_t id, struct tree_node *n) {
    struct tree_head *head = &t->heads[tree_bucket(t, n->hash)];
    n->hash_next = head->id;
    if (head->id == TREE_NONE)
        head->tag = n->hash & ~TREE_MORE;
    else
        head->tag = tree_marks(n->hash) |
                    (head->tag & TREE_MORE ? head->tag : tree_marks(head->tag));
    head->id = id;
}

/* Indexes a chain anew, but for one of its nodes. */
static void tree_reindex(struct tree *t, uint32_t first, uint32_t without) {
    for (uint32_t id = first; id != TREE_NONE;) {
        struct tree_node *n = tree_node(t, id);
        uint32_t next = n->hash_next;
        if (id != without) tree_index(t, id, n);
        id = next;
    }
}

/* Adds one bucket, taking its nodes from the bucket that it halves. */
static void tree_split_bucket(struct tree *t) {
    if (t->n_buckets == t->heads_cap) {
        t->heads_cap *= 2;
        t->heads = mem_realloc(t->heads, sizeof *t->heads * t->heads_cap);
    }
    uint32_t fresh = t->n_buckets, from = fresh & t->mask_low;
    struct tree_head old = t->heads[from];
    t->heads[from] = t->heads[fresh] = TREE_EMPTY;
    t->n_buckets++;
    if (old.id != TREE_NONE && !(old.tag & TREE_MORE)) /* it need not be looked at */
        t->heads[tree_bucket(t, old.tag)] = old;
    else
        tree_reindex(t, old.id, TREE_NONE);
    if (t->n_buckets == (t->mask_low + 1) * 2) t->mask_low = t->mask_low * 2 + 1;
}

/* Doubles the table. The nodes are taken in the order of memory, which is several times as fast for
 * all of them as one bucket at a time is. */
static void tree_double_buckets(struct tree *t) {
    t->n_buckets = t->heads_cap = (t->mask_low + 1) * 2;
    t->mask_low = t->n_buckets - 1;
    t->heads = mem_realloc(t->heads, sizeof *t->heads * t->heads_cap);
    for (uint32_t i = 0; i < t->n_buckets; i++) t->heads[i] = TREE_EMPTY;
    for (uint32_t id = TREE_ROOT + 1; id < t->n_ids; id++) {
        struct tree_node *n = tree_node(t, id);
        if (n->flags & TREE_LIVE) tree_index(t, id, n);
    }
}

static void tree_unindex(struct tree *t, uint32_t id, const struct tree_node *n) {
    struct tree_head *head = &t->heads[tree_bucket(t, n->hash)], old = *head;
    *head = TREE_EMPTY;
    tree_reindex(t, old.id, id);
}

/* Whether there may be a node with that hash in the bucket. */
static bool tree_head_may_lead(struct tree_head head, uint32_t hash) {
    if (head.id == TREE_NONE) return false;
    if (head.tag & TREE_MORE) return (head.tag & tree_marks(hash)) == tree_marks(hash);
    return head.tag == (hash & ~TREE_MORE);
}

/* What is asked for often is found at the front, whatever came into its bucket later. */
static void tree_to_front(struct tree_head *head, uint32_t id, struct tree_node *n,
                          struct tree_node *before) {
    before->hash_next = n->hash_next;
    n->hash_next = head->id;
    head->id = id;
}

ZK_PRIVATE uint32_t tree_child(const struct tree *t, uint32_t parent, struct slice name) {
    uint32_t hash = tree_hash(t, parent, name);
    struct tree_head *head = &t->heads[tree_bucket(t, hash)];
    struct tree_node *before = NULL;
    uint32_t id = tree_head_may_lead(*head, hash) ? head->id : TREE_NONE;
    while (id != TREE_NONE) {
        struct tree_node *n = tree_node(t, id);
        if (n->hash == hash && n->parent == parent && slice_eq(tree_name(n), name)) {
            if (before) tree_to_front(head, id, n, before);
            break;
        }
        before = n;
        id = n->hash_next;
    }
    return id;
}

ZK_PRIVATE uint32_t tree_lookup(const struct tree *t, struct slice path) {
    if (t->count == 0) return TREE_NONE;
    path = path_key(path);
    if (path.n == 0) return TREE_ROOT;
    if (path.p[0] != '/') return TREE_NONE;
    uint32_t id = TREE_ROOT;
    const uint8_t *p = path.p + 1, *end = path.p + path.n;
    for (;;) {
        const uint8_t *slash = p < end ? memchr(p, '/', (size_t)(end - p)) : NULL;
        const uint8_t *stop = slash ? slash : end;
        if (stop == p) return TREE_NONE; /* no node has an empty name */
        id = tree_child(t, id, slice_of(p, (size_t)(stop - p)));
        if (id == TREE_NONE || !slash) return id;
        p = slash + 1;
    }
}

ZK_PRIVATE uint32_t tree_parent(struct tree *t, struct slice path) {
    if (!path_has_parent(path)) return TREE_NONE;
    struct slice parent = path_parent(path);
    if (t->parent != TREE_NONE && slice_eq(parent, buf_slice(&t->parent_path))) return t->parent;
    uint32_t id = tree_lookup(t, parent);
    if (id == TREE_NONE) return id;
    t->parent = id;
    buf_clear(&t->parent_path);
    buf_put(&t->parent_path, parent.p, parent.n);
    return id;
}

ZK_PRIVATE void tree_hint(struct tree *t, struct slice path) {
#if defined __GNUC__
    uint32_t parent = t->count < TREE_FAR ? TREE_NONE : tree_parent(t, path);
    if (parent == TREE_NONE) return;
    __builtin_prefetch(&t->heads[tree_bucket(t, tree_hash(t, parent, path_name(path)))]);
#else
    (void)t, (void)path;
#endif
}

/* --- owners --- */

ZK_PRIVATE enum tree_owner_kind tree_owner_kind(const struct tree *t, int64_t owner) {
    if (owner == 0) return OWNER_NONE;
    if (owner == OWNER_CONTAINER) return OWNER_IS_CONTAINER;
    if (t->extended_types) {
        if ((uint64_t)owner >> 40 == 0xff0000) return OWNER_TTL;
        if (t->emulate353 && owner < 0) return OWNER_TTL;
    }
    return OWNER_SESSION;
}

ZK_PRIVATE int64_t tree_ttl_ms(int64_t owner) {
    if ((uint64_t)owner >> 40 == 0xff0000) return owner & TTL_MAX_MS;
    return owner & INT64_MAX; /* the 3.5.3 form: sign bit and milliseconds */
}

static uint32_t tree_owner_find(const struct tree *t, int64_t session) {
    struct map_iter it;
    uint32_t i = map_first(&t->owner_index, hash_u64((uint64_t)session), &it);
    for (; i != MAP_NONE; i = map_next(&t->owner_index, &it))
        if (t->owners[i].session == session) return i;
    return MAP_NONE;
}

ZK_PRIVATE const struct idset *tree_owned(const struct tree *t, int64_t session) {
    uint32_t i = tree_owner_find(t, session);
    return i == MAP_NONE ? NULL : &t->owners[i].nodes;
}

static void tree_own(struct tree *t, int64_t session, uint32_t id) {
    uint32_t i = tree_owner_find(t, session);
    if (i == MAP_NONE) {
        i = t->free_owner;
        if (i != TREE_NONE) {
            t->free_owner = (uint32_t)t->owners[i].session;
        } else {
            if (t->n_owners == t->owners_cap) {
                t->owners_cap = t->owners_cap ? t->owners_cap * 2 : 16;
                t->owners = mem_realloc(t->owners, sizeof *t->owners * t->owners_cap);
            }
            i = t->n_owners++;
        }
        memset(&t->owners[i], 0, sizeof t->owners[i]);
        t->owners[i].session = session;
        map_add(&t->owner_index, hash_u64((uint64_t)session), i);
        t->live_owners++;
    }
    if (idset_add(&t->owners[i].nodes, id)) t->ephemerals++;
}

static void tree_disown(struct tree *t, int64_t session, uint32_t id) {
    uint32_t i = tree_owner_find(t, session);
    ZK_ASSERT(i != MAP_NONE);
    if (idset_del(&t->owners[i].nodes, id)) t->ephemerals--;
    if (t->owners[i].nodes.count) return;
    map_del(&t->owner_index, hash_u64((uint64_t)session), i);
    idset_free(&t->owners[i].nodes);
    t->owners[i].session = t->free_owner;
    t->free_owner = i;
    t->live_owners--;
}

static void tree_track_owner(struct tree *t, uint32_t id, int64_t owner, bool add) {
    struct idset *set = NULL;
    switch (tree_owner_kind(t, owner)) {
    case OWNER_NONE:
        return;
    case OWNER_SESSION:
        if (add)
            tree_own(t, owner, id);
        else
            tree_disown(t, owner, id);
        return;
    case OWNER_IS_CONTAINER:
        set = &t->containers;
        break;
    case OWNER_TTL:
        set = &t->ttls;
        break;
    }
    if (add)
        (void)idset_add(set, id);
    else
        (void)idset_del(set, id);
}

/* --- digest --- */

static void tree_put_digested(uint8_t b[TREE_DIGESTED], const struct zstat *s) {
    put_be64(b, (uint64_t)s->czxid);
    put_be64(b + 8, (uint64_t)s->mzxid);
    put_be64(b + 16, (uint64_t)s->pzxid);
    put_be64(b + 24, (uint64_t)s->ctime);
    put_be64(b + 32, (uint64_t)s->mtime);
    put_be32(b + 40, (uint32_t)s->version);
    put_be32(b + 44, (uint32_t)s->cversion);
    put_be32(b + 48, (uint32_t)s->aversion);
    put_be64(b + 52, (uint64_t)s->owner);
}

ZK_PRIVATE uint32_t tree_digest_of(struct slice path, struct slice data, const struct zstat *s) {
    uint8_t b[TREE_DIGESTED];
    if (tree_digest_excluded(path)) return 0;
    path = path_key(path);
    tree_put_digested(b, s);
    return sum_crc32(sum_crc32(sum_crc32(0, path.p, path.n), data.p, data.n), b, sizeof b);
}

/* A CRC is linear: those of two texts of one length differ by the remainder, which begins with
 * nothing and is not inverted, of the bits in which the texts differ. */
ZK_PRIVATE uint32_t tree_digest_moved(uint32_t digest, const struct zstat *from,
                                      const struct zstat *to) {
    uint8_t a[TREE_DIGESTED], b[TREE_DIGESTED];
    tree_put_digested(a, from);
    tree_put_digested(b, to);
    for (size_t i = 0; i < sizeof a; i++) a[i] ^= b[i];
    return digest ^ ~sum_crc32(UINT32_MAX, a, sizeof a);
}

ZK_PRIVATE bool tree_digest_excluded(struct slice path) {
    return path_is_under(path, "/zookeeper");
}

/* --- image --- */

/* The path of a node; siblings come one after the other, so the parent's path is kept. */
static void tree_image_path(struct tree *t, const struct tree_node *n, uint32_t id) {
    struct buf *path = &t->image.path;
    if (id == TREE_ROOT) {
        buf_clear(path);
        t->image.path_of = TREE_NONE;
        return;
    }
    uint32_t parent = n->parent;
    if (t->image.path_of != parent) {
        buf_clear(path);
        tree_put_path(t, parent, path);
        t->image.path_of = parent;
        t->image.path_of_len = path->n;
    }
    path->n = t->image.path_of_len;
    buf_putc(path, '/');
    buf_put(path, n->block, n->name_len);
}

static void tree_image_put(struct tree *t, uint32_t id, struct tree_node *n) {
    struct buf *out = &t->image.out;
    tree_image_path(t, n, id);
    struct slice path = slice_of(t->image.path.p ? t->image.path.p : n->block, t->image.path.n);
    struct slice data = tree_data(n);
    uint8_t *p = buf_reserve(out, path.n + data.n + 76);
    put_be32(p, (uint32_t)path.n);
    p += 4;
    if (path.n) memcpy(p, path.p, path.n);
    p += path.n;
    put_be32(p, (uint32_t)n->data_len);
    p += 4;
    if (data.n) memcpy(p, data.p, data.n);
    p += data.n;
    put_be64(p, n->acl ? (uint64_t)n->acl : UINT64_MAX);
    put_be64(p + 8, (uint64_t)n->stat.czxid);
    put_be64(p + 16, (uint64_t)n->stat.mzxid);
    put_be64(p + 24, (uint64_t)n->stat.ctime);
    put_be64(p + 32, (uint64_t)n->stat.mtime);
    put_be32(p + 40, (uint32_t)n->stat.version);
    put_be32(p + 44, (uint32_t)n->stat.cversion);
    put_be32(p + 48, (uint32_t)n->stat.aversion);
    put_be64(p + 52, (uint64_t)n->stat.owner);
    put_be64(p + 60, (uint64_t)n->stat.pzxid);
    out->n += path.n + data.n + 76;
    n->flags = (n->flags & ~(uint32_t)TREE_MARK) | t->image.mark;
    t->image.emitted++;
}

static bool tree_emitted(const struct tree *t, const struct tree_node *n) {
    return (n->flags & TREE_MARK) == t->image.mark;
}

static void tree_emit(struct tree *t, uint32_t id) {
    struct tree_node *n = tree_node(t, id);
    if (id != TREE_ROOT && !tree_emitted(t, tree_node(t, n->parent))) {
        struct buf *chain = &t->image.scratch;
        buf_clear(chain);
        for (uint32_t up = n->parent; !tree_emitted(t, tree_node(t, up));) {
            buf_put(chain, &up, sizeof up);
            if (up == TREE_ROOT) break;
            up = tree_node(t, up)->parent;
        }
        for (size_t left = chain->n; left;) {
            uint32_t up;
            left -= sizeof up;
            memcpy(&up, chain->p + left, sizeof up);
            tree_image_put(t, up, tree_node(t, up));
        }
    }
    tree_image_put(t, id, n);
}

/* Called before any change of a node: the image must see it as it was. */
static void tree_touch(struct tree *t, uint32_t id) {
    if (t->image.active && !tree_emitted(t, tree_node(t, id))) tree_emit(t, id);
}

ZK_PRIVATE void tree_image_begin(struct tree *t) {
    ZK_ASSERT(!t->image.active);
    t->image.active = true;
    t->image.mark ^= TREE_MARK;
    t->image.cursor = 0;
    t->image.limit = t->n_ids;
    t->image.emitted = 0;
    t->image.path_of = TREE_NONE;
    buf_clear(&t->image.out);
}

ZK_PRIVATE bool tree_image_step(struct tree *t, uint32_t nodes, size_t bytes) {
    ZK_ASSERT(t->image.active);
    for (; nodes && t->image.cursor < t->image.limit; nodes--, t->image.cursor++) {
        if (buf_len(&t->image.out) >= bytes) return false;
        struct tree_node *n = tree_node(t, t->image.cursor);
        if ((n->flags & TREE_LIVE) && !tree_emitted(t, n)) tree_emit(t, t->image.cursor);
    }
    if (t->image.cursor < t->image.limit) return false;
    t->image.active = false;
    return true;
}

ZK_PRIVATE void tree_image_abort(struct tree *t) {
    /* Marks must mean "emitted" everywhere before the next image flips them. */
    for (uint32_t id = 0; id < t->n_ids; id++) {
        struct tree_node *n = tree_node(t, id);
        n->flags = (n->flags & ~(uint32_t)TREE_MARK) | t->image.mark;
    }
    t->image.active = false;
    buf_free(&t->image.out);
}

/* --- changes --- */

ZK_PRIVATE void tree_init(struct tree *t, uint64_t seed) {
    memset(t, 0, sizeof *t);
    t->seed = seed;
    t->free_list = t->free_owner = t->parent = TREE_NONE;
    t->n_buckets = t->heads_cap = TREE_MIN_BUCKETS;
    t->mask_low = TREE_MIN_BUCKETS - 1;
    t->heads = mem_alloc(sizeof *t->heads * t->heads_cap);
    for (uint32_t i = 0; i < t->n_buckets; i++) t->heads[i] = TREE_EMPTY;
}

ZK_PRIVATE void tree_free(struct tree *t) {
    for (uint32_t id = 0; id < t->n_ids; id++) {
        struct tree_node *n = tree_node(t, id);
        size_t len = tree_block_len(n->name_len, n->data_len);
        if ((n->flags & TREE_LIVE) && len > SLAB_MAX) slab_free(&t->slab, n->block, len);
    }
    for (uint32_t i = 0; i < t->n_chunks; i++) mem_free(t->chunks[i]);
    mem_free(t->chunks);
    mem_free(t->heads);
    buf_free(&t->parent_path);
    slab_free_all(&t->slab);
    for (uint32_t i = 0; i < t->n_owners; i++) idset_free(&t->owners[i].nodes);
    mem_free(t->owners);
    map_free(&t->owner_index);
    idset_free(&t->containers);
    idset_free(&t->ttls);
    buf_free(&t->image.out);
    buf_free(&t->image.scratch);
    buf_free(&t->image.path);
    memset(t, 0, sizeof *t);
}

ZK_PRIVATE void tree_put_path(const struct tree *t, uint32_t id, struct buf *out) {
    size_t n = 0;
    for (uint32_t up = id; up != TREE_ROOT; up = tree_node(t, up)->parent)
        n += tree_node(t, up)->name_len + 1;
    uint8_t *end = buf_grow(out, n) + n;
    for (uint32_t up = id; up != TREE_ROOT;) {
        const struct tree_node *node = tree_node(t, up);
        end -= node->name_len;
        memcpy(end, node->block, node->name_len);
        *--end = '/';
        up = node->parent;
    }
}

static void tree_link(struct tree *t, uint32_t id, struct tree_node *n) {
    struct tree_node *p = tree_node(t, n->parent);
    n->prev = TREE_NONE;
    n->next = p->first_child;
    if (n->next != TREE_NONE) tree_node(t, n->next)->prev = id;
    p->first_child = id;
    p->children++;
}

static void tree_unlink(struct tree *t, const struct tree_node *n) {
    struct tree_node *p = tree_node(t, n->parent);
    if (n->prev != TREE_NONE)
        tree_node(t, n->prev)->next = n->next;
    else
        p->first_child = n->next;
    if (n->next != TREE_NONE) tree_node(t, n->next)->prev = n->prev;
    p->children--;
}

ZK_PRIVATE uint32_t tree_add(struct tree *t, uint32_t parent, struct slice path, struct slice data,
                             uint32_t acl, const struct zstat *stat) {
    bool root = t->count == 0;
    ZK_ASSERT(root == (path.n == 0) && data.n <= INT32_MAX && path.n < INT32_MAX);
    if (!root) tree_touch(t, parent);
    if (t->count >= t->n_buckets) (t->loading ? tree_double_buckets : tree_split_bucket)(t);
    uint32_t id = tree_new_id(t);
    struct tree_node *n = tree_node(t, id);
    struct slice name = root ? path : path_name(path);
    n->stat = *stat;
    n->name_len = (uint32_t)name.n;
    n->data_len = data.p ? (int32_t)data.n : TREE_DATA_NULL;
    n->block = slab_alloc(&t->slab, name.n + data.n);
    if (name.n) memcpy(n->block, name.p, name.n);
    if (data.n) memcpy(n->block + name.n, data.p, data.n);
    n->parent = parent;
    n->acl = acl;
    n->first_child = n->next = n->prev = TREE_NONE;
    n->children = 0;
    n->digest = tree_digest_of(path, data, stat);
    n->flags = TREE_LIVE | t->image.mark | (tree_digest_excluded(path) ? TREE_SYSTEM : 0u);
    t->count++;
    t->data_bytes += path.n + data.n;
    t->digest += n->digest;
    if (!root) {
        tree_link(t, id, n);
        n->hash = tree_hash(t, parent, name);
        tree_index(t, id, n);
    }
    tree_track_owner(t, id, stat->owner, true);
    return id;
}

ZK_PRIVATE void tree_remove(struct tree *t, uint32_t id, struct slice path) {
    struct tree_node *n = tree_node(t, id);
    ZK_ASSERT(id != TREE_ROOT && n->children == 0);
    tree_touch(t, id);
    tree_touch(t, n->parent);
    t->digest -= n->digest;
    tree_track_owner(t, id, n->stat.owner, false);
    tree_unlink(t, n);
    tree_unindex(t, id, n);
    size_t len = tree_block_len(n->name_len, n->data_len);
    t->data_bytes -= path.n + (len - n->name_len);
    slab_free(&t->slab, n->block, len);
    n->block = NULL;
    n->flags = t->image.mark;
    n->next = t->free_list;
    t->free_list = id;
    t->count--;
    if (t->image.path_of == id) t->image.path_of = TREE_NONE;
    if (t->parent == id) t->parent = TREE_NONE;
}

ZK_PRIVATE void tree_set_data(struct tree *t, uint32_t id, struct slice path, struct slice data,
                              const struct zstat *stat) {
    struct tree_node *n = tree_node(t, id);
    tree_touch(t, id);
    size_t old_len = tree_block_len(n->name_len, n->data_len), len = n->name_len + data.n;
    if (!slab_same(old_len, len)) {
        uint8_t *block = slab_alloc(&t->slab, len);
        if (n->name_len) memcpy(block, n->block, n->name_len);
        slab_free(&t->slab, n->block, old_len);
        n->block = block;
    }
    if (data.n) memcpy(n->block + n->name_len, data.p, data.n);
    t->data_bytes += len - old_len;
    n->data_len = data.p ? (int32_t)data.n : TREE_DATA_NULL;
    n->stat = *stat;
    t->digest -= n->digest;
    n->digest = tree_digest_of(path, data, stat);
    t->digest += n->digest;
}

ZK_PRIVATE void tree_set_stat(struct tree *t, uint32_t id, const struct zstat *stat) {
    struct tree_node *n = tree_node(t, id);
    tree_touch(t, id);
    t->digest -= n->digest;
    if (!(n->flags & TREE_SYSTEM)) n->digest = tree_digest_moved(n->digest, &n->stat, stat);
    t->digest += n->digest;
    n->stat = *stat;
}

ZK_PRIVATE void tree_set_acl(struct tree *t, uint32_t id, uint32_t acl, int32_t aversion) {
    struct zstat stat = tree_node(t, id)->stat;
    stat.aversion = aversion;
    tree_set_stat(t, id, &stat);
    tree_node(t, id)->acl = acl;
}

ZK_PRIVATE void tree_client_stat(const struct tree *t, const struct tree_node *n,
                                 uint8_t out[WIRE_STAT_LEN]) {
    int64_t owner = n->stat.owner;
    if (owner && tree_owner_kind(t, owner) != OWNER_SESSION) owner = 0;
    int32_t len = n->data_len > 0 ? n->data_len : 0;
    wire_put_stat(out, &n->stat, owner, len, (int32_t)n->children);
}

ZK_PRIVATE uint32_t tree_walk(const struct tree *t, uint32_t top, uint32_t id) {
    const struct tree_node *n = tree_node(t, id);
    if (n->first_child != TREE_NONE) return n->first_child;
    while (id != top) {
        if (n->next != TREE_NONE) return n->next;
        id = n->parent;
        n = tree_node(t, id);
    }
    return TREE_NONE;
}

ZK_PRIVATE uint64_t tree_count_below(const struct tree *t, uint32_t id) {
    if (id == TREE_ROOT) return t->count - 1;
    uint64_t n = 0;
    for (uint32_t at = tree_walk(t, id, id); at != TREE_NONE; at = tree_walk(t, id, at)) n++;
    return n;
}
