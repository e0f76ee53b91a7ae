/* What a worker leaves behind when it is killed between two steps, and what the next one makes of it: staged bytes,
 * requests on .coffer/ctl, and the bell. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/serve/changed.h"
#include "fs/serve/ctl_file.h"
#include "fs/serve/staged.h"
#include "fs/serve/staging.h"
#include "fs/serve/vault.h"
#include "store/core/tables.h"
#include "store/core/transaction.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"
#include "store_fixture.h"
#include "fs/common/clock.h"

static struct {
	struct vault vault;
	int bell; /* what the bell would hear */
	struct identity who;
	uint64_t unique;
} w;

/* A worker on the memory that the last one left; the store is opened again, as by a new process. */
static void worker_start(void)
{
	w.vault.store = fx.store;
	w.vault.keys = fx.keys;
	ck_assert_int_eq(handles_new(&w.vault.shared->handles, &w.vault.handles), 0);
	ck_assert_int_eq(answers_new(&w.vault.answers), 0);
	ck_assert_int_eq(plain_pool_new(1 << 20, -1, &w.vault.plain), 0);
	w.vault.openers = calloc(HANDLES_MAX, sizeof *w.vault.openers);
	ck_assert_ptr_nonnull(w.vault.openers);
	w.vault.ctl.store = fx.store;
}

static void worker_end(void)
{
	handles_free(w.vault.handles);
	answers_free(w.vault.answers);
	plain_pool_free(w.vault.plain);
	free(w.vault.openers);
}

static void worker_dies(void)
{
	worker_end();
	ck_assert_int_eq(vault_reopen(&fx), 0);
	worker_start();
}

static void setup(void)
{
	int pair[2];

	fixture_setup();
	memset(&w, 0, sizeof w);
	w.unique = 1000;
	w.who = (struct identity){ .refs = 1,
				   .uid = 1000,
				   .gid = 1000,
				   .tid = 100,
				   .tgid = 100,
				   .start_time = 7,
				   .user_ns = 1,
				   .pid_ns = 2,
				   .mnt_ns = 3,
				   .host = true,
				   .full = true };
	w.who.policy = (struct policy_caller){ .uid = 1000, .gid = 1000, .host = true };
	w.vault.shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(w.vault.shared, MAP_FAILED);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	w.vault.bell_fd = pair[0];
	w.bell = pair[1];
	pthread_mutex_init(&w.vault.buffers.lock, NULL);
	worker_start();
	vault_ring_missed(&w.vault); /* the daemon's first */
}

static void teardown(void)
{
	worker_end();
	munmap(w.vault.shared, sizeof(struct shared));
	close(w.vault.bell_fd);
	close(w.bell);
	fixture_teardown();
}

/* What the bell heard next: "touch db/current"; "" if nothing. */
static const char *heard(void)
{
	static const char *const acts[] = { [BELL_TOUCH] = "touch", [BELL_TOUCH_DIR] = "dir" };
	static char text[BELL_PATH_MAX + 16];
	struct bell_message m;

	if (recv(w.bell, &m, sizeof m, MSG_DONTWAIT) != (ssize_t)sizeof m)
		return "";
	if (m.action == BELL_MARK) /* goes with each touch of a secret */
		return heard();
	snprintf(text, sizeof text, "%s %s", acts[m.action], m.path);
	return text;
}

static void deaf(void)
{
	while (*heard())
		;
}

/* ---- the bell ---- */

static void begin_version(uint32_t id)
{
	uint32_t version;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, "new", 3, NULL, &version), 0);
}

START_TEST(what_was_committed_and_not_rung_is_rung_by_the_next_worker)
{
	uint32_t id = add_secret(fx.store, "db", "old");

	vault_told(&w.vault, store_epoch(fx.store));
	add_secret(fx.store, "other", "old");
	begin_version(id);
	ck_assert_int_eq(vault_commit(&w.vault), 0);     /* and here it is killed */
	vault_told(&w.vault, store_epoch(fx.store) - 1); /* the ticking thread told of what came before */
	worker_dies();
	vault_ring_missed(&w.vault);
	ck_assert_str_eq(heard(), "touch db/current");
	ck_assert_str_eq(heard(), "dir .");
	ck_assert_str_eq(heard(), "");
	worker_dies();
	vault_ring_missed(&w.vault);
	ck_assert_str_eq(heard(), "");
}
END_TEST

static void *commit_in_thread(void *arg)
{
	begin_version(*(uint32_t *)arg);
	ck_assert_int_eq(vault_commit(&w.vault), 0);
	return NULL; /* it never rings */
}

