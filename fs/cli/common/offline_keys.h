/* The key holder of the commands that work on a store itself.
 *
 * The database of a store can be what the worker's user made of it. So the process that reads it does not have the KEK:
 * a child of its own has, in the same cell as the daemon's key holder and under the same user, and answers the same
 * typed calls. The child is exec'd, reads key file or passphrase itself, and ends with its parent. */
#ifndef COFFER_FS_CLI_COMMON_OFFLINE_KEYS_H
#define COFFER_FS_CLI_COMMON_OFFLINE_KEYS_H

#include "fs/cli/common/store_access.h"
#include "fs/process/role.h"

/* As root: starts the child, which asks for a passphrase if uri needs one, and waits until it has the key. worker:
 * whose the database is. EXIT_DONE and o->keys, or with the error printed, by the child if it is the key's. */
int offline_keys_start(struct offline *o, const char *uri, uid_t worker);
void offline_keys_end(struct offline *o); /* may be called without a start */

/* The child: coffer --role=keyholder. The exit status. */
int offline_keys_role(const struct role_args *args);

#endif
