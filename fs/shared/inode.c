#include "fs/shared/inode.h"

#include <stddef.h>

#define ROOT_INO     1u /* FUSE_ROOT_ID */
#define TYPE_SHIFT   56
#define TYPE_MASK    0xfu
#define SECRET_SHIFT 28
#define TOP_SHIFT    60
#define TOP_AT       4u /* the layout with an epoch */

/* One canonical form for each type: a number that has a field where its type has none is nobody's, so that no two
 * numbers ever name one thing. */
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
	case INODE_TEMP:
		return i->secret <= INODE_SECRET_MAX && i->low <= INODE_LOW_MAX && (i->secret || i->low);
	case INODE_VIEW:
		return secret && i->low <= INODE_VIEWS;
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

/* ---- what programs see ---- */

/* Wide: bits 52..50 are the sort, bits 49..0 what it is of.
 *
 *   0        root, the vault's own files
 *   1, 2, 3  secret id: its directory, versions/, current
 *   4        secret id << 24 | version
 *   5, 6, 7  a hash: below at/ and views; requests/ and temporary files; other versions
 *
 * Narrow: bits 31..30 are the sort.
 *
 *   0        secret id << 2 | 1, 2, 3: its directory, versions/, current; | 0: root and the vault's own
 *   1        secret id << 11 | version
 *   2, 3     31 bits of a hash */
#define KIND_SHIFT     50
#define NARROW_HASHED  0x80000000u
#define NARROW_VERSION 0x40000000u

/* splitmix64's finisher: a permutation of all numbers. */
static uint64_t scatter(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t wide(uint64_t kind, uint64_t rest) { return kind << KIND_SHIFT | (rest & ((1ull << KIND_SHIFT) - 1)); }

static uint64_t show_wide(const struct inode *i, uint64_t ino)
{
	switch (i->type) {
	case INODE_ROOT:
		return ROOT_INO;
	case INODE_OWN:
		return wide(0, ROOT_INO + i->low);
	case INODE_SECRET:
		return wide(1, i->secret);
	case INODE_VERSIONS:
		return wide(2, i->secret);
	case INODE_CURRENT:
		return wide(3, i->secret);
	case INODE_VERSION:
		if (i->secret < 1u << 26 && i->low < 1u << 24)
			return wide(4, (uint64_t)i->secret << 24 | i->low);
		return wide(7, scatter(ino));
	case INODE_EPOCH:
	case INODE_AT:
	case INODE_VIEW:
		return wide(5, scatter(ino));
	case INODE_REQUEST:
	case INODE_TEMP:
	case INODE_MARKER:
		return wide(6, scatter(ino));
	case INODE_NONE:
		break;
	}
	return 0;
}

static uint64_t show_narrow(const struct inode *i, uint64_t ino)
{
	switch (i->type) {
	case INODE_ROOT:
		return ROOT_INO;
	case INODE_OWN:
		return (ROOT_INO + i->low) << 2;
	case INODE_SECRET:
	case INODE_VERSIONS:
	case INODE_CURRENT:
		return i->secret << 2 | (i->type == INODE_SECRET ? 1u : i->type == INODE_VERSIONS ? 2u : 3u);
	case INODE_VERSION:
		if (i->secret < 1u << 19 && i->low < 1u << 11)
			return NARROW_VERSION | i->secret << 11 | i->low;
		return NARROW_HASHED | (uint32_t)scatter(ino);
	case INODE_EPOCH:
	case INODE_AT:
	case INODE_REQUEST:
	case INODE_TEMP:
	case INODE_MARKER:
	case INODE_VIEW:
		return NARROW_HASHED | (uint32_t)scatter(ino);
	case INODE_NONE:
		break;
	}
	return 0;
}

uint64_t inode_shown(uint64_t ino, bool narrow)
{
	struct inode i;

	if (!inode_unpack(ino, &i))
		return 0;
	return narrow ? show_narrow(&i, ino) : show_wide(&i, ino);
}
