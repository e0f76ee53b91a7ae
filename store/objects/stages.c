#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/crypto/secbuf.h"
#include "store/keys/envelope.h"
#include "store/objects/objects.h"
#include "store/objects/stages_internal.h"

/* A stage is a row and chunks of 16 KiB: up to 64 for one value, more where it holds a set of them. A chunk is shorter
 * where nothing was written after; a missing one, and what lies beyond a short one, reads as zeros.
 *
 * Chunk = nonce[12] | ciphertext | tag[16], AES-256-GCM. Key = HKDF-SHA-256(stage key, "coffer stage chunk 1", stage
 * u64 | index u64 | counter u64), AAD = "coffer stage chunk 1" NUL | the same three numbers | length u64. The stage's
 * counter moves with each chunk that is sealed. The nonce is random all the same: a transaction that was rolled back
 * leaves its bytes in the WAL, and the next one uses its counters again.
 *
 * The stage's row is under a MAC of the stage key, so size, counter and the last unique cannot be forged. Whoever can
 * write the database can put an older chunk of the same stage and index back while the daemon lives: stages are not
 * members of a set, whose head they would move with each WRITE. */
#define CHUNKS                  (STAGE_SET_MAX / STAGE_CHUNK)
#define CHUNK_OVERHEAD          (NONCE_LEN + TAG_LEN)
#define CHUNK_ROW(stage, index) ((int64_t)((stage) << 12 | (index)))
#define STAGE_ID_MAX            ((uint64_t)1 << 48)

_Static_assert(CHUNKS <= 4096, "an index fits in 12 bits");
_Static_assert(VALUE_MAX <= STAGE_SET_MAX, "a value is a small set");

/* ---- rows ---- */

int stage_load(struct store *s, struct db *db, uint64_t id, struct stage *ret_stage)
{
	struct query q;
	uint8_t mac[DIGEST_LEN];
	int r;

	if (!s->stage_row_key)
		return -EOPNOTSUPP;
	if (id == 0 || id > STAGE_ID_MAX)
		return -ENOENT;
	q = db_query(db, row_table(ROW_STAGE)->one);
	query_int(&q, (int64_t)id);
	r = row_find(s->stage_row_key, ROW_STAGE, &q, mac);
	if (r == 0) {
		*ret_stage = (struct stage){
			.id = id,
			.size = (uint64_t)column_int(&q, STAGES_SIZE),
			.dirty = column_int(&q, STAGES_DIRTY) != 0,
			.counter = (uint64_t)column_int(&q, STAGES_COUNTER),
			.unique = (uint64_t)column_int(&q, STAGES_LAST_UNIQUE),
			.manner = (enum stage_manner)column_int(&q, STAGES_MANNER),
			.base = column_int(&q, STAGES_BASE),
			.start = (uint64_t)column_int(&q, STAGES_START),
		};
		if (ret_stage->size > STAGE_SET_MAX || ret_stage->start > ret_stage->size)
			r = -EBADMSG;
	}
	query_end(&q);
	return r;
}

int stage_save(struct store *s, struct db *db, const struct stage *stage)
{
	struct query q = db_query(db, "UPDATE stages SET size = ?, dirty = ?, counter = ?, last_unique = ?, manner = "
				      "?, base = ?, start = ? WHERE id = ?");
	int r;

	query_int(&q, (int64_t)stage->size);
	query_int(&q, stage->dirty);
	query_int(&q, (int64_t)stage->counter);
	query_int(&q, (int64_t)stage->unique);
	query_int(&q, stage->manner);
	query_int(&q, stage->base);
	query_int(&q, (int64_t)stage->start);
	query_int(&q, (int64_t)stage->id);
	r = query_run(&q);
	return r < 0 ? r : row_stamp(db, s->stage_row_key, ROW_STAGE, (int64_t)stage->id);
}

/* ---- chunks ---- */

struct chunk_context {
	uint64_t numbers[4]; /* big-endian: stage, index, counter, length */
	uint8_t aad[64];
	size_t aad_len;
	uint8_t key[KEY_LEN];
};

