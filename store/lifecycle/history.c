/* How much of a secret's history is kept: the rules, and what they let go. What goes is destroyed for ever, so doubt
 * keeps: see history_goes() and due_at(). */
#include "store/lifecycle/history.h"

#include <errno.h>

#include "store/core/clock.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/rows.h"
#include "store/core/rules_table.h"
#include "store/lifecycle/rules.h"

/* ---- what goes ---- */

static int64_t later(int64_t time, int64_t span) { return time > INT64_MAX - 1 - span ? INT64_MAX - 1 : time + span; }

static int64_t greatest(int64_t a, int64_t b) { return a > b ? a : b; }

/* When the promise of time ends: by the wall clock and by the vault's own, whichever is later. The wall clock vouches
 * for what was before the rule. */
static int64_t due_at(const struct history *h, int64_t since, struct history_clocks now)
{
	int64_t trusted, by_counted;

	if (!h->span)
		return later(since, HISTORY_GRACE_NS);
	trusted = later(h->created, greatest(now.counted - h->counted, 0));
	by_counted = later(since, h->span) - trusted;
	return greatest(later(since, greatest(h->span, HISTORY_GRACE_NS)),
			by_counted > 0 ? later(now.wall, by_counted) : INT64_MIN);
}

size_t history_goes(const struct history *h, const struct catalog_secret *c, struct history_clocks now,
		    uint32_t *ret_numbers, size_t n, int64_t *ret_next)
{
	uint32_t whole = 0, newest = 0;
	int64_t since = INT64_MIN;
	size_t found = 0;

	*ret_next = INT64_MAX;
	for (uint32_t i = 0; i < c->n_versions; i++) {
		whole += !c->versions[i].destroyed;
		newest = c->versions[i].destroyed ? newest : c->versions[i].number;
	}
	for (uint32_t i = 0; i < c->n_versions && whole > h->versions; i++) {
		const struct catalog_version *v = &c->versions[i];
		/* A thing of the past since the next one was made; one without a next, since it was made itself. What
		 * was made under a clock that was behind is as young as what came before it. */
		since = greatest(since, c->versions[i + 1 < c->n_versions ? i + 1 : i].created);
		since = greatest(since, v->created);
		if (v->destroyed)
			continue;
		whole--;
		if (v->number == (c->current ? c->current : newest))
			continue;
		const int64_t due = due_at(h, since, now);
		if (due > now.wall)
			*ret_next = due < *ret_next ? due : *ret_next;
		else if (found < n)
			ret_numbers[found++] = v->number;
		else
			*ret_next = now.wall;
	}
	return found;
}

size_t store_history_goes(const struct store *s, const struct catalog_secret *c, uint32_t *ret_numbers, size_t n,
			  int64_t *ret_next, struct history *ret_rule)
{
	const struct history *h = c && !c->deleted && c->n_versions > 1 ? rules_history(s->tables.rules, c->name)
									: NULL;

	*ret_next = INT64_MAX;
	if (!h || s->tables.settings.purge_protection)
		return 0;
	if (ret_rule)
		*ret_rule = *h;
	return history_goes(h, c, (struct history_clocks){ store_now(s), clock_counted(s) }, ret_numbers, n, ret_next);
}

/* ---- changing ---- */

static int history_of_scope(struct store *s, const char *scope, uint64_t *ret_id)
{
	struct query q = db_query(s->write, "SELECT id FROM histories WHERE scope = ?");
	int r;

	query_text(&q, scope);
	r = query_step(&q);
	if (r > 0)
		*ret_id = (uint64_t)column_int(&q, 0);
	query_end(&q);
	return r;
}

int store_history_remove(struct store *s, uint64_t id)
{
	int r = transaction_check(s);

	return r < 0 ? r : rule_remove(s, ROW_HISTORY, "DELETE FROM histories WHERE id = ?", id);
}

int store_history_put(struct store *s, const struct history *h, uint64_t *ret_id)
{
	uint64_t before = 0;
	int64_t counted = 0;
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (!history_valid(h))
		return -EINVAL;
	r = history_of_scope(s, h->scope, &before);
	if (r > 0)
		r = store_history_remove(s, before);
	if (r == 0)
		r = rules_room(s, "SELECT count(*) FROM histories");
	if (r == 0)
		r = clock_write(s, &counted);
	if (r < 0)
		return r;
	q = db_query(s->write, "INSERT INTO histories(scope, versions, span, created_by, created, counted, mac) "
			       "VALUES(?, ?, ?, ?, ?, ?, x'')");
	query_text(&q, h->scope);
	query_int(&q, h->versions);
	query_int(&q, h->span);
	query_int(&q, h->created_by);
	query_int(&q, store_now(s));
	query_int(&q, counted);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : rule_inserted(s, ROW_HISTORY, ret_id);
}
