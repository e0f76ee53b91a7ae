/* What a 32-bit program without large-file support sees: stat(2) and getdents(2) in their old forms, by the 32-bit way
 * into the kernel.
 *
 *   narrow PATH…      a line for each: its inode number, or the name of the errno; of a directory also a line "NUMBER
 *                     NAME" for each entry, which ends with the errno where the listing does
 *
 * Exit status 77 where the kernel has no 32-bit way in. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NR_STAT     106
#define NR_GETDENTS 141
#define ROOM        4096

struct old_stat {
	uint32_t dev, ino, rest[32];
};
struct old_dirent {
	uint32_t ino, off;
	uint16_t len;
	char name[];
};

static long call32(long number, long a, const void *b, long c)
{
	long r;

	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "0"(number), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int32_t)r;
}

static void no_way_in(int signal)
{
	(void)signal;
	_exit(77);
}

static void list(const char *path, char *room)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n = 0;

	while (fd >= 0 && (n = call32(NR_GETDENTS, fd, room, ROOM)) > 0)
		for (long at = 0; at < n;) {
			const struct old_dirent *d = (const void *)(room + at);
			printf("%u %s\n", d->ino, d->name);
			at += d->len;
		}
	if (n < 0)
		puts(strerrorname_np((int)-n));
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	char *low = mmap(NULL, 2 * ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct old_stat *st = (void *)(low + ROOM);

	if (low == MAP_FAILED) {
		perror("narrow: mmap");
		return 1;
	}
	signal(SIGSEGV, no_way_in);
	for (int i = 1; i < argc; i++) {
		snprintf(low, ROOM, "%s", argv[i]);
		const long r = call32(NR_STAT, (long)(intptr_t)low, st, 0);
		if (r == -ENOSYS)
			return 77;
		if (r < 0)
			puts(strerrorname_np((int)-r));
		else
			printf("%u\n", st->ino);
		list(argv[i], low);
	}
	return 0;
}
