/*
 * load: a load generator for anything that speaks the ZooKeeper client protocol.
 *
 *   load -p PORT -w get|set|create|delete|mixed|fill [-c conns] [-d depth] [-v bytes]
 *        [-k keys] [-n count] [-u warmup_s] [-t seconds] [-P server_pid]
 *
 * One thread, one epoll loop, N connections with D requests in flight each. Every reply is
 * checked: the order of xids, the error code, the length and the content. Prints one JSON line.
 * With -P the CPU time of that process during the measured window is reported per operation.
 *
 * fill creates -n nodes of -v bytes in multis of 250 under 1,000 directories, as fast as it can.
 * delete first creates the -n nodes that it then deletes, which is its warm-up; it ends early
 * when they are used up.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IN_MAX (512 * 1024)
#define MULTI_OPS 250
#define FILL_DIRS 1000
#define STAT_BYTES 68
#define NODE_EXISTS (-110)

enum op { OP_GET, OP_SET, OP_CREATE, OP_DELETE, OP_MULTI };
enum place { AT_TOP, AT_KEY, AT_PARENT, AT_CREATED, AT_DELETED, AT_FILL_DIR, AT_FILLED };

struct slot {           /* one request in flight */
    uint64_t start_ns;
    uint64_t index;     /* of the node: gives its path */
    int32_t xid;
    enum op op;
};

struct conn {
    int fd;
    unsigned id;
    int32_t xid;
    unsigned head, count;       /* the ring of slots */
    struct slot *slots;         /* owned, depth of them */
    uint64_t next;              /* index of the next node that is this connection's own */
    uint8_t *in;                /* owned, IN_MAX */
    size_t in_len;
    uint8_t *out;               /* owned, out_max */
    size_t out_len, out_at, out_max;
    bool want_write;
};

struct hist { uint64_t count[64 * 64]; uint64_t total, max_ns; };

struct phase {                  /* what is being done to which nodes */
    enum op op;
    enum place place;
    int read_percent;           /* of the mixed workload; -1: op only */
    bool own;                   /* each connection counts its own nodes */
    bool may_exist;
    bool random;                /* draw the node instead of counting */
    uint64_t limit;             /* nodes in all; 0 = no end (random: how many there are) */
    uint64_t issued, done;
    uint64_t measure_ns, end_ns;/* clock times; 0 = until the limit */
};

struct load {
    const char *workload;
    unsigned port, conns, depth, keys;
    size_t value_bytes;
    uint64_t count;
    double warmup_s, seconds;
    int pid;
    int epoll;
    uint64_t rng;
    uint8_t *value;             /* owned: every node holds this */
    struct conn *all;           /* owned */
    struct phase phase;
    struct hist hist;
    uint64_t began_ns, ended_ns;
    double server_cpu_s, own_cpu_s;
};

static unsigned run_tag;

static void die(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double own_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* utime + stime of a process: fields 14 and 15, counted behind the name, which may hold blanks. */
static double process_cpu_s(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = pid ? fopen(path, "r") : NULL;
    if (!file)
        return 0;
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = 0;
    unsigned long user = 0, system = 0;
    char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                        &user, &system) != 2)
        die("cannot read /proc/PID/stat");
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* ---- latency histogram: 64 linear steps in each power of two, so an error below 1.6 % ---- */
static unsigned hist_index(uint64_t ns)
{
    if (ns < 64)
        return (unsigned)ns;
    unsigned shift = 57 - (unsigned)__builtin_clzll(ns); /* the top 7 bits: 64..127 */
    return (shift + 1) * 64 + (unsigned)((ns >> shift) - 64);
}

static double hist_value_us(unsigned index)
{
    if (index < 64)
        return index / 1e3;
    unsigned shift = index / 64 - 1;
    return (double)((uint64_t)(64 + index % 64) << shift) / 1e3;
}

