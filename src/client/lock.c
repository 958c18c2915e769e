#include "client/lock.h"

#include <stdio.h>

/* The names of the own nodes, and of those who keep one waiting, for each kind and each library. */
struct lock_names {
    const char *own, *blockers[2];
};
static const struct lock_names LOCK_NAMES[][2] = {
    [ZK_LOCK_MUTEX] = {{"lock-", {"lock-", NULL}}, {"__lock__", {"__lock__", NULL}}},
    [ZK_LOCK_WRITE] = {{"__WRIT__", {"__WRIT__", "__READ__"}},
                       {"__lock__", {"__lock__", "__rlock__"}}},
    [ZK_LOCK_READ] = {{"__READ__", {"__WRIT__", NULL}}, {"__rlock__", {"__lock__", NULL}}},
    [ZK_LOCK_LEASE] = {{"lock-", {"lock-", NULL}}, {NULL, {NULL, NULL}}},
};
static const char *const LOCK_LEASES[] = {"lease-"};

/* --- making --- */

/* The kind's own blockers and the extra patterns, copied, in one block. */
static int lock_blockers(struct lock *l, const struct zk_lock_options *o,
                         const struct lock_names *names) {
    int own = names->blockers[1] ? 2 : 1, n = own + o->extra_count;
    size_t bytes = sizeof *l->blockers * (size_t)n;
    for (int i = 0; i < o->extra_count; i++) {
        if (!o->extra_patterns[i] || !*o->extra_patterns[i]) return ZK_BAD_ARGUMENTS;
        bytes += strlen(o->extra_patterns[i]) + 1;
    }
    l->blockers = mem_try(bytes);
    if (!l->blockers) return ZK_OUT_OF_MEMORY;
    char *text = (char *)(l->blockers + n);
    for (int i = 0; i < n; i++) {
        if (i < own) {
            l->blockers[i] = names->blockers[i];
            continue;
        }
        size_t len = strlen(o->extra_patterns[i - own]) + 1;
        l->blockers[i] = memcpy(text, o->extra_patterns[i - own], len);
        text += len;
    }
    l->rule.blockers = l->blockers;
    l->rule.blocker_count = n;
    return ZK_OK;
}

static bool lock_options_ok(const char *path, const struct zk_lock_options *o) {
    bool lease = o->kind == ZK_LOCK_LEASE;
    if (!recipe_path_ok(path) || o->kind < ZK_LOCK_MUTEX || o->kind > ZK_LOCK_LEASE) return false;
    if (lease ? o->leases < 1 || o->kazoo || o->reentrant || o->on_revoke : o->leases != 0)
        return false;
    if (o->on_revoke && o->data_len) return false;
    return o->extra_count >= 0 && (!o->extra_count || o->extra_patterns);
}

ZK_PRIVATE int lock_init(struct lock *l, struct client *c, const void *owner, const char *path,
                         const struct zk_lock_options *options) {
    static const struct zk_lock_options plain;
    const struct zk_lock_options *o = options ? options : &plain;
    memset(l, 0, sizeof *l);
    l->c = c;
    if (!lock_options_ok(path, o)) return ZK_BAD_ARGUMENTS;
    const struct lock_names *names = &LOCK_NAMES[o->kind][o->kazoo];
    bool lease = o->kind == ZK_LOCK_LEASE;
    l->reentrant = o->reentrant;
    l->rule.name = names->own;
    l->rule.kazoo = o->kazoo;
    l->rule.ties_pass = o->kind == ZK_LOCK_READ;
    l->lease_rule.name = LOCK_LEASES[0];
    l->lease_rule.blockers = LOCK_LEASES;
    l->lease_rule.blocker_count = 1;
    l->lease_rule.leases = o->leases;
    l->on_revoke = o->on_revoke;
    notice_init(&l->notice, c, owner, o->on_state, o->user);
    int error = recipe_node_init(&l->node, o->data, o->data_len, o->acl, o->acl_count);
    if (!error) error = lock_blockers(l, o, names);
    if (!error) {
        l->path = lease ? recipe_join(path, "locks") : recipe_copy(path, strlen(path));
        if (lease) l->leases = recipe_join(path, "leases");
        if (!l->path || (lease && !l->leases)) error = ZK_OUT_OF_MEMORY;
    }
    if (error) lock_free(l);
    return error;
}

