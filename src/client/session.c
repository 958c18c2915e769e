#include "client/session.h"

#include <stdio.h>

#include "base/log.h"
#include "client/codec.h"
#include "state/path.h"

enum client_link { CLIENT_RESTING, CLIENT_RESOLVING, CLIENT_DIALING, CLIENT_GREETING, CLIENT_UP };

enum {
    CLIENT_XID_EVENT = -1,
    CLIENT_XID_PING = -2,
    CLIENT_XID_AUTH = -4,
    CLIENT_XID_WATCHES = -8,
    CLIENT_ADDRS = 8,
    CLIENT_ORDERS = 8,
    CLIENT_PASSWD = 16,
    CLIENT_PINGS = 4, /* without an answer; the connection is given up before there are more */
    CLIENT_WATCHES_BATCH = 128 * 1024, /* bytes of paths. stock: SET_WATCHES_MAX_LENGTH */
    CLIENT_REPLY_MORE = 1024, /* than max_packet: what fitted into a set fits into its get */
    CLIENT_SEND_SOON = 16 * 1024,      /* so much output is worth a packet of its own */
    CLIENT_STEADY_MS = 1000, /* a connection that broke sooner counts as a failed attempt */
    CLIENT_PROBE_MIN_MS = 100,
    CLIENT_PROBE_MAX_MS = 60000
};

/*
 * A request from submission to the moment when its caller knows. It is its own post, so that a
 * result can always be told; what it may have to leave behind in `sent`, so that replies keep
 * finding their places, is one without `done`.
 */
struct client_request {
    struct client_post post; /* first: run and drop cast back */
    struct client_request *next;
    int64_t id, sent_at, deadline; /* deadline: INT64_MAX when there is none */
    int32_t xid;
    enum zk_op_type type;
    int op_count; /* of a multi */
    enum zk_watch_kind kind;
    bool inside, watch_inside, local;
    bool on_server; /* of a removal: the server takes its watch away too */
    bool gone;      /* an empty one that holds the place of what was withdrawn */
    zk_result_fn done;
    void *user;
    struct zk_result *result; /* owned; NULL: plain */
    struct zk_result plain;   /* only an error */
    zk_watch_fn watch;
    void *watch_user;
    uint32_t frame; /* bytes in `held` while it waits */
    uint32_t path_len;
    char path[]; /* on the server; of those that have a watch */
};

struct client_list {
    struct client_request *first, **last;
    uint32_t n;
};

struct client_identity {
    struct client_identity *next;
    struct client_request *request; /* whoever waits to hear; NULL: nobody any more */
    uint32_t scheme_len, auth_len;
    bool no_auth;  /* null, which is not the same as empty */
    char scheme[]; /* with a NUL, then auth */
};

struct client {
    enum client_link link;
    enum zk_state state, told; /* told: what was posted last */
    int over;                  /* enum zk_error: why the session is; 0: it is not */
    bool closing, said_goodbye;
    unsigned flags;
    int64_t now, started;

    struct hosts hosts;
    char *chroot; /* owned; "" for none */
    struct net_addr at[CLIENT_ADDRS];
    int n_at, next_at;
    int64_t rest_until, attempt_until, up_since, spoke, heard;
    int64_t proven; /* when the latest frame was sent that an answer shows to have arrived */
    int64_t pings[CLIENT_PINGS]; /* when those were sent that have no answer, in order */
    uint32_t n_pings;
    int64_t lost_at; /* INT64_MAX when connected */
    struct client_order orders[CLIENT_ORDERS];
    uint32_t order_first, order_n;
    int64_t probe_at; /* INT64_MAX: not looking for a server that can write */
    int64_t probe_pause;

    int64_t session_id, zxid;
    uint8_t passwd[CLIENT_PASSWD];
    int timeout, wished; /* ms; agreed, and asked for */
    bool writable_seen;  /* a server that can write knows the session */
    int op_timeout;
    uint32_t max_packet;

    int64_t ids;
    int32_t xid;
    struct client_list sent, waiting, auths; /* auths: expecting a reply, in order */
    struct buf held;                         /* frames of `waiting` */
    struct buf in, out;
    uint32_t unsent; /* requests of `sent` with bytes in out */
    int64_t next_deadline;

    struct client_identity *identities, *identity_next; /* next: whose reply comes next */
    struct watches watches;
    struct client_timer *timers;
    struct client_observer *observers;
    struct client_post *posts, **last_post;
    struct zk_result *current; /* being told from within */
    struct logq log;
    struct prng random;
    struct zk_counters counters;

    zk_state_fn on_state;
    void *user;
    zk_frame_fn on_frame;
    void *frame_user;
};

static void client_rest(struct client *c);
static void client_break(struct client *c, int level, const char *why);

/* --- small things --- */

static void client_say(struct client *c, int level, const char *what, const char *more) {
    if (buf_try_reserve(&c->log.lines, 1024)) log_line(&c->log, level, "%s%s", what, more);
}

static void list_init(struct client_list *l) {
    l->first = NULL;
    l->last = &l->first;
    l->n = 0;
}

static void list_put(struct client_list *l, struct client_request *r) {
    r->next = NULL;
    *l->last = r;
    l->last = &r->next;
    l->n++;
}

/* link: what points to the one to take. */
static struct client_request *list_take(struct client_list *l, struct client_request **link) {
    struct client_request *r = *link;
    if (!r) return NULL;
    *link = r->next;
    if (!r->next) l->last = link;
    l->n--;
    return r;
}

static struct slice client_chroot(const struct client *c) {
    return slice_str(c->chroot);
}

static void client_order(struct client *c, enum client_order_kind kind, const struct host *host,
                         const struct net_addr *addr) {
    if (kind == CLIENT_HANG_UP) c->order_n = 0; /* nothing before it matters any more */
    ZK_ASSERT(c->order_n < CLIENT_ORDERS);
    struct client_order *o = &c->orders[(c->order_first + c->order_n++) % CLIENT_ORDERS];
    memset(o, 0, sizeof *o);
    o->kind = kind;
    if (host) memcpy(o->name, host->name, sizeof o->name);
    if (host) o->port = host->port;
    if (addr) o->addr = *addr;
}

ZK_PRIVATE bool client_take_order(struct client *c, struct client_order *out) {
    if (!c->order_n) return false;
    *out = c->orders[c->order_first];
    c->order_first = (c->order_first + 1) % CLIENT_ORDERS;
    c->order_n--;
    return true;
}

/* --- posts --- */

ZK_PRIVATE void client_post(struct client *c, struct client_post *p) {
    p->next = NULL;
    *c->last_post = p;
    c->last_post = &p->next;
}

ZK_PRIVATE void client_unpost(struct client *c, const void *owner) {
    for (struct client_post **link = &c->posts; *link;) {
        struct client_post *p = *link;
        if (p->owner != owner) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        if (!p->next) c->last_post = link;
        p->drop(p);
    }
}

ZK_PRIVATE struct client_post *client_take_post(struct client *c) {
    struct client_post *p = c->posts;
    if (!p) return NULL;
    c->posts = p->next;
    if (!c->posts) c->last_post = &c->posts;
    return p;
}

