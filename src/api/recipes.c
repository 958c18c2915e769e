#include "api/recipes.h"

#include "api/client.h"
#include "client/latch.h"
#include "client/lock.h"

/* --- common --- */

/* Enters, unless the session is over: then *error says why. */
static struct client *recipes_enter(struct zk *zk, int *error) {
    struct client *c = api_enter(zk);
    *error = c ? client_error(c) : ZK_BAD_ARGUMENTS;
    if (!*error) return c;
    if (c) api_leave(zk);
    return NULL;
}

/* The end of a synchronous call: `error` is how it began. */
static int recipes_leave(struct zk *zk, struct wish *w, int error) {
    if (!error && w->open) {
        error = api_wait(zk, wish_over, w, -1);
        if (w->open)
            wish_stop(w);
        else
            error = w->error;
    } else if (!error) {
        error = w->error;
    }
    api_leave(zk);
    return error;
}

/* What is told of the state has to be so now: a process that stood still learns first that time has
 * passed, which breaks its connection, and then what follows from that. */
static struct client *recipes_look(struct zk *zk) {
    struct client *c = api_enter(zk);
    client_tick(c, client_now(c));
    client_tick(c, client_now(c));
    return c;
}

/* --- locks --- */

struct zk_lock {
    struct zk *zk;
    struct lock m;
};

ZK_API int zk_lock_new(struct zk *zk, const char *path, const struct zk_lock_options *options,
                       struct zk_lock **out) {
    int error;
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    struct client *c = recipes_enter(zk, &error);
    if (!c) return error;
    struct zk_lock *lock = mem_try(sizeof *lock);
    error = lock ? lock_init(&lock->m, c, lock, path, options) : ZK_OUT_OF_MEMORY;
    api_leave(zk);
    if (error) {
        mem_free(lock);
        return error;
    }
    lock->zk = zk;
    *out = lock;
    return ZK_OK;
}

ZK_API void zk_lock_free(struct zk_lock *lock) {
    if (!lock) return;
    (void)api_enter(lock->zk);
    lock_free(&lock->m);
    api_settle(lock->zk, lock);
    api_leave(lock->zk);
    mem_free(lock);
}

ZK_API int zk_lock_acquire(struct zk_lock *lock, int timeout_ms) {
    int error;
    if (!lock) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(lock->zk, &error)) return error;
    error = lock_acquire(&lock->m, timeout_ms, false, NULL, NULL);
    return recipes_leave(lock->zk, &lock->m.wish, error);
}

ZK_API int zk_lock_acquire_async(struct zk_lock *lock, int timeout_ms, zk_done_fn done,
                                 void *user) {
    int error;
    if (!lock || !done) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(lock->zk, &error)) return error;
    error = lock_acquire(&lock->m, timeout_ms, false, done, user);
    api_leave(lock->zk);
    return error;
}

ZK_API int zk_lock_try(struct zk_lock *lock) {
    int error;
    if (!lock) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(lock->zk, &error)) return error;
    error = lock_acquire(&lock->m, -1, true, NULL, NULL);
    return recipes_leave(lock->zk, &lock->m.wish, error);
}

ZK_API int zk_lock_release(struct zk_lock *lock) {
    if (!lock) return ZK_BAD_ARGUMENTS;
    (void)api_enter(lock->zk);
    int error = lock_release(&lock->m);
    api_leave(lock->zk);
    return error;
}

ZK_API int zk_lock_downgrade(struct zk_lock *write, struct zk_lock *read, int timeout_ms) {
    int error;
    if (!write || !read || write->zk != read->zk) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(write->zk, &error)) return error;
    error = lock_downgrade(&write->m, &read->m, timeout_ms, NULL, NULL);
    return recipes_leave(write->zk, &read->m.wish, error);
}

ZK_API enum zk_hold_state zk_lock_state(struct zk_lock *lock) {
    if (!lock) return ZK_HOLD_NONE;
    (void)recipes_look(lock->zk);
    enum zk_hold_state state = lock->m.notice.state;
    api_leave(lock->zk);
    return state;
}

