
#include "store/core/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/core/database.h"
#include "store/core/db.h"

#define SCHEMA_SQL_MAX (64 << 10)

/* Backups: keys, drills, pieces of restores. */
static const char to_4[] = "CREATE TABLE backup_keys(\n"
			   "\tid INTEGER PRIMARY KEY,\n"
			   "\tkind INTEGER NOT NULL,\n"
			   "\tname TEXT NOT NULL UNIQUE,\n"
			   "\tpublic_key BLOB NOT NULL,\n"
			   "\trecord BLOB,\n"
			   "\tcreated INTEGER NOT NULL,\n"
			   "\tcreated_by TEXT,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT;\n"
			   "CREATE TABLE drills(\n"
			   "\tid INTEGER PRIMARY KEY CHECK(id = 1),\n"
			   "\tat INTEGER NOT NULL,\n"
			   "\tbackup_created INTEGER NOT NULL,\n"
			   "\tsecrets INTEGER NOT NULL,\n"
			   "\tversions INTEGER NOT NULL,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT;\n"
			   "CREATE TABLE restore_pieces(\n"
			   "\tid INTEGER PRIMARY KEY,\n"
			   "\trestore BLOB NOT NULL,\n"
			   "\tuid INTEGER NOT NULL,\n"
			   "\tat INTEGER NOT NULL,\n"
			   "\tcreated INTEGER NOT NULL,\n"
			   "\tbytes BLOB NOT NULL,\n"
			   "\tUNIQUE(restore, at)\n"
			   ") STRICT;\n";

/* Rotation, events, hooks. */
static const char to_5[] = "CREATE TABLE rotations(\n"
			   "\tid INTEGER PRIMARY KEY AUTOINCREMENT,\n"
			   "\tscope TEXT NOT NULL UNIQUE,\n"
			   "\taction INTEGER NOT NULL,\n"
			   "\tevery INTEGER NOT NULL,\n"
			   "\tbefore INTEGER NOT NULL,\n"
			   "\texpiry INTEGER NOT NULL,\n"
			   "\tgenerator TEXT NOT NULL,\n"
			   "\tcommand TEXT NOT NULL,\n"
			   "\tuser INTEGER NOT NULL,\n"
			   "\ttimeout INTEGER NOT NULL,\n"
			   "\tcreated_by INTEGER NOT NULL,\n"
			   "\tcreated INTEGER NOT NULL,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT;\n"
			   "CREATE TABLE hooks(\n"
			   "\tid INTEGER PRIMARY KEY AUTOINCREMENT,\n"
			   "\tscope TEXT NOT NULL,\n"
			   "\tevents INTEGER NOT NULL,\n"
			   "\tcommand TEXT NOT NULL,\n"
			   "\tuser INTEGER NOT NULL,\n"
			   "\tdebounce INTEGER NOT NULL,\n"
			   "\ttimeout INTEGER NOT NULL,\n"
			   "\tcreated_by INTEGER NOT NULL,\n"
			   "\tcreated INTEGER NOT NULL,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT;\n"
			   "CREATE TABLE notices(\n"
			   "\tid INTEGER PRIMARY KEY CHECK(id = 1),\n"
			   "\tnear_days INTEGER NOT NULL,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT;\n"
			   "CREATE TABLE events(\n"
			   "\tid INTEGER PRIMARY KEY,\n"
			   "\ttime INTEGER NOT NULL,\n"
			   "\tkind INTEGER NOT NULL,\n"
			   "\tobject INTEGER NOT NULL,\n"
			   "\tversion INTEGER NOT NULL,\n"
			   "\tsame INTEGER NOT NULL,\n"
			   "\tname TEXT NOT NULL,\n"
			   "\tline TEXT NOT NULL,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT;\n"
			   "CREATE TABLE marks(\n"
			   "\tid INTEGER PRIMARY KEY,\n"
			   "\tversion INTEGER NOT NULL,\n"
			   "\texpires INTEGER NOT NULL,\n"
			   "\ttold INTEGER NOT NULL,\n"
			   "\tfailures INTEGER NOT NULL,\n"
			   "\tretry INTEGER NOT NULL,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT;\n"
			   "CREATE TABLE hook_places(\n"
			   "\tid INTEGER PRIMARY KEY,\n"
			   "\tdelivered INTEGER NOT NULL,\n"
			   "\tattempts INTEGER NOT NULL,\n"
			   "\tretry INTEGER NOT NULL,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT";

