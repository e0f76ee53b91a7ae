/* Key-encryption keys behind one table of operations. Only the key holder, init and the offline commands use it.
 *
 * A provider wraps 32 bytes and unwraps them; wrap.h puts the typed record around that. Every failure to unwrap is one error
 * (-EBADMSG): telling them apart is a padding oracle (CVE-2022-4304). */
#ifndef COFFER_STORE_KEK_H
#define COFFER_STORE_KEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/aead.h"

#define KEK_URI_MAX     1024
#define KEK_ID_LEN      16	/* names a KEK in a record; derived from it, reveals nothing of it */
#define KEK_WRAPPED_MAX 512	/* RSA-4096 */
#define KEK_PARAMS_MAX  256	/* public parameters that a provider wants kept (scrypt's salt and cost), as text without a newline */

enum kek_alg { KEK_ALG_AES_KW = 1 /* RFC 3394, 40 bytes */, KEK_ALG_RSA_OAEP_256 = 2 /* RFC 8017, SHA-256 and MGF1-SHA-256 */ };

struct kek;	/* an unlocked key */

/* What a provider may need beyond its URI. Fields that do not apply are zero. */
struct kek_source {
	const char *uri;
	const char *params;		/* as kept at creation, or NULL */
	int fd;				/* file: a descriptor of the key file opened by somebody with the right to, or -1: open the path */
	const void *passphrase;		/* passphrase: locked memory, borrowed */
	size_t passphrase_len;
};

struct kek_ops {
	const char *scheme;		/* "file", "passphrase" */
	bool needs_passphrase;
	/* Makes a new key (init): writes ret_params. -EEXIST when there is something in its place. */
	int (*create)(const struct kek_source *src, char ret_params[KEK_PARAMS_MAX], struct kek **ret_kek);
	/* Opens an existing one. -ENOENT, -EACCES (others can read the file), -EINVAL (form), -EKEYREJECTED (wrong passphrase is found by the caller, who unwraps with it), -EIO. */
	int (*open)(const struct kek_source *src, struct kek **ret_kek);
	int (*wrap)(struct kek *k, const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KEK_WRAPPED_MAX], size_t *ret_len);
	int (*unwrap)(struct kek *k, const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN]);
	void (*close)(struct kek *k);
};

/* The provider for a URI; NULL for an unknown scheme. kek_schemes lists what there is, for a message. */
const struct kek_ops *kek_ops_for(const char *uri);
const char *kek_schemes(void);	/* "file:, passphrase:" */

/* Conveniences over the table; the error text in why (at least 256 bytes) is one line that says what is wrong and what to do. */
int kek_create(const struct kek_source *src, char ret_params[KEK_PARAMS_MAX], struct kek **ret_kek, char *why, size_t why_len);
int kek_open(const struct kek_source *src, struct kek **ret_kek, char *why, size_t why_len);
void kek_close(struct kek *k);	/* accepts NULL */
enum kek_alg kek_alg(const struct kek *k);
void kek_id(const struct kek *k, uint8_t ret_id[KEK_ID_LEN]);
int kek_wrap(struct kek *k, const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KEK_WRAPPED_MAX], size_t *ret_len);
int kek_unwrap(struct kek *k, const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN]);

#endif
