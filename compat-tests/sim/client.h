/* What client.c (connections) and requests.c (what is asked and answered) share. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "sim.h"

#define CLIENT_PATH 48
#define CLIENT_ANSWERS 64

enum client_phase { CLIENT_AWAY, CLIENT_DIALING, CLIENT_SHAKING, CLIENT_OPEN };
enum watch_kind { WATCHES_DATA, WATCHES_EXIST, WATCHES_CHILD };

struct client_watch {
    char path[CLIENT_PATH];
    enum watch_kind kind;
    int64_t zxid; /* nothing has happened between here and what the client has seen */
};
struct client_pending {
    int32_t xid, op;
    int64_t sent;
    bool watch;
    char path[CLIENT_PATH];
    int64_t least, epoch; /* when it was sent: acknowledged by anybody; the last leader's */
};

struct client {
    uint32_t id, life; /* life: counts deaths */
    enum client_phase phase;
    uint32_t stream, server;
    int64_t session;
    uint8_t passwd[16];
    int32_t asked_timeout, timeout; /* ms */
    int64_t last_zxid;
    int32_t xid;
    struct buf in, out;
    size_t frame_at;
    struct buf pending; /* struct client_pending, oldest first */
    uint32_t depth;     /* how many those are */
    struct buf watches; /* struct client_watch */
    bool rewatching;    /* setWatches has not been answered yet */
    int64_t watches_since; /* the zxid it spoke of */
    bool closing_session;
    int64_t wake_at, since, heard, last_sent, next_request;
    int64_t answered[CLIENT_ANSWERS]; /* when requests that were answered had been sent */
    uint32_t n_answered;
    int64_t acked_at;   /* when a write was last acknowledged */
    uint64_t writes, dead_sessions;
};

struct client *client_at(uint32_t id);
struct buf *client_begin(struct client *c, int32_t xid, int32_t op);
void client_end(struct client *c);
void client_set_watches(struct client *c);
void client_request(struct client *c);
void client_reply(struct client *c, struct slice frame);
void client_expired(struct client *c);

#endif
