/* Handles: how they are made, what they tell about themselves, how they end. */
#include "capi.h"

#include <arpa/inet.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zookeeper/zookeeper_log.h>

/* In the library of stock, though its header does not say so. */
int zoo_lock_auth(zhandle_t *zh);
int zoo_unlock_auth(zhandle_t *zh);
extern const int ZOO_SSL_CONNECTING_STATE;

#ifdef THREADED /* then the header of stock hides them, but the library has them */
int zookeeper_interest(zhandle_t *zh, int *fd, int *interest, struct timeval *tv);
int zookeeper_process(zhandle_t *zh, int events);
#endif

static struct counter ended = COUNTER, done = COUNTER, logged = COUNTER, gate = COUNTER;

static void on_end(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
    if (type != ZOO_SESSION_EVENT || state == ZOO_CONNECTING_STATE) return;
    say("session event: state %d path '%s' ctx %s", state, path ? path : "", (const char *)ctx);
    if (state == ZOO_CONNECTED_STATE) count_one(&connected);
    if (state < 0) say("unrecoverable: %d", is_unrecoverable(zh));
    if (state < 0) count_one(&ended);
}

static void refused_addresses(void) {
    static const char *const hosts[] = {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:1/a/",
                                        "127.0.0.1:1//", "127.0.0.1:1/./a",
                                        "no.such.name.invalid:1"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        errno = 0;
        zhandle_t *zh = zookeeper_init(hosts[i], on_end, TIMEOUT_MS, NULL, NULL, 0);
        say("%s: %d %s", hosts[i], zh != NULL,
            errno == EINVAL ? "EINVAL" : errno == ENOENT ? "ENOENT" : "another");
    }
    zhandle_t *zh = zookeeper_init(NULL, on_end, TIMEOUT_MS, NULL, NULL, 0);
    say("NULL: %d", zh != NULL);
}

static void facts(zhandle_t *zh) {
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    char text[64] = "";
    const clientid_t *id = zoo_client_id(zh);
    int any = 0;
    for (int i = 0; i < 16; i++) any |= id->passwd[i];
    say("id: %d %d", id->client_id != 0, any != 0);
    say("state: %d, to be given up: %d", zoo_state(zh), is_unrecoverable(zh));
    say("timeout: %d", zoo_recv_timeout(zh));
    say("context: %s", (const char *)zoo_get_context(zh));
    say("server: %d", !strcmp(zoo_get_current_server(zh), address));
    struct sockaddr *at = zookeeper_get_connected_host(zh, (struct sockaddr *)&peer, &len);
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&peer;
    (void)snprintf(text, sizeof text, "%s:%d", inet_ntoa(in->sin_addr), ntohs(in->sin_port));
    say("peer: %d %d %d", at == (struct sockaddr *)&peer, (int)len == (int)sizeof *in,
        !strcmp(text, address));
    say("no handle: %d %d", zoo_state(NULL), zookeeper_close(NULL));
    say("auth lock: %d", zoo_lock_auth(zh));
    say("auth lock: %d", zoo_unlock_auth(zh));
}

/* A process that dies leaves a session behind. */
static clientid_t left_behind(void) {
    clientid_t id = {0};
    int ends_of[2];
    if (pipe(ends_of)) fail("pipe");
    pid_t child = fork();
    if (!child) {
        zhandle_t *zh = open_client(address);
        if (zoo_create(zh, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0)) _exit(1);
        id = *zoo_client_id(zh);
        _exit(write(ends_of[1], &id, sizeof id) != sizeof id);
    }
    int status = 1;
    if (waitpid(child, &status, 0) != child || status) fail("child");
    if (read(ends_of[0], &id, sizeof id) != sizeof id) fail("read");
    return id;
}

