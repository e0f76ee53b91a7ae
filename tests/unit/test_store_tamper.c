#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/policy.h"
#include "store/core/acts.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/objects/objects.h"
#include "store/store.h"
#include "store_main.h"

/* A store with some of everything; closed, so that all is in the database file. */
static void populate(void)
{
	struct binding b = { .from = INT64_MIN,
			     .until = BINDING_FOREVER,
			     .scope = "db",
			     .principal = { .n = 1, .conditions = { { PRINCIPAL_USER, 5 } } } };
	struct version_attributes a = { "text/plain", "{\"a\":\"b\"}", 1, INT64_MAX };
	uint32_t role, id = add_secret(fx.store, "db", "one"), version;
	struct principal blocked = { .n = 1, .conditions = { { PRINCIPAL_USER, 9 } } };
	uint64_t binding;

	add_secret(fx.store, "web", "other");
	add_secret(fx.store, "none", NULL);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, "two", 3, &a, &version), 0);
	ck_assert_int_eq(store_role_put(fx.store, "lister", ACTION_BIT(ACTION_SECRETS_LIST), &role), 0);
	b.role = role;
	ck_assert_int_eq(store_binding_add(fx.store, &b, "why", "me", &binding), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, 1, false), 0);
	ck_assert_int_eq(store_block_add(fx.store, &blocked, "why", "me", &binding), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	add_binding(fx.store, 6, "secrets-user", "web");
	vault_close(&fx);
}

static char saved[128];

static void save(void)
{
	snprintf(saved, sizeof saved, "%s/saved", fx.dir);
	copy_file(fx.db, saved);
}

static void restore(void)
{
	char path[128];

	vault_close(&fx);
	snprintf(path, sizeof path, "%s-wal", fx.db);
	unlink(path);
	snprintf(path, sizeof path, "%s-shm", fx.db);
	unlink(path);
	copy_file(saved, fx.db);
}

/* What must be found both when the vault opens and by fsck. */
static void must_be_found(const char *sql)
{
	raw(&fx, sql);
	ck_assert_msg(vault_open(&fx) == -EBADMSG, "opened after: %s", sql);
	ck_assert(!fx.store || store_sealed(fx.store));
	if (fx.store)
		ck_assert_msg(fsck_quiet(&fx, false) == -EBADMSG, "fsck is content after: %s", sql);
	restore();
	ck_assert_msg(vault_open(&fx) == 0, "the saved store does not open");
	vault_close(&fx);
}

START_TEST(each_changed_column_is_found)
{
	static const struct {
		const char *table, *columns;
	} tables[] = {
		{ "state", "epoch members next_object next_role next_binding mac" },
		{ "settings", "vault name retention_days purge_protection enforce_validity value_max mac" },
		{ "objects",
		  "id kind name incarnation enabled deleted_at purge_at created changed last_version served mac" },
		{ "versions", "id size created not_before expires enabled content_type tags kek dek_record "
			      "envelope_hash epoch withdrawn mac" },
		{ "roles", "id name actions mac" },
		{ "bindings", "id role principal scope valid_from valid_until reason created_by created mac" },
		{ "blocks", "id principal reason created_by created mac" },
	};
	char columns[256], sql[1024], *column, *rest;

	populate();
	save();
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
		strcpy(columns, tables[i].columns);
		for (column = strtok_r(columns, " ", &rest); column; column = strtok_r(NULL, " ", &rest)) {
			/* A value of the same kind that is valid in itself where there is one. */
			snprintf(sql, sizeof sql,
				 "PRAGMA foreign_keys=OFF; UPDATE %s SET %s = CASE typeof(%s) WHEN 'integer' THEN"
				 " CASE '%s' WHEN 'enabled' THEN 1 - %s WHEN 'id' THEN %s + 4294967296 WHEN "
				 "'valid_until' THEN %s - 1"
				 " ELSE CASE %s WHEN 9223372036854775807 THEN 0 ELSE %s + 1 END END"
				 " WHEN 'text' THEN '%s' || 'x' WHEN 'null' THEN %s"
				 " ELSE CAST(zeroblob(length(%s)) AS BLOB) END WHERE rowid = (SELECT max(rowid) FROM "
				 "%s)",
				 tables[i].table, column, column, column, column, column, column, column, column,
				 column,
				 strcmp(column, "deleted_at") == 0 || strcmp(column, "purge_at") == 0 ||
						 strcmp(column, "withdrawn") == 0 || strcmp(column, "served") == 0
					 ? "5"
					 : "'z'",
				 column, tables[i].table);
			must_be_found(sql);
		}
	}
}
END_TEST

