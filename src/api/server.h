/* api/server: what zk.h promises of the server. */
#ifndef ZK_API_SERVER_H
#define ZK_API_SERVER_H

#include "host/loop.h"
#include "zk.h"

/* A client of this process connects; server is a struct zk_server. False: not now. */
ZK_PRIVATE bool server_offer(void *server, struct duct *d);

#endif
