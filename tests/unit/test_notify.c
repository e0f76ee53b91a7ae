/* What is said to a service manager, and what it kept: on a socket of the test's own, in the words that sd_notify(3)
 * and sd_listen_fds(3) lay down. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/keeper/notify.h"

static int manager = -1;
static char address[64];

static void listen_as_manager(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(address, sizeof address, "@coffer-test-notify-%d", (int)getpid());
	memcpy(a.sun_path, address, strlen(address));
	a.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address))),
			 0);
	setenv("NOTIFY_SOCKET", address, 1);
}

static void leave(void)
{
	close(manager);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

/* One message, and the descriptor that came with it (-1: none). */
static void heard(char ret_text[256], int *ret_fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	struct iovec iov = { ret_text, 255 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof u.buf };
	ssize_t n = recvmsg(manager, &m, 0);

	ret_text[n < 0 ? 0 : n] = '\0';
	*ret_fd = -1;
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);
	if (c)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
}

static void ck_heard(const char *want)
{
	char text[256];
	int fd;

	heard(text, &fd);
	ck_assert_str_eq(text, want);
	ck_assert_int_eq(fd, -1);
}

START_TEST(says_it_in_one_datagram)
{
	struct notify n;

	notify_open(&n);
	notify_say(&n, "READY=1\nSTATUS=mounted");
	ck_heard("READY=1\nSTATUS=mounted");
	notify_close(&n);
	notify_say(&n, "READY=1");
	ck_heard("");
}
END_TEST

START_TEST(is_silent_without_a_manager)
{
	static const char *const addresses[] = { NULL,
						 "",
						 "relative",
						 "@",
						 "vsock:2:1",
						 "/with/a/name/that/is/much/too/long/for/an/address/of/a/local/socket/"
						 "which/has/room/for/only/a/hundred/and/eight/bytes" };
	struct notify n;

	if (addresses[_i])
		setenv("NOTIFY_SOCKET", addresses[_i], 1);
	else
		unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "3000000", 1);
	notify_open(&n);
	ck_assert_int_eq(n.fd, -1);
	notify_say(&n, "READY=1");
	notify_keep(&n, "fuse", 0);
	ck_assert_int_eq(notify_alive(&n, true, 1), -1);
	ck_heard("");
}
END_TEST

START_TEST(lives_only_while_it_serves)
{
	struct notify n;

	setenv("WATCHDOG_USEC", "3000000", 1);
	notify_open(&n);
	ck_assert_int_eq(notify_alive(&n, true, 5000), 1000);
	ck_heard("WATCHDOG=1");
	ck_assert_int_eq(notify_alive(&n, true, 5400), 600);
	ck_heard("");
	ck_assert_int_eq(notify_alive(&n, false, 6000), 1000); /* due, and not true */
	ck_heard("");
	ck_assert_int_eq(notify_alive(&n, true, 7001), 1000);
	ck_heard("WATCHDOG=1");
	notify_close(&n);
}
END_TEST

START_TEST(a_watchdog_of_another_process_is_not_ours)
{
	struct notify n;

	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	notify_open(&n);
	ck_assert_int_eq(notify_alive(&n, true, 5000), -1);
	notify_close(&n);
}
END_TEST

START_TEST(gives_a_descriptor_to_keep)
{
	struct notify n;
	struct stat a, b;
	char text[256];
	int fd, mine = open("/dev/null", O_RDONLY);

	notify_open(&n);
	notify_keep(&n, "fuse", mine);
	heard(text, &fd);
	ck_assert_str_eq(text, "FDSTORE=1\nFDNAME=fuse\nFDPOLL=0");
	ck_assert_int_ge(fd, 0);
	ck_assert(fstat(fd, &a) == 0 && fstat(mine, &b) == 0 && a.st_rdev == b.st_rdev);
	close(fd);
	notify_forget(&n, "fuse");
	ck_heard("FDSTOREREMOVE=1\nFDNAME=fuse");
	close(mine);
	notify_close(&n);
}
END_TEST

/* In a child, where descriptors 3 and up can be arranged: two, and their names. The child's exit status is the number
 * of what it finds wrong. */
static int taken(const char *names, const char *pid, size_t max)
{
	struct notify_kept kept[8];

	int null = open("/dev/null", O_RDONLY);
	dup2(null, 3);
	dup2(null, 4);
	char self[16];
	snprintf(self, sizeof self, "%d", (int)getpid());
	setenv("LISTEN_PID", pid ? pid : self, 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", names, 1);
	size_t n = notify_take(kept, max);
	if (getenv("LISTEN_FDS") || getenv("LISTEN_PID") || getenv("LISTEN_FDNAMES"))
		return 90;
	for (size_t i = 0; i < n; i++)
		if (!(fcntl(kept[i].fd, F_GETFD) & FD_CLOEXEC))
			return 91;
	if (n == 2 &&
	    (strcmp(kept[0].name, "fuse") || strcmp(kept[1].name, "shared") || kept[0].fd != 3 || kept[1].fd != 4))
		return 92;
	return (int)n;
}

START_TEST(takes_back_what_was_kept)
{
	static const struct {
		const char *names, *pid;
		size_t max;
		int want;
	} cases[] = {
		{ "fuse:shared", NULL, 8, 2 },
		{ "fuse:shared", NULL, 1, 1 },
		{ "fuse:shared", "1", 8, 0 },
		{ "fuse", NULL, 8, 1 },
		{ "", NULL, 8, 0 },
		{ ":shared", NULL, 8, 1 },
		{ "a-name-that-is-longer-than-any-that-we-give:shared", NULL, 8, 1 },
		{ "fuse:shared", "x", 8, 0 },
	};
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(taken(cases[_i].names, cases[_i].pid, cases[_i].max));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), cases[_i].want);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("notify");
	TCase *t = tcase_create("notify");

	tcase_add_checked_fixture(t, listen_as_manager, leave);
	tcase_add_test(t, says_it_in_one_datagram);
	tcase_add_loop_test(t, is_silent_without_a_manager, 0, 6);
	tcase_add_test(t, lives_only_while_it_serves);
	tcase_add_test(t, a_watchdog_of_another_process_is_not_ours);
	tcase_add_test(t, gives_a_descriptor_to_keep);
	tcase_add_loop_test(t, takes_back_what_was_kept, 0, 8);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
