/* Watchers: who is told of what, how often, and when they are gone. Compiled for both forms of the
 * library, see async.c. */
#include "capi.h"
#include "loop.h"

static zhandle_t *zh;
static _Atomic int due;

/* What was said by watchers, in order of names: those of one event come in any. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *told[64];
static int told_count;

static void note(const char *who, int type, int state, const char *path) {
    char text[512];
    (void)snprintf(text, sizeof text, "  %s: type %d state %d path %s", who, type, state, path);
    (void)pthread_mutex_lock(&lock);
    told[told_count++] = strdup(text);
    (void)pthread_mutex_unlock(&lock);
}

static void on_event(zhandle_t *from, int type, int state, const char *path, void *ctx) {
    note(ctx, type, state, path);
    if (from != zh) note("another handle", type, state, path);
}

static void on_other(zhandle_t *from, int type, int state, const char *path, void *ctx) {
    on_event(from, type, state, path, ctx);
    note("and by another function", type, state, path);
}

static void on_stat(int rc, const struct Stat *stat, const void *data) {
    (void)rc, (void)stat, (void)data;
    due--;
}
static void on_data(int rc, const char *value, int len, const struct Stat *stat,
                    const void *data) {
    (void)rc, (void)value, (void)len, (void)stat, (void)data;
    due--;
}
static void on_strings(int rc, const struct String_vector *strings, const void *data) {
    (void)rc, (void)strings, (void)data;
    due--;
}
static void on_strings_stat(int rc, const struct String_vector *strings, const struct Stat *stat,
                            const void *data) {
    (void)rc, (void)strings, (void)stat, (void)data;
    due--;
}
static void on_string(int rc, const char *value, const void *data) {
    (void)rc, (void)value, (void)data;
    due--;
}
static void on_nothing(int rc, const void *data) {
    if (data) say("%s: %d", (const char *)data, rc);
    due--;
}

/* Submits and waits. */
#define DO(name, ...)                               \
    do {                                            \
        due++;                                      \
        int rc_ = name(zh, __VA_ARGS__, NULL);      \
        if (rc_) due--;                             \
        if (rc_) say("%s refused: %d", #name, rc_); \
        finish(zh, &due);                           \
    } while (0)

/* Two answers later every event of what was done has come, on whatever thread. */
static void say_told(const char *when) {
    DO(zoo_async, root, on_string);
    DO(zoo_async, root, on_string);
    (void)pthread_mutex_lock(&lock);
    qsort(told, (size_t)told_count, sizeof *told, compare_names);
    say("%s:", when);
    for (int i = 0; i < told_count; i++) say("%s", told[i]);
    while (told_count) free(told[--told_count]);
    (void)pthread_mutex_unlock(&lock);
}

static void make(const char *name) {
    DO(zoo_acreate, at(name), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, on_string);
}
static void change(const char *name) { DO(zoo_aset, at(name), "x", 1, -1, on_stat); }
static void drop(const char *name) { DO(zoo_adelete, at(name), -1, on_nothing); }

static void one_shot(void) {
    make("/a");
    DO(zoo_awget, at("/a"), on_event, "get", on_data);
    DO(zoo_awexists, at("/a"), on_event, "exists", on_stat);
    DO(zoo_awexists, at("/b"), on_event, "exists not", on_stat);
    DO(zoo_awget, at("/b"), on_event, "get not", on_data);
    DO(zoo_awget_children, root, on_event, "children", on_strings);
    DO(zoo_awget_children2, at("/a"), on_event, "children2", on_strings_stat);
    change("/a");
    say_told("changed");
    change("/a");
    say_told("changed again");
    make("/b");
    say_told("created, once for the node and once for its parent");
    make("/a/child");
    say_told("a child");
    drop("/a/child");
    say_told("no child any more");
    DO(zoo_awget, at("/a"), on_event, "get", on_data);
    DO(zoo_awget_children, at("/a"), on_event, "children", on_strings);
    DO(zoo_awget_children, root, on_event, "parent", on_strings);
    drop("/a");
    say_told("deleted");
    make("/a");
    say_told("created again");
}

/* The same function and context is one watcher, by whatever calls. */
static void twice(void) {
    DO(zoo_awget, at("/a"), on_event, "one", on_data);
    DO(zoo_awget, at("/a"), on_event, "one", on_data);
    DO(zoo_awexists, at("/a"), on_event, "one", on_stat);
    DO(zoo_awget, at("/a"), on_other, "one", on_data);
    DO(zoo_awget, at("/a"), on_event, "two", on_data);
    change("/a");
    say_told("each once");
}

/* The watcher of the session is asked for by a flag, with the context of that moment. */
static void of_the_session(void) {
    say("context: %s", (const char *)zoo_get_context(zh));
    zoo_set_context(zh, "session");
    watcher_fn before = zoo_set_watcher(zh, on_event);
    say("the watcher before: %d", before == on_session);
    DO(zoo_aget, at("/a"), 1, on_data);
    DO(zoo_aexists, at("/c"), 1, on_stat);
    DO(zoo_aget_children, root, 1, on_strings);
    DO(zoo_aget_children2, at("/a"), 1, on_strings_stat);
    zoo_set_context(zh, "later");
    say("the watcher before: %d", zoo_set_watcher(zh, on_other) == on_event);
    change("/a");
    make("/c");
    make("/a/1");
    say_told("by the session's watcher");
    DO(zoo_agetconfig, 1, on_data);
    DO(zoo_awgetconfig, on_event, "config", on_data);
    say_told("config");
    drop("/a/1");
}

static void_completion_t *completion(void) {
    void_completion_t fn = on_nothing;
    void_completion_t *cast;
    memcpy(&cast, &fn, sizeof cast);
    return cast;
}

#define REMOVE(name, what, ...)                                 \
    do {                                                        \
        due++;                                                  \
        int rc_ = name(zh, __VA_ARGS__, 0, completion(), what); \
        if (rc_) due--;                                         \
        if (rc_) say(what " refused: %d", rc_);                 \
        finish(zh, &due);                                       \
    } while (0)

static void removed(void) {
    DO(zoo_awget, at("/a"), on_event, "data 1", on_data);
    DO(zoo_awget, at("/a"), on_event, "data 2", on_data);
    DO(zoo_awget_children, at("/a"), on_event, "child", on_strings);
    REMOVE(zoo_aremove_watches, "one of two", at("/a"), ZWATCHTYPE_DATA, on_event, "data 1");
    REMOVE(zoo_aremove_watches, "it again", at("/a"), ZWATCHTYPE_DATA, on_event, "data 1");
    REMOVE(zoo_aremove_watches, "another type", at("/a"), ZWATCHTYPE_CHILD, on_event, "data 2");
    REMOVE(zoo_aremove_watches, "another function", at("/a"), ZWATCHTYPE_DATA, on_other, "data 2");
    REMOVE(zoo_aremove_watches, "nowhere", at("/none"), ZWATCHTYPE_ANY, on_event, "data 2");
    change("/a");
    say_told("the one that is left");
    REMOVE(zoo_aremove_watches, "of any type", at("/a"), ZWATCHTYPE_ANY, on_event, "child");
    make("/a/2");
    say_told("none is left");
    drop("/a/2");
    DO(zoo_awget, at("/a"), on_event, "data 1", on_data);
    DO(zoo_awget, at("/a"), on_event, "data 2", on_data);
    REMOVE(zoo_aremove_all_watches, "all", at("/a"), ZWATCHTYPE_DATA);
    REMOVE(zoo_aremove_all_watches, "all again", at("/a"), ZWATCHTYPE_DATA);
    change("/a");
    say_told("all removed");
}

#ifndef ZOO_LOOP
static void synchronous(void) {
    char data[8];
    int len = sizeof data;
    struct Stat stat;
    struct String_vector names;
    zoo_set_watcher(zh, on_event);
    zoo_set_context(zh, "session");
    say("get: %d", zoo_get(zh, at("/a"), 1, data, &len, &stat));
    say("wget: %d", zoo_wget(zh, at("/a"), on_event, "sync get", data, &len, &stat));
    say("exists: %d", zoo_exists(zh, at("/d"), 1, &stat));
    say("wexists: %d", zoo_wexists(zh, at("/d"), on_event, "sync exists", &stat));
    say("children: %d", zoo_get_children(zh, root, 1, &names));
    (void)deallocate_String_vector(&names);
    say("wchildren: %d", zoo_wget_children(zh, root, on_event, "sync children", &names));
    (void)deallocate_String_vector(&names);
    change("/a");
    make("/d");
    say_told("synchronous");
    say("children2: %d", zoo_get_children2(zh, root, 1, &names, &stat));
    (void)deallocate_String_vector(&names);
    say("wchildren2: %d",
        zoo_wget_children2(zh, at("/a"), on_event, "sync children2", &names, &stat));
    (void)deallocate_String_vector(&names);
    drop("/a");
    say_told("synchronous");
    len = 0;
    say("getconfig: %d", zoo_getconfig(zh, 1, NULL, &len, &stat));
    say("wgetconfig: %d", zoo_wgetconfig(zh, on_event, "sync config", NULL, &len, &stat));
    make("/a");
    len = sizeof data;
    for (int local = 0; local < 2; local++) {
        say("wget: %d", zoo_wget(zh, at("/a"), on_event, "sync get", data, &len, NULL));
        for (int i = 0; i < 2; i++)
            say("remove: %d", zoo_remove_watches(zh, at("/a"), ZWATCHTYPE_DATA, on_event,
                                                 "sync get", local));
    }
    say("wget: %d", zoo_wget(zh, at("/d"), on_event, "sync get", data, &len, NULL));
    say("remove all: %d", zoo_remove_all_watches(zh, at("/d"), ZWATCHTYPE_ANY, 0));
    say("remove all: %d", zoo_remove_all_watches(zh, at("/d"), ZWATCHTYPE_ANY, 0));
    change("/a");
    change("/d");
    say_told("removed");
}

/* A watcher may call whatever it likes, and set itself again. */
static struct counter rounds = COUNTER;

static void on_round(zhandle_t *from, int type, int state, const char *path, void *ctx) {
    char data[8];
    int len = sizeof data;
    struct Stat stat;
    if (type != ZOO_CHANGED_EVENT) return;
    int rc = zoo_wget(from, path, on_round, ctx, data, &len, &stat);
    say("round: %d state %d version %d", rc, state, stat.version);
    count_one(&rounds);
}

static void in_watchers(void) {
    char data[8];
    int len = sizeof data;
    make("/w");
    say("wget: %d", zoo_wget(zh, at("/w"), on_round, NULL, data, &len, NULL));
    for (int i = 0; i < 5; i++) {
        change("/w");
        wait_count(&rounds, 1, "no round");
    }
}
#endif

/* Of the end, by those who watch the nodes and by the session's watcher. What else there is depends
 * on the form of the library. */
static int is_of_the_end(const char *text) {
    return !strstr(text, "session") && !strstr(text, "config");
}

static int count_told(void) {
    int n = 0;
    (void)pthread_mutex_lock(&lock);
    for (int i = 0; i < told_count; i++) n += is_of_the_end(told[i]);
    (void)pthread_mutex_unlock(&lock);
    return n;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    zh = open_loop_client(address);
    zoo_set_context(zh, "first");
    DO(zoo_acreate, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, on_string);
    one_shot();
    twice();
    of_the_session();
    removed();
#ifndef ZOO_LOOP
    synchronous();
    in_watchers();
#endif
    /* A refused identity ends the session; everybody who watches is told, each once. */
    DO(zoo_awget, at("/b"), on_event, "data", on_data);
    DO(zoo_awget_children, at("/b"), on_event, "data", on_strings);
    DO(zoo_awget, at("/c"), on_event, "data", on_data);
    DO(zoo_awget, at("/b"), on_event, "more data", on_data);
    due = 1;
    say("refused: %d", zoo_add_auth(zh, "nosuch", "x", 1, on_nothing, "identity"));
    finish(zh, &due);
    for (time_t until = time(NULL) + WAIT_S; count_told() < 4 && time(NULL) < until;)
        turn(zh);
    qsort(told, (size_t)told_count, sizeof *told, compare_names);
    for (int i = 0; i < told_count; i++)
        if (is_of_the_end(told[i])) say("%s", told[i]);
    while (told_count) free(told[--told_count]);
    say("state: %d %d", zoo_state(zh), is_unrecoverable(zh));
    say("refused now: %d", zoo_aget(zh, root, 0, on_data, NULL));
    say("close: %d", zookeeper_close(zh));
    return 0;
}
