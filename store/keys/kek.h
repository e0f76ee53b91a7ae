/* Key-encryption keys behind one table of operations. Only the key holder, init and the offline commands use it.
 *
 * A provider wraps 32 bytes and unwraps them; wrap.h puts the typed record around that. Every failure to unwrap is one
 * error
 * (-EBADMSG): telling them apart is a padding oracle (CVE-2022-4304). */
#ifndef COFFER_STORE_KEYS_KEK_H
#define COFFER_STORE_KEYS_KEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/crypto/aead.h"

#define KEK_URI_MAX     1024
#define KEK_ID_LEN      16  /* names a KEK in a record; derived from it, reveals nothing of it */
#define KEK_WRAPPED_MAX 512 /* RSA-4096 */
#define KEK_WHY_MAX     256
/* public parameters that a provider wants kept (scrypt's salt and cost), as text without a newline */
#define KEK_PARAMS_MAX  256

enum kek_alg {
	KEK_ALG_AES_KW = 1 /* RFC 3394, 40 bytes */,
	KEK_ALG_RSA_OAEP_256 = 2 /* RFC 8017, SHA-256 and MGF1-SHA-256 */
};

struct kek; /* an unlocked key */

/* What a provider may need beyond its URI. Fields that do not apply are zero. */
struct kek_source {
	const char *uri;
	const char *params; /* as kept at creation, or NULL */
	int fd;             /* file: a descriptor of the key file opened by somebody with the right to (borrowed, read
			     * from its beginning), or -1: open the path; 0 counts as -1 */
	const void *passphrase; /* passphrase: locked memory, borrowed */
	size_t passphrase_len;
};

/* What somebody has to bring before a key can be opened; the vault is sealed until then. */
enum kek_asks { KEK_ASKS_NOTHING, KEK_ASKS_PASSPHRASE };

/* create and open put one line into why (at least KEK_WHY_MAX bytes) when they fail. */
struct kek_ops {
	const char *scheme; /* "file", "passphrase" */
	enum kek_asks asks;
	/* the key lies in the file that the URI names: somebody with the right to opens it, and gives the descriptor */
	bool in_file;
	/* Makes a new key (init): writes ret_params. -EEXIST when there is something in its place. */
	int (*create)(const struct kek_source *src, char ret_params[KEK_PARAMS_MAX], struct kek **ret_kek, char *why);
	/* Opens an existing one. -ENOENT, -EACCES (others can read the file), -EINVAL (form), -ENOKEY (no passphrase
	 * was given; that it is the right one is found by the caller, who unwraps with it), -EIO, -ENOMEM. */
	int (*open)(const struct kek_source *src, struct kek **ret_kek, char *why);
	int (*wrap)(struct kek *k, const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KEK_WRAPPED_MAX], size_t *ret_len);
	int (*unwrap)(struct kek *k, const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN]);
	void (*close)(struct kek *k);
};

/* The provider for a URI; NULL for an unknown scheme. kek_schemes lists what there is, for a message. */
const struct kek_ops *kek_ops_for(const char *uri);
/* The path of the file in which the key lies; NULL: it lies in none, or the scheme is unknown. Points into uri. */
const char *kek_file(const char *uri);
/* Of an unknown scheme: nothing. */
enum kek_asks kek_asks(const char *uri);
const char *kek_schemes(void); /* "file:, passphrase:" */

/* Through the table; the error text in why is one line that says what is wrong and what to do. A key that was opened or
 * made has wrapped and unwrapped once before it is returned (-EIO if that failed): a token that cannot do what is
 * configured is found at the start. -EPROTONOSUPPORT: unknown scheme. URIs: "file:/ABSOLUTE/PATH"; "passphrase:", or
 * "passphrase:?ln=N" for another cost at creation (scrypt with N = 2^ln, 15..19; 17 unless given). The passphrase's
 * bytes are taken as they are: who reads it from a terminal cuts the newline. At least 1 byte, at most PASSPHRASE_MAX.
 */
#define PASSPHRASE_MAX 1024
int kek_create(const struct kek_source *src, char ret_params[KEK_PARAMS_MAX], struct kek **ret_kek, char *why,
	       size_t why_len);
int kek_open(const struct kek_source *src, struct kek **ret_kek, char *why, size_t why_len);
void kek_close(struct kek *k); /* accepts NULL */
enum kek_alg kek_alg(const struct kek *k);
const char *kek_provider(const struct kek *k); /* "file", … */
void kek_id(const struct kek *k, uint8_t ret_id[KEK_ID_LEN]);
int kek_wrap(struct kek *k, const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KEK_WRAPPED_MAX], size_t *ret_len);
int kek_unwrap(struct kek *k, const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN]);

#endif
