#include "fs/shared/handle.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct handle_table *table_new(void)
{
	struct handle_table *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(t, MAP_FAILED);
	return t;
}

static struct handles *take_over(struct handle_table *t)
{
	struct handles *h;

	ck_assert_int_eq(handles_new(t, &h), 0);
	return h;
}

/* A value, of whoever is its own neighbour. */
static int new_value(struct handles *h, uint32_t uid, uint64_t unique, struct handle **ret)
{
	return handle_new(h,
			  &(struct handle_ask){ .unique = unique, .neighbour = uid, .uid = uid, .kind = HANDLE_VALUE },
			  ret);
}

static int new_reserved(struct handles *h, uint32_t uid, uint64_t unique, struct handle **ret)
{
	return handle_new(
		h,
		&(struct handle_ask){
			.unique = unique, .neighbour = uid, .uid = uid, .kind = HANDLE_VALUE, .reserved = true },
		ret);
}

static uint64_t open_one(struct handles *h, uint32_t uid, uint64_t unique, uint32_t secret, uint32_t version,
			 uint32_t flags)
{
	struct handle *e;

	ck_assert_int_eq(new_value(h, uid, unique, &e), 0);
	e->kind = HANDLE_VALUE;
	e->secret = secret;
	handle_show(e, version, 0);
	e->open_flags = flags;
	return handle_publish(h, e);
}

START_TEST(finds_a_published_handle_by_fh_and_by_unique)
{
	struct handles *h = take_over(table_new());
	uint64_t fh = open_one(h, 1000, 4242, 7, 3, O_RDONLY), found = 0;
	struct handle *e = handle_get(h, fh);

	ck_assert_ptr_nonnull(e);
	ck_assert_uint_ne(fh, 0);
	ck_assert_uint_eq(e->uid, 1000);
	ck_assert_uint_eq(e->secret, 7);
	ck_assert_ptr_eq(handle_by_unique(h, 4242, &found), e);
	ck_assert_uint_eq(found, fh);
	ck_assert_ptr_null(handle_by_unique(h, 4243, &found));
	handles_free(h);
}
END_TEST

START_TEST(a_busy_entry_is_not_found)
{
	struct handles *h = take_over(table_new());
	struct handle *e;
	uint64_t fh;

	ck_assert_int_eq(new_value(h, 0, 5, &e), 0);
	fh = (uint64_t)e->generation << 32;
	ck_assert_ptr_null(handle_get(h, fh));
	ck_assert_ptr_null(handle_by_unique(h, 5, &fh));
	ck_assert_uint_eq(handle_count(h), 0);
	handle_abandon(h, e);
	ck_assert_uint_eq(handle_count(h), 0);
	handles_free(h);
}
END_TEST

START_TEST(rejects_stale_and_wild_fhs)
{
	struct handles *h = take_over(table_new());
	uint64_t fh = open_one(h, 1, 2, 1, 1, O_RDONLY), again;

	ck_assert_ptr_null(handle_get(h, 0));
	ck_assert_ptr_null(handle_get(h, UINT64_MAX));
	ck_assert_ptr_null(handle_get(h, fh + 1));
	ck_assert_ptr_null(handle_get(h, fh | HANDLES_MAX));
	ck_assert_ptr_null(handle_get(h, fh + (UINT64_C(1) << 32)));
	handle_release(h, fh);
	ck_assert_ptr_null(handle_get(h, fh));
	again = open_one(h, 1, 4, 1, 1, O_RDONLY);
	ck_assert_uint_eq((uint32_t)again, (uint32_t)fh); /* the same entry … */
	ck_assert_uint_ne(again, fh);                     /* … in another life */
	ck_assert_ptr_null(handle_get(h, fh));
	handle_release(h, fh); /* a RELEASE that comes twice */
	ck_assert_ptr_nonnull(handle_get(h, again));
	ck_assert_uint_eq(handle_count(h), 1);
	handles_free(h);
}
END_TEST

START_TEST(a_new_entry_keeps_nothing_of_the_last_one)
{
	struct handles *h = take_over(table_new());
	struct handle *e, zero = { .kind = HANDLE_VALUE };

	ck_assert_int_eq(new_value(h, 9, 9, &e), 0);
	memset(&e->ino, 0xff, sizeof(*e) - offsetof(struct handle, ino));
	e->kind = HANDLE_VALUE;
	e->uid = 9;
	e->neighbour = 9;
	handle_release(h, handle_publish(h, e));
	ck_assert_int_eq(new_value(h, 0, 0, &e), 0);
	ck_assert_mem_eq(&e->unique, &zero.unique, sizeof(zero) - offsetof(struct handle, unique));
	handle_abandon(h, e);
	handles_free(h);
}
END_TEST

