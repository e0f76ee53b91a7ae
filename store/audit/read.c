/* The retained segments as one file, for .coffer/audit. Finished segments never change, so their sizes are looked up
 * once; what was read stays at its offset when retention removes the beginning. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/audit/log.h"

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
	if (a->sizes_len && base < a->sizes_base) /* an older reader came: start again */
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

/* The log's end, of which alone the lock is needed: who reads, perhaps from a slow disk, keeps nobody from writing. */
struct end {
	uint32_t segment;
	uint64_t size;
};

static struct end end_of(struct audit *a)
{
	pthread_mutex_lock(&a->lock);
	const struct audit_position *at = audit_at(a->head);
	const struct end end = { at->segment, at->size };
	pthread_mutex_unlock(&a->lock);
	return end;
}

static uint64_t size_of(struct audit *a, const struct end *end, uint32_t number)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	struct stat st;

	if (number == end->segment)
		return end->size;
	uint64_t *size = &a->sizes[number - a->sizes_base];
	if (*size == UINT64_MAX) {
		audit_segment_name(number, name);
		*size = fstatat(a->config.dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size : 0;
	}
	return *size;
}

/* What a reading looks at, from base to an end. Locks it for reading. */
static int reading_begin(struct audit *a, uint32_t base, struct end *ret_end)
{
	pthread_mutex_lock(&a->reading_lock);
	*ret_end = end_of(a);
	int r = base == 0 || base > ret_end->segment ? -EINVAL : sizes_cover(a, base, ret_end->segment);
	if (r < 0)
		pthread_mutex_unlock(&a->reading_lock);
	return r;
}

int audit_size(struct audit *a, uint32_t base, uint64_t *ret_size)
{
	struct end end;
	uint64_t total = 0;
	int r = reading_begin(a, base, &end);

	if (r < 0)
		return r;
	for (uint32_t n = base; n <= end.segment; n++)
		total += size_of(a, &end, n);
	pthread_mutex_unlock(&a->reading_lock);
	*ret_size = total;
	return 0;
}

static int reading_fd(struct audit *a, uint32_t number)
{
	int fd, r;

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
	struct end end;
	uint8_t *p = ret;
	size_t got = 0;
	int r = reading_begin(a, base, &end);

	if (r < 0)
		return r;
	for (uint32_t n = base; r == 0 && n <= end.segment && got < len; n++) {
		uint64_t size = size_of(a, &end, n);
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
	pthread_mutex_unlock(&a->reading_lock);
	if (r == -ENODATA)
		r = -EIO;
	if (r < 0 && got == 0)
		return r;
	*ret_read = got;
	return 0;
}
