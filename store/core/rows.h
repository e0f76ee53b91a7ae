/* What may stand in a row, and reading it: from a query of row_table. 0 or -EBADMSG for values that cannot be. Strings
 * are borrowed from the row. */
#ifndef COFFER_STORE_CORE_ROWS_H
#define COFFER_STORE_CORE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/core/integrity.h"
#include "store/core/tables.h"

struct binding;
struct block;
struct clock_row;
struct history;
struct hook;
struct policy_change;
struct role;
struct rotation;

/* Rows as tables in memory have them, from a query of row_table: 0 or -EBADMSG for values that cannot be. Strings are
 * borrowed from the row. */
int object_parse(const struct query *q, struct catalog_secret *ret_secret, int64_t *ret_last_version);
int version_parse(const struct query *q, struct catalog_version *ret_version);
int binding_parse(const struct query *q, struct binding *ret_binding);
int block_parse(const struct query *q, struct block *ret_block);
int role_parse(const struct query *q, struct role *ret_role);
/* A row of roles, bindings or blocks as the change that makes it. */
int grant_parse(enum row_kind kind, const struct query *q, struct policy_change *ret_change);
int settings_parse(const struct query *q, const uint8_t vault[16], const char *name,
		   struct store_settings *ret_settings);
uint32_t versions_current(const struct catalog_version *versions, uint32_t n);

int clock_parse(const struct query *q, struct clock_row *ret_row);
bool rotation_valid(const struct rotation *p);
bool hook_valid(const struct hook *h);
int rotation_parse(const struct query *q, struct rotation *ret);
int hook_parse(const struct query *q, struct hook *ret);
int notice_parse(const struct query *q, uint32_t *ret_near_days);
/* A column's text, or number, where it fits. */
bool rule_take_text(const struct query *q, int i, char *ret, size_t room);
bool rule_take_u32(const struct query *q, int i, uint32_t *ret);

bool history_valid(const struct history *h);
int history_parse(const struct query *q, struct history *ret);

#endif
