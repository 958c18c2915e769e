#include "client/member.h"

static void member_step(struct member *m, enum member_step step);

/* --- watching --- */

static void member_woken(void *user, const struct zk_event *event) {
    struct member *m = user;
    m->watching = false;
    if (m->step != MEMBER_IDLE) return; /* whose answer will be newer */
    if (event->type == ZK_NODE_DELETED && m->notice.state == ZK_HOLD_OWNED)
        notice_tell(&m->notice, ZK_HOLD_LOST, 0);
    member_step(m, event->type == ZK_NODE_DELETED ? MEMBER_CREATING : MEMBER_LOOKING);
}

static void member_unwatch(struct member *m) {
    if (m->watching) client_unwatch(m->c, member_woken, m);
    m->watching = false;
}

/* --- answers --- */

static void member_fail(struct member *m, int error) {
    bool held = m->notice.state == ZK_HOLD_OWNED || m->notice.state == ZK_HOLD_SUSPENDED;
    if (held) notice_tell(&m->notice, ZK_HOLD_LOST, 0);
    m->step = MEMBER_FAILED;
    m->error = error;
    notice_tell(&m->notice, ZK_HOLD_NONE, 0);
    wish_end(&m->wish, error);
}

static void member_with_parents(void *user, int error) {
    struct member *m = user;
    if (error)
        member_fail(m, error);
    else
        member_step(m, MEMBER_CREATING);
}

static void member_looked(struct member *m, const struct zk_result *r) {
    int64_t owner = r->stat.ephemeral_owner;
    bool ours = m->persistent ? !owner : owner == client_session_id(m->c);
    if (ours && m->changed) {
        member_step(m, MEMBER_SETTING);
    } else if (ours) {
        m->step = MEMBER_IDLE;
        m->may_evict = false;
        notice_tell(&m->notice, ZK_HOLD_OWNED, r->stat.czxid);
        wish_end(&m->wish, ZK_OK);
    } else if (m->may_evict) {
        member_step(m, MEMBER_EVICTING);
    } else {
        m->step = MEMBER_IDLE; /* until his goes */
    }
}

static void member_answer(void *user, const struct zk_result *r) {
    struct member *m = user;
    bool missing = r->error == ZK_NO_NODE;
    if (ask_watches(&m->ask, r)) m->watching = true;
    if (m->step == MEMBER_CREATING && missing) {
        m->step = MEMBER_PARENTS;
        int error = mkdirs_start(&m->parents, m->c, m->path, &m->node, member_with_parents, m);
        if (error) member_fail(m, error);
    } else if (m->step == MEMBER_CREATING && (!r->error || r->error == ZK_NODE_EXISTS)) {
        m->changed = r->error != ZK_OK; /* what was there may say something else */
        member_step(m, MEMBER_LOOKING);
    } else if (missing) {
        member_step(m, MEMBER_CREATING);
    } else if (r->error) {
        member_fail(m, r->error);
    } else if (m->step == MEMBER_LOOKING) {
        member_looked(m, r);
    } else {
        m->changed = false;
        member_step(m, MEMBER_LOOKING);
    }
}

static struct zk_op member_create(const struct member *m, const struct recipe_node *node) {
    return recipe_create(node, m->path, m->persistent ? ZK_PERSISTENT : ZK_EPHEMERAL);
}

/* In one, or the other could take the place again. */
static struct zk_op member_evict(const struct member *m, const struct recipe_node *node,
                                 struct zk_op pair[2]) {
    pair[0] = zk_delete(m->path, -1);
    pair[1] = member_create(m, node);
    return zk_multi(pair, 2);
}

static void member_step(struct member *m, enum member_step step) {
    struct zk_op op = member_create(m, &m->node);
    m->step = step;
    if (step == MEMBER_EVICTING) op = member_evict(m, &m->node, m->pair);
    if (step == MEMBER_LOOKING) op = zk_watching(zk_get(m->path), member_woken, m);
    if (step == MEMBER_SETTING) op = zk_set(m->path, m->node.data, m->node.data_len, -1);
    if (op.watch) m->watching = true;
    ask_start(&m->ask, m->c, op, ASK_ALWAYS, member_answer, m);
}

