/*
 * What zk.h promises when the server, the name service or the program itself is slow, mute or
 * unwilling, case by case: puppet_test CASE DIRECTORY
 *
 * Most cases talk to a puppet: a server in this process that speaks just enough of the protocol and
 * answers when it is told to. Built with sanitizers by test_client.py.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

#include "cases.h"

enum { SOON_MS = 3000, LONG_MS = 30000 }; /* SOON: long before anything of a LONG session is due */

/* --- the puppet --- */

struct puppet {
    int listener, port;
    pthread_t thread;
    int timeout_ms; /* of every session; 0: none is to be had */
    bool deaf;      /* reads nothing but the greeting while it is mute */
    _Atomic bool mute;          /* answers nothing but greetings and pings */
    _Atomic int late_ms;        /* before a greeting is answered */
    int pace_ms;                /* before any other answer */
    _Atomic bool shy;           /* answers no greeting */
    _Atomic int connections, greetings, pings, requests;
    _Atomic int last;           /* socket */
};

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool read_all(int fd, uint8_t *p, size_t n) {
    for (ssize_t k; n; p += k, n -= (size_t)k)
        if ((k = recv(fd, p, n, 0)) <= 0) return false;
    return true;
}

/* A whole frame; what is in front of *n bytes is kept. */
static bool read_frame(int fd, uint8_t *p, size_t *n) {
    uint8_t rest[4096], length[4];
    if (!read_all(fd, length, 4)) return false;
    size_t left = get32(length), keep = left < *n ? left : *n;
    if (!read_all(fd, p, keep)) return false;
    *n = keep;
    for (left -= keep; left;) {
        size_t part = left < sizeof rest ? left : sizeof rest;
        if (!read_all(fd, rest, part)) return false;
        left -= part;
    }
    return true;
}

static void send_frame(int fd, uint8_t *p, size_t n) {
    put32(p, (uint32_t)n - 4);
    (void)send(fd, p, n, MSG_NOSIGNAL);
}

static void wait_while(_Atomic bool *what) {
    while (*what) usleep(1000);
}

struct string {
    struct puppet *puppet;
    int fd;
};

static void *puppet_talk(void *arg) {
    struct string at = *(struct string *)arg;
    struct puppet *p = at.puppet;
    uint8_t in[64], welcome[41] = {0};
    size_t n = sizeof in;
    free(arg);
    bool ok = read_frame(at.fd, in, &n);
    p->greetings++;
    usleep((unsigned)p->late_ms * 1000);
    wait_while(&p->shy);
    put32(welcome + 8, (uint32_t)p->timeout_ms);
    welcome[19] = 7; /* the session's number */
    put32(welcome + 20, 16);
    if (ok) send_frame(at.fd, welcome, sizeof welcome);
    while (ok && p->timeout_ms) {
        uint8_t reply[20] = {0};
        if (p->deaf) wait_while(&p->mute);
        n = sizeof in;
        if (!read_frame(at.fd, in, &n)) break;
        bool ping = get32(in) == (uint32_t)-2;
        (*(ping ? &p->pings : &p->requests))++;
        if (!ping) wait_while(&p->mute);
        usleep((unsigned)p->pace_ms * 1000);
        memcpy(reply + 4, in, 4);
        reply[15] = 1; /* zxid */
        send_frame(at.fd, reply, sizeof reply);
    }
    close(at.fd);
    return NULL;
}

static void *puppet_accept(void *arg) {
    struct puppet *p = arg;
    for (;;) {
        pthread_t thread;
        int fd = accept(p->listener, NULL, NULL);
        if (fd < 0) return NULL;
        struct string *at = malloc(sizeof *at);
        *at = (struct string){p, fd};
        p->last = fd;
        p->connections++;
        CHECK(pthread_create(&thread, NULL, puppet_talk, at) == 0);
        pthread_detach(thread);
    }
}

/* p is static: connections may outlive the case. */
static const char *puppet_start(struct puppet *p) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int small = 65536;
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(p->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    CHECK(bind(p->listener, (struct sockaddr *)&at, len) == 0 && listen(p->listener, 50) == 0);
    getsockname(p->listener, (struct sockaddr *)&at, &len);
    p->port = ntohs(at.sin_port);
    CHECK(pthread_create(&p->thread, NULL, puppet_accept, p) == 0);
    return at_port(p->port);
}

static void puppet_end(struct puppet *p) {
    p->mute = p->shy = false;
    shutdown(p->listener, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->listener);
}

