/* What workers say and ask that changes nobody's turn. The keeper trusts nothing of it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/turns.h"
#include "fs/common/log.h"

static void note_fatal(struct keeper *k, const struct control_message *m)
{
	log_caused(LOG_ERR, "worker: %s", m->text);
	snprintf(k->fatal, sizeof k->fatal, "%s", m->text);
	k->fatal_status = m->number ? (int)m->number : 1;
}

void control_last_words(struct keeper *k, int seat)
{
	struct control_message m;

	while (k->seats[seat].control >= 0 && !control_receive(k->seats[seat].control, &m, NULL, 0))
		if (m.type == CONTROL_FATAL)
			note_fatal(k, &m);
		else if (m.type == CONTROL_PREPARED && k->seats[seat].state == SEAT_PREPARING)
			k->seats[seat].state = SEAT_PREPARED;
		else if (m.type == CONTROL_READY && k->seats[seat].state == SEAT_ACTIVATING)
			k->seats[seat].state = SEAT_SERVING;
		else if (m.type == CONTROL_HOLDER)
			children_note_holder(k, seat, (pid_t)m.number);
}

bool words_hear(struct keeper *k, int seat, struct control_message *ret)
{
	struct seat *s = &k->seats[seat];
	int r = control_receive(s->control, ret, NULL, 0);

	if (r == -ETIMEDOUT)
		return false;
	if (r) {
		if (r != -EPIPE && r != -ECONNRESET)
			log_warn("what worker %d says cannot be read (%s): it is ended", (int)s->pid, strerror(-r));
		/* it dies, and SIGCHLD says so too; or it must: one that cannot be told to take over, nor be given the
		 * next segment, would let callers wait for ever */
		if (s->pid > 0)
			kill(s->pid, SIGKILL);
		close(s->control);
		s->control = -1;
		return false;
	}
	switch (ret->type) {
	case CONTROL_HOLDER:
		children_note_holder(k, seat, (pid_t)ret->number);
		return false;
	case CONTROL_SEGMENT:
		segments_answer(k, seat, ret);
		return false;
	case CONTROL_RETAIN:
		segments_answer_retain(k, seat, ret);
		return false;
	case CONTROL_FATAL:
		note_fatal(k, ret);
		return false;
	case CONTROL_PREPARED:
	case CONTROL_READY:
		return true;
	default:
		log_caused(LOG_WARNING, "the worker sent a message of unknown type %u", ret->type);
		return false;
	}
}
