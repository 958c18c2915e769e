/* Arguments, seeds, summary. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "svg.h"

struct sim sim;

#define MAIN_SECONDS 120     /* of real time for a seed */
#define MAIN_EVENTS 20000000 /* of a seed: something goes in circles */

struct totals {
    uint64_t seeds, failures, acked, reads, events, steps;
    uint64_t faults[FAULT_COUNT];
    int64_t simulated; /* us */
    uint64_t hash;
};
struct options {
    uint64_t from, seeds;
    bool trace, twice, standalone, tuning, first;
    const char *svg;
    int64_t window[2]; /* of the picture, ms */
};

/* --- failures --- */

_Noreturn void sim_fail(const char *invariant, const char *fmt, ...) {
    va_list ap;
    int n = snprintf(sim.failure, sizeof sim.failure, "%s: ", invariant);
    va_start(ap, fmt);
    (void)vsnprintf(sim.failure + n, sizeof sim.failure - (size_t)n, fmt, ap);
    va_end(ap);
    story("*** %s", sim.failure);
    longjmp(sim.failed, 1);
}

_Noreturn void sim_assert_failed(const char *what, const char *file, int line) {
    sim_fail("assertion", "%s (%s:%d)", what, file, line);
}

static void main_signal(int number) {
    char text[96];
    int n = snprintf(text, sizeof text, "seed %" PRIu64 ": signal %d\n", sim.seed, number);
    (void)!write(2, text, (size_t)n);
    _exit(3);
}

/* --- one seed --- */

static void main_dispatch(const struct event *e) {
    switch (e->kind) {
    case EV_BOOT:
    case EV_TICK:
    case EV_TURN:
    case EV_LOG:
    case EV_BACK:
        server_event(e);
        break;
    case EV_CLIENT:
        caller_event(e);
        break;
    case EV_CONTENDER:
        contender_event(e);
        break;
    case EV_NEMESIS:
    case EV_REPAIR:
    case EV_WATCHDOG:
        nemesis_event(e);
        break;
    default:
        net_event(e);
        break;
    }
}

static void main_play(void) {
    struct event e;
    while (sim.phase != PHASE_DONE && event_take(&e)) {
        if (sim.phase == PHASE_FAULTS && e.at > sim.t.duration) {
            sim.now = sim.t.duration;
            nemesis_end();
        }
        if (e.at > sim.now) sim.now = e.at;
        sim.hash = hash_u64(sim.hash ^ (uint64_t)e.at ^ (uint64_t)e.kind << 56 ^
                            (uint64_t)e.who << 40);
        sim.steps++;
        if (sim.steps > MAIN_EVENTS) sim_fail("runaway", "%" PRIu64 " events", sim.steps);
        main_dispatch(&e);
    }
}

static void main_setup(uint64_t seed, const struct options *o) {
    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    sim.rng.state = hash_u64(seed + 1);
    sim.trace = o->trace;
    sim.standalone = o->standalone;
    mem_owner_init(&sim.mem);
    (void)mem_owned_by(&sim.mem);
    tuning_draw(&sim.t);
    sim.n_servers = sim.t.voters + sim.t.observers;
    for (uint32_t i = 0; i < sim.n_servers; i++) server_create(&sim.servers[i], i);
    for (uint32_t i = 0; i < sim.t.clients; i++) caller_create(i);
    for (uint32_t i = 0; i < sim.t.contenders; i++) contender_create(i);
    nemesis_start();
    if (o->svg) svg_start(o->window[0], o->window[1]);
}

static void main_teardown(void) {
    for (uint32_t i = 0; i < sim.n_servers; i++)
        if (sim.servers[i].state == PROC_UP) mem_forget(&sim.servers[i].mem);
    mem_forget(&sim.mem);
}

