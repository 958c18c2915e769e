#include "host/loop.h"

#include <errno.h>
#include <stdio.h>

#define LOOP_READ 262144u
#define LOOP_EVENTS 256
#define LOOP_ACCEPTS 64          /* per listener and turn */
#define LOOP_ACCEPT_PAUSE_MS 100 /* when descriptors have run out */
#define LOOP_WAIT_MS 1000        /* longest wait for something to happen */
#define LOOP_LATE_TURNS 64
#define LOOP_FD_RESERVE 16 /* descriptors that connections may not take */
#define LOOP_LISTENER (1ull << 32)
#define LOOP_PIPE (2ull << 32)

static void loop_drain_log(struct loop *l) {
    int level;
    const char *text;
    while (log_take(&l->node.log, &level, &text))
        if (l->log) l->log(l->log_user, level, text);
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
    int err = files_recover(&l->files, &l->node.db, &r, &l->node.log);
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
    l->synced = l->node.db.last_zxid;
    l->node.now = os_now_ms();
    l->node.wall = os_wall_ms();
    node_start(&l->node, r.replayed > 0 || r.orphans > 0);
    return 0;
}

static int loop_listen(struct loop *l) {
    char text[128];
    const struct config *c = &l->cfg;
    uint16_t port = c->client_port == CONFIG_UNSET ? 0 : (uint16_t)c->client_port;
    int n = os_listen(c->client_port_address, port, c->listen_backlog, l->listeners, &l->port);
    if (n < 0) {
        (void)snprintf(l->error, sizeof l->error, "cannot listen on %s port %u: %s",
                       c->client_port_address ? c->client_port_address : "any address",
                       (unsigned)port, os_error(n, text, sizeof text));
        return -1;
    }
    l->n_listeners = n;
    for (int i = 0; i < n; i++)
        if (os_poller_add(l->poller, l->listeners[i], LOOP_LISTENER | (unsigned)i) < 0) return -1;
    log_line(&l->node.log, LOG_INFO_LEVEL, "binding to port %s:%u",
             c->client_port_address ? c->client_port_address : "0.0.0.0", (unsigned)l->port);
    return 0;
}

ZK_PRIVATE enum loop_start_error loop_open(struct loop *l, struct config *cfg, loop_log_fn log,
                                           void *user) {
    memset(l, 0, sizeof *l);
    l->cfg = *cfg;
    memset(cfg, 0, sizeof *cfg);
    l->log = log;
    l->log_user = user;
    l->pipe[0] = l->pipe[1] = -1;
    node_state_init(&l->node, &l->cfg, os_seed(), os_now_ms(), os_wall_ms());
    if (files_open(&l->files, &l->cfg)) {
        (void)snprintf(l->error, sizeof l->error, "%s", l->files.error);
        return LOOP_NO_DATADIR;
    }
    loop_know(l);
    (void)snprintf(l->error, sizeof l->error, "cannot set up descriptors or threads");
    l->scratch = mem_alloc(LOOP_READ);
    int64_t files = os_max_files();
    l->fd_limit = files > 2 * LOOP_FD_RESERVE && files < INT32_MAX ? (int)files - LOOP_FD_RESERVE
                                                                   : INT32_MAX;
    l->poller = os_poller_new();
    if (!l->poller || os_pipe(l->pipe) < 0) return LOOP_FAILED;
    if (os_poller_add(l->poller, l->pipe[0], LOOP_PIPE) < 0) return LOOP_FAILED;
    if (loop_listen(l)) return LOOP_FAILED;
    if (loop_recover(l)) return LOOP_FAILED;
    l->disk_running = true;
    if (disk_start(&l->disk, &l->files, l->pipe[1], l->synced) < 0) return LOOP_FAILED;
    loop_drain_log(l);
    l->error[0] = '\0';
    return LOOP_STARTED;
}

/* --- connections --- */

