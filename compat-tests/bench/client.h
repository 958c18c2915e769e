/* What a client library must offer to be measured by client.c: one adapter per library. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

struct session;

struct session *session_open(const char *hosts); /* connected, or the program ends */
void session_close(struct session *s);
int session_get(struct session *s, const char *path);
int session_set(struct session *s, const char *path, const char *data, int n);
int session_create(struct session *s, const char *path, const char *data, int n);
/* Without waiting; bench_done is told of each. */
void session_get_later(struct session *s, const char *path);
void session_set_later(struct session *s, const char *path, const char *data, int n);
void session_watch_later(struct session *s, const char *path); /* exists, with a watch */

void bench_done(int error);

#endif
