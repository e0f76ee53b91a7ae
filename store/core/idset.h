/* A set of ids in bounded memory, for what is told to others: it may come to hold ids that were never added, and always
 * holds those that were. */
#ifndef COFFER_STORE_CORE_IDSET_H
#define COFFER_STORE_CORE_IDSET_H

#include <stdint.h>

#define IDSET_RANGES 4096u /* 32 KiB; beyond, the gap beside a new id is taken in too */

struct idset;
struct idset *idset_new(void);    /* NULL: no memory */
void idset_free(struct idset *s); /* accepts NULL */
/* The ids from first to last, none of them 0. 0 or -ENOMEM. */
int idset_add(struct idset *s, uint32_t first, uint32_t last);
/* The same of one id; *s is made where it is NULL. */
int idset_put(struct idset **s, uint32_t id);
/* The least id in it that is greater; 0: there is none. NULL is an empty set. */
uint32_t idset_next(const struct idset *s, uint32_t after);

#endif
