/*
 * host/logread: transactions read back from the log, for learners that are further behind than
 * memory goes.
 *
 * Nothing is handed out that might have a hole before it: zxids go up by one within an epoch, an
 * epoch begins with 1, and where it begins no snapshot may be named after a zxid in between (a
 * server that was brought up by a snapshot has such a gap, and the snapshot). What cannot be read
 * is not there. stock: LearnerHandler.syncFollower, TxnLogProposalIterator
 */
#ifndef ZK_HOST_LOGREAD_H
#define ZK_HOST_LOGREAD_H

#include "host/files.h"

#define LOGREAD_BYTES (4u << 20) /* about so much at a time */

/*
 * Appends int length and transaction, repeated: those after zxid `after`, which the log must hold
 * itself, up to `upto` or until there is enough. first: nothing when the files they are in are
 * longer than snapshotSizeFactor of the newest snapshot. Takes no lock: the log may grow meanwhile.
 */
ZK_PRIVATE void logread_after(const struct files *f, int64_t after, int64_t upto, bool first,
                              struct buf *out);

#endif
