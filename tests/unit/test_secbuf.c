#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto_support.h"
#include "store/crypto/secbuf.h"

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

START_TEST(gives_nothing_before_init)
{
	struct secbuf *b = NULL;

	ck_assert_ptr_null(secmem_alloc(1));
	ck_assert_int_eq(secbuf_new(1, &b), -ENOMEM);
	ck_assert_ptr_null(b);
	ck_assert_str_eq(secmem_kind_name(), "none");
}
END_TEST

START_TEST(inits_once)
{
	ck_assert_int_eq(secmem_init(0, SECMEM_AUTO), -EINVAL);
	ck_assert_int_eq(secmem_init(100, SECMEM_AUTO), 0);
	ck_assert_int_eq(secmem_init(100, SECMEM_AUTO), -EALREADY);
	ck_assert_int_ne(secmem_kind(), SECMEM_NONE);
}
END_TEST

static const enum secmem_choice choices[] = { SECMEM_ONLY_MEMFD_SECRET, SECMEM_ONLY_MLOCK };

/* Kernels without memfd_secret have the other. */
static bool init_choice(int i, size_t size)
{
	int r = secmem_init(size, choices[i]);

	if (r == -ENOSYS && choices[i] == SECMEM_ONLY_MEMFD_SECRET)
		return false;
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(secmem_kind(), choices[i] == SECMEM_ONLY_MLOCK ? SECMEM_MLOCK : SECMEM_MEMFD_SECRET);
	return true;
}

START_TEST(blocks_are_zero_aligned_and_wiped)
{
	static const size_t sizes[] = { 0,    1,    16,   17,   64,   100,  129,   1000,
					1281, 2047, 2048, 2049, 4096, 4097, 65536, (1 << 20) + 32 };

	if (!init_choice(_i, ARENA))
		return;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int round = 0; round < 3; round++) {
			uint8_t *p = secmem_alloc(sizes[i]);
			ck_assert_ptr_nonnull(p);
			ck_assert_uint_eq((uintptr_t)p % 16, 0);
			ck_assert(all_zero(p, sizes[i]));
			memset(p, 0xa5, sizes[i]);
			secmem_free(p, sizes[i]);
		}
	}
	ck_assert_uint_eq(arena_used(), 0);
	ck_assert(!secmem_contains("\xa5\xa5\xa5", 3));
}
END_TEST

START_TEST(contains_finds_what_is_there)
{
	char *p;

	ck_assert_int_eq(secmem_init(ARENA, SECMEM_AUTO), 0);
	p = secmem_alloc(100);
	memcpy(p + 60, "needle in locked memory", 23);
	ck_assert(secmem_contains("needle in locked memory", 23));
	secmem_free(p, 100);
	ck_assert(!secmem_contains("needle in locked memory", 23));
}
END_TEST

/* Blocks of all sizes, freed in any order, never overlap, and leave the arena whole. */
START_TEST(survives_a_long_mixed_life)
{
	enum { SLOTS = 200 };
	struct {
		uint8_t *p;
		size_t n;
		uint8_t mark;
	} slot[SLOTS] = { 0 };
	uint32_t rng = 12345;

	if (!init_choice(_i, ARENA))
		return;
	for (int step = 0; step < 20000; step++) {
		rng = rng * 1664525 + 1013904223;
		size_t s = (rng >> 8) % SLOTS;
		if (slot[s].p) {
			size_t wrong = 0;
			for (size_t i = 0; i < slot[s].n; i++)
				wrong += slot[s].p[i] != slot[s].mark;
			if (wrong)
				ck_abort_msg("%zu bytes of a block changed", wrong);
			secmem_free(slot[s].p, slot[s].n);
			slot[s].p = NULL;
			continue;
		}
		unsigned kind = rng >> 28;
		slot[s].n = kind < 10   ? 1 + (rng >> 4) % 2048
			    : kind < 15 ? 1 + (rng >> 4) % 20000
					: 1 + (rng >> 4) % 300000;
		slot[s].p = secmem_alloc(slot[s].n);
		slot[s].mark = (uint8_t)(rng >> 16) | 1;
		if (!slot[s].p)
			continue;
		if (slot[s].p[0] || slot[s].p[slot[s].n - 1])
			ck_abort_msg("a new block is not zero");
		memset(slot[s].p, slot[s].mark, slot[s].n);
	}
	for (size_t s = 0; s < SLOTS; s++)
		if (slot[s].p)
			secmem_free(slot[s].p, slot[s].n);
	ck_assert_uint_eq(arena_used(), 0);
	/* one empty unit for each of the 23 small classes may be kept back */
	uint8_t *most = secmem_alloc(ARENA / 4);
	ck_assert_ptr_nonnull(most);
	secmem_free(most, ARENA / 4);
}
END_TEST

START_TEST(full_arena_is_enomem_and_recovers)
{
	struct secbuf *b[64];
	size_t n = 0;
	int r = 0;

	ck_assert_int_eq(secmem_init((size_t)1 << 20, SECMEM_AUTO), 0);
	while (n < 64 && (r = secbuf_new(65536, &b[n])) == 0)
		n++;
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_uint_eq(n, 15); /* one unit holds their heads */
	size_t used = arena_used();
	ck_assert_int_eq(secbuf_reserve(&b[0], 131072), -ENOMEM);
	ck_assert_uint_eq(secbuf_capacity(b[0]), 65536);
	ck_assert_uint_eq(arena_used(), used);
	secbuf_free(b[7]);
	ck_assert_int_eq(secbuf_new(65536, &b[7]), 0);
	while (n > 0)
		secbuf_free(b[--n]);
	ck_assert_uint_eq(arena_used(), 0);
	uint8_t *most = secmem_alloc(250 * 4096);
	ck_assert_ptr_nonnull(most);
}
END_TEST