/* A session goes on in another handle; with a wrong password it is gone. */
static void attached_again(clientid_t id) {
    struct Stat stat = {0};
    clientid_t wrong = id;
    wrong.passwd[0] ^= 1;
    zhandle_t *zh = zookeeper_init(address, on_end, TIMEOUT_MS, &wrong, "wrong", 0);
    wait_count(&ended, 1, "the end");
    say("state: %d, to be given up: %d", zoo_state(zh), is_unrecoverable(zh));
    say("call: %d", zoo_exists(zh, "/", 0, NULL));
    say("close: %d", zookeeper_close(zh));
    zh = zookeeper_init(address, on_end, TIMEOUT_MS, &id, "again", 0);
    wait_count(&connected, 1, "the connection");
    say("same session: %d", zoo_client_id(zh)->client_id == id.client_id);
    say("ephemeral: %d %d", zoo_exists(zh, root, 0, &stat), stat.ephemeralOwner == id.client_id);
    say("close: %d", zookeeper_close(zh));
}

/* --- the log --- */

static char line[1024];

static void on_line(const char *message) {
    (void)snprintf(line, sizeof line, "%s", message);
    count_one(&logged);
}

static int is_prefix(const char *text, const char *level, const char *function) {
    int year, month, day, hour, minute, second, ms, pid, n = 0, number;
    char thread[64], rest[256];
    if (sscanf(text, "%d-%d-%d %d:%d:%d,%d:%d(0x%63[0-9a-f]):%n", &year, &month, &day, &hour,
               &minute, &second, &ms, &pid, thread, &n) != 9 || !n)
        return 0;
    (void)snprintf(rest, sizeof rest, "%s@%s@%%d: ", level, function);
    return pid == getpid() && sscanf(text + n, rest, &number) == 1 && number > 0;
}

static void logs(void) {
    static const char *const levels[] = {"ZOO_ERROR", "ZOO_WARN", "ZOO_INFO", "ZOO_DEBUG"};
    FILE *file = tmpfile();
    for (int level = 0; level <= 4; level++) {
        zoo_set_debug_level((ZooLogLevel)level);
        int n = logged.count;
        LOG_ERROR(on_line, "text %d %s", 1, "end");
        LOG_WARN(on_line, "text %d %s", 2, "end");
        LOG_INFO(on_line, "text %d %s", 3, "end");
        LOG_DEBUG(on_line, "text %d %s", 4, "end");
        say("level %d: %d lines", (int)logLevel, logged.count - n);
        if (level)
            say("%d %s", is_prefix(line, levels[level - 1], "logs"), strstr(line, ": text") + 2);
    }
    say("stream: %d", zoo_get_log_stream() == stderr);
    zoo_set_log_stream(file);
    say("stream: %d", zoo_get_log_stream() == file);
    log_message(LOGSTREAM, ZOO_LOG_LEVEL_WARN, 7, "somewhere", "%s", "to the stream");
    rewind(file);
    char *got = fgets(line, sizeof line, file);
    say("%d %s", got && is_prefix(line, "ZOO_WARN", "somewhere"), strstr(line, "to the"));
    zoo_set_log_stream(NULL);
    (void)fclose(file);

    zoo_set_debug_level(ZOO_LOG_LEVEL_INFO);
    logged.count = 0;
    zhandle_t *zh = zookeeper_init2(address, on_end, TIMEOUT_MS, NULL, "logged", 0, on_line);
    wait_count(&connected, 1, "a connection");
    say("the environment is logged: %d", logged.count > 5);
    say("callback: %d %d", zoo_get_log_callback(zh) == on_line, LOGCALLBACK(zh) == on_line);
    zoo_set_log_callback(zh, NULL);
    say("callback: %d", zoo_get_log_callback(zh) == NULL);
    zoo_set_debug_level((ZooLogLevel)0);
    say("close: %d", zookeeper_close(zh));
}

/* --- servers --- */

