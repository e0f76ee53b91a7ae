/* A store on disk, for the commands that work without a daemon (or beside one). */
#ifndef COFFER_CLI_STORE_ACCESS_H
#define COFFER_CLI_STORE_ACCESS_H

#include <limits.h>
#include <sys/types.h>

#include "fs/cli/cli.h"
#include "store/keyholder.h"
#include "store/store.h"
#include "store/vaultconf.h"

/* The users of a vault that has none of its own: the worker's, and with -keys and -helper behind it the others'. */
#define USER_WORKER "coffer"
#define USER_MAX    24		/* bytes of the worker's, with the NUL, as in fs/options.h */
#define USERS       3
/* All three names, for a prefix of less than USER_MAX bytes. */
void offline_users(const char *prefix, char ret_names[USERS][USER_MAX + 8]);
/* As whom programs of hooks and rotation policies run unless they name a user. The daemon starts without it. */
void offline_hooks_user(const char *prefix, char ret_name[USER_MAX + 8]);
/* The prefix of the users of the vault in this directory: whose its database is; USER_WORKER where that is not to be seen. */
void offline_prefix(const char *store, char ret_prefix[USER_MAX + 8]);
#define USERADD "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin"
#define ETC_DIR     "/etc/coffer"

struct offline {
	char dir[PATH_MAX];		/* the store's absolute path */
	char verify_path[PATH_MAX];	/* where init put the log's verify key */
	struct vaultconf conf;
	struct keys *keys;		/* over the socket of a key holder: this process never has the KEK */
	pid_t holder;			/* which is a child of ours */
	struct store *store;
};

/* EXIT_DONE for root; else EXIT_DENIED with the error printed. */
int offline_need_root(const char *command);

/* Absolute path of a store that exists, and its vault.conf. EXIT_DONE, or with the error printed. */
int offline_find(const char *given, struct offline *ret);

/* Starts a key holder, with the KEK from where the store says, or from kek_uri; then gives up root for the worker's user for good; opens the store, still locked.
 * EXIT_DONE, or with the error printed. */
int offline_open(struct offline *o, const char *kek_uri);
/* Verifies every row and makes the store usable. EXIT_DONE, or with the error printed. */
int offline_unlock(struct offline *o);
void offline_close(struct offline *o);

/* The verify key lies beside a KEK that is a file; else in ETC_DIR. It is called as the vault is; or, where another vault of that name had it already, as the vault and the beginning of its id are. */
void offline_verify_path(const struct vaultconf *conf, char ret_path[PATH_MAX]);
/* Is verify_path the one called as the vault alone, so that it may be another vault's? The other name then. */
bool offline_verify_doubtful(const struct offline *o, char ret_path[PATH_MAX]);
/* In that place, and called so: VAULT or VAULT-ID, and the suffix. */
enum offline_naming { BY_NAME, BY_NAME_AND_ID };
void offline_key_path(const struct vaultconf *conf, enum offline_naming naming, const char *suffix, char ret_path[PATH_MAX]);

/* Could somebody else put another file or directory in the place of this one (absolute)? Each directory above it that is there, and above where links lead to, must be root's, and written to by nobody else, but for those with
 * the sticky bit. EXIT_DONE, or EXIT_ERROR with the error printed; what names it in the message. */
int offline_check_ways(const char *what, const char *path);
/* The first such directory into ret (PATH_MAX bytes); false: there is none. */
bool offline_weak_way(const char *path, char *ret);

#endif
