#include "host/logread.h"

#include "store/logfile.h"

#include <stdio.h>

struct logread {
    const struct files *files;
    struct buf logs, snaps; /* int64 zxids of the file names, in no order */
    int64_t after, upto;
    int64_t cursor; /* the last transaction seen, from `after` on; -1: not found yet */
    bool ragged;    /* the file before has not ended where its last readable entry does */
    struct buf *out;
};

static void logread_names(const char *dir, const char *prefix, struct buf *zxids) {
    struct buf names = {0};
    if (os_list(dir, &names) < 0) buf_clear(&names);
    for (size_t at = 0; at < names.n;) {
        const char *name = (const char *)names.p + at;
        at += strlen(name) + 1;
        int64_t zxid = logfile_name_zxid(name, prefix);
        if (zxid >= 0) buf_put(zxids, &zxid, sizeof zxid);
    }
    buf_free(&names);
}

static int64_t logread_zxid(const struct buf *zxids, size_t i) {
    int64_t zxid;
    memcpy(&zxid, zxids->p + i * sizeof zxid, sizeof zxid);
    return zxid;
}

/* The largest of them that is at most `most`, or the smallest that is at least `least`; or -1. */
static int64_t logread_floor(const struct buf *zxids, int64_t most) {
    int64_t best = -1;
    for (size_t i = 0; i < zxids->n / sizeof best; i++) {
        int64_t zxid = logread_zxid(zxids, i);
        if (zxid <= most && zxid > best) best = zxid;
    }
    return best;
}

static int64_t logread_ceiling(const struct buf *zxids, int64_t least) {
    int64_t best = -1;
    for (size_t i = 0; i < zxids->n / sizeof best; i++) {
        int64_t zxid = logread_zxid(zxids, i);
        if (zxid >= least && (best < 0 || zxid < best)) best = zxid;
    }
    return best;
}

static void logread_path(char *path, size_t n, const char *dir, const char *prefix, int64_t zxid) {
    (void)snprintf(path, n, "%s/%s.%llx", dir, prefix, (unsigned long long)zxid);
}

/* Bytes of a log file without the zeros at its end. stock: counts what is preallocated, too */
static int64_t logread_used(const char *path) {
    static const uint8_t zeros[4096];
    struct slice bytes;
    if (os_map(path, &bytes)) return 0;
    size_t n = bytes.n;
    while (n >= sizeof zeros && memcmp(bytes.p + n - sizeof zeros, zeros, sizeof zeros) == 0)
        n -= sizeof zeros;
    os_unmap(bytes);
    return (int64_t)n;
}

static bool logread_too_long(const struct logread *r, int64_t first_log) {
    double factor = r->files->cfg->snapshot_size_factor;
    char path[1024];
    int64_t logs = 0;
    if (!(factor > 0)) return false;
    logread_path(path, sizeof path, r->files->snap_dir, "snapshot",
                 logread_floor(&r->snaps, INT64_MAX));
    int64_t snap = os_file_size(path);
    for (int64_t z = first_log; z >= 0; z = logread_ceiling(&r->logs, z + 1)) {
        logread_path(path, sizeof path, r->files->log_dir, "log", z);
        logs += logread_used(path);
    }
    return (double)logs > (double)(snap > 0 ? snap : 0) * factor;
}

static bool logread_follows(const struct logread *r, int64_t zxid) {
    if (zxid == r->cursor + 1) return true;
    if (zxid >> 32 <= r->cursor >> 32 || (zxid & 0xffffffffLL) != 1 || r->ragged) return false;
    int64_t snap = logread_ceiling(&r->snaps, r->cursor + 1);
    return snap < 0 || snap >= zxid;
}

/* False: there is nothing more to be had. */
static bool logread_entry(struct logread *r, const struct logfile *lf) {
    int64_t zxid = lf->header.zxid;
    if (zxid <= r->after) {
        if (zxid == r->after) r->cursor = zxid;
        return true;
    }
    if (r->cursor < 0 || zxid > r->upto || !logread_follows(r, zxid)) return false;
    jw_i32(r->out, (int32_t)(TXN_HEADER_LEN + lf->record.n));
    jw_txn_header(r->out, &lf->header);
    buf_put(r->out, lf->record.p, lf->record.n);
    r->cursor = zxid;
    r->ragged = false;
    return buf_len(r->out) < LOGREAD_BYTES;
}

static bool logread_file(struct logread *r, int64_t zxid) {
    uint64_t most = (uint64_t)(uint32_t)r->files->cfg->jute_max_buffer +
                    (uint32_t)r->files->cfg->jute_extra_size;
    char path[1024];
    struct slice bytes;
    struct logfile lf;
    logread_path(path, sizeof path, r->files->log_dir, "log", zxid);
    if (os_map(path, &bytes)) return false;
    bool more = logfile_open(&lf, bytes, most > INT32_MAX ? INT32_MAX : (uint32_t)most) ==
                LOGFILE_ENTRY;
    while (more && logfile_next(&lf) == LOGFILE_ENTRY) more = logread_entry(r, &lf);
    if (more && !logfile_ended(&lf) && !logfile_was_cut_off(&lf)) r->ragged = true;
    os_unmap(bytes);
    return more;
}

ZK_PRIVATE void logread_after(const struct files *f, int64_t after, int64_t upto, bool first,
                              struct buf *out) {
    struct logread r = {.files = f, .after = after, .upto = upto, .cursor = -1, .out = out};
    logread_names(f->log_dir, "log", &r.logs);
    logread_names(f->snap_dir, "snapshot", &r.snaps);
    int64_t log = logread_floor(&r.logs, after);
    if (log >= 0 && !(first && logread_too_long(&r, log)))
        while (log >= 0 && logread_file(&r, log)) log = logread_ceiling(&r.logs, log + 1);
    buf_free(&r.logs);
    buf_free(&r.snaps);
}