static struct zk *open_long(const char *hosts, unsigned flags, struct ear *e) {
    struct zk *zk;
    struct zk_options o = {.hosts = hosts, .session_timeout_ms = LONG_MS, .flags = flags,
                           .on_state = on_state, .user = e};
    IS(zk_open(&zk, &o), ZK_OK);
    return zk;
}

/* Ends in time although nothing else is due for long. */
static void times_out(struct zk *zk) {
    struct zk_op op = zk_delete("/never", -1);
    op.timeout_ms = 100;
    int64_t begin = now_ms();
    IS(zk_call(zk, op, NULL), ZK_TIMED_OUT);
    CHECK(now_ms() - begin < SOON_MS);
}

/* --- time --- */

static void *call_slowly(void *arg) {
    int err = zk_call(arg, zk_delete("/slow", -1), NULL);
    CHECK(err == ZK_OK || err == ZK_CLOSING);
    return NULL;
}

/* Beside a thread that waits for a reply which does not come. */
static void beside_another(struct puppet *p, unsigned flags) {
    struct ear e = {0};
    pthread_t thread;
    struct zk *zk = open_long(at_port(p->port), flags, &e);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    p->mute = true;
    int before = p->requests;
    CHECK(pthread_create(&thread, NULL, call_slowly, zk) == 0);
    await(&p->requests, before + 1);
    times_out(zk);
    p->mute = false;
    pthread_join(thread, NULL);
    zk_free(zk);
}

static void case_timeouts(void) {
    static struct puppet p = {.timeout_ms = LONG_MS, .shy = true};
    struct ear e = {0};
    struct zk *zk = open_long(puppet_start(&p), 0, &e);
    await(&p.greetings, 1);
    times_out(zk);
    IS(zk_submit(zk, zk_delete("/x", -1), on_result, &e) > 0, 1);
    struct zk_op op = zk_add_auth("digest", "a:b", 3);
    op.timeout_ms = 200;
    int64_t begin = now_ms();
    IS(zk_call(zk, op, NULL), ZK_TIMED_OUT);
    CHECK(now_ms() - begin < SOON_MS);
    zk_free(zk);
    p.shy = false;
    beside_another(&p, 0);
    beside_another(&p, ZK_OWN_LOOP);
    puppet_end(&p);
}

/* The timeout of an add_auth alone, behind that of something else. */
static void case_auth_timeout(void) {
    static struct puppet p = {.timeout_ms = LONG_MS, .shy = true};
    struct ear e = {0};
    struct zk *zk = open_long(puppet_start(&p), 0, &e);
    struct zk_op op = zk_delete("/x", -1);
    op.timeout_ms = 50;
    CHECK(zk_submit(zk, op, on_result, &e) > 0);
    op = zk_add_auth("digest", "a:b", 3);
    op.timeout_ms = 300;
    int64_t begin = now_ms();
    CHECK(zk_submit(zk, op, on_result, &e) > 0);
    await(&e.results, 2);
    CHECK(now_ms() - begin < SOON_MS);
    IS(e.last_error, ZK_TIMED_OUT);
    zk_free(zk);
    puppet_end(&p);
}

/* A greeting that takes longer than the silence that is allowed afterwards. */
static void case_slow_greeting(void) {
    static struct puppet p = {.timeout_ms = 1500, .late_ms = 1200};
    struct ear e = {0};
    struct zk *zk = open_long(puppet_start(&p), 0, &e);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    IS(zk_call(zk, zk_delete("/x", -1), NULL), ZK_OK);
    await(&p.pings, 3);
    IS(p.connections, 1);
    IS(e.last_state, ZK_STATE_CONNECTED);
    zk_free(zk);
    puppet_end(&p);
}

static void on_ping(void *user, bool sent, const uint8_t *bytes, size_t n) {
    _Atomic int *pings = user;
    if (sent && n == 12 && get32(bytes + 4) == (uint32_t)-2) ++*pings;
}

/* Much was asked, and answers come all the time, each to a question that is old by then. */
static void case_slow_answers(void) {
    static struct puppet p = {.timeout_ms = 3000, .pace_ms = 250};
    struct ear e = {0};
    struct zk *zk = open_long(puppet_start(&p), 0, &e);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    for (int i = 0; i < 10; i++) CHECK(zk_submit(zk, zk_delete("/x", -1), on_result, &e) > 0);
    await(&e.results, 10);
    IS(e.errors, 0);
    IS(p.connections, 1);
    zk_free(zk);
    puppet_end(&p);
}

