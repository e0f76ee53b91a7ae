/* FUSE_STATX (protocol 7.39), which this libfuse does not know: asked for as GETATTR, and answered with the time of
 * birth besides. The kernel sends it for callers that want that time.
 *
 * Structures as in the kernel's include/uapi/linux/fuse.h. */
#ifndef COFFER_FS_FUSE_STATX_H
#define COFFER_FS_FUSE_STATX_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_attr_out;
struct fuse_in_header;

#define STATX_OPCODE 52u /* FUSE_STATX */

struct statx_in {
	uint32_t getattr_flags, reserved;
	uint64_t fh;
	uint32_t sx_flags, sx_mask;
};
struct statx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};
struct statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare0;
	uint64_t ino, size, blocks, attributes_mask;
	struct statx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare2[14];
};
_Static_assert(sizeof(struct statx_in) == 24 && sizeof(struct statx_out) == 288 &&
		       offsetof(struct statx_out, atime) == 96,
	       "as the kernel has them");

#define STATX_GETATTR_LEN (sizeof(struct fuse_in_header) + sizeof(struct fuse_getattr_in))
/* The GETATTR that asks for the same. False: the request is too short. */
bool statx_getattr(const struct fuse_in_header *in, size_t len, uint8_t ret_request[STATX_GETATTR_LEN]);
/* Its answer; born: ns since the epoch, INT64_MIN: not known, or not for this caller. */
void statx_answer(const struct fuse_attr_out *attr, int64_t born, struct statx_out *ret);

#endif
