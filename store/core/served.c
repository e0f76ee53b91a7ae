
#include "store/core/served.h"

#include "store/core/catalog.h"
#include "store/core/db.h"
#include "store/core/idset.h"
#include "store/core/row_change.h"
#include "store/core/step.h"

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t store_served_since(const struct store_settings *settings, const struct catalog_secret *c, int64_t now)
{
	const struct catalog_version *v = catalog_version(c, c->current);
	int64_t since = c->served ? c->served : v ? v->created : c->created;

	if (v && settings->enforce_validity && v->not_before <= now)
		since = later(since, v->not_before);
	if (v && settings->enforce_validity && v->expires <= now)
		since = later(since, v->expires);
	return since;
}

/* The secret as the transaction leaves it, with the one version that it serves: 1, or 0 when it is gone. */
static int read_after(struct store *s, uint32_t id, struct catalog_secret *ret, struct catalog_version *ret_version)
{
	enum { OF_OBJECT_ENABLED, OF_OBJECT_DELETED };
	enum { OF_VERSION_ID, OF_VERSION_CREATED, OF_VERSION_NOT_BEFORE, OF_VERSION_EXPIRES };
	struct query q = db_query(s->write, "SELECT enabled, deleted_at IS NOT NULL FROM objects WHERE id = ?");
	int r;

	query_int(&q, id);
	r = query_step(&q);
	if (r > 0)
		*ret = (struct catalog_secret){ .id = id,
						.enabled = column_int(&q, OF_OBJECT_ENABLED) != 0,
						.deleted = column_int(&q, OF_OBJECT_DELETED) != 0 };
	query_end(&q);
	if (r <= 0)
		return r;
	q = db_query(s->write, "SELECT id, created, not_before, expires FROM versions WHERE id > ? AND id < ? AND "
			       "enabled ORDER BY id DESC LIMIT 1");
	query_int(&q, VERSION_ID(id, 0));
	query_int(&q, VERSION_ID(id + 1, 0));
	r = query_step(&q);
	if (r > 0) {
		*ret_version = (struct catalog_version){ .number = VERSION_NUMBER(column_int(&q, OF_VERSION_ID)),
							 .created = column_int(&q, OF_VERSION_CREATED),
							 .not_before = column_int(&q, OF_VERSION_NOT_BEFORE),
							 .expires = column_int(&q, OF_VERSION_EXPIRES) };
		ret->current = ret_version->number;
		ret->versions = ret_version;
		ret->n_versions = 1;
	}
	query_end(&q);
	return r < 0 ? r : 1;
}

static int write_served(struct store *s, uint32_t id, int64_t since)
{
	struct change change;
	struct query q;
	int r = row_out(s, ROW_OBJECT, id, &change);

	if (r < 0)
		return r;
	q = db_query(s->write, "UPDATE objects SET served = ? WHERE id = ?");
	query_int(&q, since);
	query_int(&q, id);
	r = query_run(&q);
	return r < 0 ? r : row_in(s, &change);
}

static int mark_one(struct store *s, uint32_t id)
{
	const struct transaction *t = &s->transaction;
	const struct catalog_secret *before = catalog_get(s->tables.catalog, id);
	struct catalog_version version = { 0 };
	struct catalog_secret after;
	int r;

	if (!before) /* its version is as old as its name */
		return 0;
	r = read_after(s, id, &after, &version);
	if (r <= 0 || !serves_else(&t->settings, before, &after))
		return r < 0 ? r : 0;
	/* one that this transaction made serves since it was made, to the nanosecond */
	const int64_t now = store_now(s),
		      since = version.number > before->current && version.created >= t->began ? version.created : now;
	const int64_t shown = store_served_since(&s->tables.settings, before, now);
	return write_served(s, id, shown < INT64_MAX ? later(since, shown + 1) : shown);
}

int served_mark(struct store *s)
{
	int r = 0;

	for (uint32_t id = idset_next(s->transaction.touched, 0); id && r == 0;
	     id = idset_next(s->transaction.touched, id))
		r = mark_one(s, id);
	return r;
}
