/*
 * store/logfile: the bytes of a transaction log.
 *
 *   offset 0   magic "ZKLG"   4, version 2   4, dbid 0   8
 *   16         entries:  crc 8 (Adler-32 of the body, upper half 0), len 4, body len, 'B' 1
 *   ...        zeros to the end of the preallocation
 *
 * The body is TxnHeader, record, and usually a TxnDigest. The file is named after the zxid of its
 * first entry. Reading is by slices of a file that is wholly in memory or mapped.
 * stock: FileTxnLog, FileHeader, FilePadding.
 */
#ifndef ZK_LOGFILE_H
#define ZK_LOGFILE_H

#include "base/wire.h"

#define LOGFILE_HEADER_LEN 16u
#define LOGFILE_ENTRY_OVERHEAD 13u

ZK_PRIVATE void logfile_put_header(uint8_t out[LOGFILE_HEADER_LEN]);
/* Writes one entry; out has room for body.n + LOGFILE_ENTRY_OVERHEAD bytes. */
ZK_PRIVATE void logfile_put_entry(uint8_t *out, struct slice body);

enum logfile_status {
    LOGFILE_ENTRY,    /* an entry was read */
    LOGFILE_END,      /* zeros or the end of the file: all well */
    LOGFILE_TORN,     /* the last entry is incomplete: the file ends before it */
    LOGFILE_BAD_MAGIC,
    LOGFILE_BAD_CRC,  /* a whole entry whose bytes are not what was written */
    LOGFILE_BAD_LENGTH
};

struct logfile {
    struct slice bytes; /* borrowed */
    size_t at;          /* offset of the next entry */
    uint32_t max;       /* largest body */
    /* the entry that was read */
    struct txn_header header;
    struct slice record; /* after the header */
};

ZK_PRIVATE enum logfile_status logfile_open(struct logfile *f, struct slice bytes, uint32_t max);
ZK_PRIVATE enum logfile_status logfile_next(struct logfile *f);
/*
 * After LOGFILE_BAD_CRC: true when the entry is the last one written and a sector of it never
 * reached the disk (the file was zeros before it). Anything else is rot, not a torn write.
 */
ZK_PRIVATE bool logfile_tail_is_torn(const struct logfile *f);
/* No entry has been begun behind the last one that was read. */
ZK_PRIVATE bool logfile_ended(const struct logfile *f);
/*
 * After LOGFILE_END or LOGFILE_TORN: what is behind the last entry may be the beginning of one that
 * never got its end, with nothing behind it. If not, and if the file had to be whole, there were
 * entries whose lengths or end marks have rotted.
 */
ZK_PRIVATE bool logfile_was_cut_off(const struct logfile *f);

/* "log.<hex>" and "snapshot.<hex>[.ext]": the zxid, -1 when it is no such name. stock: Util */
ZK_PRIVATE int64_t logfile_name_zxid(const char *name, const char *prefix);

#endif
