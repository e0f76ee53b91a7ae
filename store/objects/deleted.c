/* The end of a secret: soft delete, recovery, purge. */

#include <errno.h>
#include <stdlib.h>

#include "store/core/clock.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/schema.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/marks.h"
#include "store/objects/objects.h"
#include "store/objects/versions.h"

struct object {
	int64_t changed, last_version, purge_at;
	bool deleted;
};

static int object_read(struct store *s, uint32_t id, struct object *ret)
{
	enum { CHANGED, LAST_VERSION, DELETED, PURGE_AT };
	struct query q = db_query(
		s->write, "SELECT changed, last_version, deleted_at IS NOT NULL, purge_at FROM objects WHERE id = ?");
	int r;

	query_int(&q, id);
	r = query_step(&q);
	if (r > 0)
		*ret = (struct object){ .changed = column_int(&q, CHANGED),
					.last_version = column_int(&q, LAST_VERSION),
					.deleted = column_int(&q, DELETED) != 0,
					.purge_at = column_int(&q, PURGE_AT) };
	query_end(&q);
	return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}

static int object_remove(struct store *s, uint32_t id)
{
	struct change change;
	struct query q;
	int r = row_out(s, ROW_OBJECT, id, &change);

	if (r < 0)
		return r;
	q = db_query(s->write, "DELETE FROM objects WHERE id = ?");
	query_int(&q, id);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : row_gone(s, &change);
}

static int object_delete(struct store *s, uint32_t id, const struct object *o)
{
	int64_t now = store_now(s), counted = 0;
	struct change change;
	struct query q;
	int r = clock_write(s, &counted);

	if (r == 0)
		r = row_out(s, ROW_OBJECT, id, &change);
	if (r < 0)
		return transaction_fail(s, r);
	q = db_query(s->write, "UPDATE objects SET deleted_at = ?, purge_at = ? WHERE id = ?");
	/* whatever the wall clock says, not before its last change */
	query_int(&q, now > o->changed ? now : o->changed);
	query_int(&q, counted + RETENTION_NS(&s->transaction.settings));
	query_int(&q, id);
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	r = row_in(s, &change);
	return r < 0 ? r : store_event_add_of(s, EVENT_DELETED, id, 0, false);
}

static int live_read(struct store *s, uint32_t id, struct object *ret)
{
	int r = transaction_check(s);

	if (r == 0)
		r = object_read(s, id, ret);
	return r == 0 && ret->deleted ? -ENOENT : r;
}

int store_secret_delete(struct store *s, uint32_t id)
{
	struct object o = { 0 };
	int r = live_read(s, id, &o);

	return r < 0 ? r : object_delete(s, id, &o);
}

int store_secret_remove(struct store *s, uint32_t id)
{
	struct object o = { 0 };
	int r = live_read(s, id, &o);

	if (r == 0 && o.last_version != 0)
		r = -ENOTEMPTY;
	return r < 0 ? r : object_remove(s, id);
}

/* Its versions, ascending; malloc'd. */
static int versions_of(struct store *s, uint32_t id, int64_t **ret_ids, size_t *ret_n)
{
	struct query q = db_query(s->write, "SELECT id FROM versions WHERE id > ? AND id < ? ORDER BY id");
	int64_t *ids = NULL, *grown;
	size_t n = 0, room = 0;
	int r;

	query_int(&q, VERSION_ID(id, 0));
	query_int(&q, VERSION_ID(id + 1, 0));
	while ((r = query_step(&q)) > 0) {
		if (n == room) {
			room = room ? 2 * room : 16;
			grown = realloc(ids, room * sizeof *ids);
			r = -ENOMEM;
			if (!grown)
				break;
			ids = grown;
		}
		ids[n++] = column_int(&q, 0);
	}
	query_end(&q);
	if (r < 0) {
		free(ids);
		return r;
	}
	*ret_ids = ids;
	*ret_n = n;
	return 0;
}

int store_secret_recover(struct store *s, uint32_t id)
{
	struct object o = { 0 };
	struct change change;
	struct query q;
	int64_t *ids = NULL;
	size_t n = 0;
	int r = transaction_check(s);

	if (r == 0)
		r = object_read(s, id, &o);
	if (r == 0)
		r = o.deleted ? versions_of(s, id, &ids, &n) : -ENOENT;
	free(ids);
	if (r == 0 && n == 0)
		r = -ENOENT; /* emptied: only its name is left */
	if (r == 0)
		r = row_out(s, ROW_OBJECT, id, &change);
	if (r < 0)
		return r;
	q = db_query(
		s->write,
		"UPDATE objects SET deleted_at = NULL, purge_at = NULL, changed = max(deleted_at, ?) WHERE id = ?");
	query_int(&q, store_now(s));
	query_int(&q, id);
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	r = row_in(s, &change);
	return r < 0 ? r : store_event_add_of(s, EVENT_RECOVERED, id, 0, false);
}

static int erase_versions(struct store *s, uint32_t id)
{
	int64_t *ids = NULL;
	size_t n = 0;
	int r = versions_of(s, id, &ids, &n);

	if (r == 0 && n > 0)
		r = schema_drop_copies(s->path, s->schema);
	for (size_t i = 0; i < n && r == 0; i++)
		r = transaction_fail(s, version_erase(s, ids[i], true));
	/* told when the content goes, and so once, though the name may go later */
	if (r == 0 && n > 0)
		r = store_event_add_of(s, EVENT_PURGED, id, 0, false);
	if (r == 0 && n > 0)
		r = mark_forget(s, id);
	free(ids);
	return r;
}

int store_secret_purge(struct store *s, uint32_t id)
{
	struct object o = { 0 };
	int r = transaction_check(s);

	if (r == 0)
		r = object_read(s, id, &o);
	if (r == 0 && !o.deleted)
		r = -ENOENT;
	if (r == 0 && s->transaction.settings.purge_protection && clock_counted(s) < o.purge_at)
		r = -EPERM;
	if (r == 0)
		r = erase_versions(s, id);
	return r < 0 ? r : transaction_fail(s, object_remove(s, id));
}

int store_secret_empty(struct store *s, uint32_t id)
{
	struct object o = { 0 };
	int r = transaction_check(s);

	if (r == 0)
		r = object_read(s, id, &o);
	if (r == 0 && !o.deleted)
		r = -ENOENT;
	if (r == 0 && clock_counted(s) < o.purge_at)
		r = -EAGAIN;
	return r < 0 ? r : erase_versions(s, id);
}
