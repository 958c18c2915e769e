/* An arbitrary snapshot, in pieces; what loads must also survive being written and changed. */
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
    snapfile_open(&s, &db, JUTE_MAX_BUFFER * 2);
    bool ok = true;
    for (size_t at = 0; at < size && ok; at += piece)
        ok = snapfile_feed(&s, slice_of(data + at, size - at < piece ? size - at : piece));
    (void)snapfile_finish(&s);
    snapfile_close(&s);
    if (db.tree.count) {
        quota_rebuild(&db.quota, &db.tree);
        struct buf head = {0};
        snapfile_put_head(&head, &db);
        tree_image_begin(&db.tree);
        (void)db_drop_orphans(&db); /* changes while the image is being taken */
        while (!tree_image_step(&db.tree, 3, 100)) buf_clear(&db.tree.image.out);
        buf_free(&head);
    }
    db_free(&db);
    return 0;
}
