#include "fs/caller/neighbour.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define SECOND INT64_C(1000000000)

#define OF(kind, value) ((uint64_t)(kind) << 56 | (value))
#define OF_CGROUP       UINT64_MAX /* that of root's, by its cgroup */
#define SUB(owner_, first_)                                            \
	{                                                              \
		.in_range = true, .owner = (owner_), .first = (first_) \
	}

static const struct {
	struct neighbour_facts f;
	uint64_t neighbour;
	uint32_t owner;
} cases[] = {
	/* plain users */
	{ { .uid = 1000, .host = true, .answered = true, .ancestry = { .known = true } }, 1000, 1000 },
	{ { .uid = 0, .host = true, .answered = true, .ancestry = { .known = true } }, 0, 0 },
	/* a setuid file of a subordinate uid: the user */
	{ { .uid = 100005, .host = true, .answered = true, .ancestry = { .known = true }, .of_uid = SUB(1000, 100000) },
	  1000,
	  1000 },
	/* in a user namespace of a user, whatever the uid, the cgroup's name and the mount namespace */
	{ { .uid = 100005,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 7, .owner = 1000 },
	    .of_uid = SUB(1000, 100000),
	    .container = "podman:1" },
	  1000,
	  1000 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 7, .pid_ns = 8, .owner = 1000 },
	    .mnt_ns = 5,
	    .our_mnt_ns = 6 },
	  1000,
	  1000 },
	/* one whose owner is itself a subordinate uid */
	{ { .uid = 100007,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 7, .owner = 100005 },
	    .of_owner = SUB(1000, 100000),
	    .of_uid = SUB(1000, 100000) },
	  1000,
	  1000 },
	/* what root made is told apart by itself: its share is not root's, and it has one, however many uids it has */
	{ { .uid = 500000,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 7, .pid_ns = 8, .owner = 0 },
	    .of_uid = SUB(SUBUID_ROOT, 500000) },
	  OF(NEIGHBOUR_USER_NS, 7),
	  500000 },
	{ { .uid = 500000,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 7, .pid_ns = 8, .owner = 0 },
	    .of_uid = SUB(110, 500000),
	    .container = "docker:1" },
	  OF(NEIGHBOUR_USER_NS, 7),
	  110 },
	{ { .uid = 0,
	    .answered = true,
	    .ancestry = { .known = true, .pid_ns = 8, .pid_ns_ours = true },
	    .mnt_ns = 5,
	    .our_mnt_ns = 6,
	    .container = "docker:1" },
	  OF(NEIGHBOUR_PID_NS, 8),
	  0 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .pid_ns = 8, .pid_ns_ours = true },
	    .container = "docker:1" },
	  OF(NEIGHBOUR_PID_NS, 8),
	  1000 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .pid_ns = 8, .pid_ns_ours = true },
	    .container = "docker:1",
	    .unit = "docker-1.scope" },
	  OF(NEIGHBOUR_PID_NS, 8),
	  1000 },
	{ { .uid = 700000,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 7, .pid_ns = 8 },
	    .container = "machine:a" },
	  OF(NEIGHBOUR_USER_NS, 7),
	  700000 },
	/* what a program that is setuid root makes for a user, as often as the user likes */
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .pid_ns = 8, .pid_ns_ours = true },
	    .mnt_ns = 5,
	    .our_mnt_ns = 6 },
	  1000,
	  1000 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .pid_ns = 8, .pid_ns_ours = true },
	    .container = "docker:1",
	    .unit = "user@1000.service" },
	  1000,
	  1000 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .pid_ns = 8, .pid_ns_ours = true },
	    .container = "docker:1",
	    .unit = "session-3.scope" },
	  1000,
	  1000 },
	{ { .uid = 1000, .answered = true, .ancestry = { .known = true, .user_ns = 7, .pid_ns = 8, .owner = 0 } },
	  1000,
	  1000 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 9, .pid_ns = 8, .pid_ns_ours = true, .owner = 1000 } },
	  1000,
	  1000 },
	/* namespaces that a container's root makes inside are inside */
	{ { .uid = 0,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 9, .pid_ns = 8, .pid_ns_ours = true, .owner = 0 } },
	  OF(NEIGHBOUR_PID_NS, 8),
	  0 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 9, .pid_ns = 8, .pid_ns_ours = true, .owner = 1000 },
	    .container = "docker:1" },
	  OF(NEIGHBOUR_PID_NS, 8),
	  1000 },
	/* --pid=host: by the cgroup, else by the mount namespace */
	{ { .uid = 0, .answered = true, .ancestry = { .known = true }, .mnt_ns = 5, .our_mnt_ns = 6 },
	  OF(NEIGHBOUR_MNT_NS, 5),
	  0 },
	{ { .uid = 0, .answered = true, .ancestry = { .known = true }, .mnt_ns = 6, .our_mnt_ns = 6 }, 0, 0 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .mnt_ns_ours = true },
	    .mnt_ns = 5,
	    .our_mnt_ns = 6,
	    .container = "docker:1" },
	  OF_CGROUP,
	  1000 },
	{ { .uid = 500000,
	    .answered = true,
	    .ancestry = { .known = true, .mnt_ns_ours = true },
	    .mnt_ns = 5,
	    .our_mnt_ns = 6,
	    .of_uid = SUB(1000, 500000),
	    .container = "docker:1" },
	  OF_CGROUP,
	  1000 },
	/* a service with PrivateTmp= */
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .mnt_ns_ours = true },
	    .mnt_ns = 5,
	    .our_mnt_ns = 6 },
	  1000,
	  1000 },
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true, .mnt_ns_ours = true },
	    .mnt_ns = 5,
	    .our_mnt_ns = 6,
	    .container = "docker:1",
	    .unit = "user@1000.service" },
	  1000,
	  1000 },
	/* a user's cgroup may have any name */
	{ { .uid = 1000,
	    .answered = true,
	    .ancestry = { .known = true },
	    .mnt_ns = 5,
	    .our_mnt_ns = 6,
	    .container = "docker:1" },
	  1000,
	  1000 },
	/* ranges of nobody who is known */
	{ { .uid = 500005, .answered = true, .ancestry = { .known = true }, .of_uid = SUB(SUBUID_ROOT, 500000) },
	  OF(NEIGHBOUR_RANGE, 500000),
	  500005 },
	{ { .uid = 500005, .answered = true, .ancestry = { .known = true }, .of_uid = SUB(SUBUID_UNKNOWN, 500000) },
	  OF(NEIGHBOUR_RANGE, 500000),
	  OWNER_UNKNOWN },
	{ { .uid = 7,
	    .answered = true,
	    .ancestry = { .known = true, .user_ns = 7, .owner = 500005 },
	    .of_owner = SUB(SUBUID_UNKNOWN, 500000) },
	  OF(NEIGHBOUR_RANGE, 500000),
	  OWNER_UNKNOWN },
	/* nothing is known */
	{ { .uid = 1000 }, 1000, OWNER_UNKNOWN },
	{ { .uid = 1000, .answered = true }, 1000, OWNER_UNKNOWN },
};

