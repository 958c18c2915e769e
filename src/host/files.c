#include "host/files.h"

#include <errno.h>
#include <stdio.h>

#include "base/sum.h"
#include "ensemble/quorum.h"
#include "store/logfile.h"
#include "store/snapfile.h"
#include "store/unpack.h"

#define FILES_READ (1u << 20)       /* bytes of a snapshot read at a time */
#define FILES_SNAP_SYNC (16u << 20) /* a snapshot is synced piecewise: the log shares the disk */
#define FILES_SNAP_TMP "new-snapshot"
#define FILES_SAVE_NODES 4096u
#define FILES_AHEAD 8u /* log entries read before the oldest of them is applied */
#define FILES_SNAP_TRY 100 /* snapshots tried before giving up */

static int files_say(char error[FILES_ERROR], const char *what, const char *path, int err) {
    char text[128];
    (void)snprintf(error, FILES_ERROR, "%s %s: %s", what, path, os_error(err, text, sizeof text));
    return -1;
}

static int files_fail(struct files *f, const char *what, const char *path, int err) {
    return files_say(f->error, what, path, err);
}

static int files_snap_fail(struct files *f, const char *what, const char *path, int err) {
    return files_say(f->snap_error, what, path, err);
}

/* dir/name, or dir/name.<hex>; owned by the caller. */
static char *files_path(const char *dir, const char *name, int64_t zxid) {
    struct buf b = {0};
    buf_printf(&b, "%s/%s", dir, name);
    if (zxid >= 0) buf_printf(&b, ".%llx", (unsigned long long)zxid);
    buf_putc(&b, '\0');
    return (char *)b.p;
}

/* Of an entry, a string or a buffer in a file. */
static uint32_t files_longest(const struct files *f) {
    uint64_t most = (uint64_t)(uint32_t)f->cfg->jute_max_buffer +
                    (uint32_t)f->cfg->jute_extra_size;
    return most > INT32_MAX ? INT32_MAX : (uint32_t)most;
}

static int files_log_close(struct files *f) {
    int err = f->log.fd >= 0 ? files_log_sync(f) : 0;
    writer_close(&f->log);
    return err;
}

static int files_sync_file(const char *path) {
    int fd = os_open_read(path), err = fd < 0 ? fd : os_fdatasync(fd);
    if (fd >= 0) (void)os_close(fd);
    return err;
}

/* --- opening --- */

static int files_check_dir(struct files *f, const char *parent, const char *dir,
                           const char *kind) {
    if (!os_is_dir(dir)) {
        if (!f->cfg->datadir_autocreate) {
            (void)snprintf(f->error, sizeof f->error,
                           "Missing %s directory %s, automatic data directory creation is disabled "
                           "(zookeeper.datadir.autocreate is false). Please create this directory "
                           "manually.", kind, dir);
            return -1;
        }
        if (os_mkdirs(dir) < 0) {
            (void)snprintf(f->error, sizeof f->error, "Unable to create %s directory %s", kind,
                           dir);
            return -1;
        }
        int err = os_fsync_dir(parent); /* what is made durable below must be found again */
        if (err) return files_fail(f, "cannot sync", parent, err);
    }
    if (os_writable(dir)) return 0;
    (void)snprintf(f->error, sizeof f->error, "Cannot write to %s directory %s", kind, dir);
    return -1;
}

static bool files_has_prefix(const char *dir, const char *prefix) {
    struct buf names = {0};
    bool found = false;
    (void)os_list(dir, &names);
    for (size_t at = 0; at < names.n && !found;) {
        const char *name = (const char *)names.p + at;
        found = strncmp(name, prefix, strlen(prefix)) == 0;
        at += strlen(name) + 1;
    }
    buf_free(&names);
    return found;
}

static int files_lock(struct files *f, const char *dir, int *fd) {
    char *lock = files_path(dir, "zkd.lock", -1);
    *fd = os_lock(lock);
    int err = *fd == -EAGAIN ? files_fail(f, "another server uses", dir, EBUSY)
              : *fd < 0      ? files_fail(f, "cannot lock", lock, *fd)
                             : 0;
    mem_free(lock);
    return err;
}

ZK_PRIVATE int files_open(struct files *f, const struct config *cfg) {
    memset(f, 0, sizeof *f);
    f->cfg = cfg;
    f->lock_fd = f->log_lock_fd = f->log.fd = f->snap.fd = -1;
    const char *data = cfg->data_dir, *logs = cfg->data_log_dir ? cfg->data_log_dir : data;
    f->snap_dir = files_path(data, "version-2", -1);
    f->log_dir = files_path(logs, "version-2", -1);
    if (files_check_dir(f, logs, f->log_dir, "data")) return -1;
    if (files_check_dir(f, data, f->snap_dir, "snap")) return -1;
    if (strcmp(f->log_dir, f->snap_dir) != 0) {
        const char *wrong = files_has_prefix(f->log_dir, "snapshot.")
                                ? "Log directory has snapshot files."
                                : files_has_prefix(f->snap_dir, "log.")
                                      ? "Snapshot directory has log files."
                                      : NULL;
        if (wrong) {
            (void)snprintf(f->error, sizeof f->error,
                           "%s Check if dataLogDir and dataDir configuration is correct.", wrong);
            return -1;
        }
    }
    int err = files_lock(f, data, &f->lock_fd);
    return err || strcmp(data, logs) == 0 ? err : files_lock(f, logs, &f->log_lock_fd);
}

