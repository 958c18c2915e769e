#include "api/client.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/wire.h"
#include "state/path.h"

enum { API_IO_STACK = 256 * 1024, API_FREE_WAIT_MS = 1500 };

/* A thread in api_wait; lives on its stack. */
struct api_waiter {
    struct api_waiter *next;
    api_ready ready;
    const void *arg;
    pthread_cond_t woken;
};

struct zk {
    pthread_mutex_t lock; /* of everything here */
    int pid;              /* of the process that opened it */
    struct client *client;
    struct courier courier;
    bool threads;  /* io and teller; else the caller runs it */
    bool stopping; /* the threads shall end */
    bool doomed;   /* freed from a callback: freed when the last thread inside has left */
    _Atomic int inside;  /* threads within a call, also those that wait for the lock */
    pthread_cond_t left; /* none is */
    bool polling;  /* somebody is in api_turn's courier_poll */
    int64_t poll_until; /* ... and looks at the clock again then */
    bool away;          /* the caller's own loop has asked how long it may sleep */
    int64_t away_until;
    pthread_t io, teller;
    struct api_waiter *waiters; /* who waits; the first may take over the socket */
    struct api_waiter *poller;  /* the one that polls itself, for want of a thread */
    bool reading;               /* one of them has it */
    struct os_spin spin;
    pthread_cond_t to_tell;     /* posts, or stopping */
    pthread_cond_t told;        /* one was made */
    bool telling;               /* a post is being made, by telling_thread */
    pthread_t telling_thread;
    const void *telling_owner;
    zk_log_fn log;
    void *log_user;
    zk_frame_fn on_frame;
    void *frame_user;
    _Atomic bool out; /* in one of these, under the lock, called by out_thread */
    _Atomic pthread_t out_thread;
};

/* --- calling out under the lock --- */

/* Asked without the lock, which this thread may hold: only the thread itself makes this true. */
static bool api_is_out(const struct zk *zk) {
    return zk->out && pthread_equal(zk->out_thread, pthread_self());
}

static void api_go_out(struct zk *zk) {
    zk->out_thread = pthread_self();
    zk->out = true;
}

static void api_log(struct zk *zk, int level, const char *text) {
    api_go_out(zk);
    zk->log(zk->log_user, level, text);
    zk->out = false;
}

static void api_frame(void *user, bool sent, const uint8_t *bytes, size_t n) {
    struct zk *zk = user;
    api_go_out(zk);
    zk->on_frame(zk->frame_user, sent, bytes, n);
    zk->out = false;
}

/* --- waking --- */

static void api_say(struct zk *zk) {
    int level;
    const char *text;
    while (client_take_log(zk->client, &level, &text))
        if (zk->log) api_log(zk, level, text);
}

/* After anything that may have moved the machine. */
static void api_spread(struct zk *zk) {
    for (struct api_waiter *w = zk->waiters; w; w = w->next) {
        if (!w->ready(w->arg) && !client_is_over(zk->client)) continue;
        (void)pthread_cond_signal(&w->woken);
        if (zk->polling && w == zk->poller) courier_wake(&zk->courier);
    }
    if (zk->threads && client_has_posts(zk->client)) (void)pthread_cond_signal(&zk->to_tell);
    api_say(zk);
}

static int api_ms_until(int64_t at) {
    int64_t now = os_now_ms();
    if (at == INT64_MAX) return -1;
    if (at <= now) return 0;
    return at - now > INT32_MAX ? INT32_MAX : (int)(at - now);
}

static bool api_in_callback(const struct zk *zk) {
    return zk->telling && pthread_equal(zk->telling_thread, pthread_self());
}

/* Why this thread may not enter. */
static int api_refusal(const struct zk *zk) {
    if (!zk) return ZK_BAD_ARGUMENTS;
    if (api_is_out(zk)) return ZK_WRONG_THREAD;
    return zk->pid == os_pid() ? ZK_OK : ZK_CLOSING;
}