START_TEST(a_thread_that_has_yet_to_ring_is_not_forgotten_for_what_others_told)
{
	uint32_t late = add_secret(fx.store, "late", "old"), quick = add_secret(fx.store, "quick", "old");
	pthread_t thread;

	vault_told(&w.vault, store_epoch(fx.store));
	ck_assert_int_eq(pthread_create(&thread, NULL, commit_in_thread, &late), 0);
	pthread_join(thread, NULL);
	begin_version(quick);
	ck_assert_int_eq(vault_commit(&w.vault), 0);
	vault_changed(&w.vault, RINGS_ALL);
	vault_told(&w.vault, store_epoch(fx.store));
	deaf();
	worker_dies();
	vault_ring_missed(&w.vault);
	ck_assert_str_eq(heard(), "touch late/current");
	ck_assert_str_eq(heard(), "touch quick/current"); /* rather twice than never */
}
END_TEST

START_TEST(what_was_rung_is_not_rung_again)
{
	uint32_t id = add_secret(fx.store, "db", "old");

	vault_told(&w.vault, store_epoch(fx.store));
	begin_version(id);
	ck_assert_int_eq(vault_commit(&w.vault), 0);
	vault_changed(&w.vault, RINGS_ALL);
	ck_assert_str_eq(heard(), "touch db/current");
	deaf();
	vault_told(&w.vault, store_epoch(fx.store));
	worker_dies();
	vault_ring_missed(&w.vault);
	ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(a_commit_that_fails_owes_nothing)
{
	vault_told(&w.vault, store_epoch(fx.store));
	ck_assert_int_eq(vault_commit(&w.vault), -EINVAL); /* no transaction */
	for (size_t i = 0; i < RINGS; i++)
		ck_assert_uint_eq(w.vault.shared->rings.under_way[i], 0);
}
END_TEST

/* ---- the watchdog ---- */

START_TEST(a_request_that_takes_long_has_that_long)
{
	struct unanswered_at *at = w.vault.shared->unanswered.at;

	atomic_store(&at[3].unique, 77);
	atomic_store(&at[4].unique, 78);
	shared_takes(w.vault.shared, 77, SHARED_TAKES_MAX);
	ck_assert_int_gt((int32_t)(atomic_load(&at[3].began) - clock_coarse_ms()), 0);
	ck_assert_uint_eq(atomic_load(&at[4].began), 0);
	shared_still_at(w.vault.shared, 77);
	ck_assert_int_le((int32_t)(atomic_load(&at[3].began) - clock_coarse_ms()), 0);
	shared_takes(NULL, 77, 1);
}
END_TEST

/* ---- stages ---- */

static struct handle *open_handle(enum handle_kind kind, uint32_t secret, uint64_t *ret_fh)
{
	struct handle *h;

	ck_assert_int_eq(
		handle_new(w.vault.handles,
			   &(struct handle_ask){ .unique = w.unique++, .neighbour = 1000, .uid = 1000, .kind = kind },
			   &h),
		0);
	h->secret = secret;
	h->open_flags = O_WRONLY | O_TRUNC;
	h->gid = 1000;
	h->tgid = 100;
	h->start_time = 7;
	h->user_ns = 1;
	h->pid_ns = 2;
	h->mnt_ns = 3;
	*ret_fh = handle_publish(w.vault.handles, h);
	return h;
}

START_TEST(a_stage_that_no_open_file_names_is_dropped_at_takeover)
{
	uint32_t id = add_secret(fx.store, "db", "old");
	uint64_t orphan, kept, ctl, fh;

	ck_assert_int_eq(store_stage_new(fx.store, &kept), 0);
	ck_assert_int_eq(store_stage_new(fx.store, &orphan), 0); /* its maker is killed before he notes it */
	ck_assert_int_eq(store_stage_new(fx.store, &ctl), 0);
	open_handle(HANDLE_VALUE, id, &fh)->stage = kept;
	open_handle(HANDLE_CTL, 0, &fh)->stage = ctl;
	ck_assert_int_eq(store_stage_write(fx.store, kept, 1, 0, "kept", 4), 0);
	ck_assert_int_eq(store_stage_write(fx.store, orphan, 2, 0, "orphan", 6), 0);
	ck_assert_int_eq(store_stage_write(fx.store, ctl, 3, 0, "ctl", 3), 0);
	worker_dies();
	staging_recover(&w.vault);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM stages"), 2);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM stage_chunks"), 2);
	struct stage_info info;
	ck_assert_int_eq(store_stage_stat(fx.store, orphan, &info), -ENOENT);
	ck_assert_int_eq(store_stage_stat(fx.store, kept, &info), 0);
	ck_assert_uint_eq(info.size, 4);
	ck_assert_int_eq(store_stage_stat(fx.store, ctl, &info), 0);
}
END_TEST

