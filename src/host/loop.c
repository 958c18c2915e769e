#include "host/loop.h"

#include <errno.h>
#include <stdio.h>

#include "ensemble/quorum.h"

#define LOOP_READ 262144u
#define LOOP_EVENTS 256
#define LOOP_ACCEPTS 64          /* per listener and turn */
#define LOOP_ACCEPT_PAUSE_MS 100 /* when descriptors have run out */
#define LOOP_WAIT_MS 1000        /* longest wait for something to happen */
#define LOOP_LATE_TURNS 64
#define LOOP_DEAF_MS 20    /* a write by the loop that took longer makes it late */
#define LOOP_FD_RESERVE 16 /* descriptors that no socket may take */
#define LOOP_FD_LINKS 64   /* ... and no client's, in an ensemble */
#define LOOP_BIND_MS 1000  /* between tries to bind the election port */
#define LOOP_LISTENER (1ull << 32) /* with the port's kind << 8 and the number of the listener */
#define LOOP_PIPE (2ull << 32)
#define LOOP_LINK (4ull << 32) /* with the number of the link */

static void loop_drain_log(struct loop *l) {
    int level;
    const char *text;
    while (log_take(&l->node.log, &level, &text))
        if (l->log) l->log(l->log_user, level, text);
}

static struct node_input loop_input(const struct loop *l, enum node_input_kind kind) {
    struct node_input in = {.kind = kind, .now = l->node.now, .wall = l->node.wall};
    return in;
}

/* --- facts for the node --- */

static void loop_facts(void *ctx, struct node_facts *f) {
    const struct loop *l = ctx;
    f->environment = buf_slice(&l->environment);
    f->data_dir = l->data_dir;
    f->log_dir = l->log_dir;
    f->data_dir_size = os_tree_size(l->files.snap_dir);
    f->log_dir_size = os_tree_size(l->files.log_dir);
    f->open_files = os_open_files();
    f->max_files = os_max_files();
    f->client_port = l->port;
}

/* A relative path behind the working directory. stock: java.io.File.getAbsolutePath */
static char *loop_absolute(const char *path, struct slice environment) {
    struct buf out = {0};
    struct slice line = environment;
    while (path[0] != '/' && line.n && !slice_starts(line, "user.dir=")) {
        const uint8_t *end = memchr(line.p, '\n', line.n);
        size_t n = end ? (size_t)(end - line.p) + 1 : line.n;
        line = slice_of(line.p + n, line.n - n);
    }
    if (path[0] != '/' && line.n) {
        const uint8_t *end = memchr(line.p, '\n', line.n);
        buf_put(&out, line.p + 9, (end ? (size_t)(end - line.p) : line.n) - 9);
        buf_putc(&out, '/');
    }
    buf_put(&out, path, strlen(path) + 1);
    return (char *)out.p;
}

static void loop_know(struct loop *l) {
    os_environment(&l->environment);
    l->data_dir = loop_absolute(l->files.snap_dir, buf_slice(&l->environment));
    l->log_dir = loop_absolute(l->files.log_dir, buf_slice(&l->environment));
    l->node.host.facts = loop_facts;
    l->node.host.ctx = l;
}

/* --- opening --- */

static void loop_job(void *ctx);

static void loop_count_recovery(struct loop *l, const struct files_report *r, int64_t ms) {
    struct metrics *m = &l->node.metrics;
    metrics_add(&m->init_ms, ms);
    metrics_add(&m->snap_load_ms, r->snapshot_ms);
    if (!r->had_logs) return;
    metrics_add(&m->log_load_ms, r->logs_ms);
    metrics_add(&m->log_loaded, r->replayed);
}

static int loop_recover(struct loop *l) {
    struct files_report r;
    int64_t start = os_now_ms();
    int err = disk_recover(&l->files, &l->node.db, &r, &l->node.log);
    loop_drain_log(l);
    if (err) {
        (void)snprintf(l->error, sizeof l->error, "%s", l->files.error);
        return err;
    }
    log_line(&l->node.log, LOG_INFO_LEVEL,
             "Loaded %u nodes, zxid 0x%llx: snapshot 0x%llx and %lld transactions in %lld ms",
             l->node.db.tree.count, (unsigned long long)l->node.db.last_zxid,
             (unsigned long long)r.snapshot_zxid, (long long)r.replayed,
             (long long)(os_now_ms() - start));
    loop_count_recovery(l, &r, os_now_ms() - start);
    l->node.stats.digest_mismatches = r.digest_mismatches;
    l->node.last_snapshot_zxid = r.fresh ? 0 : r.snapshot_zxid;
    l->node.now = os_now_ms();
    l->node.wall = os_wall_ms();
    if (l->self) {
        int64_t accepted, current;
        if (files_load_epochs(&l->files, &accepted, &current)) {
            (void)snprintf(l->error, sizeof l->error, "%s", l->files.error);
            return -1;
        }
        node_epochs(&l->node, accepted, current);
    }
    node_start(&l->node, r.replayed > 0 || r.orphans > 0);
    return 0;
}

