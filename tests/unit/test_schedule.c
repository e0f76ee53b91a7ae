#include "fs/lifecycle/schedule.h"

#include <check.h>
#include <stdlib.h>

#include "suite.h"

#define SECRETS 500

/* Against the plainest model: an array of times that is searched through. */
START_TEST(gives_what_is_due_as_a_plain_table_would)
{
	static int64_t model[SECRETS];
	struct schedule *s = NULL;
	unsigned seed = 7;

	ck_assert_int_eq(schedule_new(&s), 0);
	for (int i = 0; i < SECRETS; i++)
		model[i] = INT64_MAX;
	for (int step = 0; step < 200000; step++) {
		uint32_t id = 1 + (uint32_t)rand_r(&seed) % (SECRETS - 1);
		int act = rand_r(&seed) % 4;
		if (act < 3) {
			int64_t at = act == 2 ? INT64_MAX : rand_r(&seed) % 1000;
			ck_assert_int_eq(schedule_set(s, id, at), 0);
			model[id] = at;
		} else {
			int64_t now = rand_r(&seed) % 300, least = INT64_MAX;
			for (int i = 1; i < SECRETS; i++)
				least = model[i] < least ? model[i] : least;
			ck_assert_int_eq(schedule_next(s), least);
			uint32_t due = schedule_pop(s, now);
			ck_assert((due != 0) == (least <= now));
			if (due) {
				ck_assert_int_eq(model[due], least);
				model[due] = INT64_MAX;
			}
		}
	}
	schedule_clear(s);
	ck_assert_int_eq(schedule_next(s), INT64_MAX);
	ck_assert_int_eq(schedule_set(s, 3, 5), 0);
	ck_assert_uint_eq(schedule_pop(s, 4), 0);
	ck_assert_uint_eq(schedule_pop(s, 5), 3);
	schedule_free(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("schedule");
	TCase *t = tcase_create("schedule");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, gives_what_is_due_as_a_plain_table_would);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
