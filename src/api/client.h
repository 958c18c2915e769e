/*
 * api/client: the handle: one client machine, its courier, a lock, and who runs them.
 *
 * The lock guards everything of the machine. Of the user's functions log and on_frame are called
 * under it, and may not call back: the handle remembers which thread is there, and refuses it. With
 * threads of its own a handle has two: `io` carries bytes and time, `teller` makes the posted
 * calls, so that a callback that takes its time does not cost the session. Without (ZK_OWN_LOOP)
 * zk_step does both.
 *
 * A thread that waits for a reply does not wait for `io` to wake up and pass it on: it borrows the
 * socket, reads for everybody until its own reply is there, and gives the socket back.
 *
 * For recipes: between api_enter and api_leave the machine is theirs.
 */
#ifndef ZK_API_CLIENT_H
#define ZK_API_CLIENT_H

#include "host/courier.h"

/* Locks. NULL: it may not be entered, *error (unless NULL) says why. */
ZK_PRIVATE struct client *api_enter(struct zk *zk, int *error);
/* Sends what is to be sent, wakes who is to be woken, unlocks. Another thread may free the handle
 * then. */
ZK_PRIVATE void api_leave(struct zk *zk);

/* Around several calls that make one: the handle stays until api_go. ZK_OK, or why not. */
ZK_PRIVATE int api_stay(struct zk *zk);
ZK_PRIVATE void api_go(struct zk *zk);

/*
 * Within: runs the handle until ready(arg): ZK_OK. ZK_TIMED_OUT: not within timeout_ms (< 0: no
 * limit); or why the session is over. ready is called under the lock, by other threads too. The
 * lock is released while it waits.
 */
typedef bool (*api_ready)(const void *arg);
ZK_PRIVATE int api_wait(struct zk *zk, api_ready ready, const void *arg, int timeout_ms);

/* Within: drops the posts of this owner, and waits for one that another thread is just making. */
ZK_PRIVATE void api_settle(struct zk *zk, const void *owner);

#endif
