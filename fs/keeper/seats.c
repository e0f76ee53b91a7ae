/* The seats of workers, who keeps their memory, and patience with those that die again and again. */
#include <signal.h>
#include <sys/wait.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"

/* longer than a takeover takes; the next standby, which brings memory of its own, is ready later */
#define HELD_MS       30
#define FREE_RESTARTS 5

const char *children_role(enum helper which)
{
	static const char *const roles[HELPERS] = { "keyholder", "resolver", "bell", "runner" };

	return roles[which];
}

/* Status calls standby only who could take over now. */
void children_publish(struct keeper *k)
{
	struct shared_keeper *s = &k->shared->keeper;
	pid_t worker = 0, standby = 0;

	if (k->giver_fd >= 0) /* another keeper's are the ones that count, still */
		return;
	for (int i = 0; i < SEATS; i++)
		if (i == k->active)
			worker = k->seats[i].pid;
		else if (k->seats[i].state == SEAT_PREPARED)
			standby = k->seats[i].pid;
	s->keyholder = k->helpers[HELPER_KEYHOLDER].pid;
	s->resolver = k->helpers[HELPER_RESOLVER].pid;
	s->bell = k->helpers[HELPER_BELL].pid;
	s->runner = k->helpers[HELPER_RUNNER].pid;
	s->worker = worker;
	s->standby = standby;
}

int seats_free(const struct keeper *k)
{
	for (int i = 0; i < SEATS; i++)
		if (k->seats[i].state == SEAT_EMPTY)
			return i;
	return -1;
}

static bool is_other(const struct keeper *k, pid_t pid)
{
	bool other = pid == k->probe || pid == k->lingering;

	for (int i = 0; i < SEATS; i++)
		other |= pid == k->seats[i].pid || pid == k->seats[i].holder;
	for (int i = 0; i < HELPERS; i++)
		other |= pid == k->helpers[i].pid;
	for (int i = 0; i < HELD; i++)
		other |= pid == k->held[i].pid;
	return other;
}

void children_note_holder(struct keeper *k, int seat, pid_t pid)
{
	siginfo_t ended = { .si_pid = 0 };

	if (pid > 0 && k->seats[seat].state == SEAT_PREPARING && !k->seats[seat].holder && !is_other(k, pid) &&
	    !waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) && !ended.si_pid)
		k->seats[seat].holder = pid;
}

void children_release(struct keeper *k, pid_t holder)
{
	if (!holder)
		return;
	for (int i = 0; i < HELD; i++)
		if (!k->held[i].pid) {
			k->held[i] = (struct held){ .pid = holder, .until_ms = clock_ms() + HELD_MS };
			return;
		}
	kill(holder, SIGKILL);
}

int children_end_holders(struct keeper *k, bool all)
{
	int64_t now = clock_ms(), wait = -1;

	for (int i = 0; i < HELD; i++) {
		struct held *h = &k->held[i];
		if (h->pid && (all || h->until_ms <= now)) {
			kill(h->pid, SIGKILL);
			h->pid = 0;
		}
		if (h->pid && (wait < 0 || h->until_ms - now < wait))
			wait = h->until_ms - now;
	}
	return (int)wait;
}

void seats_holder_ended(struct keeper *k, pid_t pid)
{
	for (int i = 0; i < SEATS; i++)
		if (k->seats[i].holder == pid)
			k->seats[i].holder = 0;
	for (int i = 0; i < HELD; i++)
		if (k->held[i].pid == pid)
			k->held[i].pid = 0;
}

/* Deaths in a row are answered with growing patience: 0, 50, 100, 200 … 5,000 ms. The first few come back at once:
 * callers are waiting. */
void patience_lose(struct patience *p)
{
	unsigned doublings = p->failures < FREE_RESTARTS       ? 0
			     : p->failures - FREE_RESTARTS < 7 ? p->failures - FREE_RESTARTS
							       : 7;
	int64_t delay = p->failures < FREE_RESTARTS ? 0 : (int64_t)50 << doublings;

	p->failures++;
	p->not_before_ms = clock_ms() + (delay > 5000 ? 5000 : delay);
}

void patience_win(struct patience *p) { *p = (struct patience){ 0 }; }