ZK_PRIVATE bool client_has_posts(const struct client *c) {
    return c->posts != NULL;
}

ZK_PRIVATE bool client_take_log(struct client *c, int *level, const char **text) {
    return log_take(&c->log, level, text);
}

static void client_request_drop(struct client_post *p) {
    struct client_request *r = (struct client_request *)(void *)p;
    mem_free(r->result);
    mem_free(r);
}

static void client_request_run(struct client_post *p) {
    struct client_request *r = (struct client_request *)(void *)p;
    if (r->done) r->done(r->user, r->result ? r->result : &r->plain);
    client_request_drop(p);
}

struct client_event {
    struct client_post post; /* first */
    zk_watch_fn fn;
    void *user;
    struct zk_event event;
    char path[];
};

static void client_event_drop(struct client_post *p) {
    mem_free(p);
}

static void client_event_run(struct client_post *p) {
    struct client_event *e = (struct client_event *)(void *)p;
    e->fn(e->user, &e->event);
    client_event_drop(p);
}

static bool client_tell_event(struct client *c, const struct watcher *who,
                              const struct zk_event *event) {
    if (who->inside) {
        who->fn(who->user, event);
        return true;
    }
    size_t n = strlen(event->path) + 1;
    struct client_event *e = mem_try(sizeof *e + n);
    if (!e) return false;
    e->post.run = client_event_run;
    e->post.drop = client_event_drop;
    e->fn = who->fn;
    e->user = who->user;
    e->event = *event;
    memcpy(e->path, event->path, n);
    e->event.path = e->path;
    client_post(c, &e->post);
    return true;
}

struct client_removal {
    struct client *c;
    struct slice path; /* without the chroot, followed by a NUL */
};

static bool client_tell_removed(void *user, const struct watcher *who) {
    static const struct {
        uint8_t bits;
        enum zk_event_type type;
    } KINDS[] = {{WATCH_BIT_CHILD, ZK_CHILD_WATCH_REMOVED},
                 {WATCH_BIT_DATA | WATCH_BIT_EXIST, ZK_DATA_WATCH_REMOVED},
                 {WATCH_BIT_PERSISTENT | WATCH_BIT_RECURSIVE, ZK_PERSISTENT_WATCH_REMOVED}};
    struct client_removal *at = user;
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        struct zk_event e = {KINDS[i].type, (const char *)at->path.p, -1};
        if ((who->bits & KINDS[i].bits) && !who->inside) (void)client_tell_event(at->c, who, &e);
    }
    return true;
}

/* Takes the watches away that a request named; who had them is told. False: there are none. */
static bool client_settle_removal(struct client *c, const struct client_request *r) {
    bool others;
    struct slice path = slice_of(r->path, r->path_len);
    struct client_removal at = {c, codec_strip(path, client_chroot(c))};
    uint8_t bits = watches_bits(r->kind);
    if (!watches_held(&c->watches, path, bits, r->watch, r->watch_user, &others)) return false;
    watches_remove(&c->watches, path, bits, r->watch, r->watch_user, client_tell_removed, &at);
    return true;
}

/* Tells whoever waits for it. r is gone afterwards. result is taken over; NULL: just the error. */
static void client_finish(struct client *c, struct client_request *r, int error,
                          struct zk_result *result) {
    if (r->type == ZK_OP_REMOVE_WATCHES && r->local && !result && client_settle_removal(c, r))
        error = ZK_OK;
    r->result = result;
    r->plain.error = error;
    r->plain.data_len = -1;
    if (!r->inside && r->done) {
        client_post(c, &r->post);
        return;
    }
    struct zk_result *outer = c->current;
    c->current = result;
    if (r->done) r->done(r->user, result ? result : &r->plain);
    r->result = c->current; /* NULL: it was taken */
    c->current = outer;
    client_request_drop(&r->post);
}

ZK_PRIVATE struct zk_result *client_take_result(struct client *c) {
    struct zk_result *result = c->current;
    c->current = NULL;
    return result;
}

struct client_news {
    struct client_post post; /* first */
    zk_state_fn fn;
    void *user;
    enum zk_state state;
    int64_t session_id;
};

static void client_news_drop(struct client_post *p) {
    mem_free(p);
}

static void client_news_run(struct client_post *p) {
    struct client_news *n = (struct client_news *)(void *)p;
    n->fn(n->user, n->state, n->session_id);
    client_news_drop(p);
}

/* Without memory the news wait for the next tick, and may then be newer. */
static void client_tell_state(struct client *c) {
    if (c->told == c->state) return;
    if (c->on_state) {
        struct client_news *n = mem_try(sizeof *n);
        if (!n) return;
        n->post.run = client_news_run;
        n->post.drop = client_news_drop;
        n->fn = c->on_state;
        n->user = c->user;
        n->state = c->state;
        n->session_id = c->session_id;
        client_post(c, &n->post);
    }
    c->told = c->state;
}

static void client_set_state(struct client *c, enum zk_state state) {
    if (c->state == state) return;
    c->state = state;
    client_tell_state(c);
    for (struct client_observer *o = c->observers, *next; o; o = next) {
        next = o->next;
        o->fn(o->user, state, c->session_id);
    }
}

ZK_PRIVATE void client_observe(struct client *c, struct client_observer *o) {
    o->next = c->observers;
    if (o->next) o->next->link = &o->next;
    o->link = &c->observers;
    c->observers = o;
}

ZK_PRIVATE void client_unobserve(struct client *c, struct client_observer *o) {
    (void)c;
    if (!o->link) return;
    *o->link = o->next;
    if (o->next) o->next->link = o->link;
    o->link = NULL;
}

/* --- timers --- */

ZK_PRIVATE void client_timer_stop(struct client *c, struct client_timer *t) {
    (void)c;
    if (!t->link) return;
    *t->link = t->next;
    if (t->next) t->next->link = t->link;
    t->link = NULL;
}

/* Kept in order of time; recipes have few, and most are set behind all others. */
ZK_PRIVATE void client_timer_set(struct client *c, struct client_timer *t, int64_t at) {
    client_timer_stop(c, t);
    struct client_timer **link = &c->timers;
    while (*link && (*link)->at <= at) link = &(*link)->next;
    t->at = at;
    t->next = *link;
    t->link = link;
    if (t->next) t->next->link = &t->next;
    *link = t;
}

static void client_run_timers(struct client *c) {
    int64_t now = c->now;
    while (c->timers && c->timers->at <= now) {
        struct client_timer *t = c->timers;
        client_timer_stop(c, t);
        t->fn(t->user);
    }
}

/* --- the end of requests --- */

/* Fails all of a list. What those who are told submit meanwhile goes to `waiting`, behind. */
static void client_fail(struct client *c, struct client_list *l, int error) {
    struct client_list all = *l;
    if (!all.first) return;
    list_init(l);
    if (l == &c->waiting) buf_clear(&c->held);
    for (struct client_request *r = all.first, *next; r; r = next) {
        next = r->next;
        client_finish(c, r, error, NULL);
    }
}

