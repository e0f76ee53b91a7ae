/* What is owed to watchers, so that a death between commit and bell loses no event. Too much is rung rather than too
 * little: watchers read the file, not the event. */
#ifndef COFFER_FS_SERVE_RING_H
#define COFFER_FS_SERVE_RING_H

#include "fs/serve/vault.h"

/* Ends the transaction and, where it succeeds, owes its watchers the word: vault_changed gives it, on the same thread;
 * if this worker dies before that, the next one's vault_ring_missed does. As store_commit. */
int vault_commit(struct vault *v);
/* What is rung: nothing; the marker alone; all. */
enum vault_rings { RINGS_NONE, RINGS_MARKER, RINGS_ALL };

/* Watchers know of what others committed up to this epoch. */
void vault_told(struct vault *v, uint64_t epoch);
/* When a worker takes over: rings for what was committed and, for all that the one before has left word of, not rung.
 */
void vault_ring_missed(struct vault *v);
/* One that finds the bell's queue full is counted, and comes again with vault_ring_lost. */
void vault_ring(struct vault *v, enum bell_action action, const char *path);
/* Rings again for all that may not have been heard for a full queue, where there is any; waits for room. From a thread
 * of its own: stop_fd is readable when it should end, and leave the rest to the next. */
void vault_ring_lost(struct vault *v, int stop_fd);
/* A secret's current is another, or came or went with it: for the store's callbacks, arg is the vault. */
void vault_ring_current(uint32_t secret, void *arg);

/* After a commit that may have added events: watchers of .coffer/events hear of it, and whoever delivers them. Part of
 * vault_changed. */
void vault_events_told(struct vault *v);
bool vault_events_new(const struct vault *v); /* Are there some that nobody was told of? */

/* Watchers of .coffer/audit hear of what was written since. For one thread, as often as they are to hear at most. A
 * watcher that reads the log when it hears makes a record, which is not to ring for it again: records of reading the
 * log ring only when nothing was rung for a while, which grows with each such ring. */
void vault_ring_log(struct vault *v);

/* There is something for the thread that does what is due: arg is the vault. */
void vault_wake_lifecycle(void *arg);

/* Each file of a secret that is served from now on. */
void vault_ring_files(struct vault *v, uint32_t secret);
/* One secret, that serves something else or not, of a transaction of this thread. */
void vault_ring_secret(struct vault *v, uint32_t secret, bool serves, enum vault_rings rings);
/* Its watchers were told. */
void vault_owes_nothing(void);

#endif