static int chunk_context(struct store *s, uint64_t stage, uint64_t index, uint64_t counter, uint64_t len,
			 struct chunk_context *ret)
{
	static const char label[] = "coffer stage chunk 1";

	ret->numbers[0] = htobe64(stage);
	ret->numbers[1] = htobe64(index);
	ret->numbers[2] = htobe64(counter);
	ret->numbers[3] = htobe64(len);
	memcpy(ret->aad, label, sizeof label);
	memcpy(ret->aad + sizeof label, ret->numbers, sizeof ret->numbers);
	ret->aad_len = sizeof label + sizeof ret->numbers;
	return hkdf256(s->stage_key, label, (struct bytes){ ret->numbers, 3 * sizeof ret->numbers[0] }, ret->key);
}

static int chunk_seal(struct store *s, const struct stage *stage, uint64_t index, const uint8_t *plain, size_t len,
		      uint8_t *ret_sealed)
{
	struct chunk_context c;
	int r = chunk_context(s, stage->id, index, stage->counter, len, &c);

	if (r == 0)
		r = random_bytes(ret_sealed, NONCE_LEN);
	if (r == 0)
		r = aead_seal(c.key, ret_sealed, (struct bytes){ c.aad, c.aad_len }, plain, len, ret_sealed + NONCE_LEN,
			      ret_sealed + NONCE_LEN + len);
	secmem_wipe(&c, sizeof c);
	return r;
}

/* plain is locked memory of STAGE_CHUNK. The chunk's bytes, then zeros. */
static int chunk_load(struct store *s, struct db *db, const struct stage *stage, uint64_t index, uint8_t *plain,
		      size_t *ret_len)
{
	enum { COUNTER, SEALED };
	struct query q = db_query(db, "SELECT counter, sealed FROM stage_chunks WHERE id = ?");
	struct chunk_context c = { 0 };
	const uint8_t *sealed;
	size_t len = 0;
	int r;

	query_int(&q, CHUNK_ROW(stage->id, index));
	r = query_step(&q);
	if (r == 0) {
		memset(plain, 0, STAGE_CHUNK);
		*ret_len = 0;
	}
	if (r <= 0)
		goto out;
	sealed = column_blob(&q, SEALED, &len);
	r = -EBADMSG;
	if (!sealed || len < CHUNK_OVERHEAD || len > STAGE_CHUNK + CHUNK_OVERHEAD ||
	    (uint64_t)column_int(&q, COUNTER) > stage->counter)
		goto out;
	len -= CHUNK_OVERHEAD;
	r = chunk_context(s, stage->id, index, (uint64_t)column_int(&q, COUNTER), len, &c);
	if (r == 0)
		r = aead_open(c.key, sealed, (struct bytes){ c.aad, c.aad_len }, sealed + NONCE_LEN, len,
			      sealed + NONCE_LEN + len, plain);
	if (r < 0)
		goto out;
	memset(plain + len, 0, STAGE_CHUNK - len);
	*ret_len = len;
out:
	query_end(&q);
	secmem_wipe(&c, sizeof c);
	return r;
}

static int chunk_save(struct store *s, struct db *db, struct stage *stage, uint64_t index, const uint8_t *plain,
		      size_t len)
{
	struct query q;
	uint8_t *sealed = malloc(len + CHUNK_OVERHEAD);
	int r = -ENOMEM;

	if (!sealed)
		return r;
	stage->counter++;
	r = chunk_seal(s, stage, index, plain, len, sealed);
	if (r == 0) {
		q = db_query(db, "INSERT OR REPLACE INTO stage_chunks(id, counter, sealed) VALUES(?, ?, ?)");
		query_int(&q, CHUNK_ROW(stage->id, index));
		query_int(&q, (int64_t)stage->counter);
		query_blob(&q, sealed, len + CHUNK_OVERHEAD);
		r = query_run(&q);
	}
	free(sealed);
	return r;
}

