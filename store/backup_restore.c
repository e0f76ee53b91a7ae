/* From a backup into a vault: within one transaction of the caller's, so that all of it is there or nothing. The signature over the whole stream is verified before a record
 * is looked at: what is parsed here was written by a vault that the caller named. All the same nothing in it is believed that could be asked of the vault again: names, scopes,
 * principals, roles and times pass through the parsers that everything passes through. */
#include "store/backup_reader.h"
#include "store/internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/generate.h"

#define BATCH_BYTES (1u << 20)	/* of envelopes that wait for their keys */
#define TAGS_TEXT_MAX (256u << 10)

struct pending {
	uint32_t object, number, size;
	int64_t created, not_before, expires;
	bool enabled;
	char *content_type, *tags;
	uint8_t *envelope;
	size_t len;			/* 0: the version was destroyed */
};

struct restore {
	struct store *s;
	const struct restore_options *options;
	struct backup_reader *reader;
	const struct backup_header *header;
	struct restore_counts counts;
	struct backup_counts seen;
	struct keys_item *items;
	struct pending *pending;
	size_t n_pending, pending_bytes;
	enum record_type last_type;
	/* the object whose versions come */
	uint64_t was;			/* its id there */
	uint32_t object;		/* and here; 0: it is skipped */
	uint32_t base;			/* what is added to its versions' numbers */
	uint32_t last_number;		/* of the version before, there */
	uint32_t last_version;		/* what the object's row said */
	char name[NAME_LEN_MAX + 1];	/* whose new version is to be told of: */
	uint32_t told;			/* the one that current serves, else the last; 0: none */
	bool told_enabled, deleted;
	bool clocked;			/* the vault's clock was written, and shows: */
	int64_t counted;
	int64_t kek;			/* row of the KEK; 0: not asked yet */
	uint8_t kek_id[KEK_ID_LEN];
	char *why;
	size_t why_len;
};

static int damaged(struct restore *r, const char *what)
{
	store_why(r->why, r->why_len, "the backup is damaged: %s", what);
	return -EBADMSG;
}

static int ask(struct restore *r, const struct restore_item *item)
{
	return r->options->ask ? r->options->ask(item, r->options->arg) : 0;
}

/* ---- roles, bindings, recipients, settings ---- */

