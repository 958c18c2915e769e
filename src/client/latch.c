#include "client/latch.h"

static const char *const LATCH_NAME[] = {"latch-"};
static const char *const LATCH_SELECTOR_NAME[] = {"lock-"};

static void latch_on_line(void *user, enum line_event event, int error) {
    struct latch *l = user;
    enum zk_hold_state state = l->notice.state;
    switch (event) {
    case LINE_FIRST:
        notice_tell(&l->notice, ZK_HOLD_OWNED, line_token(l->line));
        wish_end(&l->wish, ZK_OK);
        break;
    case LINE_BEHIND: notice_tell(&l->notice, ZK_HOLD_WAITING, 0); break;
    case LINE_DOUBT:
        if (state == ZK_HOLD_OWNED)
            notice_tell(&l->notice, ZK_HOLD_SUSPENDED, l->notice.token);
        break;
    case LINE_LATE:
    case LINE_GONE:
        if (state == ZK_HOLD_OWNED || state == ZK_HOLD_SUSPENDED)
            notice_tell(&l->notice, ZK_HOLD_LOST, 0);
        break;
    case LINE_FAILED:
        line_leave(l->line);
        l->line = NULL;
        l->error = error;
        if (state == ZK_HOLD_OWNED || state == ZK_HOLD_SUSPENDED)
            notice_tell(&l->notice, ZK_HOLD_LOST, 0);
        notice_tell(&l->notice, ZK_HOLD_NONE, 0);
        wish_end(&l->wish, error);
        break;
    }
}

static int latch_join(struct latch *l) {
    int error = line_join(&l->line, l->c, l->path, &l->rule, &l->node, latch_on_line, l);
    notice_tell(&l->notice, error ? ZK_HOLD_NONE : ZK_HOLD_WAITING, 0);
    l->error = error;
    return error;
}

ZK_PRIVATE int latch_init(struct latch *l, struct client *c, const void *owner, const char *path,
                          const struct zk_leader_options *options) {
    static const struct zk_leader_options plain;
    const struct zk_leader_options *o = options ? options : &plain;
    const char *id = o->id ? o->id : "";
    memset(l, 0, sizeof *l);
    l->c = c;
    if (!recipe_path_ok(path) || strlen(id) > INT32_MAX) return ZK_BAD_ARGUMENTS;
    l->rule.blockers = o->selector ? LATCH_SELECTOR_NAME : LATCH_NAME;
    l->rule.name = l->rule.blockers[0];
    l->rule.blocker_count = 1;
    notice_init(&l->notice, c, owner, o->on_state, o->user);
    int error = recipe_node_init(&l->node, id, (int)strlen(id), o->acl, o->acl_count);
    l->path = recipe_copy(path, strlen(path));
    if (!error && !l->path) error = ZK_OUT_OF_MEMORY;
    if (!error) error = latch_join(l);
    if (error) latch_free(l);
    return error;
}

ZK_PRIVATE void latch_free(struct latch *l) {
    if (l->line) line_leave(l->line);
    l->line = NULL;
    wish_stop(&l->wish);
    notice_stop(&l->notice);
    recipe_node_free(&l->node);
    mem_free(l->path);
    l->path = NULL;
}

static void latch_late(void *user) {
    struct latch *l = user;
    wish_end(&l->wish, ZK_TIMED_OUT);
}

ZK_PRIVATE int latch_wait(struct latch *l, int timeout_ms, zk_done_fn done, void *user) {
    if (!l->line) return l->error;
    int error = wish_begin(&l->wish, l->c, l->notice.owner, timeout_ms, latch_late, l, done, user);
    if (!error && l->notice.state == ZK_HOLD_OWNED) wish_end(&l->wish, ZK_OK);
    return error;
}

ZK_PRIVATE int latch_resign(struct latch *l) {
    if (l->notice.state != ZK_HOLD_OWNED && l->notice.state != ZK_HOLD_SUSPENDED)
        return ZK_NOT_OWNED;
    line_leave(l->line);
    l->line = NULL;
    return latch_join(l);
}

ZK_PRIVATE const char *latch_first(const struct latch *l, const struct zk_result *children) {
    return line_head(&l->rule, children);
}
