/*
 * client/session: one client as a pure machine: a session, its connection, its requests.
 *
 * Answers to stock's ClientCnxn. The host feeds it the time, addresses, and what its one connection
 * brings; it answers with bytes to send (c->out), with orders to the host (client_take_order), and
 * with posts: calls of the user's functions, to be made outside of the machine, in order. Nothing
 * here blocks, reads a clock or knows of threads; whoever owns the machine uses it by one thread at
 * a time.
 *
 * Two ways to be told of a result or of a watch. CLIENT_POSTED, for users: through a post.
 * CLIENT_INSIDE, for recipes, which are machines on top of this one: called at once, from within;
 * such a function may call everything here except client_free.
 *
 * A connection:
 *   RESTING -> RESOLVING -> DIALING -> GREETING -> UP -> RESTING ...   (a failure goes to RESTING)
 *   until the session is over: expired, refused an identity, or closed.
 * Requests wait in `waiting`, in the form they will be sent in, until the connection is UP, and in
 * `sent` for their replies, which come in the same order. A connection that breaks fails what was
 * sent and keeps what waits.
 *
 * Memory that cannot be had is an error of the one request, or breaks the connection; the machine
 * goes on. Limits: CLIENT_WAITING_MAX requests, CLIENT_OUT_MAX bytes not sent, replies of
 * max_packet.
 */
#ifndef ZK_CLIENT_SESSION_H
#define ZK_CLIENT_SESSION_H

#include "client/hosts.h"
#include "client/watches.h"

#define CLIENT_WAITING_MAX (1u << 20)
#define CLIENT_OUT_MAX (64u << 20)

struct client;

/* --- what recipes use --- */

enum client_way {
    CLIENT_POSTED,
    CLIENT_INSIDE,
    CLIENT_CALL /* done from within, op->watch through posts */
};

/*
 * Begins an operation, as zk_submit does (same results). way holds for done and for op->watch.
 * done is never called before client_submit has returned.
 */
ZK_PRIVATE int64_t client_submit(struct client *c, const struct zk_op *op, enum client_way way,
                                 zk_result_fn done, void *user);
/* ZK_OK, or why client_submit would not have this operation, whenever it is tried. */
ZK_PRIVATE int client_check(const struct client *c, const struct zk_op *op);
/* Forgets it: done is not called any more, nor posted. False: it was over. */
ZK_PRIVATE bool client_forget(struct client *c, int64_t id);
/* Takes one back, done is not called. False: it was sent, or is over. */
ZK_PRIVATE bool client_recall(struct client *c, int64_t id);
/* Forgets a watch that was set from inside, without a word to the server. */
ZK_PRIVATE void client_unwatch(struct client *c, zk_watch_fn fn, void *user);

/* A timer; owned by who sets it, zero-initialised. fn is called from within. */
struct client_timer {
    struct client_timer *next, **link; /* the machine's; link NULL: not set */
    int64_t at;                        /* ms of client_now */
    void (*fn)(void *user);
    void *user;
};
ZK_PRIVATE void client_timer_set(struct client *c, struct client_timer *t, int64_t at);
ZK_PRIVATE void client_timer_stop(struct client *c, struct client_timer *t);

/* Somebody who is told each change of state, from within; owned by him. */
struct client_observer {
    struct client_observer *next, **link; /* the machine's */
    void (*fn)(void *user, enum zk_state state, int64_t session_id);
    void *user;
};
ZK_PRIVATE void client_observe(struct client *c, struct client_observer *o);
ZK_PRIVATE void client_unobserve(struct client *c, struct client_observer *o);

/*
 * A call of a user's function, made later, outside of the machine. Owned by the machine once
 * posted: it is ended by exactly one of run (which calls the user) and drop; both free it.
 */
struct client_post {
    struct client_post *next;
    const void *owner; /* for client_unpost; may be NULL */
    void (*run)(struct client_post *p);
    void (*drop)(struct client_post *p);
};
ZK_PRIVATE void client_post(struct client *c, struct client_post *p);
ZK_PRIVATE void client_unpost(struct client *c, const void *owner); /* drops what still waits */

