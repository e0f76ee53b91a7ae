/* Counting in place of writing: what a tally says is right, whoever is killed meanwhile. */
#include "store/audit/tally.h"

#include <stdio.h>
#include <time.h>

#include "store/audit/log.h"
#include "store/audit/put.h"

static void note_folded(struct audit *a, uint64_t recent)
{
	audit_recent_put(a, &a->head->fold_recents[a->head->folded % AUDIT_RECENTS], recent);
	a->head->folded++;
}

void audit_count(struct audit *a, struct audit_tally *t, bool repeat, size_t index, const struct audit_event *e)
{
	struct audit_redo *redo = &a->head->redo;
	const uint64_t recent = audit_recent(e->unique, e->operation, e->result), count = t->count + 1;

	t->last = audit_now();
	if (count == 1) {
		t->first = t->last;
		t->written_as = 0;
	}
	redo->index = (uint32_t)index;
	redo->repeat = repeat;
	redo->count = count;
	__atomic_store_n(&redo->recent, recent, __ATOMIC_RELEASE);
	__atomic_store_n(&t->count, count, __ATOMIC_RELEASE);
	note_folded(a, recent);
	__atomic_store_n(&redo->recent, 0, __ATOMIC_RELEASE);
}

static void redo_settle(struct audit *a)
{
	struct audit_head *h = a->head;
	const struct audit_redo redo = h->redo;
	bool noted = redo.recent == 0;

	for (size_t i = 0; i < AUDIT_RECENTS && !noted; i++)
		noted = h->fold_recents[i] == redo.recent;
	if (redo.recent && redo.index < (redo.repeat ? AUDIT_REPEATS : AUDIT_FOLDS)) {
		struct audit_tally *t = redo.repeat ? &h->repeats[redo.index].tally : &h->folds[redo.index].tally;
		t->count = redo.count;
		if (!noted)
			note_folded(a, redo.recent);
	}
	__atomic_store_n(&h->redo.recent, 0, __ATOMIC_RELEASE);
}

static void tally_settle(struct audit_tally *t, uint64_t seq)
{
	if (t->written_as && t->written_as < seq)
		t->count = 0;
	t->written_as = 0;
}

void audit_fold_settle(struct audit *a)
{
	const uint64_t seq = audit_at(a->head)->seq;

	redo_settle(a);
	for (size_t i = 0; i < AUDIT_FOLDS; i++)
		tally_settle(&a->head->folds[i].tally, seq);
	for (size_t i = 0; i < AUDIT_REPEATS; i++)
		tally_settle(&a->head->repeats[i].tally, seq);
}

static void time_text(char ret[32], int64_t ns)
{
	time_t t = (time_t)(ns / AUDIT_NS);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void audit_fold_detail(const struct audit_tally *t, const char *more, char ret[128])
{
	char first[32], last[32];

	time_text(first, t->first);
	time_text(last, t->last);
	snprintf(ret, 128, "folded, from %s to %s%s", first, last, more);
}

int audit_tally_write(struct audit *a, const struct audit_event *e, struct audit_tally *t)
{
	int r = audit_put(a, e, t);

	if (r < 0)
		return r;
	/* Killed between the record and this, written_as tells the next worker. */
	__atomic_store_n(&t->count, 0, __ATOMIC_RELEASE);
	t->written_as = 0;
	return 0;
}