/* What is known of a thread of root's at once. */
START_TEST(a_cgroup_tells_containers_from_root)
{
	const struct neighbour_facts f = { .uid = 0,
					   .answered = true,
					   .ancestry = { .known = true },
					   .mnt_ns = 5,
					   .our_mnt_ns = 6,
					   .container = "docker:1",
					   .unit = "" };

	ck_assert_uint_eq(neighbour_of_cgroup("docker:1", ""), neighbour_of(&f));
	ck_assert_uint_ne(neighbour_of_cgroup("docker:2", ""), neighbour_of(&f));
	ck_assert_uint_eq(neighbour_of_cgroup("", ""), 0);
	ck_assert_uint_eq(neighbour_of_cgroup("docker:1", "session-3.scope"), 0); /* which a user has named */
}
END_TEST

START_TEST(tells_neighbours_apart)
{
	struct neighbour_facts f = cases[_i].f;

	f.container = f.container ? f.container : "";
	f.unit = f.unit ? f.unit : "";
	const uint64_t want = cases[_i].neighbour == OF_CGROUP ? neighbour_of_cgroup(f.container, f.unit)
							       : cases[_i].neighbour;
	ck_assert_msg(neighbour_of(&f) == want, "%d: %llx", _i, (unsigned long long)neighbour_of(&f));
	ck_assert_msg(neighbour_owner(&f) == cases[_i].owner, "%d: %u", _i, neighbour_owner(&f));
}
END_TEST