ZK_PRIVATE struct client *api_enter(struct zk *zk, int *error) {
    int refusal = api_refusal(zk);
    if (error) *error = refusal;
    if (refusal) return NULL;
    zk->inside++;
    (void)pthread_mutex_lock(&zk->lock);
    client_clock(zk->client, os_now_ms());
    return zk->client;
}

/* When zk_step has something to do: INT64_MIN: now. */
static int64_t api_next_at(const struct zk *zk) {
    const struct client *c = zk->client;
    bool now = (client_has_posts(c) && !zk->telling) ||
               (client_connection_is_up(c) && client_should_send(c));
    return now ? INT64_MIN : client_next_at(c);
}

/* Before the lock is given away: whoever sleeps must know of what has become due earlier. */
static void api_hurry(struct zk *zk) {
    bool poller = zk->polling && client_next_at(zk->client) < zk->poll_until;
    bool loop = zk->away && api_next_at(zk) < zk->away_until;
    if (poller) zk->poll_until = INT64_MIN; /* once is enough */
    if (loop) zk->away_until = INT64_MIN;
    if (poller || loop) courier_wake(&zk->courier);
}

static void api_destroy(struct zk *zk) {
    courier_close(&zk->courier);
    client_free(zk->client);
    (void)pthread_cond_destroy(&zk->to_tell);
    (void)pthread_cond_destroy(&zk->told);
    (void)pthread_cond_destroy(&zk->left);
    (void)pthread_mutex_destroy(&zk->lock);
    mem_free(zk);
}

/* Unlocks. What a callback has freed goes with the last one; with threads it is `teller` that sees
 * to it, as the last of all. */
static void api_part_from(struct zk *zk) {
    bool last = --zk->inside == 0;
    bool destroy = last && zk->doomed && !zk->threads;
    if (last && !destroy) (void)pthread_cond_broadcast(&zk->left);
    if (last && zk->doomed && zk->threads) (void)pthread_cond_signal(&zk->to_tell);
    (void)pthread_mutex_unlock(&zk->lock);
    if (destroy) api_destroy(zk);
}

ZK_PRIVATE void api_leave(struct zk *zk) {
    courier_run(&zk->courier, false);
    api_spread(zk);
    api_hurry(zk);
    api_part_from(zk);
}

ZK_PRIVATE int api_stay(struct zk *zk) {
    int refusal = api_refusal(zk);
    if (!refusal) zk->inside++;
    return refusal;
}

ZK_PRIVATE void api_go(struct zk *zk) {
    (void)pthread_mutex_lock(&zk->lock);
    api_part_from(zk);
}

/* --- waiting --- */

static void api_join(struct zk *zk, struct api_waiter *w) {
    struct api_waiter **link = &zk->waiters;
    while (*link) link = &(*link)->next;
    w->next = NULL;
    *link = w;
}

static void api_part(struct zk *zk, struct api_waiter *w) {
    struct api_waiter **link = &zk->waiters;
    while (*link != w) link = &(*link)->next;
    *link = w->next;
}

/* One turn of the machine by this thread, which waits for input at most until then. */
static void api_turn(struct zk *zk, int64_t until) {
    struct os_event events[COURIER_EVENTS];
    int64_t next = client_next_at(zk->client);
    if (next < until) until = next;
    int timeout = api_ms_until(until);
    zk->polling = true;
    zk->poll_until = until;
    (void)pthread_mutex_unlock(&zk->lock);
    int n = courier_poll(&zk->courier, events, timeout);
    (void)pthread_mutex_lock(&zk->lock);
    zk->polling = false;
    zk->away_until = INT64_MAX; /* what should have woken it may have been taken here */
    client_clock(zk->client, os_now_ms());
    courier_take(&zk->courier, events, n);
    client_tick(zk->client, os_now_ms());
    courier_run(&zk->courier, true);
    api_spread(zk);
}

