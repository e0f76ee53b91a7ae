/* A store on disk, for the commands that work without a daemon (or beside one). */
#ifndef COFFER_FS_CLI_COMMON_STORE_ACCESS_H
#define COFFER_FS_CLI_COMMON_STORE_ACCESS_H

#include <limits.h>
#include <sys/types.h>

#include "fs/cli/common/cli.h"
#include "store/keys/vaultconf.h"

struct keys;
struct store;

#define ETC_DIR "/etc/coffer"

struct offline {
	char dir[PATH_MAX];         /* the store's absolute path */
	char verify_path[PATH_MAX]; /* where init put the log's verify key */
	struct vaultconf conf;
	struct keys *keys; /* over the socket of a key holder: this process never has the KEK */
	pid_t holder;      /* which is a child of ours */
	struct store *store;
	int index; /* descriptor that holds the database's index while the store is open */
};

/* EXIT_DONE for root; else EXIT_DENIED with the error printed. */
int offline_need_root(const char *command);

/* Absolute path of a store that exists, and its vault.conf. EXIT_DONE, or with the error printed. */
int offline_find(const char *given, struct offline *ret);

/* Starts a key holder, with the KEK from where the store says, or from kek_uri; then gives up root for the worker's
 * user for good; opens the store, still locked. EXIT_DONE, or with the error printed. */
int offline_open(struct offline *o, const char *kek_uri);
/* Verifies every row and makes the store usable. EXIT_DONE, or with the error printed. */
int offline_unlock(struct offline *o);
void offline_close(struct offline *o);

/* The verify key lies beside a KEK that is a file; else in ETC_DIR. It is called as the vault is; or, where another
 * vault of that name had it already, as the vault and the beginning of its id are. */
void offline_verify_path(const struct vaultconf *conf, char ret_path[PATH_MAX]);
/* Is verify_path the one called as the vault alone, so that it may be another vault's? The other name then. */
bool offline_verify_doubtful(const struct offline *o, char ret_path[PATH_MAX]);
/* In that place, and called so: VAULT or VAULT-ID, and the suffix. */
enum offline_naming { BY_NAME, BY_NAME_AND_ID };
void offline_key_path(const struct vaultconf *conf, enum offline_naming naming, const char *suffix,
		      char ret_path[PATH_MAX]);

/* Could somebody else put another file or directory in the place of this one (absolute)? Each directory above it that
 * is there, and above where links lead to, must be root's, and written to by nobody else, but for those with the sticky
 * bit. EXIT_DONE, or EXIT_ERROR with the error printed; what names it in the message. */
int offline_check_ways(const char *what, const char *path);
/* The first such directory into ret (PATH_MAX bytes); false: there is none. */
bool offline_weak_way(const char *path, char *ret);

#endif
