/* Each table of the schema, and each way to change its rows from outside. A table that nobody thought of fails the
 * test. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/backup/pieces.h"
#include "store/core/acts.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/requests.h"
#include "store/core/row_change.h"
#include "store/core/transaction.h"
#include "store/grants/internal.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/history.h"
#include "store/lifecycle/marks.h"
#include "store/lifecycle/rules.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"
#include "store/objects/versions.h"
#include "store/store.h"
#include "store_main.h"

/* How a changed row of a table is found. */
enum found {
	BY_OPENING = 1, /* the vault does not open, and fsck says so */
	BY_FSCK,        /* and by whoever reads that value: its hash lies in a row of versions */
	GOES,           /* nothing of it is left when a daemon has begun to serve */
	COUNTS          /* SQLite's own: the next ids, which no row is believed for */
};

/* change: what turns its newest row into another one that can be; none where every commit does that. */
static const struct table {
	const char *name;
	enum found found;
	enum row_kind kind;
	const char *change;
} tables[] = {
	{ "backup_keys", BY_OPENING, ROW_BACKUP_KEY, "created = created + 1" },
	{ "binding_use", BY_OPENING, ROW_BINDING_USE, "last_used = last_used + 1" },
	{ "bindings", BY_OPENING, ROW_BINDING, "reason = 'another'" },
	{ "blocks", BY_OPENING, ROW_BLOCK, "reason = 'another'" },
	{ "changes", BY_OPENING, ROW_CHANGE, "row = row + 1" },
	{ "clock", BY_OPENING, ROW_CLOCK, "counted = counted + 1" },
	{ "drills", BY_OPENING, ROW_DRILL, "at = at + 1" },
	{ "events", BY_OPENING, ROW_EVENT, "time = time + 1" },
	{ "histories", BY_OPENING, ROW_HISTORY, "created = created + 1" },
	{ "hook_places", BY_OPENING, ROW_HOOK_PLACE, "retry = retry + 1" },
	{ "hooks", BY_OPENING, ROW_HOOK, "created = created + 1" },
	{ "keks", BY_OPENING, ROW_KEK, "kek = zeroblob(16)" },
	{ "marks", BY_OPENING, ROW_MARK, "retry = retry + 1" },
	{ "notices", BY_OPENING, ROW_NOTICE, "near_days = near_days + 1" },
	{ "objects", BY_OPENING, ROW_OBJECT, "changed = changed + 1" },
	{ "pending_acts", BY_OPENING, ROW_PENDING_ACT, "act = '{1}'" },
	{ "requests", BY_OPENING, ROW_REQUEST, "answer = '{1}'" },
	{ "restore_pieces", GOES, 0, NULL },
	{ "roles", BY_OPENING, ROW_ROLE, "actions = 3" },
	{ "rotations", BY_OPENING, ROW_ROTATION, "created = created + 1" },
	{ "settings", BY_OPENING, ROW_SETTINGS, "value_max = value_max - 1" },
	{ "sqlite_sequence", COUNTS, 0, NULL },
	{ "stage_chunks", GOES, 0, NULL },
	{ "stages", GOES, 0, NULL },
	{ "state", BY_OPENING, 0, NULL },
	{ "version_data", BY_FSCK, 0, NULL },
	{ "versions", BY_OPENING, ROW_VERSION, "created = created + 1" },
};
#define N_TABLES (sizeof tables / sizeof tables[0])

/* ---- a store in which every table has rows ---- */

static void put_request(uint8_t number)
{
	struct request_key key = { .uid = 7, .user_ns = 1, .id = { number } };
	uint8_t digest[DIGEST_LEN] = { number };

	ck_assert_int_eq(store_request_put(fx.store, &key, digest, "{}"), 0);
}

static uint64_t put_rules(const char *name)
{
	struct rotation rotation = { .action = ROTATION_NOTIFY,
				     .every = 90 * 86400 * (int64_t)NS_PER_S,
				     .timeout = 60 };
	struct hook hook = { .events = EVENT_BIT(EVENT_NEW_VERSION), .command = "/bin/true", .timeout = 60 };
	struct history history = { .versions = 2 };
	uint64_t id = 0;

	strcpy(history.scope, name);
	ck_assert_int_eq(store_history_put(fx.store, &history, &id), 0);
	strcpy(rotation.scope, name);
	strcpy(hook.scope, name);
	ck_assert_int_eq(store_rotation_put(fx.store, &rotation, &id), 0);
	ck_assert_int_eq(store_hook_add(fx.store, &hook, &id), 0);
	return id;
}

