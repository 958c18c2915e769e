/*
 * host/loop: the thread that owns a node: sockets, timers, the disk's news.
 *
 * One turn: wait for readiness; give every readable connection's bytes to the node; hand the log
 * what was appended, first, so that the sync runs while replies are sent; then one send for each
 * connection that has output. Nothing here knows what the bytes mean.
 */
#ifndef ZK_HOST_LOOP_H
#define ZK_HOST_LOOP_H

#include "host/disk.h"
#include "node/node.h"

struct loop_conn {
    int fd; /* -1: none */
    bool want_write, closing, paused, queued;
};

typedef void (*loop_log_fn)(void *user, int level, const char *text);

struct loop {
    struct config cfg; /* owned */
    struct node node;
    struct files files;
    struct disk disk;
    bool disk_running;
    struct os_poller *poller;
    int pipe[2]; /* [0] is watched; a byte means: look at the disk, or at `stop` */
    int listeners[OS_LISTENERS_MAX];
    int n_listeners;
    int fd_limit;         /* connections get no descriptor from here on */
    int64_t accept_after; /* monotonic ms; out of descriptors until then. 0: accepting */
    uint16_t port;
    struct loop_conn *conns; /* owned; indexed by the node's connection numbers */
    uint32_t cap;
    uint8_t *scratch; /* owned; LOOP_READ bytes */
    struct buf environment; /* "key=value\n" lines, of the start */
    char *data_dir, *log_dir; /* owned; the version-2 directories, absolute */
    struct buf send;   /* u32: connections with output */
    struct buf pieces; /* struct disk_piece */
    int64_t synced;    /* zxid the node has been told */
    int64_t next_tick; /* monotonic ms */
    bool failed;
    char error[FILES_ERROR];
    loop_log_fn log;
    void *log_user;
};

enum loop_start_error {
    LOOP_STARTED = 0,
    LOOP_FAILED = 1,   /* recovery, port, threads */
    LOOP_NO_DATADIR = 3
};

/* cfg is taken over. Recovers and binds; error is set when it does not return LOOP_STARTED. */
ZK_PRIVATE enum loop_start_error loop_open(struct loop *l, struct config *cfg, loop_log_fn log,
                                           void *user);
/* Runs until *stop is true (set it, then os_notify(l->pipe[1])) or the disk fails (l->failed). */
ZK_PRIVATE void loop_run(struct loop *l, const _Atomic bool *stop);
ZK_PRIVATE void loop_close(struct loop *l);

#endif
