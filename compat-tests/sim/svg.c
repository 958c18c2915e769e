/*
 * The run as a space-time diagram: a line for each server, its colour the role; arrows for what
 * the servers tell one another; marks for proposals, syncs and commits. Time runs to the right;
 * spans in which nothing happens are cut short, so that a picture shows steps and not waiting.
 *
 * Messages are read off the streams where they are sent, and drawn to where their last byte is
 * read.
 */
#include <stdio.h>

#include "ensemble/packet.h"
#include "svg.h"

#define SVG_LEFT 90
#define SVG_TOP 70
#define SVG_LANE 120
#define SVG_GAP_MOST 46      /* pixels for a wait, however long */
#define SVG_US_A_PIXEL 40
#define SVG_WORDS 34 /* pixels that a zxid takes */
#define SVG_NOTIFICATION (-1) /* in the place of a packet's type */

struct svg_message {
    int64_t sent, arrived; /* -1: never */
    uint32_t from, to;
    int32_t type;
    int64_t value;
};
struct svg_mark {
    int64_t at;
    uint32_t server;
    enum svg_kind kind;
    int64_t value;
};
struct svg_tap { /* one direction of a stream */
    uint32_t gen;
    uint64_t sent, delivered; /* bytes */
    struct buf bytes;         /* sent and not read yet */
    struct buf open;          /* struct svg_open: messages on the way */
    bool image, hello;
};
struct svg_open {
    uint64_t end; /* of its bytes */
    uint32_t message;
};

static struct {
    bool on;
    int64_t from, to; /* us; 0, 0: to be chosen */
    struct buf messages, marks, taps, times;
} svg;

void svg_start(int64_t from_ms, int64_t to_ms) {
    memset(&svg, 0, sizeof svg);
    svg.on = true;
    svg.from = from_ms * MS;
    svg.to = to_ms * MS;
}

/* --- what happens --- */

void svg_mark(uint32_t server, enum svg_kind kind, int64_t value) {
    struct svg_mark m = {sim.now, server, kind, value};
    if (!svg.on) return;
    struct mem_owner *before = mem_owned_by(&sim.mem);
    buf_put(&svg.marks, &m, sizeof m);
    (void)mem_owned_by(before);
}

static struct svg_tap *svg_tap(uint32_t stream, int side) {
    size_t i = 2 * (size_t)stream + (size_t)side, need = (i + 1) * sizeof(struct svg_tap);
    while (svg.taps.n < need) {
        struct svg_tap none = {.gen = SIM_NONE};
        buf_put(&svg.taps, &none, sizeof none);
    }
    struct svg_tap *t = (struct svg_tap *)(void *)svg.taps.p + i;
    if (t->gen != sim.net.streams[stream].gen) {
        struct svg_tap fresh = {.gen = sim.net.streams[stream].gen, .hello = side == 0};
        buf_free(&t->bytes);
        buf_free(&t->open);
        *t = fresh;
    }
    return t;
}

static void svg_message(struct svg_tap *t, const struct stream *k, int side, int32_t type,
                        int64_t value) {
    struct svg_message m = {sim.now, -1, k->end[side].host, k->end[1 - side].host, type, value};
    struct svg_open o = {t->sent - buf_len(&t->bytes),
                         (uint32_t)(svg.messages.n / sizeof m)};
    buf_put(&svg.messages, &m, sizeof m);
    buf_put(&t->open, &o, sizeof o);
}

/* The raw tree behind a SNAP packet ends with a signature. */
static bool svg_skip_image(struct svg_tap *t) {
    static const char end[] = PACKET_SIGNATURE;
    size_t n = sizeof end - 1, len = buf_len(&t->bytes);
    const uint8_t *p = t->bytes.p + t->bytes.head;
    for (size_t i = 0; i + n <= len; i++)
        if (memcmp(p + i, end, n) == 0) {
            buf_consume(&t->bytes, i + n);
            t->image = false;
            return true;
        }
    return false;
}

