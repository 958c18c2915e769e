/*
 * mesh: the connections between election ports. stock: QuorumCnxManager
 *
 * Owns at most one channel to each other server, over links of kind LINK_ELECTION (all of those are
 * its own), and the last message to each. The connection that the larger id dialed is the one that
 * stays: who dials a larger id says its name and hangs up, and is dialed back.
 *
 *   dialed:    dialing -> opened: initial message -> channel (smaller id) | closed (larger id)
 *   accepted:  guest -> initial message complete -> channel (larger id) | closed, dialed back
 *
 * Initial message: long -65536 or -65535 (or, up to 3.4, only a long >= 0: the sid), long sid, int
 * length 1..2048, host:port|host:port...; it may come in pieces. Then, both ways, int length
 * 1..524288 and so many bytes.
 *
 * A queue holds one message per server: a new one takes the place of one that still waits, and the
 * last one is sent again on each new channel. Nothing is dialed but by mesh_send,
 * mesh_connect_all and as the answer to an initial message; there is no timer of its own for that.
 *
 * A server that is dark, slow or mad costs what it can cost and no more: guests, strangers, unsent
 * bytes and messages not taken are bounded, and nobody waits for anybody.
 *
 * stock: the channel to a smaller id is closed as soon as that one knocks; here when the new one
 * stands, so that nobody can cut it by knocking alone.
 */
#ifndef ZK_MESH_H
#define ZK_MESH_H

#include "ensemble/link.h"
#include "ensemble/quorum.h"

#define MESH_FRAME_MAX 524288
#define MESH_HELLO_MAX 2048            /* bytes of addresses in an initial message */
#define MESH_GUESTS_MAX 64             /* accepted, name not known yet; the oldest gives way */
#define MESH_STRANGERS_MAX 64          /* channels of servers that are no members */
#define MESH_OUT_MAX (64u << 10)       /* unsent bytes of a channel beyond which a message waits */
#define MESH_INBOX_MAX (1u << 20)      /* bytes not taken beyond which messages are dropped */
#define MESH_KNOCK_MS 100              /* how long a larger id has to dial back */
#define MESH_DARK_MS 50                /* ... before nobody waits for it */

struct mesh_peer {
    int64_t sid;
    bool member;         /* keeps its place; a stranger goes with its link */
    bool has_message, waiting; /* waiting: `message` is not on its way yet */
    bool dark;           /* it refused the last connection, or hung up; not tried again since */
    uint32_t channel, dialing; /* links, LINK_NONE */
    int64_t knocked;     /* monotonic ms: when it was told our name last; INT64_MIN: not since */
    struct buf message;  /* the last one to it */
};

struct mesh_guest {
    uint32_t link;
    int64_t deadline; /* monotonic ms */
};

struct mesh {
    const struct config *cfg; /* borrowed */
    struct links *links;      /* borrowed */
    struct logq *log;         /* borrowed */
    int64_t self, now;
    struct buf hello;         /* our initial message */
    struct mesh_peer *peers;  /* owned */
    uint32_t n_peers, cap_peers, strangers;
    struct mesh_guest guests[MESH_GUESTS_MAX]; /* oldest first */
    uint32_t n_guests;
    struct buf inbox; /* long sid, int length, bytes; repeated */
    struct buf taken; /* the message that mesh_take gave out */
};

/* `self` is a member of cfg. */
ZK_PRIVATE void mesh_init(struct mesh *m, const struct config *cfg, int64_t self,
                          struct links *links, struct logq *log);
ZK_PRIVATE void mesh_free(struct mesh *m);

/* To a stranger only while it has a channel; to oneself through the inbox. */
ZK_PRIVATE void mesh_send(struct mesh *m, int64_t sid, struct slice message, int64_t now);
/* Dials everybody who has been sent something and has no channel. */
ZK_PRIVATE void mesh_connect_all(struct mesh *m, int64_t now);
/* Whether somebody has been sent something and it has left. stock: haveDelivered */
ZK_PRIVATE bool mesh_delivered(const struct mesh *m);
/* It refused the last connection or hung up, and there is none nor an attempt at one since. */
ZK_PRIVATE bool mesh_dark(const struct mesh *m, int64_t sid);
/* The next message received, oldest first; valid until the next call of mesh_take. */
ZK_PRIVATE bool mesh_take(struct mesh *m, int64_t *sid, struct slice *message);

/* What happens to links of kind LINK_ELECTION. */
ZK_PRIVATE void mesh_accepted(struct mesh *m, uint32_t link, int64_t now);
ZK_PRIVATE void mesh_opened(struct mesh *m, uint32_t link, int64_t now); /* after link_opened */
ZK_PRIVATE void mesh_input(struct mesh *m, uint32_t link, int64_t now);  /* bytes in link->in */
ZK_PRIVATE void mesh_closed(struct mesh *m, uint32_t link, int64_t now); /* before link_gone */
ZK_PRIVATE bool mesh_owns(const struct mesh *m, uint32_t link);

ZK_PRIVATE void mesh_tick(struct mesh *m, int64_t now);
ZK_PRIVATE int64_t mesh_next_tick(const struct mesh *m); /* INT64_MAX: none is wanted */

#endif
