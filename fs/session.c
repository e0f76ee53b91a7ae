#include "fs/session.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fs/log.h"
#include "fs/test_hook.h"
#include "fs/turns.h"
#include "store/secbuf.h"

#define INIT_UNIQUE ((uint64_t)1 << 62)		/* the kernel's are small and even */
#define RESEND_BIT  ((uint64_t)1 << 63)		/* FUSE_UNIQUE_RESEND */
#define THREADS     8			/* the first slots are theirs */
#define SHARE       (THREADS / 2)	/* of one uid */
#define WRITES_PER_UID 40		/* that hold a slot */
#define WRITES_RESERVE 2		/* slots that only root's may have */
#define ALONE_NS    INT64_C(250000000)	/* how long a suspect is waited for */
#define STACK_SIZE  (256u * 1024)		/* locked default stacks would cost 12 ms at each restart */

#define DELAYED_MAX 256			/* refusals kept waiting; beyond that they go at once */

struct delayed { uint64_t unique; int error; int64_t due_ms; };

struct session {
	struct session_config config;
	struct fuse_session *fuse;
	bool init_seen;
	pthread_mutex_t lock;
	pthread_cond_t work, slot_free, quiet;
	size_t n_busy;			/* pool threads within a handler … */
	size_t n_given_up;		/* … of which so many were waited for in vain */
	bool alone;			/* the hot thread wants no other to be */
	int alone_entry;		/* but one, on this; -1: taken, or none */
	uint8_t free_slots[SLOTS];
	size_t n_free;
	uint32_t writers[SLOTS];	/* whose WRITE waits in the slot, or is run from it */
	bool held[SLOTS];
	uint16_t free_parked[PARKED];
	size_t n_free_parked;
	struct turns *turns;		/* of entries: parked requests, and behind those slots */
	bool ending;
	pthread_t threads[THREADS];
	size_t n_threads, n_started;
	struct delayed delayed[DELAYED_MAX];
	size_t n_delayed;
};

static __thread struct request current;

struct request *request_current(void) { return &current; }

uint64_t request_unique(void)
{
	return current.header->unique & ~RESEND_BIT;
}

void request_defer(fuse_req_t req)
{
	current.deferred = true;
	fuse_reply_none(req);		/* frees it and sends nothing */
}

void request_defer_hot(void)
{
	current.deferred = true;
}

/* Straight system calls: libc's are cancellation points, which cost more than they do here, and no thread of ours is ever cancelled. */
static int send_answer(const struct session *s, const void *answer, size_t len)
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
		return send_answer(s, &small, sizeof small.out + len);
	}
	const struct iovec iov[2] = { { &small.out, sizeof small.out }, { (void *)(uintptr_t)body, len } };
	return syscall(SYS_writev, s->config.fuse_fd, iov, 2) < 0 ? -errno : 0;
}

