/* Who keeps a worker's memory after its death: until it is ended, and what it may do. */
#include "fs/helpers/mm_holder.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define TOUCHED (8u << 20)

static struct shared {
	volatile int error;
} * shared; /* what the start said, 0: well; -1: nothing yet */

static void setup(void)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(shared != MAP_FAILED);
	shared->error = -1;
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* of what a keeper leaves */
}

static void wait_a_little(void) { poll(NULL, 0, 1); }

/* As a worker: memory that takes a while to free, then it waits. keep: its keeper knows of the holder. */
static _Noreturn void work(pid_t keeper, bool keep)
{
	char *memory = malloc(TOUCHED);

	if (memory)
		memset(memory, 1, TOUCHED);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		_exit(99);
	const pid_t holder = mm_holder_start(keeper);
	if (keep)
		mm_holder_keep();
	shared->error = holder < 0 ? holder : 0;
	for (;;)
		pause();
}

static pid_t worker_new(bool keep)
{
	const pid_t keeper = getpid(), pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		work(keeper, keep);
	while (shared->error == -1)
		wait_a_little();
	ck_assert_int_eq(shared->error, 0);
	return pid;
}

/* The first word of that name in /proc/PID/status; empty: there is none. */
static const char *status_word(pid_t pid, const char *name)
{
	static char word[64];
	char path[64], line[256];
	const size_t len = strlen(name);

	word[0] = '\0';
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && !word[0] && fgets(line, sizeof line, f))
		if (!strncmp(line, name, len) && line[len] == ':')
			sscanf(line + len + 1, "%63s", word);
	if (f)
		fclose(f);
	return word;
}

/* The other process of that parent; 0: there is none. */
static pid_t holder_of(pid_t parent, pid_t worker)
{
	DIR *d = opendir("/proc");
	pid_t found = 0;

	for (struct dirent *e; !found && (e = readdir(d));) {
		const pid_t pid = (pid_t)atoi(e->d_name);
		if (pid > 0 && pid != worker && atoi(status_word(pid, "PPid")) == parent)
			found = pid;
	}
	closedir(d);
	return found;
}

static unsigned descriptors(pid_t pid)
{
	char path[64];
	unsigned n = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);
	ck_assert_ptr_nonnull(d);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static int status_of(pid_t pid)
{
	int status = -1;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

START_TEST(keeps_the_memory_of_the_dead)
{
	const pid_t worker = worker_new(true), holder = holder_of(getpid(), worker);

	ck_assert_int_gt(holder, 0);
	ck_assert_str_eq(status_word(holder, "Name"), "coffer-mm");
	ck_assert_str_eq(status_word(holder, "Seccomp"), "2");
	ck_assert_int_eq(getpriority(PRIO_PROCESS, (id_t)holder), 19);
	ck_assert_uint_eq(descriptors(holder), 1);
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	ck_assert(WIFSIGNALED(status_of(worker))); /* reaped, with its memory still there */
	ck_assert_int_ge(atoi(status_word(holder, "VmRSS")), (int)(TOUCHED >> 10));
	ck_assert_int_eq(kill(holder, SIGKILL), 0);
	ck_assert(WIFSIGNALED(status_of(holder)));
}
END_TEST

/* It comes back from the kernel for nothing: its stack is the worker's to write. */
START_TEST(waits_for_its_end_alone)
{
	const pid_t worker = worker_new(true), holder = holder_of(getpid(), worker);
	const int signals[] = { SIGTERM, SIGUSR1, SIGSEGV, SIGALRM, SIGSTOP, SIGCONT };

	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	ck_assert(WIFSIGNALED(status_of(worker)));
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		ck_assert_int_eq(kill(holder, signals[i]), 0);
	while (*status_word(holder, "State") != 'S')
		wait_a_little();
	ck_assert_int_eq(waitpid(holder, NULL, WNOHANG), 0);
	ck_assert_int_eq(kill(holder, SIGKILL), 0);
	ck_assert(WIFSIGNALED(status_of(holder)));
}
END_TEST

START_TEST(dies_with_a_worker_whose_keeper_knows_nothing_of_it)
{
	const pid_t worker = worker_new(false), holder = holder_of(getpid(), worker);

	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	ck_assert(WIFSIGNALED(status_of(worker)));
	ck_assert_int_eq(status_of(holder), 0);
}
END_TEST

START_TEST(dies_with_the_keeper)
{
	const pid_t keeper = fork();

	ck_assert_int_ge(keeper, 0);
	if (keeper == 0) {
		worker_new(true);
		for (;;)
			pause();
	}
	while (shared->error == -1)
		wait_a_little();
	ck_assert_int_eq(shared->error, 0);
	const pid_t worker = holder_of(keeper, 0), holder = holder_of(keeper, worker);
	ck_assert_int_gt(holder, 0);
	ck_assert_int_eq(kill(keeper, SIGKILL), 0);
	ck_assert(WIFSIGNALED(status_of(keeper)));
	int status = 0;
	const pid_t gone = wait(&status); /* a worker of a real one dies with it, too: ours goes on */
	ck_assert(gone == worker || gone == holder);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	kill(gone == worker ? holder : worker, SIGKILL);
	ck_assert_int_gt(wait(NULL), 0);
}
END_TEST

/* A worker whose keeper is another process than the one it is told. */
START_TEST(does_not_start_without_its_keeper)
{
	int status = 0;
	const pid_t worker = fork();

	ck_assert_int_ge(worker, 0);
	if (worker == 0)
		_exit(mm_holder_start(1) == -ESRCH ? 0 : 1);
	for (int i = 0; i < 2; i++) /* and nothing of it is left */
		ck_assert(wait(&status) > 0 && status == 0);
	ck_assert_int_eq(wait(NULL), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mm_holder");
	TCase *t = tcase_create("mm_holder");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, keeps_the_memory_of_the_dead);
	tcase_add_test(t, waits_for_its_end_alone);
	tcase_add_test(t, dies_with_a_worker_whose_keeper_knows_nothing_of_it);
	tcase_add_test(t, dies_with_the_keeper);
	tcase_add_test(t, does_not_start_without_its_keeper);
	suite_add_tcase(s, t);
	return run_suite(s);
}
