#include "client/queue.h"

#include <stdio.h>

#define QUEUE_VERSION 0x00010001u /* of the envelope */
#define QUEUE_MESSAGE 1
#define QUEUE_END 2
#define QUEUE_ENVELOPE 10 /* bytes around one message */

static void queue_step(struct queue *q, enum queue_step step);

static const char *queue_prefix(const struct queue *q) {
    return q->layout == ZK_QUEUE_SIMPLE ? "qn-" : "queue-";
}

static void queue_unwatch(struct queue *q);

static void queue_over(struct queue *q, int error) {
    queue_unwatch(q);
    mem_free(q->at);
    q->at = NULL;
    q->step = QUEUE_IDLE;
    wish_end(&q->wish, error);
}

/* --- the envelope --- */

/* Takes the next message out of rest into item. False: there is none, or it makes no sense. */
static bool queue_unwrap(struct queue *q) {
    const uint8_t *p = q->rest.p;
    if (q->rest.n < 5 || p[0] != QUEUE_MESSAGE) return false;
    uint32_t n = be32(p + 1);
    if (n > q->rest.n - 5) return false;
    q->item = slice_of(p + 5, n);
    q->rest = slice_of(p + 5 + n, q->rest.n - 5 - n);
    return true;
}

static bool queue_open(struct queue *q) {
    q->item = slice_of(q->data, (size_t)q->len);
    q->rest = slice_of(NULL, 0);
    if (q->layout == ZK_QUEUE_SIMPLE) return true;
    if (q->len < 5 || be32(q->data) != QUEUE_VERSION) return false;
    q->rest = slice_of((const uint8_t *)q->data + 4, (size_t)q->len - 4);
    return queue_unwrap(q);
}

static int queue_wrap(struct queue *q, const void *data, int len) {
    bool plain = q->layout == ZK_QUEUE_SIMPLE;
    mem_free(q->data);
    q->item = q->rest = slice_of(NULL, 0);
    q->len = plain ? len : len + QUEUE_ENVELOPE;
    uint8_t *p = q->data = mem_try((size_t)q->len + 1);
    if (!p) return ZK_OUT_OF_MEMORY;
    if (!plain) {
        put_be32(p, QUEUE_VERSION);
        p[4] = QUEUE_MESSAGE;
        put_be32(p + 5, (uint32_t)len);
        p[9 + len] = QUEUE_END;
        p += 9;
    }
    if (len) memcpy(p, data, (size_t)len);
    return ZK_OK;
}

/* --- names --- */

static int queue_compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool queue_is_item(const struct queue *q, const char *name) {
    const char *prefix = queue_prefix(q);
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 && name[n];
}

/* False: no memory. */
static bool queue_keep_names(struct queue *q, const struct zk_result *r) {
    size_t bytes = 0;
    int n = 0;
    for (int i = 0; i < r->count; i++) {
        if (!queue_is_item(q, r->names[i])) continue;
        bytes += strlen(r->names[i]) + 1;
        n++;
    }
    mem_free(q->names);
    q->names = mem_try(sizeof *q->names * (size_t)n + bytes + 1);
    q->n_names = q->next_name = q->foreign = 0;
    if (!q->names) return false;
    char *text = (char *)(q->names + n);
    for (int i = 0; i < r->count; i++) {
        if (!queue_is_item(q, r->names[i])) continue;
        size_t len = strlen(r->names[i]) + 1;
        q->names[q->n_names++] = memcpy(text, r->names[i], len);
        text += len;
    }
    qsort(q->names, (size_t)n, sizeof *q->names, queue_compare);
    return true;
}

/* Nothing to take: once more with a watch, and then until that wakes us. */
static void queue_empty(struct queue *q) {
    if (!q->patient)
        queue_over(q, ZK_TIMED_OUT);
    else if (q->watching)
        q->step = QUEUE_WAITING;
    else
        queue_step(q, QUEUE_LISTING);
}

/* On to the next name, or to another listing when there is none. */
static void queue_next(struct queue *q) {
    if (q->next_name == q->n_names && q->n_names && q->foreign == q->n_names) {
        queue_empty(q);
        return;
    }
    if (q->next_name == q->n_names) {
        queue_step(q, QUEUE_LISTING);
        return;
    }
    mem_free(q->at);
    q->at = recipe_join(q->path, q->names[q->next_name++]);
    if (q->at)
        queue_step(q, QUEUE_READING);
    else
        queue_over(q, ZK_OUT_OF_MEMORY);
}

