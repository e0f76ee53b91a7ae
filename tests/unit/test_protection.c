/* What /proc says of a process's protections: each line read as the kernel writes it, and nothing else taken for it. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/process/protection.h"

#define TEXT(uid, caps, privs, seccomp)                                                                \
	"Name:\tUid:\nState:\tS (sleeping)\n" uid "Gid:\t1\t1\t1\t1\nCapInh:\t0000000000000000\n" caps \
	"CapEff:\t0000000000000001\n" privs seccomp "Speculation_Store_Bypass:\tvulnerable\n"
#define UID     "Uid:\t995\t995\t995\t995\n"
#define CAPS    "CapPrm:\t0000000000080000\n"
#define PRIVS   "NoNewPrivs:\t1\n"
#define SECCOMP "Seccomp:\t2\nSeccomp_filters:\t2\n"

START_TEST(reads_the_lines_of_a_confined_process)
{
	struct protection p;

	ck_assert_int_eq(protection_parse(TEXT(UID, CAPS, PRIVS, SECCOMP), &p), 0);
	ck_assert_uint_eq(p.uid, 995);
	ck_assert_uint_eq(p.capabilities, 1u << 19);
	ck_assert(p.seccomp && p.no_new_privs);
}
END_TEST

START_TEST(a_kernel_without_seccomp_is_no_filter)
{
	static const char *const texts[] = { TEXT(UID, CAPS, PRIVS, ""), TEXT(UID, CAPS, PRIVS, "Seccomp:\t0\n"),
					     TEXT(UID, CAPS, PRIVS, "Seccomp:\t1\n"),
					     TEXT(UID, CAPS, PRIVS, "Seccomp_filters:\t2\n") };
	struct protection p;

	ck_assert_int_eq(protection_parse(texts[_i], &p), 0);
	ck_assert(!p.seccomp);
}
END_TEST

START_TEST(a_line_that_is_missing_or_odd_is_an_error)
{
	static const char *const texts[] = {
		"",
		TEXT("", CAPS, PRIVS, SECCOMP),
		TEXT(UID, "", PRIVS, SECCOMP),
		TEXT(UID, CAPS, "", SECCOMP),
		TEXT("Uid:\t\n", CAPS, PRIVS, SECCOMP),
		TEXT("Uid:\t4294967296\t0\n", CAPS, PRIVS, SECCOMP),
		TEXT(UID, "CapPrm:\tx\n", PRIVS, SECCOMP),
		"Uid:\t1\t1\nCapPrm:\t00",
		TEXT(UID, CAPS, "NoNewPrivs:\t1x\n", SECCOMP),
		TEXT(UID, CAPS, PRIVS, "Seccomp:\tyes\n"),
		"Uid:\t1",
	};
	struct protection p;

	ck_assert_int_eq(protection_parse(texts[_i], &p), -EBADMSG);
}
END_TEST

START_TEST(sees_what_a_process_gave_up)
{
	struct protection p;
	int proc = open("/proc", O_RDONLY | O_DIRECTORY), gate[2];

	ck_assert_int_eq(pipe(gate), 0);
	pid_t pid = fork();
	if (pid == 0) {
		_exit(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || write(gate[1], "", 1) != 1 || pause());
	}
	char c;
	ck_assert_int_eq(read(gate[0], &c, 1), 1);
	ck_assert_int_eq(protection_look(proc, pid, &p), 0);
	ck_assert(p.no_new_privs);
	ck_assert_uint_eq(p.uid, geteuid());
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(protection_look(proc, pid, &p), -ENOENT);
	close(proc);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("protection");
	TCase *t = tcase_create("protection");

	tcase_add_test(t, reads_the_lines_of_a_confined_process);
	tcase_add_loop_test(t, a_kernel_without_seccomp_is_no_filter, 0, 4);
	tcase_add_loop_test(t, a_line_that_is_missing_or_odd_is_an_error, 0, 11);
	tcase_add_test(t, sees_what_a_process_gave_up);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
