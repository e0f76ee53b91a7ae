#include "fs/shared/unanswered.h"
#include "suite.h"

#include <check.h>
#include <stdlib.h>

static void blame(void *arg, uint64_t unique)
{
	uint64_t **at = arg;
	*(*at)++ = unique;
}

START_TEST(what_a_thread_is_at_has_no_answer)
{
	struct unanswered u = { 0 };

	ck_assert(!unanswered_has(&u, 10));
	unanswered_begin(&u, UNANSWERED_THREADS - 1, 10);
	ck_assert(unanswered_has(&u, 10));
	ck_assert(!unanswered_has(&u, 12));
	ck_assert_uint_ne(u.at[UNANSWERED_THREADS - 1].began, 0);
	unanswered_end(&u, UNANSWERED_THREADS - 1);
	ck_assert(!unanswered_has(&u, 10));
	ck_assert_uint_eq(u.at[UNANSWERED_THREADS - 1].began, 0);
}
END_TEST

START_TEST(what_waits_has_none_until_it_waits_no_more)
{
	struct unanswered u = { 0 };

	unanswered_wait(&u, 10);
	unanswered_wait(&u, 10);
	unanswered_wait(&u, 12);
	ck_assert(unanswered_has(&u, 10));
	unanswered_waits_no_more(&u, 10);
	ck_assert(!unanswered_has(&u, 10));
	ck_assert(unanswered_has(&u, 12));
	unanswered_waits_no_more(&u, 12);
	unanswered_waits_no_more(&u, 14);
	ck_assert_uint_eq(u.n_waiting, 0);
}
END_TEST

START_TEST(of_too_many_that_wait_an_old_one_goes)
{
	struct unanswered u = { 0 };

	for (uint64_t unique = 2; unique <= 2 * (UNANSWERED_WAITING + 1); unique += 2)
		unanswered_wait(&u, unique);
	ck_assert(!unanswered_has(&u, 2));
	ck_assert(unanswered_has(&u, 4));
	ck_assert(unanswered_has(&u, 2 * (UNANSWERED_WAITING + 1)));
	ck_assert_uint_eq(u.n_waiting, UNANSWERED_WAITING);
}
END_TEST

START_TEST(whose_worker_died_is_blamed_or_waits)
{
	struct unanswered u = { 0 };
	uint64_t blamed[4] = { 0 }, *at = blamed;

	unanswered_begin(&u, 0, 10);
	unanswered_begin(&u, 3, 12);
	unanswered_worker_died(&u, blame, &at);
	ck_assert_int_eq(at - blamed, 2);
	ck_assert_uint_eq(blamed[0], 10);
	ck_assert_uint_eq(blamed[1], 12);
	ck_assert(!unanswered_has(&u, 10));
	unanswered_begin(&u, 0, 14);
	unanswered_worker_died(&u, NULL, NULL);
	ck_assert_uint_eq(u.at[0].unique, 0);
	ck_assert(unanswered_has(&u, 14));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("unanswered");
	TCase *t = tcase_create("unanswered");

	tcase_add_test(t, what_a_thread_is_at_has_no_answer);
	tcase_add_test(t, what_waits_has_none_until_it_waits_no_more);
	tcase_add_test(t, of_too_many_that_wait_an_old_one_goes);
	tcase_add_test(t, whose_worker_died_is_blamed_or_waits);
	suite_add_tcase(s, t);
	return run_suite(s);
}
