/*
 * log: lines that a pure room wants logged.
 *
 * Rooms append lines to a queue; the host drains it to the user's callback. The queue is bounded:
 * beyond LOG_MAX bytes lines are counted instead of kept.
 */
#ifndef ZK_LOG_H
#define ZK_LOG_H

#include "base/base.h"

#define LOG_MAX 65536

enum log_level { LOG_ERROR_LEVEL = 1, LOG_WARN_LEVEL = 2, LOG_INFO_LEVEL = 3, LOG_DEBUG_LEVEL = 4 };

struct logq {
    struct buf lines; /* level byte, text, NUL; repeated */
    uint64_t dropped;
    int max_level; /* lines above it are not kept */
};

ZK_PRIVATE void log_line(struct logq *q, int level, const char *fmt, ...) ZK_PRINTF(3, 4);
/* Takes the first line; *text is valid until the next call on q. False when there is none. */
ZK_PRIVATE bool log_take(struct logq *q, int *level, const char **text);

#endif
