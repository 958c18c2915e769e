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

#include "base/base.h"

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
