#include "fs/common/shares.h"
#include "suite.h"

#include <check.h>
#include <stdlib.h>

static struct shares *s;

static void begin(uint32_t units, uint32_t most, uint32_t reserve)
{
	const struct shares_config config = { .units = units, .most = most, .reserve = reserve };

	ck_assert_int_eq(shares_new(&config, &s), 0);
}

static void teardown(void)
{
	shares_free(s);
	s = NULL;
}

/* As many as it gets, one by one. */
static uint32_t grab(uint64_t neighbour, enum share_rank rank)
{
	uint32_t n = 0;

	while (shares_take(s, neighbour, 1, rank))
		n++;
	return n;
}

START_TEST(whoever_is_alone_gets_a_third)
{
	begin(3000, 0, 0);
	ck_assert_uint_eq(grab(1000, SHARE_ORDINARY), 1000);
	ck_assert_uint_eq(shares_held(s, 1000), 1000);
	ck_assert_uint_eq(shares_taken(s), 1000);
}
END_TEST

START_TEST(shares_shrink_as_the_whole_fills)
{
	begin(10000, 0, 0);
	uint32_t before = UINT32_MAX;
	for (uint64_t neighbour = 1; neighbour <= 15; neighbour++) {
		const uint32_t got = grab(neighbour, SHARE_ORDINARY);
		ck_assert_uint_gt(got, 0);
		ck_assert_uint_lt(got, before);
		before = got;
	}
	ck_assert_uint_lt(shares_taken(s), 10000);
}
END_TEST

/* As requests that wait do: whatever ends is wanted anew, by the heavy one first. */
START_TEST(whoever_comes_later_comes_to_as_much)
{
	begin(4000, 0, 0);
	grab(1, SHARE_ORDINARY);
	srandom(1);
	for (int step = 0; step < 20000; step++) {
		const uint64_t ends = 1 + (uint64_t)(random() % 2);
		if (shares_held(s, ends))
			shares_give(s, ends, 1);
		shares_take(s, 1, 1, SHARE_ORDINARY);
		shares_take(s, 2, 1, SHARE_ORDINARY);
	}
	ck_assert_uint_ge(shares_held(s, 1), 950);
	ck_assert_uint_le(shares_held(s, 1), 1050);
	ck_assert_uint_ge(shares_held(s, 2), 950);
	ck_assert_uint_le(shares_held(s, 2), 1050);
}
END_TEST

START_TEST(nobody_has_more_than_the_most)
{
	begin(65536, 8192, 1024);
	ck_assert_uint_eq(grab(1000, SHARE_ORDINARY), 8192);
	ck_assert_uint_eq(grab(1000, SHARE_RESERVED), 1024);
	ck_assert_uint_eq(grab(1001, SHARE_ORDINARY), 8192);
}
END_TEST

START_TEST(the_reserve_is_there_when_all_else_is_taken)
{
	begin(100, 0, 10);
	for (uint64_t neighbour = 1; neighbour <= 200; neighbour++)
		grab(neighbour, SHARE_ORDINARY);
	ck_assert_uint_eq(shares_taken(s), 90);
	ck_assert(!shares_take(s, 500, 1, SHARE_ORDINARY));
	ck_assert_uint_eq(grab(NEIGHBOUR_ROOT, SHARE_RESERVED), 10);
	ck_assert(!shares_take(s, NEIGHBOUR_ROOT, 1, SHARE_RESERVED));
}
END_TEST

START_TEST(many_at_once_are_all_or_none)
{
	begin(3000, 0, 0);
	ck_assert(!shares_take(s, 1, 1001, SHARE_ORDINARY));
	ck_assert_uint_eq(shares_held(s, 1), 0);
	ck_assert(shares_take(s, 1, 1000, SHARE_ORDINARY));
	ck_assert(!shares_take(s, 1, UINT32_MAX, SHARE_ORDINARY));
	ck_assert(shares_take(s, 1, 0, SHARE_ORDINARY));
	shares_give(s, 1, 1000);
	ck_assert_uint_eq(shares_taken(s), 0);
}
END_TEST

START_TEST(the_heaviest_is_found)
{
	uint32_t held;

	begin(1000, 0, 0);
	shares_heaviest(s, &held);
	ck_assert_uint_eq(held, 0);
	for (uint64_t neighbour = 1; neighbour <= 20; neighbour++)
		ck_assert(shares_take(s, neighbour << 32, (uint32_t)neighbour, SHARE_ORDINARY));
	ck_assert_uint_eq(shares_heaviest(s, &held), UINT64_C(20) << 32);
	ck_assert_uint_eq(held, 20);
	shares_give(s, UINT64_C(20) << 32, 5);
	ck_assert_uint_eq(shares_heaviest(s, &held), UINT64_C(19) << 32);
}
END_TEST

START_TEST(what_is_held_is_counted_again)
{
	begin(300, 50, 10);
	shares_force(s, 7, 200); /* by rules of another version */
	ck_assert_uint_eq(shares_held(s, 7), 200);
	ck_assert(!shares_take(s, 7, 1, SHARE_ORDINARY));
	ck_assert(shares_take(s, 8, 1, SHARE_ORDINARY));
	shares_give(s, 7, 200);
	ck_assert_uint_eq(grab(7, SHARE_ORDINARY), 50);
}
END_TEST

/* Against a model that is an array. */
START_TEST(a_million_random_steps_keep_the_rules)
{
	enum { NEIGHBOURS = 300, UNITS = 500, MOST = 60, RESERVE = 20 };
	uint32_t held[NEIGHBOURS] = { 0 }, taken = 0;
	bool good = true;

	begin(UNITS, MOST, RESERVE);
	srandom(7);
	for (int step = 0; step < 1000000; step++) {
		const uint32_t who = (uint32_t)random() % NEIGHBOURS, n = (uint32_t)random() % 4;
		const uint64_t neighbour = (uint64_t)who << 20;
		const enum share_rank rank = random() % 8 ? SHARE_ORDINARY : SHARE_RESERVED;
		if (random() % 5 < 3) {
			bool may = true;
			uint32_t h = held[who], t = taken;
			for (uint32_t i = 0; i < n && may; i++, h++, t++)
				may = rank == SHARE_RESERVED
					      ? t < UNITS && h < MOST + RESERVE
					      : t < UNITS - RESERVE && h < MOST && 2 * h < UNITS - RESERVE - t;
			good &= shares_take(s, neighbour, n, rank) == may;
			held[who] += may ? n : 0;
			taken += may ? n : 0;
		} else if (held[who] >= n) {
			shares_give(s, neighbour, n);
			held[who] -= n;
			taken -= n;
		}
		good &= shares_held(s, neighbour) == held[who] && shares_taken(s) == taken;
		if (!good) /* ck_assert takes longer than all the rest */
			ck_abort_msg("step %d", step);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("shares");
	TCase *c = tcase_create("shares");

	tcase_add_checked_fixture(c, NULL, teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, whoever_is_alone_gets_a_third);
	tcase_add_test(c, shares_shrink_as_the_whole_fills);
	tcase_add_test(c, whoever_comes_later_comes_to_as_much);
	tcase_add_test(c, nobody_has_more_than_the_most);
	tcase_add_test(c, the_reserve_is_there_when_all_else_is_taken);
	tcase_add_test(c, many_at_once_are_all_or_none);
	tcase_add_test(c, the_heaviest_is_found);
	tcase_add_test(c, what_is_held_is_counted_again);
	tcase_add_test(c, a_million_random_steps_keep_the_rules);
	suite_add_tcase(suite, c);
	return run_suite(suite);
}
