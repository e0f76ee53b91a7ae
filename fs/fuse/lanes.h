/* Where requests wait for a thread: five lanes, each with threads of its own (fs/fuse/session.c), in which neighbours
 * have turns (fs/fuse/turns.h) and shares of what can wait at all (fs/common/shares.h).
 *
 * Under some requests the kernel holds a lock that everybody needs: of a directory, while it is read or a name in it
 * made, moved or removed; of a file, while it is written or its attributes are set; of its pages, while they are read
 * into its cache. These have lanes of their own, so that none waits behind what else its caller asked for: whoever has
 * a thousand opens refused could else make all others wait in the kernel. In one lane of each kind it is found out who
 * asks, which takes a moment and is enough to refuse; whatever waits for the database or the key holder goes on to the
 * other.
 *
 * Before it is known who asks, a request waits among all others whose caller is not known: thousands, if somebody wants
 * it so. Those of a neighbour that the policy has let in lately have a lane of their own for that.
 *
 * A request that waits is copied out of its slot, so that there is always a slot to read the next one into. Only a
 * WRITE waits in its slot, for its bytes may be a value's. */
#ifndef COFFER_FS_FUSE_LANES_H
#define COFFER_FS_FUSE_LANES_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/serve/patience.h"
#include "fs/shared/shared.h"

struct fuse_in_header;

enum lane { LANE_ASK, LANE_ASK_KNOWN, LANE_WAIT, LANE_LOCKED_ASK, LANE_LOCKED_WAIT, LANES };

struct lane_shape {
	uint32_t threads, share;
	enum patience patience;
};
extern const struct lane_shape lane_shapes[LANES];
#define LANE_THREADS 20u /* of all together; the first slots are theirs */

/* Does the kernel hold a lock that others need while this request has no answer? */
bool lanes_locked(const struct fuse_in_header *in, size_t len);
/* known: its neighbour was let in lately. */
enum lane lanes_of(const struct fuse_in_header *in, size_t len, enum patience wants, bool known);

/* Of the caller's lock: all that follows is called under it. */
struct lanes;
int lanes_new(struct shared *shared, struct lanes **ret_lanes);
void lanes_free(struct lanes *l); /* accepts NULL */

/* So many requests of this neighbour wait that it matters whether it is this one's. */
bool lanes_crowded(const struct lanes *l, uint64_t neighbour);

/* What waits, or is worked on: a parked request, or PARKED and the number of its slot. */
typedef uint32_t lane_entry;
static inline bool entry_is_parked(lane_entry e) { return e < PARKED; }

enum parking {
	PARKING_NONE /* waits in its slot, which goes with it */,
	PARKING_DONE /* copied: the slot is free */,
	PARKING_REFUSED
};
/* The request in the slot waits (one of LANE_ASK_KNOWN, where that has no room, in LANE_ASK). *ret_lost is the unique
 * of one that has to go for it, and is to be answered EAGAIN; 0: none. */
enum parking lanes_put(struct lanes *l, uint32_t slot, bool resent, enum lane lane, uint64_t neighbour,
		       uint64_t *ret_lost);
/* What a worker that died left behind, of which the kernel sends nothing again. */
void lanes_put_left(struct lanes *l, uint32_t parked, enum lane lane, uint64_t neighbour);
/* A parked place in which nothing is. */
void lanes_put_free(struct lanes *l, uint32_t parked);

/* What comes next in a lane, -1: nothing. Its thread calls lanes_done when it has worked on it, and lanes_gone when it
 * has no other use for the entry; a slot is then free again. */
int64_t lanes_take(struct lanes *l, enum lane lane, uint64_t *ret_neighbour);
void lanes_done(struct lanes *l, enum lane lane, uint64_t neighbour);
void lanes_gone(struct lanes *l, lane_entry entry);

#endif
