#include "api/recipes.h"

#include "api/client.h"
#include "client/barrier.h"
#include "client/cache.h"
#include "client/counter.h"
#include "client/discovery.h"
#include "client/latch.h"
#include "client/lock.h"
#include "client/member.h"
#include "client/queue.h"
#include "state/path.h"

/* --- common --- */

/* Enters, unless the session is over: then *error says why. */
static struct client *recipes_enter(struct zk *zk, int *error) {
    struct client *c = api_enter(zk, error);
    if (!c) return NULL;
    *error = client_error(c);
    if (!*error) return c;
    api_leave(zk);
    return NULL;
}

/* The end of a synchronous call: `error` is how it began. */
static int recipes_leave(struct zk *zk, struct wish *w, struct wish_answer *answer, int error) {
    if (!error && !answer->over) error = api_wait(zk, wish_over, answer, -1);
    if (answer->over) error = answer->error;
    if (w->answer == answer) wish_stop(w);
    api_leave(zk);
    return error;
}

/* What is told of the state has to be so now: a process that stood still learns first that time has
 * passed, which breaks its connection, and then what follows from that. */
static struct client *recipes_look(struct zk *zk) {
    struct client *c = api_enter(zk, NULL);
    if (!c) return NULL;
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
    if (lock) lock->zk = zk;
    error = lock ? lock_init(&lock->m, c, lock, path, options) : ZK_OUT_OF_MEMORY;
    if (error)
        mem_free(lock);
    else
        *out = lock;
    api_leave(zk);
    return error;
}

ZK_API void zk_lock_free(struct zk_lock *lock) {
    if (!lock || !api_enter(lock->zk, NULL)) return;
    lock_free(&lock->m);
    api_settle(lock->zk, lock);
    api_leave(lock->zk);
    mem_free(lock);
}

ZK_API int zk_lock_acquire(struct zk_lock *lock, int timeout_ms) {
    struct wish_answer answer = {0};
    int error;
    if (!lock) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(lock->zk, &error)) return error;
    error = lock_acquire(&lock->m, timeout_ms, false, NULL, &answer);
    return recipes_leave(lock->zk, &lock->m.wish, &answer, error);
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
    struct wish_answer answer = {0};
    int error;
    if (!lock) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(lock->zk, &error)) return error;
    error = lock_acquire(&lock->m, -1, true, NULL, &answer);
    return recipes_leave(lock->zk, &lock->m.wish, &answer, error);
}

ZK_API int zk_lock_release(struct zk_lock *lock) {
    if (!lock) return ZK_BAD_ARGUMENTS;
    int error;
    if (!api_enter(lock->zk, &error)) return error;
    error = lock_release(&lock->m);
    api_leave(lock->zk);
    return error;
}

ZK_API int zk_lock_downgrade(struct zk_lock *write, struct zk_lock *read, int timeout_ms) {
    struct wish_answer answer = {0};
    int error;
    if (!write || !read || write->zk != read->zk) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(write->zk, &error)) return error;
    error = lock_downgrade(&write->m, &read->m, timeout_ms, NULL, &answer);
    return recipes_leave(write->zk, &read->m.wish, &answer, error);
}

ZK_API int zk_lock_revoke(struct zk_lock *lock) {
    struct zk_result *children;
    int error = lock ? api_stay(lock->zk) : ZK_BAD_ARGUMENTS;
    if (error) return error;
    error = zk_call(lock->zk, zk_get_children(lock->m.path), &children);
    const char *first = error ? NULL : lock_first(&lock->m, children);
    if (!error) error = first ? ZK_OK : ZK_NO_NODE;
    char *path = error ? NULL : recipe_join(lock->m.path, first);
    if (!error && !path) error = ZK_OUT_OF_MEMORY;
    if (!error)
        error = zk_call(lock->zk, zk_set(path, LOCK_REVOKE, (int)strlen(LOCK_REVOKE), -1), NULL);
    zk_result_free(children);
    mem_free(path);
    api_go(lock->zk);
    return error;
}

