/* The files of the log: segments, room for them, their retention, and the head file. */
#include "store/audit/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "store/audit/head.h"

/* ---- names ---- */

void audit_segment_name(uint32_t number, char ret[AUDIT_SEGMENT_NAME_LEN])
{
	snprintf(ret, AUDIT_SEGMENT_NAME_LEN, "audit-%08u.jsonl", number % (AUDIT_SEGMENT_NUMBER_MAX + 1));
}

/* 0: not a segment's name. */
static uint32_t segment_number(const char *name)
{
	char again[AUDIT_SEGMENT_NAME_LEN];
	uint32_t n = 0;

	if (strncmp(name, "audit-", 6) || strlen(name) != 20)
		return 0;
	for (int i = 6; i < 14; i++) {
		if (name[i] < '0' || name[i] > '9')
			return 0;
		n = n * 10 + (uint32_t)(name[i] - '0');
	}
	audit_segment_name(n, again);
	return strcmp(again, name) ? 0 : n;
}

/* fd is the directory's own, and open until it is closed. */
int audit_segment_scan(int dir_fd, uint32_t from, uint32_t to, struct audit_scan *ret)
{
	/* A descriptor of its own: the position of readdir belongs to the open file. */
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct audit_scan scan = { 0 };
	struct stat st;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	for (struct dirent *d; (d = readdir(dir)) != NULL;) {
		uint32_t n = segment_number(d->d_name);
		if (!n)
			continue;
		if (!scan.first || n < scan.first)
			scan.first = n;
		if (n > scan.last)
			scan.last = n;
		scan.within += n >= from && n <= to;
		if (n <= to && fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			scan.bytes += (uint64_t)st.st_size;
	}
	closedir(dir);
	*ret = scan;
	return 0;
}

int audit_segment_list(int dir_fd, uint32_t *ret_first, uint32_t *ret_last)
{
	struct audit_scan scan;
	int r = audit_segment_scan(dir_fd, 0, 0, &scan);

	if (r < 0)
		return r;
	if (!scan.last)
		return -ENOENT;
	*ret_first = scan.first;
	*ret_last = scan.last;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The numbers that are there, ascending: a name with a huge one is one file, and no reason to count up to it. 0 and
 * *ret (free it), -ENOENT, -EIO, -ENOMEM. */
static int segment_numbers(int dir_fd, uint32_t **ret, size_t *ret_n)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	uint32_t *numbers = NULL;
	size_t n = 0, room = 0;
	int r = dir ? 0 : -EIO;

	if (!dir && fd >= 0)
		close(fd);
	for (struct dirent *d; r == 0 && (d = readdir(dir)) != NULL;) {
		const uint32_t number = segment_number(d->d_name);
		if (!number)
			continue;
		if (n == room) {
			room = room ? 2 * room : 64;
			uint32_t *grown = realloc(numbers, room * sizeof *numbers);
			if (!grown) {
				r = -ENOMEM;
				break;
			}
			numbers = grown;
		}
		numbers[n++] = number;
	}
	if (dir)
		closedir(dir);
	if (r == 0 && n == 0)
		r = -ENOENT;
	if (r < 0) {
		free(numbers);
		return r;
	}
	qsort(numbers, n, sizeof *numbers, by_number);
	*ret = numbers;
	*ret_n = n;
	return 0;
}

/* ---- the append-only attribute ---- */

static int append_only_get(int fd, bool *ret_on)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -EOPNOTSUPP;
	*ret_on = flags & FS_APPEND_FL;
	return 0;
}

static int append_only_set(int fd, bool on)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -EOPNOTSUPP;
	if (!(flags & FS_APPEND_FL) == !on)
		return 0;
	flags = on ? flags | FS_APPEND_FL : flags & ~FS_APPEND_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
		return errno == EPERM || errno == EACCES ? -EPERM : -EOPNOTSUPP;
	return 0;
}

bool audit_append_only(int fd)
{
	bool on = false;

	return append_only_get(fd, &on) == 0 && on;
}

static int segment_open_reading(int dir_fd, uint32_t number)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	int fd;

	audit_segment_name(number, name);
	/* a FIFO in a copy that somebody made must not hold us */
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int audit_segment_open_reading(int dir_fd, uint32_t number, int *ret_fd)
{
	int fd = segment_open_reading(dir_fd, number);

	if (fd < 0)
		return fd == -ENOENT ? -ENOENT : -EIO;
	*ret_fd = fd;
	return 0;
}

int audit_protect(int dir_fd, bool on)
{
	uint32_t *numbers;
	size_t n;
	int result = segment_numbers(dir_fd, &numbers, &n);

	if (result < 0)
		return result;
	for (size_t i = 0; i < n; i++) {
		int fd = segment_open_reading(dir_fd, numbers[i]);
		if (fd < 0)
			continue;
		int r = append_only_set(fd, on);
		if (r < 0)
			result = r;
		close(fd);
	}
	free(numbers);
	return result;
}

bool audit_segment_missing(int dir_fd, uint32_t number)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	struct stat st;

	audit_segment_name(number, name);
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

