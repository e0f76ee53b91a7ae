/* Reading versions: values and attributes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/cache.h"
#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/keys/envelope.h"
#include "store/keys/keys.h"
#include "store/objects/objects.h"
#include "store/objects/versions.h"

bool version_destroyed(const struct query *q)
{
	size_t len = 0;

	column_blob(q, VERSIONS_DEK_RECORD, &len);
	return len == 0;
}

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

	record = column_blob(q, VERSIONS_DEK_RECORD, &record_len);
	hash = column_blob(q, VERSIONS_ENVELOPE_HASH, &hash_len);
	if (version_destroyed(q))
		return -ENOENT;
	if (!record || record_len > WRAP_RECORD_MAX || hash_len != DIGEST_LEN)
		return -EBADMSG;
	r = read_envelope(db, column_int(q, VERSIONS_ID), hash, ret_envelope, ret_len);
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
int version_read_new(struct store *s, uint32_t secret, uint32_t version, struct secbuf **ret_plain)
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
		r = copy_text(column_text(&q, VERSIONS_CONTENT_TYPE), &a.content_type);
	if (r == 0)
		r = copy_text(column_text(&q, VERSIONS_TAGS), &a.tags_json);
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
