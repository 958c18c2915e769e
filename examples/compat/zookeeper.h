/*
 * zookeeper.h: the C interface of Apache ZooKeeper 3.9.5, on top of zk.h.
 *
 * A program that was written for libzookeeper_mt or libzookeeper_st compiles and runs unchanged:
 *
 *   cc -std=c11 -pthread -I zk/examples/compat -I zk program.c zk/examples/compat/zookeeper*.c \
 *      zk/zk.c
 *
 * For programs that say <zookeeper/zookeeper.h> make a link named zookeeper to this directory. With
 * -DZOO_SINGLE_THREADED the library starts no thread: the program runs it by zookeeper_interest and
 * zookeeper_process, as with libzookeeper_st, and the synchronous functions are left out. New
 * programs had better use zk.h.
 *
 * What is the same, and what is better:
 *   - Functions return ZOK or one of enum ZOO_ERRORS. An asynchronous function that returns ZOK has
 *     its completion called exactly once; one that does not, never.
 *   - What is given to a function may be freed when it returns, except the results of zoo_amulti
 *     and the buffers of its operations. What a completion or a watcher is given is gone when it
 *     returns. Contexts are passed on and never looked at.
 *   - Completions and watchers are called one at a time, in the order in which the server spoke. In
 *     them everything may be called, synchronous functions and zookeeper_close too.
 *   - While there is no connection requests wait for one, two thirds of the session timeout at
 *     most, and then fail with ZCONNECTIONLOSS. zookeeper_close ends what waits with ZCLOSING.
 *   - Watchers are told of changes of the session too (type ZOO_SESSION_EVENT, path ""), and stay.
 */
#ifndef ZOO_ZOOKEEPER_H
#define ZOO_ZOOKEEPER_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#ifdef HAVE_OPENSSL_H
#include <openssl/ossl_typ.h>
#endif
#ifdef HAVE_CYRUS_SASL_H
#include <sasl/sasl.h>
#endif

#include "proto.h"
#include "recordio.h"
#include "zookeeper.jute.h"
#include "zookeeper_version.h"

#ifndef ZOOAPI
#define ZOOAPI
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- errors --- */

enum ZOO_ERRORS {
    ZOK = 0,
    /* of the system */
    ZSYSTEMERROR = -1,
    ZRUNTIMEINCONSISTENCY = -2, /* of an operation behind the one that made its multi fail */
    ZDATAINCONSISTENCY = -3,
    ZCONNECTIONLOSS = -4,
    ZMARSHALLINGERROR = -5,
    ZUNIMPLEMENTED = -6,
    ZOPERATIONTIMEOUT = -7,
    ZBADARGUMENTS = -8,
    ZINVALIDSTATE = -9, /* the session is over, or the handle closed */
    ZNEWCONFIGNOQUORUM = -13,
    ZRECONFIGINPROGRESS = -14,
    ZSSLCONNECTIONERROR = -15,
    /* of the service */
    ZAPIERROR = -100,
    ZNONODE = -101,
    ZNOAUTH = -102,
    ZBADVERSION = -103,
    ZNOCHILDRENFOREPHEMERALS = -108,
    ZNODEEXISTS = -110,
    ZNOTEMPTY = -111,
    ZSESSIONEXPIRED = -112,
    ZINVALIDCALLBACK = -113,
    ZINVALIDACL = -114,
    ZAUTHFAILED = -115,
    ZCLOSING = -116,
    ZNOTHING = -117, /* no error: there was nothing to process */
    ZSESSIONMOVED = -118,
    ZNOTREADONLY = -119,
    ZEPHEMERALONLOCALSESSION = -120,
    ZNOWATCHER = -121,
    ZRECONFIGDISABLED = -123,
    ZSESSIONCLOSEDREQUIRESASLAUTH = -124,
    ZTHROTTLEDOP = -127
};

/* In words; static. */
ZOOAPI const char *zerror(int c);

/* --- constants: objects, as in the libraries of stock --- */

typedef enum {
    ZOO_LOG_LEVEL_ERROR = 1,
    ZOO_LOG_LEVEL_WARN = 2,
    ZOO_LOG_LEVEL_INFO = 3,
    ZOO_LOG_LEVEL_DEBUG = 4
} ZooLogLevel;

