/* Files that the bell keeps open for writing, so that the kernel gives nobody a lease on them: a lease would keep everybody else's open waiting for as long as fs.lease-break-time says.
 *
 * A lease needs an open file. So the first open of a file is answered only when the bell has it, or cannot have it (it greets within a moment of its start, for which opens wait, too); the open of one that is held costs one look at a table. Which files are held stands in
 * shared memory, for the bell outlives a worker; it counts only while the bell is the one that said so. Where the table is full, a file that nobody has open, and that was not opened for the longest time, is
 * let go, at most one each second, for that is a ring that its watchers hear. */
#ifndef COFFER_FS_HOLDS_H
#define COFFER_FS_HOLDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/bell.h"

#define HOLD_SLOTS (4 * BELL_HOLDS)	/* a power of two */

/* In shared memory; written by the active worker. Open addressing: a slot whose file was let go keeps HOLD_GONE. */
#define HOLD_GONE 1u
struct shared_holds {
	_Atomic int32_t bell;		/* the pid of whoever holds them, 0: nobody */
	_Atomic uint32_t n;
	_Atomic uint32_t used;		/* slots that are not empty */
	_Atomic uint32_t waiting;	/* paths at which the bell has waited for more than a moment */
	_Atomic int64_t since;		/* for how long the first of them, ns since the epoch; 0: none does */
	_Atomic uint64_t ino[HOLD_SLOTS];
	_Atomic uint8_t opened[HOLD_SLOTS];	/* since the last look for one that can go */
};

struct vault;
struct holds;

/* Starts the thread that hears the bell; the vault's tables, handles and bell_fd are there. One at a time, in the active worker. */
int holds_new(struct vault *v, struct holds **ret_holds);
void holds_free(struct holds *h);	/* accepts NULL */

/* May an open of this inode be answered as far as leases go? False: holds_take first, which waits. Never blocks; accepts NULL. */
bool holds_ready(struct holds *h, uint64_t ino);
/* Asks the bell, and waits for its word for a short time. Whatever comes of it, the open goes on. */
void holds_take(struct holds *h, uint64_t ino);
/* The bell stats the file, until the kernel has heard that it has two links: waits for a short time, whatever comes of it. */
void holds_look(struct holds *h, uint64_t ino);

#endif
