/* The runner in a process of its own, and both ends of its socket. As root: it becomes other users. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/lifecycle/programs.h"
#include "fs/helpers/runner.h"
#include "store/crypto/aead.h"
#include "suite.h"

static char dir[64];
static int dir_fd, ends[2][2];
static _Atomic int32_t runner;
static struct runner_answer last;
static int last_fd;

static void write_file(const char *name, mode_t mode, const char *text)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void start_runner(void)
{
	const int clients[] = { ends[0][1], ends[1][1] };
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		close(ends[0][0]);
		close(ends[1][0]);
		_exit(runner_run(clients, 2, dir_fd));
	}
	runner = pid;
}

static void stop_runner(void)
{
	kill(runner, SIGKILL);
	waitpid(runner, NULL, 0);
	runner = 0;
}

static void setup(void)
{
	ck_assert_int_eq(secmem_init(8 << 20, SECMEM_AUTO), 0);
	ck_assert_int_eq(crypto_init(), 0);
	strcpy(dir, "/tmp/coffer-runner-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chmod(dir, 0755), 0);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends[i]), 0);
	write_file(RUNNER_ALLOW, 0644,
		   "# programs\n1 /bin/echo %n %v %e %%\n0 /bin/sleep 5\n0 /bin/sleep 60\n0 /bin/true\n0 /bin/false\n1 "
		   "/bin/cat /proc/self/status\n0 /bin/sh DIR/slow\n");
	start_runner();
}

static void teardown(void)
{
	if (runner)
		stop_runner();
	unlinkat(dir_fd, RUNNER_ALLOW, 0);
	rmdir(dir);
}

static struct runner_request request(uint32_t type, uint32_t user, const char *command)
{
	struct runner_request q = { .type = type,
				    .number = 1,
				    .user = user,
				    .timeout = 20,
				    .event = EVENT_NEW_VERSION,
				    .version = 7,
				    .name = "db",
				    .cookie = 99 };

	snprintf(q.command, sizeof q.command, "%s", command);
	return q;
}

/* The next answer, into last and last_fd. */
static void receive(int client)
{
	struct pollfd p = { .fd = ends[client][0], .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, 20000), 1);
	ck_assert_int_eq(runner_receive(ends[client][0], &last, &last_fd), 0);
}

static int ask(const struct runner_request *q)
{
	ck_assert_int_eq(runner_send(ends[0][0], q), 0);
	do
		receive(0);
	while (last.type != RUNNER_ENDED);
	return last.error;
}

static size_t read_groups(uint32_t *ret, size_t max)
{
	size_t len = 0;
	ssize_t n;

	struct pollfd p = { .fd = last_fd, .events = POLLIN };
	while (poll(&p, 1, 20000) == 1 && (n = read(last_fd, (char *)ret + len, max * sizeof *ret - len)) > 0)
		len += (size_t)n;
	close(last_fd);
	return len / sizeof *ret;
}

/* The groups of an account, without any line of hooks.allow. */
START_TEST(looks_up_an_account)
{
	struct runner_request q = request(RUNNER_GROUPS, 0, "");
	uint32_t groups[4097];

	q.timeout = 5;
	ck_assert_int_eq(runner_send(ends[0][0], &q), 0);
	receive(0);
	ck_assert(last.type == RUNNER_STARTED && last_fd >= 0 && last.cookie == 99);
	const size_t n = read_groups(groups, 4097);
	ck_assert_uint_ge(n, 2);
	ck_assert_uint_eq(groups[0], n - 1);
	ck_assert_uint_eq(groups[1], 0); /* root's own */
	receive(0);
	ck_assert(last.type == RUNNER_ENDED && last.error == 0 && last.status == 0);

	q = request(RUNNER_GROUPS, 3999999999u, "");
	ck_assert_int_eq(runner_send(ends[0][0], &q), 0);
	receive(0);
	ck_assert_uint_eq(read_groups(groups, 4097), 0);
	receive(0);
	ck_assert(last.type == RUNNER_ENDED && WIFEXITED(last.status) && WEXITSTATUS(last.status) == 2);
}
END_TEST

