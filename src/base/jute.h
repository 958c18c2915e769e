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

#include "base/base.h"

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
