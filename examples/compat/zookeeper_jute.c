/*
 * zookeeper_jute.c: the records of zookeeper.jute.h as bytes, and back.
 *
 * Every record is described by a table of its members; three functions walk such tables. What is
 * read is not trusted: a length beyond the end is an error, and a vector grows as its elements come
 * rather than by the count that is claimed.
 */
#include "zookeeper.jute.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { K_END, K_BOOL, K_INT, K_LONG, K_STRING, K_BUFFER, K_RECORD, K_VECTOR };

/* Of a vector: its elements are of this record. */
struct record;
struct field {
    enum kind kind;
    size_t offset;
    const char *name;
    const struct record *of;
};
struct record {
    size_t size;
    const struct field *fields;
};

/* All vectors of zookeeper.jute.h look like this; they are copied here and back. */
struct vector {
    int32_t count;
    void *data;
};

static int write_record(struct oarchive *out, const char *tag, const struct record *r, void *v);
static int read_record(struct iarchive *in, const char *tag, const struct record *r, void *v);
static void free_record(const struct record *r, void *v);

/* --- writing --- */

static int write_vector(struct oarchive *out, const char *tag, const struct record *of,
                        const void *vector) {
    struct vector v;
    int rc;
    memcpy(&v, vector, sizeof v);
    rc = out->start_vector(out, tag, &v.count);
    for (int32_t i = 0; !rc && i < v.count; i++)
        rc = write_record(out, "data", of, (char *)v.data + (size_t)i * of->size);
    return rc ? rc : out->end_vector(out, tag);
}

static int write_field(struct oarchive *out, const struct field *f, void *at) {
    switch (f->kind) {
    case K_BOOL: return out->serialize_Bool(out, f->name, at);
    case K_INT: return out->serialize_Int(out, f->name, at);
    case K_LONG: return out->serialize_Long(out, f->name, at);
    case K_STRING: return out->serialize_String(out, f->name, at);
    case K_BUFFER: return out->serialize_Buffer(out, f->name, at);
    case K_RECORD: return write_record(out, f->name, f->of, at);
    case K_VECTOR: return write_vector(out, f->name, f->of, at);
    case K_END: break;
    }
    return -EINVAL;
}

/* A record without a name for its only member is that member: an element of a String_vector. */
static bool is_plain(const struct record *r) { return !r->fields[0].name; }

static int write_record(struct oarchive *out, const char *tag, const struct record *r, void *v) {
    int rc = is_plain(r) ? 0 : out->start_record(out, tag);
    for (const struct field *f = r->fields; !rc && f->kind != K_END; f++)
        rc = write_field(out, f, (char *)v + f->offset);
    return rc || is_plain(r) ? rc : out->end_record(out, tag);
}

/* --- reading --- */

/* One more zeroed element; of count, at most. NULL: out of memory. */
static void *grow(struct vector *v, int32_t *room, int32_t count, size_t size) {
    void *at;
    if (v->count == *room) {
        int32_t more = *room < count / 2 ? *room + *room / 2 + 8 : count;
        void *bigger = realloc(v->data, (size_t)more * size);
        if (!bigger) return NULL;
        v->data = bigger;
        *room = more;
    }
    at = (char *)v->data + (size_t)v->count++ * size;
    return memset(at, 0, size);
}

static int read_vector(struct iarchive *in, const char *tag, const struct record *of,
                       void *vector) {
    struct vector v = {0, NULL};
    int32_t count = 0, room = 0;
    int rc = in->start_vector(in, tag, &count);
    while (!rc && v.count < count) {
        void *at = grow(&v, &room, count, of->size);
        rc = at ? read_record(in, "data", of, at) : -ENOMEM;
    }
    memcpy(vector, &v, sizeof v);
    return rc ? rc : in->end_vector(in, tag);
}

static int read_field(struct iarchive *in, const struct field *f, void *at) {
    switch (f->kind) {
    case K_BOOL: return in->deserialize_Bool(in, f->name, at);
    case K_INT: return in->deserialize_Int(in, f->name, at);
    case K_LONG: return in->deserialize_Long(in, f->name, at);
    case K_STRING: return in->deserialize_String(in, f->name, at);
    case K_BUFFER: return in->deserialize_Buffer(in, f->name, at);
    case K_RECORD: return read_record(in, f->name, f->of, at);
    case K_VECTOR: return read_vector(in, f->name, f->of, at);
    case K_END: break;
    }
    return -EINVAL;
}

