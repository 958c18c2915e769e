/*
 * The invariants, named as in the literature (Junqueira, Reed, Serafini: Zab).
 *
 * Every transaction that enters a log and every one that is applied to a tree passes here: the
 * first as the node's output, the second because the linker routes calls of txn_apply through this
 * file. So most checks cost nothing but a look at what is new.
 *
 *   integrity        what is applied was proposed
 *   agreement        one zxid, one transaction
 *   total order      a log and a tree take transactions in ascending order
 *   primary order    each follows the same predecessor everywhere: local order within an epoch,
 *                    global order between them, and that no server has a hole
 *   commit           nothing is applied outside of a recovery that a quorum has not on its disks;
 *                    what is committed is a path without forks, and never truncated
 *   digest           equal trees after equal transactions
 *   recovery         what was durable is there after any crash, and nothing that was never logged
 */
#include <stdio.h>

#include "svg.h"
#include "store/logfile.h"

int __real_txn_apply(struct db *db, const struct txn_header *h, struct slice record,
                     struct txn_out *out);
int __wrap_txn_apply(struct db *db, const struct txn_header *h, struct slice record,
                     struct txn_out *out);

#define X(zxid) ((unsigned long long)(zxid))

/* --- what logs hold --- */

bool check_covers(int64_t tip, int64_t zxid) {
    const struct known *t = record_txn(tip), *z = record_txn(zxid);
    if (!zxid || tip == zxid) return true;
    while (t && t->zxid > zxid && !(t->committed && z && z->committed)) t = record_txn(t->prev);
    return t && t->zxid >= zxid;
}

uint32_t check_holders(int64_t zxid) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < sim.t.voters; i++) n += check_covers(sim.servers[i].durable, zxid);
    return n;
}

static void check_proposed(struct server *s, const struct known *fresh) {
    int64_t zxid = fresh->zxid;
    const struct known *t = record_txn(zxid);
    if (zxid <= s->tip)
        sim_fail("total order", "s%lld logs 0x%llx after 0x%llx", (long long)s->sid, X(zxid),
                 X(s->tip));
    if (!sim.t.standalone && (zxid & 0xffffffff) > sim.t.counter_max)
        sim_fail("rollover", "s%lld logs 0x%llx, the epoch ended before", (long long)s->sid,
                 X(zxid));
    if (!t) t = record_add(fresh);
    if (t->hash != fresh->hash)
        sim_fail("agreement", "s%lld logs another transaction as 0x%llx", (long long)s->sid,
                 X(zxid));
    if (t->prev != s->tip)
        sim_fail("primary order", "s%lld logs 0x%llx after 0x%llx, elsewhere it follows 0x%llx",
                 (long long)s->sid, X(zxid), X(s->tip), X(t->prev));
    s->tip = zxid;
    if (server_leads(s)) svg_mark(s->id, SVG_PROPOSED, zxid);
}

void check_appended(struct server *s, struct slice entries, int64_t last) {
    while (entries.n > LOGFILE_ENTRY_OVERHEAD) {
        uint32_t len = be32(entries.p + 8);
        struct jr r = jr_open(slice_of(entries.p + 12, len), UINT32_MAX);
        struct txn_header h = jr_txn_header(&r);
        struct slice rest = slice_of(r.p, (size_t)(r.end - r.p));
        struct known fresh = {.zxid = h.zxid, .prev = s->tip, .hash = record_hash(&h, rest),
                              .session = h.client_id, .cxid = h.cxid, .type = h.type,
                              .proposed_at = sim.now};
        if (!record_txn(h.zxid)) story_txn(s->sid, &h, rest);
        check_proposed(s, &fresh);
        entries = slice_of(entries.p + len + LOGFILE_ENTRY_OVERHEAD,
                           entries.n - len - LOGFILE_ENTRY_OVERHEAD);
    }
    if (entries.n || s->tip != last) sim_fail("log", "an entry that does not end where it says");
    story_mix((uint64_t)last);
}

