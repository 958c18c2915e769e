/*
 * zk.h: a whole Apache ZooKeeper in one C file.
 *
 * This header is the manual. Copy zk.c and zk.h into a program and compile zk.c as C11 with POSIX
 * threads:   cc -std=c11 -pthread -c zk.c
 *
 * Switches, all given on the compiler's command line:
 *   ZK_WITH_SERVER  1 (default) or 0: leave the server out
 *   ZK_WITH_CLIENT  1 (default) or 0: leave the client out
 *   ZK_WITH_EPOLL   1 on Linux, else 0: wait with epoll rather than poll
 *   ZK_API          put in front of every public function, e.g. a visibility attribute
 *   ZK_MALLOC(n), ZK_REALLOC(p, n), ZK_FREE(p)   the allocator; all three or none
 *   ZK_OOM()        called when the server cannot get memory; must not return. Default: abort()
 *                   (the client does not call it: it answers ZK_OUT_OF_MEMORY)
 *
 * Rules that hold everywhere: the library never exits, prints, installs a signal handler or keeps a
 * global; several servers and clients in one process are normal. Functions that can fail return 0
 * or a negative error. Strings and bytes that are passed in are copied. Times are milliseconds.
 *
 * Contents: logging; errors; the server; the client (session, operations, watches); recipes.
 */
#ifndef ZK_H
#define ZK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef ZK_API
#define ZK_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define ZK_VERSION "0.1.0"
#define ZK_COMPATIBLE_VERSION "3.9.5" /* the Apache release whose behaviour is followed */

/* --- logging --- */

enum zk_log_level { ZK_LOG_ERROR = 1, ZK_LOG_WARN = 2, ZK_LOG_INFO = 3, ZK_LOG_DEBUG = 4 };

/* Called by the thread that has something to say, one line without its end. text is valid during
 * the call. It may not call functions of who speaks: those of a server would wait for ever, those
 * of a client's handle and of its recipes answer ZK_WRONG_THREAD, or as they do for NULL when they
 * return no error. Nor may it wait for a thread that calls them. */
typedef void (*zk_log_fn)(void *user, int level, const char *text);

/* --- errors --- */

/* Numbers from 0 to -127 are ZooKeeper's own, as they stand on the wire; those from -1000 on are
 * this library's and never come from a server. */
enum zk_error {
    ZK_OK = 0,
    ZK_SYSTEM_ERROR = -1,
    ZK_RUNTIME_INCONSISTENCY = -2, /* of an operation behind the one that made its multi fail */
    ZK_DATA_INCONSISTENCY = -3,
    ZK_CONNECTION_LOSS = -4, /* the connection broke before the reply: applied or not, unknown */
    ZK_MARSHALLING_ERROR = -5, /* the server could not read the request, or we not the reply */
    ZK_UNIMPLEMENTED = -6,
    ZK_OPERATION_TIMEOUT = -7,
    ZK_BAD_ARGUMENTS = -8, /* also: found by the library before anything was sent */
    ZK_NEW_CONFIG_NO_QUORUM = -13,
    ZK_RECONFIG_IN_PROGRESS = -14,
    ZK_API_ERROR = -100,
    ZK_NO_NODE = -101,
    ZK_NO_AUTH = -102,
    ZK_BAD_VERSION = -103,
    ZK_NO_CHILDREN_FOR_EPHEMERALS = -108,
    ZK_NODE_EXISTS = -110,
    ZK_NOT_EMPTY = -111,
    ZK_SESSION_EXPIRED = -112,
    ZK_INVALID_ACL = -114,
    ZK_AUTH_FAILED = -115,
    ZK_CLOSING = -116, /* zk_close was called; or the handle is of another process, before fork */
    ZK_SESSION_MOVED = -118,
    ZK_NOT_READ_ONLY = -119,
    ZK_EPHEMERAL_ON_LOCAL_SESSION = -120,
    ZK_NO_WATCHER = -121,
    ZK_REQUEST_TIMEOUT = -122,
    ZK_RECONFIG_DISABLED = -123,
    ZK_SESSION_CLOSED_REQUIRE_SASL_AUTH = -124,
    ZK_QUOTA_EXCEEDED = -125,
    ZK_THROTTLED_OP = -127,
    ZK_OUT_OF_MEMORY = -1000,
    ZK_TIMED_OUT = -1001, /* the operation's own timeout; if it was sent, it may be applied */
    ZK_CANCELED = -1002,  /* by zk_cancel; if it was sent, it may be applied */
    ZK_TOO_LARGE = -1003, /* the request is beyond max_packet */
    ZK_BUSY = -1004,      /* too much is waiting for the server already */
    ZK_WRONG_THREAD = -1005 /* may not be called from here: zk_step from a callback or of a handle
                               with threads; anything of a handle from its log or on_frame */
};

/* "NONODE", as in stock's KeeperException.Code; "UNKNOWN" for a number that is not in the list. */
ZK_API const char *zk_error_name(int error);
/* A sentence for people. */
ZK_API const char *zk_strerror(int error);
/* A write that ended like this may have been applied, or may still be. */
ZK_API bool zk_maybe_applied(int error);

/* --- the server --- */

/* A ZooKeeper server, alone or one of an ensemble. Opaque; one thread may call its functions at a
 * time. */
struct zk_server;

/* Zero-initialise, then set what you need. Unset members take the defaults of zoo.cfg. */
struct zk_server_options {
    const char *config_file; /* path of a zoo.cfg; NULL: none */
    const char *config_text; /* text of a zoo.cfg; wins over config_file when both are set */
    const char *data_dir;    /* overrides dataDir and dataLogDir; NULL: keep */
    const char *address;     /* overrides clientPortAddress; NULL: keep */
    int client_port;         /* overrides clientPort when > 0; -1: any free port */
    zk_log_fn log;           /* NULL: say nothing */
    void *log_user;
};

enum zk_server_error {
    ZK_SERVER_OK = 0,
    ZK_SERVER_FAILED = -1,    /* recovery, port, threads, or the disk while it ran */
    ZK_SERVER_BAD_CONFIG = -2,
    ZK_SERVER_NO_DATADIR = -3, /* missing, not writable, or used by another server */
    ZK_SERVER_NO_ELECTION_PORT = -14 /* of an ensemble: not to be had, after all tries */
};

