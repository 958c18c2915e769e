#include "client/line.h"

#define LINE_NAME 64 /* bytes of a name and a sequence */

static void line_look(struct line *l, bool watch);
static void line_wait(struct line *l);
static void line_woken(void *user, const struct zk_event *event);

/* --- leaving --- */

static void line_free(void *user) {
    struct line *l = user;
    client_unobserve(l->c, &l->observer);
    if (l->watching) client_unwatch(l->c, line_woken, l);
    client_timer_stop(l->c, &l->timer);
    ask_stop(&l->ask);
    ask_stop(&l->removal);
    protect_stop(&l->own);
    mem_free(l->ahead);
    mem_free(l->dir);
    mem_free(l);
}

static void line_unwatch(struct line *l) {
    if (l->watching) client_unwatch(l->c, line_woken, l);
    l->watching = false;
}

/* Of one that was left: whether that was all; goes on with what is still to be done. */
static bool line_is_done(struct line *l);

static void line_tidy(struct line *l) {
    if (line_is_done(l)) line_free(l);
}

static void line_removed(void *user, const struct zk_result *r) {
    struct line *l = user;
    (void)r;
    line_unwatch(l);
    line_tidy(l);
}

static bool line_is_done(struct line *l) {
    if (ask_busy(&l->ask) || ask_busy(&l->removal)) return false;
    if (l->watching && client_is_up(l->c)) {
        struct zk_op op = zk_remove_watches(l->counting ? l->dir : l->ahead,
                                            l->counting ? ZK_WATCH_CHILDREN : ZK_WATCH_DATA,
                                            line_woken, l);
        op.local = true;
        ask_start(&l->removal, l->c, op, ASK_ALWAYS, line_removed, l);
        l->removal.last = true;
        return false;
    }
    return l->own.state == PROTECT_GONE;
}

ZK_PRIVATE void line_leave(struct line *l) {
    l->left = true;
    l->fn = NULL;
    client_timer_stop(l->c, &l->timer);
    (void)protect_drop(&l->own);
    l->ask.last = true; /* the answer to what was sent may set a watch */
    if (!ask_sent(&l->ask)) ask_stop(&l->ask);
    if (!line_is_done(l)) return;
    l->timer.fn = line_free;
    client_timer_set(l->c, &l->timer, client_now(l->c));
}

static void line_tell(struct line *l, enum line_event event, int error) {
    if (l->fn) l->fn(l->user, event, error);
}

static void line_fail(struct line *l, int error) {
    line_tell(l, LINE_FAILED, error);
}

/* --- who is ahead --- */

/* The sequence of a child that contends by this rule. */
static bool line_contends(const struct line_rule *rule, const char *name, int32_t *seq) {
    for (int i = 0; i < rule->blocker_count; i++)
        if (recipe_sequence(name, rule->blockers[i], seq)) return true;
    return false;
}

static bool line_before(int32_t seq_a, const char *a, int32_t seq_b, const char *b) {
    return seq_a != seq_b ? seq_a < seq_b : strcmp(a, b) < 0;
}

ZK_PRIVATE const char *line_head(const struct line_rule *rule, const struct zk_result *children) {
    const char *best = NULL;
    int32_t seq, best_seq = 0;
    for (int i = 0; i < children->count; i++) {
        const char *name = children->names[i];
        if (!line_contends(rule, name, &seq)) continue;
        if (best && line_before(best_seq, best, seq, name)) continue;
        best = name;
        best_seq = seq;
    }
    return best;
}

/* The nearest one ahead of us, or NULL. */
static const char *line_nearest(const struct line *l, const struct zk_result *r) {
    const char *own = protect_name(&l->own), *best = NULL;
    int32_t best_seq = 0, seq;
    for (int i = 0; i < r->count; i++) {
        const char *name = r->names[i];
        if (!line_contends(l->rule, name, &seq) || !line_before(seq, name, l->seq, own)) continue;
        if (seq == l->seq && l->rule->ties_pass) continue;
        if (best && line_before(seq, name, best_seq, best)) continue;
        best = name;
        best_seq = seq;
    }
    return best;
}

