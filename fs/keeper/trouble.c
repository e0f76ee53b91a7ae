#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fs/keeper/internal.h"
#include "fs/common/log.h"

void keeper_trouble(struct keeper *k, const char *format, ...)
{
	char text[sizeof k->shared->keeper.trouble] = "";
	struct timespec t;
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	/* and not from the shared memory: a worker that is somebody else's could take its end away */
	log_warn("%s", text);
	if (!k->shared)
		return;
	struct shared_keeper *s = &k->shared->keeper;
	memcpy(s->trouble, text, sizeof text);
	clock_gettime(CLOCK_REALTIME, &t);
	s->trouble_at = t.tv_sec * 1000000000 + t.tv_nsec;
}
