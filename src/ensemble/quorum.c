#include "ensemble/quorum.h"

/* The place of a member in cfg->members, which are sorted; member_count for a stranger. */
static uint32_t quorum_place(const struct config *cfg, int64_t sid) {
    uint32_t low = 0, high = cfg->member_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (cfg->members[mid].id < sid)
            low = mid + 1;
        else
            high = mid;
    }
    return low < cfg->member_count && cfg->members[low].id == sid ? low : cfg->member_count;
}

static bool sidset_bit(const struct sidset *s, uint32_t place) {
    return s->bits[place / 64] >> place % 64 & 1;
}

ZK_PRIVATE void sidset_clear(struct sidset *s) {
    memset(s, 0, sizeof *s);
}

ZK_PRIVATE bool sidset_has(const struct sidset *s, const struct config *cfg, int64_t sid) {
    uint32_t place = quorum_place(cfg, sid);
    return place < cfg->member_count && sidset_bit(s, place);
}

ZK_PRIVATE bool sidset_add(struct sidset *s, const struct config *cfg, int64_t sid) {
    uint32_t place = quorum_place(cfg, sid);
    if (place == cfg->member_count || sidset_bit(s, place)) return false;
    s->bits[place / 64] |= (uint64_t)1 << place % 64;
    return true;
}

ZK_PRIVATE void sidset_del(struct sidset *s, const struct config *cfg, int64_t sid) {
    uint32_t place = quorum_place(cfg, sid);
    if (place < cfg->member_count) s->bits[place / 64] &= ~((uint64_t)1 << place % 64);
}

ZK_PRIVATE const struct config_member *quorum_member(const struct config *cfg, int64_t sid) {
    uint32_t place = quorum_place(cfg, sid);
    return place < cfg->member_count ? &cfg->members[place] : NULL;
}

ZK_PRIVATE bool quorum_is_voter(const struct config *cfg, int64_t sid) {
    const struct config_member *m = quorum_member(cfg, sid);
    return m && !m->observer;
}

ZK_PRIVATE int64_t quorum_weight(const struct config *cfg, int64_t sid) {
    const struct config_member *m = quorum_member(cfg, sid);
    return m && !m->observer ? m->weight : 0;
}

ZK_PRIVATE uint32_t quorum_voters(const struct config *cfg) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < cfg->member_count; i++) n += !cfg->members[i].observer;
    return n;
}

/* The weight of the group that begins at `first`, all of it and that in the set; false when an
 * earlier member has begun it. */
static bool quorum_group(const struct config *cfg, const struct sidset *acks, uint32_t first,
                         int64_t *all, int64_t *in) {
    *all = *in = 0;
    for (uint32_t i = 0; i < cfg->member_count; i++) {
        const struct config_member *m = &cfg->members[i];
        if (m->observer || m->group != cfg->members[first].group) continue;
        if (i < first) return false;
        *all += m->weight;
        if (sidset_bit(acks, i)) *in += m->weight;
    }
    return true;
}

static bool quorum_of_groups(const struct config *cfg, const struct sidset *acks) {
    uint32_t groups = 0, won = 0;
    int64_t all, in;
    for (uint32_t i = 0; i < cfg->member_count; i++) {
        if (cfg->members[i].observer || !quorum_group(cfg, acks, i, &all, &in) || !all) continue;
        groups++;
        won += in > all / 2;
    }
    return won > groups / 2;
}

ZK_PRIVATE bool quorum_reached(const struct config *cfg, const struct sidset *acks) {
    if (cfg->hierarchical) return quorum_of_groups(cfg, acks);
    uint32_t voters = 0, in = 0;
    for (uint32_t i = 0; i < cfg->member_count; i++) {
        if (cfg->members[i].observer) continue;
        voters++;
        in += sidset_bit(acks, i);
    }
    return in > voters / 2;
}
