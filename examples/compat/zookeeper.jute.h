/*
 * zookeeper.jute.h: the records of ZooKeeper's protocol and files, named as in its description.
 *
 * For each record X there are serialize_X, deserialize_X and deallocate_X; the last frees what the
 * members point to, not the record itself. A vector has allocate_X instead, which makes `len`
 * zeroed elements. deserialize_X leaves the record empty when it fails.
 */
#ifndef ZOO_JUTE_H
#define ZOO_JUTE_H

#include "recordio.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ZOO_JUTE_ARCHIVED(X)                                                   \
    int serialize_##X(struct oarchive *out, const char *tag, struct X *v);     \
    int deserialize_##X(struct iarchive *in, const char *tag, struct X *v)
#define ZOO_JUTE_RECORD(X) \
    ZOO_JUTE_ARCHIVED(X);  \
    void deallocate_##X(struct X *v)
#define ZOO_JUTE_VECTOR(X)                       \
    ZOO_JUTE_ARCHIVED(X);                        \
    int allocate_##X(struct X *v, int32_t len);  \
    int deallocate_##X(struct X *v)

struct Id {
    char *scheme;
    char *id;
};
ZOO_JUTE_RECORD(Id);

struct ACL {
    int32_t perms;
    struct Id id;
};
ZOO_JUTE_RECORD(ACL);

struct Stat {
    int64_t czxid, mzxid, ctime, mtime;
    int32_t version, cversion, aversion;
    int64_t ephemeralOwner;
    int32_t dataLength, numChildren;
    int64_t pzxid;
};
ZOO_JUTE_RECORD(Stat);

struct StatPersisted {
    int64_t czxid, mzxid, ctime, mtime;
    int32_t version, cversion, aversion;
    int64_t ephemeralOwner, pzxid;
};
ZOO_JUTE_RECORD(StatPersisted);

struct ClientInfo {
    char *authScheme;
    char *user;
};
ZOO_JUTE_RECORD(ClientInfo);

struct ConnectRequest {
    int32_t protocolVersion;
    int64_t lastZxidSeen;
    int32_t timeOut;
    int64_t sessionId;
    struct buffer passwd;
    int32_t readOnly;
};
ZOO_JUTE_RECORD(ConnectRequest);

struct ConnectResponse {
    int32_t protocolVersion, timeOut;
    int64_t sessionId;
    struct buffer passwd;
    int32_t readOnly;
};
ZOO_JUTE_RECORD(ConnectResponse);

struct String_vector {
    int32_t count;
    char **data;
};
ZOO_JUTE_VECTOR(String_vector);

struct SetWatches {
    int64_t relativeZxid;
    struct String_vector dataWatches;
    struct String_vector existWatches;
    struct String_vector childWatches;
};
ZOO_JUTE_RECORD(SetWatches);

struct SetWatches2 {
    int64_t relativeZxid;
    struct String_vector dataWatches;
    struct String_vector existWatches;
    struct String_vector childWatches;
    struct String_vector persistentWatches;
    struct String_vector persistentRecursiveWatches;
};
ZOO_JUTE_RECORD(SetWatches2);

struct RequestHeader {
    int32_t xid, type;
};
ZOO_JUTE_RECORD(RequestHeader);

struct MultiHeader {
    int32_t type, done, err;
};
ZOO_JUTE_RECORD(MultiHeader);

struct AuthPacket {
    int32_t type;
    char *scheme;
    struct buffer auth;
};
ZOO_JUTE_RECORD(AuthPacket);

struct ReplyHeader {
    int32_t xid;
    int64_t zxid;
    int32_t err;
};
ZOO_JUTE_RECORD(ReplyHeader);

struct GetDataRequest {
    char *path;
    int32_t watch;
};
ZOO_JUTE_RECORD(GetDataRequest);

struct SetDataRequest {
    char *path;
    struct buffer data;
    int32_t version;
};
ZOO_JUTE_RECORD(SetDataRequest);

struct ReconfigRequest {
    char *joiningServers;
    char *leavingServers;
    char *newMembers;
    int64_t curConfigId;
};
ZOO_JUTE_RECORD(ReconfigRequest);

struct SetDataResponse {
    struct Stat stat;
};
ZOO_JUTE_RECORD(SetDataResponse);

struct GetSASLRequest {
    struct buffer token;
};
ZOO_JUTE_RECORD(GetSASLRequest);

