/* Soft delete, recovery, purge, destruction of a version, and the clock that retention is counted on. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/core/clock.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/scrub.h"
#include "store/core/settings.h"
#include "store/core/transaction.h"
#include "store/objects/objects.h"
#include "store/objects/versions.h"
#include "store/store.h"
#include "store_main.h"

#define DAY ((int64_t)86400 * NS_PER_S)

/* The two clocks of the store, as the test wants them. */
static int64_t wall, up;
static int64_t test_wall(void) { return wall; }
static int64_t test_up(void) { return up; }

static void clocks(void)
{
	fx.store->clock = test_wall;
	fx.store->uptime = test_up;
	fx.store->opened = up;
}

static void reopen(void)
{
	ck_assert_int_eq(vault_reopen(&fx), 0);
	clocks();
}

static void setup(void)
{
	fixture_setup();
	wall = 1700000040 * (int64_t)NS_PER_S; /* a whole minute */
	up = 5 * DAY;
	clocks();
}

static int done(int r)
{
	if (r == 0)
		return store_commit(fx.store);
	store_rollback(fx.store);
	return r;
}

static int begin(void) { return store_begin(fx.store); }

static int delete (uint32_t id)
{
	ck_assert_int_eq(begin(), 0);
	return done(store_secret_delete(fx.store, id));
}

static int recover(uint32_t id)
{
	ck_assert_int_eq(begin(), 0);
	return done(store_secret_recover(fx.store, id));
}

static int purge(uint32_t id)
{
	ck_assert_int_eq(begin(), 0);
	return done(store_secret_purge(fx.store, id));
}

static int empty(uint32_t id)
{
	ck_assert_int_eq(begin(), 0);
	return done(store_secret_empty(fx.store, id));
}

static int destroy(uint32_t id, uint32_t version)
{
	ck_assert_int_eq(begin(), 0);
	return done(store_version_destroy(fx.store, id, version));
}

static void protect(void)
{
	struct store_settings settings = *store_settings(fx.store);

	settings.purge_protection = true;
	ck_assert_int_eq(begin(), 0);
	ck_assert_int_eq(done(store_settings_put(fx.store, &settings)), 0);
}

static struct catalog_secret secret(uint32_t id)
{
	const struct catalog_secret *c = store_get(fx.store, id);

	ck_assert_ptr_nonnull(c);
	return *c;
}

static int64_t date_of(uint32_t id)
{
	struct catalog_secret c = secret(id);

	return store_purge_date(fx.store, &c);
}