/* --- leaving --- */

static void lock_woken(void *user, const struct zk_event *event);

static void lock_leave(struct lock *l) {
    ask_stop(&l->revoke);
    if (l->listening) client_unwatch(l->c, lock_woken, l);
    l->listening = false;
    if (l->line) line_leave(l->line);
    if (l->lease) line_leave(l->lease);
    l->line = l->lease = NULL;
    l->depth = 0;
}

ZK_PRIVATE void lock_free(struct lock *l) {
    lock_leave(l);
    wish_stop(&l->wish);
    notice_stop(&l->notice);
    recipe_node_free(&l->node);
    mem_free(l->blockers);
    mem_free(l->path);
    mem_free(l->leases);
}

static void lock_give_up(struct lock *l, int error) {
    lock_leave(l);
    notice_tell(&l->notice, ZK_HOLD_NONE, 0);
    wish_end(&l->wish, error);
}

/* Whoever has acquired it more than once will release it as often. */
static void lock_lost(struct lock *l) {
    unsigned depth = l->depth;
    lock_leave(l);
    l->depth = depth;
    notice_tell(&l->notice, ZK_HOLD_LOST, 0);
}

static void lock_late(void *user) {
    lock_give_up(user, ZK_TIMED_OUT);
}

/* --- revocation --- */

struct lock_post {
    struct client_post post;
    void (*fn)(void *user);
    void *user;
};

static void lock_post_run(struct client_post *p) {
    struct lock_post *post = (struct lock_post *)(void *)p;
    post->fn(post->user);
    mem_free(post);
}

static void lock_post_drop(struct client_post *p) {
    mem_free(p);
}

static void lock_looked(void *user, const struct zk_result *r) {
    struct lock *l = user;
    size_t n = strlen(LOCK_REVOKE);
    if (r->error || r->data_len != (int)n || memcmp(r->data, LOCK_REVOKE, n) != 0) return;
    struct lock_post *p = mem_try(sizeof *p);
    if (!p) return; /* he asked in vain, as one may who asks somebody that does not listen */
    p->post.owner = l->notice.owner;
    p->post.run = lock_post_run;
    p->post.drop = lock_post_drop;
    p->fn = l->on_revoke;
    p->user = l->notice.user;
    client_post(l->c, &p->post);
}

/* Watches the data of the own node. */
static void lock_listen(struct lock *l) {
    struct zk_op op = zk_watching(zk_get(line_path(l->line)), lock_woken, l);
    if (!l->on_revoke || ask_busy(&l->revoke)) return;
    l->listening = true;
    ask_start(&l->revoke, l->c, op, ASK_ALWAYS, lock_looked, l);
}

static void lock_woken(void *user, const struct zk_event *event) {
    struct lock *l = user;
    if (event->type == ZK_NODE_DATA_CHANGED && l->line) lock_listen(l);
    if (event->type == ZK_NODE_DELETED && l->line) line_check(l->line);
}

ZK_PRIVATE const char *lock_first(const struct lock *l, const struct zk_result *children) {
    return line_head(&l->rule, children);
}

/* --- what the lines say --- */

static bool lock_is_held(const struct lock *l) {
    return l->notice.state == ZK_HOLD_OWNED || l->notice.state == ZK_HOLD_SUSPENDED;
}

static void lock_own(struct lock *l, struct line *by) {
    if (!l->depth) l->depth = 1;
    notice_tell(&l->notice, ZK_HOLD_OWNED, line_token(by));
    wish_end(&l->wish, ZK_OK);
}

/* Whether it stands and falls with the line that says something. */
static void lock_trouble(struct lock *l, enum line_event event, int error) {
    bool held = lock_is_held(l);
    if (event == LINE_DOUBT && held)
        notice_tell(&l->notice, ZK_HOLD_SUSPENDED, l->notice.token);
    else if (event == LINE_FAILED && !held)
        lock_give_up(l, error);
    else if ((event == LINE_LATE || event == LINE_GONE || event == LINE_FAILED) && held)
        lock_lost(l);
    else if (event == LINE_BEHIND && l->trying)
        lock_give_up(l, ZK_LOCKED);
    else if (event == LINE_DOUBT && l->trying)
        lock_give_up(l, ZK_CONNECTION_LOSS);
}

