/* The queue of events, in order of time and then of their making; every random choice. */
#include "sim.h"

static bool event_before(const struct event *a, const struct event *b) {
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void event_at(int64_t at, enum event_kind kind, uint32_t who, uint32_t gen, int64_t arg) {
    if (sim.heap_n == sim.heap_cap) {
        struct mem_owner *before = mem_owned_by(&sim.mem);
        sim.heap_cap = sim.heap_cap ? sim.heap_cap * 2 : 1024;
        sim.heap = mem_realloc(sim.heap, sizeof *sim.heap * sim.heap_cap);
        (void)mem_owned_by(before);
    }
    struct event e = {at < sim.now ? sim.now : at, sim.seq++, kind, who, gen, arg};
    uint32_t i = sim.heap_n++;
    for (; i && event_before(&e, &sim.heap[(i - 1) / 2]); i = (i - 1) / 2)
        sim.heap[i] = sim.heap[(i - 1) / 2];
    sim.heap[i] = e;
}

bool event_take(struct event *e) {
    if (!sim.heap_n) return false;
    *e = sim.heap[0];
    struct event last = sim.heap[--sim.heap_n];
    uint32_t i = 0, n = sim.heap_n;
    for (;;) {
        uint32_t k = 2 * i + 1;
        if (k >= n) break;
        if (k + 1 < n && event_before(&sim.heap[k + 1], &sim.heap[k])) k++;
        if (!event_before(&sim.heap[k], &last)) break;
        sim.heap[i] = sim.heap[k];
        i = k;
    }
    if (n) sim.heap[i] = last;
    return true;
}

uint64_t rnd(uint64_t bound) {
    return prng_below(&sim.rng, bound);
}

int64_t rnd_between(int64_t low, int64_t high) {
    return low + (int64_t)rnd((uint64_t)(high - low) + 1);
}

bool chance(uint32_t in_1000) {
    return rnd(1000) < in_1000;
}

/* A sum of steps that halve in likelihood: no floating point, the same with every compiler. */
int64_t rnd_wait(int64_t mean) {
    int64_t whole = 0;
    while (rnd(2) && whole < 8 * mean) whole += mean;
    return whole + (int64_t)rnd((uint64_t)mean / 2 + 1);
}
