/* What a rotation by hand and one by the clock share: the new version. */
#ifndef COFFER_STORE_OBJECTS_ROTATE_H
#define COFFER_STORE_OBJECTS_ROTATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rotation;
struct store;

/* In the transaction: adds the value as a new version that keeps content type and tags of the current one. It is to
 * live for `expiry` ns (0: as long as the current one was to from its creation, at least EXPIRY_LEAST_NS; without an
 * end if that has none). Errors are store_version_add's. */
int rotate_add(struct store *s, uint32_t id, int64_t expiry, const void *value, size_t len, int64_t now,
	       uint32_t *ret_version);

/* The policy of a name, copied. False: there is none. */
bool rotate_policy(struct store *s, const char *name, struct rotation *ret);

#endif