static void hist_add(struct hist *hist, uint64_t ns)
{
    hist->count[hist_index(ns)]++;
    hist->total++;
    if (ns > hist->max_ns)
        hist->max_ns = ns;
}

static double hist_quantile_us(const struct hist *hist, double quantile)
{
    uint64_t wanted = (uint64_t)((double)hist->total * quantile), seen = 0;
    for (unsigned i = 0; i < sizeof hist->count / sizeof *hist->count; i++) {
        seen += hist->count[i];
        if (seen > wanted)
            return hist_value_us(i);
    }
    return (double)hist->max_ns / 1e3;
}

/* ---- bytes ---- */
static uint8_t *put32(uint8_t *at, int32_t value)
{
    uint32_t big = htonl((uint32_t)value);
    memcpy(at, &big, 4);
    return at + 4;
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t len)
{
    at = put32(at, (int32_t)len);
    memcpy(at, bytes, len);
    return at + len;
}

static int32_t get32(const uint8_t *at)
{
    uint32_t big;
    memcpy(&big, at, 4);
    return (int32_t)ntohl(big);
}

/* Names carry the process id: a run never meets the nodes of the one before. */
static size_t node_path(enum place place, unsigned conn, uint64_t index, char out[64])
{
    unsigned long n = (unsigned long)index;
    unsigned run = run_tag;
    switch (place) {
    case AT_TOP: return (size_t)snprintf(out, 64, "/bench");
    case AT_KEY: return (size_t)snprintf(out, 64, "/bench/k%07lu", n);
    case AT_PARENT: return (size_t)snprintf(out, 64, "/bench/p%07u-%03lu", run, n);
    case AT_CREATED: return (size_t)snprintf(out, 64, "/bench/p%07u-%03u/n%09lu", run, conn, n);
    case AT_DELETED: return (size_t)snprintf(out, 64, "/bench/p%07u-%03u/d%09lu", run, conn, n);
    case AT_FILL_DIR: return (size_t)snprintf(out, 64, "/zkbench%03lu", n);
    default: return (size_t)snprintf(out, 64, "/zkbench%03lu/n%010lu", n % FILL_DIRS, n);
    }
}

static uint8_t *put_create(struct load *load, uint8_t *at, const char *path, size_t len,
                           size_t value_bytes)
{
    at = put_bytes(at, path, len);
    at = put_bytes(at, load->value, value_bytes);
    at = put32(at, 1);
    at = put32(at, 31);
    at = put_bytes(at, "world", 5);
    at = put_bytes(at, "anyone", 6);
    return put32(at, 0);
}

/* Directories are small, whatever the size of the values. */
static size_t bytes_at(struct load *load, enum place place)
{
    bool inner = place == AT_TOP || place == AT_PARENT || place == AT_FILL_DIR;
    return inner ? 0 : load->value_bytes;
}

static uint64_t draw(struct load *load, uint64_t below)
{
    load->rng ^= load->rng << 13;
    load->rng ^= load->rng >> 7;
    load->rng ^= load->rng << 17;
    return load->rng % below;
}

static uint64_t multi_size(const struct phase *phase, uint64_t first)
{
    uint64_t left = phase->limit - first;
    return left < MULTI_OPS ? left : MULTI_OPS;
}

static uint8_t *put_multi(struct load *load, uint8_t *at, unsigned conn, uint64_t first)
{
    char path[64];
    uint64_t size = multi_size(&load->phase, first);
    for (uint64_t i = 0; i < size; i++) {
        at = put32(at, 1);
        *at++ = 0;
        at = put32(at, -1);
        size_t len = node_path(load->phase.place, conn, first + i, path);
        at = put_create(load, at, path, len, load->value_bytes);
    }
    at = put32(at, -1);
    *at++ = 1;
    return put32(at, -1);
}

