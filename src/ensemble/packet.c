#include "ensemble/packet.h"

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
