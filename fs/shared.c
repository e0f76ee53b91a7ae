#include "fs/shared.h"

#include <time.h>

uint32_t shared_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000) | 1;
}

void shared_still_at(struct shared *s, uint64_t unique)
{
	if (s)
		unanswered_began(&s->unanswered, unique, shared_clock());
}

void shared_takes(struct shared *s, uint64_t unique, uint32_t ms)
{
	if (s)
		unanswered_began(&s->unanswered, unique, shared_clock() + (ms < SHARED_TAKES_MAX ? ms : SHARED_TAKES_MAX));
}
