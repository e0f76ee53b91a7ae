/* What may leave the log, and what has left it otherwise. The keeper decides which segments go and removes them; here
 * each removal is recorded first, under the seal, so that one that nobody recorded is found: by verify, which trusts
 * nothing but records, and by the daemon itself, which remembers in the head which segment is the oldest. */
#include "store/audit/retain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/audit/durable.h"
#include "store/audit/log.h"
#include "store/audit/put.h"

#define LOOK_AGAIN   (60 * (int64_t)AUDIT_NS) /* a directory's time is coarse: two changes can look like one */
#define RETAIN_AGAIN (60 * (int64_t)AUDIT_NS) /* segments grow old without a sign */

/* ---- the end of a finished segment ---- */

/* Its last line, which is a record in each segment that was ended: 0; -EBADMSG: it is none; -ENOENT, -EIO, -ENOMEM. */
static int last_record(int fd, struct audit_removed *ret)
{
	const size_t room = 2 * AUDIT_LINE_MAX;
	char *text = malloc(room), *line;
	struct audit_record rec;
	struct stat st;
	int r = text ? -EIO : -ENOMEM;

	if (!text || fstat(fd, &st) < 0)
		goto out;
	size_t len = (uint64_t)st.st_size < room ? (size_t)st.st_size : room;
	r = audit_pread_full(fd, text, len, (uint64_t)st.st_size - len);
	if (r < 0)
		goto out;
	r = -EBADMSG;
	if (len == 0 || text[len - 1] != '\n')
		goto out;
	line = memrchr(text, '\n', len - 1);
	line = line ? line + 1 : text;
	len -= (size_t)(line - text) + 1;
	if (audit_parse(line, len, &rec) < 0)
		goto out;
	struct bytes body = { line, rec.body_len };
	ret->last = rec.seq;
	r = sha256(&body, 1, ret->digest) < 0 ? -EIO : 0;
out:
	free(text);
	return r;
}

static int closing_of(struct audit *a, uint32_t segment, struct audit_removed *ret)
{
	int fd, r = audit_segment_open_reading(a->config.dir_fd, segment, &fd);

	if (r < 0)
		return r;
	ret->segment = segment;
	r = last_record(fd, ret);
	close(fd);
	return r == -ENODATA ? -EIO : r;
}

uint32_t audit_oldest_of_before(struct audit *a)
{
	const uint32_t segment = audit_at(a->head)->segment;
	uint32_t number, oldest, first, last;
	struct audit_record rec;
	bool because;
	char *end;

	/* Until November 2026 retention removed segments, without a record, just before a new one was begun, and
	 * nowhere else: what that one names as the oldest was there. */
	const size_t len = audit_at(a->head)->size < sizeof a->line ? (size_t)audit_at(a->head)->size : sizeof a->line;
	if (audit_pread_full(a->fd, a->line, len, 0) == 0 && (end = memchr(a->line, '\n', len)) &&
	    audit_parse(a->line, (size_t)(end - a->line), &rec) == 0 &&
	    audit_record_segment(a->line, &rec, &number, &oldest, &because) && number == segment && oldest > 0)
		return oldest;
	return audit_segment_list(a->config.dir_fd, &first, &last) == 0 && first <= segment ? first : segment;
}

/* ---- tampering ---- */

/* What should be there, as of a moment ago. */
struct expected {
	uint32_t oldest, segment;
};

static struct expected expected_now(struct audit *a)
{
	pthread_mutex_lock(&a->lock);
	const struct audit_position *at = audit_at(a->head);
	const struct expected e = { at->oldest, at->segment };
	pthread_mutex_unlock(&a->lock);
	return e;
}

/* A segment that should not be there; 0: none. Retention that was interrupted leaves whole rows of segments before the
 * oldest one; and the next one may be made already. */
static uint32_t foreign(struct audit *a, const struct expected *e, const struct audit_scan *seen)
{
	struct audit_scan front;

	if (seen->last > e->segment + 1)
		return seen->last;
	if (seen->first >= e->oldest)
		return 0;
	if (a->front && seen->first < a->front)
		return seen->first;
	if (audit_segment_scan(a->config.dir_fd, seen->first, e->oldest - 1, &front) < 0)
		return 0;
	return front.within < e->oldest - seen->first ? seen->first : 0;
}

static uint32_t first_missing(struct audit *a, const struct expected *e)
{
	for (uint32_t n = e->oldest; n < e->segment; n++)
		if (audit_segment_missing(a->config.dir_fd, n))
			return n;
	return 0;
}

/* Records what is amiss, unless that is what was recorded last. */
static void record_difference(struct audit *a, const struct expected *e, const struct audit_tampering *now)
{
	struct audit_tampering *t = &a->head->tampering;
	char detail[160] = "";
	int r = 0;

	pthread_mutex_lock(&a->lock);
	if (now->missing && (now->missing != t->missing || now->first_missing != t->first_missing))
		snprintf(detail, sizeof detail,
			 "%u of the segments %u to %u are gone (the first is %u), and retention did not remove them",
			 now->missing, e->oldest, e->segment - 1, now->first_missing);
	else if (now->foreign && now->foreign != t->foreign)
		snprintf(detail, sizeof detail, "segment %u is there, which %s", now->foreign,
			 now->foreign > e->segment ? "this log has not begun" : "retention had removed");
	if (detail[0])
		r = audit_ready(a);
	if (r == 0 && detail[0])
		r = audit_put_tampered(a, detail);
	if (r == 0) {
		t->missing = now->missing;
		t->first_missing = now->first_missing;
		t->foreign = now->foreign;
	} else {
		a->look_after = 0; /* again, with the next tick */
	}
	pthread_mutex_unlock(&a->lock);
}

