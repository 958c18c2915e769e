/*
 * One server's process: what host/loop.c and host/disk.c are in production.
 *
 * Carries out the node's outputs in order and feeds it inputs, in the same order as the loop: what
 * was appended goes to the log thread before anything is sent. The two threads are chains of events
 * with latencies; between any two of their steps, and at any call within a step, the process may
 * die. Nothing of a dead process is used again: its memory goes whole.
 */
#include <stdio.h>

#include "host/logread.h"
#include "node/pipeline.h"
#include "svg.h"

#define HOST_SNAP_QUEUE_MAX (4u << 20) /* as in host/disk.h */

static struct server *host_running;

struct server *server_running(void) {
    return host_running;
}

static void host_enter(struct server *s) {
    host_running = s;
    (void)mem_owned_by(&s->mem);
}

static void host_leave(void) {
    host_running = NULL;
    (void)mem_owned_by(&sim.mem);
}

/* Runs what makes system calls. False: the process died in one of them. */
static bool host_guard(struct server *s, void (*work)(struct server *)) {
    if (setjmp(s->crash)) {
        s->crash_set = false;
        host_leave();
        server_down(s, s->crash_power ? BY_POWER : BY_KILL);
        return false;
    }
    s->crash_set = true;
    host_enter(s);
    work(s);
    host_leave();
    s->crash_set = false;
    return true;
}

/* --- clocks --- */

static int64_t host_elapsed(const struct server *s) {
    int64_t us = sim.now - s->mono_from;
    return us + us / 1000 * s->drift_ppm / 1000;
}

int64_t server_mono_ms(const struct server *s) {
    return (s->mono_base + host_elapsed(s)) / 1000;
}

int64_t server_wall_ms(const struct server *s) {
    return (s->wall_base + host_elapsed(s)) / 1000;
}

static struct node_input host_input(const struct server *s, enum node_input_kind kind) {
    struct node_input in = {.kind = kind, .now = server_mono_ms(s), .wall = server_wall_ms(s)};
    return in;
}

static void host_story_lines(struct server *s) {
    int level;
    const char *text;
    while (log_take(&s->node.log, &level, &text))
        story("s%lld: %s", (long long)s->sid, text);
}

static void host_step(struct server *s, const struct node_input *in) {
    host_enter(s);
    node_step(&s->node, in);
    check_step(s);
    host_story_lines(s);
    host_leave();
}

/* --- connections and links --- */

static struct host_end *host_end(struct buf *table, uint32_t number) {
    size_t need = (number + (size_t)1) * sizeof(struct host_end);
    while (table->n < need) {
        struct host_end none = {.stream = SIM_NONE};
        buf_put(table, &none, sizeof none);
    }
    return (struct host_end *)(void *)table->p + number;
}

static struct host_end *host_of(struct server *s, bool link, uint32_t number) {
    return host_end(link ? &s->links : &s->conns, number);
}

static void host_closed(struct server *s, bool link, uint32_t number) {
    struct host_end none = {.stream = SIM_NONE};
    *host_of(s, link, number) = none;
    struct node_input in = host_input(s, link ? NODE_LINK_CLOSED : NODE_CONN_CLOSED);
    in.conn = in.link = number;
    host_step(s, &in);
}

static void host_drop(struct server *s, bool link, uint32_t number, bool abort) {
    uint32_t stream = host_of(s, link, number)->stream;
    if (stream == SIM_NONE) return;
    net_close(stream, net_side(stream, s->id), abort);
    host_closed(s, link, number);
}

static void host_queue(struct server *s, bool link, uint32_t number) {
    struct host_end *e = host_of(s, link, number);
    if (e->queued || e->stream == SIM_NONE) return;
    e->queued = true;
    struct host_send q = {link, number};
    buf_put(&s->sends, &q, sizeof q);
}

