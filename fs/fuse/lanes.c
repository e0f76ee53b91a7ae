#include "fs/fuse/lanes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/common/shares.h"
#include "fs/fuse/statx.h"
#include "fs/fuse/turns.h"

const struct lane_shape lane_shapes[LANES] = {
	[LANE_ASK] = { 3, 2, WAITS_FOR_RESOLVER },    [LANE_ASK_KNOWN] = { 3, 2, WAITS_FOR_RESOLVER },
	[LANE_WAIT] = { 8, 4, WAITS_FOR_ALL },        [LANE_LOCKED_ASK] = { 3, 2, WAITS_FOR_RESOLVER },
	[LANE_LOCKED_WAIT] = { 3, 2, WAITS_FOR_ALL },
};
_Static_assert(LANE_THREADS == 3 + 3 + 8 + 3 + 3, "each thread has a slot");

/* What waiting requests take from: places to be copied to, for each kind of lane, and slots. */
enum pool { NO_POOL, POOL_COMMON, POOL_KNOWN, POOL_LOCKED, POOL_WRITES, POOLS };
static const struct shares_config pools[POOLS] = {
	[POOL_COMMON] = { .units = PARKED_COMMON, .most = PARKED_MOST, .reserve = PARKED_RESERVE },
	[POOL_KNOWN] = { .units = PARKED_KNOWN, .reserve = PARKED_LOCKED_RESERVE },
	[POOL_LOCKED] = { .units = PARKED_LOCKED, .reserve = PARKED_LOCKED_RESERVE },
	[POOL_WRITES] = { .units = SLOTS - LANE_THREADS - 1, .reserve = 2 }, /* one is always there to read into */
};

struct waiting {
	uint64_t neighbour;
	enum pool pool;
	enum lane lane;
};

struct lanes {
	struct shared *shared;
	struct turns *turns[LANES];
	struct shares *shares[POOLS];
	struct waiting waiting[PARKED + SLOTS]; /* by entry */
	uint16_t free[PARKED];
	size_t n_free;
};

#define CROWD 64u /* no more than any of the reserves */

static const void *body_of(const struct fuse_in_header *in) { return in + 1; }

bool lanes_locked(const struct fuse_in_header *in, size_t len)
{
	const size_t body = len - sizeof *in;

	switch (in->opcode) {
	case FUSE_WRITE:
	case FUSE_FSYNC:
	case FUSE_SETATTR:
	case FUSE_MKDIR:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_CREATE:
	case FUSE_UNLINK:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return true;
	/* the kernel's own, while FS_IOC_SETFLAGS or file_setattr(2) holds the file's lock: every other has
	 * O_LARGEFILE, but for those of 32-bit programs without it */
	case FUSE_OPEN:
		return body >= sizeof(struct fuse_open_in) && ((const struct fuse_open_in *)body_of(in))->flags == 0;
	case FUSE_GETATTR: /* of lseek(2) to the end */
	case STATX_OPCODE: /* begins alike */
		return body >= sizeof(struct fuse_getattr_in) &&
		       (((const struct fuse_getattr_in *)body_of(in))->getattr_flags & FUSE_GETATTR_FH);
	case FUSE_READ: /* into the page cache: every open of the file waits for its pages, which it drops */
		return body >= sizeof(struct fuse_read_in) &&
		       !(((const struct fuse_read_in *)body_of(in))->read_flags & FUSE_READ_LOCKOWNER);
	default:
		return false;
	}
}

enum lane lanes_of(const struct fuse_in_header *in, size_t len, enum patience wants, bool known)
{
	if (lanes_locked(in, len))
		return wants == WAITS_FOR_ALL ? LANE_LOCKED_WAIT : LANE_LOCKED_ASK;
	if (wants == WAITS_FOR_ALL)
		return LANE_WAIT;
	return known ? LANE_ASK_KNOWN : LANE_ASK;
}

int lanes_new(struct shared *shared, struct lanes **ret_lanes)
{
	struct lanes *l = calloc(1, sizeof *l);
	int r = l ? 0 : -ENOMEM;

	if (l)
		l->shared = shared;
	for (int i = 0; i < LANES && !r; i++)
		r = turns_new(PARKED + SLOTS, lane_shapes[i].threads, lane_shapes[i].share, &l->turns[i]);
	for (int i = NO_POOL + 1; i < POOLS && !r; i++)
		r = shares_new(&pools[i], &l->shares[i]);
	if (r) {
		lanes_free(l);
		return r;
	}
	*ret_lanes = l;
	return 0;
}

void lanes_free(struct lanes *l)
{
	if (!l)
		return;
	for (int i = 0; i < LANES; i++)
		turns_free(l->turns[i]);
	for (int i = NO_POOL + 1; i < POOLS; i++)
		shares_free(l->shares[i]);
	free(l);
}

static void wait_in(struct lanes *l, lane_entry entry, enum lane lane, enum pool pool, uint64_t neighbour)
{
	l->waiting[entry] = (struct waiting){ .neighbour = neighbour, .pool = pool, .lane = lane };
	turns_wait(l->turns[lane], entry, neighbour);
}

/* One of the heaviest neighbour's, for one that has less. What is worked on, or is nobody's to refuse, stays. Returns
 * its unique, 0: there is none. */
