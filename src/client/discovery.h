/*
 * client/discovery: instances of services in the JSON of Curator's JsonInstanceSerializer.
 *
 * Keys come in its order, nulls are written; unknown keys are gone past, missing ones accepted. A
 * payload and a uriSpec are JSON in themselves and handed through as text.
 * stock: ServiceInstance, JsonInstanceSerializer.
 */
#ifndef ZK_CLIENT_DISCOVERY_H
#define ZK_CLIENT_DISCOVERY_H

#include "client/json.h"
#include "zk.h"

/* Appends. ZK_BAD_ARGUMENTS: a name that is none, or text that is no JSON. */
ZK_PRIVATE int discovery_write(struct buf *out, const struct zk_service *s);
/* One block, to be freed with mem_free. */
ZK_PRIVATE int discovery_read(struct slice json, struct zk_service **out);

#endif
