/* Floods: what is refused can be repeated for ever by anybody, and must neither fill the disk nor push out what was
 * recorded before. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/audit/log.h"
#include "store/audit/put.h"
#include "store/audit/repeat.h"
#include "store/audit/share.h"
#include "store/audit/tally.h"

#define FOLD_QUIET  (1 * (int64_t)AUDIT_NS)  /* written when nothing came for so long, */
#define FOLD_AGE    (10 * (int64_t)AUDIT_NS) /* or when it is so old */
/* of a neighbour that has used up its share: it is to write next to nothing */
#define COARSE_AGE  (600 * (int64_t)AUDIT_NS)
#define FLUSH_BATCH 16 /* records between which others have their turn */

static bool known(const struct audit_head *h, const struct audit_event *e)
{
	uint64_t recent = audit_recent(e->unique, e->operation, e->result);

	if (!recent)
		return false;
	for (size_t i = 0; i < AUDIT_RECENTS; i++)
		if (h->recents[i] == recent || h->fold_recents[i] == recent)
			return true;
	for (size_t i = 0; i < AUDIT_KEPT && i < h->n_kept; i++)
		if (h->kept[i] == recent)
			return true;
	return false;
}

/* ---- rates ---- */

/* The bucket of a neighbour. Those that found no room share the last one. */
static struct audit_rate *rate_of(struct audit_head *h, uint64_t neighbour, int64_t now)
{
	struct audit_rate *free_one = NULL;

	for (size_t i = 0; i < AUDIT_RATES - 1; i++) {
		struct audit_rate *r = &h->rates[i];
		if (r->due > now && r->neighbour == neighbour)
			return r;
		if (r->due <= now && !free_one)
			free_one = r;
	}
	if (!free_one)
		return &h->rates[AUDIT_RATES - 1];
	free_one->due = 0;
	free_one->neighbour = neighbour;
	return free_one;
}

/* ---- what is refused ---- */

static const char *name_of(const struct audit_event *e) { return e->secret ? e->secret : ""; }

static bool same_name(const struct audit_fold *f, const struct audit_event *e)
{
	return !strncmp(f->secret, name_of(e), sizeof f->secret - 1);
}

static bool is_of(const struct audit_fold *f, const struct audit_event *e)
{
	return !f->coarse && f->uid == e->caller->uid && f->operation == e->operation && f->error == e->error &&
	       f->result == e->result;
}

/* Where e is counted. A neighbour takes no more entries than it leaves, so that none takes the last one of others;
 * beyond that all that it was refused is in one. */
static struct audit_fold *fold_of(struct audit_head *h, const struct audit_event *e, bool coarse)
{
	struct audit_fold *free_one = NULL, *whole = NULL;
	size_t mine = 0, left = 0;

	for (size_t i = 0; i < AUDIT_FOLDS - 1; i++) {
		struct audit_fold *f = &h->folds[i];
		if (f->tally.count == 0) {
			left++;
			if (!free_one)
				free_one = f;
			continue;
		}
		if (f->neighbour != e->caller->neighbour)
			continue;
		mine++;
		if (!coarse && is_of(f, e))
			return f;
		if (f->coarse)
			whole = f;
	}
	if (!coarse && free_one && mine < left) {
		free_one->coarse = 0;
		return free_one;
	}
	if (whole)
		return whole;
	if (!free_one)
		return &h->folds[AUDIT_FOLDS - 1];
	free_one->coarse = 1;
	return free_one;
}

static void fold_add(struct audit *a, const struct audit_event *e, bool coarse)
{
	struct audit_head *h = a->head;
	struct audit_fold *f = fold_of(h, e, coarse);
	const bool overflow = f == &h->folds[AUDIT_FOLDS - 1];

	if (f->tally.count == 0) {
		f->neighbour = overflow ? UINT64_MAX : e->caller->neighbour;
		f->uid = overflow ? UINT32_MAX : e->caller->uid;
		f->operation = (uint16_t)e->operation;
		f->error = (uint16_t)(e->error > 0 && e->error <= UINT16_MAX ? e->error : 0);
		f->result = (uint8_t)e->result;
		f->mixed = overflow;
		f->coarse = overflow || f->coarse;
		snprintf(f->secret, sizeof f->secret, "%s", name_of(e));
	}
	if (!same_name(f, e))
		f->mixed = 1;
	if (f->uid != e->caller->uid)
		f->uid = UINT32_MAX;
	audit_count(a, &f->tally, false, (size_t)(f - h->folds), e);
}

