/*
 * wire: numbers and records of the client protocol and of transactions.
 *
 * The tables are X-macros: one line per error code and per opcode; everything that needs a number,
 * a name or a property of an opcode is generated from them.
 * Field orders are those of stock's zookeeper.jute.
 */
#ifndef ZK_WIRE_H
#define ZK_WIRE_H

#include "base/jute.h"

/* code, name. stock: KeeperException.Code */
#define WIRE_ERRORS(X)                                                                             \
    X(0, OK)                                                                                       \
    X(-1, SYSTEMERROR)                                                                             \
    X(-2, RUNTIMEINCONSISTENCY)                                                                    \
    X(-3, DATAINCONSISTENCY)                                                                       \
    X(-4, CONNECTIONLOSS)                                                                          \
    X(-5, MARSHALLINGERROR)                                                                        \
    X(-6, UNIMPLEMENTED)                                                                           \
    X(-7, OPERATIONTIMEOUT)                                                                        \
    X(-8, BADARGUMENTS)                                                                            \
    X(-12, UNKNOWNSESSION)                                                                         \
    X(-13, NEWCONFIGNOQUORUM)                                                                      \
    X(-14, RECONFIGINPROGRESS)                                                                     \
    X(-100, APIERROR)                                                                              \
    X(-101, NONODE)                                                                                \
    X(-102, NOAUTH)                                                                                \
    X(-103, BADVERSION)                                                                            \
    X(-108, NOCHILDRENFOREPHEMERALS)                                                               \
    X(-110, NODEEXISTS)                                                                            \
    X(-111, NOTEMPTY)                                                                              \
    X(-112, SESSIONEXPIRED)                                                                        \
    X(-113, INVALIDCALLBACK)                                                                       \
    X(-114, INVALIDACL)                                                                            \
    X(-115, AUTHFAILED)                                                                            \
    X(-118, SESSIONMOVED)                                                                          \
    X(-119, NOTREADONLY)                                                                           \
    X(-120, EPHEMERALONLOCALSESSION)                                                               \
    X(-121, NOWATCHER)                                                                             \
    X(-122, REQUESTTIMEOUT)                                                                        \
    X(-123, RECONFIGDISABLED)                                                                      \
    X(-124, SESSIONCLOSEDREQUIRESASLAUTH)                                                          \
    X(-125, QUOTAEXCEEDED)                                                                         \
    X(-127, THROTTLEDOP)

#define WIRE_ERROR_ENUM(code, name) ZERR_##name = (code),
enum wire_error { WIRE_ERRORS(WIRE_ERROR_ENUM) };

/* What the request path does with an opcode (flags below). */
#define OP_CLIENT 1 /* valid in a request frame */
#define OP_WRITE 2  /* becomes a transaction */

/* number, name, operation label of `cons`, flags. stock: ZooDefs.OpCode, Request.isValid */
#define WIRE_OPS(X)                                                                                \
    X(-11, CLOSE_SESSION, "CLOS", OP_CLIENT | OP_WRITE)                                            \
    X(-10, CREATE_SESSION, "SESS", OP_WRITE)                                                       \
    X(-1, ERROR, "NA", 0)                                                                          \
    X(0, NOTIFICATION, "NA", 0)                                                                    \
    X(1, CREATE, "CREA", OP_CLIENT | OP_WRITE)                                                     \
    X(2, DELETE, "DELE", OP_CLIENT | OP_WRITE)                                                     \
    X(3, EXISTS, "EXIS", OP_CLIENT)                                                                \
    X(4, GET_DATA, "GETD", OP_CLIENT)                                                              \
    X(5, SET_DATA, "SETD", OP_CLIENT | OP_WRITE)                                                   \
    X(6, GET_ACL, "GETA", OP_CLIENT)                                                               \
    X(7, SET_ACL, "SETA", OP_CLIENT | OP_WRITE)                                                    \
    X(8, GET_CHILDREN, "GETC", OP_CLIENT)                                                          \
    X(9, SYNC, "SYNC", OP_CLIENT)                                                                  \
    X(11, PING, "PING", OP_CLIENT)                                                                 \
    X(12, GET_CHILDREN2, "GETC", OP_CLIENT)                                                        \
    X(13, CHECK, "CHEC", 0)                                                                        \
    X(14, MULTI, "MULT", OP_CLIENT | OP_WRITE)                                                     \
    X(15, CREATE2, "CREA", OP_CLIENT | OP_WRITE)                                                   \
    X(16, RECONFIG, "RECO", OP_CLIENT | OP_WRITE)                                                  \
    X(17, CHECK_WATCHES, "CHKW", OP_CLIENT)                                                        \
    X(18, REMOVE_WATCHES, "REMW", OP_CLIENT)                                                       \
    X(19, CREATE_CONTAINER, "CREA", OP_CLIENT | OP_WRITE)                                          \
    X(20, DELETE_CONTAINER, "DELE", OP_WRITE)                                                      \
    X(21, CREATE_TTL, "CREA", OP_CLIENT | OP_WRITE)                                                \
    X(22, MULTI_READ, "MLTR", OP_CLIENT)                                                           \
    X(100, AUTH, "NA", OP_CLIENT)                                                                  \
    X(101, SET_WATCHES, "SETW", OP_CLIENT)                                                         \
    X(102, SASL, "NA", OP_CLIENT)                                                                  \
    X(103, GET_EPHEMERALS, "GETE", OP_CLIENT)                                                      \
    X(104, GET_ALL_CHILDREN_NUMBER, "GETACN", OP_CLIENT)                                           \
    X(105, SET_WATCHES2, "STW2", OP_CLIENT)                                                        \
    X(106, ADD_WATCH, "ADDW", OP_CLIENT)                                                           \
    X(107, WHO_AM_I, "HOMI", OP_CLIENT)

