#include "store/core/step.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "store/core/cache.h"
#include "store/core/catalog.h"
#include "store/core/db.h"
#include "store/core/idset.h"
#include "store/core/load.h"
#include "store/core/row_change.h"
#include "store/core/rows.h"
#include "store/core/rules_table.h"

static int change_order(const void *a, const void *b)
{
	const struct change *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->row != y->row)
		return x->row < y->row ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* The last word on each row, in order of kind and row: of all changes, or of those that are grants. */
static int changes_fold(const struct change *changes, size_t n, bool grants, struct change **ret_folded, size_t *ret_n)
{
	struct change *folded;
	size_t kept = 0, wanted = 0;

	for (size_t i = 0; i < n; i++)
		wanted += !grants || change_is_grant(&changes[i]);
	folded = malloc((wanted + 1) * sizeof *folded);
	if (!folded)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (!grants || change_is_grant(&changes[i]))
			folded[kept++] = changes[i];
	n = kept;
	kept = 0;
	if (n > 0)
		qsort(folded, n, sizeof *folded, change_order);
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && folded[kept - 1].kind == folded[i].kind && folded[kept - 1].row == folded[i].row)
			kept--;
		folded[kept++] = folded[i];
	}
	*ret_folded = folded;
	*ret_n = kept;
	return 0;
}

/* Stands q on the changed row: 1, or 0 when it is gone. What lies there must be what the change left. */
static int changed_row(struct store *s, const struct change *change, struct query *q)
{
	uint8_t mac[DIGEST_LEN];
	int r;

	query_int(q, change->row);
	r = query_step(q);
	if (r < 0)
		return r;
	if ((r > 0) != change->after)
		return -EBADMSG;
	if (r == 0)
		return 0;
	r = row_verify(s->row_keys->row, change->kind, q, mac);
	if (r == 0 && memcmp(mac, change->new_mac, DIGEST_LEN) != 0)
		r = -EBADMSG;
	return r < 0 ? r : 1;
}

/* ---- policy and settings ---- */

static bool is_known(const struct policy *policy, const struct change *change)
{
	if (change->kind == ROW_ROLE)
		return policy_role(policy, (uint32_t)change->row);
	if (change->kind == ROW_BLOCK)
		return policy_block(policy, (uint64_t)change->row);
	return policy_binding(policy, (uint64_t)change->row);
}

static int policy_step(struct store *s, struct db *db, const struct change *change, struct policy_change *step,
		       int *ret_count)
{
	struct query q = db_query(db, row_table(change->kind)->one);
	int r = changed_row(s, change, &q);

	bool known = is_known(s->tables.policy, change);

	*step = (struct policy_change){ 0 };
	*ret_count = 0;
	if (r > 0 && (change->kind == ROW_ROLE || !known)) {
		r = grant_parse(change->kind, &q, step);
		*ret_count = r == 0 && !known;
	} else if (r == 0 && change->kind != ROW_ROLE && known) {
		step->kind = change->kind == ROW_BLOCK ? POLICY_REMOVE_BLOCK : POLICY_REMOVE_BINDING;
		step->binding.id = step->block.id = (uint64_t)change->row;
		*ret_count = -1;
	}
	query_end(&q);
	return r < 0 ? r : 0;
}

int step_policy(struct store *s, struct db *db, const struct change *changes, size_t n, struct policy **ret_policy,
		struct grants *ret_grants)
{
	struct change *folded = NULL;
	struct policy_change *steps = NULL;
	size_t n_folded = 0, n_steps = 0;
	int counts[ROW_KINDS] = { 0 }, count, r;