static void member_observe(void *user, enum zk_state state, int64_t session_id) {
    struct member *m = user;
    bool held = m->notice.state == ZK_HOLD_OWNED || m->notice.state == ZK_HOLD_SUSPENDED;
    (void)session_id;
    if (client_is_over(m->c)) {
        ask_stop(&m->ask);
        mkdirs_stop(&m->parents);
        member_fail(m, client_error(m->c));
    } else if (state == ZK_STATE_SUSPENDED && m->notice.state == ZK_HOLD_OWNED) {
        notice_tell(&m->notice, ZK_HOLD_SUSPENDED, m->notice.token);
    } else if (state == ZK_STATE_LOST && held) {
        notice_tell(&m->notice, ZK_HOLD_LOST, 0);
    } else if (state == ZK_STATE_EXPIRED) {
        m->may_evict = true;
        if (held) notice_tell(&m->notice, ZK_HOLD_LOST, 0);
    } else if (state == ZK_STATE_CONNECTED && m->step == MEMBER_IDLE) {
        member_step(m, MEMBER_LOOKING);
    }
}

/* --- the user --- */

static void member_late(void *user) {
    struct member *m = user;
    wish_end(&m->wish, ZK_TIMED_OUT);
}

ZK_PRIVATE int member_wait(struct member *m, int timeout_ms, zk_done_fn done, void *user) {
    if (m->step == MEMBER_FAILED) return m->error;
    int error = wish_begin(&m->wish, m->c, m->notice.owner, timeout_ms, member_late, m, done,
                           user);
    if (!error && m->step == MEMBER_IDLE && m->notice.state == ZK_HOLD_OWNED)
        wish_end(&m->wish, ZK_OK);
    return error;
}

ZK_PRIVATE int member_set(struct member *m, const void *data, int len) {
    struct recipe_node node;
    if (m->step == MEMBER_FAILED) return m->error;
    int error = recipe_node_init(&node, data, len, NULL, 0);
    if (error) return error;
    /* It has to fit into all that may be asked for its sake, of which this is the largest. */
    struct recipe_node whole = m->node;
    struct zk_op pair[2];
    whole.data = node.data;
    whole.data_len = node.data_len;
    struct zk_op largest = member_evict(m, &whole, pair);
    error = client_check(m->c, &largest);
    if (error) {
        mem_free(node.data);
        return error;
    }
    bool under_way = m->step == MEMBER_CREATING || m->step == MEMBER_EVICTING ||
                     m->step == MEMBER_SETTING;
    if (under_way) ask_stop(&m->ask); /* which borrows what was to be written */
    mem_free(m->node.data);
    m->node.data = node.data;
    m->node.data_len = node.data_len;
    m->changed = true;
    if (under_way)
        member_step(m, m->step);
    else if (m->step == MEMBER_IDLE)
        member_step(m, MEMBER_LOOKING);
    return ZK_OK;
}

ZK_PRIVATE int member_init(struct member *m, struct client *c, const void *owner,
                           const char *path, const void *data, int len,
                           const struct zk_member_options *options) {
    static const struct zk_member_options plain;
    const struct zk_member_options *o = options ? options : &plain;
    memset(m, 0, sizeof *m);
    if (!recipe_path_ok(path)) return ZK_BAD_ARGUMENTS;
    m->c = c;
    m->persistent = o->persistent;
    m->may_evict = true;
    notice_init(&m->notice, c, owner, o->on_state, o->user);
    int error = recipe_node_init(&m->node, data, len, o->acl, o->acl_count);
    if (error) return error;
    m->path = recipe_copy(path, strlen(path));
    m->eraser = m->path ? erase_new(c, path, o->persistent) : NULL;
    if (!m->eraser) {
        mem_free(m->path);
        recipe_node_free(&m->node);
        return ZK_OUT_OF_MEMORY;
    }
    m->observer.fn = member_observe;
    m->observer.user = m;
    client_observe(c, &m->observer);
    notice_tell(&m->notice, ZK_HOLD_WAITING, 0);
    member_step(m, MEMBER_CREATING);
    return ZK_OK;
}

ZK_PRIVATE void member_free(struct member *m) {
    client_unobserve(m->c, &m->observer);
    ask_stop(&m->ask);
    mkdirs_stop(&m->parents);
    member_unwatch(m);
    wish_stop(&m->wish);
    notice_stop(&m->notice);
    erase_begin(m->eraser);
    recipe_node_free(&m->node);
    mem_free(m->path);
}
