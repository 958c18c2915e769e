/*
 * client/protect: a node of this session's own that neither a lost reply nor a lost caller leaves
 * behind: created under a name that nobody else uses, searched for when it is not known whether it
 * was created, deleted until that is certain.
 *
 * Names: "_c_" + UUID + "-" + name + sequence, or 32 digits + name + sequence (kazoo).
 * stock: Curator's CreateBuilderImpl, ProtectedMode, FindAndDeleteProtectedNodeInBackground.
 *
 *   CREATING --created--> THERE        CREATING --reply lost--> SYNCING -> SEARCHING
 *   SEARCHING --not found--> CREATING  SEARCHING --found--> CHECKING --this session's--> THERE
 *                                      CHECKING --another's--> EVICTING -> CREATING, new name
 *   any --drop--> whatever is needed to know the node's name, then DELETING -> GONE
 * A node of a session that has ended goes with it: protect_expired is told and forgets it.
 *
 * The search comes after a sync: a server that lags behind could else not show what was created
 * through another one.
 */
#ifndef ZK_CLIENT_PROTECT_H
#define ZK_CLIENT_PROTECT_H

#include "client/recipe.h"

enum protect_state {
    PROTECT_IDLE,
    PROTECT_CREATING,
    PROTECT_PARENTS, /* they are missing and being made */
    PROTECT_SYNCING,
    PROTECT_SEARCHING,
    PROTECT_CHECKING,
    PROTECT_EVICTING,
    PROTECT_THERE,
    PROTECT_ASKING, /* was there; asking whether it still is */
    PROTECT_DELETING,
    PROTECT_GONE
};

enum protect_event {
    PROTECT_IS_THERE = 1, /* after a create, or when asked */
    PROTECT_IS_GONE,      /* when asked; or dropped, and nothing is left to do */
    PROTECT_FAILED        /* it could not be created; `error` says why */
};

struct protect {
    struct client *c;
    enum protect_state state;
    bool dropped;
    bool kazoo;
    enum zk_create_mode mode;
    const struct recipe_node *node; /* borrowed until dropped */
    char *dir, *name;               /* owned */
    char *wish;      /* owned: the path asked for, without its sequence */
    char *path;      /* owned: the path it got; got beforehand, so that no delete wants memory */
    size_t name_at;  /* where the last component of wish and path begins */
    int64_t czxid;   /* once it is there */
    int error;       /* why it failed, or will if the search finds nothing */
    struct ask ask;
    struct mkdirs parents;
    void (*fn)(void *user, enum protect_event event);
    void *user;
};

/* node is borrowed until protect_drop. */
ZK_PRIVATE int protect_start(struct protect *p, struct client *c, const char *dir,
                             const char *name, bool kazoo, enum zk_create_mode mode,
                             const struct recipe_node *node,
                             void (*fn)(void *user, enum protect_event event), void *user);
/* The last component of its path. */
ZK_PRIVATE const char *protect_name(const struct protect *p);
/* Of one that is there: asks the server, fn is told. */
ZK_PRIVATE void protect_ask(struct protect *p);
/* Deletes it in the background; fn is told when that is over. True: it is over already, and fn is
 * not told. */
ZK_PRIVATE bool protect_drop(struct protect *p);
/* The session ended, or the handle was closed: nothing is left to do. */
ZK_PRIVATE void protect_stop(struct protect *p);

/*
 * Deletes a node of a name that stays the same, in the background, if it is this session's own (or
 * anybody's: a persistent one): got beforehand, so that it cannot fail, and owns itself once begun.
 */
struct erase;
ZK_PRIVATE struct erase *erase_new(struct client *c, const char *path, bool anybodys);
ZK_PRIVATE void erase_begin(struct erase *e);
ZK_PRIVATE void erase_free(struct erase *e); /* of one that was not begun; NULL is fine */

#endif
