#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faulty_vfs.h"
#include "policy/binding.h"
#include "store/backup/format.h"
#include "store/backup/pieces.h"
#include "store/backup/restore.h"
#include "store/core/clock.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/kek_provider.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/history.h"
#include "store/lifecycle/marks.h"
#include "store/lifecycle/rules.h"
#include "store/objects/objects.h"
#include "store/store.h"
#include "store_fixture.h"

/* Two vaults, each with a KEK of its own: backups go from fx to other. */
static struct fixture other;
static uint8_t private_key[CURVE_LEN];
static struct backup_recipient recipient;

struct memory {
	uint8_t *data;
	size_t len;
};

static void both_setup(void)
{
	ck_assert_int_eq(shim_register(), SQLITE_OK);
	fixture_setup();
	vault_make(&other);
	ck_assert_int_eq(vault_open(&other), 0);
	ck_assert_int_eq(random_bytes(private_key, CURVE_LEN), 0);
	recipient = (struct backup_recipient){ .kind = BACKUP_TO_KEY, .name = "safe" };
	ck_assert_int_eq(x25519_public(private_key, recipient.key), 0);
}

static void both_teardown(void)
{
	vault_remove(&other);
	fixture_teardown();
}

/* ---- making and putting back ---- */

static struct memory write_backup(struct store *s, const struct backup_scope *scope, size_t piece)
{
	struct memory m = { 0 };
	struct backup *b = NULL;
	size_t n;

	ck_assert_int_eq(backup_open(s, scope, &recipient, &b), 0);
	for (;;) {
		m.data = realloc(m.data, m.len + piece);
		ck_assert_ptr_nonnull(m.data);
		ck_assert_int_eq(backup_read(b, m.data + m.len, piece, &n), 0);
		if (n == 0)
			break;
		m.len += n;
	}
	backup_close(b);
	return m;
}

static struct memory back_up_all(struct store *s)
{
	return write_backup(s, &(struct backup_scope){ .all = true }, 100000);
}

static int read_memory(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len)
{
	const struct memory *m = arg;
	size_t n = offset < m->len ? m->len - (size_t)offset : 0;

	n = n < len ? n : len;
	memcpy(ret, m->data + (n ? offset : 0), n);
	*ret_len = n;
	return 0;
}

static void fingerprint_of(struct store *s, uint8_t ret[DIGEST_LEN])
{
	uint8_t public[CURVE_LEN];

	ck_assert_int_eq(store_signer(s, public), 0);
	ck_assert_int_eq(signer_fingerprint(public, ret), 0);
}

/* The file key on its way from the recipient to the key holder. */
static int seal_for(struct fixture *to, const struct memory *m, uint8_t ret_box[BOX_LEN])
{
	struct backup_header h;
	uint8_t file_key[KEY_LEN], holder[CURVE_LEN];
	char why[256];
	size_t len;
	int r = backup_header_parse(m->data, m->len, &h, &len, why, sizeof why);

	if (r == 0)
		r = box_open(box_label_recipient, private_key, h.box, file_key);
	if (r < 0)
		return r;
	ck_assert_int_eq(keys_restore_key(to->keys, holder), 0);
	return box_seal(box_label_holder, holder, file_key, ret_box);
}

static struct restore_counts counts;
static char why[512];

/* In a transaction that is committed when all went well. */
static int put_back(struct fixture *to, struct memory *m, const uint8_t *signer, struct restore_options options)
{
	const struct backup_source source = { .read = read_memory, .arg = m };
	struct backup_header h;
	uint8_t box[BOX_LEN], fingerprint[DIGEST_LEN];
	int r = seal_for(to, m, box);

	if (r < 0)
		return r;
	if (!signer)
		fingerprint_of(fx.store, fingerprint);
	options.box = box;
	options.signer = signer ? signer : fingerprint;
	ck_assert_int_eq(store_begin(to->store), 0);
	r = store_restore(to->store, &source, &options, &h, &counts, why, sizeof why);
	if (r == 0)
		return store_commit(to->store);
	store_rollback(to->store);
	return r;
}

static uint32_t id_of(struct store *s, const char *name)
{
	const struct catalog_secret *c;
	uint32_t id;

	store_rdlock(s);
	c = store_find(s, name);
	id = c ? c->id : 0;
	store_unlock_tables(s);
	return id;
}

static struct store_counts counts_of(struct store *s)
{
	struct store_counts c;

	store_rdlock(s);
	store_counts(s, &c);
	store_unlock_tables(s);
	return c;
}

/* What every test of a whole vault begins with. */
static uint32_t fill(void)
{
	static const struct version_attributes attributes = { .content_type = "text/plain",
							      .tags_json = "{\"team\":\"db\"}",
							      .not_before = 5,
							      .expires = 4000000000000000000 };
	uint32_t id = add_secret(fx.store, "db", "one"), version, role;
	char *large = malloc(VALUE_MAX);

	ck_assert_ptr_nonnull(large);
	memset(large, 'L', VALUE_MAX);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, "two", 3, &attributes, &version), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, 1, false), 0);
	ck_assert_int_eq(store_secret_create(fx.store, "empty", &version), 0);
	ck_assert_int_eq(store_secret_create(fx.store, "large", &version), 0);
	ck_assert_int_eq(store_version_add(fx.store, version, large, VALUE_MAX, NULL, &version), 0);
	ck_assert_int_eq(store_role_put(fx.store, "rotator", ACTION_BIT(ACTION_SECRETS_SET), &role), 0);
	ck_assert_int_eq(store_recipient_add(fx.store, "safe", recipient.key, "user:0"), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	add_binding(fx.store, 2000, "secrets-user", "db*");
	free(large);
	return id;
}

START_TEST(whole_vault_comes_back_under_another_kek)
{
	struct store_attributes a;
	struct recipient found;
	struct memory m;
	uint32_t id;

	fill();
	m = back_up_all(fx.store);
	add_secret(other.store, "unrelated", "x");
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .grants = true }), 0);
	ck_assert_uint_eq(counts.secrets, 3);
	ck_assert_uint_eq(counts.versions, 3);
	ck_assert_uint_eq(counts.roles, 1);
	ck_assert_uint_eq(counts.bindings, 1); /* the administrator's was there */
	ck_assert_uint_eq(counts.recipients, 1);
	id = id_of(other.store, "db");
	ck_assert_uint_eq(id, 2); /* another id than it had */
	ck_assert_int_eq(value_is(other.store, id, 1, "one"), 0);
	ck_assert_int_eq(value_is(other.store, id, 2, "two"), 0);
	ck_assert_int_eq(store_version_attributes(other.store, id, 2, &a), 0);
	ck_assert_str_eq(a.content_type, "text/plain");
	ck_assert_str_eq(a.tags_json, "{\"team\":\"db\"}");
	store_attributes_free(&a);
	store_rdlock(other.store);
	const struct catalog_secret *c = store_get(other.store, id);
	ck_assert(c->n_versions == 2 && !c->versions[0].enabled && c->versions[1].not_before == 5 &&
		  c->versions[1].expires == 4000000000000000000);
	store_unlock_tables(other.store);
	ck_assert_int_eq(store_recipient_find(other.store, "safe", &found), 0);
	ck_assert_mem_eq(found.key, recipient.key, CURVE_LEN);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	ck_assert_int_eq(vault_reopen(&other), 0);
	ck_assert_int_eq(value_is(other.store, id, 2, "two"), 0);
	/* A new version, and a backup of what was restored, into a third name: the first origin is kept. */
	ck_assert_uint_eq(add_version(other.store, id, "three"), 3);
	free(m.data);
	m = write_backup(other.store, &(struct backup_scope){ .ids = &id, .n = 1 }, 7777);
	uint8_t signer[DIGEST_LEN];
	fingerprint_of(other.store, signer);
	ck_assert_int_eq(put_back(&fx, &m, signer, (struct restore_options){ .existing = RESTORE_APPEND }), 0);
	id = id_of(fx.store, "db");
	ck_assert_int_eq(value_is(fx.store, id, 1, "one"), 0);
	ck_assert_int_eq(value_is(fx.store, id, 3, "one"), 0);
	ck_assert_int_eq(value_is(fx.store, id, 4, "two"), 0);
	ck_assert_int_eq(value_is(fx.store, id, 5, "three"), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	free(m.data);
}
END_TEST

