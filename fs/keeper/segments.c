/* Which segments of the log a worker may have. The keeper trusts nothing of what workers say. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/turns.h"
#include "fs/common/log.h"

/* Numbers follow each other: the one behind the newest that was given out, also when somebody has taken it away since;
 * before any was, behind the newest that is there. A worker that is somebody else's by now could else leave gaps, in
 * which each segment seems to be the first and so is made without a look at the one before, and which whoever goes
 * through all numbers walks through for minutes. What else lies in the directory is not the log's: a file with a huge
 * number keeps it from nothing. */
static bool follows(struct keeper *k, uint32_t number)
{
	uint32_t first, last = k->segment;
	int r = last ? 0 : audit_segment_list(k->store.audit_dir, &first, &last);

	if (r < 0 && r != -ENOENT)
		return false;
	return last == 0 || number == last || number == last + 1;
}

/* A new segment pushes out the oldest one in the end: a worker that is somebody else's by now gets one only when the
 * last is full or old, or was taken away, and else one a minute. */
static bool may_create(struct keeper *k, uint32_t number)
{
	const uint64_t full = k->options.audit_segment_size ? k->options.audit_segment_size : AUDIT_SEGMENT_SIZE;
	struct stat st;
	char name[32];

	if (!follows(k, number))
		return false;
	snprintf(name, sizeof name, "audit-%08u.jsonl", number - 1);
	if (number > 1 && !fstatat(k->store.audit_dir, name, &st, AT_SYMLINK_NOFOLLOW) && (uint64_t)st.st_size < full &&
	    clock_ms() < k->next_segment_ms)
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

void segments_answer(struct keeper *k, int seat, const struct control_message *m)
{
	struct control_message answer = { .type = CONTROL_SEGMENT, .number = m->number };
	int fd = -1;

	if (seat != k->active) /* the log is the active one's */
		answer.error = -EPERM;
	else if (!m->create && m->number <= k->closed)
		answer.error = -EPERM;
	else if (m->create && !may_create(k, m->number))
		answer.error = -EAGAIN;
	else
		answer.error = audit_segment_open_at(k->store.audit_dir, m->number, m->create,
						     k->store.users.worker_gid, &fd);
	if (!answer.error && m->number > k->segment && (m->create || follows(k, m->number) || !k->segment))
		k->segment = m->number;
	if (!answer.error && m->create && m->number > 2)
		/* but for the one before it: whoever dies over this one is followed by one that goes on there */
		close_up_to(k, m->number - 2);
	if (control_send(k->seats[seat].control, &answer, fd))
		log_caused(LOG_WARNING, "the worker did not take its log segment");
	if (fd >= 0)
		close(fd);
}

/* Which segments go is decided here, from what lies on the disk, and a worker that is somebody else's cannot have one
 * more removed; but none goes of which it does not say that the log has a record. One that lies is found by coffer
 * audit verify. */
void segments_answer_retain(struct keeper *k, int seat, const struct control_message *m)
{
	struct control_message answer = { .type = CONTROL_RETAIN };

	if (seat != k->active)
		answer.error = -EPERM;
	else
		answer.error = audit_retain(k->store.audit_dir, k->options.audit_keep_bytes,
					    k->options.audit_keep_seconds, m->number, &answer.number);
	if (control_send(k->seats[seat].control, &answer, -1))
		log_caused(LOG_WARNING, "the worker did not hear which log segments are to go");
}