START_TEST(command_becomes_words_and_nothing_else_is_put_in)
{
	struct runner_request q = request(RUNNER_RUN, 0, "/bin/x  a%nb %v,%e %% ");
	char *argv[RUNNER_WORDS_MAX + 1], *buf = NULL;

	ck_assert_int_eq(runner_expand(&q, &buf, argv), 0);
	ck_assert_str_eq(argv[0], "/bin/x");
	ck_assert_str_eq(argv[1], "adbb");
	ck_assert_str_eq(argv[2], "7,NewVersionCreated");
	ck_assert_str_eq(argv[3], "%");
	ck_assert_ptr_null(argv[4]);
	free(buf);
	ck_assert(runner_command_varies("/x %n") && !runner_command_varies("/x 100%% y") &&
		  !runner_command_varies("/x"));
	static const char *const bad[] = {
		"", "   ", "/x %", "/x %q", "/x %%%", "/x 'a", "/x \"a", "/x a\\", "/x 'a\""
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		q = request(RUNNER_RUN, 0, bad[i]);
		ck_assert_msg(runner_expand(&q, &buf, argv) == -EINVAL, "\"%s\"", bad[i]);
	}
	q = request(RUNNER_RUN, 0, "/x");
	for (int i = 0; i < RUNNER_WORDS_MAX; i++)
		strcat(q.command, " w");
	ck_assert_int_eq(runner_expand(&q, &buf, argv), -EINVAL);
}
END_TEST

static const struct {
	const char *command, *words;
} quoted[] = {
	{ "/x 'a b' c", "/x|a b|c" },
	{ "/x \"a b\" '' \"\"", "/x|a b||" },
	{ "/x a\\ b", "/x|a b" },
	{ "/x a'b'\"c\"d", "/x|abcd" },
	{ "/x 'a\\'", "/x|a\\" },
	{ "/x \"a\\\"b\\c\"", "/x|a\"b\\c" },
	{ "/x 'k=%n' \"%v\"", "/x|k=db|7" },
	{ "/x\ta", "/x|a" },
	{ "/x '$(id) | *' ", "/x|$(id) | *" },
	{ "/x \\'", "/x|'" },
};

START_TEST(words_are_as_a_shell_has_them)
{
	struct runner_request q = request(RUNNER_RUN, 0, quoted[_i].command);
	char *argv[RUNNER_WORDS_MAX + 1], *buf = NULL, text[256] = "";

	ck_assert_int_eq(runner_expand(&q, &buf, argv), 0);
	for (size_t i = 0; argv[i]; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? "|" : "", argv[i]);
	ck_assert_str_eq(text, quoted[_i].words);
	ck_assert_int_eq(runner_command_shellish(quoted[_i].command), 0);
	free(buf);
}
END_TEST

static const struct {
	const char *command;
	char what;
} shellish[] = {
	{ "/x a | b", '|' }, { "/x > /tmp/y", '>' }, { "/x $HOME", '$' }, { "/x \"$HOME\"", '$' },   { "/x `id`", '`' },
	{ "/x a; b", ';' },  { "/x &", '&' },        { "/x *.pem", '*' }, { "/x a?", '?' },          { "/x # b", '#' },
	{ "/x ~", '~' },     { "/x a#b~c", 0 },      { "/x \\$HOME", 0 }, { "/x 'a|b' \"c>d\"", 0 }, { "/x %n-%v", 0 },
};

START_TEST(what_only_a_shell_would_do_is_found)
{
	ck_assert_int_eq(runner_command_shellish(shellish[_i].command), shellish[_i].what);
}
END_TEST

