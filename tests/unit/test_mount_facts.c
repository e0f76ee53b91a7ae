#include "fs/shared/mount_facts.h"

#include <check.h>
#include <string.h>

#include "fs/shared/shared.h"
#include "suite.h"

/* A mount whose kernel offered these flags and whose keeper answered those. */
static struct shared_init mount_of(uint64_t offered, uint64_t granted, uint32_t depth)
{
	static const struct fuse_in_header none;
	struct shared_init init = { .request_len = sizeof none };
	struct fuse_init_in *in = (void *)(init.request + sizeof(struct fuse_in_header));
	struct fuse_init_out *out = (void *)(init.answer + sizeof(struct fuse_out_header));

	in->flags = (uint32_t)offered;
	in->flags2 = (uint32_t)(offered >> 32);
	out->flags = (uint32_t)granted;
	out->flags2 = (uint32_t)(granted >> 32);
	out->INIT_STACK_DEPTH = depth;
	return init;
}

/* Names of what it lacks, each with a blank behind it. */
static const char *lacks(const struct shared_init *init)
{
	static char names[512];
	struct mount_lack lack;

	names[0] = '\0';
	for (size_t at = 0; mount_lacks(init, &at, &lack);) {
		ck_assert(*lack.why && *lack.how);
		strcat(strcat(names, lack.name), " ");
	}
	return names;
}

START_TEST(a_mount_with_all_lacks_nothing)
{
	const struct shared_init init = mount_of(~UINT64_C(0), mount_flags_wanted(), STACK_DEPTH);

	ck_assert_str_eq(lacks(&init), "");
	ck_assert(!mount_can_be_stacked_on(&init));
}
END_TEST

START_TEST(what_an_older_binary_left_out_comes_with_a_new_mount)
{
	const struct shared_init init = mount_of(~UINT64_C(0), mount_flags_wanted() & ~INIT_PASSTHROUGH, 0);
	struct mount_lack lack;
	size_t at = 0;

	ck_assert_str_eq(lacks(&init), "no_overlay ");
	ck_assert(mount_can_be_stacked_on(&init));
	ck_assert(mount_lacks(&init, &at, &lack));
	ck_assert_ptr_nonnull(strstr(lack.how, "mount it again"));
}
END_TEST

START_TEST(what_the_kernel_does_not_have_needs_a_newer_one)
{
	const uint64_t old = mount_flags_wanted() & ~(INIT_PASSTHROUGH | INIT_HAS_RESEND);
	const struct shared_init init = mount_of(old, old, 0);
	struct mount_lack lack;
	size_t at = 0;

	ck_assert_str_eq(lacks(&init), "no_overlay resend ");
	ck_assert(mount_lacks(&init, &at, &lack));
	ck_assert_ptr_nonnull(strstr(lack.how, "Linux 6.9"));
}
END_TEST

START_TEST(the_flag_without_a_depth_forbids_nothing)
{
	const struct shared_init init = mount_of(~UINT64_C(0), mount_flags_wanted(), 0);

	ck_assert_str_eq(lacks(&init), "no_overlay ");
	ck_assert(mount_can_be_stacked_on(&init));
}
END_TEST

START_TEST(the_upper_flags_count_only_where_both_sides_know_them)
{
	const struct shared_init init = mount_of(~(uint64_t)FUSE_INIT_EXT,
						 mount_flags_wanted() & ~(uint64_t)FUSE_INIT_EXT, STACK_DEPTH);

	ck_assert_str_eq(lacks(&init), "no_overlay resend shared_mmap ");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mount_facts");
	TCase *t = tcase_create("mount_facts");

	suite_add_tcase(s, t);
	tcase_add_test(t, a_mount_with_all_lacks_nothing);
	tcase_add_test(t, what_an_older_binary_left_out_comes_with_a_new_mount);
	tcase_add_test(t, what_the_kernel_does_not_have_needs_a_newer_one);
	tcase_add_test(t, the_flag_without_a_depth_forbids_nothing);
	tcase_add_test(t, the_upper_flags_count_only_where_both_sides_know_them);
	return run_suite(s);
}
