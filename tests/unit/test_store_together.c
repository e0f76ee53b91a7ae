/* Several processes and threads on one store, and processes that die. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/policy.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/index.h"
#include "store/keys/keys.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"
#include "store/store.h"
#include "store_main.h"

#define KILLS 8

/* ---- the other process: adds versions to secret 1 and says so, one byte each ---- */

/* Who has the database for longer than a writer waits is only busy: so is the machine. */
static int begin_patiently(struct store *s)
{
	int r;

	while ((r = store_begin(s)) == -ETIMEDOUT)
		;
	return r;
}

static int other_process(const char *dir, long rounds)
{
	static struct fixture f;
	uint32_t version;
	char value[32];

	if (vault_attach(&f, dir) < 0)
		return 1;
	for (long i = 0; i < rounds; i++) {
		if (begin_patiently(f.store) < 0)
			return 2;
		store_rdlock(f.store);
		version = store_get(f.store, 1)->n_versions + 1;
		store_unlock_tables(f.store);
		snprintf(value, sizeof value, "value %u", version);
		if (store_version_add(f.store, 1, value, strlen(value), NULL, &version) < 0 ||
		    store_commit(f.store) < 0)
			return 3;
		if (write(STDOUT_FILENO, "+", 1) != 1)
			return 4;
	}
	store_close(f.store);
	keys_free(f.keys);
	return 0;
}

