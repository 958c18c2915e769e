#include "node/metrics.h"

#include <stdio.h>

ZK_PRIVATE void metrics_init(struct metrics *m, uint64_t seed) {
    memset(m, 0, sizeof *m);
    m->rng.state = seed;
}

ZK_PRIVATE void metrics_free(struct metrics *m) {
    for (uint32_t i = 0; i < m->n_spaces; i++) mem_free(m->spaces[i].name);
    mem_free(m->spaces);
    map_free(&m->space_index);
    mem_free(m->read_ms.sample);
    mem_free(m->update_ms.sample);
    mem_free(m->propagation_ms.sample);
    mem_free(m->flush_ms.sample);
    mem_free(m->throttle_ms.sample);
    memset(m, 0, sizeof *m);
}

ZK_PRIVATE void metrics_reset(struct metrics *m) {
    static const struct metrics_sum nothing = {0, 0, 0, 0};
    m->fsync_ms = m->snapshot_ms = m->batch = nothing;
    m->init_ms = m->snap_load_ms = m->log_load_ms = m->log_loaded = nothing;
    m->created = m->deleted = m->changed = m->children = nothing;
    m->read_ms.sum = m->update_ms.sum = m->propagation_ms.sum = m->flush_ms.sum = nothing;
    m->throttle_ms.sum = nothing;
    for (uint32_t i = 0; i < m->n_spaces; i++) {
        m->spaces[i].read = m->spaces[i].written = nothing;
        m->spaces[i].refused = 0;
    }
}

/* --- summaries --- */

ZK_PRIVATE void metrics_add(struct metrics_sum *s, int64_t value) {
    if (!s->count || value < s->min) s->min = value;
    if (!s->count || value > s->max) s->max = value;
    s->count++;
    s->total += value;
}

ZK_PRIVATE void metrics_merge(struct metrics_sum *s, const struct metrics_sum *more) {
    if (!more->count) return;
    if (!s->count || more->min < s->min) s->min = more->min;
    if (!s->count || more->max > s->max) s->max = more->max;
    s->count += more->count;
    s->total += more->total;
}

ZK_PRIVATE void metrics_sample(struct metrics *m, struct metrics_dist *d, int64_t value) {
    if (!d->sample) d->sample = mem_alloc(sizeof *d->sample * METRICS_SAMPLE);
    metrics_add(&d->sum, value);
    uint64_t at = (uint64_t)d->sum.count - 1;
    if (at >= METRICS_SAMPLE) at = prng_below(&m->rng, (uint64_t)d->sum.count);
    if (at < METRICS_SAMPLE) d->sample[at] = value;
}

