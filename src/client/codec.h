/*
 * client/codec: operations to request frames, reply frames to results.
 *
 * A result is one block of memory: the struct, its arrays, its strings. Everything in a reply comes
 * from a stranger: counts are checked against the bytes that are there before anything is got for
 * them. The chroot is put in front of paths here and taken off again here, nowhere else: at a
 * name's boundary only, in every place of a reply where stock has a path.
 */
#ifndef ZK_CLIENT_CODEC_H
#define ZK_CLIENT_CODEC_H

#include "base/wire.h"
#include "zk.h"

#define CODEC_CONFIG_PATH "/zookeeper/config"

/* ZK_OK, or why an operation cannot be sent: bad path, missing argument, a frame (its length
 * not counted) larger than max. */
ZK_PRIVATE int codec_check(const struct zk_op *op, struct slice chroot, uint32_t max);

/* Appends the frame, with its length, to out, which has room for codec_size bytes more: exactly as
 * many as it will be. Only for what codec_check liked. */
ZK_PRIVATE size_t codec_size(const struct zk_op *op, struct slice chroot);
ZK_PRIVATE void codec_request(struct buf *out, const struct zk_op *op, int32_t xid,
                              struct slice chroot);

/* The path on the server. Appends to out, which has room for path and chroot. */
ZK_PRIVATE struct slice codec_path(struct buf *out, struct slice path, struct slice chroot);
/* What a path of the server is called under the chroot; as it is when it is not below it. */
ZK_PRIVATE struct slice codec_strip(struct slice path, struct slice chroot);

/* A reply, behind its header, and what it answers. */
struct codec_answer {
    enum zk_op_type type;
    int op_count; /* of a multi: as many results there must be */
    int64_t zxid;
    int32_t error;
    struct slice body;
};
/* NULL: no memory. A body that cannot be read, or is not what was asked for, gives a result with
 * ZK_MARSHALLING_ERROR. Free with mem_free. */
ZK_PRIVATE struct zk_result *codec_reply(const struct codec_answer *a, struct slice chroot);

#endif