static int read_record(struct iarchive *in, const char *tag, const struct record *r, void *v) {
    int rc = is_plain(r) ? 0 : in->start_record(in, tag);
    for (const struct field *f = r->fields; !rc && f->kind != K_END; f++)
        rc = read_field(in, f, (char *)v + f->offset);
    return rc || is_plain(r) ? rc : in->end_record(in, tag);
}

/* --- freeing --- */

void deallocate_String(char **s) {
    free(*s);
    *s = NULL;
}

void deallocate_Buffer(struct buffer *b) {
    free(b->buff);
    b->buff = NULL;
}

void deallocate_vector(void *d) { free(d); }

static void free_vector(const struct record *of, void *vector) {
    struct vector v;
    memcpy(&v, vector, sizeof v);
    for (int32_t i = 0; v.data && i < v.count; i++)
        free_record(of, (char *)v.data + (size_t)i * of->size);
    free(v.data);
    v.data = NULL;
    memcpy(vector, &v, sizeof v);
}

static void free_record(const struct record *r, void *v) {
    for (const struct field *f = r->fields; f->kind != K_END; f++) {
        void *at = (char *)v + f->offset;
        if (f->kind == K_STRING) deallocate_String(at);
        if (f->kind == K_BUFFER) deallocate_Buffer(at);
        if (f->kind == K_RECORD) free_record(f->of, at);
        if (f->kind == K_VECTOR) free_vector(f->of, at);
    }
}

/* --- the archives of memory --- */

/* Of an archive that is written: len bytes of room. Of one that is read: at of len bytes. */
struct memory {
    char *bytes;
    size_t len, room, at;
};

static int start_record(struct oarchive *oa, const char *tag) {
    (void)oa;
    (void)tag;
    return 0;
}

static int put(struct oarchive *oa, const void *bytes, size_t n) {
    struct memory *m = oa->priv;
    if (m->room - m->len < n) {
        size_t room = 2 * m->room + n;
        char *bigger = realloc(m->bytes, room);
        if (!bigger) return -ENOMEM;
        m->bytes = bigger;
        m->room = room;
    }
    if (n) memcpy(m->bytes + m->len, bytes, n);
    m->len += n;
    return 0;
}

static int put_int(struct oarchive *oa, const char *name, const int32_t *v) {
    uint32_t wire = htonl((uint32_t)*v);
    (void)name;
    return put(oa, &wire, sizeof wire);
}

static int put_bool(struct oarchive *oa, const char *name, const int32_t *v) {
    char wire = *v != 0;
    (void)name;
    return put(oa, &wire, 1);
}

static int put_long(struct oarchive *oa, const char *name, const int64_t *v) {
    int64_t wire = zoo_htonll(*v);
    (void)name;
    return put(oa, &wire, sizeof wire);
}

static int put_buffer(struct oarchive *oa, const char *name, const struct buffer *v) {
    int32_t len = v && v->buff && v->len >= 0 ? v->len : -1;
    int rc = put_int(oa, name, &len);
    return rc || len <= 0 ? rc : put(oa, v->buff, (size_t)len);
}

static int put_string(struct oarchive *oa, const char *name, char **v) {
    size_t n = *v ? strlen(*v) : 0;
    struct buffer b = {(int32_t)n, *v};
    return n > INT32_MAX ? -E2BIG : put_buffer(oa, name, &b);
}

struct oarchive *create_buffer_oarchive(void) {
    struct oarchive *oa = malloc(sizeof *oa);
    struct memory *m = calloc(1, sizeof *m);
    char *bytes = malloc(64);
    if (!oa || !m || !bytes) {
        free(oa);
        free(m);
        free(bytes);
        return NULL;
    }
    m->bytes = bytes;
    m->room = 64;
    *oa = (struct oarchive){start_record, start_record, put_int,    start_record, put_bool,
                            put_int,      put_long,     put_buffer, put_string,   m};
    return oa;
}

char *get_buffer(struct oarchive *oa) { return ((struct memory *)oa->priv)->bytes; }
int get_buffer_len(struct oarchive *oa) { return (int)((struct memory *)oa->priv)->len; }

void close_buffer_oarchive(struct oarchive **oa, int free_buffer) {
    struct memory *m = (*oa)->priv;
    if (free_buffer) free(m->bytes);
    free(m);
    free(*oa);
    *oa = NULL;
}

