/* What /proc says of a thread that only a process with the right to look can read. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/caller/caller.h"
#include "fs/caller/resolver.h"
#include "fs/caller/thread.h"

#define STAT_MAX    2048
#define CGROUP_MAX  65536
#define STATUS_HEAD 1024 /* Tgid is in the first lines */

/* Inode numbers of the initial namespaces, fixed by the kernel (include/linux/proc_ns.h). */
#define INIT_CGROUP_NS 0xeffffffbu
#define INIT_PID_NS    0xeffffffcu
#define INIT_USER_NS   0xeffffffdu

#define PF_KTHREAD 0x00200000u

/* Reads a file to its end into text[size], NUL-terminated. Its length, or negative errno; -EFBIG: there is more. */
static ssize_t read_text(int dir_fd, const char *name, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while ((n = read(fd, text + len, size - len)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		len += (size_t)n;
		if (len == size)
			break;
	}
	n = n < 0 ? -errno : len == size ? -EFBIG : (ssize_t)len;
	close(fd);
	if (n >= 0)
		text[len] = '\0';
	return n;
}

/* The head of a file, as much as one read gives. */
static ssize_t read_head(int dir_fd, const char *name, char *text, size_t size)
{
	ssize_t n;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n >= 0)
		text[n] = '\0';
	return n;
}

