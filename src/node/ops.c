#include "node/ops.h"

#include "ensemble/quorum.h"
#include "node/mntr.h"
#include "node/role.h"

#define OPS_CHUNK 8192 /* characters per packet that stock counts as sent. BufferedWriter */

struct ops {
    struct node *n;
    uint32_t conn;   /* who asks */
    struct slice in; /* the word and what came with it */
    struct buf *out;
};

/* --- tables that are printed in order --- */

struct ops_item {
    int64_t when; /* monotonic ms: the bucket in which it expires */
    int64_t id;   /* of the session; 0: a connection without one */
    uint32_t conn;
};

static int ops_item_cmp(const void *a, const void *b) {
    struct ops_item x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    if (x.when != y.when) return x.when < y.when ? -1 : 1;
    if (x.id != y.id) return x.id < y.id ? -1 : 1;
    return x.conn < y.conn ? -1 : x.conn > y.conn;
}

static struct ops_item ops_item(const struct buf *items, size_t i) {
    struct ops_item item;
    memcpy(&item, items->p + i * sizeof item, sizeof item);
    return item;
}

/* "Sun Nov 22 23:43:35 UTC 2026". stock: java.util.Date.toString, in the zone of the machine */
static void ops_put_date(struct buf *out, int64_t wall_ms) {
    static const char days[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t s = wall_ms / 1000, day = s / 86400;
    int rest = (int)(s % 86400);
    /* Days since 0000-03-01, taken apart in eras of 400 years; a year that begins in March has
     * its leap day at the end. */
    int64_t z = day + 719468, era = z / 146097, doe = z % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 2 : mp - 10; /* 0: January */
    int64_t year = yoe + era * 400 + (month < 2);
    buf_printf(out, "%s %s %02d %02d:%02d:%02d UTC %lld", days[day % 7], months[month],
               (int)(doy - (153 * mp + 2) / 5) + 1, rest / 3600, rest / 60 % 60, rest % 60,
               (long long)year);
}

/* --- connections --- */

static bool ops_shown(const struct conn *c) {
    return c->phase != CONN_FREE && c->phase != CONN_CLOSING;
}

/* Bits of java.nio's SelectionKey: 1 read, 4 write; a connection that asks is not selected. */
static unsigned ops_interest(const struct ops *q, uint32_t id) {
    const struct conn *c = &q->n->conns[id];
    if (id == q->conn) return 0;
    return (c->paused ? 0u : 1u) | (buf_len(&c->out) ? 4u : 0u);
}

/* stock: ServerCnxn.dumpConnectionInfo */
static void ops_put_conn(const struct ops *q, uint32_t id, bool brief) {
    const struct conn *c = &q->n->conns[id];
    struct buf *out = q->out;
    buf_putc(out, ' ');
    node_addr_format(&c->addr, out);
    buf_printf(out, "[%x](queued=%u,recved=%lld,sent=%lld", ops_interest(q, id),
               (unsigned)node_conn_pending(c), (long long)c->received, (long long)c->sent);
    if (!brief && c->session) {
        buf_printf(out, ",sid=0x%llx,lop=%s,est=%lld,to=%d", (unsigned long long)c->session,
                   c->last_op ? wire_op_label(c->last_op) : "NA", (long long)c->established,
                   c->timeout);
        if (c->last_cxid >= 0) buf_printf(out, ",lcxid=0x%llx", (unsigned long long)c->last_cxid);
        int64_t avg = c->latency_count ? c->latency_sum / c->latency_count : 0;
        buf_printf(out, ",lzxid=0x%llx,lresp=%lld,llat=%lld,minlat=%lld,avglat=%lld,maxlat=%lld",
                   (unsigned long long)c->last_zxid, (long long)c->last_response,
                   (long long)c->last_latency, (long long)c->min_latency, (long long)avg,
                   (long long)c->max_latency);
    }
    buf_puts(out, ")\n");
}

static void ops_put_conns(const struct ops *q, bool brief) {
    for (uint32_t i = 0; i < q->n->n_conns; i++)
        if (ops_shown(&q->n->conns[i])) ops_put_conn(q, i, brief);
    buf_putc(q->out, '\n');
}

static void ops_cons(struct ops *q) {
    ops_put_conns(q, false);
}

static void ops_crst(struct ops *q) {
    for (uint32_t i = 0; i < q->n->n_conns; i++) {
        struct conn *c = &q->n->conns[i];
        c->received = c->sent = 0;
        c->last_op = 0;
        c->last_cxid = c->last_zxid = -1;
        c->last_response = c->last_latency = 0;
        c->min_latency = c->max_latency = c->latency_sum = c->latency_count = 0;
        c->reset = true;
    }
    buf_puts(q->out, "Connection stats reset.\n");
}

/* --- the server --- */

static struct node_facts ops_facts(const struct ops *q) {
    struct node_facts f;
    memset(&f, 0, sizeof f);
    f.data_dir = f.log_dir = "";
    if (q->n->host.facts) q->n->host.facts(q->n->host.ctx, &f);
    return f;
}

/* stock: QuorumZooKeeperServer.dumpConf */
static void ops_conf_quorum(struct ops *q) {
    const struct config *c = q->n->cfg;
    const struct config_member *m = quorum_member(c, q->n->role.self);
    buf_printf(q->out, "initLimit=%d\nsyncLimit=%d\nelectionAlg=3\nelectionPort=%d\n"
               "quorumPort=%d\npeerType=%d\nmembership: \n", c->init_limit, c->sync_limit,
               m->election_port, m->quorum_port, m->observer);
    config_string(c, q->out);
}

static void ops_conf(struct ops *q) {
    const struct config *c = q->n->cfg;
    struct node_facts f = ops_facts(q);
    buf_printf(q->out, "clientPort=%u\nsecureClientPort=-1\n", (unsigned)f.client_port);
    buf_printf(q->out, "dataDir=%s\ndataDirSize=%lld\n", f.data_dir, (long long)f.data_dir_size);
    buf_printf(q->out, "dataLogDir=%s\ndataLogSize=%lld\n", f.log_dir, (long long)f.log_dir_size);
    buf_printf(q->out, "tickTime=%lld\nmaxClientCnxns=%d\n", (long long)q->n->tick,
               c->max_client_cnxns);
    buf_printf(q->out, "minSessionTimeout=%d\nmaxSessionTimeout=%d\n", q->n->min_timeout,
               q->n->max_timeout);
    buf_printf(q->out, "clientPortListenBacklog=%d\nserverId=%lld\n", c->listen_backlog,
               (long long)q->n->role.self);
    if (q->n->role.phase != ROLE_ALONE) ops_conf_quorum(q);
}

static void ops_dirs(struct ops *q) {
    struct node_facts f = ops_facts(q);
    buf_printf(q->out, "datadir_size: %lld\nlogdir_size: %lld\n", (long long)f.data_dir_size,
               (long long)f.log_dir_size);
}

static void ops_envi(struct ops *q) {
    struct node_facts f = ops_facts(q);
    buf_puts(q->out, "Environment:\nzookeeper.version=" OPS_VERSION "\n");
    buf_put(q->out, f.environment.p, f.environment.n);
}

static void ops_put_server(const struct ops *q) {
    const struct node *n = q->n;
    const struct node_stats *st = &n->stats;
    buf_printf(q->out, "Latency min/avg/max: %lld/",
               (long long)(st->latency_count ? st->latency_min : 0));
    metrics_put_average(q->out, st->latency_sum, st->latency_count);
    buf_printf(q->out, "/%lld\nReceived: %lld\nSent: %lld\nConnections: %u\nOutstanding: %u\n",
               (long long)st->latency_max, (long long)st->received, (long long)st->sent,
               (unsigned)mntr_alive(n), (unsigned)n->pend_n);
    /* stock keeps the root under two names and counts both */
    int64_t zxid = n->db.last_zxid, led = (int64_t)((uint64_t)n->role.leader.epoch << 32);
    if (n->role.phase == ROLE_LEADING && led > zxid) zxid = led; /* a new epoch begins with it */
    buf_printf(q->out, "Zxid: 0x%llx\nMode: %s\nNode count: %u\n", (unsigned long long)zxid,
               role_name(n), n->db.tree.count + 1);
    if (n->role.phase == ROLE_LEADING)
        buf_printf(q->out, "Proposal sizes last/min/max: %lld/%lld/%lld\n",
                   (long long)n->role.leader.sizes.last, (long long)n->role.leader.sizes.least,
                   (long long)n->role.leader.sizes.most);
}

static void ops_srvr(struct ops *q) {
    buf_puts(q->out, "Zookeeper version: " OPS_VERSION "\n");
    ops_put_server(q);
}

static void ops_stat(struct ops *q) {
    buf_puts(q->out, "Zookeeper version: " OPS_VERSION "\nClients:\n");
    ops_put_conns(q, true);
    ops_put_server(q);
}

static void ops_mntr(struct ops *q) {
    struct node_facts f = ops_facts(q);
    buf_puts(q->out, "zk_version\t" OPS_VERSION "\n");
    buf_printf(q->out, "zk_server_state\t%s\n", role_name(q->n));
    mntr_dump(q->n, &f, q->out);
}

/* Counters and summaries; what is a gauge in stock stays. stock: ServerStats.reset */
static void ops_srst(struct ops *q) {
    struct node_stats *st = &q->n->stats, old = *st;
    memset(st, 0, sizeof *st);
    st->latency_min = INT64_MAX;
    st->last_response = st->min_response = st->max_response = -1;
    st->auth_failed = old.auth_failed;
    st->snapshots = old.snapshots;
    st->fsync_slow = old.fsync_slow;
    q->n->prep.queued = q->n->prep.removed = 0;
    metrics_reset(&q->n->metrics);
    buf_puts(q->out, "Server stats reset.\n");
}

static void ops_hash(struct ops *q) {
    const struct node *n = q->n;
    uint64_t i = n->n_digests > NODE_DIGESTS ? n->n_digests - NODE_DIGESTS : 0;
    for (; i < n->n_digests; i++) {
        const struct node_digest *d = &n->digests[i % NODE_DIGESTS];
        buf_printf(q->out, "%llx: %lld\n", (unsigned long long)d->zxid, (long long)d->digest);
    }
}

static void ops_ruok(struct ops *q) {
    buf_puts(q->out, "imok");
}

static void ops_isro(struct ops *q) {
    buf_puts(q->out, q->n->serving ? "rw" : "null");
}

/* The mask is stored for those who ask again; nothing is traced by it. */
static void ops_gtmk(struct ops *q) {
    buf_printf(q->out, "%lld", (long long)q->n->trace_mask);
}

/* stock: the eight bytes have to be there at once; else the connection ends without an answer */
static void ops_stmk(struct ops *q) {
    if (q->in.n < 12) return;
    q->n->trace_mask = (int64_t)be64(q->in.p + 4);
    ops_gtmk(q);
}

/* stock knows the bytes, but has no command for them. */
static void ops_telnet(struct ops *q) {
    (void)q;
}

/* --- dump --- */

/* stock: ExpiryQueue.dump; a bucket that has become empty is not kept here */
static void ops_put_sets(const struct ops *q, struct buf *items, bool conns) {
    size_t n = items->n / sizeof(struct ops_item), buckets = 0;
    if (n) qsort(items->p, n, sizeof(struct ops_item), ops_item_cmp);
    for (size_t i = 0; i < n; i++)
        buckets += i == 0 || ops_item(items, i).when != ops_item(items, i - 1).when;
    buf_printf(q->out, "Sets (%zu)/(%zu):\n", buckets, n);
    for (size_t i = 0; i < n;) {
        int64_t when = ops_item(items, i).when;
        size_t end = i;
        while (end < n && ops_item(items, end).when == when) end++;
        buf_printf(q->out, "%zu expire at ", end - i);
        ops_put_date(q->out, q->n->wall + (when - q->n->now));
        buf_puts(q->out, ":\n");
        for (; i < end; i++) {
            struct ops_item item = ops_item(items, i);
            buf_puts(q->out, conns ? "\tip: " : "\t");
            if (conns) node_addr_format(&q->n->conns[item.conn].addr, q->out);
            buf_printf(q->out, conns ? " sessionId: 0x%llx\n" : "0x%llx\n",
                       (unsigned long long)item.id);
        }
    }
    buf_free(items);
}

static void ops_put_ephemerals(const struct ops *q) {
    const struct tree *t = &q->n->db.tree;
    buf_printf(q->out, "ephemeral nodes dump:\nSessions with Ephemerals (%u):\n", t->live_owners);
    for (uint32_t i = 0; i < t->n_owners; i++) {
        const struct tree_owner *o = &t->owners[i];
        uint32_t pos = 0, id;
        if (!o->nodes.count) continue;
        buf_printf(q->out, "0x%llx:\n", (unsigned long long)o->session);
        while (idset_next(&o->nodes, &pos, &id)) {
            buf_putc(q->out, '\t');
            tree_put_path(t, id, q->out);
            buf_putc(q->out, '\n');
        }
    }
}

static void ops_put_sessions(const struct ops *q) {
    const struct session_table *t = &q->n->db.sessions;
    struct buf items = {0};
    bool learns = role_learns(q->n); /* it knows the sessions, but not when they expire */
    for (uint32_t i = 0; i < t->n; i++) {
        const struct session *s = &t->slots[i];
        struct ops_item item = {learns ? 0 : s->expires, s->id, CONN_NONE};
        if (!s->live || !(learns ? s->committed : s->expires >= 0)) continue;
        buf_put(&items, &item, sizeof item);
    }
    buf_puts(q->out, "SessionTracker dump:\n");
    if (!learns) {
        buf_puts(q->out, "Session ");
        ops_put_sets(q, &items, false);
        return;
    }
    size_t n = items.n / sizeof(struct ops_item);
    if (n) qsort(items.p, n, sizeof(struct ops_item), ops_item_cmp);
    buf_printf(q->out, "Global Sessions(%zu):\n", n);
    for (size_t i = 0; i < n; i++) {
        int64_t id = ops_item(&items, i).id;
        buf_printf(q->out, "0x%llx\t%dms\n", (unsigned long long)id,
                   t->slots[session_find(t, id)].timeout);
    }
    buf_free(&items);
}

static void ops_dump(struct ops *q) {
    const struct node *n = q->n;
    struct buf items = {0};
    ops_put_sessions(q);
    ops_put_ephemerals(q);
    int64_t width = n->cfg->sessionless_timeout_ms > 0 ? n->cfg->sessionless_timeout_ms : 1;
    for (uint32_t i = 0; i < n->n_conns; i++) {
        const struct conn *c = &n->conns[i];
        int64_t due = c->last_io + (c->session ? c->timeout : width);
        struct ops_item item = {(due / width + 1) * width, c->session, i};
        if (ops_shown(c)) buf_put(&items, &item, sizeof item);
    }
    buf_puts(q->out, "Connections dump:\nConnections ");
    ops_put_sets(q, &items, true);
}

/* --- watches: the data table alone, as in stock --- */

static bool ops_watched(const struct watch_entry *e) {
    const uint32_t *w;
    if (!e->path) return false;
    for (uint32_t left = watch_watchers(e, &w); left > 0; left--)
        if (*w++ & WATCH_IN_DATA) return true;
    return false;
}

/* Appends "\tpath\n" for each data watch of a connection; returns their number. out: or NULL. */
static uint32_t ops_put_watches(const struct ops *q, uint32_t conn, struct buf *out) {
    const struct watch_table *t = &q->n->watches;
    uint32_t count = 0, pos = 0, i;
    if (conn >= t->conns_cap) return 0;
    while (idset_next(&t->by_conn[conn], &pos, &i)) {
        struct slice path = slice_of(t->entries[i].path, t->entries[i].path_len);
        if (!(watch_kinds(t, path, conn) & WATCH_IN_DATA)) continue;
        count++;
        if (!out) continue;
        buf_putc(out, '\t');
        buf_put(out, path.p, path.n);
        buf_putc(out, '\n');
    }
    return count;
}

/* stock keeps a connection in the table when its last watch has fired. WatchManager.watch2Paths */
static bool ops_watches(const struct ops *q, uint32_t conn) {
    const struct conn *c = &q->n->conns[conn];
    return c->phase == CONN_OPEN && (c->data_watcher || ops_put_watches(q, conn, NULL));
}

static void ops_wchs(struct ops *q) {
    const struct watch_table *t = &q->n->watches;
    uint32_t conns = 0, paths = 0;
    for (uint32_t i = 0; i < q->n->n_conns; i++) conns += ops_watches(q, i);
    for (uint32_t i = 0; i < t->n; i++) paths += ops_watched(&t->entries[i]);
    buf_printf(q->out, "%u connections watching %u paths\nTotal watches:%llu\n", conns, paths,
               (unsigned long long)t->n_data);
}

static void ops_wchc(struct ops *q) {
    for (uint32_t i = 0; i < q->n->n_conns; i++) {
        if (!ops_watches(q, i)) continue;
        buf_printf(q->out, "0x%llx\n", (unsigned long long)q->n->conns[i].session);
        (void)ops_put_watches(q, i, q->out);
    }
    buf_putc(q->out, '\n');
}

static void ops_wchp(struct ops *q) {
    const struct watch_table *t = &q->n->watches;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct watch_entry *e = &t->entries[i];
        const uint32_t *w;
        if (!ops_watched(e)) continue;
        buf_put(q->out, e->path, e->path_len);
        buf_putc(q->out, '\n');
        for (uint32_t left = watch_watchers(e, &w); left > 0; left--, w++) {
            if (!(*w & WATCH_IN_DATA)) continue;
            buf_printf(q->out, "\t0x%llx\n", (unsigned long long)q->n->conns[*w >> 4].session);
        }
    }
    buf_putc(q->out, '\n');
}