START_TEST(limits_each_neighbour_and_no_other)
{
	struct handles *h = take_over(table_new());
	struct handle *e;
	uint64_t first = open_one(h, 1000, 2, 1, 1, O_RDONLY);

	for (uint64_t n = 1; n < VALUES_MOST; n++)
		open_one(h, 1000, 2 + 2 * n, 1, 1, O_RDONLY);
	ck_assert_int_eq(new_value(h, 1000, 1, &e), -ENFILE);
	ck_assert_int_eq(new_value(h, 1001, 1, &e), 0);
	handle_abandon(h, e);
	handle_release(h, first);
	ck_assert_int_eq(new_value(h, 1000, 1, &e), 0);
	ck_assert_int_eq(new_value(h, 1000, 3, &e), -ENFILE);
	handle_abandon(h, e);
	handles_free(h);
}
END_TEST

START_TEST(counts_busy_entries_against_the_limit)
{
	struct handles *h = take_over(table_new());
	struct handle *e;

	for (uint32_t n = 0; n < VALUES_MOST; n++)
		ck_assert_int_eq(new_value(h, 5, n, &e), 0);
	ck_assert_int_eq(new_value(h, 5, 1, &e), -ENFILE);
	handle_abandon(h, e);
	ck_assert_int_eq(new_value(h, 5, 1, &e), 0);
	/* a container's root has the uid of the host's: its share is not all that this one has */
	for (uint32_t n = 0; n < HANDLES_RESERVE; n++)
		ck_assert_int_eq(new_reserved(h, 5, 1 + n, &e), 0);
	ck_assert_int_eq(new_reserved(h, 5, 1, &e), -ENFILE);
	handles_free(h);
}
END_TEST

START_TEST(a_full_pool_refuses_and_recovers)
{
	struct handle_table *t = table_new();
	struct handles *h = take_over(t);
	struct handle *e;
	uint64_t *fhs = calloc(VALUES_MAX, sizeof(*fhs));
	uint32_t n = 0;

	/* each takes what it can, until there is nothing for anybody */
	for (uint32_t uid = 1; n < VALUES_MAX - HANDLES_RESERVE; uid++)
		while (new_value(h, uid, 2 * n, &e) == 0) {
			handle_show(e, n % 7, 0);
			fhs[n++] = handle_publish(h, e);
		}
	ck_assert_int_eq(new_value(h, 999999, 1, &e), -ENFILE);
	/* what others cannot have is left for an administrator */
	for (; n < VALUES_MAX; n++) {
		ck_assert_int_eq(new_reserved(h, 0, 2 * n, &e), 0);
		fhs[n] = handle_publish(h, e);
	}
	ck_assert_int_eq(new_reserved(h, 0, 1, &e), -ENFILE);
	ck_assert_uint_eq(handle_count(h), VALUES_MAX);
	handles_free(h);
	h = take_over(t);
	ck_assert_int_eq(new_value(h, 999999, 1, &e), -ENFILE);
	for (uint32_t i = 0; i < VALUES_MAX; i++)
		handle_release(h, fhs[i]);
	ck_assert_uint_eq(handle_count(h), 0);
	ck_assert_int_eq(new_value(h, 999999, 1, &e), 0);
	free(fhs);
	handles_free(h);
}
END_TEST

/* Each neighbour from `from` on takes what it can, until there is nothing for anybody. Returns the next one. */
static uint32_t fill(struct handles *h, uint32_t from, uint32_t flags)
{
	static uint64_t unique = 1000000;
	struct handle *e;
	uint32_t refused = 0;

	for (; refused < 3; from++) {
		uint32_t n = 0;
		while (handle_new(h,
				  &(struct handle_ask){
					  .unique = unique += 2, .neighbour = from, .kind = HANDLE_VALUE },
				  &e) == 0) {
			e->open_flags = flags;
			e->secret = from;
			handle_publish(h, e);
			n++;
		}
		refused = n ? 0 : refused + 1;
	}
	return from;
}

/* The clock of last use has no less. */
static void next_second(void)
{
	struct timespec from, t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &from);
	do {
		usleep(1000);
		clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	} while (t.tv_sec == from.tv_sec);
}

static const struct handle_ask newcomer = { .unique = 77, .neighbour = 999999, .uid = 9, .kind = HANDLE_VALUE };

