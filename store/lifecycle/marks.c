/* What was told already, and what is due next. */
#include "store/lifecycle/marks.h"

#include <errno.h>

#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/rows.h"
#include "store/core/rules_table.h"

/* ---- marks ---- */

static int mark_parse(struct store *s, const struct query *q, struct mark *ret)
{
	uint8_t mac[DIGEST_LEN];
	int r = row_verify(s->row_keys->row, ROW_MARK, q, mac);

	if (r < 0)
		return r;
	*ret = (struct mark){ .secret = (uint32_t)column_int(q, MARKS_ID),
			      .version = (uint32_t)column_int(q, MARKS_VERSION),
			      .expires = column_int(q, MARKS_EXPIRES),
			      .told = (uint32_t)column_int(q, MARKS_TOLD),
			      .failures = (uint32_t)column_int(q, MARKS_FAILURES),
			      .retry = column_int(q, MARKS_RETRY) };
	return 0;
}

int store_mark_get(struct store *s, uint32_t secret, struct mark *ret)
{
	struct mark m = { .secret = secret };
	struct query q;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = -ENOKEY;
	if (s->row_keys) {
		q = db_query(s->read, row_table(ROW_MARK)->one);
		query_int(&q, secret);
		r = query_step(&q);
		if (r > 0)
			r = mark_parse(s, &q, &m);
		query_end(&q);
	}
	pthread_mutex_unlock(&s->read_mutex);
	if (r == 0)
		*ret = m;
	return r;
}

int store_marks_each(struct store *s, int (*fn)(const struct mark *m, void *arg), void *arg)
{
	struct query q = { 0 };
	struct mark m;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = s->row_keys ? 0 : -ENOKEY;
	if (r == 0)
		q = db_query(s->read, row_table(ROW_MARK)->all);
	while (r == 0 && (r = query_step(&q)) > 0) {
		r = mark_parse(s, &q, &m);
		if (r == 0)
			r = fn(&m, arg);
	}
	query_end(&q);
	pthread_mutex_unlock(&s->read_mutex);
	return r;
}

int store_mark_put(struct store *s, const struct mark *m)
{
	struct query q;
	int r = transaction_check(s);

	if (r == 0)
		r = trail_out(s, ROW_MARK, m->secret);
	if (r < 0)
		return r;
	q = db_query(s->write, "INSERT OR REPLACE INTO marks(id, version, expires, told, failures, retry, mac) "
			       "VALUES(?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, m->secret);
	query_int(&q, m->version);
	query_int(&q, m->expires);
	query_int(&q, m->told);
	query_int(&q, m->failures);
	query_int(&q, m->retry);
	r = query_run(&q);
	if (r == 0)
		r = trail_in(s, ROW_MARK, m->secret);
	return transaction_fail(s, r);
}

int mark_forget(struct store *s, uint32_t secret) { return trail_remove(s, ROW_MARK, secret, secret); }

/* ---- places of hooks ---- */

int store_hook_place(struct store *s, uint64_t hook, struct hook_place *ret)
{
	struct hook_place place = { 0 };
	uint8_t mac[DIGEST_LEN];
	struct query q;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = -ENOKEY;
	if (s->row_keys) {
		q = db_query(s->read, row_table(ROW_HOOK_PLACE)->one);
		query_int(&q, (int64_t)hook);
		r = query_step(&q);
		if (r == 0)
			r = -ENOENT;
		if (r > 0)
			r = row_verify(s->row_keys->row, ROW_HOOK_PLACE, &q, mac);
		if (r == 0)
			place = (struct hook_place){ .delivered = (uint64_t)column_int(&q, HOOK_PLACES_DELIVERED),
						     .attempts = (uint32_t)column_int(&q, HOOK_PLACES_ATTEMPTS),
						     .retry = column_int(&q, HOOK_PLACES_RETRY) };
		if (r == 0 && !column_null(&q, HOOK_PLACES_WHY) &&
		    !rule_take_text(&q, HOOK_PLACES_WHY, place.why, sizeof place.why))
			r = -EBADMSG;
		query_end(&q);
	}
	pthread_mutex_unlock(&s->read_mutex);
	if (r == 0)
		*ret = place;
	return r;
}

int store_hook_place_put(struct store *s, uint64_t hook, const struct hook_place *place)
{
	struct query q;
	int r = transaction_check(s);

	if (r == 0)
		r = trail_out(s, ROW_HOOK_PLACE, (int64_t)hook);
	if (r < 0)
		return r;
	q = db_query(s->write, "INSERT OR REPLACE INTO hook_places(id, delivered, attempts, retry, why, mac) VALUES(?, "
			       "?, ?, ?, ?, x'')");
	query_int(&q, (int64_t)hook);
	query_int(&q, (int64_t)place->delivered);
	query_int(&q, place->attempts);
	query_int(&q, place->retry);
	query_text(&q, place->why[0] ? place->why : NULL);
	r = query_run(&q);
	if (r == 0)
		r = trail_in(s, ROW_HOOK_PLACE, (int64_t)hook);
	return transaction_fail(s, r);
}

/* ---- what is due ---- */

static int64_t before(int64_t time, int64_t span) { return time < INT64_MIN + span ? INT64_MIN : time - span; }

static int64_t after(int64_t time, int64_t span) { return time > INT64_MAX - 1 - span ? INT64_MAX : time + span; }

static struct due sooner(struct due a, enum due_kind kind, int64_t at)
{
	return at < a.at ? (struct due){ kind, at } : a;
}

/* When a policy comes to bear on a version. Never sooner than the least span after its creation: what expires soon
 * after it was made would else be rotated at once. */
static int64_t policy_time(const struct rotation *policy, const struct catalog_version *v)
{
	int64_t at, least = after(v->created, ROTATION_LEAST_NS);

	if (policy->every)
		return after(v->created, policy->every);
	if (v->expires == INT64_MAX)
		return INT64_MAX;
	at = before(v->expires, policy->before);
	return at > least ? at : least;
}

struct due lifecycle_due(const struct rotation *policy, const struct catalog_version *v, const struct mark *mark,
			 uint32_t near_days)
{
	struct due due = { DUE_NOTHING, INT64_MAX };
	bool same_version, same_expiry;
	uint32_t told;
	int64_t at;

	if (!v)
		return due;
	same_version = mark->version == v->number;
	same_expiry = same_version && mark->expires == v->expires;
	told = same_expiry ? mark->told : same_version ? mark->told & TOLD_ROTATION : 0;
	if (v->expires != INT64_MAX && !(told & TOLD_NEAR) && !(told & TOLD_EXPIRED))
		due = sooner(due, DUE_NEAR_EXPIRY, before(v->expires, (int64_t)near_days * 86400 * NS_PER_S));
	if (v->expires != INT64_MAX && !(told & TOLD_EXPIRED))
		due = sooner(due, DUE_EXPIRED, v->expires);
	if (!policy)
		return due;
	at = policy_time(policy, v);
	if (policy->action == ROTATION_NOTIFY)
		return told & TOLD_ROTATION ? due : sooner(due, DUE_NOTIFY, at);
	if (same_version && mark->failures && mark->retry > at)
		at = mark->retry;
	return sooner(due, DUE_ROTATE, at);
}
