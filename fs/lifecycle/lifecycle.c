#include "fs/lifecycle/lifecycle.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "fs/serve/changed.h"
#include "fs/lifecycle/delivery.h"
#include "fs/lifecycle/keeping.h"
#include "fs/lifecycle/lookups.h"
#include "fs/common/log.h"
#include "fs/lifecycle/programs.h"
#include "fs/lifecycle/schedule.h"
#include "fs/lifecycle/subject.h"
#include "fs/common/clock.h"
#include "store/core/transaction.h"
#include "store/crypto/generate.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/marks.h"
#include "store/objects/rotate.h"

/* the wall clock may be set: what is due is looked at once a second, which costs nothing */
#define LOOK_MS       1000
#define FIRST_LOOK_MS 20 /* callers that waited while the worker before died come first */
#define SEALED_MS     250
#define SLICE         1024                       /* secrets looked at under one lock */
#define DUE_AT_ONCE   64                         /* then others get their turn */
#define RETRY_NS      (10 * (int64_t)1000000000) /* after a first failure; doubles, up to … */
#define RETRY_MAX_NS  (6 * 3600 * (int64_t)1000000000)
#define AGAIN_NS      (5 * (int64_t)1000000000) /* the store could not */

struct lifecycle {
	struct vault *v;
	pthread_t thread;
	atomic_bool stop;
	int wake;
	struct programs *programs;
	struct delivery *delivery;
	struct schedule *schedule;
	struct schedule *keeping; /* when versions go */
	bool stale;               /* rules or everything changed: look at all */
	struct mark *marks;       /* while all is looked at: ascending */
	size_t n_marks, marks_room;
};

/* ---- when what is due ---- */

static void schedule_one(struct lifecycle *l, uint32_t id)
{
	struct mark m = { 0 };
	struct subject s;
	int64_t at = INT64_MAX;
	int r = 0;

	/* one that is being rotated is looked at again when that has ended */
	if (subject_get(l->v->store, id, &s) && !programs_busy(l->programs, PROGRAM_OF_ROTATION, id)) {
		r = store_mark_get(l->v->store, id, &m);
		at = r < 0 ? clock_wall() + AGAIN_NS : subject_due(&s, &m).at;
	}
	if (schedule_set(l->schedule, id, at) < 0)
		l->stale = true;
	store_rdlock(l->v->store);
	at = keeping_due(l->v->store, store_get(l->v->store, id));
	store_unlock_tables(l->v->store);
	if (schedule_set(l->keeping, id, at) < 0)
		l->stale = true;
}

static int add_mark(const struct mark *m, void *arg)
{
	struct lifecycle *l = arg;

	if (l->n_marks == l->marks_room) {
		size_t room = l->marks_room ? 2 * l->marks_room : 256;
		struct mark *grown = reallocarray(l->marks, room, sizeof *grown);
		if (!grown)
			return -ENOMEM;
		l->marks = grown;
		l->marks_room = room;
	}
	l->marks[l->n_marks++] = *m;
	return 0;
}

static int by_secret(const void *key, const void *entry)
{
	uint32_t id = *(const uint32_t *)key, other = ((const struct mark *)entry)->secret;

	return id < other ? -1 : id > other;
}

/* A slice of all secrets: 1: there are more behind *after. */
static int schedule_slice(struct lifecycle *l, uint32_t *after)
{
	static const struct mark none;
	const struct catalog_secret *c;
	struct subject s;
	int r = 0;

	store_rdlock(l->v->store);
	for (size_t i = 0; i < SLICE && r == 0 && (c = store_next(l->v->store, *after, false)); i++) {
		*after = c->id;
		r = schedule_set(l->keeping, c->id, keeping_due(l->v->store, c));
		if (r < 0 || !subject_fill(l->v->store, c, &s))
			continue;
		const struct mark *m = l->n_marks ? bsearch(&c->id, l->marks, l->n_marks, sizeof *l->marks, by_secret)
						  : NULL;
		r = schedule_set(l->schedule, c->id, subject_due(&s, m ? m : &none).at);
	}
	if (r == 0 && store_next(l->v->store, *after, false))
		r = 1;
	store_unlock_tables(l->v->store);
	return r;
}

