/* The roles of one binary: how the keeper starts them, and what they are started with.
 *
 * Every role is exec'd, never only forked, so that it shares no memory with the keeper; what it may use comes as named
 * descriptors:
 *   cofferd --role=worker --user=UID:GID --keeper=PID --fd=fuse:7 --fd=shared:5 … */
#ifndef COFFER_FS_PROCESS_ROLE_H
#define COFFER_FS_PROCESS_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ROLE_FDS_MAX 16

struct role_fd {
	const char *name;
	int fd;
};

struct role_args {
	const char *role;
	uid_t uid;
	gid_t gid;
	pid_t keeper;
	bool log_stderr;
	bool require_sandbox; /* a protection that the kernel lacks is a reason not to start */
	size_t n_fds;
	struct role_fd fds[ROLE_FDS_MAX];
};

/* True when argv starts a role; a malformed one is -EINVAL. */
int role_args_parse(int argc, char **argv, struct role_args *ret_args, bool *ret_is_role);
/* -1: not given. */
int role_fd(const struct role_args *args, const char *name);

/* Starts this binary again (self_fd: its own executable) in a role with just these descriptors. 0 and a pid, or
 * negative errno. */
int role_spawn(int self_fd, const struct role_args *args, pid_t *ret_pid);

/* What every role does first, as root, and the keeper: no core, not dumpable, memory limits; role_confine then gives up
 * root: under uid and gid without groups, with no capability but keep_cap (-1: none), no_new_privs, dead with its
 * parent. 0 or negative errno. */
int role_harden(void);
int role_confine(const struct role_args *args, int keep_cap);
/* The same with several capabilities. */
int role_confine_with(const struct role_args *args, const int *keep_caps, size_t n);

#endif
