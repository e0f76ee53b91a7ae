/* The log as records, for commands that look for something in it. */
#ifndef COFFER_CLI_AUDITLOG_H
#define COFFER_CLI_AUDITLOG_H

#include <jansson.h>

#include "fs/cli/cli.h"

/* Calls fn for the log's first record, and for each that has the word in it, in order; one record is in memory at a time. EXIT_DONE, or the exit status with the error printed. */
int auditlog_each(struct cli *c, const char *word, void (*fn)(const json_t *record, void *arg), void *arg);

#endif