/* --- ports --- */

static void loop_unlisten(struct loop *l, enum loop_port_kind kind) {
    struct loop_port *p = &l->ports[kind];
    for (int i = 0; i < p->n; i++) {
        os_poller_del(l->poller, p->fds[i]);
        (void)os_close(p->fds[i]);
    }
    memset(p, 0, sizeof *p);
}

/* n: what binding gave. Watches the listeners. */
static int loop_listening(struct loop *l, enum loop_port_kind kind, int n, const char *host,
                          uint16_t port) {
    static const char *const names[] = {"", "election ", "quorum "};
    struct loop_port *p = &l->ports[kind];
    char text[128];
    for (p->n = 0; p->n < n; p->n++) {
        uint64_t tag = LOOP_LISTENER | (unsigned)kind << 8 | (unsigned)p->n;
        int err = os_poller_add(l->poller, p->fds[p->n], tag);
        if (!err) continue;
        for (int i = p->n; i < n; i++) (void)os_close(p->fds[i]);
        loop_unlisten(l, kind);
        n = err;
    }
    if (n > 0) {
        log_line(&l->node.log, LOG_INFO_LEVEL, "binding to %sport %s:%u", names[kind],
                 host ? host : "0.0.0.0", (unsigned)port);
        return 0;
    }
    (void)snprintf(l->error, sizeof l->error, "cannot listen on %s %sport %u: %s",
                   host ? host : "any address", names[kind], (unsigned)port,
                   os_error(n, text, sizeof text));
    return -1;
}

static int loop_listen(struct loop *l) {
    const struct config *c = &l->cfg;
    uint16_t port = c->client_port == CONFIG_UNSET ? 0 : (uint16_t)c->client_port;
    int n = os_listen(c->client_port_address, port, c->listen_backlog,
                      l->ports[LOOP_CLIENTS].fds, &l->port);
    return loop_listening(l, LOOP_CLIENTS, n, c->client_port_address, n > 0 ? l->port : port);
}

/* Where the other servers find this one. stock: QuorumCnxManager.Listener */
static void loop_listen_election(struct loop *l) {
    const char *host = l->cfg.quorum_listen_on_all_ips ? NULL : l->self->host;
    uint16_t port = (uint16_t)l->self->election_port, bound;
    int n = os_listen(host, port, -1, l->ports[LOOP_ELECTION].fds, &bound);
    l->bind_at = 0;
    if (loop_listening(l, LOOP_ELECTION, n, host, port) == 0) return;
    log_line(&l->node.log, LOG_ERROR_LEVEL, "%s", l->error);
    l->bind_tries++;
    if (l->cfg.election_bind_retries && l->bind_tries >= l->cfg.election_bind_retries)
        l->failed = LOOP_NO_ELECTION_PORT;
    else
        l->bind_at = l->node.now + LOOP_BIND_MS;
}

/* Beside the election port: its addresses need no name to be resolved any more. */
static void loop_listen_quorum(struct loop *l) {
    const struct loop_port *beside = &l->ports[LOOP_ELECTION];
    const char *host = l->cfg.quorum_listen_on_all_ips ? NULL : l->self->host;
    uint16_t port = (uint16_t)l->self->quorum_port;
    loop_unlisten(l, LOOP_QUORUM);
    int n = os_listen_beside(beside->fds, beside->n, port, -1, l->ports[LOOP_QUORUM].fds);
    if (loop_listening(l, LOOP_QUORUM, n, host, port) == 0) return;
    log_line(&l->node.log, LOG_ERROR_LEVEL, "%s", l->error);
    struct node_input in = loop_input(l, NODE_LISTEN_FAILED);
    node_step(&l->node, &in);
}

