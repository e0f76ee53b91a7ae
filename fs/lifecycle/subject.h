/* One secret, as what is due for it is told. */
#ifndef COFFER_FS_LIFECYCLE_SUBJECT_H
#define COFFER_FS_LIFECYCLE_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/lifecycle/lifecycle.h"
#include "store/core/catalog.h"
#include "store/lifecycle/marks.h"
#include "store/lifecycle/rules.h"

/* What decides about it, copied. */
struct subject {
	uint32_t id;
	char name[NAME_LEN_MAX + 1];
	struct catalog_version current;
	bool has_policy;
	struct rotation policy;
	uint32_t near_days;
};

/* False: nothing is ever due for it. The tables are locked; c may be NULL. */
bool subject_fill(const struct store *s, const struct catalog_secret *c, struct subject *ret);
/* The same, and takes the tables' lock itself. */
bool subject_get(struct store *store, uint32_t id, struct subject *ret);
struct due subject_due(const struct subject *s, const struct mark *m);

#endif
