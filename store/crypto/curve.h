/* Public-key cryptography of backups: X25519 (RFC 7748) to encrypt to a recipient, Ed25519 (RFC 8032) to sign. Private
 * keys are 32 bytes and stay in the caller's locked memory; what OpenSSL makes of them for a call lies there too and is
 * wiped. */
#ifndef COFFER_STORE_CRYPTO_CURVE_H
#define COFFER_STORE_CRYPTO_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/crypto/aead.h"

#define CURVE_LEN     32 /* a public or a private key */
#define SIGNATURE_LEN 64

/* 0 or -EIO, -ENOMEM. */
int x25519_public(const uint8_t private[CURVE_LEN], uint8_t ret_public[CURVE_LEN]);
int ed25519_public(const uint8_t private[CURVE_LEN], uint8_t ret_public[CURVE_LEN]);
int ed25519_sign(const uint8_t private[CURVE_LEN], const void *message, size_t len,
		 uint8_t ret_signature[SIGNATURE_LEN]);
/* 0; -EBADMSG; -EIO, -ENOMEM. */
int ed25519_verify(const uint8_t public[CURVE_LEN], const void *message, size_t len,
		   const uint8_t signature[SIGNATURE_LEN]);

/* One key for one recipient. Box = ephemeral public key[32] | key encrypted[32] | tag[16]: AES-256-GCM, nonce of zeros
 * (its key is used once), no AAD, under HKDF-SHA-256(X25519(ephemeral, recipient), label | ephemeral public key |
 * recipient public key). As RFC 9180 does, both public keys are in the KDF, so that a box is for one recipient only; a
 * recipient key of small order is refused (-EBADMSG), since everybody knows what comes of it. */
#define BOX_LEN (CURVE_LEN + KEY_LEN + TAG_LEN)
int box_seal(const char *label, const uint8_t recipient[CURVE_LEN], const uint8_t key[KEY_LEN],
	     uint8_t ret_box[BOX_LEN]);
int box_open(const char *label, const uint8_t private[CURVE_LEN], const uint8_t box[BOX_LEN], uint8_t ret_key[KEY_LEN]);

/* Keys as `openssl genpkey -algorithm X25519` and `openssl pkey -pubout` write them (RFC 8410, unencrypted). Text
 * around the PEM block is passed over. Parse: 0 or -EINVAL (no such block, another kind of key). Print: to a buffer of
 * CURVE_PEM_MAX; the length. */
#define CURVE_PEM_MAX 160
int x25519_pem_parse(const char *text, size_t len, bool private, uint8_t ret_key[CURVE_LEN]);
size_t x25519_pem_print(const uint8_t key[CURVE_LEN], bool private, char ret_text[CURVE_PEM_MAX]);

#endif