/* One that is left behind in the midst of a transaction. */
static int stuck_process(const char *dir)
{
	static struct fixture f;
	uint32_t version;

	if (vault_attach(&f, dir) < 0 || begin_patiently(f.store) < 0 ||
	    store_version_add(f.store, 1, "of the dead", 11, NULL, &version) < 0 || write(STDOUT_FILENO, "+", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static pid_t spawn(const char *rounds, int *ret_fd)
{
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		execl("/proc/self/exe", "test_store_together", "--other", fx.dir, rounds, (char *)NULL);
		_exit(127);
	}
	ck_assert_int_gt(pid, 0);
	close(fds[1]);
	*ret_fd = fds[0];
	return pid;
}

static long drain(int fd)
{
	char block[512];
	long total = 0;
	ssize_t n;

	while ((n = read(fd, block, sizeof block)) > 0)
		total += n;
	close(fd);
	return total;
}

static void check_values(void)
{
	char value[32];
	uint32_t n = store_get(fx.store, 1)->n_versions;

	ck_assert_uint_eq(store_get(fx.store, 1)->current, n);
	for (uint32_t v = 1; v <= n; v++) {
		snprintf(value, sizeof value, "value %u", v);
		ck_assert_int_eq(value_is(fx.store, 1, v, value), 0);
	}
}

START_TEST(killed_writer_loses_nothing_that_it_was_told_is_done)
{
	long done = 1;
	char byte;
	int fd;

	vault_write_conf(&fx);
	ck_assert_uint_eq(add_secret(fx.store, "db", "value 1"), 1);
	vault_close(&fx);
	srand((unsigned)getpid());
	for (int i = 0; i < KILLS; i++) {
		pid_t pid = spawn("1000000", &fd);
		int status, n = 1 + rand() % 60;
		for (; n > 0; n--, done++)
			ck_assert_int_eq(read(fd, &byte, 1), 1);
		usleep((useconds_t)(rand() % 2000)); /* anywhere within a commit */
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		done += drain(fd);
		ck_assert_int_eq(vault_open(&fx), 0);
		ck_assert_int_ge(store_get(fx.store, 1)->n_versions, done);
		ck_assert_int_le(store_get(fx.store, 1)->n_versions, done + 1);
		done = store_get(fx.store, 1)->n_versions;
		check_values();
		ck_assert_int_eq(fsck_quiet(&fx, true), 0);
		vault_close(&fx);
	}
}
END_TEST

static int follow_patiently(void)
{
	int r;

	while ((r = store_follow(fx.store, NULL, NULL)) == -ETIMEDOUT)
		;
	return r;
}

START_TEST(two_processes_commit_in_turn)
{
	int fd, status;
	char value[32];

	vault_write_conf(&fx);
	ck_assert_uint_eq(add_secret(fx.store, "db", "value 1"), 1);
	pid_t pid = spawn("100", &fd);
	for (int i = 0; i < 100; i++) {
		uint32_t version;
		ck_assert_int_eq(begin_patiently(fx.store), 0);
		snprintf(value, sizeof value, "value %u", store_get(fx.store, 1)->n_versions + 1);
		ck_assert_int_eq(store_version_add(fx.store, 1, value, strlen(value), NULL, &version), 0);
		ck_assert_int_eq(store_commit(fx.store), 0);
		ck_assert_int_eq(follow_patiently(), 0);
	}
	ck_assert_int_eq(drain(fd), 100);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(follow_patiently(), 0);
	ck_assert_uint_eq(store_get(fx.store, 1)->n_versions, 201);
	check_values();
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(locks_of_one_that_is_left_behind_do_not_hold)
{
	uint32_t version;
	char byte;
	int fd, index;

	vault_write_conf(&fx);
	ck_assert_uint_eq(add_secret(fx.store, "db", "value 1"), 1);
	const pid_t pid = spawn("stuck", &fd);
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	ck_assert_int_eq(store_begin(fx.store), -ETIMEDOUT);
	const int dir = open(fx.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const int lock = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(index_hold(dir, &index), 0);
	ck_assert_int_eq(index_put_aside(dir, lock), -EAGAIN); /* another process has the database open by it */
	close(index);
	ck_assert_int_eq(index_put_aside(dir, lock), 0);
	ck_assert_int_eq(index_hold(dir, &index), 0); /* the lock was let go */
	close(index);
	ck_assert_int_eq(store_reopen(fx.store), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, 1, "value 2", 7, NULL, &version), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(fd);
	ck_assert_int_eq(follow_patiently(), 0);
	check_values();
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_uint_eq(store_get(fx.store, 1)->n_versions, 2);
	check_values();
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
	close(lock);
	close(dir);
}
END_TEST

/* What benchmarks and start-up tests build on. */
START_TEST(built_store_loads_and_is_sound)
{
	struct store_counts counts;
	struct secbuf *plain = NULL;
	int status;

	vault_write_conf(&fx);
	vault_close(&fx);
	pid_t pid = fork();
	if (pid == 0) {
		execl(BUILD_STORE, "build_store", fx.dir, "--secrets", "3000", "--bindings", "300", "--value", "100",
		      (char *)NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(vault_open(&fx), 0);
	store_counts(fx.store, &counts);
	ck_assert_uint_eq(counts.secrets, 3000);
	ck_assert_uint_eq(counts.versions, 3000);
	ck_assert_uint_eq(counts.bindings, 301);
	ck_assert_uint_eq(store_epoch(fx.store), 2);
	ck_assert_int_eq(store_version_read(fx.store, store_find(fx.store, "s002999")->id, 1, &plain), 0);
	ck_assert_uint_eq(secbuf_len(plain), 100);
	secbuf_free(plain);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

/* ---- threads ---- */

static atomic_bool stop;
static atomic_int wrong;
static atomic_long reads_done;

static void *reader(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	char value[32];

	while (!atomic_load(&stop)) {
		uint32_t id = 1 + (uint32_t)rand_r(&seed) % 20, version = 0;
		store_rdlock(fx.store);
		const struct catalog_secret *c = store_get(fx.store, id);
		if (c && c->n_versions > 0)
			version = 1 + (uint32_t)rand_r(&seed) % c->n_versions;
		struct policy_answer answer;
		policy_decide(store_policy(fx.store), &(struct policy_caller){ .uid = FIXTURE_ADMIN },
			      ACTION_SECRETS_GET, "s", 1, &answer);
		store_unlock_tables(fx.store);
		store_binding_used(fx.store, 1 + id % 3, 5);
		if (version == 0)
			continue;
		snprintf(value, sizeof value, "%u/%u", id, version);
		int r = value_is(fx.store, id, version, value);
		if (r != 0 && r != -ENOKEY)
			atomic_store(&wrong, r);
		atomic_fetch_add(&reads_done, 1);
	}
	return NULL;
}

static void *follower(void *arg)
{
	*(int *)arg = store_follow(fx.store, NULL, NULL);
	return NULL;
}

START_TEST(who_follows_does_not_wait_for_a_transaction)
{
	pthread_t thread;
	int r = 0;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, follower, &r), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(r, -ETIMEDOUT);
	store_rollback(fx.store);
	ck_assert_int_eq(store_follow(fx.store, NULL, NULL), 0);
}
END_TEST

static void *writer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	char value[32];

	while (!atomic_load(&stop)) {
		uint32_t id = 1 + (uint32_t)rand_r(&seed) % 20, version = 0;
		int r = store_begin(fx.store);
		if (r == -ENOKEY)
			continue;
		store_rdlock(fx.store);
		version = store_get(fx.store, id)->n_versions + 1;
		store_unlock_tables(fx.store);
		snprintf(value, sizeof value, "%u/%u", id, version);
		if (r == 0)
			r = store_version_add(fx.store, id, value, strlen(value), NULL, &version);
		if (r == 0)
			r = store_commit(fx.store);
		if (r != 0 || store_touched_next(fx.store, 0) != id || store_touched_next(fx.store, id) != 0)
			atomic_store(&wrong, r ? r : -ERANGE);
	}
	return NULL;
}

static void *stager(void *arg)
{
	uint64_t stage;
	uint8_t got[4];
	size_t n;

	(void)arg;
	for (uint64_t i = 1; !atomic_load(&stop); i++) {
		int r = store_stage_new(fx.store, &stage);
		if (r == 0)
			r = store_stage_write(fx.store, stage, i, 0, "abc", 3);
		if (r == 0)
			r = store_stage_read(fx.store, stage, 0, got, sizeof got, &n);
		if (r == 0 && (n != 3 || memcmp(got, "abc", 3) != 0))
			r = -ECANCELED;
		if (r == 0)
			r = store_stage_drop(fx.store, stage);
		if (r != 0)
			atomic_store(&wrong, r);
	}
	return NULL;
}

START_TEST(threads_read_write_seal_and_follow_together)
{
	void *(*const roles[])(void *) = { reader, reader, writer, writer, stager };
	pthread_t threads[sizeof roles / sizeof roles[0]];
	char name[32], value[32], why[256];

	for (uint32_t id = 1; id <= 20; id++) {
		snprintf(name, sizeof name, "s%u", id);
		snprintf(value, sizeof value, "%u/1", id);
		ck_assert_uint_eq(add_secret(fx.store, name, value), id);
	}
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, roles[i], (void *)(uintptr_t)(i + 1)), 0);
	for (int i = 0; i < 40; i++) {
		const int followed = store_follow(fx.store, NULL, NULL);
		ck_assert(followed == 0 || followed == -ETIMEDOUT); /* a writer was at it */
		if (i % 4 == 0) {
			store_lock(fx.store);
			ck_assert_int_eq(store_unlock(fx.store, fx.keys, why, sizeof why), 0);
		}
		long until = atomic_load(&reads_done) + 50;
		while (atomic_load(&reads_done) < until && !atomic_load(&wrong))
			sched_yield();
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(atomic_load(&wrong), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		killed_writer_loses_nothing_that_it_was_told_is_done, two_processes_commit_in_turn,
		locks_of_one_that_is_left_behind_do_not_hold,         built_store_loads_and_is_sound,
		who_follows_does_not_wait_for_a_transaction,          threads_read_write_seal_and_follow_together,
	};

	if (argc == 4 && strcmp(argv[1], "--other") == 0)
		return strcmp(argv[3], "stuck") == 0 ? stuck_process(argv[2]) : other_process(argv[2], atol(argv[3]));
	return store_tests_run("store-together", 280, tests, sizeof tests / sizeof tests[0], fixture_setup,
			       fixture_teardown);
}
