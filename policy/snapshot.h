/* What a snapshot is made of; shared by policy.c, which makes them, and decide.c, which asks them.
 *
 *   by_id       id u64                                                               every binding, ascending
 *   by_scope    condition | scope text | mark | until, descending u64 | id u64       the question "to this name"
 *   by_role     condition | role u32 | until, descending u64 | id u64                the question "to any name"
 *   admins      id u64                                         bindings that make administrators for good
 *   blocks      id u64                                         every block, ascending
 *   by_block    condition | id u64                             the blocks that may speak of a caller
 *   roles       id u32                                         custom roles
 *   role_names  name NUL                                       custom roles
 *
 * Integers are big-endian, so that the order of bytes is the order of numbers. `condition` (kind u8, id u32) is the
 * binding's most selective condition: who does not fulfil it never meets the binding. A prefix's scope text stands
 * without its star: on the way along a name's bytes every prefix that covers it branches off at SCOPE_MARK_PREFIX.
 * Neither mark can be a byte of a name. Behind a mark the bindings of one condition and scope (or role) lie in the
 * order in which they win: the first that matches is the best, and the first that has ended is followed by none that
 * has not. */
#ifndef COFFER_POLICY_SNAPSHOT_H
#define COFFER_POLICY_SNAPSHOT_H

#include "policy/policy.h"
#include "policy/tree.h"

enum scope_mark {
	SCOPE_MARK_EXACT = 0,
	SCOPE_MARK_PREFIX = 1,
};

struct policy {
	atomic_uint refs;
	struct tree_node *by_id;
	struct tree_node *by_scope;
	struct tree_node *by_role;
	struct tree_node *admins;
	struct tree_node *blocks;
	struct tree_node *by_block;
	struct tree_node *roles;
	struct tree_node *role_names;
};

struct shared_binding {
	struct shared shared;
	struct binding binding;
};

struct shared_block {
	struct shared shared;
	struct block block;
};

struct shared_role {
	struct shared shared;
	struct role role;
};

/* A number in a key. */
static inline void be32(uint8_t *to, uint32_t v)
{
	to[0] = (uint8_t)(v >> 24);
	to[1] = (uint8_t)(v >> 16);
	to[2] = (uint8_t)(v >> 8);
	to[3] = (uint8_t)v;
}

/* The value of a tree of bindings, blocks or roles, and what it holds. */
const struct binding *binding_of(const struct shared *value);
const struct block *block_of(const struct shared *value);
const struct role *role_of(const struct shared *value);

#endif
