/* Files that the bell keeps open for writing, so that the kernel gives nobody a lease on them: a lease would keep
 * everybody else's open waiting for as long as fs.lease-break-time says.
 *
 * A lease needs an open file. So the first open of a file is answered only when the bell has it, or cannot have it (it
 * greets within a moment of its start, for which opens wait, too); the open of one that is held costs one look at a
 * table. Which files are held stands in shared memory, for the bell outlives a worker; it counts only while the bell is
 * the one that said so. Where the table is full, a file that nobody has open, and that was not opened for the longest
 * time, is let go, at most one each second, for that is a ring that its watchers hear. */
#ifndef COFFER_FS_SERVE_HOLDS_H
#define COFFER_FS_SERVE_HOLDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/helpers/bell.h"
#include "fs/shared/watched.h"

struct vault;
struct holds;

/* Starts the thread that hears the bell; the vault's tables, handles and bell_fd are there. One at a time, in the
 * active worker. */
int holds_new(struct vault *v, struct holds **ret_holds);
void holds_free(struct holds *h); /* accepts NULL */

/* May an open of this inode be answered as far as leases go? False: holds_take first, which waits. Never blocks;
 * accepts NULL. */
bool holds_ready(struct holds *h, uint64_t ino);
/* Asks the bell, and waits for its word for a short time. Whatever comes of it, the open goes on. */
void holds_take(struct holds *h, uint64_t ino);
/* The bell stats the file, until the kernel has heard that it has two links: waits for a short time, whatever comes of
 * it. */
void holds_look(struct holds *h, uint64_t ino);

#endif
