/* What the bell holds open, and which names it has yet to make: in memory that outlives a worker, for the bell does,
 * too. */
#ifndef COFFER_FS_SHARED_WATCHED_H
#define COFFER_FS_SHARED_WATCHED_H

#include <stdatomic.h>
#include <stdint.h>

#define BELL_HOLDS 4096u /* files kept open at once */

/* ---- fs/serve/holds.h ---- */

#define HOLD_SLOTS (4 * BELL_HOLDS) /* a power of two */

/* In shared memory; written by the active worker. Open addressing: a slot whose file was let go keeps HOLD_GONE. */
#define HOLD_GONE 1u
struct shared_holds {
	_Atomic int32_t bell; /* the pid of whoever holds them, 0: nobody */
	_Atomic uint32_t n;
	_Atomic uint32_t used;    /* slots that are not empty */
	_Atomic uint32_t waiting; /* paths at which the bell has waited for more than a moment */
	_Atomic int64_t since;    /* for how long the first of them, ns since the epoch; 0: none does */
	_Atomic uint64_t ino[HOLD_SLOTS];
	_Atomic uint8_t opened[HOLD_SLOTS]; /* since the last look for one that can go */
};

/* ---- fs/serve/appear.h ---- */

#define APPEAR_EARLY 64u
/* names that the bell is asked for at a time; what is beyond resolves without an event */
#define APPEAR_BATCH 1024u

/* In shared memory; written by the active worker. */
struct shared_appear {
	_Atomic uint32_t hidden_from;         /* ids from here on are hidden; 0: none is, and none will be */
	_Atomic uint32_t early[APPEAR_EARLY]; /* but for these, whose names came through the mount; 0: free */
	/* below hidden_from: the bell has not made these, and no name was given out; 0: free */
	_Atomic uint32_t late[APPEAR_BATCH];
	_Atomic uint32_t n_late; /* not less than there are */
	/* and these, which the bell has made: they resolve, and are not shown yet; 0: free */
	_Atomic uint32_t made[APPEAR_BATCH];
};

#endif