ZK_PRIVATE void files_close(struct files *f) {
    files_snap_abort(f);
    writer_close(&f->log);
    if (f->lock_fd >= 0) (void)os_close(f->lock_fd);
    if (f->log_lock_fd >= 0) (void)os_close(f->log_lock_fd);
    mem_free(f->snap_dir);
    mem_free(f->log_dir);
    f->snap_dir = f->log_dir = NULL;
    f->lock_fd = f->log_lock_fd = -1;
}

/* --- what is in a directory --- */

struct files_entry {
    int64_t zxid;
    char *name; /* owned */
};
struct files_list {
    struct files_entry *at; /* owned; ascending */
    uint32_t n;
};

static int files_entry_cmp(const void *a, const void *b) {
    const struct files_entry *x = a, *y = b;
    if (x->zxid != y->zxid) return x->zxid < y->zxid ? -1 : 1;
    return strcmp(x->name, y->name);
}

/*
 * The files whose name starts with prefix and a dot, by the zxid in it (-1: none). A directory that
 * cannot be read is not an empty one: a database would be taken for a new one.
 */
static int files_list(const char *dir, const char *prefix, struct files_list *out) {
    struct buf names = {0}, list = {0};
    size_t len = strlen(prefix);
    int err = os_list(dir, &names);
    for (size_t at = 0; at < names.n;) {
        const char *name = (const char *)names.p + at;
        size_t n = strlen(name) + 1;
        at += n;
        if (strncmp(name, prefix, len) != 0 || name[len] != '.') continue;
        struct files_entry e = {logfile_name_zxid(name, prefix), mem_alloc(n)};
        memcpy(e.name, name, n);
        buf_put(&list, &e, sizeof e);
    }
    buf_free(&names);
    out->at = (struct files_entry *)(void *)list.p;
    out->n = (uint32_t)(list.n / sizeof(struct files_entry));
    if (out->n > 1) qsort(out->at, out->n, sizeof *out->at, files_entry_cmp);
    return err;
}

static void files_list_free(struct files_list *l) {
    for (uint32_t i = 0; i < l->n; i++) mem_free(l->at[i].name);
    mem_free(l->at);
}

static const char *files_ext(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (strcmp(dot, ".gz") == 0 || strcmp(dot, ".snappy") == 0) ? dot : "";
}

/* 1 or 0, or -errno when it cannot be read. stock: SnapStream.isValidSnapshot, as superficial */
static int files_snap_plausible(const char *dir, const struct files_entry *e) {
    if (e->zxid < 0) return 0;
    char *path = files_path(dir, e->name, -1);
    struct slice all;
    int err = os_map(path, &all);
    bool ok = false;
    if (!err) {
        static const uint8_t end[5] = {0, 0, 0, 1, '/'};
        if (strcmp(files_ext(e->name), ".gz") == 0)
            ok = all.n >= 2 && all.p[0] == 0x1f && all.p[1] == 0x8b;
        else if (*files_ext(e->name))
            ok = all.n >= 8 && memcmp(all.p, "\202SNAPPY\0", 8) == 0;
        else
            ok = all.n >= 10 && memcmp(all.p + all.n - 5, end, 5) == 0;
        os_unmap(all);
    }
    mem_free(path);
    return err ? err : ok;
}

/* --- recovery: snapshot --- */

static bool files_take(void *ctx, struct slice piece) {
    return snapfile_feed(ctx, piece);
}

static bool files_feed_packed(struct snapfile *s, const char *path, char *error, size_t n) {
    const struct unpack_sink sink = {files_take, s};
    struct slice all;
    int err = os_map(path, &all);
    if (err) {
        (void)os_error(err, error, n);
        return false;
    }
    enum unpack_status status = strcmp(files_ext(path), ".gz") == 0 ? unpack_gzip(all, &sink)
                                                                    : unpack_snappy(all, &sink);
    os_unmap(all);
    bool ok = status == UNPACK_OK && snapfile_finish(s);
    if (!ok) (void)snprintf(error, n, "%s", s->error[0] ? s->error : unpack_why(status));
    return ok;
}

static bool files_feed(struct snapfile *s, const char *path, char *error, size_t n) {
    int fd = os_open_read(path);
    if (fd < 0) {
        (void)os_error(fd, error, n);
        return false;
    }
    uint8_t *chunk = mem_alloc(FILES_READ);
    bool ok = true;
    for (int64_t k; ok;) {
        k = os_read(fd, chunk, FILES_READ);
        if (k < 0) {
            (void)os_error((int)k, error, n);
            ok = false;
        }
        if (k <= 0) break;
        ok = snapfile_feed(s, slice_of(chunk, (size_t)k));
        if (!ok) (void)snprintf(error, n, "%s", s->error);
    }
    mem_free(chunk);
    (void)os_close(fd);
    if (ok && !snapfile_finish(s)) {
        (void)snprintf(error, n, "%s", s->error);
        ok = false;
    }
    return ok;
}

static void files_reset_db(struct db *db) {
    struct db fresh;
    db_init(&fresh, hash_u64(db->tree.seed), db->sessions.tick, db->sessions.next_due);
    fresh.tree.extended_types = db->tree.extended_types;
    fresh.tree.emulate353 = db->tree.emulate353;
    fresh.tree.slab.source = db->tree.slab.source;
    db_free(db);
    *db = fresh;
}

