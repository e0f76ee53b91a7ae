#include "store/core/transaction.h"

#include <errno.h>
#include <stdlib.h>

#include "store/core/db.h"
#include "store/core/follow.h"
#include "store/core/idset.h"
#include "store/core/row_change.h"
#include "store/core/scrub.h"
#include "store/core/served.h"
#include "store/core/step.h"
#include "store/core/transaction_internal.h"

void touched_free(void *touched)
{
	struct touched *t = touched;

	if (!t)
		return;
	idset_free(t->objects);
	idset_free(t->served);
	free(t);
}

static void touched_forget(struct store *s)
{
	touched_free(pthread_getspecific(s->touched));
	pthread_setspecific(s->touched, NULL);
}

static void transaction_end(struct store *s)
{
	reserve_return(&s->reserve);
	free(s->transaction.changes);
	idset_free(s->transaction.touched);
	s->transaction = (struct transaction){ 0 };
}

void transaction_abort(struct store *s)
{
	db_rollback(s->write);
	transaction_end(s);
}

/* Another process may have committed since; and what lies on disk as the head must be what this process left there, or
 * moved to from it. */
static int head_current(struct store *s)
{
	struct head head, *mine = &s->tables.head;
	uint8_t stored[DIGEST_LEN], mac[DIGEST_LEN];
	int r = head_read(s->write, s->row_keys, &head, stored);

	if (r == 0 && head.epoch != mine->epoch)
		r = follow_apply(s, s->write);
	if (r < 0)
		return r;
	if (!head.has_trail || head.serial < mine->serial ||
	    (head.serial == mine->serial && secret_cmp(&head.trail, &mine->trail, sizeof head.trail) != 0))
		return -EBADMSG;
	head.hash = mine->hash; /* the trail is as whoever wrote the head left it; the main set is as we know it */
	r = head_mac(s->row_keys, s->vault, &head, mac);
	if (r == 0 && secret_cmp(mac, stored, DIGEST_LEN) != 0)
		r = -EBADMSG;
	if (r == 0)
		*mine = head;
	return r;
}

int transaction_begin(struct store *s, bool fresh)
{
	int r = db_begin(s->write, true);

	if (r == 0 && !fresh)
		r = head_current(s);
	if (r < 0) {
		db_rollback(s->write);
		return r;
	}
	s->transaction = (struct transaction){
		.open = true, .began = store_now(s), .head = s->tables.head, .settings = s->tables.settings
	};
	return 0;
}

static int begin(struct store *s, bool privileged)
{
	int r = store_lock_writer(s);

	if (r < 0)
		return r;
	touched_forget(s);
	if (privileged)
		reserve_lend(&s->reserve);
	r = atomic_load(&s->sealed) ? -ENOKEY : transaction_begin(s, false);
	if (r < 0) {
		reserve_return(&s->reserve);
		pthread_mutex_unlock(&s->write_mutex);
	}
	return r;
}

int store_begin(struct store *s) { return begin(s, false); }

int store_begin_privileged(struct store *s) { return begin(s, true); }

static int write_change(struct store *s, size_t i, const struct change *c)
{
	struct query q = db_query(s->write,
				  "INSERT INTO changes(id, kind, row, old_mac, new_mac) VALUES(?, ?, ?, ?, ?)");
	int64_t id = (int64_t)(s->transaction.head.epoch << CHANGE_BITS | i);
	int r;

	query_int(&q, id);
	query_int(&q, c->kind);
	query_int(&q, c->row);
	if (c->before)
		query_blob(&q, c->old_mac, DIGEST_LEN);
	else
		query_text(&q, NULL);
	if (c->after)
		query_blob(&q, c->new_mac, DIGEST_LEN);
	else
		query_text(&q, NULL);
	r = query_run(&q);
	return r < 0 ? r : trail_in(s, ROW_CHANGE, id);
}

static int write_changes(struct store *s)
{
	struct transaction *t = &s->transaction;
	int r = 0;

	if (t->changed > s->changes_listed) {
		struct change everything = row_new(ROW_EVERYTHING, 0);
		r = write_change(s, 0, &everything);
	} else {
		for (size_t i = 0; i < t->n_changes && r == 0; i++)
			r = write_change(s, i, &t->changes[i]);
	}
	if (r == 0 && t->head.epoch > CHANGES_KEPT)
		r = trail_remove(s, ROW_CHANGE, 0, (int64_t)((t->head.epoch - CHANGES_KEPT) << CHANGE_BITS) - 1);
	return r;
}

int transaction_finish(struct store *s, struct touched *ret_touched)
{
	struct transaction *t = &s->transaction;
	struct step step = { 0 };
	struct head head;
	int r = t->broken;

	if (r == 0 && t->touched)
		r = served_mark(s);
	if (r == 0 && t->changed > 0) {
		t->head.epoch++;
		r = write_changes(s);
	}
	if (r == 0 && (t->changed > 0 || t->trailed)) {
		t->head.serial++;
		r = head_write(s->write, s->row_keys, s->vault, &t->head);
		if (r == 0 && t->changed > 0)
			r = t->changed > s->changes_listed ? step_reload(s, s->write, &step)
							   : step_prepare(s, s->write, t->changes, t->n_changes, &step);
	}
	if (r == 0)
		r = db_commit(s->write);
	if (r == 0 && t->events_known)
		atomic_store(&s->events_end, t->events_end);
	if (r < 0) {
		step_discard(s, &step);
		transaction_abort(s);
		return r;
	}
	head = t->head;
	*ret_touched = (struct touched){ .objects = t->touched,
					 .served = step.served,
					 .all = step.fresh.catalog != NULL };
	t->touched = NULL;
	step.served = NULL;
	if (t->changed > 0)
		step_apply(s, &step, &head);
	else
		s->tables.head = head;
	transaction_end(s);
	return 0;
}

int transaction_settle(struct store *s, int r)
{
	struct touched touched = { 0 };

	if (r < 0) {
		transaction_abort(s);
		return r;
	}
	r = transaction_finish(s, &touched);
	idset_free(touched.objects);
	idset_free(touched.served);
	return r;
}

int transaction_run(struct store *s, int (*fn)(struct store *s, void *arg), void *arg)
{
	int r = transaction_begin(s, false);

	return r < 0 ? r : transaction_settle(s, fn(s, arg));
}

int store_commit(struct store *s)
{
	struct touched *touched;
	bool destroys = s->transaction.destroys;
	int r;

	if (!s->transaction.open)
		return -EINVAL;
	touched = calloc(1, sizeof *touched);
	if (!touched)
		transaction_abort(s);
	r = touched ? transaction_finish(s, touched) : -ENOMEM;
	if (r == 0 && destroys) {
		atomic_store(&s->unscrubbed, true);
		(void)scrub(s); /* it is committed: what could not be done now is done by store_scrub */
	}
	if (pthread_setspecific(s->touched, touched) != 0)
		touched_free(touched);
	pthread_mutex_unlock(&s->write_mutex);
	return r;
}

void store_rollback(struct store *s)
{
	if (!s->transaction.open)
		return;
	transaction_abort(s);
	pthread_mutex_unlock(&s->write_mutex);
}

uint32_t store_touched_next(const struct store *s, uint32_t after)
{
	const struct touched *t = pthread_getspecific(s->touched);

	return t ? idset_next(t->objects, after) : 0;
}

bool store_touched_serves(const struct store *s, uint32_t id)
{
	const struct touched *t = pthread_getspecific(s->touched);

	return t && (t->all || idset_next(t->served, id - 1) == id);
}
