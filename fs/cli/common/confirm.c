/* What cannot be undone is asked for once more, where somebody sits at the terminal who can answer, wherever the output
 * goes. Scripts are not asked: they say what they want. */
#include "fs/cli/common/cli.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/common/harmless.h"

static void ask(const char *question)
{
	FILE *terminal = isatty(STDERR_FILENO) ? NULL : fopen("/dev/tty", "we");

	fprintf(terminal ? terminal : stderr, "%s Go on? [y/N] ", question);
	if (terminal)
		fclose(terminal);
}

int confirm(const struct args *a, const char *format, ...)
{
	char *question = NULL, *line = NULL, *word;
	size_t room = 0;
	bool yes = false;
	va_list ap;

	if (args_has(a, "yes") || !isatty(STDIN_FILENO))
		return EXIT_DONE;
	va_start(ap, format);
	if (vasprintf(&question, format, ap) < 0)
		question = NULL;
	va_end(ap);
	if (!question)
		return fail(EXIT_ERROR, "not enough memory");
	make_harmless(question);
	fflush(stdout);
	ask(question);
	free(question);
	if (getline(&line, &room, stdin) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		for (word = line; *word; word++)
			*word = (char)tolower((unsigned char)*word);
		yes = !strcmp(line, "y") || !strcmp(line, "yes");
	} else {
		fputc('\n', stderr);
	}
	free(line);
	return yes ? EXIT_DONE : fail(EXIT_ERROR, "nothing was done");
}
