/* Reading all tables anew. */
#ifndef COFFER_STORE_CORE_LOAD_H
#define COFFER_STORE_CORE_LOAD_H
#include <stddef.h>
#include <stdint.h>

struct db;
struct row_keys;
struct tables;

enum load_trail {
	TRAIL_FROM_HEAD, /* as the head has it, whose rows were summed before */
	TRAIL_SUMMED,    /* its rows are read, too */
	TRAIL_ADOPTED,   /* the same, and a head from before schema 6 may have none */
};
/* Loads everything in the transaction that db is in. keys NULL: unverified, and without roles and bindings. -ESTALE:
 * the head has no trail, and is not to be adopted. */
int tables_load(struct db *db, const struct row_keys *keys, enum load_trail trail, const uint8_t vault[16],
		const char *name, struct tables *ret_tables, char *why, size_t why_len);
void tables_free(struct tables *t);

#endif
