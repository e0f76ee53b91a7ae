#include "store/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A writer may wait for the key holder and the disk: longer than both together is a fault, and nobody may hang for it. */
#define MUTEX_WAIT_MS 10000
#define SOON_MS       100

static int lock_bounded(pthread_mutex_t *m, int64_t ms)
{
	struct timespec until;
	int64_t ns;

	clock_gettime(CLOCK_MONOTONIC, &until);
	ns = until.tv_nsec + ms * 1000000;
	until.tv_sec += ns / NS_PER_S;
	until.tv_nsec = ns % NS_PER_S;
	return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &until) == 0 ? 0 : -ETIMEDOUT;
}

int store_lock_writer(struct store *s)
{
	return lock_bounded(&s->write_mutex, MUTEX_WAIT_MS);
}

int store_lock_reader(struct store *s)
{
	return lock_bounded(&s->read_mutex, MUTEX_WAIT_MS);
}

int store_lock_writer_soon(struct store *s)
{
	return lock_bounded(&s->write_mutex, SOON_MS);
}

/* ---- rows ---- */

int transaction_check(const struct store *s)
{
	if (!s->transaction.open)
		return -EINVAL;
	return s->transaction.broken;
}

int64_t transaction_epoch(const struct store *s)
{
	return (int64_t)s->transaction.head.epoch + 1;
}

int transaction_fail(struct store *s, int error)
{
	if (error < 0 && s->transaction.broken == 0)
		s->transaction.broken = error;
	return error;
}

/* A row that changed just before changes again (served.c): one change for both, so that who follows has no more to read. */
#define LOOK_BACK 4u

static bool change_join(struct transaction *t, const struct change *change)
{
	for (size_t i = t->n_changes; i > 0 && t->n_changes - i < LOOK_BACK && change->before && change->after; i--) {
		struct change *c = &t->changes[i - 1];
		if (c->kind != change->kind || c->row != change->row)
			continue;
		if (!c->after || memcmp(c->new_mac, change->old_mac, DIGEST_LEN) != 0)
			return false;
		memcpy(c->new_mac, change->new_mac, DIGEST_LEN);
		return true;
	}
	return false;
}

