/*
 * shell/subtree: commands on whole subtrees, with many requests in flight, whose replies come in
 * order.
 */
#include "shell/shell.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tree tree;

int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static struct { /* the latest requests */
    int64_t id[2 * WINDOW];
    size_t n;
} latest;

void submit(struct zk_op op, zk_result_fn done, void *user) {
    int64_t id = zk_submit(sh.zk, op, done, user);
    if (id < 0) sh.error = (int)id;
    else sh.pending++, latest.id[latest.n++ % COUNT(latest.id)] = id;
}

/* Their replies are not waited for. */
static void cancel_all(void) {
    sh.error = ZK_CANCELED;
    size_t n = latest.n < COUNT(latest.id) ? latest.n : COUNT(latest.id);
    for (size_t i = 0; i < n; i++) (void)zk_cancel(sh.zk, latest.id[i]);
}

/* Keeps so many requests in flight until next() has no more to submit; the first error ends it.
 * When that takes longer than a second it says on a terminal how far it has come. */
int flow(const char *what, int window, bool (*next)(void)) {
    int64_t said = now_ms() + 800;
    bool told = false;
    tree.asked = tree.done = 0;
    for (sh.error = connected();;) {
        while (!sh.error && sh.pending < window && next()) {}
        if (!sh.pending) break;
        (void)turn(-1, -1);
        if (interrupted && !sh.error) cancel_all();
        if (now_ms() - said < 200 || !isatty(2)) continue;
        told = fprintf(stderr, "\r%s %u nodes", what, tree.done) > 0;
        said = now_ms();
    }
    if (told) fputs("\r\033[K", stderr);
    return sh.error;
}

/* Good until the next. */
const char *tree_path(uint32_t i) {
    static struct text t;
    size_t n = !i || tree.root[1] ? strlen(tree.root) : 0, end = n;
    for (uint32_t j = i; j; j = tree.node[j].parent) end += strlen(tree.node[j].name) + 1;
    if (end >= t.cap) t.s = grow(t.s, t.cap = end * 2 + 1);
    memcpy(t.s, tree.root, n);
    t.s[end] = '\0';
    for (uint32_t j = i; j; j = tree.node[j].parent) {
        n = strlen(tree.node[j].name);
        memcpy(t.s + (end -= n), tree.node[j].name, n);
        t.s[--end] = '/';
    }
    return t.s;
}

static void on_children(void *user, const struct zk_result *r) {
    uint32_t i = tree.done++, first = tree.n;
    (void)user, sh.pending--;
    for (int k = 0; k < r->count; k++) {
        if (tree.n == tree.cap) tree.node = grow(tree.node, sizeof *tree.node * (tree.cap *= 2));
        tree.node[tree.n++] = (struct node){.name = copy(r->names[k]), .parent = i};
    }
    tree.node[i].error = r->error;
    tree.node[i].first = first;
    tree.node[i].n = tree.n - first;
    qsort(tree.node + first, tree.n - first, sizeof *tree.node, by_name);
}

static bool next_children(void) {
    if (tree.asked == tree.n) return false;
    struct zk_op op = zk_get_children(tree_path(tree.asked++));
    submit(tree.watch ? zk_watching(op, on_event, NULL) : op, on_children, NULL);
    return true;
}

/* Reads the names of a subtree. An exit code: 1 if the first so many nodes cannot all be read. */
int walk(const char *root, uint32_t must) {
    int err = check_path(root);
    if (err) return err;
    while (tree.n > 1) free(tree.node[--tree.n].name);
    if (!tree.cap) tree.node = grow(NULL, sizeof *tree.node * (tree.cap = 64));
    memset(tree.node, 0, sizeof *tree.node);
    tree.n = 1;
    free(tree.root);
    tree.root = copy(root);
    if ((err = flow("read", WINDOW, next_children))) return fail_zk(err, root);
    for (uint32_t i = 0; i < must && i < tree.n; i++)
        if (tree.node[i].error) return fail_zk(tree.node[i].error, tree_path(i));
    return 0;
}

static void say_path(uint32_t i) {
    js_text(NULL, tree_path(i));
    out(stdout, fmt("%s\n", tree_path(i)));
}

