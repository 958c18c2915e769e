#include "ensemble/mesh.h"

#include "base/jute.h"

#define MESH_V1 ((int64_t)-65536) /* one address */
#define MESH_V2 ((int64_t)-65535) /* several */
#define MESH_NEVER INT64_MIN
/* stock: QuorumCnxManager.OBSERVER_ID, the name of observers of old; no server of today sends it */
#define MESH_NAMELESS INT64_MAX

struct mesh_hello {
    int64_t sid;
    char host[LINK_HOST]; /* empty: none that could be dialed */
    uint16_t port;
};

enum mesh_parse { MESH_PARTIAL, MESH_COMPLETE, MESH_BAD };

ZK_PRIVATE void mesh_init(struct mesh *m, const struct config *cfg, int64_t self,
                          struct links *links, struct logq *log) {
    const struct config_member *me = quorum_member(cfg, self);
    struct buf address = {0};
    ZK_ASSERT(me);
    memset(m, 0, sizeof *m);
    m->cfg = cfg;
    m->links = links;
    m->log = log;
    m->self = self;
    config_put_host(&address, me->host);
    buf_printf(&address, ":%d", (int)me->election_port);
    jw_i64(&m->hello, MESH_V1);
    jw_i64(&m->hello, self);
    jw_bytes(&m->hello, buf_slice(&address));
    buf_free(&address);
}

ZK_PRIVATE void mesh_free(struct mesh *m) {
    for (uint32_t i = 0; i < m->n_peers; i++) buf_free(&m->peers[i].message);
    mem_free(m->peers);
    buf_free(&m->hello);
    buf_free(&m->inbox);
    buf_free(&m->taken);
    memset(m, 0, sizeof *m);
}

/* --- peers --- */

static struct mesh_peer *mesh_find(const struct mesh *m, int64_t sid) {
    for (uint32_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].sid == sid) return &m->peers[i];
    return NULL;
}

/* NULL when there are too many strangers. */
static struct mesh_peer *mesh_peer(struct mesh *m, int64_t sid) {
    struct mesh_peer *p = mesh_find(m, sid);
    bool member = quorum_member(m->cfg, sid) != NULL;
    if (p) return p;
    if (!member && m->strangers == MESH_STRANGERS_MAX) return NULL;
    if (m->n_peers == m->cap_peers) {
        m->cap_peers = m->cap_peers ? m->cap_peers * 2 : 8;
        m->peers = mem_realloc(m->peers, sizeof *m->peers * m->cap_peers);
    }
    p = &m->peers[m->n_peers++];
    memset(p, 0, sizeof *p);
    p->sid = sid;
    p->member = member;
    p->channel = p->dialing = LINK_NONE;
    p->knocked = MESH_NEVER;
    m->strangers += !member;
    return p;
}

/* A stranger without a link is forgotten. */
static void mesh_settle(struct mesh *m, struct mesh_peer *p) {
    if (p->member || p->channel != LINK_NONE || p->dialing != LINK_NONE) return;
    buf_free(&p->message);
    *p = m->peers[--m->n_peers];
    m->strangers--;
}

static void mesh_hang_up(struct mesh *m, uint32_t *link) {
    if (*link != LINK_NONE) link_close(m->links, *link);
    *link = LINK_NONE;
}

static void mesh_dial(struct mesh *m, struct mesh_peer *p, const char *host, uint16_t port) {
    p->dialing = link_dial(m->links, LINK_ELECTION, host, port, m->now);
    p->dark = false;
    log_line(m->log, LOG_DEBUG_LEVEL, "election: connecting to server %lld at %s:%u",
             (long long)p->sid, host, (unsigned)port);
}

/* Within MESH_KNOCK_MS a larger id has been told our name already: again would cut its answer. */
static void mesh_connect(struct mesh *m, struct mesh_peer *p) {
    const struct config_member *c = quorum_member(m->cfg, p->sid);
    if (!c || p->channel != LINK_NONE || p->dialing != LINK_NONE) return;
    if (p->knocked != MESH_NEVER && m->now - p->knocked < MESH_KNOCK_MS) return;
    mesh_dial(m, p, c->host, (uint16_t)c->election_port);
}

/* --- sending --- */

static void mesh_flush(struct mesh *m, struct mesh_peer *p) {
    if (!p->waiting || p->channel == LINK_NONE) return;
    if (buf_len(&link_at(m->links, p->channel)->out) > MESH_OUT_MAX) return;
    jw_bytes(link_out(m->links, p->channel), buf_slice(&p->message));
    p->waiting = false;
}

