#include "fs/common/sizefmt.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "suite.h"

START_TEST(reads_bytes_and_suffixes)
{
	static const struct {
		const char *text;
		uint64_t size;
	} t[] = {
		{ "0", 0 },
		{ "1", 1 },
		{ "65536", 65536 },
		{ "64K", 65536 },
		{ "64k", 65536 },
		{ "1M", 1u << 20 },
		{ "1m", 1u << 20 },
		{ "2G", 2ull << 30 },
		{ "007", 7 },
		{ "1125899906842624", SIZE_PARSE_MAX },
		{ "1048576G", SIZE_PARSE_MAX },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t size = 42;
		ck_assert_msg(size_parse(t[i].text, &size) == 0, "%s", t[i].text);
		ck_assert_uint_eq(size, t[i].size);
	}
}
END_TEST

START_TEST(refuses_other_forms)
{
	static const char *const t[] = {
		"",
		"K",
		"-1",
		"+1",
		" 1",
		"1 ",
		"1 K",
		"1KB",
		"1KK",
		"1T",
		"1.5M",
		"0x10",
		"1e3",
		"ten",
		"1125899906842625",
		"1048577G",
		"18446744073709551616",
		"18446744073709551615K",
		"99999999999999999999999999",
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t size = 42;
		ck_assert_msg(size_parse(t[i], &size) == -EINVAL, "%s", t[i]);
		ck_assert_uint_eq(size, 42);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sizefmt");
	TCase *tc = tcase_create("sizefmt");

	tcase_add_test(tc, reads_bytes_and_suffixes);
	tcase_add_test(tc, refuses_other_forms);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
