/*
 * Memory by owner. Every block hangs in the ring of whoever was running when it was made, so that a
 * server killed in the middle of anything can be forgotten whole.
 */
#include <stdlib.h>

#include "sim.h"

static struct mem_owner *mem_current;

void mem_owner_init(struct mem_owner *o) {
    o->prev = o->next = o;
}

struct mem_owner *mem_owned_by(struct mem_owner *o) {
    struct mem_owner *before = mem_current;
    mem_current = o;
    return before;
}

void mem_forget(struct mem_owner *o) {
    if (!o->next) return;
    for (struct mem_owner *b = o->next, *next; b != o; b = next) {
        next = b->next;
        free(b);
    }
    mem_owner_init(o);
}

size_t mem_count(const struct mem_owner *o) {
    size_t n = 0;
    for (const struct mem_owner *b = o->next; b != o; b = b->next) n++;
    return n;
}

static void mem_link(struct mem_owner *b) {
    b->prev = mem_current;
    b->next = mem_current->next;
    b->next->prev = b;
    mem_current->next = b;
}

static void mem_unlink(struct mem_owner *b) {
    b->prev->next = b->next;
    b->next->prev = b->prev;
}

void *sim_malloc(size_t n) {
    struct mem_owner *b = malloc(sizeof *b + n);
    if (!b) abort();
    mem_link(b);
    return b + 1;
}

void *sim_realloc(void *p, size_t n) {
    if (!p) return sim_malloc(n);
    struct mem_owner *b = (struct mem_owner *)p - 1, *prev = b->prev, *next = b->next;
    b = realloc(b, sizeof *b + n);
    if (!b) abort();
    prev->next = next->prev = b;
    return b + 1;
}

void sim_free(void *p) {
    if (!p) return;
    struct mem_owner *b = (struct mem_owner *)p - 1;
    mem_unlink(b);
    free(b);
}
