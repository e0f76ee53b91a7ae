/* What the files of the requests share. */
#ifndef COFFER_FS_FUSE_OPS_INTERNAL_H
#define COFFER_FS_FUSE_OPS_INTERNAL_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/fuse/session.h"
#include "fs/serve/call.h"
#include "fs/serve/vault.h"

struct vault *ops_vault(fuse_req_t req);
void ops_error(fuse_req_t req, int negative_errno); /* or 0: it is done */

/* Finds out who asks; release with call_release. False: the request went to a thread that may wait, or has its answer.
 */
bool ops_identify(fuse_req_t req, struct call *ret_call);
/* The same for what then waits for the database or the key holder: once it is known whose turn that is. */
bool ops_identify_and_wait(fuse_req_t req, struct call *ret_call);
/* True: r says that only a thread that may wait can do it, and one is asked. */
bool ops_has_to_wait(fuse_req_t req, int r);
/* True: the vault is mounted read-only, and the answer is given. */
bool ops_refused_read_only(fuse_req_t req);

/* What is told of a name: for how long, and which inode with which attributes (call may be NULL: nobody's). */
double ops_entry_timeout(uint64_t parent);
void ops_entry_begin(uint64_t ino, struct fuse_entry_param *e);
int ops_entry_for(struct vault *v, const struct call *call, uint64_t ino, struct fuse_entry_param *e);

bool ops_is_temporary(uint64_t ino);
bool ops_is_bell(fuse_req_t req);

/* ---- by file: what libfuse calls ---- */

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *want, int to_set, struct fuse_file_info *fi);
void op_access(fuse_req_t req, fuse_ino_t ino, int mask);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to, const char *to_name, unsigned flags);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);

#endif