/* As cp writes, which goes on to the close when one of its writes fails. */
START_TEST(of_a_file_that_a_write_was_lost_of_no_version_is_made)
{
	struct call a = {
		.who = &w.who, .uid = 1000, .gid = 1000, .tid = 100, .neighbour = 1000, .patience = WAITS_FOR_ALL
	};
	uint32_t id = add_secret(fx.store, "db", "old");
	struct handle *h;
	uint64_t fh;

	w.who.digest[0] = 1;
	for (int i = 0; i < 3; i++) {
		h = open_handle(HANDLE_VALUE, id, &fh);
		h->digest[0] = h->reader[0].digest[0] = 1;
		h->reader[0].may[HANDLE_MAY_SET] = (struct handle_decision){ store_epoch(fx.store), INT64_MAX };
		handle_show(h, i == 2 ? 99 : 1, 0);
		if (i == 2) { /* its beginning cannot be copied, at first */
			h->open_flags = O_WRONLY;
			a.unique = w.unique++;
			ck_assert_int_eq(staging_write(&w.vault, &a, fh, 0, "begin", 5), -ESTALE);
			handle_show(h, 1, 0);
		}
		a.unique = w.unique++;
		ck_assert_int_eq(staging_write(&w.vault, &a, fh, 5, "end", 3), 0);
		if (i == 0) /* somebody else's, who may not write */
			staging_lost(&w.vault, fh, 1001);
		if (i == 1)
			staging_lost(&w.vault, fh, 1000);
		struct stage_info info;
		ck_assert_int_eq(store_stage_stat(fx.store, h->stage, &info), 0);
		ck_assert(info.dirty);
		if (i > 0)
			ck_assert_int_eq(staging_commit(&w.vault, &a, fh, w.unique++, false, false), -EIO);
		else
			ck_assert_uint_eq(h->of.value.marks, 0);
	}
}
END_TEST

/* ---- ctl ---- */

#define LINE "{\"op\":\"put\",\"name\":\"db\",\"value_length\":5}"
#define HEAD 10 /* of the line came with a WRITE of its own */

static int ctl_write(uint64_t fh, uint64_t unique, uint64_t offset, const char *text, size_t len)
{
	const struct call a = { .who = &w.who,
				.uid = 1000,
				.gid = 1000,
				.tid = 100,
				.neighbour = 1000,
				.patience = WAITS_FOR_ALL,
				.unique = unique };

	return ctl_file_write(&w.vault, &a, fh, offset, (const uint8_t *)text, len);
}

/* The stores of a WRITE, in their order, that a dying worker did not come to. */
static void uncount(struct handle *h, struct ctl_buffer *b)
{
	(void)h;
	b->value_got = 0;
}
static void uncomplete(struct handle *h, struct ctl_buffer *b)
{
	uncount(h, b);
	b->complete = 0;
}
static void unmeasure(struct handle *h, struct ctl_buffer *b)
{
	uncomplete(h, b);
	b->value_len = 0;
}
static void ungather(struct handle *h, struct ctl_buffer *b)
{
	unmeasure(h, b);
	b->len = HEAD;
}
static void nothing(struct handle *h, struct ctl_buffer *b)
{
	(void)h;
	(void)b;
}
static void (*const cuts[])(struct handle *h, struct ctl_buffer *b) = { nothing, uncount, uncomplete, unmeasure,
									ungather };

START_TEST(a_write_on_ctl_that_was_cut_is_completed_when_it_comes_again)
{
	static const char text[] = LINE "\nvalue";
	char got[16];
	size_t n;
	uint64_t fh;
	const struct call me = {
		.who = &w.who, .uid = 1000, .gid = 1000, .tid = 100, .neighbour = 1000, .patience = WAITS_FOR_ALL
	};
	struct handle *h = open_handle(HANDLE_CTL, 0, &fh);

	ck_assert_int_eq(ctl_file_open(&w.vault, &me, fh), 0);
	struct ctl_buffer *b = &w.vault.shared->ctl[h->of.ctl.buffer - 1];
	ck_assert_int_eq(ctl_write(fh, 2000, 0, text, HEAD), 0);
	ck_assert_int_eq(ctl_write(fh, 2002, HEAD, text + HEAD, sizeof text - 1 - HEAD), 0);
	h->last_unique = 2000;
	cuts[_i](h, b);
	worker_dies();
	ck_assert_int_eq(ctl_write(fh, 2002, HEAD, text + HEAD, sizeof text - 1 - HEAD), 0);
	ck_assert_uint_eq(b->len, strlen(LINE));
	ck_assert(!memcmp(b->line, LINE, strlen(LINE)));
	ck_assert_uint_eq(b->complete, 1);
	ck_assert_uint_eq(b->value_len, 5);
	ck_assert_uint_eq(b->value_got, 5);
	ck_assert_int_eq(store_stage_read(fx.store, h->stage, 0, got, sizeof got, &n), 0);
	ck_assert_uint_eq(n, 5);
	ck_assert(!memcmp(got, "value", 5));
	/* and what is no repetition is none */
	ck_assert_int_eq(ctl_write(fh, 2004, HEAD, "x", 1), -ESPIPE);
	ctl_file_release(&w.vault, fh);
}
END_TEST

