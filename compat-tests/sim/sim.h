/*
 * sim: whole ensembles, their clients, network and disks in one process under one seed.
 *
 * The servers are the product's own code (struct node and host/files); what surrounds a server in
 * production (sockets, threads, disk, clock) is played here. Nothing depends on the machine: time
 * is virtual, one generator makes every choice, and no address is ever looked at, so a seed is a
 * run. One run at a time: the state is global.
 *
 *   mem.c      memory by owner, so that a server that dies can be forgotten
 *   clock.c    the queue of events, random choices
 *   disk.c     what a power cut leaves of files and names; sim_os.c puts host/os.h on top
 *   host.c     one server's process: inputs, outputs, log thread, background thread, crashes
 *   net.c      byte streams between processes, and what can go wrong with them
 *   caller.c   model clients; record.c is the record that their answers are held against
 *   contender.c  the product's client and lock, several of them
 *   check.c    the invariants
 *   nemesis.c  faults
 *   tuning.c   what a seed draws for itself
 *   story.c    the trace in words, the hash; svg.c the picture
 *   main.c     arguments, seeds, summary
 */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>

#include "disk.h"
#include "host/files.h"
#include "node/node.h"

#define SIM_SERVERS 7
#define SIM_CLIENTS 8
#define SIM_CONTENDERS 4
#define SIM_NONE UINT32_MAX
#define SIM_HOSTS (SIM_CLIENT_HOST + SIM_CLIENTS + SIM_CONTENDERS)
#define SIM_CLIENT_HOST 16u /* host numbers of clients begin here, contenders behind them */
#define MS 1000LL           /* virtual time is in microseconds */
#define SEC 1000000LL

/* --- mem --- */
struct mem_owner {
    struct mem_owner *prev, *next; /* ring of blocks */
};
void mem_owner_init(struct mem_owner *o);
struct mem_owner *mem_owned_by(struct mem_owner *o); /* from now on; returns who was before */
void mem_forget(struct mem_owner *o);                /* frees all it owns */
size_t mem_count(const struct mem_owner *o);

/* --- tuning --- */
struct tuning {
    uint32_t voters, observers, clients;
    bool standalone;
    int64_t duration; /* of the phase with faults */
    /* the network */
    int64_t net_min, net_spread;
    uint32_t split;      /* chance in 1000 that a read brings only a part */
    size_t socket;       /* bytes that a direction takes before the sender has to wait */
    /* the disk */
    int64_t write_min, write_spread, sync_min, sync_spread;
    uint32_t direct;     /* 0: no O_DIRECT, 1: opens and then refuses, 2: works */
    bool journal_ordered;  /* names come back in order; otherwise each one by chance */
    bool sync_names;       /* fdatasync of a file brings its name too */
    bool sync_lies;        /* after a failed sync pages may pass for written */
    bool garble;           /* sectors that were being written may hold anything */
    /* clients */
    int64_t downtime;    /* mean, of a server */
    int64_t think;       /* mean pause between requests */
    uint32_t depth;      /* requests under way */
    uint32_t paths;
    /* faults */
    int64_t fault_every; /* mean; 0: none */
    uint32_t fault_weight[32];
    int32_t drift_ppm;
    char config[2048];   /* the lines that all servers share */
    int32_t tick, init_limit, sync_limit, commit_log_count;
    uint32_t contenders;
    int64_t counter_max; /* transactions that an epoch has room for */
};
void tuning_draw(struct tuning *t);

/* --- clock --- */
enum event_kind {
    EV_NONE,
    EV_BOOT,      /* server */
    EV_TICK,      /* server, generation */
    EV_TURN,      /* server, generation: the loop has something left to do */
    EV_LOG,       /* server, generation: the log thread goes on */
    EV_BACK,      /* server, generation: the background thread goes on */
    EV_DELIVER,   /* stream, direction */
    EV_ARRIVE,    /* stream: a dial reaches the other side */
    EV_STANDS,    /* stream: the dialer hears of it */
    EV_ROOM,      /* stream, direction: the sender may go on */
    EV_CLIENT,    /* client, generation */
    EV_CONTENDER, /* contender, generation */
    EV_NEMESIS,
    EV_REPAIR,    /* a fault ends: kind, subject */
    EV_WATCHDOG   /* of the liveness phase */
};
struct event {
    int64_t at;
    uint64_t seq;
    enum event_kind kind;
    uint32_t who, gen;
    int64_t arg;
};
void event_at(int64_t at, enum event_kind kind, uint32_t who, uint32_t gen, int64_t arg);
bool event_take(struct event *e);
uint64_t rnd(uint64_t bound);                      /* 0 .. bound-1 */
int64_t rnd_between(int64_t low, int64_t high);    /* both included */
bool chance(uint32_t in_1000);
int64_t rnd_wait(int64_t mean); /* exponential, about */