/* "user:[4026531837]", as namespaces(7) has it. */
static int read_namespace(int dir_fd, const char *type, uint64_t *ret)
{
	char path[32], text[64], *end;
	ssize_t n;
	size_t len = strlen(type);

	(void)snprintf(path, sizeof(path), "ns/%s", type);
	n = readlinkat(dir_fd, path, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (strncmp(text, type, len) != 0 || strncmp(text + len, ":[", 2) != 0)
		return -EBADMSG;
	errno = 0;
	unsigned long long number = strtoull(text + len + 2, &end, 10);
	if (errno != 0 || strcmp(end, "]") != 0 || number == 0)
		return -EBADMSG;
	*ret = number;
	return 0;
}

static int read_namespaces(int dir_fd, struct namespaces *ret)
{
	int user = read_namespace(dir_fd, "user", &ret->user), pid = read_namespace(dir_fd, "pid", &ret->pid),
	    mnt = read_namespace(dir_fd, "mnt", &ret->mnt);

	return user < 0 ? user : pid < 0 ? pid : mnt;
}

/* Fields of `stat` by their number in proc_pid_stat(5), from 3 on. The name before them may hold blanks and
 * parentheses: the last one ends it. */
static int stat_field(const char *text, unsigned number, uint64_t *ret)
{
	const char *p = strrchr(text, ')');
	char *end;

	for (unsigned i = 2; p && i < number; i++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	if (!p || *p < '0' || *p > '9')
		return -EBADMSG;
	errno = 0;
	*ret = strtoull(p, &end, 10);
	return errno == 0 && (*end == ' ' || *end == '\n') ? 0 : -EBADMSG;
}

static int read_start_time(int proc_fd, pid_t tgid, uint64_t *ret)
{
	char path[32], text[STAT_MAX];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%d/stat", tgid);
	n = read_text(proc_fd, path, text, sizeof(text));
	return n < 0 ? (int)n : stat_field(text, 22, ret);
}

static int read_tgid(int thread_fd, pid_t *ret)
{
	char text[STATUS_HEAD], *p;
	ssize_t n = read_head(thread_fd, "status", text, sizeof(text));
	long tgid;

	if (n < 0)
		return (int)n;
	p = strstr(text, "\nTgid:\t");
	tgid = p ? strtol(p + strlen("\nTgid:\t"), NULL, 10) : 0;
	if (tgid <= 0 || tgid > INT32_MAX)
		return -EBADMSG;
	*ret = (pid_t)tgid;
	return 0;
}

static int read_exe(int thread_fd, char ret[RESOLVER_EXE_MAX])
{
	char text[RESOLVER_EXE_MAX - 1];
	ssize_t n = readlinkat(thread_fd, "exe", text, sizeof(text));

	if (n < 0)
		return -errno;
	memcpy(ret, text, (size_t)n);
	ret[n] = '\0';
	return 0;
}

static int first_error(int a, int b) { return a < 0 ? a : b; }

/* All that can be read of a thread; the first thing that could not is the error. */
void thread_read(int proc_fd, const struct namespaces *own, pid_t tid, struct resolver_answer *a)
{
	struct namespaces ns = { 0 };
	char path[16];
	pid_t tgid = 0;
	int fd, r;

	(void)snprintf(path, sizeof(path), "%d", tid);
	fd = openat(proc_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		a->error = errno == ENOENT ? -ESRCH : -errno;
		return;
	}
	a->error = read_namespaces(fd, &ns);
	a->user_ns = ns.user;
	a->pid_ns = ns.pid;
	a->mnt_ns = ns.mnt;
	ancestry_read(fd, own, &ns, &a->ancestry);
	a->error = first_error(a->error, read_exe(fd, a->exe));
	r = read_tgid(fd, &tgid);
	if (r == 0)
		r = read_start_time(proc_fd, tgid, &a->start_time);
	a->error = first_error(a->error, r);
	close(fd);
}

/* ---- what `host` is ---- */

/* Where /proc/1 is closed even to root, kthreadd tells: kernel threads live in the namespaces that the kernel started
 * with, and so does the init process that it started beside them. No other pid namespace has a kernel thread as its
 * second process. */
static bool is_kthreadd(int proc_fd)
{
	char text[STAT_MAX];
	uint64_t ppid, flags;

	return read_text(proc_fd, "2/stat", text, sizeof(text)) > 0 &&
	       strncmp(text, "2 (kthreadd) ", strlen("2 (kthreadd) ")) == 0 && stat_field(text, 4, &ppid) == 0 &&
	       ppid == 0 && stat_field(text, 9, &flags) == 0 && (flags & PF_KTHREAD) != 0;
}

int thread_namespaces_of(int proc_fd, const char *who, struct namespaces *ret)
{
	int fd = openat(proc_fd, who, O_PATH | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = read_namespaces(fd, ret);
	close(fd);
	return r;
}

/* An engine that shares the host's pid and user namespaces (--pid=host) still shows in the cgroup, and one that hides
 * the cgroup shows in the cgroup namespace. */
static bool self_in_container(int proc_fd)
{
	char *text = malloc(CGROUP_MAX), unit[2], container[2];
	bool in = true;
	uint64_t ns = 0;
	ssize_t n;
	int fd;

	if (!text)
		return true;
	n = read_text(proc_fd, "self/cgroup", text, CGROUP_MAX);
	if (n == -ENOENT) {
		in = false; /* a kernel without cgroups */
		goto out;
	}
	if (n < 0)
		goto out;
	proc_cgroup_parse(text, (size_t)n, unit, sizeof(unit), container, sizeof(container));
	if (container[0] != '\0')
		goto out;
	fd = openat(proc_fd, "self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		goto out;
	in = read_namespace(fd, "cgroup", &ns) < 0 || ns != INIT_CGROUP_NS;
	close(fd);
out:
	free(text);
	return in;
}

bool thread_find_init(int proc_fd, struct namespaces *ret)
{
	struct namespaces self, init;

	if (thread_namespaces_of(proc_fd, "self", &self) < 0 || self.pid != INIT_PID_NS || self.user != INIT_USER_NS ||
	    self_in_container(proc_fd))
		return false;
	if (thread_namespaces_of(proc_fd, "1", &init) < 0 &&
	    (!is_kthreadd(proc_fd) || thread_namespaces_of(proc_fd, "2", &init) < 0))
		return false;
	if (init.pid != INIT_PID_NS || init.user != INIT_USER_NS)
		return false;
	*ret = init;
	return true;
}
