/*
 * host/os: the system calls. Every other room that needs the operating system asks here.
 *
 * The functions are thin: they retry EINTR, turn errors into -errno, and nothing else. A simulator
 * that wants to lose power in the middle of a write puts its own file in place of os.c.
 */
#ifndef ZK_HOST_OS_H
#define ZK_HOST_OS_H

#include <pthread.h>

#include "base/base.h"

/* --- time and randomness --- */
ZK_PRIVATE int64_t os_now_ms(void);  /* monotonic */
ZK_PRIVATE int64_t os_now_us(void);  /* ... in microseconds */
ZK_PRIVATE int64_t os_wall_ms(void); /* since 1970 */
ZK_PRIVATE uint64_t os_seed(void);
ZK_PRIVATE int os_pid(void);
ZK_PRIVATE const char *os_error(int err, char *buf, size_t n); /* text of a negative result */

/* --- conditions with a time, that of os_now_us() --- */
ZK_PRIVATE void os_cond_init(pthread_cond_t *cond);
/* False: the time has come. INT64_MAX: never does. */
ZK_PRIVATE bool os_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_us);

/* --- files; all return 0 or a count, or -errno --- */
ZK_PRIVATE int os_open_read(const char *path);
ZK_PRIVATE int os_create(const char *path); /* read and write, truncated */
ZK_PRIVATE int os_create_direct(const char *path); /* past the cache: in whole pages, aligned */
ZK_PRIVATE int os_set_cached(int fd); /* no longer past the cache */
ZK_PRIVATE int os_open_write(const char *path);
ZK_PRIVATE int64_t os_read(int fd, void *p, size_t n); /* as much as there is, up to n */
ZK_PRIVATE int os_pwrite(int fd, const void *p, size_t n, int64_t off); /* all of it */
ZK_PRIVATE int os_fdatasync(int fd);
ZK_PRIVATE int os_fsync_dir(const char *dir);
ZK_PRIVATE int os_truncate(int fd, int64_t size);
ZK_PRIVATE int os_close(int fd);
ZK_PRIVATE int os_rename(const char *from, const char *to);
ZK_PRIVATE int os_unlink(const char *path);
ZK_PRIVATE int os_mkdirs(const char *path); /* and its parents; 0 when it exists */
ZK_PRIVATE bool os_is_dir(const char *path);
ZK_PRIVATE bool os_writable(const char *path);
ZK_PRIVATE int64_t os_file_size(const char *path);
ZK_PRIVATE int64_t os_tree_size(const char *path); /* sum of the file lengths below */
/* Names in a directory, NUL-terminated one after the other. */
ZK_PRIVATE int os_list(const char *dir, struct buf *names);
ZK_PRIVATE int os_lock(const char *path); /* fd that holds an exclusive lock; -EAGAIN: taken */
/* The whole file, mapped; unmap with os_unmap. */
ZK_PRIVATE int os_map(const char *path, struct slice *bytes);
ZK_PRIVATE void os_unmap(struct slice bytes);

/* --- sockets --- */
#define OS_LISTENERS_MAX 8
/* Binds and listens on every address of host (NULL: all interfaces). port 0: any, the same for all.
 * Returns the number of sockets, or -errno. */
ZK_PRIVATE int os_listen(const char *host, uint16_t port, int backlog, int fds[OS_LISTENERS_MAX],
                         uint16_t *bound);
/* The same addresses as n other listeners, with another port. */
ZK_PRIVATE int os_listen_beside(const int *others, int n, uint16_t port, int backlog,
                                int fds[OS_LISTENERS_MAX]);
#define OS_ADDRS_MAX 4
/* The addresses of a host, IPv4 first, as many as fit. numeric: of literals only, and never blocks.
 * Returns their number, or -errno. */
ZK_PRIVATE int os_resolve(const char *host, uint16_t port, bool numeric,
                          struct net_addr out[OS_ADDRS_MAX]);
/* "1.2.3.4:2181", "[::1]:2181" */
ZK_PRIVATE void os_format_addr(const struct net_addr *addr, char *out, size_t n);
ZK_PRIVATE int os_connect(const struct net_addr *addr, bool keepalive); /* begins to; the socket */
ZK_PRIVATE int os_connected(int fd); /* 0: stands; -EINPROGRESS: not yet; else why it never will */
ZK_PRIVATE int os_accept(int fd, struct net_addr *addr, bool keepalive);
ZK_PRIVATE int64_t os_recv(int fd, void *p, size_t n); /* -EAGAIN, 0 at the end */
ZK_PRIVATE int64_t os_send(int fd, const void *p, size_t n);
ZK_PRIVATE void os_hang_up(int fd, bool abort); /* abort: no lingering, RST */
ZK_PRIVATE int os_pipe(int fds[2]); /* non-blocking, close-on-exec */
ZK_PRIVATE int os_blocking_pipe(int fds[2]); /* close-on-exec */
ZK_PRIVATE void os_notify(int fd);  /* a byte into a pipe; a full one has enough */
ZK_PRIVATE void os_drain(int fd);   /* what was notified of */
ZK_PRIVATE int os_dup_over(int fd, int number); /* number now is what fd is too */
ZK_PRIVATE int os_dup(int fd);
ZK_PRIVATE void os_shut(int fd); /* ends both directions; whoever waits for it wakes */
ZK_PRIVATE int os_wait_readable(int fd, int timeout_ms); /* 0: not within that time */

/*
 * A wait that begins awake: to be woken takes longer than the way to a process on the same machine
 * or rack and back. When nothing came so soon, ever more waits do without. Zero-initialised is
 * ready.
 */
#define OS_SPIN_US 100
#define OS_SPIN_REST 63 /* waits at most */
struct os_spin {
    uint32_t rest; /* waits without, before the next that is awake */
    uint32_t back; /* ... and after that one */
};
/* Lets others run. 0: nothing came so soon, or it was not tried. */
ZK_PRIVATE int os_spin_readable(struct os_spin *s, int fd);

/* --- readiness: epoll, or poll where there is none --- */
struct os_event {
    uint64_t tag;
    bool readable, writable, failed;
};
struct os_poller;
ZK_PRIVATE struct os_poller *os_poller_new(void);
ZK_PRIVATE void os_poller_free(struct os_poller *p);
ZK_PRIVATE int os_poller_add(struct os_poller *p, int fd, uint64_t tag);
ZK_PRIVATE void os_poller_set(struct os_poller *p, int fd, uint64_t tag, bool read, bool write);
ZK_PRIVATE void os_poller_del(struct os_poller *p, int fd);
/* Readable when os_poller_wait would not wait; -1 where there is no such descriptor. One thread
 * may wait while others change the poller, which costs a little more where there is none. */
ZK_PRIVATE int os_poller_fd(const struct os_poller *p);
ZK_PRIVATE int os_poller_wait(struct os_poller *p, struct os_event *out, int max, int timeout_ms);

/* --- facts for `envi` and mntr --- */
ZK_PRIVATE void os_environment(struct buf *out); /* "key=value\n" lines */
ZK_PRIVATE int64_t os_open_files(void);
ZK_PRIVATE int64_t os_max_files(void);

#endif