static uint64_t drop_one(struct lanes *l, enum pool pool, uint64_t neighbour)
{
	static const enum lane of[POOLS][2] = { [POOL_COMMON] = { LANE_ASK, LANE_WAIT },
						[POOL_KNOWN] = { LANE_ASK_KNOWN, LANE_ASK_KNOWN },
						[POOL_LOCKED] = { LANE_LOCKED_ASK, LANE_LOCKED_WAIT } };
	uint32_t held;
	const uint64_t heaviest = shares_heaviest_user(l->shares[pool], &held);
	int64_t entry = -1;

	if (held <= shares_held(l->shares[pool], neighbour) + 1)
		return 0;
	for (int i = 0; i < 2 && entry < 0; i++)
		entry = turns_drop(l->turns[of[pool][i]], heaviest);
	if (entry < 0)
		return 0;
	struct parked *p = &l->shared->parked[entry];
	const struct fuse_in_header *in = (const void *)p->data;
	if (in->opcode == FUSE_RELEASE) { /* which nobody would send again */
		turns_wait(l->turns[l->waiting[entry].lane], (uint32_t)entry, heaviest);
		return 0;
	}
	const uint64_t unique = in->unique;
	atomic_store_explicit(&p->len, 0, memory_order_release);
	lanes_gone(l, (lane_entry)entry);
	return unique;
}

static bool take_share(struct lanes *l, enum pool pool, uint64_t neighbour, uint64_t *ret_lost)
{
	struct shares *s = l->shares[pool];

	if (shares_take(s, neighbour, 1, SHARE_ORDINARY) ||
	    (neighbour == NEIGHBOUR_ROOT && shares_take(s, neighbour, 1, SHARE_RESERVED)))
		return true;
	if (pool == POOL_WRITES || shares_taken(s) + pools[pool].reserve < pools[pool].units)
		return false; /* it has its share */
	*ret_lost = drop_one(l, pool, neighbour);
	if (*ret_lost)
		shares_force(s, neighbour, 1); /* what was taken from the other */
	return *ret_lost != 0;
}

bool lanes_crowded(const struct lanes *l, uint64_t neighbour)
{
	uint32_t n = 0;

	for (int i = NO_POOL + 1; i < POOLS; i++)
		n += shares_held(l->shares[i], neighbour);
	return n >= CROWD;
}

static enum pool pool_of(enum lane lane)
{
	static const enum pool of[LANES] = {
		[LANE_ASK] = POOL_COMMON,        [LANE_WAIT] = POOL_COMMON,        [LANE_ASK_KNOWN] = POOL_KNOWN,
		[LANE_LOCKED_ASK] = POOL_LOCKED, [LANE_LOCKED_WAIT] = POOL_LOCKED,
	};
	return of[lane];
}

static bool force_share(struct lanes *l, enum pool pool, uint64_t neighbour)
{
	const bool room = shares_taken(l->shares[pool]) < pools[pool].units;

	if (room)
		shares_force(l->shares[pool], neighbour, 1);
	return room;
}

/* Copied to a place of its own. A RELEASE is never refused: nobody would send it again. */
static enum parking park(struct lanes *l, const struct slot *slot, bool resent, enum lane lane, uint64_t neighbour,
			 uint64_t *ret_lost)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	const bool must = in->opcode == FUSE_RELEASE;
	const enum pool pool = pool_of(lane);

	if (!l->n_free)
		return must ? PARKING_NONE : PARKING_REFUSED;
	bool counted = take_share(l, pool, neighbour, ret_lost);
	if (!counted && lane == LANE_ASK_KNOWN)
		return park(l, slot, resent, LANE_ASK, neighbour, ret_lost);
	if (!counted && !must)
		return PARKING_REFUSED;
	if (!counted)
		counted = force_share(l, pool, neighbour);
	const uint16_t i = l->free[--l->n_free];
	struct parked *p = &l->shared->parked[i];
	memcpy(p->data, slot->data, slot->len);
	p->resent = resent;
	atomic_store_explicit(&p->len, slot->len, memory_order_release);
	wait_in(l, i, lane, counted ? pool : NO_POOL, neighbour);
	return PARKING_DONE;
}

enum parking lanes_put(struct lanes *l, uint32_t number, bool resent, enum lane lane, uint64_t neighbour,
		       uint64_t *ret_lost)
{
	const struct slot *slot = &l->shared->slots[number];
	const bool writes = ((const struct fuse_in_header *)(const void *)slot->data)->opcode == FUSE_WRITE;
	enum parking parking = PARKING_NONE;

	*ret_lost = 0;
	if (writes && !take_share(l, POOL_WRITES, neighbour, ret_lost))
		return PARKING_REFUSED;
	if (!writes && slot->len <= sizeof l->shared->parked[0].data)
		parking = park(l, slot, resent, lane, neighbour, ret_lost);
	if (parking == PARKING_NONE)
		wait_in(l, PARKED + number, lane, writes ? POOL_WRITES : NO_POOL, neighbour);
	return parking;
}

void lanes_put_left(struct lanes *l, uint32_t parked, enum lane lane, uint64_t neighbour)
{
	const enum pool pool = pool_of(lane);

	wait_in(l, parked, lane, force_share(l, pool, neighbour) ? pool : NO_POOL, neighbour);
}

void lanes_put_free(struct lanes *l, uint32_t parked) { l->free[l->n_free++] = (uint16_t)parked; }

int64_t lanes_take(struct lanes *l, enum lane lane, uint64_t *ret_neighbour)
{
	return turns_take(l->turns[lane], ret_neighbour);
}

void lanes_done(struct lanes *l, enum lane lane, uint64_t neighbour) { turns_done(l->turns[lane], neighbour); }

void lanes_gone(struct lanes *l, lane_entry entry)
{
	struct waiting *w = &l->waiting[entry];

	if (w->pool != NO_POOL)
		shares_give(l->shares[w->pool], w->neighbour, 1);
	w->pool = NO_POOL;
	if (entry_is_parked(entry))
		lanes_put_free(l, entry);
}
