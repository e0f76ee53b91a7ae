/* Parts of opening a store, for those who make, check or test one. */
#ifndef COFFER_STORE_OPENING_H
#define COFFER_STORE_OPENING_H
#include <stddef.h>

struct keys;
struct row_keys;
struct schema;
struct store;
struct store_config;
struct vaultconf;

int store_open_schema(const struct store_config *config, const struct schema *schema, struct store **ret_store,
		      char *why, size_t why_len);

/* A store without its database yet; sealed. */
int store_new(const char *dir, const struct vaultconf *conf, const struct schema *schema, size_t cipher_cache,
	      struct store **ret_store);
/* Unwraps the vault key and derives; ret_keys is locked memory of the caller's. */
int store_derive_row_keys(struct store *s, struct keys *keys, struct row_keys **ret_keys);

#endif