static int change_log(struct store *s, const struct change *change)
{
	struct transaction *t = &s->transaction;
	int r = change_touch(&t->touched, change);

	if (r < 0)
		return r;
	if (change_join(t, change))
		return 0;
	t->changed++;
	if (t->changed > s->changes_listed && !change_is_grant(change))	/* grants are asked about within the transaction */
		return 0;
	if (t->n_changes == t->capacity) {
		size_t capacity = t->capacity ? 2 * t->capacity : 16;
		struct change *grown = realloc(t->changes, capacity * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		t->changes = grown;
		t->capacity = capacity;
	}
	t->changes[t->n_changes] = *change;
	t->changes[t->n_changes].order = (uint32_t)t->n_changes;
	t->n_changes++;
	return 0;
}

struct change row_new(enum row_kind kind, int64_t row)
{
	return (struct change){ .kind = (uint8_t)kind, .row = row };
}

int row_out(struct store *s, enum row_kind kind, int64_t row, struct change *ret_change)
{
	struct change change = row_new(kind, row);
	struct query q = db_query(s->write, row_table(kind)->one);
	int r;

	query_int(&q, row);
	r = row_find(s->row_keys->row, kind, &q, change.old_mac);
	query_end(&q);
	if (r < 0)
		return r;
	r = set_remove(s->row_keys, change.old_mac, &s->transaction.head.hash);
	if (r < 0)
		return transaction_fail(s, r);
	s->transaction.head.members--;
	change.before = true;
	*ret_change = change;
	return 0;
}

/* Gives the row its MAC; a bare one has none to keep. */
static int stamp(struct db *db, const uint8_t key[KEY_LEN], enum row_kind kind, int64_t row, uint8_t ret_mac[DIGEST_LEN])
{
	struct query q = db_query(db, row_table(kind)->one);
	int r;

	query_int(&q, row);
	r = query_step(&q);
	if (r == 0)
		r = -EIO;
	if (r > 0)
		r = row_mac(key, kind, &q, ret_mac);
	query_end(&q);
	if (r < 0 || row_table(kind)->bare)
		return r;
	q = db_query(db, row_table(kind)->set_mac);
	query_blob(&q, ret_mac, DIGEST_LEN);
	query_int(&q, row);
	return query_run(&q);
}

int row_stamp(struct db *db, const uint8_t key[KEY_LEN], enum row_kind kind, int64_t row)
{
	uint8_t mac[DIGEST_LEN];

	return stamp(db, key, kind, row, mac);
}

int row_in(struct store *s, const struct change *change)
{
	struct change done = *change;
	int r = stamp(s->write, s->row_keys->row, change->kind, change->row, done.new_mac);

	if (r == 0)
		r = set_add(s->row_keys, done.new_mac, &s->transaction.head.hash);
	s->transaction.head.members++;
	done.after = true;
	if (r == 0)
		r = change_log(s, &done);
	return transaction_fail(s, r);
}

int row_gone(struct store *s, const struct change *change)
{
	struct change done = *change;

	done.after = false;
	return transaction_fail(s, change_log(s, &done));
}

/* ---- rows of the trail ---- */

/* Takes the row out on which q stands. */
static int trail_take(struct store *s, enum row_kind kind, const struct query *q)
{
	struct head *head = &s->transaction.head;
	uint8_t mac[DIGEST_LEN];
	int r = row_verify(s->row_keys->row, kind, q, mac);

	if (r == 0)
		r = set_remove(s->row_keys, mac, &head->trail);
	if (r < 0)
		return r;
	head->trail_members--;
	s->transaction.trailed = true;
	return 1;
}

int trail_out(struct store *s, enum row_kind kind, int64_t row)
{
	struct query q = db_query(s->write, row_table(kind)->one);
	int r;

	query_int(&q, row);
	r = query_step(&q);
	if (r > 0)
		r = trail_take(s, kind, &q);
	query_end(&q);
	return transaction_fail(s, r);
}

int trail_in(struct store *s, enum row_kind kind, int64_t row)
{
	uint8_t mac[DIGEST_LEN];
	int r = stamp(s->write, s->row_keys->row, kind, row, mac);

	if (r == 0)
		r = set_add(s->row_keys, mac, &s->transaction.head.trail);
	s->transaction.head.trail_members++;
	s->transaction.trailed = true;
	return transaction_fail(s, r);
}

int trail_remove(struct store *s, enum row_kind kind, int64_t from, int64_t to)
{
	struct query q = db_query(s->write, row_table(kind)->range);
	bool any = false;
	int r;

	query_int(&q, from - 1);
	query_int(&q, to);
	while ((r = query_step(&q)) > 0 && (r = trail_take(s, kind, &q)) > 0)
		any = true;
	query_end(&q);
	if (r < 0 || !any)
		return transaction_fail(s, r);
	q = db_query(s->write, row_table(kind)->remove);
	query_int(&q, from - 1);
	query_int(&q, to);
	return transaction_fail(s, query_run(&q));
}

/* ---- begin, commit, rollback ---- */

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

/* Another process may have committed since; and what lies on disk as the head must be what this process left there, or moved to from it. */
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
	head.hash = mine->hash;	/* the trail is as whoever wrote the head left it; the main set is as we know it */
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
	s->transaction = (struct transaction){ .open = true, .began = store_now(s), .head = s->tables.head, .settings = s->tables.settings };
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

int store_begin(struct store *s)
{
	return begin(s, false);
}

int store_begin_privileged(struct store *s)
{
	return begin(s, true);
}

static int write_change(struct store *s, size_t i, const struct change *c)
{
	struct query q = db_query(s->write, "INSERT INTO changes(id, kind, row, old_mac, new_mac) VALUES(?, ?, ?, ?, ?)");
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
			r = t->changed > s->changes_listed ? step_reload(s, s->write, &step) : step_prepare(s, s->write, t->changes, t->n_changes, &step);
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
	*ret_touched = (struct touched){ .objects = t->touched, .served = step.served, .all = step.fresh.catalog != NULL };
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
		(void)scrub(s);		/* it is committed: what could not be done now is done by store_scrub */
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
