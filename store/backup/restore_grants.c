#include <errno.h>
#include <string.h>

#include "policy/binding.h"
#include "policy/role.h"
#include "store/backup/restore_common.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/rows.h"
#include "store/core/settings.h"
#include "store/grants/grants.h"

int restore_settings(struct restore *r, struct fields *f)
{
	const struct restore_item item = { .kind = RESTORE_ITEM_SETTINGS };
	struct store_settings settings = r->s->transaction.settings;
	int e;

	field_u32(f); /* retention is fixed when a vault is made */
	bool protection = field_u8(f) != 0, enforce = field_u8(f) != 0;
	uint32_t value_max = field_u32(f);
	if (fields_end(f) < 0 || value_max < 1 || value_max > VALUE_MAX)
		return restore_damaged(r, "settings that cannot be");
	r->seen.settings++;
	if (!r->options->grants)
		return 0;
	e = restore_ask(r, &item);
	if (e < 0)
		return e;
	settings.purge_protection |= protection;
	settings.enforce_validity = enforce;
	settings.value_max = value_max;
	e = store_settings_put(r->s, &settings);
	r->counts.settings = e == 0;
	return e;
}

static int parse_actions(char *text, action_set *ret_actions)
{
	action_set all = 0;
	enum action one;
	char *rest = NULL;

	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (action_parse(word, &one) < 0)
			return -EBADMSG;
		all |= ACTION_BIT(one);
	}
	*ret_actions = all;
	return 0;
}

/* The custom role of this name, in the transaction: 1, 0: none. */
static int find_custom_role(struct restore *r, const char *name, struct role *ret_role)
{
	struct query q = db_query(r->s->write, "SELECT id, name, actions FROM roles WHERE name = ?");
	int e;

	query_text(&q, name);
	e = query_step(&q);
	if (e > 0)
		e = role_parse(&q, ret_role) < 0 ? -EBADMSG : 1;
	query_end(&q);
	return e;
}

static int find_role(struct restore *r, const char *name, struct role *ret_role)
{
	const struct role *builtin = role_builtin_find(name);
	int e = builtin && builtin->id < ROLE_LATER_FIRST ? 0 : find_custom_role(r, name, ret_role);

	if (e != 0 || !builtin)
		return e;
	*ret_role = *builtin;
	return 1;
}

int restore_role(struct restore *r, struct fields *f)
{
	char name[ROLE_NAME_MAX], actions[4096];
	struct restore_item item = { .kind = RESTORE_ITEM_ROLE, .name = name };
	struct role there;
	uint32_t id;
	int e;

	if (!field_text(f, name, sizeof name) || !field_text(f, actions, sizeof actions) || fields_end(f) < 0 ||
	    !role_name_valid(name) || parse_actions(actions, &item.actions) < 0)
		return restore_damaged(r, "a role that cannot be");
	r->seen.roles++;
	if (!r->options->grants)
		return 0;
	e = find_role(r, name, &there);
	if (e < 0)
		return e;
	if (e > 0 && there.actions == item.actions)
		return 0;
	if (e > 0) {
		store_why(r->why, r->why_len,
			  "there is a role %s with other actions: its bindings would mean something else", name);
		return -EEXIST;
	}
	e = restore_ask(r, &item);
	if (e == 0)
		e = store_role_put(r->s, name, item.actions, &id);
	r->counts.roles += e == 0;
	return e;
}

/* Is there a binding that says the same? */
static int binding_there(struct restore *r, const struct binding *b, const char *principal)
{
	struct query q = db_query(r->s->write, "SELECT 1 FROM bindings WHERE role = ? AND principal = ? AND scope = ? "
					       "AND valid_from = ? AND valid_until = ?");
	int e;

	query_int(&q, b->role);
	query_text(&q, principal);
	query_text(&q, b->scope);
	query_int(&q, b->from);
	query_int(&q, b->until);
	e = query_step(&q);
	query_end(&q);
	return e;
}