static bool files_load_snapshot(struct files *f, const struct files_entry *e, struct db *db,
                                struct snapfile *s, struct logq *log) {
    char why[160] = "";
    char *path = files_path(f->snap_dir, e->name, -1);
    files_reset_db(db);
    snapfile_open(s, db, files_longest(f));
    bool ok = *files_ext(e->name) ? files_feed_packed(s, path, why, sizeof why)
                                  : files_feed(s, path, why, sizeof why);
    snapfile_close(s);
    if (ok)
        db->last_zxid = e->zxid;
    else
        log_line(log, LOG_WARN_LEVEL, "problem reading snap file %s: %s", path, why);
    mem_free(path);
    return ok;
}

/* 1: loaded, 0: there is none, -1: there are some and none can be read. */
static int files_restore_snapshot(struct files *f, struct db *db, struct snapfile *s,
                                  struct logq *log) {
    struct files_list l;
    int tried = 0, found = 0, err = files_list(f->snap_dir, "snapshot", &l);
    for (uint32_t i = l.n; i-- > 0 && err >= 0 && !found && tried < FILES_SNAP_TRY;) {
        err = files_snap_plausible(f->snap_dir, &l.at[i]);
        if (err <= 0) continue;
        tried++;
        found = files_load_snapshot(f, &l.at[i], db, s, log);
    }
    files_list_free(&l);
    if (err < 0) return files_fail(f, "cannot read the snapshots in", f->snap_dir, err);
    if (found || !tried) return found;
    (void)snprintf(f->error, sizeof f->error, "Not able to find valid snapshots in %s",
                   f->snap_dir);
    return -1;
}

/* --- recovery: log --- */

struct files_replay {
    struct files *f;
    struct db *db;
    struct logq *log;
    struct files_report *report;
    const struct snapfile *snap;
    struct txn_out out;
    int64_t highest; /* zxid of the last entry applied; 0 none */
    bool ragged;     /* a file has not ended where its last readable entry does */
};

static int files_refuse(struct files *f, const char *path, const char *why) {
    (void)snprintf(f->error, sizeof f->error, "%s: %s", path, why);
    return -1;
}

static void files_check_digest(struct files_replay *r, int64_t zxid) {
    const struct snapfile *s = r->snap;
    bool mismatch = false;
    if (!r->f->cfg->digest_enabled) return;
    if (s && s->has_digest && zxid <= s->digest_zxid) /* a fuzzy snapshot: only its end counts */
        mismatch = zxid == s->digest_zxid && s->digest != r->db->tree.digest;
    else
        mismatch = r->out.has_digest && r->out.digest != r->db->tree.digest;
    if (mismatch && r->report->digest_mismatches++ == 0)
        log_line(r->log, LOG_ERROR_LEVEL, "First digest mismatch on txn: 0x%llx",
                 (unsigned long long)zxid);
}

/*
 * Nothing lies between the two: the next of an epoch, or the first of a later one. Where a leader
 * brought this server up by a snapshot, which cannot be read any more, the log has a gap of which
 * only the name of that snapshot tells; where a file is ragged, it has lost the end of an epoch.
 */
static bool files_follows(const struct files *f, int64_t last, int64_t zxid, bool ragged) {
    if (zxid == last + 1) return true;
    if (zxid >> 32 <= last >> 32 || (uint32_t)zxid != 1 || ragged) return false;
    struct files_list snaps;
    bool gap = files_list(f->snap_dir, "snapshot", &snaps) < 0;
    for (uint32_t i = 0; i < snaps.n; i++)
        gap = gap || (snaps.at[i].zxid > last && snaps.at[i].zxid < zxid);
    files_list_free(&snaps);
    return !gap;
}

static int files_replay_entry(struct files_replay *r, const struct logfile *lf, const char *path) {
    int64_t zxid = lf->header.zxid, last = r->highest ? r->highest : r->db->last_zxid;
    if (zxid <= r->report->snapshot_zxid) return 0;
    if (zxid > last && !files_follows(r->f, last, zxid, r->ragged) &&
        !r->f->cfg->trust_empty_snapshot) {
        (void)snprintf(r->f->error, sizeof r->f->error,
                       "%s: transactions 0x%llx to 0x%llx are missing", path,
                       (unsigned long long)last + 1, (unsigned long long)zxid - 1);
        return -1;
    }
    if (zxid < r->highest)
        log_line(r->log, LOG_ERROR_LEVEL, "0x%llx(highestZxid) > 0x%llx(next log) for type %d",
                 (unsigned long long)r->highest, (unsigned long long)zxid, lf->header.type);
    if (!wire_op_flags(lf->header.type) && lf->header.type != ZOP_ERROR)
        return files_refuse(r->f, path, "a transaction of an unknown type");
    (void)txn_apply(r->db, &lf->header, lf->record, &r->out);
    files_check_digest(r, zxid);
    if (zxid > r->highest) r->highest = zxid;
    r->ragged = false;
    r->report->replayed++;
    return 0;
}

static int files_cut(struct files *f, const char *path, size_t at) {
    int fd = os_open_write(path);
    int err = fd < 0 ? fd : os_truncate(fd, (int64_t)at);
    if (!err) err = os_fdatasync(fd);
    if (fd >= 0) (void)os_close(fd);
    return err ? files_fail(f, "cannot cut off the end of", path, err) : 0;
}

