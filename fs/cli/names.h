/* Users and groups by name: only the client knows /etc/passwd as the user sees it; the daemon is told numbers. */
#ifndef COFFER_CLI_NAMES_H
#define COFFER_CLI_NAMES_H

#include "policy/principal.h"

/* A principal of the command line in its canonical text, with names resolved. EXIT_DONE, or EXIT_USAGE or EXIT_NOT_FOUND with the error printed. */
int principal_argument(const char *given, struct principal *ret_principal, char ret_text[PRINCIPAL_TEXT_MAX]);

#endif