ZK_API enum zk_hold_state zk_lock_state(struct zk_lock *lock) {
    if (!lock || !recipes_look(lock->zk)) return ZK_HOLD_NONE;
    enum zk_hold_state state = lock->m.notice.state;
    api_leave(lock->zk);
    return state;
}

ZK_API int64_t zk_lock_token(struct zk_lock *lock) {
    if (!lock || !recipes_look(lock->zk)) return 0;
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
    if (leader) leader->zk = zk;
    error = leader ? latch_init(&leader->m, c, leader, path, options) : ZK_OUT_OF_MEMORY;
    if (error)
        mem_free(leader);
    else
        *out = leader; /* before the first callback can look for it */
    api_leave(zk);
    return error;
}

ZK_API void zk_leader_free(struct zk_leader *leader) {
    if (!leader || !api_enter(leader->zk, NULL)) return;
    latch_free(&leader->m);
    api_settle(leader->zk, leader);
    api_leave(leader->zk);
    mem_free(leader);
}

ZK_API enum zk_hold_state zk_leader_state(struct zk_leader *leader) {
    if (!leader || !recipes_look(leader->zk)) return ZK_HOLD_NONE;
    enum zk_hold_state state = leader->m.notice.state;
    api_leave(leader->zk);
    return state;
}

ZK_API int64_t zk_leader_token(struct zk_leader *leader) {
    if (!leader || !recipes_look(leader->zk)) return 0;
    bool leads = leader->m.notice.state == ZK_HOLD_OWNED;
    int64_t token = leads ? leader->m.notice.token : 0;
    api_leave(leader->zk);
    return token;
}

ZK_API int zk_leader_wait(struct zk_leader *leader, int timeout_ms) {
    struct wish_answer answer = {0};
    int error;
    if (!leader) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(leader->zk, &error)) return error;
    error = latch_wait(&leader->m, timeout_ms, NULL, &answer);
    return recipes_leave(leader->zk, &leader->m.wish, &answer, error);
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
    if (!error) error = first ? ZK_OK : ZK_NO_NODE;
    char *path = error ? NULL : recipe_join(leader->m.path, first);
    if (!error && !path) error = ZK_OUT_OF_MEMORY;
    if (!error) {
        error = zk_call(leader->zk, zk_get(path), data);
        *gone = error == ZK_NO_NODE;
    }
    zk_result_free(children);
    mem_free(path);
    return error;
}

ZK_API int zk_leader_who(struct zk_leader *leader, char *id, size_t n) {
    struct zk_result *data;
    bool gone;
    int error;
    if (!leader || !id || !n) return ZK_BAD_ARGUMENTS;
    id[0] = '\0';
    if ((error = api_stay(leader->zk)) != ZK_OK) return error;
    while ((error = leader_look(leader, &data, &gone)) == ZK_NO_NODE && gone) zk_result_free(data);
    if (!error && data->data) {
        size_t len = (size_t)data->data_len < n ? (size_t)data->data_len : n - 1;
        memcpy(id, data->data, len);
        id[len] = '\0';
    }
    zk_result_free(data);
    api_go(leader->zk);
    return error;
}

/* --- barriers --- */

struct zk_barrier {
    struct zk *zk;
    struct barrier m;
};

struct zk_double_barrier {
    struct zk_barrier it;
};

static int barrier_make(struct zk *zk, const char *path, int members, struct zk_barrier *b) {
    int error;
    struct client *c = b ? recipes_enter(zk, &error) : NULL;
    if (!b) return ZK_OUT_OF_MEMORY;
    if (!c) return error;
    b->zk = zk;
    error = barrier_init(&b->m, c, b, path, members);
    api_leave(zk);
    return error;
}

