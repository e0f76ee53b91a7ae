#include "fs/serve/ring.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/common/log.h"
#include "fs/shared/test_hook.h"
#include "fs/serve/kind_files.h"
#include "fs/serve/vault.h"
#include "store/core/follow.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/store.h"
#include "fs/common/clock.h"

static __thread _Atomic uint64_t *owed;

static void owe(struct vault *v)
{
	const uint64_t before = store_epoch(v->store) + 1;

	for (size_t i = 0; i < RINGS && !owed; i++) {
		uint64_t none = 0;
		if (atomic_compare_exchange_strong(&v->shared->rings.under_way[i], &none, before))
			owed = &v->shared->rings.under_way[i];
	}
}

void vault_owes_nothing(void)
{
	if (owed)
		atomic_store(owed, 0);
	owed = NULL;
}

/* Of a thread that rings for what others may have left: since when; and if it may wait for room, what it looks at
 * meanwhile. */
static __thread uint64_t rings_since;
static __thread int rings_stop_fd = -1;

static void note_lost(struct vault *v)
{
	struct shared_rings *rings = &v->shared->rings;
	const uint64_t since = rings_since ? rings_since : owed ? atomic_load(owed) : atomic_load(&rings->told);
	uint64_t before = atomic_load(&rings->lost);

	atomic_fetch_add_explicit(&v->shared->bell_lost, 1, memory_order_relaxed);
	while (since && (!before || since < before))
		if (atomic_compare_exchange_weak(&rings->lost, &before, since))
			break;
}

static bool wait_for_room(const struct vault *v)
{
	struct pollfd p[] = { { .fd = v->bell_fd, .events = POLLOUT }, { .fd = rings_stop_fd, .events = POLLIN } };

	return rings_stop_fd >= 0 && poll(p, 2, 1000) > 0 && !p[1].revents;
}

void vault_ring(struct vault *v, enum bell_action action, const char *path)
{
	int r = bell_send(v->bell_fd, action, path, 0);

	while (r == -EAGAIN && wait_for_room(v))
		r = bell_send(v->bell_fd, action, path, 0);
	if (r)
		note_lost(v);
}

void vault_ring_lost(struct vault *v, int stop_fd)
{
	rings_since = atomic_exchange(&v->shared->rings.lost, 0);
	if (!rings_since)
		return;
	rings_stop_fd = stop_fd;
	int r = store_changed_since(v->store, rings_since - 1, vault_ring_current, v);
	if (r)
		log_caused(LOG_WARNING, "what changed while the bell was not heard cannot be told to watchers: %s",
			   strerror(-r));
	vault_ring(v, BELL_TOUCH_DIR, ".");
	vault_ring(v, BELL_TOUCH, ".coffer/events");
	rings_since = 0;
	rings_stop_fd = -1;
}

int vault_commit(struct vault *v)
{
	owe(v);
	TEST_POINT("commit-before", 0);
	int r = store_commit(v->store);
	TEST_POINT("commit-after", 0);
	if (r)
		vault_owes_nothing();
	return r;
}

void vault_told(struct vault *v, uint64_t epoch) { atomic_store(&v->shared->rings.told, epoch + 1); }

/* What of a secret can be watched: its files whose bytes change with what it serves, where they stand. */
struct watched_files {
	char directory[BELL_PATH_MAX];
	const char *names[KIND_FILES];
	size_t n; /* 0: nothing is left of it */
};

static struct watched_files watched_of(struct vault *v, uint32_t secret)
{
	struct watched_files w = { .n = 0 };
	const struct kind_file *f;

	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, secret);
	if (s && !catalog_emptied(s)) {
		snprintf(w.directory, sizeof w.directory, "%s%s", s->deleted ? ".coffer/deleted/" : "", s->name);
		for (uint32_t k = 0; (f = kind_file_at(s, k)); k++)
			if (f->type != INODE_VERSIONS)
				w.names[w.n++] = f->name;
	}
	store_unlock_tables(v->store);
	return w;
}