/* --- watching --- */

static void queue_woken(void *user, const struct zk_event *event) {
    struct queue *q = user;
    (void)event;
    q->watching = false;
    if (q->step == QUEUE_WAITING) queue_step(q, QUEUE_LISTING);
}

static void queue_unwatch(struct queue *q) {
    if (q->watching) client_unwatch(q->c, queue_woken, q);
    q->watching = false;
}

static void queue_observe(void *user, enum zk_state state, int64_t session_id) {
    struct queue *q = user;
    (void)session_id;
    if (client_is_over(q->c)) {
        ask_stop(&q->ask);
        mkdirs_stop(&q->parents);
        queue_over(q, client_error(q->c));
    } else if (state == ZK_STATE_CONNECTED && q->step == QUEUE_WAITING) {
        queue_step(q, QUEUE_LISTING);
    }
}

/* --- answers --- */

static void queue_with_parents(void *user, int error) {
    struct queue *q = user;
    if (error)
        queue_over(q, error);
    else
        queue_step(q, q->step);
}

/* The queue's own node is missing. */
static void queue_make_parents(struct queue *q) {
    int error = mkdirs_start(&q->parents, q->c, q->at, &q->node, queue_with_parents, q);
    if (error) queue_over(q, error);
}

static void queue_listed(struct queue *q, const struct zk_result *r) {
    if (!queue_keep_names(q, r))
        queue_over(q, ZK_OUT_OF_MEMORY);
    else if (q->n_names)
        queue_next(q);
    else
        queue_empty(q);
}

static void queue_read(struct queue *q, const struct zk_result *r) {
    mem_free(q->data);
    q->len = r->data ? r->data_len : 0;
    q->data = recipe_copy(r->data, (size_t)q->len);
    if (!q->data)
        queue_over(q, ZK_OUT_OF_MEMORY);
    else if (queue_open(q))
        queue_step(q, QUEUE_TAKING);
    else {
        q->foreign++; /* no item of this queue, whatever its name is: it stays */
        queue_next(q);
    }
}

static void queue_answer(void *user, const struct zk_result *r) {
    struct queue *q = user;
    bool missing = r->error == ZK_NO_NODE;
    if (ask_watches(&q->ask, r)) q->watching = true;
    if (q->step == QUEUE_PUTTING && missing) {
        queue_make_parents(q);
    } else if (q->step == QUEUE_PUTTING) {
        queue_over(q, recipe_unknown(r->error) ? ZK_UNCERTAIN : r->error);
    } else if (q->step == QUEUE_LISTING && missing && q->patient) {
        /* No node, no watch on its children: it is made, as a taker of Curator's makes it. */
        q->watching = false;
        mem_free(q->at);
        q->at = recipe_join(q->path, queue_prefix(q));
        if (q->at)
            queue_make_parents(q);
        else
            queue_over(q, ZK_OUT_OF_MEMORY);
    } else if (q->step == QUEUE_LISTING && (missing || !r->error)) {
        queue_listed(q, r);
    } else if (q->step == QUEUE_TAKING && recipe_unheard(r->error)) {
        queue_step(q, QUEUE_SYNCING);
    } else if (q->step == QUEUE_CHECKING && missing) {
        queue_over(q, ZK_UNCERTAIN);
    } else if (missing) {
        queue_next(q); /* somebody was faster */
    } else if (r->error) {
        queue_over(q, r->error);
    } else if (q->step == QUEUE_READING) {
        queue_read(q, r);
    } else if (q->step == QUEUE_TAKING) {
        queue_over(q, ZK_OK);
    } else {
        queue_step(q, q->step == QUEUE_SYNCING ? QUEUE_CHECKING : QUEUE_TAKING);
    }
}

static struct zk_op queue_op(struct queue *q, enum queue_step step) {
    struct zk_op op = zk_get_children(q->path);
    switch (step) {
    case QUEUE_PUTTING:
        op = zk_create(q->at, q->data, q->len, ZK_PERSISTENT_SEQUENTIAL);
        break;
    case QUEUE_READING: op = zk_get(q->at); break;
    case QUEUE_TAKING: op = zk_delete(q->at, -1); break;
    case QUEUE_SYNCING: op = zk_sync(q->at); break;
    case QUEUE_CHECKING: op = zk_exists(q->at); break;
    case QUEUE_LISTING: /* one without a watch comes first: most of the time it is enough */
        if (q->patient && q->names && q->foreign == q->n_names)
            op = zk_watching(op, queue_woken, q);
        break;
    case QUEUE_IDLE:
    case QUEUE_WAITING: break;
    }
    return op;
}