START_TEST(rows_removed_added_or_swapped_are_found)
{
	static const char *const acts[] = {
		"DELETE FROM bindings WHERE id = (SELECT max(id) FROM bindings)",
		"DELETE FROM roles",
		"DELETE FROM blocks",
		"UPDATE versions SET epoch = NULL WHERE id = 4294967298",
		"DELETE FROM objects WHERE name = 'none'",
		"DELETE FROM version_data WHERE id = 4294967298; DELETE FROM versions WHERE id = 4294967298",
		"DELETE FROM settings",
		"DELETE FROM state",
		"INSERT INTO bindings SELECT id + 100, role, principal, scope, valid_from, valid_until, reason, "
		"created_by, created, mac FROM bindings WHERE id = 1",
		"INSERT INTO objects SELECT id + 100, kind, name || 'x', incarnation, enabled, deleted_at, purge_at, "
		"created, changed, last_version, mac, served FROM objects WHERE id = 1",
		"UPDATE objects SET name = 'tmp' WHERE name = 'db'; UPDATE objects SET name = 'db' WHERE name = 'web'; "
		"UPDATE objects SET name = 'web' WHERE name = 'tmp'",
		"UPDATE bindings SET mac = (SELECT mac FROM bindings WHERE id = 1)",
		"UPDATE versions SET dek_record = (SELECT dek_record FROM versions ORDER BY id LIMIT 1)",
	};

	populate();
	save();
	for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
		must_be_found(acts[i]);
}
END_TEST

/* An authentic row of an earlier moment. */
START_TEST(row_put_back_from_an_older_copy_is_found)
{
	char sql[512];
	uint32_t id = add_secret(fx.store, "db", "one");
	uint64_t binding = add_binding(fx.store, 7, "secrets-user", "db");

	vault_close(&fx);
	char old[128];
	snprintf(old, sizeof old, "%s/old", fx.dir);
	copy_file(fx.db, old);
	ck_assert_int_eq(vault_open(&fx), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_enable(fx.store, id, false), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, 1, false), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, binding), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	vault_close(&fx);
	save();
	static const char *const acts[] = {
		"INSERT INTO bindings SELECT * FROM old.bindings WHERE id = 2",
		"INSERT OR REPLACE INTO objects SELECT * FROM old.objects WHERE id = 1",
		"INSERT OR REPLACE INTO versions SELECT * FROM old.versions",
		"INSERT OR REPLACE INTO state SELECT * FROM old.state",
		"INSERT INTO bindings SELECT * FROM old.bindings WHERE id = 2; INSERT OR REPLACE INTO state SELECT * "
		"FROM old.state",
	};
	for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
		snprintf(sql, sizeof sql, "PRAGMA foreign_keys=OFF; ATTACH '%s' AS old; %s", old, acts[i]);
		must_be_found(sql);
	}
}
END_TEST

START_TEST(swapped_ciphertext_is_found_at_the_read_and_by_fsck)
{
	struct secbuf *plain = NULL;

	populate();
	raw(&fx, "UPDATE version_data SET envelope = (SELECT envelope FROM version_data WHERE id = 4294967297) WHERE "
		 "id = 4294967298");
	ck_assert_int_eq(vault_open(&fx), 0);
	ck_assert_int_eq(value_is(fx.store, 1, 1, "one"), 0);
	ck_assert_int_eq(store_version_read(fx.store, 1, 2, &plain), -EBADMSG);
	ck_assert_int_eq(fsck_quiet(&fx, false), -EBADMSG);
}
END_TEST

START_TEST(row_changed_under_a_running_daemon_is_not_served)
{
	populate();
	ck_assert_int_eq(vault_open(&fx), 0);
	raw(&fx, "UPDATE versions SET size = 2 WHERE id = 4294967297");
	ck_assert_int_eq(value_is(fx.store, 1, 1, "one"), -EBADMSG);
	ck_assert_int_eq(value_is(fx.store, 1, 2, "two"), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_enable(fx.store, 1, 1, false), -EBADMSG);
	store_rollback(fx.store);
}
END_TEST

static int follow_after(const char *sql)
{
	int r;

	ck_assert_int_eq(vault_open(&fx), 0);
	raw(&fx, sql);
	r = store_follow(fx.store, NULL, NULL);
	restore();
	return r;
}

START_TEST(follow_refuses_what_no_key_holder_wrote)
{
	populate();
	save();
	ck_assert_int_eq(follow_after("UPDATE state SET epoch = epoch + 1"), -EBADMSG);
	ck_assert_int_eq(follow_after("UPDATE state SET epoch = epoch - 1"), -EBADMSG);
	ck_assert_int_eq(follow_after("UPDATE state SET epoch = epoch + 1;"
				      "INSERT INTO changes SELECT (SELECT epoch FROM state) << 20, 5, id, mac, NULL "
				      "FROM bindings WHERE id = 2;"
				      "DELETE FROM bindings WHERE id = 2"),
			 -EBADMSG);
	ck_assert_int_eq(vault_open(&fx), 0);
	raw(&fx, "UPDATE state SET mac = zeroblob(32)");
	ck_assert_int_eq(store_begin(fx.store), -EBADMSG);
}
END_TEST

