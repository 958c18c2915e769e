/*
 * api/recipes: the recipes that zk.h promises: each object is a machine of src/client on a handle.
 * Here is what is the same for all: entering the handle, waiting for a wish, freeing.
 */
#ifndef ZK_API_RECIPES_H
#define ZK_API_RECIPES_H

#include "zk.h"

#endif