#define WIRE_OP_ENUM(num, name, label, flags) ZOP_##name = (num),
enum wire_op { WIRE_OPS(WIRE_OP_ENUM) };

ZK_PRIVATE const char *wire_error_name(int code); /* "UNKNOWN" for a number not in the table */
ZK_PRIVATE int wire_op_flags(int32_t op);         /* 0 for an unknown opcode */
ZK_PRIVATE const char *wire_op_label(int32_t op);

/* Special xids. */
enum { XID_EVENT = -1, XID_PING = -2 };

/* Create modes of CreateRequest.flags. stock: CreateMode */
enum {
    MODE_PERSISTENT = 0,
    MODE_EPHEMERAL = 1,
    MODE_PERSISTENT_SEQUENTIAL = 2,
    MODE_EPHEMERAL_SEQUENTIAL = 3,
    MODE_CONTAINER = 4,
    MODE_TTL = 5,
    MODE_TTL_SEQUENTIAL = 6
};

enum { PERM_READ = 1, PERM_WRITE = 2, PERM_CREATE = 4, PERM_DELETE = 8, PERM_ADMIN = 16 };
#define PERM_ALL 31

enum { EVENT_CREATED = 1, EVENT_DELETED = 2, EVENT_DATA_CHANGED = 3, EVENT_CHILDREN_CHANGED = 4 };
#define EVENT_STATE_CONNECTED 3

/* Persisted stat: cversion counts creates of children; owner is the raw ephemeralOwner. */
struct zstat {
    int64_t czxid, mzxid, pzxid;
    int64_t ctime, mtime; /* ms since 1970 */
    int64_t owner;
    int32_t version, cversion, aversion;
};

/* ephemeralOwner of a container; TTL owners have 0xff in the top byte. stock: EphemeralType */
#define OWNER_CONTAINER INT64_MIN
#define TTL_MAX_MS 0xffffffffffLL

#define WIRE_STAT_LEN 68
/* Client form: cversion = 2 * persisted - children, owner 0 unless a session's. */
ZK_PRIVATE void wire_put_stat(uint8_t out[WIRE_STAT_LEN], const struct zstat *s, int64_t owner,
                              int32_t data_len, int32_t children);

/* One ACL entry inside a serialized vector<ACL>; slices borrow. */
struct wire_acl {
    int32_t perms;
    struct slice scheme, id; /* p == NULL: null string */
};

/* The serialized vector as it stands in the record: p == NULL for a null vector. */
ZK_PRIVATE struct slice jr_acl(struct jr *r);
ZK_PRIVATE struct wire_acl jr_acl_entry(struct jr *r);
ZK_PRIVATE void jw_acl_entry(struct buf *b, const struct wire_acl *a);
ZK_PRIVATE void jw_raw(struct buf *b, struct slice s); /* p == NULL is written as int -1 */

struct txn_header {
    int64_t client_id;
    int32_t cxid;
    int64_t zxid;
    int64_t time; /* ms since 1970 */
    int32_t type; /* enum wire_op */
};
#define TXN_HEADER_LEN 32

ZK_PRIVATE struct txn_header jr_txn_header(struct jr *r);
ZK_PRIVATE void jw_txn_header(struct buf *b, const struct txn_header *h);

/* Bodies of requests. Slices borrow from the frame. */
struct req_create {
    struct slice path, data, acl; /* acl: serialized vector */
    int32_t flags;
    int64_t ttl; /* -1 unless op is createTTL */
};
struct req_path {
    struct slice path;
    int32_t arg; /* version, watch flag, watcher type or mode */
};
struct req_set {
    struct slice path, data; /* data of setData; serialized ACL vector of setACL */
    int32_t version;
};

ZK_PRIVATE struct req_create jr_req_create(struct jr *r, int32_t op);
ZK_PRIVATE struct req_path jr_req_path_i32(struct jr *r);  /* delete, check, watcher ops */
ZK_PRIVATE struct req_path jr_req_path_bool(struct jr *r); /* reads with a watch flag */
ZK_PRIVATE struct req_set jr_req_set_data(struct jr *r);
ZK_PRIVATE struct req_set jr_req_set_acl(struct jr *r);

/* MultiHeader */
struct multi_header {
    int32_t type;
    bool done;
    int32_t err;
};
ZK_PRIVATE struct multi_header jr_multi_header(struct jr *r);
ZK_PRIVATE void jw_multi_header(struct buf *b, int32_t type, bool done, int32_t err);

#endif