static uint64_t fh_of(const struct handle *h)
{
	uint64_t fh = 0;

	ck_assert_ptr_eq(handle_by_unique(w.vault.handles, h->unique, &fh), h);
	return fh;
}

static int open_ctl(const struct call *who, uint64_t neighbour, uint64_t *ret_fh)
{
	struct handle *h;

	ck_assert_int_eq(
		handle_new(w.vault.handles,
			   &(struct handle_ask){ .unique = w.unique++, .neighbour = neighbour, .kind = HANDLE_CTL },
			   &h),
		0);
	*ret_fh = handle_publish(w.vault.handles, h);
	int r = ctl_file_open(&w.vault, who, *ret_fh);
	if (r)
		handle_release(w.vault.handles, *ret_fh);
	return r;
}

static uint32_t buffers_of(uint64_t neighbour)
{
	uint32_t n = 0;

	for (size_t i = 0; i < CTL_BUFFERS; i++) {
		const struct handle *h = w.vault.shared->ctl[i].owner
						 ? handle_get(w.vault.handles, w.vault.shared->ctl[i].owner)
						 : NULL;
		n += h && h->neighbour == neighbour;
	}
	return n;
}

START_TEST(many_idle_requests_keep_nobody_out)
{
	struct identity stranger = w.who;
	const struct call nobody = { .who = &stranger, .uid = 65534, .neighbour = 65534, .patience = WAITS_FOR_ALL };
	uint64_t fh, first[CTL_BUFFERS_MOST];

	stranger.uid = stranger.policy.uid = 65534;
	for (uint32_t i = 0; i < CTL_BUFFERS_MOST; i++)
		ck_assert_int_eq(open_ctl(&nobody, 7, &first[i]), 0);
	ck_assert_int_eq(open_ctl(&nobody, 7, &fh), -ENFILE);
	for (uint64_t neighbour = 2000; neighbour < 2100; neighbour++) /* all that is left, and a little more */
		ck_assert_int_eq(open_ctl(&nobody, neighbour, &fh), 0);
	for (uint64_t neighbour = 2000; neighbour < 2100; neighbour++)
		for (int i = 0; i < 20; i++)
			open_ctl(&nobody, neighbour, &fh);
	for (uint64_t neighbour = 3000; neighbour < 3010; neighbour++)
		ck_assert_int_eq(open_ctl(&nobody, neighbour, &fh), 0);
	uint32_t all = 0;
	const uint32_t mine = buffers_of(7);
	for (size_t i = 0; i < CTL_BUFFERS; i++)
		all += w.vault.shared->ctl[i].owner != 0;
	ck_assert_uint_eq(all, CTL_BUFFERS - CTL_BUFFERS_RESERVE);
	ck_assert_uint_lt(mine, CTL_BUFFERS_MOST); /* the heaviest */
	/* the one that lost its request hears of it, and nothing of another's */
	ck_assert_int_eq(ctl_file_write(&w.vault, &nobody, first[0], 0, (const uint8_t *)"x", 1), -ESTALE);
	ctl_file_release(&w.vault, first[0]);
	ck_assert_uint_eq(buffers_of(7), mine);
	/* counted again by a worker that takes over */
	shares_free(w.vault.buffers.shares);
	w.vault.buffers.shares = NULL;
	ck_assert_int_eq(open_ctl(&nobody, 99999, &fh), 0);
	ck_assert_uint_eq(buffers_of(99999), 1);
}
END_TEST

