#include "fs/caller/subuid.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "suite.h"

static const char passwd[] = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/"
			     "sh\n4711:x:1002:1002::/:/bin/sh\nno line\n:x:7:7:\nlate:x:1003:1003";

static struct subuid_table parse(const char *text, struct subuid_faults *ret_faults)
{
	struct subuid_table t;

	ck_assert_int_eq(subuid_parse(text, strlen(text), passwd, strlen(passwd), &t, ret_faults), 0);
	return t;
}

static const struct {
	const char *text;
	struct subuid_range ranges[4];
	uint32_t malformed, unknown;
	bool shared;
} files[] = {
	{ "", { { 0 } }, 0, 0, false },
	{ "alice:100000:65536\n", { { 100000, 165535, 1000 } }, 0, 0, false },
	{ "alice:100000:65536", { { 100000, 165535, 1000 } }, 0, 0, false },
	{ "# a comment\n\nbob:200000:10\nalice:100000:10\n",
	  { { 100000, 100009, 1000 }, { 200000, 200009, 1001 } },
	  0,
	  0,
	  false },
	/* a uid in digits, and a name that is made of digits */
	{ "1005:100000:1\n4711:200000:1\n", { { 100000, 100000, 1005 }, { 200000, 200000, 1002 } }, 0, 0, false },
	{ "late:100000:1\n", { { 100000, 100000, 1003 } }, 0, 0, false },
	{ "ldap:100000:10\n", { { 100000, 100009, SUBUID_UNKNOWN } }, 0, 1, false },
	{ "root:100000:10\n", { { 100000, 100009, SUBUID_ROOT } }, 0, 0, false },
	/* bad lines: the others count */
	{ "alice:100000\nalice:x:1\nalice:1:1:1\n:1:1\nalice:-1:5\nalice:4294967295:1\nalice:4294967290:10\nalice:"
	  "99999999999:1\nbob:5:5\n",
	  { { 5, 9, 1001 } },
	  8,
	  0,
	  false },
	{ "alice:4294967294:1\n", { { 4294967294u, 4294967294u, 1000 } }, 0, 0, false },
	/* nobody has root as a subordinate */
	{ "alice:0:3\nbob:7:0\nbob:0:1\n", { { 1, 2, 1000 } }, 0, 0, false },
	/* one user's ranges may overlap */
	{ "alice:100:100\nalice:150:100\nalice:120:5\n", { { 100, 249, 1000 } }, 0, 0, false },
	/* those of two users may not: whose it is, is not known there */
	{ "alice:100:100\nbob:150:100\n",
	  { { 100, 149, 1000 }, { 150, 199, SUBUID_UNKNOWN }, { 200, 249, 1001 } },
	  0,
	  0,
	  true },
	/* root's stand back: what it claims beside a user is the user's */
	{ "root:50:1000\nalice:100:100\n",
	  { { 50, 99, SUBUID_ROOT }, { 100, 199, 1000 }, { 200, 1049, SUBUID_ROOT } },
	  0,
	  0,
	  false },
	{ "alice:100:100\nldap:100:100\n", { { 100, 199, SUBUID_UNKNOWN } }, 0, 1, true },
};

START_TEST(a_file_becomes_ranges_that_do_not_overlap)
{
	struct subuid_faults faults;
	struct subuid_table t = parse(files[_i].text, &faults);
	size_t n = 0;

	while (n < 4 && files[_i].ranges[n].last)
		n++;
	ck_assert_msg(t.n == n, "%zu ranges of %s", t.n, files[_i].text);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(!memcmp(&t.ranges[i], &files[_i].ranges[i], sizeof t.ranges[i]), "%zu of %s: %u-%u %u", i,
			      files[_i].text, t.ranges[i].first, t.ranges[i].last, t.ranges[i].owner);
	ck_assert_uint_eq(faults.malformed, files[_i].malformed);
	ck_assert_uint_eq(faults.unknown, files[_i].unknown);
	ck_assert_int_eq(faults.shared, files[_i].shared);
	free(t.ranges);
}
END_TEST

START_TEST(says_which_line_is_wrong)
{
	struct subuid_faults faults;
	struct subuid_table t = parse("alice:1:1\n\nbob\nbob:1\nldap:5:5\n", &faults);

	ck_assert(faults.malformed == 2 && faults.first_malformed == 3 && faults.unknown == 1 &&
		  faults.first_unknown == 5);
	free(t.ranges);
}
END_TEST

