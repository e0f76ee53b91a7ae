/* Rotation policies, hooks and rules of history as they are in memory: few rows, held as a whole. */
#include "store/core/rules_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/rows.h"

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

int rules_load(struct db *db, int (*row)(enum row_kind kind, const struct query *q, void *arg), void *arg,
	       struct rules **ret_rules)
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

const struct rules *store_rules(const struct store *s) { return s->tables.rules; }

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

const struct history *rules_history(const struct rules *r, const char *name)
{
	const struct history *best = NULL;

	for (size_t i = 0; i < r->n_histories; i++)
		if (rule_nearer(r->histories[i].scope, best ? best->scope : NULL, name))
			best = &r->histories[i];
	return best;
}
