#include "fs/cli/common/mount.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define COFFER(id, path, store)                                                                            \
	id " 20 0:5" id " / " path " rw,nosuid,nodev,noexec,relatime shared:9 - fuse.coffer coffer:" store \
	   " rw,user_id=0\n"

static const char table[] =
	"20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
	"21 20 0:5 / /proc rw,nosuid shared:1 master:2 propagate_from:3 - proc proc rw\n" COFFER(
		"40", "/vault", "/var/lib/coffer/default")
		COFFER("41", "/mnt/with\\040blank\\134",
		       "/srv/my\\040stores/billing") "42 20 0:40 /db /secrets rw - fuse.coffer "
						     "coffer:/var/lib/coffer/default "
						     "rw,user_id=0,group_id=0,allow_other\n"
						     "47 20 0:47 / /home/u/a rw - fuse.coffer coffer:/home/u/default "
						     "rw,user_id=1000,group_id=0,allow_other\n"
						     "48 20 0:48 / /home/u/b rw - fuse.coffer "
						     "coffer:/home/u/theirs,user_id=0, "
						     "rw,user_id=01,xuser_id=0,user_id=00\n"
						     "43 20 0:43 / /home/u/sshfs rw - fuse.sshfs "
						     "coffer:/var/lib/coffer/fake rw\n" COFFER(
							     "44", "/old",
							     "/var/lib/coffer/old") "45 44 0:45 / /old rw - tmpfs "
										    "coffer:/nothing rw\n"
										    "46 20 0:46 / /torn rw";

static struct mount m;

START_TEST(finds_a_vault_by_its_mount)
{
	ck_assert_int_eq(mountinfo_find(table, "/vault", NULL, &m), 0);
	ck_assert_str_eq(m.path, "/vault");
	ck_assert_str_eq(m.store, "/var/lib/coffer/default");
}
END_TEST

START_TEST(finds_a_vault_by_its_name)
{
	ck_assert_int_eq(mountinfo_find(table, NULL, "billing", &m), 0);
	ck_assert_str_eq(m.path, "/mnt/with blank\\");
	ck_assert_str_eq(m.store, "/srv/my stores/billing");
	ck_assert_int_eq(mountinfo_find(table, NULL, "nosuch", &m), -ENOENT);
	ck_assert_int_eq(mountinfo_find(table, NULL, "fake", &m), -ENOENT);
	ck_assert_int_eq(mountinfo_find(table, NULL, "", &m), -ENOENT);
}
END_TEST

START_TEST(tells_no_mount_from_another_kind)
{
	ck_assert_int_eq(mountinfo_find(table, "/nowhere", NULL, &m), -ENOENT);
	ck_assert_int_eq(mountinfo_find(table, "/proc", NULL, &m), -ENOTTY);
	ck_assert_int_eq(mountinfo_find(table, "/home/u/sshfs", NULL, &m), -ENOTTY);
	ck_assert_int_eq(mountinfo_find(table, "/torn", NULL, &m), -ENOENT);
}
END_TEST

/* Whoever may mount with fusermount could else have a vault of the same name, and be given what is put into it. */
START_TEST(takes_no_users_mount_for_a_vault)
{
	ck_assert_int_eq(mountinfo_find(table, NULL, "default", &m), 0);
	ck_assert_str_eq(m.path, "/vault");
	ck_assert_int_eq(mountinfo_find(table, "/home/u/a", NULL, &m), -ENOTTY);
	ck_assert_int_eq(mountinfo_find(table, NULL, "theirs,user_id=0,", &m), -ENOENT);
}
END_TEST

START_TEST(refuses_one_secrets_directory_bound_elsewhere)
{
	ck_assert_int_eq(mountinfo_find(table, "/secrets", NULL, &m), -ENOTTY);
}
END_TEST

START_TEST(believes_the_topmost_of_stacked_mounts)
{
	ck_assert_int_eq(mountinfo_find(table, "/old", NULL, &m), -ENOTTY);
}
END_TEST

START_TEST(does_not_choose_between_vaults_of_one_name)
{
	static const char two[] = COFFER("40", "/vault", "/var/lib/coffer/default")
		COFFER("41", "/other", "/srv/coffer/default") COFFER("42", "/bound", "/var/lib/coffer/default");

	ck_assert_int_eq(mountinfo_find(two, NULL, "default", &m), -ENOTUNIQ);
	ck_assert_str_eq(m.path, "/vault");
	ck_assert_str_eq(m.other, "/other");
	ck_assert_int_eq(mountinfo_find(two, "/other", NULL, &m), 0);
}
END_TEST

START_TEST(writes_nothing_when_nothing_is_found)
{
	memset(&m, 0x5a, sizeof(m));
	ck_assert_int_eq(mountinfo_find(table, "/proc", NULL, &m), -ENOTTY);
	ck_assert_int_eq(m.path[0], 0x5a);
	ck_assert_int_eq(mountinfo_find("", "/vault", NULL, &m), -ENOENT);
	ck_assert_int_eq(mountinfo_find("- - - -\n\n  \n", "/vault", NULL, &m), -ENOENT);
	ck_assert_int_eq(m.store[0], 0x5a);
}
END_TEST

START_TEST(names_a_vault_by_its_last_component)
{
	ck_assert_str_eq(vault_name_of("/var/lib/coffer/default"), "default");
	ck_assert_str_eq(vault_name_of("default"), "default");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cli_mount");
	TCase *t = tcase_create("mountinfo");

	tcase_add_test(t, finds_a_vault_by_its_mount);
	tcase_add_test(t, finds_a_vault_by_its_name);
	tcase_add_test(t, tells_no_mount_from_another_kind);
	tcase_add_test(t, takes_no_users_mount_for_a_vault);
	tcase_add_test(t, refuses_one_secrets_directory_bound_elsewhere);
	tcase_add_test(t, believes_the_topmost_of_stacked_mounts);
	tcase_add_test(t, does_not_choose_between_vaults_of_one_name);
	tcase_add_test(t, writes_nothing_when_nothing_is_found);
	tcase_add_test(t, names_a_vault_by_its_last_component);
	suite_add_tcase(s, t);
	return run_suite(s);
}
