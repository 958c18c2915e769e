/*
 * config: what a zoo.cfg says.
 *
 * Turns the bytes of a configuration file into a struct config, with the grammar, the checks, their
 * order and their messages of the stock server (java.util.Properties, QuorumPeerConfig). Owns the
 * strings of the struct. Reads no file, resolves no name and looks at no directory: the host does.
 *
 * Three steps:
 *   text -> properties   logical lines, escapes, duplicates (the last wins); strings become UTF-8
 *   properties -> fields  by tables, in file order: name, kind, mark, field, default or reason
 *   fields -> checks      in the order of QuorumPeerConfig.parseProperties
 *
 * Every key has a mark. Obeyed keys have a field. Accepted keys have none, and a reason that is
 * logged. Refused keys ask for what is not built in, where going on without it would be wrong; they
 * are reported only after all checks that stock would make. Unknown keys are accepted with a
 * warning, as stock accepts them without one.
 *
 * stock: QuorumPeerConfig visits keys in hash order, so that with several bad keys the one that is
 * reported is a matter of luck there. Here it is the first in the file.
 */
#ifndef ZK_CONFIG_H
#define ZK_CONFIG_H

#include "base/log.h"

#define CONFIG_UNSET INT32_MIN /* of client_port and server_id: not given */
#define CONFIG_MEMBERS_MAX 256

/* How stock presents an error: alone, or as the cause of "Error processing <path of the file>". */
enum config_error { CONFIG_ERROR_PLAIN = 1, CONFIG_ERROR_WRAPPED = 2 };

enum config_metrics { CONFIG_METRICS_DEFAULT, CONFIG_METRICS_NULL };

/* One server.N line. */
struct config_member {
    int64_t id;
    bool observer;
    char *host; /* owned; of the first address, as written, without brackets */
    int32_t quorum_port, election_port;
    int32_t client_port;   /* CONFIG_UNSET when the line has no client part */
    char *client_host;     /* owned; NULL without a client part */
    int64_t group, weight; /* of a participant, where the config is hierarchical */
};

/* Strings are owned and NUL-terminated; NULL means not given. Units are part of the names. */
struct config {
    /* network */
    int32_t client_port;
    char *client_port_address; /* NULL: every address */
    int32_t listen_backlog;    /* -1: the system's choice */
    int32_t max_client_cnxns;  /* per client address; 0: unlimited */
    int32_t max_cnxns;         /* in all; 0: unlimited */
    bool tcp_keepalive, quorum_keepalive; /* of clients' sockets; of those between servers */
    int32_t sessionless_timeout_ms; /* of a connection that never asked for a session */

    /* time and sessions */
    int32_t tick_time_ms, min_session_timeout_ms, max_session_timeout_ms;
    bool local_sessions, local_sessions_upgrading;

    /* files */
    char *data_dir, *data_log_dir; /* without version-2; as java.io.File writes paths */
    bool datadir_autocreate, db_autocreate, trust_empty_snapshot;
    int32_t snap_count;            /* transactions between snapshots, >= 2 */
    int64_t snap_size_limit_kb;    /* log bytes between snapshots; <= 0: not counted */
    int64_t txn_log_size_limit_kb; /* of one log file; <= 0: none */
    int64_t pre_alloc_size_kb;     /* <= 0: none */
    int32_t commit_log_count;      /* committed proposals kept in memory, >= 500 */
    double snapshot_size_factor;   /* share of a snapshot that is read from logs instead */
    bool force_sync;
    int64_t fsync_warning_ms;
    bool digest_enabled;
    int32_t autopurge_retain, autopurge_interval_h; /* interval <= 0: off */

    /* requests */
    bool extended_types, emulate353;
    int32_t jute_max_buffer, jute_extra_size; /* bytes; extra is >= 1024 */
    int32_t global_outstanding_limit;
    bool skip_acl, enforce_quota;
    int32_t large_request_max_bytes, large_request_threshold; /* threshold -1: off */
    int32_t request_throttle_max; /* under way at once; 0: no limit */
    bool request_throttle_drop_stale, request_stale_latency_check;
    int32_t throttled_op_wait_ms; /* 0: requests wait as long as they must */
    int32_t connection_throttle_tokens, connection_throttle_fill_ms, connection_throttle_fill_count;
    int32_t connection_throttle_freeze_ms;
    double connection_throttle_drop_increase, connection_throttle_drop_decrease;
    double connection_throttle_decrease_ratio;
    bool connection_throttle_weighted;
    int32_t connection_throttle_global_weight, connection_throttle_local_weight;
    int32_t connection_throttle_renew_weight;
    int64_t container_check_interval_ms, container_max_per_minute, container_max_never_used_ms;

