/* STORE/vault.conf: what the keeper and the key holder must know before any database is opened. Text, "key = value"
 * lines, root's, 0644, no secrets. Everything that policy depends on lies in the database, under MACs; what stands here
 * is checked against it at unlock. */
#ifndef COFFER_STORE_KEYS_VAULTCONF_H
#define COFFER_STORE_KEYS_VAULTCONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/keys/kek.h"
#include "store/keys/wrap.h"

#define VAULT_NAME_MAX         64   /* bytes with the NUL; [a-z0-9][a-z0-9-]* */
#define VAULTCONF_MAX          8192 /* bytes of the file */
/* Bytes of a store's path: its mount's source is "coffer:" and the path, and the kernel takes no longer source than 255
 * bytes. */
#define STORE_PATH_MAX         248
/* What is not mounted may have a longer one: as long as SQLite takes for its files below it. */
#define STORE_PATH_OFFLINE_MAX 480

struct vaultconf {
	char name[VAULT_NAME_MAX];
	uint8_t id[16];
	char kek[KEK_URI_MAX];
	char kek_params[KEK_PARAMS_MAX];
	uint8_t vault_record[WRAP_RECORD_MAX]; /* the vault key, wrapped */
	size_t vault_record_len;
};

/* dir_fd is the store's directory. Read: 0, -ENOENT (not a store), -EINVAL (damaged), -EPROTONOSUPPORT (newer format),
 * -EACCES (writable by others, or of another user than root and our own), -EIO; one line in why. Write: atomically
 * (rename), 0644; 0, -EINVAL (it could not be read back), or what the disk said. */
int vaultconf_read(int dir_fd, struct vaultconf *ret_conf, char *why, size_t why_len);
int vaultconf_write(int dir_fd, const struct vaultconf *conf);

/* The text alone. Print: the length, or -EINVAL. */
int vaultconf_parse(const char *text, size_t len, struct vaultconf *ret_conf, char *why, size_t why_len);
int vaultconf_print(const struct vaultconf *conf, char ret_text[VAULTCONF_MAX]);
bool vault_name_valid(const char *name);
/* Can it stand in vault.conf: UTF-8 without control characters? */
bool kek_uri_valid(const char *uri);

#endif