ZK_API int64_t zk_lock_token(struct zk_lock *lock) {
    if (!lock) return 0;
    (void)recipes_look(lock->zk);
    int64_t token = lock_token(&lock->m);
    api_leave(lock->zk);
    return token;
}

/* --- leadership --- */

struct zk_leader {
    struct zk *zk;
    struct latch m;
};

ZK_API int zk_leader_new(struct zk *zk, const char *path, const struct zk_leader_options *options,
                         struct zk_leader **out) {
    int error;
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    struct client *c = recipes_enter(zk, &error);
    if (!c) return error;
    struct zk_leader *leader = mem_try(sizeof *leader);
    error = leader ? latch_init(&leader->m, c, leader, path, options) : ZK_OUT_OF_MEMORY;
    api_leave(zk);
    if (error) {
        mem_free(leader);
        return error;
    }
    leader->zk = zk;
    *out = leader;
    return ZK_OK;
}

ZK_API void zk_leader_free(struct zk_leader *leader) {
    if (!leader) return;
    (void)api_enter(leader->zk);
    latch_free(&leader->m);
    api_settle(leader->zk, leader);
    api_leave(leader->zk);
    mem_free(leader);
}

ZK_API enum zk_hold_state zk_leader_state(struct zk_leader *leader) {
    if (!leader) return ZK_HOLD_NONE;
    (void)recipes_look(leader->zk);
    enum zk_hold_state state = leader->m.notice.state;
    api_leave(leader->zk);
    return state;
}

ZK_API int64_t zk_leader_token(struct zk_leader *leader) {
    if (!leader) return 0;
    (void)recipes_look(leader->zk);
    bool leads = leader->m.notice.state == ZK_HOLD_OWNED;
    int64_t token = leads ? leader->m.notice.token : 0;
    api_leave(leader->zk);
    return token;
}

ZK_API int zk_leader_wait(struct zk_leader *leader, int timeout_ms) {
    int error;
    if (!leader) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(leader->zk, &error)) return error;
    error = latch_wait(&leader->m, timeout_ms, NULL, NULL);
    return recipes_leave(leader->zk, &leader->m.wish, error);
}

ZK_API int zk_leader_wait_async(struct zk_leader *leader, int timeout_ms, zk_done_fn done,
                                void *user) {
    int error;
    if (!leader || !done) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(leader->zk, &error)) return error;
    error = latch_wait(&leader->m, timeout_ms, done, user);
    api_leave(leader->zk);
    return error;
}

ZK_API int zk_leader_resign(struct zk_leader *leader) {
    int error;
    if (!leader) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(leader->zk, &error)) return error;
    error = latch_resign(&leader->m);
    api_leave(leader->zk);
    return error;
}

/* The data of the one that leads. ZK_NO_NODE with *gone: it went while we looked. */
static int leader_look(struct zk_leader *leader, struct zk_result **data, bool *gone) {
    struct zk_result *children;
    *data = NULL;
    *gone = false;
    int error = zk_call(leader->zk, zk_get_children(leader->m.path), &children);
    const char *first = error ? NULL : latch_first(&leader->m, children);
    char *path = first ? recipe_join(leader->m.path, first) : NULL;
    zk_result_free(children);
    if (error) return error;
    if (!path) return first ? ZK_OUT_OF_MEMORY : ZK_NO_NODE;
    error = zk_call(leader->zk, zk_get(path), data);
    mem_free(path);
    *gone = error == ZK_NO_NODE;
    return error;
}

ZK_API int zk_leader_who(struct zk_leader *leader, char *id, size_t n) {
    struct zk_result *data;
    bool gone;
    int error;
    if (!leader || !id || !n) return ZK_BAD_ARGUMENTS;
    id[0] = '\0';
    while ((error = leader_look(leader, &data, &gone)) == ZK_NO_NODE && gone) zk_result_free(data);
    if (!error && data->data) {
        size_t len = (size_t)data->data_len < n ? (size_t)data->data_len : n - 1;
        memcpy(id, data->data, len);
        id[len] = '\0';
    }
    zk_result_free(data);
    return error;
}
