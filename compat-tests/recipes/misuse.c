/*
 * The recipes of zk.h in the wrong hands:
 *   misuse <host> <path> nulls|paths|closed|expired|callbacks|threads|turns
 * Every call answers with an error or a result; nothing crashes, leaks or hangs.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "zk.h"

#define WAIT_MS 10000
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static void check(int line, const char *what, long long got, long long wanted) {
    if (got == wanted) return;
    fprintf(stderr, "%d: %s is %lld, not %lld\n", line, what, got, wanted);
    exit(1);
}
#define IS(call, wanted) check(__LINE__, #call, (call), (wanted))
#define HOLDS(what) check(__LINE__, #what, !!(what), 1)

static void pass(void) {
    struct timespec ms = {0, 1000000};
    (void)nanosleep(&ms, NULL);
}

static void until(int line, const char *what, atomic_int *flag) {
    for (int i = 0; !*flag; i++) {
        if (i > WAIT_MS) check(line, what, 0, 1);
        pass();
    }
}
#define UNTIL(flag) until(__LINE__, #flag, &(flag))

static const char *host, *root;

static struct zk *open_zk(const char *hosts, unsigned flags) {
    struct zk_options options = {.hosts = hosts, .flags = flags};
    struct zk *zk;
    IS(zk_open(&zk, &options), ZK_OK);
    IS(zk_wait_connected(zk, WAIT_MS), ZK_OK);
    return zk;
}

static char path[300];
static const char *at(const char *name) {
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void on_done(void *user, int error) {
    if (user) *(atomic_int *)user = error ? error : 1;
}

/* --- one of each --- */

struct all {
    struct zk_lock *lock;
    struct zk_leader *leader;
    struct zk_barrier *barrier;
    struct zk_double_barrier *pair;
    struct zk_queue *queue;
    struct zk_counter *counter;
    struct zk_cache *cache;
    struct zk_member *member;
    struct zk_member *service;
};

static const struct zk_service SERVICE = {.name = "n", .id = "i", .port = 1, .ssl_port = -1};

/* Every maker, with the same outcome. */
static void make_all(struct zk *zk, const char *where, int wanted, struct all *a) {
    IS(zk_lock_new(zk, where, NULL, &a->lock), wanted);
    IS(zk_leader_new(zk, where, NULL, &a->leader), wanted);
    IS(zk_barrier_new(zk, where, &a->barrier), wanted);
    IS(zk_double_barrier_new(zk, where, 2, &a->pair), wanted);
    IS(zk_queue_new(zk, where, ZK_QUEUE_SIMPLE, &a->queue), wanted);
    IS(zk_counter_new(zk, where, 8, &a->counter), wanted);
    IS(zk_cache_new(zk, where, NULL, &a->cache), wanted);
    IS(zk_member_new(zk, where, "", 0, NULL, &a->member), wanted);
    IS(zk_service_register(zk, where, &SERVICE, NULL, &a->service), wanted);
}

static void free_all(struct all *a) {
    zk_lock_free(a->lock);
    zk_leader_free(a->leader);
    zk_barrier_free(a->barrier);
    zk_double_barrier_free(a->pair);
    zk_queue_free(a->queue);
    zk_counter_free(a->counter);
    zk_cache_free(a->cache);
    zk_member_free(a->member);
    zk_member_free(a->service);
}

