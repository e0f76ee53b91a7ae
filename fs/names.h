/* The tree's names: lookup, listing, mkdir, and extended attributes. */
#ifndef COFFER_FS_NAMES_H
#define COFFER_FS_NAMES_H

#include "fs/access.h"

/* An existing name resolves for everybody, without a look at who asks: any error but -ENOMEM for one would detach what is mounted on it. 0, -ENOENT, -ENAMETOOLONG. */
int names_lookup(struct vault *v, uint64_t parent, const char *name, uint64_t *ret_ino);

struct names_entry { const char *name; uint64_t ino; uint64_t next; };	/* next: the offset that goes on behind it */

/* Calls fn for each entry from offset on that the asker may list, until it returns non-zero. Offsets are stateless: ids. The first call on the root (offset 0) is recorded. fn is called under the table lock, and must not take it. 0 or negative errno (versions/: -EACCES). */
int names_list(struct vault *v, const struct asker *asker, uint64_t ino, uint64_t offset, uint64_t unique, bool resent, int (*fn)(const struct names_entry *e, void *arg), void *arg);

/* A secret without a version. Blocks. 0; -EPERM (not a name, or not in the root); -ENAMETOOLONG; -EEXIST; -EACCES; -ENOKEY. */
int names_mkdir(struct vault *v, const struct asker *asker, uint64_t parent, const char *name, uint64_t unique, bool resent, uint64_t *ret_ino);

/* user.coffer.*: 0 and a malloc'd value; -ENODATA: no such attribute, or not for this asker. The list is names with their NULs. Blocks. */
int names_getxattr(struct vault *v, const struct asker *asker, uint64_t ino, const char *name, char **ret_value, size_t *ret_len);
int names_listxattr(struct vault *v, const struct asker *asker, uint64_t ino, char **ret_list, size_t *ret_len);

#endif
