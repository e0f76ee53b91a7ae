#include "store/core/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than any row holds: an envelope of 1 MiB, or 15 tags with every byte escaped. */
#define ROW_BYTES_MAX (4 << 20)

#define STATEMENTS_MAX 160

struct db {
	sqlite3 *handle;
	size_t n;
	struct {
		const char *sql;
		sqlite3_stmt *stmt;
	} statements[STATEMENTS_MAX];
};

int db_errno(sqlite3 *handle, int code)
{
	int system = handle ? sqlite3_system_errno(handle) : 0;

	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -ETIMEDOUT;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
	case SQLITE_SCHEMA:
	case SQLITE_MISMATCH:
	/* the statements are ours and fixed: what does not fit them is the file's format or its schema */
	case SQLITE_ERROR:
		return -EBADMSG;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_TOOBIG:
		return -EFBIG;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_IOERR:
		if (code == SQLITE_IOERR_NOMEM)
			return -ENOMEM;
		if (system == ENOSPC || system == EDQUOT)
			return -ENOSPC;
		return system == EROFS ? -EROFS : -EIO;
	case SQLITE_CANTOPEN:
		if (system == ENOENT || system == EACCES || system == EROFS || system == ENOSPC)
			return -system;
		return -EIO;
	default:
		return -EIO;
	}
}

sqlite3 *db_handle(struct db *db) { return db->handle; }

int db_exec(struct db *db, const char *sql)
{
	return db_errno(db->handle, sqlite3_exec(db->handle, sql, NULL, NULL, NULL));
}

/* A database is input: whoever could write the file must not get functions, views or triggers run, nor the schema made
 * writable. */
static int harden(struct db *db)
{
	static const struct {
		int what, value;
	} flags[] = {
		{ SQLITE_DBCONFIG_DEFENSIVE, 1 },
		{ SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },
		{ SQLITE_DBCONFIG_ENABLE_TRIGGER, 0 },
		{ SQLITE_DBCONFIG_ENABLE_VIEW, 0 },
		{ SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
		{ SQLITE_DBCONFIG_DQS_DML, 0 },
		{ SQLITE_DBCONFIG_DQS_DDL, 0 },
		{ SQLITE_DBCONFIG_ENABLE_FKEY, 1 },
	};
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		int code = sqlite3_db_config(db->handle, flags[i].what, flags[i].value, NULL);
		if (code != SQLITE_OK)
			return db_errno(db->handle, code);
	}
	sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX);
	sqlite3_limit(db->handle, SQLITE_LIMIT_SQL_LENGTH, 64 << 10);
	return 0;
}

