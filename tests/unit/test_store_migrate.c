#include "store_main.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A schema that does not exist: one table more than the present one. */
#define EXTRA "CREATE TABLE extra(id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;\n"

static struct migration add_extra[] = { { 0, EXTRA } };
static struct migration add_wrong[] = { { 0, "CREATE TABLE extra(id INTEGER PRIMARY KEY);" } };
static struct migration broken[] = { { 0, EXTRA "CREATE TABLE extra(id INTEGER);" } };

static int open_with(struct migration *migrations, bool migrate, struct store **ret_store, char why[512])
{
	static char sql[64 << 10];
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf, .migrate = migrate };
	static struct schema schema;

	snprintf(sql, sizeof sql, "%s%s", schema_current()->sql, EXTRA);
	migrations->from = schema_current()->version;
	schema = (struct schema){ .version = schema_current()->version + 1, .sql = sql, .migrations = migrations, .n_migrations = 1 };
	return store_open_schema(&config, &schema, ret_store, why, 512);
}

static void copy_path(char path[160])
{
	snprintf(path, 160, "%s.v%d", fx.db, schema_current()->version);
}

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
	ck_assert_int_eq(open_with(add_extra, false, &s, why), -EPROTONOSUPPORT);
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

STORE_TESTS("store-migrate", 60, older_store_is_brought_up_to_date_after_a_copy, older_store_is_left_alone_without_leave_to_migrate,
	    failed_migration_leaves_the_store_as_it_was)
