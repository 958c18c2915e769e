/* Where the C client of stock crashes, hangs or forgets: only for ours. */
#include "capi.h"

static struct counter done = COUNTER;

static void on_exists(int rc, const struct Stat *stat, const void *data) {
    if (!rc != !!stat) say("exists: %d %d", rc, stat != NULL);
    if (rc && data) *(int *)data = rc;
    count_one(&done);
}

static void no_pointers(zhandle_t *zh) {
    struct Stat stat;
    struct String_vector names;
    int len = 0;
    zoo_op_t op;
    say("no handle: %d %d %d", zoo_exists(NULL, "/", 1, &stat), zoo_multi(NULL, 0, NULL, NULL),
        zoo_get_children(NULL, "/", 1, &names));
    say("no handle: %d %d", zoo_aexists(NULL, "/", 1, on_exists, NULL),
        zoo_add_auth(NULL, "digest", "a:b", 3, NULL, NULL));
    say("no path: %d %d %d %d", zoo_get(zh, NULL, 0, NULL, &len, NULL),
        zoo_set(zh, NULL, "", 0, -1), zoo_get_children(zh, NULL, 0, &names),
        zoo_aget(zh, NULL, 0, NULL, NULL));
    say("no length: %d", zoo_get(zh, root, 0, NULL, NULL, NULL));
    say("no stat: %d", zoo_get_children2(zh, root, 0, &names, NULL));
    (void)deallocate_String_vector(&names);
    say("no names: %d", zoo_get_children(zh, root, 0, NULL));
    say("no acl: %d", zoo_set_acl(zh, root, -1, NULL));
    say("no operations: %d", zoo_multi(zh, 2, NULL, NULL));
    zoo_delete_op_init(&op, NULL, -1);
    say("no path in a multi: %d", zoo_multi(zh, 1, &op, NULL));
    say("no completion: %d", zoo_aexists(zh, root, 0, NULL, NULL));
    zoo_create_op_init(NULL, "/", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_create2_op_init(NULL, "/", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_delete_op_init(NULL, "/", -1);
    zoo_set_op_init(NULL, "/", "", 0, -1, NULL);
    zoo_check_op_init(NULL, "/", -1);
    say("no vector: %d %d", deallocate_String_vector(NULL), deallocate_ACL_vector(NULL));
    say("no handle: %d %d", zoo_get_context(NULL) == NULL, zoo_set_watcher(NULL, NULL) == NULL);
}

static void multi(zhandle_t *zh) {
    zoo_op_t ops[3];
    zoo_op_result_t results[3];
    char paths[3][256];
    memset(results, 0, sizeof results);
    zoo_create_op_init(&ops[0], at("/container"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER,
                       paths[0], sizeof paths[0]);
    zoo_create_op_init(&ops[1], at("/ttl-"), "", 0, &ZOO_OPEN_ACL_UNSAFE,
                       ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, paths[1], sizeof paths[1]);
    ops[1].create_op.ttl = 100000;
    zoo_create2_op_init(&ops[2], at("/two"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, paths[2],
                        sizeof paths[2]);
    say("multi: %d", zoo_multi(zh, 3, ops, results));
    for (int i = 0; i < 3; i++) say("  %d %s %s", results[i].err, results[i].value, paths[i]);
    ops[0].type = 99;
    say("unknown operation: %d", zoo_multi(zh, 3, ops, results));
}

static void chrooted(void) {
    char hosts[512], data[64];
    int len = sizeof data;
    zoo_op_t op;
    struct Stat stat;
    (void)snprintf(hosts, sizeof hosts, "%s%s", address, at("/two"));
    zhandle_t *zh = open_client(hosts);
    say("configuration below a root of one's own: %d", zoo_getconfig(zh, 0, data, &len, &stat));
    say("no path: %d", zoo_exists(zh, NULL, 0, NULL));
    zoo_delete_op_init(&op, "bad", -1);
    say("bad path in a multi: %d", zoo_multi(zh, 1, &op, NULL));
    say("close: %d", zookeeper_close(zh));
}

static void on_nothing(int rc, const void *data) {
    say("%s: %d", (const char *)data, rc);
    count_one(&done);
}

static void no_watcher(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
    (void)zh, (void)ctx;
    if (type != ZOO_SESSION_EVENT) say("watcher: %d %d %s", type, state, path);
}

static int told;

static void count_told(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
    (void)zh, (void)state, (void)path, (void)ctx;
    told += type == ZOO_CHANGED_EVENT;
}

static void on_removed(int rc, const void *data) {
    (void)data;
    if (rc) say("removed: %d", rc);
    count_one(&done);
}

/* A watcher that is set while its removal is still to be confirmed stays. */
static void removed_and_set(zhandle_t *zh) {
    void_completion_t fn = on_removed;
    void_completion_t *cast;
    memcpy(&cast, &fn, sizeof cast);
    for (int i = 0; i < 20; i++) {
        if (zoo_wexists(zh, root, count_told, NULL, NULL)) fail("watch");
        if (zoo_aremove_watches(zh, root, ZWATCHTYPE_DATA, count_told, NULL, 0, cast, NULL))
            fail("remove");
        if (zoo_wexists(zh, root, count_told, NULL, NULL)) fail("watch");
        wait_count(&done, 1, "a removal");
        if (zoo_set(zh, root, "x", 1, -1)) fail("set");
        if (zoo_aexists(zh, root, 0, on_exists, NULL)) fail("exists");
        wait_count(&done, 1, "an answer");
    }
    say("told: %d", told);
}

static void removed_locally(zhandle_t *zh) {
    void_completion_t fn = on_nothing;
    void_completion_t *cast;
    memcpy(&cast, &fn, sizeof cast);
    say("watch: %d", zoo_wexists(zh, root, no_watcher, NULL, NULL));
    int rc = zoo_aremove_watches(zh, root, ZWATCHTYPE_DATA, no_watcher, NULL, 1, cast,
                                 "removed locally");
    wait_count(&done, 1, "a removal");
    say("remove: %d", rc);
    say("watch: %d", zoo_wexists(zh, root, no_watcher, NULL, NULL));
    rc = zoo_aremove_all_watches(zh, root, ZWATCHTYPE_ANY, 1, cast, "all of them");
    wait_count(&done, 1, "a removal");
    say("remove: %d", rc);
    say("set: %d", zoo_set(zh, root, "x", 1, -1));
    /* A watcher that is removed and set again at once is told. */
    for (int i = 0; i < 20; i++) {
        if (zoo_wexists(zh, root, no_watcher, NULL, NULL)) fail("watch");
        if (zoo_remove_watches(zh, root, ZWATCHTYPE_DATA, no_watcher, NULL, 0)) fail("remove");
    }
    say("watch: %d", zoo_wexists(zh, root, no_watcher, NULL, NULL));
    rc = zoo_set(zh, root, "x", 1, -1);
    if (zoo_aexists(zh, root, 0, on_exists, NULL)) fail("exists");
    wait_count(&done, 1, "an answer");
    say("set: %d", rc);
}

static zhandle_t *identified;

static void on_auth(int rc, const void *data) {
    (void)data;
    int called = zoo_exists(identified, "/", 0, NULL);
    say("identity: %d, a call meanwhile: %d", rc, called);
    count_one(&done);
}

/* Before there is a connection, and synchronous calls while it is confirmed. */
static void identity(void) {
    identified = zookeeper_init(address, on_session, TIMEOUT_MS, NULL, NULL, ZOO_NO_LOG_CLIENTENV);
    int rc = zoo_add_auth(identified, "digest", "ann:secret", 10, on_auth, NULL);
    wait_count(&done, 1, "an identity");
    say("add: %d", rc);
    say("mine: %d", zoo_create(identified, at("/mine"), "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    wait_count(&connected, 1, "a connection");
    say("close: %d", zookeeper_close(identified));
}

static void other_servers(void) {
    zhandle_t *zh = zookeeper_init("127.0.0.1:1", on_session, TIMEOUT_MS, NULL, NULL,
                                   ZOO_NO_LOG_CLIENTENV);
    say("bad lists: %d %d", zoo_set_servers(zh, "127.0.0.1"), zoo_set_servers(zh, ""));
    say("only another port: %d", zoo_set_servers(zh, address));
    say("works: %d", zoo_exists(zh, "/", 0, NULL));
    wait_count(&connected, 1, "a connection");
    say("close: %d", zookeeper_close(zh));
}

static void on_busy(int rc, const struct Stat *stat, const void *data) {
    (void)stat;
    count_one(&done);
    while (!rc) rc = zoo_exists((zhandle_t *)data, "/", 0, NULL);
    say("a call while the handle is closed: %d", rc == ZCLOSING || rc == ZINVALIDSTATE);
}

static void closed_under_a_call(void) {
    zhandle_t *zh = open_client(address);
    if (zoo_aexists(zh, "/", 0, on_busy, zh)) fail("exists");
    wait_count(&done, 1, "a completion");
    int rc = zookeeper_close(zh);
    say("close: %d", rc);
}

static void nobody_there(void) {
    int code = 0;
    zoo_op_t op;
    zoo_op_result_t result = {.err = 77};
    zhandle_t *zh = zookeeper_init("127.0.0.1:1", on_session, 600, NULL, NULL,
                                   ZOO_NO_LOG_CLIENTENV);
    say("no connection in time: %d", zoo_exists(zh, "/", 0, NULL));
    zoo_check_op_init(&op, "/", -1);
    int rc = zoo_multi(zh, 1, &op, &result);
    say("multi: %d %d", rc, result.err);
    (void)zookeeper_close(zh);
    zh = zookeeper_init("127.0.0.1:1", on_session, 60000, NULL, NULL, ZOO_NO_LOG_CLIENTENV);
    for (int i = 0; i < 50; i++)
        if (zoo_aexists(zh, "/", 0, on_exists, &code)) fail("exists");
    say("close: %d", zookeeper_close(zh));
    say("all were called: %d %d", done.count, code);
    done.count = 0;
}

/* What is null in a record stays null. */
static void records(void) {
    struct Id id = {NULL, NULL}, again;
    struct oarchive *out = create_buffer_oarchive();
    say("write: %d", serialize_Id(out, "id", &id));
    struct iarchive *in = create_buffer_iarchive(get_buffer(out), get_buffer_len(out));
    int rc = deserialize_Id(in, "id", &again);
    say("read: %d %d", rc, again.scheme == NULL && again.id == NULL);
    close_buffer_iarchive(&in);
    /* A vector that claims to be huge. */
    static char huge[] = {0x7f, -1, -1, -1, 0, 0, 0, 1, 'x'};
    struct String_vector names;
    in = create_buffer_iarchive(huge, sizeof huge);
    say("too long: %d", deserialize_String_vector(in, "names", &names) != 0);
    close_buffer_iarchive(&in);
    close_buffer_oarchive(&out, 1);
    /* Of 3.9: the last member. */
    struct ConnectRequest greeting = {.passwd = {2, "ab"}, .readOnly = 1};
    out = create_buffer_oarchive();
    rc = serialize_ConnectRequest(out, "greeting", &greeting);
    say("greeting: %d %d bytes, the last %d", rc, get_buffer_len(out), get_buffer(out)[30]);
    close_buffer_oarchive(&out, 1);
    say("version: %s %d.%d.%d", ZOO_VERSION, ZOO_MAJOR_VERSION, ZOO_MINOR_VERSION,
        ZOO_PATCH_VERSION);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    zhandle_t *zh = open_client(address);
    say("root: %d", zoo_create(zh, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    no_pointers(zh);
    multi(zh);
    chrooted();
    removed_locally(zh);
    removed_and_set(zh);
    identity();
    other_servers();
    nobody_there();
    closed_under_a_call();
    records();
    say("close: %d", zookeeper_close(zh));
    return 0;
}
