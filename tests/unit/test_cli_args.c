#include "fs/cli/common/args.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static const struct option_spec own[] = {
	{ .name = "file", .value = "FILE" },
	{ .name = "tag", .value = "K=V", .many = true },
	{ .name = "trim" },
	{ .name = NULL },
};
static const struct option_spec common[] = { { .name = "mount", .letter = 'm', .value = "DIR" },
					     { .name = "help", .letter = 'h' },
					     { .name = NULL } };
static const struct option_spec *const tables[] = { own, common, NULL };

static struct args a;
static char why[256];

/* Values are borrowed from argv: like the real one, these live as long as the process. */
static int parse_words(size_t n, const char *const *words)
{
	static char kept[16][64];
	char *argv[16];

	for (size_t i = 0; i < n; i++) {
		snprintf(kept[i], sizeof(kept[i]), "%s", words[i]);
		argv[i] = kept[i];
	}
	why[0] = '\0';
	return args_parse(n, argv, tables, &a, why, sizeof(why));
}

#define PARSE(...) \
	parse_words(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), (const char *const[]){ __VA_ARGS__ })

START_TEST(takes_options_between_operands)
{
	ck_assert_int_eq(PARSE("db", "--file", "f", "--trim", "x", "-m", "/v"), 0);
	ck_assert_uint_eq(a.n_operands, 2);
	ck_assert_str_eq(a.operands[0], "db");
	ck_assert_str_eq(a.operands[1], "x");
	ck_assert_str_eq(args_value(&a, "file"), "f");
	ck_assert_str_eq(args_value(&a, "mount"), "/v");
	ck_assert(args_has(&a, "trim"));
	ck_assert(!args_has(&a, "help"));
	args_free(&a);
}
END_TEST

START_TEST(takes_values_behind_an_equals_sign_or_letter)
{
	ck_assert_int_eq(PARSE("--file=a=b", "-m/v", "--tag="), 0);
	ck_assert_str_eq(args_value(&a, "file"), "a=b");
	ck_assert_str_eq(args_value(&a, "mount"), "/v");
	ck_assert_str_eq(args_value(&a, "tag"), "");
	args_free(&a);
}
END_TEST

START_TEST(ends_options_at_two_dashes)
{
	ck_assert_int_eq(PARSE("--", "--trim", "--"), 0);
	ck_assert_uint_eq(a.n_operands, 2);
	ck_assert_str_eq(a.operands[0], "--trim");
	ck_assert_str_eq(a.operands[1], "--");
	ck_assert(!args_has(&a, "trim"));
	args_free(&a);
}
END_TEST

START_TEST(keeps_a_dash_as_operand_and_as_value)
{
	ck_assert_int_eq(PARSE("-", "--file", "-"), 0);
	ck_assert_str_eq(a.operands[0], "-");
	ck_assert_str_eq(args_value(&a, "file"), "-");
	args_free(&a);
}
END_TEST

START_TEST(collects_options_that_may_repeat)
{
	ck_assert_int_eq(PARSE("--tag", "a=1", "--trim", "--tag", "b=2"), 0);
	ck_assert_str_eq(args_nth(&a, "tag", 0), "a=1");
	ck_assert_str_eq(args_nth(&a, "tag", 1), "b=2");
	ck_assert_ptr_null(args_nth(&a, "tag", 2));
	args_free(&a);
}
END_TEST

START_TEST(refuses_what_makes_no_sense)
{
	ck_assert_int_eq(PARSE("--file", "a", "--file", "b"), -EINVAL);
	ck_assert_str_eq(why, "option --file is given twice");
	ck_assert_int_eq(PARSE("--file"), -EINVAL);
	ck_assert_str_eq(why, "option --file needs a value: --file FILE");
	ck_assert_int_eq(PARSE("--trim=yes"), -EINVAL);
	ck_assert_str_eq(why, "option --trim takes no value");
	ck_assert_int_eq(PARSE("-hm"), -EINVAL);
	ck_assert_int_eq(PARSE("-x"), -EINVAL);
	ck_assert_int_eq(PARSE("--fil", "x"), -EINVAL);
	ck_assert_str_eq(why, "unknown option --fil; did you mean --file?");
	ck_assert_int_eq(PARSE("--secretvalue=hunter2"), -EINVAL);
	ck_assert_str_eq(why, "unknown option --secretvalue");
}
END_TEST

START_TEST(stops_before_the_command)
{
	char m[] = "-m", v[] = "/v", list[] = "list", help[] = "--help";
	char *argv[] = { m, v, list, help };

	ck_assert_int_eq(args_parse_leading(4, argv, tables, &a, why, sizeof(why)), 0);
	ck_assert_uint_eq(a.used, 2);
	ck_assert_uint_eq(a.n_operands, 0);
	ck_assert(!args_has(&a, "help"));
	args_free(&a);
}
END_TEST

START_TEST(measures_distance_between_words)
{
	ck_assert_uint_eq(args_distance("", ""), 0);
	ck_assert_uint_eq(args_distance("list", "list"), 0);
	ck_assert_uint_eq(args_distance("lst", "list"), 1);
	ck_assert_uint_eq(args_distance("", "abc"), 3);
	ck_assert_uint_eq(args_distance("kitten", "sitting"), 3);
	ck_assert_uint_eq(args_distance("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""), 32);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cli_args");
	TCase *t = tcase_create("args");

	tcase_add_test(t, takes_options_between_operands);
	tcase_add_test(t, takes_values_behind_an_equals_sign_or_letter);
	tcase_add_test(t, ends_options_at_two_dashes);
	tcase_add_test(t, keeps_a_dash_as_operand_and_as_value);
	tcase_add_test(t, collects_options_that_may_repeat);
	tcase_add_test(t, refuses_what_makes_no_sense);
	tcase_add_test(t, stops_before_the_command);
	tcase_add_test(t, measures_distance_between_words);
	suite_add_tcase(s, t);
	return run_suite(s);
}
