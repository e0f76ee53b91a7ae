#include "store/core/integrity.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/core/columns.h"
#include "store/core/db.h"

#define COLUMN_NAME(number, name) name ", "

#define QUERIES(table, columns)                                                                            \
	"SELECT " columns " FROM " table " ORDER BY id", "SELECT " columns " FROM " table " WHERE id = ?", \
		"SELECT " columns " FROM " table " WHERE id > ? AND id <= ? ORDER BY id"
#define REMOVE(table) "DELETE FROM " table " WHERE id > ? AND id <= ?"
#define TABLE(table, columns)                                                                                          \
	{                                                                                                              \
		table, false, QUERIES(table, columns(COLUMN_NAME) "mac"), "UPDATE " table " SET mac = ? WHERE id = ?", \
			REMOVE(table)                                                                                  \
	}
#define BARE(table, columns)                                              \
	{                                                                 \
		table, true, QUERIES(table, columns), NULL, REMOVE(table) \
	}

const struct row_table *row_table(enum row_kind kind)
{
	static const struct row_table tables[ROW_KINDS] = {
		[ROW_SETTINGS] = TABLE("settings", SETTINGS_COLUMNS),
		[ROW_OBJECT] = TABLE("objects", OBJECTS_COLUMNS),
		[ROW_VERSION] = TABLE("versions", VERSIONS_COLUMNS),
		[ROW_ROLE] = TABLE("roles", ROLES_COLUMNS),
		[ROW_BINDING] = TABLE("bindings", BINDINGS_COLUMNS),
		[ROW_CLOCK] = TABLE("clock", CLOCK_COLUMNS),
		[ROW_BLOCK] = TABLE("blocks", BLOCKS_COLUMNS),
		[ROW_REQUEST] = TABLE("requests", REQUESTS_COLUMNS),
		[ROW_PENDING_ACT] = TABLE("pending_acts", PENDING_ACTS_COLUMNS),
		[ROW_ROTATION] = TABLE("rotations", ROTATIONS_COLUMNS),
		[ROW_HOOK] = TABLE("hooks", HOOKS_COLUMNS),
		[ROW_NOTICE] = TABLE("notices", NOTICES_COLUMNS),
		[ROW_HISTORY] = TABLE("histories", HISTORIES_COLUMNS),
		[ROW_EVENT] = TABLE("events", EVENTS_COLUMNS),
		[ROW_MARK] = TABLE("marks", MARKS_COLUMNS),
		[ROW_HOOK_PLACE] = TABLE("hook_places", HOOK_PLACES_COLUMNS),
		[ROW_STAGE] = TABLE("stages", STAGES_COLUMNS),
		[ROW_BACKUP_KEY] = TABLE("backup_keys", BACKUP_KEYS_COLUMNS),
		[ROW_DRILL] = TABLE("drills", DRILLS_COLUMNS),
		[ROW_CHANGE] = BARE("changes", "id, kind, row, old_mac, new_mac"),
		[ROW_BINDING_USE] = BARE("binding_use", "id, last_used"),
		[ROW_KEK] = BARE("keks", "id, kek"),
	};
	assert(kind < ROW_KINDS && tables[kind].name);
	return &tables[kind];
}

int row_keys_derive(const uint8_t vault_key[KEY_LEN], const uint8_t vault[16], struct row_keys *ret_keys)
{
	struct bytes context = { vault, 16 };
	int r = hkdf256(vault_key, "coffer row key 1", context, ret_keys->row);

	return r < 0 ? r : hkdf256(vault_key, "coffer set key 1", context, ret_keys->set);
}

/* The columns as MACed: for each of all but mac itself and the nulls before it, in the order of row_table,
 *   'N'                                  null
 *   'I' | value, 64 bits, big-endian     integer
 *   'T' | length, 32 bits | bytes        text
 *   'B' | length, 32 bits | bytes        blob
 * Types and lengths are part of it, and so is the number of columns, so that no two rows encode alike. Nulls at the end
 * are left out, and not counted: a row of an older schema is the same row after a migration gave it columns. Rows are
 * small but for tags: those take the heap. */
#define ENCODED_STACK 2048

struct encoder {
	uint8_t *data;
	size_t len, capacity;
	uint8_t stack[ENCODED_STACK];
};

