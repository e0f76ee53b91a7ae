#include "fs/inode.h"

#include <stddef.h>

#define ROOT_INO    1u	/* FUSE_ROOT_ID */
#define TYPE_SHIFT  56
#define TYPE_MASK   0xfu
#define SECRET_SHIFT 28
#define TOP_SHIFT   60
#define TOP_AT      4u	/* the layout with an epoch */

/* One canonical form for each type: a number that has a field where its type has none is nobody's, so that no two numbers ever name one thing. */
static bool inode_valid(const struct inode *i)
{
	bool secret = i->secret >= 1 && i->secret <= INODE_SECRET_MAX;

	switch (i->type) {
	case INODE_ROOT:
		return i->secret == 0 && i->low == 0;
	case INODE_OWN:
		return i->secret == 0 && i->low >= OWN_DIR && i->low < OWN_END;
	case INODE_SECRET:
	case INODE_VERSIONS:
	case INODE_CURRENT:
		return secret && i->low == 0;
	case INODE_VERSION:
		return secret && i->low >= 1 && i->low <= INODE_LOW_MAX;
	case INODE_EPOCH:
		return i->secret == 0 && i->low >= 1;
	case INODE_AT:
		return secret && i->low >= 1;
	case INODE_MARKER:
		return i->secret == 0 && i->low >= 1 && i->low <= INODE_LOW_MAX;
	case INODE_REQUEST:
		return i->secret <= INODE_SECRET_MAX && i->low <= INODE_LOW_MAX;
	case INODE_NONE:
		break;
	}
	return false;
}

uint64_t inode_pack(const struct inode *i)
{
	if (!inode_valid(i))
		return 0;
	if (i->type == INODE_ROOT)
		return ROOT_INO;
	if (i->type == INODE_EPOCH || i->type == INODE_AT)
		return (uint64_t)TOP_AT << TOP_SHIFT | (uint64_t)i->low << SECRET_SHIFT | i->secret;
	return (uint64_t)i->type << TYPE_SHIFT | (uint64_t)i->secret << SECRET_SHIFT | i->low;
}

bool inode_unpack(uint64_t ino, struct inode *ret_inode)
{
	struct inode i;

	if (ino == ROOT_INO) {
		*ret_inode = (struct inode){ .type = INODE_ROOT };
		return true;
	}
	if (ino >> TOP_SHIFT == TOP_AT) {
		i.secret = (uint32_t)(ino & INODE_SECRET_MAX);
		i.low = (uint32_t)(ino >> SECRET_SHIFT);
		i.type = i.secret ? INODE_AT : INODE_EPOCH;
		if (!inode_valid(&i))
			return false;
		*ret_inode = i;
		return true;
	}
	if (ino >> TOP_SHIFT != 0)
		return false;
	i.type = (enum inode_type)(ino >> TYPE_SHIFT & TYPE_MASK);
	i.secret = (uint32_t)(ino >> SECRET_SHIFT & INODE_SECRET_MAX);
	i.low = (uint32_t)(ino & INODE_LOW_MAX);
	if (i.type == INODE_ROOT || i.type == INODE_EPOCH || i.type == INODE_AT || !inode_valid(&i))
		return false;
	*ret_inode = i;
	return true;
}
