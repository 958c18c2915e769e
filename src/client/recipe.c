#include "client/recipe.h"

#include "state/path.h"

#define RECIPE_RETRY_MS 5      /* before the first repetition; doubled each time */
#define RECIPE_RETRY_STEPS 8   /* ... so often */
#define RECIPE_NO_MEMORY_MS 50 /* until another try to get it */

/* --- text --- */

ZK_PRIVATE char *recipe_copy(const char *s, size_t n) {
    char *copy = mem_try(n + 1);
    if (copy && n) memcpy(copy, s, n);
    return copy;
}

ZK_PRIVATE char *recipe_join(const char *dir, const char *name) {
    size_t n = strlen(dir), m = strlen(name);
    if (n == 1) n = 0; /* the root */
    char *path = mem_try(n + m + 2);
    if (!path) return NULL;
    memcpy(path, dir, n);
    path[n] = '/';
    memcpy(path + n + 1, name, m + 1);
    return path;
}

ZK_PRIVATE bool recipe_path_ok(const char *path) {
    return path && path_valid(slice_str(path)) && path[1] != '\0';
}

ZK_PRIVATE void recipe_guid(struct client *c, bool dashes, char out[RECIPE_GUID + 1]) {
    static const char hex[] = "0123456789abcdef";
    char *p = out;
    uint64_t bits = 0;
    for (unsigned i = 0; i < 32; i++) {
        if (i % 16 == 0) bits = client_random(c);
        if (dashes && (i == 8 || i == 12 || i == 16 || i == 20)) *p++ = '-';
        unsigned digit = (unsigned)(bits & 15);
        if (i == 12) digit = 4; /* version and variant of a random UUID */
        if (i == 16) digit = 8 | (digit & 3);
        *p++ = hex[digit];
        bits >>= 4;
    }
    *p = '\0';
}

static struct zk_acl *recipe_copy_acl(const struct zk_acl *acl, int count) {
    size_t n = sizeof *acl * (size_t)count;
    for (int i = 0; i < count; i++) n += strlen(acl[i].scheme) + strlen(acl[i].id) + 2;
    struct zk_acl *copy = mem_try(n);
    if (!copy) return NULL;
    char *text = (char *)(copy + count);
    for (int i = 0; i < count; i++) {
        size_t scheme = strlen(acl[i].scheme) + 1, id = strlen(acl[i].id) + 1;
        copy[i].perms = acl[i].perms;
        copy[i].scheme = memcpy(text, acl[i].scheme, scheme);
        copy[i].id = memcpy(text + scheme, acl[i].id, id);
        text += scheme + id;
    }
    return copy;
}

ZK_PRIVATE int recipe_node_init(struct recipe_node *n, const void *data, int data_len,
                                const struct zk_acl *acl, int acl_count) {
    memset(n, 0, sizeof *n);
    if (data_len < 0 || (data_len && !data) || acl_count < 0 || (acl && !acl_count) ||
        (acl_count && !acl))
        return ZK_BAD_ARGUMENTS;
    for (int i = 0; i < acl_count; i++)
        if (!acl[i].scheme || !acl[i].id) return ZK_BAD_ARGUMENTS;
    if (data_len) n->data = recipe_copy(data, (size_t)data_len);
    if (acl) n->acl = recipe_copy_acl(acl, acl_count);
    n->data_len = data_len;
    n->acl_count = acl_count;
    if ((!data_len || n->data) && (!acl || n->acl)) return ZK_OK;
    recipe_node_free(n);
    return ZK_OUT_OF_MEMORY;
}

ZK_PRIVATE void recipe_node_free(struct recipe_node *n) {
    mem_free(n->data);
    mem_free(n->acl);
    memset(n, 0, sizeof *n);
}

ZK_PRIVATE struct zk_op recipe_create(const struct recipe_node *n, const char *path,
                                      enum zk_create_mode mode) {
    struct zk_op op = zk_create(path, n->data, n->data_len, mode);
    op.acl = n->acl;
    op.acl_count = n->acl_count;
    return op;
}