START_TEST(a_newcomer_has_what_the_heaviest_did_not_use_for_the_longest_time)
{
	struct handles *h = take_over(table_new());
	uint64_t first = open_one(h, 1, 2, 1, 1, O_RDONLY), second = open_one(h, 1, 4, 1, 1, O_RDONLY), fh = 0;
	struct handle *e;

	fill(h, 1, O_RDONLY);
	ck_assert_int_eq(handle_new(h, &newcomer, &e), -ENFILE);
	next_second();
	handle_let(h, handle_hold(h, first));
	e = handle_take_back(h, &newcomer, &fh);
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(fh, second);
	ck_assert_uint_eq(e->neighbour, 1);
	ck_assert_ptr_null(handle_get(h, second));
	ck_assert_ptr_null(handle_hold(h, second));
	handle_pass_on(h, e, &newcomer);
	e->secret = 5;
	handle_show(e, 6, 1);
	fh = handle_publish(h, e);
	ck_assert_uint_ne(fh, second);
	ck_assert_ptr_eq(handle_get(h, fh), e);
	/* of the one before nothing is left but that it was */
	ck_assert_ptr_null(handle_get(h, second));
	ck_assert_int_eq(handle_gone(h, second), -ESTALE);
	ck_assert_int_eq(handle_gone(h, fh + (UINT64_C(1) << 32)), -EBADF);
	ck_assert_int_eq(handle_gone(h, HANDLES_MAX), -EBADF);
	handle_release(h, second);
	ck_assert_ptr_eq(handle_get(h, fh), e);
	ck_assert_uint_eq(handle_readers(h, 5, 6), 1);
	ck_assert_ptr_nonnull(handle_get(h, first));
	handles_free(h);
}
END_TEST

START_TEST(what_a_thread_holds_is_not_taken_back)
{
	struct handles *h = take_over(table_new());
	uint64_t first = open_one(h, 1, 2, 1, 1, O_RDONLY), fh = 0;

	fill(h, 1, O_RDONLY);
	struct handle *held = handle_hold(h, first), *e = handle_take_back(h, &newcomer, &fh);
	ck_assert_ptr_nonnull(held);
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_ne(fh, first);
	ck_assert_ptr_eq(handle_get(h, first), held);
	handles_free(h);
}
END_TEST

START_TEST(what_may_be_written_to_and_what_is_roots_is_not_taken_back)
{
	struct handles *h = take_over(table_new());
	uint64_t fh;

	/* uid 0 has most; and who writes has most of the others */
	fill(h, 0, O_WRONLY);
	ck_assert_ptr_null(handle_take_back(h, &newcomer, &fh));
	handles_free(h);
	h = take_over(table_new());
	for (uint32_t n = 0; n < VALUES_MOST; n++)
		open_one(h, 0, 2 + 2 * n, 1, 1, O_RDONLY);
	for (uint32_t n = 0; n < VALUES_MOST; n++)
		open_one(h, 1, 100000 + 2 * n, 1, 1, O_RDWR);
	fill(h, 2, O_RDONLY);
	struct handle *e = handle_take_back(h, &newcomer, &fh);
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(e->neighbour, 2);
	handles_free(h);
}
END_TEST

START_TEST(who_has_as_much_as_others_takes_nothing_back_and_keeps_nobody_from_it)
{
	struct handles *h = take_over(table_new());
	struct handle *e;
	uint64_t fh;
	uint32_t got = 0;

	ck_assert_ptr_null(handle_take_back(h, &newcomer, &fh)); /* there is room */
	fill(h, 1, O_RDONLY);
	for (uint64_t i = 0; i < 100; i++)
		ck_assert_ptr_null(handle_take_back(
			h, &(struct handle_ask){ .unique = i, .neighbour = 1, .kind = HANDLE_VALUE }, &fh));
	/* one after the other, until all have the same: then no more */
	while ((e = handle_take_back(h, &newcomer, &fh))) {
		handle_pass_on(h, e, &newcomer);
		handle_publish(h, e);
		got++;
		ck_assert_uint_lt(got, VALUES_MOST);
	}
	ck_assert_uint_gt(got, VALUES_MOST / 16);
	ck_assert_int_eq(handle_new(h, &newcomer, &e), -ENFILE);
	handles_free(h);
}
END_TEST

static _Atomic bool over;
static struct handles *shared_handles;
static uint64_t held_fhs[8];

