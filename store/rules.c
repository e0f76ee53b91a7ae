/* Rotation policies and hooks: few rows, held in memory as a whole. */
#include "store/lifecycle.h"
#include "store/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what may stand in a row ---- */

static bool printable(const char *text, size_t room)
{
	size_t n = strnlen(text, room);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return n < room;
}

/* Whatever the words are, a program is named by its whole path: nothing is looked for. */
static bool command_valid(const char *command, uint32_t user, uint32_t timeout)
{
	return command[0] == '/' && printable(command, HOOK_COMMAND_MAX) && user != UINT32_MAX && timeout >= 1 && timeout <= HOOK_TIMEOUT_MAX;
}

bool rotation_valid(const struct rotation *p)
{
	const bool rotates = p->action == ROTATION_ROTATE;

	if (!memchr(p->scope, '\0', sizeof p->scope) || !scope_valid(p->scope) || (!rotates && p->action != ROTATION_NOTIFY))
		return false;
	if ((p->every == 0) == (p->before == 0) || p->every < 0 || p->before < 0 || p->expiry < 0)
		return false;
	if ((p->every && p->every < ROTATION_LEAST_NS) || (p->before && p->before < ROTATION_LEAST_NS) || (p->expiry && p->expiry < EXPIRY_LEAST_NS))
		return false;
	/* a version that is due as soon as it is made would be rotated for ever */
	if (p->expiry && p->before && p->expiry - p->before < ROTATION_LEAST_NS)
		return false;
	if (!rotates)
		return !p->generator[0] && !p->command[0];
	if (!printable(p->generator, sizeof p->generator) || (p->generator[0] != 0) == (p->command[0] != 0))
		return false;
	return p->generator[0] || command_valid(p->command, p->user, p->timeout);
}

bool hook_valid(const struct hook *h)
{
	return memchr(h->scope, '\0', sizeof h->scope) && scope_valid(h->scope) && h->events && !(h->events & ~EVENTS_ALL) &&
	       !(h->events & EVENT_BIT(EVENT_HOOK_FAILED)) && h->debounce <= HOOK_DEBOUNCE_MAX && command_valid(h->command, h->user, h->timeout);
}

/* ---- rows to structs ---- */

bool rule_take_text(const struct query *q, int i, char *ret, size_t room)
{
	const char *text = column_text(q, i);
	size_t n = text ? strlen(text) : room;

	if (n >= room)
		return false;
	memcpy(ret, text, n + 1);
	return true;
}

bool rule_take_u32(const struct query *q, int i, uint32_t *ret)
{
	int64_t v = column_int(q, i);

	*ret = (uint32_t)v;
	return v >= 0 && v <= UINT32_MAX;
}

int rotation_parse(const struct query *q, struct rotation *ret)
{
	struct rotation p = { .id = (uint64_t)column_int(q, 0), .every = column_int(q, 3), .before = column_int(q, 4), .expiry = column_int(q, 5),
			      .created = column_int(q, 11) };
	uint32_t action = 0;

	if (column_int(q, 0) < 1 || !rule_take_text(q, 1, p.scope, sizeof p.scope) || !rule_take_u32(q, 2, &action) ||
	    !rule_take_text(q, 6, p.generator, sizeof p.generator) || !rule_take_text(q, 7, p.command, sizeof p.command) || !rule_take_u32(q, 8, &p.user) ||
	    !rule_take_u32(q, 9, &p.timeout) || !rule_take_u32(q, 10, &p.created_by))
		return -EBADMSG;
	p.action = (enum rotation_action)action;
	if (!rotation_valid(&p))
		return -EBADMSG;
	*ret = p;
	return 0;
}