static void host_send(struct server *s, bool link, uint32_t number) {
    struct host_end *e = host_of(s, link, number);
    e->queued = false;
    if (e->stream == SIM_NONE) return;
    struct slice out = link ? buf_slice(&node_link(&s->node, number)->out)
                            : buf_slice(&node_conn(&s->node, number)->out);
    size_t n = out.n ? net_send(e->stream, net_side(e->stream, s->id), out) : 0;
    bool all = n == out.n;
    host_enter(s);
    if (link)
        node_link_sent(&s->node, number, n);
    else
        node_conn_sent(&s->node, number, n);
    host_leave();
    if (e->closing && (all || link)) host_drop(s, link, number, false);
}

static void host_dial(struct server *s, uint32_t number) {
    const struct link *k = node_link(&s->node, number);
    uint32_t to = 0;
    while (to < sim.n_servers) {
        char name[16];
        (void)snprintf(name, sizeof name, "s%lld", (long long)sim.servers[to].sid);
        if (strcmp(name, k->host) == 0) break;
        to++;
    }
    if (to == sim.n_servers) sim_fail("dial", "s%lld dials %s", (long long)s->sid, k->host);
    host_of(s, true, number)->stream = net_dial(END_LINK, s->id, number, to, k->port);
}

/* --- outputs --- */

static void host_output(struct server *s, struct node_output *o) {
    struct piece p = {o->kind, o->bytes, o->zxid, o->epoch, o->roll, o->accepted, o->reload};
    struct back_job j = {o->kind, o->zxid, o->upto, o->first, o->owned};
    switch (o->kind) {
    case NODE_SEND:
        host_queue(s, false, o->conn);
        break;
    case NODE_CLOSE:
        host_of(s, false, o->conn)->closing = true;
        host_queue(s, false, o->conn);
        break;
    case NODE_ABORT:
        host_drop(s, false, o->conn, true);
        break;
    case NODE_APPEND:
        check_appended(s, o->bytes, o->zxid);
        buf_put(&s->pieces, &p, sizeof p);
        break;
    case NODE_LOAD:
        if (o->zxid != -1 && !o->reload) check_cutting(s, o->zxid);
        buf_put(&s->pieces, &p, sizeof p);
        break;
    case NODE_SAVE_EPOCH:
        buf_put(&s->pieces, &p, sizeof p);
        break;
    case NODE_SYNC: /* the log thread syncs whatever it is given */
        break;
    case NODE_SNAPSHOT_BEGIN:
    case NODE_SNAPSHOT_CHUNK:
    case NODE_SNAPSHOT_END:
    case NODE_SNAPSHOT_ABORT:
    case NODE_READ_LOG:
        s->jobs_bytes += buf_len(&j.bytes);
        buf_put(&s->jobs, &j, sizeof j);
        s->snap_room_told = false;
        break;
    case NODE_READ_PAUSE:
    case NODE_READ_RESUME: {
        struct host_end *e = host_of(s, false, o->conn);
        e->paused = o->kind == NODE_READ_PAUSE;
        if (!e->paused && e->stream != SIM_NONE) net_wake(e->stream, net_side(e->stream, s->id));
        break;
    }
    case NODE_LINK_DIAL:
        host_dial(s, o->link);
        break;
    case NODE_LINK_SEND:
        host_queue(s, true, o->link);
        break;
    case NODE_LINK_CLOSE:
        host_of(s, true, o->link)->closing = true;
        host_queue(s, true, o->link);
        break;
    case NODE_LISTEN:
    case NODE_UNLISTEN:
        s->listening = o->kind == NODE_LISTEN;
        break;
    }
}

static void host_start_threads(struct server *s) {
    if (s->pieces.n && !s->log_busy && !s->log_failed) {
        struct buf batch = s->batch;
        s->batch = s->pieces;
        s->pieces = batch;
        s->batch_at = 0;
        s->log_busy = true;
        event_at(sim.now + sim.t.write_min + (int64_t)rnd((uint64_t)sim.t.write_spread + 1),
                 EV_LOG, s->id, s->gen, 0);
    }
    if (buf_len(&s->jobs) && !s->back_busy) {
        s->back_busy = true;
        event_at(sim.now + sim.t.sync_min + (int64_t)rnd((uint64_t)sim.t.sync_spread + 1),
                 EV_BACK, s->id, s->gen, 0);
    }
}