/* Append one request to the connection's output and note what its reply has to be. */
static void put_request(struct load *load, struct conn *conn, enum op op, uint64_t index,
                        uint64_t now)
{
    static const int opcodes[] = {4, 5, 1, 2, 14};
    char path[64];
    uint8_t *start = conn->out + conn->out_len;
    uint8_t *at = put32(put32(start + 4, ++conn->xid), opcodes[op]);
    size_t len = node_path(load->phase.place, conn->id, index, path);
    switch (op) {
    case OP_GET:
        at = put_bytes(at, path, len);
        *at++ = 0;
        break;
    case OP_SET:
        at = put_bytes(at, path, len);
        at = put_bytes(at, load->value, load->value_bytes);
        at = put32(at, -1);
        break;
    case OP_CREATE:
        at = put_create(load, at, path, len, bytes_at(load, load->phase.place));
        break;
    case OP_DELETE:
        at = put_bytes(at, path, len);
        at = put32(at, -1);
        break;
    case OP_MULTI:
        at = put_multi(load, at, conn->id, index);
        break;
    }
    put32(start, (int32_t)(at - start - 4));
    conn->out_len += (size_t)(at - start);
    if (conn->out_len > conn->out_max)
        die("output buffer too small");
    struct slot *slot = &conn->slots[(conn->head + conn->count++) % load->depth];
    *slot = (struct slot){.start_ns = now, .index = index, .xid = conn->xid, .op = op};
}

/* Which request comes next on this connection? False when the phase has no more. */
static bool next_request(struct load *load, struct conn *conn, uint64_t now)
{
    struct phase *phase = &load->phase;
    uint64_t *counter = phase->own ? &conn->next : &phase->issued;
    uint64_t step = phase->op == OP_MULTI ? MULTI_OPS : 1;
    if (phase->end_ns && now >= phase->end_ns)
        return false;
    if (phase->limit && !phase->random && *counter >= phase->limit)
        return false;
    uint64_t index = phase->random ? draw(load, phase->limit) : *counter;
    *counter += step;
    enum op op = phase->op;
    if (phase->read_percent >= 0)
        op = draw(load, 100) < (uint64_t)phase->read_percent ? OP_GET : OP_SET;
    put_request(load, conn, op, index, now);
    return true;
}

/* ---- replies ---- */
static void check_stat(struct load *load, const uint8_t *stat)
{
    if (get32(stat + 52) != (int32_t)load->value_bytes)
        die("stat with a wrong dataLength");
}

/* body: what follows the reply header. */
static void check_body(struct load *load, struct conn *conn, struct slot *slot,
                       const uint8_t *body, size_t len)
{
    char path[64];
    size_t path_len = node_path(load->phase.place, conn->id, slot->index, path);
    size_t value = load->value_bytes;
    switch (slot->op) {
    case OP_GET:
        if (len != 4 + value + STAT_BYTES || get32(body) != (int32_t)value)
            die("getData reply of a wrong length");
        if (memcmp(body + 4, load->value, value) != 0)
            die("getData reply with wrong data");
        check_stat(load, body + 4 + value);
        break;
    case OP_SET:
        if (len != STAT_BYTES)
            die("setData reply of a wrong length");
        check_stat(load, body);
        break;
    case OP_CREATE:
        if (len != 4 + path_len || memcmp(body + 4, path, path_len) != 0)
            die("create reply with a wrong path");
        break;
    case OP_DELETE:
        if (len != 0)
            die("delete reply with a body");
        break;
    case OP_MULTI:
        if (len != multi_size(&load->phase, slot->index) * (9 + 4 + path_len) + 9 ||
            get32(body) != 1 || get32(body + 5) != 0)
            die("multi failed");
        break;
    }
}

