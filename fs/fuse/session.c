#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/fuse/delayed.h"
#include "fs/common/log.h"
#include "fs/fuse/session_internal.h"
#include "fs/common/shares.h"
#include "fs/fuse/statx.h"
#include "fs/shared/test_hook.h"
#include "fs/serve/waits.h"
#include "store/crypto/secbuf.h"

#define INIT_UNIQUE ((uint64_t)1 << 62) /* the kernel's are small and even */
#define STACK_SIZE  (256u * 1024)       /* locked default stacks would cost 12 ms at each restart */

/* ---- libfuse's view of the device ---- */

static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

static bool flags_fit(const struct shared_init *init, const struct fuse_init_out *lib)
{
	const struct fuse_init_out *keeper = (const void *)(init->answer + sizeof(struct fuse_out_header));
	/* FUSE_INIT_EXT only says that flags2 counts */
	return !(lib->flags & ~keeper->flags & ~(uint32_t)FUSE_INIT_EXT) && !(lib->flags2 & ~keeper->flags2);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	if (request_current()->statx && !out->error && count == 2 && iov[1].iov_len == sizeof(struct fuse_attr_out))
		return request_answer_statx(out, iov[1].iov_base);
	if (out->unique != INIT_UNIQUE)
		return writev(fd, iov, count);

	/* the keeper answered FUSE_INIT; libfuse's answer to the replay is only looked at */
	(void)userdata;
	size_t all = 0;
	for (int i = 0; i < count; i++)
		all += iov[i].iov_len;
	struct session *s = request_current()->session;
	s->init_seen = out->error == 0 && count > 1 && iov[1].iov_len >= offsetof(struct fuse_init_out, flags2) + 4 &&
		       flags_fit(&s->config.shared->init, iov[1].iov_base);
	return (ssize_t)all;
}

static int replay_init(struct session *s)
{
	const struct shared_init *init = &s->config.shared->init;
	_Alignas(8) uint8_t request[sizeof init->request];

	if (!init->request_len || init->request_len > sizeof request)
		return -EPROTO;
	memcpy(request, init->request, init->request_len);
	((struct fuse_in_header *)(void *)request)->unique = INIT_UNIQUE;
	struct fuse_buf buf = { .size = init->request_len, .mem = request };
	*request_current() = (struct request){ .session = s };
	fuse_session_process_buf(s->fuse, &buf);
	return s->init_seen ? 0 : -EPROTO;
}

/* ---- one request ---- */

/* Killed in between, the request lies in both places: where they are replayed, it is answered twice, of which the
 * kernel takes one. */
static void unpark(struct parked *p, struct slot *slot)
{
	session_copy(slot, p->data, p->len);
	atomic_store_explicit(&p->len, 0, memory_order_release);
}

/* Gives the request in a slot to the lane that it wants, as current says. With the lock. PARKING_REFUSED: its answer is
 * sent, or waits. */
static enum parking defer_locked(struct session *s, struct slot *slot, bool resent)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	const uint64_t neighbour = request_neighbour(s, in, slot->len);
	const enum lane lane = lanes_of(in, slot->len, request_current()->wants,
					s->config.known(s->config.userdata, neighbour));
	uint64_t lost;
	const enum parking parking = lanes_put(s->lanes, (uint32_t)(slot - s->config.shared->slots), resent, lane,
					       neighbour, &lost);

	if (lost)
		request_answer(s, lost, -EAGAIN, NULL, 0);
	if (parking == PARKING_REFUSED) {
		session_lose(s, slot);
		if (!request_refuse_later(s, in, slot->len, -EAGAIN, 0, false))
			request_answer(s, in->unique, -EAGAIN, NULL, 0);
	} else {
		pthread_cond_signal(&s->work[lane]);
		if (lane == LANE_ASK_KNOWN)
			pthread_cond_signal(&s->work[LANE_ASK]);
	}
	return parking;
}

/* The root of a container that asks for more than it gets is not to use up what is root's until its threads were looked
 * at. With the lock, which is let go of meanwhile. */