/* Permissions */
extern ZOOAPI const int ZOO_PERM_READ;
extern ZOOAPI const int ZOO_PERM_WRITE;
extern ZOOAPI const int ZOO_PERM_CREATE;
extern ZOOAPI const int ZOO_PERM_DELETE;
extern ZOOAPI const int ZOO_PERM_ADMIN;
extern ZOOAPI const int ZOO_PERM_ALL;

#define ZOO_CONFIG_NODE "/zookeeper/config"

/* Flags of zookeeper_init */
#define ZOO_READONLY 1         /* be content with a server that has lost its quorum */
#define ZOO_NO_LOG_CLIENTENV 2 /* do not begin the log with where this runs */

extern ZOOAPI struct Id ZOO_ANYONE_ID_UNSAFE;
extern ZOOAPI struct Id ZOO_AUTH_IDS; /* stands for the identities of whoever sets the ACL */
extern ZOOAPI struct ACL_vector ZOO_OPEN_ACL_UNSAFE;
extern ZOOAPI struct ACL_vector ZOO_READ_ACL_UNSAFE;
extern ZOOAPI struct ACL_vector ZOO_CREATOR_ALL_ACL;

/* What to wait for, of zookeeper_interest */
extern ZOOAPI const int ZOOKEEPER_WRITE;
extern ZOOAPI const int ZOOKEEPER_READ;

/* Modes of a create; ZOO_EPHEMERAL | ZOO_SEQUENCE works too */
extern ZOOAPI const int ZOO_PERSISTENT;
extern ZOOAPI const int ZOO_EPHEMERAL;
extern ZOOAPI const int ZOO_PERSISTENT_SEQUENTIAL;
extern ZOOAPI const int ZOO_EPHEMERAL_SEQUENTIAL;
extern ZOOAPI const int ZOO_CONTAINER;
extern ZOOAPI const int ZOO_PERSISTENT_WITH_TTL;
extern ZOOAPI const int ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL;
extern ZOOAPI const int ZOO_SEQUENCE;

/* States of a session; 0: closed */
extern ZOOAPI const int ZOO_EXPIRED_SESSION_STATE;
extern ZOOAPI const int ZOO_AUTH_FAILED_STATE;
extern ZOOAPI const int ZOO_CONNECTING_STATE;
extern ZOOAPI const int ZOO_ASSOCIATING_STATE;
extern ZOOAPI const int ZOO_CONNECTED_STATE;
extern ZOOAPI const int ZOO_READONLY_STATE;
extern ZOOAPI const int ZOO_SSL_CONNECTING_STATE;
extern ZOOAPI const int ZOO_NOTCONNECTED_STATE;

/* Types of events */
extern ZOOAPI const int ZOO_CREATED_EVENT;
extern ZOOAPI const int ZOO_DELETED_EVENT;
extern ZOOAPI const int ZOO_CHANGED_EVENT;
extern ZOOAPI const int ZOO_CHILD_EVENT;
extern ZOOAPI const int ZOO_SESSION_EVENT;
extern ZOOAPI const int ZOO_NOTWATCHING_EVENT;

/* Which watches to remove */
typedef enum {
    ZWATCHTYPE_CHILD = 1,
    ZWATCHTYPE_DATA = 2,
    ZWATCHTYPE_ANY = 3
} ZooWatcherType;

/* --- types --- */

typedef struct _zhandle zhandle_t;

typedef struct {
    int64_t client_id;
    char passwd[16];
} clientid_t;

typedef struct _zcert {
    char *certstr;
    char *ca;
    char *cert;
    char *key;
    char *passwd;
} zcert_t;

typedef struct _zsock {
    int sock;
    zcert_t *cert;
#ifdef HAVE_OPENSSL_H
    SSL *ssl_sock;
    SSL_CTX *ssl_ctx;
#endif
} zsock_t;

/* path is valid during the call. */
typedef void (*watcher_fn)(zhandle_t *zh, int type, int state, const char *path, void *watcherCtx);
/* A line of the log, complete but for its end. */
typedef void (*log_callback_fn)(const char *message);

