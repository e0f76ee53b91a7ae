/* The n-th write, and the n-th allocation, fails for every n: the call says so, and nothing has changed. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faulty_vfs.h"
#include "policy/binding.h"
#include "store/core/cache.h"
#include "store/core/database.h"
#include "store/core/requests.h"
#include "store/core/scrub.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/kek_provider.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/history.h"
#include "store/lifecycle/marks.h"
#include "store/lifecycle/rules.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"
#include "store/store.h"
#include "store_main.h"

/* ---- allocations of the project's own code (--wrap) and of SQLite ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static struct {
	long countdown;
	bool fired;
} shortage;

static bool runs_short(void)
{
	if (shortage.countdown == 0 || --shortage.countdown > 0)
		return false;
	shortage.fired = true;
	return true;
}

void *__wrap_malloc(size_t n) { return runs_short() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return runs_short() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return runs_short() ? NULL : __real_realloc(p, n); }
char *__wrap_strdup(const char *s) { return runs_short() ? NULL : __real_strdup(s); }

static sqlite3_mem_methods real_memory;
static void *sqlite_malloc(int n) { return runs_short() ? NULL : real_memory.xMalloc(n); }
static void *sqlite_realloc(void *p, int n) { return runs_short() ? NULL : real_memory.xRealloc(p, n); }

static void wrap_sqlite_memory(void)
{
	sqlite3_mem_methods faulty;

	sqlite3_shutdown();
	ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory), SQLITE_OK);
	faulty = real_memory;
	faulty.xMalloc = sqlite_malloc;
	faulty.xRealloc = sqlite_realloc;
	ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &faulty), SQLITE_OK);
	ck_assert_int_eq(sqlite3_initialize(), SQLITE_OK);
}

/* ---- what is tried ---- */

static uint32_t secret;
static uint64_t stage, serial;

static int change(void)
{
	static const uint8_t digest[DIGEST_LEN];
	struct binding b = { .from = INT64_MIN,
			     .until = BINDING_FOREVER,
			     .scope = "*",
			     .role = 1,
			     .principal = { .n = 1, .conditions = { { PRINCIPAL_USER, 5 } } } };
	struct request_key key = { .uid = 1 };
	uint32_t id, version;
	uint64_t binding;
	char name[32];
	int r = store_begin(fx.store);

	if (r < 0)
		return r;
	snprintf(name, sizeof name, "new%llu", (unsigned long long)++serial);
	memcpy(key.id, &serial, sizeof serial);
	r = store_secret_create(fx.store, name, &id);
	if (r == 0)
		r = store_version_add(fx.store, id, "value", 5, NULL, &version);
	if (r == 0)
		r = store_version_add(fx.store, secret, "more", 4, NULL, &version);
	if (r == 0)
		r = store_binding_add(fx.store, &b, "r", "c", &binding);
	if (r == 0)
		r = store_request_put(fx.store, &key, digest, "{}");
	if (r == 0)
		return store_commit(fx.store);
	store_rollback(fx.store);
	return r;
}

/* All that a rotation leaves behind, and the rules that it goes by, in one transaction. */
static int rotation(void)
{
	struct rotation p = {
		.action = ROTATION_ROTATE, .every = 90 * 86400 * (int64_t)NS_PER_S, .generator = "uuid", .scope = "d*"
	};
	struct hook h = {
		.events = EVENT_BIT(EVENT_NEW_VERSION), .command = "/bin/true", .user = 1, .timeout = 1, .scope = "d*"
	};
	struct history kept = { .versions = 1, .scope = "d*" };
	struct mark m = { .secret = secret, .told = TOLD_NEAR };
	uint32_t version;
	uint64_t id;
	int r = store_begin(fx.store);

	if (r < 0)
		return r;
	r = store_rotation_put(fx.store, &p, &id);
	if (r == 0)
		r = store_history_put(fx.store, &kept, &id);
	if (r == 0)
		r = store_hook_add(fx.store, &h, &id);
	if (r == 0)
		r = store_near_expiry_put(fx.store, 14);
	if (r == 0)
		r = store_version_add(fx.store, secret, "new", 3, NULL, &version);
	if (r == 0) {
		m.version = version;
		r = store_mark_put(fx.store, &m);
	}
	if (r == 0)
		r = store_event_add_of(fx.store, EVENT_NEAR_EXPIRY, secret, version, false);
	if (r == 0)
		r = store_hook_remove(fx.store, id);
	if (r == 0)
		return store_commit(fx.store);
	store_rollback(fx.store);
	return r;
}

