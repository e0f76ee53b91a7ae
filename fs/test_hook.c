#include "fs/test_hook.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/log.h"

#define PIECE      16
#define MARKER_MAX 16384

static uint8_t flipped[MARKER_MAX];
static size_t pieces;
/* Pieces by the first two bytes that they have in memory, chained: index + 1 of the first, and of the next with the same beginning. One that begins with zeros, as most of memory does, must not cost more. */
static uint16_t first[65536], next[MARKER_MAX / PIECE];

static bool here(const uint8_t *at)
{
	for (uint16_t i = first[(uint16_t)(at[0] << 8 | at[1])]; i; i = next[i - 1]) {
		const uint8_t *piece = flipped + (i - 1) * PIECE;
		size_t k = 0;
		while (k < PIECE && at[k] + piece[k] == 0xff)
			k++;
		if (k == PIECE)
			return true;
	}
	return false;
}

static void look(void)
{
	char line[512], mode[5];
	unsigned long long from, to, looked = 0, found = 0;
	FILE *maps = fopen("/proc/self/maps", "re");

	while (maps && fgets(line, sizeof line, maps)) {
		if (sscanf(line, "%llx-%llx %4s", &from, &to, mode) != 3 || mode[0] != 'r' || strstr(line, "[v"))
			continue;
		unsigned long long here_found = 0;
		for (uint64_t at = from; at + PIECE <= to; at++)
			here_found += here((const uint8_t *)(uintptr_t)at);
		if (here_found)
			log_warn("test hook: %llu found in %s", here_found, line);
		found += here_found;
		looked += to - from;
	}
	if (maps)
		fclose(maps);
	log_info("test hook: %llu of %zu pieces found in all, in %llu bytes", found, pieces, looked);
}

static void load(void)
{
	const char *path = getenv("COFFER_TEST_MARKER");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = fd < 0 ? -1 : read(fd, flipped, sizeof flipped);

	if (fd >= 0)
		close(fd);
	pieces = n < 0 ? 0 : (size_t)n / PIECE;
	memset(first, 0, sizeof first);
	for (size_t i = 0; i < pieces; i++) {
		uint16_t *head = &first[(uint16_t)((flipped[i * PIECE] ^ 0xff) << 8 | (flipped[i * PIECE + 1] ^ 0xff))];
		next[i] = *head;
		*head = (uint16_t)(i + 1);
	}
	if (!pieces)
		log_warn("test hook: no marker in %s", path ? path : "the environment");
}

static void *wait_for_signal(void *arg)
{
	sigset_t set;
	int signal;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	while (!sigwait(&set, &signal)) {
		load();
		look();
	}
	return NULL;
}

int test_hook_start(void)
{
	pthread_t thread;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	int r = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (!r)
		r = -pthread_create(&thread, NULL, wait_for_signal, NULL);
	if (!r)
		pthread_detach(thread);
	return r;
}
