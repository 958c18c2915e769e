/*
 * client/recipe: what every recipe is made of. All of it lives in the record of the recipe.
 *
 *   ask     one request that is repeated until it has an answer
 *   mkdirs  a path and what is missing above it, made as containers
 *   wish    what a caller of the recipe waits for, with its deadline
 *   notice  tells the user of changes of state
 *
 * A recipe runs within the client's machine (CLIENT_INSIDE) and calls its user through posts. None
 * of these functions calls back before it has returned.
 */
#ifndef ZK_CLIENT_RECIPE_H
#define ZK_CLIENT_RECIPE_H

#include "client/session.h"
#include "zk.h"

/* --- text; NULL when there is no memory --- */

ZK_PRIVATE char *recipe_copy(const char *s, size_t n); /* a NUL follows */
ZK_PRIVATE char *recipe_join(const char *dir, const char *name); /* dir + "/" + name */
ZK_PRIVATE bool recipe_path_ok(const char *path); /* and not the root */
/* 32 hexadecimal digits from the client's random numbers, with the dashes of a UUID or without. */
#define RECIPE_GUID 36
ZK_PRIVATE void recipe_guid(struct client *c, bool dashes, char out[RECIPE_GUID + 1]);

/* What the nodes of a recipe are made with. */
struct recipe_node {
    void *data; /* owned; NULL when there is none */
    int data_len;
    struct zk_acl *acl; /* owned, one block with its strings; NULL: open */
    int acl_count;
};
ZK_PRIVATE int recipe_node_init(struct recipe_node *n, const void *data, int data_len,
                                const struct zk_acl *acl, int acl_count);
ZK_PRIVATE void recipe_node_free(struct recipe_node *n);
ZK_PRIVATE struct zk_op recipe_create(const struct recipe_node *n, const char *path,
                                      enum zk_create_mode mode);

/* --- sequential names --- */

/* The number behind the last marker in a name, which must be all that follows: ten digits, or a
 * minus and ten digits after the counter ran over. */
ZK_PRIVATE bool recipe_sequence(const char *name, const char *marker, int32_t *seq);

/* --- errors --- */

ZK_PRIVATE bool recipe_unknown(int error);   /* a write may or may not have been applied */
ZK_PRIVATE bool recipe_unheard(int error);   /* likewise; also: no memory to hear of it */
ZK_PRIVATE bool recipe_transient(int error); /* it is worth another try */

/* --- ask --- */

enum ask_kind {
    ASK_ALWAYS,  /* repeated after every error that may pass */
    ASK_SURELY,  /* repeated only when it certainly was not applied: the unknown is told */
    ASK_FOREVER  /* repeated also when there was no memory: of what cleans up */
};

struct ask_ticket;
struct ask {
    struct client *c;
    struct zk_op op; /* what it points to is borrowed until done is called */
    enum ask_kind kind;
    bool last; /* no further try: the next answer is told, whatever it is */
    zk_result_fn done;
    void *user;
    struct ask_ticket *ticket; /* of the request under way; it is freed with the request */
    struct client_timer timer; /* until the next try */
    unsigned tries;
    int refused; /* by the client itself: to be told when the timer fires */
};

/* done is called once. The operation has no timeout of its own, recipes have theirs. */
ZK_PRIVATE void ask_start(struct ask *a, struct client *c, struct zk_op op, enum ask_kind kind,
                          zk_result_fn done, void *user);
ZK_PRIVATE void ask_stop(struct ask *a); /* done is not called any more; fine when nothing runs */
ZK_PRIVATE bool ask_sent(const struct ask *a); /* the request is with the client: it may happen */
/* Takes the request back. False: it is on its way to the server, or there is none. */
ZK_PRIVATE bool ask_recall(struct ask *a);
/* Within done: whether the answer has set a watch, or may have. After a new connection the event of
 * an older one may have come just before it. */
ZK_PRIVATE bool ask_watches(const struct ask *a, const struct zk_result *r);
ZK_PRIVATE bool ask_busy(const struct ask *a); /* sent, or waiting for the next try */

/* --- mkdirs --- */

struct mkdirs {
    struct ask ask;
    const struct recipe_node *node; /* borrowed: its ACL */
    char *at;                       /* owned; cut off with a NUL at `end` */
    size_t n, end;
    bool plain; /* the server knows no containers */
    void (*done)(void *user, int error);
    void *user;
};

/* Makes the parent of path. done is called once. */
ZK_PRIVATE int mkdirs_start(struct mkdirs *m, struct client *c, const char *path,
                            const struct recipe_node *node, void (*done)(void *user, int error),
                            void *user);
ZK_PRIVATE void mkdirs_stop(struct mkdirs *m);

/* --- wish --- */

/* What a synchronous caller looks at: on its own stack, since the next wish of the object may have
 * begun before it does. */
struct wish_answer {
    bool over;
    int error;
};

struct wish_post;
struct wish {
    struct client *c;
    bool open; /* somebody waits */
    struct client_timer timer;
    struct wish_post *post;     /* owned; got at the beginning, so that the end cannot fail */
    struct wish_answer *answer; /* of a synchronous caller, borrowed until the end */
};

/*
 * ZK_OK, ZK_IN_USE or ZK_OUT_OF_MEMORY. late(user) is called at the deadline (timeout_ms < 0: none)
 * and has to end the wish. done NULL: done_user is a wish_answer.
 */
ZK_PRIVATE int wish_begin(struct wish *w, struct client *c, const void *owner, int timeout_ms,
                          void (*late)(void *user), void *user, zk_done_fn done, void *done_user);
ZK_PRIVATE void wish_end(struct wish *w, int error); /* nothing when none is open */
ZK_PRIVATE void wish_stop(struct wish *w);           /* nobody is told */
ZK_PRIVATE bool wish_over(const void *answer);       /* for a synchronous caller */

/* --- notice --- */

struct notice {
    struct client *c;
    const void *owner;
    zk_hold_fn fn; /* NULL: nobody */
    void *user;
    enum zk_hold_state state; /* the latest */
    int64_t token;
    struct client_timer timer; /* there was no memory: to be told then */
};

ZK_PRIVATE void notice_init(struct notice *n, struct client *c, const void *owner, zk_hold_fn fn,
                            void *user);
ZK_PRIVATE void notice_tell(struct notice *n, enum zk_hold_state state, int64_t token);
ZK_PRIVATE void notice_stop(struct notice *n);

#endif
