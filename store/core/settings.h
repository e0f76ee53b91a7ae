/* The vault's settings, as a row. */
#ifndef COFFER_STORE_CORE_SETTINGS_H
#define COFFER_STORE_CORE_SETTINGS_H

#include "store/core/tables.h"

struct store;

/* -EINVAL; -EPERM: purge protection off again, or another retention (fixed when the vault is made). */
int store_settings_put(struct store *s, const struct store_settings *settings);

int settings_insert(struct store *s, const struct store_settings *settings); /* store_create */

#endif