/*
 * Starts a server: reads the configuration, recovers the data directory, listens, and serves from a
 * thread of its own. When it returns ZK_SERVER_OK clients can connect and *out is the server, to be
 * ended with zk_server_stop. Otherwise *out is NULL and error (of size n, may be NULL) says why;
 * ZK_SERVER_BAD_CONFIG also when out or options is NULL.
 */
ZK_API int zk_server_start(struct zk_server **out, const struct zk_server_options *options,
                           char *error, size_t n);

/* The client port that was bound; 0 of NULL. */
ZK_API int zk_server_port(const struct zk_server *s);

/* Blocks until the server stops by itself, which only a disk that fails or an election port that
 * cannot be had makes it do, or until another thread calls zk_server_interrupt. Returns
 * ZK_SERVER_OK after the latter, else why it stopped. NULL: ZK_SERVER_FAILED at once. */
ZK_API int zk_server_wait(struct zk_server *s, char *error, size_t n);

/* Ends a zk_server_wait. Async-signal-safe: may be called from a signal handler and any thread.
 * NULL is fine. */
ZK_API void zk_server_interrupt(struct zk_server *s);

/* Orderly end: what was accepted is made durable and answered, connections are closed, threads are
 * joined, everything is freed. NULL is fine. */
ZK_API void zk_server_stop(struct zk_server *s);

/* --- the client: a session --- */

/*
 * A session with a ZooKeeper ensemble. It connects by itself, again and again, as long as the
 * session may still live: to each server in turn, with growing pauses, re-attaching the session,
 * repeating its identities and setting its watches again.
 *
 * Two ways to run it. By default a thread of the library's does the work and calls the callbacks,
 * one at a time. With ZK_OWN_LOOP the caller waits for zk_fd() and calls zk_step(), which does the
 * work and calls the callbacks; there is no thread, except for names: a host that is not given as
 * an address is looked up by threads made for that, which wait for the next name until zk_free and
 * call nobody.
 *
 * Threads: every function may be called from any thread, and from callbacks, unless it says
 * otherwise; log and on_frame are no callbacks in this sense. A synchronous call in a callback is
 * fine: it does the work while it waits.
 *
 * fork: a handle belongs to the process that opened it. In another one, which fork has made with a
 * copy of it, every call of it and of its recipes answers ZK_CLOSING, or as it does for NULL; the
 * session stays the first process's, even if that one ends. zk_free closes the copy's descriptors
 * and frees what is safe to free, without a word to the server. A daemon opens its handles after it
 * has gone to the background.
 *
 * Order: requests of one handle take effect in the order of the calls; their callbacks and the
 * events of watches come in the order in which the server sent them. A synchronous call may return
 * before the callback of an earlier event has run: compare zxids, or stay asynchronous.
 */
struct zk;

enum zk_state {
    ZK_STATE_CONNECTING = 1, /* never connected yet */
    ZK_STATE_CONNECTED,
    ZK_STATE_READ_ONLY, /* connected to a server without a quorum; still looking for another */
    ZK_STATE_SUSPENDED, /* the connection broke; the session may live */
    ZK_STATE_LOST,      /* ... so long ago that the server must have given it up; still trying */
    ZK_STATE_EXPIRED,   /* the server said so: ephemerals and watches are gone. Final, or a new
                           session follows (ZK_RENEW_SESSION) */
    ZK_STATE_AUTH_FAILED, /* an identity was refused. Final */
    ZK_STATE_CLOSED       /* zk_close was called. Final */
};
ZK_API const char *zk_state_name(int state); /* "CONNECTED" */

/* A change of state. session_id is the id of the session that it is about. */
typedef void (*zk_state_fn)(void *user, enum zk_state state, int64_t session_id);

/* Sees every frame of the session as it stands on the wire, with its length in front: to trace, to
 * teach. bytes are valid during the call. As in a zk_log_fn, what is called of the same handle
 * there answers ZK_WRONG_THREAD, or as it does for NULL. */
typedef void (*zk_frame_fn)(void *user, bool sent, const uint8_t *bytes, size_t n);

enum zk_option_flag {
    ZK_OWN_LOOP = 1,         /* no thread but for names: the caller runs it */
    ZK_CAN_BE_READ_ONLY = 2, /* be content with a server that has lost its quorum */
    ZK_RENEW_SESSION = 4,    /* after ZK_STATE_EXPIRED open a new session, with the same watches */
    ZK_KEEP_HOST_ORDER = 8,  /* do not shuffle the servers */
    ZK_FAIL_FAST = 16,       /* refuse operations with ZK_CONNECTION_LOSS while not connected,
                                rather than keep them until there is a connection */
    ZK_NO_WATCH_RESET = 32   /* forget watches when the connection breaks */
};

/* Zero-initialise, then set what you need. */
struct zk_options {
    const char *hosts; /* "host[:port][,host[:port]...][/chroot]", port 2181, IPv6 in brackets */
    int session_timeout_ms; /* asked for, the server decides; 0: 30,000 */
    int op_timeout_ms; /* of an operation that has none of its own; 0: as session_timeout_ms;
                          -1: none. What is sent or waits fails in any case when the session ends */
    unsigned flags;    /* enum zk_option_flag */
    uint32_t max_packet; /* largest request, bytes; 0: 1,048,575, as in stock. A reply may have
                            1,024 more, so that what was written can be read */
    int64_t session_id;  /* of a session to re-attach, with its password; 0: a new one */
    const uint8_t *session_passwd; /* 16 bytes */
    struct zk_server *server; /* talk to this server of the same process, without a socket; hosts
                                 may then be NULL or "/chroot". Stop the server after the client */
    zk_state_fn on_state; /* NULL: none */
    void *user;           /* of on_state */
    zk_log_fn log;        /* NULL: say nothing */
    void *log_user;
    zk_frame_fn on_frame; /* NULL: none */
    void *frame_user;
    uint64_t seed; /* of all random choices; 0: from the system */
};

/* Begins to connect and returns at once. ZK_BAD_ARGUMENTS: hosts cannot be read. */
ZK_API int zk_open(struct zk **out, const struct zk_options *options);

/* Waits until the session is connected (to a read-only server if that was allowed): ZK_OK. Else
 * ZK_TIMED_OUT, ZK_SESSION_EXPIRED, ZK_AUTH_FAILED or ZK_CLOSING. timeout_ms < 0: for ever. */
