
#include "store/backup/pieces.h"

#include <errno.h>
#include <string.h>

#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/objects/stages_internal.h"

#define RESTORE_LIFE_NS ((int64_t)RESTORE_LIFE_S * NS_PER_S)

/* ---- what is under way, and whose ---- */

struct held {
	unsigned others, own;      /* restores besides the one at hand */
	uint64_t bytes, own_bytes; /* of the pieces of all, with it */
};

/* The restore after this one, by id: 1, 0: there is none. */
static int next_restore(struct store *s, const uint8_t *after, size_t len, uint8_t ret[RESTORE_ID_LEN])
{
	struct query q = db_query(s->stage,
				  "SELECT restore FROM restore_pieces WHERE restore > ? ORDER BY restore LIMIT 1");
	uint8_t found[RESTORE_ID_LEN];
	const void *id;
	int r;

	query_blob(&q, after, len);
	r = query_step(&q);
	if (r > 0) {
		id = column_blob(&q, 0, &len);
		r = len == sizeof found ? 1 : -EBADMSG;
		if (r > 0)
			memcpy(found, id, sizeof found);
	}
	query_end(&q); /* after may be ret */
	if (r > 0)
		memcpy(ret, found, sizeof found);
	return r;
}

/* Pieces come one after the other: the last one says how much there is. */
static int measure(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t *ret_uid, uint64_t *ret_bytes)
{
	enum { UID, END };
	struct query q = db_query(
		s->stage,
		"SELECT uid, at + length(bytes) FROM restore_pieces WHERE restore = ? ORDER BY at DESC LIMIT 1");
	int r;

	query_blob(&q, id, RESTORE_ID_LEN);
	r = query_step(&q);
	if (r > 0) {
		*ret_uid = (uint32_t)column_int(&q, UID);
		*ret_bytes = (uint64_t)column_int(&q, END);
	}
	query_end(&q);
	return r > 0 ? 0 : r == 0 ? -EIO : r;
}

static int take_stock(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid, struct held *ret)
{
	uint8_t at[RESTORE_ID_LEN];
	struct held held = { 0 };
	uint32_t whose = 0;
	uint64_t bytes = 0;
	int r;

	for (r = next_restore(s, NULL, 0, at); r > 0; r = next_restore(s, at, sizeof at, at)) {
		r = measure(s, at, &whose, &bytes);
		if (r < 0)
			break;
		held.bytes += bytes;
		held.own_bytes += whose == uid ? bytes : 0;
		if (memcmp(at, id, sizeof at) != 0) {
			held.others++;
			held.own += whose == uid;
		}
	}
	if (r == 0)
		*ret = held;
	return r;
}

/* May len bytes more be taken? Whoever may restore one name must not keep the others from it, nor fill the disk. */
static int check_share(struct store *s, const uint8_t id[RESTORE_ID_LEN], const struct restore_owner *owner, size_t len)
{
	struct held held;
	uint64_t room;
	int r = take_stock(s, id, owner->uid, &held);

	if (r < 0)
		return r;
	if (held.own >= RESTORES_PER_UID || held.others >= RESTORES_MAX - (owner->administrator ? 0 : RESTORES_RESERVE))
		return -EBUSY;
	room = s->pieces_room ? s->pieces_room : (reserve_free_bytes(&s->reserve) + held.bytes) / RESTORES_DISK_PART;
	if (held.bytes + len > (owner->administrator ? room : room - room / 8) ||
	    (!owner->administrator && held.own_bytes + len > room / 2))
		return -EDQUOT;
	return 0;
}

/* ---- the pieces ---- */

/* Does a piece belong at `at`? 1: it follows the last one; 0: it is there already. What was handed in is counted by
 * where it ends, so that only the last piece may be short, and one that comes again is as long as it was. */
static int place_of(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid, uint64_t at, size_t len)
{
	enum { AT, LENGTH, UID };
	struct query q = db_query(s->stage, "SELECT at, length(bytes), uid FROM restore_pieces WHERE restore = ? AND "
					    "at <= ? ORDER BY at DESC LIMIT 1");
	uint64_t from, n;
	int r;

	query_blob(&q, id, RESTORE_ID_LEN);
	query_int(&q, (int64_t)at);
	r = query_step(&q);
	from = r > 0 ? (uint64_t)column_int(&q, AT) : 0;
	n = r > 0 ? (uint64_t)column_int(&q, LENGTH) : 0;
	if (r > 0 && column_int(&q, UID) != uid)
		r = -ENOENT;
	else if (r > 0 && from == at)
		r = n == len ? 0 : -EINVAL;
	else if (r >= 0)
		r = from + n == at && (at == 0 || n >= RESTORE_PIECE_MIN) ? 1 : -EINVAL;
	query_end(&q);
	return r;
}

static int put_piece(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid, uint64_t at, const void *data,
		     size_t len)
{
	struct query q = db_query(s->stage,
				  "INSERT INTO restore_pieces(restore, uid, at, created, bytes) VALUES(?, ?, ?, ?, ?)"
				  " ON CONFLICT(restore, at) DO UPDATE SET bytes = excluded.bytes, created = "
				  "excluded.created WHERE uid = excluded.uid");

	query_blob(&q, id, RESTORE_ID_LEN);
	query_int(&q, uid);
	query_int(&q, (int64_t)at);
	query_int(&q, store_now(s));
	query_blob(&q, data, len);
	return query_run(&q);
}

int store_restore_put(struct store *s, const uint8_t id[RESTORE_ID_LEN], const struct restore_owner *owner, uint64_t at,
		      const void *data, size_t len)
{
	int r;

	if (len == 0 || len > RESTORE_PIECE_MAX || at > INT64_MAX / 2)
		return -EINVAL;
	r = stage_begin(s);
	if (r < 0)
		return r;
	r = place_of(s, id, owner->uid, at, len);
	if (r > 0)
		r = check_share(s, id, owner, len);
	if (r == 0)
		r = put_piece(s, id, owner->uid, at, data, len);
	return stage_end(s, r);
}

static int drop(struct db *db, const uint8_t id[RESTORE_ID_LEN], uint32_t uid)
{
	struct query q = db_query(db, "DELETE FROM restore_pieces WHERE restore = ? AND uid = ?");

	query_blob(&q, id, RESTORE_ID_LEN);
	query_int(&q, uid);
	return query_run(&q);
}

int store_restore_drop(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid)
{
	int r = stage_begin(s);

	return r < 0 ? r : stage_end(s, drop(s->stage, id, uid));
}

int store_restore_done(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid)
{
	int r = transaction_check(s);

	return r < 0 ? r : transaction_fail(s, drop(s->write, id, uid));
}

static int read_piece(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len)
{
	const struct restore_pieces *p = arg;
	enum { AT, BYTES };
	struct query q = db_query(p->store->write, "SELECT at, bytes FROM restore_pieces WHERE restore = ? AND uid = ? "
						   "AND at <= ? ORDER BY at DESC LIMIT 1");
	const uint8_t *bytes;
	size_t size = 0, skip;
	int r;

	query_blob(&q, p->id, RESTORE_ID_LEN);
	query_int(&q, p->uid);
	query_int(&q, (int64_t)offset);
	r = query_step(&q);
	*ret_len = 0;
	if (r > 0) {
		bytes = column_blob(&q, BYTES, &size);
		skip = (size_t)(offset - (uint64_t)column_int(&q, AT));
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
	q = db_query(s->write, "DELETE FROM restore_pieces WHERE restore IN (SELECT restore FROM restore_pieces GROUP "
			       "BY restore HAVING max(created) <= ?)");
	query_int(&q, before);
	return query_run(&q);
}