static void client_fail_auths(struct client *c, int error) {
    for (struct client_identity *i = c->identities; i; i = i->next) {
        struct client_request *r = i->request;
        i->request = NULL;
        if (r) client_finish(c, r, error, NULL);
    }
}

static void client_fail_all(struct client *c, int error) {
    c->unsent = 0;
    client_fail(c, &c->sent, error);
    client_fail(c, &c->waiting, error);
    client_fail_auths(c, error);
}

/* Takes a request out and leaves an empty one in its place, which the reply will find, or whose
 * frame will not be sent. One of a removal still knows what the server may have removed. NULL: no
 * memory for that. */
static struct client_request *client_detach(struct client_list *l, struct client_request **link) {
    struct client_request *r = *link;
    uint32_t path_len = r->type == ZK_OP_REMOVE_WATCHES ? r->path_len : 0;
    struct client_request *stub = mem_try(sizeof *stub + path_len + 1);
    if (!stub) return NULL;
    stub->gone = true;
    stub->type = r->type;
    stub->kind = r->kind;
    stub->watch = r->watch;
    stub->watch_user = r->watch_user;
    stub->path_len = path_len;
    if (path_len) memcpy(stub->path, r->path, path_len);
    stub->xid = r->xid;
    stub->sent_at = r->sent_at;
    stub->frame = r->frame;
    stub->deadline = INT64_MAX;
    stub->next = r->next;
    *link = stub;
    if (!r->next) l->last = &stub->next;
    return r;
}

static struct client_request **client_find(struct client *c, int64_t id, struct client_list **in) {
    struct client_list *lists[] = {&c->sent, &c->waiting};
    for (int i = 0; i < 2; i++) {
        *in = lists[i];
        for (struct client_request **link = &(*in)->first; *link; link = &(*link)->next)
            if ((*link)->id == id) return link;
    }
    return NULL;
}

/* One that waits for an identity to be taken. */
static struct client_request **client_find_auth(struct client *c, int64_t id) {
    for (struct client_identity *i = c->identities; i; i = i->next)
        if (i->request && i->request->id == id) return &i->request;
    return NULL;
}

/* Takes the request with this number from wherever it waits. NULL, with why: it is not there. */
static struct client_request *client_withdraw(struct client *c, int64_t id, int *why) {
    struct client_list *in;
    struct client_request **link = client_find_auth(c, id), *r;
    if (link) {
        r = *link;
        *link = NULL;
        return r;
    }
    link = client_find(c, id, &in);
    r = link ? client_detach(in, link) : NULL;
    *why = link ? ZK_OUT_OF_MEMORY : ZK_BAD_ARGUMENTS;
    return r;
}

ZK_PRIVATE int client_cancel(struct client *c, int64_t id) {
    int why = ZK_OK;
    struct client_request *r = id > 0 ? client_withdraw(c, id, &why) : NULL;
    if (!r) return id > 0 ? why : ZK_BAD_ARGUMENTS;
    client_finish(c, r, ZK_CANCELED, NULL);
    return ZK_OK;
}

ZK_PRIVATE bool client_forget(struct client *c, int64_t id) {
    struct client_list *in;
    struct client_request **link = id > 0 ? client_find_auth(c, id) : NULL;
    if (!link && id > 0) link = client_find(c, id, &in);
    if (!link) return false;
    (*link)->done = NULL; /* it goes its way, unheard; so do its watches */
    if ((*link)->type != ZK_OP_REMOVE_WATCHES) (*link)->watch = NULL;
    return true;
}

ZK_PRIVATE bool client_recall(struct client *c, int64_t id) {
    struct client_list *in = NULL;
    struct client_request **link = id > 0 ? client_find(c, id, &in) : NULL;
    struct client_request *r = link && in == &c->waiting ? client_detach(in, link) : NULL;
    if (r) client_request_drop(&r->post);
    return r != NULL;
}

/* Ends what has waited longer than its caller wants; finds when to look again. */
static void client_expire_requests(struct client *c) {
    if (c->now < c->next_deadline) return;
    struct client_list *lists[] = {&c->sent, &c->waiting};
    c->next_deadline = INT64_MAX;
    for (int i = 0; i < 2; i++) {
        /* Who is told may submit more, which goes behind; nothing in the list is taken out. */
        for (struct client_request **link = &lists[i]->first; *link; link = &(*link)->next) {
            if ((*link)->deadline <= c->now) {
                struct client_request *r = client_detach(lists[i], link);
                if (r) client_finish(c, r, ZK_TIMED_OUT, NULL);
            }
            if ((*link)->deadline < c->next_deadline) c->next_deadline = (*link)->deadline;
        }
    }
    for (struct client_identity *n = c->identities; n; n = n->next) {
        struct client_request *r = n->request;
        if (r && r->deadline <= c->now) {
            n->request = NULL;
            client_finish(c, r, ZK_TIMED_OUT, NULL);
        } else if (r && r->deadline < c->next_deadline) {
            c->next_deadline = r->deadline;
        }
    }
}

/* --- sending --- */

static void client_trace(struct client *c, bool sent, struct slice frame) {
    if (c->on_frame) c->on_frame(c->frame_user, sent, frame.p, frame.n);
}

/* Accounts for a frame that stands at the end of out, from `at`. */
static void client_framed(struct client *c, size_t at) {
    c->spoke = c->now;
    c->counters.bytes_sent += c->out.n - at;
    client_trace(c, true, slice_of(c->out.p + at, c->out.n - at));
}

/* A packet of the session's own: its frame begins at the result. Room for it was reserved. */
static size_t client_begin(struct client *c, int32_t xid, int32_t op) {
    size_t at = c->out.n;
    jw_i32(&c->out, 0);
    jw_i32(&c->out, xid);
    jw_i32(&c->out, op);
    return at;
}

static void client_end_frame(struct client *c, size_t at) {
    put_be32(c->out.p + at, (uint32_t)(c->out.n - at - 4));
    client_framed(c, at);
}

static bool client_room(struct client *c, size_t n) {
    buf_compact(&c->out);
    return buf_try_reserve(&c->out, n);
}

static bool client_ping(struct client *c) {
    if (!client_room(c, 12)) return false;
    if (c->n_pings < CLIENT_PINGS) c->pings[c->n_pings++] = c->now;
    client_end_frame(c, client_begin(c, CLIENT_XID_PING, ZOP_PING));
    return true;
}

static bool client_send_identity(struct client *c, struct client_identity *i) {
    if (!client_room(c, 32 + i->scheme_len + i->auth_len)) return false;
    size_t at = client_begin(c, CLIENT_XID_AUTH, ZOP_AUTH);
    jw_i32(&c->out, 0);
    jw_bytes(&c->out, slice_of(i->scheme, i->scheme_len));
    const char *auth = i->no_auth ? NULL : i->scheme + i->scheme_len + 1;
    jw_bytes(&c->out, slice_of(auth, i->auth_len));
    client_end_frame(c, at);
    if (!c->identity_next) c->identity_next = i;
    return true;
}

/* The lists of a setWatches packet, in its order. stock: SetWatches2 */
static const uint8_t CLIENT_WATCH_LISTS[] = {WATCH_BIT_DATA, WATCH_BIT_EXIST, WATCH_BIT_CHILD,
                                             WATCH_BIT_PERSISTENT, WATCH_BIT_RECURSIVE};
