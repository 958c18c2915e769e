#include "state/acl.h"

#include <stdio.h>

#include "base/sum.h"

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
