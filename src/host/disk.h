/*
 * host/disk: the threads that wait for the disk, so that the loop does not.
 *
 * The log thread appends and syncs: while one sync runs, the next batch collects (group commit).
 * The background thread writes snapshots and purges.
 *
 * Owned by the loop thread: struct disk. Under the lock: everything in it. Results come back
 * through disk_collect() after a byte on the wake pipe. A write or sync that failed is final: the
 * disk takes nothing more, nothing after it is reported as synced.
 */
#ifndef ZK_HOST_DISK_H
#define ZK_HOST_DISK_H

#include <pthread.h>

#include "host/files.h"

#define DISK_SNAP_QUEUE_MAX (4u << 20) /* bytes of snapshot waiting to be written */

/* A piece of log; bytes stay valid until the zxid has been collected as synced. */
struct disk_piece {
    struct slice bytes;
    int64_t zxid;
    bool roll;
};

struct disk_job {
    enum node_output_kind kind; /* NODE_SNAPSHOT_* */
    int64_t zxid;
    struct buf bytes; /* owned */
};

struct disk {
    struct files *files; /* borrowed; the log thread has its log half, background the rest */
    pthread_mutex_t lock;
    pthread_cond_t log_work, back_work;
    pthread_t log_thread, back_thread;
    bool log_running, back_running, stopping, log_idle, back_idle;
    int wake_fd;   /* write end of the loop's pipe */
    bool woken;    /* a byte is in the pipe */

    struct buf pieces; /* struct disk_piece: the batch that collects */
    struct buf batch;  /* ... the one being written; the log thread's own */
    int64_t synced;    /* zxid */
    int64_t slow_syncs;
    struct metrics_sum sync_ms, batch_size; /* not collected yet; records per sync */
    bool failed;
    char error[FILES_ERROR];

    struct buf jobs; /* struct disk_job */
    size_t snap_queued;
    bool snap_open, snap_done, snap_failed, snap_room;
    struct logq log; /* lines of the threads */

    int64_t purge_next; /* monotonic ms */
};

/* What has happened since the last call. */
struct disk_news {
    int64_t synced;
    bool failed, snap_done, snap_failed, snap_room;
    int64_t slow_syncs;
    struct metrics_sum sync_ms, batch;
};

ZK_PRIVATE int disk_start(struct disk *d, struct files *files, int wake_fd, int64_t synced);
/* Ends the threads; what was submitted to the log is written and synced first. */
ZK_PRIVATE void disk_join(struct disk *d);
ZK_PRIVATE void disk_free(struct disk *d); /* after disk_join */
/* Hands over a batch: pieces is emptied. */
ZK_PRIVATE void disk_submit(struct disk *d, struct buf *pieces);
ZK_PRIVATE void disk_snapshot(struct disk *d, struct node_output *o); /* takes o->owned */
ZK_PRIVATE void disk_collect(struct disk *d, struct disk_news *news, struct logq *log);

#endif
