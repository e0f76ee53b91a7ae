/* The mount as the keeper makes it: detached first, attached once a worker answers a test read, so that nobody ever
 * sees an empty directory that should be a vault. */
#ifndef COFFER_FS_KEEPER_MOUNT_H
#define COFFER_FS_KEEPER_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "fs/shared/shared.h"

struct mount;

/* Opens /dev/fuse, makes the detached mount of a file system of options->store, whose source is "coffer:STORE", and
 * answers FUSE_INIT. 0; negative errno with one line in why. */
int mount_new(const struct options *options, struct shared_init *ret_init, struct mount **ret_mount, char *why,
	      size_t why_len);
void mount_free(struct mount *m); /* closes the descriptors; does not unmount */

/* What another keeper, or this one after an exec, goes on with. id -1: not known in the new one's mount namespace,
 * found by the device and the directory. */
struct mount_state {
	int id;
	unsigned major, minor;
	char directory[PATH_MAX];
};
void mount_save(const struct mount *m, struct mount_state *ret);
/* Another directory at which the mount is seen in this mount namespace, where it is seen, but not at the one that s
 * has. False: there is none. */
bool mount_only_elsewhere(const struct mount_state *s, char ret_place[PATH_MAX]);
int mount_adopt(const struct mount_state *s, int fuse_fd, struct mount **ret_mount);

int mount_fuse_fd(const struct mount *m);
/* O_PATH descriptor of the mount's root, until mount_attach. */
int mount_root_fd(const struct mount *m);

/* Puts it at the directory, which must be empty and no mount point. Gives a second, detached view of it (ret_clone) for
 * the bell: it never keeps the mount point busy. */
int mount_attach(struct mount *m, const char *directory, int *ret_clone, char *why, size_t why_len);
/* It can be seen in this mount namespace, and so be watched and unmounted. */
bool mount_is_here(const struct mount *m);
/* Is it still where it was attached? True also where it cannot be seen, and where nobody can tell just now. Reads
 * /proc/self/mountinfo, which may have thousands of lines, where that has changed; does no path I/O on the mount. */
bool mount_attached(struct mount *m);
/* Where it is attached; "": nowhere yet. mount_attached follows it when it is moved. */
const char *mount_place(const struct mount *m);
/* Ends the connection: whoever waits for an answer gets ECONNABORTED. Closing what is open does not do that while
 * somebody waits in the kernel with it. */
void mount_abort(const struct mount *m);
/* For poll(2): POLLPRI when any mount of this namespace has come or gone; say so then. -1: it cannot be had, and
 * mount_attached reads the list each time. */
int mount_list_fd(const struct mount *m);
void mount_list_changed(struct mount *m);
/* The connection is gone, by fusectl for one: everybody gets ENOTCONN. Never polled for longer than this moment: the
 * kernel would wake us at each request. */
bool mount_aborted(const struct mount *m);
/* Puts m where the dead one is, and detaches that; otherwise as mount_attach. */
int mount_replace(struct mount *m, struct mount *dead, int *ret_clone, char *why, size_t why_len);
/* Ends and detaches what a daemon of this store that died left at the directory; the caller has the store's lock, so
 * that no other serves it. True if there was such a mount. */
bool mount_clear_dead(const char *directory, const char *store);
/* Unmounts, lazily if somebody uses it. */
int mount_detach(struct mount *m);

/* Makes the kernel send every request again that was read and not answered (kernel 6.9 and later: shared_init says). */
int mount_resend(const struct mount *m);
bool mount_can_resend(const struct shared_init *init);

/* A procfs of our own (pids only, visible to all), so that the machine's hidepid does not matter; falls back to /proc.
 * Returns a directory descriptor or negative errno. */
int mount_private_proc(void);

/* Is the directory fit to be a mount point? 0, or negative errno with one line in why. */
int mount_point_check(const char *directory, char *why, size_t why_len);

#endif
