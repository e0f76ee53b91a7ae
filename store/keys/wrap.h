/* The typed record around a wrapped key: what a key is for is authenticated with it, so that no key can be passed for
 * another. The byte format is documented at the top of wrap.c and in contrib/doc/FORMAT.md.
 *
 * The KEK wraps a random 32-byte seed. The record carries its type, vault, secret, version and KEK id, the wrapped
 * seed, and an HMAC-SHA-256 over all of that under a key derived from the seed; the key that is handed out is derived
 * from the seed too. So both AES-KW and RSA-OAEP (which authenticates nothing) give an authenticated record. */
#ifndef COFFER_STORE_KEYS_WRAP_H
#define COFFER_STORE_KEYS_WRAP_H

#include <stddef.h>
#include <stdint.h>

#include "store/keys/kek.h"

enum wrap_type {
	WRAP_VAULT_KEY = 1, /* root of the vault's MAC keys; secret and version are 0 */
	WRAP_DEK = 2,       /* a version's data key */
	/* the Ed25519 private key that signs the vault's backups; no call of the key holder hands it out */
	WRAP_SIGNER = 3,
	WRAP_BACKUP = 4, /* the file key of a backup that is being written; likewise */
};

struct wrap_context {
	enum wrap_type type;
	uint8_t vault[16];
	uint64_t secret;
	uint32_t version;
};

#define WRAP_RECORD_MAX 640

/* Makes a new random key for the context and its record. 0, -EIO, -ETIMEDOUT. */
int wrap_new(struct kek *k, const struct wrap_context *ctx, uint8_t ret_key[KEY_LEN],
	     uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len);
/* Opens a record, which must say exactly this context. 0; -EBADMSG for every kind of mismatch; -ENOKEY if it names
 * another KEK. */
int wrap_open(struct kek *k, const struct wrap_context *ctx, const uint8_t *record, size_t len,
	      uint8_t ret_key[KEY_LEN]);
/* The seed itself, and a record of it for another context or KEK: for the key holder's backups alone (transport.h).
 * Errors likewise. */
int wrap_open_seed(struct kek *k, const struct wrap_context *ctx, const uint8_t *record, size_t len,
		   uint8_t ret_seed[KEY_LEN]);
int wrap_seed(struct kek *k, const struct wrap_context *ctx, const uint8_t seed[KEY_LEN],
	      uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len);
/* The KEK that a record names, without opening it. 0 or -EBADMSG. */
int wrap_kek_id(const uint8_t *record, size_t len, uint8_t ret_id[KEK_ID_LEN]);

#endif
