#include "fs/serve/heap.h"

#include <malloc.h>

#define LOOK_MS 5000
#define WORTH   ((size_t)1 << 20) /* new free bytes */

static size_t free_bytes(void)
{
#if __GLIBC_PREREQ(2, 33)
	return mallinfo2().fordblks;
#else
	return (unsigned)mallinfo().fordblks;
#endif
}

void heap_share(void) { (void)mallopt(M_ARENA_MAX, 2); }

void heap_give_back(struct heap *h, int64_t now_ms)
{
	if (now_ms - h->looked_ms < LOOK_MS)
		return;
	h->looked_ms = now_ms;
	size_t now = free_bytes();
	/* what was given back is counted as free still, and what is taken of it again is memory again */
	if (now < h->least)
		h->least = now;
	if (now - h->least < WORTH)
		return;
	malloc_trim(0);
	h->least = free_bytes();
}