START_TEST(deleted_secret_keeps_everything_and_its_name)
{
	uint32_t id = add_secret(fx.store, "db", "one"), other;

	add_version(fx.store, id, "two");
	ck_assert_int_eq(delete (id), 0);
	for (int round = 0; round < 2; round++) {
		ck_assert_ptr_null(store_find(fx.store, "db"));
		ck_assert_ptr_nonnull(store_find_deleted(fx.store, "db"));
		ck_assert(secret(id).deleted);
		ck_assert_uint_eq(secret(id).n_versions, 2);
		ck_assert_int_eq(secret(id).changed, wall);
		ck_assert_int_eq(date_of(id), wall + 90 * DAY);
		reopen();
	}
	ck_assert_int_eq(begin(), 0);
	ck_assert_int_eq(store_secret_create(fx.store, "db", &other), -EEXIST);
	ck_assert_int_eq(store_secret_enable(fx.store, id, false), -ENOENT);
	ck_assert_int_eq(store_version_add(fx.store, id, "x", 1, NULL, &other), -ENOENT);
	ck_assert_int_eq(store_version_enable(fx.store, id, 1, false), -ENOENT);
	ck_assert_int_eq(store_version_destroy(fx.store, id, 1), -ENOENT);
	ck_assert_int_eq(store_secret_delete(fx.store, id), -ENOENT);
	ck_assert_int_eq(store_secret_remove(fx.store, id), -ENOENT);
	store_rollback(fx.store);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(recovery_brings_it_back_whole_again_and_again)
{
	uint32_t id = add_secret(fx.store, "db", "one"), third = 0;

	add_version(fx.store, id, "two");
	for (uint32_t round = 1; round <= 20; round++) {
		ck_assert_int_eq(delete (id), 0);
		ck_assert_int_eq(recover(id), 0);
		ck_assert(!secret(id).deleted);
		ck_assert_int_eq(value_is(fx.store, id, 1, "one"), 0);
		ck_assert_int_eq(value_is(fx.store, id, 2, "two"), 0);
	}
	ck_assert_int_eq(recover(id), -ENOENT);
	third = add_version(fx.store, id, "three");
	ck_assert_uint_eq(third, 3);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(secret_that_never_had_a_version_goes_for_good)
{
	uint32_t id = add_secret(fx.store, "empty", NULL);

	ck_assert_int_eq(begin(), 0);
	ck_assert_int_eq(done(store_secret_remove(fx.store, id)), 0);
	ck_assert_ptr_null(store_get(fx.store, id));
	ck_assert_uint_gt(add_secret(fx.store, "empty", NULL), id);
}
END_TEST

START_TEST(secret_with_a_version_is_not_removed)
{
	uint32_t id = add_secret(fx.store, "db", "one");

	ck_assert_int_eq(destroy(id, 1), 0); /* even if nothing is left of it */
	ck_assert_int_eq(begin(), 0);
	ck_assert_int_eq(done(store_secret_remove(fx.store, id)), -ENOTEMPTY);
	ck_assert(!secret(id).deleted);
}
END_TEST

START_TEST(nothing_is_kept_of_a_deleted_secret_that_never_had_a_version)
{
	uint32_t id = add_secret(fx.store, "empty", NULL);

	ck_assert_int_eq(delete (id), 0);
	struct catalog_secret c = secret(id);
	ck_assert(catalog_emptied(&c));
	ck_assert_int_eq(recover(id), -ENOENT);
	ck_assert_int_eq(purge(id), 0);
	ck_assert_ptr_null(store_get(fx.store, id));
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(purge_frees_the_name_and_leaves_no_row)
{
	uint32_t id = add_secret(fx.store, "db", "one");

	add_version(fx.store, id, "two");
	ck_assert_int_eq(purge(id), -ENOENT);
	ck_assert_int_eq(delete (id), 0);
	ck_assert_int_eq(purge(id), 0);
	ck_assert_ptr_null(store_get(fx.store, id));
	ck_assert_int_eq(value_is(fx.store, id, 1, "one"), -ENOENT);
	ck_assert_int_eq(raw_int(&fx, "SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM versions) + "
				      "(SELECT count(*) FROM version_data)"),
			 0);
	ck_assert_uint_gt(add_secret(fx.store, "db", "new"), id);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(nobody_purges_before_the_date_where_purge_protection_is_on)
{
	uint32_t id = add_secret(fx.store, "db", "one");

	protect();
	ck_assert_int_eq(delete (id), 0);
	ck_assert_int_eq(purge(id), -EPERM);
	ck_assert_int_eq(empty(id), -EAGAIN);
	up += 90 * DAY - NS_PER_S;
	wall += 90 * DAY - NS_PER_S;
	ck_assert_int_eq(purge(id), -EPERM);
	ck_assert_int_eq(empty(id), -EAGAIN);
	up += NS_PER_S;
	wall += NS_PER_S;
	ck_assert_int_eq(empty(id), 0);
	ck_assert(catalog_emptied(store_get(fx.store, id)));
	ck_assert_int_eq(recover(id), -ENOENT);
	ck_assert_int_eq(purge(id), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(protection_that_comes_later_holds_for_what_is_deleted_already)
{
	uint32_t id = add_secret(fx.store, "db", "one");

	ck_assert_int_eq(delete (id), 0);
	protect();
	ck_assert_int_eq(purge(id), -EPERM);
	struct store_settings off = *store_settings(fx.store);
	off.purge_protection = false;
	ck_assert_int_eq(begin(), 0);
	ck_assert_int_eq(done(store_settings_put(fx.store, &off)), -EPERM);
}
END_TEST

START_TEST(wall_clock_ahead_or_back_gains_nothing)
{
	uint32_t id = add_secret(fx.store, "db", "one");

	protect();
	ck_assert_int_eq(delete (id), 0);
	/* ahead: it is no closer, and the date is told as this clock will show it */
	wall += 1000 * DAY;
	ck_assert_int_eq(purge(id), -EPERM);
	ck_assert_int_eq(empty(id), -EAGAIN);
	ck_assert_int_eq(date_of(id), wall + 90 * DAY);
	reopen();
	ck_assert_int_eq(purge(id), -EPERM);
	/* back: the date has not moved away either */
	wall -= 3000 * DAY;
	up += 90 * DAY;
	ck_assert_int_eq(empty(id), 0);
	/* deleted while the clock is wrong */
	wall -= 1000 * DAY;
	uint32_t second = add_secret(fx.store, "second", "one");
	wall += 5000 * DAY;
	ck_assert_int_eq(delete (second), 0);
	wall -= 4000 * DAY;
	ck_assert_int_eq(purge(second), -EPERM);
	up += 90 * DAY;
	ck_assert_int_eq(purge(second), 0);
}
END_TEST

START_TEST(time_without_a_daemon_counts_and_time_without_power_does_not)
{
	uint32_t id = add_secret(fx.store, "db", "one");

	ck_assert_int_eq(delete (id), 0);
	up += 10 * DAY;
	wall += 10 * DAY;
	reopen(); /* the same boot */
	struct catalog_secret c = secret(id);
	ck_assert_int_eq(store_purge_left(fx.store, &c), 80 * DAY);
	/* counted so far is kept now and then, and so is not lost with the machine */
	fx.store->housekept = 0;
	ck_assert_int_eq(store_follow(fx.store, NULL, NULL), 0);
	ck_assert_int_eq(raw_int(&fx, "SELECT counted FROM clock"), 10 * DAY);
	/* another boot, or another machine that has been up for longer: neither its uptime nor its wall clock vouches
	 * for the time between */
	fx.boot[0]++;
	up = 400 * DAY;
	wall += 400 * DAY;
	reopen();
	c = secret(id);
	ck_assert_int_eq(store_purge_left(fx.store, &c), 80 * DAY);
	ck_assert_int_eq(date_of(id), wall + 80 * DAY);
	up += 80 * DAY;
	wall += 80 * DAY;
	ck_assert_int_eq(empty(id), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(clock_that_was_put_back_or_taken_away_is_noticed)
{
	uint32_t id = add_secret(fx.store, "db", "one");

	ck_assert_int_eq(delete (id), 0);
	vault_close(&fx);
	raw(&fx, "CREATE TABLE keep AS SELECT * FROM clock; DELETE FROM clock");
	raw(&fx, "ALTER TABLE keep RENAME TO kept; DROP TABLE kept");
	ck_assert_int_eq(vault_open(&fx), -EBADMSG);
	ck_assert_int_eq(fsck_quiet(&fx, false), -EBADMSG);
}
END_TEST

START_TEST(destroyed_version_is_known_and_never_served_again)
{
	uint32_t id = add_secret(fx.store, "db", "one");
	struct version_attributes a = { .not_before = INT64_MIN, .expires = INT64_MAX };

	add_version(fx.store, id, "two");
	add_version(fx.store, id, "three");
	ck_assert_int_eq(destroy(id, 3), 0);
	for (int round = 0; round < 2; round++) {
		struct catalog_secret c = secret(id);
		ck_assert_uint_eq(c.n_versions, 3);
		ck_assert_uint_eq(c.current, 2);
		ck_assert(catalog_version(&c, 3)->destroyed);
		ck_assert(!catalog_version(&c, 3)->enabled);
		ck_assert(!catalog_version(&c, 2)->destroyed);
		ck_assert_int_eq(value_is(fx.store, id, 3, "three"), -ENOENT);
		reopen();
	}
	ck_assert_int_eq(destroy(id, 3), -ENOENT);
	ck_assert_int_eq(destroy(id, 4), -ENOENT);
	ck_assert_int_eq(begin(), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, 3, true), -ENOENT);
	ck_assert_int_eq(store_version_set_attributes(fx.store, id, 3, &a), -ENOENT);
	store_rollback(fx.store);
	ck_assert_uint_eq(add_version(fx.store, id, "four"), 4);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	/* destroyed versions go through delete, recovery and purge like the others */
	ck_assert_int_eq(delete (id), 0);
	ck_assert_int_eq(recover(id), 0);
	ck_assert_int_eq(value_is(fx.store, id, 4, "four"), 0);
	protect();
	ck_assert_int_eq(destroy(id, 4), -EPERM);
	ck_assert_int_eq(value_is(fx.store, id, 4, "four"), 0);
}
END_TEST

/* ---- what is left in the files ---- */

static uint8_t *file_read(const char *suffix, size_t *ret_len)
{
	char path[160];
	struct stat st;
	int fd;

	snprintf(path, sizeof path, "%s%s", fx.db, suffix);
	fd = open(path, O_RDONLY);
	if (fd < 0) {
		*ret_len = 0;
		return NULL;
	}
	ck_assert_int_eq(fstat(fd, &st), 0);
	uint8_t *data = malloc((size_t)st.st_size + 1);
	ck_assert_ptr_nonnull(data);
	ck_assert_int_eq(read(fd, data, (size_t)st.st_size), st.st_size);
	close(fd);
	*ret_len = (size_t)st.st_size;
	return data;
}

/* Is any piece of 16 bytes of this (of what is long: some of each page's) in the database, with its free pages, or in
 * its log? */
static bool on_disk(const uint8_t *bytes, size_t len)
{
	static const char *const suffixes[] = { "", "-wal", ".v1" };
	const size_t step = len > 4096 ? 512 : 16;
	bool found = false;

	for (size_t k = 0; k < sizeof suffixes / sizeof suffixes[0]; k++) {
		size_t n;
		uint8_t *data = file_read(suffixes[k], &n);
		for (size_t at = 0; data && !found && at + 16 <= len; at += step)
			found |= memmem(data, n, bytes + at, 16) != NULL;
		free(data);
	}
	return found;
}

struct traces {
	uint8_t *envelope, record[WRAP_RECORD_MAX];
	size_t len, record_len;
};

static struct traces traces_of(uint32_t id, uint32_t version)
{
	struct query q = db_query(fx.store->read, row_table(ROW_VERSION)->one);
	struct traces t = { 0 };

	query_int(&q, VERSION_ID(id, version));
	ck_assert_int_eq(query_step(&q), 1);
	ck_assert_int_eq(version_fetch(fx.store->read, &q, &t.envelope, &t.len, t.record, &t.record_len), 0);
	query_end(&q);
	return t;
}

/* Key and ciphertext without what every record and envelope begins with: format, vault, ids. */
static bool traces_left(const struct traces *t)
{
	return on_disk(t->envelope + 4, t->len - 4) || on_disk(t->record + 52, t->record_len - 52);
}

static void fill(size_t len, char *value)
{
	for (size_t i = 0; i < len; i++)
		value[i] = (char)('a' + i % 26);
	value[len] = '\0';
}

/* Values of every size among many others, so that pages split, overflow and merge around them. */
START_TEST(purged_key_and_ciphertext_are_in_no_file)
{
	static const size_t sizes[] = { 0, 20, 300, 3000, 5000, 70000 };
	enum { N = 120 };
	static char value[70001];
	uint32_t ids[N];
	struct traces *t = calloc(2 * N, sizeof *t);
	char name[32];

	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof name, "s%u", i);
		fill(sizes[i % 6], value);
		ids[i] = add_secret(fx.store, name, value);
	}
	for (unsigned i = 0; i < N; i++) { /* second versions fall between the first ones */
		fill(sizes[(i + 2) % 6], value);
		add_version(fx.store, ids[(i * 37) % N], value);
	}
	for (unsigned i = 0; i < N; i += 3)
		for (uint32_t v = 1; v <= 2; v++)
			t[2 * i + v - 1] = traces_of(ids[i], v);
	for (unsigned i = 0; i < N; i += 3) {
		ck_assert(traces_left(&t[2 * i]) && traces_left(&t[2 * i + 1]));
		ck_assert_int_eq(destroy(ids[i], 2), 0);
		ck_assert(!traces_left(&t[2 * i + 1]));
		ck_assert_int_eq(delete (ids[i]), 0);
		ck_assert(traces_left(&t[2 * i]));
		ck_assert_int_eq(purge(ids[i]), 0);
		ck_assert(!traces_left(&t[2 * i]));
	}
	for (unsigned i = 0; i < 2 * N; i++)
		free(t[i].envelope);
	free(t);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(scheduled_purge_destroys_before_the_name_goes)
{
	uint32_t id = add_secret(fx.store, "db", "a value that is long enough to be looked for");
	struct traces t = traces_of(id, 1);

	ck_assert_int_eq(delete (id), 0);
	up += 90 * DAY;
	ck_assert(traces_left(&t));
	ck_assert_int_eq(empty(id), 0);
	ck_assert(!traces_left(&t));
	ck_assert_ptr_nonnull(store_find_deleted(fx.store, "db"));
	free(t.envelope);
}
END_TEST

/* Somebody who reads an older state keeps the log from being emptied: it is emptied when he has ended. */
START_TEST(log_is_emptied_when_the_last_reader_of_it_has_ended)
{
	uint32_t id = add_secret(fx.store, "db", "a value that is long enough to be looked for");
	struct traces t = traces_of(id, 1);
	sqlite3 *other = NULL;

	ck_assert_int_eq(delete (id), 0);
	ck_assert_int_eq(sqlite3_open(fx.db, &other), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(other, "BEGIN; SELECT count(*) FROM objects", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(purge(id), 0);
	ck_assert_int_eq(store_scrub(fx.store), -EAGAIN);
	ck_assert(traces_left(&t));
	sqlite3_close(other);
	ck_assert_int_eq(store_scrub(fx.store), 0);
	ck_assert(!traces_left(&t));
	ck_assert_int_eq(store_scrub(fx.store), 0);
	free(t.envelope);
}
END_TEST

/* ---- killed ---- */

/* The n-th of a round of changes, in a transaction of its own; in a process in which libcheck cannot assert. */
static int one_change(struct store *s, unsigned n, const char *name, uint32_t *id)
{
	uint32_t version;
	int r = store_begin(s);

	if (r < 0)
		return r;
	switch (n) {
	case 0:
		r = store_secret_create(s, name, id);
		if (r == 0)
			r = store_version_add(s, *id, "one", 3, NULL, &version);
		break;
	case 1:
		r = store_version_add(s, *id, "two", 3, NULL, &version);
		break;
	case 2:
		r = store_version_destroy(s, *id, 2);
		break;
	case 3:
		r = store_secret_delete(s, *id);
		break;
	case 4:
		r = store_secret_recover(s, *id);
		break;
	case 5:
		r = store_secret_delete(s, *id);
		break;
	default:
		r = store_secret_purge(s, *id);
		break;
	}
	if (r == 0)
		return store_commit(s);
	store_rollback(s);
	return r;
}

/* Makes secrets and ends them until it is killed; every round stops a change later. */
static int busy(const char *dir)
{
	int r = vault_attach(&fx, dir);

	for (unsigned i = 0; r == 0; i++) {
		char name[32];
		uint32_t id = 0;
		snprintf(name, sizeof name, "k%d-%u", getpid(), i);
		for (unsigned n = 0; n <= i % 7 && r == 0; n++)
			r = one_change(fx.store, n, name, &id);
	}
	return 1;
}

/* Each secret is whole: live or deleted with both versions (one of them perhaps destroyed), or not there. */
static void check_whole(void)
{
	const struct catalog_secret *c;

	for (int deleted = 0; deleted < 2; deleted++)
		for (uint32_t id = 0; (c = store_next(fx.store, id, deleted)); id = c->id) {
			ck_assert_uint_le(c->n_versions, 2);
			for (uint32_t k = 0; k < c->n_versions; k++)
				ck_assert_int_eq(value_is(fx.store, c->id, k + 1, k ? "two" : "one"),
						 c->versions[k].destroyed ? -ENOENT : 0);
			ck_assert(c->n_versions > 0);
		}
}

START_TEST(killed_at_any_moment_leaves_all_or_nothing)
{
	struct store_counts counts;

	vault_write_conf(&fx);
	vault_close(&fx);
	for (int round = 0; round < 25; round++) {
		pid_t child = fork();
		if (child == 0) {
			execl("/proc/self/exe", "test_store_deleted", "--busy", fx.dir, (char *)NULL);
			_exit(127);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 150000000 + 17000000 * (round % 9) }, NULL);
		ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0); /* it is still at it */
		kill(child, SIGKILL);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		ck_assert_int_eq(vault_open(&fx), 0);
		clocks();
		check_whole();
		ck_assert_int_eq(store_scrub(fx.store), 0);
		ck_assert_int_eq(fsck_quiet(&fx, round % 8 == 0), 0);
		store_counts(fx.store, &counts);
		vault_close(&fx);
	}
	ck_assert_uint_gt(counts.secrets, 25);
	ck_assert_uint_gt(counts.deleted, 5);
	ck_assert_int_eq(vault_open(&fx), 0);
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		deleted_secret_keeps_everything_and_its_name,
		recovery_brings_it_back_whole_again_and_again,
		secret_that_never_had_a_version_goes_for_good,
		secret_with_a_version_is_not_removed,
		nothing_is_kept_of_a_deleted_secret_that_never_had_a_version,
		purge_frees_the_name_and_leaves_no_row,
		nobody_purges_before_the_date_where_purge_protection_is_on,
		protection_that_comes_later_holds_for_what_is_deleted_already,
		wall_clock_ahead_or_back_gains_nothing,
		time_without_a_daemon_counts_and_time_without_power_does_not,
		clock_that_was_put_back_or_taken_away_is_noticed,
		destroyed_version_is_known_and_never_served_again,
		purged_key_and_ciphertext_are_in_no_file,
		scheduled_purge_destroys_before_the_name_goes,
		log_is_emptied_when_the_last_reader_of_it_has_ended,
		killed_at_any_moment_leaves_all_or_nothing,
	};

	if (argc == 3 && strcmp(argv[1], "--busy") == 0)
		return busy(argv[2]);
	return store_tests_run("store-deleted", 120, tests, sizeof tests / sizeof tests[0], setup, fixture_teardown);
}
