#include "fs/vault.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/log.h"
#include "fs/test_hook.h"
#include "store/core/follow.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/store.h"

int64_t vault_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t vault_monotonic(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void vault_copy_name(char *ret, size_t room, const char *name)
{
	size_t n = strnlen(name, room - 1);
	memcpy(ret, name, n);
	ret[n] = '\0';
}

#define ACCOUNT_STANDS_NS INT64_C(60000000000)

void vault_decide_locked(struct vault *v, const struct identity *who, enum action action, const char *name, struct verdict *ret_verdict)
{
	struct policy_answer a = { 0 };

	ret_verdict->epoch = store_epoch(v->store);
	ret_verdict->binding = 0;
	ret_verdict->valid_until = 0;
	ret_verdict->decision = POLICY_DENY;
	ret_verdict->error = EACCES;
	if (store_sealed(v->store)) {
		ret_verdict->error = v->keys_silent ? ETIMEDOUT : ENOKEY;
		return;
	}
	if (!who)
		return;
	const struct policy *p = store_policy(v->store);
	policy_decide(p, &who->policy, action, name, vault_now(), &a);
	ret_verdict->decision = a.decision;
	if (a.decision != POLICY_ALLOW)
		return;
	const struct role *role = policy_role(p, a.role);
	const struct binding *binding = policy_binding(p, a.binding);
	if (binding)
		ret_verdict->principal = binding->principal;
	ret_verdict->error = 0;
	ret_verdict->binding = a.binding;
	ret_verdict->valid_until = a.valid_until;
	/* an account's groups change without a word to us */
	if (who->policy.account != POLICY_ACCOUNT_OWN && policy_has_blocks(p) && vault_now() + ACCOUNT_STANDS_NS < a.valid_until)
		ret_verdict->valid_until = vault_now() + ACCOUNT_STANDS_NS;
	vault_copy_name(ret_verdict->role, sizeof ret_verdict->role, role ? role->name : "");
}

void vault_decide(struct vault *v, const struct identity *who, enum action action, const char *name, struct verdict *ret_verdict)
{
	store_rdlock(v->store);
	vault_decide_locked(v, who, action, name, ret_verdict);
	store_unlock_tables(v->store);
}

bool vault_is_administrator(struct vault *v, const struct identity *who)
{
	struct verdict j = { 0 };

	if (!who)
		return false;
	if (who->host && who->uid == 0)
		return true;
	vault_decide(v, who, ACTION_BINDINGS_CREATE, NULL, &j);
	return !j.error && j.decision == POLICY_ALLOW;
}

uint64_t vault_neighbour(const struct identity *who)
{
	return who->neighbour;
}

uint64_t vault_neighbour_guess(struct vault *v, uint32_t uid)
{
	return neighbours_guess(callers_neighbours(v->callers), uid);
}

static _Atomic uint64_t *known_place(struct vault *v, uint64_t neighbour)
{
	return &v->known[(neighbour * 0x9e3779b97f4a7c15u >> 32) % KNOWN_MAX];
}

bool vault_is_known(struct vault *v, uint64_t neighbour)
{
	return atomic_load_explicit(known_place(v, neighbour), memory_order_relaxed) == neighbour + 1;
}

void vault_note_known(struct vault *v, uint64_t neighbour)
{
	if (!vault_is_known(v, neighbour))
		atomic_store_explicit(known_place(v, neighbour), neighbour + 1, memory_order_relaxed);
}

bool vault_is_bell(const struct vault *v, uint32_t uid, pid_t tid)
{
	const int32_t bell = v->shared->keeper.bell;
	char path[48];
	struct stat st;

	if (uid != v->shared->keeper.bell_uid || tid <= 0 || bell <= 0)
		return false;
	if (tid == bell)
		return true;
	snprintf(path, sizeof path, "%d/task/%d", (int)bell, (int)tid);
	return v->proc_fd > 0 && fstatat(v->proc_fd, path, &st, 0) == 0;	/* takes no lock of anybody's */
}

/* Whoever administers the vault must be able to see that the log has no room, and what filled it; and to act. */
static bool of_weight(enum audit_operation operation)
{
	return operation == AUDIT_VAULT_STATUS || operation == AUDIT_AUDIT_READ || operation == AUDIT_SECRET_DELETE || operation == AUDIT_SECRET_RECOVER ||
	       operation == AUDIT_SECRET_PURGE;
}

enum patience vault_record_waits(const struct vault *v)
{
	return v->options && v->options->durability == AUDIT_DURABILITY_FDATASYNC ? WAITS_FOR_RESOLVER : WAITS_FOR_NOTHING;
}

int vault_record(struct vault *v, enum audit_operation operation, const struct identity *who, const struct verdict *verdict, uint64_t unique, bool resent, int64_t began,
		 uint32_t *ret_delay_ms)
{
	int64_t now = vault_now();
	char principal[PRINCIPAL_TEXT_MAX];
	const struct audit_event e = {
		.operation = operation,
		.result = verdict->error == 0 ? AUDIT_ALLOW : verdict->decision == POLICY_ALLOW || verdict->error == ENOKEY || verdict->error == ETIMEDOUT ? AUDIT_ERROR : AUDIT_DENY,
		.error = verdict->error,
		.secret = verdict->name[0] ? verdict->name : NULL,
		.version = verdict->version,
		.caller = who ? &who->audit : NULL,
		.binding = verdict->binding,
		.role = verdict->binding ? verdict->role : NULL,
		.principal = verdict->binding && verdict->principal.n ? principal : NULL,
		.unique = unique,
		.resent = resent,
		.privileged = of_weight(operation) && !strcmp(verdict->role, "administrator"),
		.duration_us = now > began ? (uint32_t)((now - began) / 1000) : 0,
	};
	if (e.principal)
		principal_print(&verdict->principal, principal);
	if (e.result == AUDIT_DENY)
		atomic_fetch_add_explicit(&v->shared->denials, 1, memory_order_relaxed);
	if (verdict->binding)
		store_binding_used(v->store, verdict->binding, now);
	TEST_POINT("record-before", 0);
	int r = audit_append(v->audit, &e, ret_delay_ms);
	TEST_POINT("record-after", 0);
	if (r == -EDQUOT)
		log_caused(LOG_WARNING, "uid %u is refused, for it and its neighbours have used up their share of the audit log, which is full: coffer doctor says more", e.caller->uid);
	return r ? -EIO : 0;
}

/* ---- what is owed to watchers, so that a death between commit and bell loses no event. Too much is rung rather than too little: watchers read the file, not the event. ---- */

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

static void owe_nothing(void)
{
	if (owed)
		atomic_store(owed, 0);
	owed = NULL;
}

/* Of a thread that rings for what others may have left: since when; and if it may wait for room, what it looks at meanwhile. */
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
		log_caused(LOG_WARNING, "what changed while the bell was not heard cannot be told to watchers: %s", strerror(-r));
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
		owe_nothing();
	return r;
}

