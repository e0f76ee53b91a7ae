/* The end of a child: noticed, or not waited for any more; and what follows from it. */
#include <sys/wait.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/keeper/turns.h"
#include "fs/common/log.h"

/* a helper that cannot start ends sooner; one that was killed in service is waited for by callers */
#define HELPER_SERVED_MS 1000

static void log_end(const char *what, pid_t pid, int status)
{
	if (WIFSIGNALED(status))
		log_warn("%s (%d) was ended by signal %d", what, (int)pid, WTERMSIG(status));
	else
		log_warn("%s (%d) ended with status %d", what, (int)pid, WEXITSTATUS(status));
}

static void helper_died(struct keeper *k, enum helper which, int status)
{
	struct child *c = &k->helpers[which];

	log_end(children_role(which), c->pid, status);
	c->pid = 0;
	children_publish(k);
	if (clock_ms() - c->started_ms > HELPER_SERVED_MS)
		patience_win(&c->patience);
	patience_lose(&c->patience);
}

static void worker_died(struct keeper *k, int i, int status)
{
	struct seat *s = &k->seats[i];
	const pid_t pid = s->pid;
	const int was_active = k->active;

	if (s->state != SEAT_SERVING)
		control_last_words(k, i); /* how far it had come, too */
	const enum seat_state was = s->state;
	if (s->control >= 0)
		close(s->control);
	children_release(k, s->holder);
	*s = (struct seat){ .control = -1 };
	/* the last that was open is closed: it had nothing to do any more */
	if (k->outlived && mount_aborted(k->mount)) {
		if (i == k->active)
			k->active = -1;
		return;
	}
	if (i == k->active) /* first of all: callers wait */
		takeover_after_death(k);
	log_end(was == SEAT_SERVING || was == SEAT_ACTIVATING ? "worker" : "standby worker", pid, status);
	if (k->upgrade == UPGRADE_WORKER && i != was_active) {
		upgrade_worker_died(k, status);
	} else if (was == SEAT_SERVING || was == SEAT_PREPARED) {
		patience_win(&k->patience); /* one that came so far was no failure to start */
	} else {
		patience_lose(&k->patience);
		keeper_trouble(k, "a worker never became ready (%u in a row); see the lines before this one in the log",
			       k->patience.failures);
		upgrade_not_served(k);
	}
	children_publish(k);
}

void children_reap(struct keeper *k)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == k->probe) {
			k->probe = 0;
			k->probe_status = status;
		}
		if (pid == k->lingering) {
			log_end(k->lingering_role ? k->lingering_role : "a process that was left behind", pid, status);
			k->lingering = 0;
		}
		seats_holder_ended(k, pid);
		for (int i = 0; i < SEATS; i++)
			if (k->seats[i].pid == pid)
				worker_died(k, i, status);
		for (int i = 0; i < HELPERS; i++)
			if (k->helpers[i].pid == pid)
				helper_died(k, (enum helper)i, status);
	}
}

void dying_leave_behind(struct keeper *k, int seat)
{
	struct seat *s = &k->seats[seat];

	k->lingering = s->pid;
	k->lingering_role = "worker";
	if (s->state == SEAT_SERVING || s->state == SEAT_PREPARED)
		k->patience = (struct patience){ 0 }; /* one that came so far was no failure to start */
	if (s->control >= 0)
		close(s->control);
	children_release(k, s->holder);
	*s = (struct seat){ .control = -1 };
	if (seat == k->active) {
		index_free(k);
		takeover_after_death(k);
	} else if (k->upgrade == UPGRADE_WORKER)
		upgrade_abandon(k, "its worker was killed and cannot be reaped");
	children_publish(k);
}
