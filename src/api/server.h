/* api/server: what zk.h promises of the server. */
#ifndef ZK_API_SERVER_H
#define ZK_API_SERVER_H

#include "host/loop.h"
#include "zk.h"

#endif