START_TEST(only_the_very_line_of_a_file_of_roots_is_allowed)
{
	char why[RUNNER_TEXT_MAX];

	ck_assert_int_eq(runner_allowed(dir_fd, 0, "/bin/true", why, sizeof why), 0);
	static const struct {
		uint32_t user;
		const char *command;
	} bad[] = {
		{ 2, "/bin/true" }, { 0, "/bin/true " }, { 0, "/bin/true x" },        { 0, "/bin/tru" },
		{ 0, "true" },      { 0, "# programs" }, { 1, "/bin/echo %n %v %e" }, { 0, "/bin/sh DIR/slow\n" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(runner_allowed(dir_fd, bad[i].user, bad[i].command, why, sizeof why) == -EPERM, "%s",
			      bad[i].command);
	static const mode_t modes[] = { 0664, 0646, 0666 };
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(fchmodat(dir_fd, RUNNER_ALLOW, modes[i], 0), 0);
		ck_assert_int_eq(runner_allowed(dir_fd, 0, "/bin/true", why, sizeof why), -EPERM);
	}
	ck_assert_int_eq(fchmodat(dir_fd, RUNNER_ALLOW, 0644, 0), 0);
	ck_assert_int_eq(fchownat(dir_fd, RUNNER_ALLOW, 1000, 0, 0), 0);
	ck_assert_int_eq(runner_allowed(dir_fd, 0, "/bin/true", why, sizeof why), -EPERM);
	ck_assert_int_eq(renameat(dir_fd, RUNNER_ALLOW, dir_fd, "other"), 0);
	ck_assert_int_eq(fchownat(dir_fd, "other", 0, 0, 0), 0);
	ck_assert_int_eq(symlinkat("other", dir_fd, RUNNER_ALLOW), 0);
	ck_assert_int_eq(runner_allowed(dir_fd, 0, "/bin/true", why, sizeof why), -EPERM);
	unlinkat(dir_fd, "other", 0);
}
END_TEST

/* Programs below the test's directory: the list names them all, and the way to them is what counts. */
/* Any process of nobody could take what such a program prints. */
START_TEST(nothing_runs_as_nobody)
{
	char why[RUNNER_TEXT_MAX] = "";

	write_file(RUNNER_ALLOW, 0644, "65534 /bin/true\n");
	ck_assert_int_eq(runner_allowed(dir_fd, 65534, "/bin/true", why, sizeof why), -EPERM);
	ck_assert_ptr_nonnull(strstr(why, "is nobody"));
	ck_assert_ptr_nonnull(strstr(why, "--user"));
	ck_assert_int_eq(runner_command_check(65534, "/bin/true", why, sizeof why), -EPERM);
	struct runner_request q = request(RUNNER_RUN, 65534, "/bin/true");
	ck_assert_int_eq(ask(&q), -EPERM);
	ck_assert_ptr_nonnull(strstr(last.text, "is nobody"));
}
END_TEST

/* This runner is root's, and so knows no prefix: it looks for coffer-hooks. */
START_TEST(tells_as_whom_programs_run_that_name_no_user)
{
	struct runner_request q = request(RUNNER_DEFAULT, 0, "");
	const struct passwd *pw = getpwnam("coffer-hooks");
	int r = ask(&q);

	if (pw) {
		ck_assert_int_eq(r, 0);
		ck_assert_uint_eq(last.cookie, pw->pw_uid);
	} else {
		ck_assert_int_eq(r, -ENOENT);
		ck_assert_ptr_nonnull(strstr(last.text, "useradd "));
	}
}
END_TEST

START_TEST(only_a_program_that_nobody_else_can_replace_is_allowed)
{
	static const struct {
		const char *program;
		mode_t mode;
		uid_t owner;
		int result;
	} ways[] = {
		{ "way/prog", 0755, 0, 0 },  { "way/prog", 0775, 0, -EPERM }, { "way/prog", 0757, 0, -EPERM },
		{ "way/prog", 01777, 0, 0 }, { "way/prog", 0755, 1, 0 },      { "way/prog", 0755, 1000, -EPERM },
		{ "link", 0755, 0, 0 },      { "link", 0777, 0, -EPERM },
	};
	char why[RUNNER_TEXT_MAX], command[128], line[160];

	ck_assert_int_eq(mkdirat(dir_fd, "way", 0755), 0);
	write_file("way/prog", 0755, "#!/bin/sh\n");
	ck_assert_int_eq(symlinkat("way/prog", dir_fd, "link"), 0);
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		ck_assert_int_eq(fchownat(dir_fd, "way", ways[i].owner, 0, 0), 0);
		ck_assert_int_eq(fchmodat(dir_fd, "way", ways[i].mode, 0), 0);
		snprintf(command, sizeof command, "%s/%s", dir, ways[i].program);
		snprintf(line, sizeof line, "1 %s\n", command);
		write_file(RUNNER_ALLOW, 0644, line);
		ck_assert_msg(runner_allowed(dir_fd, 1, command, why, sizeof why) == ways[i].result, "%zu: %s", i, why);
	}
	/* the name of a secret chooses no program */
	snprintf(command, sizeof command, "%s/way/%%n", dir);
	snprintf(line, sizeof line, "1 %s\n", command);
	write_file(RUNNER_ALLOW, 0644, line);
	ck_assert_int_eq(fchownat(dir_fd, "way", 0, 0, 0), 0);
	ck_assert_int_eq(fchmodat(dir_fd, "way", 0755, 0), 0);
	write_file("way/x", 0755, "#!/bin/sh\n");
	ck_assert_int_eq(runner_allowed(dir_fd, 1, command, why, sizeof why), -EINVAL);
	unlinkat(dir_fd, "way/x", 0);
	unlinkat(dir_fd, "way/prog", 0);
	unlinkat(dir_fd, "link", 0);
	unlinkat(dir_fd, "way", AT_REMOVEDIR);
}
END_TEST

