/* Since when `current` is as it is. */
#ifndef COFFER_STORE_CORE_SERVED_H
#define COFFER_STORE_CORE_SERVED_H

#include <stdint.h>

#include "store/core/tables.h"

struct store;

/* Since when `current` is as it is at `now`: the newest version was made, another one or a state took its place, or its
 * times came. Later than before whenever it serves something else, also within one tick of the clock and when the clock
 * was set back. */
int64_t store_served_since(const struct store_settings *settings, const struct catalog_secret *c, int64_t now);

/* Writes down since when what the open transaction changed serves something else. */
int served_mark(struct store *s);

#endif
