/*
 * shell/watch
 */
#include "shell/shell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- watch: events with what the node then holds --- */

struct seen {
    enum zk_event_type type;
    int64_t zxid;
    char path[];
};

static void on_seen(void *user, const struct zk_result *r) {
    struct seen *seen = user;
    struct zk_event e = {seen->type, seen->path, seen->zxid};
    js_put("{");
    js_text("event", event_name(e.type));
    js_text("path", e.path);
    js("zxid", e.zxid < 0 ? "null" : fmt("\"0x%" PRIx64 "\"", e.zxid));
    out(stdout, fmt("%s %s zxid: %" PRId64 "\n", event_name(e.type), e.path, e.zxid));
    if (r && !r->error) say_data('t', r->data, r->data_len);
    js_put("}");
    js_print(sh.doc);
    fflush(stdout);
    free(seen);
}

/* Its data is asked for even when there can be none: that keeps the events in order. */
static void on_watch(void *user, const struct zk_event *e) {
    (void)user;
    if (e->type > ZK_NODE_CHILDREN_CHANGED) return; /* that the watch is gone */
    struct seen *seen = grow(NULL, sizeof *seen + strlen(e->path) + 1);
    seen->type = e->type;
    seen->zxid = e->zxid;
    memcpy(seen->path, e->path, strlen(e->path) + 1);
    if (zk_submit(sh.zk, zk_get(seen->path), on_seen, seen) < 0) on_seen(seen, NULL);
}

int do_watch(struct args *a) {
    struct text events = {0};
    enum zk_watch_kind kind = a->value['R'] ? ZK_WATCH_RECURSIVE : ZK_WATCH_PERSISTENT;
    int err = run(zk_add_watch(a->word[1], kind, on_watch, NULL));
    if (err) return err;
    sh.doc = &events;
    while (!interrupted && alive()) (void)turn(-1, -1);
    sig_atomic_t was = interrupted;
    catch_interrupts(); /* the next one */
    if (alive()) (void)call(zk_remove_watches(a->word[1], kind, on_watch, NULL));
    interrupted = was;
    sh.doc = &sh.document;
    free(events.s);
    return alive() ? 0 : fail_zk(ZK_SESSION_EXPIRED, NULL);
}

int do_add_watch(struct args *a) {
    const char *mode = a->value['m'];
    bool stays = mode && strcasecmp(mode, "PERSISTENT") == 0;
    if (a->n != 2 || (mode && !stays && strcasecmp(mode, "PERSISTENT_RECURSIVE"))) return usage(a);
    if (mode) sh.mode = stays ? ZK_WATCH_PERSISTENT : ZK_WATCH_RECURSIVE;
    return run(zk_add_watch(a->word[1], sh.mode, on_event, NULL));
}

int do_remove_watches(struct args *a) {
    const char *const *v = a->value;
    enum zk_watch_kind kind = v['c'] ? ZK_WATCH_CHILDREN : v['d'] ? ZK_WATCH_DATA
                              : v['p'] ? ZK_WATCH_PERSISTENT : v['r'] ? ZK_WATCH_RECURSIVE
                                                                    : ZK_WATCH_ANY;
    struct zk_op op = zk_remove_watches(a->word[1], kind, NULL, NULL);
    op.local = a->value['l'];
    return run(op);
}
