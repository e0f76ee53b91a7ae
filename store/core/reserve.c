#include "store/core/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PAGE 4096u

void reserve_open(const char *path, bool create, struct reserve *ret_reserve)
{
	char name[PATH_MAX];

	*ret_reserve = (struct reserve){ .fd = -1 };
	if (snprintf(name, sizeof name, "%s-reserve", path) >= (int)sizeof name)
		return;
	ret_reserve->fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (create ? O_CREAT : 0), 0600);
}

void reserve_close(struct reserve *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

/* What the file has, and what is free beside it. */
static bool measure(const struct reserve *r, uint64_t *ret_held, uint64_t *ret_free)
{
	struct statvfs v;
	struct stat st;

	if (r->fd < 0 || fstat(r->fd, &st) < 0 || !S_ISREG(st.st_mode) || fstatvfs(r->fd, &v) < 0)
		return false;
	*ret_held = (uint64_t)st.st_size;
	*ret_free = (uint64_t)v.f_bavail * v.f_frsize;
	return true;
}

static void grow(const struct reserve *r, uint64_t held, uint64_t by)
{
	const uint64_t missing = held < RESERVE_BYTES ? RESERVE_BYTES - held : 0;
	int e;

	if (by > missing)
		by = missing;
	by -= by % PAGE;
	do
		e = by ? fallocate(r->fd, 0, (off_t)held, (off_t)by) : 0;
	while (e < 0 && errno == EINTR);
	(void)e; /* it has got what there was, or nothing: the next tick tries again */
}

void reserve_lend(struct reserve *r)
{
	uint64_t held, left;

	if (!measure(r, &held, &left) || held == 0 || left >= RESERVE_STEP)
		return;
	r->lent = ftruncate(r->fd, (off_t)(held > RESERVE_STEP ? held - RESERVE_STEP : 0)) == 0;
}

void reserve_return(struct reserve *r)
{
	uint64_t held, left;

	if (!r->lent || !measure(r, &held, &left))
		return;
	r->lent = false;
	grow(r, held, left < RESERVE_STEP ? left : RESERVE_STEP);
}

void reserve_fill(struct reserve *r)
{
	uint64_t held, left;

	if (measure(r, &held, &left) && held < RESERVE_BYTES && left > RESERVE_MARGIN)
		grow(r, held, left - RESERVE_MARGIN);
}

uint64_t reserve_free_bytes(const struct reserve *r)
{
	uint64_t held, left;

	return measure(r, &held, &left) ? left : 0;
}
