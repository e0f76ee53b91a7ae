/* What follows a commit. */
#ifndef COFFER_FS_SERVE_CHANGED_H
#define COFFER_FS_SERVE_CHANGED_H

#include "fs/serve/ring.h"

/* After a commit: watchers hear of it (of what came through the mount, the kernel tells them: no rings, or of a write
 * the marker alone), new names appear in the mount, which is waited for (fs/serve/appear.h), and plaintext that may
 * have lost its readers goes. */
void vault_changed(struct vault *v, enum vault_rings rings);

#endif