static void ring_each(struct vault *v, enum bell_action action, const struct watched_files *w)
{
	char path[BELL_PATH_MAX];

	for (size_t i = 0; i < w->n; i++)
		if (snprintf(path, sizeof path, "%s/%s", w->directory, w->names[i]) < (int)sizeof path)
			vault_ring(v, action, path);
}

/* Beside them; a path of its own, for the bell may hang there. */
static void ring_marker(struct vault *v, const struct watched_files *w)
{
	char path[BELL_PATH_MAX];

	if (w->n && snprintf(path, sizeof path, "%s/" BELL_MARKER, w->directory) < (int)sizeof path)
		vault_ring(v, BELL_MARK, path);
}

void vault_ring_files(struct vault *v, uint32_t secret)
{
	const struct watched_files w = watched_of(v, secret);

	ring_each(v, BELL_TOUCH, &w);
}

/* Attributes are for one that serves what it served before. */
void vault_ring_secret(struct vault *v, uint32_t secret, bool serves, enum vault_rings rings)
{
	const struct watched_files w = watched_of(v, secret);

	if (rings == RINGS_ALL)
		ring_each(v, serves ? BELL_TOUCH : BELL_ATTRIB, &w);
	if (serves && rings != RINGS_NONE)
		ring_marker(v, &w);
}

void vault_ring_current(uint32_t secret, void *arg) { vault_ring_secret(arg, secret, true, RINGS_ALL); }

void vault_ring_missed(struct vault *v)
{
	struct shared_rings *rings = &v->shared->rings;
	const uint64_t now = store_epoch(v->store);
	const uint64_t lost = atomic_load(&rings->lost);
	uint64_t from = atomic_load(&rings->told);

	if (lost && lost < from)
		from = lost;
	for (size_t i = 0; i < RINGS; i++) {
		uint64_t before = atomic_load(&rings->under_way[i]);
		if (before && before < from)
			from = before;
	}
	const uint64_t lost_before = atomic_load(&v->shared->bell_lost);
	rings_since = from;
	if (from && from <= now) {
		int r = store_changed_since(v->store, from - 1, vault_ring_current, v);
		if (r)
			log_warn("what changed while a worker died cannot be told to watchers: %s", strerror(-r));
		vault_ring(v, BELL_TOUCH_DIR, ".");
	}
	/* only now: whoever is killed in the middle of it leaves it to the next */
	rings_since = 0;
	if (atomic_load(&v->shared->bell_lost) == lost_before)
		atomic_store(&rings->lost, 0);
	vault_told(v, now);
	for (size_t i = 0; i < RINGS; i++)
		atomic_store(&rings->under_way[i], 0);
}

bool vault_events_new(const struct vault *v)
{
	uint64_t first, end;

	store_events_range(v->store, &first, &end);
	return atomic_load(&v->rung.events) != end;
}

#define LOG_QUIET_NS      INT64_C(2000000000)
#define LOG_QUIET_MOST_NS INT64_C(64000000000)

void vault_ring_log(struct vault *v)
{
	const int64_t now = clock_monotonic();
	uint64_t others, looks;

	audit_written(v->audit, &others, &looks);
	if (others != v->rung.log.others)
		v->rung.log.quiet = LOG_QUIET_NS;
	else if (looks == v->rung.log.looks || now - v->rung.log.at < v->rung.log.quiet)
		return;
	else if (v->rung.log.quiet < LOG_QUIET_MOST_NS)
		v->rung.log.quiet *= 2;
	v->rung.log.others = others;
	v->rung.log.looks = looks;
	v->rung.log.at = now;
	vault_ring(v, BELL_TOUCH, ".coffer/audit");
}

void vault_wake_lifecycle(void *arg)
{
	struct vault *v = arg;
	const int wake = atomic_load(&v->lifecycle_wake) - 1;
	const uint64_t one = 1;

	if (wake >= 0)
		(void)!write(wake, &one, sizeof one);
}

void vault_events_told(struct vault *v)
{
	uint64_t first, end;

	store_events_range(v->store, &first, &end);
	if (atomic_exchange(&v->rung.events, end) != end)
		vault_ring(v, BELL_TOUCH, ".coffer/events");
	vault_wake_lifecycle(v);
}
