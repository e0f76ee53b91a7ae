/* What the files of a restore share: one walk over a backup's records, within the caller's transaction. The signature
 * over the whole stream was verified before a record is looked at: what is parsed was written by a vault that the
 * caller named. All the same nothing in it is believed that could be asked of the vault again: names, scopes,
 * principals, roles and times pass through the parsers that everything passes through. */
#ifndef COFFER_STORE_BACKUP_RESTORE_COMMON_H
#define COFFER_STORE_BACKUP_RESTORE_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/backup/reader.h"
#include "store/backup/restore.h"

struct keys_item;

struct pending;

struct restore {
	struct store *s;
	const struct restore_options *options;
	struct backup_reader *reader;
	const struct backup_header *header;
	struct restore_counts counts;
	struct backup_counts seen;
	struct pending *pending; /* versions that are gathered, and their keys */
	struct keys_item *items;
	size_t n_pending, pending_bytes;
	enum record_type last_type;
	/* the object whose versions come */
	uint64_t was;                /* its id there */
	uint32_t object;             /* and here; 0: it is skipped */
	uint32_t base;               /* what is added to its versions' numbers */
	uint32_t last_number;        /* of the version before, there */
	uint32_t last_version;       /* what the object's row said */
	char name[NAME_LEN_MAX + 1]; /* whose new version is to be told of: */
	uint32_t told;               /* the one that current serves, else the last; 0: none */
	uint32_t told_size;          /* its length */
	bool told_enabled, deleted, appended;
	bool clocked; /* the vault's clock was written, and shows: */
	int64_t counted;
	int64_t kek; /* row of the KEK; 0: not asked yet */
	uint8_t kek_id[KEK_ID_LEN];
	char *why;
	size_t why_len;
};

/* -EBADMSG, with a line that says so. */
int restore_damaged(struct restore *r, const char *what);
/* May this be made? As the caller's word is. */
int restore_ask(struct restore *r, const struct restore_item *item);
/* What a person wrote, as a request would have had to bring it: UTF-8 without control characters. Else no answer that
 * quotes it could be made. */
bool restore_text_valid(const char *text);

/* Each takes one record: 0 or negative errno, after which nothing may be committed. */

/* restore_grants.c */
int restore_settings(struct restore *r, struct fields *f);
int restore_role(struct restore *r, struct fields *f);
int restore_binding(struct restore *r, struct fields *f);
int restore_block(struct restore *r, struct fields *f);
int restore_recipient(struct restore *r, struct fields *f);

/* restore_rules.c */
int restore_rotation(struct restore *r, struct fields *f);
int restore_hook(struct restore *r, struct fields *f);
int restore_notice(struct restore *r, struct fields *f);
int restore_history(struct restore *r, struct fields *f);

/* restore_secrets.c */
int restore_object(struct restore *r, struct fields *f);
int restore_version(struct restore *r, struct fields *f);
int restore_object_end(struct restore *r);    /* no more versions of it come */
int restore_flush(struct restore *r);         /* the gathered versions get their keys and go into the vault */
int restore_pending_new(struct restore *r);   /* room for them: 0 or -ENOMEM */
void restore_pending_free(struct restore *r); /* accepts one without */

#endif
