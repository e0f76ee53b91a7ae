/* What a worker does with the requests that one before it died on; and how those that wait for the bell get on while
 * one of them is done alone. */
#include "fs/fuse/session_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "store/crypto/secbuf.h"

#define ALONE_NS INT64_C(250000000) /* how long a suspect is waited for */
#define BELL_MS  2                  /* between two looks whether others still wait for the bell */
#define END_MS   2000               /* how long they are helped by a worker that is to end */

/* A request of a pool thread waits for the bell: it is under no suspicion meanwhile. */
void successor_wait_begins(void)
{
	const struct request *r = request_current();
	struct session *s = r->session;
	struct unanswered *u = &s->config.shared->unanswered;

	unanswered_wait(u, request_unique());
	unanswered_end(u, (uint32_t)(r->slot - s->config.shared->slots));
	pthread_mutex_lock(&s->lock);
	s->n_waits++;
	pthread_cond_signal(&s->quiet);
	pthread_mutex_unlock(&s->lock);
}

void successor_wait_ends(void)
{
	const struct request *r = request_current();
	struct session *s = r->session;
	struct unanswered *u = &s->config.shared->unanswered;

	unanswered_begin(u, (uint32_t)(r->slot - s->config.shared->slots), request_unique());
	unanswered_waits_no_more(u, request_unique());
	pthread_mutex_lock(&s->lock);
	s->n_waits--;
	pthread_mutex_unlock(&s->lock);
}

bool successor_is_suspect(struct session *s, const struct fuse_in_header *in)
{
	return suspects_deaths(&s->config.shared->suspects, in->unique & ~RESEND_BIT) > 0;
}

static void give_up(struct session *s, struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	*request_current() = (struct request){ .header = in, .session = s, .slot = slot };
	const uint32_t delay_ms = s->config.given_up(s->config.userdata, in);
	session_lose(s, slot);
	if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET) /* these have no answer */
		request_refuse(-EIO, delay_ms);
}

/* A free one in which nothing was left; -1: there is none. With the lock. */
static int take_clean_slot(struct session *s)
{
	for (size_t k = s->n_free; k-- > 0;) {
		const uint8_t i = s->free_slots[k];
		if (((const struct fuse_in_header *)(const void *)s->config.shared->slots[i].data)->len)
			continue;
		s->free_slots[k] = s->free_slots[--s->n_free];
		return i;
	}
	return -1;
}

/* What the bell asks, and look-ups, for it may want the lock of their directory: these take nothing that anybody waits
 * for. */
static bool answer_at_once(struct session *s, struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;
	const bool suspect = (in->unique & RESEND_BIT) && successor_is_suspect(s, in),
		   of_bell = s->config.bell(s->config.userdata, in);

	if ((!of_bell && in->opcode != FUSE_LOOKUP) || (suspect && !of_bell) ||
	    suspects_deaths(&s->config.shared->suspects, in->unique & ~RESEND_BIT) >= SUSPECT_GUILTY ||
	    !session_process(s, slot, WAITS_FOR_NOTHING, false))
		return false;
	if (suspect)
		suspects_clear(&s->config.shared->suspects, in->unique & ~RESEND_BIT);
	session_finish(slot);
	return true;
}

/* While somebody waits for the bell: what the bell asks is answered, and what else comes meanwhile is kept. The hot
 * thread's; with the lock, which is let go of. False: nothing can be read. */
static bool read_for_bell(struct session *s)
{
	struct pollfd p = { .fd = s->config.fuse_fd, .events = POLLIN };
	const int i = s->n_later < LATER ? take_clean_slot(s) : -1;
	bool kept = false;

	if (i < 0)
		return false;
	struct slot *slot = &s->config.shared->slots[i];
	pthread_mutex_unlock(&s->lock);
	const bool there = poll(&p, 1, BELL_MS) == 1;
	long n = 0;
	if (there && p.revents == POLLIN) {
		n = session_read(s, slot);
		kept = n >= (long)sizeof(struct fuse_in_header) && !answer_at_once(s, slot);
	}
	pthread_mutex_lock(&s->lock);
	if (kept)
		s->later[s->n_later++] = (uint8_t)i;
	else
		session_free_slot(s, (uint32_t)i);
	return !there || (p.revents == POLLIN && n != -ENODEV);
}

static struct timespec from_now(int64_t ns)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (t.tv_nsec + ns) / 1000000000;
	t.tv_nsec = (t.tv_nsec + ns) % 1000000000;
	return t;
}

static bool before(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec < t->tv_sec || (now.tv_sec == t->tv_sec && now.tv_nsec < t->tv_nsec);
}

/* Until no other works, or has for so long that it is waited for no more: it may wait for a program, or for the key
 * holder. */
static void wait_quiet(struct session *s)
{
	const struct timespec until = from_now(ALONE_NS);

	while (s->n_busy > s->n_given_up || s->alone_entry >= 0) {
		if (s->n_waits && before(&until) && read_for_bell(s))
			continue;
		if (pthread_cond_timedwait(&s->quiet, &s->lock, &until)) {
			s->n_given_up = s->n_busy;
			return;
		}
	}
}

/* Alone, so that there is no doubt which request it was if this worker dies too: a pool thread does it, and the hot
 * thread reads nothing meanwhile. Whatever kills a worker does it soon: one that takes longer must not keep everybody
 * waiting. True: the slot went with it. */