enum { CLIENT_LISTS = sizeof CLIENT_WATCH_LISTS, CLIENT_OLD_LISTS = 3 };

/* One batch: the paths from `from` up to `to`, which is not in it any more (NULL: to the end). */
static bool client_send_watches(struct client *c, const struct watched *from,
                                const struct watched *to, uint8_t all, size_t room) {
    if (!client_room(c, room)) return false;
    bool old = !(all & (WATCH_BIT_PERSISTENT | WATCH_BIT_RECURSIVE));
    size_t at = client_begin(c, CLIENT_XID_WATCHES, old ? ZOP_SET_WATCHES : ZOP_SET_WATCHES2);
    jw_i64(&c->out, c->zxid);
    for (int i = 0; i < (old ? CLIENT_OLD_LISTS : CLIENT_LISTS); i++) {
        size_t count_at = c->out.n;
        uint32_t count = 0;
        uint8_t bits;
        jw_i32(&c->out, 0);
        const struct watched *one = from;
        for (bits = watches_bits_of(one); one != to; one = watches_next(&c->watches, one, &bits)) {
            if (!(bits & CLIENT_WATCH_LISTS[i])) continue;
            jw_bytes(&c->out, slice_of(one->path, one->path_len));
            count++;
        }
        put_be32(c->out.p + count_at, count);
    }
    client_end_frame(c, at);
    return true;
}

/* stock: ClientCnxn.primeConnection */
static bool client_restore_watches(struct client *c) {
    if (c->flags & ZK_NO_WATCH_RESET) return true;
    const struct watched *from = NULL, *at = NULL;
    size_t paths = 0, room = 64;
    uint8_t bits, all = 0;
    while ((at = watches_next(&c->watches, at, &bits))) {
        if (!from) from = at;
        if (paths >= CLIENT_WATCHES_BATCH) {
            if (!client_send_watches(c, from, at, all, room)) return false;
            from = at;
            paths = 0;
            room = 64;
            all = 0;
        }
        all |= bits;
        for (int i = 0; i < CLIENT_LISTS; i++) {
            if (!(bits & CLIENT_WATCH_LISTS[i])) continue;
            paths += at->path_len;
            room += at->path_len + 4;
        }
    }
    return !from || client_send_watches(c, from, NULL, all, room);
}

/* What waited goes out, in order; who gave up meanwhile is skipped, with the frame. */
static bool client_send_waiting(struct client *c) {
    if (!client_room(c, buf_len(&c->held))) return false;
    struct client_request *r;
    while ((r = list_take(&c->waiting, &c->waiting.first))) {
        struct slice frame = slice_of(c->held.p + c->held.head, r->frame);
        if (r->gone) {
            mem_free(r);
        } else {
            size_t at = c->out.n;
            buf_put(&c->out, frame.p, frame.n);
            client_framed(c, at);
            r->sent_at = c->now;
            list_put(&c->sent, r);
            c->unsent++;
        }
        buf_consume(&c->held, frame.n);
    }
    buf_free(&c->held);
    return true;
}

ZK_PRIVATE struct buf *client_out(struct client *c) {
    return &c->out;
}

ZK_PRIVATE void client_sent(struct client *c) {
    if (!buf_len(&c->out)) c->unsent = 0;
}

ZK_PRIVATE bool client_should_send(const struct client *c) {
    size_t n = buf_len(&c->out);
    if (!n || c->link < CLIENT_GREETING) return false;
    return c->link == CLIENT_GREETING || c->sent.n == c->unsent || n >= CLIENT_SEND_SOON;
}

/* --- submitting --- */

ZK_PRIVATE int client_check(const struct client *c, const struct zk_op *op) {
    return codec_check(op, client_chroot(c), c->max_packet);
}

static int client_admit(struct client *c, const struct zk_op *op) {
    if (c->over) return c->over;
    if (c->said_goodbye) return ZK_CLOSING;
    int err = client_check(c, op);
    if (err) return err;
    if (c->link != CLIENT_UP && (c->flags & ZK_FAIL_FAST) && op->type != ZK_OP_ADD_AUTH)
        return ZK_CONNECTION_LOSS;
    size_t bytes = buf_len(&c->out) + buf_len(&c->held);
    if (c->sent.n + c->waiting.n >= CLIENT_WAITING_MAX || bytes >= CLIENT_OUT_MAX) return ZK_BUSY;
    return ZK_OK;
}

static struct client_request *client_make(struct client *c, const struct zk_op *op,
                                          enum client_way way, zk_result_fn done, void *user) {
    bool path = op->watch || op->type == ZK_OP_REMOVE_WATCHES;
    size_t n = path ? strlen(c->chroot) + 32 + (op->path ? strlen(op->path) : 0) : 0;
    struct client_request *r = mem_try(sizeof *r + n);
    if (!r) return NULL;
    if (path) {
        struct buf text = {.p = (uint8_t *)r->path, .cap = n};
        struct slice chroot = op->path ? client_chroot(c) : slice_of(NULL, 0);
        r->path_len = (uint32_t)codec_path(
            &text, slice_str(op->path ? op->path : CODEC_CONFIG_PATH), chroot).n;
    }
    int timeout = op->timeout_ms ? op->timeout_ms : c->op_timeout;
    r->post.run = client_request_run;
    r->post.drop = client_request_drop;
    r->deadline = timeout > 0 ? c->now + timeout : INT64_MAX;
    r->type = op->type;
    r->op_count = op->op_count;
    r->kind = op->watch_kind;
    r->inside = way != CLIENT_POSTED;
    r->watch_inside = way == CLIENT_INSIDE;
    r->local = op->local;
    r->done = done;
    r->user = user;
    r->watch = op->watch;
    r->watch_user = op->watch_user;
    return r;
}

static bool client_remember_identity(struct client *c, const struct zk_op *op,
                                     struct client_request *r) {
    size_t scheme = strlen(op->scheme), auth = op->data_len > 0 ? (size_t)op->data_len : 0;
    struct client_identity *i = mem_try(sizeof *i + scheme + 1 + auth);
    if (!i) return false;
    i->scheme_len = (uint32_t)scheme;
    i->auth_len = (uint32_t)auth;
    i->no_auth = op->data_len < 0;
    memcpy(i->scheme, op->scheme, scheme);
    if (auth) memcpy(i->scheme + scheme + 1, op->data, auth);
    struct client_identity **link = &c->identities;
    while (*link) link = &(*link)->next;
    *link = i;
    if (c->link == CLIENT_UP && !client_send_identity(c, i)) {
        *link = NULL;
        mem_free(i);
        return false;
    }
    i->request = r;
    return true;
}

/* Removing one of several watchers of a path is nothing that the server should hear of. */
static int client_admit_removal(struct client *c, struct client_request *r) {
    bool others;
    struct slice path = slice_of(r->path, r->path_len);
    if (!watches_held(&c->watches, path, watches_bits(r->kind), r->watch, r->watch_user, &others))
        return ZK_NO_WATCHER;
    r->on_server = !others;
    return ZK_OK;
}

