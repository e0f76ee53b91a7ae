/* What may stand in a row, and reading it. */
#include "store/core/rows.h"

#include <errno.h>
#include <string.h>

#include "policy/policy.h"
#include "store/core/catalog.h"
#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/rules_table.h"
#include "store/keys/envelope.h"

/* A column that holds a number from low to high. */
static bool in_range(const struct query *q, int i, int64_t low, int64_t high)
{
	int64_t v = column_int(q, i);

	return v >= low && v <= high;
}

int object_parse(const struct query *q, struct catalog_secret *ret_secret, int64_t *ret_last_version)
{
	const char *name = column_text(q, OBJECTS_NAME);

	if (!in_range(q, OBJECTS_ID, 1, OBJECT_ID_MAX) ||
	    !in_range(q, OBJECTS_KIND, OBJECT_SECRET, OBJECT_CERTIFICATE) ||
	    !in_range(q, OBJECTS_INCARNATION, 0, UINT32_MAX) || !in_range(q, OBJECTS_ENABLED, 0, 1) ||
	    !in_range(q, OBJECTS_LAST_VERSION, 0, UINT32_MAX) || !name || !name_valid(name) ||
	    column_null(q, OBJECTS_DELETED_AT) != column_null(q, OBJECTS_PURGE_AT) ||
	    (!column_null(q, OBJECTS_SERVED) && !in_range(q, OBJECTS_SERVED, 1, INT64_MAX)))
		return -EBADMSG;
	*ret_secret = (struct catalog_secret){
		.id = (uint32_t)column_int(q, OBJECTS_ID),
		.kind = (uint8_t)column_int(q, OBJECTS_KIND),
		.name = name,
		.enabled = column_int(q, OBJECTS_ENABLED) != 0,
		.deleted = !column_null(q, OBJECTS_DELETED_AT),
		.created = column_int(q, OBJECTS_CREATED),
		.changed = column_int(q, column_null(q, OBJECTS_DELETED_AT) ? 8 : 5),
		.purge_at = column_int(q, OBJECTS_PURGE_AT),
		.served = column_int(q, OBJECTS_SERVED), /* null is 0 */
	};
	*ret_last_version = column_int(q, OBJECTS_LAST_VERSION);
	return 0;
}

int version_parse(const struct query *q, struct catalog_version *ret_version)
{
	int64_t id = column_int(q, VERSIONS_ID);
	size_t record = 0, hash = 0;

	column_blob(q, VERSIONS_DEK_RECORD, &record);
	column_blob(q, VERSIONS_ENVELOPE_HASH, &hash);
	if (id <= 0 || VERSION_OBJECT(id) > OBJECT_ID_MAX || VERSION_NUMBER(id) == 0 ||
	    !in_range(q, VERSIONS_SIZE, 0, VALUE_MAX) || !in_range(q, VERSIONS_ENABLED, 0, 1) ||
	    (record == 0 && (hash != 0 || column_int(q, VERSIONS_ENABLED) != 0)) ||
	    !in_range(q, VERSIONS_EPOCH, 0, INT64_MAX) || !in_range(q, VERSIONS_WITHDRAWN, 0, INT64_MAX))
		return -EBADMSG;
	*ret_version = (struct catalog_version){
		.number = VERSION_NUMBER(id),
		.size = (uint32_t)column_int(q, VERSIONS_SIZE),
		.created = column_int(q, VERSIONS_CREATED),
		.not_before = column_int(q, VERSIONS_NOT_BEFORE),
		.expires = column_int(q, VERSIONS_EXPIRES),
		.enabled = column_int(q, VERSIONS_ENABLED) != 0,
		.destroyed = record == 0,
		.epoch = (uint64_t)column_int(q, VERSIONS_EPOCH), /* null is 0 */
		.withdrawn = (uint64_t)column_int(q, VERSIONS_WITHDRAWN),
	};
	return 0;
}

int binding_parse(const struct query *q, struct binding *ret_binding)
{
	const char *principal = column_text(q, BINDINGS_PRINCIPAL), *scope = column_text(q, BINDINGS_SCOPE);
	struct binding b = { 0 };

	if (!in_range(q, BINDINGS_ID, 1, INT64_MAX) || !in_range(q, BINDINGS_ROLE, 1, UINT32_MAX) || !principal ||
	    !scope || !scope_valid(scope) || principal_parse(principal, NULL, NULL, &b.principal) < 0)
		return -EBADMSG;
	b.id = (uint64_t)column_int(q, BINDINGS_ID);
	b.role = (uint32_t)column_int(q, BINDINGS_ROLE);
	memcpy(b.scope, scope, strlen(scope) + 1);
	b.from = column_int(q, BINDINGS_VALID_FROM);
	b.until = column_int(q, BINDINGS_VALID_UNTIL);
	*ret_binding = b;
	return 0;
}