START_TEST(value_comes_by_a_pipe_and_the_end_by_an_answer)
{
	struct runner_request q = request(RUNNER_RUN, 1, "/bin/echo %n %v %e %%");
	char text[64] = "";

	q.wants_value = 1;
	ck_assert_int_eq(runner_send(ends[0][0], &q), 0);
	receive(0);
	ck_assert_uint_eq(last.type, RUNNER_STARTED);
	ck_assert_int_ge(last_fd, 0);
	ck_assert_int_eq(last.runner, runner);
	int fd = last_fd;
	receive(0);
	ck_assert(last.type == RUNNER_ENDED && last.error == 0 && last.status == 0 && last.cookie == 99 &&
		  last_fd == -1);
	ck_assert_int_gt(read(fd, text, sizeof text - 1), 0);
	ck_assert_str_eq(text, "db 7 NewVersionCreated %\n");
	close(fd);
}
END_TEST

START_TEST(what_a_captured_worker_could_ask_for_is_refused)
{
	struct runner_request q = request(RUNNER_RUN, 0, "/bin/sh -c id");

	ck_assert_int_eq(ask(&q), -EPERM);
	q = request(RUNNER_RUN, 0, "/bin/true");
	strcpy(q.name, "a b"); /* no name: it would be two words */
	ck_assert_int_eq(ask(&q), -EINVAL);
	q = request(RUNNER_RUN, 0, "/bin/true");
	memset(q.name, 'a', sizeof q.name);
	ck_assert_int_eq(ask(&q), -EINVAL);
	q = request(RUNNER_RUN, 0, "/bin/true");
	memset(q.command, '/', sizeof q.command);
	ck_assert_int_eq(ask(&q), -EINVAL);
	q = request(RUNNER_RUN, 0, "/bin/true");
	q.event = EVENT_KINDS;
	ck_assert_int_eq(ask(&q), -EINVAL);
	q = request(RUNNER_RUN, 0, "/bin/true");
	q.timeout = HOOK_TIMEOUT_MAX + 1;
	ck_assert_int_eq(ask(&q), -EINVAL);
	q = request(9, 0, "/bin/true");
	ck_assert_int_eq(ask(&q), -EINVAL);
	ck_assert_int_eq(send(ends[0][0], "short", 5, 0), 5); /* not answered */
	q = request(RUNNER_CHECK, 0, "/bin/true");
	ck_assert_int_eq(ask(&q), 0);
	q = request(RUNNER_CHECK, 0, "/bin/ls");
	ck_assert_int_eq(ask(&q), -EPERM);
}
END_TEST

