#include "fs/serve/appear.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/common/clock.h"
#include "fs/serve/decide.h"
#include "fs/serve/ring.h"
#include "fs/serve/vault.h"
#include "fs/serve/waits.h"
#include "store/core/tables.h"

#define HELD_BACK  256u /* requests that wait */
/* the bell made nothing, twice: names are not hidden for it before this; doubles, up to … */
#define PAUSE_MS   200
#define PAUSE_MOST 6400
#define STACK_SIZE (128u * 1024)

struct coming {
	uint32_t id;
	bool made;
	char name[NAME_LEN_MAX + 1];
};
struct held {
	struct fuse_req *req;
	uint64_t ino;
	char name[16];
}; /* name "": its attributes */

struct appear {
	struct vault *v;
	const struct appear_answers *answers;
	struct shared_appear *shared;
	pthread_mutex_t lock;
	pthread_cond_t asked, shown;
	pthread_t thread;
	bool started, stop, look;
	/* what the bell is making: */
	struct coming *batch, *next; /* by id; next: room */
	size_t n_batch, n_left;
	uint32_t end; /* the last id that appears with it */
	int64_t not_before_ms, pause_ms;
	struct held held[HELD_BACK];
	size_t n_held;
};

static struct timespec at_ms(int64_t ms)
{
	return (struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
}

/* ---- what is hidden ---- */

uint32_t appear_mark(const struct vault *v)
{
	const uint32_t from = v->shared ? atomic_load_explicit(&v->shared->appear.hidden_from, memory_order_acquire)
					: 0;

	return from ? from : UINT32_MAX;
}

static bool is_early(const struct shared_appear *s, uint32_t id)
{
	for (size_t i = 0; i < APPEAR_EARLY; i++)
		if (s->early[i] == id)
			return true;
	return false;
}

static bool is_made(const struct shared_appear *s, uint32_t id)
{
	for (size_t i = 0; i < APPEAR_BATCH; i++)
		if (s->made[i] == id)
			return true;
	return false;
}

/* Where a late one stands, or (0) a free place; APPEAR_BATCH: nowhere. */
static size_t late_place(const struct shared_appear *s, uint32_t id)
{
	size_t i = 0;

	while (i < APPEAR_BATCH && s->late[i] != id)
		i++;
	return i;
}

bool appear_gives(struct vault *v, uint32_t secret, bool bell)
{
	struct appear *a = v->appear;
	bool makes = false;

	if (!a || !atomic_load_explicit(&a->shared->n_late, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&a->lock);
	const size_t i = late_place(a->shared, secret);
	if (i < APPEAR_BATCH && bell) {
		makes = true;
	} else if (i < APPEAR_BATCH) {
		a->shared->late[i] = 0;
		a->shared->n_late--;
	}
	pthread_mutex_unlock(&a->lock);
	return makes;
}

static struct coming *find_coming(const struct appear *a, uint32_t id)
{
	size_t low = 0, high = a->n_batch;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (a->batch[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < a->n_batch && a->batch[low].id == id ? &a->batch[low] : NULL;
}

bool appear_unlisted(const struct vault *v, uint32_t mark, uint32_t secret)
{
	return secret >= mark && !is_early(&v->shared->appear, secret);
}

static bool resolves(const struct appear *a, uint32_t id)
{
	return id < a->shared->hidden_from || is_early(a->shared, id);
}

bool appear_is_hidden(struct vault *v, uint32_t secret)
{
	struct appear *a = v->appear;

	if (!a || secret < appear_mark(v))
		return false;
	pthread_mutex_lock(&a->lock);
	const bool hidden = !resolves(a, secret) && !is_made(a->shared, secret);
	pthread_mutex_unlock(&a->lock);
	return hidden;
}

/* What the bell was asked for and has not made. With the lock; before the mark is raised, so that it has not been given
 * out. */
static void note_late(struct appear *a, uint32_t id)
{
	struct shared_appear *s = a->shared;

	for (size_t i = 0; i < a->n_batch && a->batch[i].id <= id; i++) {
		const struct coming *c = &a->batch[i];
		const size_t place = late_place(s, 0);
		if (c->made || c->id < s->hidden_from || is_early(s, c->id) || place == APPEAR_BATCH)
			continue;
		s->n_late++;
		s->late[place] = c->id;
	}
}

/* Everything up to this id resolves. With the lock; what was held back is the caller's to answer. */
static void raise_mark(struct appear *a, uint32_t id)
{
	struct shared_appear *s = a->shared;

	note_late(a, id);
	if (id >= s->hidden_from)
		atomic_store_explicit(&s->hidden_from, id + 1, memory_order_release);
	/* only now: killed in between, a worker leaves no name that has resolved and does not any more */
	for (size_t i = 0; i < APPEAR_EARLY; i++)
		if (s->early[i] <= id)
			s->early[i] = 0;
	for (size_t i = 0; i < APPEAR_BATCH; i++)
		if (s->made[i] <= id)
			s->made[i] = 0;
	pthread_cond_broadcast(&a->shown);
}

/* Answers what was kept, if it may be by now. With the lock, which is let go of meanwhile. */
static void answer_held(struct appear *a)
{
	while (a->n_held && a->end < a->shared->hidden_from) {
		const struct held h = a->held[--a->n_held];
		pthread_mutex_unlock(&a->lock);
		if (h.name[0])
			a->answers->lookup(a->v, h.req, h.ino, h.name);
		else
			a->answers->attributes(a->v, h.req, h.ino);
		pthread_mutex_lock(&a->lock);
	}
}

/* 0: none. The tables are locked. */
static uint32_t next_hidden(const struct vault *v, uint32_t after)
{
	const struct catalog_secret *s = store_next(v->store, after, false);

	while (s && is_early(&v->shared->appear, s->id))
		s = store_next(v->store, s->id, false);
	return s ? s->id : 0;
}

static uint32_t last_hidden(struct vault *v)
{
	uint32_t last = 0;

	store_rdlock(v->store);
	for (uint32_t id = appear_mark(v) - 1; (id = next_hidden(v, id));)
		last = id;
	store_unlock_tables(v->store);
	return last;
}

/* The bell need not make it any more. With the lock. */
static void note_done(struct appear *a, uint32_t id)
{
	struct coming *c = find_coming(a, id);

	if (!c || c->made)
		return;
	c->made = true;
	if (--a->n_left == 0)
		raise_mark(a, a->end);
}

void appear_at_once(struct vault *v, uint32_t secret)
{
	struct appear *a = v->appear;
	bool alone;

	if (!a || secret < appear_mark(v))
		return;
	store_rdlock(v->store);
	alone = next_hidden(v, appear_mark(v) - 1) == secret;
	store_unlock_tables(v->store);
	pthread_mutex_lock(&a->lock);
	size_t i = 0;
	while (i < APPEAR_EARLY && a->shared->early[i])
		i++;
	note_done(a, secret);
	if (is_early(a->shared, secret))
		;
	else if (alone || i == APPEAR_EARLY)
		raise_mark(a, secret);
	else if (secret >= a->shared->hidden_from)
		atomic_store(&a->shared->early[i], secret);
	answer_held(a);
	pthread_mutex_unlock(&a->lock);
}

/* ---- who waits ---- */

void appear_wait(struct vault *v, uint32_t secret)
{
	struct appear *a = v->appear;

	if (!a || secret < appear_mark(v))
		return;
	const struct timespec until = at_ms(clock_ms() + APPEAR_MS);
	waits_begin();
	pthread_mutex_lock(&a->lock);
	a->look = true;
	pthread_cond_signal(&a->asked);
	while (!resolves(a, secret) && !a->stop)
		if (pthread_cond_timedwait(&a->shown, &a->lock, &until) == ETIMEDOUT)
			raise_mark(a, secret);
	answer_held(a);
	pthread_mutex_unlock(&a->lock);
	waits_end();
}

void appear_wait_all(struct vault *v)
{
	const uint32_t last = v->appear ? last_hidden(v) : 0;

	if (last)
		appear_wait(v, last);
}

void appear_look(struct vault *v)
{
	struct appear *a = v->appear;

	if (!a)
		return;
	store_rdlock(v->store);
	const bool hidden = next_hidden(v, appear_mark(v) - 1) || store_next(v->store, appear_mark(v) - 1, true);
	store_unlock_tables(v->store);
	if (!hidden)
		return;
	pthread_mutex_lock(&a->lock);
	a->look = true;
	pthread_cond_signal(&a->asked);
	pthread_mutex_unlock(&a->lock);
}

bool appear_holds_back(struct vault *v, struct fuse_req *req, uint64_t ino, const char *name)
{
	struct appear *a = v->appear;
	struct inode i;
	bool held = false;

	if (!a || !inode_unpack(ino, &i) || i.type != INODE_SECRET || i.secret < appear_mark(v))
		return false;
	/* where nobody would send it again, should this worker die, it is answered at once; so is what there cannot be
	 */
	if (!v->shared->keeper.resend || (name && strlen(name) >= sizeof a->held[0].name))
		return false;
	pthread_mutex_lock(&a->lock);
	if (!resolves(a, i.secret) && is_made(a->shared, i.secret) && a->n_held < HELD_BACK) {
		struct held *h = &a->held[a->n_held++];
		*h = (struct held){ .req = req, .ino = ino };
		vault_copy_name(h->name, sizeof h->name, name ? name : "");
		held = true;
	}
	pthread_mutex_unlock(&a->lock);
	return held;
}

/* ---- the bell's word ---- */

/* From now on the name resolves; not before all that appear with it is it shown. With the lock. */
static void note_made(struct appear *a, uint32_t id)
{
	size_t i = 0;

	if (resolves(a, id)) {
		const size_t late = late_place(a->shared, id);
		if (late < APPEAR_BATCH) {
			a->shared->late[late] = 0;
			a->shared->n_late--;
		}
		return;
	}
	while (i < APPEAR_BATCH && a->shared->made[i] && a->shared->made[i] != id)
		i++;
	if (i == APPEAR_BATCH) /* of batches that were cut off */
		raise_mark(a, id);
	else
		a->shared->made[i] = id;
	note_done(a, id);
}

int appear_make(struct vault *v, const char *name, uint64_t *ret_ino)
{
	struct appear *a = v->appear;

	store_rdlock(v->store);
	const struct catalog_secret *s = store_find(v->store, name);
	const struct inode i = { .type = INODE_SECRET, .secret = s ? s->id : 0 };
	store_unlock_tables(v->store);
	if (!i.secret || !a)
		return -EEXIST;
	pthread_mutex_lock(&a->lock);
	note_made(a, i.secret);
	answer_held(a);
	pthread_mutex_unlock(&a->lock);
	*ret_ino = inode_pack(&i);
	return 0;
}

/* ---- the thread ---- */

/* The names that are to come, and up to which id they all then resolve. Without the lock, which is taken by threads
 * that have the tables'. */
static size_t collect(struct vault *v, struct coming *batch, uint32_t *ret_end)
{
	size_t n = 0;

	store_rdlock(v->store);
	for (uint32_t id = appear_mark(v) - 1; (id = next_hidden(v, id));) {
		*ret_end = id;
		if (n == APPEAR_BATCH)
			continue;
		batch[n].id = id;
		vault_copy_name(batch[n++].name, sizeof batch[0].name, store_get(v->store, id)->name);
	}
	/* what was restored as deleted is not hidden, and must not be when it is recovered */
	for (const struct catalog_secret *s = store_next(v->store, appear_mark(v) - 1, true); s;
	     s = store_next(v->store, s->id, true))
		*ret_end = s->id > *ret_end ? s->id : *ret_end;
	store_unlock_tables(v->store);
	return n;
}

/* The next batch. With the lock, which is let go of meanwhile. */
static void begin_batch(struct appear *a)
{
	struct coming *next = a->next;
	uint32_t end = 0;

	pthread_mutex_unlock(&a->lock);
	const size_t n = collect(a->v, next, &end);
	pthread_mutex_lock(&a->lock);
	a->next = a->batch;
	a->batch = next;
	a->n_batch = n;
	a->end = end ? end : a->end;
	a->n_left = 0;
	for (size_t i = 0; i < n; i++) {
		next[i].made = is_made(a->shared, next[i].id) || resolves(a, next[i].id);
		a->n_left += !next[i].made;
	}
}

/* Until the deadline, for a full queue. Without the lock: what it reads of the batch is this thread's to write. */
static void ask_bell(const struct appear *a, int64_t until)
{
	for (size_t i = 0; i < a->n_batch; i++) {
		if (a->batch[i].made)
			continue;
		struct pollfd p = { .fd = a->v->bell_fd, .events = POLLOUT };
		int r;
		while ((r = bell_send(a->v->bell_fd, BELL_MAKE, a->batch[i].name, 0)) == -EAGAIN && clock_ms() < until)
			poll(&p, 1, (int)(until - clock_ms() > 0 ? until - clock_ms() : 0));
		if (r)
			return;
	}
}

static void ring_values(const struct appear *a)
{
	for (size_t i = 0; i < a->n_batch; i++)
		vault_ring_files(a->v, a->batch[i].id);
	vault_ring(a->v, BELL_TOUCH_DIR, ".");
}

/* Until they are made, or the time has come. With the lock. */
static void wait_for_bell(struct appear *a, size_t n_left, int64_t until)
{
	const struct timespec deadline = at_ms(until);

	while (a->end >= a->shared->hidden_from && !a->stop)
		if (pthread_cond_timedwait(&a->shown, &a->lock, &deadline) == ETIMEDOUT)
			break;
	if (a->n_left != n_left) {
		a->pause_ms = 0;
	} else if (clock_ms() >= until) {
		a->not_before_ms = clock_ms() + a->pause_ms;
		a->pause_ms = a->pause_ms ? 2 * a->pause_ms : PAUSE_MS;
		a->pause_ms = a->pause_ms < PAUSE_MOST ? a->pause_ms : PAUSE_MOST;
	}
}

/* With the lock, which is let go of meanwhile. */
static void show(struct appear *a)
{
	const int64_t until = clock_ms() + APPEAR_MS;

	begin_batch(a);
	if (!a->n_batch) {
		raise_mark(a, a->end);
		return;
	}
	vault_names_moved(a->v);
	const size_t n_left = a->n_left;
	/* one that is late, or stopped, is asked, too: it can make a name until somebody has looked it up */
	if (n_left) {
		const bool waits = clock_ms() >= a->not_before_ms;
		pthread_mutex_unlock(&a->lock);
		ask_bell(a, waits ? until : 0);
		pthread_mutex_lock(&a->lock);
		if (waits)
			wait_for_bell(a, n_left, until);
	}
	if (a->stop) /* the next worker does it */
		return;
	raise_mark(a, a->end);
	answer_held(a);
	pthread_mutex_unlock(&a->lock);
	ring_values(a);
	pthread_mutex_lock(&a->lock);
}

static void *run(void *arg)
{
	struct appear *a = arg;

	pthread_mutex_lock(&a->lock);
	while (!a->stop) {
		if (!a->look)
			pthread_cond_wait(&a->asked, &a->lock);
		a->look = false;
		if (!a->stop)
			show(a);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

static uint32_t last_of_all(struct vault *v)
{
	uint32_t last = 0;

	store_rdlock(v->store);
	for (int deleted = 0; deleted < 2; deleted++)
		for (const struct catalog_secret *s = store_next(v->store, last, deleted); s;
		     s = store_next(v->store, s->id, deleted))
			last = s->id;
	store_unlock_tables(v->store);
	return last;
}

int appear_new(struct vault *v, const struct appear_answers *answers, bool fresh, struct appear **ret_appear)
{
	struct appear *a = calloc(1, sizeof *a);
	pthread_condattr_t monotonic;
	pthread_attr_t attr;
	uint32_t n_late = 0;
	int r;

	if (!a)
		return -ENOMEM;
	a->v = v;
	a->answers = answers;
	a->shared = &v->shared->appear;
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&a->asked, &monotonic);
	pthread_cond_init(&a->shown, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (fresh)
		a->shared->hidden_from = last_of_all(v) + 1;
	raise_mark(a, a->shared->hidden_from - 1); /* what a worker that was killed left of it */
	for (size_t i = 0; i < APPEAR_BATCH; i++)
		n_late += a->shared->late[i] != 0;
	a->shared->n_late = n_late;
	a->batch = calloc(APPEAR_BATCH, sizeof *a->batch);
	a->next = calloc(APPEAR_BATCH, sizeof *a->next);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = a->batch && a->next ? -pthread_create(&a->thread, &attr, run, a) : -ENOMEM;
	pthread_attr_destroy(&attr);
	a->started = !r;
	if (r) {
		appear_free(a);
		return r;
	}
	*ret_appear = a;
	return 0;
}

void appear_free(struct appear *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_broadcast(&a->asked);
	pthread_cond_broadcast(&a->shown);
	pthread_mutex_unlock(&a->lock);
	if (a->started)
		pthread_join(a->thread, NULL);
	while (a->n_held) /* the kernel sends them to the next worker */
		a->answers->forget(a->held[--a->n_held].req);
	pthread_cond_destroy(&a->asked);
	pthread_cond_destroy(&a->shown);
	pthread_mutex_destroy(&a->lock);
	free(a->batch);
	free(a->next);
	free(a);
}