/* Chunks from index on go. */
int chunks_drop(struct db *db, uint64_t stage, uint64_t index)
{
	struct query q = db_query(db, "DELETE FROM stage_chunks WHERE id BETWEEN ? AND ?");

	query_int(&q, CHUNK_ROW(stage, index));
	query_int(&q, CHUNK_ROW(stage, CHUNKS - 1));
	return index >= CHUNKS ? 0 : query_run(&q);
}

int stage_put_bytes(struct store *s, struct db *db, struct stage *stage, uint64_t offset, const uint8_t *data,
		    size_t len)
{
	struct secbuf *chunk = NULL;
	int r = secbuf_new(STAGE_CHUNK, &chunk);

	while (r == 0 && len > 0) {
		uint64_t index = offset / STAGE_CHUNK;
		size_t at = offset % STAGE_CHUNK;
		size_t n = len < STAGE_CHUNK - at ? len : STAGE_CHUNK - at;
		size_t had = 0;

		r = secbuf_set_len(chunk, STAGE_CHUNK);
		if (r == 0)
			r = chunk_load(s, db, stage, index, secbuf_data(chunk), &had);
		if (r < 0)
			break;
		memcpy(secbuf_data(chunk) + at, data, n);
		r = chunk_save(s, db, stage, index, secbuf_cdata(chunk), at + n > had ? at + n : had);
		offset += n;
		data += n;
		len -= n;
	}
	if (r == 0 && offset > stage->size)
		stage->size = offset;
	secbuf_free(chunk);
	return r;
}

static int stage_cut(struct store *s, struct db *db, struct stage *stage, uint64_t len)
{
	uint64_t index = len / STAGE_CHUNK, at = len % STAGE_CHUNK;
	struct secbuf *chunk = NULL;
	size_t had = 0;
	int r = 0;

	/* What is cut off must not come back when the stage grows again. */
	if (len < stage->size) {
		r = chunks_drop(db, stage->id, at ? index + 1 : index);
		if (r == 0 && at)
			r = secbuf_new(STAGE_CHUNK, &chunk);
		if (r == 0 && at)
			r = secbuf_set_len(chunk, STAGE_CHUNK);
		if (r == 0 && at)
			r = chunk_load(s, db, stage, index, secbuf_data(chunk), &had);
		if (r == 0 && had > at)
			r = chunk_save(s, db, stage, index, secbuf_cdata(chunk), at);
	}
	secbuf_free(chunk);
	if (r == 0)
		stage->size = len;
	return r;
}

int stage_get_bytes(struct store *s, struct db *db, const struct stage *stage, uint64_t offset, uint8_t *ret,
		    size_t len)
{
	struct secbuf *chunk = NULL;
	size_t had = 0;
	int r = secbuf_new(STAGE_CHUNK, &chunk);

	while (r == 0 && len > 0) {
		size_t at = offset % STAGE_CHUNK;
		size_t n = len < STAGE_CHUNK - at ? len : STAGE_CHUNK - at;

		r = secbuf_set_len(chunk, STAGE_CHUNK);
		if (r == 0)
			r = chunk_load(s, db, stage, offset / STAGE_CHUNK, secbuf_data(chunk), &had);
		if (r < 0)
			break;
		memcpy(ret, secbuf_cdata(chunk) + at, n);
		offset += n;
		ret += n;
		len -= n;
	}
	secbuf_free(chunk);
	return r;
}

/* ---- the calls: each a short transaction of the stage connection ---- */

int stage_begin(struct store *s)
{
	int r;

	if (!s->stage)
		return -EOPNOTSUPP;
	r = store_lock_writer(s);
	if (r < 0)
		return r;
	r = db_begin(s->stage, true);
	if (r < 0)
		pthread_mutex_unlock(&s->write_mutex);
	return r;
}

int stage_end(struct store *s, int r)
{
	if (r == 0)
		r = db_commit(s->stage);
	else
		db_rollback(s->stage);
	pthread_mutex_unlock(&s->write_mutex);
	return r;
}

