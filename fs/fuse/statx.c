#include "fs/fuse/statx.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define NS_PER_S INT64_C(1000000000)

bool statx_getattr(const struct fuse_in_header *in, size_t len, uint8_t ret_request[STATX_GETATTR_LEN])
{
	struct fuse_in_header header = *in;
	struct statx_in asked;
	struct fuse_getattr_in arg = { 0 };

	if (len < sizeof header + sizeof asked)
		return false;
	memcpy(&asked, in + 1, sizeof asked);
	header.opcode = FUSE_GETATTR;
	header.len = STATX_GETATTR_LEN;
	arg.getattr_flags = asked.getattr_flags;
	arg.fh = asked.fh;
	memcpy(ret_request, &header, sizeof header);
	memcpy(ret_request + sizeof header, &arg, sizeof arg);
	return true;
}

/* Nanoseconds are never negative, also before the epoch. */
static struct statx_time time_of(int64_t ns)
{
	const int64_t rest = ns % NS_PER_S;

	return (struct statx_time){ .tv_sec = ns / NS_PER_S - (rest < 0),
				    .tv_nsec = (uint32_t)(rest < 0 ? rest + NS_PER_S : rest) };
}

void statx_answer(const struct fuse_attr_out *attr, int64_t born, struct statx_out *ret)
{
	const struct fuse_attr *a = &attr->attr;

	*ret = (struct statx_out){
		.attr_valid = attr->attr_valid,
		.attr_valid_nsec = attr->attr_valid_nsec,
		.mask = STATX_BASIC_STATS,
		.blksize = a->blksize,
		.nlink = a->nlink,
		.uid = a->uid,
		.gid = a->gid,
		.mode = (uint16_t)a->mode,
		.ino = a->ino,
		.size = a->size,
		.blocks = a->blocks,
		.atime = { (int64_t)a->atime, a->atimensec, 0 },
		.mtime = { (int64_t)a->mtime, a->mtimensec, 0 },
		.ctime = { (int64_t)a->ctime, a->ctimensec, 0 },
		.rdev_major = major(a->rdev),
		.rdev_minor = minor(a->rdev),
	};
	if (born == INT64_MIN)
		return;
	ret->mask |= STATX_BTIME;
	ret->btime = time_of(born);
}
