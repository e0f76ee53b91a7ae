/* The sealed form of one version's value: AES-256-GCM under a DEK of its own, random nonce, one encryption per key.
 *
 * Format (all integers big-endian), also in contrib/doc/FORMAT.md with a worked example:
 *   "CFE1" | nonce[12] | ciphertext[len] | tag[16]
 * AAD = "coffer envelope 1" NUL | vault id[16] | secret id u64 | version u32 | plaintext length u32. The KEK is not in
 * it, so that rewrapping the DEK never touches the data.
 *
 * A version that came from a backup keeps its ciphertext, and so the context that it was sealed in, which then stands
 * before the nonce:
 *   "CFE2" | vault id[16] | secret id u64 | version u32 | nonce[12] | ciphertext[len] | tag[16]
 * What such an envelope says of itself proves nothing: that it belongs to a version is in the record of its DEK, which
 * names vault, secret and version as they are now, in the hash of the envelope in the version's row, and in that row's
 * MAC. */
#ifndef COFFER_STORE_KEYS_ENVELOPE_H
#define COFFER_STORE_KEYS_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/crypto/aead.h"

struct secbuf;

#define VALUE_MAX         (1u << 20) /* bytes of a value */
#define ENVELOPE_OVERHEAD (4 + NONCE_LEN + TAG_LEN)
#define ENVELOPE_ORIGIN   (16 + 8 + 4) /* what "CFE2" has more */
#define ENVELOPE_MAX      (VALUE_MAX + ENVELOPE_OVERHEAD + ENVELOPE_ORIGIN)

struct envelope_context {
	uint8_t vault[16];
	uint64_t secret;
	uint32_t version;
};

/* The plaintext's length, of an envelope that has at least the form of one: 0 or -EBADMSG. */
int envelope_plain_len(const uint8_t *sealed, size_t len, size_t *ret_len);
/* The context that it says it was sealed in; false: that of the version it belongs to. The envelope has its form. */
bool envelope_origin(const uint8_t *sealed, struct envelope_context *ret_origin);
/* An envelope with its context written into it, for a version elsewhere; ret has room for len + ENVELOPE_ORIGIN bytes.
 * The new length. */
size_t envelope_keep_origin(const uint8_t *sealed, size_t len, const struct envelope_context *ctx, uint8_t *ret);

/* ret_sealed holds len + ENVELOPE_OVERHEAD bytes. 0 or -EIO. len is at most VALUE_MAX. */
int envelope_seal(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const void *plain, size_t len,
		  uint8_t *ret_sealed);
/* Into locked memory of the caller's, of room bytes: 0 and *ret_len; -EBADMSG for anything wrong, and then nothing is
 * left there; -ENOBUFS: it is longer than room. */
int envelope_open_into(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const uint8_t *sealed,
		       size_t len, uint8_t *ret_plain, size_t room, size_t *ret_len);
/* ret_plain has room for envelope_plain_len bytes and gets that length. 0; -EBADMSG for anything wrong, and then
 * ret_plain is wiped and empty. */
int envelope_open(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const uint8_t *sealed, size_t len,
		  struct secbuf *ret_plain);

#endif