START_TEST(destroyed_versions_and_blocks_come_back_as_such)
{
	const struct principal blocked = { .n = 1, .conditions = { { PRINCIPAL_USER, 3000 } } };
	struct memory m;
	uint64_t block;
	uint32_t id = add_secret(fx.store, "db", "one");

	add_version(fx.store, id, "two");
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_destroy(fx.store, id, 1), 0);
	ck_assert_int_eq(store_block_add(fx.store, &blocked, "leak", "user:0", &block), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	m = back_up_all(fx.store);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .grants = true }), 0);
	ck_assert_uint_eq(counts.versions, 2);
	ck_assert_uint_eq(counts.blocks, 1);
	id = id_of(other.store, "db");
	ck_assert_int_eq(value_is(other.store, id, 1, "one"), -ENOENT);
	ck_assert_int_eq(value_is(other.store, id, 2, "two"), 0);
	store_rdlock(other.store);
	ck_assert(store_get(other.store, id)->versions[0].destroyed);
	store_unlock_tables(other.store);
	ck_assert_int_eq(raw_int(&other, "SELECT count(*) FROM blocks WHERE principal = 'user:3000'"), 1);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	free(m.data);
}
END_TEST

static int all_but_second(void *arg, struct backup_piece *piece)
{
	++*(unsigned *)arg;
	piece->why = "is closed";
	return piece->version != 2 && strcmp(piece->name, "web") != 0;
}

/* With a judge, a piece at a time. */
static int read_judged(const struct backup_judge *judge, struct memory *m)
{
	struct backup *b = NULL;
	uint64_t more;
	size_t n, left;
	int r;

	*m = (struct memory){ .data = malloc(1 << 20) };
	ck_assert_int_eq(backup_open(fx.store, &(struct backup_scope){ .all = true, .judged = true }, &recipient, &b),
			 0);
	backup_set_judge(b, judge);
	while ((r = backup_read(b, m->data + m->len, 1000, &n)) == 0 && n)
		m->len += n;
	if (r == 0) {
		const struct backup_left *list = backup_left(b, &left, &more);
		ck_assert(left == 2 && more == 0);
		ck_assert(!strcmp(list[0].name, "db") && list[0].version == 2 && !strcmp(list[0].why, "is closed"));
		ck_assert(!strcmp(list[1].name, "web") && list[1].version == 0);
	}
	backup_close(b);
	return r;
}

START_TEST(what_a_judge_leaves_out_is_not_in_a_backup)
{
	unsigned asked = 0;
	const struct backup_judge judge = { .decide = all_but_second, .arg = &asked };
	struct memory m;
	uint32_t id = add_secret(fx.store, "db", "one");

	add_version(fx.store, id, "two");
	add_version(fx.store, id, "three");
	add_secret(fx.store, "web", "w");
	ck_assert_int_eq(read_judged(&judge, &m), 0);
	ck_assert_uint_eq(asked, 5);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ 0 }), 0);
	ck_assert_uint_eq(counts.secrets, 1);
	ck_assert_uint_eq(id_of(other.store, "web"), 0);
	id = id_of(other.store, "db");
	ck_assert_int_eq(value_is(other.store, id, 1, "one"), 0);
	ck_assert_int_eq(value_is(other.store, id, 2, "two"), -ENOENT); /* its number is taken */
	ck_assert_int_eq(value_is(other.store, id, 3, "three"), 0);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	free(m.data);
	ck_assert_int_eq(read_judged(NULL, &m), -EACCES); /* nobody was asked */
	free(m.data);
}
END_TEST

START_TEST(no_plaintext_lies_in_a_backup)
{
	struct memory m;

	add_secret(fx.store, "a-name-to-find", "a value that nobody may see");
	m = back_up_all(fx.store);
	ck_assert_ptr_null(memmem(m.data, m.len, "a value that", 12));
	ck_assert_ptr_null(memmem(m.data, m.len, "a-name-to-find", 14));
	free(m.data);
}
END_TEST

START_TEST(existing_name_is_refused_skipped_or_appended_to)
{
	uint32_t id = add_secret(fx.store, "db", "one"), mine;
	struct memory m;
	struct store_counts before;

	add_secret(fx.store, "web", "w");
	m = back_up_all(fx.store);
	mine = add_secret(other.store, "web", "mine");
	before = counts_of(other.store);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ 0 }), -EEXIST);
	ck_assert_ptr_nonnull(strstr(why, "web is there already"));
	ck_assert(memcmp(&before, &(struct store_counts){ 0 }, sizeof before) &&
		  counts_of(other.store).secrets == before.secrets);
	ck_assert_uint_eq(id_of(other.store, "db"), 0);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .existing = RESTORE_SKIP }), 0);
	ck_assert_uint_eq(counts.skipped, 1);
	ck_assert_int_eq(value_is(other.store, mine, 1, "mine"), 0);
	ck_assert_int_eq(value_is(other.store, id_of(other.store, "db"), 1, "one"), 0);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .existing = RESTORE_APPEND }), 0);
	ck_assert_uint_eq(counts.appended, 2);
	ck_assert_int_eq(value_is(other.store, mine, 1, "mine"), 0);
	ck_assert_int_eq(value_is(other.store, mine, 2, "w"), 0);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	/* Into the vault that it came from. */
	ck_assert_int_eq(put_back(&fx, &m, NULL, (struct restore_options){ 0 }), -EEXIST);
	ck_assert_int_eq(put_back(&fx, &m, NULL, (struct restore_options){ .existing = RESTORE_APPEND }), 0);
	ck_assert_int_eq(value_is(fx.store, id, 2, "one"), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	free(m.data);
}
END_TEST

START_TEST(what_was_deleted_comes_back_deleted)
{
	struct memory m;
	uint32_t id = add_secret(fx.store, "gone", "still here");

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_delete(fx.store, id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	m = back_up_all(fx.store);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ 0 }), 0);
	ck_assert_uint_eq(counts.deleted, 1);
	ck_assert_uint_eq(id_of(other.store, "gone"), 0);
	ck_assert_int_eq(raw_int(&other, "SELECT deleted_at FROM objects"),
			 raw_int(&fx, "SELECT deleted_at FROM objects"));
	/* Its time begins anew, on this vault's clock: it must not be purged because the backup is old. */
	store_rdlock(other.store);
	ck_assert_int_gt(store_purge_left(other.store, store_find_deleted(other.store, "gone")),
			 (int64_t)89 * 86400 * NS_PER_S);
	store_unlock_tables(other.store);
	/* what is deleted here gets nothing new, does not stop the others, and is told of */
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .existing = RESTORE_APPEND }), 0);
	ck_assert(counts.skipped == 1 && counts.appended == 0 && counts.deleted_here == 1);
	ck_assert_str_eq(counts.deleted_name, "gone");
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	ck_assert_int_eq(store_begin(other.store), 0);
	ck_assert_int_eq(store_secret_recover(other.store, 1), 0);
	ck_assert_int_eq(store_commit(other.store), 0);
	ck_assert_int_eq(value_is(other.store, id_of(other.store, "gone"), 1, "still here"), 0);
	free(m.data);
}
END_TEST

/* ---- consistent ---- */

