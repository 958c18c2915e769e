/* What a seed draws for itself: sizes, latencies, limits, and which faults it likes. */
#include <stdio.h>

#include "sim.h"

static int64_t tuning_pick(const int64_t *from, size_t n) {
    return from[rnd(n)];
}
#define PICK(...)                                                                                  \
    tuning_pick((const int64_t[]){__VA_ARGS__},                                                    \
                sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void tuning_network(struct tuning *t) {
    t->net_min = PICK(30, 100, 100, 500, 2000);
    t->net_spread = PICK(0, 50, 200, 1000, 5000);
    t->split = (uint32_t)PICK(0, 20, 100, 400);
    t->socket = (size_t)PICK(4096, 65536, 1 << 20);
}

static void tuning_disk(struct tuning *t) {
    t->write_min = PICK(5, 20, 100);
    t->write_spread = PICK(10, 100, 1000);
    t->sync_min = PICK(50, 300, 2000);
    t->sync_spread = PICK(50, 500, 5000, 20000);
    t->direct = (uint32_t)rnd(3);
    t->journal_ordered = chance(500);
    t->sync_names = chance(300);
    t->sync_lies = false;
    t->garble = chance(50);
}

static void tuning_clients(struct tuning *t) {
    t->clients = (uint32_t)rnd_between(1, SIM_CLIENTS);
    t->think = PICK(5, 20, 100, 100, 500) * MS;
    t->depth = (uint32_t)PICK(1, 1, 4, 16);
    t->paths = (uint32_t)PICK(1, 3, 8, 20);
    t->downtime = PICK(50, 500, 2000, 10000) * MS;
}

static void tuning_faults(struct tuning *t) {
    t->fault_every = chance(30) ? 0 : PICK(300, 1000, 2000, 5000, 10000) * MS;
    for (int f = 0; f < FAULT_COUNT; f++)
        t->fault_weight[f] = chance(350) ? 0 : (uint32_t)PICK(1, 1, 3, 10);
    t->fault_weight[FAULT_POWER_ALL] = chance(300) ? 1 : 0;
    t->fault_weight[FAULT_ROT] = chance(150) ? 1 : 0;
    t->fault_weight[FAULT_LOST_DISK] = chance(200) ? 1 : 0;
    t->drift_ppm = (int32_t)PICK(0, 50, 500, 5000);
}

static void tuning_config(struct tuning *t) {
    struct buf b = {0};
    t->tick = (int32_t)PICK(50, 100, 200, 500, 2000);
    t->init_limit = (int32_t)rnd_between(5, 10);
    t->sync_limit = (int32_t)rnd_between(2, 5);
    /* What the machine can do must fit into the limits, or nobody could promise progress. */
    while (t->sync_limit * t->tick < 200) t->sync_limit++;
    while (t->init_limit * t->tick < 1000) t->init_limit++;
    buf_printf(&b, "tickTime=%d\ndataDir=/d\nclientPort=%d\nmaxClientCnxns=0\n", t->tick,
               PORT_CLIENT);
    buf_printf(&b, "initLimit=%d\nsyncLimit=%d\n", t->init_limit, t->sync_limit);
    buf_printf(&b, "snapCount=%lld\n", (long long)PICK(2, 10, 50, 200, 1000));
    buf_printf(&b, "preAllocSize=%lld\n", (long long)PICK(0, 1, 16, 64));
    buf_printf(&b, "snapshot.trust.empty=false\nfsync.warningthresholdms=100000\n");
    if (chance(300)) buf_printf(&b, "dataLogDir=/l\n");
    if (chance(300)) buf_printf(&b, "txnLogSizeLimitInKb=%lld\n", (long long)PICK(1, 4, 32));
    for (uint32_t i = 0; i < t->voters + t->observers && !t->standalone; i++)
        buf_printf(&b, "server.%u=s%u:%d:%d%s\n", i + 1, i + 1, PORT_QUORUM, PORT_ELECTION,
                   i < t->voters ? "" : ":observer");
    if (chance(150)) buf_printf(&b, "leaderServes=no\n");
    if (chance(100)) buf_printf(&b, "forceSnapshotSync=true\n");
    t->commit_log_count = (int32_t)PICK(1, 3, 10, 50, 500);
    /* Not drawn from the common stream: the stories of the other seeds stay what they were. */
    struct prng own = {sim.seed};
    t->counter_max = 0xfffffffe;
    if (prng_below(&own, 10) == 0)
        t->counter_max = 20 << prng_below(&own, 8);
    else if (prng_below(&own, 4) == 0) /* each epoch gives all sessions their time anew: not both */
        t->contenders = 1 + (uint32_t)prng_below(&own, SIM_CONTENDERS);
    if (prng_below(&own, 8) == 1)
        buf_printf(&b, "request_throttle_max_requests=%d\n", 1 << prng_below(&own, 5));
    ZK_ASSERT(b.n < sizeof t->config);
    memcpy(t->config, b.p, b.n);
    buf_free(&b);
}

void tuning_draw(struct tuning *t) {
    memset(t, 0, sizeof *t);
    t->standalone = sim.standalone || chance(50);
    t->voters = t->standalone ? 1 : chance(600) ? 3 : 5;
    t->observers = t->standalone ? 0 : (uint32_t)PICK(0, 0, 0, 1, 2);
    t->duration = PICK(10, 20, 30, 60) * SEC;
    tuning_network(t);
    tuning_disk(t);
    tuning_clients(t);
    tuning_faults(t);
    tuning_config(t);
}
