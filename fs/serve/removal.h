/* The end of a secret, and its return: rmdir, rename, and the purges that come by themselves. */
#ifndef COFFER_FS_SERVE_REMOVAL_H
#define COFFER_FS_SERVE_REMOVAL_H

#include "fs/serve/access.h"

struct rename {
	uint64_t from;
	const char *name;
	uint64_t to;
	const char *to_name;
	unsigned flags;
};

/* 0, or -EPERM: what the two below say first, whoever asks. */
int removal_check_rmdir(uint64_t parent, const char *name);
int removal_check_rename(const struct rename *n);

/* In the vault's directory: of a secret that never had a version, for good; in .coffer/deleted: purge. Waits as
 * name_change. 0; -EPERM (neither; or purge protection forbids it); -ENOTEMPTY (it has versions; no record: nothing was
 * refused, and nothing happened); -ENOENT; -EACCES; -ENOKEY. */
int removal_rmdir(struct vault *v, const struct call *call, uint64_t parent, const char *name);

/* Under its own name into .coffer/deleted: soft delete; out of it: recovery; flags: 0 or RENAME_NOREPLACE. Any other is
 * -EPERM. Waits as name_change. The kernel takes -ENOENT for a name that is gone, and detaches what is mounted below
 * it: only a secret that is not there, or of which nothing is left, gives it; one that a worker before did, 0. */
int removal_rename(struct vault *v, const struct call *call, const struct rename *n);

/* Destroys what is due, has the bell remove the names of what was destroyed, and empties the database's log behind what
 * was. From the ticking thread. */
void removal_tick(struct vault *v);

#endif
