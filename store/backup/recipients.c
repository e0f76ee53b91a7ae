/* The vault's signing key, its recovery recipients, and when a backup was last tried. */

#include "store/backup/recipients.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/transaction.h"
#include "store/keys/keys.h"

#define SIGNER_ID      1
#define KIND_SIGNER    1
#define KIND_RECIPIENT 2
#define SIGNER_NAME    "*" /* no recipient can have it */

int signer_fingerprint(const uint8_t public[CURVE_LEN], uint8_t ret[DIGEST_LEN])
{
	return sha256(&(struct bytes){ public, CURVE_LEN }, 1, ret);
}

/* ---- rows ---- */

static int insert_key(struct store *s, int64_t id, int kind, const char *name, const uint8_t public[CURVE_LEN],
		      const uint8_t *record, size_t record_len, int64_t created, const char *created_by)
{
	struct change change = row_new(ROW_BACKUP_KEY, id);
	struct query q = db_query(s->write, "INSERT INTO backup_keys(id, kind, name, public_key, record, created, "
					    "created_by, mac) VALUES(?, ?, ?, ?, ?, ?, ?, x'')");
	int r;

	query_int(&q, id);
	query_int(&q, kind);
	query_text(&q, name);
	query_blob(&q, public, CURVE_LEN);
	if (record)
		query_blob(&q, record, record_len);
	else
		query_text(&q, NULL);
	query_int(&q, created);
	query_text(&q, created_by);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : row_in(s, &change);
}

int signer_read(struct db *db, const struct row_keys *keys, uint8_t ret_public[CURVE_LEN], uint8_t *ret_record,
		size_t *ret_len)
{
	struct query q = db_query(db, row_table(ROW_BACKUP_KEY)->one);
	uint8_t mac[DIGEST_LEN];
	const void *public, *record;
	size_t public_len = 0, len = 0;
	int r;

	query_int(&q, SIGNER_ID);
	r = query_step(&q);
	if (r == 0)
		r = -ENOENT;
	if (r > 0)
		r = row_verify(keys->row, ROW_BACKUP_KEY, &q, mac);
	if (r < 0)
		goto out;
	public = column_blob(&q, BACKUP_KEYS_PUBLIC_KEY, &public_len);
	record = column_blob(&q, BACKUP_KEYS_RECORD, &len);
	r = -EBADMSG;
	if (column_int(&q, BACKUP_KEYS_KIND) != KIND_SIGNER || public_len != CURVE_LEN || !record ||
	    len > WRAP_RECORD_MAX)
		goto out;
	memcpy(ret_public, public, CURVE_LEN);
	if (ret_record) {
		memcpy(ret_record, record, len);
		*ret_len = len;
	}
	r = 0;
out:
	query_end(&q);
	return r;
}

/* ---- the signing key ---- */

int signer_insert(struct store *s, struct keys *keys)
{
	uint8_t record[WRAP_RECORD_MAX], public[CURVE_LEN];
	size_t len = 0;
	int r = keys_signer_new(keys, s->vault, record, &len, public);

	return r < 0 ? r : insert_key(s, SIGNER_ID, KIND_SIGNER, SIGNER_NAME, public, record, len, store_now(s), NULL);
}

int store_signer(struct store *s, uint8_t ret_public[CURVE_LEN])
{
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = s->row_keys ? signer_read(s->read, s->row_keys, ret_public, NULL, NULL) : -ENOKEY;
	pthread_mutex_unlock(&s->read_mutex);
	return r;
}

int store_signer_ensure(struct store *s)
{
	uint8_t public[CURVE_LEN];
	int r = store_signer(s, public);

	if (r != -ENOENT)
		return r;
	r = store_begin(s);
	if (r < 0)
		return r;
	/* Somebody may have been faster. */
	r = signer_read(s->write, s->row_keys, public, NULL, NULL);
	if (r == -ENOENT)
		r = signer_insert(s, s->keys);
	if (r == 0)
		return store_commit(s);
	store_rollback(s);
	return r;
}

/* ---- recipients ---- */

static int recipient_parse(const struct query *q, struct recipient *ret)
{
	const char *name = column_text(q, BACKUP_KEYS_NAME), *by = column_text(q, BACKUP_KEYS_CREATED_BY);
	size_t len = 0;
	const void *key = column_blob(q, BACKUP_KEYS_PUBLIC_KEY, &len);

	if (column_int(q, BACKUP_KEYS_KIND) != KIND_RECIPIENT || len != CURVE_LEN || !name || !vault_name_valid(name))
		return -EBADMSG;
	*ret = (struct recipient){ .created = column_int(q, BACKUP_KEYS_CREATED) };
	snprintf(ret->name, sizeof ret->name, "%s", name);
	snprintf(ret->created_by, sizeof ret->created_by, "%s", by ? by : "");
	memcpy(ret->key, key, CURVE_LEN);
	return 0;
}

/* The id under which a recipient stands, 0: none. */
static int recipient_id(struct store *s, const char *name, int64_t *ret_id)
{
	struct query q = db_query(s->write, "SELECT id FROM backup_keys WHERE name = ?");
	int r;

	query_text(&q, name);
	r = query_step(&q);
	*ret_id = r > 0 ? column_int(&q, 0) : 0;
	query_end(&q);
	return r < 0 ? r : 0;
}

