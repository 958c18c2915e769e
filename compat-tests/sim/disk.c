/*
 * One server's disk: what its files hold for a process, and what of it survives a power cut.
 *
 * A file has its bytes as they are read (cache) and as they lie on the platter (disk); pages that
 * differ are marked. A sync copies them. At a power cut each marked page is kept, lost or torn
 * between its sectors; a sector is whole, old or new, unless the seed asks for garbled ones, and
 * then only such sectors as held nothing before. Names are made durable by a sync of their
 * directory; until then they are a journal of changes, of which a power cut keeps the first few, or
 * any, as the seed has it.
 */
#include "disk.h"

#include "sim.h"

/* --- names --- */

static void disk_copy_path(char to[DISK_PATH], const char *from) {
    size_t n = strlen(from);
    ZK_ASSERT(n < DISK_PATH);
    memcpy(to, from, n + 1);
}

struct disk_name *disk_names(const struct buf *table, uint32_t *n) {
    *n = (uint32_t)(table->n / sizeof(struct disk_name));
    return (struct disk_name *)(void *)table->p;
}

struct disk_name *disk_find(const struct buf *table, const char *path) {
    uint32_t n;
    struct disk_name *at = disk_names(table, &n);
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(at[i].path, path) == 0) return &at[i];
    return NULL;
}

static void disk_set_name(struct buf *table, const char *path, uint32_t inode) {
    struct disk_name *e = disk_find(table, path), fresh = {.inode = inode};
    if (e) {
        e->inode = inode;
        return;
    }
    disk_copy_path(fresh.path, path);
    buf_put(table, &fresh, sizeof fresh);
}

static void disk_drop_name(struct buf *table, const char *path) {
    struct disk_name *e = disk_find(table, path);
    if (!e) return;
    struct disk_name *last = (struct disk_name *)(void *)(table->p + table->n) - 1;
    *e = *last;
    table->n -= sizeof *last;
}

void disk_dirname(const char *path, char out[DISK_PATH]) {
    disk_copy_path(out, path);
    char *slash = strrchr(out, '/');
    if (slash) *slash = '\0';
}

static void disk_play(struct buf *table, const struct disk_change *c) {
    if (c->kind == DISK_CREATE) {
        disk_set_name(table, c->path, c->inode);
    } else if (c->kind == DISK_UNLINK) {
        disk_drop_name(table, c->path);
    } else {
        const struct disk_name *from = disk_find(table, c->path);
        if (!from) return;
        uint32_t inode = from->inode;
        disk_drop_name(table, c->path);
        disk_set_name(table, c->to, inode);
    }
}

void disk_change(struct disk *d, enum disk_change_kind kind, const char *path, const char *to,
                 uint32_t inode) {
    struct disk_change c = {.kind = kind, .inode = inode};
    disk_copy_path(c.path, path);
    if (to) disk_copy_path(c.to, to);
    disk_play(&d->live, &c);
    buf_put(&d->journal, &c, sizeof c);
    if (d->journal.n / sizeof c < DISK_JOURNAL) return;
    /* The file system writes its journal when it is long enough. */
    for (size_t at = 0; at < d->journal.n; at += sizeof c)
        disk_play(&d->durable, (const struct disk_change *)(void *)(d->journal.p + at));
    buf_clear(&d->journal);
}

static struct disk_change *disk_changes(const struct disk *d, uint32_t *n) {
    *n = (uint32_t)(d->journal.n / sizeof(struct disk_change));
    return (struct disk_change *)(void *)d->journal.p;
}

void disk_sync_names(struct disk *d, const char *dir) {
    uint32_t n, kept = 0;
    struct disk_change *c = disk_changes(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        char of[DISK_PATH];
        disk_dirname(c[i].path, of);
        if (strcmp(of, dir) == 0)
            disk_play(&d->durable, &c[i]);
        else
            c[kept++] = c[i];
    }
    d->journal.n = kept * sizeof *c;
}

/* --- files --- */

static void disk_room(struct disk_file *f, int64_t size) {
    if (size <= f->cap) return;
    int64_t cap = f->cap ? f->cap : DISK_PAGE;
    while (cap < size) cap *= 2;
    f->cache = mem_realloc(f->cache, (size_t)cap);
    f->disk = mem_realloc(f->disk, (size_t)cap);
    f->dirty = mem_realloc(f->dirty, (size_t)(cap / DISK_PAGE));
    memset(f->cache + f->cap, 0, (size_t)(cap - f->cap));
    memset(f->disk + f->cap, 0, (size_t)(cap - f->cap));
    memset(f->dirty + f->cap / DISK_PAGE, 0, (size_t)((cap - f->cap) / DISK_PAGE));
    f->cap = cap;
}

