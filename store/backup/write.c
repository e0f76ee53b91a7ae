/* Writing a backup. A snapshot on a connection of its own is walked once; records are gathered until a batch of keys is
 * worth a call to the key holder, then sealed into frames, which are handed out as they are asked for. So memory does
 * not grow with the vault: one batch, and what came of it.
 *
 * Every row is verified as it is read; of a whole vault also the hash over the set of rows, so that a backup is not
 * made of a store from which something was taken away. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/backup/format.h"
#include "store/backup/write_internal.h"
#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/rules_table.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"
#include "store/objects/versions.h"

#define SNAPSHOT_CACHE_KIB 2048
#define BATCH_BYTES        (1u << 20) /* of records, after which a batch is sealed whatever its number of keys */
#define BUSY_PAUSE_NS      20000000   /* the key holder's limit fills again */
#define BUSY_TRIES         500

/* ---- what may go in ---- */

static int leave_out(struct backup *b, const struct backup_piece *piece)
{
	if (b->n_left == BACKUP_LEFT_MAX) {
		b->more_left++;
		return 0;
	}
	if (!b->left)
		b->left = calloc(BACKUP_LEFT_MAX, sizeof *b->left);
	if (!b->left)
		return -ENOMEM;
	struct backup_left *left = &b->left[b->n_left++];
	snprintf(left->name, sizeof left->name, "%s", piece->name);
	left->version = piece->version;
	left->why = piece->why;
	return 0;
}

/* Of the object that the walk is at: 1, 0 (it is left out), or negative errno. */
static int judge(struct backup *b, uint32_t version)
{
	struct backup_piece piece = { .header = &b->header,
				      .name = b->name,
				      .secret = (uint32_t)b->after,
				      .version = version,
				      .why = "is left out" };
	int r;

	if (!b->judge)
		return b->judged ? -EACCES : 1;
	r = b->judge->decide(b->judge->arg, &piece);
	return r == 0 ? leave_out(b, &piece) : r;
}

/* ---- secrets ---- */

static void put_object(struct backup *b, const struct query *q)
{
	size_t at = buffer_record(&b->plain, RECORD_OBJECT);

	buffer_u64(&b->plain, (uint64_t)column_int(q, OBJECTS_ID));
	buffer_u8(&b->plain, (uint8_t)column_int(q, OBJECTS_KIND));
	buffer_text(&b->plain, column_text(q, OBJECTS_NAME));
	buffer_u8(&b->plain, column_int(q, OBJECTS_ENABLED) != 0);
	buffer_u8(&b->plain, !column_null(q, OBJECTS_DELETED_AT));
	buffer_u64(&b->plain, (uint64_t)column_int(q, OBJECTS_DELETED_AT));
	buffer_u64(&b->plain, (uint64_t)column_int(q, OBJECTS_PURGE_AT));
	buffer_u64(&b->plain, (uint64_t)column_int(q, OBJECTS_CREATED));
	buffer_u64(&b->plain, (uint64_t)column_int(q, OBJECTS_CHANGED));
	buffer_u32(&b->plain, (uint32_t)column_int(q, OBJECTS_LAST_VERSION));
	buffer_record_end(&b->plain, at);
	b->counts.secrets++;
}

/* The beginning of a version's record, up to its seed. Of one that is left out its number and date are told, no more.
 */
static size_t begin_version(struct backup *b, const struct query *q, bool left_out)
{
	size_t at = buffer_record(&b->plain, RECORD_VERSION);

	buffer_u32(&b->plain, VERSION_NUMBER(column_int(q, VERSIONS_ID)));
	buffer_u32(&b->plain, left_out ? 0 : (uint32_t)column_int(q, VERSIONS_SIZE));
	buffer_u64(&b->plain, (uint64_t)column_int(q, VERSIONS_CREATED));
	buffer_u64(&b->plain, left_out ? (uint64_t)INT64_MIN : (uint64_t)column_int(q, VERSIONS_NOT_BEFORE));
	buffer_u64(&b->plain, left_out ? (uint64_t)INT64_MAX : (uint64_t)column_int(q, VERSIONS_EXPIRES));
	buffer_u8(&b->plain, !left_out && column_int(q, VERSIONS_ENABLED) != 0);
	buffer_text(&b->plain, left_out ? NULL : column_text(q, VERSIONS_CONTENT_TYPE));
	buffer_text(&b->plain, left_out ? NULL : column_text(q, VERSIONS_TAGS));
	return at;
}

