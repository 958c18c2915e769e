#include "host/writer.h"

#include <errno.h>

ZK_PRIVATE int writer_open(struct writer *w, const char *path, bool direct) {
    memset(w, 0, sizeof *w);
    w->fd = direct ? os_create_direct(path) : -1;
    w->direct = w->fd >= 0;
    if (!w->direct) w->fd = os_create(path);
    if (w->fd < 0) return w->fd;
    w->mem = mem_alloc(WRITER_STAGE + WRITER_PAGE);
    w->stage = w->mem + (WRITER_PAGE - (uintptr_t)w->mem % WRITER_PAGE);
    return 0;
}

static size_t writer_pages(size_t n) {
    return (n + WRITER_PAGE - 1) / WRITER_PAGE * WRITER_PAGE;
}

ZK_PRIVATE int64_t writer_end(const struct writer *w) {
    return w->pos + (int64_t)w->staged;
}

ZK_PRIVATE int64_t writer_padded(const struct writer *w, size_t more) {
    size_t n = w->staged + more;
    return w->pos + (int64_t)(w->direct ? writer_pages(n) : n);
}

ZK_PRIVATE int writer_flush(struct writer *w) {
    size_t n = w->staged, whole = w->direct ? writer_pages(n) : n;
    if (n == w->kept) return 0;
    memset(w->stage + n, 0, whole - n);
    int err = os_pwrite(w->fd, w->stage, whole, w->pos);
    if (err == -EINVAL && w->direct) {
        /* Opened, but not meant: some file systems say so only here. */
        err = os_set_cached(w->fd);
        w->direct = false;
        if (!err) err = os_pwrite(w->fd, w->stage, n, w->pos);
    }
    if (err) return err;
    w->kept = w->direct ? n % WRITER_PAGE : 0;
    memmove(w->stage, w->stage + n - w->kept, w->kept);
    w->pos += (int64_t)(n - w->kept);
    w->staged = w->kept;
    return 0;
}

ZK_PRIVATE int writer_put(struct writer *w, struct slice bytes) {
    while (bytes.n) {
        size_t room = WRITER_STAGE - w->staged, n = bytes.n < room ? bytes.n : room;
        memcpy(w->stage + w->staged, bytes.p, n);
        w->staged += n;
        bytes = slice_of(bytes.p + n, bytes.n - n);
        int err = w->staged == WRITER_STAGE ? writer_flush(w) : 0;
        if (err) return err;
    }
    return 0;
}

ZK_PRIVATE void writer_close(struct writer *w) {
    if (w->fd >= 0) (void)os_close(w->fd);
    mem_free(w->mem);
    memset(w, 0, sizeof *w);
    w->fd = -1;
}
