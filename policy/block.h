/* One refusal: whoever a block speaks of is denied everything, whatever its bindings give, until the block is taken
 * away.
 *
 * What refuses must hold for whoever it means, however that one comes: in a user namespace of its own a process gives
 * up its groups (setgroups(2)), and takes other uids (subuid(5)). So a block of a user speaks of all processes whose
 * owner it is, and a block of a group also of those whose account is in it; where owner or groups are not known, a
 * condition that they could fulfil holds. A binding gives to the uid and the groups that the process has, and to
 * nothing else. Whatever condition refuses one day must ask likewise.
 *
 * A block's principal has users, groups and everyone, but not `host`: that a caller is outside every container may be
 * in doubt, and doubt must deny, which for a condition of a block would mean that it holds, and for one of a binding
 * that it does not. */
#ifndef COFFER_POLICY_BLOCK_H
#define COFFER_POLICY_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/principal.h"

struct block {
	uint64_t id; /* from the store, which numbers bindings and blocks in one row; never reused */
	struct principal principal;
};

/* A principal that a block may have. */
bool block_principal_valid(const struct principal *p);

/* Does the block speak of the caller? */
bool block_speaks_of(const struct block *b, const struct policy_caller *caller);

/* Does the block refuse everybody whom the principal can mean: are all of its conditions among the principal's? */
bool block_covers(const struct block *b, const struct principal *p);

/* Can the principal mean the caller, now or by a name that it can take: does who grants a right to it grant to itself?
 * As a block of the same principal would see it; `host` always holds, for the caller may have other processes.
 * owner_of_user: the user whose subordinate uid the principal's user is, that user itself where it is none, or
 * POLICY_OWNER_UNKNOWN. */
bool principal_could_mean(const struct principal *p, const struct policy_caller *caller, uint32_t owner_of_user);

#endif