static void look_closer(struct session *s, const struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;

	if (!in->pid || request_neighbour(s, in, slot->len) != NEIGHBOUR_ROOT ||
	    !lanes_crowded(s->lanes, NEIGHBOUR_ROOT))
		return;
	pthread_mutex_unlock(&s->lock);
	request_is_of(s->config.container(s->config.userdata, in));
	pthread_mutex_lock(&s->lock);
}

/* From the hot thread. False: the slot goes along. */
static bool defer(struct session *s, struct slot *slot)
{
	pthread_mutex_lock(&s->lock);
	if (!request_current()->neighbour_known)
		look_closer(s, slot);
	const enum parking parking = defer_locked(s, slot, request_current()->resent);
	pthread_mutex_unlock(&s->lock);
	if (parking == PARKING_NONE)
		return false;
	session_finish(slot);
	return true;
}

/* Of the pool: it runs what entry stands for, in its own slot or in the thread's. */
static void run_entry(struct pool_thread *t, lane_entry entry, bool suspect)
{
	struct session *s = t->session;
	struct slot *slot = entry_is_parked(entry) ? t->own : &s->config.shared->slots[entry - PARKED];
	bool resent = suspect, slot_is_free = true;

	if (entry_is_parked(entry)) {
		resent = s->config.shared->parked[entry].resent;
		unpark(&s->config.shared->parked[entry], slot);
	}
	const uint64_t unique = ((const struct fuse_in_header *)(const void *)slot->data)->unique & ~RESEND_BIT;
	const bool done = session_process(s, slot, suspect ? WAITS_FOR_ALL : lane_shapes[t->lane].patience, resent);
	if (done && resent)
		suspects_clear(&s->config.shared->suspects, unique);
	if (done)
		session_finish(slot);
	pthread_mutex_lock(&s->lock);
	if (!suspect)
		lanes_gone(s->lanes, entry);
	if (!done) {
		/* one that was parked finds the place that it has left */
		slot_is_free = defer_locked(s, slot, request_current()->resent) != PARKING_NONE;
		if (slot_is_free)
			session_finish(slot);
	}
	if (!entry_is_parked(entry) && slot_is_free)
		session_free_slot(s, entry - PARKED);
}

/* What comes next, -1: nothing. A suspect before all others; it is in nobody's turn. */
static int64_t next_entry(struct session *s, enum lane lane, uint64_t *ret_neighbour, bool *ret_suspect)
{
	const int suspect = s->alone_entry;

	*ret_suspect = suspect >= 0;
	s->alone_entry = -1;
	if (suspect >= 0) {
		pthread_cond_signal(&s->quiet); /* there is room for the next one */
		return suspect;
	}
	return s->alone ? -1 : lanes_take(s->lanes, lane, ret_neighbour);
}