START_TEST(backup_is_of_one_moment)
{
	struct backup *b = NULL;
	struct memory m = { .data = malloc(1 << 20) };
	size_t n;
	uint32_t id = add_secret(fx.store, "db", "one");

	for (int i = 0; i < 200; i++) {
		char name[16];
		snprintf(name, sizeof name, "s%03d", i);
		add_secret(fx.store, name, name);
	}
	ck_assert_int_eq(backup_open(fx.store, &(struct backup_scope){ .all = true }, &recipient, &b), 0);
	do {
		ck_assert_int_eq(backup_read(b, m.data + m.len, 1000, &n), 0);
		m.len += n;
		add_version(fx.store, id, "later");
		ck_assert_int_eq(store_begin(fx.store), 0);
		ck_assert_int_eq(store_version_enable(fx.store, id, 1, false), 0);
		ck_assert_int_eq(store_commit(fx.store), 0);
	} while (n > 0);
	backup_close(b);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ 0 }), 0);
	ck_assert_uint_eq(counts.secrets, 201);
	ck_assert_uint_eq(counts.versions, 201);
	free(m.data);
}
END_TEST

START_TEST(sealing_ends_a_backup)
{
	struct backup *b = NULL;
	uint8_t piece[64];
	size_t n;

	ck_assert_int_eq(backup_open(fx.store, &(struct backup_scope){ .all = true }, &recipient, &b), 0);
	store_lock(fx.store);
	while (backup_read(b, piece, sizeof piece, &n) == 0)
		ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(backup_read(b, piece, sizeof piece, &n), -ENOKEY);
	backup_close(b);
}
END_TEST

START_TEST(damaged_vault_is_not_backed_up)
{
	struct backup *b = NULL;
	uint8_t *piece = malloc(1 << 20);
	size_t n = 1;
	int r = 0;

	add_secret(fx.store, "db", "one");
	add_secret(fx.store, "web", "two");
	raw(&fx, _i ? "DELETE FROM version_data WHERE id >> 32 = 2; DELETE FROM versions WHERE id >> 32 = 2; DELETE "
		      "FROM objects WHERE id = 2"
		    : "UPDATE version_data SET envelope = zeroblob(length(envelope))");
	ck_assert_int_eq(backup_open(fx.store, &(struct backup_scope){ .all = true }, &recipient, &b), 0);
	while (r == 0 && n > 0)
		r = backup_read(b, piece, 1 << 20, &n);
	ck_assert_int_eq(r, -EBADMSG);
	backup_close(b);
	free(piece);
}
END_TEST

/* ---- refused ---- */

static void refused(struct memory *m, const uint8_t *signer, int expected)
{
	int r = put_back(&other, m, signer, (struct restore_options){ .grants = true });

	if (expected)
		ck_assert_int_eq(r, expected);
	ck_assert_int_lt(r, 0);
}

static struct memory tiny(void)
{
	add_secret(fx.store, "db", "v");
	return write_backup(fx.store, &(struct backup_scope){ .ids = &(uint32_t){ 1 }, .n = 1 }, 100000);
}

static void add_rules(struct store *s);

/* A whole vault, with a record of each kind. */
static struct memory all_kinds(void)
{
	const struct principal blocked = { .n = 1, .conditions = { { PRINCIPAL_USER, 3000 } } };
	uint64_t block;
	uint32_t role;

	add_secret(fx.store, "db", "v");
	add_rules(fx.store);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_role_put(fx.store, "rotator", ACTION_BIT(ACTION_SECRETS_SET), &role), 0);
	ck_assert_int_eq(store_block_add(fx.store, &blocked, "leak", "user:0", &block), 0);
	ck_assert_int_eq(store_recipient_add(fx.store, "safe", recipient.key, "user:0"), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	return back_up_all(fx.store);
}

START_TEST(every_flipped_bit_is_refused)
{
	struct memory m = _i ? all_kinds() : tiny();
	uint8_t signer[DIGEST_LEN];

	fingerprint_of(fx.store, signer);
	for (size_t bit = 0; bit < 8 * m.len; bit++) {
		m.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused(&m, signer, 0);
		m.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_uint_eq(counts_of(other.store).secrets, 0);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	ck_assert_int_eq(put_back(&other, &m, signer, (struct restore_options){ 0 }), 0);
	free(m.data);
}
END_TEST

START_TEST(every_truncation_and_addition_is_refused)
{
	struct memory m = tiny(), longer = { .data = malloc(m.len + 1), .len = m.len + 1 };
	uint8_t signer[DIGEST_LEN];
	size_t len = m.len;

	fingerprint_of(fx.store, signer);
	for (m.len = 0; m.len < len; m.len++)
		refused(&m, signer, -EBADMSG);
	m.len = len;
	memcpy(longer.data, m.data, len);
	longer.data[len] = 0;
	refused(&longer, signer, -EBADMSG);
	ck_assert_uint_eq(counts_of(other.store).secrets, 0);
	ck_assert_int_eq(put_back(&other, &m, signer, (struct restore_options){ 0 }), 0);
	free(m.data);
	free(longer.data);
}
END_TEST

START_TEST(another_vaults_backup_is_refused)
{
	struct memory m = tiny();
	uint8_t signer[DIGEST_LEN];

	fingerprint_of(other.store, signer);
	refused(&m, signer, -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(why, "another vault"));
	free(m.data);
}
END_TEST

/* Where the first frame begins. */
static size_t header_len(const struct memory *m)
{
	struct backup_header h;
	size_t len;

	ck_assert_int_eq(backup_header_parse(m->data, m->len, &h, &len, why, sizeof why), 0);
	return len;
}

/* Signed anew by the vault's own key, so that only what lies under the signature refuses it. */
static void sign_again(struct memory *m)
{
	uint8_t record[WRAP_RECORD_MAX], public[CURVE_LEN];
	struct stream_hash hash = { 0 };
	size_t at = header_len(m), n = 0, len;
	bool last = false;

	ck_assert_int_eq(signer_read(fx.store->read, fx.store->row_keys, public, record, &len), 0);
	ck_assert_int_eq(stream_hash_add(&hash, m->data, at), 0);
	for (; !last; at += n) {
		ck_assert_int_eq(frame_length(m->data + at, &n, &last), 0);
		ck_assert_int_eq(stream_hash_add(&hash, m->data + at, n), 0);
	}
	ck_assert_uint_eq(at + SIGNATURE_LEN, m->len);
	ck_assert_int_eq(keys_sign(fx.keys, fx.conf.id, record, len, hash.digest, m->data + at), 0);
}

START_TEST(frames_cannot_be_moved_even_by_who_signs)
{
	struct memory m;
	uint8_t *a, *b, *kept;
	size_t n = 0;
	bool last;

	for (int i = 0; i < 3; i++) {
		char name[8], *value = malloc(60000);
		snprintf(name, sizeof name, "s%d", i);
		memset(value, 'a' + i, 59999);
		value[59999] = '\0';
		add_secret(fx.store, name, value);
		free(value);
	}
	m = back_up_all(fx.store);
	a = m.data + header_len(&m);
	ck_assert_int_eq(frame_length(a, &n, &last), 0);
	ck_assert_uint_eq(n, FRAME_MAX + FRAME_OVERHEAD);
	b = a + n;
	kept = malloc(n);
	memcpy(kept, a, n);
	sign_again(&m);
	memcpy(a, b, n);
	memcpy(b, kept, n);
	sign_again(&m);
	refused(&m, NULL, -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why, "does not open"));
	memcpy(b, a, n);
	memcpy(a, kept, n);
	/* Cut after the first frame, which says that it is the last. */
	m.len = header_len(&m) + n + SIGNATURE_LEN;
	a[0] |= 0x80;
	sign_again(&m);
	refused(&m, NULL, -EBADMSG);
	free(kept);
	free(m.data);
}
END_TEST

static struct stream_cipher cipher_of(const struct memory *m)
{
	struct stream_cipher c = { 0 };
	struct backup_header h;
	uint8_t file_key[KEY_LEN];
	size_t head;

	ck_assert_int_eq(backup_header_parse(m->data, m->len, &h, &head, why, sizeof why), 0);
	ck_assert_int_eq(box_open(box_label_recipient, private_key, h.box, file_key), 0);
	ck_assert_int_eq(transport_stream_key(file_key, c.key), 0);
	ck_assert_int_eq(sha256(&(struct bytes){ m->data, head }, 1, c.header_hash), 0);
	return c;
}

