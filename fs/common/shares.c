#include "fs/common/shares.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define NEARLY 64u /* a part of the whole that is nearly nothing */

/* Open addressing with linear probing, never more than half full: each neighbour in it holds at least one unit. */
struct holder {
	uint64_t neighbour;
	uint32_t held; /* 0: empty */
};

struct shares {
	struct shares_config config;
	uint32_t taken;
	uint32_t mask;
	struct holder holders[];
};

int shares_new(const struct shares_config *config, struct shares **ret_shares)
{
	const size_t most = config->forced > config->units ? config->forced : config->units;
	size_t capacity = 8;

	assert(config->units && config->reserve <= config->units);
	while (capacity < 2 * most)
		capacity *= 2;
	struct shares *s = calloc(1, sizeof *s + capacity * sizeof s->holders[0]);
	if (!s)
		return -ENOMEM;
	s->config = *config;
	s->config.forced = (uint32_t)most;
	s->mask = (uint32_t)(capacity - 1);
	*ret_shares = s;
	return 0;
}

void shares_free(struct shares *s) { free(s); }

/* ---- holders ---- */

static uint32_t home_of(const struct shares *s, uint64_t neighbour)
{
	return (uint32_t)((neighbour * 0x9e3779b97f4a7c15u) >> 32) & s->mask;
}

/* Its place, or the one where it would be. */
static uint32_t place_of(const struct shares *s, uint64_t neighbour)
{
	uint32_t i = home_of(s, neighbour);

	while (s->holders[i].held && s->holders[i].neighbour != neighbour)
		i = (i + 1) & s->mask;
	return i;
}

/* Closes the gap at once: a mark for each neighbour that was ever here would fill the table. */
static void remove_holder(struct shares *s, uint32_t gap)
{
	for (uint32_t i = (gap + 1) & s->mask; s->holders[i].held; i = (i + 1) & s->mask) {
		const uint32_t home = home_of(s, s->holders[i].neighbour);
		if (((i - home) & s->mask) < ((i - gap) & s->mask))
			continue; /* it would be moved in front of its home */
		s->holders[gap] = s->holders[i];
		s->holders[i].held = 0;
		gap = i;
	}
}

/* ---- shares ---- */

static bool may_take(const struct shares *s, uint32_t held, uint32_t n, enum share_rank rank)
{
	const struct shares_config *c = &s->config;
	const uint64_t whole = rank == SHARE_RESERVED ? c->units : c->units - c->reserve;
	const uint64_t more = rank == SHARE_RESERVED ? c->reserve : 0;
	const uint64_t free = whole > s->taken ? whole - s->taken : 0;

	if (n > free || (c->most && (uint64_t)held + n > c->most + more))
		return false;
	/* as if taken one by one: before the last of them it holds less than half of what is free then. From the
	 * reserve whoever may takes what there is. */
	return rank == SHARE_RESERVED || 2 * ((uint64_t)held + n - 1) < free - n + 1;
}

void shares_force(struct shares *s, uint64_t neighbour, uint32_t n)
{
	struct holder *h = &s->holders[place_of(s, neighbour)];

	if (!n)
		return;
	h->neighbour = neighbour;
	h->held += n;
	s->taken += n;
	assert(s->taken <= s->config.forced);
}

bool shares_take(struct shares *s, uint64_t neighbour, uint32_t n, enum share_rank rank)
{
	if (n && !may_take(s, s->holders[place_of(s, neighbour)].held, n, rank))
		return false;
	shares_force(s, neighbour, n);
	return true;
}

void shares_give(struct shares *s, uint64_t neighbour, uint32_t n)
{
	const uint32_t at = place_of(s, neighbour);
	struct holder *h = &s->holders[at];

	assert(h->held >= n);
	h->held -= n;
	s->taken -= n;
	if (n && !h->held)
		remove_holder(s, at);
}

uint32_t shares_held(const struct shares *s, uint64_t neighbour) { return s->holders[place_of(s, neighbour)].held; }

uint32_t shares_taken(const struct shares *s) { return s->taken; }

static uint64_t heaviest_but(const struct shares *s, const uint64_t *spared, uint32_t *ret_held)
{
	static const struct holder none = { .neighbour = NEIGHBOUR_ROOT };
	const struct holder *most = &none;

	for (uint32_t i = 0; i <= s->mask; i++)
		if (s->holders[i].held > most->held && (!spared || s->holders[i].neighbour != *spared))
			most = &s->holders[i];
	*ret_held = most->held;
	return most->neighbour;
}

uint64_t shares_heaviest(const struct shares *s, uint32_t *ret_held) { return heaviest_but(s, NULL, ret_held); }

uint64_t shares_heaviest_user(const struct shares *s, uint32_t *ret_held)
{
	static const uint64_t root = NEIGHBOUR_ROOT;

	return heaviest_but(s, &root, ret_held);
}

bool shares_full(const struct shares *s)
{
	const uint32_t whole = s->config.units - s->config.reserve;

	return s->taken + whole / NEARLY >= whole;
}