static void *pool_thread(void *arg)
{
	static const struct waits waits = { successor_wait_begins, successor_wait_ends };
	struct pool_thread *t = arg;
	struct session *s = t->session;
	uint64_t neighbour = 0;
	int64_t entry;
	bool suspect;

	waits_of_thread(&waits);
	pthread_mutex_lock(&s->lock);
	for (;;) {
		while ((entry = next_entry(s, t->lane, &neighbour, &suspect)) < 0 && !s->ending)
			pthread_cond_wait(&s->work[t->lane], &s->lock);
		/* what waits still is of a neighbour that has its share: its threads come back for it */
		if (entry < 0)
			break;
		s->n_busy++;
		pthread_mutex_unlock(&s->lock);
		run_entry(t, (lane_entry)entry, suspect); /* comes back with the lock */
		s->n_busy--;
		if (s->n_given_up > s->n_busy)
			s->n_given_up = s->n_busy;
		pthread_cond_signal(&s->quiet);
		if (!suspect)
			lanes_done(s->lanes, t->lane, neighbour);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static uint8_t take_slot(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->n_free) /* every thread is busy; each of them has a deadline */
		pthread_cond_wait(&s->slot_free, &s->lock);
	uint8_t i = s->free_slots[--s->n_free];
	pthread_mutex_unlock(&s->lock);
	return i;
}

/* ---- the loop ---- */

/* In the place of slot i, which is free again. */
static uint8_t next_kept(struct session *s, uint8_t i)
{
	const uint8_t next = s->later[0];

	memmove(s->later, s->later + 1, --s->n_later);
	pthread_mutex_lock(&s->lock);
	session_free_slot(s, i);
	pthread_mutex_unlock(&s->lock);
	return next;
}

/* 0; -EAGAIN: there is none yet. */
static int next_read(const struct session *s, struct slot *slot)
{
	const long n = session_read(s, slot);

	if (n >= 0)
		return n < (long)sizeof(struct fuse_in_header) ? -EAGAIN : 0;
	return n == -EINTR || n == -ENOENT ? -EAGAIN : (int)n; /* ENOENT: the caller was killed before we read */
}

int session_run(struct session *s)
{
	int r = 0;
	successor_run_left(s);
	uint8_t i = take_slot(s);
	while (!*s->config.stop) {
		r = 0;
		if (s->n_later)
			i = next_kept(s, i);
		else
			r = next_read(s, &s->config.shared->slots[i]);
		if (r == -EAGAIN)
			continue;
		if (r)
			break;
		struct slot *slot = &s->config.shared->slots[i];
		const struct fuse_in_header *in = (const void *)slot->data;
		if ((in->unique & RESEND_BIT) && successor_is_suspect(s, in)) {
			if (successor_run_alone(s, i))
				i = take_slot(s);
			else
				session_finish(slot);
		} else if (session_process(s, slot, WAITS_FOR_NOTHING, false)) {
			session_finish(slot);
		} else if (!defer(s, slot)) {
			i = take_slot(s);
		}
	}
	successor_help_those_who_wait(s);
	return r == -ENODEV || r == -EAGAIN ? 0 : r; /* ENODEV: unmounted, or aborted */
}

static int start_threads(struct session *s)
{
	pthread_attr_t attr;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (enum lane lane = 0; lane < LANES; lane++)
		for (uint32_t i = 0; i < lane_shapes[lane].threads && !r; i++) {
			struct pool_thread *t = &s->threads[s->n_threads];
			*t = (struct pool_thread){ .session = s,
						   .lane = lane,
						   .own = &s->config.shared->slots[s->n_threads] };
			r = -pthread_create(&t->thread, &attr, pool_thread, t);
			s->n_threads += !r;
		}
	pthread_attr_destroy(&attr);
	return r;
}

int session_new(const struct session_config *config, struct session **ret_session)
{
	static const struct fuse_custom_io io = { .read = io_read, .writev = io_writev };
	char name[] = "cofferd";
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int r;

	struct session *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->config = *config;
	pthread_mutex_init(&s->lock, NULL);
	for (int i = 0; i < LANES; i++)
		pthread_cond_init(&s->work[i], NULL);
	pthread_cond_init(&s->slot_free, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->quiet, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s->alone_entry = -1;
	for (uint8_t i = LANE_THREADS; i < SLOTS; i++)
		s->free_slots[s->n_free++] = i;
	s->fuse = fuse_session_new(&args, config->ops, sizeof *config->ops, config->userdata);
	r = s->fuse ? lanes_new(config->shared, &s->lanes) : -ENOMEM;
	if (!r)
		r = delayed_new(&s->delayed);
	if (!r)
		r = fuse_session_custom_io(s->fuse, &io, config->fuse_fd) ? -EIO : 0;
	if (!r)
		r = replay_init(s);
	if (!r)
		r = start_threads(s);
	if (r) {
		session_free(s);
		return r;
	}
	*ret_session = s;
	return 0;
}

void session_end(struct session *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	session_wake_all(s);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < s->n_threads; i++)
		pthread_join(s->threads[i].thread, NULL);
	s->n_threads = 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	session_end(s);
	if (s->fuse)
		fuse_session_destroy(s->fuse);
	lanes_free(s->lanes);
	delayed_free(s->delayed);
	free(s);
}