static int start_reading(struct iarchive *ia, const char *tag) {
    (void)ia;
    (void)tag;
    return 0;
}

static int get(struct iarchive *ia, void *bytes, size_t n) {
    struct memory *m = ia->priv;
    if (m->len - m->at < n) return -E2BIG;
    if (n) memcpy(bytes, m->bytes + m->at, n);
    m->at += n;
    return 0;
}

static int get_int(struct iarchive *ia, const char *name, int32_t *v) {
    uint32_t wire = 0;
    int rc = get(ia, &wire, sizeof wire);
    (void)name;
    *v = (int32_t)ntohl(wire);
    return rc;
}

static int get_bool(struct iarchive *ia, const char *name, int32_t *v) {
    char wire = 0;
    int rc = get(ia, &wire, 1);
    (void)name;
    *v = wire;
    return rc;
}

static int get_long(struct iarchive *ia, const char *name, int64_t *v) {
    int64_t wire = 0;
    int rc = get(ia, &wire, sizeof wire);
    (void)name;
    *v = zoo_htonll(wire);
    return rc;
}

/* A NUL follows that is not counted. */
static int get_buffer_of(struct iarchive *ia, const char *name, struct buffer *v) {
    struct memory *m = ia->priv;
    int rc = get_int(ia, name, &v->len);
    v->buff = NULL;
    if (rc || v->len == -1) return rc;
    if (v->len < 0) return -EINVAL;
    if ((size_t)v->len > m->len - m->at) return -E2BIG;
    v->buff = malloc((size_t)v->len + 1);
    if (!v->buff) return -ENOMEM;
    v->buff[v->len] = 0;
    return get(ia, v->buff, (size_t)v->len);
}

static int get_string(struct iarchive *ia, const char *name, char **v) {
    struct buffer b;
    int rc = get_buffer_of(ia, name, &b);
    *v = b.buff;
    return rc;
}

struct iarchive *create_buffer_iarchive(char *buffer, int len) {
    struct iarchive *ia = malloc(sizeof *ia);
    struct memory *m = calloc(1, sizeof *m);
    if (!ia || !m || len < 0) {
        free(ia);
        free(m);
        return NULL;
    }
    m->bytes = buffer;
    m->len = (size_t)len;
    *ia = (struct iarchive){start_reading, start_reading, get_int,       start_reading, get_bool,
                            get_int,       get_long,      get_buffer_of, get_string,    m};
    return ia;
}

void close_buffer_iarchive(struct iarchive **ia) {
    free((*ia)->priv);
    free(*ia);
    *ia = NULL;
}

int64_t zoo_htonll(int64_t v) {
    uint64_t u = (uint64_t)v;
    uint32_t words[2] = {htonl((uint32_t)(u >> 32)), htonl((uint32_t)u)};
    int64_t out;
    memcpy(&out, words, sizeof out);
    return out;
}

/* --- the records --- */

#define FIELD(kind, X, member, of) {kind, offsetof(struct X, member), #member, of}
#define BOOL(X, member) FIELD(K_BOOL, X, member, NULL)
#define INT(X, member) FIELD(K_INT, X, member, NULL)
#define LONG(X, member) FIELD(K_LONG, X, member, NULL)
#define STRING(X, member) FIELD(K_STRING, X, member, NULL)
#define BUFFER(X, member) FIELD(K_BUFFER, X, member, NULL)
#define RECORD(X, member, Y) FIELD(K_RECORD, X, member, &Y##_record)
#define VECTOR(X, member, Y) FIELD(K_VECTOR, X, member, &Y##_record)
#define END {K_END, 0, NULL, NULL}

/* The functions of record X, whose members are in X_fields. */
#define DEFINE_RECORD(X)                                                      \
    static const struct record X##_record = {sizeof(struct X), X##_fields};   \
    int serialize_##X(struct oarchive *out, const char *tag, struct X *v) {   \
        return write_record(out, tag, &X##_record, v);                        \
    }                                                                         \
    int deserialize_##X(struct iarchive *in, const char *tag, struct X *v) {  \
        memset(v, 0, sizeof *v);                                              \
        int rc = read_record(in, tag, &X##_record, v);                        \
        if (rc) deallocate_##X(v);                                            \
        return rc;                                                            \
    }                                                                         \
    void deallocate_##X(struct X *v) { free_record(&X##_record, v); }

