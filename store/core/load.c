#include "store/core/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "store/core/catalog.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/rows.h"
#include "store/core/rules_table.h"

/* A pass over the store's rows, which counts and sums them as it goes. */
struct load {
	struct db *db;
	const struct row_keys *keys; /* NULL: rows are taken as they are */
	struct tables *tables;
	struct head sum;
	enum load_trail trail;
	char *why;
	size_t why_len;
	struct catalog_version *versions; /* of the object at hand */
	size_t capacity;
	struct policy_change *changes;
	size_t n_changes, changes_capacity;
};

static int load_row(struct load *l, enum row_kind kind, const struct query *q)
{
	uint8_t mac[DIGEST_LEN];
	int r;

	if (row_is_trail(kind))
		l->sum.trail_members++;
	else
		l->sum.members++;
	if (!l->keys)
		return 0;
	r = row_verify(l->keys->row, kind, q, mac);
	if (r == -EBADMSG)
		store_why(l->why, l->why_len,
			  "row %lld of %s is not authentic: it was changed from outside; see coffer fsck, or restore a "
			  "backup",
			  (long long)column_int(q, 0), row_table(kind)->name);
	return r < 0 ? r : set_add(l->keys, mac, row_is_trail(kind) ? &l->sum.trail : &l->sum.hash);
}

/* Nothing serves from the rows of this kind: they are counted and summed. */
static int load_counted(struct load *l, enum row_kind kind)
{
	struct query q = db_query(l->db, row_table(kind)->all);
	int r;

	while ((r = query_step(&q)) > 0) {
		r = load_row(l, kind, &q);
		if (r < 0)
			break;
	}
	query_end(&q);
	return r;
}

/* There may be one row: a second one would not be looked at, and not be missed. */
static int no_second(struct load *l, enum row_kind kind, struct query *q)
{
	int r = query_step(q);

	if (r > 0)
		store_why(l->why, l->why_len,
			  "there is more than one row in %s: it was changed from outside; see coffer fsck, or restore "
			  "a backup",
			  row_table(kind)->name);
	return r > 0 ? -EBADMSG : r;
}

static int load_settings(struct load *l, const uint8_t vault[16], const char *name)
{
	struct query q = db_query(l->db, row_table(ROW_SETTINGS)->all);
	int r = query_step(&q);

	if (r == 0)
		r = -EBADMSG;
	if (r > 0)
		r = load_row(l, ROW_SETTINGS, &q);
	if (r == 0) {
		r = settings_parse(&q, vault, name, &l->tables->settings);
		if (r < 0)
			store_why(l->why, l->why_len,
				  "the settings are not this vault's: vault.conf and the database do not belong "
				  "together");
	}
	if (r == 0)
		r = no_second(l, ROW_SETTINGS, &q);
	query_end(&q);
	return r;
}

/* A store that never had anything deleted has none. */
static int load_clock(struct load *l)
{
	struct query q = db_query(l->db, row_table(ROW_CLOCK)->all);
	int r = query_step(&q);

	if (r > 0) {
		r = load_row(l, ROW_CLOCK, &q);
		if (r == 0)
			r = clock_parse(&q, &l->tables->clock);
		if (r == 0)
			r = no_second(l, ROW_CLOCK, &q);
	}
	query_end(&q);
	return r;
}

static int load_rule(enum row_kind kind, const struct query *q, void *arg) { return load_row(arg, kind, q); }

/* What nobody vouches for is not acted upon: without keys there are none. */
static int load_rules(struct load *l)
{
	if (l->keys)
		return rules_load(l->db, load_rule, l, &l->tables->rules);
	l->tables->rules = rules_new();
	return l->tables->rules ? 0 : -ENOMEM;
}

/* Takes the versions of object id from the query, which stands on the next version (*more) of the whole table. */
static int load_versions(struct load *l, uint32_t id, struct query *q, int *more, uint32_t *ret_n)
{
	uint32_t n = 0;
	int r;

	while (*more && VERSION_OBJECT(column_int(q, 0)) == id) {
		if (n == l->capacity) {
			size_t capacity = l->capacity ? 2 * l->capacity : 16;
			struct catalog_version *grown = realloc(l->versions, capacity * sizeof *grown);
			if (!grown)
				return -ENOMEM;
			l->versions = grown;
			l->capacity = capacity;
		}
		r = load_row(l, ROW_VERSION, q);
		if (r == 0)
			r = version_parse(q, &l->versions[n]);
		if (r < 0)
			return r;
		n++;
		*more = query_step(q);
		if (*more < 0)
			return *more;
	}
	*ret_n = n;
	return 0;
}

static int load_object(struct load *l, const struct query *objects, struct query *versions, int *more)
{
	struct catalog_secret row;
	struct catalog_entry *e;
	int64_t last = 0;
	uint32_t n = 0;
	int r = load_row(l, ROW_OBJECT, objects);

	if (r == 0)
		r = object_parse(objects, &row, &last);
	if (r == 0)
		r = load_versions(l, row.id, versions, more, &n);
	if (r == 0 && n > 0 && l->versions[n - 1].number > last)
		r = -EBADMSG;
	if (r == 0 && catalog_find(l->tables->catalog, row.name))
		r = -EBADMSG;
	if (r == 0)
		r = catalog_reserve(l->tables->catalog, 1, row.id);
	if (r < 0)
		return r;
	e = catalog_entry_new(l->tables->catalog, row.name, n);
	if (!e)
		return -ENOMEM;
	struct catalog_secret *secret = catalog_entry_secret(e);
	row.name = secret->name;
	row.versions = secret->versions;
	row.n_versions = n;
	row.current = versions_current(l->versions, n);
	*secret = row;
	if (n > 0)
		memcpy(catalog_entry_versions(e), l->versions, n * sizeof *l->versions);
	catalog_put(l->tables->catalog, e);
	return 0;
}

