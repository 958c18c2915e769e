#include "host/resolver.h"

#include <signal.h>

struct resolver_question {
    uint64_t ticket;
    char host[RESOLVER_HOST];
    uint16_t port;
};

struct resolver {
    pthread_mutex_t lock; /* of everything here */
    pthread_cond_t work;
    bool stopping;
    int threads, idle; /* idle: of them, those that wait for a question */
    int wake_fd;
    struct buf questions; /* struct resolver_question */
    struct buf answers;   /* struct resolver_answer */
};

static void resolver_destroy(struct resolver *r) {
    buf_free(&r->questions);
    buf_free(&r->answers);
    (void)pthread_mutex_destroy(&r->lock);
    (void)pthread_cond_destroy(&r->work);
    mem_free(r);
}

ZK_PRIVATE struct resolver *resolver_new(int wake_fd) {
    struct resolver *r = mem_try(sizeof *r);
    if (!r) return NULL;
    r->wake_fd = wake_fd;
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->work, NULL);
    return r;
}

/* Under the lock. */
static void resolver_answer(struct resolver *r, const struct resolver_answer *a) {
    buf_compact(&r->answers);
    if (buf_try_reserve(&r->answers, sizeof *a)) buf_put(&r->answers, a, sizeof *a);
    os_notify(r->wake_fd);
}

static void *resolver_main(void *arg) {
    struct resolver *r = arg;
    (void)pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        struct resolver_question q;
        if (!buf_len(&r->questions)) {
            r->idle++;
            (void)pthread_cond_wait(&r->work, &r->lock);
            r->idle--;
            continue;
        }
        memcpy(&q, r->questions.p + r->questions.head, sizeof q);
        buf_consume(&r->questions, sizeof q);
        (void)pthread_mutex_unlock(&r->lock);
        struct resolver_answer a;
        memset(&a, 0, sizeof a);
        a.ticket = q.ticket;
        int n = os_resolve(q.host, q.port, false, a.at);
        a.n = n > 0 ? n : 0;
        (void)pthread_mutex_lock(&r->lock);
        if (!r->stopping) resolver_answer(r, &a);
    }
    bool last = --r->threads == 0;
    (void)pthread_mutex_unlock(&r->lock);
    if (last) resolver_destroy(r);
    return NULL;
}

/* Under the lock: somebody will come to one question more. The threads are nobody's to join: the
 * last one to end frees the resolver. The program's signals are not for them. */
static bool resolver_staff(struct resolver *r) {
    pthread_t thread;
    sigset_t all, before;
    size_t waiting = buf_len(&r->questions) / sizeof(struct resolver_question);
    if ((size_t)r->idle > waiting || r->threads == RESOLVER_THREADS) return true;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool made = pthread_create(&thread, NULL, resolver_main, r) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (made) (void)pthread_detach(thread);
    if (made) r->threads++;
    return r->threads != 0;
}

ZK_PRIVATE void resolver_free(struct resolver *r) {
    if (!r) return;
    (void)pthread_mutex_lock(&r->lock);
    bool alone = !r->threads;
    r->stopping = true;
    (void)pthread_cond_broadcast(&r->work);
    (void)pthread_mutex_unlock(&r->lock);
    if (alone) resolver_destroy(r);
}

ZK_PRIVATE void resolver_ask(struct resolver *r, uint64_t ticket, const char *host, uint16_t port) {
    struct resolver_question q = {.ticket = ticket, .port = port};
    size_t n = strlen(host);
    memcpy(q.host, host, n < sizeof q.host ? n : sizeof q.host - 1);
    (void)pthread_mutex_lock(&r->lock);
    buf_compact(&r->questions);
    if (buf_try_reserve(&r->questions, sizeof q) && resolver_staff(r)) {
        buf_put(&r->questions, &q, sizeof q);
        (void)pthread_cond_signal(&r->work);
    } else {
        struct resolver_answer none;
        memset(&none, 0, sizeof none);
        none.ticket = ticket;
        resolver_answer(r, &none);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

ZK_PRIVATE void resolver_forget(struct resolver *r, uint64_t ticket) {
    (void)pthread_mutex_lock(&r->lock);
    size_t kept = r->questions.head;
    for (size_t at = kept; at < r->questions.n; at += sizeof(struct resolver_question)) {
        struct resolver_question q;
        memcpy(&q, r->questions.p + at, sizeof q);
        if (q.ticket == ticket) continue;
        memcpy(r->questions.p + kept, &q, sizeof q);
        kept += sizeof q;
    }
    r->questions.n = kept;
    (void)pthread_mutex_unlock(&r->lock);
}

ZK_PRIVATE bool resolver_take(struct resolver *r, struct resolver_answer *out) {
    (void)pthread_mutex_lock(&r->lock);
    bool any = buf_len(&r->answers) != 0;
    if (any) {
        memcpy(out, r->answers.p + r->answers.head, sizeof *out);
        buf_consume(&r->answers, sizeof *out);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return any;
}