/* How an operation ended; data is what was given with it. What rc says was not had is NULL. */
typedef void (*void_completion_t)(int rc, const void *data);
typedef void (*stat_completion_t)(int rc, const struct Stat *stat, const void *data);
/* value NULL and value_len -1: null; value does not end in a NUL that can be relied on. */
typedef void (*data_completion_t)(int rc, const char *value, int value_len,
                                  const struct Stat *stat, const void *data);
typedef void (*strings_completion_t)(int rc, const struct String_vector *strings,
                                     const void *data);
typedef void (*strings_stat_completion_t)(int rc, const struct String_vector *strings,
                                          const struct Stat *stat, const void *data);
typedef void (*string_completion_t)(int rc, const char *value, const void *data);
typedef void (*string_stat_completion_t)(int rc, const char *string, const struct Stat *stat,
                                         const void *data);
typedef void (*acl_completion_t)(int rc, struct ACL_vector *acl, struct Stat *stat,
                                 const void *data);

/* --- a session --- */

/*
 * host: "host:port[,host:port...][/chroot]". Begins to connect and returns. clientid (may be NULL)
 * is of a session to re-attach. NULL and errno: EINVAL (host cannot be read), ENOENT (no name in it
 * can be resolved), ENOMEM.
 */
ZOOAPI zhandle_t *zookeeper_init(const char *host, watcher_fn fn, int recv_timeout,
                                 const clientid_t *clientid, void *context, int flags);
ZOOAPI zhandle_t *zookeeper_init2(const char *host, watcher_fn fn, int recv_timeout,
                                  const clientid_t *clientid, void *context, int flags,
                                  log_callback_fn log_callback);

/* Encrypted connections and SASL are not to be had: NULL, and errno is ENOSYS. */
#ifdef HAVE_OPENSSL_H
ZOOAPI zhandle_t *zookeeper_init_ssl(const char *host, const char *cert, watcher_fn fn,
                                     int recv_timeout, const clientid_t *clientid, void *context,
                                     int flags);
#endif
#ifdef HAVE_CYRUS_SASL_H
typedef struct zoo_sasl_params {
    const char *service;
    const char *host;
    const char *mechlist;
    const sasl_callback_t *callbacks;
} zoo_sasl_params_t;
typedef int (*zoo_sasl_password_callback_t)(const char *content, size_t content_len, void *context,
                                            char *buf, size_t buf_len, size_t *passwd_len);
typedef struct zoo_sasl_password {
    const char *password_file;
    void *context;
    zoo_sasl_password_callback_t callback;
} zoo_sasl_password_t;
ZOOAPI zhandle_t *zookeeper_init_sasl(const char *host, watcher_fn fn, int recv_timeout,
                                      const clientid_t *clientid, void *context, int flags,
                                      log_callback_fn log_callback,
                                      zoo_sasl_params_t *sasl_params);
ZOOAPI sasl_callback_t *zoo_sasl_make_basic_callbacks(const char *user, const char *realm,
                                                      const char *password_file);
ZOOAPI sasl_callback_t *zoo_sasl_make_password_callbacks(const char *user, const char *realm,
                                                         zoo_sasl_password_t *password);
#endif

/* Ends the session and frees the handle, whatever it returns. Completions that are due are called
 * with ZCLOSING before it returns; from a completion or watcher, after that has returned. */
ZOOAPI int zookeeper_close(zhandle_t *zh);

ZOOAPI int zoo_state(zhandle_t *zh);
/* ZINVALIDSTATE when the session is over and only zookeeper_close makes sense, else ZOK. */
ZOOAPI int is_unrecoverable(zhandle_t *zh);
/* Part of the handle. */
ZOOAPI const clientid_t *zoo_client_id(zhandle_t *zh);
/* The timeout agreed on; before that, asked for. */
ZOOAPI int zoo_recv_timeout(zhandle_t *zh);
ZOOAPI const void *zoo_get_context(zhandle_t *zh);
ZOOAPI void zoo_set_context(zhandle_t *zh, void *context);
/* Another watcher for the session; the old one is returned. */
ZOOAPI watcher_fn zoo_set_watcher(zhandle_t *zh, watcher_fn newFn);
/* NULL when not connected. */
ZOOAPI struct sockaddr *zookeeper_get_connected_host(zhandle_t *zh, struct sockaddr *addr,
                                                     socklen_t *addr_len);