static int barrier_run(struct zk_barrier *b, enum barrier_step first, int timeout_ms) {
    struct wish_answer answer = {0};
    int error;
    if (!b) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(b->zk, &error)) return error;
    error = barrier_do(&b->m, first, timeout_ms, NULL, &answer);
    return recipes_leave(b->zk, &b->m.wish, &answer, error);
}

static int barrier_run_async(struct zk_barrier *b, enum barrier_step first, int timeout_ms,
                             zk_done_fn done, void *user) {
    int error;
    if (!b || !done) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(b->zk, &error)) return error;
    error = barrier_do(&b->m, first, timeout_ms, done, user);
    api_leave(b->zk);
    return error;
}

ZK_API int zk_barrier_new(struct zk *zk, const char *path, struct zk_barrier **out) {
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = mem_try(sizeof **out);
    int error = barrier_make(zk, path, 0, *out);
    if (!error) return ZK_OK;
    mem_free(*out);
    *out = NULL;
    return error;
}

ZK_API int zk_barrier_close(struct zk_barrier *barrier) {
    return barrier_run(barrier, BARRIER_CLOSING, -1);
}

ZK_API int zk_barrier_open(struct zk_barrier *barrier) {
    return barrier_run(barrier, BARRIER_OPENING, -1);
}

ZK_API int zk_barrier_wait(struct zk_barrier *barrier, int timeout_ms) {
    return barrier_run(barrier, BARRIER_WAITING, timeout_ms);
}

ZK_API int zk_barrier_wait_async(struct zk_barrier *barrier, int timeout_ms, zk_done_fn done,
                                 void *user) {
    return barrier_run_async(barrier, BARRIER_WAITING, timeout_ms, done, user);
}

ZK_API void zk_barrier_free(struct zk_barrier *barrier) {
    if (!barrier || !api_enter(barrier->zk, NULL)) return;
    barrier_free(&barrier->m);
    api_settle(barrier->zk, barrier);
    api_leave(barrier->zk);
    mem_free(barrier);
}

ZK_API int zk_double_barrier_new(struct zk *zk, const char *path, int members,
                                 struct zk_double_barrier **out) {
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    if (members < 1) return ZK_BAD_ARGUMENTS;
    struct zk_double_barrier *b = mem_try(sizeof *b);
    int error = barrier_make(zk, path, members, b ? &b->it : NULL);
    if (error)
        mem_free(b);
    else
        *out = b;
    return error;
}

static struct zk_barrier *double_barrier_it(struct zk_double_barrier *barrier) {
    return barrier ? &barrier->it : NULL;
}

ZK_API int zk_double_barrier_enter(struct zk_double_barrier *barrier, int timeout_ms) {
    return barrier_run(double_barrier_it(barrier), BARRIER_LOOKING, timeout_ms);
}

ZK_API int zk_double_barrier_enter_async(struct zk_double_barrier *barrier, int timeout_ms,
                                         zk_done_fn done, void *user) {
    return barrier_run_async(double_barrier_it(barrier), BARRIER_LOOKING, timeout_ms, done, user);
}

ZK_API int zk_double_barrier_leave(struct zk_double_barrier *barrier, int timeout_ms) {
    return barrier_run(double_barrier_it(barrier), BARRIER_GATHERING, timeout_ms);
}

ZK_API int zk_double_barrier_leave_async(struct zk_double_barrier *barrier, int timeout_ms,
                                         zk_done_fn done, void *user) {
    return barrier_run_async(double_barrier_it(barrier), BARRIER_GATHERING, timeout_ms, done,
                             user);
}

ZK_API void zk_double_barrier_free(struct zk_double_barrier *barrier) {
    zk_barrier_free(double_barrier_it(barrier)); /* which stands at its beginning */
}

/* --- queues --- */

struct zk_queue {
    struct zk *zk;
    struct queue m;
};