struct SetSASLRequest {
    struct buffer token;
};
ZOO_JUTE_RECORD(SetSASLRequest);

struct SetSASLResponse {
    struct buffer token;
};
ZOO_JUTE_RECORD(SetSASLResponse);

struct ACL_vector {
    int32_t count;
    struct ACL *data;
};
ZOO_JUTE_VECTOR(ACL_vector);

struct CreateRequest {
    char *path;
    struct buffer data;
    struct ACL_vector acl;
    int32_t flags;
};
ZOO_JUTE_RECORD(CreateRequest);

struct CreateTTLRequest {
    char *path;
    struct buffer data;
    struct ACL_vector acl;
    int32_t flags;
    int64_t ttl;
};
ZOO_JUTE_RECORD(CreateTTLRequest);

struct DeleteRequest {
    char *path;
    int32_t version;
};
ZOO_JUTE_RECORD(DeleteRequest);

struct GetChildrenRequest {
    char *path;
    int32_t watch;
};
ZOO_JUTE_RECORD(GetChildrenRequest);

struct GetAllChildrenNumberRequest {
    char *path;
};
ZOO_JUTE_RECORD(GetAllChildrenNumberRequest);

struct GetChildren2Request {
    char *path;
    int32_t watch;
};
ZOO_JUTE_RECORD(GetChildren2Request);

struct CheckVersionRequest {
    char *path;
    int32_t version;
};
ZOO_JUTE_RECORD(CheckVersionRequest);

struct GetMaxChildrenRequest {
    char *path;
};
ZOO_JUTE_RECORD(GetMaxChildrenRequest);

struct GetMaxChildrenResponse {
    int32_t max;
};
ZOO_JUTE_RECORD(GetMaxChildrenResponse);

struct SetMaxChildrenRequest {
    char *path;
    int32_t max;
};
ZOO_JUTE_RECORD(SetMaxChildrenRequest);

struct SyncRequest {
    char *path;
};
ZOO_JUTE_RECORD(SyncRequest);

struct SyncResponse {
    char *path;
};
ZOO_JUTE_RECORD(SyncResponse);

struct GetACLRequest {
    char *path;
};
ZOO_JUTE_RECORD(GetACLRequest);

struct SetACLRequest {
    char *path;
    struct ACL_vector acl;
    int32_t version;
};
ZOO_JUTE_RECORD(SetACLRequest);

struct SetACLResponse {
    struct Stat stat;
};
ZOO_JUTE_RECORD(SetACLResponse);

struct AddWatchRequest {
    char *path;
    int32_t mode;
};
ZOO_JUTE_RECORD(AddWatchRequest);

struct WatcherEvent {
    int32_t type, state;
    char *path;
};
ZOO_JUTE_RECORD(WatcherEvent);

struct ErrorResponse {
    int32_t err;
};
ZOO_JUTE_RECORD(ErrorResponse);

struct CreateResponse {
    char *path;
};
ZOO_JUTE_RECORD(CreateResponse);

struct Create2Response {
    char *path;
    struct Stat stat;
};
ZOO_JUTE_RECORD(Create2Response);

struct ExistsRequest {
    char *path;
    int32_t watch;
};
ZOO_JUTE_RECORD(ExistsRequest);

struct ExistsResponse {
    struct Stat stat;
};
ZOO_JUTE_RECORD(ExistsResponse);

struct GetDataResponse {
    struct buffer data;
    struct Stat stat;
};
ZOO_JUTE_RECORD(GetDataResponse);

struct GetChildrenResponse {
    struct String_vector children;
};
ZOO_JUTE_RECORD(GetChildrenResponse);

struct GetAllChildrenNumberResponse {
    int32_t totalNumber;
};
ZOO_JUTE_RECORD(GetAllChildrenNumberResponse);

struct GetChildren2Response {
    struct String_vector children;
    struct Stat stat;
};
ZOO_JUTE_RECORD(GetChildren2Response);

struct GetACLResponse {
    struct ACL_vector acl;
    struct Stat stat;
};
ZOO_JUTE_RECORD(GetACLResponse);

struct CheckWatchesRequest {
    char *path;
    int32_t type;
};
ZOO_JUTE_RECORD(CheckWatchesRequest);

