#include "fs/keeper/mount.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "suite.h"

static struct mount *adopted(int id)
{
	const struct mount_state state = { .id = id, .major = 0, .minor = 1, .directory = "/nowhere" };
	struct mount *m = NULL;

	ck_assert_int_eq(mount_adopt(&state, -1, &m), 0);
	return m;
}

START_TEST(one_that_is_not_in_the_list_is_gone)
{
	struct mount *m = adopted(1 << 30);

	ck_assert(!mount_attached(m));
	mount_free(m);
}
END_TEST

/* The keeper would end, and with it the vault. */
START_TEST(a_list_that_cannot_be_read_does_not_say_that_it_is_gone)
{
	struct mount *m = adopted(1 << 30);
	struct rlimit before, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = before.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	const bool attached = mount_attached(m);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert(attached);
	mount_free(m);
}
END_TEST

START_TEST(one_that_cannot_be_seen_is_not_gone)
{
	struct mount *m = adopted(-1);

	ck_assert(!mount_is_here(m));
	ck_assert(mount_attached(m));
	mount_free(m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mount");
	TCase *t = tcase_create("mount");

	suite_add_tcase(s, t);
	tcase_add_test(t, one_that_is_not_in_the_list_is_gone);
	tcase_add_test(t, a_list_that_cannot_be_read_does_not_say_that_it_is_gone);
	tcase_add_test(t, one_that_cannot_be_seen_is_not_gone);
	return run_suite(s);
}
