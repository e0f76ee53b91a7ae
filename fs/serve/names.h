/* The tree's names: lookup, listing, mkdir, and extended attributes. */
#ifndef COFFER_FS_SERVE_NAMES_H
#define COFFER_FS_SERVE_NAMES_H

#include "fs/serve/access.h"

/* An existing name resolves for everybody, without a look at who asks: any error but -ENOMEM for one would detach what
 * is mounted on it. 0, -ENOENT, -ENAMETOOLONG. */
int names_lookup(struct vault *v, uint64_t parent, const char *name, uint64_t *ret_ino);

/* The handle of a directory whose listing is recorded; 0: it needs none, or there is no room: OPENDIR never fails. Its
 * end is access_close. */
uint64_t names_opendir(struct vault *v, uint32_t uid, uint32_t gid, pid_t tid, uint64_t ino, uint64_t unique,
		       bool resent);

struct names_entry {
	const char *name;
	uint64_t ino;
	uint64_t next;
}; /* next: the offset that goes on behind it */

/* Calls fn for each entry from offset on that the call may list, until it returns non-zero; under the tables' lock,
 * which does not nest. Offsets are stateless: ids. Recorded, on the root and on versions/, is each identity's first
 * call through an open directory (fh), whatever its offset, and each that begins at 0; without one (fh 0), each call. 0
 * or negative errno (versions/: -EACCES; -EIO: it cannot be recorded). */
int names_list(struct vault *v, const struct call *call, uint64_t fh, uint64_t ino, uint64_t offset,
	       int (*fn)(const struct names_entry *e, void *arg), void *arg);

/* Could there be such a name at all? 0, -EPERM, -ENAMETOOLONG: what names_mkdir says first, whoever asks. */
int names_check_mkdir(uint64_t parent, const char *name);
/* A secret without a version; waits as name_change. 0; -EPERM (not a name, or not in the root); -ENAMETOOLONG; -EEXIST;
 * -EACCES; -ENOKEY. */
int names_mkdir(struct vault *v, const struct call *call, uint64_t parent, const char *name, uint64_t *ret_ino);

/* user.coffer.*: 0 and a malloc'd value; -ENODATA: no such attribute, or not for this call. The list is names with
 * their NULs. Blocks. */
int names_getxattr(struct vault *v, const struct call *call, uint64_t ino, const char *name, char **ret_value,
		   size_t *ret_len);
int names_listxattr(struct vault *v, const struct call *call, uint64_t ino, char **ret_list, size_t *ret_len);

#endif