/* The damaged end of the last log: what was being written when the machine died. It goes, so that
 * what is found at the end of any other log one day can be told from it. */
static int files_cut_tail(struct files *f, const char *path, size_t at, struct logq *log) {
    if (files_cut(f, path, at)) return -1;
    log_line(log, LOG_WARN_LEVEL, "Last transaction was partial: %s ends at %zu now", path, at);
    return 0;
}

static int files_replay_bytes(struct files_replay *r, struct slice bytes, const char *path,
                              bool last) {
    struct logfile lf, ahead[FILES_AHEAD]; /* entries that were read; a ring */
    enum logfile_status st = logfile_open(&lf, bytes, files_longest(r->f));
    if (st == LOGFILE_BAD_MAGIC) return files_refuse(r->f, path, "invalid magic number");
    if (st == LOGFILE_TORN) return files_refuse(r->f, path, "the file ends within its header");
    uint32_t read = 0, done = 0;
    do {
        st = logfile_next(&lf);
        if (st == LOGFILE_ENTRY) {
            txn_hint(r->db, lf.header.type, lf.record);
            ahead[read++ % FILES_AHEAD] = lf;
        }
        while (done < read && (st != LOGFILE_ENTRY || read - done == FILES_AHEAD))
            if (files_replay_entry(r, &ahead[done++ % FILES_AHEAD], path)) return -1;
    } while (st == LOGFILE_ENTRY);
    if (st == LOGFILE_BAD_LENGTH) return files_refuse(r->f, path, "Unreasonable length");
    /* Pages may reach the disk in any order: the end of an entry there, its middle not. */
    if (st == LOGFILE_BAD_CRC && !(last && logfile_tail_is_torn(&lf)))
        return files_refuse(r->f, path, "CRC check failed");
    if (logfile_ended(&lf)) return 0;
    if (last) return files_cut_tail(r->f, path, lf.at, r->log);
    log_line(r->log, LOG_ERROR_LEVEL, "Last transaction of %s was partial.", path);
    if (!logfile_was_cut_off(&lf)) r->ragged = true; /* until what follows is found */
    return 0;
}

/*
 * What was read may not be on the disk yet, when its writer was killed before it synced. It becomes
 * the ground that the next acknowledged transactions stand on.
 */
static int files_sync_read(struct files *f, const char *path) {
    int err = f->cfg->force_sync ? files_sync_file(path) : 0;
    return err ? files_fail(f, "cannot sync", path, err) : 0;
}

/* A log whose first sector, and with it the header, has not reached the disk: nothing has. */
static bool files_unwritten(struct slice bytes) {
    static const uint8_t zeros[512];
    size_t n = bytes.n < sizeof zeros ? bytes.n : sizeof zeros;
    return bytes.n < LOGFILE_HEADER_LEN || memcmp(bytes.p, zeros, n) == 0;
}

static int files_replay_file(struct files_replay *r, const char *name, bool last) {
    char *path = files_path(r->f->log_dir, name, -1);
    struct slice bytes;
    int err = os_map(path, &bytes), ret;
    if (err) {
        ret = files_fail(r->f, "cannot read", path, err);
    } else if (last && files_unwritten(bytes)) {
        /* Created and never written to, as after a full disk or a crash at the wrong moment. */
        log_line(r->log, LOG_WARN_LEVEL, "Deleting log file %s of %zu bytes", path, bytes.n);
        err = os_unlink(path);
        ret = err ? files_fail(r->f, "cannot delete", path, err) : 0;
    } else {
        int64_t before = r->report->replayed;
        ret = files_replay_bytes(r, bytes, path, last);
        /* Also a last one that holds nothing yet: others will stand behind it. */
        bool matters = last || r->report->replayed > before;
        if (!ret && matters) ret = files_sync_read(r->f, path);
    }
    if (!err) os_unmap(bytes);
    mem_free(path);
    return ret;
}

/* The file that holds the transaction after zxid; of several with one zxid (a copy) the first. */
static uint32_t files_first_log(const struct files_list *logs, int64_t zxid) {
    uint32_t first = 0;
    for (uint32_t i = 1; i < logs->n; i++)
        if (logs->at[i].zxid <= zxid + 1 && logs->at[i].zxid != logs->at[i - 1].zxid) first = i;
    return first;
}

static int files_replay_logs(struct files_replay *r, const struct files_list *logs) {
    for (uint32_t i = files_first_log(logs, r->db->last_zxid); i < logs->n; i++) {
        if (logs->at[i].zxid < 0) continue;
        if (files_replay_file(r, logs->at[i].name, i + 1 == logs->n)) return -1;
    }
    return 0;
}

static void files_ensure_builtin(struct db *db) {
    if (!db->tree.count) db_add_builtin(db);
}

