#include "client/counter.h"

static void counter_step(struct counter *n, enum counter_step step);

static void counter_over(struct counter *n, int error) {
    n->step = COUNTER_IDLE;
    wish_end(&n->wish, error);
}

/* As the width has it: sums wrap around. */
static int64_t counter_fit(const struct counter *n, int64_t value) {
    uint64_t bits = (uint64_t)value;
    if (n->bytes == 4) bits = (bits & 0xffffffffu) | (bits & 0x80000000u ? ~0xffffffffULL : 0);
    return bits > INT64_MAX ? -1 - (int64_t)~bits : (int64_t)bits;
}

/* False: data of another length. */
static bool counter_decode(struct counter *n, const struct zk_result *r) {
    const uint8_t *p = r->data;
    if (r->error == ZK_NO_NODE || r->data_len <= 0) {
        n->value = 0;
        return true;
    }
    if (r->data_len != n->bytes) return false;
    n->value = counter_fit(n, n->bytes == 4 ? (int64_t)be32(p) : (int64_t)be64(p));
    return true;
}

static void counter_write(struct counter *n) {
    int64_t sum = (int64_t)((uint64_t)n->value + (uint64_t)n->operand);
    if (n->job == COUNTER_CAS && n->value != n->expected) {
        counter_over(n, ZK_BAD_VERSION);
        return;
    }
    n->wish_value = counter_fit(n, n->job == COUNTER_ADD ? sum : n->operand);
    if (n->bytes == 4)
        put_be32(n->text, (uint32_t)n->wish_value);
    else
        put_be64(n->text, (uint64_t)n->wish_value);
    counter_step(n, COUNTER_WRITING);
}

static void counter_read(struct counter *n, const struct zk_result *r) {
    int64_t mzxid = r->error ? 0 : r->stat.mzxid;
    bool changed = n->doubtful && mzxid != n->mzxid;
    n->doubtful = false;
    n->mzxid = mzxid;
    n->version = r->error ? -1 : r->stat.version;
    if (!counter_decode(n, r))
        counter_over(n, ZK_MALFORMED);
    else if (n->job == COUNTER_GET)
        counter_over(n, ZK_OK);
    else if (changed && n->job == COUNTER_SET && n->value == n->wish_value)
        counter_over(n, ZK_OK); /* whoever did it */
    else if (changed)
        counter_over(n, ZK_UNCERTAIN);
    else
        counter_write(n);
}

static void counter_with_parents(void *user, int error) {
    struct counter *n = user;
    if (error)
        counter_over(n, error);
    else
        counter_step(n, COUNTER_WRITING);
}

static void counter_written(struct counter *n, const struct zk_result *r) {
    if (!r->error) {
        n->value = n->wish_value;
        counter_over(n, ZK_OK);
    } else if (r->error == ZK_NO_NODE && !n->mzxid) {
        int error = mkdirs_start(&n->parents, n->c, n->path, &n->node, counter_with_parents, n);
        if (error) counter_over(n, error);
    } else if (r->error == ZK_BAD_VERSION || r->error == ZK_NODE_EXISTS ||
               r->error == ZK_NO_NODE) {
        counter_step(n, COUNTER_READING);
    } else if (recipe_unheard(r->error)) {
        n->doubtful = true;
        counter_step(n, COUNTER_SYNCING);
    } else {
        counter_over(n, r->error);
    }
}

static void counter_answer(void *user, const struct zk_result *r) {
    struct counter *n = user;
    if (n->step == COUNTER_WRITING)
        counter_written(n, r);
    else if (r->error && (r->error != ZK_NO_NODE || n->step == COUNTER_SYNCING))
        counter_over(n, r->error);
    else if (n->step == COUNTER_READING)
        counter_read(n, r);
    else
        counter_step(n, COUNTER_READING);
}

static void counter_step(struct counter *n, enum counter_step step) {
    struct zk_op op = zk_get(n->path);
    n->step = step;
    if (step == COUNTER_SYNCING) op = zk_sync(n->path);
    if (step == COUNTER_WRITING && n->mzxid) op = zk_set(n->path, n->text, n->bytes, n->version);
    if (step == COUNTER_WRITING && !n->mzxid)
        op = zk_create(n->path, n->text, n->bytes, ZK_PERSISTENT);
    ask_start(&n->ask, n->c, op, step == COUNTER_WRITING ? ASK_SURELY : ASK_ALWAYS,
              counter_answer, n);
}

/* What has been sent may be applied yet. */
static void counter_late(void *user) {
    struct counter *n = user;
    bool sent = n->step == COUNTER_WRITING && !ask_recall(&n->ask) && ask_sent(&n->ask);
    bool maybe = n->doubtful || sent;
    ask_stop(&n->ask);
    mkdirs_stop(&n->parents);
    counter_over(n, maybe ? ZK_UNCERTAIN : ZK_TIMED_OUT);
}

static void counter_observe(void *user, enum zk_state state, int64_t session_id) {
    struct counter *n = user;
    (void)session_id;
    (void)state;
    if (!client_is_over(n->c)) return;
    ask_stop(&n->ask);
    mkdirs_stop(&n->parents);
    counter_over(n, client_error(n->c));
}

ZK_PRIVATE int counter_do(struct counter *n, enum counter_job job, int64_t operand,
                          int64_t expected, zk_done_fn done, void *user) {
    if (n->step != COUNTER_IDLE) return ZK_IN_USE;
    if (counter_fit(n, operand) != operand || counter_fit(n, expected) != expected)
        return ZK_BAD_ARGUMENTS;
    int error = wish_begin(&n->wish, n->c, n->owner, client_op_timeout(n->c), counter_late, n,
                           done, user);
    if (error) return error;
    n->job = job;
    n->operand = operand;
    n->expected = expected;
    n->doubtful = false;
    counter_step(n, COUNTER_READING);
    return ZK_OK;
}

ZK_PRIVATE int counter_init(struct counter *n, struct client *c, const void *owner,
                            const char *path, int bytes) {
    memset(n, 0, sizeof *n);
    if (!recipe_path_ok(path) || (bytes != 4 && bytes != 8)) return ZK_BAD_ARGUMENTS;
    n->c = c;
    n->owner = owner;
    n->bytes = bytes;
    n->path = recipe_copy(path, strlen(path));
    if (!n->path) return ZK_OUT_OF_MEMORY;
    n->observer.fn = counter_observe;
    n->observer.user = n;
    client_observe(c, &n->observer);
    return ZK_OK;
}

ZK_PRIVATE void counter_free(struct counter *n) {
    client_unobserve(n->c, &n->observer);
    ask_stop(&n->ask);
    mkdirs_stop(&n->parents);
    wish_stop(&n->wish);
    mem_free(n->path);
}