ZK_API int zk_queue_new(struct zk *zk, const char *path, enum zk_queue_layout layout,
                        struct zk_queue **out) {
    int error;
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    struct client *c = recipes_enter(zk, &error);
    if (!c) return error;
    struct zk_queue *queue = mem_try(sizeof *queue);
    if (queue) queue->zk = zk;
    error = queue ? queue_init(&queue->m, c, queue, path, layout) : ZK_OUT_OF_MEMORY;
    if (error)
        mem_free(queue);
    else
        *out = queue;
    api_leave(zk);
    return error;
}

ZK_API void zk_queue_free(struct zk_queue *queue) {
    if (!queue || !api_enter(queue->zk, NULL)) return;
    queue_free(&queue->m);
    api_settle(queue->zk, queue);
    api_leave(queue->zk);
    mem_free(queue);
}

ZK_API int zk_queue_put(struct zk_queue *queue, const void *data, int len, int32_t priority) {
    struct wish_answer answer = {0};
    int error;
    if (!queue) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(queue->zk, &error)) return error;
    error = queue_put(&queue->m, data, len, priority, NULL, &answer);
    return recipes_leave(queue->zk, &queue->m.wish, &answer, error);
}

ZK_API int zk_queue_put_async(struct zk_queue *queue, const void *data, int len, int32_t priority,
                              zk_done_fn done, void *user) {
    int error;
    if (!queue || !done) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(queue->zk, &error)) return error;
    error = queue_put(&queue->m, data, len, priority, done, user);
    api_leave(queue->zk);
    return error;
}

ZK_API int zk_queue_take(struct zk_queue *queue, int timeout_ms) {
    struct wish_answer answer = {0};
    int error;
    if (!queue) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(queue->zk, &error)) return error;
    error = queue_take(&queue->m, timeout_ms, NULL, &answer);
    return recipes_leave(queue->zk, &queue->m.wish, &answer, error);
}

ZK_API int zk_queue_take_async(struct zk_queue *queue, int timeout_ms, zk_done_fn done,
                               void *user) {
    int error;
    if (!queue || !done) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(queue->zk, &error)) return error;
    error = queue_take(&queue->m, timeout_ms, done, user);
    api_leave(queue->zk);
    return error;
}

ZK_API const void *zk_queue_item(struct zk_queue *queue, int *len) {
    if (!queue || !len || !api_enter(queue->zk, NULL)) return NULL;
    struct slice item = queue->m.item;
    api_leave(queue->zk);
    *len = (int)item.n;
    return item.p;
}

/* --- counters --- */

struct zk_counter {
    struct zk *zk;
    struct counter m;
};

ZK_API int zk_counter_new(struct zk *zk, const char *path, int bytes, struct zk_counter **out) {
    int error;
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    struct client *c = recipes_enter(zk, &error);
    if (!c) return error;
    struct zk_counter *counter = mem_try(sizeof *counter);
    if (counter) counter->zk = zk;
    error = counter ? counter_init(&counter->m, c, counter, path, bytes) : ZK_OUT_OF_MEMORY;
    if (error)
        mem_free(counter);
    else
        *out = counter;
    api_leave(zk);
    return error;
}

ZK_API void zk_counter_free(struct zk_counter *counter) {
    if (!counter || !api_enter(counter->zk, NULL)) return;
    counter_free(&counter->m);
    api_settle(counter->zk, counter);
    api_leave(counter->zk);
    mem_free(counter);
}

static int counter_run(struct zk_counter *counter, enum counter_job job, int64_t operand,
                       int64_t expected) {
    struct wish_answer answer = {0};
    int error;
    if (!counter) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(counter->zk, &error)) return error;
    error = counter_do(&counter->m, job, operand, expected, NULL, &answer);
    return recipes_leave(counter->zk, &counter->m.wish, &answer, error);
}

ZK_API int zk_counter_get(struct zk_counter *counter) {
    return counter_run(counter, COUNTER_GET, 0, 0);
}

