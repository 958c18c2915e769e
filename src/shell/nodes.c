/*
 * shell/nodes: commands on one node. The stat that -s asks for is added by execute().
 */
#include "shell/shell.h"

#include <stdlib.h>
#include <string.h>

int do_ls(struct args *a) {
    if (a->value['R']) return list_tree(a->word[1], a->value['w']);
    int err = run(watching(a, zk_get_children(a->word[1])));
    if (err) return err;
    size_t n = (size_t)sh.result->count;
    const char **names = grow(NULL, sizeof *names * n);
    if (n) memcpy(names, sh.result->names, sizeof *names * n);
    qsort(names, n, sizeof *names, by_name);
    say_list("children", names, (int)n);
    free(names);
    return 0;
}

int do_get(struct args *a) {
    int err = run(watching(a, zk_get(a->word[1])));
    char form = a->value['x'] ? 'x' : a->value['b'] ? 'b' : 't';
    if (!err) say_data(form, sh.result->data, sh.result->data_len);
    return err;
}

int do_stat(struct args *a) {
    a->value['s'] = "";
    return run(watching(a, zk_exists(a->word[1])));
}

int do_set(struct args *a) {
    struct text data = {0};
    const char *bad = a->value['b'] ? read_base64(a->word[2], &data) : NULL;
    if (!a->value['b']) add(&data, a->word[2]);
    int err = bad ? refuse(fmt("java.lang.IllegalArgumentException: %s", bad))
                  : run(zk_set(a->word[1], data.s, (int)data.n, a->version));
    free(data.s);
    return err;
}

int do_create(struct args *a) {
    bool e = a->value['e'], s = a->value['s'], c = a->value['c'];
    const char *t = a->value['t'], *path = a->word[1], *data = a->n > 2 ? a->word[2] : NULL;
    struct zk_op op = zk_create(path, data, data ? (int)strlen(data) : -1, ZK_CONTAINER);
    bool long_ttl = !t || number(t, 10, INT64_MIN, INT64_MAX, &op.ttl_ms);
    const char *bad =
        c && (e || s) ? "-c cannot be combined with -s or -e. Containers cannot be ephemeral or"
                        " sequential."
        : !long_ttl ? "-t argument must be a long value"
        : t && e    ? "TTLs cannot be used with Ephemeral znodes"
        : t && c    ? "TTLs cannot be used with Container znodes"
        : t && (op.ttl_ms <= 0 || op.ttl_ms > 0xffffffffff)
            ? "ttl must be positive and cannot be larger than: 1099511627775" : NULL;
    if (bad) return refuse(bad);
    a->value['s'] = NULL;
    if (t) op.mode = s ? ZK_PERSISTENT_SEQUENTIAL_WITH_TTL : ZK_PERSISTENT_WITH_TTL;
    else if (!c) op.mode = (enum zk_create_mode)(e + 2 * s);
    if (a->n > 3) acl_parse(a->word[3]), op.acl = sh.acl, op.acl_count = sh.acl_n;
    int err = check_path(fmt("%s%s", path, s ? "1" : "")); /* a sequence number will follow */
    if (err) return err;
    if (a->n > 3 && !sh.acl_n) err = ZK_INVALID_ACL, path = NULL;
    else err = call(op);
    if (err == ZK_EPHEMERAL_ON_LOCAL_SESSION)
        warn(stderr, "Unable to create ephemeral node on a local session\n");
    if (err == ZK_INVALID_ACL) warn(stderr, fmt("%s\n", keeper_text(err, path)));
    if (err) return fail_zk(err, path);
    say(stderr, "created", "Created ", sh.result->path);
    return 0;
}

int do_delete(struct args *a) { return run(zk_delete(a->word[1], a->version)); }

int do_get_acl(struct args *a) {
    int err = run(zk_get_acl(a->word[1]));
    if (err) return err;
    js("acl", "[");
    for (int i = 0; i < sh.result->count; i++) {
        const struct zk_acl *acl = &sh.result->acl[i];
        js_identity(acl);
        js_text("perms", perms_text(acl->perms));
        js_put("}");
        out(stdout, fmt("'%s,'%s\n: %s\n", acl->scheme, acl->id, perms_text(acl->perms)));
    }
    js_put("]");
    return 0;
}

int do_set_acl(struct args *a) {
    acl_parse(a->word[2]);
    int err = check_path(a->word[1]);
    if (err) return err;
    if (!sh.acl_n) return fail_zk(ZK_INVALID_ACL, NULL);
    if (a->value['R']) return set_acl_tree(a);
    return run(zk_set_acl(a->word[1], sh.acl, sh.acl_n, a->version));
}

int do_get_ephemerals(struct args *a) {
    int err = run(zk_get_ephemerals(a->n > 1 ? a->word[1] : "/"));
    if (!err) say_list("ephemerals", sh.result->names, sh.result->count);
    return err;
}

int do_get_all_children_number(struct args *a) {
    int err = run(zk_get_all_children_number(a->word[1]));
    if (!err) js("number", fmt("%d", sh.result->number));
    if (!err) out(stdout, fmt("%d\n", sh.result->number));
    return err;
}

int do_sync(struct args *a) {
    struct zk_op op = zk_sync(a->word[1]);
    op.timeout_ms = 30000;
    int err = check_path(op.path);
    if (err) return err;
    err = call(op);
    if (err) return fail_softly(err, fmt("Sync has failed. rc=%d", err));
    say(stdout, "sync", "", "Sync is OK");
    return 0;
}
