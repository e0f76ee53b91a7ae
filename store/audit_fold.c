/* Floods: what is refused can be repeated for ever by anybody, and must neither fill the disk nor push out what was recorded before. */
#include "store/audit_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FOLD_QUIET (1 * (int64_t)AUDIT_NS)	/* written when nothing came for so long, */
#define FOLD_AGE   (10 * (int64_t)AUDIT_NS)	/* or when it is so old */

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

/* A bucket is the moment at which it will be empty again (GCRA, ITU-T I.371): one word, so that it is never half written. Those that found no room share the last one. */
static struct audit_rate *rate_of(struct audit_head *h, uint32_t uid, int64_t now)
{
	struct audit_rate *free_one = NULL;

	for (size_t i = 0; i < AUDIT_RATES - 1; i++) {
		struct audit_rate *r = &h->rates[i];
		if (r->due > now && r->uid == uid)
			return r;
		if (r->due <= now && !free_one)
			free_one = r;
	}
	if (!free_one)
		return &h->rates[AUDIT_RATES - 1];
	free_one->due = 0;
	free_one->uid = uid;
	return free_one;
}

static const char *name_of(const struct audit_event *e)
{
	return e->secret ? e->secret : "";
}

static bool same_name(const struct audit_fold *f, const struct audit_event *e)
{
	return !strncmp(f->secret, name_of(e), sizeof f->secret - 1);
}

static struct audit_fold *fold_of(struct audit_head *h, const struct audit_event *e)
{
	struct audit_fold *free_one = NULL;

	for (size_t i = 0; i < AUDIT_FOLDS - 1; i++) {
		struct audit_fold *f = &h->folds[i];
		if (f->count == 0) {
			if (!free_one)
				free_one = f;
		} else if (f->uid == e->caller->uid && f->operation == e->operation && f->error == e->error && f->result == e->result) {
			return f;
		}
	}
	return free_one ? free_one : &h->folds[AUDIT_FOLDS - 1];
}

static void fold_add(struct audit *a, const struct audit_event *e)
{
	struct audit_head *h = a->head;
	struct audit_fold *f = fold_of(h, e);
	bool overflow = f == &h->folds[AUDIT_FOLDS - 1];

	f->last = audit_now();
	if (f->count == 0) {
		f->uid = overflow ? UINT32_MAX : e->caller->uid;
		f->operation = (uint16_t)e->operation;
		f->error = (uint16_t)(e->error > 0 && e->error <= UINT16_MAX ? e->error : 0);
		f->result = (uint8_t)e->result;
		f->mixed = overflow;
		f->written_as = 0;
		f->first = f->last;
		snprintf(f->secret, sizeof f->secret, "%s", name_of(e));
	} else if (!same_name(f, e)) {
		f->mixed = 1;
	}
	__atomic_store_n(&f->count, f->count + 1, __ATOMIC_RELEASE);
	audit_recent_put(a, &h->fold_recents[h->folded % AUDIT_RECENTS], audit_recent(e->unique, e->operation, e->result));
	h->folded++;
}

enum audit_fate audit_fold_decide(struct audit *a, const struct audit_event *e, uint32_t *ret_delay_ms)
{
	int64_t interval = AUDIT_NS / (int64_t)a->config.deny_rate, span = interval * (int64_t)a->config.deny_burst, now, due;
	struct audit_rate *rate;

	if (e->resent && known(a->head, e))
		return AUDIT_KNOWN;
	/* What was allowed, what an administrator did and what the daemon did by itself is never folded. */
	if (!e->caller || e->result == AUDIT_ALLOW || (e->result == AUDIT_ERROR && e->privileged))
		return AUDIT_WRITE;
	now = audit_monotonic();
	rate = rate_of(a->head, e->caller->uid, now);
	due = rate->due > now ? rate->due : now;
	if (due - now + interval > span) {
		fold_add(a, e);
		*ret_delay_ms = AUDIT_DELAY_MS;
		return AUDIT_FOLDED;
	}
	rate->due = due + interval;
	if (due - now > span / 2)	/* first slower and slower, then folded */
		*ret_delay_ms = (uint32_t)((due - now - span / 2) * AUDIT_DELAY_MS / (span / 2 + 1));
	return AUDIT_WRITE;
}

static void time_text(char ret[32], int64_t ns)
{
	time_t t = (time_t)(ns / AUDIT_NS);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int fold_write(struct audit *a, struct audit_fold *f)
{
	struct audit_caller caller = { .uid = f->uid };
	char first[32], last[32], detail[128];
	bool overflow = f == &a->head->folds[AUDIT_FOLDS - 1];
	struct audit_event e = {
		.operation = (enum audit_operation)f->operation, .result = (enum audit_result)f->result, .error = f->error,
		.secret = f->mixed ? "*" : f->secret[0] ? f->secret : NULL, .caller = &caller, .detail = detail,
	};
	int r;

	time_text(first, f->first);
	time_text(last, f->last);
	snprintf(detail, sizeof detail, "folded, from %s to %s%s", first, last, overflow ? "; of several callers and operations" : "");
	caller.json_len = (uint16_t)snprintf(caller.json, sizeof caller.json,
		"{\"uid\":%lld,\"gid\":null,\"pid\":null,\"comm\":null,\"exe\":null,\"loginuid\":null,\"unit\":null,\"container\":null,\"groups\":null}",
		f->uid == UINT32_MAX ? -1LL : (long long)f->uid);
	r = audit_put(a, &e, f->count, f);
	if (r < 0)
		return r;
	/* Killed between the record and this, written_as tells the next worker. */
	__atomic_store_n(&f->count, 0, __ATOMIC_RELEASE);
	f->written_as = 0;
	return 0;
}

int audit_fold_flush(struct audit *a, bool all)
{
	int64_t now = audit_now();

	for (size_t i = 0; i < AUDIT_FOLDS; i++) {
		struct audit_fold *f = &a->head->folds[i];
		int r = audit_ready(a);	/* before the entry is read: it may let go of the lock */
		if (r < 0)
			return r;
		/* a clock that was set back must not hold an entry for ever */
		if (f->count == 0 || !(all || now - f->last >= FOLD_QUIET || now - f->first >= FOLD_AGE || now < f->first))
			continue;
		r = fold_write(a, f);
		if (r < 0)
			return r;
	}
	return 0;
}

void audit_fold_settle(struct audit_head *h)
{
	uint64_t seq = audit_at(h)->seq;

	for (size_t i = 0; i < AUDIT_FOLDS; i++) {
		struct audit_fold *f = &h->folds[i];
		if (f->written_as && f->written_as < seq)
			f->count = 0;
		f->written_as = 0;
	}
}