static struct node_input loop_input(const struct loop *l, enum node_input_kind kind) {
    struct node_input in = {.kind = kind, .now = l->node.now, .wall = l->node.wall};
    return in;
}

static void loop_drop(struct loop *l, uint32_t id, bool abort_now) {
    struct loop_conn *c = &l->conns[id];
    os_poller_del(l->poller, c->fd);
    os_hang_up(c->fd, abort_now);
    c->fd = -1;
    struct node_input in = loop_input(l, NODE_CONN_CLOSED);
    in.conn = id;
    node_step(&l->node, &in);
}

static void loop_queue(struct loop *l, uint32_t id) {
    if (l->conns[id].queued) return;
    l->conns[id].queued = true;
    buf_put(&l->send, &id, sizeof id);
}

static void loop_add_conn(struct loop *l, int fd, const struct node_addr *addr) {
    uint32_t id = node_accept(&l->node, addr, l->node.now, l->node.wall);
    if (id == CONN_NONE) {
        os_hang_up(fd, true);
        return;
    }
    if (id >= l->cap) {
        uint32_t cap = l->cap ? l->cap : 64;
        while (cap <= id) cap *= 2;
        l->conns = mem_realloc(l->conns, sizeof *l->conns * cap);
        for (uint32_t i = l->cap; i < cap; i++) {
            memset(&l->conns[i], 0, sizeof l->conns[i]);
            l->conns[i].fd = -1;
        }
        l->cap = cap;
    }
    struct loop_conn *c = &l->conns[id];
    bool queued = c->queued; /* still in the list from its last use */
    memset(c, 0, sizeof *c);
    c->fd = fd;
    c->queued = queued;
    if (os_poller_add(l->poller, fd, id) < 0) loop_drop(l, id, true);
}

static void loop_pause_accept(struct loop *l, bool pause) {
    for (int i = 0; i < l->n_listeners; i++)
        os_poller_set(l->poller, l->listeners[i], LOOP_LISTENER | (unsigned)i, !pause, false);
    l->accept_after = pause ? l->node.now + LOOP_ACCEPT_PAUSE_MS : 0;
}

static void loop_accept(struct loop *l, int listener) {
    for (int i = 0; i < LOOP_ACCEPTS; i++) {
        struct node_addr addr;
        int fd = os_accept(listener, &addr, l->cfg.tcp_keepalive);
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
            log_line(&l->node.log, LOG_WARN_LEVEL, "Cannot accept: out of descriptors");
            loop_pause_accept(l, true);
        }
        if (fd >= l->fd_limit) {
            /* The next log file needs a descriptor too; without one the server would stop. */
            os_hang_up(fd, true);
            loop_pause_accept(l, true);
            return;
        }
        if (fd < 0) return;
        loop_add_conn(l, fd, &addr);
    }
}

static void loop_interest(struct loop *l, uint32_t id) {
    const struct loop_conn *c = &l->conns[id];
    os_poller_set(l->poller, c->fd, id, !c->paused, c->want_write);
}

static void loop_read(struct loop *l, uint32_t id) {
    struct loop_conn *c = &l->conns[id];
    int64_t n = os_recv(c->fd, l->scratch, LOOP_READ);
    if (n == -EAGAIN || n == -EWOULDBLOCK) return;
    if (n == 0 && c->closing && c->want_write) {
        c->paused = true; /* it has said all it wants to, and still reads what it is told */
        loop_interest(l, id);
        return;
    }
    if (n <= 0) {
        loop_drop(l, id, false);
        return;
    }
    if (c->closing) return;
    struct node_input in = loop_input(l, NODE_CONN_BYTES);
    in.conn = id;
    in.bytes = slice_of(l->scratch, (size_t)n);
    node_step(&l->node, &in);
}

