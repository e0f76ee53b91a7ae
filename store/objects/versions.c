
#include "store/objects/versions.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/cache.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/schema.h"
#include "store/keys/envelope.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/objects/objects.h"

#define CONTENT_TYPE_MAX 255
#define TAGS_MAX         15
#define TAG_BYTES_MAX    512
#define TAGS_JSON_MAX    (TAGS_MAX * 2 * (6 * TAG_BYTES_MAX + 8)) /* every byte as \u00XX */

/* ---- attributes ---- */

bool content_type_valid(const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] == 0x7f) /* also what is not ASCII */
			return false;
	return n <= CONTENT_TYPE_MAX;
}

int tags_parse(const char *json, char **ret_canonical)
{
	json_t *tags = NULL, *value;
	const char *name;
	char *text;
	int r = -EINVAL;

	if (strlen(json) > TAGS_JSON_MAX)
		return -EINVAL;
	tags = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(tags) || json_object_size(tags) > TAGS_MAX)
		goto out;
	json_object_foreach(tags, name, value)
		if (!json_is_string(value) || !name[0] || strlen(name) > TAG_BYTES_MAX ||
		    json_string_length(value) > TAG_BYTES_MAX)
			goto out;
	text = json_dumps(tags, JSON_COMPACT | JSON_SORT_KEYS);
	r = text ? 0 : -ENOMEM;
	if (text)
		*ret_canonical = text;
out:
	json_decref(tags);
	return r;
}

struct attributes {
	const char *content_type;
	char *tags;
	int64_t not_before, expires;
};

/* a NULL: no attributes. */
static int attributes_check(const struct version_attributes *a, struct attributes *ret)
{
	struct attributes checked = { .not_before = INT64_MIN, .expires = INT64_MAX };

	if (!a) {
		*ret = checked;
		return 0;
	}
	if (a->expires <= a->not_before || (a->content_type && !content_type_valid(a->content_type)))
		return -EINVAL;
	checked.not_before = a->not_before;
	checked.expires = a->expires;
	checked.content_type = a->content_type;
	if (a->tags_json) {
		int r = tags_parse(a->tags_json, &checked.tags);
		if (r < 0)
			return r;
	}
	*ret = checked;
	return 0;
}

/* ---- changing ---- */

/* The object's row moves with its versions: *ret_version is the number after the last one when next is set. */
static int object_move(struct store *s, uint32_t id, bool next)
{
	struct change change;
	struct query q;
	int r = row_out(s, ROW_OBJECT, id, &change);

	if (r < 0)
		return r;
	q = db_query(s->write, "UPDATE objects SET last_version = last_version + ?, changed = ? WHERE id = ?");
	query_int(&q, next);
	query_int(&q, store_now(s));
	query_int(&q, id);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : row_in(s, &change);
}

static int last_version(struct store *s, uint32_t id, uint32_t *ret_last)
{
	struct query q = db_query(s->write, "SELECT last_version FROM objects WHERE id = ? AND deleted_at IS NULL");
	int64_t last = 0;
	int r;

	query_int(&q, id);
	r = query_step(&q);
	if (r == 0)
		r = -ENOENT;
	if (r > 0) {
		last = column_int(&q, 0);
		r = last < 0 || last > UINT32_MAX ? -EBADMSG : last == UINT32_MAX ? -EOVERFLOW : 0;
	}
	query_end(&q);
	if (r == 0)
		*ret_last = (uint32_t)last;
	return r;
}

int kek_row(struct store *s, const uint8_t kek[KEK_ID_LEN], int64_t *ret_id)
{
	struct query q = db_query(s->write, "SELECT id FROM keks WHERE kek = ?");
	int64_t id = 0;
	int r;

	query_blob(&q, kek, KEK_ID_LEN);
	r = query_step(&q);
	if (r > 0)
		id = column_int(&q, 0);
	query_end(&q);
	if (r == 0) {
		q = db_query(s->write, "INSERT INTO keks(kek) VALUES(?)");
		query_blob(&q, kek, KEK_ID_LEN);
		r = query_run(&q);
		id = sqlite3_last_insert_rowid(db_handle(s->write));
		if (r == 0)
			r = trail_in(s, ROW_KEK, id);
	}
	if (r < 0)
		return r;
	*ret_id = id;
	return 0;
}

