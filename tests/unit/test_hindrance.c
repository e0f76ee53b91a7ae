#include "fs/ctl/hindrance.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "suite.h"

#define NOW 1000

static const struct store_settings enforced = { .enforce_validity = true }, lax = { .enforce_validity = false };

/* A secret with version 1 in the given state, and version 2, newer, disabled. */
struct fixture {
	struct catalog_version versions[2];
	struct catalog_secret secret;
};

static struct fixture sound(void)
{
	return (struct fixture){
		.versions = { { .number = 1, .not_before = INT64_MIN, .expires = INT64_MAX, .enabled = true },
			      { .number = 2, .not_before = INT64_MIN, .expires = INT64_MAX } },
		.secret = { .id = 1, .enabled = true, .n_versions = 2, .current = 1 }
	};
}

static void disable(struct fixture *f) { f->secret.enabled = false; }
static void soft_delete(struct fixture *f) { f->secret.deleted = true; }
static void withdraw(struct fixture *f)
{
	f->versions[0].enabled = false;
	f->secret.current = 0;
}
static void destroy(struct fixture *f)
{
	withdraw(f);
	f->versions[0].destroyed = true;
}
static void never_had_one(struct fixture *f)
{
	f->secret.n_versions = 0;
	f->secret.current = 0;
}
static void expire(struct fixture *f) { f->versions[0].expires = NOW; }
static void postpone(struct fixture *f) { f->versions[0].not_before = NOW + 1; }
static void nothing(struct fixture *f) { (void)f; }
static void disable_and_expire(struct fixture *f)
{
	disable(f);
	expire(f);
}
static void delete_and_destroy(struct fixture *f)
{
	soft_delete(f);
	destroy(f);
}

/* By use: read, read and write, copy, write. */
static const struct {
	const char *name;
	void (*change)(struct fixture *f);
	enum hindrance newest[4], version[4];
} cases[] = {
	{ "sound", nothing, { 0, 0, 0, 0 }, { 0, 0, 0, 0 } },
	{ "disabled",
	  disable,
	  { HINDRANCE_DISABLED, HINDRANCE_DISABLED, HINDRANCE_DISABLED, HINDRANCE_DISABLED },
	  { HINDRANCE_DISABLED, HINDRANCE_DISABLED, HINDRANCE_DISABLED, HINDRANCE_DISABLED } },
	{ "deleted",
	  soft_delete,
	  { HINDRANCE_DELETED, HINDRANCE_DELETED, HINDRANCE_DELETED, HINDRANCE_DELETED },
	  { HINDRANCE_DELETED, HINDRANCE_DELETED, HINDRANCE_DELETED, HINDRANCE_DELETED } },
	{ "withdrawn",
	  withdraw,
	  { HINDRANCE_NONE_ENABLED, 0, 0, 0 },
	  { HINDRANCE_VERSION_DISABLED, HINDRANCE_VERSION_DISABLED, HINDRANCE_VERSION_DISABLED,
	    HINDRANCE_VERSION_DISABLED } },
	{ "destroyed",
	  destroy,
	  { HINDRANCE_NONE_ENABLED, 0, 0, 0 },
	  { HINDRANCE_DESTROYED, HINDRANCE_DESTROYED, HINDRANCE_DESTROYED, HINDRANCE_DESTROYED } },
	{ "without a version",
	  never_had_one,
	  { HINDRANCE_NO_VERSION, 0, 0, 0 },
	  { HINDRANCE_DESTROYED, HINDRANCE_DESTROYED, HINDRANCE_DESTROYED, HINDRANCE_DESTROYED } },
	{ "expired",
	  expire,
	  { HINDRANCE_EXPIRED, HINDRANCE_EXPIRED, HINDRANCE_EXPIRED, 0 },
	  { HINDRANCE_EXPIRED, HINDRANCE_EXPIRED, HINDRANCE_EXPIRED, 0 } },
	{ "not yet valid",
	  postpone,
	  { HINDRANCE_NOT_YET_VALID, HINDRANCE_NOT_YET_VALID, HINDRANCE_NOT_YET_VALID, 0 },
	  { HINDRANCE_NOT_YET_VALID, HINDRANCE_NOT_YET_VALID, HINDRANCE_NOT_YET_VALID, 0 } },
	{ "disabled and expired",
	  disable_and_expire,
	  { HINDRANCE_DISABLED, HINDRANCE_DISABLED, HINDRANCE_DISABLED, HINDRANCE_DISABLED },
	  { HINDRANCE_DISABLED, HINDRANCE_DISABLED, HINDRANCE_DISABLED, HINDRANCE_DISABLED } },
	{ "deleted and destroyed",
	  delete_and_destroy,
	  { HINDRANCE_DELETED, HINDRANCE_DELETED, HINDRANCE_DELETED, HINDRANCE_DELETED },
	  { HINDRANCE_DELETED, HINDRANCE_DELETED, HINDRANCE_DELETED, HINDRANCE_DELETED } },
};

START_TEST(each_state_hinders_as_it_should)
{
	struct fixture f = sound();

	f.secret.versions = f.versions;
	cases[_i].change(&f);
	const struct catalog_version *v = f.secret.n_versions ? &f.versions[0] : NULL;
	for (int use = USE_READ; use <= USE_WRITE; use++) {
		ck_assert_msg(hindrance_of_newest(&f.secret, (enum use)use, &enforced, NOW) == cases[_i].newest[use],
			      "%s, newest, use %d", cases[_i].name, use);
		ck_assert_msg(hindrance_of_version(&f.secret, v, (enum use)use, &enforced, NOW) ==
				      cases[_i].version[use],
			      "%s, version, use %d", cases[_i].name, use);
	}
}
END_TEST

START_TEST(times_count_only_where_they_are_enforced)
{
	struct fixture f = sound();

	f.secret.versions = f.versions;
	expire(&f);
	ck_assert_int_eq(hindrance_of_newest(&f.secret, USE_READ, &lax, NOW), HINDRANCE_NONE);
	ck_assert_int_eq(hindrance_of_newest(&f.secret, USE_READ, &enforced, NOW - 1), HINDRANCE_NONE);
}
END_TEST

START_TEST(what_is_not_there_is_absent)
{
	ck_assert_int_eq(hindrance_of_newest(NULL, USE_WRITE, &lax, NOW), HINDRANCE_ABSENT);
	ck_assert_int_eq(hindrance_of_version(NULL, NULL, USE_READ, &lax, NOW), HINDRANCE_ABSENT);
	ck_assert(hindrance_is_absence(HINDRANCE_ABSENT));
	ck_assert(!hindrance_is_absence(HINDRANCE_NO_VERSION));
}
END_TEST

START_TEST(each_has_an_errno_and_words)
{
	ck_assert_int_eq(hindrance_errno(HINDRANCE_NONE), 0);
	for (int h = HINDRANCE_NONE + 1; h < HINDRANCES; h++) {
		ck_assert_int_gt(hindrance_errno((enum hindrance)h), 0);
		ck_assert_ptr_nonnull(hindrance_words((enum hindrance)h));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hindrance");
	TCase *tc = tcase_create("hindrance");

	tcase_add_loop_test(tc, each_state_hinders_as_it_should, 0, (int)(sizeof cases / sizeof *cases));
	tcase_add_test(tc, times_count_only_where_they_are_enforced);
	tcase_add_test(tc, what_is_not_there_is_absent);
	tcase_add_test(tc, each_has_an_errno_and_words);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
