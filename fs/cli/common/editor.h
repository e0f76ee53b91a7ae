/* The caller's editor, run on a value. What it keeps for itself (histories, undo, swap files, backups) stays in the
 * private directory, too. */
#ifndef COFFER_FS_CLI_COMMON_EDITOR_H
#define COFFER_FS_CLI_COMMON_EDITOR_H

#include <limits.h>

struct known_editor;

#define EDITOR_FILES "/value" /* below the private directory: where the value's file lies */

struct editor {
	const char *typed; /* $VISUAL, $EDITOR or "vi" */
	/* for sh: $1 is the file, $2 the directory that coffer was called in, $3 the caller's home */
	char command[PATH_MAX];
	const struct known_editor *known; /* NULL: none that we know */
};

/* Which editor it will be. EXIT_DONE; or with the error printed, for one that hands files to a process that runs
 * already. */
int editor_choose(struct editor *ret);

/* Makes what the editor finds in the private directory: a home, and EDITOR_FILES. EXIT_DONE or with the error printed.
 */
int editor_make_home(const char *dir);

/* Runs it on a file below dir and waits for it. Ctrl-C and Ctrl-\ are the editor's; what would end this process ends
 * the editor first. EXIT_DONE or with the error printed. */
int editor_run(const struct editor *e, const char *dir, const char *file);

#endif