static void check_reply(struct load *load, struct conn *conn, const uint8_t *frame, size_t len,
                        uint64_t now)
{
    struct phase *phase = &load->phase;
    struct slot *slot = &conn->slots[conn->head];
    if (len < 16 || !conn->count)
        die("a reply nobody asked for");
    if (get32(frame) != slot->xid)
        die("replies out of order");
    int32_t err = get32(frame + 12);
    if (err == 0)
        check_body(load, conn, slot, frame + 16, len - 16);
    else if (!(err == NODE_EXISTS && phase->may_exist)) {
        fprintf(stderr, "load: error %d for op %d\n", err, (int)slot->op);
        exit(1);
    }
    if (phase->measure_ns && now >= phase->measure_ns && now < phase->end_ns)
        hist_add(&load->hist, now - slot->start_ns);
    conn->head = (conn->head + 1) % load->depth;
    conn->count--;
    phase->done++;
}

static void flush_output(struct load *load, struct conn *conn)
{
    while (conn->out_at < conn->out_len) {
        ssize_t sent = send(conn->fd, conn->out + conn->out_at, conn->out_len - conn->out_at,
                            MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent <= 0)
            die("the server closed a connection");
        conn->out_at += (size_t)sent;
    }
    bool blocked = conn->out_at < conn->out_len;
    if (!blocked)
        conn->out_at = conn->out_len = 0;
    if (blocked != conn->want_write) {
        struct epoll_event event = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0),
                                    .data.ptr = conn};
        epoll_ctl(load->epoll, EPOLL_CTL_MOD, conn->fd, &event);
        conn->want_write = blocked;
    }
}

static void read_replies(struct load *load, struct conn *conn)
{
    ssize_t got = recv(conn->fd, conn->in + conn->in_len, IN_MAX - conn->in_len, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        die("the server closed a connection");
    conn->in_len += (size_t)got;
    uint64_t now = now_ns();
    size_t at = 0;
    while (conn->in_len - at >= 4) {
        size_t len = (size_t)get32(conn->in + at);
        if (len > IN_MAX - 4)
            die("absurd reply length");
        if (conn->in_len - at - 4 < len)
            break;
        check_reply(load, conn, conn->in + at + 4, len, now);
        at += 4 + len;
    }
    memmove(conn->in, conn->in + at, conn->in_len - at);
    conn->in_len -= at;
}

/* Refill to the full depth and send. Nothing is added while old output is stuck. */
static void feed(struct load *load, struct conn *conn)
{
    uint64_t now = now_ns();
    if (conn->out_len == 0)
        while (conn->count < load->depth && next_request(load, conn, now))
            ;
    flush_output(load, conn);
}

static uint64_t in_flight(struct load *load)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < load->conns; i++)
        sum += load->all[i].count;
    return sum;
}

/* Take the CPU clocks when the measured window begins and when it ends. */
static void window(struct load *load, uint64_t now)
{
    struct phase *phase = &load->phase;
    if (!phase->measure_ns)
        return;
    if (!load->began_ns && now >= phase->measure_ns) {
        load->began_ns = now;
        load->server_cpu_s = -process_cpu_s(load->pid);
        load->own_cpu_s = -own_cpu_s();
    }
    if (load->began_ns && !load->ended_ns && now >= phase->end_ns) {
        load->ended_ns = now;
        load->server_cpu_s += process_cpu_s(load->pid);
        load->own_cpu_s += own_cpu_s();
    }
}

/* Run the phase to its end: all requests sent and all replies checked. */
static void drive(struct load *load)
{
    struct epoll_event events[256];
    for (unsigned i = 0; i < load->conns; i++) {
        load->all[i].next = 0;
        feed(load, &load->all[i]);
    }
    while (in_flight(load)) {
        int ready = epoll_wait(load->epoll, events, 256, 30000);
        if (ready == 0)
            die("no reply within 30 s");
        window(load, now_ns());
        for (int i = 0; i < ready; i++) {
            struct conn *conn = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                read_replies(load, conn);
            feed(load, conn);
        }
    }
    if (load->phase.measure_ns && !load->ended_ns) { /* ran out of nodes before the time */
        load->phase.end_ns = now_ns();
        window(load, load->phase.end_ns);
    }
}

