#include "client/barrier.h"

static void barrier_step(struct barrier *b, enum barrier_step step);

static void barrier_unwatch(struct barrier *b);

static bool barrier_is_entering(enum barrier_step step) {
    return step == BARRIER_LOOKING || step == BARRIER_JOINING || step == BARRIER_COUNTING ||
           step == BARRIER_RAISING || step == BARRIER_EVICTING;
}

/* Gives the place up: our node may be there, or still be made. */
static void barrier_quit(struct barrier *b) {
    if (b->eraser) erase_begin(b->eraser);
    b->eraser = NULL;
    b->joined = false;
}

static void barrier_over(struct barrier *b, int error) {
    bool entering = barrier_is_entering(b->step);
    barrier_unwatch(b);
    if (!error) b->inside = entering;
    if (error && entering) barrier_quit(b);
    b->step = BARRIER_IDLE;
    wish_end(&b->wish, error);
}

/* Something changed: to the step that looks at how things are now. */
static void barrier_look_again(struct barrier *b) {
    if (ask_busy(&b->ask)) return; /* whose answer will be newer */
    if (b->step == BARRIER_LURKING)
        barrier_step(b, BARRIER_GATHERING);
    else if (b->step == BARRIER_WAITING || b->step == BARRIER_LOOKING)
        barrier_step(b, b->step);
}

static void barrier_woken(void *user, const struct zk_event *event) {
    struct barrier *b = user;
    (void)event;
    b->watching = false;
    barrier_look_again(b);
}

static void barrier_unwatch(struct barrier *b) {
    if (b->watching) client_unwatch(b->c, barrier_woken, b);
    b->watching = false;
}

static void barrier_observe(void *user, enum zk_state state, int64_t session_id) {
    struct barrier *b = user;
    (void)session_id;
    if (client_is_over(b->c)) {
        ask_stop(&b->ask);
        mkdirs_stop(&b->parents);
        b->joined = false;
        barrier_over(b, client_error(b->c));
    } else if (state == ZK_STATE_EXPIRED) {
        b->joined = false; /* entering makes it again, leaving finds that it is gone */
    } else if (state == ZK_STATE_CONNECTED) {
        barrier_look_again(b);
    }
}

/* --- answers --- */

static void barrier_with_parents(void *user, int error) {
    struct barrier *b = user;
    if (error)
        barrier_over(b, error);
    else
        barrier_step(b, b->step);
}

/* The members among the children: how many, the first and the last by name, whether we are in. */
struct barrier_census {
    int n;
    const char *first, *last;
    bool own, ready;
};

static struct barrier_census barrier_count(const struct barrier *b, const struct zk_result *r) {
    struct barrier_census all = {0};
    const char *own = strrchr(b->own, '/') + 1;
    for (int i = 0; i < r->count; i++) {
        const char *name = r->names[i];
        if (strcmp(name, "ready") == 0) {
            all.ready = true;
            continue;
        }
        all.n++;
        if (!all.first || strcmp(name, all.first) < 0) all.first = name;
        if (!all.last || strcmp(name, all.last) > 0) all.last = name;
        all.own = all.own || strcmp(name, own) == 0;
    }
    return all;
}

static void barrier_counted(struct barrier *b, const struct zk_result *r) {
    struct barrier_census all = barrier_count(b, r);
    if (all.ready)
        barrier_over(b, ZK_OK);
    else if (!all.own)
        barrier_step(b, BARRIER_JOINING); /* the session of before was ours no more */
    else if (all.n >= b->members)
        barrier_step(b, BARRIER_RAISING);
    else
        b->step = BARRIER_LOOKING; /* its watch is set; it wakes us */
}