ZK_API int zk_wait_connected(struct zk *zk, int timeout_ms);

/*
 * Ends the session: tells the server, waits for its word at most timeout_ms, and hangs up. Every
 * callback that is still due is called with ZK_CLOSING before it returns, none after. Called from a
 * callback it does not wait, and what is due comes when that callback has returned.
 * ZK_OK, also when the time was up before the server's word: then the session lives there until it
 * times out. timeout_ms < 0: waits as long as the session may live.
 *
 * The handle stays valid. Operations and recipes, zk_wait_connected and zk_step answer ZK_CLOSING
 * afterwards, or as before why the session had ended by then. zk_close and zk_abandon again,
 * zk_flush and zk_set_hosts answer ZK_OK and do nothing, zk_cancel ZK_BAD_ARGUMENTS.
 */
ZK_API int zk_close(struct zk *zk, int timeout_ms);

/* As zk_close, but leaves the session alive on the server, to be re-attached or to time out. */
ZK_API int zk_abandon(struct zk *zk);

/*
 * Closes if need be, waits for a running callback, and frees the handle. NULL is fine. From a
 * callback it does not wait: the handle is freed once the callback has returned. In both cases
 * other threads may be inside of calls at that moment: they end with ZK_CLOSING (zk_close as ever),
 * and the handle goes when the last of them has left. None may begin another call.
 */
ZK_API void zk_free(struct zk *zk);

ZK_API enum zk_state zk_state(struct zk *zk);
ZK_API int64_t zk_session_id(struct zk *zk); /* 0: none yet */
ZK_API void zk_session_passwd(struct zk *zk, uint8_t out[16]);
ZK_API int zk_session_timeout(struct zk *zk); /* agreed; before that, asked for */
ZK_API int64_t zk_last_zxid(struct zk *zk);   /* the latest that a reply has shown */
/* "1.2.3.4:2181" of the server connected to; "" when not connected. Returns out. */
ZK_API const char *zk_server_address(struct zk *zk, char *out, size_t n);

/* Another list of servers, as in zk_options.hosts without chroot. Moves to another server by
 * chance, so that all clients together spread evenly. */
ZK_API int zk_set_hosts(struct zk *zk, const char *hosts);

struct zk_counters {
    uint64_t requests, replies, events; /* pings and the session's own packets not counted */
    uint64_t bytes_sent, bytes_received;
    uint64_t connects; /* sessions established or re-attached */
    uint64_t failures; /* attempts to connect that came to nothing, one for each server tried */
    uint32_t watches;  /* registered now */
    uint32_t waiting;  /* operations without their reply, sent or not */
};
ZK_API void zk_get_counters(struct zk *zk, struct zk_counters *out);

/* --- running it in the caller's own loop (ZK_OWN_LOOP) --- */

/* A descriptor that stays the same for the life of the handle; -1 of one with threads. */
ZK_API int zk_fd(struct zk *zk);
enum zk_interest { ZK_READABLE = 1, ZK_WRITABLE = 2 };
ZK_API int zk_wants(struct zk *zk); /* what to wait for on it, enum zk_interest */
/* At most so long; -1: no limit. Ask both again after each call into the library by the loop's own
 * thread; a call by another thread makes the descriptor readable if it makes something due. */
ZK_API int zk_wait_ms(struct zk *zk);
/* Does what can be done without waiting and calls callbacks. ZK_OK, or why the session ended. */
ZK_API int zk_step(struct zk *zk);

/* --- the client: operations --- */

/*
 * An operation is a value, made by one of the functions below. Do it with zk_call and wait, do it
 * with zk_submit and be called back, or put it with others into a zk_multi:
 *
 *     zk_call(zk, zk_get("/a"), &result);
 *     zk_submit(zk, zk_set("/a", "x", 1, -1), on_set, user);
 *     struct zk_op ops[] = {zk_check("/a", 3), zk_delete("/b", -1)};
 *     zk_call(zk, zk_multi(ops, 2), &result);
 *     zk_call(zk, zk_watching(zk_exists("/a"), on_event, user), NULL);
 *
 * It borrows what it points to until the call returns. Its members may be set by hand.
 */
enum zk_op_type {
    ZK_OP_CREATE = 1,
    ZK_OP_DELETE,
    ZK_OP_EXISTS,
    ZK_OP_GET,
    ZK_OP_SET,
    ZK_OP_GET_ACL,
    ZK_OP_SET_ACL,
    ZK_OP_GET_CHILDREN,
    ZK_OP_SYNC,
    ZK_OP_CHECK,
    ZK_OP_MULTI,
    ZK_OP_MULTI_READ,
    ZK_OP_GET_EPHEMERALS,
    ZK_OP_GET_ALL_CHILDREN_NUMBER,
    ZK_OP_ADD_WATCH,
    ZK_OP_REMOVE_WATCHES,
    ZK_OP_WHO_AM_I,
    ZK_OP_ADD_AUTH,
    ZK_OP_GET_CONFIG,
    ZK_OP_RECONFIG
};

enum zk_create_mode {
    ZK_PERSISTENT = 0,
    ZK_EPHEMERAL = 1,
    ZK_PERSISTENT_SEQUENTIAL = 2,
    ZK_EPHEMERAL_SEQUENTIAL = 3,
    ZK_CONTAINER = 4,
    ZK_PERSISTENT_WITH_TTL = 5,
    ZK_PERSISTENT_SEQUENTIAL_WITH_TTL = 6
};

enum zk_perm {
    ZK_PERM_READ = 1,
    ZK_PERM_WRITE = 2,
    ZK_PERM_CREATE = 4,
    ZK_PERM_DELETE = 8,
    ZK_PERM_ADMIN = 16,
    ZK_PERM_ALL = 31
};

struct zk_acl {
    int perms; /* enum zk_perm */
    const char *scheme, *id;
};

struct zk_stat {
    int64_t czxid, mzxid, ctime, mtime; /* times: ms since 1970 */
    int32_t version, cversion, aversion;
    int64_t ephemeral_owner;
    int32_t data_length, num_children;
    int64_t pzxid;
};

