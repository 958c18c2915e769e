/*
 * The file half of host/os.h on the simulated disk of the server that is running.
 *
 * Every call may be the last one of the process: a countdown ends it there, by a jump back to
 * host.c, with a write cut short. Errors are injected by the same door. Calls that the simulated
 * server has no use for (sockets, pollers) are not here: linking would tell.
 */
#include <errno.h>
#include <stdio.h>

#include "sim.h"

/* --- the door --- */

static struct disk *os_disk(void) {
    return &server_running()->disk;
}

static _Noreturn void os_die(struct disk *d) {
    struct server *s = server_running();
    ZK_ASSERT(s->crash_set);
    s->crash_power = d->calls_power;
    (void)mem_owned_by(&sim.mem);
    longjmp(s->crash, 1);
}

/* The process goes on to live through this call. */
static struct mem_owner *os_enter(struct disk *d) {
    if (d->calls_left && --d->calls_left == 0) os_die(d);
    return mem_owned_by(&sim.mem);
}

/* Whether a call that changes something fails: 0 or -errno. */
static int os_fault(struct disk *d, bool needs_room) {
    if (d->fail_next && prng_below(&d->rng, 2)) {
        d->fail_next--;
        d->failed = true;
        return -EIO;
    }
    if (!needs_room || !d->full) return 0;
    d->failed = true;
    return -ENOSPC;
}

static int os_fd(struct disk *d, uint32_t inode, bool direct) {
    for (int fd = 3; fd < (int)(sizeof d->fds / sizeof d->fds[0]); fd++) {
        if (d->fds[fd] != SIM_NONE) continue;
        d->fds[fd] = inode;
        d->fd_direct[fd] = direct;
        d->fd_at[fd] = 0;
        return fd;
    }
    return -EMFILE;
}

static struct disk_file *os_file(struct disk *d, int fd) {
    ZK_ASSERT(fd >= 3 && d->fds[fd] != SIM_NONE);
    return &d->files[d->fds[fd]];
}

/* --- time, for what recovery reports --- */

int64_t os_now_ms(void) {
    return server_mono_ms(server_running());
}

int64_t os_wall_ms(void) {
    return server_wall_ms(server_running());
}

const char *os_error(int err, char *buf, size_t n) {
    (void)snprintf(buf, n, "error %d", -err);
    return buf;
}

/* --- opening --- */

static int os_open_existing(const char *path) {
    struct disk *d = os_disk();
    struct mem_owner *before = os_enter(d);
    const struct disk_name *e = disk_find(&d->live, path);
    int fd = e ? os_fd(d, e->inode, false) : -ENOENT;
    (void)mem_owned_by(before);
    return fd;
}

int os_open_read(const char *path) {
    return os_open_existing(path);
}

int os_open_write(const char *path) {
    return os_open_existing(path);
}

static bool os_parent_exists(struct disk *d, const char *path) {
    char dir[DISK_PATH];
    disk_dirname(path, dir);
    return !*dir || disk_find(&d->live, dir);
}

static int os_make(const char *path, bool direct) {
    struct disk *d = os_disk();
    struct mem_owner *before = os_enter(d);
    int fd = os_fault(d, true);
    if (!fd && !os_parent_exists(d, path)) fd = -ENOENT;
    if (!fd) {
        const struct disk_name *e = disk_find(&d->live, path);
        uint32_t inode = e ? e->inode : disk_new_file(d, false);
        if (e)
            disk_resize(&d->files[inode], 0);
        else
            disk_change(d, DISK_CREATE, path, NULL, inode);
        fd = os_fd(d, inode, direct);
    }
    (void)mem_owned_by(before);
    return fd;
}

int os_create(const char *path) {
    return os_make(path, false);
}

int os_create_direct(const char *path) {
    return sim.t.direct ? os_make(path, true) : -EINVAL;
}

int os_set_cached(int fd) {
    os_disk()->fd_direct[fd] = 0;
    return 0;
}

int os_close(int fd) {
    struct disk *d = os_disk();
    (void)os_file(d, fd);
    d->fds[fd] = SIM_NONE;
    return 0;
}

int os_lock(const char *path) {
    struct disk *d = os_disk();
    const struct disk_name *e = disk_find(&d->live, path);
    for (int fd = 3; e && fd < (int)(sizeof d->fds / sizeof d->fds[0]); fd++)
        if (d->fds[fd] == e->inode) return -EAGAIN;
    return e ? os_open_existing(path) : os_make(path, false);
}

/* --- reading --- */

int64_t os_read(int fd, void *p, size_t n) {
    struct disk *d = os_disk();
    const struct disk_file *f = os_file(d, fd);
    int64_t left = f->size - d->fd_at[fd], take = left < (int64_t)n ? left : (int64_t)n;
    if (take <= 0) return 0;
    memcpy(p, f->cache + d->fd_at[fd], (size_t)take);
    d->fd_at[fd] += take;
    return take;
}

int os_map(const char *path, struct slice *bytes) {
    struct disk *d = os_disk();
    const struct disk_name *e = disk_find(&d->live, path);
    if (!e) return -ENOENT;
    const struct disk_file *f = &d->files[e->inode];
    if (f->dir) return -EISDIR;
    uint8_t *copy = mem_alloc((size_t)f->size + 1);
    if (f->size) memcpy(copy, f->cache, (size_t)f->size);
    *bytes = slice_of(copy, (size_t)f->size);
    return 0;
}