int hook_parse(const struct query *q, struct hook *ret)
{
	struct hook h = { .id = (uint64_t)column_int(q, 0), .created = column_int(q, 8) };

	if (column_int(q, 0) < 1 || !rule_take_text(q, 1, h.scope, sizeof h.scope) || !rule_take_u32(q, 2, &h.events) ||
	    !rule_take_text(q, 3, h.command, sizeof h.command) || !rule_take_u32(q, 4, &h.user) || !rule_take_u32(q, 5, &h.debounce) || !rule_take_u32(q, 6, &h.timeout) ||
	    !rule_take_u32(q, 7, &h.created_by) || !hook_valid(&h))
		return -EBADMSG;
	*ret = h;
	return 0;
}

int notice_parse(const struct query *q, uint32_t *ret_near_days)
{
	int64_t days = column_int(q, 1);

	if (days < 1 || days > NEAR_EXPIRY_DAYS_MAX)
		return -EBADMSG;
	*ret_near_days = (uint32_t)days;
	return 0;
}

/* ---- the snapshot ---- */

struct rules *rules_new(void)
{
	struct rules *r = calloc(1, sizeof *r);

	if (r)
		r->near_days = NEAR_EXPIRY_DAYS;
	return r;
}

void rules_free(struct rules *r)
{
	if (!r)
		return;
	free(r->rotations);
	free(r->hooks);
	free(r->histories);
	free(r);
}

static int take_row(struct rules *r, enum row_kind kind, const struct query *q)
{
	if (kind == ROW_NOTICE)
		return notice_parse(q, &r->near_days);
	if (kind == ROW_ROTATION) {
		struct rotation *grown = reallocarray(r->rotations, r->n_rotations + 1, sizeof *grown);
		if (!grown)
			return -ENOMEM;
		r->rotations = grown;
		return rotation_parse(q, &grown[r->n_rotations++]);
	}
	if (kind == ROW_HISTORY) {
		struct history *grown = reallocarray(r->histories, r->n_histories + 1, sizeof *grown);
		if (!grown)
			return -ENOMEM;
		r->histories = grown;
		return history_parse(q, &grown[r->n_histories++]);
	}
	struct hook *grown = reallocarray(r->hooks, r->n_hooks + 1, sizeof *grown);
	if (!grown)
		return -ENOMEM;
	r->hooks = grown;
	return hook_parse(q, &grown[r->n_hooks++]);
}

int rules_load(struct db *db, int (*row)(enum row_kind kind, const struct query *q, void *arg), void *arg, struct rules **ret_rules)
{
	static const enum row_kind kinds[] = { ROW_ROTATION, ROW_HOOK, ROW_NOTICE, ROW_HISTORY };
	struct rules *rules = rules_new();
	int r = rules ? 0 : -ENOMEM;

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && r == 0; i++) {
		struct query q = db_query(db, row_table(kinds[i])->all);
		while ((r = query_step(&q)) > 0) {
			r = row(kinds[i], &q, arg);
			if (r == 0)
				r = take_row(rules, kinds[i], &q);
			if (r < 0)
				break;
		}
		query_end(&q);
	}
	if (r < 0) {
		rules_free(rules);
		return r;
	}
	*ret_rules = rules;
	return 0;
}

const struct rules *store_rules(const struct store *s)
{
	return s->tables.rules;
}

bool rule_nearer(const char *scope, const char *best, const char *name)
{
	if (!scope_covers(scope, name))
		return false;
	return !best || !strchr(scope, '*') || (strchr(best, '*') && strlen(scope) > strlen(best));
}

const struct rotation *rules_rotation(const struct rules *r, const char *name)
{
	const struct rotation *best = NULL;

	for (size_t i = 0; i < r->n_rotations; i++)
		if (rule_nearer(r->rotations[i].scope, best ? best->scope : NULL, name))
			best = &r->rotations[i];
	return best;
}

/* ---- changing ---- */

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
	struct query q = db_query(s->write, "INSERT INTO rotations(scope, action, every, before, expiry, generator, command, user, timeout, created_by, created, mac)"
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
	q = db_query(s->write, "INSERT INTO hooks(scope, events, command, user, debounce, timeout, created_by, created, mac) VALUES(?, ?, ?, ?, ?, ?, ?, ?, x'')");
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