/* "1.2.3.4:2181", or "" when not connected; valid until this thread's next call. */
ZOOAPI const char *zoo_get_current_server(zhandle_t *zh);

/* Another list of servers, without a chroot. */
ZOOAPI int zoo_set_servers(zhandle_t *zh, const char *hosts);
/* Checked and otherwise without effect: names are resolved without making anybody wait. */
ZOOAPI int zoo_set_servers_resolution_delay(zhandle_t *zh, int delay_ms);
/* Leaves the present server out of the choice of the next one. */
ZOOAPI void zoo_cycle_next_server(zhandle_t *zh);
/* 1: handles opened from now on take the servers in their order. */
ZOOAPI void zoo_deterministic_conn_order(int yesOrNo);

/* Takes on an identity, for this connection and all later ones. A refusal ends the session. The
 * completion may be NULL. */
ZOOAPI int zoo_add_auth(zhandle_t *zh, const char *scheme, const char *cert, int certLen,
                        void_completion_t completion, const void *data);
/* Nobody needs these two: they hold and release a lock that the library itself does not take. */
ZOOAPI int zoo_lock_auth(zhandle_t *zh);
ZOOAPI int zoo_unlock_auth(zhandle_t *zh);

ZOOAPI void close_zsock(zsock_t *zsock);

/* --- without threads (ZOO_SINGLE_THREADED) --- */

/* What to wait for: fd (it does not change), interest in ZOOKEEPER_READ and ZOOKEEPER_WRITE, tv at
 * most. Then call zookeeper_process with what came of it, 0 if nothing. */
ZOOAPI int zookeeper_interest(zhandle_t *zh, int *fd, int *interest, struct timeval *tv);
ZOOAPI int zookeeper_process(zhandle_t *zh, int events);

/* --- the log, of the whole process --- */

ZOOAPI void zoo_set_debug_level(ZooLogLevel logLevel); /* 0: silent */
ZOOAPI void zoo_set_log_stream(FILE *logStream);       /* NULL: stderr */
ZOOAPI log_callback_fn zoo_get_log_callback(const zhandle_t *zh);
ZOOAPI void zoo_set_log_callback(zhandle_t *zh, log_callback_fn callback); /* NULL: the stream */

/* --- operations, asynchronous --- */

/*
 * A value of length -1 is null. version -1: any. watch: with the watcher of the session; the
 * functions with a w take one of their own (NULL: none).
 */
ZOOAPI int zoo_acreate(zhandle_t *zh, const char *path, const char *value, int valuelen,
                       const struct ACL_vector *acl, int mode, string_completion_t completion,
                       const void *data);
ZOOAPI int zoo_acreate_ttl(zhandle_t *zh, const char *path, const char *value, int valuelen,
                           const struct ACL_vector *acl, int mode, int64_t ttl,
                           string_completion_t completion, const void *data);
ZOOAPI int zoo_acreate2(zhandle_t *zh, const char *path, const char *value, int valuelen,
                        const struct ACL_vector *acl, int mode,
                        string_stat_completion_t completion, const void *data);
ZOOAPI int zoo_acreate2_ttl(zhandle_t *zh, const char *path, const char *value, int valuelen,
                            const struct ACL_vector *acl, int mode, int64_t ttl,
                            string_stat_completion_t completion, const void *data);
ZOOAPI int zoo_adelete(zhandle_t *zh, const char *path, int version, void_completion_t completion,
                       const void *data);
ZOOAPI int zoo_aexists(zhandle_t *zh, const char *path, int watch, stat_completion_t completion,
                       const void *data);
ZOOAPI int zoo_awexists(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                        stat_completion_t completion, const void *data);
ZOOAPI int zoo_aget(zhandle_t *zh, const char *path, int watch, data_completion_t completion,
                    const void *data);