/* Whatever asks the server, on a handle whose session is over for this reason. */
static void use_all(struct all *a, int wanted) {
    IS(zk_lock_acquire(a->lock, -1), wanted);
    IS(zk_lock_acquire_async(a->lock, -1, on_done, NULL), wanted);
    IS(zk_lock_try(a->lock), wanted);
    IS(zk_lock_revoke(a->lock), wanted);
    IS(zk_lock_token(a->lock), 0);
    IS(zk_leader_wait(a->leader, -1), wanted);
    IS(zk_leader_wait_async(a->leader, -1, on_done, NULL), wanted);
    IS(zk_leader_resign(a->leader), wanted);
    IS(zk_leader_token(a->leader), 0);
    char who[8];
    IS(zk_leader_who(a->leader, who, sizeof who), wanted);
    IS(zk_barrier_close(a->barrier), wanted);
    IS(zk_barrier_open(a->barrier), wanted);
    IS(zk_barrier_wait(a->barrier, -1), wanted);
    IS(zk_barrier_wait_async(a->barrier, -1, on_done, NULL), wanted);
    IS(zk_double_barrier_enter(a->pair, -1), wanted);
    IS(zk_double_barrier_enter_async(a->pair, -1, on_done, NULL), wanted);
    IS(zk_double_barrier_leave(a->pair, -1), wanted);
    IS(zk_double_barrier_leave_async(a->pair, -1, on_done, NULL), wanted);
    IS(zk_queue_put(a->queue, "x", 1, 0), wanted);
    IS(zk_queue_put_async(a->queue, "x", 1, 0, on_done, NULL), wanted);
    IS(zk_queue_take(a->queue, -1), wanted);
    IS(zk_queue_take_async(a->queue, -1, on_done, NULL), wanted);
    IS(zk_counter_get(a->counter), wanted);
    IS(zk_counter_set(a->counter, 1), wanted);
    IS(zk_counter_add(a->counter, 1), wanted);
    IS(zk_counter_add_async(a->counter, 1, on_done, NULL), wanted);
    IS(zk_counter_compare_and_set(a->counter, 1, 2), wanted);
    IS(zk_cache_wait(a->cache, -1), wanted);
    IS(zk_member_wait(a->member, -1), wanted);
    IS(zk_member_set(a->member, "x", 1), wanted);
}

/* --- nothing --- */

