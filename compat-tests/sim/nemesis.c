/*
 * Faults, and their end.
 *
 * While the first phase lasts, a fault is drawn at random moments; some end by themselves after a
 * while. Then a quorum is healed and the rest stays broken: from here on the ensemble owes a
 * leader, progress, equal state on all healed servers, and no session of anybody who is gone.
 */
#include "sim.h"

static const char *const fault_names[] = {
#define FAULT_NAME(name, text) text,
    FAULTS(FAULT_NAME)
};

const char *fault_name(enum fault f) {
    return fault_names[f];
}

/* --- choosing --- */

static struct server *nemesis_any(void) {
    return &sim.servers[rnd(sim.n_servers)];
}

static int64_t nemesis_while(void) {
    return 20 * MS + rnd_wait(chance(300) ? 10 * SEC : 1 * SEC);
}

static enum fault nemesis_draw(void) {
    uint64_t sum = 0;
    for (int f = 0; f < FAULT_COUNT; f++) sum += sim.t.fault_weight[f];
    if (!sum) return FAULT_COUNT;
    uint64_t at = rnd(sum);
    int f = 0;
    for (; at >= sim.t.fault_weight[f]; f++) at -= sim.t.fault_weight[f];
    return (enum fault)f;
}

/* So few servers are beyond help that the others are still a quorum with one to spare. */
static bool nemesis_may_damage(const struct server *s) {
    uint32_t bad = 0;
    for (uint32_t i = 0; i < sim.t.voters; i++)
        bad += &sim.servers[i] != s && (sim.servers[i].disk.damaged || sim.servers[i].disk.full);
    return s->observer || (!sim.t.standalone && bad < (sim.t.voters - 1) / 2);
}

/* --- the network --- */

static void nemesis_block(uint32_t a, uint32_t b, bool both) {
    if (a == b) return;
    sim.net.blocked[a][b] = true;
    if (both) sim.net.blocked[b][a] = true;
}

static void nemesis_free_net(void) {
    memset(sim.net.blocked, 0, sizeof sim.net.blocked);
    net_unblock();
}

static void nemesis_halves(void) {
    uint32_t side = 1 + (uint32_t)rnd((1u << sim.n_servers) - 1);
    for (uint32_t a = 0; a < sim.n_servers; a++)
        for (uint32_t b = 0; b < sim.n_servers; b++)
            if ((side >> a & 1) != (side >> b & 1)) nemesis_block(a, b, false);
}

/* Two sides that only one server can talk to. */
static void nemesis_bridge(void) {
    uint32_t bridge = (uint32_t)rnd(sim.n_servers);
    for (uint32_t a = 0; a < sim.n_servers; a++)
        for (uint32_t b = 0; b < sim.n_servers; b++)
            if (a != bridge && b != bridge && a % 2 != b % 2) nemesis_block(a, b, false);
}

static void nemesis_ring(void) {
    uint32_t n = sim.n_servers;
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < n; b++)
            if ((a + 1) % n != b && (b + 1) % n != a) nemesis_block(a, b, false);
}

static void nemesis_isolate(void) {
    uint32_t who = (uint32_t)rnd(sim.n_servers);
    for (uint32_t i = 0; i < sim.n_servers; i++)
        if (server_leads(&sim.servers[i])) who = i;
    for (uint32_t b = 0; b < sim.n_servers; b++) nemesis_block(who, b, true);
}

static void nemesis_cut_host(uint32_t host) {
    for (uint32_t s = 0; s < sim.n_servers; s++)
        if (chance(500)) nemesis_block(host, s, chance(700));
}

static void nemesis_clients_cut(void) {
    for (uint32_t c = 0; c < sim.t.clients; c++) nemesis_cut_host(SIM_CLIENT_HOST + c);
    for (uint32_t c = 0; c < sim.t.contenders; c++)
        nemesis_cut_host(SIM_CLIENT_HOST + SIM_CLIENTS + c);
}

/* --- the faults --- */

static void nemesis_in_call(struct server *s, bool power) {
    s->disk.calls_left = 1 + (uint32_t)rnd(chance(500) ? 8 : 60);
    s->disk.calls_power = power;
}

static void nemesis_jump(struct server *s) {
    int64_t most = chance(200) ? 86400 * SEC : 10 * SEC;
    s->wall_base += rnd_between(-most, most);
}

static bool nemesis_wipe(struct server *s) {
    if (!check_may_wipe(s)) return false;
    server_down(s, BY_POWER);
    net_forget_sent(s->id);
    disk_wipe(&s->disk);
    check_wiped(s);
    return true;
}

