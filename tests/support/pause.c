/* How long callers wait when the active worker dies.
 *
 *   pause MOUNT FILE ROUNDS [INTERVAL_MS]
 *
 * A round: wait until the status names a standby, then kill -9 the worker, and open, read and close FILE at once: from
 * the kill until the close is the pause. Then rest for INTERVAL_MS. What the same takes while nobody dies is measured
 * before each kill. Any failed call ends it with status 1. Prints one line: "ok ROUNDS median_us worst_us
 * median_us_without worst_us_without". As root: it kills, and reads the status. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAIT_S 60

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void rest_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

/* 0 where the status has null */
static long number_of(const char *status, const char *key)
{
	const char *at = strstr(status, key);
	return at ? strtol(at + strlen(key), NULL, 10) : 0;
}

static int read_status(const char *mount, long *ret_worker, long *ret_standby)
{
	static char text[65536];
	char path[4200];
	snprintf(path, sizeof path, "%s/.coffer/status", mount);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	int error = errno;
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(error));
		return -1;
	}
	text[n] = '\0';
	*ret_worker = number_of(text, "\"worker\": ");
	*ret_standby = number_of(text, "\"standby\": ");
	return 0;
}

static int wait_standby(const char *mount, long *ret_worker)
{
	long standby = 0;
	for (int64_t end = now_us() + WAIT_S * INT64_C(1000000); now_us() < end; rest_ms(5)) {
		if (read_status(mount, ret_worker, &standby))
			return -1;
		if (standby > 0 && *ret_worker > 0)
			return 0;
	}
	fprintf(stderr, "no standby within %d s\n", WAIT_S);
	return -1;
}

/* kills: 0 for nobody */
static int one_read(const char *file, long kills, int64_t *ret_us)
{
	char buf[4096];
	int64_t began = now_us();
	if (kills && kill((pid_t)kills, SIGKILL)) {
		perror("kill");
		return -1;
	}
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, buf, sizeof buf) < 0) {
		fprintf(stderr, "%s: %s\n", file, strerror(errno));
		return -1;
	}
	close(fd);
	*ret_us = now_us() - began;
	return 0;
}

static int one_round(const char *mount, const char *file, int64_t *ret_us, int64_t *ret_us_without)
{
	long worker = 0;
	if (wait_standby(mount, &worker) || one_read(file, 0, ret_us_without))
		return -1;
	return one_read(file, worker, ret_us);
}

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: pause MOUNT FILE ROUNDS [INTERVAL_MS]\n");
		return 2;
	}
	const long rounds = strtol(argv[3], NULL, 10), interval = argc > 4 ? strtol(argv[4], NULL, 10) : 10;
	int64_t *pauses = calloc(rounds > 0 ? (size_t)rounds : 1, sizeof *pauses),
		*without = calloc(rounds > 0 ? (size_t)rounds : 1, sizeof *without);
	if (!pauses || !without || rounds < 1)
		return 2;
	for (long i = 0; i < rounds; i++) {
		if (one_round(argv[1], argv[2], &pauses[i], &without[i]))
			return 1;
		rest_ms(interval);
	}
	qsort(pauses, (size_t)rounds, sizeof *pauses, ascending);
	qsort(without, (size_t)rounds, sizeof *without, ascending);
	printf("ok %ld %lld %lld %lld %lld\n", rounds, (long long)pauses[rounds / 2], (long long)pauses[rounds - 1],
	       (long long)without[rounds / 2], (long long)without[rounds - 1]);
	free(without);
	free(pauses);
	return 0;
}
