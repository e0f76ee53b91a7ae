#include "fs/common/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

void inherited_descriptors(void)
{
	int fd;

	do
		fd = open("/", O_PATH | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
	/* those in the places of the three are for what we start, too */
	for (fd = 0; fd <= STDERR_FILENO; fd++)
		(void)fcntl(fd, F_SETFD, 0);
}

static bool stays_ignored(int number, bool command)
{
	return number == SIGINT || number == SIGQUIT || (command && (number == SIGHUP || number == SIGPIPE));
}

void inherited_signals(bool command)
{
	static const int timers[] = { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };
	const struct itimerval never = { { 0, 0 }, { 0, 0 } };
	struct sigaction now;
	sigset_t none;

	for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) /* an alarm outlives exec(2) */
		(void)setitimer((__itimer_which_t)timers[i], &never, NULL);
	for (int number = 1; number < NSIG; number++)
		if (!stays_ignored(number, command) && !sigaction(number, NULL, &now) && now.sa_handler == SIG_IGN)
			(void)signal(number, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* need: with less the daemon fails sooner or later; want: what it makes of a lower soft limit. */
static const struct limit {
	__rlimit_resource_t what;
	const char *name, *shell, *unit;
	rlim_t need, want;
} limits[] = {
	{ RLIMIT_NOFILE, "open files", "-n", "LimitNOFILE", 1024, 65536 },
	{ RLIMIT_NPROC, "processes of a user", "-u", "LimitNPROC", 512, 4096 },
	{ RLIMIT_FSIZE, "the size of a file", "-f", "LimitFSIZE", (rlim_t)4 << 30, RLIM_INFINITY },
	{ RLIMIT_CPU, "processor time", "-t", "LimitCPU", RLIM_INFINITY, RLIM_INFINITY },
	{ RLIMIT_AS, "address space", "-v", "LimitAS", (rlim_t)4 << 30, RLIM_INFINITY },
	{ RLIMIT_DATA, "memory for data", "-d", "LimitDATA", (rlim_t)2 << 30, RLIM_INFINITY },
	{ RLIMIT_STACK, "the stack", "-s", "LimitSTACK", 1 << 20, 8 << 20 },
};

/* 0, 1: it was too low and is raised, -EPERM: it is too low. */
static int raise_limit(const struct limit *l, struct rlimit *ret_before)
{
	struct rlimit now;

	if (getrlimit(l->what, &now) || now.rlim_cur >= l->want)
		return 0;
	*ret_before = now;
	if (now.rlim_max >= l->need) {
		now.rlim_cur = now.rlim_max < l->want ? now.rlim_max : l->want;
		return setrlimit(l->what, &now) && ret_before->rlim_cur < l->need ? -EPERM : 0;
	}
	now = (struct rlimit){ l->want, l->want };
	return setrlimit(l->what, &now) ? -EPERM : 1;
}

int inherited_limits(char *why, size_t why_len)
{
	struct rlimit before;
	size_t at = 0;
	char needed[32];

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		const struct limit *l = &limits[i];
		const int r = raise_limit(l, &before);

		if (r < 0) {
			snprintf(needed, sizeof needed, l->need == RLIM_INFINITY ? "unlimited" : "%" PRIu64,
				 (uint64_t)l->need);
			snprintf(why, why_len,
				 "the limit on %s is %" PRIu64
				 ", and the daemon needs %s; raise it before the start: ulimit %s, or %s= in a unit",
				 l->name, (uint64_t)before.rlim_max, needed, l->shell, l->unit);
			return -EPERM;
		}
		if (r > 0 && at < why_len)
			at += (size_t)snprintf(why + at, why_len - at, "%s %s (%" PRIu64 ")",
					       at ? "," : "limits were too low for the daemon and are raised:", l->name,
					       (uint64_t)before.rlim_max);
	}
	return at > 0;
}

#define OOM_FILE  "/proc/self/oom_score_adj"
#define OOM_SCORE "-500"

/* Only in this direction. */
static void oom_move(const char *score, bool lower)
{
	char now[16] = "";
	int fd = open(OOM_FILE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	if (read(fd, now, sizeof now - 1) > 0 && (lower ? atoi(now) > atoi(score) : atoi(now) < atoi(score)))
		(void)!pwrite(fd, score, strlen(score), 0);
	close(fd);
}

void inherited_oom_protect(void)
{
	if (!getenv("INVOCATION_ID"))
		oom_move(OOM_SCORE, true);
}

void inherited_oom_as_others(void) { oom_move("0", false); }