/* --- sequential names --- */

ZK_PRIVATE bool recipe_sequence(const char *name, const char *marker, int32_t *seq) {
    const char *found = NULL;
    for (const char *p = name; (p = strstr(p, marker)) != NULL; p++) found = p;
    if (!found) return false;
    const char *digits = found + strlen(marker);
    bool minus = *digits == '-';
    if (minus) digits++;
    if (strlen(digits) != 10) return false;
    int64_t value = 0;
    for (int i = 0; i < 10; i++) {
        if (digits[i] < '0' || digits[i] > '9') return false;
        value = value * 10 + (digits[i] - '0');
    }
    if (minus) value = -value;
    if (value < INT32_MIN || value > INT32_MAX) return false;
    *seq = (int32_t)value;
    return true;
}

/* --- errors --- */

ZK_PRIVATE bool recipe_unknown(int error) {
    return error == ZK_CONNECTION_LOSS || error == ZK_OPERATION_TIMEOUT ||
           error == ZK_REQUEST_TIMEOUT;
}

ZK_PRIVATE bool recipe_unheard(int error) {
    return recipe_unknown(error) || error == ZK_OUT_OF_MEMORY || error == ZK_MARSHALLING_ERROR;
}

ZK_PRIVATE bool recipe_transient(int error) {
    switch (error) {
    case ZK_SESSION_EXPIRED: /* a new session may follow; else the client refuses the repetition */
    case ZK_SESSION_MOVED:
    case ZK_NOT_READ_ONLY: /* until there is a quorum again */
    case ZK_THROTTLED_OP:
    case ZK_BUSY: return true;
    default: return recipe_unknown(error);
    }
}

/* --- ask --- */

/* What the client is given to call: a recipe may go while its requests are being failed, when they
 * cannot be forgotten any more. */
struct ask_ticket {
    struct ask *ask; /* NULL: nobody wants to know any more */
    int64_t id;
};

static void ask_submit(struct ask *a);

static void ask_fire(void *user) {
    struct ask *a = user;
    if (!a->refused) {
        ask_submit(a);
        return;
    }
    struct zk_result r;
    memset(&r, 0, sizeof r);
    r.error = a->refused;
    r.data_len = -1;
    a->done(a->user, &r);
}

static void ask_again(struct ask *a) {
    unsigned steps = a->tries < RECIPE_RETRY_STEPS ? a->tries : RECIPE_RETRY_STEPS;
    uint64_t most = (uint64_t)RECIPE_RETRY_MS << steps;
    a->tries++;
    client_timer_set(a->c, &a->timer,
                     client_now(a->c) + (int64_t)(most / 2 + client_random(a->c) % most));
}

/* Whether the error is worth another try. */
static bool ask_passes(const struct ask *a, int error) {
    if (a->last || client_is_over(a->c)) return false;
    return recipe_transient(error) || (a->kind == ASK_FOREVER && error == ZK_OUT_OF_MEMORY);
}

static void ask_answer(void *user, const struct zk_result *r) {
    struct ask_ticket *ticket = user;
    struct ask *a = ticket->ask;
    mem_free(ticket);
    if (!a) return;
    a->ticket = NULL;
    bool told = a->kind == ASK_SURELY && recipe_unknown(r->error);
    if (!told && ask_passes(a, r->error))
        ask_again(a);
    else
        a->done(a->user, r);
}

static int ask_try(struct ask *a) {
    a->ticket = mem_try(sizeof *a->ticket);
    if (!a->ticket) return ZK_OUT_OF_MEMORY;
    a->ticket->ask = a;
    int64_t id = client_submit(a->c, &a->op, CLIENT_INSIDE, ask_answer, a->ticket);
    if (id > 0) {
        a->ticket->id = id;
        return ZK_OK;
    }
    mem_free(a->ticket);
    a->ticket = NULL;
    return (int)id;
}

