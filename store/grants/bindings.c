
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "store/core/columns.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/rows.h"
#include "store/core/step.h"
#include "store/core/transaction_internal.h"
#include "store/grants/internal.h"
#include "store/lifecycle/events.h"

/* ---- roles ---- */

int store_role_put(struct store *s, const char *name, action_set actions, uint32_t *ret_id)
{
	struct transaction *t = &s->transaction;
	struct change change;
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (role_builtin_find(name))
		return -EEXIST;
	if (!role_name_valid(name) || (actions & ~ACTION_ALL) != 0)
		return -EINVAL;
	q = db_query(s->write, "SELECT 1 FROM roles WHERE name = ?");
	query_text(&q, name);
	r = query_step(&q);
	query_end(&q);
	if (r != 0)
		return r > 0 ? -EEXIST : r;
	if (t->head.next_role > UINT32_MAX)
		return -EOVERFLOW;
	change = row_new(ROW_ROLE, t->head.next_role);
	q = db_query(s->write, "INSERT INTO roles(id, name, actions, mac) VALUES(?, ?, ?, x'')");
	query_int(&q, change.row);
	query_text(&q, name);
	query_int(&q, (int64_t)actions);
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	t->head.next_role++;
	r = row_in(s, &change);
	if (r == 0)
		*ret_id = (uint32_t)change.row;
	return r;
}

static int role_exists(struct store *s, uint32_t role)
{
	struct query q;
	int r;

	if (role_builtin_get(role))
		return 0;
	q = db_query(s->write, "SELECT 1 FROM roles WHERE id = ?");
	query_int(&q, role);
	r = query_step(&q);
	query_end(&q);
	return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}

/* ---- bindings ---- */

int binding_principal_text(const struct principal *p, char ret_text[PRINCIPAL_TEXT_MAX])
{
	struct principal parsed;

	if (p->n == 0 || p->n > PRINCIPAL_CONDITIONS)
		return -EINVAL;
	principal_print(p, ret_text);
	if (principal_parse(ret_text, NULL, NULL, &parsed) < 0 || parsed.n != p->n)
		return -EINVAL;
	return 0;
}

static int tell(struct store *s, int64_t id, uint32_t role, const char *principal, const char *scope, const char *what)
{
	const struct role *builtin = role_builtin_get(role);
	char detail[EVENT_DETAIL_MAX];

	snprintf(detail, sizeof detail, "binding %lld %s: %s to %s", (long long)id, what,
		 builtin ? builtin->name : "a role of the vault's own", principal);
	return store_event_add(s, &(struct event){ .kind = EVENT_BINDING_CHANGED, .name = scope, .detail = detail });
}