START_TEST(same_key_is_the_same_run_for_another_client_too)
{
	struct runner_request q = request(RUNNER_RUN, 0, "/bin/sleep 5");

	q.timeout = 1;
	q.key[0] = 3;
	q.key[1] = 4;
	q.type = RUNNER_RESUME; /* nobody has begun it */
	ck_assert_int_eq(ask(&q), -ENOENT);
	q.type = RUNNER_RUN;
	ck_assert_int_eq(runner_send(ends[0][0], &q), 0);
	receive(0);
	ck_assert_uint_eq(last.type, RUNNER_STARTED);
	q.type = RUNNER_RESUME;
	q.number = 77;
	q.cookie = 1000;
	ck_assert_int_eq(runner_send(ends[1][0], &q), 0);
	receive(1);
	ck_assert(last.type == RUNNER_STARTED && last.number == 77 && last.cookie == 99);
	receive(1);
	ck_assert(last.type == RUNNER_ENDED && last.number == 77 && last.cookie == 99 && last.timed_out);
	q.number = 78;
	ck_assert_int_eq(runner_send(ends[0][0], &q), 0);
	receive(0);
	ck_assert(last.type == RUNNER_ENDED && last.number == 78 && last.cookie == 99 && last.timed_out);
}
END_TEST

/* ---- the worker's side ---- */

static struct programs *programs;
static atomic_bool done;

static void *looker(void *arg)
{
	struct pollfd p[PROGRAMS_POLL];
	int wait;

	(void)arg;
	while (!done) {
		size_t n = programs_poll(programs, p, &wait);
		poll(p, (nfds_t)n, 20);
		programs_step(programs);
	}
	return NULL;
}

static void take(struct program_result *result)
{
	for (int i = 0; i < 2000 && !programs_take(programs, PROGRAM_OF_HOOK, result); i++)
		poll(NULL, 0, 10);
}

START_TEST(results_reach_who_asked)
{
	struct rotation policy = { .user = 1, .timeout = 20, .command = "/bin/echo %n %v %e %%" };
	struct runner_request q = request(RUNNER_RUN, 0, "/bin/false");
	struct program_result result = { 0 };
	struct secbuf *value = NULL;
	char why[RUNNER_TEXT_MAX];
	pthread_t thread;
	int wake = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_eq(programs_new(ends[0][0], wake, &runner, &programs), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, looker, NULL), 0);
	ck_assert_int_eq(programs_check(programs, "/bin/true", 0, why, sizeof why), 0);
	ck_assert_int_eq(programs_check(programs, "/bin/ls", 0, why, sizeof why), -EPERM);
	ck_assert_int_eq(programs_value(programs, &policy, "web", 3, 100, NULL, NULL, &value, why, sizeof why), 0);
	ck_assert_uint_eq(secbuf_len(value), strlen("web 3 Rotate %\n"));
	ck_assert_int_eq(memcmp(secbuf_cdata(value), "web 3 Rotate %\n", secbuf_len(value)), 0);
	secbuf_free(value);
	ck_assert_int_eq(programs_value(programs, &policy, "web", 3, 5, NULL, NULL, &value, why, sizeof why), -EFBIG);
	strcpy(policy.command, "/bin/true");
	policy.user = 0;
	ck_assert_int_eq(programs_value(programs, &policy, "web", 3, 5, NULL, NULL, &value, why, sizeof why), -ENODATA);
	ck_assert_int_eq(programs_start(programs, &q, 0, PROGRAM_OF_HOOK, 8, 9), 0);
	ck_assert(programs_busy(programs, PROGRAM_OF_HOOK, 8));
	take(&result);
	ck_assert(result.error == -ECHILD && result.subject == 8 && result.tag == 9);
	ck_assert(!programs_busy(programs, PROGRAM_OF_HOOK, 8));

	/* a runner that dies is noticed, not waited for */
	q = request(RUNNER_RUN, 0, "/bin/sleep 5");
	ck_assert_int_eq(programs_start(programs, &q, 0, PROGRAM_OF_HOOK, 8, 10), 0);
	for (int i = 0; i < 50; i++)
		poll(NULL, 0, 10);
	stop_runner();
	start_runner();
	take(&result);
	ck_assert(result.error == -EPIPE && result.tag == 10);
	done = true;
	pthread_join(thread, NULL);
	programs_close(programs);
	ck_assert_int_eq(programs_check(programs, "/bin/true", 0, why, sizeof why), -ECANCELED);
	programs_free(programs);
	close(wake);
}
END_TEST

