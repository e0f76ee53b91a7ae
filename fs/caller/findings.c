/* What anybody may read of a thread in /proc. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/caller/caller.h"
#include "fs/caller/findings.h"

#define STATUS_FIRST 4096u
#define STATUS_MAX   (1u << 20) /* 65536 groups of up to ten digits */
#define CGROUP_MAX   16384u

/* Reads a file to its end into a growing block, at most max bytes. 0 and a block to free, or negative errno. */
static int read_all(int dir_fd, const char *name, size_t max, char **ret_text, size_t *ret_len)
{
	size_t len = 0, size = STATUS_FIRST;
	char *text = NULL;
	ssize_t n = -1;
	int r = -ENOMEM, fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	text = malloc(size);
	while (text && n != 0) {
		if (len == size) {
			char *more = size < max ? realloc(text, size * 2) : NULL;
			if (!more) {
				r = size < max ? -ENOMEM : -EFBIG;
				goto out;
			}
			text = more;
			size *= 2;
		}
		n = read(fd, text + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			goto out;
		}
		len += (size_t)n;
	}
	if (!text)
		goto out;
	*ret_text = text;
	*ret_len = len;
	text = NULL;
	r = 0;
out:
	free(text);
	close(fd);
	return r;
}

int findings_read_status(int thread_fd, struct proc_status *ret_status)
{
	char *text;
	size_t len;
	int r = read_all(thread_fd, "status", STATUS_MAX, &text, &len);

	if (r < 0)
		return r;
	r = proc_status_parse(text, len, ret_status);
	free(text);
	return r;
}

void findings_read_cgroup(int thread_fd, struct findings *f)
{
	char *text;
	size_t len;
	int r = read_all(thread_fd, "cgroup", CGROUP_MAX, &text, &len);

	/* ENOENT: a kernel without cgroups, and so without containers by that sign */
	f->cgroup_known = r == 0 || r == -ENOENT;
	if (r < 0)
		return;
	proc_cgroup_parse(text, len, f->unit, sizeof(f->unit), f->container, sizeof(f->container));
	free(text);
}

int64_t findings_read_loginuid(int thread_fd)
{
	char text[16] = "", *end;
	int fd = openat(thread_fd, "loginuid", O_RDONLY | O_CLOEXEC);
	ssize_t n;
	unsigned long uid;

	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	uid = strtoul(text, &end, 10);
	return end == text || uid >= UINT32_MAX ? -1 : (int64_t)uid;
}

/* False: it could not be read, or is longer than the initial one's ever is. */
bool findings_read_map(int thread_fd, char ret[MAP_MAX])
{
	int fd = openat(thread_fd, "uid_map", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, MAP_MAX);

	if (fd >= 0)
		close(fd);
	if (n <= 0 || n == MAP_MAX)
		return false;
	ret[n] = '\0';
	return true;
}

int findings_open_thread(int proc_fd, pid_t tid)
{
	char path[16];

	(void)snprintf(path, sizeof(path), "%d", tid);
	return openat(proc_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int compare_groups(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The kernel gives them sorted, but may give one twice. */
void findings_sort_groups(struct proc_status *s)
{
	uint32_t n = 0;

	if (s->n_groups == 0)
		return;
	qsort(s->groups, s->n_groups, sizeof(*s->groups), compare_groups);
	for (uint32_t i = 1; i < s->n_groups; i++)
		if (s->groups[i] != s->groups[n])
			s->groups[++n] = s->groups[i];
	s->n_groups = n + 1;
}
