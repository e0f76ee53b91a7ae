/* The daemon's own log: one line each, to stderr in the foreground and to syslog otherwise. Never a value, never a key.
 */
#ifndef COFFER_FS_COMMON_LOG_H
#define COFFER_FS_COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

/* role is kept by reference ("keeper", "worker"). Before log_open lines go to stderr. */
void log_open(const char *role, bool to_stderr);
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Lines that a caller can cause, again and again: LOG_LIMIT of each kind in LOG_LIMIT_NS, and then how many more there
 * were. A kind is a place in the source (log_caused). Any thread; nobody waits for another's line. */
#define LOG_LIMIT    5u
#define LOG_LIMIT_NS 10000000000
struct log_limit {
	int64_t began; /* CLOCK_MONOTONIC ns */
	uint32_t written, left_out;
	int priority;
	char last[200]; /* of those that were left out */
	struct log_limit *next;
	bool known;
};
void log_limited(struct log_limit *limit, int priority, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define log_caused(priority, ...)                                         \
	do {                                                              \
		static struct log_limit limit_of_this_place;              \
		log_limited(&limit_of_this_place, priority, __VA_ARGS__); \
	} while (0)
/* Now and then: says how many lines were left out of each kind whose time is over. */
void log_limits_end(void);
/* The logger's socket, for good; -1: lines go to stderr. */
int log_descriptor(void);
/* An error, for signal handlers: `before`, the number, `after`. Async-signal-safe, and never waits. */
void log_from_handler(const char *before, unsigned long number, const char *after);

#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)

#endif