/* Writes the snapshot of a database that nobody changes meanwhile. */
static int files_save(struct files *f, struct db *db) {
    struct buf head = {0}, tail = {0}, *image = &db->tree.image.out;
    uint32_t adler = SUM_ADLER32_INIT;
    bool done = false;
    snapfile_put_head(&head, db);
    tree_image_begin(&db->tree);
    int err = files_snap_begin(f);
    if (!err) err = files_snap_write(f, buf_slice(&head));
    adler = sum_adler32(adler, head.p, head.n);
    while (!err && !done) {
        done = tree_image_step(&db->tree, FILES_SAVE_NODES, FILES_READ);
        err = files_snap_write(f, buf_slice(image));
        adler = sum_adler32(adler, image->p, image->n);
        buf_clear(image);
    }
    if (!done) tree_image_abort(&db->tree);
    buf_free(image);
    snapfile_put_tail(&tail, adler, db->last_zxid, db->tree.digest);
    if (!err) err = files_snap_write(f, buf_slice(&tail));
    if (!err) err = files_snap_end(f, db->last_zxid);
    if (err) {
        files_snap_abort(f);
        memcpy(f->error, f->snap_error, sizeof f->error);
    }
    buf_free(&head);
    buf_free(&tail);
    return err;
}

static int files_fresh(struct files *f, struct db *db) {
    files_reset_db(db);
    db_add_builtin(db);
    /* A log without a snapshot would not be accepted at the next start. */
    return files_save(f, db);
}

/*
 * Ephemerals whose session does not exist go away without a transaction. Only a snapshot makes that
 * last: without it a replay would meet the dead node where a client has since made a new one. In an
 * ensemble they stay: its servers change by transactions only, or they would differ.
 */
static int files_drop_orphans(struct files *f, struct db *db, struct files_report *report) {
    if (config_distributed(f->cfg)) return 0;
    report->orphans = db_drop_orphans(db);
    return report->orphans ? files_save(f, db) : 0;
}

static int files_recover_with(struct files *f, struct db *db, struct files_report *report,
                              struct logq *log, const struct files_list *logs) {
    struct snapfile snap = {0};
    int64_t start = os_now_ms();
    int found = files_restore_snapshot(f, db, &snap, log);
    if (found < 0) return -1;
    report->snapshot_ms = os_now_ms() - start;
    char *flag = files_path(f->cfg->data_log_dir ? f->cfg->data_log_dir : f->cfg->data_dir,
                            "initialize", -1);
    bool marked = os_unlink(flag) == 0;
    mem_free(flag);
    if (!found) {
        if (!logs->n) {
            if (!marked && !f->cfg->db_autocreate)
                return files_refuse(f, f->snap_dir, "no database, and db.autocreate is false");
            report->fresh = true;
            return files_fresh(f, db);
        }
        if (!f->cfg->trust_empty_snapshot)
            return files_refuse(f, f->snap_dir, "No snapshot found, but there are log entries. "
                                                "Something is broken!");
        files_reset_db(db);
    }
    files_ensure_builtin(db);
    report->snapshot_zxid = found ? db->last_zxid : -1;
    struct files_replay r = {.f = f, .db = db, .log = log, .report = report,
                             .snap = found ? &snap : NULL};
    if (found && snap.has_digest && snap.digest_zxid == db->last_zxid && db->last_zxid)
        files_check_digest(&r, db->last_zxid);
    start = os_now_ms();
    db->tree.loading = true;
    int err = files_replay_logs(&r, logs);
    db->tree.loading = false;
    report->logs_ms = os_now_ms() - start;
    report->had_logs = logs->n > 0;
    txn_out_free(db, &r.out);
    return err ? err : files_drop_orphans(f, db, report);
}

ZK_PRIVATE int files_recover(struct files *f, struct db *db, struct files_report *report,
                             struct logq *log) {
    struct files_list logs;
    memset(report, 0, sizeof *report);
    report->snapshot_zxid = -1;
    if (files_log_close(f)) return -1; /* a torn end may be cut: nobody writes there */
    int err = files_list(f->log_dir, "log", &logs);
    if (err)
        (void)files_fail(f, "cannot list", f->log_dir, err);
    else
        err = files_recover_with(f, db, report, log, &logs);
    files_list_free(&logs);
    /* What was found under its name stays there: a rename may not be on the disk yet. */
    const char *dirs[] = {f->log_dir, f->snap_dir};
    for (int i = 0; i < 2 && !err && f->cfg->force_sync; i++) {
        err = os_fsync_dir(dirs[i]);
        if (err) err = files_fail(f, "cannot sync", dirs[i], err);
    }
    return err;
}

/* --- the log --- */

ZK_PRIVATE int files_log_roll(struct files *f, int64_t zxid) {
    uint8_t header[LOGFILE_HEADER_LEN];
    char *path = files_path(f->log_dir, "log", zxid);
    int err = files_log_close(f);
    logfile_put_header(header);
    f->log_size = LOGFILE_HEADER_LEN;
    if (!err) {
        err = writer_open(&f->log, path, f->cfg->pre_alloc_size_kb > 0);
        if (!err) err = writer_put(&f->log, slice_of(header, sizeof header));
        if (!err) err = writer_flush(&f->log);
        /* The header first: a name that points to zeros would not be accepted as a log. */
        if (!err && f->cfg->force_sync) err = os_fdatasync(f->log.fd);
        if (!err && f->cfg->force_sync) err = os_fsync_dir(f->log_dir);
        if (err) {
            (void)files_fail(f, "cannot create", path, err);
            if (f->log.fd >= 0) (void)os_unlink(path);
            writer_close(&f->log);
        }
    }
    mem_free(path);
    return err ? -1 : 0;
}