static int encoder_reserve(struct encoder *e, size_t more)
{
	uint8_t *grown;
	size_t capacity = e->capacity;

	while (capacity < e->len + more)
		capacity *= 2;
	if (capacity == e->capacity)
		return 0;
	grown = malloc(capacity);
	if (!grown)
		return -ENOMEM;
	memcpy(grown, e->data, e->len);
	if (e->data != e->stack)
		free(e->data);
	e->data = grown;
	e->capacity = capacity;
	return 0;
}

static void put(struct encoder *e, const void *p, size_t n)
{
	if (n > 0)
		memcpy(e->data + e->len, p, n);
	e->len += n;
}

static int encode_column(struct encoder *e, sqlite3_stmt *stmt, int i)
{
	int type = sqlite3_column_type(stmt, i);
	const void *p = NULL;
	uint64_t value;
	uint32_t n;

	if (type == SQLITE_INTEGER) {
		value = htobe64((uint64_t)sqlite3_column_int64(stmt, i));
		put(e, "I", 1);
		put(e, &value, sizeof value);
		return 0;
	}
	if (type == SQLITE_NULL) {
		put(e, "N", 1);
		return 0;
	}
	if (type == SQLITE_FLOAT)
		return -EBADMSG; /* no table has one */
	p = type == SQLITE_TEXT ? (const void *)sqlite3_column_text(stmt, i) : sqlite3_column_blob(stmt, i);
	n = (uint32_t)sqlite3_column_bytes(stmt, i);
	if (!p && n > 0)
		return -ENOMEM;
	if (encoder_reserve(e, n + 16) < 0)
		return -ENOMEM;
	put(e, type == SQLITE_TEXT ? "T" : "B", 1);
	uint32_t be = htobe32(n);
	put(e, &be, sizeof be);
	put(e, p, n);
	return 0;
}

int row_mac(const uint8_t key[KEY_LEN], enum row_kind kind, const struct query *q, uint8_t ret_mac[DIGEST_LEN])
{
	static const char label[] = "coffer row 1";
	const char *table = row_table(kind)->name;
	struct encoder e;
	int columns = sqlite3_column_count(q->stmt) - (row_table(kind)->bare ? 0 : 1);
	uint8_t n;
	int r = 0;

	while (columns > 0 && sqlite3_column_type(q->stmt, columns - 1) == SQLITE_NULL)
		columns--;
	n = (uint8_t)columns;
	e.data = e.stack;
	e.len = 0;
	e.capacity = ENCODED_STACK;
	put(&e, label, sizeof label);
	put(&e, table, strlen(table) + 1);
	put(&e, &n, 1);
	for (int i = 0; i < columns && r == 0; i++)
		r = encoder_reserve(&e, 16) < 0 ? -ENOMEM : encode_column(&e, q->stmt, i);
	if (r == 0)
		r = hmac256(key, &(struct bytes){ e.data, e.len }, 1, ret_mac);
	if (e.data != e.stack)
		free(e.data);
	return r;
}

int row_verify(const uint8_t key[KEY_LEN], enum row_kind kind, const struct query *q, uint8_t ret_mac[DIGEST_LEN])
{
	uint8_t mac[DIGEST_LEN];
	size_t len = 0;
	const void *stored;
	int r = row_mac(key, kind, q, mac);

	if (r < 0)
		return r;
	if (row_table(kind)->bare) {
		memcpy(ret_mac, mac, DIGEST_LEN);
		return 0;
	}
	stored = column_blob(q, sqlite3_column_count(q->stmt) - 1, &len);
	if (len != DIGEST_LEN || secret_cmp(stored, mac, DIGEST_LEN) != 0)
		return -EBADMSG;
	memcpy(ret_mac, mac, DIGEST_LEN);
	return 0;
}

int row_find(const uint8_t key[KEY_LEN], enum row_kind kind, struct query *q, uint8_t ret_mac[DIGEST_LEN])
{
	int r = query_step(q);

	if (r == 0)
		return -ENOENT;
	return r < 0 ? r : row_verify(key, kind, q, ret_mac);
}

static int set_element(const struct row_keys *keys, const uint8_t mac[DIGEST_LEN], struct set_hash *ret_element)
{
	static const char label[] = "coffer member 1";
	const struct bytes parts[] = { { label, sizeof label }, { mac, DIGEST_LEN } };
	uint8_t digest[DIGEST_LEN];
	int r = hmac256(keys->set, parts, 2, digest);

	if (r < 0)
		return r;
	for (size_t i = 0; i < 4; i++) {
		uint64_t limb;
		memcpy(&limb, digest + 8 * i, sizeof limb);
		ret_element->limbs[i] = le64toh(limb);
	}
	return 0;
}