ZK_PRIVATE int64_t client_now(const struct client *c); /* monotonic ms, of the latest input */
ZK_PRIVATE uint64_t client_random(struct client *c);
ZK_PRIVATE enum zk_state client_state(const struct client *c);
ZK_PRIVATE int64_t client_session_id(const struct client *c);
ZK_PRIVATE int client_op_timeout(const struct client *c); /* of what has none of its own */
ZK_PRIVATE bool client_is_up(const struct client *c); /* connected, to a server that can write */

/* --- what the host and the public functions use --- */

struct client_setup {
    struct hosts hosts;  /* taken over */
    const char *chroot; /* copied; "" or a valid path */
    const struct zk_options *options; /* the rest of it; borrowed until client_new returns */
    uint64_t seed;
    int64_t now; /* monotonic ms, as in all inputs */
};
ZK_PRIVATE int client_new(struct client **out, struct client_setup *setup);
/* Drops posts, requests and watches without a word to anybody. */
ZK_PRIVATE void client_free(struct client *c);

/* Inputs. Each is followed by a look at orders, output and posts. */
ZK_PRIVATE void client_clock(struct client *c, int64_t now); /* just what time it is */
ZK_PRIVATE void client_tick(struct client *c, int64_t now);  /* and does what is due */
ZK_PRIVATE void client_resolved(struct client *c, const struct net_addr *at, int n);
ZK_PRIVATE void client_dialed(struct client *c, bool stands);
ZK_PRIVATE void client_received(struct client *c, struct slice bytes);
ZK_PRIVATE void client_broken(struct client *c, const char *why);
ZK_PRIVATE void client_probed(struct client *c, bool can_write);

/* Orders, to be carried out in turn. */
enum client_order_kind {
    CLIENT_RESOLVE = 1, /* name: answer with client_resolved */
    CLIENT_DIAL,        /* addr: answer with client_dialed, later with bytes or client_broken */
    CLIENT_HANG_UP,     /* whatever there is: no answer, and none to RESOLVE and DIAL before it */
    CLIENT_PROBE        /* name: on a connection of its own ask "isro"; answer with client_probed */
};
struct client_order {
    enum client_order_kind kind;
    char name[HOSTS_NAME];
    uint16_t port;
    struct net_addr addr;
};
ZK_PRIVATE bool client_take_order(struct client *c, struct client_order *out);

/* Output: bytes to send; the host consumes what it has sent and says so. */
ZK_PRIVATE struct buf *client_out(struct client *c);
ZK_PRIVATE void client_sent(struct client *c);
/* Whether it should be sent now: nothing is on its way whose reply would bring the next chance, or
 * it is much. */
ZK_PRIVATE bool client_should_send(const struct client *c);

ZK_PRIVATE int64_t client_next_at(const struct client *c); /* of the next tick; INT64_MAX: none */
ZK_PRIVATE struct client_post *client_take_post(struct client *c); /* the first; NULL: none */
ZK_PRIVATE bool client_has_posts(const struct client *c);
ZK_PRIVATE bool client_take_log(struct client *c, int *level, const char **text);

/* Within a CLIENT_INSIDE done: the result becomes the caller's. NULL: it has nothing of its own. */
ZK_PRIVATE struct zk_result *client_take_result(struct client *c);
/* Done with ZK_CANCELED, posted. */
ZK_PRIVATE int client_cancel(struct client *c, int64_t id);
/* Says goodbye to the server, if `politely` and connected; over when client_is_over. */
ZK_PRIVATE void client_close(struct client *c, bool politely);
/* Everything that is due fails with ZK_CLOSING now. */
ZK_PRIVATE void client_end(struct client *c);
ZK_PRIVATE bool client_is_over(const struct client *c);
ZK_PRIVATE int client_error(const struct client *c); /* why it is over; ZK_OK: it is not */

ZK_PRIVATE bool client_set_hosts(struct client *c, struct hosts *hosts);
ZK_PRIVATE const uint8_t *client_passwd(const struct client *c);
ZK_PRIVATE int client_timeout(const struct client *c);
ZK_PRIVATE int64_t client_last_zxid(const struct client *c);
ZK_PRIVATE bool client_connection_is_up(const struct client *c);
ZK_PRIVATE const struct net_addr *client_address(const struct client *c);
ZK_PRIVATE void client_counters(const struct client *c, struct zk_counters *out);

#endif
