/* Which mount a command speaks to: found in /proc/self/mountinfo, so that nothing is asked of a daemon that may be
 * dead. */
#ifndef COFFER_FS_CLI_COMMON_MOUNT_H
#define COFFER_FS_CLI_COMMON_MOUNT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "store/keys/vaultconf.h"

#define MOUNT_DEFAULT "/vault"

struct mount {
	char path[PATH_MAX];  /* where */
	char store[PATH_MAX]; /* of what: the source without its "coffer:" */
	char other[PATH_MAX]; /* with -ENOTUNIQ: where another vault of the same name is mounted */
	/* The kernel lets nobody write, not even requests: at this place, which may be a bind of another; or anywhere.
	 * The daemon's own -o ro is not seen here. */
	bool read_only_here, read_only;
};

/* Finds the coffer mount at path, or (path NULL) of the vault whose name is the last component of its store. Of several
 * on one path the topmost counts, whatever it is. 0; -ENOENT: nothing is mounted there (no such vault); -ENOTTY:
 * something else is mounted there; -ENOTUNIQ: several vaults have that name, of which ret_mount says two. */
int mountinfo_find(const char *text, const char *path, const char *vault, struct mount *ret_mount);

/* The same with this process's own mounts; path may be relative, or a symbolic link. Also -EIO. */
int mount_find(const char *path, const char *vault, struct mount *ret_mount);

/* Why nothing can be written to m, and what to do, for a message. In one buffer for all calls. */
const char *mount_read_only(const struct mount *m);

/* The mount of a store, if there is one. */
int mount_find_store(const char *store, struct mount *ret_mount);

/* "coffer", or "coffer -m PATH" where that is not the default: the beginning of a command that somebody else is to
 * give. In one buffer for all calls. */
/* Does the path lead into a FUSE file system that this process's mount table has no mount of, as /proc/self/fd/N after
 * umount -l? */
bool mount_is_gone(const char *path);
const char *mount_command(const char *path);

/* The last component of a path: the vault's name. Borrowed from path, which must not end in a slash. */
const char *vault_name_of(const char *store);

#endif
