/* The daemon's own log: one line each, to stderr in the foreground and to syslog otherwise. Never a value, never a key. */
#ifndef COFFER_FS_LOG_H
#define COFFER_FS_LOG_H

#include <stdbool.h>
#include <syslog.h>

/* role is kept by reference ("keeper", "worker"). Before log_open lines go to stderr. */
void log_open(const char *role, bool to_stderr);
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The logger's socket, for good; -1: lines go to stderr. */
int log_descriptor(void);
/* An error, for signal handlers: `before`, the number, `after`. Async-signal-safe, and never waits. */
void log_from_handler(const char *before, unsigned long number, const char *after);

#define log_error(...)  log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...)   log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)   log_line(LOG_INFO, __VA_ARGS__)

#endif
