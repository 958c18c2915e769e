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
 *
 * Rules that hold everywhere: the library never exits, prints, installs a signal handler or keeps a
 * global; several servers in one process are normal. Functions that can fail return 0 or a negative
 * error. Strings that are passed in are copied. Times are milliseconds.
 */
#ifndef ZK_H
#define ZK_H

#include <stddef.h>
#include <stdint.h>

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
 * the call. Must not call back into the library. */
typedef void (*zk_log_fn)(void *user, int level, const char *text);

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
 * ended with zk_server_stop. Otherwise *out is NULL and error (of size n, may be NULL) says why.
 */
ZK_API int zk_server_start(struct zk_server **out, const struct zk_server_options *options,
                           char *error, size_t n);

/* The client port that was bound. */
ZK_API int zk_server_port(const struct zk_server *s);

/* Blocks until the server stops by itself, which only a disk that fails or an election port that
 * cannot be had makes it do, or until another thread calls zk_server_interrupt. Returns
 * ZK_SERVER_OK after the latter, else why it stopped. */
ZK_API int zk_server_wait(struct zk_server *s, char *error, size_t n);

/* Ends a zk_server_wait. Async-signal-safe: may be called from a signal handler and any thread. */
ZK_API void zk_server_interrupt(struct zk_server *s);

/* Orderly end: what was accepted is made durable and answered, connections are closed, threads are
 * joined, everything is freed. NULL is fine. */
ZK_API void zk_server_stop(struct zk_server *s);

#ifdef __cplusplus
}
#endif

#endif