ZK_PRIVATE enum loop_error loop_open(struct loop *l, struct config *cfg, loop_log_fn log,
                                     void *user) {
    memset(l, 0, sizeof *l);
    l->cfg = *cfg;
    memset(cfg, 0, sizeof *cfg);
    l->log = log;
    l->log_user = user;
    (void)pthread_mutex_init(&l->offers_lock, NULL);
    l->pipe[0] = l->pipe[1] = -1;
    node_state_init(&l->node, &l->cfg, os_seed(), os_now_ms(), os_wall_ms());
    if (files_open(&l->files, &l->cfg)) {
        (void)snprintf(l->error, sizeof l->error, "%s", l->files.error);
        return LOOP_NO_DATADIR;
    }
    loop_know(l);
    if (config_distributed(&l->cfg)) l->self = quorum_member(&l->cfg, l->cfg.server_id);
    (void)snprintf(l->error, sizeof l->error, "cannot set up descriptors or threads");
    l->scratch = mem_alloc(LOOP_READ);
    int64_t files = os_max_files();
    l->fd_limit = files > 2 * LOOP_FD_RESERVE && files < INT32_MAX ? (int)files - LOOP_FD_RESERVE
                                                                   : INT32_MAX;
    l->poller = os_poller_new();
    if (!l->poller || os_pipe(l->pipe) < 0) return LOOP_FAILED;
    if (os_poller_add(l->poller, l->pipe[0], LOOP_PIPE) < 0) return LOOP_FAILED;
    l->resolver = resolver_new(l->pipe[1]);
    if (!l->resolver) ZK_OOM();
    if (loop_listen(l)) return LOOP_FAILED;
    if (loop_recover(l)) return LOOP_FAILED;
    l->disk_running = true;
    if (disk_start(&l->disk, &l->files, l->pipe[1], loop_job, l) < 0) return LOOP_FAILED;
    if (l->self) loop_listen_election(l);
    loop_drain_log(l);
    if (l->failed) return l->failed;
    l->error[0] = '\0';
    l->offers_open = true;
    return LOOP_STARTED;
}

/* --- sockets --- */

static struct loop_conn *loop_at(struct loop *l, uint64_t tag) {
    return &(tag & LOOP_LINK ? &l->links : &l->conns)->at[(uint32_t)tag];
}

/* An input about a socket: of the first kind for a client's, of the second for a link. */
static struct node_input loop_input_of(const struct loop *l, uint64_t tag,
                                       enum node_input_kind conn, enum node_input_kind link) {
    struct node_input in = loop_input(l, tag & LOOP_LINK ? link : conn);
    in.conn = in.link = (uint32_t)tag;
    return in;
}

/* The slot of a number that the node has just given out. */
static struct loop_conn *loop_claim(struct loop *l, uint64_t tag) {
    struct loop_table *t = tag & LOOP_LINK ? &l->links : &l->conns;
    uint32_t id = (uint32_t)tag;
    if (id >= t->cap) {
        uint32_t cap = t->cap ? t->cap : 64;
        while (cap <= id) cap *= 2;
        t->at = mem_realloc(t->at, sizeof *t->at * cap);
        for (uint32_t i = t->cap; i < cap; i++) {
            memset(&t->at[i], 0, sizeof t->at[i]);
            t->at[i].fd = -1;
        }
        t->cap = cap;
    }
    struct loop_conn *c = &t->at[id];
    bool queued = c->queued; /* still in the list from its last use */
    ZK_ASSERT(c->fd < 0 && !c->dial);
    memset(c, 0, sizeof *c);
    c->fd = -1;
    c->queued = queued;
    return c;
}

static void loop_close_fd(struct loop *l, struct loop_conn *c, bool abort_now) {
    if (c->fd < 0) return;
    os_poller_del(l->poller, c->fd);
    if (c->duct)
        duct_close(c->duct, DUCT_SERVER);
    else
        os_hang_up(c->fd, abort_now);
    c->duct = NULL;
    c->fd = -1;
}

static void loop_end_dial(struct loop *l, struct loop_conn *c) {
    if (!c->dial) return;
    if (!c->dial->n) resolver_forget(l->resolver, c->dial->ticket);
    mem_free(c->dial);
    c->dial = NULL;
}

static void loop_drop(struct loop *l, uint64_t tag, bool abort_now) {
    struct loop_conn *c = loop_at(l, tag);
    loop_end_dial(l, c);
    loop_close_fd(l, c, abort_now);
    struct node_input in = loop_input_of(l, tag, NODE_CONN_CLOSED, NODE_LINK_CLOSED);
    node_step(&l->node, &in);
}

static void loop_queue(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    if (c->queued) return;
    c->queued = true;
    buf_put(&l->send, &tag, sizeof tag);
}

