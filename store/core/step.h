/* From one epoch to the next in O(changes). */
#ifndef COFFER_STORE_CORE_STEP_H
#define COFFER_STORE_CORE_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/core/database.h"

struct catalog_entry;

/* By how many their number changes. */
struct grants {
	int roles, bindings, blocks;
};

struct step {
	struct catalog_entry **puts;
	size_t n_puts;
	uint32_t *removes;
	size_t n_removes;
	uint64_t *versions; /* whose cached content is no longer good */
	size_t n_versions;
	struct policy *policy;
	struct store_settings settings;
	struct clock_row clock;
	struct rules *rules; /* NULL: as they were */
	struct grants grants;
	struct idset *served; /* objects that serve something else than before; NULL: none */
	struct tables fresh;  /* catalog is set: everything anew, and nothing of the above */
};
/* Reads the changed rows through db (in a transaction), verifies them and makes everything that applying needs. The
 * writer's mutex is held. */
int step_prepare(struct store *s, struct db *db, const struct change *changes, size_t n, struct step *ret_step);
/* The same for more changes than are listed: reads everything. */
int step_reload(struct store *s, struct db *db, struct step *ret_step);
void step_apply(struct store *s, struct step *step, const struct head *head); /* cannot fail */
void step_discard(struct store *s, struct step *step);

/* The policy as it would be after the changes. */
int step_policy(struct store *s, struct db *db, const struct change *changes, size_t n, struct policy **ret_policy,
		struct grants *ret_grants);

/* false: only attributes differ, or what is not served. */
bool serves_else(const struct store_settings *settings, const struct catalog_secret *before,
		 const struct catalog_secret *after);

#endif
