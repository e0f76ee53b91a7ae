/* Events to hooks.
 *
 * Each hook has a place in the stream of events: what lies before it is done with. New events are looked at once, for
 * all hooks. A hook for which there is one waits for its debounce time; then its program runs once for all events that
 * came until then and make the same command: all, if the command has no percents, else those of one secret and kind
 * that follow each other. When it has succeeded the place moves behind them; a program that fails is run again, later
 * and later, and given up in the end, which is an event too.
 *
 * Exactly once: the runner is asked under a key made of the hook, the first event and the attempt. A worker that takes
 * over first asks whether a run of that key is known, and gets its result, with the place up to which its events went.
 * If the runner itself was killed, the program was too, and runs again. */
#include "fs/lifecycle/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/common/clock.h"
#include "fs/common/log.h"
#include "fs/serve/ring.h"
#include "store/core/transaction.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/marks.h"

#define ATTEMPTS    8
#define BACKOFF_MS  1000 /* doubles with each failure, up to … */
#define BACKOFF_MAX 300000
#define ROWS        128 /* looked at in one go */
/* bytes of events that are looked at again after a restart, for hooks that they do not concern */
#define LAG_MAX     (1u << 20)
#define BUSY_MS     200 /* when the runner has no room, or the store not */

struct waiting {
	struct hook hook;
	struct hook_place place;
	bool pending;         /* there is an event for it at or behind its place */
	int64_t due;          /* monotonic ms: not before */
	bool resumed;         /* the runner was asked for what a worker before us began */
	bool resuming;        /* … and has not answered yet */
	uint64_t recorded[2]; /* the run that the log has a record of: its key, and up to where its events go */
};

struct delivery {
	struct vault *v;
	struct programs *programs;
	struct waiting *hooks;
	size_t n;
	uint64_t scanned; /* events before it were looked at for all hooks */
	struct event_row rows[ROWS];
};

int delivery_new(struct vault *v, struct programs *programs, struct delivery **ret_delivery)
{
	struct delivery *d = calloc(1, sizeof *d);

	if (!d)
		return -ENOMEM;
	d->v = v;
	d->programs = programs;
	d->scanned = UINT64_MAX;
	*ret_delivery = d;
	return 0;
}

void delivery_free(struct delivery *d)
{
	if (!d)
		return;
	free(d->hooks);
	free(d);
}

/* ---- which hook wants what ---- */

static bool wants(const struct hook *h, const struct event_row *e)
{
	return (h->events & EVENT_BIT(e->kind)) && !(e->kind == EVENT_NEW_VERSION && e->same) &&
	       scope_covers(h->scope, e->name);
}

/* When a retry is due on the monotonic clock: the wall clock may have been set, so that it is trusted for no more than
 * the longest wait. */
static int64_t retry_at(const struct hook_place *place)
{
	int64_t ms = (place->retry - clock_wall()) / 1000000;

	if (!place->attempts || ms <= 0)
		return 0;
	return clock_ms() + (ms < BACKOFF_MAX ? ms : BACKOFF_MAX);
}

static struct waiting *find(struct delivery *d, uint64_t id)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->hooks[i].hook.id == id)
			return &d->hooks[i];
	return NULL;
}

static int take_hooks(struct delivery *d, const struct hook *hooks, size_t n)
{
	struct waiting *fresh = calloc(n + 1, sizeof *fresh);
	uint64_t from = UINT64_MAX;
	int r = fresh ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct waiting *before = find(d, hooks[i].id);
		if (before)
			fresh[i] = (struct waiting){ .resumed = before->resumed,
						     .resuming = before->resuming,
						     .recorded = { before->recorded[0], before->recorded[1] } };
		fresh[i].hook = hooks[i];
		r = store_hook_place(d->v->store, hooks[i].id, &fresh[i].place);
		fresh[i].due = retry_at(&fresh[i].place);
		if (fresh[i].place.delivered < from)
			from = fresh[i].place.delivered;
	}
	if (r < 0) {
		free(fresh);
		return r;
	}
	free(d->hooks);
	d->hooks = fresh;
	d->n = n;
	d->scanned = from;
	return 0;
}

int delivery_reload(struct delivery *d)
{
	const struct rules *rules;
	struct hook *copy = NULL;
	size_t n;
	int r;

	store_rdlock(d->v->store);
	rules = store_rules(d->v->store);
	n = rules->n_hooks;
	copy = reallocarray(NULL, n + 1, sizeof *copy);
	if (copy && n)
		memcpy(copy, rules->hooks, n * sizeof *copy);
	store_unlock_tables(d->v->store);
	r = copy ? take_hooks(d, copy, n) : -ENOMEM;
	free(copy);
	return r;
}

/* ---- looking at events ---- */

static void note(struct delivery *d, const struct event_row *e)
{
	for (size_t i = 0; i < d->n; i++) {
		struct waiting *w = &d->hooks[i];
		if (w->pending || e->at < w->place.delivered || !wants(&w->hook, e))
			continue;
		w->pending = true;
		if (!w->due)
			w->due = clock_ms() + w->hook.debounce;
	}
}