static void servers(void) {
    char list[256];
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    zoo_deterministic_conn_order(1);
    /* Nobody is at the first address. */
    (void)snprintf(list, sizeof list, "127.0.0.2:1,%s", address);
    zhandle_t *zh = zookeeper_init(list, on_end, TIMEOUT_MS, NULL, "servers", ZOO_NO_LOG_CLIENTENV);
    wait_count(&connected, 1, "a connection");
    say("connected to the second: %d", !strcmp(zoo_get_current_server(zh), address));
    say("same servers: %d", zoo_set_servers(zh, list));
    say("no list: %d", zoo_set_servers(zh, NULL));
    say("works: %d", zoo_exists(zh, "/", 0, NULL));
    for (int delay = -2; delay < 2; delay++)
        say("delay %d: %d", delay, zoo_set_servers_resolution_delay(zh, delay));
    (void)zookeeper_close(zh);
    zoo_deterministic_conn_order(0);

    zh = zookeeper_init("127.0.0.2:1", on_end, 1000, NULL, "nobody", ZOO_NO_LOG_CLIENTENV);
    say("nobody answers: %d", zoo_get_current_server(zh) != NULL);
    say("peer: %d", zookeeper_get_connected_host(zh, (struct sockaddr *)&peer, &len) == NULL);
    zoo_cycle_next_server(zh);
    say("call: %d", zoo_exists(zh, "/", 0, NULL));
    say("other servers: %d", zoo_set_servers(zh, address));
    wait_count(&connected, 1, "a connection to another server");
    say("works: %d", zoo_exists(zh, "/", 0, NULL));
    say("close: %d", zookeeper_close(zh));
}

/* --- ends --- */

static void on_exists(int rc, const struct Stat *stat, const void *data) {
    (void)stat;
    if (rc != ZOK && rc != ZCLOSING) say("exists: %d", rc);
    if (!data) return;
    wait_count(&gate, 1, "the other requests");
    say("close in a completion: %d", zookeeper_close((zhandle_t *)data));
    count_one(&done);
}

static void on_close(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
    (void)path;
    (void)ctx;
    if (type != ZOO_CREATED_EVENT) return;
    say("state: %d", state);
    say("call in a watcher: %d", zoo_exists(zh, at("/close"), 0, NULL));
    say("close in a watcher: %d", zookeeper_close(zh));
    count_one(&done);
}

static void *caller(void *arg) {
    zhandle_t *zh = arg;
    for (int i = 0; i < 200; i++) {
        struct Stat stat;
        int rc = zoo_exists(zh, root, 0, &stat);
        if (rc) say("call: %d", rc);
    }
    return NULL;
}

static void ends(void) {
    zhandle_t *zh = open_client(address), *other = open_client(address);
    for (int i = 0; i < 50; i++) (void)zoo_aexists(zh, root, 0, on_exists, NULL);
    say("close: %d", zookeeper_close(zh));
    zh = open_client(address);
    (void)zoo_aexists(zh, root, 0, on_exists, zh);
    for (int i = 0; i < 50; i++) (void)zoo_aexists(zh, root, 0, on_exists, NULL);
    count_one(&gate);
    wait_count(&done, 1, "the completion that closes its handle");
    zh = open_client(address);
    say("watch: %d", zoo_wexists(zh, at("/close"), on_close, NULL, NULL));
    int rc = zoo_create(other, at("/close"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    wait_count(&done, 1, "a watcher");
    say("create: %d", rc);

    pthread_t threads[4];
    for (int i = 0; i < 4; i++) (void)pthread_create(&threads[i], NULL, caller, other);
    for (int i = 0; i < 4; i++) (void)pthread_join(threads[i], NULL);
    say("close: %d", zookeeper_close(other));
}

int main(int argc, char **argv) {
    begin(argc, argv);
    say("ssl state: %d", ZOO_SSL_CONNECTING_STATE);
    int fd = -1, interest = 0;
    struct timeval tv;
    say("loop without a handle: %d %d", zookeeper_interest(NULL, &fd, &interest, &tv),
        zookeeper_process(NULL, 0));
    refused_addresses();
    attached_again(left_behind());
    zhandle_t *zh = zookeeper_init(address, on_end, 12345, NULL, "first", ZOO_NO_LOG_CLIENTENV);
    wait_count(&connected, 1, "a connection");
    say("root: %d", zoo_create(zh, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    facts(zh);
    say("close: %d", zookeeper_close(zh));
    logs();
    servers();
    ends();
    return 0;
}