int store_stage_new(struct store *s, uint64_t *ret_stage)
{
	struct query q;
	int64_t id = 0;
	int r = stage_begin(s);

	if (r < 0)
		return r;
	q = db_query(s->stage, "INSERT INTO stages(size, dirty, counter, last_unique, mac, manner, base, start) "
			       "VALUES(0, 0, 0, 0, x'', 0, ?, 0)");
	query_int(&q, STAGE_NO_BASE);
	r = query_run(&q);
	if (r == 0) {
		id = sqlite3_last_insert_rowid(db_handle(s->stage));
		r = id <= 0 || (uint64_t)id > STAGE_ID_MAX ? -EOVERFLOW
							   : row_stamp(s->stage, s->stage_row_key, ROW_STAGE, id);
	}
	r = stage_end(s, r);
	if (r == 0)
		*ret_stage = (uint64_t)id;
	return r;
}

int store_stage_copy_version(struct store *s, uint64_t stage, uint32_t secret, uint32_t version,
			     enum stage_manner manner)
{
	struct secbuf *plain = NULL;
	struct stage st;
	int r = 0;

	if (!s->stage)
		return -EOPNOTSUPP;
	if (version)
		r = store_version_read(s, secret, version, &plain);
	if (r == 0)
		r = stage_begin(s);
	if (r < 0)
		goto out;
	r = stage_load(s, s->stage, stage, &st);
	if (r == 0)
		r = chunks_drop(s->stage, stage, 0);
	if (r == 0) {
		st.size = st.start = 0;
		st.dirty = false;
		r = plain ? stage_put_bytes(s, s->stage, &st, 0, secbuf_cdata(plain), secbuf_len(plain)) : 0;
	}
	if (r == 0) {
		st.manner = manner;
		st.base = version;
		st.start = manner == STAGE_APPENDS ? st.size : 0;
		r = stage_save(s, s->stage, &st);
	}
	r = stage_end(s, r);
out:
	secbuf_free(plain);
	return r;
}

int store_stage_tail(struct store *s, uint64_t stage)
{
	struct stage st;
	int r = stage_begin(s);

	if (r < 0)
		return r;
	r = stage_load(s, s->stage, stage, &st);
	if (r == 0 && st.size)
		r = -EINVAL;
	if (r == 0) {
		st.manner = STAGE_TAIL;
		r = stage_save(s, s->stage, &st);
	}
	return stage_end(s, r);
}

/* A limit that was lowered does not take away what a stage has, only what it could grow to. */
static bool too_big(struct store *s, const struct stage *stage, uint64_t size)
{
	return size > VALUE_MAX || (size > s->tables.settings.value_max && size > stage->size);
}

static int stage_write(struct store *s, uint64_t stage, uint64_t unique, uint64_t offset, const void *data, size_t len,
		       bool set)
{
	struct stage st;
	int r = stage_begin(s);

	if (r < 0)
		return r;
	r = stage_load(s, s->stage, stage, &st);
	if (r < 0 || (unique != 0 && st.unique == unique))
		return stage_end(s, r);
	if (offset == STAGE_APPEND)
		offset = st.size;
	if (len > VALUE_MAX || offset > STAGE_SET_MAX ||
	    (set ? offset + len > STAGE_SET_MAX : too_big(s, &st, offset + len)))
		return stage_end(s, -EFBIG);
	r = stage_put_bytes(s, s->stage, &st, offset, data, len);
	st.unique = unique;
	st.dirty = st.dirty || len > 0;
	if (r == 0)
		r = stage_save(s, s->stage, &st);
	return stage_end(s, r);
}

int store_stage_write(struct store *s, uint64_t stage, uint64_t unique, uint64_t offset, const void *data, size_t len)
{
	return stage_write(s, stage, unique, offset, data, len, false);
}

int store_stage_write_set(struct store *s, uint64_t stage, uint64_t unique, uint64_t offset, const void *data,
			  size_t len)
{
	return stage_write(s, stage, unique, offset, data, len, true);
}