void check_synced(struct server *s, int64_t zxid) {
    s->durable = zxid;
    svg_mark(s->id, SVG_DURABLE, zxid);
}

void check_snapshot(struct server *s, int64_t zxid) {
    int64_t tip = record_true(zxid);
    if (!s->node.role.cut) s->left = 0; /* else until the log has been cut */
    if (check_covers(tip, s->durable)) s->durable = tip;
}

/* The end of what is left of a history when all beyond zxid goes. */
static int64_t check_shorten(int64_t tip, int64_t zxid) {
    for (const struct known *t; tip > zxid && (t = record_txn(tip));) tip = t->prev;
    return tip;
}

void check_cutting(struct server *s, int64_t zxid) {
    s->tip = check_shorten(s->tip, zxid);
}

void check_cut(struct server *s, int64_t zxid) {
    s->durable = check_shorten(s->durable, zxid);
    uint32_t holders = check_holders(sim.record.tip);
    if (holders <= sim.t.voters / 2)
        sim_fail("truncation", "s%lld cuts its log to 0x%llx: 0x%llx, committed, is on %u of %u "
                 "disks", (long long)s->sid, X(zxid), X(sim.record.tip), holders, sim.t.voters);
}

void check_cut_done(struct server *s, int64_t zxid) {
    s->left = check_shorten(s->left, zxid);
}

void check_wiped(struct server *s) {
    s->tip = s->durable = s->applied = s->promised = 0;
}

void check_down(struct server *s, bool power) {
    (void)power;
    s->applied = 0;
}

/*
 * Losing this disk loses nothing that is committed and no promise, whatever quorum comes together:
 * a majority of all voters, without this one, has both.
 */
bool check_may_wipe(const struct server *s) {
    uint32_t holders = 0, promised = 0;
    int64_t most = 0;
    if (s->observer) return true;
    for (uint32_t i = 0; i < sim.t.voters; i++)
        if (sim.servers[i].promised > most) most = sim.servers[i].promised;
    for (uint32_t i = 0; i < sim.t.voters; i++) {
        const struct server *o = &sim.servers[i];
        holders += o != s && check_covers(o->durable, sim.record.tip);
        promised += o != s && o->promised == most;
    }
    return !sim.t.standalone && holders > sim.t.voters / 2 && promised > sim.t.voters / 2 &&
           check_covers(sim.record.tip, s->tip);
}

/* --- what is committed --- */

static void check_commit(struct server *s, int64_t zxid) {
    struct known *t = record_txn(zxid);
    if (!t || t->committed) return;
    if (t->prev != sim.record.tip) {
        const struct known *before = record_txn(t->prev);
        if (before && !before->committed && before->zxid > sim.record.tip) {
            check_commit(s, before->zxid);
            t = record_txn(zxid);
        }
        if (t->prev != sim.record.tip)
            sim_fail("agreement", "s%lld commits 0x%llx, which follows 0x%llx and not 0x%llx",
                     (long long)s->sid, X(zxid), X(t->prev), X(sim.record.tip));
    }
    uint32_t holders = check_holders(zxid);
    if (holders <= sim.t.voters / 2)
        sim_fail("commit", "s%lld commits 0x%llx, which %u of %u voters have for good",
                 (long long)s->sid, X(zxid), holders, sim.t.voters);
    story("s%lld is the first to commit 0x%llx", (long long)s->sid, X(zxid));
    record_commit(t);
}

/* --- what is applied --- */

static void check_sessions(struct db *db, const struct txn_header *h) {
    if (h->type == ZOP_CLOSE_SESSION && tree_owned(&db->tree, h->client_id))
        sim_fail("ephemerals", "session 0x%llx is closed and owns nodes", X(h->client_id));
    if (h->type == ZOP_CREATE_SESSION || h->type == ZOP_CLOSE_SESSION || h->type == ZOP_ERROR)
        return;
    if (!h->client_id || !tree_owned(&db->tree, h->client_id)) return;
    uint32_t i = session_find(&db->sessions, h->client_id);
    if (i == SESSION_NONE || !db->sessions.slots[i].committed)
        sim_fail("ephemerals", "0x%llx owns nodes and is no session", X(h->client_id));
}

