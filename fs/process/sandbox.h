/* The cell that a role of the daemon lives in, once it has given up root: what it cannot do, should it ever be somebody
 * else's.
 *
 * Landlock(7) leaves it the few directories that it was given, by descriptor; seccomp(2) leaves it the system calls of
 * its list, and ends the process at any other, which the log then names by number (sockets, and what a library merely
 * tries, get an errno). What is open already stays usable under both. Each role has a list of its own: what it never
 * needs is not on it. A kernel that lacks one of the two is no reason not to serve, unless -o require_sandbox says so:
 * log, status and doctor tell. A build with a sanitizer has a wider list, for what that does. */
#ifndef COFFER_FS_PROCESS_SANDBOX_H
#define COFFER_FS_PROCESS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sandbox_role { SANDBOX_WORKER, SANDBOX_KEYHOLDER, SANDBOX_RESOLVER, SANDBOX_BELL, SANDBOX_PROBE };

enum sandbox_access {
	SANDBOX_READ,      /* files below may be read, and directories listed */
	SANDBOX_READ_FILE, /* of a file: it may be read */
	SANDBOX_WRITE,     /* and written, made, cut and removed; no directories, devices, sockets or links */
	/* files below may be opened for reading and writing, names made, renamed and removed: what of that is done is
	   the mount's to decide */
	SANDBOX_TIDY,
};

/* A directory or file that stays open to the role. fd: -1 is passed over. */
struct sandbox_place {
	int fd;
	enum sandbox_access access;
};

/* What holds for this process; all zero until it has entered. */
struct sandbox_state {
	/* its ABI; or negative errno: why there is none (-ENOSYS: not built into the kernel, -EOPNOTSUPP: not switched
	 * on at boot) */
	int landlock;
	bool seccomp;
};
const struct sandbox_state *sandbox_state(void);

/* Enters, before there are threads and after no_new_privs was set. require: a protection that the kernel lacks is
 * -ENOSYS. 0 or negative errno. It cannot be left again. */
int sandbox_enter(enum sandbox_role role, const struct sandbox_place *places, size_t n, bool require);

/* Leaves the process nothing but to wait and to end, and to write to what is open. -ENOSYS: the kernel lacks seccomp.
 */
int sandbox_wait_only(void);

/* The keeper's own: leaves it, and through it every role, no capability but those that they need, no_new_privs, and no
 * system call that none of them ever makes. 0 or negative errno. What the kernel lacks is said in the log; whether it
 * may, is for each role to decide when it enters. entered: what sandbox_keeper_list() was in this process before it
 * executed itself, 0: nothing. Filters stay for good, and add up: the same one is not taken on twice. */
int sandbox_keeper(uint32_t entered);
uint32_t sandbox_keeper_list(void); /* names the list; never 0 */

#endif