struct RemoveWatchesRequest {
    char *path;
    int32_t type;
};
ZOO_JUTE_RECORD(RemoveWatchesRequest);

struct GetEphemeralsRequest {
    char *prefixPath;
};
ZOO_JUTE_RECORD(GetEphemeralsRequest);

struct GetEphemeralsResponse {
    struct String_vector ephemerals;
};
ZOO_JUTE_RECORD(GetEphemeralsResponse);

struct ClientInfo_vector {
    int32_t count;
    struct ClientInfo *data;
};
ZOO_JUTE_VECTOR(ClientInfo_vector);

struct WhoAmIResponse {
    struct ClientInfo_vector clientInfo;
};
ZOO_JUTE_RECORD(WhoAmIResponse);

struct LearnerInfo {
    int64_t serverid;
    int32_t protocolVersion;
    int64_t configVersion;
};
ZOO_JUTE_RECORD(LearnerInfo);

struct Id_vector {
    int32_t count;
    struct Id *data;
};
ZOO_JUTE_VECTOR(Id_vector);

struct QuorumPacket {
    int32_t type;
    int64_t zxid;
    struct buffer data;
    struct Id_vector authinfo;
};
ZOO_JUTE_RECORD(QuorumPacket);

struct QuorumAuthPacket {
    int64_t magic;
    int32_t status;
    struct buffer token;
};
ZOO_JUTE_RECORD(QuorumAuthPacket);

struct FileHeader {
    int32_t magic, version;
    int64_t dbid;
};
ZOO_JUTE_RECORD(FileHeader);

struct TxnDigest {
    int32_t version;
    int64_t treeDigest;
};
ZOO_JUTE_RECORD(TxnDigest);

struct TxnHeader {
    int64_t clientId;
    int32_t cxid;
    int64_t zxid, time;
    int32_t type;
};
ZOO_JUTE_RECORD(TxnHeader);

struct CreateTxnV0 {
    char *path;
    struct buffer data;
    struct ACL_vector acl;
    int32_t ephemeral;
};
ZOO_JUTE_RECORD(CreateTxnV0);

struct CreateTxn {
    char *path;
    struct buffer data;
    struct ACL_vector acl;
    int32_t ephemeral, parentCVersion;
};
ZOO_JUTE_RECORD(CreateTxn);

struct CreateTTLTxn {
    char *path;
    struct buffer data;
    struct ACL_vector acl;
    int32_t parentCVersion;
    int64_t ttl;
};
ZOO_JUTE_RECORD(CreateTTLTxn);

struct CreateContainerTxn {
    char *path;
    struct buffer data;
    struct ACL_vector acl;
    int32_t parentCVersion;
};
ZOO_JUTE_RECORD(CreateContainerTxn);

struct DeleteTxn {
    char *path;
};
ZOO_JUTE_RECORD(DeleteTxn);

struct SetDataTxn {
    char *path;
    struct buffer data;
    int32_t version;
};
ZOO_JUTE_RECORD(SetDataTxn);

struct CheckVersionTxn {
    char *path;
    int32_t version;
};
ZOO_JUTE_RECORD(CheckVersionTxn);

struct SetACLTxn {
    char *path;
    struct ACL_vector acl;
    int32_t version;
};
ZOO_JUTE_RECORD(SetACLTxn);

struct SetMaxChildrenTxn {
    char *path;
    int32_t max;
};
ZOO_JUTE_RECORD(SetMaxChildrenTxn);

struct CreateSessionTxn {
    int32_t timeOut;
};
ZOO_JUTE_RECORD(CreateSessionTxn);

struct CloseSessionTxn {
    struct String_vector paths2Delete;
};
ZOO_JUTE_RECORD(CloseSessionTxn);

struct ErrorTxn {
    int32_t err;
};
ZOO_JUTE_RECORD(ErrorTxn);

struct Txn {
    int32_t type;
    struct buffer data;
};
ZOO_JUTE_RECORD(Txn);

struct Txn_vector {
    int32_t count;
    struct Txn *data;
};
ZOO_JUTE_VECTOR(Txn_vector);

struct MultiTxn {
    struct Txn_vector txns;
};
ZOO_JUTE_RECORD(MultiTxn);
#undef ZOO_JUTE_ARCHIVED
#undef ZOO_JUTE_RECORD
#undef ZOO_JUTE_VECTOR

#ifdef __cplusplus
}
#endif

#endif