struct sealed {
	uint8_t record[WRAP_RECORD_MAX];
	size_t record_len;
	uint8_t *envelope;
	size_t len;
	uint8_t hash[DIGEST_LEN];
};

static int seal_value(struct store *s, uint32_t id, uint32_t version, const void *value, size_t len,
		      struct sealed *ret_sealed)
{
	struct wrap_context wrap = { .type = WRAP_DEK, .secret = id, .version = version };
	struct envelope_context context = { .secret = id, .version = version };
	struct sealed sealed = { .len = len + ENVELOPE_OVERHEAD };
	uint8_t dek[KEY_LEN];
	int r;

	memcpy(wrap.vault, s->vault, sizeof wrap.vault);
	memcpy(context.vault, s->vault, sizeof context.vault);
	sealed.envelope = malloc(sealed.len);
	if (!sealed.envelope)
		return -ENOMEM;
	r = keys_wrap_new(s->keys, &wrap, dek, sealed.record, &sealed.record_len);
	if (r == 0)
		r = envelope_seal(dek, &context, value, len, sealed.envelope);
	if (r == 0)
		r = sha256(&(struct bytes){ sealed.envelope, sealed.len }, 1, sealed.hash);
	secmem_wipe(dek, sizeof dek);
	if (r < 0) {
		free(sealed.envelope);
		return r;
	}
	*ret_sealed = sealed;
	return 0;
}

