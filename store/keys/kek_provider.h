/* What the key providers share; for kek*.c alone. */
#ifndef COFFER_STORE_KEYS_KEK_PROVIDER_H
#define COFFER_STORE_KEYS_KEK_PROVIDER_H

#include <stdint.h>

#include "store/keys/kek.h"

/* The head of each provider's own structure, which lies in locked memory. */
struct kek {
	const struct kek_ops *ops;
	enum kek_alg alg;
	uint8_t id[KEK_ID_LEN];
};

extern const struct kek_ops kek_file_ops, kek_passphrase_ops;

/* The id of a symmetric KEK: the first bytes of HKDF(key, "coffer kek id 1"). */
int kek_id_symmetric(const uint8_t key[KEY_LEN], uint8_t ret_id[KEK_ID_LEN]);

/* Writes one line of at most KEK_WHY_MAX bytes. Returns r, so that `return kek_why(-EINVAL, why, …)` reads well. */
int kek_why(int r, char *why, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
