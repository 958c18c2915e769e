/*
 * host/writer: a file that is written front to back, past the page cache where that is possible.
 *
 * Copying into the cache costs more than anything else about a log or a snapshot, and dirty pages
 * of one file make the sync of another wait. Bytes are staged in an aligned buffer and written in
 * whole pages; the last, incomplete page is written with zeros behind it and kept, to be written
 * again with what follows. Where the file system has no direct writes the same calls go through the
 * cache, byte-exact.
 *
 *   pos      offset in the file of the first staged byte; a multiple of the page when direct
 *   staged   bytes in the stage; those below `kept` have been written already
 */
#ifndef ZK_HOST_WRITER_H
#define ZK_HOST_WRITER_H

#include "host/os.h"

#define WRITER_PAGE 4096u
#define WRITER_STAGE (1u << 20)

struct writer {
    int fd; /* -1: closed */
    bool direct;
    uint8_t *mem;   /* owned; holds the aligned stage */
    uint8_t *stage; /* WRITER_STAGE bytes */
    size_t staged, kept;
    int64_t pos;
};

/* All return 0 or -errno. Creates or truncates; direct only when it is wanted and possible. */
ZK_PRIVATE int writer_open(struct writer *w, const char *path, bool direct);
ZK_PRIVATE int writer_put(struct writer *w, struct slice bytes); /* may write */
ZK_PRIVATE int writer_flush(struct writer *w);                   /* everything put is in the file */
ZK_PRIVATE int64_t writer_end(const struct writer *w);           /* bytes put so far */
/* Where the file ends after a flush: whole pages when direct. */
ZK_PRIVATE int64_t writer_padded(const struct writer *w, size_t more);
ZK_PRIVATE void writer_close(struct writer *w); /* no flush; fine when closed */

#endif
