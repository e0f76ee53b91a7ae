/* The end of main of a libcheck program. */
#ifndef COFFER_TESTS_SUITE_H
#define COFFER_TESTS_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Runs it and frees it; the exit status. */
static inline int run_suite(Suite *s)
{
	SRunner *runner = srunner_create(s);
	int failed;

	srunner_run_all(runner, CK_ENV); /* CK_NORMAL, unless CK_VERBOSITY says otherwise */
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
