/* steal PID FD TEXT: takes a descriptor of another process's, as every process of the same user can where the kernel
 * has no Yama, and writes TEXT into it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: steal PID FD TEXT\n");
		return 2;
	}
	const long process = syscall(SYS_pidfd_open, atoi(argv[1]), 0);
	const long fd = process < 0 ? -1 : syscall(SYS_pidfd_getfd, process, atoi(argv[2]), 0);

	if (fd < 0 || write((int)fd, argv[3], strlen(argv[3])) < 0) {
		fprintf(stderr, "steal: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}
