/* The database's schema: making it, checking it, bringing it up to date. */
#ifndef COFFER_STORE_CORE_SCHEMA_H
#define COFFER_STORE_CORE_SCHEMA_H
#include <stdbool.h>
#include <stddef.h>

struct db;

#define STORE_APPLICATION_ID 0x63666572 /* "cfer" in the database's header */

/* From schema `from` to `from + 1`, by adding only. New objects must be written as the new schema.sql has them, because
 * its text is compared afterwards. */
struct migration {
	int from;
	const char *sql;
};
struct schema {
	int version;
	const char *sql;
	const struct migration *migrations;
	size_t n_migrations;
};
extern const char store_schema_sql[]; /* generated from schema.sql */
const struct schema *schema_current(void);

int schema_create(struct db *db, const struct schema *schema); /* in a transaction */
/* 0; -EPROTONOSUPPORT (newer); -ESTALE (older, and may_migrate is not set); -EBADMSG (not what this version makes);
 * line in why. */
int schema_check(struct db *db, const struct schema *schema, const char *path, bool may_migrate, char *why,
		 size_t why_len);
int schema_compare(struct db *db, const struct schema *schema); /* 0 or -EBADMSG */
/* Removes the copies that migrations kept: they hold what is to be destroyed. */
int schema_drop_copies(const char *path, const struct schema *schema);

#endif
