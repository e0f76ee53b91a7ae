/* How every command says that something is wrong, or worth knowing: one line on stderr. */
#include "fs/cli/cli.h"

#include <stdarg.h>
#include <stdio.h>

#include "fs/cli/output.h"

#define MESSAGE_MAX 2048

static void print_line(const char *format, va_list ap) __attribute__((format(printf, 1, 0)));

static void print_line(const char *format, va_list ap)
{
	char text[MESSAGE_MAX];

	vsnprintf(text, sizeof(text), format, ap);
	output_harmless(text);
	fflush(stdout);
	fprintf(stderr, "coffer: %s\n", text);
}

int fail(enum exit_status status, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	print_line(format, ap);
	va_end(ap);
	return (int)status;
}

void note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	print_line(format, ap);
	va_end(ap);
}
