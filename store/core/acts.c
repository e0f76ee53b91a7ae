
#include "store/core/acts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/transaction_internal.h"

#define ACT_JSON_MAX 65536

int store_pending_act_add(struct store *s, const char *act_json)
{
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (strlen(act_json) > ACT_JSON_MAX)
		return -EMSGSIZE;
	q = db_query(s->write, "INSERT INTO pending_acts(act, mac) VALUES(?, x'')");
	query_text(&q, act_json);
	r = query_run(&q);
	if (r == 0)
		r = trail_in(s, ROW_PENDING_ACT, sqlite3_last_insert_rowid(db_handle(s->write)));
	return transaction_fail(s, r);
}

/* The first act after `after`, authenticated; a copy. -ENOENT: none is left. */
static int next_act(struct store *s, int64_t after, int64_t *ret_id, char **ret_act)
{
	struct query q = db_query(s->read, "SELECT id, act, mac FROM pending_acts WHERE id > ? ORDER BY id LIMIT 1");
	uint8_t mac[DIGEST_LEN];
	const char *act;
	int r;

	query_int(&q, after);
	r = row_find(s->row_keys->row, ROW_PENDING_ACT, &q, mac);
	if (r == 0) {
		act = column_text(&q, PENDING_ACTS_ACT);
		*ret_act = act ? strdup(act) : NULL;
		*ret_id = column_int(&q, PENDING_ACTS_ID);
		r = !act ? -EBADMSG : *ret_act ? 0 : -ENOMEM;
	}
	query_end(&q);
	return r;
}

/* One at a time, without a lock held in the call, which may mark it done. */
int store_pending_acts(struct store *s, int (*fn)(uint64_t id, const char *act_json, void *arg), void *arg)
{
	int64_t id = INT64_MIN;
	char *act = NULL;
	int r;

	for (;;) {
		r = store_lock_reader(s);
		if (r < 0)
			return r;
		r = s->row_keys ? next_act(s, id, &id, &act) : -ENOKEY;
		pthread_mutex_unlock(&s->read_mutex);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		r = fn((uint64_t)id, act, arg);
		free(act);
		if (r != 0)
			return r;
	}
}

static int act_done(struct store *s, void *arg)
{
	const int64_t *id = arg;

	return trail_remove(s, ROW_PENDING_ACT, *id, *id);
}

int store_pending_act_done(struct store *s, uint64_t id)
{
	int64_t row = (int64_t)id;
	int r = store_lock_writer(s);

	if (r < 0)
		return r;
	r = s->row_keys ? transaction_run(s, act_done, &row) : -ENOKEY;
	pthread_mutex_unlock(&s->write_mutex);
	return r;
}
