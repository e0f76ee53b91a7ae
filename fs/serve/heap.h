/* Memory that was freed and is not given back: after a long history a process would have several times what a fresh one
 * has, in pages that nothing is in any more. */
#ifndef COFFER_FS_SERVE_HEAP_H
#define COFFER_FS_SERVE_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap {
	int64_t looked_ms;
	size_t least;
}; /* all zero at first */

/* Before there are threads: all share few heaps, so that what one frees another uses. Else each of the twenty has one
 * of its own, which only grows. */
void heap_share(void);

/* Called often; looks every few seconds, and gives free pages back where there are more than were left the last time.
 * It may wait for threads that allocate, and they for it, for as long as that takes: not for the thread that everybody
 * waits for. */
void heap_give_back(struct heap *h, int64_t now_ms);

#endif
