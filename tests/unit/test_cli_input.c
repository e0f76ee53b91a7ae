#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/cli/common/input.h"
#include "store/keys/envelope.h"
#include "suite.h"

START_TEST(trims_exactly_one_newline)
{
	static const struct {
		const char *text;
		size_t len, left;
	} cases[] = {
		{ "", 0, 0 },          { "\n", 1, 0 },    { "\r\n", 2, 0 },  { "\r", 1, 1 },
		{ "a", 1, 1 },         { "a\n", 2, 1 },   { "a\r\n", 3, 1 }, { "a\n\n", 3, 2 },
		{ "a\r\n\r\n", 5, 3 }, { "a\n\r", 3, 3 }, { "a\0\n", 3, 2 }, { "\0", 1, 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_uint_eq(input_trimmed(cases[i].text, cases[i].len), cases[i].left);
}
END_TEST

static int file_of(size_t len)
{
	int fd = memfd_create("value", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	if (len > 0)
		ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)len - 1), 1);
	return fd;
}

static int read_len(size_t len, size_t *ret_len)
{
	struct secbuf *b;
	int fd = file_of(len), r;

	ck_assert_int_eq(input_prepare(1), 0);
	b = input_buffer();
	ck_assert_ptr_nonnull(b);
	r = input_read(fd, b);
	*ret_len = secbuf_len(b);
	if (r == 0 && len > 0)
		ck_assert_int_eq(secbuf_cdata(b)[len - 1], 'x');
	secbuf_free(b);
	close(fd);
	return r;
}

START_TEST(reads_values_up_to_the_limit)
{
	size_t n;

	ck_assert_int_eq(read_len(0, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(read_len(70000, &n), 0);
	ck_assert_uint_eq(n, 70000);
	ck_assert_int_eq(read_len(VALUE_MAX, &n), 0);
	ck_assert_uint_eq(n, VALUE_MAX);
}
END_TEST

START_TEST(refuses_longer_values_and_keeps_nothing)
{
	size_t n;

	ck_assert_int_eq(read_len(VALUE_MAX + 1, &n), -EFBIG);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(read_len(3 * VALUE_MAX, &n), -EFBIG);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(reports_a_read_that_fails)
{
	struct secbuf *b;
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_eq(input_prepare(1), 0);
	b = input_buffer();
	ck_assert_int_eq(input_read(fd, b), -EISDIR);
	ck_assert_uint_eq(secbuf_len(b), 0);
	secbuf_free(b);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cli_input");
	TCase *t = tcase_create("input");

	tcase_add_test(t, trims_exactly_one_newline);
	tcase_add_test(t, reads_values_up_to_the_limit);
	tcase_add_test(t, refuses_longer_values_and_keeps_nothing);
	tcase_add_test(t, reports_a_read_that_fails);
	suite_add_tcase(s, t);
	return run_suite(s);
}
