/* Generated from src/ by `make zk.c`; never edited by hand. */
/* System interfaces beyond C11: POSIX, and epoll where there is one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

/* What to build in; each may be set from the command line. */
#ifndef ZK_WITH_SERVER
#define ZK_WITH_SERVER 1
#endif
#ifndef ZK_WITH_CLIENT
#define ZK_WITH_CLIENT 1
#endif
#ifndef ZK_WITH_EPOLL
#ifdef __linux__
#define ZK_WITH_EPOLL 1
#else
#define ZK_WITH_EPOLL 0
#endif
#endif

/* In front of every function of zk.h; `static` where zk.c is included rather than linked. */
#ifndef ZK_API
#define ZK_API
#endif

/* In front of every internal function: only zk_* leaves the library. */
#ifndef ZK_PRIVATE
#ifdef __GNUC__
#define ZK_PRIVATE static __attribute__((unused))
#else
#define ZK_PRIVATE static
#endif
#endif

#include "zk.h"

/* ==== base/base.h ==== */

/*
 * base: memory, byte slices, growable buffers, shared blobs, hash maps, id sets, random numbers.
 *
 * Everything here is pure: no system call, no clock, no global. Other rooms are written in terms of
 * these few types, so their ownership rules are the rules of the whole library:
 *   slice  borrowed bytes, never freed through the slice
 *   buf    owned growable bytes with a read position; a FIFO of bytes
 *   blob   shared bytes with a reference count; used by one thread, or handed over whole
 *   map    u64 hash -> u32 value, open addressing; the owner of the values compares the keys
 *   idset  set of u32, open addressing
 */
#ifndef ZK_BASE_H
#define ZK_BASE_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* In the amalgamation every internal function is static; a build from src/ needs them extern. */
#ifndef ZK_PRIVATE
#define ZK_PRIVATE
#endif

#if defined(__GNUC__)
#define ZK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define ZK_PRINTF(fmt, args)
#endif

/*
 * Memory. ZK_MALLOC, ZK_REALLOC and ZK_FREE may be replaced at compile time. Running out of memory
 * in the server is not survivable in a consistent way: ZK_OOM() is called and must not return.
 * Lengths that come from outside are bounded before they reach these functions. The client, which
 * lives in other people's programs, asks with mem_try and buf_try_reserve first.
 */
#ifndef ZK_MALLOC
#define ZK_MALLOC(n) malloc(n)
#define ZK_REALLOC(p, n) realloc(p, n)
#define ZK_FREE(p) free(p)
#endif
#ifndef ZK_OOM
#define ZK_OOM() abort()
#endif

/* Invariants of our own, on in release builds. Never used on bytes that came from outside. */
#ifndef ZK_ASSERT
#define ZK_ASSERT(x) ((x) ? (void)0 : zk_assert_failed(#x, __FILE__, __LINE__))
#endif
ZK_PRIVATE void zk_assert_failed(const char *what, const char *file, int line);

ZK_PRIVATE void *mem_alloc(size_t n);  /* never NULL; n may be 0 */
ZK_PRIVATE void *mem_zalloc(size_t n); /* zero-filled */
ZK_PRIVATE void *mem_realloc(void *p, size_t n);
ZK_PRIVATE void mem_free(void *p); /* NULL is fine */
ZK_PRIVATE void *mem_try(size_t n); /* zero-filled; NULL when there is no memory: for the client */

/* Borrowed bytes. p may be NULL only when n is 0; `null` marks jute's null string or buffer. */
struct slice {
    const uint8_t *p;
    size_t n;
};

ZK_PRIVATE struct slice slice_of(const void *p, size_t n);
ZK_PRIVATE struct slice slice_str(const char *s); /* bytes of a C string, without the NUL */
ZK_PRIVATE bool slice_eq(struct slice a, struct slice b);
ZK_PRIVATE bool slice_is(struct slice a, const char *s);
ZK_PRIVATE bool slice_starts(struct slice a, const char *prefix);
ZK_PRIVATE int slice_cmp(struct slice a, struct slice b); /* memcmp order, shorter first */
ZK_PRIVATE uint64_t slice_hash(struct slice a, uint64_t seed);

/* Big-endian loads and stores at any alignment. */
ZK_PRIVATE uint32_t be32(const uint8_t *p);
ZK_PRIVATE uint64_t be64(const uint8_t *p);
ZK_PRIVATE void put_be32(uint8_t *p, uint32_t v);
ZK_PRIVATE void put_be64(uint8_t *p, uint64_t v);

/* Owned growable bytes: written at `n`, consumed at `head`. Zero-initialised is empty and valid. */
struct buf {
    uint8_t *p; /* owned */
    size_t head, n, cap;
};

ZK_PRIVATE void buf_free(struct buf *b);
ZK_PRIVATE void buf_clear(struct buf *b);                     /* keeps the memory */
ZK_PRIVATE uint8_t *buf_reserve(struct buf *b, size_t extra); /* room for extra bytes at the end */
ZK_PRIVATE uint8_t *buf_grow(struct buf *b, size_t extra);    /* reserve and advance; returns it */
ZK_PRIVATE bool buf_try_reserve(struct buf *b, size_t extra); /* false when there is no memory */
ZK_PRIVATE void buf_put(struct buf *b, const void *p, size_t n);
ZK_PRIVATE void buf_puts(struct buf *b, const char *s);
ZK_PRIVATE void buf_putc(struct buf *b, char c);
ZK_PRIVATE void buf_printf(struct buf *b, const char *fmt, ...) ZK_PRINTF(2, 3);
ZK_PRIVATE void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
ZK_PRIVATE void buf_consume(struct buf *b, size_t n); /* drops n bytes from the front */
/*
 * Takes back the room of what was consumed, when that is cheap. A FIFO calls it before it appends:
 * appending itself never moves bytes within the buffer, so offsets taken meanwhile stay right.
 */
ZK_PRIVATE void buf_compact(struct buf *b);
ZK_PRIVATE struct slice buf_slice(const struct buf *b);
ZK_PRIVATE size_t buf_len(const struct buf *b);

/* Shared bytes. The count is plain: a blob belongs to one thread at a time. */
struct blob {
    uint32_t refs;
    uint32_t n, cap;
    uint8_t p[];
};

ZK_PRIVATE struct blob *blob_new(uint32_t cap); /* one reference */
ZK_PRIVATE struct blob *blob_copy(struct slice bytes); /* likewise */
ZK_PRIVATE struct blob *blob_ref(struct blob *b);
ZK_PRIVATE void blob_unref(struct blob *b); /* NULL is fine */

/*
 * Hash index: maps a 64-bit hash to u32 values; several values may share a hash, the caller
 * compares the real keys while walking. MAP_NONE is never a value.
 */
#define MAP_NONE UINT32_MAX
struct map_slot {
    uint32_t tag; /* low 32 bits of the hash */
    uint32_t value;
};
struct map {
    struct map_slot *slots; /* owned */
    uint32_t cap, count;    /* cap is a power of two or 0 */
};
struct map_iter {
    uint32_t pos, left, tag;
};

ZK_PRIVATE void map_free(struct map *m);
ZK_PRIVATE void map_add(struct map *m, uint64_t hash, uint32_t value);
ZK_PRIVATE bool map_del(struct map *m, uint64_t hash, uint32_t value);
/* Candidates for a hash: for (v = map_first(m, h, &it); v != MAP_NONE; v = map_next(m, &it)) */
ZK_PRIVATE uint32_t map_first(const struct map *m, uint64_t hash, struct map_iter *it);
ZK_PRIVATE uint32_t map_next(const struct map *m, struct map_iter *it);

/* Set of u32 (not UINT32_MAX), iterated by slot. Zero-initialised is empty. */
struct idset {
    uint32_t *slots; /* owned; UINT32_MAX is empty */
    uint32_t cap, count;
};

ZK_PRIVATE void idset_free(struct idset *s);
ZK_PRIVATE bool idset_add(struct idset *s, uint32_t id); /* false when it was there */
ZK_PRIVATE bool idset_del(struct idset *s, uint32_t id); /* false when it was not */
ZK_PRIVATE bool idset_has(const struct idset *s, uint32_t id);
/* Iterates: for (i = 0; idset_next(s, &i, &id);) — no change of the set meanwhile. */
ZK_PRIVATE bool idset_next(const struct idset *s, uint32_t *pos, uint32_t *id);

ZK_PRIVATE uint64_t hash_u64(uint64_t x);

/* Where a socket leads. */
struct net_addr {
    uint8_t ip[16];
    uint8_t ip_len; /* 4 or 16 */
    uint16_t port;
};

/* Seeded random numbers (splitmix64); the only source of randomness in the pure rooms. */
struct prng {
    uint64_t state;
};
ZK_PRIVATE uint64_t prng_next(struct prng *r);
ZK_PRIVATE uint64_t prng_below(struct prng *r, uint64_t bound); /* bound > 0 */

#endif

/* ==== base/slab.h ==== */

/*
 * slab: small blocks without a header, in size classes of 16 bytes.
 *
 * A million small payloads must not cost a million malloc headers. Blocks up to SLAB_MAX come from
 * 64 KiB chunks that are carved once and never returned; a freed block goes to the free list of its
 * class. Larger blocks go to the allocator. The caller remembers each block's size.
 */
#ifndef ZK_SLAB_H
#define ZK_SLAB_H


#define SLAB_UNIT 16u
#define SLAB_MAX 2048u
#define SLAB_CHUNK 65536u

struct slab {
    void *free[SLAB_MAX / SLAB_UNIT + 1]; /* per class, linked through the first word */
    uint8_t *cur;                         /* chunk being carved: the unused rest */
    size_t left;
    void *chunks; /* owned, linked through the first word */
};

ZK_PRIVATE void *slab_alloc(struct slab *s, size_t n); /* NULL only for n == 0 */
ZK_PRIVATE void slab_free(struct slab *s, void *p, size_t n);
/* True when blocks of a and b bytes have the same real size, so that one may hold the other. */
ZK_PRIVATE bool slab_same(size_t a, size_t b);
ZK_PRIVATE void slab_free_all(struct slab *s); /* small blocks; large ones go one by one */

#endif

/* ==== base/sum.h ==== */

/*
 * sum: checksums, digests and codings that the formats and the protocol are defined with.
 *
 * Owns nothing and keeps nothing: every function is a function of its arguments.
 *   Adler-32  transaction log entries and snapshot seals (zlib's, RFC 1950; initial value 1)
 *   CRC-32    node digests (zlib's, reflected polynomial 0xEDB88320; initial value 0)
 *   SHA-1     passwords of the digest scheme, base64 around them
 * Both checksums are streaming: the result of one call is the first argument of the next.
 *
 * On x86-64 the CRC looks at the processor at run time and multiplies without carries where it can;
 * the portable code beside it gives the same results. Adler-32 is left to the compiler's vectors.
 */
#ifndef ZK_SUM_H
#define ZK_SUM_H


#define SUM_ADLER32_INIT 1u
#define SUM_CRC32_INIT 0u
#define SUM_SHA1_BYTES 20

ZK_PRIVATE uint32_t sum_adler32(uint32_t adler, const uint8_t *p, size_t n);
ZK_PRIVATE uint32_t sum_crc32(uint32_t crc, const uint8_t *p, size_t n);

/* For processors without the instruction, and for tests of it. */
ZK_PRIVATE uint32_t sum_crc32_portable(uint32_t crc, const uint8_t *p, size_t n);

ZK_PRIVATE void sum_sha1(const uint8_t *p, size_t n, uint8_t out[SUM_SHA1_BYTES]);

/* Standard alphabet with padding, no line breaks (RFC 4648 section 4); appended to `out`. */
ZK_PRIVATE void sum_base64_encode(struct buf *out, const uint8_t *p, size_t n);
/* False when the bytes are not base64; `out` may then have grown. Padding may be absent. */
ZK_PRIVATE bool sum_base64_decode(struct buf *out, const uint8_t *p, size_t n);

/* The password of a session: a function of its id, the same on every server. */
ZK_PRIVATE void sum_session_passwd(int64_t id, uint8_t out[16]);

#endif

/* ==== base/jute.h ==== */

/*
 * jute: the encoding of every ZooKeeper record, on the wire and on disk.
 *
 * Reader: bounded and sticky. A read past the end, or a length beyond `max`, sets `bad`, and from
 * then on every read returns zero or null; a record is checked once, at its end. Slices returned
 * borrow from the input. Null strings, buffers and vectors (length -1) are slices with p == NULL.
 * Writer: appends to a buf and cannot fail. Numbers are big-endian.
 * stock: BinaryInputArchive, BinaryOutputArchive.
 */
#ifndef ZK_JUTE_H
#define ZK_JUTE_H


#define JUTE_MAX_BUFFER 0xfffff /* default of jute.maxbuffer, bytes */

struct jr {
    const uint8_t *p, *end; /* borrowed */
    uint32_t max;           /* largest string or buffer accepted, bytes */
    bool bad;               /* a read failed: nothing after it is meaningful */
    bool oversize;          /* ... because of a length below 0 or above max */
};

ZK_PRIVATE struct jr jr_open(struct slice in, uint32_t max);
ZK_PRIVATE uint8_t jr_u8(struct jr *r);
ZK_PRIVATE bool jr_bool(struct jr *r);
ZK_PRIVATE int32_t jr_i32(struct jr *r);
ZK_PRIVATE int64_t jr_i64(struct jr *r);
ZK_PRIVATE struct slice jr_bytes(struct jr *r); /* ustring or buffer */
ZK_PRIVATE int32_t jr_count(struct jr *r); /* of a vector: -1 null, other negatives read as 0 */
ZK_PRIVATE size_t jr_left(const struct jr *r);

ZK_PRIVATE void jw_u8(struct buf *b, uint8_t v);
ZK_PRIVATE void jw_i32(struct buf *b, int32_t v);
ZK_PRIVATE void jw_i64(struct buf *b, int64_t v);
ZK_PRIVATE void jw_bytes(struct buf *b, struct slice s); /* p == NULL is written as -1 */
ZK_PRIVATE void jw_str(struct buf *b, const char *s);

#endif

/* ==== base/wire.h ==== */

/*
 * wire: numbers and records of the client protocol and of transactions.
 *
 * The tables are X-macros: one line per error code and per opcode; everything that needs a number,
 * a name or a property of an opcode is generated from them.
 * Field orders are those of stock's zookeeper.jute.
 */
#ifndef ZK_WIRE_H
#define ZK_WIRE_H


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

/* ==== base/log.h ==== */

/*
 * log: lines that a pure room wants logged.
 *
 * Rooms append lines to a queue; the host drains it to the user's callback. The queue is bounded:
 * beyond LOG_MAX bytes lines are counted instead of kept.
 */
#ifndef ZK_LOG_H
#define ZK_LOG_H


#define LOG_MAX 65536

enum log_level { LOG_ERROR_LEVEL = 1, LOG_WARN_LEVEL = 2, LOG_INFO_LEVEL = 3, LOG_DEBUG_LEVEL = 4 };

struct logq {
    struct buf lines; /* level byte, text, NUL; repeated */
    uint64_t dropped;
    int max_level; /* lines above it are not kept */
};

ZK_PRIVATE void log_line(struct logq *q, int level, const char *fmt, ...) ZK_PRINTF(3, 4);
/* Takes the first line; *text is valid until the next call on q. False when there is none. */
ZK_PRIVATE bool log_take(struct logq *q, int *level, const char **text);

#endif

/* ==== base/base.c ==== */


#include <stdio.h>

ZK_PRIVATE void zk_assert_failed(const char *what, const char *file, int line) {
    (void)fprintf(stderr, "zk: assertion failed: %s (%s:%d)\n", what, file, line);
    abort();
}

ZK_PRIVATE void *mem_alloc(size_t n) {
    void *p = ZK_MALLOC(n ? n : 1);
    if (!p) ZK_OOM();
    return p;
}

ZK_PRIVATE void *mem_zalloc(size_t n) {
    void *p = mem_alloc(n);
    memset(p, 0, n);
    return p;
}

ZK_PRIVATE void *mem_realloc(void *p, size_t n) {
    p = ZK_REALLOC(p, n ? n : 1);
    if (!p) ZK_OOM();
    return p;
}

ZK_PRIVATE void mem_free(void *p) {
    ZK_FREE(p);
}

ZK_PRIVATE void *mem_try(size_t n) {
    void *p = ZK_MALLOC(n ? n : 1);
    if (p) memset(p, 0, n);
    return p;
}

ZK_PRIVATE struct slice slice_of(const void *p, size_t n) {
    struct slice s = {p, n};
    return s;
}

ZK_PRIVATE struct slice slice_str(const char *s) {
    return slice_of(s, strlen(s));
}

ZK_PRIVATE bool slice_eq(struct slice a, struct slice b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

ZK_PRIVATE bool slice_is(struct slice a, const char *s) {
    return slice_eq(a, slice_str(s));
}

ZK_PRIVATE bool slice_starts(struct slice a, const char *prefix) {
    size_t n = strlen(prefix);
    return a.n >= n && memcmp(a.p, prefix, n) == 0;
}

ZK_PRIVATE int slice_cmp(struct slice a, struct slice b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    if (c) return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

ZK_PRIVATE uint64_t hash_u64(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t base_rotl(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

static void base_sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = base_rotl(v[1], 13) ^ v[0];
    v[0] = base_rotl(v[0], 32);
    v[2] += v[3];
    v[3] = base_rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = base_rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = base_rotl(v[1], 17) ^ v[2];
    v[2] = base_rotl(v[2], 32);
}

/* SipHash-1-3: names come from clients, who must not be able to choose where they collide. */
ZK_PRIVATE uint64_t slice_hash(struct slice a, uint64_t seed) {
    uint64_t k = hash_u64(seed + 1), w;
    uint64_t v[4] = {seed ^ 0x736f6d6570736575u, k ^ 0x646f72616e646f6du,
                     seed ^ 0x6c7967656e657261u, k ^ 0x7465646279746573u};
    const uint8_t *p = a.p;
    size_t left = a.n;
    for (; left >= 8; p += 8, left -= 8) {
        memcpy(&w, p, 8);
        v[3] ^= w;
        base_sip_round(v);
        v[0] ^= w;
    }
    w = 0;
    if (left) memcpy(&w, p, left);
    w ^= (uint64_t)a.n << 56;
    v[3] ^= w;
    base_sip_round(v);
    v[0] ^= w;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) base_sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

ZK_PRIVATE uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

ZK_PRIVATE uint64_t be64(const uint8_t *p) {
    return (uint64_t)be32(p) << 32 | be32(p + 4);
}

ZK_PRIVATE void put_be32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

ZK_PRIVATE void put_be64(uint8_t *p, uint64_t v) {
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

/* --- buf --- */

ZK_PRIVATE void buf_free(struct buf *b) {
    mem_free(b->p);
    memset(b, 0, sizeof *b);
}

ZK_PRIVATE void buf_clear(struct buf *b) {
    b->head = b->n = 0;
}

ZK_PRIVATE uint8_t *buf_reserve(struct buf *b, size_t extra) {
    if (b->cap - b->n >= extra && b->p) return b->p + b->n;
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->n < extra) cap *= 2;
    b->p = mem_realloc(b->p, cap);
    b->cap = cap;
    return b->p + b->n;
}

ZK_PRIVATE bool buf_try_reserve(struct buf *b, size_t extra) {
    if (b->cap - b->n >= extra && b->p) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->n < extra) cap *= 2;
    uint8_t *p = ZK_REALLOC(b->p, cap);
    if (!p) return false;
    b->p = p;
    b->cap = cap;
    return true;
}

ZK_PRIVATE void buf_compact(struct buf *b) {
    size_t live = b->n - b->head;
    if (!b->head || b->head < live) return; /* moving less than was consumed keeps it linear */
    memmove(b->p, b->p + b->head, live);
    b->head = 0;
    b->n = live;
}

ZK_PRIVATE uint8_t *buf_grow(struct buf *b, size_t extra) {
    uint8_t *p = buf_reserve(b, extra);
    b->n += extra;
    return p;
}

ZK_PRIVATE void buf_put(struct buf *b, const void *p, size_t n) {
    if (n) memcpy(buf_grow(b, n), p, n);
}

ZK_PRIVATE void buf_puts(struct buf *b, const char *s) {
    buf_put(b, s, strlen(s));
}

ZK_PRIVATE void buf_putc(struct buf *b, char c) {
    buf_put(b, &c, 1);
}

ZK_PRIVATE void buf_vprintf(struct buf *b, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    ZK_ASSERT(n >= 0);
    char *p = (char *)buf_reserve(b, (size_t)n + 1);
    (void)vsnprintf(p, (size_t)n + 1, fmt, again);
    b->n += (size_t)n;
    va_end(again);
}

ZK_PRIVATE void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

ZK_PRIVATE void buf_consume(struct buf *b, size_t n) {
    ZK_ASSERT(n <= b->n - b->head);
    b->head += n;
    if (b->head == b->n) b->head = b->n = 0;
}

ZK_PRIVATE struct slice buf_slice(const struct buf *b) {
    return b->p ? slice_of(b->p + b->head, b->n - b->head) : slice_of(NULL, 0);
}

ZK_PRIVATE size_t buf_len(const struct buf *b) {
    return b->n - b->head;
}

/* --- blob --- */

ZK_PRIVATE struct blob *blob_new(uint32_t cap) {
    struct blob *b = mem_alloc(sizeof *b + cap);
    b->refs = 1;
    b->n = 0;
    b->cap = cap;
    return b;
}

ZK_PRIVATE struct blob *blob_copy(struct slice bytes) {
    struct blob *b = blob_new((uint32_t)bytes.n);
    if (bytes.n) memcpy(b->p, bytes.p, bytes.n);
    b->n = (uint32_t)bytes.n;
    return b;
}

ZK_PRIVATE struct blob *blob_ref(struct blob *b) {
    b->refs++;
    return b;
}

ZK_PRIVATE void blob_unref(struct blob *b) {
    if (!b) return;
    ZK_ASSERT(b->refs > 0);
    if (--b->refs == 0) mem_free(b);
}

/* --- map: linear probing, deletion by shifting back --- */

static uint32_t map_home(const struct map *m, uint32_t tag) {
    return (uint32_t)((tag * 0x9e3779b1u) >> 7) & (m->cap - 1);
}

ZK_PRIVATE void map_free(struct map *m) {
    mem_free(m->slots);
    memset(m, 0, sizeof *m);
}

static void map_place(struct map *m, uint32_t tag, uint32_t value) {
    uint32_t i = map_home(m, tag);
    while (m->slots[i].value != MAP_NONE) i = (i + 1) & (m->cap - 1);
    m->slots[i].tag = tag;
    m->slots[i].value = value;
    m->count++;
}

static void map_resize(struct map *m, uint32_t cap) {
    struct map old = *m;
    m->slots = mem_alloc(sizeof *m->slots * cap);
    for (uint32_t i = 0; i < cap; i++) m->slots[i].value = MAP_NONE;
    m->cap = cap;
    m->count = 0;
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.slots[i].value != MAP_NONE) map_place(m, old.slots[i].tag, old.slots[i].value);
    mem_free(old.slots);
}

ZK_PRIVATE void map_add(struct map *m, uint64_t hash, uint32_t value) {
    ZK_ASSERT(value != MAP_NONE);
    if ((uint64_t)m->count * 4 + 4 > (uint64_t)m->cap * 3) map_resize(m, m->cap ? m->cap * 2 : 8);
    map_place(m, (uint32_t)hash, value);
}

ZK_PRIVATE bool map_del(struct map *m, uint64_t hash, uint32_t value) {
    if (!m->cap) return false;
    uint32_t tag = (uint32_t)hash, mask = m->cap - 1;
    uint32_t i = map_home(m, tag);
    while (m->slots[i].value != value || m->slots[i].tag != tag) {
        if (m->slots[i].value == MAP_NONE) return false;
        i = (i + 1) & mask;
    }
    for (uint32_t j = i;;) {
        j = (j + 1) & mask;
        if (m->slots[j].value == MAP_NONE) break;
        uint32_t home = map_home(m, m->slots[j].tag);
        if (((j - home) & mask) >= ((j - i) & mask)) {
            m->slots[i] = m->slots[j];
            i = j;
        }
    }
    m->slots[i].value = MAP_NONE;
    m->count--;
    return true;
}

ZK_PRIVATE uint32_t map_first(const struct map *m, uint64_t hash, struct map_iter *it) {
    it->tag = (uint32_t)hash;
    it->left = m->cap;
    it->pos = m->cap ? map_home(m, it->tag) : 0;
    return map_next(m, it);
}

ZK_PRIVATE uint32_t map_next(const struct map *m, struct map_iter *it) {
    for (; it->left; it->left--) {
        struct map_slot s = m->slots[it->pos];
        if (s.value == MAP_NONE) break;
        it->pos = (it->pos + 1) & (m->cap - 1);
        if (s.tag == it->tag) {
            it->left--;
            return s.value;
        }
    }
    it->left = 0;
    return MAP_NONE;
}

/* --- idset --- */

static uint32_t idset_home(const struct idset *s, uint32_t id) {
    return (uint32_t)((id * 0x9e3779b1u) >> 7) & (s->cap - 1);
}

ZK_PRIVATE void idset_free(struct idset *s) {
    mem_free(s->slots);
    memset(s, 0, sizeof *s);
}

static void idset_resize(struct idset *s, uint32_t cap) {
    struct idset old = *s;
    s->slots = mem_alloc(sizeof *s->slots * cap);
    memset(s->slots, 0xff, sizeof *s->slots * cap);
    s->cap = cap;
    for (uint32_t i = 0; i < old.cap; i++) {
        if (old.slots[i] == UINT32_MAX) continue;
        uint32_t j = idset_home(s, old.slots[i]);
        while (s->slots[j] != UINT32_MAX) j = (j + 1) & (cap - 1);
        s->slots[j] = old.slots[i];
    }
    mem_free(old.slots);
}

static uint32_t idset_find(const struct idset *s, uint32_t id) {
    uint32_t i = idset_home(s, id);
    while (s->slots[i] != UINT32_MAX && s->slots[i] != id) i = (i + 1) & (s->cap - 1);
    return i;
}

ZK_PRIVATE bool idset_add(struct idset *s, uint32_t id) {
    ZK_ASSERT(id != UINT32_MAX);
    if ((uint64_t)s->count * 4 + 4 > (uint64_t)s->cap * 3) idset_resize(s, s->cap ? s->cap * 2 : 4);
    uint32_t i = idset_find(s, id);
    if (s->slots[i] == id) return false;
    s->slots[i] = id;
    s->count++;
    return true;
}

ZK_PRIVATE bool idset_del(struct idset *s, uint32_t id) {
    if (!s->count) return false;
    uint32_t mask = s->cap - 1, i = idset_find(s, id);
    if (s->slots[i] != id) return false;
    for (uint32_t j = i;;) {
        j = (j + 1) & mask;
        if (s->slots[j] == UINT32_MAX) break;
        uint32_t home = idset_home(s, s->slots[j]);
        if (((j - home) & mask) >= ((j - i) & mask)) {
            s->slots[i] = s->slots[j];
            i = j;
        }
    }
    s->slots[i] = UINT32_MAX;
    s->count--;
    if (!s->count) idset_free(s);
    return true;
}

ZK_PRIVATE bool idset_has(const struct idset *s, uint32_t id) {
    return s->count && s->slots[idset_find(s, id)] == id;
}

ZK_PRIVATE bool idset_next(const struct idset *s, uint32_t *pos, uint32_t *id) {
    while (*pos < s->cap) {
        uint32_t v = s->slots[(*pos)++];
        if (v == UINT32_MAX) continue;
        *id = v;
        return true;
    }
    return false;
}

/* --- prng --- */

ZK_PRIVATE uint64_t prng_next(struct prng *r) {
    r->state += 0x9e3779b97f4a7c15u;
    return hash_u64(r->state);
}

ZK_PRIVATE uint64_t prng_below(struct prng *r, uint64_t bound) {
    return prng_next(r) % bound;
}

/* ==== base/slab.c ==== */


static size_t slab_class(size_t n) {
    return (n + SLAB_UNIT - 1) / SLAB_UNIT;
}

ZK_PRIVATE void *slab_alloc(struct slab *s, size_t n) {
    if (n == 0) return NULL;
    if (n > SLAB_MAX) return mem_alloc(n);
    size_t c = slab_class(n), size = c * SLAB_UNIT;
    void *p = s->free[c];
    if (p) {
        memcpy(&s->free[c], p, sizeof p);
        return p;
    }
    if (s->left < size) {
        /* What is left of the old chunk serves smaller blocks. */
        if (s->left >= SLAB_UNIT) {
            size_t rest = s->left / SLAB_UNIT;
            memcpy(s->cur, &s->free[rest], sizeof(void *));
            s->free[rest] = s->cur;
        }
        uint8_t *chunk = mem_alloc(SLAB_CHUNK);
        memcpy(chunk, &s->chunks, sizeof(void *));
        s->chunks = chunk;
        s->cur = chunk + SLAB_UNIT;
        s->left = SLAB_CHUNK - SLAB_UNIT;
    }
    p = s->cur;
    s->cur += size;
    s->left -= size;
    return p;
}

ZK_PRIVATE void slab_free(struct slab *s, void *p, size_t n) {
    if (!p) return;
    if (n > SLAB_MAX) {
        mem_free(p);
        return;
    }
    size_t c = slab_class(n);
    memcpy(p, &s->free[c], sizeof p);
    s->free[c] = p;
}

ZK_PRIVATE bool slab_same(size_t a, size_t b) {
    if (a > SLAB_MAX || b > SLAB_MAX) return a == b;
    return slab_class(a) == slab_class(b);
}

ZK_PRIVATE void slab_free_all(struct slab *s) {
    for (void *p = s->chunks; p;) {
        void *next;
        memcpy(&next, p, sizeof next);
        mem_free(p);
        p = next;
    }
    memset(s, 0, sizeof *s);
}

/* ==== base/sum.c ==== */


#if defined(__x86_64__) && defined(__GNUC__)
#define SUM_X86 1
#include <immintrin.h>
#else
#define SUM_X86 0
#endif

/* --- Adler-32: a = 1 + sum of bytes, b = sum of all values of a, both modulo 65521 --- */

#define SUM_ADLER_MOD 65521u
/* Bytes between two reductions; a lane's 32 bits would do for sixteen times as many. */
#define SUM_ADLER_RUN 5536u
#define SUM_ADLER_LANES 16u

/*
 * Each lane sums every 16th byte, and sums its own sums; a lane's byte weighs less in b the later
 * it comes within the row. The inner loops have no dependency, so that compilers vectorise them.
 */
ZK_PRIVATE uint32_t sum_adler32(uint32_t adler, const uint8_t *p, size_t n) {
    uint32_t a = adler & 0xffff, b = adler >> 16;
    while (n >= SUM_ADLER_LANES) {
        size_t run = n < SUM_ADLER_RUN ? n - n % SUM_ADLER_LANES : SUM_ADLER_RUN;
        uint32_t sum[SUM_ADLER_LANES] = {0}, sums[SUM_ADLER_LANES] = {0};
        const uint8_t *end = p + run;
        for (; p != end; p += SUM_ADLER_LANES) {
            for (size_t i = 0; i < SUM_ADLER_LANES; i++) {
                sums[i] += sum[i];
                sum[i] += p[i];
            }
        }
        uint64_t wide = b + (uint64_t)run * a;
        for (uint32_t i = 0; i < SUM_ADLER_LANES; i++) {
            wide += (uint64_t)SUM_ADLER_LANES * sums[i] + (SUM_ADLER_LANES - i) * sum[i];
            a += sum[i];
        }
        a %= SUM_ADLER_MOD;
        b = (uint32_t)(wide % SUM_ADLER_MOD);
        n -= run;
    }
    for (; n; n--) {
        a += *p++;
        b += a;
    }
    return b % SUM_ADLER_MOD << 16 | a % SUM_ADLER_MOD;
}

/* --- CRC-32 --- */

/*
 * Row k of the table is the remainder of each byte followed by k zero bytes. Remainders are linear:
 * an entry is the xor of the entries of its single bits, so eight constants make a row.
 */
#define SUM_CRC_BIT(i, bit, c) (((i) >> (bit)&1u) ? (c) : 0u)
#define SUM_CRC_1(i, a, b, c, d, e, f, g, h)                                                       \
    (SUM_CRC_BIT(i, 0, a) ^ SUM_CRC_BIT(i, 1, b) ^ SUM_CRC_BIT(i, 2, c) ^ SUM_CRC_BIT(i, 3, d) ^   \
     SUM_CRC_BIT(i, 4, e) ^ SUM_CRC_BIT(i, 5, f) ^ SUM_CRC_BIT(i, 6, g) ^ SUM_CRC_BIT(i, 7, h))
#define SUM_CRC_4(i, ...)                                                                          \
    SUM_CRC_1((i), __VA_ARGS__), SUM_CRC_1((i) + 1u, __VA_ARGS__),                                 \
        SUM_CRC_1((i) + 2u, __VA_ARGS__), SUM_CRC_1((i) + 3u, __VA_ARGS__)
#define SUM_CRC_16(i, ...)                                                                         \
    SUM_CRC_4((i), __VA_ARGS__), SUM_CRC_4((i) + 4u, __VA_ARGS__),                                 \
        SUM_CRC_4((i) + 8u, __VA_ARGS__), SUM_CRC_4((i) + 12u, __VA_ARGS__)
#define SUM_CRC_64(i, ...)                                                                         \
    SUM_CRC_16((i), __VA_ARGS__), SUM_CRC_16((i) + 16u, __VA_ARGS__),                              \
        SUM_CRC_16((i) + 32u, __VA_ARGS__), SUM_CRC_16((i) + 48u, __VA_ARGS__)
#define SUM_CRC_ROW(...)                                                                           \
    {                                                                                              \
        SUM_CRC_64(0u, __VA_ARGS__), SUM_CRC_64(64u, __VA_ARGS__),                                 \
            SUM_CRC_64(128u, __VA_ARGS__), SUM_CRC_64(192u, __VA_ARGS__)                           \
    }

static const uint32_t sum_crc_table[8][256] = {
    SUM_CRC_ROW(0x77073096, 0xee0e612c, 0x076dc419, 0x0edb8832, 0x1db71064,
                0x3b6e20c8, 0x76dc4190, 0xedb88320),
    SUM_CRC_ROW(0x191b3141, 0x32366282, 0x646cc504, 0xc8d98a08, 0x4ac21251,
                0x958424a2, 0xf0794f05, 0x3b83984b),
    SUM_CRC_ROW(0x01c26a37, 0x0384d46e, 0x0709a8dc, 0x0e1351b8, 0x1c26a370,
                0x384d46e0, 0x709a8dc0, 0xe1351b80),
    SUM_CRC_ROW(0xb8bc6765, 0xaa09c88b, 0x8f629757, 0xc5b428ef, 0x5019579f,
                0xa032af3e, 0x9b14583d, 0xed59b63b),
    SUM_CRC_ROW(0x3d6029b0, 0x7ac05360, 0xf580a6c0, 0x30704bc1, 0x60e09782,
                0xc1c12f04, 0x58f35849, 0xb1e6b092),
    SUM_CRC_ROW(0xcb5cd3a5, 0x4dc8a10b, 0x9b914216, 0xec53826d, 0x03d6029b,
                0x07ac0536, 0x0f580a6c, 0x1eb014d8),
    SUM_CRC_ROW(0xa6770bb4, 0x979f1129, 0xf44f2413, 0x33ef4e67, 0x67de9cce,
                0xcfbd399c, 0x440b7579, 0x8816eaf2),
    SUM_CRC_ROW(0xccaa009e, 0x4225077d, 0x844a0efa, 0xd3e51bb5, 0x7cbb312b,
                0xf9766256, 0x299dc2ed, 0x533b85da),
};

/* Eight bytes a step, a row of the table for each. */
ZK_PRIVATE uint32_t sum_crc32_portable(uint32_t crc, const uint8_t *p, size_t n) {
    crc = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = sum_crc_table[7][crc & 0xff] ^ sum_crc_table[6][crc >> 8 & 0xff] ^
              sum_crc_table[5][crc >> 16 & 0xff] ^ sum_crc_table[4][crc >> 24] ^
              sum_crc_table[3][p[4]] ^ sum_crc_table[2][p[5]] ^ sum_crc_table[1][p[6]] ^
              sum_crc_table[0][p[7]];
    }
    for (; n; n--) crc = crc >> 8 ^ sum_crc_table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if SUM_X86
#define SUM_CLMUL __attribute__((target("pclmul,sse4.1")))

SUM_CLMUL static __m128i sum_crc_fold(__m128i x, __m128i k, __m128i next) {
    __m128i low = _mm_clmulepi64_si128(x, k, 0x00), high = _mm_clmulepi64_si128(x, k, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

SUM_CLMUL static __m128i sum_crc_load(const uint8_t *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/*
 * Folds by carry-less multiplication, as in Intel's "Fast CRC Computation for Generic Polynomials
 * Using PCLMULQDQ"; the constants are x^n modulo the polynomial, bit-reflected. n is a multiple of
 * 16 and at least 16; crc comes and goes inverted.
 */
SUM_CLMUL static uint32_t sum_crc_clmul(uint32_t crc, const uint8_t *p, size_t n) {
    const __m128i by64 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    const __m128i by16 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i by4 = _mm_set_epi64x(0, 0x163cd6124);
    const __m128i barrett = _mm_set_epi64x(0x1f7011641, 0x1db710641);
    const __m128i low32 = _mm_setr_epi32(-1, 0, -1, 0);
    __m128i x = _mm_xor_si128(sum_crc_load(p), _mm_cvtsi32_si128((int)crc));
    p += 16;
    n -= 16;
    if (n >= 48) {
        __m128i y = sum_crc_load(p), z = sum_crc_load(p + 16), w = sum_crc_load(p + 32);
        for (p += 48, n -= 48; n >= 64; p += 64, n -= 64) {
            x = sum_crc_fold(x, by64, sum_crc_load(p));
            y = sum_crc_fold(y, by64, sum_crc_load(p + 16));
            z = sum_crc_fold(z, by64, sum_crc_load(p + 32));
            w = sum_crc_fold(w, by64, sum_crc_load(p + 48));
        }
        x = sum_crc_fold(sum_crc_fold(sum_crc_fold(x, by16, y), by16, z), by16, w);
    }
    for (; n; p += 16, n -= 16) x = sum_crc_fold(x, by16, sum_crc_load(p));

    /* 128 bits to 64, then to 32 (Barrett) */
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, by16, 0x10));
    __m128i t = _mm_clmulepi64_si128(_mm_and_si128(x, low32), by4, 0x00);
    x = _mm_xor_si128(_mm_srli_si128(x, 4), t);
    t = _mm_clmulepi64_si128(_mm_and_si128(x, low32), barrett, 0x10);
    t = _mm_clmulepi64_si128(_mm_and_si128(t, low32), barrett, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(x, t), 1);
}
#endif

ZK_PRIVATE uint32_t sum_crc32(uint32_t crc, const uint8_t *p, size_t n) {
#if SUM_X86
    if (n >= 32 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
        size_t bulk = n - n % 16;
        crc = ~sum_crc_clmul(~crc, p, bulk);
        p += bulk;
        n -= bulk;
    }
#endif
    return sum_crc32_portable(crc, p, n);
}

/* --- SHA-1 --- */

static uint32_t sum_rotl(uint32_t x, int n) {
    return x << n | x >> (32 - n);
}

static void sum_sha1_block(uint32_t h[5], const uint8_t *p) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++) w[i] = be32(p + 4 * i);
    for (int i = 16; i < 80; i++) w[i] = sum_rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (i < 40 || i >= 60) {
            f = b ^ c ^ d;
            k = i < 40 ? 0x6ed9eba1 : 0xca62c1d6;
        } else {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        }
        uint32_t t = sum_rotl(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = sum_rotl(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

ZK_PRIVATE void sum_sha1(const uint8_t *p, size_t n, uint8_t out[SUM_SHA1_BYTES]) {
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    size_t done = 0;
    for (; n - done >= 64; done += 64) sum_sha1_block(h, p + done);
    uint8_t last[128] = {0};
    size_t rest = n - done, padded = rest < 56 ? 64 : 128;
    if (rest) memcpy(last, p + done, rest);
    last[rest] = 0x80;
    put_be64(last + padded - 8, (uint64_t)n * 8);
    for (size_t i = 0; i < padded; i += 64) sum_sha1_block(h, last + i);
    for (int i = 0; i < 5; i++) put_be32(out + 4 * i, h[i]);
}

/* --- base64 --- */

ZK_PRIVATE void sum_base64_encode(struct buf *out, const uint8_t *p, size_t n) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)p[i] << 16;
        if (left > 1) v |= (uint32_t)p[i + 1] << 8;
        if (left > 2) v |= p[i + 2];
        buf_putc(out, letters[v >> 18]);
        buf_putc(out, letters[v >> 12 & 63]);
        buf_putc(out, left > 1 ? letters[v >> 6 & 63] : '=');
        buf_putc(out, left > 2 ? letters[v & 63] : '=');
    }
}

static uint32_t sum_base64_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26u;
    if (c >= '0' && c <= '9') return c - '0' + 52u;
    if (c == '+') return 62;
    return c == '/' ? 63 : 64;
}

ZK_PRIVATE bool sum_base64_decode(struct buf *out, const uint8_t *p, size_t n) {
    if (n % 4 == 0 && n && p[n - 1] == '=') {
        n--;
        if (p[n - 1] == '=') n--;
    }
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t six = sum_base64_value(p[i]);
        if (six > 63) return false;
        v = v << 6 | six;
        if (i % 4) buf_putc(out, (char)(uint8_t)(v >> (6 - 2 * (i % 4))));
    }
    return n % 4 != 1;
}

/* --- session password --- */

/* stock: ZooKeeperServer.generatePasswd, the first 16 bytes of java.util.Random(id ^ secret). */
ZK_PRIVATE void sum_session_passwd(int64_t id, uint8_t out[16]) {
    const uint64_t mask = ((uint64_t)1 << 48) - 1, factor = 0x5deece66d;
    uint64_t s = ((uint64_t)id ^ 0xb3415c00 ^ factor) & mask;
    for (int i = 0; i < 16; i += 4) {
        s = (s * factor + 0xb) & mask;
        for (int k = 0; k < 4; k++) out[i + k] = (uint8_t)(s >> (16 + 8 * k));
    }
}

/* ==== base/jute.c ==== */


ZK_PRIVATE struct jr jr_open(struct slice in, uint32_t max) {
    static const uint8_t nothing[1] = {0};
    const uint8_t *p = in.p ? in.p : nothing;
    struct jr r = {p, p + in.n, max, false, false};
    return r;
}

static const uint8_t *jr_take(struct jr *r, size_t n) {
    if (r->bad || (size_t)(r->end - r->p) < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

ZK_PRIVATE uint8_t jr_u8(struct jr *r) {
    const uint8_t *p = jr_take(r, 1);
    return p ? *p : 0;
}

ZK_PRIVATE bool jr_bool(struct jr *r) {
    return jr_u8(r) != 0;
}

ZK_PRIVATE int32_t jr_i32(struct jr *r) {
    const uint8_t *p = jr_take(r, 4);
    return p ? (int32_t)be32(p) : 0;
}

ZK_PRIVATE int64_t jr_i64(struct jr *r) {
    const uint8_t *p = jr_take(r, 8);
    return p ? (int64_t)be64(p) : 0;
}

ZK_PRIVATE struct slice jr_bytes(struct jr *r) {
    int32_t n = jr_i32(r);
    if (r->bad || n == -1) return slice_of(NULL, 0);
    if (n < 0 || (uint32_t)n > r->max) {
        r->bad = r->oversize = true;
        return slice_of(NULL, 0);
    }
    const uint8_t *p = jr_take(r, (size_t)n);
    return p ? slice_of(p, (size_t)n) : slice_of(NULL, 0);
}

ZK_PRIVATE int32_t jr_count(struct jr *r) {
    int32_t n = jr_i32(r);
    return n < -1 ? 0 : n;
}

ZK_PRIVATE size_t jr_left(const struct jr *r) {
    return r->bad ? 0 : (size_t)(r->end - r->p);
}

ZK_PRIVATE void jw_u8(struct buf *b, uint8_t v) {
    *buf_grow(b, 1) = v;
}

ZK_PRIVATE void jw_i32(struct buf *b, int32_t v) {
    put_be32(buf_grow(b, 4), (uint32_t)v);
}

ZK_PRIVATE void jw_i64(struct buf *b, int64_t v) {
    put_be64(buf_grow(b, 8), (uint64_t)v);
}

ZK_PRIVATE void jw_bytes(struct buf *b, struct slice s) {
    jw_i32(b, s.p ? (int32_t)s.n : -1);
    buf_put(b, s.p, s.n);
}

ZK_PRIVATE void jw_str(struct buf *b, const char *s) {
    jw_bytes(b, slice_str(s));
}

/* ==== base/wire.c ==== */


ZK_PRIVATE const char *wire_error_name(int code) {
    switch (code) {
#define WIRE_ERROR_NAME(c, name)                                                                   \
    case c:                                                                                        \
        return #name;
        WIRE_ERRORS(WIRE_ERROR_NAME)
    default:
        return "UNKNOWN";
    }
}

ZK_PRIVATE int wire_op_flags(int32_t op) {
    switch (op) {
#define WIRE_OP_FLAGS(num, name, label, flags)                                                     \
    case num:                                                                                      \
        return flags;
        WIRE_OPS(WIRE_OP_FLAGS)
    default:
        return 0;
    }
}

ZK_PRIVATE const char *wire_op_label(int32_t op) {
    switch (op) {
#define WIRE_OP_LABEL(num, name, label, flags)                                                     \
    case num:                                                                                      \
        return label;
        WIRE_OPS(WIRE_OP_LABEL)
    default:
        return "NA";
    }
}

ZK_PRIVATE void wire_put_stat(uint8_t out[WIRE_STAT_LEN], const struct zstat *s, int64_t owner,
                              int32_t data_len, int32_t children) {
    uint32_t cversion = (uint32_t)s->cversion * 2u - (uint32_t)children;
    put_be64(out, (uint64_t)s->czxid);
    put_be64(out + 8, (uint64_t)s->mzxid);
    put_be64(out + 16, (uint64_t)s->ctime);
    put_be64(out + 24, (uint64_t)s->mtime);
    put_be32(out + 32, (uint32_t)s->version);
    put_be32(out + 36, cversion);
    put_be32(out + 40, (uint32_t)s->aversion);
    put_be64(out + 44, (uint64_t)owner);
    put_be32(out + 52, (uint32_t)data_len);
    put_be32(out + 56, (uint32_t)children);
    put_be64(out + 60, (uint64_t)s->pzxid);
}

ZK_PRIVATE struct wire_acl jr_acl_entry(struct jr *r) {
    struct wire_acl a;
    a.perms = jr_i32(r);
    a.scheme = jr_bytes(r);
    a.id = jr_bytes(r);
    return a;
}

ZK_PRIVATE struct slice jr_acl(struct jr *r) {
    static const uint8_t empty[4] = {0, 0, 0, 0};
    const uint8_t *start = r->p;
    int32_t raw = jr_i32(r);
    if (r->bad || raw == -1) return slice_of(NULL, 0);
    if (raw < 0) return slice_of(empty, 4);
    for (int32_t i = 0; i < raw && !r->bad; i++) (void)jr_acl_entry(r);
    return r->bad ? slice_of(NULL, 0) : slice_of(start, (size_t)(r->p - start));
}

ZK_PRIVATE void jw_acl_entry(struct buf *b, const struct wire_acl *a) {
    jw_i32(b, a->perms);
    jw_bytes(b, a->scheme);
    jw_bytes(b, a->id);
}

ZK_PRIVATE void jw_raw(struct buf *b, struct slice s) {
    if (s.p)
        buf_put(b, s.p, s.n);
    else
        jw_i32(b, -1);
}

ZK_PRIVATE struct txn_header jr_txn_header(struct jr *r) {
    struct txn_header h;
    h.client_id = jr_i64(r);
    h.cxid = jr_i32(r);
    h.zxid = jr_i64(r);
    h.time = jr_i64(r);
    h.type = jr_i32(r);
    return h;
}

ZK_PRIVATE void jw_txn_header(struct buf *b, const struct txn_header *h) {
    uint8_t *p = buf_grow(b, TXN_HEADER_LEN);
    put_be64(p, (uint64_t)h->client_id);
    put_be32(p + 8, (uint32_t)h->cxid);
    put_be64(p + 12, (uint64_t)h->zxid);
    put_be64(p + 20, (uint64_t)h->time);
    put_be32(p + 28, (uint32_t)h->type);
}

ZK_PRIVATE struct req_create jr_req_create(struct jr *r, int32_t op) {
    struct req_create q;
    q.path = jr_bytes(r);
    q.data = jr_bytes(r);
    q.acl = jr_acl(r);
    q.flags = jr_i32(r);
    q.ttl = op == ZOP_CREATE_TTL ? jr_i64(r) : -1;
    return q;
}

ZK_PRIVATE struct req_path jr_req_path_i32(struct jr *r) {
    struct req_path q;
    q.path = jr_bytes(r);
    q.arg = jr_i32(r);
    return q;
}

ZK_PRIVATE struct req_path jr_req_path_bool(struct jr *r) {
    struct req_path q;
    q.path = jr_bytes(r);
    q.arg = jr_bool(r);
    return q;
}

ZK_PRIVATE struct req_set jr_req_set_data(struct jr *r) {
    struct req_set q;
    q.path = jr_bytes(r);
    q.data = jr_bytes(r);
    q.version = jr_i32(r);
    return q;
}

ZK_PRIVATE struct req_set jr_req_set_acl(struct jr *r) {
    struct req_set q;
    q.path = jr_bytes(r);
    q.data = jr_acl(r);
    q.version = jr_i32(r);
    return q;
}

ZK_PRIVATE struct multi_header jr_multi_header(struct jr *r) {
    struct multi_header h;
    h.type = jr_i32(r);
    h.done = jr_bool(r);
    h.err = jr_i32(r);
    return h;
}

ZK_PRIVATE void jw_multi_header(struct buf *b, int32_t type, bool done, int32_t err) {
    jw_i32(b, type);
    jw_u8(b, done);
    jw_i32(b, err);
}

/* ==== base/log.c ==== */


ZK_PRIVATE void log_line(struct logq *q, int level, const char *fmt, ...) {
    if (level > q->max_level) return;
    if (buf_len(&q->lines) > LOG_MAX) {
        q->dropped++;
        return;
    }
    buf_compact(&q->lines);
    buf_putc(&q->lines, (char)level);
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&q->lines, fmt, ap);
    va_end(ap);
    buf_putc(&q->lines, '\0');
}

ZK_PRIVATE bool log_take(struct logq *q, int *level, const char **text) {
    struct slice s = buf_slice(&q->lines);
    if (!s.n) return false;
    *level = s.p[0];
    *text = (const char *)s.p + 1;
    buf_consume(&q->lines, strlen(*text) + 2);
    return true;
}

/* ==== state/path.h ==== */

/*
 * path: what a znode path may be, and how it splits.
 *
 * Validity is defined on UTF-16 units of the decoded text (stock: PathUtils.validatePath); a byte
 * sequence that is not UTF-8 decodes to U+FFFD there, which is itself a forbidden character, so
 * here simply: not well-formed is not valid.
 */
#ifndef ZK_PATH_H
#define ZK_PATH_H


ZK_PRIVATE bool path_valid(struct slice path);
/* Has a '/' and no NUL: what a create or delete needs before its parent can be named. */
ZK_PRIVATE bool path_has_parent(struct slice path);
ZK_PRIVATE struct slice path_parent(struct slice path); /* "" for a top-level path */
ZK_PRIVATE struct slice path_name(struct slice path);   /* after the last '/' */
/* "" for both spellings of the root, so that each node has one key. */
ZK_PRIVATE struct slice path_key(struct slice path);
/*
 * The text as it comes back from stock: malformed pieces are U+FFFD, and a character beyond the BMP
 * is two 3-byte surrogates (BinaryOutputArchive encodes UTF-16 units). May borrow from scratch.
 */
ZK_PRIVATE struct slice path_as_java(struct slice text, struct buf *scratch);
ZK_PRIVATE bool path_is_under(struct slice path, const char *prefix); /* prefix + "/" starts path */

#endif

#if ZK_WITH_SERVER
/* ==== state/acl.h ==== */

/*
 * acl: access control lists, identities, and the schemes world, auth, digest, ip and super.
 *
 * An ACL list is kept as its serialized vector<ACL>, interned and counted; nodes hold a u32 id.
 * Id ACL_OPEN stands for "no explicit list" (persisted as -1): world:anyone, all permissions.
 * stock: ReferenceCountedACLCache, PrepRequestProcessor.fixupACL, ZooKeeperServer.checkACL,
 * DigestAuthenticationProvider, IPAuthenticationProvider.
 */
#ifndef ZK_ACL_H
#define ZK_ACL_H


#define ACL_OPEN 0u

struct acl_entry {
    struct slice bytes; /* owned; serialized vector */
    uint32_t refs;      /* 0: the slot is free */
    int32_t world;      /* permissions that world:anyone grants */
};

struct acl_table {
    struct acl_entry *entries; /* owned; entry 0 is ACL_OPEN */
    uint32_t n, cap;
    struct map index;
    struct buf free_ids; /* u32 each */
    uint64_t seed;
};

/* The identities of one connection, in order of authentication. */
struct auth_set {
    struct buf ids; /* (ustring scheme, ustring id) repeated */
    uint32_t count;
    bool super; /* has an identity of scheme super */
};

struct auth_config {
    struct slice super_digest; /* borrowed; "super:<base64>", n == 0 when unset */
    bool digest_enabled;
};

ZK_PRIVATE void acl_init(struct acl_table *t, uint64_t seed);
ZK_PRIVATE void acl_free(struct acl_table *t);
/* Takes a reference; vector.p == NULL or an empty vector is ACL_OPEN. Copies the bytes. */
ZK_PRIVATE uint32_t acl_intern(struct acl_table *t, struct slice vector);
ZK_PRIVATE uint32_t acl_ref(struct acl_table *t, uint32_t id);
ZK_PRIVATE void acl_unref(struct acl_table *t, uint32_t id);
ZK_PRIVATE struct slice acl_bytes(const struct acl_table *t, uint32_t id); /* valid while counted */

/* Writes the list that a create or setACL stores; 0, ZERR_INVALIDACL or ZERR_MARSHALLINGERROR. */
ZK_PRIVATE int acl_fixup(const struct acl_table *t, struct slice vector, const struct auth_set *who,
                         bool digest_enabled, struct buf *out);
ZK_PRIVATE bool acl_allows(const struct acl_table *t, uint32_t id, int32_t perms,
                           const struct auth_set *who);
/* The vector as getACL shows it to one who may not ADMIN: password digests masked. */
ZK_PRIVATE void acl_put_masked(struct buf *out, struct slice vector);

ZK_PRIVATE void auth_free(struct auth_set *a);
ZK_PRIVATE void auth_add(struct auth_set *a, const char *scheme, struct slice id);
/* Identities as they stand in a record: (ustring scheme, ustring id), n times. */
ZK_PRIVATE void auth_add_all(struct auth_set *a, struct slice ids, uint32_t n);
/* An auth request: 0 or ZERR_AUTHFAILED. ip_text: the remote address of the connection. */
ZK_PRIVATE int auth_request(struct auth_set *a, const struct auth_config *cfg, struct slice scheme,
                            struct slice data, const char *ip_text);
ZK_PRIVATE bool auth_has_scheme(const struct auth_set *a, struct slice scheme);
struct auth_iter {
    struct jr r;
};
ZK_PRIVATE struct auth_iter auth_first(const struct auth_set *a);
ZK_PRIVATE bool auth_next(struct auth_iter *it, struct slice *scheme, struct slice *id);

#define ACL_IP_TEXT 64
/* Java's getHostAddress form of an IPv4 (n 4) or IPv6 (n 16) address. */
ZK_PRIVATE void acl_ip_format(char out[ACL_IP_TEXT], const uint8_t *addr, size_t n);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/tree.h ==== */

/*
 * tree: the znodes.
 *
 * Nodes are u32 ids into chunks of fixed 120-byte records; name and data share one block of the
 * slab. One hash index for the whole tree, keyed by (parent id, name) and grown one bucket at a
 * time (linear hashing), so no insert ever pays for a rehash. Children of a node form a doubly
 * linked list for listing. Rare facts live in side tables: the nodes that a session owns, the
 * containers, the TTL nodes.
 *
 * Digest: the tree's digest is the sum of the node digests, each CRC-32 of path, data and 60 bytes
 * of stat. A node keeps the CRC of its path and data, so that a change of its stat costs 60 bytes
 * of CRC whatever its data. stock: DigestCalculator version 2, AdHash.
 *
 * Image: tree_image_begin() fixes a point in time. From then on a node is emitted before its first
 * change (ancestors before it), tree_image_step() emits the others in id order, and a node born
 * later is skipped; what comes out is the tree as it was at begin, parents before children. A mark
 * bit per node, whose meaning flips with each image, says whether the node has been emitted.
 *
 * Who calls must keep the order: tree functions check nothing of the protocol.
 */
#ifndef ZK_TREE_H
#define ZK_TREE_H


#define TREE_NONE UINT32_MAX
#define TREE_ROOT 0u
#define TREE_DATA_NULL (-1)

enum { TREE_SYSTEM = 1, TREE_MARK = 2, TREE_LIVE = 4 };

struct tree_node {
    struct zstat stat;
    uint8_t *block; /* owned, slab: name, then data */
    uint32_t name_len;
    int32_t data_len;    /* TREE_DATA_NULL for null */
    uint32_t parent;
    uint32_t acl;        /* id in the ACL table; the tree does not count references */
    uint32_t first_child, next, prev; /* siblings */
    uint32_t hash_next, hash;
    uint32_t prefix_crc; /* CRC-32 of path and data */
    uint32_t children;
    uint32_t flags;
};

/* Nodes owned by one session. */
struct tree_owner {
    int64_t session;
    struct idset nodes;
};

struct tree {
    struct tree_node **chunks; /* owned */
    uint32_t n_chunks, n_ids;  /* ids ever used */
    struct slab slab;
    uint32_t free_list; /* through next */
    uint32_t count;     /* live nodes, root included */
    uint32_t *heads;    /* owned; hash buckets */
    uint32_t n_buckets, heads_cap, mask_low;
    uint64_t seed;
    uint64_t digest;
    uint64_t data_bytes; /* node data and paths. stock: approximateDataSize */
    struct tree_owner *owners; /* owned; slot with an empty set is free */
    uint32_t n_owners, owners_cap, live_owners;
    uint32_t free_owner; /* through session */
    struct map owner_index;
    struct idset containers, ttls;
    uint64_t ephemerals;
    bool extended_types, emulate353; /* how owners are read. stock: EphemeralType */
    struct {
        bool active;
        uint32_t mark;          /* TREE_MARK or 0: the value that means emitted */
        uint32_t cursor, limit; /* ids still to walk: [cursor, limit) */
        struct buf out;         /* emitted records */
        uint64_t emitted;
        struct buf scratch, path;
        uint32_t path_of;       /* `path` begins with the path of this node ... */
        size_t path_of_len;     /* ... which is this long */
    } image;
};

enum tree_owner_kind { OWNER_NONE, OWNER_SESSION, OWNER_IS_CONTAINER, OWNER_TTL };
ZK_PRIVATE enum tree_owner_kind tree_owner_kind(const struct tree *t, int64_t owner);
ZK_PRIVATE int64_t tree_ttl_ms(int64_t owner);

ZK_PRIVATE void tree_init(struct tree *t, uint64_t seed); /* empty: not even a root */
ZK_PRIVATE void tree_free(struct tree *t);
/* Before a load: buckets for about that many nodes, so that they need not be split one by one. */
ZK_PRIVATE void tree_expect(struct tree *t, uint64_t nodes);
ZK_PRIVATE struct tree_node *tree_node(const struct tree *t, uint32_t id);
ZK_PRIVATE uint32_t tree_lookup(const struct tree *t, struct slice path);
ZK_PRIVATE uint32_t tree_child(const struct tree *t, uint32_t parent, struct slice name);
ZK_PRIVATE struct slice tree_name(const struct tree_node *n);
ZK_PRIVATE struct slice tree_data(const struct tree_node *n); /* p == NULL for null */
ZK_PRIVATE void tree_put_path(const struct tree *t, uint32_t id, struct buf *out); /* "" for root */

/*
 * Adds a node; path is the full one, "" makes the root. The parent must exist and the name must be
 * new. The parent's stat is untouched. acl is stored as given.
 */
ZK_PRIVATE uint32_t tree_add(struct tree *t, uint32_t parent, struct slice path, struct slice data,
                             uint32_t acl, const struct zstat *stat);
ZK_PRIVATE void tree_remove(struct tree *t, uint32_t id, struct slice path); /* no children */
ZK_PRIVATE void tree_set_data(struct tree *t, uint32_t id, struct slice path, struct slice data,
                              const struct zstat *stat);
ZK_PRIVATE void tree_set_stat(struct tree *t, uint32_t id, const struct zstat *stat);
ZK_PRIVATE void tree_set_acl(struct tree *t, uint32_t id, uint32_t acl, int32_t aversion);
ZK_PRIVATE void tree_client_stat(const struct tree *t, const struct tree_node *n,
                                 uint8_t out[WIRE_STAT_LEN]);
ZK_PRIVATE uint64_t tree_count_below(const struct tree *t, uint32_t id); /* descendants */
/* Pre-order walk of a subtree: next node after id, TREE_NONE at the end. */
ZK_PRIVATE uint32_t tree_walk(const struct tree *t, uint32_t top, uint32_t id);

/* Digests. prefix: CRC of path and data. Nodes below /zookeeper count as 0. */
ZK_PRIVATE uint32_t tree_prefix_crc(struct slice path, struct slice data);
ZK_PRIVATE uint32_t tree_digest_of(uint32_t prefix, const struct zstat *stat);
ZK_PRIVATE bool tree_digest_excluded(struct slice path);

ZK_PRIVATE const struct idset *tree_owned(const struct tree *t, int64_t session); /* or NULL */

/* Point-in-time image. Records: ustring path, buffer data, long acl id, StatPersisted. */
ZK_PRIVATE void tree_image_begin(struct tree *t);
/* One slice: so many nodes, or until the output has so many bytes. True: all emitted, ended. */
ZK_PRIVATE bool tree_image_step(struct tree *t, uint32_t nodes, size_t bytes);
ZK_PRIVATE void tree_image_abort(struct tree *t);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/watch.h ==== */

/*
 * watch: who wants to hear of which path.
 *
 * One entry per watched path (the node need not exist), holding a sorted array of u32 watchers:
 * connection << 4 | kinds. The kinds are the two standard watches, consumed when they fire, and the
 * two persistent ones. For each connection the set of its entries, so that a closed connection
 * leaves nothing behind. A watch belongs to the connection, not to the session.
 *
 * Two tables in stock's terms: the data table holds DATA, PERSISTENT and RECURSIVE, the child
 * table CHILD and PERSISTENT. stock: WatchManager, DataTree.
 */
#ifndef ZK_WATCH_H
#define ZK_WATCH_H


enum {
    WATCH_DATA = 1,
    WATCH_CHILD = 2,
    WATCH_PERSISTENT = 4,
    WATCH_RECURSIVE = 8,
    WATCH_ANY = 15
};
#define WATCH_IN_DATA (WATCH_DATA | WATCH_PERSISTENT | WATCH_RECURSIVE)
#define WATCH_IN_CHILD (WATCH_CHILD | WATCH_PERSISTENT)
#define WATCH_CONN_MAX (1u << 28)

struct watch_entry {
    uint8_t *path; /* owned */
    uint32_t path_len;
    uint32_t n, cap; /* cap 0: the one watcher is in `one` */
    union {
        uint32_t one;
        uint32_t *many; /* owned, sorted */
    } w;
};

struct watch_table {
    struct watch_entry *entries; /* owned; path == NULL: free, next one in path_len */
    uint32_t n, cap, free_list, live;
    struct map index;
    struct idset *by_conn; /* owned; indexed by connection */
    uint32_t conns_cap;
    uint64_t n_data, n_child, n_recursive; /* (path, connection) pairs per table */
    uint64_t seed;
};

ZK_PRIVATE void watch_init(struct watch_table *t, uint64_t seed);
ZK_PRIVATE void watch_free(struct watch_table *t);
ZK_PRIVATE void watch_add(struct watch_table *t, struct slice path, uint32_t conn, uint32_t kinds);
/* True when any of the kinds was set. */
ZK_PRIVATE bool watch_remove(struct watch_table *t, struct slice path, uint32_t conn,
                             uint32_t kinds);
ZK_PRIVATE uint32_t watch_kinds(const struct watch_table *t, struct slice path, uint32_t conn);
ZK_PRIVATE void watch_drop_conn(struct watch_table *t, uint32_t conn);

/*
 * One pass over the data or the child table: appends to hits (u32 each, no connection twice) those
 * that get one event for the path, and consumes their standard watches. In the data table the
 * recursive watches of all ancestors take part.
 */
ZK_PRIVATE void watch_fire_data(struct watch_table *t, struct slice path, struct buf *hits);
ZK_PRIVATE void watch_fire_child(struct watch_table *t, struct slice path, struct buf *hits);

ZK_PRIVATE uint32_t watch_watchers(const struct watch_entry *e, const uint32_t **w);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/session.h ==== */

/*
 * session: the sessions of the ensemble as this server knows them, and when they expire.
 *
 * Expiry is in buckets of one tick: a touch at time t moves the session to the bucket
 * up(t + timeout), up(x) = (x / tick + 1) * tick; a bucket expires whole when its time has come.
 * Buckets sit in a wheel of WHEEL slots; a session further away than one turn is skipped until its
 * time comes. stock: SessionTrackerImpl, ExpiryQueue.
 *
 * Times are milliseconds of the monotonic clock that the caller passes in.
 */
#ifndef ZK_SESSION_H
#define ZK_SESSION_H


#define SESSION_NONE UINT32_MAX
#define SESSION_WHEEL 256u

struct session {
    int64_t id;
    int64_t expires; /* bucket time, ms */
    int32_t timeout; /* ms, persisted: that of creation */
    int32_t lease;   /* ms: that of the connection here; a learner tells it to the leader */
    uint32_t conn;   /* connection that serves it, SESSION_NONE */
    uint64_t owner;  /* of an ensemble's leader: whose requests count, see leader; 0 anybody's */
    uint32_t prev, next;
    bool live;      /* the slot is in use */
    bool committed; /* its createSession has been applied: belongs to the database */
    bool closing;   /* its closeSession is on the way */
    bool touched;   /* since the leader was told last */
};

struct session_table {
    struct session *slots; /* owned */
    uint32_t n, cap, free_list;
    uint32_t count, committed;
    struct map index;
    int64_t tick;      /* ms */
    int64_t next_due;  /* the next bucket time to look at */
    uint32_t wheel[SESSION_WHEEL];
};

ZK_PRIVATE void session_init(struct session_table *t, int64_t tick_ms, int64_t now);
ZK_PRIVATE void session_free(struct session_table *t);
ZK_PRIVATE uint32_t session_find(const struct session_table *t, int64_t id);
/* Adds or finds; a new one expires only after its first touch. */
ZK_PRIVATE uint32_t session_add(struct session_table *t, int64_t id, int32_t timeout);
ZK_PRIVATE void session_remove(struct session_table *t, uint32_t s);
ZK_PRIVATE void session_touch(struct session_table *t, uint32_t s, int64_t now, int32_t timeout);
ZK_PRIVATE void session_touch_all(struct session_table *t, int64_t now);
/* The next session whose bucket has come, taken out of its bucket; SESSION_NONE when there is
 * none. Call until then. */
ZK_PRIVATE uint32_t session_expired(struct session_table *t, int64_t now);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/quota.h ==== */

/*
 * quota: limits on subtrees and the bookkeeping of their use.
 *
 * A limit for /p is the node /zookeeper/quota/p/zookeeper_limits, its use is the data of
 * /zookeeper/quota/p/zookeeper_stats, changed in place by every write below /p: no transaction, no
 * stat change, no watch. The set of limited paths is derived from the tree and rebuilt on load.
 * stock: Quotas, StatsTrack, PathTrie, DataTree, ZooKeeperServer.checkQuota.
 */
#ifndef ZK_QUOTA_H
#define ZK_QUOTA_H


struct quota {
    struct slice *paths; /* owned, each owned; p == NULL: free */
    uint32_t n, cap, live;
    struct map index;
    uint64_t seed; /* of the index; survives quota_free */
    uint64_t exceeded; /* writes refused */
    struct buf refused; /* path of the last of them */
};

/* What a limits or stats node says; -1 where it says nothing. */
struct quota_track {
    int64_t count, bytes, count_hard, bytes_hard;
};

ZK_PRIVATE void quota_free(struct quota *q);
ZK_PRIVATE void quota_rebuild(struct quota *q, struct tree *t); /* after a load */
/* The node at path was created, is about to be removed, or its data changed in length. */
ZK_PRIVATE void quota_created(struct quota *q, struct tree *t, struct slice path, size_t len);
ZK_PRIVATE void quota_removed(struct quota *q, struct tree *t, struct slice path, size_t len);
ZK_PRIVATE void quota_resized(struct quota *q, struct tree *t, struct slice path, int64_t diff);
/* 0 or ZERR_QUOTAEXCEEDED; *soft is set when a soft limit is passed. */
ZK_PRIVATE int quota_check(struct quota *q, struct tree *t, struct slice path, int64_t count_diff,
                           int64_t bytes_diff, bool *soft);
/* Creates, deletes and data that would break stock servers when they apply them. */
ZK_PRIVATE bool quota_refuses_create(struct slice path);
ZK_PRIVATE bool quota_refuses_delete(struct slice path);
ZK_PRIVATE bool quota_refuses_data(struct slice path, struct slice data);
ZK_PRIVATE bool quota_parse(struct slice text, struct quota_track *out);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/txn.h ==== */

/*
 * txn: the replicated state, and the application of one committed transaction to it.
 *
 * Applying is the same code for a live commit, for the replay of a log and for what a leader sends.
 * It is deterministic and idempotent: replay over a snapshot that is ahead of its name ends in the
 * right state. It checks nothing of the protocol; whatever cannot be applied gives an error result
 * and leaves the state as it is. stock: DataTree.processTxn, FileTxnSnapLog.processTransaction.
 */
#ifndef ZK_TXN_H
#define ZK_TXN_H


struct db {
    struct tree tree;
    struct acl_table acls;
    struct session_table sessions;
    struct quota quota;
    int64_t last_zxid;
};

/* What one operation of a transaction did. */
struct txn_result {
    int32_t type; /* of the operation; ZOP_ERROR for a failed one */
    int32_t err;
    struct slice path; /* borrowed from the record */
    uint8_t stat[WIRE_STAT_LEN];
    bool has_stat;
};

/* A change that watches may hear of, in the order of emission. */
struct txn_event {
    int32_t type;      /* EVENT_CREATED, EVENT_DELETED, EVENT_DATA_CHANGED */
    struct slice path; /* borrowed from the record */
    uint32_t acl;      /* of the node; counted until txn_out_clear */
    uint32_t parent_acl; /* of its parent, likewise; creates and deletes */
};

struct txn_out {
    bool want_events;
    int32_t err; /* of the whole transaction */
    struct txn_result *results;
    uint32_t n_results, cap_results;
    struct txn_event *events;
    uint32_t n_events, cap_events;
    bool has_digest; /* the record ended with a TxnDigest of a version we know */
    uint64_t digest;
    void *kept; /* owned; paths that events speak of and the record does not hold */
};

ZK_PRIVATE void db_init(struct db *db, uint64_t seed, int64_t tick_ms, int64_t now);
ZK_PRIVATE void db_free(struct db *db);
ZK_PRIVATE void db_add_builtin(struct db *db); /* the nodes of an empty database */
/* After a load: sessions that own ephemerals but do not exist lose them. Returns nodes removed. */
ZK_PRIVATE uint32_t db_drop_orphans(struct db *db);

/* record: the bytes after the header, a TxnDigest at its end allowed. Results and events go to out
 * (cleared first); slices in it live as long as the record. Returns out->err. */
ZK_PRIVATE int txn_apply(struct db *db, const struct txn_header *h, struct slice record,
                         struct txn_out *out);
ZK_PRIVATE void txn_out_clear(struct db *db, struct txn_out *out);
ZK_PRIVATE void txn_out_free(struct db *db, struct txn_out *out);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/prep.h ==== */

/*
 * prep: turns a write request into a transaction, or into the error that the client gets.
 *
 * Preparation runs ahead of application: between the two lie the log and, in an ensemble, the
 * quorum. What has been prepared and not yet applied is kept as change records, one per node
 * touched, newest first per path; a node's state for the next request is its newest record, or the
 * tree. Records leave in zxid order when their transaction has been applied. A multi that fails
 * takes back the records it made. The order of the checks is the contract: each operation's checks
 * are written in stock's order. stock: PrepRequestProcessor, ZooKeeperServer.ChangeRecord.
 *
 * The digest that a transaction carries is the digest of the tree after it, so it is kept here,
 * ahead of the tree.
 */
#ifndef ZK_PREP_H
#define ZK_PREP_H


#define PREP_NONE UINT32_MAX

struct prep_config {
    bool skip_acl, enforce_quota, digest, digest_auth, reconfig;
    uint32_t max_record; /* largest body of a log entry, bytes */
};

/* A node as the next request sees it. */
struct prep_view {
    bool exists;
    struct zstat stat;
    uint32_t children;
    uint32_t acl;
    uint32_t prefix_crc;
    int32_t data_len;
};

struct prep_change {
    struct prep_view view; /* holds a reference to its acl */
    int64_t zxid;
    uint8_t *path; /* owned, slab */
    uint32_t path_len;
    uint32_t older;     /* record of the same path below this one */
    uint32_t newer;     /* ... above it */
    uint32_t fifo_next; /* in order of making; links the free list too */
    uint32_t fifo_prev;
};

struct prep {
    struct db *db; /* borrowed */
    struct prep_config cfg;
    struct prep_change *changes; /* owned */
    uint32_t n, cap, free_list, head, tail;
    uint32_t ephemeral_changes; /* pending records of nodes that a session owns */
    struct map index; /* newest record of each path */
    struct slab slab;
    int64_t zxid;     /* last one given out */
    int64_t queued, removed; /* change records ever made; ... whose transaction was applied */
    uint64_t digest;  /* of the tree after it */
    struct buf acl;   /* scratch */
};

struct prep_request {
    int32_t op;
    int64_t session; /* 0: the server itself */
    int32_t cxid;
    struct slice body;
    const struct auth_set *auth;
    int64_t time;   /* wall clock, ms */
    bool internal;  /* made by this server: no session check, more opcodes */
    bool forwarded; /* by a learner: what cannot be read becomes a transaction that fails */
    uint64_t owner; /* whose request it is; see struct session. 0: nobody asks */
};

ZK_PRIVATE void prep_init(struct prep *p, struct db *db, const struct prep_config *cfg);
ZK_PRIVATE void prep_free(struct prep *p);
/*
 * Appends header, record and digest of the transaction to out and takes a zxid; returns what the
 * client will be told. A request that cannot be read takes no zxid: *made is false and nothing was
 * appended. (stock 3.9 logs such an error under the last zxid, which an ensemble cannot commit.)
 */
ZK_PRIVATE int prep_write(struct prep *p, const struct prep_request *q, struct buf *out,
                          bool *made);
/* Whether a stock leader could read the body of a write: it fails with a null in a place where a
 * string or a list has to be, and then commits nothing any more. */
ZK_PRIVATE bool prep_readable(int32_t op, struct slice body);
/* Looks through the operations of a multi: 0 when each can be read and may stand in one. */
ZK_PRIVATE int prep_multi_check(struct jr r, int32_t *count);
/* Everything up to zxid is in the tree. */
ZK_PRIVATE void prep_applied(struct prep *p, int64_t zxid);

#endif
#endif /* ZK_WITH_SERVER */

/* ==== state/path.c ==== */


/* How many continuation bytes follow a first byte; 0 when it cannot be one. */
static int path_follow(uint8_t c) {
    if (c >= 0xc2 && c <= 0xdf) return 1;
    if (c >= 0xe0 && c <= 0xef) return 2;
    return c >= 0xf0 && c <= 0xf4 ? 3 : 0;
}

/* What some first bytes allow as the second one is less than any continuation byte. */
static bool path_second_ok(uint8_t c, uint8_t second) {
    if (c == 0xe0) return second >= 0xa0;
    if (c == 0xf0) return second >= 0x90;
    return c != 0xf4 || second <= 0x8f;
}

/* One UTF-8 character; 0xfffd for each malformed piece, cut where Java's decoder cuts it. */
static uint32_t path_char(struct slice s, size_t *i) {
    const uint32_t bad = 0xfffd;
    uint8_t c = s.p[(*i)++];
    if (c < 0x80) return c;
    int more = path_follow(c);
    uint32_t v = c & (0x3fu >> more);
    for (int k = 0; k < more; k++) {
        if (*i >= s.n || (s.p[*i] & 0xc0) != 0x80) return bad;
        if (k == 0 && !path_second_ok(c, s.p[*i])) return bad;
        v = v << 6 | (s.p[(*i)++] & 0x3fu);
    }
    return !more || (v >= 0xd800 && v <= 0xdfff) ? bad : v;
}

static void path_put_unit(struct buf *out, uint32_t u) {
    if (u < 0x80) {
        buf_putc(out, (char)u);
    } else if (u < 0x800) {
        buf_putc(out, (char)(0xc0 | u >> 6));
        buf_putc(out, (char)(0x80 | (u & 0x3f)));
    } else {
        buf_putc(out, (char)(0xe0 | u >> 12));
        buf_putc(out, (char)(0x80 | (u >> 6 & 0x3f)));
        buf_putc(out, (char)(0x80 | (u & 0x3f)));
    }
}

ZK_PRIVATE struct slice path_as_java(struct slice text, struct buf *scratch) {
    size_t i = 0;
    while (i < text.n && text.p[i] < 0x80) i++;
    if (i == text.n) return text;
    buf_clear(scratch);
    for (i = 0; i < text.n;) {
        uint32_t c = path_char(text, &i);
        if (c >= 0x10000) path_put_unit(scratch, 0xd7c0 + (c >> 10));
        path_put_unit(scratch, c >= 0x10000 ? 0xdc00 | (c & 0x3ff) : c);
    }
    return buf_slice(scratch);
}

static bool path_char_ok(uint32_t c) {
    if (c < 0x20 || (c >= 0x7f && c <= 0x9f)) return false;
    if (c >= 0xd800 && c <= 0xf8ff) return false;
    return c < 0xfff0; /* beyond the BMP a character is two surrogates, which are not allowed */
}

static bool path_component_ok(struct slice s) {
    return s.n != 0 && !slice_is(s, ".") && !slice_is(s, "..");
}

ZK_PRIVATE bool path_valid(struct slice path) {
    if (!path.p || path.n == 0 || path.p[0] != '/') return false;
    if (path.n == 1) return true;
    size_t start = 1;
    for (size_t i = 1; i < path.n;) {
        if (path.p[i] == '/') {
            if (!path_component_ok(slice_of(path.p + start, i - start))) return false;
            start = ++i;
        } else if (!path_char_ok(path_char(path, &i))) {
            return false;
        }
    }
    return path_component_ok(slice_of(path.p + start, path.n - start));
}

static size_t path_last_slash(struct slice path) {
    size_t i = path.n;
    while (i > 0 && path.p[i - 1] != '/') i--;
    return i; /* one past the slash; 0: none */
}

ZK_PRIVATE bool path_has_parent(struct slice path) {
    return path.p && path.n && path_last_slash(path) > 0 && !memchr(path.p, 0, path.n);
}

ZK_PRIVATE struct slice path_parent(struct slice path) {
    size_t i = path_last_slash(path);
    return slice_of(path.p, i ? i - 1 : 0);
}

ZK_PRIVATE struct slice path_name(struct slice path) {
    size_t i = path_last_slash(path);
    return slice_of(path.p + i, path.n - i);
}

ZK_PRIVATE struct slice path_key(struct slice path) {
    return path.n == 1 && path.p[0] == '/' ? slice_of(path.p, 0) : path;
}

ZK_PRIVATE bool path_is_under(struct slice path, const char *prefix) {
    size_t n = strlen(prefix);
    return path.n > n && path.p[n] == '/' && memcmp(path.p, prefix, n) == 0;
}

#if ZK_WITH_SERVER
/* ==== state/acl.c ==== */


#include <stdio.h>


#define ACL_LIST_MAX (1u << 20)    /* bytes of a list after expansion */
#define ACL_IDENTITIES_MAX 256u    /* of one connection */
#define ACL_IDENTITY_BYTES 65536u  /* ... all together */
#define ACL_VECTOR_MAX UINT32_MAX /* lists were bounded when their request was read */

static const uint8_t acl_open_bytes[] = "\0\0\0\1\0\0\0\37\0\0\0\5world\0\0\0\6anyone";

/* --- interning --- */

static int32_t acl_world_perms(struct slice vector) {
    struct jr r = jr_open(vector, ACL_VECTOR_MAX);
    int32_t world = 0;
    for (int32_t n = jr_count(&r); n > 0 && !r.bad; n--) {
        struct wire_acl a = jr_acl_entry(&r);
        if (!r.bad && slice_is(a.scheme, "world") && slice_is(a.id, "anyone")) world |= a.perms;
    }
    return world;
}

ZK_PRIVATE void acl_init(struct acl_table *t, uint64_t seed) {
    memset(t, 0, sizeof *t);
    t->seed = seed;
    t->cap = 16;
    t->entries = mem_alloc(sizeof *t->entries * t->cap);
    t->entries[0].bytes = slice_of(acl_open_bytes, sizeof acl_open_bytes - 1);
    t->entries[0].refs = 1;
    t->entries[0].world = PERM_ALL;
    t->n = 1;
}

static void acl_free_bytes(struct slice s) {
    union {
        const uint8_t *in;
        uint8_t *out;
    } p = {s.p};
    mem_free(p.out);
}

ZK_PRIVATE void acl_free(struct acl_table *t) {
    for (uint32_t i = 1; i < t->n; i++)
        if (t->entries[i].refs) acl_free_bytes(t->entries[i].bytes);
    mem_free(t->entries);
    map_free(&t->index);
    buf_free(&t->free_ids);
    memset(t, 0, sizeof *t);
}

static uint32_t acl_new_id(struct acl_table *t) {
    size_t left = buf_len(&t->free_ids);
    if (left) {
        uint32_t id;
        memcpy(&id, t->free_ids.p + t->free_ids.n - sizeof id, sizeof id);
        t->free_ids.n -= sizeof id;
        return id;
    }
    if (t->n == t->cap) {
        t->cap *= 2;
        t->entries = mem_realloc(t->entries, sizeof *t->entries * t->cap);
    }
    return t->n++;
}

ZK_PRIVATE uint32_t acl_intern(struct acl_table *t, struct slice vector) {
    if (!vector.p || vector.n <= 4) return ACL_OPEN;
    uint64_t h = slice_hash(vector, t->seed);
    struct map_iter it;
    for (uint32_t id = map_first(&t->index, h, &it); id != MAP_NONE; id = map_next(&t->index, &it))
        if (slice_eq(t->entries[id].bytes, vector)) return acl_ref(t, id);
    uint32_t id = acl_new_id(t);
    uint8_t *copy = mem_alloc(vector.n);
    memcpy(copy, vector.p, vector.n);
    t->entries[id].bytes = slice_of(copy, vector.n);
    t->entries[id].refs = 1;
    t->entries[id].world = acl_world_perms(vector);
    map_add(&t->index, h, id);
    return id;
}

ZK_PRIVATE uint32_t acl_ref(struct acl_table *t, uint32_t id) {
    if (id != ACL_OPEN) t->entries[id].refs++;
    return id;
}

ZK_PRIVATE void acl_unref(struct acl_table *t, uint32_t id) {
    if (id == ACL_OPEN) return;
    struct acl_entry *e = &t->entries[id];
    ZK_ASSERT(e->refs > 0);
    if (--e->refs) return;
    map_del(&t->index, slice_hash(e->bytes, t->seed), id);
    acl_free_bytes(e->bytes);
    e->bytes = slice_of(NULL, 0);
    buf_put(&t->free_ids, &id, sizeof id);
}

ZK_PRIVATE struct slice acl_bytes(const struct acl_table *t, uint32_t id) {
    ZK_ASSERT(id < t->n);
    return t->entries[id].bytes;
}

/* --- the ip scheme --- */

ZK_PRIVATE void acl_ip_format(char out[ACL_IP_TEXT], const uint8_t *a, size_t n) {
    if (n == 4) {
        (void)snprintf(out, ACL_IP_TEXT, "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
        return;
    }
    size_t at = 0;
    for (int i = 0; i < 16; i += 2) {
        unsigned group = (unsigned)a[i] << 8 | a[i + 1];
        at += (size_t)snprintf(out + at, ACL_IP_TEXT - at, i ? ":%x" : "%x", group);
    }
}

/* Decimal as Integer.parseInt takes it, 0..max; -1 otherwise. */
static int acl_decimal(struct slice s, int max) {
    size_t i = s.n && s.p[0] == '+';
    if (i == s.n) return -1;
    int v = 0;
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return -1;
        v = v * 10 + (s.p[i] - '0');
        if (v > max) return -1;
    }
    return v;
}

static struct slice acl_until(struct slice *rest, char sep, bool *found) {
    const uint8_t *at = rest->n ? memchr(rest->p, sep, rest->n) : NULL;
    struct slice head = *rest;
    *found = at != NULL;
    if (at) {
        head.n = (size_t)(at - rest->p);
        *rest = slice_of(at + 1, rest->n - head.n - 1);
    } else {
        *rest = slice_of(rest->p + rest->n, 0);
    }
    return head;
}

static size_t acl_ipv4(struct slice s, uint8_t out[16]) {
    bool more = true;
    for (int i = 0; i < 4; i++) {
        if (!more) return 0;
        int v = acl_decimal(acl_until(&s, '.', &more), 255);
        if (v < 0) return 0;
        out[i] = (uint8_t)v;
    }
    return more ? 0 : 4;
}

/* Colon-separated hex groups; returns their number or -1. Empty input has none. */
static int acl_groups(struct slice s, uint8_t *out, int room) {
    if (!s.n) return 0;
    int n = 0;
    for (bool more = true; more; n++) {
        struct slice g = acl_until(&s, ':', &more);
        if (n == room || g.n < 1 || g.n > 4) return -1;
        unsigned v = 0;
        for (size_t i = 0; i < g.n; i++) {
            int c = g.p[i] | 0x20;
            int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (d < 0 || (g.p[i] < '0')) return -1;
            v = v << 4 | (unsigned)d;
        }
        out[n * 2] = (uint8_t)(v >> 8);
        out[n * 2 + 1] = (uint8_t)v;
    }
    return n;
}

static size_t acl_ipv6(struct slice s, uint8_t out[16]) {
    memset(out, 0, 16);
    size_t gap = s.n;
    for (size_t i = 0; i + 1 < s.n; i++)
        if (s.p[i] == ':' && s.p[i + 1] == ':') {
            gap = i;
            break;
        }
    if (gap == s.n) return acl_groups(s, out, 8) == 8 ? 16 : 0;
    uint8_t tail[16];
    int head = acl_groups(slice_of(s.p, gap), out, 7);
    if (head < 0) return 0;
    int rest = acl_groups(slice_of(s.p + gap + 2, s.n - gap - 2), tail, 7 - head);
    if (rest < 0) return 0;
    memcpy(out + 16 - rest * 2, tail, (size_t)rest * 2);
    return 16;
}

/* "addr[/bits]"; returns 4, 16 or 0 when it is neither. */
static size_t acl_ip_parse(struct slice id, uint8_t addr[16], int *bits) {
    bool slash;
    struct slice rest = id, text = acl_until(&rest, '/', &slash);
    size_t n = 0;
    if (text.n && memchr(text.p, ':', text.n))
        n = acl_ipv6(text, addr);
    else if (text.n && memchr(text.p, '.', text.n))
        n = acl_ipv4(text, addr);
    if (!n) return 0;
    *bits = slash ? acl_decimal(rest, (int)n * 8) : (int)n * 8;
    return *bits < 0 ? 0 : n;
}

static bool acl_ip_matches(struct slice acl_id, struct slice who) {
    uint8_t net[16], addr[16];
    int bits, full;
    size_t n = acl_ip_parse(acl_id, net, &bits);
    const uint8_t *scope = who.n ? memchr(who.p, '%', who.n) : NULL;
    if (scope) who.n = (size_t)(scope - who.p);
    if (!n || acl_ip_parse(who, addr, &full) != n) return false;
    size_t whole = (size_t)bits / 8;
    if (memcmp(net, addr, whole) != 0) return false;
    int rest = bits % 8;
    return rest == 0 || ((net[whole] ^ addr[whole]) >> (8 - rest)) == 0;
}

/* --- the digest scheme --- */

/* stock: Java's split(":") must give exactly two parts once trailing empty ones are dropped. */
static bool acl_digest_id_valid(struct slice id) {
    size_t n = id.n;
    while (n && id.p[n - 1] == ':') n--;
    size_t colons = 0;
    for (size_t i = 0; i < n; i++) colons += id.p[i] == ':';
    return colons == 1;
}

/* user:base64(SHA1(user:password)); without a colon the whole text is the user. */
static void acl_digest_id(struct slice data, struct buf *out) {
    uint8_t sha[SUM_SHA1_BYTES];
    const uint8_t *colon = data.n ? memchr(data.p, ':', data.n) : NULL;
    size_t user = colon ? (size_t)(colon - data.p) : data.n;
    sum_sha1(data.p, data.n, sha);
    buf_put(out, data.p, user);
    buf_putc(out, ':');
    sum_base64_encode(out, sha, sizeof sha);
}

/* --- checks --- */

static bool acl_id_valid(struct slice scheme, struct slice id, bool digest_enabled) {
    uint8_t addr[16];
    int bits;
    if (slice_is(scheme, "ip")) return acl_ip_parse(id, addr, &bits) != 0;
    if (slice_is(scheme, "digest")) return digest_enabled && acl_digest_id_valid(id);
    return false;
}

/* True when the same entry came earlier in the list; remembers it otherwise. */
static bool acl_seen_before(struct map *seen, uint64_t seed, const uint8_t *base,
                            struct slice entry) {
    uint64_t h = slice_hash(entry, seed);
    struct map_iter it;
    for (uint32_t at = map_first(seen, h, &it); at != MAP_NONE; at = map_next(seen, &it)) {
        struct jr r = jr_open(slice_of(base + at, (size_t)(entry.p - base) - at), ACL_VECTOR_MAX);
        (void)jr_acl_entry(&r);
        if (slice_eq(slice_of(base + at, (size_t)(r.p - (base + at))), entry)) return true;
    }
    map_add(seen, h, (uint32_t)(entry.p - base));
    return false;
}

/* One entry of a list being stored; appends what it becomes and counts it. */
static int acl_fixup_entry(const struct wire_acl *a, const struct auth_set *who,
                           bool digest_enabled, struct buf *out, int32_t *count) {
    if (!a->scheme.p) return ZERR_INVALIDACL;
    if (slice_is(a->scheme, "auth")) {
        int32_t before = *count;
        struct slice scheme, id;
        struct auth_iter it = auth_first(who);
        while (auth_next(&it, &scheme, &id)) {
            if (!slice_is(scheme, "digest")) continue;
            struct wire_acl mine = {a->perms, scheme, id};
            jw_acl_entry(out, &mine);
            ++*count;
            if (out->n > ACL_LIST_MAX) return ZERR_INVALIDACL;
        }
        return *count > before ? 0 : ZERR_INVALIDACL;
    }
    if (!a->id.p) return ZERR_MARSHALLINGERROR;
    bool world = slice_is(a->scheme, "world") && slice_is(a->id, "anyone");
    if (!world && !acl_id_valid(a->scheme, a->id, digest_enabled)) return ZERR_INVALIDACL;
    jw_acl_entry(out, a);
    ++*count;
    return 0;
}

ZK_PRIVATE int acl_fixup(const struct acl_table *t, struct slice vector, const struct auth_set *who,
                         bool digest_enabled, struct buf *out) {
    if (!vector.p) return ZERR_INVALIDACL;
    struct jr r = jr_open(vector, ACL_VECTOR_MAX);
    int32_t n = jr_count(&r), count = 0;
    size_t at = out->n;
    struct map seen = {0};
    int err = 0;
    jw_i32(out, 0);
    for (int32_t i = 0; i < n && !err; i++) {
        const uint8_t *start = r.p;
        struct wire_acl a = jr_acl_entry(&r);
        struct slice entry = slice_of(start, (size_t)(r.p - start));
        if (n > 1 && acl_seen_before(&seen, t->seed, vector.p, entry)) continue;
        err = acl_fixup_entry(&a, who, digest_enabled, out, &count);
        if (out->n - at > ACL_LIST_MAX) err = ZERR_INVALIDACL; /* `auth` can multiply a list */
    }
    map_free(&seen);
    put_be32(out->p + at, (uint32_t)count);
    return err ? err : count ? 0 : ZERR_INVALIDACL;
}

static bool acl_entry_matches(const struct wire_acl *a, const struct auth_set *who) {
    struct slice scheme, id;
    struct auth_iter it = auth_first(who);
    while (auth_next(&it, &scheme, &id)) {
        if (!slice_eq(scheme, a->scheme)) continue;
        if (slice_is(scheme, "ip") ? acl_ip_matches(a->id, id) : slice_eq(a->id, id)) return true;
    }
    return false;
}

ZK_PRIVATE bool acl_allows(const struct acl_table *t, uint32_t id, int32_t perms,
                           const struct auth_set *who) {
    ZK_ASSERT(id < t->n);
    const struct acl_entry *e = &t->entries[id];
    if ((e->world & perms) || who->super) return true;
    struct jr r = jr_open(e->bytes, ACL_VECTOR_MAX);
    for (int32_t n = jr_count(&r); n > 0; n--) {
        struct wire_acl a = jr_acl_entry(&r);
        if (r.bad) return false;
        if ((a.perms & perms) && acl_entry_matches(&a, who)) return true;
    }
    return false;
}

ZK_PRIVATE void acl_put_masked(struct buf *out, struct slice vector) {
    struct jr r = jr_open(vector, ACL_VECTOR_MAX);
    int32_t n = jr_count(&r);
    jw_i32(out, n);
    for (; n > 0 && !r.bad; n--) {
        struct wire_acl a = jr_acl_entry(&r);
        const uint8_t *colon = a.id.n ? memchr(a.id.p, ':', a.id.n) : NULL;
        if (!slice_is(a.scheme, "digest") || !colon) {
            jw_acl_entry(out, &a);
            continue;
        }
        size_t user = (size_t)(colon - a.id.p);
        jw_i32(out, a.perms);
        jw_bytes(out, a.scheme);
        jw_i32(out, (int32_t)user + 2);
        buf_put(out, a.id.p, user);
        buf_puts(out, ":x");
    }
}

/* --- identities --- */

ZK_PRIVATE void auth_free(struct auth_set *a) {
    buf_free(&a->ids);
    memset(a, 0, sizeof *a);
}

ZK_PRIVATE struct auth_iter auth_first(const struct auth_set *a) {
    struct auth_iter it = {jr_open(buf_slice(&a->ids), ACL_VECTOR_MAX)};
    return it;
}

ZK_PRIVATE bool auth_next(struct auth_iter *it, struct slice *scheme, struct slice *id) {
    if (!jr_left(&it->r)) return false;
    *scheme = jr_bytes(&it->r);
    *id = jr_bytes(&it->r);
    return !it->r.bad;
}

ZK_PRIVATE void auth_add(struct auth_set *a, const char *scheme, struct slice id) {
    struct slice s, i;
    struct auth_iter it = auth_first(a);
    while (auth_next(&it, &s, &i))
        if (slice_is(s, scheme) && slice_eq(i, id)) return;
    jw_str(&a->ids, scheme);
    jw_bytes(&a->ids, id);
    a->count++;
    if (strcmp(scheme, "super") == 0) a->super = true;
}

ZK_PRIVATE void auth_add_all(struct auth_set *a, struct slice ids, uint32_t n) {
    struct jr r = jr_open(ids, UINT32_MAX);
    for (uint32_t k = 0; k < n && a->count < ACL_IDENTITIES_MAX; k++) {
        struct slice scheme = jr_bytes(&r), id = jr_bytes(&r);
        if (r.bad) return;
        if (!scheme.p || !id.p) continue;
        jw_bytes(&a->ids, scheme);
        jw_bytes(&a->ids, id);
        a->count++;
        if (slice_is(scheme, "super")) a->super = true;
    }
}

ZK_PRIVATE bool auth_has_scheme(const struct auth_set *a, struct slice scheme) {
    struct slice s, i;
    struct auth_iter it = auth_first(a);
    while (auth_next(&it, &s, &i))
        if (slice_eq(s, scheme)) return true;
    return false;
}

ZK_PRIVATE int auth_request(struct auth_set *a, const struct auth_config *cfg, struct slice scheme,
                            struct slice data, const char *ip_text) {
    if (slice_is(scheme, "ip")) {
        auth_add(a, "ip", slice_str(ip_text));
        return 0;
    }
    if (!slice_is(scheme, "digest") || !cfg->digest_enabled || !data.p) return ZERR_AUTHFAILED;
    if (a->count >= ACL_IDENTITIES_MAX) return ZERR_AUTHFAILED;
    if (data.n + buf_len(&a->ids) > ACL_IDENTITY_BYTES) return ZERR_AUTHFAILED;
    struct buf id = {0};
    acl_digest_id(data, &id);
    if (cfg->super_digest.n && slice_eq(buf_slice(&id), cfg->super_digest))
        auth_add(a, "super", slice_of("", 0));
    auth_add(a, "digest", buf_slice(&id));
    buf_free(&id);
    return 0;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/tree.c ==== */



#define TREE_CHUNK 1024u
#define TREE_MIN_BUCKETS 64u

/* --- records --- */

ZK_PRIVATE struct tree_node *tree_node(const struct tree *t, uint32_t id) {
    return &t->chunks[id / TREE_CHUNK][id % TREE_CHUNK];
}

static uint32_t tree_new_id(struct tree *t) {
    uint32_t id = t->free_list;
    if (id != TREE_NONE) {
        t->free_list = tree_node(t, id)->next;
        return id;
    }
    ZK_ASSERT(t->n_ids < TREE_NONE - 1);
    if (t->n_ids == t->n_chunks * TREE_CHUNK) {
        if ((t->n_chunks & (t->n_chunks - 1)) == 0) /* the table doubles at powers of two */
            t->chunks = mem_realloc(t->chunks,
                                    sizeof *t->chunks * (t->n_chunks ? t->n_chunks * 2 : 1));
        t->chunks[t->n_chunks++] = mem_alloc(sizeof(struct tree_node) * TREE_CHUNK);
    }
    return t->n_ids++;
}

static size_t tree_block_len(uint32_t name_len, int32_t data_len) {
    return name_len + (data_len > 0 ? (size_t)data_len : 0);
}

ZK_PRIVATE struct slice tree_name(const struct tree_node *n) {
    return slice_of(n->block, n->name_len);
}

ZK_PRIVATE struct slice tree_data(const struct tree_node *n) {
    static const uint8_t empty[1] = {0};
    if (n->data_len < 0) return slice_of(NULL, 0);
    if (n->data_len == 0) return slice_of(empty, 0);
    return slice_of(n->block + n->name_len, (size_t)n->data_len);
}

/* --- hash index: linear hashing --- */

static uint32_t tree_hash(const struct tree *t, uint32_t parent, struct slice name) {
    return (uint32_t)slice_hash(name, t->seed + parent * 0x9e3779b97f4a7c15u);
}

static uint32_t tree_bucket(const struct tree *t, uint32_t hash) {
    uint32_t b = hash & (t->mask_low * 2 + 1);
    return b < t->n_buckets ? b : hash & t->mask_low;
}

/* Adds one bucket, taking its nodes from the bucket that it halves. */
static void tree_split_bucket(struct tree *t) {
    if (t->n_buckets == t->heads_cap) {
        t->heads_cap *= 2;
        t->heads = mem_realloc(t->heads, sizeof *t->heads * t->heads_cap);
    }
    uint32_t fresh = t->n_buckets, old = fresh & t->mask_low;
    uint32_t id = t->heads[old];
    t->heads[old] = t->heads[fresh] = TREE_NONE;
    t->n_buckets++;
    while (id != TREE_NONE) {
        struct tree_node *n = tree_node(t, id);
        uint32_t next = n->hash_next, *head = &t->heads[tree_bucket(t, n->hash)];
        n->hash_next = *head;
        *head = id;
        id = next;
    }
    if (t->n_buckets == (t->mask_low + 1) * 2) t->mask_low = t->mask_low * 2 + 1;
}

static void tree_index(struct tree *t, uint32_t id, struct tree_node *n) {
    if (t->count > t->n_buckets) tree_split_bucket(t);
    uint32_t *head = &t->heads[tree_bucket(t, n->hash)];
    n->hash_next = *head;
    *head = id;
}

static void tree_unindex(struct tree *t, uint32_t id, const struct tree_node *n) {
    uint32_t *at = &t->heads[tree_bucket(t, n->hash)];
    while (*at != id) at = &tree_node(t, *at)->hash_next;
    *at = n->hash_next;
}

ZK_PRIVATE uint32_t tree_child(const struct tree *t, uint32_t parent, struct slice name) {
    uint32_t hash = tree_hash(t, parent, name);
    uint32_t id = t->heads[tree_bucket(t, hash)];
    while (id != TREE_NONE) {
        const struct tree_node *n = tree_node(t, id);
        if (n->hash == hash && n->parent == parent && slice_eq(tree_name(n), name)) return id;
        id = n->hash_next;
    }
    return TREE_NONE;
}

ZK_PRIVATE uint32_t tree_lookup(const struct tree *t, struct slice path) {
    if (t->count == 0) return TREE_NONE;
    path = path_key(path);
    if (path.n == 0) return TREE_ROOT;
    if (path.p[0] != '/') return TREE_NONE;
    uint32_t id = TREE_ROOT;
    const uint8_t *p = path.p + 1, *end = path.p + path.n;
    for (;;) {
        const uint8_t *slash = p < end ? memchr(p, '/', (size_t)(end - p)) : NULL;
        const uint8_t *stop = slash ? slash : end;
        if (stop == p) return TREE_NONE; /* no node has an empty name */
        id = tree_child(t, id, slice_of(p, (size_t)(stop - p)));
        if (id == TREE_NONE || !slash) return id;
        p = slash + 1;
    }
}

/* --- owners --- */

ZK_PRIVATE enum tree_owner_kind tree_owner_kind(const struct tree *t, int64_t owner) {
    if (owner == 0) return OWNER_NONE;
    if (owner == OWNER_CONTAINER) return OWNER_IS_CONTAINER;
    if (t->extended_types) {
        if ((uint64_t)owner >> 40 == 0xff0000) return OWNER_TTL;
        if (t->emulate353 && owner < 0) return OWNER_TTL;
    }
    return OWNER_SESSION;
}

ZK_PRIVATE int64_t tree_ttl_ms(int64_t owner) {
    if ((uint64_t)owner >> 40 == 0xff0000) return owner & TTL_MAX_MS;
    return owner & INT64_MAX; /* the 3.5.3 form: sign bit and milliseconds */
}

static uint32_t tree_owner_find(const struct tree *t, int64_t session) {
    struct map_iter it;
    uint32_t i = map_first(&t->owner_index, hash_u64((uint64_t)session), &it);
    for (; i != MAP_NONE; i = map_next(&t->owner_index, &it))
        if (t->owners[i].session == session) return i;
    return MAP_NONE;
}

ZK_PRIVATE const struct idset *tree_owned(const struct tree *t, int64_t session) {
    uint32_t i = tree_owner_find(t, session);
    return i == MAP_NONE ? NULL : &t->owners[i].nodes;
}

static void tree_own(struct tree *t, int64_t session, uint32_t id) {
    uint32_t i = tree_owner_find(t, session);
    if (i == MAP_NONE) {
        i = t->free_owner;
        if (i != TREE_NONE) {
            t->free_owner = (uint32_t)t->owners[i].session;
        } else {
            if (t->n_owners == t->owners_cap) {
                t->owners_cap = t->owners_cap ? t->owners_cap * 2 : 16;
                t->owners = mem_realloc(t->owners, sizeof *t->owners * t->owners_cap);
            }
            i = t->n_owners++;
        }
        memset(&t->owners[i], 0, sizeof t->owners[i]);
        t->owners[i].session = session;
        map_add(&t->owner_index, hash_u64((uint64_t)session), i);
        t->live_owners++;
    }
    if (idset_add(&t->owners[i].nodes, id)) t->ephemerals++;
}

static void tree_disown(struct tree *t, int64_t session, uint32_t id) {
    uint32_t i = tree_owner_find(t, session);
    ZK_ASSERT(i != MAP_NONE);
    if (idset_del(&t->owners[i].nodes, id)) t->ephemerals--;
    if (t->owners[i].nodes.count) return;
    map_del(&t->owner_index, hash_u64((uint64_t)session), i);
    idset_free(&t->owners[i].nodes);
    t->owners[i].session = t->free_owner;
    t->free_owner = i;
    t->live_owners--;
}

static void tree_track_owner(struct tree *t, uint32_t id, int64_t owner, bool add) {
    struct idset *set = NULL;
    switch (tree_owner_kind(t, owner)) {
    case OWNER_NONE:
        return;
    case OWNER_SESSION:
        if (add)
            tree_own(t, owner, id);
        else
            tree_disown(t, owner, id);
        return;
    case OWNER_IS_CONTAINER:
        set = &t->containers;
        break;
    case OWNER_TTL:
        set = &t->ttls;
        break;
    }
    if (add)
        (void)idset_add(set, id);
    else
        (void)idset_del(set, id);
}

/* --- digest --- */

ZK_PRIVATE uint32_t tree_prefix_crc(struct slice path, struct slice data) {
    path = path_key(path);
    uint32_t crc = sum_crc32(0, path.p, path.n);
    return sum_crc32(crc, data.p, data.n);
}

ZK_PRIVATE uint32_t tree_digest_of(uint32_t prefix, const struct zstat *s) {
    uint8_t b[60];
    put_be64(b, (uint64_t)s->czxid);
    put_be64(b + 8, (uint64_t)s->mzxid);
    put_be64(b + 16, (uint64_t)s->pzxid);
    put_be64(b + 24, (uint64_t)s->ctime);
    put_be64(b + 32, (uint64_t)s->mtime);
    put_be32(b + 40, (uint32_t)s->version);
    put_be32(b + 44, (uint32_t)s->cversion);
    put_be32(b + 48, (uint32_t)s->aversion);
    put_be64(b + 52, (uint64_t)s->owner);
    return sum_crc32(prefix, b, sizeof b);
}

ZK_PRIVATE bool tree_digest_excluded(struct slice path) {
    return path_is_under(path, "/zookeeper");
}

static uint64_t tree_node_digest(const struct tree_node *n) {
    return n->flags & TREE_SYSTEM ? 0 : tree_digest_of(n->prefix_crc, &n->stat);
}

/* --- image --- */

/* The path of a node; siblings come one after the other, so the parent's path is kept. */
static void tree_image_path(struct tree *t, const struct tree_node *n, uint32_t id) {
    struct buf *path = &t->image.path;
    if (id == TREE_ROOT) {
        buf_clear(path);
        t->image.path_of = TREE_NONE;
        return;
    }
    uint32_t parent = n->parent;
    if (t->image.path_of != parent) {
        buf_clear(path);
        tree_put_path(t, parent, path);
        t->image.path_of = parent;
        t->image.path_of_len = path->n;
    }
    path->n = t->image.path_of_len;
    buf_putc(path, '/');
    buf_put(path, n->block, n->name_len);
}

static void tree_image_put(struct tree *t, uint32_t id, struct tree_node *n) {
    struct buf *out = &t->image.out;
    tree_image_path(t, n, id);
    struct slice path = slice_of(t->image.path.p ? t->image.path.p : n->block, t->image.path.n);
    struct slice data = tree_data(n);
    uint8_t *p = buf_reserve(out, path.n + data.n + 76);
    put_be32(p, (uint32_t)path.n);
    p += 4;
    if (path.n) memcpy(p, path.p, path.n);
    p += path.n;
    put_be32(p, (uint32_t)n->data_len);
    p += 4;
    if (data.n) memcpy(p, data.p, data.n);
    p += data.n;
    put_be64(p, n->acl ? (uint64_t)n->acl : UINT64_MAX);
    put_be64(p + 8, (uint64_t)n->stat.czxid);
    put_be64(p + 16, (uint64_t)n->stat.mzxid);
    put_be64(p + 24, (uint64_t)n->stat.ctime);
    put_be64(p + 32, (uint64_t)n->stat.mtime);
    put_be32(p + 40, (uint32_t)n->stat.version);
    put_be32(p + 44, (uint32_t)n->stat.cversion);
    put_be32(p + 48, (uint32_t)n->stat.aversion);
    put_be64(p + 52, (uint64_t)n->stat.owner);
    put_be64(p + 60, (uint64_t)n->stat.pzxid);
    out->n += path.n + data.n + 76;
    n->flags = (n->flags & ~(uint32_t)TREE_MARK) | t->image.mark;
    t->image.emitted++;
}

static bool tree_emitted(const struct tree *t, const struct tree_node *n) {
    return (n->flags & TREE_MARK) == t->image.mark;
}

static void tree_emit(struct tree *t, uint32_t id) {
    struct tree_node *n = tree_node(t, id);
    if (id != TREE_ROOT && !tree_emitted(t, tree_node(t, n->parent))) {
        struct buf *chain = &t->image.scratch;
        buf_clear(chain);
        for (uint32_t up = n->parent; !tree_emitted(t, tree_node(t, up));) {
            buf_put(chain, &up, sizeof up);
            if (up == TREE_ROOT) break;
            up = tree_node(t, up)->parent;
        }
        for (size_t left = chain->n; left;) {
            uint32_t up;
            left -= sizeof up;
            memcpy(&up, chain->p + left, sizeof up);
            tree_image_put(t, up, tree_node(t, up));
        }
    }
    tree_image_put(t, id, n);
}

/* Called before any change of a node: the image must see it as it was. */
static void tree_touch(struct tree *t, uint32_t id) {
    if (t->image.active && !tree_emitted(t, tree_node(t, id))) tree_emit(t, id);
}

ZK_PRIVATE void tree_image_begin(struct tree *t) {
    ZK_ASSERT(!t->image.active);
    t->image.active = true;
    t->image.mark ^= TREE_MARK;
    t->image.cursor = 0;
    t->image.limit = t->n_ids;
    t->image.emitted = 0;
    t->image.path_of = TREE_NONE;
    buf_clear(&t->image.out);
}

ZK_PRIVATE bool tree_image_step(struct tree *t, uint32_t nodes, size_t bytes) {
    ZK_ASSERT(t->image.active);
    for (; nodes && t->image.cursor < t->image.limit; nodes--, t->image.cursor++) {
        if (buf_len(&t->image.out) >= bytes) return false;
        struct tree_node *n = tree_node(t, t->image.cursor);
        if ((n->flags & TREE_LIVE) && !tree_emitted(t, n)) tree_emit(t, t->image.cursor);
    }
    if (t->image.cursor < t->image.limit) return false;
    t->image.active = false;
    return true;
}

ZK_PRIVATE void tree_image_abort(struct tree *t) {
    /* Marks must mean "emitted" everywhere before the next image flips them. */
    for (uint32_t id = 0; id < t->n_ids; id++) {
        struct tree_node *n = tree_node(t, id);
        n->flags = (n->flags & ~(uint32_t)TREE_MARK) | t->image.mark;
    }
    t->image.active = false;
    buf_free(&t->image.out);
}

/* --- changes --- */

ZK_PRIVATE void tree_init(struct tree *t, uint64_t seed) {
    memset(t, 0, sizeof *t);
    t->seed = seed;
    t->free_list = t->free_owner = TREE_NONE;
    t->n_buckets = t->heads_cap = TREE_MIN_BUCKETS;
    t->mask_low = TREE_MIN_BUCKETS - 1;
    t->heads = mem_alloc(sizeof *t->heads * t->heads_cap);
    for (uint32_t i = 0; i < t->n_buckets; i++) t->heads[i] = TREE_NONE;
}

ZK_PRIVATE void tree_expect(struct tree *t, uint64_t nodes) {
    ZK_ASSERT(t->count == 0);
    while (t->n_buckets < nodes && t->n_buckets < 1u << 26) t->n_buckets *= 2;
    t->mask_low = t->n_buckets - 1;
    t->heads_cap = t->n_buckets;
    t->heads = mem_realloc(t->heads, sizeof *t->heads * t->heads_cap);
    for (uint32_t i = 0; i < t->n_buckets; i++) t->heads[i] = TREE_NONE;
}

ZK_PRIVATE void tree_free(struct tree *t) {
    for (uint32_t id = 0; id < t->n_ids; id++) {
        struct tree_node *n = tree_node(t, id);
        size_t len = tree_block_len(n->name_len, n->data_len);
        if ((n->flags & TREE_LIVE) && len > SLAB_MAX) slab_free(&t->slab, n->block, len);
    }
    for (uint32_t i = 0; i < t->n_chunks; i++) mem_free(t->chunks[i]);
    mem_free(t->chunks);
    mem_free(t->heads);
    slab_free_all(&t->slab);
    for (uint32_t i = 0; i < t->n_owners; i++) idset_free(&t->owners[i].nodes);
    mem_free(t->owners);
    map_free(&t->owner_index);
    idset_free(&t->containers);
    idset_free(&t->ttls);
    buf_free(&t->image.out);
    buf_free(&t->image.scratch);
    buf_free(&t->image.path);
    memset(t, 0, sizeof *t);
}

ZK_PRIVATE void tree_put_path(const struct tree *t, uint32_t id, struct buf *out) {
    size_t n = 0;
    for (uint32_t up = id; up != TREE_ROOT; up = tree_node(t, up)->parent)
        n += tree_node(t, up)->name_len + 1;
    uint8_t *end = buf_grow(out, n) + n;
    for (uint32_t up = id; up != TREE_ROOT;) {
        const struct tree_node *node = tree_node(t, up);
        end -= node->name_len;
        memcpy(end, node->block, node->name_len);
        *--end = '/';
        up = node->parent;
    }
}

static void tree_link(struct tree *t, uint32_t id, struct tree_node *n) {
    struct tree_node *p = tree_node(t, n->parent);
    n->prev = TREE_NONE;
    n->next = p->first_child;
    if (n->next != TREE_NONE) tree_node(t, n->next)->prev = id;
    p->first_child = id;
    p->children++;
}

static void tree_unlink(struct tree *t, const struct tree_node *n) {
    struct tree_node *p = tree_node(t, n->parent);
    if (n->prev != TREE_NONE)
        tree_node(t, n->prev)->next = n->next;
    else
        p->first_child = n->next;
    if (n->next != TREE_NONE) tree_node(t, n->next)->prev = n->prev;
    p->children--;
}

ZK_PRIVATE uint32_t tree_add(struct tree *t, uint32_t parent, struct slice path, struct slice data,
                             uint32_t acl, const struct zstat *stat) {
    bool root = t->count == 0;
    ZK_ASSERT(root == (path.n == 0) && data.n <= INT32_MAX && path.n < INT32_MAX);
    if (!root) tree_touch(t, parent);
    uint32_t id = tree_new_id(t);
    struct tree_node *n = tree_node(t, id);
    struct slice name = root ? path : path_name(path);
    n->stat = *stat;
    n->name_len = (uint32_t)name.n;
    n->data_len = data.p ? (int32_t)data.n : TREE_DATA_NULL;
    n->block = slab_alloc(&t->slab, name.n + data.n);
    if (name.n) memcpy(n->block, name.p, name.n);
    if (data.n) memcpy(n->block + name.n, data.p, data.n);
    n->parent = parent;
    n->acl = acl;
    n->first_child = n->next = n->prev = TREE_NONE;
    n->children = 0;
    n->prefix_crc = tree_prefix_crc(path, data);
    n->flags = TREE_LIVE | t->image.mark | (tree_digest_excluded(path) ? TREE_SYSTEM : 0u);
    t->count++;
    t->data_bytes += path.n + data.n;
    t->digest += tree_node_digest(n);
    if (!root) {
        tree_link(t, id, n);
        n->hash = tree_hash(t, parent, name);
        tree_index(t, id, n);
    }
    tree_track_owner(t, id, stat->owner, true);
    return id;
}

ZK_PRIVATE void tree_remove(struct tree *t, uint32_t id, struct slice path) {
    struct tree_node *n = tree_node(t, id);
    ZK_ASSERT(id != TREE_ROOT && n->children == 0);
    tree_touch(t, id);
    tree_touch(t, n->parent);
    t->digest -= tree_node_digest(n);
    tree_track_owner(t, id, n->stat.owner, false);
    tree_unlink(t, n);
    tree_unindex(t, id, n);
    size_t len = tree_block_len(n->name_len, n->data_len);
    t->data_bytes -= path.n + (len - n->name_len);
    slab_free(&t->slab, n->block, len);
    n->block = NULL;
    n->flags = t->image.mark;
    n->next = t->free_list;
    t->free_list = id;
    t->count--;
    if (t->image.path_of == id) t->image.path_of = TREE_NONE;
}

ZK_PRIVATE void tree_set_data(struct tree *t, uint32_t id, struct slice path, struct slice data,
                              const struct zstat *stat) {
    struct tree_node *n = tree_node(t, id);
    tree_touch(t, id);
    t->digest -= tree_node_digest(n);
    size_t old_len = tree_block_len(n->name_len, n->data_len), len = n->name_len + data.n;
    if (!slab_same(old_len, len)) {
        uint8_t *block = slab_alloc(&t->slab, len);
        if (n->name_len) memcpy(block, n->block, n->name_len);
        slab_free(&t->slab, n->block, old_len);
        n->block = block;
    }
    if (data.n) memcpy(n->block + n->name_len, data.p, data.n);
    t->data_bytes += len - old_len;
    n->data_len = data.p ? (int32_t)data.n : TREE_DATA_NULL;
    n->stat = *stat;
    if (!(n->flags & TREE_SYSTEM)) n->prefix_crc = tree_prefix_crc(path, data);
    t->digest += tree_node_digest(n);
}

ZK_PRIVATE void tree_set_stat(struct tree *t, uint32_t id, const struct zstat *stat) {
    struct tree_node *n = tree_node(t, id);
    tree_touch(t, id);
    t->digest -= tree_node_digest(n);
    n->stat = *stat;
    t->digest += tree_node_digest(n);
}

ZK_PRIVATE void tree_set_acl(struct tree *t, uint32_t id, uint32_t acl, int32_t aversion) {
    struct zstat stat = tree_node(t, id)->stat;
    stat.aversion = aversion;
    tree_set_stat(t, id, &stat);
    tree_node(t, id)->acl = acl;
}

ZK_PRIVATE void tree_client_stat(const struct tree *t, const struct tree_node *n,
                                 uint8_t out[WIRE_STAT_LEN]) {
    int64_t owner = n->stat.owner;
    if (owner && tree_owner_kind(t, owner) != OWNER_SESSION) owner = 0;
    int32_t len = n->data_len > 0 ? n->data_len : 0;
    wire_put_stat(out, &n->stat, owner, len, (int32_t)n->children);
}

ZK_PRIVATE uint32_t tree_walk(const struct tree *t, uint32_t top, uint32_t id) {
    const struct tree_node *n = tree_node(t, id);
    if (n->first_child != TREE_NONE) return n->first_child;
    while (id != top) {
        if (n->next != TREE_NONE) return n->next;
        id = n->parent;
        n = tree_node(t, id);
    }
    return TREE_NONE;
}

ZK_PRIVATE uint64_t tree_count_below(const struct tree *t, uint32_t id) {
    if (id == TREE_ROOT) return t->count - 1;
    uint64_t n = 0;
    for (uint32_t at = tree_walk(t, id, id); at != TREE_NONE; at = tree_walk(t, id, at)) n++;
    return n;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/watch.c ==== */



ZK_PRIVATE void watch_init(struct watch_table *t, uint64_t seed) {
    memset(t, 0, sizeof *t);
    t->seed = seed;
    t->free_list = MAP_NONE;
}

ZK_PRIVATE void watch_free(struct watch_table *t) {
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->entries[i].path) continue;
        mem_free(t->entries[i].path);
        if (t->entries[i].cap) mem_free(t->entries[i].w.many);
    }
    for (uint32_t i = 0; i < t->conns_cap; i++) idset_free(&t->by_conn[i]);
    mem_free(t->entries);
    mem_free(t->by_conn);
    map_free(&t->index);
    memset(t, 0, sizeof *t);
}

ZK_PRIVATE uint32_t watch_watchers(const struct watch_entry *e, const uint32_t **w) {
    *w = e->cap ? e->w.many : &e->w.one;
    return e->n;
}

static uint32_t watch_find(const struct watch_table *t, struct slice path) {
    if (!t->live) return MAP_NONE;
    struct map_iter it;
    uint32_t i = map_first(&t->index, slice_hash(path, t->seed), &it);
    for (; i != MAP_NONE; i = map_next(&t->index, &it)) {
        const struct watch_entry *e = &t->entries[i];
        if (slice_eq(slice_of(e->path, e->path_len), path)) return i;
    }
    return MAP_NONE;
}

static uint32_t watch_new_entry(struct watch_table *t, struct slice path) {
    uint32_t i = t->free_list;
    if (i != MAP_NONE) {
        t->free_list = t->entries[i].path_len;
    } else {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 16;
            t->entries = mem_realloc(t->entries, sizeof *t->entries * t->cap);
        }
        i = t->n++;
    }
    struct watch_entry *e = &t->entries[i];
    memset(e, 0, sizeof *e);
    e->path = mem_alloc(path.n);
    if (path.n) memcpy(e->path, path.p, path.n);
    e->path_len = (uint32_t)path.n;
    map_add(&t->index, slice_hash(path, t->seed), i);
    t->live++;
    return i;
}

static void watch_free_entry(struct watch_table *t, uint32_t i) {
    struct watch_entry *e = &t->entries[i];
    map_del(&t->index, slice_hash(slice_of(e->path, e->path_len), t->seed), i);
    mem_free(e->path);
    if (e->cap) mem_free(e->w.many);
    memset(e, 0, sizeof *e);
    e->path_len = t->free_list;
    t->free_list = i;
    t->live--;
}

static uint32_t *watch_array(struct watch_entry *e) {
    return e->cap ? e->w.many : &e->w.one;
}

/* Position of the connection, or where it would be inserted. */
static uint32_t watch_position(struct watch_entry *e, uint32_t conn) {
    const uint32_t *w = watch_array(e);
    uint32_t lo = 0, hi = e->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (w[mid] >> 4 < conn)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static uint32_t watch_get(struct watch_entry *e, uint32_t conn, uint32_t *at) {
    *at = watch_position(e, conn);
    if (*at == e->n) return 0;
    uint32_t w = watch_array(e)[*at];
    return w >> 4 == conn ? w & WATCH_ANY : 0;
}

static void watch_count(struct watch_table *t, uint32_t kinds, bool add) {
    uint64_t one = add ? 1 : UINT64_MAX;
    if (kinds & WATCH_IN_DATA) t->n_data += one;
    if (kinds & WATCH_IN_CHILD) t->n_child += one;
    if (kinds & WATCH_RECURSIVE) t->n_recursive += one;
}

static void watch_insert(struct watch_entry *e, uint32_t at, uint32_t value) {
    if (e->n == (e->cap ? e->cap : 1)) {
        uint32_t cap = e->cap ? e->cap * 2 : 4;
        if (e->cap) {
            e->w.many = mem_realloc(e->w.many, sizeof(uint32_t) * cap);
        } else {
            uint32_t one = e->w.one;
            e->w.many = mem_alloc(sizeof(uint32_t) * cap);
            e->w.many[0] = one;
        }
        e->cap = cap;
    }
    uint32_t *w = watch_array(e);
    memmove(w + at + 1, w + at, sizeof *w * (e->n - at));
    w[at] = value;
    e->n++;
}

/* Sets the kinds of one watcher; 0 removes it, and the entry with its last watcher. */
static void watch_set(struct watch_table *t, uint32_t i, uint32_t conn, uint32_t kinds) {
    struct watch_entry *e = &t->entries[i];
    uint32_t at, old = watch_get(e, conn, &at);
    watch_count(t, old, false);
    watch_count(t, kinds, true);
    uint32_t value = conn << 4 | kinds;
    if (old && kinds) {
        watch_array(e)[at] = value;
    } else if (kinds) {
        watch_insert(e, at, value);
        (void)idset_add(&t->by_conn[conn], i);
    } else if (old) {
        uint32_t *w = watch_array(e);
        memmove(w + at, w + at + 1, sizeof *w * (e->n - at - 1));
        e->n--;
        (void)idset_del(&t->by_conn[conn], i);
        if (!e->n) watch_free_entry(t, i);
    }
}

ZK_PRIVATE void watch_add(struct watch_table *t, struct slice path, uint32_t conn, uint32_t kinds) {
    ZK_ASSERT(conn < WATCH_CONN_MAX);
    if (conn >= t->conns_cap) {
        uint32_t cap = t->conns_cap ? t->conns_cap : 64;
        while (cap <= conn) cap *= 2;
        t->by_conn = mem_realloc(t->by_conn, sizeof *t->by_conn * cap);
        memset(t->by_conn + t->conns_cap, 0, sizeof *t->by_conn * (cap - t->conns_cap));
        t->conns_cap = cap;
    }
    uint32_t i = watch_find(t, path), at;
    if (i == MAP_NONE) i = watch_new_entry(t, path);
    watch_set(t, i, conn, watch_get(&t->entries[i], conn, &at) | kinds);
}

ZK_PRIVATE uint32_t watch_kinds(const struct watch_table *t, struct slice path, uint32_t conn) {
    uint32_t i = watch_find(t, path), at;
    return i == MAP_NONE ? 0 : watch_get(&t->entries[i], conn, &at);
}

ZK_PRIVATE bool watch_remove(struct watch_table *t, struct slice path, uint32_t conn,
                             uint32_t kinds) {
    uint32_t i = watch_find(t, path), at;
    if (i == MAP_NONE) return false;
    uint32_t old = watch_get(&t->entries[i], conn, &at);
    if (!(old & kinds)) return false;
    watch_set(t, i, conn, old & ~kinds);
    return true;
}

ZK_PRIVATE void watch_drop_conn(struct watch_table *t, uint32_t conn) {
    if (conn >= t->conns_cap) return;
    struct idset mine = t->by_conn[conn];
    memset(&t->by_conn[conn], 0, sizeof mine);
    uint32_t i, pos = 0;
    while (idset_next(&mine, &pos, &i)) watch_set(t, i, conn, 0);
    idset_free(&mine);
}

/* --- firing --- */

static void watch_collect(struct watch_table *t, uint32_t i, uint32_t kinds, uint32_t consumed,
                          struct buf *hits) {
    size_t from = hits->n;
    const uint32_t *w;
    uint32_t n = watch_watchers(&t->entries[i], &w);
    bool consume = false;
    for (uint32_t k = 0; k < n; k++) {
        if (!(w[k] & kinds)) continue;
        uint32_t conn = w[k] >> 4;
        buf_put(hits, &conn, sizeof conn);
        consume = consume || (w[k] & consumed);
    }
    if (!consume) return;
    for (size_t at = from; at < hits->n; at += sizeof(uint32_t)) {
        uint32_t conn, pos;
        memcpy(&conn, hits->p + at, sizeof conn);
        uint32_t old = watch_get(&t->entries[i], conn, &pos);
        watch_set(t, i, conn, old & ~consumed); /* may free the entry with the last one */
    }
}

static int watch_cmp(const void *a, const void *b) {
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static void watch_unique(struct buf *hits) {
    size_t n = buf_len(hits) / sizeof(uint32_t), kept = 0;
    if (n < 2) return;
    uint8_t *p = hits->p + hits->head;
    qsort(p, n, sizeof(uint32_t), watch_cmp);
    for (size_t i = 0; i < n; i++) {
        if (kept && memcmp(p + (kept - 1) * 4, p + i * 4, 4) == 0) continue;
        memmove(p + kept++ * 4, p + i * 4, 4);
    }
    hits->n = hits->head + kept * sizeof(uint32_t);
}

ZK_PRIVATE void watch_fire_data(struct watch_table *t, struct slice path, struct buf *hits) {
    buf_clear(hits);
    if (!t->n_data) return;
    uint32_t i = watch_find(t, path);
    if (i != MAP_NONE) watch_collect(t, i, WATCH_IN_DATA, WATCH_DATA, hits);
    if (!t->n_recursive) return;
    for (struct slice up = path; up.n > 1;) {
        up = path_parent(up);
        if (!up.n) up = slice_of(path.p, 1);
        i = watch_find(t, up);
        if (i != MAP_NONE) watch_collect(t, i, WATCH_RECURSIVE, 0, hits);
    }
    watch_unique(hits);
}

ZK_PRIVATE void watch_fire_child(struct watch_table *t, struct slice path, struct buf *hits) {
    buf_clear(hits);
    if (!t->n_child) return;
    uint32_t i = watch_find(t, path);
    if (i != MAP_NONE) watch_collect(t, i, WATCH_IN_CHILD, WATCH_CHILD, hits);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/session.c ==== */


ZK_PRIVATE void session_init(struct session_table *t, int64_t tick_ms, int64_t now) {
    memset(t, 0, sizeof *t);
    t->tick = tick_ms > 0 ? tick_ms : 1;
    t->free_list = SESSION_NONE;
    t->next_due = (now / t->tick + 1) * t->tick;
    for (uint32_t i = 0; i < SESSION_WHEEL; i++) t->wheel[i] = SESSION_NONE;
}

ZK_PRIVATE void session_free(struct session_table *t) {
    mem_free(t->slots);
    map_free(&t->index);
    memset(t, 0, sizeof *t);
}

ZK_PRIVATE uint32_t session_find(const struct session_table *t, int64_t id) {
    struct map_iter it;
    uint32_t i = map_first(&t->index, hash_u64((uint64_t)id), &it);
    for (; i != MAP_NONE; i = map_next(&t->index, &it))
        if (t->slots[i].id == id) return i;
    return SESSION_NONE;
}

ZK_PRIVATE uint32_t session_add(struct session_table *t, int64_t id, int32_t timeout) {
    uint32_t i = session_find(t, id);
    if (i != SESSION_NONE) return i;
    i = t->free_list;
    if (i != SESSION_NONE) {
        t->free_list = t->slots[i].next;
    } else {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 64;
            t->slots = mem_realloc(t->slots, sizeof *t->slots * t->cap);
        }
        i = t->n++;
    }
    struct session fresh = {.id = id, .timeout = timeout, .conn = SESSION_NONE, .live = true,
                            .prev = SESSION_NONE, .next = SESSION_NONE, .expires = -1};
    t->slots[i] = fresh;
    map_add(&t->index, hash_u64((uint64_t)id), i);
    t->count++;
    return i;
}

static uint32_t *session_bucket(struct session_table *t, int64_t expires) {
    return &t->wheel[(uint64_t)(expires / t->tick) % SESSION_WHEEL];
}

static void session_unlink(struct session_table *t, struct session *s) {
    if (s->expires < 0) return;
    if (s->prev != SESSION_NONE)
        t->slots[s->prev].next = s->next;
    else
        *session_bucket(t, s->expires) = s->next;
    if (s->next != SESSION_NONE) t->slots[s->next].prev = s->prev;
    s->expires = -1;
}

ZK_PRIVATE void session_remove(struct session_table *t, uint32_t i) {
    struct session *s = &t->slots[i];
    session_unlink(t, s);
    map_del(&t->index, hash_u64((uint64_t)s->id), i);
    if (s->committed) t->committed--;
    t->count--;
    s->live = false;
    s->next = t->free_list;
    t->free_list = i;
}

ZK_PRIVATE void session_touch(struct session_table *t, uint32_t i, int64_t now, int32_t timeout) {
    struct session *s = &t->slots[i];
    int64_t expires = ((now + timeout) / t->tick + 1) * t->tick;
    if (expires == s->expires || s->closing) return;
    session_unlink(t, s);
    uint32_t *head = session_bucket(t, expires);
    s->expires = expires;
    s->prev = SESSION_NONE;
    s->next = *head;
    if (s->next != SESSION_NONE) t->slots[s->next].prev = i;
    *head = i;
}

ZK_PRIVATE void session_touch_all(struct session_table *t, int64_t now) {
    for (uint32_t i = 0; i < t->n; i++)
        if (t->slots[i].live) session_touch(t, i, now, t->slots[i].timeout);
}

ZK_PRIVATE uint32_t session_expired(struct session_table *t, int64_t now) {
    for (; t->next_due <= now; t->next_due += t->tick) {
        for (uint32_t i = *session_bucket(t, t->next_due); i != SESSION_NONE;) {
            struct session *s = &t->slots[i];
            if (s->expires <= t->next_due) {
                session_unlink(t, s);
                return i;
            }
            i = s->next;
        }
    }
    return SESSION_NONE;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/quota.c ==== */



#define QUOTA_ROOT "/zookeeper/quota"
#define QUOTA_LIMITS "zookeeper_limits"
#define QUOTA_STATS "zookeeper_stats"

ZK_PRIVATE void quota_free(struct quota *q) {
    for (uint32_t i = 0; i < q->n; i++) {
        union {
            const uint8_t *in;
            uint8_t *out;
        } p = {q->paths[i].p};
        mem_free(p.out);
    }
    uint64_t seed = q->seed;
    mem_free(q->paths);
    map_free(&q->index);
    buf_free(&q->refused);
    memset(q, 0, sizeof *q);
    q->seed = seed;
}

/* --- the text of limits and stats --- */

static bool quota_number(struct slice s, int64_t *out) {
    size_t i = 0;
    bool minus = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+')) i++;
    if (i == s.n || s.n - i > 18) return false;
    int64_t v = 0;
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        v = v * 10 + (s.p[i] - '0');
    }
    *out = minus ? -v : v;
    return true;
}

static bool quota_pair(struct slice item, struct quota_track *out) {
    const uint8_t *eq = memchr(item.p, '=', item.n);
    if (!eq) return false;
    struct slice key = slice_of(item.p, (size_t)(eq - item.p));
    struct slice value = slice_of(eq + 1, item.n - key.n - 1);
    while (value.n && value.p[value.n - 1] == '=') value.n--;
    int64_t v;
    if (!quota_number(value, &v)) return false;
    if (slice_is(key, "count")) out->count = v;
    if (slice_is(key, "bytes")) out->bytes = v;
    if (slice_is(key, "countHardLimit")) out->count_hard = v;
    if (slice_is(key, "byteHardLimit")) out->bytes_hard = v;
    return true;
}

ZK_PRIVATE bool quota_parse(struct slice text, struct quota_track *out) {
    struct quota_track none = {-1, -1, -1, -1};
    *out = none;
    size_t start = 0;
    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && text.p[i] != ',' && text.p[i] != ';') continue;
        if (i > start && !quota_pair(slice_of(text.p + start, i - start), out)) return false;
        start = i + 1;
    }
    return true;
}

/* --- the limited paths --- */

static uint32_t quota_find(const struct quota *q, struct slice path) {
    struct map_iter it;
    uint32_t i = map_first(&q->index, slice_hash(path, q->seed), &it);
    for (; i != MAP_NONE; i = map_next(&q->index, &it))
        if (slice_eq(q->paths[i], path)) return i;
    return MAP_NONE;
}

static void quota_add(struct quota *q, struct slice path) {
    if (path.n < 2 || quota_find(q, path) != MAP_NONE) return; /* a quota on "/" is ignored */
    uint32_t i = 0;
    while (i < q->n && q->paths[i].p) i++;
    if (i == q->cap) {
        q->cap = q->cap ? q->cap * 2 : 8;
        q->paths = mem_realloc(q->paths, sizeof *q->paths * q->cap);
    }
    if (i == q->n) q->n++;
    uint8_t *copy = mem_alloc(path.n);
    memcpy(copy, path.p, path.n);
    q->paths[i] = slice_of(copy, path.n);
    map_add(&q->index, slice_hash(path, q->seed), i);
    q->live++;
}

static void quota_drop(struct quota *q, struct slice path) {
    uint32_t i = quota_find(q, path);
    if (i == MAP_NONE) return;
    map_del(&q->index, slice_hash(path, q->seed), i);
    union {
        const uint8_t *in;
        uint8_t *out;
    } p = {q->paths[i].p};
    mem_free(p.out);
    q->paths[i] = slice_of(NULL, 0);
    q->live--;
}

/* The longest limited path that holds this one; n == 0 when there is none. */
static struct slice quota_over(const struct quota *q, struct slice path) {
    if (!q->live) return slice_of(NULL, 0);
    for (; path.n > 1; path = path_parent(path))
        if (quota_find(q, path) != MAP_NONE) return path;
    return slice_of(NULL, 0);
}

/* --- stats nodes --- */

static uint32_t quota_node(const struct tree *t, struct slice path, const char *leaf,
                           struct buf *full) {
    buf_puts(full, QUOTA_ROOT);
    buf_put(full, path.p, path.n);
    buf_putc(full, '/');
    buf_puts(full, leaf);
    return tree_lookup(t, buf_slice(full));
}

static void quota_write_stats(struct tree *t, struct slice path, const struct quota_track *now) {
    struct buf full = {0}, text = {0};
    uint32_t id = quota_node(t, path, QUOTA_STATS, &full);
    if (id != TREE_NONE) {
        struct zstat same = tree_node(t, id)->stat;
        buf_printf(&text, "count=%lld,bytes=%lld", (long long)now->count, (long long)now->bytes);
        tree_set_data(t, id, buf_slice(&full), buf_slice(&text), &same);
    }
    buf_free(&full);
    buf_free(&text);
}

/* Recounts a subtree, its top included. */
static void quota_recount(struct tree *t, struct slice path) {
    struct quota_track sum = {0, 0, -1, -1};
    uint32_t top = tree_lookup(t, path);
    for (uint32_t id = top; id != TREE_NONE; id = tree_walk(t, top, id)) {
        sum.count++;
        sum.bytes += (int64_t)tree_data(tree_node(t, id)).n;
    }
    quota_write_stats(t, path, &sum);
}

static void quota_account(struct quota *q, struct tree *t, struct slice path, int64_t count,
                          int64_t bytes) {
    struct slice top = quota_over(q, path);
    if (!top.n) return;
    struct buf full = {0};
    struct quota_track now;
    uint32_t id = quota_node(t, top, QUOTA_STATS, &full);
    if (id != TREE_NONE && quota_parse(tree_data(tree_node(t, id)), &now)) {
        now.count += count;
        now.bytes += bytes;
        quota_write_stats(t, top, &now);
    }
    buf_free(&full);
}

/* The limited path that /zookeeper/quota/p/<leaf> speaks of; n == 0 when it is no such node. */
static struct slice quota_subject(struct slice path, const char *leaf) {
    struct slice parent = path_parent(path);
    if (!path_is_under(parent, QUOTA_ROOT) || !slice_is(path_name(path), leaf))
        return slice_of(NULL, 0);
    size_t n = sizeof QUOTA_ROOT - 1;
    return slice_of(parent.p + n, parent.n - n);
}

ZK_PRIVATE void quota_created(struct quota *q, struct tree *t, struct slice path, size_t len) {
    if (slice_starts(path, QUOTA_ROOT)) {
        struct slice subject = quota_subject(path, QUOTA_LIMITS);
        if (subject.n) quota_add(q, subject);
        subject = quota_subject(path, QUOTA_STATS);
        if (subject.n) quota_recount(t, subject);
    }
    quota_account(q, t, path, 1, (int64_t)len);
}

ZK_PRIVATE void quota_removed(struct quota *q, struct tree *t, struct slice path, size_t len) {
    struct slice subject = quota_subject(path, QUOTA_LIMITS);
    if (subject.n) quota_drop(q, subject);
    quota_account(q, t, path, -1, -(int64_t)len);
}

ZK_PRIVATE void quota_resized(struct quota *q, struct tree *t, struct slice path, int64_t diff) {
    quota_account(q, t, path, 0, diff);
}

ZK_PRIVATE void quota_rebuild(struct quota *q, struct tree *t) {
    quota_free(q);
    uint32_t top = tree_lookup(t, slice_str(QUOTA_ROOT));
    if (top == TREE_NONE) return;
    struct buf path = {0};
    for (uint32_t id = top; id != TREE_NONE; id = tree_walk(t, top, id)) {
        const struct tree_node *n = tree_node(t, id);
        if (n->children || !slice_is(tree_name(n), QUOTA_LIMITS)) continue;
        buf_clear(&path);
        tree_put_path(t, id, &path);
        struct slice subject = quota_subject(buf_slice(&path), QUOTA_LIMITS);
        if (!subject.n) continue;
        quota_add(q, subject);
        quota_recount(t, subject);
    }
    buf_free(&path);
}

/* stock: hard limit decides if there is one, otherwise a soft one is only logged. */
static int quota_compare(int64_t now, int64_t hard, int64_t limit, bool *soft) {
    if (hard > -1) return now > hard ? ZERR_QUOTAEXCEEDED : 0;
    if (limit > -1 && now > limit) *soft = true;
    return 0;
}

ZK_PRIVATE int quota_check(struct quota *q, struct tree *t, struct slice path, int64_t count_diff,
                           int64_t bytes_diff, bool *soft) {
    *soft = false;
    struct slice top = quota_over(q, path);
    if (!top.n) return 0;
    struct buf limits_path = {0}, stats_path = {0};
    uint32_t limits = quota_node(t, top, QUOTA_LIMITS, &limits_path);
    uint32_t stats = quota_node(t, top, QUOTA_STATS, &stats_path);
    struct quota_track limit, now;
    int err = 0;
    if (limits != TREE_NONE && stats != TREE_NONE &&
        quota_parse(tree_data(tree_node(t, limits)), &limit) &&
        quota_parse(tree_data(tree_node(t, stats)), &now)) {
        if (count_diff)
            err = quota_compare(now.count + count_diff, limit.count_hard, limit.count, soft);
        if (!err && bytes_diff)
            err = quota_compare(now.bytes + bytes_diff, limit.bytes_hard, limit.bytes, soft);
    }
    buf_free(&limits_path);
    buf_free(&stats_path);
    if (!err) return 0;
    q->exceeded++;
    buf_clear(&q->refused);
    buf_put(&q->refused, path.p, path.n);
    return err;
}

ZK_PRIVATE bool quota_refuses_create(struct slice path) {
    return slice_is(path, QUOTA_ROOT "/" QUOTA_LIMITS) ||
           slice_is(path, QUOTA_ROOT "/" QUOTA_STATS);
}

/* stock cuts the length of "/zookeeper/quota" off the parent and fails when it is shorter. */
ZK_PRIVATE bool quota_refuses_delete(struct slice path) {
    struct slice parent = path_parent(path);
    return slice_is(path_name(path), QUOTA_LIMITS) && slice_starts(parent, "/zookeeper") &&
           !path_is_under(parent, QUOTA_ROOT);
}

ZK_PRIVATE bool quota_refuses_data(struct slice path, struct slice data) {
    struct quota_track track;
    return quota_subject(path, QUOTA_STATS).n != 0 && !quota_parse(data, &track);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/txn.c ==== */



#define TXN_MAX UINT32_MAX /* a record was bounded as a whole when it was framed */

/* --- the database --- */

ZK_PRIVATE void db_init(struct db *db, uint64_t seed, int64_t tick_ms, int64_t now) {
    memset(db, 0, sizeof *db);
    tree_init(&db->tree, seed);
    acl_init(&db->acls, seed);
    db->quota.seed = seed;
    session_init(&db->sessions, tick_ms, now);
}

ZK_PRIVATE void db_free(struct db *db) {
    tree_free(&db->tree);
    acl_free(&db->acls);
    session_free(&db->sessions);
    quota_free(&db->quota);
}

ZK_PRIVATE void db_add_builtin(struct db *db) {
    static const uint8_t read_only[] = "\0\0\0\1\0\0\0\1\0\0\0\5world\0\0\0\6anyone";
    struct tree *t = &db->tree;
    struct zstat zero = {0}, config = {.aversion = -1}; /* stock: DataTree.addConfigNode */
    struct slice empty = slice_of("", 0);
    uint32_t root = tree_add(t, TREE_NONE, empty, empty, ACL_OPEN, &zero);
    uint32_t zk = tree_add(t, root, slice_str("/zookeeper"), empty, ACL_OPEN, &zero);
    uint32_t acl = acl_intern(&db->acls, slice_of(read_only, sizeof read_only - 1));
    (void)tree_add(t, zk, slice_str("/zookeeper/config"), empty, acl, &config);
    (void)tree_add(t, zk, slice_str("/zookeeper/quota"), empty, ACL_OPEN, &zero);
}

/* --- results and events --- */

static struct txn_result *txn_result(struct txn_out *o, int32_t type, int32_t err,
                                     struct slice path) {
    if (o->n_results == o->cap_results) {
        o->cap_results = o->cap_results ? o->cap_results * 2 : 8;
        o->results = mem_realloc(o->results, sizeof *o->results * o->cap_results);
    }
    struct txn_result *r = &o->results[o->n_results++];
    r->type = err ? ZOP_ERROR : type;
    r->err = err;
    r->path = path;
    r->has_stat = false;
    return r;
}

static void txn_event(struct db *db, struct txn_out *o, int32_t type, struct slice path,
                      uint32_t acl, uint32_t parent_acl) {
    if (!o->want_events) return;
    if (o->n_events == o->cap_events) {
        o->cap_events = o->cap_events ? o->cap_events * 2 : 8;
        o->events = mem_realloc(o->events, sizeof *o->events * o->cap_events);
    }
    struct txn_event *e = &o->events[o->n_events++];
    e->type = type;
    e->path = path;
    e->acl = acl_ref(&db->acls, acl);
    e->parent_acl = acl_ref(&db->acls, parent_acl);
}

ZK_PRIVATE void txn_out_clear(struct db *db, struct txn_out *o) {
    for (uint32_t i = 0; i < o->n_events; i++) {
        acl_unref(&db->acls, o->events[i].acl);
        acl_unref(&db->acls, o->events[i].parent_acl);
    }
    mem_free(o->kept);
    o->kept = NULL;
    o->n_events = o->n_results = 0;
    o->err = 0;
    o->has_digest = false;
}

ZK_PRIVATE void txn_out_free(struct db *db, struct txn_out *o) {
    txn_out_clear(db, o);
    mem_free(o->results);
    mem_free(o->events);
    memset(o, 0, sizeof *o);
}

static void txn_result_stat(struct db *db, struct txn_result *r, uint32_t id) {
    tree_client_stat(&db->tree, tree_node(&db->tree, id), r->stat);
    r->has_stat = true;
}

/* --- single operations --- */

struct txn_create {
    struct slice path, data, acl;
    int64_t owner;
    int32_t parent_cversion; /* -1: one more than the parent has */
};

static bool txn_read_create(struct jr *r, int32_t type, int64_t client, struct txn_create *c) {
    c->path = jr_bytes(r);
    c->data = jr_bytes(r);
    c->acl = jr_acl(r);
    c->owner = 0;
    if (type == ZOP_CREATE || type == ZOP_CREATE2)
        c->owner = jr_bool(r) ? client : 0;
    if (r->bad) return false;
    const uint8_t *at = r->p;
    c->parent_cversion = jr_i32(r);
    if (r->bad && type == ZOP_CREATE) {
        /* stock: CreateTxnV0 of 3.3 ends here; SerializeUtils.deserializeTxn */
        r->bad = false;
        r->p = at;
        c->parent_cversion = -1;
    }
    if (type == ZOP_CREATE_CONTAINER) c->owner = OWNER_CONTAINER;
    if (type == ZOP_CREATE_TTL) {
        int64_t ttl = jr_i64(r);
        if (ttl < 1 || ttl > TTL_MAX_MS) return false;
        c->owner = (int64_t)((uint64_t)0xff << 56 | (uint64_t)ttl);
    }
    return !r->bad && c->path.p;
}

/* The parent counts a child and remembers when; never backwards. */
static void txn_bump_parent(struct db *db, uint32_t parent, int32_t cversion, int64_t zxid) {
    struct zstat s = tree_node(&db->tree, parent)->stat;
    if (cversion <= s.cversion) return;
    s.cversion = cversion;
    s.pzxid = zxid;
    tree_set_stat(&db->tree, parent, &s);
}

static int txn_create(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                      struct txn_out *o) {
    struct txn_create c;
    if (!txn_read_create(r, type, h->client_id, &c)) return ZERR_MARSHALLINGERROR;
    struct tree *t = &db->tree;
    uint32_t parent = path_has_parent(c.path) ? tree_lookup(t, path_parent(c.path)) : TREE_NONE;
    if (parent == TREE_NONE) return ZERR_NONODE;
    const struct tree_node *p = tree_node(t, parent);
    int32_t cversion = c.parent_cversion;
    if (cversion == -1) cversion = (int32_t)((uint32_t)p->stat.cversion + 1);
    struct slice name = path_name(c.path);
    if (!name.n) return ZERR_BADARGUMENTS;
    uint32_t acl = acl_intern(&db->acls, c.acl);
    uint32_t old = tree_child(t, parent, name);
    if (old != TREE_NONE) {
        acl_unref(&db->acls, tree_node(t, old)->acl);
        tree_set_acl(t, old, acl, tree_node(t, old)->stat.aversion);
        /* stock: only for type 1, FileTxnSnapLog.processTransaction */
        if (type == ZOP_CREATE) txn_bump_parent(db, parent, cversion, h->zxid);
        return ZERR_NODEEXISTS;
    }
    struct zstat stat = {.czxid = h->zxid, .mzxid = h->zxid, .pzxid = h->zxid, .ctime = h->time,
                         .mtime = h->time, .owner = c.owner};
    txn_bump_parent(db, parent, cversion, h->zxid);
    uint32_t id = tree_add(t, parent, c.path, c.data, acl, &stat);
    quota_created(&db->quota, t, c.path, c.data.n);
    txn_result_stat(db, txn_result(o, type, 0, c.path), id);
    txn_event(db, o, EVENT_CREATED, c.path, acl, tree_node(t, parent)->acl);
    return 0;
}

static int txn_remove(struct db *db, int64_t zxid, struct slice path, struct txn_out *o) {
    struct tree *t = &db->tree;
    uint32_t parent = path_has_parent(path) ? tree_lookup(t, path_parent(path)) : TREE_NONE;
    if (parent == TREE_NONE) return ZERR_NONODE;
    struct zstat s = tree_node(t, parent)->stat;
    if (zxid > s.pzxid) {
        s.pzxid = zxid;
        tree_set_stat(t, parent, &s);
    }
    uint32_t id = tree_lookup(t, path);
    /* A node with children cannot be here: neither a server of ours nor stock logs that. */
    if (id == TREE_NONE || id == TREE_ROOT || tree_node(t, id)->children) return ZERR_NONODE;
    const struct tree_node *n = tree_node(t, id);
    uint32_t acl = n->acl;
    txn_event(db, o, EVENT_DELETED, path, acl, tree_node(t, parent)->acl);
    quota_removed(&db->quota, t, path, tree_data(n).n);
    tree_remove(t, id, path);
    acl_unref(&db->acls, acl);
    return 0;
}

static int txn_delete(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                      struct txn_out *o) {
    struct slice path = jr_bytes(r);
    if (r->bad || !path.p) return ZERR_MARSHALLINGERROR;
    int err = txn_remove(db, h->zxid, path, o);
    if (!err) (void)txn_result(o, type, 0, path);
    return err;
}

static int txn_set_data(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                        struct txn_out *o) {
    struct req_set q = jr_req_set_data(r);
    if (r->bad || !q.path.p) return ZERR_MARSHALLINGERROR;
    struct tree *t = &db->tree;
    uint32_t id = tree_lookup(t, q.path);
    if (id == TREE_NONE) return ZERR_NONODE;
    struct zstat s = tree_node(t, id)->stat;
    int64_t grown = (int64_t)q.data.n - (int64_t)tree_data(tree_node(t, id)).n;
    s.version = q.version;
    s.mtime = h->time;
    s.mzxid = h->zxid;
    tree_set_data(t, id, q.path, q.data, &s);
    quota_resized(&db->quota, t, q.path, grown);
    txn_result_stat(db, txn_result(o, type, 0, q.path), id);
    txn_event(db, o, EVENT_DATA_CHANGED, q.path, tree_node(t, id)->acl, ACL_OPEN);
    return 0;
}

static int txn_set_acl(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                       struct txn_out *o) {
    (void)h;
    struct req_set q = jr_req_set_acl(r);
    if (r->bad || !q.path.p) return ZERR_MARSHALLINGERROR;
    struct tree *t = &db->tree;
    uint32_t id = tree_lookup(t, q.path);
    if (id == TREE_NONE) return ZERR_NONODE;
    uint32_t acl = acl_intern(&db->acls, q.data);
    acl_unref(&db->acls, tree_node(t, id)->acl);
    tree_set_acl(t, id, acl, q.version);
    txn_result_stat(db, txn_result(o, type, 0, q.path), id);
    return 0;
}

static int txn_create_session(struct db *db, const struct txn_header *h, struct jr *r) {
    int32_t timeout = jr_i32(r);
    if (r->bad || timeout < 0) return ZERR_MARSHALLINGERROR;
    struct session_table *t = &db->sessions;
    uint32_t i = session_add(t, h->client_id, timeout); /* may move the slots */
    struct session *s = &t->slots[i];
    s->timeout = timeout;
    if (!s->committed) t->committed++;
    s->committed = true;
    return 0;
}

static int txn_path_cmp(const void *a, const void *b) {
    struct slice x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return slice_cmp(x, y);
}

/*
 * What a session still owns although its closeSession did not list it: more ephemerals than fit
 * in one record, or a log written without the list.
 */
static void txn_remove_leftovers(struct db *db, const struct txn_header *h, struct txn_out *o) {
    const struct idset *owned = tree_owned(&db->tree, h->client_id);
    if (!owned) return;
    struct buf text = {0};
    uint32_t n = owned->count, pos = 0, id, k = 0;
    struct slice *paths = mem_alloc(sizeof *paths * n);
    while (idset_next(owned, &pos, &id)) {
        size_t from = text.n;
        tree_put_path(&db->tree, id, &text);
        paths[k++].n = text.n - from;
    }
    const uint8_t *p = text.p; /* only now the text has stopped moving */
    for (k = 0; k < n; p += paths[k++].n) paths[k].p = p;
    qsort(paths, n, sizeof *paths, txn_path_cmp); /* slots depend on history, the order must not */
    for (k = 0; k < n; k++) (void)txn_remove(db, h->zxid, paths[k], o);
    mem_free(paths);
    ZK_ASSERT(!o->kept);
    o->kept = text.p;
}

static int txn_close_session(struct db *db, const struct txn_header *h, struct jr *r,
                             struct txn_out *o) {
    int32_t n = jr_count(r); /* absent in logs before 3.6: nothing is listed then */
    for (; n > 0 && !r->bad; n--) {
        struct slice path = jr_bytes(r);
        if (!r->bad && path.p) (void)txn_remove(db, h->zxid, path, o);
    }
    r->bad = false;
    txn_remove_leftovers(db, h, o);
    uint32_t s = session_find(&db->sessions, h->client_id);
    if (s != SESSION_NONE) session_remove(&db->sessions, s);
    return 0;
}

static int txn_apply_one(struct db *db, const struct txn_header *h, int32_t type, struct jr *r,
                         struct txn_out *o) {
    switch (type) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        return txn_create(db, h, type, r, o);
    case ZOP_DELETE:
    case ZOP_DELETE_CONTAINER:
        return txn_delete(db, h, type, r, o);
    case ZOP_SET_DATA:
    case ZOP_RECONFIG:
        return txn_set_data(db, h, type, r, o);
    case ZOP_SET_ACL:
        return txn_set_acl(db, h, type, r, o);
    case ZOP_CHECK:
        (void)txn_result(o, type, 0, jr_req_path_i32(r).path);
        return 0;
    case ZOP_CREATE_SESSION:
        return txn_create_session(db, h, r);
    case ZOP_CLOSE_SESSION:
        return txn_close_session(db, h, r, o);
    case ZOP_ERROR:
        return jr_i32(r);
    default:
        return ZERR_UNIMPLEMENTED;
    }
}

/* --- multi --- */

/* One failed operation makes the whole transaction an error: nothing of it is applied. */
static bool txn_multi_failed(struct jr r, int32_t n) {
    for (; n > 0 && !r.bad; n--) {
        int32_t type = jr_i32(&r);
        (void)jr_bytes(&r);
        if (!r.bad && type == ZOP_ERROR) return true;
    }
    return false;
}

static int txn_multi(struct db *db, const struct txn_header *h, struct jr *r, struct txn_out *o) {
    int32_t n = jr_count(r), first = 0;
    bool failed = txn_multi_failed(*r, n);
    for (; n > 0; n--) {
        int32_t type = jr_i32(r), err = 0;
        struct jr sub = jr_open(jr_bytes(r), TXN_MAX);
        if (r->bad) return first ? first : ZERR_MARSHALLINGERROR;
        if (failed) {
            err = type == ZOP_ERROR ? jr_i32(&sub) : 0;
            struct txn_result *res = txn_result(o, type, err, slice_of(NULL, 0));
            res->type = ZOP_ERROR;
        } else if (type == ZOP_CREATE_SESSION || type == ZOP_CLOSE_SESSION) {
            err = ZERR_UNIMPLEMENTED; /* nobody writes that */
        } else {
            err = txn_apply_one(db, h, type, &sub, o);
            if (err) (void)txn_result(o, type, err, slice_of(NULL, 0));
        }
        if (err && !first) first = err;
    }
    return first;
}

/* --- whole transactions --- */

ZK_PRIVATE int txn_apply(struct db *db, const struct txn_header *h, struct slice record,
                         struct txn_out *o) {
    struct jr r = jr_open(record, TXN_MAX);
    txn_out_clear(db, o);
    if (h->type == ZOP_MULTI) {
        o->err = txn_multi(db, h, &r, o);
    } else {
        o->err = txn_apply_one(db, h, h->type, &r, o);
        if (!o->n_results) (void)txn_result(o, h->type, o->err, slice_of(NULL, 0));
    }
    if (jr_left(&r) >= 12) {
        o->has_digest = jr_i32(&r) == 2;
        o->digest = (uint64_t)jr_i64(&r);
    }
    if (h->zxid > db->last_zxid) db->last_zxid = h->zxid;
    return o->err;
}

ZK_PRIVATE uint32_t db_drop_orphans(struct db *db) {
    struct txn_out out = {0};
    uint32_t removed = 0;
    for (uint32_t i = 0; i < db->tree.n_owners; i++) {
        const struct tree_owner *o = &db->tree.owners[i];
        if (!o->nodes.count || session_find(&db->sessions, o->session) != SESSION_NONE) continue;
        removed += o->nodes.count;
        struct txn_header h = {.client_id = o->session, .zxid = db->last_zxid,
                               .type = ZOP_CLOSE_SESSION};
        txn_remove_leftovers(db, &h, &out);
        txn_out_clear(db, &out);
    }
    txn_out_free(db, &out);
    return removed;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== state/prep.c ==== */


#include <stdio.h>


/* Answers of the preparing functions beside the wire's codes. */
#define PREP_UNREADABLE (-1000) /* no zxid, no transaction, MARSHALLINGERROR */

ZK_PRIVATE void prep_init(struct prep *p, struct db *db, const struct prep_config *cfg) {
    memset(p, 0, sizeof *p);
    p->db = db;
    p->cfg = *cfg;
    p->free_list = p->head = p->tail = PREP_NONE;
    p->zxid = db->last_zxid;
    p->digest = db->tree.digest;
}

/* --- change records --- */

static uint64_t prep_hash(const struct prep *p, struct slice path) {
    return slice_hash(path, p->db->tree.seed);
}

static struct slice prep_path(const struct prep_change *c) {
    return slice_of(c->path, c->path_len);
}

static uint32_t prep_newest(const struct prep *p, struct slice path) {
    if (!p->index.count) return PREP_NONE;
    struct map_iter it;
    uint32_t i = map_first(&p->index, prep_hash(p, path), &it);
    for (; i != MAP_NONE; i = map_next(&p->index, &it))
        if (slice_eq(prep_path(&p->changes[i]), path)) return i;
    return PREP_NONE;
}

/* False when the node does not exist; the acl of the view is borrowed. */
static bool prep_view(const struct prep *p, struct slice path, struct prep_view *v) {
    path = path_key(path);
    uint32_t i = prep_newest(p, path);
    if (i != PREP_NONE) {
        *v = p->changes[i].view;
        return v->exists;
    }
    uint32_t id = tree_lookup(&p->db->tree, path);
    memset(v, 0, sizeof *v);
    if (id == TREE_NONE) return false;
    const struct tree_node *n = tree_node(&p->db->tree, id);
    v->exists = true;
    v->stat = n->stat;
    v->children = n->children;
    v->acl = n->acl;
    v->prefix_crc = n->prefix_crc;
    v->data_len = n->data_len;
    return true;
}

static bool prep_session_owned(const struct prep *p, const struct prep_view *v) {
    return tree_owner_kind(&p->db->tree, v->stat.owner) == OWNER_SESSION;
}

static uint32_t prep_new_change(struct prep *p) {
    uint32_t i = p->free_list;
    if (i != PREP_NONE) {
        p->free_list = p->changes[i].fifo_next;
        return i;
    }
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 64;
        p->changes = mem_realloc(p->changes, sizeof *p->changes * p->cap);
    }
    return p->n++;
}

/* Records the state of a node after the transaction in the making. */
static void prep_push(struct prep *p, int64_t zxid, struct slice path, const struct prep_view *v) {
    path = path_key(path);
    if (p->cfg.digest && !tree_digest_excluded(path)) {
        struct prep_view old;
        if (prep_view(p, path, &old)) p->digest -= tree_digest_of(old.prefix_crc, &old.stat);
        if (v->exists) p->digest += tree_digest_of(v->prefix_crc, &v->stat);
    }
    uint32_t older = prep_newest(p, path), i = prep_new_change(p);
    uint64_t hash = prep_hash(p, path);
    struct prep_change *c = &p->changes[i];
    p->queued++;
    c->view = *v;
    (void)acl_ref(&p->db->acls, v->acl);
    c->zxid = zxid;
    c->path = slab_alloc(&p->slab, path.n);
    if (path.n) memcpy(c->path, path.p, path.n);
    c->path_len = (uint32_t)path.n;
    c->older = older;
    c->newer = PREP_NONE;
    if (older != PREP_NONE) {
        p->changes[older].newer = i;
        (void)map_del(&p->index, hash, older);
    }
    map_add(&p->index, hash, i);
    c->fifo_next = PREP_NONE;
    c->fifo_prev = p->tail;
    if (p->tail != PREP_NONE)
        p->changes[p->tail].fifo_next = i;
    else
        p->head = i;
    p->tail = i;
    if (v->exists && prep_session_owned(p, v)) p->ephemeral_changes++;
}

/* Unlinks a record that is first or last in the order; the path index must be settled. */
static void prep_discard(struct prep *p, uint32_t i) {
    struct prep_change *c = &p->changes[i];
    if (c->fifo_prev != PREP_NONE)
        p->changes[c->fifo_prev].fifo_next = c->fifo_next;
    else
        p->head = c->fifo_next;
    if (c->fifo_next != PREP_NONE)
        p->changes[c->fifo_next].fifo_prev = c->fifo_prev;
    else
        p->tail = c->fifo_prev;
    if (c->view.exists && prep_session_owned(p, &c->view)) p->ephemeral_changes--;
    acl_unref(&p->db->acls, c->view.acl);
    slab_free(&p->slab, c->path, c->path_len);
    c->fifo_next = p->free_list;
    p->free_list = i;
}

ZK_PRIVATE void prep_applied(struct prep *p, int64_t zxid) {
    while (p->head != PREP_NONE && p->changes[p->head].zxid <= zxid) {
        uint32_t i = p->head;
        struct prep_change *c = &p->changes[i];
        if (c->newer == PREP_NONE)
            (void)map_del(&p->index, prep_hash(p, prep_path(c)), i);
        else
            p->changes[c->newer].older = PREP_NONE;
        p->removed++;
        prep_discard(p, i);
    }
}

/* Takes back the newest records down to the mark (the tail before they were made). */
static void prep_rollback(struct prep *p, uint32_t mark, uint64_t digest) {
    while (p->tail != mark) {
        uint32_t i = p->tail;
        struct prep_change *c = &p->changes[i];
        uint64_t hash = prep_hash(p, prep_path(c));
        (void)map_del(&p->index, hash, i);
        if (c->older != PREP_NONE) {
            map_add(&p->index, hash, c->older);
            p->changes[c->older].newer = PREP_NONE;
        }
        prep_discard(p, i);
    }
    p->digest = digest;
}

ZK_PRIVATE void prep_free(struct prep *p) {
    if (!p->db) return; /* never initialised: the server did not get that far */
    prep_rollback(p, PREP_NONE, 0);
    mem_free(p->changes);
    map_free(&p->index);
    slab_free_all(&p->slab);
    buf_free(&p->acl);
    memset(p, 0, sizeof *p);
}

/* --- checks --- */

static int prep_session(const struct prep *p, const struct prep_request *q) {
    if (q->internal) return 0;
    uint32_t s = session_find(&p->db->sessions, q->session);
    if (s == SESSION_NONE) return q->owner ? ZERR_SESSIONEXPIRED : ZERR_UNKNOWNSESSION;
    struct session *e = &p->db->sessions.slots[s];
    if (e->closing) return ZERR_SESSIONEXPIRED;
    if (!e->owner) e->owner = q->owner;
    return q->owner && q->owner != e->owner ? ZERR_SESSIONMOVED : 0;
}

static int prep_acl(const struct prep *p, const struct prep_request *q, uint32_t acl,
                    int32_t perm) {
    if (q->internal || p->cfg.skip_acl) return 0;
    return acl_allows(&p->db->acls, acl, perm, q->auth) ? 0 : ZERR_NOAUTH;
}

static int prep_quota(struct prep *p, struct slice path, int64_t count, int64_t bytes) {
    bool soft;
    if (!p->cfg.enforce_quota) return 0;
    return quota_check(&p->db->quota, &p->db->tree, path, count, bytes, &soft);
}

static bool prep_is_builtin(struct slice path) {
    return slice_is(path, "/") || slice_is(path, "/zookeeper") ||
           slice_is(path, "/zookeeper/quota") || slice_is(path, "/zookeeper/config");
}

/* --- create --- */

static bool prep_is_sequential(int32_t flags) {
    return flags == MODE_PERSISTENT_SEQUENTIAL || flags == MODE_EPHEMERAL_SEQUENTIAL ||
           flags == MODE_TTL_SEQUENTIAL;
}

/*
 * Opcode and mode must agree on what kind of node it is. stock applies by opcode but keeps its
 * pending state by mode, and exits when it applies a createTTL without a ttl.
 */
static bool prep_mode_fits(int32_t op, int32_t flags) {
    switch (op) {
    case ZOP_CREATE_CONTAINER:
        return flags == MODE_CONTAINER;
    case ZOP_CREATE_TTL:
        return flags == MODE_TTL || flags == MODE_TTL_SEQUENTIAL;
    default:
        return flags >= MODE_PERSISTENT && flags <= MODE_EPHEMERAL_SEQUENTIAL;
    }
}

static int prep_check_mode(const struct prep *p, int32_t op, const struct req_create *c) {
    if (c->flags < MODE_PERSISTENT || c->flags > MODE_TTL_SEQUENTIAL) return ZERR_BADARGUMENTS;
    bool ttl = c->flags >= MODE_TTL;
    if (ttl && !p->db->tree.extended_types) return ZERR_UNIMPLEMENTED;
    if (ttl ? c->ttl < 1 || c->ttl > TTL_MAX_MS : c->ttl >= 0) return ZERR_BADARGUMENTS;
    return prep_mode_fits(op, c->flags) ? 0 : ZERR_BADARGUMENTS;
}

static int64_t prep_owner(const struct prep_request *q, const struct req_create *c) {
    switch (c->flags) {
    case MODE_EPHEMERAL:
    case MODE_EPHEMERAL_SEQUENTIAL:
        return q->session;
    case MODE_CONTAINER:
        return OWNER_CONTAINER;
    case MODE_TTL:
    case MODE_TTL_SEQUENTIAL:
        return (int64_t)((uint64_t)0xff << 56 | (uint64_t)c->ttl);
    default:
        return 0;
    }
}

static void prep_put_create(struct buf *out, int32_t op, struct slice data, struct slice acl,
                            const struct req_create *c, int32_t parent_cversion) {
    jw_bytes(out, data);
    jw_raw(out, acl);
    if (op == ZOP_CREATE || op == ZOP_CREATE2)
        jw_u8(out, c->flags == MODE_EPHEMERAL || c->flags == MODE_EPHEMERAL_SEQUENTIAL);
    jw_i32(out, parent_cversion);
    if (op == ZOP_CREATE_TTL) jw_i64(out, c->ttl);
}

/* The node's path goes to out first: a sequential one exists nowhere else. */
static void prep_put_path(struct buf *out, const struct req_create *c, int32_t counter) {
    char digits[16] = "";
    int n = prep_is_sequential(c->flags) ? snprintf(digits, sizeof digits, "%010d", counter) : 0;
    jw_i32(out, (int32_t)(c->path.n + (size_t)n));
    buf_put(out, c->path.p, c->path.n);
    buf_put(out, digits, (size_t)n);
}

static int prep_create(struct prep *p, const struct prep_request *q, int32_t op, struct jr *r,
                       int64_t zxid, struct buf *out) {
    struct req_create c = jr_req_create(r, op);
    struct prep_view parent, old;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_check_mode(p, op, &c);
    if (!err) err = prep_session(p, q);
    if (err) return err;
    if (!c.path.p) return ZERR_MARSHALLINGERROR; /* stock: any exception but a refusal */
    if (!path_has_parent(c.path)) return ZERR_BADARGUMENTS;
    struct slice parent_path = path_parent(c.path);
    buf_clear(&p->acl);
    err = acl_fixup(&p->db->acls, c.acl, q->auth, p->cfg.digest_auth, &p->acl);
    if (err) return err;
    if (!prep_view(p, parent_path, &parent)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, parent.acl, PERM_CREATE))) return err;
    size_t at = out->n;
    prep_put_path(out, &c, parent.stat.cversion);
    struct slice path = slice_of(out->p + at + 4, out->n - at - 4);
    if (!path_valid(path) || quota_refuses_create(path)) return ZERR_BADARGUMENTS;
    if (prep_view(p, path, &old)) return ZERR_NODEEXISTS;
    if (prep_session_owned(p, &parent)) return ZERR_NOCHILDRENFOREPHEMERALS;
    if ((err = prep_quota(p, path, 1, (int64_t)c.data.n))) return err;
    int32_t counter = (int32_t)((uint32_t)parent.stat.cversion + 1);
    prep_put_create(out, op, c.data, buf_slice(&p->acl), &c, counter);
    path = slice_of(out->p + at + 4, path.n); /* out may have moved */

    parent.children++;
    if (counter > parent.stat.cversion) {
        parent.stat.cversion = counter;
        parent.stat.pzxid = zxid;
    }
    prep_push(p, zxid, parent_path, &parent);
    struct prep_view node = {.exists = true,
                             .stat = {.czxid = zxid, .mzxid = zxid, .pzxid = zxid,
                                      .ctime = q->time, .mtime = q->time,
                                      .owner = prep_owner(q, &c)},
                             .acl = acl_intern(&p->db->acls, buf_slice(&p->acl)),
                             .prefix_crc = p->cfg.digest ? tree_prefix_crc(path, c.data) : 0,
                             .data_len = c.data.p ? (int32_t)c.data.n : TREE_DATA_NULL};
    prep_push(p, zxid, path, &node);
    acl_unref(&p->db->acls, node.acl);
    return 0;
}

/* --- delete, setData, setACL, check --- */

/* The records of a deleted node and its parent, which the caller has looked up. */
static void prep_push_delete(struct prep *p, int64_t zxid, struct slice path,
                             struct prep_view *parent, struct prep_view *node) {
    parent->children--;
    if (zxid > parent->stat.pzxid) parent->stat.pzxid = zxid;
    prep_push(p, zxid, path_parent(path), parent);
    node->exists = false;
    prep_push(p, zxid, path, node);
}

static int prep_delete(struct prep *p, const struct prep_request *q, struct jr *r, int64_t zxid,
                       struct buf *out) {
    struct req_path d = jr_req_path_i32(r);
    struct prep_view parent, node;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_session(p, q);
    if (err) return err;
    if (!d.path.p) return ZERR_MARSHALLINGERROR;
    if (!path_has_parent(d.path) || prep_is_builtin(d.path) || quota_refuses_delete(d.path))
        return ZERR_BADARGUMENTS;
    if (!prep_view(p, path_parent(d.path), &parent)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, parent.acl, PERM_DELETE))) return err;
    if (!prep_view(p, d.path, &node)) return ZERR_NONODE;
    if (d.arg != -1 && d.arg != node.stat.version) return ZERR_BADVERSION;
    if (node.children) return ZERR_NOTEMPTY;
    jw_bytes(out, d.path);
    prep_push_delete(p, zxid, d.path, &parent, &node);
    return 0;
}

/* From the reaper only: a container or TTL node that may have got a child meanwhile. */
static int prep_delete_container(struct prep *p, struct jr *r, int64_t zxid, struct buf *out) {
    struct slice path = jr_bytes(r);
    struct prep_view parent, node;
    if (r->bad || !path.p) return PREP_UNREADABLE;
    if (!path_has_parent(path) || prep_is_builtin(path)) return ZERR_BADARGUMENTS;
    if (!prep_view(p, path, &node)) return ZERR_NONODE;
    if (node.children) return ZERR_NOTEMPTY;
    if (prep_session_owned(p, &node)) return ZERR_BADVERSION;
    if (!prep_view(p, path_parent(path), &parent)) return ZERR_NONODE;
    jw_bytes(out, path);
    prep_push_delete(p, zxid, path, &parent, &node);
    return 0;
}

static int32_t prep_next_version(int32_t version) {
    return (int32_t)((uint32_t)version + 1);
}

static int prep_set_data(struct prep *p, const struct prep_request *q, struct jr *r, int64_t zxid,
                         struct buf *out) {
    struct req_set s = jr_req_set_data(r);
    struct prep_view node;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_session(p, q);
    if (err) return err;
    if (!path_valid(s.path) || quota_refuses_data(s.path, s.data)) return ZERR_BADARGUMENTS;
    if (!prep_view(p, s.path, &node)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, node.acl, PERM_WRITE))) return err;
    int64_t old_len = node.data_len > 0 ? node.data_len : 0;
    if ((err = prep_quota(p, s.path, 0, (int64_t)s.data.n - old_len))) return err;
    if (s.version != -1 && s.version != node.stat.version) return ZERR_BADVERSION;
    node.stat.version = prep_next_version(node.stat.version);
    node.stat.mzxid = zxid;
    node.stat.mtime = q->time;
    node.data_len = s.data.p ? (int32_t)s.data.n : TREE_DATA_NULL;
    if (p->cfg.digest) node.prefix_crc = tree_prefix_crc(s.path, s.data);
    jw_bytes(out, s.path);
    jw_bytes(out, s.data);
    jw_i32(out, node.stat.version);
    prep_push(p, zxid, s.path, &node);
    return 0;
}

static int prep_set_acl(struct prep *p, const struct prep_request *q, struct jr *r, int64_t zxid,
                        struct buf *out) {
    struct req_set s = jr_req_set_acl(r);
    struct prep_view node;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_session(p, q);
    if (err) return err;
    if (!path_valid(s.path)) return ZERR_BADARGUMENTS;
    buf_clear(&p->acl);
    err = acl_fixup(&p->db->acls, s.data, q->auth, p->cfg.digest_auth, &p->acl);
    if (err) return err;
    if (!prep_view(p, s.path, &node)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, node.acl, PERM_ADMIN))) return err;
    if (s.version != -1 && s.version != node.stat.aversion) return ZERR_BADVERSION;
    node.stat.aversion = prep_next_version(node.stat.aversion);
    node.acl = acl_intern(&p->db->acls, buf_slice(&p->acl));
    jw_bytes(out, s.path);
    jw_raw(out, buf_slice(&p->acl));
    jw_i32(out, node.stat.aversion);
    prep_push(p, zxid, s.path, &node);
    acl_unref(&p->db->acls, node.acl);
    return 0;
}

static int prep_check(struct prep *p, const struct prep_request *q, struct jr *r,
                      struct buf *out) {
    struct req_path c = jr_req_path_i32(r);
    struct prep_view node;
    if (r->bad) return PREP_UNREADABLE;
    int err = prep_session(p, q);
    if (err) return err;
    if (!path_valid(c.path)) return ZERR_BADARGUMENTS;
    if (!prep_view(p, c.path, &node)) return ZERR_NONODE;
    if ((err = prep_acl(p, q, node.acl, PERM_READ))) return err;
    if (c.arg != -1 && c.arg != node.stat.version) return ZERR_BADVERSION;
    jw_bytes(out, c.path);
    jw_i32(out, prep_next_version(node.stat.version)); /* stock: current version + 1 */
    return 0;
}

/* --- sessions --- */

static int prep_create_session(struct jr *r, struct buf *out) {
    int32_t timeout = jr_i32(r);
    if (r->bad) return PREP_UNREADABLE;
    jw_i32(out, timeout);
    return 0;
}

/* The tree may be behind: the path may be gone by now, or be somebody else's node. */
static void prep_put_owned(struct prep *p, int64_t session, int64_t zxid, struct slice path,
                           struct buf *out, int32_t *count, size_t limit) {
    struct prep_view parent, node;
    if (!prep_view(p, path, &node) || node.stat.owner != session) return;
    if (prep_view(p, path_parent(path), &parent)) prep_push_delete(p, zxid, path, &parent, &node);
    /* What does not fit is deleted all the same: appliers remove what the session still owns. */
    if (out->n + path.n + 4 > limit) return;
    jw_bytes(out, path);
    ++*count;
}

static int prep_close_session(struct prep *p, const struct prep_request *q, int64_t zxid,
                              struct buf *out) {
    uint32_t s = session_find(&p->db->sessions, q->session);
    size_t at = out->n, limit = at + p->cfg.max_record - 256;
    int32_t count = 0;
    jw_i32(out, 0);
    uint32_t last = p->tail; /* records made from here on are our own deletions */
    bool pending = p->ephemeral_changes != 0;
    const struct idset *owned = tree_owned(&p->db->tree, q->session);
    uint32_t pos = 0, id;
    struct buf path = {0};
    while (owned && idset_next(owned, &pos, &id)) {
        buf_clear(&path);
        tree_put_path(&p->db->tree, id, &path);
        prep_put_owned(p, q->session, zxid, buf_slice(&path), out, &count, limit);
    }
    for (uint32_t i = pending ? p->head : PREP_NONE; i != PREP_NONE;) {
        const struct prep_change *c = &p->changes[i];
        uint32_t next = i == last ? PREP_NONE : c->fifo_next;
        if (c->newer == PREP_NONE && c->view.exists && c->view.stat.owner == q->session) {
            buf_clear(&path);
            buf_put(&path, c->path, c->path_len);
            prep_put_owned(p, q->session, zxid, buf_slice(&path), out, &count, limit);
        }
        i = next;
    }
    buf_free(&path);
    if (s != SESSION_NONE) p->db->sessions.slots[s].closing = true;
    put_be32(out->p + at, (uint32_t)count);
    return 0;
}

/* --- one operation, a multi, a request --- */

static int prep_one(struct prep *p, const struct prep_request *q, int32_t op, struct jr *r,
                    int64_t zxid, struct buf *out) {
    switch (op) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        return prep_create(p, q, op, r, zxid, out);
    case ZOP_DELETE:
        return prep_delete(p, q, r, zxid, out);
    case ZOP_SET_DATA:
        return prep_set_data(p, q, r, zxid, out);
    case ZOP_SET_ACL:
        return prep_set_acl(p, q, r, zxid, out);
    case ZOP_CHECK:
        return prep_check(p, q, r, out);
    case ZOP_DELETE_CONTAINER:
        return prep_delete_container(p, r, zxid, out);
    case ZOP_CREATE_SESSION:
        return prep_create_session(r, out);
    case ZOP_CLOSE_SESSION:
        return prep_close_session(p, q, zxid, out);
    default:
        return ZERR_UNIMPLEMENTED;
    }
}

/*
 * Reads over one operation. 0 or why the multi as a whole is refused: MARSHALLINGERROR as soon as
 * it shows, null paths only when all has been read (*null_path).
 */
static int prep_multi_skip(struct jr *r, int32_t type, bool *null_path) {
    struct req_create c;
    struct slice path;
    switch (type) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        c = jr_req_create(r, type);
        path = c.path;
        if (r->bad || type == ZOP_CREATE_TTL) break;
        /* stock: only these three headers look at mode and list while they are read */
        if (c.flags < MODE_PERSISTENT || c.flags >= MODE_TTL) return ZERR_MARSHALLINGERROR;
        if (!c.acl.p) return PREP_UNREADABLE;
        break;
    case ZOP_DELETE:
    case ZOP_CHECK:
        path = jr_req_path_i32(r).path;
        break;
    case ZOP_SET_DATA:
        path = jr_req_set_data(r).path;
        break;
    default:
        return ZERR_MARSHALLINGERROR;
    }
    if (r->bad) return ZERR_MARSHALLINGERROR;
    if (!path.p) *null_path = true;
    return 0;
}

ZK_PRIVATE int prep_multi_check(struct jr r, int32_t *count) {
    bool null_path = false;
    *count = 0;
    for (;;) {
        struct multi_header h = jr_multi_header(&r);
        if (r.bad) return ZERR_MARSHALLINGERROR;
        if (h.done) return null_path ? ZERR_MARSHALLINGERROR : 0;
        int err = prep_multi_skip(&r, h.type, &null_path);
        if (err) return err;
        ++*count;
    }
}

/* stock: Op.create picks the operation from header and mode, MultiOperationRecord. */
static int32_t prep_multi_op(int32_t type, struct jr at) {
    if (type != ZOP_CREATE && type != ZOP_CREATE2 && type != ZOP_CREATE_CONTAINER &&
        type != ZOP_CREATE_TTL)
        return type;
    struct req_create c = jr_req_create(&at, type);
    if (c.flags == MODE_CONTAINER) return ZOP_CREATE_CONTAINER;
    if (type != ZOP_CREATE_TTL) return type;
    return c.flags == MODE_TTL || c.flags == MODE_TTL_SEQUENTIAL ? ZOP_CREATE_TTL : ZOP_CREATE;
}

/* Prepares the operations in turn; after the first failure the rest is not looked at. */
static int prep_multi(struct prep *p, const struct prep_request *q, struct jr *r, int64_t zxid,
                      struct buf *out) {
    int32_t count;
    int err = prep_multi_check(*r, &count), failed = 0;
    if (err) return err;
    uint32_t mark = p->tail;
    uint64_t digest = p->digest;
    size_t start = out->n;
    jw_i32(out, count);
    for (int32_t i = 0; i < count; i++) {
        int32_t type = jr_multi_header(r).type, op = prep_multi_op(type, *r);
        size_t at = out->n;
        struct jr next = *r;
        bool null_path;
        (void)prep_multi_skip(&next, type, &null_path);
        jw_i32(out, op);
        jw_i32(out, 0);
        int e = failed ? ZERR_RUNTIMEINCONSISTENCY : prep_one(p, q, op, r, zxid, out);
        if (e == ZERR_MARSHALLINGERROR) {
            prep_rollback(p, mark, digest);
            return ZERR_MARSHALLINGERROR; /* stock: an exception fails the multi as a whole */
        }
        if (e) {
            out->n = at;
            jw_i32(out, ZOP_ERROR);
            jw_i32(out, 4);
            jw_i32(out, e);
            failed = failed ? failed : e;
        }
        if (out->n - start > p->cfg.max_record) {
            prep_rollback(p, mark, digest);
            return ZERR_BADARGUMENTS; /* an entry that large would keep servers from starting */
        }
        put_be32(out->p + at + 4, (uint32_t)(out->n - at - 8));
        *r = next;
    }
    if (failed) prep_rollback(p, mark, digest);
    return 0; /* the reply says 0 and carries a result per operation */
}

/* Whether a stock leader gets through this list: it compares the entries with each other, then
 * reads scheme and identity, but of `auth` only the scheme. (kazoo sends empty strings as null.) */
static bool prep_acl_whole(struct slice vector) {
    struct jr r = jr_open(vector, UINT32_MAX);
    int32_t n = jr_count(&r), own = 0;
    bool open = false;
    for (int32_t i = 0; i < n; i++) {
        struct wire_acl a = jr_acl_entry(&r);
        if (r.bad) return false;
        if (!a.scheme.p) return n == 1; /* refused at once */
        bool is_own = slice_is(a.scheme, "auth");
        if (!a.id.p && !is_own) return false;
        own += is_own;
        open = open || !a.id.p;
    }
    return vector.p && !r.bad && (own < 2 || !open);
}

static bool prep_readable_one(int32_t op, struct jr *r) {
    struct req_create c;
    struct req_set s;
    switch (op) {
    case ZOP_CREATE:
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        c = jr_req_create(r, op);
        return !r->bad && c.path.p && prep_acl_whole(c.acl);
    case ZOP_DELETE:
    case ZOP_CHECK:
        return jr_req_path_i32(r).path.p && !r->bad;
    case ZOP_SET_DATA:
        return jr_req_set_data(r).path.p && !r->bad;
    case ZOP_SET_ACL:
        s = jr_req_set_acl(r);
        return !r->bad && s.path.p && prep_acl_whole(s.data);
    case ZOP_RECONFIG:
        for (int i = 0; i < 3; i++) (void)jr_bytes(r); /* joining, leaving, new members */
        (void)jr_i64(r);
        return !r->bad;
    default:
        return true;
    }
}

ZK_PRIVATE bool prep_readable(int32_t op, struct slice body) {
    struct jr r = jr_open(body, UINT32_MAX);
    while (op == ZOP_MULTI) {
        struct multi_header h = jr_multi_header(&r);
        struct jr ahead = r;
        bool null_path;
        if (r.bad || h.done) return !r.bad;
        if (prep_multi_skip(&ahead, h.type, &null_path) || !prep_readable_one(h.type, &r))
            return false;
    }
    return prep_readable_one(op, &r);
}

/* stock: a standalone server refuses what only a leader could do. */
static int prep_reconfig(const struct prep *p, const struct prep_request *q, struct jr *r) {
    for (int i = 0; i < 3; i++) (void)jr_bytes(r); /* joining, leaving, new members */
    (void)jr_i64(r);
    if (r->bad) return PREP_UNREADABLE;
    if (!p->cfg.reconfig) return ZERR_RECONFIGDISABLED;
    int err = prep_session(p, q);
    return err ? err : ZERR_UNIMPLEMENTED;
}

ZK_PRIVATE int prep_write(struct prep *p, const struct prep_request *q, struct buf *out,
                          bool *made) {
    struct jr r = jr_open(q->body, UINT32_MAX);
    size_t at = out->n;
    int64_t zxid = p->zxid + 1;
    struct txn_header h = {q->session, q->cxid, zxid, q->time, q->op};
    uint32_t mark = p->tail;
    uint64_t digest = p->digest;
    int err;
    jw_txn_header(out, &h);
    if (q->op == ZOP_MULTI)
        err = prep_multi(p, q, &r, zxid, out);
    else if (q->op == ZOP_RECONFIG)
        err = prep_reconfig(p, q, &r);
    else
        err = prep_one(p, q, q->op, &r, zxid, out);
    if (!err && out->n - at + 12 > p->cfg.max_record) {
        /* An entry that large would keep every server from starting again. */
        prep_rollback(p, mark, digest);
        err = ZERR_BADARGUMENTS;
    }
    if (err == PREP_UNREADABLE && q->forwarded) err = ZERR_MARSHALLINGERROR;
    *made = err != PREP_UNREADABLE;
    if (!*made) {
        out->n = at;
        return ZERR_MARSHALLINGERROR;
    }
    p->zxid = zxid;
    if (err) {
        out->n = at;
        h.type = ZOP_ERROR;
        jw_txn_header(out, &h);
        jw_i32(out, err);
    } else if (p->cfg.digest) {
        jw_i32(out, 2);
        jw_i64(out, (int64_t)p->digest);
    }
    return err;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== store/logfile.h ==== */

/*
 * store/logfile: the bytes of a transaction log.
 *
 *   offset 0   magic "ZKLG"   4, version 2   4, dbid 0   8
 *   16         entries:  crc 8 (Adler-32 of the body, upper half 0), len 4, body len, 'B' 1
 *   ...        zeros to the end of the preallocation
 *
 * The body is TxnHeader, record, and usually a TxnDigest. The file is named after the zxid of its
 * first entry. Reading is by slices of a file that is wholly in memory or mapped.
 * stock: FileTxnLog, FileHeader, FilePadding.
 */
#ifndef ZK_LOGFILE_H
#define ZK_LOGFILE_H


#define LOGFILE_HEADER_LEN 16u
#define LOGFILE_ENTRY_OVERHEAD 13u

ZK_PRIVATE void logfile_put_header(uint8_t out[LOGFILE_HEADER_LEN]);
/* Writes one entry; out has room for body.n + LOGFILE_ENTRY_OVERHEAD bytes. */
ZK_PRIVATE void logfile_put_entry(uint8_t *out, struct slice body);

enum logfile_status {
    LOGFILE_ENTRY,    /* an entry was read */
    LOGFILE_END,      /* zeros or the end of the file: all well */
    LOGFILE_TORN,     /* the last entry is incomplete: the file ends before it */
    LOGFILE_BAD_MAGIC,
    LOGFILE_BAD_CRC,  /* a whole entry whose bytes are not what was written */
    LOGFILE_BAD_LENGTH
};

struct logfile {
    struct slice bytes; /* borrowed */
    size_t at;          /* offset of the next entry */
    uint32_t max;       /* largest body */
    /* the entry that was read */
    struct txn_header header;
    struct slice record; /* after the header */
};

ZK_PRIVATE enum logfile_status logfile_open(struct logfile *f, struct slice bytes, uint32_t max);
ZK_PRIVATE enum logfile_status logfile_next(struct logfile *f);
/*
 * After LOGFILE_BAD_CRC: true when the entry is the last one written and a sector of it never
 * reached the disk (the file was zeros before it). Anything else is rot, not a torn write.
 */
ZK_PRIVATE bool logfile_tail_is_torn(const struct logfile *f);

/* "log.<hex>" and "snapshot.<hex>[.ext]": the zxid, -1 when it is no such name. stock: Util */
ZK_PRIVATE int64_t logfile_name_zxid(const char *name, const char *prefix);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== store/snapfile.h ==== */

/*
 * store/snapfile: the bytes of a snapshot.
 *
 *   magic "ZKSN" 4, version 2  4, dbid -1  8
 *   sessions     int count, { long id, int timeout }
 *   ACL lists    int count, { long id, vector<ACL> }
 *   nodes        { ustring path, buffer data, long acl id, StatPersisted 60 }, the root as ""
 *   end          ustring "/"
 *   seal         long Adler-32 of everything before it, ustring "/"
 *   digest       long zxid, int 2, long digest; seal
 *   last zxid    long; seal
 *
 * The writer makes the head and the tail; the nodes between them are the tree's image. The reader
 * is fed the file in pieces and builds a database; it trusts nothing, and a file whose first seal
 * does not match is refused whole. Both tail sections may be missing (older servers).
 * stock: FileSnap, SerializeUtils, DataTree.serialize.
 */
#ifndef ZK_SNAPFILE_H
#define ZK_SNAPFILE_H


/* Everything before the nodes, as of now. */
ZK_PRIVATE void snapfile_put_head(struct buf *out, const struct db *db);
/* ... without the file's header: what a leader sends. */
ZK_PRIVATE void snapfile_put_state(struct buf *out, const struct db *db);
/* Everything after the nodes; adler: of all bytes so far. */
ZK_PRIVATE void snapfile_put_tail(struct buf *out, uint32_t adler, int64_t zxid, uint64_t digest);

enum snapfile_section {
    SNAP_HEADER,
    SNAP_SESSION_COUNT,
    SNAP_SESSIONS,
    SNAP_ACL_COUNT,
    SNAP_ACLS,
    SNAP_NODES,
    SNAP_SEAL,
    SNAP_TAIL,
    SNAP_RECEIVED, /* of a stream: the signature has been read */
    SNAP_FAILED
};

struct snapfile {
    struct db *db; /* borrowed; must be empty: sessions, ACLs and nodes go there */
    enum snapfile_section section;
    bool stream;          /* from a leader, not from a file */
    uint32_t max;         /* longest string or buffer */
    int32_t left;         /* sessions or ACL lists still to come */
    struct buf in;        /* what has not been decoded yet */
    uint32_t adler;       /* of everything decoded */
    struct buf acl_ids;   /* int64 file id, u32 table id; repeated */
    struct map acl_index; /* file id -> position in acl_ids */
    struct slice parent;  /* path of the last parent, in parent_path */
    struct buf parent_path;
    uint32_t parent_id;
    uint64_t nodes;
    uint32_t missing_acls;
    char error[160];
    /* from the tail */
    bool has_digest;
    int64_t digest_zxid;
    uint64_t digest;
};

ZK_PRIVATE void snapfile_open(struct snapfile *s, struct db *db, uint32_t max);
/*
 * The same state as a leader sends it: no header, no seals, and a signature after the end of the
 * nodes. When `section` is SNAP_RECEIVED, what is left in `in` comes after the snapshot.
 */
ZK_PRIVATE void snapfile_open_stream(struct snapfile *s, struct db *db, uint32_t max);
ZK_PRIVATE bool snapfile_feed(struct snapfile *s, struct slice bytes); /* false: see error */
/* All bytes have been fed: true when the file is whole. */
ZK_PRIVATE bool snapfile_finish(struct snapfile *s);
ZK_PRIVATE void snapfile_close(struct snapfile *s);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== store/unpack.h ==== */

/*
 * store/unpack: the two compressions a snapshot file can have.
 *
 *   gzip    RFC 1952: 1f 8b 08, flags, time 4, 2 bytes, optional fields; deflate (RFC 1951);
 *           CRC-32 of the content 4 LE, its length modulo 2^32 4 LE
 *   snappy  82 'SNAPPY' 00, int version, int oldest reader; then { int n, raw block of n bytes }
 *
 * The file is wholly in memory or mapped; what it holds is handed out in pieces, so that a small
 * file which swells to terabytes costs time and no memory: the consumer stops it with the first
 * thing that is no snapshot. Nothing is believed of what the bytes say about sizes.
 * stock: SnapStream over java.util.zip.GZIPInputStream and org.xerial.snappy.SnappyInputStream.
 */
#ifndef ZK_UNPACK_H
#define ZK_UNPACK_H


/* Takes the content piece by piece; false ends the unpacking. */
struct unpack_sink {
    bool (*take)(void *ctx, struct slice piece);
    void *ctx;
};

enum unpack_status {
    UNPACK_OK,
    UNPACK_REFUSED, /* by the sink */
    UNPACK_SHORT,   /* the bytes end too early */
    UNPACK_BAD      /* the bytes are not what they claim to be, or a checksum does not match */
};

/* One gzip member; bytes after it are ignored. */
ZK_PRIVATE enum unpack_status unpack_gzip(struct slice in, const struct unpack_sink *sink);
ZK_PRIVATE enum unpack_status unpack_snappy(struct slice in, const struct unpack_sink *sink);
ZK_PRIVATE const char *unpack_why(enum unpack_status status);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== store/logfile.c ==== */



#define LOGFILE_EOR 0x42u
#define LOGFILE_SECTOR 512u

ZK_PRIVATE void logfile_put_header(uint8_t out[LOGFILE_HEADER_LEN]) {
    memcpy(out, "ZKLG", 4);
    put_be32(out + 4, 2);
    put_be64(out + 8, 0);
}

ZK_PRIVATE void logfile_put_entry(uint8_t *out, struct slice body) {
    put_be64(out, sum_adler32(SUM_ADLER32_INIT, body.p, body.n));
    put_be32(out + 8, (uint32_t)body.n);
    memcpy(out + 12, body.p, body.n);
    out[12 + body.n] = LOGFILE_EOR;
}

ZK_PRIVATE enum logfile_status logfile_open(struct logfile *f, struct slice bytes, uint32_t max) {
    memset(f, 0, sizeof *f);
    f->bytes = bytes;
    f->max = max;
    f->at = LOGFILE_HEADER_LEN;
    if (bytes.n < LOGFILE_HEADER_LEN) return LOGFILE_TORN;
    return memcmp(bytes.p, "ZKLG", 4) == 0 ? LOGFILE_ENTRY : LOGFILE_BAD_MAGIC;
}

ZK_PRIVATE enum logfile_status logfile_next(struct logfile *f) {
    const uint8_t *p = f->bytes.p + f->at;
    size_t left = f->bytes.n - f->at;
    if (left == 0) return LOGFILE_END;
    if (left < 12) return LOGFILE_TORN;
    uint32_t len = be32(p + 8);
    if (len == 0) return LOGFILE_END;
    if (len > f->max) return LOGFILE_BAD_LENGTH;
    if (left < len + (size_t)LOGFILE_ENTRY_OVERHEAD) return LOGFILE_TORN;
    if (p[12 + len] != LOGFILE_EOR) return LOGFILE_TORN;
    if (be64(p) != sum_adler32(SUM_ADLER32_INIT, p + 12, len)) return LOGFILE_BAD_CRC;
    struct jr r = jr_open(slice_of(p + 12, len), f->max);
    f->header = jr_txn_header(&r);
    if (r.bad) return LOGFILE_TORN; /* stock: EOF while decoding ends the file */
    f->record = slice_of(r.p, (size_t)(r.end - r.p));
    f->at += len + (size_t)LOGFILE_ENTRY_OVERHEAD;
    return LOGFILE_ENTRY;
}

static bool logfile_zeros(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p == 0) p++;
    return p == end;
}

ZK_PRIVATE bool logfile_tail_is_torn(const struct logfile *f) {
    const uint8_t *base = f->bytes.p, *file_end = base + f->bytes.n;
    uint32_t len = be32(base + f->at + 8);
    if (len > f->max) return false;
    size_t end = f->at + len + LOGFILE_ENTRY_OVERHEAD;
    if (end > f->bytes.n || !logfile_zeros(base + end, file_end)) return false;
    for (size_t from = f->at; from < end;) {
        size_t to = (from / LOGFILE_SECTOR + 1) * LOGFILE_SECTOR;
        if (to > end) to = end;
        if (to - from >= 16 && logfile_zeros(base + from, base + to)) return true;
        from = to;
    }
    return false;
}

ZK_PRIVATE int64_t logfile_name_zxid(const char *name, const char *prefix) {
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0 || name[n] != '.') return -1;
    uint64_t v = 0;
    const char *p = name + n + 1;
    if (!*p || *p == '.') return -1;
    for (; *p && *p != '.'; p++) {
        int c = *p | 0x20;
        int d = *p >= '0' && *p <= '9' ? *p - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (d < 0 || v >> 59) return -1;
        v = v << 4 | (unsigned)d;
    }
    return (int64_t)v;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== store/snapfile.c ==== */


#include <stdio.h>


#define SNAPFILE_HEADER_LEN 16u
#define SNAPFILE_SEAL_LEN 13u
#define SNAPFILE_DIGEST_LEN 20u

/* --- writing --- */

ZK_PRIVATE void snapfile_put_head(struct buf *out, const struct db *db) {
    buf_put(out, "ZKSN", 4);
    jw_i32(out, 2);
    jw_i64(out, -1);
    snapfile_put_state(out, db);
}

ZK_PRIVATE void snapfile_put_state(struct buf *out, const struct db *db) {
    const struct session_table *t = &db->sessions;
    jw_i32(out, (int32_t)t->committed);
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->slots[i].live || !t->slots[i].committed) continue;
        jw_i64(out, t->slots[i].id);
        jw_i32(out, t->slots[i].timeout);
    }
    size_t at = out->n;
    int32_t lists = 0;
    jw_i32(out, 0);
    for (uint32_t i = 1; i < db->acls.n; i++) {
        if (!db->acls.entries[i].refs) continue;
        jw_i64(out, i);
        jw_raw(out, db->acls.entries[i].bytes);
        lists++;
    }
    put_be32(out->p + at, (uint32_t)lists);
}

static uint32_t snapfile_put_seal(struct buf *out, size_t from, uint32_t adler) {
    adler = sum_adler32(adler, out->p + from, out->n - from);
    from = out->n;
    jw_i64(out, adler);
    jw_str(out, "/");
    return sum_adler32(adler, out->p + from, out->n - from);
}

ZK_PRIVATE void snapfile_put_tail(struct buf *out, uint32_t adler, int64_t zxid, uint64_t digest) {
    size_t from = out->n;
    jw_str(out, "/");
    adler = snapfile_put_seal(out, from, adler);
    from = out->n;
    jw_i64(out, zxid);
    jw_i32(out, 2);
    jw_i64(out, zxid ? (int64_t)digest : 0); /* stock: a fresh tree has the empty digest */
    adler = snapfile_put_seal(out, from, adler);
    from = out->n;
    jw_i64(out, zxid);
    (void)snapfile_put_seal(out, from, adler);
}

/* --- reading --- */

ZK_PRIVATE void snapfile_open(struct snapfile *s, struct db *db, uint32_t max) {
    memset(s, 0, sizeof *s);
    s->db = db;
    s->max = max;
    s->adler = SUM_ADLER32_INIT;
    s->parent_id = TREE_NONE;
}

ZK_PRIVATE void snapfile_open_stream(struct snapfile *s, struct db *db, uint32_t max) {
    snapfile_open(s, db, max);
    s->stream = true;
    s->section = SNAP_SESSION_COUNT;
}

static bool snapfile_fail(struct snapfile *s, const char *why) {
    if (s->section != SNAP_FAILED) (void)snprintf(s->error, sizeof s->error, "%s", why);
    s->section = SNAP_FAILED;
    return false;
}

static bool snapfile_header(struct snapfile *s, struct jr *r) {
    int32_t magic = jr_i32(r);
    (void)jr_i32(r);
    (void)jr_i64(r);
    if (r->bad) return false;
    if (magic != 0x5a4b534e) return snapfile_fail(s, "not a snapshot: wrong magic number");
    s->section = SNAP_SESSION_COUNT;
    return true;
}

static bool snapfile_count(struct snapfile *s, struct jr *r, enum snapfile_section next) {
    s->left = jr_i32(r);
    if (r->bad) return false;
    if (s->left < 0) return snapfile_fail(s, "negative count");
    s->section = next;
    return true;
}

static bool snapfile_session(struct snapfile *s, struct jr *r) {
    if (s->left == 0) {
        s->section = SNAP_ACL_COUNT;
        return true;
    }
    int64_t id = jr_i64(r);
    int32_t timeout = jr_i32(r);
    if (r->bad) return false;
    if (timeout < 0) return snapfile_fail(s, "negative session timeout");
    struct session_table *t = &s->db->sessions;
    uint32_t i = session_add(t, id, timeout); /* may move the slots */
    struct session *e = &t->slots[i];
    if (!e->committed) t->committed++;
    e->committed = true;
    e->timeout = timeout;
    s->left--;
    return true;
}

static uint32_t *snapfile_acl_slot(struct snapfile *s, int64_t file_id, uint32_t *store) {
    struct map_iter it;
    uint32_t at = map_first(&s->acl_index, hash_u64((uint64_t)file_id), &it);
    for (; at != MAP_NONE; at = map_next(&s->acl_index, &it)) {
        int64_t id;
        memcpy(&id, s->acl_ids.p + at, sizeof id);
        if (id != file_id) continue;
        memcpy(store, s->acl_ids.p + at + sizeof id, sizeof *store);
        return store;
    }
    return NULL;
}

static bool snapfile_acl(struct snapfile *s, struct jr *r) {
    if (s->left == 0) {
        s->section = SNAP_NODES;
        return true;
    }
    int64_t id = jr_i64(r);
    struct slice list = jr_acl(r);
    uint32_t known;
    if (r->bad) return false;
    if (!list.p) return snapfile_fail(s, "null ACL list");
    if (!snapfile_acl_slot(s, id, &known)) {
        uint32_t at = (uint32_t)s->acl_ids.n, mine = acl_intern(&s->db->acls, list);
        buf_put(&s->acl_ids, &id, sizeof id);
        buf_put(&s->acl_ids, &mine, sizeof mine);
        map_add(&s->acl_index, hash_u64((uint64_t)id), at);
    }
    s->left--;
    return true;
}

/*
 * A node whose list is not in the file (stock can lose one in a fuzzy snapshot) gets a list that
 * lets nobody in; the replay of its transaction puts the right one there.
 */
static uint32_t snapfile_node_acl(struct snapfile *s, int64_t file_id) {
    static const uint8_t nobody[] = "\0\0\0\1\0\0\0\0\0\0\0\5world\0\0\0\6anyone";
    uint32_t id;
    if (file_id == -1) return ACL_OPEN;
    if (snapfile_acl_slot(s, file_id, &id)) return acl_ref(&s->db->acls, id);
    s->missing_acls++;
    return acl_intern(&s->db->acls, slice_of(nobody, sizeof nobody - 1));
}

static uint32_t snapfile_parent(struct snapfile *s, struct slice path) {
    struct slice parent = path_parent(path);
    if (s->parent_id != TREE_NONE && slice_eq(parent, s->parent)) return s->parent_id;
    s->parent_id = tree_lookup(&s->db->tree, parent);
    buf_clear(&s->parent_path);
    buf_put(&s->parent_path, parent.p, parent.n);
    s->parent = buf_slice(&s->parent_path);
    return s->parent_id;
}

static bool snapfile_node(struct snapfile *s, struct jr *r) {
    struct slice path = jr_bytes(r);
    if (r->bad) return false;
    if (!path.p) return snapfile_fail(s, "null path");
    if (slice_is(path, "/")) {
        s->section = SNAP_SEAL;
        return true;
    }
    struct slice data = jr_bytes(r);
    int64_t acl = jr_i64(r);
    struct zstat st;
    st.czxid = jr_i64(r);
    st.mzxid = jr_i64(r);
    st.ctime = jr_i64(r);
    st.mtime = jr_i64(r);
    st.version = jr_i32(r);
    st.cversion = jr_i32(r);
    st.aversion = jr_i32(r);
    st.owner = jr_i64(r);
    st.pzxid = jr_i64(r);
    if (r->bad) return false;
    struct tree *t = &s->db->tree;
    uint32_t parent = TREE_NONE;
    if (path_has_parent(path)) {
        parent = snapfile_parent(s, path);
        if (parent == TREE_NONE) return snapfile_fail(s, "a node without its parent");
        struct slice name = path_name(path);
        if (!name.n || tree_child(t, parent, name) != TREE_NONE)
            return snapfile_fail(s, "a node twice, or without a name");
    } else if (path.n || t->count) {
        return snapfile_fail(s, "a path without a slash");
    }
    if (t->count == 0 && parent != TREE_NONE) return snapfile_fail(s, "the root is missing");
    (void)tree_add(t, parent, path, data, snapfile_node_acl(s, acl), &st);
    s->nodes++;
    return true;
}

static bool snapfile_check_seal(struct jr *r, uint32_t adler) {
    int64_t sum = jr_i64(r);
    struct slice mark = jr_bytes(r);
    return !r->bad && sum == (int64_t)adler && slice_is(mark, "/");
}

/* Decodes one thing; false when there is not enough yet, or it is wrong. */
static bool snapfile_one(struct snapfile *s, struct jr *r) {
    switch (s->section) {
    case SNAP_HEADER:
        return snapfile_header(s, r);
    case SNAP_SESSION_COUNT:
        return snapfile_count(s, r, SNAP_SESSIONS);
    case SNAP_SESSIONS:
        return snapfile_session(s, r);
    case SNAP_ACL_COUNT:
        return snapfile_count(s, r, SNAP_ACLS);
    case SNAP_ACLS:
        return snapfile_acl(s, r);
    case SNAP_NODES:
        return snapfile_node(s, r);
    default:
        return false;
    }
}

static bool snapfile_signature(struct snapfile *s) {
    struct jr r = jr_open(buf_slice(&s->in), s->max);
    struct slice signature = jr_bytes(&r);
    if (r.bad) return !r.oversize || snapfile_fail(s, "unreasonable length");
    if (!slice_is(signature, "BenWasHere")) return snapfile_fail(s, "the signature is missing");
    if (tree_lookup(&s->db->tree, slice_str("/")) == TREE_NONE)
        return snapfile_fail(s, "the root is missing");
    buf_consume(&s->in, signature.n + 4);
    quota_rebuild(&s->db->quota, &s->db->tree);
    s->section = SNAP_RECEIVED;
    return true;
}

ZK_PRIVATE bool snapfile_feed(struct snapfile *s, struct slice bytes) {
    buf_compact(&s->in);
    buf_put(&s->in, bytes.p, bytes.n);
    struct slice in = buf_slice(&s->in);
    struct jr r = jr_open(in, s->max);
    const uint8_t *done = r.p, *start = r.p;
    while (snapfile_one(s, &r)) done = r.p;
    if (s->section == SNAP_FAILED) return false;
    if (r.oversize) return snapfile_fail(s, "unreasonable length");
    s->adler = sum_adler32(s->adler, start, (size_t)(done - start));
    if (done > start) buf_consume(&s->in, (size_t)(done - start));
    if (s->stream) return s->section != SNAP_SEAL || snapfile_signature(s);
    if (s->section == SNAP_SEAL && buf_len(&s->in) >= SNAPFILE_SEAL_LEN) {
        struct slice seal = slice_of(buf_slice(&s->in).p, SNAPFILE_SEAL_LEN);
        struct jr q = jr_open(seal, s->max);
        if (!snapfile_check_seal(&q, s->adler)) return snapfile_fail(s, "checksum does not match");
        s->adler = sum_adler32(s->adler, seal.p, seal.n);
        buf_consume(&s->in, SNAPFILE_SEAL_LEN);
        s->section = SNAP_TAIL;
    }
    if (s->section == SNAP_TAIL && buf_len(&s->in) > 4096) s->in.n = s->in.head + 4096;
    return true;
}

/* The digest section and the last zxid, told apart by how many bytes are left. */
ZK_PRIVATE bool snapfile_finish(struct snapfile *s) {
    if (s->section == SNAP_FAILED) return false;
    if (s->section != SNAP_TAIL) return snapfile_fail(s, "the file ends too early");
    struct slice tail = buf_slice(&s->in);
    struct jr r = jr_open(tail, s->max);
    if (tail.n >= SNAPFILE_DIGEST_LEN + SNAPFILE_SEAL_LEN) {
        s->digest_zxid = jr_i64(&r);
        int32_t version = jr_i32(&r);
        s->digest = (uint64_t)jr_i64(&r);
        s->has_digest = version == 2;
        uint32_t adler = sum_adler32(s->adler, tail.p, SNAPFILE_DIGEST_LEN);
        if (version >= 2 && !snapfile_check_seal(&r, adler))
            return snapfile_fail(s, "checksum of the digest does not match");
    }
    if (tree_lookup(&s->db->tree, slice_str("/")) == TREE_NONE)
        return snapfile_fail(s, "the root is missing");
    quota_rebuild(&s->db->quota, &s->db->tree);
    return true;
}

ZK_PRIVATE void snapfile_close(struct snapfile *s) {
    for (size_t at = 0; at < s->acl_ids.n; at += 12) {
        uint32_t id;
        memcpy(&id, s->acl_ids.p + at + 8, sizeof id);
        acl_unref(&s->db->acls, id); /* lists that no node uses go away here */
    }
    buf_free(&s->in);
    buf_free(&s->acl_ids);
    buf_free(&s->parent_path);
    map_free(&s->acl_index);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== store/unpack.c ==== */



#define UNPACK_WINDOW 32768u /* how far back a match may reach */
#define UNPACK_PIECE 65536u  /* content handed out at a time */
#define UNPACK_BITS 15       /* longest Huffman code */
#define UNPACK_NO_CODE 0xffffu
#define SNAPPY_MAGIC_LEN 16u
#define SNAPPY_RATIO 64u /* a block cannot swell by more than 64 / 3 */

ZK_PRIVATE const char *unpack_why(enum unpack_status status) {
    return status == UNPACK_SHORT ? "the compressed data ends too early"
                                  : "the compressed data is damaged";
}

/* --- deflate: bits and codes --- */

/* A Huffman code as one table: the next 15 bits -> symbol << 4 | length of its code. */
struct unpack_code {
    uint16_t at[1u << UNPACK_BITS];
};

struct inflate {
    const uint8_t *p, *end; /* borrowed */
    uint64_t bits;          /* the lowest `n_bits` are the next ones */
    unsigned n_bits;
    enum unpack_status status; /* sticky */
    struct unpack_code literals, distances;
    uint8_t out[UNPACK_WINDOW + UNPACK_PIECE]; /* the window, then what is not handed out yet */
    size_t n, given; /* end of the content in `out`; up to here it has been handed out */
    uint64_t total;  /* bytes handed out */
    uint32_t crc;
    const struct unpack_sink *sink;
};

static void inflate_fail(struct inflate *f, enum unpack_status why) {
    if (f->status == UNPACK_OK) f->status = why;
}

static void inflate_fill(struct inflate *f) {
    while (f->n_bits <= 56 && f->p < f->end) {
        f->bits |= (uint64_t)*f->p++ << f->n_bits;
        f->n_bits += 8;
    }
}

/* The next n bits, n <= 16; zeros once something is wrong. */
static unsigned inflate_bits(struct inflate *f, unsigned n) {
    inflate_fill(f);
    if (n > f->n_bits) inflate_fail(f, UNPACK_SHORT);
    if (f->status != UNPACK_OK) return 0;
    unsigned v = (unsigned)(f->bits & ((1u << n) - 1));
    f->bits >>= n;
    f->n_bits -= n;
    return v;
}

static unsigned inflate_symbol(struct inflate *f, const struct unpack_code *c) {
    inflate_fill(f);
    uint16_t e = c->at[f->bits & ((1u << UNPACK_BITS) - 1)];
    if (e == UNPACK_NO_CODE) inflate_fail(f, UNPACK_BAD);
    if (e != UNPACK_NO_CODE && (e & 15u) > f->n_bits) inflate_fail(f, UNPACK_SHORT);
    if (f->status != UNPACK_OK) return 0;
    f->bits >>= e & 15u;
    f->n_bits -= e & 15u;
    return e >> 4;
}

static unsigned inflate_reverse(unsigned code, unsigned len) {
    unsigned r = 0;
    for (; len--; code >>= 1) r = r << 1 | (code & 1);
    return r;
}

/*
 * Canonical codes from their lengths: shorter ones first, equal ones in the order of the symbols.
 * More codes than there is room for are an error; fewer are not (RFC 1951 allows one distance
 * code alone), what is left over decodes as an error.
 */
static void inflate_build(struct inflate *f, struct unpack_code *c, const uint8_t *lens,
                          unsigned n) {
    unsigned code = 0;
    memset(c->at, 0xff, sizeof c->at);
    for (unsigned len = 1; len <= UNPACK_BITS; len++, code <<= 1) {
        for (unsigned sym = 0; sym < n; sym++) {
            if (lens[sym] != len) continue;
            if (code >= 1u << len) {
                inflate_fail(f, UNPACK_BAD);
                return;
            }
            for (unsigned i = inflate_reverse(code++, len); i < 1u << UNPACK_BITS; i += 1u << len)
                c->at[i] = (uint16_t)(sym << 4 | len);
        }
    }
}

/* --- deflate: content --- */

/* Hands out everything and moves the window to the front. */
static void inflate_give(struct inflate *f) {
    struct slice piece = slice_of(f->out + f->given, f->n - f->given);
    if (f->status != UNPACK_OK || !piece.n) return;
    f->crc = sum_crc32(f->crc, piece.p, piece.n);
    f->total += piece.n;
    if (!f->sink->take(f->sink->ctx, piece)) inflate_fail(f, UNPACK_REFUSED);
    size_t keep = f->n < UNPACK_WINDOW ? f->n : UNPACK_WINDOW;
    memmove(f->out, f->out + f->n - keep, keep);
    f->n = f->given = keep;
}

static void inflate_byte(struct inflate *f, uint8_t byte) {
    if (f->n == sizeof f->out) inflate_give(f);
    f->out[f->n++] = byte;
}

static void inflate_stored(struct inflate *f) {
    (void)inflate_bits(f, f->n_bits & 7); /* to the next whole byte */
    unsigned len = inflate_bits(f, 16), check = inflate_bits(f, 16);
    if (f->status == UNPACK_OK && (len ^ check) != 0xffff) inflate_fail(f, UNPACK_BAD);
    for (; len && f->status == UNPACK_OK; len--) {
        uint8_t byte = (uint8_t)inflate_bits(f, 8);
        if (f->status == UNPACK_OK) inflate_byte(f, byte);
    }
}

static void inflate_match(struct inflate *f, unsigned symbol) {
    static const uint16_t len_base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,
                                          15, 17, 19, 23, 27, 31, 35, 43, 51,  59,
                                          67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t len_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                          2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t dist_base[30] = {
        1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    if (symbol > 285) {
        inflate_fail(f, UNPACK_BAD);
        return;
    }
    unsigned len = len_base[symbol - 257] + inflate_bits(f, len_extra[symbol - 257]);
    unsigned d = inflate_symbol(f, &f->distances);
    if (d > 29) {
        inflate_fail(f, UNPACK_BAD);
        return;
    }
    size_t back = dist_base[d] + (size_t)inflate_bits(f, d < 4 ? 0 : d / 2 - 1);
    if (f->status == UNPACK_OK && back > f->n) inflate_fail(f, UNPACK_BAD);
    if (f->n + len > sizeof f->out) inflate_give(f);
    if (f->status != UNPACK_OK) return;
    for (; len; len--, f->n++) f->out[f->n] = f->out[f->n - back]; /* may overlap: byte by byte */
}

static void inflate_coded(struct inflate *f) {
    while (f->status == UNPACK_OK) {
        unsigned symbol = inflate_symbol(f, &f->literals);
        if (symbol == 256) return;
        if (f->status != UNPACK_OK) return;
        if (symbol < 256)
            inflate_byte(f, (uint8_t)symbol);
        else
            inflate_match(f, symbol);
    }
}

static void inflate_fixed_codes(struct inflate *f) {
    uint8_t lens[288];
    for (unsigned i = 0; i < 288; i++) lens[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    inflate_build(f, &f->literals, lens, 288);
    memset(lens, 5, 30);
    inflate_build(f, &f->distances, lens, 30);
}

/* The lengths of both codes are themselves Huffman coded, with runs. */
static void inflate_dynamic_codes(struct inflate *f) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14,
                                      1, 15};
    uint8_t lens[286 + 30 + 138] = {0}; /* a last run may go too far before it is noticed */
    unsigned literals = inflate_bits(f, 5) + 257, distances = inflate_bits(f, 5) + 1;
    unsigned orders = inflate_bits(f, 4) + 4, n = 0;
    for (unsigned i = 0; i < orders; i++) lens[order[i]] = (uint8_t)inflate_bits(f, 3);
    if (literals > 286 || distances > 30) inflate_fail(f, UNPACK_BAD);
    inflate_build(f, &f->literals, lens, 19);
    while (f->status == UNPACK_OK && n < literals + distances) {
        unsigned symbol = inflate_symbol(f, &f->literals), run = 1;
        uint8_t len = (uint8_t)symbol;
        if (symbol >= 16) len = symbol == 16 && n ? lens[n - 1] : 0;
        if (symbol == 16 && !n) inflate_fail(f, UNPACK_BAD);
        if (symbol == 16) run = 3 + inflate_bits(f, 2);
        if (symbol == 17) run = 3 + inflate_bits(f, 3);
        if (symbol == 18) run = 11 + inflate_bits(f, 7);
        memset(lens + n, len, run);
        n += run;
    }
    if (n != literals + distances) inflate_fail(f, UNPACK_BAD);
    if (f->status != UNPACK_OK) return;
    inflate_build(f, &f->literals, lens, literals);
    inflate_build(f, &f->distances, lens + literals, distances);
}

static void inflate_all(struct inflate *f) {
    bool last = false;
    while (!last && f->status == UNPACK_OK) {
        last = inflate_bits(f, 1) != 0;
        switch (inflate_bits(f, 2)) {
        case 0:
            inflate_stored(f);
            break;
        case 1:
            inflate_fixed_codes(f);
            inflate_coded(f);
            break;
        case 2:
            inflate_dynamic_codes(f);
            inflate_coded(f);
            break;
        default:
            inflate_fail(f, UNPACK_BAD);
        }
    }
    inflate_give(f);
    f->p -= f->n_bits / 8; /* whole bytes that were read ahead */
}

/* --- gzip --- */

/* Offset of the deflated data; 0 when the header is not whole or not gzip's. */
static size_t gzip_header(struct slice in) {
    enum { GZIP_CRC = 2, GZIP_EXTRA = 4, GZIP_NAME = 8, GZIP_COMMENT = 16 };
    if (in.n < 10 || in.p[0] != 0x1f || in.p[1] != 0x8b || in.p[2] != 8) return 0;
    unsigned flags = in.p[3], texts = (flags & GZIP_NAME ? 1 : 0) + (flags & GZIP_COMMENT ? 1 : 0);
    size_t at = 10;
    if (flags & GZIP_EXTRA) {
        if (in.n < at + 2) return 0;
        at += 2 + (size_t)(in.p[at] | (unsigned)in.p[at + 1] << 8);
    }
    for (; texts; texts--) {
        const uint8_t *nul = at < in.n ? memchr(in.p + at, 0, in.n - at) : NULL;
        if (!nul) return 0;
        at = (size_t)(nul - in.p) + 1;
    }
    if (flags & GZIP_CRC) at += 2;
    return at <= in.n ? at : 0;
}

static uint32_t unpack_le32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

ZK_PRIVATE enum unpack_status unpack_gzip(struct slice in, const struct unpack_sink *sink) {
    size_t at = gzip_header(in);
    if (!at) return UNPACK_BAD;
    struct inflate *f = mem_zalloc(sizeof *f);
    f->p = in.p + at;
    f->end = in.p + in.n;
    f->sink = sink;
    f->crc = SUM_CRC32_INIT;
    inflate_all(f);
    if (f->end - f->p < 8) {
        inflate_fail(f, UNPACK_SHORT);
    } else if (unpack_le32(f->p) != f->crc || unpack_le32(f->p + 4) != (uint32_t)f->total) {
        inflate_fail(f, UNPACK_BAD);
    }
    enum unpack_status status = f->status;
    mem_free(f);
    return status;
}

/* --- snappy --- */

struct snappy {
    const uint8_t *p, *end; /* borrowed */
    uint8_t *out;
    size_t n, max;
};

/* A number of 1..4 bytes, little-endian. */
static bool snappy_number(struct snappy *s, size_t bytes, size_t *v) {
    if ((size_t)(s->end - s->p) < bytes) return false;
    *v = 0;
    for (size_t i = 0; i < bytes; i++) *v |= (size_t)*s->p++ << 8 * i;
    return true;
}

static bool snappy_literal(struct snappy *s, unsigned tag) {
    size_t len = tag >> 2;
    if (len >= 60 && !snappy_number(s, len - 59, &len)) return false;
    len++;
    if (len > (size_t)(s->end - s->p) || len > s->max - s->n) return false;
    memcpy(s->out + s->n, s->p, len);
    s->p += len;
    s->n += len;
    return true;
}

static bool snappy_copy(struct snappy *s, unsigned tag) {
    size_t len = (tag >> 2) + 1, back;
    unsigned kind = tag & 3;
    if (!snappy_number(s, kind == 3 ? 4 : kind, &back)) return false;
    if (kind == 1) {
        len = (tag >> 2 & 7) + 4;
        back |= (size_t)(tag >> 5) << 8;
    }
    if (!back || back > s->n || len > s->max - s->n) return false;
    for (; len; len--, s->n++) s->out[s->n] = s->out[s->n - back]; /* may overlap */
    return true;
}

/* The length that a raw block claims; false when it cannot be true. */
static bool snappy_length(struct snappy *s, size_t *len) {
    size_t room = (size_t)(s->end - s->p);
    *len = 0;
    for (unsigned shift = 0; shift <= 28 && s->p < s->end; shift += 7) {
        *len |= (size_t)(*s->p & 0x7f) << shift;
        if (!(*s->p++ & 0x80)) return *len <= room * SNAPPY_RATIO;
    }
    return false;
}

static enum unpack_status snappy_block(struct slice in, const struct unpack_sink *sink,
                                       struct buf *out) {
    struct snappy s = {.p = in.p, .end = in.p + in.n};
    if (!snappy_length(&s, &s.max)) return UNPACK_BAD;
    buf_clear(out);
    s.out = buf_grow(out, s.max);
    while (s.p < s.end) {
        unsigned tag = *s.p++;
        if (!((tag & 3) == 0 ? snappy_literal(&s, tag) : snappy_copy(&s, tag))) return UNPACK_BAD;
    }
    if (s.n != s.max) return UNPACK_BAD;
    return !s.n || sink->take(sink->ctx, slice_of(s.out, s.n)) ? UNPACK_OK : UNPACK_REFUSED;
}

ZK_PRIVATE enum unpack_status unpack_snappy(struct slice in, const struct unpack_sink *sink) {
    enum unpack_status status = UNPACK_OK;
    struct buf out = {0};
    if (in.n < SNAPPY_MAGIC_LEN || memcmp(in.p, "\202SNAPPY\0", 8) != 0) return UNPACK_BAD;
    for (size_t at = SNAPPY_MAGIC_LEN; at < in.n && status == UNPACK_OK;) {
        if (in.n - at < 4 || be32(in.p + at) > in.n - at - 4) {
            status = UNPACK_SHORT;
            break;
        }
        uint32_t len = be32(in.p + at);
        status = snappy_block(slice_of(in.p + at + 4, len), sink, &out);
        at += len + (size_t)4;
    }
    buf_free(&out);
    return status;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/config.h ==== */

/*
 * config: what a zoo.cfg says.
 *
 * Turns the bytes of a configuration file into a struct config, with the grammar, the checks, their
 * order and their messages of the stock server (java.util.Properties, QuorumPeerConfig). Owns the
 * strings of the struct. Reads no file, resolves no name and looks at no directory: the host does.
 *
 * Three steps:
 *   text -> properties   logical lines, escapes, duplicates (the last wins); strings become UTF-8
 *   properties -> fields  by tables, in file order: name, kind, mark, field, default or reason
 *   fields -> checks      in the order of QuorumPeerConfig.parseProperties
 *
 * Every key has a mark. Obeyed keys have a field. Accepted keys have none, and a reason that is
 * logged. Refused keys ask for what is not built in, where going on without it would be wrong; they
 * are reported only after all checks that stock would make. Unknown keys are accepted with a
 * warning, as stock accepts them without one.
 *
 * stock: QuorumPeerConfig visits keys in hash order, so that with several bad keys the one that is
 * reported is a matter of luck there. Here it is the first in the file.
 */
#ifndef ZK_CONFIG_H
#define ZK_CONFIG_H


#define CONFIG_UNSET INT32_MIN /* of client_port and server_id: not given */
#define CONFIG_MEMBERS_MAX 256

/* How stock presents an error: alone, or as the cause of "Error processing <path of the file>". */
enum config_error { CONFIG_ERROR_PLAIN = 1, CONFIG_ERROR_WRAPPED = 2 };

enum config_metrics { CONFIG_METRICS_DEFAULT, CONFIG_METRICS_NULL };

/* One server.N line. */
struct config_member {
    int64_t id;
    bool observer;
    char *host; /* owned; of the first address, as written, without brackets */
    int32_t quorum_port, election_port;
    int32_t client_port;   /* CONFIG_UNSET when the line has no client part */
    char *client_host;     /* owned; NULL without a client part */
    int64_t group, weight; /* of a participant, where the config is hierarchical */
};

/* Strings are owned and NUL-terminated; NULL means not given. Units are part of the names. */
struct config {
    /* network */
    int32_t client_port;
    char *client_port_address; /* NULL: every address */
    int32_t listen_backlog;    /* -1: the system's choice */
    int32_t max_client_cnxns;  /* per client address; 0: unlimited */
    int32_t max_cnxns;         /* in all; 0: unlimited */
    bool tcp_keepalive;
    int32_t sessionless_timeout_ms; /* of a connection that never asked for a session */

    /* time and sessions */
    int32_t tick_time_ms, min_session_timeout_ms, max_session_timeout_ms;
    bool local_sessions, local_sessions_upgrading;

    /* files */
    char *data_dir, *data_log_dir; /* without version-2; as java.io.File writes paths */
    bool datadir_autocreate, db_autocreate, trust_empty_snapshot;
    int32_t snap_count;            /* transactions between snapshots, >= 2 */
    int64_t snap_size_limit_kb;    /* log bytes between snapshots; <= 0: not counted */
    int64_t txn_log_size_limit_kb; /* of one log file; <= 0: none */
    int64_t pre_alloc_size_kb;     /* <= 0: none */
    int32_t commit_log_count;      /* committed proposals kept in memory, >= 500 */
    double snapshot_size_factor;   /* share of a snapshot that is read from logs instead */
    bool force_sync;
    int64_t fsync_warning_ms;
    bool digest_enabled;
    int32_t autopurge_retain, autopurge_interval_h; /* interval <= 0: off */

    /* requests */
    bool extended_types, emulate353;
    int32_t jute_max_buffer, jute_extra_size; /* bytes; extra is >= 1024 */
    int32_t global_outstanding_limit;
    bool skip_acl, enforce_quota;
    int32_t large_request_max_bytes, large_request_threshold; /* threshold -1: off */
    int32_t connection_throttle_tokens, connection_throttle_fill_ms, connection_throttle_fill_count;
    int32_t connection_throttle_freeze_ms;
    double connection_throttle_drop_increase, connection_throttle_drop_decrease;
    double connection_throttle_decrease_ratio;
    bool connection_throttle_weighted;
    int32_t connection_throttle_global_weight, connection_throttle_local_weight;
    int32_t connection_throttle_renew_weight;
    int64_t container_check_interval_ms, container_max_per_minute, container_max_never_used_ms;

    /* security */
    char *super_digest; /* super:<base64 of SHA-1> */
    bool digest_auth;   /* whether the scheme digest exists */
    bool enforce_auth;
    char *enforce_auth_schemes; /* comma separated; not NULL when enforce_auth */

    /* operation */
    char *four_letter_whitelist; /* comma separated; * is all */
    enum config_metrics metrics;

    /* the ensemble; a standalone server reads none of them */
    int32_t init_limit, sync_limit, learner_master_limit; /* ticks */
    int32_t observer_master_port;
    bool quorum_listen_on_all_ips, sync_enabled, standalone_enabled, reconfig_enabled;
    bool multi_address, multi_address_check;
    int32_t multi_address_check_ms;
    char *dynamic_config_file; /* whose bytes go to config_parse_dynamic */
    bool leader_serves;       /* clients are served by the leader, too */
    bool force_snapshot_sync; /* learners get a snapshot, never a difference */
    int32_t cnx_timeout_ms;   /* to connect to an election port */
    int32_t quorum_cnxn_timeout_ms;      /* to hear from who connected to ours; <= 0: syncLimit */
    int32_t election_bind_retries;       /* 0: for ever */
    int32_t notification_min_ms, notification_max_ms; /* between repeated votes */
    int32_t leader_epoch_wait_ms;        /* for a quorum's epochs while a voter looks; -1: off */
    int32_t leader_connect_delay_ms;     /* between a learner's tries */
    int32_t observer_election_delay_ms;  /* the most an observer waits before it looks again */
    struct config_member *members; /* owned; by ascending id */
    uint32_t member_count;         /* <= CONFIG_MEMBERS_MAX */
    bool hierarchical;             /* quorums are made of groups with weights */
    int64_t members_version;       /* 0: never reconfigured */
    int64_t server_id; /* of myid; CONFIG_UNSET without one */

    /* filled by a call that failed */
    enum config_error error_kind;
    char error[512];

    /* read by the checks alone */
    int32_t election_alg, secure_client_port;
    char *secure_client_port_address, *peer_type, *metrics_class, *digest_algorithm;
    char *observer_sync; /* observer.syncEnabled, which has the last word over syncEnabled */
    bool sasl_enabled, sasl_server_required, sasl_learner_required;
    char refusal[256]; /* first refused key */
};

ZK_PRIVATE void config_defaults(struct config *c);
ZK_PRIVATE void config_free(struct config *c);

/*
 * -Dname=value words of a JVM's command line (SERVER_JVMFLAGS), others are passed over. Comes
 * after config_defaults and before config_parse: stock lets the file win.
 */
ZK_PRIVATE void config_jvm_flags(struct config *c, const char *flags, struct logq *log);

/* All return 0, or -1 with error and error_kind set. What is worth a log line goes to `log`. */
ZK_PRIVATE int config_parse(struct config *c, struct slice text, struct logq *log);
/* The file that dynamic_config_file names; comes after config_parse when that is not NULL. */
ZK_PRIVATE int config_parse_dynamic(struct config *c, struct slice text, struct logq *log);
/* The first line of <data_dir>/myid without its line end; not called without such a file. */
ZK_PRIVATE int config_parse_myid(struct config *c, struct slice line);
/* Instead of a file: port datadir [ticktime] [maxcnxns]; n is 2 to 4. */
ZK_PRIVATE int config_parse_args(struct config *c, int n, const char *const *args);

/*
 * The members as text, as servers tell it one another: server, group and weight lines, then the
 * version, without a line end. Of a list of addresses only the first is in it.
 * stock: QuorumMaj.toString, QuorumHierarchical.toString
 */
ZK_PRIVATE void config_string(const struct config *c, struct buf *out);
/* host, or [host] when it is an IPv6 literal. */
ZK_PRIVATE void config_put_host(struct buf *out, const char *host);

/* Whether the server is one of an ensemble. stock: QuorumPeerConfig.isDistributed */
ZK_PRIVATE bool config_distributed(const struct config *c);

/* The properties grammar by itself: keys and values are trimmed, keys are distinct. */
struct config_prop {
    char *key, *value; /* owned */
};
struct config_props {
    struct config_prop *at; /* owned; in the order in which keys first appear */
    uint32_t n, cap;
    struct map index; /* hash of the key -> position */
};

ZK_PRIVATE int config_props_load(struct config_props *p, struct slice text); /* -1: bad \uxxxx */
ZK_PRIVATE const char *config_props_get(const struct config_props *p, const char *key);
ZK_PRIVATE void config_props_free(struct config_props *p);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/link.h ==== */

/*
 * link: the connections between servers, as byte streams with numbers.
 *
 * A link is dialed by this server or accepted from another one. Whoever owns it reads `in`, writes
 * through link_out() and ends it with link_close(); what has to be done about that outside is left
 * as effects, which the node passes on to the host in order. The number of a link stays taken
 * until the host has said that the connection is gone, so no late byte can reach a stranger.
 *
 *   FREE -> DIALING -> OPEN -> CLOSING -> FREE       a dialed one
 *   FREE ------------> OPEN -> CLOSING -> FREE       an accepted one
 */
#ifndef ZK_LINK_H
#define ZK_LINK_H


#define LINK_NONE UINT32_MAX
#define LINK_HOST 256 /* bytes of a host name with its NUL */

enum link_kind { LINK_ELECTION, LINK_QUORUM }; /* the port it came in by, or was dialed to */

enum link_phase { LINK_FREE, LINK_DIALING, LINK_OPEN, LINK_CLOSING };

struct link {
    enum link_kind kind;
    enum link_phase phase;
    bool dialed; /* by us */
    bool dirty;  /* has a LINK_SEND effect under way */
    uint32_t next_free;
    int64_t since;  /* monotonic ms: when it was dialed or accepted */
    struct buf in;  /* bytes not consumed yet; the owner consumes */
    struct buf out; /* bytes the host has not taken yet */
    uint64_t sent;  /* bytes it has taken so far */
    char host[LINK_HOST]; /* dialed: the name or address, as configured */
    uint16_t port;
};

enum link_effect_kind {
    LINK_DIAL, /* connect to host and port */
    LINK_SEND, /* there are bytes in `out` */
    LINK_CLOSE /* send what can be sent at once, then hang up */
};

struct link_effect {
    enum link_effect_kind kind;
    uint32_t link;
};

struct links {
    struct link *at; /* owned */
    uint32_t n, cap, free_list, live;
    size_t in_max; /* unread bytes of a link beyond which the host stops receiving */
    struct buf effects; /* struct link_effect, oldest first */
};

/* in_max: more than the longest message. */
ZK_PRIVATE void links_init(struct links *l, size_t in_max);
ZK_PRIVATE void links_free(struct links *l);
ZK_PRIVATE struct link *link_at(struct links *l, uint32_t id); /* in use */
ZK_PRIVATE uint32_t link_dial(struct links *l, enum link_kind kind, const char *host,
                              uint16_t port, int64_t now);
ZK_PRIVATE uint32_t link_accepted(struct links *l, enum link_kind kind, int64_t now);
ZK_PRIVATE struct buf *link_out(struct links *l, uint32_t id); /* to append; any phase */
ZK_PRIVATE void link_close(struct links *l, uint32_t id);      /* again is fine */
ZK_PRIVATE bool link_take_effect(struct links *l, struct link_effect *e);

/* What the host has to tell. */
ZK_PRIVATE void link_opened(struct links *l, uint32_t id); /* the dialed connection stands */
/* Bytes came in: false when nobody wants them any more. */
ZK_PRIVATE bool link_received(struct links *l, uint32_t id, struct slice bytes);
/* Whether more should be received: what its owner does not read backs up to the peer. */
ZK_PRIVATE bool link_wants(const struct links *l, uint32_t id);
ZK_PRIVATE void link_sent(struct links *l, uint32_t id, size_t bytes);
ZK_PRIVATE void link_gone(struct links *l, uint32_t id); /* the number is free again */

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/packet.h ==== */

/*
 * packet: what goes over the quorum port. stock: QuorumPacket
 *
 *   int type, long zxid, buffer data, vector<Id> authinfo      Id: ustring scheme, ustring id
 *
 * There is no outer frame: a packet ends where its fields end.
 */
#ifndef ZK_PACKET_H
#define ZK_PACKET_H


/* M is the leader, L a learner. */
enum packet_type {
    PACKET_REQUEST = 1,       /* L: session, cxid, opcode, body; authinfo */
    PACKET_PROPOSAL = 2,      /* M: header, record, digest */
    PACKET_ACK = 3,           /* L: of a proposal; of NEWLEADER and UPTODATE: epoch << 32 */
    PACKET_COMMIT = 4,        /* M */
    PACKET_PING = 5,          /* M; echoed with the sessions touched */
    PACKET_REVALIDATE = 6,    /* L: session, timeout; M: session, bool */
    PACKET_SYNC = 7,          /* M: the oldest sync that was forwarded is answered */
    PACKET_INFORM = 8,        /* M to observers: as PROPOSAL, committed already */
    PACKET_COMMIT_AND_ACTIVATE = 9,
    PACKET_NEWLEADER = 10,    /* M: epoch << 32; configuration */
    PACKET_FOLLOWERINFO = 11, /* L: acceptedEpoch << 32; sid, version, configuration version */
    PACKET_UPTODATE = 12,     /* M */
    PACKET_DIFF = 13,         /* M: zxid the learner will be at */
    PACKET_TRUNC = 14,        /* M: zxid to cut to */
    PACKET_SNAP = 15,         /* M: zxid of the tree; the snapshot follows */
    PACKET_OBSERVERINFO = 16, /* L */
    PACKET_LEADERINFO = 17,   /* M: epoch << 32; version */
    PACKET_ACKEPOCH = 18,     /* L: last logged zxid; currentEpoch, or -1 */
    PACKET_INFORM_AND_ACTIVATE = 19
};

#define PACKET_VERSION 0x10000 /* of the protocol between learner and leader */
#define PACKET_LONGEST(max) (10 * (size_t)(max)) /* a packet with all its identities, bytes */
#define PACKET_SIGNATURE "BenWasHere" /* ends a snapshot on the wire */

struct packet {
    int32_t type;
    int64_t zxid;
    struct slice data; /* p == NULL: null */
    struct slice auth; /* the Ids, serialized one after the other; n_auth of them */
    int32_t n_auth;    /* -1: null */
};

enum packet_status {
    PACKET_MORE, /* not all of it is there */
    PACKET_READ,
    PACKET_BAD /* a length that cannot be */
};

/* Reads the packet at the front of in; slices borrow. max: longest data or string, bytes. */
ZK_PRIVATE enum packet_status packet_take(struct slice in, uint32_t max, struct packet *p,
                                          size_t *used);
/* data.p == NULL writes null; authinfo is null. */
ZK_PRIVATE void packet_put(struct buf *out, int32_t type, int64_t zxid, struct slice data);
/* The same with data written in between: begin leaves room for its length. */
ZK_PRIVATE size_t packet_begin(struct buf *out, int32_t type, int64_t zxid);
ZK_PRIVATE void packet_end_data(struct buf *out, size_t at); /* authinfo has to follow */
ZK_PRIVATE void packet_end(struct buf *out, size_t at);      /* ... is null */

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/history.h ==== */

/*
 * history: the newest transactions of this server's log, in memory.
 *
 * What is proposed comes in at the end, in zxid order and without a hole; what is committed is so
 * from the front. Committed ones are kept for learners that are a little behind, as many as
 * `keep`, and dropped from the front; others never are. Everything after `floor` is here: floor is
 * the zxid before the first entry, and the log's last zxid when there is none.
 * stock: ZKDatabase.committedLog, Leader.outstandingProposals
 */
#ifndef ZK_HISTORY_H
#define ZK_HISTORY_H


#define HISTORY_BYTES_MAX (64u << 20) /* committed ones beyond it go, down to HISTORY_LEAST */
#define HISTORY_LEAST 500u

struct history_entry {
    int64_t zxid;
    struct blob *blob; /* counted */
    uint32_t off, len; /* header, record, digest */
};

struct history {
    struct history_entry *ring; /* owned */
    uint32_t head, n, cap;
    uint32_t committed; /* of the n, from the front */
    uint32_t keep;
    size_t bytes;
    int64_t floor;
};

/* Forgets everything; the log ends with zxid last. */
ZK_PRIVATE void history_reset(struct history *h, int64_t last);
ZK_PRIVATE void history_free(struct history *h);
ZK_PRIVATE void history_add(struct history *h, int64_t zxid, struct blob *blob, uint32_t off,
                            uint32_t len);
ZK_PRIVATE void history_commit(struct history *h, int64_t zxid); /* everything up to it */
ZK_PRIVATE const struct history_entry *history_at(const struct history *h, uint32_t i);
ZK_PRIVATE uint32_t history_after(const struct history *h, int64_t zxid); /* first one beyond */
/* Whether a log that ends with zxid is a beginning of this one, as far as can be seen from here. */
ZK_PRIVATE bool history_knows(const struct history *h, int64_t zxid);
ZK_PRIVATE struct slice history_bytes(const struct history_entry *e);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/quorum.h ==== */

/*
 * quorum: who votes, and how many are enough.
 *
 * quorum_reached() is the one place that decides whether a set of servers can decide for all: votes
 * of an election, epochs, acknowledgements. Either a majority of the voters, or, where the config
 * has groups, a majority of the weight in a majority of the groups; groups and voters of no weight
 * do not count. stock: QuorumMaj, QuorumHierarchical
 *
 * A sidset is a set of members, a bit for each place in config.members. Strangers are never in it,
 * observers may be and do not count.
 */
#ifndef ZK_QUORUM_H
#define ZK_QUORUM_H


struct sidset {
    uint64_t bits[CONFIG_MEMBERS_MAX / 64];
};

ZK_PRIVATE void sidset_clear(struct sidset *s);
/* False when it was there already, or sid is no member. */
ZK_PRIVATE bool sidset_add(struct sidset *s, const struct config *cfg, int64_t sid);
ZK_PRIVATE bool sidset_has(const struct sidset *s, const struct config *cfg, int64_t sid);
ZK_PRIVATE void sidset_del(struct sidset *s, const struct config *cfg, int64_t sid);

/* NULL for a stranger. */
ZK_PRIVATE const struct config_member *quorum_member(const struct config *cfg, int64_t sid);
ZK_PRIVATE bool quorum_is_voter(const struct config *cfg, int64_t sid);
ZK_PRIVATE int64_t quorum_weight(const struct config *cfg, int64_t sid); /* 0: of no voter */
ZK_PRIVATE uint32_t quorum_voters(const struct config *cfg);
ZK_PRIVATE bool quorum_reached(const struct config *cfg, const struct sidset *acks);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/mesh.h ==== */

/*
 * mesh: the connections between election ports. stock: QuorumCnxManager
 *
 * Owns at most one channel to each other server, over links of kind LINK_ELECTION (all of those are
 * its own), and the last message to each. The connection that the larger id dialed is the one that
 * stays: who dials a larger id says its name and hangs up, and is dialed back.
 *
 *   dialed:    dialing -> opened: initial message -> channel (smaller id) | closed (larger id)
 *   accepted:  guest -> initial message complete -> channel (larger id) | closed, dialed back
 *
 * Initial message: long -65536 or -65535 (or, up to 3.4, only a long >= 0: the sid), long sid, int
 * length 1..2048, host:port|host:port...; it may come in pieces. Then, both ways, int length
 * 1..524288 and so many bytes.
 *
 * A queue holds one message per server: a new one takes the place of one that still waits, and the
 * last one is sent again on each new channel. Nothing is dialed but by mesh_send,
 * mesh_connect_all and as the answer to an initial message; there is no timer of its own for that.
 *
 * A server that is dark, slow or mad costs what it can cost and no more: guests, strangers, unsent
 * bytes and messages not taken are bounded, and nobody waits for anybody.
 *
 * stock: the channel to a smaller id is closed as soon as that one knocks; here when the new one
 * stands, so that nobody can cut it by knocking alone.
 */
#ifndef ZK_MESH_H
#define ZK_MESH_H


#define MESH_FRAME_MAX 524288
#define MESH_HELLO_MAX 2048            /* bytes of addresses in an initial message */
#define MESH_GUESTS_MAX 64             /* accepted, name not known yet; the oldest gives way */
#define MESH_STRANGERS_MAX 64          /* channels of servers that are no members */
#define MESH_OUT_MAX (64u << 10)       /* unsent bytes of a channel beyond which a message waits */
#define MESH_INBOX_MAX (1u << 20)      /* bytes not taken beyond which messages are dropped */
#define MESH_KNOCK_MS 100              /* how long a larger id has to dial back */
#define MESH_DARK_MS 50                /* ... before nobody waits for it */

struct mesh_peer {
    int64_t sid;
    bool member;         /* keeps its place; a stranger goes with its link */
    bool has_message, waiting; /* waiting: `message` is not on its way yet */
    bool dark;           /* it refused the last connection, or hung up; not tried again since */
    uint32_t channel, dialing; /* links, LINK_NONE */
    int64_t knocked;     /* monotonic ms: when it was told our name last; INT64_MIN: not since */
    struct buf message;  /* the last one to it */
};

struct mesh_guest {
    uint32_t link;
    int64_t deadline; /* monotonic ms */
};

struct mesh {
    const struct config *cfg; /* borrowed */
    struct links *links;      /* borrowed */
    struct logq *log;         /* borrowed */
    int64_t self, now;
    struct buf hello;         /* our initial message */
    struct mesh_peer *peers;  /* owned */
    uint32_t n_peers, cap_peers, strangers;
    struct mesh_guest guests[MESH_GUESTS_MAX]; /* oldest first */
    uint32_t n_guests;
    struct buf inbox; /* long sid, int length, bytes; repeated */
    struct buf taken; /* the message that mesh_take gave out */
};

/* `self` is a member of cfg. */
ZK_PRIVATE void mesh_init(struct mesh *m, const struct config *cfg, int64_t self,
                          struct links *links, struct logq *log);
ZK_PRIVATE void mesh_free(struct mesh *m);

/* To a stranger only while it has a channel; to oneself through the inbox. */
ZK_PRIVATE void mesh_send(struct mesh *m, int64_t sid, struct slice message, int64_t now);
/* Dials everybody who has been sent something and has no channel. */
ZK_PRIVATE void mesh_connect_all(struct mesh *m, int64_t now);
/* Whether somebody has been sent something and it has left. stock: haveDelivered */
ZK_PRIVATE bool mesh_delivered(const struct mesh *m);
/* It refused the last connection or hung up, and there is none nor an attempt at one since. */
ZK_PRIVATE bool mesh_dark(const struct mesh *m, int64_t sid);
/* The next message received, oldest first; valid until the next call of mesh_take. */
ZK_PRIVATE bool mesh_take(struct mesh *m, int64_t *sid, struct slice *message);

/* What happens to links of kind LINK_ELECTION. */
ZK_PRIVATE void mesh_accepted(struct mesh *m, uint32_t link, int64_t now);
ZK_PRIVATE void mesh_opened(struct mesh *m, uint32_t link, int64_t now); /* after link_opened */
ZK_PRIVATE void mesh_input(struct mesh *m, uint32_t link, int64_t now);  /* bytes in link->in */
ZK_PRIVATE void mesh_closed(struct mesh *m, uint32_t link, int64_t now); /* before link_gone */
ZK_PRIVATE bool mesh_owns(const struct mesh *m, uint32_t link);

ZK_PRIVATE void mesh_tick(struct mesh *m, int64_t now);
ZK_PRIVATE int64_t mesh_next_tick(const struct mesh *m); /* INT64_MAX: none is wanted */

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/election.h ==== */

/*
 * election: finding the leader. stock: FastLeaderElection
 *
 * Owns the mesh of election connections, the vote that this server holds, and while it looks for a
 * leader the votes of the others. Answers those who look at any time.
 *
 *   idle -> looking -> settling -> decided        idle: before the first look, and between the end
 *             ^---------------'                   of a role and election_look
 *
 * looking   proposes the best (epoch, zxid, id) it has heard of and tells every voter when that
 *           changes, and again and again at growing intervals.
 * settling  a quorum proposes the same: somebody better may still turn up, for 200 ms.
 * decided   state and vote are the result.
 * Or a quorum of servers that are not looking name a leader, which itself says that it leads.
 *
 * Notification: int state, long leader, long zxid, long round, long epoch, int version 2, int n,
 * n bytes of config string (44 + n). Received also: 28 bytes (no epoch: that of the zxid) and 40
 * (version not looked at).
 *
 * Here the settling ends early when it has no purpose: every voter either proposes the same or has
 * refused a connection or hung up. A server that is started a moment later joins as a follower.
 * An observer asks again every few seconds; stock: after up to a minute, as voters do.
 * stock: the 200 ms start again with every worse vote, so that one that talks all the time could
 * delay the rest; and the wait for a vote likewise. Here both are fixed when they begin. There
 * a newer round that brings nothing better is not looked at while settling; here it is joined, for
 * who is in it does not count in the old one any more.
 */
#ifndef ZK_ELECTION_H
#define ZK_ELECTION_H


#define ELECTION_SETTLE_MS 200
#define ELECTION_ASK_MS 5000 /* the longest that an observer waits before it asks again */

enum server_state { SERVER_LOOKING, SERVER_FOLLOWING, SERVER_LEADING, SERVER_OBSERVING }; /* wire */

struct election_vote {
    int64_t leader, zxid, round, epoch;
};

/* What a voter said last. */
struct election_ballot {
    bool cast;
    enum server_state state;
    int32_t version; /* of the layout */
    struct election_vote vote;
};

struct election {
    const struct config *cfg; /* borrowed */
    struct logq *log;         /* borrowed */
    struct mesh mesh;
    int64_t self;
    struct buf config; /* our config string */

    enum server_state state;
    struct election_vote vote; /* the result; stays what it was while looking */
    bool looking;              /* state is SERVER_LOOKING and the election is under way */
    bool voter_looked;         /* while not looking: a voter reported that it looks; the owner
                                  clears it */
    int64_t clock;             /* round of the last election */

    /* while looking */
    struct election_vote own;  /* what this server would propose by itself */
    struct election_vote proposal;
    struct election_ballot *ballots, *outside; /* owned; by place in cfg->members: of this round,
                                                  of those that are not looking. While not looking:
                                                  ballots of those that are */
    bool settling;
    int64_t settled_at, repeat_at; /* monotonic ms */
    int64_t interval;              /* ms, until the proposal is repeated */
};

/* `self` is a member of cfg, which stays as it is. */
ZK_PRIVATE void election_init(struct election *e, const struct config *cfg, int64_t self,
                              struct links *links, struct logq *log);
ZK_PRIVATE void election_free(struct election *e);

/* A role has ended and what this server holds is not known yet: nobody is answered meanwhile. */
ZK_PRIVATE void election_idle(struct election *e);
/*
 * Looks for a leader: the last zxid in the log, committed or not, and the current epoch. What has
 * been heard meanwhile and the own vote are counted by the next call, for which a tick is wanted
 * at once: the election does not end within this one.
 */
ZK_PRIVATE void election_look(struct election *e, int64_t now, int64_t last_zxid,
                              int64_t current_epoch);
/* This server leads or follows in `epoch` now. stock: QuorumPeer.updateElectionVote */
ZK_PRIVATE void election_led(struct election *e, int64_t epoch);

/* While not looking: a voter looks, and by its own vote its currentEpoch is none beyond `epoch`. */
ZK_PRIVATE bool election_asks_from(const struct election *e, int64_t sid, int64_t epoch);

/*
 * Time, and what happens to links of kind LINK_ELECTION (see mesh.h). True: the election ended just
 * now, `state` and `vote` say how.
 */
ZK_PRIVATE bool election_tick(struct election *e, int64_t now);
ZK_PRIVATE bool election_accepted(struct election *e, uint32_t link, int64_t now);
ZK_PRIVATE bool election_opened(struct election *e, uint32_t link, int64_t now);
ZK_PRIVATE bool election_input(struct election *e, uint32_t link, int64_t now);
ZK_PRIVATE bool election_closed(struct election *e, uint32_t link, int64_t now);
ZK_PRIVATE int64_t election_next_tick(const struct election *e); /* INT64_MAX: none is wanted */

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/leader.h ==== */

/*
 * leader: the leader's half of Zab, as a machine.
 *
 *   DISCOVERY  a quorum of acceptedEpochs comes in; the new epoch is beyond all of them
 *   ACCEPTING  the new acceptedEpoch goes to our disk
 *   EPOCH      LEADERINFO is out; a quorum has to say ACKEPOCH, and nobody in it may be ahead of us
 *   SYNC       learners are brought up to our history, and ACK NEWLEADER; our currentEpoch is saved
 *   BROADCAST  proposals, acknowledgements, commits
 *   LOST       no quorum any more, or none in time: `why` says it; the node leaves
 *
 * and for each learner:
 *
 *   INFO -> EPOCH -> ACKEPOCH -> HISTORY [-> LOG] [-> IMAGE_WAIT -> IMAGE] -> NEWLEADER -> SYNCED
 *     -> ACTIVE
 *
 * From a certain step on a learner is told everything that is proposed, in order and without a gap:
 * it is enrolled when it has been told all that is older than our history, or when its snapshot
 * begins. While that streams, what follows it collects in `queue`. LOG: what is older than our
 * history is read from the log on disk, piece by piece; the host finds out whether it is all there.
 *
 * A transaction is committed when a quorum has it on disk. Acknowledgements of one learner come in
 * order, so the last one stands for all before it; this server's own is the synced zxid of its log.
 * Nothing below the NEWLEADER quorum is counted: `committed` starts at the end of our history,
 * which that quorum has taken over whole.
 *
 * stock: Leader, LearnerHandler
 */
#ifndef ZK_LEADER_H
#define ZK_LEADER_H


enum leader_phase {
    LEADER_OFF,
    LEADER_DISCOVERY,
    LEADER_ACCEPTING,
    LEADER_EPOCH,
    LEADER_SYNC,
    LEADER_BROADCAST,
    LEADER_LOST
};

enum peer_phase {
    PEER_FREE,
    PEER_INFO,       /* its first packet has to come */
    PEER_EPOCH,      /* waits for the epoch */
    PEER_ACKEPOCH,   /* has LEADERINFO; its ACKEPOCH has to come */
    PEER_HISTORY,    /* waits until a quorum has said ACKEPOCH */
    PEER_LOG,        /* is told what only the log on disk holds */
    PEER_IMAGE_WAIT, /* will get a snapshot when the tree has no other image under way */
    PEER_IMAGE,      /* gets one */
    PEER_NEWLEADER,  /* has NEWLEADER; its ACK has to come */
    PEER_SYNCED,     /* waits for the leader to be established */
    PEER_ACTIVE
};

struct leader_peer {
    enum peer_phase phase;
    uint32_t link;
    uint64_t owner; /* names this connection as the owner of sessions */
    int64_t sid;
    bool observer, voter;
    int64_t accepted, current; /* its epochs; current -1: it had accepted this one before */
    int64_t last_zxid;         /* of its log when it came */
    int64_t cursor;            /* in PEER_LOG: told so far */
    bool began;                /* ... and its DIFF is out */
    int64_t base;              /* committed when it was enrolled: NEWLEADER's ACK covers it */
    int64_t acked, sent;       /* last proposal acknowledged, told; zxids */
    int64_t heard;             /* monotonic ms: its last packet */
    int64_t probe, probe_since; /* a proposal whose acknowledgement is timed; 0: none */
    uint64_t mark;             /* of the link's bytes: the end of what NEWLEADER ends */
    uint64_t link_sent;        /* bytes the host had taken at the last look */
    struct buf queue;
};

/* A request that a learner passed on. Slices borrow until the next call. */
struct leader_request {
    uint64_t owner;
    int64_t session;
    int32_t cxid, op;
    struct slice body, auth;
    int32_t n_auth;
};

struct leader {
    const struct config *cfg; /* borrowed, as the next four */
    struct links *links;
    struct db *db;
    struct history *history;
    struct logq *log;
    int64_t self;
    enum leader_phase phase;
    const char *why; /* of LEADER_LOST */
    int64_t now, since, next_ping, next_check; /* monotonic ms */
    int64_t epoch;     /* to be established; 0 until it is known */
    int64_t accepted, current, last_zxid; /* ours when it began */
    bool want_accepted, want_current; /* `epoch` has to be saved: the node clears it when it asks */
    bool current_saved;
    int64_t outrun_by; /* a voter that has accepted a later epoch, after some time; -1: none */
    int64_t outrun_to; /* ... that epoch */
    bool up; /* established, and the node has not taken notice yet */
    int64_t synced, proposed, committed; /* zxids */
    struct leader_peer *peers; /* owned */
    uint32_t n_peers, cap_peers, next_peer;
    uint64_t next_owner;
    struct {
        bool active;
        int64_t zxid;
    } image;
    struct {
        bool wanted, busy; /* the node has to ask for it, has asked for it */
        bool first;        /* a learner's first piece */
        uint64_t owner;    /* of the learner */
        int64_t after;     /* zxid */
    } log_read;
    struct buf cuts;  /* struct leader_cut: TRUNCs that were sent */
    struct buf syncs; /* struct leader_sync, oldest first */
    struct {
        int64_t last, least, most; /* bytes of a proposal; -1 unset */
    } sizes;
};

#define LEADER_OWNER_SELF 1u /* owner of the sessions of the leader's own clients */

ZK_PRIVATE void leader_init(struct leader *l, const struct config *cfg, int64_t self,
                            struct links *links, struct db *db, struct history *history,
                            struct logq *log);
ZK_PRIVATE void leader_free(struct leader *l);
/* Everything in our log is in the tree and durable. */
ZK_PRIVATE void leader_start(struct leader *l, int64_t now, int64_t accepted, int64_t current);
ZK_PRIVATE void leader_stop(struct leader *l); /* closes all links, forgets the learners */

ZK_PRIVATE void leader_accepted(struct leader *l, uint32_t link, int64_t now);
ZK_PRIVATE void leader_closed(struct leader *l, uint32_t link);
/* Reads what the learners have sent; true: a request for the node, call again. */
ZK_PRIVATE bool leader_next(struct leader *l, int64_t now, struct leader_request *out);
ZK_PRIVATE void leader_tick(struct leader *l, int64_t now);
ZK_PRIVATE int64_t leader_next_tick(const struct leader *l);

ZK_PRIVATE void leader_saved_accepted(struct leader *l, int64_t now);
ZK_PRIVATE void leader_saved_current(struct leader *l, int64_t now);
ZK_PRIVATE void leader_propose(struct leader *l, int64_t zxid, struct slice txn);
ZK_PRIVATE void leader_synced(struct leader *l, int64_t zxid); /* our own log */
/* Commits what a quorum has by now, and says so; returns the zxid committed. */
ZK_PRIVATE int64_t leader_commit(struct leader *l);
/* A learner's sync: answered when what was proposed before it is committed. */
ZK_PRIVATE void leader_sync(struct leader *l, uint64_t owner);

/* What mntr shows. */
struct leader_census {
    uint32_t learners, followers, others, observers, syncs; /* others: followers without a vote */
};
ZK_PRIVATE struct leader_census leader_count_all(const struct leader *l);

/* One slice of the snapshot that learners get; true: there is more to do now. */
ZK_PRIVATE bool leader_image_step(struct leader *l);
/*
 * Asks for the next piece of log, by log_read.wanted, when a learner has room for it. The answer:
 * int length and transaction, repeated, in order and without a hole after log_read.after; none when
 * the log does not have them or they are too many.
 */
ZK_PRIVATE void leader_log_step(struct leader *l);
ZK_PRIVATE void leader_log_read(struct leader *l, struct slice txns, int64_t now);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/learner.h ==== */

/*
 * learner: the follower's and the observer's half of Zab, as a machine.
 *
 *   CONNECTING  the leader's quorum port is dialed, a few times
 *   REGISTERED  FOLLOWERINFO is out; LEADERINFO has to come
 *   ACCEPTING   the new acceptedEpoch goes to disk before ACKEPOCH is sent
 *   SYNC        ACKEPOCH is out; DIFF, TRUNC or SNAP has to come
 *   SNAPSHOT    the leader's tree streams in
 *   HISTORY     the transactions that bring us up to date, until NEWLEADER
 *   NEWLEADER   all that came before is made durable, then currentEpoch, then it is acknowledged
 *   ACKED       until UPTODATE
 *   BROADCAST
 *   LOST        `why` says it; the node leaves
 *
 * Between SYNC and ACKED lies what nearly all data losses of the last ten years were made of. The
 * order here: transactions are logged as they come, each snapshot is durable before anything is
 * logged behind it, and NEWLEADER is acknowledged when the log, the snapshot and then currentEpoch
 * are on disk. Only what is committed is applied. Nothing else is sent between ACKEPOCH and that
 * acknowledgement.
 *
 * The node pulls what comes in with learner_next(), does what it says, and holds the machine
 * (`hold`) while something has to reach the disk first: bytes then wait in the link.
 *
 * stock: Learner, Follower, Observer
 */
#ifndef ZK_LEARNER_H
#define ZK_LEARNER_H


enum learner_phase {
    LEARNER_OFF,
    LEARNER_CONNECTING,
    LEARNER_REGISTERED,
    LEARNER_ACCEPTING,
    LEARNER_SYNC,
    LEARNER_SNAPSHOT,
    LEARNER_HISTORY,
    LEARNER_NEWLEADER,
    LEARNER_ACKED,
    LEARNER_BROADCAST,
    LEARNER_LOST
};

enum learner_event {
    LEARNER_NOTHING,       /* more has to come in first */
    LEARNER_ACCEPT_EPOCH,  /* save acceptedEpoch; then learner_saved_accepted() */
    LEARNER_TRUNCATE,      /* cut everything beyond zxid, load again; then learner_truncated() */
    LEARNER_SNAPSHOT_READ, /* `incoming` is the leader's tree at zxid: take it over, make it
                              durable; then release the hold */
    LEARNER_PROPOSED,      /* zxid, txn: to the log */
    LEARNER_COMMITTED,     /* everything up to zxid is committed */
    LEARNER_SYNCED_UP,     /* NEWLEADER: save currentEpoch when all is durable; then
                              learner_saved_current() */
    LEARNER_UP,            /* UPTODATE: serve */
    LEARNER_PINGED,        /* answer with learner_pong() */
    LEARNER_SYNC_DONE,     /* the oldest sync is answered: it comes after all committed so far */
    LEARNER_REVALIDATED    /* session, valid */
};

struct learner_news {
    int64_t zxid;
    struct slice txn; /* borrowed until the next call */
    int64_t session;
    bool valid;
};

struct learner {
    const struct config *cfg; /* borrowed, as links and log */
    struct links *links;
    struct logq *log;
    int64_t self, leader; /* sids */
    bool observer;
    enum learner_phase phase;
    const char *why;  /* of LEARNER_LOST */
    bool hold;        /* nothing is read */
    uint32_t link;    /* LINK_NONE between two tries */
    int32_t tries;
    int64_t now, since, retry_at; /* monotonic ms */
    int64_t heard;                /* its last bytes */
    int64_t epoch;                /* the leader's */
    int64_t accepted, current;    /* our epochs */
    int64_t logged;    /* zxid: the end of our log, with what has come in */
    int64_t committed; /* zxid */
    struct buf unacked; /* int64 zxids of proposals not acknowledged yet */
    struct buf inform;  /* int64: an INFORM's zxid, to be told as committed next */
    uint64_t seed;      /* of the hashes of the next tree; nobody outside can know it */
    struct db incoming; /* while a snapshot streams in */
    struct snapfile stream;
    int64_t stream_zxid;
};

ZK_PRIVATE void learner_init(struct learner *l, const struct config *cfg, int64_t self,
                             struct links *links, struct logq *log);
ZK_PRIVATE void learner_free(struct learner *l);
/* Everything in our log, up to last_zxid, is in the tree and durable. */
ZK_PRIVATE void learner_start(struct learner *l, int64_t now, int64_t leader, bool observer,
                              int64_t accepted, int64_t current, int64_t last_zxid);
ZK_PRIVATE void learner_stop(struct learner *l);

ZK_PRIVATE void learner_opened(struct learner *l, int64_t now);
ZK_PRIVATE void learner_closed(struct learner *l, int64_t now);
ZK_PRIVATE void learner_fail(struct learner *l, const char *why); /* it cannot go on */
ZK_PRIVATE void learner_heard(struct learner *l, int64_t now); /* bytes have come in */
ZK_PRIVATE enum learner_event learner_next(struct learner *l, int64_t now,
                                           struct learner_news *out);
ZK_PRIVATE void learner_tick(struct learner *l, int64_t now);
ZK_PRIVATE int64_t learner_next_tick(const struct learner *l);

ZK_PRIVATE void learner_saved_accepted(struct learner *l);
ZK_PRIVATE void learner_truncated(struct learner *l, int64_t last_zxid);
ZK_PRIVATE void learner_saved_current(struct learner *l);
/* The log is durable up to zxid: acknowledges what has to be. */
ZK_PRIVATE void learner_synced(struct learner *l, int64_t zxid);

/* touched: session, timeout; repeated. */
ZK_PRIVATE void learner_pong(struct learner *l, int64_t zxid, struct slice touched);
ZK_PRIVATE void learner_revalidate(struct learner *l, int64_t session, int32_t timeout);
/* auth: the connection's identities, serialized; n of them. */
ZK_PRIVATE void learner_request(struct learner *l, int64_t session, int32_t cxid, int32_t op,
                                struct slice body, struct slice auth, uint32_t n_auth);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/config.c ==== */


#include <limits.h>
#include <stdio.h>

/* --- properties: bytes to pairs. stock: java.util.Properties.load --- */

static bool config_is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\f';
}

static bool config_is_eol(uint8_t c) {
    return c == '\n' || c == '\r';
}

/*
 * Appends the next logical line to `line`: comments and blank lines skipped, continuations joined,
 * escapes still in place. False at the end of the text.
 *
 * stock: a line that begins with an escaped line end is still a new line, so that a comment mark
 * at the start of the next one makes a comment; after any other text it is part of the value.
 */
static bool config_line(struct slice *text, struct buf *line) {
    bool escaped = false, skip = true, joined = false;
    buf_clear(line);
    while (text->n) {
        uint8_t c = *text->p++;
        text->n--;
        if (skip) {
            if (config_is_blank(c) || (!joined && config_is_eol(c))) continue;
            skip = joined = false;
        }
        if (!buf_len(line) && (c == '#' || c == '!')) {
            for (; text->n && !config_is_eol(*text->p); text->p++) text->n--;
            skip = true;
        } else if (!config_is_eol(c)) {
            buf_putc(line, (char)c);
            escaped = c == '\\' && !escaped;
        } else if (!buf_len(line)) {
            skip = true;
        } else if (!escaped) {
            return true;
        } else {
            line->n--;
            if (!text->n) return true;
            skip = joined = true;
            escaped = false;
            if (c == '\r' && text->n && *text->p == '\n') {
                text->p++;
                text->n--;
            }
        }
    }
    if (!buf_len(line)) return false;
    if (escaped) line->n--;
    return true;
}

/* NUL takes two bytes, as in Java's modified UTF-8, so that C strings can hold every value. */
static void config_put_utf8(struct buf *out, uint32_t c) {
    if (c && c < 0x80) {
        buf_putc(out, (char)c);
    } else if (c < 0x800) {
        buf_putc(out, (char)(0xc0 | c >> 6));
        buf_putc(out, (char)(0x80 | (c & 63)));
    } else {
        if (c < 0x10000) {
            buf_putc(out, (char)(0xe0 | c >> 12));
        } else {
            buf_putc(out, (char)(0xf0 | c >> 18));
            buf_putc(out, (char)(0x80 | (c >> 12 & 63)));
        }
        buf_putc(out, (char)(0x80 | (c >> 6 & 63)));
        buf_putc(out, (char)(0x80 | (c & 63)));
    }
}

static int config_hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits of a \u escape; -1 when they are not there. */
static int config_hex4(struct slice s) {
    if (s.n < 4) return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int digit = config_hex_digit(s.p[i]);
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* The code point of an escape whose backslash is gone; -1 when it is malformed. */
static int config_escape(struct slice *in) {
    uint8_t c = *in->p;
    *in = slice_of(in->p + 1, in->n - 1);
    if (c != 'u') return c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 'f' ? '\f' : c;
    int v = config_hex4(*in);
    if (v < 0) return -1;
    *in = slice_of(in->p + 4, in->n - 4);
    if (v < 0xd800 || v > 0xdbff || in->n < 6 || in->p[0] != '\\' || in->p[1] != 'u') return v;
    int low = config_hex4(slice_of(in->p + 2, 4));
    if (low < 0xdc00 || low > 0xdfff) return v;
    *in = slice_of(in->p + 6, in->n - 6);
    return 0x10000 + (v - 0xd800) * 0x400 + (low - 0xdc00);
}

/* Escapes resolved, Latin-1 to UTF-8, and trimmed: stock trims keys and values alike. */
static char *config_unescape(struct slice in) {
    struct buf out = {0};
    size_t end = 0;
    while (in.n) {
        int c = *in.p;
        in = slice_of(in.p + 1, in.n - 1);
        if (c == '\\' && in.n) c = config_escape(&in);
        if (c < 0) {
            buf_free(&out);
            return NULL;
        }
        if (c > ' ' || out.n) config_put_utf8(&out, (uint32_t)c);
        if (c > ' ') end = out.n;
    }
    out.n = end;
    buf_putc(&out, '\0');
    return (char *)out.p;
}

static uint32_t config_props_find(const struct config_props *p, const char *key) {
    struct map_iter it;
    uint32_t i = map_first(&p->index, slice_hash(slice_str(key), 0), &it);
    while (i != MAP_NONE && strcmp(p->at[i].key, key) != 0) i = map_next(&p->index, &it);
    return i;
}

/* Takes both strings; a key that is there already gets the new value. */
static void config_props_put(struct config_props *p, char *key, char *value) {
    uint32_t i = config_props_find(p, key);
    if (i != MAP_NONE) {
        mem_free(key);
        mem_free(p->at[i].value);
        p->at[i].value = value;
        return;
    }
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 32;
        p->at = mem_realloc(p->at, p->cap * sizeof *p->at);
    }
    p->at[p->n].key = key;
    p->at[p->n].value = value;
    map_add(&p->index, slice_hash(slice_str(key), 0), p->n++);
}

/* The key ends before the first unescaped separator; one = or : may stand among the blanks. */
static int config_props_line(struct config_props *p, struct slice line) {
    size_t key = 0, value;
    bool escaped = false;
    for (; key < line.n; key++) {
        uint8_t c = line.p[key];
        if (!escaped && (c == '=' || c == ':' || config_is_blank(c))) break;
        escaped = c == '\\' && !escaped;
    }
    for (value = key; value < line.n && config_is_blank(line.p[value]);) value++;
    if (value < line.n && (line.p[value] == '=' || line.p[value] == ':')) value++;
    while (value < line.n && config_is_blank(line.p[value])) value++;
    char *k = config_unescape(slice_of(line.p, key));
    char *v = config_unescape(slice_of(line.p + value, line.n - value));
    if (!k || !v) {
        mem_free(k);
        mem_free(v);
        return -1;
    }
    config_props_put(p, k, v);
    return 0;
}

ZK_PRIVATE int config_props_load(struct config_props *p, struct slice text) {
    struct buf line = {0};
    int rc = 0;
    memset(p, 0, sizeof *p);
    while (!rc && config_line(&text, &line)) rc = config_props_line(p, buf_slice(&line));
    buf_free(&line);
    return rc;
}

ZK_PRIVATE const char *config_props_get(const struct config_props *p, const char *key) {
    uint32_t i = config_props_find(p, key);
    return i == MAP_NONE ? NULL : p->at[i].value;
}

ZK_PRIVATE void config_props_free(struct config_props *p) {
    for (uint32_t i = 0; i < p->n; i++) {
        mem_free(p->at[i].key);
        mem_free(p->at[i].value);
    }
    mem_free(p->at);
    map_free(&p->index);
    memset(p, 0, sizeof *p);
}

/* --- numbers and words, as Java reads them --- */

static char config_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool config_is_word(const char *s, const char *word) {
    while (*s && config_lower(*s) == config_lower(*word)) s++, word++;
    return !*s && !*word;
}

/* Digits only, after the sign has been seen. */
static bool config_digits(const char *s, bool negative, int radix, int64_t *out) {
    uint64_t v = 0, max = (uint64_t)INT64_MAX + (negative ? 1u : 0u);
    if (!*s) return false;
    for (; *s; s++) {
        int digit = config_hex_digit((uint8_t)*s);
        if (digit < 0 || digit >= radix) return false;
        if (v > (max - (unsigned)digit) / (unsigned)radix) return false;
        v = v * (unsigned)radix + (unsigned)digit;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* Long.parseLong: an optional sign and digits, nothing else. */
static bool config_parse_number(const char *s, int radix, int64_t *out) {
    bool negative = *s == '-';
    return config_digits(s + (negative || *s == '+'), negative, radix, out);
}

/* Long.decode, which Long.getLong uses: also 0x, # and a leading 0 for octal. */
static bool config_decode_number(const char *s, int64_t *out) {
    bool negative = *s == '-';
    if (negative || *s == '+') s++;
    if (*s == '#') return config_digits(s + 1, negative, 16, out);
    if (*s != '0' || !s[1]) return config_digits(s, negative, 10, out);
    if (s[1] == 'x' || s[1] == 'X') return config_digits(s + 2, negative, 16, out);
    return config_digits(s + 1, negative, 8, out);
}

/* Decimal fractions, the part of Double.parseDouble that people write; strtod asks the locale. */
static bool config_parse_fraction(const char *s, double *out) {
    double v = 0, scale = 1;
    bool negative = *s == '-', digits = false;
    if (negative || *s == '+') s++;
    for (; *s >= '0' && *s <= '9'; s++, digits = true) v = v * 10 + (*s - '0');
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++, digits = true) {
            v = v * 10 + (*s - '0');
            scale *= 10;
        }
    if (*s == 'e' || *s == 'E') {
        int64_t e;
        if (!config_parse_number(s + 1, 10, &e) || e < -300 || e > 300) return false;
        for (; e > 0; e--) v *= 10;
        for (; e < 0; e++) scale *= 10;
        s += strlen(s);
    }
    if (!digits || *s) return false;
    *out = negative ? -v / scale : v / scale;
    return true;
}

static char *config_copy(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(mem_alloc(n), s, n);
}

static void config_set(char **field, const char *value) {
    char *copy = value ? config_copy(value) : NULL;
    mem_free(*field);
    *field = copy;
}

/* java.io.File: no repeated slashes, none at the end. */
static void config_set_path(char **field, const char *value) {
    char *s = config_copy(value), *to = s;
    for (const char *from = s; *from; from++)
        if (*from != '/' || to == s || to[-1] != '/') *to++ = *from;
    if (to - s > 1 && to[-1] == '/') to--;
    *to = '\0';
    mem_free(*field);
    *field = s;
}

static int config_fail(struct config *c, enum config_error kind, const char *fmt, ...)
    ZK_PRINTF(3, 4);

static int config_fail(struct config *c, enum config_error kind, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(c->error, sizeof c->error, fmt, ap);
    va_end(ap);
    c->error_kind = kind;
    return -1;
}

/* stock: NumberFormatException */
static int config_fail_number(struct config *c, const char *value, int radix) {
    return config_fail(c, CONFIG_ERROR_WRAPPED, "For input string: \"%s\"%s", value,
                       radix == 16 ? " under radix 16" : "");
}

/* --- the keys --- */

enum config_kind {
    /* typed keys, read strictly */
    CONFIG_INT,
    CONFIG_LONG,
    CONFIG_BOOL,
    CONFIG_TEXT,
    CONFIG_PATH,
    /* pass-through keys: what cannot be read leaves the default */
    CONFIG_GET_INT,
    CONFIG_GET_LONG,
    CONFIG_GET_DOUBLE,
    CONFIG_IS_TRUE,   /* true in any case */
    CONFIG_IS_YES,    /* exactly yes */
    CONFIG_IS_NOT_NO, /* anything but no */
    CONFIG_ANY        /* not looked at */
};

enum config_mark {
    CONFIG_OBEYED,   /* text: the default, NULL for none */
    CONFIG_ACCEPTED, /* has no effect that anybody could miss; text: why */
    CONFIG_UNBUILT,  /* has no effect, and should have; text: what is missing */
    CONFIG_REFUSED   /* text: what is missing */
};

/* A boolean that is not obeyed is reported only when it is true. A name may end in *. */
struct config_key {
    const char *name;
    enum config_kind kind;
    enum config_mark mark;
    size_t at; /* of the field, when obeyed */
    const char *text;
};

#define CONFIG_KEY(name, kind, field, text)                                                        \
    { name, kind, CONFIG_OBEYED, offsetof(struct config, field), text }
#define CONFIG_NO_TLS "TLS is not built in"
#define CONFIG_NO_SASL "SASL is not built in"
#define CONFIG_NO_ADMIN "the admin HTTP server is not built in"
#define CONFIG_JVM "there is no JVM"
#define CONFIG_THREADS "one thread serves all connections"
#define CONFIG_GROUP_COMMIT "a sync takes whatever has come while the one before it ran"
#define CONFIG_ALWAYS "it is always written"
#define CONFIG_NO_QUEUE "requests wait in their connection; globalOutstandingLimit bounds them"
#define CONFIG_ENSEMBLE "only the servers of an ensemble read it"

static const struct config_key config_typed_keys[] = {
    CONFIG_KEY("dataDir", CONFIG_PATH, data_dir, NULL),
    CONFIG_KEY("dataLogDir", CONFIG_PATH, data_log_dir, NULL),
    CONFIG_KEY("clientPort", CONFIG_INT, client_port, "-2147483648"),
    CONFIG_KEY("clientPortAddress", CONFIG_TEXT, client_port_address, NULL),
    CONFIG_KEY("secureClientPort", CONFIG_INT, secure_client_port, "-2147483648"),
    CONFIG_KEY("secureClientPortAddress", CONFIG_TEXT, secure_client_port_address, NULL),
    CONFIG_KEY("observerMasterPort", CONFIG_INT, observer_master_port, "0"),
    CONFIG_KEY("clientPortListenBacklog", CONFIG_INT, listen_backlog, "-1"),
    CONFIG_KEY("tickTime", CONFIG_INT, tick_time_ms, "3000"),
    CONFIG_KEY("maxClientCnxns", CONFIG_INT, max_client_cnxns, "60"),
    CONFIG_KEY("minSessionTimeout", CONFIG_INT, min_session_timeout_ms, "-1"),
    CONFIG_KEY("maxSessionTimeout", CONFIG_INT, max_session_timeout_ms, "-1"),
    CONFIG_KEY("initLimit", CONFIG_INT, init_limit, "0"),
    CONFIG_KEY("syncLimit", CONFIG_INT, sync_limit, "0"),
    CONFIG_KEY("connectToLearnerMasterLimit", CONFIG_INT, learner_master_limit, "0"),
    CONFIG_KEY("electionAlg", CONFIG_INT, election_alg, "3"),
    CONFIG_KEY("quorumListenOnAllIPs", CONFIG_BOOL, quorum_listen_on_all_ips, "false"),
    CONFIG_KEY("peerType", CONFIG_TEXT, peer_type, "participant"),
    CONFIG_KEY("syncEnabled", CONFIG_BOOL, sync_enabled, "true"),
    CONFIG_KEY("localSessionsEnabled", CONFIG_BOOL, local_sessions, "false"),
    CONFIG_KEY("localSessionsUpgradingEnabled", CONFIG_BOOL, local_sessions_upgrading, "false"),
    CONFIG_KEY("standaloneEnabled", CONFIG_BOOL, standalone_enabled, "true"),
    CONFIG_KEY("reconfigEnabled", CONFIG_BOOL, reconfig_enabled, "false"),
    CONFIG_KEY("dynamicConfigFile", CONFIG_TEXT, dynamic_config_file, NULL),
    CONFIG_KEY("autopurge.snapRetainCount", CONFIG_INT, autopurge_retain, "3"),
    CONFIG_KEY("autopurge.purgeInterval", CONFIG_INT, autopurge_interval_h, "0"),
    CONFIG_KEY("quorum.auth.enableSasl", CONFIG_BOOL, sasl_enabled, "false"),
    CONFIG_KEY("quorum.auth.serverRequireSasl", CONFIG_BOOL, sasl_server_required, "false"),
    CONFIG_KEY("quorum.auth.learnerRequireSasl", CONFIG_BOOL, sasl_learner_required, "false"),
    CONFIG_KEY("metricsProvider.className", CONFIG_TEXT, metrics_class,
               "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"),
    CONFIG_KEY("multiAddress.enabled", CONFIG_BOOL, multi_address, "false"),
    CONFIG_KEY("multiAddress.reachabilityCheckEnabled", CONFIG_BOOL, multi_address_check, "true"),
    CONFIG_KEY("multiAddress.reachabilityCheckTimeoutMs", CONFIG_INT, multi_address_check_ms,
               "1000"),
    {"sslQuorum", CONFIG_BOOL, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"portUnification", CONFIG_BOOL, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"sslQuorumReloadCertFiles", CONFIG_BOOL, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"quorum.auth.learner.saslLoginContext", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"quorum.auth.server.saslLoginContext", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"quorum.auth.kerberos.servicePrincipal", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"quorum.cnxn.threads.size", CONFIG_INT, CONFIG_ACCEPTED, 0, CONFIG_THREADS},
    {"jvm.pause.monitor", CONFIG_BOOL, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"jvm.pause.info-threshold.ms", CONFIG_LONG, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"jvm.pause.warn-threshold.ms", CONFIG_LONG, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"jvm.pause.sleep.time.ms", CONFIG_LONG, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"oraclePath", CONFIG_ANY, CONFIG_REFUSED, 0, "quorums with an oracle are not built in"},
    /* members; read by config_membership */
    {"server.*", CONFIG_ANY, CONFIG_OBEYED, 0, NULL},
    {"group*", CONFIG_ANY, CONFIG_OBEYED, 0, NULL},
    {"weight*", CONFIG_ANY, CONFIG_OBEYED, 0, NULL},
    {"version", CONFIG_ANY, CONFIG_OBEYED, 0, NULL},
    {"metricsProvider.*", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     "the metrics providers that are built in take no options"},
};

/* stock: these become the system property zookeeper.<key>, which some class reads later. */
static const struct config_key config_passed_keys[] = {
    /* storage */
    CONFIG_KEY("snapCount", CONFIG_GET_INT, snap_count, "100000"),
    CONFIG_KEY("snapSizeLimitInKb", CONFIG_GET_LONG, snap_size_limit_kb, "4194304"),
    CONFIG_KEY("txnLogSizeLimitInKb", CONFIG_GET_LONG, txn_log_size_limit_kb, "-1"),
    CONFIG_KEY("preAllocSize", CONFIG_GET_LONG, pre_alloc_size_kb, "65536"),
    CONFIG_KEY("commitLogCount", CONFIG_GET_INT, commit_log_count, "500"),
    CONFIG_KEY("snapshotSizeFactor", CONFIG_GET_DOUBLE, snapshot_size_factor, "0.33"),
    CONFIG_KEY("forceSync", CONFIG_IS_NOT_NO, force_sync, "yes"),
    CONFIG_KEY("fsync.warningthresholdms", CONFIG_GET_LONG, fsync_warning_ms, "1000"),
    {"flushDelay", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_GROUP_COMMIT},
    {"maxWriteQueuePollTime", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_GROUP_COMMIT},
    {"maxBatchSize", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_GROUP_COMMIT},
    CONFIG_KEY("snapshot.trust.empty", CONFIG_IS_TRUE, trust_empty_snapshot, "false"),
    CONFIG_KEY("datadir.autocreate", CONFIG_IS_TRUE, datadir_autocreate, "true"),
    CONFIG_KEY("db.autocreate", CONFIG_IS_TRUE, db_autocreate, "true"),
    {"serializeLastProcessedZxid.enabled", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ALWAYS},
    CONFIG_KEY("digest.enabled", CONFIG_IS_TRUE, digest_enabled, "true"),
    {"closeSessionTxn.enabled", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ALWAYS},
    CONFIG_KEY("extendedTypesEnabled", CONFIG_IS_TRUE, extended_types, "false"),
    CONFIG_KEY("emulate353TTLNodes", CONFIG_IS_TRUE, emulate353, "false"),
    {"snapshot.compression.method", CONFIG_ANY, CONFIG_UNBUILT, 0,
     "snapshots are written without compression"},
    CONFIG_KEY("forceSnapshotSync", CONFIG_IS_TRUE, force_snapshot_sync, "false"),

    /* requests, sessions, throttling */
    CONFIG_KEY("globalOutstandingLimit", CONFIG_GET_INT, global_outstanding_limit, "1000"),
    CONFIG_KEY("maxCnxns", CONFIG_GET_INT, max_cnxns, "0"),
    CONFIG_KEY("clientTcpKeepAlive", CONFIG_IS_TRUE, tcp_keepalive, "false"),
    {"enableEagerACLCheck", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    CONFIG_KEY("skipACL", CONFIG_IS_YES, skip_acl, "no"),
    CONFIG_KEY("enforceQuota", CONFIG_IS_TRUE, enforce_quota, "false"),
    CONFIG_KEY("largeRequestMaxBytes", CONFIG_GET_INT, large_request_max_bytes, "104857600"),
    CONFIG_KEY("largeRequestThreshold", CONFIG_GET_INT, large_request_threshold, "-1"),
    {"request_throttle_max_requests", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_QUEUE},
    {"request_throttle_stall_time", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_QUEUE},
    {"request_throttle_drop_stale", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_QUEUE},
    {"request_stale_latency_check", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_QUEUE},
    {"request_stale_connection_check", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_QUEUE},
    {"throttled_op_wait_time", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_QUEUE},
    CONFIG_KEY("connection_throttle_tokens", CONFIG_GET_INT, connection_throttle_tokens, "0"),
    CONFIG_KEY("connection_throttle_fill_time", CONFIG_GET_INT, connection_throttle_fill_ms, "1"),
    CONFIG_KEY("connection_throttle_fill_count", CONFIG_GET_INT, connection_throttle_fill_count,
               "1"),
    CONFIG_KEY("connection_throttle_freeze_time", CONFIG_GET_INT, connection_throttle_freeze_ms,
               "-1"),
    CONFIG_KEY("connection_throttle_drop_increase", CONFIG_GET_DOUBLE,
               connection_throttle_drop_increase, "0.02"),
    CONFIG_KEY("connection_throttle_drop_decrease", CONFIG_GET_DOUBLE,
               connection_throttle_drop_decrease, "0.002"),
    CONFIG_KEY("connection_throttle_decrease_ratio", CONFIG_GET_DOUBLE,
               connection_throttle_decrease_ratio, "0"),
    CONFIG_KEY("connection_throttle_weight_enabled", CONFIG_IS_TRUE, connection_throttle_weighted,
               "false"),
    CONFIG_KEY("connection_throttle_global_session_weight", CONFIG_GET_INT,
               connection_throttle_global_weight, "3"),
    CONFIG_KEY("connection_throttle_local_session_weight", CONFIG_GET_INT,
               connection_throttle_local_weight, "1"),
    CONFIG_KEY("connection_throttle_renew_session_weight", CONFIG_GET_INT,
               connection_throttle_renew_weight, "2"),
    CONFIG_KEY("nio.sessionlessCnxnTimeout", CONFIG_GET_INT, sessionless_timeout_ms, "10000"),
    CONFIG_KEY("jute.maxbuffer.extrasize", CONFIG_GET_INT, jute_extra_size, "-1"),
    {"maxResponseCacheSize", CONFIG_ANY, CONFIG_ACCEPTED, 0, "replies are not cached"},
    {"maxGetChildrenResponseCacheSize", CONFIG_ANY, CONFIG_ACCEPTED, 0, "replies are not cached"},
    {"request_throttler.shutdownTimeout", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_THREADS},
    {"nio.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_THREADS},
    {"commitProcessor.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_THREADS},
    {"intBufferStartingSizeBytes", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"serverCnxnFactory", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to serve connections"},
    {"watchManagerName", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to keep watches"},
    {"watcherCleanThreadsNum", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to keep watches"},
    {"watcherCleanThreshold", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to keep watches"},
    {"watcherCleanIntervalInSeconds", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     "there is one way to keep watches"},
    {"maxInProcessingDeadWatchers", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     "there is one way to keep watches"},
    {"bitHashCacheSize", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to keep watches"},
    {"netty.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, "there is one way to serve connections"},
    {"client.portUnification", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0, CONFIG_NO_TLS},
    {"client.certReload", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0, CONFIG_NO_TLS},
    {"pathStats.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, "requests are not counted by path"},
    {"messageTracker.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},

    /* the ensemble */
    CONFIG_KEY("leaderServes", CONFIG_IS_NOT_NO, leader_serves, "yes"),
    CONFIG_KEY("cnxTimeout", CONFIG_INT, cnx_timeout_ms, "5000"),
    CONFIG_KEY("quorumCnxnTimeoutMs", CONFIG_GET_INT, quorum_cnxn_timeout_ms, "-1"),
    CONFIG_KEY("electionPortBindRetry", CONFIG_GET_INT, election_bind_retries, "3"),
    CONFIG_KEY("fastleader.minNotificationInterval", CONFIG_GET_INT, notification_min_ms, "200"),
    CONFIG_KEY("fastleader.maxNotificationInterval", CONFIG_GET_INT, notification_max_ms, "60000"),
    {"fastleader.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    CONFIG_KEY("leader.maxTimeToWaitForEpoch", CONFIG_GET_INT, leader_epoch_wait_ms, "-1"),
    {"leader.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"learner.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    CONFIG_KEY("leaderConnectDelayDuringRetryMs", CONFIG_GET_INT, leader_connect_delay_ms, "100"),
    CONFIG_KEY("observer.syncEnabled", CONFIG_TEXT, observer_sync, NULL),
    CONFIG_KEY("observer.election.DelayMs", CONFIG_GET_INT, observer_election_delay_ms, "200"),
    {"observer.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"observerMaster.sizeLimit", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"follower.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"forward_learner_requests_to_commit_processor_disabled", CONFIG_ANY, CONFIG_ACCEPTED, 0,
     CONFIG_ENSEMBLE},
    {"tcpKeepAlive", CONFIG_IS_TRUE, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"kerberos.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},

    /* security */
    CONFIG_KEY("DigestAuthenticationProvider.superDigest", CONFIG_TEXT, super_digest, NULL),
    CONFIG_KEY("DigestAuthenticationProvider.enabled", CONFIG_IS_TRUE, digest_auth, "true"),
    CONFIG_KEY("DigestAuthenticationProvider.digestAlg", CONFIG_TEXT, digest_algorithm, "SHA1"),
    CONFIG_KEY("enforce.auth.enabled", CONFIG_IS_TRUE, enforce_auth, "false"),
    CONFIG_KEY("enforce.auth.schemes", CONFIG_TEXT, enforce_auth_schemes, NULL),
    {"IPAuthenticationProvider.usexforwardedfor", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0,
     CONFIG_NO_ADMIN},
    {"X509AuthenticationProvider.*", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_TLS},
    {"superUser*", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_SASL},
    {"ensembleAuthName", CONFIG_ANY, CONFIG_UNBUILT, 0, "the scheme ensemble is not built in"},
    {"sessionRequireClientSASLAuth", CONFIG_IS_TRUE, CONFIG_REFUSED, 0, CONFIG_NO_SASL},
    {"allowSaslFailedClients", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"letAnySaslUserDoX", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"sasl.serverconfig", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_SASL},
    {"requireKerberosConfig", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"security.auth_to_local", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"kinit", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_SASL},
    {"ssl.*", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_TLS},
    {"fips-mode", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_TLS},

    /* operation */
    CONFIG_KEY("4lw.commands.whitelist", CONFIG_TEXT, four_letter_whitelist, "srvr"),
    {"admin.portUnification", CONFIG_IS_TRUE, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"admin.forceHttps", CONFIG_IS_TRUE, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"admin.needClientAuth", CONFIG_IS_TRUE, CONFIG_REFUSED, 0, CONFIG_NO_TLS},
    {"admin.rateLimiterIntervalInMS", CONFIG_INT, CONFIG_ACCEPTED, 0, CONFIG_NO_ADMIN},
    {"admin.serverPort", CONFIG_ANY, CONFIG_UNBUILT, 0, CONFIG_NO_ADMIN},
    {"admin.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_NO_ADMIN},
    {"audit.enable", CONFIG_IS_TRUE, CONFIG_UNBUILT, 0, "there is no audit log"},
    {"audit.impl.class", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"jmx.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_JVM},
    {"test.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, "it is there for tests of the JVM server"},
    {"testingonly.*", CONFIG_ANY, CONFIG_ACCEPTED, 0, "it is there for tests of the JVM server"},
};

/*
 * stock: JVM properties without a prefix, which a file cannot set there. Here the file may hold
 * them as well, because there is no JVM command line to put them on.
 */
static const struct config_key config_jvm_keys[] = {
    CONFIG_KEY("jute.maxbuffer", CONFIG_GET_INT, jute_max_buffer, "1048575"),
    CONFIG_KEY("znode.container.checkIntervalMs", CONFIG_GET_LONG, container_check_interval_ms,
               "60000"),
    CONFIG_KEY("znode.container.maxPerMinute", CONFIG_GET_LONG, container_max_per_minute, "10000"),
    CONFIG_KEY("znode.container.maxNeverUsedIntervalMs", CONFIG_GET_LONG,
               container_max_never_used_ms, "0"),
    {"readonlymode.enabled", CONFIG_IS_TRUE, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"leader.nodelay", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
    {"follower.nodelay", CONFIG_ANY, CONFIG_ACCEPTED, 0, CONFIG_ENSEMBLE},
};

struct config_table {
    const struct config_key *keys;
    size_t n;
};

static const struct config_table config_tables[] = {
    {config_typed_keys, sizeof config_typed_keys / sizeof *config_typed_keys},
    {config_passed_keys, sizeof config_passed_keys / sizeof *config_passed_keys},
    {config_jvm_keys, sizeof config_jvm_keys / sizeof *config_jvm_keys},
};

enum { CONFIG_TYPED, CONFIG_PASSED, CONFIG_JVM_ONLY, CONFIG_TABLES };

static bool config_key_matches(const struct config_key *k, const char *name) {
    size_t n = strlen(k->name);
    return k->name[n - 1] == '*' ? strncmp(k->name, name, n - 1) == 0 : strcmp(k->name, name) == 0;
}

static const struct config_key *config_find_in(const struct config_table *t, const char *name) {
    for (size_t i = 0; i < t->n; i++)
        if (config_key_matches(&t->keys[i], name)) return &t->keys[i];
    return NULL;
}

/* The names of the JVM table are looked up first: leader.nodelay is not one of leader.*. */
static const struct config_key *config_find(const char *name) {
    const struct config_key *k = NULL;
    for (int t = CONFIG_TABLES; t-- > 0 && !k;) k = config_find_in(&config_tables[t], name);
    return k;
}

/* --- values into fields --- */

static bool config_store_number(struct config *c, const struct config_key *k, int64_t v) {
    char *field = (char *)c + k->at;
    if (k->kind == CONFIG_LONG || k->kind == CONFIG_GET_LONG) {
        *(int64_t *)(void *)field = v;
        return true;
    }
    if (v < INT32_MIN || v > INT32_MAX) return false;
    *(int32_t *)(void *)field = (int32_t)v;
    return true;
}

/* False when the value cannot be read; of strict kinds config_valid has been asked before. */
static bool config_store(struct config *c, const struct config_key *k, const char *value) {
    char *field = (char *)c + k->at;
    int64_t v;
    switch (k->kind) {
    case CONFIG_INT:
    case CONFIG_LONG:
        return config_parse_number(value, 10, &v) && config_store_number(c, k, v);
    case CONFIG_GET_INT:
    case CONFIG_GET_LONG:
        return config_decode_number(value, &v) && config_store_number(c, k, v);
    case CONFIG_GET_DOUBLE:
        return config_parse_fraction(value, (double *)(void *)field);
    case CONFIG_BOOL:
    case CONFIG_IS_TRUE:
        *(bool *)field = config_is_word(value, "true");
        return true;
    case CONFIG_IS_YES:
        *(bool *)field = strcmp(value, "yes") == 0;
        return true;
    case CONFIG_IS_NOT_NO:
        *(bool *)field = strcmp(value, "no") != 0;
        return true;
    case CONFIG_TEXT:
        config_set((char **)(void *)field, value);
        return true;
    case CONFIG_PATH:
        config_set_path((char **)(void *)field, value);
        return true;
    case CONFIG_ANY:
        break;
    }
    return true;
}

/* Strict kinds are checked also where nothing is stored. */
static bool config_valid(const struct config_key *k, const char *value) {
    int64_t v;
    if (k->kind == CONFIG_BOOL)
        return config_is_word(value, "true") || config_is_word(value, "false");
    if (k->kind != CONFIG_INT && k->kind != CONFIG_LONG) return true;
    if (!config_parse_number(value, 10, &v)) return false;
    return k->kind == CONFIG_LONG || (v >= INT32_MIN && v <= INT32_MAX);
}

static void config_store_default(struct config *c, const struct config_key *k) {
    if (k->mark != CONFIG_OBEYED || !k->text) return;
    bool ok = config_store(c, k, k->text);
    ZK_ASSERT(ok);
}

/* A key that has no field: says so, or remembers the refusal. */
static void config_note(struct config *c, const struct config_key *k, const char *name,
                        const char *value, struct logq *log) {
    bool boolean = k->kind == CONFIG_BOOL || k->kind == CONFIG_IS_TRUE;
    if (boolean && !config_is_word(value, "true")) return;
    if (k->mark == CONFIG_REFUSED) {
        if (!*c->refusal)
            (void)snprintf(c->refusal, sizeof c->refusal, "%s is set, but %s", name, k->text);
        return;
    }
    log_line(log, k->mark == CONFIG_UNBUILT ? LOG_WARN_LEVEL : LOG_INFO_LEVEL,
             "%s has no effect: %s", name, k->text);
}

static int config_apply(struct config *c, const struct config_key *k, const char *name,
                        const char *value, struct logq *log) {
    bool ok = config_valid(k, value);
    if (ok && k->mark != CONFIG_OBEYED) {
        config_note(c, k, name, value, log);
        return 0;
    }
    if (ok && config_store(c, k, value)) {
        if (k->kind == CONFIG_PATH && *value && *value != '/' && strncmp(value, "./", 2) != 0)
            log_line(log, LOG_WARN_LEVEL,
                     "%s is relative. Prepend ./ to indicate that you're sure!",
                     *(char **)(void *)((char *)c + k->at));
        return 0;
    }
    if (k->kind == CONFIG_BOOL)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "Invalid option %s for %s. Choose 'true' or 'false.'", value, name);
    if (k->kind == CONFIG_INT || k->kind == CONFIG_LONG) return config_fail_number(c, value, 10);
    log_line(log, LOG_WARN_LEVEL, "%s is not a valid value for %s", value, name);
    config_store_default(c, k);
    return 0;
}

static void config_unknown(const char *name, struct logq *log) {
    if (strncmp(name, "zookeeper.", 10) == 0 && config_find(name + 10))
        log_line(log, LOG_WARN_LEVEL, "%s has no effect: the name of the key is %s", name,
                 name + 10);
    else
        log_line(log, LOG_WARN_LEVEL, "%s has no effect: there is no such key", name);
}

ZK_PRIVATE void config_defaults(struct config *c) {
    memset(c, 0, sizeof *c);
    c->server_id = CONFIG_UNSET;
    for (int t = 0; t < CONFIG_TABLES; t++)
        for (size_t i = 0; i < config_tables[t].n; i++)
            config_store_default(c, &config_tables[t].keys[i]);
}

static void config_member_free(struct config_member *m) {
    mem_free(m->host);
    mem_free(m->client_host);
}

static void config_members_free(struct config *c) {
    for (uint32_t i = 0; i < c->member_count; i++) config_member_free(&c->members[i]);
    mem_free(c->members);
    c->members = NULL;
    c->member_count = 0;
    c->hierarchical = false;
    c->members_version = 0;
}

ZK_PRIVATE void config_free(struct config *c) {
    for (int t = 0; t < CONFIG_TABLES; t++) {
        for (size_t i = 0; i < config_tables[t].n; i++) {
            const struct config_key *k = &config_tables[t].keys[i];
            if (k->mark == CONFIG_OBEYED && (k->kind == CONFIG_TEXT || k->kind == CONFIG_PATH))
                mem_free(*(char **)(void *)((char *)c + k->at));
        }
    }
    config_members_free(c);
    memset(c, 0, sizeof *c);
}

/* --- members: the lines server.N, group.N, weight.N. stock: QuorumPeer.QuorumServer --- */

#define CONFIG_WRONG_FORM                                                                          \
    "%s does not have the form server_config or server_config;client_config where server_config"   \
    " is the pipe separated list of host:port:port or host:port:port:type and client_config is"    \
    " port or host:port"

/*
 * The next part of `s` up to `sep`, cut out in place; NULL when there is none. As String.split
 * does, empty parts at the end are none, and a string without parts is one empty part.
 */
static char *config_split(char **s, char sep) {
    char *part = *s;
    if (!part) return NULL;
    char *end = strchr(part, sep);
    *s = NULL;
    if (!end) return part;
    *end++ = '\0';
    size_t rest = 0;
    while (end[rest] == sep) rest++;
    if (end[rest]) *s = end;
    return part;
}

/* host:part:part, the host possibly in brackets; at most max parts. -1 on error. */
static int config_host_parts(struct config *c, char *s, char **parts, int max) {
    int n = 0;
    if (*s == '[') {
        char *close = strchr(s, ']');
        if (!close)
            return config_fail(c, CONFIG_ERROR_PLAIN,
                               "%s starts with '[' but has no matching ']:'", s);
        if (close[1] && !close[2])
            return config_fail(c, CONFIG_ERROR_PLAIN, "%s doesn't have a port after colon", s);
        parts[n++] = s + 1;
        *close = '\0';
        s = close[1] ? close + 2 : NULL;
    }
    for (char *part; n < max && (part = config_split(&s, ':'));) parts[n++] = part;
    return n;
}

/* One port of a server line; -1 on error. */
static int32_t config_member_port(struct config *c, const char *host, const char *text) {
    int64_t port;
    if (!config_parse_number(text, 10, &port) || port < INT32_MIN || port > INT32_MAX)
        return config_fail(c, CONFIG_ERROR_PLAIN, "Address unresolved: %s:%s", host, text);
    if (port < 0 || port > 65535)
        return config_fail(c, CONFIG_ERROR_WRAPPED, "port out of range:%d", (int)port);
    return (int32_t)port;
}

/* String.trim on a part that was cut out in place. */
static char *config_trim(char *s) {
    size_t n = strlen(s);
    while (n && (uint8_t)s[n - 1] <= ' ') s[--n] = '\0';
    while (*s && (uint8_t)*s <= ' ') s++;
    return s;
}

/* Participant 0, observer 1, anything else -1. */
static int config_role(struct config *c, const char *s) {
    if (config_is_word(s, "participant")) return 0;
    if (config_is_word(s, "observer")) return 1;
    return config_fail(c, CONFIG_ERROR_PLAIN, "Unrecognised peertype: %s", s);
}

/* The part after the semicolon: port or host:port. */
static int config_member_client(struct config *c, struct config_member *m, char *s,
                                const char *whole) {
    char *parts[3];
    int n = config_host_parts(c, s, parts, 3);
    if (n < 0) return -1;
    if (n < 1 || n > 2) return config_fail(c, CONFIG_ERROR_PLAIN, CONFIG_WRONG_FORM, whole);
    const char *host = n == 2 ? parts[0] : "0.0.0.0";
    /* stock: the message has the name of the server, which is not known yet */
    m->client_port = config_member_port(c, "null", parts[n - 1]);
    if (m->client_port < 0) return -1;
    m->client_host = config_copy(host);
    return 0;
}

/* One address of a server: host:port:port[:role]; *role is -1 before the first role. */
static int config_member_address(struct config *c, struct config_member *m, char *s,
                                 int *role, const char *whole) {
    char *parts[5];
    int n = config_host_parts(c, s, parts, 5);
    if (n < 0) return -1;
    if (n < 3 || n > 4) return config_fail(c, CONFIG_ERROR_PLAIN, CONFIG_WRONG_FORM, whole);
    int32_t quorum = config_member_port(c, parts[0], parts[1]);
    int32_t election = quorum < 0 ? -1 : config_member_port(c, parts[0], parts[2]);
    if (election < 0) return -1;
    if (quorum == election)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "Client and election port must be different! Please update the"
                           " configuration file on server.%lld",
                           (long long)m->id);
    if (!m->host) {
        m->host = config_copy(parts[0]);
        m->quorum_port = quorum;
        m->election_port = election;
    }
    if (n < 4) return 0;
    int r = config_role(c, config_trim(parts[3]));
    if (r < 0) return -1;
    /* stock: QuorumPeer.QuorumServer names the role it starts with, whatever the first one was */
    if (*role >= 0 && *role != r)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "Multiple addresses should have similar roles: PARTICIPANT vs %s",
                           r ? "OBSERVER" : "PARTICIPANT");
    *role = r;
    return 0;
}

static int config_member_parse(struct config *c, struct config_member *m, const char *whole) {
    char *copy = config_copy(whole), *rest = copy, *addresses, *client, *address;
    int rc = -1, role = -1;
    addresses = config_split(&rest, ';');
    client = config_split(&rest, ';');
    if (rest) {
        (void)config_fail(c, CONFIG_ERROR_PLAIN, CONFIG_WRONG_FORM, whole);
        goto out;
    }
    if (client && config_member_client(c, m, client, whole) < 0) goto out;
    if (strchr(addresses, '|') && !c->multi_address) {
        (void)config_fail(c, CONFIG_ERROR_PLAIN,
                          "Multiple address feature is disabled, but multiple addresses were"
                          " specified for sid %lld",
                          (long long)m->id);
        goto out;
    }
    while ((address = config_split(&addresses, '|')))
        if (config_member_address(c, m, address, &role, whole) < 0) goto out;
    m->observer = role == 1;
    rc = 0;
out:
    mem_free(copy);
    return rc;
}

static struct config_member *config_member_find(struct config *c, int64_t id) {
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i].id == id) return &c->members[i];
    return NULL;
}

/* The number after the first dot of a key, or the whole key when it has no dot, as stock does. */
static int config_key_id(struct config *c, const char *key, int64_t *id) {
    const char *dot = strchr(key, '.'), *text = dot ? dot + 1 : key;
    return config_parse_number(text, 10, id) ? 0 : config_fail_number(c, text, 10);
}

/* stock: a second line of the same id replaces the first; they differ as text (server.01). */
static int config_server(struct config *c, const char *key, const char *value) {
    struct config_member m = {.client_port = CONFIG_UNSET, .weight = 1};
    if (config_key_id(c, key, &m.id) < 0) return -1;
    if (config_member_parse(c, &m, value) < 0) {
        config_member_free(&m);
        return -1;
    }
    struct config_member *old = config_member_find(c, m.id);
    if (old) {
        config_member_free(old);
    } else if (c->member_count == CONFIG_MEMBERS_MAX) {
        config_member_free(&m);
        return config_fail(c, CONFIG_ERROR_PLAIN, "there are more than %d servers",
                           CONFIG_MEMBERS_MAX);
    } else {
        size_t size = (c->member_count + 1) * sizeof *c->members;
        c->members = mem_realloc(c->members, size);
        old = &c->members[c->member_count++];
    }
    *old = m;
    return 0;
}

/* What the lines group.N=id:id and weight.N say; they may stand above the servers they name. */
struct config_grouping {
    int64_t id, value; /* value: the group, or the weight */
};

static const struct config_grouping *config_grouping_find(const struct buf *pairs, int64_t id) {
    const struct config_grouping *all = (const struct config_grouping *)(const void *)pairs->p;
    for (size_t i = 0; i < pairs->n / sizeof *all; i++)
        if (all[i].id == id) return &all[i];
    return NULL;
}

static void config_grouping_put(struct buf *pairs, int64_t id, int64_t value) {
    struct config_grouping pair = {id, value};
    buf_put(pairs, &pair, sizeof pair);
}

/* stock: QuorumHierarchical.parse */
static int config_group(struct config *c, const char *key, const char *value, struct buf *groups) {
    int64_t group, id;
    if (config_key_id(c, key, &group) < 0) return -1;
    char *copy = config_copy(value), *rest = copy, *part;
    int rc = 0;
    while (!rc && (part = config_split(&rest, ':'))) {
        if (!config_parse_number(part, 10, &id))
            rc = config_fail_number(c, part, 10);
        else if (config_grouping_find(groups, id))
            rc = config_fail(c, CONFIG_ERROR_PLAIN, "Server %lldis in multiple groups",
                             (long long)id);
        else
            config_grouping_put(groups, id, group);
    }
    mem_free(copy);
    return rc;
}

/* Every participant must be in a group once there are groups. */
static int config_set_groups(struct config *c, const struct buf *groups,
                             const struct buf *weights) {
    c->hierarchical = true;
    for (uint32_t i = 0; i < c->member_count; i++) {
        struct config_member *m = &c->members[i];
        const struct config_grouping *group = config_grouping_find(groups, m->id);
        const struct config_grouping *weight = config_grouping_find(weights, m->id);
        if (m->observer) continue;
        if (!group)
            return config_fail(c, CONFIG_ERROR_PLAIN, "Server %lldis not in a group",
                               (long long)m->id);
        m->group = group->value;
        if (weight) m->weight = weight->value;
    }
    return 0;
}

static bool config_starts(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int config_member_line(struct config *c, const char *key, const char *value,
                              struct buf *groups, struct buf *weights) {
    int64_t id, n;
    if (config_starts(key, "server.")) return config_server(c, key, value);
    if (config_starts(key, "group")) return config_group(c, key, value, groups);
    if (config_starts(key, "weight")) {
        if (config_key_id(c, key, &id) < 0) return -1;
        if (!config_parse_number(value, 10, &n)) return config_fail_number(c, value, 10);
        if (n < 0 || n > INT32_MAX)
            return config_fail(c, CONFIG_ERROR_PLAIN, "%s=%s is out of range", key, value);
        config_grouping_put(weights, id, n);
    }
    if (strcmp(key, "version") == 0 && !config_parse_number(value, 16, &c->members_version))
        return config_fail_number(c, value, 16);
    return 0;
}

static int config_by_id(const void *a, const void *b) {
    const struct config_member *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* stock: the counts of QuorumPeerConfig.parseDynamicConfig and what checkValidity asks for */
static int config_check_members(struct config *c, struct logq *log) {
    uint32_t participants = 0;
    for (uint32_t i = 0; i < c->member_count; i++) participants += !c->members[i].observer;
    uint32_t observers = c->member_count - participants;
    if (participants == 0) {
        if (!c->standalone_enabled)
            return config_fail(
                c, CONFIG_ERROR_WRAPPED,
                "standaloneEnabled = false then number of participants should be >0");
        if (observers)
            return config_fail(c, CONFIG_ERROR_WRAPPED,
                               "Observers w/o participants is an invalid configuration");
        return 0;
    }
    if (participants == 1 && c->standalone_enabled) {
        log_line(log, LOG_ERROR_LEVEL,
                 "Invalid configuration, only one server specified (ignoring)");
        if (observers)
            return config_fail(c, CONFIG_ERROR_WRAPPED,
                               "Observers w/o quorum is an invalid configuration");
        return 0;
    }
    if (participants <= 2)
        log_line(log, LOG_WARN_LEVEL,
                 "No server failure will be tolerated. You need at least 3 servers.");
    else if (participants % 2 == 0)
        log_line(log, LOG_WARN_LEVEL,
                 "Non-optimal configuration, consider an odd number of servers.");
    if (!c->init_limit) return config_fail(c, CONFIG_ERROR_WRAPPED, "initLimit is not set");
    if (!c->sync_limit) return config_fail(c, CONFIG_ERROR_WRAPPED, "syncLimit is not set");
    return 0;
}

ZK_PRIVATE bool config_distributed(const struct config *c) {
    uint32_t participants = 0;
    for (uint32_t i = 0; i < c->member_count; i++) participants += !c->members[i].observer;
    return participants > 1 || (participants == 1 && !c->standalone_enabled);
}

static int config_membership(struct config *c, const struct config_props *p, struct logq *log) {
    struct buf groups = {0}, weights = {0};
    bool hierarchical = false;
    int rc = 0;
    config_members_free(c);
    for (uint32_t i = 0; i < p->n && !rc; i++) {
        const char *key = p->at[i].key;
        hierarchical |= config_starts(key, "group") || config_starts(key, "weight");
        rc = config_member_line(c, key, p->at[i].value, &groups, &weights);
    }
    if (c->member_count) qsort(c->members, c->member_count, sizeof *c->members, config_by_id);
    if (!rc && hierarchical) rc = config_set_groups(c, &groups, &weights);
    buf_free(&groups);
    buf_free(&weights);
    if (!rc && config_role(c, c->peer_type) == 1)
        log_line(log, LOG_WARN_LEVEL,
                 "Peer type from servers list (PARTICIPANT) doesn't match peerType (OBSERVER)."
                 " Defaulting to servers list.");
    return rc ? rc : config_check_members(c, log);
}

ZK_PRIVATE void config_put_host(struct buf *out, const char *host) {
    bool v6 = strchr(host, ':') != NULL;
    buf_printf(out, "%s%s%s", v6 ? "[" : "", host, v6 ? "]" : "");
}

static void config_put_member(struct buf *out, const struct config_member *m) {
    buf_printf(out, "server.%lld=", (long long)m->id);
    config_put_host(out, m->host);
    buf_printf(out, ":%d:%d:%s", (int)m->quorum_port, (int)m->election_port,
               m->observer ? "observer" : "participant");
    if (m->client_host) {
        buf_putc(out, ';');
        config_put_host(out, m->client_host);
        buf_printf(out, ":%d", (int)m->client_port);
    }
    buf_putc(out, '\n');
}

/* A line for each group, where its first member turns up. */
static void config_put_groups(const struct config *c, struct buf *out) {
    for (uint32_t i = 0; i < c->member_count; i++) {
        const struct config_member *first = &c->members[i];
        bool seen = first->observer;
        for (uint32_t k = 0; k < i && !seen; k++)
            seen = !c->members[k].observer && c->members[k].group == first->group;
        if (seen) continue;
        buf_printf(out, "group.%lld=%lld", (long long)first->group, (long long)first->id);
        for (uint32_t k = i + 1; k < c->member_count; k++)
            if (!c->members[k].observer && c->members[k].group == first->group)
                buf_printf(out, ":%lld", (long long)c->members[k].id);
        buf_putc(out, '\n');
    }
}

ZK_PRIVATE void config_string(const struct config *c, struct buf *out) {
    for (uint32_t i = 0; i < c->member_count; i++) config_put_member(out, &c->members[i]);
    if (c->hierarchical) {
        config_put_groups(c, out);
        for (uint32_t i = 0; i < c->member_count; i++)
            if (!c->members[i].observer)
                buf_printf(out, "weight.%lld=%lld\n", (long long)c->members[i].id,
                           (long long)c->members[i].weight);
    }
    buf_printf(out, "version=%llx", (unsigned long long)c->members_version);
}

/* --- checks, in the order of QuorumPeerConfig.parseProperties --- */

static int config_check_sasl(struct config *c) {
    static const char off[] = "%s is disabled, so cannot enable %s";
    const char *server = "quorum.auth.serverRequireSasl";
    const char *learner = "quorum.auth.learnerRequireSasl";
    if (!c->sasl_enabled && (c->sasl_server_required || c->sasl_learner_required))
        return config_fail(c, CONFIG_ERROR_WRAPPED, off, "quorum.auth.enableSasl",
                           c->sasl_server_required ? server : learner);
    if (c->sasl_server_required && !c->sasl_learner_required)
        return config_fail(c, CONFIG_ERROR_WRAPPED, off, learner, server);
    return 0;
}

/* A port with its address; `key` is clientPort or secureClientPort. */
static int config_check_port(struct config *c, const char *key, int32_t port, const char *address,
                             struct logq *log) {
    if (port == CONFIG_UNSET) {
        log_line(log, LOG_INFO_LEVEL, "%s is not set", key);
        if (!address) return 0;
        return config_fail(c, CONFIG_ERROR_WRAPPED, "%sAddress is set but %s is not set", key, key);
    }
    if (port < 0 || port > 65535)
        return config_fail(c, CONFIG_ERROR_WRAPPED, "port out of range:%d", (int)port);
    const char *host = address ? address : "0.0.0.0";
    bool v6 = strchr(host, ':') != NULL;
    log_line(log, LOG_INFO_LEVEL, "%sAddress is %s%s%s:%d", key, v6 ? "[" : "", host, v6 ? "]" : "",
             (int)port);
    return 0;
}

/* stock: int arithmetic that wraps */
static int32_t config_times(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a * (uint32_t)b);
}

static int config_check_times(struct config *c) {
    if (c->tick_time_ms == 0) return config_fail(c, CONFIG_ERROR_WRAPPED, "tickTime is not set");
    if (c->min_session_timeout_ms == -1)
        c->min_session_timeout_ms = config_times(c->tick_time_ms, 2);
    if (c->max_session_timeout_ms == -1)
        c->max_session_timeout_ms = config_times(c->tick_time_ms, 20);
    if (c->min_session_timeout_ms > c->max_session_timeout_ms)
        return config_fail(c, CONFIG_ERROR_WRAPPED,
                           "minSessionTimeout must not be larger than maxSessionTimeout");
    return 0;
}

static int config_check_metrics(struct config *c, struct logq *log) {
    log_line(log, LOG_INFO_LEVEL, "metricsProvider.className is %s", c->metrics_class);
    if (strcmp(c->metrics_class, "org.apache.zookeeper.metrics.impl.NullMetricsProvider") == 0)
        c->metrics = CONFIG_METRICS_NULL;
    else if (strcmp(c->metrics_class,
                    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider") == 0)
        log_line(log, LOG_WARN_LEVEL,
                 "%s is not built in: metrics are those of the default provider",
                 c->metrics_class);
    else if (strcmp(c->metrics_class, "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"))
        return config_fail(c, CONFIG_ERROR_WRAPPED, "metrics provider class was not found");
    return 0;
}

static int config_check(struct config *c, struct logq *log) {
    if (c->election_alg != 3)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "Invalid electionAlg value. Only 3 is supported.");
    if (config_role(c, c->peer_type) < 0 || config_check_sasl(c) < 0) return -1;
    if (c->autopurge_retain < 3) {
        log_line(log, LOG_WARN_LEVEL, "Invalid autopurge.snapRetainCount: %d. Defaulting to 3",
                 (int)c->autopurge_retain);
        c->autopurge_retain = 3;
    }
    if (!c->data_dir || !*c->data_dir)
        return config_fail(c, CONFIG_ERROR_WRAPPED, "dataDir is not set");
    if (!c->data_log_dir || !*c->data_log_dir) config_set(&c->data_log_dir, c->data_dir);
    /* stock: InetAddress.getByName("") is the loopback address */
    if (c->client_port_address && !*c->client_port_address)
        config_set(&c->client_port_address, "localhost");
    if (config_check_port(c, "clientPort", c->client_port, c->client_port_address, log) < 0 ||
        config_check_port(c, "secureClientPort", c->secure_client_port,
                          c->secure_client_port_address, log) < 0)
        return -1;
    if (c->observer_master_port <= 0)
        log_line(log, LOG_INFO_LEVEL, "observerMasterPort is not set");
    if (config_check_times(c) < 0) return -1;
    return config_check_metrics(c, log);
}

/* Bounds of pass-through keys, which stock checks in the classes that read them. */
static void config_check_bounds(struct config *c, struct logq *log) {
    if (c->snap_count < 2) {
        c->snap_count = 2;
        log_line(log, LOG_WARN_LEVEL,
                 "SnapCount should be 2 or more. Now, snapCount is reset to 2");
    }
    if (c->commit_log_count < 500) {
        log_line(log, LOG_WARN_LEVEL,
                 "The configured commitLogCount %d is less than the recommended 500, going to use"
                 " the recommended one",
                 (int)c->commit_log_count);
        c->commit_log_count = 500;
    }
    if (c->snapshot_size_factor > 1) {
        c->snapshot_size_factor = 0.33;
        log_line(log, LOG_WARN_LEVEL,
                 "The configured snapshotSizeFactor is invalid, going to use the default 0.33");
    }
    if (c->max_cnxns < 0) {
        c->max_cnxns = 0;
        log_line(log, LOG_WARN_LEVEL,
                 "maxCnxns should be greater than or equal to 0, using default value 0.");
    }
    if (c->large_request_max_bytes <= 0) {
        log_line(log, LOG_WARN_LEVEL,
                 "Invalid max bytes for all large requests %d. It should be a positive number.",
                 (int)c->large_request_max_bytes);
        c->large_request_max_bytes = 104857600;
    }
    if (c->large_request_threshold == 0 || c->large_request_threshold < -1) {
        log_line(log, LOG_WARN_LEVEL,
                 "Invalid large request threshold %d. It should be -1 or positive. Setting to -1",
                 (int)c->large_request_threshold);
        c->large_request_threshold = -1;
    }
    if (c->observer_sync) c->sync_enabled = config_is_word(c->observer_sync, "true");
    if (c->jute_max_buffer < 0) c->jute_max_buffer = 0;
    if (c->jute_extra_size == -1) c->jute_extra_size = c->jute_max_buffer;
    if (c->jute_extra_size < 1024) c->jute_extra_size = 1024;
}

/* stock: AuthenticationHelper, when the server is made. Each scheme must have its provider. */
static int config_check_schemes(struct config *c) {
    if (!c->enforce_auth) return 0;
    if (!c->enforce_auth_schemes || !*c->enforce_auth_schemes)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "zookeeper.enforce.auth.enabled is true zookeeper.enforce.auth.schemes"
                           " must be  configured.");
    char *copy = config_copy(c->enforce_auth_schemes), *rest = copy, *scheme;
    int rc = 0;
    while (!rc && (scheme = config_split(&rest, ','))) {
        scheme = config_trim(scheme);
        bool known = strcmp(scheme, "ip") == 0 || (strcmp(scheme, "digest") == 0 && c->digest_auth);
        if (!known)
            rc = config_fail(c, CONFIG_ERROR_PLAIN, "Authentication scheme %s is not available.",
                             scheme);
    }
    mem_free(copy);
    return rc;
}

/* What is not built in, after everything that stock itself would have objected to. */
static int config_check_refusals(struct config *c) {
    if (*c->refusal) return config_fail(c, CONFIG_ERROR_PLAIN, "%s", c->refusal);
    if (c->secure_client_port != CONFIG_UNSET)
        return config_fail(c, CONFIG_ERROR_PLAIN, "secureClientPort is set, but " CONFIG_NO_TLS);
    if (c->sasl_enabled)
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "quorum.auth.enableSasl is set, but " CONFIG_NO_SASL);
    if (!config_is_word(c->digest_algorithm, "SHA1") &&
        !config_is_word(c->digest_algorithm, "SHA-1"))
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "don't support this ACL digest algorithm: %s in the current environment",
                           c->digest_algorithm);
    return 0;
}

/* --- entrances --- */

/* authProvider.<any>=<class>. stock: ProviderRegistry */
static void config_auth_provider(const char *value, struct logq *log) {
    static const char package[] = "org.apache.zookeeper.server.auth.";
    const char *name = config_starts(value, package) ? value + sizeof package - 1 : "";
    if (strcmp(name, "DigestAuthenticationProvider") && strcmp(name, "IPAuthenticationProvider"))
        log_line(log, LOG_WARN_LEVEL, "Problems loading %s", value);
}

static int config_pair(struct config *c, const struct config_props *p, const char *key,
                       const char *value, struct logq *log) {
    bool member = config_starts(key, "server.") || config_starts(key, "group") ||
                  config_starts(key, "weight");
    if (member && config_props_get(p, "dynamicConfigFile"))
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "parameter: %s must be in a separate dynamic config file", key);
    if (config_starts(key, "authProvider.")) {
        config_auth_provider(value, log);
        return 0;
    }
    const struct config_key *k = config_find(key);
    if (k) return config_apply(c, k, key, value, log);
    config_unknown(key, log);
    return 0;
}

ZK_PRIVATE int config_parse(struct config *c, struct slice text, struct logq *log) {
    struct config_props p;
    int rc = 0;
    if (config_props_load(&p, text) < 0)
        rc = config_fail(c, CONFIG_ERROR_WRAPPED, "Malformed \\uxxxx encoding.");
    for (uint32_t i = 0; i < p.n && !rc; i++)
        rc = config_pair(c, &p, p.at[i].key, p.at[i].value, log);
    if (!rc) rc = config_check(c, log);
    if (!rc && !c->dynamic_config_file) rc = config_membership(c, &p, log);
    if (!rc) config_check_bounds(c, log);
    if (!rc) rc = config_check_schemes(c);
    if (!rc) rc = config_check_refusals(c);
    config_props_free(&p);
    return rc;
}

ZK_PRIVATE int config_parse_dynamic(struct config *c, struct slice text, struct logq *log) {
    struct config_props p;
    int rc = 0;
    if (config_props_load(&p, text) < 0)
        rc = config_fail(c, CONFIG_ERROR_WRAPPED, "Malformed \\uxxxx encoding.");
    if (!rc && config_props_get(&p, "version"))
        rc = config_fail(c, CONFIG_ERROR_PLAIN, "dynamic file shouldn't have version inside");
    for (uint32_t i = 0; i < p.n && !rc; i++) {
        const char *key = p.at[i].key;
        if (!config_starts(key, "server.") && !config_starts(key, "group") &&
            !config_starts(key, "weight"))
            rc = config_fail(c, CONFIG_ERROR_PLAIN, "Unrecognised parameter: %s", key);
    }
    if (!rc) rc = config_membership(c, &p, log);
    config_props_free(&p);
    return rc;
}

/*
 * stock: QuorumPeerConfig.setupClientPort. Also a standalone server takes the client address of
 * its own server line, which must not contradict clientPort.
 */
ZK_PRIVATE int config_parse_myid(struct config *c, struct slice line) {
    char text[32] = "";
    int64_t id;
    if (line.n < sizeof text && line.n) memcpy(text, line.p, line.n);
    if (!config_parse_number(text, 10, &id))
        return config_fail(c, CONFIG_ERROR_WRAPPED, "serverid %.*s is not a number",
                           (int)(line.n < 200 ? line.n : 200), (const char *)line.p);
    c->server_id = id;
    const struct config_member *m = config_member_find(c, id);
    if (!m || !m->client_host) return 0;
    const char *host = c->client_port_address ? c->client_port_address : "0.0.0.0";
    bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    if (c->client_port != CONFIG_UNSET &&
        (c->client_port != m->client_port || (!any && strcmp(host, m->client_host) != 0)))
        return config_fail(c, CONFIG_ERROR_PLAIN,
                           "client address for this server (id = %lld) in static config file is"
                           " %s:%d is different from client address found in dynamic file: %s:%d",
                           (long long)id, host, (int)c->client_port, m->client_host,
                           (int)m->client_port);
    c->client_port = m->client_port;
    config_set(&c->client_port_address, m->client_host);
    return 0;
}

/* stock: ServerConfig.parse(String[]); without a file the limit per client is off. */
ZK_PRIVATE int config_parse_args(struct config *c, int n, const char *const *args) {
    const char *names[] = {"clientPort", "dataDir", "tickTime", "maxClientCnxns"};
    struct logq quiet = {.max_level = 0};
    ZK_ASSERT(n >= 2 && n <= 4);
    c->max_client_cnxns = 0;
    for (int i = 0; i < n; i++)
        if (config_apply(c, config_find(names[i]), names[i], args[i], &quiet) < 0) return -1;
    if (config_check(c, &quiet) < 0) return -1;
    config_check_bounds(c, &quiet);
    return 0;
}

static void config_jvm_word(struct config *c, char *word, struct logq *log) {
    if (strncmp(word, "-D", 2) != 0) return;
    char *name = word + 2, *value = strchr(name, '=');
    bool prefixed = config_starts(name, "zookeeper.");
    if (!value) return;
    *value++ = '\0';
    if (prefixed) name += strlen("zookeeper.");
    const struct config_table *t = &config_tables[prefixed ? CONFIG_PASSED : CONFIG_JVM_ONLY];
    const struct config_key *k = config_find_in(t, name);
    if (k) (void)config_apply(c, k, name, value, log);
}

ZK_PRIVATE void config_jvm_flags(struct config *c, const char *flags, struct logq *log) {
    char *copy = config_copy(flags);
    for (char *s = copy; *s;) {
        while (*s && (uint8_t)*s <= ' ') s++;
        char *word = s;
        while (*s && (uint8_t)*s > ' ') s++;
        if (*s) *s++ = '\0';
        config_jvm_word(c, word, log);
    }
    mem_free(copy);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/link.c ==== */


ZK_PRIVATE void links_init(struct links *l, size_t in_max) {
    memset(l, 0, sizeof *l);
    l->in_max = in_max;
    l->free_list = LINK_NONE;
}

ZK_PRIVATE void links_free(struct links *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        buf_free(&l->at[i].in);
        buf_free(&l->at[i].out);
    }
    mem_free(l->at);
    buf_free(&l->effects);
    links_init(l, 0);
}

ZK_PRIVATE struct link *link_at(struct links *l, uint32_t id) {
    ZK_ASSERT(id < l->n && l->at[id].phase != LINK_FREE);
    return &l->at[id];
}

static void link_effect(struct links *l, enum link_effect_kind kind, uint32_t id) {
    struct link_effect e = {kind, id};
    buf_compact(&l->effects);
    buf_put(&l->effects, &e, sizeof e);
}

static uint32_t link_new(struct links *l, enum link_kind kind, int64_t now) {
    uint32_t id = l->free_list;
    if (id != LINK_NONE) {
        l->free_list = l->at[id].next_free;
    } else {
        if (l->n == l->cap) {
            l->cap = l->cap ? l->cap * 2 : 16;
            l->at = mem_realloc(l->at, sizeof *l->at * l->cap);
        }
        id = l->n++;
    }
    memset(&l->at[id], 0, sizeof l->at[id]);
    l->at[id].kind = kind;
    l->at[id].since = now;
    l->live++;
    return id;
}

ZK_PRIVATE uint32_t link_dial(struct links *l, enum link_kind kind, const char *host,
                              uint16_t port, int64_t now) {
    uint32_t id = link_new(l, kind, now);
    struct link *k = &l->at[id];
    k->phase = LINK_DIALING;
    k->dialed = true;
    size_t n = strlen(host);
    if (n >= sizeof k->host) n = sizeof k->host - 1; /* no such name exists: the dial fails */
    memcpy(k->host, host, n);
    k->port = port;
    link_effect(l, LINK_DIAL, id);
    return id;
}

ZK_PRIVATE uint32_t link_accepted(struct links *l, enum link_kind kind, int64_t now) {
    uint32_t id = link_new(l, kind, now);
    l->at[id].phase = LINK_OPEN;
    return id;
}

ZK_PRIVATE struct buf *link_out(struct links *l, uint32_t id) {
    struct link *k = link_at(l, id);
    buf_compact(&k->out);
    if (!k->dirty && k->phase == LINK_OPEN) {
        k->dirty = true;
        link_effect(l, LINK_SEND, id);
    }
    return &k->out;
}

ZK_PRIVATE void link_close(struct links *l, uint32_t id) {
    struct link *k = link_at(l, id);
    if (k->phase == LINK_CLOSING) return;
    k->phase = LINK_CLOSING;
    buf_free(&k->in);
    link_effect(l, LINK_CLOSE, id);
}

ZK_PRIVATE bool link_take_effect(struct links *l, struct link_effect *e) {
    if (!buf_len(&l->effects)) return false;
    memcpy(e, l->effects.p + l->effects.head, sizeof *e);
    buf_consume(&l->effects, sizeof *e);
    return true;
}

ZK_PRIVATE void link_opened(struct links *l, uint32_t id) {
    struct link *k = link_at(l, id);
    if (k->phase != LINK_DIALING) return;
    k->phase = LINK_OPEN;
    if (buf_len(&k->out)) (void)link_out(l, id); /* what was written meanwhile */
}

ZK_PRIVATE bool link_received(struct links *l, uint32_t id, struct slice bytes) {
    struct link *k = link_at(l, id);
    if (k->phase != LINK_OPEN) return false;
    buf_compact(&k->in);
    buf_put(&k->in, bytes.p, bytes.n);
    return true;
}

ZK_PRIVATE bool link_wants(const struct links *l, uint32_t id) {
    return buf_len(&l->at[id].in) < l->in_max;
}

ZK_PRIVATE void link_sent(struct links *l, uint32_t id, size_t bytes) {
    struct link *k = link_at(l, id);
    buf_consume(&k->out, bytes);
    k->sent += bytes;
    k->dirty = buf_len(&k->out) != 0;
}

ZK_PRIVATE void link_gone(struct links *l, uint32_t id) {
    struct link *k = link_at(l, id);
    buf_free(&k->in);
    buf_free(&k->out);
    k->phase = LINK_FREE;
    k->next_free = l->free_list;
    l->free_list = id;
    l->live--;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/packet.c ==== */


#define PACKET_HEAD 16u /* type, zxid, length of data */
#define PACKET_AUTH_MAX 4096

ZK_PRIVATE enum packet_status packet_take(struct slice in, uint32_t max, struct packet *p,
                                          size_t *used) {
    if (in.n < PACKET_HEAD) return PACKET_MORE;
    int32_t len = (int32_t)be32(in.p + PACKET_HEAD - 4);
    if (len < -1 || (len > 0 && (uint32_t)len > max)) return PACKET_BAD;
    if (in.n < PACKET_HEAD + (len > 0 ? (size_t)len : 0) + 4) return PACKET_MORE;
    struct jr r = jr_open(in, max);
    p->type = jr_i32(&r);
    p->zxid = jr_i64(&r);
    p->data = jr_bytes(&r);
    p->n_auth = jr_i32(&r);
    if (p->n_auth < -1 || p->n_auth > PACKET_AUTH_MAX) return PACKET_BAD;
    p->auth = slice_of(r.p, 0);
    for (int32_t i = 0; i < p->n_auth && !r.bad; i++) {
        (void)jr_bytes(&r);
        (void)jr_bytes(&r);
    }
    if (r.bad && (r.oversize || in.n > PACKET_LONGEST(max))) return PACKET_BAD;
    if (r.bad) return PACKET_MORE;
    p->auth.n = (size_t)(r.p - p->auth.p);
    *used = (size_t)(r.p - in.p);
    return PACKET_READ;
}

ZK_PRIVATE size_t packet_begin(struct buf *out, int32_t type, int64_t zxid) {
    size_t at = out->n;
    jw_i32(out, type);
    jw_i64(out, zxid);
    jw_i32(out, 0);
    return at;
}

ZK_PRIVATE void packet_end_data(struct buf *out, size_t at) {
    put_be32(out->p + at + PACKET_HEAD - 4, (uint32_t)(out->n - at - PACKET_HEAD));
}

ZK_PRIVATE void packet_end(struct buf *out, size_t at) {
    packet_end_data(out, at);
    jw_i32(out, -1);
}

ZK_PRIVATE void packet_put(struct buf *out, int32_t type, int64_t zxid, struct slice data) {
    jw_i32(out, type);
    jw_i64(out, zxid);
    jw_bytes(out, data);
    jw_i32(out, -1);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/history.c ==== */


ZK_PRIVATE void history_reset(struct history *h, int64_t last) {
    for (uint32_t i = 0; i < h->n; i++) blob_unref(history_at(h, i)->blob);
    h->head = h->n = h->committed = 0;
    h->bytes = 0;
    h->floor = last;
}

ZK_PRIVATE void history_free(struct history *h) {
    history_reset(h, 0);
    mem_free(h->ring);
    h->ring = NULL;
    h->cap = 0;
}

ZK_PRIVATE const struct history_entry *history_at(const struct history *h, uint32_t i) {
    ZK_ASSERT(i < h->n);
    return &h->ring[(h->head + i) & (h->cap - 1)];
}

ZK_PRIVATE struct slice history_bytes(const struct history_entry *e) {
    return slice_of(e->blob->p + e->off, e->len);
}

ZK_PRIVATE void history_add(struct history *h, int64_t zxid, struct blob *blob, uint32_t off,
                            uint32_t len) {
    int64_t last = h->n ? history_at(h, h->n - 1)->zxid : h->floor;
    ZK_ASSERT(zxid > last);
    if (h->n == h->cap) {
        uint32_t cap = h->cap ? h->cap * 2 : 256;
        struct history_entry *ring = mem_alloc(sizeof *ring * cap);
        for (uint32_t i = 0; i < h->n; i++) ring[i] = *history_at(h, i);
        mem_free(h->ring);
        h->ring = ring;
        h->cap = cap;
        h->head = 0;
    }
    struct history_entry e = {zxid, blob_ref(blob), off, len};
    h->ring[(h->head + h->n++) & (h->cap - 1)] = e;
    h->bytes += len;
}

static void history_drop_first(struct history *h) {
    const struct history_entry *e = history_at(h, 0);
    h->floor = e->zxid;
    h->bytes -= e->len;
    blob_unref(e->blob);
    h->head = (h->head + 1) & (h->cap - 1);
    h->n--;
    h->committed--;
}

ZK_PRIVATE void history_commit(struct history *h, int64_t zxid) {
    while (h->committed < h->n && history_at(h, h->committed)->zxid <= zxid) h->committed++;
    while (h->committed > h->keep || (h->bytes > HISTORY_BYTES_MAX && h->committed > HISTORY_LEAST))
        history_drop_first(h);
}

ZK_PRIVATE uint32_t history_after(const struct history *h, int64_t zxid) {
    uint32_t low = 0, high = h->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (history_at(h, mid)->zxid <= zxid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

ZK_PRIVATE bool history_knows(const struct history *h, int64_t zxid) {
    if (zxid == h->floor) return true;
    uint32_t i = history_after(h, zxid);
    return i > 0 && history_at(h, i - 1)->zxid == zxid;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/quorum.c ==== */


/* The place of a member in cfg->members, which are sorted; member_count for a stranger. */
static uint32_t quorum_place(const struct config *cfg, int64_t sid) {
    uint32_t low = 0, high = cfg->member_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (cfg->members[mid].id < sid)
            low = mid + 1;
        else
            high = mid;
    }
    return low < cfg->member_count && cfg->members[low].id == sid ? low : cfg->member_count;
}

static bool sidset_bit(const struct sidset *s, uint32_t place) {
    return s->bits[place / 64] >> place % 64 & 1;
}

ZK_PRIVATE void sidset_clear(struct sidset *s) {
    memset(s, 0, sizeof *s);
}

ZK_PRIVATE bool sidset_has(const struct sidset *s, const struct config *cfg, int64_t sid) {
    uint32_t place = quorum_place(cfg, sid);
    return place < cfg->member_count && sidset_bit(s, place);
}

ZK_PRIVATE bool sidset_add(struct sidset *s, const struct config *cfg, int64_t sid) {
    uint32_t place = quorum_place(cfg, sid);
    if (place == cfg->member_count || sidset_bit(s, place)) return false;
    s->bits[place / 64] |= (uint64_t)1 << place % 64;
    return true;
}

ZK_PRIVATE void sidset_del(struct sidset *s, const struct config *cfg, int64_t sid) {
    uint32_t place = quorum_place(cfg, sid);
    if (place < cfg->member_count) s->bits[place / 64] &= ~((uint64_t)1 << place % 64);
}

ZK_PRIVATE const struct config_member *quorum_member(const struct config *cfg, int64_t sid) {
    uint32_t place = quorum_place(cfg, sid);
    return place < cfg->member_count ? &cfg->members[place] : NULL;
}

ZK_PRIVATE bool quorum_is_voter(const struct config *cfg, int64_t sid) {
    const struct config_member *m = quorum_member(cfg, sid);
    return m && !m->observer;
}

ZK_PRIVATE int64_t quorum_weight(const struct config *cfg, int64_t sid) {
    const struct config_member *m = quorum_member(cfg, sid);
    return m && !m->observer ? m->weight : 0;
}

ZK_PRIVATE uint32_t quorum_voters(const struct config *cfg) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < cfg->member_count; i++) n += !cfg->members[i].observer;
    return n;
}

/* The weight of the group that begins at `first`, all of it and that in the set; false when an
 * earlier member has begun it. */
static bool quorum_group(const struct config *cfg, const struct sidset *acks, uint32_t first,
                         int64_t *all, int64_t *in) {
    *all = *in = 0;
    for (uint32_t i = 0; i < cfg->member_count; i++) {
        const struct config_member *m = &cfg->members[i];
        if (m->observer || m->group != cfg->members[first].group) continue;
        if (i < first) return false;
        *all += m->weight;
        if (sidset_bit(acks, i)) *in += m->weight;
    }
    return true;
}

static bool quorum_of_groups(const struct config *cfg, const struct sidset *acks) {
    uint32_t groups = 0, won = 0;
    int64_t all, in;
    for (uint32_t i = 0; i < cfg->member_count; i++) {
        if (cfg->members[i].observer || !quorum_group(cfg, acks, i, &all, &in) || !all) continue;
        groups++;
        won += in > all / 2;
    }
    return won > groups / 2;
}

ZK_PRIVATE bool quorum_reached(const struct config *cfg, const struct sidset *acks) {
    if (cfg->hierarchical) return quorum_of_groups(cfg, acks);
    uint32_t voters = 0, in = 0;
    for (uint32_t i = 0; i < cfg->member_count; i++) {
        if (cfg->members[i].observer) continue;
        voters++;
        in += sidset_bit(acks, i);
    }
    return in > voters / 2;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/mesh.c ==== */



#define MESH_V1 ((int64_t)-65536) /* one address */
#define MESH_V2 ((int64_t)-65535) /* several */
#define MESH_NEVER INT64_MIN
/* stock: QuorumCnxManager.OBSERVER_ID, the name of observers of old; no server of today sends it */
#define MESH_NAMELESS INT64_MAX

struct mesh_hello {
    int64_t sid;
    char host[LINK_HOST]; /* empty: none that could be dialed */
    uint16_t port;
};

enum mesh_parse { MESH_PARTIAL, MESH_COMPLETE, MESH_BAD };

ZK_PRIVATE void mesh_init(struct mesh *m, const struct config *cfg, int64_t self,
                          struct links *links, struct logq *log) {
    const struct config_member *me = quorum_member(cfg, self);
    struct buf address = {0};
    ZK_ASSERT(me);
    memset(m, 0, sizeof *m);
    m->cfg = cfg;
    m->links = links;
    m->log = log;
    m->self = self;
    config_put_host(&address, me->host);
    buf_printf(&address, ":%d", (int)me->election_port);
    jw_i64(&m->hello, MESH_V1);
    jw_i64(&m->hello, self);
    jw_bytes(&m->hello, buf_slice(&address));
    buf_free(&address);
}

ZK_PRIVATE void mesh_free(struct mesh *m) {
    for (uint32_t i = 0; i < m->n_peers; i++) buf_free(&m->peers[i].message);
    mem_free(m->peers);
    buf_free(&m->hello);
    buf_free(&m->inbox);
    buf_free(&m->taken);
    memset(m, 0, sizeof *m);
}

/* --- peers --- */

static struct mesh_peer *mesh_find(const struct mesh *m, int64_t sid) {
    for (uint32_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].sid == sid) return &m->peers[i];
    return NULL;
}

/* NULL when there are too many strangers. */
static struct mesh_peer *mesh_peer(struct mesh *m, int64_t sid) {
    struct mesh_peer *p = mesh_find(m, sid);
    bool member = quorum_member(m->cfg, sid) != NULL;
    if (p) return p;
    if (!member && m->strangers == MESH_STRANGERS_MAX) return NULL;
    if (m->n_peers == m->cap_peers) {
        m->cap_peers = m->cap_peers ? m->cap_peers * 2 : 8;
        m->peers = mem_realloc(m->peers, sizeof *m->peers * m->cap_peers);
    }
    p = &m->peers[m->n_peers++];
    memset(p, 0, sizeof *p);
    p->sid = sid;
    p->member = member;
    p->channel = p->dialing = LINK_NONE;
    p->knocked = MESH_NEVER;
    m->strangers += !member;
    return p;
}

/* A stranger without a link is forgotten. */
static void mesh_settle(struct mesh *m, struct mesh_peer *p) {
    if (p->member || p->channel != LINK_NONE || p->dialing != LINK_NONE) return;
    buf_free(&p->message);
    *p = m->peers[--m->n_peers];
    m->strangers--;
}

static void mesh_hang_up(struct mesh *m, uint32_t *link) {
    if (*link != LINK_NONE) link_close(m->links, *link);
    *link = LINK_NONE;
}

static void mesh_dial(struct mesh *m, struct mesh_peer *p, const char *host, uint16_t port) {
    p->dialing = link_dial(m->links, LINK_ELECTION, host, port, m->now);
    p->dark = false;
    log_line(m->log, LOG_DEBUG_LEVEL, "election: connecting to server %lld at %s:%u",
             (long long)p->sid, host, (unsigned)port);
}

/* Within MESH_KNOCK_MS a larger id has been told our name already: again would cut its answer. */
static void mesh_connect(struct mesh *m, struct mesh_peer *p) {
    const struct config_member *c = quorum_member(m->cfg, p->sid);
    if (!c || p->channel != LINK_NONE || p->dialing != LINK_NONE) return;
    if (p->knocked != MESH_NEVER && m->now - p->knocked < MESH_KNOCK_MS) return;
    mesh_dial(m, p, c->host, (uint16_t)c->election_port);
}

/* --- sending --- */

static void mesh_flush(struct mesh *m, struct mesh_peer *p) {
    if (!p->waiting || p->channel == LINK_NONE) return;
    if (buf_len(&link_at(m->links, p->channel)->out) > MESH_OUT_MAX) return;
    jw_bytes(link_out(m->links, p->channel), buf_slice(&p->message));
    p->waiting = false;
}

static void mesh_receive(struct mesh *m, int64_t sid, struct slice message) {
    if (buf_len(&m->inbox) > MESH_INBOX_MAX) {
        log_line(m->log, LOG_WARN_LEVEL, "election: a message of server %lld is dropped: too many",
                 (long long)sid);
        return;
    }
    buf_compact(&m->inbox);
    jw_i64(&m->inbox, sid);
    jw_bytes(&m->inbox, message);
}

ZK_PRIVATE void mesh_send(struct mesh *m, int64_t sid, struct slice message, int64_t now) {
    ZK_ASSERT(message.n > 0 && message.n <= MESH_FRAME_MAX);
    m->now = now;
    if (sid == m->self) {
        mesh_receive(m, sid, message);
        return;
    }
    struct mesh_peer *p = quorum_member(m->cfg, sid) ? mesh_peer(m, sid) : mesh_find(m, sid);
    if (!p) return;
    buf_clear(&p->message);
    buf_put(&p->message, message.p, message.n);
    p->has_message = p->waiting = true;
    if (p->channel == LINK_NONE)
        mesh_connect(m, p);
    else
        mesh_flush(m, p);
}

ZK_PRIVATE void mesh_connect_all(struct mesh *m, int64_t now) {
    m->now = now;
    for (uint32_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].has_message) mesh_connect(m, &m->peers[i]);
}

ZK_PRIVATE bool mesh_delivered(const struct mesh *m) {
    for (uint32_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].has_message && !m->peers[i].waiting) return true;
    return false;
}

ZK_PRIVATE bool mesh_dark(const struct mesh *m, int64_t sid) {
    const struct mesh_peer *p = mesh_find(m, sid);
    return p && p->dark;
}

ZK_PRIVATE bool mesh_take(struct mesh *m, int64_t *sid, struct slice *message) {
    if (!buf_len(&m->inbox)) return false;
    struct jr r = jr_open(buf_slice(&m->inbox), MESH_FRAME_MAX);
    *sid = jr_i64(&r);
    struct slice s = jr_bytes(&r);
    ZK_ASSERT(!r.bad);
    buf_clear(&m->taken);
    buf_put(&m->taken, s.p, s.n);
    buf_consume(&m->inbox, 12 + s.n);
    *message = buf_slice(&m->taken);
    return true;
}

/* --- the initial message --- */

static bool mesh_wildcard(const char *host) {
    static const char *const names[] = {"0.0.0.0", "0", "::", "0:0:0:0:0:0:0:0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(host, names[i]) == 0) return true;
    return false;
}

/* host:port or [host]:port; false when it is neither. The first that can be dialed is kept. */
static bool mesh_address(struct mesh_hello *h, struct slice s) {
    size_t colon = s.n, host = 0, port = 0;
    while (colon && s.p[colon - 1] != ':') colon--;
    if (colon < 2 || colon == s.n) return false;
    for (size_t i = colon; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        port = port * 10 + (size_t)(s.p[i] - '0');
        if (port > 65535) return false;
    }
    size_t end = colon - 1;
    if (s.p[0] == '[') {
        if (s.p[end - 1] != ']') return false;
        host = 1;
        end--;
    }
    if (end <= host || end - host >= LINK_HOST) return false;
    for (size_t i = host; i < end; i++)
        if (s.p[i] <= ' ' || s.p[i] == 0x7f) return false;
    if (*h->host) return true;
    memcpy(h->host, s.p + host, end - host);
    h->host[end - host] = '\0';
    h->port = (uint16_t)port;
    if (mesh_wildcard(h->host)) *h->host = '\0';
    return true;
}

static bool mesh_addresses(struct mesh_hello *h, struct slice s) {
    for (size_t from = 0, i = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '|') continue;
        if (!mesh_address(h, slice_of(s.p + from, i - from))) return false;
        from = i + 1;
    }
    return true;
}

/* *used: bytes of the message, when it is complete. */
static enum mesh_parse mesh_parse_hello(struct slice in, struct mesh_hello *h, size_t *used) {
    memset(h, 0, sizeof *h);
    if (in.n < 8) return MESH_PARTIAL;
    h->sid = (int64_t)be64(in.p);
    *used = 8;
    if (h->sid >= 0) return MESH_COMPLETE; /* up to 3.4 */
    if (h->sid != MESH_V1 && h->sid != MESH_V2) return MESH_BAD;
    if (in.n < 20) return MESH_PARTIAL;
    uint32_t n = be32(in.p + 16);
    if (!n || n > MESH_HELLO_MAX) return MESH_BAD;
    if (in.n < 20 + (size_t)n) return MESH_PARTIAL;
    h->sid = (int64_t)be64(in.p + 8);
    *used = 20 + (size_t)n;
    return mesh_addresses(h, slice_of(in.p + 20, n)) ? MESH_COMPLETE : MESH_BAD;
}

/* --- channels --- */

/* A link becomes the channel of p, and p hears what it was told last. */
static void mesh_promote(struct mesh *m, struct mesh_peer *p, uint32_t link) {
    mesh_hang_up(m, &p->channel);
    p->channel = link;
    p->dark = false;
    p->knocked = MESH_NEVER;
    p->waiting = p->has_message;
    log_line(m->log, LOG_DEBUG_LEVEL, "election: connected with server %lld", (long long)p->sid);
    mesh_flush(m, p);
}

static void mesh_forget_guest(struct mesh *m, uint32_t link) {
    uint32_t to = 0;
    for (uint32_t i = 0; i < m->n_guests; i++)
        if (m->guests[i].link != link) m->guests[to++] = m->guests[i];
    m->n_guests = to;
}

static bool mesh_is_guest(const struct mesh *m, uint32_t link) {
    for (uint32_t i = 0; i < m->n_guests; i++)
        if (m->guests[i].link == link) return true;
    return false;
}

/* An address and no name: nobody outside decides what names are asked for. */
static bool mesh_is_address(const char *host) {
    size_t digits = strspn(host, "0123456789."), any = strspn(host, "0123456789abcdefABCDEF:.");
    return !host[digits] || (!host[any] && strchr(host, ':') != NULL);
}

/* Somebody with a smaller id knocked: it is dialed, at the address that it named if any. */
static void mesh_dial_back(struct mesh *m, const struct mesh_hello *h) {
    struct mesh_peer *p = mesh_peer(m, h->sid);
    if (!p) {
        log_line(m->log, LOG_WARN_LEVEL, "election: server %lld is not dialed: too many strangers",
                 (long long)h->sid);
        return;
    }
    if (p->dialing != LINK_NONE) return;
    const struct config_member *c = quorum_member(m->cfg, h->sid);
    if (*h->host && (c || mesh_is_address(h->host)))
        mesh_dial(m, p, h->host, h->port);
    else if (c)
        mesh_dial(m, p, c->host, (uint16_t)c->election_port);
    else
        mesh_settle(m, p);
}

/* An accepted connection has said its name. */
static void mesh_welcome(struct mesh *m, uint32_t link, const struct mesh_hello *h) {
    mesh_forget_guest(m, link);
    if (h->sid == m->self || h->sid == MESH_NAMELESS) {
        log_line(m->log, LOG_WARN_LEVEL, "election: a server that calls itself %lld is refused",
                 (long long)h->sid);
        link_close(m->links, link);
        return;
    }
    if (h->sid < m->self) {
        link_close(m->links, link);
        mesh_dial_back(m, h);
        return;
    }
    struct mesh_peer *p = mesh_peer(m, h->sid);
    if (!p) {
        log_line(m->log, LOG_WARN_LEVEL, "election: server %lld is refused: too many strangers",
                 (long long)h->sid);
        link_close(m->links, link);
        return;
    }
    mesh_hang_up(m, &p->dialing);
    mesh_promote(m, p, link);
}

static void mesh_read_guest(struct mesh *m, uint32_t link) {
    struct buf *in = &link_at(m->links, link)->in;
    struct mesh_hello h;
    size_t used = 0;
    switch (mesh_parse_hello(buf_slice(in), &h, &used)) {
    case MESH_PARTIAL:
        break;
    case MESH_COMPLETE:
        buf_consume(in, used);
        mesh_welcome(m, link, &h);
        break;
    case MESH_BAD:
        log_line(m->log, LOG_WARN_LEVEL, "election: a connection with a bad initial message");
        mesh_forget_guest(m, link);
        link_close(m->links, link);
        break;
    }
}

static void mesh_read_channel(struct mesh *m, struct mesh_peer *p) {
    struct buf *in = &link_at(m->links, p->channel)->in;
    for (;;) {
        struct slice s = buf_slice(in);
        if (s.n < 4) return;
        uint32_t n = be32(s.p);
        if (!n || n > MESH_FRAME_MAX) {
            log_line(m->log, LOG_WARN_LEVEL,
                     "election: server %lld announces a message of %ld bytes", (long long)p->sid,
                     (long)(int32_t)n);
            mesh_hang_up(m, &p->channel);
            mesh_settle(m, p);
            return;
        }
        if (s.n - 4 < n) return;
        mesh_receive(m, p->sid, slice_of(s.p + 4, n));
        buf_consume(in, 4 + (size_t)n);
    }
}

/* --- what happens to links --- */

ZK_PRIVATE bool mesh_owns(const struct mesh *m, uint32_t link) {
    return link_at(m->links, link)->kind == LINK_ELECTION;
}

static int64_t mesh_guest_timeout(const struct mesh *m) {
    if (m->cfg->quorum_cnxn_timeout_ms > 0) return m->cfg->quorum_cnxn_timeout_ms;
    return (int64_t)m->cfg->sync_limit * m->cfg->tick_time_ms;
}

ZK_PRIVATE void mesh_accepted(struct mesh *m, uint32_t link, int64_t now) {
    m->now = now;
    if (m->n_guests == MESH_GUESTS_MAX) {
        uint32_t oldest = m->guests[0].link;
        mesh_forget_guest(m, oldest);
        link_close(m->links, oldest);
    }
    m->guests[m->n_guests].link = link;
    m->guests[m->n_guests++].deadline = now + mesh_guest_timeout(m);
}

ZK_PRIVATE void mesh_opened(struct mesh *m, uint32_t link, int64_t now) {
    m->now = now;
    for (uint32_t i = 0; i < m->n_peers; i++) {
        struct mesh_peer *p = &m->peers[i];
        if (p->dialing != link) continue;
        buf_put(link_out(m->links, link), m->hello.p, m->hello.n);
        if (p->sid < m->self) {
            p->dialing = LINK_NONE;
            mesh_promote(m, p, link);
        } else {
            mesh_hang_up(m, &p->dialing);
            p->knocked = now;
            p->dark = false;
        }
        return;
    }
}

ZK_PRIVATE void mesh_input(struct mesh *m, uint32_t link, int64_t now) {
    m->now = now;
    if (mesh_is_guest(m, link)) mesh_read_guest(m, link);
    for (uint32_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].channel == link) {
            mesh_read_channel(m, &m->peers[i]);
            return;
        }
}

/* The link of p is gone, or of no more use. */
static void mesh_lost(struct mesh *m, struct mesh_peer *p, uint32_t *link) {
    *link = LINK_NONE;
    p->dark = p->channel == LINK_NONE;
    mesh_settle(m, p);
}

ZK_PRIVATE void mesh_closed(struct mesh *m, uint32_t link, int64_t now) {
    m->now = now;
    mesh_forget_guest(m, link);
    for (uint32_t i = 0; i < m->n_peers; i++) {
        struct mesh_peer *p = &m->peers[i];
        if (p->channel != link && p->dialing != link) continue;
        mesh_lost(m, p, p->channel == link ? &p->channel : &p->dialing);
        return;
    }
}

static bool mesh_unanswered(const struct mesh_peer *p) {
    return p->knocked != MESH_NEVER && p->channel == LINK_NONE && p->dialing == LINK_NONE &&
           !p->dark;
}

ZK_PRIVATE void mesh_tick(struct mesh *m, int64_t now) {
    m->now = now;
    while (m->n_guests && m->guests[0].deadline <= now) {
        uint32_t link = m->guests[0].link;
        log_line(m->log, LOG_WARN_LEVEL, "election: a connection that did not say its name");
        mesh_forget_guest(m, link);
        link_close(m->links, link);
    }
    for (uint32_t i = m->n_peers; i-- > 0;) { /* down: the last takes the place of who goes */
        struct mesh_peer *p = &m->peers[i];
        mesh_flush(m, p);
        /* Its port was open still, and nobody was behind it any more. */
        if (mesh_unanswered(p) && now - p->knocked >= MESH_DARK_MS) p->dark = true;
        if (p->dialing == LINK_NONE) continue;
        if (now - link_at(m->links, p->dialing)->since < m->cfg->cnx_timeout_ms) continue;
        link_close(m->links, p->dialing);
        mesh_lost(m, p, &p->dialing);
    }
}

ZK_PRIVATE int64_t mesh_next_tick(const struct mesh *m) {
    int64_t at = m->n_guests ? m->guests[0].deadline : INT64_MAX;
    for (uint32_t i = 0; i < m->n_peers; i++) {
        const struct mesh_peer *p = &m->peers[i];
        int64_t want = INT64_MAX;
        if (p->dialing != LINK_NONE)
            want = link_at(m->links, p->dialing)->since + m->cfg->cnx_timeout_ms;
        else if (p->waiting && p->channel != LINK_NONE)
            want = m->now + MESH_KNOCK_MS; /* it does not read: whether it has begun to */
        else if (mesh_unanswered(p))
            want = p->knocked + MESH_DARK_MS;
        if (want < at) at = want;
    }
    return at;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/election.c ==== */



#define ELECTION_LAYOUT 2     /* of what is sent: with a config string */
#define ELECTION_NOBODY INT64_MIN /* what an observer proposes, and its zxid and epoch */

struct election_note {
    int64_t sid;
    int32_t state; /* as it came */
    int32_t version;
    struct election_vote vote;
    struct slice config; /* borrowed */
};

ZK_PRIVATE void election_init(struct election *e, const struct config *cfg, int64_t self,
                              struct links *links, struct logq *log) {
    memset(e, 0, sizeof *e);
    e->cfg = cfg;
    e->log = log;
    e->self = self;
    e->vote.leader = ELECTION_NOBODY;
    mesh_init(&e->mesh, cfg, self, links, log);
    config_string(cfg, &e->config);
    e->ballots = mem_zalloc(sizeof *e->ballots * cfg->member_count);
    e->outside = mem_zalloc(sizeof *e->outside * cfg->member_count);
}

ZK_PRIVATE void election_free(struct election *e) {
    mesh_free(&e->mesh);
    buf_free(&e->config);
    mem_free(e->ballots);
    mem_free(e->outside);
    memset(e, 0, sizeof *e);
}

/* --- notifications --- */

static void election_tell(struct election *e, int64_t sid, const struct election_vote *v,
                          int64_t now) {
    struct buf b = {0};
    jw_i32(&b, (int32_t)e->state);
    jw_i64(&b, v->leader);
    jw_i64(&b, v->zxid);
    jw_i64(&b, v->round);
    jw_i64(&b, v->epoch);
    jw_i32(&b, ELECTION_LAYOUT);
    jw_bytes(&b, buf_slice(&e->config));
    mesh_send(&e->mesh, sid, buf_slice(&b), now);
    buf_free(&b);
}

/* The proposal, to every voter, this server included. */
static void election_propose(struct election *e, int64_t now) {
    for (uint32_t i = 0; i < e->cfg->member_count; i++)
        if (!e->cfg->members[i].observer)
            election_tell(e, e->cfg->members[i].id, &e->proposal, now);
    e->repeat_at = now + e->interval;
}

/*
 * stock: the length alone tells the oldest layouts apart, and a message of 40 bytes is read as if
 * its version were 0.
 */
static bool election_parse(struct slice s, struct election_note *n) {
    struct jr r = jr_open(s, MESH_FRAME_MAX);
    n->state = jr_i32(&r);
    n->vote.leader = jr_i64(&r);
    n->vote.zxid = jr_i64(&r);
    n->vote.round = jr_i64(&r);
    n->vote.epoch = s.n == 28 ? n->vote.zxid >> 32 : jr_i64(&r);
    n->version = s.n == 28 || s.n == 40 ? 0 : jr_i32(&r);
    n->config = slice_of(NULL, 0);
    if (n->version >= ELECTION_LAYOUT) {
        n->config = jr_bytes(&r);
        if (!n->config.p) return false;
    }
    return !r.bad;
}

/* --- votes --- */

static int election_order(int64_t a, int64_t b) {
    return a < b ? -1 : a > b;
}

/* stock: totalOrderPredicate; the round has no part in it */
static bool election_better(const struct election *e, const struct election_vote *a,
                            const struct election_vote *b) {
    if (!quorum_weight(e->cfg, a->leader)) return false;
    int order = election_order(a->epoch, b->epoch);
    if (!order) order = election_order(a->zxid, b->zxid);
    if (!order) order = election_order(a->leader, b->leader);
    return order > 0;
}

/*
 * Two votes for the same. Members of a running ensemble may differ in zxid and round (who joined
 * late, or after a reconfig), and servers of old do not know the epoch. stock: Vote.equals
 */
static bool election_same(const struct election_ballot *a, const struct election_ballot *b) {
    const struct election_vote *x = &a->vote, *y = &b->vote;
    if (a->state == SERVER_LOOKING || b->state == SERVER_LOOKING)
        return x->leader == y->leader && x->zxid == y->zxid && x->round == y->round &&
               x->epoch == y->epoch;
    if ((a->version > 0) != (b->version > 0)) return x->leader == y->leader;
    return x->leader == y->leader && x->epoch == y->epoch;
}

/* The voters whose ballot says the same as this one. */
static struct sidset election_count(const struct election *e, const struct election_ballot *ballots,
                                    const struct election_ballot *same) {
    struct sidset set;
    sidset_clear(&set);
    for (uint32_t i = 0; i < e->cfg->member_count; i++)
        if (ballots[i].cast && election_same(&ballots[i], same))
            (void)sidset_add(&set, e->cfg, e->cfg->members[i].id);
    return set;
}

static struct election_ballot *election_ballot(const struct election *e,
                                               struct election_ballot *ballots, int64_t sid) {
    return &ballots[quorum_member(e->cfg, sid) - e->cfg->members];
}

/*
 * A leader that others name has to say itself that it leads, among the same votes: it may have died
 * since. This server has to be in the round that it is said to lead in.
 */
static bool election_confirmed(const struct election *e, struct election_ballot *ballots,
                               const struct election_vote *v) {
    if (v->leader == e->self) return v->round == e->clock;
    const struct election_ballot *b = election_ballot(e, ballots, v->leader);
    return b->cast && b->state == SERVER_LEADING;
}

/* --- the end of an election --- */

static bool election_decide(struct election *e, const struct election_vote *v) {
    bool voter = quorum_is_voter(e->cfg, e->self);
    e->looking = e->settling = false;
    memset(e->ballots, 0, sizeof *e->ballots * e->cfg->member_count);
    e->vote = *v;
    e->state = v->leader == e->self ? SERVER_LEADING
               : voter              ? SERVER_FOLLOWING
                                    : SERVER_OBSERVING;
    log_line(e->log, LOG_INFO_LEVEL,
             "election: server %lld leads; round %lld, epoch 0x%llx, zxid 0x%llx",
             (long long)v->leader, (long long)v->round, (unsigned long long)v->epoch,
             (unsigned long long)v->zxid);
    return true;
}

/* Nobody who could have something better is still to be heard of. */
static bool election_complete(const struct election *e, const struct sidset *same) {
    for (uint32_t i = 0; i < e->cfg->member_count; i++) {
        const struct config_member *m = &e->cfg->members[i];
        if (m->observer || sidset_has(same, e->cfg, m->id)) continue;
        if (m->id == e->self || !mesh_dark(&e->mesh, m->id)) return false;
    }
    return true;
}

/* Whether the proposal has its quorum, and for long enough. */
static bool election_settle(struct election *e, int64_t now) {
    if (!e->looking) return false;
    struct election_ballot mine = {true, SERVER_LOOKING, 0, e->proposal};
    struct sidset same = election_count(e, e->ballots, &mine);
    if (!quorum_reached(e->cfg, &same)) {
        e->settling = false;
        return false;
    }
    if (!e->settling) e->settled_at = now + ELECTION_SETTLE_MS;
    e->settling = true;
    if (now < e->settled_at && !election_complete(e, &same)) return false;
    return election_decide(e, &e->proposal);
}

/* --- the votes of others --- */

static void election_cast(const struct election *e, struct election_ballot *ballots,
                          const struct election_note *n) {
    struct election_ballot *b = election_ballot(e, ballots, n->sid);
    b->cast = true;
    b->state = (enum server_state)n->state;
    b->version = n->version;
    b->vote = n->vote;
}

static void election_adopt(struct election *e, const struct election_vote *v, int64_t now) {
    e->settling = false;
    e->proposal = *v;
    e->proposal.round = e->clock;
    election_propose(e, now);
}

/* A voter that looks for a leader, too. */
static bool election_heard_looking(struct election *e, const struct election_note *n, int64_t now) {
    if (n->vote.round < e->clock) {
        election_tell(e, n->sid, &e->proposal, now);
        return false;
    }
    /* a server without a database, where one is not made by itself */
    if (e->own.zxid == -1 || n->vote.zxid == -1) return false;
    if (n->vote.round > e->clock) {
        e->clock = n->vote.round;
        memset(e->ballots, 0, sizeof *e->ballots * e->cfg->member_count);
        election_adopt(e, election_better(e, &n->vote, &e->own) ? &n->vote : &e->own, now);
    } else if (election_better(e, &n->vote, &e->proposal)) {
        election_adopt(e, &n->vote, now);
    } else if (election_ballot(e, e->outside, n->sid)->cast) {
        /* It still followed the old leader when we told it. stock: leaves that to the repetition,
         * after 200 ms or more */
        election_tell(e, n->sid, &e->proposal, now);
    }
    election_cast(e, e->ballots, n);
    return election_settle(e, now);
}

/* A voter that has a leader, or is it. */
static bool election_heard_decided(struct election *e, const struct election_note *n) {
    struct election_ballot b = {true, (enum server_state)n->state, n->version, n->vote};
    struct sidset same;
    if (n->vote.round == e->clock) {
        election_cast(e, e->ballots, n);
        same = election_count(e, e->ballots, &b);
        if (quorum_reached(e->cfg, &same) && election_confirmed(e, e->ballots, &n->vote))
            return election_decide(e, &n->vote);
    }
    election_cast(e, e->outside, n);
    same = election_count(e, e->outside, &b);
    if (!quorum_reached(e->cfg, &same) || !election_confirmed(e, e->outside, &n->vote))
        return false;
    e->clock = n->vote.round;
    return election_decide(e, &n->vote);
}

/* A voter was heard of. */
static bool election_heard(struct election *e, const struct election_note *n, int64_t now) {
    if (n->state < SERVER_LOOKING || n->state > SERVER_OBSERVING) return false;
    if (!e->looking) {
        if (n->state != SERVER_LOOKING) return false;
        e->voter_looked = true;
        election_cast(e, e->ballots, n);
        election_tell(e, n->sid, &e->vote, now);
        return false;
    }
    if (!quorum_is_voter(e->cfg, n->vote.leader)) {
        log_line(e->log, LOG_WARN_LEVEL, "election: server %lld votes for %lld, which is no voter",
                 (long long)n->sid, (long long)n->vote.leader);
        return false;
    }
    if (n->state == SERVER_LOOKING) return election_heard_looking(e, n, now);
    return n->state != SERVER_OBSERVING && election_heard_decided(e, n);
}

/* The version is the last line of a config string; -1 when there is none. */
static int64_t election_config_version(struct slice config) {
    static const char key[] = "version=";
    size_t at = config.n, digits = 0;
    uint64_t v = 0;
    while (at && config.p[at - 1] != '\n') at--;
    struct slice line = slice_of(config.p + at, config.n - at);
    if (!slice_starts(line, key)) return -1;
    for (size_t i = sizeof key - 1; i < line.n; i++, digits++) {
        uint8_t c = line.p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0 || digits == 16) return -1;
        v = v << 4 | (unsigned)digit;
    }
    return digits ? (int64_t)v : -1;
}

static bool election_message(struct election *e, int64_t sid, struct slice message, int64_t now) {
    struct election_note n = {.sid = sid};
    if (!election_parse(message, &n)) {
        log_line(e->log, LOG_WARN_LEVEL,
                 "election: server %lld sent a notification of %lu bytes that makes no sense",
                 (long long)sid, (unsigned long)message.n);
        return false;
    }
    log_line(e->log, LOG_DEBUG_LEVEL,
             "election: server %lld in state %d votes for %lld; round %lld, epoch 0x%llx,"
             " zxid 0x%llx",
             (long long)sid, (int)n.state, (long long)n.vote.leader, (long long)n.vote.round,
             (unsigned long long)n.vote.epoch, (unsigned long long)n.vote.zxid);
    if (n.config.n && election_config_version(n.config) > e->cfg->members_version)
        log_line(e->log, LOG_DEBUG_LEVEL, "election: the config of server %lld is newer",
                 (long long)sid);
    if (quorum_is_voter(e->cfg, sid)) return election_heard(e, &n, now);
    /* an observer or a stranger: it asks, and its own vote does not count */
    struct election_vote v = e->vote;
    v.round = e->clock;
    election_tell(e, sid, &v, now);
    return false;
}

static bool election_is_idle(const struct election *e) {
    return e->state == SERVER_LOOKING && !e->looking;
}

/* Messages wait while there is nothing to answer with. */
static bool election_drain(struct election *e, int64_t now) {
    struct slice message;
    int64_t sid;
    bool ended = false;
    while (!election_is_idle(e) && mesh_take(&e->mesh, &sid, &message))
        ended |= election_message(e, sid, message, now);
    return ended;
}

/* --- what the owner says --- */

ZK_PRIVATE void election_idle(struct election *e) {
    e->state = SERVER_LOOKING;
    e->looking = e->settling = false;
}

ZK_PRIVATE void election_look(struct election *e, int64_t now, int64_t last_zxid,
                              int64_t current_epoch) {
    size_t size = sizeof *e->ballots * e->cfg->member_count;
    struct election_vote nobody = {ELECTION_NOBODY, ELECTION_NOBODY, 0, ELECTION_NOBODY};
    struct election_vote self = {e->self, last_zxid, 0, current_epoch};
    e->state = SERVER_LOOKING;
    e->looking = true;
    e->voter_looked = e->settling = false;
    memset(e->ballots, 0, size);
    memset(e->outside, 0, size);
    if (e->vote.leader == ELECTION_NOBODY) e->vote = self;
    e->own = quorum_is_voter(e->cfg, e->self) ? self : nobody;
    e->clock = (int64_t)((uint64_t)e->clock + 1); /* a round that was heard may be any number */
    e->interval = e->cfg->notification_min_ms > 0 ? e->cfg->notification_min_ms : 1;
    log_line(e->log, LOG_INFO_LEVEL, "election: looking; round %lld, epoch 0x%llx, zxid 0x%llx",
             (long long)e->clock, (unsigned long long)current_epoch,
             (unsigned long long)last_zxid);
    election_adopt(e, &e->own, now);
}

ZK_PRIVATE void election_led(struct election *e, int64_t epoch) {
    e->vote.epoch = epoch;
}

ZK_PRIVATE bool election_asks_from(const struct election *e, int64_t sid, int64_t epoch) {
    const struct election_ballot *b = election_ballot(e, e->ballots, sid);
    return !e->looking && b->cast && b->vote.leader == sid && b->vote.epoch <= epoch;
}

/* Nobody has answered for a while. */
static void election_repeat(struct election *e, int64_t now) {
    int64_t max = e->cfg->notification_max_ms > 0 ? e->cfg->notification_max_ms : 1;
    /* Nobody tells an observer of a new leader but in answer to its question. */
    if (!quorum_is_voter(e->cfg, e->self) && max > ELECTION_ASK_MS) max = ELECTION_ASK_MS;
    e->interval = e->interval * 2 < max ? e->interval * 2 : max;
    if (mesh_delivered(&e->mesh)) {
        election_propose(e, now);
    } else {
        mesh_connect_all(&e->mesh, now);
        e->repeat_at = now + e->interval;
    }
}

ZK_PRIVATE bool election_tick(struct election *e, int64_t now) {
    mesh_tick(&e->mesh, now);
    if (e->looking && e->settling && election_settle(e, now)) return true;
    if (e->looking && now >= e->repeat_at) election_repeat(e, now);
    return election_drain(e, now);
}

ZK_PRIVATE bool election_accepted(struct election *e, uint32_t link, int64_t now) {
    mesh_accepted(&e->mesh, link, now);
    return false;
}

ZK_PRIVATE bool election_opened(struct election *e, uint32_t link, int64_t now) {
    mesh_opened(&e->mesh, link, now);
    return false;
}

ZK_PRIVATE bool election_input(struct election *e, uint32_t link, int64_t now) {
    mesh_input(&e->mesh, link, now);
    return election_drain(e, now);
}

ZK_PRIVATE bool election_closed(struct election *e, uint32_t link, int64_t now) {
    mesh_closed(&e->mesh, link, now);
    return e->settling && election_settle(e, now);
}

ZK_PRIVATE int64_t election_next_tick(const struct election *e) {
    int64_t at = mesh_next_tick(&e->mesh);
    if (!election_is_idle(e) && buf_len(&e->mesh.inbox)) at = e->mesh.now;
    if (e->looking && e->repeat_at < at) at = e->repeat_at;
    if (e->looking && e->settling && e->settled_at < at) at = e->settled_at;
    return at;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/leader.c ==== */



#define LEADER_OUT_MAX (64u << 20)    /* unsent bytes beyond it: the learner is cut off */
#define LEADER_QUEUE_MAX (256u << 20) /* ... waiting behind a snapshot */
#define LEADER_IMAGE_OUT (1u << 20)   /* a snapshot waits while so much of it is unsent */
#define LEADER_IMAGE_NODES 256u
#define LEADER_IMAGE_BYTES 65536u
#define LEADER_SYNC_MAX (768u << 20)  /* ... of what brings a learner up */
#define LEADER_PEERS_MAX 512u
#define LEADER_CUTS_MAX 64u
#define LEADER_EPOCH_MAX (INT32_MAX - 2)
#define LEADER_HELLO_MAX 4096u /* bytes of a packet from somebody who is not known yet */
#define ZXID_COUNTER 0xffffffffLL

struct leader_cut {
    int64_t sid, last; /* zxid that its log ended with */
};

struct leader_sync {
    uint64_t owner;
    int64_t zxid; /* answered when this is committed */
};

static const struct slice leader_null = {NULL, 0};

static int64_t leader_epoch_zxid(int64_t epoch) {
    return (int64_t)((uint64_t)epoch << 32);
}

ZK_PRIVATE void leader_init(struct leader *l, const struct config *cfg, int64_t self,
                            struct links *links, struct db *db, struct history *history,
                            struct logq *log) {
    memset(l, 0, sizeof *l);
    l->cfg = cfg;
    l->self = self;
    l->links = links;
    l->db = db;
    l->history = history;
    l->log = log;
    l->next_owner = LEADER_OWNER_SELF + 1;
}

ZK_PRIVATE void leader_free(struct leader *l) {
    for (uint32_t i = 0; i < l->n_peers; i++) buf_free(&l->peers[i].queue);
    mem_free(l->peers);
    buf_free(&l->syncs);
    buf_free(&l->cuts);
    l->peers = NULL;
    l->n_peers = l->cap_peers = 0;
}

static void leader_lose(struct leader *l, const char *why) {
    if (l->phase == LEADER_LOST) return;
    l->phase = LEADER_LOST;
    l->why = why;
}

static int64_t leader_limit(const struct leader *l, int32_t ticks) {
    return (int64_t)ticks * l->cfg->tick_time_ms;
}

static struct leader_peer *leader_owner(struct leader *l, uint64_t owner) {
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase != PEER_FREE && l->peers[i].owner == owner) return &l->peers[i];
    return NULL;
}

/* --- the learners' connections --- */

static void leader_drop(struct leader *l, struct leader_peer *p, const char *why) {
    log_line(l->log, LOG_WARN_LEVEL, "Closing connection to server %lld: %s", (long long)p->sid,
             why);
    link_close(l->links, p->link);
    buf_free(&p->queue);
    p->phase = PEER_FREE;
}

ZK_PRIVATE void leader_closed(struct leader *l, uint32_t link) {
    for (uint32_t i = 0; i < l->n_peers; i++) {
        struct leader_peer *p = &l->peers[i];
        if (p->phase == PEER_FREE || p->link != link) continue;
        log_line(l->log, LOG_INFO_LEVEL, "Server %lld is gone", (long long)p->sid);
        buf_free(&p->queue);
        p->phase = PEER_FREE;
    }
}

/* All places are taken: who has not said who it is gives way. */
static uint32_t leader_oldest_stranger(struct leader *l) {
    uint32_t oldest = LEADER_PEERS_MAX;
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase == PEER_INFO &&
            (oldest == LEADER_PEERS_MAX || l->peers[i].heard < l->peers[oldest].heard))
            oldest = i;
    if (oldest < LEADER_PEERS_MAX) leader_drop(l, &l->peers[oldest], "others want its place");
    return oldest;
}

ZK_PRIVATE void leader_accepted(struct leader *l, uint32_t link, int64_t now) {
    uint32_t i = 0;
    l->now = now;
    while (i < l->n_peers && l->peers[i].phase != PEER_FREE) i++;
    if (i == LEADER_PEERS_MAX && (i = leader_oldest_stranger(l)) == LEADER_PEERS_MAX) {
        link_close(l->links, link);
        return;
    }
    if (i == l->n_peers) {
        if (l->n_peers == l->cap_peers) {
            l->cap_peers = l->cap_peers ? l->cap_peers * 2 : 8;
            l->peers = mem_realloc(l->peers, sizeof *l->peers * l->cap_peers);
        }
        l->n_peers++;
    }
    struct leader_peer fresh = {.phase = PEER_INFO, .link = link, .owner = l->next_owner++,
                                .sid = -1, .heard = now};
    l->peers[i] = fresh;
}

/* Where packets to the learner go: behind the snapshot while one is under way. */
static struct buf *leader_out(struct leader *l, struct leader_peer *p) {
    return p->phase == PEER_IMAGE ? &p->queue : link_out(l->links, p->link);
}

static bool leader_enrolled(const struct leader_peer *p) {
    return p->phase >= PEER_IMAGE;
}

/* --- bringing a learner up to our history --- */

struct leader_plan {
    enum packet_type op; /* PROPOSAL: a DIFF, if the log on disk has it all */
    int64_t zxid; /* of the op's packet */
    int64_t from; /* transactions after it are told */
};

/*
 * What a learner whose log ends with `last` needs. A TRUNC is only right when its log is sure to
 * hold the zxid it is cut to: histories agree within an epoch as far as both go, so the cut has to
 * lie in the epoch of its last transaction. stock: LearnerHandler.syncFollower, which cuts to its
 * own last zxid whatever the epoch, and never cuts where a snapshot would do
 */
static struct leader_plan leader_plan_sync(const struct leader *l, int64_t last) {
    const struct history *h = l->history;
    int64_t max = l->committed; /* which may be ahead of our own disk, and so of our tree */
    struct leader_plan diff = {PACKET_DIFF, max, last}, snap = {PACKET_SNAP, 0, 0};
    if (l->cfg->force_snapshot_sync) return snap;
    if (last == max) return diff;
    if (last < h->floor) {
        struct leader_plan log = {PACKET_PROPOSAL, max, last};
        return l->cfg->snapshot_size_factor >= 0 && last > 0 ? log : snap;
    }
    if (last < max && history_knows(h, last)) return diff;
    if ((last & ZXID_COUNTER) == 0) return last < max ? diff : snap; /* led, but wrote nothing */
    uint32_t after = history_after(h, last < max ? last : max);
    int64_t before = after ? history_at(h, after - 1)->zxid : h->floor;
    if (before >> 32 != last >> 32 || (before & ZXID_COUNTER) == 0) return snap;
    struct leader_plan trunc = {PACKET_TRUNC, before, before};
    return trunc;
}

/* A learner that comes back with what it was told to cut cannot cut it: its snapshots go beyond. */
static bool leader_cut_before(struct leader *l, const struct leader_peer *p) {
    struct leader_cut c, mine = {p->sid, p->last_zxid};
    for (size_t at = 0; at < l->cuts.n; at += sizeof c) {
        memcpy(&c, l->cuts.p + at, sizeof c);
        if (c.sid == mine.sid && c.last == mine.last) return true;
    }
    if (l->cuts.n < LEADER_CUTS_MAX * sizeof c) buf_put(&l->cuts, &mine, sizeof mine);
    return false;
}

/* Enrols: everything after `from` is told, now or from now on. */
static void leader_enrol(struct leader *l, struct leader_peer *p, int64_t from) {
    struct buf *out = leader_out(l, p);
    const struct history *h = l->history;
    p->base = l->committed;
    p->sent = l->committed;
    for (uint32_t i = history_after(h, from); i < h->n; i++) {
        const struct history_entry *e = history_at(h, i);
        bool committed = e->zxid <= l->committed;
        if (!committed && p->observer) break;
        size_t at = packet_begin(out, PACKET_PROPOSAL, e->zxid);
        struct slice txn = history_bytes(e);
        buf_put(out, txn.p, txn.n);
        packet_end(out, at);
        if (committed) packet_put(out, PACKET_COMMIT, e->zxid, leader_null);
        if (e->zxid > p->sent) p->sent = e->zxid;
    }
}

static void leader_newleader(struct leader *l, struct leader_peer *p) {
    struct buf text = {0};
    config_string(l->cfg, &text);
    packet_put(link_out(l->links, p->link), PACKET_NEWLEADER, leader_epoch_zxid(l->epoch),
               buf_slice(&text));
    buf_free(&text);
    p->phase = PEER_NEWLEADER;
    p->heard = l->now;
    const struct link *k = link_at(l->links, p->link);
    p->mark = k->sent + buf_len(&k->out);
}

static void leader_begin_sync(struct leader *l, struct leader_peer *p) {
    static const char *const names[] = {[PACKET_DIFF] = "DIFF", [PACKET_TRUNC] = "TRUNC",
                                        [PACKET_SNAP] = "SNAP", [PACKET_PROPOSAL] = "DIFF, log"};
    struct leader_plan plan = leader_plan_sync(l, p->last_zxid);
    if (plan.op == PACKET_TRUNC && leader_cut_before(l, p)) plan.op = PACKET_SNAP;
    /* From here on what an older connection of it has acknowledged may be cut. */
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (&l->peers[i] != p && l->peers[i].phase > PEER_HISTORY && l->peers[i].sid == p->sid)
            leader_drop(l, &l->peers[i], "it has connected anew");
    log_line(l->log, LOG_INFO_LEVEL, "Synchronizing server %lld, last zxid 0x%llx: %s 0x%llx",
             (long long)p->sid, (unsigned long long)p->last_zxid, names[plan.op],
             (unsigned long long)plan.zxid);
    p->heard = l->now;
    p->base = l->committed;
    if (plan.op == PACKET_SNAP || plan.op == PACKET_PROPOSAL) {
        p->phase = plan.op == PACKET_SNAP ? PEER_IMAGE_WAIT : PEER_LOG;
        p->cursor = plan.from;
        p->began = false;
        return;
    }
    packet_put(link_out(l->links, p->link), (int32_t)plan.op, plan.zxid, leader_null);
    leader_enrol(l, p, plan.from);
    leader_newleader(l, p);
}

/* --- snapshots for learners: one walk of the tree for all that wait when it begins --- */

static uint32_t leader_count(const struct leader *l, enum peer_phase phase) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n_peers; i++) n += l->peers[i].phase == phase;
    return n;
}

static void leader_image_put(struct leader *l, struct slice bytes) {
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase == PEER_IMAGE)
            buf_put(link_out(l->links, l->peers[i].link), bytes.p, bytes.n);
}

/*
 * A snapshot must not take back what was committed when the learner came: it may be the learner's
 * disk that the quorum counted on.
 */
static bool leader_image_fits(const struct leader *l, const struct leader_peer *p) {
    return p->phase == PEER_IMAGE_WAIT && l->db->last_zxid >= p->base;
}

static bool leader_image_wanted(const struct leader *l) {
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (leader_image_fits(l, &l->peers[i])) return true;
    return false;
}

static void leader_image_begin(struct leader *l) {
    struct buf head = {0};
    l->image.active = true;
    l->image.zxid = l->db->last_zxid;
    snapfile_put_state(&head, l->db);
    for (uint32_t i = 0; i < l->n_peers; i++) {
        struct leader_peer *p = &l->peers[i];
        if (!leader_image_fits(l, p)) continue;
        packet_put(link_out(l->links, p->link), PACKET_SNAP, l->image.zxid, leader_null);
        p->phase = PEER_IMAGE;
        leader_enrol(l, p, l->image.zxid);
    }
    leader_image_put(l, buf_slice(&head));
    buf_free(&head);
    tree_image_begin(&l->db->tree);
}

static void leader_image_end(struct leader *l) {
    struct buf tail = {0};
    jw_str(&tail, "/");
    jw_str(&tail, PACKET_SIGNATURE);
    leader_image_put(l, buf_slice(&tail));
    buf_free(&tail);
    l->image.active = false;
    for (uint32_t i = 0; i < l->n_peers; i++) {
        struct leader_peer *p = &l->peers[i];
        if (p->phase != PEER_IMAGE) continue;
        buf_put(link_out(l->links, p->link), p->queue.p, p->queue.n);
        buf_free(&p->queue);
        leader_newleader(l, p);
    }
}

ZK_PRIVATE bool leader_image_step(struct leader *l) {
    if (!l->image.active) {
        if (l->db->tree.image.active || !leader_image_wanted(l)) return false;
        leader_image_begin(l);
    }
    if (!leader_count(l, PEER_IMAGE)) { /* nobody is left to read it */
        tree_image_abort(&l->db->tree);
        l->image.active = false;
        return leader_image_wanted(l);
    }
    for (uint32_t i = 0; i < l->n_peers; i++) {
        const struct leader_peer *p = &l->peers[i];
        if (p->phase == PEER_IMAGE && buf_len(&link_at(l->links, p->link)->out) > LEADER_IMAGE_OUT)
            return false; /* the host's next report of bytes sent brings us here again */
    }
    struct buf *out = &l->db->tree.image.out;
    bool done = tree_image_step(&l->db->tree, LEADER_IMAGE_NODES, LEADER_IMAGE_BYTES);
    leader_image_put(l, buf_slice(out));
    buf_clear(out);
    if (done) leader_image_end(l);
    return true;
}

/* --- what only the log on disk holds --- */

ZK_PRIVATE void leader_log_step(struct leader *l) {
    if (l->log_read.busy || l->log_read.wanted) return;
    for (uint32_t i = 0; i < l->n_peers; i++) {
        const struct leader_peer *p = &l->peers[i];
        if (p->phase != PEER_LOG) continue;
        if (buf_len(&link_at(l->links, p->link)->out) > LEADER_IMAGE_OUT) continue;
        l->log_read.wanted = true;
        l->log_read.first = !p->began;
        l->log_read.owner = p->owner;
        l->log_read.after = p->cursor;
        return;
    }
}

ZK_PRIVATE void leader_log_read(struct leader *l, struct slice txns, int64_t now) {
    struct leader_peer *p = leader_owner(l, l->log_read.owner);
    l->log_read.busy = false;
    l->now = now;
    if (!p || p->phase != PEER_LOG) return;
    if (!txns.n) {
        if (p->began)
            leader_drop(l, p, "the log does not go on to where our history begins");
        else
            p->phase = PEER_IMAGE_WAIT;
        return;
    }
    struct buf *out = link_out(l->links, p->link);
    if (!p->began) packet_put(out, PACKET_DIFF, l->committed, leader_null);
    p->began = true;
    p->heard = now;
    struct jr r = jr_open(txns, UINT32_MAX);
    while (jr_left(&r)) {
        struct slice txn = jr_bytes(&r);
        ZK_ASSERT(!r.bad && txn.n >= TXN_HEADER_LEN);
        int64_t zxid = (int64_t)be64(txn.p + 12);
        packet_put(out, PACKET_PROPOSAL, zxid, txn);
        packet_put(out, PACKET_COMMIT, zxid, leader_null);
        p->cursor = zxid;
    }
    if (p->cursor < l->history->floor) return; /* leader_log_step asks for more */
    leader_enrol(l, p, p->cursor);
    leader_newleader(l, p);
}

/* --- the barriers --- */

/*
 * Whether a quorum, with us, has come as far as `least`. Who had accepted the epoch before does not
 * say how far its history goes, so it cannot vouch that nobody is ahead of us.
 */
static bool leader_quorum(const struct leader *l, enum peer_phase least) {
    struct sidset set;
    sidset_clear(&set);
    (void)sidset_add(&set, l->cfg, l->self);
    for (uint32_t i = 0; i < l->n_peers; i++) {
        const struct leader_peer *p = &l->peers[i];
        if (!p->voter || p->phase < least) continue;
        if (l->phase == LEADER_EPOCH && (p->current == -1 || p->last_zxid == -1)) continue;
        (void)sidset_add(&set, l->cfg, p->sid);
    }
    return quorum_reached(l->cfg, &set);
}

static void leader_enter(struct leader *l, enum leader_phase phase) {
    l->phase = phase;
    l->since = l->now;
}

static void leader_put_info(struct leader *l, struct leader_peer *p) {
    struct buf *out = link_out(l->links, p->link);
    size_t at = packet_begin(out, PACKET_LEADERINFO, leader_epoch_zxid(l->epoch));
    jw_i32(out, PACKET_VERSION);
    packet_end(out, at);
    p->phase = PEER_ACKEPOCH;
    p->heard = l->now;
}

static void leader_uptodate(struct leader *l, struct leader_peer *p) {
    packet_put(link_out(l->links, p->link), PACKET_UPTODATE, -1, leader_null);
    p->phase = PEER_ACTIVE;
    p->heard = p->probe_since = l->now;
    p->probe = !p->observer && p->sent > p->base ? p->sent : 0;
}

/* Moves on everybody in phase `from`. */
static void leader_each(struct leader *l, enum peer_phase from,
                        void (*step)(struct leader *, struct leader_peer *)) {
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase == from) step(l, &l->peers[i]);
}

static void leader_establish(struct leader *l) {
    log_line(l->log, LOG_INFO_LEVEL, "Have quorum of supporters; starting up and setting last "
             "processed zxid: 0x%llx", (unsigned long long)leader_epoch_zxid(l->epoch));
    leader_enter(l, LEADER_BROADCAST);
    l->up = true;
    leader_each(l, PEER_SYNCED, leader_uptodate);
}

/* Passes every barrier that can be passed now. */
static void leader_advance(struct leader *l) {
    if (l->phase == LEADER_DISCOVERY && leader_quorum(l, PEER_EPOCH)) {
        l->epoch = l->accepted + 1;
        for (uint32_t i = 0; i < l->n_peers; i++) /* strangers do not use the epochs up */
            if (l->peers[i].phase == PEER_EPOCH && quorum_member(l->cfg, l->peers[i].sid) &&
                l->peers[i].accepted >= l->epoch)
                l->epoch = l->peers[i].accepted + 1;
        l->want_accepted = true;
        leader_enter(l, LEADER_ACCEPTING);
    }
    if (l->phase == LEADER_EPOCH && leader_quorum(l, PEER_HISTORY)) {
        l->want_current = true;
        leader_enter(l, LEADER_SYNC);
    }
    if (l->phase >= LEADER_EPOCH && l->phase != LEADER_LOST)
        leader_each(l, PEER_EPOCH, leader_put_info);
    if (l->phase == LEADER_SYNC || l->phase == LEADER_BROADCAST)
        leader_each(l, PEER_HISTORY, leader_begin_sync);
    if (l->phase == LEADER_SYNC && l->current_saved && leader_quorum(l, PEER_SYNCED))
        leader_establish(l);
    if (l->phase == LEADER_BROADCAST) leader_each(l, PEER_SYNCED, leader_uptodate);
}

ZK_PRIVATE void leader_start(struct leader *l, int64_t now, int64_t accepted, int64_t current) {
    ZK_ASSERT(l->phase == LEADER_OFF);
    l->now = now;
    l->accepted = accepted;
    l->current = current;
    l->last_zxid = l->synced = l->proposed = l->committed = l->db->last_zxid;
    l->epoch = 0;
    l->want_accepted = l->want_current = l->current_saved = l->up = false;
    l->outrun_by = -1;
    l->next_ping = l->next_check = now;
    l->sizes.last = l->sizes.least = l->sizes.most = -1;
    buf_clear(&l->cuts);
    leader_enter(l, LEADER_DISCOVERY);
    if (accepted > LEADER_EPOCH_MAX) leader_lose(l, "our epochs are used up");
    leader_advance(l);
}

ZK_PRIVATE void leader_stop(struct leader *l) {
    for (uint32_t i = 0; i < l->n_peers; i++) {
        if (l->peers[i].phase == PEER_FREE) continue;
        link_close(l->links, l->peers[i].link);
        buf_free(&l->peers[i].queue);
        l->peers[i].phase = PEER_FREE;
    }
    if (l->image.active) tree_image_abort(&l->db->tree);
    l->image.active = false;
    buf_clear(&l->syncs);
    l->log_read.wanted = false;
    l->log_read.owner = 0; /* an answer on its way is nobody's */
    l->phase = LEADER_OFF;
}

ZK_PRIVATE void leader_saved_accepted(struct leader *l, int64_t now) {
    l->now = now;
    if (l->phase != LEADER_ACCEPTING) return;
    leader_enter(l, LEADER_EPOCH);
    leader_advance(l);
}

ZK_PRIVATE void leader_saved_current(struct leader *l, int64_t now) {
    l->now = now;
    l->current_saved = true;
    leader_advance(l);
}

/* --- what learners say --- */

/* FOLLOWERINFO or OBSERVERINFO. A server without a database says that its epoch is -1. */
static void leader_info(struct leader *l, struct leader_peer *p, const struct packet *k) {
    if (k->type != PACKET_FOLLOWERINFO && k->type != PACKET_OBSERVERINFO) {
        leader_drop(l, p, "its first packet is no FOLLOWERINFO or OBSERVERINFO");
        return;
    }
    struct jr r = jr_open(k->data, UINT32_MAX);
    int64_t sid = jr_i64(&r);
    int32_t version = jr_i32(&r);
    int64_t config = jr_left(&r) >= 8 ? jr_i64(&r) : 0;
    int64_t epoch = k->zxid >> 32;
    if (r.bad || version < PACKET_VERSION || config > 0 || epoch < -1 || epoch > LEADER_EPOCH_MAX) {
        leader_drop(l, p, "its protocol, configuration or epoch is none of ours");
        return;
    }
    p->sid = sid;
    p->observer = k->type == PACKET_OBSERVERINFO;
    p->voter = !p->observer && sid != l->self && quorum_is_voter(l->cfg, sid);
    p->accepted = epoch;
    if (p->voter && epoch > l->epoch && l->phase == LEADER_BROADCAST &&
        l->now - l->since > leader_limit(l, l->cfg->init_limit)) {
        l->outrun_by = sid;
        l->outrun_to = epoch;
    }
    p->phase = PEER_EPOCH;
    leader_advance(l);
}

static void leader_ackepoch(struct leader *l, struct leader_peer *p, const struct packet *k) {
    struct jr r = jr_open(k->data, UINT32_MAX);
    int32_t current = jr_i32(&r);
    if (k->type != PACKET_ACKEPOCH || r.bad || k->zxid < -1) {
        leader_drop(l, p, "its answer to LEADERINFO is no ACKEPOCH");
        return;
    }
    p->current = current;
    p->last_zxid = k->zxid;
    bool ahead = current > l->current || (current == l->current && k->zxid > l->last_zxid);
    if (l->phase == LEADER_EPOCH && current != -1 && ahead) {
        leader_drop(l, p, "Follower is ahead of the leader");
        return;
    }
    p->phase = PEER_HISTORY;
    leader_advance(l);
}

static void leader_ack(struct leader *l, struct leader_peer *p, int64_t zxid) {
    if ((zxid & ZXID_COUNTER) == 0 || zxid <= p->acked || zxid > p->sent) return;
    p->acked = zxid;
    if (!p->probe || zxid < p->probe) return;
    p->probe = p->sent > zxid ? p->sent : 0;
    p->probe_since = l->now;
}

static void leader_ack_newleader(struct leader *l, struct leader_peer *p, const struct packet *k) {
    if (k->type != PACKET_ACK) {
        leader_drop(l, p, "its answer to NEWLEADER is no ACK");
        return;
    }
    if (k->zxid != leader_epoch_zxid(l->epoch)) { /* of a proposal: servers before 3.9.3 do that */
        leader_ack(l, p, k->zxid);
        return;
    }
    if (p->base > p->acked) p->acked = p->base;
    p->phase = PEER_SYNCED;
    leader_advance(l);
}

static void leader_pong(struct leader *l, struct slice data) {
    struct jr r = jr_open(data, UINT32_MAX);
    while (jr_left(&r) >= 12) {
        int64_t id = jr_i64(&r);
        int32_t timeout = jr_i32(&r);
        uint32_t s = session_find(&l->db->sessions, id);
        if (s != SESSION_NONE && timeout >= 0) session_touch(&l->db->sessions, s, l->now, timeout);
    }
}

static void leader_revalidate(struct leader *l, struct leader_peer *p, struct slice data) {
    struct jr r = jr_open(data, UINT32_MAX);
    int64_t id = jr_i64(&r);
    int32_t timeout = jr_i32(&r);
    if (r.bad) {
        leader_drop(l, p, "a REVALIDATE that cannot be read");
        return;
    }
    uint32_t s = session_find(&l->db->sessions, id);
    struct session *e = s == SESSION_NONE ? NULL : &l->db->sessions.slots[s];
    bool valid = e && !e->closing && timeout >= 0; /* its creation may still be under way */
    if (valid) {
        session_touch(&l->db->sessions, s, l->now, timeout);
        e->owner = p->owner;
    }
    struct buf *out = leader_out(l, p);
    size_t at = packet_begin(out, PACKET_REVALIDATE, -1);
    jw_i64(out, id);
    jw_u8(out, valid);
    packet_end(out, at);
}

static bool leader_request(const struct leader_peer *p, const struct packet *k,
                           struct leader_request *out) {
    struct jr r = jr_open(k->data, UINT32_MAX);
    out->owner = p->owner;
    out->session = jr_i64(&r);
    out->cxid = jr_i32(&r);
    out->op = jr_i32(&r);
    out->body = slice_of(r.p, jr_left(&r));
    out->auth = k->auth;
    out->n_auth = k->n_auth > 0 ? k->n_auth : 0;
    return !r.bad;
}

/* A packet in broadcast; true: it is a request. */
static bool leader_broadcast(struct leader *l, struct leader_peer *p, const struct packet *k,
                             struct leader_request *out) {
    switch (k->type) {
    case PACKET_ACK:
        leader_ack(l, p, k->zxid);
        return false;
    case PACKET_PING:
        leader_pong(l, k->data);
        return false;
    case PACKET_REVALIDATE:
        leader_revalidate(l, p, k->data);
        return false;
    case PACKET_REQUEST:
        if (leader_request(p, k, out)) return true;
        leader_drop(l, p, "a REQUEST that cannot be read");
        return false;
    default:
        log_line(l->log, LOG_WARN_LEVEL, "unexpected quorum packet of type %d", k->type);
        return false;
    }
}

static bool leader_packet(struct leader *l, struct leader_peer *p, const struct packet *k,
                          struct leader_request *out) {
    p->heard = l->now;
    switch (p->phase) {
    case PEER_INFO:
        leader_info(l, p, k);
        return false;
    case PEER_ACKEPOCH:
        leader_ackepoch(l, p, k);
        return false;
    case PEER_NEWLEADER:
        leader_ack_newleader(l, p, k);
        return false;
    default:
        return leader_broadcast(l, p, k, out);
    }
}

/* What comes in the other phases waits in the link. */
static bool leader_listens(enum peer_phase phase) {
    return phase == PEER_INFO || phase == PEER_ACKEPOCH || phase == PEER_NEWLEADER ||
           phase == PEER_ACTIVE;
}

static bool leader_read(struct leader *l, struct leader_peer *p, struct leader_request *out) {
    while (leader_listens(p->phase)) {
        uint32_t max = p->phase < PEER_NEWLEADER ? LEADER_HELLO_MAX
                                                 : (uint32_t)l->cfg->jute_max_buffer +
                                                       (uint32_t)l->cfg->jute_extra_size;
        struct buf *in = &link_at(l->links, p->link)->in;
        struct packet k;
        size_t used;
        enum packet_status st = packet_take(buf_slice(in), max, &k, &used);
        if (st == PACKET_MORE) return false;
        if (st == PACKET_BAD) {
            leader_drop(l, p, "unreasonable length");
            return false;
        }
        buf_consume(in, used);
        if (leader_packet(l, p, &k, out)) return true;
    }
    return false;
}

ZK_PRIVATE bool leader_next(struct leader *l, int64_t now, struct leader_request *out) {
    l->now = now;
    for (; l->next_peer < l->n_peers && l->phase != LEADER_LOST; l->next_peer++)
        if (leader_read(l, &l->peers[l->next_peer], out)) return true;
    l->next_peer = 0;
    return false;
}

/* --- broadcast --- */

static void leader_tell(struct leader *l, struct leader_peer *p, enum packet_type type,
                        int64_t zxid, struct slice data) {
    struct buf *out = leader_out(l, p);
    packet_put(out, (int32_t)type, zxid, data);
    size_t most = p->phase == PEER_IMAGE       ? LEADER_QUEUE_MAX
                  : p->phase == PEER_NEWLEADER ? LEADER_SYNC_MAX
                                               : LEADER_OUT_MAX;
    if (buf_len(out) > most) leader_drop(l, p, "it does not read what it is sent");
}

ZK_PRIVATE void leader_propose(struct leader *l, int64_t zxid, struct slice txn) {
    int64_t size = (int64_t)txn.n;
    l->proposed = zxid;
    l->sizes.last = size;
    if (l->sizes.least < 0 || size < l->sizes.least) l->sizes.least = size;
    if (size > l->sizes.most) l->sizes.most = size;
    for (uint32_t i = 0; i < l->n_peers; i++) {
        struct leader_peer *p = &l->peers[i];
        if (!leader_enrolled(p) || p->observer) continue;
        p->sent = zxid;
        if (!p->probe && p->phase == PEER_ACTIVE) {
            p->probe = zxid;
            p->probe_since = l->now;
        }
        leader_tell(l, p, PACKET_PROPOSAL, zxid, txn);
    }
}

ZK_PRIVATE void leader_synced(struct leader *l, int64_t zxid) {
    if (zxid > l->synced) l->synced = zxid;
}

/* The largest zxid that a quorum has on disk. */
static int64_t leader_durable(const struct leader *l) {
    int64_t best = l->committed;
    for (uint32_t i = 0; i <= l->n_peers; i++) {
        bool self = i == l->n_peers;
        if (!self && (l->peers[i].phase != PEER_ACTIVE || !l->peers[i].voter)) continue;
        int64_t zxid = self ? l->synced : l->peers[i].acked;
        if (zxid <= best) continue;
        struct sidset set;
        sidset_clear(&set);
        if (l->synced >= zxid) (void)sidset_add(&set, l->cfg, l->self);
        for (uint32_t k = 0; k < l->n_peers; k++)
            if (l->peers[k].phase == PEER_ACTIVE && l->peers[k].voter && l->peers[k].acked >= zxid)
                (void)sidset_add(&set, l->cfg, l->peers[k].sid);
        if (quorum_reached(l->cfg, &set)) best = zxid;
    }
    return best;
}

static void leader_answer_syncs(struct leader *l) {
    struct leader_sync s;
    while (buf_len(&l->syncs)) {
        memcpy(&s, l->syncs.p + l->syncs.head, sizeof s);
        if (s.zxid > l->committed) return;
        buf_consume(&l->syncs, sizeof s);
        struct leader_peer *p = leader_owner(l, s.owner);
        if (p) leader_tell(l, p, PACKET_SYNC, 0, leader_null);
    }
}

ZK_PRIVATE int64_t leader_commit(struct leader *l) {
    int64_t to = l->phase == LEADER_BROADCAST ? leader_durable(l) : l->committed;
    const struct history *h = l->history;
    for (uint32_t i = history_after(h, l->committed); i < h->n && l->committed < to; i++) {
        const struct history_entry *e = history_at(h, i);
        l->committed = e->zxid;
        for (uint32_t k = 0; k < l->n_peers; k++) {
            struct leader_peer *p = &l->peers[k];
            if (!leader_enrolled(p)) continue;
            if (p->observer)
                leader_tell(l, p, PACKET_INFORM, e->zxid, history_bytes(e));
            else
                leader_tell(l, p, PACKET_COMMIT, e->zxid, leader_null);
        }
        leader_answer_syncs(l);
    }
    return l->committed;
}

ZK_PRIVATE void leader_sync(struct leader *l, uint64_t owner) {
    struct leader_sync s = {owner, l->proposed};
    buf_compact(&l->syncs);
    buf_put(&l->syncs, &s, sizeof s);
    leader_answer_syncs(l);
}

ZK_PRIVATE struct leader_census leader_count_all(const struct leader *l) {
    struct leader_census c = {.syncs = (uint32_t)(buf_len(&l->syncs) / sizeof(struct leader_sync))};
    for (uint32_t i = 0; i < l->n_peers; i++) {
        const struct leader_peer *p = &l->peers[i];
        if (p->phase == PEER_FREE || p->phase == PEER_INFO) continue;
        c.learners++;
        if (p->phase != PEER_ACTIVE) continue;
        ++*(p->observer ? &c.observers : p->voter ? &c.followers : &c.others);
    }
    return c;
}

/* --- time --- */

static void leader_watch_peer(struct leader *l, struct leader_peer *p) {
    uint64_t sent = link_at(l->links, p->link)->sent;
    int64_t init = leader_limit(l, l->cfg->init_limit), sync = leader_limit(l, l->cfg->sync_limit);
    bool reads = sent != p->link_sent && (p->phase < PEER_NEWLEADER || p->link_sent < p->mark);
    if (p->phase < PEER_SYNCED && reads) p->heard = l->now; /* not our pings, but its history */
    p->link_sent = sent;
    bool log = l->log_read.busy && l->log_read.owner == p->owner;
    if (p->phase == PEER_EPOCH || p->phase == PEER_HISTORY || p->phase == PEER_IMAGE_WAIT || log ||
        p->phase == PEER_SYNCED)
        p->heard = l->now; /* it waits for us */
    if (l->now - p->heard > (p->phase == PEER_ACTIVE ? sync : init))
        leader_drop(l, p, "it has been silent for too long");
    else if (p->phase == PEER_IMAGE && l->now - p->heard > init / 4 && leader_count(l, PEER_IMAGE) +
             leader_count(l, PEER_IMAGE_WAIT) > 1)
        leader_drop(l, p, "it does not read its snapshot, and others wait for theirs");
    else if (p->probe && l->now - p->probe_since > sync)
        leader_drop(l, p, "it does not acknowledge what it is sent");
}

static void leader_ping(struct leader *l) {
    l->next_ping = l->now + l->cfg->tick_time_ms / 2;
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase >= PEER_NEWLEADER)
            leader_tell(l, &l->peers[i], PACKET_PING,
                        l->proposed > leader_epoch_zxid(l->epoch) ? l->proposed
                                                                  : leader_epoch_zxid(l->epoch),
                        leader_null);
}

ZK_PRIVATE void leader_tick(struct leader *l, int64_t now) {
    l->now = now;
    if (l->phase == LEADER_OFF || l->phase == LEADER_LOST) return;
    for (uint32_t i = 0; i < l->n_peers; i++)
        if (l->peers[i].phase != PEER_FREE) leader_watch_peer(l, &l->peers[i]);
    if (now >= l->next_ping) leader_ping(l);
    if (l->phase < LEADER_BROADCAST) {
        /* Who voted for us dials at once; if a quorum does not, it has found somebody else. */
        int32_t ticks = l->phase == LEADER_DISCOVERY && l->cfg->sync_limit < l->cfg->init_limit
                            ? l->cfg->sync_limit : l->cfg->init_limit;
        if (now - l->since > leader_limit(l, ticks))
            leader_lose(l, l->phase <= LEADER_ACCEPTING
                               ? "Timeout while waiting for epoch from quorum"
                           : l->phase == LEADER_EPOCH
                               ? "Timeout while waiting for epoch to be acked by quorum"
                               : "Timeout while waiting for NEWLEADER to be acked by quorum");
    } else if (now >= l->next_check) {
        l->next_check = now + l->cfg->tick_time_ms;
        if (!leader_quorum(l, PEER_EPOCH))
            leader_lose(l, "Not sufficient followers synced, only synced with a minority");
    }
}

ZK_PRIVATE int64_t leader_next_tick(const struct leader *l) {
    if (l->phase == LEADER_OFF || l->phase == LEADER_LOST) return INT64_MAX;
    return l->next_ping;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== ensemble/learner.c ==== */



#define LEARNER_TRIES 5     /* of the configured delay: so long the leader may take to listen */
#define LEARNER_DELAY_MS 2 /* before the second try; doubled each time, up to the configured one */

static const struct slice learner_null = {NULL, 0};

ZK_PRIVATE void learner_init(struct learner *l, const struct config *cfg, int64_t self,
                             struct links *links, struct logq *log) {
    memset(l, 0, sizeof *l);
    l->cfg = cfg;
    l->self = self;
    l->links = links;
    l->log = log;
    l->link = LINK_NONE;
}

static void learner_drop_stream(struct learner *l) {
    if (!l->stream.db) return;
    snapfile_close(&l->stream);
    db_free(&l->incoming);
    memset(&l->stream, 0, sizeof l->stream);
}

ZK_PRIVATE void learner_free(struct learner *l) {
    learner_drop_stream(l);
    buf_free(&l->unacked);
    buf_free(&l->inform);
}

static void learner_lose(struct learner *l, const char *why) {
    if (l->phase == LEARNER_LOST || l->phase == LEARNER_OFF) return;
    l->phase = LEARNER_LOST;
    l->why = why;
}

static void learner_dial(struct learner *l) {
    const struct config_member *m = quorum_member(l->cfg, l->leader);
    l->tries++;
    l->link = link_dial(l->links, LINK_QUORUM, m->host, (uint16_t)m->quorum_port, l->now);
}

ZK_PRIVATE void learner_start(struct learner *l, int64_t now, int64_t leader, bool observer,
                              int64_t accepted, int64_t current, int64_t last_zxid) {
    ZK_ASSERT(l->phase == LEARNER_OFF && l->link == LINK_NONE);
    l->now = l->since = l->heard = now;
    l->leader = leader;
    l->observer = observer;
    l->accepted = accepted;
    l->current = current;
    l->logged = l->committed = last_zxid;
    l->epoch = 0;
    l->hold = false;
    l->tries = 0;
    buf_clear(&l->unacked);
    buf_clear(&l->inform);
    l->phase = LEARNER_CONNECTING;
    if (quorum_member(l->cfg, leader))
        learner_dial(l);
    else
        learner_lose(l, "the leader is no member");
}

ZK_PRIVATE void learner_stop(struct learner *l) {
    if (l->link != LINK_NONE) link_close(l->links, l->link);
    l->link = LINK_NONE;
    learner_drop_stream(l);
    l->phase = LEARNER_OFF;
}

ZK_PRIVATE void learner_opened(struct learner *l, int64_t now) {
    l->now = l->heard = now;
    struct buf *out = link_out(l->links, l->link);
    size_t at = packet_begin(out, l->observer ? PACKET_OBSERVERINFO : PACKET_FOLLOWERINFO,
                             (int64_t)((uint64_t)l->accepted << 32));
    jw_i64(out, l->self);
    jw_i32(out, PACKET_VERSION);
    jw_i64(out, 0);
    packet_end(out, at);
    l->phase = LEARNER_REGISTERED;
}

/* stock: the configured delay at once. Ours listens a few milliseconds after it was elected. */
static int64_t learner_delay(const struct learner *l) {
    int64_t most = l->cfg->leader_connect_delay_ms, ms = LEARNER_DELAY_MS;
    for (int32_t i = 1; i < l->tries && ms < most; i++) ms *= 2;
    return ms < most ? ms : most;
}

ZK_PRIVATE void learner_fail(struct learner *l, const char *why) {
    if (l->link != LINK_NONE) link_close(l->links, l->link);
    l->link = LINK_NONE;
    learner_lose(l, why);
}

ZK_PRIVATE void learner_closed(struct learner *l, int64_t now) {
    l->now = now;
    l->link = LINK_NONE;
    if (l->phase != LEARNER_CONNECTING)
        learner_lose(l, "the leader has closed the connection");
    else if (now - l->since >= LEARNER_TRIES * (int64_t)l->cfg->leader_connect_delay_ms)
        learner_lose(l, "the leader cannot be reached");
    else
        l->retry_at = now + learner_delay(l);
}

ZK_PRIVATE void learner_heard(struct learner *l, int64_t now) {
    l->heard = now;
}

/* --- what has been done meanwhile --- */

ZK_PRIVATE void learner_saved_accepted(struct learner *l) {
    if (l->phase != LEARNER_ACCEPTING) return;
    int32_t current = l->accepted == l->epoch ? -1 : (int32_t)l->current;
    l->accepted = l->epoch;
    struct buf *out = link_out(l->links, l->link);
    size_t at = packet_begin(out, PACKET_ACKEPOCH, l->logged);
    jw_i32(out, current);
    packet_end(out, at);
    l->phase = LEARNER_SYNC;
    l->hold = false;
}

ZK_PRIVATE void learner_truncated(struct learner *l, int64_t last_zxid) {
    l->hold = false;
    if (last_zxid != l->stream_zxid)
        learner_lose(l, "our log does not hold the zxid that the leader wanted it cut to");
    l->logged = l->committed = last_zxid;
}

static void learner_ack(struct learner *l, int64_t zxid) {
    packet_put(link_out(l->links, l->link), PACKET_ACK, zxid, learner_null);
}

ZK_PRIVATE void learner_saved_current(struct learner *l) {
    if (l->phase != LEARNER_NEWLEADER) return;
    l->current = l->epoch;
    l->phase = LEARNER_ACKED;
    l->hold = false;
    learner_ack(l, (int64_t)((uint64_t)l->epoch << 32));
}

ZK_PRIVATE void learner_synced(struct learner *l, int64_t zxid) {
    if (l->phase != LEARNER_BROADCAST) return;
    while (buf_len(&l->unacked)) {
        int64_t z;
        memcpy(&z, l->unacked.p + l->unacked.head, sizeof z);
        if (z > zxid) return;
        buf_consume(&l->unacked, sizeof z);
        learner_ack(l, z);
    }
}

/* --- what we say --- */

ZK_PRIVATE void learner_pong(struct learner *l, int64_t zxid, struct slice touched) {
    static const uint8_t none;
    packet_put(link_out(l->links, l->link), PACKET_PING, zxid,
               touched.p ? touched : slice_of(&none, 0));
}

ZK_PRIVATE void learner_revalidate(struct learner *l, int64_t session, int32_t timeout) {
    struct buf *out = link_out(l->links, l->link);
    size_t at = packet_begin(out, PACKET_REVALIDATE, -1);
    jw_i64(out, session);
    jw_i32(out, timeout);
    packet_end(out, at);
}

ZK_PRIVATE void learner_request(struct learner *l, int64_t session, int32_t cxid, int32_t op,
                                struct slice body, struct slice auth, uint32_t n_auth) {
    struct buf *out = link_out(l->links, l->link);
    size_t at = packet_begin(out, PACKET_REQUEST, -1);
    jw_i64(out, session);
    jw_i32(out, cxid);
    jw_i32(out, op);
    buf_put(out, body.p, body.n);
    packet_end_data(out, at);
    jw_i32(out, (int32_t)n_auth);
    buf_put(out, auth.p, auth.n);
}

/* --- what the leader says --- */

static enum learner_event learner_leaderinfo(struct learner *l, const struct packet *k) {
    int64_t epoch = k->zxid >> 32;
    if (k->type != PACKET_LEADERINFO || epoch < l->accepted || epoch > INT32_MAX) {
        learner_lose(l, "the leader names no epoch that we may accept");
        return LEARNER_NOTHING;
    }
    l->epoch = epoch;
    l->phase = LEARNER_ACCEPTING;
    l->hold = true;
    if (epoch > l->accepted) return LEARNER_ACCEPT_EPOCH;
    learner_saved_accepted(l); /* it is on disk since we accepted it */
    return LEARNER_NOTHING;
}

static enum learner_event learner_first(struct learner *l, const struct packet *k,
                                        struct learner_news *out) {
    out->zxid = l->stream_zxid = k->zxid;
    switch (k->type) {
    case PACKET_DIFF:
        l->phase = LEARNER_HISTORY;
        return LEARNER_NOTHING;
    case PACKET_TRUNC:
        l->phase = LEARNER_HISTORY;
        l->hold = true;
        return LEARNER_TRUNCATE;
    case PACKET_SNAP:
        l->phase = LEARNER_SNAPSHOT;
        db_init(&l->incoming, l->seed, l->cfg->tick_time_ms, l->now);
        l->incoming.tree.extended_types = l->cfg->extended_types;
        l->incoming.tree.emulate353 = l->cfg->emulate353;
        snapfile_open_stream(&l->stream, &l->incoming,
                             (uint32_t)l->cfg->jute_max_buffer + (uint32_t)l->cfg->jute_extra_size);
        return LEARNER_NOTHING;
    default:
        learner_lose(l, "the leader began with something that is no DIFF, TRUNC or SNAP");
        return LEARNER_NOTHING;
    }
}

/* Takes in what has come of the snapshot; what follows it goes back to the link. */
static enum learner_event learner_snapshot(struct learner *l, struct learner_news *out) {
    struct buf *in = &link_at(l->links, l->link)->in;
    if (!snapfile_feed(&l->stream, buf_slice(in))) {
        log_line(l->log, LOG_ERROR_LEVEL, "snapshot from the leader: %s", l->stream.error);
        learner_lose(l, "the leader's snapshot is damaged");
        return LEARNER_NOTHING;
    }
    buf_clear(in);
    if (l->stream.section != SNAP_RECEIVED) return LEARNER_NOTHING;
    struct slice rest = buf_slice(&l->stream.in);
    buf_put(in, rest.p, rest.n);
    snapfile_close(&l->stream);
    memset(&l->stream, 0, sizeof l->stream);
    l->incoming.last_zxid = l->logged = l->committed = out->zxid = l->stream_zxid;
    l->phase = LEARNER_HISTORY;
    l->hold = true;
    return LEARNER_SNAPSHOT_READ;
}

/* A transaction: nothing may be missing before it. Those that we have are passed over. */
static enum learner_event learner_proposal(struct learner *l, const struct packet *k,
                                           struct slice txn, struct learner_news *out) {
    struct jr r = jr_open(txn, UINT32_MAX);
    struct txn_header h = jr_txn_header(&r);
    if (r.bad || h.zxid != k->zxid) {
        learner_lose(l, "a proposal that cannot be read");
        return LEARNER_NOTHING;
    }
    if (!wire_op_flags(h.type) && h.type != ZOP_ERROR) {
        learner_lose(l, "a transaction of an unknown type");
        return LEARNER_NOTHING;
    }
    if (k->zxid <= l->logged) return LEARNER_NOTHING;
    bool begins = k->zxid >> 32 > l->logged >> 32 && (k->zxid & 0xffffffffLL) == 1; /* an epoch */
    if (k->zxid != l->logged + 1 && !begins) {
        learner_lose(l, "transactions are missing before a proposal");
        return LEARNER_NOTHING;
    }
    l->logged = k->zxid;
    if (!l->observer) buf_put(&l->unacked, &k->zxid, sizeof k->zxid);
    out->zxid = k->zxid;
    out->txn = txn;
    return LEARNER_PROPOSED;
}

static enum learner_event learner_commit(struct learner *l, int64_t zxid,
                                         struct learner_news *out) {
    if (zxid <= l->committed) return LEARNER_NOTHING;
    if (zxid > l->logged) {
        learner_lose(l, "a commit of what was never proposed");
        return LEARNER_NOTHING;
    }
    l->committed = out->zxid = zxid;
    return LEARNER_COMMITTED;
}

static enum learner_event learner_inform(struct learner *l, const struct packet *k,
                                         struct slice txn, struct learner_news *out) {
    enum learner_event e = learner_proposal(l, k, txn, out);
    if (e == LEARNER_PROPOSED) buf_put(&l->inform, &k->zxid, sizeof k->zxid);
    return e;
}

static enum learner_event learner_newleader(struct learner *l) {
    if (l->phase != LEARNER_HISTORY) return LEARNER_NOTHING;
    l->phase = LEARNER_NEWLEADER;
    l->hold = true;
    return LEARNER_SYNCED_UP;
}

/* What was committed before is not acknowledged: the leader did not wait for us. */
static enum learner_event learner_uptodate(struct learner *l) {
    if (l->phase != LEARNER_ACKED) return LEARNER_NOTHING;
    l->phase = LEARNER_BROADCAST;
    learner_ack(l, (int64_t)((uint64_t)l->epoch << 32));
    while (buf_len(&l->unacked)) {
        int64_t z;
        memcpy(&z, l->unacked.p + l->unacked.head, sizeof z);
        if (z > l->committed) break;
        buf_consume(&l->unacked, sizeof z);
    }
    return LEARNER_UP;
}

static enum learner_event learner_revalidated(const struct packet *k, struct learner_news *out) {
    struct jr r = jr_open(k->data, UINT32_MAX);
    out->session = jr_i64(&r);
    out->valid = jr_bool(&r);
    return r.bad ? LEARNER_NOTHING : LEARNER_REVALIDATED;
}

/* From DIFF, TRUNC or SNAP on. */
static enum learner_event learner_packet(struct learner *l, const struct packet *k,
                                         struct learner_news *out) {
    bool up = l->phase == LEARNER_BROADCAST;
    struct slice txn = k->data;
    out->zxid = k->zxid;
    switch (k->type) {
    case PACKET_PROPOSAL:
        return learner_proposal(l, k, txn, out);
    case PACKET_COMMIT_AND_ACTIVATE: /* of a configuration that we do not change with */
    case PACKET_COMMIT:
        return learner_commit(l, k->zxid, out);
    case PACKET_INFORM_AND_ACTIVATE:
        if (txn.n < 8) return LEARNER_NOTHING;
        txn = slice_of(txn.p + 8, txn.n - 8);
        return learner_inform(l, k, txn, out);
    case PACKET_INFORM:
        return learner_inform(l, k, txn, out);
    case PACKET_NEWLEADER:
        return learner_newleader(l);
    case PACKET_UPTODATE:
        return learner_uptodate(l);
    case PACKET_PING: /* stock: not answered before UPTODATE */
        return up ? LEARNER_PINGED : LEARNER_NOTHING;
    case PACKET_SYNC:
        return up ? LEARNER_SYNC_DONE : LEARNER_NOTHING;
    case PACKET_REVALIDATE:
        return up ? learner_revalidated(k, out) : LEARNER_NOTHING;
    default:
        log_line(l->log, LOG_WARN_LEVEL, "Unexpected quorum packet of type %d", k->type);
        return LEARNER_NOTHING;
    }
}

/* An observer is told of a transaction and its commit in one packet: two events. */
static bool learner_take_inform(struct learner *l, struct learner_news *out) {
    if (!buf_len(&l->inform)) return false;
    memcpy(&out->zxid, l->inform.p + l->inform.head, sizeof out->zxid);
    buf_consume(&l->inform, sizeof out->zxid);
    l->committed = out->zxid;
    return true;
}

ZK_PRIVATE enum learner_event learner_next(struct learner *l, int64_t now,
                                           struct learner_news *out) {
    uint32_t max = (uint32_t)l->cfg->jute_max_buffer + (uint32_t)l->cfg->jute_extra_size;
    l->now = now;
    while (!l->hold && l->link != LINK_NONE && l->phase >= LEARNER_REGISTERED &&
           l->phase != LEARNER_LOST) {
        struct buf *in = &link_at(l->links, l->link)->in;
        enum learner_event e;
        if (learner_take_inform(l, out)) return LEARNER_COMMITTED;
        if (l->phase == LEARNER_SNAPSHOT) {
            e = learner_snapshot(l, out);
            return e;
        }
        struct packet k;
        size_t used;
        enum packet_status st = packet_take(buf_slice(in), max, &k, &used);
        if (st == PACKET_BAD) learner_lose(l, "unreasonable length in a packet");
        if (st != PACKET_READ) break;
        buf_consume(in, used);
        e = l->phase == LEARNER_REGISTERED ? learner_leaderinfo(l, &k)
            : l->phase == LEARNER_SYNC     ? learner_first(l, &k, out)
                                           : learner_packet(l, &k, out);
        if (e != LEARNER_NOTHING) return e;
    }
    return LEARNER_NOTHING;
}

/* --- time --- */

ZK_PRIVATE void learner_tick(struct learner *l, int64_t now) {
    l->now = now;
    if (l->phase == LEARNER_OFF || l->phase == LEARNER_LOST) return;
    bool up = l->phase >= LEARNER_ACKED;
    int64_t limit = (int64_t)(up ? l->cfg->sync_limit : l->cfg->init_limit) * l->cfg->tick_time_ms;
    if (l->hold) l->heard = now; /* it is we who do not listen */
    if (l->phase == LEARNER_CONNECTING) {
        int32_t ticks = l->cfg->learner_master_limit > 0 ? l->cfg->learner_master_limit
                                                         : l->cfg->init_limit;
        if (now - l->since > (int64_t)ticks * l->cfg->tick_time_ms)
            learner_lose(l, "the leader cannot be reached in time");
        else if (l->link == LINK_NONE && now >= l->retry_at)
            learner_dial(l);
    } else if (now - l->heard > limit) {
        learner_lose(l, "the leader has been silent for too long");
    }
}

ZK_PRIVATE int64_t learner_next_tick(const struct learner *l) {
    if (l->phase == LEARNER_OFF || l->phase == LEARNER_LOST) return INT64_MAX;
    if (l->phase == LEARNER_CONNECTING && l->link == LINK_NONE) return l->retry_at;
    return l->now + l->cfg->tick_time_ms / 2;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/metrics.h ==== */

/*
 * node/metrics: the measured values behind `mntr`: summaries, percentiles, values per namespace.
 *
 * A sum has count, minimum, maximum and total. A dist is a sum with a uniform sample of its values
 * (Vitter's algorithm R), from which percentiles are read; the random numbers are seeded. A
 * namespace is the first component of a path; the first METRICS_SPACES that are seen are kept, so
 * that clients cannot make the server remember without bound. stock: AvgMinMaxCounter,
 * AvgMinMaxPercentileCounter, AvgMinMaxCounterSet.
 */
#ifndef ZK_NODE_METRICS_H
#define ZK_NODE_METRICS_H


#define METRICS_SAMPLE 4096
#define METRICS_SPACES 4096u

struct metrics_sum {
    int64_t count, total, min, max; /* min, max: of nothing are 0 */
};

struct metrics_dist {
    struct metrics_sum sum;
    int64_t *sample; /* owned; METRICS_SAMPLE values, made by the first one */
};

struct metrics_space {
    uint8_t *name; /* owned */
    uint32_t name_len;
    bool has_read, has_written, has_refused;
    struct metrics_sum read, written; /* bytes of path and data */
    int64_t refused;                  /* writes over a quota */
};

struct metrics {
    struct prng rng;
    struct metrics_sum fsync_ms, snapshot_ms, batch;            /* batch: records in one sync */
    struct metrics_sum init_ms, snap_load_ms, log_load_ms, log_loaded; /* of the start */
    struct metrics_sum created, deleted, changed, children;     /* watchers of one event */
    struct metrics_dist read_ms, update_ms, propagation_ms, flush_ms;
    struct metrics_space *spaces; /* owned */
    uint32_t n_spaces, cap_spaces, last_space;
    struct map space_index;
};

ZK_PRIVATE void metrics_init(struct metrics *m, uint64_t seed);
ZK_PRIVATE void metrics_free(struct metrics *m);
ZK_PRIVATE void metrics_reset(struct metrics *m); /* srst: to zero; what is there stays there */

ZK_PRIVATE void metrics_add(struct metrics_sum *s, int64_t value);
ZK_PRIVATE void metrics_merge(struct metrics_sum *s, const struct metrics_sum *more);
ZK_PRIVATE void metrics_sample(struct metrics *m, struct metrics_dist *d, int64_t value);
/* per_mille: 500 is the median. */
ZK_PRIVATE int64_t metrics_quantile(const struct metrics_dist *d, int per_mille);

/* The root has no namespace: nothing is counted. */
ZK_PRIVATE struct slice metrics_space_of(struct slice path);
ZK_PRIVATE void metrics_read(struct metrics *m, struct slice path, int64_t bytes);
ZK_PRIVATE void metrics_wrote(struct metrics *m, struct slice path, int64_t bytes);
ZK_PRIVATE void metrics_refused(struct metrics *m, struct slice path);

/* total / count as stock prints it: 4 decimals HALF_UP, then Double.toString. */
ZK_PRIVATE void metrics_put_average(struct buf *out, int64_t total, int64_t count);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/state.h ==== */

/*
 * node/state: what one server is made of, its inputs and its outputs.
 *
 * A node is a pure machine: node_step() takes one input, changes the node, and leaves outputs in
 * order for the host to carry out. It never blocks, reads no clock and knows no file or socket:
 * connections are numbers, durability is an input ("the log is synced up to this zxid").
 *
 * Life of a write: frame -> prep (transaction or error) -> APPEND, SYNC outputs -> LOG_SYNCED input
 * -> applied to the tree -> watch events -> reply. Life of a read: frame -> reply, at once, unless
 * the same connection has writes under way: then it is kept until those before it are answered,
 * while writes behind it are prepared already.
 */
#ifndef ZK_NODE_STATE_H
#define ZK_NODE_STATE_H


#define CONN_NONE UINT32_MAX
#define NODE_OUT_PAUSE (4u << 20) /* unsent output beyond it: the connection is not served */

enum node_input_kind {
    NODE_TICK,          /* time has passed */
    NODE_CONN_BYTES,    /* conn, bytes */
    NODE_CONN_CLOSED,   /* conn: its socket is gone, whoever closed it; the number is free */
    NODE_LOG_SYNCED,    /* zxid: every appended record up to it is durable */
    NODE_SNAPSHOT_ROOM, /* the host can take more snapshot bytes */
    NODE_SNAPSHOT_DONE, /* the snapshot is durable under its name */
    NODE_SNAPSHOT_FAILED, /* it could not be written; what was written is gone */
    /* of an ensemble */
    NODE_LINK_OPENED,   /* link: the connection that NODE_LINK_DIAL asked for stands */
    NODE_LINK_BYTES,    /* link, bytes */
    NODE_LINK_CLOSED,   /* link: gone, or never came about; the number is free */
    NODE_LISTEN_FAILED, /* the quorum port could not be bound */
    NODE_EPOCH_SAVED,   /* the oldest NODE_SAVE_EPOCH not answered yet is durable */
    NODE_LOG_READ,      /* bytes: answers NODE_READ_LOG, see leader_log_read() */
    NODE_LOADED         /* db: what the disk holds; answers NODE_LOAD */
};

struct node_input {
    enum node_input_kind kind;
    int64_t now;  /* monotonic, ms */
    int64_t wall; /* ms since 1970 */
    uint32_t conn;
    struct slice bytes; /* borrowed during the step */
    int64_t zxid;
    uint32_t link;
    struct db *db; /* NODE_LOADED: its content is taken over, what is left is an empty one */
};

enum node_output_kind {
    NODE_SEND,           /* conn has bytes: node_conn_out() */
    NODE_CLOSE,          /* conn: flush what it has, close, answer with NODE_CONN_CLOSED */
    NODE_ABORT,          /* conn: close at once, whatever it still has to be told */
    NODE_APPEND,         /* bytes for the log; roll: they start a new file named after zxid */
    NODE_SYNC,           /* make everything appended durable; one NODE_LOG_SYNCED answers */
    NODE_SNAPSHOT_BEGIN, /* zxid: of the image */
    NODE_SNAPSHOT_CHUNK, /* owned: bytes, the host frees them */
    NODE_SNAPSHOT_END,   /* sync, rename */
    NODE_READ_PAUSE,     /* conn: stop reading from it */
    NODE_READ_RESUME,    /* conn */
    /* of an ensemble; links: ensemble/link.h */
    NODE_LINK_DIAL,      /* link: to its host and port; NODE_LINK_OPENED or _CLOSED answers */
    NODE_LINK_SEND,      /* link has bytes: node_link_out() */
    NODE_LINK_CLOSE,     /* link: send what can be sent at once, hang up; answer with _CLOSED */
    NODE_LISTEN,         /* bind the quorum port: accepted connections are LINK_QUORUM */
    NODE_UNLISTEN,       /* ... and let it go */
    /* The next two keep their place among NODE_APPEND: what was appended before is durable first,
     * what is appended after comes after. */
    NODE_SAVE_EPOCH,     /* epoch, accepted or current: durable, then NODE_EPOCH_SAVED */
    NODE_LOAD,           /* zxid not -1: whatever lies beyond it is cut off, in logs and snapshots,
                            durably. reload: then the state is loaded anew; NODE_LOADED answers */
    NODE_READ_LOG,       /* committed transactions after zxid and up to `upto`, some at a time;
                            first: none if the rest of the log is too long to be sent instead
                            of a snapshot. NODE_LOG_READ answers */
    NODE_SNAPSHOT_ABORT  /* what was written since _BEGIN is of no use; no answer */
};

struct node_output {
    enum node_output_kind kind;
    bool roll;
    uint32_t conn;
    int64_t zxid;
    struct slice bytes; /* NODE_APPEND: lives until its NODE_LOG_SYNCED has been given */
    struct buf owned;   /* NODE_SNAPSHOT_CHUNK */
    uint32_t link;
    int64_t epoch;      /* NODE_SAVE_EPOCH */
    bool accepted;      /* ... acceptedEpoch, not currentEpoch */
    bool reload;        /* NODE_LOAD */
    int64_t upto;       /* NODE_READ_LOG */
    bool first;         /* ... */
};

enum conn_phase {
    CONN_FREE,    /* slot not in use */
    CONN_NEW,     /* nothing but a handshake or a four-letter word may come */
    CONN_WAITING, /* the session is being created: input waits */
    CONN_OPEN,    /* has a session */
    CONN_CLOSING  /* output is flushed, input dropped */
};

struct conn {
    enum conn_phase phase;
    uint32_t gen;       /* counts uses of the slot */
    uint32_t next_free;
    uint32_t submitted, completed; /* writes, counted; the difference is under way */
    bool ready;         /* in the list of those whose turn comes round */
    bool paused;        /* the host does not read */
    bool dirty;         /* has a NODE_SEND output under way */
    bool old_handshake; /* its ConnectRequest had no readOnly byte */
    int32_t timeout;    /* negotiated, ms */
    int64_t session;
    uint32_t session_slot;
    struct auth_set auth;
    struct buf in;       /* unparsed input: an incomplete frame, or what waits */
    uint32_t n_deferred; /* reads in `deferred` */
    struct buf deferred; /* reads behind writes: u32 value of completed to wait for, u32 length,
                            frame; repeated */
    struct buf out;      /* replies and events not yet sent */
    struct net_addr addr;
    int64_t last_io;     /* monotonic ms, of the peer's last bytes */
    int64_t phase_since; /* monotonic ms: accepted, or closing since */
    /* what `cons` shows */
    int64_t established; /* wall ms */
    int64_t received, sent;
    int64_t last_cxid, last_zxid, last_response; /* cxid -1: none; response: monotonic ms */
    int64_t last_latency, min_latency, max_latency, latency_sum, latency_count;
    int32_t last_op; /* 0: none */
    bool reset;      /* crst was here: min_latency is a true minimum from now on */
    bool data_watcher; /* had a data watch since the last removal. stock: watch2Paths */
};

/* One prepared write, in zxid order. */
struct pending {
    int64_t zxid;      /* completes when the log is synced up to it */
    struct blob *blob; /* counted; holds the record; NULL when there is no transaction */
    uint32_t off, len; /* header and record within the blob */
    struct blob *body; /* counted; of a sync: what it asked */
    uint32_t conn, conn_gen; /* CONN_NONE: nobody waits */
    int32_t xid, op, err;
    int64_t session;
    int64_t received; /* monotonic ms */
    uint32_t large;   /* bytes that count against the budget of large requests */
};

/* A request of our own client that went to the leader, in the order of leaving. */
struct role_wait {
    uint32_t conn, gen;
    int64_t session;
    int32_t xid, op, err;
    int64_t ready_at; /* answered when this zxid is applied; -1: its transaction answers it */
    int64_t after;    /* zxid: the log ended here when it left, what answers it comes behind */
    int64_t received; /* monotonic ms */
    struct blob *body; /* counted; of a sync */
};

struct role_save {
    int64_t epoch;
    bool accepted;
};

struct role_revalidation {
    int64_t session;
    uint32_t conn, gen;
};

enum role_phase {
    ROLE_ALONE,
    ROLE_DRAINING,
    ROLE_LOOKING,
    ROLE_LEADING,
    ROLE_LEARNING
};

/* What has to be done as soon as no snapshot is about to get its name. */
enum role_errand {
    ROLE_NOTHING,
    ROLE_TRUNCATE, /* the leader wants the log cut */
    ROLE_TAKE,     /* the leader's snapshot takes the place of our state */
    ROLE_RELOAD    /* ... did, and never reached the disk */
};

/* The place in the ensemble; see node/role.h. */
struct role {
    enum role_phase phase;
    int64_t self; /* sid */
    struct links links;
    struct election election;
    struct leader leader;
    struct learner learner;
    struct history history;
    bool filled;       /* this role: clients are served, or could be */
    uint32_t failures; /* roles in a row that were not */
    int64_t look_at;   /* monotonic ms: no election before */
    int64_t promised; /* the latest epoch that a voter is known to have accepted */
    int64_t accepted, current; /* epochs on disk */
    struct buf saving;         /* struct role_save: on their way there */
    enum role_errand errand;
    bool loading;   /* NODE_LOADED has to come */
    bool unsaved;   /* the state came by a snapshot that is not durable yet */
    bool cut;       /* ... and the log goes on beyond it */
    bool newleader; /* to be acknowledged when all is durable */
    struct role_wait *waiting; /* ring */
    uint32_t wait_head, wait_n, wait_cap;
    struct buf revalidating; /* struct role_revalidation */
    struct buf touched;      /* u32: slots of sessions heard of since the last ping */
    struct auth_set auth;    /* of the request that a learner passed on */
};

struct node_stats {
    int64_t latency_min, latency_max, latency_sum, latency_count; /* ms */
    int64_t received, sent; /* packets */
    int64_t bytes_received, bytes_sent;
    int64_t last_response, min_response, max_response; /* bytes, -1 unset */
    int64_t connections_rejected, connection_requests, connection_drops;
    int64_t sessions_expired, sessionless_expired;
    int64_t requests, revalidated, response_bytes, watch_bytes, snapshots_failed;
    int64_t auth_failed, snapshots, digest_mismatches, large_rejected, throttled;
    int64_t fsync_slow;
};

/* What only the operating system knows, for the four-letter words; asked for when one comes. */
struct node_facts {
    struct slice environment;            /* "key=value\n" lines; borrowed from the host */
    const char *data_dir, *log_dir;      /* the version-2 directories; borrowed */
    int64_t data_dir_size, log_dir_size; /* bytes */
    int64_t open_files, max_files;
    uint16_t client_port;                /* the one that is bound */
};
struct node_host {
    void (*facts)(void *ctx, struct node_facts *out); /* NULL: nobody knows, all is 0 */
    void *ctx;
};

#define NODE_DIGESTS 1024u      /* digests of the past that `hash` shows ... */
#define NODE_DIGEST_INTERVAL 128 /* ... one every so many transactions. stock: DataTree */
struct node_digest {
    int64_t zxid;
    uint64_t digest;
};

struct node {
    const struct config *cfg; /* borrowed */
    struct db db;
    struct prep prep;
    struct watch_table watches;
    struct auth_config auth_cfg;
    struct prng rng;
    struct logq log;
    bool loaded;  /* the state is there */
    bool serving; /* clients get sessions */
    struct role role;
    int64_t now, wall, started; /* started: monotonic ms */
    int64_t tick;               /* ms */
    int32_t min_timeout, max_timeout;
    uint32_t max_frame, max_string;

    struct conn *conns; /* owned */
    uint32_t n_conns, cap_conns, free_conns, live_conns;
    struct map per_ip;  /* hash of the address -> index in ip_counts */
    struct ip_count *ip_counts;
    uint32_t n_ips, cap_ips, free_ips;
    int64_t next_session;

    struct node_output *outputs; /* ring */
    uint32_t out_head, out_n, out_cap;
    struct buf pool[64]; /* spare output buffers */
    uint32_t pool_n;

    struct buf ready;  /* u32: connections to serve again in the next turn */
    int64_t budget;    /* of the connection being served, see serve */
    uint64_t work;     /* what the request being served costs beyond its bytes */

    struct blob *log_blob; /* being filled with records */
    struct pending *pending; /* ring */
    uint32_t pend_head, pend_n, pend_cap;
    int64_t appended, synced; /* zxids */
    int64_t committed; /* zxid; what is synced up to it is applied. INT64_MAX: nobody else counts */
    int64_t last_append;      /* monotonic ms */
    bool sync_wanted;
    struct buf scratch, hits;
    struct txn_out applied;

    /* log rolling and snapshots. stock: SyncRequestProcessor */
    bool roll_next;
    int64_t log_records, log_bytes, file_bytes;
    int64_t roll_at_records, roll_at_bytes;
    struct {
        bool active, finishing;
        bool blocked; /* waiting for NODE_SNAPSHOT_ROOM */
        int64_t zxid;
        uint64_t digest;
        uint32_t adler;
        int64_t started, slice_at; /* monotonic ms */
    } snap;
    int64_t last_snapshot_zxid, last_snapshot_wall;

    int64_t reap_next; /* monotonic ms */
    int64_t trace_mask;
    struct node_stats stats;
    struct metrics metrics;
    struct node_host host;
    struct node_digest *digests; /* owned; ring of NODE_DIGESTS, made by the first */
    uint64_t n_digests;          /* ever recorded */
    int64_t large_in_flight; /* bytes of large requests under way */
    struct {
        int64_t tokens, filled, frozen; /* times: monotonic ms */
        double drop;                    /* probability of refusing */
    } throttle;
};

struct ip_count {
    struct net_addr addr;
    uint32_t count, next_free;
};

ZK_PRIVATE void node_state_init(struct node *n, const struct config *cfg, uint64_t seed,
                                int64_t now, int64_t wall);
ZK_PRIVATE void node_state_free(struct node *n);
ZK_PRIVATE void node_prepare(struct node *n); /* n->prep for the state as it is */
ZK_PRIVATE struct node_output *node_output(struct node *n, enum node_output_kind kind);
ZK_PRIVATE bool node_take_output(struct node *n, struct node_output *out);

ZK_PRIVATE struct conn *node_conn(struct node *n, uint32_t id); /* any slot in use */
ZK_PRIVATE uint32_t node_conn_add(struct node *n, const struct net_addr *addr);
ZK_PRIVATE void node_conn_drop(struct node *n, uint32_t id); /* frees the slot and what it holds */
ZK_PRIVATE uint32_t node_conn_pending(const struct conn *c); /* writes under way */
/* Buffers that come and go with traffic: idle connections own none. */
ZK_PRIVATE void node_buf_take(struct node *n, struct buf *b);
ZK_PRIVATE void node_buf_give(struct node *n, struct buf *b);
ZK_PRIVATE struct buf *node_conn_out(struct node *n, uint32_t id); /* to append; marks it dirty */
ZK_PRIVATE void node_conn_ready(struct node *n, uint32_t id); /* its turn comes round */
ZK_PRIVATE void node_conn_sent(struct node *n, uint32_t id, size_t bytes); /* host: consumed */
ZK_PRIVATE uint32_t node_ip_count(const struct node *n, const struct net_addr *addr);
/* "/1.2.3.4:5", "/0:0:0:0:0:0:0:1:5". stock: InetSocketAddress.toString */
ZK_PRIVATE void node_addr_format(const struct net_addr *a, struct buf *out);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/mntr.h ==== */

/*
 * node/mntr: the table of metrics, and the answer to `mntr`.
 *
 * Every metric that a stock server shows has a row: its kind and where the value is. Rows without a
 * source belong to machinery that this server does not have (a commit processor, learners, TLS, a
 * JVM): they are 0, as they are on a stock server that does not use it. Order: gauges, gauge sets,
 * counters, counter sets, basic summaries, advanced ones, summary sets. stock: ServerMetrics,
 * DefaultMetricsProvider, ZooKeeperServer.registerMetrics.
 */
#ifndef ZK_NODE_MNTR_H
#define ZK_NODE_MNTR_H


ZK_PRIVATE void mntr_dump(const struct node *n, const struct node_facts *facts, struct buf *out);
ZK_PRIVATE uint32_t mntr_alive(const struct node *n); /* connections that are not being closed */

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/ops.h ==== */

/*
 * node/ops: the four-letter words.
 *
 * A command is recognised only as the first four bytes of a connection; its answer is text, after
 * which the connection is closed. Names, texts, the order of lines and the whitelist are stock's
 * (FourLetterCommands and the classes of org.apache.zookeeper.server.command). Where stock prints
 * in the order of a Java hash table, the order here is that of our own tables.
 */
#ifndef ZK_NODE_OPS_H
#define ZK_NODE_OPS_H


/* Tools take this apart: release-revision, date. The revision is "zk" ten times in ASCII. */
#define OPS_VERSION \
    "3.9.5-7a6b7a6b7a6b7a6b7a6b7a6b7a6b7a6b7a6b7a6b, built on 2026-11-23 00:00 UTC"

ZK_PRIVATE bool ops_is_word(struct slice in); /* in: the first bytes of a connection, 4 or more */
/* Appends the answer to the connection's output; in: all bytes that came with the word. */
ZK_PRIVATE void ops_answer(struct node *n, uint32_t conn, struct slice in);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/pipeline.h ==== */

/*
 * node/pipeline: the way of a write from its frame to its reply, and of watch events.
 *
 * A prepared transaction is framed for the log into the current blob and put into a ring of pending
 * writes, in zxid order. When the log is synced up to it, it is applied, its events are sent, then
 * its reply. Nothing leaves before the sync that covers it has returned.
 */
#ifndef ZK_NODE_PIPELINE_H
#define ZK_NODE_PIPELINE_H


struct pipeline_request {
    uint32_t conn; /* CONN_NONE: the server itself */
    int32_t xid, op;
    int64_t session;
    struct slice body;
    bool internal;
    bool forwarded; /* by a learner: fails as a transaction, since there is no other answer */
    uint64_t owner; /* ... its connection */
    const struct auth_set *auth; /* ... its client's identities */
};

/* A transaction that the leader made. */
struct pipeline_txn {
    int64_t zxid, session;
    int32_t type;
    struct slice bytes; /* header, record, digest */
};

ZK_PRIVATE void pipeline_submit(struct node *n, const struct pipeline_request *q);
ZK_PRIVATE void pipeline_barrier(struct node *n, uint32_t conn);
ZK_PRIVATE void pipeline_close_session(struct node *n, int64_t session); /* expiry */
ZK_PRIVATE void pipeline_log(struct node *n, const struct pipeline_txn *t);
ZK_PRIVATE void pipeline_synced(struct node *n, int64_t zxid);
ZK_PRIVATE void pipeline_apply(struct node *n); /* what is durable and committed */
ZK_PRIVATE void pipeline_flush(struct node *n); /* end of a step: asks for the sync it needs */

/* Replies. begin reserves frame length and header; end fills them in. */
ZK_PRIVATE size_t reply_begin(struct buf *out);
ZK_PRIVATE void reply_end(struct node *n, uint32_t conn, size_t at, int32_t xid, int64_t zxid,
                          int32_t err);
/* What a finished request leaves in the statistics of the connection and the server. */
ZK_PRIVATE void reply_count(struct node *n, uint32_t conn, int32_t xid, int32_t op, int64_t zxid,
                            int64_t received);
ZK_PRIVATE void reply_error(struct node *n, uint32_t conn, int32_t xid, int64_t zxid, int32_t err);
ZK_PRIVATE void event_send(struct node *n, uint32_t conn, int32_t type, struct slice path,
                           int64_t zxid);
ZK_PRIVATE void reply_connect(struct node *n, uint32_t conn, bool accepted);

/* Snapshot of the whole state, in slices. */
ZK_PRIVATE void pipeline_snapshot_begin(struct node *n);
ZK_PRIVATE void pipeline_snapshot_abort(struct node *n); /* unless it is about to get its name */
ZK_PRIVATE bool pipeline_snapshot_step(struct node *n); /* true when there is more to do now */
ZK_PRIVATE void pipeline_draw_roll(struct node *n);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/role.h ==== */

/*
 * node/role: what this server is in its ensemble, and the change from one role to another.
 *
 *   ALONE      no ensemble
 *   DRAINING   a role has ended: the log, epochs and snapshots under way reach the disk first; then
 *              everything logged is applied, committed or not, because all of it counts now. Memory
 *              that is not what the disk holds (a snapshot was cut short) is loaded again
 *   LOOKING    election
 *   LEADING    node's prepared transactions are proposed; a quorum commits
 *   LEARNING   follower or observer: requests go to the leader, transactions come from it
 *
 * Whatever the role, a transaction is in the pending ring from the moment it is appended until it
 * is applied, and it is applied when it is durable here and committed. Requests of our own clients
 * that went to the leader wait in `waiting`, in the order in which they went; the transaction that
 * answers the first one is known by its session and cxid. stock: QuorumPeer, CommitProcessor
 */
#ifndef ZK_NODE_ROLE_H
#define ZK_NODE_ROLE_H


struct pipeline_request;

ZK_PRIVATE void role_init(struct node *n);
ZK_PRIVATE void role_free(struct node *n);
ZK_PRIVATE void role_start(struct node *n); /* the state has been loaded */
/* After each input: lets the machines of the role do what they can now. */
ZK_PRIVATE void role_settle(struct node *n);
ZK_PRIVATE void role_tick(struct node *n);
ZK_PRIVATE int64_t role_next_tick(const struct node *n);
ZK_PRIVATE bool role_idle_work(struct node *n);

/* Inputs. */
ZK_PRIVATE void role_link_opened(struct node *n, uint32_t link);
ZK_PRIVATE void role_link_bytes(struct node *n, uint32_t link, struct slice bytes);
ZK_PRIVATE void role_link_closed(struct node *n, uint32_t link);
ZK_PRIVATE uint32_t role_link_accept(struct node *n, enum link_kind kind);
ZK_PRIVATE void role_listen_failed(struct node *n);
ZK_PRIVATE void role_epoch_saved(struct node *n);
ZK_PRIVATE void role_log_read(struct node *n, struct slice txns);
ZK_PRIVATE void role_loaded(struct node *n, struct db *db);
ZK_PRIVATE void role_log_synced(struct node *n);
ZK_PRIVATE void role_snapshot_over(struct node *n, bool failed);

/* Whether this server decides what becomes a transaction, and when a session expires. */
ZK_PRIVATE bool role_decides(const struct node *n);
ZK_PRIVATE bool role_learns(const struct node *n);
ZK_PRIVATE uint64_t role_self_owner(const struct node *n); /* of sessions of our own clients */
ZK_PRIVATE bool role_exhausted(const struct node *n);      /* the epoch has no zxid left */

/* Of a learner's clients. */
ZK_PRIVATE void role_forward(struct node *n, const struct pipeline_request *q);
ZK_PRIVATE void role_barrier(struct node *n, uint32_t conn);
ZK_PRIVATE void role_revalidate(struct node *n, uint32_t conn, int64_t session);
ZK_PRIVATE void role_touch(struct node *n, uint32_t session_slot, int32_t timeout);
/* A committed transaction: whose request it answers goes into p. */
ZK_PRIVATE void role_claim(struct node *n, struct pending *p);
/* What waits for nothing but what is applied by now. */
ZK_PRIVATE void role_answer(struct node *n);
/* A transaction has been appended, or applied. */
ZK_PRIVATE void role_appended(struct node *n, const struct pending *p);
ZK_PRIVATE void role_applied(struct node *n, int64_t zxid);

/* "standalone", "leader", "follower", "observer"; NULL while there is none of these. */
ZK_PRIVATE const char *role_name(const struct node *n);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/reads.h ==== */

/*
 * node/reads: the requests that change nothing: reads of the tree, watches, and ping, sync, whoAmI.
 *
 * Each is answered at once from the applied state. stock: FinalRequestProcessor.
 */
#ifndef ZK_NODE_READS_H
#define ZK_NODE_READS_H


/* Answers one request; body is what follows the request header. */
ZK_PRIVATE void reads_serve(struct node *n, uint32_t conn, int32_t xid, int32_t op,
                            struct slice body);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/serve.h ==== */

/*
 * node/serve: the server's side of a client connection.
 *
 * Phases (enum conn_phase):
 *   NEW      -> a four-letter word is answered and the connection closed; a ConnectRequest leads to
 *               WAITING (new session: its transaction is under way) or OPEN (renewal), or to a
 *               refusal and CLOSING
 *   WAITING  -> OPEN when the createSession has been applied; input waits meanwhile
 *   OPEN     -> requests; CLOSING after closeSession, an error that ends it, or expiry
 *   CLOSING  -> output is flushed, input dropped, then the slot is free
 * stock: NIOServerCnxn, ZooKeeperServer.processConnectRequest, processPacket.
 */
#ifndef ZK_NODE_SERVE_H
#define ZK_NODE_SERVE_H


/* CONN_NONE when the limits refuse it: the host closes the socket. */
ZK_PRIVATE uint32_t serve_open(struct node *n, const struct net_addr *addr);
ZK_PRIVATE void serve_bytes(struct node *n, uint32_t conn, struct slice bytes);
ZK_PRIVATE void serve_run(struct node *n, uint32_t conn); /* what waits, as far as it may */
/*
 * The reads whose turn has come, whatever they cost: the next write of the connection is about to
 * be applied, and they must not see it.
 */
ZK_PRIVATE void serve_due(struct node *n, uint32_t conn);
ZK_PRIVATE bool serve_turn(struct node *n); /* those whose budget ran out; true: some again */
ZK_PRIVATE void serve_lost(struct node *n, uint32_t conn);   /* the peer is gone */
ZK_PRIVATE void serve_close(struct node *n, uint32_t conn);  /* after what it has to be told */
/* The leader has answered whether the session may go on here. */
ZK_PRIVATE void serve_renewed(struct node *n, uint32_t conn, bool valid);
ZK_PRIVATE void serve_session_created(struct node *n, uint32_t conn);
ZK_PRIVATE void serve_idle(struct node *n); /* closes those that never asked for a session */

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/node.h ==== */

/*
 * node: one server as a machine. Takes inputs, calls the rooms, leaves outputs (node/state.h).
 */
#ifndef ZK_NODE_NODE_H
#define ZK_NODE_NODE_H


/*
 * The state has been loaded into n->db: requests are served from now on, or, in an ensemble, a
 * leader is looked for.
 */
ZK_PRIVATE void node_start(struct node *n, bool snapshot);
ZK_PRIVATE void node_step(struct node *n, const struct node_input *in);
/* Work that waits for a free moment (a snapshot being walked): true when there is more. */
ZK_PRIVATE bool node_idle_work(struct node *n);
/* Monotonic ms at which a tick is wanted next. */
ZK_PRIVATE int64_t node_next_tick(const struct node *n);
/* A connection was accepted: its number, CONN_NONE when the limits refuse it. */
ZK_PRIVATE uint32_t node_accept(struct node *n, const struct net_addr *addr, int64_t now,
                                int64_t wall);

/* --- an ensemble --- */
/* Before node_start: what the epoch files say. -1: the file does not exist. */
ZK_PRIVATE void node_epochs(struct node *n, int64_t accepted, int64_t current);
/* A server connected to the election or the quorum port: the number of the link, LINK_NONE to hang
 * up. */
ZK_PRIVATE uint32_t node_link_accept(struct node *n, enum link_kind kind, int64_t now,
                                     int64_t wall);
/* NODE_LINK_DIAL, NODE_LINK_SEND: where to, and what to send. Valid until the next input. */
ZK_PRIVATE const struct link *node_link(struct node *n, uint32_t link);
/* Whether more should be received from it; asked again after each input. */
ZK_PRIVATE bool node_link_wants(const struct node *n, uint32_t link);
ZK_PRIVATE void node_link_sent(struct node *n, uint32_t link, size_t bytes); /* host: consumed */

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/metrics.c ==== */


#include <stdio.h>

ZK_PRIVATE void metrics_init(struct metrics *m, uint64_t seed) {
    memset(m, 0, sizeof *m);
    m->rng.state = seed;
}

ZK_PRIVATE void metrics_free(struct metrics *m) {
    for (uint32_t i = 0; i < m->n_spaces; i++) mem_free(m->spaces[i].name);
    mem_free(m->spaces);
    map_free(&m->space_index);
    mem_free(m->read_ms.sample);
    mem_free(m->update_ms.sample);
    mem_free(m->propagation_ms.sample);
    mem_free(m->flush_ms.sample);
    memset(m, 0, sizeof *m);
}

ZK_PRIVATE void metrics_reset(struct metrics *m) {
    static const struct metrics_sum nothing = {0, 0, 0, 0};
    m->fsync_ms = m->snapshot_ms = m->batch = nothing;
    m->init_ms = m->snap_load_ms = m->log_load_ms = m->log_loaded = nothing;
    m->created = m->deleted = m->changed = m->children = nothing;
    m->read_ms.sum = m->update_ms.sum = m->propagation_ms.sum = m->flush_ms.sum = nothing;
    for (uint32_t i = 0; i < m->n_spaces; i++) {
        m->spaces[i].read = m->spaces[i].written = nothing;
        m->spaces[i].refused = 0;
    }
}

/* --- summaries --- */

ZK_PRIVATE void metrics_add(struct metrics_sum *s, int64_t value) {
    if (!s->count || value < s->min) s->min = value;
    if (!s->count || value > s->max) s->max = value;
    s->count++;
    s->total += value;
}

ZK_PRIVATE void metrics_merge(struct metrics_sum *s, const struct metrics_sum *more) {
    if (!more->count) return;
    if (!s->count || more->min < s->min) s->min = more->min;
    if (!s->count || more->max > s->max) s->max = more->max;
    s->count += more->count;
    s->total += more->total;
}

ZK_PRIVATE void metrics_sample(struct metrics *m, struct metrics_dist *d, int64_t value) {
    if (!d->sample) d->sample = mem_alloc(sizeof *d->sample * METRICS_SAMPLE);
    metrics_add(&d->sum, value);
    uint64_t at = (uint64_t)d->sum.count - 1;
    if (at >= METRICS_SAMPLE) at = prng_below(&m->rng, (uint64_t)d->sum.count);
    if (at < METRICS_SAMPLE) d->sample[at] = value;
}

static int metrics_cmp(const void *a, const void *b) {
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Interpolates between neighbours and rounds. stock: com.codahale.metrics.UniformSnapshot */
ZK_PRIVATE int64_t metrics_quantile(const struct metrics_dist *d, int per_mille) {
    int64_t n = d->sum.count < METRICS_SAMPLE ? d->sum.count : METRICS_SAMPLE;
    if (!n) return 0;
    size_t bytes = sizeof *d->sample * (size_t)n;
    int64_t *sorted = memcpy(mem_alloc(bytes), d->sample, bytes);
    qsort(sorted, (size_t)n, sizeof *sorted, metrics_cmp);
    int64_t pos = per_mille * (n + 1), i = pos / 1000, value;
    if (i < 1)
        value = sorted[0];
    else if (i >= n)
        value = sorted[n - 1];
    else
        value = sorted[i - 1] + (pos % 1000 * (sorted[i] - sorted[i - 1]) + 500) / 1000;
    mem_free(sorted);
    return value;
}

/* --- namespaces --- */

ZK_PRIVATE struct slice metrics_space_of(struct slice path) {
    if (path.n < 2) return slice_of(NULL, 0);
    const uint8_t *slash = memchr(path.p + 1, '/', path.n - 1);
    return slice_of(path.p + 1, slash ? (size_t)(slash - path.p) - 1 : path.n - 1);
}

static bool metrics_is_space(const struct metrics *m, uint32_t i, struct slice name) {
    return i < m->n_spaces && slice_eq(slice_of(m->spaces[i].name, m->spaces[i].name_len), name);
}

/* NULL for the root, and for a name that comes when all places are taken. */
static struct metrics_space *metrics_space(struct metrics *m, struct slice path) {
    struct slice name = metrics_space_of(path);
    if (!name.n) return NULL;
    if (metrics_is_space(m, m->last_space, name)) return &m->spaces[m->last_space];
    uint64_t hash = slice_hash(name, 0);
    struct map_iter it;
    uint32_t i = map_first(&m->space_index, hash, &it);
    while (i != MAP_NONE && !metrics_is_space(m, i, name)) i = map_next(&m->space_index, &it);
    if (i == MAP_NONE) {
        if (m->n_spaces == METRICS_SPACES) return NULL;
        if (m->n_spaces == m->cap_spaces) {
            m->cap_spaces = m->cap_spaces ? m->cap_spaces * 2 : 8;
            m->spaces = mem_realloc(m->spaces, sizeof *m->spaces * m->cap_spaces);
        }
        i = m->n_spaces++;
        struct metrics_space *s = &m->spaces[i];
        memset(s, 0, sizeof *s);
        s->name = memcpy(mem_alloc(name.n), name.p, name.n);
        s->name_len = (uint32_t)name.n;
        map_add(&m->space_index, hash, i);
    }
    m->last_space = i;
    return &m->spaces[i];
}

ZK_PRIVATE void metrics_read(struct metrics *m, struct slice path, int64_t bytes) {
    struct metrics_space *s = metrics_space(m, path);
    if (!s) return;
    s->has_read = true;
    metrics_add(&s->read, (int64_t)path.n + bytes);
}

ZK_PRIVATE void metrics_wrote(struct metrics *m, struct slice path, int64_t bytes) {
    struct metrics_space *s = metrics_space(m, path);
    if (!s) return;
    s->has_written = true;
    metrics_add(&s->written, (int64_t)path.n + bytes);
}

ZK_PRIVATE void metrics_refused(struct metrics *m, struct slice path) {
    struct metrics_space *s = metrics_space(m, path);
    if (!s) return;
    s->has_refused = true;
    s->refused++;
}

/* --- numbers --- */

/* digits without trailing zeros, but at least one behind the point */
static void metrics_put_fraction(struct buf *out, const char *digits, size_t n) {
    while (n > 1 && digits[n - 1] == '0') n--;
    buf_putc(out, '.');
    buf_put(out, digits, n);
}

ZK_PRIVATE void metrics_put_average(struct buf *out, int64_t total, int64_t count) {
    char text[80], digits[40];
    if (!count) total = 0;
    /* Digits enough to see on which side of a half the double lies, which printf would round to
     * even. */
    (void)snprintf(text, sizeof text, "%.30f", (double)total / (double)(count ? count : 1));
    char *point = text + strcspn(text, ".,"); /* a comma where the program has such a locale */
    point[0] = '\0';
    bool up = point[5] >= '5';
    point[5] = '\0';
    uint64_t whole = 0, part = 0;
    for (const char *p = text; *p; p++) whole = whole * 10 + (uint64_t)(*p - '0');
    for (const char *p = point + 1; *p; p++) part = part * 10 + (uint64_t)(*p - '0');
    uint64_t all = whole * 10000 + part + up;
    if (all != 0 && all < 10) { /* below a thousandth Java turns to exponents */
        buf_printf(out, "%llu.0E-4", (unsigned long long)all);
    } else if (all >= 100000000000u) { /* so it does from ten million on */
        int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)all);
        buf_putc(out, digits[0]);
        metrics_put_fraction(out, digits + 1, (size_t)n - 1);
        buf_printf(out, "E%d", n - 5);
    } else {
        (void)snprintf(digits, sizeof digits, "%04llu", (unsigned long long)(all % 10000));
        buf_printf(out, "%llu", (unsigned long long)(all / 10000));
        metrics_put_fraction(out, digits, 4);
    }
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/state.c ==== */



#define NODE_OUT_KEEP 65536u /* larger output buffers are freed when drained */

ZK_PRIVATE void node_state_init(struct node *n, const struct config *cfg, uint64_t seed,
                                int64_t now, int64_t wall) {
    memset(n, 0, sizeof *n);
    n->cfg = cfg;
    n->rng.state = seed;
    n->now = n->started = now;
    n->wall = wall;
    n->tick = cfg->tick_time_ms > 0 ? cfg->tick_time_ms : 1;
    n->min_timeout = cfg->min_session_timeout_ms;
    n->max_timeout = cfg->max_session_timeout_ms;
    n->max_frame = (uint32_t)cfg->jute_max_buffer;
    uint64_t most = (uint64_t)n->max_frame + (uint32_t)cfg->jute_extra_size;
    n->max_string = most > INT32_MAX ? INT32_MAX : (uint32_t)most;
    n->free_conns = n->free_ips = CONN_NONE;
    n->log.max_level = LOG_INFO_LEVEL;
    n->auth_cfg.digest_enabled = cfg->digest_auth;
    n->auth_cfg.super_digest = cfg->super_digest ? slice_str(cfg->super_digest) : slice_of("", 0);
    n->stats.latency_min = INT64_MAX;
    n->stats.last_response = n->stats.min_response = n->stats.max_response = -1;
    n->trace_mask = 306;
    n->last_snapshot_zxid = -1;
    db_init(&n->db, prng_next(&n->rng), n->tick, now);
    n->db.tree.extended_types = cfg->extended_types;
    n->db.tree.emulate353 = cfg->emulate353;
    watch_init(&n->watches, prng_next(&n->rng));
    metrics_init(&n->metrics, prng_next(&n->rng));
    role_init(n);
}

ZK_PRIVATE void node_prepare(struct node *n) {
    struct prep_config pc = {.skip_acl = n->cfg->skip_acl,
                             .enforce_quota = n->cfg->enforce_quota,
                             .digest = n->cfg->digest_enabled,
                             .digest_auth = n->cfg->digest_auth,
                             .reconfig = n->cfg->reconfig_enabled,
                             .max_record = n->max_string};
    prep_init(&n->prep, &n->db, &pc);
}

ZK_PRIVATE void node_state_free(struct node *n) {
    for (uint32_t i = 0; i < n->n_conns; i++)
        if (n->conns[i].phase != CONN_FREE) node_conn_drop(n, i);
    struct node_output out;
    while (node_take_output(n, &out)) buf_free(&out.owned);
    for (uint32_t i = 0; i < n->pend_n; i++) {
        blob_unref(n->pending[(n->pend_head + i) & (n->pend_cap - 1)].blob);
        blob_unref(n->pending[(n->pend_head + i) & (n->pend_cap - 1)].body);
    }
    for (uint32_t i = 0; i < n->pool_n; i++) buf_free(&n->pool[i]);
    blob_unref(n->log_blob);
    role_free(n);
    txn_out_free(&n->db, &n->applied);
    prep_free(&n->prep);
    watch_free(&n->watches);
    metrics_free(&n->metrics);
    mem_free(n->digests);
    db_free(&n->db);
    mem_free(n->conns);
    mem_free(n->ip_counts);
    map_free(&n->per_ip);
    mem_free(n->outputs);
    mem_free(n->pending);
    buf_free(&n->ready);
    buf_free(&n->scratch);
    buf_free(&n->hits);
    buf_free(&n->log.lines);
    memset(n, 0, sizeof *n);
}

/* --- outputs --- */

ZK_PRIVATE struct node_output *node_output(struct node *n, enum node_output_kind kind) {
    if (n->out_n == n->out_cap) {
        uint32_t cap = n->out_cap ? n->out_cap * 2 : 64;
        struct node_output *ring = mem_alloc(sizeof *ring * cap);
        for (uint32_t i = 0; i < n->out_n; i++)
            ring[i] = n->outputs[(n->out_head + i) & (n->out_cap - 1)];
        mem_free(n->outputs);
        n->outputs = ring;
        n->out_cap = cap;
        n->out_head = 0;
    }
    struct node_output *o = &n->outputs[(n->out_head + n->out_n++) & (n->out_cap - 1)];
    memset(o, 0, sizeof *o);
    o->kind = kind;
    return o;
}

ZK_PRIVATE bool node_take_output(struct node *n, struct node_output *out) {
    if (!n->out_n) return false;
    *out = n->outputs[n->out_head];
    n->out_head = (n->out_head + 1) & (n->out_cap - 1);
    n->out_n--;
    return true;
}

/* --- connections --- */

static uint64_t node_addr_hash(const struct net_addr *a) {
    return slice_hash(slice_of(a->ip, a->ip_len), a->ip_len);
}

static uint32_t node_ip_find(const struct node *n, const struct net_addr *a) {
    struct map_iter it;
    uint32_t i = map_first(&n->per_ip, node_addr_hash(a), &it);
    for (; i != MAP_NONE; i = map_next(&n->per_ip, &it)) {
        const struct net_addr *b = &n->ip_counts[i].addr;
        if (b->ip_len == a->ip_len && memcmp(b->ip, a->ip, a->ip_len) == 0) return i;
    }
    return MAP_NONE;
}

ZK_PRIVATE uint32_t node_ip_count(const struct node *n, const struct net_addr *addr) {
    uint32_t i = node_ip_find(n, addr);
    return i == MAP_NONE ? 0 : n->ip_counts[i].count;
}

static void node_ip_add(struct node *n, const struct net_addr *a) {
    uint32_t i = node_ip_find(n, a);
    if (i == MAP_NONE) {
        i = n->free_ips;
        if (i != CONN_NONE) {
            n->free_ips = n->ip_counts[i].next_free;
        } else {
            if (n->n_ips == n->cap_ips) {
                n->cap_ips = n->cap_ips ? n->cap_ips * 2 : 16;
                n->ip_counts = mem_realloc(n->ip_counts, sizeof *n->ip_counts * n->cap_ips);
            }
            i = n->n_ips++;
        }
        n->ip_counts[i].addr = *a;
        n->ip_counts[i].count = 0;
        map_add(&n->per_ip, node_addr_hash(a), i);
    }
    n->ip_counts[i].count++;
}

static void node_ip_del(struct node *n, const struct net_addr *a) {
    uint32_t i = node_ip_find(n, a);
    ZK_ASSERT(i != MAP_NONE);
    if (--n->ip_counts[i].count) return;
    (void)map_del(&n->per_ip, node_addr_hash(a), i);
    n->ip_counts[i].next_free = n->free_ips;
    n->free_ips = i;
}

ZK_PRIVATE uint32_t node_conn_pending(const struct conn *c) {
    return c->submitted - c->completed;
}

ZK_PRIVATE struct conn *node_conn(struct node *n, uint32_t id) {
    ZK_ASSERT(id < n->n_conns && n->conns[id].phase != CONN_FREE);
    return &n->conns[id];
}

ZK_PRIVATE uint32_t node_conn_add(struct node *n, const struct net_addr *addr) {
    uint32_t id = n->free_conns, gen = 0;
    if (id != CONN_NONE) {
        n->free_conns = n->conns[id].next_free;
        gen = n->conns[id].gen;
    } else {
        ZK_ASSERT(n->n_conns < WATCH_CONN_MAX - 1);
        if (n->n_conns == n->cap_conns) {
            n->cap_conns = n->cap_conns ? n->cap_conns * 2 : 64;
            n->conns = mem_realloc(n->conns, sizeof *n->conns * n->cap_conns);
        }
        id = n->n_conns++;
    }
    struct conn *c = &n->conns[id];
    bool ready = gen && c->ready; /* its last use may still be in the list */
    memset(c, 0, sizeof *c);
    c->ready = ready;
    c->phase = CONN_NEW;
    c->gen = gen + 1;
    c->addr = *addr;
    c->session_slot = SESSION_NONE;
    c->last_io = c->phase_since = n->now;
    c->established = n->wall;
    c->last_cxid = -1;
    node_ip_add(n, addr);
    n->live_conns++;
    return id;
}

ZK_PRIVATE void node_buf_take(struct node *n, struct buf *b) {
    if (!b->p && n->pool_n) *b = n->pool[--n->pool_n];
}

ZK_PRIVATE void node_buf_give(struct node *n, struct buf *b) {
    if (b->p && b->cap <= NODE_OUT_KEEP && n->pool_n < sizeof n->pool / sizeof n->pool[0]) {
        buf_clear(b);
        n->pool[n->pool_n++] = *b;
        memset(b, 0, sizeof *b);
    } else {
        buf_free(b);
    }
}

ZK_PRIVATE void node_conn_drop(struct node *n, uint32_t id) {
    struct conn *c = node_conn(n, id);
    watch_drop_conn(&n->watches, id);
    if (c->session_slot != SESSION_NONE && n->db.sessions.slots[c->session_slot].conn == id)
        n->db.sessions.slots[c->session_slot].conn = SESSION_NONE;
    node_ip_del(n, &c->addr);
    auth_free(&c->auth);
    buf_free(&c->in);
    node_buf_give(n, &c->deferred);
    node_buf_give(n, &c->out);
    c->phase = CONN_FREE;
    c->next_free = n->free_conns;
    n->free_conns = id;
    n->live_conns--;
}

ZK_PRIVATE struct buf *node_conn_out(struct node *n, uint32_t id) {
    struct conn *c = node_conn(n, id);
    node_buf_take(n, &c->out);
    buf_compact(&c->out);
    if (!c->dirty) {
        c->dirty = true;
        node_output(n, NODE_SEND)->conn = id;
    }
    return &c->out;
}

ZK_PRIVATE void node_conn_ready(struct node *n, uint32_t id) {
    struct conn *c = node_conn(n, id);
    if (c->ready) return;
    c->ready = true;
    buf_put(&n->ready, &id, sizeof id);
}

ZK_PRIVATE void node_conn_sent(struct node *n, uint32_t id, size_t bytes) {
    struct conn *c = node_conn(n, id);
    n->stats.bytes_sent += (int64_t)bytes;
    buf_consume(&c->out, bytes);
    c->dirty = false;
    bool waits = buf_len(&c->in) || buf_len(&c->deferred);
    if (waits && buf_len(&c->out) < NODE_OUT_PAUSE) node_conn_ready(n, id);
    if (!buf_len(&c->out)) node_buf_give(n, &c->out);
}

ZK_PRIVATE void node_addr_format(const struct net_addr *a, struct buf *out) {
    char text[ACL_IP_TEXT];
    acl_ip_format(text, a->ip, a->ip_len);
    buf_printf(out, "/%s:%u", text, (unsigned)a->port);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/mntr.c ==== */


/* One metric; its table says what type the value has. */
struct mntr_row {
    const char *name;
    size_t offset; /* of the value within struct node; MNTR_NONE: always 0 */
};
#define MNTR_NONE SIZE_MAX
#define MNTR_ROW(name, member) {name, offsetof(struct node, member)}
#define MNTR_ZERO(name) {name, MNTR_NONE}

/* int64_t */
static const struct mntr_row mntr_counters[] = {
    MNTR_ROW("bytes_received_count", stats.bytes_received),
    MNTR_ROW("response_bytes", stats.response_bytes),
    MNTR_ROW("watch_bytes", stats.watch_bytes),
    MNTR_ROW("connection_request_count", stats.connection_requests),
    MNTR_ROW("connection_revalidate_count", stats.revalidated),
    MNTR_ROW("connection_rejected", stats.connections_rejected),
    MNTR_ROW("connection_drop_count", stats.connection_drops),
    MNTR_ROW("sessionless_connections_expired", stats.sessionless_expired),
    MNTR_ROW("stale_sessions_expired", stats.sessions_expired),
    MNTR_ROW("large_requests_rejected", stats.large_rejected),
    MNTR_ROW("throttled_ops", stats.throttled),
    MNTR_ROW("digest_mismatches_count", stats.digest_mismatches),
    MNTR_ROW("prep_processor_request_queued", stats.requests),
    MNTR_ROW("sync_processor_request_queued", stats.requests),
    MNTR_ROW("outstanding_changes_queued", prep.queued),
    MNTR_ROW("outstanding_changes_removed", prep.removed),
    MNTR_ROW("snapshot_error_count", stats.snapshots_failed),
    MNTR_ZERO("add_dead_watcher_stall_time"),
    MNTR_ZERO("cnxn_closed_without_zk_server_running"),
    MNTR_ZERO("commit_count"),
    MNTR_ZERO("dead_watchers_cleared"),
    MNTR_ZERO("dead_watchers_queued"),
    MNTR_ZERO("diff_count"),
    MNTR_ZERO("ensemble_auth_fail"),
    MNTR_ZERO("ensemble_auth_skip"),
    MNTR_ZERO("ensemble_auth_success"),
    MNTR_ZERO("insecure_admin_count"),
    MNTR_ZERO("learner_commit_received_count"),
    MNTR_ZERO("learner_proposal_received_count"),
    MNTR_ZERO("looking_count"),
    MNTR_ZERO("proposal_count"),
    MNTR_ZERO("quit_leading_due_to_disloyal_voter"),
    MNTR_ZERO("request_commit_queued"),
    MNTR_ZERO("request_throttle_wait_count"),
    MNTR_ZERO("requests_not_forwarded_to_commit_processor"),
    MNTR_ZERO("response_packet_cache_hits"),
    MNTR_ZERO("response_packet_cache_misses"),
    MNTR_ZERO("response_packet_get_children_cache_hits"),
    MNTR_ZERO("response_packet_get_children_cache_misses"),
    MNTR_ZERO("restore_error_count"),
    MNTR_ZERO("restore_rate_limited_count"),
    MNTR_ZERO("revalidate_count"),
    MNTR_ZERO("skip_learner_request_to_next_processor_count"),
    MNTR_ZERO("snap_count"),
    MNTR_ZERO("snapshot_rate_limited_count"),
    MNTR_ZERO("stale_replies"),
    MNTR_ZERO("stale_requests"),
    MNTR_ZERO("stale_requests_dropped"),
    MNTR_ZERO("tls_handshake_exceeded"),
    MNTR_ZERO("unrecoverable_error_count"),
    MNTR_ZERO("unsuccessful_handshake"),
};

/* struct metrics_sum */
static const struct mntr_row mntr_sums[] = {
    MNTR_ROW("fsynctime", metrics.fsync_ms),
    MNTR_ROW("snapshottime", metrics.snapshot_ms),
    MNTR_ROW("dbinittime", metrics.init_ms),
    MNTR_ROW("startup_snap_load_time", metrics.snap_load_ms),
    MNTR_ROW("startup_txns_load_time", metrics.log_load_ms),
    MNTR_ROW("startup_txns_loaded", metrics.log_loaded),
    MNTR_ROW("sync_processor_batch_size", metrics.batch),
    MNTR_ROW("node_created_watch_count", metrics.created),
    MNTR_ROW("node_deleted_watch_count", metrics.deleted),
    MNTR_ROW("node_changed_watch_count", metrics.changed),
    MNTR_ROW("node_children_watch_count", metrics.children),
    MNTR_ZERO("commit_commit_proc_req_queued"),
    MNTR_ZERO("commit_process_time"),
    MNTR_ZERO("concurrent_request_processing_in_commit_processor"),
    MNTR_ZERO("connection_token_deficit"),
    MNTR_ZERO("election_time"),
    MNTR_ZERO("follower_sync_time"),
    MNTR_ZERO("inflight_diff_count"),
    MNTR_ZERO("inflight_snap_count"),
    MNTR_ZERO("leader_unavailable_time"),
    MNTR_ZERO("learner_request_processor_queue_size"),
    MNTR_ZERO("netty_queued_buffer_capacity"),
    MNTR_ZERO("observer_sync_time"),
    MNTR_ZERO("pending_session_queue_size"),
    MNTR_ZERO("prep_process_time"),
    MNTR_ZERO("prep_processor_queue_size"),
    MNTR_ZERO("proposal_process_time"),
    MNTR_ZERO("read_commit_proc_issued"),
    MNTR_ZERO("read_commit_proc_req_queued"),
    MNTR_ZERO("reads_after_write_in_session_queue"),
    MNTR_ZERO("reads_issued_from_session_queue"),
    MNTR_ZERO("requests_in_session_queue"),
    MNTR_ZERO("restore_time"),
    MNTR_ZERO("session_queues_drained"),
    MNTR_ZERO("socket_closing_time"),
    MNTR_ZERO("sync_process_time"),
    MNTR_ZERO("sync_processor_queue_size"),
    MNTR_ZERO("time_waiting_empty_pool_in_commit_processor_read_ms"),
    MNTR_ZERO("unavailable_time"),
    MNTR_ZERO("write_batch_time_in_commit_processor"),
    MNTR_ZERO("write_commit_proc_issued"),
    MNTR_ZERO("write_commit_proc_req_queued"),
};

/* struct metrics_dist */
static const struct mntr_row mntr_dists[] = {
    MNTR_ROW("readlatency", metrics.read_ms),
    MNTR_ROW("updatelatency", metrics.update_ms),
    MNTR_ROW("propagation_latency", metrics.propagation_ms),
    MNTR_ROW("sync_processor_queue_and_flush_time_ms", metrics.flush_ms),
    MNTR_ZERO("close_session_prep_time"),
    MNTR_ZERO("commit_propagation_latency"),
    MNTR_ZERO("dead_watchers_cleaner_latency"),
    MNTR_ZERO("jvm_pause_time_ms"),
    MNTR_ZERO("local_write_committed_time_ms"),
    MNTR_ZERO("om_commit_process_time_ms"),
    MNTR_ZERO("om_proposal_process_time_ms"),
    MNTR_ZERO("prep_processor_queue_time_ms"),
    MNTR_ZERO("proposal_ack_creation_latency"),
    MNTR_ZERO("proposal_latency"),
    MNTR_ZERO("quorum_ack_latency"),
    MNTR_ZERO("read_commitproc_time_ms"),
    MNTR_ZERO("read_final_proc_time_ms"),
    MNTR_ZERO("request_throttle_queue_time_ms"),
    MNTR_ZERO("server_write_committed_time_ms"),
    MNTR_ZERO("sync_processor_queue_flush_time_ms"),
    MNTR_ZERO("sync_processor_queue_time_ms"),
    MNTR_ZERO("write_commitproc_time_ms"),
    MNTR_ZERO("write_final_proc_time_ms"),
};

/* --- lines --- */

static void mntr_put(struct buf *out, const char *name, int64_t value) {
    buf_printf(out, "zk_%s\t%lld\n", name, (long long)value);
}

/* kind_[space_]name, space: the key of a set */
static void mntr_key(struct buf *out, const char *kind, struct slice space, const char *name) {
    buf_puts(out, "zk_");
    buf_puts(out, kind);
    if (space.n) {
        buf_put(out, space.p, space.n);
        buf_putc(out, '_');
    }
    buf_puts(out, name);
    buf_putc(out, '\t');
}

static void mntr_put_sum(struct buf *out, struct slice space, const char *name,
                         const struct metrics_sum *s) {
    const struct {
        const char *kind;
        int64_t value;
    } parts[] = {{"min_", s->min}, {"max_", s->max}, {"cnt_", s->count}, {"sum_", s->total}};
    mntr_key(out, "avg_", space, name);
    metrics_put_average(out, s->total, s->count);
    buf_putc(out, '\n');
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        mntr_key(out, parts[i].kind, space, name);
        buf_printf(out, "%lld\n", (long long)parts[i].value);
    }
}

static void mntr_put_dist(struct buf *out, const char *name, const struct metrics_dist *d) {
    static const struct slice none = {NULL, 0};
    static const struct {
        const char *kind;
        int per_mille;
    } parts[] = {{"p50_", 500}, {"p95_", 950}, {"p99_", 990}, {"p999_", 999}};
    mntr_put_sum(out, none, name, &d->sum);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        mntr_key(out, parts[i].kind, none, name);
        buf_printf(out, "%lld\n", (long long)metrics_quantile(d, parts[i].per_mille));
    }
}

static const void *mntr_value(const struct node *n, const struct mntr_row *row, const void *zero) {
    return row->offset == MNTR_NONE ? zero : (const char *)n + row->offset;
}

/* --- gauges --- */

ZK_PRIVATE uint32_t mntr_alive(const struct node *n) {
    uint32_t alive = 0;
    for (uint32_t i = 0; i < n->n_conns; i++)
        alive += n->conns[i].phase != CONN_FREE && n->conns[i].phase != CONN_CLOSING;
    return alive;
}

/* What only members of an ensemble have. stock: QuorumZooKeeperServer.registerMetrics */
static void mntr_ensemble(const struct node *n, struct buf *out) {
    const struct role *o = &n->role;
    if (o->phase == ROLE_ALONE) return;
    mntr_put(out, "quorum_size", quorum_voters(n->cfg));
    buf_printf(out, "zk_peer_state\t%s - broadcast\n",
               o->phase == ROLE_LEADING ? "leading" : o->learner.observer ? "observing"
                                                                         : "following");
    if (o->phase != ROLE_LEADING) return;
    struct leader_census c = leader_count_all(&o->leader);
    const struct {
        const char *name;
        int64_t value;
    } gauges[] = {
        {"learners", c.learners},
        {"synced_followers", c.followers},
        {"synced_non_voting_followers", c.others},
        {"synced_observers", c.observers},
        {"pending_syncs", c.syncs},
        {"leader_uptime", n->now - o->leader.since},
        {"last_proposal_size", o->leader.sizes.last},
        {"max_proposal_size", o->leader.sizes.most},
        {"min_proposal_size", o->leader.sizes.least},
    };
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        mntr_put(out, gauges[i].name, gauges[i].value);
}

static void mntr_gauges(const struct node *n, const struct node_facts *f, struct buf *out) {
    const struct node_stats *st = &n->stats;
    const struct tree *t = &n->db.tree;
    uint64_t watches = n->watches.n_data + n->watches.n_child;
    const struct {
        const char *name;
        int64_t value;
    } gauges[] = {
        {"max_latency", st->latency_max},
        {"min_latency", st->latency_count ? st->latency_min : 0},
        {"packets_received", st->received},
        {"packets_sent", st->sent},
        {"num_alive_connections", mntr_alive(n)},
        {"outstanding_requests", n->pend_n},
        {"uptime", n->now - n->started},
        {"znode_count", t->count + (int64_t)1}, /* stock keeps the root under two names */
        {"watch_count", (int64_t)watches},
        {"ephemerals_count", (int64_t)t->ephemerals},
        {"approximate_data_size", (int64_t)t->data_bytes + 1}, /* ... one of them "/" */
        {"global_sessions", n->db.sessions.committed},
        {"local_sessions", 0},
        {"open_file_descriptor_count", f->open_files},
        {"max_file_descriptor_count", f->max_files},
        {"last_client_response_size", st->last_response},
        {"max_client_response_size", st->max_response},
        {"min_client_response_size", st->min_response},
        {"outstanding_tls_handshake", 0},
        {"auth_failed_count", st->auth_failed},
        {"non_mtls_remote_conn_count", 0},
        {"non_mtls_local_conn_count", 0},
    };
    buf_puts(out, "zk_avg_latency\t");
    metrics_put_average(out, st->latency_sum, st->latency_count);
    buf_putc(out, '\n');
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        mntr_put(out, gauges[i].name, gauges[i].value);
    buf_puts(out, "zk_connection_drop_probability\t");
    metrics_put_average(out, (int64_t)(n->throttle.drop * 10000 + 0.5), 10000);
    buf_putc(out, '\n');
}

/* --- quotas --- */

struct mntr_quota {
    struct slice space; /* borrowed from the name of a node */
    int64_t values[4];
    bool has[4];
};

enum { QUOTA_COUNT_LIMIT, QUOTA_BYTES_LIMIT, QUOTA_COUNT_USAGE, QUOTA_BYTES_USAGE };

static int mntr_quota_cmp(const void *a, const void *b) {
    struct mntr_quota x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return slice_cmp(x.space, y.space);
}

/* One limits or stats node: what it adds to its namespace. */
static bool mntr_quota_node(const struct tree_node *node, struct mntr_quota *q) {
    struct quota_track track;
    bool limits = slice_is(tree_name(node), "zookeeper_limits");
    if (!limits && !slice_is(tree_name(node), "zookeeper_stats")) return false;
    memset(q, 0, sizeof *q);
    if (!quota_parse(tree_data(node), &track)) return false;
    int first = limits ? QUOTA_COUNT_LIMIT : QUOTA_COUNT_USAGE;
    q->values[first] = limits && track.count_hard > -1 ? track.count_hard : track.count;
    q->values[first + 1] = limits && track.bytes_hard > -1 ? track.bytes_hard : track.bytes;
    q->has[first] = q->has[first + 1] = true;
    return true;
}

/* The ancestor of a node that is a child of `top`. */
static uint32_t mntr_space_of(const struct tree *t, uint32_t top, uint32_t id) {
    while (tree_node(t, id)->parent != top) id = tree_node(t, id)->parent;
    return id;
}

/* stock: QuotaMetricsUtils, which adds up the quotas below one first component */
static void mntr_quotas(const struct node *n, struct buf *out) {
    static const char *const names[] = {
        "quota_count_limit_per_namespace", "quota_bytes_limit_per_namespace",
        "quota_count_usage_per_namespace", "quota_bytes_usage_per_namespace"};
    const struct tree *t = &n->db.tree;
    uint32_t top = tree_lookup(t, slice_str("/zookeeper/quota"));
    if (top == TREE_NONE) return;
    struct buf found = {0};
    for (uint32_t id = top; id != TREE_NONE; id = tree_walk(t, top, id)) {
        struct mntr_quota q;
        if (id == top || tree_node(t, id)->parent == top) continue;
        if (!mntr_quota_node(tree_node(t, id), &q)) continue;
        q.space = tree_name(tree_node(t, mntr_space_of(t, top, id)));
        buf_put(&found, &q, sizeof q);
    }
    size_t count = found.n / sizeof(struct mntr_quota);
    if (count) qsort(found.p, count, sizeof(struct mntr_quota), mntr_quota_cmp);
    for (size_t k = 0; k < 4; k++) {
        for (size_t i = 0; i < count;) {
            struct mntr_quota first, q;
            int64_t sum = 0;
            bool any = false;
            memcpy(&first, found.p + i * sizeof first, sizeof first);
            for (; i < count; i++) {
                memcpy(&q, found.p + i * sizeof q, sizeof q);
                if (!slice_eq(q.space, first.space)) break;
                any = any || q.has[k];
                sum += q.values[k];
            }
            if (!any) continue;
            mntr_key(out, "", first.space, names[k]);
            buf_printf(out, "%lld\n", (long long)sum);
        }
    }
    buf_free(&found);
}

/* --- all of it --- */

static void mntr_spaces(const struct metrics *m, struct buf *out) {
    for (uint32_t i = 0; i < m->n_spaces; i++) {
        const struct metrics_space *s = &m->spaces[i];
        struct slice name = slice_of(s->name, s->name_len);
        if (s->has_read) mntr_put_sum(out, name, "read_per_namespace", &s->read);
        if (s->has_written) mntr_put_sum(out, name, "write_per_namespace", &s->written);
    }
}

ZK_PRIVATE void mntr_dump(const struct node *n, const struct node_facts *facts, struct buf *out) {
    static const struct slice none = {NULL, 0};
    static const struct metrics_dist zero = {{0, 0, 0, 0}, NULL};
    static const int64_t nothing = 0;
    if (n->cfg->metrics == CONFIG_METRICS_NULL) return;
    mntr_gauges(n, facts, out);
    mntr_ensemble(n, out);
    mntr_quotas(n, out);
    for (size_t i = 0; i < sizeof mntr_counters / sizeof mntr_counters[0]; i++) {
        int64_t value;
        memcpy(&value, mntr_value(n, &mntr_counters[i], &nothing), sizeof value);
        mntr_put(out, mntr_counters[i].name, value);
    }
    for (uint32_t i = 0; i < n->metrics.n_spaces; i++) {
        const struct metrics_space *s = &n->metrics.spaces[i];
        if (!s->has_refused) continue;
        mntr_key(out, "", slice_of(s->name, s->name_len), "quota_exceeded_error_per_namespace");
        buf_printf(out, "%lld\n", (long long)s->refused);
    }
    for (size_t i = 0; i < sizeof mntr_sums / sizeof mntr_sums[0]; i++)
        mntr_put_sum(out, none, mntr_sums[i].name, mntr_value(n, &mntr_sums[i], &zero.sum));
    for (size_t i = 0; i < sizeof mntr_dists / sizeof mntr_dists[0]; i++)
        mntr_put_dist(out, mntr_dists[i].name, mntr_value(n, &mntr_dists[i], &zero));
    mntr_spaces(&n->metrics, out);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/ops.c ==== */



#define OPS_CHUNK 8192 /* characters per packet that stock counts as sent. BufferedWriter */

struct ops {
    struct node *n;
    uint32_t conn;   /* who asks */
    struct slice in; /* the word and what came with it */
    struct buf *out;
};

/* --- tables that are printed in order --- */

struct ops_item {
    int64_t when; /* monotonic ms: the bucket in which it expires */
    int64_t id;   /* of the session; 0: a connection without one */
    uint32_t conn;
};

static int ops_item_cmp(const void *a, const void *b) {
    struct ops_item x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    if (x.when != y.when) return x.when < y.when ? -1 : 1;
    if (x.id != y.id) return x.id < y.id ? -1 : 1;
    return x.conn < y.conn ? -1 : x.conn > y.conn;
}

static struct ops_item ops_item(const struct buf *items, size_t i) {
    struct ops_item item;
    memcpy(&item, items->p + i * sizeof item, sizeof item);
    return item;
}

/* "Sun Nov 22 23:43:35 UTC 2026". stock: java.util.Date.toString, in the zone of the machine */
static void ops_put_date(struct buf *out, int64_t wall_ms) {
    static const char days[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t s = wall_ms / 1000, day = s / 86400;
    int rest = (int)(s % 86400);
    /* Days since 0000-03-01, taken apart in eras of 400 years; a year that begins in March has
     * its leap day at the end. */
    int64_t z = day + 719468, era = z / 146097, doe = z % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 2 : mp - 10; /* 0: January */
    int64_t year = yoe + era * 400 + (month < 2);
    buf_printf(out, "%s %s %02d %02d:%02d:%02d UTC %lld", days[day % 7], months[month],
               (int)(doy - (153 * mp + 2) / 5) + 1, rest / 3600, rest / 60 % 60, rest % 60,
               (long long)year);
}

/* --- connections --- */

static bool ops_shown(const struct conn *c) {
    return c->phase != CONN_FREE && c->phase != CONN_CLOSING;
}

/* Bits of java.nio's SelectionKey: 1 read, 4 write; a connection that asks is not selected. */
static unsigned ops_interest(const struct ops *q, uint32_t id) {
    const struct conn *c = &q->n->conns[id];
    if (id == q->conn) return 0;
    return (c->paused ? 0u : 1u) | (buf_len(&c->out) ? 4u : 0u);
}

/* stock: ServerCnxn.dumpConnectionInfo */
static void ops_put_conn(const struct ops *q, uint32_t id, bool brief) {
    const struct conn *c = &q->n->conns[id];
    struct buf *out = q->out;
    buf_putc(out, ' ');
    node_addr_format(&c->addr, out);
    buf_printf(out, "[%x](queued=%u,recved=%lld,sent=%lld", ops_interest(q, id),
               (unsigned)node_conn_pending(c), (long long)c->received, (long long)c->sent);
    if (!brief && c->session) {
        buf_printf(out, ",sid=0x%llx,lop=%s,est=%lld,to=%d", (unsigned long long)c->session,
                   c->last_op ? wire_op_label(c->last_op) : "NA", (long long)c->established,
                   c->timeout);
        if (c->last_cxid >= 0) buf_printf(out, ",lcxid=0x%llx", (unsigned long long)c->last_cxid);
        int64_t avg = c->latency_count ? c->latency_sum / c->latency_count : 0;
        buf_printf(out, ",lzxid=0x%llx,lresp=%lld,llat=%lld,minlat=%lld,avglat=%lld,maxlat=%lld",
                   (unsigned long long)c->last_zxid, (long long)c->last_response,
                   (long long)c->last_latency, (long long)c->min_latency, (long long)avg,
                   (long long)c->max_latency);
    }
    buf_puts(out, ")\n");
}

static void ops_put_conns(const struct ops *q, bool brief) {
    for (uint32_t i = 0; i < q->n->n_conns; i++)
        if (ops_shown(&q->n->conns[i])) ops_put_conn(q, i, brief);
    buf_putc(q->out, '\n');
}

static void ops_cons(struct ops *q) {
    ops_put_conns(q, false);
}

static void ops_crst(struct ops *q) {
    for (uint32_t i = 0; i < q->n->n_conns; i++) {
        struct conn *c = &q->n->conns[i];
        c->received = c->sent = 0;
        c->last_op = 0;
        c->last_cxid = c->last_zxid = -1;
        c->last_response = c->last_latency = 0;
        c->min_latency = c->max_latency = c->latency_sum = c->latency_count = 0;
        c->reset = true;
    }
    buf_puts(q->out, "Connection stats reset.\n");
}

/* --- the server --- */

static struct node_facts ops_facts(const struct ops *q) {
    struct node_facts f;
    memset(&f, 0, sizeof f);
    f.data_dir = f.log_dir = "";
    if (q->n->host.facts) q->n->host.facts(q->n->host.ctx, &f);
    return f;
}

/* stock: QuorumZooKeeperServer.dumpConf */
static void ops_conf_quorum(struct ops *q) {
    const struct config *c = q->n->cfg;
    const struct config_member *m = quorum_member(c, q->n->role.self);
    buf_printf(q->out, "initLimit=%d\nsyncLimit=%d\nelectionAlg=3\nelectionPort=%d\n"
               "quorumPort=%d\npeerType=%d\nmembership: \n", c->init_limit, c->sync_limit,
               m->election_port, m->quorum_port, m->observer);
    config_string(c, q->out);
}

static void ops_conf(struct ops *q) {
    const struct config *c = q->n->cfg;
    struct node_facts f = ops_facts(q);
    buf_printf(q->out, "clientPort=%u\nsecureClientPort=-1\n", (unsigned)f.client_port);
    buf_printf(q->out, "dataDir=%s\ndataDirSize=%lld\n", f.data_dir, (long long)f.data_dir_size);
    buf_printf(q->out, "dataLogDir=%s\ndataLogSize=%lld\n", f.log_dir, (long long)f.log_dir_size);
    buf_printf(q->out, "tickTime=%lld\nmaxClientCnxns=%d\n", (long long)q->n->tick,
               c->max_client_cnxns);
    buf_printf(q->out, "minSessionTimeout=%d\nmaxSessionTimeout=%d\n", q->n->min_timeout,
               q->n->max_timeout);
    buf_printf(q->out, "clientPortListenBacklog=%d\nserverId=%lld\n", c->listen_backlog,
               (long long)q->n->role.self);
    if (q->n->role.phase != ROLE_ALONE) ops_conf_quorum(q);
}

static void ops_dirs(struct ops *q) {
    struct node_facts f = ops_facts(q);
    buf_printf(q->out, "datadir_size: %lld\nlogdir_size: %lld\n", (long long)f.data_dir_size,
               (long long)f.log_dir_size);
}

static void ops_envi(struct ops *q) {
    struct node_facts f = ops_facts(q);
    buf_puts(q->out, "Environment:\nzookeeper.version=" OPS_VERSION "\n");
    buf_put(q->out, f.environment.p, f.environment.n);
}

static void ops_put_server(const struct ops *q) {
    const struct node *n = q->n;
    const struct node_stats *st = &n->stats;
    buf_printf(q->out, "Latency min/avg/max: %lld/",
               (long long)(st->latency_count ? st->latency_min : 0));
    metrics_put_average(q->out, st->latency_sum, st->latency_count);
    buf_printf(q->out, "/%lld\nReceived: %lld\nSent: %lld\nConnections: %u\nOutstanding: %u\n",
               (long long)st->latency_max, (long long)st->received, (long long)st->sent,
               (unsigned)mntr_alive(n), (unsigned)n->pend_n);
    /* stock keeps the root under two names and counts both */
    int64_t zxid = n->db.last_zxid, led = (int64_t)((uint64_t)n->role.leader.epoch << 32);
    if (n->role.phase == ROLE_LEADING && led > zxid) zxid = led; /* a new epoch begins with it */
    buf_printf(q->out, "Zxid: 0x%llx\nMode: %s\nNode count: %u\n", (unsigned long long)zxid,
               role_name(n), n->db.tree.count + 1);
    if (n->role.phase == ROLE_LEADING)
        buf_printf(q->out, "Proposal sizes last/min/max: %lld/%lld/%lld\n",
                   (long long)n->role.leader.sizes.last, (long long)n->role.leader.sizes.least,
                   (long long)n->role.leader.sizes.most);
}

static void ops_srvr(struct ops *q) {
    buf_puts(q->out, "Zookeeper version: " OPS_VERSION "\n");
    ops_put_server(q);
}

static void ops_stat(struct ops *q) {
    buf_puts(q->out, "Zookeeper version: " OPS_VERSION "\nClients:\n");
    ops_put_conns(q, true);
    ops_put_server(q);
}

static void ops_mntr(struct ops *q) {
    struct node_facts f = ops_facts(q);
    buf_puts(q->out, "zk_version\t" OPS_VERSION "\n");
    buf_printf(q->out, "zk_server_state\t%s\n", role_name(q->n));
    mntr_dump(q->n, &f, q->out);
}

/* Counters and summaries; what is a gauge in stock stays. stock: ServerStats.reset */
static void ops_srst(struct ops *q) {
    struct node_stats *st = &q->n->stats, old = *st;
    memset(st, 0, sizeof *st);
    st->latency_min = INT64_MAX;
    st->last_response = st->min_response = st->max_response = -1;
    st->auth_failed = old.auth_failed;
    st->snapshots = old.snapshots;
    st->fsync_slow = old.fsync_slow;
    q->n->prep.queued = q->n->prep.removed = 0;
    metrics_reset(&q->n->metrics);
    buf_puts(q->out, "Server stats reset.\n");
}

static void ops_hash(struct ops *q) {
    const struct node *n = q->n;
    uint64_t i = n->n_digests > NODE_DIGESTS ? n->n_digests - NODE_DIGESTS : 0;
    for (; i < n->n_digests; i++) {
        const struct node_digest *d = &n->digests[i % NODE_DIGESTS];
        buf_printf(q->out, "%llx: %lld\n", (unsigned long long)d->zxid, (long long)d->digest);
    }
}

static void ops_ruok(struct ops *q) {
    buf_puts(q->out, "imok");
}

static void ops_isro(struct ops *q) {
    buf_puts(q->out, q->n->serving ? "rw" : "null");
}

/* The mask is stored for those who ask again; nothing is traced by it. */
static void ops_gtmk(struct ops *q) {
    buf_printf(q->out, "%lld", (long long)q->n->trace_mask);
}

/* stock: the eight bytes have to be there at once; else the connection ends without an answer */
static void ops_stmk(struct ops *q) {
    if (q->in.n < 12) return;
    q->n->trace_mask = (int64_t)be64(q->in.p + 4);
    ops_gtmk(q);
}

/* stock knows the bytes, but has no command for them. */
static void ops_telnet(struct ops *q) {
    (void)q;
}

/* --- dump --- */

/* stock: ExpiryQueue.dump; a bucket that has become empty is not kept here */
static void ops_put_sets(const struct ops *q, struct buf *items, bool conns) {
    size_t n = items->n / sizeof(struct ops_item), buckets = 0;
    if (n) qsort(items->p, n, sizeof(struct ops_item), ops_item_cmp);
    for (size_t i = 0; i < n; i++)
        buckets += i == 0 || ops_item(items, i).when != ops_item(items, i - 1).when;
    buf_printf(q->out, "Sets (%zu)/(%zu):\n", buckets, n);
    for (size_t i = 0; i < n;) {
        int64_t when = ops_item(items, i).when;
        size_t end = i;
        while (end < n && ops_item(items, end).when == when) end++;
        buf_printf(q->out, "%zu expire at ", end - i);
        ops_put_date(q->out, q->n->wall + (when - q->n->now));
        buf_puts(q->out, ":\n");
        for (; i < end; i++) {
            struct ops_item item = ops_item(items, i);
            buf_puts(q->out, conns ? "\tip: " : "\t");
            if (conns) node_addr_format(&q->n->conns[item.conn].addr, q->out);
            buf_printf(q->out, conns ? " sessionId: 0x%llx\n" : "0x%llx\n",
                       (unsigned long long)item.id);
        }
    }
    buf_free(items);
}

static void ops_put_ephemerals(const struct ops *q) {
    const struct tree *t = &q->n->db.tree;
    buf_printf(q->out, "ephemeral nodes dump:\nSessions with Ephemerals (%u):\n", t->live_owners);
    for (uint32_t i = 0; i < t->n_owners; i++) {
        const struct tree_owner *o = &t->owners[i];
        uint32_t pos = 0, id;
        if (!o->nodes.count) continue;
        buf_printf(q->out, "0x%llx:\n", (unsigned long long)o->session);
        while (idset_next(&o->nodes, &pos, &id)) {
            buf_putc(q->out, '\t');
            tree_put_path(t, id, q->out);
            buf_putc(q->out, '\n');
        }
    }
}

static void ops_put_sessions(const struct ops *q) {
    const struct session_table *t = &q->n->db.sessions;
    struct buf items = {0};
    bool learns = role_learns(q->n); /* it knows the sessions, but not when they expire */
    for (uint32_t i = 0; i < t->n; i++) {
        const struct session *s = &t->slots[i];
        struct ops_item item = {learns ? 0 : s->expires, s->id, CONN_NONE};
        if (!s->live || !(learns ? s->committed : s->expires >= 0)) continue;
        buf_put(&items, &item, sizeof item);
    }
    buf_puts(q->out, "SessionTracker dump:\n");
    if (!learns) {
        buf_puts(q->out, "Session ");
        ops_put_sets(q, &items, false);
        return;
    }
    size_t n = items.n / sizeof(struct ops_item);
    if (n) qsort(items.p, n, sizeof(struct ops_item), ops_item_cmp);
    buf_printf(q->out, "Global Sessions(%zu):\n", n);
    for (size_t i = 0; i < n; i++) {
        int64_t id = ops_item(&items, i).id;
        buf_printf(q->out, "0x%llx\t%dms\n", (unsigned long long)id,
                   t->slots[session_find(t, id)].timeout);
    }
    buf_free(&items);
}

static void ops_dump(struct ops *q) {
    const struct node *n = q->n;
    struct buf items = {0};
    ops_put_sessions(q);
    ops_put_ephemerals(q);
    int64_t width = n->cfg->sessionless_timeout_ms > 0 ? n->cfg->sessionless_timeout_ms : 1;
    for (uint32_t i = 0; i < n->n_conns; i++) {
        const struct conn *c = &n->conns[i];
        int64_t due = c->last_io + (c->session ? c->timeout : width);
        struct ops_item item = {(due / width + 1) * width, c->session, i};
        if (ops_shown(c)) buf_put(&items, &item, sizeof item);
    }
    buf_puts(q->out, "Connections dump:\nConnections ");
    ops_put_sets(q, &items, true);
}

/* --- watches: the data table alone, as in stock --- */

static bool ops_watched(const struct watch_entry *e) {
    const uint32_t *w;
    if (!e->path) return false;
    for (uint32_t left = watch_watchers(e, &w); left > 0; left--)
        if (*w++ & WATCH_IN_DATA) return true;
    return false;
}

/* Appends "\tpath\n" for each data watch of a connection; returns their number. out: or NULL. */
static uint32_t ops_put_watches(const struct ops *q, uint32_t conn, struct buf *out) {
    const struct watch_table *t = &q->n->watches;
    uint32_t count = 0, pos = 0, i;
    if (conn >= t->conns_cap) return 0;
    while (idset_next(&t->by_conn[conn], &pos, &i)) {
        struct slice path = slice_of(t->entries[i].path, t->entries[i].path_len);
        if (!(watch_kinds(t, path, conn) & WATCH_IN_DATA)) continue;
        count++;
        if (!out) continue;
        buf_putc(out, '\t');
        buf_put(out, path.p, path.n);
        buf_putc(out, '\n');
    }
    return count;
}

/* stock keeps a connection in the table when its last watch has fired. WatchManager.watch2Paths */
static bool ops_watches(const struct ops *q, uint32_t conn) {
    const struct conn *c = &q->n->conns[conn];
    return c->phase == CONN_OPEN && (c->data_watcher || ops_put_watches(q, conn, NULL));
}

static void ops_wchs(struct ops *q) {
    const struct watch_table *t = &q->n->watches;
    uint32_t conns = 0, paths = 0;
    for (uint32_t i = 0; i < q->n->n_conns; i++) conns += ops_watches(q, i);
    for (uint32_t i = 0; i < t->n; i++) paths += ops_watched(&t->entries[i]);
    buf_printf(q->out, "%u connections watching %u paths\nTotal watches:%llu\n", conns, paths,
               (unsigned long long)t->n_data);
}

static void ops_wchc(struct ops *q) {
    for (uint32_t i = 0; i < q->n->n_conns; i++) {
        if (!ops_watches(q, i)) continue;
        buf_printf(q->out, "0x%llx\n", (unsigned long long)q->n->conns[i].session);
        (void)ops_put_watches(q, i, q->out);
    }
    buf_putc(q->out, '\n');
}

static void ops_wchp(struct ops *q) {
    const struct watch_table *t = &q->n->watches;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct watch_entry *e = &t->entries[i];
        const uint32_t *w;
        if (!ops_watched(e)) continue;
        buf_put(q->out, e->path, e->path_len);
        buf_putc(q->out, '\n');
        for (uint32_t left = watch_watchers(e, &w); left > 0; left--, w++) {
            if (!(*w & WATCH_IN_DATA)) continue;
            buf_printf(q->out, "\t0x%llx\n", (unsigned long long)q->n->conns[*w >> 4].session);
        }
    }
    buf_putc(q->out, '\n');
}

/* --- which word it is --- */

enum ops_needs { OPS_ALWAYS, OPS_SERVING };

struct ops_word {
    uint8_t bytes[4];
    enum ops_needs needs; /* whether a server that does not serve can answer */
    const char *name;     /* in the whitelist */
    void (*answer)(struct ops *q);
};

/* stock: FourLetterCommands */
static const struct ops_word ops_words[] = {
    {{'c', 'o', 'n', 'f'}, OPS_SERVING, "conf", ops_conf},
    {{'c', 'o', 'n', 's'}, OPS_SERVING, "cons", ops_cons},
    {{'c', 'r', 's', 't'}, OPS_SERVING, "crst", ops_crst},
    {{'d', 'i', 'r', 's'}, OPS_SERVING, "dirs", ops_dirs},
    {{'d', 'u', 'm', 'p'}, OPS_SERVING, "dump", ops_dump},
    {{'e', 'n', 'v', 'i'}, OPS_ALWAYS, "envi", ops_envi},
    {{'g', 't', 'm', 'k'}, OPS_ALWAYS, "gtmk", ops_gtmk},
    {{'h', 'a', 's', 'h'}, OPS_SERVING, "hash", ops_hash},
    {{'i', 's', 'r', 'o'}, OPS_ALWAYS, "isro", ops_isro},
    {{'m', 'n', 't', 'r'}, OPS_SERVING, "mntr", ops_mntr},
    {{'r', 'u', 'o', 'k'}, OPS_ALWAYS, "ruok", ops_ruok},
    {{'s', 'r', 's', 't'}, OPS_SERVING, "srst", ops_srst},
    {{'s', 'r', 'v', 'r'}, OPS_SERVING, "srvr", ops_srvr},
    {{'s', 't', 'a', 't'}, OPS_SERVING, "stat", ops_stat},
    {{'s', 't', 'm', 'k'}, OPS_ALWAYS, "stmk", ops_stmk},
    {{'w', 'c', 'h', 'c'}, OPS_SERVING, "wchc", ops_wchc},
    {{'w', 'c', 'h', 'p'}, OPS_SERVING, "wchp", ops_wchp},
    {{'w', 'c', 'h', 's'}, OPS_SERVING, "wchs", ops_wchs},
    {{0xff, 0xf4, 0xff, 0xfd}, OPS_ALWAYS, "telnet close", ops_telnet},
};

static const struct ops_word *ops_find(struct slice in) {
    for (size_t i = 0; i < sizeof ops_words / sizeof ops_words[0]; i++)
        if (memcmp(in.p, ops_words[i].bytes, 4) == 0) return &ops_words[i];
    return NULL;
}

/* stock: FourLetterCommands.isEnabled. Items are trimmed; * is all words. */
static bool ops_enabled(const char *list, const char *word) {
    if (strcmp(word, "srvr") == 0) return true;
    while (list && *list) {
        size_t n = strcspn(list, ",");
        struct slice item = slice_of(list, n);
        while (item.n && item.p[0] <= ' ') item = slice_of(item.p + 1, item.n - 1);
        while (item.n && item.p[item.n - 1] <= ' ') item.n--;
        if (slice_is(item, "*") || slice_is(item, word)) return true;
        list += n + (list[n] == ',');
    }
    return false;
}

ZK_PRIVATE bool ops_is_word(struct slice in) {
    return ops_find(in) != NULL;
}

ZK_PRIVATE void ops_answer(struct node *n, uint32_t conn, struct slice in) {
    const struct ops_word *word = ops_find(in);
    struct ops q = {n, conn, in, node_conn_out(n, conn)};
    size_t from = q.out->n;
    n->stats.bytes_received += 4;
    if (!ops_enabled(n->cfg->four_letter_whitelist, word->name))
        buf_printf(q.out, "%s is not executed because it is not in the whitelist.\n", word->name);
    else if (!n->serving && word->needs == OPS_SERVING)
        buf_printf(q.out, "This ZooKeeper instance is not currently serving requests%s",
                   word->answer == ops_hash ? "" : "\n"); /* stock forgot it there */
    else
        word->answer(&q);
    size_t packets = (q.out->n - from + OPS_CHUNK - 1) / OPS_CHUNK;
    n->stats.sent += (int64_t)packets;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/pipeline.c ==== */



#define PIPELINE_BLOB 262144u       /* records share blobs of this size */
#define PIPELINE_SNAP_CHUNK 262144u /* snapshot bytes per output */
#define PIPELINE_XID_AUTH (-4)
#define PIPELINE_STAT_DATA_LEN 52 /* where dataLength stands in a Stat */
#define PIPELINE_SNAP_NODES 256u    /* nodes per slice of the walk */
#define PIPELINE_SNAP_BUSY_MS 100   /* so long after a write there is one slice a millisecond */

/* --- frames to clients --- */

ZK_PRIVATE size_t reply_begin(struct buf *out) {
    size_t at = out->n;
    (void)buf_grow(out, 20);
    return at;
}

ZK_PRIVATE void reply_end(struct node *n, uint32_t conn, size_t at, int32_t xid, int64_t zxid,
                          int32_t err) {
    struct buf *out = &node_conn(n, conn)->out;
    uint8_t *p = out->p + at;
    put_be32(p, (uint32_t)(out->n - at - 4));
    put_be32(p + 4, (uint32_t)xid);
    put_be64(p + 8, (uint64_t)zxid);
    put_be32(p + 16, (uint32_t)err);
    int64_t len = (int64_t)(out->n - at - 4);
    struct node_stats *st = &n->stats;
    if (xid == XID_EVENT) st->watch_bytes += len;
    if (xid != XID_EVENT && xid != XID_PING && xid != PIPELINE_XID_AUTH) st->response_bytes += len;
    if (xid <= 0) return; /* stock: ServerCnxn.serialize */
    st->last_response = len;
    if (st->min_response < 0 || len < st->min_response) st->min_response = len;
    if (len > st->max_response) st->max_response = len;
}

ZK_PRIVATE void reply_count(struct node *n, uint32_t conn, int32_t xid, int32_t op, int64_t zxid,
                            int64_t received) {
    struct conn *c = node_conn(n, conn);
    struct node_stats *st = &n->stats;
    int64_t ms = n->now - received;
    if (ms < 0) ms = 0;
    if (op != ZOP_CREATE_SESSION) { /* its answer is the handshake's, counted there */
        c->sent++;
        st->sent++;
    }
    if (!op) return; /* stock: what is answered outside the request processors leaves no trace */
    c->last_op = op;
    if (xid >= 0 && xid > c->last_cxid) c->last_cxid = xid;
    c->last_zxid = zxid;
    c->last_response = n->now;
    c->last_latency = ms;
    if (ms > c->max_latency) c->max_latency = ms;
    if (c->reset ? c->latency_count == 0 || ms < c->min_latency : ms < c->min_latency)
        c->min_latency = ms;
    c->latency_sum += ms;
    c->latency_count++;
    if (ms < st->latency_min) st->latency_min = ms;
    if (ms > st->latency_max) st->latency_max = ms;
    st->latency_sum += ms;
    st->latency_count++;
    bool write = (wire_op_flags(op) & OP_WRITE) != 0;
    metrics_sample(&n->metrics, write ? &n->metrics.update_ms : &n->metrics.read_ms, ms);
}

ZK_PRIVATE void reply_error(struct node *n, uint32_t conn, int32_t xid, int64_t zxid,
                            int32_t err) {
    struct buf *out = node_conn_out(n, conn);
    size_t at = reply_begin(out);
    reply_end(n, conn, at, xid, zxid, err);
}

ZK_PRIVATE void event_send(struct node *n, uint32_t conn, int32_t type, struct slice path,
                           int64_t zxid) {
    struct buf *out = node_conn_out(n, conn);
    size_t at = reply_begin(out);
    jw_i32(out, type);
    jw_i32(out, EVENT_STATE_CONNECTED);
    jw_bytes(out, path);
    reply_end(n, conn, at, XID_EVENT, zxid, 0);
    node_conn(n, conn)->sent++;
    n->stats.sent++;
}

ZK_PRIVATE void reply_connect(struct node *n, uint32_t conn, bool accepted) {
    struct conn *c = node_conn(n, conn);
    struct buf *out = node_conn_out(n, conn);
    uint8_t passwd[16] = {0};
    if (accepted) sum_session_passwd(c->session, passwd);
    jw_i32(out, c->old_handshake ? 36 : 37);
    jw_i32(out, 0);
    jw_i32(out, accepted ? c->timeout : 0);
    jw_i64(out, accepted ? c->session : 0);
    jw_bytes(out, slice_of(passwd, sizeof passwd));
    if (!c->old_handshake) jw_u8(out, 0);
    c->sent++;
    n->stats.sent++;
}

/* --- into the log --- */

static struct pending *pipeline_push(struct node *n) {
    if (n->pend_n == n->pend_cap) {
        uint32_t cap = n->pend_cap ? n->pend_cap * 2 : 256;
        struct pending *ring = mem_alloc(sizeof *ring * cap);
        for (uint32_t i = 0; i < n->pend_n; i++)
            ring[i] = n->pending[(n->pend_head + i) & (n->pend_cap - 1)];
        mem_free(n->pending);
        n->pending = ring;
        n->pend_cap = cap;
        n->pend_head = 0;
    }
    struct pending *p = &n->pending[(n->pend_head + n->pend_n++) & (n->pend_cap - 1)];
    memset(p, 0, sizeof *p);
    p->conn = CONN_NONE;
    return p;
}

ZK_PRIVATE void pipeline_draw_roll(struct node *n) {
    int64_t half = n->cfg->snap_count / 2, kb = n->cfg->snap_size_limit_kb;
    n->roll_at_records = half + (half ? (int64_t)prng_below(&n->rng, (uint64_t)half) : 0);
    n->roll_at_bytes = INT64_MAX;
    if (kb > 0) {
        int64_t bytes = kb > INT64_MAX / 2048 ? INT64_MAX / 2 : kb * 512;
        n->roll_at_bytes = bytes + (int64_t)prng_below(&n->rng, (uint64_t)bytes);
    }
}

/* When enough has been logged the next record starts a new file and a snapshot begins. */
static void pipeline_maybe_roll(struct node *n) {
    int64_t limit_kb = n->cfg->txn_log_size_limit_kb;
    if (n->log_records > n->roll_at_records || n->log_bytes > n->roll_at_bytes) {
        n->roll_next = true;
        n->log_records = n->log_bytes = 0;
        pipeline_draw_roll(n);
        pipeline_snapshot_begin(n);
    } else if (limit_kb > 0 && n->file_bytes / 1024 >= limit_kb) {
        n->roll_next = true;
    }
}

/* Frames the transaction for the log and queues it. */
static void pipeline_append(struct node *n, struct pending *p, struct slice body) {
    uint32_t need = (uint32_t)body.n + LOGFILE_ENTRY_OVERHEAD;
    struct blob *b = n->log_blob;
    if (!b || b->cap - b->n < need) {
        blob_unref(b);
        b = n->log_blob = blob_new(need > PIPELINE_BLOB ? need : PIPELINE_BLOB);
    }
    logfile_put_entry(b->p + b->n, body);
    struct node_output *o = node_output(n, NODE_APPEND);
    o->zxid = p->zxid;
    o->bytes = slice_of(b->p + b->n, need);
    o->roll = n->roll_next;
    if (n->roll_next) n->file_bytes = 0;
    n->roll_next = false;
    p->blob = blob_ref(b);
    p->off = b->n + 12;
    p->len = (uint32_t)body.n;
    b->n += need;
    n->appended = p->zxid;
    n->last_append = n->now;
    n->sync_wanted = true;
    n->log_records++;
    n->log_bytes += need;
    n->file_bytes += need;
    role_appended(n, p);
    pipeline_maybe_roll(n);
}

ZK_PRIVATE void pipeline_log(struct node *n, const struct pipeline_txn *t) {
    struct pending *p = pipeline_push(n);
    p->zxid = t->zxid;
    p->op = t->type;
    p->session = t->session;
    p->received = n->now;
    pipeline_append(n, p, t->bytes);
}

/*
 * A leader's sync: what is committed may be ahead of its tree, which waits for its own disk. stock:
 * does not, and answers at once
 */
static void pipeline_sync(struct node *n, const struct pipeline_request *q) {
    struct pending *p = pipeline_push(n);
    struct conn *c = node_conn(n, q->conn);
    p->zxid = n->appended;
    p->conn = q->conn;
    p->conn_gen = c->gen;
    p->xid = q->xid;
    p->op = q->op;
    p->received = n->now;
    p->body = blob_copy(q->body);
    c->submitted++;
    if (n->pend_n == 1) pipeline_apply(n);
}

ZK_PRIVATE void pipeline_submit(struct node *n, const struct pipeline_request *q) {
    static const struct auth_set nobody = {{NULL, 0, 0, 0}, 0, false};
    struct conn *c = q->conn == CONN_NONE ? NULL : node_conn(n, q->conn);
    struct prep_request req = {.op = q->op, .session = q->session, .cxid = q->xid, .body = q->body,
                               .auth = q->auth ? q->auth : c ? &c->auth : &nobody,
                               .time = n->wall, .internal = q->internal,
                               .forwarded = q->forwarded,
                               .owner = q->forwarded ? q->owner : role_self_owner(n)};
    bool made;
    if (role_learns(n) && c) {
        role_forward(n, q);
        return;
    }
    if (q->op == ZOP_SYNC) {
        pipeline_sync(n, q);
        return;
    }
    if (role_exhausted(n)) { /* the next epoch will serve it */
        if (c) serve_close(n, q->conn);
        return;
    }
    buf_clear(&n->scratch);
    uint64_t refused = n->db.quota.exceeded;
    int err = prep_write(&n->prep, &req, &n->scratch, &made);
    n->stats.requests++;
    if (n->db.quota.exceeded != refused)
        metrics_refused(&n->metrics, buf_slice(&n->db.quota.refused));
    struct pending *p = pipeline_push(n);
    p->zxid = made ? n->prep.zxid : n->appended;
    p->conn = q->conn;
    p->xid = q->xid;
    p->op = q->op;
    p->err = err;
    p->session = q->session;
    p->received = n->now;
    int32_t threshold = n->cfg->large_request_threshold;
    if (threshold > 0 && q->body.n > (size_t)threshold) p->large = (uint32_t)q->body.n;
    n->large_in_flight += p->large;
    if (c) {
        p->conn_gen = c->gen;
        c->submitted++;
    }
    if (made) pipeline_append(n, p, buf_slice(&n->scratch));
    if (!made && n->pend_n == 1) pipeline_apply(n);
}

/* A place in the order of writes without a write: reads of the connection wait for those before. */
ZK_PRIVATE void pipeline_barrier(struct node *n, uint32_t conn) {
    if (role_learns(n)) {
        role_barrier(n, conn);
        return;
    }
    if (!n->pend_n) return;
    struct pending *p = pipeline_push(n);
    p->zxid = n->appended;
    p->conn = conn;
    p->conn_gen = node_conn(n, conn)->gen;
    p->op = ZOP_NOTIFICATION;
    node_conn(n, conn)->submitted++;
}

ZK_PRIVATE void pipeline_close_session(struct node *n, int64_t session) {
    struct pipeline_request q = {.conn = CONN_NONE, .op = ZOP_CLOSE_SESSION, .session = session,
                                 .internal = true};
    pipeline_submit(n, &q);
}

ZK_PRIVATE void pipeline_flush(struct node *n) {
    if (!n->sync_wanted) return;
    n->sync_wanted = false;
    node_output(n, NODE_SYNC)->zxid = n->appended;
}

/* --- events --- */

static uint32_t pipeline_hit(const struct buf *hits, size_t at) {
    uint32_t conn;
    memcpy(&conn, hits->p + at, sizeof conn);
    return conn;
}

/* stock: WatchManager.triggerWatch, which counts a table that nobody heard from as nothing */
static void pipeline_count_watchers(struct node *n, int32_t type) {
    struct metrics *m = &n->metrics;
    if (!n->hits.n) return;
    metrics_add(type == EVENT_CREATED ? &m->created
                : type == EVENT_DELETED ? &m->deleted
                : type == EVENT_DATA_CHANGED ? &m->changed : &m->children,
                (int64_t)(n->hits.n / sizeof(uint32_t)));
}

static void pipeline_notify(struct node *n, int32_t type, struct slice path, uint32_t acl,
                            int64_t zxid) {
    for (size_t at = 0; at < n->hits.n; at += sizeof(uint32_t)) {
        uint32_t conn = pipeline_hit(&n->hits, at);
        const struct conn *c = node_conn(n, conn);
        if (c->phase != CONN_OPEN) continue;
        if (n->cfg->skip_acl || acl_allows(&n->db.acls, acl, PERM_READ, &c->auth))
            event_send(n, conn, type, path, zxid);
    }
}

/* The child pass of a delete leaves out those that the data pass has told; both are sorted. */
static void pipeline_subtract(struct buf *hits, const struct buf *told) {
    size_t kept = 0, k = 0;
    for (size_t at = 0; at < hits->n; at += 4) {
        uint32_t conn = pipeline_hit(hits, at);
        while (k < told->n && pipeline_hit(told, k) < conn) k += 4;
        if (k < told->n && pipeline_hit(told, k) == conn) continue;
        memmove(hits->p + 4 * kept++, hits->p + at, 4);
    }
    hits->n = 4 * kept;
}

static void pipeline_event(struct node *n, const struct txn_event *e, int64_t zxid) {
    struct slice path = e->path.n ? e->path : slice_of("/", 1);
    watch_fire_data(&n->watches, path, &n->hits);
    pipeline_count_watchers(n, e->type);
    pipeline_notify(n, e->type, path, e->acl, zxid);
    if (e->type == EVENT_DATA_CHANGED) return;
    if (e->type == EVENT_DELETED && n->watches.n_child) {
        struct buf told = {0};
        buf_put(&told, n->hits.p, n->hits.n);
        watch_fire_child(&n->watches, path, &n->hits);
        pipeline_count_watchers(n, EVENT_DELETED);
        pipeline_subtract(&n->hits, &told);
        pipeline_notify(n, EVENT_DELETED, path, e->acl, zxid);
        buf_free(&told);
    }
    struct slice parent = path_parent(path);
    if (!parent.n) parent = slice_of(path.p, 1);
    watch_fire_child(&n->watches, parent, &n->hits);
    pipeline_count_watchers(n, EVENT_CHILDREN_CHANGED);
    pipeline_notify(n, EVENT_CHILDREN_CHANGED, parent, e->parent_acl, zxid);
}

/* --- replies of writes --- */

static void pipeline_put_result(struct buf *out, const struct txn_result *r) {
    switch (r->type) {
    case ZOP_CREATE:
        jw_bytes(out, r->path);
        break;
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL:
        jw_bytes(out, r->path);
        buf_put(out, r->stat, sizeof r->stat);
        break;
    case ZOP_SET_DATA:
    case ZOP_SET_ACL:
        buf_put(out, r->stat, sizeof r->stat);
        break;
    case ZOP_ERROR:
        jw_i32(out, r->err);
        break;
    default:
        break;
    }
}

static void pipeline_put_multi(struct buf *out, const struct txn_out *o) {
    for (uint32_t i = 0; i < o->n_results; i++) {
        const struct txn_result *r = &o->results[i];
        int32_t type = r->type;
        /* stock: every create that answers with a Stat is reported as create2 */
        if (type == ZOP_CREATE_CONTAINER || type == ZOP_CREATE_TTL) type = ZOP_CREATE2;
        jw_multi_header(out, type, false, r->err);
        pipeline_put_result(out, r);
    }
    jw_multi_header(out, -1, true, -1);
}

static void pipeline_reply(struct node *n, const struct pending *p) {
    int64_t zxid = p->blob ? p->zxid : n->db.last_zxid;
    if (p->op == ZOP_CREATE_SESSION) {
        serve_session_created(n, p->conn);
        reply_count(n, p->conn, p->xid, p->op, zxid, p->received);
        return;
    }
    if (p->body) {
        reads_serve(n, p->conn, p->xid, p->op, slice_of(p->body->p, p->body->n));
        return;
    }
    int32_t err = p->err;
    if (!err && p->op != ZOP_MULTI) err = n->applied.err;
    if (err == ZERR_SESSIONMOVED) { /* its other connection goes on; any answer would be late */
        serve_close(n, p->conn);
        return;
    }
    struct buf *out = node_conn_out(n, p->conn);
    size_t at = reply_begin(out);
    if (!err && p->op == ZOP_MULTI)
        pipeline_put_multi(out, &n->applied);
    else if (!err && n->applied.n_results)
        pipeline_put_result(out, &n->applied.results[0]);
    reply_end(n, p->conn, at, p->xid, zxid, err);
    reply_count(n, p->conn, p->xid, p->op, zxid, p->received);
    if (err) node_conn(n, p->conn)->last_op = 0; /* stock: FinalRequestProcessor */
    if (p->op == ZOP_CLOSE_SESSION) serve_close(n, p->conn);
}

/* --- commit --- */

static void pipeline_check_digest(struct node *n, int64_t zxid) {
    if (!n->cfg->digest_enabled || !n->applied.has_digest) return;
    if (n->applied.digest == n->db.tree.digest) return;
    if (n->stats.digest_mismatches++ == 0)
        log_line(&n->log, LOG_ERROR_LEVEL, "First digest mismatch on txn: 0x%llx",
                 (unsigned long long)zxid);
}

static void pipeline_record_digest(struct node *n, int64_t zxid) {
    if (!n->cfg->digest_enabled || zxid % NODE_DIGEST_INTERVAL) return;
    if (!n->digests) n->digests = mem_alloc(sizeof *n->digests * NODE_DIGESTS);
    struct node_digest d = {zxid, n->db.tree.digest};
    n->digests[n->n_digests++ % NODE_DIGESTS] = d;
}

/* What a transaction wrote where. body: the record of a closeSession lists what it deletes. */
static void pipeline_count_writes(struct node *n, const struct txn_header *h, struct jr body) {
    metrics_sample(&n->metrics, &n->metrics.propagation_ms,
                   n->wall > h->time ? n->wall - h->time : 0);
    for (uint32_t i = 0; i < n->applied.n_results; i++) {
        const struct txn_result *r = &n->applied.results[i];
        if (r->type == ZOP_SET_ACL || r->type == ZOP_CHECK || r->type == ZOP_ERROR) continue;
        bool deleted = r->type == ZOP_DELETE || r->type == ZOP_DELETE_CONTAINER;
        uint32_t len = r->has_stat && !deleted ? be32(r->stat + PIPELINE_STAT_DATA_LEN) : 0;
        metrics_wrote(&n->metrics, r->path, len);
    }
    if (h->type != ZOP_CLOSE_SESSION) return;
    for (int32_t left = jr_count(&body); left > 0 && !body.bad; left--) {
        struct slice path = jr_bytes(&body);
        if (!body.bad && path.p) metrics_wrote(&n->metrics, path, 0);
    }
}

static void pipeline_commit(struct node *n, const struct pending *p) {
    if (p->conn != CONN_NONE && n->conns[p->conn].phase != CONN_FREE &&
        n->conns[p->conn].gen == p->conn_gen)
        serve_due(n, p->conn);
    txn_out_clear(&n->db, &n->applied);
    n->applied.want_events = n->watches.live != 0;
    uint32_t holder = CONN_NONE;
    if (p->op == ZOP_CLOSE_SESSION) {
        uint32_t s = session_find(&n->db.sessions, p->session);
        if (s != SESSION_NONE) holder = n->db.sessions.slots[s].conn;
    }
    if (p->blob) {
        struct jr r = jr_open(slice_of(p->blob->p + p->off, p->len), UINT32_MAX);
        struct txn_header h = jr_txn_header(&r);
        (void)txn_apply(&n->db, &h, slice_of(r.p, (size_t)(r.end - r.p)), &n->applied);
        pipeline_check_digest(n, p->zxid);
        pipeline_record_digest(n, p->zxid);
        pipeline_count_writes(n, &h, r);
        metrics_sample(&n->metrics, &n->metrics.flush_ms, n->now - p->received);
        prep_applied(&n->prep, p->zxid);
        for (uint32_t i = 0; i < n->applied.n_events; i++)
            pipeline_event(n, &n->applied.events[i], p->zxid);
        role_applied(n, p->zxid);
    }
    if (p->conn != CONN_NONE) {
        struct conn *c = &n->conns[p->conn];
        if (c->phase != CONN_FREE && c->gen == p->conn_gen) {
            c->completed++;
            if (c->phase != CONN_CLOSING && p->op != ZOP_NOTIFICATION) pipeline_reply(n, p);
        }
    }
    /* An expired session's connection is closed without a word. stock: closeSession */
    if (holder != CONN_NONE && holder != p->conn) serve_close(n, holder);
}

ZK_PRIVATE void pipeline_synced(struct node *n, int64_t zxid) {
    if (zxid > n->synced) n->synced = zxid;
    role_log_synced(n);
    pipeline_apply(n);
}

/* What waited for the answer to p. */
static void pipeline_resume(struct node *n, const struct pending *p) {
    if (p->conn == CONN_NONE) return;
    struct conn *c = &n->conns[p->conn];
    if (c->phase == CONN_FREE || c->gen != p->conn_gen) return;
    if (buf_len(&c->deferred) || buf_len(&c->in)) serve_run(n, p->conn);
}

ZK_PRIVATE void pipeline_apply(struct node *n) {
    int64_t to = n->synced < n->committed ? n->synced : n->committed;
    while (n->pend_n) {
        struct pending p = n->pending[n->pend_head];
        if (p.zxid > to) break;
        if (p.blob) role_claim(n, &p);
        n->pend_head = (n->pend_head + 1) & (n->pend_cap - 1);
        n->pend_n--;
        n->large_in_flight -= p.large;
        pipeline_commit(n, &p);
        blob_unref(p.blob);
        blob_unref(p.body);
        pipeline_resume(n, &p);
        role_answer(n);
    }
}

/* --- snapshots --- */

static void pipeline_snapshot_emit(struct node *n, struct buf *bytes) {
    if (!buf_len(bytes)) return;
    struct slice s = buf_slice(bytes);
    n->snap.adler = sum_adler32(n->snap.adler, s.p, s.n);
    struct node_output *o = node_output(n, NODE_SNAPSHOT_CHUNK);
    o->owned = *bytes;
    memset(bytes, 0, sizeof *bytes);
}

ZK_PRIVATE void pipeline_snapshot_abort(struct node *n) {
    if (!n->snap.active || n->snap.finishing) return;
    tree_image_abort(&n->db.tree);
    n->snap.active = false;
    (void)node_output(n, NODE_SNAPSHOT_ABORT);
}

ZK_PRIVATE void pipeline_snapshot_begin(struct node *n) {
    if (n->snap.active || n->db.tree.image.active) {
        log_line(&n->log, LOG_WARN_LEVEL, "Too busy to snap, skipping");
        return;
    }
    memset(&n->snap, 0, sizeof n->snap);
    n->snap.active = true;
    n->snap.zxid = n->db.last_zxid;
    n->snap.digest = n->db.tree.digest;
    n->snap.adler = SUM_ADLER32_INIT;
    n->snap.started = n->now;
    node_output(n, NODE_SNAPSHOT_BEGIN)->zxid = n->snap.zxid;
    struct buf head = {0};
    snapfile_put_head(&head, &n->db);
    tree_image_begin(&n->db.tree);
    pipeline_snapshot_emit(n, &head);
}

ZK_PRIVATE bool pipeline_snapshot_step(struct node *n) {
    if (!n->snap.active || n->snap.blocked || n->snap.finishing) return false;
    struct buf *out = &n->db.tree.image.out;
    if (n->now - n->last_append < PIPELINE_SNAP_BUSY_MS && n->now == n->snap.slice_at) return false;
    n->snap.slice_at = n->now;
    bool done = tree_image_step(&n->db.tree, PIPELINE_SNAP_NODES, PIPELINE_SNAP_CHUNK);
    if (done) {
        pipeline_snapshot_emit(n, out);
        struct buf tail = {0};
        snapfile_put_tail(&tail, n->snap.adler, n->snap.zxid, n->snap.digest);
        struct node_output *o = node_output(n, NODE_SNAPSHOT_CHUNK);
        o->owned = tail;
        node_output(n, NODE_SNAPSHOT_END)->zxid = n->snap.zxid;
        n->snap.finishing = true;
        return false;
    }
    if (buf_len(out) >= PIPELINE_SNAP_CHUNK) {
        pipeline_snapshot_emit(n, out);
        n->snap.blocked = true; /* until the host has room again */
    }
    return true;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/role.c ==== */



#define ROLE_READ 65536u /* unread bytes of a link besides a whole packet */
#define ROLE_PAUSE_MS 10 /* before an election, after a role that never came to be; doubled ... */
#define ROLE_PAUSE_MAX_MS 1000 /* ... up to this */
#define ROLE_COUNTER_MAX 0xfffffffeLL /* the last counter of an epoch that is given out */

static struct role *role_of(struct node *n) {
    return &n->role;
}

ZK_PRIVATE bool role_learns(const struct node *n) {
    return n->role.phase == ROLE_LEARNING;
}

ZK_PRIVATE bool role_decides(const struct node *n) {
    return n->role.phase == ROLE_ALONE ||
           (n->role.phase == ROLE_LEADING && n->role.leader.phase == LEADER_BROADCAST);
}

ZK_PRIVATE uint64_t role_self_owner(const struct node *n) {
    return n->role.phase == ROLE_LEADING ? LEADER_OWNER_SELF : 0;
}

ZK_PRIVATE bool role_exhausted(const struct node *n) {
    return n->role.phase == ROLE_LEADING && n->role.leader.phase == LEADER_BROADCAST &&
           !n->role.leader.up && (n->prep.zxid & 0xffffffffLL) >= ROLE_COUNTER_MAX;
}

ZK_PRIVATE const char *role_name(const struct node *n) {
    if (n->role.phase == ROLE_ALONE) return "standalone";
    if (!n->serving && !role_decides(n)) return NULL;
    return n->role.phase == ROLE_LEADING ? "leader"
           : n->role.learner.observer    ? "observer"
                                         : "follower";
}

ZK_PRIVATE void role_init(struct node *n) {
    struct role *o = role_of(n);
    o->phase = ROLE_ALONE;
    links_init(&o->links, PACKET_LONGEST(n->max_string) + ROLE_READ);
    n->committed = INT64_MAX;
    if (!config_distributed(n->cfg)) return;
    o->phase = ROLE_DRAINING;
    o->self = n->cfg->server_id;
    o->history.keep = (uint32_t)n->cfg->commit_log_count;
    election_init(&o->election, n->cfg, o->self, &o->links, &n->log);
    leader_init(&o->leader, n->cfg, o->self, &o->links, &n->db, &o->history, &n->log);
    learner_init(&o->learner, n->cfg, o->self, &o->links, &n->log);
}

ZK_PRIVATE void role_free(struct node *n) {
    struct role *o = role_of(n);
    if (o->phase != ROLE_ALONE) {
        election_free(&o->election);
        leader_free(&o->leader);
        learner_free(&o->learner);
        history_free(&o->history);
    }
    links_free(&o->links);
    auth_free(&o->auth);
    if (o->errand == ROLE_TAKE) db_free(&o->learner.incoming);
    for (uint32_t i = 0; i < o->wait_n; i++)
        blob_unref(o->waiting[(o->wait_head + i) & (o->wait_cap - 1)].body);
    mem_free(o->waiting);
    buf_free(&o->revalidating);
    buf_free(&o->touched);
    buf_free(&o->saving);
}

/* --- what goes to the disk --- */

static void role_save_epoch(struct node *n, bool accepted, int64_t epoch) {
    struct role_save s = {epoch, accepted};
    buf_compact(&n->role.saving);
    buf_put(&n->role.saving, &s, sizeof s);
    struct node_output *o = node_output(n, NODE_SAVE_EPOCH);
    o->epoch = epoch;
    o->accepted = accepted;
}

ZK_PRIVATE void role_epoch_saved(struct node *n) {
    struct role *o = role_of(n);
    struct role_save s;
    ZK_ASSERT(buf_len(&o->saving));
    memcpy(&s, o->saving.p + o->saving.head, sizeof s);
    buf_consume(&o->saving, sizeof s);
    *(s.accepted ? &o->accepted : &o->current) = s.epoch;
    if (o->phase == ROLE_LEADING && s.epoch == o->leader.epoch) {
        if (s.accepted)
            leader_saved_accepted(&o->leader, n->now);
        else
            leader_saved_current(&o->leader, n->now);
    } else if (o->phase == ROLE_LEARNING && s.epoch == o->learner.epoch) {
        if (s.accepted)
            learner_saved_accepted(&o->learner);
        else
            learner_saved_current(&o->learner);
    }
}

static void role_load(struct node *n, int64_t cut, bool reload) {
    struct node_output *o = node_output(n, NODE_LOAD);
    o->zxid = cut;
    o->reload = reload;
    if (reload) n->role.loading = true;
}

/* The tree is another one from now on, and the log goes on behind its last zxid. */
static void role_take_db(struct node *n, struct db *db) {
    txn_out_clear(&n->db, &n->applied);
    prep_free(&n->prep);
    struct db old = n->db;
    n->db = *db;
    db_init(db, n->db.tree.seed, n->cfg->tick_time_ms, n->now);
    db_free(&old);
    node_prepare(n);
    n->appended = n->synced = n->committed = n->db.last_zxid;
    n->roll_next = true;
    history_reset(&n->role.history, n->db.last_zxid);
}

/*
 * What changes the disk's idea of the state has to wait for a snapshot that is about to get its
 * name; one that is not so far is given up.
 */
static void role_do(struct node *n) {
    struct role *o = role_of(n);
    if (o->errand == ROLE_NOTHING) return;
    pipeline_snapshot_abort(n);
    if (n->snap.active) return;
    enum role_errand errand = o->errand;
    o->errand = ROLE_NOTHING;
    if (errand == ROLE_TRUNCATE) {
        role_load(n, o->learner.stream_zxid, true);
    } else if (errand == ROLE_RELOAD) {
        role_load(n, -1, true);
    } else {
        o->cut = n->db.last_zxid > o->learner.incoming.last_zxid;
        role_take_db(n, &o->learner.incoming);
        db_free(&o->learner.incoming);
        o->unsaved = true;
        if (o->cut) role_load(n, n->db.last_zxid, false);
        pipeline_snapshot_begin(n);
    }
}

ZK_PRIVATE void role_snapshot_over(struct node *n, bool failed) {
    struct role *o = role_of(n);
    if (!o->unsaved || o->errand != ROLE_NOTHING) return;
    if (failed) {
        learner_fail(&o->learner, "the leader's snapshot cannot be saved");
        return;
    }
    o->unsaved = false;
    if (o->cut) role_load(n, n->db.last_zxid, false); /* what was refused before can go now */
    o->learner.hold = false;
}

/* --- the end of a role --- */

static void role_forget_clients(struct node *n) {
    struct role *o = role_of(n);
    for (uint32_t i = 0; i < n->n_conns; i++)
        if (n->conns[i].phase != CONN_FREE && n->conns[i].phase != CONN_CLOSING)
            serve_close(n, i);
    while (o->wait_n) {
        blob_unref(o->waiting[o->wait_head].body);
        o->wait_head = (o->wait_head + 1) & (o->wait_cap - 1);
        o->wait_n--;
    }
    buf_clear(&o->revalidating);
    buf_clear(&o->touched);
}

/*
 * Before the next election: none after a role that was filled; else longer and longer, as the same
 * thing may go wrong again at once.
 */
static void role_pause(struct node *n) {
    struct role *o = role_of(n);
    o->failures = o->filled ? 0 : o->failures + 1;
    int64_t ms = ROLE_PAUSE_MS;
    for (uint32_t i = 1; i < o->failures && ms < ROLE_PAUSE_MAX_MS; i++) ms *= 2;
    o->look_at = n->now + (o->failures ? ms : 0);
    int32_t delay = n->cfg->observer_election_delay_ms;
    if (o->phase == ROLE_LEARNING && o->learner.observer && delay > 0)
        o->look_at += (int64_t)prng_below(&n->rng, (uint64_t)delay);
    o->filled = false;
}

static void role_leave(struct node *n, const char *why) {
    struct role *o = role_of(n);
    log_line(&n->log, LOG_WARN_LEVEL, "Leaving as %s: %s",
             o->phase == ROLE_LEADING ? "leader" : "learner", why);
    if (o->phase == ROLE_LEADING) {
        node_output(n, NODE_UNLISTEN);
        leader_stop(&o->leader);
    } else {
        learner_stop(&o->learner);
    }
    election_idle(&o->election);
    role_pause(n);
    n->serving = false;
    role_forget_clients(n);
    o->newleader = false;
    o->phase = ROLE_DRAINING;
    if (o->errand == ROLE_TAKE) db_free(&o->learner.incoming);
    o->errand = o->unsaved ? ROLE_RELOAD : ROLE_NOTHING;
}

/* Sessions that never came to be; the rest belongs to nobody yet. */
static void role_forget_sessions(struct node *n) {
    struct session_table *t = &n->db.sessions;
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->slots[i].live) continue;
        t->slots[i].owner = 0;
        t->slots[i].closing = t->slots[i].touched = false;
        if (!t->slots[i].committed) session_remove(t, i);
    }
}

static void role_drain(struct node *n) {
    struct role *o = role_of(n);
    role_do(n);
    if (n->synced < n->appended || buf_len(&o->saving) || o->loading || o->unsaved ||
        o->errand != ROLE_NOTHING || n->now < o->look_at)
        return;
    n->committed = n->appended;
    pipeline_apply(n);
    history_commit(&o->history, n->appended);
    role_forget_sessions(n);
    o->phase = ROLE_LOOKING;
    election_look(&o->election, n->now, n->db.last_zxid, o->current);
}

ZK_PRIVATE void role_loaded(struct node *n, struct db *db) {
    struct role *o = role_of(n);
    o->loading = o->unsaved = false;
    role_take_db(n, db);
    if (o->phase == ROLE_LEARNING) learner_truncated(&o->learner, n->db.last_zxid);
}

ZK_PRIVATE void role_start(struct node *n) {
    struct role *o = role_of(n);
    int64_t epoch = n->db.last_zxid >> 32;
    if (o->current < 0) o->current = epoch;
    if (o->accepted < o->current) o->accepted = o->current;
    if (epoch > o->current)
        log_line(&n->log, LOG_WARN_LEVEL, "The log goes on to epoch 0x%llx, beyond the current "
                 "one, 0x%llx: it was not acknowledged", (unsigned long long)epoch,
                 (unsigned long long)o->current);
    history_reset(&o->history, n->db.last_zxid);
    n->committed = n->db.last_zxid;
    o->phase = ROLE_DRAINING;
    role_settle(n);
}

/* --- the election has ended --- */

static void role_decided(struct node *n) {
    struct role *o = role_of(n);
    n->roll_next = true;
    n->committed = n->db.last_zxid;
    if (o->election.state == SERVER_LEADING) {
        log_line(&n->log, LOG_INFO_LEVEL, "LEADING - round %lld, last zxid 0x%llx",
                 (long long)o->election.vote.round, (unsigned long long)n->db.last_zxid);
        o->phase = ROLE_LEADING;
        node_output(n, NODE_LISTEN);
        leader_start(&o->leader, n->now, o->promised > o->accepted ? o->promised : o->accepted,
                     o->current);
        return;
    }
    bool observer = o->election.state == SERVER_OBSERVING;
    log_line(&n->log, LOG_INFO_LEVEL, "%s %lld", observer ? "OBSERVING" : "FOLLOWING",
             (long long)o->election.vote.leader);
    o->phase = ROLE_LEARNING;
    o->learner.seed = hash_u64(n->db.tree.seed);
    learner_start(&o->learner, n->now, o->election.vote.leader, observer, o->accepted, o->current,
                  n->db.last_zxid);
}

/* --- leading --- */

static void role_lead_up(struct node *n) {
    struct role *o = role_of(n);
    o->leader.up = false;
    o->filled = true;
    election_led(&o->election, o->leader.epoch);
    prep_free(&n->prep);
    node_prepare(n);
    n->prep.zxid = (int64_t)((uint64_t)o->leader.epoch << 32);
    session_touch_all(&n->db.sessions, n->now);
    n->serving = n->cfg->leader_serves;
}

/* A request that a learner passed on: it becomes a transaction, if only one that fails. */
static void role_request(struct node *n, const struct leader_request *r) {
    struct role *o = role_of(n);
    if (r->op == ZOP_SYNC) {
        leader_sync(&o->leader, r->owner);
        return;
    }
    bool known = (wire_op_flags(r->op) & OP_WRITE) != 0;
    bool session = r->op == ZOP_CREATE_SESSION || r->op == ZOP_CLOSE_SESSION;
    if (r->op == ZOP_CREATE_SESSION && r->body.n >= 4) {
        int32_t timeout = (int32_t)be32(r->body.p);
        if (timeout < 0) timeout = 0;
        uint32_t s = session_add(&n->db.sessions, r->session, timeout);
        n->db.sessions.slots[s].owner = r->owner;
        session_touch(&n->db.sessions, s, n->now, timeout);
    }
    buf_clear(&o->auth.ids);
    o->auth.count = 0;
    o->auth.super = false;
    auth_add_all(&o->auth, r->auth, (uint32_t)r->n_auth);
    struct pipeline_request q = {.conn = CONN_NONE, .xid = r->cxid, .session = r->session,
                                 .op = known ? r->op : ZOP_NOTIFICATION, .body = r->body,
                                 .internal = session, .forwarded = true, .owner = r->owner,
                                 .auth = &o->auth};
    pipeline_submit(n, &q);
}

static void role_read_log(struct node *n) {
    struct leader *l = &n->role.leader;
    struct node_output *o = node_output(n, NODE_READ_LOG);
    o->zxid = l->log_read.after;
    o->upto = n->role.history.floor;
    o->first = l->log_read.first;
    l->log_read.wanted = false;
    l->log_read.busy = true;
}

ZK_PRIVATE void role_log_read(struct node *n, struct slice txns) {
    leader_log_read(&n->role.leader, txns, n->now);
}

/*
 * A voter that accepted the epoch of a leader that never came to be can follow nobody before the
 * next election. One whose history has that epoch is another matter: no quorum of ours can have
 * been there, so its data is not of this ensemble, and an election is what it must not get.
 * stock: both try for ever
 */
static bool role_makes_room(struct node *n, int64_t sid) {
    if (election_asks_from(&n->role.election, sid, n->role.leader.epoch)) {
        n->role.promised = n->role.leader.outrun_to; /* our next epoch is beyond it */
        return true;
    }
    log_line(&n->log, LOG_ERROR_LEVEL, "Server %lld has data of a later epoch than that of this "
             "ensemble, 0x%llx: it is kept out. Is it the data of another ensemble?",
             (long long)sid, (unsigned long long)n->role.leader.epoch);
    return false;
}

static void role_lead(struct node *n) {
    struct role *o = role_of(n);
    struct leader_request r = {0};
    while (leader_next(&o->leader, n->now, &r)) {
        if (o->leader.up) role_lead_up(n); /* the first request is of the new epoch */
        if (role_exhausted(n)) break;
        role_request(n, &r);
    }
    n->committed = leader_commit(&o->leader);
    pipeline_apply(n);
    if (o->leader.want_accepted || o->leader.want_current) {
        role_save_epoch(n, o->leader.want_accepted, o->leader.epoch);
        o->leader.want_accepted = o->leader.want_current = false;
    }
    leader_log_step(&o->leader);
    if (o->leader.log_read.wanted) role_read_log(n);
    if (o->leader.up) role_lead_up(n);
    int64_t outrun_by = o->leader.outrun_by;
    o->leader.outrun_by = -1;
    if (o->leader.phase == LEADER_LOST)
        role_leave(n, o->leader.why);
    else if (outrun_by >= 0 && role_makes_room(n, outrun_by))
        role_leave(n, "a voter has promised itself to a later epoch");
    else if (role_exhausted(n))
        role_leave(n, "the zxids of this epoch are used up");
}

/* --- learning --- */

static void role_append(struct node *n, const struct learner_news *news) {
    struct jr r = jr_open(news->txn, UINT32_MAX);
    struct txn_header h = jr_txn_header(&r);
    struct pipeline_txn t = {news->zxid, h.client_id, h.type, news->txn};
    pipeline_log(n, &t);
}

static void role_pong(struct node *n, int64_t zxid) {
    struct role *o = role_of(n);
    struct buf table = {0};
    (void)buf_reserve(&table, 1);
    for (size_t at = 0; at < o->touched.n; at += sizeof(uint32_t)) {
        uint32_t i;
        memcpy(&i, o->touched.p + at, sizeof i);
        struct session *s = &n->db.sessions.slots[i];
        if (!s->live || !s->touched) continue;
        s->touched = false;
        jw_i64(&table, s->id);
        jw_i32(&table, s->lease);
    }
    buf_clear(&o->touched);
    learner_pong(&o->learner, zxid, buf_slice(&table));
    buf_free(&table);
}

ZK_PRIVATE void role_touch(struct node *n, uint32_t slot, int32_t timeout) {
    struct session *s = &n->db.sessions.slots[slot];
    s->lease = timeout;
    if (s->touched) return;
    s->touched = true;
    buf_put(&n->role.touched, &slot, sizeof slot);
}

static void role_revalidated(struct node *n, const struct learner_news *news) {
    struct role *o = role_of(n);
    struct role_revalidation v;
    for (size_t at = 0; at < o->revalidating.n; at += sizeof v) {
        memcpy(&v, o->revalidating.p + at, sizeof v);
        if (v.session != news->session) continue;
        memmove(o->revalidating.p + at, o->revalidating.p + at + sizeof v,
                o->revalidating.n - at - sizeof v);
        o->revalidating.n -= sizeof v;
        const struct conn *c = &n->conns[v.conn];
        if (c->phase == CONN_WAITING && c->gen == v.gen) serve_renewed(n, v.conn, news->valid);
        return;
    }
}

ZK_PRIVATE void role_revalidate(struct node *n, uint32_t conn, int64_t session) {
    struct conn *c = node_conn(n, conn);
    struct role_revalidation v = {session, conn, c->gen};
    buf_put(&n->role.revalidating, &v, sizeof v);
    learner_revalidate(&n->role.learner, session, c->timeout);
}

static void role_learner_up(struct node *n) {
    struct role *o = role_of(n);
    log_line(&n->log, LOG_INFO_LEVEL, "Synchronized with the leader, epoch 0x%llx, zxid 0x%llx",
             (unsigned long long)o->learner.epoch, (unsigned long long)n->db.last_zxid);
    election_led(&o->election, o->learner.epoch);
    n->serving = o->filled = true;
    learner_synced(&o->learner, n->synced);
}

static void role_sync_done(struct node *n) {
    struct role *o = role_of(n);
    for (uint32_t i = 0; i < o->wait_n; i++) {
        struct role_wait *w = &o->waiting[(o->wait_head + i) & (o->wait_cap - 1)];
        if (w->op != ZOP_SYNC || w->ready_at >= 0) continue;
        w->ready_at = n->committed;
        return;
    }
}

static void role_event(struct node *n, enum learner_event e, const struct learner_news *news) {
    struct role *o = role_of(n);
    switch (e) {
    case LEARNER_NOTHING:
        break;
    case LEARNER_ACCEPT_EPOCH:
        role_save_epoch(n, true, o->learner.epoch);
        break;
    case LEARNER_TRUNCATE:
        o->errand = ROLE_TRUNCATE;
        break;
    case LEARNER_SNAPSHOT_READ:
        o->errand = ROLE_TAKE;
        break;
    case LEARNER_PROPOSED:
        role_append(n, news);
        break;
    case LEARNER_COMMITTED:
        n->committed = news->zxid;
        break;
    case LEARNER_SYNCED_UP:
        o->newleader = true;
        break;
    case LEARNER_UP:
        role_learner_up(n);
        break;
    case LEARNER_PINGED:
        role_pong(n, news->zxid);
        break;
    case LEARNER_SYNC_DONE:
        role_sync_done(n);
        break;
    case LEARNER_REVALIDATED:
        role_revalidated(n, news);
        break;
    }
}

static void role_learn(struct node *n) {
    struct role *o = role_of(n);
    struct learner_news news;
    enum learner_event e;
    while ((e = learner_next(&o->learner, n->now, &news)) != LEARNER_NOTHING)
        role_event(n, e, &news);
    role_do(n);
    pipeline_apply(n);
    role_answer(n);
    if (o->newleader && n->synced >= n->appended && !o->unsaved) {
        o->newleader = false;
        role_save_epoch(n, false, o->learner.epoch);
    }
    if (o->learner.phase == LEARNER_LOST) role_leave(n, o->learner.why);
}

ZK_PRIVATE void role_log_synced(struct node *n) {
    struct role *o = role_of(n);
    if (o->phase == ROLE_LEADING) leader_synced(&o->leader, n->synced);
    if (o->phase == ROLE_LEARNING) learner_synced(&o->learner, n->synced);
}

/* --- requests that wait for the leader --- */

static struct role_wait *role_wait_push(struct node *n, uint32_t conn) {
    struct role *o = role_of(n);
    if (o->wait_n == o->wait_cap) {
        uint32_t cap = o->wait_cap ? o->wait_cap * 2 : 64;
        struct role_wait *ring = mem_alloc(sizeof *ring * cap);
        for (uint32_t i = 0; i < o->wait_n; i++)
            ring[i] = o->waiting[(o->wait_head + i) & (o->wait_cap - 1)];
        mem_free(o->waiting);
        o->waiting = ring;
        o->wait_cap = cap;
        o->wait_head = 0;
    }
    struct role_wait *w = &o->waiting[(o->wait_head + o->wait_n++) & (o->wait_cap - 1)];
    struct conn *c = node_conn(n, conn);
    struct role_wait fresh = {.conn = conn, .gen = c->gen, .ready_at = -1, .after = n->appended,
                              .received = n->now};
    *w = fresh;
    c->submitted++;
    return w;
}

ZK_PRIVATE void role_barrier(struct node *n, uint32_t conn) {
    if (n->role.wait_n) role_wait_push(n, conn)->ready_at = 0;
}

ZK_PRIVATE void role_forward(struct node *n, const struct pipeline_request *q) {
    struct role *o = role_of(n);
    struct conn *c = node_conn(n, q->conn);
    struct role_wait *w = role_wait_push(n, q->conn);
    w->session = q->session;
    w->xid = q->xid;
    w->op = q->op;
    n->stats.requests++;
    if (!prep_readable(q->op, q->body)) {
        w->err = ZERR_MARSHALLINGERROR; /* a stock leader would stop at it for ever */
        w->ready_at = 0;
        role_answer(n);
        return;
    }
    if (q->op == ZOP_SYNC) {
        w->body = blob_copy(q->body);
    }
    bool session = q->op == ZOP_CREATE_SESSION;
    learner_request(&o->learner, q->session, q->xid, q->op, q->body,
                    session ? slice_of(NULL, 0) : buf_slice(&c->auth.ids),
                    session ? 0 : c->auth.count);
}

ZK_PRIVATE void role_claim(struct node *n, struct pending *p) {
    struct role *o = role_of(n);
    if (!role_learns(n)) return;
    role_answer(n); /* what was due before this transaction must not hide who waits for it */
    if (!o->wait_n) return;
    struct role_wait *w = &o->waiting[o->wait_head];
    struct jr r = jr_open(slice_of(p->blob->p + p->off, p->len), UINT32_MAX);
    struct txn_header h = jr_txn_header(&r);
    if (w->ready_at >= 0 || w->op == ZOP_SYNC || w->session != h.client_id || w->xid != h.cxid)
        return;
    /* Of a session that has moved here an older request may have the same cxid: it was proposed
     * before the leader let the session move. */
    if (p->zxid <= w->after) return;
    /* An expiry has cxid 0, which a client's write may have, too. */
    if (h.type == ZOP_CLOSE_SESSION && w->op != ZOP_CLOSE_SESSION) return;
    p->conn = w->conn;
    p->conn_gen = w->gen;
    p->xid = w->xid;
    p->op = w->op;
    p->received = w->received;
    if (h.type == ZOP_ERROR) p->err = jr_i32(&r);
    o->wait_head = (o->wait_head + 1) & (o->wait_cap - 1);
    o->wait_n--;
}

ZK_PRIVATE void role_answer(struct node *n) {
    struct role *o = role_of(n);
    while (o->wait_n) {
        struct role_wait w = o->waiting[o->wait_head];
        if (w.ready_at < 0 || n->db.last_zxid < w.ready_at) return;
        o->wait_head = (o->wait_head + 1) & (o->wait_cap - 1);
        o->wait_n--;
        struct conn *c = &n->conns[w.conn];
        bool there = c->phase != CONN_FREE && c->gen == w.gen;
        if (there) serve_due(n, w.conn);
        if (there) c->completed++;
        if (there && c->phase == CONN_OPEN) {
            if (w.err)
                reply_error(n, w.conn, w.xid, n->db.last_zxid, w.err);
            else if (w.op == ZOP_SYNC)
                reads_serve(n, w.conn, w.xid, w.op, slice_of(w.body->p, w.body->n));
            int64_t budget = n->budget; /* of the connection being served, if any */
            if (buf_len(&c->deferred) || buf_len(&c->in)) serve_run(n, w.conn);
            n->budget = budget;
        }
        blob_unref(w.body);
    }
}

/* --- what the pipeline reports --- */

ZK_PRIVATE void role_appended(struct node *n, const struct pending *p) {
    struct role *o = role_of(n);
    if (o->phase == ROLE_ALONE) return;
    history_add(&o->history, p->zxid, p->blob, p->off, p->len);
    if (o->phase == ROLE_LEADING)
        leader_propose(&o->leader, p->zxid, slice_of(p->blob->p + p->off, p->len));
}

ZK_PRIVATE void role_applied(struct node *n, int64_t zxid) {
    if (n->role.phase != ROLE_ALONE) history_commit(&n->role.history, zxid);
}

/* --- links --- */

ZK_PRIVATE uint32_t role_link_accept(struct node *n, enum link_kind kind) {
    struct role *o = role_of(n);
    if (o->phase == ROLE_ALONE || (kind == LINK_QUORUM && o->phase != ROLE_LEADING))
        return LINK_NONE;
    uint32_t id = link_accepted(&o->links, kind, n->now);
    if (kind == LINK_QUORUM)
        leader_accepted(&o->leader, id, n->now);
    else if (election_accepted(&o->election, id, n->now))
        role_decided(n);
    return id;
}

ZK_PRIVATE void role_link_opened(struct node *n, uint32_t link) {
    struct role *o = role_of(n);
    const struct link *k = link_at(&o->links, link);
    link_opened(&o->links, link);
    if (k->phase != LINK_OPEN) return;
    if (k->kind == LINK_QUORUM) {
        if (link == o->learner.link) learner_opened(&o->learner, n->now);
    } else if (election_opened(&o->election, link, n->now)) {
        role_decided(n);
    }
}

ZK_PRIVATE void role_link_bytes(struct node *n, uint32_t link, struct slice bytes) {
    struct role *o = role_of(n);
    if (!link_received(&o->links, link, bytes)) return;
    if (link_at(&o->links, link)->kind == LINK_QUORUM) {
        if (link == o->learner.link) learner_heard(&o->learner, n->now);
    } else if (election_input(&o->election, link, n->now)) {
        role_decided(n);
    }
}

ZK_PRIVATE void role_link_closed(struct node *n, uint32_t link) {
    struct role *o = role_of(n);
    bool decided = false;
    if (link_at(&o->links, link)->kind == LINK_ELECTION)
        decided = election_closed(&o->election, link, n->now);
    else if (link == o->learner.link)
        learner_closed(&o->learner, n->now);
    else
        leader_closed(&o->leader, link);
    link_gone(&o->links, link);
    if (decided) role_decided(n);
}

ZK_PRIVATE void role_listen_failed(struct node *n) {
    if (n->role.phase == ROLE_LEADING) role_leave(n, "the quorum port cannot be bound");
}

static void role_pass_effects(struct node *n) {
    static const enum node_output_kind kinds[] = {[LINK_DIAL] = NODE_LINK_DIAL,
                                                  [LINK_SEND] = NODE_LINK_SEND,
                                                  [LINK_CLOSE] = NODE_LINK_CLOSE};
    struct link_effect e;
    while (link_take_effect(&n->role.links, &e)) node_output(n, kinds[e.kind])->link = e.link;
}

/* --- time, and the turn of the machines --- */

/* A leader that waits for its quorum while a voter looks elsewhere. stock: maxTimeToWaitForEpoch */
static void role_disloyal(struct node *n) {
    struct role *o = role_of(n);
    int64_t most = n->cfg->leader_epoch_wait_ms;
    if (most < 0 || o->leader.phase != LEADER_DISCOVERY || !o->election.voter_looked) return;
    if (n->now - o->leader.since > most) role_leave(n, "a voter looks for another leader");
}

ZK_PRIVATE void role_tick(struct node *n) {
    struct role *o = role_of(n);
    if (o->phase == ROLE_ALONE) return;
    if (election_tick(&o->election, n->now)) role_decided(n);
    if (o->phase == ROLE_LEADING) {
        leader_tick(&o->leader, n->now);
        role_disloyal(n);
    }
    if (o->phase == ROLE_LEARNING) learner_tick(&o->learner, n->now);
}

ZK_PRIVATE int64_t role_next_tick(const struct node *n) {
    const struct role *o = &n->role;
    if (o->phase == ROLE_ALONE) return INT64_MAX;
    int64_t next = election_next_tick(&o->election), other = INT64_MAX;
    if (o->phase == ROLE_LEADING) other = leader_next_tick(&o->leader);
    if (o->phase == ROLE_LEARNING) other = learner_next_tick(&o->learner);
    if (o->phase == ROLE_DRAINING && o->look_at > n->now) other = o->look_at;
    return other < next ? other : next;
}

ZK_PRIVATE bool role_idle_work(struct node *n) {
    if (n->role.phase != ROLE_LEADING) return false;
    bool more = leader_image_step(&n->role.leader);
    role_pass_effects(n);
    return more;
}

ZK_PRIVATE void role_settle(struct node *n) {
    struct role *o = role_of(n);
    enum role_phase before;
    if (o->phase == ROLE_ALONE || !n->loaded) return;
    do {
        before = o->phase;
        if (o->phase == ROLE_LEADING) role_lead(n);
        if (o->phase == ROLE_LEARNING) role_learn(n);
        if (o->phase == ROLE_DRAINING) role_drain(n);
    } while (o->phase != before);
    role_pass_effects(n);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/reads.c ==== */



#define READS_REPLY_MAX (64u << 20) /* bytes of one reply, about */

/* One read under way: the reply grows in the connection's output buffer. */
struct reads {
    struct node *n;
    uint32_t conn;
    struct buf *out;
    struct jr body;
    int64_t zxid;        /* of the reply */
    bool body_and_error; /* the reply has both: multiRead only */
};

/* A path that need not exist: kept or echoed, so it must be the text that stock would have. */
static struct slice reads_text(const struct reads *q, struct slice path) {
    return path.p ? path_as_java(path, &q->n->scratch) : path;
}

static int reads_may(const struct reads *q, const struct tree_node *node, int32_t perms) {
    if (q->n->cfg->skip_acl) return 0;
    const struct auth_set *who = &node_conn(q->n, q->conn)->auth;
    q->n->work += acl_bytes(&q->n->db.acls, node->acl).n * who->count / 16;
    return acl_allows(&q->n->db.acls, node->acl, perms, who) ? 0 : ZERR_NOAUTH;
}

static void reads_put_stat(const struct reads *q, const struct tree_node *node) {
    tree_client_stat(&q->n->db.tree, node, buf_grow(q->out, WIRE_STAT_LEN));
}

static void reads_watch(const struct reads *q, struct slice path, uint32_t kinds) {
    /* stock: a watch on "" is no watch on the root, although "" reads the root */
    if (kinds & WATCH_IN_DATA) node_conn(q->n, q->conn)->data_watcher = true;
    watch_add(&q->n->watches, reads_text(q, path), q->conn, kinds);
}

/* The node of a read that needs READ on it. */
static int reads_node(const struct reads *q, struct slice path, const struct tree_node **node) {
    if (!path.p) return ZERR_MARSHALLINGERROR;
    uint32_t id = tree_lookup(&q->n->db.tree, path);
    if (id == TREE_NONE) return ZERR_NONODE;
    *node = tree_node(&q->n->db.tree, id);
    return reads_may(q, *node, PERM_READ);
}

/* --- nodes --- */

static int reads_exists(struct reads *q) {
    struct req_path r = jr_req_path_bool(&q->body);
    if (q->body.bad || !r.path.p) return ZERR_MARSHALLINGERROR;
    if (r.path.n && memchr(r.path.p, 0, r.path.n)) return ZERR_BADARGUMENTS;
    const struct tree_node *node = NULL;
    int err = reads_node(q, r.path, &node);
    if (err && err != ZERR_NONODE) return err;
    if (r.arg) reads_watch(q, r.path, WATCH_DATA);
    if (err) return err;
    reads_put_stat(q, node);
    metrics_read(&q->n->metrics, r.path, WIRE_STAT_LEN);
    return 0;
}

static int reads_data_of(struct reads *q, const struct req_path *r) {
    const struct tree_node *node;
    int err = reads_node(q, r->path, &node);
    if (err) return err;
    if (r->arg) reads_watch(q, r->path, WATCH_DATA);
    jw_bytes(q->out, tree_data(node));
    metrics_read(&q->n->metrics, r->path, (int64_t)tree_data(node).n + WIRE_STAT_LEN);
    reads_put_stat(q, node);
    return 0;
}

static int reads_children_of(struct reads *q, const struct req_path *r, bool stat) {
    const struct tree_node *node;
    int err = reads_node(q, r->path, &node);
    if (err) return err;
    if (node->children > READS_REPLY_MAX / 8) return ZERR_MARSHALLINGERROR;
    if (r->arg) reads_watch(q, r->path, WATCH_CHILD);
    int64_t names = WIRE_STAT_LEN;
    jw_i32(q->out, (int32_t)node->children);
    for (uint32_t id = node->first_child; id != TREE_NONE;) {
        const struct tree_node *child = tree_node(&q->n->db.tree, id);
        jw_bytes(q->out, tree_name(child));
        names += (int64_t)tree_name(child).n;
        id = child->next;
    }
    metrics_read(&q->n->metrics, r->path, names);
    if (stat) reads_put_stat(q, node);
    return 0;
}

static int reads_get_data(struct reads *q) {
    struct req_path r = jr_req_path_bool(&q->body);
    return q->body.bad ? ZERR_MARSHALLINGERROR : reads_data_of(q, &r);
}

static int reads_get_children(struct reads *q, bool stat) {
    struct req_path r = jr_req_path_bool(&q->body);
    return q->body.bad ? ZERR_MARSHALLINGERROR : reads_children_of(q, &r, stat);
}

static int reads_get_acl(struct reads *q) {
    struct slice path = jr_bytes(&q->body);
    if (q->body.bad || !path.p) return ZERR_MARSHALLINGERROR;
    uint32_t id = tree_lookup(&q->n->db.tree, path);
    if (id == TREE_NONE) return ZERR_NONODE;
    const struct tree_node *node = tree_node(&q->n->db.tree, id);
    int err = reads_may(q, node, PERM_READ | PERM_ADMIN);
    if (err) return err;
    struct slice acl = acl_bytes(&q->n->db.acls, node->acl);
    if (reads_may(q, node, PERM_ADMIN))
        acl_put_masked(q->out, acl);
    else
        buf_put(q->out, acl.p, acl.n);
    reads_put_stat(q, node);
    return 0;
}

static int reads_all_children_number(struct reads *q) {
    struct slice path = jr_bytes(&q->body);
    const struct tree_node *node;
    if (q->body.bad) return ZERR_MARSHALLINGERROR;
    int err = reads_node(q, path, &node);
    if (err) return err;
    uint32_t id = tree_lookup(&q->n->db.tree, path);
    /* stock: keeps the root as "" and as "/", and the second is a descendant of the first */
    uint64_t alias = path.n == 0;
    if (id != TREE_ROOT) q->n->work += q->n->db.tree.count; /* at most */
    jw_i32(q->out, (int32_t)(tree_count_below(&q->n->db.tree, id) + alias));
    return 0;
}

static int reads_ephemerals(struct reads *q) {
    struct slice prefix = jr_bytes(&q->body);
    if (q->body.bad) return ZERR_MARSHALLINGERROR;
    struct slice core = prefix; /* stock: trimmed to see whether it means all, compared as it is */
    while (core.n && core.p[0] <= ' ') core = slice_of(core.p + 1, core.n - 1);
    while (core.n && core.p[core.n - 1] <= ' ') core.n--;
    bool all = !core.n || slice_is(core, "/");
    const struct tree *t = &q->n->db.tree;
    const struct idset *owned = tree_owned(t, node_conn(q->n, q->conn)->session);
    size_t at = q->out->n;
    int32_t count = 0;
    uint32_t pos = 0, id;
    jw_i32(q->out, 0);
    while (owned && idset_next(owned, &pos, &id)) {
        size_t from = q->out->n;
        jw_i32(q->out, 0);
        tree_put_path(t, id, q->out);
        size_t len = q->out->n - from - 4;
        bool match = all || (len >= prefix.n && !memcmp(q->out->p + from + 4, prefix.p, prefix.n));
        put_be32(q->out->p + from, (uint32_t)len);
        if (match)
            count++;
        else
            q->out->n = from;
    }
    put_be32(q->out->p + at, (uint32_t)count);
    return 0;
}

/* --- multiRead --- */

/* Whether the request is a list of reads, or (in *writes) one of writes: both can be read. */
static bool reads_multi_check(struct jr r, bool *writes) {
    struct jr all = r;
    int32_t count;
    *writes = false;
    for (;;) {
        struct multi_header h = jr_multi_header(&r);
        if (r.bad) return false;
        if (h.done) return true;
        if (h.type != ZOP_GET_DATA && h.type != ZOP_GET_CHILDREN) break;
        (void)jr_req_path_bool(&r);
        if (r.bad) return false;
    }
    *writes = prep_multi_check(all, &count) == 0;
    return *writes;
}

/*
 * stock: what cannot be executed breaks the list off; the reply then has an error in its header
 * and nevertheless the results so far. MultiRead in FinalRequestProcessor.
 */
static int reads_multi(struct reads *q) {
    bool writes;
    int broken = 0;
    size_t start = q->out->n;
    if (!reads_multi_check(q->body, &writes)) return ZERR_MARSHALLINGERROR;
    for (;;) {
        struct multi_header h = jr_multi_header(&q->body);
        if (h.done) break;
        struct req_path r = jr_req_path_bool(&q->body);
        if (writes || !r.path.p) {
            broken = ZERR_MARSHALLINGERROR;
            q->body_and_error = true;
            break;
        }
        size_t at = q->out->n;
        if (at - start > READS_REPLY_MAX) return ZERR_MARSHALLINGERROR;
        r.arg = 0; /* watches cannot be left by a multiRead */
        jw_multi_header(q->out, h.type, false, 0);
        int err = h.type == ZOP_GET_DATA ? reads_data_of(q, &r) : reads_children_of(q, &r, false);
        if (!err) continue;
        q->out->n = at;
        jw_multi_header(q->out, ZOP_ERROR, false, err);
        jw_i32(q->out, err);
    }
    jw_multi_header(q->out, -1, true, -1);
    return broken;
}

/* --- watches --- */

static uint32_t reads_watcher_kinds(int32_t type) {
    static const uint32_t kinds[] = {0, WATCH_CHILD, WATCH_DATA, WATCH_ANY, WATCH_PERSISTENT,
                                     WATCH_RECURSIVE};
    return type >= 1 && type <= 5 ? kinds[type] : 0;
}

static int reads_watcher(struct reads *q, bool remove) {
    struct req_path r = jr_req_path_i32(&q->body);
    uint32_t kinds = reads_watcher_kinds(r.arg);
    if (q->body.bad || !kinds) return ZERR_MARSHALLINGERROR;
    if (!r.path.p) return ZERR_NOWATCHER;
    r.path = reads_text(q, r.path);
    struct watch_table *w = &q->n->watches;
    bool found = remove ? watch_remove(w, r.path, q->conn, kinds)
                        : (watch_kinds(w, r.path, q->conn) & kinds) != 0;
    if (remove && found) node_conn(q->n, q->conn)->data_watcher = false;
    return found ? 0 : ZERR_NOWATCHER;
}

static int reads_add_watch(struct reads *q) {
    struct req_path r = jr_req_path_i32(&q->body);
    if (q->body.bad || r.arg < 0 || r.arg > 1) return ZERR_MARSHALLINGERROR;
    if (r.path.p) reads_watch(q, r.path, r.arg ? WATCH_RECURSIVE : WATCH_PERSISTENT);
    jw_i32(q->out, 0);
    return 0;
}

enum reads_list { LIST_DATA, LIST_EXIST, LIST_CHILD, LIST_PERSISTENT, LIST_RECURSIVE, LISTS };

/* One watch that the client had: the event it missed, or the watch again. */
static void reads_rewatch(struct reads *q, enum reads_list list, struct slice path, int64_t since) {
    static const uint32_t kinds[LISTS] = {WATCH_DATA, WATCH_DATA, WATCH_CHILD, WATCH_PERSISTENT,
                                          WATCH_RECURSIVE};
    uint32_t id = tree_lookup(&q->n->db.tree, path);
    const struct tree_node *node = id == TREE_NONE ? NULL : tree_node(&q->n->db.tree, id);
    int32_t missed = 0;
    switch (list) {
    case LIST_DATA:
        missed = !node ? EVENT_DELETED : node->stat.mzxid > since ? EVENT_DATA_CHANGED : 0;
        break;
    case LIST_EXIST:
        missed = node ? EVENT_CREATED : 0;
        break;
    case LIST_CHILD:
        missed = !node ? EVENT_DELETED : node->stat.pzxid > since ? EVENT_CHILDREN_CHANGED : 0;
        break;
    default:
        break;
    }
    if (missed)
        event_send(q->n, q->conn, missed, reads_text(q, path), -1);
    else
        reads_watch(q, path, kinds[list]);
}

static int reads_set_watches(struct reads *q, int lists) {
    int64_t since = jr_i64(&q->body);
    struct jr check = q->body;
    for (int i = 0; i < lists; i++) {
        int32_t count = jr_count(&check);
        for (; count > 0 && !check.bad; count--) (void)jr_bytes(&check);
    }
    if (check.bad) return ZERR_MARSHALLINGERROR;
    for (int i = 0; i < lists; i++) {
        int32_t count = jr_count(&q->body);
        if (count < 0) return ZERR_MARSHALLINGERROR; /* the lists before it have been served */
        for (; count > 0; count--) {
            struct slice path = jr_bytes(&q->body);
            if (!path.p && i >= LIST_PERSISTENT) continue; /* stock: takes it, nothing fires it */
            if (!path.p) return ZERR_MARSHALLINGERROR;
            reads_rewatch(q, (enum reads_list)i, path, since);
        }
    }
    return 0;
}

/* --- the rest --- */

static int reads_sync(struct reads *q) {
    struct slice path = jr_bytes(&q->body);
    if (q->body.bad) return ZERR_MARSHALLINGERROR;
    jw_bytes(q->out, reads_text(q, path));
    return 0;
}

static int reads_who_am_i(struct reads *q) {
    const struct auth_set *who = &node_conn(q->n, q->conn)->auth;
    struct slice scheme, id;
    jw_i32(q->out, (int32_t)who->count);
    struct auth_iter it = auth_first(who);
    while (auth_next(&it, &scheme, &id)) {
        const uint8_t *colon = id.n ? memchr(id.p, ':', id.n) : NULL;
        if (slice_is(scheme, "digest") && colon) id.n = (size_t)(colon - id.p);
        jw_bytes(q->out, scheme);
        jw_bytes(q->out, id);
    }
    return 0;
}

static int reads_dispatch(struct reads *q, int32_t op) {
    switch (op) {
    case ZOP_PING:
        return 0;
    case ZOP_EXISTS:
        return reads_exists(q);
    case ZOP_GET_DATA:
        return reads_get_data(q);
    case ZOP_GET_ACL:
        return reads_get_acl(q);
    case ZOP_GET_CHILDREN:
    case ZOP_GET_CHILDREN2:
        return reads_get_children(q, op == ZOP_GET_CHILDREN2);
    case ZOP_SYNC:
        return reads_sync(q);
    case ZOP_MULTI_READ:
        return reads_multi(q);
    case ZOP_CHECK_WATCHES:
    case ZOP_REMOVE_WATCHES:
        return reads_watcher(q, op == ZOP_REMOVE_WATCHES);
    case ZOP_ADD_WATCH:
        return reads_add_watch(q);
    case ZOP_SET_WATCHES:
        return reads_set_watches(q, 3);
    case ZOP_SET_WATCHES2:
        return reads_set_watches(q, LISTS);
    case ZOP_GET_EPHEMERALS:
        return reads_ephemerals(q);
    case ZOP_GET_ALL_CHILDREN_NUMBER:
        return reads_all_children_number(q);
    case ZOP_WHO_AM_I:
        return reads_who_am_i(q);
    default:
        return ZERR_UNIMPLEMENTED;
    }
}

ZK_PRIVATE void reads_serve(struct node *n, uint32_t conn, int32_t xid, int32_t op,
                            struct slice body) {
    struct reads q = {n, conn, node_conn_out(n, conn), jr_open(body, n->max_string),
                      n->db.last_zxid, false};
    /* Catch-up events leave before the reply that acknowledges the watches. */
    bool events_first = op == ZOP_SET_WATCHES || op == ZOP_SET_WATCHES2;
    n->stats.requests++;
    int err = events_first ? reads_dispatch(&q, op) : 0;
    size_t at = reply_begin(q.out);
    if (!events_first) err = reads_dispatch(&q, op);
    if (err && !q.body_and_error) q.out->n = at + 20;
    if (op == ZOP_PING) xid = XID_PING; /* stock: whatever xid the ping had */
    reply_end(n, conn, at, xid, q.zxid, err);
    reply_count(n, conn, xid, op, q.zxid, n->now);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/serve.c ==== */



#define SERVE_CONNECT_MAX 4096u    /* bytes of a ConnectRequest: strangers get no large buffer */
#define SERVE_IN_PAUSE 262144u     /* waiting input beyond it stops the reading */
/* What one connection may have done before the others get their turn: requests, roughly. */
#define SERVE_BUDGET 2048
#define SERVE_BYTES_A_UNIT 8192u
#define SERVE_WORK_A_UNIT 512u
#define SERVE_PASSED_MAX 128u /* reads waiting beyond which no write passes them */

ZK_PRIVATE uint32_t serve_open(struct node *n, const struct net_addr *addr) {
    int64_t per_ip = n->cfg->max_client_cnxns, all = n->cfg->max_cnxns;
    if ((per_ip > 0 && node_ip_count(n, addr) >= per_ip) || (all > 0 && n->live_conns >= all)) {
        n->stats.connections_rejected++;
        return CONN_NONE;
    }
    return node_conn_add(n, addr);
}

ZK_PRIVATE void serve_close(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    if (c->phase == CONN_CLOSING) return;
    c->phase = CONN_CLOSING;
    c->phase_since = n->now;
    buf_free(&c->in);
    node_buf_give(n, &c->deferred);
    c->n_deferred = 0;
    watch_drop_conn(&n->watches, conn);
    if (c->session_slot != SESSION_NONE && n->db.sessions.slots[c->session_slot].conn == conn)
        n->db.sessions.slots[c->session_slot].conn = SESSION_NONE;
    c->session_slot = SESSION_NONE;
    node_output(n, NODE_CLOSE)->conn = conn;
}

ZK_PRIVATE void serve_lost(struct node *n, uint32_t conn) {
    if (node_conn(n, conn)->phase != CONN_CLOSING) n->stats.connection_drops++;
    node_conn_drop(n, conn);
}

/* A learner tells the leader, which alone decides when a session expires. */
static void serve_touch(struct node *n, uint32_t slot, int32_t timeout) {
    if (role_learns(n))
        role_touch(n, slot, timeout);
    else
        session_touch(&n->db.sessions, slot, n->now, timeout);
}

/* --- handshake --- */

struct serve_connect {
    int64_t last_zxid, session;
    int32_t timeout;
    struct slice passwd;
};

static bool serve_read_connect(struct conn *c, struct slice frame, struct serve_connect *q) {
    struct jr r = jr_open(frame, JUTE_MAX_BUFFER);
    (void)jr_i32(&r); /* protocol version: any */
    q->last_zxid = jr_i64(&r);
    q->timeout = jr_i32(&r);
    q->session = jr_i64(&r);
    q->passwd = jr_bytes(&r);
    if (r.bad) return false;
    c->old_handshake = jr_left(&r) == 0; /* clients before 3.4 do not know readOnly */
    return true;
}

static void serve_new_session(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    uint8_t body[4];
    while (session_find(&n->db.sessions, n->next_session) != SESSION_NONE) n->next_session++;
    c->session = n->next_session++;
    c->session_slot = session_add(&n->db.sessions, c->session, c->timeout);
    n->db.sessions.slots[c->session_slot].conn = conn;
    n->db.sessions.slots[c->session_slot].owner = role_self_owner(n);
    serve_touch(n, c->session_slot, c->timeout);
    c->phase = CONN_WAITING;
    put_be32(body, (uint32_t)c->timeout);
    struct pipeline_request q = {.conn = conn, .op = ZOP_CREATE_SESSION, .session = c->session,
                                 .body = slice_of(body, sizeof body), .internal = true};
    pipeline_submit(n, &q);
}

static void serve_renew(struct node *n, uint32_t conn, const struct serve_connect *q) {
    struct conn *c = node_conn(n, conn);
    n->stats.revalidated++;
    uint8_t passwd[16];
    uint32_t s = session_find(&n->db.sessions, q->session);
    /* stock: the old connection is closed before the password is looked at */
    if (s != SESSION_NONE && n->db.sessions.slots[s].conn != SESSION_NONE)
        serve_close(n, n->db.sessions.slots[s].conn);
    sum_session_passwd(q->session, passwd);
    bool valid = slice_eq(q->passwd, slice_of(passwd, sizeof passwd));
    c->session = q->session;
    c->phase = CONN_WAITING;
    if (valid && role_learns(n)) {
        role_revalidate(n, conn, q->session);
        return;
    }
    serve_renewed(n, conn, valid && s != SESSION_NONE && !n->db.sessions.slots[s].closing);
}

ZK_PRIVATE void serve_renewed(struct node *n, uint32_t conn, bool valid) {
    struct conn *c = node_conn(n, conn);
    if (!valid) {
        reply_connect(n, conn, false);
        serve_close(n, conn);
        return;
    }
    /* A learner may not have heard of the session yet. */
    uint32_t s = session_add(&n->db.sessions, c->session, c->timeout);
    uint32_t other = n->db.sessions.slots[s].conn; /* two may have asked at the same time */
    if (other != CONN_NONE && other != conn) serve_close(n, other);
    c->session_slot = s;
    c->phase = CONN_OPEN;
    n->db.sessions.slots[s].conn = conn;
    n->db.sessions.slots[s].owner = role_self_owner(n);
    serve_touch(n, s, c->timeout);
    reply_connect(n, conn, true);
    pipeline_barrier(n, conn); /* the session's own writes may still be under way */
    if (buf_len(&c->in)) node_conn_ready(n, conn);
}

ZK_PRIVATE void serve_session_created(struct node *n, uint32_t conn) {
    node_conn(n, conn)->phase = CONN_OPEN;
    reply_connect(n, conn, true);
}

/* A bucket of tokens, and a refusal at random that grows while it is empty. stock: BlueThrottle */
static bool serve_throttle(struct node *n, bool renewal) {
    const struct config *c = n->cfg;
    int64_t weight = c->connection_throttle_weighted ? c->connection_throttle_global_weight : 1;
    int64_t most = c->connection_throttle_tokens * weight, need = weight;
    if (most <= 0) return true;
    if (renewal && c->connection_throttle_weighted) need = c->connection_throttle_renew_weight;
    int64_t fill = c->connection_throttle_fill_ms > 0 ? c->connection_throttle_fill_ms : 1;
    int64_t since = n->now - n->throttle.filled;
    if (since > fill) {
        int64_t more = since * c->connection_throttle_fill_count * weight / fill;
        n->throttle.tokens = n->throttle.tokens + more < most ? n->throttle.tokens + more : most;
        n->throttle.filled = n->now;
    }
    if (c->connection_throttle_freeze_ms >= 0) {
        double ratio = (double)(most - n->throttle.tokens) / (double)most;
        if (n->now - n->throttle.frozen > c->connection_throttle_freeze_ms) {
            if (n->throttle.tokens == 0)
                n->throttle.drop += c->connection_throttle_drop_increase;
            else if (ratio <= c->connection_throttle_decrease_ratio)
                n->throttle.drop -= c->connection_throttle_drop_decrease;
            if (n->throttle.drop > 1) n->throttle.drop = 1;
            if (n->throttle.drop < 0) n->throttle.drop = 0;
            n->throttle.frozen = n->now;
        }
        if ((double)prng_below(&n->rng, 1u << 20) / (1u << 20) < n->throttle.drop) return false;
    }
    if (n->throttle.tokens < need) return false;
    n->throttle.tokens -= need;
    return true;
}

static void serve_connect(struct node *n, uint32_t conn, struct slice frame) {
    struct conn *c = node_conn(n, conn);
    struct serve_connect q;
    n->stats.connection_requests++;
    if (!n->serving || !serve_read_connect(c, frame, &q)) {
        serve_close(n, conn);
        return;
    }
    if (!serve_throttle(n, q.session != 0)) {
        n->stats.connections_rejected++;
        serve_close(n, conn);
        return;
    }
    if (q.last_zxid > n->db.last_zxid) {
        log_line(&n->log, LOG_INFO_LEVEL,
                 "Refusing session(0x%llx) request: it has seen zxid 0x%llx, our last zxid is "
                 "0x%llx; client must try another server",
                 (unsigned long long)q.session, (unsigned long long)q.last_zxid,
                 (unsigned long long)n->db.last_zxid);
        serve_close(n, conn);
        return;
    }
    c->timeout = q.timeout < n->min_timeout ? n->min_timeout : q.timeout;
    if (c->timeout > n->max_timeout) c->timeout = n->max_timeout;
    char ip[ACL_IP_TEXT];
    acl_ip_format(ip, c->addr.ip, c->addr.ip_len);
    auth_add(&c->auth, "ip", slice_str(ip));
    if (q.session)
        serve_renew(n, conn, &q);
    else
        serve_new_session(n, conn);
}

/* --- requests --- */

static void serve_auth(struct node *n, uint32_t conn, int32_t xid, struct slice body) {
    struct conn *c = node_conn(n, conn);
    struct jr r = jr_open(body, n->max_string);
    (void)jr_i32(&r);
    struct slice scheme = jr_bytes(&r), data = jr_bytes(&r);
    if (r.bad) {
        serve_close(n, conn);
        return;
    }
    char ip[ACL_IP_TEXT];
    acl_ip_format(ip, c->addr.ip, c->addr.ip_len);
    int err = auth_request(&c->auth, &n->auth_cfg, scheme, data, ip);
    reply_error(n, conn, xid, 0, err);
    reply_count(n, conn, xid, 0, 0, n->now);
    if (!err) return;
    n->stats.auth_failed++;
    serve_close(n, conn);
}

/* No login is configured, which stock answers with a null token. */
static void serve_sasl(struct node *n, uint32_t conn, int32_t xid, struct slice body) {
    struct jr r = jr_open(body, n->max_string);
    struct slice token = jr_bytes(&r);
    if (r.bad || !token.p) {
        serve_close(n, conn);
        return;
    }
    struct buf *out = node_conn_out(n, conn);
    size_t at = reply_begin(out);
    jw_i32(out, -1);
    reply_end(n, conn, at, xid, 0, 0);
    reply_count(n, conn, xid, 0, 0, n->now);
}

static bool serve_authenticated(const struct node *n, const struct conn *c) {
    const char *p = n->cfg->enforce_auth_schemes;
    if (!n->cfg->enforce_auth) return true;
    while (p && *p) {
        size_t len = strcspn(p, ",");
        struct slice scheme = slice_of(p, len);
        while (scheme.n && *scheme.p == ' ') scheme = slice_of(scheme.p + 1, scheme.n - 1);
        while (scheme.n && scheme.p[scheme.n - 1] == ' ') scheme.n--;
        if (auth_has_scheme(&c->auth, scheme)) return true;
        p += len + (p[len] == ',');
    }
    return false;
}

static void serve_refuse(struct node *n, uint32_t conn, int32_t xid, int64_t zxid, int32_t err) {
    reply_error(n, conn, xid, zxid, err);
    serve_close(n, conn);
}

/* Keeps a read until the writes before it have been answered. */
static void serve_defer(struct node *n, struct conn *c, struct slice frame) {
    node_buf_take(n, &c->deferred);
    buf_compact(&c->deferred);
    uint8_t *p = buf_grow(&c->deferred, frame.n + 8);
    c->n_deferred++;
    put_be32(p, c->submitted);
    put_be32(p + 4, (uint32_t)frame.n);
    memcpy(p + 8, frame.p, frame.n);
}

/* Writes, and in an ensemble the sync too, get their place in the order of all servers. */
static bool serve_ordered(const struct node *n, int32_t op) {
    return (wire_op_flags(op) & OP_WRITE) != 0 ||
           (op == ZOP_SYNC && n->role.phase != ROLE_ALONE);
}

/* A request whose turn has come. Takes what it cost from the budget. */
static void serve_now(struct node *n, uint32_t conn, int32_t xid, int32_t op, struct slice body) {
    const struct conn *c = node_conn(n, conn);
    int flags = wire_op_flags(op);
    size_t before = buf_len(&c->out);
    n->work = 0;
    if (!serve_authenticated(n, c)) {
        serve_refuse(n, conn, xid, 0, ZERR_SESSIONCLOSEDREQUIRESASLAUTH);
    } else if (!(flags & OP_CLIENT)) {
        serve_refuse(n, conn, xid, -1, ZERR_UNIMPLEMENTED);
    } else if (serve_ordered(n, op)) {
        struct pipeline_request q = {.conn = conn, .xid = xid, .op = op, .session = c->session,
                                     .body = body};
        pipeline_submit(n, &q);
    } else {
        reads_serve(n, conn, xid, op, body);
    }
    size_t after = buf_len(&node_conn(n, conn)->out);
    size_t bytes = (after > before ? after - before : 0) + body.n;
    n->budget -= 1 + (int64_t)(bytes / SERVE_BYTES_A_UNIT + n->work / SERVE_WORK_A_UNIT);
}

/*
 * The gate: whether a connection may be served now. When it may not, one of three things will call
 * serve_run() again: its writes are answered (pipeline), its output has been sent (node_conn_sent),
 * or its turn comes round (serve_turn, after the budget ran out).
 */
static bool serve_may(struct node *n, uint32_t conn) {
    const struct conn *c = node_conn(n, conn);
    if (c->phase != CONN_NEW && c->phase != CONN_OPEN) return false;
    if (buf_len(&c->out) >= NODE_OUT_PAUSE) return false;
    if (n->budget > 0) return true;
    node_conn_ready(n, conn);
    return false;
}

/* False: the frame has to wait as it is. */
static bool serve_request(struct node *n, uint32_t conn, struct slice frame) {
    struct conn *c = node_conn(n, conn);
    struct jr r = jr_open(frame, n->max_string);
    int32_t xid = jr_i32(&r), op = jr_i32(&r);
    if (r.bad) {
        serve_close(n, conn);
        return true;
    }
    struct slice body = slice_of(r.p, (size_t)(r.end - r.p));
    int flags = wire_op_flags(op);
    bool behind = node_conn_pending(c) || buf_len(&c->deferred);
    bool crowded = xid > 0 && n->pend_n + n->role.wait_n >
                                  (uint32_t)n->cfg->global_outstanding_limit;
    bool full = buf_len(&c->deferred) + frame.n > SERVE_IN_PAUSE;
    /* Reads that a write has passed are served when that is applied, see serve_due(). */
    bool deep = serve_ordered(n, op) && c->n_deferred > SERVE_PASSED_MAX;
    /* What may change what the connection is allowed to do keeps its place among its requests. */
    bool barrier = !(flags & OP_CLIENT) || op == ZOP_AUTH || op == ZOP_SASL ||
                   !serve_authenticated(n, c);
    if (behind && (crowded || full || deep || barrier)) return false;
    c->received++;
    n->stats.received++;
    if (op == ZOP_AUTH) {
        serve_auth(n, conn, xid, body);
        return true;
    }
    if (op == ZOP_SASL) {
        serve_sasl(n, conn, xid, body);
        return true;
    }
    serve_touch(n, c->session_slot, c->timeout);
    if (behind && !serve_ordered(n, op))
        serve_defer(n, c, frame);
    else
        serve_now(n, conn, xid, op, body);
    return true;
}

/* Reads that waited for writes which are answered now; `due`: without looking at the gate. */
static void serve_deferred(struct node *n, uint32_t conn, bool due) {
    while (buf_len(&node_conn(n, conn)->deferred) && (due || serve_may(n, conn))) {
        const struct conn *c = node_conn(n, conn);
        const uint8_t *p = c->deferred.p + c->deferred.head;
        size_t len = be32(p + 4);
        if ((int32_t)(c->completed - be32(p)) < 0) return;
        struct slice body = slice_of(p + 16, len - 8);
        serve_now(n, conn, (int32_t)be32(p + 8), (int32_t)be32(p + 12), body);
        if (node_conn(n, conn)->phase == CONN_CLOSING) return; /* nothing is kept any more */
        buf_consume(&node_conn(n, conn)->deferred, len + 8);
        node_conn(n, conn)->n_deferred--;
    }
    if (!buf_len(&node_conn(n, conn)->deferred)) node_buf_give(n, &node_conn(n, conn)->deferred);
}

/* --- frames --- */

/* A first word that is a command: answered, then closed. */
static void serve_word(struct node *n, uint32_t conn, struct slice in) {
    node_conn(n, conn)->received++;
    n->stats.received++;
    ops_answer(n, conn, in);
    serve_close(n, conn);
}

/* Whether a frame of this length may be taken in; large ones share a budget. */
static bool serve_length_ok(struct node *n, const struct conn *c, uint32_t len) {
    int32_t threshold = n->cfg->large_request_threshold;
    if (c->phase == CONN_NEW) return len <= SERVE_CONNECT_MAX;
    if (len > n->max_frame) return false;
    if (threshold <= 0 || len <= (uint32_t)threshold) return true;
    if (len <= n->cfg->large_request_max_bytes - n->large_in_flight) return true;
    n->stats.large_rejected++;
    return false;
}

/* Serves complete frames from the front of `in`; returns how much of it is done with. */
static size_t serve_frames(struct node *n, uint32_t conn, struct slice in) {
    size_t at = 0;
    for (;;) {
        struct conn *c = node_conn(n, conn);
        size_t left = in.n - at;
        if (left < 4 || !serve_may(n, conn)) break;
        const uint8_t *p = in.p + at;
        if (c->phase == CONN_NEW && ops_is_word(slice_of(p, left))) {
            serve_word(n, conn, slice_of(p, left));
            break;
        }
        uint32_t len = be32(p);
        if (!n->serving || !serve_length_ok(n, c, len)) {
            if (n->serving)
                log_line(&n->log, LOG_WARN_LEVEL, "Len error. A message with advertised length "
                         "of %d is either a malformed message or too large", (int32_t)len);
            serve_close(n, conn);
            break;
        }
        if (left - 4 < len) break;
        struct slice frame = slice_of(p + 4, len);
        n->stats.bytes_received += (int64_t)len + 4;
        if (c->phase == CONN_NEW) {
            c->received++;
            n->stats.received++;
            serve_connect(n, conn, frame);
        } else if (!serve_request(n, conn, frame)) {
            n->stats.bytes_received -= (int64_t)len + 4; /* it will be looked at again */
            break;
        }
        at += len + (size_t)4;
    }
    return at;
}

/* After serving: what is left waits in the connection, and reading stops while too much does. */
static void serve_settle(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    if (c->phase == CONN_CLOSING) return;
    size_t left = buf_len(&c->in);
    if (!left && c->in.cap) buf_free(&c->in);
    bool whole = left >= 4 && left - 4 >= be32(c->in.p + c->in.head); /* not just half a frame */
    bool pause = whole && left > SERVE_IN_PAUSE;
    if (pause == c->paused) return;
    c->paused = pause;
    node_output(n, pause ? NODE_READ_PAUSE : NODE_READ_RESUME)->conn = conn;
}

ZK_PRIVATE void serve_due(struct node *n, uint32_t conn) {
    const struct conn *c = node_conn(n, conn);
    if (c->phase == CONN_OPEN && c->n_deferred) serve_deferred(n, conn, true);
}

ZK_PRIVATE void serve_run(struct node *n, uint32_t conn) {
    struct conn *c = node_conn(n, conn);
    n->budget = SERVE_BUDGET;
    serve_deferred(n, conn, false);
    if (buf_len(&c->in)) {
        struct buf in = c->in; /* serving may close the connection, which frees its buffer */
        memset(&c->in, 0, sizeof c->in);
        buf_consume(&in, serve_frames(n, conn, buf_slice(&in)));
        c = node_conn(n, conn);
        if (c->phase == CONN_CLOSING)
            buf_free(&in);
        else
            c->in = in;
    }
    serve_settle(n, conn);
}

ZK_PRIVATE void serve_bytes(struct node *n, uint32_t conn, struct slice bytes) {
    struct conn *c = node_conn(n, conn);
    c->last_io = n->now;
    if (c->phase == CONN_CLOSING) return;
    /* What waits for the disk waits for us, not for the client: the session is alive. */
    if (c->session_slot != SESSION_NONE && node_conn_pending(c))
        serve_touch(n, c->session_slot, c->timeout);
    if (buf_len(&c->in)) {
        buf_compact(&c->in);
        buf_put(&c->in, bytes.p, bytes.n);
        serve_run(n, conn);
        return;
    }
    n->budget = SERVE_BUDGET;
    size_t used = serve_frames(n, conn, bytes);
    c = node_conn(n, conn);
    if (used < bytes.n && c->phase != CONN_CLOSING)
        buf_put(&c->in, bytes.p + used, bytes.n - used);
    serve_settle(n, conn);
}

ZK_PRIVATE bool serve_turn(struct node *n) {
    struct buf now = n->ready;
    memset(&n->ready, 0, sizeof n->ready);
    for (size_t at = 0; at < now.n; at += sizeof(uint32_t)) {
        uint32_t conn;
        memcpy(&conn, now.p + at, sizeof conn);
        n->conns[conn].ready = false;
        if (n->conns[conn].phase != CONN_FREE) serve_run(n, conn);
    }
    buf_free(&now);
    return n->ready.n != 0;
}

/* Peers that never ask for a session, and closed ones that do not read what they are told. */
ZK_PRIVATE void serve_idle(struct node *n) {
    for (uint32_t i = 0; i < n->n_conns; i++) {
        struct conn *c = &n->conns[i];
        if (c->phase != CONN_NEW && c->phase != CONN_CLOSING) continue;
        if (n->now - c->phase_since < n->cfg->sessionless_timeout_ms) continue;
        if (c->phase == CONN_CLOSING) {
            node_output(n, NODE_ABORT)->conn = i;
        } else {
            n->stats.sessionless_expired++;
            serve_close(n, i);
        }
    }
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== node/node.c ==== */



#define NODE_IDLE_CHECK_MS 1000

ZK_PRIVATE void node_start(struct node *n, bool snapshot) {
    node_prepare(n);
    n->appended = n->synced = n->db.last_zxid;
    n->loaded = true;
    n->serving = n->role.phase == ROLE_ALONE;
    n->roll_next = true; /* a start never appends to an old file */
    session_touch_all(&n->db.sessions, n->now);
    /* stock: SessionTrackerImpl.initializeNextSessionId; wall clock, so that no reboot repeats */
    uint64_t sid = n->role.phase == ROLE_ALONE ? 1 : (uint64_t)n->role.self;
    n->next_session = (int64_t)(((uint64_t)n->wall << 24 >> 8) | sid << 56);
    n->reap_next = n->now + n->cfg->container_check_interval_ms;
    n->throttle.tokens = n->cfg->connection_throttle_tokens;
    if (n->cfg->connection_throttle_weighted)
        n->throttle.tokens *= n->cfg->connection_throttle_global_weight;
    n->throttle.filled = n->throttle.frozen = n->now;
    pipeline_draw_roll(n);
    if (n->role.phase != ROLE_ALONE)
        role_start(n); /* becoming part of an ensemble costs no snapshot */
    else if (snapshot)
        pipeline_snapshot_begin(n);
}

ZK_PRIVATE void node_epochs(struct node *n, int64_t accepted, int64_t current) {
    n->role.accepted = accepted;
    n->role.current = current;
}

ZK_PRIVATE uint32_t node_link_accept(struct node *n, enum link_kind kind, int64_t now,
                                     int64_t wall) {
    n->now = now;
    n->wall = wall;
    return n->loaded ? role_link_accept(n, kind) : LINK_NONE;
}

ZK_PRIVATE const struct link *node_link(struct node *n, uint32_t link) {
    return link_at(&n->role.links, link);
}

ZK_PRIVATE bool node_link_wants(const struct node *n, uint32_t link) {
    return link_wants(&n->role.links, link);
}

ZK_PRIVATE void node_link_sent(struct node *n, uint32_t link, size_t bytes) {
    link_sent(&n->role.links, link, bytes);
}

/* --- what time brings --- */

static void node_expire(struct node *n) {
    struct session_table *t = &n->db.sessions;
    for (uint32_t s; (s = session_expired(t, n->now)) != SESSION_NONE;) {
        struct session *e = &t->slots[s];
        if (e->closing) continue; /* only its transaction has not been applied yet */
        const struct conn *c = e->conn == CONN_NONE ? NULL : &n->conns[e->conn];
        if (c && buf_len(&c->in) && node_conn_pending(c)) {
            session_touch(t, s, n->now, c->timeout); /* it waits for us, not we for it */
            continue;
        }
        n->stats.sessions_expired++;
        log_line(&n->log, LOG_INFO_LEVEL, "Expiring session 0x%llx, timeout of %dms exceeded",
                 (unsigned long long)e->id, e->timeout);
        pipeline_close_session(n, e->id);
    }
}

/* Whether a childless container or TTL node has outlived its purpose. stock: ContainerManager */
static bool node_reapable(const struct node *n, const struct tree_node *z, bool ttl) {
    if (z->children) return false;
    int64_t unused = n->wall - z->stat.mtime, never = n->cfg->container_max_never_used_ms;
    if (ttl) return unused > tree_ttl_ms(z->stat.owner);
    return z->stat.cversion > 0 || (never != 0 && unused > never);
}

static void node_reap_set(struct node *n, const struct idset *set, bool ttl) {
    struct buf paths = {0};
    uint32_t pos = 0, id;
    int64_t most = n->cfg->container_max_per_minute > 0 ? n->cfg->container_max_per_minute : 1;
    while (most > 0 && idset_next(set, &pos, &id)) {
        if (!node_reapable(n, tree_node(&n->db.tree, id), ttl)) continue;
        most--;
        size_t at = paths.n;
        jw_i32(&paths, 0);
        tree_put_path(&n->db.tree, id, &paths);
        put_be32(paths.p + at, (uint32_t)(paths.n - at - 4));
    }
    for (size_t at = 0; at < paths.n;) {
        size_t len = be32(paths.p + at) + (size_t)4;
        struct pipeline_request q = {.conn = CONN_NONE, .op = ZOP_DELETE_CONTAINER,
                                     .body = slice_of(paths.p + at, len), .internal = true};
        pipeline_submit(n, &q);
        at += len;
    }
    buf_free(&paths);
}

static void node_reap(struct node *n) {
    if (n->now < n->reap_next) return;
    int64_t every = n->cfg->container_check_interval_ms;
    n->reap_next = n->now + (every > 0 ? every : 1);
    node_reap_set(n, &n->db.tree.containers, false);
    node_reap_set(n, &n->db.tree.ttls, true);
}

static void node_tick(struct node *n) {
    if (n->loaded && role_decides(n)) {
        node_expire(n);
        node_reap(n);
    }
    role_tick(n);
    serve_idle(n);
}

ZK_PRIVATE int64_t node_next_tick(const struct node *n) {
    int64_t next = n->now + NODE_IDLE_CHECK_MS, role = role_next_tick(n);
    if (role < next) next = role;
    if (!n->loaded || !role_decides(n)) return next;
    if (n->db.sessions.next_due < next) next = n->db.sessions.next_due;
    if (n->reap_next < next) next = n->reap_next;
    return next;
}

/* --- inputs --- */

static void node_snapshot_done(struct node *n) {
    n->snap.active = false;
    n->stats.snapshots++;
    metrics_add(&n->metrics.snapshot_ms, n->now - n->snap.started);
    n->last_snapshot_zxid = n->snap.zxid;
    n->last_snapshot_wall = n->wall;
    log_line(&n->log, LOG_INFO_LEVEL, "Snapshot taken in %lld ms",
             (long long)(n->now - n->snap.started));
}

/* The log has everything that the snapshot would have had: the next one will do. */
static void node_snapshot_failed(struct node *n) {
    if (n->snap.active && !n->snap.finishing) tree_image_abort(&n->db.tree);
    n->snap.active = false;
    n->stats.snapshots_failed++;
}

ZK_PRIVATE uint32_t node_accept(struct node *n, const struct net_addr *addr, int64_t now,
                                int64_t wall) {
    n->now = now;
    n->wall = wall;
    return serve_open(n, addr);
}

ZK_PRIVATE void node_step(struct node *n, const struct node_input *in) {
    n->now = in->now;
    n->wall = in->wall;
    switch (in->kind) {
    case NODE_TICK:
        node_tick(n);
        break;
    case NODE_CONN_BYTES:
        serve_bytes(n, in->conn, in->bytes);
        break;
    case NODE_CONN_CLOSED:
        serve_lost(n, in->conn);
        break;
    case NODE_LOG_SYNCED:
        pipeline_synced(n, in->zxid);
        break;
    case NODE_SNAPSHOT_ROOM:
        n->snap.blocked = false;
        break;
    case NODE_SNAPSHOT_DONE:
        node_snapshot_done(n);
        role_snapshot_over(n, false);
        break;
    case NODE_SNAPSHOT_FAILED:
        node_snapshot_failed(n);
        role_snapshot_over(n, true);
        break;
    case NODE_LINK_OPENED:
        role_link_opened(n, in->link);
        break;
    case NODE_LINK_BYTES:
        role_link_bytes(n, in->link, in->bytes);
        break;
    case NODE_LINK_CLOSED:
        role_link_closed(n, in->link);
        break;
    case NODE_LISTEN_FAILED:
        role_listen_failed(n);
        break;
    case NODE_EPOCH_SAVED:
        role_epoch_saved(n);
        break;
    case NODE_LOG_READ:
        role_log_read(n, in->bytes);
        break;
    case NODE_LOADED:
        role_loaded(n, in->db);
        break;
    }
    role_settle(n);
    pipeline_flush(n);
}

ZK_PRIVATE bool node_idle_work(struct node *n) {
    bool turn = serve_turn(n), image = role_idle_work(n);
    role_settle(n); /* what was served has to leave for the leader or the learners */
    pipeline_flush(n);
    return pipeline_snapshot_step(n) || turn || image;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_CLIENT
/* ==== client/hosts.h ==== */

/*
 * client/hosts: the servers of a connect string, and which of them to try next.
 *
 * Each server is tried once before any pause; then the pauses grow, with a random part, so that
 * many clients that lost the same server do not come back in step. A new list moves clients by
 * chance such that all servers end up with the same load.
 * stock: ConnectStringParser, StaticHostProvider.
 */
#ifndef ZK_CLIENT_HOSTS_H
#define ZK_CLIENT_HOSTS_H


#define HOSTS_NAME 256
#define HOSTS_PORT 2181
#define HOSTS_PAUSE_MIN_MS 20
#define HOSTS_PAUSE_MAX_MS 5000

struct host {
    char name[HOSTS_NAME]; /* or an address, without brackets */
    uint16_t port;
    bool fresh; /* was not in the list before this one */
    bool tried; /* since `moving` began */
};

struct hosts {
    struct host *at; /* owned */
    uint32_t n, next;
    uint32_t current;     /* the one tried last; n: none */
    uint32_t failures;    /* since a connection stood */
    bool moving;          /* to spread over a new list: fresh ones with chance p_fresh */
    uint32_t p_fresh;     /* of 1,000,000 */
};

/* Reads "host[:port],..." and, if chroot is not NULL, "/chroot" behind it, which then is the rest
 * of the text, or "". ZK_OK, ZK_BAD_ARGUMENTS or ZK_OUT_OF_MEMORY; on error h is empty. */
ZK_PRIVATE int hosts_parse(struct hosts *h, const char *text, const char **chroot);
ZK_PRIVATE void hosts_free(struct hosts *h);
ZK_PRIVATE void hosts_shuffle(struct hosts *h, struct prng *r);

/* Replaces the list. True: leave the current server. */
ZK_PRIVATE bool hosts_replace(struct hosts *h, struct hosts *by, bool connected, struct prng *r);

/* The server to try now. */
ZK_PRIVATE const struct host *hosts_next(struct hosts *h, struct prng *r);
/* How long to wait before that, ms. */
ZK_PRIVATE uint32_t hosts_pause(const struct hosts *h, uint32_t max_ms, struct prng *r);
ZK_PRIVATE void hosts_failed(struct hosts *h);
ZK_PRIVATE void hosts_worked(struct hosts *h);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/watches.h ==== */

/*
 * client/watches: who wants to be told of what, by the path on the server.
 *
 * One table of paths; at each path its watchers, each with the kinds of watch it holds there. The
 * same function and user at one path is one watcher, whatever it was set by and however often, and
 * is told of an event once. Paths are those of the server, chroot included.
 *   DATA, EXIST, CHILD   one-shot: set by reads, gone with the event
 *   PERSISTENT           stays; the node itself and its children's coming and going
 *   RECURSIVE            stays; the node and everything below it
 * stock: ZKWatchManager.
 */
#ifndef ZK_CLIENT_WATCHES_H
#define ZK_CLIENT_WATCHES_H


enum watch_bit {
    WATCH_BIT_DATA = 1,
    WATCH_BIT_EXIST = 2,
    WATCH_BIT_CHILD = 4,
    WATCH_BIT_PERSISTENT = 8,
    WATCH_BIT_RECURSIVE = 16
};

struct watcher {
    struct watcher *next;
    zk_watch_fn fn;
    void *user;
    uint8_t bits; /* enum watch_bit */
    bool inside;  /* called at once rather than posted */
};

struct watched {
    struct watched *next; /* of the same bucket */
    struct watcher *first; /* owned */
    uint32_t hash, path_len;
    char path[]; /* with a NUL */
};

struct watches {
    struct watched **buckets; /* owned */
    uint32_t cap, n;          /* cap: a power of two or 0; n: paths */
    uint32_t watchers;
    uint32_t recursive; /* watchers with that bit: none, and no ancestor is looked at */
    uint64_t seed;      /* of the hashes */
};

ZK_PRIVATE void watches_free(struct watches *w);
/* False: no memory. */
ZK_PRIVATE bool watches_add(struct watches *w, struct slice path, const struct watcher *what);

/* Calls fn(user, watcher, bits) for each that is to be told of an event, and takes away the bits
 * that are used up by it. fn may refuse (no memory): then the rest stays, and the result is false.
 * fn may add and remove watches. */
typedef bool (*watches_fn)(void *user, const struct watcher *who);
ZK_PRIVATE bool watches_fire(struct watches *w, enum zk_event_type type, struct slice path,
                             watches_fn fn, void *user);

/* The bits that removing this kind takes from a watcher. */
ZK_PRIVATE uint8_t watches_bits(enum zk_watch_kind kind);
/* Whether fn and user (fn NULL: anybody) hold one of the bits at path, and whether others do. */
ZK_PRIVATE bool watches_held(const struct watches *w, struct slice path, uint8_t bits,
                             zk_watch_fn fn, void *user, bool *by_others);
/* Takes the bits away; calls told for each watcher that lost some, with those in its `bits`. */
ZK_PRIVATE void watches_remove(struct watches *w, struct slice path, uint8_t bits, zk_watch_fn fn,
                               void *user, watches_fn told, void *told_user);
/* Everywhere, whoever holds them inside or not; nobody is told. */
ZK_PRIVATE void watches_forget(struct watches *w, zk_watch_fn fn, void *user);

/* The bits of all watchers of a path. */
ZK_PRIVATE uint8_t watches_bits_of(const struct watched *at);
/* Goes through all paths: for (at = NULL; (at = watches_next(w, at, &bits));) */
ZK_PRIVATE const struct watched *watches_next(const struct watches *w, const struct watched *at,
                                              uint8_t *bits);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/codec.h ==== */

/*
 * client/codec: operations to request frames, reply frames to results.
 *
 * A result is one block of memory: the struct, its arrays, its strings. Everything in a reply comes
 * from a stranger: counts are checked against the bytes that are there before anything is got for
 * them. The chroot is put in front of paths here and taken off again here, nowhere else: at a
 * name's boundary only, in every place of a reply where stock has a path.
 */
#ifndef ZK_CLIENT_CODEC_H
#define ZK_CLIENT_CODEC_H


#define CODEC_CONFIG_PATH "/zookeeper/config"

/* ZK_OK, or why an operation cannot be sent: bad path, missing argument, larger than max. */
ZK_PRIVATE int codec_check(const struct zk_op *op, struct slice chroot, uint32_t max);

/* Appends the frame, with its length, to out, which has room for codec_bound bytes more. Only for
 * what codec_check liked. */
ZK_PRIVATE size_t codec_bound(const struct zk_op *op, struct slice chroot);
ZK_PRIVATE void codec_request(struct buf *out, const struct zk_op *op, int32_t xid,
                              struct slice chroot);

/* The path on the server. Appends to out, which has room for path and chroot. */
ZK_PRIVATE struct slice codec_path(struct buf *out, struct slice path, struct slice chroot);
/* What a path of the server is called under the chroot; as it is when it is not below it. */
ZK_PRIVATE struct slice codec_strip(struct slice path, struct slice chroot);

/*
 * The reply to an operation of this type, behind its header. NULL: no memory. A body that cannot be
 * read gives a result with ZK_MARSHALLING_ERROR. Free with mem_free.
 */
ZK_PRIVATE struct zk_result *codec_reply(enum zk_op_type type, int64_t zxid, int32_t error,
                                         struct slice body, struct slice chroot);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/session.h ==== */

/*
 * client/session: one client as a pure machine: a session, its connection, its requests.
 *
 * Answers to stock's ClientCnxn. The host feeds it the time, addresses, and what its one connection
 * brings; it answers with bytes to send (c->out), with orders to the host (client_take_order), and
 * with posts: calls of the user's functions, to be made outside of the machine, in order. Nothing
 * here blocks, reads a clock or knows of threads; whoever owns the machine uses it by one thread at
 * a time.
 *
 * Two ways to be told of a result or of a watch. CLIENT_POSTED, for users: through a post.
 * CLIENT_INSIDE, for recipes, which are machines on top of this one: called at once, from within;
 * such a function may call everything here except client_free.
 *
 * A connection:
 *   RESTING -> RESOLVING -> DIALING -> GREETING -> UP -> RESTING ...   (a failure goes to RESTING)
 *   until the session is over: expired, refused an identity, or closed.
 * Requests wait in `waiting`, in the form they will be sent in, until the connection is UP, and in
 * `sent` for their replies, which come in the same order. A connection that breaks fails what was
 * sent and keeps what waits.
 *
 * Memory that cannot be had is an error of the one request, or breaks the connection; the machine
 * goes on. Limits: CLIENT_WAITING_MAX requests, CLIENT_OUT_MAX bytes not sent, replies of
 * max_packet.
 */
#ifndef ZK_CLIENT_SESSION_H
#define ZK_CLIENT_SESSION_H


#define CLIENT_WAITING_MAX (1u << 20)
#define CLIENT_OUT_MAX (64u << 20)

struct client;

/* --- what recipes use --- */

enum client_way {
    CLIENT_POSTED,
    CLIENT_INSIDE,
    CLIENT_CALL /* done from within, op->watch through posts */
};

/*
 * Begins an operation, as zk_submit does (same results). way holds for done and for op->watch.
 * done is never called before client_submit has returned.
 */
ZK_PRIVATE int64_t client_submit(struct client *c, const struct zk_op *op, enum client_way way,
                                 zk_result_fn done, void *user);
/* Forgets it: done is not called any more, nor posted. False: it was over. */
ZK_PRIVATE bool client_forget(struct client *c, int64_t id);
/* Forgets a watch that was set from inside, without a word to the server. */
ZK_PRIVATE void client_unwatch(struct client *c, zk_watch_fn fn, void *user);

/* A timer; owned by who sets it, zero-initialised. fn is called from within. */
struct client_timer {
    struct client_timer *next, **link; /* the machine's; link NULL: not set */
    int64_t at;                        /* ms of client_now */
    void (*fn)(void *user);
    void *user;
};
ZK_PRIVATE void client_timer_set(struct client *c, struct client_timer *t, int64_t at);
ZK_PRIVATE void client_timer_stop(struct client *c, struct client_timer *t);

/* Somebody who is told each change of state, from within; owned by him. */
struct client_observer {
    struct client_observer *next, **link; /* the machine's */
    void (*fn)(void *user, enum zk_state state, int64_t session_id);
    void *user;
};
ZK_PRIVATE void client_observe(struct client *c, struct client_observer *o);
ZK_PRIVATE void client_unobserve(struct client *c, struct client_observer *o);

/*
 * A call of a user's function, made later, outside of the machine. Owned by the machine once
 * posted: it is ended by exactly one of run (which calls the user) and drop; both free it.
 */
struct client_post {
    struct client_post *next;
    const void *owner; /* for client_unpost; may be NULL */
    void (*run)(struct client_post *p);
    void (*drop)(struct client_post *p);
};
ZK_PRIVATE void client_post(struct client *c, struct client_post *p);
ZK_PRIVATE void client_unpost(struct client *c, const void *owner); /* drops what still waits */

ZK_PRIVATE int64_t client_now(const struct client *c); /* monotonic ms, of the latest input */
ZK_PRIVATE uint64_t client_random(struct client *c);
ZK_PRIVATE enum zk_state client_state(const struct client *c);
ZK_PRIVATE int64_t client_session_id(const struct client *c);
ZK_PRIVATE bool client_is_up(const struct client *c); /* connected, to a server that can write */

/* --- what the host and the public functions use --- */

struct client_setup {
    struct hosts hosts;  /* taken over */
    const char *chroot; /* copied; "" or a valid path */
    const struct zk_options *options; /* the rest of it; borrowed until client_new returns */
    uint64_t seed;
    int64_t now; /* monotonic ms, as in all inputs */
};
ZK_PRIVATE int client_new(struct client **out, struct client_setup *setup);
/* Drops posts, requests and watches without a word to anybody. */
ZK_PRIVATE void client_free(struct client *c);

/* Inputs. Each is followed by a look at orders, output and posts. */
ZK_PRIVATE void client_clock(struct client *c, int64_t now); /* just what time it is */
ZK_PRIVATE void client_tick(struct client *c, int64_t now);  /* and does what is due */
ZK_PRIVATE void client_resolved(struct client *c, const struct net_addr *at, int n);
ZK_PRIVATE void client_dialed(struct client *c, bool stands);
ZK_PRIVATE void client_received(struct client *c, struct slice bytes);
ZK_PRIVATE void client_broken(struct client *c, const char *why);
ZK_PRIVATE void client_probed(struct client *c, bool can_write);

/* Orders, to be carried out in turn. */
enum client_order_kind {
    CLIENT_RESOLVE = 1, /* name: answer with client_resolved */
    CLIENT_DIAL,        /* addr: answer with client_dialed, later with bytes or client_broken */
    CLIENT_HANG_UP,     /* whatever there is: no answer, and none to RESOLVE and DIAL before it */
    CLIENT_PROBE        /* name: on a connection of its own ask "isro"; answer with client_probed */
};
struct client_order {
    enum client_order_kind kind;
    char name[HOSTS_NAME];
    uint16_t port;
    struct net_addr addr;
};
ZK_PRIVATE bool client_take_order(struct client *c, struct client_order *out);

/* Output: bytes to send; the host consumes what it has sent and says so. */
ZK_PRIVATE struct buf *client_out(struct client *c);
ZK_PRIVATE void client_sent(struct client *c);
/* Whether it should be sent now: nothing is on its way whose reply would bring the next chance, or
 * it is much. */
ZK_PRIVATE bool client_should_send(const struct client *c);

ZK_PRIVATE int64_t client_next_at(const struct client *c); /* of the next tick; INT64_MAX: none */
ZK_PRIVATE struct client_post *client_take_post(struct client *c); /* the first; NULL: none */
ZK_PRIVATE bool client_has_posts(const struct client *c);
ZK_PRIVATE bool client_take_log(struct client *c, int *level, const char **text);

/* Within a CLIENT_INSIDE done: the result becomes the caller's. NULL: it has nothing of its own. */
ZK_PRIVATE struct zk_result *client_take_result(struct client *c);
/* Done with ZK_CANCELED, posted. */
ZK_PRIVATE int client_cancel(struct client *c, int64_t id);
/* Says goodbye to the server, if `politely` and connected; over when client_is_over. */
ZK_PRIVATE void client_close(struct client *c, bool politely);
/* Everything that is due fails with ZK_CLOSING now. */
ZK_PRIVATE void client_end(struct client *c);
ZK_PRIVATE bool client_is_over(const struct client *c);
ZK_PRIVATE int client_error(const struct client *c); /* why it is over; ZK_OK: it is not */

ZK_PRIVATE bool client_set_hosts(struct client *c, struct hosts *hosts);
ZK_PRIVATE const uint8_t *client_passwd(const struct client *c);
ZK_PRIVATE int client_timeout(const struct client *c);
ZK_PRIVATE int64_t client_last_zxid(const struct client *c);
ZK_PRIVATE bool client_connection_is_up(const struct client *c);
ZK_PRIVATE const struct net_addr *client_address(const struct client *c);
ZK_PRIVATE void client_counters(const struct client *c, struct zk_counters *out);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/recipe.h ==== */

/*
 * client/recipe: what every recipe is made of. All of it lives in the record of the recipe.
 *
 *   ask     one request that is repeated until it has an answer
 *   mkdirs  a path and what is missing above it, made as containers
 *   wish    what a caller of the recipe waits for, with its deadline
 *   notice  tells the user of changes of state
 *
 * A recipe runs within the client's machine (CLIENT_INSIDE) and calls its user through posts. None
 * of these functions calls back before it has returned.
 */
#ifndef ZK_CLIENT_RECIPE_H
#define ZK_CLIENT_RECIPE_H


/* --- text; NULL when there is no memory --- */

ZK_PRIVATE char *recipe_copy(const char *s, size_t n); /* a NUL follows */
ZK_PRIVATE char *recipe_join(const char *dir, const char *name); /* dir + "/" + name */
ZK_PRIVATE bool recipe_path_ok(const char *path); /* and not the root */
/* 32 hexadecimal digits from the client's random numbers, with the dashes of a UUID or without. */
#define RECIPE_GUID 36
ZK_PRIVATE void recipe_guid(struct client *c, bool dashes, char out[RECIPE_GUID + 1]);

/* What the nodes of a recipe are made with. */
struct recipe_node {
    void *data; /* owned; NULL when there is none */
    int data_len;
    struct zk_acl *acl; /* owned, one block with its strings; NULL: open */
    int acl_count;
};
ZK_PRIVATE int recipe_node_init(struct recipe_node *n, const void *data, int data_len,
                                const struct zk_acl *acl, int acl_count);
ZK_PRIVATE void recipe_node_free(struct recipe_node *n);
ZK_PRIVATE struct zk_op recipe_create(const struct recipe_node *n, const char *path,
                                      enum zk_create_mode mode);

/* --- sequential names --- */

/* The number behind the last marker in a name, which must be all that follows: ten digits, or a
 * minus and ten digits after the counter ran over. */
ZK_PRIVATE bool recipe_sequence(const char *name, const char *marker, int32_t *seq);

/* --- errors --- */

ZK_PRIVATE bool recipe_unknown(int error);   /* a write may or may not have been applied */
ZK_PRIVATE bool recipe_transient(int error); /* it is worth another try */

/* --- ask --- */

enum ask_kind {
    ASK_ALWAYS,  /* repeated after every error that may pass */
    ASK_SURELY,  /* repeated only when it certainly was not applied: the unknown is told */
    ASK_FOREVER  /* repeated also when there was no memory: of what cleans up */
};

struct ask_ticket;
struct ask {
    struct client *c;
    struct zk_op op; /* what it points to is borrowed until done is called */
    enum ask_kind kind;
    bool last; /* no further try: the next answer is told, whatever it is */
    zk_result_fn done;
    void *user;
    struct ask_ticket *ticket; /* of the request under way; it is freed with the request */
    struct client_timer timer; /* until the next try */
    unsigned tries;
    int refused; /* by the client itself: to be told when the timer fires */
};

/* done is called once. The operation has no timeout of its own, recipes have theirs. */
ZK_PRIVATE void ask_start(struct ask *a, struct client *c, struct zk_op op, enum ask_kind kind,
                          zk_result_fn done, void *user);
ZK_PRIVATE void ask_stop(struct ask *a); /* done is not called any more; fine when nothing runs */
ZK_PRIVATE bool ask_sent(const struct ask *a); /* the request is with the client: it may happen */
ZK_PRIVATE bool ask_busy(const struct ask *a); /* sent, or waiting for the next try */

/* --- mkdirs --- */

struct mkdirs {
    struct ask ask;
    const struct recipe_node *node; /* borrowed: its ACL */
    char *at;                       /* owned; cut off with a NUL at `end` */
    size_t n, end;
    bool plain; /* the server knows no containers */
    void (*done)(void *user, int error);
    void *user;
};

/* Makes the parent of path. done is called once. */
ZK_PRIVATE int mkdirs_start(struct mkdirs *m, struct client *c, const char *path,
                            const struct recipe_node *node, void (*done)(void *user, int error),
                            void *user);
ZK_PRIVATE void mkdirs_stop(struct mkdirs *m);

/* --- wish --- */

struct wish_post;
struct wish {
    struct client *c;
    bool open; /* somebody waits */
    int error; /* how the latest ended */
    struct client_timer timer;
    struct wish_post *post; /* owned; got at the beginning, so that the end cannot fail */
};

/*
 * ZK_OK, ZK_IN_USE or ZK_OUT_OF_MEMORY. late(user) is called at the deadline (timeout_ms < 0: none)
 * and has to end the wish. done NULL: a synchronous caller looks at `open`.
 */
ZK_PRIVATE int wish_begin(struct wish *w, struct client *c, const void *owner, int timeout_ms,
                          void (*late)(void *user), void *user, zk_done_fn done, void *done_user);
ZK_PRIVATE void wish_end(struct wish *w, int error); /* nothing when none is open */
ZK_PRIVATE void wish_stop(struct wish *w);           /* nobody is told */
ZK_PRIVATE bool wish_over(const void *wish);         /* for a synchronous caller */

/* --- notice --- */

struct notice {
    struct client *c;
    const void *owner;
    zk_hold_fn fn; /* NULL: nobody */
    void *user;
    enum zk_hold_state state; /* the latest */
    int64_t token;
    struct client_timer timer; /* there was no memory: to be told then */
};

ZK_PRIVATE void notice_init(struct notice *n, struct client *c, const void *owner, zk_hold_fn fn,
                            void *user);
ZK_PRIVATE void notice_tell(struct notice *n, enum zk_hold_state state, int64_t token);
ZK_PRIVATE void notice_stop(struct notice *n);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/protect.h ==== */

/*
 * client/protect: a node of this session's own that neither a lost reply nor a lost caller leaves
 * behind: created under a name that nobody else uses, searched for when it is not known whether it
 * was created, deleted until that is certain.
 *
 * Names: "_c_" + UUID + "-" + name + sequence, or 32 digits + name + sequence (kazoo).
 * stock: Curator's CreateBuilderImpl, ProtectedMode, FindAndDeleteProtectedNodeInBackground.
 *
 *   CREATING --created--> THERE        CREATING --reply lost--> SYNCING -> SEARCHING
 *   SEARCHING --not found--> CREATING  SEARCHING --found--> CHECKING --this session's--> THERE
 *                                      CHECKING --another's--> EVICTING -> CREATING, new name
 *   any --drop--> whatever is needed to know the node's name, then DELETING -> GONE
 * A node of a session that has ended goes with it: protect_expired is told and forgets it.
 *
 * The search comes after a sync: a server that lags behind could else not show what was created
 * through another one.
 */
#ifndef ZK_CLIENT_PROTECT_H
#define ZK_CLIENT_PROTECT_H


enum protect_state {
    PROTECT_IDLE,
    PROTECT_CREATING,
    PROTECT_PARENTS, /* they are missing and being made */
    PROTECT_SYNCING,
    PROTECT_SEARCHING,
    PROTECT_CHECKING,
    PROTECT_EVICTING,
    PROTECT_THERE,
    PROTECT_ASKING, /* was there; asking whether it still is */
    PROTECT_DELETING,
    PROTECT_GONE
};

enum protect_event {
    PROTECT_IS_THERE = 1, /* after a create, or when asked */
    PROTECT_IS_GONE,      /* when asked; or dropped, and nothing is left to do */
    PROTECT_FAILED        /* it could not be created; `error` says why */
};

struct protect {
    struct client *c;
    enum protect_state state;
    bool dropped;
    bool kazoo;
    enum zk_create_mode mode;
    const struct recipe_node *node; /* borrowed until dropped */
    char *dir, *name;               /* owned */
    char *wish;      /* owned: the path asked for, without its sequence */
    char *path;      /* owned: the path it got; got beforehand, so that no delete wants memory */
    size_t name_at;  /* where the last component of wish and path begins */
    int64_t czxid;   /* once it is there */
    int error;
    struct ask ask;
    struct mkdirs parents;
    void (*fn)(void *user, enum protect_event event);
    void *user;
};

/* node is borrowed until protect_drop. */
ZK_PRIVATE int protect_start(struct protect *p, struct client *c, const char *dir,
                             const char *name, bool kazoo, enum zk_create_mode mode,
                             const struct recipe_node *node,
                             void (*fn)(void *user, enum protect_event event), void *user);
/* The last component of its path. */
ZK_PRIVATE const char *protect_name(const struct protect *p);
/* Of one that is there: asks the server, fn is told. */
ZK_PRIVATE void protect_ask(struct protect *p);
/* Deletes it in the background; fn is told when that is over. True: it is over already, and fn is
 * not told. */
ZK_PRIVATE bool protect_drop(struct protect *p);
/* The session ended, or the handle was closed: nothing is left to do. */
ZK_PRIVATE void protect_stop(struct protect *p);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/line.h ==== */

/*
 * client/line: a place in a line of contenders, who are the sequential ephemeral children of one
 * node. Locks, leases and leadership are such lines.
 *
 * A line belongs to its recipe until it is left; then it owns itself: it deletes its node, takes
 * its watch off the server, and is freed when both are done or the session is over.
 *
 *   JOINING --node made--> LOOKING --nobody ahead--> FIRST
 *                          LOOKING --somebody ahead--> WAITING --he left--> LOOKING
 * Each waits for the one ahead of it only, so that one wakes when one leaves. Whoever wakes looks
 * again and assumes nothing. Order is that of the sequence as a signed number, then of the name;
 * children that are no contenders are passed over. With a number of leases it is instead whether
 * the contenders are more than those, and all changes of the children wake.
 * stock: Curator's LockInternals.
 */
#ifndef ZK_CLIENT_LINE_H
#define ZK_CLIENT_LINE_H


/* Who is who among the children; borrowed until the line is left. */
struct line_rule {
    const char *name;            /* of the own node, before its sequence */
    const char *const *blockers; /* names of those for whom to wait when they are ahead */
    int blocker_count;
    bool kazoo;     /* the form of the own name */
    bool ties_pass; /* whoever has the same sequence is not ahead */
    int leases;     /* 0: only the first gets it */
    const char *place; /* NULL, or digits: the sequence to take instead of a new one */
};

enum line_event {
    LINE_FIRST = 1, /* we have it; again after LINE_DOUBT, when that has turned out well */
    LINE_BEHIND,    /* somebody is ahead */
    LINE_DOUBT,     /* the connection broke */
    LINE_LATE,      /* so long ago that the server may have ended the session */
    LINE_GONE,      /* of one that was first: the node is gone, with its session or by force */
    LINE_FAILED     /* for good */
};

/* May leave the line, and has to after LINE_FAILED; nothing is freed before it has returned. */
typedef void (*line_fn)(void *user, enum line_event event, int error);

struct line {
    struct client *c;
    struct client_observer observer;
    const struct line_rule *rule;
    const struct recipe_node *node; /* borrowed until the line is left */
    char *dir;                      /* owned */
    struct protect own;
    struct ask ask;     /* about the children, or the one ahead */
    struct ask removal; /* of the watch */
    char *ahead;        /* owned: whom we wait for; NULL: nobody */
    bool watching;      /* there may be a watch on him, or on the children */
    bool counting; /* of the contenders, rather than waiting for one of them */
    bool first, left;
    int32_t seq;
    struct client_timer timer; /* to begin again, or to be freed */
    line_fn fn;
    void *user;
};

ZK_PRIVATE int line_join(struct line **out, struct client *c, const char *dir,
                         const struct line_rule *rule, const struct recipe_node *node, line_fn fn,
                         void *user);
ZK_PRIVATE void line_leave(struct line *l); /* it must not be touched any more */
/* Of a child that contends by this rule. */
ZK_PRIVATE bool line_contends(const struct line_rule *rule, const char *name, int32_t *seq);
ZK_PRIVATE int64_t line_token(const struct line *l); /* the zxid of its creation */

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/lock.h ==== */

/*
 * client/lock: mutex, read and write lock, semaphore: who holds a line's first place.
 *
 *   FREE --acquire--> WAITING --first--> OWNED --release--> FREE
 *   OWNED --connection breaks--> SUSPENDED --node is still there--> OWNED
 *   OWNED, SUSPENDED --session may be over, or node gone--> LOST --release or acquire--> ...
 * What is lost is left, so that a session that lives on after all keeps nobody out.
 *
 * A semaphore is two lines: a mutex at <path>/locks, held by the one who takes his lease, and the
 * leases at <path>/leases.
 * stock: Curator's InterProcessMutex, InterProcessReadWriteLock, InterProcessSemaphoreV2; kazoo's
 * Lock, ReadLock, WriteLock.
 */
#ifndef ZK_CLIENT_LOCK_H
#define ZK_CLIENT_LOCK_H


struct lock {
    struct client *c;
    bool reentrant, trying;
    struct line_rule rule, lease_rule;
    const char **blockers; /* owned, with the texts of the extra patterns behind it */
    struct recipe_node node;
    char *path;         /* owned: of the line */
    char *leases;       /* owned: of the leases; NULL when it is no semaphore */
    struct line *line;  /* NULL: not in line */
    struct line *lease; /* of a semaphore */
    struct wish wish;
    struct notice notice; /* its state is the lock's */
    unsigned depth;       /* of re-entry */
    char place[12];       /* of rule.place */
};

/* owner: of its posts. */
ZK_PRIVATE int lock_init(struct lock *l, struct client *c, const void *owner, const char *path,
                         const struct zk_lock_options *options);
ZK_PRIVATE void lock_free(struct lock *l); /* leaves */

/* timeout_ms < 0: none. trying: ZK_LOCKED rather than to wait for somebody. */
ZK_PRIVATE int lock_acquire(struct lock *l, int timeout_ms, bool trying, zk_done_fn done,
                            void *user);
ZK_PRIVATE int lock_release(struct lock *l);
/* A read lock takes the place of a write lock that is held on the same path. */
ZK_PRIVATE int lock_downgrade(struct lock *write, struct lock *read, int timeout_ms,
                              zk_done_fn done, void *user);
ZK_PRIVATE int64_t lock_token(const struct lock *l); /* 0: not held for sure */

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/latch.h ==== */

/*
 * client/latch: who leads: a place in a line that is taken again whenever it is lost.
 *
 *   WAITING --first--> OWNED --connection breaks--> SUSPENDED --node is still there--> OWNED
 *   SUSPENDED --session may be over--> LOST --new place, or the old one after all--> ...
 * What the server refuses for good ends it: NONE.
 * stock: Curator's LeaderLatch and LeaderSelector.
 */
#ifndef ZK_CLIENT_LATCH_H
#define ZK_CLIENT_LATCH_H


struct latch {
    struct client *c;
    struct line_rule rule;
    struct recipe_node node;
    char *path;         /* owned */
    struct line *line;  /* NULL: ended */
    int error;          /* why it ended */
    struct wish wish;
    struct notice notice; /* its state is the latch's */
};

ZK_PRIVATE int latch_init(struct latch *l, struct client *c, const void *owner, const char *path,
                          const struct zk_leader_options *options);
ZK_PRIVATE void latch_free(struct latch *l);
ZK_PRIVATE int latch_wait(struct latch *l, int timeout_ms, zk_done_fn done, void *user);
ZK_PRIVATE int latch_resign(struct latch *l);
/* Of the children of its node the one that leads; NULL: none. */
ZK_PRIVATE const char *latch_first(const struct latch *l, const struct zk_result *children);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/hosts.c ==== */


/* --- reading --- */

static bool hosts_read_port(struct slice text, uint16_t *port) {
    uint32_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        v = v * 10 + (uint32_t)(text.p[i] - '0');
        if (v > UINT16_MAX) return false;
    }
    *port = (uint16_t)v;
    return text.n && v;
}

static struct slice hosts_trim(struct slice s) {
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) s = slice_of(s.p + 1, s.n - 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

/* "name", "name:port", "[address]" or "[address]:port". */
static bool hosts_read_one(struct slice text, struct host *out) {
    struct slice name = text, port = {0};
    const uint8_t *end = text.p + text.n, *sep;
    if (text.p[0] == '[') {
        sep = memchr(text.p, ']', text.n);
        if (!sep) return false;
        name = slice_of(text.p + 1, (size_t)(sep - text.p) - 1);
        sep++;
        if (sep < end && *sep != ':') return false;
    } else {
        sep = memchr(text.p, ':', text.n);
        if (!sep) sep = end;
        name.n = (size_t)(sep - text.p);
    }
    if (sep < end) port = slice_of(sep + 1, (size_t)(end - sep) - 1);
    if (!name.n || name.n >= HOSTS_NAME || memchr(name.p, '\0', name.n)) return false;
    memset(out, 0, sizeof *out);
    memcpy(out->name, name.p, name.n);
    out->port = HOSTS_PORT;
    return sep == end || hosts_read_port(port, &out->port);
}

ZK_PRIVATE int hosts_parse(struct hosts *h, const char *text, const char **chroot) {
    memset(h, 0, sizeof *h);
    const char *end = strchr(text, '/');
    if (!end) end = text + strlen(text);
    if (*end && !chroot) return ZK_BAD_ARGUMENTS;
    if (chroot) *chroot = end;
    uint32_t most = 1;
    for (const char *p = text; p < end; p++) most += *p == ',';
    h->at = mem_try(sizeof *h->at * most);
    if (!h->at) return ZK_OUT_OF_MEMORY;
    for (const char *p = text; p <= end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        if (!comma) comma = end;
        struct slice one = hosts_trim(slice_of(p, (size_t)(comma - p)));
        if (one.n && !hosts_read_one(one, &h->at[h->n++])) break;
        p = comma + 1;
        if (p > end && h->n) {
            h->current = h->n;
            return ZK_OK;
        }
    }
    hosts_free(h);
    return ZK_BAD_ARGUMENTS;
}

ZK_PRIVATE void hosts_free(struct hosts *h) {
    mem_free(h->at);
    memset(h, 0, sizeof *h);
}

ZK_PRIVATE void hosts_shuffle(struct hosts *h, struct prng *r) {
    for (uint32_t i = h->n; i > 1; i--) {
        uint32_t j = (uint32_t)prng_below(r, i);
        struct host one = h->at[i - 1];
        h->at[i - 1] = h->at[j];
        h->at[j] = one;
    }
}

/* --- a new list --- */

static bool hosts_has(const struct hosts *h, const struct host *one) {
    for (uint32_t i = 0; i < h->n; i++)
        if (h->at[i].port == one->port && strcmp(h->at[i].name, one->name) == 0) return true;
    return false;
}

#define HOSTS_MILLION 1000000u

/*
 * The chance, of a million, with which a client that moves goes to a server that is new. With s
 * servers before, and kept and fresh ones now: each server shall end with the same share.
 */
static uint32_t hosts_fresh_chance(uint64_t s, uint64_t kept, uint64_t fresh, bool listed) {
    uint64_t now = kept + fresh;
    if (now > s || s <= kept) return HOSTS_MILLION;
    if (listed) return 0;
    uint64_t old = HOSTS_MILLION * kept * (s - now) / (now * (s - kept));
    return old > HOSTS_MILLION ? 0 : (uint32_t)(HOSTS_MILLION - old);
}

ZK_PRIVATE bool hosts_replace(struct hosts *h, struct hosts *by, bool connected, struct prng *r) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < by->n; i++) {
        by->at[i].fresh = !hosts_has(h, &by->at[i]);
        kept += !by->at[i].fresh;
    }
    bool listed = h->current < h->n && hosts_has(by, &h->at[h->current]);
    uint32_t s = h->n, now = by->n;
    bool move = connected && !listed;
    if (connected && listed && now > s) /* it got longer: a share of the clients moves */
        move = prng_below(r, now) >= s;
    by->moving = move;
    by->p_fresh = hosts_fresh_chance(s, kept, now - kept, listed);
    if (connected && listed && !move)
        for (uint32_t i = 0; i < by->n; i++)
            if (by->at[i].port == h->at[h->current].port &&
                strcmp(by->at[i].name, h->at[h->current].name) == 0)
                by->current = i;
    hosts_free(h);
    *h = *by;
    memset(by, 0, sizeof *by);
    return move;
}

/* --- taking turns --- */

/* The next one of a kind that was not tried since the list changed; n: none is left. */
static uint32_t hosts_untried(const struct hosts *h, bool fresh) {
    for (uint32_t k = 0; k < h->n; k++) {
        uint32_t i = (h->next + k) % h->n;
        if (h->at[i].fresh == fresh && !h->at[i].tried) return i;
    }
    return h->n;
}

ZK_PRIVATE const struct host *hosts_next(struct hosts *h, struct prng *r) {
    uint32_t i = h->next;
    if (h->moving) {
        bool fresh = prng_below(r, HOSTS_MILLION) < h->p_fresh;
        i = hosts_untried(h, fresh);
        if (i == h->n) i = hosts_untried(h, !fresh);
        h->moving = i < h->n;
        if (!h->moving) i = h->next;
        h->at[i].tried = true;
    }
    h->current = i;
    h->next = (i + 1) % h->n;
    return &h->at[i];
}

ZK_PRIVATE uint32_t hosts_pause(const struct hosts *h, uint32_t max_ms, struct prng *r) {
    uint32_t pass = h->failures / h->n, most = HOSTS_PAUSE_MIN_MS;
    if (!pass || h->failures % h->n) return 0; /* only between one pass and the next */
    while (--pass && most < HOSTS_PAUSE_MAX_MS) most *= 2;
    if (most > HOSTS_PAUSE_MAX_MS) most = HOSTS_PAUSE_MAX_MS;
    if (most > max_ms) most = max_ms;
    return most / 2 + (uint32_t)prng_below(r, most / 2 + 1);
}

ZK_PRIVATE void hosts_failed(struct hosts *h) {
    h->failures++;
}

ZK_PRIVATE void hosts_worked(struct hosts *h) {
    h->failures = 0;
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/watches.c ==== */


static uint32_t watches_hash(const struct watches *w, struct slice path) {
    return (uint32_t)slice_hash(path, w->seed);
}

static struct watched *watches_find(const struct watches *w, struct slice path) {
    if (!w->cap) return NULL;
    uint32_t h = watches_hash(w, path);
    for (struct watched *at = w->buckets[h & (w->cap - 1)]; at; at = at->next)
        if (at->hash == h && slice_eq(slice_of(at->path, at->path_len), path)) return at;
    return NULL;
}

/* Not being able to grow makes it slower, nothing else. */
static void watches_grow(struct watches *w) {
    uint32_t cap = w->cap ? w->cap * 2 : 16;
    struct watched **buckets = mem_try(sizeof *buckets * cap);
    if (!buckets) return;
    for (uint32_t i = 0; i < w->cap; i++) {
        for (struct watched *at = w->buckets[i], *next; at; at = next) {
            next = at->next;
            at->next = buckets[at->hash & (cap - 1)];
            buckets[at->hash & (cap - 1)] = at;
        }
    }
    mem_free(w->buckets);
    w->buckets = buckets;
    w->cap = cap;
}

static struct watched *watches_make(struct watches *w, struct slice path) {
    if (w->n >= w->cap) watches_grow(w);
    struct watched *at = w->cap ? mem_try(sizeof *at + path.n + 1) : NULL;
    if (!at) return NULL;
    at->hash = watches_hash(w, path);
    at->path_len = (uint32_t)path.n;
    if (path.n) memcpy(at->path, path.p, path.n);
    struct watched **bucket = &w->buckets[at->hash & (w->cap - 1)];
    at->next = *bucket;
    *bucket = at;
    w->n++;
    return at;
}

/* Takes a path without watchers out. */
static void watches_drop(struct watches *w, struct watched *gone) {
    struct watched **link = &w->buckets[gone->hash & (w->cap - 1)];
    while (*link != gone) link = &(*link)->next;
    *link = gone->next;
    mem_free(gone);
    w->n--;
}

static void watches_count(struct watches *w, uint8_t before, uint8_t after) {
    w->watchers += (uint32_t)(after != 0) - (uint32_t)(before != 0);
    w->recursive += (uint32_t)((after & WATCH_BIT_RECURSIVE) != 0) -
                    (uint32_t)((before & WATCH_BIT_RECURSIVE) != 0);
}

ZK_PRIVATE void watches_free(struct watches *w) {
    for (uint32_t i = 0; i < w->cap; i++) {
        for (struct watched *at = w->buckets[i], *next; at; at = next) {
            next = at->next;
            for (struct watcher *one = at->first, *after; one; one = after) {
                after = one->next;
                mem_free(one);
            }
            mem_free(at);
        }
    }
    mem_free(w->buckets);
    uint64_t seed = w->seed;
    memset(w, 0, sizeof *w);
    w->seed = seed;
}

ZK_PRIVATE bool watches_add(struct watches *w, struct slice path, const struct watcher *what) {
    struct watched *at = watches_find(w, path);
    if (!at) at = watches_make(w, path);
    if (!at) return false;
    struct watcher **link = &at->first; /* at the end: told in the order they came */
    while (*link && ((*link)->fn != what->fn || (*link)->user != what->user)) link = &(*link)->next;
    if (!*link) {
        *link = mem_try(sizeof **link);
        if (!*link) {
            if (!at->first) watches_drop(w, at);
            return false;
        }
        (*link)->fn = what->fn;
        (*link)->user = what->user;
        (*link)->inside = what->inside;
    }
    uint8_t before = (*link)->bits;
    (*link)->bits |= what->bits;
    watches_count(w, before, (*link)->bits);
    return true;
}

/* Takes bits from *link; frees it when it has none left. True: *link is the next one now. */
static bool watches_take(struct watches *w, struct watcher **link, uint8_t bits) {
    struct watcher *one = *link;
    uint8_t before = one->bits;
    one->bits &= (uint8_t)~bits;
    watches_count(w, before, one->bits);
    if (one->bits) return false;
    *link = one->next;
    mem_free(one);
    return true;
}

/* --- events --- */

/* Which bits at the path itself an event is for, and which of them it uses up. */
static uint8_t watches_one_shot(enum zk_event_type type) {
    switch (type) {
    case ZK_NODE_CREATED:
    case ZK_NODE_DATA_CHANGED: return WATCH_BIT_DATA | WATCH_BIT_EXIST;
    case ZK_NODE_CHILDREN_CHANGED: return WATCH_BIT_CHILD;
    case ZK_NODE_DELETED: return WATCH_BIT_DATA | WATCH_BIT_EXIST | WATCH_BIT_CHILD;
    case ZK_DATA_WATCH_REMOVED:
    case ZK_CHILD_WATCH_REMOVED:
    case ZK_PERSISTENT_WATCH_REMOVED: break; /* never from a server */
    }
    return 0;
}

/*
 * Tells those at one path. The list may change under fn: they are copied out, and the used bits
 * taken, before the first is told.
 */

static bool watches_tell_at(struct watches *w, struct slice path, uint8_t want, uint8_t used,
                            watches_fn fn, void *user) {
    struct watched *at = watches_find(w, path);
    if (!at) return true;
    uint32_t n = 0, k = 0;
    for (struct watcher *one = at->first; one; one = one->next) n += (one->bits & want) != 0;
    if (!n) return true;
    struct watcher few[8], *all = n <= 8 ? few : mem_try(sizeof *all * n);
    if (!all) return false;
    for (struct watcher **link = &at->first; *link;) {
        if (!((*link)->bits & want)) {
            link = &(*link)->next;
            continue;
        }
        all[k++] = **link;
        if (!watches_take(w, link, used)) link = &(*link)->next;
    }
    if (!at->first) watches_drop(w, at);
    bool ok = true;
    for (k = 0; k < n; k++) {
        ok = ok && fn(user, &all[k]);
        if (ok) continue;
        all[k].bits &= used; /* refused: as if it had not been touched */
        if (all[k].bits) (void)watches_add(w, path, &all[k]);
    }
    if (all != few) mem_free(all);
    return ok;
}

ZK_PRIVATE bool watches_fire(struct watches *w, enum zk_event_type type, struct slice path,
                             watches_fn fn, void *user) {
    uint8_t used = watches_one_shot(type);
    uint8_t want = used | WATCH_BIT_PERSISTENT;
    if (type != ZK_NODE_CHILDREN_CHANGED) want |= WATCH_BIT_RECURSIVE;
    if (!watches_tell_at(w, path, want, used, fn, user)) return false;
    if (!w->recursive || type == ZK_NODE_CHILDREN_CHANGED) return true;
    for (struct slice up = path; up.n > 1;) {
        do up.n--;
        while (up.n && up.p[up.n] != '/');
        struct slice at = up.n ? up : slice_of(path.p, 1);
        if (!watches_tell_at(w, at, WATCH_BIT_RECURSIVE, 0, fn, user)) return false;
    }
    return true;
}

/* --- removal --- */

ZK_PRIVATE uint8_t watches_bits(enum zk_watch_kind kind) {
    static const uint8_t bits[] = {
        [ZK_WATCH_CHILDREN] = WATCH_BIT_CHILD,
        [ZK_WATCH_DATA] = WATCH_BIT_DATA | WATCH_BIT_EXIST,
        [ZK_WATCH_ANY] = WATCH_BIT_CHILD | WATCH_BIT_DATA | WATCH_BIT_EXIST |
                         WATCH_BIT_PERSISTENT | WATCH_BIT_RECURSIVE,
        [ZK_WATCH_PERSISTENT] = WATCH_BIT_PERSISTENT,
        [ZK_WATCH_RECURSIVE] = WATCH_BIT_RECURSIVE,
    };
    return kind >= ZK_WATCH_CHILDREN && kind <= ZK_WATCH_RECURSIVE ? bits[kind] : 0;
}

static bool watches_is(const struct watcher *one, zk_watch_fn fn, void *user) {
    return !fn || (one->fn == fn && one->user == user);
}

ZK_PRIVATE bool watches_held(const struct watches *w, struct slice path, uint8_t bits,
                             zk_watch_fn fn, void *user, bool *by_others) {
    const struct watched *at = watches_find(w, path);
    bool held = false;
    *by_others = false;
    for (const struct watcher *one = at ? at->first : NULL; one; one = one->next) {
        if (!(one->bits & bits)) continue;
        if (watches_is(one, fn, user))
            held = true;
        else
            *by_others = true;
    }
    return held;
}

ZK_PRIVATE void watches_remove(struct watches *w, struct slice path, uint8_t bits, zk_watch_fn fn,
                               void *user, watches_fn told, void *told_user) {
    struct watched *at = watches_find(w, path);
    for (struct watcher **link = at ? &at->first : NULL; link && *link;) {
        struct watcher lost = **link;
        lost.bits &= bits;
        bool freed = lost.bits && watches_is(&lost, fn, user) && watches_take(w, link, bits);
        if (lost.bits && watches_is(&lost, fn, user)) (void)told(told_user, &lost);
        if (!freed) link = &(*link)->next;
    }
    if (at && !at->first) watches_drop(w, at);
}

ZK_PRIVATE void watches_forget(struct watches *w, zk_watch_fn fn, void *user) {
    for (uint32_t i = 0; i < w->cap; i++) {
        for (struct watched *at = w->buckets[i], *next; at; at = next) {
            next = at->next;
            for (struct watcher **link = &at->first; *link;)
                if (!watches_is(*link, fn, user) || !watches_take(w, link, UINT8_MAX))
                    link = &(*link)->next;
            if (!at->first) watches_drop(w, at);
        }
    }
}

ZK_PRIVATE uint8_t watches_bits_of(const struct watched *at) {
    uint8_t bits = 0;
    for (const struct watcher *one = at->first; one; one = one->next) bits |= one->bits;
    return bits;
}

ZK_PRIVATE const struct watched *watches_next(const struct watches *w, const struct watched *at,
                                              uint8_t *bits) {
    uint32_t i = at ? at->hash & (w->cap - 1) : 0;
    at = at ? at->next : w->cap ? w->buckets[0] : NULL;
    while (!at && ++i < w->cap) at = w->buckets[i];
    *bits = at ? watches_bits_of(at) : 0;
    return at;
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/codec.c ==== */



/* What an operation is made of: drives checking, sizing and writing of the request. */
enum codec_part {
    PART_PATH = 1,     /* under the chroot */
    PART_WATCH = 2,    /* a flag whether to watch */
    PART_VERSION = 4,
    PART_DATA = 8,
    PART_ACL = 16,
    PART_OPS = 32,
    PART_IN_MULTI = 64,
    PART_IN_READ = 128 /* may stand in a multi_read */
};

struct codec_shape {
    int32_t op; /* on the wire */
    int parts;  /* enum codec_part */
};

static const struct codec_shape CODEC_SHAPES[] = {
    [ZK_OP_CREATE] = {ZOP_CREATE2, PART_PATH | PART_DATA | PART_ACL | PART_IN_MULTI},
    [ZK_OP_DELETE] = {ZOP_DELETE, PART_PATH | PART_VERSION | PART_IN_MULTI},
    [ZK_OP_EXISTS] = {ZOP_EXISTS, PART_PATH | PART_WATCH},
    [ZK_OP_GET] = {ZOP_GET_DATA, PART_PATH | PART_WATCH | PART_IN_READ},
    [ZK_OP_SET] = {ZOP_SET_DATA, PART_PATH | PART_DATA | PART_VERSION | PART_IN_MULTI},
    [ZK_OP_GET_ACL] = {ZOP_GET_ACL, PART_PATH},
    [ZK_OP_SET_ACL] = {ZOP_SET_ACL, PART_PATH | PART_ACL | PART_VERSION},
    [ZK_OP_GET_CHILDREN] = {ZOP_GET_CHILDREN2, PART_PATH | PART_WATCH | PART_IN_READ},
    [ZK_OP_SYNC] = {ZOP_SYNC, PART_PATH},
    [ZK_OP_CHECK] = {ZOP_CHECK, PART_PATH | PART_VERSION | PART_IN_MULTI},
    [ZK_OP_MULTI] = {ZOP_MULTI, PART_OPS},
    [ZK_OP_MULTI_READ] = {ZOP_MULTI_READ, PART_OPS},
    [ZK_OP_GET_EPHEMERALS] = {ZOP_GET_EPHEMERALS, PART_PATH},
    [ZK_OP_GET_ALL_CHILDREN_NUMBER] = {ZOP_GET_ALL_CHILDREN_NUMBER, PART_PATH},
    [ZK_OP_ADD_WATCH] = {ZOP_ADD_WATCH, PART_PATH},
    [ZK_OP_REMOVE_WATCHES] = {ZOP_REMOVE_WATCHES, PART_PATH},
    [ZK_OP_WHO_AM_I] = {ZOP_WHO_AM_I, 0},
    [ZK_OP_ADD_AUTH] = {ZOP_AUTH, PART_DATA},
    [ZK_OP_GET_CONFIG] = {ZOP_GET_DATA, PART_WATCH},
    [ZK_OP_RECONFIG] = {ZOP_RECONFIG, 0},
};

static const struct codec_shape *codec_shape(const struct zk_op *op) {
    return &CODEC_SHAPES[op->type];
}

static bool codec_is_ttl(const struct zk_op *op) {
    return op->mode == ZK_PERSISTENT_WITH_TTL || op->mode == ZK_PERSISTENT_SEQUENTIAL_WITH_TTL;
}

/* --- checking --- */

static bool codec_path_ok(const struct zk_op *op) {
    struct slice path = slice_str(op->path);
    bool sequence = op->type == ZK_OP_CREATE && (op->mode == ZK_PERSISTENT_SEQUENTIAL ||
                                                 op->mode == ZK_EPHEMERAL_SEQUENTIAL ||
                                                 op->mode == ZK_PERSISTENT_SEQUENTIAL_WITH_TTL);
    if (path_valid(path)) return true;
    /* What counts is the name that the server will make of it: "/a/" becomes "/a/0000000000". */
    struct slice name = path_name(path);
    if (!sequence || name.n == path.n) return false;
    if (name.n && !slice_is(name, ".") && !slice_is(name, "..")) return false;
    return path.n == name.n + 1 || path_valid(slice_of(path.p, path.n - name.n - 1));
}

static int codec_check_ops(const struct zk_op *op, struct slice chroot, uint32_t max) {
    if (op->op_count < 0 || (op->op_count && !op->ops)) return ZK_BAD_ARGUMENTS;
    int place = op->type == ZK_OP_MULTI ? PART_IN_MULTI : PART_IN_READ;
    for (int i = 0; i < op->op_count; i++) {
        const struct zk_op *one = &op->ops[i];
        int err = codec_check(one, chroot, max);
        if (err) return err;
        if (!(codec_shape(one)->parts & place) || one->watch) return ZK_BAD_ARGUMENTS;
    }
    return ZK_OK;
}

static int codec_check_create(const struct zk_op *op) {
    if (op->mode < ZK_PERSISTENT || op->mode > ZK_PERSISTENT_SEQUENTIAL_WITH_TTL)
        return ZK_BAD_ARGUMENTS;
    bool ttl_ok = op->ttl_ms > 0 && op->ttl_ms <= TTL_MAX_MS;
    return codec_is_ttl(op) && !ttl_ok ? ZK_BAD_ARGUMENTS : ZK_OK;
}

static int codec_check_watch(const struct zk_op *op) {
    if (op->type == ZK_OP_ADD_WATCH)
        return op->watch && (op->watch_kind == ZK_WATCH_PERSISTENT ||
                             op->watch_kind == ZK_WATCH_RECURSIVE)
                   ? ZK_OK
                   : ZK_BAD_ARGUMENTS;
    if (op->type == ZK_OP_REMOVE_WATCHES)
        return op->watch_kind >= ZK_WATCH_CHILDREN && op->watch_kind <= ZK_WATCH_RECURSIVE
                   ? ZK_OK
                   : ZK_BAD_ARGUMENTS;
    return op->watch && !(codec_shape(op)->parts & PART_WATCH) ? ZK_BAD_ARGUMENTS : ZK_OK;
}

/* acl NULL stands for open in a create; in a set_acl it would open what was closed. */
static int codec_check_acl(const struct zk_op *op) {
    if (op->acl_count < 0 || (op->acl_count && !op->acl)) return ZK_BAD_ARGUMENTS;
    if (op->type == ZK_OP_SET_ACL && !op->acl_count) return ZK_INVALID_ACL;
    if (op->acl && !op->acl_count) return ZK_INVALID_ACL;
    for (int i = 0; i < op->acl_count; i++)
        if (!op->acl[i].scheme || !op->acl[i].id) return ZK_INVALID_ACL;
    return ZK_OK;
}

ZK_PRIVATE int codec_check(const struct zk_op *op, struct slice chroot, uint32_t max) {
    if (op->type < ZK_OP_CREATE || op->type > ZK_OP_RECONFIG) return ZK_BAD_ARGUMENTS;
    int parts = codec_shape(op)->parts;
    if ((parts & PART_PATH) && (!op->path || !codec_path_ok(op))) return ZK_BAD_ARGUMENTS;
    if ((parts & PART_DATA) && (op->data_len < -1 || (op->data_len > 0 && !op->data)))
        return ZK_BAD_ARGUMENTS;
    if (op->type == ZK_OP_ADD_AUTH && !op->scheme) return ZK_BAD_ARGUMENTS;
    int err = codec_check_watch(op);
    if (!err && op->type == ZK_OP_CREATE) err = codec_check_create(op);
    if (!err && (parts & PART_ACL)) err = codec_check_acl(op);
    if (!err && (parts & PART_OPS)) err = codec_check_ops(op, chroot, max);
    if (!err && codec_bound(op, chroot) > max) err = ZK_TOO_LARGE;
    return err;
}

/* --- writing --- */

static size_t codec_len(const char *s) {
    return s ? strlen(s) : 0;
}

/* A little more than it will be: 64 bytes are for lengths and numbers. */
ZK_PRIVATE size_t codec_bound(const struct zk_op *op, struct slice chroot) {
    size_t n = 64 + chroot.n + codec_len(op->path) + codec_len(op->scheme);
    if (op->data && op->data_len > 0) n += (size_t)op->data_len;
    for (int i = 0; i < op->acl_count; i++)
        n += 12 + codec_len(op->acl[i].scheme) + codec_len(op->acl[i].id);
    n += codec_len(op->joining) + codec_len(op->leaving) + codec_len(op->members);
    for (int i = 0; i < op->op_count; i++) n += codec_bound(&op->ops[i], chroot);
    return n;
}

ZK_PRIVATE struct slice codec_path(struct buf *out, struct slice path, struct slice chroot) {
    size_t from = out->n;
    buf_put(out, chroot.p, chroot.n);
    if (!chroot.n || !slice_is(path, "/")) buf_put(out, path.p, path.n);
    return slice_of(out->p + from, out->n - from);
}

static void codec_put_path(struct buf *out, const struct zk_op *op, struct slice chroot) {
    size_t at = out->n;
    (void)buf_grow(out, 4);
    /* stock: ZooKeeper.delete, which lets the root be refused rather than take the chroot away */
    bool root = op->type == ZK_OP_DELETE && strcmp(op->path, "/") == 0;
    struct slice path = codec_path(out, slice_str(op->path), root ? slice_of(NULL, 0) : chroot);
    put_be32(out->p + at, (uint32_t)path.n);
}

static void codec_put_text(struct buf *out, const char *s) {
    if (s)
        jw_str(out, s);
    else
        jw_i32(out, -1);
}

static void codec_put_data(struct buf *out, const struct zk_op *op) {
    jw_i32(out, op->data_len);
    if (op->data_len > 0) buf_put(out, op->data, (size_t)op->data_len);
}

static void codec_put_acl(struct buf *out, const struct zk_op *op) {
    static const struct zk_acl open = {ZK_PERM_ALL, "world", "anyone"};
    const struct zk_acl *acl = op->acl ? op->acl : &open;
    int n = op->acl ? op->acl_count : 1;
    jw_i32(out, n);
    for (int i = 0; i < n; i++) {
        jw_i32(out, acl[i].perms);
        jw_str(out, acl[i].scheme);
        jw_str(out, acl[i].id);
    }
}

/* Creates have an opcode for each kind. A plain one in a multi is the old opcode: servers before
 * 3.8.1 lose create2 there on all but the leader. */
static int32_t codec_opcode(const struct zk_op *op, bool in_multi) {
    int32_t code = codec_shape(op)->op;
    if (op->type == ZK_OP_GET_CHILDREN && in_multi) return ZOP_GET_CHILDREN;
    if (op->type != ZK_OP_CREATE) return code;
    if (codec_is_ttl(op)) return ZOP_CREATE_TTL;
    if (op->mode == ZK_CONTAINER) return ZOP_CREATE_CONTAINER;
    return in_multi && !op->want_stat ? ZOP_CREATE : code;
}

static void codec_put_body(struct buf *out, const struct zk_op *op, struct slice chroot) {
    int parts = codec_shape(op)->parts;
    if (op->type == ZK_OP_GET_CONFIG) jw_str(out, CODEC_CONFIG_PATH);
    if (op->type == ZK_OP_ADD_AUTH) {
        jw_i32(out, 0);
        jw_str(out, op->scheme);
    }
    if (parts & PART_PATH) codec_put_path(out, op, chroot);
    if (parts & PART_WATCH) jw_u8(out, op->watch != NULL);
    if (parts & PART_DATA) codec_put_data(out, op);
    if (parts & PART_ACL) codec_put_acl(out, op);
    if (parts & PART_VERSION) jw_i32(out, op->version);
    if (op->type == ZK_OP_CREATE) jw_i32(out, (int32_t)op->mode);
    if (op->type == ZK_OP_CREATE && codec_is_ttl(op)) jw_i64(out, op->ttl_ms);
    if (op->type == ZK_OP_ADD_WATCH) jw_i32(out, op->watch_kind == ZK_WATCH_RECURSIVE);
    if (op->type == ZK_OP_REMOVE_WATCHES) jw_i32(out, (int32_t)op->watch_kind);
    if (op->type == ZK_OP_RECONFIG) {
        codec_put_text(out, op->joining);
        codec_put_text(out, op->leaving);
        codec_put_text(out, op->members);
        jw_i64(out, op->config_version);
    }
}

ZK_PRIVATE void codec_request(struct buf *out, const struct zk_op *op, int32_t xid,
                              struct slice chroot) {
    size_t at = out->n;
    jw_i32(out, 0);
    jw_i32(out, xid);
    jw_i32(out, codec_opcode(op, false));
    codec_put_body(out, op, chroot);
    if (codec_shape(op)->parts & PART_OPS) {
        for (int i = 0; i < op->op_count; i++) {
            jw_multi_header(out, codec_opcode(&op->ops[i], true), false, -1);
            codec_put_body(out, &op->ops[i], chroot);
        }
        jw_multi_header(out, -1, true, -1);
    }
    put_be32(out->p + at, (uint32_t)(out->n - at - 4));
}

/* --- reading --- */

/* One block, handed out from the front: room was counted before. */
struct shelf {
    uint8_t *p, *end;
};

static void *shelf_take(struct shelf *s, size_t n) {
    uint8_t *p = s->p;
    n = (n + 7) & ~(size_t)7;
    ZK_ASSERT(n <= (size_t)(s->end - s->p));
    s->p += n;
    return p;
}

static const char *shelf_text(struct shelf *s, struct slice text) {
    char *p = shelf_take(s, text.n + 1);
    if (text.n) memcpy(p, text.p, text.n);
    p[text.n] = '\0';
    return p;
}

ZK_PRIVATE struct slice codec_strip(struct slice path, struct slice chroot) {
    if (!chroot.n || path.n < chroot.n || memcmp(path.p, chroot.p, chroot.n) != 0) return path;
    if (path.n == chroot.n) return slice_str("/");
    if (path.p[chroot.n] != '/') return path;
    return slice_of(path.p + chroot.n, path.n - chroot.n);
}

static void codec_stat(struct jr *r, struct zk_stat *s) {
    s->czxid = jr_i64(r);
    s->mzxid = jr_i64(r);
    s->ctime = jr_i64(r);
    s->mtime = jr_i64(r);
    s->version = jr_i32(r);
    s->cversion = jr_i32(r);
    s->aversion = jr_i32(r);
    s->ephemeral_owner = jr_i64(r);
    s->data_length = jr_i32(r);
    s->num_children = jr_i32(r);
    s->pzxid = jr_i64(r);
}

/* A reply is read by the parts that its record has, in this order. */
enum codec_reply_part {
    HAS_PATH = 1,
    HAS_DATA = 2,
    HAS_NAMES = 4,
    HAS_ACL = 8,
    HAS_IDS = 16, /* who_am_i: scheme and name, no perms */
    HAS_NUMBER = 32,
    HAS_STAT = 64
};

static int codec_reply_parts(int32_t op) {
    switch (op) {
    case ZOP_CREATE:
    case ZOP_SYNC: return HAS_PATH;
    case ZOP_CREATE2:
    case ZOP_CREATE_CONTAINER:
    case ZOP_CREATE_TTL: return HAS_PATH | HAS_STAT;
    case ZOP_EXISTS:
    case ZOP_SET_DATA:
    case ZOP_SET_ACL: return HAS_STAT;
    case ZOP_GET_DATA:
    case ZOP_RECONFIG: return HAS_DATA | HAS_STAT;
    case ZOP_GET_ACL: return HAS_ACL | HAS_STAT;
    case ZOP_GET_CHILDREN:
    case ZOP_GET_EPHEMERALS: return HAS_NAMES;
    case ZOP_GET_CHILDREN2: return HAS_NAMES | HAS_STAT;
    case ZOP_GET_ALL_CHILDREN_NUMBER: return HAS_NUMBER;
    case ZOP_WHO_AM_I: return HAS_IDS;
    default: return 0;
    }
}

/* Entries that could stand in what is left, each of at least so many bytes. Bad otherwise. */
static int32_t codec_count(struct jr *r, size_t least) {
    int32_t n = jr_count(r);
    if (n < 0) return 0;
    if ((size_t)n > jr_left(r) / least) r->bad = true;
    return r->bad ? 0 : n;
}

/* How much memory the parts of one record will need; goes past it. */
static size_t codec_measure(struct jr *r, int parts) {
    size_t need = 0;
    if (parts & HAS_PATH) need += jr_bytes(r).n + 16;
    if (parts & HAS_DATA) need += jr_bytes(r).n + 16;
    if (parts & HAS_NAMES) {
        int32_t n = codec_count(r, 4);
        need += (size_t)n * sizeof(char *);
        for (int32_t i = 0; i < n; i++) need += jr_bytes(r).n + 16;
    }
    if (parts & (HAS_ACL | HAS_IDS)) {
        int32_t n = codec_count(r, 8);
        need += (size_t)n * sizeof(struct zk_acl);
        for (int32_t i = 0; i < n; i++) {
            if (parts & HAS_ACL) (void)jr_i32(r);
            need += jr_bytes(r).n + 16;
            need += jr_bytes(r).n + 16;
        }
    }
    struct zk_stat stat;
    if (parts & HAS_NUMBER) (void)jr_i32(r);
    if (parts & HAS_STAT) codec_stat(r, &stat);
    return need + 16;
}

static void codec_names(struct jr *r, struct shelf *s, struct zk_result *out,
                        struct slice chroot) {
    int32_t n = codec_count(r, 4);
    const char **names = shelf_take(s, (size_t)n * sizeof *names);
    for (int32_t i = 0; i < n; i++) {
        struct slice one = jr_bytes(r);
        names[i] = shelf_text(s, codec_strip(one, chroot));
    }
    out->count = n;
    out->names = names;
}

static void codec_acl(struct jr *r, struct shelf *s, struct zk_result *out, bool perms) {
    int32_t n = codec_count(r, 8);
    struct zk_acl *acl = shelf_take(s, (size_t)n * sizeof *acl);
    for (int32_t i = 0; i < n; i++) {
        acl[i].perms = perms ? jr_i32(r) : 0;
        acl[i].scheme = shelf_text(s, jr_bytes(r));
        acl[i].id = shelf_text(s, jr_bytes(r));
    }
    out->count = n;
    out->acl = acl;
}

/* What codec_measure went past, into out. */
static void codec_record(struct jr *r, struct shelf *s, int parts, struct zk_result *out,
                         struct slice chroot) {
    if (parts & HAS_PATH) {
        struct slice path = jr_bytes(r);
        if (path.p) out->path = shelf_text(s, codec_strip(path, chroot));
    }
    if (parts & HAS_DATA) {
        struct slice data = jr_bytes(r);
        if (data.p) out->data = shelf_text(s, data);
        out->data_len = data.p ? (int)data.n : -1;
    }
    /* Only whole paths are below a chroot; children are names. */
    if (parts & HAS_NAMES) codec_names(r, s, out, parts == HAS_NAMES ? chroot : slice_of(NULL, 0));
    if (parts & HAS_ACL) codec_acl(r, s, out, true);
    if (parts & HAS_IDS) codec_acl(r, s, out, false);
    if (parts & HAS_NUMBER) out->number = jr_i32(r);
    if (parts & HAS_STAT) codec_stat(r, &out->stat);
    out->has_stat = (parts & HAS_STAT) != 0;
}

/* --- of a multi --- */

static size_t codec_measure_multi(struct jr *r, int32_t *count) {
    size_t need = 0;
    for (*count = 0; !r->bad; (*count)++) {
        struct multi_header h = jr_multi_header(r);
        if (h.done) return need;
        need += sizeof(struct zk_result);
        if (h.type == ZOP_ERROR)
            (void)jr_i32(r);
        else
            need += codec_measure(r, codec_reply_parts(h.type));
    }
    return need;
}

static void codec_multi(struct jr *r, struct shelf *s, int32_t n, struct zk_result *out,
                        struct slice chroot) {
    struct zk_result *results = shelf_take(s, (size_t)n * sizeof *results);
    memset(results, 0, (size_t)n * sizeof *results);
    for (int32_t i = 0; i < n; i++) {
        struct multi_header h = jr_multi_header(r);
        results[i].zxid = out->zxid;
        results[i].data_len = -1;
        if (h.type == ZOP_ERROR)
            results[i].error = jr_i32(r);
        else
            codec_record(r, s, codec_reply_parts(h.type), &results[i], chroot);
        bool counts = results[i].error && results[i].error != ZK_RUNTIME_INCONSISTENCY;
        if (counts && !out->error) out->error = results[i].error;
    }
    out->count = n;
    out->results = results;
}

static struct zk_result *codec_plain(int64_t zxid, int32_t error, size_t more, struct shelf *s) {
    size_t n = sizeof(struct zk_result) + 16 + more;
    struct zk_result *out = mem_try(sizeof *out + 16 + more);
    if (!out) return NULL;
    out->zxid = zxid;
    out->error = error;
    out->data_len = -1;
    s->p = (uint8_t *)(out + 1);
    s->end = (uint8_t *)out + n;
    return out;
}

ZK_PRIVATE struct zk_result *codec_reply(enum zk_op_type type, int64_t zxid, int32_t error,
                                         struct slice body, struct slice chroot) {
    struct shelf shelf;
    bool multi = type == ZK_OP_MULTI || type == ZK_OP_MULTI_READ;
    int parts = codec_reply_parts(CODEC_SHAPES[type].op);
    /* A multi_read that failed as a whole may have results all the same. */
    if (error && !(type == ZK_OP_MULTI_READ && body.n)) return codec_plain(zxid, error, 0, &shelf);
    struct jr r = jr_open(body, UINT32_MAX);
    int32_t count = 0;
    size_t need = multi ? codec_measure_multi(&r, &count) : codec_measure(&r, parts);
    if (r.bad) return codec_plain(zxid, error ? error : ZK_MARSHALLING_ERROR, 0, &shelf);
    struct zk_result *out = codec_plain(zxid, error, need, &shelf);
    if (!out) return NULL;
    r = jr_open(body, UINT32_MAX);
    if (multi)
        codec_multi(&r, &shelf, count, out, chroot);
    else
        codec_record(&r, &shelf, parts, out, chroot);
    ZK_ASSERT(!r.bad);
    return out;
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/session.c ==== */


#include <stdio.h>


enum client_link { CLIENT_RESTING, CLIENT_RESOLVING, CLIENT_DIALING, CLIENT_GREETING, CLIENT_UP };

enum {
    CLIENT_XID_EVENT = -1,
    CLIENT_XID_PING = -2,
    CLIENT_XID_AUTH = -4,
    CLIENT_XID_WATCHES = -8,
    CLIENT_ADDRS = 8,
    CLIENT_ORDERS = 8,
    CLIENT_PASSWD = 16,
    CLIENT_WATCHES_BATCH = 128 * 1024, /* bytes of paths. stock: SET_WATCHES_MAX_LENGTH */
    CLIENT_SEND_SOON = 16 * 1024,      /* so much output is worth a packet of its own */
    CLIENT_STEADY_MS = 1000, /* a connection that broke sooner counts as a failed attempt */
    CLIENT_PROBE_MIN_MS = 100,
    CLIENT_PROBE_MAX_MS = 60000
};

/*
 * A request from submission to the moment when its caller knows. It is its own post, so that a
 * result can always be told; what it may have to leave behind in `sent`, so that replies keep
 * finding their places, is one without `done`.
 */
struct client_request {
    struct client_post post; /* first: run and drop cast back */
    struct client_request *next;
    int64_t id, deadline; /* deadline: INT64_MAX when there is none */
    int32_t xid;
    enum zk_op_type type;
    enum zk_watch_kind kind;
    bool inside, watch_inside, local;
    bool on_server; /* of a removal: the server takes its watch away too */
    bool gone;      /* an empty one that holds the place of what was withdrawn */
    zk_result_fn done;
    void *user;
    struct zk_result *result; /* owned; NULL: plain */
    struct zk_result plain;   /* only an error */
    zk_watch_fn watch;
    void *watch_user;
    uint32_t frame; /* bytes in `held` while it waits */
    uint32_t path_len;
    char path[]; /* on the server; of those that have a watch */
};

struct client_list {
    struct client_request *first, **last;
    uint32_t n;
};

struct client_identity {
    struct client_identity *next;
    struct client_request *request; /* whoever waits to hear; NULL: nobody any more */
    uint32_t scheme_len, auth_len;
    char scheme[]; /* with a NUL, then auth */
};

struct client {
    enum client_link link;
    enum zk_state state, told; /* told: what was posted last */
    int over;                  /* enum zk_error: why the session is; 0: it is not */
    bool closing, said_goodbye;
    unsigned flags;
    int64_t now, started;

    struct hosts hosts;
    char *chroot; /* owned; "" for none */
    struct net_addr at[CLIENT_ADDRS];
    int n_at, next_at;
    int64_t rest_until, attempt_until, up_since, heard, spoke;
    int64_t lost_at; /* INT64_MAX when connected */
    struct client_order orders[CLIENT_ORDERS];
    uint32_t order_first, order_n;
    int64_t probe_at; /* INT64_MAX: not looking for a server that can write */
    int64_t probe_pause;

    int64_t session_id, zxid;
    uint8_t passwd[CLIENT_PASSWD];
    int timeout, wished; /* ms; agreed, and asked for */
    bool writable_seen;  /* a server that can write knows the session */
    int op_timeout;
    uint32_t max_packet;

    int64_t ids;
    int32_t xid;
    struct client_list sent, waiting, auths; /* auths: expecting a reply, in order */
    struct buf held;                         /* frames of `waiting` */
    struct buf in, out;
    uint32_t unsent; /* requests of `sent` with bytes in out */
    int64_t next_deadline;

    struct client_identity *identities, *identity_next; /* next: whose reply comes next */
    struct watches watches;
    struct client_timer *timers;
    struct client_observer *observers;
    struct client_post *posts, **last_post;
    struct zk_result *current; /* being told from within */
    struct logq log;
    struct prng random;
    struct zk_counters counters;

    zk_state_fn on_state;
    void *user;
    zk_frame_fn on_frame;
    void *frame_user;
};

static void client_rest(struct client *c);
static void client_break(struct client *c, int level, const char *why);

/* --- small things --- */

static void client_say(struct client *c, int level, const char *what, const char *more) {
    if (buf_try_reserve(&c->log.lines, 1024)) log_line(&c->log, level, "%s%s", what, more);
}

static void list_init(struct client_list *l) {
    l->first = NULL;
    l->last = &l->first;
    l->n = 0;
}

static void list_put(struct client_list *l, struct client_request *r) {
    r->next = NULL;
    *l->last = r;
    l->last = &r->next;
    l->n++;
}

/* link: what points to the one to take. */
static struct client_request *list_take(struct client_list *l, struct client_request **link) {
    struct client_request *r = *link;
    if (!r) return NULL;
    *link = r->next;
    if (!r->next) l->last = link;
    l->n--;
    return r;
}

static struct slice client_chroot(const struct client *c) {
    return slice_str(c->chroot);
}

static void client_order(struct client *c, enum client_order_kind kind, const struct host *host,
                         const struct net_addr *addr) {
    if (kind == CLIENT_HANG_UP) c->order_n = 0; /* nothing before it matters any more */
    ZK_ASSERT(c->order_n < CLIENT_ORDERS);
    struct client_order *o = &c->orders[(c->order_first + c->order_n++) % CLIENT_ORDERS];
    memset(o, 0, sizeof *o);
    o->kind = kind;
    if (host) memcpy(o->name, host->name, sizeof o->name);
    if (host) o->port = host->port;
    if (addr) o->addr = *addr;
}

ZK_PRIVATE bool client_take_order(struct client *c, struct client_order *out) {
    if (!c->order_n) return false;
    *out = c->orders[c->order_first];
    c->order_first = (c->order_first + 1) % CLIENT_ORDERS;
    c->order_n--;
    return true;
}

/* --- posts --- */

ZK_PRIVATE void client_post(struct client *c, struct client_post *p) {
    p->next = NULL;
    *c->last_post = p;
    c->last_post = &p->next;
}

ZK_PRIVATE void client_unpost(struct client *c, const void *owner) {
    for (struct client_post **link = &c->posts; *link;) {
        struct client_post *p = *link;
        if (p->owner != owner) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        if (!p->next) c->last_post = link;
        p->drop(p);
    }
}

ZK_PRIVATE struct client_post *client_take_post(struct client *c) {
    struct client_post *p = c->posts;
    if (!p) return NULL;
    c->posts = p->next;
    if (!c->posts) c->last_post = &c->posts;
    return p;
}

ZK_PRIVATE bool client_has_posts(const struct client *c) {
    return c->posts != NULL;
}

ZK_PRIVATE bool client_take_log(struct client *c, int *level, const char **text) {
    return log_take(&c->log, level, text);
}

static void client_request_drop(struct client_post *p) {
    struct client_request *r = (struct client_request *)(void *)p;
    mem_free(r->result);
    mem_free(r);
}

static void client_request_run(struct client_post *p) {
    struct client_request *r = (struct client_request *)(void *)p;
    if (r->done) r->done(r->user, r->result ? r->result : &r->plain);
    client_request_drop(p);
}

/* Tells whoever waits for it. r is gone afterwards. result is taken over; NULL: just the error. */
static void client_finish(struct client *c, struct client_request *r, int error,
                          struct zk_result *result) {
    r->result = result;
    r->plain.error = error;
    r->plain.data_len = -1;
    if (!r->inside && r->done) {
        client_post(c, &r->post);
        return;
    }
    struct zk_result *outer = c->current;
    c->current = result;
    if (r->done) r->done(r->user, result ? result : &r->plain);
    r->result = c->current; /* NULL: it was taken */
    c->current = outer;
    client_request_drop(&r->post);
}

ZK_PRIVATE struct zk_result *client_take_result(struct client *c) {
    struct zk_result *result = c->current;
    c->current = NULL;
    return result;
}

struct client_event {
    struct client_post post; /* first */
    zk_watch_fn fn;
    void *user;
    struct zk_event event;
    char path[];
};

static void client_event_drop(struct client_post *p) {
    mem_free(p);
}

static void client_event_run(struct client_post *p) {
    struct client_event *e = (struct client_event *)(void *)p;
    e->fn(e->user, &e->event);
    client_event_drop(p);
}

static bool client_tell_event(struct client *c, const struct watcher *who,
                              const struct zk_event *event) {
    if (who->inside) {
        who->fn(who->user, event);
        return true;
    }
    size_t n = strlen(event->path) + 1;
    struct client_event *e = mem_try(sizeof *e + n);
    if (!e) return false;
    e->post.run = client_event_run;
    e->post.drop = client_event_drop;
    e->fn = who->fn;
    e->user = who->user;
    e->event = *event;
    memcpy(e->path, event->path, n);
    e->event.path = e->path;
    client_post(c, &e->post);
    return true;
}

struct client_news {
    struct client_post post; /* first */
    zk_state_fn fn;
    void *user;
    enum zk_state state;
    int64_t session_id;
};

static void client_news_drop(struct client_post *p) {
    mem_free(p);
}

static void client_news_run(struct client_post *p) {
    struct client_news *n = (struct client_news *)(void *)p;
    n->fn(n->user, n->state, n->session_id);
    client_news_drop(p);
}

/* Without memory the news wait for the next tick, and may then be newer. */
static void client_tell_state(struct client *c) {
    if (c->told == c->state) return;
    if (c->on_state) {
        struct client_news *n = mem_try(sizeof *n);
        if (!n) return;
        n->post.run = client_news_run;
        n->post.drop = client_news_drop;
        n->fn = c->on_state;
        n->user = c->user;
        n->state = c->state;
        n->session_id = c->session_id;
        client_post(c, &n->post);
    }
    c->told = c->state;
}

static void client_set_state(struct client *c, enum zk_state state) {
    if (c->state == state) return;
    c->state = state;
    client_tell_state(c);
    for (struct client_observer *o = c->observers, *next; o; o = next) {
        next = o->next;
        o->fn(o->user, state, c->session_id);
    }
}

ZK_PRIVATE void client_observe(struct client *c, struct client_observer *o) {
    o->next = c->observers;
    if (o->next) o->next->link = &o->next;
    o->link = &c->observers;
    c->observers = o;
}

ZK_PRIVATE void client_unobserve(struct client *c, struct client_observer *o) {
    (void)c;
    if (!o->link) return;
    *o->link = o->next;
    if (o->next) o->next->link = o->link;
    o->link = NULL;
}

/* --- timers --- */

ZK_PRIVATE void client_timer_stop(struct client *c, struct client_timer *t) {
    (void)c;
    if (!t->link) return;
    *t->link = t->next;
    if (t->next) t->next->link = t->link;
    t->link = NULL;
}

/* Kept in order of time; recipes have few, and most are set behind all others. */
ZK_PRIVATE void client_timer_set(struct client *c, struct client_timer *t, int64_t at) {
    client_timer_stop(c, t);
    struct client_timer **link = &c->timers;
    while (*link && (*link)->at <= at) link = &(*link)->next;
    t->at = at;
    t->next = *link;
    t->link = link;
    if (t->next) t->next->link = &t->next;
    *link = t;
}

static void client_run_timers(struct client *c) {
    int64_t now = c->now;
    while (c->timers && c->timers->at <= now) {
        struct client_timer *t = c->timers;
        client_timer_stop(c, t);
        t->fn(t->user);
    }
}

/* --- the end of requests --- */

/* Fails all of a list. What those who are told submit meanwhile goes to `waiting`, behind. */
static void client_fail(struct client *c, struct client_list *l, int error) {
    struct client_list all = *l;
    if (!all.first) return;
    list_init(l);
    if (l == &c->waiting) buf_clear(&c->held);
    for (struct client_request *r = all.first, *next; r; r = next) {
        next = r->next;
        client_finish(c, r, error, NULL);
    }
}

static void client_fail_auths(struct client *c, int error) {
    for (struct client_identity *i = c->identities; i; i = i->next) {
        struct client_request *r = i->request;
        i->request = NULL;
        if (r) client_finish(c, r, error, NULL);
    }
}

static void client_fail_all(struct client *c, int error) {
    c->unsent = 0;
    client_fail(c, &c->sent, error);
    client_fail(c, &c->waiting, error);
    client_fail_auths(c, error);
}

/* Takes a request out and leaves an empty one in its place, which the reply will find, or whose
 * frame will not be sent. NULL: no memory for that. */
static struct client_request *client_detach(struct client_list *l, struct client_request **link) {
    struct client_request *r = *link, *stub = mem_try(sizeof *stub);
    if (!stub) return NULL;
    stub->gone = true;
    stub->type = r->type;
    stub->xid = r->xid;
    stub->frame = r->frame;
    stub->deadline = INT64_MAX;
    stub->next = r->next;
    *link = stub;
    if (!r->next) l->last = &stub->next;
    return r;
}

static struct client_request **client_find(struct client *c, int64_t id, struct client_list **in) {
    struct client_list *lists[] = {&c->sent, &c->waiting};
    for (int i = 0; i < 2; i++) {
        *in = lists[i];
        for (struct client_request **link = &(*in)->first; *link; link = &(*link)->next)
            if ((*link)->id == id) return link;
    }
    return NULL;
}

/* One that waits for an identity to be taken. */
static struct client_request **client_find_auth(struct client *c, int64_t id) {
    for (struct client_identity *i = c->identities; i; i = i->next)
        if (i->request && i->request->id == id) return &i->request;
    return NULL;
}

/* Takes the request with this number from wherever it waits. NULL, with why: it is not there. */
static struct client_request *client_withdraw(struct client *c, int64_t id, int *why) {
    struct client_list *in;
    struct client_request **link = client_find_auth(c, id), *r;
    if (link) {
        r = *link;
        *link = NULL;
        return r;
    }
    link = client_find(c, id, &in);
    r = link ? client_detach(in, link) : NULL;
    *why = link ? ZK_OUT_OF_MEMORY : ZK_BAD_ARGUMENTS;
    return r;
}

ZK_PRIVATE int client_cancel(struct client *c, int64_t id) {
    int why = ZK_OK;
    struct client_request *r = id > 0 ? client_withdraw(c, id, &why) : NULL;
    if (!r) return id > 0 ? why : ZK_BAD_ARGUMENTS;
    client_finish(c, r, ZK_CANCELED, NULL);
    return ZK_OK;
}

ZK_PRIVATE bool client_forget(struct client *c, int64_t id) {
    struct client_list *in;
    struct client_request **link = id > 0 ? client_find_auth(c, id) : NULL;
    if (!link && id > 0) link = client_find(c, id, &in);
    if (!link) return false;
    (*link)->done = NULL; /* it goes its way, unheard; so do its watches */
    (*link)->watch = NULL;
    return true;
}

/* Ends what has waited longer than its caller wants; finds when to look again. */
static void client_expire_requests(struct client *c) {
    if (c->now < c->next_deadline) return;
    struct client_list *lists[] = {&c->sent, &c->waiting};
    c->next_deadline = INT64_MAX;
    for (int i = 0; i < 2; i++) {
        /* Who is told may submit more, which goes behind; nothing in the list is taken out. */
        for (struct client_request **link = &lists[i]->first; *link; link = &(*link)->next) {
            if ((*link)->deadline <= c->now) {
                struct client_request *r = client_detach(lists[i], link);
                if (r) client_finish(c, r, ZK_TIMED_OUT, NULL);
            }
            if ((*link)->deadline < c->next_deadline) c->next_deadline = (*link)->deadline;
        }
    }
    for (struct client_identity *n = c->identities; n; n = n->next) {
        struct client_request *r = n->request;
        if (!r || r->deadline > c->now) continue;
        n->request = NULL;
        client_finish(c, r, ZK_TIMED_OUT, NULL);
    }
}

/* --- sending --- */

static void client_trace(struct client *c, bool sent, struct slice frame) {
    if (c->on_frame) c->on_frame(c->frame_user, sent, frame.p, frame.n);
}

/* Accounts for a frame that stands at the end of out, from `at`. */
static void client_framed(struct client *c, size_t at) {
    c->spoke = c->now;
    c->counters.bytes_sent += c->out.n - at;
    client_trace(c, true, slice_of(c->out.p + at, c->out.n - at));
}

/* A packet of the session's own: its frame begins at the result. Room for it was reserved. */
static size_t client_begin(struct client *c, int32_t xid, int32_t op) {
    size_t at = c->out.n;
    jw_i32(&c->out, 0);
    jw_i32(&c->out, xid);
    jw_i32(&c->out, op);
    return at;
}

static void client_end_frame(struct client *c, size_t at) {
    put_be32(c->out.p + at, (uint32_t)(c->out.n - at - 4));
    client_framed(c, at);
}

static bool client_room(struct client *c, size_t n) {
    buf_compact(&c->out);
    return buf_try_reserve(&c->out, n);
}

static bool client_ping(struct client *c) {
    if (!client_room(c, 12)) return false;
    client_end_frame(c, client_begin(c, CLIENT_XID_PING, ZOP_PING));
    return true;
}

static bool client_send_identity(struct client *c, struct client_identity *i) {
    if (!client_room(c, 32 + i->scheme_len + i->auth_len)) return false;
    size_t at = client_begin(c, CLIENT_XID_AUTH, ZOP_AUTH);
    jw_i32(&c->out, 0);
    jw_bytes(&c->out, slice_of(i->scheme, i->scheme_len));
    jw_bytes(&c->out, slice_of(i->scheme + i->scheme_len + 1, i->auth_len));
    client_end_frame(c, at);
    if (!c->identity_next) c->identity_next = i;
    return true;
}

/* The lists of a setWatches packet, in its order. stock: SetWatches2 */
static const uint8_t CLIENT_WATCH_LISTS[] = {WATCH_BIT_DATA, WATCH_BIT_EXIST, WATCH_BIT_CHILD,
                                             WATCH_BIT_PERSISTENT, WATCH_BIT_RECURSIVE};
enum { CLIENT_LISTS = sizeof CLIENT_WATCH_LISTS, CLIENT_OLD_LISTS = 3 };

/* One batch: the paths from `from` up to `to`, which is not in it any more (NULL: to the end). */
static bool client_send_watches(struct client *c, const struct watched *from,
                                const struct watched *to, uint8_t all, size_t room) {
    if (!client_room(c, room)) return false;
    bool old = !(all & (WATCH_BIT_PERSISTENT | WATCH_BIT_RECURSIVE));
    size_t at = client_begin(c, CLIENT_XID_WATCHES, old ? ZOP_SET_WATCHES : ZOP_SET_WATCHES2);
    jw_i64(&c->out, c->zxid);
    for (int i = 0; i < (old ? CLIENT_OLD_LISTS : CLIENT_LISTS); i++) {
        size_t count_at = c->out.n;
        uint32_t count = 0;
        uint8_t bits;
        jw_i32(&c->out, 0);
        const struct watched *one = from;
        for (bits = watches_bits_of(one); one != to; one = watches_next(&c->watches, one, &bits)) {
            if (!(bits & CLIENT_WATCH_LISTS[i])) continue;
            jw_bytes(&c->out, slice_of(one->path, one->path_len));
            count++;
        }
        put_be32(c->out.p + count_at, count);
    }
    client_end_frame(c, at);
    return true;
}

/* stock: ClientCnxn.primeConnection */
static bool client_restore_watches(struct client *c) {
    if (c->flags & ZK_NO_WATCH_RESET) return true;
    const struct watched *from = NULL, *at = NULL;
    size_t paths = 0, room = 64;
    uint8_t bits, all = 0;
    while ((at = watches_next(&c->watches, at, &bits))) {
        if (!from) from = at;
        if (paths >= CLIENT_WATCHES_BATCH) {
            if (!client_send_watches(c, from, at, all, room)) return false;
            from = at;
            paths = 0;
            room = 64;
            all = 0;
        }
        all |= bits;
        for (int i = 0; i < CLIENT_LISTS; i++) {
            if (!(bits & CLIENT_WATCH_LISTS[i])) continue;
            paths += at->path_len;
            room += at->path_len + 4;
        }
    }
    return !from || client_send_watches(c, from, NULL, all, room);
}

/* What waited goes out, in order; who gave up meanwhile is skipped, with the frame. */
static bool client_send_waiting(struct client *c) {
    if (!client_room(c, buf_len(&c->held))) return false;
    struct client_request *r;
    while ((r = list_take(&c->waiting, &c->waiting.first))) {
        struct slice frame = slice_of(c->held.p + c->held.head, r->frame);
        if (r->gone) {
            mem_free(r);
        } else {
            size_t at = c->out.n;
            buf_put(&c->out, frame.p, frame.n);
            client_framed(c, at);
            list_put(&c->sent, r);
            c->unsent++;
        }
        buf_consume(&c->held, frame.n);
    }
    buf_free(&c->held);
    return true;
}

ZK_PRIVATE struct buf *client_out(struct client *c) {
    return &c->out;
}

ZK_PRIVATE void client_sent(struct client *c) {
    if (!buf_len(&c->out)) c->unsent = 0;
}

ZK_PRIVATE bool client_should_send(const struct client *c) {
    size_t n = buf_len(&c->out);
    if (!n || c->link < CLIENT_GREETING) return false;
    return c->link == CLIENT_GREETING || c->sent.n == c->unsent || n >= CLIENT_SEND_SOON;
}

/* --- submitting --- */

static int client_admit(struct client *c, const struct zk_op *op) {
    if (c->over) return c->over;
    if (c->said_goodbye) return ZK_CLOSING;
    int err = codec_check(op, client_chroot(c), c->max_packet);
    if (err) return err;
    if (c->link != CLIENT_UP && (c->flags & ZK_FAIL_FAST) && op->type != ZK_OP_ADD_AUTH)
        return ZK_CONNECTION_LOSS;
    size_t bytes = buf_len(&c->out) + buf_len(&c->held);
    if (c->sent.n + c->waiting.n >= CLIENT_WAITING_MAX || bytes >= CLIENT_OUT_MAX) return ZK_BUSY;
    return ZK_OK;
}

static struct client_request *client_make(struct client *c, const struct zk_op *op,
                                          enum client_way way, zk_result_fn done, void *user) {
    bool path = op->watch || op->type == ZK_OP_REMOVE_WATCHES;
    size_t n = path ? strlen(c->chroot) + 32 + (op->path ? strlen(op->path) : 0) : 0;
    struct client_request *r = mem_try(sizeof *r + n);
    if (!r) return NULL;
    if (path) {
        struct buf text = {.p = (uint8_t *)r->path, .cap = n};
        struct slice chroot = op->path ? client_chroot(c) : slice_of(NULL, 0);
        r->path_len = (uint32_t)codec_path(
            &text, slice_str(op->path ? op->path : CODEC_CONFIG_PATH), chroot).n;
    }
    int timeout = op->timeout_ms ? op->timeout_ms : c->op_timeout;
    r->post.run = client_request_run;
    r->post.drop = client_request_drop;
    r->deadline = timeout > 0 ? c->now + timeout : INT64_MAX;
    r->type = op->type;
    r->kind = op->watch_kind;
    r->inside = way != CLIENT_POSTED;
    r->watch_inside = way == CLIENT_INSIDE;
    r->local = op->local;
    r->done = done;
    r->user = user;
    r->watch = op->watch;
    r->watch_user = op->watch_user;
    return r;
}

static bool client_remember_identity(struct client *c, const struct zk_op *op,
                                     struct client_request *r) {
    size_t scheme = strlen(op->scheme), auth = op->data_len > 0 ? (size_t)op->data_len : 0;
    struct client_identity *i = mem_try(sizeof *i + scheme + 1 + auth);
    if (!i) return false;
    i->scheme_len = (uint32_t)scheme;
    i->auth_len = (uint32_t)auth;
    memcpy(i->scheme, op->scheme, scheme);
    if (auth) memcpy(i->scheme + scheme + 1, op->data, auth);
    struct client_identity **link = &c->identities;
    while (*link) link = &(*link)->next;
    *link = i;
    if (c->link == CLIENT_UP && !client_send_identity(c, i)) {
        *link = NULL;
        mem_free(i);
        return false;
    }
    i->request = r;
    return true;
}

/* Removing one of several watchers of a path is nothing that the server should hear of. */
static int client_admit_removal(struct client *c, struct client_request *r) {
    bool others;
    struct slice path = slice_of(r->path, r->path_len);
    if (!watches_held(&c->watches, path, watches_bits(r->kind), r->watch, r->watch_user, &others))
        return ZK_NO_WATCHER;
    r->on_server = !others;
    return ZK_OK;
}

static int32_t client_next_xid(struct client *c) {
    c->xid = c->xid == INT32_MAX ? 1 : c->xid + 1; /* never one of the special, negative ones */
    return c->xid;
}

/* Into out, or to what waits. */
static bool client_enqueue(struct client *c, const struct zk_op *op, struct client_request *r) {
    struct slice chroot = client_chroot(c);
    bool up = c->link == CLIENT_UP;
    struct buf *to = up ? &c->out : &c->held;
    buf_compact(to);
    if (!buf_try_reserve(to, codec_bound(op, chroot))) return false;
    size_t at = to->n;
    r->xid = client_next_xid(c);
    codec_request(to, op, r->xid, chroot);
    if (r->type == ZK_OP_REMOVE_WATCHES && !r->on_server)
        put_be32(to->p + at + 8, ZOP_CHECK_WATCHES); /* same record */
    r->frame = (uint32_t)(to->n - at);
    if (up) client_framed(c, at);
    list_put(up ? &c->sent : &c->waiting, r);
    if (up) c->unsent++;
    return true;
}

ZK_PRIVATE int64_t client_submit(struct client *c, const struct zk_op *op, enum client_way way,
                                 zk_result_fn done, void *user) {
    int err = client_admit(c, op);
    if (err) return err;
    struct client_request *r = client_make(c, op, way, done, user);
    if (!r) return ZK_OUT_OF_MEMORY;
    if (op->type == ZK_OP_REMOVE_WATCHES) err = client_admit_removal(c, r);
    if (!err) {
        bool ok = op->type == ZK_OP_ADD_AUTH ? client_remember_identity(c, op, r)
                                             : client_enqueue(c, op, r);
        if (!ok) err = ZK_OUT_OF_MEMORY;
    }
    if (err) {
        mem_free(r);
        return err;
    }
    r->id = ++c->ids;
    if (r->deadline < c->next_deadline) c->next_deadline = r->deadline;
    c->counters.requests++;
    return r->id;
}

ZK_PRIVATE void client_unwatch(struct client *c, zk_watch_fn fn, void *user) {
    watches_forget(&c->watches, fn, user);
    struct client_list *lists[] = {&c->sent, &c->waiting};
    for (int i = 0; i < 2; i++)
        for (struct client_request *r = lists[i]->first; r; r = r->next)
            if (r->watch == fn && r->watch_user == user) r->watch = NULL;
}

/* --- the connection --- */

/* stock: ClientCnxn, connectTimeout and readTimeout */
static int64_t client_read_timeout(const struct client *c) {
    return (int64_t)c->timeout * 2 / 3;
}

static int64_t client_attempt_ms(const struct client *c) {
    int64_t ms = c->timeout / (int64_t)c->hosts.n;
    return ms < 100 ? 100 : ms;
}

/* The session is over, for this reason; who waits hears it. */
static void client_over(struct client *c, int error, enum zk_state state) {
    if (c->over) return;
    c->over = error;
    if (c->link != CLIENT_RESTING) client_order(c, CLIENT_HANG_UP, NULL, NULL);
    c->link = CLIENT_RESTING;
    c->probe_at = INT64_MAX;
    buf_free(&c->in);
    buf_free(&c->out);
    client_fail_all(c, error);
    client_set_state(c, state);
}

/* Between attempts. Only what was sent is lost: what waits goes on waiting. */
static void client_rest(struct client *c) {
    c->link = CLIENT_RESTING;
    c->identity_next = NULL;
    c->probe_at = INT64_MAX;
    buf_free(&c->in);
    buf_free(&c->out);
    c->unsent = 0;
    int64_t most = c->timeout / 3 > 1 ? c->timeout / 3 : 1;
    c->rest_until = c->now + hosts_pause(&c->hosts, (uint32_t)most, &c->random);
    if (c->said_goodbye) {
        client_over(c, ZK_CLOSING, ZK_STATE_CLOSED);
        return;
    }
    if (c->state == ZK_STATE_CONNECTED || c->state == ZK_STATE_READ_ONLY) {
        c->lost_at = c->heard + c->timeout; /* from then on the server may have given it up */
        client_set_state(c, ZK_STATE_SUSPENDED);
    }
    client_fail(c, &c->sent, ZK_CONNECTION_LOSS);
    if (c->flags & ZK_FAIL_FAST) client_fail(c, &c->waiting, ZK_CONNECTION_LOSS);
    if (c->flags & ZK_NO_WATCH_RESET) watches_free(&c->watches);
}

/* Gives up the connection, or the attempt at one. */
static void client_break(struct client *c, int level, const char *why) {
    if (c->link == CLIENT_RESTING) return;
    client_say(c, level, "connection given up: ", why);
    bool steady = c->link == CLIENT_UP && c->now - c->up_since >= CLIENT_STEADY_MS;
    (steady ? hosts_worked : hosts_failed)(&c->hosts);
    client_order(c, CLIENT_HANG_UP, NULL, NULL);
    client_rest(c);
}

static void client_attempt(struct client *c) {
    const struct host *host = hosts_next(&c->hosts, &c->random);
    c->link = CLIENT_RESOLVING;
    c->attempt_until = c->now + client_attempt_ms(c);
    c->n_at = c->next_at = 0;
    client_order(c, CLIENT_RESOLVE, host, NULL);
}

static void client_dial_next(struct client *c) {
    if (c->next_at == c->n_at) {
        client_break(c, LOG_INFO_LEVEL, c->n_at ? "no address answers" : "unknown host");
        return;
    }
    c->link = CLIENT_DIALING;
    c->attempt_until = c->now + client_attempt_ms(c);
    client_order(c, CLIENT_DIAL, NULL, &c->at[c->next_at++]);
}

ZK_PRIVATE void client_resolved(struct client *c, const struct net_addr *at, int n) {
    if (c->link != CLIENT_RESOLVING) return;
    if (n > CLIENT_ADDRS) n = CLIENT_ADDRS;
    uint32_t first = n ? (uint32_t)prng_below(&c->random, (uint64_t)n) : 0;
    if (c->flags & ZK_KEEP_HOST_ORDER) first = 0;
    for (int i = 0; i < n; i++) c->at[i] = at[((int)first + i) % n];
    c->n_at = n;
    client_dial_next(c);
}

static bool client_greet(struct client *c) {
    if (!client_room(c, 64)) return false;
    size_t at = c->out.n;
    jw_i32(&c->out, 0);
    jw_i32(&c->out, 0); /* version of the protocol */
    jw_i64(&c->out, c->zxid);
    jw_i32(&c->out, c->wished);
    jw_i64(&c->out, c->writable_seen ? c->session_id : 0);
    jw_bytes(&c->out, slice_of(c->passwd, CLIENT_PASSWD));
    jw_u8(&c->out, (c->flags & ZK_CAN_BE_READ_ONLY) != 0);
    client_end_frame(c, at);
    return true;
}

ZK_PRIVATE void client_dialed(struct client *c, bool stands) {
    if (c->link != CLIENT_DIALING) return;
    if (!stands) {
        if (c->next_at < c->n_at) client_order(c, CLIENT_HANG_UP, NULL, NULL);
        client_dial_next(c);
        return;
    }
    c->link = CLIENT_GREETING;
    c->heard = c->now;
    c->attempt_until = c->now + client_read_timeout(c);
    if (!client_greet(c)) client_break(c, LOG_WARN_LEVEL, "out of memory");
}

ZK_PRIVATE void client_broken(struct client *c, const char *why) {
    client_break(c, LOG_INFO_LEVEL, why);
}

/* A session that is gone takes everything with it but, if a new one follows, the watches. */
static void client_expired(struct client *c) {
    client_say(c, LOG_WARN_LEVEL, "the session has expired", "");
    if (!(c->flags & ZK_RENEW_SESSION) || c->said_goodbye) {
        client_over(c, ZK_SESSION_EXPIRED, ZK_STATE_EXPIRED);
        return;
    }
    client_order(c, CLIENT_HANG_UP, NULL, NULL);
    c->link = CLIENT_RESTING;
    client_fail_all(c, ZK_SESSION_EXPIRED);
    client_set_state(c, ZK_STATE_EXPIRED);
    c->session_id = 0;
    c->writable_seen = false;
    memset(c->passwd, 0, sizeof c->passwd);
    client_rest(c);
    c->lost_at = INT64_MAX;
    c->rest_until = c->now;
}

/* Everything that goes out before the first request. */
static bool client_prime(struct client *c) {
    c->identity_next = NULL;
    for (struct client_identity *i = c->identities; i; i = i->next)
        if (!client_send_identity(c, i)) return false;
    return client_restore_watches(c) && client_send_waiting(c);
}

/* stock: ConnectResponse */
static void client_welcomed(struct client *c, struct slice frame) {
    struct jr r = jr_open(frame, CLIENT_PASSWD);
    (void)jr_i32(&r);
    int32_t timeout = jr_i32(&r);
    int64_t id = jr_i64(&r);
    struct slice passwd = jr_bytes(&r);
    bool read_only = jr_left(&r) && jr_bool(&r); /* absent from old servers */
    if (r.bad) {
        client_break(c, LOG_WARN_LEVEL, "the server's greeting makes no sense");
        return;
    }
    if (timeout <= 0) {
        client_expired(c);
        return;
    }
    if (passwd.n == CLIENT_PASSWD) memcpy(c->passwd, passwd.p, CLIENT_PASSWD);
    c->session_id = id;
    c->timeout = timeout;
    c->writable_seen = c->writable_seen || !read_only;
    c->link = CLIENT_UP;
    c->lost_at = INT64_MAX;
    c->probe_pause = CLIENT_PROBE_MIN_MS;
    c->probe_at = read_only ? c->now + c->probe_pause : INT64_MAX;
    c->counters.connects++;
    c->up_since = c->now;
    if (!client_prime(c)) {
        client_break(c, LOG_WARN_LEVEL, "out of memory");
        return;
    }
    client_set_state(c, read_only ? ZK_STATE_READ_ONLY : ZK_STATE_CONNECTED);
}

/* Looking for a server that can write, while content with one that cannot. */
static void client_probe(struct client *c) {
    c->probe_pause *= 2;
    if (c->probe_pause > CLIENT_PROBE_MAX_MS) c->probe_pause = CLIENT_PROBE_MAX_MS;
    c->probe_at = c->now + c->probe_pause;
    client_order(c, CLIENT_PROBE, hosts_next(&c->hosts, &c->random), NULL);
}

ZK_PRIVATE void client_probed(struct client *c, bool can_write) {
    if (!can_write || c->link != CLIENT_UP || c->state != ZK_STATE_READ_ONLY) return;
    c->hosts.next = c->hosts.current; /* that one again, this time for good */
    client_break(c, LOG_INFO_LEVEL, "there is a server that can write");
    c->rest_until = c->now;
}

/* --- what the server says --- */

/* The watch that a reply proves to be set. stock: ZooKeeper.WatchRegistration */
static uint8_t client_watch_set(const struct client_request *r, int32_t error) {
    bool missing = error == ZK_NO_NODE;
    switch (r->type) {
    case ZK_OP_GET:
    case ZK_OP_GET_CONFIG: return error ? 0 : WATCH_BIT_DATA;
    case ZK_OP_EXISTS:
        return missing ? WATCH_BIT_EXIST : error ? 0 : WATCH_BIT_DATA;
    case ZK_OP_GET_CHILDREN: return error ? 0 : WATCH_BIT_CHILD;
    case ZK_OP_ADD_WATCH:
        if (error && !missing) return 0;
        return r->kind == ZK_WATCH_RECURSIVE ? WATCH_BIT_RECURSIVE : WATCH_BIT_PERSISTENT;
    default: return 0;
    }
}

struct client_removal {
    struct client *c;
    struct slice path; /* without the chroot, followed by a NUL */
};

static bool client_tell_removed(void *user, const struct watcher *who) {
    static const struct {
        uint8_t bits;
        enum zk_event_type type;
    } KINDS[] = {{WATCH_BIT_CHILD, ZK_CHILD_WATCH_REMOVED},
                 {WATCH_BIT_DATA | WATCH_BIT_EXIST, ZK_DATA_WATCH_REMOVED},
                 {WATCH_BIT_PERSISTENT | WATCH_BIT_RECURSIVE, ZK_PERSISTENT_WATCH_REMOVED}};
    struct client_removal *at = user;
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        struct zk_event e = {KINDS[i].type, (const char *)at->path.p, -1};
        if ((who->bits & KINDS[i].bits) && !who->inside) (void)client_tell_event(at->c, who, &e);
    }
    return true;
}

static int32_t client_settle_removal(struct client *c, struct client_request *r, int32_t error) {
    if (error && !(r->local && error == ZK_CONNECTION_LOSS)) return error;
    struct slice path = slice_of(r->path, r->path_len);
    struct client_removal at = {c, codec_strip(path, client_chroot(c))};
    watches_remove(&c->watches, path, watches_bits(r->kind), r->watch, r->watch_user,
                   client_tell_removed, &at);
    return ZK_OK;
}

static void client_reply(struct client *c, struct client_request *r, int64_t zxid, int32_t error,
                         struct slice body) {
    if (r->gone) {
        mem_free(r);
        return;
    }
    uint8_t bits = r->watch ? client_watch_set(r, error) : 0;
    struct watcher who = {NULL, r->watch, r->watch_user, bits, r->watch_inside};
    if (bits && !watches_add(&c->watches, slice_of(r->path, r->path_len), &who)) {
        client_finish(c, r, ZK_OUT_OF_MEMORY, NULL);
        return;
    }
    if (r->type == ZK_OP_REMOVE_WATCHES) error = client_settle_removal(c, r, error);
    struct zk_result *result = codec_reply(r->type, zxid, error, body, client_chroot(c));
    client_finish(c, r, result ? result->error : ZK_OUT_OF_MEMORY, result);
}

struct client_firing {
    struct client *c;
    struct zk_event event;
};

static bool client_fire(void *user, const struct watcher *who) {
    struct client_firing *f = user;
    return client_tell_event(f->c, who, &f->event);
}

static void client_event(struct client *c, int64_t zxid, struct jr *r) {
    struct buf path = {0};
    int32_t type = jr_i32(r);
    (void)jr_i32(r); /* a state: always connected */
    struct slice full = jr_bytes(r);
    if (r->bad || !full.n || memchr(full.p, '\0', full.n)) {
        client_break(c, LOG_WARN_LEVEL, "an event makes no sense");
        return;
    }
    if (type < ZK_NODE_CREATED || type > ZK_NODE_CHILDREN_CHANGED) return;
    c->counters.events++;
    if (!buf_try_reserve(&path, full.n + 1)) {
        client_break(c, LOG_WARN_LEVEL, "out of memory");
        return;
    }
    buf_put(&path, full.p, full.n);
    buf_putc(&path, '\0');
    full = slice_of(path.p, full.n);
    struct client_firing f = {c, {(enum zk_event_type)type, NULL, zxid}};
    f.event.path = (const char *)codec_strip(full, client_chroot(c)).p;
    if (!watches_fire(&c->watches, f.event.type, full, client_fire, &f))
        client_break(c, LOG_WARN_LEVEL, "out of memory");
    buf_free(&path);
}

static void client_auth_reply(struct client *c, int32_t error) {
    struct client_identity *i = c->identity_next;
    if (!i) {
        client_break(c, LOG_WARN_LEVEL, "a reply to no request");
        return;
    }
    if (error) {
        client_say(c, LOG_WARN_LEVEL, "the server refuses an identity of scheme ", i->scheme);
        client_over(c, ZK_AUTH_FAILED, ZK_STATE_AUTH_FAILED);
        return;
    }
    struct client_request *r = i->request;
    c->identity_next = i->next;
    i->request = NULL;
    if (r) client_finish(c, r, ZK_OK, NULL);
}

static void client_frame(struct client *c, struct slice frame) {
    struct jr r = jr_open(frame, c->max_packet);
    int32_t xid = jr_i32(&r);
    int64_t zxid = jr_i64(&r);
    int32_t error = jr_i32(&r);
    if (r.bad) {
        client_break(c, LOG_WARN_LEVEL, "a reply is too short");
        return;
    }
    switch (xid) {
    case CLIENT_XID_PING:
    case CLIENT_XID_WATCHES: return;
    case CLIENT_XID_EVENT: client_event(c, zxid, &r); return;
    case CLIENT_XID_AUTH: client_auth_reply(c, error); return;
    default: break;
    }
    if (!c->sent.first || c->sent.first->xid != xid) {
        client_break(c, LOG_WARN_LEVEL, "a reply to no request, or out of order");
        return;
    }
    if (zxid > 0) c->zxid = zxid;
    c->counters.replies++;
    struct client_request *request = list_take(&c->sent, &c->sent.first);
    if (c->unsent > c->sent.n) c->unsent = c->sent.n;
    client_reply(c, request, zxid, error, slice_of(r.p, jr_left(&r)));
}

/* One whole frame, without its length. */
static void client_take_frame(struct client *c, struct slice frame) {
    if (c->link == CLIENT_GREETING)
        client_welcomed(c, frame);
    else
        client_frame(c, frame);
}

/* How much of the bytes could be used. */
static size_t client_parse(struct client *c, struct slice bytes) {
    size_t at = 0;
    while (bytes.n - at >= 4 && c->link >= CLIENT_GREETING) {
        uint32_t n = be32(bytes.p + at);
        if (n > c->max_packet) {
            client_break(c, LOG_WARN_LEVEL, "a reply is larger than max_packet");
            return bytes.n;
        }
        if (bytes.n - at - 4 < n) break;
        client_trace(c, false, slice_of(bytes.p + at, 4 + n));
        struct slice frame = slice_of(bytes.p + at + 4, n);
        at += 4 + n;
        client_take_frame(c, frame);
    }
    return c->link >= CLIENT_GREETING ? at : bytes.n;
}

ZK_PRIVATE void client_received(struct client *c, struct slice bytes) {
    if (c->link < CLIENT_GREETING) return;
    c->heard = c->now;
    c->counters.bytes_received += bytes.n;
    if (!buf_len(&c->in)) {
        size_t used = client_parse(c, bytes);
        bytes = slice_of(bytes.p + used, bytes.n - used);
        if (!bytes.n || c->link < CLIENT_GREETING) return;
    }
    buf_compact(&c->in);
    if (!buf_try_reserve(&c->in, bytes.n)) {
        client_break(c, LOG_WARN_LEVEL, "out of memory");
        return;
    }
    buf_put(&c->in, bytes.p, bytes.n);
    struct buf in = c->in; /* a reply may break the connection and free what is read */
    memset(&c->in, 0, sizeof c->in);
    buf_consume(&in, client_parse(c, buf_slice(&in)));
    if (buf_len(&in) && c->link >= CLIENT_GREETING)
        c->in = in;
    else
        buf_free(&in);
}

/* --- time --- */

static void client_keep_alive(struct client *c) {
    if (c->now - c->heard >= client_read_timeout(c)) {
        client_break(c, LOG_WARN_LEVEL, "the server has gone silent");
        return;
    }
    if (c->now - c->spoke >= c->timeout / 3 && !client_ping(c))
        client_break(c, LOG_WARN_LEVEL, "out of memory");
}

ZK_PRIVATE void client_clock(struct client *c, int64_t now) {
    if (now > c->now) c->now = now;
}

ZK_PRIVATE void client_tick(struct client *c, int64_t now) {
    client_clock(c, now);
    client_tell_state(c);
    if (c->over) return;
    if (c->state == ZK_STATE_SUSPENDED && c->now >= c->lost_at) {
        c->lost_at = INT64_MAX;
        client_set_state(c, ZK_STATE_LOST);
    }
    switch (c->link) {
    case CLIENT_RESTING:
        if (c->now >= c->rest_until) client_attempt(c);
        break;
    case CLIENT_RESOLVING:
    case CLIENT_DIALING:
    case CLIENT_GREETING:
        if (c->now >= c->attempt_until) client_break(c, LOG_INFO_LEVEL, "it takes too long");
        break;
    case CLIENT_UP:
        client_keep_alive(c);
        if (c->now >= c->probe_at) client_probe(c);
        break;
    }
    client_expire_requests(c);
    client_run_timers(c);
}

static int64_t client_link_next(const struct client *c) {
    int64_t ping, silent;
    switch (c->link) {
    case CLIENT_RESTING: return c->rest_until;
    case CLIENT_UP:
        ping = c->spoke + c->timeout / 3;
        silent = c->heard + client_read_timeout(c);
        return ping < silent ? ping : silent;
    default: return c->attempt_until;
    }
}

ZK_PRIVATE int64_t client_next_at(const struct client *c) {
    if (c->over) return c->told == c->state ? INT64_MAX : c->now + 100;
    int64_t at = client_link_next(c);
    if (c->link == CLIENT_UP && c->probe_at < at) at = c->probe_at;
    if (c->next_deadline < at) at = c->next_deadline;
    if (c->state == ZK_STATE_SUSPENDED && c->lost_at < at) at = c->lost_at;
    if (c->timers && c->timers->at < at) at = c->timers->at;
    return at;
}

/* --- beginning and end --- */

ZK_PRIVATE int client_new(struct client **out, struct client_setup *setup) {
    const struct zk_options *o = setup->options;
    struct client *c = mem_try(sizeof *c);
    size_t chroot = strlen(setup->chroot);
    if (c) c->chroot = mem_try(chroot + 1);
    if (!c || !c->chroot) {
        mem_free(c);
        return ZK_OUT_OF_MEMORY;
    }
    if (chroot > 1) memcpy(c->chroot, setup->chroot, chroot); /* "/" alone is none */
    c->random.state = setup->seed;
    c->watches.seed = prng_next(&c->random);
    c->hosts = setup->hosts;
    memset(&setup->hosts, 0, sizeof setup->hosts);
    c->flags = o->flags;
    if (!(c->flags & ZK_KEEP_HOST_ORDER)) hosts_shuffle(&c->hosts, &c->random);
    c->now = c->started = c->rest_until = setup->now;
    c->wished = c->timeout = o->session_timeout_ms > 0 ? o->session_timeout_ms : 30000;
    c->op_timeout = o->op_timeout_ms ? o->op_timeout_ms : c->wished;
    c->max_packet = o->max_packet ? o->max_packet : JUTE_MAX_BUFFER;
    if (c->max_packet > INT32_MAX) c->max_packet = INT32_MAX;
    c->session_id = o->session_id;
    if (o->session_id && o->session_passwd) memcpy(c->passwd, o->session_passwd, CLIENT_PASSWD);
    c->writable_seen = o->session_id != 0;
    c->lost_at = c->probe_at = c->next_deadline = INT64_MAX;
    c->state = c->told = ZK_STATE_CONNECTING;
    list_init(&c->sent);
    list_init(&c->waiting);
    c->last_post = &c->posts;
    c->log.max_level = LOG_DEBUG_LEVEL;
    c->on_state = o->on_state;
    c->user = o->user;
    c->on_frame = o->on_frame;
    c->frame_user = o->frame_user;
    *out = c;
    return ZK_OK;
}

static void client_free_list(struct client_list *l) {
    for (struct client_request *r = l->first, *next; r; r = next) {
        next = r->next;
        client_request_drop(&r->post);
    }
}

ZK_PRIVATE void client_free(struct client *c) {
    if (!c) return;
    client_free_list(&c->sent);
    client_free_list(&c->waiting);
    for (struct client_identity *i = c->identities, *next; i; i = next) {
        next = i->next;
        if (i->request) client_request_drop(&i->request->post);
        mem_free(i);
    }
    for (struct client_post *p = c->posts, *next; p; p = next) {
        next = p->next;
        p->drop(p);
    }
    watches_free(&c->watches);
    hosts_free(&c->hosts);
    buf_free(&c->held);
    buf_free(&c->in);
    buf_free(&c->out);
    buf_free(&c->log.lines);
    mem_free(c->chroot);
    mem_free(c);
}

static void client_goodbye(void *user, const struct zk_result *result) {
    (void)result;
    client_end(user);
}

ZK_PRIVATE void client_close(struct client *c, bool politely) {
    if (c->over || c->said_goodbye) return;
    struct client_request *r = politely && c->link == CLIENT_UP ? mem_try(sizeof *r) : NULL;
    if (!r || !client_room(c, 12)) {
        mem_free(r);
        client_end(c);
        return;
    }
    c->said_goodbye = true;
    r->type = ZK_OP_WHO_AM_I; /* whose reply is empty too when it is an error, and harmless else */
    r->inside = true;
    r->done = client_goodbye;
    r->user = c;
    r->deadline = INT64_MAX;
    r->xid = client_next_xid(c);
    client_end_frame(c, client_begin(c, r->xid, ZOP_CLOSE_SESSION));
    list_put(&c->sent, r);
    c->unsent = c->sent.n; /* send it now */
}

ZK_PRIVATE void client_end(struct client *c) {
    c->said_goodbye = true;
    client_over(c, ZK_CLOSING, ZK_STATE_CLOSED);
}

/* --- facts --- */

ZK_PRIVATE bool client_is_over(const struct client *c) {
    return c->over != 0;
}

ZK_PRIVATE int client_error(const struct client *c) {
    return c->over;
}

ZK_PRIVATE bool client_set_hosts(struct client *c, struct hosts *hosts) {
    if (!(c->flags & ZK_KEEP_HOST_ORDER)) hosts_shuffle(hosts, &c->random);
    bool move = hosts_replace(&c->hosts, hosts, c->link >= CLIENT_GREETING, &c->random);
    if (move || c->link == CLIENT_RESOLVING || c->link == CLIENT_DIALING) {
        client_break(c, LOG_INFO_LEVEL, "the list of servers has changed");
        c->rest_until = c->now;
    }
    return move;
}

ZK_PRIVATE int64_t client_now(const struct client *c) {
    return c->now;
}

ZK_PRIVATE uint64_t client_random(struct client *c) {
    return prng_next(&c->random);
}

ZK_PRIVATE enum zk_state client_state(const struct client *c) {
    return c->state;
}

ZK_PRIVATE int64_t client_session_id(const struct client *c) {
    return c->session_id;
}

ZK_PRIVATE bool client_is_up(const struct client *c) {
    return c->state == ZK_STATE_CONNECTED;
}

ZK_PRIVATE const uint8_t *client_passwd(const struct client *c) {
    return c->passwd;
}

ZK_PRIVATE int client_timeout(const struct client *c) {
    return c->timeout;
}

ZK_PRIVATE int64_t client_last_zxid(const struct client *c) {
    return c->zxid;
}

ZK_PRIVATE bool client_connection_is_up(const struct client *c) {
    return c->link == CLIENT_UP;
}

ZK_PRIVATE const struct net_addr *client_address(const struct client *c) {
    return c->link == CLIENT_UP ? &c->at[c->next_at - 1] : NULL;
}

ZK_PRIVATE void client_counters(const struct client *c, struct zk_counters *out) {
    *out = c->counters;
    out->watches = c->watches.watchers;
    out->waiting = c->sent.n + c->waiting.n;
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/recipe.c ==== */



#define RECIPE_RETRY_MS 5      /* before the first repetition; doubled each time */
#define RECIPE_RETRY_STEPS 8   /* ... so often */
#define RECIPE_NO_MEMORY_MS 50 /* until another try to get it */

/* --- text --- */

ZK_PRIVATE char *recipe_copy(const char *s, size_t n) {
    char *copy = mem_try(n + 1);
    if (copy && n) memcpy(copy, s, n);
    return copy;
}

ZK_PRIVATE char *recipe_join(const char *dir, const char *name) {
    size_t n = strlen(dir), m = strlen(name);
    if (n == 1) n = 0; /* the root */
    char *path = mem_try(n + m + 2);
    if (!path) return NULL;
    memcpy(path, dir, n);
    path[n] = '/';
    memcpy(path + n + 1, name, m + 1);
    return path;
}

ZK_PRIVATE bool recipe_path_ok(const char *path) {
    return path && path_valid(slice_str(path)) && path[1] != '\0';
}

ZK_PRIVATE void recipe_guid(struct client *c, bool dashes, char out[RECIPE_GUID + 1]) {
    static const char hex[] = "0123456789abcdef";
    char *p = out;
    uint64_t bits = 0;
    for (unsigned i = 0; i < 32; i++) {
        if (i % 16 == 0) bits = client_random(c);
        if (dashes && (i == 8 || i == 12 || i == 16 || i == 20)) *p++ = '-';
        unsigned digit = (unsigned)(bits & 15);
        if (i == 12) digit = 4; /* version and variant of a random UUID */
        if (i == 16) digit = 8 | (digit & 3);
        *p++ = hex[digit];
        bits >>= 4;
    }
    *p = '\0';
}

static struct zk_acl *recipe_copy_acl(const struct zk_acl *acl, int count) {
    size_t n = sizeof *acl * (size_t)count;
    for (int i = 0; i < count; i++) n += strlen(acl[i].scheme) + strlen(acl[i].id) + 2;
    struct zk_acl *copy = mem_try(n);
    if (!copy) return NULL;
    char *text = (char *)(copy + count);
    for (int i = 0; i < count; i++) {
        size_t scheme = strlen(acl[i].scheme) + 1, id = strlen(acl[i].id) + 1;
        copy[i].perms = acl[i].perms;
        copy[i].scheme = memcpy(text, acl[i].scheme, scheme);
        copy[i].id = memcpy(text + scheme, acl[i].id, id);
        text += scheme + id;
    }
    return copy;
}

ZK_PRIVATE int recipe_node_init(struct recipe_node *n, const void *data, int data_len,
                                const struct zk_acl *acl, int acl_count) {
    memset(n, 0, sizeof *n);
    if (data_len < 0 || (data_len && !data) || acl_count < 0 || (acl && !acl_count) ||
        (acl_count && !acl))
        return ZK_BAD_ARGUMENTS;
    for (int i = 0; i < acl_count; i++)
        if (!acl[i].scheme || !acl[i].id) return ZK_BAD_ARGUMENTS;
    if (data_len) n->data = recipe_copy(data, (size_t)data_len);
    if (acl) n->acl = recipe_copy_acl(acl, acl_count);
    n->data_len = data_len;
    n->acl_count = acl_count;
    if ((!data_len || n->data) && (!acl || n->acl)) return ZK_OK;
    recipe_node_free(n);
    return ZK_OUT_OF_MEMORY;
}

ZK_PRIVATE void recipe_node_free(struct recipe_node *n) {
    mem_free(n->data);
    mem_free(n->acl);
    memset(n, 0, sizeof *n);
}

ZK_PRIVATE struct zk_op recipe_create(const struct recipe_node *n, const char *path,
                                      enum zk_create_mode mode) {
    struct zk_op op = zk_create(path, n->data, n->data_len, mode);
    op.acl = n->acl;
    op.acl_count = n->acl_count;
    return op;
}

/* --- sequential names --- */

ZK_PRIVATE bool recipe_sequence(const char *name, const char *marker, int32_t *seq) {
    const char *found = NULL;
    for (const char *p = name; (p = strstr(p, marker)) != NULL; p++) found = p;
    if (!found) return false;
    const char *digits = found + strlen(marker);
    bool minus = *digits == '-';
    if (minus) digits++;
    if (strlen(digits) != 10) return false;
    int64_t value = 0;
    for (int i = 0; i < 10; i++) {
        if (digits[i] < '0' || digits[i] > '9') return false;
        value = value * 10 + (digits[i] - '0');
    }
    if (minus) value = -value;
    if (value < INT32_MIN || value > INT32_MAX) return false;
    *seq = (int32_t)value;
    return true;
}

/* --- errors --- */

ZK_PRIVATE bool recipe_unknown(int error) {
    return error == ZK_CONNECTION_LOSS || error == ZK_OPERATION_TIMEOUT ||
           error == ZK_REQUEST_TIMEOUT;
}

ZK_PRIVATE bool recipe_transient(int error) {
    switch (error) {
    case ZK_SESSION_EXPIRED: /* a new session may follow; else the client refuses the repetition */
    case ZK_SESSION_MOVED:
    case ZK_NOT_READ_ONLY: /* until there is a quorum again */
    case ZK_THROTTLED_OP:
    case ZK_BUSY: return true;
    default: return recipe_unknown(error);
    }
}

/* --- ask --- */

/* What the client is given to call: a recipe may go while its requests are being failed, when they
 * cannot be forgotten any more. */
struct ask_ticket {
    struct ask *ask; /* NULL: nobody wants to know any more */
    int64_t id;
};

static void ask_submit(struct ask *a);

static void ask_fire(void *user) {
    struct ask *a = user;
    if (!a->refused) {
        ask_submit(a);
        return;
    }
    struct zk_result r;
    memset(&r, 0, sizeof r);
    r.error = a->refused;
    r.data_len = -1;
    a->done(a->user, &r);
}

static void ask_again(struct ask *a) {
    unsigned steps = a->tries < RECIPE_RETRY_STEPS ? a->tries : RECIPE_RETRY_STEPS;
    uint64_t most = (uint64_t)RECIPE_RETRY_MS << steps;
    a->tries++;
    client_timer_set(a->c, &a->timer,
                     client_now(a->c) + (int64_t)(most / 2 + client_random(a->c) % most));
}

/* Whether the error is worth another try. */
static bool ask_passes(const struct ask *a, int error) {
    if (a->last || client_is_over(a->c)) return false;
    return recipe_transient(error) || (a->kind == ASK_FOREVER && error == ZK_OUT_OF_MEMORY);
}

static void ask_answer(void *user, const struct zk_result *r) {
    struct ask_ticket *ticket = user;
    struct ask *a = ticket->ask;
    mem_free(ticket);
    if (!a) return;
    a->ticket = NULL;
    bool told = a->kind == ASK_SURELY && recipe_unknown(r->error);
    if (!told && ask_passes(a, r->error))
        ask_again(a);
    else
        a->done(a->user, r);
}

static int ask_try(struct ask *a) {
    a->ticket = mem_try(sizeof *a->ticket);
    if (!a->ticket) return ZK_OUT_OF_MEMORY;
    a->ticket->ask = a;
    int64_t id = client_submit(a->c, &a->op, CLIENT_INSIDE, ask_answer, a->ticket);
    if (id > 0) {
        a->ticket->id = id;
        return ZK_OK;
    }
    mem_free(a->ticket);
    a->ticket = NULL;
    return (int)id;
}

static void ask_submit(struct ask *a) {
    int error = ask_try(a);
    if (!error) return;
    if (ask_passes(a, error)) {
        ask_again(a);
        return;
    }
    a->refused = error;
    client_timer_set(a->c, &a->timer, client_now(a->c));
}

ZK_PRIVATE void ask_start(struct ask *a, struct client *c, struct zk_op op, enum ask_kind kind,
                          zk_result_fn done, void *user) {
    ZK_ASSERT(!ask_busy(a));
    memset(a, 0, sizeof *a);
    a->c = c;
    a->op = op;
    a->op.timeout_ms = -1;
    a->kind = kind;
    a->done = done;
    a->user = user;
    a->timer.fn = ask_fire;
    a->timer.user = a;
    ask_submit(a);
}

ZK_PRIVATE void ask_stop(struct ask *a) {
    if (a->ticket) {
        a->ticket->ask = NULL;
        if (client_forget(a->c, a->ticket->id)) mem_free(a->ticket);
    }
    a->ticket = NULL;
    if (a->timer.link) client_timer_stop(a->c, &a->timer);
}

ZK_PRIVATE bool ask_sent(const struct ask *a) {
    return a->ticket != NULL;
}

ZK_PRIVATE bool ask_busy(const struct ask *a) {
    return a->ticket || a->timer.link;
}

/* --- mkdirs --- */

static void mkdirs_step(struct mkdirs *m);

static void mkdirs_end(struct mkdirs *m, int error) {
    mem_free(m->at);
    m->at = NULL;
    m->done(m->user, error);
}

/* The parent is missing. False: there is none that could be made. */
static bool mkdirs_up(struct mkdirs *m) {
    size_t up = m->end;
    while (m->at[--up] != '/') continue;
    if (!up) return false;
    if (m->end < m->n) m->at[m->end] = '/';
    m->at[up] = '\0';
    m->end = up;
    return true;
}

static void mkdirs_down(struct mkdirs *m) {
    m->at[m->end] = '/';
    while (++m->end < m->n && m->at[m->end] != '/') continue;
    m->at[m->end] = '\0';
}

static void mkdirs_answer(void *user, const struct zk_result *r) {
    struct mkdirs *m = user;
    int error = r->error == ZK_NODE_EXISTS ? ZK_OK : r->error;
    if (error == ZK_UNIMPLEMENTED && !m->plain) {
        m->plain = true;
    } else if (error == ZK_NO_NODE) {
        if (!mkdirs_up(m)) {
            mkdirs_end(m, error);
            return;
        }
    } else if (error || m->end == m->n) {
        mkdirs_end(m, error);
        return;
    } else {
        mkdirs_down(m);
    }
    mkdirs_step(m);
}

static void mkdirs_step(struct mkdirs *m) {
    struct zk_op op = zk_create(m->at, "", 0, m->plain ? ZK_PERSISTENT : ZK_CONTAINER);
    op.acl = m->node->acl;
    op.acl_count = m->node->acl_count;
    ask_start(&m->ask, m->ask.c, op, ASK_ALWAYS, mkdirs_answer, m);
}

ZK_PRIVATE int mkdirs_start(struct mkdirs *m, struct client *c, const char *path,
                            const struct recipe_node *node, void (*done)(void *user, int error),
                            void *user) {
    memset(m, 0, sizeof *m);
    m->ask.c = c;
    m->node = node;
    m->n = m->end = path_parent(slice_str(path)).n;
    if (!m->n) return ZK_NO_NODE; /* a top-level path under a chroot that is not there */
    m->at = recipe_copy(path, m->n);
    if (!m->at) return ZK_OUT_OF_MEMORY;
    m->done = done;
    m->user = user;
    mkdirs_step(m);
    return ZK_OK;
}

ZK_PRIVATE void mkdirs_stop(struct mkdirs *m) {
    ask_stop(&m->ask);
    mem_free(m->at);
    m->at = NULL;
}

/* --- wish --- */

struct wish_post {
    struct client_post post;
    zk_done_fn done;
    void *user;
    int error;
};

static void wish_run(struct client_post *p) {
    struct wish_post *w = (struct wish_post *)p;
    w->done(w->user, w->error);
    mem_free(w);
}

static void wish_drop(struct client_post *p) {
    mem_free(p);
}

ZK_PRIVATE int wish_begin(struct wish *w, struct client *c, const void *owner, int timeout_ms,
                          void (*late)(void *user), void *user, zk_done_fn done,
                          void *done_user) {
    if (w->open) return ZK_IN_USE;
    if (done) {
        w->post = mem_try(sizeof *w->post);
        if (!w->post) return ZK_OUT_OF_MEMORY;
        w->post->post.owner = owner;
        w->post->post.run = wish_run;
        w->post->post.drop = wish_drop;
        w->post->done = done;
        w->post->user = done_user;
    }
    w->c = c;
    w->open = true;
    w->timer.fn = late;
    w->timer.user = user;
    if (timeout_ms >= 0) client_timer_set(c, &w->timer, client_now(c) + timeout_ms);
    return ZK_OK;
}

ZK_PRIVATE void wish_end(struct wish *w, int error) {
    if (!w->open) return;
    w->open = false;
    w->error = error;
    if (w->timer.link) client_timer_stop(w->c, &w->timer);
    if (!w->post) return;
    w->post->error = error;
    client_post(w->c, &w->post->post);
    w->post = NULL;
}

ZK_PRIVATE void wish_stop(struct wish *w) {
    if (w->timer.link) client_timer_stop(w->c, &w->timer);
    mem_free(w->post);
    w->post = NULL;
    w->open = false;
}

ZK_PRIVATE bool wish_over(const void *wish) {
    return !((const struct wish *)wish)->open;
}

/* --- notice --- */

struct notice_post {
    struct client_post post;
    zk_hold_fn fn;
    void *user;
    enum zk_hold_state state;
    int64_t token;
};

static void notice_run(struct client_post *p) {
    struct notice_post *n = (struct notice_post *)p;
    n->fn(n->user, n->state, n->token);
    mem_free(n);
}

static void notice_drop(struct client_post *p) {
    mem_free(p);
}

static void notice_post(void *user) {
    struct notice *n = user;
    struct notice_post *p = mem_try(sizeof *p);
    if (!p) {
        client_timer_set(n->c, &n->timer, client_now(n->c) + RECIPE_NO_MEMORY_MS);
        return;
    }
    p->post.owner = n->owner;
    p->post.run = notice_run;
    p->post.drop = notice_drop;
    p->fn = n->fn;
    p->user = n->user;
    p->state = n->state;
    p->token = n->token;
    client_post(n->c, &p->post);
}

ZK_PRIVATE void notice_init(struct notice *n, struct client *c, const void *owner, zk_hold_fn fn,
                            void *user) {
    memset(n, 0, sizeof *n);
    n->c = c;
    n->owner = owner;
    n->fn = fn;
    n->user = user;
    n->timer.fn = notice_post;
    n->timer.user = n;
}

ZK_PRIVATE void notice_tell(struct notice *n, enum zk_hold_state state, int64_t token) {
    if (n->state == state && n->token == token) return;
    n->state = state;
    n->token = token;
    if (!n->fn) return;
    if (n->timer.link) client_timer_stop(n->c, &n->timer);
    notice_post(n);
}

ZK_PRIVATE void notice_stop(struct notice *n) {
    if (n->timer.link) client_timer_stop(n->c, &n->timer);
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/protect.c ==== */


#define PROTECT_SEQUENCE 11 /* characters: a counter that ran over has a minus */

static void protect_create(struct protect *p);
static void protect_search(struct protect *p);
static void protect_delete(struct protect *p);

/* --- ends --- */

ZK_PRIVATE void protect_stop(struct protect *p) {
    ask_stop(&p->ask);
    mkdirs_stop(&p->parents);
    mem_free(p->dir);
    mem_free(p->name);
    mem_free(p->wish);
    mem_free(p->path);
    p->dir = p->name = p->wish = p->path = NULL;
    p->state = PROTECT_GONE;
}

static void protect_gone(struct protect *p) {
    protect_stop(p);
    p->fn(p->user, PROTECT_IS_GONE);
}

static void protect_failed(struct protect *p, int error) {
    if (p->dropped) {
        protect_gone(p);
        return;
    }
    protect_stop(p);
    p->error = error;
    p->fn(p->user, PROTECT_FAILED);
}

static void protect_there(struct protect *p) {
    if (p->dropped) {
        protect_delete(p);
        return;
    }
    p->state = PROTECT_THERE;
    p->fn(p->user, PROTECT_IS_THERE);
}

/* --- creating --- */

/* The name it got: the one asked for, and a sequence. False: a server does not answer like that. */
static bool protect_named(struct protect *p, const char *name) {
    size_t n = strlen(name), asked = strlen(p->wish) - p->name_at;
    if (n > asked + PROTECT_SEQUENCE || strncmp(name, p->wish + p->name_at, asked) != 0)
        return false;
    memcpy(p->path, p->wish, p->name_at);
    memcpy(p->path + p->name_at, name, n + 1);
    return true;
}

/* A path that nobody has used before. */
static int protect_new_name(struct protect *p) {
    char guid[RECIPE_GUID + 1];
    recipe_guid(p->c, !p->kazoo, guid);
    size_t n = strlen(guid);
    size_t guid_len = p->kazoo ? n : n + 4;
    char *last = mem_try(guid_len + strlen(p->name) + 1);
    if (!last) return ZK_OUT_OF_MEMORY;
    if (!p->kazoo) memcpy(last, "_c_", 3);
    memcpy(last + (p->kazoo ? 0 : 3), guid, n);
    if (!p->kazoo) last[n + 3] = '-';
    memcpy(last + guid_len, p->name, strlen(p->name) + 1);
    mem_free(p->wish);
    p->wish = recipe_join(p->dir, last);
    mem_free(last);
    mem_free(p->path);
    p->path = p->wish ? mem_try(strlen(p->wish) + PROTECT_SEQUENCE + 1) : NULL;
    if (!p->path) return ZK_OUT_OF_MEMORY;
    p->name_at = strlen(p->wish) - guid_len - strlen(p->name);
    return ZK_OK;
}

static void protect_with_parents(void *user, int error) {
    struct protect *p = user;
    if (error)
        protect_failed(p, error);
    else
        protect_create(p);
}

static void protect_created(void *user, const struct zk_result *r) {
    struct protect *p = user;
    if (r->error == ZK_OK && r->path && strlen(r->path) > p->name_at &&
        protect_named(p, r->path + p->name_at)) {
        p->czxid = r->has_stat ? r->stat.czxid : r->zxid;
        protect_there(p);
    } else if (recipe_unknown(r->error)) {
        protect_search(p);
    } else if (p->dropped) {
        protect_gone(p);
    } else if (recipe_transient(r->error)) {
        protect_create(p);
    } else if (r->error == ZK_NO_NODE) {
        p->state = PROTECT_PARENTS;
        int error = mkdirs_start(&p->parents, p->c, p->wish, p->node, protect_with_parents, p);
        if (error) protect_failed(p, error);
    } else {
        protect_failed(p, r->error ? r->error : ZK_MARSHALLING_ERROR);
    }
}

static void protect_create(struct protect *p) {
    p->state = PROTECT_CREATING;
    ask_start(&p->ask, p->c, recipe_create(p->node, p->wish, p->mode), ASK_SURELY,
              protect_created, p);
}

/* --- searching --- */

static void protect_evicted(void *user, const struct zk_result *r) {
    struct protect *p = user;
    int error = r->error == ZK_NO_NODE ? ZK_OK : r->error;
    if (!error && !p->dropped) error = protect_new_name(p);
    if (error || p->dropped)
        protect_failed(p, error);
    else
        protect_create(p);
}

static void protect_checked(void *user, const struct zk_result *r) {
    struct protect *p = user;
    bool ours = r->error == ZK_OK && r->stat.ephemeral_owner == client_session_id(p->c);
    if (ours) {
        p->czxid = r->stat.czxid;
        protect_there(p);
    } else if (r->error && r->error != ZK_NO_NODE) {
        protect_failed(p, r->error);
    } else {
        p->state = PROTECT_EVICTING;
        ask_start(&p->ask, p->c, zk_delete(p->path, -1), ASK_FOREVER, protect_evicted, p);
    }
}

static void protect_searched(void *user, const struct zk_result *r) {
    struct protect *p = user;
    if (r->error && r->error != ZK_NO_NODE) {
        protect_failed(p, r->error);
        return;
    }
    for (int i = 0; i < r->count; i++) {
        if (!protect_named(p, r->names[i])) continue;
        p->state = PROTECT_CHECKING;
        ask_start(&p->ask, p->c, zk_exists(p->path), ASK_FOREVER, protect_checked, p);
        return;
    }
    if (p->dropped)
        protect_gone(p);
    else
        protect_create(p);
}

static void protect_synced(void *user, const struct zk_result *r) {
    struct protect *p = user;
    if (r->error) {
        protect_failed(p, r->error);
        return;
    }
    p->state = PROTECT_SEARCHING;
    ask_start(&p->ask, p->c, zk_get_children(p->dir), ASK_FOREVER, protect_searched, p);
}

static void protect_search(struct protect *p) {
    p->state = PROTECT_SYNCING;
    ask_start(&p->ask, p->c, zk_sync(p->dir), ASK_FOREVER, protect_synced, p);
}

/* --- there, and away --- */

static void protect_asked(void *user, const struct zk_result *r) {
    struct protect *p = user;
    bool ours = r->error == ZK_OK && r->stat.ephemeral_owner == client_session_id(p->c) &&
                r->stat.czxid == p->czxid;
    p->state = PROTECT_THERE;
    if (ours)
        p->fn(p->user, PROTECT_IS_THERE);
    else if (r->error == ZK_OK || r->error == ZK_NO_NODE)
        protect_gone(p);
    else
        protect_failed(p, r->error);
}

ZK_PRIVATE void protect_ask(struct protect *p) {
    if (p->state != PROTECT_THERE) return;
    p->state = PROTECT_ASKING;
    ask_start(&p->ask, p->c, zk_exists(p->path), ASK_ALWAYS, protect_asked, p);
}

/* Whatever the answer was: what may pass was repeated, the rest will not change. */
static void protect_deleted(void *user, const struct zk_result *r) {
    (void)r;
    protect_gone(user);
}

static void protect_delete(struct protect *p) {
    p->state = PROTECT_DELETING;
    ask_start(&p->ask, p->c, zk_delete(p->path, -1), ASK_FOREVER, protect_deleted, p);
}

ZK_PRIVATE bool protect_drop(struct protect *p) {
    if (p->dropped) return p->state == PROTECT_GONE;
    p->dropped = true;
    switch (p->state) {
    case PROTECT_IDLE:
    case PROTECT_GONE:
    case PROTECT_PARENTS: protect_stop(p); return true;
    case PROTECT_CREATING:
        p->ask.last = true;
        if (ask_sent(&p->ask)) return false;
        protect_stop(p); /* it was refused, and waited for another try */
        return true;
    case PROTECT_THERE:
    case PROTECT_ASKING:
        ask_stop(&p->ask);
        protect_delete(p);
        return false;
    default: return false; /* it ends by itself */
    }
}

ZK_PRIVATE const char *protect_name(const struct protect *p) {
    return p->path + p->name_at;
}

ZK_PRIVATE int protect_start(struct protect *p, struct client *c, const char *dir,
                             const char *name, bool kazoo, enum zk_create_mode mode,
                             const struct recipe_node *node,
                             void (*fn)(void *user, enum protect_event event), void *user) {
    memset(p, 0, sizeof *p);
    p->c = c;
    p->kazoo = kazoo;
    p->mode = mode;
    p->node = node;
    p->fn = fn;
    p->user = user;
    p->dir = recipe_copy(dir, strlen(dir));
    p->name = recipe_copy(name, strlen(name));
    int error = p->dir && p->name ? protect_new_name(p) : ZK_OUT_OF_MEMORY;
    if (error)
        protect_stop(p);
    else
        protect_create(p);
    return error;
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/line.c ==== */


#define LINE_NAME 64 /* bytes of a name and a sequence */

static void line_look(struct line *l);
static void line_wait(struct line *l);
static void line_woken(void *user, const struct zk_event *event);

/* --- leaving --- */

static void line_free(void *user) {
    struct line *l = user;
    client_unobserve(l->c, &l->observer);
    if (l->watching) client_unwatch(l->c, line_woken, l);
    client_timer_stop(l->c, &l->timer);
    ask_stop(&l->ask);
    ask_stop(&l->removal);
    protect_stop(&l->own);
    mem_free(l->ahead);
    mem_free(l->dir);
    mem_free(l);
}

static void line_unwatch(struct line *l) {
    if (l->watching) client_unwatch(l->c, line_woken, l);
    l->watching = false;
}

/* Of one that was left: true when nothing is left to do. */
static bool line_is_done(struct line *l);

static void line_tidy(struct line *l) {
    if (line_is_done(l)) line_free(l);
}

static void line_removed(void *user, const struct zk_result *r) {
    struct line *l = user;
    (void)r;
    line_unwatch(l);
    line_tidy(l);
}

static bool line_is_done(struct line *l) {
    if (ask_busy(&l->ask) || ask_busy(&l->removal)) return false;
    if (l->watching && client_is_up(l->c)) {
        struct zk_op op = zk_remove_watches(l->counting ? l->dir : l->ahead,
                                            l->counting ? ZK_WATCH_CHILDREN : ZK_WATCH_DATA,
                                            line_woken, l);
        op.local = true;
        ask_start(&l->removal, l->c, op, ASK_ALWAYS, line_removed, l);
        l->removal.last = true;
        return false;
    }
    return l->own.state == PROTECT_GONE;
}

ZK_PRIVATE void line_leave(struct line *l) {
    l->left = true;
    l->fn = NULL;
    client_timer_stop(l->c, &l->timer);
    (void)protect_drop(&l->own);
    l->ask.last = true; /* the answer to what was sent may set a watch */
    if (!ask_sent(&l->ask)) ask_stop(&l->ask);
    if (!line_is_done(l)) return;
    l->timer.fn = line_free;
    client_timer_set(l->c, &l->timer, client_now(l->c));
}

static void line_tell(struct line *l, enum line_event event, int error) {
    if (l->fn) l->fn(l->user, event, error);
}

static void line_fail(struct line *l, int error) {
    line_tell(l, LINE_FAILED, error);
}

/* --- who is ahead --- */

ZK_PRIVATE bool line_contends(const struct line_rule *rule, const char *name, int32_t *seq) {
    for (int i = 0; i < rule->blocker_count; i++)
        if (recipe_sequence(name, rule->blockers[i], seq)) return true;
    return false;
}

static bool line_before(int32_t seq_a, const char *a, int32_t seq_b, const char *b) {
    return seq_a != seq_b ? seq_a < seq_b : strcmp(a, b) < 0;
}

/* The nearest one ahead of us, or NULL. */
static const char *line_nearest(const struct line *l, const struct zk_result *r) {
    const char *own = protect_name(&l->own), *best = NULL;
    int32_t best_seq = 0, seq;
    for (int i = 0; i < r->count; i++) {
        const char *name = r->names[i];
        if (!line_contends(l->rule, name, &seq) || !line_before(seq, name, l->seq, own)) continue;
        if (seq == l->seq && l->rule->ties_pass) continue;
        if (best && line_before(seq, name, best_seq, best)) continue;
        best = name;
        best_seq = seq;
    }
    return best;
}

/* With leases: whether there are more contenders than those. */
static bool line_is_crowded(const struct line *l, const struct zk_result *r) {
    int32_t seq, n = 0;
    for (int i = 0; i < r->count; i++) n += line_contends(l->rule, r->names[i], &seq);
    return n > l->rule->leases;
}

static bool line_has_own(const struct line *l, const struct zk_result *r) {
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->names[i], protect_name(&l->own)) == 0) return true;
    return false;
}

static void line_set_first(struct line *l) {
    l->first = true;
    line_tell(l, LINE_FIRST, ZK_OK);
}

/* Our node is gone, with its session or by force. */
static void line_begin_again(struct line *l) {
    bool first = l->first;
    l->first = false;
    protect_stop(&l->own);
    client_timer_set(l->c, &l->timer, client_now(l->c));
    if (first) line_tell(l, LINE_GONE, ZK_OK);
}

static void line_looked(void *user, const struct zk_result *r) {
    struct line *l = user;
    if (l->left) {
        if (r->error) l->watching = false;
        line_tidy(l);
        return;
    }
    if (r->error && r->error != ZK_NO_NODE) {
        line_fail(l, r->error);
        return;
    }
    if (r->error || !line_has_own(l, r)) {
        line_begin_again(l);
        return;
    }
    if (l->counting) {
        if (line_is_crowded(l, r))
            line_tell(l, LINE_BEHIND, ZK_OK);
        else
            line_set_first(l);
        return;
    }
    const char *nearest = line_nearest(l, r);
    mem_free(l->ahead);
    l->ahead = nearest ? recipe_join(l->dir, nearest) : NULL;
    if (!nearest)
        line_set_first(l);
    else if (l->ahead)
        line_wait(l);
    else
        line_fail(l, ZK_OUT_OF_MEMORY);
}

static void line_look(struct line *l) {
    struct zk_op op = zk_get_children(l->dir);
    if (l->counting) op = zk_watching(op, line_woken, l);
    if (l->counting) l->watching = true;
    ask_start(&l->ask, l->c, op, ASK_ALWAYS, line_looked, l);
}

/* --- waiting --- */

static void line_waits(void *user, const struct zk_result *r) {
    struct line *l = user;
    if (r->error) l->watching = false;
    if (l->left) {
        line_tidy(l);
    } else if (r->error == ZK_NO_NODE) {
        line_look(l);
    } else if (r->error) {
        line_fail(l, r->error);
    } else {
        l->watching = true;
        line_tell(l, LINE_BEHIND, ZK_OK);
    }
}

/* By get, not by exists, which would leave a watch on a node that is gone. */
static void line_wait(struct line *l) {
    l->watching = true;
    ask_start(&l->ask, l->c, zk_watching(zk_get(l->ahead), line_woken, l), ASK_ALWAYS, line_waits,
              l);
}

static void line_woken(void *user, const struct zk_event *event) {
    struct line *l = user;
    l->watching = false;
    /* The answer that is on its way is newer than the event. */
    if (l->left || l->first || l->own.state != PROTECT_THERE || ask_busy(&l->ask)) return;
    if (event->type == ZK_NODE_DATA_CHANGED)
        line_wait(l);
    else
        line_look(l);
}

/* --- the own node --- */

static void line_is_there(struct line *l) {
    if (l->first) {
        line_tell(l, LINE_FIRST, ZK_OK);
        return;
    }
    if (!recipe_sequence(protect_name(&l->own), l->rule->name, &l->seq))
        line_fail(l, ZK_MARSHALLING_ERROR);
    else if (l->seq < 0)
        line_fail(l, ZK_SEQUENCE_OVERFLOW);
    else
        line_look(l);
}

static void line_own(void *user, enum protect_event event) {
    struct line *l = user;
    if (l->left) {
        line_tidy(l);
    } else if (event == PROTECT_IS_THERE) {
        line_is_there(l);
    } else if (event == PROTECT_FAILED) {
        line_fail(l, l->own.error);
    } else {
        line_begin_again(l);
    }
}

static int line_start(struct line *l) {
    const struct line_rule *rule = l->rule;
    char name[LINE_NAME];
    enum zk_create_mode mode = rule->place ? ZK_EPHEMERAL : ZK_EPHEMERAL_SEQUENTIAL;
    size_t n = strlen(rule->name), m = rule->place ? strlen(rule->place) : 0;
    ZK_ASSERT(n + m < sizeof name);
    memcpy(name, rule->name, n);
    memcpy(name + n, rule->place ? rule->place : "", m + 1);
    return protect_start(&l->own, l->c, l->dir, name, rule->kazoo, mode, l->node, line_own, l);
}

static void line_start_again(void *user) {
    struct line *l = user;
    int error = line_start(l);
    if (error) line_fail(l, error);
}

/* --- the session --- */

/* It ended, and our node with it. */
static void line_expired(struct line *l) {
    ask_stop(&l->ask);
    ask_stop(&l->removal);
    line_unwatch(l);
    if (l->left)
        line_free(l);
    else
        line_begin_again(l);
}

/* The connection is back: whether our node is still there, and whom we wait for. */
static void line_reconnected(struct line *l) {
    if (l->left || l->own.state != PROTECT_THERE) return;
    if (l->first)
        protect_ask(&l->own);
    else if (!ask_busy(&l->ask) && l->ahead)
        line_wait(l);
    else if (!ask_busy(&l->ask))
        line_look(l);
}

static void line_state(void *user, enum zk_state state, int64_t session_id) {
    struct line *l = user;
    (void)session_id;
    if (client_is_over(l->c)) {
        line_fail(l, client_error(l->c));
        if (l->left) line_free(l);
        return;
    }
    switch (state) {
    case ZK_STATE_CONNECTED: line_reconnected(l); break;
    case ZK_STATE_SUSPENDED: line_tell(l, LINE_DOUBT, ZK_OK); break;
    case ZK_STATE_LOST: line_tell(l, LINE_LATE, ZK_OK); break;
    case ZK_STATE_EXPIRED: line_expired(l); break;
    case ZK_STATE_CONNECTING:
    case ZK_STATE_READ_ONLY:
    case ZK_STATE_AUTH_FAILED:
    case ZK_STATE_CLOSED: break;
    }
}

ZK_PRIVATE int line_join(struct line **out, struct client *c, const char *dir,
                         const struct line_rule *rule, const struct recipe_node *node, line_fn fn,
                         void *user) {
    struct line *l = mem_try(sizeof *l);
    *out = NULL;
    if (!l) return ZK_OUT_OF_MEMORY;
    l->c = c;
    l->rule = rule;
    l->node = node;
    l->counting = rule->leases > 0;
    l->fn = fn;
    l->user = user;
    l->timer.fn = line_start_again;
    l->timer.user = l;
    l->dir = recipe_copy(dir, strlen(dir));
    int error = l->dir ? line_start(l) : ZK_OUT_OF_MEMORY;
    if (error) {
        mem_free(l->dir);
        mem_free(l);
        return error;
    }
    l->observer.fn = line_state;
    l->observer.user = l;
    client_observe(c, &l->observer);
    *out = l;
    return ZK_OK;
}

ZK_PRIVATE int64_t line_token(const struct line *l) {
    return l->own.czxid;
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/lock.c ==== */


#include <stdio.h>

/* The names of the own nodes, and of those who keep one waiting, for each kind and each library. */
struct lock_names {
    const char *own, *blockers[2];
};
static const struct lock_names LOCK_NAMES[][2] = {
    [ZK_LOCK_MUTEX] = {{"lock-", {"lock-", NULL}}, {"__lock__", {"__lock__", NULL}}},
    [ZK_LOCK_WRITE] = {{"__WRIT__", {"__WRIT__", "__READ__"}},
                       {"__lock__", {"__lock__", "__rlock__"}}},
    [ZK_LOCK_READ] = {{"__READ__", {"__WRIT__", NULL}}, {"__rlock__", {"__lock__", NULL}}},
    [ZK_LOCK_LEASE] = {{"lock-", {"lock-", NULL}}, {NULL, {NULL, NULL}}},
};
static const char *const LOCK_LEASES[] = {"lease-"};

/* --- making --- */

/* The kind's own blockers and the extra patterns, copied, in one block. */
static int lock_blockers(struct lock *l, const struct zk_lock_options *o,
                         const struct lock_names *names) {
    int own = names->blockers[1] ? 2 : 1, n = own + o->extra_count;
    size_t bytes = sizeof *l->blockers * (size_t)n;
    for (int i = 0; i < o->extra_count; i++) {
        if (!o->extra_patterns[i] || !*o->extra_patterns[i]) return ZK_BAD_ARGUMENTS;
        bytes += strlen(o->extra_patterns[i]) + 1;
    }
    l->blockers = mem_try(bytes);
    if (!l->blockers) return ZK_OUT_OF_MEMORY;
    char *text = (char *)(l->blockers + n);
    for (int i = 0; i < n; i++) {
        if (i < own) {
            l->blockers[i] = names->blockers[i];
            continue;
        }
        size_t len = strlen(o->extra_patterns[i - own]) + 1;
        l->blockers[i] = memcpy(text, o->extra_patterns[i - own], len);
        text += len;
    }
    l->rule.blockers = l->blockers;
    l->rule.blocker_count = n;
    return ZK_OK;
}

static bool lock_options_ok(const char *path, const struct zk_lock_options *o) {
    bool lease = o->kind == ZK_LOCK_LEASE;
    if (!recipe_path_ok(path) || o->kind < ZK_LOCK_MUTEX || o->kind > ZK_LOCK_LEASE) return false;
    if (lease ? o->leases < 1 || o->kazoo || o->reentrant : o->leases != 0) return false;
    return o->extra_count >= 0 && (!o->extra_count || o->extra_patterns);
}

ZK_PRIVATE int lock_init(struct lock *l, struct client *c, const void *owner, const char *path,
                         const struct zk_lock_options *options) {
    static const struct zk_lock_options plain;
    const struct zk_lock_options *o = options ? options : &plain;
    memset(l, 0, sizeof *l);
    l->c = c;
    if (!lock_options_ok(path, o)) return ZK_BAD_ARGUMENTS;
    const struct lock_names *names = &LOCK_NAMES[o->kind][o->kazoo];
    bool lease = o->kind == ZK_LOCK_LEASE;
    l->reentrant = o->reentrant;
    l->rule.name = names->own;
    l->rule.kazoo = o->kazoo;
    l->rule.ties_pass = o->kind == ZK_LOCK_READ;
    l->lease_rule.name = LOCK_LEASES[0];
    l->lease_rule.blockers = LOCK_LEASES;
    l->lease_rule.blocker_count = 1;
    l->lease_rule.leases = o->leases;
    notice_init(&l->notice, c, owner, o->on_state, o->user);
    int error = recipe_node_init(&l->node, o->data, o->data_len, o->acl, o->acl_count);
    if (!error) error = lock_blockers(l, o, names);
    if (!error) {
        l->path = lease ? recipe_join(path, "locks") : recipe_copy(path, strlen(path));
        if (lease) l->leases = recipe_join(path, "leases");
        if (!l->path || (lease && !l->leases)) error = ZK_OUT_OF_MEMORY;
    }
    if (error) lock_free(l);
    return error;
}

/* --- leaving --- */

static void lock_leave(struct lock *l) {
    if (l->line) line_leave(l->line);
    if (l->lease) line_leave(l->lease);
    l->line = l->lease = NULL;
    l->depth = 0;
}

ZK_PRIVATE void lock_free(struct lock *l) {
    lock_leave(l);
    wish_stop(&l->wish);
    notice_stop(&l->notice);
    recipe_node_free(&l->node);
    mem_free(l->blockers);
    mem_free(l->path);
    mem_free(l->leases);
}

static void lock_give_up(struct lock *l, int error) {
    lock_leave(l);
    notice_tell(&l->notice, ZK_HOLD_NONE, 0);
    wish_end(&l->wish, error);
}

static void lock_lost(struct lock *l) {
    lock_leave(l);
    notice_tell(&l->notice, ZK_HOLD_LOST, 0);
}

static void lock_late(void *user) {
    lock_give_up(user, ZK_TIMED_OUT);
}

/* --- what the lines say --- */

static bool lock_is_held(const struct lock *l) {
    return l->notice.state == ZK_HOLD_OWNED || l->notice.state == ZK_HOLD_SUSPENDED;
}

static void lock_own(struct lock *l, struct line *by) {
    if (!l->depth) l->depth = 1;
    notice_tell(&l->notice, ZK_HOLD_OWNED, line_token(by));
    wish_end(&l->wish, ZK_OK);
}

/* Whether it stands and falls with the line that says something. */
static void lock_trouble(struct lock *l, enum line_event event, int error) {
    bool held = lock_is_held(l);
    if (event == LINE_DOUBT && held)
        notice_tell(&l->notice, ZK_HOLD_SUSPENDED, l->notice.token);
    else if (event == LINE_FAILED && !held)
        lock_give_up(l, error);
    else if ((event == LINE_LATE || event == LINE_GONE || event == LINE_FAILED) && held)
        lock_lost(l);
    else if (event == LINE_BEHIND && l->trying)
        lock_give_up(l, ZK_LOCKED);
    else if (event == LINE_DOUBT && l->trying)
        lock_give_up(l, ZK_CONNECTION_LOSS);
}

static void lock_on_lease(void *user, enum line_event event, int error) {
    struct lock *l = user;
    if (event != LINE_FIRST) {
        lock_trouble(l, event, error);
        return;
    }
    if (l->line) line_leave(l->line);
    l->line = NULL;
    lock_own(l, l->lease);
}

static void lock_on_line(void *user, enum line_event event, int error) {
    struct lock *l = user;
    if (!l->leases) {
        if (event == LINE_FIRST)
            lock_own(l, l->line);
        else
            lock_trouble(l, event, error);
    } else if (event == LINE_GONE) { /* it begins again, and the lease after it */
        if (l->lease) line_leave(l->lease);
        l->lease = NULL;
    } else if (event != LINE_FIRST) {
        lock_trouble(l, event, error);
    } else if (!l->lease) {
        error = line_join(&l->lease, l->c, l->leases, &l->lease_rule, &l->node, lock_on_lease, l);
        if (error) lock_give_up(l, error);
    }
}

/* --- what the user does --- */

static int lock_join(struct lock *l, int timeout_ms, zk_done_fn done, void *user) {
    int error = wish_begin(&l->wish, l->c, l->notice.owner, timeout_ms, lock_late, l, done, user);
    if (error) return error;
    error = line_join(&l->line, l->c, l->path, &l->rule, &l->node, lock_on_line, l);
    if (error)
        wish_stop(&l->wish);
    else
        notice_tell(&l->notice, ZK_HOLD_WAITING, 0);
    return error;
}

ZK_PRIVATE int lock_acquire(struct lock *l, int timeout_ms, bool trying, zk_done_fn done,
                            void *user) {
    if (l->notice.state == ZK_HOLD_OWNED && l->reentrant) {
        int error = wish_begin(&l->wish, l->c, l->notice.owner, -1, lock_late, l, done, user);
        if (error) return error;
        l->depth++;
        wish_end(&l->wish, ZK_OK);
        return ZK_OK;
    }
    if (l->line || l->lease) return ZK_IN_USE;
    if (trying && !client_is_up(l->c)) return ZK_CONNECTION_LOSS;
    l->trying = trying;
    l->rule.place = NULL;
    return lock_join(l, timeout_ms, done, user);
}

ZK_PRIVATE int lock_downgrade(struct lock *write, struct lock *read, int timeout_ms,
                              zk_done_fn done, void *user) {
    bool fit = !write->leases && !read->leases && !write->rule.ties_pass && read->rule.ties_pass &&
               !read->rule.kazoo && strcmp(write->rule.name, "__WRIT__") == 0 &&
               strcmp(write->path, read->path) == 0;
    if (!fit) return ZK_BAD_ARGUMENTS;
    if (read->line) return ZK_IN_USE;
    if (write->notice.state != ZK_HOLD_OWNED) return ZK_NOT_OWNED;
    (void)snprintf(read->place, sizeof read->place, "%010d", (int)write->line->seq);
    read->trying = false;
    read->rule.place = read->place;
    return lock_join(read, timeout_ms, done, user);
}

ZK_PRIVATE int lock_release(struct lock *l) {
    switch (l->notice.state) {
    case ZK_HOLD_NONE: return ZK_NOT_OWNED;
    case ZK_HOLD_WAITING: lock_give_up(l, ZK_CANCELED); return ZK_OK;
    case ZK_HOLD_OWNED:
    case ZK_HOLD_SUSPENDED:
    case ZK_HOLD_LOST: break;
    }
    if (l->depth > 1) {
        l->depth--;
        return ZK_OK;
    }
    lock_leave(l);
    notice_tell(&l->notice, ZK_HOLD_NONE, 0);
    return ZK_OK;
}

ZK_PRIVATE int64_t lock_token(const struct lock *l) {
    return l->notice.state == ZK_HOLD_OWNED ? l->notice.token : 0;
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== client/latch.c ==== */


static const char *const LATCH_NAME[] = {"latch-"};
static const char *const LATCH_SELECTOR_NAME[] = {"lock-"};

static void latch_on_line(void *user, enum line_event event, int error) {
    struct latch *l = user;
    enum zk_hold_state state = l->notice.state;
    switch (event) {
    case LINE_FIRST:
        notice_tell(&l->notice, ZK_HOLD_OWNED, line_token(l->line));
        wish_end(&l->wish, ZK_OK);
        break;
    case LINE_BEHIND: notice_tell(&l->notice, ZK_HOLD_WAITING, 0); break;
    case LINE_DOUBT:
        if (state == ZK_HOLD_OWNED)
            notice_tell(&l->notice, ZK_HOLD_SUSPENDED, l->notice.token);
        break;
    case LINE_LATE:
    case LINE_GONE:
        if (state == ZK_HOLD_OWNED || state == ZK_HOLD_SUSPENDED)
            notice_tell(&l->notice, ZK_HOLD_LOST, 0);
        break;
    case LINE_FAILED:
        line_leave(l->line);
        l->line = NULL;
        l->error = error;
        if (state == ZK_HOLD_OWNED || state == ZK_HOLD_SUSPENDED)
            notice_tell(&l->notice, ZK_HOLD_LOST, 0);
        notice_tell(&l->notice, ZK_HOLD_NONE, 0);
        wish_end(&l->wish, error);
        break;
    }
}

static int latch_join(struct latch *l) {
    int error = line_join(&l->line, l->c, l->path, &l->rule, &l->node, latch_on_line, l);
    notice_tell(&l->notice, error ? ZK_HOLD_NONE : ZK_HOLD_WAITING, 0);
    l->error = error;
    return error;
}

ZK_PRIVATE int latch_init(struct latch *l, struct client *c, const void *owner, const char *path,
                          const struct zk_leader_options *options) {
    static const struct zk_leader_options plain;
    const struct zk_leader_options *o = options ? options : &plain;
    const char *id = o->id ? o->id : "";
    memset(l, 0, sizeof *l);
    l->c = c;
    if (!recipe_path_ok(path) || strlen(id) > INT32_MAX) return ZK_BAD_ARGUMENTS;
    l->rule.blockers = o->selector ? LATCH_SELECTOR_NAME : LATCH_NAME;
    l->rule.name = l->rule.blockers[0];
    l->rule.blocker_count = 1;
    notice_init(&l->notice, c, owner, o->on_state, o->user);
    int error = recipe_node_init(&l->node, id, (int)strlen(id), o->acl, o->acl_count);
    l->path = recipe_copy(path, strlen(path));
    if (!error && !l->path) error = ZK_OUT_OF_MEMORY;
    if (!error) error = latch_join(l);
    if (error) latch_free(l);
    return error;
}

ZK_PRIVATE void latch_free(struct latch *l) {
    if (l->line) line_leave(l->line);
    l->line = NULL;
    wish_stop(&l->wish);
    notice_stop(&l->notice);
    recipe_node_free(&l->node);
    mem_free(l->path);
    l->path = NULL;
}

static void latch_late(void *user) {
    struct latch *l = user;
    wish_end(&l->wish, ZK_TIMED_OUT);
}

ZK_PRIVATE int latch_wait(struct latch *l, int timeout_ms, zk_done_fn done, void *user) {
    if (!l->line) return l->error;
    int error = wish_begin(&l->wish, l->c, l->notice.owner, timeout_ms, latch_late, l, done, user);
    if (!error && l->notice.state == ZK_HOLD_OWNED) wish_end(&l->wish, ZK_OK);
    return error;
}

ZK_PRIVATE int latch_resign(struct latch *l) {
    if (l->notice.state != ZK_HOLD_OWNED && l->notice.state != ZK_HOLD_SUSPENDED)
        return ZK_NOT_OWNED;
    line_leave(l->line);
    l->line = NULL;
    return latch_join(l);
}

ZK_PRIVATE const char *latch_first(const struct latch *l, const struct zk_result *children) {
    const char *best = NULL;
    int32_t seq, best_seq = 0;
    for (int i = 0; i < children->count; i++) {
        const char *name = children->names[i];
        if (!line_contends(&l->rule, name, &seq)) continue;
        if (best && (seq != best_seq ? seq > best_seq : strcmp(name, best) > 0)) continue;
        best = name;
        best_seq = seq;
    }
    return best;
}
#endif /* ZK_WITH_CLIENT */

/* ==== host/os.h ==== */

/*
 * host/os: the system calls. Every other room that needs the operating system asks here.
 *
 * The functions are thin: they retry EINTR, turn errors into -errno, and nothing else. A simulator
 * that wants to lose power in the middle of a write puts its own file in place of os.c.
 */
#ifndef ZK_HOST_OS_H
#define ZK_HOST_OS_H


/* --- time and randomness --- */
ZK_PRIVATE int64_t os_now_ms(void);  /* monotonic */
ZK_PRIVATE int64_t os_wall_ms(void); /* since 1970 */
ZK_PRIVATE uint64_t os_seed(void);
ZK_PRIVATE const char *os_error(int err, char *buf, size_t n); /* text of a negative result */

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
ZK_PRIVATE int os_dup_over(int fd, int number); /* number now is what fd is, and fd is closed */
ZK_PRIVATE int os_dup(int fd);
ZK_PRIVATE void os_shut(int fd); /* ends both directions; whoever waits for it wakes */
ZK_PRIVATE int os_wait_readable(int fd, int timeout_ms); /* 0: not within that time */

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
/* Readable when os_poller_wait would not wait; -1 where there is no such descriptor. Only where
 * there is one may other threads change the poller while one waits. */
ZK_PRIVATE int os_poller_fd(const struct os_poller *p);
ZK_PRIVATE int os_poller_wait(struct os_poller *p, struct os_event *out, int max, int timeout_ms);

/* --- facts for `envi` and mntr --- */
ZK_PRIVATE void os_environment(struct buf *out); /* "key=value\n" lines */
ZK_PRIVATE int64_t os_open_files(void);
ZK_PRIVATE int64_t os_max_files(void);

#endif

#if ZK_WITH_SERVER
/* ==== host/writer.h ==== */

/*
 * host/writer: a file that is written front to back, past the page cache where that is possible.
 *
 * Copying into the cache costs more than anything else about a log or a snapshot, and dirty pages
 * of one file make the sync of another wait. Bytes are staged in an aligned buffer and written in
 * whole pages; the last, incomplete page is written with zeros behind it and kept, to be written
 * again with what follows. Where the file system has no direct writes the same calls go through the
 * cache, byte-exact.
 *
 *   pos      offset in the file of the first staged byte; a multiple of the page when direct
 *   staged   bytes in the stage; those below `kept` have been written already
 */
#ifndef ZK_HOST_WRITER_H
#define ZK_HOST_WRITER_H


#define WRITER_PAGE 4096u
#define WRITER_STAGE (1u << 20)

struct writer {
    int fd; /* -1: closed */
    bool direct;
    uint8_t *mem;   /* owned; holds the aligned stage */
    uint8_t *stage; /* WRITER_STAGE bytes */
    size_t staged, kept;
    int64_t pos;
};

/* All return 0 or -errno. Creates or truncates; direct only when it is wanted and possible. */
ZK_PRIVATE int writer_open(struct writer *w, const char *path, bool direct);
ZK_PRIVATE int writer_put(struct writer *w, struct slice bytes); /* may write */
ZK_PRIVATE int writer_flush(struct writer *w);                   /* everything put is in the file */
ZK_PRIVATE int64_t writer_end(const struct writer *w);           /* bytes put so far */
/* Where the file ends after a flush: whole pages when direct. */
ZK_PRIVATE int64_t writer_padded(const struct writer *w, size_t more);
ZK_PRIVATE void writer_close(struct writer *w); /* no flush; fine when closed */

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== host/files.h ==== */

/*
 * host/files: the data directory: recovery, the log file being written, snapshots, epochs, cutting
 * off the end of history, purging.
 *
 * No threads here: the functions are called by whoever may block. Steps that must survive a power
 * cut say in which order they make things durable:
 *   new log file   create, header, size; sync the directory; only then is it written to
 *   snapshot       write under a neutral name, sync, rename, sync the directory
 *   epoch          write under NAME.tmp, sync, rename, sync the directory
 *   truncation     whole files one by one, newest first, each durable before the next; then the cut
 *                  inside a file. See files_truncate
 * stock: FileTxnSnapLog, FileTxnLog, FileSnap, PurgeTxnLog, QuorumPeer.writeLongToFile.
 */
#ifndef ZK_HOST_FILES_H
#define ZK_HOST_FILES_H


#define FILES_ERROR 256

struct files {
    const struct config *cfg; /* borrowed */
    char *snap_dir, *log_dir; /* owned; the version-2 directories */
    int lock_fd, log_lock_fd; /* of dataDir and of another dataLogDir; -1 none */
    struct writer log;        /* closed: no file yet */
    int64_t log_size;         /* of the file being written, with the preallocation */
    struct writer snap;       /* the snapshot being written */
    int64_t snap_synced;      /* how much of it is durable */
    char error[FILES_ERROR];  /* of the last call that failed ... */
    char snap_error[FILES_ERROR]; /* ... of files_snap_*, which another thread may call */
};

/* What a recovery found. */
struct files_report {
    bool fresh;            /* there was nothing: a new database */
    int64_t snapshot_zxid; /* -1: none was loaded */
    int64_t replayed, digest_mismatches;
    int64_t orphans; /* ephemerals of sessions that do not exist */
    bool had_logs;
    int64_t snapshot_ms, logs_ms; /* time taken */
};

/* Directories and the lock; -1 with error set. stock exits with 3 for these. */
ZK_PRIVATE int files_open(struct files *f, const struct config *cfg);
ZK_PRIVATE void files_close(struct files *f);
/*
 * db must be initialised and empty; may be re-initialised. Closes the log first, so that it can be
 * called again at any time. -1 with error set.
 */
ZK_PRIVATE int files_recover(struct files *f, struct db *db, struct files_report *report,
                             struct logq *log);

ZK_PRIVATE int files_log_roll(struct files *f, int64_t zxid);
ZK_PRIVATE int files_log_append(struct files *f, struct slice entries); /* a roll came before */
ZK_PRIVATE int files_log_sync(struct files *f); /* what was appended is durable */

/* acceptedEpoch and currentEpoch: -1 where the file does not exist. A rename that a power cut has
 * undone is done again. -1 with error set, for instance when a file holds no number. */
ZK_PRIVATE int files_load_epochs(struct files *f, int64_t *accepted, int64_t *current);
ZK_PRIVATE int files_save_epoch(struct files *f, const char *name, int64_t epoch);

/*
 * Cuts off everything beyond zxid, in logs and snapshots, and closes the log: the next append must
 * roll. 0: done. 1: not possible without forgetting something up to zxid, as only a snapshot beyond
 * it holds that; nothing was changed. -1 with error set.
 *
 * A power cut on the way leaves what was there before with some of its newest transactions gone,
 * never without one up to zxid and never with a hole. That is why files go one by one, and why a
 * snapshot beyond zxid goes first where the log holds all that it stands for, and last where not.
 */
ZK_PRIVATE int files_truncate(struct files *f, int64_t zxid, struct logq *log);

ZK_PRIVATE int files_snap_begin(struct files *f);
ZK_PRIVATE int files_snap_write(struct files *f, struct slice bytes);
ZK_PRIVATE int files_snap_end(struct files *f, int64_t zxid);
ZK_PRIVATE void files_snap_abort(struct files *f);

/* Keeps the newest `retain` valid snapshots and the logs they need. */
ZK_PRIVATE int files_purge(struct files *f, int32_t retain, struct logq *log);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== host/logread.h ==== */

/*
 * host/logread: transactions read back from the log, for learners that are further behind than
 * memory goes.
 *
 * Nothing is handed out that might have a hole before it: zxids go up by one within an epoch, an
 * epoch begins with 1, and where it begins no snapshot may be named after a zxid in between (a
 * server that was brought up by a snapshot has such a gap, and the snapshot). What cannot be read
 * is not there. stock: LearnerHandler.syncFollower, TxnLogProposalIterator
 */
#ifndef ZK_HOST_LOGREAD_H
#define ZK_HOST_LOGREAD_H


#define LOGREAD_BYTES (4u << 20) /* about so much at a time */

/*
 * Appends int length and transaction, repeated: those after zxid `after`, which the log must hold
 * itself, up to `upto` or until there is enough. first: nothing when the files they are in are
 * longer than snapshotSizeFactor of the newest snapshot. Takes no lock: the log may grow meanwhile.
 */
ZK_PRIVATE void logread_after(const struct files *f, int64_t after, int64_t upto, bool first,
                              struct buf *out);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== host/disk.h ==== */

/*
 * host/disk: the threads that wait for the disk, so that the loop does not.
 *
 * The log thread appends and syncs: while one sync runs, the next batch collects (group commit).
 * In the same order it saves epochs, truncates and loads. The background thread writes snapshots,
 * reads old log for learners and purges; it stands still while files are truncated or loaded, and
 * what it was given before is done by then.
 *
 * Owned by the loop thread: struct disk. Under the lock: everything in it. Results come back
 * through disk_collect() after a byte on the wake pipe. A write or sync that failed is final: the
 * disk takes nothing more, nothing after it is reported as synced.
 */
#ifndef ZK_HOST_DISK_H
#define ZK_HOST_DISK_H

#include <pthread.h>


#define DISK_SNAP_QUEUE_MAX (4u << 20) /* bytes of snapshot waiting to be written */

/* What the disk holds, made by the log thread. */
struct disk_load {
    struct db db; /* handed in initialised and empty */
    struct files_report report;
};

/* Something for the log thread. */
struct disk_piece {
    enum node_output_kind kind; /* NODE_APPEND, NODE_SAVE_EPOCH or NODE_LOAD */
    bool roll, accepted;
    int64_t zxid;           /* NODE_SAVE_EPOCH: the epoch */
    struct slice bytes;     /* NODE_APPEND; valid until the zxid has been collected as synced */
    struct disk_load *load; /* owned; NODE_LOAD: to be filled, NULL when only truncating */
};

/* Something that has been done, as an input for the node. */
struct disk_done {
    enum node_input_kind kind; /* NODE_LOG_SYNCED, _LOG_READ, _EPOCH_SAVED or NODE_LOADED */
    int64_t zxid;
    struct disk_load *load; /* owned */
    struct buf bytes;       /* owned; NODE_LOG_READ */
};

/* Something for the background thread. */
struct disk_job {
    enum node_output_kind kind; /* NODE_SNAPSHOT_*, NODE_READ_LOG */
    int64_t zxid, upto;
    bool first;
    struct buf bytes; /* owned */
    uint32_t aborts;  /* before it */
};

struct disk {
    struct files *files; /* borrowed; the log thread has its log half, background the rest */
    pthread_mutex_t lock;
    pthread_cond_t log_work, back_work, back_done;
    pthread_t log_thread, back_thread;
    bool log_running, back_running, stopping, log_idle, back_idle;
    bool back_busy; /* the background thread is at work */
    bool loading;   /* it has to wait: files are truncated or loaded */
    int wake_fd;   /* write end of the loop's pipe */
    bool woken;    /* a byte is in the pipe */

    struct buf pieces; /* struct disk_piece: the batch that collects */
    struct buf batch;  /* ... the one being written; the log thread's own */
    struct buf done;   /* struct disk_done, in order; not collected yet */
    int64_t slow_syncs;
    struct metrics_sum sync_ms, batch_size; /* not collected yet; records per sync */
    bool failed;
    char error[FILES_ERROR];

    struct buf jobs; /* struct disk_job */
    size_t snap_queued;
    uint32_t aborts; /* counted: what came before the last one is of no interest any more */
    bool snap_open, snap_done, snap_failed, snap_room;
    struct logq log; /* lines of the threads */

    int64_t purge_next; /* monotonic ms */
};

/* What has happened since the last call. */
struct disk_news {
    struct buf done; /* struct disk_done, in order; owned by the caller, handed in empty */
    bool failed, snap_done, snap_failed, snap_room;
    int64_t slow_syncs;
    struct metrics_sum sync_ms, batch;
};

ZK_PRIVATE int disk_start(struct disk *d, struct files *files, int wake_fd);
/* Ends the threads; what was submitted to the log thread is done first. */
ZK_PRIVATE void disk_join(struct disk *d);
ZK_PRIVATE void disk_free(struct disk *d); /* after disk_join */
/* Hands over a batch: pieces is emptied. */
ZK_PRIVATE void disk_submit(struct disk *d, struct buf *pieces);
/* What the background thread does; takes o->owned. */
ZK_PRIVATE void disk_background(struct disk *d, struct node_output *o);
ZK_PRIVATE void disk_done_free(struct disk_done *done);
ZK_PRIVATE void disk_collect(struct disk *d, struct disk_news *news, struct logq *log);

#endif
#endif /* ZK_WITH_SERVER */

/* ==== host/resolver.h ==== */

/*
 * host/resolver: names of hosts become addresses without making the loop wait.
 *
 * One thread asks the system, one name at a time, in the order of the questions. Answers come back
 * through resolver_take() after a byte on the loop's pipe. Nothing is remembered: every dial asks
 * anew. The system may take very long over a name, and nothing can stop it: a resolver that is
 * freed meanwhile lives on, unseen, until its thread returns.
 */
#ifndef ZK_HOST_RESOLVER_H
#define ZK_HOST_RESOLVER_H

#include <pthread.h>


#define RESOLVER_HOST 256 /* a name, with a NUL */

struct resolver;

struct resolver_answer {
    uint64_t ticket;
    int n; /* addresses; 0: the name is unknown */
    struct net_addr at[OS_ADDRS_MAX];
};

/* wake_fd: the write end of the loop's pipe. NULL: no memory. */
ZK_PRIVATE struct resolver *resolver_new(int wake_fd);
ZK_PRIVATE void resolver_free(struct resolver *r);     /* NULL is fine */
/* ticket: for the answer; not in use by another question. No thread or memory to be had for it: the
 * answer is that there is no such host. */
ZK_PRIVATE void resolver_ask(struct resolver *r, uint64_t ticket, const char *host, uint16_t port);
/* Nobody wants the answer any more; it may come all the same. */
ZK_PRIVATE void resolver_forget(struct resolver *r, uint64_t ticket);
ZK_PRIVATE bool resolver_take(struct resolver *r, struct resolver_answer *out);

#endif

/* ==== host/duct.h ==== */

/*
 * host/duct: a connection within the process: what a socket is between two machines.
 *
 * Bytes stand in memory. Each side has a bell, a pipe that is readable when there is something to
 * look at: bytes, room after there was none, or that the other side has gone. A poller watches the
 * bell as it would watch a socket, for input only. Each side belongs to one thread at a time; the
 * two may be different ones. The last to close frees it.
 */
#ifndef ZK_HOST_DUCT_H
#define ZK_HOST_DUCT_H

#include <pthread.h>


#define DUCT_MAX (1u << 20) /* bytes on their way, in each direction */

enum duct_side { DUCT_CLIENT, DUCT_SERVER };

struct duct {
    pthread_mutex_t lock; /* of everything here */
    struct {
        struct buf in; /* bytes for this side */
        int bell[2];
        bool full; /* the other side was told to wait for room here */
        bool gone;
    } side[2];
};

ZK_PRIVATE struct duct *duct_new(void); /* NULL: no memory, or no descriptors */
ZK_PRIVATE void duct_close(struct duct *d, enum duct_side side);
ZK_PRIVATE void duct_wake(struct duct *d, enum duct_side side); /* makes its bell readable */
ZK_PRIVATE int duct_bell(const struct duct *d, enum duct_side side);
/* As os_recv and os_send. */
ZK_PRIVATE int64_t duct_recv(struct duct *d, enum duct_side side, void *p, size_t n);
ZK_PRIVATE int64_t duct_send(struct duct *d, enum duct_side side, const void *p, size_t n);

#endif

#if ZK_WITH_CLIENT
/* ==== host/courier.h ==== */

/*
 * host/courier: carries the bytes of one client machine: its connection, its names, its readiness.
 *
 * It executes the machine's orders and feeds it what comes of them. It has no thread and no lock:
 * whoever owns the machine calls it, by one thread at a time, except for courier_poll, which may
 * run without the lock. A socket that another thread waits for (courier_lend) is shut, but not
 * closed, before that thread is back: its number must not come to mean something else.
 *
 * One descriptor for callers with a loop of their own stays the same all the time: the poller's,
 * or, where a poller has none, a number that each new socket is moved to.
 *
 * With `offer` it does not dial: it offers a duct to a server of the same process.
 */
#ifndef ZK_HOST_COURIER_H
#define ZK_HOST_COURIER_H


#define COURIER_READ 65536
#define COURIER_EVENTS 4

typedef bool (*courier_offer)(void *server, struct duct *d); /* takes d's server side over */

struct courier {
    struct client *client; /* borrowed */
    struct os_poller *poller;
    int wake[2]; /* [0] is watched; a byte ends a courier_poll */
    int fd;      /* of the connection; -1: none */
    struct duct *duct; /* that the connection is; fd is its bell. NULL: fd is a socket */
    courier_offer offer; /* NULL: dial */
    void *server;
    int stable;  /* the number that sockets are moved to; -1: they keep their own */
    bool standing, want_write, lent, shut;
    struct resolver *resolver; /* made for the first name */
    uint64_t ticket;           /* of the question that counts */
    int probe;                 /* a socket that asks "isro"; -1: none */
    bool probe_asked;
    struct buf scratch; /* COURIER_READ bytes of room */
};

ZK_PRIVATE int courier_open(struct courier *k, struct client *client);
ZK_PRIVATE void courier_close(struct courier *k);

/* Executes all orders, and sends what should be sent, or, if `all`, everything. */
ZK_PRIVATE void courier_run(struct courier *k, bool all);
/* Waits; the events are for courier_take. Needs no lock. */
ZK_PRIVATE int courier_poll(struct courier *k, struct os_event out[COURIER_EVENTS], int timeout_ms);
ZK_PRIVATE void courier_take(struct courier *k, const struct os_event *events, int n);
ZK_PRIVATE void courier_wake(struct courier *k); /* by any thread */

/* One thread may wait for the connection's input by itself: gives it the socket, or -1. */
ZK_PRIVATE int courier_lend(struct courier *k);
ZK_PRIVATE void courier_give_back(struct courier *k);
/* Reads once from the connection. */
ZK_PRIVATE void courier_read(struct courier *k);

ZK_PRIVATE int courier_fd(const struct courier *k); /* for the caller's own loop */
ZK_PRIVATE bool courier_wants_write(const struct courier *k);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_SERVER
/* ==== host/loop.h ==== */

/*
 * host/loop: the thread that owns a node: sockets, timers, the disk's news.
 *
 * One turn: wait for readiness; give every readable connection's bytes to the node; hand the log
 * what was appended, first, so that the sync runs while replies are sent; then one send for each
 * connection that has output. Nothing here knows what the bytes mean.
 *
 * Clients' connections and links to other servers are sockets of two tables, numbered by the node.
 * A socket is known by its tag, the number with LOOP_LINK for a link, also to the poller. A link
 * that is being dialed has a struct loop_dial until it stands:
 *   name -> (resolver) -> addresses, tried in turn -> the socket of the link, or NODE_LINK_CLOSED
 */
#ifndef ZK_HOST_LOOP_H
#define ZK_HOST_LOOP_H


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
#endif /* ZK_WITH_SERVER */

/* ==== host/os.c ==== */


#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
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

static int64_t os_clock_ms(clockid_t clock) {
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

ZK_PRIVATE int64_t os_now_ms(void) {
    return os_clock_ms(CLOCK_MONOTONIC);
}

ZK_PRIVATE int64_t os_wall_ms(void) {
    return os_clock_ms(CLOCK_REALTIME);
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

static int os_set_flags(int fd) {
    int fl = fcntl(fd, F_GETFL);
    if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0) return -errno;
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

static in_port_t *os_port_of(struct sockaddr_storage *sa) {
    return sa->ss_family == AF_INET ? &((struct sockaddr_in *)(void *)sa)->sin_port
                                    : &((struct sockaddr_in6 *)(void *)sa)->sin6_port;
}

static int os_listen_one(struct sockaddr_storage sa, socklen_t len, int backlog, uint16_t *port) {
    int one = 1, fd = socket(sa.ss_family, SOCK_STREAM, 0);
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
    int fd = socket(sa.ss_family, SOCK_STREAM, 0);
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
    do c = accept(fd, (struct sockaddr *)&sa, &len);
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
    if (pipe(fds) < 0) return -errno;
    int err = os_set_flags(fds[0]);
    return err ? err : os_set_flags(fds[1]);
}

ZK_PRIVATE int os_blocking_pipe(int fds[2]) {
    if (pipe(fds) < 0) return -errno;
    for (int i = 0; i < 2; i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0) return -errno;
    return 0;
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
    int err = dup2(fd, number) < 0 || fcntl(number, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
    (void)close(fd);
    return err;
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

struct os_poller {
    struct pollfd *fds; /* owned */
    uint64_t *tags;     /* owned */
    uint32_t n, cap;
};

ZK_PRIVATE struct os_poller *os_poller_new(void) {
    return mem_try(sizeof(struct os_poller));
}

ZK_PRIVATE int os_poller_fd(const struct os_poller *p) {
    (void)p;
    return -1;
}

ZK_PRIVATE void os_poller_free(struct os_poller *p) {
    if (!p) return;
    mem_free(p->fds);
    mem_free(p->tags);
    mem_free(p);
}

static uint32_t os_poll_find(const struct os_poller *p, int fd) {
    uint32_t i = 0;
    while (i < p->n && p->fds[i].fd != fd) i++;
    return i;
}

ZK_PRIVATE int os_poller_add(struct os_poller *p, int fd, uint64_t tag) {
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 64;
        p->fds = mem_realloc(p->fds, sizeof *p->fds * p->cap);
        p->tags = mem_realloc(p->tags, sizeof *p->tags * p->cap);
    }
    p->fds[p->n].fd = fd;
    p->fds[p->n].events = POLLIN;
    p->tags[p->n++] = tag;
    return 0;
}

ZK_PRIVATE void os_poller_set(struct os_poller *p, int fd, uint64_t tag, bool read, bool write) {
    uint32_t i = os_poll_find(p, fd);
    if (i == p->n) return;
    p->fds[i].events = (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0));
    p->tags[i] = tag;
}

ZK_PRIVATE void os_poller_del(struct os_poller *p, int fd) {
    uint32_t i = os_poll_find(p, fd);
    if (i == p->n) return;
    p->n--;
    p->fds[i] = p->fds[p->n];
    p->tags[i] = p->tags[p->n];
}

ZK_PRIVATE int os_poller_wait(struct os_poller *p, struct os_event *out, int max, int timeout_ms) {
    int n = poll(p->fds, p->n, timeout_ms), k = 0;
    if (n < 0) return errno == EINTR ? 0 : -errno;
    for (uint32_t i = 0; i < p->n && k < max && k < n; i++) {
        short ev = p->fds[i].revents;
        if (!ev) continue;
        out[k].tag = p->tags[i];
        out[k].readable = (ev & POLLIN) != 0;
        out[k].writable = (ev & POLLOUT) != 0;
        out[k++].failed = (ev & (POLLERR | POLLHUP | POLLNVAL)) != 0;
    }
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

#if ZK_WITH_SERVER
/* ==== host/writer.c ==== */


#include <errno.h>

ZK_PRIVATE int writer_open(struct writer *w, const char *path, bool direct) {
    memset(w, 0, sizeof *w);
    w->fd = direct ? os_create_direct(path) : -1;
    w->direct = w->fd >= 0;
    if (!w->direct) w->fd = os_create(path);
    if (w->fd < 0) return w->fd;
    w->mem = mem_alloc(WRITER_STAGE + WRITER_PAGE);
    w->stage = w->mem + (WRITER_PAGE - (uintptr_t)w->mem % WRITER_PAGE);
    return 0;
}

static size_t writer_pages(size_t n) {
    return (n + WRITER_PAGE - 1) / WRITER_PAGE * WRITER_PAGE;
}

ZK_PRIVATE int64_t writer_end(const struct writer *w) {
    return w->pos + (int64_t)w->staged;
}

ZK_PRIVATE int64_t writer_padded(const struct writer *w, size_t more) {
    size_t n = w->staged + more;
    return w->pos + (int64_t)(w->direct ? writer_pages(n) : n);
}

ZK_PRIVATE int writer_flush(struct writer *w) {
    size_t n = w->staged, whole = w->direct ? writer_pages(n) : n;
    if (n == w->kept) return 0;
    memset(w->stage + n, 0, whole - n);
    int err = os_pwrite(w->fd, w->stage, whole, w->pos);
    if (err == -EINVAL && w->direct) {
        /* Opened, but not meant: some file systems say so only here. */
        err = os_set_cached(w->fd);
        w->direct = false;
        if (!err) err = os_pwrite(w->fd, w->stage, n, w->pos);
    }
    if (err) return err;
    w->kept = w->direct ? n % WRITER_PAGE : 0;
    memmove(w->stage, w->stage + n - w->kept, w->kept);
    w->pos += (int64_t)(n - w->kept);
    w->staged = w->kept;
    return 0;
}

ZK_PRIVATE int writer_put(struct writer *w, struct slice bytes) {
    while (bytes.n) {
        size_t room = WRITER_STAGE - w->staged, n = bytes.n < room ? bytes.n : room;
        memcpy(w->stage + w->staged, bytes.p, n);
        w->staged += n;
        bytes = slice_of(bytes.p + n, bytes.n - n);
        int err = w->staged == WRITER_STAGE ? writer_flush(w) : 0;
        if (err) return err;
    }
    return 0;
}

ZK_PRIVATE void writer_close(struct writer *w) {
    if (w->fd >= 0) (void)os_close(w->fd);
    mem_free(w->mem);
    memset(w, 0, sizeof *w);
    w->fd = -1;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== host/files.c ==== */


#include <errno.h>
#include <stdio.h>


#define FILES_READ (1u << 20)       /* bytes of a snapshot read at a time */
#define FILES_SNAP_SYNC (16u << 20) /* a snapshot is synced piecewise: the log shares the disk */
#define FILES_SNAP_TMP "new-snapshot"
#define FILES_SAVE_NODES 4096u
#define FILES_NODE_BYTES 320u /* of a snapshot for each node, when guessing how many there are */
#define FILES_SNAP_TRY 100 /* snapshots tried before giving up */

static int files_say(char error[FILES_ERROR], const char *what, const char *path, int err) {
    char text[128];
    (void)snprintf(error, FILES_ERROR, "%s %s: %s", what, path, os_error(err, text, sizeof text));
    return -1;
}

static int files_fail(struct files *f, const char *what, const char *path, int err) {
    return files_say(f->error, what, path, err);
}

static int files_snap_fail(struct files *f, const char *what, const char *path, int err) {
    return files_say(f->snap_error, what, path, err);
}

/* dir/name, or dir/name.<hex>; owned by the caller. */
static char *files_path(const char *dir, const char *name, int64_t zxid) {
    struct buf b = {0};
    buf_printf(&b, "%s/%s", dir, name);
    if (zxid >= 0) buf_printf(&b, ".%llx", (unsigned long long)zxid);
    buf_putc(&b, '\0');
    return (char *)b.p;
}

/* Of an entry, a string or a buffer in a file. */
static uint32_t files_longest(const struct files *f) {
    uint64_t most = (uint64_t)(uint32_t)f->cfg->jute_max_buffer +
                    (uint32_t)f->cfg->jute_extra_size;
    return most > INT32_MAX ? INT32_MAX : (uint32_t)most;
}

static int files_log_close(struct files *f) {
    int err = f->log.fd >= 0 ? files_log_sync(f) : 0;
    writer_close(&f->log);
    return err;
}

static int files_sync_file(const char *path) {
    int fd = os_open_read(path), err = fd < 0 ? fd : os_fdatasync(fd);
    if (fd >= 0) (void)os_close(fd);
    return err;
}

/* --- opening --- */

static int files_check_dir(struct files *f, const char *parent, const char *dir,
                           const char *kind) {
    if (!os_is_dir(dir)) {
        if (!f->cfg->datadir_autocreate) {
            (void)snprintf(f->error, sizeof f->error,
                           "Missing %s directory %s, automatic data directory creation is disabled "
                           "(zookeeper.datadir.autocreate is false). Please create this directory "
                           "manually.", kind, dir);
            return -1;
        }
        if (os_mkdirs(dir) < 0) {
            (void)snprintf(f->error, sizeof f->error, "Unable to create %s directory %s", kind,
                           dir);
            return -1;
        }
        int err = os_fsync_dir(parent); /* what is made durable below must be found again */
        if (err) return files_fail(f, "cannot sync", parent, err);
    }
    if (os_writable(dir)) return 0;
    (void)snprintf(f->error, sizeof f->error, "Cannot write to %s directory %s", kind, dir);
    return -1;
}

static bool files_has_prefix(const char *dir, const char *prefix) {
    struct buf names = {0};
    bool found = false;
    (void)os_list(dir, &names);
    for (size_t at = 0; at < names.n && !found;) {
        const char *name = (const char *)names.p + at;
        found = strncmp(name, prefix, strlen(prefix)) == 0;
        at += strlen(name) + 1;
    }
    buf_free(&names);
    return found;
}

static int files_lock(struct files *f, const char *dir, int *fd) {
    char *lock = files_path(dir, "zkd.lock", -1);
    *fd = os_lock(lock);
    int err = *fd == -EAGAIN ? files_fail(f, "another server uses", dir, EBUSY)
              : *fd < 0      ? files_fail(f, "cannot lock", lock, *fd)
                             : 0;
    mem_free(lock);
    return err;
}

ZK_PRIVATE int files_open(struct files *f, const struct config *cfg) {
    memset(f, 0, sizeof *f);
    f->cfg = cfg;
    f->lock_fd = f->log_lock_fd = f->log.fd = f->snap.fd = -1;
    const char *data = cfg->data_dir, *logs = cfg->data_log_dir ? cfg->data_log_dir : data;
    f->snap_dir = files_path(data, "version-2", -1);
    f->log_dir = files_path(logs, "version-2", -1);
    if (files_check_dir(f, logs, f->log_dir, "data")) return -1;
    if (files_check_dir(f, data, f->snap_dir, "snap")) return -1;
    if (strcmp(f->log_dir, f->snap_dir) != 0) {
        const char *wrong = files_has_prefix(f->log_dir, "snapshot.")
                                ? "Log directory has snapshot files."
                                : files_has_prefix(f->snap_dir, "log.")
                                      ? "Snapshot directory has log files."
                                      : NULL;
        if (wrong) {
            (void)snprintf(f->error, sizeof f->error,
                           "%s Check if dataLogDir and dataDir configuration is correct.", wrong);
            return -1;
        }
    }
    int err = files_lock(f, data, &f->lock_fd);
    return err || strcmp(data, logs) == 0 ? err : files_lock(f, logs, &f->log_lock_fd);
}

ZK_PRIVATE void files_close(struct files *f) {
    files_snap_abort(f);
    writer_close(&f->log);
    if (f->lock_fd >= 0) (void)os_close(f->lock_fd);
    if (f->log_lock_fd >= 0) (void)os_close(f->log_lock_fd);
    mem_free(f->snap_dir);
    mem_free(f->log_dir);
    f->snap_dir = f->log_dir = NULL;
    f->lock_fd = f->log_lock_fd = -1;
}

/* --- what is in a directory --- */

struct files_entry {
    int64_t zxid;
    char *name; /* owned */
};
struct files_list {
    struct files_entry *at; /* owned; ascending */
    uint32_t n;
};

static int files_entry_cmp(const void *a, const void *b) {
    const struct files_entry *x = a, *y = b;
    if (x->zxid != y->zxid) return x->zxid < y->zxid ? -1 : 1;
    return strcmp(x->name, y->name);
}

/*
 * The files whose name starts with prefix and a dot, by the zxid in it (-1: none). A directory that
 * cannot be read is not an empty one: a database would be taken for a new one.
 */
static int files_list(const char *dir, const char *prefix, struct files_list *out) {
    struct buf names = {0}, list = {0};
    size_t len = strlen(prefix);
    int err = os_list(dir, &names);
    for (size_t at = 0; at < names.n;) {
        const char *name = (const char *)names.p + at;
        size_t n = strlen(name) + 1;
        at += n;
        if (strncmp(name, prefix, len) != 0 || name[len] != '.') continue;
        struct files_entry e = {logfile_name_zxid(name, prefix), mem_alloc(n)};
        memcpy(e.name, name, n);
        buf_put(&list, &e, sizeof e);
    }
    buf_free(&names);
    out->at = (struct files_entry *)(void *)list.p;
    out->n = (uint32_t)(list.n / sizeof(struct files_entry));
    if (out->n > 1) qsort(out->at, out->n, sizeof *out->at, files_entry_cmp);
    return err;
}

static void files_list_free(struct files_list *l) {
    for (uint32_t i = 0; i < l->n; i++) mem_free(l->at[i].name);
    mem_free(l->at);
}

static const char *files_ext(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (strcmp(dot, ".gz") == 0 || strcmp(dot, ".snappy") == 0) ? dot : "";
}

/* 1 or 0, or -errno when it cannot be read. stock: SnapStream.isValidSnapshot, as superficial */
static int files_snap_plausible(const char *dir, const struct files_entry *e) {
    if (e->zxid < 0) return 0;
    char *path = files_path(dir, e->name, -1);
    struct slice all;
    int err = os_map(path, &all);
    bool ok = false;
    if (!err) {
        static const uint8_t end[5] = {0, 0, 0, 1, '/'};
        if (strcmp(files_ext(e->name), ".gz") == 0)
            ok = all.n >= 2 && all.p[0] == 0x1f && all.p[1] == 0x8b;
        else if (*files_ext(e->name))
            ok = all.n >= 8 && memcmp(all.p, "\202SNAPPY\0", 8) == 0;
        else
            ok = all.n >= 10 && memcmp(all.p + all.n - 5, end, 5) == 0;
        os_unmap(all);
    }
    mem_free(path);
    return err ? err : ok;
}

/* --- recovery: snapshot --- */

static bool files_take(void *ctx, struct slice piece) {
    return snapfile_feed(ctx, piece);
}

static bool files_feed_packed(struct snapfile *s, const char *path, char *error, size_t n) {
    const struct unpack_sink sink = {files_take, s};
    struct slice all;
    int err = os_map(path, &all);
    if (err) {
        (void)os_error(err, error, n);
        return false;
    }
    enum unpack_status status = strcmp(files_ext(path), ".gz") == 0 ? unpack_gzip(all, &sink)
                                                                    : unpack_snappy(all, &sink);
    os_unmap(all);
    bool ok = status == UNPACK_OK && snapfile_finish(s);
    if (!ok) (void)snprintf(error, n, "%s", s->error[0] ? s->error : unpack_why(status));
    return ok;
}

static bool files_feed(struct snapfile *s, const char *path, char *error, size_t n) {
    int fd = os_open_read(path);
    if (fd < 0) {
        (void)os_error(fd, error, n);
        return false;
    }
    uint8_t *chunk = mem_alloc(FILES_READ);
    bool ok = true;
    for (int64_t k; ok;) {
        k = os_read(fd, chunk, FILES_READ);
        if (k < 0) {
            (void)os_error((int)k, error, n);
            ok = false;
        }
        if (k <= 0) break;
        ok = snapfile_feed(s, slice_of(chunk, (size_t)k));
        if (!ok) (void)snprintf(error, n, "%s", s->error);
    }
    mem_free(chunk);
    (void)os_close(fd);
    if (ok && !snapfile_finish(s)) {
        (void)snprintf(error, n, "%s", s->error);
        ok = false;
    }
    return ok;
}

static void files_reset_db(struct db *db) {
    struct db fresh;
    db_init(&fresh, hash_u64(db->tree.seed), db->sessions.tick, db->sessions.next_due);
    fresh.tree.extended_types = db->tree.extended_types;
    fresh.tree.emulate353 = db->tree.emulate353;
    db_free(db);
    *db = fresh;
}

static bool files_load_snapshot(struct files *f, const struct files_entry *e, struct db *db,
                                struct snapfile *s, struct logq *log) {
    char why[160] = "";
    char *path = files_path(f->snap_dir, e->name, -1);
    files_reset_db(db);
    int64_t size = os_file_size(path);
    if (size > 0) tree_expect(&db->tree, (uint64_t)size / FILES_NODE_BYTES);
    snapfile_open(s, db, files_longest(f));
    bool ok = *files_ext(e->name) ? files_feed_packed(s, path, why, sizeof why)
                                  : files_feed(s, path, why, sizeof why);
    snapfile_close(s);
    if (ok)
        db->last_zxid = e->zxid;
    else
        log_line(log, LOG_WARN_LEVEL, "problem reading snap file %s: %s", path, why);
    mem_free(path);
    return ok;
}

/* 1: loaded, 0: there is none, -1: there are some and none can be read. */
static int files_restore_snapshot(struct files *f, struct db *db, struct snapfile *s,
                                  struct logq *log) {
    struct files_list l;
    int tried = 0, found = 0, err = files_list(f->snap_dir, "snapshot", &l);
    for (uint32_t i = l.n; i-- > 0 && err >= 0 && !found && tried < FILES_SNAP_TRY;) {
        err = files_snap_plausible(f->snap_dir, &l.at[i]);
        if (err <= 0) continue;
        tried++;
        found = files_load_snapshot(f, &l.at[i], db, s, log);
    }
    files_list_free(&l);
    if (err < 0) return files_fail(f, "cannot read the snapshots in", f->snap_dir, err);
    if (found || !tried) return found;
    (void)snprintf(f->error, sizeof f->error, "Not able to find valid snapshots in %s",
                   f->snap_dir);
    return -1;
}

/* --- recovery: log --- */

struct files_replay {
    struct files *f;
    struct db *db;
    struct logq *log;
    struct files_report *report;
    const struct snapfile *snap;
    struct txn_out out;
    int64_t highest; /* zxid of the last entry applied; 0 none */
};

static int files_refuse(struct files *f, const char *path, const char *why) {
    (void)snprintf(f->error, sizeof f->error, "%s: %s", path, why);
    return -1;
}

static void files_check_digest(struct files_replay *r, int64_t zxid) {
    const struct snapfile *s = r->snap;
    bool mismatch = false;
    if (!r->f->cfg->digest_enabled) return;
    if (s && s->has_digest && zxid <= s->digest_zxid) /* a fuzzy snapshot: only its end counts */
        mismatch = zxid == s->digest_zxid && s->digest != r->db->tree.digest;
    else
        mismatch = r->out.has_digest && r->out.digest != r->db->tree.digest;
    if (mismatch && r->report->digest_mismatches++ == 0)
        log_line(r->log, LOG_ERROR_LEVEL, "First digest mismatch on txn: 0x%llx",
                 (unsigned long long)zxid);
}

/*
 * Nothing lies between the two: the next of an epoch, or the first of a later one. Where a leader
 * brought this server up by a snapshot, which cannot be read any more, the log has a gap of which
 * only the name of that snapshot tells.
 */
static bool files_follows(const struct files *f, int64_t last, int64_t zxid) {
    if (zxid == last + 1) return true;
    if (zxid >> 32 <= last >> 32 || (uint32_t)zxid != 1) return false;
    struct files_list snaps;
    bool gap = files_list(f->snap_dir, "snapshot", &snaps) < 0;
    for (uint32_t i = 0; i < snaps.n; i++)
        gap = gap || (snaps.at[i].zxid > last && snaps.at[i].zxid < zxid);
    files_list_free(&snaps);
    return !gap;
}

static int files_replay_entry(struct files_replay *r, const struct logfile *lf, const char *path) {
    int64_t zxid = lf->header.zxid, last = r->highest ? r->highest : r->db->last_zxid;
    if (zxid <= r->report->snapshot_zxid) return 0;
    if (zxid > last && !files_follows(r->f, last, zxid) && !r->f->cfg->trust_empty_snapshot) {
        (void)snprintf(r->f->error, sizeof r->f->error,
                       "%s: transactions 0x%llx to 0x%llx are missing", path,
                       (unsigned long long)last + 1, (unsigned long long)zxid - 1);
        return -1;
    }
    if (zxid < r->highest)
        log_line(r->log, LOG_ERROR_LEVEL, "0x%llx(highestZxid) > 0x%llx(next log) for type %d",
                 (unsigned long long)r->highest, (unsigned long long)zxid, lf->header.type);
    if (!wire_op_flags(lf->header.type) && lf->header.type != ZOP_ERROR)
        return files_refuse(r->f, path, "a transaction of an unknown type");
    (void)txn_apply(r->db, &lf->header, lf->record, &r->out);
    files_check_digest(r, zxid);
    if (zxid > r->highest) r->highest = zxid;
    r->report->replayed++;
    return 0;
}

static int files_cut(struct files *f, const char *path, size_t at) {
    int fd = os_open_write(path);
    int err = fd < 0 ? fd : os_truncate(fd, (int64_t)at);
    if (!err) err = os_fdatasync(fd);
    if (fd >= 0) (void)os_close(fd);
    return err ? files_fail(f, "cannot cut off the end of", path, err) : 0;
}

/* The damaged end of the last log: what was being written when the machine died. */
static int files_cut_tail(struct files *f, const char *path, size_t at, struct logq *log) {
    if (files_cut(f, path, at)) return -1;
    log_line(log, LOG_WARN_LEVEL, "Last transaction was partial: %s ends at %zu now", path, at);
    return 0;
}

static int files_replay_bytes(struct files_replay *r, struct slice bytes, const char *path,
                              bool last) {
    struct logfile lf;
    enum logfile_status st = logfile_open(&lf, bytes, files_longest(r->f));
    if (st == LOGFILE_BAD_MAGIC) return files_refuse(r->f, path, "invalid magic number");
    if (st == LOGFILE_TORN) return files_refuse(r->f, path, "the file ends within its header");
    while ((st = logfile_next(&lf)) == LOGFILE_ENTRY)
        if (files_replay_entry(r, &lf, path)) return -1;
    switch (st) {
    case LOGFILE_TORN:
        log_line(r->log, LOG_ERROR_LEVEL, "Last transaction was partial.");
        return 0;
    case LOGFILE_BAD_CRC:
        /* Pages may reach the disk in any order: the end of an entry there, its middle not. */
        if (last && logfile_tail_is_torn(&lf)) return files_cut_tail(r->f, path, lf.at, r->log);
        return files_refuse(r->f, path, "CRC check failed");
    case LOGFILE_BAD_LENGTH:
        return files_refuse(r->f, path, "Unreasonable length");
    default:
        return 0;
    }
}

/*
 * What was read may not be on the disk yet, when its writer was killed before it synced. It becomes
 * the ground that the next acknowledged transactions stand on.
 */
static int files_sync_read(struct files *f, const char *path) {
    int err = f->cfg->force_sync ? files_sync_file(path) : 0;
    return err ? files_fail(f, "cannot sync", path, err) : 0;
}

/* A log whose first sector, and with it the header, has not reached the disk: nothing has. */
static bool files_unwritten(struct slice bytes) {
    static const uint8_t zeros[512];
    size_t n = bytes.n < sizeof zeros ? bytes.n : sizeof zeros;
    return bytes.n < LOGFILE_HEADER_LEN || memcmp(bytes.p, zeros, n) == 0;
}

static int files_replay_file(struct files_replay *r, const char *name, bool last) {
    char *path = files_path(r->f->log_dir, name, -1);
    struct slice bytes;
    int err = os_map(path, &bytes), ret;
    if (err) {
        ret = files_fail(r->f, "cannot read", path, err);
    } else if (last && files_unwritten(bytes)) {
        /* Created and never written to, as after a full disk or a crash at the wrong moment. */
        log_line(r->log, LOG_WARN_LEVEL, "Deleting log file %s of %zu bytes", path, bytes.n);
        err = os_unlink(path);
        ret = err ? files_fail(r->f, "cannot delete", path, err) : 0;
    } else {
        int64_t before = r->report->replayed;
        ret = files_replay_bytes(r, bytes, path, last);
        if (!ret && r->report->replayed > before) ret = files_sync_read(r->f, path);
    }
    if (!err) os_unmap(bytes);
    mem_free(path);
    return ret;
}

/* The file that holds the transaction after zxid; of several with one zxid (a copy) the first. */
static uint32_t files_first_log(const struct files_list *logs, int64_t zxid) {
    uint32_t first = 0;
    for (uint32_t i = 1; i < logs->n; i++)
        if (logs->at[i].zxid <= zxid + 1 && logs->at[i].zxid != logs->at[i - 1].zxid) first = i;
    return first;
}

static int files_replay_logs(struct files_replay *r, const struct files_list *logs) {
    for (uint32_t i = files_first_log(logs, r->db->last_zxid); i < logs->n; i++) {
        if (logs->at[i].zxid < 0) continue;
        if (files_replay_file(r, logs->at[i].name, i + 1 == logs->n)) return -1;
    }
    return 0;
}

static void files_ensure_builtin(struct db *db) {
    if (!db->tree.count) db_add_builtin(db);
}

/* Writes the snapshot of a database that nobody changes meanwhile. */
static int files_save(struct files *f, struct db *db) {
    struct buf head = {0}, tail = {0}, *image = &db->tree.image.out;
    uint32_t adler = SUM_ADLER32_INIT;
    bool done = false;
    snapfile_put_head(&head, db);
    tree_image_begin(&db->tree);
    int err = files_snap_begin(f);
    if (!err) err = files_snap_write(f, buf_slice(&head));
    adler = sum_adler32(adler, head.p, head.n);
    while (!err && !done) {
        done = tree_image_step(&db->tree, FILES_SAVE_NODES, FILES_READ);
        err = files_snap_write(f, buf_slice(image));
        adler = sum_adler32(adler, image->p, image->n);
        buf_clear(image);
    }
    if (!done) tree_image_abort(&db->tree);
    buf_free(image);
    snapfile_put_tail(&tail, adler, db->last_zxid, db->tree.digest);
    if (!err) err = files_snap_write(f, buf_slice(&tail));
    if (!err) err = files_snap_end(f, db->last_zxid);
    if (err) {
        files_snap_abort(f);
        memcpy(f->error, f->snap_error, sizeof f->error);
    }
    buf_free(&head);
    buf_free(&tail);
    return err;
}

static int files_fresh(struct files *f, struct db *db) {
    files_reset_db(db);
    db_add_builtin(db);
    /* A log without a snapshot would not be accepted at the next start. */
    return files_save(f, db);
}

/*
 * Ephemerals whose session does not exist go away without a transaction. Only a snapshot makes that
 * last: without it a replay would meet the dead node where a client has since made a new one. In an
 * ensemble they stay: its servers change by transactions only, or they would differ.
 */
static int files_drop_orphans(struct files *f, struct db *db, struct files_report *report) {
    if (config_distributed(f->cfg)) return 0;
    report->orphans = db_drop_orphans(db);
    return report->orphans ? files_save(f, db) : 0;
}

static int files_recover_with(struct files *f, struct db *db, struct files_report *report,
                              struct logq *log, const struct files_list *logs) {
    struct snapfile snap = {0};
    int64_t start = os_now_ms();
    int found = files_restore_snapshot(f, db, &snap, log);
    if (found < 0) return -1;
    report->snapshot_ms = os_now_ms() - start;
    char *flag = files_path(f->cfg->data_log_dir ? f->cfg->data_log_dir : f->cfg->data_dir,
                            "initialize", -1);
    bool marked = os_unlink(flag) == 0;
    mem_free(flag);
    if (!found) {
        if (!logs->n) {
            if (!marked && !f->cfg->db_autocreate)
                return files_refuse(f, f->snap_dir, "no database, and db.autocreate is false");
            report->fresh = true;
            return files_fresh(f, db);
        }
        if (!f->cfg->trust_empty_snapshot)
            return files_refuse(f, f->snap_dir, "No snapshot found, but there are log entries. "
                                                "Something is broken!");
        files_reset_db(db);
    }
    files_ensure_builtin(db);
    report->snapshot_zxid = found ? db->last_zxid : -1;
    struct files_replay r = {.f = f, .db = db, .log = log, .report = report,
                             .snap = found ? &snap : NULL};
    if (found && snap.has_digest && snap.digest_zxid == db->last_zxid && db->last_zxid)
        files_check_digest(&r, db->last_zxid);
    start = os_now_ms();
    int err = files_replay_logs(&r, logs);
    report->logs_ms = os_now_ms() - start;
    report->had_logs = logs->n > 0;
    txn_out_free(db, &r.out);
    return err ? err : files_drop_orphans(f, db, report);
}

ZK_PRIVATE int files_recover(struct files *f, struct db *db, struct files_report *report,
                             struct logq *log) {
    struct files_list logs;
    memset(report, 0, sizeof *report);
    report->snapshot_zxid = -1;
    if (files_log_close(f)) return -1; /* a torn end may be cut: nobody writes there */
    int err = files_list(f->log_dir, "log", &logs);
    if (err)
        (void)files_fail(f, "cannot list", f->log_dir, err);
    else
        err = files_recover_with(f, db, report, log, &logs);
    files_list_free(&logs);
    /* What was found under its name stays there: a rename may not be on the disk yet. */
    const char *dirs[] = {f->log_dir, f->snap_dir};
    for (int i = 0; i < 2 && !err && f->cfg->force_sync; i++) {
        err = os_fsync_dir(dirs[i]);
        if (err) err = files_fail(f, "cannot sync", dirs[i], err);
    }
    return err;
}

/* --- the log --- */

ZK_PRIVATE int files_log_roll(struct files *f, int64_t zxid) {
    uint8_t header[LOGFILE_HEADER_LEN];
    char *path = files_path(f->log_dir, "log", zxid);
    int err = files_log_close(f);
    logfile_put_header(header);
    f->log_size = LOGFILE_HEADER_LEN;
    if (!err) {
        err = writer_open(&f->log, path, f->cfg->pre_alloc_size_kb > 0);
        if (!err) err = writer_put(&f->log, slice_of(header, sizeof header));
        if (!err) err = writer_flush(&f->log);
        /* The header first: a name that points to zeros would not be accepted as a log. */
        if (!err && f->cfg->force_sync) err = os_fdatasync(f->log.fd);
        if (!err && f->cfg->force_sync) err = os_fsync_dir(f->log_dir);
        if (err) {
            (void)files_fail(f, "cannot create", path, err);
            if (f->log.fd >= 0) (void)os_unlink(path);
            writer_close(&f->log);
        }
    }
    mem_free(path);
    return err ? -1 : 0;
}

/* stock: FilePadding, but with the true position: only zeros follow the last entry. */
static int files_log_grow(struct files *f, size_t more) {
    int64_t kb = f->cfg->pre_alloc_size_kb, pre = kb > 0 && kb < INT64_MAX / 1024 ? kb * 1024 : 0;
    int64_t end = writer_padded(&f->log, more);
    if (!pre || (writer_end(&f->log) + 4096 < f->log_size && end <= f->log_size)) return 0;
    int64_t size = f->log_size + pre;
    if (end > size) size = (end + pre) / pre * pre;
    int err = os_truncate(f->log.fd, size);
    if (!err) f->log_size = size;
    return err;
}

ZK_PRIVATE int files_log_append(struct files *f, struct slice entries) {
    ZK_ASSERT(f->log.fd >= 0);
    int err = files_log_grow(f, entries.n);
    if (!err) err = writer_put(&f->log, entries);
    return err ? files_fail(f, "cannot write the log in", f->log_dir, err) : 0;
}

ZK_PRIVATE int files_log_sync(struct files *f) {
    ZK_ASSERT(f->log.fd >= 0);
    int err = writer_flush(&f->log);
    if (err) return files_fail(f, "cannot write the log in", f->log_dir, err);
    if (f->cfg->force_sync) err = os_fdatasync(f->log.fd);
    return err ? files_fail(f, "cannot sync the log in", f->log_dir, err) : 0;
}

/* --- snapshots --- */

ZK_PRIVATE int files_snap_begin(struct files *f) {
    char *path = files_path(f->snap_dir, FILES_SNAP_TMP, -1);
    int err = writer_open(&f->snap, path, true);
    if (err) (void)files_snap_fail(f, "cannot create", path, err);
    f->snap_synced = 0;
    mem_free(path);
    return err ? -1 : 0;
}

ZK_PRIVATE int files_snap_write(struct files *f, struct slice bytes) {
    int err = writer_put(&f->snap, bytes);
    if (!err && !f->snap.direct && f->snap.pos - f->snap_synced >= (int64_t)FILES_SNAP_SYNC) {
        err = os_fdatasync(f->snap.fd);
        f->snap_synced = f->snap.pos;
    }
    return err ? files_snap_fail(f, "cannot write a snapshot in", f->snap_dir, err) : 0;
}

ZK_PRIVATE int files_snap_end(struct files *f, int64_t zxid) {
    char *from = files_path(f->snap_dir, FILES_SNAP_TMP, -1);
    char *to = files_path(f->snap_dir, "snapshot", zxid);
    int err = writer_flush(&f->snap);
    if (!err) err = os_truncate(f->snap.fd, writer_end(&f->snap)); /* it was written in pages */
    if (!err) err = os_fdatasync(f->snap.fd);
    if (!err) err = os_rename(from, to);
    if (!err) err = os_fsync_dir(f->snap_dir);
    if (err) {
        (void)files_snap_fail(f, "cannot finish", to, err);
    } else {
        writer_close(&f->snap);
    }
    mem_free(from);
    mem_free(to);
    return err ? -1 : 0;
}

ZK_PRIVATE void files_snap_abort(struct files *f) {
    if (f->snap.fd < 0) return;
    char *path = files_path(f->snap_dir, FILES_SNAP_TMP, -1);
    writer_close(&f->snap);
    (void)os_unlink(path);
    mem_free(path);
}

/* --- epochs --- */

/* The first line is the number. stock: QuorumPeer.readLongFromFile */
static int files_read_epoch(const char *path, int64_t *epoch) {
    struct slice text;
    size_t i = 0;
    int64_t v = 0;
    *epoch = -1;
    int err = os_map(path, &text);
    if (err) return err;
    while (i < text.n && text.p[i] >= '0' && text.p[i] <= '9' && v <= INT32_MAX)
        v = v * 10 + (text.p[i++] - '0');
    bool ok = i && (i == text.n || text.p[i] == '\n' || text.p[i] == '\r') && v <= INT32_MAX;
    bool none = slice_is(text, "-1"); /* stock: of a server that has no database */
    os_unmap(text);
    if (ok) *epoch = v;
    return ok || none ? 0 : -EINVAL;
}

/* What was written and synced under `from` gets its name, durably. */
static int files_settle(struct files *f, const char *from, const char *to) {
    int err = os_rename(from, to);
    return err ? err : os_fsync_dir(f->snap_dir);
}

/*
 * A larger number in NAME.tmp was synced, maybe told to others, and its rename undone by a power
 * cut: stock does not sync the directory. Anything else there was never told to anybody.
 */
static int files_load_epoch(struct files *f, const char *name, int64_t *epoch) {
    char *path = files_path(f->snap_dir, name, -1);
    struct buf tmp = {0};
    int64_t newer = -1;
    buf_printf(&tmp, "%s.tmp", path);
    buf_putc(&tmp, '\0');
    const char *from = (const char *)tmp.p;
    int err = files_read_epoch(path, epoch);
    if (err == -EINVAL) {
        err = files_refuse(f, path, "must hold one number, the epoch, and does not");
    } else if (err && err != -ENOENT) {
        err = files_fail(f, "cannot read", path, err);
    } else {
        err = files_read_epoch(from, &newer);
        if (!err && newer > *epoch) {
            *epoch = newer;
            err = files_sync_file(from);
            if (!err) err = files_settle(f, from, path);
        } else if (!err || err == -EINVAL) {
            err = os_unlink(from);
        } else if (err == -ENOENT) {
            err = 0;
        }
        if (err) err = files_fail(f, "cannot recover", from, err);
    }
    buf_free(&tmp);
    mem_free(path);
    return err;
}

ZK_PRIVATE int files_load_epochs(struct files *f, int64_t *accepted, int64_t *current) {
    int err = files_load_epoch(f, "acceptedEpoch", accepted);
    if (!err) err = files_load_epoch(f, "currentEpoch", current);
    if (err || *accepted < 0 || *accepted >= *current) return err;
    (void)snprintf(f->error, sizeof f->error,
                   "The accepted epoch, %llx is less than the current epoch, %llx",
                   (unsigned long long)*accepted, (unsigned long long)*current);
    return -1;
}

ZK_PRIVATE int files_save_epoch(struct files *f, const char *name, int64_t epoch) {
    char text[24], *path = files_path(f->snap_dir, name, -1);
    struct buf tmp = {0};
    buf_printf(&tmp, "%s.tmp", path);
    buf_putc(&tmp, '\0');
    int n = snprintf(text, sizeof text, "%lld", (long long)epoch);
    int fd = os_create((const char *)tmp.p), err = fd < 0 ? fd : 0;
    if (!err) err = os_pwrite(fd, text, (size_t)n, 0);
    if (!err) err = os_fdatasync(fd);
    if (fd >= 0) (void)os_close(fd);
    if (!err) err = files_settle(f, (const char *)tmp.p, path);
    if (err) err = files_fail(f, "cannot write", path, err);
    buf_free(&tmp);
    mem_free(path);
    return err;
}

/* --- cutting off the end of history --- */

struct files_cutting {
    struct files *f;
    struct logq *log;
    int64_t zxid;
    struct files_list logs, snaps;
    /* What the log holds behind the newest snapshot that may stay. */
    int64_t base;   /* zxid of that; -1: there is none */
    int64_t before; /* of the last entry not beyond base; -1: none was seen */
    int64_t last;   /* no hole between base and here */
    uint32_t met;   /* snapshots whose zxid has gone by */
    bool reached;   /* the log comes to zxid, or base is it */
    bool whole;     /* it goes on without a hole to its end, through each snapshot beyond zxid */
};

/* The first entry behind base must be known to follow it: base may have come from elsewhere. */
static bool files_walk_follows(const struct files_cutting *c, int64_t zxid) {
    return files_follows(c->f, c->last, zxid) &&
           (c->last > c->base || c->before == c->base || zxid == c->base + 1 || c->base == 0);
}

static void files_walk_entry(struct files_cutting *c, int64_t zxid) {
    if (zxid <= c->base) c->before = zxid;
    if (zxid <= c->last || !c->whole) return;
    c->whole = files_walk_follows(c, zxid);
    if (!c->whole) return;
    c->last = zxid;
    c->reached = c->reached || zxid == c->zxid;
    while (c->met < c->snaps.n && c->snaps.at[c->met].zxid <= zxid) {
        int64_t snap = c->snaps.at[c->met++].zxid;
        if (snap > c->zxid && snap < zxid) c->whole = false; /* it came from elsewhere */
    }
}

static int files_walk(struct files_cutting *c) {
    int err = 0;
    c->last = c->base;
    c->before = -1;
    c->whole = true;
    c->reached = c->base == c->zxid;
    for (uint32_t i = files_first_log(&c->logs, c->base); i < c->logs.n && !err; i++) {
        char *path = files_path(c->f->log_dir, c->logs.at[i].name, -1);
        struct logfile lf;
        struct slice bytes;
        err = os_map(path, &bytes);
        if (err) {
            (void)files_fail(c->f, "cannot read", path, err);
        } else {
            enum logfile_status st = logfile_open(&lf, bytes, files_longest(c->f));
            while (st == LOGFILE_ENTRY && (st = logfile_next(&lf)) == LOGFILE_ENTRY)
                files_walk_entry(c, lf.header.zxid);
            c->whole = c->whole && (st == LOGFILE_END || st == LOGFILE_TORN);
            os_unmap(bytes);
        }
        mem_free(path);
    }
    if (c->snaps.n && c->snaps.at[c->snaps.n - 1].zxid > c->last) c->whole = false;
    return err;
}

static int files_discard(struct files_cutting *c, const char *dir, const char *name) {
    char *path = files_path(dir, name, -1);
    int err = os_unlink(path);
    if (!err) err = os_fsync_dir(dir);
    if (err)
        err = files_fail(c->f, "cannot remove", path, err);
    else
        log_line(c->log, LOG_INFO_LEVEL, "Removed %s: it lies beyond zxid 0x%llx", path,
                 (unsigned long long)c->zxid);
    mem_free(path);
    return err;
}

static int files_cut_snaps(struct files_cutting *c) {
    int err = 0;
    for (uint32_t i = c->snaps.n; i-- > 0 && c->snaps.at[i].zxid > c->zxid && !err;)
        err = files_discard(c, c->f->snap_dir, c->snaps.at[i].name);
    return err;
}

/* The entries of one file that lie beyond. Damage before them is not ours to cut off. */
static int files_cut_log(struct files_cutting *c, const char *name) {
    char *path = files_path(c->f->log_dir, name, -1);
    struct logfile lf;
    struct slice bytes;
    int err = os_map(path, &bytes);
    if (err) {
        (void)files_fail(c->f, "cannot read", path, err);
    } else {
        enum logfile_status st = logfile_open(&lf, bytes, files_longest(c->f));
        size_t at = lf.at;
        while (st == LOGFILE_ENTRY && (st = logfile_next(&lf)) == LOGFILE_ENTRY &&
               lf.header.zxid <= c->zxid)
            at = lf.at;
        os_unmap(bytes);
        if (st == LOGFILE_ENTRY) {
            err = files_cut(c->f, path, at);
            if (!err)
                log_line(c->log, LOG_INFO_LEVEL, "Cut %s at %zu: zxid 0x%llx", path, at,
                         (unsigned long long)c->zxid);
        } else if (st != LOGFILE_END && st != LOGFILE_TORN) {
            err = files_refuse(c->f, path, "damaged, cannot be truncated");
        }
    }
    mem_free(path);
    return err;
}

static int files_cut_logs(struct files_cutting *c) {
    int err = 0;
    uint32_t i = c->logs.n;
    while (!err && i > 0 && c->logs.at[i - 1].zxid > c->zxid)
        err = files_discard(c, c->f->log_dir, c->logs.at[--i].name);
    /* The file that goes across zxid; copies of it, too. */
    int64_t across = i ? c->logs.at[i - 1].zxid : -1;
    while (!err && across >= 0 && i > 0 && c->logs.at[i - 1].zxid == across)
        err = files_cut_log(c, c->logs.at[--i].name);
    return err;
}

static int files_truncate_with(struct files_cutting *c) {
    c->base = -1;
    for (uint32_t i = c->snaps.n; i-- > 0 && c->base < 0;) {
        if (c->snaps.at[i].zxid > c->zxid) continue;
        int ok = files_snap_plausible(c->f->snap_dir, &c->snaps.at[i]);
        if (ok < 0) return files_fail(c->f, "cannot read a snapshot in", c->f->snap_dir, ok);
        if (ok) c->base = c->snaps.at[i].zxid;
    }
    if (c->snaps.n == 0 || c->snaps.at[c->snaps.n - 1].zxid <= c->zxid) return files_cut_logs(c);
    if (c->base >= 0 && files_walk(c)) return -1;
    if (c->base < 0 || (!c->reached && !c->whole)) {
        log_line(c->log, LOG_WARN_LEVEL,
                 "Cannot go back to zxid 0x%llx: only a snapshot beyond it holds what came before",
                 (unsigned long long)c->zxid);
        return 1;
    }
    int err = c->whole ? files_cut_snaps(c) : files_cut_logs(c);
    if (!err) err = c->whole ? files_cut_logs(c) : files_cut_snaps(c);
    return err;
}

ZK_PRIVATE int files_truncate(struct files *f, int64_t zxid, struct logq *log) {
    struct files_cutting c = {.f = f, .log = log, .zxid = zxid};
    int err = files_log_close(f);
    if (err) return -1;
    err = files_list(f->log_dir, "log", &c.logs);
    if (err) (void)files_fail(f, "cannot list", f->log_dir, err);
    if (!err) {
        err = files_list(f->snap_dir, "snapshot", &c.snaps);
        if (err) (void)files_fail(f, "cannot list", f->snap_dir, err);
    }
    if (!err) err = files_truncate_with(&c);
    files_list_free(&c.logs);
    files_list_free(&c.snaps);
    return err < 0 ? -1 : err;
}

/* --- purging --- */

static void files_remove(const char *dir, const char *name, struct logq *log) {
    char *path = files_path(dir, name, -1);
    int err = os_unlink(path);
    log_line(log, err ? LOG_WARN_LEVEL : LOG_INFO_LEVEL, "%s %s",
             err ? "Failed to remove" : "Removing file:", path);
    mem_free(path);
}

ZK_PRIVATE int files_purge(struct files *f, int32_t retain, struct logq *log) {
    struct files_list snaps, logs;
    (void)files_list(f->snap_dir, "snapshot", &snaps);
    (void)files_list(f->log_dir, "log", &logs);
    int64_t oldest = -1, keep_log = -1;
    int32_t kept = 0;
    for (uint32_t i = snaps.n; i-- > 0 && kept < retain;) {
        if (files_snap_plausible(f->snap_dir, &snaps.at[i]) <= 0) continue;
        oldest = snaps.at[i].zxid;
        kept++;
    }
    /* The log that holds the oldest snapshot's next transaction may have begun before it. */
    for (uint32_t i = 0; i < logs.n; i++)
        if (logs.at[i].zxid <= oldest) keep_log = logs.at[i].zxid;
    for (uint32_t i = 0; kept && i < snaps.n; i++)
        if (snaps.at[i].zxid < oldest) files_remove(f->snap_dir, snaps.at[i].name, log);
    for (uint32_t i = 0; kept && i < logs.n; i++)
        if (logs.at[i].zxid < oldest && logs.at[i].zxid < keep_log)
            files_remove(f->log_dir, logs.at[i].name, log);
    files_list_free(&snaps);
    files_list_free(&logs);
    return 0;
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== host/logread.c ==== */



#include <stdio.h>

struct logread {
    const struct files *files;
    struct buf logs, snaps; /* int64 zxids of the file names, in no order */
    int64_t after, upto;
    int64_t cursor; /* the last transaction seen, from `after` on; -1: not found yet */
    struct buf *out;
};

static void logread_names(const char *dir, const char *prefix, struct buf *zxids) {
    struct buf names = {0};
    if (os_list(dir, &names) < 0) buf_clear(&names);
    for (size_t at = 0; at < names.n;) {
        const char *name = (const char *)names.p + at;
        at += strlen(name) + 1;
        int64_t zxid = logfile_name_zxid(name, prefix);
        if (zxid >= 0) buf_put(zxids, &zxid, sizeof zxid);
    }
    buf_free(&names);
}

static int64_t logread_zxid(const struct buf *zxids, size_t i) {
    int64_t zxid;
    memcpy(&zxid, zxids->p + i * sizeof zxid, sizeof zxid);
    return zxid;
}

/* The largest of them that is at most `most`, or the smallest that is at least `least`; or -1. */
static int64_t logread_floor(const struct buf *zxids, int64_t most) {
    int64_t best = -1;
    for (size_t i = 0; i < zxids->n / sizeof best; i++) {
        int64_t zxid = logread_zxid(zxids, i);
        if (zxid <= most && zxid > best) best = zxid;
    }
    return best;
}

static int64_t logread_ceiling(const struct buf *zxids, int64_t least) {
    int64_t best = -1;
    for (size_t i = 0; i < zxids->n / sizeof best; i++) {
        int64_t zxid = logread_zxid(zxids, i);
        if (zxid >= least && (best < 0 || zxid < best)) best = zxid;
    }
    return best;
}

static void logread_path(char *path, size_t n, const char *dir, const char *prefix, int64_t zxid) {
    (void)snprintf(path, n, "%s/%s.%llx", dir, prefix, (unsigned long long)zxid);
}

/* Bytes of a log file without the zeros at its end. stock: counts what is preallocated, too */
static int64_t logread_used(const char *path) {
    static const uint8_t zeros[4096];
    struct slice bytes;
    if (os_map(path, &bytes)) return 0;
    size_t n = bytes.n;
    while (n >= sizeof zeros && memcmp(bytes.p + n - sizeof zeros, zeros, sizeof zeros) == 0)
        n -= sizeof zeros;
    os_unmap(bytes);
    return (int64_t)n;
}

static bool logread_too_long(const struct logread *r, int64_t first_log) {
    double factor = r->files->cfg->snapshot_size_factor;
    char path[1024];
    int64_t logs = 0;
    if (!(factor > 0)) return false;
    logread_path(path, sizeof path, r->files->snap_dir, "snapshot",
                 logread_floor(&r->snaps, INT64_MAX));
    int64_t snap = os_file_size(path);
    for (int64_t z = first_log; z >= 0; z = logread_ceiling(&r->logs, z + 1)) {
        logread_path(path, sizeof path, r->files->log_dir, "log", z);
        logs += logread_used(path);
    }
    return (double)logs > (double)(snap > 0 ? snap : 0) * factor;
}

static bool logread_follows(const struct logread *r, int64_t zxid) {
    if (zxid == r->cursor + 1) return true;
    if (zxid >> 32 <= r->cursor >> 32 || (zxid & 0xffffffffLL) != 1) return false;
    int64_t snap = logread_ceiling(&r->snaps, r->cursor + 1);
    return snap < 0 || snap >= zxid;
}

/* False: there is nothing more to be had. */
static bool logread_entry(struct logread *r, const struct logfile *lf) {
    int64_t zxid = lf->header.zxid;
    if (zxid <= r->after) {
        if (zxid == r->after) r->cursor = zxid;
        return true;
    }
    if (r->cursor < 0 || zxid > r->upto || !logread_follows(r, zxid)) return false;
    jw_i32(r->out, (int32_t)(TXN_HEADER_LEN + lf->record.n));
    jw_txn_header(r->out, &lf->header);
    buf_put(r->out, lf->record.p, lf->record.n);
    r->cursor = zxid;
    return buf_len(r->out) < LOGREAD_BYTES;
}

static bool logread_file(struct logread *r, int64_t zxid) {
    uint64_t most = (uint64_t)(uint32_t)r->files->cfg->jute_max_buffer +
                    (uint32_t)r->files->cfg->jute_extra_size;
    char path[1024];
    struct slice bytes;
    struct logfile lf;
    logread_path(path, sizeof path, r->files->log_dir, "log", zxid);
    if (os_map(path, &bytes)) return false;
    bool more = logfile_open(&lf, bytes, most > INT32_MAX ? INT32_MAX : (uint32_t)most) ==
                LOGFILE_ENTRY;
    while (more && logfile_next(&lf) == LOGFILE_ENTRY) more = logread_entry(r, &lf);
    os_unmap(bytes);
    return more;
}

ZK_PRIVATE void logread_after(const struct files *f, int64_t after, int64_t upto, bool first,
                              struct buf *out) {
    struct logread r = {.files = f, .after = after, .upto = upto, .cursor = -1, .out = out};
    logread_names(f->log_dir, "log", &r.logs);
    logread_names(f->snap_dir, "snapshot", &r.snaps);
    int64_t log = logread_floor(&r.logs, after);
    if (log >= 0 && !(first && logread_too_long(&r, log)))
        while (log >= 0 && logread_file(&r, log)) log = logread_ceiling(&r.logs, log + 1);
    buf_free(&r.logs);
    buf_free(&r.snaps);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== host/disk.c ==== */


#include <stdio.h>


static void disk_wake(struct disk *d) {
    if (d->woken) return;
    d->woken = true;
    os_notify(d->wake_fd);
}

static void disk_fail(struct disk *d) {
    if (d->failed) return;
    d->failed = true;
    (void)snprintf(d->error, sizeof d->error, "%s", d->files->error);
    disk_wake(d);
}

static void disk_load_free(struct disk_load *l) {
    if (!l) return;
    db_free(&l->db);
    mem_free(l);
}

ZK_PRIVATE void disk_done_free(struct disk_done *done) {
    disk_load_free(done->load);
    buf_free(&done->bytes);
}

/* --- the log thread --- */

/* Under the lock. */
static void disk_report(struct disk *d, enum node_input_kind kind, int64_t zxid,
                        struct disk_load *load) {
    struct disk_done done = {.kind = kind, .zxid = zxid, .load = load}, last;
    if (kind == NODE_LOG_SYNCED && d->done.n) { /* the later one says it all */
        memcpy(&last, d->done.p + d->done.n - sizeof last, sizeof last);
        if (last.kind == kind) d->done.n -= sizeof last;
    }
    buf_put(&d->done, &done, sizeof done);
    disk_wake(d);
}

static void disk_synced(struct disk *d, int64_t zxid, uint32_t n, int64_t ms) {
    (void)pthread_mutex_lock(&d->lock);
    metrics_add(&d->sync_ms, ms);
    metrics_add(&d->batch_size, n);
    if (ms > d->files->cfg->fsync_warning_ms) {
        d->slow_syncs++;
        log_line(&d->log, LOG_WARN_LEVEL,
                 "fsync-ing the write ahead log took %lldms which will adversely effect operation "
                 "latency. File size is %lld bytes. See the ZooKeeper troubleshooting guide",
                 (long long)ms, (long long)d->files->log_size);
    }
    disk_report(d, NODE_LOG_SYNCED, zxid, NULL);
    (void)pthread_mutex_unlock(&d->lock);
}

/* The appends at the front of p, with one sync; their number, or -1. */
static int64_t disk_append(struct disk *d, const struct disk_piece *p, uint32_t n) {
    int64_t start = os_now_ms();
    uint32_t i = 0;
    for (; i < n && p[i].kind == NODE_APPEND; i++) {
        if (p[i].roll && files_log_roll(d->files, p[i].zxid)) return -1;
        if (files_log_append(d->files, p[i].bytes)) return -1;
    }
    if (files_log_sync(d->files)) return -1;
    disk_synced(d, p[i - 1].zxid, i, os_now_ms() - start);
    return i;
}

static void disk_pass_lines(struct disk *d, struct logq *lines) {
    int level;
    const char *text;
    while (log_take(lines, &level, &text)) log_line(&d->log, level, "%s", text);
    disk_wake(d);
    buf_free(&lines->lines);
}

static int disk_truncate_and_load(struct disk *d, struct disk_piece *p) {
    struct logq lines = {.max_level = LOG_INFO_LEVEL};
    (void)pthread_mutex_lock(&d->lock);
    while (buf_len(&d->jobs) || d->back_busy) (void)pthread_cond_wait(&d->back_done, &d->lock);
    d->loading = true;
    (void)pthread_mutex_unlock(&d->lock);
    int err = p->zxid >= 0 && files_truncate(d->files, p->zxid, &lines) < 0 ? -1 : 0;
    if (!err && p->load)
        err = files_recover(d->files, &p->load->db, &p->load->report, &lines);
    (void)pthread_mutex_lock(&d->lock);
    d->loading = false;
    disk_pass_lines(d, &lines);
    if (!err && p->load) disk_report(d, NODE_LOADED, p->zxid, p->load);
    if (!err) p->load = NULL;
    (void)pthread_cond_signal(&d->back_work);
    (void)pthread_mutex_unlock(&d->lock);
    return err;
}

static int disk_save_epoch(struct disk *d, const struct disk_piece *p) {
    if (files_save_epoch(d->files, p->accepted ? "acceptedEpoch" : "currentEpoch", p->zxid))
        return -1;
    (void)pthread_mutex_lock(&d->lock);
    disk_report(d, NODE_EPOCH_SAVED, p->zxid, NULL);
    (void)pthread_mutex_unlock(&d->lock);
    return 0;
}

static int disk_do_batch(struct disk *d, struct disk_piece *p, uint32_t n) {
    for (uint32_t i = 0; i < n;) {
        int64_t done = p[i].kind == NODE_APPEND       ? disk_append(d, p + i, n - i)
                       : p[i].kind == NODE_SAVE_EPOCH ? disk_save_epoch(d, &p[i])
                                                      : disk_truncate_and_load(d, &p[i]);
        if (done < 0) return -1;
        i += done > 0 ? (uint32_t)done : 1;
    }
    return 0;
}

static void disk_free_pieces(struct buf *pieces) {
    for (size_t at = 0; at < pieces->n; at += sizeof(struct disk_piece)) {
        struct disk_piece p;
        memcpy(&p, pieces->p + at, sizeof p);
        disk_load_free(p.load);
    }
    buf_clear(pieces);
}

static void *disk_log_main(void *arg) {
    struct disk *d = arg;
    for (;;) {
        (void)pthread_mutex_lock(&d->lock);
        while (!d->pieces.n && !d->stopping) {
            d->log_idle = true;
            (void)pthread_cond_wait(&d->log_work, &d->lock);
        }
        d->log_idle = false;
        bool done = !d->pieces.n || d->failed;
        struct buf batch = d->pieces;
        d->pieces = d->batch;
        d->batch = batch;
        (void)pthread_mutex_unlock(&d->lock);
        if (done) return NULL;
        struct disk_piece *p = (struct disk_piece *)(void *)d->batch.p;
        int err = disk_do_batch(d, p, (uint32_t)(d->batch.n / sizeof *p));
        disk_free_pieces(&d->batch);
        if (!err) continue;
        (void)pthread_mutex_lock(&d->lock);
        disk_fail(d);
        (void)pthread_mutex_unlock(&d->lock);
        return NULL;
    }
}

/* --- the background thread --- */

static void disk_snap_failed(struct disk *d, uint32_t aborts) {
    files_snap_abort(d->files);
    (void)pthread_mutex_lock(&d->lock);
    log_line(&d->log, LOG_ERROR_LEVEL, "Snapshot failed: %s", d->files->snap_error);
    if (aborts == d->aborts) d->snap_failed = true;
    d->snap_open = false;
    disk_wake(d);
    (void)pthread_mutex_unlock(&d->lock);
}

static void disk_read_log(struct disk *d, const struct disk_job *j) {
    struct disk_done done = {.kind = NODE_LOG_READ, .zxid = j->zxid};
    logread_after(d->files, j->zxid, j->upto, j->first, &done.bytes);
    (void)pthread_mutex_lock(&d->lock);
    buf_put(&d->done, &done, sizeof done);
    disk_wake(d);
    (void)pthread_mutex_unlock(&d->lock);
}

static void disk_snapshot(struct disk *d, struct disk_job *j) {
    int err = 0;
    bool end = j->kind == NODE_SNAPSHOT_END;
    if (j->kind == NODE_SNAPSHOT_BEGIN) {
        err = files_snap_begin(d->files);
        d->snap_open = !err;
    } else if (j->kind == NODE_SNAPSHOT_ABORT) {
        files_snap_abort(d->files);
        d->snap_open = false;
    } else if (d->snap_open) {
        err = end ? files_snap_end(d->files, j->zxid)
                  : files_snap_write(d->files, buf_slice(&j->bytes));
    }
    if (err) disk_snap_failed(d, j->aborts);
    (void)pthread_mutex_lock(&d->lock);
    d->snap_queued -= buf_len(&j->bytes);
    if (d->snap_open && end) {
        d->snap_open = false;
        if (j->aborts == d->aborts) d->snap_done = true;
        disk_wake(d);
    }
    if (d->snap_queued < DISK_SNAP_QUEUE_MAX && !d->snap_room) {
        d->snap_room = true;
        disk_wake(d);
    }
    (void)pthread_mutex_unlock(&d->lock);
    buf_free(&j->bytes);
}

static void disk_purge(struct disk *d) {
    struct logq lines = {.max_level = LOG_INFO_LEVEL};
    (void)files_purge(d->files, d->files->cfg->autopurge_retain, &lines);
    (void)pthread_mutex_lock(&d->lock);
    disk_pass_lines(d, &lines);
    (void)pthread_mutex_unlock(&d->lock);
}

static void disk_back_wait(struct disk *d) {
    struct timespec until = {(time_t)(os_wall_ms() / 1000) + 60, 0}; /* for the purge timer */
    d->back_idle = true;
    (void)pthread_cond_timedwait(&d->back_work, &d->lock, &until);
    d->back_idle = false;
}

static void *disk_back_main(void *arg) {
    struct disk *d = arg;
    int64_t every = (int64_t)d->files->cfg->autopurge_interval_h * 3600000;
    (void)pthread_mutex_lock(&d->lock);
    for (;;) {
        bool job = buf_len(&d->jobs) && !d->loading;
        bool purge = every > 0 && os_now_ms() >= d->purge_next && !d->loading && !d->stopping;
        struct disk_job j;
        if (!job && !purge) {
            if (d->stopping && !d->loading) break;
            disk_back_wait(d);
            continue;
        }
        if (job) {
            memcpy(&j, d->jobs.p + d->jobs.head, sizeof j);
            buf_consume(&d->jobs, sizeof j);
        } else {
            d->purge_next = os_now_ms() + every;
        }
        d->back_busy = true;
        (void)pthread_mutex_unlock(&d->lock);
        if (!job)
            disk_purge(d);
        else if (j.kind == NODE_READ_LOG)
            disk_read_log(d, &j);
        else
            disk_snapshot(d, &j);
        (void)pthread_mutex_lock(&d->lock);
        d->back_busy = false;
        (void)pthread_cond_signal(&d->back_done);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* --- the loop's side --- */

ZK_PRIVATE int disk_start(struct disk *d, struct files *files, int wake_fd) {
    memset(d, 0, sizeof *d);
    d->files = files;
    d->wake_fd = wake_fd;
    d->snap_room = true;
    d->log.max_level = LOG_INFO_LEVEL;
    d->purge_next = os_now_ms();
    (void)pthread_mutex_init(&d->lock, NULL);
    (void)pthread_cond_init(&d->log_work, NULL);
    (void)pthread_cond_init(&d->back_work, NULL);
    (void)pthread_cond_init(&d->back_done, NULL);
    int err = pthread_create(&d->log_thread, NULL, disk_log_main, d);
    if (err) return -err;
    d->log_running = true;
    err = pthread_create(&d->back_thread, NULL, disk_back_main, d);
    if (err) return -err;
    d->back_running = true;
    return 0;
}

ZK_PRIVATE void disk_join(struct disk *d) {
    (void)pthread_mutex_lock(&d->lock);
    d->stopping = true;
    (void)pthread_cond_broadcast(&d->log_work);
    (void)pthread_cond_broadcast(&d->back_work);
    (void)pthread_mutex_unlock(&d->lock);
    if (d->log_running) (void)pthread_join(d->log_thread, NULL);
    if (d->back_running) (void)pthread_join(d->back_thread, NULL);
    d->log_running = d->back_running = false;
}

ZK_PRIVATE void disk_free(struct disk *d) {
    for (size_t at = d->jobs.head; at < d->jobs.n; at += sizeof(struct disk_job)) {
        struct disk_job j;
        memcpy(&j, d->jobs.p + at, sizeof j);
        buf_free(&j.bytes);
    }
    disk_free_pieces(&d->pieces);
    buf_free(&d->pieces);
    buf_free(&d->batch);
    for (size_t at = 0; at < d->done.n; at += sizeof(struct disk_done)) {
        struct disk_done done;
        memcpy(&done, d->done.p + at, sizeof done);
        disk_done_free(&done);
    }
    buf_free(&d->done);
    buf_free(&d->jobs);
    buf_free(&d->log.lines);
    (void)pthread_mutex_destroy(&d->lock);
    (void)pthread_cond_destroy(&d->log_work);
    (void)pthread_cond_destroy(&d->back_work);
    (void)pthread_cond_destroy(&d->back_done);
}

ZK_PRIVATE void disk_submit(struct disk *d, struct buf *pieces) {
    (void)pthread_mutex_lock(&d->lock);
    buf_put(&d->pieces, pieces->p, pieces->n);
    if (d->log_idle) (void)pthread_cond_signal(&d->log_work);
    (void)pthread_mutex_unlock(&d->lock);
    buf_clear(pieces);
}

ZK_PRIVATE void disk_background(struct disk *d, struct node_output *o) {
    struct disk_job j = {.kind = o->kind, .zxid = o->zxid, .upto = o->upto, .first = o->first,
                         .bytes = o->owned};
    memset(&o->owned, 0, sizeof o->owned);
    (void)pthread_mutex_lock(&d->lock);
    if (j.kind == NODE_SNAPSHOT_ABORT) {
        d->aborts++;
        d->snap_done = d->snap_failed = false;
    }
    j.aborts = d->aborts;
    d->snap_queued += buf_len(&j.bytes);
    if (d->snap_queued < DISK_SNAP_QUEUE_MAX) {
        d->snap_room = true; /* said at once: nothing has to be waited for */
        disk_wake(d);
    } else {
        d->snap_room = false;
    }
    buf_compact(&d->jobs);
    buf_put(&d->jobs, &j, sizeof j);
    if (d->back_idle) (void)pthread_cond_signal(&d->back_work);
    (void)pthread_mutex_unlock(&d->lock);
}

ZK_PRIVATE void disk_collect(struct disk *d, struct disk_news *news, struct logq *log) {
    int level;
    const char *text;
    (void)pthread_mutex_lock(&d->lock);
    struct buf done = news->done;
    news->done = d->done;
    d->done = done;
    news->failed = d->failed;
    news->snap_done = d->snap_done;
    news->snap_failed = d->snap_failed;
    news->snap_room = d->snap_room;
    news->slow_syncs = d->slow_syncs;
    news->sync_ms = d->sync_ms;
    news->batch = d->batch_size;
    memset(&d->sync_ms, 0, sizeof d->sync_ms);
    memset(&d->batch_size, 0, sizeof d->batch_size);
    d->snap_done = d->snap_failed = d->woken = false;
    while (log_take(&d->log, &level, &text)) log_line(log, level, "%s", text);
    (void)pthread_mutex_unlock(&d->lock);
}
#endif /* ZK_WITH_SERVER */

/* ==== host/resolver.c ==== */


struct resolver_question {
    uint64_t ticket;
    char host[RESOLVER_HOST];
    uint16_t port;
};

struct resolver {
    pthread_mutex_t lock; /* of everything here */
    pthread_cond_t work;
    bool running, stopping;
    int wake_fd;
    struct buf questions; /* struct resolver_question */
    struct buf answers;   /* struct resolver_answer */
};

static void resolver_destroy(struct resolver *r) {
    buf_free(&r->questions);
    buf_free(&r->answers);
    (void)pthread_mutex_destroy(&r->lock);
    (void)pthread_cond_destroy(&r->work);
    mem_free(r);
}

ZK_PRIVATE struct resolver *resolver_new(int wake_fd) {
    struct resolver *r = mem_try(sizeof *r);
    if (!r) return NULL;
    r->wake_fd = wake_fd;
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->work, NULL);
    return r;
}

/* Under the lock. */
static void resolver_answer(struct resolver *r, const struct resolver_answer *a) {
    buf_compact(&r->answers);
    if (buf_try_reserve(&r->answers, sizeof *a)) buf_put(&r->answers, a, sizeof *a);
    os_notify(r->wake_fd);
}

static void *resolver_main(void *arg) {
    struct resolver *r = arg;
    (void)pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        struct resolver_question q;
        if (!buf_len(&r->questions)) {
            (void)pthread_cond_wait(&r->work, &r->lock);
            continue;
        }
        memcpy(&q, r->questions.p + r->questions.head, sizeof q);
        buf_consume(&r->questions, sizeof q);
        (void)pthread_mutex_unlock(&r->lock);
        struct resolver_answer a;
        memset(&a, 0, sizeof a);
        a.ticket = q.ticket;
        int n = os_resolve(q.host, q.port, false, a.at);
        a.n = n > 0 ? n : 0;
        (void)pthread_mutex_lock(&r->lock);
        if (!r->stopping) resolver_answer(r, &a);
    }
    (void)pthread_mutex_unlock(&r->lock);
    resolver_destroy(r);
    return NULL;
}

/* Under the lock. The thread is nobody's to join: it frees the resolver when it ends. */
static bool resolver_run(struct resolver *r) {
    pthread_t thread;
    if (r->running) return true;
    r->running = pthread_create(&thread, NULL, resolver_main, r) == 0;
    if (r->running) (void)pthread_detach(thread);
    return r->running;
}

ZK_PRIVATE void resolver_free(struct resolver *r) {
    if (!r) return;
    (void)pthread_mutex_lock(&r->lock);
    bool running = r->running;
    r->stopping = true;
    (void)pthread_cond_signal(&r->work);
    (void)pthread_mutex_unlock(&r->lock);
    if (!running) resolver_destroy(r);
}

ZK_PRIVATE void resolver_ask(struct resolver *r, uint64_t ticket, const char *host, uint16_t port) {
    struct resolver_question q = {.ticket = ticket, .port = port};
    size_t n = strlen(host);
    memcpy(q.host, host, n < sizeof q.host ? n : sizeof q.host - 1);
    (void)pthread_mutex_lock(&r->lock);
    buf_compact(&r->questions);
    if (buf_try_reserve(&r->questions, sizeof q) && resolver_run(r)) {
        buf_put(&r->questions, &q, sizeof q);
        (void)pthread_cond_signal(&r->work);
    } else {
        struct resolver_answer none;
        memset(&none, 0, sizeof none);
        none.ticket = ticket;
        resolver_answer(r, &none);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

ZK_PRIVATE void resolver_forget(struct resolver *r, uint64_t ticket) {
    (void)pthread_mutex_lock(&r->lock);
    struct buf kept = {0};
    for (size_t at = r->questions.head; at < r->questions.n;
         at += sizeof(struct resolver_question)) {
        struct resolver_question q;
        memcpy(&q, r->questions.p + at, sizeof q);
        if (q.ticket != ticket) buf_put(&kept, &q, sizeof q);
    }
    buf_free(&r->questions);
    r->questions = kept;
    (void)pthread_mutex_unlock(&r->lock);
}

ZK_PRIVATE bool resolver_take(struct resolver *r, struct resolver_answer *out) {
    (void)pthread_mutex_lock(&r->lock);
    bool any = buf_len(&r->answers) != 0;
    if (any) {
        memcpy(out, r->answers.p + r->answers.head, sizeof *out);
        buf_consume(&r->answers, sizeof *out);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return any;
}

/* ==== host/duct.c ==== */


#include <errno.h>

ZK_PRIVATE struct duct *duct_new(void) {
    struct duct *d = mem_try(sizeof *d);
    if (!d) return NULL;
    if (os_pipe(d->side[0].bell)) {
        mem_free(d);
        return NULL;
    }
    if (os_pipe(d->side[1].bell)) {
        (void)os_close(d->side[0].bell[0]);
        (void)os_close(d->side[0].bell[1]);
        mem_free(d);
        return NULL;
    }
    (void)pthread_mutex_init(&d->lock, NULL);
    return d;
}

ZK_PRIVATE void duct_wake(struct duct *d, enum duct_side side) {
    os_notify(d->side[side].bell[1]);
}

static enum duct_side duct_other(enum duct_side side) {
    return side == DUCT_CLIENT ? DUCT_SERVER : DUCT_CLIENT;
}

ZK_PRIVATE void duct_close(struct duct *d, enum duct_side side) {
    enum duct_side other = duct_other(side);
    (void)pthread_mutex_lock(&d->lock);
    d->side[side].gone = true;
    bool last = d->side[other].gone;
    if (!last) duct_wake(d, other);
    (void)pthread_mutex_unlock(&d->lock);
    if (!last) return;
    for (int i = 0; i < 2; i++) {
        buf_free(&d->side[i].in);
        (void)os_close(d->side[i].bell[0]);
        (void)os_close(d->side[i].bell[1]);
    }
    (void)pthread_mutex_destroy(&d->lock);
    mem_free(d);
}

ZK_PRIVATE int duct_bell(const struct duct *d, enum duct_side side) {
    return d->side[side].bell[0];
}

ZK_PRIVATE int64_t duct_recv(struct duct *d, enum duct_side side, void *p, size_t n) {
    enum duct_side other = duct_other(side);
    (void)pthread_mutex_lock(&d->lock);
    struct buf *in = &d->side[side].in;
    bool gone = d->side[other].gone;
    if (n > buf_len(in)) n = buf_len(in);
    if (n) memcpy(p, in->p + in->head, n);
    if (n) buf_consume(in, n);
    if (!buf_len(in) && !gone) os_drain(d->side[side].bell[0]);
    if (n && d->side[side].full) {
        d->side[side].full = false;
        if (!gone) duct_wake(d, other);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return n ? (int64_t)n : gone ? 0 : -EAGAIN;
}

ZK_PRIVATE int64_t duct_send(struct duct *d, enum duct_side side, const void *p, size_t n) {
    enum duct_side other = duct_other(side);
    int64_t result = -EPIPE;
    (void)pthread_mutex_lock(&d->lock);
    struct buf *to = &d->side[other].in;
    if (!d->side[other].gone) {
        size_t room = buf_len(to) < DUCT_MAX ? DUCT_MAX - buf_len(to) : 0;
        bool quiet = !buf_len(to);
        if (n > room) {
            n = room;
            d->side[other].full = true;
        }
        buf_compact(to);
        if (n && !buf_try_reserve(to, n)) n = 0;
        buf_put(to, p, n);
        if (n && quiet) duct_wake(d, other);
        result = n ? (int64_t)n : -EAGAIN;
    }
    (void)pthread_mutex_unlock(&d->lock);
    return result;
}

#if ZK_WITH_CLIENT
/* ==== host/courier.c ==== */


#include <errno.h>

enum courier_tag { COURIER_WAKE, COURIER_SOCKET, COURIER_PROBE };
#define COURIER_PROBE_TICKET (1ull << 63) /* marks the questions of probes */

ZK_PRIVATE int courier_open(struct courier *k, struct client *client) {
    memset(k, 0, sizeof *k);
    k->client = client;
    k->fd = k->stable = k->probe = k->wake[0] = k->wake[1] = -1;
    k->poller = os_poller_new();
    bool ok = k->poller && buf_try_reserve(&k->scratch, COURIER_READ) && os_pipe(k->wake) == 0 &&
              os_poller_add(k->poller, k->wake[0], COURIER_WAKE) == 0;
    if (ok && os_poller_fd(k->poller) < 0) ok = (k->stable = os_dup(k->wake[0])) >= 0;
    if (ok) return ZK_OK;
    courier_close(k);
    return ZK_SYSTEM_ERROR;
}

/* --- the connection --- */

static void courier_drop_probe(struct courier *k) {
    if (k->probe < 0) return;
    os_poller_del(k->poller, k->probe);
    (void)os_close(k->probe);
    k->probe = -1;
}

static void courier_hang_up(struct courier *k) {
    k->ticket = 0;
    courier_drop_probe(k);
    if (k->fd < 0) return;
    if (k->lent) {
        k->shut = true;
        if (k->duct)
            duct_wake(k->duct, DUCT_CLIENT);
        else
            os_shut(k->fd);
        return;
    }
    os_poller_del(k->poller, k->fd);
    int placeholder = k->stable >= 0 ? os_dup(k->wake[0]) : -1;
    if (placeholder >= 0)
        (void)os_dup_over(placeholder, k->stable);
    else
        (void)os_close(k->fd);
    if (k->duct) duct_close(k->duct, DUCT_CLIENT);
    k->duct = NULL;
    k->fd = -1;
    k->standing = k->want_write = k->shut = false;
}

ZK_PRIVATE void courier_close(struct courier *k) {
    if (k->poller) courier_hang_up(k);
    resolver_free(k->resolver);
    os_poller_free(k->poller);
    for (int i = 0; i < 2; i++)
        if (k->wake[i] >= 0) (void)os_close(k->wake[i]);
    if (k->stable >= 0) (void)os_close(k->stable);
    buf_free(&k->scratch);
    memset(k, 0, sizeof *k);
    k->fd = k->stable = k->probe = k->wake[0] = k->wake[1] = -1;
}

/* A descriptor for a duct: its bell, by another number, to be closed like any other. */
static int courier_connect_inside(struct courier *k) {
    struct duct *d = duct_new();
    if (!d) return -1;
    int fd = os_dup(duct_bell(d, DUCT_CLIENT));
    if (fd < 0 || !k->offer(k->server, d)) {
        duct_close(d, DUCT_SERVER);
        duct_close(d, DUCT_CLIENT);
        if (fd >= 0) (void)os_close(fd);
        return -1;
    }
    k->duct = d;
    return fd;
}

static void courier_dial(struct courier *k, const struct net_addr *addr) {
    int fd = k->offer ? courier_connect_inside(k) : os_connect(addr, false);
    if (fd >= 0 && k->stable >= 0) fd = os_dup_over(fd, k->stable) ? -1 : k->stable;
    k->fd = fd;
    k->standing = k->duct != NULL;
    k->want_write = !k->duct;
    if (fd < 0 || os_poller_add(k->poller, fd, COURIER_SOCKET) != 0)
        client_dialed(k->client, false); /* which makes it hang up */
    else if (k->standing)
        client_dialed(k->client, true);
    else
        os_poller_set(k->poller, fd, COURIER_SOCKET, true, true);
}

static void courier_dialed(struct courier *k) {
    int err = os_connected(k->fd);
    if (err == -EINPROGRESS) return;
    k->standing = err == 0;
    k->want_write = false;
    os_poller_set(k->poller, k->fd, COURIER_SOCKET, true, false);
    client_dialed(k->client, err == 0);
}

/* A bell says by itself that there is room again; input is not looked for while it is lent. */
static void courier_watch(struct courier *k) {
    os_poller_set(k->poller, k->fd, COURIER_SOCKET, !k->lent, k->want_write && !k->duct);
}

static void courier_send(struct courier *k) {
    struct buf *out = client_out(k->client);
    while (buf_len(out)) {
        int64_t n = k->duct ? duct_send(k->duct, DUCT_CLIENT, out->p + out->head, buf_len(out))
                            : os_send(k->fd, out->p + out->head, buf_len(out));
        if (n <= 0) {
            if (n != -EAGAIN && n != -EWOULDBLOCK) {
                client_broken(k->client, "sending failed");
                return;
            }
            break;
        }
        buf_consume(out, (size_t)n);
    }
    client_sent(k->client);
    bool more = buf_len(out) != 0;
    if (more == k->want_write) return;
    k->want_write = more;
    courier_watch(k);
}

ZK_PRIVATE void courier_read(struct courier *k) {
    if (k->fd < 0 || !k->standing || k->shut) return;
    int64_t n = k->duct ? duct_recv(k->duct, DUCT_CLIENT, k->scratch.p, COURIER_READ)
                        : os_recv(k->fd, k->scratch.p, COURIER_READ);
    if (k->duct && k->want_write) courier_send(k);
    if (k->fd < 0 || k->shut) return;
    if (n == -EAGAIN || n == -EWOULDBLOCK) return;
    if (n > 0)
        client_received(k->client, slice_of(k->scratch.p, (size_t)n));
    else
        client_broken(k->client, n ? "receiving failed" : "the server hung up");
}

/* --- names --- */

static void courier_ask(struct courier *k, uint64_t ticket, const char *name, uint16_t port) {
    if (!k->resolver) k->resolver = resolver_new(k->wake[1]);
    if (k->resolver) resolver_ask(k->resolver, ticket, name, port);
}

static void courier_resolve(struct courier *k, const struct client_order *o) {
    struct net_addr at[OS_ADDRS_MAX] = {0};
    static const uint64_t mask = COURIER_PROBE_TICKET - 1;
    k->ticket = (uint64_t)client_random(k->client) & mask;
    int n = k->offer ? 1 : os_resolve(o->name, o->port, true, at);
    if (n > 0)
        client_resolved(k->client, at, n);
    else
        courier_ask(k, k->ticket, o->name, o->port);
}

/* --- is there a server that can write? --- */

static void courier_dial_probe(struct courier *k, const struct net_addr *addr) {
    courier_drop_probe(k);
    k->probe = os_connect(addr, false);
    k->probe_asked = false;
    if (k->probe < 0) return;
    (void)os_poller_add(k->poller, k->probe, COURIER_PROBE);
    os_poller_set(k->poller, k->probe, COURIER_PROBE, true, true);
}

static void courier_begin_probe(struct courier *k, const struct client_order *o) {
    struct net_addr at[OS_ADDRS_MAX];
    if (k->offer) return;
    if (os_resolve(o->name, o->port, true, at) > 0)
        courier_dial_probe(k, &at[0]);
    else
        courier_ask(k, k->ticket | COURIER_PROBE_TICKET, o->name, o->port);
}

/* One word goes out and one comes back; whatever else happens is a no. */
static void courier_probe(struct courier *k) {
    uint8_t answer[8];
    if (!k->probe_asked) {
        int err = os_connected(k->probe);
        if (err == -EINPROGRESS) return;
        k->probe_asked = true;
        os_poller_set(k->poller, k->probe, COURIER_PROBE, true, false);
        if (err || os_send(k->probe, "isro", 4) != 4) courier_drop_probe(k);
        return;
    }
    int64_t n = os_recv(k->probe, answer, sizeof answer);
    if (n == -EAGAIN || n == -EWOULDBLOCK) return;
    courier_drop_probe(k);
    client_probed(k->client, n == 2 && memcmp(answer, "rw", 2) == 0);
}

/* --- turns --- */

static void courier_obey(struct courier *k, const struct client_order *o) {
    switch (o->kind) {
    case CLIENT_RESOLVE: courier_resolve(k, o); break;
    case CLIENT_DIAL: courier_dial(k, &o->addr); break;
    case CLIENT_HANG_UP: courier_hang_up(k); break;
    case CLIENT_PROBE: courier_begin_probe(k, o); break;
    }
}

ZK_PRIVATE void courier_run(struct courier *k, bool all) {
    struct client_order o;
    for (;;) {
        /* A socket that is lent and shut must be back before there can be another. */
        while (!k->shut && client_take_order(k->client, &o)) courier_obey(k, &o);
        if (k->fd < 0 || !k->standing || k->shut) return;
        if (!client_should_send(k->client) && !(all && buf_len(client_out(k->client)))) return;
        if (k->want_write) return; /* the socket is full, and will say when it is not */
        courier_send(k);
        if (k->want_write) return;
    }
}

ZK_PRIVATE int courier_poll(struct courier *k, struct os_event out[COURIER_EVENTS],
                            int timeout_ms) {
    return os_poller_wait(k->poller, out, COURIER_EVENTS, timeout_ms);
}

static void courier_take_answers(struct courier *k) {
    struct resolver_answer a;
    while (k->resolver && resolver_take(k->resolver, &a)) {
        if ((a.ticket & ~COURIER_PROBE_TICKET) != k->ticket) continue; /* nobody asks any more */
        if (!(a.ticket & COURIER_PROBE_TICKET))
            client_resolved(k->client, a.at, a.n);
        else if (a.n)
            courier_dial_probe(k, &a.at[0]);
    }
}

ZK_PRIVATE void courier_take(struct courier *k, const struct os_event *events, int n) {
    for (int i = 0; i < n; i++) {
        const struct os_event *e = &events[i];
        if (e->tag == COURIER_WAKE) {
            os_drain(k->wake[0]);
            courier_take_answers(k);
        } else if (e->tag == COURIER_PROBE) {
            if (k->probe >= 0) courier_probe(k);
        } else if (k->fd >= 0 && !k->standing) {
            courier_dialed(k);
        } else if (k->fd >= 0) {
            if (e->writable && k->want_write) courier_send(k);
            if ((e->readable || e->failed) && !k->lent) courier_read(k);
        }
    }
}

ZK_PRIVATE void courier_wake(struct courier *k) {
    os_notify(k->wake[1]);
}

ZK_PRIVATE int courier_lend(struct courier *k) {
    if (k->lent || k->fd < 0 || !k->standing || os_poller_fd(k->poller) < 0) return -1;
    k->lent = true;
    courier_watch(k);
    return k->fd;
}

ZK_PRIVATE void courier_give_back(struct courier *k) {
    k->lent = false;
    if (k->shut)
        courier_hang_up(k);
    else if (k->fd >= 0)
        courier_watch(k);
}

ZK_PRIVATE int courier_fd(const struct courier *k) {
    return k->stable >= 0 ? k->stable : os_poller_fd(k->poller);
}

ZK_PRIVATE bool courier_wants_write(const struct courier *k) {
    return k->stable >= 0 && k->want_write;
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_SERVER
/* ==== host/loop.c ==== */


#include <errno.h>
#include <stdio.h>


#define LOOP_READ 262144u
#define LOOP_EVENTS 256
#define LOOP_ACCEPTS 64          /* per listener and turn */
#define LOOP_ACCEPT_PAUSE_MS 100 /* when descriptors have run out */
#define LOOP_WAIT_MS 1000        /* longest wait for something to happen */
#define LOOP_LATE_TURNS 64
#define LOOP_FD_RESERVE 16 /* descriptors that no socket may take */
#define LOOP_FD_LINKS 64   /* ... and no client's, in an ensemble */
#define LOOP_BIND_MS 1000  /* between tries to bind the election port */
#define LOOP_LISTENER (1ull << 32) /* with the port's kind << 8 and the number of the listener */
#define LOOP_PIPE (2ull << 32)
#define LOOP_LINK (4ull << 32) /* with the number of the link */

static void loop_drain_log(struct loop *l) {
    int level;
    const char *text;
    while (log_take(&l->node.log, &level, &text))
        if (l->log) l->log(l->log_user, level, text);
}

static struct node_input loop_input(const struct loop *l, enum node_input_kind kind) {
    struct node_input in = {.kind = kind, .now = l->node.now, .wall = l->node.wall};
    return in;
}

/* --- facts for the node --- */

static void loop_facts(void *ctx, struct node_facts *f) {
    const struct loop *l = ctx;
    f->environment = buf_slice(&l->environment);
    f->data_dir = l->data_dir;
    f->log_dir = l->log_dir;
    f->data_dir_size = os_tree_size(l->files.snap_dir);
    f->log_dir_size = os_tree_size(l->files.log_dir);
    f->open_files = os_open_files();
    f->max_files = os_max_files();
    f->client_port = l->port;
}

/* A relative path behind the working directory. stock: java.io.File.getAbsolutePath */
static char *loop_absolute(const char *path, struct slice environment) {
    struct buf out = {0};
    struct slice line = environment;
    while (path[0] != '/' && line.n && !slice_starts(line, "user.dir=")) {
        const uint8_t *end = memchr(line.p, '\n', line.n);
        size_t n = end ? (size_t)(end - line.p) + 1 : line.n;
        line = slice_of(line.p + n, line.n - n);
    }
    if (path[0] != '/' && line.n) {
        const uint8_t *end = memchr(line.p, '\n', line.n);
        buf_put(&out, line.p + 9, (end ? (size_t)(end - line.p) : line.n) - 9);
        buf_putc(&out, '/');
    }
    buf_put(&out, path, strlen(path) + 1);
    return (char *)out.p;
}

static void loop_know(struct loop *l) {
    os_environment(&l->environment);
    l->data_dir = loop_absolute(l->files.snap_dir, buf_slice(&l->environment));
    l->log_dir = loop_absolute(l->files.log_dir, buf_slice(&l->environment));
    l->node.host.facts = loop_facts;
    l->node.host.ctx = l;
}

/* --- opening --- */

static void loop_count_recovery(struct loop *l, const struct files_report *r, int64_t ms) {
    struct metrics *m = &l->node.metrics;
    metrics_add(&m->init_ms, ms);
    metrics_add(&m->snap_load_ms, r->snapshot_ms);
    if (!r->had_logs) return;
    metrics_add(&m->log_load_ms, r->logs_ms);
    metrics_add(&m->log_loaded, r->replayed);
}

static int loop_recover(struct loop *l) {
    struct files_report r;
    int64_t start = os_now_ms();
    int err = files_recover(&l->files, &l->node.db, &r, &l->node.log);
    loop_drain_log(l);
    if (err) {
        (void)snprintf(l->error, sizeof l->error, "%s", l->files.error);
        return err;
    }
    log_line(&l->node.log, LOG_INFO_LEVEL,
             "Loaded %u nodes, zxid 0x%llx: snapshot 0x%llx and %lld transactions in %lld ms",
             l->node.db.tree.count, (unsigned long long)l->node.db.last_zxid,
             (unsigned long long)r.snapshot_zxid, (long long)r.replayed,
             (long long)(os_now_ms() - start));
    loop_count_recovery(l, &r, os_now_ms() - start);
    l->node.stats.digest_mismatches = r.digest_mismatches;
    l->node.last_snapshot_zxid = r.fresh ? 0 : r.snapshot_zxid;
    l->node.now = os_now_ms();
    l->node.wall = os_wall_ms();
    if (l->self) {
        int64_t accepted, current;
        if (files_load_epochs(&l->files, &accepted, &current)) {
            (void)snprintf(l->error, sizeof l->error, "%s", l->files.error);
            return -1;
        }
        node_epochs(&l->node, accepted, current);
    }
    node_start(&l->node, r.replayed > 0 || r.orphans > 0);
    return 0;
}

/* --- ports --- */

static void loop_unlisten(struct loop *l, enum loop_port_kind kind) {
    struct loop_port *p = &l->ports[kind];
    for (int i = 0; i < p->n; i++) {
        os_poller_del(l->poller, p->fds[i]);
        (void)os_close(p->fds[i]);
    }
    memset(p, 0, sizeof *p);
}

/* n: what binding gave. Watches the listeners. */
static int loop_listening(struct loop *l, enum loop_port_kind kind, int n, const char *host,
                          uint16_t port) {
    static const char *const names[] = {"", "election ", "quorum "};
    struct loop_port *p = &l->ports[kind];
    char text[128];
    for (p->n = 0; p->n < n; p->n++) {
        uint64_t tag = LOOP_LISTENER | (unsigned)kind << 8 | (unsigned)p->n;
        int err = os_poller_add(l->poller, p->fds[p->n], tag);
        if (!err) continue;
        for (int i = p->n; i < n; i++) (void)os_close(p->fds[i]);
        loop_unlisten(l, kind);
        n = err;
    }
    if (n > 0) {
        log_line(&l->node.log, LOG_INFO_LEVEL, "binding to %sport %s:%u", names[kind],
                 host ? host : "0.0.0.0", (unsigned)port);
        return 0;
    }
    (void)snprintf(l->error, sizeof l->error, "cannot listen on %s %sport %u: %s",
                   host ? host : "any address", names[kind], (unsigned)port,
                   os_error(n, text, sizeof text));
    return -1;
}

static int loop_listen(struct loop *l) {
    const struct config *c = &l->cfg;
    uint16_t port = c->client_port == CONFIG_UNSET ? 0 : (uint16_t)c->client_port;
    int n = os_listen(c->client_port_address, port, c->listen_backlog,
                      l->ports[LOOP_CLIENTS].fds, &l->port);
    return loop_listening(l, LOOP_CLIENTS, n, c->client_port_address, n > 0 ? l->port : port);
}

/* Where the other servers find this one. stock: QuorumCnxManager.Listener */
static void loop_listen_election(struct loop *l) {
    const char *host = l->cfg.quorum_listen_on_all_ips ? NULL : l->self->host;
    uint16_t port = (uint16_t)l->self->election_port, bound;
    int n = os_listen(host, port, -1, l->ports[LOOP_ELECTION].fds, &bound);
    l->bind_at = 0;
    if (loop_listening(l, LOOP_ELECTION, n, host, port) == 0) return;
    log_line(&l->node.log, LOG_ERROR_LEVEL, "%s", l->error);
    l->bind_tries++;
    if (l->cfg.election_bind_retries && l->bind_tries >= l->cfg.election_bind_retries)
        l->failed = LOOP_NO_ELECTION_PORT;
    else
        l->bind_at = l->node.now + LOOP_BIND_MS;
}

/* Beside the election port: its addresses need no name to be resolved any more. */
static void loop_listen_quorum(struct loop *l) {
    const struct loop_port *beside = &l->ports[LOOP_ELECTION];
    const char *host = l->cfg.quorum_listen_on_all_ips ? NULL : l->self->host;
    uint16_t port = (uint16_t)l->self->quorum_port;
    loop_unlisten(l, LOOP_QUORUM);
    int n = os_listen_beside(beside->fds, beside->n, port, -1, l->ports[LOOP_QUORUM].fds);
    if (loop_listening(l, LOOP_QUORUM, n, host, port) == 0) return;
    log_line(&l->node.log, LOG_ERROR_LEVEL, "%s", l->error);
    struct node_input in = loop_input(l, NODE_LISTEN_FAILED);
    node_step(&l->node, &in);
}

ZK_PRIVATE enum loop_error loop_open(struct loop *l, struct config *cfg, loop_log_fn log,
                                     void *user) {
    memset(l, 0, sizeof *l);
    l->cfg = *cfg;
    memset(cfg, 0, sizeof *cfg);
    l->log = log;
    l->log_user = user;
    (void)pthread_mutex_init(&l->offers_lock, NULL);
    l->pipe[0] = l->pipe[1] = -1;
    node_state_init(&l->node, &l->cfg, os_seed(), os_now_ms(), os_wall_ms());
    if (files_open(&l->files, &l->cfg)) {
        (void)snprintf(l->error, sizeof l->error, "%s", l->files.error);
        return LOOP_NO_DATADIR;
    }
    loop_know(l);
    if (config_distributed(&l->cfg)) l->self = quorum_member(&l->cfg, l->cfg.server_id);
    (void)snprintf(l->error, sizeof l->error, "cannot set up descriptors or threads");
    l->scratch = mem_alloc(LOOP_READ);
    int64_t files = os_max_files();
    l->fd_limit = files > 2 * LOOP_FD_RESERVE && files < INT32_MAX ? (int)files - LOOP_FD_RESERVE
                                                                   : INT32_MAX;
    l->poller = os_poller_new();
    if (!l->poller || os_pipe(l->pipe) < 0) return LOOP_FAILED;
    if (os_poller_add(l->poller, l->pipe[0], LOOP_PIPE) < 0) return LOOP_FAILED;
    l->resolver = resolver_new(l->pipe[1]);
    if (!l->resolver) ZK_OOM();
    if (loop_listen(l)) return LOOP_FAILED;
    if (loop_recover(l)) return LOOP_FAILED;
    l->disk_running = true;
    if (disk_start(&l->disk, &l->files, l->pipe[1]) < 0) return LOOP_FAILED;
    if (l->self) loop_listen_election(l);
    loop_drain_log(l);
    if (l->failed) return l->failed;
    l->error[0] = '\0';
    l->offers_open = true;
    return LOOP_STARTED;
}

/* --- sockets --- */

static struct loop_conn *loop_at(struct loop *l, uint64_t tag) {
    return &(tag & LOOP_LINK ? &l->links : &l->conns)->at[(uint32_t)tag];
}

/* An input about a socket: of the first kind for a client's, of the second for a link. */
static struct node_input loop_input_of(const struct loop *l, uint64_t tag,
                                       enum node_input_kind conn, enum node_input_kind link) {
    struct node_input in = loop_input(l, tag & LOOP_LINK ? link : conn);
    in.conn = in.link = (uint32_t)tag;
    return in;
}

/* The slot of a number that the node has just given out. */
static struct loop_conn *loop_claim(struct loop *l, uint64_t tag) {
    struct loop_table *t = tag & LOOP_LINK ? &l->links : &l->conns;
    uint32_t id = (uint32_t)tag;
    if (id >= t->cap) {
        uint32_t cap = t->cap ? t->cap : 64;
        while (cap <= id) cap *= 2;
        t->at = mem_realloc(t->at, sizeof *t->at * cap);
        for (uint32_t i = t->cap; i < cap; i++) {
            memset(&t->at[i], 0, sizeof t->at[i]);
            t->at[i].fd = -1;
        }
        t->cap = cap;
    }
    struct loop_conn *c = &t->at[id];
    bool queued = c->queued; /* still in the list from its last use */
    ZK_ASSERT(c->fd < 0 && !c->dial);
    memset(c, 0, sizeof *c);
    c->fd = -1;
    c->queued = queued;
    return c;
}

static void loop_close_fd(struct loop *l, struct loop_conn *c, bool abort_now) {
    if (c->fd < 0) return;
    os_poller_del(l->poller, c->fd);
    if (c->duct)
        duct_close(c->duct, DUCT_SERVER);
    else
        os_hang_up(c->fd, abort_now);
    c->duct = NULL;
    c->fd = -1;
}

static void loop_end_dial(struct loop *l, struct loop_conn *c) {
    if (!c->dial) return;
    if (!c->dial->n) resolver_forget(l->resolver, c->dial->ticket);
    mem_free(c->dial);
    c->dial = NULL;
}

static void loop_drop(struct loop *l, uint64_t tag, bool abort_now) {
    struct loop_conn *c = loop_at(l, tag);
    loop_end_dial(l, c);
    loop_close_fd(l, c, abort_now);
    struct node_input in = loop_input_of(l, tag, NODE_CONN_CLOSED, NODE_LINK_CLOSED);
    node_step(&l->node, &in);
}

static void loop_queue(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    if (c->queued) return;
    c->queued = true;
    buf_put(&l->send, &tag, sizeof tag);
}

static void loop_accepted(struct loop *l, enum loop_port_kind kind, int fd,
                          const struct net_addr *addr) {
    uint32_t id = kind == LOOP_CLIENTS
                      ? node_accept(&l->node, addr, l->node.now, l->node.wall)
                      : node_link_accept(&l->node,
                                         kind == LOOP_ELECTION ? LINK_ELECTION : LINK_QUORUM,
                                         l->node.now, l->node.wall);
    if (id == (kind == LOOP_CLIENTS ? CONN_NONE : LINK_NONE)) {
        os_hang_up(fd, true);
        return;
    }
    uint64_t tag = id | (kind == LOOP_CLIENTS ? 0 : LOOP_LINK);
    loop_claim(l, tag)->fd = fd;
    if (os_poller_add(l->poller, fd, tag) < 0) loop_drop(l, tag, true);
}

/* --- clients of this process --- */

ZK_PRIVATE bool loop_offer(struct loop *l, struct duct *d) {
    (void)pthread_mutex_lock(&l->offers_lock);
    bool ok = l->offers_open && buf_try_reserve(&l->offers, sizeof d);
    if (ok) buf_put(&l->offers, &d, sizeof d);
    if (ok) os_notify(l->pipe[1]);
    (void)pthread_mutex_unlock(&l->offers_lock);
    return ok;
}

static void loop_accept_duct(struct loop *l, struct duct *d) {
    static const struct net_addr here = {.ip = {127, 0, 0, 1}, .ip_len = 4};
    uint32_t id = node_accept(&l->node, &here, l->node.now, l->node.wall);
    if (id == CONN_NONE) {
        duct_close(d, DUCT_SERVER);
        return;
    }
    struct loop_conn *c = loop_claim(l, id);
    c->duct = d;
    c->fd = duct_bell(d, DUCT_SERVER);
    if (os_poller_add(l->poller, c->fd, id) < 0) loop_drop(l, id, true);
}

static void loop_take_offers(struct loop *l, bool accept) {
    struct buf offers;
    (void)pthread_mutex_lock(&l->offers_lock);
    offers = l->offers;
    memset(&l->offers, 0, sizeof l->offers);
    l->offers_open = accept;
    (void)pthread_mutex_unlock(&l->offers_lock);
    for (size_t at = 0; at < offers.n; at += sizeof(struct duct *)) {
        struct duct *d;
        memcpy(&d, offers.p + at, sizeof d);
        if (accept)
            loop_accept_duct(l, d);
        else
            duct_close(d, DUCT_SERVER);
    }
    buf_free(&offers);
}

/* --- accepting --- */

static void loop_pause_accept(struct loop *l, enum loop_port_kind kind, bool pause) {
    struct loop_port *p = &l->ports[kind];
    for (int i = 0; i < p->n; i++)
        os_poller_set(l->poller, p->fds[i], LOOP_LISTENER | (unsigned)kind << 8 | (unsigned)i,
                      !pause, false);
    p->after = pause ? l->node.now + LOOP_ACCEPT_PAUSE_MS : 0;
}

static void loop_accept(struct loop *l, enum loop_port_kind kind, int listener) {
    int limit = l->fd_limit;
    if (kind == LOOP_CLIENTS && l->self && limit > 2 * LOOP_FD_LINKS) limit -= LOOP_FD_LINKS;
    for (int i = 0; i < LOOP_ACCEPTS; i++) {
        struct net_addr addr;
        int fd = os_accept(listener, &addr, l->cfg.tcp_keepalive);
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
            log_line(&l->node.log, LOG_WARN_LEVEL, "Cannot accept: out of descriptors");
            loop_pause_accept(l, kind, true);
        }
        if (fd >= limit) {
            /* The next log file needs a descriptor too; without one the server would stop. */
            os_hang_up(fd, true);
            loop_pause_accept(l, kind, true);
            return;
        }
        if (fd < 0) return;
        loop_accepted(l, kind, fd, &addr);
    }
}

static void loop_interest(struct loop *l, uint64_t tag) {
    const struct loop_conn *c = loop_at(l, tag);
    /* A bell says by itself that there is room again. */
    os_poller_set(l->poller, c->fd, tag, !c->paused || c->duct, c->want_write && !c->duct);
}

static int64_t loop_recv(struct loop *l, struct loop_conn *c) {
    if (c->duct) return duct_recv(c->duct, DUCT_SERVER, l->scratch, LOOP_READ);
    return os_recv(c->fd, l->scratch, LOOP_READ);
}

static void loop_read(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    int64_t n = loop_recv(l, c);
    if (n == -EAGAIN || n == -EWOULDBLOCK) return;
    if (n == 0 && c->closing && c->want_write) {
        c->paused = true; /* it has said all it wants to, and still reads what it is told */
        loop_interest(l, tag);
        return;
    }
    if (n <= 0) {
        loop_drop(l, tag, false);
        return;
    }
    if (c->closing) return;
    struct node_input in = loop_input_of(l, tag, NODE_CONN_BYTES, NODE_LINK_BYTES);
    in.bytes = slice_of(l->scratch, (size_t)n);
    node_step(&l->node, &in);
}

static struct slice loop_out(struct loop *l, uint64_t tag) {
    uint32_t id = (uint32_t)tag;
    if (tag & LOOP_LINK) return buf_slice(&node_link(&l->node, id)->out);
    return buf_slice(&node_conn(&l->node, id)->out);
}

static void loop_sent(struct loop *l, uint64_t tag, size_t n) {
    if (tag & LOOP_LINK)
        node_link_sent(&l->node, (uint32_t)tag, n);
    else
        node_conn_sent(&l->node, (uint32_t)tag, n);
}

/* Sends what the socket has; hangs up when that was the last of it, on a link in any case. */
static void loop_send(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    c->queued = false;
    if (c->fd < 0 || c->dial) return;
    struct slice out = loop_out(l, tag);
    int64_t n = 0;
    if (out.n && c->duct)
        n = duct_send(c->duct, DUCT_SERVER, out.p, out.n);
    else if (out.n)
        n = os_send(c->fd, out.p, out.n);
    if (n < 0 && n != -EAGAIN && n != -EWOULDBLOCK) {
        loop_drop(l, tag, false);
        return;
    }
    loop_sent(l, tag, n > 0 ? (size_t)n : 0);
    bool more = n < 0 || (size_t)n < out.n;
    if (c->closing && (!more || tag & LOOP_LINK)) {
        loop_drop(l, tag, false);
        return;
    }
    if (more == c->want_write) return;
    c->want_write = more;
    loop_interest(l, tag);
}

/* --- dialing --- */

/* The next address; none left: the link never came about. */
static void loop_connect(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    loop_close_fd(l, c, true);
    while (c->dial->next < c->dial->n && c->fd < 0) {
        int fd = os_connect(&c->dial->at[c->dial->next++], l->cfg.tcp_keepalive);
        if (fd < 0) continue;
        if (fd < l->fd_limit && os_poller_add(l->poller, fd, tag) == 0)
            c->fd = fd;
        else
            (void)os_close(fd);
    }
    if (c->fd < 0)
        loop_drop(l, tag, true);
    else
        os_poller_set(l->poller, c->fd, tag, false, true);
}

static void loop_dial(struct loop *l, uint32_t id) {
    const struct link *k = node_link(&l->node, id);
    uint64_t tag = LOOP_LINK | id;
    struct loop_dial *d = loop_claim(l, tag)->dial = mem_zalloc(sizeof *d);
    int n = os_resolve(k->host, k->port, true, d->at);
    d->n = n > 0 ? n : 0;
    d->ticket = l->tickets++ << 32 | id;
    if (d->n)
        loop_connect(l, tag);
    else
        resolver_ask(l->resolver, d->ticket, k->host, k->port);
}

static void loop_resolved(struct loop *l, const struct resolver_answer *a) {
    uint64_t tag = LOOP_LINK | (uint32_t)a->ticket;
    struct loop_dial *d = loop_at(l, tag)->dial;
    if (!d || d->ticket != a->ticket) return; /* given up meanwhile */
    d->n = a->n;
    memcpy(d->at, a->at, sizeof d->at);
    loop_connect(l, tag);
}

/* The socket of a dial says something. */
static void loop_dialed(struct loop *l, uint64_t tag) {
    struct loop_conn *c = loop_at(l, tag);
    int err = os_connected(c->fd);
    if (err == -EINPROGRESS) return;
    if (err) {
        loop_connect(l, tag);
        return;
    }
    loop_end_dial(l, c);
    loop_interest(l, tag);
    struct node_input in = loop_input(l, NODE_LINK_OPENED);
    in.link = (uint32_t)tag;
    node_step(&l->node, &in);
}

/* --- outputs --- */

/* What NODE_LOAD is to fill: like the database of a node that starts. */
static struct disk_load *loop_fresh_load(const struct loop *l) {
    struct disk_load *load = mem_zalloc(sizeof *load);
    db_init(&load->db, os_seed(), l->node.tick, l->node.now);
    load->db.tree.extended_types = l->cfg.extended_types;
    load->db.tree.emulate353 = l->cfg.emulate353;
    return load;
}

static void loop_piece(struct loop *l, const struct node_output *o) {
    struct disk_piece p = {.kind = o->kind, .roll = o->roll, .accepted = o->accepted,
                           .zxid = o->kind == NODE_SAVE_EPOCH ? o->epoch : o->zxid,
                           .bytes = o->bytes};
    if (o->kind == NODE_LOAD && o->reload) p.load = loop_fresh_load(l);
    buf_put(&l->pieces, &p, sizeof p);
}

static void loop_link_output(struct loop *l, const struct node_output *o) {
    uint64_t tag = LOOP_LINK | o->link;
    if (o->kind == NODE_LINK_DIAL) {
        loop_dial(l, o->link);
        return;
    }
    struct loop_conn *c = loop_at(l, tag);
    bool closing = o->kind == NODE_LINK_CLOSE;
    if (c->dial && closing) {
        loop_drop(l, tag, true);
    } else if (c->fd >= 0 && !c->dial) {
        c->closing = c->closing || closing;
        loop_queue(l, tag);
    }
}

static void loop_output(struct loop *l, struct node_output *o) {
    switch (o->kind) {
    case NODE_SEND:
        loop_queue(l, o->conn);
        break;
    case NODE_CLOSE:
        loop_at(l, o->conn)->closing = true;
        loop_queue(l, o->conn);
        break;
    case NODE_ABORT:
        if (loop_at(l, o->conn)->fd >= 0) loop_drop(l, o->conn, true);
        break;
    case NODE_APPEND:
    case NODE_SAVE_EPOCH:
    case NODE_LOAD:
        loop_piece(l, o);
        break;
    case NODE_SYNC: /* the log thread syncs whatever it is given */
        break;
    case NODE_SNAPSHOT_BEGIN:
    case NODE_SNAPSHOT_CHUNK:
    case NODE_SNAPSHOT_END:
    case NODE_SNAPSHOT_ABORT:
    case NODE_READ_LOG:
        disk_background(&l->disk, o);
        break;
    case NODE_READ_PAUSE:
    case NODE_READ_RESUME:
        if (loop_at(l, o->conn)->fd < 0) break;
        loop_at(l, o->conn)->paused = o->kind == NODE_READ_PAUSE;
        loop_interest(l, o->conn);
        break;
    case NODE_LINK_DIAL:
    case NODE_LINK_SEND:
    case NODE_LINK_CLOSE:
        loop_link_output(l, o);
        break;
    case NODE_LISTEN:
        loop_listen_quorum(l);
        break;
    case NODE_UNLISTEN:
        loop_unlisten(l, LOOP_QUORUM);
        break;
    }
}

static void loop_take(struct loop *l) {
    struct node_output o;
    while (node_take_output(&l->node, &o)) loop_output(l, &o);
}

static void loop_outputs(struct loop *l) {
    for (;;) {
        loop_take(l);
        if (l->pieces.n) disk_submit(&l->disk, &l->pieces);
        if (!l->send.n) break;
        struct buf now = l->send; /* sending may queue again */
        memset(&l->send, 0, sizeof l->send);
        for (size_t at = 0; at < now.n; at += sizeof(uint64_t)) {
            uint64_t tag;
            memcpy(&tag, now.p + at, sizeof tag);
            loop_send(l, tag);
            loop_take(l); /* before the next one says that it is closed */
        }
        buf_clear(&now);
        if (l->send.p)
            buf_free(&now);
        else
            l->send = now;
    }
    loop_drain_log(l);
}

/* What the node has not read yet backs up to the peer. */
static void loop_pace_links(struct loop *l) {
    for (uint32_t i = 0; i < l->links.cap; i++) {
        struct loop_conn *c = &l->links.at[i];
        if (c->fd < 0 || c->dial || c->closing) continue;
        bool pause = !node_link_wants(&l->node, i);
        if (c->paused == pause) continue;
        c->paused = pause;
        loop_interest(l, LOOP_LINK | i);
    }
}

/* --- a turn --- */

static void loop_disk_done(struct loop *l, struct disk_done *done) {
    struct node_input in = loop_input(l, done->kind);
    in.zxid = done->zxid;
    in.bytes = buf_slice(&done->bytes);
    if (done->load) {
        const struct files_report *r = &done->load->report;
        loop_count_recovery(l, r, r->snapshot_ms + r->logs_ms);
        l->node.stats.digest_mismatches += r->digest_mismatches;
        in.db = &done->load->db;
    }
    node_step(&l->node, &in);
    disk_done_free(done);
}

static void loop_disk_news(struct loop *l) {
    struct disk_news news = {.done = l->done};
    disk_collect(&l->disk, &news, &l->node.log);
    l->done = news.done;
    l->node.stats.fsync_slow = news.slow_syncs;
    metrics_merge(&l->node.metrics.fsync_ms, &news.sync_ms);
    metrics_merge(&l->node.metrics.batch, &news.batch);
    for (size_t at = 0; at < l->done.n; at += sizeof(struct disk_done)) {
        struct disk_done done;
        memcpy(&done, l->done.p + at, sizeof done);
        loop_disk_done(l, &done);
    }
    buf_clear(&l->done);
    struct node_input in = loop_input(l, NODE_SNAPSHOT_ROOM);
    if (news.snap_room) node_step(&l->node, &in);
    in.kind = NODE_SNAPSHOT_FAILED;
    if (news.snap_failed) node_step(&l->node, &in);
    in.kind = NODE_SNAPSHOT_DONE;
    if (news.snap_done) node_step(&l->node, &in);
    if (!news.failed) return;
    l->failed = LOOP_FAILED;
    (void)snprintf(l->error, sizeof l->error, "%s", l->disk.error);
    log_line(&l->node.log, LOG_ERROR_LEVEL,
             "Severe unrecoverable error: %s. Nothing more can be made durable; stopping",
             l->error);
}

/* The threads behind the pipe. */
static void loop_news(struct loop *l) {
    uint8_t bytes[64];
    struct resolver_answer a;
    while (os_read(l->pipe[0], bytes, sizeof bytes) == (int64_t)sizeof bytes) continue;
    loop_disk_news(l);
    loop_take_offers(l, true);
    while (resolver_take(l->resolver, &a)) {
        loop_take(l); /* a dial may have been given up */
        loop_resolved(l, &a);
    }
}

static void loop_sooner(int64_t *next, int64_t at) {
    if (at && at < *next) *next = at;
}

static int loop_timeout(const struct loop *l, bool busy) {
    if (busy) return 0;
    int64_t next = l->next_tick;
    for (int i = 0; i < LOOP_PORTS; i++) loop_sooner(&next, l->ports[i].after);
    loop_sooner(&next, l->bind_at);
    int64_t ms = next - os_now_ms();
    if (l->node.snap.active && !l->node.snap.finishing && ms > 0) ms = 0; /* its next slice */
    return ms < 0 ? 0 : ms > LOOP_WAIT_MS ? LOOP_WAIT_MS : (int)ms + 1;
}

static void loop_socket_event(struct loop *l, const struct os_event *e) {
    const struct loop_conn *c = loop_at(l, e->tag);
    if (c->fd < 0) return;
    if (c->dial) {
        loop_dialed(l, e->tag);
        return;
    }
    if (e->failed && c->closing) {
        loop_drop(l, e->tag, true);
        return;
    }
    if (e->writable || (c->duct && c->want_write)) loop_queue(l, e->tag);
    if (e->readable || (e->failed && !e->writable)) loop_read(l, e->tag);
}

static void loop_events(struct loop *l, const struct os_event *ev, int n) {
    for (int i = 0; i < n; i++) {
        enum loop_port_kind kind = (enum loop_port_kind)(ev[i].tag >> 8 & 0xff);
        int listener = (int)(ev[i].tag & 0xff);
        if (ev[i].tag == LOOP_PIPE)
            loop_news(l);
        else if (!(ev[i].tag & LOOP_LISTENER))
            loop_socket_event(l, &ev[i]);
        else if (listener < l->ports[kind].n) /* else it was closed a moment ago */
            loop_accept(l, kind, l->ports[kind].fds[listener]);
        loop_take(l); /* before a connection's number can be given to another one */
    }
}

static void loop_tick(struct loop *l) {
    for (int i = 0; i < LOOP_PORTS; i++)
        if (l->ports[i].after && l->node.now >= l->ports[i].after)
            loop_pause_accept(l, (enum loop_port_kind)i, false);
    if (l->bind_at && l->node.now >= l->bind_at) loop_listen_election(l);
    /* What happens may bring the next tick nearer, never put it off. */
    loop_sooner(&l->next_tick, node_next_tick(&l->node));
    if (l->node.now < l->next_tick) return;
    struct node_input in = loop_input(l, NODE_TICK);
    node_step(&l->node, &in);
    l->next_tick = node_next_tick(&l->node);
}

ZK_PRIVATE void loop_run(struct loop *l, const _Atomic bool *stop) {
    struct os_event ev[LOOP_EVENTS];
    bool busy = false;
    loop_outputs(l);
    int late = 0; /* turns for which time stands still, see below */
    while (!*stop && !l->failed) {
        int64_t before = l->node.now;
        int n = os_poller_wait(l->poller, ev, LOOP_EVENTS, late ? 0 : loop_timeout(l, busy));
        l->node.now = os_now_ms();
        l->node.wall = os_wall_ms();
        loop_events(l, ev, n);
        /* After a pause of the whole process the clients' pings are in the sockets: they are
         * read before anybody is found to have been silent. */
        if (l->node.now - before > l->node.tick + LOOP_WAIT_MS)
            late = LOOP_LATE_TURNS;
        else if (late)
            late = n < LOOP_EVENTS ? 0 : late - 1;
        if (!late) loop_tick(l);
        busy = node_idle_work(&l->node);
        loop_outputs(l);
        loop_pace_links(l);
        busy = busy || l->node.ready.n;
    }
}

/* --- closing --- */

ZK_PRIVATE void loop_close(struct loop *l) {
    if (l->disk_running) {
        /* What was accepted is made durable and answered; what fails to be is not. */
        disk_join(&l->disk);
        loop_disk_news(l);
        loop_outputs(l);
        disk_free(&l->disk);
    }
    loop_take_offers(l, false);
    for (uint32_t i = 0; i < l->conns.cap; i++)
        if (l->conns.at[i].fd >= 0) loop_drop(l, i, false);
    for (uint32_t i = 0; i < l->links.cap; i++)
        if (l->links.at[i].fd >= 0 || l->links.at[i].dial) loop_drop(l, LOOP_LINK | i, false);
    loop_drain_log(l);
    for (int i = 0; i < LOOP_PORTS; i++) loop_unlisten(l, (enum loop_port_kind)i);
    resolver_free(l->resolver);
    if (l->pipe[0] >= 0) (void)os_close(l->pipe[0]);
    if (l->pipe[1] >= 0) (void)os_close(l->pipe[1]);
    os_poller_free(l->poller);
    files_close(&l->files);
    node_state_free(&l->node);
    mem_free(l->conns.at);
    mem_free(l->links.at);
    mem_free(l->scratch);
    buf_free(&l->send);
    buf_free(&l->pieces);
    buf_free(&l->done);
    buf_free(&l->environment);
    mem_free(l->data_dir);
    mem_free(l->log_dir);
    config_free(&l->cfg);
    (void)pthread_mutex_destroy(&l->offers_lock);
    memset(l, 0, sizeof *l);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_SERVER
/* ==== api/server.h ==== */

/* api/server: what zk.h promises of the server. */
#ifndef ZK_API_SERVER_H
#define ZK_API_SERVER_H


/* A client of this process connects; server is a struct zk_server. False: not now. */
ZK_PRIVATE bool server_offer(void *server, struct duct *d);

#endif
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_CLIENT
/* ==== api/client.h ==== */

/*
 * api/client: the handle: one client machine, its courier, a lock, and who runs them.
 *
 * The lock guards everything of the machine; no user function is called under it. With threads of
 * its own a handle has two: `io` carries bytes and time, `teller` makes the posted calls, so that a
 * callback that takes its time does not cost the session. Without (ZK_OWN_LOOP) zk_step does both.
 *
 * A thread that waits for a reply does not wait for `io` to wake up and pass it on: it borrows the
 * socket, reads for everybody until its own reply is there, and gives the socket back.
 *
 * For recipes: between api_enter and api_leave the machine is theirs.
 */
#ifndef ZK_API_CLIENT_H
#define ZK_API_CLIENT_H


/* Locks. NULL: zk is NULL. */
ZK_PRIVATE struct client *api_enter(struct zk *zk);
/* Sends what is to be sent, wakes who is to be woken, unlocks. */
ZK_PRIVATE void api_leave(struct zk *zk);

/*
 * Within: runs the handle until ready(arg): ZK_OK. ZK_TIMED_OUT: not within timeout_ms (< 0: no
 * limit); or why the session is over. ready is called under the lock, by other threads too. The
 * lock is released while it waits.
 */
typedef bool (*api_ready)(const void *arg);
ZK_PRIVATE int api_wait(struct zk *zk, api_ready ready, const void *arg, int timeout_ms);

/* Within: drops the posts of this owner, and waits for one that another thread is just making. */
ZK_PRIVATE void api_settle(struct zk *zk, const void *owner);

#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== api/recipes.h ==== */

/*
 * api/recipes: the recipes that zk.h promises: each object is a machine of src/client on a handle.
 * Here is what is the same for all: entering the handle, waiting for a wish, freeing.
 */
#ifndef ZK_API_RECIPES_H
#define ZK_API_RECIPES_H


#endif
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_SERVER
/* ==== api/server.c ==== */


#include <stdio.h>


struct zk_server {
    struct loop loop;
    pthread_t thread;
    int wait_pipe[2]; /* a byte: interrupted, or stopped by itself */
    _Atomic bool stop;
    _Atomic int failed; /* enum loop_error */
};

/* --- configuration --- */

static char *server_copy(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(mem_alloc(n), s, n);
}

static int server_map(struct config *c, const char *path, struct slice *text) {
    if (os_map(path, text) == 0) return 0;
    (void)snprintf(c->error, sizeof c->error, "Error processing %s: the file is missing", path);
    return -1;
}

static int server_read_config(struct config *c, const struct zk_server_options *o,
                              struct logq *log) {
    struct slice text;
    if (o->config_text) return config_parse(c, slice_str(o->config_text), log);
    if (server_map(c, o->config_file, &text)) return -1;
    int err = config_parse(c, text, log);
    os_unmap(text);
    return err;
}

/* What stands beside the file: the dynamic part, and who we are. */
static int server_read_membership(struct config *c, struct logq *log) {
    struct slice text;
    struct buf path = {0};
    int err = 0;
    if (c->dynamic_config_file) {
        if (server_map(c, c->dynamic_config_file, &text)) return -1;
        err = config_parse_dynamic(c, text, log);
        os_unmap(text);
    }
    buf_printf(&path, "%s/myid", c->data_dir);
    buf_putc(&path, '\0');
    if (!err && os_map((const char *)path.p, &text) == 0) {
        struct slice line = text;
        const uint8_t *end = text.n ? memchr(text.p, '\n', text.n) : NULL;
        if (end) line.n = (size_t)(end - text.p);
        err = config_parse_myid(c, line);
        os_unmap(text);
    }
    buf_free(&path);
    if (err || !config_distributed(c) || c->server_id != CONFIG_UNSET) return err;
    (void)snprintf(c->error, sizeof c->error, "myid file is missing");
    return -1;
}

static void server_set(char **field, const char *value) {
    if (!value) return;
    mem_free(*field);
    *field = server_copy(value);
}

/* Without a file there is nothing to parse, but the same checks to pass. */
static int server_config(struct config *c, const struct zk_server_options *o, struct logq *log) {
    static const char defaults[] = "tickTime=2000\nclientPort=2181\ndataDir=zk-data\n";
    const char *flags = getenv("SERVER_JVMFLAGS");
    config_defaults(c);
    if (flags) config_jvm_flags(c, flags, log);
    server_set(&c->data_dir, o->data_dir); /* the text need not have it then */
    int err = o->config_text || o->config_file
                  ? server_read_config(c, o, log)
                  : config_parse(c, slice_str(defaults), log);
    if (err) return err;
    server_set(&c->data_dir, o->data_dir);
    server_set(&c->data_log_dir, o->data_dir);
    err = server_read_membership(c, log);
    if (err) return err;
    server_set(&c->client_port_address, o->address);
    if (o->client_port) c->client_port = o->client_port > 0 ? o->client_port : 0;
    return 0;
}

/* stock: QuorumPeer.start */
static bool server_is_member(struct config *c) {
    if (!config_distributed(c) || quorum_member(c, c->server_id)) return true;
    (void)snprintf(c->error, sizeof c->error, "My id %lld not in the peer list",
                   (long long)c->server_id);
    return false;
}

static void server_say(const struct zk_server_options *o, struct logq *log) {
    int level;
    const char *text;
    while (log_take(log, &level, &text))
        if (o->log) o->log(o->log_user, level, text);
    buf_free(&log->lines);
}

static void server_error(char *error, size_t n, const char *text) {
    if (error && n) (void)snprintf(error, n, "%s", text);
}

/* --- life --- */

static void *server_main(void *arg) {
    struct zk_server *s = arg;
    loop_run(&s->loop, &s->stop);
    s->failed = s->loop.failed;
    os_notify(s->wait_pipe[1]);
    return NULL;
}

static void server_free(struct zk_server *s) {
    loop_close(&s->loop);
    if (s->wait_pipe[0] >= 0) (void)os_close(s->wait_pipe[0]);
    if (s->wait_pipe[1] >= 0) (void)os_close(s->wait_pipe[1]);
    mem_free(s);
}

static int server_result(enum loop_error e) {
    return e == LOOP_NO_DATADIR         ? ZK_SERVER_NO_DATADIR
           : e == LOOP_NO_ELECTION_PORT ? ZK_SERVER_NO_ELECTION_PORT
                                        : ZK_SERVER_FAILED;
}

ZK_API int zk_server_start(struct zk_server **out, const struct zk_server_options *options,
                           char *error, size_t n) {
    struct config cfg;
    struct logq log = {.max_level = LOG_INFO_LEVEL};
    *out = NULL;
    memset(&cfg, 0, sizeof cfg);
    int bad = server_config(&cfg, options, &log);
    server_say(options, &log);
    if (bad || !server_is_member(&cfg)) {
        server_error(error, n, cfg.error);
        config_free(&cfg);
        return bad ? ZK_SERVER_BAD_CONFIG : ZK_SERVER_FAILED;
    }
    struct zk_server *s = mem_zalloc(sizeof *s);
    s->wait_pipe[0] = s->wait_pipe[1] = -1;
    enum loop_error e = loop_open(&s->loop, &cfg, options->log, options->log_user);
    if (e == LOOP_STARTED && os_blocking_pipe(s->wait_pipe) < 0) e = LOOP_FAILED;
    if (e == LOOP_STARTED && pthread_create(&s->thread, NULL, server_main, s) != 0) e = LOOP_FAILED;
    if (e != LOOP_STARTED) {
        server_error(error, n, s->loop.error[0] ? s->loop.error : "cannot start a thread");
        server_free(s);
        return server_result(e);
    }
    *out = s;
    return ZK_SERVER_OK;
}

ZK_PRIVATE bool server_offer(void *server, struct duct *d) {
    return loop_offer(&((struct zk_server *)server)->loop, d);
}

ZK_API int zk_server_port(const struct zk_server *s) {
    return s->loop.port;
}

ZK_API int zk_server_wait(struct zk_server *s, char *error, size_t n) {
    uint8_t byte;
    (void)os_read(s->wait_pipe[0], &byte, 1);
    if (!s->failed) return ZK_SERVER_OK;
    server_error(error, n, s->loop.error);
    return server_result((enum loop_error)s->failed);
}

ZK_API void zk_server_interrupt(struct zk_server *s) {
    os_notify(s->wait_pipe[1]);
}

ZK_API void zk_server_stop(struct zk_server *s) {
    if (!s) return;
    s->stop = true;
    os_notify(s->loop.pipe[1]);
    (void)pthread_join(s->thread, NULL);
    server_free(s);
}
#endif /* ZK_WITH_SERVER */

#if ZK_WITH_CLIENT
/* ==== api/client.c ==== */


#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>


enum { API_IO_STACK = 256 * 1024, API_FREE_WAIT_MS = 1500 };

/* A thread in api_wait; lives on its stack. */
struct api_waiter {
    struct api_waiter *next;
    api_ready ready;
    const void *arg;
    pthread_cond_t woken;
};

struct zk {
    pthread_mutex_t lock; /* of everything here */
    struct client *client;
    struct courier courier;
    bool threads;  /* io and teller; else the caller runs it */
    bool stopping; /* the threads shall end */
    bool doomed;   /* freed from a callback: freed when it has returned */
    bool polling;  /* somebody is in courier_poll */
    pthread_t io, teller;
    int64_t io_until;           /* when io looks at the clock again */
    struct api_waiter *waiters; /* who waits; the first may take over the socket */
    bool reading;               /* one of them has it */
    pthread_cond_t to_tell;     /* posts, or stopping */
    pthread_cond_t told;        /* one was made */
    bool telling;               /* a post is being made, by telling_thread */
    pthread_t telling_thread;
    const void *telling_owner;
    zk_log_fn log;
    void *log_user;
};

/* --- waking --- */

static void api_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static void api_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until) {
    if (until == INT64_MAX) {
        (void)pthread_cond_wait(cond, lock);
        return;
    }
    struct timespec at = {.tv_sec = (time_t)(until / 1000),
                          .tv_nsec = (long)(until % 1000) * 1000000};
    (void)pthread_cond_timedwait(cond, lock, &at);
}

static void api_say(struct zk *zk) {
    int level;
    const char *text;
    while (client_take_log(zk->client, &level, &text))
        if (zk->log) zk->log(zk->log_user, level, text);
}

/* After anything that may have moved the machine. */
static void api_spread(struct zk *zk) {
    for (struct api_waiter *w = zk->waiters; w; w = w->next)
        if (w->ready(w->arg) || client_is_over(zk->client)) (void)pthread_cond_signal(&w->woken);
    if (zk->threads && client_has_posts(zk->client)) (void)pthread_cond_signal(&zk->to_tell);
    api_say(zk);
}

static int api_ms_until(int64_t at) {
    int64_t now = os_now_ms();
    if (at == INT64_MAX) return -1;
    if (at <= now) return 0;
    return at - now > INT32_MAX ? INT32_MAX : (int)(at - now);
}

static bool api_in_callback(const struct zk *zk) {
    return zk->telling && pthread_equal(zk->telling_thread, pthread_self());
}

ZK_PRIVATE struct client *api_enter(struct zk *zk) {
    if (!zk) return NULL;
    (void)pthread_mutex_lock(&zk->lock);
    client_clock(zk->client, os_now_ms());
    return zk->client;
}

ZK_PRIVATE void api_leave(struct zk *zk) {
    courier_run(&zk->courier, false);
    api_spread(zk);
    if (zk->threads && client_next_at(zk->client) < zk->io_until) {
        zk->io_until = INT64_MIN; /* once is enough */
        courier_wake(&zk->courier);
    }
    (void)pthread_mutex_unlock(&zk->lock);
}

/* --- waiting --- */

static void api_join(struct zk *zk, struct api_waiter *w) {
    struct api_waiter **link = &zk->waiters;
    while (*link) link = &(*link)->next;
    w->next = NULL;
    *link = w;
}

static void api_part(struct zk *zk, struct api_waiter *w) {
    struct api_waiter **link = &zk->waiters;
    while (*link != w) link = &(*link)->next;
    *link = w->next;
}

/* One turn of the machine by this thread, which waits for input at most until then. */
static void api_turn(struct zk *zk, int64_t until) {
    struct os_event events[COURIER_EVENTS];
    int64_t next = client_next_at(zk->client);
    int timeout = api_ms_until(next < until ? next : until);
    zk->polling = true;
    (void)pthread_mutex_unlock(&zk->lock);
    int n = courier_poll(&zk->courier, events, timeout);
    (void)pthread_mutex_lock(&zk->lock);
    zk->polling = false;
    client_clock(zk->client, os_now_ms());
    courier_take(&zk->courier, events, n);
    client_tick(zk->client, os_now_ms());
    courier_run(&zk->courier, true);
    api_spread(zk);
}

/* Reads the borrowed socket for everybody, until this one's wish has come. */
static void api_read(struct zk *zk, int fd, struct api_waiter *w, int64_t until) {
    zk->reading = true;
    courier_run(&zk->courier, true); /* not before: the reply must not wake `io` */
    while (!w->ready(w->arg) && !client_is_over(zk->client) && !zk->courier.shut) {
        int64_t next = client_next_at(zk->client);
        int timeout = api_ms_until(next < until ? next : until);
        (void)pthread_mutex_unlock(&zk->lock);
        int n = os_wait_readable(fd, timeout);
        (void)pthread_mutex_lock(&zk->lock);
        client_clock(zk->client, os_now_ms());
        if (n) courier_read(&zk->courier);
        client_tick(zk->client, os_now_ms());
        courier_run(&zk->courier, true);
        api_spread(zk);
        if (os_now_ms() >= until) break;
    }
    zk->reading = false;
    courier_give_back(&zk->courier);
    courier_run(&zk->courier, true);
}

static void api_wait_once(struct zk *zk, struct api_waiter *w, int64_t until) {
    int fd = zk->threads && !zk->reading ? courier_lend(&zk->courier) : -1;
    if (fd >= 0) {
        api_read(zk, fd, w, until);
        return;
    }
    courier_run(&zk->courier, true);
    if (zk->threads || zk->polling)
        api_cond_wait(&w->woken, &zk->lock, until);
    else
        api_turn(zk, until);
}

ZK_PRIVATE int api_wait(struct zk *zk, api_ready ready, const void *arg, int timeout_ms) {
    int64_t until = timeout_ms < 0 ? INT64_MAX : os_now_ms() + timeout_ms;
    struct api_waiter w = {.ready = ready, .arg = arg};
    api_cond_init(&w.woken);
    api_join(zk, &w);
    int err = ZK_OK;
    while (!ready(arg) && !err) {
        if (client_is_over(zk->client))
            err = client_error(zk->client);
        else if (os_now_ms() >= until)
            err = ZK_TIMED_OUT;
        else
            api_wait_once(zk, &w, until);
    }
    api_part(zk, &w);
    (void)pthread_cond_destroy(&w.woken);
    /* Whoever is left needs somebody who reads. */
    if (zk->waiters && !zk->reading) (void)pthread_cond_signal(&zk->waiters->woken);
    return err;
}

/* --- telling --- */

/* Makes one call that is due, outside of the lock. */
static void api_tell(struct zk *zk, struct client_post *p) {
    zk->telling = true;
    zk->telling_thread = pthread_self();
    zk->telling_owner = p->owner;
    (void)pthread_mutex_unlock(&zk->lock);
    p->run(p);
    (void)pthread_mutex_lock(&zk->lock);
    zk->telling = false;
    (void)pthread_cond_broadcast(&zk->told);
}

/* All calls that are due now. */
static void api_tell_all(struct zk *zk) {
    struct client_post *p;
    while ((p = client_take_post(zk->client))) api_tell(zk, p);
}

ZK_PRIVATE void api_settle(struct zk *zk, const void *owner) {
    client_unpost(zk->client, owner);
    while (zk->telling && zk->telling_owner == owner && !api_in_callback(zk))
        (void)pthread_cond_wait(&zk->told, &zk->lock);
}

/* --- threads --- */

static void *api_io_main(void *arg) {
    struct zk *zk = arg;
    (void)pthread_mutex_lock(&zk->lock);
    client_tick(zk->client, os_now_ms());
    courier_run(&zk->courier, true);
    while (!zk->stopping) {
        zk->io_until = client_next_at(zk->client);
        api_turn(zk, INT64_MAX);
    }
    (void)pthread_mutex_unlock(&zk->lock);
    return NULL;
}

static void api_destroy(struct zk *zk) {
    courier_close(&zk->courier);
    client_free(zk->client);
    (void)pthread_cond_destroy(&zk->to_tell);
    (void)pthread_cond_destroy(&zk->told);
    (void)pthread_mutex_destroy(&zk->lock);
    mem_free(zk);
}

static void api_stop_io(struct zk *zk) {
    zk->stopping = true;
    courier_wake(&zk->courier);
    (void)pthread_mutex_unlock(&zk->lock);
    (void)pthread_join(zk->io, NULL);
    (void)pthread_mutex_lock(&zk->lock);
}

static void *api_teller_main(void *arg) {
    struct zk *zk = arg;
    (void)pthread_mutex_lock(&zk->lock);
    while (!zk->stopping && !zk->doomed) {
        api_tell_all(zk);
        if (!zk->stopping && !zk->doomed && !client_has_posts(zk->client))
            (void)pthread_cond_wait(&zk->to_tell, &zk->lock);
    }
    if (!zk->doomed) {
        (void)pthread_mutex_unlock(&zk->lock);
        return NULL;
    }
    client_end(zk->client); /* freed from a callback: this thread is the last to leave */
    api_tell_all(zk);
    api_stop_io(zk);
    (void)pthread_mutex_unlock(&zk->lock);
    (void)pthread_detach(pthread_self());
    api_destroy(zk);
    return NULL;
}

/* The program's signals are for the program's own threads. */
static bool api_start_threads(struct zk *zk) {
    sigset_t all, before;
    pthread_attr_t small;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&small);
    (void)pthread_attr_setstacksize(&small, API_IO_STACK);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    zk->threads = true;
    bool ok = pthread_create(&zk->io, &small, api_io_main, zk) == 0;
    if (ok && pthread_create(&zk->teller, NULL, api_teller_main, zk) != 0) {
        (void)pthread_mutex_lock(&zk->lock);
        api_stop_io(zk);
        (void)pthread_mutex_unlock(&zk->lock);
        ok = false;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&small);
    return ok;
}

/* --- life --- */

static int api_read_hosts(const char *text, struct hosts *hosts, const char **chroot) {
    int err = hosts_parse(hosts, text, chroot);
    if (err) return err;
    if (!**chroot || path_valid(slice_str(*chroot))) return ZK_OK;
    hosts_free(hosts);
    return ZK_BAD_ARGUMENTS;
}

/* A server of the same process is no server to name. */
static int api_read_inside(const char *text, struct hosts *hosts, const char **chroot) {
    char name[] = "inside";
    *chroot = "";
    int err = hosts_parse(hosts, name, chroot);
    *chroot = text ? text : "";
    if (err || !**chroot || path_valid(slice_str(*chroot))) return err;
    hosts_free(hosts);
    return ZK_BAD_ARGUMENTS;
}

static int api_make(struct zk **out, const struct zk_options *o, struct client_setup *setup) {
    struct zk *zk = mem_try(sizeof *zk);
    int err = zk ? client_new(&zk->client, setup) : ZK_OUT_OF_MEMORY;
    if (!err) err = courier_open(&zk->courier, zk->client);
#if ZK_WITH_SERVER
    if (!err && o->server) {
        zk->courier.offer = server_offer;
        zk->courier.server = o->server;
    }
#endif
    if (err) {
        if (zk) client_free(zk->client);
        mem_free(zk);
        return err;
    }
    (void)pthread_mutex_init(&zk->lock, NULL);
    api_cond_init(&zk->to_tell);
    api_cond_init(&zk->told);
    zk->log = o->log;
    zk->log_user = o->log_user;
    zk->io_until = INT64_MAX;
    if (!(o->flags & ZK_OWN_LOOP) && !api_start_threads(zk)) {
        api_destroy(zk);
        return ZK_SYSTEM_ERROR;
    }
    *out = zk;
    return ZK_OK;
}

ZK_API int zk_open(struct zk **out, const struct zk_options *options) {
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    if (!options || options->session_timeout_ms < 0) return ZK_BAD_ARGUMENTS;
    if (options->server ? !ZK_WITH_SERVER : !options->hosts) return ZK_BAD_ARGUMENTS;
    struct client_setup setup = {.options = options, .now = os_now_ms()};
    setup.seed = options->seed ? options->seed : os_seed();
    int err = (options->server ? api_read_inside : api_read_hosts)(options->hosts, &setup.hosts,
                                                                   &setup.chroot);
    if (err) return err;
    err = api_make(out, options, &setup);
    hosts_free(&setup.hosts);
    return err;
}

static bool api_is_over(const void *arg) {
    return client_is_over(((const struct zk *)arg)->client);
}

/* Until nothing that was due is left to tell. In a callback that is not for us to wait for. */
static void api_finish_telling(struct zk *zk) {
    if (api_in_callback(zk)) return;
    while (client_has_posts(zk->client) || zk->telling) {
        if (!zk->threads && !zk->telling) {
            api_tell_all(zk);
            continue;
        }
        (void)pthread_cond_signal(&zk->to_tell);
        (void)pthread_cond_wait(&zk->told, &zk->lock);
    }
}

static int api_end(struct zk *zk, bool politely, int timeout_ms) {
    struct client *c = api_enter(zk);
    if (!c) return ZK_BAD_ARGUMENTS;
    client_close(c, politely);
    if (!api_in_callback(zk)) {
        if (api_wait(zk, api_is_over, zk, timeout_ms) == ZK_TIMED_OUT) client_end(c);
        courier_run(&zk->courier, true);
        api_finish_telling(zk);
    }
    api_leave(zk);
    return ZK_OK;
}

ZK_API int zk_close(struct zk *zk, int timeout_ms) {
    return api_end(zk, true, timeout_ms);
}

ZK_API int zk_abandon(struct zk *zk) {
    return api_end(zk, false, 0);
}

ZK_API void zk_free(struct zk *zk) {
    if (!zk) return;
    (void)pthread_mutex_lock(&zk->lock);
    bool inside = api_in_callback(zk);
    if (inside) zk->doomed = true;
    (void)pthread_mutex_unlock(&zk->lock);
    (void)api_end(zk, true, API_FREE_WAIT_MS);
    if (inside) return;
    (void)pthread_mutex_lock(&zk->lock);
    if (zk->threads) {
        api_stop_io(zk);
        (void)pthread_cond_signal(&zk->to_tell);
        (void)pthread_mutex_unlock(&zk->lock);
        (void)pthread_join(zk->teller, NULL);
        (void)pthread_mutex_lock(&zk->lock);
    }
    (void)pthread_mutex_unlock(&zk->lock);
    api_destroy(zk);
}

static bool api_is_connected(const void *arg) {
    enum zk_state s = client_state(((const struct zk *)arg)->client);
    return s == ZK_STATE_CONNECTED || s == ZK_STATE_READ_ONLY;
}

ZK_API int zk_wait_connected(struct zk *zk, int timeout_ms) {
    if (!api_enter(zk)) return ZK_BAD_ARGUMENTS;
    int err = api_wait(zk, api_is_connected, zk, timeout_ms);
    api_leave(zk);
    return err;
}

/* --- operations --- */

struct api_call {
    struct client *client;
    struct zk_result *result;
    int error;
    bool over;
};

static void api_called(void *user, const struct zk_result *result) {
    struct api_call *call = user;
    call->error = result->error;
    call->result = client_take_result(call->client);
    call->over = true;
}

static bool api_call_over(const void *arg) {
    return ((const struct api_call *)arg)->over;
}

ZK_API int zk_call(struct zk *zk, struct zk_op op, struct zk_result **result) {
    struct api_call call = {.client = api_enter(zk)};
    if (result) *result = NULL;
    if (!call.client) return ZK_BAD_ARGUMENTS;
    int64_t id = client_submit(call.client, &op, CLIENT_CALL, api_called, &call);
    if (id > 0) (void)api_wait(zk, api_call_over, &call, -1);
    api_leave(zk);
    if (id < 0) return (int)id;
    if (result)
        *result = call.result;
    else
        zk_result_free(call.result);
    return call.error;
}

ZK_API void zk_result_free(struct zk_result *result) {
    mem_free(result);
}

ZK_API int64_t zk_submit(struct zk *zk, struct zk_op op, zk_result_fn done, void *user) {
    struct client *c = api_enter(zk);
    if (!c) return ZK_BAD_ARGUMENTS;
    int64_t id = client_submit(c, &op, CLIENT_POSTED, done, user);
    api_leave(zk);
    return id;
}

ZK_API int zk_cancel(struct zk *zk, int64_t id) {
    struct client *c = api_enter(zk);
    if (!c) return ZK_BAD_ARGUMENTS;
    int err = client_cancel(c, id);
    api_leave(zk);
    return err;
}

ZK_API int zk_flush(struct zk *zk) {
    struct client *c = api_enter(zk);
    if (!c) return ZK_BAD_ARGUMENTS;
    courier_run(&zk->courier, true);
    api_leave(zk);
    return ZK_OK;
}

/* --- the caller's own loop --- */

ZK_API int zk_fd(struct zk *zk) {
    if (!api_enter(zk)) return -1;
    int fd = zk->threads ? -1 : courier_fd(&zk->courier);
    api_leave(zk);
    return fd;
}

ZK_API int zk_wants(struct zk *zk) {
    if (!api_enter(zk)) return 0;
    int wants = ZK_READABLE | (courier_wants_write(&zk->courier) ? ZK_WRITABLE : 0);
    api_leave(zk);
    return wants;
}

ZK_API int zk_wait_ms(struct zk *zk) {
    struct client *c = api_enter(zk);
    if (!c) return -1;
    bool now = client_has_posts(c) || (client_connection_is_up(c) && client_should_send(c));
    int ms = now ? 0 : api_ms_until(client_next_at(c));
    api_leave(zk);
    return ms;
}

ZK_API int zk_step(struct zk *zk) {
    struct client *c = api_enter(zk);
    if (!c) return ZK_BAD_ARGUMENTS;
    if (zk->threads || api_in_callback(zk)) {
        api_leave(zk);
        return ZK_WRONG_THREAD;
    }
    struct os_event events[COURIER_EVENTS];
    client_tick(c, os_now_ms());
    courier_run(&zk->courier, true);
    courier_take(&zk->courier, events, courier_poll(&zk->courier, events, 0));
    client_tick(c, os_now_ms());
    courier_run(&zk->courier, true);
    api_tell_all(zk);
    courier_run(&zk->courier, true);
    if (zk->doomed) {
        client_end(c);
        api_tell_all(zk);
        (void)pthread_mutex_unlock(&zk->lock);
        api_destroy(zk);
        return ZK_CLOSING;
    }
    int err = client_error(c);
    api_leave(zk);
    return err;
}

/* --- facts --- */

ZK_API enum zk_state zk_state(struct zk *zk) {
    struct client *c = api_enter(zk);
    if (!c) return ZK_STATE_CLOSED;
    enum zk_state state = client_state(c);
    api_leave(zk);
    return state;
}

ZK_API int64_t zk_session_id(struct zk *zk) {
    struct client *c = api_enter(zk);
    if (!c) return 0;
    int64_t id = client_session_id(c);
    api_leave(zk);
    return id;
}

ZK_API void zk_session_passwd(struct zk *zk, uint8_t out[16]) {
    struct client *c = api_enter(zk);
    memset(out, 0, 16);
    if (!c) return;
    memcpy(out, client_passwd(c), 16);
    api_leave(zk);
}

ZK_API int zk_session_timeout(struct zk *zk) {
    struct client *c = api_enter(zk);
    if (!c) return 0;
    int ms = client_timeout(c);
    api_leave(zk);
    return ms;
}

ZK_API int64_t zk_last_zxid(struct zk *zk) {
    struct client *c = api_enter(zk);
    if (!c) return 0;
    int64_t zxid = client_last_zxid(c);
    api_leave(zk);
    return zxid;
}

ZK_API const char *zk_server_address(struct zk *zk, char *out, size_t n) {
    struct client *c = api_enter(zk);
    if (!out || !n) {
        if (c) api_leave(zk);
        return "";
    }
    out[0] = '\0';
    if (!c) return out;
    const struct net_addr *at = client_address(c);
    if (at) os_format_addr(at, out, n);
    api_leave(zk);
    return out;
}

ZK_API int zk_set_hosts(struct zk *zk, const char *text) {
    struct hosts hosts;
    if (!zk || !text) return ZK_BAD_ARGUMENTS;
    int err = hosts_parse(&hosts, text, NULL);
    if (err) return err;
    struct client *c = api_enter(zk);
    (void)client_set_hosts(c, &hosts);
    api_leave(zk);
    return ZK_OK;
}

ZK_API void zk_get_counters(struct zk *zk, struct zk_counters *out) {
    struct client *c = api_enter(zk);
    if (!out) {
        if (c) api_leave(zk);
        return;
    }
    memset(out, 0, sizeof *out);
    if (!c) return;
    client_counters(c, out);
    api_leave(zk);
}

/* --- words --- */

ZK_API const char *zk_error_name(int error) {
    static const char *const own[] = {"OUT_OF_MEMORY", "TIMED_OUT", "CANCELED",
                                      "TOO_LARGE",     "BUSY",      "WRONG_THREAD"};
    size_t i = (size_t)((int64_t)ZK_OUT_OF_MEMORY - error);
    if (error == ZK_CLOSING) return "CLOSING";
    return i < sizeof own / sizeof *own ? own[i] : wire_error_name(error);
}

ZK_API const char *zk_strerror(int error) {
    static const struct {
        int code;
        const char *text;
    } WORDS[] = {
        {ZK_OK, "no error"},
        {ZK_SYSTEM_ERROR, "the system refuses something that is needed"},
        {ZK_RUNTIME_INCONSISTENCY, "not done: an earlier operation of the same multi failed"},
        {ZK_DATA_INCONSISTENCY, "the data is inconsistent"},
        {ZK_CONNECTION_LOSS, "the connection broke before the reply"},
        {ZK_MARSHALLING_ERROR, "a request or a reply could not be read"},
        {ZK_UNIMPLEMENTED, "the server does not know this operation"},
        {ZK_OPERATION_TIMEOUT, "the operation took too long"},
        {ZK_BAD_ARGUMENTS, "an argument is not valid"},
        {ZK_NEW_CONFIG_NO_QUORUM, "no quorum of the new configuration is connected"},
        {ZK_RECONFIG_IN_PROGRESS, "another reconfiguration is in progress"},
        {ZK_API_ERROR, "the server refuses the operation"},
        {ZK_NO_NODE, "there is no such node"},
        {ZK_NO_AUTH, "not allowed"},
        {ZK_BAD_VERSION, "the version is another one"},
        {ZK_NO_CHILDREN_FOR_EPHEMERALS, "an ephemeral node cannot have children"},
        {ZK_NODE_EXISTS, "the node exists already"},
        {ZK_NOT_EMPTY, "the node has children"},
        {ZK_SESSION_EXPIRED, "the session has expired"},
        {ZK_INVALID_ACL, "the access control list is not valid"},
        {ZK_AUTH_FAILED, "the server refused an identity"},
        {ZK_CLOSING, "the handle is closed"},
        {ZK_SESSION_MOVED, "the session has moved to another server"},
        {ZK_NOT_READ_ONLY, "the server can only read now"},
        {ZK_EPHEMERAL_ON_LOCAL_SESSION, "a local session cannot have ephemeral nodes"},
        {ZK_NO_WATCHER, "there is no such watch"},
        {ZK_REQUEST_TIMEOUT, "the request took too long"},
        {ZK_RECONFIG_DISABLED, "reconfiguration is not enabled"},
        {ZK_SESSION_CLOSED_REQUIRE_SASL_AUTH, "the server wants SASL authentication"},
        {ZK_QUOTA_EXCEEDED, "the quota is exceeded"},
        {ZK_THROTTLED_OP, "the server has too much to do"},
        {ZK_OUT_OF_MEMORY, "out of memory"},
        {ZK_TIMED_OUT, "not done within the time allowed"},
        {ZK_CANCELED, "canceled"},
        {ZK_TOO_LARGE, "larger than max_packet"},
        {ZK_BUSY, "too much is waiting for the server"},
        {ZK_WRONG_THREAD, "may not be called here"},
    };
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (WORDS[i].code == error) return WORDS[i].text;
    return "unknown error";
}

ZK_API bool zk_maybe_applied(int error) {
    switch (error) {
    case ZK_CONNECTION_LOSS:
    case ZK_OPERATION_TIMEOUT:
    case ZK_SESSION_EXPIRED:
    case ZK_SESSION_MOVED:
    case ZK_REQUEST_TIMEOUT:
    case ZK_CLOSING:
    case ZK_MARSHALLING_ERROR:
    case ZK_OUT_OF_MEMORY:
    case ZK_TIMED_OUT:
    case ZK_CANCELED: return true;
    default: return false;
    }
}

ZK_API const char *zk_state_name(int state) {
    static const char *const names[] = {"UNKNOWN",   "CONNECTING", "CONNECTED",
                                        "READ_ONLY", "SUSPENDED",  "LOST",
                                        "EXPIRED",   "AUTH_FAILED", "CLOSED"};
    return names[state > 0 && state <= ZK_STATE_CLOSED ? state : 0];
}
#endif /* ZK_WITH_CLIENT */

#if ZK_WITH_CLIENT
/* ==== api/recipes.c ==== */



/* --- common --- */

/* Enters, unless the session is over: then *error says why. */
static struct client *recipes_enter(struct zk *zk, int *error) {
    struct client *c = api_enter(zk);
    *error = c ? client_error(c) : ZK_BAD_ARGUMENTS;
    if (!*error) return c;
    if (c) api_leave(zk);
    return NULL;
}

/* The end of a synchronous call: `error` is how it began. */
static int recipes_leave(struct zk *zk, struct wish *w, int error) {
    if (!error && w->open) {
        error = api_wait(zk, wish_over, w, -1);
        if (w->open)
            wish_stop(w);
        else
            error = w->error;
    } else if (!error) {
        error = w->error;
    }
    api_leave(zk);
    return error;
}

/* What is told of the state has to be so now: a process that stood still learns first that time has
 * passed, which breaks its connection, and then what follows from that. */
static struct client *recipes_look(struct zk *zk) {
    struct client *c = api_enter(zk);
    client_tick(c, client_now(c));
    client_tick(c, client_now(c));
    return c;
}

/* --- locks --- */

struct zk_lock {
    struct zk *zk;
    struct lock m;
};

ZK_API int zk_lock_new(struct zk *zk, const char *path, const struct zk_lock_options *options,
                       struct zk_lock **out) {
    int error;
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    struct client *c = recipes_enter(zk, &error);
    if (!c) return error;
    struct zk_lock *lock = mem_try(sizeof *lock);
    error = lock ? lock_init(&lock->m, c, lock, path, options) : ZK_OUT_OF_MEMORY;
    api_leave(zk);
    if (error) {
        mem_free(lock);
        return error;
    }
    lock->zk = zk;
    *out = lock;
    return ZK_OK;
}

ZK_API void zk_lock_free(struct zk_lock *lock) {
    if (!lock) return;
    (void)api_enter(lock->zk);
    lock_free(&lock->m);
    api_settle(lock->zk, lock);
    api_leave(lock->zk);
    mem_free(lock);
}

ZK_API int zk_lock_acquire(struct zk_lock *lock, int timeout_ms) {
    int error;
    if (!lock) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(lock->zk, &error)) return error;
    error = lock_acquire(&lock->m, timeout_ms, false, NULL, NULL);
    return recipes_leave(lock->zk, &lock->m.wish, error);
}

ZK_API int zk_lock_acquire_async(struct zk_lock *lock, int timeout_ms, zk_done_fn done,
                                 void *user) {
    int error;
    if (!lock || !done) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(lock->zk, &error)) return error;
    error = lock_acquire(&lock->m, timeout_ms, false, done, user);
    api_leave(lock->zk);
    return error;
}

ZK_API int zk_lock_try(struct zk_lock *lock) {
    int error;
    if (!lock) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(lock->zk, &error)) return error;
    error = lock_acquire(&lock->m, -1, true, NULL, NULL);
    return recipes_leave(lock->zk, &lock->m.wish, error);
}

ZK_API int zk_lock_release(struct zk_lock *lock) {
    if (!lock) return ZK_BAD_ARGUMENTS;
    (void)api_enter(lock->zk);
    int error = lock_release(&lock->m);
    api_leave(lock->zk);
    return error;
}

ZK_API int zk_lock_downgrade(struct zk_lock *write, struct zk_lock *read, int timeout_ms) {
    int error;
    if (!write || !read || write->zk != read->zk) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(write->zk, &error)) return error;
    error = lock_downgrade(&write->m, &read->m, timeout_ms, NULL, NULL);
    return recipes_leave(write->zk, &read->m.wish, error);
}

ZK_API enum zk_hold_state zk_lock_state(struct zk_lock *lock) {
    if (!lock) return ZK_HOLD_NONE;
    (void)recipes_look(lock->zk);
    enum zk_hold_state state = lock->m.notice.state;
    api_leave(lock->zk);
    return state;
}

ZK_API int64_t zk_lock_token(struct zk_lock *lock) {
    if (!lock) return 0;
    (void)recipes_look(lock->zk);
    int64_t token = lock_token(&lock->m);
    api_leave(lock->zk);
    return token;
}

/* --- leadership --- */

struct zk_leader {
    struct zk *zk;
    struct latch m;
};

ZK_API int zk_leader_new(struct zk *zk, const char *path, const struct zk_leader_options *options,
                         struct zk_leader **out) {
    int error;
    if (!out) return ZK_BAD_ARGUMENTS;
    *out = NULL;
    struct client *c = recipes_enter(zk, &error);
    if (!c) return error;
    struct zk_leader *leader = mem_try(sizeof *leader);
    error = leader ? latch_init(&leader->m, c, leader, path, options) : ZK_OUT_OF_MEMORY;
    api_leave(zk);
    if (error) {
        mem_free(leader);
        return error;
    }
    leader->zk = zk;
    *out = leader;
    return ZK_OK;
}

ZK_API void zk_leader_free(struct zk_leader *leader) {
    if (!leader) return;
    (void)api_enter(leader->zk);
    latch_free(&leader->m);
    api_settle(leader->zk, leader);
    api_leave(leader->zk);
    mem_free(leader);
}

ZK_API enum zk_hold_state zk_leader_state(struct zk_leader *leader) {
    if (!leader) return ZK_HOLD_NONE;
    (void)recipes_look(leader->zk);
    enum zk_hold_state state = leader->m.notice.state;
    api_leave(leader->zk);
    return state;
}

ZK_API int64_t zk_leader_token(struct zk_leader *leader) {
    if (!leader) return 0;
    (void)recipes_look(leader->zk);
    bool leads = leader->m.notice.state == ZK_HOLD_OWNED;
    int64_t token = leads ? leader->m.notice.token : 0;
    api_leave(leader->zk);
    return token;
}

ZK_API int zk_leader_wait(struct zk_leader *leader, int timeout_ms) {
    int error;
    if (!leader) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(leader->zk, &error)) return error;
    error = latch_wait(&leader->m, timeout_ms, NULL, NULL);
    return recipes_leave(leader->zk, &leader->m.wish, error);
}

ZK_API int zk_leader_wait_async(struct zk_leader *leader, int timeout_ms, zk_done_fn done,
                                void *user) {
    int error;
    if (!leader || !done) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(leader->zk, &error)) return error;
    error = latch_wait(&leader->m, timeout_ms, done, user);
    api_leave(leader->zk);
    return error;
}

ZK_API int zk_leader_resign(struct zk_leader *leader) {
    int error;
    if (!leader) return ZK_BAD_ARGUMENTS;
    if (!recipes_enter(leader->zk, &error)) return error;
    error = latch_resign(&leader->m);
    api_leave(leader->zk);
    return error;
}

/* The data of the one that leads. ZK_NO_NODE with *gone: it went while we looked. */
static int leader_look(struct zk_leader *leader, struct zk_result **data, bool *gone) {
    struct zk_result *children;
    *data = NULL;
    *gone = false;
    int error = zk_call(leader->zk, zk_get_children(leader->m.path), &children);
    const char *first = error ? NULL : latch_first(&leader->m, children);
    char *path = first ? recipe_join(leader->m.path, first) : NULL;
    zk_result_free(children);
    if (error) return error;
    if (!path) return first ? ZK_OUT_OF_MEMORY : ZK_NO_NODE;
    error = zk_call(leader->zk, zk_get(path), data);
    mem_free(path);
    *gone = error == ZK_NO_NODE;
    return error;
}

ZK_API int zk_leader_who(struct zk_leader *leader, char *id, size_t n) {
    struct zk_result *data;
    bool gone;
    int error;
    if (!leader || !id || !n) return ZK_BAD_ARGUMENTS;
    id[0] = '\0';
    while ((error = leader_look(leader, &data, &gone)) == ZK_NO_NODE && gone) zk_result_free(data);
    if (!error && data->data) {
        size_t len = (size_t)data->data_len < n ? (size_t)data->data_len : n - 1;
        memcpy(id, data->data, len);
        id[len] = '\0';
    }
    zk_result_free(data);
    return error;
}
#endif /* ZK_WITH_CLIENT */