/* Reads the borrowed socket for everybody, until this one's wish has come. */
static void api_read(struct zk *zk, int fd, struct api_waiter *w, int64_t until) {
    zk->reading = true;
    courier_run(&zk->courier, true); /* not before: the reply must not wake `io` */
    while (!w->ready(w->arg) && !client_is_over(zk->client) && !zk->courier.shut) {
        int64_t next = client_next_at(zk->client);
        int timeout = api_ms_until(next < until ? next : until);
        (void)pthread_mutex_unlock(&zk->lock);
        int n = timeout ? os_spin_readable(&zk->spin, fd) : 0;
        if (!n) n = os_wait_readable(fd, timeout);
        (void)pthread_mutex_lock(&zk->lock);
        client_clock(zk->client, os_now_ms());
        if (n) courier_read(&zk->courier);
        client_tick(zk->client, os_now_ms());
        courier_run(&zk->courier, true);
        api_spread(zk);
        if (os_now_ms() >= until) break;
    }
    zk->reading = false;
    courier_give_back(&zk->courier);
    courier_run(&zk->courier, true);
}

static void api_wait_once(struct zk *zk, struct api_waiter *w, int64_t until) {
    int fd = zk->threads && !zk->reading ? courier_lend(&zk->courier) : -1;
    if (fd >= 0) {
        api_read(zk, fd, w, until);
        return;
    }
    courier_run(&zk->courier, true);
    if (!zk->threads && !zk->polling) {
        zk->poller = w;
        api_turn(zk, until);
        zk->poller = NULL;
        return;
    }
    api_hurry(zk);
    (void)os_cond_wait(&w->woken, &zk->lock, until == INT64_MAX ? until : until * 1000);
}

ZK_PRIVATE int api_wait(struct zk *zk, api_ready ready, const void *arg, int timeout_ms) {
    int64_t until = timeout_ms < 0 ? INT64_MAX : os_now_ms() + timeout_ms;
    struct api_waiter w = {.ready = ready, .arg = arg};
    os_cond_init(&w.woken);
    api_join(zk, &w);
    int err = ZK_OK;
    while (!ready(arg) && !err) {
        if (client_is_over(zk->client))
            err = client_error(zk->client);
        else if (os_now_ms() >= until)
            err = ZK_TIMED_OUT;
        else
            api_wait_once(zk, &w, until);
    }
    api_part(zk, &w);
    (void)pthread_cond_destroy(&w.woken);
    /* Whoever is left needs somebody who reads. */
    if (zk->waiters && !zk->reading) (void)pthread_cond_signal(&zk->waiters->woken);
    return err;
}

/* --- telling --- */

/* Makes one call that is due, outside of the lock. */
static void api_tell(struct zk *zk, struct client_post *p) {
    zk->telling = true;
    zk->telling_thread = pthread_self();
    zk->telling_owner = p->owner;
    (void)pthread_mutex_unlock(&zk->lock);
    p->run(p);
    (void)pthread_mutex_lock(&zk->lock);
    zk->telling = false;
    (void)pthread_cond_broadcast(&zk->told);
}

/* All calls that are due now; one at a time, whichever threads there are. */
static void api_tell_all(struct zk *zk) {
    struct client_post *p;
    while (!zk->telling && (p = client_take_post(zk->client))) api_tell(zk, p);
}

ZK_PRIVATE void api_settle(struct zk *zk, const void *owner) {
    client_unpost(zk->client, owner);
    courier_run(&zk->courier, false);
    api_hurry(zk);
    while (zk->telling && zk->telling_owner == owner && !api_in_callback(zk))
        (void)pthread_cond_wait(&zk->told, &zk->lock);
}

/* --- threads --- */

static void *api_io_main(void *arg) {
    struct zk *zk = arg;
    (void)pthread_mutex_lock(&zk->lock);
    client_tick(zk->client, os_now_ms());
    courier_run(&zk->courier, true);
    while (!zk->stopping) api_turn(zk, INT64_MAX);
    (void)pthread_mutex_unlock(&zk->lock);
    return NULL;
}