/* The answer is there, but the program comes to look for it late. */
static void case_late_loop(void) {
    static struct puppet p = {.timeout_ms = 3000};
    struct ear e = {0};
    _Atomic int pings = 0;
    struct zk *zk;
    struct zk_options o = {.hosts = puppet_start(&p), .flags = ZK_OWN_LOOP, .on_state = on_state,
                           .user = &e, .on_frame = on_ping, .frame_user = &pings};
    IS(zk_open(&zk, &o), ZK_OK);
    int64_t begin = 0;
    while (!pings) {
        struct pollfd at = {.fd = zk_fd(zk), .events = POLLIN};
        int ms = zk_wait_ms(zk);
        poll(&at, 1, ms < 0 || ms > 100 ? 100 : ms);
        IS(zk_step(zk), ZK_OK);
        if (zk_state(zk) == ZK_STATE_CONNECTED && !begin) begin = now_ms();
    }
    while (now_ms() - begin < 2200) usleep(1000); /* busy with something else */
    for (int i = 0; i < 3; i++) IS(zk_step(zk), ZK_OK);
    IS(e.last_state, ZK_STATE_CONNECTED);
    IS(p.connections, 1);
    zk_free(zk);
    puppet_end(&p);
}

/* --- connections --- */

static void count_failures(void *user, int level, const char *text) {
    _Atomic int *failures = user;
    (void)level;
    if (strstr(text, "given up")) ++*failures;
}

/* A server that wants no new sessions is asked with growing pauses. */
static void case_refused(void) {
    static struct puppet p = {.timeout_ms = 0};
    struct ear e = {0};
    struct zk_counters counters;
    int64_t begin = now_ms();
    struct zk *zk = open_long(puppet_start(&p), ZK_RENEW_SESSION, &e);
    await(&p.greetings, 7);
    CHECK(now_ms() - begin >= 300); /* at least 10 + 20 + 40 + 80 + 160 of them */
    zk_get_counters(zk, &counters);
    CHECK(counters.failures >= 6 && !counters.connects);
    IS(e.last_state, ZK_STATE_EXPIRED);
    zk_free(zk);
    puppet_end(&p);
}

/* Another list is tried at once, however long the pause was to be. */
static void case_new_hosts(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    struct ear e = {0};
    _Atomic int failures = 0;
    struct zk *zk;
    struct zk_options o = {.hosts = "127.0.0.1:1", .session_timeout_ms = LONG_MS,
                           .log = count_failures, .log_user = &failures};
    puppet_start(&p);
    IS(zk_open(&zk, &o), ZK_OK);
    await(&failures, 9); /* the next one would be 2.5 s away, at least */
    int64_t begin = now_ms();
    IS(zk_set_hosts(zk, at_port(p.port)), ZK_OK);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    CHECK(now_ms() - begin < 2000);
    zk_free(zk);
    puppet_end(&p);
}

/* The number that the caller's loop watches means nothing else when descriptors run out. */
static void case_no_descriptors(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    struct ear e = {0};
    const struct rlimit limit = {256, 256};
    int all[256], n = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    struct zk *zk = open_long(puppet_start(&p), ZK_OWN_LOOP, &e);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    int fd = zk_fd(zk);
    while ((all[n] = dup(0)) >= 0) n++;
    shutdown(p.last, SHUT_WR); /* the puppet keeps its own descriptor until we have hung up */
    for (int i = 0; e.last_state != ZK_STATE_SUSPENDED; i++) {
        CHECK(i < WAIT_MS);
        IS(zk_step(zk), ZK_OK);
        usleep(1000);
    }
    IS(zk_fd(zk), fd);
    CHECK(fcntl(fd, F_GETFD) >= 0);
    while (n) close(all[--n]);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    IS(zk_fd(zk), fd);
    zk_free(zk);
    puppet_end(&p);
}

/* A request that does not fit into the socket goes on as soon as the server reads. */
static void case_big_write(void) {
    static struct puppet p = {.timeout_ms = LONG_MS, .mute = true, .deaf = true};
    static char big[24 << 20];
    struct ear e = {0};
    struct zk *zk;
    struct zk_options o = {.hosts = puppet_start(&p), .session_timeout_ms = LONG_MS,
                           .max_packet = 32 << 20, .on_state = on_state, .user = &e};
    IS(zk_open(&zk, &o), ZK_OK);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    CHECK(zk_submit(zk, zk_set("/a", big, sizeof big, -1), on_result, &e) > 0);
    int64_t begin = now_ms();
    p.mute = false;
    await(&e.results, 1);
    CHECK(now_ms() - begin < 2 * SOON_MS);
    zk_free(zk);
    puppet_end(&p);
}

