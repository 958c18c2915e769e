/*
 * client/line: a place in a line of contenders, who are the sequential ephemeral children of one
 * node. Locks, leases and leadership are such lines.
 *
 * A line belongs to its recipe until it is left; then it owns itself: it deletes its node, takes
 * its watch off the server, and is freed when both are done or the session is over.
 *
 *   JOINING --node made--> LOOKING --nobody ahead--> FIRST
 *                          LOOKING --somebody ahead--> WAITING --he left--> LOOKING
 * Each waits for the one ahead of it only, so that one wakes when one leaves. Whoever wakes looks
 * again and assumes nothing. Order is that of the sequence as a signed number, then of the name;
 * children that are no contenders are passed over. With a number of leases it is instead whether
 * the contenders are more than those, and while they are, all changes of the children wake.
 * stock: Curator's LockInternals.
 */
#ifndef ZK_CLIENT_LINE_H
#define ZK_CLIENT_LINE_H

#include "client/protect.h"

/* Who is who among the children; borrowed until the line is left. */
struct line_rule {
    const char *name;            /* of the own node, before its sequence */
    const char *const *blockers; /* names of those for whom to wait when they are ahead */
    int blocker_count;
    bool kazoo;     /* the form of the own name */
    bool ties_pass; /* whoever has the same sequence is not ahead */
    int leases;     /* 0: only the first gets it */
    const char *place; /* NULL, or digits: the sequence to take instead of a new one */
};

enum line_event {
    LINE_FIRST = 1, /* we have it; again after LINE_DOUBT, when that has turned out well */
    LINE_BEHIND,    /* somebody is ahead */
    LINE_DOUBT,     /* the connection broke */
    LINE_LATE,      /* so long ago that the server may have ended the session */
    LINE_GONE,      /* of one that was first: the node is gone, with its session or by force */
    LINE_FAILED     /* for good */
};

/* May leave the line, and has to after LINE_FAILED; nothing is freed before it has returned. */
typedef void (*line_fn)(void *user, enum line_event event, int error);

struct line {
    struct client *c;
    struct client_observer observer;
    const struct line_rule *rule;
    const struct recipe_node *node; /* borrowed until the line is left */
    char *dir;                      /* owned */
    struct protect own;
    struct ask ask;     /* about the children, or the one ahead */
    struct ask removal; /* of the watch */
    char *ahead;        /* owned: whom we wait for; NULL: nobody */
    bool watching;      /* there may be a watch on him, or on the children */
    bool counting; /* of the contenders, rather than waiting for one of them */
    bool first, left;
    int32_t seq;
    struct client_timer timer; /* to begin again, or to be freed */
    line_fn fn;
    void *user;
};

ZK_PRIVATE int line_join(struct line **out, struct client *c, const char *dir,
                         const struct line_rule *rule, const struct recipe_node *node, line_fn fn,
                         void *user);
/* Asks whether the own node of one that is first is still there. */
ZK_PRIVATE void line_check(struct line *l);
ZK_PRIVATE void line_leave(struct line *l); /* it must not be touched any more */
/* Of the children of a line's node the first; NULL: none. */
ZK_PRIVATE const char *line_head(const struct line_rule *rule, const struct zk_result *children);
ZK_PRIVATE const char *line_path(const struct line *l); /* of the own node, which is there */
ZK_PRIVATE int64_t line_token(const struct line *l); /* the zxid of its creation */

#endif