/* How much history is kept; and the trail. Its hash is made when the vault is opened for the first time after it.
 * Answers of before have no neighbour, and go after ten minutes. What becomes of a stage whose secret has another
 * version by then. And since when a secret serves what it serves. */
static const char to_6[] = "ALTER TABLE state ADD COLUMN serial INTEGER;\n"
			   "ALTER TABLE state ADD COLUMN trail_members INTEGER;\n"
			   "ALTER TABLE state ADD COLUMN trail BLOB;\n"
			   "ALTER TABLE hook_places ADD COLUMN why TEXT;\n"
			   "CREATE TABLE histories(\n"
			   "\tid INTEGER PRIMARY KEY AUTOINCREMENT,\n"
			   "\tscope TEXT NOT NULL UNIQUE,\n"
			   "\tversions INTEGER NOT NULL,\n"
			   "\tspan INTEGER NOT NULL,\n"
			   "\tcreated_by INTEGER NOT NULL,\n"
			   "\tcreated INTEGER NOT NULL,\n"
			   "\tcounted INTEGER NOT NULL,\n"
			   "\tmac BLOB NOT NULL\n"
			   ") STRICT;\n"
			   "ALTER TABLE requests ADD COLUMN neighbour INTEGER;\n"
			   "CREATE INDEX requests_neighbour ON requests(neighbour);\n"
			   "ALTER TABLE stages ADD COLUMN manner INTEGER;\n"
			   "ALTER TABLE stages ADD COLUMN base INTEGER;\n"
			   "ALTER TABLE stages ADD COLUMN start INTEGER;\n"
			   "ALTER TABLE objects ADD COLUMN served INTEGER;\n";

static const struct migration migrations[] = {
	{ 1, "CREATE TABLE clock(\n"
	     "\tid INTEGER PRIMARY KEY CHECK(id = 1),\n"
	     "\tcounted INTEGER NOT NULL,\n"
	     "\tboot BLOB NOT NULL,\n"
	     "\tuptime INTEGER NOT NULL,\n"
	     "\tmac BLOB NOT NULL\n"
	     ") STRICT" },
	{ 2, "ALTER TABLE versions ADD COLUMN epoch INTEGER;\n"
	     "ALTER TABLE versions ADD COLUMN withdrawn INTEGER;\n"
	     "CREATE TABLE blocks(\n"
	     "\tid INTEGER PRIMARY KEY,\n"
	     "\tprincipal TEXT NOT NULL,\n"
	     "\treason TEXT,\n"
	     "\tcreated_by TEXT,\n"
	     "\tcreated INTEGER NOT NULL,\n"
	     "\tmac BLOB NOT NULL\n"
	     ") STRICT;\n" },
	{ 3, to_4 },
	{ 4, to_5 },
	{ 5, to_6 },
};

static const struct schema current = {
	.version = 6,
	.sql = store_schema_sql,
	.migrations = migrations,
	.n_migrations = sizeof migrations / sizeof migrations[0],
};

const struct schema *schema_current(void) { return &current; }

static int set_pragma(struct db *db, const char *name, int value)
{
	char sql[64]; /* a pragma takes no parameter; both parts are ours */

	sqlite3_snprintf(sizeof sql, sql, "PRAGMA %s=%d", name, value);
	return db_exec(db, sql);
}

int schema_create(struct db *db, const struct schema *schema)
{
	int r = db_exec(db, schema->sql);

	if (r == 0)
		r = set_pragma(db, "application_id", STORE_APPLICATION_ID);
	return r < 0 ? r : set_pragma(db, "user_version", schema->version);
}

/* Every definition as one text. */
static int schema_text(sqlite3 *handle, char **ret_text)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3_str *text = sqlite3_str_new(handle);
	int code = sqlite3_prepare_v2(handle, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name",
				      -1, &stmt, NULL);
	int r;

	while (code == SQLITE_OK || code == SQLITE_ROW) {
		code = sqlite3_step(stmt);
		if (code != SQLITE_ROW)
			break;
		for (int i = 0; i < 4; i++)
			sqlite3_str_appendf(text, "%Q;", sqlite3_column_text(stmt, i));
		if (sqlite3_str_length(text) > SCHEMA_SQL_MAX)
			code = SQLITE_CORRUPT;
	}
	r = (code & 0xff) == SQLITE_ERROR ? -EBADMSG : db_errno(handle, code);
	sqlite3_finalize(stmt);
	if (r == 0 && sqlite3_str_errcode(text) != SQLITE_OK)
		r = -ENOMEM;
	char *s = sqlite3_str_finish(text);
	if (r == 0 && !s)
		r = -ENOMEM;
	if (r < 0) {
		sqlite3_free(s);
		return r;
	}
	*ret_text = s;
	return 0;
}

