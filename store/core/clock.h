/* The time that has passed, as nobody can set it. */
#ifndef COFFER_STORE_CORE_CLOCK_H
#define COFFER_STORE_CORE_CLOCK_H
#include <stdint.h>

struct catalog_secret;
struct store;

/* How long it is, in ns, until a deleted secret is purged by itself, and may be where purge protection is on; 0 or
 * less: now. Counted on the vault's own clock, which nobody can set. */
int64_t store_purge_left(const struct store *s, const struct catalog_secret *c);
/* The same as a date of the wall clock as it stands. */
int64_t store_purge_date(const struct store *s, const struct catalog_secret *c);

/* What the clock shows now; the caller holds the tables' lock or the writer's mutex. */
int64_t clock_counted(const struct store *s);
/* In the transaction: what has been counted goes to disk; *ret_counted (may be NULL) is what stands there. */
int clock_write(struct store *s, int64_t *ret_counted);
/* Now and then, so that a machine's end does not lose much of it. The writer's mutex is held, no transaction open. */
int clock_keep(struct store *s);

#endif