	r = changes_fold(changes, n, true, &folded, &n_folded);
	if (r < 0)
		return r;
	steps = malloc((n_folded + 1) * sizeof *steps);
	r = steps ? 0 : -ENOMEM;
	/* Roles sort before bindings: a binding of a new role finds it. */
	for (size_t i = 0; i < n_folded && r == 0; i++) {
		r = policy_step(s, db, &folded[i], &steps[n_steps], &count);
		counts[folded[i].kind] += count;
		n_steps += r == 0 && steps[n_steps].kind != 0;
	}
	if (r == 0)
		r = policy_apply(s->tables.policy, steps, n_steps, ret_policy);
	if (r == 0)
		*ret_grants = (struct grants){ counts[ROW_ROLE], counts[ROW_BINDING], counts[ROW_BLOCK] };
	free(steps);
	free(folded);
	return r;
}

static int step_settings(struct store *s, struct db *db, const struct change *change, struct step *step)
{
	struct query q = db_query(db, row_table(ROW_SETTINGS)->one);
	int r = changed_row(s, change, &q);

	if (r == 0)
		r = -EBADMSG;
	if (r > 0)
		r = settings_parse(&q, s->vault, s->name, &step->settings);
	query_end(&q);
	return r;
}

static int step_clock(struct store *s, struct db *db, const struct change *change, struct step *step)
{
	struct query q = db_query(db, row_table(ROW_CLOCK)->one);
	int r = changed_row(s, change, &q);

	if (r == 0)
		r = -EBADMSG; /* once there it never goes */
	if (r > 0)
		r = clock_parse(&q, &step->clock);
	query_end(&q);
	return r;
}

struct rule_check {
	struct store *s;
	const struct change *changes;
	size_t n;
};

/* Each row is authentic, and one that changed is what its change left. */
static int check_rule(enum row_kind kind, const struct query *q, void *arg)
{
	const struct rule_check *c = arg;
	uint8_t mac[DIGEST_LEN];
	int r = row_verify(c->s->row_keys->row, kind, q, mac);

	for (size_t i = 0; i < c->n && r == 0; i++)
		if (c->changes[i].kind == kind && c->changes[i].row == column_int(q, 0) &&
		    (!c->changes[i].after || memcmp(mac, c->changes[i].new_mac, DIGEST_LEN) != 0))
			r = -EBADMSG;
	return r;
}

/* They are few and change seldom: all of them are read again. */
static int step_rules(struct store *s, struct db *db, const struct change *changes, size_t n, struct step *step)
{
	struct rule_check check = { s, changes, n };

	return rules_load(db, check_rule, &check, &step->rules);
}

static bool is_rule(const struct change *c)
{
	return c->kind == ROW_ROTATION || c->kind == ROW_HOOK || c->kind == ROW_NOTICE || c->kind == ROW_HISTORY;
}

/* What there is one row of, and the rules as a whole. */
static int step_singles(struct store *s, struct db *db, const struct change *folded, size_t n, struct step *step)
{
	bool rules = false;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		rules |= is_rule(&folded[i]);
		if (folded[i].kind == ROW_SETTINGS)
			r = step_settings(s, db, &folded[i], step);
		else if (folded[i].kind == ROW_CLOCK)
			r = step_clock(s, db, &folded[i], step);
	}
	return r == 0 && rules ? step_rules(s, db, folded, n, step) : r;
}

/* ---- secrets ---- */

/* Versions of one object: those in memory with the changed ones put in their places. */
static int merge_versions(struct store *s, struct db *db, const struct catalog_secret *base,
			  const struct change *changes, size_t n, struct catalog_version *versions, uint32_t *ret_n)
{
	uint32_t at = 0, merged = 0, n_base = base ? base->n_versions : 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		uint32_t number = VERSION_NUMBER(changes[i].row);
		while (at < n_base && base->versions[at].number < number)
			versions[merged++] = base->versions[at++];
		if (at < n_base && base->versions[at].number == number)
			at++;
		struct query q = db_query(db, row_table(ROW_VERSION)->one);
		r = changed_row(s, &changes[i], &q);
		if (r > 0)
			r = version_parse(&q, &versions[merged++]);
		query_end(&q);
		if (r < 0)
			return r;
	}
	while (at < n_base)
		versions[merged++] = base->versions[at++];
	*ret_n = merged;
	return 0;
}

