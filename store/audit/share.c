/* Whose the log is: what each neighbour has written of late, and what happens to the one that has written more than its
 * share where there is no room for more. */
#include "store/audit/share.h"

#include <sys/statvfs.h>

#include "store/audit/hash.h"
#include "store/audit/log.h"

#define WAYS        8u
#define FLOOR_PARTS 16u         /* of the file system: with less than this free, or */
#define FLOOR_MAX   (64u << 20) /* this, the disk counts as full for whoever has used up a share */
#define ONE_RECORD  1024u       /* bytes */

/* The neighbour's entry; with `make` one for it: whoever has written least of those in the set makes room, and so never
 * one that has written much. */
static struct audit_share *share_of(struct audit_head *h, uint64_t neighbour, int64_t now, bool make)
{
	struct audit_hash x;
	audit_hash_begin(h, &x);
	audit_hash_word(&x, neighbour);
	struct audit_share *set = &h->shares[audit_hash_end(&x) % (AUDIT_SHARES / WAYS) * WAYS], *least = &set[0];

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].due > now && set[i].neighbour == neighbour)
			return &set[i];
		if (set[i].due < least->due)
			least = &set[i];
	}
	if (!make)
		return NULL;
	*least = (struct audit_share){ .neighbour = neighbour };
	return least;
}

bool audit_share_over(struct audit *a, uint64_t neighbour)
{
	const struct audit_limits *l = &a->limits;
	const int64_t now = audit_monotonic();

	if (l->ns_per_byte == 0)
		return false;
	const struct audit_share *s = share_of(a->head, neighbour, now, false);
	return s && !audit_bucket_fits(s->due, now, l->ns_per_byte * ONE_RECORD, l->window);
}

bool audit_would_refuse(struct audit *a, uint64_t neighbour)
{
	pthread_mutex_lock(&a->lock);
	const bool refused = a->limits.tight && audit_share_over(a, neighbour);
	pthread_mutex_unlock(&a->lock);
	return refused;
}

/* What is written grows old at the rate of a share in the time for which it is promised: whoever has used up a share
 * goes on at that rate. */
void audit_share_add(struct audit *a, uint64_t neighbour, uint64_t bytes)
{
	const struct audit_limits *l = &a->limits;
	const int64_t now = audit_monotonic();

	if (l->ns_per_byte == 0 || bytes > AUDIT_LINE_MAX)
		return;
	struct audit_share *s = share_of(a->head, neighbour, now, true);
	const int64_t due = (s->due > now ? s->due : now) + l->ns_per_byte * (int64_t)bytes, full = now + l->window;
	s->due = due < full ? due : full;
	a->shares_changed = true;
}

void audit_share_put(struct audit *a, uint64_t neighbour, int64_t due)
{
	struct audit_share *s = share_of(a->head, neighbour, audit_monotonic(), true);

	if (s->due < due)
		s->due = due;
}

bool audit_share_heaviest(struct audit *a, uint64_t *ret_neighbour, uint32_t *ret_percent)
{
	const int64_t now = audit_monotonic();
	const struct audit_share *most = NULL;

	for (size_t i = 0; i < AUDIT_SHARES; i++)
		if (a->head->shares[i].due > now && (!most || a->head->shares[i].due > most->due))
			most = &a->head->shares[i];
	if (!most || a->limits.window == 0)
		return false;
	*ret_neighbour = most->neighbour;
	*ret_percent = (uint32_t)((most->due - now) / (a->limits.window / 100));
	return true;
}

void audit_share_look(struct audit *a)
{
	struct audit_limits *l = &a->limits;
	const uint64_t kept = l->finished + audit_at(a->head)->size;
	uint64_t left, size;
	struct statvfs v;

	l->cap = AUDIT_CAP_FACTOR * a->config.keep_bytes;
	l->window = a->config.keep_seconds * (int64_t)AUDIT_NS;
	if (l->window == 0 || fstatvfs(a->fd, &v) < 0) {
		l->ns_per_byte = 0;
		l->tight = false;
		return;
	}
	left = (uint64_t)v.f_bavail * v.f_frsize;
	size = (uint64_t)v.f_blocks * v.f_frsize;
	/* not of what is free: who has written little must not be over a share because something else fills the disk */
	const uint64_t whole = l->cap && l->cap < size ? l->cap : size,
		       share = whole / AUDIT_SHARE_PARTS > ONE_RECORD ? whole / AUDIT_SHARE_PARTS : ONE_RECORD,
		       floor = size / FLOOR_PARTS < FLOOR_MAX ? size / FLOOR_PARTS : FLOOR_MAX;
	l->ns_per_byte = l->window / (int64_t)share + 1;
	l->tight = (l->cap && kept >= l->cap) || left < floor;
}