static int schedule_all(struct lifecycle *l)
{
	uint32_t after = 0;
	int r;

	schedule_clear(l->schedule);
	schedule_clear(l->keeping);
	l->n_marks = 0;
	r = store_marks_each(l->v->store, add_mark, l);
	if (r == 0)
		while ((r = schedule_slice(l, &after)) == 1)
			;
	free(l->marks);
	l->marks = NULL;
	l->n_marks = l->marks_room = 0;
	return r;
}

/* ---- acts ---- */

/* The record of what the daemon did by itself. */
static int record(struct lifecycle *l, enum audit_operation operation, const struct subject *s, uint32_t version,
		  int error, const char *detail)
{
	const struct audit_event e = { .operation = operation,
				       .result = error ? AUDIT_ERROR : AUDIT_ALLOW,
				       .error = error,
				       .secret = s->name,
				       .version = version,
				       .detail = detail,
				       .privileged = true };
	return audit_append(l->v->audit, &e, NULL);
}

static struct mark mark_for(const struct subject *s, const struct mark *before)
{
	struct mark m = { .secret = s->id, .version = s->current.number, .expires = s->current.expires };

	if (before->version == m.version) {
		m.failures = before->failures;
		m.retry = before->retry;
		m.told = before->expires == m.expires ? before->told : before->told & TOLD_ROTATION;
	}
	return m;
}

/* An event and its mark, in one transaction, which is begun. */
static int tell_in_transaction(struct lifecycle *l, const struct subject *s, const struct mark *m, enum event_kind kind,
			       const char *detail)
{
	const struct event e = {
		.kind = kind, .secret = s->id, .version = s->current.number, .name = s->name, .detail = detail
	};
	int r = store_mark_put(l->v->store, m);

	return r < 0 ? r : store_event_add(l->v->store, &e);
}

/* Raises what a clock has caused. */
static int raise_event(struct lifecycle *l, const struct subject *s, const struct mark *before, enum due_kind due)
{
	struct mark m = mark_for(s, before);
	char detail[96] = "";
	enum event_kind kind = due == DUE_EXPIRED ? EVENT_EXPIRED : EVENT_NEAR_EXPIRY;
	int r;

	m.told |= due == DUE_EXPIRED ? TOLD_EXPIRED : due == DUE_NOTIFY ? TOLD_ROTATION : TOLD_NEAR;
	if (due == DUE_NOTIFY)
		snprintf(detail, sizeof detail, "due by rotation policy %llu", (unsigned long long)s->policy.id);
	r = store_begin(l->v->store);
	if (r < 0)
		return r;
	r = tell_in_transaction(l, s, &m, kind, detail);
	if (r == 0)
		r = record(l, due == DUE_EXPIRED ? AUDIT_SECRET_EXPIRED : AUDIT_SECRET_NEAR_EXPIRY, s,
			   s->current.number, 0, detail[0] ? detail : NULL);
	if (r < 0) {
		store_rollback(l->v->store);
		return r;
	}
	r = store_commit(l->v->store);
	vault_events_told(l->v);
	return r;
}

