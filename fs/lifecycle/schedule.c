#include "fs/lifecycle/schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	int64_t at;
	uint32_t secret;
};

struct schedule {
	struct entry *heap;
	uint32_t n, room;
	uint32_t *place; /* by secret: where it stands in the heap, plus one; 0: it does not */
	uint32_t places;
};

int schedule_new(struct schedule **ret_schedule)
{
	struct schedule *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	*ret_schedule = s;
	return 0;
}

void schedule_free(struct schedule *s)
{
	if (!s)
		return;
	free(s->heap);
	free(s->place);
	free(s);
}

void schedule_clear(struct schedule *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		s->place[s->heap[i].secret] = 0;
	s->n = 0;
}

static void put(struct schedule *s, uint32_t i, struct entry e)
{
	s->heap[i] = e;
	s->place[e.secret] = i + 1;
}

static void rise(struct schedule *s, uint32_t i, struct entry e)
{
	for (; i > 0 && e.at < s->heap[(i - 1) / 2].at; i = (i - 1) / 2)
		put(s, i, s->heap[(i - 1) / 2]);
	put(s, i, e);
}

static void sink(struct schedule *s, uint32_t i, struct entry e)
{
	for (;;) {
		uint32_t child = 2 * i + 1;
		if (child + 1 < s->n && s->heap[child + 1].at < s->heap[child].at)
			child++;
		if (child >= s->n || s->heap[child].at >= e.at)
			break;
		put(s, i, s->heap[child]);
		i = child;
	}
	put(s, i, e);
}

static void drop(struct schedule *s, uint32_t i)
{
	struct entry last = s->heap[--s->n];

	s->place[s->heap[i].secret] = 0;
	if (i == s->n)
		return;
	if (i > 0 && last.at < s->heap[(i - 1) / 2].at)
		rise(s, i, last);
	else
		sink(s, i, last);
}

static int reserve(struct schedule *s, uint32_t secret)
{
	if (secret >= s->places) {
		uint32_t places = secret + secret / 2 + 64;
		uint32_t *grown = reallocarray(s->place, places, sizeof *grown);
		if (!grown)
			return -ENOMEM;
		memset(grown + s->places, 0, (places - s->places) * sizeof *grown);
		s->place = grown;
		s->places = places;
	}
	if (s->n == s->room) {
		uint32_t room = s->room ? 2 * s->room : 64;
		struct entry *grown = reallocarray(s->heap, room, sizeof *grown);
		if (!grown)
			return -ENOMEM;
		s->heap = grown;
		s->room = room;
	}
	return 0;
}

int schedule_set(struct schedule *s, uint32_t secret, int64_t at)
{
	uint32_t place = secret < s->places ? s->place[secret] : 0;
	int r;

	if (place)
		drop(s, place - 1);
	if (at == INT64_MAX)
		return 0;
	r = reserve(s, secret);
	if (r < 0)
		return r;
	s->n++;
	rise(s, s->n - 1, (struct entry){ at, secret });
	return 0;
}

int64_t schedule_next(const struct schedule *s) { return s->n ? s->heap[0].at : INT64_MAX; }

uint32_t schedule_pop(struct schedule *s, int64_t now)
{
	uint32_t secret;

	if (!s->n || s->heap[0].at > now)
		return 0;
	secret = s->heap[0].secret;
	drop(s, 0);
	return secret;
}
