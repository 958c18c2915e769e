#include "base/wire.h"

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