static int insert_version(struct store *s, int64_t id, size_t size, const struct attributes *a,
			  const struct sealed *sealed)
{
	struct change change = row_new(ROW_VERSION, id);
	struct query q;
	uint8_t kek_id[KEK_ID_LEN];
	int64_t kek = 0;
	int r = wrap_kek_id(sealed->record, sealed->record_len, kek_id);

	if (r == 0)
		r = kek_row(s, kek_id, &kek);
	if (r < 0)
		return r;
	q = db_query(s->write, "INSERT INTO versions(id, size, created, not_before, expires, enabled, content_type, "
			       "tags, kek, dek_record, envelope_hash, epoch, mac)"
			       " VALUES(?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, id);
	query_int(&q, (int64_t)size);
	query_int(&q, store_now(s));
	query_int(&q, a->not_before);
	query_int(&q, a->expires);
	query_text(&q, a->content_type);
	query_text(&q, a->tags);
	query_int(&q, kek);
	query_blob(&q, sealed->record, sealed->record_len);
	query_blob(&q, sealed->hash, sizeof sealed->hash);
	query_int(&q, transaction_epoch(s));
	r = query_run(&q);
	if (r < 0)
		return r;
	q = db_query(s->write, "INSERT INTO version_data(id, envelope) VALUES(?, ?)");
	query_int(&q, id);
	query_blob(&q, sealed->envelope, sealed->len);
	r = query_run(&q);
	return r < 0 ? r : row_in(s, &change);
}

int store_version_add(struct store *s, uint32_t id, const void *value, size_t len, const struct version_attributes *a,
		      uint32_t *ret_version)
{
	struct attributes attributes = { 0 };
	struct sealed sealed = { 0 };
	uint32_t last = 0;
	bool same = false;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (len > s->transaction.settings.value_max)
		return -EFBIG;
	r = attributes_check(a, &attributes);
	if (r == 0)
		r = last_version(s, id, &last);
	if (r == 0 && last > 0)
		same = version_value_same(s, id, value, len);
	if (r == 0)
		r = seal_value(s, id, last + 1, value, len, &sealed);
	if (r == 0)
		r = transaction_fail(s, object_move(s, id, true));
	if (r == 0)
		r = transaction_fail(s, insert_version(s, VERSION_ID(id, last + 1), len, &attributes, &sealed));
	if (r == 0)
		r = store_event_add_of(s, EVENT_NEW_VERSION, id, last + 1, same);
	free(sealed.envelope);
	free(attributes.tags);
	if (r == 0)
		*ret_version = last + 1;
	return r;
}

static int delete_envelope(struct store *s, int64_t id)
{
	struct query q = db_query(s->write, "DELETE FROM version_data WHERE id = ?");

	query_int(&q, id);
	return query_run(&q);
}

int version_erase(struct store *s, int64_t id, bool row_too)
{
	struct change change;
	struct query q;
	int r = row_out(s, ROW_VERSION, id, &change);

	if (r < 0)
		return r;
	s->transaction.destroys = true;
	r = delete_envelope(s, id);
	if (r < 0)
		return transaction_fail(s, r);
	q = row_too ? db_query(s->write, "DELETE FROM versions WHERE id = ?")
		    : db_query(s->write, "UPDATE versions SET withdrawn = CASE WHEN enabled THEN ? ELSE withdrawn END, "
					 "enabled = 0, dek_record = x'', envelope_hash = x''"
					 " WHERE id = ?");
	if (!row_too)
		query_int(&q, transaction_epoch(s));
	query_int(&q, id);
	r = query_run(&q);
	if (r < 0)
		return transaction_fail(s, r);
	return row_too ? row_gone(s, &change) : row_in(s, &change);
}

/* Is there such a version, with its content? */
static int version_whole(struct store *s, uint32_t id, uint32_t version)
{
	struct query q = db_query(s->write, row_table(ROW_VERSION)->one);
	int r;

	query_int(&q, VERSION_ID(id, version));
	r = query_step(&q);
	if (r >= 0)
		r = r > 0 && !version_destroyed(&q) ? 0 : -ENOENT;
	query_end(&q);
	return r;
}

/* Takes the version out of the set, runs what the caller bound, and puts it in again; the object moves too. */
static int change_version(struct store *s, uint32_t id, uint32_t version, struct query *q)
{
	struct change change;
	uint32_t last = 0;
	int r = last_version(s, id, &last);

	if (r == -EOVERFLOW)
		r = 0;
	if (r == 0)
		r = version_whole(s, id, version);
	if (r == 0)
		r = row_out(s, ROW_VERSION, VERSION_ID(id, version), &change);
	if (r < 0) {
		query_end(q);
		return r;
	}
	r = transaction_fail(s, query_run(q));
	if (r == 0)
		r = row_in(s, &change);
	if (r == 0)
		r = transaction_fail(s, object_move(s, id, false));
	return r;
}

int store_version_destroy(struct store *s, uint32_t id, uint32_t version)
{
	uint32_t last = 0;
	int r = transaction_check(s);

	if (r == 0)
		r = last_version(s, id, &last);
	if (r == -EOVERFLOW)
		r = 0;
	if (r == 0)
		r = version_whole(s, id, version);
	/* A version that one may destroy alone would be a way around the protection of the whole. */
	if (r == 0 && s->transaction.settings.purge_protection)
		r = -EPERM;
	if (r == 0)
		r = schema_drop_copies(s->path, s->schema);
	if (r == 0)
		r = version_erase(s, VERSION_ID(id, version), false);
	return r < 0 ? r : transaction_fail(s, object_move(s, id, false));
}

int store_version_enable(struct store *s, uint32_t id, uint32_t version, bool enabled)
{
	struct query q;
	int r = transaction_check(s);

	if (r < 0)
		return r;
	q = db_query(s->write, "UPDATE versions SET enabled = ?, withdrawn = CASE WHEN ? THEN NULL WHEN enabled THEN ? "
			       "ELSE withdrawn END WHERE id = ?");
	query_int(&q, enabled);
	query_int(&q, enabled);
	query_int(&q, transaction_epoch(s));
	query_int(&q, VERSION_ID(id, version));
	return change_version(s, id, version, &q);
}

int store_version_set_attributes(struct store *s, uint32_t id, uint32_t version, const struct version_attributes *a)
{
	struct attributes attributes = { 0 };
	struct query q;
	int r = transaction_check(s);

	if (r == 0)
		r = attributes_check(a, &attributes);
	if (r < 0)
		return r;
	q = db_query(s->write,
		     "UPDATE versions SET content_type = ?, tags = ?, not_before = ?, expires = ? WHERE id = ?");
	query_text(&q, attributes.content_type);
	query_text(&q, attributes.tags);
	query_int(&q, attributes.not_before);
	query_int(&q, attributes.expires);
	query_int(&q, VERSION_ID(id, version));
	r = change_version(s, id, version, &q);
	free(attributes.tags);
	return r;
}
