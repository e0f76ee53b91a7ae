/* Backups: a vault, or some of its secrets, as one encrypted, signed stream; and its way back into a vault. The stream's format is described in contrib/doc/BACKUP-FORMAT.md and
 * before its codec (backup_format.c).
 *
 * No plaintext of a value passes: ciphertexts go as they are, their keys from under the KEK to under the backup's file key within the key holder (transport.h).
 *
 * Errors: negative errno as in store.h; -EBADMSG: not what was written (damaged, cut short, forged), -EPROTONOSUPPORT: of a newer format, -EKEYREJECTED: signed by
 * another vault, or sealed for another key. */
#ifndef COFFER_STORE_BACKUP_H
#define COFFER_STORE_BACKUP_H

#include "store/curve.h"
#include "store/store.h"

#define RECIPIENT_NAME_MAX 64	/* with the NUL; as a vault's name */
#define RECIPIENTS_MAX     64
#define BACKUP_SALT_LEN    16
#define BACKUP_LN          17	/* scrypt: N = 2^17, r = 8, p = 1 */
#define BACKUP_LN_MIN      15
#define BACKUP_LN_MAX      19

/* ---- the vault's signing key, recovery recipients, drills ---- */

/* The fingerprint of a signing key: SHA-256 of its 32 bytes. 0 or -EIO. */
int signer_fingerprint(const uint8_t public[CURVE_LEN], uint8_t ret[DIGEST_LEN]);
/* -ENOENT: a vault that an older coffer made, and that has made no backup yet. -ENOKEY while sealed. */
int store_signer(struct store *s, uint8_t ret_public[CURVE_LEN]);
/* Makes the key if there is none, in a transaction of its own. */
int store_signer_ensure(struct store *s);

struct recipient {
	char name[RECIPIENT_NAME_MAX];
	uint8_t key[CURVE_LEN];		/* X25519, public */
	int64_t created;
	char created_by[256];
};
/* In a transaction. -EEXIST; -EINVAL: a name that is none; -ENOSPC: RECIPIENTS_MAX. -ENOENT. */
int store_recipient_add(struct store *s, const char *name, const uint8_t key[CURVE_LEN], const char *created_by);
int store_recipient_remove(struct store *s, const char *name);
int store_recipient_find(struct store *s, const char *name, struct recipient *ret);	/* -ENOENT */
int store_recipients(struct store *s, struct recipient **ret_list, size_t *ret_n);	/* by name; free it */

struct drill { int64_t at, backup_created; uint64_t secrets, versions; };
int store_drill_put(struct store *s, const struct drill *d);	/* in a transaction */
int store_drill(struct store *s, struct drill *ret);		/* the last good one; -ENOENT */

/* ---- what a stream says of itself in the clear ---- */

enum backup_recipient_kind { BACKUP_TO_KEY = 1, BACKUP_TO_PASSPHRASE = 2 };

struct backup_recipient {
	enum backup_recipient_kind kind;
	char name[RECIPIENT_NAME_MAX];		/* of a registered one; else empty */
	uint8_t key[CURVE_LEN];
	uint8_t salt[BACKUP_SALT_LEN];		/* passphrase: the private key is scrypt(passphrase, salt), 32 bytes */
	uint8_t ln;
};

struct backup_header {
	uint32_t format;			/* of one that is read */
	uint8_t vault[16];
	char vault_name[VAULT_NAME_MAX];
	uint64_t epoch;
	int64_t created;			/* ns */
	uint8_t kek[KEK_ID_LEN];		/* the KEK that the vault had */
	uint8_t signer[CURVE_LEN];
	bool all;				/* the whole vault, not some secrets */
	struct backup_recipient recipient;
	uint8_t box[BOX_LEN];			/* the file key */
};

struct backup_counts { uint64_t secrets, versions, roles, bindings, blocks, recipients, settings, rotations, hooks, notices, histories; };

/* ---- writing ---- */

struct backup_scope {
	bool all;
	const uint32_t *ids;		/* of the secrets, ascending; not with all */
	size_t n;
	bool judged;			/* nothing goes into the stream that no judge was asked about */
};

/* A secret (version 0), or a version of it that has content. */
struct backup_piece {
	const struct backup_header *header;
	const char *name;
	uint32_t secret, version;
	const char *why;		/* of what is left out, by the judge: "is disabled"; static */
};
/* Whoever hands a stream out says what goes into it, and records it: 1: it goes in; 0: it is left out (of a version its number and date remain, as of one that was destroyed); negative errno: the backup ends. */
struct backup_judge { int (*decide)(void *arg, struct backup_piece *piece); void *arg; };

#define BACKUP_LEFT_MAX 1000		/* are listed; more are counted */
struct backup_left { char name[NAME_LEN_MAX + 1]; uint32_t version; const char *why; };

struct backup;
/* Takes a snapshot, which does not move while the vault is written to, and which keeps SQLite's log from being reused: read on, and close soon. */
int backup_open(struct store *s, const struct backup_scope *scope, const struct backup_recipient *recipient, struct backup **ret_backup);
/* The next bytes; *ret_len 0: that was all. -EBADMSG: the vault itself is damaged. Blocks on the key holder and the disk. One thread at a time. */
int backup_read(struct backup *b, void *ret, size_t room, size_t *ret_len);
void backup_counts(const struct backup *b, struct backup_counts *ret_counts);	/* so far */
/* For the reads that follow; borrowed. NULL: none. */
void backup_set_judge(struct backup *b, const struct backup_judge *judge);
/* What was left out so far, and how much more than is listed; borrowed. */
const struct backup_left *backup_left(const struct backup *b, size_t *ret_n, uint64_t *ret_more);
const struct backup_header *backup_header_of(const struct backup *b);
void backup_close(struct backup *b);	/* accepts NULL */

