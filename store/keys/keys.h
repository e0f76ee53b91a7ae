/* How everybody but the key holder reaches it.
 *
 * Typed calls only. Protocol: SOCK_SEQPACKET, one request of a size that its kind fixes, one reply with the same 64-bit
 * number; replies to others' numbers (left over from a client that died on the same socket) are dropped. Every call has
 * a deadline. */
#ifndef COFFER_STORE_KEYS_KEYS_H
#define COFFER_STORE_KEYS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/crypto/curve.h"
#include "store/crypto/secbuf.h"
#include "store/keys/wrap.h"

struct transport_start;

#define KEYS_DEADLINE_MS 2000

struct keys;

/* Over a connected socket (ownership of fd passes) or straight over a KEK in this process (ownership of kek passes;
 * offline commands). 0 or -ENOMEM. */
int keys_new_socket(int fd, struct keys **ret_keys);
int keys_new_local(struct kek *kek, struct keys **ret_keys);
void keys_free(struct keys *k); /* accepts NULL */

/* The calls; thread-safe. Blocking, at most KEYS_DEADLINE_MS.
 * 0; -ENOKEY (sealed); -EBADMSG (record not authentic or for something else); -ETIMEDOUT; -EBUSY (rate limit); -EIO. */
int keys_wrap_new(struct keys *k, const struct wrap_context *ctx, uint8_t ret_key[KEY_LEN],
		  uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len);
int keys_unwrap(struct keys *k, const struct wrap_context *ctx, const uint8_t *record, size_t len,
		uint8_t ret_key[KEY_LEN]);
/* For backups (transport.h). All of them answer -ENOKEY while sealed; each item of an export counts as an unwrap
 * (-EBUSY: the whole call is refused, ask again in a moment). An item's data is the version's record before an export
 * and its sealed seed after it; for an import the other way round. A refused item (-EBADMSG) ends the call; after an
 * error the items' data is good for nothing. */
#define KEYS_ITEMS_MAX 64
struct keys_item {
	struct wrap_context was;     /* the version in the vault that the backup is of */
	struct wrap_context becomes; /* import: the version that it will be here */
	size_t len;
	uint8_t data[WRAP_RECORD_MAX];
};
int keys_signer_new(struct keys *k, const uint8_t vault[16], uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len,
		    uint8_t ret_public[CURVE_LEN]);
int keys_sign(struct keys *k, const uint8_t vault[16], const uint8_t *record, size_t len,
	      const uint8_t digest[DIGEST_LEN], uint8_t ret_signature[SIGNATURE_LEN]);
int keys_backup_begin(struct keys *k, const uint8_t vault[16], const uint8_t recipient[CURVE_LEN],
		      struct transport_start *ret);
int keys_backup_export(struct keys *k, const uint8_t vault[16], const uint8_t *ticket, size_t ticket_len,
		       struct keys_item *items, size_t n);
/* The public key for which a file key is sealed; another one in each key holder. */
int keys_restore_key(struct keys *k, uint8_t ret_public[CURVE_LEN]);
int keys_restore_begin(struct keys *k, const uint8_t box[BOX_LEN], uint8_t ret_stream_key[KEY_LEN]);
int keys_restore_import(struct keys *k, const uint8_t box[BOX_LEN], struct keys_item *items, size_t n);

/* Throws the KEK away until the next unseal. 0 also when it was sealed already. */
int keys_seal(struct keys *k);
struct keys_state {
	bool sealed;
	char provider[32]; /* "file", … */
	uint8_t kek_id[KEK_ID_LEN];
	uint64_t unwraps;
	enum secmem_kind memory; /* where the KEK lies */
};
int keys_state(struct keys *k, struct keys_state *ret_state);
/* What the holder said when it ended because it could not have its key: one line in why (at least KEK_WHY_MAX bytes),
 * and -EKEYREJECTED (another vault's) or -EIO. 0: it said nothing, or has answered since. A call that waits meanwhile
 * is -ETIMEDOUT at once. */
int keys_fault(struct keys *k, char *why, size_t why_len);
/* A descriptor that becomes readable when the key holder's state changed by itself (unsealed); -1 for a local one. The
 * holder sends an unsolicited message with number 0 on every client socket when it is unsealed or sealed;
 * keys_state_changed reads it away and says whether there was one. The descriptor may be readable for a moment while
 * another thread waits for an answer. The end of the key holder counts as one change; every call is -EIO from then on.
 */
int keys_fd(struct keys *k);
bool keys_state_changed(struct keys *k);

#endif
