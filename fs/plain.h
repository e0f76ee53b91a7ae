/* Plaintext of versions, held once for all open handles, in locked memory, and no longer than it is needed: wiped when the last reader closes, on revocation, on seal, and after a short idle time. */
#ifndef COFFER_FS_PLAIN_H
#define COFFER_FS_PLAIN_H

#include <stdint.h>

#include "store/store.h"

struct plain_pool;
struct plain;			/* one version's plaintext, referenced */

int plain_pool_new(size_t cap, struct plain_pool **ret_pool);
void plain_pool_free(struct plain_pool *p);

/* Without blocking: from the pool, else NULL. */
struct plain *plain_get(struct plain_pool *p, uint32_t secret, uint32_t version);
/* Decrypted now, where plain_get found nothing (and from the pool, where another thread was faster). Errors of store_version_read; -ENOMEM when even eviction gave no room. */
int plain_load(struct plain_pool *p, struct store *s, uint32_t secret, uint32_t version, struct plain **ret_plain);
const struct secbuf *plain_buf(const struct plain *x);
void plain_put(struct plain_pool *p, struct plain *x);

/* Wipes what nobody is reading at this moment; what somebody is, when he is done. */
void plain_drop(struct plain_pool *p, uint32_t secret, uint32_t version);
void plain_drop_all(struct plain_pool *p);
void plain_drop_idle(struct plain_pool *p, int64_t before_ns);

#endif
