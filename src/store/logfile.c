#include "store/logfile.h"

#include "base/sum.h"

#define LOGFILE_EOR 0x42u
#define LOGFILE_SECTOR 512u

ZK_PRIVATE void logfile_put_header(uint8_t out[LOGFILE_HEADER_LEN]) {
    memcpy(out, "ZKLG", 4);
    put_be32(out + 4, 2);
    put_be64(out + 8, 0);
}

ZK_PRIVATE void logfile_put_entry(uint8_t *out, struct slice body) {
    put_be64(out, sum_adler32(SUM_ADLER32_INIT, body.p, body.n));
    put_be32(out + 8, (uint32_t)body.n);
    memcpy(out + 12, body.p, body.n);
    out[12 + body.n] = LOGFILE_EOR;
}

ZK_PRIVATE enum logfile_status logfile_open(struct logfile *f, struct slice bytes, uint32_t max) {
    memset(f, 0, sizeof *f);
    f->bytes = bytes;
    f->max = max;
    f->at = LOGFILE_HEADER_LEN;
    if (bytes.n < LOGFILE_HEADER_LEN) return LOGFILE_TORN;
    return memcmp(bytes.p, "ZKLG", 4) == 0 ? LOGFILE_ENTRY : LOGFILE_BAD_MAGIC;
}

ZK_PRIVATE enum logfile_status logfile_next(struct logfile *f) {
    const uint8_t *p = f->bytes.p + f->at;
    size_t left = f->bytes.n - f->at;
    if (left == 0) return LOGFILE_END;
    if (left < 12) return LOGFILE_TORN;
    uint32_t len = be32(p + 8);
    if (len == 0) return LOGFILE_END;
    if (len > f->max) return LOGFILE_BAD_LENGTH;
    if (left < len + (size_t)LOGFILE_ENTRY_OVERHEAD) return LOGFILE_TORN;
    if (p[12 + len] != LOGFILE_EOR) return LOGFILE_TORN;
    if (be64(p) != sum_adler32(SUM_ADLER32_INIT, p + 12, len)) return LOGFILE_BAD_CRC;
    struct jr r = jr_open(slice_of(p + 12, len), f->max);
    f->header = jr_txn_header(&r);
    if (r.bad) return LOGFILE_TORN; /* stock: EOF while decoding ends the file */
    f->record = slice_of(r.p, (size_t)(r.end - r.p));
    f->at += len + (size_t)LOGFILE_ENTRY_OVERHEAD;
    return LOGFILE_ENTRY;
}

static bool logfile_zeros(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p == 0) p++;
    return p == end;
}

ZK_PRIVATE bool logfile_tail_is_torn(const struct logfile *f) {
    const uint8_t *base = f->bytes.p, *file_end = base + f->bytes.n;
    uint32_t len = be32(base + f->at + 8);
    if (len > f->max) return false;
    size_t end = f->at + len + LOGFILE_ENTRY_OVERHEAD;
    if (end > f->bytes.n || !logfile_zeros(base + end, file_end)) return false;
    for (size_t from = f->at; from < end;) {
        size_t to = (from / LOGFILE_SECTOR + 1) * LOGFILE_SECTOR;
        if (to > end) to = end;
        if (to - from >= 16 && logfile_zeros(base + from, base + to)) return true;
        from = to;
    }
    return false;
}

ZK_PRIVATE bool logfile_ended(const struct logfile *f) {
    const uint8_t *p = f->bytes.p + f->at, *end = f->bytes.p + f->bytes.n;
    return logfile_zeros(p, end - p > 12 ? p + 12 : end);
}

/* Whether an entry begins at p that is whole but for its length. */
static bool logfile_lost_its_length(const uint8_t *p, const uint8_t *end) {
    uint64_t crc = be64(p);
    uint32_t sum = SUM_ADLER32_INIT;
    for (const uint8_t *at = p + 12; at < end; at++) {
        if (*at == LOGFILE_EOR && at > p + 12 && sum == crc) return true;
        sum = sum_adler32(sum, at, 1);
    }
    return false;
}

ZK_PRIVATE bool logfile_was_cut_off(const struct logfile *f) {
    const uint8_t *p = f->bytes.p + f->at, *end = f->bytes.p + f->bytes.n;
    if (end - p <= 12) return true;
    const uint8_t *last = end; /* of what the entry may have */
    size_t body = be32(p + 8);
    if (body < (size_t)(end - p) - 12) last = p + 12 + body;
    if (!logfile_zeros(last, end)) return false;
    size_t most = (size_t)f->max + LOGFILE_ENTRY_OVERHEAD;
    return !logfile_lost_its_length(p, (size_t)(end - p) > most ? p + most : end);
}

ZK_PRIVATE int64_t logfile_name_zxid(const char *name, const char *prefix) {
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0 || name[n] != '.') return -1;
    uint64_t v = 0;
    const char *p = name + n + 1;
    if (!*p || *p == '.') return -1;
    for (; *p && *p != '.'; p++) {
        int c = *p | 0x20;
        int d = *p >= '0' && *p <= '9' ? *p - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (d < 0 || v >> 59) return -1;
        v = v << 4 | (unsigned)d;
    }
    return (int64_t)v;
}