static void host_outputs(struct server *s) {
    for (;;) {
        struct node_output o;
        while (s->state == PROC_UP && node_take_output(&s->node, &o)) host_output(s, &o);
        if (s->state != PROC_UP) return;
        host_start_threads(s);
        if (!buf_len(&s->sends)) break;
        struct host_send q;
        memcpy(&q, s->sends.p + s->sends.head, sizeof q);
        buf_consume(&s->sends, sizeof q);
        if (!buf_len(&s->sends)) buf_clear(&s->sends);
        host_send(s, q.link, q.number);
    }
}

/* The end of a turn of the loop. */
static void host_settle(struct server *s) {
    if (s->state != PROC_UP) return;
    host_enter(s);
    bool busy = node_idle_work(&s->node);
    check_step(s);
    host_story_lines(s);
    host_leave();
    host_outputs(s);
    if (busy || s->node.ready.n)
        server_turn_soon(s, 20 + (int64_t)rnd(50));
    else if (s->node.snap.active && !s->node.snap.finishing && !s->node.snap.blocked)
        server_turn_soon(s, 1 * MS);
    int64_t due = node_next_tick(&s->node), at = sim.now + (due - server_mono_ms(s)) * MS;
    if (at <= sim.now) at = sim.now + 1 * MS;
    if (s->tick_at > sim.now && s->tick_at <= at) return;
    s->tick_at = at;
    s->tick_due = due;
    event_at(at, EV_TICK, s->id, s->gen, at);
}

void server_turn_soon(struct server *s, int64_t delay) {
    if (s->turn_queued) return;
    s->turn_queued = true;
    event_at(sim.now + delay, EV_TURN, s->id, s->gen, 0);
}

/* --- the log thread --- */

/* NODE_LOAD: cut, and read again what there is. */
static int host_load(struct server *s, const struct piece *p) {
    struct files_report r;
    struct logq lines = {.max_level = 0};
    if (p->zxid != -1) {
        int64_t durable = s->durable;
        check_cut(s, p->zxid);
        int err = files_truncate(&s->files, p->zxid, &lines);
        if (err < 0) return err;
        if (err)
            s->durable = durable; /* it was not possible, and nothing was done */
        else
            check_cut_done(s, p->zxid);
    }
    if (!p->reload) return 0;
    db_init(&s->loaded, prng_next(&s->disk.rng), s->node.tick, server_mono_ms(s));
    s->recovering = true;
    int err = files_recover(&s->files, &s->loaded, &r, &lines);
    s->recovering = false;
    if (err) return err;
    check_recovered(s, &s->loaded, &r);
    s->done_load = true;
    return 0;
}

static int host_log_piece(struct server *s, const struct piece *p) {
    struct files *f = &s->files;
    if (p->kind == NODE_APPEND) {
        if (p->roll && files_log_roll(f, p->zxid)) return -1;
        s->log_dirty = true;
        s->log_last = p->zxid;
        return files_log_append(f, p->bytes);
    }
    if (p->kind == NODE_SAVE_EPOCH) {
        s->done_epoch = true;
        if (p->accepted && p->epoch > s->promised) s->promised = p->epoch;
        if (!p->accepted) s->left = 0; /* from here on it speaks for the new history alone */
        return files_save_epoch(f, p->accepted ? "acceptedEpoch" : "currentEpoch", p->epoch);
    }
    return host_load(s, p);
}

static void host_log_work(struct server *s) {
    uint32_t n = (uint32_t)(s->batch.n / sizeof(struct piece));
    int err = 0;
    if (s->log_syncing) {
        err = files_log_sync(&s->files);
        s->log_syncing = s->log_dirty = false;
        s->done_sync = !err;
    }
    while (!err && s->batch_at < n) {
        const struct piece *p = (const struct piece *)(void *)s->batch.p + s->batch_at;
        if (p->kind != NODE_APPEND && s->log_dirty) break; /* what comes before is synced first */
        if (p->kind == NODE_LOAD && (s->back_busy || buf_len(&s->jobs))) break; /* snapshots too */
        err = host_log_piece(s, p);
        s->batch_at++;
        if (p->kind != NODE_APPEND || prng_below(&s->disk.rng, 20) == 0) break;
    }
    const struct piece *next = (const struct piece *)(void *)s->batch.p + s->batch_at;
    s->log_syncing = s->log_dirty && (s->batch_at == n || next->kind != NODE_APPEND);
    s->log_failed = err != 0;
}

