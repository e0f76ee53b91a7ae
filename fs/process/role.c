#include "fs/process/role.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static int parse_id(const char *text, char end, unsigned long *ret_id, const char **ret_rest)
{
	char *stop;
	errno = 0;
	unsigned long n = strtoul(text, &stop, 10);
	if (errno || stop == text || *stop != end || n > 0xfffffffeul)
		return -EINVAL;
	*ret_id = n;
	*ret_rest = stop + (end ? 1 : 0);
	return 0;
}

static int parse_argument(char *arg, struct role_args *args)
{
	unsigned long a = 0, b = 0;
	const char *rest;
	char *colon;

	if (!strncmp(arg, "--user=", 7)) {
		if (parse_id(arg + 7, ':', &a, &rest) || parse_id(rest, '\0', &b, &rest))
			return -EINVAL;
		args->uid = (uid_t)a;
		args->gid = (gid_t)b;
	} else if (!strncmp(arg, "--keeper=", 9)) {
		if (parse_id(arg + 9, '\0', &a, &rest))
			return -EINVAL;
		args->keeper = (pid_t)a;
	} else if (!strncmp(arg, "--fd=", 5)) {
		colon = strchr(arg, ':');
		if (!colon || args->n_fds == ROLE_FDS_MAX || parse_id(colon + 1, '\0', &a, &rest))
			return -EINVAL;
		*colon = '\0';
		args->fds[args->n_fds++] = (struct role_fd){ .name = arg + 5, .fd = (int)a };
		fcntl((int)a, F_SETFD, FD_CLOEXEC);
	} else if (!strcmp(arg, "--log=stderr")) {
		args->log_stderr = true;
	} else if (!strcmp(arg, "--require-sandbox")) {
		args->require_sandbox = true;
	} else {
		return -EINVAL;
	}
	return 0;
}

int role_args_parse(int argc, char **argv, struct role_args *ret_args, bool *ret_is_role)
{
	struct role_args args = { 0 };

	*ret_is_role = argc > 1 && !strncmp(argv[1], "--role=", 7);
	if (!*ret_is_role)
		return 0;
	args.role = argv[1] + 7;
	for (int i = 2; i < argc; i++)
		if (parse_argument(argv[i], &args))
			return -EINVAL;
	*ret_args = args;
	return 0;
}

int role_fd(const struct role_args *args, const char *name)
{
	for (size_t i = 0; i < args->n_fds; i++)
		if (!strcmp(args->fds[i].name, name))
			return args->fds[i].fd;
	return -1;
}

#define ARGS_MAX (ROLE_FDS_MAX + 7)

int role_spawn(int self_fd, const struct role_args *args, pid_t *ret_pid)
{
	char text[ARGS_MAX][64];
	char *argv[ARGS_MAX + 1];
	size_t n = 0;
	sigset_t none;

	/* built before fork: between fork and exec only system calls */
	snprintf(text[n++], 64, "cofferd");
	snprintf(text[n++], 64, "--role=%s", args->role);
	snprintf(text[n++], 64, "--user=%u:%u", args->uid, args->gid);
	snprintf(text[n++], 64, "--keeper=%d", (int)getpid());
	if (args->log_stderr)
		snprintf(text[n++], 64, "--log=stderr");
	if (args->require_sandbox)
		snprintf(text[n++], 64, "--require-sandbox");
	for (size_t i = 0; i < args->n_fds; i++)
		snprintf(text[n++], 64, "--fd=%s:%d", args->fds[i].name, args->fds[i].fd);
	for (size_t i = 0; i < n; i++)
		argv[i] = text[i];
	argv[n] = NULL;
	sigemptyset(&none);

	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		for (size_t i = 0; i < args->n_fds; i++)
			fcntl(args->fds[i].fd, F_SETFD, 0);
		sigprocmask(SIG_SETMASK, &none, NULL);
		fexecve(self_fd, argv, environ);
		_exit(127);
	}
	*ret_pid = pid;
	return 0;
}

int role_harden(void)
{
	const struct rlimit none = { 0, 0 };
	struct rlimit files;

	/* a core dump holds secrets, and delays the reaping of a dead worker */
	if (setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return -errno;
	/* a worker holds a descriptor for each caller that it remembers */
	if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* files a caller could make this process create stay private */
	umask(077);
	return 0;
}

static int drop_capabilities(const cap_value_t *keep, size_t n)
{
	cap_t caps = cap_init();
	int r = -EPERM;

	if (caps &&
	    (n == 0 || (!cap_set_flag(caps, CAP_PERMITTED, (int)n, keep, CAP_SET) &&
			!cap_set_flag(caps, CAP_EFFECTIVE, (int)n, keep, CAP_SET))) &&
	    !cap_set_proc(caps))
		r = 0;
	cap_free(caps);
	return r;
}

int role_confine(const struct role_args *args, int keep_cap)
{
	return role_confine_with(args, &keep_cap, keep_cap >= 0);
}

int role_confine_with(const struct role_args *args, const int *keep_caps, size_t n)
{
	for (int cap = 0; cap <= 63; cap++) /* the bounding set: nothing comes back through exec */
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			return -errno;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || setgroups(0, NULL) || setresgid(args->gid, args->gid, args->gid) ||
	    setresuid(args->uid, args->uid, args->uid) || prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0))
		return -errno;
	int r = drop_capabilities(keep_caps, n);
	if (r)
		return r;
	/* a change of credentials clears these two, so they come after it */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return -errno;
	if (args->keeper && getppid() != args->keeper) /* it died before we asked to die with it */
		return -ESRCH;
	return 0;
}
