/* Destroys, in the active worker, what the history rules let go (store/core/rules_table.h, struct history). For the
 * thread of fs/lifecycle/lifecycle.c, which says when. */
#ifndef COFFER_FS_LIFECYCLE_KEEPING_H
#define COFFER_FS_LIFECYCLE_KEEPING_H

#include "fs/serve/vault.h"

struct catalog_secret;

/* When to look at a secret next, by the wall clock; INT64_MAX: never. The tables are locked. */
int64_t keeping_due(const struct store *s, const struct catalog_secret *c);
/* Destroys what is to go by now, at most KEEPING_AT_ONCE versions, in one transaction with a record and an event of
 * each: 0, also when there is nothing, or negative errno. */
#define KEEPING_AT_ONCE 32
int keeping_act(struct vault *v, uint32_t secret);

#endif
