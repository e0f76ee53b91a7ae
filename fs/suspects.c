#include "fs/suspects.h"

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

static struct suspect *find_or_make(struct suspects *s, uint64_t unique)
{
	struct suspect *e = find(s, unique);

	if (e)
		return e;
	/* the oldest goes: its caller was killed, or it was answered */
	e = &s->of[atomic_fetch_add(&s->next, 1) % SUSPECTS];
	atomic_store(&e->unique, 0);
	atomic_store(&e->deaths, 0);
	atomic_store(&e->suspicion, SUSPICION_NONE);
	atomic_store(&e->unique, unique);
	return e;
}

static enum suspicion judge(uint32_t deaths, enum suspicion before, size_t again, bool crashed)
{
	/* who ran alone, or is the only one that was there both times */
	if (before >= SUSPICION_ALONE || (deaths >= 2 && again == 1 && !crashed))
		return SUSPICION_GUILTY;
	return crashed || deaths >= 2 ? SUSPICION_ALONE : SUSPICION_NOTED;
}

void suspects_note(struct suspects *s, const uint64_t *uniques, size_t n, bool crashed)
{
	size_t again = 0;

	for (size_t i = 0; i < n; i++)
		again += atomic_fetch_add(&find_or_make(s, uniques[i])->deaths, 1) > 0;
	for (size_t i = 0; i < n; i++) {
		struct suspect *e = find_or_make(s, uniques[i]);
		atomic_store(&e->suspicion, judge(atomic_load(&e->deaths), (enum suspicion)atomic_load(&e->suspicion), again, crashed));
	}
}

enum suspicion suspects_of(struct suspects *s, uint64_t unique)
{
	struct suspect *e = find(s, unique);
	return e ? (enum suspicion)atomic_load(&e->suspicion) : SUSPICION_NONE;
}

void suspects_clear(struct suspects *s, uint64_t unique)
{
	struct suspect *e = find(s, unique);
	if (e)
		atomic_store(&e->unique, 0);
}

uint32_t suspects_penalty(struct suspects *s, uint32_t uid, int64_t now_ms)
{
	struct penalty *p = NULL;

	for (size_t i = 0; i < PENALTIES; i++)
		if (s->penalties[i].uid == uid && s->penalties[i].forgiven_ms > now_ms)
			p = &s->penalties[i];
	for (size_t i = 0; i < PENALTIES && !p; i++)
		if (s->penalties[i].forgiven_ms <= now_ms)
			p = &s->penalties[i];
	if (!p)
		p = &s->penalties[uid % PENALTIES];
	if (p->uid != uid || p->forgiven_ms <= now_ms)
		*p = (struct penalty){ .uid = uid };
	const uint32_t delay = PENALTY_MS << (p->count < DOUBLINGS ? p->count : DOUBLINGS);
	p->count++;
	p->forgiven_ms = now_ms + FORGIVEN_MS;
	return delay;
}