static int restore_settings(struct restore *r, struct fields *f)
{
	const struct restore_item item = { .kind = RESTORE_ITEM_SETTINGS };
	struct store_settings settings = r->s->transaction.settings;
	int e;

	field_u32(f);	/* retention is fixed when a vault is made */
	bool protection = field_u8(f) != 0, enforce = field_u8(f) != 0;
	uint32_t value_max = field_u32(f);
	if (fields_end(f) < 0 || value_max < 1 || value_max > VALUE_MAX)
		return damaged(r, "settings that cannot be");
	r->seen.settings++;
	if (!r->options->grants)
		return 0;
	e = ask(r, &item);
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

/* What a person wrote, as a request would have had to bring it: UTF-8 without control characters. Else no answer that quotes it could be made. */
static bool text_valid(const char *text)
{
	json_t *checked = json_string(text);
	bool valid = checked != NULL;

	json_decref(checked);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		valid &= *p >= 0x20 && *p != 0x7f && !(p[0] == 0xc2 && p[1] < 0xa0);
	return valid;
}

/* A moment that a clock has shown: what is counted from it stays within 64 bits. */
#define MOMENT_MAX (INT64_MAX / 2)	/* in the year 2116 */

static bool moment_valid(int64_t ns)
{
	return ns >= 0 && ns <= MOMENT_MAX;
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

	if (builtin) {
		*ret_role = *builtin;
		return 1;
	}
	return find_custom_role(r, name, ret_role);
}

static int restore_role(struct restore *r, struct fields *f)
{
	char name[ROLE_NAME_MAX], actions[4096];
	struct restore_item item = { .kind = RESTORE_ITEM_ROLE, .name = name };
	struct role there;
	uint32_t id;
	int e;

	if (!field_text(f, name, sizeof name) || !field_text(f, actions, sizeof actions) || fields_end(f) < 0 || !role_name_valid(name) ||
	    parse_actions(actions, &item.actions) < 0)
		return damaged(r, "a role that cannot be");
	r->seen.roles++;
	if (!r->options->grants)
		return 0;
	e = find_role(r, name, &there);
	if (e < 0)
		return e;
	if (e > 0 && there.actions == item.actions)
		return 0;
	if (e > 0) {
		store_why(r->why, r->why_len, "there is a role %s with other actions: its bindings would mean something else", name);
		return -EEXIST;
	}
	e = ask(r, &item);
	if (e == 0)
		e = store_role_put(r->s, name, item.actions, &id);
	r->counts.roles += e == 0;
	return e;
}

/* Is there a binding that says the same? */
static int binding_there(struct restore *r, const struct binding *b, const char *principal)
{
	struct query q = db_query(r->s->write, "SELECT 1 FROM bindings WHERE role = ? AND principal = ? AND scope = ? AND valid_from = ? AND valid_until = ?");
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

static int restore_binding(struct restore *r, struct fields *f)
{
	char role_name[ROLE_NAME_MAX], principal[PRINCIPAL_TEXT_MAX], canonical[PRINCIPAL_TEXT_MAX], reason[2048], by[512];
	struct binding b = { 0 };
	struct restore_item item = { .kind = RESTORE_ITEM_BINDING, .name = role_name, .binding = &b };
	struct role role;
	uint64_t id;
	int e;

	bool has_role = field_text(f, role_name, sizeof role_name), has_principal = field_text(f, principal, sizeof principal);
	bool has_scope = field_text(f, b.scope, sizeof b.scope);
	b.from = (int64_t)field_u64(f);
	b.until = (int64_t)field_u64(f);
	bool has_reason = field_text(f, reason, sizeof reason), has_by = field_text(f, by, sizeof by);
	field_u64(f);	/* a binding begins to be here when it is restored */
	if (!has_role || !has_principal || !has_scope || fields_end(f) < 0 || !scope_valid(b.scope) || b.until <= b.from || !text_valid(reason) || !text_valid(by) ||
	    principal_parse(principal, NULL, NULL, &b.principal) < 0)
		return damaged(r, "a binding that cannot be");
	r->seen.bindings++;
	if (!r->options->grants)
		return 0;
	e = find_role(r, role_name, &role);
	if (e < 0)
		return e;
	if (e == 0)
		return damaged(r, "a binding of a role that is not in it");
	b.role = role.id;
	item.actions = role.actions;
	principal_print(&b.principal, canonical);
	e = binding_there(r, &b, canonical);
	if (e != 0)
		return e < 0 ? e : 0;
	e = ask(r, &item);
	if (e == 0)
		e = store_binding_add(r->s, &b, has_reason ? reason : NULL, has_by ? by : NULL, &id);
	r->counts.bindings += e == 0;
	return e;
}

static int restore_block(struct restore *r, struct fields *f)
{
	char principal[PRINCIPAL_TEXT_MAX], reason[2048], by[512];
	const struct restore_item item = { .kind = RESTORE_ITEM_BLOCK, .name = principal };
	struct principal parsed;
	uint64_t id;
	int e;

	bool has_principal = field_text(f, principal, sizeof principal), has_reason = field_text(f, reason, sizeof reason), has_by = field_text(f, by, sizeof by);
	if (!has_principal || fields_end(f) < 0 || principal_parse(principal, NULL, NULL, &parsed) < 0 || !text_valid(reason) || !text_valid(by))
		return damaged(r, "a block that cannot be");
	r->seen.blocks++;
	if (!r->options->grants)
		return 0;
	e = ask(r, &item);
	if (e == 0)
		e = store_block_add(r->s, &parsed, has_reason ? reason : NULL, has_by ? by : NULL, &id);
	if (e == -EBUSY)
		store_why(r->why, r->why_len, "blocking %s, as in the backup, would leave this vault no administrator", principal);
	r->counts.blocks += e == 0;
	return e == -EEXIST ? 0 : e;
}

static int restore_recipient(struct restore *r, struct fields *f)
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
	if (!named || fields_end(f) < 0 || !vault_name_valid(new.name) || !text_valid(new.created_by))
		return damaged(r, "a recipient that cannot be");
	r->seen.recipients++;
	if (!r->options->grants)
		return 0;
	item.name = new.name;
	e = ask(r, &item);
	if (e == 0)
		e = recipient_insert(r->s, &new);
	r->counts.recipients += e == 0;
	return e == -EEXIST ? 0 : e;	/* the one that is there was registered here, and stays */
}

/* ---- rotation policies, hooks, days ---- */

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
		there |= !strcmp(one->scope, h->scope) && one->events == h->events && !strcmp(one->command, h->command) && one->user == h->user;
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
		return damaged(r, "a rule that cannot be");
	if (e == -E2BIG)
		store_why(r->why, r->why_len, "with those of the backup there would be more than %u %s", RULES_MAX, what);
	return e;
}

