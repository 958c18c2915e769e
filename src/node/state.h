/*
 * node/state: what one server is made of, its inputs and its outputs.
 *
 * A node is a pure machine: node_step() takes one input, changes the node, and leaves outputs in
 * order for the host to carry out. It never blocks, reads no clock and knows no file or socket:
 * connections are numbers, durability is an input ("the log is synced up to this zxid").
 *
 * Life of a write: frame -> prep (transaction or error) -> APPEND, SYNC outputs -> LOG_SYNCED input
 * -> applied to the tree -> watch events -> reply. Life of a read: frame -> reply, at once, unless
 * the same connection has writes under way: then it is kept until those before it are answered,
 * while writes behind it are prepared already.
 */
#ifndef ZK_NODE_STATE_H
#define ZK_NODE_STATE_H

#include "base/log.h"
#include "ensemble/election.h"
#include "ensemble/leader.h"
#include "ensemble/learner.h"
#include "node/metrics.h"
#include "state/prep.h"
#include "state/txn.h"
#include "state/watch.h"

#define CONN_NONE UINT32_MAX
#define NODE_OUT_PAUSE (4u << 20) /* unsent output beyond it: the connection is not served */

enum node_input_kind {
    NODE_TICK,          /* time has passed */
    NODE_CONN_BYTES,    /* conn, bytes */
    NODE_CONN_CLOSED,   /* conn: its socket is gone, whoever closed it; the number is free */
    NODE_LOG_SYNCED,    /* zxid: every appended record up to it is durable */
    NODE_SNAPSHOT_ROOM, /* the host can take more snapshot bytes */
    NODE_SNAPSHOT_DONE, /* the snapshot is durable under its name */
    NODE_SNAPSHOT_FAILED, /* it could not be written; what was written is gone */
    /* of an ensemble */
    NODE_LINK_OPENED,   /* link: the connection that NODE_LINK_DIAL asked for stands */
    NODE_LINK_BYTES,    /* link, bytes */
    NODE_LINK_CLOSED,   /* link: gone, or never came about; the number is free */
    NODE_LISTEN_FAILED, /* the quorum port could not be bound */
    NODE_EPOCH_SAVED,   /* the oldest NODE_SAVE_EPOCH not answered yet is durable */
    NODE_LOG_READ,      /* bytes: answers NODE_READ_LOG, see leader_log_read() */
    NODE_LOADED         /* db: what the disk holds; answers NODE_LOAD */
};

struct node_input {
    enum node_input_kind kind;
    int64_t now;  /* monotonic, ms */
    int64_t wall; /* ms since 1970 */
    uint32_t conn;
    struct slice bytes; /* borrowed during the step */
    int64_t zxid;
    uint32_t link;
    struct db *db; /* NODE_LOADED: its content is taken over, what is left is an empty one */
};

enum node_output_kind {
    NODE_SEND,           /* conn has bytes: node_conn_out() */
    NODE_CLOSE,          /* conn: flush what it has, close, answer with NODE_CONN_CLOSED */
    NODE_ABORT,          /* conn: close at once, whatever it still has to be told */
    NODE_APPEND,         /* bytes for the log; roll: they start a new file named after zxid */
    NODE_SYNC,           /* make everything appended durable; one NODE_LOG_SYNCED answers */
    NODE_SNAPSHOT_BEGIN, /* zxid: of the image */
    NODE_SNAPSHOT_CHUNK, /* owned: bytes, the host frees them */
    NODE_SNAPSHOT_END,   /* sync, rename */
    NODE_READ_PAUSE,     /* conn: stop reading from it */
    NODE_READ_RESUME,    /* conn */
    /* of an ensemble; links: ensemble/link.h */
    NODE_LINK_DIAL,      /* link: to its host and port; NODE_LINK_OPENED or _CLOSED answers */
    NODE_LINK_SEND,      /* link has bytes: node_link_out() */
    NODE_LINK_CLOSE,     /* link: send what can be sent at once, hang up; answer with _CLOSED */
    NODE_LISTEN,         /* bind the quorum port: accepted connections are LINK_QUORUM */
    NODE_UNLISTEN,       /* ... and let it go */
    /* The next two keep their place among NODE_APPEND: what was appended before is durable first,
     * what is appended after comes after. */
    NODE_SAVE_EPOCH,     /* epoch, accepted or current: durable, then NODE_EPOCH_SAVED */
    NODE_LOAD,           /* zxid not -1: whatever lies beyond it is cut off, in logs and snapshots,
                            durably. reload: then the state is loaded anew; NODE_LOADED answers */
    NODE_READ_LOG,       /* committed transactions after zxid and up to `upto`, some at a time;
                            first: none if the rest of the log is too long to be sent instead
                            of a snapshot. NODE_LOG_READ answers */
    NODE_SNAPSHOT_ABORT  /* what was written since _BEGIN is of no use; no answer */
};