static void api_stop_io(struct zk *zk) {
    zk->stopping = true;
    courier_wake(&zk->courier);
    (void)pthread_mutex_unlock(&zk->lock);
    (void)pthread_join(zk->io, NULL);
    (void)pthread_mutex_lock(&zk->lock);
}

/* A callback has freed the handle, and has returned: what is due is told, who waits goes. */
static void api_bury(struct zk *zk) {
    client_end(zk->client);
    courier_run(&zk->courier, true);
    api_spread(zk);
    api_tell_all(zk);
}

static void *api_teller_main(void *arg) {
    struct zk *zk = arg;
    (void)pthread_mutex_lock(&zk->lock);
    while (!zk->stopping && !zk->doomed) {
        api_tell_all(zk);
        if (!zk->stopping && !zk->doomed && !client_has_posts(zk->client))
            (void)pthread_cond_wait(&zk->to_tell, &zk->lock);
    }
    if (!zk->doomed) {
        (void)pthread_mutex_unlock(&zk->lock);
        return NULL;
    }
    api_bury(zk); /* this thread is the last to leave */
    while (zk->inside) {
        (void)pthread_cond_wait(&zk->to_tell, &zk->lock);
        api_tell_all(zk);
    }
    api_stop_io(zk);
    (void)pthread_mutex_unlock(&zk->lock);
    (void)pthread_detach(pthread_self());
    api_destroy(zk);
    return NULL;
}

/* The program's signals are for the program's own threads. */
static bool api_start_threads(struct zk *zk) {
    sigset_t all, before;
    pthread_attr_t small;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&small);
    (void)pthread_attr_setstacksize(&small, API_IO_STACK);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    zk->threads = true;
    bool ok = pthread_create(&zk->io, &small, api_io_main, zk) == 0;
    if (ok && pthread_create(&zk->teller, NULL, api_teller_main, zk) != 0) {
        (void)pthread_mutex_lock(&zk->lock);
        api_stop_io(zk);
        (void)pthread_mutex_unlock(&zk->lock);
        ok = false;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&small);
    return ok;
}

/* --- life --- */

static int api_read_hosts(const char *text, struct hosts *hosts, const char **chroot) {
    int err = hosts_parse(hosts, text, chroot);
    if (err) return err;
    if (!**chroot || path_valid(slice_str(*chroot))) return ZK_OK;
    hosts_free(hosts);
    return ZK_BAD_ARGUMENTS;
}

/* A server of the same process is no server to name. */
static int api_read_inside(const char *text, struct hosts *hosts, const char **chroot) {
    char name[] = "inside";
    *chroot = "";
    int err = hosts_parse(hosts, name, chroot);
    *chroot = text ? text : "";
    if (err || !**chroot || path_valid(slice_str(*chroot))) return err;
    hosts_free(hosts);
    return ZK_BAD_ARGUMENTS;
}

static int api_make(struct zk **out, const struct zk_options *o, struct client_setup *setup) {
    struct zk *zk = mem_try(sizeof *zk);
    struct zk_options inner = *o;
    if (zk && o->on_frame) {
        zk->on_frame = o->on_frame;
        zk->frame_user = o->frame_user;
        inner.on_frame = api_frame;
        inner.frame_user = zk;
    }
    setup->options = &inner;
    int err = zk ? client_new(&zk->client, setup) : ZK_OUT_OF_MEMORY;
    if (!err) err = courier_open(&zk->courier, zk->client);
    if (!err) zk->courier.door = (struct duct_door *)(void *)o->server;
    if (err) {
        if (zk) client_free(zk->client);
        mem_free(zk);
        return err;
    }
    (void)pthread_mutex_init(&zk->lock, NULL);
    os_cond_init(&zk->to_tell);
    os_cond_init(&zk->told);
    os_cond_init(&zk->left);
    zk->log = o->log;
    zk->log_user = o->log_user;
    zk->pid = os_pid();
    *out = zk; /* before the first callback can look for it */
    if ((o->flags & ZK_OWN_LOOP) || api_start_threads(zk)) return ZK_OK;
    *out = NULL;
    api_destroy(zk);
    return ZK_SYSTEM_ERROR;
}

