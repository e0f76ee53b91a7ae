/* Named sets of actions. Built-in roles have fixed ids below ROLE_CUSTOM_FIRST; custom ones get theirs from the store.
 */
#ifndef COFFER_POLICY_ROLE_H
#define COFFER_POLICY_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/action.h"

#define ROLE_NAME_MAX      64 /* bytes with the NUL */
#define ROLE_CUSTOM_FIRST  1000
/* built-in roles from here on came later: a vault of before may have a role of its own by such a name, which is then
 * meant */
#define ROLE_LATER_FIRST   13
#define ROLE_ADMINISTRATOR 1 /* the id of the built-in role that must never lose its last holder */

struct role {
	uint32_t id;
	char name[ROLE_NAME_MAX];
	action_set actions;
};

/* The built-in roles in a fixed order; static storage. */
const struct role *role_builtin(size_t *ret_n);

/* A built-in role by name or id, or NULL. */
const struct role *role_builtin_find(const char *name);
const struct role *role_builtin_get(uint32_t id);

/* A custom role's name: [a-z][a-z0-9-]{0,62}, and not that of a built-in one from before ROLE_LATER_FIRST. */
bool role_name_valid(const char *name);

/* May a data-access administrator hand this role out? True when it gives no power over bindings, roles, the vault or
 * the audit log. */
bool role_is_data_role(const struct role *role);

#endif