static int end_version(struct backup *b, size_t at, const uint8_t *envelope, size_t len)
{
	/* the seed, when the key holder has moved it; zeros where there is no content */
	static const uint8_t later[SEALED_SEED_LEN];

	buffer_bytes(&b->plain, later, sizeof later);
	buffer_bytes(&b->plain, envelope, len);
	buffer_record_end(&b->plain, at);
	b->counts.versions++;
	return b->plain.error;
}

static int put_version(struct backup *b, const struct query *q)
{
	struct keys_item *item = &b->items[b->n_items];
	int64_t id = column_int(q, VERSIONS_ID);
	uint8_t *envelope = NULL;
	size_t len = 0, at;
	int r;

	if (version_destroyed(q))
		return end_version(b, begin_version(b, q, false), NULL, 0);
	r = judge(b, VERSION_NUMBER(id));
	if (r <= 0)
		return r < 0 ? r : end_version(b, begin_version(b, q, true), NULL, 0);
	*item = (struct keys_item){
		.was = { .type = WRAP_DEK, .secret = VERSION_OBJECT(id), .version = VERSION_NUMBER(id) }
	};
	memcpy(item->was.vault, b->header.vault, sizeof item->was.vault);
	r = version_fetch(b->db, q, &envelope, &len, item->data, &item->len);
	if (r < 0)
		return r;
	at = begin_version(b, q, false);
	b->sealed_at[b->n_items++] = b->plain.len;
	r = end_version(b, at, envelope, len);
	free(envelope);
	return r;
}

static void put_end(struct backup *b)
{
	const uint64_t counts[] = { b->counts.secrets, b->counts.versions,   b->counts.roles,    b->counts.bindings,
				    b->counts.blocks,  b->counts.recipients, b->counts.settings, b->counts.rotations,
				    b->counts.hooks,   b->counts.notices,    b->counts.histories };
	size_t at = buffer_record(&b->plain, RECORD_END);

	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
		buffer_u64(&b->plain, counts[i]);
	buffer_record_end(&b->plain, at);
}

/* ---- sealing ---- */

/* Gives the gathered versions their seeds under the file key. A limit that the key holder sets for everybody is waited
 * for. */