static void disk_mark(struct disk_file *f, int64_t from, int64_t to) {
    for (int64_t p = from / DISK_PAGE; p * DISK_PAGE < to; p++) f->dirty[p] = 1;
}

void disk_write(struct disk_file *f, const void *bytes, int64_t n, int64_t off) {
    if (n <= 0) return;
    disk_room(f, off + n);
    memcpy(f->cache + off, bytes, (size_t)n);
    disk_mark(f, off, off + n);
    if (off + n > f->size) f->size = off + n;
}

void disk_resize(struct disk_file *f, int64_t size) {
    disk_room(f, size);
    if (size < f->size) {
        memset(f->cache + size, 0, (size_t)(f->size - size));
        disk_mark(f, size, f->size);
    }
    f->size = size;
}

void disk_sync(struct disk_file *f) {
    int64_t pages = (f->size > f->disk_size ? f->size : f->disk_size) + DISK_PAGE - 1;
    for (int64_t p = 0; p < pages / DISK_PAGE; p++) {
        if (!f->dirty[p]) continue;
        memcpy(f->disk + p * DISK_PAGE, f->cache + p * DISK_PAGE, DISK_PAGE);
        f->dirty[p] = 0;
    }
    f->disk_size = f->size;
}

static void disk_free_file(struct disk_file *f) {
    mem_free(f->cache);
    mem_free(f->disk);
    mem_free(f->dirty);
    memset(f, 0, sizeof *f);
}

/* Frees what no name and no descriptor leads to. */
static void disk_sweep(struct disk *d) {
    uint8_t *used = mem_zalloc(d->n_files + 1);
    const struct buf *tables[2] = {&d->live, &d->durable};
    for (int t = 0; t < 2; t++) {
        uint32_t n;
        const struct disk_name *at = disk_names(tables[t], &n);
        for (uint32_t i = 0; i < n; i++) used[at[i].inode] = 1;
    }
    uint32_t n;
    const struct disk_change *c = disk_changes(d, &n);
    for (uint32_t i = 0; i < n; i++)
        if (c[i].kind == DISK_CREATE) used[c[i].inode] = 1;
    for (uint32_t i = 0; i < sizeof d->fds / sizeof d->fds[0]; i++)
        if (d->fds[i] != SIM_NONE) used[d->fds[i]] = 1;
    for (uint32_t i = 0; i < d->n_files; i++)
        if (d->files[i].used && !used[i]) disk_free_file(&d->files[i]);
    mem_free(used);
}

uint32_t disk_new_file(struct disk *d, bool dir) {
    struct disk_file fresh = {.used = true, .dir = dir};
    uint32_t i = 0;
    while (i < d->n_files && d->files[i].used) i++;
    if (i == d->n_files && i == d->cap_files) {
        disk_sweep(d);
        for (i = 0; i < d->n_files && d->files[i].used;) i++;
    }
    if (i == d->cap_files) {
        d->cap_files = d->cap_files ? d->cap_files * 2 : 32;
        d->files = mem_realloc(d->files, sizeof *d->files * d->cap_files);
    }
    if (i == d->n_files) d->n_files++;
    d->files[i] = fresh;
    return i;
}

/* --- the end of a process, of power, of the disk --- */

/* The directories that somebody made before the first start. */
static void disk_roots(struct disk *d) {
    static const char *const roots[] = {"/d", "/l"};
    for (int i = 0; i < 2; i++) {
        uint32_t inode = disk_new_file(d, true);
        disk_set_name(&d->live, roots[i], inode);
        disk_set_name(&d->durable, roots[i], inode);
    }
}

void disk_init(struct disk *d, uint64_t seed) {
    memset(d, 0, sizeof *d);
    d->rng.state = seed;
    d->slow = 1;
    memset(d->fds, 0xff, sizeof d->fds);
    disk_roots(d);
}

void disk_process_gone(struct disk *d) {
    memset(d->fds, 0xff, sizeof d->fds);
    d->calls_left = d->fail_next = 0;
    d->sync_fails = d->failed = false;
    disk_sweep(d);
}