/* --- disk --- */

struct disk {
    struct disk_file *files; /* indexed by inode */
    uint32_t n_files, cap_files;
    struct buf live, durable; /* struct disk_name */
    struct buf journal;       /* struct disk_change: names not durable yet */
    uint32_t fds[64];         /* inode, SIM_NONE */
    uint8_t fd_direct[64];
    int64_t fd_at[64];
    struct prng rng;
    /* faults that wait for their call */
    uint32_t calls_left;      /* the process dies at this call; 0: not */
    bool calls_power;         /* ... by a power cut */
    uint32_t fail_next;       /* so many calls fail with EIO */
    bool full;                /* ENOSPC */
    bool sync_fails;          /* the next sync */
    bool failed;              /* something failed since the server started: it may give up */
    bool torn;                /* a power cut kept what was written behind something it lost */
    bool damaged;             /* rot or garbled sectors: the server may refuse the data */
    int64_t slow;             /* factor of latency */
};
void disk_init(struct disk *d, uint64_t seed);
void disk_power_cut(struct disk *d);
void disk_process_gone(struct disk *d); /* descriptors */
bool disk_rot(struct disk *d, char name[DISK_PATH]);
void disk_wipe(struct disk *d);

/* --- servers --- */
enum proc_state { PROC_DOWN, PROC_UP };
enum how_down { BY_KILL, BY_POWER, BY_STOP, BY_ITSELF };

struct piece { /* of the log thread's work */
    enum node_output_kind kind;
    struct slice bytes;
    int64_t zxid, epoch;
    bool roll, accepted, reload;
};
struct back_job {
    enum node_output_kind kind;
    int64_t zxid, upto;
    bool first;
    struct buf bytes; /* owned */
};

struct host_end { /* a connection or link as the process has it */
    uint32_t stream;
    bool closing, paused, queued;
};
struct host_send {
    bool link;
    uint32_t number;
};

struct server {
    uint32_t id; /* index */
    int64_t sid; /* myid */
    bool observer;
    enum proc_state state;
    uint32_t gen; /* counts starts */
    bool dark;    /* it lost power: nothing answers for it */
    bool retired; /* the liveness phase leaves it broken */
    struct mem_owner mem;
    jmp_buf crash;  /* out of a system call */
    bool crash_set, crash_power;
    struct config cfg;
    struct node node;
    struct files files;
    struct disk disk;
    int64_t tick_at, tick_due; /* us, of the event under way; ms, on the server's clock */
    bool turn_queued, listening, boot_failed;
    int64_t paused_until;
    /* its clocks */
    int64_t mono_base, wall_base, mono_from; /* us */
    int32_t drift_ppm;
    /* the log thread */
    struct buf pieces, batch; /* struct piece */
    size_t batch_at;
    bool log_busy, log_failed, log_dirty, log_syncing;
    int64_t log_last;  /* zxid of the last piece written */
    bool done_sync, done_epoch, done_load, done_read;
    struct db loaded;
    /* the background thread */
    struct buf jobs; /* struct back_job */
    size_t jobs_bytes;
    bool back_busy, snap_open, snap_room_told, done_snap, fail_snap;
    struct buf log_read;     /* what NODE_LOG_READ will bring */
    struct buf conns, links; /* struct host_end, by number */
    struct buf sends;        /* struct host_send */
    /* what check.c knows */
    bool recovering;
    int64_t tip;       /* last transaction that was given to its log */
    int64_t left;      /* ... of the history that a leader's snapshot is about to replace */
    int64_t durable;   /* last one that no power cut takes away */
    int64_t applied;   /* in its tree */
    int64_t promised;  /* its acceptedEpoch */
    int64_t epoch_led; /* of which it was established as the leader last */
    enum role_phase role;
    bool serves;
    int64_t up_since;
    uint64_t starts, refusals;
};
void server_create(struct server *s, uint32_t id);
void server_boot(struct server *s);
void server_down(struct server *s, enum how_down how);
void server_event(const struct event *e);
void server_snapshot(struct server *s); /* one that nobody waits for, whatever the role */
void server_turn_soon(struct server *s, int64_t delay);
int64_t server_mono_ms(const struct server *s);
int64_t server_wall_ms(const struct server *s);
struct server *server_running(void); /* whose code is being executed */
void server_bytes(struct server *s, bool link, uint32_t number, struct slice bytes);
void server_closed(struct server *s, bool link, uint32_t number);
void server_opened(struct server *s, uint32_t number);
/* A connection comes in: its number or SIM_NONE. */
uint32_t server_accept(struct server *s, uint16_t port, uint32_t from_host, uint32_t stream);
void server_room(struct server *s, bool link, uint32_t number);
bool server_listens(const struct server *s, uint16_t port);
bool server_leads(const struct server *s);  /* says so */
bool server_serves(const struct server *s); /* has a place in the ensemble */
bool server_reads(const struct server *s, bool link, uint32_t number);

