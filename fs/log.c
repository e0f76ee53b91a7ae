#include "fs/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *log_role = "cofferd";
static bool log_stderr = true;

void log_open(const char *role, bool to_stderr)
{
	log_role = role;
	log_stderr = to_stderr;
	tzset();		/* syslog(3) stamps lines with the local time: later it could not read which */
	if (!to_stderr)
		openlog("cofferd", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_line(int priority, const char *format, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	for (char *p = line; *p; p++)		/* a name in a line must not start another */
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	if (!log_stderr) {
		syslog(priority, "%s: %s", log_role, line);
		return;
	}
	char out[1200];
	int n = snprintf(out, sizeof out, "cofferd[%d] %s: %s\n", (int)getpid(), log_role, line);
	if (n > 0)
		(void)!write(STDERR_FILENO, out, (size_t)n < sizeof out ? (size_t)n : sizeof out - 1);
}