/* ---- reading: from anything that can be read at an offset ---- */

struct backup_source {
	/* As much as there is, up to len: 0 and *ret_len (0: the end), or negative errno. */
	int (*read)(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len);
	void *arg;
};

/* The header alone, from the beginning of a stream. Proves nothing. */
#define BACKUP_HEADER_MAX 512
int backup_header_parse(const uint8_t *data, size_t len, struct backup_header *ret_header, size_t *ret_header_len, char *why, size_t why_len);
/* Reads all of it: it is whole, and signed by the key whose fingerprint is signer (NULL: by the one that it names itself). Needs no key of the recipient's. */
int backup_verify(const struct backup_source *source, const uint8_t *signer, struct backup_header *ret_header, uint64_t *ret_size, char *why, size_t why_len);

/* ---- restoring ---- */

enum restore_existing {
	RESTORE_REFUSE = 0,	/* a name that is there (live or deleted) ends the restore */
	RESTORE_SKIP,		/* … is left as it is */
	RESTORE_APPEND,		/* … gets the backup's versions as new ones, after its own */
};

struct restore_counts {
	uint64_t secrets, versions;	/* made anew */
	uint64_t deleted;		/* of these secrets: soft-deleted ones */
	uint64_t appended, skipped;	/* secrets that were there */
	uint64_t deleted_here;		/* of the skipped ones: those that are deleted here, and keep their names; the first of them: */
	char deleted_name[NAME_LEN_MAX + 1];
	uint64_t roles, bindings, blocks, recipients, rotations, hooks, histories;
	bool settings;			/* or the near-expiry days */
};

/* What is about to be made; names are borrowed. */
struct restore_item {
	enum { RESTORE_ITEM_SECRET = 1, RESTORE_ITEM_ROLE, RESTORE_ITEM_BINDING, RESTORE_ITEM_BLOCK, RESTORE_ITEM_RECIPIENT, RESTORE_ITEM_SETTINGS,
	       RESTORE_ITEM_ROTATION, RESTORE_ITEM_HOOK, RESTORE_ITEM_HISTORY } kind;
	const char *name;		/* of a policy, a hook or a history rule: its scope */
	const char *command;		/* that a policy or a hook runs, as user; NULL: none */
	uint32_t user;
	uint8_t object_kind;
	bool appends;			/* to a name that is there: what readers of it get is another value from then on */
	const struct binding *binding;
	action_set actions;		/* of the role, or of the binding's role */
};

struct restore_options {
	const uint8_t *box;		/* BOX_LEN bytes: the file key, sealed for the key holder (keys_restore_key) */
	const uint8_t *signer;		/* DIGEST_LEN bytes: the fingerprint that the backup must be signed by */
	enum restore_existing existing;
	bool grants;			/* roles, bindings, blocks, recipients, settings, rotation policies, hooks and history rules too */
	/* May this be made? 0, or the negative errno to end with. NULL: everything. */
	int (*ask)(const struct restore_item *item, void *arg);
	void (*progress)(uint64_t done, uint64_t size, void *arg);	/* bytes; may be NULL */
	void *arg;
};

/* In a transaction: verifies the signature over the whole stream, and only then puts its content in. On any error nothing may be committed. -EEXIST: a name is taken. */
int store_restore(struct store *s, const struct backup_source *source, const struct restore_options *options, struct backup_header *ret_header,
		  struct restore_counts *ret_counts, char *why, size_t why_len);

/* ---- pieces of a stream that is handed in, until the restore: each call a transaction of its own (synchronous=NORMAL) ---- */

#define RESTORE_ID_LEN     16
#define RESTORE_PIECE_MAX  (1u << 20)
#define RESTORE_PIECE_MIN  4096u	/* but for the last one */
#define RESTORE_LIFE_S     3600	/* after its last piece a restore that was left alone is thrown away */
#define RESTORES_MAX       8	/* under way at one time */
#define RESTORES_RESERVE   2	/* of them for administrators */
#define RESTORES_PER_UID   2
/* What is carried out writes its pieces' bytes twice more, into the database and its log: all pieces together may take this part of what is free. Of that one uid may have half, and all but
 * administrators leave an eighth. */
#define RESTORES_DISK_PART 4u

struct restore_owner { uint32_t uid; bool administrator; };
/* The same piece at the same place may come again. -EBUSY: too many are under way, of this uid or in all; -EDQUOT: their pieces take too much of the disk; -EINVAL: not where the last one ended;
 * -ENOENT: they are somebody else's. */
int store_restore_put(struct store *s, const uint8_t id[RESTORE_ID_LEN], const struct restore_owner *owner, uint64_t at, const void *data, size_t len);
int store_restore_drop(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid);
/* In a transaction: they go with it. */
int store_restore_done(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid);

struct restore_pieces { struct store *store; uint8_t id[RESTORE_ID_LEN]; uint32_t uid; };
/* A source for store_restore, within its transaction; pieces is borrowed. */
struct backup_source restore_pieces_source(struct restore_pieces *pieces);

#endif