/* The records of a backup of one frame, malloc'd. */
static uint8_t *records_of(const struct memory *m, size_t *ret_len)
{
	struct stream_cipher c = cipher_of(m);
	uint8_t *frame = m->data + header_len(m), *plain;
	size_t n = 0;
	bool last = false;

	ck_assert(frame_length(frame, &n, &last) == 0 && last);
	plain = malloc(n);
	ck_assert_int_eq(frame_open(&c, frame, n, plain, ret_len), 0);
	return plain;
}

/* Other records in its place, at most as many bytes; sealed and signed anew. */
static void put_records(struct memory *m, const uint8_t *plain, size_t len)
{
	struct stream_cipher c = cipher_of(m);

	ck_assert_int_eq(frame_seal(&c, plain, len, true, m->data + header_len(m)), 0);
	m->len = header_len(m) + len + FRAME_OVERHEAD + SIGNATURE_LEN;
	sign_again(m);
}

/* A backup of one frame by somebody who has a vault of his own: behind these bytes of its records, where they are found
 * first, others come. */
static void forge_behind(struct memory *m, const void *what, size_t len, size_t behind, const void *by, size_t by_len)
{
	size_t plain_len = 0;
	uint8_t *plain = records_of(m, &plain_len), *at = memmem(plain, plain_len, what, len);

	ck_assert_ptr_nonnull(at);
	memcpy(at + behind, by, by_len);
	put_records(m, plain, plain_len);
	free(plain);
}

static void forge(struct memory *m, const void *what, size_t len, const void *by)
{
	forge_behind(m, what, len, 0, by, len);
}

/* Of an object's and its version's record: what is counted from them must not overflow. */
START_TEST(times_that_no_clock_shows_are_refused)
{
	static const uint8_t object[] = { OBJECT_SECRET, 0, 0, 0, 2, 'd', 'b' }, version[] = { 0, 0, 0, 1, 0, 0, 0, 4 };
	static const struct {
		const uint8_t *what;
		size_t len, behind;
		const char *why;
	} times[] = {
		{ object, sizeof object, 9, "a secret" },
		{ object, sizeof object, 25, "a secret" },
		{ object, sizeof object, 33, "a secret" },
		{ version, sizeof version, 8, "a version" },
	};
	static const uint8_t bad[][8] = { { 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, { 0x80 } };
	struct memory m;

	add_secret(fx.store, "db", "mine");
	for (size_t k = 0; k < 2; k++) {
		m = back_up_all(fx.store);
		forge_behind(&m, times[_i].what, times[_i].len, times[_i].behind, bad[k], 8);
		ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ 0 }), -EBADMSG);
		ck_assert_msg(strstr(why, times[_i].why) != NULL, "%s", why);
		free(m.data);
	}
}
END_TEST

/* A vault never forgets a number: who leaves them out would have the secret run out of them. */
START_TEST(numbers_without_their_versions_are_refused)
{
	static const uint8_t object[] = { OBJECT_SECRET, 0, 0, 0, 2, 'd', 'b' };
	static const uint8_t many[][4] = { { 0, 0, 0, 2 }, { 0xff, 0xff, 0xff, 0xf0 }, { 0xff, 0xff, 0xff, 0xff } };
	struct memory m;
	uint32_t id = add_secret(fx.store, "db", "mine");

	m = back_up_all(fx.store);
	forge_behind(&m, object, sizeof object, 41, many[_i], 4);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ 0 }), -EBADMSG);
	ck_assert_str_eq(why, "the backup is damaged: db lacks version 2");
	ck_assert_uint_eq(counts_of(other.store).secrets, 0);
	ck_assert_int_lt(put_back(&fx, &m, NULL, (struct restore_options){ .existing = RESTORE_APPEND }), 0);
	ck_assert_ptr_nonnull(strstr(why, _i == 2 ? "run out of version numbers" : "lacks version 2"));
	ck_assert_uint_eq(add_version(fx.store, id, "next"), 2);
	free(m.data);
}
END_TEST

/* As an older format was: the last record of format 1 counts no rules, that of format 2 no history rules, and there are
 * none. */
static void make_older(struct memory *m, uint8_t format)
{
	const uint8_t counted = format == 1 ? 56 : 80;
	size_t len = 0;
	uint8_t *plain = records_of(m, &len);

	m->data[7] = format;
	ck_assert_uint_eq(plain[len - 88 - RECORD_HEAD], RECORD_END);
	plain[len - 89] = counted;
	put_records(m, plain, len - 88 + counted);
	free(plain);
}

START_TEST(older_format_is_read)
{
	struct memory m;
	uint32_t id;

	add_secret(fx.store, "db", "one");
	add_binding(fx.store, 2000, "secrets-user", "db*");
	m = back_up_all(fx.store);
	make_older(&m, (uint8_t)_i);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .grants = true }), 0);
	ck_assert_uint_eq(counts.bindings, 1);
	id = id_of(other.store, "db");
	ck_assert_int_eq(value_is(other.store, id, 1, "one"), 0);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	free(m.data);
}
END_TEST

/* ---- rules ---- */

#define DAY (86400 * (int64_t)NS_PER_S)

static void add_rules(struct store *s)
{
	struct rotation made = { .scope = "db*",
				 .action = ROTATION_ROTATE,
				 .every = 90 * DAY,
				 .expiry = 180 * DAY,
				 .generator = "password:32" };
	struct rotation run = { .scope = "web",
				.action = ROTATION_ROTATE,
				.before = 30 * DAY,
				.command = "/usr/bin/new-value %n",
				.user = 33,
				.timeout = 60,
				.created_by = 7 };
	struct rotation told = { .scope = "api", .action = ROTATION_NOTIFY, .every = 30 * DAY };
	struct hook h = { .scope = "tls-*",
			  .events = EVENT_BIT(EVENT_NEW_VERSION) | EVENT_BIT(EVENT_DELETED),
			  .command = "/usr/bin/reload nginx",
			  .user = 0,
			  .debounce = 500,
			  .timeout = 9,
			  .created_by = 8 };
	struct history kept = { .scope = "*", .versions = 10, .span = 90 * DAY, .created_by = 9 };
	uint64_t id;

	ck_assert_int_eq(store_begin(s), 0);
	ck_assert_int_eq(store_history_put(s, &kept, &id), 0);
	ck_assert_int_eq(store_rotation_put(s, &told, &id), 0);
	ck_assert_int_eq(store_rotation_put(s, &made, &id), 0);
	ck_assert_int_eq(store_rotation_put(s, &run, &id), 0);
	ck_assert_int_eq(store_hook_add(s, &h, &id), 0);
	ck_assert_int_eq(store_near_expiry_put(s, 14), 0);
	ck_assert_int_eq(store_commit(s), 0);
}

/* Of the policy of a scope and of the first hook, all but ids and times. */
static void assert_rules_are_the_same(struct store *a, struct store *b)
{
	const struct rules *x = store_rules(a), *y = store_rules(b); /* nobody else is there to change them */

	ck_assert_uint_eq(x->n_rotations, y->n_rotations);
	ck_assert_uint_eq(x->n_hooks, y->n_hooks);
	ck_assert_uint_eq(x->near_days, y->near_days);
	ck_assert_uint_eq(x->n_histories, y->n_histories);
	for (size_t i = 0; i < x->n_histories; i++) {
		const struct history *p = &x->histories[i], *q = &y->histories[i];
		ck_assert_str_eq(p->scope, q->scope);
		ck_assert(p->versions == q->versions && p->span == q->span && p->created_by == q->created_by);
	}
	for (size_t i = 0; i < x->n_rotations; i++) {
		const struct rotation *p = &x->rotations[i], *q = &y->rotations[i];
		ck_assert_str_eq(p->scope, q->scope);
		ck_assert_str_eq(p->generator, q->generator);
		ck_assert_str_eq(p->command, q->command);
		ck_assert(p->action == q->action && p->every == q->every && p->before == q->before &&
			  p->expiry == q->expiry && p->user == q->user && p->timeout == q->timeout &&
			  p->created_by == q->created_by);
	}
	for (size_t i = 0; i < x->n_hooks; i++) {
		const struct hook *p = &x->hooks[i], *q = &y->hooks[i];
		ck_assert_str_eq(p->scope, q->scope);
		ck_assert_str_eq(p->command, q->command);
		ck_assert(p->events == q->events && p->user == q->user && p->debounce == q->debounce &&
			  p->timeout == q->timeout && p->created_by == q->created_by);
	}
}