static void loop_accepted(struct loop *l, enum loop_port_kind kind, int fd,
                          const struct net_addr *addr) {
    uint32_t id = kind == LOOP_CLIENTS
                      ? node_accept(&l->node, addr, l->node.now, l->node.wall)
                      : node_link_accept(&l->node,
                                         kind == LOOP_ELECTION ? LINK_ELECTION : LINK_QUORUM,
                                         l->node.now, l->node.wall);
    if (id == (kind == LOOP_CLIENTS ? CONN_NONE : LINK_NONE)) {
        os_hang_up(fd, true);
        return;
    }
    uint64_t tag = id | (kind == LOOP_CLIENTS ? 0 : LOOP_LINK);
    loop_claim(l, tag)->fd = fd;
    if (os_poller_add(l->poller, fd, tag) < 0) loop_drop(l, tag, true);
}

/* --- clients of this process --- */

ZK_PRIVATE bool loop_offer(struct loop *l, struct duct *d) {
    (void)pthread_mutex_lock(&l->offers_lock);
    bool ok = l->offers_open && buf_try_reserve(&l->offers, sizeof d);
    if (ok) buf_put(&l->offers, &d, sizeof d);
    if (ok) os_notify(l->pipe[1]);
    (void)pthread_mutex_unlock(&l->offers_lock);
    return ok;
}

static void loop_accept_duct(struct loop *l, struct duct *d) {
    static const struct net_addr here = {.ip = {127, 0, 0, 1}, .ip_len = 4};
    uint32_t id = node_accept(&l->node, &here, l->node.now, l->node.wall);
    if (id == CONN_NONE) {
        duct_close(d, DUCT_SERVER);
        return;
    }
    struct loop_conn *c = loop_claim(l, id);
    c->duct = d;
    c->fd = duct_bell(d, DUCT_SERVER);
    if (os_poller_add(l->poller, c->fd, id) < 0) loop_drop(l, id, true);
}

static void loop_take_offers(struct loop *l, bool accept) {
    struct buf offers;
    (void)pthread_mutex_lock(&l->offers_lock);
    offers = l->offers;
    memset(&l->offers, 0, sizeof l->offers);
    l->offers_open = accept;
    (void)pthread_mutex_unlock(&l->offers_lock);
    for (size_t at = 0; at < offers.n; at += sizeof(struct duct *)) {
        struct duct *d;
        memcpy(&d, offers.p + at, sizeof d);
        if (accept)
            loop_accept_duct(l, d);
        else
            duct_close(d, DUCT_SERVER);
    }
    buf_free(&offers);
}

/* --- accepting --- */

static void loop_pause_accept(struct loop *l, enum loop_port_kind kind, bool pause) {
    struct loop_port *p = &l->ports[kind];
    for (int i = 0; i < p->n; i++)
        os_poller_set(l->poller, p->fds[i], LOOP_LISTENER | (unsigned)kind << 8 | (unsigned)i,
                      !pause, false);
    p->after = pause ? l->node.now + LOOP_ACCEPT_PAUSE_MS : 0;
}

static void loop_accept(struct loop *l, enum loop_port_kind kind, int listener) {
    int limit = l->fd_limit;
    if (kind == LOOP_CLIENTS && l->self && limit > 2 * LOOP_FD_LINKS) limit -= LOOP_FD_LINKS;
    for (int i = 0; i < LOOP_ACCEPTS; i++) {
        struct net_addr addr;
        int fd = os_accept(listener, &addr, kind == LOOP_CLIENTS ? l->cfg.tcp_keepalive
                                                                  : l->cfg.quorum_keepalive);
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
            log_line(&l->node.log, LOG_WARN_LEVEL, "Cannot accept: out of descriptors");
            loop_pause_accept(l, kind, true);
        }
        if (fd >= limit) {
            /* The next log file needs a descriptor too; without one the server would stop. */
            os_hang_up(fd, true);
            loop_pause_accept(l, kind, true);
            return;
        }
        if (fd < 0) return;
        loop_accepted(l, kind, fd, &addr);
    }
}

static void loop_interest(struct loop *l, uint64_t tag) {
    const struct loop_conn *c = loop_at(l, tag);
    /* A bell says by itself that there is room again. */
    os_poller_set(l->poller, c->fd, tag, !c->paused || c->duct, c->want_write && !c->duct);
}

static void loop_pause(struct loop *l, uint64_t tag, bool pause) {
    struct loop_conn *c = loop_at(l, tag);
    c->paused = pause;
    if (c->duct && !pause) duct_wake(c->duct, DUCT_SERVER); /* for what came meanwhile */
    loop_interest(l, tag);
}

static int64_t loop_recv(struct loop *l, struct loop_conn *c) {
    if (c->duct) return duct_recv(c->duct, DUCT_SERVER, l->scratch, LOOP_READ);
    return os_recv(c->fd, l->scratch, LOOP_READ);
}