/* With leases: whether there are more contenders than those. */
static bool line_is_crowded(const struct line *l, const struct zk_result *r) {
    int32_t seq, n = 0;
    for (int i = 0; i < r->count; i++) n += line_contends(l->rule, r->names[i], &seq);
    return n > l->rule->leases;
}

static bool line_has_own(const struct line *l, const struct zk_result *r) {
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->names[i], protect_name(&l->own)) == 0) return true;
    return false;
}

static void line_set_first(struct line *l) {
    l->first = true;
    line_tell(l, LINE_FIRST, ZK_OK);
}

/* Our node is gone, with its session or by force. */
static void line_begin_again(struct line *l) {
    bool first = l->first;
    l->first = false;
    protect_stop(&l->own);
    if (first) line_tell(l, LINE_GONE, ZK_OK);
    if (l->left) return;
    if (l->rule->place)
        line_fail(l, ZK_NOT_OWNED); /* the place was another node's, which is gone too */
    else
        client_timer_set(l->c, &l->timer, client_now(l->c));
}

static void line_looked(void *user, const struct zk_result *r) {
    struct line *l = user;
    if (ask_watches(&l->ask, r)) l->watching = true;
    if (l->left) {
        line_tidy(l);
        return;
    }
    if (r->error && r->error != ZK_NO_NODE) {
        line_fail(l, r->error);
        return;
    }
    if (r->error || !line_has_own(l, r)) {
        line_begin_again(l);
        return;
    }
    if (l->counting) {
        if (!line_is_crowded(l, r))
            line_set_first(l);
        else if (l->watching)
            line_tell(l, LINE_BEHIND, ZK_OK);
        else
            line_look(l, true);
        return;
    }
    const char *nearest = line_nearest(l, r);
    mem_free(l->ahead);
    l->ahead = nearest ? recipe_join(l->dir, nearest) : NULL;
    if (!nearest)
        line_set_first(l);
    else if (l->ahead)
        line_wait(l);
    else
        line_fail(l, ZK_OUT_OF_MEMORY);
}

/* Without a watch first when counting: whoever gets in at once shall not be woken by others. */
static void line_look(struct line *l, bool watch) {
    struct zk_op op = zk_get_children(l->dir);
    if (watch) op = zk_watching(op, line_woken, l);
    if (watch) l->watching = true;
    ask_start(&l->ask, l->c, op, ASK_ALWAYS, line_looked, l);
}

/* --- waiting --- */

static void line_waits(void *user, const struct zk_result *r) {
    struct line *l = user;
    l->watching = ask_watches(&l->ask, r);
    if (l->left) {
        line_tidy(l);
    } else if (r->error == ZK_NO_NODE) {
        line_look(l, false);
    } else if (r->error) {
        line_fail(l, r->error);
    } else {
        line_tell(l, LINE_BEHIND, ZK_OK);
    }
}

/* By get, not by exists, which would leave a watch on a node that is gone. */
static void line_wait(struct line *l) {
    l->watching = true;
    ask_start(&l->ask, l->c, zk_watching(zk_get(l->ahead), line_woken, l), ASK_ALWAYS, line_waits,
              l);
}

static void line_woken(void *user, const struct zk_event *event) {
    struct line *l = user;
    l->watching = false;
    /* The answer that is on its way is newer than the event. */
    if (l->left || l->first || l->own.state != PROTECT_THERE || ask_busy(&l->ask)) return;
    if (event->type == ZK_NODE_DATA_CHANGED)
        line_wait(l);
    else
        line_look(l, false);
}

/* --- the own node --- */

static void line_is_there(struct line *l) {
    if (l->first) {
        line_tell(l, LINE_FIRST, ZK_OK);
        return;
    }
    if (!recipe_sequence(protect_name(&l->own), l->rule->name, &l->seq))
        line_fail(l, ZK_MARSHALLING_ERROR);
    else if (l->seq < 0)
        line_fail(l, ZK_SEQUENCE_OVERFLOW);
    else
        line_look(l, false);
}

