#include "fs/fuse/lanes.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/common/shares.h"
#include "suite.h"

static struct shared *shared;
static struct lanes *l;
static uint64_t unique;

static void setup(void)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	ck_assert_int_eq(lanes_new(shared, &l), 0);
	for (uint32_t i = 0; i < PARKED; i++)
		lanes_put_free(l, i);
}

static void teardown(void)
{
	lanes_free(l);
	munmap(shared, sizeof *shared);
}

#define SLOT      (SLOTS - 1)
#define LARGEFILE 0100000u /* the kernel's, which the C library says is 0 */

/* A request in a slot. */
static void arrives(uint32_t slot, uint32_t opcode)
{
	struct slot *s = &shared->slots[slot];
	struct fuse_in_header *in = (void *)s->data;

	memset(s->data, 0, 256);
	*in = (struct fuse_in_header){ .len = sizeof *in + 64, .opcode = opcode, .unique = unique += 2 };
	if (opcode == FUSE_OPEN)
		((struct fuse_open_in *)(void *)(in + 1))->flags = LARGEFILE;
	s->len = in->len;
}

static enum parking put(uint32_t opcode, enum patience wants, uint64_t neighbour)
{
	uint64_t lost;
	const struct fuse_in_header *in = (const void *)shared->slots[SLOT].data;

	arrives(SLOT, opcode);
	const enum parking p = lanes_put(l, SLOT, false, lanes_of(in, in->len, wants, false), neighbour, &lost);
	ck_assert_uint_eq(lost, 0);
	return p;
}

static uint32_t fill(uint32_t opcode, uint64_t neighbour)
{
	uint32_t n = 0;

	while (put(opcode, WAITS_FOR_RESOLVER, neighbour) == PARKING_DONE)
		n++;
	return n;
}

START_TEST(it_is_known_where_the_kernel_holds_a_lock)
{
	static const struct {
		uint32_t opcode;
		bool locked;
	} cases[] = {
		{ FUSE_RELEASE, false },  { FUSE_FLUSH, false },      { FUSE_OPENDIR, false }, { FUSE_ACCESS, false },
		{ FUSE_GETXATTR, false }, { FUSE_WRITE, true },       { FUSE_FSYNC, true },    { FUSE_SETATTR, true },
		{ FUSE_MKDIR, true },     { FUSE_RMDIR, true },       { FUSE_RENAME, true },   { FUSE_RENAME2, true },
		{ FUSE_READDIR, true },   { FUSE_READDIRPLUS, true },
	};
	struct {
		struct fuse_in_header in;
		union {
			struct fuse_getattr_in getattr;
			struct fuse_read_in read;
			struct fuse_open_in open;
		} u;
	} r = { 0 };

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		r.in.opcode = cases[i].opcode;
		ck_assert_msg(lanes_locked(&r.in, sizeof r) == cases[i].locked, "opcode %u", cases[i].opcode);
	}
	r.in.opcode = FUSE_GETATTR;
	ck_assert(!lanes_locked(&r.in, sizeof r));
	r.u.getattr.getattr_flags = FUSE_GETATTR_FH;
	ck_assert(lanes_locked(&r.in, sizeof r));
	r.in.opcode = FUSE_READ;
	r.u.read = (struct fuse_read_in){ .read_flags = FUSE_READ_LOCKOWNER };
	ck_assert(!lanes_locked(&r.in, sizeof r));
	r.u.read.read_flags = 0;
	ck_assert(lanes_locked(&r.in, sizeof r));
	r.in.opcode = FUSE_OPEN;
	r.u.open = (struct fuse_open_in){ .flags = LARGEFILE };
	ck_assert(!lanes_locked(&r.in, sizeof r));
	r.u.open.flags = 0; /* the kernel's own, for FS_IOC_SETFLAGS */
	ck_assert(lanes_locked(&r.in, sizeof r));
	ck_assert(!lanes_locked(&r.in, sizeof r.in));
}
END_TEST

