/* Node ids, by which the kernel names inodes to us: a pure function of what the store never reuses, so that they are
 * the same in every worker and after every restart (a shifted number made a bind mount of one secret serve another).
 *
 *   bits 63..60  0
 *   bits 59..56  type (enum inode_type)
 *   bits 55..28  secret id                      (below 2^28)
 *   bits 27..0   version number (version files), place of a view, else 0
 *
 * Directories below .coffer/at have another layout, for they have an epoch:
 *
 *   bits 63..60  4
 *   bits 59..28  epoch                          (1 to 2^32 - 1)
 *   bits 27..0   secret id, 0 for the epoch's own directory
 *
 * A temporary file has 56 bits below the type: its number, which is never used again while the daemon lives.
 * What lies in .coffer/requests has 56 bits of its own below the type: its name, which whoever asks makes up.
 *
 * The root is 1 (FUSE_ROOT_ID); the vault's own files are INODE_OWN with their number in the low bits.
 *
 * What programs see as st_ino and d_ino is another number (inode_shown): programs keep one in a double, which has 53
 * bits, or in 32. */
#ifndef COFFER_FS_SHARED_INODE_H
#define COFFER_FS_SHARED_INODE_H

#include <stdbool.h>
#include <stdint.h>

enum inode_type {
	INODE_NONE = 0,
	INODE_ROOT = 1,
	INODE_OWN, /* .coffer/ and what is in it: low bits are enum inode_own */
	/* its directory: one for its life, wherever it stands, for a rename keeps the number in the kernel */
	INODE_SECRET,
	INODE_VERSIONS, /* its versions/ */
	INODE_CURRENT,  /* one for the secret's life */
	INODE_VERSION,  /* (secret, version) */
	INODE_EPOCH,    /* .coffer/at/EPOCH; low is the epoch */
	INODE_AT,       /* .coffer/at/EPOCH/NAME of (secret, epoch) */
	/* .coffer/requests/NAME: as ctl, with a lock of its own; secret is the upper half of the name's bits */
	INODE_REQUEST,
	/* a temporary file beside a secret's current (fs/shared/temps.h): secret and low are the halves of its id */
	INODE_TEMP,
	/* what the bell makes and renames in a secret's directory, for those who wait for that (fs/helpers/bell.h); low
	   is any number */
	INODE_MARKER,
	INODE_VIEW, /* (secret, place): a text that is made of an object (fs/serve/kind_files.h) */
};

enum inode_own {
	OWN_DIR = 1,
	OWN_CTL,
	OWN_WHOAMI,
	OWN_STATUS,
	OWN_METRICS,
	OWN_AUDIT,
	OWN_DELETED,
	OWN_AT,
	OWN_EVENTS,
	OWN_REQUESTS,
#ifdef COFFER_TEST_HOOKS
	OWN_TEST,
#endif
	OWN_END
};

#define INODE_LOW_MAX    ((1u << 28) - 1)
#define INODE_SECRET_MAX ((1u << 28) - 1)
#define INODE_EPOCH_MAX  UINT32_MAX
#define INODE_VIEWS      7u /* the last place of a view */

struct inode {
	enum inode_type type;
	uint32_t secret;
	uint32_t low;
};

/* 0 for what no inode of ours is (a secret id of 0, a version 0, a field where the type has none): the kernel takes a
 * node id of 0 for "no such name". */
uint64_t inode_pack(const struct inode *i);
/* False for a number that no inode of ours has. */
bool inode_unpack(uint64_t ino, struct inode *ret_inode);

/* The number that programs see of a node id, below 2^53, or below 2^32 if narrow (-o ino32). No two objects have the
 * same, nor two of their versions below 2^26 and 2^24 (narrow: 2^19 and 2^11); what lies beyond those, or below
 * .coffer/at and .coffer/requests, has a hash of 50 bits (narrow: 31). 0 for what no inode of ours is. */
uint64_t inode_shown(uint64_t ino, bool narrow);

static inline uint64_t inode_own(enum inode_own o)
{
	return inode_pack(&(struct inode){ .type = INODE_OWN, .low = o });
}
static inline bool inode_is_dir(const struct inode *i)
{
	return i->type == INODE_ROOT || i->type == INODE_SECRET || i->type == INODE_VERSIONS ||
	       i->type == INODE_EPOCH || i->type == INODE_AT ||
	       (i->type == INODE_OWN &&
		(i->low == OWN_DIR || i->low == OWN_DELETED || i->low == OWN_AT || i->low == OWN_REQUESTS));
}

#endif
