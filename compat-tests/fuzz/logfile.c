/* An arbitrary log file, applied to an empty database. */
#include "rooms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct db db;
    struct txn_out out = {.want_events = true};
    struct logfile f;
    db_init(&db, 1, 2000, 0);
    db.tree.extended_types = size & 1;
    db_add_builtin(&db);
    enum logfile_status st = logfile_open(&f, slice_of(data, size), JUTE_MAX_BUFFER * 2);
    while (st == LOGFILE_ENTRY) {
        st = logfile_next(&f);
        if (st == LOGFILE_ENTRY) (void)txn_apply(&db, &f.header, f.record, &out);
        if (st == LOGFILE_BAD_CRC) {
            /* Checksums keep the fuzzer out: go on with the body as if it had been right. */
            (void)logfile_tail_is_torn(&f);
            struct jr r = jr_open(slice_of(data + f.at + 12, be32(data + f.at + 8)), UINT32_MAX);
            struct txn_header h = jr_txn_header(&r);
            if (r.bad) break;
            (void)txn_apply(&db, &h, slice_of(r.p, (size_t)(r.end - r.p)), &out);
            f.at += be32(data + f.at + 8) + (size_t)LOGFILE_ENTRY_OVERHEAD;
            st = LOGFILE_ENTRY;
        }
    }
    if (st == LOGFILE_END || st == LOGFILE_TORN)
        (void)(logfile_ended(&f) || logfile_was_cut_off(&f));
    (void)db_drop_orphans(&db);
    txn_out_free(&db, &out);
    db_free(&db);
    return 0;
}