int recipient_insert(struct store *s, const struct recipient *new)
{
	struct query q;
	int64_t id = 0, last = 0, n = 0;
	enum { LAST, NUMBER };
	int r;

	if (!vault_name_valid(new->name))
		return -EINVAL;
	r = recipient_id(s, new->name, &id);
	if (r == 0 && id)
		r = -EEXIST;
	if (r < 0)
		return r;
	q = db_query(s->write, "SELECT ifnull(max(id), 0), count(*) FROM backup_keys");
	r = query_step(&q);
	if (r > 0) {
		last = column_int(&q, LAST);
		n = column_int(&q, NUMBER);
	}
	query_end(&q);
	if (r < 0)
		return r;
	if (n > RECIPIENTS_MAX)
		return -ENOSPC;
	return insert_key(s, (last < SIGNER_ID ? SIGNER_ID : last) + 1, KIND_RECIPIENT, new->name, new->key, NULL, 0,
			  new->created, new->created_by[0] ? new->created_by : NULL);
}

int store_recipient_add(struct store *s, const char *name, const uint8_t key[CURVE_LEN], const char *created_by)
{
	struct recipient new = { .created = store_now(s) };
	int r = transaction_check(s);

	if (r < 0)
		return r;
	if (strlen(name) >= sizeof new.name)
		return -EINVAL;
	snprintf(new.name, sizeof new.name, "%s", name);
	snprintf(new.created_by, sizeof new.created_by, "%s", created_by ? created_by : "");
	memcpy(new.key, key, CURVE_LEN);
	return recipient_insert(s, &new);
}

int store_recipient_remove(struct store *s, const char *name)
{
	struct change change;
	struct query q;
	int64_t id = 0;
	int r = transaction_check(s);

	if (r == 0)
		r = recipient_id(s, name, &id);
	if (r == 0 && id <= SIGNER_ID)
		r = -ENOENT;
	if (r == 0)
		r = row_out(s, ROW_BACKUP_KEY, id, &change);
	if (r < 0)
		return r;
	q = db_query(s->write, "DELETE FROM backup_keys WHERE id = ?");
	query_int(&q, id);
	r = query_run(&q);
	return r < 0 ? transaction_fail(s, r) : row_gone(s, &change);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct recipient *)a)->name, ((const struct recipient *)b)->name);
}

static int read_recipients(struct store *s, struct recipient *list, size_t *ret_n)
{
	struct query q = db_query(s->read, row_table(ROW_BACKUP_KEY)->range);
	uint8_t mac[DIGEST_LEN];
	size_t n = 0;
	int r;

	query_int(&q, SIGNER_ID);
	query_int(&q, INT64_MAX);
	while ((r = query_step(&q)) > 0) {
		r = n == RECIPIENTS_MAX ? -EBADMSG : row_verify(s->row_keys->row, ROW_BACKUP_KEY, &q, mac);
		if (r == 0)
			r = recipient_parse(&q, &list[n]);
		if (r < 0)
			break;
		n++;
	}
	query_end(&q);
	if (r == 0)
		*ret_n = n;
	return r;
}

int store_recipients(struct store *s, struct recipient **ret_list, size_t *ret_n)
{
	struct recipient *list = calloc(RECIPIENTS_MAX, sizeof *list);
	size_t n = 0;
	int r = list ? store_lock_reader(s) : -ENOMEM;

	if (r == 0) {
		r = s->row_keys ? read_recipients(s, list, &n) : -ENOKEY;
		pthread_mutex_unlock(&s->read_mutex);
	}
	if (r < 0) {
		free(list);
		return r;
	}
	qsort(list, n, sizeof *list, by_name);
	*ret_list = list;
	*ret_n = n;
	return 0;
}

int store_recipient_find(struct store *s, const char *name, struct recipient *ret)
{
	struct recipient *list = NULL;
	size_t n = 0;
	int r = store_recipients(s, &list, &n);

	if (r < 0)
		return r;
	r = -ENOENT;
	for (size_t i = 0; i < n && r < 0; i++)
		if (strcmp(list[i].name, name) == 0) {
			*ret = list[i];
			r = 0;
		}
	free(list);
	return r;
}

/* ---- drills ---- */

int store_drill_put(struct store *s, const struct drill *d)
{
	struct query q;
	int r = transaction_check(s);

	if (r == 0)
		r = trail_out(s, ROW_DRILL, 1);
	if (r < 0)
		return r;
	q = db_query(s->write, "INSERT OR REPLACE INTO drills(id, at, backup_created, secrets, versions, mac) "
			       "VALUES(1, ?, ?, ?, ?, x'')");
	query_int(&q, d->at);
	query_int(&q, d->backup_created);
	query_int(&q, (int64_t)d->secrets);
	query_int(&q, (int64_t)d->versions);
	r = query_run(&q);
	if (r == 0)
		r = trail_in(s, ROW_DRILL, 1);
	return transaction_fail(s, r);
}

int store_drill(struct store *s, struct drill *ret)
{
	struct query q;
	uint8_t mac[DIGEST_LEN];
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = -ENOKEY;
	if (s->row_keys) {
		q = db_query(s->read, row_table(ROW_DRILL)->one);
		query_int(&q, 1);
		r = query_step(&q);
		if (r == 0)
			r = -ENOENT;
		if (r > 0)
			r = row_verify(s->row_keys->row, ROW_DRILL, &q, mac);
		if (r == 0)
			*ret = (struct drill){ .at = column_int(&q, DRILLS_AT),
					       .backup_created = column_int(&q, DRILLS_BACKUP_CREATED),
					       .secrets = (uint64_t)column_int(&q, DRILLS_SECRETS),
					       .versions = (uint64_t)column_int(&q, DRILLS_VERSIONS) };
		query_end(&q);
	}
	pthread_mutex_unlock(&s->read_mutex);
	return r;
}