/* With more changes than are listed: the tables are loaded anew in the commit. */
static int large_change(void)
{
	fx.store->changes_listed = 2;
	int r = change();
	fx.store->changes_listed = CHANGES_LISTED;
	return r;
}

static int stage_write(void)
{
	static const uint8_t data[40000];

	return store_stage_write(fx.store, stage, ++serial, STAGE_APPEND, data, sizeof data);
}

static int stage_commit(void)
{
	uint32_t version;
	int r = store_begin(fx.store);

	if (r < 0)
		return r;
	r = store_stage_commit(fx.store, stage, secret, NULL, &version);
	if (r == 0)
		return store_commit(fx.store);
	store_rollback(fx.store);
	return r;
}

/* A secret with two versions through all that ends one, each time in a transaction of its own. Whatever fails, the
 * whole has happened so far or has not. */
static uint32_t doomed;

static int in_transaction(int (*act)(void))
{
	int r = store_begin(fx.store);

	if (r < 0)
		return r;
	r = act();
	if (r == 0)
		return store_commit(fx.store);
	store_rollback(fx.store);
	return r;
}

static int do_delete(void) { return store_secret_delete(fx.store, doomed); }

static int do_recover(void) { return store_secret_recover(fx.store, doomed); }
static int do_purge(void) { return store_secret_purge(fx.store, doomed); }
static int do_empty(void) { return store_secret_empty(fx.store, doomed); }
static int do_destroy(void) { return store_version_destroy(fx.store, doomed, 1); }

static int delete_it(void) { return in_transaction(do_delete); }
static int recover_it(void) { return in_transaction(do_recover); }
static int purge_it(void) { return in_transaction(do_purge); }
static int empty_it(void) { return in_transaction(do_empty); }
static int destroy_it(void) { return in_transaction(do_destroy); }

/* A set: a version of one that is there, one of a new secret, one that is empty, from one stage in one transaction, as
 * put-set does it. */
#define SET_FIRST  30000 /* bytes: more than a chunk of the stage */
#define SET_SECOND 7

static char set_name[32], set_empty[32]; /* of this round's */

static int do_set(void)
{
	uint32_t id, version;
	int r = store_stage_commit_part(fx.store, stage, 0, SET_FIRST, doomed, NULL, &version);

	if (r == 0)
		r = store_secret_create(fx.store, set_name, &id);
	if (r == 0)
		r = store_stage_commit_part(fx.store, stage, SET_FIRST, SET_SECOND, id, NULL, &version);
	if (r == 0)
		r = store_secret_create(fx.store, set_empty, &id);
	if (r == 0)
		r = store_version_add(fx.store, id, "", 0, NULL, &version);
	return r == 0 ? store_stage_clean(fx.store, stage) : r;
}

static int set_it(void) { return in_transaction(do_set); }

static int64_t in_a_year(void) { return 365 * 86400 * (int64_t)NS_PER_S; }

static int read_cold(void)
{
	struct secbuf *plain = NULL;
	int r;

	cache_clear(fx.store->cache);
	r = store_version_read(fx.store, secret, 1, &plain);
	/* No assertion while a shortage is armed: libcheck allocates too, and ends the process without. */
	if (r == 0 && memcmp(secbuf_cdata(plain), "one", 3) != 0)
		r = -ECANCELED;
	secbuf_free(plain);
	return r;
}

static int look_around(void)
{
	struct store_attributes a;
	struct store_binding_info info;
	int r = store_version_attributes(fx.store, secret, 1, &a);

	if (r < 0)
		return r;
	store_attributes_free(&a);
	r = store_binding_info(fx.store, 1, &info);
	if (r < 0)
		return r;
	store_binding_info_free(&info);
	return store_follow(fx.store, NULL, NULL);
}