void vault_told(struct vault *v, uint64_t epoch)
{
	atomic_store(&v->shared->rings.told, epoch + 1);
}

/* Where it stands; under the table lock. False: nothing is left of it that could be watched. */
static bool current_path(const struct catalog_secret *s, char path[BELL_PATH_MAX])
{
	if (!s || catalog_emptied(s))
		return false;
	snprintf(path, BELL_PATH_MAX, "%s%s/current", s->deleted ? ".coffer/deleted/" : "", s->name);
	return true;
}

/* Beside `current`; a path of its own, for the bell may hang there. */
static void ring_marker(struct vault *v, const char *current)
{
	char path[BELL_PATH_MAX];

	snprintf(path, sizeof path, "%.*s" BELL_MARKER, (int)(strlen(current) - strlen("current")), current);
	vault_ring(v, BELL_MARK, path);
}

void vault_ring_current(uint32_t secret, void *arg)
{
	struct vault *v = arg;
	char path[BELL_PATH_MAX];

	store_rdlock(v->store);
	const bool there = current_path(store_get(v->store, secret), path);
	store_unlock_tables(v->store);
	if (!there)
		return;
	vault_ring(v, BELL_TOUCH, path);
	ring_marker(v, path);
}

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
	return atomic_load(&v->events_told) != end;
}

void vault_names_moved(struct vault *v)
{
	const int64_t now = vault_now();
	int64_t before = vault_names_time(v);
	const int64_t next = now > before ? now : before + 1;

	before = atomic_load(&v->shared->names_moved);
	while (before < next && !atomic_compare_exchange_weak(&v->shared->names_moved, &before, next))
		;
}

int64_t vault_names_time(const struct vault *v)
{
	const int64_t moved = atomic_load(&v->shared->names_moved), started = v->shared->keeper.started;

	return moved > started ? moved : started;
}

#define LOG_QUIET_NS      INT64_C(2000000000)
#define LOG_QUIET_MOST_NS INT64_C(64000000000)

