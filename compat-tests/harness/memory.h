/* In front of zk.c in the object that tests share: a program that defines test_realloc says where
 * the library's memory comes from, and when there is none. */
#include <stdlib.h>

void *test_realloc(void *p, size_t n);

__attribute__((weak)) void *test_realloc(void *p, size_t n) {
    return realloc(p, n);
}

#define ZK_MALLOC(n) test_realloc(NULL, n)
#define ZK_REALLOC(p, n) test_realloc(p, n)
#define ZK_FREE(p) free(p)
