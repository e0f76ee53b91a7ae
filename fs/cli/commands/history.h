/* --keep-versions and --keep-for, which several commands take. */
#ifndef COFFER_FS_CLI_COMMANDS_HISTORY_H
#define COFFER_FS_CLI_COMMANDS_HISTORY_H

#include <stdbool.h>

#include "fs/cli/common/cli.h"

bool history_given(const struct args *a);
/* Sets what was given for a scope that is one. EXIT_DONE, or with the error printed. */
int history_set(struct cli *c, const struct args *a, const char *scope);

#endif
