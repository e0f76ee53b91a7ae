/* Secrets of a backup with their versions: each version's ciphertext stays as it is, its key goes from under the
 * backup's file key to under the vault's KEK, 64 at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/backup/restore_common.h"
#include "store/core/catalog.h"
#include "store/core/clock.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"
#include "store/lifecycle/events.h"
#include "store/objects/versions.h"

#define BATCH_BYTES   (1u << 20) /* of envelopes that wait for their keys */
#define TAGS_TEXT_MAX (256u << 10)

struct pending {
	uint32_t object, number, size;
	int64_t created, not_before, expires;
	bool enabled;
	char *content_type, *tags;
	uint8_t *envelope;
	size_t len; /* 0: the version was destroyed */
};

/* A moment that a clock has shown: what is counted from it stays within 64 bits. */
#define MOMENT_MAX (INT64_MAX / 2) /* in the year 2116 */

static bool moment_valid(int64_t ns) { return ns >= 0 && ns <= MOMENT_MAX; }

/* ---- secrets ---- */

struct object {
	uint64_t id;
	uint8_t kind;
	char name[NAME_LEN_MAX + 1];
	bool enabled, deleted;
	int64_t deleted_at, created, changed;
	uint32_t last_version;
};

static int parse_object(struct restore *r, struct fields *f, struct object *ret)
{
	struct object o = { .id = field_u64(f), .kind = field_u8(f) };
	bool named = field_text(f, o.name, sizeof o.name);

	o.enabled = field_u8(f) != 0;
	o.deleted = field_u8(f) != 0;
	o.deleted_at = (int64_t)field_u64(f);
	field_u64(f); /* when it was to be purged: see insert_object */
	o.created = (int64_t)field_u64(f);
	o.changed = (int64_t)field_u64(f);
	o.last_version = field_u32(f);
	if (!named || fields_end(f) < 0 || !name_valid(o.name) || o.id == 0 || o.id > OBJECT_ID_MAX ||
	    o.kind < OBJECT_SECRET || o.kind > OBJECT_CERTIFICATE || !moment_valid(o.created) ||
	    !moment_valid(o.changed) || !moment_valid(o.deleted_at))
		return restore_damaged(r, "a secret that cannot be");
	*ret = o;
	return 0;
}

/* What is deleted stays so, and is kept for as long as this vault keeps what is deleted, from now on: a backup that is
 * old must not bring back what is purged at once. */
