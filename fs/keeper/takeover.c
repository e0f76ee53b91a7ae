/* Who is active: the order in which one worker follows another. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/keeper/turns.h"
#include "fs/common/log.h"

static void activate(struct keeper *k, int seat)
{
	const struct control_message word = { .type = CONTROL_ACTIVATE,
					      .number = audit_head_segment(&k->shared->audit_head) };
	int segment = -1;

	k->active = seat;
	k->seats[seat].state = SEAT_ACTIVATING;
	k->seats[seat].since_ms = clock_ms();
	memory_sign(k);
	/* where the head is the word of one that was somebody else's, it opens nothing that is closed */
	if (word.number > k->closed && audit_segment_open_at(k->store.audit_dir, word.number, false, 0, &segment))
		segment = -1; /* it asks, and hears why */
	int r = control_send(k->seats[seat].control, &word, segment);
	if (segment >= 0)
		close(segment);
	if (r) { /* it is dead, which SIGCHLD is about to say; or has stopped to listen, and must be */
		log_warn("worker %d does not take its word: %s", (int)k->seats[seat].pid, strerror(-r));
		kill(k->seats[seat].pid, SIGKILL);
	}
	children_publish(k);
}

/* What a worker had read and not answered goes back to the queue for the next one. Before that one has its word: what
 * it has read itself must not come to it again, and be done twice at the same time. */
static void send_again(struct keeper *k)
{
	if (k->resend && mount_resend(k->mount))
		log_error("unanswered requests cannot be sent again: %s", strerror(errno));
}

bool takeover_is_dead(const struct seat *s)
{
	const char letter = dying_letter(s->pid);

	return letter == 'Z' || letter == 'X' || letter == '\0';
}

void takeover_prepared(struct keeper *k, int seat)
{
	if (k->active < 0 && k->giver_fd < 0)
		activate(k, seat);
	else
		children_publish(k);
}

static int standby(const struct keeper *k)
{
	for (int i = 0; i < SEATS; i++)
		if (k->seats[i].state == SEAT_PREPARED && !takeover_is_dead(&k->seats[i]))
			return i;
	return -1;
}

static void blame(void *arg, uint64_t unique) { suspects_add(arg, unique); }

/* Only what a thread was at is under suspicion: what waited in a queue has done nothing. */
static void note_suspects(struct shared *s)
{
	unanswered_worker_died(&s->unanswered, blame, &s->suspects);
	atomic_store(&s->tick_began, 0);
}

void takeover_retire(struct keeper *k, int next, int64_t patience_ms)
{
	if (k->active >= 0)
		children_stop_worker(k, k->active, patience_ms);
	note_suspects(k->shared); /* of one that did not end in time */
	send_again(k);
	activate(k, next);
}

void takeover_from_other(struct keeper *k)
{
	send_again(k);
	activate(k, standby(k));
}

void takeover_after_death(struct keeper *k)
{
	k->active = -1;
	note_suspects(k->shared);
	k->aborted = mount_aborted(k->mount);
	if (k->aborted) /* it has nothing to serve any more, and nor has another */
		return;
	k->shared->keeper.restarts++;
	send_again(k);
	const int next = standby(k);
	if (next >= 0)
		activate(k, next);
}
