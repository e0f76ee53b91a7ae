/* How many bytes that are no version yet a neighbour may have in the database (fs/common/shares.h): each open file can
 * have a whole value, and a request a whole set. Counted at their ends, in chunks, by handle, in memory that outlives
 * the worker; so a worker that takes over counts again. */
#ifndef COFFER_FS_SERVE_STAGED_H
#define COFFER_FS_SERVE_STAGED_H

#include "fs/serve/vault.h"

#define STAGED_CHUNK   16384u
#define STAGED_MAX     65536u /* chunks in all: 1 GiB */
#define STAGED_RESERVE 4096u  /* for root */

/* The handle's staged bytes are to reach up to end. 0; -EDQUOT: its neighbour has its share; -ENOMEM. */
int staged_grow(struct vault *v, struct handle *h, uint64_t end);
/* The same of bytes that are no handle's: *staged says what is counted for them. */
int staged_grow_of(struct vault *v, uint32_t *staged, uint64_t neighbour, uint64_t end);
void staged_drop_of(struct vault *v, uint32_t *staged, uint64_t neighbour);
/* The handle has none any more. */
void staged_drop(struct vault *v, struct handle *h);

#endif