/* Sends what the connection has; hangs up when that was the last of it. */
static void loop_send(struct loop *l, uint32_t id) {
    struct loop_conn *c = &l->conns[id];
    c->queued = false;
    if (c->fd < 0) return;
    struct slice out = buf_slice(&node_conn(&l->node, id)->out);
    int64_t n = out.n ? os_send(c->fd, out.p, out.n) : 0;
    if (n < 0 && n != -EAGAIN && n != -EWOULDBLOCK) {
        loop_drop(l, id, false);
        return;
    }
    node_conn_sent(&l->node, id, n > 0 ? (size_t)n : 0);
    bool more = n < 0 || (size_t)n < out.n;
    if (more != c->want_write) {
        c->want_write = more;
        loop_interest(l, id);
    }
    if (!more && c->closing) loop_drop(l, id, false);
}

/* --- outputs --- */

static void loop_output(struct loop *l, struct node_output *o) {
    switch (o->kind) {
    case NODE_SEND:
        loop_queue(l, o->conn);
        break;
    case NODE_CLOSE:
        l->conns[o->conn].closing = true;
        loop_queue(l, o->conn);
        break;
    case NODE_ABORT:
        if (l->conns[o->conn].fd >= 0) loop_drop(l, o->conn, true);
        break;
    case NODE_APPEND: {
        struct disk_piece p = {o->bytes, o->zxid, o->roll};
        buf_put(&l->pieces, &p, sizeof p);
        break;
    }
    case NODE_SYNC: /* the log thread syncs whatever it is given */
        break;
    case NODE_SNAPSHOT_BEGIN:
    case NODE_SNAPSHOT_CHUNK:
    case NODE_SNAPSHOT_END:
        disk_snapshot(&l->disk, o);
        break;
    case NODE_READ_PAUSE:
    case NODE_READ_RESUME:
        if (l->conns[o->conn].fd < 0) break;
        l->conns[o->conn].paused = o->kind == NODE_READ_PAUSE;
        loop_interest(l, o->conn);
        break;
    }
}

static void loop_take(struct loop *l) {
    struct node_output o;
    while (node_take_output(&l->node, &o)) loop_output(l, &o);
}

static void loop_outputs(struct loop *l) {
    for (;;) {
        loop_take(l);
        if (l->pieces.n) disk_submit(&l->disk, &l->pieces);
        if (!l->send.n) break;
        struct buf now = l->send; /* sending may queue again */
        memset(&l->send, 0, sizeof l->send);
        for (size_t at = 0; at < now.n; at += sizeof(uint32_t)) {
            uint32_t id;
            memcpy(&id, now.p + at, sizeof id);
            loop_send(l, id);
        }
        buf_clear(&now);
        if (l->send.p)
            buf_free(&now);
        else
            l->send = now;
    }
    loop_drain_log(l);
}

/* --- a turn --- */

static void loop_disk_news(struct loop *l) {
    uint8_t bytes[64];
    struct disk_news news;
    while (os_read(l->pipe[0], bytes, sizeof bytes) == (int64_t)sizeof bytes) continue;
    disk_collect(&l->disk, &news, &l->node.log);
    l->node.stats.fsync_slow = news.slow_syncs;
    metrics_merge(&l->node.metrics.fsync_ms, &news.sync_ms);
    metrics_merge(&l->node.metrics.batch, &news.batch);
    if (news.synced > l->synced) {
        l->synced = news.synced;
        struct node_input in = loop_input(l, NODE_LOG_SYNCED);
        in.zxid = news.synced;
        node_step(&l->node, &in);
    }
    struct node_input in = loop_input(l, NODE_SNAPSHOT_ROOM);
    if (news.snap_room) node_step(&l->node, &in);
    in.kind = NODE_SNAPSHOT_FAILED;
    if (news.snap_failed) node_step(&l->node, &in);
    in.kind = NODE_SNAPSHOT_DONE;
    if (news.snap_done) node_step(&l->node, &in);
    if (!news.failed) return;
    l->failed = true;
    (void)snprintf(l->error, sizeof l->error, "%s", l->disk.error);
    log_line(&l->node.log, LOG_ERROR_LEVEL,
             "Severe unrecoverable error: %s. Nothing more can be made durable; stopping",
             l->error);
}