enum zk_event_type {
    ZK_NODE_CREATED = 1,
    ZK_NODE_DELETED = 2,
    ZK_NODE_DATA_CHANGED = 3,
    ZK_NODE_CHILDREN_CHANGED = 4,
    ZK_DATA_WATCH_REMOVED = 5, /* by zk_remove_watches: the watch that is told is gone */
    ZK_CHILD_WATCH_REMOVED = 6,
    ZK_PERSISTENT_WATCH_REMOVED = 7
};

struct zk_event {
    enum zk_event_type type;
    const char *path; /* without the chroot; valid during the call */
    int64_t zxid;     /* of the change; -1: not known (servers before 3.9, catching up) */
};
typedef void (*zk_watch_fn)(void *user, const struct zk_event *event);

/* Which watches to remove; numbers as on the wire. */
enum zk_watch_kind {
    ZK_WATCH_CHILDREN = 1,
    ZK_WATCH_DATA = 2,
    ZK_WATCH_ANY = 3,
    ZK_WATCH_PERSISTENT = 4,
    ZK_WATCH_RECURSIVE = 5
};

struct zk_op {
    enum zk_op_type type;
    const char *path;
    const void *data; /* of create, set and add_auth */
    int data_len;     /* -1: null, which is not the same as empty */
    int32_t version;  /* expected; -1: any */
    enum zk_create_mode mode;
    int64_t ttl_ms;           /* of the TTL modes */
    const struct zk_acl *acl; /* NULL: anyone may do anything */
    int acl_count;
    bool want_stat; /* of a create in a multi (elsewhere it always comes). Not for ensembles with
                       servers before 3.8.1, which lose such a create on all but the leader */
    zk_watch_fn watch; /* of exists, get, get_children, get_config; add_watch and remove_watches */
    void *watch_user;
    enum zk_watch_kind watch_kind; /* of add_watch and remove_watches */
    bool local; /* of remove_watches: forget them at once if the server cannot be asked */
    const struct zk_op *ops; /* of multi and multi_read */
    int op_count;
    const char *scheme;                      /* of add_auth */
    const char *joining, *leaving, *members; /* of reconfig; NULL: none */
    int64_t config_version;                  /* of reconfig; -1: any */
    int timeout_ms; /* until ZK_TIMED_OUT; 0: the handle's; -1: none */
};

/* What came of an operation. What it points to is part of it and is freed with it. */
struct zk_result {
    int error;        /* enum zk_error. Of a multi: the first error of its operations */
    int64_t zxid;     /* of the write; else the latest that the server had applied. 0: no reply */
    const char *path; /* of create and sync, without the chroot; else NULL */
    const void *data; /* of get, get_config, reconfig; a NUL that is not counted follows */
    int data_len;     /* -1: null */
    bool has_stat;
    struct zk_stat stat;
    int count;                /* of names, acl or results, whichever there is */
    const char *const *names; /* of get_children: last components, as they came; paths of
                                 get_ephemerals */
    const struct zk_acl *acl; /* of get_acl; identities of who_am_i, perms 0 */
    const struct zk_result *results; /* of multi and multi_read, also when it failed: what failed
                                        has its error, what stood behind it -2, all others 0 */
    int32_t number;                  /* of get_all_children_number */
};
/* result is valid during the call. */
typedef void (*zk_result_fn)(void *user, const struct zk_result *result);

/*
 * Does op and waits for the reply. Returns result->error, or an error of the library. *result
 * (NULL: not wanted) becomes the result, to be freed with zk_result_free; NULL: there was no reply.
 */
ZK_API int zk_call(struct zk *zk, struct zk_op op, struct zk_result **result);
ZK_API void zk_result_free(struct zk_result *result); /* NULL is fine */

/*
 * Begins op. A number above 0 by which zk_cancel knows it: then done (NULL: nobody is told) is
 * called exactly once, before zk_close has returned. Or an error, and done is not called.
 */
ZK_API int64_t zk_submit(struct zk *zk, struct zk_op op, zk_result_fn done, void *user);

/* done is called with ZK_CANCELED, soon, if its result was not there yet: then ZK_OK, else
 * ZK_BAD_ARGUMENTS. What was sent cannot be called back from the server. */
ZK_API int zk_cancel(struct zk *zk, int64_t id);

/* Small requests that were submitted while others wait for their replies leave in one packet with
 * the next of them that is due; this sends them now. */
ZK_API int zk_flush(struct zk *zk);

static inline struct zk_op zk_op_of(enum zk_op_type type, const char *path) {
    struct zk_op op;
    memset(&op, 0, sizeof op);
    op.type = type;
    op.path = path;
    op.data_len = -1;
    op.version = -1;
    op.ttl_ms = -1;
    op.config_version = -1;
    return op;
}

/* Errors of the server, for each: NO_AUTH, and for writes NOT_READ_ONLY and THROTTLED_OP. */

/* NO_NODE (of the parent), NODE_EXISTS, NO_CHILDREN_FOR_EPHEMERALS, INVALID_ACL, QUOTA_EXCEEDED */
static inline struct zk_op zk_create(const char *path, const void *data, int data_len,
                                     enum zk_create_mode mode) {
    struct zk_op op = zk_op_of(ZK_OP_CREATE, path);
    op.data = data;
    op.data_len = data_len;
    op.mode = mode;
    return op;
}

/* NO_NODE, BAD_VERSION, NOT_EMPTY */
static inline struct zk_op zk_delete(const char *path, int32_t version) {
    struct zk_op op = zk_op_of(ZK_OP_DELETE, path);
    op.version = version;
    return op;
}

/* NO_NODE; its watch is set then too. */
static inline struct zk_op zk_exists(const char *path) { return zk_op_of(ZK_OP_EXISTS, path); }

/* NO_NODE */
static inline struct zk_op zk_get(const char *path) { return zk_op_of(ZK_OP_GET, path); }

/* NO_NODE, BAD_VERSION, QUOTA_EXCEEDED */
static inline struct zk_op zk_set(const char *path, const void *data, int data_len,
                                  int32_t version) {
    struct zk_op op = zk_op_of(ZK_OP_SET, path);
    op.data = data;
    op.data_len = data_len;
    op.version = version;
    return op;
}

/* NO_NODE */
static inline struct zk_op zk_get_acl(const char *path) { return zk_op_of(ZK_OP_GET_ACL, path); }

