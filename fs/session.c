#include "fs/session_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fs/clock.h"
#include "fs/delayed.h"
#include "fs/log.h"
#include "fs/shares.h"
#include "fs/statx.h"
#include "fs/test_hook.h"
#include "fs/waits.h"
#include "store/crypto/secbuf.h"

#define INIT_UNIQUE ((uint64_t)1 << 62)		/* the kernel's are small and even */
#define STACK_SIZE  (256u * 1024)		/* locked default stacks would cost 12 ms at each restart */
#define SEND_BATCH  64u				/* delayed answers that are sent between two looks at who else wants the lock */

static __thread struct request current;

struct request *request_current(void) { return &current; }

uint64_t request_unique(void)
{
	return current.header->unique & ~RESEND_BIT;
}

void request_defer_hot(enum patience wants)
{
	current.deferred = true;
	current.wants = wants;
}

void request_defer(fuse_req_t req, enum patience wants)
{
	request_defer_hot(wants);
	fuse_reply_none(req);		/* frees it and sends nothing */
}

/* Straight system calls: libc's are cancellation points, which cost more than they do here, and no thread of ours is ever cancelled. */
int session_send(const struct session *s, const void *answer, size_t len)
{
	return syscall(SYS_write, s->config.fuse_fd, answer, len) < 0 ? -errno : 0;
}

/* The kernel pins each piece of an answer by itself: one piece is cheaper than two. */
#define SMALL_ANSWER 128u

static int answer(const struct session *s, uint64_t unique, int error, const void *body, size_t len)
{
	struct { struct fuse_out_header out; uint8_t body[SMALL_ANSWER]; } small = {
		.out = { .len = (uint32_t)(sizeof small.out + len), .error = error, .unique = unique },
	};
	if (len <= sizeof small.body) {
		if (len)
			memcpy(small.body, body, len);
		return session_send(s, &small, sizeof small.out + len);
	}
	const struct iovec iov[2] = { { &small.out, sizeof small.out }, { (void *)(uintptr_t)body, len } };
	return syscall(SYS_writev, s->config.fuse_fd, iov, 2) < 0 ? -errno : 0;
}

int request_reply(int error, const void *body, size_t len)
{
	return answer(current.session, current.header->unique, error, body, len);
}

static uint64_t whose_it_is(const struct session *s, const struct fuse_in_header *in, size_t len)
{
	return current.neighbour_known ? current.neighbour : s->config.neighbour(s->config.userdata, in, len);
}

/* Sends a refusal, or has it wait: only where the kernel can send the request again, should this worker die meanwhile, and where others do not wait for a lock until then. What was recorded is known as unanswered. With the
 * lock. True: it waits. */
static bool refuse_later(struct session *s, const struct fuse_in_header *in, size_t len, int error, uint32_t delay_ms, bool recorded)
{
	if (!s->config.shared->keeper.resend || lanes_locked(in, len))
		return false;
	const uint64_t neighbour = whose_it_is(s, in, len);
	const int64_t now = clock_ms();
	const uint32_t brake = delayed_brake(s->delayed, neighbour, now);
	if (brake > delay_ms)
		delay_ms = brake;
	const struct delayed_answer a = { .unique = in->unique, .neighbour = neighbour, .error = error, .due_ms = now + delay_ms };
	if (!delay_ms || !delayed_put(s->delayed, &a))
		return false;
	if (recorded)
		unanswered_wait(&s->config.shared->unanswered, in->unique & ~RESEND_BIT);
	return true;
}

/* The slot is free again before the answer goes. */
void request_refuse(int error, uint32_t delay_ms)
{
	struct session *s = current.session;

	pthread_mutex_lock(&s->lock);
	current.waits = refuse_later(s, current.header, current.slot->len, error, delay_ms, true);
	pthread_mutex_unlock(&s->lock);
	if (!current.waits)
		request_reply(error, NULL, 0);
}

/* Where in a slot an answer may lie: behind any request that has one with a value; its header stands before it, at the beginning of a page. */
#define ANSWER_OFFSET 4096u
_Static_assert((offsetof(struct slot, data) + ANSWER_OFFSET - sizeof(struct fuse_out_header)) % 4096 == 0, "an answer and its header lie in as few pages as they can");
_Static_assert(ANSWER_OFFSET + FUSE_MAX_WRITE <= sizeof ((struct slot *)0)->data, "an answer of the largest READ fits in a slot");

void *request_room(void)
{
	return current.slot->data + ANSWER_OFFSET;
}

void request_reply_secret(const void *data, size_t len)
{
	void *room = request_room();
	if (len > FUSE_MAX_WRITE)
		len = FUSE_MAX_WRITE;	/* the kernel never asks for more */
	if (data != room && (secmem_kind() == SECMEM_MEMFD_SECRET || len <= SMALL_ANSWER)) {	/* nor on the stack */
		memcpy(room, data, len);
		data = room;
	}
	if (data != room) {
		request_reply(0, data, len);
		return;
	}
	struct fuse_out_header *out = (struct fuse_out_header *)room - 1;
	*out = (struct fuse_out_header){ .len = (uint32_t)(sizeof *out + len), .unique = current.header->unique };
	current.secret_len = len;
	session_send(current.session, out, out->len);
}

