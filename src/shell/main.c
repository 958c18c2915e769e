/*
 * shell/main: how it is called, and lines from a pipe.
 */
#include "shell/shell.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct shell sh = {.timeout_ms = 30000, .mode = ZK_WATCH_RECURSIVE, .doc = &sh.document};

/* Lines from anything else. */
static void script(void) {
    struct text line = {0};
    char bytes[4096];
    ssize_t n = 1;
    while (n > 0 && !sh.quitting && !interrupted) {
        if (!turn(0, -1)) continue;
        n = read(0, bytes, sizeof bytes);
        if (n <= 0 && line.n) run_line(line.s);
        for (ssize_t i = 0; i < n && !sh.quitting && !interrupted; i++) {
            put(&line, &bytes[i], bytes[i] != '\n');
            if (bytes[i] != '\n') continue;
            if (line.n && line.s[line.n - 1] == '\r') line.s[line.n - 1] = '\0';
            run_line(line.s);
            line.n = 0;
        }
    }
    free(line.s);
}

/* stock: ZKClientConfig. Other keys are for TLS, SASL or Java. False: cannot be done. */
static bool configure(char *line) {
    char *value = line + strcspn(line, "=: \t\r\n");
    size_t blanks = strspn(value, "=: \t");
    int64_t v = 0;
    if (*line == '#' || *line == '!') return true;
    *value = '\0';
    value += blanks;
    value[strcspn(value, " \t\r\n")] = '\0';
    bool on = strcasecmp(value, "true") == 0, good = number(value, 10, 0, INT32_MAX, &v);
    if (strcmp(line, "zookeeper.client.secure") == 0) return !on;
    if (strcmp(line, "zookeeper.disableAutoWatchReset") == 0 && on) sh.flags |= ZK_NO_WATCH_RESET;
    if (strcmp(line, "zookeeper.request.timeout") == 0 && good) sh.op_timeout_ms = (int)v;
    if (strcmp(line, "jute.maxbuffer") == 0 && good) sh.max_packet = (unsigned)v;
    return true;
}

static int configure_all(const char *file) {
    char line[4096], *flags = copy(getenv("CLIENT_JVMFLAGS") ? getenv("CLIENT_JVMFLAGS") : "");
    FILE *f = file ? fopen(file, "r") : NULL;
    bool good = true;
    if (file && !f) return fail(ZK_SYSTEM_ERROR, fmt("Error while processing %s", file)), 2;
    while (f && fgets(line, sizeof line, f)) good &= configure(line + strspn(line, " \t"));
    if (f) (void)fclose(f);
    for (char *rest = flags, *word; (word = cut(&rest, ' '));)
        if (strncmp(word, "-D", 2) == 0) good &= configure(word + 2);
    free(flags);
    return good ? 0 : (fail(ZK_UNIMPLEMENTED, "zookeeper.client.secure: there is no TLS"), 2);
}

static void help(void) {
    printf("zkcli [-server host:port[,...][/chroot]] [-timeout ms] [-r] [-waitforconnection]\n"
           "      [-client-configuration file] [--json] [command words...]\n\n");
    usage_list(stdout);
}

/* Streams that are closed would become the connection, with output among its frames. */
static void fill_streams(void) {
    int fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0 && fd < 3) {}
    if (fd >= 0) (void)close(fd);
}

/* The exit code: output that was lost is an error. */
static int finish(void) {
    sh.quiet = true;
    close_session();
    if (sh.warnings.n) js_put("{"), js_end(); /* there is no next document to hold them */
    bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (lost) fputs("zkcli: output was lost\n", stderr);
    return lost ? 1 : sh.exit_code;
}

/* Opens the session, in so far as what the command line says can be used. */
static int start(const char *host, const char *timeout, const char *file) {
    int64_t ms;
    int err = configure_all(file);
    if (err) return err;
    if (!number(timeout, 10, INT32_MIN, INT32_MAX, &ms)) return bad_number(timeout);
    if (ms < 0) return refuse(fmt("-timeout cannot be negative: %s", timeout));
    sh.timeout_ms = (int)ms;
    if ((err = open_session(host))) return err;
    if (!sh.wait || !(connected() || state() == ZK_STATE_READ_ONLY)) return 0;
    close_session();
    return fail(ZK_CONNECTION_LOSS, "java.io.IOException: org.apache.zookeeper.KeeperException$"
                                    "ConnectionLossException: KeeperErrorCode = ConnectionLoss");
}

int shell_main(int argc, char **argv) {
    const char *host = "localhost:2181", *timeout = "30000", *file = NULL, **value;
    int i = 1, err;
    fill_streams();
    for (; i < argc && argv[i][0] == '-'; i++) { /* what is not known is skipped */
        const char *o = argv[i];
        value = strcmp(o, "-server") == 0 ? &host : strcmp(o, "-timeout") == 0 ? &timeout
                : strcmp(o, "-client-configuration") == 0 ? &file : NULL;
        if (strcmp(o, "-r") == 0) sh.flags |= ZK_CAN_BE_READ_ONLY;
        if (strcmp(o, "-waitforconnection") == 0) sh.wait = true;
        if (strcmp(o, "--json") == 0) sh.json = true;
        if (strcmp(o, "--help") == 0) return help(), 0;
        if (value && i + 1 < argc) *value = argv[++i];
        else if (value) warn(stderr, fmt("Error: no argument found for option %s\n", o));
    }
    out(stdout, fmt("Connecting to %s\n", host));
    js_put("{");
    err = start(host, timeout, file);
    if (err) return js_end(), err;
    sh.document.n = 0;
    bool keyboard = isatty(0) && isatty(1);
    if (i == argc)
        out(stdout, fmt("Welcome to ZooKeeper!\nJLine support is %s\n",
                        keyboard ? "enabled" : "disabled"));
    fflush(stdout);
    catch_interrupts();
    if (i < argc) run_words(argv + i, argc - i);
    else if (keyboard) terminal();
    else script();
    return finish();
}
