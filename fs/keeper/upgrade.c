/* Upgrade in place: a worker from the binary that is now on disk, then the helpers, then this process itself. Callers
 * notice nothing.
 *
 * Each step is taken when the one before has proved the binary: a worker of it must stand ready, having read the store,
 * before the old one is retired; a child of it must understand our state before this process becomes it. Where one
 * fails, what runs goes on, and status and log say why. A binary whose workers stand ready and then end before they
 * serve is taken back, too. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/keeper/turns.h"
#include "fs/common/log.h"

#define DRAIN_MS 8000
#define DEATHS   2 /* of workers of the new binary, in a row and before they served: one may be somebody's doing */

extern char **environ;

/* Whoever can write to it, or put another in its place, would be root by our next exec. In a directory with the sticky
 * bit nobody can take away or rename what is root's. */
static bool safe(const struct stat *st)
{
	const bool sticky_dir = S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX);
	return st->st_uid == 0 && (!(st->st_mode & (S_IWGRP | S_IWOTH)) || sticky_dir);
}

/* Opens an absolute path without links from the root on, and looks at each step through the descriptor that the next
 * one starts from: what is checked is what is used. */
static int open_safely(const char *path, int *ret_fd, char *why, size_t why_len)
{
	char copy[PATH_MAX], *save = NULL;
	int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (dir >= 0 && (fstat(dir, &st) || !safe(&st))) {
		snprintf(why, why_len, "the root directory is not root's alone to write: chown root, chmod go-w");
		close(dir);
		return -EPERM;
	}
	snprintf(copy, sizeof copy, "%s", path);
	char *part = strtok_r(copy, "/", &save);
	while (dir >= 0 && part) {
		char *next = strtok_r(NULL, "/", &save);
		int fd = openat(dir, part,
				(next ? O_PATH | O_DIRECTORY : O_RDONLY | O_NONBLOCK) | O_NOFOLLOW | O_CLOEXEC);
		int error = errno;
		close(dir);
		dir = fd;
		if (fd < 0 || fstat(fd, &st)) {
			snprintf(why, why_len, "%s", strerror(error));
		} else if (!safe(&st)) {
			snprintf(why, why_len, "%s is not root's alone to write: chown root, chmod go-w",
				 next ? "a directory above it" : "it");
		} else if (!next && (!S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))) {
			snprintf(why, why_len, "it is no program");
		} else {
			part = next;
			continue;
		}
		if (fd >= 0)
			close(fd);
		return -EPERM;
	}
	if (dir < 0)
		return -errno;
	*ret_fd = dir;
	return 0;
}

static void give_up(struct keeper *k, const char *why)
{
	keeper_trouble(k, "no upgrade to %.80s: %.140s; what runs goes on", k->exe, why);
	if (k->next_fd >= 0)
		close(k->next_fd);
	k->next_fd = -1;
	if (k->before_fd >= 0) {
		close(k->self_fd);
		k->self_fd = k->before_fd;
		k->shared->keeper.upgrades--;
	}
	k->before_fd = -1;
	k->upgrade = UPGRADE_NONE;
}

void upgrade_abandon(struct keeper *k, const char *why)
{
	if (k->upgrade != UPGRADE_NONE)
		give_up(k, why);
}

void upgrade_begin(struct keeper *k)
{
	char why[CONTROL_TEXT_MAX] = "it cannot be opened";

	/* a takeover; but where workers never get ready, another binary may be the way out */
	const bool one_follows = k->active < 0 && !k->patience.failures;

	if (k->upgrade != UPGRADE_NONE || k->taker_fd >= 0 || one_follows || k->aborted) {
		log_warn("a reload is asked for while something else is under way: ask again");
		return;
	}
	if (open_safely(k->exe, &k->next_fd, why, sizeof why)) {
		k->next_fd = -1;
		give_up(k, why);
		return;
	}
	log_info("upgrade: a worker is started from %s", k->exe);
	/* the seat is needed; the standby of the old binary is of no use any more */
	for (int i = 0; i < SEATS; i++)
		if (i != k->active && k->seats[i].pid)
			children_stop_worker(k, i, 0);
	k->fatal[0] = '\0';
	k->upgrade = UPGRADE_WORKER;
	k->upgrade_deadline_ms = clock_ms() + START_TIMEOUT_MS;
	if (children_start_worker(k))
		give_up(k, "a worker of it cannot be started");
}