int block_parse(const struct query *q, struct block *ret_block)
{
	const char *principal = column_text(q, BLOCKS_PRINCIPAL);
	struct block b = { 0 };

	if (!in_range(q, BLOCKS_ID, 1, INT64_MAX) || !principal ||
	    principal_parse(principal, NULL, NULL, &b.principal) < 0 || !block_principal_valid(&b.principal))
		return -EBADMSG;
	b.id = (uint64_t)column_int(q, BLOCKS_ID);
	*ret_block = b;
	return 0;
}

int role_parse(const struct query *q, struct role *ret_role)
{
	const char *name = column_text(q, ROLES_NAME);
	struct role role = { 0 };

	if (!in_range(q, ROLES_ID, ROLE_CUSTOM_FIRST, UINT32_MAX) || !name || !role_name_valid(name))
		return -EBADMSG;
	role.id = (uint32_t)column_int(q, ROLES_ID);
	memcpy(role.name, name, strlen(name) + 1);
	role.actions = (action_set)column_int(q, ROLES_ACTIONS);
	if (role.actions & ~ACTION_ALL)
		return -EBADMSG;
	*ret_role = role;
	return 0;
}

int settings_parse(const struct query *q, const uint8_t vault[16], const char *name,
		   struct store_settings *ret_settings)
{
	size_t len = 0;
	const void *id = column_blob(q, SETTINGS_VAULT, &len);
	const char *stored = column_text(q, SETTINGS_NAME);

	if (len != 16 || memcmp(id, vault, 16) != 0 || !stored || strcmp(stored, name) != 0 ||
	    !in_range(q, SETTINGS_RETENTION_DAYS, 7, 90) || !in_range(q, SETTINGS_PURGE_PROTECTION, 0, 1) ||
	    !in_range(q, SETTINGS_ENFORCE_VALIDITY, 0, 1) || !in_range(q, SETTINGS_VALUE_MAX, 1, VALUE_MAX))
		return -EBADMSG;
	*ret_settings = (struct store_settings){
		.retention_days = (uint32_t)column_int(q, SETTINGS_RETENTION_DAYS),
		.purge_protection = column_int(q, SETTINGS_PURGE_PROTECTION) != 0,
		.enforce_validity = column_int(q, SETTINGS_ENFORCE_VALIDITY) != 0,
		.value_max = (uint32_t)column_int(q, SETTINGS_VALUE_MAX),
	};
	return 0;
}

int grant_parse(enum row_kind kind, const struct query *q, struct policy_change *ret_change)
{
	switch ((int)kind) {
	case ROW_ROLE:
		ret_change->kind = POLICY_PUT_ROLE;
		return role_parse(q, &ret_change->role);
	case ROW_BLOCK:
		ret_change->kind = POLICY_ADD_BLOCK;
		return block_parse(q, &ret_change->block);
	default:
		ret_change->kind = POLICY_ADD_BINDING;
		return binding_parse(q, &ret_change->binding);
	}
}

uint32_t versions_current(const struct catalog_version *versions, uint32_t n)
{
	while (n > 0)
		if (versions[--n].enabled)
			return versions[n].number;
	return 0;
}

int clock_parse(const struct query *q, struct clock_row *ret_row)
{
	struct clock_row row = { .there = true,
				 .counted = column_int(q, CLOCK_COUNTED),
				 .uptime = column_int(q, CLOCK_UPTIME) };
	size_t len = 0;
	const void *boot = column_blob(q, CLOCK_BOOT, &len);

	if (row.counted < 0 || row.uptime < 0 || len != BOOT_ID_LEN)
		return -EBADMSG;
	memcpy(row.boot, boot, BOOT_ID_LEN);
	*ret_row = row;
	return 0;
}

static bool printable(const char *text, size_t room)
{
	size_t n = strnlen(text, room);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return n < room;
}

/* Whatever the words are, a program is named by its whole path: nothing is looked for. */
static bool command_valid(const char *command, uint32_t user, uint32_t timeout)
{
	return command[0] == '/' && printable(command, HOOK_COMMAND_MAX) && user != UINT32_MAX && timeout >= 1 &&
	       timeout <= HOOK_TIMEOUT_MAX;
}

bool rotation_valid(const struct rotation *p)
{
	const bool rotates = p->action == ROTATION_ROTATE;

	if (!memchr(p->scope, '\0', sizeof p->scope) || !scope_valid(p->scope) ||
	    (!rotates && p->action != ROTATION_NOTIFY))
		return false;
	if ((p->every == 0) == (p->before == 0) || p->every < 0 || p->before < 0 || p->expiry < 0)
		return false;
	if ((p->every && p->every < ROTATION_LEAST_NS) || (p->before && p->before < ROTATION_LEAST_NS) ||
	    (p->expiry && p->expiry < EXPIRY_LEAST_NS))
		return false;
	/* a version that is due as soon as it is made would be rotated for ever */
	if (p->expiry && p->before && p->expiry - p->before < ROTATION_LEAST_NS)
		return false;
	if (!rotates)
		return !p->generator[0] && !p->command[0];
	if (!printable(p->generator, sizeof p->generator) || (p->generator[0] != 0) == (p->command[0] != 0))
		return false;
	return p->generator[0] || command_valid(p->command, p->user, p->timeout);
}

