/* OPEN, READ and RELEASE, straight from the kernel's structures (linux/fuse.h) to access.h: the path that every `cat`
 * takes several times, and that libfuse would pay for with an allocation, two locks and a list for each request. */
#ifndef COFFER_FS_FUSE_HOT_H
#define COFFER_FS_FUSE_HOT_H

#include "fs/fuse/session.h"

struct fuse_in_header;

/* Session's hook; userdata is struct vault. True: the request was one of the three, and is answered or deferred. */
bool hot_handle(void *userdata, const struct fuse_in_header *in, size_t len);

/* Whose share of things the request uses, as far as that is known without asking anybody: of a RELEASE, the opener's.
 */
uint64_t hot_neighbour(void *userdata, const struct fuse_in_header *in, size_t len);

/* The same of one of root's: its container's, where its thread is in one. */
uint64_t hot_container(void *userdata, const struct fuse_in_header *in);

/* Has the policy let this neighbour in lately? */
bool hot_known(void *userdata, uint64_t neighbour);

bool hot_bell(void *userdata, const struct fuse_in_header *in);

#endif
