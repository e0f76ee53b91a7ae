/* What the commands on secrets share with `edit`. */
#ifndef COFFER_FS_CLI_COMMANDS_SECRETS_H
#define COFFER_FS_CLI_COMMANDS_SECRETS_H

#include <stdbool.h>

#include "fs/cli/common/cli.h"
#include "store/crypto/secbuf.h"

/* EXIT_DONE for the number of a version; else EXIT_USAGE with the error printed. */
int version_check(const char *text, long long *ret_version);

int put_set(struct cli *c, const struct args *a); /* put --set */
/* Opens the file of a version on the mount (version NULL: current), O_RDONLY. EXIT_DONE and *ret_fd, or with the error
 * printed. */
int secret_open(struct cli *c, const char *name, const char *version, int *ret_fd);

/* Prints why a call on a secret's file failed, with what to do; asks the daemon (can-i) where that helps. Returns the
 * exit status. */
int secret_explain(struct cli *c, const char *name, const char *version, const char *action, int error);

/* A time of the command line (RFC 3339, or a span from now) as RFC 3339 into text of TIME_TEXT_MAX bytes. EXIT_DONE, or
 * EXIT_USAGE with the error printed. */
int time_argument(const char *option, const char *given, char *ret_text);

#endif