static int32_t client_next_xid(struct client *c) {
    c->xid = c->xid == INT32_MAX ? 1 : c->xid + 1; /* never one of the special, negative ones */
    return c->xid;
}

/* Into out, or to what waits. */
static bool client_enqueue(struct client *c, const struct zk_op *op, struct client_request *r) {
    struct slice chroot = client_chroot(c);
    bool up = c->link == CLIENT_UP;
    struct buf *to = up ? &c->out : &c->held;
    buf_compact(to);
    if (!buf_try_reserve(to, codec_size(op, chroot))) return false;
    size_t at = to->n;
    r->xid = client_next_xid(c);
    codec_request(to, op, r->xid, chroot);
    if (r->type == ZK_OP_REMOVE_WATCHES && !r->on_server)
        put_be32(to->p + at + 8, ZOP_CHECK_WATCHES); /* same record */
    r->frame = (uint32_t)(to->n - at);
    r->sent_at = c->now;
    if (up) client_framed(c, at);
    list_put(up ? &c->sent : &c->waiting, r);
    if (up) c->unsent++;
    return true;
}

ZK_PRIVATE int64_t client_submit(struct client *c, const struct zk_op *op, enum client_way way,
                                 zk_result_fn done, void *user) {
    int err = client_admit(c, op);
    if (err) return err;
    struct client_request *r = client_make(c, op, way, done, user);
    if (!r) return ZK_OUT_OF_MEMORY;
    if (op->type == ZK_OP_REMOVE_WATCHES) err = client_admit_removal(c, r);
    if (!err) {
        bool ok = op->type == ZK_OP_ADD_AUTH ? client_remember_identity(c, op, r)
                                             : client_enqueue(c, op, r);
        if (!ok) err = ZK_OUT_OF_MEMORY;
    }
    if (err) {
        mem_free(r);
        return err;
    }
    r->id = ++c->ids;
    if (r->type == ZK_OP_REMOVE_WATCHES && r->local && c->link != CLIENT_UP)
        r->deadline = c->now; /* nobody can be asked: at the next tick */
    if (r->deadline < c->next_deadline) c->next_deadline = r->deadline;
    c->counters.requests++;
    return r->id;
}

ZK_PRIVATE void client_unwatch(struct client *c, zk_watch_fn fn, void *user) {
    watches_forget(&c->watches, fn, user);
    struct client_list *lists[] = {&c->sent, &c->waiting};
    for (int i = 0; i < 2; i++)
        for (struct client_request *r = lists[i]->first; r; r = r->next)
            if (r->watch == fn && r->watch_user == user && r->type != ZK_OP_REMOVE_WATCHES)
                r->watch = NULL; /* of a removal NULL would mean everybody's */
}

/* --- the connection --- */

/* stock: ClientCnxn, connectTimeout and readTimeout */
static int64_t client_read_timeout(const struct client *c) {
    return (int64_t)c->timeout * 2 / 3;
}

/*
 * When a connection that stands is given up: when it is silent, as stock does, and when the latest
 * answer's question is too old, however much still comes. A server counts a session's time from a
 * question's arrival. So long as that is known to be less than the timeout ago, no other session
 * can have been given what this one has, clocks that run alike presumed; events alone, from a
 * server that hears nothing any more, do not show that. A greeting that took long has used up no
 * time.
 */
static int64_t client_silent_at(const struct client *c) {
    int64_t silent = c->heard + client_read_timeout(c);
    int64_t stale = (c->proven > c->up_since ? c->proven : c->up_since) + c->timeout;
    return silent < stale ? silent : stale;
}

static int64_t client_attempt_ms(const struct client *c) {
    int64_t ms = c->timeout / (int64_t)c->hosts.n;
    return ms < 100 ? 100 : ms;
}

/* A name that takes long may be all that there is: each pass over the hosts waits longer for it. */
static int64_t client_resolve_ms(const struct client *c) {
    int64_t ms = client_attempt_ms(c);
    for (uint32_t pass = c->hosts.failures / c->hosts.n; pass && ms < c->timeout; pass--) ms *= 2;
    return ms;
}

/* The session is over, for this reason; who waits hears it. */
static void client_over(struct client *c, int error, enum zk_state state) {
    if (c->over) return;
    c->over = error;
    if (c->link != CLIENT_RESTING) client_order(c, CLIENT_HANG_UP, NULL, NULL);
    c->link = CLIENT_RESTING;
    c->probe_at = INT64_MAX;
    buf_free(&c->in);
    buf_free(&c->out);
    client_fail_all(c, error);
    client_set_state(c, state);
}

/* Between attempts. Only what was sent is lost: what waits goes on waiting. */
static void client_rest(struct client *c) {
    c->link = CLIENT_RESTING;
    c->identity_next = NULL;
    c->probe_at = INT64_MAX;
    buf_free(&c->in);
    buf_free(&c->out);
    c->unsent = 0;
    int64_t most = c->timeout / 3 > 1 ? c->timeout / 3 : 1;
    c->rest_until = c->now + hosts_pause(&c->hosts, (uint32_t)most, &c->random);
    if (c->said_goodbye) {
        client_over(c, ZK_CLOSING, ZK_STATE_CLOSED);
        return;
    }
    if (c->state == ZK_STATE_CONNECTED || c->state == ZK_STATE_READ_ONLY) {
        c->lost_at = c->proven + c->timeout; /* no server gives the session up before that */
        client_set_state(c, ZK_STATE_SUSPENDED);
    }
    client_fail(c, &c->sent, ZK_CONNECTION_LOSS);
    if (c->flags & ZK_FAIL_FAST) client_fail(c, &c->waiting, ZK_CONNECTION_LOSS);
    if (c->flags & ZK_NO_WATCH_RESET) watches_free(&c->watches);
}

/* Gives up the connection, or the attempt at one. */
static void client_break(struct client *c, int level, const char *why) {
    if (c->link == CLIENT_RESTING) return;
    client_say(c, level, "connection given up: ", why);
    if (c->link != CLIENT_UP) c->counters.failures++;
    bool steady = c->link == CLIENT_UP && c->now - c->up_since >= CLIENT_STEADY_MS;
    (steady ? hosts_worked : hosts_failed)(&c->hosts);
    client_order(c, CLIENT_HANG_UP, NULL, NULL);
    client_rest(c);
}

static void client_attempt(struct client *c) {
    const struct host *host = hosts_next(&c->hosts, &c->random);
    c->link = CLIENT_RESOLVING;
    c->attempt_until = c->now + client_resolve_ms(c);
    c->n_at = c->next_at = 0;
    client_order(c, CLIENT_RESOLVE, host, NULL);
}

static void client_dial_next(struct client *c) {
    if (c->next_at == c->n_at) {
        client_break(c, LOG_INFO_LEVEL, c->n_at ? "no address answers" : "unknown host");
        return;
    }
    c->link = CLIENT_DIALING;
    c->attempt_until = c->now + client_attempt_ms(c);
    client_order(c, CLIENT_DIAL, NULL, &c->at[c->next_at++]);
}

