/* One request: who asks, its slot, its answer. */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
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

/* delayed answers that are sent between two looks at who else wants the lock */
#define SEND_BATCH 64u

static __thread struct request current;

struct request *request_current(void) { return &current; }

struct call request_call(void)
{
	const struct fuse_in_header *in = current.header;

	return (struct call){ .uid = in->uid,
			      .gid = in->gid,
			      .tid = (pid_t)in->pid,
			      .patience = current.patience,
			      .unique = request_unique(),
			      .resent = current.resent,
			      .began = clock_wall() };
}

uint64_t request_unique(void) { return current.header->unique & ~RESEND_BIT; }

void request_defer_hot(enum patience wants)
{
	current.deferred = true;
	current.wants = wants;
}

void request_defer(fuse_req_t req, enum patience wants)
{
	request_defer_hot(wants);
	fuse_reply_none(req); /* frees it and sends nothing */
}

/* Straight system calls: libc's are cancellation points, which cost more than they do here, and no thread of ours is
 * ever cancelled. */
int session_send(const struct session *s, const void *answer, size_t len)
{
	return syscall(SYS_write, s->config.fuse_fd, answer, len) < 0 ? -errno : 0;
}

/* The kernel pins each piece of an answer by itself: one piece is cheaper than two. */
#define SMALL_ANSWER 128u

int request_answer(const struct session *s, uint64_t unique, int error, const void *body, size_t len)
{
	struct {
		struct fuse_out_header out;
		uint8_t body[SMALL_ANSWER];
	} small = {
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
	return request_answer(current.session, current.header->unique, error, body, len);
}

uint64_t request_neighbour(const struct session *s, const struct fuse_in_header *in, size_t len)
{
	return current.neighbour_known ? current.neighbour : s->config.neighbour(s->config.userdata, in, len);
}

/* Sends a refusal, or has it wait: only where the kernel can send the request again, should this worker die meanwhile,
 * and where others do not wait for a lock until then. What was recorded is known as unanswered. With the lock. True: it
 * waits. */
bool request_refuse_later(struct session *s, const struct fuse_in_header *in, size_t len, int error, uint32_t delay_ms,
			  bool recorded)
{
	if (!s->config.shared->keeper.resend || lanes_locked(in, len))
		return false;
	const uint64_t neighbour = request_neighbour(s, in, len);
	const int64_t now = clock_ms();
	const uint32_t brake = delayed_brake(s->delayed, neighbour, now);
	if (brake > delay_ms)
		delay_ms = brake;
	const struct delayed_answer a = {
		.unique = in->unique, .neighbour = neighbour, .error = error, .due_ms = now + delay_ms
	};
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
	current.waits = request_refuse_later(s, current.header, current.slot->len, error, delay_ms, true);
	pthread_mutex_unlock(&s->lock);
	if (!current.waits)
		request_reply(error, NULL, 0);
}

/* Where in a slot an answer may lie: behind any request that has one with a value; its header stands before it, at the
 * beginning of a page. */
#define ANSWER_OFFSET 4096u
_Static_assert((offsetof(struct slot, data) + ANSWER_OFFSET - sizeof(struct fuse_out_header)) % 4096 == 0,
	       "an answer and its header lie in as few pages as they can");
_Static_assert(ANSWER_OFFSET + FUSE_MAX_WRITE <= sizeof((struct slot *)0)->data,
	       "an answer of the largest READ fits in a slot");

void *request_room(void) { return current.slot->data + ANSWER_OFFSET; }

void request_reply_secret(const void *data, size_t len)
{
	void *room = request_room();
	if (len > FUSE_MAX_WRITE)
		len = FUSE_MAX_WRITE; /* the kernel never asks for more */
	if (data != room && (secmem_kind() == SECMEM_MEMFD_SECRET || len <= SMALL_ANSWER)) { /* nor on the stack */
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
			request_answer(s, due[i].unique, due[i].error, NULL, 0);
			unanswered_waits_no_more(&s->config.shared->unanswered, due[i].unique & ~RESEND_BIT);
		}
	} while (n == SEND_BATCH);
	return (int)next;
}

/* libfuse answered it as a GETATTR. */
ssize_t request_answer_statx(const struct fuse_out_header *out, const struct fuse_attr_out *attr)
{
	struct statx_out more;

	statx_answer(attr, current.born, &more);
	const int r = request_answer(current.session, out->unique, 0, &more, sizeof more);
	errno = -r;
	return r ? -1 : (ssize_t)out->len;
}

/* INTERRUPT is refused once, and the kernel sends it no more: a waiting caller is killed by the kernel without our
 * help. */
static bool answer_interrupt(const struct session *s, const struct fuse_in_header *in)
{
	if (in->opcode != FUSE_INTERRUPT)
		return false;
	request_answer(s, in->unique, -ENOSYS, NULL, 0);
	return true;
}

/* Runs the handler. True: answered (or none is due); false: it wants a thread that may wait for more, as current says.
 */
bool session_process(struct session *s, struct slot *slot, enum patience patience, bool resent)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	struct unanswered *unanswered = &s->config.shared->unanswered;
	const uint32_t number = (uint32_t)(slot - s->config.shared->slots);
	current = (struct request){ .header = in,
				    .session = s,
				    .slot = slot,
				    .patience = patience,
				    .resent = resent || (in->unique & RESEND_BIT),
				    .born = INT64_MIN };
	unanswered_begin(unanswered, number, request_unique());
	TEST_POINT("before", in->opcode);
	if (!s->config.hot(s->config.userdata, in, slot->len) && !answer_interrupt(s, in)) {
		_Alignas(8) uint8_t copy[sizeof *in + sizeof(struct fuse_setattr_in)];
		struct fuse_buf buf = { .size = slot->len, .mem = slot->data };
		/* libfuse clears FATTR_FH in the request itself: a handler that comes back to it, or the next worker,
		 * must find the handle still */
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
	*(volatile uint32_t *)&in->len = 0; /* see run_leftovers */
	atomic_store_explicit(&slot->len, 0, memory_order_release);
}

/* Into a slot that is free. Whoever is killed in the middle of it leaves no half of a request, for one without a length
 * is none (run_leftovers). */
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

void session_lose(const struct session *s, const struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;

	if (in->opcode == FUSE_WRITE)
		s->config.lost(s->config.userdata, in, slot->len);
}

void session_free_slot(struct session *s, uint32_t number)
{
	s->free_slots[s->n_free++] = (uint8_t)number;
	pthread_cond_signal(&s->slot_free);
}

void session_wake_all(struct session *s)
{
	for (int i = 0; i < LANES; i++)
		pthread_cond_broadcast(&s->work[i]);
}

long session_read(const struct session *s, struct slot *slot)
{
	const long n = syscall(SYS_read, s->config.fuse_fd, slot->data, sizeof slot->data);

	if (n >= (long)sizeof(struct fuse_in_header))
		atomic_store_explicit(&slot->len, (uint32_t)n, memory_order_release);
	return n < 0 ? -errno : n;
}
