#include "client/protect.h"

#define PROTECT_SEQUENCE 11 /* characters: a counter that ran over has a minus */

static void protect_create(struct protect *p);
static void protect_search(struct protect *p);
static void protect_delete(struct protect *p);

/* --- ends --- */

ZK_PRIVATE void protect_stop(struct protect *p) {
    ask_stop(&p->ask);
    mkdirs_stop(&p->parents);
    mem_free(p->dir);
    mem_free(p->name);
    mem_free(p->wish);
    mem_free(p->path);
    p->dir = p->name = p->wish = p->path = NULL;
    p->state = PROTECT_GONE;
}

static void protect_gone(struct protect *p) {
    protect_stop(p);
    p->fn(p->user, PROTECT_IS_GONE);
}

static void protect_failed(struct protect *p, int error) {
    if (p->dropped) {
        protect_gone(p);
        return;
    }
    protect_stop(p);
    p->error = error;
    p->fn(p->user, PROTECT_FAILED);
}

static void protect_there(struct protect *p) {
    if (p->dropped) {
        protect_delete(p);
        return;
    }
    p->state = PROTECT_THERE;
    p->fn(p->user, PROTECT_IS_THERE);
}

/* --- creating --- */

/* The name it got: the one asked for, and a sequence. False: a server does not answer like that. */
static bool protect_named(struct protect *p, const char *name) {
    size_t n = strlen(name), asked = strlen(p->wish) - p->name_at;
    if (n > asked + PROTECT_SEQUENCE || strncmp(name, p->wish + p->name_at, asked) != 0)
        return false;
    memcpy(p->path, p->wish, p->name_at);
    memcpy(p->path + p->name_at, name, n + 1);
    return true;
}

/* A path that nobody has used before. */
static int protect_new_name(struct protect *p) {
    char guid[RECIPE_GUID + 1];
    recipe_guid(p->c, !p->kazoo, guid);
    size_t n = strlen(guid);
    size_t guid_len = p->kazoo ? n : n + 4;
    char *last = mem_try(guid_len + strlen(p->name) + 1);
    if (!last) return ZK_OUT_OF_MEMORY;
    if (!p->kazoo) memcpy(last, "_c_", 3);
    memcpy(last + (p->kazoo ? 0 : 3), guid, n);
    if (!p->kazoo) last[n + 3] = '-';
    memcpy(last + guid_len, p->name, strlen(p->name) + 1);
    mem_free(p->wish);
    p->wish = recipe_join(p->dir, last);
    mem_free(last);
    mem_free(p->path);
    p->path = p->wish ? mem_try(strlen(p->wish) + PROTECT_SEQUENCE + 1) : NULL;
    if (!p->path) return ZK_OUT_OF_MEMORY;
    p->name_at = strlen(p->wish) - guid_len - strlen(p->name);
    return ZK_OK;
}

static void protect_with_parents(void *user, int error) {
    struct protect *p = user;
    if (error)
        protect_failed(p, error);
    else
        protect_create(p);
}

static void protect_created(void *user, const struct zk_result *r) {
    struct protect *p = user;
    if (r->error == ZK_OK && r->path && strlen(r->path) > p->name_at &&
        protect_named(p, r->path + p->name_at)) {
        p->czxid = r->has_stat ? r->stat.czxid : r->zxid;
        protect_there(p);
    } else if (recipe_unheard(r->error) || !r->error) {
        p->error = recipe_unknown(r->error) ? ZK_OK : r->error;
        protect_search(p);
    } else if (p->dropped) {
        protect_gone(p);
    } else if (recipe_transient(r->error)) {
        protect_create(p);
    } else if (r->error == ZK_NO_NODE) {
        p->state = PROTECT_PARENTS;
        int error = mkdirs_start(&p->parents, p->c, p->wish, p->node, protect_with_parents, p);
        if (error) protect_failed(p, error);
    } else {
        protect_failed(p, r->error);
    }
}

static void protect_create(struct protect *p) {
    p->state = PROTECT_CREATING;
    ask_start(&p->ask, p->c, recipe_create(p->node, p->wish, p->mode), ASK_SURELY,
              protect_created, p);
}

/* --- searching --- */

static void protect_evicted(void *user, const struct zk_result *r) {
    struct protect *p = user;
    int error = r->error == ZK_NO_NODE ? ZK_OK : r->error;
    if (!error && !p->dropped) error = protect_new_name(p);
    if (error || p->dropped)
        protect_failed(p, error);
    else
        protect_create(p);
}

static void protect_checked(void *user, const struct zk_result *r) {
    struct protect *p = user;
    bool ours = r->error == ZK_OK && r->stat.ephemeral_owner == client_session_id(p->c);
    if (ours) {
        p->czxid = r->stat.czxid;
        protect_there(p);
    } else if (r->error && r->error != ZK_NO_NODE) {
        protect_failed(p, r->error);
    } else {
        p->state = PROTECT_EVICTING;
        ask_start(&p->ask, p->c, zk_delete(p->path, -1), ASK_FOREVER, protect_evicted, p);
    }
}

static void protect_searched(void *user, const struct zk_result *r) {
    struct protect *p = user;
    if (r->error && r->error != ZK_NO_NODE) {
        protect_failed(p, r->error);
        return;
    }
    for (int i = 0; i < r->count; i++) {
        if (!protect_named(p, r->names[i])) continue;
        p->state = PROTECT_CHECKING;
        ask_start(&p->ask, p->c, zk_exists(p->path), ASK_FOREVER, protect_checked, p);
        return;
    }
    if (p->dropped)
        protect_gone(p);
    else if (p->error)
        protect_failed(p, p->error);
    else
        protect_create(p);
}