static void mesh_receive(struct mesh *m, int64_t sid, struct slice message) {
    if (buf_len(&m->inbox) > MESH_INBOX_MAX) {
        log_line(m->log, LOG_WARN_LEVEL, "election: a message of server %lld is dropped: too many",
                 (long long)sid);
        return;
    }
    buf_compact(&m->inbox);
    jw_i64(&m->inbox, sid);
    jw_bytes(&m->inbox, message);
}

ZK_PRIVATE void mesh_send(struct mesh *m, int64_t sid, struct slice message, int64_t now) {
    ZK_ASSERT(message.n > 0 && message.n <= MESH_FRAME_MAX);
    m->now = now;
    if (sid == m->self) {
        mesh_receive(m, sid, message);
        return;
    }
    struct mesh_peer *p = quorum_member(m->cfg, sid) ? mesh_peer(m, sid) : mesh_find(m, sid);
    if (!p) return;
    buf_clear(&p->message);
    buf_put(&p->message, message.p, message.n);
    p->has_message = p->waiting = true;
    if (p->channel == LINK_NONE)
        mesh_connect(m, p);
    else
        mesh_flush(m, p);
}

ZK_PRIVATE void mesh_connect_all(struct mesh *m, int64_t now) {
    m->now = now;
    for (uint32_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].has_message) mesh_connect(m, &m->peers[i]);
}

ZK_PRIVATE bool mesh_delivered(const struct mesh *m) {
    for (uint32_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].has_message && !m->peers[i].waiting) return true;
    return false;
}

ZK_PRIVATE bool mesh_dark(const struct mesh *m, int64_t sid) {
    const struct mesh_peer *p = mesh_find(m, sid);
    return p && p->dark;
}

ZK_PRIVATE bool mesh_take(struct mesh *m, int64_t *sid, struct slice *message) {
    if (!buf_len(&m->inbox)) return false;
    struct jr r = jr_open(buf_slice(&m->inbox), MESH_FRAME_MAX);
    *sid = jr_i64(&r);
    struct slice s = jr_bytes(&r);
    ZK_ASSERT(!r.bad);
    buf_clear(&m->taken);
    buf_put(&m->taken, s.p, s.n);
    buf_consume(&m->inbox, 12 + s.n);
    *message = buf_slice(&m->taken);
    return true;
}

/* --- the initial message --- */

static bool mesh_wildcard(const char *host) {
    static const char *const names[] = {"0.0.0.0", "0", "::", "0:0:0:0:0:0:0:0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(host, names[i]) == 0) return true;
    return false;
}

/* host:port or [host]:port; false when it is neither. The first that can be dialed is kept. */
static bool mesh_address(struct mesh_hello *h, struct slice s) {
    size_t colon = s.n, host = 0, port = 0;
    while (colon && s.p[colon - 1] != ':') colon--;
    if (colon < 2 || colon == s.n) return false;
    for (size_t i = colon; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        port = port * 10 + (size_t)(s.p[i] - '0');
        if (port > 65535) return false;
    }
    size_t end = colon - 1;
    if (s.p[0] == '[') {
        if (s.p[end - 1] != ']') return false;
        host = 1;
        end--;
    }
    if (end <= host || end - host >= LINK_HOST) return false;
    for (size_t i = host; i < end; i++)
        if (s.p[i] <= ' ' || s.p[i] == 0x7f) return false;
    if (*h->host) return true;
    memcpy(h->host, s.p + host, end - host);
    h->host[end - host] = '\0';
    h->port = (uint16_t)port;
    if (mesh_wildcard(h->host)) *h->host = '\0';
    return true;
}

static bool mesh_addresses(struct mesh_hello *h, struct slice s) {
    for (size_t from = 0, i = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '|') continue;
        if (!mesh_address(h, slice_of(s.p + from, i - from))) return false;
        from = i + 1;
    }
    return true;
}

/* *used: bytes of the message, when it is complete. */
static enum mesh_parse mesh_parse_hello(struct slice in, struct mesh_hello *h, size_t *used) {
    memset(h, 0, sizeof *h);
    if (in.n < 8) return MESH_PARTIAL;
    h->sid = (int64_t)be64(in.p);
    *used = 8;
    if (h->sid >= 0) return MESH_COMPLETE; /* up to 3.4 */
    if (h->sid != MESH_V1 && h->sid != MESH_V2) return MESH_BAD;
    if (in.n < 20) return MESH_PARTIAL;
    uint32_t n = be32(in.p + 16);
    if (!n || n > MESH_HELLO_MAX) return MESH_BAD;
    if (in.n < 20 + (size_t)n) return MESH_PARTIAL;
    h->sid = (int64_t)be64(in.p + 8);
    *used = 20 + (size_t)n;
    return mesh_addresses(h, slice_of(in.p + 20, n)) ? MESH_COMPLETE : MESH_BAD;
}