bool serves_else(const struct store_settings *settings, const struct catalog_secret *before,
		 const struct catalog_secret *after)
{
	const struct catalog_version *a, *b;

	if (!before || before->current != after->current || before->enabled != after->enabled ||
	    before->deleted != after->deleted)
		return true;
	a = catalog_version(before, before->current);
	b = catalog_version(after, after->current);
	return a && b && settings->enforce_validity && (a->not_before != b->not_before || a->expires != b->expires);
}

/* object: the change of the object's own row, NULL when only versions changed. */
static int step_object(struct store *s, struct db *db, uint32_t id, const struct change *object,
		       const struct change *changes, size_t n, struct step *step)
{
	const struct catalog_secret *base = catalog_get(s->tables.catalog, id);
	struct catalog_version *versions = NULL;
	struct catalog_entry *e;
	struct catalog_secret row;
	struct query q = { 0 };
	int64_t last = 0;
	uint32_t n_versions = 0;
	int r;

	if (object) {
		q = db_query(db, row_table(ROW_OBJECT)->one);
		r = changed_row(s, object, &q);
		if (r == 0)
			step->removes[step->n_removes++] = id;
		if (r <= 0)
			goto out;
		r = object_parse(&q, &row, &last);
		if (r < 0)
			goto out;
	} else {
		r = -EBADMSG;
		if (!base)
			goto out;
		row = *base;
	}
	r = -ENOMEM;
	versions = malloc((n + (base ? base->n_versions : 0) + 1) * sizeof *versions);
	if (!versions)
		goto out;
	r = merge_versions(s, db, base, changes, n, versions, &n_versions);
	if (r < 0)
		goto out;
	r = -ENOMEM;
	e = catalog_entry_new(s->tables.catalog, row.name, n_versions);
	if (!e)
		goto out;
	struct catalog_secret *secret = catalog_entry_secret(e);
	row.name = secret->name;
	row.versions = secret->versions;
	row.n_versions = n_versions;
	row.current = versions_current(versions, n_versions);
	*secret = row;
	memcpy(catalog_entry_versions(e), versions, n_versions * sizeof *versions);
	step->puts[step->n_puts++] = e;
	r = serves_else(&s->tables.settings, base, secret) ? idset_put(&step->served, id) : 0;
out:
	query_end(&q);
	free(versions);
	return r;
}

/* The objects of the changed rows and of the changed versions, side by side. */
static int step_objects(struct store *s, struct db *db, const struct change *folded, size_t n, struct step *step)
{
	size_t o = 0, v, objects, end;
	int r = 0;

	while (o < n && folded[o].kind < ROW_OBJECT)
		o++;
	for (objects = o; objects < n && folded[objects].kind == ROW_OBJECT; objects++)
		;
	for (v = objects; v < n && folded[v].kind < ROW_VERSION; v++)
		;
	while (r == 0 && (o < objects || (v < n && folded[v].kind == ROW_VERSION))) {
		uint32_t of_object = o < objects ? (uint32_t)folded[o].row : UINT32_MAX;
		uint32_t of_version = v < n && folded[v].kind == ROW_VERSION ? VERSION_OBJECT(folded[v].row)
									     : UINT32_MAX;
		uint32_t id = of_object < of_version ? of_object : of_version;
		const struct change *object = of_object == id ? &folded[o++] : NULL;
		for (end = v; end < n && folded[end].kind == ROW_VERSION && VERSION_OBJECT(folded[end].row) == id;
		     end++)
			step->versions[step->n_versions++] = (uint64_t)folded[end].row;
		r = step_object(s, db, id, object, folded + v, end - v, step);
		v = end;
	}
	return r;
}

/* Room in the catalog, so that applying cannot fail. */
static int step_reserve(struct store *s, const struct step *step)
{
	int r = 0;

	pthread_rwlock_wrlock(&s->tables_lock);
	for (size_t i = 0; i < step->n_puts && r == 0; i++)
		r = catalog_reserve(s->tables.catalog, step->n_puts, catalog_entry_secret(step->puts[i])->id);
	pthread_rwlock_unlock(&s->tables_lock);
	return r;
}