/* The functions of vector X, whose elements are Y. */
#define DEFINE_VECTOR(X, Y)                                                   \
    int serialize_##X(struct oarchive *out, const char *tag, struct X *v) {   \
        return write_vector(out, tag, &Y##_record, v);                        \
    }                                                                         \
    int deserialize_##X(struct iarchive *in, const char *tag, struct X *v) {  \
        int rc = read_vector(in, tag, &Y##_record, v);                        \
        if (rc) (void)deallocate_##X(v);                                      \
        return rc;                                                            \
    }                                                                         \
    int allocate_##X(struct X *v, int32_t len) {                              \
        v->count = len > 0 ? len : 0;                                         \
        v->data = len > 0 ? calloc((size_t)len, sizeof *v->data) : NULL;      \
        return len > 0 && !v->data ? ENOMEM : 0;                              \
    }                                                                         \
    int deallocate_##X(struct X *v) {                                         \
        if (!v) return 0;                                                     \
        free_vector(&Y##_record, v);                                          \
        return 0;                                                             \
    }

static const struct field String_fields[] = {{K_STRING, 0, NULL, NULL}, END};
static const struct record String_record = {sizeof(char *), String_fields};

static const struct field Id_fields[] = {
    STRING(Id, scheme), STRING(Id, id), END};
DEFINE_RECORD(Id)

static const struct field ACL_fields[] = {
    INT(ACL, perms), RECORD(ACL, id, Id), END};
DEFINE_RECORD(ACL)

static const struct field Stat_fields[] = {
    LONG(Stat, czxid), LONG(Stat, mzxid), LONG(Stat, ctime), LONG(Stat, mtime), INT(Stat, version),
    INT(Stat, cversion), INT(Stat, aversion), LONG(Stat, ephemeralOwner), INT(Stat, dataLength),
    INT(Stat, numChildren), LONG(Stat, pzxid), END};
DEFINE_RECORD(Stat)

static const struct field StatPersisted_fields[] = {
    LONG(StatPersisted, czxid), LONG(StatPersisted, mzxid), LONG(StatPersisted, ctime),
    LONG(StatPersisted, mtime), INT(StatPersisted, version), INT(StatPersisted, cversion),
    INT(StatPersisted, aversion), LONG(StatPersisted, ephemeralOwner), LONG(StatPersisted, pzxid),
    END};
DEFINE_RECORD(StatPersisted)

static const struct field ClientInfo_fields[] = {
    STRING(ClientInfo, authScheme), STRING(ClientInfo, user), END};
DEFINE_RECORD(ClientInfo)

static const struct field ConnectRequest_fields[] = {
    INT(ConnectRequest, protocolVersion), LONG(ConnectRequest, lastZxidSeen),
    INT(ConnectRequest, timeOut), LONG(ConnectRequest, sessionId), BUFFER(ConnectRequest, passwd),
    BOOL(ConnectRequest, readOnly), END};
DEFINE_RECORD(ConnectRequest)

static const struct field ConnectResponse_fields[] = {
    INT(ConnectResponse, protocolVersion), INT(ConnectResponse, timeOut),
    LONG(ConnectResponse, sessionId), BUFFER(ConnectResponse, passwd),
    BOOL(ConnectResponse, readOnly), END};
DEFINE_RECORD(ConnectResponse)

DEFINE_VECTOR(String_vector, String)

static const struct field SetWatches_fields[] = {
    LONG(SetWatches, relativeZxid), VECTOR(SetWatches, dataWatches, String),
    VECTOR(SetWatches, existWatches, String),
    VECTOR(SetWatches, childWatches, String), END};
DEFINE_RECORD(SetWatches)

static const struct field SetWatches2_fields[] = {
    LONG(SetWatches2, relativeZxid), VECTOR(SetWatches2, dataWatches, String),
    VECTOR(SetWatches2, existWatches, String),
    VECTOR(SetWatches2, childWatches, String),
    VECTOR(SetWatches2, persistentWatches, String),
    VECTOR(SetWatches2, persistentRecursiveWatches, String), END};
DEFINE_RECORD(SetWatches2)

static const struct field RequestHeader_fields[] = {
    INT(RequestHeader, xid), INT(RequestHeader, type), END};
DEFINE_RECORD(RequestHeader)