static void *hold_and_look(void *arg)
{
	uint64_t *wrong = arg;

	while (!atomic_load(&over))
		for (size_t i = 0; i < sizeof held_fhs / sizeof *held_fhs; i++) {
			struct handle *e = handle_hold(shared_handles, held_fhs[i]);
			if (!e)
				continue;
			for (int k = 0; k < 20; k++)
				*wrong += e->secret != 1 || e->neighbour != 1;
			handle_let(shared_handles, e);
		}
	return NULL;
}

/* While others are read, they are taken back: whoever holds one sees only what it opened. */
START_TEST(nobody_sees_another_ones_handle_in_its_own)
{
	struct handles *h = shared_handles = take_over(table_new());
	pthread_t threads[2];
	uint64_t wrong[2] = { 0 }, fh;

	for (size_t i = 0; i < sizeof held_fhs / sizeof *held_fhs; i++)
		held_fhs[i] = open_one(h, 1, 2 + 2 * i, 1, 1, O_RDONLY);
	fill(h, 1, O_RDONLY);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, hold_and_look, &wrong[i]), 0);
	for (unsigned i = 0; i < 3000; i++) {
		const struct handle_ask ask = { .unique = 77 + 2 * i,
						.neighbour = 999999 + i / 100,
						.kind = HANDLE_VALUE };
		struct handle *e = handle_take_back(h, &ask, &fh);
		if (!e)
			continue;
		handle_pass_on(h, e, &ask);
		e->secret = 2;
		handle_publish(h, e);
	}
	atomic_store(&over, true);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_uint_eq(wrong[i], 0);
	}
	handles_free(h);
}
END_TEST

START_TEST(whoever_has_its_own_files_and_directories_open_takes_no_value_from_anybody)
{
	struct handle_table *t = table_new();
	struct handles *h = take_over(t);
	struct handle *e;
	uint32_t n = 0;

	for (uint64_t neighbour = 1; neighbour <= 70000; neighbour++)
		for (enum handle_kind kind = HANDLE_VALUE; kind <= HANDLE_EVENTS; kind++)
			if (kind != HANDLE_VALUE &&
			    handle_new(h,
				       &(struct handle_ask){
					       .unique = 2 * n++, .neighbour = neighbour, .uid = 5, .kind = kind },
				       &e) == 0)
				handle_publish(h, e);
	ck_assert_uint_le(handle_count(h), OWN_FILES_MAX + DIRECTORIES_MAX - 2 * HANDLES_RESERVE);
	for (uint32_t i = 0; i < VALUES_MOST; i++)
		open_one(h, 7, 2 * n++, 1, 1, O_RDONLY);
	handles_free(h);
	h = take_over(t);
	ck_assert_int_eq(new_value(h, 7, 1, &e), -ENFILE);
	ck_assert_int_eq(new_value(h, 8, 1, &e), 0);
	ck_assert_int_eq(handle_new(h, &(struct handle_ask){ .unique = 1, .neighbour = 8, .kind = HANDLE_TEXT }, &e),
			 -ENFILE);
	ck_assert_int_eq(
		handle_new(h,
			   &(struct handle_ask){ .unique = 1, .neighbour = 8, .kind = HANDLE_TEXT, .reserved = true },
			   &e),
		0);
	handles_free(h);
}
END_TEST

START_TEST(counts_readers_of_a_version)
{
	struct handles *h = take_over(table_new());
	uint64_t a = open_one(h, 1, 2, 7, 3, O_RDONLY), b = open_one(h, 2, 4, 7, 3, O_RDWR),
		 c = open_one(h, 1, 6, 7, 3, O_WRONLY);
	struct handle *e;

	ck_assert_uint_eq(handle_readers(h, 7, 3), 2);
	ck_assert_uint_eq(handle_read_writers(h, 7), 1);
	ck_assert_uint_eq(handle_read_writers(h, 8), 0);
	ck_assert_uint_eq(handle_readers(h, 7, 2), 0);
	ck_assert_uint_eq(handle_readers(h, 3, 7), 0);
	ck_assert_int_eq(new_value(h, 1, 8, &e), 0);
	e->kind = HANDLE_CTL;
	e->secret = 7;
	handle_show(e, 3, 0);
	handle_publish(h, e);
	ck_assert_uint_eq(handle_readers(h, 7, 3), 2);
	handle_release(h, c);
	ck_assert_uint_eq(handle_readers(h, 7, 3), 2);
	handle_release(h, a);
	handle_release(h, a);
	ck_assert_uint_eq(handle_readers(h, 7, 3), 1);
	handle_release(h, b);
	ck_assert_uint_eq(handle_readers(h, 7, 3), 0);
	ck_assert_uint_eq(handle_read_writers(h, 7), 0);
	handles_free(h);
}
END_TEST