static void ask_submit(struct ask *a) {
    int error = ask_try(a);
    if (!error) return;
    if (ask_passes(a, error)) {
        ask_again(a);
        return;
    }
    a->refused = error;
    client_timer_set(a->c, &a->timer, client_now(a->c));
}

ZK_PRIVATE void ask_start(struct ask *a, struct client *c, struct zk_op op, enum ask_kind kind,
                          zk_result_fn done, void *user) {
    ZK_ASSERT(!ask_busy(a));
    memset(a, 0, sizeof *a);
    a->c = c;
    a->op = op;
    a->op.timeout_ms = -1;
    a->kind = kind;
    a->done = done;
    a->user = user;
    a->timer.fn = ask_fire;
    a->timer.user = a;
    ask_submit(a);
}

ZK_PRIVATE void ask_stop(struct ask *a) {
    if (a->ticket) {
        a->ticket->ask = NULL;
        if (client_forget(a->c, a->ticket->id)) mem_free(a->ticket);
    }
    a->ticket = NULL;
    if (a->timer.link) client_timer_stop(a->c, &a->timer);
}

ZK_PRIVATE bool ask_sent(const struct ask *a) {
    return a->ticket != NULL;
}

ZK_PRIVATE bool ask_recall(struct ask *a) {
    if (!a->ticket || !client_recall(a->c, a->ticket->id)) return false;
    mem_free(a->ticket);
    a->ticket = NULL;
    return true;
}

ZK_PRIVATE bool ask_watches(const struct ask *a, const struct zk_result *r) {
    return a->op.watch && (a->op.type == ZK_OP_EXISTS || r->error != ZK_NO_NODE);
}

ZK_PRIVATE bool ask_busy(const struct ask *a) {
    return a->ticket || a->timer.link;
}

/* --- mkdirs --- */

static void mkdirs_step(struct mkdirs *m);

static void mkdirs_end(struct mkdirs *m, int error) {
    mem_free(m->at);
    m->at = NULL;
    m->done(m->user, error);
}

/* The parent is missing. False: there is none that could be made. */
static bool mkdirs_up(struct mkdirs *m) {
    size_t up = m->end;
    while (m->at[--up] != '/') continue;
    if (!up) return false;
    if (m->end < m->n) m->at[m->end] = '/';
    m->at[up] = '\0';
    m->end = up;
    return true;
}

static void mkdirs_down(struct mkdirs *m) {
    m->at[m->end] = '/';
    while (++m->end < m->n && m->at[m->end] != '/') continue;
    m->at[m->end] = '\0';
}

static void mkdirs_answer(void *user, const struct zk_result *r) {
    struct mkdirs *m = user;
    int error = r->error == ZK_NODE_EXISTS ? ZK_OK : r->error;
    if (error == ZK_UNIMPLEMENTED && !m->plain) {
        m->plain = true;
    } else if (error == ZK_NO_NODE) {
        if (!mkdirs_up(m)) {
            mkdirs_end(m, error);
            return;
        }
    } else if (error || m->end == m->n) {
        mkdirs_end(m, error);
        return;
    } else {
        mkdirs_down(m);
    }
    mkdirs_step(m);
}

static void mkdirs_step(struct mkdirs *m) {
    struct zk_op op = zk_create(m->at, "", 0, m->plain ? ZK_PERSISTENT : ZK_CONTAINER);
    op.acl = m->node->acl;
    op.acl_count = m->node->acl_count;
    ask_start(&m->ask, m->ask.c, op, ASK_ALWAYS, mkdirs_answer, m);
}

ZK_PRIVATE int mkdirs_start(struct mkdirs *m, struct client *c, const char *path,
                            const struct recipe_node *node, void (*done)(void *user, int error),
                            void *user) {
    memset(m, 0, sizeof *m);
    m->ask.c = c;
    m->node = node;
    m->n = m->end = path_parent(slice_str(path)).n;
    if (!m->n) return ZK_NO_NODE; /* a top-level path under a chroot that is not there */
    m->at = recipe_copy(path, m->n);
    if (!m->at) return ZK_OUT_OF_MEMORY;
    m->done = done;
    m->user = user;
    mkdirs_step(m);
    return ZK_OK;
}