START_TEST(what_locks_waits_behind_nothing_else_of_its_caller)
{
	uint64_t neighbour;

	ck_assert_uint_gt(fill(FUSE_OPEN, 1000), 1000);
	ck_assert_int_eq(put(FUSE_OPEN, WAITS_FOR_RESOLVER, 1000), PARKING_REFUSED);
	ck_assert_int_eq(put(FUSE_MKDIR, WAITS_FOR_RESOLVER, 1000), PARKING_DONE);
	ck_assert_int_ge(lanes_take(l, LANE_LOCKED_ASK, &neighbour), 0);
	ck_assert_uint_eq(neighbour, 1000);
	ck_assert_int_lt(lanes_take(l, LANE_LOCKED_ASK, &neighbour), 0);
	ck_assert_int_eq(put(FUSE_OPEN, WAITS_FOR_RESOLVER, 1001), PARKING_DONE);
}
END_TEST

START_TEST(what_was_taken_is_given_back)
{
	uint64_t neighbour;

	const uint32_t n = fill(FUSE_OPEN, 1000);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < n; i++) {
			const int64_t e = lanes_take(l, LANE_ASK, &neighbour);
			ck_assert_int_ge(e, 0);
			ck_assert(entry_is_parked((lane_entry)e));
			lanes_done(l, LANE_ASK, neighbour);
			lanes_gone(l, (lane_entry)e);
		}
		ck_assert_uint_eq(fill(FUSE_OPEN, 1000), n);
	}
}
END_TEST

START_TEST(a_release_is_never_refused)
{
	fill(FUSE_OPEN, 1000);
	for (uint32_t i = 0; i < PARKED_RESERVE; i++)
		ck_assert_int_eq(put(FUSE_RELEASE, WAITS_FOR_ALL, 1000), PARKING_DONE);
}
END_TEST

START_TEST(a_write_waits_in_its_slot_and_nobody_has_all_of_them)
{
	uint64_t lost, neighbour;
	uint32_t n = 0;

	while (arrives(n, FUSE_WRITE), lanes_put(l, n, false, LANE_LOCKED_ASK, 1000, &lost) == PARKING_NONE)
		n++;
	ck_assert_uint_eq(n, (SLOTS - LANE_THREADS - 3 + 2) / 3);
	arrives(n, FUSE_WRITE);
	ck_assert_int_eq(lanes_put(l, n, false, LANE_LOCKED_ASK, 1001, &lost), PARKING_NONE);
	const int64_t e = lanes_take(l, LANE_LOCKED_ASK, &neighbour);
	ck_assert_int_eq(e, PARKED);
	lanes_done(l, LANE_LOCKED_ASK, neighbour);
	lanes_gone(l, (lane_entry)e);
	arrives(n + 1, FUSE_WRITE);
	ck_assert_int_eq(lanes_put(l, n + 1, false, LANE_LOCKED_ASK, 1000, &lost), PARKING_NONE);
}
END_TEST

START_TEST(where_nothing_is_left_the_heaviest_loses)
{
	uint64_t lost = 0;

	for (uint64_t neighbour = 1; !lost; neighbour++) /* each as much as it gets without another one's loss */
		do {
			arrives(SLOT, FUSE_OPEN);
		} while (lanes_put(l, SLOT, false, LANE_ASK, neighbour, &lost) == PARKING_DONE && !lost);
	ck_assert_uint_eq(lost, 2); /* the oldest of the first, who has most */
	arrives(SLOT, FUSE_OPEN);
	ck_assert_int_eq(lanes_put(l, SLOT, false, LANE_ASK, 99999, &lost), PARKING_DONE);
	ck_assert_uint_eq(lost, 4);
	arrives(SLOT, FUSE_OPEN);
	ck_assert_int_eq(lanes_put(l, SLOT, false, LANE_ASK, 1, &lost), PARKING_REFUSED);
	ck_assert_uint_eq(lost, 0);
	/* and root has its reserve */
	for (uint32_t i = 0; i < PARKED_RESERVE; i++)
		ck_assert_int_eq(put(FUSE_OPEN, WAITS_FOR_RESOLVER, NEIGHBOUR_ROOT), PARKING_DONE);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lanes");
	TCase *c = tcase_create("lanes");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, it_is_known_where_the_kernel_holds_a_lock);
	tcase_add_test(c, what_locks_waits_behind_nothing_else_of_its_caller);
	tcase_add_test(c, what_was_taken_is_given_back);
	tcase_add_test(c, a_release_is_never_refused);
	tcase_add_test(c, a_write_waits_in_its_slot_and_nobody_has_all_of_them);
	tcase_add_test(c, where_nothing_is_left_the_heaviest_loses);
	suite_add_tcase(s, c);
	return run_suite(s);
}
