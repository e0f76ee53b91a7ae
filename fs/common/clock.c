#include "fs/common/clock.h"

#include <time.h>

#define NS_PER_MS 1000000

static int64_t of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t clock_wall(void) { return of(CLOCK_REALTIME); }
int64_t clock_monotonic(void) { return of(CLOCK_MONOTONIC); }
int64_t clock_ms(void) { return of(CLOCK_MONOTONIC) / NS_PER_MS; }
uint32_t clock_coarse_ms(void) { return (uint32_t)(of(CLOCK_MONOTONIC_COARSE) / NS_PER_MS) | 1; }
