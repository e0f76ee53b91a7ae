/* The table of secrets in memory: by name, by id, in order of id.
 *
 * Not locked by itself: the store's table lock guards it; making entries (catalog_entry_new) needs the writer's mutex
 * only, because no reader sees them until catalog_put. An entry with up to one version is one block of about 120 bytes.
 */
#ifndef COFFER_STORE_CORE_CATALOG_H
#define COFFER_STORE_CORE_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/core/tables.h"

#define OBJECT_ID_MAX ((1u << 28) - 1) /* inode numbers have 28 bits for it */

struct catalog;
struct catalog_entry;

int catalog_new(struct catalog **ret_catalog);
void catalog_free(struct catalog *c); /* accepts NULL */

/* An entry with room for n_versions, that belongs to nobody yet: fill in what catalog_entry_secret gives (name,
 * n_versions and versions are set) and the versions. NULL: no memory. */
struct catalog_entry *catalog_entry_new(struct catalog *c, const char *name, uint32_t n_versions);
void catalog_entry_free(struct catalog *c, struct catalog_entry *e); /* accepts NULL */
struct catalog_secret *catalog_entry_secret(struct catalog_entry *e);
struct catalog_version *catalog_entry_versions(struct catalog_entry *e);

/* Makes room for an entry with this id and `more` entries in all, so that as many puts cannot fail. 0 or -ENOMEM. */
int catalog_reserve(struct catalog *c, size_t more, uint32_t id);
/* Puts e in the place of what has its id; takes it over. */
void catalog_put(struct catalog *c, struct catalog_entry *e);
void catalog_remove(struct catalog *c, uint32_t id); /* accepts an id that is not there */

const struct catalog_secret *catalog_find(const struct catalog *c, const char *name);
const struct catalog_secret *catalog_get(const struct catalog *c, uint32_t id);
const struct catalog_secret *catalog_next(const struct catalog *c, uint32_t after, bool deleted);
void catalog_counts(const struct catalog *c, struct store_counts *ret); /* secrets, deleted, versions */

#endif