int audit_segment_open_at(int dir_fd, uint32_t number, bool create, uint32_t group, int *ret_fd)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	int fd, before;

	if (number == 0 || number > AUDIT_SEGMENT_NUMBER_MAX)
		return -EINVAL;
	audit_segment_name(number, name);
	/* O_RDWR: a worker reads what it takes over */
	fd = openat(dir_fd, name, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0), 0600);
	if (fd < 0)
		return -errno;
	if (!create) {
		*ret_fd = fd;
		return 0;
	}
	/* The owner stays who we are; the mode only after the group, so that nobody else's group reads for a moment.
	 * The directory too must survive a crash. */
	if (fchown(fd, (uid_t)-1, group) < 0 || fchmod(fd, 0640) < 0 || fsync(dir_fd) < 0) {
		int r = -errno;
		close(fd);
		unlinkat(dir_fd, name, 0);
		return r;
	}
	before = segment_open_reading(dir_fd, number - 1);
	if (before >= 0) {
		if (audit_append_only(before))
			(void)append_only_set(fd, true); /* where it cannot be had, status says so */
		close(before);
	}
	*ret_fd = fd;
	return 0;
}

/* ---- retention ---- */

/* Blocks that were allocated ahead and are not needed any more: the worker cannot give them back while the file is
 * append-only. */
static void segment_trim(int dir_fd, uint32_t number)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	struct stat st;
	int fd;
	bool protected;

	audit_segment_name(number, name);
	fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_APPEND);
	if (fd < 0)
		return;
	protected = audit_append_only(fd);
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 > (uint64_t)st.st_size + (64u << 10) &&
	    (!protected || append_only_set(fd, false) == 0)) {
		if (ftruncate(fd, st.st_size) < 0)
			(void)0; /* some room stays in use: no harm to the log */
		if (protected)
			(void)append_only_set(fd, true);
	}
	close(fd);
}

static int segment_remove(int dir_fd, uint32_t number)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	int fd = segment_open_reading(dir_fd, number);

	if (fd >= 0) {
		(void)append_only_set(fd, false);
		close(fd);
	}
	audit_segment_name(number, name);
	return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

int audit_retain(int dir_fd, uint64_t keep_bytes, int64_t keep_seconds, uint32_t recorded, uint32_t *ret_due)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	uint32_t *numbers = NULL, due = 0;
	uint64_t total = 0;
	struct stat st;
	size_t all;
	bool stay = false, removed = false;
	int r = segment_numbers(dir_fd, &numbers, &all);

	if (r < 0)
		return r;
	for (size_t i = 0; i < all; i++) {
		audit_segment_name(numbers[i], name);
		if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			total += (uint64_t)st.st_size;
	}
	/* The newest may be empty yet, and the one before it still be written to: its worker has only just asked for
	 * the newest. */
	for (size_t i = 0; i < all && numbers[i] + 1 < numbers[all - 1]; i++) {
		const uint32_t n = numbers[i];
		audit_segment_name(n, name);
		if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		bool excess = keep_bytes == 0 || total > keep_bytes,
		     old = keep_seconds <= 0 || (int64_t)time(NULL) - (int64_t)st.st_mtime > keep_seconds;
		if (stay || (keep_bytes == 0 && keep_seconds <= 0) || !excess || !old) {
			stay = true; /* no holes */
			segment_trim(dir_fd, n);
			continue;
		}
		due = n;
		total -= (uint64_t)st.st_size;
		r = n <= recorded ? segment_remove(dir_fd, n) : 0;
		if (r < 0)
			goto out;
		removed |= n <= recorded;
	}
	if (removed && fsync(dir_fd) < 0)
		r = -EIO;
	else
		*ret_due = due;
out:
	free(numbers);
	return r;
}

/* ---- room ---- */

static int space_extend(struct audit_space *s, int fd, uint64_t upto)
{
	int r;

	if (upto <= s->allocated)
		return 0;
	do
		r = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)s->allocated, (off_t)(upto - s->allocated));
	while (r < 0 && errno == EINTR);
	if (r == 0) {
		s->allocated = upto;
		return 0;
	}
	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
		return -ENOSPC;
	if (errno == EIO)
		return -EIO;
	s->plain = true;
	return 0;
}

/* Room for a step and more. Where there is not, a step that fails half-way keeps what it got (ext4), and takes it from
 * an administrator for whom the store has just made room. */
static bool plenty(int fd)
{
	struct statvfs v;

	return fstatvfs(fd, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize > 4 * AUDIT_STEP;
}

/* The file system cannot allocate ahead: look at what is free, once in a while. */
static int space_plain(struct audit_space *s, int fd, uint64_t len, bool use_reserve)
{
	struct statvfs v;
	uint64_t left, keep = use_reserve ? 0 : s->reserve;

	if (!use_reserve && s->budget >= len) {
		s->budget -= len;
		return 0;
	}
	if (fstatvfs(fd, &v) < 0)
		return -EIO;
	left = (uint64_t)v.f_bavail * v.f_frsize;
	s->budget = 0;
	if (left < keep + len)
		return -ENOSPC;
	left = (left - keep - len) / 2;
	if (!use_reserve)
		s->budget = left > AUDIT_STEP ? AUDIT_STEP : left;
	return 0;
}

int audit_space_take(struct audit_space *s, int fd, uint64_t size, uint64_t len, bool use_reserve)
{
	uint64_t need = size + len + (use_reserve ? 0 : s->reserve);
	int r = 0;

	if (!s->plain) {
		if (need <= s->allocated)
			return 0;
		r = plenty(fd) ? space_extend(s, fd,
					      (size + len + s->reserve + 2 * AUDIT_STEP - 1) / AUDIT_STEP * AUDIT_STEP)
			       : -ENOSPC;
		if (r == -ENOSPC) /* near the end: exactly */
			r = space_extend(s, fd, (need + 4095) / 4096 * 4096);
	}
	return s->plain ? space_plain(s, fd, len, use_reserve) : r;
}

int audit_write(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) ? -ENOSPC : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int audit_pread_full(int fd, void *ret, size_t len, uint64_t offset)
{
	uint8_t *p = ret;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -EIO : -ENODATA;
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}