ZK_API int zk_open(struct zk **out, const struct zk_options *options) {
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    if (!options || options->session_timeout_ms < 0) return ZK_BAD_ARGUMENTS;
    if (options->server ? !ZK_WITH_SERVER : !options->hosts) return ZK_BAD_ARGUMENTS;
    struct client_setup setup = {.options = options, .now = os_now_ms()};
    setup.seed = options->seed ? options->seed : os_seed();
    int err = (options->server ? api_read_inside : api_read_hosts)(options->hosts, &setup.hosts,
                                                                   &setup.chroot);
    if (err) return err;
    err = api_make(out, options, &setup);
    hosts_free(&setup.hosts);
    return err;
}

static bool api_is_over(const void *arg) {
    return client_is_over(((const struct zk *)arg)->client);
}

/* Until nothing that was due is left to tell. In a callback that is not for us to wait for. */
static void api_finish_telling(struct zk *zk) {
    if (api_in_callback(zk)) return;
    while (client_has_posts(zk->client) || zk->telling) {
        if (!zk->threads && !zk->telling) {
            api_tell_all(zk);
            continue;
        }
        (void)pthread_cond_signal(&zk->to_tell);
        (void)pthread_cond_wait(&zk->told, &zk->lock);
    }
}

static int api_end(struct zk *zk, bool politely, int timeout_ms) {
    int err;
    struct client *c = api_enter(zk, &err);
    if (!c) return err;
    client_close(c, politely);
    courier_run(&zk->courier, true); /* the goodbye leaves, even if nobody waits for its reply */
    bool inside = api_in_callback(zk);
    if (!inside) {
        if (api_wait(zk, api_is_over, zk, timeout_ms) == ZK_TIMED_OUT) client_end(c);
        courier_run(&zk->courier, true);
        api_finish_telling(zk);
    }
    if (!inside && !zk->threads && zk->doomed) api_bury(zk);
    api_leave(zk);
    return ZK_OK;
}

ZK_API int zk_close(struct zk *zk, int timeout_ms) {
    return api_end(zk, true, timeout_ms);
}

ZK_API int zk_abandon(struct zk *zk) {
    return api_end(zk, false, 0);
}

/* In a copy that fork has made: the threads are the other process's, and so is the session. */
static void api_drop(struct zk *zk) {
    if (pthread_mutex_trylock(&zk->lock)) return; /* copied amid a change: nothing can be trusted */
    courier_drop(&zk->courier);
    client_free(zk->client);
    mem_free(zk);
}

ZK_API void zk_free(struct zk *zk) {
    int refusal = api_refusal(zk);
    if (refusal == ZK_CLOSING) api_drop(zk);
    if (refusal) return;
    (void)pthread_mutex_lock(&zk->lock);
    bool inside = api_in_callback(zk);
    if (inside) zk->doomed = true;
    (void)pthread_mutex_unlock(&zk->lock);
    (void)api_end(zk, true, API_FREE_WAIT_MS);
    if (inside) return;
    (void)pthread_mutex_lock(&zk->lock);
    while (zk->inside) (void)pthread_cond_wait(&zk->left, &zk->lock);
    if (zk->threads) {
        api_stop_io(zk);
        (void)pthread_cond_signal(&zk->to_tell);
        (void)pthread_mutex_unlock(&zk->lock);
        (void)pthread_join(zk->teller, NULL);
        (void)pthread_mutex_lock(&zk->lock);
    }
    (void)pthread_mutex_unlock(&zk->lock);
    api_destroy(zk);
}

static bool api_is_connected(const void *arg) {
    enum zk_state s = client_state(((const struct zk *)arg)->client);
    return s == ZK_STATE_CONNECTED || s == ZK_STATE_READ_ONLY;
}

