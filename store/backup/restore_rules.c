#include <errno.h>
#include <string.h>

#include "store/backup/restore_common.h"
#include "store/core/database.h"
#include "store/core/rows.h"
#include "store/core/rules_table.h"
#include "store/crypto/generate.h"
#include "store/lifecycle/history.h"
#include "store/lifecycle/rules.h"

/* Has the scope a policy? It was set here, and stays. */
static bool rotation_there(struct store *s, const struct rotation *p)
{
	const struct rules *rules;
	bool there = false;

	store_rdlock(s);
	rules = store_rules(s);
	for (size_t i = 0; i < rules->n_rotations; i++)
		there |= !strcmp(rules->rotations[i].scope, p->scope);
	store_unlock_tables(s);
	return there;
}

/* Is there a hook that does the same? */
static bool hook_there(struct store *s, const struct hook *h)
{
	const struct rules *rules;
	bool there = false;

	store_rdlock(s);
	rules = store_rules(s);
	for (size_t i = 0; i < rules->n_hooks; i++) {
		const struct hook *one = &rules->hooks[i];
		there |= !strcmp(one->scope, h->scope) && one->events == h->events &&
			 !strcmp(one->command, h->command) && one->user == h->user;
	}
	store_unlock_tables(s);
	return there;
}

static uint32_t near_days_there(struct store *s)
{
	uint32_t days;

	store_rdlock(s);
	days = store_rules(s)->near_days;
	store_unlock_tables(s);
	return days;
}

static int rules_result(struct restore *r, int e, const char *what)
{
	if (e == -EINVAL)
		return restore_damaged(r, "a rule that cannot be");
	if (e == -E2BIG)
		store_why(r->why, r->why_len, "with those of the backup there would be more than %u %s", RULES_MAX,
			  what);
	return e;
}

static bool command_text_valid(const char *command, const char *generator)
{
	struct generator g;

	return restore_text_valid(command) && (!generator[0] || generator_parse(generator, &g) == 0);
}

int restore_rotation(struct restore *r, struct fields *f)
{
	struct rotation p = { 0 };
	struct restore_item item = { .kind = RESTORE_ITEM_ROTATION, .name = p.scope };
	uint64_t id;
	int e;

	bool scoped = field_text(f, p.scope, sizeof p.scope);
	p.action = (enum rotation_action)field_u8(f);
	p.every = (int64_t)field_u64(f);
	p.before = (int64_t)field_u64(f);
	p.expiry = (int64_t)field_u64(f);
	bool has_generator = field_text(f, p.generator, sizeof p.generator),
	     has_command = field_text(f, p.command, sizeof p.command);
	p.user = field_u32(f);
	p.timeout = field_u32(f);
	p.created_by = field_u32(f);
	field_u64(f); /* it begins to be here when it is restored */
	if (!scoped || !has_generator || !has_command || fields_end(f) < 0 || !rotation_valid(&p) ||
	    !command_text_valid(p.command, p.generator))
		return restore_damaged(r, "a rotation policy that cannot be");
	r->seen.rotations++;
	if (!r->options->grants || rotation_there(r->s, &p))
		return 0;
	item.command = p.command[0] ? p.command : NULL;
	item.user = p.user;
	e = restore_ask(r, &item);
	if (e == 0)
		e = store_rotation_put(r->s, &p, &id);
	r->counts.rotations += e == 0;
	return rules_result(r, e, "rotation policies");
}

int restore_hook(struct restore *r, struct fields *f)
{
	struct hook h = { 0 };
	struct restore_item item = { .kind = RESTORE_ITEM_HOOK, .name = h.scope, .command = h.command };
	uint64_t id;
	int e;

	bool scoped = field_text(f, h.scope, sizeof h.scope);
	h.events = field_u32(f);
	bool has_command = field_text(f, h.command, sizeof h.command);
	h.user = field_u32(f);
	h.debounce = field_u32(f);
	h.timeout = field_u32(f);
	h.created_by = field_u32(f);
	field_u64(f);
	if (!scoped || !has_command || fields_end(f) < 0 || !hook_valid(&h) || !restore_text_valid(h.command))
		return restore_damaged(r, "a hook that cannot be");
	r->seen.hooks++;
	if (!r->options->grants || hook_there(r->s, &h))
		return 0;
	item.user = h.user;
	e = restore_ask(r, &item);
	if (e == 0)
		e = store_hook_add(r->s, &h, &id);
	r->counts.hooks += e == 0;
	return rules_result(r, e, "hooks");
}

int restore_notice(struct restore *r, struct fields *f)
{
	const struct restore_item item = { .kind = RESTORE_ITEM_SETTINGS };
	uint32_t days = field_u32(f);
	int e;

	if (fields_end(f) < 0 || days < 1 || days > NEAR_EXPIRY_DAYS_MAX)
		return restore_damaged(r, "near-expiry days that cannot be");
	r->seen.notices++;
	if (!r->options->grants || near_days_there(r->s) == days)
		return 0;
	e = restore_ask(r, &item);
	if (e == 0)
		e = store_near_expiry_put(r->s, days);
	r->counts.settings |= e == 0;
	return e;
}

/* Has the scope a rule? It was set here, and stays. */
static bool history_there(struct store *s, const char *scope)
{
	const struct rules *rules;
	bool there = false;

	store_rdlock(s);
	rules = store_rules(s);
	for (size_t i = 0; i < rules->n_histories; i++)
		there |= !strcmp(rules->histories[i].scope, scope);
	store_unlock_tables(s);
	return there;
}

int restore_history(struct restore *r, struct fields *f)
{
	struct history h = { 0 };
	const struct restore_item item = { .kind = RESTORE_ITEM_HISTORY, .name = h.scope };
	bool scoped = field_text(f, h.scope, sizeof h.scope);
	uint64_t id;
	int e;

	h.versions = field_u32(f);
	h.span = (int64_t)field_u64(f);
	h.created_by = field_u32(f);
	field_u64(f); /* it begins to be here when it is restored */
	if (!scoped || fields_end(f) < 0 || !history_valid(&h))
		return restore_damaged(r, "a history rule that cannot be");
	r->seen.histories++;
	if (!r->options->grants || history_there(r->s, h.scope))
		return 0;
	e = restore_ask(r, &item);
	if (e == 0)
		e = store_history_put(r->s, &h, &id);
	r->counts.histories += e == 0;
	return rules_result(r, e, "history rules");
}