int set_add(const struct row_keys *keys, const uint8_t mac[DIGEST_LEN], struct set_hash *hash)
{
	struct set_hash e;
	unsigned carry = 0;
	int r = set_element(keys, mac, &e);

	for (size_t i = 0; i < 4 && r == 0; i++) {
		unsigned a = __builtin_add_overflow(hash->limbs[i], e.limbs[i], &hash->limbs[i]);
		carry = a | __builtin_add_overflow(hash->limbs[i], (uint64_t)carry, &hash->limbs[i]);
	}
	return r;
}

int set_remove(const struct row_keys *keys, const uint8_t mac[DIGEST_LEN], struct set_hash *hash)
{
	struct set_hash e;
	unsigned borrow = 0;
	int r = set_element(keys, mac, &e);

	for (size_t i = 0; i < 4 && r == 0; i++) {
		unsigned a = __builtin_sub_overflow(hash->limbs[i], e.limbs[i], &hash->limbs[i]);
		borrow = a | __builtin_sub_overflow(hash->limbs[i], (uint64_t)borrow, &hash->limbs[i]);
	}
	return r;
}

/* ---- the head ---- */

#define TRAIL_NONCE_LEN 16
#define TRAIL_LEN       (TRAIL_NONCE_LEN + DIGEST_LEN)

static int trail_pad(const struct row_keys *keys, const uint8_t nonce[TRAIL_NONCE_LEN], struct set_hash *ret_pad)
{
	static const char label[] = "coffer trail 1";
	const struct bytes parts[] = { { label, sizeof label }, { nonce, TRAIL_NONCE_LEN } };
	uint8_t digest[DIGEST_LEN];
	int r = hmac256(keys->set, parts, 2, digest);

	if (r == 0)
		memcpy(ret_pad->limbs, digest, sizeof ret_pad->limbs);
	explicit_bzero(digest, sizeof digest);
	return r;
}

/* A pad must not serve twice, and a serial does when a transaction is rolled back: its bytes stay in the database's
 * log. So the nonce is random. */
static int trail_seal(const struct row_keys *keys, const struct set_hash *hash, uint8_t ret_sealed[TRAIL_LEN])
{
	struct set_hash pad = { 0 };
	int r = random_bytes(ret_sealed, TRAIL_NONCE_LEN);

	if (r == 0)
		r = trail_pad(keys, ret_sealed, &pad);
	for (size_t i = 0; i < 4 && r == 0; i++) {
		uint64_t limb = pad.limbs[i] ^ htobe64(hash->limbs[3 - i]);
		memcpy(ret_sealed + TRAIL_NONCE_LEN + 8 * i, &limb, sizeof limb);
	}
	explicit_bzero(&pad, sizeof pad);
	return r;
}

static int trail_unseal(const struct row_keys *keys, const uint8_t sealed[TRAIL_LEN], struct set_hash *ret_hash)
{
	struct set_hash pad = { 0 };
	int r = trail_pad(keys, sealed, &pad);

	for (size_t i = 0; i < 4 && r == 0; i++) {
		uint64_t limb;
		memcpy(&limb, sealed + TRAIL_NONCE_LEN + 8 * i, sizeof limb);
		ret_hash->limbs[3 - i] = be64toh(limb ^ pad.limbs[i]);
	}
	explicit_bzero(&pad, sizeof pad);
	return r;
}

/* As they are selected by head_read. */
enum {
	STATE_EPOCH,
	STATE_MEMBERS,
	STATE_NEXT_OBJECT,
	STATE_NEXT_ROLE,
	STATE_NEXT_BINDING,
	STATE_MAC,
	STATE_SERIAL,
	STATE_TRAIL_MEMBERS,
	STATE_TRAIL,
	STATE_ID
};

