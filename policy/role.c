#include "policy/role.h"

#include <string.h>

#define SECRETS_ALL                                                                                                   \
	(ACTION_BIT(ACTION_SECRETS_GET) | ACTION_BIT(ACTION_SECRETS_LIST) | ACTION_BIT(ACTION_SECRETS_SET) |          \
	 ACTION_BIT(ACTION_SECRETS_UPDATE) | ACTION_BIT(ACTION_SECRETS_DELETE) | ACTION_BIT(ACTION_SECRETS_RECOVER) | \
	 ACTION_BIT(ACTION_SECRETS_BACKUP) | ACTION_BIT(ACTION_SECRETS_RESTORE) | ACTION_BIT(ACTION_SECRETS_PURGE))

#define KEYS_USE                                                                                            \
	(ACTION_BIT(ACTION_KEYS_LIST) | ACTION_BIT(ACTION_KEYS_UPDATE) | ACTION_BIT(ACTION_KEYS_BACKUP) |   \
	 ACTION_BIT(ACTION_KEYS_ENCRYPT) | ACTION_BIT(ACTION_KEYS_DECRYPT) | ACTION_BIT(ACTION_KEYS_WRAP) | \
	 ACTION_BIT(ACTION_KEYS_UNWRAP) | ACTION_BIT(ACTION_KEYS_SIGN) | ACTION_BIT(ACTION_KEYS_VERIFY))

#define KEYS_ALL                                                                                                    \
	(KEYS_USE | ACTION_BIT(ACTION_KEYS_GET) | ACTION_BIT(ACTION_KEYS_CREATE) | ACTION_BIT(ACTION_KEYS_DELETE) | \
	 ACTION_BIT(ACTION_KEYS_RECOVER) | ACTION_BIT(ACTION_KEYS_RESTORE) | ACTION_BIT(ACTION_KEYS_PURGE) |        \
	 ACTION_BIT(ACTION_KEYS_ROTATE))

#define CERTIFICATES_ALL                                                                    \
	(ACTION_BIT(ACTION_CERTIFICATES_GET) | ACTION_BIT(ACTION_CERTIFICATES_LIST) |       \
	 ACTION_BIT(ACTION_CERTIFICATES_CREATE) | ACTION_BIT(ACTION_CERTIFICATES_UPDATE) |  \
	 ACTION_BIT(ACTION_CERTIFICATES_DELETE) | ACTION_BIT(ACTION_CERTIFICATES_RECOVER) | \
	 ACTION_BIT(ACTION_CERTIFICATES_BACKUP) | ACTION_BIT(ACTION_CERTIFICATES_RESTORE) | \
	 ACTION_BIT(ACTION_CERTIFICATES_PURGE))

/* Whoever has one of these can give rights away, change what others may do, or watch who does what. Reading the list of
 * bindings or the state of the vault is not among them: it changes nothing and shows no value. */
#define POWERS                                                                                                       \
	(ACTION_BIT(ACTION_BINDINGS_CREATE) | ACTION_BIT(ACTION_BINDINGS_DELETE) | ACTION_BIT(ACTION_ROLES_CREATE) | \
	 ACTION_BIT(ACTION_VAULT_UPDATE) | ACTION_BIT(ACTION_VAULT_SEAL) | ACTION_BIT(ACTION_AUDIT_READ))

/* Ids are stored in bindings and never change meaning; a new role goes to the end. Entry i has id i + 1. */
static const struct role builtin[] = {
	{ ROLE_ADMINISTRATOR, "administrator", ACTION_ALL },
	{ 2, "reader",
	  ACTION_BIT(ACTION_SECRETS_LIST) | ACTION_BIT(ACTION_KEYS_LIST) | ACTION_BIT(ACTION_CERTIFICATES_LIST) |
		  ACTION_BIT(ACTION_BINDINGS_LIST) | ACTION_BIT(ACTION_VAULT_STATUS) |
		  ACTION_BIT(ACTION_VAULT_METRICS) },
	{ 3, "secrets-officer", SECRETS_ALL },
	{ 4, "secrets-user", ACTION_BIT(ACTION_SECRETS_GET) | ACTION_BIT(ACTION_SECRETS_LIST) },
	{ 5, "certificates-officer", CERTIFICATES_ALL },
	/* The secret and the key behind a certificate are reached through it, by certificates/get: secrets/get here
	 * would open every secret of the scope. */
	{ 6, "certificate-user", ACTION_BIT(ACTION_CERTIFICATES_GET) | ACTION_BIT(ACTION_CERTIFICATES_LIST) },
	{ 7, "crypto-officer", KEYS_ALL },
	{ 8, "crypto-user", KEYS_USE },
	{ 9, "crypto-service-encryption-user",
	  ACTION_BIT(ACTION_KEYS_LIST) | ACTION_BIT(ACTION_KEYS_WRAP) | ACTION_BIT(ACTION_KEYS_UNWRAP) },
	{ 10, "purge-operator",
	  ACTION_BIT(ACTION_SECRETS_PURGE) | ACTION_BIT(ACTION_KEYS_PURGE) | ACTION_BIT(ACTION_CERTIFICATES_PURGE) },
	{ 11, "data-access-administrator",
	  ACTION_BIT(ACTION_BINDINGS_LIST) | ACTION_BIT(ACTION_BINDINGS_CREATE) | ACTION_BIT(ACTION_BINDINGS_DELETE) },
	{ 12, "auditor",
	  ACTION_BIT(ACTION_AUDIT_READ) | ACTION_BIT(ACTION_VAULT_STATUS) | ACTION_BIT(ACTION_VAULT_METRICS) },
	{ 13, "secrets-writer", ACTION_BIT(ACTION_SECRETS_SET) | ACTION_BIT(ACTION_SECRETS_LIST) },
};

#define BUILTIN_COUNT (sizeof(builtin) / sizeof(builtin[0]))

_Static_assert(BUILTIN_COUNT < ROLE_CUSTOM_FIRST, "ids of custom roles follow those of the built-in ones");

const struct role *role_builtin(size_t *ret_n)
{
	*ret_n = BUILTIN_COUNT;
	return builtin;
}

const struct role *role_builtin_find(const char *name)
{
	for (size_t i = 0; i < BUILTIN_COUNT; i++)
		if (!strcmp(builtin[i].name, name))
			return &builtin[i];
	return NULL;
}

const struct role *role_builtin_get(uint32_t id) { return id >= 1 && id <= BUILTIN_COUNT ? &builtin[id - 1] : NULL; }

bool role_name_valid(const char *name)
{
	size_t n = 0;

	if (!(name[0] >= 'a' && name[0] <= 'z'))
		return false;
	while ((name[n] >= 'a' && name[n] <= 'z') || (name[n] >= '0' && name[n] <= '9') || name[n] == '-')
		if (++n == ROLE_NAME_MAX)
			return false;
	const struct role *known = role_builtin_find(name);
	return name[n] == '\0' && (!known || known->id >= ROLE_LATER_FIRST);
}

bool role_is_data_role(const struct role *role) { return !(role->actions & POWERS); }