static void barrier_gathered(struct barrier *b, const struct zk_result *r) {
    struct barrier_census all = barrier_count(b, r);
    const char *other = all.own && strcmp(all.first, strrchr(b->own, '/') + 1) == 0 ? all.last
                                                                                    : all.first;
    if (r->error || !all.n) {
        barrier_step(b, BARRIER_LOWERING);
        return;
    }
    if (all.own && (all.n == 1 || other == all.first)) {
        barrier_step(b, BARRIER_QUITTING);
        return;
    }
    mem_free(b->other);
    b->other = recipe_join(b->path, other);
    if (b->other)
        barrier_step(b, BARRIER_LURKING);
    else
        barrier_over(b, ZK_OUT_OF_MEMORY);
}

/* The own name is there: of this session, or of one that has ended or will. */
static void barrier_joined(struct barrier *b, const struct zk_result *r) {
    if (r->error == ZK_NODE_EXISTS) {
        barrier_step(b, BARRIER_EVICTING);
        return;
    }
    b->joined = true;
    if (b->is_ready)
        barrier_over(b, ZK_OK);
    else
        barrier_step(b, BARRIER_COUNTING);
}

/* Which errors are an answer too, for each step. */
static int barrier_accepts(enum barrier_step step) {
    switch (step) {
    case BARRIER_CLOSING:
    case BARRIER_JOINING:
    case BARRIER_RAISING: return ZK_NODE_EXISTS;
    case BARRIER_OPENING:
    case BARRIER_WAITING:
    case BARRIER_LOOKING:
    case BARRIER_GATHERING:
    case BARRIER_QUITTING:
    case BARRIER_LURKING:
    case BARRIER_LOWERING:
    case BARRIER_EVICTING: return ZK_NO_NODE;
    case BARRIER_IDLE:
    case BARRIER_COUNTING: break;
    }
    return ZK_OK;
}

static bool barrier_creates(enum barrier_step step) {
    return step == BARRIER_CLOSING || step == BARRIER_JOINING || step == BARRIER_RAISING;
}

static void barrier_answer(void *user, const struct zk_result *r) {
    struct barrier *b = user;
    if (ask_watches(&b->ask, r)) b->watching = true;
    if (r->error == ZK_NO_NODE && barrier_creates(b->step)) {
        const char *path = b->step == BARRIER_CLOSING ? b->path : b->ready;
        int error = mkdirs_start(&b->parents, b->c, path, &b->node, barrier_with_parents, b);
        if (error) barrier_over(b, error);
        return;
    }
    if (r->error == ZK_NO_NODE && b->step == BARRIER_COUNTING) {
        barrier_step(b, BARRIER_JOINING);
        return;
    }
    if (r->error && r->error != barrier_accepts(b->step)) {
        barrier_over(b, r->error);
        return;
    }
    switch (b->step) {
    case BARRIER_WAITING:
        if (r->error) barrier_over(b, ZK_OK);
        break;
    case BARRIER_LOOKING:
        b->is_ready = r->error == ZK_OK;
        if (!b->joined)
            barrier_step(b, BARRIER_JOINING);
        else if (b->is_ready)
            barrier_over(b, ZK_OK);
        else
            barrier_step(b, BARRIER_COUNTING);
        break;
    case BARRIER_EVICTING: barrier_step(b, BARRIER_JOINING); break;
    case BARRIER_JOINING: barrier_joined(b, r); break;
    case BARRIER_COUNTING: barrier_counted(b, r); break;
    case BARRIER_GATHERING: barrier_gathered(b, r); break;
    case BARRIER_QUITTING:
        b->joined = false;
        barrier_step(b, BARRIER_GATHERING);
        break;
    case BARRIER_LURKING:
        if (r->error) barrier_step(b, BARRIER_GATHERING); /* he has gone already */
        break;
    case BARRIER_IDLE:
    case BARRIER_CLOSING:
    case BARRIER_OPENING:
    case BARRIER_RAISING:
    case BARRIER_LOWERING: barrier_over(b, ZK_OK); break;
    }
}

/* --- steps --- */

