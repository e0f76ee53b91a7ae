/* The cell that a role of the daemon lives in, once it has given up root: what it cannot do, should it ever be somebody else's.
 *
 * Landlock(7) leaves it the few directories that it was given, by descriptor; seccomp(2) leaves it the system calls of its list, and kills the process at any other (sockets and what a library merely
 * tries get an errno). What is opened already stays usable under both. Each role has a list of its own: what it never needs is not on it. A kernel that lacks one of the two is no reason not to
 * serve, unless -o require_sandbox says so: status and doctor tell. */
#ifndef COFFER_FS_SANDBOX_H
#define COFFER_FS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

enum sandbox_role { SANDBOX_WORKER, SANDBOX_KEYHOLDER, SANDBOX_RESOLVER, SANDBOX_BELL };

enum sandbox_access {
	SANDBOX_READ,		/* files below may be read, and directories listed */
	SANDBOX_WRITE,		/* and written, made, cut and removed; no directories, devices, sockets or links */
	SANDBOX_TOUCH,		/* files below may be opened for reading and writing */
	SANDBOX_TIDY,		/* and directories removed, as rmdir through the mount does */
};

/* A directory or file that stays open to the role. fd: -1 is passed over. */
struct sandbox_place { int fd; enum sandbox_access access; };

/* What holds for this process; all zero until it has entered. */
struct sandbox_state { int landlock_abi; /* 0: the kernel has none */ bool seccomp; };
const struct sandbox_state *sandbox_state(void);

/* Enters, before there are threads and after no_new_privs was set. require: a protection that the kernel lacks is -ENOSYS. 0 or negative errno. It cannot be left again. */
int sandbox_enter(enum sandbox_role role, const struct sandbox_place *places, size_t n, bool require);

/* The keeper's own: leaves it, and through it every role, no capability but those that they need. 0 or negative errno. */
int sandbox_keeper(void);

#endif
