#include "fs/serve/staged.h"

#include <errno.h>

#include "fs/shared/temps.h"
#include "store/objects/stages.h"

static const struct shares_config pool = { .units = STAGED_MAX, .reserve = STAGED_RESERVE };

static void count(struct shares *s, uint32_t *staged, uint64_t neighbour)
{
	if (*staged && shares_taken(s) + *staged <= STAGED_MAX)
		shares_force(s, neighbour, *staged);
	else
		*staged = 0;
}

static void count_handle(uint64_t fh, struct handle *h, void *arg)
{
	(void)fh;
	count(arg, &h->staged, h->neighbour);
}

static void count_temp(struct temp *t, void *arg) { count(arg, &t->staged, t->neighbour); }

/* Under staged_lock. */
static struct shares *shares_of(struct vault *v)
{
	if (!v->staged.shares && !shares_new(&pool, &v->staged.shares)) {
		handle_each(v->handles, 0, count_handle, v->staged.shares);
		temps_each(v->temps, count_temp, v->staged.shares);
	}
	return v->staged.shares;
}

int staged_grow_of(struct vault *v, uint32_t *staged, uint64_t neighbour, uint64_t end)
{
	const uint32_t chunks = 1 + (uint32_t)((end > STAGE_SET_MAX ? STAGE_SET_MAX : end) / STAGED_CHUNK);
	int r = 0;

	pthread_mutex_lock(&v->staged.lock);
	struct shares *s = shares_of(v);
	if (!s)
		r = -ENOMEM;
	else if (chunks > *staged) {
		const uint32_t more = chunks - *staged;
		if (shares_take(s, neighbour, more, SHARE_ORDINARY) ||
		    (neighbour == NEIGHBOUR_ROOT && shares_take(s, neighbour, more, SHARE_RESERVED)))
			*staged = chunks;
		else
			r = -EDQUOT;
	}
	pthread_mutex_unlock(&v->staged.lock);
	return r;
}

void staged_drop_of(struct vault *v, uint32_t *staged, uint64_t neighbour)
{
	pthread_mutex_lock(&v->staged.lock);
	if (*staged && shares_of(v))
		shares_give(v->staged.shares, neighbour, *staged);
	*staged = 0;
	pthread_mutex_unlock(&v->staged.lock);
}

int staged_grow(struct vault *v, struct handle *h, uint64_t end)
{
	return staged_grow_of(v, &h->staged, h->neighbour, end);
}

void staged_drop(struct vault *v, struct handle *h) { staged_drop_of(v, &h->staged, h->neighbour); }
