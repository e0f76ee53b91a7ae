/* What the filter says to arguments that are not what they look like. Each attempt is made by a child in a worker's
 * cell. */
#include "fs/process/sandbox.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/common/log.h"
#include "suite.h"

/* To the kernel it is the int in the lower half. */
#define LOOKS_LIKE_ANOTHER(n) ((1ll << 32) | (unsigned)(n))

static char dir[64];
static struct sockaddr_un elsewhere = { .sun_family = AF_UNIX };
static int receiver;

static void setup(void)
{
	strcpy(dir, "/tmp/coffer-sandbox-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(elsewhere.sun_path, sizeof elsewhere.sun_path, "%s/s", dir);
	receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(receiver, (struct sockaddr *)&elsewhere, sizeof elsewhere), 0);
}

static void teardown(void)
{
	close(receiver);
	unlink(elsewhere.sun_path);
	rmdir(dir);
}

static void send_elsewhere(long long fd)
{
	char text[] = "secret";
	struct iovec iov = { text, sizeof text };
	struct msghdr m = { .msg_name = &elsewhere, .msg_namelen = sizeof elsewhere, .msg_iov = &iov, .msg_iovlen = 1 };

	(void)syscall(SYS_sendmsg, fd, &m, MSG_DONTWAIT);
}

/* The kernel's own struct: a handler that would let whoever has the process try one call after the other. */
static void replace_handler(long long signal)
{
	const struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} ignore = { .handler = NULL };

	(void)syscall(SYS_rt_sigaction, signal, &ignore, NULL, sizeof ignore.mask);
}

/* What becomes of a process in the cell that does it: its wait status. */
static int in_cell(void (*attempt)(long long what), long long what)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		log_open("test", false);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || sandbox_enter(SANDBOX_WORKER, NULL, 0, false))
			_exit(99);
		if (attempt == send_elsewhere && what < 0)
			what = what == -1 ? log_descriptor() : LOOKS_LIKE_ANOTHER(log_descriptor());
		attempt(what);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

START_TEST(logs_socket_sends_to_nobody_else)
{
	char text[16];

	for (long long what = -1; what >= -2; what--)
		ck_assert_msg(WIFSIGNALED(in_cell(send_elsewhere, what)),
			      "sendmsg over the log's socket was made (%lld)", what);
	ck_assert_int_lt(recv(receiver, text, sizeof text, 0), 0);
	/* others are free to */
	ck_assert_int_eq(in_cell(send_elsewhere, receiver), 0);
	ck_assert_int_gt(recv(receiver, text, sizeof text, 0), 0);
}
END_TEST

START_TEST(handler_of_forbidden_calls_stays)
{
	ck_assert(WIFSIGNALED(in_cell(replace_handler, SIGSYS)));
	ck_assert(WIFSIGNALED(in_cell(replace_handler, LOOKS_LIKE_ANOTHER(SIGSYS))));
	ck_assert_int_eq(in_cell(replace_handler, SIGUSR1), 0);
}
END_TEST

/* What becomes of a process that may only wait, and does it. */
static int in_waiting(void (*attempt)(long long what), long long what)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || sandbox_wait_only())
			syscall(SYS_exit_group, 99);
		attempt(what);
		syscall(SYS_exit_group, 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void wait_a_moment(long long ms) { poll(NULL, 0, (int)ms); }

static void make_call(long long number) { (void)syscall(number, 0, 0, 0, 0, 0, 0); }

START_TEST(who_may_only_wait_can_do_nothing_else)
{
	static const long refused[] = {
		SYS_openat,         SYS_read,         SYS_mmap,    SYS_mprotect,        SYS_clone,  SYS_execve,
		SYS_kill,           SYS_socket,       SYS_sendmsg, SYS_ioctl,           SYS_ptrace, SYS_prctl,
		SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_futex,   SYS_clock_nanosleep,
	};

	ck_assert_int_eq(in_waiting(wait_a_moment, 1), 0);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		const int status = in_waiting(make_call, refused[i]);
		ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "system call %ld was made",
			      refused[i]);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sandbox");
	TCase *t = tcase_create("sandbox");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, logs_socket_sends_to_nobody_else);
	tcase_add_test(t, handler_of_forbidden_calls_stays);
	tcase_add_test(t, who_may_only_wait_can_do_nothing_else);
	suite_add_tcase(s, t);
	return run_suite(s);
}
