/*
 * client/json: as much of JSON as a known record in one object needs. Text is UTF-8.
 *
 * The reader is bounded and sticky: what is not JSON sets `bad`, and everything after it reads as
 * nothing. Values that nobody asks for are gone past, to a limited depth.
 */
#ifndef ZK_CLIENT_JSON_H
#define ZK_CLIENT_JSON_H

#include "base/base.h"

struct json {
    const uint8_t *p, *end; /* borrowed */
    bool bad;
};

ZK_PRIVATE struct json json_open(struct slice text);
/* Into an object; then the keys one by one, each before its value. False: there are no more. */
ZK_PRIVATE void json_enter(struct json *j);
ZK_PRIVATE bool json_key(struct json *j, char *key, size_t n, bool *first);
ZK_PRIVATE bool json_null(struct json *j); /* takes a null, if it is one */
ZK_PRIVATE int64_t json_int(struct json *j);
ZK_PRIVATE bool json_bool(struct json *j);
/* The text of a string with a NUL, into out, which has room for as many bytes as are left + 1.
 * Returns its length. */
ZK_PRIVATE size_t json_string(struct json *j, char *out);
ZK_PRIVATE struct slice json_any(struct json *j); /* the text of any value */
ZK_PRIVATE bool json_at_end(struct json *j);      /* nothing but spaces is left */

ZK_PRIVATE bool json_is_text(const char *s); /* UTF-8 */
/* With quotes. Room for 6 bytes a character, and 2, is there. */
ZK_PRIVATE void json_put_string(struct buf *b, const char *s);

#endif
