/* The decision: may this caller do this, to this name, now?
 *
 * A policy is an immutable snapshot, compiled from roles and bindings. Threads ask it without a lock; a change makes
 * another snapshot that shares what did not change. Deny is the default, for uid 0 too. There are no deny bindings; a
 * block denies its principal everything, and comes before every binding.
 *
 * This room is pure: no I/O, no clock, no SQLite, no OpenSSL. */
#ifndef COFFER_POLICY_POLICY_H
#define COFFER_POLICY_POLICY_H

#include <stdint.h>

#include "policy/action.h"
#include "policy/binding.h"
#include "policy/block.h"
#include "policy/role.h"

struct policy;

enum policy_decision {
	POLICY_DENY = 0, /* zeroed memory denies */
	POLICY_ALLOW = 1,
};

struct policy_answer {
	enum policy_decision decision;
	uint64_t binding;    /* the binding that allowed; 0 for a denial */
	uint32_t role;       /* its role; 0 for a denial */
	int64_t valid_until; /* ns; an allowance must be asked again from this moment on. Denial: 0 */
	uint64_t block;      /* the block that denied, the lowest of several; 0: none did */
};

/* One step from a snapshot to the next. Exactly one of binding, role and block is meant. */
enum policy_change_kind {
	POLICY_ADD_BINDING = 1,
	POLICY_REMOVE_BINDING, /* by binding.id */
	POLICY_PUT_ROLE,       /* adds a custom role, or replaces its actions */
	POLICY_ADD_BLOCK,
	POLICY_REMOVE_BLOCK, /* by block.id */
};

struct policy_change {
	enum policy_change_kind kind;
	struct binding binding;
	struct role role;
	struct block block;
};

/* An empty policy (built-in roles, no bindings): denies everything. NULL when memory is short. */
struct policy *policy_new(void);

/* Another snapshot: old with the changes applied in order. old stays valid and owned by its holders. Work and memory
 * are proportional to the number of changes plus a small constant, not to the number of bindings; many changes in one
 * call (loading) cost a constant each. 0; -ENOMEM; -EEXIST (binding or block id already there, or a role's name under
 * another id); -ENOENT (binding, block or role unknown); -EINVAL (a binding or block whose principal, scope or window
 * is not valid, or whose id is 0; a role with a built-in id or name, with another name than it had, or with actions
 * that there are not). Nothing is returned on error. Several threads may call it on the same old. */
int policy_apply(const struct policy *old, const struct policy_change *changes, size_t n, struct policy **ret_policy);

/* Reference counting, from any thread. unref accepts NULL. */
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p);

/* Answers into *ret_answer. name is the secret's name, a scope (for bindings/create and bindings/delete), or NULL for
 * the vault itself. Among several bindings that allow, the one that holds longest decides; then the lowest id. Never
 * blocks, never allocates; the time does not grow with the number of bindings of other callers, other scopes, or
 * windows that have ended. It does with those on the very same scope whose most selective condition (user, else the
 * highest group, host, everyone) the caller fulfils. A NULL policy or caller denies, and so does a name that is no
 * valid name or scope. */
void policy_decide(const struct policy *p, const struct policy_caller *caller, enum action action, const char *name,
		   int64_t now, struct policy_answer *ret_answer);

/* Every action that the caller may do to name now, as a set: for masks of attributes in one pass. */
action_set policy_actions(const struct policy *p, const struct policy_caller *caller, const char *name, int64_t now);

/* Could the caller do the action to any name at all (a binding with any scope)? For filtering of listings. */
enum policy_decision policy_decide_any(const struct policy *p, const struct policy_caller *caller, enum action action,
				       int64_t now);

/* Is there any block? Then what is known of a caller's account counts, and may change. */
bool policy_has_blocks(const struct policy *p);

/* The block with the lowest id that speaks of the caller, borrowed, or NULL. */
const struct block *policy_blocked(const struct policy *p, const struct policy_caller *caller);

/* Looks things up for printing; borrowed from the snapshot. NULL when there is none. */
const struct binding *policy_binding(const struct policy *p, uint64_t id);
const struct block *policy_block(const struct policy *p, uint64_t id);
const struct role *policy_role(const struct policy *p, uint32_t id);
const struct role *policy_role_by_name(const struct policy *p, const char *name);

/* Calls fn for each binding or block in ascending id (roles: built-in first, then custom ascending) until it returns
 * non-zero, which is returned. */
int policy_each_binding(const struct policy *p, int (*fn)(const struct binding *b, void *arg), void *arg);
int policy_each_block(const struct policy *p, int (*fn)(const struct block *b, void *arg), void *arg);
int policy_each_role(const struct policy *p, int (*fn)(const struct role *r, void *arg), void *arg);

/* How many administrators (role administrator on scope "*", with no end of its window, begun by now, and not covered by
 * a block) there would be without binding `without` (0: count all): the last must not be revoked, nor blocked. */
size_t policy_count_administrators(const struct policy *p, uint64_t without, int64_t now);

#endif