ZOOAPI int zoo_awget(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                     data_completion_t completion, const void *data);
ZOOAPI int zoo_aset(zhandle_t *zh, const char *path, const char *buffer, int buflen, int version,
                    stat_completion_t completion, const void *data);
ZOOAPI int zoo_aget_children(zhandle_t *zh, const char *path, int watch,
                             strings_completion_t completion, const void *data);
ZOOAPI int zoo_awget_children(zhandle_t *zh, const char *path, watcher_fn watcher,
                              void *watcherCtx, strings_completion_t completion, const void *data);
ZOOAPI int zoo_aget_children2(zhandle_t *zh, const char *path, int watch,
                              strings_stat_completion_t completion, const void *data);
ZOOAPI int zoo_awget_children2(zhandle_t *zh, const char *path, watcher_fn watcher,
                               void *watcherCtx, strings_stat_completion_t completion,
                               const void *data);
ZOOAPI int zoo_aget_acl(zhandle_t *zh, const char *path, acl_completion_t completion,
                        const void *data);
ZOOAPI int zoo_aset_acl(zhandle_t *zh, const char *path, int version, struct ACL_vector *acl,
                        void_completion_t completion, const void *data);
/* This is sync: the server comes to where the leader is. */
ZOOAPI int zoo_async(zhandle_t *zh, const char *path, string_completion_t completion,
                     const void *data);
/* The configuration of the ensemble, whatever the chroot. */
ZOOAPI int zoo_agetconfig(zhandle_t *zh, int watch, data_completion_t completion,
                          const void *data);
ZOOAPI int zoo_awgetconfig(zhandle_t *zh, watcher_fn watcher, void *watcherCtx,
                           data_completion_t completion, const void *data);
/* joining and leaving, or members; version of the configuration, -1: any. */
ZOOAPI int zoo_areconfig(zhandle_t *zh, const char *joining, const char *leaving,
                         const char *members, int64_t version, data_completion_t dc,
                         const void *data);

/*
 * Removes a watcher, or all, from a path. local: without asking the server. The completion is
 * called as the function that it points to, not through the pointer: cast it.
 */
ZOOAPI int zoo_aremove_watches(zhandle_t *zh, const char *path, ZooWatcherType wtype,
                               watcher_fn watcher, void *watcherCtx, int local,
                               void_completion_t *completion, const void *data);
ZOOAPI int zoo_aremove_all_watches(zhandle_t *zh, const char *path, ZooWatcherType wtype,
                                   int local, void_completion_t *completion, const void *data);

/* --- transactions --- */

typedef struct zoo_op {
    int type; /* of proto.h */
    union {
        struct {
            const char *path;
            const char *data;
            int datalen;
            char *buf; /* the path that was made; may be NULL */
            int buflen;
            const struct ACL_vector *acl;
            int flags; /* the mode */
            int64_t ttl;
        } create_op;
        struct {
            const char *path;
            int version;
        } delete_op;
        struct {
            const char *path;
            const char *data;
            int datalen;
            int version;
            struct Stat *stat; /* may be NULL */
        } set_op;
        struct {
            const char *path;
            int version;
        } check_op;
    };
} zoo_op_t;

/* Of a multi that failed: 0 before the operation that made it fail, ZRUNTIMEINCONSISTENCY after. */
typedef struct zoo_op_result {
    int err;
    char *value;
    int valuelen;
    struct Stat *stat;
} zoo_op_result_t;

ZOOAPI void zoo_create_op_init(zoo_op_t *op, const char *path, const char *value, int valuelen,
                               const struct ACL_vector *acl, int mode, char *path_buffer,
                               int path_buffer_len);
ZOOAPI void zoo_create2_op_init(zoo_op_t *op, const char *path, const char *value, int valuelen,
                                const struct ACL_vector *acl, int mode, char *path_buffer,
                                int path_buffer_len);
ZOOAPI void zoo_delete_op_init(zoo_op_t *op, const char *path, int version);
ZOOAPI void zoo_set_op_init(zoo_op_t *op, const char *path, const char *buffer, int buflen,
                            int version, struct Stat *stat);
