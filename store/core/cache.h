/* Ciphertext and DEKs of versions lately read, in locked memory. */
#ifndef COFFER_STORE_CORE_CACHE_H
#define COFFER_STORE_CORE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/crypto/aead.h"

struct cipher_cache;
struct cached {
	const uint8_t *envelope; /* held until cache_put_back */
	size_t len;
	uint8_t dek[KEY_LEN]; /* wipe it */
	void *held;
};
int cache_new(size_t bytes, struct cipher_cache **ret_cache);
void cache_free(struct cipher_cache *c); /* accepts NULL */
bool cache_take(struct cipher_cache *c, uint64_t version, struct cached *ret);
void cache_put_back(struct cached *cached);
bool cache_has(struct cipher_cache *c, uint64_t version);
/* Reading and inserting race with changes: what was read before generation moved is not put in. Takes envelope
 * (malloc'd) over in any case. */
uint64_t cache_generation(struct cipher_cache *c);
void cache_insert(struct cipher_cache *c, uint64_t generation, uint64_t version, uint8_t *envelope, size_t len,
		  const uint8_t dek[KEY_LEN]);
void cache_drop(struct cipher_cache *c, const uint64_t *versions, size_t n);
void cache_clear(struct cipher_cache *c); /* wipes every key */

#endif
