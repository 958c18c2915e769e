/* The story of a run in words, and its hash. */
#include <stdio.h>

#include "sim.h"

void story_mix(uint64_t x) {
    sim.hash = hash_u64(sim.hash ^ x ^ (uint64_t)sim.now);
}

void story(const char *fmt, ...) {
    if (!sim.trace) return;
    va_list ap;
    (void)printf("%10lld.%03lld  ", (long long)(sim.now / MS), (long long)(sim.now % MS));
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)putchar('\n');
}