static bool svg_packet(struct svg_tap *t, const struct stream *k, int side) {
    struct packet p;
    size_t used;
    if (t->image) return svg_skip_image(t);
    if (packet_take(buf_slice(&t->bytes), 1u << 24, &p, &used) != PACKET_READ) return false;
    int32_t type = p.type;
    int64_t zxid = p.zxid;
    buf_consume(&t->bytes, used);
    svg_message(t, k, side, type, zxid);
    t->image = type == PACKET_SNAP;
    return true;
}

/* The name that a dialer sends first, then frames with a notification each. */
static bool svg_notification(struct svg_tap *t, const struct stream *k, int side) {
    struct slice in = buf_slice(&t->bytes);
    if (t->hello) {
        if (in.n < 20 || in.n < 20 + (size_t)be32(in.p + 16)) return false;
        buf_consume(&t->bytes, 20 + (size_t)be32(in.p + 16));
        t->hello = false;
        return true;
    }
    if (in.n < 4 || in.n - 4 < be32(in.p)) return false;
    size_t len = be32(in.p);
    int64_t leader = len >= 12 ? (int64_t)be64(in.p + 8) : 0;
    buf_consume(&t->bytes, len + 4);
    svg_message(t, k, side, SVG_NOTIFICATION, leader);
    return true;
}

void svg_sent(uint32_t stream, int side, struct slice bytes) {
    const struct stream *k = &sim.net.streams[stream];
    if (!svg.on || k->port == PORT_CLIENT) return;
    struct mem_owner *before = mem_owned_by(&sim.mem);
    struct svg_tap *t = svg_tap(stream, side);
    t->sent += bytes.n;
    buf_put(&t->bytes, bytes.p, bytes.n);
    while (k->port == PORT_QUORUM ? svg_packet(t, k, side) : svg_notification(t, k, side)) continue;
    (void)mem_owned_by(before);
}

void svg_delivered(uint32_t stream, int side, size_t n) {
    if (!svg.on || sim.net.streams[stream].port == PORT_CLIENT) return;
    struct mem_owner *before = mem_owned_by(&sim.mem);
    struct svg_tap *t = svg_tap(stream, side);
    t->delivered += n;
    for (struct svg_open o; buf_len(&t->open); buf_consume(&t->open, sizeof o)) {
        memcpy(&o, t->open.p + t->open.head, sizeof o);
        if (o.end > t->delivered) break;
        ((struct svg_message *)(void *)svg.messages.p)[o.message].arrived = sim.now;
    }
    (void)mem_owned_by(before);
}

/* --- time to pixels --- */

static const struct svg_mark *svg_marks(size_t *n) {
    *n = svg.marks.n / sizeof(struct svg_mark);
    return (const struct svg_mark *)(void *)svg.marks.p;
}

static const struct svg_message *svg_messages(size_t *n) {
    *n = svg.messages.n / sizeof(struct svg_message);
    return (const struct svg_message *)(void *)svg.messages.p;
}

/* The fall of the first established leader, and what follows; or the beginning. */
static void svg_choose(void) {
    size_t n, i = 0, k;
    const struct svg_mark *m = svg_marks(&n);
    uint32_t leader = SIM_NONE;
    svg.from = 0;
    svg.to = 3 * SEC;
    for (; i < n; i++) {
        if (m[i].kind == SVG_ESTABLISHED) leader = m[i].server;
        if (m[i].kind == SVG_DOWN && m[i].server == leader) break;
    }
    for (k = i; k < n && m[k].kind != SVG_ESTABLISHED; k++) continue;
    if (k >= n) return;
    svg.from = m[i].at - 15 * MS;
    svg.to = m[k].at + 15 * MS;
}

static void svg_note(int64_t at) {
    if (at >= svg.from && at <= svg.to) buf_put(&svg.times, &at, sizeof at);
}