static void host_log_news(struct server *s) {
    struct node_input in = host_input(s, NODE_LOG_SYNCED);
    if (s->done_sync) {
        in.zxid = s->log_last;
        s->done_sync = false;
        check_synced(s, in.zxid);
        host_step(s, &in);
    }
    bool epoch = s->done_epoch, load = s->done_load;
    s->done_epoch = s->done_load = false;
    in.kind = NODE_EPOCH_SAVED;
    if (epoch) host_step(s, &in);
    in.kind = NODE_LOADED;
    in.db = &s->loaded;
    if (!load) return;
    host_step(s, &in);
    host_enter(s);
    db_free(&s->loaded);
    host_leave();
}

static void host_log_event(struct server *s) {
    if (!host_guard(s, host_log_work)) return;
    if (s->log_failed) {
        story("s%lld: the log failed: %s", (long long)s->sid, s->files.error);
        if (!s->disk.failed && !s->disk.damaged)
            sim_fail("log", "s%lld: %s", (long long)s->sid, s->files.error);
        server_down(s, BY_ITSELF);
        return;
    }
    bool more = s->log_syncing || s->batch_at < s->batch.n / sizeof(struct piece);
    host_log_news(s);
    if (more) {
        int64_t wait = s->log_syncing
                           ? sim.t.sync_min + (int64_t)rnd((uint64_t)sim.t.sync_spread + 1)
                           : (int64_t)rnd((uint64_t)sim.t.write_spread + 1);
        event_at(sim.now + wait * s->disk.slow, EV_LOG, s->id, s->gen, 0);
    } else {
        s->log_busy = false;
        buf_clear(&s->batch);
    }
    host_settle(s);
}

/* --- the background thread --- */

static void host_back_work(struct server *s) {
    struct back_job j;
    struct files *f = &s->files;
    memcpy(&j, s->jobs.p + s->jobs.head, sizeof j);
    buf_consume(&s->jobs, sizeof j);
    s->jobs_bytes -= buf_len(&j.bytes);
    int err = 0;
    bool end = j.kind == NODE_SNAPSHOT_END;
    if (j.kind == NODE_SNAPSHOT_BEGIN) {
        err = files_snap_begin(f);
        s->snap_open = !err;
    } else if (j.kind == NODE_SNAPSHOT_ABORT) {
        if (s->snap_open) files_snap_abort(f);
        s->snap_open = false;
    } else if (j.kind == NODE_READ_LOG) {
        logread_after(f, j.zxid, j.upto, j.first, &s->log_read);
        s->done_read = true;
    } else if (s->snap_open) {
        err = end ? files_snap_end(f, j.zxid) : files_snap_write(f, buf_slice(&j.bytes));
    }
    buf_free(&j.bytes);
    s->done_snap = s->fail_snap = false;
    if (err) {
        files_snap_abort(f);
        s->fail_snap = true;
        s->snap_open = false;
    } else if (s->snap_open && end) {
        s->snap_open = false;
        s->done_snap = true;
        check_snapshot(s, j.zxid);
        struct logq lines = {.max_level = 0};
        if (chance(300)) (void)files_purge(f, f->cfg->autopurge_retain, &lines);
    }
}

