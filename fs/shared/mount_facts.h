/* What is fixed when a file system is mounted, by FUSE_INIT's answer, for as long as it is: a daemon that takes a mount
 * over from an older one has the older one's. */
#ifndef COFFER_FS_SHARED_MOUNT_FACTS_H
#define COFFER_FS_SHARED_MOUNT_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shared_init;

/* Newer than Debian 12's headers (linux/fuse.h of Linux 6.9) */
#define INIT_HAS_RESEND           (1ULL << 39)
#define INIT_PASSTHROUGH          (1ULL << 37)
#define INIT_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#define INIT_STACK_DEPTH          unused[0] /* max_stack_depth of struct fuse_init_out, since 7.40 */

/* How deep the mount counts as stacked. The kernel's limit is 2: overlayfs and ecryptfs, which stand one higher than
 * what they lie on, cannot be mounted on it. No file of it is ever passed through. */
#define STACK_DEPTH 2

/* All flags that a mount should have. */
uint64_t mount_flags_wanted(void);

/* Something that the mount lacks: a word for programs; what follows from that; what to do. */
struct mount_lack {
	const char *name, *why, *how;
};
/* The next that it lacks, from *at on, which begins with 0. False: there is no more. */
bool mount_lacks(const struct shared_init *init, size_t *at, struct mount_lack *ret);

/* Overlayfs or ecryptfs can be mounted on it. */
bool mount_can_be_stacked_on(const struct shared_init *init);

#endif
