/*
 * client/hosts: the servers of a connect string, and which of them to try next.
 *
 * Each server is tried once before any pause; then the pauses grow, with a random part, so that
 * many clients that lost the same server do not come back in step. A new list moves clients by
 * chance such that all servers end up with the same load.
 * stock: ConnectStringParser, StaticHostProvider.
 */
#ifndef ZK_CLIENT_HOSTS_H
#define ZK_CLIENT_HOSTS_H

#include "base/base.h"
#include "zk.h"

#define HOSTS_NAME 256
#define HOSTS_PORT 2181
#define HOSTS_PAUSE_MIN_MS 20
#define HOSTS_PAUSE_MAX_MS 5000

struct host {
    char name[HOSTS_NAME]; /* or an address, without brackets */
    uint16_t port;
    bool fresh; /* was not in the list before this one */
    bool tried; /* since `moving` began */
};

struct hosts {
    struct host *at; /* owned */
    uint32_t n, next;
    uint32_t current;     /* the one tried last; n: none */
    uint32_t probed;      /* the one that was asked last whether it is better; n: none */
    uint32_t failures;    /* since a connection stood */
    bool moving;          /* to spread over a new list: fresh ones with chance p_fresh */
    uint32_t p_fresh;     /* of 1,000,000 */
};

/* Reads "host[:port],..." and, if chroot is not NULL, "/chroot" behind it, which then is the rest
 * of the text, or "". ZK_OK, ZK_BAD_ARGUMENTS or ZK_OUT_OF_MEMORY; on error h is empty. */
ZK_PRIVATE int hosts_parse(struct hosts *h, const char *text, const char **chroot);
ZK_PRIVATE void hosts_free(struct hosts *h);
ZK_PRIVATE void hosts_shuffle(struct hosts *h, struct prng *r);

/* Replaces the list. True: leave the current server. */
ZK_PRIVATE bool hosts_replace(struct hosts *h, struct hosts *by, bool connected, struct prng *r);

/* The server to try now. */
ZK_PRIVATE const struct host *hosts_next(struct hosts *h, struct prng *r);
/* One to ask about while connected to another; and it is to be the next one to try. False: the list
 * has changed since. */
ZK_PRIVATE const struct host *hosts_probe(struct hosts *h);
ZK_PRIVATE bool hosts_take_probed(struct hosts *h);
/* How long to wait before that, ms. */
ZK_PRIVATE uint32_t hosts_pause(const struct hosts *h, uint32_t max_ms, struct prng *r);
ZK_PRIVATE void hosts_failed(struct hosts *h);
ZK_PRIVATE void hosts_worked(struct hosts *h);

#endif