static int loop_timeout(const struct loop *l, bool busy) {
    if (busy) return 0;
    int64_t next = l->next_tick;
    if (l->accept_after && l->accept_after < next) next = l->accept_after;
    int64_t ms = next - os_now_ms();
    if (l->node.snap.active && !l->node.snap.finishing && ms > 0) ms = 0; /* its next slice */
    return ms < 0 ? 0 : ms > LOOP_WAIT_MS ? LOOP_WAIT_MS : (int)ms + 1;
}

static void loop_events(struct loop *l, const struct os_event *ev, int n) {
    for (int i = 0; i < n; i++) {
        if (ev[i].tag == LOOP_PIPE) {
            loop_disk_news(l);
        } else if (ev[i].tag & LOOP_LISTENER) {
            loop_accept(l, l->listeners[ev[i].tag & 0xff]);
        } else {
            uint32_t id = (uint32_t)ev[i].tag;
            if (l->conns[id].fd < 0) continue;
            if (ev[i].failed && l->conns[id].closing) {
                loop_drop(l, id, true);
                continue;
            }
            if (ev[i].writable) loop_queue(l, id);
            if (ev[i].readable || (ev[i].failed && !ev[i].writable)) loop_read(l, id);
        }
        loop_take(l); /* before a connection's number can be given to another one */
    }
}

static void loop_tick(struct loop *l) {
    if (l->accept_after && l->node.now >= l->accept_after) loop_pause_accept(l, false);
    if (l->node.now < l->next_tick) return;
    struct node_input in = loop_input(l, NODE_TICK);
    node_step(&l->node, &in);
    l->next_tick = node_next_tick(&l->node);
}

ZK_PRIVATE void loop_run(struct loop *l, const _Atomic bool *stop) {
    struct os_event ev[LOOP_EVENTS];
    bool busy = false;
    loop_outputs(l);
    int late = 0; /* turns for which time stands still, see below */
    while (!*stop && !l->failed) {
        int64_t before = l->node.now;
        int n = os_poller_wait(l->poller, ev, LOOP_EVENTS, late ? 0 : loop_timeout(l, busy));
        l->node.now = os_now_ms();
        l->node.wall = os_wall_ms();
        loop_events(l, ev, n);
        /* After a pause of the whole process the clients' pings are in the sockets: they are
         * read before anybody is found to have been silent. */
        if (l->node.now - before > l->node.tick + LOOP_WAIT_MS)
            late = LOOP_LATE_TURNS;
        else if (late)
            late = n < LOOP_EVENTS ? 0 : late - 1;
        if (!late) loop_tick(l);
        busy = node_idle_work(&l->node);
        loop_outputs(l);
        busy = busy || l->node.ready.n;
    }
}

/* --- closing --- */

ZK_PRIVATE void loop_close(struct loop *l) {
    if (l->disk_running) {
        /* What was accepted is made durable and answered; what fails to be is not. */
        disk_join(&l->disk);
        loop_disk_news(l);
        loop_outputs(l);
        disk_free(&l->disk);
    }
    for (uint32_t i = 0; i < l->cap; i++)
        if (l->conns[i].fd >= 0) loop_drop(l, i, false);
    loop_drain_log(l);
    for (int i = 0; i < l->n_listeners; i++) (void)os_close(l->listeners[i]);
    if (l->pipe[0] >= 0) (void)os_close(l->pipe[0]);
    if (l->pipe[1] >= 0) (void)os_close(l->pipe[1]);
    os_poller_free(l->poller);
    files_close(&l->files);
    node_state_free(&l->node);
    mem_free(l->conns);
    mem_free(l->scratch);
    buf_free(&l->send);
    buf_free(&l->pieces);
    buf_free(&l->environment);
    mem_free(l->data_dir);
    mem_free(l->log_dir);
    config_free(&l->cfg);
    memset(l, 0, sizeof *l);
}