int session_send_delayed(struct session *s)
{
	struct delayed_answer due[SEND_BATCH];
	size_t n;
	int64_t next;

	do {
		n = 0;
		pthread_mutex_lock(&s->lock);
		const int64_t now = clock_ms();
		while (n < SEND_BATCH && delayed_take(s->delayed, now, &due[n]))
			n++;
		next = delayed_next(s->delayed, now);
		pthread_mutex_unlock(&s->lock);
		for (size_t i = 0; i < n; i++) {
			answer(s, due[i].unique, due[i].error, NULL, 0);
			unanswered_waits_no_more(&s->config.shared->unanswered, due[i].unique & ~RESEND_BIT);
		}
	} while (n == SEND_BATCH);
	return (int)next;
}

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

/* libfuse answered it as a GETATTR. */
static ssize_t answer_statx(const struct fuse_out_header *out, const struct fuse_attr_out *attr)
{
	struct statx_out more;

	statx_answer(attr, current.born, &more);
	const int r = answer(current.session, out->unique, 0, &more, sizeof more);
	errno = -r;
	return r ? -1 : (ssize_t)out->len;
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	if (current.statx && !out->error && count == 2 && iov[1].iov_len == sizeof(struct fuse_attr_out))
		return answer_statx(out, iov[1].iov_base);
	if (out->unique != INIT_UNIQUE)
		return writev(fd, iov, count);

	/* the keeper answered FUSE_INIT; libfuse's answer to the replay is only looked at */
	(void)userdata;
	size_t all = 0;
	for (int i = 0; i < count; i++)
		all += iov[i].iov_len;
	struct session *s = current.session;
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
	current = (struct request){ .session = s };
	fuse_session_process_buf(s->fuse, &buf);
	return s->init_seen ? 0 : -EPROTO;
}

/* ---- one request ---- */

/* INTERRUPT is refused once, and the kernel sends it no more: a waiting caller is killed by the kernel without our help. */
static bool answer_interrupt(const struct session *s, const struct fuse_in_header *in)
{
	if (in->opcode != FUSE_INTERRUPT)
		return false;
	answer(s, in->unique, -ENOSYS, NULL, 0);
	return true;
}

/* Runs the handler. True: answered (or none is due); false: it wants a thread that may wait for more, as current says. */
bool session_process(struct session *s, struct slot *slot, enum patience patience, bool resent)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	struct unanswered *unanswered = &s->config.shared->unanswered;
	const uint32_t number = (uint32_t)(slot - s->config.shared->slots);
	current = (struct request){ .header = in, .session = s, .slot = slot, .patience = patience, .resent = resent || (in->unique & RESEND_BIT), .born = INT64_MIN };
	unanswered_begin(unanswered, number, request_unique());
	TEST_POINT("before", in->opcode);
	if (!s->config.hot(s->config.userdata, in, slot->len) && !answer_interrupt(s, in)) {
		_Alignas(8) uint8_t copy[sizeof *in + sizeof(struct fuse_setattr_in)];
		struct fuse_buf buf = { .size = slot->len, .mem = slot->data };
		/* libfuse clears FATTR_FH in the request itself: a handler that comes back to it, or the next worker, must find the handle still */
		if (in->opcode == FUSE_SETATTR && slot->len <= sizeof copy)
			buf.mem = memcpy(copy, slot->data, slot->len);
		current.statx = in->opcode == STATX_OPCODE && statx_getattr(in, slot->len, copy);
		if (current.statx)
			buf = (struct fuse_buf){ .size = STATX_GETATTR_LEN, .mem = copy };
		fuse_session_process_buf(s->fuse, &buf);
	}
	bool done = !current.deferred;
	if (done)
		TEST_POINT("after", in->opcode);
	if (current.secret_len)
		secmem_wipe(slot->data + ANSWER_OFFSET, current.secret_len);
	if (done && current.resent && !current.waits)
		unanswered_waits_no_more(unanswered, request_unique());
	unanswered_end(unanswered, number);
	return done;
}

/* After the answer: nothing of what was written stays, and no later worker sees the request. */
void session_finish(struct slot *slot)
{
	struct fuse_in_header *in = (void *)slot->data;
	if (in->opcode == FUSE_WRITE)
		secmem_wipe(slot->data + sizeof *in, slot->len - sizeof *in);
	*(volatile uint32_t *)&in->len = 0;	/* see run_leftovers */
	atomic_store_explicit(&slot->len, 0, memory_order_release);
}