static void line_own(void *user, enum protect_event event) {
    struct line *l = user;
    if (l->left) {
        line_tidy(l);
    } else if (event == PROTECT_IS_THERE) {
        line_is_there(l);
    } else if (event == PROTECT_FAILED) {
        line_fail(l, l->own.error);
    } else {
        line_begin_again(l);
    }
}

static int line_start(struct line *l) {
    const struct line_rule *rule = l->rule;
    char name[LINE_NAME];
    enum zk_create_mode mode = rule->place ? ZK_EPHEMERAL : ZK_EPHEMERAL_SEQUENTIAL;
    size_t n = strlen(rule->name), m = rule->place ? strlen(rule->place) : 0;
    ZK_ASSERT(n + m < sizeof name);
    memcpy(name, rule->name, n);
    memcpy(name + n, rule->place ? rule->place : "", m + 1);
    return protect_start(&l->own, l->c, l->dir, name, rule->kazoo, mode, l->node, line_own, l);
}

static void line_start_again(void *user) {
    struct line *l = user;
    int error = line_start(l);
    if (error) line_fail(l, error);
}

/* --- the session --- */

/* It ended, and our node with it. */
static void line_expired(struct line *l) {
    ask_stop(&l->ask);
    ask_stop(&l->removal);
    line_unwatch(l);
    if (l->left)
        line_free(l);
    else
        line_begin_again(l);
}

/* The connection is back: whether our node is still there, and whom we wait for. */
static void line_reconnected(struct line *l) {
    if (l->left || l->own.state != PROTECT_THERE) return;
    if (l->first)
        protect_ask(&l->own);
    else if (!ask_busy(&l->ask) && l->ahead)
        line_wait(l);
    else if (!ask_busy(&l->ask))
        line_look(l, l->counting);
}

static void line_state(void *user, enum zk_state state, int64_t session_id) {
    struct line *l = user;
    (void)session_id;
    if (client_is_over(l->c)) {
        line_fail(l, client_error(l->c));
        if (l->left) line_free(l);
        return;
    }
    switch (state) {
    case ZK_STATE_CONNECTED: line_reconnected(l); break;
    case ZK_STATE_SUSPENDED: line_tell(l, LINE_DOUBT, ZK_OK); break;
    case ZK_STATE_LOST: line_tell(l, LINE_LATE, ZK_OK); break;
    case ZK_STATE_EXPIRED: line_expired(l); break;
    case ZK_STATE_CONNECTING:
    case ZK_STATE_READ_ONLY:
    case ZK_STATE_AUTH_FAILED:
    case ZK_STATE_CLOSED: break;
    }
}

ZK_PRIVATE int line_join(struct line **out, struct client *c, const char *dir,
                         const struct line_rule *rule, const struct recipe_node *node, line_fn fn,
                         void *user) {
    struct line *l = mem_try(sizeof *l);
    *out = NULL;
    if (!l) return ZK_OUT_OF_MEMORY;
    l->c = c;
    l->rule = rule;
    l->node = node;
    l->counting = rule->leases > 0;
    l->fn = fn;
    l->user = user;
    l->timer.fn = line_start_again;
    l->timer.user = l;
    l->dir = recipe_copy(dir, strlen(dir));
    int error = l->dir ? line_start(l) : ZK_OUT_OF_MEMORY;
    if (error) {
        mem_free(l->dir);
        mem_free(l);
        return error;
    }
    l->observer.fn = line_state;
    l->observer.user = l;
    client_observe(c, &l->observer);
    *out = l;
    return ZK_OK;
}

ZK_PRIVATE void line_check(struct line *l) {
    if (l->first) protect_ask(&l->own);
}

ZK_PRIVATE const char *line_path(const struct line *l) {
    return l->own.path;
}

ZK_PRIVATE int64_t line_token(const struct line *l) {
    return l->own.czxid;
}