START_TEST(policies_hooks_and_days_come_back)
{
	struct rotation mine = { .scope = "mine", .action = ROTATION_NOTIFY, .every = 10 * DAY };
	struct memory m;
	struct hook_place place;
	uint64_t first, end, id;

	add_secret(fx.store, "tls-a", "one");
	add_rules(fx.store);
	m = back_up_all(fx.store);
	ck_assert_int_eq(store_begin(other.store), 0);
	ck_assert_int_eq(store_rotation_put(other.store, &mine, &id), 0);
	ck_assert_int_eq(store_rotation_remove(other.store, id), 0);
	ck_assert_int_eq(store_commit(other.store), 0);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ 0 }), 0);
	ck_assert(counts.rotations == 0 && counts.hooks == 0 && !counts.settings);
	ck_assert_int_eq(
		put_back(&other, &m, NULL, (struct restore_options){ .grants = true, .existing = RESTORE_SKIP }), 0);
	ck_assert(counts.rotations == 3 && counts.hooks == 1 && counts.histories == 1 && counts.settings);
	assert_rules_are_the_same(fx.store, other.store);
	store_rdlock(other.store);
	id = store_rules(other.store)->hooks[0].id;
	ck_assert_uint_eq(store_rules(other.store)->rotations[0].id, 2); /* an id that was never used here */
	store_unlock_tables(other.store);
	/* It hears of what comes after it, not of what came with it. */
	store_events_range(other.store, &first, &end);
	ck_assert_int_eq(store_hook_place(other.store, id, &place), 0);
	ck_assert_uint_eq(place.delivered, end);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	ck_assert_int_eq(vault_reopen(&other), 0);
	assert_rules_are_the_same(fx.store, other.store);
	/* What is there stays, and is not made twice. */
	ck_assert_int_eq(
		put_back(&other, &m, NULL, (struct restore_options){ .grants = true, .existing = RESTORE_SKIP }), 0);
	ck_assert(counts.rotations == 0 && counts.hooks == 0);
	assert_rules_are_the_same(fx.store, other.store);
	free(m.data);
}
END_TEST

static int only(const struct restore_item *item, void *arg)
{
	return (int)item->kind == *(const int *)arg ? -EACCES : 0;
}

static int programs_of(const struct restore_item *item, void *arg)
{
	char *all = arg;

	if (item->command)
		snprintf(all + strlen(all), 256 - strlen(all), "%u %s;", item->user, item->command);
	return 0;
}

START_TEST(policies_and_hooks_are_asked_for_and_name_their_programs)
{
	static int kinds[] = { RESTORE_ITEM_ROTATION, RESTORE_ITEM_HOOK };
	char programs[256] = "";
	struct memory m;

	add_rules(fx.store);
	m = back_up_all(fx.store);
	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(put_back(&other, &m, NULL,
					  (struct restore_options){ .grants = true, .ask = only, .arg = &kinds[i] }),
				 -EACCES);
	store_rdlock(other.store);
	ck_assert(store_rules(other.store)->n_rotations == 0 && store_rules(other.store)->n_hooks == 0);
	store_unlock_tables(other.store);
	ck_assert_int_eq(put_back(&other, &m, NULL,
				  (struct restore_options){ .grants = true, .ask = programs_of, .arg = programs }),
			 0);
	ck_assert_str_eq(programs, "33 /usr/bin/new-value %n;0 /usr/bin/reload nginx;");
	free(m.data);
}
END_TEST

START_TEST(rules_that_cannot_be_are_refused)
{
	static const struct {
		const char *is, *becomes;
	} bad[] = {
		{ "password:32", "password:xx" },
		{ "/usr/bin/new", "\xffusr/bin/new" },
		{ "/usr/bin/reload", "/usr/bin/r\x1bload" },
		{ "/usr/bin/reload", "/usr/bin/r\xffload" },
		{ "tls-*", "tls *" },
		{ "db*", "d**" },
	};
	struct memory m;

	add_rules(fx.store);
	m = back_up_all(fx.store);
	forge(&m, bad[_i].is, strlen(bad[_i].is), bad[_i].becomes);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .grants = true }), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why, "that cannot be"));
	free(m.data);
}
END_TEST

START_TEST(rules_are_not_taken_from_the_older_format)
{
	struct memory m;

	add_rules(fx.store);
	m = back_up_all(fx.store);
	make_older(&m, (uint8_t)_i);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .grants = true }), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why, "out of order"));
	free(m.data);
}
END_TEST

/* ---- events ---- */

START_TEST(each_restored_secret_is_one_new_version_event)
{
	struct event_row rows[16];
	uint32_t db = fill(), gone = add_secret(fx.store, "gone", "x"), version;
	uint64_t first, end;
	struct memory m;
	size_t n = 0;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, db, "three", 5, NULL, &version), 0);
	ck_assert_int_eq(store_version_enable(fx.store, db, 3, false), 0); /* current serves the second */
	ck_assert_int_eq(store_secret_delete(fx.store, gone), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	m = back_up_all(fx.store);
	add_version(other.store, add_secret(other.store, "large", "mine"), "mine too");
	store_events_range(other.store, &first, &end);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .existing = RESTORE_REFUSE }), -EEXIST);
	ck_assert_int_eq(store_events_next(other.store, end, rows, 16, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .existing = RESTORE_APPEND }), 0);
	ck_assert_int_eq(store_events_next(other.store, end, rows, 16, &n), 0);
	ck_assert_uint_eq(n, 2); /* neither of what has no version nor of what is deleted */
	ck_assert(rows[0].kind == EVENT_NEW_VERSION && rows[0].secret == id_of(other.store, "db") &&
		  rows[0].version == 2);
	ck_assert(rows[1].kind == EVENT_NEW_VERSION && rows[1].secret == id_of(other.store, "large") &&
		  rows[1].version == 3);
	ck_assert_str_eq(rows[1].name, "large");
	ck_assert(!rows[1].same);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	free(m.data);
}
END_TEST

