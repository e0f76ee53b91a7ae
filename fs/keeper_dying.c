/* A worker that dies: when it is known that it can do nothing any more.
 *
 * What counts is that no thread of it runs in user space again. Usually that is so long before the process can be reaped, for the kernel takes its memory apart in between, which takes the longer the more secrets there are, and
 * callers wait. So two of its threads are watched by pidfd (Linux 6.9; only one thread can be the last, which has the memory to clear), and when one ends, every thread is asked for the flag that the kernel sets on the way out. */
#include "fs/keeper_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fs/log.h"

#define PIDFD_OF_THREAD ((unsigned)O_EXCL)	/* PIDFD_THREAD, which older headers lack */
#define EXITING         4u			/* PF_EXITING of the flags in proc_pid_stat(5): no system call is under way, and none will be */
#define LOOKS           20u
#define BETWEEN_US      50

struct thread_state { char letter; unsigned flags; };

/* Of /proc/PID[/task/TID]/stat; a letter of '\0': it is gone, '?': nobody knows, which is no death. The name before it may hold anything but its last ')'. */
static struct thread_state state_of(const char *path)
{
	struct thread_state s = { 0 };
	char text[512];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	const bool gone = n < 0 && (errno == ENOENT || errno == ESRCH);

	if (fd >= 0)
		close(fd);
	if (gone)
		return s;
	text[n > 0 ? n : 0] = '\0';
	const char *end = strrchr(text, ')');
	if (!end || sscanf(end, ") %c %*d %*d %*d %*d %*d %u", &s.letter, &s.flags) != 2)
		s.letter = '?';
	return s;
}

char dying_letter(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	return state_of(path).letter;
}

static bool waits_or_gone(struct thread_state s)
{
	return s.letter == 'D' || s.letter == 'Z' || s.letter == 'X' || s.letter == '\0';
}

static bool exiting_or_gone(struct thread_state s)
{
	return (s.flags & EXITING) || s.letter == '\0';
}

static bool every_thread(pid_t pid, bool (*is)(struct thread_state))
{
	char path[64], of_thread[sizeof path + sizeof ((struct dirent *)0)->d_name + 8];
	bool all = true;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);
	for (struct dirent *e; all && d && (e = readdir(d));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(of_thread, sizeof of_thread, "%s/%s/stat", path, e->d_name);
		all = is(state_of(of_thread));
	}
	if (d)
		closedir(d);
	return d && all;
}

bool dying_cannot_act(pid_t pid)
{
	return every_thread(pid, waits_or_gone);
}

/* Its first thread has SIGKILL before it, and has not come to take it: it waits in the kernel. With it the others are being killed. */
bool dying_is_killed(pid_t pid)
{
	char path[64], text[4096];
	unsigned long long pending = 0;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *at = strstr(text, "\nSigPnd:");
	return at && sscanf(at, "\nSigPnd: %llx", &pending) == 1 && (pending & 1ULL << (SIGKILL - 1));
}

void dying_leave_behind(struct keeper *k, int seat)
{
	struct seat *s = &k->seats[seat];

	k->lingering = s->pid;
	k->lingering_role = "worker";
	if (s->state == SEAT_SERVING || s->state == SEAT_PREPARED)
		k->patience = (struct patience){ 0 };	/* one that came so far was no failure to start */
	if (s->control >= 0)
		close(s->control);
	*s = (struct seat){ .control = -1 };
	if (seat == k->active)
		takeover_after_death(k);
	children_publish(k);
}

/* ---- the active worker's ---- */

void dying_unwatch(struct keeper *k)
{
	for (int i = 0; i < WATCHED_THREADS; i++) {
		if (k->threads[i] >= 0)
			close(k->threads[i]);
		k->threads[i] = -1;
	}
}

/* Without such descriptors its death is seen when it is reaped. */
void dying_watch(struct keeper *k)
{
	const pid_t pid = k->seats[k->active].pid;
	char path[64];
	int n = 0;

	dying_unwatch(k);
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);
	for (struct dirent *e; n < WATCHED_THREADS && d && (e = readdir(d));) {
		const pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);
		if (tid > 0 && tid != pid)
			k->threads[n] = (int)syscall(SYS_pidfd_open, tid, PIDFD_OF_THREAD);
		n += n < WATCHED_THREADS && k->threads[n] >= 0;
	}
	if (d)
		closedir(d);
}

/* It is sent SIGKILL in between: a thread that ends by itself could have made another behind our back; a process that is being killed cannot. */
static bool has_ended(pid_t pid)
{
	return every_thread(pid, exiting_or_gone) && !kill(pid, SIGKILL) && every_thread(pid, exiting_or_gone);
}

void dying_seen(struct keeper *k)
{
	const struct timespec between = { .tv_nsec = BETWEEN_US * 1000 };
	struct seat *s = k->active >= 0 ? &k->seats[k->active] : NULL;

	dying_unwatch(k);
	if (!s || s->state != SEAT_SERVING || k->lingering)
		return;
	const pid_t pid = s->pid;
	for (unsigned i = 0; i < LOOKS && !has_ended(pid); i++)
		nanosleep(&between, NULL);
	if (!has_ended(pid)) {	/* it finishes what it is at; or it will be reaped, or found unreapable */
		if (!s->killed_ms && dying_is_killed(pid))
			s->killed_ms = keeper_now_ms();
		return;
	}
	dying_leave_behind(k, k->active);
	log_info("worker %d dies, and another takes over", (int)pid);
}