/* Into a slot that is free. Whoever is killed in the middle of it leaves no half of a request, for one without a length is none (run_leftovers). */
void session_copy(struct slot *slot, const uint8_t *data, uint32_t len)
{
	struct fuse_in_header *in = (void *)slot->data, header;

	memcpy(in + 1, data + sizeof *in, len - sizeof *in);
	memcpy(&header, data, sizeof header);
	const uint32_t length = header.len;
	header.len = 0;
	*in = header;
	atomic_thread_fence(memory_order_release);
	*(volatile uint32_t *)&in->len = length;
	atomic_store_explicit(&slot->len, len, memory_order_release);
}

/* Killed in between, the request lies in both places: where they are replayed, it is answered twice, of which the kernel takes one. */
static void unpark(struct parked *p, struct slot *slot)
{
	session_copy(slot, p->data, p->len);
	atomic_store_explicit(&p->len, 0, memory_order_release);
}

void session_lose(const struct session *s, const struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;

	if (in->opcode == FUSE_WRITE)
		s->config.lost(s->config.userdata, in, slot->len);
}

/* Gives the request in a slot to the lane that it wants, as current says. With the lock. PARKING_REFUSED: its answer is sent, or waits. */
static enum parking defer_locked(struct session *s, struct slot *slot, bool resent)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	const uint64_t neighbour = whose_it_is(s, in, slot->len);
	const enum lane lane = lanes_of(in, slot->len, current.wants, s->config.known(s->config.userdata, neighbour));
	uint64_t lost;
	const enum parking parking = lanes_put(s->lanes, (uint32_t)(slot - s->config.shared->slots), resent, lane, neighbour, &lost);

	if (lost)
		answer(s, lost, -EAGAIN, NULL, 0);
	if (parking == PARKING_REFUSED) {
		session_lose(s, slot);
		if (!refuse_later(s, in, slot->len, -EAGAIN, 0, false))
			answer(s, in->unique, -EAGAIN, NULL, 0);
	} else {
		pthread_cond_signal(&s->work[lane]);
		if (lane == LANE_ASK_KNOWN)
			pthread_cond_signal(&s->work[LANE_ASK]);
	}
	return parking;
}

/* The root of a container that asks for more than it gets is not to use up what is root's until its threads were looked at. With the lock, which is let go of meanwhile. */
static void look_closer(struct session *s, const struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;

	if (!in->pid || whose_it_is(s, in, slot->len) != NEIGHBOUR_ROOT || !lanes_crowded(s->lanes, NEIGHBOUR_ROOT))
		return;
	pthread_mutex_unlock(&s->lock);
	request_is_of(s->config.container(s->config.userdata, in));
	pthread_mutex_lock(&s->lock);
}

/* From the hot thread. False: the slot goes along. */
static bool defer(struct session *s, struct slot *slot)
{
	pthread_mutex_lock(&s->lock);
	if (!current.neighbour_known)
		look_closer(s, slot);
	const enum parking parking = defer_locked(s, slot, current.resent);
	pthread_mutex_unlock(&s->lock);
	if (parking == PARKING_NONE)
		return false;
	session_finish(slot);
	return true;
}

void session_free_slot(struct session *s, uint32_t number)
{
	s->free_slots[s->n_free++] = (uint8_t)number;
	pthread_cond_signal(&s->slot_free);
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
		slot_is_free = defer_locked(s, slot, current.resent) != PARKING_NONE;	/* one that was parked finds the place that it has left */
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
		pthread_cond_signal(&s->quiet);		/* there is room for the next one */
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
		if (entry < 0)	/* what waits still is of a neighbour that has its share: its threads come back for it */
			break;
		s->n_busy++;
		pthread_mutex_unlock(&s->lock);
		run_entry(t, (lane_entry)entry, suspect);	/* comes back with the lock */
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

void session_wake_all(struct session *s)
{
	for (int i = 0; i < LANES; i++)
		pthread_cond_broadcast(&s->work[i]);
}

static uint8_t take_slot(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->n_free)		/* every thread is busy; each of them has a deadline */
		pthread_cond_wait(&s->slot_free, &s->lock);
	uint8_t i = s->free_slots[--s->n_free];
	pthread_mutex_unlock(&s->lock);
	return i;
}

/* ---- the loop ---- */

long session_read(const struct session *s, struct slot *slot)
{
	const long n = syscall(SYS_read, s->config.fuse_fd, slot->data, sizeof slot->data);

	if (n >= (long)sizeof(struct fuse_in_header))
		atomic_store_explicit(&slot->len, (uint32_t)n, memory_order_release);
	return n < 0 ? -errno : n;
}

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
	return n == -EINTR || n == -ENOENT ? -EAGAIN : (int)n;	/* ENOENT: the caller was killed before we read */
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
	return r == -ENODEV || r == -EAGAIN ? 0 : r;	/* ENODEV: unmounted, or aborted */
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
			*t = (struct pool_thread){ .session = s, .lane = lane, .own = &s->config.shared->slots[s->n_threads] };
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
