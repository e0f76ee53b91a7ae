#include "fs/common/log.h"

#include <paths.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TAG "cofferd"

static const char *log_role = TAG;
static bool log_stderr = true;
static bool log_journal; /* stderr is systemd's journal */
static int log_fd = -1;

/* The same descriptor for good: it can be connected again from any thread, and by a signal handler be written to. Where
 * connect(2) is not allowed any more, lines are lost once the logger's socket is another one; systemd's is always the
 * same. */
static void log_connect(void)
{
	const struct sockaddr_un logger = { .sun_family = AF_UNIX, .sun_path = _PATH_LOG };

	(void)!connect(log_fd, (const struct sockaddr *)&logger, sizeof logger);
}

/* systemd.exec(5), $JOURNAL_STREAM: device and inode of what stdout and stderr were. Who redirected stderr has the
 * variable, too. */
static bool is_journal(int fd)
{
	const char *given = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	int end = 0;

	return given && sscanf(given, "%llu:%llu%n", &device, &inode, &end) == 2 && !given[end] &&
	       fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *role, bool to_stderr)
{
	log_role = role;
	log_stderr = to_stderr;
	log_journal = to_stderr && is_journal(STDERR_FILENO);
	if (to_stderr)
		return;
	tzset(); /* lines are stamped with the local time: later it could not be read which */
	if (log_fd < 0)
		log_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	log_connect();
}

int log_descriptor(void) { return log_fd; }

/* A logger that hangs must not hang us: what it does not take at once is lost. */
static bool log_send(const char *text, size_t len) { return send(log_fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0; }

/* "<priority>Mmm dd hh:mm:ss tag[pid]: text", as syslog(3) has it. */
static void log_syslog(int priority, const char *line)
{
	char stamp[32] = "", out[1200];
	time_t now = time(NULL);
	struct tm tm;

	if (localtime_r(&now, &tm))
		(void)!strftime(stamp, sizeof stamp, "%b %e %H:%M:%S ", &tm);
	int n = snprintf(out, sizeof out, "<%d>%s" TAG "[%d]: %s: %s", LOG_DAEMON | priority, stamp, (int)getpid(),
			 log_role, line);
	size_t len = (size_t)n < sizeof out ? (size_t)n : sizeof out - 1;
	if (n > 0 && !log_send(out, len)) {
		log_connect();
		(void)log_send(out, len);
	}
}

void log_line(int priority, const char *format, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	for (char *p = line; *p; p++) /* a name in a line must not start another */
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	if (!log_stderr) {
		log_syslog(priority, line);
		return;
	}
	char out[1200];
	/* the journal puts name and pid before each line itself, and takes its level from it: sd-daemon(3) */
	int n = log_journal ? snprintf(out, sizeof out, "<%d>%s: %s\n", LOG_PRI(priority), log_role, line)
			    : snprintf(out, sizeof out, TAG "[%d] %s: %s\n", (int)getpid(), log_role, line);
	if (n > 0)
		(void)!write(STDERR_FILENO, out, (size_t)n < sizeof out ? (size_t)n : sizeof out - 1);
}

/* ---- lines that a caller can cause ---- */

static pthread_mutex_t limits_lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_limit *limits;

static int64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Begins a new time where the old one is over; ret is what is to be said of that. With the lock. */
static bool limit_over(struct log_limit *l, int64_t now, struct log_limit *ret)
{
	if (now - l->began < LOG_LIMIT_NS)
		return false;
	*ret = *l;
	l->began = now;
	l->written = l->left_out = 0;
	return ret->left_out > 0;
}

static void say_left_out(const struct log_limit *l)
{
	log_line(l->priority, "%u more lines of this kind were left out in %d s, the last one: %s", l->left_out,
		 (int)(LOG_LIMIT_NS / 1000000000), l->last);
}

void log_limited(struct log_limit *l, int priority, const char *format, ...)
{
	char line[1024];
	struct log_limit before = { 0 };
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	pthread_mutex_lock(&limits_lock);
	if (!l->known) {
		*l = (struct log_limit){ .began = monotonic_ns(), .known = true, .priority = priority, .next = limits };
		limits = l;
	}
	const bool over = limit_over(l, monotonic_ns(), &before), write = l->written < LOG_LIMIT;
	if (write) {
		l->written++;
	} else {
		l->left_out++;
		snprintf(l->last, sizeof l->last, "%.*s", (int)sizeof l->last - 1, line);
	}
	pthread_mutex_unlock(&limits_lock);
	if (over)
		say_left_out(&before);
	if (write)
		log_line(priority, "%s", line);
}

void log_limits_end(void)
{
	struct log_limit said;

	pthread_mutex_lock(&limits_lock);
	for (struct log_limit *l = limits; l; l = l->next) {
		if (!limit_over(l, monotonic_ns(), &said))
			continue;
		pthread_mutex_unlock(&limits_lock); /* places stay where they are, and in the list */
		say_left_out(&said);
		pthread_mutex_lock(&limits_lock);
	}
	pthread_mutex_unlock(&limits_lock);
}

/* ---- from a signal handler: no stdio, no locks, no clock ---- */

struct raw {
	char text[256];
	size_t len;
};

static void raw_text(struct raw *r, const char *text)
{
	for (; *text && r->len < sizeof r->text; text++)
		r->text[r->len++] = *text;
}

static void raw_number(struct raw *r, unsigned long n)
{
	char digits[24] = "";
	size_t at = sizeof digits - 1;

	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) && at > 0);
	raw_text(r, digits + at);
}

void log_from_handler(const char *before, unsigned long number, const char *after)
{
	struct raw r = { .len = 0 };

	if (!log_stderr || log_journal) {
		raw_text(&r, "<");
		raw_number(&r, log_journal ? LOG_ERR : LOG_DAEMON | LOG_ERR);
		raw_text(&r, ">");
	}
	if (!log_journal) {
		raw_text(&r, TAG "[");
		raw_number(&r, (unsigned long)getpid());
		raw_text(&r, log_stderr ? "] " : "]: ");
	}
	raw_text(&r, log_role);
	raw_text(&r, ": ");
	raw_text(&r, before);
	raw_number(&r, number);
	raw_text(&r, after);
	if (!log_stderr) {
		(void)log_send(r.text, r.len);
		return;
	}
	raw_text(&r, "\n");
	(void)!write(STDERR_FILENO, r.text, r.len);
}