/* The old version stays; it is tried again, later and later. */
static int rotation_failed(struct lifecycle *l, const struct subject *s, int error, const char *why)
{
	struct mark before = { 0 }, m;
	int64_t wait = RETRY_NS;
	char detail[EVENT_DETAIL_MAX];
	int r = store_mark_get(l->v->store, s->id, &before);

	log_caused(LOG_WARNING, "%s was not rotated: %s", s->name, why);
	if (r < 0)
		return r;
	m = mark_for(s, &before);
	m.failures++;
	for (uint32_t i = 1; i < m.failures && wait < RETRY_MAX_NS; i++)
		wait *= 2;
	m.retry = clock_wall() + (wait < RETRY_MAX_NS ? wait : RETRY_MAX_NS);
	snprintf(detail, sizeof detail, "policy %llu: %s", (unsigned long long)s->policy.id, why);
	r = store_begin(l->v->store);
	if (r < 0)
		return r;
	r = tell_in_transaction(l, s, &m, EVENT_ROTATION_FAILED, detail);
	if (r == 0)
		r = record(l, AUDIT_SECRET_SET, s, 0, error == ECHILD || error == ENODATA ? EIO : error, detail);
	if (r < 0) {
		store_rollback(l->v->store);
		return r;
	}
	r = store_commit(l->v->store);
	vault_events_told(l->v);
	return r;
}

/* Is it still that version that is to be replaced, by that policy? Asked within the transaction. */
static bool still_due(struct lifecycle *l, const struct subject *s)
{
	struct subject now;

	return subject_get(l->v->store, s->id, &now) && now.current.number == s->current.number && now.has_policy &&
	       now.policy.id == s->policy.id;
}

/* The new version; what is due moves with it, for its creation is now. */
static int rotation_commit(struct lifecycle *l, const struct subject *s, const struct secbuf *value)
{
	uint32_t version = 0;
	char detail[96];
	int r = store_begin(l->v->store);

	if (r < 0)
		return r;
	if (!still_due(l, s)) {
		store_rollback(l->v->store);
		return 0;
	}
	r = rotate_add(l->v->store, s->id, s->policy.expiry, secbuf_cdata(value), secbuf_len(value), clock_wall(),
		       &version);
	snprintf(detail, sizeof detail, "rotated by policy %llu, which uid %u made", (unsigned long long)s->policy.id,
		 s->policy.created_by);
	if (r == 0)
		r = record(l, AUDIT_SECRET_SET, s, version, 0, detail);
	if (r < 0) {
		store_rollback(l->v->store);
		return r;
	}
	r = vault_commit(l->v);
	if (r == 0)
		vault_changed(l->v, RINGS_ALL);
	return r;
}

static int rotate_by_generator(struct lifecycle *l, const struct subject *s)
{
	struct secbuf *value = NULL;
	struct generator g;
	int r = generator_parse(s->policy.generator, &g);

	if (r == 0)
		r = generate(&g, &value);
	if (r == 0)
		r = rotation_commit(l, s, value);
	secbuf_free(value);
	return r;
}

static size_t value_max(struct lifecycle *l)
{
	store_rdlock(l->v->store);
	size_t n = store_settings(l->v->store)->value_max;
	store_unlock_tables(l->v->store);
	return n;
}

static int audit_run(struct lifecycle *l, const char *name, const char *command)
{
	const struct audit_event e = { .operation = AUDIT_HOOK_RUN,
				       .result = AUDIT_ALLOW,
				       .secret = name,
				       .detail = command,
				       .privileged = true };
	return audit_append(l->v->audit, &e, NULL);
}

static int rotate_by_program(struct lifecycle *l, const struct subject *s)
{
	struct runner_request q = {
		.user = s->policy.user, .timeout = s->policy.timeout, .wants_value = 1, .version = s->current.number
	};

	if (programs_full(l->programs)) /* nothing is recorded of what will not run */
		return -EAGAIN;
	int r = audit_run(l, s->name, s->policy.command);
	snprintf(q.name, sizeof q.name, "%s", s->name);
	snprintf(q.command, sizeof q.command, "%s", s->policy.command);
	return r < 0 ? r : programs_start(l->programs, &q, value_max(l), PROGRAM_OF_ROTATION, s->id, s->current.number);
}

/* 1: a program is under way. */
static int rotate(struct lifecycle *l, const struct subject *s)
{
	if (s->policy.command[0])
		return rotate_by_program(l, s) < 0 ? -EAGAIN : 1;
	int r = rotate_by_generator(l, s);
	return r < 0 && r != -ENOKEY ? rotation_failed(l, s, -r, strerror(-r)) : r;
}

