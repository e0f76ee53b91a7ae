#include "store/core/idset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct range {
	uint32_t first, last;
};

struct idset {
	struct range *ranges; /* ascending; between two of them there is at least one id */
	size_t n, room;
};

struct idset *idset_new(void) { return calloc(1, sizeof(struct idset)); }

void idset_free(struct idset *s)
{
	if (!s)
		return;
	free(s->ranges);
	free(s);
}

/* How many ranges end before id. */
static size_t ranges_before(const struct idset *s, uint64_t id)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (s->ranges[middle].last < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int grow(struct idset *s)
{
	size_t room = s->room ? 2 * s->room : 16;
	struct range *grown = realloc(s->ranges, room * sizeof *grown);

	if (!grown)
		return -ENOMEM;
	s->ranges = grown;
	s->room = room;
	return 0;
}

/* There is no room for another range: the nearer neighbour of the place at takes it in, with what lies between. */
static void stretch(struct idset *s, size_t at, struct range new)
{
	if (at < s->n && (at == 0 || s->ranges[at].first - new.last < new.first - s->ranges[at - 1].last))
		s->ranges[at].first = new.first;
	else
		s->ranges[at - 1].last = new.last;
}

int idset_add(struct idset *s, uint32_t first, uint32_t last)
{
	struct range new = { first, last };
	/* one that ends right before it is made longer */
	size_t at = ranges_before(s, (uint64_t)first - 1), end = at;

	while (end < s->n && s->ranges[end].first <= (uint64_t)last + 1)
		end++;
	if (at == end && s->n == IDSET_RANGES) {
		stretch(s, at, new);
		return 0;
	}
	if (at == end && s->n == s->room && grow(s) < 0)
		return -ENOMEM;
	if (at < end) {
		new.first = s->ranges[at].first < first ? s->ranges[at].first : first;
		new.last = s->ranges[end - 1].last > last ? s->ranges[end - 1].last : last;
	}
	memmove(s->ranges + at + 1, s->ranges + end, (s->n - end) * sizeof *s->ranges);
	s->ranges[at] = new;
	s->n += 1 - (end - at);
	return 0;
}

uint32_t idset_next(const struct idset *s, uint32_t after)
{
	size_t at;

	if (!s || after == UINT32_MAX)
		return 0;
	at = ranges_before(s, (uint64_t)after + 1);
	if (at == s->n)
		return 0;
	return s->ranges[at].first > after ? s->ranges[at].first : after + 1;
}

int idset_put(struct idset **s, uint32_t id)
{
	if (!*s)
		*s = idset_new();
	return *s ? idset_add(*s, id, id) : -ENOMEM;
}