/* ---- connections ---- */
static void read_fully(int fd, uint8_t *at, size_t len)
{
    while (len) {
        ssize_t got = recv(fd, at, len, 0);
        if (got <= 0)
            die("no handshake");
        at += got;
        len -= (size_t)got;
    }
}

static void open_conn(struct load *load, struct conn *conn, unsigned id)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    uint8_t request[49] = {0}, reply[41];
    conn->id = id;
    conn->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("cannot connect");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    put32(request, 45);
    put32(request + 16, 40000);
    put32(request + 28, 16);
    if (send(conn->fd, request, sizeof request, MSG_NOSIGNAL) != (ssize_t)sizeof request)
        die("cannot send the handshake");
    read_fully(conn->fd, reply, sizeof reply);
    if (get32(reply) != 37 || get32(reply + 8) == 0)
        die("handshake refused");
    fcntl(conn->fd, F_SETFL, O_NONBLOCK);
    size_t node = 200 + load->value_bytes;
    conn->out_max = load->depth * node * (load->phase.op == OP_MULTI ? MULTI_OPS : 1) + 1024;
    conn->out = malloc(conn->out_max);
    conn->in = malloc(IN_MAX);
    conn->slots = calloc(load->depth, sizeof *conn->slots);
    if (!conn->out || !conn->in || !conn->slots)
        die("out of memory");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    epoll_ctl(load->epoll, EPOLL_CTL_ADD, conn->fd, &event);
}

/* End the session, so that the next run starts on a quiet server. */
static void close_conn(struct conn *conn)
{
    uint8_t request[12], reply[20];
    put32(put32(put32(request, 8), 1), -11);
    fcntl(conn->fd, F_SETFL, 0);
    if (send(conn->fd, request, sizeof request, MSG_NOSIGNAL) == (ssize_t)sizeof request)
        read_fully(conn->fd, reply, sizeof reply);
    close(conn->fd);
    free(conn->out);
    free(conn->in);
    free(conn->slots);
}

/* ---- the workloads ---- */
static void make_nodes(struct load *load, enum op op, enum place place, uint64_t total, bool own)
{
    load->phase = (struct phase){.op = op, .place = place, .read_percent = -1, .own = own,
                                 .may_exist = true, .limit = total};
    drive(load);
}

static void prepare(struct load *load)
{
    bool fill = strcmp(load->workload, "fill") == 0;
    make_nodes(load, OP_CREATE, AT_TOP, 1, false);
    if (fill)
        make_nodes(load, OP_CREATE, AT_FILL_DIR, FILL_DIRS, false);
    else if (!strcmp(load->workload, "create") || !strcmp(load->workload, "delete"))
        make_nodes(load, OP_CREATE, AT_PARENT, load->conns, false);
    else
        make_nodes(load, OP_CREATE, AT_KEY, load->keys, false);
    if (!strcmp(load->workload, "delete"))
        make_nodes(load, OP_MULTI, AT_DELETED, load->count / load->conns, true);
}

static void measure(struct load *load)
{
    struct phase phase = {.place = AT_KEY, .read_percent = -1, .random = true,
                          .limit = load->keys};
    const char *workload = load->workload;
    uint64_t now = now_ns();
    if (!strcmp(workload, "fill")) {
        phase = (struct phase){.op = OP_MULTI, .place = AT_FILLED, .read_percent = -1,
                               .limit = load->count, .measure_ns = now, .end_ns = UINT64_MAX};
        load->phase = phase;
        drive(load);
        return;
    }
    double warmup_s = strcmp(workload, "delete") == 0 ? 0 : load->warmup_s;
    phase.measure_ns = now + (uint64_t)(warmup_s * 1e9);
    phase.end_ns = phase.measure_ns + (uint64_t)(load->seconds * 1e9);
    if (!strcmp(workload, "get")) {
        phase.op = OP_GET;
    } else if (!strcmp(workload, "set")) {
        phase.op = OP_SET;
    } else if (!strcmp(workload, "mixed")) {
        phase.read_percent = 90;
    } else {
        bool create = !strcmp(workload, "create");
        phase.op = create ? OP_CREATE : OP_DELETE;
        phase.place = create ? AT_CREATED : AT_DELETED;
        phase.random = false;
        phase.own = true;
        phase.limit = create ? 0 : load->count / load->conns;
    }
    load->phase = phase;
    drive(load);
}

