/* What the active worker does by itself: raises NearExpiry and Expired, rotates what is due, and runs hooks. One
 * thread, which may wait for the store and the key holder, but for no program. */
#ifndef COFFER_FS_LIFECYCLE_LIFECYCLE_H
#define COFFER_FS_LIFECYCLE_LIFECYCLE_H

#include "fs/serve/vault.h"

struct lifecycle;
/* Starts the thread; sets v->lifecycle_wake. 0 or negative errno. */
int lifecycle_start(struct vault *v, int runner_fd, struct lifecycle **ret_lifecycle);
/* Ends the thread; whoever waits for a program gets -ECANCELED, now and from now on. Programs go on; the next worker
 * asks for the results of hooks again. Both accept NULL. */
void lifecycle_stop(struct lifecycle *l);
void lifecycle_free(struct lifecycle *l); /* when nobody can ask any more */

/* For ctl_env. */
int lifecycle_default_user(struct lifecycle *l, uint32_t *ret_user, char *why, size_t why_len);
int lifecycle_check(struct lifecycle *l, const char *command, uint32_t user, char *why, size_t why_len);
int lifecycle_value(struct lifecycle *l, const struct rotation *rotation, const char *name, uint64_t unique,
		    struct secbuf **ret_value, char *why, size_t why_len);

#endif
