/* Versions as rows, for the rest of the store. */
#ifndef COFFER_STORE_OBJECTS_VERSIONS_H
#define COFFER_STORE_OBJECTS_VERSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/keys/wrap.h"

struct db;
struct query;
struct secbuf;
struct store;

/* Of the version on whose row q stands. */
bool version_destroyed(const struct query *q);
/* Key and ciphertext of a version, whose row stays, or goes too. */
int version_erase(struct store *s, int64_t id, bool row_too);

/* What belongs to the version on whose row q stands: its key's record, and its envelope (malloc'd), which must have the
 * hash that the row names. 0 or -EBADMSG. */
int version_fetch(struct db *db, const struct query *q, uint8_t **ret_envelope, size_t *ret_len,
		  uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_record_len);

/* Does a hook wait for new values of the secret, and is what it serves that long? Only then version_same is worth its
 * while. */
bool version_watched(struct store *s, uint32_t id, size_t len);
/* Has a version that this transaction made the value that current serves before it? Doubt means no. */
bool version_same(struct store *s, uint32_t id, uint32_t version);
/* The same of a value that is not stored yet; false also where nobody waits. */
bool version_value_same(struct store *s, uint32_t id, const void *value, size_t len);
/* The plaintext of a version that this transaction made. As store_version_read. */
int version_read_new(struct store *s, uint32_t secret, uint32_t version, struct secbuf **ret_plain);

/* The number under which a KEK stands in the table. */
int kek_row(struct store *s, const uint8_t kek[KEK_ID_LEN], int64_t *ret_id);
bool content_type_valid(const char *text);
/* Checks tags and writes them in one canonical form, sorted; malloc'd. -EINVAL. */
int tags_parse(const char *json, char **ret_canonical);

#endif