/* As open_one, of a thread that reads `current`. */
static uint64_t follow_one(struct handles *h, uint64_t unique, uint32_t secret, pid_t tid, pid_t tgid)
{
	struct handle *e;

	ck_assert_int_eq(new_value(h, 1, unique, &e), 0);
	e->secret = secret;
	e->object = secret;
	e->tid = tid;
	e->tgid = tgid;
	handle_show(e, 3, 100);
	return handle_publish(h, e);
}

static uint64_t of_thread(struct handles *h, uint32_t object, pid_t tid, pid_t tgid)
{
	bool own;
	const uint64_t fh = handle_last(h, object, tid, tgid, &own);

	return own ? fh : 0;
}

static uint64_t of_process(struct handles *h, uint32_t object, pid_t tgid)
{
	bool own;
	const uint64_t fh = handle_last(h, object, 1, tgid, &own);

	ck_assert(!own);
	return fh;
}

START_TEST(the_last_opened_of_a_thread_and_of_a_process_is_found)
{
	struct handle_table *t = table_new();
	struct handles *h = take_over(t);
	const uint64_t a = follow_one(h, 2, 7, 11, 10), b = follow_one(h, 4, 7, 12, 10),
		       c = follow_one(h, 6, 7, 11, 10), other = follow_one(h, 8, 8, 11, 10);

	for (int again = 0; again < 2; again++) {
		ck_assert_uint_eq(of_thread(h, 7, 11, 10), c);
		ck_assert_uint_eq(of_thread(h, 7, 12, 10), b);
		ck_assert_uint_eq(of_thread(h, 8, 11, 10), other);
		ck_assert_uint_eq(of_thread(h, 7, 13, 10), 0);
		ck_assert_uint_eq(of_thread(h, 7, 11, 9), 0); /* another's thread had the number */
		ck_assert_uint_eq(of_process(h, 7, 10), c);
		ck_assert_uint_eq(of_process(h, 7, 11), 0);
		handles_free(h);
		h = take_over(t); /* the next worker knows the order as well */
	}
	handle_release(h, c);
	ck_assert_uint_eq(of_thread(h, 7, 11, 10), a);
	ck_assert_uint_eq(of_process(h, 7, 10), b);
	handle_release(h, a);
	handle_release(h, b);
	ck_assert_uint_eq(of_process(h, 7, 10), 0);
	handles_free(h);
}
END_TEST

START_TEST(the_order_stays_when_the_index_grows)
{
	struct handles *h = take_over(table_new());
	enum { MANY = 4000 };
	static uint64_t fhs[MANY];

	for (int i = 0; i < MANY; i++)
		fhs[i] = follow_one(h, 2u * (unsigned)i + 2, 7, 100 + i % 2, 50);
	for (int i = MANY; i-- > 2;) {
		ck_assert_uint_eq(of_thread(h, 7, 100 + i % 2, 50), fhs[i]);
		ck_assert_uint_eq(of_process(h, 7, 50), fhs[i]);
		handle_release(h, fhs[i]);
	}
	handles_free(h);
}
END_TEST

START_TEST(an_open_file_moves_to_another_version_until_somebody_reads_it)
{
	struct handles *h = take_over(table_new());
	const uint64_t fh = follow_one(h, 2, 7, 11, 10);

	ck_assert(handle_move(h, fh, 4, 200));
	ck_assert_uint_eq(handle_readers(h, 7, 3), 0);
	ck_assert_uint_eq(handle_readers(h, 7, 4), 1);
	const struct handle_shown shown = handle_begin(handle_get(h, fh));
	ck_assert_uint_eq(shown.version, 4);
	ck_assert_uint_eq(shown.size, 200);
	ck_assert(!handle_move(h, fh, 5, 300));
	ck_assert_uint_eq(handle_shown(handle_get(h, fh)).version, 4);
	ck_assert(!handle_shown(handle_get(h, fh)).ended);
	handle_end(handle_get(h, fh));
	ck_assert(handle_shown(handle_get(h, fh)).ended);
	handle_release(h, fh);
	ck_assert_uint_eq(handle_readers(h, 7, 4), 0);
	ck_assert(!handle_move(h, fh, 5, 300));
	handles_free(h);
}
END_TEST

