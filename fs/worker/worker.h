/* The worker: libfuse session, policy, store, envelope and audit, under a user of its own without capabilities. */
#ifndef COFFER_FS_WORKER_WORKER_H
#define COFFER_FS_WORKER_WORKER_H

#include "fs/process/role.h"

/* Runs until the connection ends or SIGTERM; returns the exit status. */
int worker_run(const struct role_args *args);

#endif