static int reopen(void) { return vault_reopen(&fx); }

static void start(void)
{
	secret = add_secret(fx.store, "db", "one");
	ck_assert_int_eq(store_stage_new(fx.store, &stage), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, "staged", 6), 0);
}

struct state {
	uint64_t epoch, events;
	struct store_counts counts;
	struct stage_info stage;
	int64_t requests;
};

static struct state state_now(void)
{
	struct state st = { .epoch = store_epoch(fx.store) };

	uint64_t first;

	store_counts(fx.store, &st.counts);
	store_events_range(fx.store, &first, &st.events);
	ck_assert_int_eq(store_stage_stat(fx.store, stage, &st.stage), 0);
	st.requests = raw_int(&fx, "SELECT count(*) FROM requests");
	return st;
}

static void must_be(const struct state *want, const char *when, long n)
{
	struct state st = state_now();

	ck_assert_msg(st.epoch == want->epoch && st.events == want->events &&
			      memcmp(&st.counts, &want->counts, sizeof st.counts) == 0 &&
			      st.stage.size == want->stage.size && st.stage.dirty == want->stage.dirty &&
			      st.requests == want->requests,
		      "%s, fault %ld: something changed", when, n);
}

static void check_after_failure(const struct state *before, const char *what, long n)
{
	must_be(before, what, n);
	ck_assert_int_eq(value_is(fx.store, secret, 1, "one"), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	must_be(before, "reopened", n);
	ck_assert_int_eq(value_is(fx.store, secret, 1, "one"), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}

/* For the next round to have something to commit. */
static void make_dirty(void)
{
	if (!fx.store)
		return;
	ck_assert_int_eq(store_stage_truncate(fx.store, stage, ++serial, 6), 0);
}

static void fail_writes(int (*act)(void), const char *what, int code, bool lasting, int want)
{
	for (long n = 1; n < 500; n++) {
		struct state before = state_now();
		fault.code = code;
		fault.lasting = lasting;
		fault.fired = false;
		fault.countdown = n;
		int r = act();
		fault.countdown = 0;
		if (!fault.fired) {
			ck_assert_int_eq(r, 0);
			ck_assert_int_gt(n, 1);
			return;
		}
		/* A checkpoint or a write that is only tidying may fail without harm. */
		if (r == 0) {
			make_dirty();
			continue;
		}
		ck_assert_msg(r == want || r == -EIO, "%s, write %ld: %d", what, n, r);
		check_after_failure(&before, what, n);
	}
	ck_abort_msg("%s never succeeds", what);
}

START_TEST(failed_write_changes_nothing)
{
	start();
	fail_writes(change, "change", SQLITE_IOERR_WRITE, false, -EIO);
	fail_writes(change, "change", SQLITE_FULL, true, -ENOSPC);
	fail_writes(large_change, "large change", SQLITE_IOERR_WRITE, false, -EIO);
	fail_writes(rotation, "rotation", SQLITE_IOERR_WRITE, false, -EIO);
	fail_writes(rotation, "rotation", SQLITE_FULL, true, -ENOSPC);
	fail_writes(stage_write, "stage write", SQLITE_FULL, true, -ENOSPC);
	fail_writes(stage_commit, "stage commit", SQLITE_IOERR_WRITE, false, -EIO);
	ck_assert_int_eq(change(), 0);
}
END_TEST

/* In a process of its own, which is gone at its n-th write. True: it came to its end. */
static bool act_and_die(int (*act)(void), long n)
{
	struct kek_source source = { .uri = fx.conf.kek, .params = fx.conf.kek_params, .fd = -1 };
	struct kek *kek = NULL;
	char why[256];
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		process_init();
		if (kek_open(&source, &kek, why, sizeof why) < 0 || keys_new_local(kek, &fx.keys) < 0 ||
		    vault_open(&fx) < 0)
			_exit(2);
		fault.deadly = true;
		fault.countdown = n;
		_exit(act() == 0 ? 0 : 3);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
	return WIFEXITED(status);
}

START_TEST(killed_at_every_write_of_a_rotation_it_happened_or_did_not)
{
	struct mark mark;
	bool ended = false;
	unsigned done = 0, undone = 0;

	start();
	for (long n = 1; !ended && n < 500; n++) {
		struct state was = state_now(), is;
		vault_close(&fx);
		ended = act_and_die(rotation, n);
		ck_assert_int_eq(vault_open(&fx), 0);
		is = state_now();
		ck_assert_int_eq(store_mark_get(fx.store, secret, &mark), 0);
		ck_assert_int_eq(fsck_quiet(&fx, true), 0);
		if (is.epoch == was.epoch) {
			must_be(&was, "killed", n);
			undone++;
		} else {
			ck_assert_uint_eq(is.counts.versions, was.counts.versions + 1);
			ck_assert_uint_gt(is.events, was.events);
			ck_assert_uint_eq(mark.version, is.counts.versions);
			done++;
		}
	}
	ck_assert(ended && done >= 1 && undone >= 3);
}
END_TEST

/* The stage holds the set's values, and the names are new. */
static void stage_set(void)
{
	static char values[SET_FIRST + SET_SECOND];

	memset(values, 'a', SET_FIRST);
	memset(values + SET_FIRST, 'b', SET_SECOND);
	snprintf(set_name, sizeof set_name, "set%llu", (unsigned long long)++serial);
	snprintf(set_empty, sizeof set_empty, "set%llu-empty", (unsigned long long)serial);
	ck_assert_int_eq(store_stage_write_set(fx.store, stage, serial, 0, values, sizeof values), 0);
	ck_assert_int_eq(store_stage_truncate(fx.store, stage, ++serial, sizeof values), 0);
}

static bool set_is_whole(void)
{
	static char first[SET_FIRST + 1];
	const struct catalog_secret *second = store_find(fx.store, set_name), *empty = store_find(fx.store, set_empty);

	memset(first, 'a', SET_FIRST);
	return second && empty && value_is(fx.store, secret, store_get(fx.store, secret)->current, first) == 0 &&
	       value_is(fx.store, second->id, 1, "bbbbbbb") == 0 && value_is(fx.store, empty->id, 1, "") == 0 &&
	       !state_now().stage.dirty;
}

START_TEST(killed_at_every_write_of_a_set_all_or_nothing)
{
	bool ended = false;
	unsigned done = 0, undone = 0;

	start();
	doomed = secret;
	for (long n = 1; !ended && n < 500; n++) {
		stage_set();
		struct state was = state_now();
		vault_close(&fx);
		ended = act_and_die(set_it, n);
		ck_assert_int_eq(vault_open(&fx), 0);
		ck_assert_int_eq(fsck_quiet(&fx, true), 0);
		if (store_epoch(fx.store) == was.epoch) {
			must_be(&was, "killed", n);
			ck_assert(!store_find(fx.store, set_name) && !store_find(fx.store, set_empty));
			undone++;
		} else {
			ck_assert_uint_eq(store_epoch(fx.store), was.epoch + 1);
			ck_assert(set_is_whole());
			done++;
		}
	}
	ck_assert(ended && done >= 1 && undone >= 3);
}
END_TEST

/* Each step for every n with a secret of its own, which is made while nothing fails. */
static void doom(int (*const *before)(void), size_t n)
{
	char name[32];

	snprintf(name, sizeof name, "doomed%llu", (unsigned long long)++serial);
	doomed = add_secret(fx.store, name, "first");
	add_version(fx.store, doomed, "second");
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(before[i](), 0);
}

static void fail_end(int (*act)(void), const char *what, int (*const *before)(void), size_t n_before, bool memory)
{
	for (long n = 1; n < 2000; n += !memory || n < 40 ? 1 : 1 + n / 8) {
		doom(before, n_before);
		if (act == empty_it)
			fx.store->uptime = in_a_year;
		struct state was = state_now();
		fault.code = SQLITE_IOERR_WRITE;
		fault.lasting = fault.fired = shortage.fired = false;
		fault.countdown = memory ? 0 : n;
		shortage.countdown = memory ? n : 0;
		int r = act();
		fault.countdown = shortage.countdown = 0;
		if (r < 0)
			check_after_failure(&was, what, n);
		else
			ck_assert_uint_eq(store_epoch(fx.store), was.epoch + 1);
		if (!fault.fired && !shortage.fired) {
			ck_assert_msg(r == 0, "%s: %d without a fault", what, r);
			return;
		}
		ck_assert_msg(r == 0 || r == -EIO || r == -ENOMEM, "%s, fault %ld: %d", what, n, r);
		/* What failed can be done again, and what was done is whole. */
		if (act == empty_it)
			fx.store->uptime = in_a_year;
		ck_assert_int_eq(r < 0 ? act() : 0, 0);
		ck_assert_int_eq(store_scrub(fx.store), 0);
		ck_assert_int_eq(fsck_quiet(&fx, false), 0);
		ck_assert_int_eq(vault_reopen(&fx), 0); /* with the clock as it is */
	}
	ck_abort_msg("%s never succeeds", what);
}

/* What can be seen of the doomed: one number for each state that it may be in. */
enum fate { GONE, LIVE, DELETED, EMPTIED, HALF_DESTROYED, BROKEN };

static enum fate fate_now(void)
{
	const struct catalog_secret *c = store_get(fx.store, doomed);
	bool second = c && value_is(fx.store, doomed, 2, "second") == 0,
	     first = c && value_is(fx.store, doomed, 1, "first") == 0;

	if (!c)
		return GONE;
	if (catalog_emptied(c))
		return EMPTIED;
	if (c->n_versions != 2 || !second)
		return BROKEN;
	if (!first)
		return catalog_version(c, 1)->destroyed ? HALF_DESTROYED : BROKEN;
	return c->deleted ? DELETED : LIVE;
}

/* A process of its own (in which libcheck cannot assert), which dies at its n-th write, sync or truncation. True: it
 * came to its end. */
static bool die_at(const char *act, long n)
{
	char id[16], at[16];
	int status;
	pid_t child;

	snprintf(id, sizeof id, "%u", doomed);
	snprintf(at, sizeof at, "%ld", n);
	vault_close(&fx);
	child = fork();
	if (child == 0) {
		execl("/proc/self/exe", "test_store_fault", "--die", fx.dir, act, id, at, (char *)NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL,
		      "%s, write %ld: the process ended with %x", act, n, (unsigned)status);
	ck_assert_int_eq(vault_open(&fx), 0);
	return WIFEXITED(status);
}

static int (*const ends[])(void) = { delete_it, recover_it, purge_it, empty_it, destroy_it };
static const char *const end_names[] = { "delete", "recover", "purge", "empty", "destroy" };
#define ENDS (sizeof ends / sizeof ends[0])

static int dying_process(char **argv)
{
	int r = -EINVAL;

	if (shim_register() != SQLITE_OK)
		return 3;
	r = vault_attach(&fx, argv[2]);
	if (r < 0)
		return -r;
	doomed = (uint32_t)atol(argv[4]);
	fault.deadly = true;
	fault.countdown = atol(argv[5]);
	for (size_t i = 0; i < ENDS; i++)
		if (strcmp(argv[3], end_names[i]) == 0) {
			if (ends[i] == empty_it)
				fx.store->uptime = in_a_year;
			r = ends[i]();
		}
	if (r == 0)
		r = store_scrub(fx.store);
	fault.countdown = 0;
	vault_close(&fx);
	keys_free(fx.keys);
	return r == 0 ? 0 : 2;
}

static void kill_end(const char *act, int (*const *before)(void), size_t n_before, enum fate was, enum fate is)
{
	bool done = false, never = false, whole = false;

	vault_write_conf(&fx);
	for (long n = 1; n < 200 && !done; n++) {
		doom(before, n_before);
		ck_assert_int_eq(fate_now(), was);
		done = die_at(act, n);
		enum fate fate = fate_now();
		ck_assert_msg(fate == was || fate == is, "killed at write %ld: neither before nor after, but %d", n,
			      fate);
		never |= fate == was;
		whole |= fate == is;
		ck_assert(!done || fate == is);
		ck_assert_int_eq(fsck_quiet(&fx, true), 0);
		ck_assert_int_eq(store_scrub(fx.store), 0);
	}
	ck_assert(done && never && whole);
}

START_TEST(killed_at_every_write_deletes_recovers_purges_all_or_nothing)
{
	static int (*const deleted[])(void) = { delete_it };

	kill_end("delete", NULL, 0, LIVE, DELETED);
	kill_end("recover", deleted, 1, DELETED, LIVE);
	kill_end("purge", deleted, 1, DELETED, GONE);
	kill_end("empty", deleted, 1, DELETED, EMPTIED);
	kill_end("destroy", NULL, 0, LIVE, HALF_DESTROYED);
}
END_TEST

static void fail_every_end(bool memory)
{
	static int (*const deleted[])(void) = { delete_it };

	start();
	fail_end(delete_it, "delete", NULL, 0, memory);
	fail_end(recover_it, "recover", deleted, 1, memory);
	fail_end(purge_it, "purge", deleted, 1, memory);
	fail_end(empty_it, "scheduled purge", deleted, 1, memory);
	fail_end(destroy_it, "destroy", NULL, 0, memory);
}

START_TEST(failed_write_deletes_recovers_purges_all_or_nothing)
{
	fail_every_end(false);
}
END_TEST

START_TEST(failed_allocation_deletes_recovers_purges_all_or_nothing)
{
	fail_every_end(true);
}
END_TEST

static void fail_allocations(int (*act)(void), const char *what, bool reads)
{
	long n;

	for (n = 1; n < 100000; n += n < 120 ? 1 : 1 + n / 25) {
		struct state before = state_now();
		shortage.fired = false;
		shortage.countdown = n;
		int r = act();
		shortage.countdown = 0;
		if (!shortage.fired) {
			ck_assert_msg(r == 0, "%s: %d without a fault", what, r);
			return;
		}
		/* SQLite goes on without what it can do without. */
		if (r == 0) {
			make_dirty();
			continue;
		}
		ck_assert_msg(r == -ENOMEM, "%s, allocation %ld: %d", what, n, r);
		if (reads || !fx.store || store_sealed(fx.store))
			ck_assert_int_eq(vault_reopen(&fx), 0);
		check_after_failure(&before, what, n);
	}
	ck_abort_msg("%s never succeeds", what);
}

START_TEST(failed_allocation_changes_nothing)
{
	start();
	fail_allocations(change, "change", false);
	fail_allocations(large_change, "large change", false);
	fail_allocations(rotation, "rotation", false);
	fail_allocations(stage_write, "stage write", false);
	fail_allocations(stage_commit, "stage commit", false);
	fail_allocations(read_cold, "read", false);
	fail_allocations(look_around, "attributes", false);
}
END_TEST

START_TEST(failed_allocation_while_opening_is_reported)
{
	start();
	fail_allocations(reopen, "open", true);
}
END_TEST

static void setup(void)
{
	wrap_sqlite_memory();
	ck_assert_int_eq(shim_register(), SQLITE_OK);
	fixture_setup();
}

int main(int argc, char **argv)
{
	const TTest *const tests[] = { failed_write_changes_nothing,
				       failed_allocation_changes_nothing,
				       failed_allocation_while_opening_is_reported,
				       failed_write_deletes_recovers_purges_all_or_nothing,
				       failed_allocation_deletes_recovers_purges_all_or_nothing,
				       killed_at_every_write_of_a_rotation_it_happened_or_did_not,
				       killed_at_every_write_deletes_recovers_purges_all_or_nothing,
				       killed_at_every_write_of_a_set_all_or_nothing };

	if (argc == 6 && strcmp(argv[1], "--die") == 0)
		return dying_process(argv);
	return store_tests_run("store-fault", 280, tests, sizeof tests / sizeof tests[0], setup, fixture_teardown);
}