static void rotation_ended(struct lifecycle *l, struct program_result *result)
{
	uint32_t id = (uint32_t)result->subject;
	struct subject s;
	int r = 0;

	if (!subject_get(l->v->store, id, &s) || !s.has_policy || s.current.number != result->tag)
		goto out; /* somebody was faster, or it is gone */
	if (result->error == -EAGAIN)
		r = -EAGAIN;
	else if (result->error)
		r = rotation_failed(l, &s, -result->error, result->why);
	else
		r = rotation_commit(l, &s, result->value);
	if (r < 0 && r != -EAGAIN && r != -ENOKEY)
		r = rotation_failed(l, &s, -r, strerror(-r));
out:
	secbuf_free(result->value);
	if (r < 0)
		schedule_set(l->schedule, id, clock_wall() + AGAIN_NS);
	else
		schedule_one(l, id);
}

/* ---- the loop ---- */

static void act(struct lifecycle *l, uint32_t id)
{
	struct mark m = { 0 };
	struct subject s;
	struct due due;
	int r;

	if (!subject_get(l->v->store, id, &s))
		return;
	r = store_mark_get(l->v->store, id, &m);
	due = r < 0 ? (struct due){ DUE_NOTHING, INT64_MAX } : subject_due(&s, &m);
	if (r == 0 && due.at <= clock_wall())
		r = due.kind == DUE_ROTATE ? rotate(l, &s) : raise_event(l, &s, &m, due.kind);
	if (r < 0)
		schedule_set(l->schedule, id, clock_wall() + AGAIN_NS);
	else if (r == 0)
		schedule_one(l, id);
}

/* What is left of it, and what comes next, is looked at again. */
static void let_go(struct lifecycle *l, uint32_t id)
{
	if (keeping_act(l->v, id) < 0)
		schedule_set(l->keeping, id, clock_wall() + AGAIN_NS);
	else
		schedule_one(l, id);
}

/* What commits have touched. */
static void look_at_changes(struct lifecycle *l)
{
	uint32_t ids[STIRRED_MAX];
	bool all = false;
	size_t n = store_stirred(l->v->store, ids, &all);

	if (all || l->stale) {
		int r = schedule_all(l);
		if (r == 0)
			r = delivery_reload(l->delivery);
		l->stale = r < 0;
		return;
	}
	for (size_t i = 0; i < n; i++)
		schedule_one(l, ids[i]);
}

static int sooner(int a, int b) { return b >= 0 && (a < 0 || b < a) ? b : a; }

/* How long until the next thing is due, in ms. */
static int until_next(const struct lifecycle *l)
{
	int64_t next = schedule_next(l->schedule), goes = schedule_next(l->keeping), now = clock_wall();

	next = goes < next ? goes : next;
	if (next <= now)
		return 0;
	return next - now > LOOK_MS * (int64_t)1000000 ? LOOK_MS : (int)((next - now) / 1000000) + 1;
}

static int step(struct lifecycle *l)
{
	struct program_result result;
	uint32_t id;
	int wait = -1;

	programs_step(l->programs);
	if (store_sealed(l->v->store))
		return SEALED_MS;
	lookups_step(l->v, l->programs);
	if (vault_read_only(l->v))
		return SEALED_MS;
	look_at_changes(l);
	while (programs_take(l->programs, PROGRAM_OF_ROTATION, &result))
		rotation_ended(l, &result);
	for (int i = 0; i < DUE_AT_ONCE && (id = schedule_pop(l->schedule, clock_wall())); i++)
		act(l, id);
	for (int i = 0; i < DUE_AT_ONCE && (id = schedule_pop(l->keeping, clock_wall())); i++)
		let_go(l, id);
	delivery_step(l->delivery, &wait);
	return sooner(sooner(wait, until_next(l)), l->stale ? SEALED_MS : -1);
}

