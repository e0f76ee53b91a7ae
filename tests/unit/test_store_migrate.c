#include "store_main.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A schema that does not exist: one table more than the present one, which is NOW. */
#define NOW   3
#define EXTRA "CREATE TABLE extra(id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;\n"

static const struct migration add_extra[] = { { NOW, EXTRA } };
static const struct migration add_wrong[] = { { NOW, "CREATE TABLE extra(id INTEGER PRIMARY KEY);" } };
static const struct migration broken[] = { { NOW, EXTRA "CREATE TABLE extra(id INTEGER);" } };

static int open_with(const struct migration *migrations, bool migrate, struct store **ret_store, char why[512])
{
	static char sql[64 << 10];
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf, .migrate = migrate };
	static struct schema schema;

	snprintf(sql, sizeof sql, "%s%s", schema_current()->sql, EXTRA);
	schema = (struct schema){ .version = NOW + 1, .sql = sql, .migrations = migrations, .n_migrations = 1 };
	return store_open_schema(&config, &schema, ret_store, why, 512);
}

static void copy_path(char path[160])
{
	snprintf(path, 160, "%s.v%d", fx.db, NOW);
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
	ck_assert_int_eq(raw_int(&fx, "PRAGMA user_version"), NOW + 1);
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
	ck_assert_int_eq(raw_int(&fx, "PRAGMA user_version"), NOW);
	ck_assert_int_eq(vault_open(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

/* What the first release made: the same without the clock, which a store gets with its first deletion. */
START_TEST(store_of_schema_1_is_opened_and_secrets_of_it_deleted)
{
	struct store_config config = { .dir = fx.dir, .conf = &fx.conf, .migrate = true };
	uint32_t id = add_secret(fx.store, "db", "one");
	char why[512], path[160];
	bool gone = true;

	ck_assert_int_eq(schema_current()->version, NOW);
	vault_close(&fx);
	raw(&fx, "DROP TABLE rotations; DROP TABLE hooks; DROP TABLE notices; DROP TABLE events; DROP TABLE marks; DROP TABLE hook_places;"
		 " DROP TABLE clock; PRAGMA user_version = 1");
	ck_assert_int_eq(vault_open(&fx), -EPROTONOSUPPORT);
	ck_assert_int_eq(store_open(&config, &fx.store, why, sizeof why), 0);
	ck_assert_int_eq(store_unlock(fx.store, fx.keys, why, sizeof why), 0);
	ck_assert_int_eq(value_is(fx.store, id, 1, "one"), 0);
	snprintf(path, sizeof path, "%s.v1", fx.db);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_delete(fx.store, id, &gone), 0);
	ck_assert(!gone);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	/* The copy holds what a purge is to destroy. */
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_purge(fx.store, id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

STORE_TESTS("store-migrate", 60, older_store_is_brought_up_to_date_after_a_copy, older_store_is_left_alone_without_leave_to_migrate,
	    failed_migration_leaves_the_store_as_it_was, store_of_schema_1_is_opened_and_secrets_of_it_deleted)
