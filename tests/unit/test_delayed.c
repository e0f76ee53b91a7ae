#include "fs/fuse/delayed.h"
#include "suite.h"

#include <check.h>
#include <stdlib.h>

static struct delayed *d;

static void setup(void) { ck_assert_int_eq(delayed_new(&d), 0); }
static void teardown(void) { delayed_free(d); }

static bool put(uint64_t unique, uint64_t neighbour, int64_t due_ms)
{
	return delayed_put(d, &(struct delayed_answer){
				      .unique = unique, .neighbour = neighbour, .due_ms = due_ms, .error = -13 });
}

START_TEST(answers_come_when_they_are_due_and_in_that_order)
{
	struct delayed_answer a;

	ck_assert_int_eq(delayed_next(d, 0), -1);
	srandom(3);
	for (uint64_t i = 0; i < 5000; i++)
		ck_assert(put(2 * i, i % 7, random() % 1000));
	int64_t last = 0;
	uint32_t n = 0;
	for (int64_t now = 0; now <= 1000; now++) {
		while (delayed_take(d, now, &a)) {
			ck_assert_int_ge(a.due_ms, last);
			ck_assert_int_le(a.due_ms, now);
			ck_assert_int_eq(a.error, -13);
			last = a.due_ms;
			n++;
		}
		ck_assert_int_ne(delayed_next(d, now), 0);
	}
	ck_assert_uint_eq(n, 5000);
	ck_assert_int_eq(delayed_next(d, 1000), -1);
}
END_TEST

START_TEST(nobody_has_more_than_its_share_of_them)
{
	struct delayed_answer a;
	uint32_t n = 0;

	while (put(2 * n, 1000, 5))
		n++;
	ck_assert_uint_eq(n, (DELAYED_MAX + 2) / 3);
	ck_assert(put(1, 1001, 5));
	ck_assert(delayed_take(d, 5, &a));
	ck_assert(put(3, a.neighbour, 5));
}
END_TEST

START_TEST(whoever_is_refused_much_waits_the_longer)
{
	uint32_t delay = 0, last = 0;

	for (int i = 0; i < DELAYED_RATE * DELAYED_BURST_MS / 1000; i++)
		ck_assert_uint_eq(delayed_brake(d, 1000, 1000000), 0);
	for (int i = 0; i < 3 * DELAYED_RATE; i++) {
		delay = delayed_brake(d, 1000, 1000000);
		ck_assert_uint_ge(delay, last);
		last = delay;
	}
	ck_assert_uint_ge(delay, 2999);
	ck_assert_uint_le(delay, 3001);
	ck_assert_uint_eq(delayed_brake(d, 1001, 1000000), 0); /* nobody else does */
	for (int i = 0; i < 10 * DELAYED_RATE; i++)
		delay = delayed_brake(d, 1000, 1000000);
	ck_assert_uint_eq(delay, DELAYED_BRAKE_MS);
	ck_assert_uint_eq(delayed_brake(d, 1000, 1000000 + DELAYED_BRAKE_MS + DELAYED_BURST_MS), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("delayed");
	TCase *c = tcase_create("delayed");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, answers_come_when_they_are_due_and_in_that_order);
	tcase_add_test(c, nobody_has_more_than_its_share_of_them);
	tcase_add_test(c, whoever_is_refused_much_waits_the_longer);
	suite_add_tcase(s, c);
	return run_suite(s);
}
