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

#include "base/base.h"

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