/* Nobody waits for the reply, but the server is told. */
static void case_close_at_once(void) {
    struct ear e = {0}, f = {0};
    struct zk_server *s = serve(0);
    struct zk *other = open_at(s, &f, 0);
    struct zk *zk = open_with((struct zk_options){.hosts = at_port(zk_server_port(s)),
                                                  .session_timeout_ms = 10000}, &e);
    IS(zk_call(zk, zk_create("/mine", "", 0, ZK_EPHEMERAL), NULL), ZK_OK);
    int64_t begin = now_ms();
    IS(zk_close(zk, 0), ZK_OK);
    while (zk_call(other, zk_exists("/mine"), NULL) != ZK_NO_NODE)
        CHECK(now_ms() < begin + SOON_MS);
    zk_free(zk);
    zk_free(other);
    zk_server_stop(s);
}

/* --- names --- */

static _Atomic int asked, slow_ms;
static _Atomic bool names_stuck;

/* Names that begin with "slow" are those of this machine, after a while. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out) {
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!name || strncmp(name, "slow", 4) != 0 || (hints && hints->ai_flags & AI_NUMERICHOST))
        return next(name, service, hints, out);
    asked++;
    usleep((unsigned)slow_ms * 1000);
    wait_while(&names_stuck);
    return next("127.0.0.1", service, hints, out);
}

static const char *slow_names(int port) {
    static char hosts[128];
    snprintf(hosts, sizeof hosts, "slow1:%d,slow2:%d,slow3:%d", port, port, port);
    return hosts;
}

/* A look-up that takes more than a server's share of the session timeout, but less than all. */
static void case_slow_names(void) {
    static struct puppet p = {.timeout_ms = 1500};
    struct ear e = {0};
    struct zk *zk;
    puppet_start(&p);
    slow_ms = 700;
    struct zk_options o = {.hosts = slow_names(p.port), .session_timeout_ms = 1500,
                           .on_state = on_state, .user = &e};
    IS(zk_open(&zk, &o), ZK_OK);
    IS(zk_wait_connected(zk, 6000), ZK_OK);
    zk_free(zk);
    puppet_end(&p);
}

/* A name that is never found holds nobody up, neither its own host's neighbours nor other names. */
static void case_stuck_name(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    struct ear e = {0};
    struct zk *zk;
    char hosts[128];
    puppet_start(&p);
    snprintf(hosts, sizeof hosts, "slow1:%d,localhost:%d,slow2:%d", p.port, p.port, p.port);
    struct zk_options o = {.hosts = hosts, .session_timeout_ms = 1500, .flags = ZK_KEEP_HOST_ORDER,
                           .on_state = on_state, .user = &e};
    names_stuck = true;
    int64_t begin = now_ms();
    IS(zk_open(&zk, &o), ZK_OK);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    CHECK(now_ms() - begin < 1400); /* a third of the timeout, and some */
    names_stuck = false;
    zk_free(zk);
    puppet_end(&p);
}

/* Questions that nobody waits for any more are not asked when the name service comes back. */
static void case_stale_names(void) {
    enum { THREADS = 4 }; /* that ask for names */
    static struct puppet p = {.timeout_ms = 4000};
    struct ear e = {0};
    struct zk *zk;
    _Atomic int failures = 0;
    puppet_start(&p);
    names_stuck = true;
    struct zk_options o = {.hosts = slow_names(p.port), .session_timeout_ms = 300,
                           .on_state = on_state, .user = &e, .log = count_failures,
                           .log_user = &failures};
    IS(zk_open(&zk, &o), ZK_OK);
    await(&failures, 8);
    IS(asked, THREADS);
    names_stuck = false;
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    CHECK(asked <= THREADS + 2);
    zk_free(zk);
    puppet_end(&p);
}

static _Atomic int signals;

static void on_signal(int number) {
    (void)number;
    signals++;
}