#define PORT_CLIENT 2181
#define PORT_QUORUM 2888
#define PORT_ELECTION 3888

/* --- the network --- */
enum end_kind { END_GONE, END_CLIENT, END_CONN, END_LINK };
struct end {
    enum end_kind kind; /* of whoever still holds it */
    uint32_t host;      /* server index, or SIM_CLIENT_HOST + client */
    uint32_t number;    /* of the connection or link in the server's node */
    bool waits;         /* for room */
};
struct flow { /* one direction */
    struct buf bytes;    /* sent, not delivered */
    struct buf marks;    /* struct mark: which bytes arrive when */
    int64_t last_arrival, stalled_until;
    bool fin, reset;     /* what comes after the bytes */
    bool queued;         /* a EV_DELIVER is under way */
};
struct stream {
    bool used, standing;
    uint32_t gen;
    uint16_t port;
    struct end end[2];   /* 0 dialed */
    struct flow flow[2]; /* flow[i] comes from end[i] */
};
struct net {
    struct stream *streams;
    uint32_t n, cap;
    bool blocked[SIM_HOSTS][SIM_HOSTS];
};
uint32_t net_dial(enum end_kind kind, uint32_t host, uint32_t number, uint32_t to, uint16_t port);
size_t net_send(uint32_t stream, int side, struct slice bytes);
void net_close(uint32_t stream, int side, bool abort);
void net_host_gone(uint32_t host, bool dark); /* all its ends; dark: without a word */
void net_event(const struct event *e);
void net_wake(uint32_t stream, int side); /* the reader reads again */
void net_unblock(void);
void net_calm(void);                 /* nothing is stalled any more */
bool net_spoil(bool reset);          /* some connection: reset or stalled; false: there is none */
void net_forget_sent(uint32_t host); /* what it has sent and has not arrived */
int net_side(uint32_t stream, uint32_t host);

/* --- clients --- */
struct caller;
void caller_create(uint32_t id);
void caller_event(const struct event *e);
void caller_bytes(uint32_t id, struct slice bytes);
void caller_closed(uint32_t id);
void caller_opened(uint32_t id);
void caller_room(uint32_t id);
bool caller_progress(int64_t since); /* somebody's write was acknowledged after that */
void caller_abandon(uint32_t id);    /* the process dies */
bool caller_session_live(int64_t session); /* a client still uses it */

/* --- contenders --- */
void contender_create(uint32_t id);
void contender_event(const struct event *e);
void contender_bytes(uint32_t id, struct slice bytes);
void contender_closed(uint32_t id);
void contender_opened(uint32_t id);
void contender_room(uint32_t id);
bool contender_session_live(int64_t session);
bool contender_progress(int64_t since); /* each of them has had the lock after that */

/* --- record --- */
struct version { /* of one path */
    int64_t zxid;
    bool exists;
    int64_t czxid, mzxid, pzxid;
    uint8_t stat[WIRE_STAT_LEN];
    uint64_t data, names; /* hashes */
    uint32_t children;
};
struct known { /* a transaction */
    int64_t zxid, prev;
    uint64_t hash;   /* of header and record */
    uint64_t digest; /* of the tree after it */
    int64_t session, proposed_at; /* us */
    int32_t cxid, type;
    bool committed, applied;
    struct buf effects; /* struct record_effect: what it made of each path */
};
struct session_fate {
    int64_t id, born, died; /* zxids, 0: not */
};
struct record {
    struct known *txns; /* owned */
    uint32_t n, cap;
    struct map by_zxid, by_request, by_path, by_session;
    int64_t tip;         /* the last committed transaction */
    struct buf paths;    /* struct record_path */
    struct buf sessions; /* struct session_fate */
    struct buf epochs;   /* struct record_epoch */
};
struct known *record_txn(int64_t zxid); /* NULL; valid until the next one is added */
struct known *record_add(const struct known *t);
struct known *record_request(int64_t session, int32_t cxid); /* NULL */
void record_forget_after(int64_t zxid); /* of a server that stands alone */
uint64_t record_hash(const struct txn_header *h, struct slice rest);
void record_effects(struct known *t, struct db *db, const struct txn_header *h,
                    struct slice record);