START_TEST(containers_of_the_hosts_pid_namespace_are_told_apart_by_their_cgroup)
{
	struct neighbour_facts f = { .uid = 0,
				     .answered = true,
				     .ancestry = { .known = true },
				     .mnt_ns = 5,
				     .our_mnt_ns = 6,
				     .container = "docker:1",
				     .unit = "" },
			       g = f;
	uint64_t one = neighbour_of(&f);

	ck_assert_uint_eq(one >> 56, NEIGHBOUR_CGROUP);
	g.mnt_ns = 77;
	ck_assert_uint_eq(neighbour_of(&g), one);
	g.ancestry.user_ns = 9; /* made inside it */
	ck_assert_uint_eq(neighbour_of(&g), one);
	g.container = "docker:2";
	ck_assert_uint_ne(neighbour_of(&g), one);
}
END_TEST

START_TEST(prints_for_people)
{
	char text[NEIGHBOUR_TEXT_MAX];

	neighbour_print(1000, text);
	ck_assert_str_eq(text, "user:1000");
	neighbour_print(OF(NEIGHBOUR_USER_NS, 4026532345u), text);
	ck_assert_str_eq(text, "user-namespace:4026532345");
	neighbour_print(OF(NEIGHBOUR_CGROUP, 0xabcd), text);
	ck_assert_str_eq(text, "container:0000000000abcd");
	neighbour_print(UINT64_MAX, text);
	ck_assert_str_eq(text, "?:72057594037927935");
}
END_TEST

/* ---- guesses ---- */

static struct neighbours *n;

static void setup(void)
{
	const struct subuid_range ranges[] = { { 100000, 165535, 1000 },
					       { 165536, 231071, 1001 },
					       { 500000, 565535, SUBUID_ROOT } };
	struct subuid_table t = { 3, malloc(sizeof ranges) };

	memcpy(t.ranges, ranges, sizeof ranges);
	ck_assert_int_eq(neighbours_new(&n), 0);
	ck_assert_uint_eq(neighbours_ranges(n), 0);
	neighbours_set_ranges(n, &t, 5);
	ck_assert_ptr_null(t.ranges);
	ck_assert_uint_eq(neighbours_ranges(n), 5);
}

static void teardown(void) { neighbours_free(n); }

START_TEST(guesses_by_range)
{
	ck_assert_uint_eq(neighbours_guess(n, 0), 0);
	ck_assert_uint_eq(neighbours_guess(n, 1000), 1000);
	ck_assert_uint_eq(neighbours_guess(n, 100000), 1000);
	ck_assert_uint_eq(neighbours_guess(n, 165535), 1000);
	ck_assert_uint_eq(neighbours_guess(n, 165536), 1001);
	ck_assert_uint_eq(neighbours_guess(n, 500001), OF(NEIGHBOUR_RANGE, 500000));
	ck_assert_uint_eq(neighbours_guess(n, 4000000000u), 4000000000u);
}
END_TEST

START_TEST(learns_and_forgets)
{
	neighbours_learn(n, 500001, OF(NEIGHBOUR_USER_NS, 7), SECOND);
	ck_assert_uint_eq(neighbours_guess(n, 500001), OF(NEIGHBOUR_USER_NS, 7));
	ck_assert_uint_eq(neighbours_guess(n, 500002), OF(NEIGHBOUR_RANGE, 500000));
	/* what is learned anew is what counts */
	neighbours_learn(n, 500001, OF(NEIGHBOUR_USER_NS, 8), 2 * SECOND);
	ck_assert_uint_eq(neighbours_guess(n, 500001), OF(NEIGHBOUR_USER_NS, 8));
	neighbours_learn(n, 500001, OF(NEIGHBOUR_RANGE, 500000), 3 * SECOND);
	ck_assert_uint_eq(neighbours_guess(n, 500001), OF(NEIGHBOUR_RANGE, 500000));
	/* root is nobody's guess */
	neighbours_learn(n, 0, OF(NEIGHBOUR_PID_NS, 9), 4 * SECOND);
	ck_assert_uint_eq(neighbours_guess(n, 0), 0);
	neighbours_learn(n, 500001, OF(NEIGHBOUR_USER_NS, 7), 5 * SECOND);
	neighbours_learn(n, 1, 1, 70 * SECOND);
	ck_assert_uint_eq(neighbours_guess(n, 500001), OF(NEIGHBOUR_RANGE, 500000));
}
END_TEST

