/* The watchdog: what is stopped, stuck, or dying and cannot be reaped. */
#include "fs/keeper_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/log.h"

#define LOOK_MS        250
#define STOPPED_LOOKS  2	/* a stopped process is ended at the second look … */
#define CONTINUE_LOOKS 8	/* … but the key holder, who may have a passphrase that nobody gives twice, is asked to go on first */

/* The state letter of /proc/PID[/task/TID]/stat, '\0': it is gone. The name before it may hold anything but its last ')'. */
static char state_of(const char *path)
{
	char text[512];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return '\0';
	text[n] = '\0';
	const char *end = strrchr(text, ')');
	return end && end[1] == ' ' ? end[2] : '\0';
}

static char process_state(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	return state_of(path);
}

bool watch_cannot_act(pid_t pid)
{
	char path[64], of_thread[sizeof path + sizeof ((struct dirent *)0)->d_name + 8];
	bool all = true;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);
	for (struct dirent *e; all && d && (e = readdir(d));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(of_thread, sizeof of_thread, "%s/%s/stat", path, e->d_name);
		const char state = state_of(of_thread);
		all = state == 'D' || state == 'Z' || state == 'X' || state == '\0';
	}
	if (d)
		closedir(d);
	return d && all;
}

static void kill_worker(struct keeper *k, struct seat *s)
{
	kill(s->pid, SIGKILL);
	if (!s->killed_ms)
		s->killed_ms = keeper_now_ms();
	k->shared->keeper.watchdog_kills++;
}

/* A thread of a killed worker can wait in the kernel for what only the next worker brings: a directory's lock, for one, that a client's unanswered mkdir holds. So we do not wait for it. */
static void look_at_dying(struct keeper *k, int seat)
{
	struct seat *s = &k->seats[seat];

	if (!s->killed_ms || keeper_now_ms() - s->killed_ms < UNREAPABLE_MS || !watch_cannot_act(s->pid))
		return;
	keeper_trouble(k, "worker %d was killed and cannot be reaped, for a thread of it waits in the kernel; the next one takes over", (int)s->pid);
	k->lingering = s->pid;
	if (s->control >= 0)
		close(s->control);
	*s = (struct seat){ .control = -1 };
	if (seat == k->active)
		takeover_after_death(k);
	children_publish(k);
}

/* What began in the future has that long to go before it counts (shared_takes). */
static bool too_long(uint32_t began, uint32_t now, uint32_t limit_ms)
{
	return began && now - began > limit_ms && now - began < UINT32_MAX / 2;
}

static void look_for_stuck(struct keeper *k, struct seat *s)
{
	const uint32_t now = (uint32_t)keeper_now_ms(), limit = k->options.watchdog * 1000;
	uint32_t began = atomic_load(&k->shared->tick_began);

	for (size_t i = 0; i < SLOTS && !too_long(began, now, limit); i++)
		began = atomic_load(&k->shared->slots[i].began);
	if (!limit || s->killed_ms || !too_long(began, now, limit))
		return;
	keeper_trouble(k, "worker %d has been at one request for %u seconds and is ended", (int)s->pid, (now - began) / 1000);
	kill_worker(k, s);
}

static void look_at_worker(struct keeper *k, int seat)
{
	struct seat *s = &k->seats[seat];
	if (!s->pid)
		return;
	const char state = process_state(s->pid);

	/* somebody else's SIGKILL, and it cannot be reaped yet */
	if ((state == 'Z' || state == 'X') && !s->killed_ms)
		s->killed_ms = keeper_now_ms();
	s->stopped = state == 'T' && k->options.watchdog ? s->stopped + 1 : 0;
	if (s->stopped >= STOPPED_LOOKS && !s->killed_ms) {
		keeper_trouble(k, "worker %d was stopped by a signal and is ended", (int)s->pid);
		kill_worker(k, s);
	}
	if (seat == k->active && s->state == SEAT_SERVING)
		look_for_stuck(k, s);
	look_at_dying(k, seat);
}

static void look_at_helper(struct keeper *k, enum helper which)
{
	struct child *c = &k->helpers[which];
	if (!c->pid)
		return;
	c->stopped = k->options.watchdog && process_state(c->pid) == 'T' ? c->stopped + 1 : 0;
	if (c->stopped < STOPPED_LOOKS)
		return;
	if (which == HELPER_KEYHOLDER && c->stopped < CONTINUE_LOOKS) {
		keeper_trouble(k, "the key holder was stopped by a signal; it is told to go on");
		kill(c->pid, SIGCONT);
	} else if (c->stopped == STOPPED_LOOKS || which == HELPER_KEYHOLDER) {
		keeper_trouble(k, "%s (%d) was stopped by a signal and is ended", children_role(which), (int)c->pid);
		kill(c->pid, SIGKILL);
	}
}

int watch(struct keeper *k)
{
	const int64_t now = keeper_now_ms();
	bool dying = false;

	for (int i = 0; i < SEATS; i++) {
		if (now >= k->next_look_ms)
			look_at_worker(k, i);
		else
			look_at_dying(k, i);
		dying |= k->seats[i].killed_ms != 0;
	}
	if (now >= k->next_look_ms) {
		k->aborted |= mount_aborted(k->mount);
		for (int i = 0; i < HELPERS; i++)
			look_at_helper(k, (enum helper)i);
		k->next_look_ms = now + LOOK_MS;
	}
	return dying ? UNREAPABLE_MS / 2 : (int)(k->next_look_ms - now);
}