static enum audit_fate deny_decide(struct audit *a, const struct audit_event *e, bool over, uint32_t *ret_delay_ms)
{
	const int64_t interval = AUDIT_NS / (int64_t)a->config.deny_rate,
		      span = interval * (int64_t)a->config.deny_burst, now = audit_monotonic();
	const int64_t all_interval = AUDIT_NS / AUDIT_DENY_ALL_RATE, all_span = all_interval * AUDIT_DENY_ALL_BURST;
	struct audit_rate *rate = rate_of(a->head, e->caller->neighbour, now), *all = &a->head->all_denials;
	const int64_t due = rate->due > now ? rate->due : now, all_due = all->due > now ? all->due : now;

	if (over || !audit_bucket_fits(due, now, interval, span) ||
	    !audit_bucket_fits(all_due, now, all_interval, all_span)) {
		fold_add(a, e, over);
		*ret_delay_ms = AUDIT_DELAY_MS;
		return AUDIT_FOLDED;
	}
	rate->due = due + interval;
	all->due = all_due + all_interval;
	if (due - now > span / 2) /* first slower and slower, then folded */
		*ret_delay_ms = (uint32_t)((due - now - span / 2) * AUDIT_DELAY_MS / (span / 2 + 1));
	return AUDIT_WRITE;
}

/* Whoever is refused for the log's sake leaves a trace all the same: a count. */
static enum audit_fate refuse(struct audit *a, const struct audit_event *e)
{
	struct audit_event refusal = *e;

	refusal.result = AUDIT_ERROR;
	refusal.error = EDQUOT;
	if (!(e->resent && known(a->head, &refusal)))
		fold_add(a, &refusal, true);
	a->head->refused++;
	return AUDIT_REFUSED;
}

enum audit_fate audit_fold_decide(struct audit *a, const struct audit_event *e, uint32_t *ret_delay_ms)
{
	if (e->resent && known(a->head, e))
		return AUDIT_KNOWN;
	/* What an administrator did and what the daemon did by itself is never folded, nor refused. */
	if (!e->caller || (e->privileged && e->result != AUDIT_DENY))
		return AUDIT_WRITE;
	if (e->result != AUDIT_ALLOW)
		return deny_decide(a, e, audit_share_over(a, e->caller->neighbour), ret_delay_ms);
	if (a->limits.tight && audit_share_over(a, e->caller->neighbour))
		return refuse(a, e);
	return audit_repeat_decide(a, e);
}

/* ---- writing what was counted ---- */

static int fold_write(struct audit *a, struct audit_fold *f)
{
	struct audit_caller caller = { .uid = f->uid, .neighbour = f->neighbour };
	char detail[128];
	struct audit_event e = {
		.operation = (enum audit_operation)f->operation,
		.result = (enum audit_result)f->result,
		.error = f->error,
		.secret = f->mixed       ? "*"
			  : f->secret[0] ? f->secret
					 : NULL,
		.caller = &caller,
		.detail = detail,
	};

	audit_fold_detail(&f->tally, f->coarse ? "; of several callers and operations" : "", detail);
	caller.json_len = (uint16_t)snprintf(caller.json, sizeof caller.json,
					     "{\"uid\":%lld,\"gid\":null,\"pid\":null,\"comm\":null,\"exe\":null,"
					     "\"loginuid\":null,\"unit\":null,\"container\":null,\"groups\":null}",
					     f->uid == UINT32_MAX ? -1LL : (long long)f->uid);
	return audit_tally_write(a, &e, &f->tally);
}

/* A clock that was set back must not hold an entry for ever. */
static bool fold_due(const struct audit_fold *f, int64_t now)
{
	const struct audit_tally *t = &f->tally;

	if (now < t->first)
		return true;
	if (f->coarse && f->neighbour != UINT64_MAX)
		return now - t->first >= COARSE_AGE;
	return now - t->last >= FOLD_QUIET || now - t->first >= FOLD_AGE;
}

int audit_fold_flush(struct audit *a, bool all)
{
	int64_t now = audit_now();
	unsigned int written = 0;
	int r = audit_repeat_flush(a, all);

	for (size_t i = 0; i < AUDIT_FOLDS && r == 0; i++) {
		struct audit_fold *f = &a->head->folds[i];
		if (f->tally.count == 0 || !(all || fold_due(f, now)))
			continue;
		if (++written % FLUSH_BATCH == 0) {
			pthread_mutex_unlock(&a->lock);
			pthread_mutex_lock(&a->lock);
		}
		r = audit_ready(a); /* before the entry is read: it may let go of the lock */
		if (r == 0 && f->tally.count)
			r = fold_write(a, f);
	}
	return r;
}
