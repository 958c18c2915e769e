/*
 * host/loop: what owns a node: sockets, timers, the disk's news. One thread at a time does it.
 *
 * One turn: wait for readiness; give every readable connection's bytes to the node; hand the log
 * what was appended, first, so that the sync runs while replies are sent; then one send for each
 * connection that has output. If there is nothing else to do then, and the disk is quick, the loop
 * writes the log itself instead of going to sleep; should that take long, another thread goes on
 * with the loop (host/disk). Nothing here knows what the bytes mean.
 *
 * Clients' connections and links to other servers are sockets of two tables, numbered by the node.
 * A socket is known by its tag, the number with LOOP_LINK for a link, also to the poller. A link
 * that is being dialed has a struct loop_dial until it stands:
 *   name -> (resolver) -> addresses, tried in turn -> the socket of the link, or NODE_LINK_CLOSED
 */
#ifndef ZK_HOST_LOOP_H
#define ZK_HOST_LOOP_H

#include "host/disk.h"
#include "host/duct.h"
#include "host/resolver.h"
#include "node/node.h"

struct loop_dial {
    uint64_t ticket; /* at the resolver */
    int n, next;     /* addresses, and the next one to try */
    struct net_addr at[OS_ADDRS_MAX];
};

struct loop_conn {
    int fd; /* -1: none */
    struct duct *duct; /* of a client of this process: fd is its bell. NULL: fd is a socket */
    bool want_write, closing, paused, queued;
    struct loop_dial *dial; /* owned; NULL: not being dialed */
};

struct loop_table {
    struct loop_conn *at; /* owned; indexed by the node's numbers */
    uint32_t cap;
};

enum loop_port_kind { LOOP_CLIENTS, LOOP_ELECTION, LOOP_QUORUM, LOOP_PORTS };

struct loop_port {
    int fds[OS_LISTENERS_MAX];
    int n;         /* 0: not bound */
    int64_t after; /* monotonic ms; nothing is accepted until then. 0: accepting */
};

enum loop_error { /* the exit codes of stock */
    LOOP_STARTED = 0,
    LOOP_FAILED = 1, /* recovery, port, threads, disk */
    LOOP_NO_DATADIR = 3,
    LOOP_NO_ELECTION_PORT = 14
};

typedef void (*loop_log_fn)(void *user, int level, const char *text);

struct loop {
    struct config cfg; /* owned */
    struct node node;
    struct files files;
    struct disk disk;
    bool disk_running;
    struct os_poller *poller;
    struct os_spin spin;
    bool lone; /* see struct disk_news */
    int pipe[2]; /* [0] is watched; a byte means: look at the disk, or at `stop` */
    struct loop_port ports[LOOP_PORTS];
    int fd_limit;  /* sockets get no descriptor from here on */
    uint16_t port; /* of the clients */
    struct loop_table conns, links;
    pthread_mutex_t offers_lock;
    struct buf offers; /* struct duct *: clients of this process that want in */
    bool offers_open;
    struct resolver *resolver; /* owned */
    uint64_t tickets;          /* given out */
    const struct config_member *self; /* NULL: not of an ensemble */
    int64_t bind_at; /* monotonic ms of the next try to bind the election port; 0: none */
    int bind_tries;
    uint8_t *scratch; /* owned; LOOP_READ bytes */
    struct buf environment; /* "key=value\n" lines, of the start */
    char *data_dir, *log_dir; /* owned; the version-2 directories, absolute */
    struct buf send;   /* u64: tags of sockets with output */
    struct buf pieces; /* struct disk_piece */
    struct buf done;   /* struct disk_done */
    int64_t next_tick; /* monotonic ms */
    const _Atomic bool *stop; /* borrowed from who runs it */
    int late;          /* turns without a tick, after a time in which no socket was read */
    enum loop_error failed;
    char error[FILES_ERROR];
    loop_log_fn log;
    void *log_user;
};

/* cfg is taken over. Recovers and binds; error is set when it does not return LOOP_STARTED. */
ZK_PRIVATE enum loop_error loop_open(struct loop *l, struct config *cfg, loop_log_fn log,
                                     void *user);
/* Runs until *stop is true (set it, then os_notify(l->pipe[1])), or until the disk fails or the
 * election port cannot be had (l->failed). */
ZK_PRIVATE void loop_run(struct loop *l, const _Atomic bool *stop);
ZK_PRIVATE void loop_close(struct loop *l);
/* By any thread: a client of this process connects. False: it has to try again. */
ZK_PRIVATE bool loop_offer(struct loop *l, struct duct *d);

#endif
