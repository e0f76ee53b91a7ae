#include "fs/serve/drops.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"

#define THREADS    4
#define WAITING    1024 /* inodes; where there are more, every open file's go */
#define LINGER_MS  10
#define STACK_SIZE (128u * 1024)
#define END_MS     20
#define SETTLE_MS  20
#define MIXED      (DROPS_NO_SIZE - 1)

struct waiting {
	uint64_t ino;
	uint64_t size; /* of the value whose pages these are; DROPS_NO_SIZE: none are known of */
	int64_t due_ms;
};

struct drops {
	int fuse_fd;
	struct handles *handles;
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_cond_t done;
	struct waiting waiting[WAITING];
	size_t n;
	/* ino 0: none. One thread for an inode: one that waits for a page must not take the others along */
	struct waiting under_way[THREADS];
	_Atomic size_t sized; /* of both, those with a size */
	bool all, sweeping, ending;
	size_t n_threads, n_started;
};

/* -ENOENT: the kernel does not know it, so there are no pages. */
static void drop(const struct drops *d, uint64_t ino)
{
	const struct {
		struct fuse_out_header header;
		struct fuse_notify_inval_inode_out inode;
	} notice = {
		.header = { .len = sizeof notice, .error = FUSE_NOTIFY_INVAL_INODE },
		.inode = { .ino = ino },
	};
	(void)!write(d->fuse_fd, &notice, sizeof notice);
}

static void drop_open(uint64_t fh, struct handle *h, void *arg)
{
	const struct drops *d = arg;

	(void)fh;
	if (h->kind == HANDLE_VALUE && !__atomic_load_n(&d->ending, __ATOMIC_RELAXED))
		drop(d, h->ino);
}

/* NULL: it is not in the table. */
static struct waiting *find(struct waiting *table, size_t n, uint64_t ino)
{
	for (size_t i = 0; i < n; i++)
		if (table[i].ino == ino)
			return &table[i];
	return NULL;
}

/* The next inode that is due, with ino 0: none is; *ret_wait_ms is then how long until one may be, -1: nothing waits.
 */
static struct waiting take(struct drops *d, int64_t *ret_wait_ms)
{
	const int64_t now = clock_ms();

	*ret_wait_ms = -1;
	for (size_t i = 0; i < d->n; i++) {
		const struct waiting w = d->waiting[i];
		if (find(d->under_way, THREADS, w.ino)) /* the thread that is at it comes back here */
			continue;
		if (w.due_ms <= now) {
			d->waiting[i] = d->waiting[--d->n];
			return w;
		}
		if (*ret_wait_ms < 0 || w.due_ms - now < *ret_wait_ms)
			*ret_wait_ms = w.due_ms - now;
	}
	return (struct waiting){ 0 };
}

static void sweep(struct drops *d)
{
	d->all = false;
	d->sweeping = true;
	pthread_mutex_unlock(&d->lock);
	handle_each(d->handles, 0, drop_open, d);
	pthread_mutex_lock(&d->lock);
	d->sweeping = false;
}

