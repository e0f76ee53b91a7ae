#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"
#include "store/core/database.h"
#include "store/core/schema.h"
#include "store/core/transaction.h"
#include "store/keys/kek_provider.h"
#include "store/keys/keys.h"
#include "store/objects/objects.h"
#include "store/opening.h"
#include "store/store.h"
#include "store_main.h"

/* A schema that does not exist: one table more than the present one. */
#define EXTRA "CREATE TABLE extra(id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;\n"

static const char add_extra[] = EXTRA;
static const char add_wrong[] = "CREATE TABLE extra(id INTEGER PRIMARY KEY);";
static const char broken[] = EXTRA "CREATE TABLE extra(id INTEGER);";

static int open_with(const char *migration, bool migrate, struct store **ret_store, char why[512])
{
	static char sql[64 << 10];
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf, .migrate = migrate };
	static struct migration step;
	static struct schema schema;
	int version = schema_current()->version;

	snprintf(sql, sizeof sql, "%s%s", schema_current()->sql, EXTRA);
	step = (struct migration){ version, migration };
	schema = (struct schema){ .version = version + 1, .sql = sql, .migrations = &step, .n_migrations = 1 };
	return store_open_schema(&config, &schema, ret_store, why, 512);
}

static void copy_path(char path[160]) { snprintf(path, 160, "%s.v%d", fx.db, schema_current()->version); }

START_TEST(older_store_is_brought_up_to_date_after_a_copy)
{
	struct store *s = NULL;
	char why[512], path[160];
	uint32_t id = add_secret(fx.store, "db", "one");

	vault_close(&fx);
	ck_assert_int_eq(open_with(add_extra, true, &s, why), 0);
	ck_assert_int_eq(store_unlock(s, fx.keys, why, sizeof why), 0);
	ck_assert_int_eq(value_is(s, id, 1, "one"), 0);
	store_close(s);
	ck_assert_int_eq(raw_int(&fx, "PRAGMA user_version"), schema_current()->version + 1);
	ck_assert_int_eq(vault_open(&fx), -EPROTONOSUPPORT);
	/* The copy is a whole store of the older schema. */
	copy_path(path);
	copy_file(path, fx.db);
	ck_assert_int_eq(vault_open(&fx), 0);
	ck_assert_int_eq(value_is(fx.store, id, 1, "one"), 0);
}
END_TEST

START_TEST(older_store_is_left_alone_without_leave_to_migrate)
{
	struct store *s = NULL;
	char why[512], path[160];

	vault_close(&fx);
	ck_assert_int_eq(open_with(add_extra, false, &s, why), -ESTALE);
	copy_path(path);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(vault_open(&fx), 0);
}
END_TEST

START_TEST(failed_migration_leaves_the_store_as_it_was)
{
	struct store *s = NULL;
	char why[512];

	vault_close(&fx);
	ck_assert_int_lt(open_with(broken, true, &s, why), 0);
	ck_assert_int_ne(why[0], 0);
	ck_assert_int_eq(open_with(add_wrong, true, &s, why), -EBADMSG);
	ck_assert_int_eq(raw_int(&fx, "PRAGMA user_version"), schema_current()->version);
	ck_assert_int_eq(vault_open(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

/* A file of tests/unit/schema-1, a store as schema 1 wrote it. */
static char *read_old(const char *name)
{
	static char text[64 << 10];
	char path[256];

	snprintf(path, sizeof path, SCHEMA_1_DIR "/%s", name);
	FILE *f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	size_t n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	return text;
}

static void make_old_store(void)
{
	char why[256], path[160];
	struct kek_source source = { .uri = fx.conf.kek, .fd = -1 };
	struct kek *kek = NULL;
	uint8_t key[32];
	sqlite3 *db = NULL;

	vault_close(&fx);
	keys_free(fx.keys);
	const char *hex = read_old("kek.hex");
	for (size_t i = 0; i < sizeof key; i++)
		ck_assert_int_eq(sscanf(hex + 2 * i, "%2hhx", &key[i]), 1);
	snprintf(path, sizeof path, "%s/kek", fx.dir);
	FILE *f = fopen(path, "we");
	ck_assert_uint_eq(fwrite(key, 1, sizeof key, f), sizeof key);
	fclose(f);
	const char *conf = read_old("vault.conf");
	ck_assert_int_eq(vaultconf_parse(conf, strlen(conf), &fx.conf, why, sizeof why), 0);
	snprintf(fx.conf.kek, sizeof fx.conf.kek, "file:%s/kek", fx.dir);
	ck_assert_int_eq(kek_open(&source, &kek, why, sizeof why), 0);
	ck_assert_int_eq(keys_new_local(kek, &fx.keys), 0);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s%s", fx.db, (const char *const[]){ "", "-wal", "-shm" }[i]);
		unlink(path);
	}
	ck_assert_int_eq(sqlite3_open(fx.db, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, read_old("vault.sql"), NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

START_TEST(store_of_the_first_schema_opens_with_all_that_is_in_it)
{
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf, .migrate = true };
	char why[512];
	uint64_t epoch;

	make_old_store();
	int r = store_open(&config, &fx.store, why, sizeof why);
	ck_assert_msg(r == 0, "%s", why);
	r = store_unlock(fx.store, fx.keys, why, sizeof why);
	ck_assert_msg(r == 0, "%s", why);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	ck_assert_int_eq(value_is(fx.store, 1, 1, "abcde"), 0);
	ck_assert_int_eq(value_is(fx.store, 2, 1, "bcdef"), 0);
	/* of old versions it is known that they are older than every epoch from now on */
	epoch = store_epoch(fx.store);
	uint32_t version = add_version(fx.store, 1, "new");
	store_rdlock(fx.store);
	ck_assert_uint_eq(catalog_version_at(store_get(fx.store, 1), epoch)->number, 1);
	ck_assert_uint_eq(catalog_version_at(store_get(fx.store, 1), epoch + 1)->number, version);
	ck_assert_int_eq(policy_binding(store_policy(fx.store), 2)->role, 4);
	store_unlock_tables(fx.store);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(secrets_of_a_store_of_the_first_schema_can_be_deleted)
{
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf, .migrate = true };
	char why[512], path[160];

	make_old_store();
	ck_assert_int_eq(vault_open(&fx), -ESTALE);
	ck_assert_int_eq(store_open(&config, &fx.store, why, sizeof why), 0);
	ck_assert_int_eq(store_unlock(fx.store, fx.keys, why, sizeof why), 0);
	snprintf(path, sizeof path, "%s.v1", fx.db);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_delete(fx.store, 1), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	/* The copy holds what a purge is to destroy. */
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_purge(fx.store, 1), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

STORE_TESTS("store-migrate", 60, older_store_is_brought_up_to_date_after_a_copy,
	    older_store_is_left_alone_without_leave_to_migrate, failed_migration_leaves_the_store_as_it_was,
	    store_of_the_first_schema_opens_with_all_that_is_in_it,
	    secrets_of_a_store_of_the_first_schema_can_be_deleted)