/* The program's signals are for its own threads. */
static void case_signals(void) {
    struct zk *zk;
    struct zk_options o = {.hosts = slow_names(1), .flags = ZK_OWN_LOOP};
    struct sigaction act = {.sa_handler = on_signal};
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigaction(SIGUSR1, &act, NULL);
    names_stuck = true;
    IS(zk_open(&zk, &o), ZK_OK);
    while (!asked) {
        IS(zk_step(zk), ZK_OK);
        usleep(1000);
    }
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    kill(getpid(), SIGUSR1);
    usleep(20000);
    IS(signals, 0); /* it waits for us */
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    await(&signals, 1);
    names_stuck = false;
    zk_free(zk);
}

/* --- watches --- */

/* A removal that its caller does not wait for any longer is done by the server all the same. */
static void case_late_removal(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    struct ear e = {0}, other = {0};
    struct zk_counters counters;
    struct zk *zk = open_long(puppet_start(&p), 0, &e);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    for (int round = 0; round < 2; round++) {
        IS(zk_call(zk, zk_add_watch("/a", ZK_WATCH_PERSISTENT, on_event, &e), NULL), ZK_OK);
        IS(zk_call(zk, zk_add_watch("/a", ZK_WATCH_PERSISTENT, on_event, &other), NULL), ZK_OK);
        p.mute = true;
        struct zk_op op = zk_remove_watches("/a", ZK_WATCH_PERSISTENT, on_event, &e);
        if (round == 0) {
            op.timeout_ms = 50;
            IS(zk_call(zk, op, NULL), ZK_TIMED_OUT);
        } else {
            IS(zk_cancel(zk, zk_submit(zk, op, on_result, &e)), ZK_OK);
            await(&e.results, 1);
            IS(e.last_error, ZK_CANCELED);
        }
        IS(e.events, round);
        p.mute = false;
        await(&e.events, round + 1);
        IS(e.last_type, ZK_PERSISTENT_WATCH_REMOVED);
    }
    zk_get_counters(zk, &counters);
    IS(counters.watches, 1);
    IS(other.events, 0);
    zk_free(zk);
    puppet_end(&p);
}

/* Whoever watches a node and all below another one hears of it once. */
static void case_once(void) {
    struct ear e = {0}, f = {0}, g = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &g, 0);
    IS(create(zk, "/a"), ZK_OK);
    IS(zk_call(zk, zk_add_watch("/", ZK_WATCH_RECURSIVE, on_event, &e), NULL), ZK_OK);
    IS(zk_call(zk, zk_add_watch("/a", ZK_WATCH_RECURSIVE, on_event, &e), NULL), ZK_OK);
    IS(zk_call(zk, zk_watching(zk_get("/a"), on_event, &e), NULL), ZK_OK);
    IS(zk_call(zk, zk_watching(zk_get("/a"), on_event, &f), NULL), ZK_OK);
    IS(zk_call(zk, zk_watching(zk_exists("/end"), on_event, &g), NULL), ZK_NO_NODE);
    IS(zk_call(zk, zk_set("/a", "x", 1, -1), NULL), ZK_OK);
    IS(zk_call(zk, zk_set("/a", "y", 1, -1), NULL), ZK_OK);
    IS(create(zk, "/end"), ZK_OK);
    await(&g.events, 1);
    zk_free(zk); /* all is told */
    IS(f.events, 1);
    IS(e.events, 3); /* two changes of /a, and /end */
    zk_server_stop(s);
}

/* --- the frames --- */

struct frames {
    _Atomic int n, last_size;
    _Atomic uint32_t last_word;
};

static void on_frame(void *user, bool sent, const uint8_t *bytes, size_t n) {
    struct frames *f = user;
    if (!sent || get32(bytes + 4) == (uint32_t)-2) return;
    f->last_size = (int)n;
    f->last_word = get32(bytes + n - 4);
    f->n++;
}

/* An operation is too large when its frame is, and not a byte earlier. */
static void fits_exactly(struct zk_op op, const char *hosts, const char *nowhere) {
    struct ear e = {0};
    struct frames f = {0};
    struct zk *zk = open_with((struct zk_options){.hosts = hosts, .on_frame = on_frame,
                                                  .frame_user = &f}, &e);
    int greeting = f.n;
    CHECK(zk_submit(zk, op, on_result, &e) > 0);
    IS(f.n, greeting + 1);
    for (int less = 0; less < 2; less++) {
        struct zk *small;
        struct zk_options o = {.hosts = nowhere, .flags = ZK_OWN_LOOP,
                               .max_packet = (uint32_t)(f.last_size - 4 - less)};
        IS(zk_open(&small, &o), ZK_OK);
        int64_t id = zk_submit(small, op, NULL, NULL);
        if (less)
            IS(id, ZK_TOO_LARGE);
        else
            CHECK(id > 0);
        zk_free(small);
    }
    zk_free(zk);
}

