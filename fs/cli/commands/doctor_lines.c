#include <stdarg.h>
#include <stdio.h>

#include "fs/cli/commands/doctor_internal.h"
#include "fs/cli/common/harmless.h"

#define LINE_MAX_LEN 1024

void doctor_say(struct doctor *d, enum verdict v, const char *what, const char *format, ...)
{
	static const char *const words[] = { [GOOD] = "ok", [WARN] = "warn", [BAD] = "FAIL" };
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	make_harmless(text);
	if (v == BAD)
		d->bad = true;
	if (d->json)
		json_array_append_new(d->lines,
				      json_pack("{s:s, s:s, s:s}", "check", what, "result", words[v], "text", text));
	else
		printf("%-4s  %-14s  %s\n", words[v], what, text);
}