void os_unmap(struct slice bytes) {
    union {
        const uint8_t *in;
        void *out;
    } p = {.in = bytes.p};
    mem_free(p.out);
}

int64_t os_file_size(const char *path) {
    struct disk *d = os_disk();
    const struct disk_name *e = disk_find(&d->live, path);
    return e ? d->files[e->inode].size : -ENOENT;
}

bool os_is_dir(const char *path) {
    struct disk *d = os_disk();
    const struct disk_name *e = disk_find(&d->live, path);
    return e && d->files[e->inode].dir;
}

bool os_writable(const char *path) {
    (void)path;
    return true;
}

int os_list(const char *dir, struct buf *names) {
    struct disk *d = os_disk();
    uint32_t n;
    const struct disk_name *at = disk_names(&d->live, &n);
    if (!disk_find(&d->live, dir)) return -ENOENT;
    uint32_t first = n ? (uint32_t)prng_below(&d->rng, n) : 0; /* in no order to rely on */
    for (uint32_t k = 0; k < n; k++) {
        const char *path = at[(first + k) % n].path;
        char of[DISK_PATH];
        disk_dirname(path, of);
        if (strcmp(of, dir) != 0) continue;
        const char *name = strrchr(path, '/') + 1;
        buf_put(names, name, strlen(name) + 1);
    }
    return 0;
}

/* --- changing --- */

int os_pwrite(int fd, const void *p, size_t n, int64_t off) {
    struct disk *d = os_disk();
    struct disk_file *f = os_file(d, fd);
    if (d->fd_direct[fd]) {
        ZK_ASSERT(n % DISK_PAGE == 0 && off % DISK_PAGE == 0 && (uintptr_t)p % DISK_PAGE == 0);
        if (sim.t.direct == 1) return -EINVAL;
    }
    bool dies = d->calls_left == 1;
    int err = os_fault(d, off + (int64_t)n > f->size);
    struct mem_owner *before = mem_owned_by(&sim.mem);
    /* A write that is cut short has written its first part. */
    disk_write(f, p, dies || err ? (int64_t)prng_below(&d->rng, n + 1) : (int64_t)n, off);
    (void)mem_owned_by(before);
    (void)mem_owned_by(os_enter(d));
    return err;
}

int os_truncate(int fd, int64_t size) {
    struct disk *d = os_disk();
    struct mem_owner *before = os_enter(d);
    struct disk_file *f = os_file(d, fd);
    int err = os_fault(d, size > f->size);
    if (!err) disk_resize(f, size);
    (void)mem_owned_by(before);
    return err;
}

/* The pages of a failed sync: some are still to be written, some are believed to be. */
static void os_sync_failed(struct disk *d, struct disk_file *f, bool direct) {
    for (int64_t p = 0; p < f->cap / DISK_PAGE; p++) {
        if (!f->dirty[p]) continue;
        uint64_t fate = prng_below(&d->rng, sim.t.sync_lies && !direct ? 3 : 2);
        if (fate == 1) memcpy(f->disk + p * DISK_PAGE, f->cache + p * DISK_PAGE, DISK_PAGE);
        if (fate) f->dirty[p] = 0;
    }
}

int os_fdatasync(int fd) {
    struct disk *d = os_disk();
    struct mem_owner *before = os_enter(d);
    struct disk_file *f = os_file(d, fd);
    int err = os_fault(d, false);
    if (!err && d->sync_fails) {
        d->sync_fails = false;
        d->failed = true;
        err = -EIO;
    }
    if (err) {
        os_sync_failed(d, f, d->fd_direct[fd]);
    } else {
        disk_sync(f);
        uint32_t n;
        const struct disk_name *at = disk_names(&d->live, &n);
        for (uint32_t i = 0; i < n && sim.t.sync_names; i++) {
            char dir[DISK_PATH];
            if (at[i].inode != d->fds[fd]) continue;
            disk_dirname(at[i].path, dir);
            disk_sync_names(d, dir);
        }
    }
    (void)mem_owned_by(before);
    return err;
}

int os_fsync_dir(const char *dir) {
    struct disk *d = os_disk();
    struct mem_owner *before = os_enter(d);
    int err = os_fault(d, false);
    if (!err) disk_sync_names(d, dir);
    (void)mem_owned_by(before);
    return err;
}

int os_rename(const char *from, const char *to) {
    struct disk *d = os_disk();
    struct mem_owner *before = os_enter(d);
    int err = os_fault(d, false);
    if (!err && !disk_find(&d->live, from)) err = -ENOENT;
    if (!err) disk_change(d, DISK_RENAME, from, to, 0);
    (void)mem_owned_by(before);
    return err;
}

int os_unlink(const char *path) {
    struct disk *d = os_disk();
    struct mem_owner *before = os_enter(d);
    int err = !disk_find(&d->live, path) ? -ENOENT : os_fault(d, false);
    if (!err) disk_change(d, DISK_UNLINK, path, NULL, 0);
    (void)mem_owned_by(before);
    return err;
}

int os_mkdirs(const char *path) {
    struct disk *d = os_disk();
    struct mem_owner *before = os_enter(d);
    int err = os_fault(d, true);
    char part[DISK_PATH];
    for (size_t n = 1; !err && n <= strlen(path); n++) {
        if (path[n] != '/' && path[n] != '\0') continue;
        memcpy(part, path, n);
        part[n] = '\0';
        if (!disk_find(&d->live, part))
            disk_change(d, DISK_CREATE, part, NULL, disk_new_file(d, true));
    }
    (void)mem_owned_by(before);
    return err;
}