ZOOAPI void zoo_check_op_init(zoo_op_t *op, const char *path, int version);

ZOOAPI int zoo_amulti(zhandle_t *zh, int count, const zoo_op_t *ops, zoo_op_result_t *results,
                      void_completion_t completion, const void *data);

/* --- operations, synchronous --- */

/*
 * As above, and wait. A path or value that is longer than its buffer is cut (a path ends in a NUL);
 * *buffer_len becomes the bytes copied, -1 for null. Vectors are to be freed by deallocate_*_vector
 * after ZOK, and untouched otherwise. stat may be NULL.
 */
ZOOAPI int zoo_create(zhandle_t *zh, const char *path, const char *value, int valuelen,
                      const struct ACL_vector *acl, int mode, char *path_buffer,
                      int path_buffer_len);
ZOOAPI int zoo_create_ttl(zhandle_t *zh, const char *path, const char *value, int valuelen,
                          const struct ACL_vector *acl, int mode, int64_t ttl, char *path_buffer,
                          int path_buffer_len);
ZOOAPI int zoo_create2(zhandle_t *zh, const char *path, const char *value, int valuelen,
                       const struct ACL_vector *acl, int mode, char *path_buffer,
                       int path_buffer_len, struct Stat *stat);
ZOOAPI int zoo_create2_ttl(zhandle_t *zh, const char *path, const char *value, int valuelen,
                           const struct ACL_vector *acl, int mode, int64_t ttl, char *path_buffer,
                           int path_buffer_len, struct Stat *stat);
ZOOAPI int zoo_delete(zhandle_t *zh, const char *path, int version);
ZOOAPI int zoo_exists(zhandle_t *zh, const char *path, int watch, struct Stat *stat);
ZOOAPI int zoo_wexists(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                       struct Stat *stat);
ZOOAPI int zoo_get(zhandle_t *zh, const char *path, int watch, char *buffer, int *buffer_len,
                   struct Stat *stat);
ZOOAPI int zoo_wget(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                    char *buffer, int *buffer_len, struct Stat *stat);
ZOOAPI int zoo_set(zhandle_t *zh, const char *path, const char *buffer, int buflen, int version);
ZOOAPI int zoo_set2(zhandle_t *zh, const char *path, const char *buffer, int buflen, int version,
                    struct Stat *stat);
ZOOAPI int zoo_get_children(zhandle_t *zh, const char *path, int watch,
                            struct String_vector *strings);
ZOOAPI int zoo_wget_children(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                             struct String_vector *strings);
ZOOAPI int zoo_get_children2(zhandle_t *zh, const char *path, int watch,
                             struct String_vector *strings, struct Stat *stat);
ZOOAPI int zoo_wget_children2(zhandle_t *zh, const char *path, watcher_fn watcher,
                              void *watcherCtx, struct String_vector *strings, struct Stat *stat);
ZOOAPI int zoo_get_acl(zhandle_t *zh, const char *path, struct ACL_vector *acl, struct Stat *stat);
ZOOAPI int zoo_set_acl(zhandle_t *zh, const char *path, int version,
                       const struct ACL_vector *acl);
ZOOAPI int zoo_getconfig(zhandle_t *zh, int watch, char *buffer, int *buffer_len,
                         struct Stat *stat);
ZOOAPI int zoo_wgetconfig(zhandle_t *zh, watcher_fn watcher, void *watcherCtx, char *buffer,
                          int *buffer_len, struct Stat *stat);
ZOOAPI int zoo_reconfig(zhandle_t *zh, const char *joining, const char *leaving,
                        const char *members, int64_t version, char *buffer, int *buffer_len,
                        struct Stat *stat);
ZOOAPI int zoo_multi(zhandle_t *zh, int count, const zoo_op_t *ops, zoo_op_result_t *results);
ZOOAPI int zoo_remove_watches(zhandle_t *zh, const char *path, ZooWatcherType wtype,
                              watcher_fn watcher, void *watcherCtx, int local);
ZOOAPI int zoo_remove_all_watches(zhandle_t *zh, const char *path, ZooWatcherType wtype,
                                  int local);

#ifdef __cplusplus
}
#endif

#endif