START_TEST(set_len_wipes_what_it_cuts)
{
	struct secbuf *b = NULL;

	ck_assert_int_eq(secmem_init(ARENA, SECMEM_AUTO), 0);
	ck_assert_int_eq(secbuf_new(10, &b), 0);
	ck_assert_uint_eq(secbuf_len(b), 0);
	ck_assert_int_eq(secbuf_set_len(b, 11), -EINVAL);
	memset(secbuf_data(b), 7, 10);
	ck_assert_int_eq(secbuf_set_len(b, 10), 0);
	ck_assert_int_eq(secbuf_set_len(b, 4), 0);
	ck_assert(all_zero(secbuf_data(b) + 4, 6));
	ck_assert_int_eq(secbuf_cdata(b)[3], 7);
	secbuf_free(b);
}
END_TEST

START_TEST(reserve_keeps_content_and_wipes_the_old_place)
{
	struct secbuf *b = NULL;

	ck_assert_int_eq(secmem_init(ARENA, SECMEM_AUTO), 0);
	ck_assert_int_eq(secbuf_new(16, &b), 0);
	memcpy(secbuf_data(b), "sixteen byte key", 16);
	ck_assert_int_eq(secbuf_set_len(b, 16), 0);
	ck_assert_int_eq(secbuf_reserve(&b, 8), 0);
	ck_assert_int_eq(secbuf_reserve(&b, 100000), 0);
	ck_assert_uint_ge(secbuf_capacity(b), 100000);
	ck_assert_uint_eq(secbuf_len(b), 16);
	ck_assert_mem_eq(secbuf_data(b), "sixteen byte key", 16);
	memset(secbuf_data(b), 0, 16);
	ck_assert(!secmem_contains("sixteen byte key", 16));
	secbuf_free(b);
	ck_assert_uint_eq(arena_used(), 0);
}
END_TEST

START_TEST(nth_allocation_fails_once_and_leaves_nothing)
{
	struct secbuf *b = NULL;

	ck_assert_int_eq(secmem_init(ARENA, SECMEM_AUTO), 0);
	for (unsigned long n = 1; n <= 2; n++) {
		secmem_fail_nth(n);
		ck_assert_int_eq(secbuf_new(100, &b), -ENOMEM);
		ck_assert_uint_eq(arena_used(), 0);
	}
	secmem_fail_nth(3);
	ck_assert_int_eq(secbuf_new(100, &b), 0);
	secmem_fail_nth(0);
	secbuf_free(b);
}
END_TEST

START_TEST(child_of_fork_has_no_arena)
{
	uint8_t *p;
	int status;
	pid_t pid;

	if (!init_choice(_i, ARENA))
		return;
	p = secmem_alloc(32);
	memset(p, 1, 32);
	pid = fork();
	if (pid == 0) {
		if (secmem_kind() != SECMEM_NONE || secmem_place(p) != SECMEM_LOST || secmem_alloc(1))
			_exit(1);
		if (secmem_init(ARENA, choices[_i]) != 0 || !secmem_alloc(1))
			_exit(2);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_int_eq(p[31], 1);
	secmem_free(p, 32);
}
END_TEST

/* Without CAP_IPC_LOCK, in a child that ends without the sanitizer's check, which could not look into it. */
static int init_as_nobody(void)
{
	struct rlimit limit = { 65536, 65536 };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || (geteuid() == 0 && seteuid(65534) < 0))
		return 1;
	if (secmem_init(ARENA, SECMEM_AUTO) != -EPERM || secmem_init(ARENA, SECMEM_ONLY_MLOCK) != -EPERM)
		return 2;
	if (secmem_kind() != SECMEM_NONE)
		return 3;
	return secmem_init(16384, SECMEM_AUTO) == 0 ? 0 : 4;
}

START_TEST(refuses_what_may_not_be_locked)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(init_as_nobody());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

static void *churn(void *arg)
{
	uint8_t mark = (uint8_t)(uintptr_t)arg;

	for (int i = 0; i < 4000; i++) {
		size_t n = (size_t)(i * 37 % 6000) + 1;
		uint8_t *p = secmem_alloc(n);
		if (!p)
			return (void *)1;
		memset(p, mark, n);
		if (p[0] != mark || p[n - 1] != mark)
			return (void *)1;
		secmem_free(p, n);
	}
	return NULL;
}

START_TEST(threads_share_it)
{
	pthread_t t[4];

	ck_assert_int_eq(secmem_init(ARENA, SECMEM_AUTO), 0);
	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
	for (size_t i = 0; i < 4; i++) {
		void *result;
		pthread_join(t[i], &result);
		ck_assert_ptr_null(result);
	}
	ck_assert_uint_eq(arena_used(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("secbuf");
	TCase *t = tcase_create("secbuf");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, gives_nothing_before_init);
	tcase_add_test(t, inits_once);
	tcase_add_loop_test(t, blocks_are_zero_aligned_and_wiped, 0, 2);
	tcase_add_test(t, contains_finds_what_is_there);
	tcase_add_loop_test(t, survives_a_long_mixed_life, 0, 2);
	tcase_add_test(t, full_arena_is_enomem_and_recovers);
	tcase_add_test(t, set_len_wipes_what_it_cuts);
	tcase_add_test(t, reserve_keeps_content_and_wipes_the_old_place);
	tcase_add_test(t, nth_allocation_fails_once_and_leaves_nothing);
	tcase_add_loop_test(t, child_of_fork_has_no_arena, 0, 2);
	tcase_add_test(t, refuses_what_may_not_be_locked);
	tcase_add_test(t, threads_share_it);
	suite_add_tcase(s, t);
	return run_suite(s);
}
