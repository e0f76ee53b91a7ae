#include "fs/common/timefmt.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "fs/common/exitcode.h"
#include "suite.h"

#define S   1000000000ll
#define NOW (1790000000ll * S)

START_TEST(reads_rfc3339_with_an_offset)
{
	static const struct {
		const char *text;
		int64_t ns;
	} t[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-08-01T12:00:00Z", 1785585600ll * S },
		{ "2026-08-01t12:00:00z", 1785585600ll * S },
		{ "2026-08-01 14:00:00+02:00", 1785585600ll * S },
		{ "2026-08-01T05:30:00.25-06:30", 1785585600ll * S + 250000000 },
		{ "2026-08-01T12:00:00.000000001Z", 1785585600ll * S + 1 },
		{ "2000-02-29T00:00:00Z", 951782400ll * S },
		{ "2016-12-31T23:59:60Z", 1483228800ll * S },
		{ "1969-12-31T23:59:59.5Z", -S / 2 },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int64_t ns = 42;
		ck_assert_int_eq(time_parse_rfc3339(t[i].text, &ns), 0);
		ck_assert_int_eq(ns, t[i].ns);
	}
}
END_TEST

START_TEST(refuses_what_is_no_time)
{
	static const struct {
		const char *text;
		int error;
	} t[] = {
		{ "", EINVAL },
		{ "tomorrow", EINVAL },
		{ "2026-08-01", EINVAL },
		{ "2026-08-01T12:00:00", EINVAL },
		{ "2026-08-01T12:00Z", EINVAL },
		{ "2026-02-29T00:00:00Z", EINVAL },
		{ "1900-02-29T00:00:00Z", EINVAL },
		{ "2026-13-01T00:00:00Z", EINVAL },
		{ "2026-00-01T00:00:00Z", EINVAL },
		{ "2026-01-32T00:00:00Z", EINVAL },
		{ "2026-01-01T24:00:00Z", EINVAL },
		{ "2026-01-01T00:60:00Z", EINVAL },
		{ "2026-01-01T00:00:61Z", EINVAL },
		{ "2026-01-01T00:00:00.Z", EINVAL },
		{ "2026-01-01T00:00:00.1234567890Z", EINVAL },
		{ "2026-01-01T00:00:00+24:00", EINVAL },
		{ "2026-01-01T00:00:00+0200", EINVAL },
		{ "2026-01-01T00:00:00Zx", EINVAL },
		{ " 2026-01-01T00:00:00Z", EINVAL },
		{ "9999-12-31T00:00:00Z", ERANGE },
		{ "0000-01-01T00:00:00Z", ERANGE },
		{ "12", EINVAL },
		{ "d", EINVAL },
		{ "-1d", EINVAL },
		{ "+1d", EINVAL },
		{ "1y", EINVAL },
		{ "1d ", EINVAL },
		{ "1h1d", EINVAL },
		{ "1d1d", EINVAL },
		{ "1.5h", EINVAL },
		{ "99999999999999999999s", ERANGE },
		{ "99999999w", ERANGE },
		{ "9223372036s", ERANGE },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int64_t ns = 42;
		ck_assert_msg(time_parse(t[i].text, NOW, &ns) == -t[i].error, "%s", t[i].text);
		ck_assert_int_eq(ns, 42);
	}
}
END_TEST

START_TEST(counts_spans_from_now)
{
	int64_t ns;

	ck_assert_int_eq(time_parse("90d", NOW, &ns), 0);
	ck_assert_int_eq(ns, NOW + 90 * 86400 * S);
	ck_assert_int_eq(time_parse("2w", NOW, &ns), 0);
	ck_assert_int_eq(ns, NOW + 14 * 86400 * S);
	ck_assert_int_eq(time_parse("1h30m5s", NOW, &ns), 0);
	ck_assert_int_eq(ns, NOW + 5405 * S);
	ck_assert_int_eq(time_parse_since("12h", NOW, &ns), 0);
	ck_assert_int_eq(ns, NOW - 12 * 3600 * S);
}
END_TEST

START_TEST(prints_what_it_reads)
{
	static const char *const t[] = {
		"1970-01-01T00:00:00Z",   "2026-08-01T12:00:00.25Z", "2026-08-01T12:00:00.000000001Z",
		"1969-12-31T23:59:59.5Z", "2262-04-11T23:47:16Z",    "1677-09-21T00:12:44Z",
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char text[TIME_TEXT_MAX];
		int64_t ns;
		ck_assert_int_eq(time_parse_rfc3339(t[i], &ns), 0);
		time_print(ns, text);
		ck_assert_str_eq(text, t[i]);
	}
}
END_TEST

START_TEST(maps_errno_to_exit_status)
{
	ck_assert_int_eq(exit_for_errno(0), EXIT_DONE);
	ck_assert_int_eq(exit_for_errno(-EACCES), EXIT_DENIED);
	ck_assert_int_eq(exit_for_errno(ENOKEY), EXIT_UNAVAILABLE);
	ck_assert_int_eq(exit_for_errno(EXDEV), EXIT_ERROR);
	ck_assert_str_eq(errno_symbol(-EEXIST), "EEXIST");
	ck_assert_int_eq(errno_from_symbol("ENOENT"), ENOENT);
	ck_assert_int_eq(errno_from_symbol("nonsense"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("timefmt");
	TCase *tc = tcase_create("timefmt");

	tcase_add_test(tc, reads_rfc3339_with_an_offset);
	tcase_add_test(tc, refuses_what_is_no_time);
	tcase_add_test(tc, counts_spans_from_now);
	tcase_add_test(tc, prints_what_it_reads);
	tcase_add_test(tc, maps_errno_to_exit_status);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