static atomic_uint waiting;

static void waits(void *arg)
{
	atomic_bool *seen = arg;

	if (!atomic_exchange(seen, true))
		waiting++;
}

static void *rotate_by_hand(void *arg)
{
	struct rotation policy = { .user = 0, .timeout = 60, .command = "/bin/sleep 60" };
	struct secbuf *value = NULL;
	char why[RUNNER_TEXT_MAX];
	atomic_bool seen = false;

	(void)arg;
	return (void *)(intptr_t)programs_value(programs, &policy, "web", 3, 5, waits, &seen, &value, why, sizeof why);
}

/* Each keeps a thread of the pool for as long as its program runs. */
START_TEST(few_threads_wait_for_programs_by_hand)
{
	struct runner_request hook = request(RUNNER_RUN, 0, "/bin/true");
	struct program_result result = { 0 };
	pthread_t looking, by_hand[PROGRAMS_BY_HAND];
	int wake = eventfd(0, EFD_CLOEXEC);
	char why[RUNNER_TEXT_MAX];
	void *r;

	ck_assert_int_eq(programs_new(ends[0][0], wake, &runner, &programs), 0);
	ck_assert_int_eq(pthread_create(&looking, NULL, looker, NULL), 0);
	for (size_t i = 0; i < PROGRAMS_BY_HAND; i++)
		ck_assert_int_eq(pthread_create(&by_hand[i], NULL, rotate_by_hand, NULL), 0);
	while (waiting < PROGRAMS_BY_HAND)
		poll(NULL, 0, 10);
	ck_assert_int_eq((intptr_t)rotate_by_hand(NULL), -EAGAIN);
	ck_assert_int_eq(programs_check(programs, "/bin/true", 0, why, sizeof why), 0);
	ck_assert_int_eq(programs_start(programs, &hook, 0, PROGRAM_OF_HOOK, 8, 9), 0);
	take(&result);
	ck_assert_int_eq(result.error, 0);
	stop_runner();
	start_runner();
	for (size_t i = 0; i < PROGRAMS_BY_HAND; i++) {
		pthread_join(by_hand[i], &r);
		ck_assert_int_eq((intptr_t)r, -EPIPE);
	}
	done = true;
	pthread_join(looking, NULL);
	programs_free(programs);
	close(wake);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		command_becomes_words_and_nothing_else_is_put_in,
		only_the_very_line_of_a_file_of_roots_is_allowed,
		nothing_runs_as_nobody,
		tells_as_whom_programs_run_that_name_no_user,
		only_a_program_that_nobody_else_can_replace_is_allowed,
		value_comes_by_a_pipe_and_the_end_by_an_answer,
		what_a_captured_worker_could_ask_for_is_refused,
		same_key_is_the_same_run_for_another_client_too,
		results_reach_who_asked,
		few_threads_wait_for_programs_by_hand,
		looks_up_an_account,
	};

	Suite *suite = suite_create("runner");
	TCase *t = tcase_create("runner");

	if (getuid() != 0)
		return 77;
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
		tcase_add_test(t, tests[i]);
	tcase_add_loop_test(t, words_are_as_a_shell_has_them, 0, sizeof quoted / sizeof quoted[0]);
	tcase_add_loop_test(t, what_only_a_shell_would_do_is_found, 0, sizeof shellish / sizeof shellish[0]);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
