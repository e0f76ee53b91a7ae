/* Room on the disk that is kept for administrators: a file of zeros beside the database, given back in part while there
 * is no other.
 *
 * A full disk must not keep anybody from revoking a right, nor a worker from starting (SQLite writes its shared index
 * anew). Before either, a step of the file is cut off; after it, what was not used is taken again at once, and the rest
 * when there is room. Where the file system cannot allocate ahead, there is no reserve. Callers hold the writer's
 * mutex. */
#ifndef COFFER_STORE_CORE_RESERVE_H
#define COFFER_STORE_CORE_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#define RESERVE_BYTES  (4u << 20)
#define RESERVE_STEP   (256u << 10) /* more than an administrator's change writes */
#define RESERVE_MARGIN (1u << 20)   /* is left to others while the reserve grows */

struct reserve {
	int fd; /* -1: none */
	bool lent;
};

/* path: the database's; the file is <path>-reserve. create: the daemon's, which fills it; others only borrow from it.
 */
void reserve_open(const char *path, bool create, struct reserve *ret_reserve);
void reserve_close(struct reserve *r);
/* Gives back a step if less than that is free. */
void reserve_lend(struct reserve *r);
/* Takes again what is left of it. */
void reserve_return(struct reserve *r);
/* Grows while there is room for others too; cheap when it has all. */
void reserve_fill(struct reserve *r);
/* Bytes that are free on the disk beside it; 0 also if nobody knows. */
uint64_t reserve_free_bytes(const struct reserve *r);

#endif
