/* What workers say that changes whose turn it is. */
#include "fs/common/clock.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/keeper/turns.h"
#include "fs/common/log.h"

static void prepared(struct keeper *k, int seat)
{
	k->seats[seat].state = SEAT_PREPARED;
	if (takeover_is_dead(&k->seats[seat])) /* it takes nobody's place */
		return;
	if (k->upgrade == UPGRADE_WORKER)
		upgrade_prepared(k, seat);
	else
		takeover_prepared(k, seat);
}

static void serves(struct keeper *k, int seat)
{
	k->seats[seat].state = SEAT_SERVING;
	k->served_ms = clock_ms();
	if (k->attached)
		log_info("worker %d serves", (int)k->seats[seat].pid);
	control_close_segments(k);
	if (k->upgrade == UPGRADE_SELF)
		upgrade_served(k);
}

void control_read(struct keeper *k, int seat)
{
	const struct seat *s = &k->seats[seat];
	struct control_message m;

	if (!words_hear(k, seat, &m))
		return;
	if (m.type == CONTROL_PREPARED && s->state == SEAT_PREPARING)
		prepared(k, seat);
	else if (m.type == CONTROL_READY && s->state == SEAT_ACTIVATING)
		serves(k, seat);
}
