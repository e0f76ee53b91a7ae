/* memscan PID FILE, or memscan --file FILE PATH…: is any piece of what FILE holds in the memory of a process, or in
 * other files? From outside, as root; for memory that root can read (not memfd_secret).
 *
 * Looks at every readable mapping through /proc/PID/mem, shared ones too, for each whole piece of 16 bytes of FILE.
 * Prints "ok BYTES", how much was looked at, or a line for each mapping in which something was found, and ends with 1.
 * The needle comes from a file so that it does not stand in anybody's argv. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE      16
#define STEP       (1u << 20)
#define NEEDLE_MAX 16384

/* Pieces by their first two bytes, chained: index + 1 of the first, and of the next with the same beginning. Memory is
 * mostly zeros, so a piece that begins with two of them must not have every place compared with every piece. */
static uint16_t first[65536], next[NEEDLE_MAX / PIECE];
static uint8_t needle[NEEDLE_MAX], window[STEP + PIECE];

static size_t load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, needle, sizeof needle);

	if (fd >= 0)
		close(fd);
	for (size_t i = 0; n >= PIECE && i < (size_t)n / PIECE; i++) {
		uint16_t *head = &first[needle[i * PIECE] << 8 | needle[i * PIECE + 1]];
		next[i] = *head;
		*head = (uint16_t)(i + 1);
	}
	return n < PIECE ? 0 : (size_t)n / PIECE;
}

static size_t count(const uint8_t *data, size_t len)
{
	size_t found = 0;

	for (const uint8_t *at = data; at + PIECE <= data + len; at++)
		for (uint16_t i = first[at[0] << 8 | at[1]]; i; i = next[i - 1])
			found += !memcmp(at, needle + (i - 1) * PIECE, PIECE);
	return found;
}

/* Steps overlap by a piece, so that none is cut in two. *ret_looked grows by what could be read. */
static size_t scan(int mem, uint64_t from, uint64_t to, uint64_t *ret_looked)
{
	size_t found = 0;

	for (uint64_t at = from; at < to; at += STEP) {
		size_t want = to - at < sizeof window ? (size_t)(to - at) : sizeof window;
		for (size_t done = 0; done < want;) {
			const size_t left = want - done;
			ssize_t n = pread(mem, window + done, left < sizeof window ? left : sizeof window,
					  (off_t)(at + done));
			if (n <= 0) { /* a page that is not there: nothing stands in it */
				size_t skip = 4096 - (at + done) % 4096;
				memset(window + done, 0, skip < left ? skip : left);
				done += skip;
			} else {
				done += (size_t)n;
				*ret_looked += (uint64_t)n;
			}
		}
		found += count(window, want);
	}
	return found;
}

static int scan_files(char **paths)
{
	int r = 0;

	for (; *paths; paths++) {
		uint64_t looked = 0;
		int fd = open(*paths, O_RDONLY | O_CLOEXEC);
		off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
		if (size < 0) {
			fprintf(stderr, "memscan: %s: %s\n", *paths, strerror(errno));
			r = 2;
		} else if (scan(fd, 0, (uint64_t)size, &looked)) {
			printf("found in %s\n", *paths);
			r = 1;
		}
		if (fd >= 0)
			close(fd);
	}
	return r;
}

int main(int argc, char **argv)
{
	char path[64], line[512];
	uint64_t looked = 0;
	int r = 0;

	if (argc > 3 && !strcmp(argv[1], "--file")) {
		return load(argv[2]) ? scan_files(argv + 3) : 2;
	}
	if (argc != 3)
		return 2;
	size_t pieces = load(argv[2]);
	snprintf(path, sizeof path, "/proc/%d/maps", atoi(argv[1]));
	FILE *maps = fopen(path, "re");
	snprintf(path, sizeof path, "/proc/%d/mem", atoi(argv[1]));
	int mem = open(path, O_RDONLY | O_CLOEXEC);
	if (!maps || mem < 0 || !pieces) {
		fprintf(stderr, "memscan: %s: %s\n", pieces ? path : argv[2], pieces ? strerror(errno) : "too short");
		return 2;
	}
	while (fgets(line, sizeof line, maps)) {
		unsigned long long from, to;
		char mode[5];
		if (sscanf(line, "%llx-%llx %4s", &from, &to, mode) != 3 || mode[0] != 'r' ||
		    strstr(line, "[vsyscall]") || strstr(line, "[vvar"))
			continue;
		size_t found = scan(mem, from, to, &looked);
		if (found) {
			printf("found %zu in %s", found, line);
			r = 1;
		}
	}
	if (!r)
		printf("ok %llu\n", (unsigned long long)looked);
	return r;
}