static bool command_text_valid(const char *command, const char *generator)
{
	struct generator g;

	return text_valid(command) && (!generator[0] || generator_parse(generator, &g) == 0);
}

static int restore_rotation(struct restore *r, struct fields *f)
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
	bool has_generator = field_text(f, p.generator, sizeof p.generator), has_command = field_text(f, p.command, sizeof p.command);
	p.user = field_u32(f);
	p.timeout = field_u32(f);
	p.created_by = field_u32(f);
	field_u64(f);	/* it begins to be here when it is restored */
	if (!scoped || !has_generator || !has_command || fields_end(f) < 0 || !rotation_valid(&p) || !command_text_valid(p.command, p.generator))
		return damaged(r, "a rotation policy that cannot be");
	r->seen.rotations++;
	if (!r->options->grants || rotation_there(r->s, &p))
		return 0;
	item.command = p.command[0] ? p.command : NULL;
	item.user = p.user;
	e = ask(r, &item);
	if (e == 0)
		e = store_rotation_put(r->s, &p, &id);
	r->counts.rotations += e == 0;
	return rules_result(r, e, "rotation policies");
}

static int restore_hook(struct restore *r, struct fields *f)
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
	if (!scoped || !has_command || fields_end(f) < 0 || !hook_valid(&h) || !text_valid(h.command))
		return damaged(r, "a hook that cannot be");
	r->seen.hooks++;
	if (!r->options->grants || hook_there(r->s, &h))
		return 0;
	item.user = h.user;
	e = ask(r, &item);
	if (e == 0)
		e = store_hook_add(r->s, &h, &id);
	r->counts.hooks += e == 0;
	return rules_result(r, e, "hooks");
}

static int restore_notice(struct restore *r, struct fields *f)
{
	const struct restore_item item = { .kind = RESTORE_ITEM_SETTINGS };
	uint32_t days = field_u32(f);
	int e;

	if (fields_end(f) < 0 || days < 1 || days > NEAR_EXPIRY_DAYS_MAX)
		return damaged(r, "near-expiry days that cannot be");
	r->seen.notices++;
	if (!r->options->grants || near_days_there(r->s) == days)
		return 0;
	e = ask(r, &item);
	if (e == 0)
		e = store_near_expiry_put(r->s, days);
	r->counts.settings |= e == 0;
	return e;
}

/* ---- secrets ---- */

struct object {
	uint64_t id;
	uint8_t kind;
	char name[NAME_LEN_MAX + 1];
	bool enabled, deleted;
	int64_t deleted_at, created, changed;
	uint32_t last_version;
};

static int parse_object(struct restore *r, struct fields *f, struct object *ret)
{
	struct object o = { .id = field_u64(f), .kind = field_u8(f) };
	bool named = field_text(f, o.name, sizeof o.name);

	o.enabled = field_u8(f) != 0;
	o.deleted = field_u8(f) != 0;
	o.deleted_at = (int64_t)field_u64(f);
	field_u64(f);	/* when it was to be purged: see insert_object */
	o.created = (int64_t)field_u64(f);
	o.changed = (int64_t)field_u64(f);
	o.last_version = field_u32(f);
	if (!named || fields_end(f) < 0 || !name_valid(o.name) || o.id == 0 || o.id > OBJECT_ID_MAX || o.kind < OBJECT_SECRET || o.kind > OBJECT_CERTIFICATE ||
	    !moment_valid(o.created) || !moment_valid(o.changed) || !moment_valid(o.deleted_at))
		return damaged(r, "a secret that cannot be");
	*ret = o;
	return 0;
}

