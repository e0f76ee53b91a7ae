/* The vault's signing key, recovery recipients, and drills. Errors: see backup/backup.h. */
#ifndef COFFER_STORE_BACKUP_RECIPIENTS_H
#define COFFER_STORE_BACKUP_RECIPIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "store/crypto/curve.h"

struct db;
struct keys;
struct row_keys;
struct store;

struct recipient;
int signer_insert(struct store *s, struct keys *keys);
int recipient_insert(struct store *s, const struct recipient *new);
/* Verified; ret_record (WRAP_RECORD_MAX bytes) may be NULL. -ENOENT. */
int signer_read(struct db *db, const struct row_keys *keys, uint8_t ret_public[CURVE_LEN], uint8_t *ret_record,
		size_t *ret_len);

#define RECIPIENT_NAME_MAX 64 /* with the NUL; as a vault's name */
#define RECIPIENTS_MAX     64
/* The fingerprint of a signing key: SHA-256 of its 32 bytes. 0 or -EIO. */
int signer_fingerprint(const uint8_t public[CURVE_LEN], uint8_t ret[DIGEST_LEN]);
/* -ENOENT: a vault that an older coffer made, and that has made no backup yet. -ENOKEY while sealed. */
int store_signer(struct store *s, uint8_t ret_public[CURVE_LEN]);
/* Makes the key if there is none, in a transaction of its own. */
int store_signer_ensure(struct store *s);

struct recipient {
	char name[RECIPIENT_NAME_MAX];
	uint8_t key[CURVE_LEN]; /* X25519, public */
	int64_t created;
	char created_by[256];
};
/* In a transaction. -EEXIST; -EINVAL: a name that is none; -ENOSPC: RECIPIENTS_MAX. -ENOENT. */
int store_recipient_add(struct store *s, const char *name, const uint8_t key[CURVE_LEN], const char *created_by);
int store_recipient_remove(struct store *s, const char *name);
int store_recipient_find(struct store *s, const char *name, struct recipient *ret); /* -ENOENT */
int store_recipients(struct store *s, struct recipient **ret_list, size_t *ret_n);  /* by name; free it */

struct drill {
	int64_t at, backup_created;
	uint64_t secrets, versions;
};
int store_drill_put(struct store *s, const struct drill *d); /* in a transaction */
int store_drill(struct store *s, struct drill *ret);         /* the last good one; -ENOENT */

#endif