ZK_PRIVATE void client_resolved(struct client *c, const struct net_addr *at, int n) {
    if (c->link != CLIENT_RESOLVING) return;
    if (n > CLIENT_ADDRS) n = CLIENT_ADDRS;
    uint32_t first = n ? (uint32_t)prng_below(&c->random, (uint64_t)n) : 0;
    if (c->flags & ZK_KEEP_HOST_ORDER) first = 0;
    for (int i = 0; i < n; i++) c->at[i] = at[((int)first + i) % n];
    c->n_at = n;
    client_dial_next(c);
}

static bool client_greet(struct client *c) {
    if (!client_room(c, 64)) return false;
    size_t at = c->out.n;
    jw_i32(&c->out, 0);
    jw_i32(&c->out, 0); /* version of the protocol */
    jw_i64(&c->out, c->zxid);
    jw_i32(&c->out, c->wished);
    jw_i64(&c->out, c->writable_seen ? c->session_id : 0);
    jw_bytes(&c->out, slice_of(c->passwd, CLIENT_PASSWD));
    jw_u8(&c->out, (c->flags & ZK_CAN_BE_READ_ONLY) != 0);
    client_end_frame(c, at);
    return true;
}

ZK_PRIVATE void client_dialed(struct client *c, bool stands) {
    if (c->link != CLIENT_DIALING) return;
    if (!stands) {
        if (c->next_at < c->n_at) client_order(c, CLIENT_HANG_UP, NULL, NULL);
        client_dial_next(c);
        return;
    }
    c->link = CLIENT_GREETING;
    c->proven = c->now;
    c->n_pings = 0;
    c->attempt_until = c->now + client_read_timeout(c);
    if (!client_greet(c)) client_break(c, LOG_WARN_LEVEL, "out of memory");
}

ZK_PRIVATE void client_broken(struct client *c, const char *why) {
    client_break(c, LOG_INFO_LEVEL, why);
}

/* A session that is gone takes everything with it but, if a new one follows, the watches. */
static void client_expired(struct client *c) {
    client_say(c, LOG_WARN_LEVEL, "the session has expired", "");
    if (!(c->flags & ZK_RENEW_SESSION) || c->said_goodbye) {
        client_over(c, ZK_SESSION_EXPIRED, ZK_STATE_EXPIRED);
        return;
    }
    bool had_one = c->writable_seen; /* else a new one was refused: this is a failed attempt */
    if (!had_one) {
        c->counters.failures++;
        hosts_failed(&c->hosts);
    }
    client_order(c, CLIENT_HANG_UP, NULL, NULL);
    c->link = CLIENT_RESTING;
    client_fail_all(c, ZK_SESSION_EXPIRED);
    client_set_state(c, ZK_STATE_EXPIRED);
    c->session_id = 0;
    c->writable_seen = false;
    memset(c->passwd, 0, sizeof c->passwd);
    client_rest(c);
    c->lost_at = INT64_MAX;
    if (had_one) c->rest_until = c->now;
}

/* Everything that goes out before the first request. */
static bool client_prime(struct client *c) {
    c->identity_next = NULL;
    for (struct client_identity *i = c->identities; i; i = i->next)
        if (!client_send_identity(c, i)) return false;
    return client_restore_watches(c) && client_send_waiting(c);
}

/* stock: ConnectResponse */
static void client_welcomed(struct client *c, struct slice frame) {
    struct jr r = jr_open(frame, CLIENT_PASSWD);
    (void)jr_i32(&r);
    int32_t timeout = jr_i32(&r);
    int64_t id = jr_i64(&r);
    struct slice passwd = jr_bytes(&r);
    bool read_only = jr_left(&r) && jr_bool(&r); /* absent from old servers */
    if (r.bad) {
        client_break(c, LOG_WARN_LEVEL, "the server's greeting makes no sense");
        return;
    }
    if (timeout <= 0) {
        client_expired(c);
        return;
    }
    if (passwd.n == CLIENT_PASSWD) memcpy(c->passwd, passwd.p, CLIENT_PASSWD);
    c->session_id = id;
    c->timeout = timeout;
    c->writable_seen = c->writable_seen || !read_only;
    c->link = CLIENT_UP;
    c->lost_at = INT64_MAX;
    c->probe_pause = CLIENT_PROBE_MIN_MS;
    c->probe_at = read_only ? c->now + c->probe_pause : INT64_MAX;
    c->counters.connects++;
    c->up_since = c->now;
    if (!client_prime(c)) {
        client_break(c, LOG_WARN_LEVEL, "out of memory");
        return;
    }
    client_set_state(c, read_only ? ZK_STATE_READ_ONLY : ZK_STATE_CONNECTED);
}

/* Looking for a server that can write, while content with one that cannot. */
static void client_probe(struct client *c) {
    c->probe_pause *= 2;
    if (c->probe_pause > CLIENT_PROBE_MAX_MS) c->probe_pause = CLIENT_PROBE_MAX_MS;
    c->probe_at = c->now + c->probe_pause;
    client_order(c, CLIENT_PROBE, hosts_probe(&c->hosts), NULL);
}

ZK_PRIVATE void client_probed(struct client *c, bool can_write) {
    if (!can_write || c->link != CLIENT_UP || c->state != ZK_STATE_READ_ONLY) return;
    if (!hosts_take_probed(&c->hosts)) return;
    client_break(c, LOG_INFO_LEVEL, "there is a server that can write");
    c->rest_until = c->now;
}

/* --- what the server says --- */

/* The watch that a reply proves to be set. stock: ZooKeeper.WatchRegistration */
static uint8_t client_watch_set(const struct client_request *r, int32_t error) {
    bool missing = error == ZK_NO_NODE;
    switch (r->type) {
    case ZK_OP_GET:
    case ZK_OP_GET_CONFIG: return error ? 0 : WATCH_BIT_DATA;
    case ZK_OP_EXISTS:
        return missing ? WATCH_BIT_EXIST : error ? 0 : WATCH_BIT_DATA;
    case ZK_OP_GET_CHILDREN: return error ? 0 : WATCH_BIT_CHILD;
    case ZK_OP_ADD_WATCH:
        if (error && !missing) return 0;
        return r->kind == ZK_WATCH_RECURSIVE ? WATCH_BIT_RECURSIVE : WATCH_BIT_PERSISTENT;
    default: return 0;
    }
}

static void client_reply(struct client *c, struct client_request *r, int64_t zxid, int32_t error,
                         struct slice body) {
    if (r->type == ZK_OP_REMOVE_WATCHES && !error) (void)client_settle_removal(c, r);
    if (r->gone) {
        mem_free(r);
        return;
    }
    uint8_t bits = r->watch ? client_watch_set(r, error) : 0;
    struct watcher who = {NULL, r->watch, r->watch_user, bits, r->watch_inside};
    if (bits && !watches_add(&c->watches, slice_of(r->path, r->path_len), &who)) {
        client_finish(c, r, ZK_OUT_OF_MEMORY, NULL);
        return;
    }
    struct codec_answer answer = {r->type, r->op_count, zxid, error, body};
    struct zk_result *result = codec_reply(&answer, client_chroot(c));
    client_finish(c, r, result ? result->error : ZK_OUT_OF_MEMORY, result);
}

