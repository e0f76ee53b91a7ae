#include "policy/action.h"

#include <errno.h>
#include <string.h>

/* Stored roles keep these names, not the numbers: the enum may be reordered, a name may not change. */
static const char *const names[ACTION_COUNT] = {
	[ACTION_SECRETS_GET] = "secrets/get",
	[ACTION_SECRETS_LIST] = "secrets/list",
	[ACTION_SECRETS_SET] = "secrets/set",
	[ACTION_SECRETS_UPDATE] = "secrets/update",
	[ACTION_SECRETS_DELETE] = "secrets/delete",
	[ACTION_SECRETS_RECOVER] = "secrets/recover",
	[ACTION_SECRETS_BACKUP] = "secrets/backup",
	[ACTION_SECRETS_RESTORE] = "secrets/restore",
	[ACTION_SECRETS_PURGE] = "secrets/purge",

	[ACTION_KEYS_GET] = "keys/get",
	[ACTION_KEYS_LIST] = "keys/list",
	[ACTION_KEYS_CREATE] = "keys/create",
	[ACTION_KEYS_UPDATE] = "keys/update",
	[ACTION_KEYS_DELETE] = "keys/delete",
	[ACTION_KEYS_RECOVER] = "keys/recover",
	[ACTION_KEYS_BACKUP] = "keys/backup",
	[ACTION_KEYS_RESTORE] = "keys/restore",
	[ACTION_KEYS_PURGE] = "keys/purge",
	[ACTION_KEYS_ENCRYPT] = "keys/encrypt",
	[ACTION_KEYS_DECRYPT] = "keys/decrypt",
	[ACTION_KEYS_WRAP] = "keys/wrap",
	[ACTION_KEYS_UNWRAP] = "keys/unwrap",
	[ACTION_KEYS_SIGN] = "keys/sign",
	[ACTION_KEYS_VERIFY] = "keys/verify",
	[ACTION_KEYS_ROTATE] = "keys/rotate",

	[ACTION_CERTIFICATES_GET] = "certificates/get",
	[ACTION_CERTIFICATES_LIST] = "certificates/list",
	[ACTION_CERTIFICATES_CREATE] = "certificates/create",
	[ACTION_CERTIFICATES_UPDATE] = "certificates/update",
	[ACTION_CERTIFICATES_DELETE] = "certificates/delete",
	[ACTION_CERTIFICATES_RECOVER] = "certificates/recover",
	[ACTION_CERTIFICATES_BACKUP] = "certificates/backup",
	[ACTION_CERTIFICATES_RESTORE] = "certificates/restore",
	[ACTION_CERTIFICATES_PURGE] = "certificates/purge",

	[ACTION_BINDINGS_LIST] = "bindings/list",
	[ACTION_BINDINGS_CREATE] = "bindings/create",
	[ACTION_BINDINGS_DELETE] = "bindings/delete",
	[ACTION_ROLES_CREATE] = "roles/create",

	[ACTION_VAULT_UPDATE] = "vault/update",
	[ACTION_VAULT_SEAL] = "vault/seal",
	[ACTION_VAULT_STATUS] = "vault/status",
	[ACTION_VAULT_METRICS] = "vault/metrics",
	[ACTION_AUDIT_READ] = "audit/read",
};

const char *action_name(enum action a) { return (unsigned)a < ACTION_COUNT ? names[a] : "unknown"; }

int action_parse(const char *name, enum action *ret_action)
{
	for (unsigned i = 0; i < ACTION_COUNT; i++) {
		if (!strcmp(names[i], name)) {
			*ret_action = (enum action)i;
			return 0;
		}
	}
	return -EINVAL;
}

int action_set_parse(const char *name, action_set *ret_set)
{
	enum action one;
	action_set set = 0;

	if (!action_parse(name, &one)) {
		*ret_set = ACTION_BIT(one);
		return 0;
	}
	const char *slash = strchr(name, '/');
	if (!slash || strcmp(slash, "/*") != 0)
		return -EINVAL;
	size_t noun = (size_t)(slash - name) + 1; /* with the slash, so that "secret" is not "secrets" */
	for (unsigned i = 0; i < ACTION_COUNT; i++)
		if (!strncmp(names[i], name, noun))
			set |= ACTION_BIT(i);
	if (!set)
		return -EINVAL;
	*ret_set = set;
	return 0;
}