static int svg_time_cmp(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double svg_x(int64_t at) {
    const int64_t *t = (const int64_t *)(void *)svg.times.p;
    size_t n = svg.times.n / sizeof *t;
    double x = SVG_LEFT;
    for (size_t i = 0; i + 1 < n && t[i] < at; i++) {
        int64_t to = t[i + 1] < at ? t[i + 1] : at;
        double step = (double)(to - t[i]) / SVG_US_A_PIXEL;
        x += step > SVG_GAP_MOST ? SVG_GAP_MOST : step;
    }
    return x;
}

static double svg_y(uint32_t server) {
    return SVG_TOP + SVG_LANE * (double)server;
}

/* --- drawing --- */

struct svg_look {
    const char *colour, *word;
};

static struct svg_look svg_band(enum svg_kind k) {
    static const struct svg_look looks[] = {
        [SVG_START] = {"#d9a300", "looking"},       [SVG_LOOKING] = {"#d9a300", "looking"},
        [SVG_LEADING] = {"#8fcf8f", "leads, not established"},
        [SVG_ESTABLISHED] = {"#2e8b3d", "leads"},   [SVG_LEARNING] = {"#9ec7ee", "is brought up"},
        [SVG_SERVING] = {"#2f6fb5", "follows"},     [SVG_DOWN] = {"#d5d5d5", "down"}};
    return looks[k];
}

static struct svg_look svg_arrow(int32_t type) {
    switch (type) {
    case SVG_NOTIFICATION:
        return (struct svg_look){"#d9a300", NULL};
    case PACKET_PROPOSAL:
        return (struct svg_look){"#c0392b", "p"};
    case PACKET_ACK:
        return (struct svg_look){"#2f6fb5", "ack"};
    case PACKET_COMMIT:
    case PACKET_INFORM:
        return (struct svg_look){"#2e8b3d", "c"};
    case PACKET_PING:
        return (struct svg_look){"#d0d0d0", NULL};
    case PACKET_REQUEST:
        return (struct svg_look){"#8e6bb0", "req"};
    case PACKET_NEWLEADER:
        return (struct svg_look){"#555555", "NEWLEADER"};
    case PACKET_FOLLOWERINFO:
    case PACKET_OBSERVERINFO:
        return (struct svg_look){"#555555", "INFO"};
    case PACKET_UPTODATE:
        return (struct svg_look){"#555555", "UPTODATE"};
    case PACKET_DIFF:
        return (struct svg_look){"#555555", "DIFF"};
    case PACKET_TRUNC:
        return (struct svg_look){"#555555", "TRUNC"};
    case PACKET_SNAP:
        return (struct svg_look){"#555555", "SNAP"};
    case PACKET_LEADERINFO:
        return (struct svg_look){"#555555", "LEADERINFO"};
    case PACKET_ACKEPOCH:
        return (struct svg_look){"#555555", "ACKEPOCH"};
    default:
        return (struct svg_look){"#b0b0b0", NULL};
    }
}

static bool svg_is_band(enum svg_kind k) {
    return k <= SVG_DOWN;
}

static void svg_bands(FILE *f, uint32_t server) {
    size_t n;
    const struct svg_mark *m = svg_marks(&n);
    enum svg_kind now = SVG_DOWN;
    int64_t since = svg.from;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && (m[i].server != server || !svg_is_band(m[i].kind))) continue;
        int64_t at = i < n ? m[i].at : svg.to;
        if (at > svg.to) at = svg.to;
        struct svg_look look = svg_band(now);
        if (at > since && at > svg.from)
            (void)fprintf(f, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='%s' "
                          "stroke-width='7'%s/>\n", svg_x(since), svg_y(server), svg_x(at),
                          svg_y(server), look.colour,
                          now == SVG_DOWN ? " stroke-dasharray='2 6'" : "");
        if (i == n) return;
        now = m[i].kind;
        since = at > svg.from ? at : svg.from;
    }
}

static void svg_text(FILE *f, double x, double y, const char *colour, const char *fmt, ...) {
    va_list ap;
    (void)fprintf(f, "<text x='%.1f' y='%.1f' fill='%s'>", x, y, colour);
    va_start(ap, fmt);
    (void)vfprintf(f, fmt, ap);
    va_end(ap);
    (void)fprintf(f, "</text>\n");
}

