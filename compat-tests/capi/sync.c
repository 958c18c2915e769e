/* Every synchronous operation, what it returns and what it leaves in its buffers. */
#include "capi.h"

/* In the library of stock, though its header does not say so. */
void zoo_create2_op_init(zoo_op_t *op, const char *path, const char *value, int valuelen,
                         const struct ACL_vector *acl, int mode, char *path_buffer,
                         int path_buffer_len);

static zhandle_t *zh;

static void creating(void) {
    char path[256] = "untouched", cut[8];
    struct Stat stat;
    struct ACL acl[] = {{ZOO_PERM_READ | ZOO_PERM_ADMIN, {"world", "anyone"}},
                        {ZOO_PERM_WRITE | ZOO_PERM_CREATE | ZOO_PERM_DELETE, {"ip", "127.0.0.1"}}};
    struct ACL_vector list = {2, acl}, none = {0, NULL};
    say("root: %d", zoo_create(zh, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0));
    int rc = zoo_create(zh, at("/a"), "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    say("create: %d %s", rc, path);
    rc = zoo_create(zh, at("/a"), "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    say("create again: %d %s", rc, path);
    rc = zoo_create(zh, at("/a/b/c"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    say("create an orphan: %d", rc);
    rc = zoo_create(zh, at("/cut"), NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, cut, sizeof cut);
    say("path in a short buffer: %d %d %d", rc, (int)strlen(cut), !strncmp(cut, root, 7));
    rc = zoo_create(zh, at("/s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, path, sizeof path);
    say("sequential: %d %s", rc, path);
    rc = zoo_create(zh, at("/es-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE, path,
                    sizeof path);
    say("ephemeral and sequential: %d %s", rc, path);
    rc = zoo_create(zh, at("/e"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, path, sizeof path);
    say("ephemeral: %d", rc);
    rc = zoo_create(zh, at("/e/child"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    say("below an ephemeral: %d", rc);
    rc = zoo_create(zh, at("/container"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, NULL, 0);
    say("container: %d", rc);
    rc = zoo_create(zh, at("/ttl"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, NULL, 0);
    say("a TTL mode without a TTL: %d", rc);
    rc = zoo_create_ttl(zh, at("/ttl"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL,
                        100000, path, sizeof path);
    say("TTL: %d %s", rc, path);
    rc = zoo_create_ttl(zh, at("/ttl-"), "", 0, &ZOO_OPEN_ACL_UNSAFE,
                        ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 100000, path, sizeof path);
    say("sequential TTL: %d %s", rc, path);
    static const int64_t ttls[] = {-1, 0, 0x10000000000, 0xffffffffff};
    for (int i = 0; i < 4; i++)
        say("TTL at its limits: %d",
            zoo_create_ttl(zh, at("/long"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 5, ttls[i], NULL, 0));
    say("TTL of another mode: %d",
        zoo_create_ttl(zh, at("/x"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, 1000, NULL, 0));
    rc = zoo_create2(zh, at("/two"), "12345", 5, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path, &stat);
    say("create2: %s", path);
    say_stat("create2", rc, &stat);
    rc = zoo_create2_ttl(zh, at("/two-ttl"), "1", 1, &ZOO_OPEN_ACL_UNSAFE, 5, 100000, path,
                         sizeof path, &stat);
    say("create2_ttl: %s", path);
    say_stat("create2_ttl", rc, &stat);
    say("create2 without a place for the stat: %d",
        zoo_create2(zh, at("/two2"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0, NULL));
    for (int mode = -1; mode < 10; mode += 8)
        say("mode %d: %d", mode,
            zoo_create(zh, at("/x"), "", 0, &ZOO_OPEN_ACL_UNSAFE, mode, NULL, 0));
    say("acl: %d", zoo_create(zh, at("/acl"), "", 0, &list, 0, NULL, 0));
    say("empty acl: %d", zoo_create(zh, at("/x"), "", 0, &none, 0, NULL, 0));
    say("no acl: %d", zoo_create(zh, at("/x"), "", 0, NULL, 0, NULL, 0));
    say("acl of nobody: %d", zoo_create(zh, at("/x"), "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    say("read only: %d", zoo_create(zh, at("/ro"), "", 0, &ZOO_READ_ACL_UNSAFE, 0, NULL, 0));
}

static void bad_paths(void) {
    static const char *const paths[] = {"", "x", "/x/", "//x", "/x//y", "/./x", "/x/..", "/\x01",
                                        "/x/\x1e", "/.x", "/...", "/x."};
    int len = 0;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        say("path %d: %d", (int)i, zoo_exists(zh, paths[i], 0, NULL) == ZBADARGUMENTS);
    say("no path: %d %d %d", zoo_exists(zh, NULL, 0, NULL), zoo_delete(zh, NULL, -1),
        zoo_get(zh, NULL, 0, NULL, &len, NULL));
    say("no handle: %d", zoo_delete(NULL, "/", -1));
    say("no length: %d", zoo_get(zh, "/", 0, NULL, NULL, NULL));
}

static void reading(void) {
    char data[16] = "untouched";
    int len = sizeof data;
    struct Stat stat;
    struct String_vector names = {77, NULL};
    int rc = zoo_exists(zh, at("/a"), 0, &stat);
    say_stat("exists", rc, &stat);
    say("exists not: %d", zoo_exists(zh, at("/none"), 0, NULL));
    rc = zoo_get(zh, at("/a"), 0, data, &len, &stat);
    say_data("get", rc, data, len);
    say_stat("get", rc, &stat);
    len = 2;
    rc = zoo_get(zh, at("/a"), 0, data, &len, NULL);
    say_data("get cut", rc, data, len);
    len = sizeof data;
    rc = zoo_get(zh, at("/cut"), 0, data, &len, &stat);
    say_data("get null", rc, data, len);
    len = sizeof data;
    say("get not: %d", zoo_get(zh, at("/none"), 0, data, &len, &stat));
    rc = zoo_get_children(zh, root, 0, &names);
    say_names("children", rc, &names);
    say("free: %d %d", deallocate_String_vector(&names), names.data == NULL);
    rc = zoo_get_children(zh, at("/a"), 0, &names);
    say("no children: %d %d", rc, names.count);
    (void)deallocate_String_vector(&names);
    names = (struct String_vector){77, NULL};
    rc = zoo_get_children(zh, at("/none"), 0, &names);
    say("children of nothing: %d %d", rc, names.count);
    rc = zoo_get_children2(zh, root, 0, &names, &stat);
    say_names("children2", rc, &names);
    say_stat("children2", rc, &stat);
    (void)deallocate_String_vector(&names);
}

static void writing(void) {
    struct Stat stat;
    char data[8];
    int len = sizeof data, rc;
    say("set: %d", zoo_set(zh, at("/a"), "two!", 4, 0));
    say("set with an old version: %d", zoo_set(zh, at("/a"), "x", 1, 0));
    rc = zoo_set2(zh, at("/a"), "three", 5, -1, &stat);
    say_stat("set2", rc, &stat);
    rc = zoo_set2(zh, at("/a"), NULL, -1, -1, &stat);
    say_stat("set null", rc, &stat);
    rc = zoo_get(zh, at("/a"), 0, data, &len, NULL);
    say("null is not empty: %d %d", rc, len);
    say("set nothing there: %d", zoo_set(zh, at("/none"), "", 0, -1));
    say("set what may only be read: %d", zoo_set(zh, at("/ro"), "", 0, -1));
    say("delete: %d", zoo_delete(zh, at("/two"), 0));
    say("delete again: %d", zoo_delete(zh, at("/two"), -1));
    say("delete another version: %d", zoo_delete(zh, at("/two2"), 5));
    say("delete the root: %d", zoo_delete(zh, root, -1));
}

static void acls(void) {
    struct ACL_vector list = {77, NULL};
    struct Stat stat;
    int rc = zoo_get_acl(zh, at("/acl"), &list, &stat);
    say_acl("acl", rc, &list);
    say_stat("acl", rc, &stat);
    say("free: %d", deallocate_ACL_vector(&list));
    say("set_acl: %d", zoo_set_acl(zh, at("/acl"), 0, &ZOO_OPEN_ACL_UNSAFE));
    say("set_acl with an old version: %d", zoo_set_acl(zh, at("/acl"), 0, &ZOO_OPEN_ACL_UNSAFE));
    rc = zoo_get_acl(zh, at("/acl"), &list, &stat);
    say_acl("acl", rc, &list);
    (void)deallocate_ACL_vector(&list);
    say("acl of nothing: %d", zoo_get_acl(zh, at("/none"), &list, &stat));
    say("set_acl of nothing: %d", zoo_set_acl(zh, at("/none"), -1, &ZOO_OPEN_ACL_UNSAFE));
}

static void say_results(const char *what, int rc, const zoo_op_result_t *results, int n) {
    say("%s: %d", what, rc);
    for (int i = 0; i < n; i++) {
        const char *value = results[i].value;
        if (!value) value = "-";
        if (strlen(value) < strlen(root) && !strncmp(value, root, strlen(value))) value = "cut";
        say("  %d value %s len %d stat %d", results[i].err, value, results[i].valuelen,
            results[i].stat != NULL);
    }
}

static void multi(void) {
    zoo_op_t ops[5];
    zoo_op_result_t results[5];
    char path[256] = "", small[4] = "";
    struct Stat stat = {0};
    int n = 0;
    memset(results, 0, sizeof results);
    zoo_create_op_init(&ops[n++], at("/m"), "m", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_create_op_init(&ops[n++], at("/m/e-"), NULL, -1, &ZOO_OPEN_ACL_UNSAFE,
                       ZOO_EPHEMERAL_SEQUENTIAL, small, sizeof small);
    zoo_set_op_init(&ops[n++], at("/m"), "mm", 2, 0, &stat);
    zoo_check_op_init(&ops[n++], at("/m"), 1);
    zoo_delete_op_init(&ops[n++], at("/two2"), -1);
    say_results("multi", zoo_multi(zh, n, ops, results), results, n);
    say("multi: %s", path);
    say_stat("multi", 0, &stat);
    memset(results, 0, sizeof results);
    zoo_check_op_init(&ops[3], at("/m"), 99);
    zoo_create_op_init(&ops[0], at("/m2"), "m", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    say_results("multi that fails", zoo_multi(zh, n, ops, results), results, n);
    say("nothing of it is done: %d", zoo_exists(zh, at("/m2"), 0, NULL));
    zoo_check_op_init(&ops[0], root, -1);
    zoo_create_op_init(&ops[1], at("/m2"), "m", 1, NULL, 0, path, sizeof path);
    zoo_create_op_init(&ops[2], at("/m3"), "m", 1, NULL, 0, path, sizeof path);
    memset(results, 0, sizeof results);
    say_results("multi without an acl", zoo_multi(zh, 3, ops, results), results, 3);
    say("empty multi: %d", zoo_multi(zh, 0, ops, results));
    zoo_delete_op_init(&ops[0], "no/slash", -1);
    say("multi with a bad path: %d", zoo_multi(zh, 1, ops, results));
    zoo_create2_op_init(&ops[0], "/c2", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    say("types of operations: %d", ops[0].type);
    for (int mode = 0; mode < 7; mode++) {
        zoo_create_op_init(&ops[0], "/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, mode, path, sizeof path);
        say("  %d: %d", mode, ops[0].type);
    }
}

static void configuration(void) {
    char data[512];
    int len = sizeof data;
    struct Stat stat;
    int rc = zoo_getconfig(zh, 0, data, &len, &stat);
    say("config: %d %d", rc, len >= 0);
    len = sizeof data;
    rc = zoo_reconfig(zh, "server.9=127.0.0.1:1:2;3", NULL, NULL, -1, data, &len, &stat);
    say("reconfig: %d", rc);
}

/* Below a root of its own a client sees nothing of the rest. */
static void chroot(void) {
    char hosts[512], path[64];
    struct String_vector names;
    (void)snprintf(hosts, sizeof hosts, "%s%s", address, at("/m"));
    zhandle_t *jail = open_client(hosts);
    int rc = zoo_create(jail, "/inside", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    say("inside: %d %s", rc, path);
    rc = zoo_get_children(jail, "/", 0, &names);
    say("inside: %d %d", rc, names.count);
    (void)deallocate_String_vector(&names);
    say("seen from outside: %d", zoo_exists(zh, at("/m/inside"), 0, NULL));
    say("close: %d", zookeeper_close(jail));
}

int main(int argc, char **argv) {
    begin(argc, argv);
    zh = open_client(address);
    creating();
    bad_paths();
    reading();
    writing();
    acls();
    multi();
    configuration();
    chroot();
    say("close: %d", zookeeper_close(zh));
    return 0;
}