static void nemesis_until(enum fault f, uint32_t who) {
    event_at(sim.now + nemesis_while(), EV_REPAIR, who, (uint32_t)f, 0);
}

static bool nemesis_network(enum fault f, struct server *s) {
    switch (f) {
    case FAULT_RESET:
        return net_spoil(true);
    case FAULT_STALL:
        return net_spoil(false);
    case FAULT_ONE_WAY:
        nemesis_block(s->id, (uint32_t)rnd(sim.n_servers), false);
        break;
    case FAULT_HALVES:
        nemesis_halves();
        break;
    case FAULT_BRIDGE:
        nemesis_bridge();
        break;
    case FAULT_RING:
        nemesis_ring();
        break;
    case FAULT_ISOLATE:
        nemesis_isolate();
        break;
    case FAULT_CLIENTS_CUT:
        nemesis_clients_cut();
        break;
    default:
        return false;
    }
    nemesis_until(f, s->id);
    return true;
}

static bool nemesis_disk(enum fault f, struct server *s) {
    char name[DISK_PATH] = "";
    switch (f) {
    case FAULT_KILL_IN_CALL:
    case FAULT_POWER_IN_CALL:
        nemesis_in_call(s, f == FAULT_POWER_IN_CALL);
        return true;
    case FAULT_EIO:
        s->disk.fail_next = 1 + (uint32_t)rnd(3);
        return true;
    case FAULT_ENOSPC:
        if (s->disk.full || !nemesis_may_damage(s)) return false;
        s->disk.full = true;
        break;
    case FAULT_SYNC_FAILS:
        s->disk.sync_fails = true;
        return true;
    case FAULT_SLOW_DISK:
        s->disk.slow = rnd_between(10, 1000);
        break;
    case FAULT_ROT:
        if (!nemesis_may_damage(s) || !disk_rot(&s->disk, name)) return false;
        story("s%u: a bit of %s turns", s->id + 1, name);
        return true;
    case FAULT_LOST_DISK:
        return nemesis_wipe(s);
    default:
        return false;
    }
    nemesis_until(f, s->id);
    return true;
}

static bool nemesis_process(enum fault f, struct server *s) {
    if (s->state != PROC_UP && f != FAULT_POWER_ALL && f != FAULT_CLIENT_DIES) return false;
    switch (f) {
    case FAULT_KILL:
        server_down(s, BY_KILL);
        return true;
    case FAULT_POWER:
        server_down(s, BY_POWER);
        return true;
    case FAULT_POWER_ALL:
        for (uint32_t i = 0; i < sim.n_servers; i++) server_down(&sim.servers[i], BY_POWER);
        return true;
    case FAULT_STOP:
        server_down(s, BY_STOP);
        return true;
    case FAULT_PAUSE:
        s->paused_until = sim.now + nemesis_while();
        return true;
    case FAULT_SNAPSHOT:
        server_snapshot(s);
        return true;
    case FAULT_CLOCK:
        nemesis_jump(s);
        return true;
    case FAULT_CLIENT_DIES:
        caller_abandon((uint32_t)rnd(sim.t.clients));
        return true;
    default:
        return nemesis_disk(f, s) || nemesis_network(f, s);
    }
}

static void nemesis_strike(void) {
    enum fault f = nemesis_draw();
    if (f == FAULT_COUNT) return;
    struct server *s = nemesis_any();
    if (!nemesis_process(f, s)) return;
    sim.faults[f]++;
    story("--- %s (s%u)", fault_names[f], s->id + 1);
}

static void nemesis_repair(const struct event *e) {
    enum fault f = (enum fault)e->gen;
    struct server *s = &sim.servers[e->who];
    if (f == FAULT_ENOSPC) {
        s->disk.full = false;
    } else if (f == FAULT_SLOW_DISK) {
        s->disk.slow = 1;
    } else if (sim.phase == PHASE_FAULTS) {
        story("--- the network is whole again");
        nemesis_free_net();
    }
}

/* --- the liveness phase --- */

static void nemesis_heal(struct server *s) {
    s->disk.full = false;
    s->disk.slow = 1;
    s->disk.fail_next = s->disk.calls_left = 0;
    s->disk.sync_fails = false;
    s->paused_until = 0;
    if (s->state == PROC_DOWN) event_at(sim.now + (int64_t)rnd(1 * SEC), EV_BOOT, s->id, s->gen, 0);
}