static void loop_read(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    if (c->duct && c->paused) { /* its bell says more than that there is input */
        os_drain(c->fd);
        return;
    }
    int64_t n = loop_recv(l, c);
    if (n == -EAGAIN || n == -EWOULDBLOCK) return;
    if (n == 0 && c->closing && c->want_write) {
        c->paused = true; /* it has said all it wants to, and still reads what it is told */
        loop_interest(l, tag);
        return;
    }
    if (n <= 0) {
        loop_drop(l, tag, false);
        return;
    }
    if (c->closing) return;
    struct node_input in = loop_input_of(l, tag, NODE_CONN_BYTES, NODE_LINK_BYTES);
    in.bytes = slice_of(l->scratch, (size_t)n);
    node_step(&l->node, &in);
}

static struct slice loop_out(struct loop *l, uint64_t tag) {
    uint32_t id = (uint32_t)tag;
    if (tag & LOOP_LINK) return buf_slice(&node_link(&l->node, id)->out);
    return buf_slice(&node_conn(&l->node, id)->out);
}

static void loop_sent(struct loop *l, uint64_t tag, size_t n) {
    if (tag & LOOP_LINK)
        node_link_sent(&l->node, (uint32_t)tag, n);
    else
        node_conn_sent(&l->node, (uint32_t)tag, n);
}

/* Sends what the socket has; hangs up when that was the last of it, on a link in any case. */
static void loop_send(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    c->queued = false;
    if (c->fd < 0 || c->dial) return;
    struct slice out = loop_out(l, tag);
    int64_t n = 0;
    if (out.n && c->duct)
        n = duct_send(c->duct, DUCT_SERVER, out.p, out.n);
    else if (out.n)
        n = os_send(c->fd, out.p, out.n);
    if (n < 0 && n != -EAGAIN && n != -EWOULDBLOCK) {
        loop_drop(l, tag, false);
        return;
    }
    loop_sent(l, tag, n > 0 ? (size_t)n : 0);
    bool more = n < 0 || (size_t)n < out.n;
    if (c->closing && (!more || tag & LOOP_LINK)) {
        loop_drop(l, tag, false);
        return;
    }
    if (more == c->want_write) return;
    c->want_write = more;
    loop_interest(l, tag);
}

/* --- dialing --- */

/* The next address; none left: the link never came about. */
static void loop_connect(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    loop_close_fd(l, c, true);
    while (c->dial->next < c->dial->n && c->fd < 0) {
        int fd = os_connect(&c->dial->at[c->dial->next++], l->cfg.quorum_keepalive);
        if (fd < 0) continue;
        if (fd < l->fd_limit && os_poller_add(l->poller, fd, tag) == 0)
            c->fd = fd;
        else
            (void)os_close(fd);
    }
    if (c->fd < 0)
        loop_drop(l, tag, true);
    else
        os_poller_set(l->poller, c->fd, tag, false, true);
}

static void loop_dial(struct loop *l, uint32_t id) {
    const struct link *k = node_link(&l->node, id);
    uint64_t tag = LOOP_LINK | id;
    struct loop_dial *d = loop_claim(l, tag)->dial = mem_zalloc(sizeof *d);
    int n = os_resolve(k->host, k->port, true, d->at);
    d->n = n > 0 ? n : 0;
    d->ticket = l->tickets++ << 32 | id;
    if (d->n)
        loop_connect(l, tag);
    else
        resolver_ask(l->resolver, d->ticket, k->host, k->port);
}

static void loop_resolved(struct loop *l, const struct resolver_answer *a) {
    uint64_t tag = LOOP_LINK | (uint32_t)a->ticket;
    struct loop_dial *d = loop_at(l, tag)->dial;
    if (!d || d->ticket != a->ticket) return; /* given up meanwhile */
    d->n = a->n;
    memcpy(d->at, a->at, sizeof d->at);
    loop_connect(l, tag);
}

/* The socket of a dial says something. */
static void loop_dialed(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    int err = os_connected(c->fd);
    if (err == -EINPROGRESS) return;
    if (err) {
        loop_connect(l, tag);
        return;
    }
    loop_end_dial(l, c);
    loop_interest(l, tag);
    struct node_input in = loop_input(l, NODE_LINK_OPENED);
    in.link = (uint32_t)tag;
    node_step(&l->node, &in);
}

/* --- outputs --- */

/* What NODE_LOAD is to fill: like the database of a node that starts. */
static struct disk_load *loop_fresh_load(const struct loop *l) {
    struct disk_load *load = mem_zalloc(sizeof *load);
    db_init(&load->db, os_seed(), l->node.tick, l->node.now);
    load->db.tree.extended_types = l->cfg.extended_types;
    load->db.tree.emulate353 = l->cfg.emulate353;
    return load;
}

