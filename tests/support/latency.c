/* How long something takes, beside the same on tmpfs, in turn: what is left is the vault's part, whatever else the
 * machine does.
 *
 *   latency SECONDS NAME run VAULT_WORDS -- TMPFS_WORDS     two commands, each word an argument
 *   latency SECONDS NAME read VAULT_FILE TMPFS_FILE         open, read to the end, close, by this process
 *   latency SECONDS NAME event FILE VAULT_WORDS             from the end of the command to the CLOSE_WRITE of FILE that
 *                                                           it causes
 *
 * Prints one line: how often, the median and the 99.9th percentile of what the vault's took beyond the median of
 * tmpfs's, the worst, and how many failed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_US  10000 /* between two measurements */
#define EVENT_MS  60000
#define TIMES_MAX 100000u

extern char **environ;

static double times[2][TIMES_MAX]; /* ms: of the vault, of tmpfs */
static size_t n_times;
static unsigned failed;
static char first_failure[128];

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static void fails(const char *what, int number)
{
	if (failed++ == 0)
		snprintf(first_failure, sizeof first_failure, "; first: %s %d", what, number);
}

static double run(char **words)
{
	posix_spawn_file_actions_t actions;
	const double began = now_ms();
	int status = 0;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, words[0], &actions, NULL, words, environ) || waitpid(pid, &status, 0) < 0)
		status = -1;
	posix_spawn_file_actions_destroy(&actions);
	if (status != 0)
		fails("status", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return now_ms() - began;
}

static double read_whole(const char *path)
{
	char buf[65536];
	const double began = now_ms();
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : 1;

	while (n > 0)
		n = read(fd, buf, sizeof buf);
	if (n < 0)
		fails("errno", errno);
	if (fd >= 0)
		close(fd);
	return now_ms() - began;
}

/* Events that came before are none of this commit's. */
static double event(int watch, char **words)
{
	char buf[4096];
	struct pollfd p = { .fd = watch, .events = POLLIN };

	while (poll(&p, 1, 0) > 0 && read(watch, buf, sizeof buf) > 0)
		;
	run(words);
	const double began = now_ms();
	if (poll(&p, 1, EVENT_MS) <= 0)
		fails("no event within ms", EVENT_MS);
	return now_ms() - began;
}

static int ascending(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	const double end = now_ms() + strtod(argv[1], NULL) * 1000;
	const bool runs = !strcmp(argv[3], "run"), reads = !strcmp(argv[3], "read");
	char **beside = argv + 4;
	int watch = -1;

	if (runs) {
		while (*beside && strcmp(*beside, "--") != 0)
			beside++;
		if (!*beside)
			return 2;
		*beside++ = NULL;
	} else if (!reads) {
		watch = inotify_init1(IN_CLOEXEC);
		if (watch < 0 || inotify_add_watch(watch, argv[4], IN_CLOSE_WRITE) < 0) {
			perror(argv[4]);
			return 1;
		}
	}
	while (n_times < TIMES_MAX && now_ms() < end) {
		times[0][n_times] = runs ? run(argv + 4) : reads ? read_whole(argv[4]) : event(watch, argv + 5);
		times[1][n_times] = runs ? run(beside) : reads ? read_whole(argv[5]) : 0;
		n_times++;
		usleep(PAUSE_US);
	}
	if (!n_times)
		return 1;
	for (int i = 0; i < 2; i++)
		qsort(times[i], n_times, sizeof times[i][0], ascending);
	const double base = times[1][n_times / 2];
	printf("%s: %zu times, median %.1f ms, p99.9 %.1f ms above tmpfs (%.1f ms, p99.9 %.1f); worst %.1f ms; %u "
	       "failed%s\n",
	       argv[2], n_times, times[0][n_times / 2] - base,
	       times[0][n_times * 999 / 1000] - times[1][n_times * 999 / 1000], base, times[1][n_times * 999 / 1000],
	       times[0][n_times - 1], failed, first_failure);
	return failed ? 1 : 0;
}