/* --- channels --- */

/* A link becomes the channel of p, and p hears what it was told last. */
static void mesh_promote(struct mesh *m, struct mesh_peer *p, uint32_t link) {
    mesh_hang_up(m, &p->channel);
    p->channel = link;
    p->dark = false;
    p->knocked = MESH_NEVER;
    p->waiting = p->has_message;
    log_line(m->log, LOG_DEBUG_LEVEL, "election: connected with server %lld", (long long)p->sid);
    mesh_flush(m, p);
}

static void mesh_forget_guest(struct mesh *m, uint32_t link) {
    uint32_t to = 0;
    for (uint32_t i = 0; i < m->n_guests; i++)
        if (m->guests[i].link != link) m->guests[to++] = m->guests[i];
    m->n_guests = to;
}

static bool mesh_is_guest(const struct mesh *m, uint32_t link) {
    for (uint32_t i = 0; i < m->n_guests; i++)
        if (m->guests[i].link == link) return true;
    return false;
}

/* An address and no name: nobody outside decides what names are asked for. */
static bool mesh_is_address(const char *host) {
    size_t digits = strspn(host, "0123456789."), any = strspn(host, "0123456789abcdefABCDEF:.");
    return !host[digits] || (!host[any] && strchr(host, ':') != NULL);
}

/* Somebody with a smaller id knocked: it is dialed, at the address that it named if any. */
static void mesh_dial_back(struct mesh *m, const struct mesh_hello *h) {
    struct mesh_peer *p = mesh_peer(m, h->sid);
    if (!p) {
        log_line(m->log, LOG_WARN_LEVEL, "election: server %lld is not dialed: too many strangers",
                 (long long)h->sid);
        return;
    }
    if (p->dialing != LINK_NONE) return;
    const struct config_member *c = quorum_member(m->cfg, h->sid);
    if (*h->host && (c || mesh_is_address(h->host)))
        mesh_dial(m, p, h->host, h->port);
    else if (c)
        mesh_dial(m, p, c->host, (uint16_t)c->election_port);
    else
        mesh_settle(m, p);
}

/* An accepted connection has said its name. */
static void mesh_welcome(struct mesh *m, uint32_t link, const struct mesh_hello *h) {
    mesh_forget_guest(m, link);
    if (h->sid == m->self || h->sid == MESH_NAMELESS) {
        log_line(m->log, LOG_WARN_LEVEL, "election: a server that calls itself %lld is refused",
                 (long long)h->sid);
        link_close(m->links, link);
        return;
    }
    if (h->sid < m->self) {
        link_close(m->links, link);
        mesh_dial_back(m, h);
        return;
    }
    struct mesh_peer *p = mesh_peer(m, h->sid);
    if (!p) {
        log_line(m->log, LOG_WARN_LEVEL, "election: server %lld is refused: too many strangers",
                 (long long)h->sid);
        link_close(m->links, link);
        return;
    }
    mesh_hang_up(m, &p->dialing);
    mesh_promote(m, p, link);
}

static void mesh_read_guest(struct mesh *m, uint32_t link) {
    struct buf *in = &link_at(m->links, link)->in;
    struct mesh_hello h;
    size_t used = 0;
    switch (mesh_parse_hello(buf_slice(in), &h, &used)) {
    case MESH_PARTIAL:
        break;
    case MESH_COMPLETE:
        buf_consume(in, used);
        mesh_welcome(m, link, &h);
        break;
    case MESH_BAD:
        log_line(m->log, LOG_WARN_LEVEL, "election: a connection with a bad initial message");
        mesh_forget_guest(m, link);
        link_close(m->links, link);
        break;
    }
}

static void mesh_read_channel(struct mesh *m, struct mesh_peer *p) {
    struct buf *in = &link_at(m->links, p->channel)->in;
    for (;;) {
        struct slice s = buf_slice(in);
        if (s.n < 4) return;
        uint32_t n = be32(s.p);
        if (!n || n > MESH_FRAME_MAX) {
            log_line(m->log, LOG_WARN_LEVEL,
                     "election: server %lld announces a message of %ld bytes", (long long)p->sid,
                     (long)(int32_t)n);
            mesh_hang_up(m, &p->channel);
            mesh_settle(m, p);
            return;
        }
        if (s.n - 4 < n) return;
        mesh_receive(m, p->sid, slice_of(s.p + 4, n));
        buf_consume(in, 4 + (size_t)n);
    }
}