/* Many keys come and go: what was counted with a gap closed behind it is still found. */
START_TEST(counts_survive_growth_and_removal)
{
	struct handles *h = take_over(table_new());
	enum { SECRETS = 3000 };
	static uint64_t fhs[SECRETS][3];

	for (unsigned v = 0; v < 3; v++)
		for (unsigned s = 0; s < SECRETS; s++)
			fhs[s][v] = open_one(h, s, (v * SECRETS + s) * 2, s + 1, 1, O_RDONLY);
	for (unsigned s = 0; s < SECRETS; s++)
		for (unsigned v = 0; v < s % 4 && v < 3; v++)
			handle_release(h, fhs[s][v]);
	for (unsigned s = 0; s < SECRETS; s++) {
		uint64_t fh;
		ck_assert_uint_eq(handle_readers(h, s + 1, 1), 3 - (s % 4 < 3 ? s % 4 : 3));
		for (unsigned v = 0; v < 3; v++)
			ck_assert_int_eq(handle_by_unique(h, (v * SECRETS + s) * 2, &fh) != NULL, v >= s % 4);
	}
	handles_free(h);
}
END_TEST

START_TEST(the_next_worker_takes_everything_over)
{
	struct handle_table *t = table_new();
	struct handles *first = take_over(t), *second;
	uint64_t open = open_one(first, 1000, 10, 7, 3, O_RDONLY), gone = open_one(first, 1000, 12, 7, 3, O_RDONLY),
		 found;
	struct handle *busy, *e;

	ck_assert_int_eq(new_value(first, 1000, 14, &busy), 0);
	uint64_t busy_fh = (uint64_t)busy->generation << 32 | (uint32_t)(busy - t->entries);
	handle_release(first, gone);

	second = take_over(t);
	ck_assert_uint_eq(handle_count(second), 1);
	ck_assert_uint_eq(handle_readers(second, 7, 3), 1);
	ck_assert_ptr_nonnull(handle_get(second, open));
	ck_assert_ptr_eq(handle_by_unique(second, 10, &found), handle_get(second, open));
	ck_assert_uint_eq(found, open);
	ck_assert_ptr_null(handle_by_unique(second, 12, &found));
	ck_assert_ptr_null(handle_by_unique(second, 14, &found));
	ck_assert_uint_eq(busy->state, HANDLE_FREE);
	/* both free entries are used again, under new numbers, before a third is touched */
	for (int n = 0; n < 2; n++) {
		ck_assert_int_eq(new_value(second, 1000, 20, &e), 0);
		uint64_t fh = handle_publish(second, e);
		ck_assert(fh != gone && fh != busy_fh);
	}
	ck_assert_uint_eq(t->high, 3);
	for (int n = 3; n < VALUES_MOST; n++)
		open_one(second, 1000, 30, 1, 1, O_RDONLY);
	ck_assert_int_eq(new_value(second, 1000, 1, &e), -ENFILE);
	handles_free(first);
	handles_free(second);
}
END_TEST

/* One that was somebody else's has left a name without an end: whoever lists holders would read what lies behind it. */
START_TEST(the_next_worker_finds_the_end_of_each_name)
{
	struct handle_table *t = table_new();
	struct handles *h = take_over(t);
	uint64_t fh = open_one(h, 1000, 4242, 7, 3, O_RDONLY);

	memset(handle_get(h, fh)->comm, 'a', HANDLE_COMM);
	handles_free(h);
	h = take_over(t);
	ck_assert_uint_eq(strnlen(handle_get(h, fh)->comm, HANDLE_COMM), HANDLE_COMM - 1);
	handles_free(h);
}
END_TEST

START_TEST(refuses_a_table_of_another_layout)
{
	struct handle_table *t = table_new();
	struct handles *h = take_over(t), *other = NULL;

	handles_free(h);
	t->size++;
	ck_assert_int_eq(handles_new(t, &other), -EPROTO);
	t->size--;
	t->high = HANDLES_MAX + 1;
	ck_assert_int_eq(handles_new(t, &other), -EPROTO);
	t->high = 0;
	t->magic ^= 1;
	ck_assert_int_eq(handles_new(t, &other), -EPROTO);
	ck_assert_ptr_null(other);
}
END_TEST

START_TEST(leaves_unused_entries_untouched)
{
	struct handle_table *t = table_new();
	struct handles *h = take_over(t);
	size_t pages = sizeof(*t) / 4096, touched = 0;
	unsigned char *in = calloc(pages + 1, 1);

	for (uint64_t n = 0; n < 10; n++)
		open_one(h, 1, n, 1, 1, O_RDONLY);
	handles_free(h);
	h = take_over(t);
	ck_assert_ptr_null(handle_get(h, 40000));
	ck_assert_int_eq(mincore(t, pages * 4096, in), 0);
	for (size_t n = 0; n < pages; n++)
		touched += in[n] & 1;
	ck_assert_uint_le(touched, 2);
	free(in);
	handles_free(h);
}
END_TEST