int restore_binding(struct restore *r, struct fields *f)
{
	char role_name[ROLE_NAME_MAX], principal[PRINCIPAL_TEXT_MAX], canonical[PRINCIPAL_TEXT_MAX], reason[2048],
		by[512];
	struct binding b = { 0 };
	struct restore_item item = { .kind = RESTORE_ITEM_BINDING, .name = role_name, .binding = &b };
	struct role role;
	uint64_t id;
	int e;

	bool has_role = field_text(f, role_name, sizeof role_name),
	     has_principal = field_text(f, principal, sizeof principal);
	bool has_scope = field_text(f, b.scope, sizeof b.scope);
	b.from = (int64_t)field_u64(f);
	b.until = (int64_t)field_u64(f);
	bool has_reason = field_text(f, reason, sizeof reason), has_by = field_text(f, by, sizeof by);
	field_u64(f); /* a binding begins to be here when it is restored */
	if (!has_role || !has_principal || !has_scope || fields_end(f) < 0 || !scope_valid(b.scope) ||
	    b.until <= b.from || !restore_text_valid(reason) || !restore_text_valid(by) ||
	    principal_parse(principal, NULL, NULL, &b.principal) < 0)
		return restore_damaged(r, "a binding that cannot be");
	r->seen.bindings++;
	if (!r->options->grants)
		return 0;
	e = find_role(r, role_name, &role);
	if (e < 0)
		return e;
	if (e == 0)
		return restore_damaged(r, "a binding of a role that is not in it");
	b.role = role.id;
	item.actions = role.actions;
	principal_print(&b.principal, canonical);
	e = binding_there(r, &b, canonical);
	if (e != 0)
		return e < 0 ? e : 0;
	e = restore_ask(r, &item);
	if (e == 0)
		e = store_binding_add(r->s, &b, has_reason ? reason : NULL, has_by ? by : NULL, &id);
	r->counts.bindings += e == 0;
	return e;
}

int restore_block(struct restore *r, struct fields *f)
{
	char principal[PRINCIPAL_TEXT_MAX], reason[2048], by[512];
	const struct restore_item item = { .kind = RESTORE_ITEM_BLOCK, .name = principal };
	struct principal parsed;
	uint64_t id;
	int e;

	bool has_principal = field_text(f, principal, sizeof principal),
	     has_reason = field_text(f, reason, sizeof reason), has_by = field_text(f, by, sizeof by);
	if (!has_principal || fields_end(f) < 0 || principal_parse(principal, NULL, NULL, &parsed) < 0 ||
	    !restore_text_valid(reason) || !restore_text_valid(by))
		return restore_damaged(r, "a block that cannot be");
	r->seen.blocks++;
	if (!r->options->grants)
		return 0;
	e = restore_ask(r, &item);
	if (e == 0)
		e = store_block_add(r->s, &parsed, has_reason ? reason : NULL, has_by ? by : NULL, &id);
	if (e == -EBUSY)
		store_why(r->why, r->why_len, "blocking %s, as in the backup, would leave this vault no administrator",
			  principal);
	r->counts.blocks += e == 0;
	return e == -EEXIST ? 0 : e;
}

int restore_recipient(struct restore *r, struct fields *f)
{
	struct restore_item item = { .kind = RESTORE_ITEM_RECIPIENT };
	struct recipient new = { 0 };
	const uint8_t *key;
	int e;

	bool named = field_text(f, new.name, sizeof new.name);
	key = field_bytes(f, CURVE_LEN);
	if (key)
		memcpy(new.key, key, CURVE_LEN);
	new.created = (int64_t)field_u64(f);
	field_text(f, new.created_by, sizeof new.created_by);
	if (!named || fields_end(f) < 0 || !vault_name_valid(new.name) || !restore_text_valid(new.created_by))
		return restore_damaged(r, "a recipient that cannot be");
	r->seen.recipients++;
	if (!r->options->grants)
		return 0;
	item.name = new.name;
	e = restore_ask(r, &item);
	if (e == 0)
		e = recipient_insert(r->s, &new);
	r->counts.recipients += e == 0;
	return e == -EEXIST ? 0 : e; /* the one that is there was registered here, and stays */
}
