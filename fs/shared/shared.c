#include "fs/shared/shared.h"

#include <time.h>

#include "fs/common/clock.h"

void shared_still_at(struct shared *s, uint64_t unique)
{
	if (s)
		unanswered_began(&s->unanswered, unique, clock_coarse_ms());
}

void shared_takes(struct shared *s, uint64_t unique, uint32_t ms)
{
	if (s)
		unanswered_began(&s->unanswered, unique,
				 clock_coarse_ms() + (ms < SHARED_TAKES_MAX ? ms : SHARED_TAKES_MAX));
}
