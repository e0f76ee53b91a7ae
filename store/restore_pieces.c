#include "store/backup.h"
#include "store/internal.h"

#include <errno.h>
#include <string.h>

#define RESTORE_LIFE_NS ((int64_t)RESTORE_LIFE_S * NS_PER_S)

static int count_others(struct store *s, const uint8_t id[RESTORE_ID_LEN], int64_t *ret_n)
{
	struct query q = db_query(s->stage, "SELECT count(*) FROM restore_pieces WHERE at = 0 AND restore <> ?");
	int r;

	query_blob(&q, id, RESTORE_ID_LEN);
	r = query_step(&q);
	*ret_n = r > 0 ? column_int(&q, 0) : 0;
	query_end(&q);
	return r < 0 ? r : 0;
}

/* Where the restore's pieces end, leaving out the one at `at`; -ENOENT: they are somebody else's. */
static int end_of(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid, uint64_t at, uint64_t *ret_end)
{
	struct query q = db_query(s->stage, "SELECT at + length(bytes), uid FROM restore_pieces WHERE restore = ? AND at < ? ORDER BY at DESC LIMIT 1");
	int r;

	query_blob(&q, id, RESTORE_ID_LEN);
	query_int(&q, (int64_t)at);
	r = query_step(&q);
	*ret_end = r > 0 ? (uint64_t)column_int(&q, 0) : 0;
	if (r > 0 && column_int(&q, 1) != uid)
		r = -ENOENT;
	query_end(&q);
	return r < 0 ? r : 0;
}

static int put_piece(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid, uint64_t at, const void *data, size_t len)
{
	struct query q = db_query(s->stage, "INSERT INTO restore_pieces(restore, uid, at, created, bytes) VALUES(?, ?, ?, ?, ?)"
					    " ON CONFLICT(restore, at) DO UPDATE SET bytes = excluded.bytes, created = excluded.created WHERE uid = excluded.uid");

	query_blob(&q, id, RESTORE_ID_LEN);
	query_int(&q, uid);
	query_int(&q, (int64_t)at);
	query_int(&q, store_now(s));
	query_blob(&q, data, len);
	return query_run(&q);
}

static int begin(struct store *s)
{
	int r = s->stage ? store_lock_writer(s) : -EOPNOTSUPP;

	if (r < 0)
		return r;
	r = db_begin(s->stage, true);
	if (r < 0)
		pthread_mutex_unlock(&s->write_mutex);
	return r;
}

static int end(struct store *s, int r)
{
	if (r == 0)
		r = db_commit(s->stage);
	else
		db_rollback(s->stage);
	pthread_mutex_unlock(&s->write_mutex);
	return r;
}

int store_restore_put(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid, uint64_t at, const void *data, size_t len)
{
	uint64_t from = 0;
	int64_t others = 0;
	int r;

	if (len == 0 || len > RESTORE_PIECE_MAX || at > INT64_MAX / 2)
		return -EINVAL;
	r = begin(s);
	if (r < 0)
		return r;
	r = count_others(s, id, &others);
	if (r == 0 && others >= RESTORES_MAX)
		r = -EBUSY;
	if (r == 0)
		r = end_of(s, id, uid, at, &from);
	if (r == 0 && from != at)
		r = -EINVAL;
	if (r == 0)
		r = put_piece(s, id, uid, at, data, len);
	return end(s, r);
}

static int drop(struct store *s, struct db *db, const uint8_t id[RESTORE_ID_LEN], uint32_t uid)
{
	struct query q = db_query(db, "DELETE FROM restore_pieces WHERE restore = ? AND uid = ?");

	(void)s;
	query_blob(&q, id, RESTORE_ID_LEN);
	query_int(&q, uid);
	return query_run(&q);
}

int store_restore_drop(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid)
{
	int r = begin(s);

	return r < 0 ? r : end(s, drop(s, s->stage, id, uid));
}

int store_restore_done(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid)
{
	int r = transaction_check(s);

	return r < 0 ? r : transaction_fail(s, drop(s, s->write, id, uid));
}

static int read_piece(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len)
{
	const struct restore_pieces *p = arg;
	struct query q = db_query(p->store->write, "SELECT at, bytes FROM restore_pieces WHERE restore = ? AND uid = ? AND at <= ? ORDER BY at DESC LIMIT 1");
	const uint8_t *bytes;
	size_t size = 0, skip;
	int r;

	query_blob(&q, p->id, RESTORE_ID_LEN);
	query_int(&q, p->uid);
	query_int(&q, (int64_t)offset);
	r = query_step(&q);
	*ret_len = 0;
	if (r > 0) {
		bytes = column_blob(&q, 1, &size);
		skip = (size_t)(offset - (uint64_t)column_int(&q, 0));
		if (bytes && skip < size) {
			*ret_len = size - skip < len ? size - skip : len;
			memcpy(ret, bytes + skip, *ret_len);
		}
		r = 0;
	}
	query_end(&q);
	return r;
}

struct backup_source restore_pieces_source(struct restore_pieces *pieces)
{
	return (struct backup_source){ .read = read_piece, .arg = pieces };
}

int restores_expire(struct store *s)
{
	int64_t before = store_now(s) - RESTORE_LIFE_NS;
	struct query q = db_query(s->write, "SELECT 1 FROM restore_pieces LIMIT 1");
	int r = query_step(&q);

	query_end(&q);
	if (r <= 0)
		return r;
	q = db_query(s->write, "DELETE FROM restore_pieces WHERE restore IN (SELECT restore FROM restore_pieces GROUP BY restore HAVING max(created) <= ?)");
	query_int(&q, before);
	return query_run(&q);
}