static void count_each(uint64_t fh, struct handle *e, void *arg)
{
	(void)fh;
	((uint32_t *)arg)[e->secret]++;
}

struct releasing {
	struct handles *h;
	uint32_t n;
};

static void release_each(uint64_t fh, struct handle *e, void *arg)
{
	struct releasing *r = arg;

	(void)e;
	handle_release(r->h, fh);
	r->n++;
}

START_TEST(each_visits_the_open_handles_of_a_secret)
{
	struct handles *h = take_over(table_new());
	struct releasing r = { .h = h };
	uint32_t seen[4] = { 0 };
	struct handle *busy;

	for (uint64_t n = 0; n < 900; n++)
		open_one(h, 1, n, (uint32_t)(n % 3 + 1), 1, O_RDONLY);
	ck_assert_int_eq(new_value(h, 1, 5000, &busy), 0);
	busy->secret = 2;
	handle_each(h, 2, count_each, seen);
	ck_assert(seen[1] == 0 && seen[2] == 300 && seen[3] == 0);
	handle_each(h, 0, count_each, seen);
	ck_assert(seen[1] == 300 && seen[2] == 600 && seen[3] == 300);
	handle_each(h, 2, release_each, &r);
	ck_assert_uint_eq(r.n, 300);
	ck_assert_uint_eq(handle_count(h), 600);
	handles_free(h);
}
END_TEST

/* ---- threads ---- */

struct worker {
	struct handles *h;
	uint32_t uid;
	bool failed;
};

static void *open_and_release(void *arg)
{
	struct worker *w = arg;
	uint64_t fhs[16] = { 0 };

	for (uint64_t n = 0; n < 20000; n++) {
		struct handle *e;
		uint64_t *fh = &fhs[n % 16], found;
		handle_release(w->h, *fh);
		w->failed |= *fh && handle_get(w->h, *fh);
		if (new_value(w->h, w->uid, (uint64_t)w->uid << 32 | n, &e) < 0) {
			w->failed = true;
			break;
		}
		e->kind = HANDLE_VALUE;
		e->secret = w->uid;
		handle_show(e, (uint32_t)(n % 3), 0);
		*fh = handle_publish(w->h, e);
		struct handle *got = handle_get(w->h, *fh);
		w->failed |= got != e || got->uid != w->uid ||
			     handle_by_unique(w->h, (uint64_t)w->uid << 32 | n, &found) != e || found != *fh;
		w->failed |= handle_readers(w->h, w->uid, (uint32_t)(n % 3)) == 0;
	}
	return NULL;
}

START_TEST(threads_do_not_mix_up_handles)
{
	struct handles *h = take_over(table_new());
	struct worker w[4];
	pthread_t t[4];

	for (uint32_t n = 0; n < 4; n++) {
		w[n] = (struct worker){ .h = h, .uid = n + 1 };
		ck_assert_int_eq(pthread_create(&t[n], NULL, open_and_release, &w[n]), 0);
	}
	for (uint32_t n = 0; n < 4; n++) {
		pthread_join(t[n], NULL);
		ck_assert(!w[n].failed);
	}
	ck_assert_uint_eq(handle_count(h), 4 * 16);
	handles_free(h);
}
END_TEST

/* ---- kill -9 ---- */

#define SLOTS 64

/* What the killed worker had told the world: an fh is `open` from after publish until before release. */
struct diary {
	_Atomic uint64_t steps;
	_Atomic uint64_t open[SLOTS];
	_Atomic uint64_t unique[SLOTS];
};

static void live_until_killed(struct handle_table *t, struct diary *d, unsigned seed)
{
	struct handles *h = take_over(t);

	for (;;) {
		seed = seed * 1103515245u + 12345u;
		unsigned s = seed >> 16 & (SLOTS - 1);
		uint64_t fh = d->open[s];
		struct handle *e;
		if (fh) {
			d->open[s] = 0;
			handle_release(h, fh);
		} else if (new_value(h, s % 4, 2 * d->steps + 2, &e) == 0) {
			e->kind = HANDLE_VALUE;
			e->secret = s + 1;
			handle_show(e, 1, 0);
			d->unique[s] = e->unique;
			fh = handle_publish(h, e);
			d->open[s] = fh;
		}
		d->steps++;
	}
}

