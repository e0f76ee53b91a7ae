/* Who is active: the order in which one worker follows another. */
#include "fs/keeper_internal.h"

#include <errno.h>
#include <string.h>

#include "fs/log.h"

static void activate(struct keeper *k, int seat)
{
	const struct control_message word = { .type = CONTROL_ACTIVATE };

	k->active = seat;
	k->seats[seat].state = SEAT_ACTIVATING;
	int r = control_send(k->seats[seat].control, &word, -1);
	if (r)		/* its death, which is the only reason, is on its way to us */
		log_warn("worker %d does not take its word: %s", (int)k->seats[seat].pid, strerror(-r));
	children_publish(k);
}

void takeover_prepared(struct keeper *k, int seat)
{
	k->seats[seat].state = SEAT_PREPARED;
	if (k->active < 0)
		activate(k, seat);
	else
		children_publish(k);
}

static int standby(const struct keeper *k)
{
	for (int i = 0; i < SEATS; i++)
		if (k->seats[i].state == SEAT_PREPARED)
			return i;
	return -1;
}

void takeover_after_death(struct keeper *k, int seat)
{
	(void)seat;
	k->active = -1;
	k->shared->keeper.restarts++;
	const int next = standby(k);
	if (next >= 0)
		activate(k, next);
	/* what it had read and not answered goes back to the queue for the next one */
	if (k->shared->keeper.resend && mount_resend(k->mount))
		log_error("unanswered requests cannot be sent again: %s", strerror(errno));
}
