/* A backup's way back into a vault. Errors: see backup/backup.h. */
#ifndef COFFER_STORE_BACKUP_RESTORE_H
#define COFFER_STORE_BACKUP_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/action.h"
#include "policy/scope.h"

struct backup_header;
struct backup_source;
struct binding;
struct store;

enum restore_existing {
	RESTORE_REFUSE = 0, /* a name that is there (live or deleted) ends the restore */
	RESTORE_SKIP,       /* … is left as it is */
	RESTORE_APPEND,     /* … gets the backup's versions as new ones, after its own */
};

struct restore_counts {
	uint64_t secrets, versions; /* made anew */
	uint64_t deleted;           /* of these secrets: soft-deleted ones */
	uint64_t appended, skipped; /* secrets that were there */
	/* of the skipped ones: those that are deleted here, and keep their names; the first of them: */
	uint64_t deleted_here;
	char deleted_name[NAME_LEN_MAX + 1];
	uint64_t roles, bindings, blocks, recipients, rotations, hooks, histories;
	bool settings; /* or the near-expiry days */
};

/* What is about to be made; names are borrowed. */
struct restore_item {
	enum {
		RESTORE_ITEM_SECRET = 1,
		RESTORE_ITEM_ROLE,
		RESTORE_ITEM_BINDING,
		RESTORE_ITEM_BLOCK,
		RESTORE_ITEM_RECIPIENT,
		RESTORE_ITEM_SETTINGS,
		RESTORE_ITEM_ROTATION,
		RESTORE_ITEM_HOOK,
		RESTORE_ITEM_HISTORY
	} kind;
	const char *name;    /* of a policy, a hook or a history rule: its scope */
	const char *command; /* that a policy or a hook runs, as user; NULL: none */
	uint32_t user;
	uint8_t object_kind;
	/* to a name that is there: what readers of it get is another value from then on */
	bool appends;
	const struct binding *binding;
	action_set actions; /* of the role, or of the binding's role */
};

struct restore_options {
	const uint8_t *box;    /* BOX_LEN bytes: the file key, sealed for the key holder (keys_restore_key) */
	const uint8_t *signer; /* DIGEST_LEN bytes: the fingerprint that the backup must be signed by */
	enum restore_existing existing;
	/* roles, bindings, blocks, recipients, settings, rotation policies, hooks and history rules too */
	bool grants;
	/* May this be made? 0, or the negative errno to end with. NULL: everything. */
	int (*ask)(const struct restore_item *item, void *arg);
	void (*progress)(uint64_t done, uint64_t size, void *arg); /* bytes; may be NULL */
	void *arg;
};

/* In a transaction: verifies the signature over the whole stream, and only then puts its content in. On any error
 * nothing may be committed. -EEXIST: a name is taken. */
int store_restore(struct store *s, const struct backup_source *source, const struct restore_options *options,
		  struct backup_header *ret_header, struct restore_counts *ret_counts, char *why, size_t why_len);

#endif
