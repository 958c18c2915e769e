/*
 * node/metrics: the measured values behind `mntr`: summaries, percentiles, values per namespace.
 *
 * A sum has count, minimum, maximum and total. A dist is a sum with a uniform sample of its values
 * (Vitter's algorithm R), from which percentiles are read; the random numbers are seeded. A
 * namespace is the first component of a path; the first METRICS_SPACES that are seen are kept, so
 * that clients cannot make the server remember without bound. stock: AvgMinMaxCounter,
 * AvgMinMaxPercentileCounter, AvgMinMaxCounterSet.
 */
#ifndef ZK_NODE_METRICS_H
#define ZK_NODE_METRICS_H

#include "base/base.h"

#define METRICS_SAMPLE 4096
#define METRICS_SPACES 4096u

struct metrics_sum {
    int64_t count, total, min, max; /* min, max: of nothing are 0 */
};

struct metrics_dist {
    struct metrics_sum sum;
    int64_t *sample; /* owned; METRICS_SAMPLE values, made by the first one */
};

struct metrics_space {
    uint8_t *name; /* owned */
    uint32_t name_len;
    bool has_read, has_written, has_refused;
    struct metrics_sum read, written; /* bytes of path and data */
    int64_t refused;                  /* writes over a quota */
};

struct metrics {
    struct prng rng;
    struct metrics_sum fsync_ms, snapshot_ms, batch;            /* batch: records in one sync */
    struct metrics_sum init_ms, snap_load_ms, log_load_ms, log_loaded; /* of the start */
    struct metrics_sum created, deleted, changed, children;     /* watchers of one event */
    struct metrics_dist read_ms, update_ms, propagation_ms, flush_ms, throttle_ms;
    struct metrics_space *spaces; /* owned */
    uint32_t n_spaces, cap_spaces, last_space;
    struct map space_index;
};

ZK_PRIVATE void metrics_init(struct metrics *m, uint64_t seed);
ZK_PRIVATE void metrics_free(struct metrics *m);
ZK_PRIVATE void metrics_reset(struct metrics *m); /* srst: to zero; what is there stays there */

ZK_PRIVATE void metrics_add(struct metrics_sum *s, int64_t value);
ZK_PRIVATE void metrics_merge(struct metrics_sum *s, const struct metrics_sum *more);
ZK_PRIVATE void metrics_sample(struct metrics *m, struct metrics_dist *d, int64_t value);
/* per_mille: 500 is the median. */
ZK_PRIVATE int64_t metrics_quantile(const struct metrics_dist *d, int per_mille);

/* The root has no namespace: nothing is counted. */
ZK_PRIVATE struct slice metrics_space_of(struct slice path);
ZK_PRIVATE void metrics_read(struct metrics *m, struct slice path, int64_t bytes);
ZK_PRIVATE void metrics_wrote(struct metrics *m, struct slice path, int64_t bytes);
ZK_PRIVATE void metrics_refused(struct metrics *m, struct slice path);

/* total / count as stock prints it: 4 decimals HALF_UP, then Double.toString. */
ZK_PRIVATE void metrics_put_average(struct buf *out, int64_t total, int64_t count);

#endif