ZK_API int zk_counter_set(struct zk_counter *counter, int64_t value) {
    return counter_run(counter, COUNTER_SET, value, 0);
}

ZK_API int zk_counter_add(struct zk_counter *counter, int64_t delta) {
    return counter_run(counter, COUNTER_ADD, delta, 0);
}

ZK_API int zk_counter_add_async(struct zk_counter *counter, int64_t delta, zk_done_fn done,
                                void *user) {
    int error;
    if (!counter || !done) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(counter->zk, &error)) return error;
    error = counter_do(&counter->m, COUNTER_ADD, delta, 0, done, user);
    api_leave(counter->zk);
    return error;
}

ZK_API int zk_counter_compare_and_set(struct zk_counter *counter, int64_t expected,
                                      int64_t value) {
    return counter_run(counter, COUNTER_CAS, value, expected);
}

ZK_API int64_t zk_counter_value(struct zk_counter *counter) {
    if (!counter || !api_enter(counter->zk, NULL)) return 0;
    int64_t value = counter->m.value;
    api_leave(counter->zk);
    return value;
}

/* --- caches --- */

struct zk_cache {
    struct zk *zk;
    struct cache m;
};

ZK_API int zk_cache_new(struct zk *zk, const char *path, const struct zk_cache_options *options,
                        struct zk_cache **out) {
    int error;
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    struct client *c = recipes_enter(zk, &error);
    if (!c) return error;
    struct zk_cache *cache = mem_try(sizeof *cache);
    if (cache) cache->zk = zk;
    error = cache ? cache_init(&cache->m, c, cache, path, options) : ZK_OUT_OF_MEMORY;
    if (error)
        mem_free(cache);
    else
        *out = cache; /* before the first callback can look for it */
    api_leave(zk);
    return error;
}

ZK_API void zk_cache_free(struct zk_cache *cache) {
    if (!cache || !api_enter(cache->zk, NULL)) return;
    cache_free(&cache->m);
    api_settle(cache->zk, cache);
    api_leave(cache->zk);
    mem_free(cache);
}

ZK_API int zk_cache_wait(struct zk_cache *cache, int timeout_ms) {
    struct wish_answer answer = {0};
    int error;
    if (!cache) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(cache->zk, &error)) return error;
    error = cache_wait(&cache->m, timeout_ms, NULL, &answer);
    return recipes_leave(cache->zk, &cache->m.wish, &answer, error);
}

ZK_API int zk_cache_get(struct zk_cache *cache, const char *path, struct zk_result **out) {
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    if (!cache || !path) return ZK_BAD_ARGUMENTS;
    int error;
    if (!api_enter(cache->zk, &error)) return error;
    error = cache_get(&cache->m, path, out);
    api_leave(cache->zk);
    return error;
}

/* --- membership and services --- */

struct zk_member {
    struct zk *zk;
    struct member m;
};

ZK_API int zk_member_new(struct zk *zk, const char *path, const void *data, int len,
                         const struct zk_member_options *options, struct zk_member **out) {
    int error;
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    struct client *c = recipes_enter(zk, &error);
    if (!c) return error;
    struct zk_member *member = mem_try(sizeof *member);
    if (member) member->zk = zk;
    error = member ? member_init(&member->m, c, member, path, data, len, options)
                   : ZK_OUT_OF_MEMORY;
    if (error)
        mem_free(member);
    else
        *out = member; /* before the first callback can look for it */
    api_leave(zk);
    return error;
}

ZK_API void zk_member_free(struct zk_member *member) {
    if (!member || !api_enter(member->zk, NULL)) return;
    member_free(&member->m);
    api_settle(member->zk, member);
    api_leave(member->zk);
    mem_free(member);
}

ZK_API int zk_member_wait(struct zk_member *member, int timeout_ms) {
    struct wish_answer answer = {0};
    int error;
    if (!member) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(member->zk, &error)) return error;
    error = member_wait(&member->m, timeout_ms, NULL, &answer);
    return recipes_leave(member->zk, &member->m.wish, &answer, error);
}

