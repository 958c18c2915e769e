/* Stands above every file of a simulator build: memory and broken invariants belong to the run. */
#ifndef SIM_PRELUDE_H
#define SIM_PRELUDE_H

#include <stddef.h>

void *sim_malloc(size_t n);
void *sim_realloc(void *p, size_t n);
void sim_free(void *p);
_Noreturn void sim_assert_failed(const char *what, const char *file, int line);

#define ZK_PRIVATE
#define ZK_MALLOC(n) sim_malloc(n)
#define ZK_REALLOC(p, n) sim_realloc(p, n)
#define ZK_FREE(p) sim_free(p)
#define ZK_ASSERT(x) ((x) ? (void)0 : sim_assert_failed(#x, __FILE__, __LINE__))

#endif
