/*
 * zkd: the ZooKeeper server as a daemon.
 *
 *   zkd                                   data under ./zk-data, port 2181, loopback only
 *   zkd zoo.cfg                           as the configuration file says
 *   zkd port datadir [ticktime] [maxcnxns]
 *
 * Exit codes are stock's: 0 after SIGTERM or SIGINT, 1 failure, 2 bad arguments or configuration,
 * 3 no access to the data directory, 14 no election port.
 */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "zk.h"

static struct zk_server *volatile running; /* for the signal handler */
static volatile sig_atomic_t stopped;

static void zkd_stop(int sig) {
    (void)sig;
    stopped = 1;
    if (running) zk_server_interrupt(running);
}

/* stock's line: date [myid:] - LEVEL [thread] - text */
static void zkd_log(void *user, int level, const char *text) {
    static const char *const names[] = {"", "ERROR", "WARN ", "INFO ", "DEBUG"};
    char when[32];
    struct timespec now;
    struct tm tm;
    (void)user;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)localtime_r(&now.tv_sec, &tm);
    (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    printf("%s,%03ld [myid:] - %s [zkd] - %s\n", when, now.tv_nsec / 1000000, names[level], text);
    (void)fflush(stdout);
}

/* The signals that end the server. Its threads are born without them: they come to this one. */
static void zkd_listen(int how) {
    sigset_t ends;
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)pthread_sigmask(how, &ends, NULL);
}

static int zkd_usage(FILE *to) {
    (void)fprintf(to, "Usage: zkd [configfile | port datadir [ticktime] [maxcnxns]]\n");
    return to == stdout ? 0 : 2;
}

/* port datadir [ticktime] [maxcnxns], as stock takes them. */
static void zkd_arguments(int argc, char **argv, char *text, size_t n) {
    (void)snprintf(text, n, "clientPort=%s\ndataDir=%s\ntickTime=%s\nmaxClientCnxns=%s\n", argv[1],
                   argv[2], argc > 3 ? argv[3] : "3000", argc > 4 ? argv[4] : "0");
}

static int zkd_run(const struct zk_server_options *o) {
    char error[512] = "";
    struct zk_server *s;
    zkd_listen(SIG_BLOCK);
    int err = zk_server_start(&s, o, error, sizeof error);
    if (err) {
        if (err == ZK_SERVER_BAD_CONFIG)
            (void)fprintf(stderr, "Invalid config, exiting abnormally\n");
        if (err == ZK_SERVER_NO_DATADIR)
            (void)fprintf(stderr, "Unable to access datadir, exiting abnormally\n");
        (void)fprintf(stderr, "zkd: %s\n", error);
        return -err;
    }
    running = s;
    zkd_listen(SIG_UNBLOCK);
    err = stopped ? 0 : zk_server_wait(s, error, sizeof error);
    running = NULL;
    zk_server_stop(s);
    if (err) (void)fprintf(stderr, "zkd: %s\n", error);
    return -err;
}

int main(int argc, char **argv) {
    struct zk_server_options o = {.log = zkd_log};
    struct sigaction stop, ignore;
    char text[4096];
    if (argc > 5) return zkd_usage(stderr);
    if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
        return zkd_usage(stdout);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("zkd %s, compatible with Apache ZooKeeper %s\n", ZK_VERSION, ZK_COMPATIBLE_VERSION);
        return 0;
    }
    memset(&stop, 0, sizeof stop);
    memset(&ignore, 0, sizeof ignore);
    stop.sa_handler = zkd_stop;
    ignore.sa_handler = SIG_IGN;
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    if (argc == 2) {
        o.config_file = argv[1];
    } else if (argc > 2) {
        zkd_arguments(argc, argv, text, sizeof text);
        o.config_text = text;
    } else {
        o.address = "localhost";
        printf("zkd: no configuration file: data in ./zk-data, port 2181, loopback only\n");
    }
    return zkd_run(&o);
}