/* Both tables in order of id, side by side. */
static int load_catalog(struct load *l)
{
	struct query objects = db_query(l->db, row_table(ROW_OBJECT)->all);
	struct query versions = db_query(l->db, row_table(ROW_VERSION)->all);
	int more = query_step(&versions);
	int r = more < 0 ? more : 0;

	while (r == 0) {
		int row = query_step(&objects);
		if (row <= 0) {
			r = row;
			break;
		}
		r = load_object(l, &objects, &versions, &more);
	}
	if (r == 0 && more)
		r = -EBADMSG; /* a version of no object */
	query_end(&objects);
	query_end(&versions);
	return r;
}

static int load_change(struct load *l, struct policy_change **ret_change)
{
	if (l->n_changes == l->changes_capacity) {
		size_t capacity = l->changes_capacity ? 2 * l->changes_capacity : 64;
		struct policy_change *grown = realloc(l->changes, capacity * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		l->changes = grown;
		l->changes_capacity = capacity;
	}
	*ret_change = &l->changes[l->n_changes];
	**ret_change = (struct policy_change){ 0 };
	return 0;
}

static int load_grants(struct load *l, enum row_kind kind)
{
	struct query q = db_query(l->db, row_table(kind)->all);
	struct policy_change *change = NULL;
	int r;

	while ((r = query_step(&q)) > 0) {
		r = load_row(l, kind, &q);
		if (r == 0)
			r = load_change(l, &change);
		if (r < 0)
			break;
		r = grant_parse(kind, &q, change);
		if (r < 0)
			break;
		l->n_changes++;
		l->tables->n_roles += kind == ROW_ROLE;
		l->tables->n_bindings += kind == ROW_BINDING;
		l->tables->n_blocks += kind == ROW_BLOCK;
	}
	query_end(&q);
	return r;
}

static int load_policy(struct load *l)
{
	struct policy *empty = policy_new();
	int r = empty ? 0 : -ENOMEM;

	if (r == 0 && l->keys)
		r = load_grants(l, ROW_ROLE);
	if (r == 0 && l->keys)
		r = load_grants(l, ROW_BINDING);
	if (r == 0 && l->keys)
		r = load_grants(l, ROW_BLOCK);
	if (r == 0)
		r = policy_apply(empty, l->changes, l->n_changes, &l->tables->policy);
	if (r == -EINVAL || r == -ENOENT || r == -EEXIST)
		r = -EBADMSG;
	policy_unref(empty);
	return r;
}

static int load_trail(struct load *l)
{
	int r = 0;

	for (int kind = ROW_REQUEST; kind < ROW_STAGE && r == 0; kind++)
		r = load_counted(l, (enum row_kind)kind);
	return r;
}

/* What the rows add up to is what the head was sealed over. */
static int check_head(struct load *l, const uint8_t vault[16], const uint8_t stored[DIGEST_LEN])
{
	struct head *head = &l->tables->head;
	uint8_t mac[DIGEST_LEN];
	int r;

	if (!head->has_trail && l->trail != TRAIL_ADOPTED)
		return -ESTALE;
	head->hash = l->sum.hash;
	r = head_mac(l->keys, vault, head, mac);
	if (r < 0)
		return r;
	if (head->members == l->sum.members && secret_cmp(mac, stored, DIGEST_LEN) == 0) {
		if (!head->has_trail) {
			head->trail_members = l->sum.trail_members;
			head->trail = l->sum.trail;
			return 0;
		}
		if (l->trail == TRAIL_FROM_HEAD || (head->trail_members == l->sum.trail_members &&
						    secret_cmp(&head->trail, &l->sum.trail, sizeof head->trail) == 0))
			return 0;
	}
	store_why(l->why, l->why_len,
		  "rows are missing from the database, or there are old ones in it: see coffer fsck, or restore a "
		  "backup");
	return -EBADMSG;
}

int tables_load(struct db *db, const struct row_keys *keys, enum load_trail trail, const uint8_t vault[16],
		const char *name, struct tables *ret_tables, char *why, size_t why_len)
{
	struct tables tables = { 0 };
	struct load l = { .db = db, .keys = keys, .tables = &tables, .trail = trail, .why = why, .why_len = why_len };
	uint8_t stored[DIGEST_LEN];
	int r = catalog_new(&tables.catalog);

	store_why(why, why_len, "the database is damaged: see coffer fsck, or restore a backup");
	if (r == 0)
		r = head_read(db, keys, &tables.head, stored);
	if (r == 0)
		r = load_settings(&l, vault, name);
	if (r == 0)
		r = load_clock(&l);
	if (r == 0)
		r = load_rules(&l);
	if (r == 0)
		r = load_catalog(&l);
	if (r == 0)
		r = load_policy(&l);
	if (r == 0)
		r = load_counted(&l, ROW_BACKUP_KEY);
	if (r == 0 && keys && trail != TRAIL_FROM_HEAD)
		r = load_trail(&l);
	if (r == 0 && keys)
		r = check_head(&l, vault, stored);
	free(l.versions);
	free(l.changes);
	if (r < 0) {
		if (r != -EBADMSG)
			store_why(why, why_len, "the database cannot be read: %s", strerror(-r));
		tables_free(&tables);
		return r;
	}
	store_why(why, why_len, "%s", "");
	*ret_tables = tables;
	return 0;
}

void tables_free(struct tables *t)
{
	catalog_free(t->catalog);
	rules_free(t->rules);
	policy_unref(t->policy);
	*t = (struct tables){ 0 };
}