static void put_grants(const char *name, uint32_t uid)
{
	struct principal blocked = { .n = 1, .conditions = { { PRINCIPAL_USER, uid } } };
	uint8_t key[CURVE_LEN] = { 9 };
	uint32_t role;
	uint64_t id;

	ck_assert_int_eq(store_role_put(fx.store, name, ACTION_BIT(ACTION_SECRETS_LIST), &role), 0);
	ck_assert_int_eq(store_block_add(fx.store, &blocked, "why", "me", &id), 0);
	ck_assert_int_eq(store_recipient_add(fx.store, name, key, "me"), 0);
	ck_assert_int_eq(store_pending_act_add(fx.store, "{}"), 0);
}

static void put_marks(uint32_t secret, uint64_t hook, uint32_t n)
{
	ck_assert_int_eq(
		store_mark_put(fx.store,
			       &(struct mark){ .secret = secret, .version = n, .expires = 5, .told = TOLD_NEAR }),
		0);
	ck_assert_int_eq(store_hook_place_put(fx.store, hook, &(struct hook_place){ .delivered = 1, .attempts = n }),
			 0);
	ck_assert_int_eq(store_event_add_of(fx.store, EVENT_NEAR_EXPIRY, secret, 1, false), 0);
	ck_assert_int_eq(store_drill_put(fx.store,
					 &(struct drill){ .at = n, .backup_created = 2, .secrets = 3, .versions = 4 }),
			 0);
	ck_assert_int_eq(store_near_expiry_put(fx.store, n), 0);
}

static void put_staged(uint8_t number)
{
	struct restore_owner owner = { .uid = 7 };
	uint8_t id[RESTORE_ID_LEN] = { number };
	uint64_t stage = 0;

	ck_assert_int_eq(store_stage_new(fx.store, &stage), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, "staged", 6), 0);
	ck_assert_int_eq(store_restore_put(fx.store, id, &owner, 0, "piece", 5), 0);
}

/* A second KEK, as a vault has one whose key was changed. */
static void put_kek(void)
{
	const uint8_t kek[KEK_ID_LEN] = { 1 };
	int64_t id;

	ck_assert_int_eq(kek_row(fx.store, kek, &id), 0);
}

static struct {
	uint32_t one, two;
	uint64_t hook_one, hook_two, binding;
} made;

static void use_bindings(void)
{
	store_binding_used(fx.store, 1, store_now(fx.store));
	store_binding_used(fx.store, made.binding, store_now(fx.store));
	ck_assert_int_eq(binding_uses_flush(fx.store), 0);
}

static void fill_every_table(void)
{
	made.one = add_secret(fx.store, "one", "value of one");
	made.two = add_secret(fx.store, "two", "value of two");
	made.binding = add_binding(fx.store, 6, "secrets-user", "one");
	ck_assert_int_eq(store_begin(fx.store), 0);
	made.hook_one = put_rules("one");
	made.hook_two = put_rules("two");
	put_grants("lister", 8);
	put_grants("viewer", 9);
	put_request(1);
	put_request(2);
	put_marks(made.one, made.hook_one, 1);
	put_marks(made.two, made.hook_two, 2);
	put_kek();
	ck_assert_int_eq(store_commit(fx.store), 0);
	uint32_t deleted = add_secret(fx.store, "deleted", "x");
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_delete(fx.store, deleted), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	use_bindings();
	put_staged(1);
	put_staged(2);
}

/* ---- the newest row of each table becomes another, as an operation does it ---- */

