/* Following what another process committed. */
#ifndef COFFER_STORE_CORE_FOLLOW_H
#define COFFER_STORE_CORE_FOLLOW_H
#include <stdint.h>

struct db;
struct store;

/* Calls fn for each secret that changed after epoch, once, ascending; of the change table's word, unverified: for
 * telling, not for serving. Where that does not go back so far, or says no more than that everything changed (a
 * restore), for each that got a version since. */
int store_changed_since(struct store *s, uint64_t epoch, void (*fn)(uint32_t secret, void *arg), void *arg);

/* Brings the tables from s's epoch to the database's, in the transaction that db is in; what changed is added to
 * s->followed. */
int follow_apply(struct store *s, struct db *db);

#endif
