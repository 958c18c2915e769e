/*
 * link: the connections between servers, as byte streams with numbers.
 *
 * A link is dialed by this server or accepted from another one. Whoever owns it reads `in`, writes
 * through link_out() and ends it with link_close(); what has to be done about that outside is left
 * as effects, which the node passes on to the host in order. The number of a link stays taken
 * until the host has said that the connection is gone, so no late byte can reach a stranger.
 *
 *   FREE -> DIALING -> OPEN -> CLOSING -> FREE       a dialed one
 *   FREE ------------> OPEN -> CLOSING -> FREE       an accepted one
 */
#ifndef ZK_LINK_H
#define ZK_LINK_H

#include "base/base.h"

#define LINK_NONE UINT32_MAX
#define LINK_HOST 256 /* bytes of a host name with its NUL */

enum link_kind { LINK_ELECTION, LINK_QUORUM }; /* the port it came in by, or was dialed to */

enum link_phase { LINK_FREE, LINK_DIALING, LINK_OPEN, LINK_CLOSING };

struct link {
    enum link_kind kind;
    enum link_phase phase;
    bool dialed; /* by us */
    bool dirty;  /* has a LINK_SEND effect under way */
    uint32_t next_free;
    int64_t since;  /* monotonic ms: when it was dialed or accepted */
    struct buf in;  /* bytes not consumed yet; the owner consumes */
    struct buf out; /* bytes the host has not taken yet */
    uint64_t sent;  /* bytes it has taken so far */
    char host[LINK_HOST]; /* dialed: the name or address, as configured */
    uint16_t port;
};

enum link_effect_kind {
    LINK_DIAL, /* connect to host and port */
    LINK_SEND, /* there are bytes in `out` */
    LINK_CLOSE /* send what can be sent at once, then hang up */
};

struct link_effect {
    enum link_effect_kind kind;
    uint32_t link;
};

struct links {
    struct link *at; /* owned */
    uint32_t n, cap, free_list, live;
    size_t in_max; /* unread bytes of a link beyond which the host stops receiving */
    struct buf effects; /* struct link_effect, oldest first */
};

/* in_max: more than the longest message. */
ZK_PRIVATE void links_init(struct links *l, size_t in_max);
ZK_PRIVATE void links_free(struct links *l);
ZK_PRIVATE struct link *link_at(struct links *l, uint32_t id); /* in use */
ZK_PRIVATE uint32_t link_dial(struct links *l, enum link_kind kind, const char *host,
                              uint16_t port, int64_t now);
ZK_PRIVATE uint32_t link_accepted(struct links *l, enum link_kind kind, int64_t now);
ZK_PRIVATE struct buf *link_out(struct links *l, uint32_t id); /* to append; any phase */
ZK_PRIVATE void link_close(struct links *l, uint32_t id);      /* again is fine */
ZK_PRIVATE bool link_take_effect(struct links *l, struct link_effect *e);

/* What the host has to tell. */
ZK_PRIVATE void link_opened(struct links *l, uint32_t id); /* the dialed connection stands */
/* Bytes came in: false when nobody wants them any more. */
ZK_PRIVATE bool link_received(struct links *l, uint32_t id, struct slice bytes);
/* Whether more should be received: what its owner does not read backs up to the peer. */
ZK_PRIVATE bool link_wants(const struct links *l, uint32_t id);
ZK_PRIVATE void link_sent(struct links *l, uint32_t id, size_t bytes);
ZK_PRIVATE void link_gone(struct links *l, uint32_t id); /* the number is free again */

#endif
