/* Bindings and blocks as rows, for the rest of the store. */
#ifndef COFFER_STORE_GRANTS_INTERNAL_H
#define COFFER_STORE_GRANTS_INTERNAL_H

#include <stdint.h>

#include "policy/principal.h"
#include "store/core/integrity.h"
#include "store/grants/grants.h"

/* The principal as text, if it says what it should when it is read again. 0 or -EINVAL. */
int binding_principal_text(const struct principal *p, char ret_text[PRINCIPAL_TEXT_MAX]);
#define REASON_MAX     1024
#define CREATED_BY_MAX 256

/* Reason, creator and date of a binding or a block, which lie in three columns side by side. The reader's mutex is held
 * and the store unlocked; the caller frees, also on failure. -ENOENT. */
int store_read_info(struct store *s, enum row_kind kind, uint64_t id, int reason, struct store_binding_info *info);
int binding_uses_flush(struct store *s); /* the writer's mutex is held, no transaction open */

#endif