static void host_back_event(struct server *s) {
    if (!host_guard(s, host_back_work)) return;
    if (s->fail_snap && !s->disk.failed)
        sim_fail("snapshot", "s%lld: %s", (long long)s->sid, s->files.snap_error);
    struct node_input in = host_input(s, NODE_SNAPSHOT_ROOM);
    if (s->jobs_bytes < HOST_SNAP_QUEUE_MAX && !s->snap_room_told) host_step(s, &in);
    s->snap_room_told = s->jobs_bytes < HOST_SNAP_QUEUE_MAX;
    in.kind = s->done_snap ? NODE_SNAPSHOT_DONE : NODE_SNAPSHOT_FAILED;
    if (s->done_snap || s->fail_snap) host_step(s, &in);
    in.kind = NODE_LOG_READ;
    in.bytes = buf_slice(&s->log_read);
    if (s->done_read) host_step(s, &in);
    host_enter(s);
    buf_free(&s->log_read);
    host_leave();
    s->done_snap = s->fail_snap = s->done_read = s->back_busy = false;
    host_settle(s);
}

/* --- birth --- */

static void host_config(struct server *s) {
    struct logq lines = {.max_level = 0};
    char myid[24];
    config_defaults(&s->cfg);
    int err = config_parse(&s->cfg, slice_str(sim.t.config), &lines);
    (void)snprintf(myid, sizeof myid, "%lld", (long long)s->sid);
    if (!err && !sim.t.standalone) err = config_parse_myid(&s->cfg, slice_str(myid));
    if (err) sim_fail("config", "%s", s->cfg.error);
    s->cfg.commit_log_count = sim.t.commit_log_count; /* less than a file may say */
}

static void host_boot_work(struct server *s) {
    struct files_report r;
    int64_t accepted = -1, current = -1;
    host_config(s);
    node_state_init(&s->node, &s->cfg, prng_next(&s->disk.rng), server_mono_ms(s),
                    server_wall_ms(s));
    s->node.role.counter_max = sim.t.counter_max;
    if (!sim.trace) s->node.log.max_level = 0;
    s->boot_failed = files_open(&s->files, &s->cfg) != 0;
    if (!s->boot_failed && !sim.t.standalone)
        s->boot_failed = files_load_epochs(&s->files, &accepted, &current) != 0;
    s->recovering = true;
    if (!s->boot_failed)
        s->boot_failed = files_recover(&s->files, &s->node.db, &r, &s->node.log) != 0;
    s->recovering = false;
    if (s->boot_failed) return;
    check_recovered(s, &s->node.db, &r);
    s->node.last_snapshot_zxid = r.fresh ? 0 : r.snapshot_zxid;
    if (accepted > s->promised) s->promised = accepted;
    if (!sim.t.standalone) node_epochs(&s->node, accepted, current);
    node_start(&s->node, r.replayed > 0 || r.orphans > 0);
}

void server_boot(struct server *s) {
    if (s->state == PROC_UP || s->retired) return;
    s->gen++;
    s->starts++;
    s->dark = false;
    s->up_since = sim.now;
    s->tick_at = 0;
    mem_owner_init(&s->mem);
    story("s%lld starts", (long long)s->sid);
    svg_mark(s->id, SVG_START, 0);
    s->state = PROC_UP;
    if (!host_guard(s, host_boot_work)) return;
    if (!s->boot_failed) {
        host_settle(s);
        return;
    }
    story("s%lld does not start: %s", (long long)s->sid, s->files.error);
    /* A batch torn before its last entry looks like rot, and is refused like it. */
    if (s->disk.torn && strstr(s->files.error, "CRC check failed")) s->disk.damaged = true;
    if (!s->disk.failed && !s->disk.full && !s->disk.damaged)
        sim_fail("recovery", "s%lld does not start: %s", (long long)s->sid, s->files.error);
    s->refusals++;
    server_down(s, BY_ITSELF);
}

/* --- death --- */

static void host_forget(struct server *s) {
    for (size_t at = s->jobs.head; at < s->jobs.n; at += sizeof(struct back_job)) {
        struct back_job j;
        memcpy(&j, s->jobs.p + at, sizeof j);
        buf_free(&j.bytes);
    }
    buf_clear(&s->jobs);
    buf_clear(&s->pieces);
    buf_clear(&s->batch);
    buf_clear(&s->conns);
    buf_clear(&s->links);
    buf_clear(&s->sends);
    s->jobs_bytes = 0;
    s->log_busy = s->log_failed = s->log_dirty = s->log_syncing = s->back_busy = false;
    s->snap_open = s->done_snap = s->fail_snap = s->done_epoch = false;
    s->done_load = s->done_read = false;
    s->turn_queued = s->listening = false;
    s->done_sync = false;
    s->paused_until = 0;
    s->gen++;
}

