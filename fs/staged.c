#include "fs/staged.h"

#include <errno.h>

static const struct shares_config pool = { .units = STAGED_MAX, .reserve = STAGED_RESERVE };

static void count(uint64_t fh, struct handle *h, void *arg)
{
	struct shares *s = arg;

	(void)fh;
	if (h->staged && shares_taken(s) + h->staged <= STAGED_MAX)
		shares_force(s, h->neighbour, h->staged);
	else
		h->staged = 0;
}

/* Under staged_lock. */
static struct shares *shares_of(struct vault *v)
{
	if (!v->staged && !shares_new(&pool, &v->staged))
		handle_each(v->handles, 0, count, v->staged);
	return v->staged;
}

int staged_grow(struct vault *v, struct handle *h, uint64_t end)
{
	const uint32_t chunks = 1 + (uint32_t)((end > STAGE_SET_MAX ? STAGE_SET_MAX : end) / STAGED_CHUNK);
	int r = 0;

	pthread_mutex_lock(&v->staged_lock);
	struct shares *s = shares_of(v);
	if (!s)
		r = -ENOMEM;
	else if (chunks > h->staged) {
		const uint32_t more = chunks - h->staged;
		if (shares_take(s, h->neighbour, more, SHARE_ORDINARY) || (h->neighbour == NEIGHBOUR_ROOT && shares_take(s, h->neighbour, more, SHARE_RESERVED)))
			h->staged = chunks;
		else
			r = -EDQUOT;
	}
	pthread_mutex_unlock(&v->staged_lock);
	return r;
}

void staged_drop(struct vault *v, struct handle *h)
{
	pthread_mutex_lock(&v->staged_lock);
	if (h->staged && shares_of(v))
		shares_give(v->staged, h->neighbour, h->staged);
	h->staged = 0;
	pthread_mutex_unlock(&v->staged_lock);
}
