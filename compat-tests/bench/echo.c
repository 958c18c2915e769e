/*
 * echo: what the machine allows. A bare epoll loop that answers frames of the sizes a ZooKeeper
 * server would, without being one: a minimal handshake, canned replies, no tree.
 *
 *   echo -p PORT [-v value_bytes] [-s LOGFILE [-f PORT -f PORT]]
 *
 * With -s the writes of one turn of the loop are appended to a zero-filled file and fdatasync'd
 * before any of them is answered, as a durable server has to. Connections that only read are
 * answered before that.
 *
 * -f names two others of the kind, which run already: the writes are passed on to them first, and
 * answered when one of them has answered too, as in an ensemble of three. Not for deep pipelines.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_MAX (1024 * 1024)
#define OUT_MAX (1024 * 1024)
#define LOG_MAX ((size_t)64 << 20)
#define BATCH_MAX ((size_t)8 << 20)
#define TXN_HEAD 45 /* what a log adds to a request: checksum, length, txn header, end mark */
#define STAT_BYTES 68
#define FOLLOWERS 2

struct conn {
    int fd;
    bool greeted;
    bool wrote;                 /* in this turn: its answers wait for the sync */
    bool closing;
    struct conn *next_free;
    size_t in_len, out_len, out_at;
    uint8_t in[IN_MAX];
    uint8_t out[OUT_MAX];
};

struct follower {
    int fd;
    int64_t acked;              /* writes it has answered */
    size_t in_len;
    uint8_t in[IN_MAX];
};

struct echo {
    int epoll, listener, log;
    int n_followers;
    struct follower followers[FOLLOWERS];
    int64_t passed;             /* writes they were given */
    size_t relay_len;
    uint8_t *relay;             /* owned: what this turn passes on */
    size_t log_at;
    size_t batch_len;
    int64_t zxid;
    size_t value_bytes;
    uint8_t *value;             /* owned: the data of every node */
    uint8_t *batch;             /* owned: what this turn appends */
    struct conn *free;          /* closed connections, for use again */
};