int step_prepare(struct store *s, struct db *db, const struct change *changes, size_t n, struct step *ret_step)
{
	struct step step = { .settings = s->tables.settings, .clock = s->tables.clock };
	struct change *folded = NULL;
	size_t n_folded = 0;
	int r = changes_fold(changes, n, false, &folded, &n_folded);

	if (r == 0) {
		step.puts = malloc((n_folded + 1) * sizeof *step.puts);
		step.removes = malloc((n_folded + 1) * sizeof *step.removes);
		step.versions = malloc((n_folded + 1) * sizeof *step.versions);
		r = step.puts && step.removes && step.versions ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = step_singles(s, db, folded, n_folded, &step);
	if (r == 0)
		r = step_objects(s, db, folded, n_folded, &step);
	if (r == 0)
		r = step_policy(s, db, folded, n_folded, &step.policy, &step.grants);
	if (r == 0)
		r = step_reserve(s, &step);
	free(folded);
	if (r < 0) {
		step_discard(s, &step);
		return r;
	}
	*ret_step = step;
	return 0;
}

int step_reload(struct store *s, struct db *db, struct step *ret_step)
{
	struct step step = { 0 };
	char why[256];
	int r = tables_load(db, s->row_keys, TRAIL_FROM_HEAD, s->vault, s->name, &step.fresh, why, sizeof why);

	if (r == 0)
		*ret_step = step;
	return r;
}

static void apply_fresh(struct store *s, struct step *step)
{
	struct tables old;

	pthread_rwlock_wrlock(&s->tables_lock);
	old = s->tables;
	s->tables = step->fresh;
	s->stirred_all = true;
	atomic_store(&s->epoch, s->tables.head.epoch);
	pthread_rwlock_unlock(&s->tables_lock);
	cache_clear(s->cache);
	tables_free(&old);
	step->fresh = (struct tables){ 0 };
}

void step_apply(struct store *s, struct step *step, const struct head *head)
{
	struct policy *old;
	struct rules *old_rules = NULL;

	if (step->fresh.catalog) {
		apply_fresh(s, step);
		return;
	}
	pthread_rwlock_wrlock(&s->tables_lock);
	if (step->rules) {
		old_rules = s->tables.rules;
		s->tables.rules = step->rules;
		s->stirred_all = true;
	}
	for (size_t i = 0; i < step->n_puts; i++)
		stir(s, catalog_entry_secret(step->puts[i])->id);
	for (size_t i = 0; i < step->n_removes; i++)
		catalog_remove(s->tables.catalog, step->removes[i]);
	for (size_t i = 0; i < step->n_puts; i++)
		catalog_put(s->tables.catalog, step->puts[i]);
	old = s->tables.policy;
	s->tables.policy = step->policy;
	s->tables.settings = step->settings;
	s->tables.clock = step->clock;
	s->tables.n_roles = (uint32_t)((int64_t)s->tables.n_roles + step->grants.roles);
	s->tables.n_bindings = (uint32_t)((int64_t)s->tables.n_bindings + step->grants.bindings);
	s->tables.n_blocks = (uint32_t)((int64_t)s->tables.n_blocks + step->grants.blocks);
	s->tables.head = *head;
	atomic_store(&s->epoch, head->epoch);
	pthread_rwlock_unlock(&s->tables_lock);

	cache_drop(s->cache, step->versions, step->n_versions);
	policy_unref(old);
	rules_free(old_rules);
	step->policy = NULL;
	step->rules = NULL;
	step->n_puts = 0;
	step_discard(s, step);
}

/* After step_apply only the lists are left to free. */
void step_discard(struct store *s, struct step *step)
{
	for (size_t i = 0; i < step->n_puts; i++)
		catalog_entry_free(s->tables.catalog, step->puts[i]);
	policy_unref(step->policy);
	rules_free(step->rules);
	free(step->puts);
	free(step->removes);
	free(step->versions);
	idset_free(step->served);
	tables_free(&step->fresh);
	*step = (struct step){ 0 };
}
