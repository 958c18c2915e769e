/*
 * quorum: who votes, and how many are enough.
 *
 * quorum_reached() is the one place that decides whether a set of servers can decide for all: votes
 * of an election, epochs, acknowledgements. Either a majority of the voters, or, where the config
 * has groups, a majority of the weight in a majority of the groups; groups and voters of no weight
 * do not count. stock: QuorumMaj, QuorumHierarchical
 *
 * A sidset is a set of members, a bit for each place in config.members. Strangers are never in it,
 * observers may be and do not count.
 */
#ifndef ZK_QUORUM_H
#define ZK_QUORUM_H

#include "ensemble/config.h"

struct sidset {
    uint64_t bits[CONFIG_MEMBERS_MAX / 64];
};

ZK_PRIVATE void sidset_clear(struct sidset *s);
/* False when it was there already, or sid is no member. */
ZK_PRIVATE bool sidset_add(struct sidset *s, const struct config *cfg, int64_t sid);
ZK_PRIVATE bool sidset_has(const struct sidset *s, const struct config *cfg, int64_t sid);
ZK_PRIVATE void sidset_del(struct sidset *s, const struct config *cfg, int64_t sid);

/* NULL for a stranger. */
ZK_PRIVATE const struct config_member *quorum_member(const struct config *cfg, int64_t sid);
ZK_PRIVATE bool quorum_is_voter(const struct config *cfg, int64_t sid);
ZK_PRIVATE int64_t quorum_weight(const struct config *cfg, int64_t sid); /* 0: of no voter */
ZK_PRIVATE uint32_t quorum_voters(const struct config *cfg);
ZK_PRIVATE bool quorum_reached(const struct config *cfg, const struct sidset *acks);

#endif
