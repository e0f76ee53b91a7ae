/* What the commands about backups share: the keys that open one, and files as sources. */
#ifndef COFFER_FS_CLI_COMMANDS_BACKUP_H
#define COFFER_FS_CLI_COMMANDS_BACKUP_H

#include "fs/cli/common/cli.h"
#include "store/backup/backup.h"

#define KEY_FILE_MAX 8192

/* Locked memory and algorithms. EXIT_DONE or with the error printed. */
int backup_prepare(void);

/* The file key of a backup, by --key or --passphrase-file: opened (while there is still the right to) by
 * backup_key_open, used by backup_key_use. */
struct backup_key {
	int fd;
	bool passphrase;
	const char *path;
};
int backup_key_open(const struct args *a, struct backup_key *ret_key);
int backup_key_use(const struct backup_key *key, const struct backup_header *header, uint8_t ret_file_key[KEY_LEN]);
void backup_key_close(struct backup_key *key);

/* X25519 private key of a passphrase. */
int backup_passphrase_key(int fd, const char *path, const uint8_t salt[BACKUP_SALT_LEN], unsigned ln,
			  uint8_t ret_private[CURVE_LEN]);
/* A PEM file with a public key. */
int backup_public_key(const char *path, uint8_t ret_key[CURVE_LEN]);

/* --signer: 64 hex digits. */
int backup_signer(const char *text, uint8_t ret_fingerprint[DIGEST_LEN]);
void backup_hex(const uint8_t *bytes, size_t n, char *ret); /* 2 * n + 1 bytes */

/* A descriptor that can be read at any place: fd itself, or a copy of what comes out of it, in a file without a name.
 */
int backup_seekable(int fd, int *ret_fd);
/* A backup by name. EXIT_DONE or with the error printed. */
int backup_file_open(const char *path, int *ret_fd);
struct backup_source backup_file_source(int *fd);
/* Its header. EXIT_DONE or with the error printed. */
int backup_read_header(int fd, struct backup_header *ret_header);

/* Counts while they grow, on a terminal alone. end: the line is done with. */
void backup_progress(const char *what, uint64_t n, bool end);

#endif