    /* security */
    char *super_digest; /* super:<base64 of SHA-1> */
    bool digest_auth;   /* whether the scheme digest exists */
    bool enforce_auth;
    char *enforce_auth_schemes; /* comma separated; not NULL when enforce_auth */

    /* operation */
    char *four_letter_whitelist; /* comma separated; * is all */
    enum config_metrics metrics;

    /* the ensemble; a standalone server reads none of them */
    int32_t init_limit, sync_limit, learner_master_limit; /* ticks */
    int32_t observer_master_port;
    bool quorum_listen_on_all_ips, sync_enabled, standalone_enabled, reconfig_enabled;
    bool multi_address, multi_address_check;
    int32_t multi_address_check_ms;
    char *dynamic_config_file; /* whose bytes go to config_parse_dynamic */
    bool leader_serves;       /* clients are served by the leader, too */
    bool force_snapshot_sync; /* learners get a snapshot, never a difference */
    int32_t cnx_timeout_ms;   /* to connect to an election port */
    int32_t quorum_cnxn_timeout_ms;      /* to hear from who connected to ours; <= 0: syncLimit */
    int32_t election_bind_retries;       /* 0: for ever */
    int32_t notification_min_ms, notification_max_ms; /* between repeated votes */
    int32_t leader_epoch_wait_ms;        /* for a quorum's epochs while a voter looks; -1: off */
    int32_t leader_connect_delay_ms;     /* between a learner's tries */
    int32_t observer_election_delay_ms;  /* the most an observer waits before it looks again */
    struct config_member *members; /* owned; by ascending id */
    uint32_t member_count;         /* <= CONFIG_MEMBERS_MAX */
    bool hierarchical;             /* quorums are made of groups with weights */
    int64_t members_version;       /* 0: never reconfigured */
    int64_t server_id; /* of myid; CONFIG_UNSET without one */

    /* filled by a call that failed */
    enum config_error error_kind;
    char error[512];

    /* read by the checks alone */
    int32_t election_alg, secure_client_port;
    char *secure_client_port_address, *peer_type, *metrics_class, *digest_algorithm;
    char *observer_sync; /* observer.syncEnabled, which has the last word over syncEnabled */
    bool sasl_enabled, sasl_server_required, sasl_learner_required;
    char refusal[256]; /* first refused key */
};

ZK_PRIVATE void config_defaults(struct config *c);
ZK_PRIVATE void config_free(struct config *c);

/*
 * -Dname=value words of a JVM's command line (SERVER_JVMFLAGS), others are passed over. Comes
 * after config_defaults and before config_parse: stock lets the file win.
 */
ZK_PRIVATE void config_jvm_flags(struct config *c, const char *flags, struct logq *log);

/* All return 0, or -1 with error and error_kind set. What is worth a log line goes to `log`. */
ZK_PRIVATE int config_parse(struct config *c, struct slice text, struct logq *log);
/* The file that dynamic_config_file names; comes after config_parse when that is not NULL. */
ZK_PRIVATE int config_parse_dynamic(struct config *c, struct slice text, struct logq *log);
/* The first line of <data_dir>/myid without its line end; not called without such a file. */
ZK_PRIVATE int config_parse_myid(struct config *c, struct slice line);
/* Instead of a file: port datadir [ticktime] [maxcnxns]; n is 2 to 4. */
ZK_PRIVATE int config_parse_args(struct config *c, int n, const char *const *args);

/*
 * The members as text, as servers tell it one another: server, group and weight lines, then the
 * version, without a line end. Of a list of addresses only the first is in it.
 * stock: QuorumMaj.toString, QuorumHierarchical.toString
 */
ZK_PRIVATE void config_string(const struct config *c, struct buf *out);
/* host, or [host] when it is an IPv6 literal. */
ZK_PRIVATE void config_put_host(struct buf *out, const char *host);

/* Whether the server is one of an ensemble. stock: QuorumPeerConfig.isDistributed */
ZK_PRIVATE bool config_distributed(const struct config *c);

/* The properties grammar by itself: keys and values are trimmed, keys are distinct. */
struct config_prop {
    char *key, *value; /* owned */
};
struct config_props {
    struct config_prop *at; /* owned; in the order in which keys first appear */
    uint32_t n, cap;
    struct map index; /* hash of the key -> position */
};

ZK_PRIVATE int config_props_load(struct config_props *p, struct slice text); /* -1: bad \uxxxx */
ZK_PRIVATE const char *config_props_get(const struct config_props *p, const char *key);
ZK_PRIVATE void config_props_free(struct config_props *p);

#endif