/* NO_NODE, BAD_VERSION (of the ACL: stat.aversion), INVALID_ACL */
static inline struct zk_op zk_set_acl(const char *path, const struct zk_acl *acl, int count,
                                      int32_t version) {
    struct zk_op op = zk_op_of(ZK_OP_SET_ACL, path);
    op.acl = acl;
    op.acl_count = count;
    op.version = version;
    return op;
}

/* NO_NODE */
static inline struct zk_op zk_get_children(const char *path) {
    return zk_op_of(ZK_OP_GET_CHILDREN, path);
}

/* Waits until the server connected to has applied what the leader had when this came to it. */
static inline struct zk_op zk_sync(const char *path) { return zk_op_of(ZK_OP_SYNC, path); }

/* Only in a multi: fails it unless the node is there and has this version (-1: any). */
static inline struct zk_op zk_check(const char *path, int32_t version) {
    struct zk_op op = zk_op_of(ZK_OP_CHECK, path);
    op.version = version;
    return op;
}

/* All or nothing, as one transaction, of create, set, delete and check. */
static inline struct zk_op zk_multi(const struct zk_op *ops, int count) {
    struct zk_op op = zk_op_of(ZK_OP_MULTI, NULL);
    op.ops = ops;
    op.op_count = count;
    return op;
}

/* get and get_children (without their stat), each with an error of its own. */
static inline struct zk_op zk_multi_read(const struct zk_op *ops, int count) {
    struct zk_op op = zk_op_of(ZK_OP_MULTI_READ, NULL);
    op.ops = ops;
    op.op_count = count;
    return op;
}

/* Paths of this session's ephemerals that start with prefix. */
static inline struct zk_op zk_get_ephemerals(const char *prefix) {
    return zk_op_of(ZK_OP_GET_EPHEMERALS, prefix);
}

/* How many nodes are below this one. NO_NODE */
static inline struct zk_op zk_get_all_children_number(const char *path) {
    return zk_op_of(ZK_OP_GET_ALL_CHILDREN_NUMBER, path);
}

/* Who the server takes this connection for: schemes and names. */
static inline struct zk_op zk_who_am_i(void) { return zk_op_of(ZK_OP_WHO_AM_I, NULL); }

/* Takes on an identity, for this connection and all later ones. A refusal ends the session
 * (ZK_AUTH_FAILED). */
static inline struct zk_op zk_add_auth(const char *scheme, const void *auth, int len) {
    struct zk_op op = zk_op_of(ZK_OP_ADD_AUTH, NULL);
    op.scheme = scheme;
    op.data = auth;
    op.data_len = len;
    return op;
}

/* The ensemble's configuration, text of /zookeeper/config; the chroot does not count. */
static inline struct zk_op zk_get_config(void) { return zk_op_of(ZK_OP_GET_CONFIG, NULL); }

/* Changes it: joining and leaving servers, or all members anew. RECONFIG_DISABLED, BAD_VERSION,
 * NEW_CONFIG_NO_QUORUM, RECONFIG_IN_PROGRESS */
static inline struct zk_op zk_reconfig(const char *joining, const char *leaving,
                                       const char *members, int64_t version) {
    struct zk_op op = zk_op_of(ZK_OP_RECONFIG, NULL);
    op.joining = joining;
    op.leaving = leaving;
    op.members = members;
    op.config_version = version;
    return op;
}

/* --- the client: watches --- */

/*
 * Sets a one-shot watch along with exists, get, get_children or get_config: fn is called once, at
 * the next change of what was read. exists sets it also when there is no node. The same fn and user
 * on the same path is one watch, however often it is set.
 */
static inline struct zk_op zk_watching(struct zk_op op, zk_watch_fn fn, void *user) {
    op.watch = fn;
    op.watch_user = user;
    return op;
}

/* A watch that stays: kind ZK_WATCH_PERSISTENT sees changes of the node and its children's coming
 * and going, ZK_WATCH_RECURSIVE every change below it too. */
static inline struct zk_op zk_add_watch(const char *path, enum zk_watch_kind kind, zk_watch_fn fn,
                                        void *user) {
    struct zk_op op = zk_watching(zk_op_of(ZK_OP_ADD_WATCH, path), fn, user);
    op.watch_kind = kind;
    return op;
}

/* Removes the watch of fn and user (fn NULL: all) on path. What is removed is told its last event.
 * NO_WATCHER: there is none. */
static inline struct zk_op zk_remove_watches(const char *path, enum zk_watch_kind kind,
                                             zk_watch_fn fn, void *user) {
    struct zk_op op = zk_watching(zk_op_of(ZK_OP_REMOVE_WATCHES, path), fn, user);
    op.watch_kind = kind;
    return op;
}

/* --- recipes --- */

/*
 * What several clients build together out of nodes: locks, leadership, barriers, queues, counters,
 * caches, groups, services. Layouts are those of Curator 5 unless it is said otherwise, so that a
 * program in C and one in Java may contend for the same lock.
 *
 * An object is made on a handle and freed by its own function, at any time: what it still holds is
 * given back in the background, nodes included, even if the connection is broken at that moment.
 * Free it before zk_free of its handle; zk_close may come earlier and ends everything that waits
 * with ZK_CLOSING. No object may be used by another thread while it is freed.
 *
 * Calls that wait come in two forms. The plain one returns when it is over; with the name ending in
 * _async it returns at once and done is called with the outcome, exactly once, unless it returned
 * an error or the object is freed before. timeout_ms < 0: no limit; calls without it take at most
 * the handle's op_timeout_ms. Only the waiting form there is of zk_lock_try, zk_lock_downgrade,
 * zk_lock_revoke, zk_leader_who, zk_barrier_close, zk_barrier_open, zk_counter_get, zk_counter_set,
 * zk_counter_compare_and_set, zk_cache_wait, zk_member_wait and zk_service_list; no other call
 * waits, but for one that frees. Callbacks are called like those of operations, one at a time;
 * freeing an object waits for one of its own that is running, unless called from it. Every function
 * may be called from callbacks, also those that wait.
 *
 * What breaks is mended: requests are repeated over lost connections; missing parents are made, as
 * containers; a lost reply to a create is cleared up by the unique part of the node's name, and a
 * node that is not wanted any more is deleted until that is certain. ZK_RENEW_SESSION is advised:
 * without it an expired session is the end of what waits, with ZK_SESSION_EXPIRED.
 *
 * Errors beside those below: what the server refuses (ZK_NO_AUTH, ZK_QUOTA_EXCEEDED ...),
 * ZK_BAD_ARGUMENTS, ZK_OUT_OF_MEMORY, ZK_TIMED_OUT, ZK_CLOSING, ZK_SESSION_EXPIRED.
 */