static int metrics_cmp(const void *a, const void *b) {
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Interpolates between neighbours and rounds. stock: com.codahale.metrics.UniformSnapshot */
ZK_PRIVATE int64_t metrics_quantile(const struct metrics_dist *d, int per_mille) {
    int64_t n = d->sum.count < METRICS_SAMPLE ? d->sum.count : METRICS_SAMPLE;
    if (!n) return 0;
    size_t bytes = sizeof *d->sample * (size_t)n;
    int64_t *sorted = memcpy(mem_alloc(bytes), d->sample, bytes);
    qsort(sorted, (size_t)n, sizeof *sorted, metrics_cmp);
    int64_t pos = per_mille * (n + 1), i = pos / 1000, value;
    if (i < 1)
        value = sorted[0];
    else if (i >= n)
        value = sorted[n - 1];
    else
        value = sorted[i - 1] + (pos % 1000 * (sorted[i] - sorted[i - 1]) + 500) / 1000;
    mem_free(sorted);
    return value;
}

/* --- namespaces --- */

ZK_PRIVATE struct slice metrics_space_of(struct slice path) {
    if (path.n < 2) return slice_of(NULL, 0);
    const uint8_t *slash = memchr(path.p + 1, '/', path.n - 1);
    return slice_of(path.p + 1, slash ? (size_t)(slash - path.p) - 1 : path.n - 1);
}

static bool metrics_is_space(const struct metrics *m, uint32_t i, struct slice name) {
    return i < m->n_spaces && slice_eq(slice_of(m->spaces[i].name, m->spaces[i].name_len), name);
}

/* NULL for the root, and for a name that comes when all places are taken. */
static struct metrics_space *metrics_space(struct metrics *m, struct slice path) {
    struct slice name = metrics_space_of(path);
    if (!name.n) return NULL;
    if (metrics_is_space(m, m->last_space, name)) return &m->spaces[m->last_space];
    uint64_t hash = slice_hash(name, 0);
    struct map_iter it;
    uint32_t i = map_first(&m->space_index, hash, &it);
    while (i != MAP_NONE && !metrics_is_space(m, i, name)) i = map_next(&m->space_index, &it);
    if (i == MAP_NONE) {
        if (m->n_spaces == METRICS_SPACES) return NULL;
        if (m->n_spaces == m->cap_spaces) {
            m->cap_spaces = m->cap_spaces ? m->cap_spaces * 2 : 8;
            m->spaces = mem_realloc(m->spaces, sizeof *m->spaces * m->cap_spaces);
        }
        i = m->n_spaces++;
        struct metrics_space *s = &m->spaces[i];
        memset(s, 0, sizeof *s);
        s->name = memcpy(mem_alloc(name.n), name.p, name.n);
        s->name_len = (uint32_t)name.n;
        map_add(&m->space_index, hash, i);
    }
    m->last_space = i;
    return &m->spaces[i];
}

ZK_PRIVATE void metrics_read(struct metrics *m, struct slice path, int64_t bytes) {
    struct metrics_space *s = metrics_space(m, path);
    if (!s) return;
    s->has_read = true;
    metrics_add(&s->read, (int64_t)path.n + bytes);
}

ZK_PRIVATE void metrics_wrote(struct metrics *m, struct slice path, int64_t bytes) {
    struct metrics_space *s = metrics_space(m, path);
    if (!s) return;
    s->has_written = true;
    metrics_add(&s->written, (int64_t)path.n + bytes);
}

ZK_PRIVATE void metrics_refused(struct metrics *m, struct slice path) {
    struct metrics_space *s = metrics_space(m, path);
    if (!s) return;
    s->has_refused = true;
    s->refused++;
}

/* --- numbers --- */

/* digits without trailing zeros, but at least one behind the point */
static void metrics_put_fraction(struct buf *out, const char *digits, size_t n) {
    while (n > 1 && digits[n - 1] == '0') n--;
    buf_putc(out, '.');
    buf_put(out, digits, n);
}

ZK_PRIVATE void metrics_put_average(struct buf *out, int64_t total, int64_t count) {
    char text[80], digits[40];
    if (!count) total = 0;
    /* Digits enough to see on which side of a half the double lies, which printf would round to
     * even. */
    (void)snprintf(text, sizeof text, "%.30f", (double)total / (double)(count ? count : 1));
    char *point = text + strcspn(text, ".,"); /* a comma where the program has such a locale */
    point[0] = '\0';
    bool up = point[5] >= '5';
    point[5] = '\0';
    uint64_t whole = 0, part = 0;
    for (const char *p = text; *p; p++) whole = whole * 10 + (uint64_t)(*p - '0');
    for (const char *p = point + 1; *p; p++) part = part * 10 + (uint64_t)(*p - '0');
    uint64_t all = whole * 10000 + part + up;
    if (all != 0 && all < 10) { /* below a thousandth Java turns to exponents */
        buf_printf(out, "%llu.0E-4", (unsigned long long)all);
    } else if (all >= 100000000000u) { /* so it does from ten million on */
        int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)all);
        buf_putc(out, digits[0]);
        metrics_put_fraction(out, digits + 1, (size_t)n - 1);
        buf_printf(out, "E%d", n - 5);
    } else {
        (void)snprintf(digits, sizeof digits, "%04llu", (unsigned long long)(all % 10000));
        buf_printf(out, "%llu", (unsigned long long)(all / 10000));
        metrics_put_fraction(out, digits, 4);
    }
}
