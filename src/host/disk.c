#include "host/disk.h"

#include <stdio.h>

#include "host/logread.h"
#include "host/reserve.h"

static void disk_wake(struct disk *d) {
    if (d->woken) return;
    d->woken = true;
    os_notify(d->wake_fd);
}

static void disk_fail(struct disk *d) {
    if (d->failed) return;
    d->failed = true;
    (void)snprintf(d->error, sizeof d->error, "%s", d->files->error);
    disk_wake(d);
}

static void disk_load_free(struct disk_load *l) {
    if (!l) return;
    db_free(&l->db);
    mem_free(l);
}

ZK_PRIVATE void disk_done_free(struct disk_done *done) {
    disk_load_free(done->load);
    buf_free(&done->bytes);
}

/* --- the log thread --- */

/* Under the lock. */
static void disk_report(struct disk *d, enum node_input_kind kind, int64_t zxid,
                        struct disk_load *load) {
    struct disk_done done = {.kind = kind, .zxid = zxid, .load = load}, last;
    if (kind == NODE_LOG_SYNCED && d->done.n) { /* the later one says it all */
        memcpy(&last, d->done.p + d->done.n - sizeof last, sizeof last);
        if (last.kind == kind) d->done.n -= sizeof last;
    }
    buf_put(&d->done, &done, sizeof done);
    disk_wake(d);
}

static void disk_synced(struct disk *d, int64_t zxid, uint32_t n, int64_t us) {
    int64_t ms = us / 1000;
    (void)pthread_mutex_lock(&d->lock);
    d->quick_run = us <= DISK_QUICK_US ? d->quick_run + 1 : 0;
    d->lone_run = n == 1 ? d->lone_run + 1 : 0;
    metrics_add(&d->sync_ms, ms);
    metrics_add(&d->batch_size, n);
    if (ms > d->files->cfg->fsync_warning_ms) {
        d->slow_syncs++;
        log_line(&d->log, LOG_WARN_LEVEL,
                 "fsync-ing the write ahead log took %lldms which will adversely effect operation "
                 "latency. File size is %lld bytes. See the ZooKeeper troubleshooting guide",
                 (long long)ms, (long long)d->files->log_size);
    }
    disk_report(d, NODE_LOG_SYNCED, zxid, NULL);
    (void)pthread_mutex_unlock(&d->lock);
}

/* The appends at the front of p, with one sync; their number, or -1. */
static int64_t disk_append(struct disk *d, const struct disk_piece *p, uint32_t n) {
    int64_t start = os_now_us();
    uint32_t i = 0;
    for (; i < n && p[i].kind == NODE_APPEND; i++) {
        if (p[i].roll && files_log_roll(d->files, p[i].zxid)) return -1;
        if (files_log_append(d->files, p[i].bytes)) return -1;
    }
    if (files_log_sync(d->files)) return -1;
    disk_synced(d, p[i - 1].zxid, i, os_now_us() - start);
    return i;
}

static void disk_pass_lines(struct disk *d, struct logq *lines) {
    int level;
    const char *text;
    while (log_take(lines, &level, &text)) log_line(&d->log, level, "%s", text);
    disk_wake(d);
    buf_free(&lines->lines);
}

ZK_PRIVATE int disk_recover(struct files *files, struct db *db, struct files_report *report,
                            struct logq *log) {
    struct reserve reserve;
    reserve_begin(&reserve, &db->tree.slab);
    int err = files_recover(files, db, report, log);
    reserve_end(&reserve, &db->tree.slab);
    return err;
}

static int disk_truncate_and_load(struct disk *d, struct disk_piece *p) {
    struct logq lines = {.max_level = LOG_INFO_LEVEL};
    (void)pthread_mutex_lock(&d->lock);
    while (buf_len(&d->jobs) || d->back_busy) (void)pthread_cond_wait(&d->back_done, &d->lock);
    d->loading = true;
    (void)pthread_mutex_unlock(&d->lock);
    int err = p->zxid >= 0 && files_truncate(d->files, p->zxid, &lines) < 0 ? -1 : 0;
    if (!err && p->load)
        err = disk_recover(d->files, &p->load->db, &p->load->report, &lines);
    (void)pthread_mutex_lock(&d->lock);
    d->loading = false;
    disk_pass_lines(d, &lines);
    if (!err && p->load) disk_report(d, NODE_LOADED, p->zxid, p->load);
    if (!err) p->load = NULL;
    (void)pthread_cond_signal(&d->back_work);
    (void)pthread_mutex_unlock(&d->lock);
    return err;
}