void vault_ring_log(struct vault *v)
{
	const int64_t now = vault_monotonic();
	uint64_t others, looks;

	audit_written(v->audit, &others, &looks);
	if (others != v->log_rung.others)
		v->log_rung.quiet = LOG_QUIET_NS;
	else if (looks == v->log_rung.looks || now - v->log_rung.at < v->log_rung.quiet)
		return;
	else if (v->log_rung.quiet < LOG_QUIET_MOST_NS)
		v->log_rung.quiet *= 2;
	v->log_rung.others = others;
	v->log_rung.looks = looks;
	v->log_rung.at = now;
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
	if (atomic_exchange(&v->events_told, end) != end)
		vault_ring(v, BELL_TOUCH, ".coffer/events");
	vault_wake_lifecycle(v);
}

/* The last of the names that the commit made; 0: it made none. */
static uint32_t last_new(struct vault *v, uint32_t mark)
{
	uint32_t last = 0;

	for (uint32_t id = mark - 1; (id = store_touched_next(v->store, id));) {
		store_rdlock(v->store);
		const struct catalog_secret *s = store_get(v->store, id);
		if (s && !s->deleted)
			last = id;
		store_unlock_tables(v->store);
	}
	return last;
}

/* What is rung for a secret that may serve something else, and (attributes) for one that does not. */
static void ring_secret(struct vault *v, const char *path, bool serves, enum vault_rings rings)
{
	if (!serves && rings == RINGS_ALL)
		vault_ring(v, BELL_ATTRIB, path);
	if (serves && rings == RINGS_ALL)
		vault_ring(v, BELL_TOUCH, path);
	if (serves && rings != RINGS_NONE)
		ring_marker(v, path);
}

void vault_changed(struct vault *v, enum vault_rings rings)
{
	const uint32_t mark = appear_mark(v);
	char path[BELL_PATH_MAX];

	/* whoever still has a right decrypts again: rights may have gone with this commit */
	plain_drop_all(v->plain);
	drops_hurry(v->drops);
	const uint32_t made = rings == RINGS_ALL && mark != UINT32_MAX ? last_new(v, mark) : 0;
	if (made)
		appear_wait(v, made);
	for (uint32_t id = 0; (id = store_touched_next(v->store, id));) {
		store_rdlock(v->store);
		const bool there = current_path(store_get(v->store, id), path);
		store_unlock_tables(v->store);
		if (there && id < mark)		/* of new ones it is rung with the name */
			ring_secret(v, path, store_touched_serves(v->store, id), rings);
		drops_add(v->drops, inode_pack(&(struct inode){ .type = INODE_CURRENT, .secret = id }));
	}
	vault_events_told(v);
	owe_nothing();
}

static int record_unseal(struct vault *v, int r)
{
	const struct audit_event e = { .operation = AUDIT_VAULT_UNSEAL, .result = r ? AUDIT_ERROR : AUDIT_ALLOW, .error = -r, .privileged = true };

	if (audit_append(v->audit, &e, NULL)) {
		store_lock(v->store);
		return -EIO;
	}
	v->shared->keeper.unsealed = r == 0;
	return 0;
}

int vault_unlock(struct vault *v, char *why, size_t why_len)
{
	v->seals = v->shared->keeper.seals;	/* before the key is asked for: a seal meanwhile counts */
	int r = store_unlock(v->store, v->keys, why, why_len);

	v->unlock_failed = r == -EBADMSG;
	v->keys_silent = r == -ETIMEDOUT;
	if (r == -ENOKEY || r == -ETIMEDOUT)	/* no event yet: it is asked again */
		return r;
	if (v->active && record_unseal(v, r)) {
		snprintf(why, why_len, "the unsealing cannot be logged: make room where the log lies");
		return -EIO;
	}
	return r;
}

static void pass_over(uint32_t secret, void *arg)
{
	(void)secret;
	(void)arg;
}

int vault_stand_by(struct vault *v)
{
	if (!store_sealed(v->store) && v->seals != v->shared->keeper.seals)
		store_lock(v->store);
	return store_catch_up(v->store, pass_over, NULL);
}

void vault_take_over(struct vault *v)
{
	v->active = true;
	space_look(&v->space, v->shared->keeper.store);
	/* to the log, which worker has the key is no event */
	if (!store_sealed(v->store) && !v->shared->keeper.unsealed && record_unseal(v, 0))
		log_error("the unsealing cannot be logged: the vault stays sealed until there is room where the log lies");
}

int vault_seal(struct vault *v)
{
	v->shared->keeper.seals++;		/* first: whoever takes over from here on finds it */
	int r = keys_seal(v->keys);
	if (audit_flush(v->audit))
		log_warn("what the audit log has counted is not on the disk yet");
	/* our own keys go in any case: doubt means deny */
	store_lock(v->store);
	backups_drop(v->backups);
	plain_drop_all(v->plain);
	drops_hurry(v->drops);
	v->shared->keeper.unsealed = 0;
	return r;
}
