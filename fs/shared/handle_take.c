/* Open files that are taken back from the neighbour that has most, and what keeps whoever reads through one from
 * reading through another's. */
#include "fs/shared/handle_internal.h"

#include <errno.h>
#include <fcntl.h>

int handle_gone(struct handles *h, uint64_t fh)
{
	const uint32_t i = (uint32_t)fh;
	const uint32_t was = (uint32_t)(fh >> 32);

	return i < handles_high(h) && was && was <= handles_generation_of(&h->table->entries[i]) ? -ESTALE : -EBADF;
}

/* Between its count and its look nobody takes an entry back; who was about to is waited for. */
struct handle *handle_hold(struct handles *h, uint64_t fh)
{
	struct handle *e = handle_get(h, fh);

	if (!e)
		return NULL;
	_Atomic uint32_t *held = &h->uses[(uint32_t)fh].held;
	atomic_fetch_add(held, 1);
	if (handle_get(h, fh) == e)
		return e;
	pthread_mutex_lock(&h->lock);
	if (!handle_get(h, fh)) {
		atomic_fetch_sub(held, 1);
		e = NULL;
	}
	pthread_mutex_unlock(&h->lock);
	return e;
}

void handle_let(struct handles *h, struct handle *e)
{
	struct use *u = &h->uses[handles_index_of(h, e)];

	__atomic_store_n(&u->at, handles_coarse_now(), __ATOMIC_RELAXED);
	atomic_fetch_sub(&u->held, 1);
}

static bool can_be_taken(const struct handle *e)
{
	switch ((enum handle_kind)e->kind) {
	case HANDLE_VALUE:
		return (e->open_flags & O_ACCMODE) == O_RDONLY && !e->stage;
	case HANDLE_TEXT:
	case HANDLE_AUDIT:
	case HANDLE_EVENTS:
		return true;
	case HANDLE_NONE:
	case HANDLE_CTL:
	case HANDLE_BELL:
	case HANDLE_TEMP:
	case HANDLE_DIR:
	default:
		return false;
	}
}

/* In that pool, of the neighbour that has most and more than `least`, the one that was not used for the longest time.
 * *ret_most: nobody has more that could be taken. */
static struct handle *find_idle(struct handles *h, const struct shares *pool, uint32_t least, uint32_t *ret_most)
{
	const uint32_t end = handles_high(h);
	struct handle *found = NULL;
	uint64_t last = NEIGHBOUR_ROOT; /* who keeps what it has: it must be able to act */
	uint32_t oldest = UINT32_MAX, most = least, has = 0;

	for (uint32_t i = 0; i < end; i++) {
		const struct use *u = &h->uses[i];
		if (u->neighbour != last) {
			last = u->neighbour;
			has = last == NEIGHBOUR_ROOT || last == NOBODYS ? 0 : shares_held(pool, last);
		}
		const uint32_t at = __atomic_load_n(&u->at, __ATOMIC_RELAXED);
		if (has < most || has <= least || (has == most && at >= oldest) || atomic_load(&u->held))
			continue;
		struct handle *e = &h->table->entries[i];
		if (handles_state_of(e) != HANDLE_OPEN || handles_pool(h, e->kind) != pool || !can_be_taken(e))
			continue;
		found = e;
		most = has;
		oldest = at;
	}
	*ret_most = most;
	return found;
}

struct handle *handle_take_back(struct handles *h, const struct handle_ask *ask, uint64_t *ret_fh)
{
	const uint32_t now = handles_coarse_now();
	struct search *last = &h->searches[handles_pool_kind(ask->kind)];
	struct shares *pool = handles_pool(h, ask->kind);
	struct handle *e = NULL;

	pthread_mutex_lock(&h->lock);
	const uint32_t least = shares_held(pool, ask->neighbour) + 1;
	/* a search is no short one: whoever has nothing to hope for of it is told so by the last one, for a second */
	if (!shares_full(pool) || (last->at == now && last->most <= least))
		goto out;
	last->at = now;
	e = find_idle(h, pool, least, &last->most);
	if (!e)
		goto out;
	atomic_store(&e->state, HANDLE_BUSY);
	if (atomic_load(&h->uses[handles_index_of(h, e)].held)) { /* since we looked */
		atomic_store(&e->state, HANDLE_OPEN);
		e = NULL;
		goto out;
	}
	handles_unaccount(h, e);
	*ret_fh = handles_fh_of(h, e);
out:
	pthread_mutex_unlock(&h->lock);
	return e;
}

void handle_pass_on(struct handles *h, struct handle *e, const struct handle_ask *ask)
{
	pthread_mutex_lock(&h->lock);
	shares_give(handles_pool(h, e->kind), e->neighbour, 1);
	shares_force(handles_pool(h, ask->kind), ask->neighbour, 1);
	handles_begin_life(e, ask);
	pthread_mutex_unlock(&h->lock);
}
