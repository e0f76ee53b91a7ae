/* Rows that a transaction changes: taken out of the authenticated set, put in, and written down for those who follow.
 */
#ifndef COFFER_STORE_CORE_ROW_CHANGE_H
#define COFFER_STORE_CORE_ROW_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/core/integrity.h"

struct idset;
struct store;

/* One row that a transaction changed: MACs before and after. */
struct change {
	uint8_t kind;       /* enum row_kind */
	bool before, after; /* there was a row, there is one */
	uint32_t order;
	int64_t row;
	uint8_t old_mac[DIGEST_LEN], new_mac[DIGEST_LEN];
};

#define CHANGES_KEPT 1024u /* epochs */
#define CHANGE_BITS  20    /* of a change's id, below the epoch */

bool change_is_grant(const struct change *change); /* a role, a binding, a block */
/* The secret that a row of the change table is about; 0: none. */
uint32_t change_secret(int64_t kind, int64_t row);
/* Adds the object that a change is about, if it is about one: 0 or -ENOMEM. */
int change_touch(struct idset **touched, const struct change *change);
int transaction_check(const struct store *s);     /* 0, or -EINVAL without an open one, or why it is broken */
int transaction_fail(struct store *s, int error); /* marks it broken; returns error */
int64_t transaction_epoch(const struct store *s); /* that the commit will move to */

/* Around every change of a member row. row_out verifies the row as it is and takes it out of the set (-ENOENT: no such
 * row); then change it; row_in gives it its MAC and puts it in. A new row needs only row_in, a removed one row_out and
 * row_gone. */
int row_out(struct store *s, enum row_kind kind, int64_t row, struct change *ret_change);
int row_in(struct store *s, const struct change *change);
int row_gone(struct store *s, const struct change *change);
struct change row_new(enum row_kind kind, int64_t row);
/* The same for rows of the trail, which nobody follows. trail_out verifies the row as it is and takes it out of the
 * set: 1, or 0 when there is none; then change it, and trail_in puts it in. trail_remove takes out and deletes the rows
 * with ids from `from` to `to`. A failure breaks the transaction. */
int trail_out(struct store *s, enum row_kind kind, int64_t row);
int trail_in(struct store *s, enum row_kind kind, int64_t row);
int trail_remove(struct store *s, enum row_kind kind, int64_t from, int64_t to);

/* The MAC of a row that is not a member of either set. */
int row_stamp(struct db *db, const uint8_t key[KEY_LEN], enum row_kind kind, int64_t row);

#endif
