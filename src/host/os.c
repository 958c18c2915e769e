#include "host/os.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#if ZK_WITH_EPOLL
#include <sys/epoll.h>
#endif

/* --- time and randomness --- */

static int64_t os_clock_us(clockid_t clock) {
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

ZK_PRIVATE int64_t os_now_ms(void) {
    return os_now_us() / 1000;
}

ZK_PRIVATE int64_t os_now_us(void) {
    return os_clock_us(CLOCK_MONOTONIC);
}

ZK_PRIVATE int64_t os_wall_ms(void) {
    return os_clock_us(CLOCK_REALTIME) / 1000;
}

ZK_PRIVATE void os_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

ZK_PRIVATE bool os_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_us) {
    if (until_us == INT64_MAX) return pthread_cond_wait(cond, lock) == 0;
    struct timespec at = {(time_t)(until_us / 1000000), (long)(until_us % 1000000) * 1000};
    return pthread_cond_timedwait(cond, lock, &at) == 0;
}

ZK_PRIVATE uint64_t os_seed(void) {
    uint64_t seed = 0;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &seed, sizeof seed) != (ssize_t)sizeof seed) seed = 0;
        (void)close(fd);
    }
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return seed ^ ((uint64_t)t.tv_nsec << 20) ^ (uint64_t)getpid();
}

ZK_PRIVATE int os_pid(void) {
    return (int)getpid();
}

ZK_PRIVATE const char *os_error(int err, char *buf, size_t n) {
    /* strerror_r comes in two kinds; the table behind strerror is constant text in practice, but
     * only a copy made at once is safe to hand on. */
    (void)snprintf(buf, n, "%s", strerror(err < 0 ? -err : err));
    return buf;
}

/* --- files --- */

static int os_open(const char *path, int flags) {
    int fd;
    do fd = open(path, flags | O_CLOEXEC, 0644);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

ZK_PRIVATE int os_open_read(const char *path) {
    return os_open(path, O_RDONLY);
}

ZK_PRIVATE int os_create(const char *path) {
    return os_open(path, O_RDWR | O_CREAT | O_TRUNC);
}

ZK_PRIVATE int os_create_direct(const char *path) {
#ifdef O_DIRECT
    return os_open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT);
#else
    (void)path;
    return -ENOTSUP;
#endif
}

ZK_PRIVATE int os_set_cached(int fd) {
#ifdef O_DIRECT
    int fl = fcntl(fd, F_GETFL);
    return fl < 0 || fcntl(fd, F_SETFL, fl & ~O_DIRECT) < 0 ? -errno : 0;
#else
    (void)fd;
    return 0;
#endif
}

ZK_PRIVATE int os_open_write(const char *path) {
    return os_open(path, O_RDWR);
}

ZK_PRIVATE int64_t os_read(int fd, void *p, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t k = read(fd, (uint8_t *)p + done, n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -errno;
        if (k == 0) break;
        done += (size_t)k;
    }
    return (int64_t)done;
}

ZK_PRIVATE int os_pwrite(int fd, const void *p, size_t n, int64_t off) {
    const uint8_t *at = p;
    while (n) {
        ssize_t w = pwrite(fd, at, n, (off_t)off);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return -errno;
        if (w == 0) return -EIO;
        at += w;
        off += w;
        n -= (size_t)w;
    }
    return 0;
}

ZK_PRIVATE int os_fdatasync(int fd) {
    int r;
    do r = fdatasync(fd);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

ZK_PRIVATE int os_fsync_dir(const char *dir) {
    int fd = os_open(dir, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return fd;
    int r = fsync(fd) < 0 ? -errno : 0;
    (void)close(fd);
    return r;
}

ZK_PRIVATE int os_truncate(int fd, int64_t size) {
    int r;
    do r = ftruncate(fd, (off_t)size);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

ZK_PRIVATE int os_close(int fd) {
    return close(fd) < 0 ? -errno : 0;
}

ZK_PRIVATE int os_rename(const char *from, const char *to) {
    return rename(from, to) < 0 ? -errno : 0;
}

ZK_PRIVATE int os_unlink(const char *path) {
    return unlink(path) < 0 ? -errno : 0;
}

ZK_PRIVATE bool os_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

ZK_PRIVATE int os_mkdirs(const char *path) {
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part) return -ENAMETOOLONG;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST) return -errno;
    }
    return os_is_dir(path) ? 0 : -ENOTDIR;
}

