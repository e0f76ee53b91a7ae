/* What comes from others, names and reasons for example, and is shown at a terminal. */
#ifndef COFFER_FS_CLI_COMMON_HARMLESS_H
#define COFFER_FS_CLI_COMMON_HARMLESS_H

#include <stdio.h>

/* Replaces by '?', in place, what a terminal would obey, what turns the order of a line, and what is no UTF-8. */
void make_harmless(char *text);

/* JSON as it was dumped, with what a terminal would obey as \u. */
void put_harmless_json(FILE *out, const char *text);

#endif
