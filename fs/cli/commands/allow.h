/* Rules that name a program. */
#ifndef COFFER_FS_CLI_COMMANDS_ALLOW_H
#define COFFER_FS_CLI_COMMANDS_ALLOW_H

#include <jansson.h>
#include <stdint.h>

#include "fs/cli/common/cli.h"

/* The words of --exec or --hook with the program's whole path (looked up in PATH). EXIT_DONE, or with the error
 * printed. */
int command_argument(const char *option, const char *given, char *ret_command, size_t len);
/* The user of --user (name or number); NULL: the vault's own for programs, HOOK_USER_ABSENT where this machine does not
 * have it. Never nobody. Likewise. */
int user_argument(struct cli *c, const char *given, uint32_t *ret_uid);

/* client_change for a request with a command. Where the daemon says that the command is not allowed and root asks,
 * root's asking is the leave: the line goes into STORE/hooks.allow, and it is asked again. */
int change_with_command(struct cli *c, json_t *request, const char *command, uint32_t user, json_t **ret_answer);

#endif