static void change_row(const struct table *t)
{
	struct change change;
	char sql[256];
	int64_t id;

	snprintf(sql, sizeof sql, "SELECT max(id) FROM %s", t->name);
	sqlite3_stmt *stmt = NULL;
	ck_assert_int_eq(sqlite3_prepare_v2(db_handle(fx.store->write), sql, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	id = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	if (row_is_member(t->kind))
		ck_assert_int_eq(row_out(fx.store, t->kind, id, &change), 0);
	else
		ck_assert_int_eq(trail_out(fx.store, t->kind, id), 1);
	snprintf(sql, sizeof sql, "UPDATE %s SET %s WHERE id = (SELECT max(id) FROM %s)", t->name, t->change, t->name);
	ck_assert_int_eq(sqlite3_exec(db_handle(fx.store->write), sql, NULL, NULL, NULL), SQLITE_OK);
	if (row_is_member(t->kind))
		ck_assert_int_eq(row_in(fx.store, &change), 0);
	else
		ck_assert_int_eq(trail_in(fx.store, t->kind, id), 0);
}

static void change_every_table(void)
{
	ck_assert_int_eq(store_begin(fx.store), 0);
	for (size_t i = 0; i < N_TABLES; i++)
		if (tables[i].kind)
			change_row(&tables[i]);
	ck_assert_int_eq(store_commit(fx.store), 0);
}

/* ---- tampering: the store is closed, and is put back after each ---- */

static char saved[128], older[128];

static void drop_logs(void)
{
	char path[128];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s%s", fx.db, i ? "-shm" : "-wal");
		unlink(path);
	}
}

static void save(char path[128], const char *name)
{
	vault_close(&fx);
	snprintf(path, 128, "%s/%s", fx.dir, name);
	copy_file(fx.db, path);
}

static void restore(void)
{
	vault_close(&fx);
	drop_logs();
	copy_file(saved, fx.db);
}

static void check_found(enum found found, const char *sql)
{
	int r = vault_open(&fx);

	ck_assert_msg(r == (found == BY_OPENING ? -EBADMSG : 0), "%d from opening after: %s", r, sql);
	ck_assert(r == 0 || !fx.store || store_sealed(fx.store));
	if (found == GOES)
		ck_assert_int_eq(store_stages_clear(fx.store), 0);
	if (fx.store) {
		r = fsck_quiet(&fx, false);
		ck_assert_msg(r == (found == BY_OPENING || found == BY_FSCK ? -EBADMSG : 0), "%d from fsck after: %s",
			      r, sql);
	}
	if (found == GOES)
		ck_assert_int_eq(raw_int(&fx, "SELECT (SELECT count(*) FROM stages) + (SELECT count(*) FROM "
					      "stage_chunks) + (SELECT count(*) FROM restore_pieces)"),
				 0);
	if (found == COUNTS) {
		ck_assert_int_eq(store_begin(fx.store), 0);
		put_rules("three");
		ck_assert_int_eq(store_commit(fx.store), 0);
	}
}

static void tamper(const struct table *t, const char *sql)
{
	char all[4096];

	snprintf(all, sizeof all, "PRAGMA foreign_keys=OFF; PRAGMA ignore_check_constraints=ON; %s", sql);
	raw(&fx, all);
	check_found(t->found, sql);
	restore();
}

static int64_t count_rows(const struct table *t)
{
	char sql[128];

	snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", t->name);
	return raw_int(&fx, sql);
}

/* The columns of a table, one after the other: name and declared type. false: there is no such column. */
static bool column_of(const struct table *t, int column, char ret_name[64], char ret_type[16])
{
	sqlite3 *db = NULL;
	sqlite3_stmt *stmt = NULL;
	bool there;

	ck_assert_int_eq(sqlite3_open(fx.db, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT name, type FROM pragma_table_info(?) WHERE cid = ?", -1, &stmt,
					    NULL),
			 SQLITE_OK);
	sqlite3_bind_text(stmt, 1, t->name, -1, SQLITE_STATIC);
	sqlite3_bind_int(stmt, 2, column);
	there = sqlite3_step(stmt) == SQLITE_ROW;
	if (there) {
		snprintf(ret_name, 64, "%s", (const char *)sqlite3_column_text(stmt, 0));
		snprintf(ret_type, 16, "%s", (const char *)sqlite3_column_text(stmt, 1));
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return there;
}

/* Another value of the same type, and if can be one that is valid in itself. */
static void other_value(const char *name, const char *type, char ret[512])
{
	if (strcmp(name, "id") == 0)
		snprintf(ret, 512, "id + 42949672960");
	else if (strcmp(name, "enabled") == 0)
		snprintf(ret, 512, "1 - enabled");
	else if (strcmp(type, "INTEGER") == 0 || !type[0])
		snprintf(ret, 512,
			 "CASE WHEN typeof(%s) = 'text' THEN %s || 'x' WHEN %s IS NULL THEN 5 WHEN %s = "
			 "9223372036854775807 THEN 0 ELSE %s + 1 END",
			 name, name, name, name, name);
	else if (strcmp(type, "TEXT") == 0)
		snprintf(ret, 512, "ifnull(%s, '') || 'x'", name);
	else
		snprintf(ret, 512, "CASE WHEN ifnull(length(%s), 0) = 0 THEN x'05' ELSE randomblob(length(%s)) END",
			 name, name);
}

static void filled_and_saved(void)
{
	fill_every_table();
	save(older, "older");
	ck_assert_int_eq(vault_open(&fx), 0);
	change_every_table();
	save(saved, "saved");
	ck_assert_int_eq(vault_open(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	restore();
}

/* The daemon's stages are no part of what is in the saved file when it was closed in between; a table without rows
 * proves nothing. */
START_TEST(every_table_of_the_schema_is_known_and_has_rows)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *stmt = NULL;
	size_t n = 0;

	filled_and_saved();
	ck_assert_int_eq(sqlite3_open(fx.db, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", -1,
					    &stmt, NULL),
			 SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);
		ck_assert_msg(n < N_TABLES && strcmp(tables[n].name, name) == 0,
			      "table %s: nobody has said how a change of it is found", name);
		ck_assert_msg(count_rows(&tables[n]) > 0, "table %s has no row", name);
		n++;
	}
	ck_assert_uint_eq(n, N_TABLES);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}
END_TEST

START_TEST(removed_row_is_found)
{
	char sql[256];

	filled_and_saved();
	for (size_t i = 0; i < N_TABLES; i++)
		for (int last = 0; last < 2; last++) {
			snprintf(sql, sizeof sql, "DELETE FROM %s WHERE rowid = (SELECT %s(rowid) FROM %s)",
				 tables[i].name, last ? "max" : "min", tables[i].name);
			tamper(&tables[i], sql);
		}
}
END_TEST

START_TEST(added_row_is_found)
{
	char sql[4096], name[64], type[16], other[512];

	filled_and_saved();
	for (size_t i = 0; i < N_TABLES; i++) {
		int n = snprintf(sql, sizeof sql, "INSERT INTO %s SELECT ", tables[i].name);
		for (int c = 0; column_of(&tables[i], c, name, type); c++) {
			if (strcmp(name, "mac") == 0)
				strcpy(other, "mac");
			else
				other_value(name, type, other);
			n += snprintf(sql + n, sizeof sql - (size_t)n, "%s%s", c ? ", " : "", other);
		}
		snprintf(sql + n, sizeof sql - (size_t)n, " FROM %s ORDER BY rowid LIMIT 1", tables[i].name);
		tamper(&tables[i], sql);
	}
}
END_TEST

START_TEST(each_changed_column_is_found)
{
	char sql[1024], name[64], type[16], other[512];

	filled_and_saved();
	for (size_t i = 0; i < N_TABLES; i++)
		for (int c = 0; column_of(&tables[i], c, name, type); c++) {
			other_value(name, type, other);
			snprintf(sql, sizeof sql, "UPDATE %s SET %s = %s WHERE rowid = (SELECT max(rowid) FROM %s)",
				 tables[i].name, name, other, tables[i].name);
			tamper(&tables[i], sql);
		}
}
END_TEST

START_TEST(rows_that_change_places_are_found)
{
	char sql[512];

	filled_and_saved();
	for (size_t i = 0; i < N_TABLES; i++) {
		const char *t = tables[i].name;
		if (count_rows(&tables[i]) < 2 || tables[i].found == COUNTS)
			continue;
		snprintf(sql, sizeof sql,
			 "CREATE TEMP TABLE two AS SELECT min(id) AS a, max(id) AS b FROM %s; UPDATE %s SET id = -1 "
			 "WHERE id = (SELECT a FROM two);"
			 "UPDATE %s SET id = (SELECT a FROM two) WHERE id = (SELECT b FROM two); UPDATE %s SET id = "
			 "(SELECT b FROM two) WHERE id = -1",
			 t, t, t, t);
		tamper(&tables[i], sql);
	}
}
END_TEST

/* An authentic row of an earlier moment; and with the head of that moment, too. */
START_TEST(older_row_put_back_is_found)
{
	char sql[1024];

	filled_and_saved();
	for (size_t i = 0; i < N_TABLES; i++) {
		if (!tables[i].kind && strcmp(tables[i].name, "state") != 0)
			continue;
		snprintf(sql, sizeof sql,
			 "ATTACH '%s' AS older; CREATE TEMP TABLE back AS SELECT * FROM older.%s EXCEPT SELECT * FROM "
			 "main.%s;"
			 "INSERT OR REPLACE INTO main.%s SELECT * FROM back",
			 older, tables[i].name, tables[i].name, tables[i].name);
		tamper(&tables[i], sql);
		snprintf(sql, sizeof sql,
			 "ATTACH '%s' AS older; INSERT OR REPLACE INTO main.%s SELECT * FROM older.%s; INSERT OR "
			 "REPLACE INTO main.state SELECT * FROM older.state",
			 older, tables[i].name, tables[i].name);
		tamper(&tables[i], sql);
	}
}
END_TEST

/* ---- while it runs, and while it is sealed ---- */

START_TEST(trail_put_back_under_a_running_daemon_is_found)
{
	char sql[512];

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_pending_act_add(fx.store, "{}"), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	save(older, "older");
	ck_assert_int_eq(vault_open(&fx), 0);
	ck_assert_int_eq(store_pending_act_done(fx.store, 1), 0);
	snprintf(sql, sizeof sql,
		 "ATTACH '%s' AS older; INSERT INTO main.pending_acts SELECT * FROM older.pending_acts; INSERT OR "
		 "REPLACE INTO main.state SELECT * FROM older.state",
		 older);
	raw(&fx, sql);
	ck_assert_int_eq(store_begin(fx.store), -EBADMSG);
}
END_TEST

START_TEST(another_process_and_this_one_change_the_trail_in_turn)
{
	struct fixture other = fx;

	add_secret(fx.store, "db", "one");
	ck_assert_int_eq(vault_open(&other), 0);
	for (int i = 0; i < 3; i++) {
		struct store *s = i % 2 ? fx.store : other.store;
		ck_assert_int_eq(store_begin(s), 0);
		ck_assert_int_eq(store_pending_act_add(s, "{}"), 0);
		ck_assert_int_eq(store_commit(s), 0);
		add_version(fx.store, 1, "new");
	}
	vault_close(&other);
	ck_assert_int_eq(store_pending_act_done(fx.store, 2), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

static int64_t tomorrow(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return ((int64_t)t.tv_sec + 86400) * NS_PER_S;
}

START_TEST(what_is_due_while_sealed_is_done_after)
{
	fill_every_table();
	store_lock(fx.store);
	store_binding_used(fx.store, 1, 5);
	fx.store->clock = tomorrow;
	fx.store->housekept = 0;
	ck_assert_int_eq(store_follow(fx.store, NULL, NULL), 0);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM requests"), 2);
	ck_assert_int_eq(store_pending_act_done(fx.store, 1), -ENOKEY);
	char why[256];
	ck_assert_int_eq(store_unlock(fx.store, fx.keys, why, sizeof why), 0);
	fx.store->housekept = 0;
	ck_assert_int_eq(store_follow(fx.store, NULL, NULL), 0);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM requests"), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

/* ---- stores of before ---- */

START_TEST(older_store_is_sealed_over_when_it_is_first_opened)
{
	fill_every_table();
	older_head(&fx);
	save(older, "older");
	ck_assert_int_eq(fsck_quiet(&fx, false), -EBADMSG);
	ck_assert_int_eq(vault_open(&fx), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	add_version(fx.store, made.one, "new");
	save(saved, "saved");
	tamper(&(const struct table){ .found = BY_OPENING }, "DELETE FROM pending_acts WHERE id = 1");
}
END_TEST

START_TEST(store_that_passes_itself_off_as_older_is_refused)
{
	static const struct table head = { .found = BY_OPENING };
	char sql[512];

	fill_every_table();
	older_head(&fx);
	save(older, "older");
	ck_assert_int_eq(vault_open(&fx), 0);
	add_version(fx.store, made.one, "new");
	save(saved, "saved");
	tamper(&head, "UPDATE state SET serial = NULL, trail_members = NULL, trail = NULL; DELETE FROM pending_acts");
	tamper(&head, "UPDATE state SET trail = NULL");
	snprintf(sql, sizeof sql,
		 "ATTACH '%s' AS older; INSERT OR REPLACE INTO main.state SELECT * FROM older.state; DELETE FROM "
		 "pending_acts",
		 older);
	tamper(&head, sql);
}
END_TEST

STORE_TESTS("store-rows", 280, every_table_of_the_schema_is_known_and_has_rows, removed_row_is_found,
	    added_row_is_found, each_changed_column_is_found, rows_that_change_places_are_found,
	    older_row_put_back_is_found, trail_put_back_under_a_running_daemon_is_found,
	    another_process_and_this_one_change_the_trail_in_turn, what_is_due_while_sealed_is_done_after,
	    older_store_is_sealed_over_when_it_is_first_opened, store_that_passes_itself_off_as_older_is_refused)
