/* Asking the resolver: threads ask side by side, so that it answers all that have come while it slept, and one of those
 * who wait receives for the others. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/caller/resolver.h"
#include "store/crypto/aead.h"

struct asking {
	uint64_t number;
	struct resolver_answer *answer;
	bool done;
	struct asking *next;
};

struct resolver_client {
	int fd;
	pthread_mutex_t lock;   /* of all below */
	pthread_cond_t changed; /* somebody has his answer, or nobody receives any more */
	bool receiving;
	uint64_t number; /* of the last question */
	struct asking *asking;
};

static void enter(struct resolver_client *c, struct asking *me)
{
	pthread_mutex_lock(&c->lock);
	me->number = ++c->number;
	me->next = c->asking;
	c->asking = me;
	pthread_mutex_unlock(&c->lock);
}

static void leave(struct resolver_client *c, const struct asking *me)
{
	struct asking **at = &c->asking;

	while (*at != me)
		at = &(*at)->next;
	*at = me->next;
}

/* Answers that came too late, to those who have left, are dropped. */
static void hand_out(struct resolver_client *c, const struct resolver_answer *a)
{
	for (struct asking *x = c->asking; x; x = x->next)
		if (x->number == a->number && !x->done) {
			*x->answer = *a;
			x->answer->exe[sizeof(x->answer->exe) - 1] = '\0';
			x->done = true;
		}
}

/* Waits for one datagram. 1: *ret_answer; 0: it was none, or nothing came yet; -ETIMEDOUT, -EPIPE. */
static int receive(int fd, int64_t deadline, struct resolver_answer *ret_answer)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t left = deadline - clock_monotonic();
	int ready = poll(&p, 1, left <= 0 ? 0 : (int)((left + 999999) / 1000000));

	if (ready < 0)
		return errno == EINTR ? 0 : -EPIPE;
	if (ready == 0)
		return clock_monotonic() >= deadline ? -ETIMEDOUT : 0;
	ssize_t n = recv(fd, ret_answer, sizeof(*ret_answer), MSG_DONTWAIT | MSG_TRUNC);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return -EPIPE;
	return n == (ssize_t)sizeof(*ret_answer);
}

/* As the one who receives. With the lock, which is let go of meanwhile. */
static int receive_for_all(struct resolver_client *c, int64_t deadline)
{
	struct resolver_answer a;

	c->receiving = true;
	pthread_mutex_unlock(&c->lock);
	int r = receive(c->fd, deadline, &a);
	pthread_mutex_lock(&c->lock);
	c->receiving = false;
	if (r > 0)
		hand_out(c, &a);
	pthread_cond_broadcast(&c->changed);
	return r < 0 ? r : 0;
}

static int wait_for(struct resolver_client *c, const struct asking *me, int64_t deadline)
{
	const struct timespec until = { .tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000 };
	int r = 0;

	while (!me->done && !r)
		r = c->receiving ? -pthread_cond_timedwait(&c->changed, &c->lock, &until)
				 : receive_for_all(c, deadline);
	return me->done ? 0 : r;
}

static int ask(struct resolver_client *c, struct resolver_question *q, int64_t deadline,
	       struct resolver_answer *ret_answer)
{
	struct asking me = { .answer = ret_answer };

	enter(c, &me);
	q->number = me.number;
	int r = send(c->fd, q, sizeof(*q), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(*q) ? 0
		: errno == EAGAIN                                                              ? -EAGAIN
											       : -EPIPE;
	pthread_mutex_lock(&c->lock);
	if (!r)
		r = wait_for(c, &me, deadline);
	leave(c, &me);
	pthread_mutex_unlock(&c->lock);
	return r;
}

int resolver_ask(struct resolver_client *c, pid_t tid, uint32_t uid, int64_t deadline,
		 struct resolver_answer *ret_answer)
{
	struct resolver_question q = { .kind = RESOLVER_THREAD, .tid = tid, .uid = uid };

	return ask(c, &q, deadline, ret_answer);
}

/* Ranges never overlap: each line begins one at most, and ends one. */
#define RANGES_MAX (2 * SUBUID_LINES_MAX)

/* The first answer says how many there are. */
static int begin_table(const struct resolver_answer *a, uint32_t known, struct subuid_table *t)
{
	if (a->table == known)
		return -EALREADY;
	t->ranges = a->all_ranges <= RANGES_MAX ? calloc(a->all_ranges + 1, sizeof(*t->ranges)) : NULL;
	return t->ranges ? 0 : -ENOMEM;
}

/* Of a resolver that may be somebody else's: no more than there is room for, and some. */
static int add_ranges(const struct resolver_answer *a, uint32_t number, uint32_t all, struct subuid_table *t)
{
	if (a->table != number || a->n_ranges > all - t->n || a->n_ranges > sizeof(a->ranges) / sizeof(a->ranges[0]) ||
	    (a->n_ranges == 0 && t->n < all))
		return -EAGAIN;
	memcpy(t->ranges + t->n, a->ranges, a->n_ranges * sizeof(*t->ranges));
	t->n += a->n_ranges;
	return 0;
}

int resolver_ask_ranges(struct resolver_client *c, uint32_t known, int64_t deadline, struct subuid_table *ret_table,
			uint32_t *ret_number)
{
	struct resolver_question q = { .kind = RESOLVER_RANGES };
	struct subuid_table t = { 0 };
	struct resolver_answer a = { 0 };
	int r = ask(c, &q, deadline, &a);

	if (!r)
		r = a.error;
	if (!r)
		r = begin_table(&a, known, &t);
	const uint32_t all = a.all_ranges, number = a.table;
	if (!r)
		r = add_ranges(&a, number, all, &t);
	while (!r && t.n < all) {
		q.from = (uint32_t)t.n;
		r = ask(c, &q, deadline, &a);
		if (!r)
			r = a.error;
		if (!r)
			r = add_ranges(&a, number, all, &t);
	}
	if (r) {
		free(t.ranges);
		return r;
	}
	*ret_table = t;
	*ret_number = number;
	return 0;
}

int resolver_client_new(int fd, struct resolver_client **ret_client)
{
	pthread_condattr_t attr;
	struct resolver_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	/* Numbered from a random start: a worker takes over the socket of one that died, and answers to its questions
	 * may still be on their way. */
	int r = random_bytes(&c->number, sizeof(c->number));
	if (r < 0) {
		free(c);
		return r;
	}
	c->fd = fd;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	*ret_client = c;
	return 0;
}

void resolver_client_free(struct resolver_client *c)
{
	if (!c)
		return;
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}
