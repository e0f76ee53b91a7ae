/* What workers say and ask. The keeper trusts nothing of it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/clock.h"
#include "fs/keeper_internal.h"
#include "fs/log.h"

/* Numbers follow each other: the one behind the newest that was given out, also when somebody has taken it away since; before any was, behind the newest that is there. A worker that is somebody else's by now could else
 * leave gaps, in which each segment seems to be the first and so is made without a look at the one before, and which whoever goes through all numbers walks through for minutes. What else lies in the directory is not the
 * log's: a file with a huge number keeps it from nothing. */
static bool follows(struct keeper *k, uint32_t number)
{
	uint32_t first, last = k->segment;
	int r = last ? 0 : audit_segment_list(k->store.audit_dir, &first, &last);

	if (r < 0 && r != -ENOENT)
		return false;
	return last == 0 || number == last || number == last + 1;
}

/* A new segment pushes out the oldest one in the end: a worker that is somebody else's by now gets one only when the last is full or old, or was taken away, and else one a minute. */
static bool may_create(struct keeper *k, uint32_t number)
{
	const uint64_t full = k->options.audit_segment_size ? k->options.audit_segment_size : AUDIT_SEGMENT_SIZE;
	struct stat st;
	char name[32];

	if (!follows(k, number))
		return false;
	snprintf(name, sizeof name, "audit-%08u.jsonl", number - 1);
	if (number > 1 && !fstatat(k->store.audit_dir, name, &st, AT_SYMLINK_NOFOLLOW) && (uint64_t)st.st_size < full && clock_ms() < k->next_segment_ms)
		return false;
	k->next_segment_ms = clock_ms() + 60000;
	return true;
}

static void close_up_to(struct keeper *k, uint32_t number)
{
	if (number > k->closed)
		k->closed = number;
}

void control_close_segments(struct keeper *k)
{
	const uint32_t head = audit_head_segment(&k->shared->audit_head);
	uint32_t first, last;

	if (head > 1 && !audit_segment_list(k->store.audit_dir, &first, &last) && last > 2)
		close_up_to(k, head - 1 < last - 2 ? head - 1 : last - 2);
}

static void answer_segment(struct keeper *k, int seat, const struct control_message *m)
{
	struct control_message answer = { .type = CONTROL_SEGMENT, .number = m->number };
	int fd = -1;

	if (seat != k->active)		/* the log is the active one's */
		answer.error = -EPERM;
	else if (!m->create && m->number <= k->closed)
		answer.error = -EPERM;
	else if (m->create && !may_create(k, m->number))
		answer.error = -EAGAIN;
	else
		answer.error = audit_segment_open_at(k->store.audit_dir, m->number, m->create, k->store.users.worker_gid, &fd);
	if (!answer.error && m->number > k->segment && (m->create || follows(k, m->number) || !k->segment))
		k->segment = m->number;
	if (!answer.error && m->create && m->number > 2)
		close_up_to(k, m->number - 2);	/* but for the one before it: whoever dies over this one is followed by one that goes on there */
	if (control_send(k->seats[seat].control, &answer, fd))
		log_caused(LOG_WARNING, "the worker did not take its log segment");
	if (fd >= 0)
		close(fd);
}

/* Which segments go is decided here, from what lies on the disk, and a worker that is somebody else's cannot have one more removed; but none goes of which it does not say that the log has a record. One that lies is found by
 * coffer audit verify. */
static void answer_retain(struct keeper *k, int seat, const struct control_message *m)
{
	struct control_message answer = { .type = CONTROL_RETAIN };

	if (seat != k->active)
		answer.error = -EPERM;
	else
		answer.error = audit_retain(k->store.audit_dir, k->options.audit_keep_bytes, k->options.audit_keep_seconds, m->number, &answer.number);
	if (control_send(k->seats[seat].control, &answer, -1))
		log_caused(LOG_WARNING, "the worker did not hear which log segments are to go");
}

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

void control_read(struct keeper *k, int seat)
{
	struct seat *s = &k->seats[seat];
	struct control_message m;
	int r = control_receive(s->control, &m, NULL, 0);

	if (r == -ETIMEDOUT)
		return;
	if (r) {
		if (r != -EPIPE && r != -ECONNRESET)
			log_warn("what worker %d says cannot be read (%s): it is ended", (int)s->pid, strerror(-r));
		/* it dies, and SIGCHLD says so too; or it must: one that cannot be told to take over, nor be given the next segment, would let callers wait for ever */
		if (s->pid > 0)
			kill(s->pid, SIGKILL);
		close(s->control);
		s->control = -1;
		return;
	}
	switch (m.type) {
	case CONTROL_HOLDER:
		children_note_holder(k, seat, (pid_t)m.number);
		break;
	case CONTROL_PREPARED:
		if (s->state == SEAT_PREPARING)
			takeover_prepared(k, seat);
		break;
	case CONTROL_READY:
		if (s->state != SEAT_ACTIVATING)
			break;
		s->state = SEAT_SERVING;
		k->served_ms = clock_ms();
		if (k->attached)
			log_info("worker %d serves", (int)s->pid);
		control_close_segments(k);
		if (k->upgrade == UPGRADE_SELF)
			upgrade_served(k);
		break;
	case CONTROL_SEGMENT:
		answer_segment(k, seat, &m);
		break;
	case CONTROL_RETAIN:
		answer_retain(k, seat, &m);
		break;
	case CONTROL_FATAL:
		note_fatal(k, &m);
		break;
	default:
		log_caused(LOG_WARNING, "the worker sent a message of unknown type %u", m.type);
	}
}
