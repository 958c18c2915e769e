/* Every asynchronous operation, and what its completion is given. Compiled for the library with
 * threads and, with ZOO_LOOP, for the one without. */
#include "capi.h"
#include "loop.h"

static _Atomic int due;

/* Each completion checks that it gets its context. */
static const char *took(const void *data) {
    due--;
    return data;
}

static void on_nothing(int rc, const void *data) { say("%s: %d", took(data), rc); }

static void on_stat(int rc, const struct Stat *stat, const void *data) {
    say_stat(took(data), rc, stat);
}

static void on_data(int rc, const char *value, int len, const struct Stat *stat,
                    const void *data) {
    say_data(took(data), rc, value, len);
    say_stat(data, rc, stat);
}

static void on_config(int rc, const char *value, int len, const struct Stat *stat,
                      const void *data) {
    say("%s: %d %d %d", took(data), rc, len >= 0 || !value, stat != NULL);
}

static void on_strings(int rc, const struct String_vector *strings, const void *data) {
    say_names(took(data), rc, strings);
}

static void on_strings_stat(int rc, const struct String_vector *strings, const struct Stat *stat,
                            const void *data) {
    say_names(took(data), rc, strings);
    say_stat(data, rc, stat);
}

static void on_string(int rc, const char *value, const void *data) {
    say("%s: %d %s", took(data), rc, value ? value : "NULL");
}

static void on_string_stat(int rc, const char *value, const struct Stat *stat, const void *data) {
    say("%s: %d %s", took(data), rc, value ? value : "NULL");
    say_stat(data, rc, stat);
}

static void on_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *data) {
    say_acl(took(data), rc, acl);
    say_stat(data, rc, stat);
}

/* What is due when the handle is closed may still be done, or not. */
static void on_closing(int rc, const struct Stat *stat, const void *data) {
    if (!!rc == !!stat || (rc && rc != ZCLOSING)) say("%s: %d", (const char *)data, rc);
    due--;
}

static zhandle_t *zh;

/* What was submitted, all at once: answers come in its order, a refusal behind those that are due. */
static void submitted(const char *what, int rc) {
    if (!rc) return;
    due--;
    finish(zh, &due);
    say("%s refused: %d", what, rc);
}

#define DO(name, ...)                                   \
    do {                                                \
        due++;                                          \
        submitted(#name, name(zh, __VA_ARGS__, #name)); \
    } while (0)

static void creating(void) {
    DO(zoo_acreate, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, on_string);
    DO(zoo_acreate, at("/a"), "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, on_string);
    DO(zoo_acreate, at("/a"), "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, on_string);
    DO(zoo_acreate, at("/s-"), NULL, -1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE,
       on_string);
    DO(zoo_acreate, at("/x"), NULL, -1, NULL, 0, on_string);
    DO(zoo_acreate, "bad", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, on_string);
    DO(zoo_acreate, at("/bad"), NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 17, on_string);
    DO(zoo_acreate_ttl, at("/ttl"), "t", 1, &ZOO_OPEN_ACL_UNSAFE, 5, 100000, on_string);
    DO(zoo_acreate_ttl, at("/ttl"), "t", 1, &ZOO_OPEN_ACL_UNSAFE, 5, 0, on_string);
    DO(zoo_acreate2, at("/b"), "four", 4, &ZOO_READ_ACL_UNSAFE, 0, on_string_stat);
    DO(zoo_acreate2, at("/none/b"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, on_string_stat);
    DO(zoo_acreate2_ttl, at("/t-"), "", 0, &ZOO_OPEN_ACL_UNSAFE,
       ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 100000, on_string_stat);
}

static void reading(void) {
    DO(zoo_aexists, at("/a"), 0, on_stat);
    DO(zoo_aexists, at("/none"), 0, on_stat);
    DO(zoo_awexists, at("/a"), NULL, NULL, on_stat);
    DO(zoo_aget, at("/a"), 0, on_data);
    DO(zoo_aget, at("/s-none"), 0, on_data);
    DO(zoo_awget, at("/b"), NULL, NULL, on_data);
    DO(zoo_aget_children, root, 0, on_strings);
    DO(zoo_aget_children, at("/a"), 0, on_strings);
    DO(zoo_aget_children, at("/none"), 0, on_strings);
    DO(zoo_awget_children, root, NULL, NULL, on_strings);
    DO(zoo_aget_children2, root, 0, on_strings_stat);
    DO(zoo_aget_children2, at("/none"), 0, on_strings_stat);
    DO(zoo_awget_children2, at("/a"), NULL, NULL, on_strings_stat);
    DO(zoo_aget_acl, at("/b"), on_acl);
    DO(zoo_aget_acl, at("/none"), on_acl);
    DO(zoo_async, at("/a"), on_string);
    DO(zoo_agetconfig, 0, on_config);
    DO(zoo_awgetconfig, NULL, NULL, on_config);
    DO(zoo_areconfig, NULL, "9", NULL, -1, on_config);
}

static void writing(void) {
    static zoo_op_t ops[4];
    static zoo_op_result_t results[4];
    static struct Stat stat;
    static char path[256];
    DO(zoo_aset, at("/a"), "two", 3, 0, on_stat);
    DO(zoo_aset, at("/a"), "two", 3, 0, on_stat);
    DO(zoo_aset, at("/b"), "two", 3, -1, on_stat);
    DO(zoo_aset_acl, at("/a"), 0, &ZOO_READ_ACL_UNSAFE, on_nothing);
    finish(zh, &due); /* stock may not see an ACL that is being set */
    DO(zoo_aset_acl, at("/a"), 5, &ZOO_READ_ACL_UNSAFE, on_nothing);
    DO(zoo_adelete, at("/ttl"), 7, on_nothing);
    DO(zoo_adelete, at("/ttl"), 0, on_nothing);
    zoo_create_op_init(&ops[0], at("/m"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_set_op_init(&ops[1], at("/m"), "12", 2, -1, &stat);
    zoo_check_op_init(&ops[2], at("/m"), 1);
    zoo_delete_op_init(&ops[3], at("/none"), -1);
    memset(results, 0, sizeof results);
    DO(zoo_amulti, 3, ops, results, on_nothing);
    finish(zh, &due);
    for (int i = 0; i < 3; i++) say("  %d", results[i].err);
    say("  %s %d", path, stat.version);
    ops[0] = ops[2];
    DO(zoo_amulti, 4, ops, results, on_nothing);
    finish(zh, &due);
    for (int i = 0; i < 4; i++) say("  %d", results[i].err);
}

static void identities(void) {
    DO(zoo_add_auth, "digest", "ann:secret", 10, on_nothing);
    DO(zoo_acreate, at("/mine"), "", 0, &ZOO_CREATOR_ALL_ACL, 0, on_string);
    finish(zh, &due);
    DO(zoo_aget_acl, at("/mine"), on_acl);
    finish(zh, &due);
    say("no scheme: %d", zoo_add_auth(zh, NULL, "x", 1, on_nothing, "none"));
    say("no completion: %d", zoo_add_auth(zh, "digest", "bob:secret", 10, NULL, NULL));
    DO(zoo_acreate, at("/mine/2"), "", 0, &ZOO_CREATOR_ALL_ACL, 0, on_string);
    finish(zh, &due);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    zh = open_loop_client(address);
    creating();
    finish(zh, &due);
    reading();
    finish(zh, &due);
    writing();
    identities();
    for (int i = 0; i < 100; i++) DO(zoo_aset, at("/m"), "", 0, -1, on_closing);
    say("close: %d", zookeeper_close(zh));
    return 0;
}