START_TEST(no_neighbour_flushes_what_was_learned_of_others)
{
	enum { OTHERS = 200 };

	for (uint32_t k = 0; k < OTHERS; k++)
		neighbours_learn(n, 600000 + k, OF(NEIGHBOUR_USER_NS, k + 1), SECOND);
	unsigned known = 0, kept = 0;
	for (uint32_t k = 0; k < OTHERS; k++)
		known += neighbours_guess(n, 600000 + k) == OF(NEIGHBOUR_USER_NS, k + 1);
	ck_assert_uint_eq(known, OTHERS);
	for (uint32_t k = 0; k < 200000; k++) /* one container with all the uids that it likes */
		neighbours_learn(n, 2000000 + k, OF(NEIGHBOUR_PID_NS, 9), 2 * SECOND);
	for (uint32_t k = 0; k < OTHERS; k++)
		kept += neighbours_guess(n, 600000 + k) == OF(NEIGHBOUR_USER_NS, k + 1);
	ck_assert_uint_eq(kept, OTHERS);
	ck_assert_uint_eq(neighbours_guess(n, 2000000 + 199999), OF(NEIGHBOUR_PID_NS, 9));
	/* another neighbour still finds room beside it */
	for (uint32_t k = 0; k < 512; k++)
		neighbours_learn(n, 3000000 + k, OF(NEIGHBOUR_PID_NS, 10), 3 * SECOND);
	known = 0;
	for (uint32_t k = 0; k < 512; k++)
		known += neighbours_guess(n, 3000000 + k) == OF(NEIGHBOUR_PID_NS, 10);
	ck_assert_uint_ge(known, 500);
}
END_TEST

/* What can be guessed is not kept: a user with all its uids in a namespace of its own costs no place. */
START_TEST(keeps_only_what_a_guess_would_not_say)
{
	for (uint32_t k = 0; k < 512 * 8; k++)
		neighbours_learn(n, 600000 + k, OF(NEIGHBOUR_PID_NS, k), SECOND);
	unsigned before = 0, after = 0;
	for (uint32_t k = 0; k < 512 * 8; k++)
		before += neighbours_guess(n, 600000 + k) == OF(NEIGHBOUR_PID_NS, k);
	for (uint32_t k = 0; k < 65536; k++)
		neighbours_learn(n, 100000 + k, 1000, SECOND);
	for (uint32_t k = 0; k < 512 * 8; k++)
		after += neighbours_guess(n, 600000 + k) == OF(NEIGHBOUR_PID_NS, k);
	ck_assert_uint_eq(before, after);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("neighbour");
	TCase *facts = tcase_create("facts"), *guesses = tcase_create("guesses");

	suite_add_tcase(s, facts);
	tcase_add_loop_test(facts, tells_neighbours_apart, 0, (int)(sizeof cases / sizeof *cases));
	tcase_add_test(facts, a_cgroup_tells_containers_from_root);
	tcase_add_test(facts, containers_of_the_hosts_pid_namespace_are_told_apart_by_their_cgroup);
	tcase_add_test(facts, prints_for_people);
	suite_add_tcase(s, guesses);
	tcase_add_checked_fixture(guesses, setup, teardown);
	tcase_set_timeout(guesses, 60);
	tcase_add_test(guesses, guesses_by_range);
	tcase_add_test(guesses, learns_and_forgets);
	tcase_add_test(guesses, no_neighbour_flushes_what_was_learned_of_others);
	tcase_add_test(guesses, keeps_only_what_a_guess_would_not_say);
	return run_suite(s);
}