struct node_output {
    enum node_output_kind kind;
    bool roll;
    uint32_t conn;
    int64_t zxid;
    struct slice bytes; /* NODE_APPEND: lives until its NODE_LOG_SYNCED has been given */
    struct buf owned;   /* NODE_SNAPSHOT_CHUNK */
    uint32_t link;
    int64_t epoch;      /* NODE_SAVE_EPOCH */
    bool accepted;      /* ... acceptedEpoch, not currentEpoch */
    bool reload;        /* NODE_LOAD */
    int64_t upto;       /* NODE_READ_LOG */
    bool first;         /* ... */
};

enum conn_phase {
    CONN_FREE,    /* slot not in use */
    CONN_NEW,     /* nothing but a handshake or a four-letter word may come */
    CONN_WAITING, /* the session is being created: input waits */
    CONN_OPEN,    /* has a session */
    CONN_CLOSING  /* output is flushed, input dropped */
};

struct conn {
    enum conn_phase phase;
    uint32_t gen;       /* counts uses of the slot */
    uint32_t next_free;
    uint32_t submitted, completed; /* writes, counted; the difference is under way */
    bool ready;         /* in the list of those whose turn comes round */
    bool paused;        /* the host does not read */
    bool stalled;       /* in line for room, see node/throttle */
    bool held;          /* its input waits for something else: its turn, its output, its writes */
    bool dirty;         /* has a NODE_SEND output under way */
    bool old_handshake; /* its ConnectRequest had no readOnly byte */
    int32_t timeout;    /* negotiated, ms */
    int64_t session;
    uint32_t session_slot;
    struct auth_set auth;
    struct buf in;       /* unparsed input: an incomplete frame, or what waits */
    uint32_t n_deferred; /* reads in `deferred` */
    struct buf deferred; /* reads behind writes: u32 value of completed to wait for, u32 length
                            and SERVE_REFUSED, frame; repeated */
    struct buf arrivals; /* when `in` came, while requests are throttled; see node/throttle */
    struct buf out;      /* replies and events not yet sent */
    struct net_addr addr;
    int64_t last_io;     /* monotonic ms, of the peer's last bytes */
    int64_t phase_since; /* monotonic ms: accepted, or closing since */
    /* what `cons` shows */
    int64_t established; /* wall ms */
    int64_t received, sent;
    int64_t last_cxid, last_zxid, last_response; /* cxid -1: none; response: monotonic ms */
    int64_t last_latency, min_latency, max_latency, latency_sum, latency_count;
    int32_t last_op; /* 0: none */
    bool reset;      /* crst was here: min_latency is a true minimum from now on */
    bool data_watcher; /* had a data watch since the last removal. stock: watch2Paths */
};

/* One prepared write, in zxid order. */
struct pending {
    int64_t zxid;      /* completes when the log is synced up to it */
    struct blob *blob; /* counted; holds the record; NULL when there is no transaction */
    uint32_t off, len; /* header and record within the blob */
    struct blob *body; /* counted; of a sync: what it asked */
    uint32_t conn, conn_gen; /* CONN_NONE: nobody waits */
    int32_t xid, op, err;
    int64_t session;
    int64_t received; /* monotonic ms */
    uint32_t large;   /* bytes that count against the budget of large requests */
};

/* A request of our own client that went to the leader, in the order of leaving. */
struct role_wait {
    uint32_t conn, gen;
    int64_t session;
    int32_t xid, op, err;
    int64_t ready_at; /* answered when this zxid is applied; -1: its transaction answers it */
    int64_t after;    /* zxid: the log ended here when it left, what answers it comes behind */
    int64_t received; /* monotonic ms */
    uint32_t large;   /* as in struct pending */
    struct blob *body; /* counted; of a sync */
};

