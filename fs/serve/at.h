/* .coffer/at/EPOCH/NAME/current: every secret as it was at one epoch, while its versions exist. What lies there is a
 * second name of NAME/versions/N, and so has its inode number, its rights and its records. */
#ifndef COFFER_FS_SERVE_AT_H
#define COFFER_FS_SERVE_AT_H

#include "fs/serve/names.h"

/* Directories of at/, under the tables' lock: 0 or -ENOENT. dir is .coffer/at, an epoch's directory, or a secret's in
 * it. */
int at_lookup(struct vault *v, const struct inode *dir, const char *name, struct inode *ret);
/* Only the present epoch is listed in at/ (each one that was can be named), and in an epoch's directory only what the
 * call may list. */
void at_list(struct vault *v, const struct identity *who, const struct inode *dir, uint64_t offset,
	     int (*fn)(const struct names_entry *e, void *arg), void *arg);

/* Does a name in this directory go, or come to mean something else, without an operation on the mount? Then the kernel
 * must not keep it. */
static inline bool at_is_volatile(const struct inode *dir) { return dir->type == INODE_EPOCH || dir->type == INODE_AT; }

#endif
