/* Roles, bindings and blocks, as rows. */
#ifndef COFFER_STORE_GRANTS_GRANTS_H
#define COFFER_STORE_GRANTS_GRANTS_H

#include <stdint.h>

#include "policy/action.h"

struct binding;
struct principal;
struct store;

void store_binding_used(struct store *s, uint64_t binding, int64_t now); /* in memory, lock-free */

struct store_binding_info {
	char *reason;
	char *created_by;
	int64_t created;
	int64_t last_used; /* 0: never */
};
int store_binding_info(struct store *s, uint64_t binding, struct store_binding_info *ret);
void store_binding_info_free(struct store_binding_info *i);

/* The same of a block; last_used is 0. */
int store_block_info(struct store *s, uint64_t block, struct store_binding_info *ret);

int store_role_put(struct store *s, const char *name, action_set actions, uint32_t *ret_id); /* -EEXIST */
int store_binding_add(struct store *s, const struct binding *b /* id ignored */, const char *reason,
		      const char *created_by, uint64_t *ret_id);
int store_binding_remove(struct store *s, uint64_t id); /* -ENOENT; -EBUSY: the last administrator */
/* Denies the principal everything. -EINVAL (a principal with host, a text that is too long); -EEXIST: it is blocked
 * already; -EBUSY: no administrator would be left. */
int store_block_add(struct store *s, const struct principal *principal, const char *reason, const char *created_by,
		    uint64_t *ret_id);
int store_block_remove(struct store *s, uint64_t id); /* -ENOENT */

#endif