/* False: there may be more. */
static bool scan(struct delivery *d)
{
	uint64_t first, end;
	size_t n = 0;

	store_events_range(d->v->store, &first, &end);
	if (d->n == 0 || d->scanned >= end)
		return true;
	int r = store_events_next(d->v->store, d->scanned, d->rows, ROWS, &n);
	if (r == -EBADMSG)
		log_error("events in the store are not authentic: hooks do not hear of them; coffer fsck says which");
	for (size_t i = 0; i < n; i++)
		note(d, &d->rows[i]);
	if (r == 0 && n > 0)
		d->scanned = d->rows[n - 1].next;
	if (r == -EBADMSG || (r == 0 && n == 0))
		d->scanned = end;
	return d->scanned >= end;
}

/* ---- what one run is for ---- */

struct batch {
	struct event_row first, last;
	uint64_t until;   /* the place behind it */
	bool found, more; /* more: for this hook, behind it */
};

static bool alike(const struct waiting *w, const struct event_row *a, const struct event_row *b)
{
	return !runner_command_varies(w->hook.command) ||
	       (a->kind == b->kind && a->version == b->version && !strcmp(a->name, b->name));
}

static void add(const struct waiting *w, struct batch *b, const struct event_row *e)
{
	if (b->more || !wants(&w->hook, e)) {
		if (!b->more)
			b->until = e->next;
		return;
	}
	if (b->found && !alike(w, &b->first, e)) {
		b->more = true;
		return;
	}
	if (!b->found)
		b->first = *e;
	b->found = true;
	b->last = *e;
	b->until = e->next;
}

static int gather(struct delivery *d, const struct waiting *w, struct batch *ret)
{
	struct batch b = { .until = w->place.delivered };
	uint64_t at = w->place.delivered;
	size_t n = 0;
	int r = 0;

	while (at < d->scanned && !b.more) {
		r = store_events_next(d->v->store, at, d->rows, ROWS, &n);
		if (r < 0 || n == 0)
			break;
		for (size_t i = 0; i < n && d->rows[i].at < d->scanned; i++)
			add(w, &b, &d->rows[i]);
		at = d->rows[n - 1].next;
	}
	if (r < 0)
		return r;
	*ret = b;
	return 0;
}

/* ---- places ---- */

/* Moves a hook on; with the event that it failed, if so. */
static int move(struct delivery *d, struct waiting *w, const struct hook_place *place, const char *failure)
{
	struct event e = { .kind = EVENT_HOOK_FAILED, .name = w->hook.scope, .detail = failure };
	int r = store_begin(d->v->store);

	if (r < 0)
		return r;
	r = store_hook_place_put(d->v->store, w->hook.id, place);
	if (r == 0 && failure)
		r = store_event_add(d->v->store, &e);
	if (r < 0) {
		store_rollback(d->v->store);
		return r;
	}
	r = store_commit(d->v->store);
	if (r < 0)
		return r;
	w->place = *place;
	vault_events_told(d->v);
	return 0;
}

/* Not moved, it asks the runner for the result again, who knows the key. */
static void ask_again(struct waiting *w)
{
	w->pending = true;
	w->resumed = false;
	w->due = clock_ms() + BUSY_MS;
}

/* What went wrong, for the list of hooks and the events. What a program says for itself could be a value, and is for
 * the daemon's log alone. */
static void describe(const struct program_result *result, char *ret, size_t len)
{
	snprintf(ret, len, "%.*s", (int)len - 1, result->why);
	if (result->error == -ECHILD || result->error == -ETIMEDOUT)
		ret[strcspn(ret, ":")] = '\0';
}

static void failed(struct delivery *d, struct waiting *w, const struct program_result *result)
{
	struct hook_place place = w->place;
	int64_t wait = BACKOFF_MS;
	char detail[EVENT_DETAIL_MAX];

	place.attempts++;
	for (uint32_t i = 1; i < place.attempts && wait < BACKOFF_MAX; i++)
		wait *= 2;
	place.retry = clock_wall() + wait * 1000000;
	log_caused(LOG_WARNING, "hook %llu (%s) failed: %s", (unsigned long long)w->hook.id, w->hook.command,
		   result->why);
	describe(result, place.why, sizeof place.why);
	if (place.attempts < ATTEMPTS) {
		w->due = clock_ms() + wait;
		snprintf(detail, sizeof detail, "hook %llu: %.120s; it is tried again", (unsigned long long)w->hook.id,
			 place.why);
		if (move(d, w, &place, place.attempts == 1 ? detail : NULL) < 0)
			w->place.attempts = place.attempts;
		return;
	}
	snprintf(detail, sizeof detail, "hook %llu was given up after %d attempts: %.120s",
		 (unsigned long long)w->hook.id, ATTEMPTS, place.why);
	log_caused(LOG_ERR, "%s", detail);
	place.delivered = result->cookie ? result->cookie : result->tag;
	place.attempts = 0; /* why stays, until a run succeeds */
	place.retry = 0;
	w->pending = true;
	if (move(d, w, &place, detail) < 0)
		ask_again(w);
}