static int export_keys(struct backup *b)
{
	const struct timespec pause = { .tv_nsec = BUSY_PAUSE_NS };
	int r = 0;

	if (b->n_items == 0)
		return 0;
	for (int i = 0; i < BUSY_TRIES; i++) {
		r = keys_backup_export(b->holder, b->header.vault, b->ticket, b->ticket_len, b->items, b->n_items);
		if (r != -EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	for (size_t i = 0; i < b->n_items && r == 0; i++) {
		if (b->items[i].len != SEALED_SEED_LEN)
			r = -EIO;
		else
			memcpy(b->plain.data + b->sealed_at[i], b->items[i].data, SEALED_SEED_LEN);
	}
	b->n_items = 0;
	return r;
}

static int seal_frame(struct backup *b, const uint8_t *plain, size_t len, bool last)
{
	uint8_t *to;
	int r;

	buffer_bytes(&b->out, NULL, 0);
	if (b->out.capacity - b->out.len < len + FRAME_OVERHEAD) {
		to = realloc(b->out.data, b->out.len + len + FRAME_OVERHEAD);
		if (!to)
			return -ENOMEM;
		b->out.data = to;
		b->out.capacity = b->out.len + len + FRAME_OVERHEAD;
	}
	to = b->out.data + b->out.len;
	r = frame_seal(&b->keys->cipher, plain, len, last, to);
	if (r == 0)
		r = stream_hash_add(&b->hash, to, len + FRAME_OVERHEAD);
	if (r == 0)
		b->out.len += len + FRAME_OVERHEAD;
	return r;
}

/* Whole frames; at the end all of it. */
static int seal_frames(struct backup *b, bool end)
{
	size_t at = 0;
	int r = b->plain.error;

	while (r == 0 && b->plain.len - at > FRAME_MAX) {
		r = seal_frame(b, b->plain.data + at, FRAME_MAX, false);
		at += FRAME_MAX;
	}
	if (r == 0 && end) {
		r = seal_frame(b, b->plain.data + at, b->plain.len - at, true);
		at = b->plain.len;
	}
	if (r == 0) {
		memmove(b->plain.data, b->plain.data + at, b->plain.len - at);
		b->plain.len -= at;
	}
	return r;
}

static int put_table(struct backup *b, enum row_kind kind)
{
	struct query q = db_query(b->db, row_table(kind)->all);
	int r;

	while ((r = query_step(&q)) > 0) {
		r = backup_take_row(b, kind, &q);
		if (r == 0)
			r = backup_put_row(b, kind, &q);
		if (r == 0)
			r = seal_frames(b, false);
		if (r < 0)
			break;
	}
	query_end(&q);
	return r;
}

static int put_tables(struct backup *b, const enum row_kind *kinds, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0 && b->header.all; i++)
		r = put_table(b, kinds[i]);
	return r;
}

static int put_grants(struct backup *b)
{
	static const enum row_kind kinds[] = {
		ROW_SETTINGS, ROW_ROLE, ROW_BINDING, ROW_BLOCK, ROW_BACKUP_KEY, ROW_CLOCK
	};

	return put_tables(b, kinds, sizeof kinds / sizeof kinds[0]);
}

/* Behind the secrets: see backup_format.c. */
static int put_rules(struct backup *b)
{
	static const enum row_kind kinds[] = { ROW_ROTATION, ROW_HOOK, ROW_NOTICE, ROW_HISTORY };

	return put_tables(b, kinds, sizeof kinds / sizeof kinds[0]);
}

static int sign(struct backup *b)
{
	uint8_t record[WRAP_RECORD_MAX], public[CURVE_LEN], signature[SIGNATURE_LEN];
	size_t len = 0;
	int r = signer_read(b->db, &b->keys->row, public, record, &len);

	if (r == 0)
		r = keys_sign(b->holder, b->header.vault, record, len, b->hash.digest, signature);
	if (r == 0) {
		buffer_bytes(&b->out, signature, sizeof signature);
		r = b->out.error;
	}
	return r;
}

/* A whole vault must be all that its head was sealed over. */
static int check_set(struct backup *b)
{
	uint8_t mac[DIGEST_LEN];
	int r;

	if (!b->header.all)
		return 0;
	b->head.hash = b->sum.hash;
	r = head_mac(&b->keys->row, b->header.vault, &b->head, mac);
	if (r == 0 && (b->head.members != b->sum.members || secret_cmp(mac, b->head_mac, DIGEST_LEN) != 0))
		r = -EBADMSG;
	return r;
}

static int finish(struct backup *b)
{
	int r = export_keys(b);

	if (r == 0)
		r = put_rules(b);
	if (r == 0)
		r = check_set(b);
	if (r < 0)
		return r;
	put_end(b);
	r = seal_frames(b, true);
	if (r == 0)
		r = sign(b);
	b->stage = STAGE_DONE;
	return r;
}

/* ---- the walk ---- */

/* Stands q on the next object: 1, 0 at the end. */
static int next_object(struct backup *b, struct query *q)
{
	if (b->ids) {
		if (b->next_id == b->n_ids)
			return 0;
		*q = db_query(b->db, row_table(ROW_OBJECT)->one);
		query_int(q, b->ids[b->next_id++]);
	} else {
		*q = db_query(b->db, row_table(ROW_OBJECT)->range);
		query_int(q, b->after);
		query_int(q, INT64_MAX);
	}
	int r = query_step(q);
	return r == 0 && b->ids ? -ENOENT : r;
}

static bool batch_full(const struct backup *b) { return b->n_items == KEYS_ITEMS_MAX || b->plain.len >= BATCH_BYTES; }

static int seal_batch(struct backup *b)
{
	int r = export_keys(b);

	return r < 0 ? r : seal_frames(b, false);
}

/* All versions of an object: what they come to is bounded by the batch, so that an object with many of them is no
 * exception. Those of a secret that is left out are verified and summed alone. */
static int walk_versions(struct backup *b, int64_t object, bool kept)
{
	struct query q = db_query(b->db, row_table(ROW_VERSION)->range);
	int r;

	query_int(&q, VERSION_ID(object, 0));
	query_int(&q, VERSION_ID(object, UINT32_MAX));
	while ((r = query_step(&q)) > 0) {
		r = backup_take_row(b, ROW_VERSION, &q);
		if (r == 0 && kept)
			r = put_version(b, &q);
		if (r == 0 && batch_full(b))
			r = seal_batch(b);
		if (r < 0)
			break;
	}
	query_end(&q);
	return r;
}

static int walk_object(struct backup *b)
{
	struct query q = { 0 };
	int r = next_object(b, &q), kept = 0;

	if (r > 0) {
		b->after = column_int(&q, OBJECTS_ID);
		snprintf(b->name, sizeof b->name, "%s", column_text(&q, OBJECTS_NAME));
		r = backup_take_row(b, ROW_OBJECT, &q);
		kept = r == 0 ? judge(b, 0) : r;
		if (kept > 0)
			put_object(b, &q);
		r = kept < 0 ? kept : 1;
	}
	query_end(&q);
	if (r <= 0)
		return r;
	r = walk_versions(b, b->after, kept > 0);
	return r < 0 ? r : 1;
}

/* More bytes into out. */
static int produce(struct backup *b)
{
	int r = 0;

	if (store_sealed(b->store))
		return -ENOKEY;
	if (b->stage == STAGE_GRANTS) {
		r = put_grants(b);
		b->stage = STAGE_OBJECTS;
	}
	while (r == 0 && !batch_full(b) && b->out.len == 0) {
		r = walk_object(b);
		if (r == 0)
			return finish(b);
		if (r > 0)
			r = 0;
	}
	return r < 0 ? r : seal_batch(b);
}

int backup_read(struct backup *b, void *ret, size_t room, size_t *ret_len)
{
	uint8_t *to = ret;
	size_t n, given = 0;

	while (given < room && b->error == 0) {
		if (b->taken == b->out.len) {
			b->taken = b->out.len = 0;
			if (b->stage == STAGE_DONE)
				break;
			b->error = produce(b);
			continue;
		}
		n = b->out.len - b->taken < room - given ? b->out.len - b->taken : room - given;
		memcpy(to + given, b->out.data + b->taken, n);
		b->taken += n;
		given += n;
	}
	if (b->error < 0)
		return b->error;
	*ret_len = given;
	return 0;
}

/* ---- beginning and end ---- */

static int begin_stream(struct backup *b, const struct backup_recipient *recipient)
{
	struct keys_state state;
	struct transport_start *start = secmem_alloc(sizeof *start);
	uint8_t header[BACKUP_HEADER_MAX];
	size_t len = 0;
	int r = start ? keys_state(b->holder, &state) : -ENOMEM;

	if (r == 0)
		r = keys_backup_begin(b->holder, b->header.vault, recipient->key, start);
	if (r < 0)
		goto out;
	memcpy(b->ticket, start->ticket, start->ticket_len);
	b->ticket_len = start->ticket_len;
	memcpy(b->keys->cipher.key, start->stream_key, KEY_LEN);
	b->header.recipient = *recipient;
	memcpy(b->header.box, start->box, BOX_LEN);
	memcpy(b->header.kek, state.kek_id, KEK_ID_LEN);
	r = header_print(&b->header, header, &len);
	if (r == 0)
		r = sha256(&(struct bytes){ header, len }, 1, b->keys->cipher.header_hash);
	if (r == 0)
		r = stream_hash_add(&b->hash, header, len);
	buffer_bytes(&b->out, header, len);
	if (r == 0)
		r = b->out.error;
out:
	if (start)
		secmem_free(start, sizeof *start);
	return r;
}

static int snapshot(struct backup *b)
{
	struct store *s = b->store;
	int r = db_open(s->path, &(struct db_options){ .cache_kib = SNAPSHOT_CACHE_KIB }, &b->db);

	if (r == 0)
		r = db_begin(b->db, false);
	if (r == 0) /* the first read is what fixes the moment */
		r = head_read(b->db, NULL, &b->head, b->head_mac);
	if (r < 0)
		return r;
	r = store_lock_reader(s);
	if (r < 0)
		return r;
	if (s->row_keys) {
		b->keys->row = *s->row_keys;
		b->holder = s->keys;
		r = head_read(b->db, &b->keys->row, &b->head, b->head_mac);
	} else {
		r = -ENOKEY;
	}
	pthread_mutex_unlock(&s->read_mutex);
	return r;
}

int backup_open(struct store *s, const struct backup_scope *scope, const struct backup_recipient *recipient,
		struct backup **ret_backup)
{
	struct backup *b = NULL;
	int r = store_signer_ensure(s);

	if (r < 0)
		return r;
	r = -ENOMEM;
	b = calloc(1, sizeof *b);
	if (!b)
		return r;
	b->store = s;
	b->header = (struct backup_header){ .created = store_now(s), .all = scope->all };
	memcpy(b->header.vault, s->vault, sizeof b->header.vault);
	memcpy(b->header.vault_name, s->name, sizeof b->header.vault_name);
	b->keys = secmem_alloc(sizeof *b->keys);
	b->items = calloc(KEYS_ITEMS_MAX, sizeof *b->items);
	if (!scope->all)
		b->ids = malloc((scope->n + 1) * sizeof *b->ids);
	if (!b->keys || !b->items || (!scope->all && !b->ids))
		goto out;
	if (!scope->all)
		memcpy(b->ids, scope->ids, scope->n * sizeof *b->ids);
	b->n_ids = scope->n;
	b->judged = scope->judged;
	r = snapshot(b);
	if (r < 0)
		goto out;
	b->header.epoch = b->head.epoch;
	r = signer_read(b->db, &b->keys->row, b->header.signer, NULL, NULL);
	if (r == 0)
		r = begin_stream(b, recipient);
	if (r < 0)
		goto out;
	*ret_backup = b;
	return 0;
out:
	backup_close(b);
	return r;
}

void backup_counts(const struct backup *b, struct backup_counts *ret_counts) { *ret_counts = b->counts; }

void backup_set_judge(struct backup *b, const struct backup_judge *judge) { b->judge = judge; }

const struct backup_left *backup_left(const struct backup *b, size_t *ret_n, uint64_t *ret_more)
{
	*ret_n = b->n_left;
	*ret_more = b->more_left;
	return b->left;
}

const struct backup_header *backup_header_of(const struct backup *b) { return &b->header; }

void backup_close(struct backup *b)
{
	if (!b)
		return;
	db_close(b->db);
	if (b->keys)
		secmem_free(b->keys, sizeof *b->keys);
	buffer_free(&b->plain);
	buffer_free(&b->out);
	free(b->items);
	free(b->ids);
	free(b->left);
	free(b);
}
