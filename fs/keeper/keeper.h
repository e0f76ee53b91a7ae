/* The keeper: opens /dev/fuse, mounts, answers FUSE_INIT, owns the memory that outlives workers, starts and restarts
 * the other roles, unmounts.
 *
 * It runs as root, and therefore does little: no libfuse, no SQLite, no cryptography, and no byte of a caller's is
 * parsed here. */
#ifndef COFFER_FS_KEEPER_KEEPER_H
#define COFFER_FS_KEEPER_KEEPER_H

#include "fs/process/options.h"

/* Runs until the mount is gone or a signal ends it. report_fd (-1: none) gets one line when the mount is up or could
 * not be made: a digit, the exit status, then text. Returns the exit status. */
int keeper_run(const struct options *options, int report_fd);

/* Goes on as the keeper that this process was, before it executed this binary: after an upgrade in place. */
int keeper_resume(int state_fd);
/* For that one: could this binary go on from its state? 0 or 1. */
int keeper_can_resume(int state_fd);

/* mount -o remount: makes the vault that is served from options->store read-only, or writable. 0, or negative errno
 * with one line in why. */
int keeper_remount(const struct options *options, char *why, size_t why_len);

#endif