int store_stage_truncate(struct store *s, uint64_t stage, uint64_t unique, uint64_t len)
{
	struct stage st;
	int r = stage_begin(s);

	if (r < 0)
		return r;
	r = stage_load(s, s->stage, stage, &st);
	if (r < 0 || (unique != 0 && st.unique == unique))
		return stage_end(s, r);
	if (too_big(s, &st, len))
		return stage_end(s, -EFBIG);
	r = stage_cut(s, s->stage, &st, len);
	st.unique = unique;
	st.dirty = true;
	/* nothing of what it was a copy of is in it any more; or what it has is no longer only behind that */
	if (len == 0)
		st.base = STAGE_NO_BASE;
	if (st.manner == STAGE_TAIL)
		st.manner = STAGE_APPENDS;
	else if (st.manner == STAGE_APPENDS && len)
		st.manner = STAGE_EDITS;
	st.start = 0;
	if (r == 0)
		r = stage_save(s, s->stage, &st);
	return stage_end(s, r);
}

int store_stage_read(struct store *s, uint64_t stage, uint64_t offset, void *ret, size_t len, size_t *ret_read)
{
	struct stage st;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = db_begin(s->read, false); /* row and chunks of one moment */
	if (r == 0)
		r = stage_load(s, s->read, stage, &st);
	if (r == 0) {
		if (offset >= st.size)
			len = 0;
		else if (len > st.size - offset)
			len = (size_t)(st.size - offset);
		r = stage_get_bytes(s, s->read, &st, offset, ret, len);
	}
	db_rollback(s->read);
	pthread_mutex_unlock(&s->read_mutex);
	if (r == 0)
		*ret_read = len;
	return r;
}

int store_stage_stat(struct store *s, uint64_t stage, struct stage_info *ret)
{
	struct stage st;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = stage_load(s, s->read, stage, &st);
	pthread_mutex_unlock(&s->read_mutex);
	if (r == 0)
		*ret = (struct stage_info){ .size = st.size,
					    .unique = st.unique,
					    .dirty = st.dirty,
					    .base = st.base,
					    .start = st.start,
					    .manner = st.manner };
	return r;
}

int store_stage_drop(struct store *s, uint64_t stage)
{
	struct query q;
	int r;

	if (stage == 0 || stage > STAGE_ID_MAX)
		return -ENOENT;
	r = stage_begin(s);
	if (r < 0)
		return r;
	r = chunks_drop(s->stage, stage, 0);
	if (r == 0) {
		q = db_query(s->stage, "DELETE FROM stages WHERE id = ?");
		query_int(&q, (int64_t)stage);
		r = query_run(&q);
	}
	if (r == 0 && sqlite3_changes(db_handle(s->stage)) == 0)
		r = -ENOENT;
	return stage_end(s, r);
}

static bool listed(const uint64_t *ids, size_t n, uint64_t id)
{
	size_t i = 0;

	while (i < n && ids[i] != id)
		i++;
	return i < n;
}

/* The first stage after `after` that is none of keep. 0: there is none left. */
static int next_unkept(struct store *s, uint64_t after, const uint64_t *keep, size_t n, uint64_t *ret_stage)
{
	struct query q = db_query(s->stage, "SELECT id FROM stages WHERE id > ? ORDER BY id");
	uint64_t id = 0;
	int r;

	query_int(&q, (int64_t)after);
	while ((r = query_step(&q)) > 0 && listed(keep, n, id = (uint64_t)column_int(&q, 0)))
		;
	query_end(&q);
	if (r < 0)
		return r;
	*ret_stage = r > 0 ? id : 0;
	return 0;
}

int store_stages_retain(struct store *s, const uint64_t *keep, size_t n)
{
	uint64_t id = 0;
	int r = stage_begin(s);

	if (r < 0)
		return r;
	while ((r = next_unkept(s, id, keep, n, &id)) == 0 && id) {
		struct query q = db_query(s->stage, "DELETE FROM stages WHERE id = ?");
		query_int(&q, (int64_t)id);
		r = query_run(&q);
		if (r == 0)
			r = chunks_drop(s->stage, id, 0);
		if (r < 0)
			break;
	}
	return stage_end(s, r);
}

int store_stages_clear(struct store *s)
{
	int r = stage_begin(s);

	if (r < 0)
		return r;
	r = db_exec(s->stage, "DELETE FROM stage_chunks; DELETE FROM stages; DELETE FROM restore_pieces");
	return stage_end(s, r);
}
