#include "host/reserve.h"

#define RESERVE_PAGE 4096u /* no system has smaller ones */

static void *reserve_chunk(void) {
    volatile uint8_t *p = mem_alloc(SLAB_CHUNK);
    for (size_t at = 0; at < SLAB_CHUNK; at += RESERVE_PAGE) p[at] = 0;
    p[SLAB_CHUNK - 1] = 0;
    return (void *)p;
}

static void *reserve_main(void *ctx) {
    struct reserve *r = ctx;
    (void)pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        if (r->n == RESERVE_CHUNKS) {
            (void)pthread_cond_wait(&r->work, &r->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&r->lock);
        void *chunk = reserve_chunk();
        (void)pthread_mutex_lock(&r->lock);
        r->ready[r->n++] = chunk;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void *reserve_take(void *ctx) {
    struct reserve *r = ctx;
    if (!r->running) {
        if (++r->asked == RESERVE_AFTER)
            r->running = pthread_create(&r->thread, NULL, reserve_main, r) == 0;
        return NULL;
    }
    (void)pthread_mutex_lock(&r->lock);
    void *chunk = r->n ? r->ready[--r->n] : NULL;
    if (r->n == RESERVE_CHUNKS / 2) (void)pthread_cond_signal(&r->work);
    (void)pthread_mutex_unlock(&r->lock);
    return chunk;
}

ZK_PRIVATE void reserve_begin(struct reserve *r, struct slab *slab) {
    memset(r, 0, sizeof *r);
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->work, NULL);
    slab->source.take = reserve_take;
    slab->source.ctx = r;
}

ZK_PRIVATE void reserve_end(struct reserve *r, struct slab *slab) {
    memset(&slab->source, 0, sizeof slab->source);
    if (r->running) {
        (void)pthread_mutex_lock(&r->lock);
        r->stopping = true;
        (void)pthread_cond_signal(&r->work);
        (void)pthread_mutex_unlock(&r->lock);
        (void)pthread_join(r->thread, NULL);
    }
    while (r->n) mem_free(r->ready[--r->n]);
    (void)pthread_mutex_destroy(&r->lock);
    (void)pthread_cond_destroy(&r->work);
}