/* stock: FilePadding, but with the true position: only zeros follow the last entry. */
static int files_log_grow(struct files *f, size_t more) {
    int64_t kb = f->cfg->pre_alloc_size_kb, pre = kb > 0 && kb < INT64_MAX / 1024 ? kb * 1024 : 0;
    int64_t end = writer_padded(&f->log, more);
    if (!pre || (writer_end(&f->log) + 4096 < f->log_size && end <= f->log_size)) return 0;
    int64_t size = f->log_size + pre;
    if (end > size) size = (end + pre) / pre * pre;
    int err = os_truncate(f->log.fd, size);
    if (!err) f->log_size = size;
    return err;
}

ZK_PRIVATE int files_log_append(struct files *f, struct slice entries) {
    ZK_ASSERT(f->log.fd >= 0);
    int err = files_log_grow(f, entries.n);
    if (!err) err = writer_put(&f->log, entries);
    return err ? files_fail(f, "cannot write the log in", f->log_dir, err) : 0;
}

ZK_PRIVATE int files_log_sync(struct files *f) {
    ZK_ASSERT(f->log.fd >= 0);
    int err = writer_flush(&f->log);
    if (err) return files_fail(f, "cannot write the log in", f->log_dir, err);
    if (f->cfg->force_sync) err = os_fdatasync(f->log.fd);
    return err ? files_fail(f, "cannot sync the log in", f->log_dir, err) : 0;
}

/* --- snapshots --- */

ZK_PRIVATE int files_snap_begin(struct files *f) {
    char *path = files_path(f->snap_dir, FILES_SNAP_TMP, -1);
    int err = writer_open(&f->snap, path, true);
    if (err) (void)files_snap_fail(f, "cannot create", path, err);
    f->snap_synced = 0;
    mem_free(path);
    return err ? -1 : 0;
}

ZK_PRIVATE int files_snap_write(struct files *f, struct slice bytes) {
    int err = writer_put(&f->snap, bytes);
    if (!err && !f->snap.direct && f->snap.pos - f->snap_synced >= (int64_t)FILES_SNAP_SYNC) {
        err = os_fdatasync(f->snap.fd);
        f->snap_synced = f->snap.pos;
    }
    return err ? files_snap_fail(f, "cannot write a snapshot in", f->snap_dir, err) : 0;
}

ZK_PRIVATE int files_snap_end(struct files *f, int64_t zxid) {
    char *from = files_path(f->snap_dir, FILES_SNAP_TMP, -1);
    char *to = files_path(f->snap_dir, "snapshot", zxid);
    int err = writer_flush(&f->snap);
    if (!err) err = os_truncate(f->snap.fd, writer_end(&f->snap)); /* it was written in pages */
    if (!err) err = os_fdatasync(f->snap.fd);
    if (!err) err = os_rename(from, to);
    if (!err) err = os_fsync_dir(f->snap_dir);
    if (err) {
        (void)files_snap_fail(f, "cannot finish", to, err);
    } else {
        writer_close(&f->snap);
    }
    mem_free(from);
    mem_free(to);
    return err ? -1 : 0;
}

ZK_PRIVATE void files_snap_abort(struct files *f) {
    if (f->snap.fd < 0) return;
    char *path = files_path(f->snap_dir, FILES_SNAP_TMP, -1);
    writer_close(&f->snap);
    (void)os_unlink(path);
    mem_free(path);
}

/* --- epochs --- */

/* The first line is the number. stock: QuorumPeer.readLongFromFile */
static int files_read_epoch(const char *path, int64_t *epoch) {
    struct slice text;
    size_t i = 0;
    int64_t v = 0;
    *epoch = -1;
    int err = os_map(path, &text);
    if (err) return err;
    while (i < text.n && text.p[i] >= '0' && text.p[i] <= '9' && v <= INT32_MAX)
        v = v * 10 + (text.p[i++] - '0');
    bool ok = i && (i == text.n || text.p[i] == '\n' || text.p[i] == '\r') && v <= INT32_MAX;
    bool none = slice_is(text, "-1"); /* stock: of a server that has no database */
    os_unmap(text);
    if (ok) *epoch = v;
    return ok || none ? 0 : -EINVAL;
}

/* What was written and synced under `from` gets its name, durably. */
static int files_settle(struct files *f, const char *from, const char *to) {
    int err = os_rename(from, to);
    return err ? err : os_fsync_dir(f->snap_dir);
}

/*
 * A larger number in NAME.tmp was synced, maybe told to others, and its rename undone by a power
 * cut: stock does not sync the directory. Anything else there was never told to anybody.
 */
static int files_load_epoch(struct files *f, const char *name, int64_t *epoch) {
    char *path = files_path(f->snap_dir, name, -1);
    struct buf tmp = {0};
    int64_t newer = -1;
    buf_printf(&tmp, "%s.tmp", path);
    buf_putc(&tmp, '\0');
    const char *from = (const char *)tmp.p;
    int err = files_read_epoch(path, epoch);
    if (err == -EINVAL) {
        err = files_refuse(f, path, "must hold one number, the epoch, and does not");
    } else if (err && err != -ENOENT) {
        err = files_fail(f, "cannot read", path, err);
    } else {
        err = files_read_epoch(from, &newer);
        if (!err && newer > *epoch) {
            *epoch = newer;
            err = files_sync_file(from);
            if (!err) err = files_settle(f, from, path);
        } else if (!err || err == -EINVAL) {
            err = os_unlink(from);
        } else if (err == -ENOENT) {
            err = 0;
        }
        if (err) err = files_fail(f, "cannot recover", from, err);
    }
    buf_free(&tmp);
    mem_free(path);
    return err;
}

