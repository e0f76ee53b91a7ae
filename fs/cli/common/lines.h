/* Files of JSON lines under .coffer/: printed as a table or as JSON, to their end or for as long as they grow. */
#ifndef COFFER_FS_CLI_COMMON_LINES_H
#define COFFER_FS_CLI_COMMON_LINES_H

#include <jansson.h>

#include "fs/cli/common/cli.h"

struct lines_filter {
	bool since_given, denied;
	int64_t since;
	const char *secret;
};

/* One such file. */
struct lines_file {
	const char *name; /* "audit" */
	const char *what; /* "the audit log" */
	const char *none; /* said when nothing matches */
	bool (*wanted)(const struct lines_filter *f, const json_t *record);
	void (*print_header)(void);
	void (*print)(const json_t *record);
};

/* With --follow, --since and --secret; filter holds what else the command wants. Returns the exit status. */
int lines_run(struct cli *c, const struct args *a, const struct lines_file *file, struct lines_filter filter);

/* Calls fn for the file's first record, and for each that has the word in it, in order; one record is in memory at a
 * time. EXIT_DONE, or the exit status with the error printed. */
int lines_each(struct cli *c, const struct lines_file *file, const char *word,
	       void (*fn)(const json_t *record, void *arg), void *arg);

/* The text of a field, "" where there is none. */
const char *lines_text(const json_t *object, const char *key);

#endif