static void *run(void *arg)
{
	struct lifecycle *l = arg;
	struct pollfd p[1 + PROGRAMS_POLL];
	uint64_t count;

	p[0] = (struct pollfd){ .fd = l->wake, .events = POLLIN };
	poll(p, 1, FIRST_LOOK_MS);
	while (!atomic_load(&l->stop)) {
		int wait = step(l), jobs;
		p[0] = (struct pollfd){ .fd = l->wake, .events = POLLIN };
		size_t n = 1 + programs_poll(l->programs, p + 1, &jobs);
		poll(p, (nfds_t)n, sooner(wait, jobs));
		if (p[0].revents)
			(void)!read(l->wake, &count, sizeof count);
	}
	return NULL;
}

/* ---- start and stop ---- */

void lifecycle_free(struct lifecycle *l)
{
	if (!l)
		return;
	schedule_free(l->schedule);
	schedule_free(l->keeping);
	delivery_free(l->delivery);
	programs_free(l->programs);
	if (l->wake >= 0)
		close(l->wake);
	free(l->marks);
	free(l);
}

int lifecycle_start(struct vault *v, int runner_fd, struct lifecycle **ret_lifecycle)
{
	struct lifecycle *l = calloc(1, sizeof *l);
	int r;

	if (!l)
		return -ENOMEM;
	l->v = v;
	l->stale = true;
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = l->wake < 0 ? -errno : programs_new(runner_fd, l->wake, &v->shared->keeper.runner, &l->programs);
	if (r == 0)
		r = delivery_new(v, l->programs, &l->delivery);
	if (r == 0)
		r = schedule_new(&l->schedule);
	if (r == 0)
		r = schedule_new(&l->keeping);
	if (r == 0)
		r = -pthread_create(&l->thread, NULL, run, l);
	if (r < 0) {
		lifecycle_free(l);
		return r;
	}
	atomic_store(&v->lifecycle_wake, l->wake + 1);
	*ret_lifecycle = l;
	return 0;
}

void lifecycle_stop(struct lifecycle *l)
{
	const uint64_t one = 1;

	if (!l)
		return;
	atomic_store(&l->stop, true);
	(void)!write(l->wake, &one, sizeof one);
	pthread_join(l->thread, NULL);
	atomic_store(&l->v->lifecycle_wake, 0);
	programs_close(l->programs);
}

/* ---- for requests ---- */

int lifecycle_default_user(struct lifecycle *l, uint32_t *ret_user, char *why, size_t why_len)
{
	return programs_default_user(l->programs, ret_user, why, why_len);
}

int lifecycle_check(struct lifecycle *l, const char *command, uint32_t user, char *why, size_t why_len)
{
	return programs_check(l->programs, command, user, why, why_len);
}

struct waiting_request {
	struct shared *shared;
	uint64_t unique;
};

static void still_waits(void *arg)
{
	const struct waiting_request *w = arg;
	shared_still_at(w->shared, w->unique);
}

int lifecycle_value(struct lifecycle *l, const struct rotation *rotation, const char *name, uint64_t unique,
		    struct secbuf **ret_value, char *why, size_t why_len)
{
	struct waiting_request waiting = { l->v->shared, unique };
	uint32_t version = 0;

	if (programs_by_hand_full(l->programs)) { /* nothing is recorded of what will not run */
		snprintf(why, why_len, PROGRAMS_BY_HAND_FULL);
		return -EAGAIN;
	}
	int r = audit_run(l, name, rotation->command);
	if (r < 0) {
		snprintf(why, why_len, "the log cannot be written");
		return -EIO;
	}
	store_rdlock(l->v->store);
	const struct catalog_secret *c = store_find(l->v->store, name);
	if (c)
		version = c->current;
	store_unlock_tables(l->v->store);
	return programs_value(l->programs, rotation, name, version, value_max(l), still_waits, &waiting, ret_value, why,
			      why_len);
}
