#include "fs/fuse/delayed.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/common/shares.h"

#define BRAKES  512u /* neighbours that are refused much, at a time */
#define WAYS    4u
#define EACH_US (1000000 / DELAYED_RATE)

struct brake {
	uint64_t neighbour;
	int64_t until_us; /* by then all of its refusals would have been sent at the rate; 0: empty */
};

struct delayed {
	struct shares *shares;
	struct brake brakes[BRAKES];
	uint32_t n;
	struct delayed_answer heap[DELAYED_MAX]; /* the soonest first; untouched where it was never used */
};

int delayed_new(struct delayed **ret_delayed)
{
	const struct shares_config config = { .units = DELAYED_MAX };
	struct delayed *d = calloc(1, sizeof *d);

	if (!d)
		return -ENOMEM;
	if (shares_new(&config, &d->shares)) {
		free(d);
		return -ENOMEM;
	}
	*ret_delayed = d;
	return 0;
}

void delayed_free(struct delayed *d)
{
	if (!d)
		return;
	shares_free(d->shares);
	free(d);
}

/* The neighbour's own, or the one that is idle for longest. */
static struct brake *brake_of(struct delayed *d, uint64_t neighbour)
{
	struct brake *set = &d->brakes[(neighbour * 0x9e3779b97f4a7c15u >> 32) % (BRAKES / WAYS) * WAYS], *best = set;

	for (uint32_t i = 0; i < WAYS; i++) {
		if (set[i].until_us && set[i].neighbour == neighbour)
			return &set[i];
		if (set[i].until_us < best->until_us)
			best = &set[i];
	}
	*best = (struct brake){ .neighbour = neighbour };
	return best;
}

uint32_t delayed_brake(struct delayed *d, uint64_t neighbour, int64_t now_ms)
{
	const int64_t now = now_ms * 1000, most = now + (DELAYED_BURST_MS + DELAYED_BRAKE_MS) * 1000;
	struct brake *b = brake_of(d, neighbour);

	if (b->until_us < now)
		b->until_us = now;
	b->until_us += EACH_US;
	if (b->until_us > most)
		b->until_us = most;
	const int64_t delay = (b->until_us - now) / 1000 - DELAYED_BURST_MS;
	return delay > 0 ? (uint32_t)delay : 0;
}

static void swap(struct delayed *d, uint32_t i, uint32_t j)
{
	const struct delayed_answer a = d->heap[i];

	d->heap[i] = d->heap[j];
	d->heap[j] = a;
}

bool delayed_put(struct delayed *d, const struct delayed_answer *a)
{
	if (!shares_take(d->shares, a->neighbour, 1, SHARE_ORDINARY))
		return false;
	uint32_t i = d->n++;
	d->heap[i] = *a;
	for (; i && d->heap[i].due_ms < d->heap[(i - 1) / 2].due_ms; i = (i - 1) / 2)
		swap(d, i, (i - 1) / 2);
	return true;
}

bool delayed_take(struct delayed *d, int64_t now_ms, struct delayed_answer *ret_answer)
{
	if (!d->n || d->heap[0].due_ms > now_ms)
		return false;
	*ret_answer = d->heap[0];
	shares_give(d->shares, ret_answer->neighbour, 1);
	d->heap[0] = d->heap[--d->n];
	for (uint32_t i = 0, least;; i = least) {
		least = i;
		for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < d->n; child++)
			if (d->heap[child].due_ms < d->heap[least].due_ms)
				least = child;
		if (least == i)
			return true;
		swap(d, i, least);
	}
}

int64_t delayed_next(const struct delayed *d, int64_t now_ms)
{
	if (!d->n)
		return -1;
	return d->heap[0].due_ms > now_ms ? d->heap[0].due_ms - now_ms : 0;
}
