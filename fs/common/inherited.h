/* What a process inherits from whoever starts it, set right before anything else is done: closed standard descriptors,
 * ignored and blocked signals, a timer that runs, limits. */
#ifndef COFFER_FS_COMMON_INHERITED_H
#define COFFER_FS_COMMON_INHERITED_H

#include <stdbool.h>
#include <stddef.h>

/* Where standard input, output or error is closed, the next file that is opened would be it: what is printed would lie
 * in a private key, or go to the daemon as a request. What takes its place can neither be read nor written, so that
 * whoever needs it is told. */
void inherited_descriptors(void);

/* Every signal does what it does by itself, none is blocked, no alarm is due. What a shell ignores for a process in its
 * background (SIGINT, SIGQUIT) stays ignored; for a command, which leaves when its terminal or pipe goes, SIGHUP and
 * SIGPIPE, too. Writing beyond a limit on files is an error of that write, not an end half-way. */
void inherited_signals(bool command);

/* For the daemon, as root: limits that are too low for it are raised. 0: nothing had to be; 1: some had; -EPERM: one
 * may not be. In the last two cases one line in why. */
int inherited_limits(char *why, size_t why_len);

/* As in the unit of contrib/systemd: when memory is short, others are ended before the daemon, whose death takes the
 * secrets from everybody. A service manager has set its own. Where it is not allowed (no CAP_SYS_RESOURCE), it stays.
 */
void inherited_oom_protect(void);
/* For who runs others' programs: they are not to be spared. */
void inherited_oom_as_others(void);

#endif
