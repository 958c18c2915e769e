#include "api/server.h"

#include <stdio.h>

#include "ensemble/quorum.h"

struct zk_server {
    struct duct_door door; /* first: a client of this process finds it there */
    struct loop loop;
    pthread_t thread;
    int wait_pipe[2]; /* a byte: interrupted, or stopped by itself */
    _Atomic bool stop;
    _Atomic int failed; /* enum loop_error */
};

/* --- configuration --- */

static char *server_copy(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(mem_alloc(n), s, n);
}

static int server_map(struct config *c, const char *path, struct slice *text) {
    if (os_map(path, text) == 0) return 0;
    (void)snprintf(c->error, sizeof c->error, "Error processing %s: the file is missing", path);
    return -1;
}

static int server_read_config(struct config *c, const struct zk_server_options *o,
                              struct logq *log) {
    struct slice text;
    if (o->config_text) return config_parse(c, slice_str(o->config_text), log);
    if (server_map(c, o->config_file, &text)) return -1;
    int err = config_parse(c, text, log);
    os_unmap(text);
    return err;
}

/* What stands beside the file: the dynamic part, and who we are. */
static int server_read_membership(struct config *c, struct logq *log) {
    struct slice text;
    struct buf path = {0};
    int err = 0;
    if (c->dynamic_config_file) {
        if (server_map(c, c->dynamic_config_file, &text)) return -1;
        err = config_parse_dynamic(c, text, log);
        os_unmap(text);
    }
    buf_printf(&path, "%s/myid", c->data_dir);
    buf_putc(&path, '\0');
    if (!err && os_map((const char *)path.p, &text) == 0) {
        struct slice line = text;
        const uint8_t *end = text.n ? memchr(text.p, '\n', text.n) : NULL;
        if (end) line.n = (size_t)(end - text.p);
        err = config_parse_myid(c, line);
        os_unmap(text);
    }
    buf_free(&path);
    if (err || !config_distributed(c) || c->server_id != CONFIG_UNSET) return err;
    (void)snprintf(c->error, sizeof c->error, "myid file is missing");
    return -1;
}

static void server_set(char **field, const char *value) {
    if (!value) return;
    mem_free(*field);
    *field = server_copy(value);
}

/* Without a file there is nothing to parse, but the same checks to pass. */
static int server_config(struct config *c, const struct zk_server_options *o, struct logq *log) {
    static const char defaults[] = "tickTime=2000\nclientPort=2181\ndataDir=zk-data\n";
    const char *flags = getenv("SERVER_JVMFLAGS"), *common = getenv("JVMFLAGS");
    config_defaults(c);
    if (flags) config_jvm_flags(c, flags, log);
    if (common) config_jvm_flags(c, common, log); /* as zkServer.sh and zkEnv.sh put them */
    server_set(&c->data_dir, o->data_dir); /* the text need not have it then */
    int err = o->config_text || o->config_file
                  ? server_read_config(c, o, log)
                  : config_parse(c, slice_str(defaults), log);
    if (err) return err;
    server_set(&c->data_dir, o->data_dir);
    server_set(&c->data_log_dir, o->data_dir);
    err = server_read_membership(c, log);
    if (err) return err;
    server_set(&c->client_port_address, o->address);
    if (o->client_port) c->client_port = o->client_port > 0 ? o->client_port : 0;
    return 0;
}

/* stock: QuorumPeer.start */
static bool server_is_member(struct config *c) {
    if (!config_distributed(c) || quorum_member(c, c->server_id)) return true;
    (void)snprintf(c->error, sizeof c->error, "My id %lld not in the peer list",
                   (long long)c->server_id);
    return false;
}

static void server_say(const struct zk_server_options *o, struct logq *log) {
    int level;
    const char *text;
    while (log_take(log, &level, &text))
        if (o->log) o->log(o->log_user, level, text);
    buf_free(&log->lines);
}

static void server_error(char *error, size_t n, const char *text) {
    if (error && n) (void)snprintf(error, n, "%s", text);
}

/* --- life --- */

static void *server_main(void *arg) {
    struct zk_server *s = arg;
    loop_run(&s->loop, &s->stop);
    s->failed = s->loop.failed;
    os_notify(s->wait_pipe[1]);
    return NULL;
}

static void server_free(struct zk_server *s) {
    loop_close(&s->loop);
    if (s->wait_pipe[0] >= 0) (void)os_close(s->wait_pipe[0]);
    if (s->wait_pipe[1] >= 0) (void)os_close(s->wait_pipe[1]);
    mem_free(s);
}

static int server_result(enum loop_error e) {
    return e == LOOP_NO_DATADIR         ? ZK_SERVER_NO_DATADIR
           : e == LOOP_NO_ELECTION_PORT ? ZK_SERVER_NO_ELECTION_PORT
                                        : ZK_SERVER_FAILED;
}

/* A client of this process connects. */
static bool server_offer(struct duct_door *door, struct duct *d) {
    return loop_offer(&((struct zk_server *)(void *)door)->loop, d);
}

ZK_API int zk_server_start(struct zk_server **out, const struct zk_server_options *options,
                           char *error, size_t n) {
    struct config cfg;
    struct logq log = {.max_level = LOG_INFO_LEVEL};
    if (out) *out = NULL;
    if (!out || !options) {
        server_error(error, n, "out and options must be given");
        return ZK_SERVER_BAD_CONFIG;
    }
    memset(&cfg, 0, sizeof cfg);
    int bad = server_config(&cfg, options, &log);
    server_say(options, &log);
    if (bad || !server_is_member(&cfg)) {
        server_error(error, n, cfg.error);
        config_free(&cfg);
        return bad ? ZK_SERVER_BAD_CONFIG : ZK_SERVER_FAILED;
    }
    struct zk_server *s = mem_zalloc(sizeof *s);
    s->door.offer = server_offer;
    s->wait_pipe[0] = s->wait_pipe[1] = -1;
    enum loop_error e = loop_open(&s->loop, &cfg, options->log, options->log_user);
    if (e == LOOP_STARTED && os_blocking_pipe(s->wait_pipe) < 0) e = LOOP_FAILED;
    if (e == LOOP_STARTED && pthread_create(&s->thread, NULL, server_main, s) != 0) e = LOOP_FAILED;
    if (e != LOOP_STARTED) {
        server_error(error, n, s->loop.error[0] ? s->loop.error : "cannot start a thread");
        server_free(s);
        return server_result(e);
    }
    *out = s;
    return ZK_SERVER_OK;
}

ZK_API int zk_server_port(const struct zk_server *s) {
    return s ? s->loop.port : 0;
}

ZK_API int zk_server_wait(struct zk_server *s, char *error, size_t n) {
    uint8_t byte;
    if (!s) return ZK_SERVER_FAILED;
    (void)os_read(s->wait_pipe[0], &byte, 1);
    if (!s->failed) return ZK_SERVER_OK;
    server_error(error, n, s->loop.error);
    return server_result((enum loop_error)s->failed);
}

ZK_API void zk_server_interrupt(struct zk_server *s) {
    if (s) os_notify(s->wait_pipe[1]);
}

ZK_API void zk_server_stop(struct zk_server *s) {
    if (!s) return;
    s->stop = true;
    os_notify(s->loop.pipe[1]);
    (void)pthread_join(s->thread, NULL);
    server_free(s);
}