/* All three columns of the trail are there, or none. */
static int trail_read(const struct query *q, const struct row_keys *keys, struct head *head)
{
	size_t len = 0;
	const uint8_t *sealed = column_blob(q, STATE_TRAIL, &len);

	head->has_trail = !column_null(q, STATE_SERIAL);
	if (column_null(q, STATE_TRAIL_MEMBERS) == head->has_trail || column_null(q, STATE_TRAIL) == head->has_trail)
		return -EBADMSG;
	if (!head->has_trail)
		return 0;
	head->serial = (uint64_t)column_int(q, STATE_SERIAL);
	head->trail_members = column_int(q, STATE_TRAIL_MEMBERS);
	if (len != TRAIL_LEN || column_int(q, STATE_SERIAL) < 1 || head->trail_members < 0)
		return -EBADMSG;
	return keys ? trail_unseal(keys, sealed, &head->trail) : 0;
}

int head_read(struct db *db, const struct row_keys *keys, struct head *ret_head, uint8_t ret_mac[DIGEST_LEN])
{
	struct query q = db_query(db, "SELECT epoch, members, next_object, next_role, next_binding, mac, serial, "
				      "trail_members, trail, id FROM state");
	struct head head = { 0 };
	size_t len = 0;
	int r = query_step(&q);

	if (r == 0)
		r = -EBADMSG;
	if (r < 0)
		goto out;
	head.epoch = (uint64_t)column_int(&q, STATE_EPOCH);
	head.members = column_int(&q, STATE_MEMBERS);
	head.next_object = column_int(&q, STATE_NEXT_OBJECT);
	head.next_role = column_int(&q, STATE_NEXT_ROLE);
	head.next_binding = column_int(&q, STATE_NEXT_BINDING);
	const void *mac = column_blob(&q, STATE_MAC, &len);
	r = -EBADMSG;
	if (column_int(&q, STATE_ID) != 1 || len != DIGEST_LEN || head.members < 0 || head.next_object < 1 ||
	    head.next_role < 1 || head.next_binding < 1)
		goto out;
	memcpy(ret_mac, mac, DIGEST_LEN);
	r = trail_read(&q, keys, &head);
	if (r == 0)
		r = query_step(&q); /* a second one would not be looked at */
	if (r > 0)
		r = -EBADMSG;
	if (r == 0)
		*ret_head = head;
out:
	query_end(&q);
	return r;
}

static size_t put_hash(uint64_t *to, const struct set_hash *hash)
{
	for (size_t i = 0; i < 4; i++)
		to[i] = htobe64(hash->limbs[3 - i]);
	return 4;
}

int head_mac(const struct row_keys *keys, const uint8_t vault[16], const struct head *head, uint8_t ret_mac[DIGEST_LEN])
{
	static const char before[] = "coffer set 1", label[] = "coffer set 2";
	uint64_t numbers[15] = {
		htobe64(head->epoch),
		htobe64((uint64_t)head->members),
		htobe64((uint64_t)head->next_object),
		htobe64((uint64_t)head->next_role),
		htobe64((uint64_t)head->next_binding),
	};
	size_t n = 5;

	n += put_hash(numbers + n, &head->hash);
	if (head->has_trail) {
		numbers[n++] = htobe64(head->serial);
		numbers[n++] = htobe64((uint64_t)head->trail_members);
		n += put_hash(numbers + n, &head->trail);
	}
	const struct bytes parts[] = { { head->has_trail ? label : before, sizeof label },
				       { vault, 16 },
				       { numbers, n * sizeof numbers[0] } };
	_Static_assert(sizeof label == sizeof before, "one length for both");
	int r = hmac256(keys->set, parts, 3, ret_mac);
	explicit_bzero(numbers, sizeof numbers);
	return r;
}

int head_write(struct db *db, const struct row_keys *keys, const uint8_t vault[16], const struct head *head)
{
	uint8_t mac[DIGEST_LEN], trail[TRAIL_LEN];
	int r = head_mac(keys, vault, head, mac);
	struct query q;

	assert(head->has_trail);
	if (r == 0)
		r = trail_seal(keys, &head->trail, trail);
	if (r < 0)
		return r;
	q = db_query(db, "INSERT OR REPLACE INTO state(id, epoch, members, next_object, next_role, next_binding, mac, "
			 "serial, trail_members, trail)"
			 " VALUES(1, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	query_int(&q, (int64_t)head->epoch);
	query_int(&q, head->members);
	query_int(&q, head->next_object);
	query_int(&q, head->next_role);
	query_int(&q, head->next_binding);
	query_blob(&q, mac, sizeof mac);
	query_int(&q, (int64_t)head->serial);
	query_int(&q, head->trail_members);
	query_blob(&q, trail, sizeof trail);
	return query_run(&q);
}
