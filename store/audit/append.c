/* Appending: one record after the other, in one place, under one lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/audit/durable.h"
#include "store/audit/fold.h"
#include "store/audit/kept.h"
#include "store/audit/log.h"
#include "store/audit/put.h"
#include "store/audit/retain.h"
#include "store/audit/share.h"

void audit_written(const struct audit *a, uint64_t *ret_others, uint64_t *ret_looks)
{
	*ret_others = a->written;
	*ret_looks = a->looks;
}

int audit_append(struct audit *a, const struct audit_event *e, uint32_t *ret_delay_ms)
{
	uint32_t delay = 0;
	int r = 0;

	pthread_mutex_lock(&a->lock);
	enum audit_fate fate = audit_fold_decide(a, e, &delay);
	if (fate == AUDIT_WRITE) {
		r = audit_ready(a);
		if (r == 0)
			r = audit_put(a, e, NULL);
		a->failing = r;
	}
	if (fate == AUDIT_REFUSED)
		r = -EDQUOT;
	if (r == 0 && fate != AUDIT_FOLDED && a->config.durability == AUDIT_DURABILITY_FDATASYNC)
		r = audit_wait_durable(a, audit_at(a->head)->seq);
	pthread_mutex_unlock(&a->lock);
	if (r == 0 && ret_delay_ms)
		*ret_delay_ms = delay;
	return r;
}

/* The file that we hold open must be the one that the directory shows, as long as we made it: a log that is deleted or
 * cut under a running daemon must not go unnoticed. */
static void look_for_tampering(struct audit *a)
{
	const struct audit_position *at = audit_at(a->head);
	char name[AUDIT_SEGMENT_NAME_LEN];
	struct stat held, shown;

	audit_segment_name(at->segment, name);
	if (fstat(a->fd, &held) < 0)
		return;
	if (held.st_nlink == 0 || (uint64_t)held.st_size < at->size ||
	    (fstatat(a->config.dir_fd, name, &shown, AT_SYMLINK_NOFOLLOW) < 0
		     ? errno == ENOENT
		     : shown.st_ino != held.st_ino || shown.st_dev != held.st_dev))
		audit_note_lost(a);
	else if ((uint64_t)held.st_size > at->size)
		a->dirty = true;
}

static bool too_old(struct audit *a)
{
	const struct audit_position *at = audit_at(a->head);

	/* a segment that holds little more than its first record is not worth another */
	return at->size > 1024 && audit_now() - at->opened > (int64_t)a->config.segment_age * AUDIT_NS &&
	       audit_monotonic() >= a->rotate_after;
}

int audit_tick(struct audit *a)
{
	int r, synced;

	audit_look(a);
	pthread_mutex_lock(&a->lock);
	audit_share_look(a);
	look_for_tampering(a);
	r = audit_ready(a);
	if (r == 0 && a->untold &&
	    (r = audit_put_tampered(a, "the segment before this one was removed or cut while it was open")) == 0)
		a->untold = false;
	if (r == 0)
		r = audit_fold_flush(a, false);
	if (r == 0 && !a->syncing && too_old(a))
		(void)audit_rotate(a, NULL);
	int room = audit_space_take(&a->space, a->fd, audit_at(a->head)->size, AUDIT_LINE_MAX, false);
	if (r < 0 || room < 0) /* nothing is counted then that could not be written */
		a->failing = r < 0 ? r : room;
	else if (a->failing == -ENOSPC)
		a->failing = 0;
	synced = audit_durable_point(a);
	pthread_mutex_unlock(&a->lock);
	audit_shares_save(a, false);
	audit_retention(a);
	return r < 0 ? r : room < 0 ? room : synced;
}

int audit_flush(struct audit *a)
{
	pthread_mutex_lock(&a->lock);
	int r = audit_ready(a);
	if (r == 0)
		r = audit_fold_flush(a, true);
	const int synced = audit_durable_point(a);
	pthread_mutex_unlock(&a->lock);
	return r < 0 ? r : synced;
}

void audit_close(struct audit *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	if (audit_ready(a) == 0)
		(void)audit_fold_flush(a, true); /* what cannot be written stays counted in the head */
	(void)audit_durable_point(a);
	/* before it: who is killed in between has his successor allocate once more */
	a->head->allocated[0] = a->head->allocated[1] = 0;
	if (!a->lost && !a->dirty && ftruncate(a->fd, (off_t)audit_at(a->head)->size) < 0)
		(void)0; /* append-only: its allocated rest stays */
	pthread_mutex_unlock(&a->lock);
	audit_shares_save(a, true);
	audit_free(a);
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	if (a->fd >= 0)
		close(a->fd);
	if (a->next_fd >= 0)
		close(a->next_fd);
	if (a->reading_fd >= 0)
		close(a->reading_fd);
	free(a->sizes);
	pthread_cond_destroy(&a->synced);
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->reading_lock);
	free(a);
}

void audit_state(struct audit *a, struct audit_state *ret_state)
{
	struct audit_state s = { 0 };
	struct statvfs v;
	struct audit_scan seen;

	pthread_mutex_lock(&a->lock);
	const struct audit_position *at = audit_at(a->head);
	s.seq = at->seq;
	audit_hex(s.head, at->prev);
	s.failing = a->lost ? -EIO : a->failing;
	s.append_only = audit_append_only(a->fd);
	s.reserve_allocated = !a->space.plain;
	s.tampered = a->tampered || (at->tampered && at->tampered >= at->oldest);
	s.oldest = at->oldest;
	s.cap = a->limits.cap;
	s.at_cap = a->limits.tight;
	s.refused = a->head->refused;
	(void)audit_share_heaviest(a, &s.heaviest, &s.heaviest_percent);
	if (fstatvfs(a->fd, &v) == 0 && v.f_blocks > 0)
		s.headroom_percent = (uint32_t)(100.0 * (double)v.f_bavail / (double)v.f_blocks);
	if (s.failing == -ENOSPC)
		s.headroom_percent = 0;
	pthread_mutex_unlock(&a->lock);
	if (audit_segment_scan(a->config.dir_fd, 1, AUDIT_SEGMENT_NUMBER_MAX, &seen) == 0 && seen.last) {
		s.segments = seen.within;
		(void)audit_size(a, seen.first, &s.bytes);
	}
	*ret_state = s;
}
