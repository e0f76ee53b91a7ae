/* The end of a secret, and its return: rmdir, rename, and the purges that come by themselves. */
#ifndef COFFER_FS_REMOVAL_H
#define COFFER_FS_REMOVAL_H

#include "fs/access.h"

/* 0, or -EPERM: what the two below say first, whoever asks. */
int removal_check_rmdir(uint64_t parent, const char *name);
int removal_check_rename(uint64_t parent, const char *name, uint64_t to, const char *to_name, unsigned flags);

/* In the vault's directory: soft delete; in .coffer/deleted: purge. Waits as name_change. 0; -EPERM (neither; or purge protection forbids it); -ENOENT; -EACCES; -ENOKEY. */
int removal_rmdir(struct vault *v, const struct asker *asker, uint64_t parent, const char *name, uint64_t unique, bool resent);

/* Out of .coffer/deleted under its own name: recovery; flags: 0 or RENAME_NOREPLACE. Any other is -EPERM. Waits as name_change. */
int removal_rename(struct vault *v, const struct asker *asker, uint64_t parent, const char *name, uint64_t to, const char *to_name, unsigned flags, uint64_t unique, bool resent);

/* Destroys what is due, has the bell remove the names of what was destroyed, and empties the database's log behind what was. From the ticking thread. */
void removal_tick(struct vault *v);

#endif