/* --- which word it is --- */

enum ops_needs { OPS_ALWAYS, OPS_SERVING };

struct ops_word {
    uint8_t bytes[4];
    enum ops_needs needs; /* whether a server that does not serve can answer */
    const char *name;     /* in the whitelist */
    void (*answer)(struct ops *q);
};

/* stock: FourLetterCommands */
static const struct ops_word ops_words[] = {
    {{'c', 'o', 'n', 'f'}, OPS_SERVING, "conf", ops_conf},
    {{'c', 'o', 'n', 's'}, OPS_SERVING, "cons", ops_cons},
    {{'c', 'r', 's', 't'}, OPS_SERVING, "crst", ops_crst},
    {{'d', 'i', 'r', 's'}, OPS_SERVING, "dirs", ops_dirs},
    {{'d', 'u', 'm', 'p'}, OPS_SERVING, "dump", ops_dump},
    {{'e', 'n', 'v', 'i'}, OPS_ALWAYS, "envi", ops_envi},
    {{'g', 't', 'm', 'k'}, OPS_ALWAYS, "gtmk", ops_gtmk},
    {{'h', 'a', 's', 'h'}, OPS_SERVING, "hash", ops_hash},
    {{'i', 's', 'r', 'o'}, OPS_ALWAYS, "isro", ops_isro},
    {{'m', 'n', 't', 'r'}, OPS_SERVING, "mntr", ops_mntr},
    {{'r', 'u', 'o', 'k'}, OPS_ALWAYS, "ruok", ops_ruok},
    {{'s', 'r', 's', 't'}, OPS_SERVING, "srst", ops_srst},
    {{'s', 'r', 'v', 'r'}, OPS_SERVING, "srvr", ops_srvr},
    {{'s', 't', 'a', 't'}, OPS_SERVING, "stat", ops_stat},
    {{'s', 't', 'm', 'k'}, OPS_ALWAYS, "stmk", ops_stmk},
    {{'w', 'c', 'h', 'c'}, OPS_SERVING, "wchc", ops_wchc},
    {{'w', 'c', 'h', 'p'}, OPS_SERVING, "wchp", ops_wchp},
    {{'w', 'c', 'h', 's'}, OPS_SERVING, "wchs", ops_wchs},
    {{0xff, 0xf4, 0xff, 0xfd}, OPS_ALWAYS, "telnet close", ops_telnet},
};

