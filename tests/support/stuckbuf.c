/* A system call whose buffer lies in a file that never answers (stuckfs): the kernel waits for it, with whatever lock
 * it holds.
 *
 *   stuckbuf FILE HOW PATH
 *
 * HOW: write, append, past (the end), after (O_TRUNC), mapped (while PATH is mapped and shared), list (PATH is a
 * directory). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	const char *how = argv[2];
	const int flags = !strcmp(how, "list")     ? O_RDONLY | O_DIRECTORY
			  : !strcmp(how, "append") ? O_RDWR | O_APPEND
			  : !strcmp(how, "after")  ? O_RDWR | O_TRUNC
						   : O_RDWR;
	int stuck = open(argv[1], O_RDONLY), fd = open(argv[3], flags);
	char *buffer = stuck < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, stuck, 0);
	long n = -1;

	if (fd < 0 || buffer == MAP_FAILED) {
		perror(fd < 0 ? argv[3] : argv[1]);
		return 1;
	}
	if (!strcmp(how, "mapped") && mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	if (!strcmp(how, "list"))
		n = syscall(SYS_getdents64, fd, buffer, 4096);
	else if (!strcmp(how, "past"))
		n = pwrite(fd, buffer, 16, (off_t)1 << 40);
	else
		n = write(fd, buffer, 16);
	printf("%ld %s\n", n, n < 0 ? strerror(errno) : "");
	return 0;
}