/* Programs run on a change of what is served, and a restore that brings what is there already is none. */
START_TEST(appended_value_that_is_served_already_is_marked_where_a_hook_waits)
{
	struct hook h = {
		.scope = "db*", .events = EVENT_BIT(EVENT_NEW_VERSION), .command = "/bin/true", .user = 33, .timeout = 9
	};
	const struct restore_options append = { .existing = RESTORE_APPEND };
	struct event_row rows[16];
	uint64_t first, end, hook;
	size_t n = 0;
	uint32_t same = add_secret(fx.store, "db-same", "one"), off;
	struct memory m;

	add_version(fx.store, same, "two");
	add_secret(fx.store, "db-other", "one");
	off = add_secret(fx.store, "db-off", "one");
	add_secret(fx.store, "web", "one");
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_enable(fx.store, off, 1, false), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	m = back_up_all(fx.store);
	add_version(fx.store, id_of(fx.store, "db-other"), "two"); /* as long, and another */
	add_version(fx.store, off, "three");
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_hook_add(fx.store, &h, &hook), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	store_events_range(fx.store, &first, &end);
	ck_assert_int_eq(put_back(&fx, &m, NULL, append), 0);
	ck_assert_int_eq(store_events_next(fx.store, end, rows, 16, &n), 0);
	ck_assert_uint_eq(n, 4);
	ck_assert(!strcmp(rows[0].name, "db-same") && rows[0].version == 4 && rows[0].same);
	ck_assert(!strcmp(rows[1].name, "db-other") && rows[1].version == 3 && !rows[1].same);
	ck_assert(!strcmp(rows[2].name, "db-off") && rows[2].same); /* only versions that are not served */
	ck_assert(!strcmp(rows[3].name, "web") && !rows[3].same);   /* nobody asks */
	ck_assert_int_eq(value_is(fx.store, same, 4, "two"), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	free(m.data);
}
END_TEST

START_TEST(one_kind_is_not_appended_to_another)
{
	static const uint8_t secret[] = { OBJECT_SECRET, 0, 0, 0, 2, 'd', 'b' },
			     key[] = { OBJECT_KEY, 0, 0, 0, 2, 'd', 'b' };
	uint32_t id = add_secret(fx.store, "db", "mine");
	struct memory m = back_up_all(fx.store);

	forge(&m, secret, sizeof secret, key);
	ck_assert_int_eq(put_back(&fx, &m, NULL, (struct restore_options){ .existing = RESTORE_APPEND }), -EEXIST);
	ck_assert_ptr_nonnull(strstr(why, "another kind"));
	ck_assert_int_eq(value_is(fx.store, id, 1, "mine"), 0);
	free(m.data);
}
END_TEST

/* An answer could not quote them, so that nobody would see the bindings any more. */
START_TEST(words_that_are_no_text_are_refused)
{
	static const char *const bad[] = { "\xff-the-reason", "\x1b[2J-reason", "\xc2\x9b-reason-" };
	struct binding b = { .role = 4, .scope = "db", .from = INT64_MIN, .until = INT64_MAX };
	struct memory m;
	uint64_t binding;

	ck_assert_int_eq(principal_parse("user:1000", NULL, NULL, &b.principal), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_binding_add(fx.store, &b, "for-the-reason", "user:0", &binding), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	m = back_up_all(fx.store);
	forge(&m, "for-the-reason", strlen(bad[_i]), bad[_i]);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .grants = true }), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why, "a binding that cannot be"));
	free(m.data);
}
END_TEST

static int appends_nothing(const struct restore_item *item, void *arg)
{
	(void)arg;
	return item->appends ? -EACCES : 0;
}

START_TEST(who_appends_is_asked_as_such)
{
	struct memory m;

	add_secret(fx.store, "db", "one");
	m = back_up_all(fx.store);
	ck_assert_int_eq(put_back(&other, &m, NULL,
				  (struct restore_options){ .existing = RESTORE_APPEND, .ask = appends_nothing }),
			 0);
	ck_assert_int_eq(put_back(&other, &m, NULL,
				  (struct restore_options){ .existing = RESTORE_SKIP, .ask = appends_nothing }),
			 0);
	ck_assert_int_eq(put_back(&other, &m, NULL,
				  (struct restore_options){ .existing = RESTORE_APPEND, .ask = appends_nothing }),
			 -EACCES);
	free(m.data);
}
END_TEST

START_TEST(newer_format_says_so)
{
	struct memory m = tiny();

	m.data[7]++;
	refused(&m, (uint8_t[DIGEST_LEN]){ 0 }, -EPROTONOSUPPORT);
	m.data[0] = 'X';
	refused(&m, (uint8_t[DIGEST_LEN]){ 0 }, -EBADMSG);
	free(m.data);
}
END_TEST

START_TEST(another_recipients_key_does_not_open_it)
{
	struct memory m = tiny();
	uint8_t box[BOX_LEN];

	private_key[5] ^= 1;
	ck_assert_int_eq(seal_for(&other, &m, box), -EBADMSG);
	free(m.data);
}
END_TEST

static int deny_web(const struct restore_item *item, void *arg)
{
	(void)arg;
	return item->kind == RESTORE_ITEM_SECRET && strcmp(item->name, "web") == 0 ? -EACCES : 0;
}

START_TEST(one_refusal_leaves_nothing)
{
	struct memory m;

	add_secret(fx.store, "db", "one");
	add_secret(fx.store, "web", "two");
	m = back_up_all(fx.store);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ .ask = deny_web }), -EACCES);
	ck_assert_uint_eq(counts_of(other.store).secrets, 0);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	free(m.data);
}
END_TEST

/* ---- dying, and a full disk ---- */

static uint32_t listed; /* changes of a transaction; with few of them a commit loads the tables anew */

/* What a restore leaves is all or nothing. Looks at other, which is closed, and leaves it closed. */
static bool restored_whole(void)
{
	bool whole;

	ck_assert_int_eq(vault_open(&other), 0);
	whole = counts_of(other.store).secrets > 1;
	ck_assert_uint_eq(counts_of(other.store).secrets, whole ? 11 : 1);
	ck_assert_uint_eq(counts_of(other.store).versions, whole ? 11 : 1);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	vault_close(&other);
	return whole;
}

/* A process of its own: locked memory is not inherited. */
static void restore_and_die(struct memory *m, const uint8_t *signer, long n)
{
	struct kek_source source = { .uri = other.conf.kek, .fd = -1 };
	struct kek *kek = NULL;

	process_init();
	if (kek_open(&source, &kek, why, sizeof why) < 0 || keys_new_local(kek, &other.keys) < 0 ||
	    vault_open(&other) < 0)
		_exit(9);
	other.store->changes_listed = listed;
	fault.countdown = n;
	fault.deadly = true;
	_exit(put_back(&other, m, signer, (struct restore_options){ 0 }) == 0 ? 0 : 8);
}

static struct memory ten_secrets(uint8_t signer[DIGEST_LEN])
{
	for (int i = 0; i < 10; i++) {
		char name[8];
		snprintf(name, sizeof name, "s%d", i);
		add_secret(fx.store, name, name);
	}
	add_secret(other.store, "mine", "mine");
	fingerprint_of(fx.store, signer);
	return back_up_all(fx.store);
}

START_TEST(killed_at_any_write_it_is_all_or_nothing)
{
	uint8_t signer[DIGEST_LEN];
	struct memory m = ten_secrets(signer);
	int status = 0;
	long n;

	listed = _i ? 5 : CHANGES_LISTED;
	vault_close(&other);
	for (n = 1; n < 10000; n++) {
		pid_t pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			restore_and_die(&m, signer, n);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status))
			break;
		if (restored_whole()) { /* it died behind its commit */
			n++;
			break;
		}
	}
	if (WIFEXITED(status))
		ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_int_gt(n, 10);
	ck_assert(restored_whole());
	free(m.data);
}
END_TEST

START_TEST(full_disk_at_any_write_loses_nothing)
{
	uint8_t signer[DIGEST_LEN];
	struct memory m = ten_secrets(signer);
	long n;
	int r = -1;

	other.store->changes_listed = _i ? 5 : CHANGES_LISTED;
	for (n = 1; r < 0 && n < 10000; n++) {
		fault.code = SQLITE_FULL;
		fault.fired = false;
		fault.countdown = n;
		r = put_back(&other, &m, signer, (struct restore_options){ 0 });
		fault.countdown = 0;
		if (r < 0) {
			ck_assert(r == -ENOSPC || r == -EIO);
			ck_assert_uint_eq(counts_of(other.store).secrets, 1);
			ck_assert_int_eq(value_is(other.store, id_of(other.store, "mine"), 1, "mine"), 0);
		}
	}
	ck_assert_int_gt(n, 10);
	ck_assert_uint_eq(counts_of(other.store).secrets, 11);
	ck_assert_int_eq(fsck_quiet(&other, true), 0);
	free(m.data);
}
END_TEST

/* ---- memory ---- */

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void);
static size_t heap_in_use(void) { return __sanitizer_get_current_allocated_bytes(); }
#else
static size_t heap_in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}
#endif

static size_t heap_peak;

