#include "fs/cli/common/output.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/harmless.h"
#include "suite.h"

static const struct column columns[] = { { "NAME", "name" }, { "N", "n" }, { "TAGS", "tags" } };

static char *render(const char *json)
{
	json_t *rows = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(rows);
	ck_assert_int_eq(output_table(out, rows, columns, 3), 0);
	fclose(out);
	json_decref(rows);
	return text;
}

START_TEST(aligns_columns)
{
	char *text = render("[{\"name\": \"db\", \"n\": 12, \"tags\": {\"a\": \"1\", \"b\": \"2\"}}, {\"name\": "
			    "\"longer-name\", \"n\": null, \"tags\": {}}]");

	ck_assert_str_eq(text, "NAME         N   TAGS\n"
			       "db           12  a=1 b=2\n"
			       "longer-name  -   -\n");
	free(text);
}
END_TEST

START_TEST(counts_characters_and_not_bytes)
{
	char *text = render("[{\"name\": \"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\", \"n\": 1}]");

	ck_assert_str_eq(text, "NAME   N  TAGS\n\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9  1  -\n");
	free(text);
}
END_TEST

START_TEST(prints_nothing_for_no_rows)
{
	char *text = render("[]");

	ck_assert_str_eq(text, "");
	free(text);
}
END_TEST

START_TEST(prints_every_kind_of_value)
{
	static const struct {
		const char *json, *text;
	} cases[] = {
		{ "[true]", "yes" },
		{ "[false]", "no" },
		{ "[null]", "-" },
		{ "[7]", "7" },
		{ "[1.5]", "1.5" },
		{ "[\"x\"]", "x" },
		{ "[[]]", "-" },
		{ "[{}]", "-" },
		{ "[[1, \"a\", null]]", "1 a -" },
		{ "[{\"k\": \"v\", \"l\": 2}]", "k=v l=2" },
		{ "[[{\"a\": 1}]]", "{\"a\":1}" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *list = json_loads(cases[i].json, 0, NULL);
		char *text = output_text(json_array_get(list, 0));

		ck_assert_str_eq(text, cases[i].text);
		free(text);
		json_decref(list);
	}
}
END_TEST

START_TEST(prints_a_dash_for_what_is_missing)
{
	char *text = output_text(NULL);

	ck_assert_str_eq(text, "-");
	free(text);
}
END_TEST

START_TEST(disarms_what_a_terminal_would_obey)
{
	char text[] = "a\x1b[31mb\n\r\x7f\xc2\x9b"
		      "c\xc3\xa9";

	make_harmless(text);
	ck_assert_str_eq(text, "a?[31mb?????c\xc3\xa9");
}
END_TEST

START_TEST(disarms_what_turns_a_line_and_what_is_no_text)
{
	static const struct {
		const char *text, *harmless;
	} cases[] = {
		{ "a\xe2\x80\xaetxt.exe", "a???txt.exe" },
		{ "\xe2\x81\xa6x\xe2\x81\xa9", "???x???" },
		{ "\xd8\x9c", "??" },
		{ "\xe2\x80\xa8", "???" },
		{ "\x9b"
		  "31m",
		  "?31m" },
		{ "\xc0\x9b", "??" },
		{ "\xe2\x80", "??" },
		{ "\xf0\x9f\x94\x91", "\xf0\x9f\x94\x91" },
		{ "\xed\xa0\x80", "???" },
		{ "\xf5\x80\x80\x80", "????" },
		{ "\xe2\x82\xac", "\xe2\x82\xac" },
		{ "", "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = strdup(cases[i].text);

		make_harmless(text);
		ck_assert_str_eq(text, cases[i].harmless);
		free(text);
	}
}
END_TEST

START_TEST(json_has_nothing_that_a_terminal_obeys_and_means_the_same)
{
	json_t *value = json_loads("{\"k\": \"\\u009b31m \\u202e \\u007f \\u001b \xc3\xa9 \\u20ac\"}", 0, NULL), *again;
	char *dumped = json_dumps(value, JSON_INDENT(2)), *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	put_harmless_json(out, dumped);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(text, "\\u009b31m \\u202e \\u007f \\u001B \xc3\xa9 \xe2\x82\xac"));
	again = json_loads(text, 0, NULL);
	ck_assert(json_equal(value, again));
	json_decref(again);
	json_decref(value);
	free(dumped);
	free(text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cli_output");
	TCase *t = tcase_create("output");

	tcase_add_test(t, aligns_columns);
	tcase_add_test(t, counts_characters_and_not_bytes);
	tcase_add_test(t, prints_nothing_for_no_rows);
	tcase_add_test(t, prints_every_kind_of_value);
	tcase_add_test(t, prints_a_dash_for_what_is_missing);
	tcase_add_test(t, disarms_what_a_terminal_would_obey);
	tcase_add_test(t, disarms_what_turns_a_line_and_what_is_no_text);
	tcase_add_test(t, json_has_nothing_that_a_terminal_obeys_and_means_the_same);
	suite_add_tcase(s, t);
	return run_suite(s);
}
