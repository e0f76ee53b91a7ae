/* One record after the other, in one place: the line, what is torn, and the segment that comes next. With the log's
 * lock, but where it says otherwise. */
#include "store/audit/put.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/audit/log.h"
#include "store/audit/share.h"
#include "store/crypto/secbuf.h"

void audit_publish(struct audit_head *h)
{
	uint32_t current = atomic_load_explicit(&h->current, memory_order_relaxed);

	atomic_store_explicit(&h->current, current + 1, memory_order_release);
	secmem_wipe(h->positions[current & 1].key, KEY_LEN);
}

void audit_recent_put(struct audit *a, uint64_t *place, uint64_t recent)
{
	struct audit_head *h = a->head;
	const uint64_t old = *place;

	if (old && old != recent && a->config.unanswered &&
	    a->config.unanswered(a->config.arg, audit_recent_unique(old)))
		h->kept[h->n_kept++ % AUDIT_KEPT] = old;
	*place = recent;
}

uint32_t audit_head_segment(const struct audit_head *head)
{
	return head->magic ? head->positions[atomic_load_explicit(&head->current, memory_order_acquire) & 1].segment
			   : 0;
}

/* After a write that failed. The file may have grown by a part of the line: cut it off, or remember that it must be
 * ended and named. */
static void undo(struct audit *a, const struct audit_place *place)
{
	struct stat st;

	if (ftruncate(place->fd, (off_t)place->start) == 0) {
		place->space->allocated = place->start; /* with the bytes go the blocks that were allocated ahead */
		return;
	}
	if (fstat(place->fd, &st) == 0 && (uint64_t)st.st_size == place->start)
		return;
	if (place->fd == a->fd)
		a->dirty = true;
}

int audit_put_at(struct audit *a, const struct audit_event *e, struct audit_tally *tally,
		 const struct audit_place *place)
{
	struct audit_head *h = a->head;
	struct audit_position *at = audit_at(h), *next = audit_spare(h);
	char *line = a->line + 1, *from = place->newline ? a->line : line;
	size_t len, body_len = audit_render(line, &a->names, &a->clock, audit_now(), at->seq, tally ? tally->count : 1,
					    e, at->prev);
	int r = audit_space_take(place->space, place->fd, place->start, body_len + AUDIT_SEAL_LEN + 1, place->reserve);

	if (r < 0)
		return r;
	r = audit_seal(line, body_len, at, next, &len);
	if (r < 0)
		goto out;
	a->line[0] = '\n';
	len += (size_t)(line - from);
	next->segment = place->segment;
	next->opened = place->opened;
	next->size = place->start + len;
	if (place->oldest)
		next->oldest = place->oldest;
	if (e->operation == AUDIT_TAMPERED)
		next->tampered = next->segment;
	*audit_allocated(h, next) = place->space->allocated;
	if (tally)
		tally->written_as = at->seq;
	r = audit_write(place->fd, from, len);
	if (r < 0) {
		undo(a, place);
		if (tally)
			tally->written_as = 0;
		goto out;
	}
	/* Killed here, the record is in the file and its successor finds it: it is rolled forward over, and its request
	 * noted, at takeover. */
	audit_recent_put(a, &h->recents[at->seq % AUDIT_RECENTS], audit_recent(e->unique, e->operation, e->result));
	if (e->operation == AUDIT_AUDIT_READ)
		a->looks++;
	else
		a->written++;
	audit_publish(h);
out:
	if (r < 0)
		secmem_wipe(next->key, sizeof next->key);
	return r;
}

int audit_put(struct audit *a, const struct audit_event *e, struct audit_tally *tally)
{
	const struct audit_position *at = audit_at(a->head);
	struct audit_place place = {
		.fd = a->fd,
		.space = &a->space,
		.segment = at->segment,
		.start = at->size,
		.opened = at->opened,
		/* anybody can be denied an administrator's act: that must not eat the reserve; but what was allowed and
		   counted has been answered, and is to have its record */
		.reserve = (e->privileged && e->result != AUDIT_DENY) || (tally && e->result == AUDIT_ALLOW),
	};

	int r = audit_put_at(a, e, tally, &place);
	if (r == 0 && e->caller && !e->privileged)
		audit_share_add(a, e->caller->neighbour, audit_at(a->head)->size - place.start);
	return r;
}

int audit_put_torn(struct audit *a, uint64_t from, struct audit_place *place)
{
	size_t len = place->start - from;
	uint8_t *data = malloc(len), digest[DIGEST_LEN];
	struct bytes part = { data, len };
	char hex[AUDIT_HEX_LEN], detail[192];
	struct audit_event e = { .operation = AUDIT_TORN, .result = AUDIT_ERROR, .detail = detail };
	int r = -EIO;

	if (!data || audit_pread_full(place->fd, data, len, from) < 0)
		goto out;
	/* Cut off just before its newline, the line is a whole record; ours would complete it, and two records would
	 * claim one number. One byte more, and it is none. */
	if (data[len - 1] == '}') {
		r = audit_write(place->fd, " ", 1);
		if (r < 0)
			goto out;
		place->start++;
		free(data);
		return audit_put_torn(a, from, place);
	}
	if (sha256(&part, 1, digest) < 0)
		goto out;
	audit_hex(hex, digest);
	int end = snprintf(detail, sizeof detail, AUDIT_TORN_DETAIL, (unsigned long long)len, (unsigned long long)from,
			   place->segment, hex);
	if (from == 0)
		snprintf(detail + end, sizeof detail - (size_t)end, AUDIT_TORN_OLDEST, audit_at(a->head)->oldest);
	place->newline = true;
	place->reserve = true;
	r = audit_put_at(a, &e, NULL, place);
out:
	free(data);
	return r;
}