static const struct ops_word *ops_find(struct slice in) {
    for (size_t i = 0; i < sizeof ops_words / sizeof ops_words[0]; i++)
        if (memcmp(in.p, ops_words[i].bytes, 4) == 0) return &ops_words[i];
    return NULL;
}

/* stock: FourLetterCommands.isEnabled. Items are trimmed; * is all words. */
static bool ops_enabled(const char *list, const char *word) {
    if (strcmp(word, "srvr") == 0) return true;
    while (list && *list) {
        size_t n = strcspn(list, ",");
        struct slice item = slice_of(list, n);
        while (item.n && item.p[0] <= ' ') item = slice_of(item.p + 1, item.n - 1);
        while (item.n && item.p[item.n - 1] <= ' ') item.n--;
        if (slice_is(item, "*") || slice_is(item, word)) return true;
        list += n + (list[n] == ',');
    }
    return false;
}

ZK_PRIVATE bool ops_is_word(struct slice in) {
    return ops_find(in) != NULL;
}

ZK_PRIVATE void ops_answer(struct node *n, uint32_t conn, struct slice in) {
    const struct ops_word *word = ops_find(in);
    struct ops q = {n, conn, in, node_conn_out(n, conn)};
    size_t from = q.out->n;
    n->stats.bytes_received += 4;
    if (!ops_enabled(n->cfg->four_letter_whitelist, word->name))
        buf_printf(q.out, "%s is not executed because it is not in the whitelist.\n", word->name);
    else if (!n->serving && word->needs == OPS_SERVING)
        buf_printf(q.out, "This ZooKeeper instance is not currently serving requests%s",
                   word->answer == ops_hash ? "" : "\n"); /* stock forgot it there */
    else
        word->answer(&q);
    size_t packets = (q.out->n - from + OPS_CHUNK - 1) / OPS_CHUNK;
    n->stats.sent += (int64_t)packets;
}
