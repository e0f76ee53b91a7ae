/* Plaintext of versions, held once for all open handles, in locked memory, and no longer than it is needed: wiped on
 * revocation, on seal, after a short idle time, and PLAIN_LINGER_MS after the last reader closed. That time is there
 * for a value that is opened and closed again and again: decrypting 64 KiB each time would cost as much as all the rest
 * of the cycle. What is read once is not held at all (see plain_hot). */
#ifndef COFFER_FS_SERVE_PLAIN_H
#define COFFER_FS_SERVE_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct secbuf;
struct store;

#define PLAIN_LINGER_MS 20

struct plain_pool;
struct plain; /* one version's plaintext, referenced */

/* wake_fd: an eventfd that is written when the first value comes into an empty pool: from then on plain_expire is to be
 * called every few ms, until it says that nothing is left. Borrowed. */
int plain_pool_new(size_t cap, int wake_fd, struct plain_pool **ret_pool);
void plain_pool_free(struct plain_pool *p);

/* Without blocking: from the pool, else NULL. */
struct plain *plain_get(struct plain_pool *p, uint32_t secret, uint32_t version);
/* Decrypted now, where plain_get found nothing (and from the pool, where another thread was faster). Errors of
 * store_version_read; -ENOMEM when even eviction gave no room. */
int plain_load(struct plain_pool *p, struct store *s, uint32_t secret, uint32_t version, struct plain **ret_plain);
const struct secbuf *plain_buf(const struct plain *x);
void plain_put(struct plain_pool *p, struct plain *x);

/* Wipes what nobody is reading at this moment; what somebody is, when he is done. */
void plain_drop_all(struct plain_pool *p);

/* Was this version read a moment ago already? Notes that it is read now. */
bool plain_hot(struct plain_pool *p, uint32_t secret, uint32_t version);
/* Nobody has it open any more. */
void plain_linger(struct plain_pool *p, uint32_t secret, uint32_t version);
/* Wipes what has lingered long enough, and what nobody has read for idle_ms though somebody has it open. Returns
 * whether anything is left. */
bool plain_expire(struct plain_pool *p, int idle_ms);

#endif