struct tally {
	uint32_t n;
	bool bad;
	struct handles *h;
};

static void check_each(uint64_t fh, struct handle *e, void *arg)
{
	struct tally *t = arg;
	uint64_t found;

	t->n++;
	t->bad |= handle_get(t->h, fh) != e || handle_by_unique(t->h, e->unique, &found) != e || found != fh ||
		  e->kind != HANDLE_VALUE || handle_readers(t->h, e->secret, 1) == 0;
}

START_TEST(kill_at_any_instant_loses_no_open_handle)
{
	struct handle_table *t = table_new();
	struct diary *d = mmap(NULL, sizeof(*d), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (unsigned round = 0; round < 150; round++) {
		uint64_t until = d->steps + 200 + round * 7;
		pid_t pid = fork();
		if (pid == 0)
			live_until_killed(t, d, round + 1);
		while (d->steps < until)
			sched_yield();
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);

		struct tally tally = { .h = take_over(t) };
		uint32_t known = 0;
		for (unsigned s = 0; s < SLOTS; s++) {
			if (!d->open[s])
				continue;
			known++;
			struct handle *e = handle_get(tally.h, d->open[s]);
			ck_assert_ptr_nonnull(e);
			ck_assert_uint_eq(e->secret, s + 1);
			ck_assert_uint_eq(e->unique, d->unique[s]);
		}
		handle_each(tally.h, 0, check_each, &tally);
		ck_assert(!tally.bad);
		/* published and not told, or about to be released: at most one */
		ck_assert_uint_ge(tally.n, known);
		ck_assert_uint_le(tally.n, known + 1);
		ck_assert_uint_eq(handle_count(tally.h), tally.n);
		for (uint32_t i = 0; i < t->high; i++)
			ck_assert_uint_ne(t->entries[i].state, HANDLE_BUSY);
		ck_assert_uint_le(t->high, SLOTS + round + 2);
		/* the kernel would resend the OPEN, or have its RELEASE answered again */
		for (uint32_t i = 0; i < t->high; i++) {
			struct handle *e = &t->entries[i];
			if (e->state == HANDLE_OPEN && d->open[e->secret - 1] == 0)
				handle_release(tally.h, (uint64_t)e->generation << 32 | i);
		}
		handles_free(tally.h);
	}
	ck_assert_uint_le(t->high, SLOTS + 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("handle");
	TCase *t = tcase_create("handle");
	SRunner *r = srunner_create(s);

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, finds_a_published_handle_by_fh_and_by_unique);
	tcase_add_test(t, a_busy_entry_is_not_found);
	tcase_add_test(t, the_last_opened_of_a_thread_and_of_a_process_is_found);
	tcase_add_test(t, the_order_stays_when_the_index_grows);
	tcase_add_test(t, an_open_file_moves_to_another_version_until_somebody_reads_it);
	tcase_add_test(t, rejects_stale_and_wild_fhs);
	tcase_add_test(t, a_new_entry_keeps_nothing_of_the_last_one);
	tcase_add_test(t, limits_each_neighbour_and_no_other);
	tcase_add_test(t, counts_busy_entries_against_the_limit);
	tcase_add_test(t, a_full_pool_refuses_and_recovers);
	tcase_add_test(t, whoever_has_its_own_files_and_directories_open_takes_no_value_from_anybody);
	tcase_add_test(t, a_newcomer_has_what_the_heaviest_did_not_use_for_the_longest_time);
	tcase_add_test(t, what_a_thread_holds_is_not_taken_back);
	tcase_add_test(t, what_may_be_written_to_and_what_is_roots_is_not_taken_back);
	tcase_add_test(t, who_has_as_much_as_others_takes_nothing_back_and_keeps_nobody_from_it);
	tcase_add_test(t, nobody_sees_another_ones_handle_in_its_own);
	tcase_add_test(t, counts_readers_of_a_version);
	tcase_add_test(t, counts_survive_growth_and_removal);
	tcase_add_test(t, the_next_worker_takes_everything_over);
	tcase_add_test(t, the_next_worker_finds_the_end_of_each_name);
	tcase_add_test(t, refuses_a_table_of_another_layout);
	tcase_add_test(t, leaves_unused_entries_untouched);
	tcase_add_test(t, each_visits_the_open_handles_of_a_secret);
	tcase_add_test(t, threads_do_not_mix_up_handles);
	tcase_add_test(t, kill_at_any_instant_loses_no_open_handle);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