static void print_result(struct load *load)
{
    struct hist *hist = &load->hist;
    double seconds = (double)(load->ended_ns - load->began_ns) / 1e9;
    uint64_t per = strcmp(load->workload, "fill") == 0 ? MULTI_OPS : 1;
    double ops = (double)(hist->total * per);
    if (ops == 0)
        die("nothing was measured");
    printf("{\"workload\": \"%s\", \"conns\": %u, \"depth\": %u, \"value_bytes\": %zu, "
           "\"ops\": %.0f, \"seconds\": %.3f, \"ops_per_s\": %.1f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, "
           "\"server_cpu_us_per_op\": %.3f, \"load_cpu_us_per_op\": %.3f}\n",
           load->workload, load->conns, load->depth, load->value_bytes, ops, seconds,
           ops / seconds, hist_quantile_us(hist, 0.5), hist_quantile_us(hist, 0.99),
           hist_quantile_us(hist, 0.999), (double)hist->max_ns / 1e3,
           load->server_cpu_s * 1e6 / ops, load->own_cpu_s * 1e6 / ops);
}

static void parse(struct load *load, int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "p:w:c:d:v:k:n:u:t:P:")) != -1) {
        switch (option) {
        case 'p': load->port = (unsigned)atoi(optarg); break;
        case 'w': load->workload = optarg; break;
        case 'c': load->conns = (unsigned)atoi(optarg); break;
        case 'd': load->depth = (unsigned)atoi(optarg); break;
        case 'v': load->value_bytes = (size_t)atol(optarg); break;
        case 'k': load->keys = (unsigned)atoi(optarg); break;
        case 'n': load->count = strtoull(optarg, NULL, 10); break;
        case 'u': load->warmup_s = atof(optarg); break;
        case 't': load->seconds = atof(optarg); break;
        case 'P': load->pid = atoi(optarg); break;
        default: exit(2);
        }
    }
    static const char *const known[] = {"get", "set", "create", "delete", "mixed", "fill"};
    bool found = false;
    for (unsigned i = 0; i < 6; i++)
        found |= load->workload && !strcmp(load->workload, known[i]);
    if (!found || !load->port || !load->conns || !load->depth || !load->keys)
        die("usage: load -p port -w get|set|create|delete|mixed|fill [options]");
}

int main(int argc, char **argv)
{
    static struct load load = {.conns = 1, .depth = 1, .keys = 1000, .value_bytes = 1024,
                               .count = 200000, .warmup_s = 1, .seconds = 4,
                               .rng = 88172645463325252u};
    parse(&load, argc, argv);
    run_tag = (unsigned)getpid() % 10000000;
    load.epoll = epoll_create1(0);
    load.all = calloc(load.conns, sizeof *load.all);
    load.value = malloc(load.value_bytes + 1);
    if (load.epoll < 0 || !load.all || !load.value)
        die("out of memory");
    for (size_t i = 0; i < load.value_bytes; i++)
        load.value[i] = (uint8_t)(i * 131 + 7);
    bool multi = !strcmp(load.workload, "fill") || !strcmp(load.workload, "delete");
    load.phase.op = multi ? OP_MULTI : OP_GET; /* for the size of the buffers */
    for (unsigned i = 0; i < load.conns; i++)
        open_conn(&load, &load.all[i], i);
    prepare(&load);
    measure(&load);
    print_result(&load);
    for (unsigned i = 0; i < load.conns; i++)
        close_conn(&load.all[i]);
    free(load.all);
    free(load.value);
    return 0;
}