struct client_firing {
    struct client *c;
    struct zk_event event;
};

static bool client_fire(void *user, const struct watcher *who) {
    struct client_firing *f = user;
    return client_tell_event(f->c, who, &f->event);
}

static void client_event(struct client *c, int64_t zxid, struct jr *r) {
    struct buf path = {0};
    int32_t type = jr_i32(r);
    (void)jr_i32(r); /* a state: always connected */
    struct slice full = jr_bytes(r);
    if (r->bad || !full.n || memchr(full.p, '\0', full.n)) {
        client_break(c, LOG_WARN_LEVEL, "an event makes no sense");
        return;
    }
    if (type < ZK_NODE_CREATED || type > ZK_NODE_CHILDREN_CHANGED) return;
    c->counters.events++;
    if (!buf_try_reserve(&path, full.n + 1)) {
        client_break(c, LOG_WARN_LEVEL, "out of memory");
        return;
    }
    buf_put(&path, full.p, full.n);
    buf_putc(&path, '\0');
    full = slice_of(path.p, full.n);
    struct client_firing f = {c, {(enum zk_event_type)type, NULL, zxid}};
    f.event.path = (const char *)codec_strip(full, client_chroot(c)).p;
    if (!watches_fire(&c->watches, f.event.type, full, client_fire, &f))
        client_break(c, LOG_WARN_LEVEL, "out of memory");
    buf_free(&path);
}

static void client_auth_reply(struct client *c, int32_t error) {
    struct client_identity *i = c->identity_next;
    if (!i) {
        client_break(c, LOG_WARN_LEVEL, "a reply to no request");
        return;
    }
    if (error) {
        client_say(c, LOG_WARN_LEVEL, "the server refuses an identity of scheme ", i->scheme);
        client_over(c, ZK_AUTH_FAILED, ZK_STATE_AUTH_FAILED);
        return;
    }
    struct client_request *r = i->request;
    c->identity_next = i->next;
    i->request = NULL;
    if (r) client_finish(c, r, ZK_OK, NULL);
}

/* Something that was sent then has been answered. */
static void client_prove(struct client *c, int64_t sent_at) {
    if (sent_at > c->proven) c->proven = sent_at;
}

static void client_pong(struct client *c) {
    if (!c->n_pings) {
        client_break(c, LOG_WARN_LEVEL, "a reply to no request");
        return;
    }
    client_prove(c, c->pings[0]);
    memmove(c->pings, c->pings + 1, --c->n_pings * sizeof *c->pings);
}

static void client_frame(struct client *c, struct slice frame) {
    struct jr r = jr_open(frame, c->max_packet);
    int32_t xid = jr_i32(&r);
    int64_t zxid = jr_i64(&r);
    int32_t error = jr_i32(&r);
    if (r.bad) {
        client_break(c, LOG_WARN_LEVEL, "a reply is too short");
        return;
    }
    switch (xid) {
    case CLIENT_XID_PING: client_pong(c); return;
    case CLIENT_XID_WATCHES: return;
    case CLIENT_XID_EVENT: client_event(c, zxid, &r); return;
    case CLIENT_XID_AUTH: client_auth_reply(c, error); return;
    default: break;
    }
    if (!c->sent.first || c->sent.first->xid != xid) {
        client_break(c, LOG_WARN_LEVEL, "a reply to no request, or out of order");
        return;
    }
    if (zxid > 0) c->zxid = zxid;
    c->counters.replies++;
    struct client_request *request = list_take(&c->sent, &c->sent.first);
    if (c->unsent > c->sent.n) c->unsent = c->sent.n;
    client_prove(c, request->sent_at);
    client_reply(c, request, zxid, error, slice_of(r.p, jr_left(&r)));
}

/* One whole frame, without its length. */
static void client_take_frame(struct client *c, struct slice frame) {
    if (c->link == CLIENT_GREETING)
        client_welcomed(c, frame);
    else
        client_frame(c, frame);
}

/* How much of the bytes could be used. */
static size_t client_parse(struct client *c, struct slice bytes) {
    size_t at = 0;
    while (bytes.n - at >= 4 && c->link >= CLIENT_GREETING) {
        uint32_t n = be32(bytes.p + at);
        if (n > c->max_packet + CLIENT_REPLY_MORE) {
            client_break(c, LOG_WARN_LEVEL, "a reply is larger than max_packet");
            return bytes.n;
        }
        if (bytes.n - at - 4 < n) break;
        client_trace(c, false, slice_of(bytes.p + at, 4 + n));
        struct slice frame = slice_of(bytes.p + at + 4, n);
        at += 4 + n;
        client_take_frame(c, frame);
    }
    return c->link >= CLIENT_GREETING ? at : bytes.n;
}

ZK_PRIVATE void client_received(struct client *c, struct slice bytes) {
    if (c->link < CLIENT_GREETING) return;
    c->counters.bytes_received += bytes.n;
    c->heard = c->now;
    if (!buf_len(&c->in)) {
        size_t used = client_parse(c, bytes);
        bytes = slice_of(bytes.p + used, bytes.n - used);
        if (!bytes.n || c->link < CLIENT_GREETING) return;
    }
    buf_compact(&c->in);
    if (!buf_try_reserve(&c->in, bytes.n)) {
        client_break(c, LOG_WARN_LEVEL, "out of memory");
        return;
    }
    buf_put(&c->in, bytes.p, bytes.n);
    struct buf in = c->in; /* a reply may break the connection and free what is read */
    memset(&c->in, 0, sizeof c->in);
    buf_consume(&in, client_parse(c, buf_slice(&in)));
    if (buf_len(&in) && c->link >= CLIENT_GREETING)
        c->in = in;
    else
        buf_free(&in);
}

/* --- time --- */

static void client_keep_alive(struct client *c) {
    if (c->now >= client_silent_at(c)) {
        client_break(c, LOG_WARN_LEVEL, "the server has gone silent");
        return;
    }
    if (c->now - c->spoke >= c->timeout / 3 && !client_ping(c))
        client_break(c, LOG_WARN_LEVEL, "out of memory");
}

ZK_PRIVATE void client_clock(struct client *c, int64_t now) {
    if (now > c->now) c->now = now;
}

ZK_PRIVATE void client_tick(struct client *c, int64_t now) {
    client_clock(c, now);
    client_tell_state(c);
    if (c->over) return;
    if (c->state == ZK_STATE_SUSPENDED && c->now >= c->lost_at) {
        c->lost_at = INT64_MAX;
        client_set_state(c, ZK_STATE_LOST);
    }
    switch (c->link) {
    case CLIENT_RESTING:
        if (c->now >= c->rest_until) client_attempt(c);
        break;
    case CLIENT_RESOLVING:
    case CLIENT_DIALING:
    case CLIENT_GREETING:
        if (c->now >= c->attempt_until) client_break(c, LOG_INFO_LEVEL, "it takes too long");
        break;
    case CLIENT_UP:
        client_keep_alive(c);
        if (c->now >= c->probe_at) client_probe(c);
        break;
    }
    client_expire_requests(c);
    client_run_timers(c);
}