static int disk_save_epoch(struct disk *d, const struct disk_piece *p) {
    if (files_save_epoch(d->files, p->accepted ? "acceptedEpoch" : "currentEpoch", p->zxid))
        return -1;
    (void)pthread_mutex_lock(&d->lock);
    disk_report(d, NODE_EPOCH_SAVED, p->zxid, NULL);
    (void)pthread_mutex_unlock(&d->lock);
    return 0;
}

static int disk_do_batch(struct disk *d, struct disk_piece *p, uint32_t n) {
    for (uint32_t i = 0; i < n;) {
        int64_t done = p[i].kind == NODE_APPEND       ? disk_append(d, p + i, n - i)
                       : p[i].kind == NODE_SAVE_EPOCH ? disk_save_epoch(d, &p[i])
                                                      : disk_truncate_and_load(d, &p[i]);
        if (done < 0) return -1;
        i += done > 0 ? (uint32_t)done : 1;
    }
    return 0;
}

static void disk_free_pieces(struct buf *pieces) {
    for (size_t at = 0; at < pieces->n; at += sizeof(struct disk_piece)) {
        struct disk_piece p;
        memcpy(&p, pieces->p + at, sizeof p);
        disk_load_free(p.load);
    }
    buf_clear(pieces);
}

/* Under the lock, which it gives up meanwhile. */
static void disk_do_pieces(struct disk *d, struct buf *pieces) {
    struct buf batch = *pieces;
    *pieces = d->batch;
    d->batch = batch;
    d->log_busy = true;
    (void)pthread_mutex_unlock(&d->lock);
    struct disk_piece *p = (struct disk_piece *)(void *)d->batch.p;
    int err = disk_do_batch(d, p, (uint32_t)(d->batch.n / sizeof *p));
    disk_free_pieces(&d->batch);
    (void)pthread_mutex_lock(&d->lock);
    d->log_busy = false;
    if (err) disk_fail(d);
}

/* Under the lock. While the loop writes batches itself, somebody looks whether one has become slow;
 * not for ever, when it has stopped doing so. */
static void disk_log_wait(struct disk *d) {
    int64_t seen = d->own_batches, since = d->away_since ? d->away_since : os_now_us();
    d->log_idle = true;
    if (!os_cond_wait(&d->log_work, &d->lock, d->watched ? since + DISK_AWAY_US : INT64_MAX))
        d->watched = d->away_since || d->own_batches != seen;
    d->log_idle = false;
}

/* Under the lock. The loop's thread is away for too long: the caller is the loop from now on. */
static bool disk_take_loop(struct disk *d) {
    if (!d->away_since || os_now_us() - d->away_since < DISK_AWAY_US) return false;
    d->away_since = 0;
    d->woken = false;
    disk_wake(d); /* what is done already has to be collected */
    return true;
}

