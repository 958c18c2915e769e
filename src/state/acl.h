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

#include "base/wire.h"

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