static int64_t client_link_next(const struct client *c) {
    int64_t ping, silent;
    switch (c->link) {
    case CLIENT_RESTING: return c->rest_until;
    case CLIENT_UP:
        ping = c->spoke + c->timeout / 3;
        silent = client_silent_at(c);
        return ping < silent ? ping : silent;
    default: return c->attempt_until;
    }
}

ZK_PRIVATE int64_t client_next_at(const struct client *c) {
    if (c->over) return c->told == c->state ? INT64_MAX : c->now + 100;
    int64_t at = client_link_next(c);
    if (c->link == CLIENT_UP && c->probe_at < at) at = c->probe_at;
    if (c->next_deadline < at) at = c->next_deadline;
    if (c->state == ZK_STATE_SUSPENDED && c->lost_at < at) at = c->lost_at;
    if (c->timers && c->timers->at < at) at = c->timers->at;
    return at;
}

/* --- beginning and end --- */

ZK_PRIVATE int client_new(struct client **out, struct client_setup *setup) {
    const struct zk_options *o = setup->options;
    struct client *c = mem_try(sizeof *c);
    size_t chroot = strlen(setup->chroot);
    if (c) c->chroot = mem_try(chroot + 1);
    if (!c || !c->chroot) {
        mem_free(c);
        return ZK_OUT_OF_MEMORY;
    }
    if (chroot > 1) memcpy(c->chroot, setup->chroot, chroot); /* "/" alone is none */
    c->random.state = setup->seed;
    c->watches.seed = prng_next(&c->random);
    c->hosts = setup->hosts;
    memset(&setup->hosts, 0, sizeof setup->hosts);
    c->flags = o->flags;
    if (!(c->flags & ZK_KEEP_HOST_ORDER)) hosts_shuffle(&c->hosts, &c->random);
    c->now = c->started = c->rest_until = setup->now;
    c->wished = c->timeout = o->session_timeout_ms > 0 ? o->session_timeout_ms : 30000;
    c->op_timeout = o->op_timeout_ms ? o->op_timeout_ms : c->wished;
    c->max_packet = o->max_packet ? o->max_packet : JUTE_MAX_BUFFER;
    if (c->max_packet > INT32_MAX) c->max_packet = INT32_MAX;
    c->session_id = o->session_id;
    if (o->session_id && o->session_passwd) memcpy(c->passwd, o->session_passwd, CLIENT_PASSWD);
    c->writable_seen = o->session_id != 0;
    c->lost_at = c->probe_at = c->next_deadline = INT64_MAX;
    c->state = c->told = ZK_STATE_CONNECTING;
    list_init(&c->sent);
    list_init(&c->waiting);
    c->last_post = &c->posts;
    c->log.max_level = LOG_DEBUG_LEVEL;
    c->on_state = o->on_state;
    c->user = o->user;
    c->on_frame = o->on_frame;
    c->frame_user = o->frame_user;
    *out = c;
    return ZK_OK;
}

static void client_free_list(struct client_list *l) {
    for (struct client_request *r = l->first, *next; r; r = next) {
        next = r->next;
        client_request_drop(&r->post);
    }
}

ZK_PRIVATE void client_free(struct client *c) {
    if (!c) return;
    client_free_list(&c->sent);
    client_free_list(&c->waiting);
    for (struct client_identity *i = c->identities, *next; i; i = next) {
        next = i->next;
        if (i->request) client_request_drop(&i->request->post);
        mem_free(i);
    }
    for (struct client_post *p = c->posts, *next; p; p = next) {
        next = p->next;
        p->drop(p);
    }
    watches_free(&c->watches);
    hosts_free(&c->hosts);
    buf_free(&c->held);
    buf_free(&c->in);
    buf_free(&c->out);
    buf_free(&c->log.lines);
    mem_free(c->chroot);
    mem_free(c);
}

static void client_goodbye(void *user, const struct zk_result *result) {
    (void)result;
    client_end(user);
}

ZK_PRIVATE void client_close(struct client *c, bool politely) {
    if (c->over || c->said_goodbye) return;
    struct client_request *r = politely && c->link == CLIENT_UP ? mem_try(sizeof *r) : NULL;
    if (!r || !client_room(c, 12)) {
        mem_free(r);
        client_end(c);
        return;
    }
    c->said_goodbye = true;
    r->type = ZK_OP_WHO_AM_I; /* whose reply is empty too when it is an error, and harmless else */
    r->inside = true;
    r->done = client_goodbye;
    r->user = c;
    r->deadline = INT64_MAX;
    r->xid = client_next_xid(c);
    client_end_frame(c, client_begin(c, r->xid, ZOP_CLOSE_SESSION));
    list_put(&c->sent, r);
    c->unsent = c->sent.n; /* send it now */
}

ZK_PRIVATE void client_end(struct client *c) {
    c->said_goodbye = true;
    client_over(c, ZK_CLOSING, ZK_STATE_CLOSED);
}

/* --- facts --- */

ZK_PRIVATE bool client_is_over(const struct client *c) {
    return c->over != 0;
}

ZK_PRIVATE int client_error(const struct client *c) {
    return c->over;
}

ZK_PRIVATE bool client_set_hosts(struct client *c, struct hosts *hosts) {
    if (!(c->flags & ZK_KEEP_HOST_ORDER)) hosts_shuffle(hosts, &c->random);
    bool move = hosts_replace(&c->hosts, hosts, c->link >= CLIENT_GREETING, &c->random);
    if (move || c->link < CLIENT_GREETING) { /* at once, whatever pause there was */
        client_break(c, LOG_INFO_LEVEL, "the list of servers has changed");
        c->rest_until = c->now;
    }
    return move;
}

ZK_PRIVATE int64_t client_now(const struct client *c) {
    return c->now;
}

ZK_PRIVATE uint64_t client_random(struct client *c) {
    return prng_next(&c->random);
}

ZK_PRIVATE enum zk_state client_state(const struct client *c) {
    return c->state;
}

ZK_PRIVATE int64_t client_session_id(const struct client *c) {
    return c->session_id;
}

ZK_PRIVATE int client_op_timeout(const struct client *c) {
    return c->op_timeout;
}

ZK_PRIVATE bool client_is_up(const struct client *c) {
    return c->state == ZK_STATE_CONNECTED;
}

ZK_PRIVATE const uint8_t *client_passwd(const struct client *c) {
    return c->passwd;
}

ZK_PRIVATE int client_timeout(const struct client *c) {
    return c->timeout;
}

ZK_PRIVATE int64_t client_last_zxid(const struct client *c) {
    return c->zxid;
}

ZK_PRIVATE bool client_connection_is_up(const struct client *c) {
    return c->link == CLIENT_UP;
}

ZK_PRIVATE const struct net_addr *client_address(const struct client *c) {
    return c->link == CLIENT_UP ? &c->at[c->next_at - 1] : NULL;
}

ZK_PRIVATE void client_counters(const struct client *c, struct zk_counters *out) {
    *out = c->counters;
    out->watches = c->watches.watchers;
    out->waiting = c->sent.n + c->waiting.n;
}