static void loop_piece(struct loop *l, const struct node_output *o) {
    struct disk_piece p = {.kind = o->kind, .roll = o->roll, .accepted = o->accepted,
                           .zxid = o->kind == NODE_SAVE_EPOCH ? o->epoch : o->zxid,
                           .bytes = o->bytes};
    if (o->kind == NODE_LOAD && o->reload) p.load = loop_fresh_load(l);
    buf_put(&l->pieces, &p, sizeof p);
}

static void loop_link_output(struct loop *l, const struct node_output *o) {
    uint64_t tag = LOOP_LINK | o->link;
    if (o->kind == NODE_LINK_DIAL) {
        loop_dial(l, o->link);
        return;
    }
    struct loop_conn *c = loop_at(l, tag);
    bool closing = o->kind == NODE_LINK_CLOSE;
    if (c->dial && closing) {
        loop_drop(l, tag, true);
    } else if (c->fd >= 0 && !c->dial) {
        c->closing = c->closing || closing;
        loop_queue(l, tag);
    }
}

static void loop_output(struct loop *l, struct node_output *o) {
    switch (o->kind) {
    case NODE_SEND:
        loop_queue(l, o->conn);
        break;
    case NODE_CLOSE:
        loop_at(l, o->conn)->closing = true;
        loop_queue(l, o->conn);
        break;
    case NODE_ABORT:
        if (loop_at(l, o->conn)->fd >= 0) loop_drop(l, o->conn, true);
        break;
    case NODE_APPEND:
    case NODE_SAVE_EPOCH:
    case NODE_LOAD:
        loop_piece(l, o);
        break;
    case NODE_SYNC: /* the log thread syncs whatever it is given */
        break;
    case NODE_SNAPSHOT_BEGIN:
    case NODE_SNAPSHOT_CHUNK:
    case NODE_SNAPSHOT_END:
    case NODE_SNAPSHOT_ABORT:
    case NODE_READ_LOG:
        disk_background(&l->disk, o);
        break;
    case NODE_READ_PAUSE:
    case NODE_READ_RESUME:
        if (loop_at(l, o->conn)->fd < 0) break;
        loop_pause(l, o->conn, o->kind == NODE_READ_PAUSE);
        break;
    case NODE_LINK_DIAL:
    case NODE_LINK_SEND:
    case NODE_LINK_CLOSE:
        loop_link_output(l, o);
        break;
    case NODE_LISTEN:
        loop_listen_quorum(l);
        break;
    case NODE_UNLISTEN:
        loop_unlisten(l, LOOP_QUORUM);
        break;
    }
}

static void loop_take(struct loop *l) {
    struct node_output o;
    while (node_take_output(&l->node, &o)) loop_output(l, &o);
}

/* keep: pieces may stay, for loop_write(). */
static void loop_outputs(struct loop *l, bool keep) {
    for (;;) {
        loop_take(l);
        if (l->pieces.n && !(keep && disk_quick(&l->disk, &l->pieces)))
            disk_submit(&l->disk, &l->pieces);
        if (!l->send.n) break;
        struct buf now = l->send; /* sending may queue again */
        memset(&l->send, 0, sizeof l->send);
        for (size_t at = 0; at < now.n; at += sizeof(uint64_t)) {
            uint64_t tag;
            memcpy(&tag, now.p + at, sizeof tag);
            loop_send(l, tag);
            loop_take(l); /* before the next one says that it is closed */
        }
        buf_clear(&now);
        if (l->send.p)
            buf_free(&now);
        else
            l->send = now;
    }
    loop_drain_log(l);
}

/* What the node has not read yet backs up to the peer. */
static void loop_pace_links(struct loop *l) {
    for (uint32_t i = 0; i < l->links.cap; i++) {
        struct loop_conn *c = &l->links.at[i];
        if (c->fd < 0 || c->dial || c->closing) continue;
        bool pause = !node_link_wants(&l->node, i);
        if (c->paused == pause) continue;
        c->paused = pause;
        loop_interest(l, LOOP_LINK | i);
    }
}

/* --- a turn --- */

static void loop_disk_done(struct loop *l, struct disk_done *done) {
    struct node_input in = loop_input(l, done->kind);
    in.zxid = done->zxid;
    in.bytes = buf_slice(&done->bytes);
    if (done->load) {
        const struct files_report *r = &done->load->report;
        loop_count_recovery(l, r, r->snapshot_ms + r->logs_ms);
        l->node.stats.digest_mismatches += r->digest_mismatches;
        in.db = &done->load->db;
    }
    node_step(&l->node, &in);
    disk_done_free(done);
}