START_TEST(forged_act_is_refused)
{
	raw(&fx, "INSERT INTO pending_acts(act, mac) VALUES('{}', zeroblob(32))");
	ck_assert_int_eq(store_pending_acts(fx.store, NULL, NULL), -EBADMSG);
	ck_assert_int_eq(fsck_quiet(&fx, false), -EBADMSG);
}
END_TEST

/* Every value as it was, or an error for it. */
static void all_or_error(const char *what)
{
	static const struct {
		uint32_t id, version;
		const char *text;
	} values[] = { { 1, 1, "one" }, { 1, 2, "two" }, { 2, 1, "other" } };
	int r = vault_open(&fx);

	/* a damaged store is not a full disk, a read-only one or a broken one: who starts the daemon must be told which
	 */
	ck_assert_msg(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT || r == -ESTALE, "%s: %d", what, r);
	if (r < 0)
		return;
	ck_assert_ptr_nonnull(store_find(fx.store, "db"));
	ck_assert_uint_eq(store_find(fx.store, "db")->id, 1);
	ck_assert_uint_eq(store_find(fx.store, "db")->current, 2);
	ck_assert_ptr_nonnull(store_find(fx.store, "web"));
	ck_assert_ptr_nonnull(store_find(fx.store, "none"));
	ck_assert_str_eq(policy_binding(store_policy(fx.store), 2)->scope, "db");
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		r = value_is(fx.store, values[i].id, values[i].version, values[i].text);
		ck_assert_msg(r == 0 || r == -EBADMSG || r == -EIO, "%s: %d", what, r);
	}
}

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	return random_state ^= random_state << 17;
}

static void try_bit(const uint8_t *content, off_t at, unsigned bit)
{
	const uint8_t flipped = (uint8_t)(content[at] ^ 1u << bit);
	char what[64];
	int fd = open(fx.db, O_RDWR);

	ck_assert_int_eq(pwrite(fd, &flipped, 1, at), 1);
	close(fd);
	snprintf(what, sizeof what, "byte %lld bit %u", (long long)at, bit);
	all_or_error(what);
	restore();
}

/* COFFER_FLIPS: how many bits; "all" of them takes an hour or so in a release build (preset bench), "from=BYTE to=BYTE"
 * those from there to before there (libcheck cannot report a test that took more than 35 minutes). */
START_TEST(any_flipped_bit_is_an_error_or_harmless)
{
	const char *rounds = getenv("COFFER_FLIPS");
	const bool from = rounds && strncmp(rounds, "from=", 5) == 0,
		   all = from || (rounds && strcmp(rounds, "all") == 0);
	uint8_t *content;
	struct stat st;
	int fd;

	populate();
	save();
	ck_assert_int_eq(stat(fx.db, &st), 0);
	content = malloc((size_t)st.st_size);
	fd = open(fx.db, O_RDONLY);
	ck_assert_int_eq(read(fd, content, (size_t)st.st_size), st.st_size);
	close(fd);
	/* what SQLite itself reads first, each time: FORMAT of the file, section 1.3 of its specification */
	const char *to = from ? strstr(rounds, " to=") : NULL;
	const off_t end = !all ? 100 : to && atol(to + 4) < st.st_size ? atol(to + 4) : st.st_size;
	for (off_t at = from ? atol(rounds + 5) : 0; at < end; at++)
		for (unsigned bit = 0; bit < 8; bit++)
			try_bit(content, at, bit);
	for (long i = 0, n = all ? 0 : rounds ? atol(rounds) : 300; i < n;) {
		off_t at = (off_t)(next_random() % (uint64_t)st.st_size);
		unsigned bit = (unsigned)(next_random() % 8);

		/* Most of the file is empty: aim at used bytes. */
		if (content[at] == 0 && i % 8) {
			random_state++;
			continue;
		}
		try_bit(content, at, bit);
		i++;
	}
	free(content);
}
END_TEST

STORE_TESTS("store-tamper", 280, each_changed_column_is_found, rows_removed_added_or_swapped_are_found,
	    row_put_back_from_an_older_copy_is_found, swapped_ciphertext_is_found_at_the_read_and_by_fsck,
	    row_changed_under_a_running_daemon_is_not_served, follow_refuses_what_no_key_holder_wrote,
	    forged_act_is_refused, any_flipped_bit_is_an_error_or_harmless)