void upgrade_worker_died(struct keeper *k, int status)
{
	char why[CONTROL_TEXT_MAX + 64];

	if (k->fatal[0])
		snprintf(why, sizeof why, "a worker of it does not get ready: %.300s", k->fatal);
	else
		snprintf(why, sizeof why, "a worker of it does not start (%s %d)",
			 WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	give_up(k, why);
}

void upgrade_not_served(struct keeper *k)
{
	if (k->upgrade == UPGRADE_SELF && k->patience.failures >= DEATHS)
		give_up(k, k->fatal[0] ? k->fatal : "its workers end before they serve");
}

/* Does the new binary know our state? A child of it says so: this process could not come back. */
static bool understands(struct keeper *k, int state_fd)
{
	struct role_args a = { .role = "check",
			       .uid = k->store.users.helper,
			       .gid = k->store.users.helper_gid,
			       .log_stderr = k->options.foreground,
			       .n_fds = 1 };
	pid_t pid;
	int status = 0;

	a.fds[0] = (struct role_fd){ "state", state_fd };
	if (role_spawn(k->self_fd, &a, &pid))
		return false;
	for (int64_t end = clock_ms() + 5000; clock_ms() < end; usleep(2000))
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) && WEXITSTATUS(status) == 0;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return false;
}

/* Returns only where it failed. */
static int become(struct keeper *k)
{
	struct keeper_state s;
	int *fds[STATE_FDS], state_fd = -1;
	char resume[32];

	children_end_holders(k, true); /* who comes after us knows nothing of them */
	state_save(k, &s);
	int r = state_to_memfd(&s, &state_fd);
	if (r)
		return r;
	if (!understands(k, state_fd)) {
		close(state_fd);
		return -EPROTO;
	}
	const size_t n = state_descriptors(&s, fds);
	for (size_t i = 0; i < n; i++)
		if (*fds[i] >= 0)
			fcntl(*fds[i], F_SETFD, 0);
	fcntl(state_fd, F_SETFD, 0);
	snprintf(resume, sizeof resume, "--resume=%d", state_fd);
	char name[] = "cofferd";
	char *argv[] = { name, resume, NULL };
	fexecve(k->self_fd, argv, environ);
	r = -errno;
	for (size_t i = 0; i < n; i++)
		if (*fds[i] >= 0)
			fcntl(*fds[i], F_SETFD, FD_CLOEXEC);
	close(state_fd);
	return r;
}

/* With a passphrase, the key holder stays: another one would be sealed. */
static bool keeps_keyholder(const struct keeper *k) { return k->store.kek < 0; }

void upgrade_prepared(struct keeper *k, int seat)
{
	log_info("upgrade: worker %d of the new binary stands ready", (int)k->seats[seat].pid);
	k->upgrade = UPGRADE_SELF;
	k->before_fd = k->self_fd;
	k->self_fd = k->next_fd;
	k->next_fd = -1;
	k->patience = (struct patience){ 0 };
	k->shared->keeper.upgrades++;
	takeover_retire(k, seat, DRAIN_MS);
}

void upgrade_served(struct keeper *k)
{
	k->upgrade = UPGRADE_NONE;
	close(k->before_fd);
	k->before_fd = -1;
	children_stop_helper(k, HELPER_RESOLVER);
	children_stop_helper(k, HELPER_BELL);
	children_stop_helper(k, HELPER_RUNNER); /* its programs end with it: hooks run again */
	if (keeps_keyholder(k))
		log_info("upgrade: the key holder is left as it is, for another one would be sealed");
	else
		children_stop_helper(k, HELPER_KEYHOLDER);
	for (int i = 0; i < HELPERS; i++)
		if (!k->helpers[i].pid)
			children_start_helper(k, (enum helper)i);
	int r = become(k);
	keeper_trouble(k, "the keeper itself could not be upgraded (%s), and goes on: restart it when that suits",
		       strerror(-r));
}

int upgrade_watch(struct keeper *k)
{
	if (k->upgrade != UPGRADE_WORKER)
		return -1;
	const int64_t left = k->upgrade_deadline_ms - clock_ms();
	if (left > 0)
		return (int)left;
	give_up(k, "a worker of it did not get ready in time");
	for (int i = 0; i < SEATS; i++)
		if (i != k->active && k->seats[i].pid)
			children_stop_worker(k, i, 0);
	return -1;
}