static const struct field MultiHeader_fields[] = {
    INT(MultiHeader, type), BOOL(MultiHeader, done), INT(MultiHeader, err), END};
DEFINE_RECORD(MultiHeader)

static const struct field AuthPacket_fields[] = {
    INT(AuthPacket, type), STRING(AuthPacket, scheme), BUFFER(AuthPacket, auth), END};
DEFINE_RECORD(AuthPacket)

static const struct field ReplyHeader_fields[] = {
    INT(ReplyHeader, xid), LONG(ReplyHeader, zxid), INT(ReplyHeader, err), END};
DEFINE_RECORD(ReplyHeader)

static const struct field GetDataRequest_fields[] = {
    STRING(GetDataRequest, path), BOOL(GetDataRequest, watch), END};
DEFINE_RECORD(GetDataRequest)

static const struct field SetDataRequest_fields[] = {
    STRING(SetDataRequest, path), BUFFER(SetDataRequest, data), INT(SetDataRequest, version), END};
DEFINE_RECORD(SetDataRequest)

static const struct field ReconfigRequest_fields[] = {
    STRING(ReconfigRequest, joiningServers), STRING(ReconfigRequest, leavingServers),
    STRING(ReconfigRequest, newMembers), LONG(ReconfigRequest, curConfigId), END};
DEFINE_RECORD(ReconfigRequest)

static const struct field SetDataResponse_fields[] = {
    RECORD(SetDataResponse, stat, Stat), END};
DEFINE_RECORD(SetDataResponse)

static const struct field GetSASLRequest_fields[] = {
    BUFFER(GetSASLRequest, token), END};
DEFINE_RECORD(GetSASLRequest)

static const struct field SetSASLRequest_fields[] = {
    BUFFER(SetSASLRequest, token), END};
DEFINE_RECORD(SetSASLRequest)

static const struct field SetSASLResponse_fields[] = {
    BUFFER(SetSASLResponse, token), END};
DEFINE_RECORD(SetSASLResponse)

DEFINE_VECTOR(ACL_vector, ACL)

static const struct field CreateRequest_fields[] = {
    STRING(CreateRequest, path), BUFFER(CreateRequest, data),
    VECTOR(CreateRequest, acl, ACL), INT(CreateRequest, flags), END};
DEFINE_RECORD(CreateRequest)

static const struct field CreateTTLRequest_fields[] = {
    STRING(CreateTTLRequest, path), BUFFER(CreateTTLRequest, data),
    VECTOR(CreateTTLRequest, acl, ACL), INT(CreateTTLRequest, flags),
    LONG(CreateTTLRequest, ttl), END};
DEFINE_RECORD(CreateTTLRequest)

static const struct field DeleteRequest_fields[] = {
    STRING(DeleteRequest, path), INT(DeleteRequest, version), END};
DEFINE_RECORD(DeleteRequest)

static const struct field GetChildrenRequest_fields[] = {
    STRING(GetChildrenRequest, path), BOOL(GetChildrenRequest, watch), END};
DEFINE_RECORD(GetChildrenRequest)

static const struct field GetAllChildrenNumberRequest_fields[] = {
    STRING(GetAllChildrenNumberRequest, path), END};
DEFINE_RECORD(GetAllChildrenNumberRequest)

static const struct field GetChildren2Request_fields[] = {
    STRING(GetChildren2Request, path), BOOL(GetChildren2Request, watch), END};
DEFINE_RECORD(GetChildren2Request)

static const struct field CheckVersionRequest_fields[] = {
    STRING(CheckVersionRequest, path), INT(CheckVersionRequest, version), END};
DEFINE_RECORD(CheckVersionRequest)

static const struct field GetMaxChildrenRequest_fields[] = {
    STRING(GetMaxChildrenRequest, path), END};
DEFINE_RECORD(GetMaxChildrenRequest)

static const struct field GetMaxChildrenResponse_fields[] = {
    INT(GetMaxChildrenResponse, max), END};
DEFINE_RECORD(GetMaxChildrenResponse)

static const struct field SetMaxChildrenRequest_fields[] = {
    STRING(SetMaxChildrenRequest, path), INT(SetMaxChildrenRequest, max), END};
DEFINE_RECORD(SetMaxChildrenRequest)

static const struct field SyncRequest_fields[] = {
    STRING(SyncRequest, path), END};