ZK_API int zk_wait_connected(struct zk *zk, int timeout_ms) {
    int err;
    if (!api_enter(zk, &err)) return err;
    err = api_wait(zk, api_is_connected, zk, timeout_ms);
    api_leave(zk);
    return err;
}

/* --- operations --- */

struct api_call {
    struct client *client;
    struct zk_result *result;
    int error;
    bool over;
};

static void api_called(void *user, const struct zk_result *result) {
    struct api_call *call = user;
    call->error = result->error;
    call->result = client_take_result(call->client);
    call->over = true;
}

static bool api_call_over(const void *arg) {
    return ((const struct api_call *)arg)->over;
}

ZK_API int zk_call(struct zk *zk, struct zk_op op, struct zk_result **result) {
    int err;
    struct api_call call = {.client = api_enter(zk, &err)};
    if (result) *result = NULL;
    if (!call.client) return err;
    int64_t id = client_submit(call.client, &op, CLIENT_CALL, api_called, &call);
    if (id > 0) (void)api_wait(zk, api_call_over, &call, -1);
    api_leave(zk);
    if (id < 0) return (int)id;
    if (result)
        *result = call.result;
    else
        zk_result_free(call.result);
    return call.error;
}

ZK_API void zk_result_free(struct zk_result *result) {
    mem_free(result);
}

ZK_API int64_t zk_submit(struct zk *zk, struct zk_op op, zk_result_fn done, void *user) {
    int err;
    struct client *c = api_enter(zk, &err);
    if (!c) return err;
    int64_t id = client_submit(c, &op, CLIENT_POSTED, done, user);
    api_leave(zk);
    return id;
}

ZK_API int zk_cancel(struct zk *zk, int64_t id) {
    int err;
    struct client *c = api_enter(zk, &err);
    if (!c) return err;
    err = client_cancel(c, id);
    api_leave(zk);
    return err;
}

ZK_API int zk_flush(struct zk *zk) {
    int err;
    struct client *c = api_enter(zk, &err);
    if (!c) return err;
    courier_run(&zk->courier, true);
    api_leave(zk);
    return ZK_OK;
}

/* --- the caller's own loop --- */

ZK_API int zk_fd(struct zk *zk) {
    if (!api_enter(zk, NULL)) return -1;
    int fd = zk->threads ? -1 : courier_fd(&zk->courier);
    api_leave(zk);
    return fd;
}

ZK_API int zk_wants(struct zk *zk) {
    if (!api_enter(zk, NULL)) return 0;
    int wants = ZK_READABLE | (courier_wants_write(&zk->courier) ? ZK_WRITABLE : 0);
    api_leave(zk);
    return wants;
}

ZK_API int zk_wait_ms(struct zk *zk) {
    if (!api_enter(zk, NULL)) return -1;
    zk->away = !zk->threads;
    zk->away_until = api_next_at(zk);
    int ms = api_ms_until(zk->away_until), deaf = courier_deaf_ms(&zk->courier);
    api_leave(zk);
    return deaf >= 0 && (ms < 0 || ms > deaf) ? deaf : ms;
}

ZK_API int zk_step(struct zk *zk) {
    int err;
    struct client *c = api_enter(zk, &err);
    if (!c) return err;
    if (zk->threads || api_in_callback(zk)) {
        api_leave(zk);
        return ZK_WRONG_THREAD;
    }
    struct os_event events[COURIER_EVENTS];
    zk->away = false;
    courier_run(&zk->courier, true);
    /* What has come is read first: a loop that is late may have the server's answer there. */
    courier_take(&zk->courier, events, courier_poll(&zk->courier, events, 0));
    client_tick(c, os_now_ms());
    courier_run(&zk->courier, true);
    api_tell_all(zk);
    courier_run(&zk->courier, true);
    bool over = zk->doomed && !zk->telling;
    if (over) api_bury(zk);
    err = over ? ZK_CLOSING : client_error(c);
    api_leave(zk);
    return err;
}