enum zk_recipe_error {
    ZK_IN_USE = -1010,    /* the object is waiting for something already, or holds it */
    ZK_NOT_OWNED = -1011, /* nothing is held that could be given back */
    ZK_LOCKED = -1012,    /* somebody else has it, and it was not to be waited for */
    ZK_SEQUENCE_OVERFLOW = -1013, /* 2^31 names were given below this node: use another one */
    ZK_UNCERTAIN = -1014, /* the reply was lost, and what is there now does not tell either, or
                             could not be looked at in time */
    ZK_MALFORMED = -1015  /* a node's data is not what the layout says */
};

/* How an operation of a recipe ended: ZK_OK or why not. */
typedef void (*zk_done_fn)(void *user, int error);

/* Of what one client at a time, or so many, may have. */
enum zk_hold_state {
    ZK_HOLD_NONE = 0,
    ZK_HOLD_WAITING,
    ZK_HOLD_OWNED,
    ZK_HOLD_SUSPENDED, /* owned, but the connection broke: do nothing as owner. OWNED or LOST
                          follows */
    ZK_HOLD_LOST       /* the session ended, or may have by the local clock, or the node is gone:
                          a member's, or that of a lock with on_revoke, at once; of any other lock
                          or leader what somebody else deletes while the session lives is noticed
                          only after the next break of the connection, as in Curator */
};

/*
 * Told of every change, in order. token, while OWNED, is the zxid of the node by which it is held:
 * it grows from owner to owner. Give it along with whatever is done as owner, and let the other
 * side refuse what comes with a smaller one than it has seen: nothing else stops an owner whose
 * process stood still for a while. Nor one whose session timeout is shorter than the ensemble's
 * syncLimit and a few ticks more: a follower that its leader does not hear answers for so long.
 */
typedef void (*zk_hold_fn)(void *user, enum zk_hold_state state, int64_t token);

/* --- recipes: locks and semaphores --- */

/*
 * MUTEX  <path>/_c_<uuid>-lock-<sequence>. Excludes, beside its like, Curator's InterProcessMutex
 *        and LeaderSelector, go-zookeeper's Lock, kazoo's Lock with extra_lock_patterns ["lock-"];
 *        and the locks of ZooKeeper's own recipes wait for it.
 * WRITE, READ  <path>/_c_<uuid>-__WRIT__<sequence>, ...-__READ__<sequence>: Curator's
 *        InterProcessReadWriteLock. Not with a mutex on the same path.
 * LEASE  one of `leases` of a semaphore: Curator's InterProcessSemaphoreV2, and with 1 its
 *        InterProcessSemaphoreMutex: <path>/locks/_c_<uuid>-lock-<sequence> while waiting,
 *        <path>/leases/_c_<uuid>-lease-<sequence> while holding. All parties give the same number.
 *        For several leases make several objects.
 */
enum zk_lock_kind { ZK_LOCK_MUTEX, ZK_LOCK_WRITE, ZK_LOCK_READ, ZK_LOCK_LEASE };

/* Zero-initialise, then set what you need. */
struct zk_lock_options {
    enum zk_lock_kind kind;
    bool kazoo; /* names of kazoo's Lock, WriteLock and ReadLock: <32 digits>__lock__<sequence>,
                   ...__rlock__<sequence>. Excludes those; not Curator's. Not for leases */
    bool reentrant; /* an owner may acquire again, and releases as often, also what was lost; while
                       SUSPENDED it cannot: ZK_CONNECTION_LOSS. Not for leases */
    int leases;     /* of a LEASE; else 0 */
    const char *const *extra_patterns; /* nodes whose names end in one of these and a sequence are
                                          waited for too, e.g. "__lock__" while moving away from
                                          kazoo; whether they wait for us is up to them */
    int extra_count;
    const void *data; /* of the node; empty if not given */
    int data_len;
    const struct zk_acl *acl; /* of what is created; NULL: open */
    int acl_count;
    zk_hold_fn on_state;
    void (*on_revoke)(void *user); /* somebody asks the owner to give it back, by zk_lock_revoke or
                                      Curator's Revoker; data must be empty. Not of leases */
    void *user;
};

/* One contender. Which thread calls does not matter: what is owned is owned by the object. */
struct zk_lock;
ZK_API int zk_lock_new(struct zk *zk, const char *path, const struct zk_lock_options *options,
                       struct zk_lock **out);
/* First come, first served. ZK_IN_USE: this object is in line or owns it; ZK_NO_AUTH and the like:
 * at once, and nothing is left behind. */
ZK_API int zk_lock_acquire(struct zk_lock *lock, int timeout_ms);
ZK_API int zk_lock_acquire_async(struct zk_lock *lock, int timeout_ms, zk_done_fn done,
                                 void *user);
/* Does not wait for others: ZK_LOCKED. Nor for a connection: ZK_CONNECTION_LOSS. */
ZK_API int zk_lock_try(struct zk_lock *lock);
/* Gives it back, or stops waiting (which ends with ZK_CANCELED). ZK_OK also when it was lost
 * meanwhile. The node goes before anything that is asked of the handle later. */
ZK_API int zk_lock_release(struct zk_lock *lock);
/*
 * Of Curator's read and write locks: read is acquired in the place that write, which is OWNED,
 * holds on the same path, ahead of all who wait. write stays and is released on its own.
 */
ZK_API int zk_lock_downgrade(struct zk_lock *write, struct zk_lock *read, int timeout_ms);
/* Asks whoever is first in line to give it back, if he listens. ZK_NO_NODE: nobody is. */
ZK_API int zk_lock_revoke(struct zk_lock *lock);
ZK_API enum zk_hold_state zk_lock_state(struct zk_lock *lock);
ZK_API int64_t zk_lock_token(struct zk_lock *lock); /* 0: not OWNED now */
ZK_API void zk_lock_free(struct zk_lock *lock);     /* releases; NULL is fine */

/* --- recipes: leadership --- */

