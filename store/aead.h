/* The one vocabulary of cryptography; aead.c is the only file that calls OpenSSL's ciphers, digests, MACs and KDFs
 * (kek_file.c and wrap.c have the RSA and key-wrap calls). No call leaves key material in ordinary memory after it returns. */
#ifndef COFFER_STORE_AEAD_H
#define COFFER_STORE_AEAD_H

#include <stddef.h>
#include <stdint.h>

#define KEY_LEN    32	/* every symmetric key here is 256 bits */
#define NONCE_LEN  12	/* GCM, NIST SP 800-38D §8.2.2: random 96 bits */
#define TAG_LEN    16
#define DIGEST_LEN 32	/* SHA-256 */

/* Fetches algorithms once and directs OpenSSL's own allocations that hold keys into locked memory where it can. Call after
 * secmem_init and before threads. 0 or -ENOTSUP. */
int crypto_init(void);

struct bytes { const void *data; size_t len; };	/* borrowed */

int random_bytes(void *ret, size_t n);	/* getrandom(2); 0 or -EIO */

/* AES-256-GCM. out holds len bytes. 0, -EBADMSG (open: the tag is wrong; out is wiped), -EIO. */
int aead_seal(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], struct bytes aad,
	      const void *plain, size_t len, void *ret_cipher, uint8_t ret_tag[TAG_LEN]);
int aead_open(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], struct bytes aad,
	      const void *cipher, size_t len, const uint8_t tag[TAG_LEN], void *ret_plain);

/* SHA-256 and HMAC-SHA-256 over the concatenation of n parts. 0 or -EIO. */
int sha256(const struct bytes *parts, size_t n, uint8_t ret[DIGEST_LEN]);
int hmac256(const uint8_t key[KEY_LEN], const struct bytes *parts, size_t n, uint8_t ret[DIGEST_LEN]);

/* HKDF-SHA-256 (RFC 5869), extract and expand with empty salt; info is label followed by context. 0 or -EIO. */
int hkdf256(const uint8_t key[KEY_LEN], const char *label, struct bytes context, uint8_t ret[KEY_LEN]);

/* Constant-time comparison: 0 when equal. */
int secret_cmp(const void *a, const void *b, size_t n);

#endif