/* --- facts --- */

ZK_API enum zk_state zk_state(struct zk *zk) {
    struct client *c = api_enter(zk, NULL);
    if (!c) return ZK_STATE_CLOSED;
    enum zk_state state = client_state(c);
    api_leave(zk);
    return state;
}

ZK_API int64_t zk_session_id(struct zk *zk) {
    struct client *c = api_enter(zk, NULL);
    if (!c) return 0;
    int64_t id = client_session_id(c);
    api_leave(zk);
    return id;
}

ZK_API void zk_session_passwd(struct zk *zk, uint8_t out[16]) {
    if (!out) return;
    struct client *c = api_enter(zk, NULL);
    memset(out, 0, 16);
    if (!c) return;
    memcpy(out, client_passwd(c), 16);
    api_leave(zk);
}

ZK_API int zk_session_timeout(struct zk *zk) {
    struct client *c = api_enter(zk, NULL);
    if (!c) return 0;
    int ms = client_timeout(c);
    api_leave(zk);
    return ms;
}

ZK_API int64_t zk_last_zxid(struct zk *zk) {
    struct client *c = api_enter(zk, NULL);
    if (!c) return 0;
    int64_t zxid = client_last_zxid(c);
    api_leave(zk);
    return zxid;
}

ZK_API const char *zk_server_address(struct zk *zk, char *out, size_t n) {
    struct client *c = api_enter(zk, NULL);
    if (!out || !n) {
        if (c) api_leave(zk);
        return "";
    }
    out[0] = '\0';
    if (!c) return out;
    const struct net_addr *at = client_address(c);
    if (at) os_format_addr(at, out, n);
    api_leave(zk);
    return out;
}

ZK_API int zk_set_hosts(struct zk *zk, const char *text) {
    struct hosts hosts;
    if (!zk || !text) return ZK_BAD_ARGUMENTS;
    int err = hosts_parse(&hosts, text, NULL);
    if (err) return err;
    struct client *c = api_enter(zk, &err);
    if (c) {
        (void)client_set_hosts(c, &hosts);
        api_leave(zk);
    } else {
        hosts_free(&hosts);
    }
    return err;
}

ZK_API void zk_get_counters(struct zk *zk, struct zk_counters *out) {
    struct client *c = api_enter(zk, NULL);
    if (!out) {
        if (c) api_leave(zk);
        return;
    }
    memset(out, 0, sizeof *out);
    if (!c) return;
    client_counters(c, out);
    api_leave(zk);
}

/* --- words --- */

ZK_API const char *zk_error_name(int error) {
    static const char *const own[] = {"OUT_OF_MEMORY", "TIMED_OUT", "CANCELED",
                                      "TOO_LARGE",     "BUSY",      "WRONG_THREAD"};
    static const char *const recipes[] = {"IN_USE",            "NOT_OWNED", "LOCKED",
                                          "SEQUENCE_OVERFLOW", "UNCERTAIN", "MALFORMED"};
    size_t i = (size_t)((int64_t)ZK_OUT_OF_MEMORY - error);
    size_t k = (size_t)((int64_t)ZK_IN_USE - error);
    if (error == ZK_CLOSING) return "CLOSING";
    if (k < sizeof recipes / sizeof *recipes) return recipes[k];
    return i < sizeof own / sizeof *own ? own[i] : wire_error_name(error);
}

