/* One refusal: whoever a block speaks of is denied everything, whatever his bindings give, until the block is taken away.
 *
 * A block's principal has users, groups and everyone, but not `host`: that a caller is outside every container may be in doubt, and
 * doubt must deny, which for a condition of a block would mean that it holds, and for one of a binding that it does not. */
#ifndef COFFER_POLICY_BLOCK_H
#define COFFER_POLICY_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/principal.h"

struct block {
	uint64_t id;			/* from the store, which numbers bindings and blocks in one row; never reused */
	struct principal principal;
};

/* A principal that a block may have. */
bool block_principal_valid(const struct principal *p);

/* Does the block refuse everybody whom the principal can mean: are all of its conditions among the principal's? */
bool block_covers(const struct block *b, const struct principal *p);

#endif