ZK_PRIVATE bool os_writable(const char *path) {
    return access(path, W_OK) == 0;
}

ZK_PRIVATE int64_t os_file_size(const char *path) {
    struct stat st;
    return stat(path, &st) < 0 ? -errno : (int64_t)st.st_size;
}

ZK_PRIVATE int os_list(const char *dir, struct buf *names) {
    DIR *d = opendir(dir);
    if (!d) return -errno;
    int err = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            err = -errno;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        buf_put(names, e->d_name, strlen(e->d_name) + 1);
    }
    (void)closedir(d);
    return err;
}

ZK_PRIVATE int64_t os_tree_size(const char *path) {
    struct buf names = {0}, full = {0};
    int64_t total = 0;
    if (!os_is_dir(path)) {
        total = os_file_size(path);
        return total > 0 ? total : 0;
    }
    (void)os_list(path, &names);
    for (size_t at = 0; at < names.n;) {
        const char *name = (const char *)names.p + at;
        at += strlen(name) + 1;
        buf_clear(&full);
        buf_printf(&full, "%s/%s", path, name);
        buf_putc(&full, '\0');
        struct stat st;
        if (lstat((const char *)full.p, &st) < 0) continue;
        if (S_ISREG(st.st_mode)) total += (int64_t)st.st_size;
        if (S_ISDIR(st.st_mode)) total += os_tree_size((const char *)full.p);
    }
    buf_free(&names);
    buf_free(&full);
    return total;
}

ZK_PRIVATE int os_lock(const char *path) {
    int fd = os_open(path, O_RDWR | O_CREAT);
    if (fd < 0) return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    int err = errno == EWOULDBLOCK ? EAGAIN : errno;
    (void)close(fd);
    return -err;
}

ZK_PRIVATE int os_map(const char *path, struct slice *bytes) {
    static const uint8_t nothing[1] = {0};
    *bytes = slice_of(nothing, 0);
    int fd = os_open_read(path), err = 0;
    if (fd < 0) return fd;
    struct stat st;
    if (fstat(fd, &st) < 0) {
        err = -errno;
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            err = -errno;
        else
            *bytes = slice_of(p, (size_t)st.st_size);
    }
    (void)close(fd);
    return err;
}

ZK_PRIVATE void os_unmap(struct slice bytes) {
    if (!bytes.n) return;
    union {
        const uint8_t *in;
        void *out;
    } p = {bytes.p};
    (void)munmap(p.out, bytes.n);
}

/* --- sockets --- */

/*
 * Where the system can, descriptors are born close-on-exec: between two calls another thread may
 * start a program, which would inherit them. Elsewhere the flags come as soon as possible.
 */
#ifdef SOCK_CLOEXEC
#define OS_SOCKET_FLAGS (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
#else
#define OS_SOCKET_FLAGS SOCK_STREAM
#endif

static int os_set_flags(int fd) {
#ifdef SOCK_CLOEXEC
    (void)fd;
    return 0;
#else
    int fl = fcntl(fd, F_GETFL);
    if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0) return -errno;
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
#endif
}

static in_port_t *os_port_of(struct sockaddr_storage *sa) {
    return sa->ss_family == AF_INET ? &((struct sockaddr_in *)(void *)sa)->sin_port
                                    : &((struct sockaddr_in6 *)(void *)sa)->sin6_port;
}