static void take_result(struct delivery *d, const struct program_result *result)
{
	struct waiting *w = find(d, result->subject);
	struct hook_place place = { .delivered = result->cookie };
	const struct audit_event e = { .operation = AUDIT_HOOK_RUN,
				       .result = AUDIT_ERROR,
				       .error = result->error == -ECHILD ? EIO : -result->error,
				       .secret = w ? w->hook.scope : NULL,
				       .detail = w ? w->hook.command : NULL,
				       .privileged = true };

	if (!w) /* removed meanwhile */
		return;
	bool nothing = w->resuming && (result->error == -ENOENT || result->error == -EINVAL);
	w->resuming = false;
	if (nothing) { /* no worker before us began it */
		w->pending = true;
		w->due = 0;
		return;
	}
	if (result->error == -EAGAIN) { /* it was not run */
		w->pending = true;
		w->due = clock_ms() + BUSY_MS;
		return;
	}
	w->recorded[0] = 0; /* it ran: what runs from now on is another run */
	if (result->error) {
		audit_append(d->v->audit, &e, NULL);
		failed(d, w, result);
		return;
	}
	if (move(d, w, &place, NULL) < 0)
		ask_again(w);
}

/* ---- starting ---- */

static struct runner_request request_of(const struct waiting *w, const struct batch *b)
{
	struct runner_request q = { .user = w->hook.user,
				    .timeout = w->hook.timeout,
				    .event = b->last.kind,
				    .version = b->last.version,
				    .cookie = b->until,
				    .key = { w->hook.id, b->first.at << 4 | w->place.attempts } };

	snprintf(q.name, sizeof q.name, "%s", b->last.name);
	snprintf(q.command, sizeof q.command, "%s", w->hook.command);
	return q;
}

/* Before it runs. What was recorded and not run, as there was no room, is not recorded again. */
static int record(struct delivery *d, struct waiting *w, const struct batch *b, uint64_t key)
{
	const struct audit_event e = { .operation = AUDIT_HOOK_RUN,
				       .result = AUDIT_ALLOW,
				       .secret = b->last.name,
				       .version = b->last.version,
				       .detail = w->hook.command,
				       .privileged = true };
	int r;

	if (w->recorded[0] == key && w->recorded[1] == b->until)
		return 0;
	if (programs_full(d->programs))
		return -EAGAIN;
	r = audit_append(d->v->audit, &e, NULL);
	if (r < 0)
		return r;
	w->recorded[0] = key;
	w->recorded[1] = b->until;
	return 0;
}

/* A run that a worker before us began is recorded already: the runner says whether there is one. */
static int resume(struct delivery *d, struct waiting *w, const struct runner_request *q, const struct batch *b)
{
	int r = programs_resume(d->programs, q, PROGRAM_OF_HOOK, w->hook.id, b->until);

	if (r == 0)
		w->resumed = w->resuming = true;
	return r;
}

static int begin(struct delivery *d, struct waiting *w, const struct runner_request *q, const struct batch *b)
{
	int r = record(d, w, b, q->key[1]);

	return r < 0 ? r : programs_start(d->programs, q, 0, PROGRAM_OF_HOOK, w->hook.id, b->until);
}

static void run(struct delivery *d, struct waiting *w)
{
	struct batch b = { 0 };
	int r = gather(d, w, &b);

	if (r == 0 && !b.found) { /* nothing for it any more: the place moves when there is something */
		w->pending = false;
		w->due = 0;
		return;
	}
	const struct runner_request q = request_of(w, &b);
	if (r == 0)
		r = w->resumed ? begin(d, w, &q, &b) : resume(d, w, &q, &b);
	if (r < 0) {
		w->due = clock_ms() + BUSY_MS;
		return;
	}
	w->pending = b.more;
	w->due = 0;
}

void delivery_step(struct delivery *d, int *ret_wait_ms)
{
	struct program_result result;
	int64_t now, wait = -1;

	while (programs_take(d->programs, PROGRAM_OF_HOOK, &result))
		take_result(d, &result);
	if (!scan(d))
		wait = 0;
	now = clock_ms();
	for (size_t i = 0; i < d->n; i++) {
		struct waiting *w = &d->hooks[i];
		if (programs_busy(d->programs, PROGRAM_OF_HOOK, w->hook.id))
			continue;
		if (!w->pending && !w->place.attempts) {
			if (d->scanned > w->place.delivered + LAG_MAX)
				move(d, w, &(struct hook_place){ .delivered = d->scanned }, NULL);
			continue;
		}
		if (w->due <= now)
			run(d, w);
		else if (wait < 0 || w->due - now < wait)
			wait = w->due - now;
	}
	*ret_wait_ms = (int)wait;
}
