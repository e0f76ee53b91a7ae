/* The vault key: had, and thrown away. */
#ifndef COFFER_FS_SERVE_SEAL_H
#define COFFER_FS_SERVE_SEAL_H

#include "fs/serve/vault.h"

/* Gets the vault key and verifies everything; the active worker records it. 0; -ENOKEY; -EBADMSG. */
int vault_unlock(struct vault *v, char *why, size_t why_len);
int vault_seal(struct vault *v);
/* A standby follows the store, and throws its keys away where the vault was sealed since it took them. 0 or what
 * store_catch_up says. */
int vault_stand_by(struct vault *v);
/* Once it may write: records what it found as a standby. */
void vault_take_over(struct vault *v);

#endif