static int look_at_heap(void *arg)
{
	size_t n = heap_in_use();

	(void)arg;
	heap_peak = n > heap_peak ? n : heap_peak;
	return 0;
}

/* The most that a restore holds at one time, looked at all along it and through its commit; the catalog's entries lie
 * in mappings of their own, and are not in it. */
static size_t most_held(struct memory *m, struct restore_options options)
{
	size_t before = heap_in_use();

	heap_peak = 0;
	sqlite3_progress_handler(db_handle(other.store->write), 500, look_at_heap, NULL);
	ck_assert_int_eq(put_back(&other, m, NULL, options), 0);
	sqlite3_progress_handler(db_handle(other.store->write), 0, NULL, NULL);
	ck_assert_uint_gt(heap_peak, before);
	return heap_peak - before;
}

static void add_secrets(uint32_t from, uint32_t to)
{
	uint32_t id, version;
	char name[16];

	ck_assert_int_eq(store_begin(fx.store), 0);
	for (uint32_t i = from; i < to; i++) {
		snprintf(name, sizeof name, "s%05u", i);
		ck_assert_int_eq(store_secret_create(fx.store, name, &id), 0);
		ck_assert_int_eq(store_version_add(fx.store, id, "value", 5, NULL, &version), 0);
	}
	ck_assert_int_eq(store_commit(fx.store), 0);
}

#define FEW  (CHANGES_LISTED) /* each is two changes and more */
#define MANY (2 * FEW)

/* What remains is the index of the catalog, some 30 bytes a secret at most; a list of the changes would be 240 and
 * more. */
START_TEST(memory_of_a_restore_does_not_grow_with_it)
{
	struct restore_options options = { .existing = RESTORE_APPEND };
	size_t anew[2], appended[2];

	for (uint32_t i = 0; i < 2; i++) {
		add_secrets(i * FEW, (i + 1) * FEW);
		struct memory m = back_up_all(fx.store);
		vault_remove(&other);
		vault_make(&other);
		ck_assert_int_eq(vault_open(&other), 0);
		anew[i] = most_held(&m, options);
		ck_assert_uint_eq(counts.secrets, (i + 1) * FEW);
		appended[i] = most_held(&m, options);
		ck_assert_uint_eq(counts.appended, (i + 1) * FEW);
		free(m.data);
	}
	ck_assert_uint_lt(anew[1], anew[0] + (MANY - FEW) * 100);
	ck_assert_uint_lt(appended[1], appended[0] + (MANY - FEW) * 100);
	ck_assert_int_eq(value_is(other.store, id_of(other.store, "s00000"), 2, "value"), 0);
	ck_assert_uint_eq(store_touched_next(other.store, 0), 1);
	ck_assert_uint_eq(store_touched_next(other.store, MANY - 1), MANY);
	ck_assert_uint_eq(store_touched_next(other.store, MANY), 0);
	ck_assert_int_eq(fsck_quiet(&other, false), 0);
}
END_TEST

/* ---- pieces ---- */

START_TEST(pieces_make_the_stream_again)
{
	static const uint8_t id[RESTORE_ID_LEN] = { 1 };
	static const struct restore_owner seven = { .uid = 7 };
	struct memory m;
	struct restore_pieces pieces = { .store = other.store, .id = { 1 }, .uid = 7 };
	struct backup_header h;
	uint8_t box[BOX_LEN], signer[DIGEST_LEN];
	struct backup_source source = restore_pieces_source(&pieces);
	struct restore_options options = { .box = box, .signer = signer };

	fill();
	m = back_up_all(fx.store);
	fingerprint_of(fx.store, signer);
	for (size_t at = 0; at < m.len; at += 70000) {
		size_t n = m.len - at < 70000 ? m.len - at : 70000;
		ck_assert_int_eq(store_restore_put(other.store, id, &seven, at, m.data + at, n), 0);
		/* it came again */
		ck_assert_int_eq(store_restore_put(other.store, id, &seven, at, m.data + at, n), 0);
		ck_assert_int_eq(store_restore_put(other.store, id, &seven, at, m.data + at, n - 1), -EINVAL);
	}
	ck_assert_int_eq(store_restore_put(other.store, id, &seven, m.len + 1, "x", 1), -EINVAL);
	/* somebody else's */
	ck_assert_int_eq(store_restore_put(other.store, id, &(struct restore_owner){ .uid = 8 }, m.len, "x", 1),
			 -ENOENT);
	ck_assert_int_eq(seal_for(&other, &m, box), 0);
	ck_assert_int_eq(store_begin(other.store), 0);
	ck_assert_int_eq(store_restore(other.store, &source, &options, &h, &counts, why, sizeof why), 0);
	ck_assert_int_eq(store_commit(other.store), 0);
	ck_assert_int_eq(store_restore_drop(other.store, id, 7), 0);
	ck_assert_int_eq(raw_int(&other, "SELECT count(*) FROM restore_pieces"), 0);
	ck_assert_int_eq(value_is(other.store, id_of(other.store, "db"), 2, "two"), 0);
	free(m.data);
}
END_TEST

/* A piece of n bytes of the restore that the number names. */
static int put_of(uint8_t number, uint32_t uid, bool administrator, uint64_t at, size_t n)
{
	static const uint8_t bytes[3 * RESTORE_PIECE_MIN];
	const uint8_t id[RESTORE_ID_LEN] = { number };

	return store_restore_put(other.store, id, &(struct restore_owner){ uid, administrator }, at, bytes, n);
}

START_TEST(restores_under_way_are_few_and_expire)
{
	uint8_t n = 0;

	for (uint32_t uid = 1; n < RESTORES_MAX - RESTORES_RESERVE; n++, uid += n % RESTORES_PER_UID == 0)
		ck_assert_int_eq(put_of(n, uid, false, 0, 1), 0);
	ck_assert_int_eq(put_of(n, 100, false, 0, 1), -EBUSY); /* the rest is kept for administrators */
	ck_assert_int_eq(put_of(n++, 101, true, 0, 1), 0);
	ck_assert_int_eq(put_of(n++, 101, true, 0, 1), 0);
	ck_assert_int_eq(put_of(n, 102, true, 0, 1), -EBUSY);
	raw(&other, "UPDATE restore_pieces SET created = 0 WHERE id <> 1");
	ck_assert_int_eq(restores_expire(other.store), 0);
	ck_assert_int_eq(raw_int(&other, "SELECT count(*) FROM restore_pieces"), 1);
	ck_assert_int_eq(put_of(20, 100, false, 0, 1), 0);
}
END_TEST

START_TEST(one_user_has_a_share_of_the_restores_and_of_the_disk)
{
	const size_t piece = RESTORE_PIECE_MIN;

	ck_assert_int_eq(put_of(1, 7, false, 0, 1), 0);
	ck_assert_int_eq(put_of(2, 7, false, 0, 1), 0);
	ck_assert_int_eq(put_of(3, 7, false, 0, 1), -EBUSY);
	ck_assert_int_eq(store_restore_drop(other.store, (const uint8_t[RESTORE_ID_LEN]){ 1 }, 7), 0);
	ck_assert_int_eq(store_restore_drop(other.store, (const uint8_t[RESTORE_ID_LEN]){ 2 }, 7), 0);
	other.store->pieces_room = 16 * piece;
	for (uint64_t i = 0; i < 8; i++) /* half of it, in two restores */
		ck_assert_int_eq(put_of((uint8_t)(3 + i / 4), 7, false, i % 4 * piece, piece), 0);
	ck_assert_int_eq(put_of(4, 7, false, 4 * piece, 1), -EDQUOT);
	/* what is there may come again, and no more than it was */
	ck_assert_int_eq(put_of(4, 7, false, 3 * piece, piece), 0);
	ck_assert_int_eq(put_of(4, 7, false, piece, 3 * piece), -EINVAL);
	for (uint64_t i = 0; i < 6; i++) /* all but an eighth is others' */
		ck_assert_int_eq(put_of(5, 8, false, i * piece, piece), 0);
	ck_assert_int_eq(put_of(5, 8, false, 6 * piece, 1), -EDQUOT);
	ck_assert_int_eq(put_of(6, 9, true, 0, piece), 0);
	ck_assert_int_eq(put_of(6, 9, true, piece, piece), 0);
	ck_assert_int_eq(put_of(6, 9, true, 2 * piece, 1), -EDQUOT);
	other.store->pieces_room = 0; /* by the disk, which has more */
	ck_assert_int_eq(put_of(6, 9, true, 2 * piece, 1), 0);
	ck_assert_int_eq(put_of(6, 9, true, 2 * piece + 1, 1), -EINVAL); /* only the last may be short */
	ck_assert_int_eq(raw_int(&other, "SELECT sum(length(bytes)) FROM restore_pieces"), 16 * (int)piece + 1);
}
END_TEST

