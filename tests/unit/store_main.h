/* main for a libcheck program with one case: STORE_TESTS(name, timeout, test, test …). */
#ifndef COFFER_TESTS_STORE_MAIN_H
#define COFFER_TESTS_STORE_MAIN_H

#include "store_fixture.h"

static inline int store_tests_run(const char *name, double timeout, const TTest *const *tests, size_t n,
				  void (*setup)(void), void (*teardown)(void))
{
	Suite *suite = suite_create(name);
	TCase *t = tcase_create(name);

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, timeout);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#define STORE_TESTS(name, timeout, ...)                                                                     \
	int main(void)                                                                                      \
	{                                                                                                   \
		const TTest *const tests[] = { __VA_ARGS__ };                                               \
		return store_tests_run(name, timeout, tests, sizeof tests / sizeof tests[0], fixture_setup, \
				       fixture_teardown);                                                   \
	}

#endif
