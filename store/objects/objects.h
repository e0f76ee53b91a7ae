/* Secrets and their versions. What changes something is called in a transaction. */
#ifndef COFFER_STORE_OBJECTS_OBJECTS_H
#define COFFER_STORE_OBJECTS_OBJECTS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/core/tables.h"

struct secbuf;
struct store;

/* The plaintext of a version into a new buffer: ciphertext from the cache or the database (whose row MAC is checked
 * again), DEK from the locked cache or the key holder. May block on the key holder unless store_version_ready says that
 * it will not. -ENOENT, -ENOKEY, -EBADMSG, -ETIMEDOUT, -ENOMEM, -EIO. Takes the table lock itself. */
int store_version_read(struct store *s, uint32_t secret, uint32_t version, struct secbuf **ret_plain);
/* The same straight into the caller's locked memory, for an answer that takes the whole value; never blocks. -EAGAIN:
 * it would have to (or is not in the cache); -ENOBUFS: longer than room. */
int store_version_read_into(struct store *s, uint32_t secret, uint32_t version, void *ret, size_t room,
			    size_t *ret_len);
bool store_version_ready(struct store *s, uint32_t secret, uint32_t version);

/* What is not in memory. Strings are owned by the struct; free with store_attributes_free. tags_json is one JSON object
 * of strings. */
struct store_attributes {
	char *content_type;
	char *tags_json;
};
int store_version_attributes(struct store *s, uint32_t secret, uint32_t version, struct store_attributes *ret);
void store_attributes_free(struct store_attributes *a);

/* -EEXIST (live or deleted), -EINVAL */
int store_object_create(struct store *s, enum object_kind kind, const char *name, uint32_t *ret_id);
int store_secret_create(struct store *s, const char *name, uint32_t *ret_id);
int store_secret_enable(struct store *s, uint32_t id, bool enabled); /* -ENOENT */
/* Soft delete: all of it stays, under its name, with a date for its purge. Of one that never had a version nothing is
 * kept but the name (catalog_emptied). -ENOENT. */
int store_secret_delete(struct store *s, uint32_t id);
/* For ever, of one that never had a version. -ENOENT: it is not there, or deleted; -ENOTEMPTY: it had one. */
int store_secret_remove(struct store *s, uint32_t id);
int store_secret_recover(struct store *s, uint32_t id); /* -ENOENT: not deleted, or its content is destroyed */
/* For ever: keys and ciphertext are overwritten in the database, and after the commit its log is emptied. -ENOENT: not
 * deleted; -EPERM: purge protection is on, and the time has not come. */
int store_secret_purge(struct store *s, uint32_t id);
/* The scheduled purge: the same but for the name, which stays until the mount has let go of it (store_secret_purge).
 * -EAGAIN: the time has not come. */
int store_secret_empty(struct store *s, uint32_t id);

struct version_attributes {
	const char *content_type; /* NULL: none; at most 255 bytes */
	/* NULL: none; a JSON object of at most 15 strings, name and value at most 512 bytes each */
	const char *tags_json;
	int64_t not_before, expires; /* ns, INT64_MIN / INT64_MAX: none */
};
/* A new version with this value. -EFBIG, -EINVAL (attributes), -ENOENT, -ENOKEY, -ETIMEDOUT, -EIO. */
int store_version_add(struct store *s, uint32_t id, const void *value, size_t len, const struct version_attributes *a,
		      uint32_t *ret_version);
int store_version_enable(struct store *s, uint32_t id, uint32_t version, bool enabled);
/* Its content, for ever; the version stays known as destroyed. -ENOENT (no such version, or destroyed already); -EPERM:
 * purge protection is on. */
int store_version_destroy(struct store *s, uint32_t id, uint32_t version);
int store_version_set_attributes(struct store *s, uint32_t id, uint32_t version, const struct version_attributes *a);

#endif
