/*
 * host/disk: the threads that wait for the disk, so that the loop does not have to.
 *
 * The log thread appends and syncs: while one sync runs, the next batch collects (group commit).
 * In the same order it saves epochs, truncates and loads. The background thread writes snapshots,
 * reads old log for learners and purges; it stands still while files are truncated or loaded, and
 * what it was given before is done by then.
 *
 * To hand a batch over and to be woken by its end takes longer than the sync of a good disk. While
 * batches are that quick, the loop may do a small one itself. A slow one takes that right away for
 * some time, and must not make the server deaf meanwhile. So the loop and the log are two jobs,
 * which two threads share: if a batch of the loop's has not ended after DISK_AWAY_US, the thread
 * that waits for the log's work goes on as the loop, and the one that comes back has the log's job.
 *
 *             disk_write() takes too long           disk_write() returns false
 *   waits for the log's work -> the loop      the loop -> waits for the log's work
 *
 * Owned by the loop: struct disk. Under the lock: everything in it but `batch`, which belongs to
 * whoever has set log_busy. Results come back through disk_collect() after a byte on the wake pipe.
 * A write or sync that failed is final: the disk takes nothing more, nothing after it is reported
 * as synced.
 */
#ifndef ZK_HOST_DISK_H
#define ZK_HOST_DISK_H

#include <pthread.h>

#include "host/files.h"
#include "node/state.h"

#define DISK_SNAP_QUEUE_MAX (4u << 20) /* bytes of snapshot waiting to be written */
#define DISK_QUICK_US 500 /* a batch is written and synced within that ... */
#define DISK_QUICK_RUN 64 /* ... so many times running: the disk is quick */
#define DISK_LONE_RUN 64 /* so many batches running are of one transaction: a client is alone */
#define DISK_QUICK_BYTES 65536u /* more than that is no small batch */
#define DISK_AWAY_US 10000 /* so long may the loop write a batch itself */

/* What the disk holds, made by the log thread. */
struct disk_load {
    struct db db; /* handed in initialised and empty */
    struct files_report report;
};

/* Something for the log thread. */
struct disk_piece {
    enum node_output_kind kind; /* NODE_APPEND, NODE_SAVE_EPOCH or NODE_LOAD */
    bool roll, accepted;
    int64_t zxid;           /* NODE_SAVE_EPOCH: the epoch */
    struct slice bytes;     /* NODE_APPEND; valid until the zxid has been collected as synced */
    struct disk_load *load; /* owned; NODE_LOAD: to be filled, NULL when only truncating */
};

/* Something that has been done, as an input for the node. */
struct disk_done {
    enum node_input_kind kind; /* NODE_LOG_SYNCED, _LOG_READ, _EPOCH_SAVED or NODE_LOADED */
    int64_t zxid;
    struct disk_load *load; /* owned */
    struct buf bytes;       /* owned; NODE_LOG_READ */
};

/* Something for the background thread. */
struct disk_job {
    enum node_output_kind kind; /* NODE_SNAPSHOT_*, NODE_READ_LOG */
    int64_t zxid, upto;
    bool first;
    struct buf bytes; /* owned */
    uint32_t aborts;  /* before it */
};

struct disk {
    struct files *files; /* borrowed; the log thread has its log half, background the rest */
    pthread_mutex_t lock;
    pthread_cond_t log_work, back_work, back_done;
    pthread_t log_thread, back_thread;
    bool log_running, back_running, stopping, log_idle, back_idle;
    bool log_busy; /* a batch is being written */
    bool ended;    /* the loop has: its job is nobody's any more */
    bool back_busy; /* the background thread is at work */
    bool loading;   /* it has to wait: files are truncated or loaded */
    int wake_fd;   /* write end of the loop's pipe */
    bool woken;    /* a byte is in the pipe, or the loop is about to collect anyway */

    struct buf pieces; /* struct disk_piece: the batch that collects */
    struct buf batch;  /* ... the one that is being written */
    struct buf done;   /* struct disk_done, in order; not collected yet */
    int64_t quick_run; /* number of latest batches in a row that took DISK_QUICK_US at most */
    int64_t lone_run;  /* ... that held one transaction */
    int64_t away_since;  /* monotonic us: the loop is writing a batch itself; 0: it is not */
    int64_t own_batches; /* that it has begun */
    bool watched; /* the thread that waits looks from time to time whether one has become slow */
    void (*loop_job)(void *ctx); /* for the log thread; returns as disk_write() or the loop end */
    void *ctx;
    int64_t slow_syncs;
    struct metrics_sum sync_ms, batch_size; /* not collected yet; records per sync */
    bool failed;
    char error[FILES_ERROR];

    struct buf jobs; /* struct disk_job */
    size_t snap_queued;
    uint32_t aborts; /* counted: what came before the last one is of no interest any more */
    bool snap_open, snap_done, snap_failed, snap_room;
    struct logq log; /* lines of the threads */

    int64_t purge_next; /* monotonic ms */
};

/* What has happened since the last call. */
struct disk_news {
    struct buf done; /* struct disk_done, in order; owned by the caller, handed in empty */
    bool lone; /* of late, each write has been waited for before the next was made, and not long */
    bool failed, snap_done, snap_failed, snap_room;
    int64_t slow_syncs;
    struct metrics_sum sync_ms, batch;
};

/* files_recover(), with the memory for a large database made ready meanwhile. */
ZK_PRIVATE int disk_recover(struct files *files, struct db *db, struct files_report *report,
                            struct logq *log);
/* loop_job does the job of the loop on another thread than it was on, with its ctx. */
ZK_PRIVATE int disk_start(struct disk *d, struct files *files, int wake_fd,
                          void (*loop_job)(void *ctx), void *ctx);
/*
 * Does the job of the log. True: the caller has to do the loop's now. False: all is over; for the
 * thread that began with the loop's (starter) when the loop has ended, for the log thread when
 * disk_join() has been called.
 */
ZK_PRIVATE bool disk_serve(struct disk *d, bool starter);
ZK_PRIVATE void disk_loop_ended(struct disk *d);
/* Ends the threads; what was submitted to the log thread is done first. */
ZK_PRIVATE void disk_join(struct disk *d);
ZK_PRIVATE void disk_free(struct disk *d); /* after disk_join */
/* Hands over a batch: pieces is emptied. */
ZK_PRIVATE void disk_submit(struct disk *d, struct buf *pieces);
/* The loop may call disk_write() with these pieces. */
ZK_PRIVATE bool disk_quick(struct disk *d, const struct buf *pieces);
/* Does the batch on the caller's thread: pieces is emptied, and there is news to collect. False: it
 * took too long. The loop is another thread's now, with all that belongs to it. */
ZK_PRIVATE bool disk_write(struct disk *d, struct buf *pieces);
/* What the background thread does; takes o->owned. */
ZK_PRIVATE void disk_background(struct disk *d, struct node_output *o);
ZK_PRIVATE void disk_done_free(struct disk_done *done);
ZK_PRIVATE void disk_collect(struct disk *d, struct disk_news *news, struct logq *log);

#endif
