#include "fs/shared/suspects.h"

#include <stddef.h>

#define PENALTY_MS  1000u
#define DOUBLINGS   4u
#define FORGIVEN_MS 60000

static struct suspect *find(struct suspects *s, uint64_t unique)
{
	for (size_t i = 0; i < SUSPECTS; i++)
		if (atomic_load(&s->of[i].unique) == unique)
			return &s->of[i];
	return NULL;
}

void suspects_add(struct suspects *s, uint64_t unique)
{
	struct suspect *e = find(s, unique);

	if (e) {
		atomic_fetch_add(&e->deaths, 1);
		return;
	}
	/* the oldest goes: its caller was killed, and it never came again */
	e = &s->of[atomic_fetch_add(&s->next, 1) % SUSPECTS];
	atomic_store(&e->unique, 0);
	atomic_store(&e->deaths, 1);
	atomic_store(&e->unique, unique);
}

uint32_t suspects_deaths(struct suspects *s, uint64_t unique)
{
	struct suspect *e = find(s, unique);
	return e ? atomic_load(&e->deaths) : 0;
}

void suspects_clear(struct suspects *s, uint64_t unique)
{
	struct suspect *e = find(s, unique);
	if (e)
		atomic_store(&e->unique, 0);
}

uint32_t suspects_penalty(struct suspects *s, uint64_t neighbour, int64_t now_ms)
{
	struct penalty *p = NULL;

	for (size_t i = 0; i < PENALTIES; i++)
		if (s->penalties[i].neighbour == neighbour && s->penalties[i].forgiven_ms > now_ms)
			p = &s->penalties[i];
	for (size_t i = 0; i < PENALTIES && !p; i++)
		if (s->penalties[i].forgiven_ms <= now_ms)
			p = &s->penalties[i];
	if (!p)
		p = &s->penalties[neighbour % PENALTIES];
	if (p->neighbour != neighbour || p->forgiven_ms <= now_ms)
		*p = (struct penalty){ .neighbour = neighbour };
	const uint32_t delay = PENALTY_MS << (p->count < DOUBLINGS ? p->count : DOUBLINGS);
	p->count++;
	p->forgiven_ms = now_ms + FORGIVEN_MS;
	return delay;
}