static void host_stop_log(struct server *s) {
    s->back_busy = false; /* it is done here, as what the log waits for */
    while (!s->log_failed && (s->log_syncing || s->batch_at < s->batch.n / sizeof(struct piece))) {
        while (buf_len(&s->jobs)) host_back_work(s);
        host_log_work(s);
    }
}

static void host_stop_free(struct server *s) {
    buf_free(&s->log_read);
    node_state_free(&s->node);
    files_close(&s->files);
    config_free(&s->cfg);
}

/* SIGTERM: what was accepted is made durable and answered. False: it died meanwhile. */
static bool host_stop(struct server *s) {
    host_outputs(s);
    for (int i = 0; i < 2 && !s->log_failed; i++) {
        if (!host_guard(s, host_stop_log)) return false;
        if (!s->log_failed) host_log_news(s);
        s->log_busy = false;
        buf_clear(&s->batch);
        host_outputs(s);
        if (s->state != PROC_UP) return false;
    }
    for (uint32_t i = 0; i < s->conns.n / sizeof(struct host_end); i++)
        host_drop(s, false, i, false);
    for (uint32_t i = 0; i < s->links.n / sizeof(struct host_end); i++)
        host_drop(s, true, i, false);
    if (!host_guard(s, host_stop_free)) return false;
    for (size_t at = s->jobs.head; at < s->jobs.n; at += sizeof(struct back_job)) {
        struct back_job j;
        memcpy(&j, s->jobs.p + at, sizeof j);
        buf_free(&j.bytes);
    }
    buf_clear(&s->jobs);
    if (mem_count(&s->mem)) sim_fail("leak", "%zu blocks after a stop", mem_count(&s->mem));
    return true;
}

void server_down(struct server *s, enum how_down how) {
    static const char *const words[] = {"is killed", "loses power", "is stopped", "gives up"};
    if (s->state != PROC_UP) return;
    story("s%lld %s", (long long)s->sid, words[how]);
    if (how == BY_STOP && !host_stop(s)) return; /* it died on the way, and this is done */
    svg_mark(s->id, SVG_DOWN, 0);
    s->state = PROC_DOWN;
    s->dark = how == BY_POWER;
    net_host_gone(s->id, s->dark);
    host_forget(s);
    mem_forget(&s->mem);
    memset(&s->log_read, 0, sizeof s->log_read);
    memset(&s->node, 0, sizeof s->node);
    if (how == BY_POWER) {
        disk_power_cut(&s->disk);
        s->mono_base = (int64_t)rnd(1000 * SEC); /* the clock of another life */
        s->wall_base += sim.now - s->mono_from;
        s->mono_from = sim.now;
    } else {
        disk_process_gone(&s->disk);
    }
    check_down(s, how == BY_POWER);
    if (s->retired) return;
    event_at(sim.now + 10 * MS + rnd_wait(sim.t.downtime), EV_BOOT, s->id, s->gen, 0);
}

void server_create(struct server *s, uint32_t id) {
    memset(s, 0, sizeof *s);
    s->id = id;
    s->sid = id + 1;
    s->observer = id >= sim.t.voters;
    mem_owner_init(&s->mem);
    disk_init(&s->disk, prng_next(&sim.rng));
    s->mono_base = (int64_t)rnd(1000 * SEC);
    s->wall_base = 1700000000 * SEC + (int64_t)rnd(3 * SEC);
    s->drift_ppm = (int32_t)rnd_between(-sim.t.drift_ppm, sim.t.drift_ppm);
    event_at((int64_t)rnd(500 * MS), EV_BOOT, id, 0, 0);
}

/* --- what the network brings --- */

bool server_listens(const struct server *s, uint16_t port) {
    if (s->state != PROC_UP) return false;
    return port != PORT_QUORUM || s->listening;
}

