/* The one vocabulary of cryptography; aead.c is the only file that calls OpenSSL's ciphers, digests, MACs and KDFs
 * (kek_file.c has the RSA calls). No call leaves key material in ordinary memory after it returns. */
#ifndef COFFER_STORE_CRYPTO_AEAD_H
#define COFFER_STORE_CRYPTO_AEAD_H

#include <stddef.h>
#include <stdint.h>

#define KEY_LEN    32 /* every symmetric key here is 256 bits */
#define NONCE_LEN  12 /* GCM, NIST SP 800-38D §8.2.2: random 96 bits */
#define TAG_LEN    16
#define DIGEST_LEN 32 /* SHA-256 */
#define KW_LEN     40 /* a 256-bit key under AES-KW: RFC 3394 §2.2.1 */

/* Fetches algorithms once and directs OpenSSL's own allocations that hold keys into locked memory (see
 * crypto_secret_begin). Call after secmem_init, before threads, and before anything else in the process calls OpenSSL:
 * it accepts another allocator only until its first allocation. openssl.cnf is not read. May be called again (0), also
 * in a forked child. 0 or -ENOTSUP (also when there is no locked memory). */
int crypto_init(void);

/* Between these, what this thread allocates inside OpenSSL lies in locked memory (up to 256 KiB a block; larger blocks,
 * which only scrypt has, are ordinary, and wiped by OpenSSL). A full arena fails the OpenSSL call. They nest. */
void crypto_secret_begin(void);
void crypto_secret_end(void);

struct bytes {
	const void *data;
	size_t len;
}; /* borrowed */

int random_bytes(void *ret, size_t n); /* getrandom(2); 0 or -EIO */

/* AES-256-GCM. out holds len bytes and may be plain itself. 0, -EBADMSG (open: the tag is wrong; out is wiped), -EIO,
 * -ENOMEM (the arena has no room for this thread's context). */
int aead_seal(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], struct bytes aad, const void *plain,
	      size_t len, void *ret_cipher, uint8_t ret_tag[TAG_LEN]);
int aead_open(const uint8_t key[KEY_LEN], const uint8_t nonce[NONCE_LEN], struct bytes aad, const void *cipher,
	      size_t len, const uint8_t tag[TAG_LEN], void *ret_plain);

/* SHA-256 and HMAC-SHA-256 over the concatenation of n parts. 0 or -EIO. */
int sha256(const struct bytes *parts, size_t n, uint8_t ret[DIGEST_LEN]);
int hmac256(const uint8_t key[KEY_LEN], const struct bytes *parts, size_t n, uint8_t ret[DIGEST_LEN]);

/* HKDF-SHA-256 (RFC 5869), extract and expand with empty salt; info is label followed by context. 0 or -EIO. */
int hkdf256(const uint8_t key[KEY_LEN], const char *label, struct bytes context, uint8_t ret[KEY_LEN]);

/* AES-256-KW (RFC 3394) of one key. Unwrap: 0, -EBADMSG (len is not KW_LEN, or not authentic), -ENOMEM, -EIO. */
int key_wrap(const uint8_t kek[KEY_LEN], const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KW_LEN]);
int key_unwrap(const uint8_t kek[KEY_LEN], const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN]);

/* scrypt (RFC 7914) with N = 2^ln. Takes 128 * 2^ln * r bytes of memory for as long as it runs. 0 or -EIO. */
int scrypt256(struct bytes passphrase, struct bytes salt, unsigned ln, unsigned r, unsigned p,
	      uint8_t ret_key[KEY_LEN]);

/* Constant-time comparison: 0 when equal. */
int secret_cmp(const void *a, const void *b, size_t n);

#endif
