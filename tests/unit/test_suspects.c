#include "fs/shared/suspects.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(a_request_is_guilty_at_its_second_death)
{
	struct suspects s = { 0 };

	ck_assert_uint_eq(suspects_deaths(&s, 10), 0);
	suspects_add(&s, 10);
	suspects_add(&s, 12);
	ck_assert_uint_eq(suspects_deaths(&s, 10), 1);
	suspects_add(&s, 10);
	ck_assert_uint_eq(suspects_deaths(&s, 10), SUSPECT_GUILTY);
	ck_assert_uint_eq(suspects_deaths(&s, 12), 1);
}
END_TEST

START_TEST(one_that_was_answered_is_none_any_more)
{
	struct suspects s = { 0 };

	suspects_add(&s, 10);
	suspects_clear(&s, 10);
	ck_assert_uint_eq(suspects_deaths(&s, 10), 0);
	suspects_clear(&s, 10);
	suspects_add(&s, 10);
	ck_assert_uint_eq(suspects_deaths(&s, 10), 1);
}
END_TEST

START_TEST(when_there_are_many_the_oldest_are_forgotten)
{
	struct suspects s = { 0 };

	for (uint64_t unique = 2; unique <= 2 * (SUSPECTS + 1); unique += 2)
		suspects_add(&s, unique);
	ck_assert_uint_eq(suspects_deaths(&s, 2), 0);
	for (uint64_t unique = 4; unique <= 2 * (SUSPECTS + 1); unique += 2)
		ck_assert_uint_eq(suspects_deaths(&s, unique), 1);
}
END_TEST

START_TEST(a_uid_waits_longer_each_time_and_is_forgiven)
{
	static const uint32_t delays[] = { 1000, 2000, 4000, 8000, 16000, 16000 };
	struct suspects s = { 0 };

	for (size_t i = 0; i < sizeof delays / sizeof *delays; i++)
		ck_assert_uint_eq(suspects_penalty(&s, 1000, 5000), delays[i]);
	ck_assert_uint_eq(suspects_penalty(&s, 1001, 5000), 1000);
	ck_assert_uint_eq(suspects_penalty(&s, 1000, 5000 + 60000), 1000);
}
END_TEST

START_TEST(more_uids_than_there_is_room_for_are_all_slowed)
{
	struct suspects s = { 0 };

	for (uint32_t uid = 0; uid < 4 * PENALTIES; uid++)
		ck_assert_uint_ge(suspects_penalty(&s, uid, 1000), 1000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("suspects");
	TCase *t = tcase_create("suspects");

	tcase_add_test(t, a_request_is_guilty_at_its_second_death);
	tcase_add_test(t, one_that_was_answered_is_none_any_more);
	tcase_add_test(t, when_there_are_many_the_oldest_are_forgotten);
	tcase_add_test(t, a_uid_waits_longer_each_time_and_is_forgiven);
	tcase_add_test(t, more_uids_than_there_is_room_for_are_all_slowed);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
