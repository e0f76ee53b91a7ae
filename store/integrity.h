/* What makes a changed database a noticed one: a MAC on each row, and a sealed hash over the set of rows.
 *
 * Row MAC = HMAC-SHA-256(k_row, "coffer row 1" NUL | table | number of columns | columns), see encode_row in integrity.c.
 * Element of a row = HMAC-SHA-256(k_set, "coffer member 1" NUL | row MAC) as a number; the set's hash is the sum of all elements mod 2^256 (the additive
 * multiset hash of Clarke et al., ASIACRYPT 2003; the elements are under a key, so nobody without it can look for sums that collide).
 * On disk lies only state.mac = HMAC-SHA-256(k_set, "coffer set 1" NUL | vault | epoch | members | next ids | hash).
 *
 * So a row that is edited, swapped, added, removed, duplicated or put back from an older copy is found when the vault is unlocked. What it cannot find is
 * the whole store put back to an older state, rows and head together. */
#ifndef COFFER_STORE_INTEGRITY_H
#define COFFER_STORE_INTEGRITY_H

#include "store/aead.h"
#include "store/db.h"

enum row_kind {
	/* Members of the set; the numbers stand in the change table. */
	ROW_SETTINGS = 1,
	ROW_OBJECT,
	ROW_VERSION,
	ROW_ROLE,
	ROW_BINDING,
	ROW_EVERYTHING,		/* in the change table only: more changed than is worth listing */
	ROW_CLOCK,
	ROW_BLOCK,
	ROW_BACKUP_KEY,
	ROW_ROTATION,
	ROW_HOOK,
	ROW_NOTICE,
	/* Rows with a MAC that are not members. */
	ROW_REQUEST,
	ROW_PENDING_ACT,
	ROW_STAGE,
	ROW_DRILL,
	ROW_EVENT,
	ROW_MARK,
	ROW_HOOK_PLACE,
	ROW_KINDS
};

/* Is a row of this kind a member of the set? */
static inline bool row_is_member(int64_t kind)
{
	return kind >= ROW_SETTINGS && kind < ROW_REQUEST && kind != ROW_EVERYTHING;
}

struct row_table {
	const char *name;	/* of the table, as the MAC has it */
	const char *all;	/* every row in order of id; the columns end with mac */
	const char *one;	/* the same columns, by id */
	const char *range;	/* the same, of ids after the first parameter up to the second */
	const char *set_mac;
};
const struct row_table *row_table(enum row_kind kind);

/* Lies in locked memory. */
struct row_keys {
	uint8_t row[KEY_LEN];
	uint8_t set[KEY_LEN];
};
/* 0 or -EIO. */
int row_keys_derive(const uint8_t vault_key[KEY_LEN], const uint8_t vault[16], struct row_keys *ret_keys);

struct set_hash {
	uint64_t limbs[4];	/* least significant first */
};

/* The head: the row of the table state, with the set's hash, which is not on disk. */
struct head {
	uint64_t epoch;
	int64_t members;
	int64_t next_object, next_role, next_binding;
	struct set_hash hash;
};

/* The MAC of the row that a query of row_table stands on. 0, -ENOMEM, -EIO. */
int row_mac(const uint8_t key[KEY_LEN], enum row_kind kind, const struct query *q, uint8_t ret_mac[DIGEST_LEN]);
/* Compares it with the row's last column: 0 and the MAC, or -EBADMSG. */
int row_verify(const uint8_t key[KEY_LEN], enum row_kind kind, const struct query *q, uint8_t ret_mac[DIGEST_LEN]);
/* The same for the row that a bound query of one row comes to. -ENOENT: there is none. */
int row_find(const uint8_t key[KEY_LEN], enum row_kind kind, struct query *q, uint8_t ret_mac[DIGEST_LEN]);

int set_add(const struct row_keys *keys, const uint8_t mac[DIGEST_LEN], struct set_hash *hash);
int set_remove(const struct row_keys *keys, const uint8_t mac[DIGEST_LEN], struct set_hash *hash);

/* Reads the head's row; its MAC is compared by head_verify, when hash has been summed. */
int head_read(struct db *db, struct head *ret_head, uint8_t ret_mac[DIGEST_LEN]);
int head_mac(const struct row_keys *keys, const uint8_t vault[16], const struct head *head, uint8_t ret_mac[DIGEST_LEN]);
int head_write(struct db *db, const struct row_keys *keys, const uint8_t vault[16], const struct head *head);

#endif