void audit_note_lost(struct audit *a)
{
	a->untold = a->untold || !a->lost;
	a->lost = a->tampered = true;
}

int audit_end_torn(struct audit *a)
{
	const struct audit_position *at = audit_at(a->head);
	struct audit_place place = { .fd = a->fd, .space = &a->space, .segment = at->segment, .opened = at->opened };
	struct stat st;
	int r = 0;

	if (fstat(a->fd, &st) < 0)
		return -EIO;
	place.start = (uint64_t)st.st_size;
	if (place.start < at->size) {
		audit_note_lost(a);
		return -EIO;
	}
	if (place.start > at->size)
		r = audit_put_torn(a, at->size, &place);
	if (r == 0)
		a->dirty = false;
	return r;
}

static bool rotation_due(struct audit *a)
{
	bool full = audit_at(a->head)->size >= a->config.segment_size;

	return (full || a->lost) && audit_monotonic() >= a->rotate_after;
}

/* The next segment's file, kept until it can be begun. One that a worker made and died over is taken up. */
static int next_open(struct audit *a, uint32_t number)
{
	int r;

	if (a->next_fd >= 0)
		return 0;
	r = a->config.segment_open(a->config.arg, number, true, &a->next_fd);
	if (r == -EEXIST)
		r = a->config.segment_open(a->config.arg, number, false, &a->next_fd);
	if (r < 0)
		a->next_fd = -1;
	return r;
}

static int segment_begin(struct audit *a, struct audit_place *place, const char *because)
{
	char detail[160];
	struct audit_event e = { .operation = AUDIT_SEGMENT, .result = AUDIT_ALLOW, .detail = detail };

	if (place->start > 0) /* a beginning that failed and could not be cut off */
		return audit_put_torn(a, 0, place);
	/* not what the directory shows: that somebody removed a segment must not make it look removed by retention */
	snprintf(detail, sizeof detail, AUDIT_SEGMENT_DETAIL "%s%s", place->segment, audit_at(a->head)->oldest,
		 because ? "; " : "", because ? because : "");
	return audit_put_at(a, &e, NULL, place);
}

/* Moves on to a new segment; the old one goes on being used where that fails. Not while syncing. */
static int rotate(struct audit *a, const char *because)
{
	struct audit_head *h = a->head;
	const struct audit_position *at = audit_at(h);
	struct audit_space space = { .reserve = a->config.reserve };
	struct audit_place place = { .space = &space, .segment = at->segment + 1, .opened = audit_now() };
	uint64_t old_size = at->size;
	struct stat st;
	int r = next_open(a, place.segment);

	if (r < 0 || fstat(a->next_fd, &st) < 0)
		return r < 0 ? r : -EIO;
	place.fd = a->next_fd;
	place.start = (uint64_t)st.st_size;
	/* The reserve comes first: without it the old segment, which has one, is the better place. */
	r = audit_space_take(&space, place.fd, place.start, AUDIT_LINE_MAX, false);
	if (r < 0)
		return r;
	if (fdatasync(a->fd) < 0 && !a->lost)
		return -EIO;
	r = segment_begin(a, &place, because);
	if (r < 0)
		return r;
	if (!a->lost && ftruncate(a->fd, (off_t)old_size) < 0)
		(void)0; /* append-only: retention gives the rest of its blocks back */
	close(a->fd);
	a->fd = place.fd;
	a->next_fd = -1;
	a->space = space;
	a->append_only = audit_append_only(a->fd);
	a->lost = false;
	at = audit_at(h);
	if (fdatasync(a->fd) < 0 || audit_headfile_write(a->config.head_fd, at, a->headfile_generation + 1) < 0)
		return 0; /* the next durable point tries again */
	a->headfile_generation++;
	a->headfile_seq = at->seq;
	h->durable_seq = at->seq;
	return 0;
}

int audit_rotate(struct audit *a, const char *because)
{
	int r = rotate(a, because);

	if (r < 0)
		a->rotate_after = audit_monotonic() + AUDIT_NS;
	return r;
}

int audit_ready(struct audit *a)
{
	for (;;) {
		int r = a->dirty && !a->lost ? audit_end_torn(a) : 0;
		if (r < 0)
			return r;
		if (!rotation_due(a))
			return a->lost ? -EIO : 0;
		if (a->syncing)
			pthread_cond_wait(&a->synced, &a->lock);
		else
			(void)audit_rotate(a, a->lost ? "the one before was removed or cut while it was open" : NULL);
	}
}

int audit_put_tampered(struct audit *a, const char *detail)
{
	struct audit_tampering *t = &a->head->tampering;
	struct audit_event e = {
		.operation = AUDIT_TAMPERED, .result = AUDIT_ERROR, .detail = detail, .privileged = true
	};
	int r = audit_put(a, &e, NULL);

	if (r < 0)
		return r;
	a->tampered = true;
	snprintf(t->detail, sizeof t->detail, "%s", detail);
	__atomic_store_n(&t->found, t->found + 1, __ATOMIC_RELEASE);
	return 0;
}