static void check_applied(struct server *s, struct db *db, int64_t before,
                          const struct txn_header *h, struct slice record) {
    struct known *t = record_txn(h->zxid);
    if (!t) sim_fail("integrity", "s%lld applies 0x%llx, which nobody proposed",
                     (long long)s->sid, X(h->zxid));
    if (t->hash != record_hash(h, record))
        sim_fail("agreement", "s%lld applies another transaction as 0x%llx", (long long)s->sid,
                 X(h->zxid));
    if (t->prev != record_true(before))
        sim_fail("prefix consistency", "s%lld applies 0x%llx after 0x%llx, it follows 0x%llx",
                 (long long)s->sid, X(h->zxid), X(before), X(t->prev));
    if (t->applied && t->digest != db->tree.digest)
        sim_fail("digest", "s%lld differs after 0x%llx", (long long)s->sid, X(h->zxid));
    check_sessions(db, h);
    if (!t->applied) {
        t->applied = true;
        t->digest = db->tree.digest;
        record_effects(t, db, h, record);
    }
    if (s->recovering) return;
    s->applied = h->zxid;
    if (!server_serves(s)) return; /* it may yet be taken back */
    svg_mark(s->id, SVG_COMMITTED, h->zxid);
    check_commit(s, h->zxid);
}

int __wrap_txn_apply(struct db *db, const struct txn_header *h, struct slice record,
                     struct txn_out *out) {
    struct server *s = server_running();
    int64_t before = db->last_zxid;
    struct txn_header copy = *h;
    int err = __real_txn_apply(db, h, record, out);
    check_applied(s, db, before, &copy, record);
    story_mix((uint64_t)copy.zxid ^ db->tree.digest);
    return err;
}

/* --- after each step --- */

static void check_tree(struct server *s) {
    int64_t zxid = s->node.db.last_zxid, applied = record_true(zxid);
    if (s->node.stats.digest_mismatches)
        sim_fail("digest", "s%lld finds another digest in a transaction", (long long)s->sid);
    if (applied == s->applied || s->done_load) return; /* the node will hear of it at once */
    /* The tree came as a whole: from the disk, or from the leader. */
    const struct known *t = record_txn(applied);
    if (applied && !t)
        sim_fail("integrity", "s%lld is at 0x%llx, which nobody proposed", (long long)s->sid,
                 X(zxid));
    if (t && t->applied && t->digest != s->node.db.tree.digest)
        sim_fail("digest", "s%lld differs at 0x%llx", (long long)s->sid, X(zxid));
    s->applied = applied;
    if (s->tip == applied) return;
    s->left = s->tip;
    s->tip = applied;
    if (check_covers(s->durable, applied)) return; /* until the log has been cut */
    while (!check_covers(applied, s->durable)) s->durable = record_txn(s->durable)->prev;
}

/* A quorum has taken over the whole history of this leader: it is committed. */
static void check_established(struct server *s) {
    int64_t epoch = s->node.role.leader.epoch;
    story("s%lld is established as the leader of epoch %lld, history 0x%llx", (long long)s->sid,
          (long long)epoch, X(s->node.db.last_zxid));
    if (record_led(epoch))
        sim_fail("leadership", "s%lld leads epoch %lld, established before", (long long)s->sid,
                 (long long)epoch);
    s->epoch_led = epoch;
    svg_mark(s->id, SVG_ESTABLISHED, epoch);
    /* Acknowledgements may have been on the way while others began the next epoch. */
    if (epoch > record_last_epoch() && !check_covers(s->applied, sim.record.tip))
        sim_fail("leader completeness", "s%lld leads with 0x%llx, committed is 0x%llx",
                 (long long)s->sid, X(s->applied), X(sim.record.tip));
    record_epoch_began(epoch, s->applied);
    check_commit(s, s->applied);
    sim.elections++;
}

