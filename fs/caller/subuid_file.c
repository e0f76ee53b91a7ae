/* /etc/subuid and /etc/passwd as they lie on the disk, followed. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/common/log.h"
#include "fs/caller/subuid.h"

#define LOOK_NS INT64_C(1000000000)

/* What changes when a file does. */
struct version {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
	int error;
};

struct subuids {
	int etc_fd;
	pthread_mutex_t lock; /* of all below */
	int64_t looked;       /* 0: never */
	struct version subuid, passwd;
	struct subuid_table table;
	uint32_t number;
	bool reading; /* a thread is at it: the others use what there is */
};

static struct version version_of(int dir, const char *name)
{
	struct stat st;

	if (dir < 0 || fstatat(dir, name, &st, 0))
		return (struct version){ .error = dir < 0 ? ENOENT : errno };
	return (struct version){
		.dev = st.st_dev, .ino = st.st_ino, .size = st.st_size, .mtime = st.st_mtim, .ctime = st.st_ctim
	};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_version(const struct version *a, const struct version *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->error == b->error &&
	       same_time(&a->mtime, &b->mtime) && same_time(&a->ctime, &b->ctime);
}

/* At most SUBUID_FILE_MAX bytes, and of a longer file whole lines. A file that is not there is empty. 0 or negative
 * errno. */
static int read_file(int dir, const char *name, char **ret_text, size_t *ret_len, bool *ret_cut)
{
	int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r = 0;
	size_t len = 0, size = 0;
	char *text = NULL;
	ssize_t n = fd < 0 ? 0 : 1;

	if (fd < 0 && dir >= 0 && errno != ENOENT)
		r = -errno;
	while (!r && n > 0 && len < SUBUID_FILE_MAX) {
		if (len == size) {
			size = size ? 2 * size : 65536;
			char *more = realloc(text, size);
			r = more ? 0 : -ENOMEM;
			text = more ? more : text;
		}
		n = r ? 0 : read(fd, text + len, size - len);
		if (n < 0 && errno != EINTR)
			r = -errno;
		len += n > 0 ? (size_t)n : 0;
		n = n < 0 ? 1 : n;
	}
	if (fd >= 0)
		close(fd);
	*ret_cut = n > 0;
	while (*ret_cut && len > 0 && text[len - 1] != '\n')
		len--;
	if (r) {
		free(text);
		return r;
	}
	*ret_text = text;
	*ret_len = len;
	return 0;
}

/* One line, whatever there is to say. */
static void tell(const struct subuid_faults *f, bool cut)
{
	if (f->malformed)
		log_warn("/etc/subuid: %u of its lines are not NAME:FIRST:COUNT (the first is line %u) and are passed "
			 "over; the others count",
			 f->malformed, f->first_malformed);
	if (f->unknown)
		log_warn("/etc/subuid: %u of its lines names a user that /etc/passwd does not have (line %u): write "
			 "its number there, or every block refuses these uids",
			 f->unknown, f->first_unknown);
	if (f->shared)
		log_warn("/etc/subuid: ranges of two users overlap: every block refuses the uids that are in both");
	if (f->too_long || cut)
		log_warn("/etc/subuid or /etc/passwd is too long: of the first %u lines, of the second %u MiB count",
			 SUBUID_LINES_MAX, SUBUID_FILE_MAX >> 20);
}

/* Without the lock. */
static int read_table(int dir, struct subuid_table *ret_table)
{
	char *subuid = NULL, *passwd = NULL;
	size_t subuid_len = 0, passwd_len = 0;
	struct subuid_faults faults;
	bool cut = false, cut_too = false;
	int r = read_file(dir, "subuid", &subuid, &subuid_len, &cut);

	if (!r)
		r = read_file(dir, "passwd", &passwd, &passwd_len, &cut_too);
	if (!r)
		r = subuid_parse(subuid, subuid_len, passwd, passwd_len, ret_table, &faults);
	free(subuid);
	free(passwd);
	if (r)
		log_warn("/etc/subuid, /etc/passwd: %s: what was read of them before goes on to count", strerror(-r));
	else
		tell(&faults, cut || cut_too);
	return r;
}

int subuids_new(int etc_fd, struct subuids **ret_subuids)
{
	struct subuids *s = calloc(1, sizeof *s);
	struct timespec t;

	if (!s)
		return -ENOMEM;
	s->etc_fd = etc_fd;
	/* not the number that a resolver before this one gave to another table */
	clock_gettime(CLOCK_REALTIME, &t);
	s->number = ((uint32_t)t.tv_sec << 10 ^ (uint32_t)t.tv_nsec >> 10) | 1;
	pthread_mutex_init(&s->lock, NULL);
	*ret_subuids = s;
	return 0;
}

void subuids_free(struct subuids *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s->table.ranges);
	free(s);
}

/* With the lock, which is let go of while the files are read. */
static void follow(struct subuids *s, int64_t now)
{
	const struct version subuid = version_of(s->etc_fd, "subuid"), passwd = version_of(s->etc_fd, "passwd");
	struct subuid_table table;
	int r;

	if (s->looked && same_version(&subuid, &s->subuid) && same_version(&passwd, &s->passwd)) {
		s->looked = now;
		return;
	}
	s->reading = true;
	pthread_mutex_unlock(&s->lock);
	r = read_table(s->etc_fd, &table);
	pthread_mutex_lock(&s->lock);
	s->reading = false;
	s->looked = now;
	s->subuid = subuid;
	s->passwd = passwd;
	if (r)
		return;
	free(s->table.ranges);
	s->table = table;
	s->number += 2; /* odd for ever */
}

void subuids_follow(struct subuids *s)
{
	const int64_t now = clock_monotonic();

	pthread_mutex_lock(&s->lock);
	if (!s->reading && (!s->looked || now - s->looked >= LOOK_NS))
		follow(s, now);
	pthread_mutex_unlock(&s->lock);
}

bool subuids_owner(struct subuids *s, uint32_t uid, uint32_t *ret_owner, uint32_t *ret_first)
{
	const struct subuid_range *range;

	pthread_mutex_lock(&s->lock);
	*ret_owner = subuid_owner(&s->table, uid, &range);
	*ret_first = range ? range->first : 0;
	pthread_mutex_unlock(&s->lock);
	return range != NULL;
}

size_t subuids_copy(struct subuids *s, uint32_t from, struct subuid_range *ret, size_t max, uint32_t *ret_all,
		    uint32_t *ret_number)
{
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	for (; n < max && from + n < s->table.n; n++)
		ret[n] = s->table.ranges[from + n];
	*ret_all = (uint32_t)s->table.n;
	*ret_number = s->number;
	pthread_mutex_unlock(&s->lock);
	return n;
}
