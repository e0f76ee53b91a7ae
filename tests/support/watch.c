/* watch WATCHED NAME FILE: waits with inotify on WATCHED, as a program that follows a secret does, and reads FILE at
 * each CLOSE_WRITE.
 *
 * WATCHED is a file, and NAME is "-"; or a directory, and events of its entry NAME count (NAME ".": events of the
 * directory itself). Prints "ready" once it watches, and then a line for each CLOSE_WRITE: how many MODIFY there were
 * since the last, and what FILE holds (up to 200 bytes; or the name of the errno). A directory has no CLOSE_WRITE: with
 * NAME "." each MODIFY is a line, and FILE is listed instead: how many entries it has. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static int said(const char *what)
{
	fprintf(stderr, "watch: %s: %s\n", what, strerror(errno));
	return 1;
}

static void tell_content(unsigned modifies, const char *file)
{
	char content[201];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, content, sizeof content - 1);

	if (n < 0)
		printf("%u %s\n", modifies, strerrorname_np(errno));
	else
		printf("%u %.*s\n", modifies, (int)n, content);
	if (fd >= 0)
		close(fd);
}

static void tell_entries(unsigned modifies, const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	printf("%u %u\n", modifies, n);
}

int main(int argc, char **argv)
{
	_Alignas(struct inotify_event) char buf[65536];
	unsigned modifies = 0;

	if (argc != 4)
		return 2;
	const bool itself = !strcmp(argv[2], "."), file = !strcmp(argv[2], "-");
	int fd = inotify_init1(IN_CLOEXEC);
	if (fd < 0 || inotify_add_watch(fd, argv[1], IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF) < 0)
		return said(argv[1]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	for (;;) {
		ssize_t n = read(fd, buf, sizeof buf);
		if (n <= 0)
			return said("read of inotify");
		for (char *at = buf; at < buf + n;) {
			const struct inotify_event *e = (const void *)at;
			at += sizeof *e + e->len;
			if (e->mask & (IN_Q_OVERFLOW | IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) {
				printf("lost %x\n", e->mask);
				return 1;
			}
			if (file || itself ? e->len != 0 : e->len == 0 || strcmp(e->name, argv[2]) != 0)
				continue;
			modifies += (e->mask & IN_MODIFY) != 0;
			if (itself && (e->mask & IN_MODIFY))
				tell_entries(modifies, argv[3]);
			else if (!itself && (e->mask & IN_CLOSE_WRITE))
				tell_content(modifies, argv[3]);
			if (itself || (e->mask & IN_CLOSE_WRITE))
				modifies = 0;
		}
	}
}
