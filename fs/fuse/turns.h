/* Whose turn it is: requests wait for the threads of a pool by neighbour (fs/common/shares.h), and neighbours take
 * turns, so that nobody's crowd keeps others waiting.
 *
 * Of the threads one neighbour has at most its share at a time, and all but root of the machine leave one: its requests
 * find a thread whatever the others do. Each call takes the same short time, however many wait. Callers hold a lock of
 * their own. */
#ifndef COFFER_FS_FUSE_TURNS_H
#define COFFER_FS_FUSE_TURNS_H

#include <stdint.h>

#include "fs/common/shares.h"

struct turns;

/* Entries are numbers from 0 to entries - 1. */
int turns_new(uint32_t entries, uint32_t threads, uint32_t share, struct turns **ret_turns);
void turns_free(struct turns *t); /* accepts NULL */

/* The entry, which does not wait yet, does now, behind the others of its neighbour. */
void turns_wait(struct turns *t, uint32_t entry, uint64_t neighbour);
/* How many wait, of this neighbour. */
uint32_t turns_waiting(const struct turns *t, uint64_t neighbour);
/* The next entry that a thread should take, -1: none. Its neighbour has one thread more until turns_done. */
int64_t turns_take(struct turns *t, uint64_t *ret_neighbour);
void turns_done(struct turns *t, uint64_t neighbour);
/* The neighbour's entry that has waited longest waits no more; -1: none waits. */
int64_t turns_drop(struct turns *t, uint64_t neighbour);

#endif
