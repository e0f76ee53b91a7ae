#include "fs/common/log.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"

/* What the log says on a stderr that is the journal's, or another one than $JOURNAL_STREAM tells of. */
static void said(bool journal, char ret[512])
{
	const int kept = dup(STDERR_FILENO), fd = memfd_create("stderr", MFD_CLOEXEC);
	char name[64];
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	snprintf(name, sizeof name, "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino + !journal);
	setenv("JOURNAL_STREAM", name, 1);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	log_open("worker", true);
	log_warn("one\ntwo");
	log_from_handler("call ", 7, " was made");
	ck_assert_int_eq(dup2(kept, STDERR_FILENO), STDERR_FILENO);
	ssize_t n = pread(fd, ret, 511, 0);
	ck_assert_int_gt(n, 0);
	ret[n] = '\0';
	close(kept);
	close(fd);
}

START_TEST(leaves_name_and_pid_to_the_journal)
{
	char text[512];

	said(true, text);
	ck_assert_str_eq(text, "<4>worker: one?two\n<3>worker: call 7 was made\n");
}
END_TEST

START_TEST(says_name_and_pid_elsewhere)
{
	char text[512], want[128];

	said(false, text);
	snprintf(want, sizeof want, "cofferd[%d] worker: one?two\ncofferd[%d] worker: call 7 was made\n", (int)getpid(),
		 (int)getpid());
	ck_assert_str_eq(text, want);
}
END_TEST

/* Whoever can cause a line can cause any number: a few are written, and then how many there were. */
START_TEST(lines_that_a_caller_can_cause_are_few_and_counted)
{
	static struct log_limit one, other;
	const int kept = dup(STDERR_FILENO), fd = memfd_create("stderr", MFD_CLOEXEC);
	char text[4096] = "", line[200];
	unsigned n = 0;

	unsetenv("JOURNAL_STREAM");
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	log_open("worker", true);
	for (int i = 1; i <= 1000; i++)
		log_limited(&one, LOG_WARNING, "caller %d", i);
	log_limited(&other, LOG_WARNING, "another kind");
	log_limits_end(); /* its time is not over */
	one.began -= LOG_LIMIT_NS;
	log_limits_end();
	log_limits_end();
	log_limited(&one, LOG_WARNING, "caller again");
	ck_assert_int_eq(dup2(kept, STDERR_FILENO), STDERR_FILENO);
	ck_assert_int_gt(pread(fd, text, sizeof text - 1, 0), 0);
	for (char *p = text; (p = strchr(p, '\n')); p++)
		n++;
	ck_assert_uint_eq(n, LOG_LIMIT + 3);
	snprintf(line, sizeof line,
		 "worker: %u more lines of this kind were left out in 10 s, the last one: caller 1000\n",
		 1000 - LOG_LIMIT);
	ck_assert_msg(strstr(text, line) != NULL, "%s", text);
	ck_assert(strstr(text, "another kind\n") && strstr(text, "caller again\n") && strstr(text, "caller 5\n") &&
		  !strstr(text, "caller 6\n"));
	close(kept);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");

	tcase_add_test(t, leaves_name_and_pid_to_the_journal);
	tcase_add_test(t, says_name_and_pid_elsewhere);
	tcase_add_test(t, lines_that_a_caller_can_cause_are_few_and_counted);
	suite_add_tcase(s, t);
	return run_suite(s);
}
