/* Rotation policies and hooks: few rows, held in memory as a whole. */
#include "store/lifecycle/rules.h"

#include <errno.h>

#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/rows.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/marks.h"

int rules_room(struct store *s, const char *sql)
{
	struct query q = db_query(s->write, sql);
	int r = query_step(&q);

	if (r > 0)
		r = column_int(&q, 0) < RULES_MAX ? 0 : -E2BIG;
	query_end(&q);
	return r;
}

static int insert_rotation(struct store *s, const struct rotation *p)
{
	struct query q = db_query(s->write, "INSERT INTO rotations(scope, action, every, before, expiry, generator, "
					    "command, user, timeout, created_by, created, mac)"
					    " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, x'')");

	query_text(&q, p->scope);
	query_int(&q, p->action);
	query_int(&q, p->every);
	query_int(&q, p->before);
	query_int(&q, p->expiry);
	query_text(&q, p->generator);
	query_text(&q, p->command);
	query_int(&q, p->user);
	query_int(&q, p->timeout);
	query_int(&q, p->created_by);
	query_int(&q, store_now(s));
	return query_run(&q);
}

int rule_inserted(struct store *s, enum row_kind kind, uint64_t *ret_id)
{
	struct change change = row_new(kind, sqlite3_last_insert_rowid(db_handle(s->write)));
	int r = row_in(s, &change);

	if (r == 0)
		*ret_id = (uint64_t)change.row;
	return r;
}

int rule_remove(struct store *s, enum row_kind kind, const char *sql, uint64_t id)
{
	struct change change;
	struct query q;
	int r = id == 0 || id > INT64_MAX ? -ENOENT : row_out(s, kind, (int64_t)id, &change);

	if (r < 0)
		return r;
	q = db_query(s->write, sql);
	query_int(&q, change.row);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : row_gone(s, &change);
}

static int rotation_of_scope(struct store *s, const char *scope, uint64_t *ret_id)
{
	struct query q = db_query(s->write, "SELECT id FROM rotations WHERE scope = ?");
	int r;

	query_text(&q, scope);
	r = query_step(&q);
	if (r > 0)
		*ret_id = (uint64_t)column_int(&q, 0);
	query_end(&q);
	return r;
}

int store_rotation_remove(struct store *s, uint64_t id)
{
	int r = transaction_check(s);

	return r < 0 ? r : rule_remove(s, ROW_ROTATION, "DELETE FROM rotations WHERE id = ?", id);
}

int store_rotation_put(struct store *s, const struct rotation *rotation, uint64_t *ret_id)
{
	uint64_t before = 0;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (!rotation_valid(rotation))
		return -EINVAL;
	r = rotation_of_scope(s, rotation->scope, &before);
	if (r > 0)
		r = store_rotation_remove(s, before);
	if (r == 0)
		r = rules_room(s, "SELECT count(*) FROM rotations");
	if (r < 0)
		return r;
	r = insert_rotation(s, rotation);
	return r < 0 ? transaction_fail(s, r) : rule_inserted(s, ROW_ROTATION, ret_id);
}

int store_hook_add(struct store *s, const struct hook *hook, uint64_t *ret_id)
{
	struct query q;
	uint64_t id = 0, end = 0;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (!hook_valid(hook))
		return -EINVAL;
	r = rules_room(s, "SELECT count(*) FROM hooks");
	if (r < 0)
		return r;
	q = db_query(s->write, "INSERT INTO hooks(scope, events, command, user, debounce, timeout, created_by, "
			       "created, mac) VALUES(?, ?, ?, ?, ?, ?, ?, ?, x'')");
	query_text(&q, hook->scope);
	query_int(&q, hook->events);
	query_text(&q, hook->command);
	query_int(&q, hook->user);
	query_int(&q, hook->debounce);
	query_int(&q, hook->timeout);
	query_int(&q, hook->created_by);
	query_int(&q, store_now(s));
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	r = rule_inserted(s, ROW_HOOK, &id);
	/* it hears of what comes after it */
	if (r == 0)
		r = events_position(s, &end);
	if (r == 0)
		r = store_hook_place_put(s, id, &(struct hook_place){ .delivered = end });
	if (r == 0)
		*ret_id = id;
	return r;
}

int store_hook_remove(struct store *s, uint64_t id)
{
	int r = transaction_check(s);

	if (r == 0)
		r = rule_remove(s, ROW_HOOK, "DELETE FROM hooks WHERE id = ?", id);
	if (r < 0)
		return r;
	return trail_remove(s, ROW_HOOK_PLACE, (int64_t)id, (int64_t)id);
}

int store_near_expiry_put(struct store *s, uint32_t days)
{
	struct change change = row_new(ROW_NOTICE, 1);
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (days < 1 || days > NEAR_EXPIRY_DAYS_MAX)
		return -EINVAL;
	r = row_out(s, ROW_NOTICE, 1, &change);
	if (r < 0 && r != -ENOENT)
		return r;
	q = db_query(s->write, "INSERT OR REPLACE INTO notices(id, near_days, mac) VALUES(1, ?, x'')");
	query_int(&q, days);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : row_in(s, &change);
}