bool successor_run_alone(struct session *s, uint8_t i)
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
	while (s->alone_entry >= 0) /* each thread has a deadline */
		pthread_cond_wait(&s->quiet, &s->lock);
	s->alone_entry = (int)(PARKED + i);
	session_wake_all(s);
	wait_quiet(s);
	s->alone = false;
	session_wake_all(s);
	pthread_mutex_unlock(&s->lock);
	return true;
}

/* The kernel is told that this request cannot be interrupted, with an error of which nothing comes: it finds the
 * request, or has had its answer. */
#define INTERRUPT_BIT 1u /* FUSE_INT_REQ_BIT */

/* Of those that are left: the worker before us may have sent the answer, and died before it noted that. What its caller
 * did since then, and others, must not be met by the request once more: a file that is made again under a name that was
 * renamed, an open that nobody closes. */
static bool is_to_replay(struct session *s, const struct fuse_in_header *in)
{
	const struct fuse_out_header question = { .len = sizeof question, .unique = in->unique | INTERRUPT_BIT };

	for (size_t i = 0; i < s->n_replayed; i++)
		if (s->replayed[i] == in->unique) /* in two places, for that worker was copying it */
			return false;
	/* a RELEASE is answered first */
	if (in->opcode != FUSE_RELEASE && session_send(s, &question, sizeof question) == -ENOENT)
		return false;
	if (s->n_replayed < SLOTS)
		s->replayed[s->n_replayed++] = in->unique;
	return true;
}

/* Neither what was written stays here, nor an answer that the dead worker had made and this one refused. */
static void drop_left(struct slot *slot)
{
	secmem_wipe(slot->data, sizeof slot->data);
	slot->len = 0;
}

/* As it would come from the kernel, but that nobody else sends it again. Returns the slot that went with it, -1: none.
 */
static int run_leftover(struct session *s, struct slot *left)
{
	pthread_mutex_lock(&s->lock);
	const int i = take_clean_slot(s);
	pthread_mutex_unlock(&s->lock);

	if (i < 0) {
		session_process(s, left, WAITS_FOR_ALL, true);
		drop_left(left);
		return -1;
	}
	struct slot *slot = &s->config.shared->slots[i];
	session_copy(slot, left->data, left->len);
	drop_left(left); /* first, for it may be read into meanwhile */
	if (successor_run_alone(s, (uint8_t)i))
		return i;
	session_finish(slot);
	pthread_mutex_lock(&s->lock);
	session_free_slot(s, (uint32_t)i);
	pthread_mutex_unlock(&s->lock);
	return -1;
}

static bool is_kept(const struct session *s, uint8_t number) { return memchr(s->later, number, s->n_later) != NULL; }

/* Those that others may wait for, the bell for one: these first. */
static bool is_waited_for(const struct session *s, const struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;

	return in->len >= sizeof *in && (in->opcode == FUSE_LOOKUP || s->config.bell(s->config.userdata, in));
}

/* Returns the slot that went with what was left in this one, -1: none. */
static int run_left(struct session *s, struct slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->data;

	/* the length that the kernel itself wrote: who is killed on the way out of read(2) has stored none of his own
	 */
	slot->len = in->len;
	if (slot->len && !s->config.shared->keeper.resend && slot->len >= sizeof *in &&
	    slot->len <= sizeof slot->data && is_to_replay(s, in))
		return run_leftover(s, slot);
	if (slot->len) /* the kernel sends it again, or need not */
		drop_left(slot);
	return -1;
}

static void run_leftovers(struct session *s)
{
	bool taken[SLOTS] = { false }; /* with another's request, which may still be worked on */

	for (uint32_t n = 0; n < 2 * SLOTS; n++) {
		const uint8_t i = (uint8_t)(n % SLOTS);
		struct slot *slot = &s->config.shared->slots[i];
		if (taken[i] || is_kept(s, i) || (n < SLOTS && !is_waited_for(s, slot)))
			continue;
		const int went = run_left(s, slot);
		if (went >= 0)
			taken[went] = true;
	}
}

/* Those that waited for a thread when the worker before us died. */
static void run_parked(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < PARKED; i++) {
		struct parked *p = &s->config.shared->parked[i];
		const struct fuse_in_header *in = (const void *)p->data;
		if (!s->config.shared->keeper.resend && p->len >= sizeof *in && p->len <= sizeof p->data &&
		    is_to_replay(s, in)) {
			p->resent = 1; /* another worker may have begun it */
			lanes_put_left(s->lanes, i, lanes_of(in, p->len, WAITS_FOR_RESOLVER, false),
				       s->config.neighbour(s->config.userdata, in, p->len));
			continue;
		}
		if (p->len)
			p->len = 0; /* the kernel sends it again */
		lanes_put_free(s->lanes, i);
	}
	session_wake_all(s);
	pthread_mutex_unlock(&s->lock);
}

/* Whoever waits for the bell while this worker is asked to end would wait in vain. What else comes is the next
 * worker's. */
void successor_help_those_who_wait(struct session *s)
{
	const struct timespec until = from_now(END_MS * INT64_C(1000000));

	pthread_mutex_lock(&s->lock);
	while (s->n_waits && before(&until) && read_for_bell(s))
		;
	pthread_mutex_unlock(&s->lock);
}

void successor_run_left(struct session *s)
{
	run_leftovers(s);
	run_parked(s);
}
