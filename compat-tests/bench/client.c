/*
 * Measures a client library: the same rows through either adapter of client.h.
 *
 *     client ROW HOSTS COUNT [DEPTH]
 *
 * Rows: get set (synchronous; us a call, median), pipe-get pipe-set (DEPTH in flight; calls a second),
 * connect (ms until connected, median), handles (kB of memory a connected handle), watches (COUNT
 * watches; ms from the end of the connection until the first call after it is answered, with all
 * watches set again). Prints one JSON object: value, and cpu_us, the processor time of a call.
 */
#include "client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { VALUE = 1024 };
static char value[VALUE];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER;
static long in_flight, failed;
static bool waiting;
static long wanted;

void bench_done(int error) {
    pthread_mutex_lock(&lock);
    in_flight--;
    failed += error != 0;
    if (waiting && in_flight <= wanted) pthread_cond_signal(&room);
    pthread_mutex_unlock(&lock);
}

/* Until at most so many are in flight; then counts one more, if `more`. */
static void await(long most, bool more) {
    pthread_mutex_lock(&lock);
    while (in_flight > most) {
        wanted = most - most / 4;
        waiting = true;
        pthread_cond_wait(&room, &lock);
        waiting = false;
    }
    in_flight += more;
    pthread_mutex_unlock(&lock);
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double rss_kb(void) {
    long total, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &total, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *all, long n) {
    qsort(all, (size_t)n, sizeof *all, ascending);
    return all[n / 2];
}

static void must(int error, const char *what) {
    if (!error) return;
    fprintf(stderr, "%s: %d\n", what, error);
    exit(1);
}

static void tell(double result, double cpu) {
    printf("{\"value\": %.3f, \"cpu_us\": %.3f}\n", result, cpu);
}

static void run_sync(const char *hosts, long n, bool set) {
    struct session *s = session_open(hosts);
    double *took = malloc(sizeof *took * (size_t)n), cpu = cpu_us();
    for (long i = 0; i < n; i++) {
        double t = now_us();
        must(set ? session_set(s, "/bench", value, VALUE) : session_get(s, "/bench"), "call");
        took[i] = now_us() - t;
    }
    cpu = (cpu_us() - cpu) / (double)n;
    tell(median(took, n), cpu);
    session_close(s);
}

static void run_pipe(const char *hosts, long n, long depth, bool set) {
    struct session *s = session_open(hosts);
    double t = now_us(), cpu = cpu_us();
    for (long i = 0; i < n; i++) {
        await(depth - 1, true);
        if (set)
            session_set_later(s, "/bench", value, VALUE);
        else
            session_get_later(s, "/bench");
    }
    await(0, false);
    must((int)failed, "failed calls");
    tell((double)n / ((now_us() - t) / 1e6), (cpu_us() - cpu) / (double)n);
    session_close(s);
}

static void run_connect(const char *hosts, long n) {
    double *took = malloc(sizeof *took * (size_t)n), cpu = cpu_us();
    for (long i = 0; i < n; i++) {
        double t = now_us();
        struct session *s = session_open(hosts);
        must(session_get(s, "/bench"), "get");
        took[i] = (now_us() - t) / 1e3;
        session_close(s);
    }
    tell(median(took, n), (cpu_us() - cpu) / (double)n);
}

static void run_handles(const char *hosts, long n) {
    struct session **all = malloc(sizeof *all * (size_t)n);
    session_close(session_open(hosts)); /* what is got once for all */
    double before = rss_kb();
    for (long i = 0; i < n; i++) {
        all[i] = session_open(hosts);
        must(session_get(all[i], "/bench"), "get");
    }
    tell((rss_kb() - before) / (double)n, 0);
    for (long i = 0; i < n; i++) session_close(all[i]);
}

/* A door between the client and the server that can be slammed. */
struct door {
    struct sockaddr_in server;
    int listener, here, there;
};

static void *keep_door(void *arg) {
    struct door *d = arg;
    static char bytes[1 << 20];
    for (;;) {
        d->here = accept(d->listener, NULL, NULL);
        d->there = socket(AF_INET, SOCK_STREAM, 0);
        int one = 1;
        setsockopt(d->here, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(d->there, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(d->there, (struct sockaddr *)&d->server, sizeof d->server)) exit(1);
        struct pollfd both[2] = {{.fd = d->here, .events = POLLIN},
                                 {.fd = d->there, .events = POLLIN}};
        while (poll(both, 2, -1) > 0) {
            int i = both[0].revents ? 0 : 1;
            ssize_t n = recv(both[i].fd, bytes, sizeof bytes, 0);
            if (n <= 0 || send(both[1 - i].fd, bytes, (size_t)n, MSG_NOSIGNAL) != n) break;
        }
        close(d->here);
        close(d->there);
    }
    return NULL;
}

static void run_watches(const char *hosts, long n) {
    struct door d = {.listener = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    pthread_t keeper;
    char path[64];
    d.server = at;
    d.server.sin_port = htons((uint16_t)atoi(strchr(hosts, ':') + 1));
    if (bind(d.listener, (struct sockaddr *)&at, sizeof at) || listen(d.listener, 5)) exit(1);
    getsockname(d.listener, (struct sockaddr *)&at, &len);
    pthread_create(&keeper, NULL, keep_door, &d);
    snprintf(path, sizeof path, "127.0.0.1:%d", ntohs(at.sin_port));
    struct session *s = session_open(path);
    for (long i = 0; i < n; i++) {
        await(999, true);
        snprintf(path, sizeof path, "/none/%06ld", i);
        session_watch_later(s, path);
    }
    await(0, false);
    sleep(2); /* a connection that has stood for a while */
    double cpu = cpu_us(), t = now_us();
    shutdown(d.here, SHUT_RDWR);
    int error;
    usleep(1000); /* both have seen it */
    while ((error = session_get(s, "/bench"))) usleep(200);
    tell((now_us() - t) / 1e3, (cpu_us() - cpu) / (double)n);
    session_close(s);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const char *row = argv[1], *hosts = argv[2];
    long n = atol(argv[3]), depth = argc > 4 ? atol(argv[4]) : 1000;
    memset(value, 'v', sizeof value);
    struct session *s = session_open(hosts);
    (void)session_create(s, "/bench", value, VALUE);
    session_close(s);
    if (strcmp(row, "get") == 0) run_sync(hosts, n, false);
    else if (strcmp(row, "set") == 0) run_sync(hosts, n, true);
    else if (strcmp(row, "pipe-get") == 0) run_pipe(hosts, n, depth, false);
    else if (strcmp(row, "pipe-set") == 0) run_pipe(hosts, n, depth, true);
    else if (strcmp(row, "connect") == 0) run_connect(hosts, n);
    else if (strcmp(row, "handles") == 0) run_handles(hosts, n);
    else if (strcmp(row, "watches") == 0) run_watches(hosts, n);
    else return 2;
    return 0;
}