static void lock_on_lease(void *user, enum line_event event, int error) {
    struct lock *l = user;
    if (event != LINE_FIRST) {
        lock_trouble(l, event, error);
        return;
    }
    if (l->line) line_leave(l->line);
    l->line = NULL;
    lock_own(l, l->lease);
}

static void lock_on_line(void *user, enum line_event event, int error) {
    struct lock *l = user;
    if (!l->leases) {
        if (event == LINE_FIRST) {
            lock_own(l, l->line);
            lock_listen(l);
        } else {
            lock_trouble(l, event, error);
        }
    } else if (event == LINE_GONE) { /* it begins again, and the lease after it */
        if (l->lease) line_leave(l->lease);
        l->lease = NULL;
    } else if (event != LINE_FIRST) {
        lock_trouble(l, event, error);
    } else if (!l->lease) {
        error = line_join(&l->lease, l->c, l->leases, &l->lease_rule, &l->node, lock_on_lease, l);
        if (error) lock_give_up(l, error);
    }
}

/* --- what the user does --- */

static int lock_join(struct lock *l, int timeout_ms, zk_done_fn done, void *user) {
    int error = wish_begin(&l->wish, l->c, l->notice.owner, timeout_ms, lock_late, l, done, user);
    if (error) return error;
    error = line_join(&l->line, l->c, l->path, &l->rule, &l->node, lock_on_line, l);
    if (error)
        wish_stop(&l->wish);
    else
        notice_tell(&l->notice, ZK_HOLD_WAITING, 0);
    return error;
}

ZK_PRIVATE int lock_acquire(struct lock *l, int timeout_ms, bool trying, zk_done_fn done,
                            void *user) {
    if (l->notice.state == ZK_HOLD_OWNED && l->reentrant) {
        int error = wish_begin(&l->wish, l->c, l->notice.owner, -1, lock_late, l, done, user);
        if (error) return error;
        l->depth++;
        wish_end(&l->wish, ZK_OK);
        return ZK_OK;
    }
    if (l->notice.state == ZK_HOLD_SUSPENDED && l->reentrant) return ZK_CONNECTION_LOSS;
    if (l->line || l->lease) return ZK_IN_USE;
    if (trying && !client_is_up(l->c)) return ZK_CONNECTION_LOSS;
    l->trying = trying;
    l->depth = 0;
    l->rule.place = NULL;
    return lock_join(l, timeout_ms, done, user);
}

ZK_PRIVATE int lock_downgrade(struct lock *write, struct lock *read, int timeout_ms,
                              zk_done_fn done, void *user) {
    bool fit = !write->leases && !read->leases && !write->rule.ties_pass && read->rule.ties_pass &&
               !read->rule.kazoo && strcmp(write->rule.name, "__WRIT__") == 0 &&
               strcmp(write->path, read->path) == 0;
    if (!fit) return ZK_BAD_ARGUMENTS;
    if (read->line) return ZK_IN_USE;
    if (write->notice.state != ZK_HOLD_OWNED) return ZK_NOT_OWNED;
    (void)snprintf(read->place, sizeof read->place, "%010d", (int)write->line->seq);
    read->trying = false;
    read->rule.place = read->place;
    return lock_join(read, timeout_ms, done, user);
}

ZK_PRIVATE int lock_release(struct lock *l) {
    switch (l->notice.state) {
    case ZK_HOLD_NONE: return ZK_NOT_OWNED;
    case ZK_HOLD_WAITING: lock_give_up(l, ZK_CANCELED); return ZK_OK;
    case ZK_HOLD_OWNED:
    case ZK_HOLD_SUSPENDED:
    case ZK_HOLD_LOST: break;
    }
    if (l->depth > 1) {
        l->depth--;
        return ZK_OK;
    }
    lock_leave(l);
    notice_tell(&l->notice, ZK_HOLD_NONE, 0);
    return ZK_OK;
}

ZK_PRIVATE int64_t lock_token(const struct lock *l) {
    return l->notice.state == ZK_HOLD_OWNED ? l->notice.token : 0;
}