static void protect_synced(void *user, const struct zk_result *r) {
    struct protect *p = user;
    if (r->error) {
        protect_failed(p, r->error);
        return;
    }
    p->state = PROTECT_SEARCHING;
    ask_start(&p->ask, p->c, zk_get_children(p->dir), ASK_FOREVER, protect_searched, p);
}

static void protect_search(struct protect *p) {
    p->state = PROTECT_SYNCING;
    ask_start(&p->ask, p->c, zk_sync(p->dir), ASK_FOREVER, protect_synced, p);
}

/* --- there, and away --- */

static void protect_asked(void *user, const struct zk_result *r) {
    struct protect *p = user;
    bool ours = r->error == ZK_OK && r->stat.ephemeral_owner == client_session_id(p->c) &&
                r->stat.czxid == p->czxid;
    p->state = PROTECT_THERE;
    if (ours)
        p->fn(p->user, PROTECT_IS_THERE);
    else if (r->error == ZK_OK || r->error == ZK_NO_NODE)
        protect_gone(p);
    else
        protect_failed(p, r->error);
}

ZK_PRIVATE void protect_ask(struct protect *p) {
    if (p->state != PROTECT_THERE) return;
    p->state = PROTECT_ASKING;
    ask_start(&p->ask, p->c, zk_exists(p->path), ASK_ALWAYS, protect_asked, p);
}

/* Whatever the answer was: what may pass was repeated, the rest will not change. */
static void protect_deleted(void *user, const struct zk_result *r) {
    (void)r;
    protect_gone(user);
}

static void protect_delete(struct protect *p) {
    p->state = PROTECT_DELETING;
    ask_start(&p->ask, p->c, zk_delete(p->path, -1), ASK_FOREVER, protect_deleted, p);
}

ZK_PRIVATE bool protect_drop(struct protect *p) {
    if (p->dropped) return p->state == PROTECT_GONE;
    p->dropped = true;
    switch (p->state) {
    case PROTECT_IDLE:
    case PROTECT_GONE:
    case PROTECT_PARENTS: protect_stop(p); return true;
    case PROTECT_CREATING:
        p->ask.last = true;
        if (ask_sent(&p->ask)) return false;
        protect_stop(p); /* it was refused, and waited for another try */
        return true;
    case PROTECT_THERE:
    case PROTECT_ASKING:
        ask_stop(&p->ask);
        protect_delete(p);
        return false;
    default: return false; /* it ends by itself */
    }
}

ZK_PRIVATE const char *protect_name(const struct protect *p) {
    return p->path + p->name_at;
}

ZK_PRIVATE int protect_start(struct protect *p, struct client *c, const char *dir,
                             const char *name, bool kazoo, enum zk_create_mode mode,
                             const struct recipe_node *node,
                             void (*fn)(void *user, enum protect_event event), void *user) {
    memset(p, 0, sizeof *p);
    p->c = c;
    p->kazoo = kazoo;
    p->mode = mode;
    p->node = node;
    p->fn = fn;
    p->user = user;
    p->dir = recipe_copy(dir, strlen(dir));
    p->name = recipe_copy(name, strlen(name));
    int error = p->dir && p->name ? protect_new_name(p) : ZK_OUT_OF_MEMORY;
    if (error)
        protect_stop(p);
    else
        protect_create(p);
    return error;
}

/* --- erase --- */

struct erase {
    struct client *c;
    bool anybodys;
    struct client_observer observer;
    struct ask ask;
    char path[];
};

ZK_PRIVATE struct erase *erase_new(struct client *c, const char *path, bool anybodys) {
    size_t n = strlen(path) + 1;
    struct erase *e = mem_try(sizeof *e + n);
    if (!e) return NULL;
    e->c = c;
    e->anybodys = anybodys;
    memcpy(e->path, path, n);
    return e;
}

ZK_PRIVATE void erase_free(struct erase *e) {
    if (!e) return;
    client_unobserve(e->c, &e->observer);
    ask_stop(&e->ask);
    mem_free(e);
}

static void erase_observe(void *user, enum zk_state state, int64_t session_id) {
    struct erase *e = user;
    (void)session_id;
    if (client_is_over(e->c) || (state == ZK_STATE_EXPIRED && !e->anybodys)) erase_free(e);
}

static void erase_done(void *user, const struct zk_result *r) {
    (void)r;
    erase_free(user);
}

static void erase_found(void *user, const struct zk_result *r) {
    struct erase *e = user;
    bool ours = r->error == ZK_OK &&
                (e->anybodys || r->stat.ephemeral_owner == client_session_id(e->c));
    if (!ours) {
        erase_free(e);
        return;
    }
    ask_start(&e->ask, e->c, zk_delete(e->path, -1), ASK_FOREVER, erase_done, e);
}

static void erase_synced(void *user, const struct zk_result *r) {
    struct erase *e = user;
    if (r->error)
        erase_free(e);
    else
        ask_start(&e->ask, e->c, zk_exists(e->path), ASK_FOREVER, erase_found, e);
}

ZK_PRIVATE void erase_begin(struct erase *e) {
    if (client_is_over(e->c)) {
        erase_free(e);
        return;
    }
    e->observer.fn = erase_observe;
    e->observer.user = e;
    client_observe(e->c, &e->observer);
    ask_start(&e->ask, e->c, zk_sync(e->path), ASK_FOREVER, erase_synced, e);
}
