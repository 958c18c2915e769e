/*
 * client/member: keeps a node of one name and content there.
 *
 *   CREATING --made--> THERE, watched --deleted--> CREATING
 *   CREATING --somebody else's is there--> LOOKING: ours after all: SETTING its content; another
 *   session's: EVICTING, which replaces it, once in each session; after that it is let be
 * Other content: SETTING. A connection that breaks says SUSPENDED, and the first answer after it
 * what is so now. It belongs to its user until it is left; then it deletes its node and itself.
 * stock: Curator's PersistentNode, GroupMember, ServiceDiscoveryImpl.
 */
#ifndef ZK_CLIENT_MEMBER_H
#define ZK_CLIENT_MEMBER_H

#include "client/protect.h"

enum member_step {
    MEMBER_IDLE, /* the node is as it should be, or out of our hands */
    MEMBER_CREATING,
    MEMBER_PARENTS,
    MEMBER_LOOKING,
    MEMBER_EVICTING,
    MEMBER_SETTING,
    MEMBER_FAILED
};

struct member {
    struct client *c;
    char *path; /* owned */
    struct recipe_node node;
    bool persistent;
    bool may_evict; /* what this session finds when it begins */
    bool changed;   /* the content is to be set */
    bool watching;
    enum member_step step;
    int error;
    struct zk_op pair[2]; /* of the multi that evicts */
    struct ask ask;
    struct mkdirs parents;
    struct client_observer observer;
    struct erase *eraser; /* owned, until it is needed */
    struct wish wish;
    struct notice notice;
};

ZK_PRIVATE int member_init(struct member *m, struct client *c, const void *owner,
                           const char *path, const void *data, int len,
                           const struct zk_member_options *options);
ZK_PRIVATE void member_free(struct member *m); /* deletes the node, in the background */
ZK_PRIVATE int member_wait(struct member *m, int timeout_ms, zk_done_fn done, void *user);
ZK_PRIVATE int member_set(struct member *m, const void *data, int len);

#endif