struct role_save {
    int64_t epoch;
    bool accepted;
};

struct role_revalidation {
    int64_t session;
    uint32_t conn, gen;
};

enum role_phase {
    ROLE_ALONE,
    ROLE_DRAINING,
    ROLE_LOOKING,
    ROLE_LEADING,
    ROLE_LEARNING
};

/* What has to be done as soon as no snapshot is about to get its name. */
enum role_errand {
    ROLE_NOTHING,
    ROLE_TRUNCATE, /* the leader wants the log cut */
    ROLE_TAKE,     /* the leader's snapshot takes the place of our state */
    ROLE_RELOAD    /* ... did, and never reached the disk */
};

/* The place in the ensemble; see node/role.h. */
struct role {
    enum role_phase phase;
    int64_t self; /* sid */
    struct links links;
    struct election election;
    struct leader leader;
    struct learner learner;
    struct history history;
    int64_t counter_max; /* the last zxid counter of an epoch that is given out */
    bool filled;       /* this role: clients are served, or could be */
    uint32_t failures; /* roles in a row that were not */
    int64_t look_at;   /* monotonic ms: no election before */
    int64_t promised; /* the latest epoch that a voter is known to have accepted */
    int64_t accepted, current; /* epochs on disk */
    struct buf saving;         /* struct role_save: on their way there */
    enum role_errand errand;
    bool loading;   /* NODE_LOADED has to come */
    bool unsaved;   /* the state came by a snapshot that is not durable yet */
    bool cut;       /* ... and the log goes on beyond it */
    bool newleader; /* to be acknowledged when all is durable */
    struct role_wait *waiting; /* ring */
    uint32_t wait_head, wait_n, wait_cap;
    struct buf revalidating; /* struct role_revalidation */
    struct buf touched;      /* u32: slots of sessions heard of since the last ping */
    struct auth_set auth;    /* of the request that a learner passed on */
};

struct node_stats {
    int64_t latency_min, latency_max, latency_sum, latency_count; /* ms */
    int64_t received, sent; /* packets */
    int64_t bytes_received, bytes_sent;
    int64_t last_response, min_response, max_response; /* bytes, -1 unset */
    int64_t connections_rejected, connection_requests, connection_drops;
    int64_t sessions_expired, sessionless_expired;
    int64_t requests, revalidated, response_bytes, watch_bytes, snapshots_failed;
    int64_t auth_failed, snapshots, digest_mismatches, large_rejected, throttled;
    int64_t throttle_waits, stale, stale_dropped;
    int64_t fsync_slow;
};

/* What only the operating system knows, for the four-letter words; asked for when one comes. */
struct node_facts {
    struct slice environment;            /* "key=value\n" lines; borrowed from the host */
    const char *data_dir, *log_dir;      /* the version-2 directories; borrowed */
    int64_t data_dir_size, log_dir_size; /* bytes */
    int64_t open_files, max_files;
    uint16_t client_port;                /* the one that is bound */
};
struct node_host {
    void (*facts)(void *ctx, struct node_facts *out); /* NULL: nobody knows, all is 0 */
    void *ctx;
};

#define NODE_DIGESTS 1024u      /* digests of the past that `hash` shows ... */
#define NODE_DIGEST_INTERVAL 128 /* ... one every so many transactions. stock: DataTree */
struct node_digest {
    int64_t zxid;
    uint64_t digest;
};

struct node {
    const struct config *cfg; /* borrowed */
    struct db db;
    struct prep prep;
    struct watch_table watches;
    struct auth_config auth_cfg;
    struct prng rng;
    struct logq log;
    bool loaded;  /* the state is there */
    bool serving; /* clients get sessions */
    struct role role;
    int64_t now, wall, started; /* started: monotonic ms */
    int64_t tick;               /* ms */
    int32_t min_timeout, max_timeout;
    uint32_t max_frame, max_string;

    struct conn *conns; /* owned */
    uint32_t n_conns, cap_conns, free_conns, live_conns;
    struct map per_ip;  /* hash of the address -> index in ip_counts */
    struct ip_count *ip_counts;
    uint32_t n_ips, cap_ips, free_ips;
    int64_t next_session;

    struct node_output *outputs; /* ring */
    uint32_t out_head, out_n, out_cap;
    struct buf pool[64]; /* spare output buffers */
    uint32_t pool_n;