START_TEST(ctl_has_a_reserve_for_administrators)
{
	struct identity root = w.who, stranger = w.who;
	const struct call admin = { .who = &w.who, .uid = FIXTURE_ADMIN }, host_root = { .who = &root, .uid = 0 },
			  nobody = { .who = &stranger, .uid = 65534 };
	uint64_t fh;

	root.uid = root.policy.uid = 0;
	stranger.uid = stranger.policy.uid = 65534;
	for (uint64_t neighbour = 1; neighbour <= 300; neighbour++) /* one each: nobody is the heaviest */
		open_ctl(&nobody, neighbour, &fh);
	ck_assert_int_eq(open_ctl(&nobody, 1000, &fh), -ENFILE);
	ck_assert_int_eq(open_ctl(&admin, 1000, &fh), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(open_ctl(&host_root, NEIGHBOUR_ROOT, &fh), 0);
	/* the heaviest by now, and nobody can take that from it */
	for (uint64_t neighbour = 400; neighbour <= 500; neighbour++)
		ck_assert_int_eq(open_ctl(&nobody, neighbour, &fh), -ENFILE);
	ck_assert_uint_eq(buffers_of(NEIGHBOUR_ROOT), 3);
	/* a container's root is none */
	root.host = root.policy.host = false;
	ck_assert_int_eq(open_ctl(&host_root, 5000, &fh), -ENFILE);
}
END_TEST

START_TEST(staged_bytes_are_a_share_of_what_all_may_have)
{
	enum { EACH = 64 }; /* chunks of a file */
	struct handle *h, *first = NULL;
	uint64_t fh;
	uint32_t n = 0;
	int r;

	do {
		h = open_handle(HANDLE_VALUE, 1, &fh);
		if (!first)
			first = h;
		r = staged_grow(&w.vault, h, EACH * STAGED_CHUNK - 1);
		n += !r;
	} while (!r);
	ck_assert_int_eq(r, -EDQUOT);
	ck_assert_uint_eq(n, (STAGED_MAX - STAGED_RESERVE) / 3 / EACH);
	ck_assert_int_eq(staged_grow(&w.vault, first, 1), 0); /* it has them */
	access_close(&w.vault, fh_of(first));
	ck_assert_int_eq(staged_grow(&w.vault, h, EACH * STAGED_CHUNK - 1), 0);
	/* counted again */
	shares_free(w.vault.staged.shares);
	w.vault.staged.shares = NULL;
	h = open_handle(HANDLE_VALUE, 1, &fh);
	ck_assert_int_eq(staged_grow(&w.vault, h, EACH * STAGED_CHUNK - 1), -EDQUOT);
	access_close(&w.vault, fh);
}
END_TEST

START_TEST(kept_answers_are_a_share_of_what_all_may_have)
{
	const size_t len = 1 << 20;
	uint64_t fh = 1;

	while (answers_put(w.vault.answers, fh, 1000, calloc(1, len), len) == 0)
		fh++;
	ck_assert_uint_eq(fh - 1, (ANSWERS_MAX - ANSWERS_RESERVE) / 3 / (len / ANSWERS_BLOCK + 1));
	ck_assert_int_eq(answers_put(w.vault.answers, fh, 1001, calloc(1, len), len), 0);
	/* what was done is said */
	ck_assert_int_eq(answers_put_done(w.vault.answers, fh + 1, 1000, calloc(1, ANSWER_SMALL), ANSWER_SMALL), 0);
	ck_assert_int_eq(answers_put_done(w.vault.answers, fh + 2, 1000, calloc(1, len), len), -EAGAIN);
	answers_drop(w.vault.answers, 1);
	ck_assert_int_eq(answers_put(w.vault.answers, fh + 2, 1000, calloc(1, len), len), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vault");
	TCase *t = tcase_create("takeover");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_was_committed_and_not_rung_is_rung_by_the_next_worker);
	tcase_add_test(t, a_thread_that_has_yet_to_ring_is_not_forgotten_for_what_others_told);
	tcase_add_test(t, what_was_rung_is_not_rung_again);
	tcase_add_test(t, a_commit_that_fails_owes_nothing);
	tcase_add_test(t, a_request_that_takes_long_has_that_long);
	tcase_add_test(t, a_stage_that_no_open_file_names_is_dropped_at_takeover);
	tcase_add_test(t, of_a_file_that_a_write_was_lost_of_no_version_is_made);
	tcase_add_loop_test(t, a_write_on_ctl_that_was_cut_is_completed_when_it_comes_again, 0,
			    (int)(sizeof cuts / sizeof *cuts));
	tcase_add_test(t, ctl_has_a_reserve_for_administrators);
	tcase_add_test(t, staged_bytes_are_a_share_of_what_all_may_have);
	tcase_add_test(t, kept_answers_are_a_share_of_what_all_may_have);
	tcase_add_test(t, many_idle_requests_keep_nobody_out);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
