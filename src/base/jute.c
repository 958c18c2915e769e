#include "base/jute.h"

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
