/* Rows that a transaction changes: taken out of the authenticated set, put in, and written down for others. */
#include "store/core/row_change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/idset.h"

int transaction_check(const struct store *s)
{
	if (!s->transaction.open)
		return -EINVAL;
	return s->transaction.broken;
}

int64_t transaction_epoch(const struct store *s) { return (int64_t)s->transaction.head.epoch + 1; }

int transaction_fail(struct store *s, int error)
{
	if (error < 0 && s->transaction.broken == 0)
		s->transaction.broken = error;
	return error;
}

bool change_is_grant(const struct change *change)
{
	return change->kind == ROW_ROLE || change->kind == ROW_BINDING || change->kind == ROW_BLOCK;
}

/* The secret that a row of the change table is about; 0: none. */
uint32_t change_secret(int64_t kind, int64_t row)
{
	return kind == ROW_OBJECT ? (uint32_t)row : kind == ROW_VERSION ? VERSION_OBJECT(row) : 0;
}

int change_touch(struct idset **touched, const struct change *change)
{
	const uint32_t id = change_secret(change->kind, change->row);

	return id ? idset_put(touched, id) : 0;
}

/* A row that changed just before changes again (served.c): one change for both, so that who follows has no more to
 * read. */
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
	/* grants are asked about within the transaction */
	if (t->changed > s->changes_listed && !change_is_grant(change))
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

struct change row_new(enum row_kind kind, int64_t row) { return (struct change){ .kind = (uint8_t)kind, .row = row }; }

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
static int stamp(struct db *db, const uint8_t key[KEY_LEN], enum row_kind kind, int64_t row,
		 uint8_t ret_mac[DIGEST_LEN])
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
