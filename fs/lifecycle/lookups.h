/* Accounts that callers' identities need: their groups are looked up by a child of the runner. */
#ifndef COFFER_FS_LIFECYCLE_LOOKUPS_H
#define COFFER_FS_LIFECYCLE_LOOKUPS_H

#include "fs/lifecycle/programs.h"
#include "fs/serve/vault.h"

/* Takes what was found, and asks for what is wanted. Never blocks. */
void lookups_step(struct vault *v, struct programs *programs);

#endif