void record_commit(struct known *t);
const struct version *record_at(struct slice path, int64_t zxid); /* NULL: never existed */
/* Versions of the path: the first one after zxid, and the ones after that; NULL at the end. */
const struct version *record_next(struct slice path, int64_t zxid);
struct session_fate *record_session(int64_t id);
uint64_t record_name_hash(struct slice name);
/* The last true transaction of a history that ends with zxid, which may only mark an epoch. */
int64_t record_true(int64_t zxid);
void record_epoch_began(int64_t epoch, int64_t tip);
int64_t record_last_epoch(void);
bool record_led(int64_t epoch);

/* --- check --- */
_Noreturn void sim_fail(const char *invariant, const char *fmt, ...) ZK_PRINTF(2, 3);
void check_appended(struct server *s, struct slice entries, int64_t zxid);
void check_synced(struct server *s, int64_t zxid);
void check_step(struct server *s);
void check_recovered(struct server *s, const struct db *db, const struct files_report *r);
void check_cutting(struct server *s, int64_t zxid);  /* the log is to be cut, and goes on */
void check_cut(struct server *s, int64_t zxid);      /* a truncation begins */
void check_cut_done(struct server *s, int64_t zxid);
void check_snapshot(struct server *s, int64_t zxid); /* a snapshot is durable */
void check_down(struct server *s, bool power);
void check_wiped(struct server *s);
bool check_may_wipe(const struct server *s);
uint64_t check_contents(const struct server *s); /* a hash of all it serves */
bool check_covers(int64_t tip, int64_t zxid);    /* a history that ends with tip has zxid */
uint32_t check_holders(int64_t zxid);            /* voters that have it for good */

/* --- nemesis --- */
#define FAULTS(X)                                                                                  \
    X(KILL, "kill")                                                                                \
    X(POWER, "power cut")                                                                          \
    X(POWER_ALL, "power cut of all")                                                               \
    X(KILL_IN_CALL, "kill within a call")                                                          \
    X(POWER_IN_CALL, "power cut within a call")                                                    \
    X(STOP, "orderly stop")                                                                        \
    X(PAUSE, "pause")                                                                              \
    X(CLOCK, "clock jump")                                                                         \
    X(RESET, "connection reset")                                                                   \
    X(STALL, "connection stalled")                                                                 \
    X(ONE_WAY, "one-way block")                                                                    \
    X(HALVES, "partition in halves")                                                               \
    X(BRIDGE, "partition with a bridge")                                                           \
    X(RING, "partition as a ring")                                                                 \
    X(ISOLATE, "leader isolated")                                                                  \
    X(CLIENTS_CUT, "clients cut off")                                                              \
    X(EIO, "I/O error")                                                                            \
    X(ENOSPC, "disk full")                                                                         \
    X(SYNC_FAILS, "failed sync")                                                                   \
    X(SLOW_DISK, "slow disk")                                                                      \
    X(ROT, "bit rot")                                                                              \
    X(LOST_DISK, "lost disk")                                                                      \
    X(SNAPSHOT, "snapshot out of turn")                                                            \
    X(CLIENT_DIES, "client dies")
#define FAULT_ENUM(name, text) FAULT_##name,
enum fault { FAULTS(FAULT_ENUM) FAULT_COUNT };
void nemesis_start(void);
void nemesis_event(const struct event *e);
void nemesis_end(void); /* heal a quorum, leave the rest */
const char *fault_name(enum fault f);

/* --- story --- */
void story_mix(uint64_t x); /* into the hash of the run */
void story(const char *fmt, ...) ZK_PRINTF(1, 2);
void story_txn(int64_t sid, const struct txn_header *h, struct slice record);

/* --- the run --- */
enum phase { PHASE_FAULTS, PHASE_LIVENESS, PHASE_DONE };
struct sim {
    uint64_t seed;
    struct prng rng;
    int64_t now;
    uint64_t hash, steps, seq;
    struct event *heap;
    uint32_t heap_n, heap_cap;
    struct mem_owner mem;
    struct tuning t;
    struct server servers[SIM_SERVERS];
    uint32_t n_servers;
    struct net net;
    struct record record;
    enum phase phase;
    int64_t healed_at, stage_at;
    uint32_t stage; /* of the liveness phase */
    bool quiet;     /* clients ask for nothing more */
    uint64_t faults[FAULT_COUNT];
    int64_t acked_zxid; /* the highest one that a client was told of */
    uint64_t acked, reads, events_seen, elections;
    bool trace, standalone;
    jmp_buf failed;
    char failure[1024];
};
extern struct sim sim;

#endif
