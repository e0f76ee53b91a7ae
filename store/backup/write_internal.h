/* A backup while it is written; for write*.c alone. */
#ifndef COFFER_STORE_BACKUP_WRITE_INTERNAL_H
#define COFFER_STORE_BACKUP_WRITE_INTERNAL_H

#include "store/backup/format.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"

/* Lies in locked memory. */
struct backup_keys {
	struct row_keys row;
	struct stream_cipher cipher;
};

enum stage { STAGE_GRANTS, STAGE_OBJECTS, STAGE_DONE };

struct backup {
	struct store *store;
	struct db *db;
	struct keys *holder; /* as long as the store; sealing takes it from the store alone */
	struct backup_keys *keys;
	struct backup_header header;
	struct head head, sum;
	uint8_t head_mac[DIGEST_LEN];
	uint8_t ticket[WRAP_RECORD_MAX];
	size_t ticket_len;
	uint32_t *ids; /* of what is backed up; NULL: everything */
	size_t n_ids, next_id;
	int64_t after;               /* the last object's id */
	char name[NAME_LEN_MAX + 1]; /* … and name */
	bool judged;
	const struct backup_judge *judge;
	struct backup_left *left;
	size_t n_left;
	uint64_t more_left;
	enum stage stage;
	struct backup_counts counts;
	struct buffer plain; /* records that are not in a frame yet */
	struct keys_item *items;
	size_t sealed_at[KEYS_ITEMS_MAX]; /* where in plain the item's sealed seed goes */
	size_t n_items;
	struct stream_hash hash;
	struct buffer out; /* bytes of the stream … */
	size_t taken;      /* … of which so many were handed out */
	int error;
};

/* ---- write_rows.c: rows as records of the stream ---- */

/* Verifies the row that q stands on, and sums it. */
int backup_take_row(struct backup *b, enum row_kind kind, const struct query *q);
/* Its record, where its kind is in a backup. 0 or negative errno. */
int backup_put_row(struct backup *b, enum row_kind kind, const struct query *q);

#endif
