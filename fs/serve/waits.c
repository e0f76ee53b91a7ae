#include "fs/serve/waits.h"

#include <stddef.h>

static __thread const struct waits *told;

void waits_of_thread(const struct waits *waits) { told = waits; }

void waits_begin(void)
{
	if (told)
		told->begin();
}

void waits_end(void)
{
	if (told)
		told->end();
}