int store_binding_add(struct store *s, const struct binding *b, const char *reason, const char *created_by,
		      uint64_t *ret_id)
{
	struct transaction *t = &s->transaction;
	char principal[PRINCIPAL_TEXT_MAX];
	struct change change;
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (!memchr(b->scope, '\0', sizeof b->scope) || !scope_valid(b->scope) || b->until <= b->from ||
	    (reason && strlen(reason) > REASON_MAX) || (created_by && strlen(created_by) > CREATED_BY_MAX))
		return -EINVAL;
	r = binding_principal_text(&b->principal, principal);
	if (r == 0)
		r = role_exists(s, b->role);
	if (r < 0)
		return r;
	change = row_new(ROW_BINDING, t->head.next_binding);
	q = db_query(s->write, "INSERT INTO bindings(id, role, principal, scope, valid_from, valid_until, reason, "
			       "created_by, created, mac)"
			       " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, change.row);
	query_int(&q, b->role);
	query_text(&q, principal);
	query_text(&q, b->scope);
	query_int(&q, b->from);
	query_int(&q, b->until);
	query_text(&q, reason);
	query_text(&q, created_by);
	query_int(&q, store_now(s));
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	t->head.next_binding++;
	r = row_in(s, &change);
	if (r == 0)
		r = tell(s, change.row, b->role, principal, b->scope, "made");
	if (r == 0)
		*ret_id = (uint64_t)change.row;
	return r;
}

/* -EBUSY when nobody would be left who can administer: asked of the policy as it stands within the transaction. */
static int check_not_last(struct store *s, uint64_t id)
{
	struct policy *policy = NULL;
	int64_t now = store_now(s);
	struct grants grants;
	int r = step_policy(s, s->write, s->transaction.changes, s->transaction.n_changes, &policy, &grants);

	if (r == 0 && policy_count_administrators(policy, 0, now) > 0 &&
	    policy_count_administrators(policy, id, now) == 0)
		r = -EBUSY;
	policy_unref(policy);
	return r;
}

static int tell_removed(struct store *s, int64_t id)
{
	struct query q = db_query(s->write, row_table(ROW_BINDING)->one);
	char principal[PRINCIPAL_TEXT_MAX];
	struct binding b;
	int r;

	query_int(&q, id);
	r = query_step(&q);
	if (r == 0)
		r = -ENOENT;
	if (r > 0)
		r = binding_parse(&q, &b);
	query_end(&q);
	if (r < 0)
		return r;
	principal_print(&b.principal, principal);
	return tell(s, id, b.role, principal, b.scope, "revoked");
}

int store_binding_remove(struct store *s, uint64_t id)
{
	struct change change;
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (id == 0 || id > INT64_MAX)
		return -ENOENT;
	r = check_not_last(s, id);
	if (r == 0)
		r = tell_removed(s, (int64_t)id);
	if (r == 0)
		r = row_out(s, ROW_BINDING, (int64_t)id, &change);
	if (r < 0)
		return r;
	q = db_query(s->write, "DELETE FROM bindings WHERE id = ?");
	query_int(&q, change.row);
	r = query_run(&q);
	if (r == 0)
		r = trail_remove(s, ROW_BINDING_USE, change.row, change.row);
	return r < 0 ? transaction_fail(s, r) : row_gone(s, &change);
}

/* ---- what a person wants to know of one ---- */

static int64_t use_in_memory(struct store *s, uint64_t binding)
{
	int64_t at = 0;

	for (size_t i = 0; i < BINDING_USES; i++)
		if (atomic_load(&s->uses[i].binding) == binding && atomic_load(&s->uses[i].at) > at)
			at = atomic_load(&s->uses[i].at);
	return at;
}

/* Behind a reason stand who made it and when, in both tables. */
_Static_assert(BINDINGS_CREATED_BY == BINDINGS_REASON + 1 && BINDINGS_CREATED == BINDINGS_REASON + 2 &&
		       BLOCKS_CREATED_BY == BLOCKS_REASON + 1 && BLOCKS_CREATED == BLOCKS_REASON + 2,
	       "store_read_info reads them by that");

int store_read_info(struct store *s, enum row_kind kind, uint64_t id, int reason, struct store_binding_info *info)
{
	struct query q = db_query(s->read, row_table(kind)->one);
	uint8_t mac[DIGEST_LEN];
	const char *text;
	int r;

	query_int(&q, (int64_t)id);
	r = row_find(s->row_keys->row, kind, &q, mac);
	if (r == 0) {
		info->created = column_int(&q, reason + 2);
		text = column_text(&q, reason);
		info->reason = text ? strdup(text) : NULL;
		r = text && !info->reason ? -ENOMEM : 0;
		text = column_text(&q, reason + 1);
		info->created_by = text ? strdup(text) : NULL;
		r = text && !info->created_by ? -ENOMEM : r;
	}
	query_end(&q);
	return r;
}

int store_binding_info(struct store *s, uint64_t binding, struct store_binding_info *ret)
{
	struct store_binding_info info = { 0 };
	struct query q;
	int64_t used = use_in_memory(s, binding);
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = s->row_keys ? store_read_info(s, ROW_BINDING, binding, BINDINGS_REASON, &info) : -ENOKEY;
	if (r == 0) {
		q = db_query(s->read, "SELECT last_used FROM binding_use WHERE id = ?");
		query_int(&q, (int64_t)binding);
		r = query_step(&q);
		info.last_used = r > 0 ? column_int(&q, 0) : 0;
		if (used > info.last_used)
			info.last_used = used;
		query_end(&q);
	}
	pthread_mutex_unlock(&s->read_mutex);
	if (r < 0) {
		store_binding_info_free(&info);
		return r;
	}
	*ret = info;
	return 0;
}

void store_binding_info_free(struct store_binding_info *i)
{
	free(i->reason);
	free(i->created_by);
	*i = (struct store_binding_info){ 0 };
}

/* ---- last use ----
 *
 * A table of fixed size, written without a lock on the way of every open. It is for people ("is this grant still
 * needed?"): when it is full, or when a slot is handed on in the instant between two writes, a moment is lost or stands
 * for a neighbour, and nothing worse. */

#define USE_PROBES 8u

void store_binding_used(struct store *s, uint64_t binding, int64_t now)
{
	size_t start = (size_t)(binding * 0x9e3779b97f4a7c15u >> 52) % BINDING_USES;

	for (size_t i = 0; i < USE_PROBES; i++) {
		size_t at = (start + i) % BINDING_USES;
		uint64_t there = atomic_load_explicit(&s->uses[at].binding, memory_order_relaxed);
		/* Free, or of a binding whose last use is on disk already. */
		if (there != binding && atomic_load_explicit(&s->uses[at].at, memory_order_relaxed) == 0)
			if (atomic_compare_exchange_strong(&s->uses[at].binding, &there, binding))
				there = binding;
		if (there == binding) {
			atomic_store_explicit(&s->uses[at].at, now, memory_order_relaxed);
			return;
		}
	}
}

static int write_use(struct store *s, uint64_t binding, int64_t at)
{
	struct query q = db_query(s->write, "SELECT 1 FROM bindings WHERE id = ?");
	int r;

	query_int(&q, (int64_t)binding);
	r = query_step(&q);
	query_end(&q);
	if (r <= 0)
		return r;
	r = trail_out(s, ROW_BINDING_USE, (int64_t)binding);
	if (r < 0)
		return r;
	q = db_query(s->write, "INSERT OR REPLACE INTO binding_use(id, last_used) VALUES(?, ?)");
	query_int(&q, (int64_t)binding);
	query_int(&q, at);
	r = query_run(&q);
	return r < 0 ? r : trail_in(s, ROW_BINDING_USE, (int64_t)binding);
}

static int write_uses(struct store *s, void *arg)
{
	int r = 0;

	(void)arg;
	for (size_t i = 0; i < BINDING_USES && r == 0; i++)
		if (atomic_load(&s->uses[i].at))
			r = write_use(s, atomic_load(&s->uses[i].binding), atomic_exchange(&s->uses[i].at, 0));
	return r;
}

int binding_uses_flush(struct store *s)
{
	size_t i = 0;

	while (i < BINDING_USES && atomic_load(&s->uses[i].at) == 0)
		i++;
	return i < BINDING_USES ? transaction_run(s, write_uses, NULL) : 0;
}