static void case_exact_size(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    const struct zk_acl acl[] = {{31, "digest", "me:secret"}, {1, "world", "anyone"}};
    struct zk_op several[] = {zk_create("/a", "data", 4, ZK_PERSISTENT), zk_check("/", -1),
                              zk_set("/a", NULL, -1, -1), zk_delete("/", 3)};
    struct zk_op reads[] = {zk_get("/a"), zk_get_children("/")};
    struct zk_op listed = zk_create("/b", NULL, -1, ZK_PERSISTENT_WITH_TTL);
    listed.ttl_ms = 1000;
    listed.acl = acl;
    listed.acl_count = 2;
    const struct zk_op ops[] = {
        several[0], listed, zk_delete("/", -1), zk_delete("/x", -1), zk_exists("/"), zk_get("/abc"),
        zk_set("/a", "", 0, -1), zk_get_acl("/a"), zk_set_acl("/", acl, 2, -1),
        zk_get_children("/"), zk_sync("/"), zk_get_ephemerals("/x"),
        zk_get_all_children_number("/x"), zk_add_watch("/w", ZK_WATCH_PERSISTENT, on_event, NULL),
        zk_who_am_i(), zk_get_config(), zk_reconfig("server.1=x", NULL, "y", -1),
        zk_add_auth("digest", "a:b", 3), zk_add_auth("ip", NULL, -1), zk_multi(several, 4),
        zk_multi(NULL, 0), zk_multi_read(reads, 2)};
    char below[64];
    puppet_start(&p);
    snprintf(below, sizeof below, "127.0.0.1:%d/chroot/x", p.port);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        fits_exactly(ops[i], at_port(p.port), "127.0.0.1:1");
        fits_exactly(ops[i], below, "127.0.0.1:1/chroot/x");
    }
    puppet_end(&p);
}

/* As many as the default allows, in one transaction. */
static void case_large_multi(void) {
    enum { MOST = 58253 }; /* of 18 bytes each, and 17 more, in 1,048,575 */
    struct ear e = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    struct zk_op *ops = malloc((MOST + 1) * sizeof *ops);
    for (int i = 0; i <= MOST; i++) ops[i] = zk_check("/", -1);
    IS(zk_call(zk, zk_multi(ops, MOST), NULL), ZK_OK);
    IS(zk_call(zk, zk_multi(ops, MOST + 1), NULL), ZK_TOO_LARGE);
    free(ops);
    zk_free(zk);
    zk_server_stop(s);
}

/* What can be written can be read. */
static void case_largest(void) {
    enum { MOST = 1048575 - 22 }; /* without the rest of a set of /a */
    static char big[MOST + 1];
    struct ear e = {0};
    struct zk_result *r;
    struct zk_server *s = serve(0);
    struct zk *zk = open_at(s, &e, 0);
    IS(create(zk, "/a"), ZK_OK);
    IS(zk_call(zk, zk_set("/a", big, MOST, -1), NULL), ZK_OK);
    IS(zk_call(zk, zk_set("/a", big, MOST + 1, -1), NULL), ZK_TOO_LARGE);
    IS(zk_call(zk, zk_get("/a"), &r), ZK_OK);
    IS(r->data_len, MOST);
    zk_result_free(r);
    zk_free(zk);
    zk_server_stop(s);
}

static void on_watches(void *user, bool sent, const uint8_t *bytes, size_t n) {
    struct frames *f = user;
    uint32_t xid = get32(bytes + 4);
    if (!sent || xid != (uint32_t)-8) return;
    f->n++;
    if ((int)n > f->last_size) f->last_size = (int)n; /* the largest */
}

