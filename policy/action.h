/* The verbs that a policy speaks of.
 *
 * An action is named "noun/verb" ("secrets/get"). A set of actions is a bit mask, so that a role is one word and a
 * question one AND. The nouns keys and certificates are here from the first version, because a role's stored meaning
 * must not change when those kinds arrive. */
#ifndef COFFER_POLICY_ACTION_H
#define COFFER_POLICY_ACTION_H

#include <stdint.h>

enum action {
	ACTION_SECRETS_GET,
	ACTION_SECRETS_LIST,
	ACTION_SECRETS_SET,
	ACTION_SECRETS_UPDATE,
	ACTION_SECRETS_DELETE,
	ACTION_SECRETS_RECOVER,
	ACTION_SECRETS_BACKUP,
	ACTION_SECRETS_RESTORE,
	ACTION_SECRETS_PURGE,

	ACTION_KEYS_GET,
	ACTION_KEYS_LIST,
	ACTION_KEYS_CREATE,
	ACTION_KEYS_UPDATE,
	ACTION_KEYS_DELETE,
	ACTION_KEYS_RECOVER,
	ACTION_KEYS_BACKUP,
	ACTION_KEYS_RESTORE,
	ACTION_KEYS_PURGE,
	ACTION_KEYS_ENCRYPT,
	ACTION_KEYS_DECRYPT,
	ACTION_KEYS_WRAP,
	ACTION_KEYS_UNWRAP,
	ACTION_KEYS_SIGN,
	ACTION_KEYS_VERIFY,
	ACTION_KEYS_ROTATE,

	ACTION_CERTIFICATES_GET,
	ACTION_CERTIFICATES_LIST,
	ACTION_CERTIFICATES_CREATE,
	ACTION_CERTIFICATES_UPDATE,
	ACTION_CERTIFICATES_DELETE,
	ACTION_CERTIFICATES_RECOVER,
	ACTION_CERTIFICATES_BACKUP,
	ACTION_CERTIFICATES_RESTORE,
	ACTION_CERTIFICATES_PURGE,

	ACTION_BINDINGS_LIST,
	ACTION_BINDINGS_CREATE,
	ACTION_BINDINGS_DELETE,
	ACTION_ROLES_CREATE,

	ACTION_VAULT_UPDATE, /* settings */
	ACTION_VAULT_SEAL,
	ACTION_VAULT_STATUS,
	ACTION_VAULT_METRICS,
	ACTION_AUDIT_READ,

	ACTION_COUNT
};

typedef uint64_t action_set;

_Static_assert(ACTION_COUNT <= 64, "an action_set is one 64-bit word");

#define ACTION_BIT(a) ((action_set)1 << (a))
#define ACTION_ALL    (((action_set)1 << ACTION_COUNT) - 1)

/* What the policy speaks of, and nothing does yet: keys and certificates as kinds of their own. Who is given them is
 * told so. */
#define ACTIONS_UNSERVED (ACTION_BIT(ACTION_BINDINGS_LIST) - ACTION_BIT(ACTION_KEYS_GET))

/* The name of an action, "secrets/get"; static storage. */
const char *action_name(enum action a);

/* Parses one exact name. 0, or -EINVAL for a name that is not an action. */
int action_parse(const char *name, enum action *ret_action);

/* Parses an exact name, or "noun" followed by "/" and "*" for every action of that noun. 0 or -EINVAL. */
int action_set_parse(const char *name, action_set *ret_set);

#endif