static void loop_disk_news(struct loop *l) {
    struct disk_news news = {.done = l->done};
    disk_collect(&l->disk, &news, &l->node.log);
    l->done = news.done;
    l->lone = news.lone;
    l->node.stats.fsync_slow = news.slow_syncs;
    metrics_merge(&l->node.metrics.fsync_ms, &news.sync_ms);
    metrics_merge(&l->node.metrics.batch, &news.batch);
    for (size_t at = 0; at < l->done.n; at += sizeof(struct disk_done)) {
        struct disk_done done;
        memcpy(&done, l->done.p + at, sizeof done);
        loop_disk_done(l, &done);
    }
    buf_clear(&l->done);
    struct node_input in = loop_input(l, NODE_SNAPSHOT_ROOM);
    if (news.snap_room) node_step(&l->node, &in);
    in.kind = NODE_SNAPSHOT_FAILED;
    if (news.snap_failed) node_step(&l->node, &in);
    in.kind = NODE_SNAPSHOT_DONE;
    if (news.snap_done) node_step(&l->node, &in);
    if (!news.failed) return;
    l->failed = LOOP_FAILED;
    (void)snprintf(l->error, sizeof l->error, "%s", l->disk.error);
    log_line(&l->node.log, LOG_ERROR_LEVEL,
             "Severe unrecoverable error: %s. Nothing more can be made durable; stopping",
             l->error);
}

/* The threads behind the pipe. */
static void loop_news(struct loop *l) {
    uint8_t bytes[64];
    struct resolver_answer a;
    while (os_read(l->pipe[0], bytes, sizeof bytes) == (int64_t)sizeof bytes) continue;
    loop_disk_news(l);
    loop_take_offers(l, true);
    while (resolver_take(l->resolver, &a)) {
        loop_take(l); /* a dial may have been given up */
        loop_resolved(l, &a);
    }
}

static void loop_sooner(int64_t *next, int64_t at) {
    if (at && at < *next) *next = at;
}

static int loop_timeout(const struct loop *l, bool busy) {
    if (busy) return 0;
    int64_t next = l->next_tick;
    for (int i = 0; i < LOOP_PORTS; i++) loop_sooner(&next, l->ports[i].after);
    loop_sooner(&next, l->bind_at);
    int64_t ms = next - os_now_ms();
    if (l->node.snap.active && !l->node.snap.finishing && ms > 0) ms = 0; /* its next slice */
    return ms < 0 ? 0 : ms > LOOP_WAIT_MS ? LOOP_WAIT_MS : (int)ms + 1;
}

static void loop_socket_event(struct loop *l, const struct os_event *e) {
    const struct loop_conn *c = loop_at(l, e->tag);
    if (c->fd < 0) return;
    if (c->dial) {
        loop_dialed(l, e->tag);
        return;
    }
    if (e->failed && c->closing) {
        loop_drop(l, e->tag, true);
        return;
    }
    if (e->writable || (c->duct && c->want_write)) loop_queue(l, e->tag);
    if (e->readable || (e->failed && !e->writable)) loop_read(l, e->tag);
}

static void loop_events(struct loop *l, const struct os_event *ev, int n) {
    for (int i = 0; i < n; i++) {
        enum loop_port_kind kind = (enum loop_port_kind)(ev[i].tag >> 8 & 0xff);
        int listener = (int)(ev[i].tag & 0xff);
        if (ev[i].tag == LOOP_PIPE)
            loop_news(l);
        else if (!(ev[i].tag & LOOP_LISTENER))
            loop_socket_event(l, &ev[i]);
        else if (listener < l->ports[kind].n) /* else it was closed a moment ago */
            loop_accept(l, kind, l->ports[kind].fds[listener]);
        loop_take(l); /* before a connection's number can be given to another one */
    }
}

static void loop_tick(struct loop *l) {
    for (int i = 0; i < LOOP_PORTS; i++)
        if (l->ports[i].after && l->node.now >= l->ports[i].after)
            loop_pause_accept(l, (enum loop_port_kind)i, false);
    if (l->bind_at && l->node.now >= l->bind_at) loop_listen_election(l);
    /* What happens may bring the next tick nearer, never put it off. */
    loop_sooner(&l->next_tick, node_next_tick(&l->node));
    if (l->node.now < l->next_tick) return;
    struct node_input in = loop_input(l, NODE_TICK);
    node_step(&l->node, &in);
    l->next_tick = node_next_tick(&l->node);
}

/*
 * False: for longer than the time given no socket has been read, because the process was stopped or
 * the disk slow. The clients' pings are in the sockets then: they are read before anybody is found
 * to have been silent.
 */
