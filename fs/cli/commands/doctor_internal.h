/* What the files of coffer doctor share. */
#ifndef COFFER_FS_CLI_COMMANDS_DOCTOR_INTERNAL_H
#define COFFER_FS_CLI_COMMANDS_DOCTOR_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "store/keys/kek.h"

enum verdict { GOOD, WARN, BAD };

struct doctor {
	bool bad;
	bool json;
	json_t *lines;
	pid_t runner;               /* 0: not known */
	char kek_from[KEK_URI_MAX]; /* what the daemon was told of the key's place; "": where the store says */
};

/* One line of what was found. */
void doctor_say(struct doctor *d, enum verdict v, const char *what, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* What holds the daemon's processes, from the vault's status. */
void doctor_check_cells(struct doctor *d, const json_t *status);

#endif
