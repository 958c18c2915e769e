/*
 * What cannot be seen through zk.h, in the library from within: inner_test CASE DIRECTORY
 *
 * Memory is there as long as `memory` is.
 */
#include "rooms.h"

#include <errno.h>

#include "cases.h"

static bool memory = true;

void *test_realloc(void *p, size_t n);

void *test_realloc(void *p, size_t n) {
    return memory ? realloc(p, n) : NULL;
}

/* Without memory a duct is full as long as reading can make room, and broken otherwise. */
static void case_duct(void) {
    static uint8_t big[100000];
    struct duct *d = duct_new();
    CHECK(d);
    memory = false;
    IS(duct_send(d, DUCT_CLIENT, big, 1), -ENOMEM);
    memory = true;
    IS(duct_send(d, DUCT_CLIENT, big, 1), 1);
    memory = false;
    IS(duct_send(d, DUCT_CLIENT, big, sizeof big), -EAGAIN);
    IS(os_wait_readable(duct_bell(d, DUCT_CLIENT), 0), 0);
    IS(duct_recv(d, DUCT_SERVER, big, sizeof big), 1);
    IS(os_wait_readable(duct_bell(d, DUCT_CLIENT), 0), 1); /* try again */
    memory = true;
    IS(duct_send(d, DUCT_CLIENT, big, sizeof big), sizeof big);
    duct_close(d, DUCT_CLIENT);
    duct_close(d, DUCT_SERVER);
}

/* Asking about another server does not make it the one that the client is connected to. */
static void case_probe(void) {
    struct hosts h, by;
    struct prng r = {.state = 1};
    IS(hosts_parse(&h, "a:1,b:2,c:3", NULL), ZK_OK);
    CHECK(!hosts_take_probed(&h));
    IS(hosts_next(&h, &r)->port, 1);
    IS(hosts_probe(&h)->port, 2);
    IS(hosts_probe(&h)->port, 3);
    CHECK(hosts_take_probed(&h));
    IS(hosts_next(&h, &r)->port, 3);
    IS(hosts_probe(&h)->port, 1);
    IS(hosts_parse(&by, "c:3,d:4", NULL), ZK_OK);
    CHECK(!hosts_replace(&h, &by, true, &r)); /* it is connected to c, which stays */
    CHECK(!hosts_take_probed(&h));
    hosts_free(&h);
}

int main(int argc, char **argv) {
    static const struct test_case CASES[] = {{"duct", case_duct}, {"probe", case_probe}};
    return run_case(CASES, sizeof CASES / sizeof *CASES, argc, argv);
}
