/* What makes a changed database a noticed one: a MAC on each row, and sealed hashes over two sets of rows.
 *
 * Row MAC = HMAC-SHA-256(k_row, "coffer row 1" NUL | table | number of columns | columns), see encode_row in
 * integrity.c. Element of a row = HMAC-SHA-256(k_set, "coffer member 1" NUL | row MAC) as a number; the set's hash is
 * the sum of all elements mod 2^256 (the additive multiset hash of Clarke et al., ASIACRYPT 2003; the elements are
 * under a key, so nobody without it can look for sums that collide).
 *
 * The main set is what the vault serves by: its hash is in memory only, and whoever follows another process moves it
 * along the change table, so that no change can be kept from a follower. The trail is what the vault writes as it goes:
 * events, answers, acts, marks, the change table itself. Nobody follows it row by row; its hash lies on disk, behind a
 * pad of its own for each commit, because sums that can be read would tell which rows add up to the same:
 *
 *   state.trail = nonce[16] | hash XOR HMAC-SHA-256(k_set, "coffer trail 1" NUL | nonce)
 *
 * state.mac = HMAC-SHA-256(k_set, "coffer set 2" NUL | vault | epoch | members | next ids | hash | serial | trail's
 * members | trail's hash); serial moves with every commit, the epoch with those that change the main set. Before schema
 * 6 there was no trail: label "coffer set 1", and nothing after the main hash.
 *
 * So a row that is edited, swapped, added, removed, duplicated or put back from an older copy is found when the vault
 * is unlocked. What it cannot find is the whole store put back to an older state, rows and head together. A table
 * without a column mac is found by its set alone. */
#ifndef COFFER_STORE_CORE_INTEGRITY_H
#define COFFER_STORE_CORE_INTEGRITY_H

#include <stdbool.h>
#include <stdint.h>

#include "store/crypto/aead.h"

struct db;
struct query;

enum row_kind {
	/* Members of the main set; the numbers stand in the change table. */
	ROW_SETTINGS = 1,
	ROW_OBJECT,
	ROW_VERSION,
	ROW_ROLE,
	ROW_BINDING,
	ROW_EVERYTHING, /* in the change table only: more changed than is worth listing */
	ROW_CLOCK,
	ROW_BLOCK,
	ROW_BACKUP_KEY,
	ROW_ROTATION,
	ROW_HOOK,
	ROW_NOTICE,
	ROW_HISTORY,
	/* Members of the trail. */
	ROW_REQUEST,
	ROW_PENDING_ACT,
	ROW_DRILL,
	ROW_EVENT,
	ROW_MARK,
	ROW_HOOK_PLACE,
	ROW_CHANGE,
	ROW_BINDING_USE,
	ROW_KEK,
	/* A member of neither: it is under the stage key, which dies with the daemon, and so does what is staged. */
	ROW_STAGE,
	ROW_KINDS
};

/* Is a row of this kind a member of the main set? */
static inline bool row_is_member(int64_t kind)
{
	return kind >= ROW_SETTINGS && kind < ROW_REQUEST && kind != ROW_EVERYTHING;
}

static inline bool row_is_trail(int64_t kind) { return kind >= ROW_REQUEST && kind < ROW_STAGE; }

struct row_table {
	const char *name;  /* of the table, as the MAC has it */
	bool bare;         /* there is no column mac: the set alone vouches for the row */
	const char *all;   /* every row in order of id; the columns end with mac, if there is one */
	const char *one;   /* the same columns, by id */
	const char *range; /* the same, of ids after the first parameter up to the second */
	const char *set_mac;
	const char *remove; /* the rows of a range */
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
	uint64_t limbs[4]; /* least significant first */
};

/* The head: the row of the table state, with the main set's hash, which is not on disk. */
struct head {
	uint64_t epoch;
	int64_t members;
	int64_t next_object, next_role, next_binding;
	struct set_hash hash;
	bool has_trail; /* false: written by a coffer of before schema 6 */
	uint64_t serial;
	int64_t trail_members;
	struct set_hash trail;
};

/* The MAC of the row that a query of row_table stands on. 0, -ENOMEM, -EIO. */
int row_mac(const uint8_t key[KEY_LEN], enum row_kind kind, const struct query *q, uint8_t ret_mac[DIGEST_LEN]);
/* Compares it with the row's last column: 0 and the MAC, or -EBADMSG. A bare row is taken as it is. */
int row_verify(const uint8_t key[KEY_LEN], enum row_kind kind, const struct query *q, uint8_t ret_mac[DIGEST_LEN]);
/* The same for the row that a bound query of one row comes to. -ENOENT: there is none. */
int row_find(const uint8_t key[KEY_LEN], enum row_kind kind, struct query *q, uint8_t ret_mac[DIGEST_LEN]);

int set_add(const struct row_keys *keys, const uint8_t mac[DIGEST_LEN], struct set_hash *hash);
int set_remove(const struct row_keys *keys, const uint8_t mac[DIGEST_LEN], struct set_hash *hash);

/* Reads the head's row, with the trail's hash where there are keys (else NULL); its MAC is to be compared when the main
 * hash has been summed. */
int head_read(struct db *db, const struct row_keys *keys, struct head *ret_head, uint8_t ret_mac[DIGEST_LEN]);
int head_mac(const struct row_keys *keys, const uint8_t vault[16], const struct head *head,
	     uint8_t ret_mac[DIGEST_LEN]);
int head_write(struct db *db, const struct row_keys *keys, const uint8_t vault[16], const struct head *head);

#endif