ZK_PRIVATE int files_load_epochs(struct files *f, int64_t *accepted, int64_t *current) {
    int err = files_load_epoch(f, "acceptedEpoch", accepted);
    if (!err) err = files_load_epoch(f, "currentEpoch", current);
    if (err || *accepted < 0 || *accepted >= *current) return err;
    (void)snprintf(f->error, sizeof f->error,
                   "The accepted epoch, %llx is less than the current epoch, %llx",
                   (unsigned long long)*accepted, (unsigned long long)*current);
    return -1;
}

ZK_PRIVATE int files_save_epoch(struct files *f, const char *name, int64_t epoch) {
    char text[24], *path = files_path(f->snap_dir, name, -1);
    struct buf tmp = {0};
    buf_printf(&tmp, "%s.tmp", path);
    buf_putc(&tmp, '\0');
    int n = snprintf(text, sizeof text, "%lld", (long long)epoch);
    int fd = os_create((const char *)tmp.p), err = fd < 0 ? fd : 0;
    if (!err) err = os_pwrite(fd, text, (size_t)n, 0);
    if (!err) err = os_fdatasync(fd);
    if (fd >= 0) (void)os_close(fd);
    if (!err) err = files_settle(f, (const char *)tmp.p, path);
    if (err) err = files_fail(f, "cannot write", path, err);
    buf_free(&tmp);
    mem_free(path);
    return err;
}

/* --- cutting off the end of history --- */

struct files_cutting {
    struct files *f;
    struct logq *log;
    int64_t zxid;
    struct files_list logs, snaps;
    /* What the log holds behind the newest snapshot that may stay. */
    int64_t base;   /* zxid of that; -1: there is none */
    int64_t before; /* of the last entry not beyond base; -1: none was seen */
    int64_t last;   /* no hole between base and here */
    uint32_t met;   /* snapshots whose zxid has gone by */
    bool reached;   /* the log comes to zxid, or base is it */
    bool whole;     /* it goes on without a hole to its end, through each snapshot beyond zxid */
    bool ragged;    /* as in files_replay */
};

/* The first entry behind base must be known to follow it: base may have come from elsewhere. */
static bool files_walk_follows(const struct files_cutting *c, int64_t zxid) {
    return files_follows(c->f, c->last, zxid, c->ragged) &&
           (c->last > c->base || c->before == c->base || zxid == c->base + 1 || c->base == 0);
}

static void files_walk_entry(struct files_cutting *c, int64_t zxid) {
    if (zxid <= c->base) c->before = zxid;
    if (zxid <= c->last || !c->whole) return;
    c->whole = files_walk_follows(c, zxid);
    if (!c->whole) return;
    c->ragged = false;
    c->last = zxid;
    c->reached = c->reached || zxid == c->zxid;
    while (c->met < c->snaps.n && c->snaps.at[c->met].zxid <= zxid) {
        int64_t snap = c->snaps.at[c->met++].zxid;
        if (snap > c->zxid && snap < zxid) c->whole = false; /* it came from elsewhere */
    }
}

static int files_walk(struct files_cutting *c) {
    int err = 0;
    c->last = c->base;
    c->before = -1;
    c->whole = true;
    c->reached = c->base == c->zxid;
    for (uint32_t i = files_first_log(&c->logs, c->base); i < c->logs.n && !err; i++) {
        char *path = files_path(c->f->log_dir, c->logs.at[i].name, -1);
        struct logfile lf;
        struct slice bytes;
        err = os_map(path, &bytes);
        if (err) {
            (void)files_fail(c->f, "cannot read", path, err);
        } else {
            enum logfile_status st = logfile_open(&lf, bytes, files_longest(c->f));
            while (st == LOGFILE_ENTRY && (st = logfile_next(&lf)) == LOGFILE_ENTRY)
                files_walk_entry(c, lf.header.zxid);
            c->whole = c->whole && (st == LOGFILE_END || st == LOGFILE_TORN);
            c->ragged = c->ragged || (!logfile_ended(&lf) && !logfile_was_cut_off(&lf));
            os_unmap(bytes);
        }
        mem_free(path);
    }
    if (c->snaps.n && c->snaps.at[c->snaps.n - 1].zxid > c->last) c->whole = false;
    return err;
}

static int files_discard(struct files_cutting *c, const char *dir, const char *name) {
    char *path = files_path(dir, name, -1);
    int err = os_unlink(path);
    if (!err) err = os_fsync_dir(dir);
    if (err)
        err = files_fail(c->f, "cannot remove", path, err);
    else
        log_line(c->log, LOG_INFO_LEVEL, "Removed %s: it lies beyond zxid 0x%llx", path,
                 (unsigned long long)c->zxid);
    mem_free(path);
    return err;
}

static int files_cut_snaps(struct files_cutting *c) {
    int err = 0;
    for (uint32_t i = c->snaps.n; i-- > 0 && c->snaps.at[i].zxid > c->zxid && !err;)
        err = files_discard(c, c->f->snap_dir, c->snaps.at[i].name);
    return err;
}

