#include "state/quota.h"

#include "state/path.h"

#define QUOTA_ROOT "/zookeeper/quota"
#define QUOTA_LIMITS "zookeeper_limits"
#define QUOTA_STATS "zookeeper_stats"

ZK_PRIVATE void quota_free(struct quota *q) {
    for (uint32_t i = 0; i < q->n; i++) {
        union {
            const uint8_t *in;
            uint8_t *out;
        } p = {q->paths[i].p};
        mem_free(p.out);
    }
    uint64_t seed = q->seed;
    mem_free(q->paths);
    map_free(&q->index);
    buf_free(&q->refused);
    memset(q, 0, sizeof *q);
    q->seed = seed;
}

/* --- the text of limits and stats --- */

static bool quota_number(struct slice s, int64_t *out) {
    size_t i = 0;
    bool minus = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+')) i++;
    if (i == s.n || s.n - i > 18) return false;
    int64_t v = 0;
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        v = v * 10 + (s.p[i] - '0');
    }
    *out = minus ? -v : v;
    return true;
}

static bool quota_pair(struct slice item, struct quota_track *out) {
    const uint8_t *eq = memchr(item.p, '=', item.n);
    if (!eq) return false;
    struct slice key = slice_of(item.p, (size_t)(eq - item.p));
    struct slice value = slice_of(eq + 1, item.n - key.n - 1);
    while (value.n && value.p[value.n - 1] == '=') value.n--;
    int64_t v;
    if (!quota_number(value, &v)) return false;
    if (slice_is(key, "count")) out->count = v;
    if (slice_is(key, "bytes")) out->bytes = v;
    if (slice_is(key, "countHardLimit")) out->count_hard = v;
    if (slice_is(key, "byteHardLimit")) out->bytes_hard = v;
    return true;
}

ZK_PRIVATE bool quota_parse(struct slice text, struct quota_track *out) {
    struct quota_track none = {-1, -1, -1, -1};
    *out = none;
    size_t start = 0;
    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && text.p[i] != ',' && text.p[i] != ';') continue;
        if (i > start && !quota_pair(slice_of(text.p + start, i - start), out)) return false;
        start = i + 1;
    }
    return true;
}

/* --- the limited paths --- */

static uint32_t quota_find(const struct quota *q, struct slice path) {
    struct map_iter it;
    uint32_t i = map_first(&q->index, slice_hash(path, q->seed), &it);
    for (; i != MAP_NONE; i = map_next(&q->index, &it))
        if (slice_eq(q->paths[i], path)) return i;
    return MAP_NONE;
}

static void quota_add(struct quota *q, struct slice path) {
    if (path.n < 2 || quota_find(q, path) != MAP_NONE) return; /* a quota on "/" is ignored */
    uint32_t i = 0;
    while (i < q->n && q->paths[i].p) i++;
    if (i == q->cap) {
        q->cap = q->cap ? q->cap * 2 : 8;
        q->paths = mem_realloc(q->paths, sizeof *q->paths * q->cap);
    }
    if (i == q->n) q->n++;
    uint8_t *copy = mem_alloc(path.n);
    memcpy(copy, path.p, path.n);
    q->paths[i] = slice_of(copy, path.n);
    map_add(&q->index, slice_hash(path, q->seed), i);
    q->live++;
}

static void quota_drop(struct quota *q, struct slice path) {
    uint32_t i = quota_find(q, path);
    if (i == MAP_NONE) return;
    map_del(&q->index, slice_hash(path, q->seed), i);
    union {
        const uint8_t *in;
        uint8_t *out;
    } p = {q->paths[i].p};
    mem_free(p.out);
    q->paths[i] = slice_of(NULL, 0);
    q->live--;
}

/* The longest limited path that holds this one; n == 0 when there is none. */
static struct slice quota_over(const struct quota *q, struct slice path) {
    if (!q->live) return slice_of(NULL, 0);
    for (; path.n > 1; path = path_parent(path))
        if (quota_find(q, path) != MAP_NONE) return path;
    return slice_of(NULL, 0);
}

/* --- stats nodes --- */

static uint32_t quota_node(const struct tree *t, struct slice path, const char *leaf,
                           struct buf *full) {
    buf_puts(full, QUOTA_ROOT);
    buf_put(full, path.p, path.n);
    buf_putc(full, '/');
    buf_puts(full, leaf);
    return tree_lookup(t, buf_slice(full));
}

static void quota_write_stats(struct tree *t, struct slice path, const struct quota_track *now) {
    struct buf full = {0}, text = {0};
    uint32_t id = quota_node(t, path, QUOTA_STATS, &full);
    if (id != TREE_NONE) {
        struct zstat same = tree_node(t, id)->stat;
        buf_printf(&text, "count=%lld,bytes=%lld", (long long)now->count, (long long)now->bytes);
        tree_set_data(t, id, buf_slice(&full), buf_slice(&text), &same);
    }
    buf_free(&full);
    buf_free(&text);
}

/* Recounts a subtree, its top included. */
static void quota_recount(struct tree *t, struct slice path) {
    struct quota_track sum = {0, 0, -1, -1};
    uint32_t top = tree_lookup(t, path);
    for (uint32_t id = top; id != TREE_NONE; id = tree_walk(t, top, id)) {
        sum.count++;
        sum.bytes += (int64_t)tree_data(tree_node(t, id)).n;
    }
    quota_write_stats(t, path, &sum);
}

