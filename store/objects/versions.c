
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

/* Does a hook wait for new values of this secret? */
static bool value_watched(const struct store *s, const char *name)
{
	const struct rules *rules = store_rules(s);
	bool watched = false;

	for (size_t i = 0; i < rules->n_hooks && !watched; i++)
		watched = (rules->hooks[i].events & EVENT_BIT(EVENT_NEW_VERSION)) &&
			  scope_covers(rules->hooks[i].scope, name);
	return watched;
}

/* The version that current serves, if somebody wants to know whether its value changes, and it is that long; 0: none.
 */
static uint32_t compared_with(struct store *s, uint32_t id, size_t len)
{
	const struct catalog_secret *c;
	const struct catalog_version *v = NULL;
	uint32_t number;

	store_rdlock(s);
	c = store_get(s, id);
	if (c && c->enabled && value_watched(s, c->name))
		v = catalog_version(c, c->current);
	number = v && v->size == len ? v->number : 0;
	store_unlock_tables(s);
	return number;
}

/* Is this what current serves already? The older value is opened into locked memory for it, so that nothing that tells
 * of a value has to be kept. Doubt means that it is another. */
static bool value_same(struct store *s, uint32_t id, const void *value, size_t len)
{
	const uint32_t current = compared_with(s, id, len);
	struct secbuf *before = NULL;
	bool same = false;

	if (current && store_version_read(s, id, current, &before) == 0)
		same = secbuf_len(before) == len && secret_cmp(secbuf_cdata(before), value, len) == 0;
	secbuf_free(before);
	return same;
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
		same = value_same(s, id, value, len);
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

bool version_destroyed(const struct query *q)
{
	size_t len = 0;

	column_blob(q, 9, &len);
	return len == 0;
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

/* ---- reading ---- */

/* Stands q on the version's row, verified. The reader's mutex is held and the store unlocked. */
static int verified_version(struct store *s, int64_t id, struct query *q)
{
	uint8_t mac[DIGEST_LEN];

	*q = db_query(s->read, row_table(ROW_VERSION)->one);
	query_int(q, id);
	return row_find(s->row_keys->row, ROW_VERSION, q, mac);
}

static int read_envelope(struct db *db, int64_t id, const uint8_t hash[DIGEST_LEN], uint8_t **ret_envelope,
			 size_t *ret_len)
{
	struct query q = db_query(db, "SELECT envelope FROM version_data WHERE id = ?");
	uint8_t digest[DIGEST_LEN], *copy = NULL;
	const void *envelope;
	size_t len = 0, plain_len;
	int r;

	query_int(&q, id);
	r = query_step(&q);
	if (r == 0)
		r = -EBADMSG;
	if (r < 0)
		goto out;
	envelope = column_blob(&q, 0, &len);
	r = -EBADMSG;
	if (!envelope || envelope_plain_len(envelope, len, &plain_len) < 0)
		goto out;
	r = sha256(&(struct bytes){ envelope, len }, 1, digest);
	if (r < 0)
		goto out;
	r = -EBADMSG;
	if (memcmp(digest, hash, DIGEST_LEN) != 0)
		goto out;
	copy = malloc(len);
	r = -ENOMEM;
	if (!copy)
		goto out;
	memcpy(copy, envelope, len);
	*ret_envelope = copy;
	*ret_len = len;
	r = 0;
out:
	query_end(&q);
	return r;
}

int version_fetch(struct db *db, const struct query *q, uint8_t **ret_envelope, size_t *ret_len,
		  uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_record_len)
{
	const void *record, *hash;
	size_t record_len = 0, hash_len = 0;
	int r;

	record = column_blob(q, 9, &record_len);
	hash = column_blob(q, 10, &hash_len);
	if (version_destroyed(q))
		return -ENOENT;
	if (!record || record_len > WRAP_RECORD_MAX || hash_len != DIGEST_LEN)
		return -EBADMSG;
	r = read_envelope(db, column_int(q, 0), hash, ret_envelope, ret_len);
	if (r < 0)
		return r;
	memcpy(ret_record, record, record_len);
	*ret_record_len = record_len;
	return 0;
}

static int open_envelope(struct store *s, uint32_t secret, uint32_t version, const uint8_t *envelope, size_t len,
			 const uint8_t dek[KEY_LEN], struct secbuf **ret_plain)
{
	struct envelope_context context = { .secret = secret, .version = version };
	struct secbuf *plain = NULL;
	size_t plain_len = 0;
	int r = envelope_plain_len(envelope, len, &plain_len);

	memcpy(context.vault, s->vault, sizeof context.vault);
	if (r == 0)
		r = secbuf_new(plain_len, &plain);
	if (r == 0)
		r = envelope_open(dek, &context, envelope, len, plain);
	if (r < 0) {
		secbuf_free(plain);
		return r;
	}
	*ret_plain = plain;
	return 0;
}

static bool version_exists(struct store *s, uint32_t secret, uint32_t version)
{
	const struct catalog_secret *c;
	bool exists;

	store_rdlock(s);
	c = store_get(s, secret);
	exists = c && catalog_version(c, version);
	store_unlock_tables(s);
	return exists;
}

/* From disk and the key holder, whom nobody waits for with a lock held. */
static int version_read_slow(struct store *s, uint32_t secret, uint32_t version, struct secbuf **ret_plain)
{
	struct wrap_context wrap = { .type = WRAP_DEK, .secret = secret, .version = version };
	uint64_t generation = cache_generation(s->cache);
	int64_t id = VERSION_ID(secret, version);
	uint8_t record[WRAP_RECORD_MAX], dek[KEY_LEN] = { 0 }, *envelope = NULL;
	size_t len = 0, record_len = 0;
	struct keys *keys = NULL;
	struct query q = { 0 };
	int r;

	if (!version_exists(s, secret, version))
		return -ENOENT;
	r = store_lock_reader(s);
	if (r < 0)
		return r;
	keys = s->keys;
	r = s->row_keys ? verified_version(s, id, &q) : -ENOKEY;
	if (r == 0)
		r = version_fetch(s->read, &q, &envelope, &len, record, &record_len);
	query_end(&q);
	pthread_mutex_unlock(&s->read_mutex);
	if (r < 0)
		return r;
	memcpy(wrap.vault, s->vault, sizeof wrap.vault);
	r = keys_unwrap(keys, &wrap, record, record_len, dek);
	if (r == 0)
		r = open_envelope(s, secret, version, envelope, len, dek, ret_plain);
	if (r == 0)
		cache_insert(s->cache, generation, (uint64_t)id, envelope, len, dek);
	else
		free(envelope);
	secmem_wipe(dek, sizeof dek);
	return r;
}

int store_version_read(struct store *s, uint32_t secret, uint32_t version, struct secbuf **ret_plain)
{
	struct cached cached;
	int r;

	if (atomic_load(&s->sealed))
		return -ENOKEY;
	if (!cache_take(s->cache, (uint64_t)VERSION_ID(secret, version), &cached))
		return version_read_slow(s, secret, version, ret_plain);
	r = open_envelope(s, secret, version, cached.envelope, cached.len, cached.dek, ret_plain);
	cache_put_back(&cached);
	return r;
}

int store_version_read_into(struct store *s, uint32_t secret, uint32_t version, void *ret, size_t room, size_t *ret_len)
{
	struct envelope_context context = { .secret = secret, .version = version };
	struct cached cached;
	int r;

	if (atomic_load(&s->sealed))
		return -ENOKEY;
	if (!cache_take(s->cache, (uint64_t)VERSION_ID(secret, version), &cached))
		return -EAGAIN;
	memcpy(context.vault, s->vault, sizeof context.vault);
	r = envelope_open_into(cached.dek, &context, cached.envelope, cached.len, ret, room, ret_len);
	cache_put_back(&cached);
	return r;
}

/* Of a version that this transaction made: the same way, through its connection. */
static int read_new(struct store *s, uint32_t secret, uint32_t version, struct secbuf **ret_plain)
{
	struct wrap_context wrap = { .type = WRAP_DEK, .secret = secret, .version = version };
	struct query q = db_query(s->write, row_table(ROW_VERSION)->one);
	uint8_t record[WRAP_RECORD_MAX], dek[KEY_LEN] = { 0 }, mac[DIGEST_LEN], *envelope = NULL;
	size_t len = 0, record_len = 0;
	int r;

	query_int(&q, VERSION_ID(secret, version));
	r = row_find(s->row_keys->row, ROW_VERSION, &q, mac);
	if (r == 0)
		r = version_fetch(s->write, &q, &envelope, &len, record, &record_len);
	query_end(&q);
	memcpy(wrap.vault, s->vault, sizeof wrap.vault);
	if (r == 0)
		r = keys_unwrap(s->keys, &wrap, record, record_len, dek);
	if (r == 0)
		r = open_envelope(s, secret, version, envelope, len, dek, ret_plain);
	free(envelope);
	secmem_wipe(dek, sizeof dek);
	return r;
}

bool version_watched(struct store *s, uint32_t id, size_t len) { return compared_with(s, id, len) != 0; }

bool version_same(struct store *s, uint32_t id, uint32_t version)
{
	struct secbuf *plain = NULL;
	bool same = read_new(s, id, version, &plain) == 0 && value_same(s, id, secbuf_cdata(plain), secbuf_len(plain));

	secbuf_free(plain);
	return same;
}

bool store_version_ready(struct store *s, uint32_t secret, uint32_t version)
{
	return !atomic_load(&s->sealed) && cache_has(s->cache, (uint64_t)VERSION_ID(secret, version));
}

static int copy_text(const char *text, char **ret_copy)
{
	*ret_copy = text ? strdup(text) : NULL;
	return text && !*ret_copy ? -ENOMEM : 0;
}

int store_version_attributes(struct store *s, uint32_t secret, uint32_t version, struct store_attributes *ret)
{
	struct store_attributes a = { 0 };
	struct query q = { 0 };
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = s->row_keys ? verified_version(s, VERSION_ID(secret, version), &q) : -ENOKEY;
	if (r == 0)
		r = copy_text(column_text(&q, 6), &a.content_type);
	if (r == 0)
		r = copy_text(column_text(&q, 7), &a.tags_json);
	query_end(&q);
	pthread_mutex_unlock(&s->read_mutex);
	if (r < 0) {
		store_attributes_free(&a);
		return r;
	}
	*ret = a;
	return 0;
}

void store_attributes_free(struct store_attributes *a)
{
	free(a->content_type);
	free(a->tags_json);
	*a = (struct store_attributes){ 0 };
}