static bool disk_zeros(const uint8_t *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

/* What is left of a page that was being written. */
static void disk_tear(struct disk *d, struct disk_file *f, int64_t page) {
    uint64_t fate = prng_below(&d->rng, 3);
    for (int64_t at = page * DISK_PAGE; at < (page + 1) * DISK_PAGE; at += DISK_SECTOR) {
        bool keep = fate == 0 || (fate == 2 && prng_below(&d->rng, 2));
        uint8_t *to = f->disk + at;
        const uint8_t *from = f->cache + at;
        if (memcmp(to, from, DISK_SECTOR) == 0) continue;
        bool blank = disk_zeros(to, DISK_SECTOR);
        if (keep) memcpy(to, from, DISK_SECTOR);
        d->torn = d->torn || (keep && f->hole);
        f->hole = f->hole || !keep;
        if (!sim.t.garble || !blank || prng_below(&d->rng, 40)) continue;
        for (int64_t i = 0; i < DISK_SECTOR; i++) to[i] = (uint8_t)prng_next(&d->rng);
        d->damaged = true;
    }
}

static void disk_cut_file(struct disk *d, struct disk_file *f) {
    int64_t most = f->size > f->disk_size ? f->size : f->disk_size;
    f->hole = false;
    for (int64_t p = 0; p * DISK_PAGE < most; p++) {
        if (f->dirty[p]) disk_tear(d, f, p);
        f->dirty[p] = 0;
    }
    if (f->size != f->disk_size && prng_below(&d->rng, 2)) f->disk_size = f->size;
    f->size = f->disk_size;
    if (f->size < most) memset(f->disk + f->size, 0, (size_t)(most - f->size));
    if (most) memcpy(f->cache, f->disk, (size_t)most);
}

static void disk_cut_names(struct disk *d) {
    uint32_t n;
    const struct disk_change *c = disk_changes(d, &n);
    uint64_t first = prng_below(&d->rng, n + (uint64_t)1);
    for (uint32_t i = 0; i < n; i++)
        if (sim.t.journal_ordered ? i < first : prng_below(&d->rng, 2))
            disk_play(&d->durable, &c[i]);
    buf_clear(&d->journal);
    buf_clear(&d->live);
    buf_put(&d->live, d->durable.p, d->durable.n);
    for (bool again = true; again;) { /* what lies in a directory that is gone is gone */
        again = false;
        const struct disk_name *at = disk_names(&d->live, &n);
        for (uint32_t i = 0; i < n && !again; i++) {
            char dir[DISK_PATH];
            disk_dirname(at[i].path, dir);
            if (!*dir || disk_find(&d->live, dir)) continue;
            disk_drop_name(&d->live, at[i].path);
            again = true;
        }
    }
    buf_clear(&d->durable);
    buf_put(&d->durable, d->live.p, d->live.n);
}

void disk_power_cut(struct disk *d) {
    memset(d->fds, 0xff, sizeof d->fds);
    for (uint32_t i = 0; i < d->n_files; i++)
        if (d->files[i].used && !d->files[i].dir) disk_cut_file(d, &d->files[i]);
    disk_cut_names(d);
    disk_process_gone(d);
}

/* A bit of a file that is not being written turns over; false when there is none. */
bool disk_rot(struct disk *d, char name[DISK_PATH]) {
    uint32_t n;
    const struct disk_name *at = disk_names(&d->live, &n);
    for (int attempt = 0; n && attempt < 20; attempt++) {
        const struct disk_name *e = &at[prng_below(&d->rng, n)];
        struct disk_file *f = &d->files[e->inode];
        bool open = false;
        for (uint32_t i = 0; i < sizeof d->fds / sizeof d->fds[0]; i++)
            open = open || d->fds[i] == e->inode;
        if (open || f->dir || !f->size) continue;
        if (!strstr(e->path, "/log.") && !strstr(e->path, "/snapshot.")) continue;
        int64_t at_byte = (int64_t)prng_below(&d->rng, (uint64_t)f->size);
        uint8_t bit = (uint8_t)(1u << prng_below(&d->rng, 8));
        f->cache[at_byte] ^= bit;
        f->disk[at_byte] ^= bit;
        disk_copy_path(name, e->path);
        d->damaged = true;
        return true;
    }
    return false;
}

void disk_wipe(struct disk *d) {
    buf_clear(&d->live);
    buf_clear(&d->durable);
    buf_clear(&d->journal);
    disk_process_gone(d);
    d->full = d->damaged = d->torn = false;
    d->slow = 1;
    disk_roots(d);
}
