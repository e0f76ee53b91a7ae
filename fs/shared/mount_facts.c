#include "fs/shared/mount_facts.h"

#include "fs/shared/shared.h"

static const char again[] = "unmount it and mount it again: the kernel has it";

static const struct fact {
	uint64_t flag;
	const char *name, *why, *newer;
} facts[] = {
	{ INIT_PASSTHROUGH, "no_overlay",
	  "overlayfs and ecryptfs can be mounted on it, by root, and keep values in the clear on a disk of theirs "
	  "(opens with O_NOATIME, which overlayfs makes, are refused for that)",
	  "Linux 6.9 with CONFIG_FUSE_PASSTHROUGH has it" },
	{ INIT_HAS_RESEND, "resend",
	  "after a worker's death requests are replayed from the keeper's memory, and callers cannot be killed "
	  "meanwhile",
	  "Linux 6.9 has it" },
	{ INIT_DIRECT_IO_ALLOW_MMAP, "shared_mmap", "a shared map of a secret is refused; a private one is not",
	  "Linux 6.6 has it" },
	{ FUSE_PARALLEL_DIROPS, "parallel_dirops", "look-ups and listings of one directory wait for each other",
	  "Linux 4.7 has it" },
	{ FUSE_MAX_PAGES, "max_pages", "a write of more than 128 KiB needs more requests", "Linux 4.20 has it" },
	{ FUSE_ATOMIC_O_TRUNC, "atomic_o_trunc", "opening with O_TRUNC is two requests", "Linux 2.6.24 has it" },
	{ FUSE_DO_READDIRPLUS, "readdirplus", "a listing with attributes needs a request for each name",
	  "Linux 3.9 has it" },
	{ FUSE_READDIRPLUS_AUTO, "readdirplus_auto", "a listing without attributes brings them all the same",
	  "Linux 3.9 has it" },
	{ FUSE_ASYNC_READ, "async_read", "reads of a map wait for each other", "Linux 2.6.20 has it" },
	{ FUSE_ASYNC_DIO, "async_dio",
	  "reads by io_uring and AIO give a value again and again, until the buffer is full", "Linux 3.7 has it" },
	{ FUSE_BIG_WRITES, "big_writes", "each page that is written is a request", "Linux 2.6.26 has it" },
};

/* What else a kernel offers (its include/uapi/linux/fuse.h, up to 7.45), and why it is left. libfuse's default has
 * those with a star.
 *
 *   EXPORT_SUPPORT            files would be found by number, past the names that somebody was given
 *   NO_EXPORT_SUPPORT         fanotify tells of files by such numbers; the policy decides each open in any case
 *   POSIX_LOCKS, FLOCK_LOCKS  the kernel's own locks serve all who use this mount; ours would die with a worker
 *   SPLICE_READ *, SPLICE_WRITE *, SPLICE_MOVE *   values lie in locked memory, which cannot be spliced
 *   AUTO_INVAL_DATA *         pages go when we say so, and a changed size takes them along; it would ask for attributes
 *                             at each read of a page
 *   EXPLICIT_INVAL_DATA       a changed size would not take them along
 *   WRITEBACK_CACHE           what is written would lie in the page cache, and come without its writer
 *   NO_OPEN_SUPPORT, NO_OPENDIR_SUPPORT   each open is decided
 *   HANDLE_KILLPRIV *, HANDLE_KILLPRIV_V2, DONT_MASK, POSIX_ACL, SETXATTR_EXT, SECURITY_CTX, CREATE_SUPP_GROUP
 *                             modes, labels and owners are not for callers to make
 *   IOCTL_DIR *               there are no ioctls
 *   CACHE_SYMLINKS            saves a request that nobody counts
 *   ABORT_ERROR               an aborted connection would say ECONNABORTED where workers go by ENODEV
 *   HAS_EXPIRE_ONLY           names are never taken from the kernel's cache by a notice
 *   ALLOW_IDMAP               requests would come without uid and gid
 *   OVER_IO_URING             what is in flight dies with a worker, and is not sent again
 *   REQUEST_TIMEOUT           a caller that waits for the next worker must not be given up
 *   FILE_OPS, MAP_ALIGNMENT, SUBMOUNTS, HAS_INODE_DAX   of older kernels, or of virtiofs alone */

#define FACTS (sizeof facts / sizeof *facts)

uint64_t mount_flags_wanted(void)
{
	uint64_t flags = FUSE_INIT_EXT;

	for (size_t i = 0; i < FACTS; i++)
		flags |= facts[i].flag;
	return flags;
}

static uint64_t whole(uint32_t flags, uint32_t flags2)
{
	return flags & FUSE_INIT_EXT ? flags | (uint64_t)flags2 << 32 : flags;
}

static uint64_t offered(const struct shared_init *init)
{
	const struct fuse_init_in *in = (const void *)(init->request + sizeof(struct fuse_in_header));
	return whole(in->flags, in->flags2);
}

static uint64_t granted(const struct shared_init *init)
{
	const struct fuse_init_out *out = (const void *)(init->answer + sizeof(struct fuse_out_header));
	const uint64_t flags = whole(out->flags, out->flags2);

	return out->INIT_STACK_DEPTH == STACK_DEPTH ? flags : flags & ~INIT_PASSTHROUGH;
}

bool mount_lacks(const struct shared_init *init, size_t *at, struct mount_lack *ret)
{
	for (; *at < FACTS; ++*at) {
		const struct fact *f = &facts[*at];
		if (granted(init) & f->flag)
			continue;
		*ret = (struct mount_lack){ f->name, f->why, offered(init) & f->flag ? again : f->newer };
		++*at;
		return true;
	}
	return false;
}

bool mount_can_be_stacked_on(const struct shared_init *init) { return !(granted(init) & INIT_PASSTHROUGH); }
