/* Names on the command line: of secrets, and of users and groups. Only the client knows /etc/passwd as the user sees
 * it; the daemon is told numbers. */
#ifndef COFFER_FS_CLI_COMMON_NAMES_H
#define COFFER_FS_CLI_COMMON_NAMES_H

#include "policy/principal.h"

/* A principal of the command line in its canonical text, with names resolved. EXIT_DONE, or EXIT_USAGE or
 * EXIT_NOT_FOUND with the error printed. */
int principal_argument(const char *given, struct principal *ret_principal, char ret_text[PRINCIPAL_TEXT_MAX]);

/* What to write instead of a name that cannot be one; "" or a part of a sentence that begins with a semicolon. */
const char *name_advice(const char *name);
/* EXIT_DONE for a name that a secret may have; else EXIT_USAGE with the error printed. */
int secret_name_check(const char *name);

#endif
