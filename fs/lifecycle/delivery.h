/* Events to hooks. */
#ifndef COFFER_FS_LIFECYCLE_DELIVERY_H
#define COFFER_FS_LIFECYCLE_DELIVERY_H

#include "fs/lifecycle/programs.h"
#include "fs/serve/vault.h"

struct delivery;
int delivery_new(struct vault *v, struct programs *programs, struct delivery **ret_delivery);
void delivery_free(struct delivery *d); /* accepts NULL */

/* Rules may have changed: hooks are read again. 0 or negative errno: try again later. */
int delivery_reload(struct delivery *d);
/* Looks at new events, takes results, starts what is due. *ret_wait_ms: until something is due; -1: nothing is. */
void delivery_step(struct delivery *d, int *ret_wait_ms);

#endif
