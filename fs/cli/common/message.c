/* How every command says that something is wrong, or worth knowing: one line on stderr. */
#include "fs/cli/common/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/harmless.h"

#define MESSAGE_MAX 1024

static void print_line(const char *format, va_list ap) __attribute__((format(printf, 1, 0)));

/* A word that is too long must not push out what there is to do about it: the middle goes. */
static void shorten(char *text)
{
	static const char gap[] = " ... ";
	const size_t len = strlen(text), half = (MESSAGE_MAX - (sizeof(gap) - 1)) / 2;

	if (len <= MESSAGE_MAX)
		return;
	memcpy(text + half, gap, sizeof(gap) - 1);
	memmove(text + half + sizeof(gap) - 1, text + len - half, half + 1);
}

static char command[MESSAGE_MAX / 2] = "coffer";

void message_command(const char *text)
{
	if (strlen(text) < sizeof(command))
		strcpy(command, text);
}

/* Each COFFER in the text becomes the command; takes text, NULL: no memory. */
static char *name_command(char *text)
{
	char *named = NULL, *rest, *at = text;
	size_t size = 0;
	FILE *f = text ? open_memstream(&named, &size) : NULL;

	if (!f)
		return text;
	for (; (rest = strchr(at, COFFER[0])); at = rest + 1)
		fprintf(f, "%.*s%s", (int)(rest - at), at, command);
	fputs(at, f);
	if (fclose(f) != 0) {
		free(named);
		return text;
	}
	free(text);
	return named;
}

static void print_line(const char *format, va_list ap)
{
	char *text = NULL;

	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	text = name_command(text);
	if (text) {
		shorten(text);
		make_harmless(text);
	}
	fflush(stdout);
	fprintf(stderr, "coffer: %s\n", text ? text : "not enough memory");
	free(text);
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
