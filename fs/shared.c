#include "fs/shared.h"

#include <time.h>

uint32_t shared_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000) | 1;
}

static void begin_at(struct shared *s, uint64_t unique, uint32_t when)
{
	for (size_t i = 0; s && unique && i < SLOTS; i++)
		if (atomic_load_explicit(&s->slots[i].running, memory_order_relaxed) == unique)
			atomic_store_explicit(&s->slots[i].began, when | 1, memory_order_relaxed);
}

void shared_still_at(struct shared *s, uint64_t unique)
{
	begin_at(s, unique, shared_clock());
}

void shared_takes(struct shared *s, uint64_t unique, uint32_t ms)
{
	begin_at(s, unique, shared_clock() + (ms < SHARED_TAKES_MAX ? ms : SHARED_TAKES_MAX));
}
