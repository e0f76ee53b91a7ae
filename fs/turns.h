/* Whose turn it is: requests wait for the threads of a pool by uid, and uids take turns, so that nobody's crowd keeps others waiting.
 *
 * Of the threads one uid has at most its share at a time, and all uids but 0 leave one: root's requests find a thread whatever the others do. Each call takes the same short time, however many wait.
 * Callers hold a lock of their own. */
#ifndef COFFER_FS_TURNS_H
#define COFFER_FS_TURNS_H

#include <stdint.h>

struct turns;

/* Entries are numbers from 0 to entries - 1. */
int turns_new(uint32_t entries, uint32_t threads, uint32_t share, struct turns **ret_turns);
void turns_free(struct turns *t);	/* accepts NULL */

/* The entry, which does not wait yet, does now, behind the others of its uid. */
void turns_wait(struct turns *t, uint32_t entry, uint32_t uid);
/* How many wait, of this uid. */
uint32_t turns_waiting(const struct turns *t, uint32_t uid);
/* The next entry that a thread should take, -1: none. Its uid has one thread more until turns_done. */
int64_t turns_take(struct turns *t, uint32_t *ret_uid);
void turns_done(struct turns *t, uint32_t uid);

#endif
