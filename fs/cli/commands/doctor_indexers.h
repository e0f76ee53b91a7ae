/* Part of coffer doctor: whether updatedb (plocate, mlocate) reads the vault's names, as root, into an index that shows
 * them to whoever runs locate(1). */
#ifndef COFFER_FS_CLI_COMMANDS_DOCTOR_INDEXERS_H
#define COFFER_FS_CLI_COMMANDS_DOCTOR_INDEXERS_H

#include <stdbool.h>

#define INDEXERS_CONF "/etc/updatedb.conf"

/* Do these settings of updatedb leave out what is mounted there? text is the content of its configuration. */
bool indexers_leave_out(const char *text, const char *mount);

/* Calls say once, or not at all where there is no updatedb. */
void doctor_indexers(const char *mount, void (*say)(void *arg, bool warn, const char *text), void *arg);

#endif
