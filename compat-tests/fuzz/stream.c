/* A snapshot as a leader sends it, in pieces. First byte: their size. */
#include "rooms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct db db;
    struct snapfile s;
    if (size < 1) return 0;
    size_t piece = (size_t)data[0] + 1;
    data++;
    size--;
    db_init(&db, 1, 2000, 0);
    snapfile_open_stream(&s, &db, JUTE_MAX_BUFFER * 2);
    bool ok = true;
    for (size_t at = 0; at < size && ok && s.section != SNAP_RECEIVED; at += piece)
        ok = snapfile_feed(&s, slice_of(data + at, size - at < piece ? size - at : piece));
    bool whole = ok && s.section == SNAP_RECEIVED;
    snapfile_close(&s);
    struct buf state = {0};
    if (whole) snapfile_put_state(&state, &db); /* what was taken in can be passed on */
    buf_free(&state);
    db_free(&db);
    return 0;
}
