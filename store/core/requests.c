
#include "store/core/requests.h"

#include <errno.h>
#include <string.h>

#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/transaction_internal.h"

#define REQUEST_LIFE_NS ((int64_t)REQUEST_LIFE_S * NS_PER_S)

static const char find_sql[] = "SELECT id FROM requests WHERE uid = ? AND user_ns = ? AND request = ? AND created > ?";

static int find(struct store *s, struct db *db, const struct request_key *key, int64_t *ret_row)
{
	struct query q = db_query(db, find_sql);
	int r;

	query_int(&q, key->uid);
	query_int(&q, (int64_t)key->user_ns);
	query_blob(&q, key->id, sizeof key->id);
	query_int(&q, store_now(s) - REQUEST_LIFE_NS);
	r = query_step(&q);
	if (r > 0)
		*ret_row = column_int(&q, 0);
	query_end(&q);
	return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}

static int read_answer(struct store *s, int64_t row, const uint8_t digest[DIGEST_LEN], char **ret_answer)
{
	struct query q = db_query(s->read, row_table(ROW_REQUEST)->one);
	uint8_t mac[DIGEST_LEN];
	const char *answer;
	const void *stored;
	size_t len = 0;
	int r;

	query_int(&q, row);
	r = row_find(s->row_keys->row, ROW_REQUEST, &q, mac);
	if (r < 0)
		goto out;
	stored = column_blob(&q, REQUESTS_DIGEST, &len);
	answer = column_text(&q, REQUESTS_ANSWER);
	r = -EBADMSG;
	if (len != DIGEST_LEN || !answer)
		goto out;
	r = -EEXIST;
	if (memcmp(stored, digest, DIGEST_LEN) != 0)
		goto out;
	char *copy = strdup(answer);
	r = copy ? 0 : -ENOMEM;
	if (copy)
		*ret_answer = copy;
out:
	query_end(&q);
	return r;
}

int store_request_find(struct store *s, const struct request_key *key, const uint8_t digest[DIGEST_LEN],
		       char **ret_answer)
{
	int64_t row = 0;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = s->row_keys ? find(s, s->read, key, &row) : -ENOKEY;
	if (r == 0)
		r = read_answer(s, row, digest, ret_answer);
	pthread_mutex_unlock(&s->read_mutex);
	return r;
}

/* Removes the row whose id q comes to: 1, or 0 when there is none. Ends q. */
static int drop_found(struct store *s, struct query *q)
{
	int64_t id = 0;
	int r = query_step(q);

	if (r > 0)
		id = column_int(q, 0);
	query_end(q);
	if (r > 0)
		r = trail_remove(s, ROW_REQUEST, id, id);
	return r < 0 ? r : id > 0;
}

static int drop_expired_of(struct store *s, const struct request_key *key)
{
	struct query q = db_query(s->write, "SELECT id FROM requests WHERE uid = ? AND user_ns = ? AND request = ?");

	query_int(&q, key->uid);
	query_int(&q, (int64_t)key->user_ns);
	query_blob(&q, key->id, sizeof key->id);
	return drop_found(s, &q);
}

/* Who floods loses the oldest of its own answers, nobody else's: a uid those of that uid and neighbour (in a container
 * it is somebody else's), a neighbour, which can have very many uids, its own. */
static int drop_beyond_caps(struct store *s, const struct request_key *key)
{
	static const struct {
		const char *sql;
		uint32_t most;
	} caps[] = {
		{ "SELECT id FROM requests WHERE neighbour = ?1 AND uid = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3",
		  REQUESTS_PER_UID },
		{ "SELECT id FROM requests WHERE neighbour = ?1 AND ?2 IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?3",
		  REQUESTS_PER_NEIGHBOUR },
	};
	int r = 0;

	for (size_t i = 0; i < sizeof caps / sizeof *caps && r == 0; i++)
		do {
			struct query q = db_query(s->write, caps[i].sql);
			query_int(&q, (int64_t)key->neighbour);
			query_int(&q, key->uid);
			query_int(&q, caps[i].most);
			r = drop_found(s, &q);
		} while (r > 0);
	return r;
}

int store_request_put(struct store *s, const struct request_key *key, const uint8_t digest[DIGEST_LEN],
		      const char *answer)
{
	struct query q;
	int64_t row = 0;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (strlen(answer) > REQUEST_ANSWER_MAX)
		return -EMSGSIZE;
	r = find(s, s->write, key, &row);
	if (r != -ENOENT)
		return r == 0 ? -EEXIST : r;
	r = drop_expired_of(s, key);
	if (r < 0)
		return transaction_fail(s, r);
	q = db_query(s->write,
		     "INSERT INTO requests(id, uid, user_ns, request, digest, answer, created, neighbour, mac)"
		     " VALUES((SELECT ifnull(max(id), 0) + 1 FROM requests), ?, ?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, key->uid);
	query_int(&q, (int64_t)key->user_ns);
	query_blob(&q, key->id, sizeof key->id);
	query_blob(&q, digest, DIGEST_LEN);
	query_text(&q, answer);
	query_int(&q, store_now(s));
	query_int(&q, (int64_t)key->neighbour);
	r = query_run(&q);
	if (r == 0)
		r = trail_in(s, ROW_REQUEST, sqlite3_last_insert_rowid(db_handle(s->write)));
	if (r == 0)
		r = drop_beyond_caps(s, key);
	return transaction_fail(s, r);
}

#define EXPIRE_ROWS 1000 /* at a time: writers wait meanwhile */

static int drop_created_before(struct store *s, void *arg)
{
	const int64_t *before = arg;
	int r = 1;

	for (int i = 0; i < EXPIRE_ROWS && r > 0; i++) {
		struct query q = db_query(s->write, "SELECT id FROM requests WHERE created <= ? LIMIT 1");
		query_int(&q, *before);
		r = drop_found(s, &q);
	}
	return r < 0 ? r : 0;
}

int requests_expire(struct store *s)
{
	int64_t before = store_now(s) - REQUEST_LIFE_NS;
	struct query q = db_query(s->write, "SELECT 1 FROM requests WHERE created <= ? LIMIT 1");
	int r;

	query_int(&q, before);
	r = query_step(&q);
	query_end(&q);
	return r <= 0 ? r : transaction_run(s, drop_created_before, &before);
}