/* Watches that do not fit into one packet are set again by several. */
static void case_many_watches(void) {
    enum { MANY = 2000, PATH = 180, MOST = 128 * 1024 }; /* of paths; each has 4 bytes more */
    struct ear e = {0}, f = {0}, g = {0};
    struct frames frames = {0};
    struct zk_server *s = serve(0);
    int port = zk_server_port(s);
    struct zk *zk = open_with((struct zk_options){.hosts = at_port(port), .on_frame = on_watches,
                                                  .session_timeout_ms = 10000,
                                                  .frame_user = &frames}, &e);
    struct zk *other = open_with((struct zk_options){.hosts = at_port(port),
                                                     .session_timeout_ms = 10000}, &f);
    char path[PATH + 1];
    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "/%0*d", PATH - 1, i);
        struct zk_op op = i % 3 ? zk_exists(path)
                                : zk_add_watch(path, ZK_WATCH_PERSISTENT, on_event, &e);
        CHECK(zk_submit(zk, zk_watching(op, on_event, &e), on_result, &e) > 0);
    }
    await(&e.results, MANY);
    zk_server_stop(s);
    await_state(&e, ZK_STATE_SUSPENDED);
    s = serve(port);
    await_state(&e, ZK_STATE_CONNECTED);
    IS(frames.n, (MANY * PATH + MOST - 1) / MOST);
    CHECK(frames.last_size <= MOST + MOST / PATH * 4 + 2 * PATH);
    IS(zk_call(zk, zk_sync("/"), NULL), ZK_OK); /* the server has them */
    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "/%0*d", PATH - 1, i);
        CHECK(zk_submit(other, zk_create(path, "", 0, ZK_PERSISTENT), on_result, &g) > 0);
    }
    await(&g.results, MANY);
    IS(g.errors, 0);
    await(&e.events, MANY);
    IS(e.last_type, ZK_NODE_CREATED);
    zk_free(zk);
    zk_free(other);
    zk_server_stop(s);
}

/* Null is not empty. */
static void case_null_auth(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    struct ear e = {0};
    struct frames f = {0};
    struct zk *zk = open_with((struct zk_options){.hosts = puppet_start(&p), .on_frame = on_frame,
                                                  .frame_user = &f}, &e);
    IS(zk_call(zk, zk_add_auth("ip", NULL, -1), NULL), ZK_OK);
    CHECK(f.last_word == UINT32_MAX);
    IS(zk_call(zk, zk_add_auth("ip", NULL, 0), NULL), ZK_OK);
    CHECK(f.last_word == 0);
    zk_free(zk);
    puppet_end(&p);
}

/* --- the caller's own loop --- */

static _Atomic int inside, overlaps, calls;
static _Atomic bool steps_over;

static void on_alone(void *user, const struct zk_result *r) {
    (void)user, (void)r;
    if (++inside > 1) overlaps++;
    usleep(200);
    inside--;
    calls++;
}

static void *step(void *arg) {
    while (!steps_over) {
        struct pollfd at = {.fd = zk_fd(arg), .events = POLLIN};
        poll(&at, 1, 5);
        IS(zk_step(arg), ZK_OK);
    }
    return NULL;
}

/* Callbacks come one at a time, whoever steps. */
static void case_two_loops(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    struct ear e = {0};
    pthread_t threads[2];
    struct zk *zk = open_long(puppet_start(&p), ZK_OWN_LOOP, &e);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, step, zk) == 0);
    for (int i = 0; i < 1000; i++) {
        CHECK(zk_submit(zk, zk_delete("/x", -1), on_alone, NULL) > 0);
        if (i % 50 == 0) usleep(1000);
    }
    await(&calls, 1000);
    steps_over = true;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    IS(overlaps, 0);
    zk_free(zk);
    puppet_end(&p);
}

static void *submit_one(void *arg) {
    usleep(50000);
    struct zk_op op = zk_delete("/x", -1);
    op.timeout_ms = 100;
    CHECK(zk_submit(((struct ear *)arg)->zk, op, on_result, arg) > 0);
    return NULL;
}

static void *call_one(void *arg) {
    struct ear *e = arg;
    usleep(50000);
    CHECK(zk_submit(e->zk, zk_delete("/x", -1), on_result, e) > 0);
    IS(zk_call(e->zk, zk_delete("/x", -1), NULL), ZK_OK); /* takes both replies */
    return NULL;
}

/* A loop that sleeps as long as it was told hears of what another thread has asked for. */
static void sleep_beside(struct zk *zk, void *(*other)(void *)) {
    struct ear e = {.zk = zk};
    pthread_t thread;
    int64_t begin = now_ms();
    CHECK(pthread_create(&thread, NULL, other, &e) == 0);
    while (!e.results) {
        struct pollfd at = {.fd = zk_fd(zk), .events = POLLIN};
        poll(&at, 1, zk_wait_ms(zk));
        IS(zk_step(zk), ZK_OK);
    }
    CHECK(now_ms() - begin < SOON_MS);
    pthread_join(thread, NULL);
}