/* For the picture: the role as the node sees it. */
static void check_role(struct server *s) {
    enum role_phase phase = s->node.role.phase;
    bool serves = server_serves(s);
    if (phase == s->role && serves == s->serves) return;
    s->role = phase;
    s->serves = serves;
    if (phase == ROLE_LEARNING)
        svg_mark(s->id, serves ? SVG_SERVING : SVG_LEARNING, 0);
    else if (phase == ROLE_LEADING && !serves)
        svg_mark(s->id, SVG_LEADING, 0);
    else if (phase == ROLE_LOOKING)
        svg_mark(s->id, SVG_LOOKING, 0);
}

void check_step(struct server *s) {
    check_tree(s);
    check_role(s);
    if (server_leads(s) && server_serves(s) && s->epoch_led != s->node.role.leader.epoch)
        check_established(s);
}

/* --- recovery --- */

void check_recovered(struct server *s, const struct db *db, const struct files_report *r) {
    int64_t tip = record_true(db->last_zxid);
    const struct known *t = record_txn(tip);
    story("s%lld has 0x%llx on disk: snapshot 0x%llx and %lld transactions", (long long)s->sid,
          X(db->last_zxid), X(r->snapshot_zxid), (long long)r->replayed);
    if (tip && !t)
        sim_fail("recovery", "s%lld comes back with 0x%llx, which nobody proposed",
                 (long long)s->sid, X(tip));
    if (!check_covers(tip, s->durable) && !s->disk.damaged)
        sim_fail("recovery", "s%lld comes back with 0x%llx and had 0x%llx for good",
                 (long long)s->sid, X(tip), X(s->durable));
    if (!check_covers(s->tip, tip) && !check_covers(s->left, tip))
        sim_fail("recovery", "s%lld comes back with 0x%llx and had logged up to 0x%llx",
                 (long long)s->sid, X(tip), X(s->tip));
    if (t && t->applied && t->digest != db->tree.digest && !r->orphans)
        sim_fail("digest", "s%lld differs after its recovery at 0x%llx", (long long)s->sid, X(tip));
    if (r->digest_mismatches)
        sim_fail("digest", "s%lld finds %lld other digests in its log", (long long)s->sid,
                 (long long)r->digest_mismatches);
    s->tip = s->durable = s->applied = tip;
    s->left = 0;
    if (!sim.t.standalone) return;
    record_forget_after(tip);
    check_commit(s, tip); /* it decides alone */
}

/* --- everything a server serves, as one number --- */

uint64_t check_contents(const struct server *s) {
    const struct db *db = &s->node.db;
    uint64_t sum = 0;
    struct buf path = {0};
    for (uint32_t id = TREE_ROOT; id != TREE_NONE; id = tree_walk(&db->tree, TREE_ROOT, id)) {
        const struct tree_node *n = tree_node(&db->tree, id);
        uint8_t stat[WIRE_STAT_LEN];
        buf_clear(&path);
        tree_put_path(&db->tree, id, &path);
        tree_client_stat(&db->tree, n, stat);
        uint64_t x = slice_hash(buf_slice(&path), 3);
        x = slice_hash(tree_data(n), x);
        x = slice_hash(acl_bytes(&db->acls, n->acl), x);
        sum += slice_hash(slice_of(stat, sizeof stat), x);
    }
    for (uint32_t i = 0; i < db->sessions.n; i++) {
        const struct session *e = &db->sessions.slots[i];
        if (e->live && e->committed)
            sum += hash_u64((uint64_t)e->id ^ hash_u64((uint64_t)(uint32_t)e->timeout));
    }
    buf_free(&path);
    return sum;
}