/* crowded: its words would stand upon those of the one before. */
static void svg_draw_mark(FILE *f, const struct svg_mark *m, bool crowded) {
    double x = svg_x(m->at), y = svg_y(m->server);
    unsigned epoch = (unsigned)(m->value >> 32), counter = (unsigned)(m->value & 0xffffffff);
    switch (m->kind) {
    case SVG_DOWN:
        svg_text(f, x - 6, y + 6, "#c0392b", "<tspan font-size='20'>&#10005;</tspan>");
        break;
    case SVG_LOOKING:
        svg_text(f, x, y - 12, "#a67c00", "looks for a leader");
        break;
    case SVG_ESTABLISHED:
        svg_text(f, x, y - 26, "#2e8b3d", "epoch %lld is established", (long long)m->value);
        break;
    case SVG_PROPOSED:
        (void)fprintf(f, "<circle cx='%.1f' cy='%.1f' r='4' fill='#c0392b'/>\n", x, y);
        if (!crowded) svg_text(f, x - 4, y - 8, "#c0392b", "%u:%u", epoch, counter);
        break;
    case SVG_DURABLE:
        (void)fprintf(f, "<rect x='%.1f' y='%.1f' width='6' height='6' fill='#222'/>\n", x - 3,
                      y - 3);
        break;
    case SVG_COMMITTED:
        (void)fprintf(f, "<path d='M%.1f %.1fl5 9h-10z' fill='#2e8b3d'/>\n", x, y + 5);
        if (!crowded) svg_text(f, x - 6, y + 26, "#2e8b3d", "%u:%u", epoch, counter);
        break;
    default:
        break;
    }
}

static void svg_draw_marks(FILE *f) {
    double last[SIM_SERVERS][SVG_KINDS];
    size_t n;
    const struct svg_mark *m = svg_marks(&n);
    for (int s = 0; s < SIM_SERVERS; s++)
        for (int k = 0; k < SVG_KINDS; k++) last[s][k] = -SVG_WORDS;
    for (size_t i = 0; i < n; i++) {
        if (m[i].at < svg.from || m[i].at > svg.to) continue;
        double *before = &last[m[i].server][m[i].kind], x = svg_x(m[i].at);
        bool crowded = x - *before < SVG_WORDS;
        svg_draw_mark(f, &m[i], crowded);
        if (!crowded) *before = x;
    }
}

static void svg_draw_message(FILE *f, const struct svg_message *m) {
    struct svg_look look = svg_arrow(m->type);
    bool lost = m->arrived < 0 || m->arrived > svg.to;
    double x1 = svg_x(m->sent), y1 = svg_y(m->from), y2 = svg_y(m->to);
    double x2 = lost ? x1 + 12 : svg_x(m->arrived);
    if (lost) y2 = y1 + (y2 - y1) * 0.35;
    (void)fprintf(f, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='%s'%s "
                  "marker-end='url(#%s)'/>\n", x1, y1, x2, y2, look.colour,
                  lost ? " stroke-dasharray='3 3'" : "", lost ? "lost" : "tip");
    double x = x1 + (x2 - x1) * 0.3 + 2, y = y1 + (y2 - y1) * 0.3;
    if (m->type == SVG_NOTIFICATION && m->value < 0)
        return; /* an observer has no vote */
    if (m->type == SVG_NOTIFICATION)
        svg_text(f, x, y, look.colour, "%lld", (long long)m->value);
    else if (look.word && m->type <= PACKET_COMMIT && m->type > PACKET_REQUEST)
        svg_text(f, x, y, look.colour, "%s %u", look.word, (unsigned)(m->value & 0xffffffff));
    else if (look.word)
        svg_text(f, x, y, look.colour, "%s", look.word);
}