/* ---- keys and drills ---- */

START_TEST(recipients_and_drills_are_kept_and_sealed)
{
	static const uint8_t key[CURVE_LEN] = { 9 };
	struct recipient found;
	struct drill d;

	ck_assert_int_eq(store_drill(fx.store, &d), -ENOENT);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_recipient_add(fx.store, "safe", key, "user:0"), 0);
	ck_assert_int_eq(store_recipient_add(fx.store, "safe", key, "user:0"), -EEXIST);
	ck_assert_int_eq(store_recipient_add(fx.store, "Not A Name", key, "user:0"), -EINVAL);
	ck_assert_int_eq(store_recipient_add(fx.store, "second", key, NULL), 0);
	ck_assert_int_eq(store_recipient_remove(fx.store, "second"), 0);
	ck_assert_int_eq(store_recipient_remove(fx.store, "*"), -ENOENT); /* the signing key's row */
	ck_assert_int_eq(store_drill_put(fx.store,
					 &(struct drill){ .at = 1, .backup_created = 2, .secrets = 3, .versions = 4 }),
			 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(store_recipient_find(fx.store, "safe", &found), 0);
	ck_assert_str_eq(found.created_by, "user:0");
	ck_assert_int_eq(store_recipient_find(fx.store, "second", &found), -ENOENT);
	ck_assert_int_eq(store_drill(fx.store, &d), 0);
	ck_assert_uint_eq(d.versions, 4);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	/* A key put in a recipient's place from outside is found. */
	vault_close(&fx);
	raw(&fx, "UPDATE backup_keys SET public_key = zeroblob(32) WHERE name = 'safe'");
	ck_assert_int_eq(vault_open(&fx), -EBADMSG);
}
END_TEST

START_TEST(older_store_gets_its_signing_key_when_it_needs_one)
{
	uint8_t public[CURVE_LEN];
	struct memory m;

	/* As an older coffer left it: without the key, and without the tables. */
	forget_signer(fx.store);
	older_head(&fx);
	raw(&fx, "DROP TABLE histories; DROP TABLE rotations; DROP TABLE hooks; DROP TABLE notices; DROP TABLE events; "
		 "DROP TABLE marks; DROP TABLE hook_places;"
		 " DROP TABLE backup_keys; DROP TABLE drills; DROP TABLE restore_pieces; DROP INDEX "
		 "requests_neighbour; ALTER TABLE requests DROP COLUMN neighbour;"
		 " ALTER TABLE state DROP COLUMN trail; ALTER TABLE state DROP COLUMN trail_members; ALTER TABLE state "
		 "DROP COLUMN serial; ALTER TABLE objects DROP COLUMN served;"
		 " ALTER TABLE stages DROP COLUMN manner; ALTER TABLE stages DROP COLUMN base; ALTER TABLE stages DROP "
		 "COLUMN start; PRAGMA user_version = 3");
	ck_assert_int_eq(vault_open(&fx), -ESTALE);
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf, .migrate = true };
	ck_assert_msg(store_open(&config, &fx.store, why, sizeof why) == 0, "%s", why);
	ck_assert_int_eq(store_unlock(fx.store, fx.keys, why, sizeof why), 0);
	ck_assert_int_eq(store_signer(fx.store, public), -ENOENT);
	add_secret(fx.store, "db", "one");
	m = back_up_all(fx.store);
	ck_assert_int_eq(store_signer(fx.store, public), 0);
	ck_assert_int_eq(put_back(&other, &m, NULL, (struct restore_options){ 0 }), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	free(m.data);
}
END_TEST

static TCase *of_both(Suite *suite, const char *name)
{
	TCase *t = tcase_create(name);

	tcase_add_checked_fixture(t, both_setup, both_teardown);
	tcase_set_timeout(t, 240);
	suite_add_tcase(suite, t);
	return t;
}

int main(void)
{
	Suite *suite = suite_create("backup");
	TCase *t = of_both(suite, "backup"), *broken = of_both(suite, "broken"), *memory = of_both(suite, "memory"),
	      *pieces = of_both(suite, "pieces");
	SRunner *runner;
	int failed;

	tcase_add_test(t, whole_vault_comes_back_under_another_kek);
	tcase_add_test(t, destroyed_versions_and_blocks_come_back_as_such);
	tcase_add_test(t, what_a_judge_leaves_out_is_not_in_a_backup);
	tcase_add_test(t, no_plaintext_lies_in_a_backup);
	tcase_add_test(t, existing_name_is_refused_skipped_or_appended_to);
	tcase_add_test(t, what_was_deleted_comes_back_deleted);
	tcase_add_test(t, backup_is_of_one_moment);
	tcase_add_test(t, sealing_ends_a_backup);
	tcase_add_loop_test(t, damaged_vault_is_not_backed_up, 0, 2);
	tcase_add_loop_test(broken, every_flipped_bit_is_refused, 0, 2);
	tcase_add_test(broken, every_truncation_and_addition_is_refused);
	tcase_add_test(t, another_vaults_backup_is_refused);
	tcase_add_test(t, frames_cannot_be_moved_even_by_who_signs);
	tcase_add_loop_test(t, times_that_no_clock_shows_are_refused, 0, 4);
	tcase_add_test(t, one_kind_is_not_appended_to_another);
	tcase_add_loop_test(t, words_that_are_no_text_are_refused, 0, 3);
	tcase_add_test(t, who_appends_is_asked_as_such);
	tcase_add_loop_test(t, older_format_is_read, 1, BACKUP_FORMAT);
	tcase_add_test(t, policies_hooks_and_days_come_back);
	tcase_add_test(t, policies_and_hooks_are_asked_for_and_name_their_programs);
	tcase_add_loop_test(t, rules_that_cannot_be_are_refused, 0, 6);
	tcase_add_loop_test(t, rules_are_not_taken_from_the_older_format, 1, BACKUP_FORMAT);
	tcase_add_test(t, each_restored_secret_is_one_new_version_event);
	tcase_add_test(t, appended_value_that_is_served_already_is_marked_where_a_hook_waits);
	tcase_add_loop_test(t, numbers_without_their_versions_are_refused, 0, 3);
	tcase_add_test(t, newer_format_says_so);
	tcase_add_test(t, another_recipients_key_does_not_open_it);
	tcase_add_test(t, one_refusal_leaves_nothing);
	tcase_add_loop_test(broken, killed_at_any_write_it_is_all_or_nothing, 0, 2);
	tcase_add_loop_test(broken, full_disk_at_any_write_loses_nothing, 0, 2);
	tcase_add_test(memory, memory_of_a_restore_does_not_grow_with_it);
	tcase_add_test(pieces, pieces_make_the_stream_again);
	tcase_add_test(pieces, restores_under_way_are_few_and_expire);
	tcase_add_test(pieces, one_user_has_a_share_of_the_restores_and_of_the_disk);
	tcase_add_test(t, recipients_and_drills_are_kept_and_sealed);
	tcase_add_test(t, older_store_gets_its_signing_key_when_it_needs_one);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
