/*
 * host/files: the data directory: recovery, the log file being written, snapshots, purging.
 *
 * No threads here: the functions are called by whoever may block. Steps that must survive a power
 * cut say in which order they make things durable:
 *   new log file   create, header, size; sync the directory; only then is it written to
 *   snapshot       write under a neutral name, sync, rename, sync the directory
 * stock: FileTxnSnapLog, FileTxnLog, FileSnap, PurgeTxnLog.
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
    int64_t log_size;         /* of the file, with the preallocation; -1: none was ever opened */
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
/* db must be initialised and empty; may be re-initialised. -1 with error set. */
ZK_PRIVATE int files_recover(struct files *f, struct db *db, struct files_report *report,
                             struct logq *log);

ZK_PRIVATE int files_log_roll(struct files *f, int64_t zxid);
ZK_PRIVATE int files_log_append(struct files *f, struct slice entries);
ZK_PRIVATE int files_log_sync(struct files *f); /* what was appended is durable */

ZK_PRIVATE int files_snap_begin(struct files *f);
ZK_PRIVATE int files_snap_write(struct files *f, struct slice bytes);
ZK_PRIVATE int files_snap_end(struct files *f, int64_t zxid);
ZK_PRIVATE void files_snap_abort(struct files *f);

/* Keeps the newest `retain` valid snapshots and the logs they need. */
ZK_PRIVATE int files_purge(struct files *f, int32_t retain, struct logq *log);

#endif