static void die(const char *what)
{
    fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint8_t *put32(uint8_t *at, int32_t value)
{
    uint32_t big = htonl((uint32_t)value);
    memcpy(at, &big, 4);
    return at + 4;
}

static uint8_t *put64(uint8_t *at, int64_t value)
{
    return put32(put32(at, (int32_t)(value >> 32)), (int32_t)value);
}

static int32_t get32(const uint8_t *at)
{
    uint32_t big;
    memcpy(&big, at, 4);
    return (int32_t)ntohl(big);
}

static uint8_t *put_stat(struct echo *echo, uint8_t *at)
{
    memset(at, 0, STAT_BYTES);
    put64(at + 8, echo->zxid);
    put32(at + 52, (int32_t)echo->value_bytes);
    return at + STAT_BYTES;
}

/* A length-prefixed piece of a request: its size with the prefix; it must lie in the frame. */
static size_t piece(const uint8_t *at, const uint8_t *end)
{
    int32_t len = end - at >= 4 ? get32(at) : -2;
    size_t size = 4 + (len > 0 ? (size_t)len : 0);
    if (len < -1 || size > (size_t)(end - at)) {
        errno = EPROTO;
        die("a request this is not made for");
    }
    return size;
}

/* The results of a multi of creates. */
static uint8_t *put_multi(uint8_t *out, const uint8_t *at, const uint8_t *end)
{
    while (end - at > 9 && get32(at) == 1) {
        at += 9;
        out = put32(out, 1);
        *out++ = 0;
        out = put32(out, 0);
        size_t path = piece(at, end);
        memcpy(out, at, path);
        out += path;
        at += path;
        at += piece(at, end);               /* data */
        int32_t acls = get32(at);
        for (at += 4; acls > 0; acls--) {
            at += 4;
            at += piece(at, end);
            at += piece(at, end);
        }
        at += 4;                            /* flags */
    }
    out = put32(out, -1);
    *out++ = 1;
    return put32(out, -1);
}

/* ---- an ensemble ---- */

static void follow(struct echo *echo, const char *port)
{
    struct follower *f = &echo->followers[echo->n_followers++];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t hello[12] = {0, 0, 0, 8};
    int one = 1;
    f->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (f->fd < 0 || connect(f->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        send(f->fd, hello, sizeof hello, 0) != (ssize_t)sizeof hello ||
        recv(f->fd, f->in, 41, MSG_WAITALL) != 41)
        die("a follower");
    if (!echo->relay)
        echo->relay = malloc(BATCH_MAX);
    if (!echo->relay)
        die("out of memory");
}

static void relay_append(struct echo *echo, const uint8_t *frame, size_t len)
{
    if (echo->relay_len + len + 4 > BATCH_MAX) {
        errno = ENOBUFS;
        die("more at once than this is made for");
    }
    memcpy(put32(echo->relay + echo->relay_len, (int32_t)len), frame, len);
    echo->relay_len += len + 4;
    echo->passed++;
}

/* Counts the answers that are there. */
static void hear(struct follower *f)
{
    ssize_t got = recv(f->fd, f->in + f->in_len, IN_MAX - f->in_len, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        die("a follower");
    f->in_len += (size_t)got;
    size_t at = 0;
    for (; f->in_len - at >= 4; f->acked++) {
        size_t len = 4 + (size_t)get32(f->in + at);
        if (f->in_len - at < len)
            break;
        at += len;
    }
    memmove(f->in, f->in + at, f->in_len - at);
    f->in_len -= at;
}

static void pass_on(struct echo *echo)
{
    for (int i = 0; i < echo->n_followers; i++)
        if (send(echo->followers[i].fd, echo->relay, echo->relay_len, 0) !=
                (ssize_t)echo->relay_len)
            die("a follower");
    echo->relay_len = 0;
}

static void await_quorum(struct echo *echo)
{
    struct follower *f = echo->followers;
    while (echo->n_followers && f[0].acked < echo->passed && f[1].acked < echo->passed) {
        struct pollfd fds[FOLLOWERS] = {{f[0].fd, POLLIN, 0}, {f[1].fd, POLLIN, 0}};
        poll(fds, FOLLOWERS, -1);
        for (int i = 0; i < FOLLOWERS; i++)
            if (fds[i].revents)
                hear(&f[i]);
    }
}

/* ---- the log ---- */

static void sync_log(struct echo *echo)
{
    if (!echo->batch_len)
        return;
    pass_on(echo);
    if (echo->log_at + echo->batch_len > LOG_MAX)
        echo->log_at = 0;   /* the file stays as long as it is: only the cost counts here */
    if (pwrite(echo->log, echo->batch, echo->batch_len, (off_t)echo->log_at) !=
            (ssize_t)echo->batch_len || fdatasync(echo->log) < 0)
        die("log");
    echo->log_at += echo->batch_len;
    echo->batch_len = 0;
    await_quorum(echo);
}

static void log_append(struct echo *echo, const uint8_t *frame, size_t len)
{
    if (echo->batch_len + len + TXN_HEAD > BATCH_MAX)
        sync_log(echo);
    memset(echo->batch + echo->batch_len, 1, TXN_HEAD);
    memcpy(echo->batch + echo->batch_len + TXN_HEAD, frame, len);
    echo->batch_len += len + TXN_HEAD;
}

static void answer(struct echo *echo, struct conn *conn, const uint8_t *frame, size_t len)
{
    int32_t xid = get32(frame), op = get32(frame + 4);
    const uint8_t *body = frame + 8, *end = frame + len;
    uint8_t *start = conn->out + conn->out_len, *at = start + 20;
    bool write = op == 1 || op == 2 || op == 5 || op == 14 || op == -11;
    if (write) {
        echo->zxid++;
        conn->wrote = true;
        if (echo->log >= 0)
            log_append(echo, frame, len);
        if (echo->n_followers && op != -11) /* which would end the followers' connection */
            relay_append(echo, frame, len);
    }
    if (op == 4) {
        at = put32(at, (int32_t)echo->value_bytes);
        memcpy(at, echo->value, echo->value_bytes);
        at = put_stat(echo, at + echo->value_bytes);
    } else if (op == 3 || op == 5) {
        at = put_stat(echo, at);
    } else if (op == 1) {
        size_t path = piece(body, end);
        memcpy(at, body, path);
        at += path;
    } else if (op == 14) {
        at = put_multi(at, body, end);
    } else if (op == -11) {
        conn->closing = true;
    }
    put32(start, (int32_t)(at - start - 4));
    put32(put64(put32(start + 4, op == 11 ? -2 : xid), echo->zxid), 0);
    conn->out_len += (size_t)(at - start);
}

static void greet(struct echo *echo, struct conn *conn)
{
    uint8_t *at = conn->out + conn->out_len;
    memset(at, 0, 41);
    put32(at, 37);
    put32(at + 8, 40000);
    put64(at + 12, ++echo->zxid);
    put32(at + 20, 16);
    conn->out_len += 41;
    conn->greeted = true;
}

static void drop(struct echo *echo, struct conn *conn)
{
    close(conn->fd);
    conn->fd = -1;
    conn->next_free = echo->free;
    echo->free = conn;
}

static void flush_output(struct echo *echo, struct conn *conn)
{
    conn->wrote = false;
    while (conn->out_at < conn->out_len) {
        ssize_t sent = send(conn->fd, conn->out + conn->out_at, conn->out_len - conn->out_at, 0);
        if (sent < 0 && errno == EAGAIN) {
            struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = conn};
            epoll_ctl(echo->epoll, EPOLL_CTL_MOD, conn->fd, &event);
            return;
        }
        if (sent <= 0) {
            drop(echo, conn);
            return;
        }
        conn->out_at += (size_t)sent;
    }
    conn->out_at = conn->out_len = 0;
    if (conn->closing)
        drop(echo, conn);
}

/* Read what there is and answer into the output buffer. False when the peer is gone. */
static bool serve(struct echo *echo, struct conn *conn)
{
    ssize_t got = recv(conn->fd, conn->in + conn->in_len, IN_MAX - conn->in_len, 0);
    if (got < 0 && errno == EAGAIN)
        return true;
    if (got <= 0)
        return false;
    conn->in_len += (size_t)got;
    size_t at = 0;
    while (conn->in_len - at >= 4) {
        int32_t len = get32(conn->in + at);
        if (len < 8 || (size_t)len > IN_MAX - 4)
            return false;
        if (conn->in_len - at - 4 < (size_t)len)
            break;
        if (OUT_MAX - conn->out_len < (size_t)len + echo->value_bytes + 128)
            return false;   /* a pipeline deeper than this is made for */
        if (conn->greeted)
            answer(echo, conn, conn->in + at + 4, (size_t)len);
        else
            greet(echo, conn);
        at += 4 + (size_t)len;
    }
    memmove(conn->in, conn->in + at, conn->in_len - at);
    conn->in_len -= at;
    return true;
}

static void accept_all(struct echo *echo)
{
    int fd, one = 1;
    while ((fd = accept4(echo->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct conn *conn = echo->free ? echo->free : malloc(sizeof *conn);
        if (!conn)
            die("out of memory");
        if (conn == echo->free)
            echo->free = conn->next_free;
        conn->fd = fd;
        conn->greeted = conn->wrote = conn->closing = false;
        conn->in_len = conn->out_len = conn->out_at = 0;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        epoll_ctl(echo->epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* One turn: serve all that are ready, answer the readers, sync, answer the writers. */
static void turn(struct echo *echo)
{
    struct epoll_event events[256];
    int ready = epoll_wait(echo->epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
        struct conn *conn = events[i].data.ptr;
        if (!conn) {
            accept_all(echo);
            continue;
        }
        if (events[i].events & EPOLLOUT) {
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
            epoll_ctl(echo->epoll, EPOLL_CTL_MOD, conn->fd, &event);
        }
        if (!serve(echo, conn))
            drop(echo, conn);
        else if (!conn->wrote || echo->log < 0)
            flush_output(echo, conn);
    }
    sync_log(echo);
    for (int i = 0; i < ready; i++) {
        struct conn *conn = events[i].data.ptr;
        if (conn && conn->fd >= 0 && conn->wrote)
            flush_output(echo, conn);
    }
}

static void open_log(struct echo *echo, const char *path)
{
    echo->log = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    echo->batch = calloc(1, BATCH_MAX);
    if (echo->log < 0 || !echo->batch)
        die(path);
    for (size_t at = 0; at < LOG_MAX; at += BATCH_MAX)
        if (pwrite(echo->log, echo->batch, BATCH_MAX, (off_t)at) != (ssize_t)BATCH_MAX)
            die(path);
    if (fsync(echo->log) < 0)
        die(path);
}

int main(int argc, char **argv)
{
    static struct echo echo = {.log = -1, .value_bytes = 1024};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int option, one = 1;
    while ((option = getopt(argc, argv, "p:v:s:f:")) != -1) {
        if (option == 'p')
            address.sin_port = htons((uint16_t)atoi(optarg));
        else if (option == 'v')
            echo.value_bytes = (size_t)atol(optarg);
        else if (option == 's')
            open_log(&echo, optarg);
        else if (option == 'f' && echo.n_followers < FOLLOWERS)
            follow(&echo, optarg);
        else
            return 2;
    }
    if (echo.n_followers && (echo.n_followers != FOLLOWERS || echo.log < 0))
        return 2;
    signal(SIGPIPE, SIG_IGN);
    echo.value = malloc(echo.value_bytes + 1);
    echo.epoll = epoll_create1(0);
    echo.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (!echo.value || echo.epoll < 0 || echo.listener < 0)
        die("start");
    for (size_t i = 0; i < echo.value_bytes; i++)
        echo.value[i] = (uint8_t)(i * 131 + 7); /* what load writes and expects to read */
    setsockopt(echo.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(echo.listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(echo.listener, 1024) < 0)
        die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(echo.epoll, EPOLL_CTL_ADD, echo.listener, &event);
    for (;;)
        turn(&echo);
}
