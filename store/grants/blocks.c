
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/policy.h"
#include "store/core/columns.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/step.h"
#include "store/grants/internal.h"
#include "store/lifecycle/events.h"

static int blocked_already(struct store *s, const char *principal)
{
	struct query q = db_query(s->write, "SELECT 1 FROM blocks WHERE principal = ?");
	int r;

	query_text(&q, principal);
	r = query_step(&q);
	query_end(&q);
	return r > 0 ? -EEXIST : r;
}

/* -EBUSY when the block would leave nobody who can administer: asked of the policy as it would be with it. */
static int check_somebody_left(struct store *s, const struct principal *principal, uint64_t id)
{
	struct policy_change change = { .kind = POLICY_ADD_BLOCK, .block = { .id = id, .principal = *principal } };
	struct policy *policy = NULL, *blocked = NULL;
	struct grants grants;
	int r = step_policy(s, s->write, s->transaction.changes, s->transaction.n_changes, &policy, &grants);

	if (r == 0)
		r = policy_apply(policy, &change, 1, &blocked);
	if (r == 0 && policy_count_administrators(blocked, 0, store_now(s)) == 0)
		r = -EBUSY;
	policy_unref(blocked);
	policy_unref(policy);
	return r;
}

/* Whoever follows changes of access must hear of this one. */
static int tell(struct store *s, const char *principal, const char *what)
{
	char detail[EVENT_DETAIL_MAX];

	/* a very long one is cut: it stands whole in its row */
	snprintf(detail, sizeof detail, "%s: %.200s", what, principal);
	return store_event_add(s, &(struct event){ .kind = EVENT_BINDING_CHANGED, .name = "*", .detail = detail });
}

int store_block_add(struct store *s, const struct principal *principal, const char *reason, const char *created_by,
		    uint64_t *ret_id)
{
	struct transaction *t = &s->transaction;
	char text[PRINCIPAL_TEXT_MAX];
	struct change change;
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (!block_principal_valid(principal) || (reason && strlen(reason) > REASON_MAX) ||
	    (created_by && strlen(created_by) > CREATED_BY_MAX))
		return -EINVAL;
	r = binding_principal_text(principal, text);
	if (r == 0)
		r = blocked_already(s, text);
	if (r == 0)
		r = check_somebody_left(s, principal, (uint64_t)t->head.next_binding);
	if (r < 0)
		return r;
	change = row_new(ROW_BLOCK, t->head.next_binding);
	q = db_query(s->write,
		     "INSERT INTO blocks(id, principal, reason, created_by, created, mac) VALUES(?, ?, ?, ?, ?, x'')");
	query_int(&q, change.row);
	query_text(&q, text);
	query_text(&q, reason);
	query_text(&q, created_by);
	query_int(&q, store_now(s));
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	t->head.next_binding++;
	r = row_in(s, &change);
	if (r == 0)
		r = tell(s, text, "blocked");
	if (r == 0)
		*ret_id = (uint64_t)change.row;
	return r;
}

int store_block_remove(struct store *s, uint64_t id)
{
	char text[PRINCIPAL_TEXT_MAX];
	struct change change;
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (id == 0 || id > INT64_MAX)
		return -ENOENT;
	r = row_out(s, ROW_BLOCK, (int64_t)id, &change);
	if (r < 0)
		return r;
	q = db_query(s->write, "SELECT principal FROM blocks WHERE id = ?");
	query_int(&q, change.row);
	r = query_step(&q);
	snprintf(text, sizeof text, "%s", r > 0 && column_text(&q, 0) ? column_text(&q, 0) : "");
	query_end(&q);
	if (r > 0)
		r = tell(s, text, "unblocked");
	if (r < 0)
		return transaction_fail(s, r);
	q = db_query(s->write, "DELETE FROM blocks WHERE id = ?");
	query_int(&q, change.row);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : row_gone(s, &change);
}

int store_block_info(struct store *s, uint64_t block, struct store_binding_info *ret)
{
	struct store_binding_info info = { 0 };
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = s->row_keys ? store_read_info(s, ROW_BLOCK, block, BLOCKS_REASON, &info) : -ENOKEY;
	pthread_mutex_unlock(&s->read_mutex);
	if (r < 0) {
		store_binding_info_free(&info);
		return r;
	}
	*ret = info;
	return 0;
}
