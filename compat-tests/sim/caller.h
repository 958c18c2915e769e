/* What caller.c (connections) and requests.c (what is asked and answered) share. */
#ifndef SIM_CALLER_H
#define SIM_CALLER_H

#include "sim.h"

#define CALLER_PATH 48
#define CALLER_ANSWERS 64

enum caller_phase { CALLER_AWAY, CALLER_DIALING, CALLER_SHAKING, CALLER_OPEN };
enum watch_kind { WATCHES_DATA, WATCHES_EXIST, WATCHES_CHILD };

struct caller_watch {
    char path[CALLER_PATH];
    enum watch_kind kind;
    int64_t zxid; /* nothing has happened between here and what the client has seen */
};
struct caller_pending {
    int32_t xid, op;
    int64_t sent;
    bool watch;
    char path[CALLER_PATH];
    int64_t least, epoch; /* when it was sent: acknowledged by anybody; the last leader's */
};

struct caller {
    uint32_t id, life; /* life: counts deaths */
    enum caller_phase phase;
    uint32_t stream, server;
    int64_t session;
    uint8_t passwd[16];
    int32_t asked_timeout, timeout; /* ms */
    int64_t last_zxid;
    int32_t xid;
    struct buf in, out;
    size_t frame_at;
    struct buf pending; /* struct caller_pending, oldest first */
    uint32_t depth;     /* how many those are */
    struct buf watches; /* struct caller_watch */
    bool rewatching;    /* setWatches has not been answered yet */
    int64_t watches_since; /* the zxid it spoke of */
    bool closing_session;
    int64_t wake_at, since, heard, last_sent, next_request;
    int64_t answered[CALLER_ANSWERS]; /* when requests that were answered had been sent */
    uint32_t n_answered;
    int64_t acked_at;   /* when a write was last acknowledged */
    uint64_t writes, dead_sessions;
};

struct caller *caller_at(uint32_t id);
struct buf *caller_begin(struct caller *c, int32_t xid, int32_t op);
void caller_end(struct caller *c);
void caller_set_watches(struct caller *c);
void caller_request(struct caller *c);
void caller_reply(struct caller *c, struct slice frame);
void caller_expired(struct caller *c);

#endif
