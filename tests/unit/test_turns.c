#include "fs/fuse/turns.h"
#include "suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

#define ENTRIES 100u
#define THREADS 8u
#define SHARE   4u

static struct turns *t;

static void setup(void) { ck_assert_int_eq(turns_new(ENTRIES, THREADS, SHARE, &t), 0); }
static void teardown(void) { turns_free(t); }

static void takes(int64_t entry, uint64_t uid)
{
	uint64_t got = 0;

	ck_assert_int_eq(turns_take(t, &got), entry);
	if (entry >= 0)
		ck_assert_uint_eq(got, uid);
}

START_TEST(one_uid_is_served_in_order)
{
	takes(-1, 0);
	for (uint32_t i = 0; i < 3; i++)
		turns_wait(t, i, 1000);
	ck_assert_uint_eq(turns_waiting(t, 1000), 3);
	for (uint32_t i = 0; i < 3; i++) {
		takes(i, 1000);
		turns_done(t, 1000);
	}
	takes(-1, 0);
	ck_assert_uint_eq(turns_waiting(t, 1000), 0);
}
END_TEST

START_TEST(a_crowd_has_no_more_than_its_share_of_the_threads)
{
	for (uint32_t i = 0; i < 50; i++)
		turns_wait(t, i, 1000);
	for (uint32_t i = 0; i < SHARE; i++)
		takes(i, 1000);
	takes(-1, 0);
	turns_wait(t, 60, 1001); /* whoever comes is served at once */
	takes(60, 1001);
	turns_done(t, 1000);
	takes(SHARE, 1000);
	takes(-1, 0);
}
END_TEST

START_TEST(uids_take_turns)
{
	for (uint32_t i = 0; i < 10; i++)
		turns_wait(t, i, 1000);
	for (uint32_t i = 10; i < 13; i++)
		turns_wait(t, i, 1001);
	turns_wait(t, 13, 1002);
	const int64_t order[] = { 0, 10, 13, 1, 11, 2, 12, 3, 4 };
	const uint32_t uids[] = { 1000, 1001, 1002, 1000, 1001, 1000, 1001, 1000, 1000 };
	for (uint32_t i = 0; i < sizeof order / sizeof *order; i++) {
		takes(order[i], uids[i]);
		turns_done(t, uids[i]);
	}
}
END_TEST

START_TEST(root_finds_a_thread_whatever_the_others_do)
{
	for (uint32_t i = 0; i < 50; i++)
		turns_wait(t, i, 1000 + i % 10);
	for (uint32_t i = 0; i < THREADS - 1; i++)
		takes(i, 1000 + i);
	takes(-1, 0);
	turns_wait(t, 99, 0);
	takes(99, 0);
	takes(-1, 0);
}
END_TEST

/* Against a model that looks at everything: what is taken was waiting, is the oldest of its uid, and keeps to the
 * shares; and nothing waits while it could be taken. */
START_TEST(a_million_random_steps_keep_the_rules)
{
	uint32_t uid_of[ENTRIES], order[ENTRIES], running[16] = { 0 }, others = 0, clock = 0;
	bool waits[ENTRIES] = { false }, good = true;

	srandom(42);
	for (int step = 0; step < 1000000; step++) {
		uint32_t e = (uint32_t)random() % ENTRIES, uid = (uint32_t)random() % 16;
		uint64_t got;
		if (random() % 2) {
			if (!waits[e]) {
				waits[e] = true;
				uid_of[e] = uid;
				order[e] = clock++;
				turns_wait(t, e, uid);
			}
		} else if (random() % 2) {
			if (running[uid]) {
				running[uid]--;
				others -= uid != 0;
				turns_done(t, uid);
			}
		} else {
			int64_t taken = turns_take(t, &got);
			if (taken >= 0) {
				good &= waits[taken] && uid_of[taken] == got;
				for (uint32_t i = 0; i < ENTRIES; i++)
					good &= !waits[i] || uid_of[i] != got || order[i] >= order[taken];
				waits[taken] = false;
				running[got]++;
				others += got != 0;
				good &= running[got] <= SHARE && others < THREADS;
			} else {
				for (uint32_t i = 0; i < ENTRIES; i++)
					good &= !waits[i] || running[uid_of[i]] == SHARE ||
						(uid_of[i] != 0 && others == THREADS - 1);
			}
		}
		if (!good) /* ck_assert takes longer than all the rest */
			ck_abort_msg("step %d", step);
	}
}
END_TEST

START_TEST(what_has_waited_longest_is_dropped)
{
	const uint64_t far = UINT64_C(7) << 40; /* no uid */

	ck_assert_int_eq(turns_drop(t, far), -1);
	for (uint32_t i = 0; i < 6; i++)
		turns_wait(t, i, i % 2 ? 1000 : far);
	takes(0, far);
	ck_assert_int_eq(turns_drop(t, far), 2);
	ck_assert_uint_eq(turns_waiting(t, far), 1);
	ck_assert_int_eq(turns_drop(t, far), 4);
	ck_assert_int_eq(turns_drop(t, far), -1);
	turns_done(t, far);
	ck_assert_int_eq(turns_drop(t, 1000), 1);
	takes(3, 1000);
	turns_wait(t, 0, far);
	takes(5, 1000);
	takes(0, far);
	takes(-1, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("turns");
	TCase *c = tcase_create("turns");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, one_uid_is_served_in_order);
	tcase_add_test(c, a_crowd_has_no_more_than_its_share_of_the_threads);
	tcase_add_test(c, uids_take_turns);
	tcase_add_test(c, root_finds_a_thread_whatever_the_others_do);
	tcase_add_test(c, what_has_waited_longest_is_dropped);
	tcase_add_test(c, a_million_random_steps_keep_the_rules);
	suite_add_tcase(s, c);
	return run_suite(s);
}
