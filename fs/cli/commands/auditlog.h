/* The log as records, for commands that look for something in it. */
#ifndef COFFER_FS_CLI_COMMANDS_AUDITLOG_H
#define COFFER_FS_CLI_COMMANDS_AUDITLOG_H

#include <jansson.h>

#include "fs/cli/common/cli.h"
#include "fs/common/timefmt.h"

/* Calls fn for the log's first record, and for each that has the word in it, in order; one record is in memory at a
 * time. EXIT_DONE, or the exit status with the error printed. */
int auditlog_each(struct cli *c, const char *word, void (*fn)(const json_t *record, void *arg), void *arg);

/* How many accesses the record stands for, and when the first and the last of them were: of a folded record what its
 * detail says, else its own time. */
json_int_t auditlog_count(const json_t *record, char ret_first[TIME_TEXT_MAX], char ret_last[TIME_TEXT_MAX]);

#endif