static int os_listen_one(struct sockaddr_storage sa, socklen_t len, int backlog, uint16_t *port) {
    int one = 1, fd = socket(sa.ss_family, OS_SOCKET_FLAGS, 0);
    if (fd < 0) return -errno;
    *os_port_of(&sa) = htons(*port);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (sa.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    int err = os_set_flags(fd);
    if (!err && bind(fd, (struct sockaddr *)&sa, len) < 0) err = -errno;
    if (!err && listen(fd, backlog < 0 ? SOMAXCONN : backlog) < 0) err = -errno;
    if (!err && getsockname(fd, (struct sockaddr *)&sa, &len) < 0) err = -errno;
    if (err) {
        (void)close(fd);
        return err;
    }
    *port = ntohs(*os_port_of(&sa));
    return fd;
}

ZK_PRIVATE int os_listen_beside(const int *others, int n, uint16_t port, int backlog,
                                int fds[OS_LISTENERS_MAX]) {
    int done = 0, fd = -EADDRNOTAVAIL;
    for (; done < n; fds[done++] = fd) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof sa;
        bool known = getsockname(others[done], (struct sockaddr *)&sa, &len) == 0;
        fd = known ? os_listen_one(sa, len, backlog, &port) : -errno;
        if (fd < 0) break;
    }
    if (done == n && n) return n;
    while (done) (void)close(fds[--done]);
    return fd;
}

ZK_PRIVATE int os_listen(const char *host, uint16_t port, int backlog, int fds[OS_LISTENERS_MAX],
                         uint16_t *bound) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    if (getaddrinfo(host, "0", &hints, &list) != 0) return -EADDRNOTAVAIL;
    int n = 0, err = 0;
    *bound = port;
    for (int family = AF_INET; !err; family = AF_INET6) { /* IPv4 first: it decides port 0 */
        for (struct addrinfo *ai = list; ai && !err && n < OS_LISTENERS_MAX; ai = ai->ai_next) {
            if (ai->ai_family != family) continue;
            struct sockaddr_storage sa;
            memcpy(&sa, ai->ai_addr, ai->ai_addrlen);
            int fd = os_listen_one(sa, ai->ai_addrlen, backlog, bound);
            if (fd >= 0)
                fds[n++] = fd;
            else if (family == AF_INET || !n)
                err = fd; /* a machine without IPv6 still serves IPv4 */
            else if (fd == -EADDRINUSE)
                err = fd;
        }
        if (family == AF_INET6) break;
    }
    freeaddrinfo(list);
    if (!err && n) return n;
    while (n) (void)close(fds[--n]);
    return err ? err : -EADDRNOTAVAIL;
}

static void os_to_addr(const struct sockaddr_storage *sa, struct net_addr *out) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memset(out, 0, sizeof *out);
    if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        out->port = ntohs(in6->sin6_port);
        out->ip_len = 16;
        memcpy(out->ip, &in6->sin6_addr, 16);
        if (memcmp(out->ip, mapped, sizeof mapped) == 0) {
            memmove(out->ip, out->ip + 12, 4);
            out->ip_len = 4;
        }
        return;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
    out->port = ntohs(in->sin_port);
    out->ip_len = 4;
    memcpy(out->ip, &in->sin_addr, 4);
}

ZK_PRIVATE int os_resolve(const char *host, uint16_t port, bool numeric,
                          struct net_addr out[OS_ADDRS_MAX]) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                             .ai_flags = numeric ? AI_NUMERICHOST : 0};
    struct addrinfo *list = NULL;
    if (getaddrinfo(host, NULL, &hints, &list) != 0) return -EADDRNOTAVAIL;
    int n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (struct addrinfo *ai = list; ai && n < OS_ADDRS_MAX; ai = ai->ai_next) {
            if (ai->ai_family != (pass == 0 ? AF_INET : AF_INET6)) continue;
            struct sockaddr_storage sa;
            memcpy(&sa, ai->ai_addr, ai->ai_addrlen);
            os_to_addr(&sa, &out[n]);
            out[n++].port = port;
        }
    }
    freeaddrinfo(list);
    return n ? n : -EADDRNOTAVAIL;
}