    struct buf ready;  /* u32: connections to serve again in the next turn */
    struct buf stalled; /* struct throttle_place: connections in line, see node/throttle */
    uint32_t in_process; /* writes of all connections, under way */
    int64_t budget;    /* of the connection being served, see serve */
    uint64_t work;     /* what the request being served costs beyond its bytes */

    struct blob *log_blob; /* being filled with records */
    struct pending *pending; /* ring */
    uint32_t pend_head, pend_n, pend_cap;
    int64_t appended, synced; /* zxids */
    int64_t committed; /* zxid; what is synced up to it is applied. INT64_MAX: nobody else counts */
    int64_t last_append;      /* monotonic ms */
    bool sync_wanted;
    struct buf scratch, hits;
    struct txn_out applied;

    /* log rolling and snapshots. stock: SyncRequestProcessor */
    bool roll_next;
    int64_t log_records, log_bytes, file_bytes;
    int64_t roll_at_records, roll_at_bytes;
    struct {
        bool active, finishing;
        bool blocked; /* waiting for NODE_SNAPSHOT_ROOM */
        int64_t zxid;
        uint64_t digest;
        uint32_t adler;
        int64_t started, slice_at; /* monotonic ms */
    } snap;
    int64_t last_snapshot_zxid, last_snapshot_wall;

    int64_t reap_next; /* monotonic ms: to look for containers and TTL nodes that are due ... */
    int64_t reap_at;   /* ... and to delete the next one of them */
    struct buf reaping; /* their deletions: body of deleteContainer; repeated */
    int64_t trace_mask;
    struct node_stats stats;
    struct metrics metrics;
    struct node_host host;
    struct node_digest *digests; /* owned; ring of NODE_DIGESTS, made by the first */
    uint64_t n_digests;          /* ever recorded */
    int64_t large_in_flight; /* bytes of large requests under way */
    struct {
        int64_t tokens, filled, frozen; /* times: monotonic ms */
        double drop;                    /* probability of refusing */
        uint32_t turn;                  /* the connection that need not stand in line */
    } throttle;
};

struct ip_count {
    struct net_addr addr;
    uint32_t count, next_free;
};

ZK_PRIVATE void node_state_init(struct node *n, const struct config *cfg, uint64_t seed,
                                int64_t now, int64_t wall);
ZK_PRIVATE void node_state_free(struct node *n);
ZK_PRIVATE void node_prepare(struct node *n); /* n->prep for the state as it is */
ZK_PRIVATE struct node_output *node_output(struct node *n, enum node_output_kind kind);
ZK_PRIVATE bool node_take_output(struct node *n, struct node_output *out);

ZK_PRIVATE struct conn *node_conn(struct node *n, uint32_t id); /* any slot in use */
ZK_PRIVATE uint32_t node_conn_add(struct node *n, const struct net_addr *addr);
ZK_PRIVATE void node_conn_drop(struct node *n, uint32_t id); /* frees the slot and what it holds */
ZK_PRIVATE void node_conn_forget(struct node *n, uint32_t id); /* the requests that wait */
ZK_PRIVATE uint32_t node_conn_pending(const struct conn *c); /* writes under way */
ZK_PRIVATE void node_conn_submitted(struct node *n, struct conn *c); /* one more */
ZK_PRIVATE void node_conn_completed(struct node *n, struct conn *c); /* in their order */
/* Buffers that come and go with traffic: idle connections own none. */
ZK_PRIVATE void node_buf_take(struct node *n, struct buf *b);
ZK_PRIVATE void node_buf_give(struct node *n, struct buf *b);
ZK_PRIVATE struct buf *node_conn_out(struct node *n, uint32_t id); /* to append; marks it dirty */
ZK_PRIVATE void node_conn_ready(struct node *n, uint32_t id); /* its turn comes round */
ZK_PRIVATE void node_conn_sent(struct node *n, uint32_t id, size_t bytes); /* host: consumed */
ZK_PRIVATE uint32_t node_ip_count(const struct node *n, const struct net_addr *addr);
/* "/1.2.3.4:5", "/0:0:0:0:0:0:0:1:5". stock: InetSocketAddress.toString */
ZK_PRIVATE void node_addr_format(const struct net_addr *a, struct buf *out);

#endif
