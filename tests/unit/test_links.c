#include "fs/serve/links.h"

#include <check.h>
#include <stdlib.h>

#include "fs/shared/inode.h"
#include "fs/serve/vault.h"

static struct vault *v;

static void setup(void) { ck_assert_ptr_nonnull(v = calloc(1, sizeof *v)); }
static void teardown(void) { free(v); }

static uint64_t dir_of(uint32_t secret)
{
	return inode_pack(&(struct inode){ .type = INODE_SECRET, .secret = secret });
}

static void seen(uint32_t opcode, uint64_t dir)
{
	const struct fuse_in_header in = { .opcode = opcode, .nodeid = dir };
	links_seen(v, &in);
}

START_TEST(there_are_two_while_a_rename_is_under_way)
{
	ck_assert_uint_eq(links_of(v, 7), 1);
	links_begin(v, 7, 100);
	ck_assert_uint_eq(links_of(v, 7), 2);
	ck_assert_uint_eq(links_of(v, 8), 1);
	seen(FUSE_RENAME2, dir_of(7)); /* the request itself, which comes twice where it had to wait */
	ck_assert_uint_eq(links_of(v, 7), 2);
	links_answered(v, dir_of(7), 100);
	ck_assert_uint_eq(links_of(v, 7), 2);
}
END_TEST

/* The kernel asks for names of its cache without the directory's lock: a LOOKUP may have been sent before the rename
 * has ended. */
START_TEST(what_the_kernel_asks_without_the_lock_does_not_end_it)
{
	links_begin(v, 7, 100);
	links_answered(v, dir_of(7), 100);
	seen(FUSE_LOOKUP, dir_of(7));
	seen(FUSE_GETATTR, dir_of(7));
	seen(FUSE_UNLINK, dir_of(8));
	seen(FUSE_UNLINK, FUSE_ROOT_ID);
	ck_assert_uint_eq(links_of(v, 7), 2);
}
END_TEST

START_TEST(what_is_asked_with_the_lock_ends_it)
{
	static const uint32_t locked[] = { FUSE_CREATE, FUSE_SYMLINK, FUSE_UNLINK,
					   FUSE_MKDIR,  FUSE_READDIR, FUSE_RENAME2 };
	for (size_t i = 0; i < sizeof locked / sizeof *locked; i++) {
		links_begin(v, 7, 100 + 2 * i);
		links_answered(v, dir_of(7), 100 + 2 * i);
		seen(locked[i], dir_of(7));
		ck_assert_uint_eq(links_of(v, 7), 1);
	}
}
END_TEST

/* The thread that answered may be the last to run: by then the kernel has sent the next. */
START_TEST(a_late_word_of_the_one_before_does_not_end_the_next)
{
	links_begin(v, 7, 100);
	links_begin(v, 7, 102);
	links_answered(v, dir_of(7), 100);
	seen(FUSE_CREATE, dir_of(7));
	ck_assert_uint_eq(links_of(v, 7), 2);
	links_answered(v, dir_of(7), 102);
	seen(FUSE_CREATE, dir_of(7));
	ck_assert_uint_eq(links_of(v, 7), 1);
}
END_TEST

START_TEST(where_all_places_are_taken_the_one_answered_first_goes)
{
	for (uint32_t secret = 1; secret <= LINKS_RENAMES; secret++) {
		links_begin(v, secret, 2 * secret);
		ck_assert_uint_eq(links_of(v, secret), 2);
	}
	links_begin(v, 1000, 3000); /* nothing was answered */
	ck_assert_uint_eq(links_of(v, 1000), 1);
	links_answered(v, dir_of(9), 18);
	links_begin(v, 1000, 3000);
	ck_assert_uint_eq(links_of(v, 1000), 2);
	ck_assert_uint_eq(links_of(v, 9), 1);
	ck_assert_uint_eq(links_of(v, 8), 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("links");
	TCase *all = tcase_create("all");
	tcase_add_checked_fixture(all, setup, teardown);
	tcase_add_test(all, there_are_two_while_a_rename_is_under_way);
	tcase_add_test(all, what_the_kernel_asks_without_the_lock_does_not_end_it);
	tcase_add_test(all, what_is_asked_with_the_lock_ends_it);
	tcase_add_test(all, a_late_word_of_the_one_before_does_not_end_the_next);
	tcase_add_test(all, where_all_places_are_taken_the_one_answered_first_goes);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
