#include "state/session.h"

ZK_PRIVATE void session_init(struct session_table *t, int64_t tick_ms, int64_t now) {
    memset(t, 0, sizeof *t);
    t->tick = tick_ms > 0 ? tick_ms : 1;
    t->free_list = SESSION_NONE;
    t->next_due = (now / t->tick + 1) * t->tick;
    for (uint32_t i = 0; i < SESSION_WHEEL; i++) t->wheel[i] = SESSION_NONE;
}

ZK_PRIVATE void session_free(struct session_table *t) {
    mem_free(t->slots);
    map_free(&t->index);
    memset(t, 0, sizeof *t);
}

ZK_PRIVATE uint32_t session_find(const struct session_table *t, int64_t id) {
    struct map_iter it;
    uint32_t i = map_first(&t->index, hash_u64((uint64_t)id), &it);
    for (; i != MAP_NONE; i = map_next(&t->index, &it))
        if (t->slots[i].id == id) return i;
    return SESSION_NONE;
}

ZK_PRIVATE uint32_t session_add(struct session_table *t, int64_t id, int32_t timeout) {
    uint32_t i = session_find(t, id);
    if (i != SESSION_NONE) return i;
    i = t->free_list;
    if (i != SESSION_NONE) {
        t->free_list = t->slots[i].next;
    } else {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 64;
            t->slots = mem_realloc(t->slots, sizeof *t->slots * t->cap);
        }
        i = t->n++;
    }
    struct session fresh = {.id = id, .timeout = timeout, .conn = SESSION_NONE, .live = true,
                            .prev = SESSION_NONE, .next = SESSION_NONE, .expires = -1};
    t->slots[i] = fresh;
    map_add(&t->index, hash_u64((uint64_t)id), i);
    t->count++;
    return i;
}

static uint32_t *session_bucket(struct session_table *t, int64_t expires) {
    return &t->wheel[(uint64_t)(expires / t->tick) % SESSION_WHEEL];
}

static void session_unlink(struct session_table *t, struct session *s) {
    if (s->expires < 0) return;
    if (s->prev != SESSION_NONE)
        t->slots[s->prev].next = s->next;
    else
        *session_bucket(t, s->expires) = s->next;
    if (s->next != SESSION_NONE) t->slots[s->next].prev = s->prev;
    s->expires = -1;
}

ZK_PRIVATE void session_remove(struct session_table *t, uint32_t i) {
    struct session *s = &t->slots[i];
    session_unlink(t, s);
    map_del(&t->index, hash_u64((uint64_t)s->id), i);
    if (s->committed) t->committed--;
    t->count--;
    s->live = false;
    s->next = t->free_list;
    t->free_list = i;
}

ZK_PRIVATE void session_touch(struct session_table *t, uint32_t i, int64_t now, int32_t timeout) {
    struct session *s = &t->slots[i];
    int64_t expires = ((now + timeout) / t->tick + 1) * t->tick;
    if (expires == s->expires || s->closing) return;
    session_unlink(t, s);
    uint32_t *head = session_bucket(t, expires);
    s->expires = expires;
    s->prev = SESSION_NONE;
    s->next = *head;
    if (s->next != SESSION_NONE) t->slots[s->next].prev = i;
    *head = i;
}

ZK_PRIVATE void session_touch_all(struct session_table *t, int64_t now) {
    for (uint32_t i = 0; i < t->n; i++)
        if (t->slots[i].live) session_touch(t, i, now, t->slots[i].timeout);
}

ZK_PRIVATE uint32_t session_expired(struct session_table *t, int64_t now) {
    for (; t->next_due <= now; t->next_due += t->tick) {
        for (uint32_t i = *session_bucket(t, t->next_due); i != SESSION_NONE;) {
            struct session *s = &t->slots[i];
            if (s->expires <= t->next_due) {
                session_unlink(t, s);
                return i;
            }
            i = s->next;
        }
    }
    return SESSION_NONE;
}
