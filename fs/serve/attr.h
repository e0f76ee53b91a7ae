/* What stat shows. Owner, mode and the right to see them depend on who asks; the size does not (the kernel keeps one
 * for each inode). */
#ifndef COFFER_FS_SERVE_ATTR_H
#define COFFER_FS_SERVE_ATTR_H

#include <sys/stat.h>

#include "fs/serve/access.h"

struct stat;

/* call NULL: masked (owner root, mode 0). 0 or -ENOENT: no such inode any more. Never blocks. */
int attr_fill(struct vault *v, const struct call *call, uint64_t ino, struct stat *ret_stat);
/* The same under the table lock that the caller holds: it must not be taken twice by one thread. */
int attr_fill_locked(struct vault *v, const struct call *call, uint64_t ino, struct stat *ret_stat);
/* Of a `current`: a version that it shows to somebody, and its size; of a text that is made: its size. All 0: what
 * everybody is told. */
struct attr_shown {
	uint32_t version, size;
};
/* As attr_fill, but with that size, and the times of that version. */
int attr_fill_shown(struct vault *v, const struct call *call, uint64_t ino, const struct attr_shown *shown,
		    struct stat *ret_stat);

/* When it was made, ns since the epoch: for who may read, write or list it. Others hear when the daemon was started: an
 * answer without a time would leave in the kernel what it had told somebody else, and statx(AT_STATX_DONT_SYNC) shows
 * that. INT64_MIN: of what has none. */
int64_t attr_born(struct vault *v, const struct call *call, uint64_t ino);

/* access(2): 0 or -EACCES, by policy. */
int attr_access(struct vault *v, const struct call *call, uint64_t ino, int mask);

/* May the caller set the secret whose directory (or file) this is; some secret, for the vault's own directory. Takes
 * the table lock. */
bool attr_may_set(struct vault *v, const struct call *call, uint64_t ino);

#endif