static struct zk_op barrier_op(struct barrier *b, enum barrier_step step) {
    switch (step) {
    case BARRIER_CLOSING: return recipe_create(&b->node, b->path, ZK_PERSISTENT);
    case BARRIER_OPENING: return zk_delete(b->path, -1);
    case BARRIER_WAITING: return zk_watching(zk_exists(b->path), barrier_woken, b);
    case BARRIER_LOOKING: return zk_watching(zk_exists(b->ready), barrier_woken, b);
    case BARRIER_JOINING: return recipe_create(&b->node, b->own, ZK_EPHEMERAL);
    case BARRIER_RAISING: return recipe_create(&b->node, b->ready, ZK_PERSISTENT);
    case BARRIER_EVICTING:
    case BARRIER_QUITTING: return zk_delete(b->own, -1);
    case BARRIER_LURKING: return zk_watching(zk_get(b->other), barrier_woken, b);
    case BARRIER_LOWERING: return zk_delete(b->ready, -1);
    case BARRIER_IDLE:
    case BARRIER_COUNTING:
    case BARRIER_GATHERING: break;
    }
    return zk_get_children(b->path);
}

static void barrier_step(struct barrier *b, enum barrier_step step) {
    struct zk_op op = barrier_op(b, step);
    b->step = step;
    if (op.watch) b->watching = true;
    ask_start(&b->ask, b->c, op, ASK_ALWAYS, barrier_answer, b);
}

/* --- the user --- */

static void barrier_late(void *user) {
    struct barrier *b = user;
    ask_stop(&b->ask);
    mkdirs_stop(&b->parents);
    barrier_over(b, ZK_TIMED_OUT);
}

/* For each time, since the node of the time before may still be on its way out. */
static int barrier_new_name(struct barrier *b) {
    char guid[RECIPE_GUID + 1];
    recipe_guid(b->c, true, guid);
    mem_free(b->own);
    erase_free(b->eraser);
    b->own = recipe_join(b->path, guid);
    b->eraser = b->own ? erase_new(b->c, b->own, false) : NULL;
    return b->eraser ? ZK_OK : ZK_OUT_OF_MEMORY;
}

ZK_PRIVATE int barrier_do(struct barrier *b, enum barrier_step first, int timeout_ms,
                          zk_done_fn done, void *user) {
    if (b->step != BARRIER_IDLE) return ZK_IN_USE;
    if (first == BARRIER_LOOKING && b->inside) return ZK_IN_USE;
    if (first == BARRIER_GATHERING && !b->inside) return ZK_NOT_OWNED;
    if (first == BARRIER_CLOSING || first == BARRIER_OPENING)
        timeout_ms = client_op_timeout(b->c);
    int error = first == BARRIER_LOOKING ? barrier_new_name(b) : ZK_OK;
    if (!error)
        error = wish_begin(&b->wish, b->c, b->owner, timeout_ms, barrier_late, b, done, user);
    if (!error) barrier_step(b, first);
    return error;
}

ZK_PRIVATE int barrier_init(struct barrier *b, struct client *c, const void *owner,
                            const char *path, int members) {
    memset(b, 0, sizeof *b);
    if (!recipe_path_ok(path) || members < 0) return ZK_BAD_ARGUMENTS;
    b->c = c;
    b->owner = owner;
    b->members = members;
    b->path = recipe_copy(path, strlen(path));
    b->ready = recipe_join(path, "ready");
    b->observer.fn = barrier_observe;
    b->observer.user = b;
    client_observe(c, &b->observer);
    if (b->path && b->ready) return ZK_OK;
    barrier_free(b);
    return ZK_OUT_OF_MEMORY;
}

ZK_PRIVATE void barrier_free(struct barrier *b) {
    client_unobserve(b->c, &b->observer);
    ask_stop(&b->ask);
    mkdirs_stop(&b->parents);
    barrier_unwatch(b);
    wish_stop(&b->wish);
    if (b->joined || barrier_is_entering(b->step)) barrier_quit(b);
    erase_free(b->eraser);
    mem_free(b->path);
    mem_free(b->ready);
    mem_free(b->own);
    mem_free(b->other);
}
