/* The retained segments as one file, for .coffer/audit. Finished segments never change, so their sizes are looked up once; what was read stays at its offset when retention removes the beginning. */
#include "store/audit_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int audit_first_segment(struct audit *a, uint32_t *ret_base)
{
	uint32_t last;

	return audit_segment_list(a->config.dir_fd, ret_base, &last);
}

/* Makes the table reach from base to before the open segment. */
static int sizes_cover(struct audit *a, uint32_t base, uint32_t open_segment)
{
	if (base >= open_segment)
		return 0;
	if (a->sizes_len && base < a->sizes_base)	/* an older reader came: start again */
		a->sizes_len = 0;
	if (!a->sizes_len)
		a->sizes_base = base;

	uint32_t len = open_segment - a->sizes_base;
	if (len <= a->sizes_len)
		return 0;
	uint64_t *grown = realloc(a->sizes, len * sizeof *grown);
	if (!grown)
		return -ENOMEM;
	for (uint32_t i = a->sizes_len; i < len; i++)
		grown[i] = UINT64_MAX;
	a->sizes = grown;
	a->sizes_len = len;
	return 0;
}

static uint64_t size_of(struct audit *a, uint32_t number)
{
	const struct audit_position *at = audit_at(a->head);
	char name[AUDIT_SEGMENT_NAME_LEN];
	struct stat st;

	if (number >= at->segment)
		return number == at->segment ? at->size : 0;
	uint64_t *size = &a->sizes[number - a->sizes_base];
	if (*size == UINT64_MAX) {
		audit_segment_name(number, name);
		*size = fstatat(a->config.dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size : 0;
	}
	return *size;
}

int audit_size(struct audit *a, uint32_t base, uint64_t *ret_size)
{
	uint64_t total = 0;
	int r;

	pthread_mutex_lock(&a->lock);
	uint32_t open_segment = audit_at(a->head)->segment;
	r = base == 0 || base > open_segment ? -EINVAL : sizes_cover(a, base, open_segment);
	for (uint32_t n = base; r == 0 && n <= open_segment; n++)
		total += size_of(a, n);
	pthread_mutex_unlock(&a->lock);
	if (r == 0)
		*ret_size = total;
	return r;
}

static int reading_fd(struct audit *a, uint32_t number)
{
	int fd, r;

	if (number == audit_at(a->head)->segment)
		return a->fd;
	if (a->reading_fd >= 0 && a->reading == number)
		return a->reading_fd;
	r = audit_segment_open_reading(a->config.dir_fd, number, &fd);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	if (a->reading_fd >= 0)
		close(a->reading_fd);
	a->reading_fd = fd;
	a->reading = number;
	return fd;
}

int audit_read(struct audit *a, uint32_t base, uint64_t offset, void *ret, size_t len, size_t *ret_read)
{
	uint8_t *p = ret;
	size_t got = 0;
	int r;

	pthread_mutex_lock(&a->lock);
	uint32_t open_segment = audit_at(a->head)->segment;
	r = base == 0 || base > open_segment ? -EINVAL : sizes_cover(a, base, open_segment);
	for (uint32_t n = base; r == 0 && n <= open_segment && got < len; n++) {
		uint64_t size = size_of(a, n);
		if (offset >= size) {
			offset -= size;
			continue;
		}
		size_t part = size - offset < len - got ? (size_t)(size - offset) : len - got;
		int fd = reading_fd(a, n);
		r = fd < 0 ? fd : audit_pread_full(fd, p + got, part, offset);
		if (r == 0) {
			got += part;
			offset = 0;
		}
	}
	pthread_mutex_unlock(&a->lock);
	if (r == -ENODATA)
		r = -EIO;
	if (r < 0 && got == 0)
		return r;
	*ret_read = got;
	return 0;
}
