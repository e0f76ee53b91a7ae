/* The vault's own files and directories, .coffer and what is in it: one row each. Names, listings, attributes, the
 * right to open, the text that is made for a reader, and what the bell holds go by the table: another file of this kind
 * is a number (enum inode_own) and a row. */
#ifndef COFFER_FS_SERVE_ENTRIES_H
#define COFFER_FS_SERVE_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/serve/call.h"
#include "store/audit/record.h"

/* What is made for each reader has no size before it is read. As in sysfs: with a size of 0, sendfile (busybox cat)
 * takes it for empty and never asks. */
#define MADE_SIZE 4096

struct entry_shown {
	uint64_t size;
	int64_t changed; /* ns */
};

struct entry {
	const char *name; /* in .coffer; "": .coffer itself; NULL: no such entry */
	bool directory;
	bool hidden;   /* it resolves, and is not listed */
	bool held;     /* the bell keeps it open, so that nobody has a lease on it */
	uint16_t mode; /* permissions; of a file for those who may open it: everybody else sees none */
	/* Of a file: */
	bool needs; /* an action on the vault, which is: */
	enum action action;
	/* while the vault is sealed root may open it: somebody must be able to see that it is */
	bool sealed;
	enum audit_operation operation; /* of the record that opening it makes; 0: none */
	enum handle_kind kind;
	uint64_t size; /* bytes that are shown; or, with the time: */
	void (*measure)(struct vault *v, struct entry_shown *shown);
	/* Makes the text for whoever opened it: malloc'd. 0 or negative errno. NULL: it has no text of its own. May
	 * block. */
	int (*render)(struct vault *v, const struct identity *who, char **ret_text, size_t *ret_len);
};

/* By enum inode_own. */
extern const struct entry entries[];

/* NULL: no inode of the vault's own. */
const struct entry *entry_of(const struct inode *i);
/* As what stat shows of it to the call (NULL: a stranger), under the table lock. */
bool entry_may_open(struct vault *v, const struct call *call, const struct entry *e);

#endif