ZK_API int zk_member_set(struct zk_member *member, const void *data, int len) {
    int error;
    if (!member) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(member->zk, &error)) return error;
    error = member_set(&member->m, data, len);
    api_leave(member->zk);
    return error;
}

ZK_API enum zk_hold_state zk_member_state(struct zk_member *member) {
    if (!member || !recipes_look(member->zk)) return ZK_HOLD_NONE;
    enum zk_hold_state state = member->m.notice.state;
    api_leave(member->zk);
    return state;
}

ZK_API int zk_service_register(struct zk *zk, const char *base, const struct zk_service *service,
                               const struct zk_member_options *options, struct zk_member **out) {
    struct zk_member_options o = {0};
    struct buf json = {0};
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    if (!base || !path_valid(slice_str(base)) || !service) return ZK_BAD_ARGUMENTS;
    struct zk_service s = *service;
    if (!s.registered) s.registered = os_wall_ms();
    if (options) o = *options;
    o.persistent = s.type != ZK_SERVICE_DYNAMIC;
    int error = discovery_write(&json, &s);
    char *dir = error ? NULL : recipe_join(base, s.name);
    char *path = dir ? recipe_join(dir, s.id) : NULL;
    if (!error && !path) error = ZK_OUT_OF_MEMORY;
    if (!error)
        error = zk_member_new(zk, path, json.p, (int)buf_len(&json), &o, out);
    mem_free(dir);
    mem_free(path);
    buf_free(&json);
    return error;
}

ZK_API int zk_service_read(const void *json, int len, struct zk_service **out) {
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    if (len < 0 || !json) return ZK_MALFORMED;
    return discovery_read(slice_of(json, (size_t)len), out);
}

ZK_API void zk_service_free(struct zk_service *service) {
    mem_free(service);
}

ZK_API void zk_services_free(struct zk_service **services, int count) {
    for (int i = 0; services && i < count; i++) zk_service_free(services[i]);
    mem_free(services);
}

/* One instance. NULL without an error: it is gone, or cannot be read. */
static int service_get(struct zk *zk, const char *dir, const char *id, struct zk_service **out) {
    struct zk_result *r;
    char *path = recipe_join(dir, id);
    *out = NULL;
    if (!path) return ZK_OUT_OF_MEMORY;
    int error = zk_call(zk, zk_get(path), &r);
    if (!error) error = zk_service_read(r->data, r->data_len, out);
    if (error == ZK_NO_NODE || error == ZK_MALFORMED) error = ZK_OK;
    zk_result_free(r);
    mem_free(path);
    return error;
}

ZK_API int zk_service_list(struct zk *zk, const char *base, const char *name,
                           struct zk_service ***out, int *count) {
    if (!out || !count) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    *count = 0;
    if (!base || !path_valid(slice_str(base)) || !name || strchr(name, '/'))
        return ZK_BAD_ARGUMENTS;
    struct zk_result *children = NULL;
    int error = api_stay(zk);
    if (error) return error;
    char *dir = recipe_join(base, name);
    error = dir ? zk_call(zk, zk_get_children(dir), &children) : ZK_OUT_OF_MEMORY;
    int n = error ? 0 : children->count;
    struct zk_service **all = error ? NULL : mem_try(sizeof *all * (size_t)n + 1);
    if (!error && !all) error = ZK_OUT_OF_MEMORY;
    for (int i = 0; i < n && !error; i++) {
        error = service_get(zk, dir, children->names[i], &all[*count]);
        if (!error && all[*count]) ++*count;
    }
    zk_result_free(children);
    mem_free(dir);
    api_go(zk);
    if (error == ZK_NO_NODE) error = ZK_OK; /* no instance yet */
    if (error) {
        zk_services_free(all, *count);
        *count = 0;
        return error;
    }
    *out = all;
    return ZK_OK;
}
