#include "fs/caller/accounts.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "suite.h"

static struct accounts *a;
static _Atomic unsigned woken;

static void wake(void *arg)
{
	(void)arg;
	woken++;
}

static void setup(void)
{
	woken = 0;
	ck_assert_int_eq(accounts_new(wake, NULL, &a), 0);
}

static void teardown(void) { accounts_free(a); }

static enum policy_account ask(uint32_t uid, bool may_wait, uint32_t *ret_first, size_t *ret_n)
{
	uint32_t *groups = NULL;
	size_t n = 0;
	const enum policy_account r = accounts_groups(a, uid, may_wait, &groups, &n);

	*ret_first = groups ? groups[0] : 0;
	*ret_n = n;
	free(groups);
	return r;
}

START_TEST(what_was_not_looked_up_is_not_known)
{
	uint32_t first, uid = 0;
	size_t n;

	ck_assert(!accounts_next(a, &uid));
	ck_assert_int_eq(ask(1000, false, &first, &n), POLICY_ACCOUNT_UNKNOWN);
	ck_assert_uint_eq(woken, 1);
	ck_assert_int_eq(ask(1000, false, &first, &n), POLICY_ACCOUNT_UNKNOWN);
	ck_assert_uint_eq(woken, 1);
	ck_assert(accounts_next(a, &uid) && uid == 1000);
	ck_assert(!accounts_next(a, &uid));
	accounts_found(a, 1000, 0, (const uint32_t[]){ 50, 4, 50, 1000, 4 }, 5);
	ck_assert_int_eq(ask(1000, false, &first, &n), POLICY_ACCOUNT_KNOWN);
	ck_assert(first == 4 && n == 3);
	ck_assert(!accounts_next(a, &uid));
	/* nobody asked for this one */
	accounts_found(a, 7, 0, NULL, 0);
	ck_assert_int_eq(ask(7, false, &first, &n), POLICY_ACCOUNT_UNKNOWN);
	accounts_found(a, 7, 0, NULL, 0);
	ck_assert_int_eq(ask(7, false, &first, &n), POLICY_ACCOUNT_KNOWN);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(a_look_that_failed_leaves_it_unknown_and_is_not_tried_at_once)
{
	uint32_t first, uid;
	size_t n;

	ck_assert_int_eq(ask(1000, false, &first, &n), POLICY_ACCOUNT_UNKNOWN);
	ck_assert(accounts_next(a, &uid));
	accounts_found(a, 1000, -ENOENT, NULL, 0);
	ck_assert_int_eq(ask(1000, true, &first, &n), POLICY_ACCOUNT_UNKNOWN);
	ck_assert(!accounts_next(a, &uid));
}
END_TEST

static void *answer(void *arg)
{
	uint32_t uid;

	(void)arg;
	while (!accounts_next(a, &uid))
		usleep(1000);
	accounts_found(a, uid, 0, &uid, 1);
	return NULL;
}

START_TEST(a_first_look_may_be_waited_for)
{
	pthread_t thread;
	uint32_t first;
	size_t n;

	ck_assert_int_eq(pthread_create(&thread, NULL, answer, NULL), 0);
	/* on a machine so busy that it takes longer it is known later */
	enum policy_account r = ask(1000, true, &first, &n);
	pthread_join(thread, NULL);
	if (r == POLICY_ACCOUNT_UNKNOWN)
		r = ask(1000, true, &first, &n);
	ck_assert(r == POLICY_ACCOUNT_KNOWN && first == 1000 && n == 1);
}
END_TEST

START_TEST(nobody_answers_and_nobody_waits_for_ever)
{
	uint32_t first;
	size_t n;

	ck_assert_int_eq(ask(1000, true, &first, &n), POLICY_ACCOUNT_UNKNOWN);
}
END_TEST

START_TEST(more_than_there_are_places_push_out_the_oldest_and_never_one_that_is_under_way)
{
	uint32_t first, uid;
	size_t n;

	for (uint32_t k = 0; k < 1000; k++) {
		ck_assert_int_eq(ask(k, false, &first, &n), POLICY_ACCOUNT_UNKNOWN);
		if (k >= 100 && accounts_next(a, &uid))
			accounts_found(a, uid, 0, &uid, 1);
	}
	while (accounts_next(a, &uid))
		accounts_found(a, uid, 0, &uid, 1);
	ck_assert_int_eq(ask(999, false, &first, &n), POLICY_ACCOUNT_KNOWN);
	ck_assert_uint_eq(first, 999);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("accounts");
	TCase *t = tcase_create("accounts");

	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_was_not_looked_up_is_not_known);
	tcase_add_test(t, a_look_that_failed_leaves_it_unknown_and_is_not_tried_at_once);
	tcase_add_test(t, a_first_look_may_be_waited_for);
	tcase_add_test(t, nobody_answers_and_nobody_waits_for_ever);
	tcase_add_test(t, more_than_there_are_places_push_out_the_oldest_and_never_one_that_is_under_way);
	return run_suite(s);
}
