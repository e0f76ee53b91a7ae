/* libfuse's callbacks: translate a request, call the room that knows, reply. */
#ifndef COFFER_FS_FUSE_OPS_H
#define COFFER_FS_FUSE_OPS_H

#include "fs/fuse/session.h"
#include "fs/serve/vault.h"

struct appear_answers;

struct fuse_lowlevel_ops;

/* The table; userdata of the session is struct vault. */
const struct fuse_lowlevel_ops *ops_table(void);

/* For requests that fs/serve/appear.h keeps for later. From any thread. */
const struct appear_answers *ops_answers(void);

#endif
