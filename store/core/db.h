/* SQLite as the store uses it: one connection, hardened, with its prepared statements; results as negative errno.
 *
 * A connection belongs to whoever holds the mutex that guards it. A query is a cached statement in use; errors of
 * binding are kept in it and come out of the step, so that callers check once. */
#ifndef COFFER_STORE_CORE_DB_H
#define COFFER_STORE_CORE_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DB_BUSY_MS 2000

struct db_options {
	bool create;  /* a new file, O_EXCL; its mode is 0600 */
	bool durable; /* synchronous=FULL, else NORMAL: survives the process, not the machine */
	int cache_kib;
};

struct db;

/* 0; -ENOENT; -EEXIST (create); -EACCES; -EROFS; -EBADMSG (not a database); -ENOMEM; -EIO. */
int db_open(const char *path, const struct db_options *options, struct db **ret_db);
void db_close(struct db *db); /* accepts NULL; an open transaction is rolled back */
/* The same, and neither the file nor its write-ahead log is touched. */
void db_abandon(struct db *db);
sqlite3 *db_handle(struct db *db);

/* Runs SQL that returns nothing. */
int db_exec(struct db *db, const char *sql);
int db_begin(struct db *db, bool immediate);
int db_commit(struct db *db);    /* on failure the transaction is rolled back */
void db_rollback(struct db *db); /* without a transaction: nothing */

/* The SQLite code as negative errno; 0 for OK, ROW and DONE. */
int db_errno(sqlite3 *handle, int code);

struct query {
	sqlite3_stmt *stmt;
	int bound;
	int error;
};

/* sql must be a string literal: statements are kept by its address. */
struct query db_query(struct db *db, const char *sql);
void query_int(struct query *q, int64_t v);
void query_null_or_int(struct query *q, const int64_t *v);      /* NULL: null */
void query_text(struct query *q, const char *text);             /* borrowed until the query ends; NULL: null */
void query_blob(struct query *q, const void *data, size_t len); /* borrowed until the query ends */
int query_step(struct query *q);                                /* 1: a row, 0: the end, or negative errno */
/* to its end, which must come without a row; ends the query. 0 or negative errno */
int query_run(struct query *q);
void query_end(struct query *q); /* may be called again */

/* Columns of the row. Text and blobs are borrowed until the next step. A text with a NUL inside reads as NULL. */
int64_t column_int(const struct query *q, int i);
bool column_null(const struct query *q, int i);
const char *column_text(const struct query *q, int i);
const void *column_blob(const struct query *q, int i, size_t *ret_len);

/* One integer from a query without parameters. */
int db_get_int(struct db *db, const char *sql, int64_t *ret_value);

#endif
