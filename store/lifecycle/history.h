/* How much of a secret's history is kept: the rules, and what they let go. */
#ifndef COFFER_STORE_LIFECYCLE_HISTORY_H
#define COFFER_STORE_LIFECYCLE_HISTORY_H
#include <stddef.h>
#include <stdint.h>

struct catalog_secret;
struct history;
struct store;

int store_history_put(struct store *s, const struct history *history /* id, created and counted ignored */,
		      uint64_t *ret_id);
int store_history_remove(struct store *s, uint64_t id); /* -ENOENT */

struct history_clocks {
	int64_t wall, counted;
};
/* Which versions are to be destroyed by now: the first n of them, ascending; *ret_next: when, by the wall clock, to
 * look for further ones (INT64_MAX: never). */
size_t history_goes(const struct history *h, const struct catalog_secret *c, struct history_clocks now,
		    uint32_t *ret_numbers, size_t n, int64_t *ret_next);
/* The same by the rule that the vault has for it, if it has one, and by its clocks. The tables are locked. *ret_rule
 * may be NULL. */
size_t store_history_goes(const struct store *s, const struct catalog_secret *c, uint32_t *ret_numbers, size_t n,
			  int64_t *ret_next, struct history *ret_rule);

#endif
