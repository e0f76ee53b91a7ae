/* What the keeper opens of the store before anything runs: each check gives one line that says what is wrong and what
 * to do. */
#ifndef COFFER_FS_KEEPER_STORE_H
#define COFFER_FS_KEEPER_STORE_H

#include <sys/types.h>

#include "fs/process/options.h"
#include "store/keys/vaultconf.h"

struct keeper_users {
	uid_t worker, keys, helper;
	gid_t worker_gid, keys_gid, helper_gid;
};

struct keeper_store {
	int dir, lock, audit_dir, audit_head, kek, unseal; /* descriptors; -1: none */
	struct vaultconf conf;
	struct keeper_users users;
};

/* 0; or the exit status for the person who starts the daemon (1 error, 5 conflict, 6 integrity), with the line in why.
 */
int keeper_store_open(const struct options *options, struct keeper_store *ret_store, char *why, size_t why_len);
void keeper_store_close(struct keeper_store *s);
/* The store's directory is root's, and nobody else can put something in. 0, or 1 with the line in why. */
int keeper_store_check_owner(int dir, const char *path, char *why, size_t why_len);
/* Writes into the lock whose it is. */
void keeper_store_sign(const struct keeper_store *s);

#endif