static void nulls(void) {
    struct all none = {0};
    struct zk *zk = open_zk(host, 0);
    struct zk_service **list, *one;
    int n;
    make_all(NULL, "/a", ZK_BAD_ARGUMENTS, &none);
    make_all(zk, NULL, ZK_BAD_ARGUMENTS, &none);
    use_all(&none, ZK_BAD_ARGUMENTS);
    free_all(&none);
    IS(zk_lock_new(zk, "/a", NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_leader_new(zk, "/a", NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_barrier_new(zk, "/a", NULL), ZK_BAD_ARGUMENTS);
    IS(zk_double_barrier_new(zk, "/a", 2, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_queue_new(zk, "/a", ZK_QUEUE_SIMPLE, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_counter_new(zk, "/a", 8, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_cache_new(zk, "/a", NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_member_new(zk, "/a", "", 0, NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_service_register(zk, "/a", &SERVICE, NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_lock_release(NULL), ZK_BAD_ARGUMENTS);
    IS(zk_lock_downgrade(NULL, NULL, -1), ZK_BAD_ARGUMENTS);
    IS(zk_lock_state(NULL), ZK_HOLD_NONE);
    IS(zk_leader_state(NULL), ZK_HOLD_NONE);
    IS(zk_member_state(NULL), ZK_HOLD_NONE);
    IS(zk_counter_value(NULL), 0);
    HOLDS(!zk_queue_item(NULL, &n) && !zk_queue_item(NULL, NULL));
    struct zk_result *r;
    IS(zk_cache_get(NULL, "/a", &r), ZK_BAD_ARGUMENTS);
    HOLDS(!r);
    IS(zk_cache_get(NULL, NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_service_read(NULL, 0, &one), ZK_MALFORMED);
    IS(zk_service_read("{}", -1, &one), ZK_MALFORMED);
    IS(zk_service_read("{}", 2, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_service_list(zk, "/a", "b", NULL, &n), ZK_BAD_ARGUMENTS);
    IS(zk_service_list(zk, "/a", "b", &list, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_service_list(zk, NULL, "b", &list, &n), ZK_BAD_ARGUMENTS);
    IS(zk_service_list(zk, "/a", NULL, &list, &n), ZK_BAD_ARGUMENTS);
    IS(zk_service_list(NULL, "/a", "b", &list, &n), ZK_BAD_ARGUMENTS);
    zk_service_free(NULL);
    zk_services_free(NULL, 0);
    zk_services_free(NULL, 3);
    zk_free(zk);
}

/* --- what cannot be --- */

static void wrong_services(struct zk *zk) {
    static const int ports[] = {-2, -5, 65536, 700000};
    static const char *const specs[] = {"x", "5", "[]", "{}", "\"parts\"", "{\"parts\":5}",
                                        "{\"parts\":{}}", "{\"part\":[]}", "{\"parts\":[]} 1"};
    struct zk_member *member;
    for (int i = 0; i < COUNT(ports); i++) {
        struct zk_service s = SERVICE;
        s.port = ports[i];
        IS(zk_service_register(zk, "/a", &s, NULL, &member), ZK_BAD_ARGUMENTS);
        s.port = 1;
        s.ssl_port = ports[i];
        IS(zk_service_register(zk, "/a", &s, NULL, &member), ZK_BAD_ARGUMENTS);
    }
    for (int i = 0; i < COUNT(specs); i++) {
        struct zk_service s = SERVICE;
        s.uri_spec = specs[i];
        IS(zk_service_register(zk, "/a", &s, NULL, &member), ZK_BAD_ARGUMENTS);
    }
    struct zk_service good = SERVICE;
    good.port = 65535;
    good.ssl_port = 0;
    good.uri_spec = " {\"a\":1,\"parts\":[{\"value\":\"x\",\"variable\":false}]}";
    IS(zk_service_register(zk, at("spec"), &good, NULL, &member), ZK_OK);
    IS(zk_member_wait(member, WAIT_MS), ZK_OK);
    zk_member_free(member);
}

static void wrong_options(struct zk *zk) {
    struct zk_acl acl = {ZK_PERM_ALL, NULL, "anyone"};
    const char *pattern[] = {NULL};
    const struct zk_lock_options locks[] = {
        {.kind = (enum zk_lock_kind)9}, {.kind = (enum zk_lock_kind)-1}, {.leases = 1},
        {.kind = ZK_LOCK_LEASE}, {.kind = ZK_LOCK_LEASE, .leases = -1},
        {.kind = ZK_LOCK_LEASE, .leases = 1, .reentrant = true},
        {.kind = ZK_LOCK_LEASE, .leases = 1, .kazoo = true},
        {.extra_count = 1}, {.extra_count = -1}, {.extra_patterns = pattern, .extra_count = 1},
        {.data_len = 1}, {.data_len = -1}, {.acl = &acl}, {.acl = &acl, .acl_count = 1},
        {.acl_count = 1}, {.acl = &acl, .acl_count = -1}};
    struct all a = {0};
    for (int i = 0; i < COUNT(locks); i++)
        IS(zk_lock_new(zk, "/a", &locks[i], &a.lock), ZK_BAD_ARGUMENTS);
    struct zk_leader_options leader = {.acl_count = 1};
    IS(zk_leader_new(zk, "/a", &leader, &a.leader), ZK_BAD_ARGUMENTS);
    IS(zk_double_barrier_new(zk, "/a", 0, &a.pair), ZK_BAD_ARGUMENTS);
    IS(zk_double_barrier_new(zk, "/a", -1, &a.pair), ZK_BAD_ARGUMENTS);
    IS(zk_queue_new(zk, "/a", (enum zk_queue_layout)3, &a.queue), ZK_BAD_ARGUMENTS);
    IS(zk_counter_new(zk, "/a", 5, &a.counter), ZK_BAD_ARGUMENTS);
    struct zk_cache_options cache = {.levels = -1};
    IS(zk_cache_new(zk, "/a", &cache, &a.cache), ZK_BAD_ARGUMENTS);
    IS(zk_member_new(zk, "/a", NULL, 1, NULL, &a.member), ZK_BAD_ARGUMENTS);
    IS(zk_member_new(zk, "/a", "", -1, NULL, &a.member), ZK_BAD_ARGUMENTS);
    struct zk_service s = SERVICE;
    s.address = "\xff";
    IS(zk_service_register(zk, "/a", &s, NULL, &a.service), ZK_BAD_ARGUMENTS);
    s = SERVICE;
    s.payload = "\"\xc0\x80\"";
    IS(zk_service_register(zk, "/a", &s, NULL, &a.service), ZK_BAD_ARGUMENTS);
    s.payload = "01";
    IS(zk_service_register(zk, "/a", &s, NULL, &a.service), ZK_BAD_ARGUMENTS);
    wrong_services(zk);
    free_all(&a);
}

static void wrong_operands(struct zk *zk) {
    struct all a;
    struct zk_member *large;
    struct zk_result *r;
    make_all(zk, root, ZK_OK, &a);
    IS(zk_queue_put(a.queue, NULL, 1, 0), ZK_BAD_ARGUMENTS);
    IS(zk_queue_put(a.queue, "", -1, 0), ZK_BAD_ARGUMENTS);
    IS(zk_queue_put(a.queue, "", 0, 1), ZK_BAD_ARGUMENTS);
    IS(zk_queue_take_async(a.queue, 0, NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_lock_acquire_async(a.lock, 0, NULL, NULL), ZK_BAD_ARGUMENTS);
    IS(zk_lock_downgrade(a.lock, a.lock, 0), ZK_BAD_ARGUMENTS);
    IS(zk_member_set(a.member, NULL, 1), ZK_BAD_ARGUMENTS);
    static char big[1 << 20];
    IS(zk_member_new(zk, at("large"), "old", 3, NULL, &large), ZK_OK);
    IS(zk_member_set(large, big, sizeof big), ZK_TOO_LARGE);
    IS(zk_member_wait(large, WAIT_MS), ZK_OK); /* and is as it was */
    IS(zk_call(zk, zk_get(at("large")), &r), ZK_OK);
    HOLDS(r->data_len == 3);
    zk_result_free(r);
    IS(zk_member_set(large, "new", 3), ZK_OK);
    IS(zk_member_wait(large, WAIT_MS), ZK_OK);
    zk_member_free(large);
    IS(zk_double_barrier_leave(a.pair, 0), ZK_NOT_OWNED);
    IS(zk_lock_release(a.lock), ZK_NOT_OWNED);
    IS(zk_cache_get(a.cache, "no path", &r), ZK_NO_NODE);
    IS(zk_cache_get(a.cache, "", &r), ZK_NO_NODE);
    char c;
    IS(zk_leader_who(a.leader, NULL, 1), ZK_BAD_ARGUMENTS);
    IS(zk_leader_who(a.leader, &c, 0), ZK_BAD_ARGUMENTS);
    free_all(&a);
}

static void paths(void) {
    static const char *const wrong[] = {"",      "a",      "/a/",  "//",      "/a//b",
                                        "/a/./b", "/a/../b", "/\x01", "/\xff", "no/path"};
    struct zk *zk = open_zk(host, 0);
    struct all a = {0};
    struct zk_service **list;
    int n;
    for (int i = 0; i < COUNT(wrong); i++) {
        make_all(zk, wrong[i], ZK_BAD_ARGUMENTS, &a);
        free_all(&a);
        IS(zk_service_list(zk, wrong[i], "b", &list, &n), ZK_BAD_ARGUMENTS);
    }
    IS(zk_service_list(zk, "/", "a/b", &list, &n), ZK_BAD_ARGUMENTS);
    IS(zk_lock_new(zk, "/", NULL, &a.lock), ZK_BAD_ARGUMENTS);
    wrong_options(zk);
    wrong_operands(zk);
    zk_free(zk);
}

/* --- too late --- */

/* Objects that wait or own when the session ends, for this reason. */
struct late {
    struct all a;
    struct zk_lock *owned, *waiting;
    struct zk_double_barrier *pair; /* with nothing below it: what there is would count */
    atomic_int told, states[8], lost;
};

static void on_hold(void *user, enum zk_hold_state state, int64_t token) {
    struct late *late = user;
    (void)token;
    if (state == ZK_HOLD_LOST) late->lost = 1;
}

static void begin_late(struct late *late, struct zk *zk) {
    struct zk_lock_options options = {.on_state = on_hold, .user = late, .reentrant = true};
    memset(late, 0, sizeof *late);
    make_all(zk, root, ZK_OK, &late->a);
    IS(zk_leader_wait(late->a.leader, WAIT_MS), ZK_OK);
    IS(zk_cache_wait(late->a.cache, WAIT_MS), ZK_OK);
    IS(zk_lock_new(zk, at("late"), &options, &late->owned), ZK_OK);
    IS(zk_lock_acquire(late->owned, WAIT_MS), ZK_OK);
    IS(zk_lock_acquire(late->owned, WAIT_MS), ZK_OK);
    IS(zk_lock_new(zk, at("late"), NULL, &late->waiting), ZK_OK);
    IS(zk_lock_acquire_async(late->waiting, -1, on_done, &late->states[0]), ZK_OK);
    IS(zk_queue_take_async(late->a.queue, -1, on_done, &late->states[1]), ZK_OK);
    IS(zk_double_barrier_new(zk, at("pair"), 2, &late->pair), ZK_OK);
    IS(zk_double_barrier_enter_async(late->pair, -1, on_done, &late->states[2]), ZK_OK);
}

static void end_late(struct late *late, int why) {
    for (int i = 0; i < 3; i++) {
        UNTIL(late->states[i]);
        IS(late->states[i], why);
    }
    UNTIL(late->lost);
    IS(zk_lock_state(late->owned), ZK_HOLD_LOST);
    IS(zk_lock_acquire(late->owned, 0), why);
    IS(zk_lock_release(late->owned), ZK_OK); /* what is lost: as often as it was acquired */
    IS(zk_lock_release(late->owned), ZK_OK);
    IS(zk_lock_release(late->owned), ZK_NOT_OWNED);
    use_all(&late->a, why);
    zk_lock_free(late->owned);
    zk_lock_free(late->waiting);
    zk_double_barrier_free(late->pair);
    free_all(&late->a);
}

static void closed(void) {
    struct zk *zk = open_zk(host, ZK_RENEW_SESSION);
    struct late late;
    struct all none;
    begin_late(&late, zk);
    IS(zk_close(zk, WAIT_MS), ZK_OK);
    make_all(zk, root, ZK_CLOSING, &none);
    end_late(&late, ZK_CLOSING);
    zk_free(zk);
}

/* Somebody else ends the session, who has its password. */
static void expired(void) {
    struct zk *zk = open_zk(host, 0), *thief;
    struct zk_options options = {.hosts = host};
    uint8_t passwd[16];
    struct late late;
    struct all none;
    begin_late(&late, zk);
    zk_session_passwd(zk, passwd);
    options.session_id = zk_session_id(zk);
    options.session_passwd = passwd;
    IS(zk_open(&thief, &options), ZK_OK);
    IS(zk_wait_connected(thief, WAIT_MS), ZK_OK);
    zk_free(thief);
    UNTIL(late.lost);
    for (int i = 0; i < WAIT_MS && zk_state(zk) != ZK_STATE_EXPIRED; i++) pass();
    make_all(zk, root, ZK_SESSION_EXPIRED, &none);
    end_late(&late, ZK_SESSION_EXPIRED);
    zk_free(zk);
}

/* --- inside callbacks --- */

static struct zk *inside;
static struct zk_lock *lock_a, *lock_b;
static struct zk_cache *cache_a;
static struct zk_leader *leader_a;
static struct zk_member *member_a;
static struct zk_queue *queue_a;
static atomic_int freed, again, cached, led, kept, taken;

/* Waits for another lock, and frees the object that told it. */
static void frees_itself(void *user, enum zk_hold_state state, int64_t token) {
    struct zk_lock *other;
    (void)user;
    if (state != ZK_HOLD_OWNED || freed) return;
    IS(zk_lock_token(lock_a), token);
    IS(zk_lock_new(inside, at("other"), NULL, &other), ZK_OK);
    IS(zk_lock_acquire(other, WAIT_MS), ZK_OK);
    IS(zk_lock_release(other), ZK_OK);
    zk_lock_free(other);
    zk_lock_free(lock_a);
    freed = 1;
}

/* Acquires again and again, each time from the answer of the time before. */
static void acquires(void *user, int error) {
    (void)user;
    IS(error, ZK_OK);
    IS(zk_lock_acquire_async(lock_b, -1, acquires, NULL), ZK_IN_USE);
    IS(zk_lock_release(lock_b), ZK_OK);
    IS(zk_lock_release(lock_b), ZK_NOT_OWNED);
    if (++again < 20) IS(zk_lock_acquire_async(lock_b, -1, acquires, NULL), ZK_OK);
}

static void on_change(void *user, const struct zk_cache_change *change) {
    struct zk_result *r;
    (void)user;
    if (change->event != ZK_CACHE_READY || cached) return;
    IS(zk_cache_get(cache_a, root, &r), ZK_OK);
    zk_result_free(r);
    IS(zk_cache_wait(cache_a, 0), ZK_OK);
    zk_cache_free(cache_a);
    cached = 1;
}

static void on_leads(void *user, enum zk_hold_state state, int64_t token) {
    (void)user;
    (void)token;
    if (state != ZK_HOLD_OWNED || !leader_a) return;
    char who[4];
    IS(zk_leader_who(leader_a, who, sizeof who), ZK_OK);
    HOLDS(strcmp(who, "me-") == 0);
    if (++led < 3) {
        IS(zk_leader_resign(leader_a), ZK_OK);
        return;
    }
    zk_leader_free(leader_a);
    leader_a = NULL;
}

static void on_member(void *user, enum zk_hold_state state, int64_t token) {
    (void)user;
    (void)token;
    if (state != ZK_HOLD_OWNED || kept) return;
    IS(zk_member_set(member_a, "new", 3), ZK_OK);
    IS(zk_member_wait(member_a, WAIT_MS), ZK_OK);
    zk_member_free(member_a);
    kept = 1;
}

static void on_item(void *user, int error) {
    int n;
    (void)user;
    IS(error, ZK_OK);
    HOLDS(zk_queue_item(queue_a, &n) && n == 1);
    IS(zk_queue_put(queue_a, "y", 1, 0), ZK_OK);
    IS(zk_queue_take(queue_a, WAIT_MS), ZK_OK);
    zk_queue_free(queue_a);
    taken = 1;
}

/* Closes the handle while others still wait on it. */
static void closes(void *user, int error) {
    (void)user;
    IS(error, ZK_OK);
    IS(zk_close(inside, WAIT_MS), ZK_OK);
    IS(zk_lock_release(lock_b), ZK_OK);
    IS(zk_lock_acquire(lock_b, -1), ZK_CLOSING);
    zk_lock_free(lock_b);
    freed = 2;
}

static void callbacks(void) {
    struct zk_lock_options lock = {.on_state = frees_itself};
    struct zk_cache_options cache = {.on_change = on_change};
    struct zk_leader_options leader = {.id = "me-cut", .on_state = on_leads};
    struct zk_member_options member = {.on_state = on_member};
    struct zk_lock *third;
    atomic_int third_told = 0;
    inside = open_zk(host, ZK_RENEW_SESSION);
    IS(zk_lock_new(inside, at("a"), &lock, &lock_a), ZK_OK);
    IS(zk_lock_acquire_async(lock_a, -1, on_done, NULL), ZK_OK);
    UNTIL(freed);
    IS(zk_lock_new(inside, at("b"), NULL, &lock_b), ZK_OK);
    IS(zk_lock_acquire_async(lock_b, -1, acquires, NULL), ZK_OK);
    while (again < 20) pass();
    IS(zk_cache_new(inside, root, &cache, &cache_a), ZK_OK);
    UNTIL(cached);
    IS(zk_leader_new(inside, at("l"), &leader, &leader_a), ZK_OK);
    while (led < 3) pass();
    IS(zk_member_new(inside, at("m"), "old", 3, &member, &member_a), ZK_OK);
    UNTIL(kept);
    IS(zk_queue_new(inside, at("q"), ZK_QUEUE_SIMPLE, &queue_a), ZK_OK);
    IS(zk_queue_put(queue_a, "x", 1, 0), ZK_OK);
    IS(zk_queue_take_async(queue_a, -1, on_item, NULL), ZK_OK);
    UNTIL(taken);
    freed = 0;
    IS(zk_lock_acquire(lock_b, WAIT_MS), ZK_OK);
    IS(zk_lock_new(inside, at("b"), NULL, &third), ZK_OK);
    IS(zk_lock_acquire_async(third, -1, on_done, &third_told), ZK_OK);
    struct zk_counter *counter;
    IS(zk_counter_new(inside, at("c"), 8, &counter), ZK_OK);
    IS(zk_counter_add_async(counter, 1, closes, NULL), ZK_OK);
    UNTIL(freed);
    UNTIL(third_told);
    IS(third_told, ZK_CLOSING);
    zk_lock_free(third);
    zk_counter_free(counter);
    zk_free(inside);
}

/* --- many threads --- */

static struct zk_lock *shared;
static atomic_int owners, acquired;

/* Of one object: whoever is refused because another thread is at it tries again. */
static void *contends(void *arg) {
    for (int i = 0; i < 200; i++) {
        int error = i % 3 ? zk_lock_acquire(shared, 5000) : zk_lock_try(shared);
        if (error == ZK_IN_USE || error == ZK_LOCKED) continue;
        IS(error, ZK_OK);
        IS(atomic_fetch_add(&owners, 1), 0);
        HOLDS(zk_lock_state(shared) == ZK_HOLD_OWNED);
        acquired++;
        IS(atomic_fetch_sub(&owners, 1), 1);
        IS(zk_lock_release(shared), ZK_OK);
    }
    return arg;
}

static void threads(void) {
    struct zk *zk = open_zk(host, ZK_RENEW_SESSION);
    pthread_t all[4];
    IS(zk_lock_new(zk, root, NULL, &shared), ZK_OK);
    for (int i = 0; i < COUNT(all); i++) IS(pthread_create(&all[i], NULL, contends, NULL), 0);
    for (int i = 0; i < COUNT(all); i++) IS(pthread_join(all[i], NULL), 0);
    HOLDS(acquired > 20);
    zk_lock_free(shared);
    zk_free(zk);
}

static void *waits(void *arg) {
    *(atomic_int *)arg = zk_lock_acquire(shared, -1);
    return NULL;
}

/* A thread waits; another stops that and is in line itself before the first has woken up: which
 * must not take the second's outcome for its own. */
static void turns(void) {
    struct zk *zk = open_zk(host, ZK_RENEW_SESSION);
    struct zk_lock *owner;
    IS(zk_lock_new(zk, root, NULL, &owner), ZK_OK);
    IS(zk_lock_new(zk, root, NULL, &shared), ZK_OK);
    for (int i = 0; i < 40; i++) {
        atomic_int first = 1, second = 0;
        pthread_t thread;
        IS(zk_lock_acquire(owner, WAIT_MS), ZK_OK);
        IS(pthread_create(&thread, NULL, waits, &first), 0);
        while (zk_lock_state(shared) != ZK_HOLD_WAITING) pass();
        IS(zk_lock_release(shared), ZK_OK);
        IS(zk_lock_acquire_async(shared, -1, on_done, &second), ZK_OK);
        IS(zk_lock_release(owner), ZK_OK);
        UNTIL(second);
        IS(second, 1);
        IS(pthread_join(thread, NULL), 0);
        IS(first, ZK_CANCELED);
        IS(zk_lock_release(shared), ZK_OK);
    }
    zk_lock_free(owner);
    zk_lock_free(shared);
    zk_free(zk);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } ALL[] = {{"nulls", nulls},     {"paths", paths},         {"closed", closed},
               {"expired", expired}, {"callbacks", callbacks}, {"threads", threads},
               {"turns", turns}};
    if (argc != 4) return 2;
    host = argv[1];
    root = argv[2];
    for (int i = 0; i < COUNT(ALL); i++) {
        if (strcmp(ALL[i].name, argv[3]) != 0) continue;
        ALL[i].run();
        return 0;
    }
    return 2;
}
