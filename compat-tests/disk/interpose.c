/*
 * A disk that misbehaves: preloaded into a server, it stands between it and the C library.
 *
 * INTERPOSE_LOG names a file that gets a line for every call watched:
 *     <ns> <call> <begin|end> <path or fd> <offset> <size> <result or errno> [<bytes sent, in hex>]
 * INTERPOSE_RULES names a file with a rule per line, read again at every call, so that a test can
 * change the weather while the server runs:
 *     <call> <part of the path> <errno, 0 for none> <delay ms> <calls to spare> <calls to hit>
 * A call is hit by the first rule that fits; -1 to hit all. Counting starts anew when the text
 * changes. A write that fails half-way does so visibly: half of the bytes are written.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES 16
#define TEXT 4096
#define PATH 512
#define SEND_LOGGED 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char rules[TEXT];
static int seen[RULES];

static void *real(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

static ssize_t raw_write(int fd, const void *p, size_t n) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) *(void **)&next = real("write");
    return next(fd, p, n);
}

static void note(const char *call, const char *phase, const char *what, long long off,
                 long long size, long long result, const void *bytes, size_t n) {
    static const char digits[] = "0123456789abcdef";
    static int fd = -1;
    const char *path = getenv("INTERPOSE_LOG");
    char line[PATH + 200 + 2 * SEND_LOGGED];
    struct timespec t;
    if (!path) return;
    (void)pthread_mutex_lock(&lock); /* the order of the lines is the order of the events */
    if (fd < 0) fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    int k = snprintf(line, sizeof line, "%lld %s %s %s %lld %lld %lld ",
                     (long long)t.tv_sec * 1000000000 + t.tv_nsec, call, phase, what, off, size,
                     result);
    for (size_t i = 0; i < n && i < SEND_LOGGED; i++) {
        line[k++] = digits[((const unsigned char *)bytes)[i] >> 4];
        line[k++] = digits[((const unsigned char *)bytes)[i] & 15];
    }
    line[k++] = '\n';
    (void)!raw_write(fd, line, (size_t)k);
    (void)pthread_mutex_unlock(&lock);
}

/* What the rules have in store for this call: an errno or 0, after the delay. */
static int fate(const char *call, const char *what) {
    const char *path = getenv("INTERPOSE_RULES");
    char text[TEXT] = "";
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1, hit = 0, delay = 0, number = 0;
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (n <= 0) return 0;
    (void)pthread_mutex_lock(&lock);
    if (strcmp(text, rules) != 0) {
        memcpy(rules, text, sizeof rules);
        memset(seen, 0, sizeof seen);
    }
    char *rest = text;
    for (char *line; number < RULES && (line = strtok_r(rest, "\n", &rest)); number++) {
        char name[32], part[128];
        int err, ms, spare, count;
        if (sscanf(line, "%31s %127s %d %d %d %d", name, part, &err, &ms, &spare, &count) != 6 ||
            strcmp(name, call) != 0 || !strstr(what, part))
            continue;
        int turn = seen[number]++;
        if (turn < spare || (count >= 0 && turn >= spare + count)) continue;
        hit = err;
        delay = ms;
        break;
    }
    (void)pthread_mutex_unlock(&lock);
    struct timespec t = {delay / 1000, delay % 1000 * 1000000L};
    if (delay) (void)nanosleep(&t, NULL);
    return hit;
}

static void path_of(int fd, char out[PATH]) {
    char link[64];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH - 1);
    out[n > 0 ? n : 0] = '\0';
}

static int sync_call(const char *name, int fd) {
    int (*next)(int);
    char path[PATH];
    *(void **)&next = real(name);
    path_of(fd, path);
    note(name, "begin", path, 0, 0, 0, NULL, 0);
    int err = fate(name, path), r = err ? -1 : next(fd);
    if (!err && r < 0) err = errno;
    note(name, "end", path, 0, 0, err, NULL, 0);
    errno = err;
    return r;
}

int fdatasync(int fd) {
    return sync_call("fdatasync", fd);
}

int fsync(int fd) {
    return sync_call("fsync", fd);
}

ssize_t pwritev(int fd, const struct iovec *v, int count, off_t off) {
    ssize_t (*next)(int, const struct iovec *, int, off_t);
    char path[PATH];
    size_t size = 0;
    *(void **)&next = real("pwritev");
    path_of(fd, path);
    for (int i = 0; i < count; i++) size += v[i].iov_len;
    note("write", "begin", path, off, (long long)size, 0, NULL, 0);
    int err = fate("write", path);
    if (err) {
        struct iovec half = {v[0].iov_base, v[0].iov_len / 2};
        (void)!next(fd, &half, 1, off);
    }
    ssize_t r = err ? -1 : next(fd, v, count, off);
    if (!err && r < 0) err = errno;
    note("write", "end", path, off, r > 0 ? (long long)r : 0, err, NULL, 0);
    errno = err;
    return r;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off) {
    union {
        const void *in;
        void *out;
    } base = {p};
    struct iovec v = {base.out, n};
    return pwritev(fd, &v, 1, off);
}

int ftruncate(int fd, off_t size) {
    int (*next)(int, off_t);
    char path[PATH];
    *(void **)&next = real("ftruncate");
    path_of(fd, path);
    int err = fate("ftruncate", path), r = err ? -1 : next(fd, size);
    if (!err && r < 0) err = errno;
    note("ftruncate", "end", path, size, 0, err, NULL, 0);
    errno = err;
    return r;
}

int rename(const char *from, const char *to) {
    int (*next)(const char *, const char *);
    *(void **)&next = real("rename");
    int err = fate("rename", to), r = err ? -1 : next(from, to);
    if (!err && r < 0) err = errno;
    note("rename", "end", to, 0, 0, err, NULL, 0);
    errno = err;
    return r;
}

int open(const char *path, int flags, ...) {
    int (*next)(const char *, int, ...);
    va_list ap;
    va_start(ap, flags);
    unsigned mode = flags & O_CREAT ? va_arg(ap, unsigned) : 0;
    va_end(ap);
    *(void **)&next = real("open");
    const char *mine = getenv("INTERPOSE_RULES");
    int err = mine && strcmp(mine, path) != 0 && flags & O_CREAT ? fate("create", path) : 0;
    if (!err) return next(path, flags, mode);
    errno = err;
    return -1;
}

DIR *opendir(const char *path) {
    DIR *(*next)(const char *);
    *(void **)&next = real("opendir");
    int err = fate("opendir", path);
    if (!err) return next(path);
    errno = err;
    return NULL;
}

ssize_t send(int fd, const void *p, size_t n, int flags) {
    ssize_t (*next)(int, const void *, size_t, int);
    char what[16];
    *(void **)&next = real("send");
    (void)snprintf(what, sizeof what, "%d", fd);
    note("send", "begin", what, 0, (long long)n, 0, p, n);
    return next(fd, p, n, flags);
}