static void wait_for(struct drops *d, pthread_cond_t *what, int64_t wait_ms)
{
	struct timespec t;

	if (wait_ms < 0) {
		pthread_cond_wait(what, &d->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += wait_ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	pthread_cond_timedwait(what, &d->lock, &t);
}

static void *serve(void *arg)
{
	struct drops *d = arg;
	int64_t wait_ms;

	pthread_mutex_lock(&d->lock);
	const size_t self = d->n_started++;
	while (!d->ending) {
		if (d->all && !d->sweeping) {
			sweep(d);
			continue;
		}
		const struct waiting w = take(d, &wait_ms);
		if (!w.ino) {
			wait_for(d, &d->work, wait_ms);
			continue;
		}
		d->under_way[self] = w;
		pthread_mutex_unlock(&d->lock);
		drop(d, w.ino);
		pthread_mutex_lock(&d->lock);
		d->under_way[self] = (struct waiting){ 0 };
		d->sized -= w.size != DROPS_NO_SIZE;
		pthread_cond_broadcast(&d->done);
	}
	d->n_threads--;
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

static int start(struct drops *d)
{
	pthread_attr_t attr;
	pthread_t t;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < THREADS && !r; i++) {
		r = -pthread_create(&t, &attr, serve, d);
		d->n_threads += !r;
	}
	pthread_mutex_unlock(&d->lock);
	pthread_attr_destroy(&attr);
	return r;
}

int drops_new(int fuse_fd, struct handles *handles, struct drops **ret_drops)
{
	struct drops *d = calloc(1, sizeof *d);
	pthread_condattr_t monotonic;

	if (!d)
		return -ENOMEM;
	d->fuse_fd = fuse_fd;
	d->handles = handles;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&d->work, &monotonic);
	pthread_cond_init(&d->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	int r = start(d);
	if (r) {
		drops_free(d);
		return r;
	}
	*ret_drops = d;
	return 0;
}

void drops_stop(struct drops *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	__atomic_store_n(&d->ending, true, __ATOMIC_RELAXED);
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
}

bool drops_free(struct drops *d)
{
	if (!d)
		return true;
	const int64_t until = clock_ms() + END_MS;
	drops_stop(d);
	pthread_mutex_lock(&d->lock);
	while (d->n_threads && clock_ms() < until)
		wait_for(d, &d->work, until - clock_ms());
	const bool gone = !d->n_threads;
	pthread_mutex_unlock(&d->lock);
	if (!gone) /* it comes back to this */
		return false;
	pthread_cond_destroy(&d->work);
	pthread_cond_destroy(&d->done);
	pthread_mutex_destroy(&d->lock);
	free(d);
	return true;
}

/* Under the lock. Pages of two sizes are pages of another size, whichever is asked for. */
static void note_size(struct drops *d, struct waiting *w, uint64_t size)
{
	if (size == DROPS_NO_SIZE || size == w->size)
		return;
	d->sized += w->size == DROPS_NO_SIZE;
	w->size = w->size == DROPS_NO_SIZE ? size : MIXED;
}

void drops_add(struct drops *d, uint64_t ino, uint64_t size)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	struct waiting *w = find(d->waiting, d->n, ino);
	if (!w && d->n < WAITING) {
		w = &d->waiting[d->n++];
		*w = (struct waiting){ ino, DROPS_NO_SIZE, clock_ms() + LINGER_MS };
	}
	if (w)
		note_size(d, w, size);
	else
		d->all = true;
	pthread_cond_signal(&d->work);
	pthread_mutex_unlock(&d->lock);
}

static bool has_other(struct waiting *w, uint64_t size) { return w && w->size != DROPS_NO_SIZE && w->size != size; }

bool drops_settle(struct drops *d, uint64_t ino, uint64_t size, bool may_wait)
{
	if (!d || !d->sized)
		return true;
	const int64_t until = clock_ms() + SETTLE_MS;
	bool settled;
	pthread_mutex_lock(&d->lock);
	for (;;) {
		struct waiting *w = find(d->waiting, d->n, ino);
		const bool other = has_other(w, size);
		settled = !other && !has_other(find(d->under_way, THREADS, ino), size);
		const int64_t left = until - clock_ms();
		if (settled || !may_wait || left <= 0)
			break;
		if (other) {
			w->due_ms = 0;
			pthread_cond_signal(&d->work);
		}
		wait_for(d, &d->done, left);
	}
	pthread_mutex_unlock(&d->lock);
	return settled;
}

void drops_hurry(struct drops *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < d->n; i++)
		d->waiting[i].due_ms = 0;
	if (d->n)
		pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
}

void drops_all(struct drops *d)
{
	pthread_mutex_lock(&d->lock);
	d->all = true;
	pthread_cond_signal(&d->work);
	pthread_mutex_unlock(&d->lock);
}