DEFINE_RECORD(SyncRequest)

static const struct field SyncResponse_fields[] = {
    STRING(SyncResponse, path), END};
DEFINE_RECORD(SyncResponse)

static const struct field GetACLRequest_fields[] = {
    STRING(GetACLRequest, path), END};
DEFINE_RECORD(GetACLRequest)

static const struct field SetACLRequest_fields[] = {
    STRING(SetACLRequest, path), VECTOR(SetACLRequest, acl, ACL),
    INT(SetACLRequest, version), END};
DEFINE_RECORD(SetACLRequest)

static const struct field SetACLResponse_fields[] = {
    RECORD(SetACLResponse, stat, Stat), END};
DEFINE_RECORD(SetACLResponse)

static const struct field AddWatchRequest_fields[] = {
    STRING(AddWatchRequest, path), INT(AddWatchRequest, mode), END};
DEFINE_RECORD(AddWatchRequest)

static const struct field WatcherEvent_fields[] = {
    INT(WatcherEvent, type), INT(WatcherEvent, state), STRING(WatcherEvent, path), END};
DEFINE_RECORD(WatcherEvent)

static const struct field ErrorResponse_fields[] = {
    INT(ErrorResponse, err), END};
DEFINE_RECORD(ErrorResponse)

static const struct field CreateResponse_fields[] = {
    STRING(CreateResponse, path), END};
DEFINE_RECORD(CreateResponse)

static const struct field Create2Response_fields[] = {
    STRING(Create2Response, path), RECORD(Create2Response, stat, Stat), END};
DEFINE_RECORD(Create2Response)

static const struct field ExistsRequest_fields[] = {
    STRING(ExistsRequest, path), BOOL(ExistsRequest, watch), END};
DEFINE_RECORD(ExistsRequest)

static const struct field ExistsResponse_fields[] = {
    RECORD(ExistsResponse, stat, Stat), END};
DEFINE_RECORD(ExistsResponse)

static const struct field GetDataResponse_fields[] = {
    BUFFER(GetDataResponse, data), RECORD(GetDataResponse, stat, Stat), END};
DEFINE_RECORD(GetDataResponse)

static const struct field GetChildrenResponse_fields[] = {
    VECTOR(GetChildrenResponse, children, String), END};
DEFINE_RECORD(GetChildrenResponse)

static const struct field GetAllChildrenNumberResponse_fields[] = {
    INT(GetAllChildrenNumberResponse, totalNumber), END};
DEFINE_RECORD(GetAllChildrenNumberResponse)

static const struct field GetChildren2Response_fields[] = {
    VECTOR(GetChildren2Response, children, String),
    RECORD(GetChildren2Response, stat, Stat), END};
DEFINE_RECORD(GetChildren2Response)

static const struct field GetACLResponse_fields[] = {
    VECTOR(GetACLResponse, acl, ACL), RECORD(GetACLResponse, stat, Stat), END};
DEFINE_RECORD(GetACLResponse)

static const struct field CheckWatchesRequest_fields[] = {
    STRING(CheckWatchesRequest, path), INT(CheckWatchesRequest, type), END};
DEFINE_RECORD(CheckWatchesRequest)

static const struct field RemoveWatchesRequest_fields[] = {
    STRING(RemoveWatchesRequest, path), INT(RemoveWatchesRequest, type), END};
DEFINE_RECORD(RemoveWatchesRequest)

static const struct field GetEphemeralsRequest_fields[] = {
    STRING(GetEphemeralsRequest, prefixPath), END};
DEFINE_RECORD(GetEphemeralsRequest)

static const struct field GetEphemeralsResponse_fields[] = {
    VECTOR(GetEphemeralsResponse, ephemerals, String), END};
DEFINE_RECORD(GetEphemeralsResponse)

DEFINE_VECTOR(ClientInfo_vector, ClientInfo)

static const struct field WhoAmIResponse_fields[] = {
    VECTOR(WhoAmIResponse, clientInfo, ClientInfo), END};
DEFINE_RECORD(WhoAmIResponse)

static const struct field LearnerInfo_fields[] = {
    LONG(LearnerInfo, serverid), INT(LearnerInfo, protocolVersion),
    LONG(LearnerInfo, configVersion), END};
DEFINE_RECORD(LearnerInfo)

DEFINE_VECTOR(Id_vector, Id)