static int insert_object(struct restore *r, const struct object *o)
{
	struct store *s = r->s;
	struct transaction *t = &s->transaction;
	struct change change;
	struct query q;
	int64_t purge_at = 0;
	int e = 0;

	if (t->head.next_object > OBJECT_ID_MAX)
		return -EOVERFLOW;
	if (o->deleted && !r->clocked)
		e = clock_write(s, &r->counted);
	if (e < 0)
		return transaction_fail(s, e);
	r->clocked |= o->deleted;
	purge_at = r->counted + RETENTION_NS(&t->settings);
	change = row_new(ROW_OBJECT, t->head.next_object);
	q = db_query(s->write, "INSERT INTO objects(id, kind, name, incarnation, enabled, deleted_at, purge_at, "
			       "created, changed, last_version, served, mac)"
			       " VALUES(?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, change.row);
	query_int(&q, o->kind);
	query_text(&q, o->name);
	query_int(&q, o->enabled);
	query_null_or_int(&q, o->deleted ? &o->deleted_at : NULL);
	query_null_or_int(&q, o->deleted ? &purge_at : NULL);
	query_int(&q, o->created);
	query_int(&q, o->changed);
	query_int(&q, o->last_version);
	query_int(&q, store_now(s)); /* what was there under this name may have been younger than what is restored */
	e = query_run(&q);
	if (e < 0)
		return transaction_fail(s, e);
	t->head.next_object++;
	e = row_in(s, &change);
	r->object = (uint32_t)change.row;
	r->base = 0;
	r->counts.secrets++;
	r->counts.deleted += o->deleted;
	return e;
}

struct there {
	uint32_t id;
	uint8_t kind;
	bool deleted;
	int64_t last;
};

/* A name that is there, live or deleted: 1 and the row's numbers; 0: it is free. */
static int find_name(struct restore *r, const char *name, struct there *ret)
{
	enum { ID, KIND, DELETED_AT, LAST_VERSION };
	struct query q = db_query(r->s->write, "SELECT id, kind, deleted_at, last_version FROM objects WHERE name = ?");
	int e;

	query_text(&q, name);
	e = query_step(&q);
	if (e > 0)
		*ret = (struct there){ .id = (uint32_t)column_int(&q, ID),
				       .kind = (uint8_t)column_int(&q, KIND),
				       .deleted = !column_null(&q, DELETED_AT),
				       .last = column_int(&q, LAST_VERSION) };
	query_end(&q);
	return e;
}

static void skip_deleted(struct restore *r, const char *name)
{
	r->counts.skipped++;
	if (!r->counts.deleted_here++)
		memcpy(r->counts.deleted_name, name, sizeof r->counts.deleted_name);
}

static int append_to(struct restore *r, const struct object *o, const struct there *there)
{
	struct change change;
	struct query q;
	int e;

	if (there->kind != o->kind) { /* the right that was asked for is another's */
		store_why(r->why, r->why_len, "%s is there already, and something of another kind", o->name);
		return -EEXIST;
	}
	/* what somebody deleted here gets nothing new; it is said, and one of them does not stop all the others */
	if (there->deleted) {
		skip_deleted(r, o->name);
		return 0;
	}
	if (o->deleted || o->last_version == 0) {
		r->counts.skipped++;
		return 0;
	}
	if (there->last + o->last_version >= UINT32_MAX) {
		store_why(r->why, r->why_len, "with the %u versions of the backup %s would run out of version numbers",
			  o->last_version, o->name);
		return -EOVERFLOW;
	}
	e = row_out(r->s, ROW_OBJECT, there->id, &change);
	if (e < 0)
		return e;
	q = db_query(r->s->write, "UPDATE objects SET last_version = last_version + ?, changed = ? WHERE id = ?");
	query_int(&q, o->last_version);
	query_int(&q, store_now(r->s));
	query_int(&q, there->id);
	e = query_run(&q);
	if (e < 0)
		return transaction_fail(r->s, e);
	r->object = there->id;
	r->base = (uint32_t)there->last;
	r->appended = true;
	r->counts.appended++;
	return row_in(r->s, &change);
}

int restore_object(struct restore *r, struct fields *f)
{
	struct object o;
	struct restore_item item = { .kind = RESTORE_ITEM_SECRET, .name = o.name };
	struct there there = { 0 };
	int e = parse_object(r, f, &o), found;

	if (e < 0)
		return e;
	if (o.id <= r->was)
		return restore_damaged(r, "secrets out of order");
	r->seen.secrets++;
	r->was = o.id;
	r->object = 0;
	r->last_number = 0;
	r->last_version = o.last_version;
	r->told = 0;
	r->told_enabled = r->appended = false;
	r->deleted = o.deleted;
	memcpy(r->name, o.name, sizeof r->name);
	item.object_kind = o.kind;
	found = find_name(r, o.name, &there);
	if (found < 0)
		return found;
	item.appends = found > 0 && r->options->existing == RESTORE_APPEND;
	e = restore_ask(r, &item);
	if (e < 0)
		return e;
	if (found == 0)
		return insert_object(r, &o);
	if (item.appends)
		return append_to(r, &o, &there);
	if (r->options->existing == RESTORE_SKIP) {
		if (there.deleted)
			skip_deleted(r, o.name);
		else
			r->counts.skipped++;
		return 0;
	}
	store_why(
		r->why, r->why_len,
		there.deleted
			? "%s is there already: it was deleted here, and keeps its name until it is recovered or purged"
			: "%s is there already",
		o.name);
	return -EEXIST;
}

/* ---- versions ---- */

int restore_pending_new(struct restore *r)
{
	r->items = calloc(KEYS_ITEMS_MAX, sizeof *r->items);
	r->pending = calloc(KEYS_ITEMS_MAX, sizeof *r->pending);
	return r->items && r->pending ? 0 : -ENOMEM;
}

static void pending_clear(struct restore *r)
{
	for (size_t i = 0; i < r->n_pending; i++) {
		free(r->pending[i].content_type);
		free(r->pending[i].tags);
		free(r->pending[i].envelope);
	}
	r->n_pending = r->pending_bytes = 0;
}

void restore_pending_free(struct restore *r)
{
	if (r->pending)
		pending_clear(r);
	free(r->items);
	free(r->pending);
}

/* One KEK wraps everything that is restored: its row is asked for once. A destroyed version has no record, but a column
 * that wants a KEK all the same. */
static int kek_of(struct restore *r, const struct pending *p, const struct keys_item *item)
{
	struct keys_state state = { 0 };
	uint8_t id[KEK_ID_LEN];
	int e;

	if (p->len == 0 && r->kek)
		return 0;
	if (p->len == 0) {
		e = keys_state(r->s->keys, &state);
		memcpy(id, state.kek_id, sizeof id);
	} else {
		e = wrap_kek_id(item->data, item->len, id);
	}
	if (e == 0 && (r->kek == 0 || memcmp(id, r->kek_id, sizeof id) != 0)) {
		e = kek_row(r->s, id, &r->kek);
		memcpy(r->kek_id, id, sizeof id);
	}
	return e;
}

static int insert_version(struct restore *r, const struct pending *p, const struct keys_item *item)
{
	struct store *s = r->s;
	const struct change change = row_new(ROW_VERSION, VERSION_ID(p->object, p->number));
	const int64_t epoch = transaction_epoch(s);
	uint8_t hash[DIGEST_LEN];
	struct query q;
	int e = sha256(&(struct bytes){ p->envelope, p->len }, 1, hash);

	if (e == 0)
		e = kek_of(r, p, item);
	if (e < 0)
		return e;
	q = db_query(s->write, "INSERT INTO versions(id, size, created, not_before, expires, enabled, content_type, "
			       "tags, kek, dek_record, envelope_hash, epoch, withdrawn, mac)"
			       " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, change.row);
	query_int(&q, p->size);
	query_int(&q, p->created);
	query_int(&q, p->not_before);
	query_int(&q, p->expires);
	query_int(&q, p->enabled);
	query_text(&q, p->content_type);
	query_text(&q, p->tags);
	query_int(&q, r->kek);
	query_blob(&q, item->data, p->len ? item->len : 0);
	query_blob(&q, hash, p->len ? sizeof hash : 0);
	query_int(&q, epoch);
	query_null_or_int(&q, p->enabled ? NULL : &epoch);
	e = query_run(&q);
	if (e == 0 && p->len == 0)
		e = row_in(s, &change);
	if (e < 0 || p->len == 0) {
		r->counts.versions += e == 0;
		return e;
	}
	q = db_query(s->write, "INSERT INTO version_data(id, envelope) VALUES(?, ?)");
	query_int(&q, change.row);
	query_blob(&q, p->envelope, p->len);
	e = query_run(&q);
	if (e == 0)
		e = row_in(s, &change);
	r->counts.versions++;
	return e;
}

/* The gathered versions get their keys and go into the vault. */
int restore_flush(struct restore *r)
{
	int e = 0;

	if (r->n_pending > 0)
		e = keys_restore_import(r->s->keys, r->options->box, r->items, r->n_pending);
	if (e == -EBADMSG)
		store_why(r->why, r->why_len,
			  "a key in the backup does not open: the key holder was started again meanwhile (try again), "
			  "or the backup is damaged");
	for (size_t i = 0; i < r->n_pending && e == 0; i++)
		e = transaction_fail(r->s, insert_version(r, &r->pending[i], &r->items[i]));
	pending_clear(r);
	return e;
}

static int copy_text(const char *text, bool there, char **ret_copy)
{
	*ret_copy = there ? strdup(text) : NULL;
	return there && !*ret_copy ? -ENOMEM : 0;
}

static int parse_texts(struct restore *r, struct fields *f, struct pending *p)
{
	char content_type[512], *tags = malloc(TAGS_TEXT_MAX);
	bool has_type, has_tags;
	int e = -ENOMEM;

	if (!tags)
		return e;
	has_type = field_text(f, content_type, sizeof content_type);
	has_tags = field_text(f, tags, TAGS_TEXT_MAX);
	e = f->error || (has_type && !content_type_valid(content_type))
		    ? restore_damaged(r, "attributes that cannot be")
		    : 0;
	if (e == 0)
		e = copy_text(content_type, has_type, &p->content_type);
	if (e == 0 && has_tags)
		e = tags_parse(tags, &p->tags);
	free(tags);
	return e == -EINVAL ? restore_damaged(r, "tags that cannot be") : e;
}

static int parse_version(struct restore *r, struct fields *f, struct pending *p, struct keys_item *item)
{
	struct envelope_context was = { .secret = r->was };
	const uint8_t *sealed, *envelope;
	size_t len, plain_len = 0;
	int e;

	p->number = field_u32(f);
	p->size = field_u32(f);
	p->created = (int64_t)field_u64(f);
	p->not_before = (int64_t)field_u64(f);
	p->expires = (int64_t)field_u64(f);
	p->enabled = field_u8(f) != 0;
	e = parse_texts(r, f, p);
	if (e < 0)
		return e;
	sealed = field_bytes(f, SEALED_SEED_LEN);
	len = f->left;
	envelope = field_bytes(f, len);
	bool destroyed = len == 0;
	if (!sealed || !envelope ||
	    (destroyed ? p->enabled : envelope_plain_len(envelope, len, &plain_len) < 0 || plain_len != p->size) ||
	    p->size > VALUE_MAX || p->number <= r->last_number || p->number > r->last_version ||
	    p->expires <= p->not_before || !moment_valid(p->created))
		return restore_damaged(r, "a version that cannot be");
	if (destroyed)
		return 0;
	was.version = p->number;
	memcpy(was.vault, r->header->vault, sizeof was.vault);
	p->envelope = malloc(len + ENVELOPE_ORIGIN);
	if (!p->envelope)
		return -ENOMEM;
	p->len = envelope_keep_origin(envelope, len, &was, p->envelope);
	*item = (struct keys_item){ .was = { .type = WRAP_DEK, .secret = r->was, .version = p->number },
				    .len = SEALED_SEED_LEN };
	memcpy(item->was.vault, r->header->vault, sizeof item->was.vault);
	memcpy(item->data, sealed, SEALED_SEED_LEN);
	return 0;
}

/* A secret that was restored is told of once, by the version that current serves from now on; what is deleted is told
 * of when it is recovered. */
static void note_new(struct restore *r, const struct pending *p)
{
	if (r->deleted || p->len == 0 || (r->told_enabled && !p->enabled))
		return;
	r->told = p->number;
	r->told_size = p->size;
	r->told_enabled |= p->enabled;
}

/* Is what current serves the same as before? Who reloads on a change need not, then. */
static int told_same(struct restore *r, bool *ret_same)
{
	int e;

	*ret_same = r->appended && !r->told_enabled; /* what was served before still is */
	if (!r->appended || !r->told_enabled || !version_watched(r->s, r->object, r->told_size))
		return 0;
	e = restore_flush(r);
	if (e == 0)
		*ret_same = version_same(r->s, r->object, r->told);
	return e;
}

static int tell_new(struct restore *r)
{
	struct event event = { .kind = EVENT_NEW_VERSION, .secret = r->object, .version = r->told, .name = r->name };
	int e;

	if (r->told == 0)
		return 0;
	e = told_same(r, &event.same);
	r->told = 0;
	return e < 0 ? e : store_event_add(r->s, &event);
}

/* A vault never forgets a number: one that is missing was left out by who made this backup, so that the secret would
 * run out of them. */
static int check_numbers(struct restore *r, uint32_t number)
{
	if (number == r->last_number + 1)
		return 0;
	store_why(r->why, r->why_len, "the backup is damaged: %s lacks version %u", r->name, r->last_number + 1);
	return -EBADMSG;
}

int restore_object_end(struct restore *r)
{
	const bool emptied = r->deleted && r->last_number == 0; /* its purge has begun */
	int e = 0;

	if (r->was && !emptied && r->last_number < r->last_version)
		e = check_numbers(r, r->last_version + 1);
	return e < 0 ? e : tell_new(r);
}

int restore_version(struct restore *r, struct fields *f)
{
	struct pending *p = &r->pending[r->n_pending];
	struct keys_item *item = &r->items[r->n_pending];
	int e;

	if (r->was == 0)
		return restore_damaged(r, "a version of no secret");
	*p = (struct pending){ 0 };
	r->n_pending++; /* so that what it holds is freed in any case */
	e = parse_version(r, f, p, item);
	if (e < 0)
		return e;
	e = check_numbers(r, p->number);
	if (e < 0)
		return e;
	r->seen.versions++;
	r->last_number = p->number;
	if (r->object == 0) { /* its secret is skipped */
		free(p->content_type);
		free(p->tags);
		free(p->envelope);
		r->n_pending--;
		return 0;
	}
	p->object = r->object;
	p->number += r->base;
	note_new(r, p);
	if (p->len == 0) {
		e = transaction_fail(r->s, insert_version(r, p, item));
		free(p->content_type);
		free(p->tags);
		r->n_pending--;
		return e;
	}
	item->becomes = (struct wrap_context){ .type = WRAP_DEK, .secret = p->object, .version = p->number };
	memcpy(item->becomes.vault, r->s->vault, sizeof item->becomes.vault);
	r->pending_bytes += p->len;
	return r->n_pending == KEYS_ITEMS_MAX || r->pending_bytes >= BATCH_BYTES ? restore_flush(r) : 0;
}
