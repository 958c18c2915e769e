/*
 * host/files: the data directory: recovery, the log file being written, snapshots, epochs, cutting
 * off the end of history, purging.
 *
 * No threads here: the functions are called by whoever may block. Steps that must survive a power
 * cut say in which order they make things durable:
 *   new log file   create, header, size; sync the directory; only then is it written to
 *   snapshot       write under a neutral name, sync, rename, sync the directory
 *   epoch          write under NAME.tmp, sync, rename, sync the directory
 *   truncation     whole files one by one, newest first, each durable before the next; then the cut
 *                  inside a file. See files_truncate
 * stock: FileTxnSnapLog, FileTxnLog, FileSnap, PurgeTxnLog, QuorumPeer.writeLongToFile.
 */
#ifndef ZK_HOST_FILES_H
#define ZK_HOST_FILES_H

#include "ensemble/config.h"
#include "host/writer.h"
#include "state/txn.h"

#define FILES_ERROR 256

struct files {
    const struct config *cfg; /* borrowed */
    char *snap_dir, *log_dir; /* owned; the version-2 directories */
    int lock_fd, log_lock_fd; /* of dataDir and of another dataLogDir; -1 none */
    struct writer log;        /* closed: no file yet */
    int64_t log_size;         /* of the file being written, with the preallocation */
    struct writer snap;       /* the snapshot being written */
    int64_t snap_synced;      /* how much of it is durable */
    char error[FILES_ERROR];  /* of the last call that failed ... */
    char snap_error[FILES_ERROR]; /* ... of files_snap_*, which another thread may call */
};

/* What a recovery found. */
struct files_report {
    bool fresh;            /* there was nothing: a new database */
    int64_t snapshot_zxid; /* -1: none was loaded */
    int64_t replayed, digest_mismatches;
    int64_t orphans; /* ephemerals of sessions that do not exist */
    bool had_logs;
    int64_t snapshot_ms, logs_ms; /* time taken */
};

/* Directories and the lock; -1 with error set. stock exits with 3 for these. */
ZK_PRIVATE int files_open(struct files *f, const struct config *cfg);
ZK_PRIVATE void files_close(struct files *f);
/*
 * db must be initialised and empty; may be re-initialised. Closes the log first, so that it can be
 * called again at any time. -1 with error set.
 */
ZK_PRIVATE int files_recover(struct files *f, struct db *db, struct files_report *report,
                             struct logq *log);

ZK_PRIVATE int files_log_roll(struct files *f, int64_t zxid);
ZK_PRIVATE int files_log_append(struct files *f, struct slice entries); /* a roll came before */
ZK_PRIVATE int files_log_sync(struct files *f); /* what was appended is durable */

/* acceptedEpoch and currentEpoch: -1 where the file does not exist. A rename that a power cut has
 * undone is done again. -1 with error set, for instance when a file holds no number. */
ZK_PRIVATE int files_load_epochs(struct files *f, int64_t *accepted, int64_t *current);
ZK_PRIVATE int files_save_epoch(struct files *f, const char *name, int64_t epoch);

/*
 * Cuts off everything beyond zxid, in logs and snapshots, and closes the log: the next append must
 * roll. 0: done. 1: not possible without forgetting something up to zxid, as only a snapshot beyond
 * it holds that; nothing was changed. -1 with error set.
 *
 * A power cut on the way leaves what was there before with some of its newest transactions gone,
 * never without one up to zxid and never with a hole. That is why files go one by one, and why a
 * snapshot beyond zxid goes first where the log holds all that it stands for, and last where not.
 */
ZK_PRIVATE int files_truncate(struct files *f, int64_t zxid, struct logq *log);

ZK_PRIVATE int files_snap_begin(struct files *f);
ZK_PRIVATE int files_snap_write(struct files *f, struct slice bytes);
ZK_PRIVATE int files_snap_end(struct files *f, int64_t zxid);
ZK_PRIVATE void files_snap_abort(struct files *f);

/* Keeps the newest `retain` valid snapshots and the logs they need. */
ZK_PRIVATE int files_purge(struct files *f, int32_t retain, struct logq *log);

#endif