static const struct field QuorumPacket_fields[] = {
    INT(QuorumPacket, type), LONG(QuorumPacket, zxid), BUFFER(QuorumPacket, data),
    VECTOR(QuorumPacket, authinfo, Id), END};
DEFINE_RECORD(QuorumPacket)

static const struct field QuorumAuthPacket_fields[] = {
    LONG(QuorumAuthPacket, magic), INT(QuorumAuthPacket, status), BUFFER(QuorumAuthPacket, token),
    END};
DEFINE_RECORD(QuorumAuthPacket)

static const struct field FileHeader_fields[] = {
    INT(FileHeader, magic), INT(FileHeader, version), LONG(FileHeader, dbid), END};
DEFINE_RECORD(FileHeader)

static const struct field TxnDigest_fields[] = {
    INT(TxnDigest, version), LONG(TxnDigest, treeDigest), END};
DEFINE_RECORD(TxnDigest)

static const struct field TxnHeader_fields[] = {
    LONG(TxnHeader, clientId), INT(TxnHeader, cxid), LONG(TxnHeader, zxid), LONG(TxnHeader, time),
    INT(TxnHeader, type), END};
DEFINE_RECORD(TxnHeader)

static const struct field CreateTxnV0_fields[] = {
    STRING(CreateTxnV0, path), BUFFER(CreateTxnV0, data), VECTOR(CreateTxnV0, acl, ACL),
    BOOL(CreateTxnV0, ephemeral), END};
DEFINE_RECORD(CreateTxnV0)

static const struct field CreateTxn_fields[] = {
    STRING(CreateTxn, path), BUFFER(CreateTxn, data), VECTOR(CreateTxn, acl, ACL),
    BOOL(CreateTxn, ephemeral), INT(CreateTxn, parentCVersion), END};
DEFINE_RECORD(CreateTxn)

static const struct field CreateTTLTxn_fields[] = {
    STRING(CreateTTLTxn, path), BUFFER(CreateTTLTxn, data), VECTOR(CreateTTLTxn, acl, ACL),
    INT(CreateTTLTxn, parentCVersion), LONG(CreateTTLTxn, ttl), END};
DEFINE_RECORD(CreateTTLTxn)

static const struct field CreateContainerTxn_fields[] = {
    STRING(CreateContainerTxn, path), BUFFER(CreateContainerTxn, data),
    VECTOR(CreateContainerTxn, acl, ACL), INT(CreateContainerTxn, parentCVersion), END};
DEFINE_RECORD(CreateContainerTxn)

static const struct field DeleteTxn_fields[] = {
    STRING(DeleteTxn, path), END};
DEFINE_RECORD(DeleteTxn)

static const struct field SetDataTxn_fields[] = {
    STRING(SetDataTxn, path), BUFFER(SetDataTxn, data), INT(SetDataTxn, version), END};
DEFINE_RECORD(SetDataTxn)

static const struct field CheckVersionTxn_fields[] = {
    STRING(CheckVersionTxn, path), INT(CheckVersionTxn, version), END};
DEFINE_RECORD(CheckVersionTxn)

static const struct field SetACLTxn_fields[] = {
    STRING(SetACLTxn, path), VECTOR(SetACLTxn, acl, ACL), INT(SetACLTxn, version), END};
DEFINE_RECORD(SetACLTxn)

static const struct field SetMaxChildrenTxn_fields[] = {
    STRING(SetMaxChildrenTxn, path), INT(SetMaxChildrenTxn, max), END};
DEFINE_RECORD(SetMaxChildrenTxn)

static const struct field CreateSessionTxn_fields[] = {
    INT(CreateSessionTxn, timeOut), END};
DEFINE_RECORD(CreateSessionTxn)

static const struct field CloseSessionTxn_fields[] = {
    VECTOR(CloseSessionTxn, paths2Delete, String), END};
DEFINE_RECORD(CloseSessionTxn)

static const struct field ErrorTxn_fields[] = {
    INT(ErrorTxn, err), END};
DEFINE_RECORD(ErrorTxn)

static const struct field Txn_fields[] = {
    INT(Txn, type), BUFFER(Txn, data), END};
DEFINE_RECORD(Txn)

DEFINE_VECTOR(Txn_vector, Txn)

static const struct field MultiTxn_fields[] = {
    VECTOR(MultiTxn, txns, Txn), END};
DEFINE_RECORD(MultiTxn)