/* True when all invariants held. */
static bool main_seed(uint64_t seed, const struct options *o, struct totals *t) {
    (void)alarm(MAIN_SECONDS);
    main_setup(seed, o);
    if (o->tuning) (void)printf("%s", sim.t.config);
    if (setjmp(sim.failed) == 0) main_play();
    bool good = !sim.failure[0];
    if (o->svg && !svg_write(o->svg)) (void)fprintf(stderr, "sim: cannot write %s\n", o->svg);
    t->seeds++;
    t->failures += !good;
    t->simulated += sim.now;
    t->acked += sim.acked;
    t->reads += sim.reads;
    t->events += sim.events_seen;
    t->steps += sim.steps;
    t->hash = sim.hash;
    for (int f = 0; f < FAULT_COUNT; f++) t->faults[f] += sim.faults[f];
    main_teardown();
    if (!good) (void)printf("seed %" PRIu64 " FAILED at %lld.%03lld s: %s\n", seed,
                            (long long)(sim.now / SEC), (long long)(sim.now / MS % 1000),
                            sim.failure);
    return good;
}

/* --- the program --- */

static double main_clock(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void main_summary(const struct totals *t, double seconds) {
    double simulated = (double)t->simulated / 1e6;
    (void)printf("%" PRIu64 " seeds, %" PRIu64 " failed, %.2f simulated hours, %.0f x real time, "
                 "%" PRIu64 " events, %" PRIu64 " writes acknowledged, %" PRIu64 " reads checked, "
                 "%" PRIu64 " watches fired; faults:", t->seeds, t->failures, simulated / 3600,
                 simulated / seconds, t->steps, t->acked, t->reads, t->events);
    for (int f = 0; f < FAULT_COUNT; f++)
        (void)printf("%s %s %" PRIu64, f ? "," : "", fault_name((enum fault)f), t->faults[f]);
    (void)printf("\n");
}

static int main_usage(void) {
    (void)fprintf(stderr, "sim [--seeds N] [--from S] [--seed S] [--trace] [--twice] [--first] "
                          "[--standalone] [--config] [--svg FILE] [--window FROM-TO (ms)]\n");
    return 2;
}

static bool main_flag(struct options *o, const char *a) {
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"--trace", &o->trace}, {"--twice", &o->twice}, {"--first", &o->first},
                 {"--standalone", &o->standalone}, {"--config", &o->tuning}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (strcmp(a, flags[i].name) != 0) continue;
        *flags[i].flag = true;
        return true;
    }
    return false;
}

static bool main_value(struct options *o, const char *a, const char *v) {
    char *end;
    uint64_t number = strtoull(v, &end, 10);
    if (strcmp(a, "--svg") == 0) {
        o->svg = v;
        return *v != '\0';
    }
    if (strcmp(a, "--window") == 0 && *end == '-') {
        o->window[0] = (int64_t)number;
        o->window[1] = (int64_t)strtoull(end + 1, &end, 10);
        return !*end;
    }
    if (strcmp(a, "--seeds") == 0)
        o->seeds = number;
    else if (strcmp(a, "--from") == 0 || strcmp(a, "--seed") == 0)
        o->from = number;
    else
        return false;
    if (strcmp(a, "--seed") == 0) o->seeds = 1;
    return *v && !*end;
}

int main(int argc, char **argv) {
    struct options o = {.from = 1, .seeds = 100};
    struct totals t = {0};
    for (int i = 1; i < argc; i++) {
        if (main_flag(&o, argv[i])) continue;
        if (i + 1 == argc || !main_value(&o, argv[i], argv[i + 1])) return main_usage();
        i++;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)signal(SIGALRM, main_signal); /* a machine that does not come back from an input */
    (void)signal(SIGSEGV, main_signal);
    (void)signal(SIGABRT, main_signal);
    double start = main_clock();
    for (uint64_t s = o.from; s < o.from + o.seeds && !(o.first && t.failures); s++) {
        bool good = main_seed(s, &o, &t);
        uint64_t hash = t.hash;
        if (o.twice && good) {
            (void)main_seed(s, &o, &t);
            if (t.hash != hash) {
                (void)printf("seed %" PRIu64 " FAILED: it went another way the second time\n", s);
                t.failures++;
            }
        }
        if (o.seeds == 1) (void)printf("seed %" PRIu64 ": trace hash %016" PRIx64 "\n", s, hash);
    }
    main_summary(&t, main_clock() - start);
    return t.failures != 0;
}
