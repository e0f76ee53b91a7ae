/* What the files of staged writes share. */
#ifndef COFFER_STORE_OBJECTS_STAGES_INTERNAL_H
#define COFFER_STORE_OBJECTS_STAGES_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/objects/stages.h"

struct db;

#define STAGE_CHUNK (16u << 10)

struct stage {
	uint64_t id;
	uint64_t size;
	bool dirty;
	uint64_t counter;
	uint64_t unique;
	enum stage_manner manner;
	/* the version that it is a copy of, but for what was written; 0: of nothing; STAGE_NO_BASE, STAGE_LEFT_BASE */
	int64_t base;
	uint64_t start; /* STAGE_APPENDS: what lies from here on is in no version yet */
};

/* On a connection within its transaction. */
int stage_load(struct store *s, struct db *db, uint64_t id, struct stage *ret_stage);
int stage_save(struct store *s, struct db *db, const struct stage *stage);
int stage_get_bytes(struct store *s, struct db *db, const struct stage *stage, uint64_t offset, uint8_t *ret,
		    size_t len);
int stage_put_bytes(struct store *s, struct db *db, struct stage *stage, uint64_t offset, const uint8_t *data,
		    size_t len);
int chunks_drop(struct db *db, uint64_t stage, uint64_t index); /* from index on */

/* Around a short transaction of the stage connection; stage_end commits when r is 0. -EOPNOTSUPP: the store was opened
 * without staging. */
int stage_begin(struct store *s);
int stage_end(struct store *s, int r);

#endif
