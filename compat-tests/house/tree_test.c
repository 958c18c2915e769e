/*
 * The znodes against a list of them: whatever was added, changed and removed in whatever order,
 * every node is found under its path, none under any other, and the digest is the sum of what each
 * node's digest is when it is made anew.
 */
#include <stdio.h>

#include "base/sum.h"
#include "state/tree.h"

#define SEEDS 40u
#define STEPS 6000u
#define NODES 1500u
#define NAMES 40u /* few, so that a name is used again, also below the same parent */
#define PATH 128u

struct listed {
    uint32_t id; /* TREE_NONE: free */
    uint32_t parent, children;
    char path[PATH];
    uint8_t data[3];
    size_t data_len;
};

static struct tree tree;
static struct listed list[NODES];
static uint64_t random_state;
static uint32_t seed, step;

static void fail(const char *what, const char *path) {
    (void)fprintf(stderr, "seed %u, step %u: %s: %s\n", seed, step, what, path);
    exit(1);
}

static uint32_t draw(uint32_t below) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(hash_u64(random_state) % below);
}

static struct zstat draw_stat(void) {
    struct zstat s = {.czxid = draw(9), .mzxid = draw(9), .pzxid = draw(9), .ctime = draw(9),
                      .mtime = draw(9), .version = (int32_t)draw(9),
                      .cversion = (int32_t)draw(9), .aversion = (int32_t)draw(9)};
    return s;
}

static struct slice draw_data(struct listed *n) {
    n->data_len = draw(4);
    for (size_t i = 0; i < n->data_len; i++) n->data[i] = (uint8_t)draw(256);
    return slice_of(n->data, n->data_len);
}

static struct listed *pick(void) {
    struct listed *n = &list[draw(NODES)];
    return n->id == TREE_NONE ? &list[0] : n;
}

/* --- steps --- */

static void add(void) {
    struct listed *slot = &list[draw(NODES)], *parent = pick(), made = {0};
    if (slot->id != TREE_NONE) return;
    int n = snprintf(made.path, PATH, "%s/%u", parent->path, draw(NAMES));
    if (n >= (int)PATH) return;
    struct slice path = slice_str(made.path);
    if (tree_lookup(&tree, path) != TREE_NONE) return;
    made.parent = (uint32_t)(parent - list);
    struct zstat stat = draw_stat();
    *slot = made;
    slot->id = tree_add(&tree, parent->id, path, draw_data(slot), 0, &stat);
    parent->children++;
}

static void drop(void) {
    struct listed *n = pick();
    if (n == list || n->children) return;
    char below[PATH + 16];
    (void)snprintf(below, sizeof below, "%s/0", n->path);
    if (tree_parent(&tree, slice_str(below)) != n->id) fail("another parent", below);
    list[n->parent].children--;
    tree_remove(&tree, n->id, slice_str(n->path));
    n->id = TREE_NONE;
    if (tree_parent(&tree, slice_str(below)) != TREE_NONE) fail("the parent is gone", below);
}

static void change(void) {
    struct listed *n = pick();
    struct zstat stat = draw_stat();
    if (draw(2))
        tree_set_stat(&tree, n->id, &stat);
    else
        tree_set_data(&tree, n->id, slice_str(n->path), draw_data(n), &stat);
}

static void look(void) {
    struct listed *n = pick();
    struct slice path = slice_str(n->path);
    uint32_t parent = n == list ? TREE_NONE : list[n->parent].id;
    tree_hint(&tree, path);
    if (tree_lookup(&tree, path) != n->id) fail("not found", n->path);
    if (tree_parent(&tree, path) != parent) fail("another parent", n->path);
}

/* --- all of it --- */

static void check(void) {
    uint64_t digest = 0;
    uint32_t nodes = 0, children = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        const struct listed *n = &list[i];
        if (n->id == TREE_NONE) continue;
        struct slice path = slice_str(n->path);
        if (tree_lookup(&tree, path) != n->id) fail("not found", n->path);
        const struct tree_node *node = tree_node(&tree, n->id);
        digest += tree_digest_of(path, slice_of(n->data, n->data_len), &node->stat);
        nodes++;
        for (uint32_t name = 0; name < NAMES; name++) {
            char below[PATH + 16];
            (void)snprintf(below, sizeof below, "%s/%u", n->path, name);
            uint32_t id = tree_lookup(&tree, slice_str(below));
            if (id != TREE_NONE && tree_node(&tree, id)->parent != n->id)
                fail("found elsewhere", below);
            children += id != TREE_NONE;
        }
    }
    if (nodes != tree.count || children != nodes - 1)
        fail("another number of nodes", "");
    if (digest != tree.digest) fail("another digest", "");
}

static void run(void) {
    struct zstat zero = {0};
    random_state = seed;
    tree_init(&tree, seed);
    memset(list, 0, sizeof list);
    for (uint32_t i = 0; i < NODES; i++) list[i].id = TREE_NONE;
    list[0].id = tree_add(&tree, TREE_NONE, slice_of("", 0), slice_of("", 0), 0, &zero);
    for (step = 0; step < STEPS; step++) {
        tree.loading = step < STEPS * (seed % 3) / 2; /* never, for a while, always */
        uint32_t grow = step / 1000 % 2 ? 25 : 60, what = draw(100);
        if (what < grow)
            add();
        else if (what < 75)
            drop();
        else if (what < 90)
            change();
        else
            look();
        if (step % 1000 == 999) check();
    }
    tree_free(&tree);
}

int main(void) {
    for (seed = 1; seed <= SEEDS; seed++) run();
    return 0;
}
