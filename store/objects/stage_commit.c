#include <errno.h>
#include <string.h>

#include "store/core/database.h"
#include "store/core/row_change.h"
#include "store/crypto/secbuf.h"
#include "store/keys/envelope.h"
#include "store/objects/objects.h"
#include "store/objects/stages_internal.h"

int store_stage_commit_part(struct store *s, uint64_t stage, uint64_t offset, size_t len, uint32_t secret,
			    const struct version_attributes *a, uint32_t *ret_version)
{
	struct secbuf *plain = NULL;
	struct stage st;
	int r = transaction_check(s);

	if (r == 0)
		r = stage_load(s, s->write, stage, &st);
	if (r < 0)
		return r;
	if (!st.dirty)
		return -EALREADY;
	if (offset > st.size || len > st.size - offset)
		return -EINVAL;
	r = secbuf_new(len, &plain);
	if (r == 0)
		r = secbuf_set_len(plain, len);
	if (r == 0)
		r = stage_get_bytes(s, s->write, &st, offset, secbuf_data(plain), len);
	if (r == 0)
		r = store_version_add(s, secret, secbuf_cdata(plain), len, a, ret_version);
	secbuf_free(plain);
	return r;
}

int store_stage_clean(struct store *s, uint64_t stage)
{
	struct stage st;
	int r = transaction_check(s);

	if (r == 0)
		r = stage_load(s, s->write, stage, &st);
	if (r < 0)
		return r;
	st.dirty = false;
	return transaction_fail(s, stage_save(s, s->write, &st));
}

/* Of the secret's current version as other writers left it; NULL: none is served. */
static int read_current(struct store *s, uint32_t secret, uint32_t current, struct secbuf **ret_plain)
{
	*ret_plain = NULL;
	return current ? store_version_read(s, secret, current, ret_plain) : 0;
}

static uint32_t current_of(struct store *s, uint32_t secret)
{
	store_rdlock(s);
	const struct catalog_secret *x = store_get(s, secret);
	const uint32_t current = x ? x->current : 0;
	store_unlock_tables(s);
	return current;
}

/* Puts what was appended behind what is served now. */
static int join(struct store *s, struct db *db, const struct stage *st, uint32_t secret, uint32_t current,
		struct secbuf **ret_plain)
{
	struct secbuf *before = NULL, *plain = NULL;
	const size_t tail = (size_t)(st->size - st->start);
	int r = read_current(s, secret, current, &before);

	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	const size_t len = before ? secbuf_len(before) : 0;
	r = len + tail > VALUE_MAX ? -EFBIG : secbuf_new(len + tail, &plain);
	if (r == 0)
		r = secbuf_set_len(plain, len + tail);
	if (r == 0 && len)
		memcpy(secbuf_data(plain), secbuf_cdata(before), len);
	if (r == 0)
		r = stage_get_bytes(s, db, st, st->start, secbuf_data(plain) + len, tail);
	secbuf_free(before);
	if (r < 0) {
		secbuf_free(plain);
		return r;
	}
	*ret_plain = plain;
	return 0;
}

static int whole(struct store *s, const struct stage *st, struct secbuf **ret_plain)
{
	struct secbuf *plain = NULL;
	int r = secbuf_new(st->size, &plain);

	if (r == 0)
		r = secbuf_set_len(plain, st->size);
	if (r == 0)
		r = stage_get_bytes(s, s->write, st, 0, secbuf_data(plain), st->size);
	if (r < 0) {
		secbuf_free(plain);
		return r;
	}
	*ret_plain = plain;
	return 0;
}

/* From the commit on the stage is a copy of the version that was made of it; or, where others' bytes came before what
 * it appended, of none. */
static int settle(struct store *s, struct stage *st, uint32_t current, uint32_t version)
{
	int r = 0;

	st->dirty = false;
	if (st->manner == STAGE_TAIL) { /* nobody reads it: what was appended need not stay */
		r = chunks_drop(s->write, st->id, 0);
		st->size = 0;
	} else if (st->manner == STAGE_APPENDS) {
		st->base = st->base == STAGE_NO_BASE || st->base == current ? (int64_t)version : STAGE_LEFT_BASE;
		st->start = st->size;
	} else if (st->manner == STAGE_EDITS) {
		st->base = version;
	}
	return r == 0 ? stage_save(s, s->write, st) : r;
}

int store_stage_commit(struct store *s, uint64_t stage, uint32_t secret, const struct version_attributes *a,
		       uint32_t *ret_version)
{
	struct secbuf *plain = NULL;
	struct stage st;
	uint32_t version = 0;
	int r = transaction_check(s);

	if (r == 0)
		r = stage_load(s, s->write, stage, &st);
	if (r < 0)
		return r;
	if (!st.dirty)
		return -EALREADY;
	const uint32_t current = current_of(s, secret);
	if (st.manner == STAGE_TAIL || (st.manner == STAGE_APPENDS && st.base != STAGE_NO_BASE))
		r = join(s, s->write, &st, secret, current, &plain);
	else if (st.manner == STAGE_EDITS && st.base != STAGE_NO_BASE && st.base != current)
		r = -ESTALE;
	else
		r = whole(s, &st, &plain);
	if (r == 0)
		r = store_version_add(s, secret, secbuf_cdata(plain), secbuf_len(plain), a, &version);
	secbuf_free(plain);
	if (r < 0)
		return r;
	r = transaction_fail(s, settle(s, &st, current, version));
	if (r == 0)
		*ret_version = version;
	return r;
}

int store_stage_gather(struct store *s, uint64_t stage, uint32_t secret)
{
	struct secbuf *plain = NULL;
	struct stage st;
	const uint32_t current = current_of(s, secret);
	int r = stage_begin(s);

	if (r < 0)
		return r;
	r = stage_load(s, s->stage, stage, &st);
	if (r < 0 || st.manner != STAGE_TAIL)
		return stage_end(s, r);
	r = join(s, s->stage, &st, secret, current, &plain);
	if (r == 0) {
		st.size = st.start = 0;
		st.manner = STAGE_EDITS;
		st.base = current;
		r = stage_put_bytes(s, s->stage, &st, 0, secbuf_cdata(plain), secbuf_len(plain));
	}
	if (r == 0)
		r = stage_save(s, s->stage, &st);
	secbuf_free(plain);
	return stage_end(s, r);
}
