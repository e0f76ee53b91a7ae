/* A worker that was killed and cannot be reaped: when it is known that it can do nothing any more.
 *
 * What counts is that no thread of it runs in user space again. That is so when it has been reaped, but one of its
 * threads can wait in the kernel for what only the next worker brings: a directory's lock, for one, that a client's
 * unanswered mkdir holds. It will never come back from there but to end. One that waits at a write may have it done
 * first, and a record that is written behind the next worker's back would break the log: for that one everybody waits.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"

/* The state in /proc/PID[/task/TID]/stat; '\0': it is gone, '?': nobody knows, which is no death. The name before it
 * may hold anything but its last ')'. */
static char letter_in(const char *path)
{
	char text[512], letter = '?';
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	const bool gone = n < 0 && (errno == ENOENT || errno == ESRCH);

	if (fd >= 0)
		close(fd);
	if (gone)
		return '\0';
	text[n > 0 ? n : 0] = '\0';
	const char *end = strrchr(text, ')');
	return end && sscanf(end, ") %c", &letter) == 1 ? letter : '?';
}

char dying_letter(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	return letter_in(path);
}

#define THREAD_DIR 48
#define DEV_FUSE   makedev(10, 229) /* MISC_MAJOR, FUSE_MINOR */

/* What a thread that waits in the kernel is at, of /proc/PID/task/TID/syscall: doubt is yes. Its descriptors are looked
 * for below itself: the first thread of the process may have given up its own already. To /dev/fuse goes what the
 * kernel is told. In place are written the log's head, whose next state would be lost, and SQLite's files, which are
 * nobody else's before the process has given up its locks. */
static bool is_writing(const char thread[THREAD_DIR])
{
	char text[256], path[THREAD_DIR + 32], to[PATH_MAX];
	long number;
	unsigned long fd;
	struct stat st;
	snprintf(path, sizeof path, "%s/syscall", thread);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
	const bool gone = n < 0 && (errno == ENOENT || errno == ESRCH);

	if (file >= 0)
		close(file);
	if (n <= 0)
		return !gone;
	text[n] = '\0';
	if (sscanf(text, "%ld %lx", &number, &fd) != 2)
		return true;
	const bool in_place = number == SYS_pwrite64 || number == SYS_ftruncate;
	/* -1: in no system call, at a page of its memory */
	if (!in_place && number != SYS_write && number != SYS_writev)
		return false;
	snprintf(path, sizeof path, "%s/fd/%lu", thread, fd);
	/* by its number: the worker may be of another mount namespace, where it has another name */
	if (!in_place)
		return stat(path, &st) || !S_ISCHR(st.st_mode) || st.st_rdev != DEV_FUSE;
	n = readlink(path, to, sizeof to - 1);
	to[n > 0 ? n : 0] = '\0';
	return n <= 0 || strstr(to, "/audit/");
}

bool dying_cannot_act(pid_t pid)
{
	char path[32], thread[THREAD_DIR], of_stat[THREAD_DIR + 8];
	bool none = true;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);
	for (struct dirent *e; none && d && (e = readdir(d));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(thread, sizeof thread, "%s/%.10s", path, e->d_name);
		snprintf(of_stat, sizeof of_stat, "%s/stat", thread);
		const char letter = letter_in(of_stat);
		none = letter == 'Z' || letter == 'X' || letter == '\0' || (letter == 'D' && !is_writing(thread));
	}
	if (d)
		closedir(d);
	return d && none;
}

/* Its first thread has SIGKILL before it, and has not come to take it: it waits in the kernel. With it the others are
 * being killed. */
bool dying_is_killed(pid_t pid)
{
	char path[64], text[4096];
	unsigned long long pending = 0;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *at = strstr(text, "\nSigPnd:");
	return at && sscanf(at, "\nSigPnd: %llx", &pending) == 1 && (pending & 1ULL << (SIGKILL - 1));
}