ZK_API const char *zk_strerror(int error) {
    static const struct {
        int code;
        const char *text;
    } WORDS[] = {
        {ZK_OK, "no error"},
        {ZK_SYSTEM_ERROR, "the system refuses something that is needed"},
        {ZK_RUNTIME_INCONSISTENCY, "not done: an earlier operation of the same multi failed"},
        {ZK_DATA_INCONSISTENCY, "the data is inconsistent"},
        {ZK_CONNECTION_LOSS, "the connection broke before the reply"},
        {ZK_MARSHALLING_ERROR, "a request or a reply could not be read"},
        {ZK_UNIMPLEMENTED, "the server does not know this operation"},
        {ZK_OPERATION_TIMEOUT, "the operation took too long"},
        {ZK_BAD_ARGUMENTS, "an argument is not valid"},
        {ZK_NEW_CONFIG_NO_QUORUM, "no quorum of the new configuration is connected"},
        {ZK_RECONFIG_IN_PROGRESS, "another reconfiguration is in progress"},
        {ZK_API_ERROR, "the server refuses the operation"},
        {ZK_NO_NODE, "there is no such node"},
        {ZK_NO_AUTH, "not allowed"},
        {ZK_BAD_VERSION, "the version is another one"},
        {ZK_NO_CHILDREN_FOR_EPHEMERALS, "an ephemeral node cannot have children"},
        {ZK_NODE_EXISTS, "the node exists already"},
        {ZK_NOT_EMPTY, "the node has children"},
        {ZK_SESSION_EXPIRED, "the session has expired"},
        {ZK_INVALID_ACL, "the access control list is not valid"},
        {ZK_AUTH_FAILED, "the server refused an identity"},
        {ZK_CLOSING, "the handle is closed"},
        {ZK_SESSION_MOVED, "the session has moved to another server"},
        {ZK_NOT_READ_ONLY, "the server can only read now"},
        {ZK_EPHEMERAL_ON_LOCAL_SESSION, "a local session cannot have ephemeral nodes"},
        {ZK_NO_WATCHER, "there is no such watch"},
        {ZK_REQUEST_TIMEOUT, "the request took too long"},
        {ZK_RECONFIG_DISABLED, "reconfiguration is not enabled"},
        {ZK_SESSION_CLOSED_REQUIRE_SASL_AUTH, "the server wants SASL authentication"},
        {ZK_QUOTA_EXCEEDED, "the quota is exceeded"},
        {ZK_THROTTLED_OP, "the server has too much to do"},
        {ZK_OUT_OF_MEMORY, "out of memory"},
        {ZK_TIMED_OUT, "not done within the time allowed"},
        {ZK_CANCELED, "canceled"},
        {ZK_TOO_LARGE, "larger than max_packet"},
        {ZK_BUSY, "too much is waiting for the server"},
        {ZK_WRONG_THREAD, "may not be called here"},
        {ZK_IN_USE, "the object is in use already"},
        {ZK_NOT_OWNED, "nothing is held that could be given back"},
        {ZK_LOCKED, "somebody else has it"},
        {ZK_SEQUENCE_OVERFLOW, "no sequence numbers are left below this node"},
        {ZK_UNCERTAIN, "the reply was lost, and it is not known whether it was done"},
        {ZK_MALFORMED, "the node's data is not what it should be"},
    };
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (WORDS[i].code == error) return WORDS[i].text;
    return "unknown error";
}

ZK_API bool zk_maybe_applied(int error) {
    switch (error) {
    case ZK_CONNECTION_LOSS:
    case ZK_OPERATION_TIMEOUT:
    case ZK_SESSION_EXPIRED:
    case ZK_SESSION_MOVED:
    case ZK_REQUEST_TIMEOUT:
    case ZK_CLOSING:
    case ZK_MARSHALLING_ERROR:
    case ZK_OUT_OF_MEMORY:
    case ZK_TIMED_OUT:
    case ZK_CANCELED:
    case ZK_UNCERTAIN: return true;
    default: return false;
    }
}

ZK_API const char *zk_state_name(int state) {
    static const char *const names[] = {"UNKNOWN",   "CONNECTING", "CONNECTED",
                                        "READ_ONLY", "SUSPENDED",  "LOST",
                                        "EXPIRED",   "AUTH_FAILED", "CLOSED"};
    return names[state > 0 && state <= ZK_STATE_CLOSED ? state : 0];
}
