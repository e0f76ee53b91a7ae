#include "fs/process/control.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int ends[2];

static void setup(void) { ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0); }
static void teardown(void)
{
	close(ends[0]);
	close(ends[1]);
}

/* The lowest number that is free: it stays the same while nothing leaks. */
static int lowest_free(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	close(fd);
	return fd;
}

static void send_with_two(void)
{
	struct control_message m = { .type = CONTROL_SEGMENT, .number = 7 };
	struct iovec iov = { .iov_base = &m, .iov_len = sizeof m };
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof u.buf };
	const int fds[2] = { 0, 0 };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(c), fds, sizeof fds);
	ck_assert_int_eq(sendmsg(ends[1], &msg, 0), sizeof m);
}

START_TEST(passes_a_message_and_its_descriptor)
{
	const struct control_message m = { .type = CONTROL_SEGMENT, .number = 3 };
	struct control_message got;
	int fd = -1;

	ck_assert_int_eq(control_send(ends[0], &m, 0), 0);
	ck_assert_int_eq(control_receive(ends[1], &got, &fd, 1000), 0);
	ck_assert_uint_eq(got.number, 3);
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

START_TEST(descriptors_that_nobody_wants_do_not_pile_up)
{
	struct control_message got;
	const int before = lowest_free();

	for (int i = 0; i < 3; i++) {
		send_with_two();
		ck_assert_int_eq(control_receive(ends[0], &got, NULL, 1000), 0);
		ck_assert_uint_eq(got.number, 7);
	}
	ck_assert_int_eq(lowest_free(), before);
}
END_TEST

START_TEST(of_two_descriptors_no_second_one_comes_in)
{
	struct control_message got;
	int fd = -1;
	const int before = lowest_free();

	send_with_two();
	ck_assert_int_eq(control_receive(ends[0], &got, &fd, 1000), 0);
	if (fd >= 0)
		close(fd);
	ck_assert_int_eq(lowest_free(), before);
}
END_TEST

static void on_alarm(int signal) { (void)signal; }

/* The keeper tells a worker to end again and again, also while that waits for its next segment. */
START_TEST(signals_do_not_keep_an_answer_away)
{
	const struct sigaction alarm = { .sa_handler = on_alarm }; /* no SA_RESTART, as the worker's */
	const struct itimerval often = { .it_interval = { .tv_usec = 2000 }, .it_value = { .tv_usec = 2000 } },
			       never = { 0 };
	struct control_message m = { .type = CONTROL_SEGMENT, .number = 4 };
	int fd = -1;

	sigaction(SIGALRM, &alarm, NULL);
	const pid_t child = fork();
	if (child == 0) {
		usleep(50000);
		_exit(control_send(ends[1], &m, -1) ? 1 : 0);
	}
	setitimer(ITIMER_REAL, &often, NULL);
	m.number = 0;
	ck_assert_int_eq(control_receive(ends[0], &m, &fd, 10000), 0);
	ck_assert_uint_eq(m.number, 4);
	ck_assert_int_eq(control_receive(ends[0], &m, &fd, 20), -ETIMEDOUT);
	setitimer(ITIMER_REAL, &never, NULL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("control");
	TCase *t = tcase_create("control");
	SRunner *r = srunner_create(s);

	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, passes_a_message_and_its_descriptor);
	tcase_add_test(t, descriptors_that_nobody_wants_do_not_pile_up);
	tcase_add_test(t, of_two_descriptors_no_second_one_comes_in);
	tcase_add_test(t, signals_do_not_keep_an_answer_away);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