static void svg_legend(FILE *f, double y) {
    static const struct {
        const char *colour, *text;
    } rows[] = {{"#d9a300", "looks for a leader; arrows: votes"},
                {"#8fcf8f", "leads, not established yet"}, {"#2e8b3d", "leads; commit (triangle)"},
                {"#9ec7ee", "is brought up to the leader's history"},
                {"#2f6fb5", "follows; arrows: acknowledgements"},
                {"#c0392b", "proposal (dot); crash (cross)"}, {"#222222", "durable (square)"},
                {"#8e6bb0", "request of a client, passed on"}};
    double x = SVG_LEFT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (i == sizeof rows / sizeof *rows / 2) {
            x = SVG_LEFT;
            y += 20;
        }
        (void)fprintf(f, "<rect x='%.1f' y='%.1f' width='14' height='8' fill='%s'/>\n", x, y - 8,
                      rows[i].colour);
        svg_text(f, x + 20, y, "#333", "%s", rows[i].text);
        x += 250;
    }
}

static void svg_scale(FILE *f, double y) {
    const int64_t *t = (const int64_t *)(void *)svg.times.p;
    size_t n = svg.times.n / sizeof *t;
    double last = -100;
    for (size_t i = 0; i < n; i++) {
        double x = svg_x(t[i]);
        if (x - last < 90) continue;
        last = x;
        svg_text(f, x, y, "#888", "%lld.%01lld ms", (long long)(t[i] / MS),
                 (long long)(t[i] % MS / 100));
        (void)fprintf(f, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#eee'/>\n", x,
                      y + 4, x, svg_y(sim.n_servers) - SVG_LANE / 2.0);
    }
}

static void svg_draw(FILE *f) {
    size_t n;
    double width = svg_x(svg.to) + 60, height = svg_y(sim.n_servers) + 20;
    if (width < 1100) width = 1100;
    (void)fprintf(f, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' "
                  "width='%.0f' height='%.0f' font-family='sans-serif' font-size='11'>\n"
                  "<defs><marker id='tip' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='7' "
                  "markerHeight='7' orient='auto'><path d='M0 0L8 4L0 8z' fill='#777'/></marker>"
                  "<marker id='lost' viewBox='0 0 8 8' refX='4' refY='4' markerWidth='6' "
                  "markerHeight='6'><path d='M0 0L8 8M8 0L0 8' stroke='#c0392b'/></marker></defs>\n"
                  "<rect width='100%%' height='100%%' fill='white'/>\n", width, height, width,
                  height);
    svg_text(f, SVG_LEFT, 18, "#333", "Seed %llu, %u servers. Time runs to the right; waits are "
             "cut short.", (unsigned long long)sim.seed, sim.n_servers);
    svg_scale(f, 36);
    for (uint32_t i = 0; i < sim.n_servers; i++) {
        svg_text(f, 10, svg_y(i) + 4, "#333", "<tspan font-size='14'>server %u%s</tspan>", i + 1,
                 sim.servers[i].observer ? " (obs.)" : "");
        svg_bands(f, i);
    }
    const struct svg_message *msg = svg_messages(&n);
    for (size_t i = 0; i < n; i++)
        if (msg[i].sent >= svg.from && msg[i].sent <= svg.to) svg_draw_message(f, &msg[i]);
    svg_draw_marks(f);
    svg_legend(f, svg_y(sim.n_servers) - SVG_LANE / 2.0 + 30);
    (void)fprintf(f, "</svg>\n");
}

bool svg_write(const char *path) {
    size_t n;
    if (!svg.to) svg_choose();
    svg_note(svg.from);
    svg_note(svg.to);
    const struct svg_message *msg = svg_messages(&n);
    for (size_t i = 0; i < n; i++) {
        svg_note(msg[i].sent);
        svg_note(msg[i].arrived);
    }
    const struct svg_mark *m = svg_marks(&n);
    for (size_t i = 0; i < n; i++) svg_note(m[i].at);
    qsort(svg.times.p, svg.times.n / sizeof(int64_t), sizeof(int64_t), svg_time_cmp);
    FILE *f = fopen(path, "w");
    if (!f) return false;
    svg_draw(f);
    return fclose(f) == 0;
}