/*
 * Takes part from the beginning until it is freed; also in the next session, if there is one.
 *   latch     <path>/_c_<uuid>-latch-<sequence>, data: id. Curator's LeaderLatch
 *   selector  <path>/_c_<uuid>-lock-<sequence>, data: id. Curator's LeaderSelector: excludes its
 *             mutexes too. Leadership is meant to be given up after a while: zk_leader_resign
 * Leads while OWNED; SUSPENDED turns into OWNED again or into WAITING.
 */
struct zk_leader_options {
    bool selector;
    const char *id; /* NULL: "" */
    const struct zk_acl *acl;
    int acl_count;
    zk_hold_fn on_state;
    void *user;
};
struct zk_leader;
ZK_API int zk_leader_new(struct zk *zk, const char *path, const struct zk_leader_options *options,
                         struct zk_leader **out);
ZK_API enum zk_hold_state zk_leader_state(struct zk_leader *leader);
ZK_API int64_t zk_leader_token(struct zk_leader *leader); /* 0: does not lead now */
/* Until it leads. */
ZK_API int zk_leader_wait(struct zk_leader *leader, int timeout_ms);
ZK_API int zk_leader_wait_async(struct zk_leader *leader, int timeout_ms, zk_done_fn done,
                                void *user);
/* Goes to the end of the line. ZK_NOT_OWNED: does not lead. */
ZK_API int zk_leader_resign(struct zk_leader *leader);
/* The id of whoever leads now, cut to n bytes with its NUL. ZK_NO_NODE: nobody does. */
ZK_API int zk_leader_who(struct zk_leader *leader, char *id, size_t n);
ZK_API void zk_leader_free(struct zk_leader *leader);

/* --- recipes: barriers --- */

/*
 * A barrier that all find closed while its node is there: Curator's DistributedBarrier, kazoo's
 * Barrier. One call of an object at a time (ZK_IN_USE).
 */
struct zk_barrier;
ZK_API int zk_barrier_new(struct zk *zk, const char *path, struct zk_barrier **out);
ZK_API int zk_barrier_close(struct zk_barrier *barrier); /* makes the node; fine if it is there */
ZK_API int zk_barrier_open(struct zk_barrier *barrier);  /* deletes it; fine if it is not there */
ZK_API int zk_barrier_wait(struct zk_barrier *barrier, int timeout_ms);
ZK_API int zk_barrier_wait_async(struct zk_barrier *barrier, int timeout_ms, zk_done_fn done,
                                 void *user);
ZK_API void zk_barrier_free(struct zk_barrier *barrier);

/*
 * Members enter together, once so many are there, and leave together, once all are done:
 * <path>/<uuid>, ephemeral, and <path>/ready. Curator's DistributedDoubleBarrier, kazoo's
 * DoubleBarrier. Whose session ends counts as having left. Whoever comes late, while `ready` is
 * there, enters at once.
 */
struct zk_double_barrier;
ZK_API int zk_double_barrier_new(struct zk *zk, const char *path, int members,
                                 struct zk_double_barrier **out);
ZK_API int zk_double_barrier_enter(struct zk_double_barrier *barrier, int timeout_ms);
ZK_API int zk_double_barrier_enter_async(struct zk_double_barrier *barrier, int timeout_ms,
                                         zk_done_fn done, void *user);
ZK_API int zk_double_barrier_leave(struct zk_double_barrier *barrier, int timeout_ms);
ZK_API int zk_double_barrier_leave_async(struct zk_double_barrier *barrier, int timeout_ms,
                                         zk_done_fn done, void *user);
ZK_API void zk_double_barrier_free(struct zk_double_barrier *barrier); /* leaves the hard way */

/* --- recipes: queues --- */

/*
 * Items are nodes, taken in the order of their names: an item goes to one taker.
 *   SIMPLE       <path>/qn-<sequence>, the bytes as they are. Curator's SimpleDistributedQueue, the
 *                queue of ZooKeeper's own recipes
 *   DISTRIBUTED  <path>/queue-<sequence>, in the envelope of Curator's DistributedQueue
 *   PRIORITY     <path>/queue-<priority><sequence>, likewise: Curator's DistributedPriorityQueue;
 *                the lowest first
 * A taker that dies has taken what it took. Not with kazoo's queues. Listing a very long queue
 * takes more than max_packet: keep it in the thousands.
 */
enum zk_queue_layout { ZK_QUEUE_SIMPLE, ZK_QUEUE_DISTRIBUTED, ZK_QUEUE_PRIORITY };
struct zk_queue;
ZK_API int zk_queue_new(struct zk *zk, const char *path, enum zk_queue_layout layout,
                        struct zk_queue **out);
/* priority: of PRIORITY, else 0. ZK_UNCERTAIN: the reply was lost, it may be in the queue. */
ZK_API int zk_queue_put(struct zk_queue *queue, const void *data, int len, int32_t priority);
ZK_API int zk_queue_put_async(struct zk_queue *queue, const void *data, int len, int32_t priority,
                              zk_done_fn done, void *user);
/*
 * Waits for an item; timeout_ms 0: ZK_TIMED_OUT if there is none now. ZK_UNCERTAIN: the reply was
 * lost; the item is taken, by us or by somebody else at that moment, or there was no connection for
 * op_timeout_ms more to see whether it is. After both, zk_queue_item.
 * One call of an object at a time (ZK_IN_USE).
 */
ZK_API int zk_queue_take(struct zk_queue *queue, int timeout_ms);
ZK_API int zk_queue_take_async(struct zk_queue *queue, int timeout_ms, zk_done_fn done,
                               void *user);
/* What was taken last; valid until the next call with this queue. */
ZK_API const void *zk_queue_item(struct zk_queue *queue, int *len);
ZK_API void zk_queue_free(struct zk_queue *queue);

/* --- recipes: counters --- */

/*
 * A number in a node, big-endian: of 4 bytes, as Curator's SharedCount and DistributedAtomicInteger
 * and kazoo's Counter with support_curator have it, or of 8, as DistributedAtomicLong. No node, or
 * an empty one, is 0. Sums wrap around. To follow it use a cache of one level.
 *
 * zk_counter_value is the value that the latest call saw or made; also after ZK_BAD_VERSION
 * (compare_and_set: it is not what was expected) and ZK_UNCERTAIN (the reply was lost, and the node
 * has changed since: by us or somebody else; or it could not be looked at in time). ZK_MALFORMED:
 * data of another length.
 */