ZK_PRIVATE bool disk_serve(struct disk *d, bool starter) {
    bool take = false;
    (void)pthread_mutex_lock(&d->lock);
    while (!(starter && d->ended) && !(take = disk_take_loop(d))) {
        bool work = d->pieces.n && !d->failed;
        if (work && !d->log_busy)
            disk_do_pieces(d, &d->pieces);
        else if (d->stopping && !work)
            break;
        else
            disk_log_wait(d);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return take;
}

static void *disk_log_main(void *arg) {
    struct disk *d = arg;
    while (disk_serve(d, false)) d->loop_job(d->ctx);
    return NULL;
}

/* --- the background thread --- */

static void disk_snap_failed(struct disk *d, uint32_t aborts) {
    files_snap_abort(d->files);
    (void)pthread_mutex_lock(&d->lock);
    log_line(&d->log, LOG_ERROR_LEVEL, "Snapshot failed: %s", d->files->snap_error);
    if (aborts == d->aborts) d->snap_failed = true;
    d->snap_open = false;
    disk_wake(d);
    (void)pthread_mutex_unlock(&d->lock);
}

static void disk_read_log(struct disk *d, const struct disk_job *j) {
    struct disk_done done = {.kind = NODE_LOG_READ, .zxid = j->zxid};
    logread_after(d->files, j->zxid, j->upto, j->first, &done.bytes);
    (void)pthread_mutex_lock(&d->lock);
    buf_put(&d->done, &done, sizeof done);
    disk_wake(d);
    (void)pthread_mutex_unlock(&d->lock);
}

static void disk_snapshot(struct disk *d, struct disk_job *j) {
    int err = 0;
    bool end = j->kind == NODE_SNAPSHOT_END;
    if (j->kind == NODE_SNAPSHOT_BEGIN) {
        err = files_snap_begin(d->files);
        d->snap_open = !err;
    } else if (j->kind == NODE_SNAPSHOT_ABORT) {
        files_snap_abort(d->files);
        d->snap_open = false;
    } else if (d->snap_open) {
        err = end ? files_snap_end(d->files, j->zxid)
                  : files_snap_write(d->files, buf_slice(&j->bytes));
    }
    if (err) disk_snap_failed(d, j->aborts);
    (void)pthread_mutex_lock(&d->lock);
    d->snap_queued -= buf_len(&j->bytes);
    if (d->snap_open && end) {
        d->snap_open = false;
        if (j->aborts == d->aborts) d->snap_done = true;
        disk_wake(d);
    }
    if (d->snap_queued < DISK_SNAP_QUEUE_MAX && !d->snap_room) {
        d->snap_room = true;
        disk_wake(d);
    }
    (void)pthread_mutex_unlock(&d->lock);
    buf_free(&j->bytes);
}

static void disk_purge(struct disk *d) {
    struct logq lines = {.max_level = LOG_INFO_LEVEL};
    (void)files_purge(d->files, d->files->cfg->autopurge_retain, &lines);
    (void)pthread_mutex_lock(&d->lock);
    disk_pass_lines(d, &lines);
    (void)pthread_mutex_unlock(&d->lock);
}

static void disk_back_wait(struct disk *d) {
    struct timespec until = {(time_t)(os_wall_ms() / 1000) + 60, 0}; /* for the purge timer */
    d->back_idle = true;
    (void)pthread_cond_timedwait(&d->back_work, &d->lock, &until);
    d->back_idle = false;
}

static void *disk_back_main(void *arg) {
    struct disk *d = arg;
    int64_t every = (int64_t)d->files->cfg->autopurge_interval_h * 3600000;
    (void)pthread_mutex_lock(&d->lock);
    for (;;) {
        bool job = buf_len(&d->jobs) && !d->loading;
        bool purge = every > 0 && os_now_ms() >= d->purge_next && !d->loading && !d->stopping;
        struct disk_job j;
        if (!job && !purge) {
            if (d->stopping && !d->loading) break;
            disk_back_wait(d);
            continue;
        }
        if (job) {
            memcpy(&j, d->jobs.p + d->jobs.head, sizeof j);
            buf_consume(&d->jobs, sizeof j);
        } else {
            d->purge_next = os_now_ms() + every;
        }
        d->back_busy = true;
        (void)pthread_mutex_unlock(&d->lock);
        if (!job)
            disk_purge(d);
        else if (j.kind == NODE_READ_LOG)
            disk_read_log(d, &j);
        else
            disk_snapshot(d, &j);
        (void)pthread_mutex_lock(&d->lock);
        d->back_busy = false;
        (void)pthread_cond_signal(&d->back_done);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* --- the loop's side --- */

ZK_PRIVATE int disk_start(struct disk *d, struct files *files, int wake_fd,
                          void (*loop_job)(void *ctx), void *ctx) {
    memset(d, 0, sizeof *d);
    d->loop_job = loop_job;
    d->ctx = ctx;
    d->files = files;
    d->wake_fd = wake_fd;
    d->snap_room = true;
    d->log.max_level = LOG_INFO_LEVEL;
    d->purge_next = os_now_ms();
    (void)pthread_mutex_init(&d->lock, NULL);
    os_cond_init(&d->log_work);
    (void)pthread_cond_init(&d->back_work, NULL);
    (void)pthread_cond_init(&d->back_done, NULL);
    int err = pthread_create(&d->log_thread, NULL, disk_log_main, d);
    if (err) return -err;
    d->log_running = true;
    err = pthread_create(&d->back_thread, NULL, disk_back_main, d);
    if (err) return -err;
    d->back_running = true;
    return 0;
}

ZK_PRIVATE void disk_join(struct disk *d) {
    (void)pthread_mutex_lock(&d->lock);
    d->stopping = true;
    (void)pthread_cond_broadcast(&d->log_work);
    (void)pthread_cond_broadcast(&d->back_work);
    (void)pthread_mutex_unlock(&d->lock);
    if (d->log_running) (void)pthread_join(d->log_thread, NULL);
    if (d->back_running) (void)pthread_join(d->back_thread, NULL);
    d->log_running = d->back_running = false;
}

ZK_PRIVATE void disk_free(struct disk *d) {
    for (size_t at = d->jobs.head; at < d->jobs.n; at += sizeof(struct disk_job)) {
        struct disk_job j;
        memcpy(&j, d->jobs.p + at, sizeof j);
        buf_free(&j.bytes);
    }
    disk_free_pieces(&d->pieces);
    disk_free_pieces(&d->batch);
    buf_free(&d->pieces);
    buf_free(&d->batch);
    for (size_t at = 0; at < d->done.n; at += sizeof(struct disk_done)) {
        struct disk_done done;
        memcpy(&done, d->done.p + at, sizeof done);
        disk_done_free(&done);
    }
    buf_free(&d->done);
    buf_free(&d->jobs);
    buf_free(&d->log.lines);
    (void)pthread_mutex_destroy(&d->lock);
    (void)pthread_cond_destroy(&d->log_work);
    (void)pthread_cond_destroy(&d->back_work);
    (void)pthread_cond_destroy(&d->back_done);
}

ZK_PRIVATE void disk_submit(struct disk *d, struct buf *pieces) {
    (void)pthread_mutex_lock(&d->lock);
    buf_put(&d->pieces, pieces->p, pieces->n);
    if (d->log_idle) (void)pthread_cond_signal(&d->log_work);
    (void)pthread_mutex_unlock(&d->lock);
    buf_clear(pieces);
}

ZK_PRIVATE bool disk_quick(struct disk *d, const struct buf *pieces) {
    const struct disk_piece *p = (const void *)pieces->p;
    size_t bytes = 0;
    for (size_t i = 0; i < pieces->n / sizeof *p; i++) {
        if (p[i].kind != NODE_APPEND || p[i].roll) return false;
        bytes += p[i].bytes.n;
    }
    if (bytes > DISK_QUICK_BYTES) return false;
    (void)pthread_mutex_lock(&d->lock);
    bool quick = d->quick_run >= DISK_QUICK_RUN && d->log_idle && !d->pieces.n && !d->back_busy &&
                 !d->failed;
    (void)pthread_mutex_unlock(&d->lock);
    return quick;
}

ZK_PRIVATE bool disk_write(struct disk *d, struct buf *pieces) {
    (void)pthread_mutex_lock(&d->lock);
    d->woken = true; /* the loop is awake */
    d->away_since = os_now_us();
    d->own_batches++;
    if (!d->watched) (void)pthread_cond_signal(&d->log_work);
    d->watched = true;
    disk_do_pieces(d, pieces);
    bool kept = d->away_since != 0;
    d->away_since = 0;
    (void)pthread_mutex_unlock(&d->lock);
    return kept;
}

ZK_PRIVATE void disk_loop_ended(struct disk *d) {
    (void)pthread_mutex_lock(&d->lock);
    d->ended = true;
    (void)pthread_cond_broadcast(&d->log_work);
    (void)pthread_mutex_unlock(&d->lock);
}

ZK_PRIVATE void disk_background(struct disk *d, struct node_output *o) {
    struct disk_job j = {.kind = o->kind, .zxid = o->zxid, .upto = o->upto, .first = o->first,
                         .bytes = o->owned};
    memset(&o->owned, 0, sizeof o->owned);
    (void)pthread_mutex_lock(&d->lock);
    if (j.kind == NODE_SNAPSHOT_ABORT) {
        d->aborts++;
        d->snap_done = d->snap_failed = false;
    }
    j.aborts = d->aborts;
    d->snap_queued += buf_len(&j.bytes);
    if (d->snap_queued < DISK_SNAP_QUEUE_MAX) {
        d->snap_room = true; /* said at once: nothing has to be waited for */
        disk_wake(d);
    } else {
        d->snap_room = false;
    }
    buf_compact(&d->jobs);
    buf_put(&d->jobs, &j, sizeof j);
    if (d->back_idle) (void)pthread_cond_signal(&d->back_work);
    (void)pthread_mutex_unlock(&d->lock);
}

ZK_PRIVATE void disk_collect(struct disk *d, struct disk_news *news, struct logq *log) {
    int level;
    const char *text;
    (void)pthread_mutex_lock(&d->lock);
    struct buf done = news->done;
    news->done = d->done;
    d->done = done;
    news->lone = d->lone_run >= DISK_LONE_RUN && d->quick_run >= DISK_QUICK_RUN;
    news->failed = d->failed;
    news->snap_done = d->snap_done;
    news->snap_failed = d->snap_failed;
    news->snap_room = d->snap_room;
    news->slow_syncs = d->slow_syncs;
    news->sync_ms = d->sync_ms;
    news->batch = d->batch_size;
    memset(&d->sync_ms, 0, sizeof d->sync_ms);
    memset(&d->batch_size, 0, sizeof d->batch_size);
    d->snap_done = d->snap_failed = d->woken = false;
    while (log_take(&d->log, &level, &text)) log_line(log, level, "%s", text);
    (void)pthread_mutex_unlock(&d->lock);
}