static bool loop_clock(struct loop *l, int64_t most) {
    int64_t before = l->node.now;
    l->node.now = os_now_ms();
    l->node.wall = os_wall_ms();
    if (l->node.now - before <= most) return true;
    l->late = LOOP_LATE_TURNS;
    return false;
}

/*
 * What loop_outputs() has kept is written here, unless there is something else to do: the number of
 * events then. busy: the next turn must not wait. -1: it took too long, and the loop, with all of
 * struct loop, is another thread's now.
 */
static int loop_write(struct loop *l, struct os_event *ev, bool *busy) {
    if (!l->pieces.n) return 0;
    int n = l->node.ready.n ? 0 : os_poller_wait(l->poller, ev, LOOP_EVENTS, 0);
    if (n > 0 || l->node.ready.n) {
        disk_submit(&l->disk, &l->pieces);
        return n > 0 ? n : 0;
    }
    if (!disk_write(&l->disk, &l->pieces)) return -1;
    (void)loop_clock(l, LOOP_DEAF_MS);
    loop_disk_news(l);
    loop_outputs(l, false);
    *busy = true; /* what has become durable may have made room for others, or work */
    return 0;
}

/*
 * Waits for events. When a client waits for each of its writes, so does an ensemble for it: what
 * comes next is near, and it is worth being awake for. With more to do it is not: who sleeps finds
 * more at once, and others have the processor.
 */
static int loop_wait(struct loop *l, struct os_event *ev, int timeout) {
    int fd = os_poller_fd(l->poller);
    if (timeout && l->lone && fd >= 0) (void)os_spin_readable(&l->spin, fd);
    return os_poller_wait(l->poller, ev, LOOP_EVENTS, timeout);
}

/* The loop's job, on whichever thread: until the loop ends, or is another thread's. */
static void loop_job(void *ctx) {
    struct loop *l = ctx;
    struct os_event ev[LOOP_EVENTS];
    bool busy = true;
    (void)loop_clock(l, LOOP_DEAF_MS);
    loop_outputs(l, false);
    int n = 0; /* events */
    while (!*l->stop && !l->failed) {
        if (!n) n = loop_wait(l, ev, l->late ? 0 : loop_timeout(l, busy));
        bool on_time = loop_clock(l, l->node.tick + LOOP_WAIT_MS);
        loop_events(l, ev, n);
        if (on_time && l->late) l->late = n < LOOP_EVENTS ? 0 : l->late - 1;
        if (!l->late) loop_tick(l);
        busy = node_idle_work(&l->node);
        loop_outputs(l, !busy);
        n = loop_write(l, ev, &busy);
        if (n < 0) return;
        loop_pace_links(l);
        busy = busy || l->node.ready.n;
    }
    disk_loop_ended(&l->disk);
}

ZK_PRIVATE void loop_run(struct loop *l, const _Atomic bool *stop) {
    l->stop = stop;
    do loop_job(l);
    while (disk_serve(&l->disk, true));
}

/* --- closing --- */

ZK_PRIVATE void loop_close(struct loop *l) {
    if (l->disk_running) {
        /* What was accepted is made durable and answered; what fails to be is not. */
        disk_join(&l->disk);
        loop_disk_news(l);
        loop_outputs(l, false);
        disk_free(&l->disk);
    }
    loop_take_offers(l, false);
    for (uint32_t i = 0; i < l->conns.cap; i++)
        if (l->conns.at[i].fd >= 0) loop_drop(l, i, false);
    for (uint32_t i = 0; i < l->links.cap; i++)
        if (l->links.at[i].fd >= 0 || l->links.at[i].dial) loop_drop(l, LOOP_LINK | i, false);
    loop_drain_log(l);
    for (int i = 0; i < LOOP_PORTS; i++) loop_unlisten(l, (enum loop_port_kind)i);
    resolver_free(l->resolver);
    if (l->pipe[0] >= 0) (void)os_close(l->pipe[0]);
    if (l->pipe[1] >= 0) (void)os_close(l->pipe[1]);
    os_poller_free(l->poller);
    files_close(&l->files);
    node_state_free(&l->node);
    mem_free(l->conns.at);
    mem_free(l->links.at);
    mem_free(l->scratch);
    buf_free(&l->send);
    buf_free(&l->pieces);
    buf_free(&l->done);
    buf_free(&l->environment);
    mem_free(l->data_dir);
    mem_free(l->log_dir);
    config_free(&l->cfg);
    (void)pthread_mutex_destroy(&l->offers_lock);
    memset(l, 0, sizeof *l);
}