START_TEST(finds_the_user_in_the_end)
{
	static const struct {
		uint32_t uid, owner;
		bool in_range;
	} expected[] = {
		{ 0, 0, false },
		{ 1000, 1000, false },
		{ 99, 99, false },
		{ 100, 1000, true },
		{ 199, 1000, true },
		{ 200, 200, false },
		{ 300, 1000, true }, /* its owner, 150, is one of alice's */
		/* a circle */
		{ 400, SUBUID_ROOT, true },
		{ 500, SUBUID_UNKNOWN, true },
		{ 600, SUBUID_UNKNOWN, true },
		{ 700, 700, true }, /* its own */
		{ 4294967295u, 4294967295u, false },
	};
	struct subuid_faults faults;
	struct subuid_table t = parse(
		"alice:100:100\n150:300:10\nroot:400:10\nldap:500:10\n610:600:5\n600:610:5\n700:700:1\n", &faults);

	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		const struct subuid_range *range;
		const uint32_t owner = subuid_owner(&t, expected[i].uid, &range);
		ck_assert_msg(owner == expected[i].owner && (range != NULL) == expected[i].in_range, "%u: %u",
			      expected[i].uid, owner);
	}
	free(t.ranges);
}
END_TEST

START_TEST(a_long_file_is_bounded)
{
	const size_t lines = SUBUID_LINES_MAX + 10, room = lines * 32;
	char *text = malloc(room);
	struct subuid_faults faults;
	struct subuid_table t;
	size_t len = 0;

	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < lines; i++)
		/* each overlaps the next */
		len += (size_t)snprintf(text + len, room - len, "%zu:%zu:100\n", i + 1, 100000 + i * 50);
	ck_assert_int_eq(subuid_parse(text, len, passwd, strlen(passwd), &t, &faults), 0);
	ck_assert(faults.too_long && faults.malformed == 0);
	ck_assert_uint_eq(t.n, SUBUID_LINES_MAX + 1);
	free(t.ranges);
	free(text);
}
END_TEST

/* Cut anywhere: no read beyond the end (the sanitizer looks), no more than what whole lines say. */
START_TEST(cut_anywhere_it_is_no_more_than_cut)
{
	static const char text[] = "alice:100000:65536\nbob:200000:10\nldap:300000:10\n";
	struct subuid_faults faults;
	struct subuid_table t;

	for (size_t n = 0; n < sizeof text; n++) {
		char *copy = malloc(n + 1);
		memcpy(copy, text, n);
		copy = realloc(copy, n ? n : 1);
		ck_assert_int_eq(subuid_parse(copy, n, passwd, n, &t, &faults), 0);
		ck_assert_uint_le(t.n, 3);
		free(t.ranges);
		free(copy);
	}
}
END_TEST

/* ---- the files ---- */

static void write_file(int dir, const char *name, const char *text)
{
	int fd = openat(dir, "new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	ck_assert_int_eq(renameat(dir, "new", dir, name), 0);
}

static bool owned_by(struct subuids *s, uint32_t uid, uint32_t owner)
{
	uint32_t found, first;

	return subuids_owner(s, uid, &found, &first) && found == owner;
}

static bool becomes_owned_by(struct subuids *s, uint32_t uid, uint32_t owner)
{
	for (int i = 0; i < 3000; i++) {
		subuids_follow(s);
		if (owned_by(s, uid, owner))
			return true;
		usleep(10000);
	}
	return false;
}

START_TEST(follows_the_files)
{
	char path[] = "/tmp/coffer-etc-XXXXXX";
	struct subuid_range some[2];
	uint32_t all, number, later;
	struct subuids *s;

	ck_assert_ptr_nonnull(mkdtemp(path));
	int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(subuids_new(dir, &s), 0);
	subuids_follow(s);
	ck_assert_uint_eq(subuids_copy(s, 0, some, 2, &all, &number), 0);
	ck_assert(all == 0 && number != 0);
	write_file(dir, "subuid", "alice:100:10\n1001:200:10\n1002:300:10\n");
	ck_assert(becomes_owned_by(s, 105, SUBUID_UNKNOWN));
	write_file(dir, "passwd", "alice:x:1000:");
	ck_assert(becomes_owned_by(s, 105, 1000));
	ck_assert_uint_eq(subuids_copy(s, 1, some, 2, &all, &later), 2);
	ck_assert(all == 3 && later != number && some[0].owner == 1001 && some[1].owner == 1002);
	ck_assert_uint_eq(subuids_copy(s, 3, some, 2, &all, &later), 0);
	ck_assert_uint_eq(subuids_copy(s, 4000000000u, some, 2, &all, &later), 0);
	/* a file that cannot be read changes nothing */
	ck_assert_int_eq(unlinkat(dir, "subuid", 0), 0);
	ck_assert_int_eq(mkdirat(dir, "subuid", 0700), 0);
	usleep(1100000);
	subuids_follow(s);
	ck_assert(owned_by(s, 105, 1000));
	subuids_free(s);
	unlinkat(dir, "subuid", AT_REMOVEDIR);
	unlinkat(dir, "passwd", 0);
	close(dir);
	rmdir(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("subuid");
	TCase *t = tcase_create("subuid");

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, a_file_becomes_ranges_that_do_not_overlap, 0, (int)(sizeof files / sizeof *files));
	tcase_add_test(t, says_which_line_is_wrong);
	tcase_add_test(t, finds_the_user_in_the_end);
	tcase_add_test(t, a_long_file_is_bounded);
	tcase_add_test(t, cut_anywhere_it_is_no_more_than_cut);
	tcase_add_test(t, follows_the_files);
	return run_suite(s);
}
