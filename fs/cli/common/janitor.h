/* A private directory that goes with the command, whatever ends it. */
#ifndef COFFER_FS_CLI_COMMON_JANITOR_H
#define COFFER_FS_CLI_COMMON_JANITOR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct janitor {
	char dir[PATH_MAX];
	int alive; /* write end of the pipe, -1: none */
	pid_t pid;
};

/* Makes a directory of the template (as mkdtemp(3) wants it), mode 0700, and starts the process that takes it away with
 * all that lies in it; wipe: what its files hold is overwritten first. 0 or negative errno, and nothing is there. */
int janitor_open(const char *template, bool wipe, struct janitor *ret);
/* The directory goes now; back when it has gone. Harmless where nothing was opened (alive -1), and twice. */
void janitor_close(struct janitor *j);

/* Removes what is there and all that lies in it, as far as that can be done; follows no link. */
void remove_tree(const char *path);

#endif