struct zk_counter;
ZK_API int zk_counter_new(struct zk *zk, const char *path, int bytes, struct zk_counter **out);
ZK_API int zk_counter_get(struct zk_counter *counter);
ZK_API int zk_counter_set(struct zk_counter *counter, int64_t value);
ZK_API int zk_counter_add(struct zk_counter *counter, int64_t delta);
ZK_API int zk_counter_add_async(struct zk_counter *counter, int64_t delta, zk_done_fn done,
                                void *user);
ZK_API int zk_counter_compare_and_set(struct zk_counter *counter, int64_t expected,
                                      int64_t value);
ZK_API int64_t zk_counter_value(struct zk_counter *counter);
ZK_API void zk_counter_free(struct zk_counter *counter);

/* --- recipes: caches --- */

/*
 * A copy of a node and what is below it, kept in step by one persistent watch: reads cost nothing,
 * and every difference is told. Answers to Curator's NodeCache (levels 1), PathChildrenCache (2)
 * and TreeCache (0). It creates no nodes. Nodes that may not be read are as good as missing.
 *
 * STALE: the connection broke; what comes next may be late. Then everything is read again, what
 * differs is told, and READY says that it is in step. Between the two several changes of a node may
 * have become one. Stats are those of the data's latest change: num_children, cversion and pzxid
 * may be older than the children. ZK_UNIMPLEMENTED: a server before 3.6.
 */
enum zk_cache_event {
    ZK_CACHE_ADDED = 1,
    ZK_CACHE_CHANGED,
    ZK_CACHE_REMOVED,
    ZK_CACHE_READY,
    ZK_CACHE_STALE,
    ZK_CACHE_FAILED /* `error` says why; if a new session follows, so does READY */
};
struct zk_cache_node {
    const char *path;
    const void *data; /* a NUL that is not counted follows */
    int data_len;     /* -1: null */
    struct zk_stat stat;
};
struct zk_cache_change {
    enum zk_cache_event event;
    const char *path;
    const struct zk_cache_node *before; /* of CHANGED and REMOVED, else NULL */
    const struct zk_cache_node *now;    /* of ADDED and CHANGED, else NULL */
    int error;
};
/* change is valid during the call. */
typedef void (*zk_cache_fn)(void *user, const struct zk_cache_change *change);
struct zk_cache_options {
    int levels; /* 1: the node alone; 2: and its children; ... 0: all below it */
    zk_cache_fn on_change;
    void *user;
};
struct zk_cache;
ZK_API int zk_cache_new(struct zk *zk, const char *path, const struct zk_cache_options *options,
                        struct zk_cache **out);
ZK_API int zk_cache_wait(struct zk_cache *cache, int timeout_ms); /* until it is READY */
/* A copy of a node, as from zk_get and zk_get_children, to be freed with zk_result_free. May be
 * ahead of what was told. ZK_NO_NODE */
ZK_API int zk_cache_get(struct zk_cache *cache, const char *path, struct zk_result **out);
ZK_API void zk_cache_free(struct zk_cache *cache);

/* --- recipes: membership and services --- */

/*
 * Keeps an ephemeral node of this name and content there, in every session of the handle: Curator's
 * PersistentNode, GroupMember (<group>/<id>). Whatever has the name when a session begins is
 * replaced; when somebody else replaces it afterwards he keeps it as long as it is there. Whoever
 * wants to know the members has a cache of 2 levels on the group.
 * on_state: OWNED while the node is there, SUSPENDED, LOST as of locks. NONE: the server refuses.
 */
struct zk_member_options {
    bool persistent; /* a node that stays when the session ends; zk_member_free deletes it */
    const struct zk_acl *acl;
    int acl_count;
    zk_hold_fn on_state;
    void *user;
};
struct zk_member;
ZK_API int zk_member_new(struct zk *zk, const char *path, const void *data, int len,
                         const struct zk_member_options *options, struct zk_member **out);
ZK_API int zk_member_wait(struct zk_member *member, int timeout_ms); /* until it is OWNED */
/* Other content. ZK_TOO_LARGE: it stays as it was; deleting another's node and creating this one
 * has to fit into max_packet. */
ZK_API int zk_member_set(struct zk_member *member, const void *data, int len);
ZK_API enum zk_hold_state zk_member_state(struct zk_member *member);
ZK_API void zk_member_free(struct zk_member *member); /* deletes the node */

/*
 * An instance of a service, at <base>/<name>/<id>, in the JSON of Curator's x-discovery
 * (JsonInstanceSerializer). Texts are UTF-8.
 */
enum zk_service_type {
    ZK_SERVICE_DYNAMIC, /* ephemeral */
    ZK_SERVICE_STATIC,
    ZK_SERVICE_PERMANENT,
    ZK_SERVICE_DYNAMIC_SEQUENTIAL /* only read: its node ends in a sequence */
};
struct zk_service {
    const char *name, *id;
    const char *address;  /* NULL: none */
    int port, ssl_port;   /* 0 to 65,535; -1: none */
    const char *payload;  /* JSON; NULL: none. For Java a null or a string is best */
    const char *uri_spec; /* JSON: {"parts":[{"value":"scheme","variable":true},...]}; NULL: none */
    int64_t registered;   /* ms since 1970 */
    enum zk_service_type type;
    bool disabled; /* not to be used. Written only when it is so */
};
/* Registers it until zk_member_free, anew in every session. registered 0: now. */
ZK_API int zk_service_register(struct zk *zk, const char *base, const struct zk_service *service,
                               const struct zk_member_options *options, struct zk_member **out);
/* What the data of a node says. ZK_MALFORMED. Free it with zk_service_free. */
ZK_API int zk_service_read(const void *json, int len, struct zk_service **out);
ZK_API void zk_service_free(struct zk_service *service);
/*
 * All instances of a service now: an array of count, each to be freed with zk_service_free, itself
 * with zk_services_free. What cannot be read is left out. To follow them have a cache of 2 levels
 * on <base>/<name> and read the data of what changes.
 */
ZK_API int zk_service_list(struct zk *zk, const char *base, const char *name,
                           struct zk_service ***out, int *count);
ZK_API void zk_services_free(struct zk_service **services, int count);

#ifdef __cplusplus
}
#endif

#endif
