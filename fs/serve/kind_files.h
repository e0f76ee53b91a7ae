/* What lies in an object's directory, by its kind: a row for each file. Names, listings, attributes, the right to open,
 * and what watchers are told of go by the table; what a temporary file is renamed over, and what versions/ and
 * .coffer/at hold, is there where the kind has such a file. */
#ifndef COFFER_FS_SERVE_KIND_FILES_H
#define COFFER_FS_SERVE_KIND_FILES_H

#include "fs/serve/call.h"
#include "fs/ctl/kinds.h"

/* Files of one kind; a view's place in its row is part of its inode number, and never changes. */
#define KIND_FILES (INODE_VIEWS + 1)

struct kind_file {
	const char *name;
	/* INODE_CURRENT, INODE_VERSIONS, or INODE_VIEW: a text that is made of the version that was the newest when it
	 * was opened */
	enum inode_type type;
	/* Of a view: what the caller must be allowed; and its text, malloc'd. Called for who may open it. May block. 0
	 * or negative errno. */
	enum verb verb;
	int (*render)(struct vault *v, uint32_t object, uint32_t version, char **ret_text, size_t *ret_len);
};

/* The file in this place; NULL: the kind (of s, which may be NULL) has none there. */
const struct kind_file *kind_file_at(const struct catalog_secret *s, uint32_t place);
/* The file of this type, or of this name; *ret_place may be NULL. */
const struct kind_file *kind_file_typed(const struct catalog_secret *s, enum inode_type type);
const struct kind_file *kind_file_named(const struct catalog_secret *s, const char *name, uint32_t *ret_place);
/* The inode that the file in this place has. */
struct inode kind_file_inode(const struct catalog_secret *s, uint32_t place);
/* The view that an inode is of; NULL: it is none. Under the table lock. */
const struct kind_file *kind_view(struct vault *v, const struct inode *i);

#endif