static int configure(struct db *db, const struct db_options *options)
{
	char cache[64];
	int r;

	sqlite3_busy_timeout(db->handle, DB_BUSY_MS);
	sqlite3_snprintf(sizeof cache, cache, "PRAGMA cache_size=-%d", options->cache_kib);
	r = db_exec(db,
		    "PRAGMA cell_size_check=ON; PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
		    "PRAGMA journal_size_limit=4194304");
	if (r == 0)
		r = db_exec(db, cache);
	if (r == 0)
		r = db_exec(db, options->durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
	return r;
}

int db_open(const char *path, const struct db_options *options, struct db **ret_db)
{
	struct db *db = NULL;
	int code, r, fd;

	if (options->create) {
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		close(fd);
	}
	db = calloc(1, sizeof *db);
	if (!db)
		return -ENOMEM;
	/* The directory is the worker's: a link in it must not lead a process with more rights elsewhere. */
	code = sqlite3_open_v2(path, &db->handle,
			       SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
				       SQLITE_OPEN_EXRESCODE,
			       NULL);
	if (code != SQLITE_OK) {
		r = db->handle ? db_errno(db->handle, code) : -ENOMEM;
		goto out;
	}
	r = harden(db);
	if (r == 0)
		r = configure(db, options);
	if (r < 0)
		goto out;
	*ret_db = db;
	db = NULL;
out:
	db_close(db);
	return r;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	for (size_t i = 0; i < db->n; i++)
		sqlite3_finalize(db->statements[i].stmt);
	sqlite3_close(db->handle);
	free(db);
}

void db_abandon(struct db *db)
{
	if (db)
		sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	db_close(db);
}

static int prepare(struct db *db, const char *sql, sqlite3_stmt **ret_stmt)
{
	for (size_t i = 0; i < db->n; i++)
		if (db->statements[i].sql == sql) {
			*ret_stmt = db->statements[i].stmt;
			return 0;
		}
	if (db->n == STATEMENTS_MAX)
		return -ENOMEM;
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
	if (code != SQLITE_OK)
		return (code & 0xff) == SQLITE_ERROR ? -EBADMSG : db_errno(db->handle, code);
	db->statements[db->n].sql = sql;
	db->statements[db->n++].stmt = stmt;
	*ret_stmt = stmt;
	return 0;
}

struct query db_query(struct db *db, const char *sql)
{
	struct query q = { 0 };

	q.error = prepare(db, sql, &q.stmt);
	return q;
}

static void bound(struct query *q, int code)
{
	if (code != SQLITE_OK)
		q->error = db_errno(sqlite3_db_handle(q->stmt), code);
}

void query_int(struct query *q, int64_t v)
{
	if (q->error == 0)
		bound(q, sqlite3_bind_int64(q->stmt, ++q->bound, v));
}

void query_null_or_int(struct query *q, const int64_t *v)
{
	if (q->error == 0)
		bound(q, v ? sqlite3_bind_int64(q->stmt, ++q->bound, *v) : sqlite3_bind_null(q->stmt, ++q->bound));
}

void query_text(struct query *q, const char *text)
{
	if (q->error == 0)
		bound(q, sqlite3_bind_text(q->stmt, ++q->bound, text, -1, SQLITE_STATIC));
}

void query_blob(struct query *q, const void *data, size_t len)
{
	if (q->error == 0)
		bound(q, sqlite3_bind_blob64(q->stmt, ++q->bound, data ? data : "", len, SQLITE_STATIC));
}

int query_step(struct query *q)
{
	if (q->error < 0)
		return q->error;
	int code = sqlite3_step(q->stmt);
	if (code == SQLITE_ROW)
		return 1;
	if (code != SQLITE_DONE)
		q->error = db_errno(sqlite3_db_handle(q->stmt), code);
	return q->error;
}

int query_run(struct query *q)
{
	int r = query_step(q);

	query_end(q);
	return r > 0 ? -EIO : r;
}

void query_end(struct query *q)
{
	if (!q->stmt)
		return;
	sqlite3_reset(q->stmt);
	sqlite3_clear_bindings(q->stmt);
	q->stmt = NULL;
}

int64_t column_int(const struct query *q, int i) { return sqlite3_column_int64(q->stmt, i); }

bool column_null(const struct query *q, int i) { return sqlite3_column_type(q->stmt, i) == SQLITE_NULL; }

const char *column_text(const struct query *q, int i)
{
	const char *text = (const char *)sqlite3_column_text(q->stmt, i);

	if (text && strlen(text) != (size_t)sqlite3_column_bytes(q->stmt, i))
		return NULL;
	return text;
}

const void *column_blob(const struct query *q, int i, size_t *ret_len)
{
	const void *p = sqlite3_column_blob(q->stmt, i);

	*ret_len = (size_t)sqlite3_column_bytes(q->stmt, i);
	return p;
}

int db_get_int(struct db *db, const char *sql, int64_t *ret_value)
{
	struct query q = db_query(db, sql);
	int r = query_step(&q);

	if (r == 0)
		r = -EBADMSG;
	if (r > 0) {
		*ret_value = column_int(&q, 0);
		r = 0;
	}
	query_end(&q);
	return r;
}

int db_begin(struct db *db, bool immediate)
{
	struct query q = db_query(db, immediate ? "BEGIN IMMEDIATE" : "BEGIN");

	return query_run(&q);
}

int db_commit(struct db *db)
{
	struct query q = db_query(db, "COMMIT");
	int r = query_run(&q);

	if (r < 0)
		db_rollback(db);
	return r;
}

void db_rollback(struct db *db)
{
	if (sqlite3_get_autocommit(db->handle))
		return;
	/* A statement that was never prepared would need memory; exec does as well, but a connection that cannot roll
	 * back does so when it closes. */
	struct query q = db_query(db, "ROLLBACK");
	query_run(&q);
}