ZK_PRIVATE void mkdirs_stop(struct mkdirs *m) {
    ask_stop(&m->ask);
    mem_free(m->at);
    m->at = NULL;
}

/* --- wish --- */

struct wish_post {
    struct client_post post;
    zk_done_fn done;
    void *user;
    int error;
};

static void wish_run(struct client_post *p) {
    struct wish_post *w = (struct wish_post *)p;
    w->done(w->user, w->error);
    mem_free(w);
}

static void wish_drop(struct client_post *p) {
    mem_free(p);
}

ZK_PRIVATE int wish_begin(struct wish *w, struct client *c, const void *owner, int timeout_ms,
                          void (*late)(void *user), void *user, zk_done_fn done,
                          void *done_user) {
    if (w->open) return ZK_IN_USE;
    if (done) {
        w->post = mem_try(sizeof *w->post);
        if (!w->post) return ZK_OUT_OF_MEMORY;
        w->post->post.owner = owner;
        w->post->post.run = wish_run;
        w->post->post.drop = wish_drop;
        w->post->done = done;
        w->post->user = done_user;
    } else {
        w->answer = done_user;
    }
    w->c = c;
    w->open = true;
    w->timer.fn = late;
    w->timer.user = user;
    if (timeout_ms >= 0) client_timer_set(c, &w->timer, client_now(c) + timeout_ms);
    return ZK_OK;
}

ZK_PRIVATE void wish_end(struct wish *w, int error) {
    if (!w->open) return;
    w->open = false;
    if (w->timer.link) client_timer_stop(w->c, &w->timer);
    if (w->answer) {
        w->answer->over = true;
        w->answer->error = error;
        w->answer = NULL;
    }
    if (!w->post) return;
    w->post->error = error;
    client_post(w->c, &w->post->post);
    w->post = NULL;
}

ZK_PRIVATE void wish_stop(struct wish *w) {
    if (w->timer.link) client_timer_stop(w->c, &w->timer);
    mem_free(w->post);
    w->post = NULL;
    w->answer = NULL;
    w->open = false;
}

ZK_PRIVATE bool wish_over(const void *answer) {
    return ((const struct wish_answer *)answer)->over;
}

/* --- notice --- */

struct notice_post {
    struct client_post post;
    zk_hold_fn fn;
    void *user;
    enum zk_hold_state state;
    int64_t token;
};

static void notice_run(struct client_post *p) {
    struct notice_post *n = (struct notice_post *)p;
    n->fn(n->user, n->state, n->token);
    mem_free(n);
}

static void notice_drop(struct client_post *p) {
    mem_free(p);
}

static void notice_post(void *user) {
    struct notice *n = user;
    struct notice_post *p = mem_try(sizeof *p);
    if (!p) {
        client_timer_set(n->c, &n->timer, client_now(n->c) + RECIPE_NO_MEMORY_MS);
        return;
    }
    p->post.owner = n->owner;
    p->post.run = notice_run;
    p->post.drop = notice_drop;
    p->fn = n->fn;
    p->user = n->user;
    p->state = n->state;
    p->token = n->token;
    client_post(n->c, &p->post);
}

ZK_PRIVATE void notice_init(struct notice *n, struct client *c, const void *owner, zk_hold_fn fn,
                            void *user) {
    memset(n, 0, sizeof *n);
    n->c = c;
    n->owner = owner;
    n->fn = fn;
    n->user = user;
    n->timer.fn = notice_post;
    n->timer.user = n;
}

ZK_PRIVATE void notice_tell(struct notice *n, enum zk_hold_state state, int64_t token) {
    if (n->state == state && n->token == token) return;
    n->state = state;
    n->token = token;
    if (!n->fn) return;
    if (n->timer.link) client_timer_stop(n->c, &n->timer);
    notice_post(n);
}

ZK_PRIVATE void notice_stop(struct notice *n) {
    if (n->timer.link) client_timer_stop(n->c, &n->timer);
}
