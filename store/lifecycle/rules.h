/* Changing rotation policies and hooks: member rows, like bindings. In a transaction. */
#ifndef COFFER_STORE_LIFECYCLE_RULES_H
#define COFFER_STORE_LIFECYCLE_RULES_H

#include <stdint.h>

#include "store/core/integrity.h"

struct hook;
struct rotation;
struct store;

/* Around a change of a table of rules: -E2BIG (RULES_MAX), by a query that counts its rows; the row that was just
 * inserted; a row that goes (-ENOENT). */
int rules_room(struct store *s, const char *count);
int rule_inserted(struct store *s, enum row_kind kind, uint64_t *ret_id);
int rule_remove(struct store *s, enum row_kind kind, const char *sql, uint64_t id);

/* Puts a policy in the place of the one with its scope, if there is one. -EINVAL, -E2BIG (RULES_MAX). */
int store_rotation_put(struct store *s, const struct rotation *rotation /* id and created ignored */, uint64_t *ret_id);
int store_rotation_remove(struct store *s, uint64_t id); /* -ENOENT */
int store_hook_add(struct store *s, const struct hook *hook /* likewise */, uint64_t *ret_id);
int store_hook_remove(struct store *s, uint64_t id);

int store_near_expiry_put(struct store *s, uint32_t days); /* 1..NEAR_EXPIRY_DAYS_MAX, else -EINVAL */

#endif
