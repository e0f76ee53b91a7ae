/* The janitor is a process that holds the other end of a pipe: when the pipe closes, because the command is done,
 * failed, or was killed (SIGKILL too), it removes the directory. So there is one way out, and every exit takes it. */
#include "fs/cli/common/janitor.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLOSED_DEPTH_MAX 64

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

static int wipe_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static const char zeros[4096];

	if (type == FTW_F && S_ISREG(st->st_mode)) {
		int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

		for (off_t done = 0; fd >= 0 && done < st->st_size; done += (off_t)sizeof(zeros))
			if (pwrite(fd, zeros, sizeof(zeros), done) < 0)
				break;
		if (fd >= 0)
			close(fd);
	}
	return remove_entry(path, st, type, ftw);
}

static bool closed_found;

/* What was closed to its owner (a cache's directories that nobody is to write to, for one) is opened: else it would
 * stay, and all that lies in it. */
static int open_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_DNR)
		closed_found = true;
	if (type == FTW_D || type == FTW_DNR)
		chmod(path, 0700);
	else if (type == FTW_F && S_ISREG(st->st_mode))
		chmod(path, 0600);
	return 0;
}

/* Each turn looks one directory deeper into what was closed. */
static void open_tree_up(const char *path)
{
	for (int turn = 0; turn < CLOSED_DEPTH_MAX; turn++) {
		closed_found = false;
		nftw(path, open_entry, 8, FTW_PHYS);
		if (!closed_found)
			return;
	}
}

void remove_tree(const char *path) { nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

static void run(const char *dir, bool wipe, int pipe_fd)
{
	char byte;
	ssize_t n;

	/* A terminal's Ctrl-C, or a session's end, is for the command. */
	setsid();
	do
		n = read(pipe_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	open_tree_up(dir);
	nftw(dir, wipe ? wipe_entry : remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	_exit(0);
}

/* With all signals blocked: the child keeps it so, and nothing ends us between the directory and its janitor. */
static int start(struct janitor *j, bool wipe)
{
	int ends[2], r;

	if (!mkdtemp(j->dir))
		return -errno;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		r = -errno;
		rmdir(j->dir);
		return r;
	}
	j->pid = fork();
	if (j->pid == 0) {
		close(ends[1]);
		run(j->dir, wipe, ends[0]);
	}
	r = j->pid < 0 ? -errno : 0;
	close(ends[0]);
	j->alive = ends[1];
	if (r < 0) {
		close(ends[1]);
		j->alive = -1;
		rmdir(j->dir);
	}
	return r;
}

int janitor_open(const char *template, bool wipe, struct janitor *ret)
{
	sigset_t all, old;
	int r;

	*ret = (struct janitor){ .alive = -1 };
	if ((size_t)snprintf(ret->dir, sizeof(ret->dir), "%s", template) >= sizeof(ret->dir))
		return -ENAMETOOLONG;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	r = start(ret, wipe);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

void janitor_close(struct janitor *j)
{
	if (j->alive < 0)
		return;
	close(j->alive);
	j->alive = -1;
	while (waitpid(j->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