int request_reply(int error, const void *body, size_t len)
{
	return answer(current.session, current.header->unique, error, body, len);
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The slot is free again before the answer goes: only where the kernel can send the request again, should this worker die meanwhile. */
void request_refuse(int error, uint32_t delay_ms)
{
	struct session *s = current.session;
	bool kept = false;

	if (delay_ms && s->config.shared->keeper.resend) {
		pthread_mutex_lock(&s->lock);
		if (s->n_delayed < DELAYED_MAX) {
			s->delayed[s->n_delayed++] = (struct delayed){ current.header->unique, error, now_ms() + delay_ms };
			unanswered_wait(&s->config.shared->unanswered, request_unique());
			kept = current.waits = true;
		}
		pthread_mutex_unlock(&s->lock);
	}
	if (!kept)
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
	send_answer(current.session, out, out->len);
}

int session_send_delayed(struct session *s)
{
	const int64_t now = now_ms();
	int64_t next = -1;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n_delayed;) {
		struct delayed d = s->delayed[i];
		if (d.due_ms > now) {
			if (next < 0 || d.due_ms - now < next)
				next = d.due_ms - now;
			i++;
			continue;
		}
		s->delayed[i] = s->delayed[--s->n_delayed];
		answer(s, d.unique, d.error, NULL, 0);
		unanswered_waits_no_more(&s->config.shared->unanswered, d.unique & ~RESEND_BIT);
	}
	pthread_mutex_unlock(&s->lock);
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

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *out = iov[0].iov_base;
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

/* Runs the handler. True: answered (or none is due); false: it wants a thread that may block. */
static bool process(struct session *s, struct slot *slot, bool may_block, bool resent)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	struct unanswered *unanswered = &s->config.shared->unanswered;
	const uint32_t number = (uint32_t)(slot - s->config.shared->slots);
	current = (struct request){ .header = in, .session = s, .slot = slot, .may_block = may_block, .resent = resent || (in->unique & RESEND_BIT) };
	unanswered_begin(unanswered, number, request_unique());
	TEST_POINT("before", in->opcode);
	if (!s->config.hot(s->config.userdata, in, slot->len) && !answer_interrupt(s, in)) {
		_Alignas(8) uint8_t copy[sizeof *in + sizeof(struct fuse_setattr_in)];
		struct fuse_buf buf = { .size = slot->len, .mem = slot->data };
		/* libfuse clears FATTR_FH in the request itself: a handler that comes back to it, or the next worker, must find the handle still */
		if (in->opcode == FUSE_SETATTR && slot->len <= sizeof copy)
			buf.mem = memcpy(copy, slot->data, slot->len);
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
	current = (struct request){ .session = s };
	return done;
}

/* After the answer: nothing of what was written stays, and no later worker sees the request. */
static void finish(struct slot *slot)
{
	struct fuse_in_header *in = (void *)slot->data;
	if (in->opcode == FUSE_WRITE)
		secmem_wipe(slot->data + sizeof *in, slot->len - sizeof *in);
	*(volatile uint32_t *)&in->len = 0;	/* see run_leftovers */
	atomic_store_explicit(&slot->len, 0, memory_order_release);
}

/* Killed in between, the request lies in both places: where they are replayed, it is answered twice, of which the kernel takes one. */
static void unpark(struct parked *p, struct slot *slot)
{
	const uint32_t len = p->len;

	memcpy(slot->data, p->data, len);
	atomic_store_explicit(&slot->len, len, memory_order_release);
	atomic_store_explicit(&p->len, 0, memory_order_release);
}

/* Runs what entry stands for, in its own slot or in the thread's. */
static void run_entry(struct session *s, uint32_t entry, struct slot *own, bool resent)
{
	struct slot *slot = entry < PARKED ? own : &s->config.shared->slots[entry - PARKED];

	if (entry < PARKED) {
		resent = s->config.shared->parked[entry].resent;
		unpark(&s->config.shared->parked[entry], slot);
	}
	const uint64_t unique = ((const struct fuse_in_header *)(const void *)slot->data)->unique & ~RESEND_BIT;
	process(s, slot, true, resent);
	if (resent)
		suspects_clear(&s->config.shared->suspects, unique);
	finish(slot);
}

static void give_back(struct session *s, uint32_t entry)
{
	if (entry < PARKED) {
		s->free_parked[s->n_free_parked++] = (uint16_t)entry;
		return;
	}
	s->held[entry - PARKED] = false;
	s->free_slots[s->n_free++] = (uint8_t)(entry - PARKED);
	pthread_cond_signal(&s->slot_free);
}

/* What comes next, -1: nothing. A suspect before all others; it is in nobody's turn. */
static int64_t next_entry(struct session *s, uint32_t *ret_uid, bool *ret_suspect)
{
	const int suspect = s->alone_entry;

	*ret_suspect = suspect >= 0;
	s->alone_entry = -1;
	if (suspect >= 0) {
		pthread_cond_signal(&s->quiet);		/* there is room for the next one */
		return suspect;
	}
	return s->alone ? -1 : turns_take(s->turns, ret_uid);
}

static void *pool_thread(void *arg)
{
	struct session *s = arg;
	uint32_t uid = 0;
	int64_t entry;
	bool suspect;

	pthread_mutex_lock(&s->lock);
	struct slot *own = &s->config.shared->slots[s->n_started++];
	for (;;) {
		while ((entry = next_entry(s, &uid, &suspect)) < 0 && !s->ending)
			pthread_cond_wait(&s->work, &s->lock);
		if (entry < 0)	/* what waits still is of a uid that has its share: its threads come back for it */
			break;
		s->n_busy++;
		pthread_mutex_unlock(&s->lock);
		run_entry(s, (uint32_t)entry, own, suspect);
		pthread_mutex_lock(&s->lock);
		s->n_busy--;
		if (s->n_given_up > s->n_busy)
			s->n_given_up = s->n_busy;
		pthread_cond_signal(&s->quiet);
		if (!suspect)
			turns_done(s->turns, uid);
		give_back(s, (uint32_t)entry);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static uint32_t owner_of(const struct session *s, const void *request, size_t len)
{
	return s->config.owner(s->config.userdata, request, len);
}

static void enqueue(struct session *s, uint32_t entry, uint32_t uid)
{
	turns_wait(s->turns, entry, uid);
	pthread_cond_signal(&s->work);
}

enum parking { PARKING_NONE, PARKING_DONE, PARKING_REFUSED };

/* Slots are few. Those of whoever writes many files at once must not be all: the hot thread would have none to read the next request into, whoever's it is. */
static bool may_hold(const struct session *s, uint32_t uid)
{
	size_t n = 0;

	for (size_t i = 0; i < SLOTS; i++)
		n += s->held[i] && s->writers[i] == uid;
	return uid == 0 || (n < WRITES_PER_UID && s->n_free > WRITES_RESERVE);
}

/* Copies a request that has to wait out of its slot. A RELEASE is never refused: nobody would send it again. */
static enum parking park(struct session *s, const struct slot *slot, uint32_t uid)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	const bool must = in->opcode == FUSE_RELEASE;

	if (in->opcode == FUSE_WRITE)
		return may_hold(s, uid) ? PARKING_NONE : PARKING_REFUSED;
	if (slot->len > sizeof s->config.shared->parked[0].data)
		return PARKING_NONE;
	if (!must && (turns_waiting(s->turns, uid) >= PARKED_PER_UID || s->n_free_parked <= (uid ? PARKED_RESERVE : 0)))
		return PARKING_REFUSED;
	if (!s->n_free_parked)
		return PARKING_NONE;
	const uint16_t i = s->free_parked[--s->n_free_parked];
	struct parked *p = &s->config.shared->parked[i];
	memcpy(p->data, slot->data, slot->len);
	p->resent = 0;
	atomic_store_explicit(&p->len, slot->len, memory_order_release);
	enqueue(s, i, uid);
	return PARKING_DONE;
}

static void lose(const struct session *s, const struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;

	if (in->opcode == FUSE_WRITE)
		s->config.lost(s->config.userdata, in, slot->len);
}

/* Gives a request to the pool. False: its slot goes along. */
static bool defer(struct session *s, uint8_t i)
{
	struct slot *slot = &s->config.shared->slots[i];
	const struct fuse_in_header *in = (const void *)slot->data;
	const uint32_t uid = owner_of(s, in, slot->len);

	pthread_mutex_lock(&s->lock);
	enum parking parking = park(s, slot, uid);
	if (parking == PARKING_NONE) {
		s->held[i] = in->opcode == FUSE_WRITE;
		s->writers[i] = uid;
		enqueue(s, PARKED + i, uid);
	}
	pthread_mutex_unlock(&s->lock);
	if (parking == PARKING_NONE)
		return false;
	if (parking == PARKING_REFUSED) {
		lose(s, slot);
		answer(s, in->unique, -EAGAIN, NULL, 0);
	}
	finish(slot);
	return true;
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

/* ---- requests that a worker died on ---- */

static bool is_suspect(struct session *s, const struct fuse_in_header *in)
{
	return suspects_deaths(&s->config.shared->suspects, in->unique & ~RESEND_BIT) > 0;
}

static void give_up(struct session *s, struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	current = (struct request){ .header = in, .session = s, .slot = slot };
	const uint32_t delay_ms = s->config.given_up(s->config.userdata, in);
	lose(s, slot);
	if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET)	/* these have no answer */
		request_refuse(-EIO, delay_ms);
	current = (struct request){ .session = s };
}

/* Until no other works, or has for so long that it is waited for no more: it may wait for a program, or for the key holder. */
static void wait_quiet(struct session *s)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (until.tv_nsec + ALONE_NS) / 1000000000;
	until.tv_nsec = (until.tv_nsec + ALONE_NS) % 1000000000;
	while (s->n_busy > s->n_given_up || s->alone_entry >= 0)
		if (pthread_cond_timedwait(&s->quiet, &s->lock, &until)) {
			s->n_given_up = s->n_busy;
			return;
		}
}

/* Alone, so that there is no doubt which request it was if this worker dies too: a pool thread does it, and the hot thread reads nothing meanwhile. Whatever kills a worker does it soon: one that takes longer
 * must not keep everybody waiting. True: the slot went with it. */
static bool run_alone(struct session *s, uint8_t i)
{
	struct slot *slot = &s->config.shared->slots[i];
	const uint64_t unique = ((const struct fuse_in_header *)(const void *)slot->data)->unique & ~RESEND_BIT;

	/* guilty ones stay in the table: until the answer is sent, they may come again */
	if (suspects_deaths(&s->config.shared->suspects, unique) >= SUSPECT_GUILTY) {
		give_up(s, slot);
		return false;
	}
	pthread_mutex_lock(&s->lock);
	s->alone = true;
	wait_quiet(s);
	while (s->alone_entry >= 0)	/* each thread has a deadline */
		pthread_cond_wait(&s->quiet, &s->lock);
	s->alone_entry = (int)(PARKED + i);
	pthread_cond_broadcast(&s->work);
	wait_quiet(s);
	s->alone = false;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	return true;
}

/* ---- the loop ---- */

/* A free one in which nothing was left; -1: there is none. */
static int take_clean_slot(struct session *s)
{
	int found = -1;

	pthread_mutex_lock(&s->lock);
	for (size_t k = s->n_free; found < 0 && k-- > 0;)
		if (!((const struct fuse_in_header *)(const void *)s->config.shared->slots[s->free_slots[k]].data)->len) {
			found = s->free_slots[k];
			s->free_slots[k] = s->free_slots[--s->n_free];
		}
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* As it would come from the kernel, but that nobody else sends it again. Killed in between, it lies in both places, as in unpark. Returns the slot that went with it, -1: none. */
static int run_leftover(struct session *s, struct slot *left)
{
	const int i = take_clean_slot(s);

	if (i < 0) {
		process(s, left, true, true);
		return -1;
	}
	struct slot *slot = &s->config.shared->slots[i];
	memcpy(slot->data, left->data, left->len);
	atomic_store_explicit(&slot->len, left->len, memory_order_release);
	if (run_alone(s, (uint8_t)i))
		return i;
	finish(slot);
	pthread_mutex_lock(&s->lock);
	s->free_slots[s->n_free++] = (uint8_t)i;
	pthread_mutex_unlock(&s->lock);
	return -1;
}

static void run_leftovers(struct session *s)
{
	bool taken[SLOTS] = { false };

	for (uint8_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &s->config.shared->slots[i];
		struct fuse_in_header *in = (void *)slot->data;
		int went = -1;

		if (taken[i])		/* with another's request, which may still be worked on */
			continue;
		/* the length that the kernel itself wrote: who is killed on the way out of read(2) has stored none of his own */
		slot->len = in->len;
		if (!slot->len)
			continue;
		if (!s->config.shared->keeper.resend && slot->len >= sizeof *in && slot->len <= sizeof slot->data)
			went = run_leftover(s, slot);
		if (went >= 0)
			taken[went] = true;
		/* else the kernel sends it again. In either case neither what was written stays here, nor an answer that the dead worker had made and this one refused */
		secmem_wipe(slot->data, sizeof slot->data);
		slot->len = 0;
	}
}

/* Those that waited for a thread when the worker before us died. */
static void run_parked(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < PARKED; i++) {
		struct parked *p = &s->config.shared->parked[i];
		if (!s->config.shared->keeper.resend && p->len >= sizeof(struct fuse_in_header) && p->len <= sizeof p->data) {
			p->resent = 1;	/* another worker may have begun it */
			enqueue(s, i, owner_of(s, (const void *)p->data, p->len));
			continue;
		}
		if (p->len)
			p->len = 0;	/* the kernel sends it again */
		s->free_parked[s->n_free_parked++] = (uint16_t)i;
	}
	pthread_mutex_unlock(&s->lock);
}

int session_run(struct session *s)
{
	int r = 0;
	run_leftovers(s);
	run_parked(s);
	uint8_t i = take_slot(s);
	while (!*s->config.stop) {
		struct slot *slot = &s->config.shared->slots[i];
		long n = syscall(SYS_read, s->config.fuse_fd, slot->data, sizeof slot->data);
		if (n < 0) {
			if (errno == EINTR || errno == EAGAIN || errno == ENOENT)	/* ENOENT: the caller was killed before we read */
				continue;
			r = errno == ENODEV ? 0 : -errno;				/* ENODEV: unmounted, or aborted */
			break;
		}
		if ((size_t)n < sizeof(struct fuse_in_header))
			continue;
		atomic_store_explicit(&slot->len, (uint32_t)n, memory_order_release);
		const struct fuse_in_header *in = (const void *)slot->data;
		if ((in->unique & RESEND_BIT) && is_suspect(s, in)) {
			if (run_alone(s, i))
				i = take_slot(s);
			else
				finish(slot);
		} else if (process(s, slot, false, false)) {
			finish(slot);
		} else if (!defer(s, i)) {
			i = take_slot(s);
		}
	}
	return r;
}

static int start_threads(struct session *s)
{
	pthread_attr_t attr;
	int r = 0;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	while (s->n_threads < THREADS && !r)
		r = -pthread_create(&s->threads[s->n_threads], &attr, pool_thread, s) ?: (s->n_threads++, 0);
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
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->slot_free, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->quiet, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s->alone_entry = -1;
	for (uint8_t i = THREADS; i < SLOTS; i++)
		s->free_slots[s->n_free++] = i;
	s->fuse = fuse_session_new(&args, config->ops, sizeof *config->ops, config->userdata);
	r = s->fuse ? turns_new(PARKED + SLOTS, THREADS, SHARE, &s->turns) : -ENOMEM;
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
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < s->n_threads; i++)
		pthread_join(s->threads[i], NULL);
	s->n_threads = 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	session_end(s);
	if (s->fuse)
		fuse_session_destroy(s->fuse);
	turns_free(s->turns);
	free(s);
}