int schema_compare(struct db *db, const struct schema *schema)
{
	char *have = NULL, *want = NULL;
	sqlite3 *fresh = NULL;
	int r, code;

	code = sqlite3_open_v2(":memory:", &fresh, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			       NULL);
	r = fresh ? db_errno(fresh, code) : -ENOMEM;
	if (r == 0)
		r = db_errno(fresh, sqlite3_exec(fresh, schema->sql, NULL, NULL, NULL));
	if (r == 0)
		r = schema_text(fresh, &want);
	if (r == 0)
		r = schema_text(db_handle(db), &have);
	if (r == 0 && strcmp(have, want) != 0)
		r = -EBADMSG;
	sqlite3_free(have);
	sqlite3_free(want);
	sqlite3_close(fresh);
	return r;
}

/* A copy under its final name only when it is whole and on disk. */
static int keep_copy(struct db *db, const char *path, int version)
{
	char *temporary = NULL, *final = NULL;
	struct query q;
	int r = -ENOMEM, fd;

	if (asprintf(&temporary, "%s.v%d.part", path, version) < 0)
		temporary = NULL;
	if (asprintf(&final, "%s.v%d", path, version) < 0)
		final = NULL;
	if (!temporary || !final)
		goto out;
	if (unlink(temporary) < 0 && errno != ENOENT) {
		r = -errno;
		goto out;
	}
	q = db_query(db, "VACUUM INTO ?");
	query_text(&q, temporary);
	r = query_run(&q);
	if (r < 0)
		goto out;
	fd = open(temporary, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchmod(fd, 0600) < 0 || fsync(fd) < 0 || rename(temporary, final) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
out:
	if (r < 0 && temporary)
		unlink(temporary);
	free(temporary);
	free(final);
	return r;
}

static int migrate(struct db *db, const struct schema *schema, int version)
{
	int r = db_begin(db, true);

	for (size_t i = 0; i < schema->n_migrations && r == 0; i++)
		if (schema->migrations[i].from == version) {
			r = db_exec(db, schema->migrations[i].sql);
			version++;
		}
	if (r == 0 && version != schema->version)
		r = -EPROTONOSUPPORT;
	if (r == 0)
		r = set_pragma(db, "user_version", version);
	if (r == 0)
		r = schema_compare(db, schema);
	if (r < 0) {
		db_rollback(db);
		return r;
	}
	return db_commit(db);
}

int schema_drop_copies(const char *path, const struct schema *schema)
{
	int r = 0;

	for (int version = 1; version < schema->version && r == 0; version++) {
		char *copy = NULL;
		if (asprintf(&copy, "%s.v%d", path, version) < 0)
			return -ENOMEM;
		if (unlink(copy) < 0 && errno != ENOENT)
			r = -errno;
		free(copy);
	}
	return r;
}

int schema_check(struct db *db, const struct schema *schema, const char *path, bool may_migrate, char *why,
		 size_t why_len)
{
	int64_t application = 0, version = 0;
	int r = db_get_int(db, "PRAGMA application_id", &application);

	if (r == 0)
		r = db_get_int(db, "PRAGMA user_version", &version);
	if (r == 0 && (application != STORE_APPLICATION_ID || version < 1))
		r = -EBADMSG;
	if (r < 0) {
		store_why(why, why_len,
			  "%s is not a store's database, or is damaged: see coffer fsck, or restore a backup", path);
		return r;
	}
	if (version > schema->version) {
		store_why(why, why_len,
			  "%s has schema %lld, this coffer knows up to %d: install the newer coffer that wrote it",
			  path, (long long)version, schema->version);
		return -EPROTONOSUPPORT;
	}
	if (version < schema->version) {
		if (!may_migrate) {
			store_why(why, why_len,
				  "%s has schema %lld and needs %d: start cofferd once, which brings it up to date",
				  path, (long long)version, schema->version);
			return -ESTALE;
		}
		r = keep_copy(db, path, (int)version);
		if (r == 0)
			r = migrate(db, schema, (int)version);
		if (r < 0)
			store_why(why, why_len, "%s could not be brought from schema %lld to %d (%s); it is as it was",
				  path, (long long)version, schema->version, strerror(-r));
		return r;
	}
	r = schema_compare(db, schema);
	if (r < 0)
		store_why(why, why_len, "%s does not have the tables that schema %d has: restore it from a backup",
			  path, schema->version);
	return r;
}
