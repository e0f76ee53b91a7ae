/* What the owner of the KEK does for backups: keys go from under the KEK to under a backup's file key and back, and
 * nobody else sees them.
 *
 *   backup   transport_begin makes the file key: sealed for the recipient (box), and for ourselves as a record under
 *            the KEK (ticket), so that the key holder need not remember it. transport_export takes a version's record
 *            and gives its seed under the file key.
 *   restore  whoever holds the recipient's private key opens the box and seals the file key again, for the key holder
 *            (its public key is made anew with each process). transport_import takes a seed under the file key and
 *            gives a record under the KEK, for the version that it will be.
 *   both     the stream key, which opens names and attributes but no value, is handed out.
 *
 * A seed under the file key: AES-256-GCM, nonce of zeros, under HKDF-SHA-256(file key, "coffer backup seed 1" | vault
 * id[16] | secret u64 | version u32), of what the version was where the backup was made; that key seals nothing but
 * this seed. */
#ifndef COFFER_STORE_KEYS_TRANSPORT_H
#define COFFER_STORE_KEYS_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

#include "store/crypto/curve.h"
#include "store/keys/wrap.h"

#define SEALED_SEED_LEN (KEY_LEN + TAG_LEN)

extern const char box_label_recipient[], box_label_holder[];

struct transport_start {
	uint8_t ticket[WRAP_RECORD_MAX];
	size_t ticket_len;
	uint8_t box[BOX_LEN]; /* the file key, for the recipient */
	uint8_t stream_key[KEY_LEN];
};
/* 0; -EBADMSG (a recipient's key that is none); -EIO, -ENOMEM, -ETIMEDOUT. */
int transport_begin(struct kek *k, const uint8_t vault[16], const uint8_t recipient[CURVE_LEN],
		    struct transport_start *ret);
int transport_stream_key(const uint8_t file_key[KEY_LEN], uint8_t ret_key[KEY_LEN]);
/* The file key of a ticket; for the two calls below. */
int transport_ticket(struct kek *k, const uint8_t vault[16], const uint8_t *ticket, size_t len,
		     uint8_t ret_file_key[KEY_LEN]);

/* was: the version in the vault that the backup is of. -EBADMSG: the record, or the sealed seed, is not that version's.
 */
int transport_export(struct kek *k, const uint8_t file_key[KEY_LEN], const struct wrap_context *was,
		     const uint8_t *record, size_t len, uint8_t ret_sealed[SEALED_SEED_LEN]);
int transport_import(struct kek *k, const uint8_t file_key[KEY_LEN], const struct wrap_context *was,
		     const uint8_t sealed[SEALED_SEED_LEN], const struct wrap_context *becomes,
		     uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len);

/* The key that signs a vault's backups, in a record under the KEK. */
int signer_new(struct kek *k, const uint8_t vault[16], uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len,
	       uint8_t ret_public[CURVE_LEN]);
/* Signs "coffer backup signature 1" NUL | digest. */
int signer_sign(struct kek *k, const uint8_t vault[16], const uint8_t *record, size_t len,
		const uint8_t digest[DIGEST_LEN], uint8_t ret_signature[SIGNATURE_LEN]);
int signer_verify(const uint8_t public[CURVE_LEN], const uint8_t digest[DIGEST_LEN],
		  const uint8_t signature[SIGNATURE_LEN]);

#endif
