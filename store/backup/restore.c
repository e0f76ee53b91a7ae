/* From a backup into a vault: within one transaction of the caller's, so that all of it is there or nothing. */
#include <errno.h>
#include <jansson.h>

#include "store/backup/restore_common.h"
#include "store/core/database.h"
#include "store/core/row_change.h"
#include "store/keys/keys.h"

/* How many counts the end of each format has. */
static const size_t end_counts[BACKUP_FORMAT + 1] = { [1] = 7, [2] = 10, [3] = 11 };

static int check_end(struct restore *r, struct fields *f)
{
	const uint64_t counts[] = { r->seen.secrets, r->seen.versions,   r->seen.roles,    r->seen.bindings,
				    r->seen.blocks,  r->seen.recipients, r->seen.settings, r->seen.rotations,
				    r->seen.hooks,   r->seen.notices,    r->seen.histories };
	const size_t n = end_counts[r->header->format];
	bool same = true;

	for (size_t i = 0; i < n; i++)
		same &= field_u64(f) == counts[i];
	return fields_end(f) < 0 || !same ? restore_damaged(r, "it does not hold what it says it does") : 0;
}

static int restore_record(struct restore *r, enum record_type type, struct fields *f)
{
	/* The order of the types, but for versions between objects; what only a whole vault has must not come in
	 * another backup. */
	static const uint8_t place[] = {
		[RECORD_SETTINGS] = 1,  [RECORD_ROLE] = 2,    [RECORD_BINDING] = 3,  [RECORD_BLOCK] = 4,
		[RECORD_RECIPIENT] = 5, [RECORD_OBJECT] = 6,  [RECORD_VERSION] = 7,  [RECORD_ROTATION] = 8,
		[RECORD_HOOK] = 9,      [RECORD_NOTICE] = 10, [RECORD_HISTORY] = 11, [RECORD_END] = 12
	};
	bool ordered = place[type] >= place[r->last_type] || (type == RECORD_OBJECT && r->last_type == RECORD_VERSION);
	bool known = type <= RECORD_END || r->header->format > (type == RECORD_HISTORY ? 2 : 1),
	     data = type == RECORD_OBJECT || type == RECORD_VERSION || type == RECORD_END;
	int e = 0;

	if (!ordered || !known || r->last_type == RECORD_END || (!data && !r->header->all))
		return restore_damaged(r, "records out of order");
	r->last_type = type;
	if (type != RECORD_VERSION)
		e = restore_object_end(r);
	if (e < 0)
		return e;
	switch (type) {
	case RECORD_SETTINGS:
		return restore_settings(r, f);
	case RECORD_ROLE:
		return restore_role(r, f);
	case RECORD_BINDING:
		return restore_binding(r, f);
	case RECORD_BLOCK:
		return restore_block(r, f);
	case RECORD_RECIPIENT:
		return restore_recipient(r, f);
	case RECORD_OBJECT:
		return restore_object(r, f);
	case RECORD_VERSION:
		return restore_version(r, f);
	case RECORD_ROTATION:
		return restore_rotation(r, f);
	case RECORD_HOOK:
		return restore_hook(r, f);
	case RECORD_NOTICE:
		return restore_notice(r, f);
	case RECORD_HISTORY:
		return restore_history(r, f);
	case RECORD_END:
		return check_end(r, f);
	}
	return -EBADMSG;
}

static int restore_records(struct restore *r, uint64_t size)
{
	enum record_type type;
	struct fields f;
	int e;

	while ((e = reader_record(r->reader, &type, &f)) > 0) {
		e = restore_record(r, type, &f);
		if (e < 0)
			return e;
		if (r->options->progress)
			r->options->progress(reader_offset(r->reader), size, r->options->arg);
	}
	if (e == -EBADMSG || (e == 0 && r->last_type != RECORD_END))
		return restore_damaged(r, "its content does not open");
	return e < 0 ? e : restore_flush(r);
}

static int open_stream(struct restore *r)
{
	uint8_t key[KEY_LEN];
	int e = keys_restore_begin(r->s->keys, r->options->box, key);

	if (e == -EBADMSG) {
		store_why(r->why, r->why_len, "the key holder was started again meanwhile: try again");
		e = -ETIMEDOUT;
	}
	if (e == 0)
		e = reader_rewind(r->reader, key);
	secmem_wipe(key, sizeof key);
	return e;
}

int store_restore(struct store *s, const struct backup_source *source, const struct restore_options *options,
		  struct backup_header *ret_header, struct restore_counts *ret_counts, char *why, size_t why_len)
{
	struct restore r = { .s = s, .options = options, .why = why, .why_len = why_len };
	uint64_t size;
	int e = transaction_check(s);

	store_why(why, why_len, "%s", "");
	if (e == 0)
		e = reader_open(source, &r.reader, why, why_len);
	if (e == 0)
		e = reader_verify(r.reader, options->signer, why, why_len);
	if (e < 0)
		goto out;
	r.header = reader_header(r.reader);
	size = reader_offset(r.reader);
	e = restore_pending_new(&r);
	if (e == 0)
		e = open_stream(&r);
	if (e == 0)
		e = restore_records(&r, size);
	if (e < 0)
		goto out;
	*ret_header = *r.header;
	*ret_counts = r.counts;
out:
	if (e < 0)
		transaction_fail(s, e);
	restore_pending_free(&r);
	reader_close(r.reader);
	return e;
}