/* What is done to the directory from now on may leave the same time. */
static bool is_recent(const struct timespec *t)
{
	const int64_t age = audit_now() - ((int64_t)t->tv_sec * AUDIT_NS + t->tv_nsec);

	return age < AUDIT_NS;
}

void audit_look(struct audit *a)
{
	struct audit_tampering now = { 0 };
	struct audit_scan seen;
	struct stat st;

	if (fstat(a->config.dir_fd, &st) < 0)
		return;
	if (a->front && audit_monotonic() < a->look_after && st.st_mtim.tv_sec == a->looked_mtime.tv_sec &&
	    st.st_mtim.tv_nsec == a->looked_mtime.tv_nsec)
		return;
	const struct expected e = expected_now(a);
	if (audit_segment_scan(a->config.dir_fd, e.oldest, e.segment - 1, &seen) < 0 || !seen.last)
		return;
	a->looked_mtime = st.st_mtim;
	a->look_after = audit_monotonic() + (is_recent(&st.st_mtim) ? 0 : LOOK_AGAIN);
	a->limits.finished = seen.bytes;
	now.missing = e.segment - e.oldest - seen.within;
	now.first_missing = now.missing ? first_missing(a, &e) : 0;
	now.foreign = foreign(a, &e, &seen);
	if (now.missing && !now.first_missing) /* it was moved while we looked */
		now.missing = 0;
	record_difference(a, &e, &now);
	a->front = seen.first;
}

bool audit_tampering(struct audit *a, char *ret, size_t len)
{
	struct audit_tampering *t = &a->head->tampering;

	pthread_mutex_lock(&a->lock);
	const bool untold = t->found != t->told;
	if (untold)
		snprintf(ret, len, "%.*s", (int)sizeof t->detail - 1, t->detail);
	pthread_mutex_unlock(&a->lock);
	return untold;
}

void audit_tampering_told(struct audit *a)
{
	pthread_mutex_lock(&a->lock);
	a->head->tampering.told = a->head->tampering.found;
	pthread_mutex_unlock(&a->lock);
}

/* ---- retention ---- */

/* The record that segment goes, and from then on the one behind it is the oldest. */
static int put_removed(struct audit *a, const struct audit_removed *removed)
{
	char hex[AUDIT_HEX_LEN + 1] = "", detail[160];
	struct audit_event e = {
		.operation = AUDIT_SEGMENT_REMOVE, .result = AUDIT_ALLOW, .detail = detail, .privileged = true
	};

	audit_hex(hex, removed->digest);
	snprintf(detail, sizeof detail, AUDIT_REMOVED_DETAIL, removed->segment, (unsigned long long)removed->last, hex);
	pthread_mutex_lock(&a->lock);
	int r = audit_ready(a);
	if (r == 0) {
		const struct audit_position *at = audit_at(a->head);
		/* from the reserve, if need be: it is what makes room on a full disk */
		struct audit_place place = {
			.fd = a->fd,
			.space = &a->space,
			.segment = at->segment,
			.start = at->size,
			.opened = at->opened,
			.reserve = true,
			.oldest = removed->segment + 1,
		};
		r = audit_put_at(a, &e, NULL, &place);
	}
	pthread_mutex_unlock(&a->lock);
	return r;
}

/* One that does not end as a segment of this log does must be looked at before it goes. */
static int keep_damaged(struct audit *a, uint32_t segment)
{
	char detail[160];
	int r = 0;

	snprintf(detail, sizeof detail, "segment %u does not end with a record: it is kept, and so is what follows it",
		 segment);
	pthread_mutex_lock(&a->lock);
	if (strcmp(a->head->tampering.detail, detail) != 0) {
		r = audit_ready(a);
		if (r == 0)
			r = audit_put_tampered(a, detail);
	}
	pthread_mutex_unlock(&a->lock);
	return r < 0 ? r : -EBADMSG;
}

/* What is gone already has no record to be written of: that it was not retention is recorded elsewhere, and verify must
 * not hear otherwise. */
static int record_removals(struct audit *a, uint32_t due)
{
	for (uint32_t n = expected_now(a).oldest; n <= due; n++) {
		struct audit_removed removed;
		int r = closing_of(a, n, &removed);
		if (r == -ENOENT)
			continue;
		if (r == -EBADMSG)
			return keep_damaged(a, n);
		if (r == 0)
			r = put_removed(a, &removed);
		if (r < 0)
			return r;
	}
	pthread_mutex_lock(&a->lock);
	int r = audit_durable_point(a);
	pthread_mutex_unlock(&a->lock);
	return r;
}

void audit_retention(struct audit *a)
{
	const struct expected e = expected_now(a);
	uint32_t due = 0;

	if (!a->config.retain || (a->retained_at == e.segment && audit_monotonic() < a->retain_after))
		return;
	a->retained_at = e.segment;
	a->retain_after = audit_monotonic() + RETAIN_AGAIN;
	if (a->config.retain(a->config.arg, e.oldest - 1, &due) < 0 || due < e.oldest || due >= e.segment)
		return;
	if (record_removals(a, due) == 0)
		(void)a->config.retain(a->config.arg, expected_now(a).oldest - 1, &due);
}
