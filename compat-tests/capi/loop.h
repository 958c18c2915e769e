/*
 * loop.h: waiting for completions and watchers, in both forms of the library: they come on a thread
 * of its own, or (ZOO_LOOP) while the program runs it.
 */
#ifndef LOOP_H
#define LOOP_H

#ifdef ZOO_LOOP
#include <sys/select.h>

static inline void turn(zhandle_t *zh) {
    struct timeval wait;
    fd_set in, out;
    int fd = -1, interest = 0, events = 0;
    int rc = zookeeper_interest(zh, &fd, &interest, &wait);
    FD_ZERO(&in);
    FD_ZERO(&out);
    /* The program may have another handle to turn to. */
    if (wait.tv_sec || wait.tv_usec > 10000) wait = (struct timeval){.tv_usec = 10000};
    if (!rc && fd >= 0) {
        if (interest & ZOOKEEPER_READ) FD_SET(fd, &in);
        if (interest & ZOOKEEPER_WRITE) FD_SET(fd, &out);
    }
    (void)select(fd + 1, &in, &out, NULL, &wait);
    if (fd >= 0 && FD_ISSET(fd, &in)) events |= ZOOKEEPER_READ;
    if (fd >= 0 && FD_ISSET(fd, &out)) events |= ZOOKEEPER_WRITE;
    (void)zookeeper_process(zh, events);
}
#else
#include <sched.h>

static inline void turn(zhandle_t *zh) {
    struct timespec moment = {0, 1000000};
    (void)zh;
    (void)nanosleep(&moment, NULL);
}
#endif

/* Until *due is not above 0 any more. */
static inline void finish(zhandle_t *zh, _Atomic int *due) {
    time_t until = time(NULL) + WAIT_S;
    while (*due > 0) {
        if (time(NULL) > until) fail("completions that do not come");
        turn(zh);
    }
}

static inline zhandle_t *open_loop_client(const char *hosts) {
    time_t until = time(NULL) + WAIT_S;
    zhandle_t *zh = zookeeper_init(hosts, on_session, TIMEOUT_MS, NULL, NULL, ZOO_NO_LOG_CLIENTENV);
    if (!zh) fail("zookeeper_init");
#ifdef ZOO_LOOP
    say("before the first turn: %d", zoo_state(zh) == ZOO_NOTCONNECTED_STATE);
#endif
    while (zoo_state(zh) != ZOO_CONNECTED_STATE) {
        if (time(NULL) > until) fail("no connection");
        turn(zh);
    }
    return zh;
}

#endif