/* The paths of a node's children, then what is below each of them. */
int list_tree(const char *root, bool watch) {
    int err = watch ? run(zk_watching(zk_get(root), on_event, NULL)) : 0;
    tree.watch = watch;
    if (!err) err = walk(root, 1);
    tree.watch = false;
    if (err) return err;
    uint32_t *stack = grow(NULL, sizeof *stack * tree.n), n = 1, at = 0;
    js("paths", "[");
    say_path(stack[0] = 0);
    while (n && !err && !interrupted) {
        const struct node *node = &tree.node[at = stack[--n]];
        if (node->error != ZK_NO_NODE) err = node->error;
        for (uint32_t k = 0; k < node->n; k++) {
            say_path(node->first + k);
            stack[n++] = node->first + node->n - 1 - k;
        }
    }
    js_put("]");
    free(stack);
    return err ? fail_zk(err, tree_path(at)) : 0;
}

static void on_deleted(void *user, const struct zk_result *r) {
    (void)user, sh.pending--;
    if (r->error) sh.error = r->error;
}

/* From the end: children stand behind their parents. */
static bool next_batch(void) {
    size_t bytes = 0;
    int n = 0;
    if (tree.done == tree.n) return false;
    struct zk_op *ops = grow(NULL, sizeof *ops * (size_t)tree.batch);
    for (; tree.done < tree.n && n < tree.batch && bytes < 500000; n++) {
        ops[n] = zk_delete(copy(tree_path(tree.n - ++tree.done)), -1);
        bytes += strlen(ops[n].path) + 32;
    }
    submit(zk_multi(ops, n), on_deleted, NULL);
    while (n) free((void *)(uintptr_t)ops[--n].path);
    free(ops);
    return true;
}

int do_delete_all(struct args *a) {
    const char *b = a->value['b'];
    tree.batch = 1000;
    if (b && !number(b, 10, INT32_MIN, INT32_MAX, &tree.batch))
        return refuse("-b argument must be an int value");
    int err = walk(a->word[1], UINT32_MAX);
    for (uint32_t i = tree.n; tree.batch <= 0 && !err && !interrupted && i--;)
        err = run(zk_delete(tree_path(i), -1));
    if (tree.batch > tree.n) tree.batch = tree.n;
    if (!err && tree.batch > 0 && (err = flow("deleted", 10, next_batch)))
        return fail(err, "Failed to delete some node(s) in the subtree!"), err == ZK_CANCELED;
    return err;
}

static void on_acl_set(void *user, const struct zk_result *r) {
    (void)user, sh.pending--;
    if (r->error && !sh.error) warn(stdout, keeper_text(r->error, tree_path(tree.done)));
    tree.done++;
}

static bool next_acl(void) {
    if (tree.asked == tree.n) return false;
    submit(zk_set_acl(tree_path(tree.asked++), sh.acl, sh.acl_n, tree.version), on_acl_set,
           NULL);
    return true;
}

int set_acl_tree(struct args *a) {
    tree.version = a->version;
    int err = walk(a->word[1], 1);
    if (!err && (err = flow("set", WINDOW, next_acl))) err = fail_zk(err, a->word[1]);
    return err;
}

int do_tree(struct args *a) {
    struct {
        uint32_t node;
        size_t indent;
    } *stack, at;
    struct text indent = {0};
    uint32_t n = 1;
    int err = walk(a->n > 1 ? a->word[1] : "/", 1);
    if (err) return err;
    stack = grow(NULL, sizeof *stack * tree.n);
    memset(stack, 0, sizeof *stack);
    js("paths", "[");
    while (n && !interrupted) {
        at = stack[--n];
        const struct node *node = &tree.node[at.node], *parent = &tree.node[node->parent];
        bool last = at.node + 1 == parent->first + parent->n;
        indent.n = at.indent;
        put(&indent, "", 0);
        js_text(NULL, tree_path(at.node));
        out(stdout, fmt("%s%s%s\n", indent.s, !at.node ? "" : last ? "└── " : "├── ",
                        at.node ? node->name : tree.root));
        if (at.node) add(&indent, last ? "    " : "│   ");
        for (uint32_t k = node->n; k--; n++) {
            stack[n].node = node->first + k;
            stack[n].indent = indent.n;
        }
    }
    js_put("]");
    free(indent.s);
    free(stack);
    return 0;
}