static void case_woken_loop(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    struct ear e = {0};
    struct zk *zk = open_long(puppet_start(&p), ZK_OWN_LOOP, &e);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    IS(zk_step(zk), ZK_OK);
    sleep_beside(zk, call_one);
    p.mute = true; /* the reply does not come: it is the deadline that must be heard of */
    sleep_beside(zk, submit_one);
    puppet_end(&p);
    zk_free(zk);
}

static void free_when_closed(void *user, enum zk_state state, int64_t session) {
    struct ear *e = user;
    (void)session;
    if (state != ZK_STATE_CLOSED) return;
    zk_free(e->zk);
    e->zk = NULL;
}

/* Nothing is lost of a handle that a callback frees while zk_close calls it. */
static void case_free_in_close(void) {
    static struct puppet p = {.timeout_ms = LONG_MS};
    struct ear e = {0};
    struct zk_options o = {.hosts = puppet_start(&p), .flags = ZK_OWN_LOOP,
                           .on_state = free_when_closed, .user = &e};
    IS(zk_open(&e.zk, &o), ZK_OK);
    IS(zk_wait_connected(e.zk, WAIT_MS), ZK_OK);
    IS(zk_close(e.zk, WAIT_MS), ZK_OK);
    CHECK(!e.zk);
    puppet_end(&p);
}

/* --- a server of the same process --- */

/* What the server has not the time for waits with the client, whose limit holds. */
static void case_backs_up(void) {
    enum { REQUESTS = 300, MOST = 200 };
    static char big[500000];
    struct ear e = {0}, f = {0};
    struct zk_server *s = serve(0);
    struct zk *zk = open_with((struct zk_options){.server = s, .session_timeout_ms = 40000}, &e);
    int most = 0;
    IS(create(zk, "/a"), ZK_OK);
    for (int i = 0; i < REQUESTS; i++) {
        int64_t id;
        struct zk_op op = zk_set("/a", big, sizeof big, -1);
        op.timeout_ms = -1;
        while ((id = zk_submit(zk, op, on_result, &f)) == ZK_BUSY) usleep(1000);
        CHECK(id > 0);
        if (i + 1 - f.results > most) most = i + 1 - f.results;
    }
    await(&f.results, REQUESTS);
    IS(f.errors, 0);
    fprintf(stderr, "%d requests at once\n", most);
    CHECK(most < MOST);
    zk_free(zk);
    zk_server_stop(s);
}

/* Without a server nothing is sent, and what was not sent is not uncertain. */
static void case_never_sent(void) {
    struct zk *zk;
    struct zk_queue *queue;
    struct zk_counter *counter;
    struct zk_options o = {.hosts = "127.0.0.1:1", .op_timeout_ms = 50};
    IS(zk_open(&zk, &o), ZK_OK);
    IS(zk_queue_new(zk, "/queue", ZK_QUEUE_SIMPLE, &queue), ZK_OK);
    IS(zk_counter_new(zk, "/counter", 8, &counter), ZK_OK);
    for (int i = 0; i < 3; i++) {
        IS(zk_queue_put(queue, "x", 1, 0), ZK_TIMED_OUT);
        IS(zk_counter_add(counter, 1), ZK_TIMED_OUT);
    }
    zk_queue_free(queue);
    zk_counter_free(counter);
    zk_free(zk);
}

int main(int argc, char **argv) {
    static const struct test_case CASES[] = {
        {"timeouts", case_timeouts},           {"auth-timeout", case_auth_timeout},
        {"slow-greeting", case_slow_greeting}, {"late-loop", case_late_loop},
        {"slow-answers", case_slow_answers},
        {"refused", case_refused},             {"no-descriptors", case_no_descriptors},
        {"big-write", case_big_write},         {"close-at-once", case_close_at_once},
        {"slow-names", case_slow_names},       {"stale-names", case_stale_names},
        {"stuck-name", case_stuck_name},       {"woken-loop", case_woken_loop},
        {"signals", case_signals},             {"late-removal", case_late_removal},
        {"once", case_once},                   {"exact-size", case_exact_size},
        {"large-multi", case_large_multi},     {"null-auth", case_null_auth},
        {"two-loops", case_two_loops},         {"free-in-close", case_free_in_close},
        {"backs-up", case_backs_up},           {"new-hosts", case_new_hosts},
        {"never-sent", case_never_sent},
        {"largest", case_largest},             {"many-watches", case_many_watches},
    };
    return run_case(CASES, sizeof CASES / sizeof *CASES, argc, argv);
}