static socklen_t os_from_addr(const struct net_addr *addr, struct sockaddr_storage *sa) {
    memset(sa, 0, sizeof *sa);
    sa->ss_family = addr->ip_len == 4 ? AF_INET : AF_INET6;
    *os_port_of(sa) = htons(addr->port);
    if (addr->ip_len == 4)
        memcpy(&((struct sockaddr_in *)(void *)sa)->sin_addr, addr->ip, 4);
    else
        memcpy(&((struct sockaddr_in6 *)(void *)sa)->sin6_addr, addr->ip, 16);
    return addr->ip_len == 4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

ZK_PRIVATE void os_format_addr(const struct net_addr *addr, char *out, size_t n) {
    char ip[INET6_ADDRSTRLEN] = "";
    bool v4 = addr->ip_len == 4;
    (void)inet_ntop(v4 ? AF_INET : AF_INET6, addr->ip, ip, sizeof ip);
    (void)snprintf(out, n, v4 ? "%s:%u" : "[%s]:%u", ip, (unsigned)addr->port);
}

static void os_set_stream(int fd, bool keepalive) {
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (keepalive) (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

ZK_PRIVATE int os_connect(const struct net_addr *addr, bool keepalive) {
    struct sockaddr_storage sa;
    socklen_t len = os_from_addr(addr, &sa);
    int fd = socket(sa.ss_family, OS_SOCKET_FLAGS, 0);
    if (fd < 0) return -errno;
    os_set_stream(fd, keepalive);
    int err = os_set_flags(fd);
    if (!err && connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS &&
        errno != EINTR)
        err = -errno;
    if (!err) return fd;
    (void)close(fd);
    return err;
}

ZK_PRIVATE int os_connected(int fd) {
    struct sockaddr_storage here, there;
    socklen_t len = sizeof(int), here_len = sizeof here, there_len = sizeof there;
    int err = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) return -errno;
    if (err) return -err;
    if (getpeername(fd, (struct sockaddr *)&there, &there_len) < 0)
        return errno == ENOTCONN ? -EINPROGRESS : -errno;
    if (getsockname(fd, (struct sockaddr *)&here, &here_len) < 0) return -errno;
    /* A port of this machine that nobody listens on can be dialed from itself. */
    bool self = here_len == there_len && memcmp(&here, &there, here_len) == 0;
    return self ? -ECONNREFUSED : 0;
}

ZK_PRIVATE int os_accept(int fd, struct net_addr *addr, bool keepalive) {
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int c;
#ifdef SOCK_CLOEXEC
    do c = accept4(fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
    do c = accept(fd, (struct sockaddr *)&sa, &len);
#endif
    while (c < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (c < 0) return -errno;
    int err = os_set_flags(c);
    if (err) {
        (void)close(c);
        return err;
    }
    os_set_stream(c, keepalive);
    os_to_addr(&sa, addr);
    return c;
}

ZK_PRIVATE int64_t os_recv(int fd, void *p, size_t n) {
    ssize_t k;
    do k = recv(fd, p, n, 0);
    while (k < 0 && errno == EINTR);
    return k < 0 ? -errno : k;
}

ZK_PRIVATE int64_t os_send(int fd, const void *p, size_t n) {
    ssize_t k;
    do k = send(fd, p, n, MSG_NOSIGNAL);
    while (k < 0 && errno == EINTR);
    return k < 0 ? -errno : k;
}

ZK_PRIVATE void os_hang_up(int fd, bool abort_now) {
    if (abort_now) {
        struct linger off = {1, 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
    } else {
        /* Unread input would turn the close into a reset and could cost the peer the last reply. */
        uint8_t rest[4096];
        (void)shutdown(fd, SHUT_WR);
        for (int i = 0; i < 16 && recv(fd, rest, sizeof rest, MSG_DONTWAIT) > 0; i++) continue;
    }
    (void)close(fd);
}

ZK_PRIVATE int os_pipe(int fds[2]) {
#ifdef SOCK_CLOEXEC
    return pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
#else
    if (pipe(fds) < 0) return -errno;
    int err = os_set_flags(fds[0]);
    return err ? err : os_set_flags(fds[1]);
#endif
}

ZK_PRIVATE int os_blocking_pipe(int fds[2]) {
#ifdef SOCK_CLOEXEC
    return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
#else
    if (pipe(fds) < 0) return -errno;
    for (int i = 0; i < 2; i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0) return -errno;
    return 0;
#endif
}

ZK_PRIVATE void os_notify(int fd) {
    ssize_t k;
    do k = write(fd, "", 1);
    while (k < 0 && errno == EINTR);
}

ZK_PRIVATE void os_drain(int fd) {
    uint8_t rest[64];
    while (read(fd, rest, sizeof rest) > 0) continue;
}

ZK_PRIVATE int os_dup_over(int fd, int number) {
    int n;
#ifdef SOCK_CLOEXEC
    do n = dup3(fd, number, O_CLOEXEC);
    while (n < 0 && errno == EINTR);
#else
    do n = dup2(fd, number);
    while (n < 0 && errno == EINTR);
    if (n >= 0) n = fcntl(number, F_SETFD, FD_CLOEXEC);
#endif
    return n < 0 ? -errno : 0;
}

ZK_PRIVATE int os_dup(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

ZK_PRIVATE void os_shut(int fd) {
    (void)shutdown(fd, SHUT_RDWR);
}

ZK_PRIVATE int os_wait_readable(int fd, int timeout_ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, timeout_ms);
    return n < 0 ? (errno == EINTR ? 0 : -errno) : n;
}

ZK_PRIVATE int os_spin_readable(struct os_spin *s, int fd) {
    if (s->rest) {
        s->rest--;
        return 0;
    }
    int64_t end = os_now_us() + OS_SPIN_US;
    int n;
    while ((n = os_wait_readable(fd, 0)) == 0 && os_now_us() < end) (void)sched_yield();
    s->back = n ? 0 : s->back * 2 + 1;
    if (s->back > OS_SPIN_REST) s->back = OS_SPIN_REST;
    s->rest = s->back;
    return n;
}

/* --- readiness --- */

#if ZK_WITH_EPOLL

struct os_poller {
    int fd;
};

ZK_PRIVATE struct os_poller *os_poller_new(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) return NULL;
    struct os_poller *p = mem_try(sizeof *p);
    if (!p) {
        (void)close(fd);
        return NULL;
    }
    p->fd = fd;
    return p;
}

ZK_PRIVATE int os_poller_fd(const struct os_poller *p) {
    return p->fd;
}

ZK_PRIVATE void os_poller_free(struct os_poller *p) {
    if (!p) return;
    (void)close(p->fd);
    mem_free(p);
}

static int os_epoll(struct os_poller *p, int op, int fd, uint64_t tag, bool read, bool write) {
    struct epoll_event e = {.events = (read ? (uint32_t)EPOLLIN : 0u) |
                                      (write ? (uint32_t)EPOLLOUT : 0u),
                            .data = {.u64 = tag}};
    return epoll_ctl(p->fd, op, fd, &e) < 0 ? -errno : 0;
}

ZK_PRIVATE int os_poller_add(struct os_poller *p, int fd, uint64_t tag) {
    return os_epoll(p, EPOLL_CTL_ADD, fd, tag, true, false);
}

ZK_PRIVATE void os_poller_set(struct os_poller *p, int fd, uint64_t tag, bool read, bool write) {
    (void)os_epoll(p, EPOLL_CTL_MOD, fd, tag, read, write);
}

ZK_PRIVATE void os_poller_del(struct os_poller *p, int fd) {
    (void)os_epoll(p, EPOLL_CTL_DEL, fd, 0, false, false);
}

ZK_PRIVATE int os_poller_wait(struct os_poller *p, struct os_event *out, int max, int timeout_ms) {
    enum { OS_EVENTS = 256 };
    struct epoll_event ev[OS_EVENTS];
    int n = epoll_wait(p->fd, ev, max < OS_EVENTS ? max : OS_EVENTS, timeout_ms);
    if (n < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        out[i].tag = ev[i].data.u64;
        out[i].readable = (ev[i].events & EPOLLIN) != 0;
        out[i].writable = (ev[i].events & EPOLLOUT) != 0;
        out[i].failed = (ev[i].events & (EPOLLERR | EPOLLHUP)) != 0;
    }
    return n;
}

#else

enum { OS_FEW_FDS = 16 };

/* poll takes the list along when it begins to wait: who changes the list meanwhile rings. */
struct os_poller {
    pthread_mutex_t lock; /* of everything here; nobody waits under it */
    struct pollfd *fds;   /* owned; the first is the bell */
    uint64_t *tags;       /* owned */
    uint32_t n, cap;
    uint32_t waiting; /* threads in poll */
    int bell[2];
};

static bool os_poller_grow(struct os_poller *p) {
    uint32_t cap = p->cap ? p->cap * 2 : 16;
    struct pollfd *fds = mem_try(sizeof *fds * cap);
    uint64_t *tags = mem_try(sizeof *tags * cap);
    if (!fds || !tags) {
        mem_free(fds);
        mem_free(tags);
        return false;
    }
    if (p->n) memcpy(fds, p->fds, sizeof *fds * p->n);
    if (p->n) memcpy(tags, p->tags, sizeof *tags * p->n);
    mem_free(p->fds);
    mem_free(p->tags);
    p->fds = fds;
    p->tags = tags;
    p->cap = cap;
    return true;
}

ZK_PRIVATE struct os_poller *os_poller_new(void) {
    struct os_poller *p = mem_try(sizeof *p);
    if (!p || !os_poller_grow(p) || os_pipe(p->bell)) {
        if (p) mem_free(p->fds);
        if (p) mem_free(p->tags);
        mem_free(p);
        return NULL;
    }
    (void)pthread_mutex_init(&p->lock, NULL);
    p->fds[p->n].fd = p->bell[0];
    p->fds[p->n++].events = POLLIN;
    return p;
}

ZK_PRIVATE int os_poller_fd(const struct os_poller *p) {
    (void)p;
    return -1;
}

ZK_PRIVATE void os_poller_free(struct os_poller *p) {
    if (!p) return;
    (void)close(p->bell[0]);
    (void)close(p->bell[1]);
    (void)pthread_mutex_destroy(&p->lock);
    mem_free(p->fds);
    mem_free(p->tags);
    mem_free(p);
}

static uint32_t os_poll_find(const struct os_poller *p, int fd) {
    uint32_t i = 1;
    while (i < p->n && p->fds[i].fd != fd) i++;
    return i;
}

/* Ends a change. */
static void os_poll_changed(struct os_poller *p) {
    if (p->waiting) os_notify(p->bell[1]);
    (void)pthread_mutex_unlock(&p->lock);
}

ZK_PRIVATE int os_poller_add(struct os_poller *p, int fd, uint64_t tag) {
    (void)pthread_mutex_lock(&p->lock);
    bool ok = p->n < p->cap || os_poller_grow(p);
    if (ok) {
        p->fds[p->n].fd = fd;
        p->fds[p->n].events = POLLIN;
        p->tags[p->n++] = tag;
    }
    os_poll_changed(p);
    return ok ? 0 : -ENOMEM;
}

ZK_PRIVATE void os_poller_set(struct os_poller *p, int fd, uint64_t tag, bool read, bool write) {
    (void)pthread_mutex_lock(&p->lock);
    uint32_t i = os_poll_find(p, fd);
    if (i < p->n) {
        p->fds[i].events = (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0));
        p->tags[i] = tag;
    }
    os_poll_changed(p);
}

ZK_PRIVATE void os_poller_del(struct os_poller *p, int fd) {
    (void)pthread_mutex_lock(&p->lock);
    uint32_t i = os_poll_find(p, fd);
    if (i < p->n) {
        p->n--;
        p->fds[i] = p->fds[p->n];
        p->tags[i] = p->tags[p->n];
    }
    os_poll_changed(p);
}

/* What was found of n, as far as it is still in the list and asked for. Under the lock. */
static int os_poll_report(struct os_poller *p, const struct pollfd *found, uint32_t n,
                          struct os_event *out, int max) {
    const short failed = POLLERR | POLLHUP | POLLNVAL;
    int k = 0;
    for (uint32_t i = 1; i < n && k < max; i++) {
        if (!found[i].revents) continue;
        uint32_t at = i < p->n && p->fds[i].fd == found[i].fd ? i : os_poll_find(p, found[i].fd);
        if (at == p->n) continue;
        short ev = (short)(found[i].revents & (p->fds[at].events | failed));
        if (!ev) continue;
        out[k].tag = p->tags[at];
        out[k].readable = (ev & POLLIN) != 0;
        out[k].writable = (ev & POLLOUT) != 0;
        out[k++].failed = (ev & failed) != 0;
    }
    return k;
}

ZK_PRIVATE int os_poller_wait(struct os_poller *p, struct os_event *out, int max, int timeout_ms) {
    struct pollfd few[OS_FEW_FDS];
    (void)pthread_mutex_lock(&p->lock);
    uint32_t n = p->n;
    struct pollfd *copy = n <= OS_FEW_FDS ? few : mem_try(sizeof *copy * n);
    if (copy) memcpy(copy, p->fds, sizeof *copy * n);
    p->waiting++;
    (void)pthread_mutex_unlock(&p->lock);
    int k = copy ? poll(copy, n, timeout_ms) : -1;
    int err = !copy ? -ENOMEM : k < 0 && errno != EINTR ? -errno : 0;
    (void)pthread_mutex_lock(&p->lock);
    p->waiting--;
    if (k > 0 && copy[0].revents) os_drain(p->bell[0]);
    k = k > 0 ? os_poll_report(p, copy, n, out, max) : err;
    (void)pthread_mutex_unlock(&p->lock);
    if (copy != few) mem_free(copy);
    return k;
}

#endif

/* --- facts --- */

ZK_PRIVATE void os_environment(struct buf *out) {
    char host[256] = "<NA>", cwd[PATH_MAX] = "<NA>";
    struct utsname u;
    memset(&u, 0, sizeof u);
    (void)gethostname(host, sizeof host - 1);
    if (!getcwd(cwd, sizeof cwd)) (void)snprintf(cwd, sizeof cwd, "<NA>");
    (void)uname(&u);
    const char *user = getenv("USER"), *home = getenv("HOME");
    buf_printf(out, "host.name=%s\n", host);
    buf_puts(out, "java.version=<NA>\njava.vendor=<NA>\njava.home=<NA>\njava.class.path=<NA>\n"
                  "java.library.path=<NA>\n");
    buf_puts(out, "java.io.tmpdir=/tmp\njava.compiler=<NA>\n");
    buf_printf(out, "os.name=%s\nos.arch=%s\nos.version=%s\n", u.sysname, u.machine, u.release);
    buf_printf(out, "user.name=%s\nuser.home=%s\nuser.dir=%s\n", user ? user : "<NA>",
               home ? home : "<NA>", cwd);
    int64_t pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    int64_t mb = pages > 0 && size > 0 ? pages / 1024 * size / 1024 : 0;
    int64_t free_mb = 0;
#ifdef _SC_AVPHYS_PAGES
    int64_t unused = sysconf(_SC_AVPHYS_PAGES);
    if (unused > 0 && size > 0) free_mb = unused / 1024 * size / 1024;
#endif
    buf_printf(out, "os.memory.free=%lldMB\nos.memory.max=%lldMB\nos.memory.total=%lldMB\n",
               (long long)free_mb, (long long)mb, (long long)mb);
}

ZK_PRIVATE int64_t os_open_files(void) {
    struct buf names = {0};
    int64_t n = 0;
    if (os_list("/proc/self/fd", &names) < 0) return -1;
    for (size_t i = 0; i < names.n; i++) n += names.p[i] == '\0';
    buf_free(&names);
    return n;
}

ZK_PRIVATE int64_t os_max_files(void) {
    struct rlimit r;
    return getrlimit(RLIMIT_NOFILE, &r) < 0 ? -1 : (int64_t)r.rlim_cur;
}
