/* Was it that one who opened? What a record of the log tells of its caller, old and new. */
#include "fs/cli/commands/suspect.h"

#include <check.h>
#include <stdlib.h>

#define NEW(uid, gid, groups, principal)                                                                            \
	"{\"caller\":{\"uid\":" uid ",\"gid\":" gid ",\"unit\":\"a.service\",\"container\":null,\"groups\":" groups \
	"},\"principal\":" principal "}"
#define OLD(uid, gid) \
	"{\"caller\":{\"uid\":" uid ",\"gid\":" gid ",\"unit\":null,\"container\":\"podman:0123456789abcdef\"}}"

/* Uids that no account has: what accounts are in today is another matter. */
static const struct {
	const char *who, *record;
	enum suspicion is;
} cases[] = {
	{ "user:3999001", NEW("3999001", "3999001", "[]", "null"), SUSPECT_CERTAINLY },
	{ "user:3999001", NEW("3999002", "3999001", "[]", "null"), SUSPECT_NOT },
	{ "user:3999001", OLD("3999001", "1"), SUSPECT_CERTAINLY },
	{ "user:3999001", OLD("-1", "null"), SUSPECT_POSSIBLY }, /* several, counted */
	{ "user:3999001", OLD("null", "null"), SUSPECT_POSSIBLY },
	{ "user:3999001", "{\"caller\":null}", SUSPECT_NOT }, /* the daemon itself */

	{ "group:3999050", NEW("3999001", "3999050", "[]", "null"), SUSPECT_CERTAINLY }, /* primary */
	/* supplementary */
	{ "group:3999050", NEW("3999001", "3999001", "[4,3999050]", "null"), SUSPECT_CERTAINLY },
	{ "group:3999050", NEW("3999001", "3999001", "[4,3999051]", "null"), SUSPECT_NOT },
	/* there were more */
	{ "group:3999050", NEW("3999001", "3999001", "[4,\"...\"]", "null"), SUSPECT_POSSIBLY },
	/* let in by it */
	{ "group:3999050", NEW("3999001", "3999001", "[4,\"...\"]", "\"group:3999050,host\""), SUSPECT_CERTAINLY },
	{ "group:3999050", NEW("3999001", "3999001", "[4,\"...\"]", "\"user:3999001\""), SUSPECT_POSSIBLY },
	{ "group:3999050", NEW("3999001", "3999001", "null", "null"), SUSPECT_POSSIBLY }, /* not known */
	{ "group:3999050", OLD("3999001", "3999001"), SUSPECT_POSSIBLY },                 /* before groups were told */
	{ "group:3999050", OLD("3999001", "3999050"), SUSPECT_CERTAINLY },
	{ "group:3999050", NEW("0", "0", "[]", "null"), SUSPECT_NOT }, /* root's account is known, and not in it */
	/* it may have left a group that its account is in */
	{ "group:0", NEW("0", "3999001", "[]", "null"), SUSPECT_POSSIBLY },

	/* a subordinate uid of the user's */
	{ "user:3999001", "{\"caller\":{\"uid\":3999100,\"gid\":1,\"groups\":[],\"owner\":3999001}}",
	  SUSPECT_CERTAINLY },
	{ "user:3999002", "{\"caller\":{\"uid\":3999100,\"gid\":1,\"groups\":[],\"owner\":3999001}}", SUSPECT_NOT },
	/* the account of the owner */
	{ "group:0", "{\"caller\":{\"uid\":3999100,\"gid\":3999100,\"groups\":[],\"owner\":0}}", SUSPECT_POSSIBLY },

	{ "user:3999001,group:3999050", NEW("3999001", "3999001", "[3999050]", "null"), SUSPECT_CERTAINLY },
	{ "user:3999001,group:3999050", NEW("3999002", "3999001", "[3999050]", "null"), SUSPECT_NOT },
	{ "user:3999001,group:3999050", OLD("3999001", "3999001"), SUSPECT_POSSIBLY },
	{ "group:3999050,group:3999051", NEW("3999001", "3999050", "[]", "null"), SUSPECT_NOT },
	{ "unit:a.service", NEW("1", "1", "[]", "null"), SUSPECT_CERTAINLY },
	{ "unit:b.service", NEW("1", "1", "[]", "null"), SUSPECT_NOT },
	{ "unit:a.service,group:3999050", NEW("3999001", "1", "null", "null"), SUSPECT_POSSIBLY },
	{ "container:0123456789ab", OLD("1", "1"), SUSPECT_CERTAINLY },
	{ "container:podman:0123456789abcdef", OLD("1", "1"), SUSPECT_CERTAINLY },
	{ "container:0123456789ac", OLD("1", "1"), SUSPECT_NOT },
	{ "everyone", OLD("1", "1"), SUSPECT_CERTAINLY },
};

START_TEST(errs_on_the_side_of_more)
{
	struct suspect s = { 0 };
	json_t *record = json_loads(cases[_i].record, 0, NULL);

	ck_assert_ptr_nonnull(record);
	ck_assert_int_eq(suspect_parse(cases[_i].who, &s), EXIT_DONE);
	for (int i = 0; i < 2; i++) /* the second time from what was looked up */
		ck_assert_msg(suspect_look(&s, record) == cases[_i].is, "%s in %s", cases[_i].who, cases[_i].record);
	suspect_free(&s);
	json_decref(record);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("suspect");
	TCase *tc = tcase_create("suspect");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, errs_on_the_side_of_more, 0, (int)(sizeof cases / sizeof *cases));
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
