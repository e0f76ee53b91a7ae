#include "fs/log.h"

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
	snprintf(name, sizeof name, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + !journal);
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
	snprintf(want, sizeof want, "cofferd[%d] worker: one?two\ncofferd[%d] worker: call 7 was made\n", (int)getpid(), (int)getpid());
	ck_assert_str_eq(text, want);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");

	tcase_add_test(t, leaves_name_and_pid_to_the_journal);
	tcase_add_test(t, says_name_and_pid_elsewhere);
	suite_add_tcase(s, t);
	return run_suite(s);
}