bool hook_valid(const struct hook *h)
{
	return memchr(h->scope, '\0', sizeof h->scope) && scope_valid(h->scope) && h->events &&
	       !(h->events & ~EVENTS_ALL) && !(h->events & EVENT_BIT(EVENT_HOOK_FAILED)) &&
	       h->debounce <= HOOK_DEBOUNCE_MAX && command_valid(h->command, h->user, h->timeout);
}

bool rule_take_text(const struct query *q, int i, char *ret, size_t room)
{
	const char *text = column_text(q, i);
	size_t n = text ? strlen(text) : room;

	if (n >= room)
		return false;
	memcpy(ret, text, n + 1);
	return true;
}

bool rule_take_u32(const struct query *q, int i, uint32_t *ret)
{
	int64_t v = column_int(q, i);

	*ret = (uint32_t)v;
	return v >= 0 && v <= UINT32_MAX;
}

int rotation_parse(const struct query *q, struct rotation *ret)
{
	struct rotation p = { .id = (uint64_t)column_int(q, ROTATIONS_ID),
			      .every = column_int(q, ROTATIONS_EVERY),
			      .before = column_int(q, ROTATIONS_BEFORE),
			      .expiry = column_int(q, ROTATIONS_EXPIRY),
			      .created = column_int(q, ROTATIONS_CREATED) };
	uint32_t action = 0;

	if (column_int(q, ROTATIONS_ID) < 1 || !rule_take_text(q, ROTATIONS_SCOPE, p.scope, sizeof p.scope) ||
	    !rule_take_u32(q, ROTATIONS_ACTION, &action) ||
	    !rule_take_text(q, ROTATIONS_GENERATOR, p.generator, sizeof p.generator) ||
	    !rule_take_text(q, ROTATIONS_COMMAND, p.command, sizeof p.command) ||
	    !rule_take_u32(q, ROTATIONS_USER, &p.user) || !rule_take_u32(q, ROTATIONS_TIMEOUT, &p.timeout) ||
	    !rule_take_u32(q, ROTATIONS_CREATED_BY, &p.created_by))
		return -EBADMSG;
	p.action = (enum rotation_action)action;
	if (!rotation_valid(&p))
		return -EBADMSG;
	*ret = p;
	return 0;
}

int hook_parse(const struct query *q, struct hook *ret)
{
	struct hook h = { .id = (uint64_t)column_int(q, HOOKS_ID), .created = column_int(q, HOOKS_CREATED) };

	if (column_int(q, HOOKS_ID) < 1 || !rule_take_text(q, HOOKS_SCOPE, h.scope, sizeof h.scope) ||
	    !rule_take_u32(q, HOOKS_EVENTS, &h.events) ||
	    !rule_take_text(q, HOOKS_COMMAND, h.command, sizeof h.command) || !rule_take_u32(q, HOOKS_USER, &h.user) ||
	    !rule_take_u32(q, HOOKS_DEBOUNCE, &h.debounce) || !rule_take_u32(q, HOOKS_TIMEOUT, &h.timeout) ||
	    !rule_take_u32(q, HOOKS_CREATED_BY, &h.created_by) || !hook_valid(&h))
		return -EBADMSG;
	*ret = h;
	return 0;
}

int notice_parse(const struct query *q, uint32_t *ret_near_days)
{
	int64_t days = column_int(q, NOTICES_NEAR_DAYS);

	if (days < 1 || days > NEAR_EXPIRY_DAYS_MAX)
		return -EBADMSG;
	*ret_near_days = (uint32_t)days;
	return 0;
}

bool history_valid(const struct history *h)
{
	return memchr(h->scope, '\0', sizeof h->scope) && scope_valid(h->scope) && (h->versions || h->span) &&
	       h->versions <= HISTORY_VERSIONS_MAX && h->span >= 0 && h->span <= HISTORY_SPAN_MAX &&
	       (!h->span || h->span >= HISTORY_SPAN_LEAST);
}

int history_parse(const struct query *q, struct history *ret)
{
	struct history h = { .id = (uint64_t)column_int(q, HISTORIES_ID),
			     .span = column_int(q, HISTORIES_SPAN),
			     .created = column_int(q, HISTORIES_CREATED),
			     .counted = column_int(q, HISTORIES_COUNTED) };

	if (column_int(q, HISTORIES_ID) < 1 || h.counted < 0 ||
	    !rule_take_text(q, HISTORIES_SCOPE, h.scope, sizeof h.scope) ||
	    !rule_take_u32(q, HISTORIES_VERSIONS, &h.versions) ||
	    !rule_take_u32(q, HISTORIES_CREATED_BY, &h.created_by) || !history_valid(&h))
		return -EBADMSG;
	*ret = h;
	return 0;
}