/* What is deleted stays so, and is kept for as long as this vault keeps what is deleted, from now on: a backup that is old must not bring back what is purged at once. */
static int insert_object(struct restore *r, const struct object *o)
{
	struct store *s = r->s;
	struct transaction *t = &s->transaction;
	struct change change;
	struct query q;
	int64_t purge_at = 0;
	int e = 0;

	if (t->head.next_object > OBJECT_ID_MAX)
		return -EOVERFLOW;
	if (o->deleted && !r->clocked)
		e = clock_write(s, &r->counted);
	if (e < 0)
		return transaction_fail(s, e);
	r->clocked |= o->deleted;
	purge_at = r->counted + RETENTION_NS(&t->settings);
	change = row_new(ROW_OBJECT, t->head.next_object);
	q = db_query(s->write, "INSERT INTO objects(id, kind, name, incarnation, enabled, deleted_at, purge_at, created, changed, last_version, mac)"
			       " VALUES(?, ?, ?, 1, ?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, change.row);
	query_int(&q, o->kind);
	query_text(&q, o->name);
	query_int(&q, o->enabled);
	query_null_or_int(&q, o->deleted ? &o->deleted_at : NULL);
	query_null_or_int(&q, o->deleted ? &purge_at : NULL);
	query_int(&q, o->created);
	query_int(&q, o->changed);
	query_int(&q, o->last_version);
	e = query_run(&q);
	if (e < 0)
		return transaction_fail(s, e);
	t->head.next_object++;
	e = row_in(s, &change);
	r->object = (uint32_t)change.row;
	r->base = 0;
	r->counts.secrets++;
	r->counts.deleted += o->deleted;
	return e;
}

struct there { uint32_t id; uint8_t kind; bool deleted; int64_t last; };

/* A name that is there, live or deleted: 1 and the row's numbers; 0: it is free. */
static int find_name(struct restore *r, const char *name, struct there *ret)
{
	struct query q = db_query(r->s->write, "SELECT id, kind, deleted_at, last_version FROM objects WHERE name = ?");
	int e;

	query_text(&q, name);
	e = query_step(&q);
	if (e > 0)
		*ret = (struct there){ .id = (uint32_t)column_int(&q, 0), .kind = (uint8_t)column_int(&q, 1), .deleted = !column_null(&q, 2), .last = column_int(&q, 3) };
	query_end(&q);
	return e;
}

static int append_to(struct restore *r, const struct object *o, const struct there *there)
{
	struct change change;
	struct query q;
	int e;

	if (there->kind != o->kind) {	/* the right that was asked for is another's */
		store_why(r->why, r->why_len, "%s is there already, and something of another kind", o->name);
		return -EEXIST;
	}
	if (there->deleted) {
		store_why(r->why, r->why_len, "%s was deleted here, and keeps its name until it is recovered or purged", o->name);
		return -EEXIST;
	}
	if (o->deleted || o->last_version == 0) {
		r->counts.skipped++;
		return 0;
	}
	if (there->last + o->last_version >= UINT32_MAX)
		return -EOVERFLOW;
	e = row_out(r->s, ROW_OBJECT, there->id, &change);
	if (e < 0)
		return e;
	q = db_query(r->s->write, "UPDATE objects SET last_version = last_version + ?, changed = ? WHERE id = ?");
	query_int(&q, o->last_version);
	query_int(&q, store_now(r->s));
	query_int(&q, there->id);
	e = query_run(&q);
	if (e < 0)
		return transaction_fail(r->s, e);
	r->object = there->id;
	r->base = (uint32_t)there->last;
	r->counts.appended++;
	return row_in(r->s, &change);
}

static int restore_object(struct restore *r, struct fields *f)
{
	struct object o;
	struct restore_item item = { .kind = RESTORE_ITEM_SECRET, .name = o.name };
	struct there there = { 0 };
	int e = parse_object(r, f, &o), found;

	if (e < 0)
		return e;
	if (o.id <= r->was)
		return damaged(r, "secrets out of order");
	r->seen.secrets++;
	r->was = o.id;
	r->object = 0;
	r->last_number = 0;
	r->last_version = o.last_version;
	r->told = 0;
	r->told_enabled = false;
	r->deleted = o.deleted;
	memcpy(r->name, o.name, sizeof r->name);
	item.object_kind = o.kind;
	found = find_name(r, o.name, &there);
	if (found < 0)
		return found;
	item.appends = found > 0 && r->options->existing == RESTORE_APPEND;
	e = ask(r, &item);
	if (e < 0)
		return e;
	if (found == 0)
		return insert_object(r, &o);
	if (item.appends)
		return append_to(r, &o, &there);
	if (r->options->existing == RESTORE_SKIP) {
		r->counts.skipped++;
		return 0;
	}
	store_why(r->why, r->why_len, "%s is there already%s", o.name, there.deleted ? " (deleted)" : "");
	return -EEXIST;
}

/* ---- versions ---- */

static void pending_clear(struct restore *r)
{
	for (size_t i = 0; i < r->n_pending; i++) {
		free(r->pending[i].content_type);
		free(r->pending[i].tags);
		free(r->pending[i].envelope);
	}
	r->n_pending = r->pending_bytes = 0;
}

/* One KEK wraps everything that is restored: its row is asked for once. A destroyed version has no record, but a column that wants a KEK all the same. */
static int kek_of(struct restore *r, const struct pending *p, const struct keys_item *item)
{
	struct keys_state state = { 0 };
	uint8_t id[KEK_ID_LEN];
	int e;

	if (p->len == 0 && r->kek)
		return 0;
	if (p->len == 0) {
		e = keys_state(r->s->keys, &state);
		memcpy(id, state.kek_id, sizeof id);
	} else {
		e = wrap_kek_id(item->data, item->len, id);
	}
	if (e == 0 && (r->kek == 0 || memcmp(id, r->kek_id, sizeof id) != 0)) {
		e = kek_row(r->s, id, &r->kek);
		memcpy(r->kek_id, id, sizeof id);
	}
	return e;
}

static int insert_version(struct restore *r, const struct pending *p, const struct keys_item *item)
{
	struct store *s = r->s;
	const struct change change = row_new(ROW_VERSION, VERSION_ID(p->object, p->number));
	const int64_t epoch = transaction_epoch(s);
	uint8_t hash[DIGEST_LEN];
	struct query q;
	int e = sha256(&(struct bytes){ p->envelope, p->len }, 1, hash);

	if (e == 0)
		e = kek_of(r, p, item);
	if (e < 0)
		return e;
	q = db_query(s->write, "INSERT INTO versions(id, size, created, not_before, expires, enabled, content_type, tags, kek, dek_record, envelope_hash, epoch, withdrawn, mac)"
			       " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, change.row);
	query_int(&q, p->size);
	query_int(&q, p->created);
	query_int(&q, p->not_before);
	query_int(&q, p->expires);
	query_int(&q, p->enabled);
	query_text(&q, p->content_type);
	query_text(&q, p->tags);
	query_int(&q, r->kek);
	query_blob(&q, item->data, p->len ? item->len : 0);
	query_blob(&q, hash, p->len ? sizeof hash : 0);
	query_int(&q, epoch);
	query_null_or_int(&q, p->enabled ? NULL : &epoch);
	e = query_run(&q);
	if (e == 0 && p->len == 0)
		e = row_in(s, &change);
	if (e < 0 || p->len == 0) {
		r->counts.versions += e == 0;
		return e;
	}
	q = db_query(s->write, "INSERT INTO version_data(id, envelope) VALUES(?, ?)");
	query_int(&q, change.row);
	query_blob(&q, p->envelope, p->len);
	e = query_run(&q);
	if (e == 0)
		e = row_in(s, &change);
	r->counts.versions++;
	return e;
}

/* The gathered versions get their keys and go into the vault. */
static int flush(struct restore *r)
{
	int e = 0;

	if (r->n_pending > 0)
		e = keys_restore_import(r->s->keys, r->options->box, r->items, r->n_pending);
	if (e == -EBADMSG)
		store_why(r->why, r->why_len, "a key in the backup does not open: the key holder was started again meanwhile (try again), or the backup is damaged");
	for (size_t i = 0; i < r->n_pending && e == 0; i++)
		e = transaction_fail(r->s, insert_version(r, &r->pending[i], &r->items[i]));
	pending_clear(r);
	return e;
}

static int copy_text(const char *text, bool there, char **ret_copy)
{
	*ret_copy = there ? strdup(text) : NULL;
	return there && !*ret_copy ? -ENOMEM : 0;
}

static int parse_texts(struct restore *r, struct fields *f, struct pending *p)
{
	char content_type[512], *tags = malloc(TAGS_TEXT_MAX);
	bool has_type, has_tags;
	int e = -ENOMEM;

	if (!tags)
		return e;
	has_type = field_text(f, content_type, sizeof content_type);
	has_tags = field_text(f, tags, TAGS_TEXT_MAX);
	e = f->error || (has_type && !content_type_valid(content_type)) ? damaged(r, "attributes that cannot be") : 0;
	if (e == 0)
		e = copy_text(content_type, has_type, &p->content_type);
	if (e == 0 && has_tags)
		e = tags_parse(tags, &p->tags);
	free(tags);
	return e == -EINVAL ? damaged(r, "tags that cannot be") : e;
}

static int parse_version(struct restore *r, struct fields *f, struct pending *p, struct keys_item *item)
{
	struct envelope_context was = { .secret = r->was };
	const uint8_t *sealed, *envelope;
	size_t len, plain_len = 0;
	int e;

	p->number = field_u32(f);
	p->size = field_u32(f);
	p->created = (int64_t)field_u64(f);
	p->not_before = (int64_t)field_u64(f);
	p->expires = (int64_t)field_u64(f);
	p->enabled = field_u8(f) != 0;
	e = parse_texts(r, f, p);
	if (e < 0)
		return e;
	sealed = field_bytes(f, SEALED_SEED_LEN);
	len = f->left;
	envelope = field_bytes(f, len);
	bool destroyed = len == 0;
	if (!sealed || !envelope || (destroyed ? p->enabled : envelope_plain_len(envelope, len, &plain_len) < 0 || plain_len != p->size) ||
	    p->size > VALUE_MAX || p->number <= r->last_number || p->number > r->last_version || p->expires <= p->not_before || !moment_valid(p->created))
		return damaged(r, "a version that cannot be");
	if (destroyed)
		return 0;
	was.version = p->number;
	memcpy(was.vault, r->header->vault, sizeof was.vault);
	p->envelope = malloc(len + ENVELOPE_ORIGIN);
	if (!p->envelope)
		return -ENOMEM;
	p->len = envelope_keep_origin(envelope, len, &was, p->envelope);
	*item = (struct keys_item){ .was = { .type = WRAP_DEK, .secret = r->was, .version = p->number }, .len = SEALED_SEED_LEN };
	memcpy(item->was.vault, r->header->vault, sizeof item->was.vault);
	memcpy(item->data, sealed, SEALED_SEED_LEN);
	return 0;
}

/* A secret that was restored is told of once, by the version that current serves from now on; what is deleted is told of when it is recovered. Whether its value is another than was served
 * before is not looked at: for who reloads on a change it counts as one. */
static void note_new(struct restore *r, const struct pending *p)
{
	if (r->deleted || p->len == 0 || (r->told_enabled && !p->enabled))
		return;
	r->told = p->number;
	r->told_enabled |= p->enabled;
}

static int tell_new(struct restore *r)
{
	const struct event e = { .kind = EVENT_NEW_VERSION, .secret = r->object, .version = r->told, .name = r->name };

	if (r->told == 0)
		return 0;
	r->told = 0;
	return store_event_add(r->s, &e);
}

static int restore_version(struct restore *r, struct fields *f)
{
	struct pending *p = &r->pending[r->n_pending];
	struct keys_item *item = &r->items[r->n_pending];
	int e;

	if (r->was == 0)
		return damaged(r, "a version of no secret");
	*p = (struct pending){ 0 };
	r->n_pending++;		/* so that what it holds is freed in any case */
	e = parse_version(r, f, p, item);
	if (e < 0)
		return e;
	r->seen.versions++;
	r->last_number = p->number;
	if (r->object == 0) {	/* its secret is skipped */
		free(p->content_type);
		free(p->tags);
		free(p->envelope);
		r->n_pending--;
		return 0;
	}
	p->object = r->object;
	p->number += r->base;
	note_new(r, p);
	if (p->len == 0) {
		e = transaction_fail(r->s, insert_version(r, p, item));
		free(p->content_type);
		free(p->tags);
		r->n_pending--;
		return e;
	}
	item->becomes = (struct wrap_context){ .type = WRAP_DEK, .secret = p->object, .version = p->number };
	memcpy(item->becomes.vault, r->s->vault, sizeof item->becomes.vault);
	r->pending_bytes += p->len;
	return r->n_pending == KEYS_ITEMS_MAX || r->pending_bytes >= BATCH_BYTES ? flush(r) : 0;
}

/* ---- the whole ---- */

#define FORMAT_1_COUNTS 7

static int check_end(struct restore *r, struct fields *f)
{
	const uint64_t counts[] = { r->seen.secrets, r->seen.versions, r->seen.roles, r->seen.bindings, r->seen.blocks, r->seen.recipients, r->seen.settings,
				    r->seen.rotations, r->seen.hooks, r->seen.notices };
	const size_t n = r->header->format == 1 ? FORMAT_1_COUNTS : sizeof counts / sizeof counts[0];
	bool same = true;

	for (size_t i = 0; i < n; i++)
		same &= field_u64(f) == counts[i];
	return fields_end(f) < 0 || !same ? damaged(r, "it does not hold what it says it does") : 0;
}

static int restore_record(struct restore *r, enum record_type type, struct fields *f)
{
	/* The order of the types, but for versions between objects; what only a whole vault has must not come in another backup. */
	static const uint8_t place[] = { [RECORD_SETTINGS] = 1, [RECORD_ROLE] = 2, [RECORD_BINDING] = 3, [RECORD_BLOCK] = 4, [RECORD_RECIPIENT] = 5, [RECORD_OBJECT] = 6,
					 [RECORD_VERSION] = 7, [RECORD_ROTATION] = 8, [RECORD_HOOK] = 9, [RECORD_NOTICE] = 10, [RECORD_END] = 11 };
	bool ordered = place[type] >= place[r->last_type] || (type == RECORD_OBJECT && r->last_type == RECORD_VERSION);
	bool known = type <= RECORD_END || r->header->format > 1, data = type == RECORD_OBJECT || type == RECORD_VERSION || type == RECORD_END;
	int e = 0;

	if (!ordered || !known || r->last_type == RECORD_END || (!data && !r->header->all))
		return damaged(r, "records out of order");
	r->last_type = type;
	if (type != RECORD_VERSION)
		e = tell_new(r);
	if (e < 0)
		return e;
	switch (type) {
	case RECORD_SETTINGS:
		return restore_settings(r, f);
	case RECORD_ROLE:
		return restore_role(r, f);
	case RECORD_BINDING:
		return restore_binding(r, f);
	case RECORD_BLOCK:
		return restore_block(r, f);
	case RECORD_RECIPIENT:
		return restore_recipient(r, f);
	case RECORD_OBJECT:
		return restore_object(r, f);
	case RECORD_VERSION:
		return restore_version(r, f);
	case RECORD_ROTATION:
		return restore_rotation(r, f);
	case RECORD_HOOK:
		return restore_hook(r, f);
	case RECORD_NOTICE:
		return restore_notice(r, f);
	case RECORD_END:
		return check_end(r, f);
	}
	return -EBADMSG;
}

static int restore_records(struct restore *r, uint64_t size)
{
	enum record_type type;
	struct fields f;
	int e;

	while ((e = reader_record(r->reader, &type, &f)) > 0) {
		e = restore_record(r, type, &f);
		if (e < 0)
			return e;
		if (r->options->progress)
			r->options->progress(reader_offset(r->reader), size, r->options->arg);
	}
	if (e == -EBADMSG || (e == 0 && r->last_type != RECORD_END))
		return damaged(r, "its content does not open");
	return e < 0 ? e : flush(r);
}

static int open_stream(struct restore *r)
{
	uint8_t key[KEY_LEN];
	int e = keys_restore_begin(r->s->keys, r->options->box, key);

	if (e == -EBADMSG) {
		store_why(r->why, r->why_len, "the key holder was started again meanwhile: try again");
		e = -ETIMEDOUT;
	}
	if (e == 0)
		e = reader_rewind(r->reader, key);
	secmem_wipe(key, sizeof key);
	return e;
}

int store_restore(struct store *s, const struct backup_source *source, const struct restore_options *options, struct backup_header *ret_header,
		  struct restore_counts *ret_counts, char *why, size_t why_len)
{
	struct restore r = { .s = s, .options = options, .why = why, .why_len = why_len };
	uint64_t size;
	int e = transaction_check(s);

	store_why(why, why_len, "%s", "");
	if (e == 0)
		e = reader_open(source, &r.reader, why, why_len);
	if (e == 0)
		e = reader_verify(r.reader, options->signer, why, why_len);
	if (e < 0)
		goto out;
	r.header = reader_header(r.reader);
	size = reader_offset(r.reader);
	r.items = calloc(KEYS_ITEMS_MAX, sizeof *r.items);
	r.pending = calloc(KEYS_ITEMS_MAX, sizeof *r.pending);
	e = r.items && r.pending ? open_stream(&r) : -ENOMEM;
	if (e == 0)
		e = restore_records(&r, size);
	if (e < 0)
		goto out;
	*ret_header = *r.header;
	*ret_counts = r.counts;
out:
	if (e < 0)
		transaction_fail(s, e);
	if (r.pending)
		pending_clear(&r);
	reader_close(r.reader);
	free(r.items);
	free(r.pending);
	return e;
}
