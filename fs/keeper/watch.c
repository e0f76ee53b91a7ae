/* The watchdog: what is stopped, stuck, or dying and cannot be reaped. */
#include <signal.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/common/log.h"

#define LOOK_MS        250
#define LONG_MS        1000 /* for a process to end */
#define STOPPED_LOOKS  2    /* a stopped process is ended at the second look … */
/* … but the key holder, who may have a passphrase that nobody gives twice, is asked to go on first */
#define CONTINUE_LOOKS 8

static void kill_worker(struct keeper *k, struct seat *s)
{
	kill(s->pid, SIGKILL);
	if (!s->killed_ms)
		s->killed_ms = clock_ms();
	k->shared->keeper.watchdog_kills++;
}

/* A thread of a killed worker can wait in the kernel for what only the next worker brings: a directory's lock, for one,
 * that a client's unanswered mkdir holds. So we do not wait for it. */
static void look_at_dying(struct keeper *k, int seat)
{
	struct seat *s = &k->seats[seat];
	const int64_t since = s->killed_ms ? clock_ms() - s->killed_ms : 0;

	if (since < UNREAPABLE_MS)
		return;
	if (!dying_cannot_act(s->pid)) {
		if (since >= LONG_MS && !s->told)
			keeper_trouble(
				k,
				"worker %d was killed and does not end, perhaps for a disk that does not answer: what "
				"it writes must be written, or fail, before the next one takes over",
				(int)s->pid);
		s->told |= since >= LONG_MS;
		return;
	}
	keeper_trouble(k,
		       "worker %d was killed and cannot be reaped, for a thread of it waits in the kernel; the next "
		       "one takes over",
		       (int)s->pid);
	dying_leave_behind(k, seat);
}

/* What began in the future has that long to go before it counts (shared_takes). */
static bool too_long(uint32_t began, uint32_t now, uint32_t limit_ms)
{
	return began && now - began > limit_ms && now - began < UINT32_MAX / 2;
}

static void look_for_stuck(struct keeper *k, struct seat *s)
{
	const uint32_t now = (uint32_t)clock_ms(), limit = k->options.watchdog * 1000;
	uint32_t began = atomic_load(&k->shared->tick_began);

	for (size_t i = 0; i < UNANSWERED_THREADS && !too_long(began, now, limit); i++)
		began = atomic_load(&k->shared->unanswered.at[i].began);
	if (!limit || s->killed_ms || !too_long(began, now, limit))
		return;
	keeper_trouble(k, "worker %d has been at one request for %u seconds and is ended", (int)s->pid,
		       (now - began) / 1000);
	kill_worker(k, s);
}

/* Whatever it waits for: it is in the place of one that could take over, or has the word to. */
static void look_for_slow(struct keeper *k, struct seat *s)
{
	if (!k->options.watchdog || s->killed_ms || clock_ms() - s->since_ms < START_TIMEOUT_MS ||
	    (s->state != SEAT_PREPARING && s->state != SEAT_ACTIVATING))
		return;
	keeper_trouble(k, "worker %d did not get ready in %d seconds and is ended", (int)s->pid,
		       START_TIMEOUT_MS / 1000);
	kill_worker(k, s);
}

static void look_at_worker(struct keeper *k, int seat)
{
	struct seat *s = &k->seats[seat];
	if (!s->pid)
		return;
	const char state = dying_letter(s->pid);

	/* somebody else's SIGKILL, and it cannot be reaped yet */
	if (!s->killed_ms && (state == 'Z' || state == 'X' || (state == 'D' && dying_is_killed(s->pid))))
		s->killed_ms = clock_ms();
	s->stopped = state == 'T' && k->options.watchdog ? s->stopped + 1 : 0;
	if (s->stopped >= STOPPED_LOOKS && !s->killed_ms) {
		keeper_trouble(k, "worker %d was stopped by a signal and is ended", (int)s->pid);
		kill_worker(k, s);
	}
	if (seat == k->active && s->state == SEAT_SERVING)
		look_for_stuck(k, s);
	look_for_slow(k, s);
	look_at_dying(k, seat);
}

static void look_at_helper(struct keeper *k, enum helper which)
{
	struct child *c = &k->helpers[which];
	if (!c->pid)
		return;
	c->stopped = k->options.watchdog && dying_letter(c->pid) == 'T' ? c->stopped + 1 : 0;
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
	const int64_t now = clock_ms();
	bool dying = false;

	log_limits_end();
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
