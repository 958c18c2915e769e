/*
 * path: what a znode path may be, and how it splits.
 *
 * Validity is defined on UTF-16 units of the decoded text (stock: PathUtils.validatePath); a byte
 * sequence that is not UTF-8 decodes to U+FFFD there, which is itself a forbidden character, so
 * here simply: not well-formed is not valid.
 */
#ifndef ZK_PATH_H
#define ZK_PATH_H

#include "base/base.h"

ZK_PRIVATE bool path_valid(struct slice path);
/* Has a '/' and no NUL: what a create or delete needs before its parent can be named. */
ZK_PRIVATE bool path_has_parent(struct slice path);
ZK_PRIVATE struct slice path_parent(struct slice path); /* "" for a top-level path */
ZK_PRIVATE struct slice path_name(struct slice path);   /* after the last '/' */
/* "" for both spellings of the root, so that each node has one key. */
ZK_PRIVATE struct slice path_key(struct slice path);
/*
 * The text as it comes back from stock: malformed pieces are U+FFFD, and a character beyond the BMP
 * is two 3-byte surrogates (BinaryOutputArchive encodes UTF-16 units). May borrow from scratch.
 */
ZK_PRIVATE struct slice path_as_java(struct slice text, struct buf *scratch);
ZK_PRIVATE bool path_is_under(struct slice path, const char *prefix); /* prefix + "/" starts path */

#endif