/* Who cannot be helped stays broken; of the others as many as a quorum may not do without. */
static void nemesis_choose(bool healed[SIM_SERVERS]) {
    uint32_t spare = sim.t.standalone ? 0 : (sim.t.voters - 1) / 2, n = sim.n_servers;
    for (uint32_t i = 0; i < n; i++) {
        healed[i] = !sim.servers[i].disk.damaged;
        if (!healed[i] && !sim.servers[i].observer && spare) spare--;
    }
    for (uint32_t k = 0, i = (uint32_t)rnd(n); k < n && spare; k++, i = (i + 1) % n) {
        if (!healed[i] || sim.servers[i].observer || !chance(400)) continue;
        healed[i] = false;
        spare--;
    }
}

void nemesis_end(void) {
    bool healed[SIM_SERVERS];
    nemesis_choose(healed);
    nemesis_free_net();
    net_calm();
    for (uint32_t i = 0; i < sim.n_servers; i++) {
        struct server *s = &sim.servers[i];
        if (healed[i]) {
            nemesis_heal(s);
            continue;
        }
        s->retired = true;
        if (chance(300)) { /* up, and heard by nobody */
            for (uint32_t k = 0; k < SIM_HOSTS; k++) nemesis_block(i, k, true);
        } else {
            server_down(s, chance(500) ? BY_POWER : BY_KILL);
        }
        story("s%u stays broken", i + 1);
    }
    sim.phase = PHASE_LIVENESS;
    sim.healed_at = sim.now;
    sim.stage_at = sim.now;
    event_at(sim.now + 100 * MS, EV_WATCHDOG, 0, 0, 0);
}

static int64_t nemesis_patience(void) {
    int64_t limits = (int64_t)(sim.t.init_limit + sim.t.sync_limit) * sim.t.tick * MS;
    return 60 * SEC + 8 * limits;
}

/* Equal trees on all healed servers. */
static bool nemesis_converged(void) {
    const struct server *first = NULL;
    for (uint32_t i = 0; i < sim.n_servers; i++) {
        const struct server *s = &sim.servers[i];
        if (s->retired) continue;
        if (s->state != PROC_UP || s->applied != sim.record.tip) return false;
        if (!server_serves(s)) return false;
        if (!first) first = s;
        if (check_contents(s) != check_contents(first))
            sim_fail("convergence", "s%u and s%u differ at 0x%llx", s->id + 1, first->id + 1,
                     (unsigned long long)sim.record.tip);
    }
    return first != NULL;
}

static bool nemesis_sessions_gone(void) {
    const struct session_fate *f = (const struct session_fate *)(void *)sim.record.sessions.p;
    for (size_t i = 0; i < sim.record.sessions.n / sizeof *f; i++)
        if (f[i].born && !f[i].died && !caller_session_live(f[i].id) &&
            !contender_session_live(f[i].id))
            return false;
    return true;
}

static void nemesis_stage(void) {
    sim.stage++;
    sim.stage_at = sim.now;
}

/* Damage alone may have taken the quorum: then nothing is owed. */
static bool nemesis_hopeless(void) {
    uint32_t lost = 0;
    for (uint32_t i = 0; i < sim.n_servers; i++)
        lost += sim.servers[i].retired && !sim.servers[i].observer;
    return lost > (sim.t.voters - 1) / 2;
}

static void nemesis_watch(void) {
    static const char *const owed[] = {"progress", "convergence", "the end of dead sessions"};
    if (nemesis_hopeless()) {
        sim.phase = PHASE_DONE;
        return;
    }
    if (sim.stage == 0 && caller_progress(sim.healed_at) && contender_progress(sim.healed_at)) {
        nemesis_stage();
        sim.quiet = true;
    } else if (sim.stage == 1 && nemesis_converged()) {
        nemesis_stage();
    } else if (sim.stage == 2 && nemesis_sessions_gone() && nemesis_converged()) {
        sim.phase = PHASE_DONE;
        return;
    }
    int64_t patience = nemesis_patience() + (sim.stage == 2 ? 60 * sim.t.tick * MS : 0);
    if (sim.now - sim.stage_at > patience)
        sim_fail("liveness", "%s is owed since %lld s", owed[sim.stage],
                 (long long)((sim.now - sim.stage_at) / SEC));
    event_at(sim.now + 100 * MS, EV_WATCHDOG, 0, 0, 0);
}

/* --- events --- */

void nemesis_start(void) {
    if (sim.t.fault_every) event_at(rnd_wait(sim.t.fault_every), EV_NEMESIS, 0, 0, 0);
}

void nemesis_event(const struct event *e) {
    if (e->kind == EV_WATCHDOG) {
        nemesis_watch();
    } else if (e->kind == EV_REPAIR) {
        nemesis_repair(e);
    } else if (sim.phase == PHASE_FAULTS) {
        nemesis_strike();
        event_at(sim.now + rnd_wait(sim.t.fault_every), EV_NEMESIS, 0, 0, 0);
    }
}