static void queue_step(struct queue *q, enum queue_step step) {
    struct zk_op op = queue_op(q, step);
    bool once = step == QUEUE_PUTTING || step == QUEUE_TAKING;
    q->step = step;
    if (op.watch) q->watching = true;
    ask_start(&q->ask, q->c, op, once ? ASK_SURELY : ASK_ALWAYS, queue_answer, q);
}

/* --- the user --- */

static void queue_late(void *user) {
    struct queue *q = user;
    bool taking = q->step == QUEUE_TAKING || q->step == QUEUE_SYNCING ||
                  q->step == QUEUE_CHECKING;
    if (taking && !q->overdue) { /* it will be ours or not */
        int more = client_op_timeout(q->c);
        q->overdue = true;
        if (more >= 0) client_timer_set(q->c, &q->wish.timer, client_now(q->c) + more);
        return;
    }
    bool putting = q->step == QUEUE_PUTTING && !ask_recall(&q->ask) && ask_sent(&q->ask);
    bool maybe = taking || putting;
    ask_stop(&q->ask);
    mkdirs_stop(&q->parents);
    queue_over(q, maybe ? ZK_UNCERTAIN : ZK_TIMED_OUT);
}

ZK_PRIVATE int queue_put(struct queue *q, const void *data, int len, int32_t priority,
                         zk_done_fn done, void *user) {
    char name[24];
    if (len < 0 || len > INT32_MAX - QUEUE_ENVELOPE || (len && !data)) return ZK_BAD_ARGUMENTS;
    if (priority && q->layout != ZK_QUEUE_PRIORITY) return ZK_BAD_ARGUMENTS;
    if (q->step != QUEUE_IDLE) return ZK_IN_USE;
    if (q->layout == ZK_QUEUE_PRIORITY)
        (void)snprintf(name, sizeof name, "queue-%d%08X", priority >= 0, (unsigned)priority);
    else
        (void)snprintf(name, sizeof name, "%s", queue_prefix(q));
    int error = queue_wrap(q, data, len);
    q->at = error ? NULL : recipe_join(q->path, name);
    if (!q->at) return ZK_OUT_OF_MEMORY;
    error = wish_begin(&q->wish, q->c, q->owner, client_op_timeout(q->c), queue_late, q, done,
                       user);
    if (error) {
        mem_free(q->at);
        q->at = NULL;
        return error;
    }
    queue_step(q, QUEUE_PUTTING);
    return ZK_OK;
}

ZK_PRIVATE int queue_take(struct queue *q, int timeout_ms, zk_done_fn done, void *user) {
    if (q->step != QUEUE_IDLE) return ZK_IN_USE;
    q->patient = timeout_ms != 0;
    q->overdue = false;
    if (!q->patient) timeout_ms = client_op_timeout(q->c);
    int error = wish_begin(&q->wish, q->c, q->owner, timeout_ms, queue_late, q, done, user);
    if (error) return error;
    if (queue_unwrap(q)) {
        wish_end(&q->wish, ZK_OK);
        return ZK_OK;
    }
    q->item = slice_of(NULL, 0);
    bool more = q->next_name < q->n_names && q->layout != ZK_QUEUE_PRIORITY;
    if (more)
        queue_next(q);
    else
        queue_step(q, QUEUE_LISTING);
    return ZK_OK;
}

ZK_PRIVATE int queue_init(struct queue *q, struct client *c, const void *owner, const char *path,
                          enum zk_queue_layout layout) {
    memset(q, 0, sizeof *q);
    if (!recipe_path_ok(path) || layout < ZK_QUEUE_SIMPLE || layout > ZK_QUEUE_PRIORITY)
        return ZK_BAD_ARGUMENTS;
    q->c = c;
    q->owner = owner;
    q->layout = layout;
    q->path = recipe_copy(path, strlen(path));
    if (!q->path) return ZK_OUT_OF_MEMORY;
    q->observer.fn = queue_observe;
    q->observer.user = q;
    client_observe(c, &q->observer);
    return ZK_OK;
}

ZK_PRIVATE void queue_free(struct queue *q) {
    client_unobserve(q->c, &q->observer);
    ask_stop(&q->ask);
    mkdirs_stop(&q->parents);
    queue_unwatch(q);
    wish_stop(&q->wish);
    mem_free(q->path);
    mem_free(q->at);
    mem_free(q->names);
    mem_free(q->data);
}
