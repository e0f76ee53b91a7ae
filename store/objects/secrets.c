
#include <errno.h>

#include "policy/scope.h"
#include "store/core/catalog.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/objects/objects.h"

static int name_taken(struct store *s, const char *name)
{
	struct query q;
	int r;

	store_rdlock(s);
	r = catalog_find(s->tables.catalog, name) ? -EEXIST : 0;
	store_unlock_tables(s);
	if (r < 0)
		return r;
	q = db_query(s->write, "SELECT 1 FROM objects WHERE name = ?"); /* of this transaction */
	query_text(&q, name);
	r = query_step(&q);
	query_end(&q);
	return r > 0 ? -EEXIST : r;
}

int store_secret_create(struct store *s, const char *name, uint32_t *ret_id)
{
	return store_object_create(s, OBJECT_SECRET, name, ret_id);
}

int store_object_create(struct store *s, enum object_kind kind, const char *name, uint32_t *ret_id)
{
	struct transaction *t = &s->transaction;
	struct change change;
	struct query q;
	int64_t now = store_now(s);
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (!name_valid(name))
		return -EINVAL;
	r = name_taken(s, name);
	if (r < 0)
		return r;
	if (t->head.next_object > OBJECT_ID_MAX)
		return -EOVERFLOW;
	change = row_new(ROW_OBJECT, t->head.next_object);
	q = db_query(s->write,
		     "INSERT INTO objects(id, kind, name, incarnation, enabled, created, changed, last_version, mac)"
		     " VALUES(?, ?, ?, 1, 1, ?, ?, 0, x'')");
	query_int(&q, change.row);
	query_int(&q, kind);
	query_text(&q, name);
	query_int(&q, now);
	query_int(&q, now);
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	t->head.next_object++;
	r = row_in(s, &change);
	if (r == 0)
		*ret_id = (uint32_t)change.row;
	return r;
}

/* A soft-deleted secret cannot be changed. */
static int check_live(struct store *s, uint32_t id)
{
	struct query q = db_query(s->write, "SELECT deleted_at FROM objects WHERE id = ?");
	int r;

	query_int(&q, id);
	r = query_step(&q);
	if (r >= 0)
		r = r > 0 && column_null(&q, 0) ? 0 : -ENOENT;
	query_end(&q);
	return r;
}

int store_secret_enable(struct store *s, uint32_t id, bool enabled)
{
	struct change change;
	struct query q;
	int r = transaction_check(s);

	if (r == 0)
		r = check_live(s, id);
	if (r == 0)
		r = row_out(s, ROW_OBJECT, id, &change);
	if (r < 0)
		return r;
	q = db_query(s->write, "UPDATE objects SET enabled = ?, changed = ? WHERE id = ?");
	query_int(&q, enabled);
	query_int(&q, store_now(s));
	query_int(&q, id);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : row_in(s, &change);
}
