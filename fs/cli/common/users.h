/* The users that a vault runs as. */
#ifndef COFFER_FS_CLI_COMMON_USERS_H
#define COFFER_FS_CLI_COMMON_USERS_H

/* The users of a vault that has none of its own: the worker's, and with -keys and -helper behind it the others'. */
#define USER_WORKER "coffer"
#define USER_MAX    24 /* bytes of the worker's, with the NUL, as in fs/process/options.h */
#define USERS       3
/* All three names, for a prefix of less than USER_MAX bytes. */
void offline_users(const char *prefix, char ret_names[USERS][USER_MAX + 8]);
/* As whom programs of hooks and rotation policies run unless they name a user. The daemon starts without it. */
void offline_hooks_user(const char *prefix, char ret_name[USER_MAX + 8]);
/* The prefix of the users of the vault in this directory: whose its database is; USER_WORKER where that is not to be
 * seen. */
void offline_prefix(const char *store, char ret_prefix[USER_MAX + 8]);
#define USERADD "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin"

#endif
