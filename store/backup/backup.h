/* Backups: a vault, or some of its secrets, as one encrypted, signed stream; and its way back into a vault. The
 * stream's format is described in contrib/doc/BACKUP-FORMAT.md and before its codec (backup/format.c).
 *
 * No plaintext of a value passes: ciphertexts go as they are, their keys from under the KEK to under the backup's file
 * key within the key holder (transport.h).
 *
 * Errors: negative errno as in store.h; -EBADMSG: not what was written (damaged, cut short, forged), -EPROTONOSUPPORT:
 * of a newer format, -EKEYREJECTED: signed by another vault, or sealed for another key. */
#ifndef COFFER_STORE_BACKUP_BACKUP_H
#define COFFER_STORE_BACKUP_BACKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/scope.h"
#include "store/backup/recipients.h"
#include "store/crypto/curve.h"
#include "store/keys/vaultconf.h"

struct store;

#define BACKUP_SALT_LEN 16
#define BACKUP_LN       17 /* scrypt: N = 2^17, r = 8, p = 1 */
#define BACKUP_LN_MIN   15
#define BACKUP_LN_MAX   19

enum backup_recipient_kind { BACKUP_TO_KEY = 1, BACKUP_TO_PASSPHRASE = 2 };

struct backup_recipient {
	enum backup_recipient_kind kind;
	char name[RECIPIENT_NAME_MAX]; /* of a registered one; else empty */
	uint8_t key[CURVE_LEN];
	uint8_t salt[BACKUP_SALT_LEN]; /* passphrase: the private key is scrypt(passphrase, salt), 32 bytes */
	uint8_t ln;
};

struct backup_header {
	uint32_t format; /* of one that is read */
	uint8_t vault[16];
	char vault_name[VAULT_NAME_MAX];
	uint64_t epoch;
	int64_t created;         /* ns */
	uint8_t kek[KEK_ID_LEN]; /* the KEK that the vault had */
	uint8_t signer[CURVE_LEN];
	bool all; /* the whole vault, not some secrets */
	struct backup_recipient recipient;
	uint8_t box[BOX_LEN]; /* the file key */
};

struct backup_counts {
	uint64_t secrets, versions, roles, bindings, blocks, recipients, settings, rotations, hooks, notices, histories;
};

struct backup_scope {
	bool all;
	const uint32_t *ids; /* of the secrets, ascending; not with all */
	size_t n;
	bool judged; /* nothing goes into the stream that no judge was asked about */
};

/* A secret (version 0), or a version of it that has content. */
struct backup_piece {
	const struct backup_header *header;
	const char *name;
	uint32_t secret, version;
	const char *why; /* of what is left out, by the judge: "is disabled"; static */
};
/* Whoever hands a stream out says what goes into it, and records it: 1: it goes in; 0: it is left out (of a version its
 * number and date remain, as of one that was destroyed); negative errno: the backup ends. */
struct backup_judge {
	int (*decide)(void *arg, struct backup_piece *piece);
	void *arg;
};

#define BACKUP_LEFT_MAX 1000 /* are listed; more are counted */
struct backup_left {
	char name[NAME_LEN_MAX + 1];
	uint32_t version;
	const char *why;
};

struct backup;
/* Takes a snapshot, which does not move while the vault is written to, and which keeps SQLite's log from being reused:
 * read on, and close soon. */
int backup_open(struct store *s, const struct backup_scope *scope, const struct backup_recipient *recipient,
		struct backup **ret_backup);
/* The next bytes; *ret_len 0: that was all. -EBADMSG: the vault itself is damaged. Blocks on the key holder and the
 * disk. One thread at a time. */
int backup_read(struct backup *b, void *ret, size_t room, size_t *ret_len);
void backup_counts(const struct backup *b, struct backup_counts *ret_counts); /* so far */
/* For the reads that follow; borrowed. NULL: none. */
void backup_set_judge(struct backup *b, const struct backup_judge *judge);
/* What was left out so far, and how much more than is listed; borrowed. */
const struct backup_left *backup_left(const struct backup *b, size_t *ret_n, uint64_t *ret_more);
const struct backup_header *backup_header_of(const struct backup *b);
void backup_close(struct backup *b); /* accepts NULL */

struct backup_source {
	/* As much as there is, up to len: 0 and *ret_len (0: the end), or negative errno. */
	int (*read)(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len);
	void *arg;
};

/* The header alone, from the beginning of a stream. Proves nothing. */
#define BACKUP_HEADER_MAX 512
int backup_header_parse(const uint8_t *data, size_t len, struct backup_header *ret_header, size_t *ret_header_len,
			char *why, size_t why_len);
/* Reads all of it: it is whole, and signed by the key whose fingerprint is signer (NULL: by the one that it names
 * itself). Needs no key of the recipient's. */
int backup_verify(const struct backup_source *source, const uint8_t *signer, struct backup_header *ret_header,
		  uint64_t *ret_size, char *why, size_t why_len);

#endif