bool server_reads(const struct server *s, bool link, uint32_t number) {
    struct server *t = &sim.servers[s->id];
    return !host_of(t, link, number)->paused;
}

uint32_t server_accept(struct server *s, uint16_t port, uint32_t from, uint32_t stream) {
    struct net_addr addr = {{10, 0, 0, (uint8_t)from}, 4, 40000};
    int64_t now = server_mono_ms(s), wall = server_wall_ms(s);
    bool link = port != PORT_CLIENT;
    uint32_t number;
    host_enter(s);
    if (link)
        number = node_link_accept(&s->node, port == PORT_QUORUM ? LINK_QUORUM : LINK_ELECTION, now,
                                  wall);
    else
        number = node_accept(&s->node, &addr, now, wall);
    host_leave();
    if (number != SIM_NONE) host_of(s, link, number)->stream = stream;
    server_turn_soon(s, 0);
    return number;
}

void server_opened(struct server *s, uint32_t number) {
    struct node_input in = host_input(s, NODE_LINK_OPENED);
    in.link = number;
    host_step(s, &in);
    host_settle(s);
}

void server_bytes(struct server *s, bool link, uint32_t number, struct slice bytes) {
    if (host_of(s, link, number)->closing) return;
    struct node_input in = host_input(s, link ? NODE_LINK_BYTES : NODE_CONN_BYTES);
    in.conn = in.link = number;
    in.bytes = bytes;
    host_step(s, &in);
    host_settle(s);
}

void server_closed(struct server *s, bool link, uint32_t number) {
    host_closed(s, link, number);
    host_settle(s);
}

/* As an operator, or a stock server when it takes up a role, would have it. */
void server_snapshot(struct server *s) {
    if (s->paused_until > sim.now || s->done_load) return;
    host_enter(s);
    if (s->node.loaded) pipeline_snapshot_begin(&s->node);
    check_step(s);
    host_leave();
    host_settle(s);
}

void server_room(struct server *s, bool link, uint32_t number) {
    host_queue(s, link, number);
    host_outputs(s);
}

bool server_leads(const struct server *s) {
    return s->state == PROC_UP && s->node.role.phase == ROLE_LEADING;
}

bool server_serves(const struct server *s) {
    const struct role *o = &s->node.role;
    if (s->state != PROC_UP) return false;
    if (o->phase == ROLE_LEADING) return o->leader.phase == LEADER_BROADCAST;
    return o->phase == ROLE_ALONE || (o->phase == ROLE_LEARNING && s->node.serving);
}

/* --- events --- */

static void host_tick(struct server *s, int64_t at) {
    if (at != s->tick_at) return;
    struct node_input in = host_input(s, NODE_TICK);
    if (in.now < s->tick_due) {
        s->tick_at = sim.now + 1 * MS;
        event_at(s->tick_at, EV_TICK, s->id, s->gen, s->tick_at);
        return;
    }
    s->tick_at = 0;
    host_step(s, &in);
    host_settle(s);
}

void server_event(const struct event *e) {
    struct server *s = &sim.servers[e->who];
    if (e->kind == EV_BOOT) {
        if (e->gen == s->gen) server_boot(s);
        return;
    }
    if (e->gen != s->gen || s->state != PROC_UP) return;
    if (s->paused_until > sim.now) {
        /* In steps, for it may be woken early; at its end inputs come first. */
        int64_t at = sim.now + 500 * MS;
        if (at > s->paused_until) at = s->paused_until + (e->kind == EV_TICK ? 5 * MS : 0);
        if (e->kind == EV_TICK && e->arg == s->tick_at) s->tick_at = at;
        event_at(at, e->kind, e->who, e->gen, e->kind == EV_TICK ? at : e->arg);
        return;
    }
    if (e->kind == EV_TICK) {
        host_tick(s, e->arg);
    } else if (e->kind == EV_LOG) {
        host_log_event(s);
    } else if (e->kind == EV_BACK) {
        host_back_event(s);
    } else {
        s->turn_queued = false;
        host_settle(s);
    }
}
