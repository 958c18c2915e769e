/*
 * shell/quota: limits and use stand in two nodes below /zookeeper/quota and the path.
 */
#include "shell/shell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define QUOTA "/zookeeper/quota"

struct quota { /* stock: StatsTrack */
    int64_t value[4];
    bool hard[4]; /* a hard limit that is said */
};

static const struct {
    char option;
    const char *name;
} quotas[] = {{'n', "count"}, {'b', "bytes"}, {'N', "countHardLimit"}, {'B', "byteHardLimit"}};

static const char *quota_node(const char *path, const char *leaf) {
    return fmt(QUOTA "%s/zookeeper_%s", path, leaf);
}

/* What the latest reply holds. */
static struct quota quota_read(void) {
    struct quota q = {.value = {-1, -1, -1, -1}};
    for (const char *s = sh.result->data ? sh.result->data : ""; *s; s += strspn(s, ",;")) {
        size_t n = strcspn(s, "=");
        for (int i = 0; i < 4; i++) {
            if (!s[n] || strncmp(s, quotas[i].name, n) || quotas[i].name[n]) continue;
            q.value[i] = strtoll(s + n + 1, NULL, 10);
            q.hard[i] = i > 1;
        }
        s += strcspn(s, ",;");
    }
    return q;
}

static const char *quota_text(const struct quota *q) {
    const char *t = fmt("count=%" PRId64 ",bytes=%" PRId64 "%s", q->value[0], q->value[1],
                        q->hard[2] || q->hard[3] ? "=" : "");
    for (int i = 3; i > 1; i--)
        if (q->hard[i]) t = fmt("%s;%s=%" PRId64, t, quotas[i].name, q->value[i]);
    return t;
}

/* Changes one limit. An error, unsaid. */
static int quota_put(const char *path, struct quota *q, int which, int64_t value, bool fresh) {
    q->value[which] = value;
    q->hard[which] |= which > 1;
    const char *text = quota_text(q), *node = quota_node(path, "limits");
    struct zk_op op = zk_set(node, text, (int)strlen(text), -1);
    return call(fresh ? zk_create(node, text, (int)strlen(text), ZK_PERSISTENT) : op);
}

/* Warns of what is beyond the limits already. */
static int quota_set(const char *path, int which, int64_t value) {
    struct quota limits = {.value = {-1, -1, -1, -1}, .hard = {false, false, true, true}}, now;
    int err = call(zk_get(quota_node(path, "limits")));
    bool fresh = err == ZK_NO_NODE;
    if (!err) limits = quota_read();
    if (!err || fresh) err = quota_put(path, &limits, which, value, fresh);
    if (!err && fresh)
        err = call(zk_create(quota_node(path, "stats"), "count=0,bytes=0", 15, ZK_PERSISTENT));
    if (!err) err = call(zk_get(quota_node(path, "stats")));
    if (err) return fail_zk(err, quota_node(path, "limits"));
    now = quota_read();
    for (int i = 0; i < 2; i++)
        if ((limits.value[i] > -1 && limits.value[i] < now.value[i]) ||
            (limits.value[i + 2] > -1 && limits.value[i + 2] < now.value[i]))
            warn(stdout, fmt("[Warning]: the %s quota you create is less than the existing %s:%"
                             PRId64 "\n", quotas[i].name, quotas[i].name, now.value[i]));
    return 0;
}

/* Is there a quota above the path, or below it? Makes the nodes down to its own. */
static int quota_parents(const char *path) {
    char *full = copy(fmt(QUOTA "%s", path));
    int err = walk(full, 0);
    for (uint32_t i = 1; !err && i < tree.n; i++)
        if (tree.node[i].parent && strcmp(tree.node[i].name, "zookeeper_limits") == 0)
            err = refuse(fmt("%s has a child %s which has a quota", path,
                             tree_path(tree.node[i].parent) + strlen(QUOTA)));
    for (size_t n = 0; !err && full[n];) {
        n += 1 + strcspn(full + n + 1, "/");
        const char *part = fmt("%.*s", (int)n, full), *above = full[n] ? part + strlen(QUOTA) : "";
        if (n > strlen(QUOTA) && *above && !call(zk_exists(quota_node(above, "limits"))))
            err = refuse(fmt("%s has a parent %s which has a quota", path, above));
        else if ((err = call(zk_exists(part))) == ZK_NO_NODE)
            err = run(zk_create(part, NULL, -1, ZK_PERSISTENT));
        else if (err) err = fail_zk(err, part);
    }
    free(full);
    return err;
}

int do_set_quota(struct args *a) {
    const char *path = a->word[1], *v;
    int which = 0, err;
    int64_t value = 0;
    while (!(v = a->value[(int)quotas[which].option])) which++;
    bool count = which % 2 == 0; /* an int; bytes are a long */
    const char *bad =
        strncmp(path, QUOTA, strlen(QUOTA)) == 0 ? "cannot set a quota under the path: " QUOTA
        : !number(v, 10, count ? INT32_MIN : INT64_MIN, count ? INT32_MAX : INT64_MAX, &value)
            ? "NumberFormatException happens when parsing the option value"
        : count && value <= 0 ? "the num quota must be greater than zero"
        : value < 0           ? "the bytes quota must be greater than or equal to zero" : NULL;
    if (bad) return refuse(bad), 0;
    if ((err = check_path(path)) || (err = check_path(fmt(QUOTA "%s", path)))) return err;
    err = call(zk_exists(path));
    if (err == ZK_NO_NODE) return fail(err, fmt("%s does not exist.", path));
    if (err) return fail_zk(err, path);
    if ((err = quota_parents(path))) return err;
    return quota_set(path, which, value);
}

int do_list_quota(struct args *a) {
    static const char *const leaf[] = {"limits", "stats"}, *const what[] = {"quota", "stat"};
    const char *path = a->word[1];
    say(stderr, "node", "absolute path is ", quota_node(path, "limits"));
    for (int i = 0, err; i < 2; i++) {
        if ((err = check_path(quota_node(path, leaf[i])))) return err;
        err = call(zk_get(quota_node(path, leaf[i])));
        if (err == ZK_NO_NODE) return fail(err, fmt("quota for %s does not exist.", path)), 0;
        if (err) return fail_zk(err, quota_node(path, leaf[i]));
        struct quota q = quota_read();
        say(stdout, what[i], fmt("Output %s for %s ", what[i], path), quota_text(&q));
    }
    return 0;
}

int do_del_quota(struct args *a) {
    const char *path = a->word[1];
    char *node = copy(quota_node(path, "limits"));
    int err = check_path(node), which = 0;
    if (err) return err;
    while (which < 4 && !a->value[(int)quotas[which].option]) which++;
    err = call(zk_get(node));
    if (err == ZK_NO_NODE) (void)fail_softly(err, fmt("Quota does not exist for %s", path));
    if (!err && which < 4) {
        struct quota limits = quota_read();
        err = quota_put(path, &limits, which, -1, false);
    } else if (!err) {
        err = call(zk_delete(node, -1));
        if (!err) err = call(zk_delete(quota_node(path, "stats"), -1));
        for (int no = err; !no; no = strlen(node) > strlen(QUOTA) ? call(zk_delete(node, -1)) : 1)
            *strrchr(node, '/') = '\0'; /* parents, as long as they have no other children */
    }
    free(node);
    return err && err != ZK_NO_NODE ? fail_zk(err, quota_node(path, "limits")) : 0;
}
