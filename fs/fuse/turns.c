#include "fs/fuse/turns.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define BUCKETS 64u
#define NONE    UINT32_MAX

/* One for each neighbour that waits or runs; there can be no more of them than entries and threads together. */
struct queue {
	uint64_t neighbour;
	uint32_t first, last, waiting; /* entries */
	uint32_t running;
	uint32_t chain;         /* the next of its bucket, or of the free ones */
	uint32_t before, after; /* in the ring of those of which some wait */
};

struct turns {
	uint32_t threads, share;
	uint32_t others; /* threads that others than root have */
	uint32_t now;    /* whose turn it is in the ring; NONE: nobody waits */
	uint32_t free;
	uint32_t buckets[BUCKETS];
	uint32_t *next; /* of each entry: the one behind it */
	struct queue *queues;
};

int turns_new(uint32_t entries, uint32_t threads, uint32_t share, struct turns **ret_turns)
{
	const uint32_t n = entries + threads;
	struct turns *t = calloc(1, sizeof *t);

	if (!t)
		return -ENOMEM;
	*t = (struct turns){ .threads = threads, .share = share, .now = NONE };
	t->next = calloc(entries, sizeof *t->next);
	t->queues = calloc(n, sizeof *t->queues);
	if (!t->next || !t->queues) {
		turns_free(t);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < BUCKETS; i++)
		t->buckets[i] = NONE;
	for (uint32_t i = 0; i < n; i++)
		t->queues[i].chain = i + 1 < n ? i + 1 : NONE;
	*ret_turns = t;
	return 0;
}

void turns_free(struct turns *t)
{
	if (!t)
		return;
	free(t->next);
	free(t->queues);
	free(t);
}

static uint32_t bucket(uint64_t neighbour) { return (uint32_t)(neighbour * 0x9e3779b97f4a7c15u >> 58); }
_Static_assert(BUCKETS == 1u << (64 - 58), "bucket takes the top bits of the product");

/* ---- a neighbour's queue ---- */

static uint32_t find(const struct turns *t, uint64_t neighbour)
{
	uint32_t q = t->buckets[bucket(neighbour)];

	while (q != NONE && t->queues[q].neighbour != neighbour)
		q = t->queues[q].chain;
	return q;
}

static uint32_t find_or_make(struct turns *t, uint64_t neighbour)
{
	uint32_t q = find(t, neighbour);

	if (q != NONE)
		return q;
	q = t->free;
	assert(q != NONE);
	t->free = t->queues[q].chain;
	t->queues[q] = (struct queue){ .neighbour = neighbour, .chain = t->buckets[bucket(neighbour)] };
	t->buckets[bucket(neighbour)] = q;
	return q;
}

static void drop_idle(struct turns *t, uint32_t q)
{
	uint32_t *link = &t->buckets[bucket(t->queues[q].neighbour)];

	if (t->queues[q].waiting || t->queues[q].running)
		return;
	while (*link != q)
		link = &t->queues[*link].chain;
	*link = t->queues[q].chain;
	t->queues[q].chain = t->free;
	t->free = q;
}

/* ---- the ring ---- */

/* Behind all that are in it. */
static void ring_enter(struct turns *t, uint32_t q)
{
	struct queue *x = &t->queues[q];

	if (t->now == NONE) {
		x->before = x->after = t->now = q;
		return;
	}
	x->after = t->now;
	x->before = t->queues[t->now].before;
	t->queues[x->before].after = q;
	t->queues[t->now].before = q;
}

static void ring_leave(struct turns *t, uint32_t q)
{
	struct queue *x = &t->queues[q];

	if (t->now == q)
		t->now = x->after == q ? NONE : x->after;
	t->queues[x->before].after = x->after;
	t->queues[x->after].before = x->before;
}

/* ---- turns ---- */

void turns_wait(struct turns *t, uint32_t entry, uint64_t neighbour)
{
	const uint32_t q = find_or_make(t, neighbour);
	struct queue *x = &t->queues[q];

	if (x->waiting++ == 0) {
		x->first = entry;
		ring_enter(t, q);
	} else {
		t->next[x->last] = entry;
	}
	x->last = entry;
}

uint32_t turns_waiting(const struct turns *t, uint64_t neighbour)
{
	const uint32_t q = find(t, neighbour);

	return q == NONE ? 0 : t->queues[q].waiting;
}

static bool may_run(const struct turns *t, const struct queue *x)
{
	return x->running < t->share && (x->neighbour == NEIGHBOUR_ROOT || t->others + 1 < t->threads);
}

/* Passes over no more neighbours than have their share of the threads, but for the moments in which all but one are
 * taken. */
static uint32_t next_turn(const struct turns *t)
{
	uint32_t q = t->now;

	if (q == NONE)
		return NONE;
	if (t->others + 1 >= t->threads) {
		q = find(t, NEIGHBOUR_ROOT);
		return q != NONE && t->queues[q].waiting && may_run(t, &t->queues[q]) ? q : NONE;
	}
	do {
		if (may_run(t, &t->queues[q]))
			return q;
		q = t->queues[q].after;
	} while (q != t->now);
	return NONE;
}

/* The first of the queue, which is in the ring. */
static uint32_t take_first(struct turns *t, uint32_t q)
{
	struct queue *x = &t->queues[q];
	const uint32_t entry = x->first;

	x->first = t->next[entry];
	if (--x->waiting == 0)
		ring_leave(t, q);
	return entry;
}

int64_t turns_take(struct turns *t, uint64_t *ret_neighbour)
{
	const uint32_t q = next_turn(t);

	if (q == NONE)
		return -1;
	struct queue *x = &t->queues[q];
	t->now = x->after;
	x->running++;
	t->others += x->neighbour != NEIGHBOUR_ROOT;
	*ret_neighbour = x->neighbour;
	return take_first(t, q);
}

int64_t turns_drop(struct turns *t, uint64_t neighbour)
{
	const uint32_t q = find(t, neighbour);

	if (q == NONE || !t->queues[q].waiting)
		return -1;
	const uint32_t entry = take_first(t, q);
	drop_idle(t, q);
	return entry;
}

void turns_done(struct turns *t, uint64_t neighbour)
{
	const uint32_t q = find(t, neighbour);

	assert(q != NONE && t->queues[q].running);
	t->queues[q].running--;
	t->others -= neighbour != NEIGHBOUR_ROOT;
	drop_idle(t, q);
}