/* --- what happens to links --- */

ZK_PRIVATE bool mesh_owns(const struct mesh *m, uint32_t link) {
    return link_at(m->links, link)->kind == LINK_ELECTION;
}

static int64_t mesh_guest_timeout(const struct mesh *m) {
    if (m->cfg->quorum_cnxn_timeout_ms > 0) return m->cfg->quorum_cnxn_timeout_ms;
    return (int64_t)m->cfg->sync_limit * m->cfg->tick_time_ms;
}

ZK_PRIVATE void mesh_accepted(struct mesh *m, uint32_t link, int64_t now) {
    m->now = now;
    if (m->n_guests == MESH_GUESTS_MAX) {
        uint32_t oldest = m->guests[0].link;
        mesh_forget_guest(m, oldest);
        link_close(m->links, oldest);
    }
    m->guests[m->n_guests].link = link;
    m->guests[m->n_guests++].deadline = now + mesh_guest_timeout(m);
}

ZK_PRIVATE void mesh_opened(struct mesh *m, uint32_t link, int64_t now) {
    m->now = now;
    for (uint32_t i = 0; i < m->n_peers; i++) {
        struct mesh_peer *p = &m->peers[i];
        if (p->dialing != link) continue;
        buf_put(link_out(m->links, link), m->hello.p, m->hello.n);
        if (p->sid < m->self) {
            p->dialing = LINK_NONE;
            mesh_promote(m, p, link);
        } else {
            mesh_hang_up(m, &p->dialing);
            p->knocked = now;
            p->dark = false;
        }
        return;
    }
}

ZK_PRIVATE void mesh_input(struct mesh *m, uint32_t link, int64_t now) {
    m->now = now;
    if (mesh_is_guest(m, link)) mesh_read_guest(m, link);
    for (uint32_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].channel == link) {
            mesh_read_channel(m, &m->peers[i]);
            return;
        }
}

/* The link of p is gone, or of no more use. */
static void mesh_lost(struct mesh *m, struct mesh_peer *p, uint32_t *link) {
    *link = LINK_NONE;
    p->dark = p->channel == LINK_NONE;
    mesh_settle(m, p);
}

ZK_PRIVATE void mesh_closed(struct mesh *m, uint32_t link, int64_t now) {
    m->now = now;
    mesh_forget_guest(m, link);
    for (uint32_t i = 0; i < m->n_peers; i++) {
        struct mesh_peer *p = &m->peers[i];
        if (p->channel != link && p->dialing != link) continue;
        mesh_lost(m, p, p->channel == link ? &p->channel : &p->dialing);
        return;
    }
}

static bool mesh_unanswered(const struct mesh_peer *p) {
    return p->knocked != MESH_NEVER && p->channel == LINK_NONE && p->dialing == LINK_NONE &&
           !p->dark;
}

ZK_PRIVATE void mesh_tick(struct mesh *m, int64_t now) {
    m->now = now;
    while (m->n_guests && m->guests[0].deadline <= now) {
        uint32_t link = m->guests[0].link;
        log_line(m->log, LOG_WARN_LEVEL, "election: a connection that did not say its name");
        mesh_forget_guest(m, link);
        link_close(m->links, link);
    }
    for (uint32_t i = m->n_peers; i-- > 0;) { /* down: the last takes the place of who goes */
        struct mesh_peer *p = &m->peers[i];
        mesh_flush(m, p);
        /* Its port was open still, and nobody was behind it any more. */
        if (mesh_unanswered(p) && now - p->knocked >= MESH_DARK_MS) p->dark = true;
        if (p->dialing == LINK_NONE) continue;
        if (now - link_at(m->links, p->dialing)->since < m->cfg->cnx_timeout_ms) continue;
        link_close(m->links, p->dialing);
        mesh_lost(m, p, &p->dialing);
    }
}

ZK_PRIVATE int64_t mesh_next_tick(const struct mesh *m) {
    int64_t at = m->n_guests ? m->guests[0].deadline : INT64_MAX;
    for (uint32_t i = 0; i < m->n_peers; i++) {
        const struct mesh_peer *p = &m->peers[i];
        int64_t want = INT64_MAX;
        if (p->dialing != LINK_NONE)
            want = link_at(m->links, p->dialing)->since + m->cfg->cnx_timeout_ms;
        else if (p->waiting && p->channel != LINK_NONE)
            want = m->now + MESH_KNOCK_MS; /* it does not read: whether it has begun to */
        else if (mesh_unanswered(p))
            want = p->knocked + MESH_DARK_MS;
        if (want < at) at = want;
    }
    return at;
}