static void quota_account(struct quota *q, struct tree *t, struct slice path, int64_t count,
                          int64_t bytes) {
    struct slice top = quota_over(q, path);
    if (!top.n) return;
    struct buf full = {0};
    struct quota_track now;
    uint32_t id = quota_node(t, top, QUOTA_STATS, &full);
    if (id != TREE_NONE && quota_parse(tree_data(tree_node(t, id)), &now)) {
        now.count += count;
        now.bytes += bytes;
        quota_write_stats(t, top, &now);
    }
    buf_free(&full);
}

/* The limited path that /zookeeper/quota/p/<leaf> speaks of; n == 0 when it is no such node. */
static struct slice quota_subject(struct slice path, const char *leaf) {
    struct slice parent = path_parent(path);
    if (!path_is_under(parent, QUOTA_ROOT) || !slice_is(path_name(path), leaf))
        return slice_of(NULL, 0);
    size_t n = sizeof QUOTA_ROOT - 1;
    return slice_of(parent.p + n, parent.n - n);
}

ZK_PRIVATE void quota_created(struct quota *q, struct tree *t, struct slice path, size_t len) {
    if (slice_starts(path, QUOTA_ROOT)) {
        struct slice subject = quota_subject(path, QUOTA_LIMITS);
        if (subject.n) quota_add(q, subject);
        subject = quota_subject(path, QUOTA_STATS);
        if (subject.n) quota_recount(t, subject);
    }
    quota_account(q, t, path, 1, (int64_t)len);
}

ZK_PRIVATE void quota_removed(struct quota *q, struct tree *t, struct slice path, size_t len) {
    struct slice subject = quota_subject(path, QUOTA_LIMITS);
    if (subject.n) quota_drop(q, subject);
    quota_account(q, t, path, -1, -(int64_t)len);
}

ZK_PRIVATE void quota_resized(struct quota *q, struct tree *t, struct slice path, int64_t diff) {
    quota_account(q, t, path, 0, diff);
}

ZK_PRIVATE void quota_rebuild(struct quota *q, struct tree *t) {
    quota_free(q);
    uint32_t top = tree_lookup(t, slice_str(QUOTA_ROOT));
    if (top == TREE_NONE) return;
    struct buf path = {0};
    for (uint32_t id = top; id != TREE_NONE; id = tree_walk(t, top, id)) {
        const struct tree_node *n = tree_node(t, id);
        if (n->children || !slice_is(tree_name(n), QUOTA_LIMITS)) continue;
        buf_clear(&path);
        tree_put_path(t, id, &path);
        struct slice subject = quota_subject(buf_slice(&path), QUOTA_LIMITS);
        if (!subject.n) continue;
        quota_add(q, subject);
        quota_recount(t, subject);
    }
    buf_free(&path);
}

/* stock: hard limit decides if there is one, otherwise a soft one is only logged. */
static int quota_compare(int64_t now, int64_t hard, int64_t limit, bool *soft) {
    if (hard > -1) return now > hard ? ZERR_QUOTAEXCEEDED : 0;
    if (limit > -1 && now > limit) *soft = true;
    return 0;
}

ZK_PRIVATE int quota_check(struct quota *q, struct tree *t, struct slice path, int64_t count_diff,
                           int64_t bytes_diff, bool *soft) {
    *soft = false;
    struct slice top = quota_over(q, path);
    if (!top.n) return 0;
    struct buf limits_path = {0}, stats_path = {0};
    uint32_t limits = quota_node(t, top, QUOTA_LIMITS, &limits_path);
    uint32_t stats = quota_node(t, top, QUOTA_STATS, &stats_path);
    struct quota_track limit, now;
    int err = 0;
    if (limits != TREE_NONE && stats != TREE_NONE &&
        quota_parse(tree_data(tree_node(t, limits)), &limit) &&
        quota_parse(tree_data(tree_node(t, stats)), &now)) {
        if (count_diff)
            err = quota_compare(now.count + count_diff, limit.count_hard, limit.count, soft);
        if (!err && bytes_diff)
            err = quota_compare(now.bytes + bytes_diff, limit.bytes_hard, limit.bytes, soft);
    }
    buf_free(&limits_path);
    buf_free(&stats_path);
    if (!err) return 0;
    q->exceeded++;
    buf_clear(&q->refused);
    buf_put(&q->refused, path.p, path.n);
    return err;
}

ZK_PRIVATE bool quota_refuses_create(struct slice path) {
    return slice_is(path, QUOTA_ROOT "/" QUOTA_LIMITS) ||
           slice_is(path, QUOTA_ROOT "/" QUOTA_STATS);
}

/* stock cuts the length of "/zookeeper/quota" off the parent and fails when it is shorter. */
ZK_PRIVATE bool quota_refuses_delete(struct slice path) {
    struct slice parent = path_parent(path);
    return slice_is(path_name(path), QUOTA_LIMITS) && slice_starts(parent, "/zookeeper") &&
           !path_is_under(parent, QUOTA_ROOT);
}

ZK_PRIVATE bool quota_refuses_data(struct slice path, struct slice data) {
    struct quota_track track;
    return quota_subject(path, QUOTA_STATS).n != 0 && !quota_parse(data, &track);
}