/* The entries of one file that lie beyond. Damage before them is not ours to cut off. */
static int files_cut_log(struct files_cutting *c, const char *name) {
    char *path = files_path(c->f->log_dir, name, -1);
    struct logfile lf;
    struct slice bytes;
    int err = os_map(path, &bytes);
    if (err) {
        (void)files_fail(c->f, "cannot read", path, err);
    } else {
        enum logfile_status st = logfile_open(&lf, bytes, files_longest(c->f));
        size_t at = lf.at;
        while (st == LOGFILE_ENTRY && (st = logfile_next(&lf)) == LOGFILE_ENTRY &&
               lf.header.zxid <= c->zxid)
            at = lf.at;
        os_unmap(bytes);
        if (st == LOGFILE_ENTRY) {
            err = files_cut(c->f, path, at);
            if (!err)
                log_line(c->log, LOG_INFO_LEVEL, "Cut %s at %zu: zxid 0x%llx", path, at,
                         (unsigned long long)c->zxid);
        } else if (st != LOGFILE_END && st != LOGFILE_TORN) {
            err = files_refuse(c->f, path, "damaged, cannot be truncated");
        }
    }
    mem_free(path);
    return err;
}

static int files_cut_logs(struct files_cutting *c) {
    int err = 0;
    uint32_t i = c->logs.n;
    while (!err && i > 0 && c->logs.at[i - 1].zxid > c->zxid)
        err = files_discard(c, c->f->log_dir, c->logs.at[--i].name);
    /* The file that goes across zxid; copies of it, too. */
    int64_t across = i ? c->logs.at[i - 1].zxid : -1;
    while (!err && across >= 0 && i > 0 && c->logs.at[i - 1].zxid == across)
        err = files_cut_log(c, c->logs.at[--i].name);
    return err;
}

static int files_truncate_with(struct files_cutting *c) {
    c->base = -1;
    for (uint32_t i = c->snaps.n; i-- > 0 && c->base < 0;) {
        if (c->snaps.at[i].zxid > c->zxid) continue;
        int ok = files_snap_plausible(c->f->snap_dir, &c->snaps.at[i]);
        if (ok < 0) return files_fail(c->f, "cannot read a snapshot in", c->f->snap_dir, ok);
        if (ok) c->base = c->snaps.at[i].zxid;
    }
    if (c->snaps.n == 0 || c->snaps.at[c->snaps.n - 1].zxid <= c->zxid) return files_cut_logs(c);
    if (c->base >= 0 && files_walk(c)) return -1;
    if (c->base < 0 || (!c->reached && !c->whole)) {
        log_line(c->log, LOG_WARN_LEVEL,
                 "Cannot go back to zxid 0x%llx: only a snapshot beyond it holds what came before",
                 (unsigned long long)c->zxid);
        return 1;
    }
    int err = c->whole ? files_cut_snaps(c) : files_cut_logs(c);
    if (!err) err = c->whole ? files_cut_logs(c) : files_cut_snaps(c);
    return err;
}

ZK_PRIVATE int files_truncate(struct files *f, int64_t zxid, struct logq *log) {
    struct files_cutting c = {.f = f, .log = log, .zxid = zxid};
    int err = files_log_close(f);
    if (err) return -1;
    err = files_list(f->log_dir, "log", &c.logs);
    if (err) (void)files_fail(f, "cannot list", f->log_dir, err);
    if (!err) {
        err = files_list(f->snap_dir, "snapshot", &c.snaps);
        if (err) (void)files_fail(f, "cannot list", f->snap_dir, err);
    }
    if (!err) err = files_truncate_with(&c);
    files_list_free(&c.logs);
    files_list_free(&c.snaps);
    return err < 0 ? -1 : err;
}

/* --- purging --- */

static void files_remove(const char *dir, const char *name, struct logq *log) {
    char *path = files_path(dir, name, -1);
    int err = os_unlink(path);
    log_line(log, err ? LOG_WARN_LEVEL : LOG_INFO_LEVEL, "%s %s",
             err ? "Failed to remove" : "Removing file:", path);
    mem_free(path);
}

ZK_PRIVATE int files_purge(struct files *f, int32_t retain, struct logq *log) {
    struct files_list snaps, logs;
    (void)files_list(f->snap_dir, "snapshot", &snaps);
    (void)files_list(f->log_dir, "log", &logs);
    int64_t oldest = -1, keep_log = -1;
    int32_t kept = 0;
    for (uint32_t i = snaps.n; i-- > 0 && kept < retain;) {
        if (files_snap_plausible(f->snap_dir, &snaps.at[i]) <= 0) continue;
        oldest = snaps.at[i].zxid;
        kept++;
    }
    /* The log that holds the oldest snapshot's next transaction may have begun before it. */
    for (uint32_t i = 0; i < logs.n; i++)
        if (logs.at[i].zxid <= oldest) keep_log = logs.at[i].zxid;
    for (uint32_t i = 0; kept && i < snaps.n; i++)
        if (snaps.at[i].zxid < oldest) files_remove(f->snap_dir, snaps.at[i].name, log);
    for (uint32_t i = 0; kept && i < logs.n; i++)
        if (logs.at[i].zxid < oldest && logs.at[i].zxid < keep_log)
            files_remove(f->log_dir, logs.at[i].name, log);
    files_list_free(&snaps);
    files_list_free(&logs);
    return 0;
}
