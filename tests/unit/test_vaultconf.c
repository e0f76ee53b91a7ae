#include "kek_support.h"
#include "store/keys/vaultconf.h"

#define GOOD                                                                                                      \
	"format = 1\nname = default\nid = 000102030405060708090a0b0c0d0e0f\nkek = file:/etc/coffer/default.kek\n" \
	"kek_params = scrypt:x\nvault_record = 43465731\n"

static char why[256];

static int parse(const char *text)
{
	struct vaultconf c, untouched;
	int r;

	memset(&c, 0x5a, sizeof(c));
	memset(&untouched, 0x5a, sizeof(untouched));
	why[0] = '\0';
	r = vaultconf_parse(text, strlen(text), &c, why, sizeof(why));
	if (r < 0) {
		ck_assert_mem_eq(&c, &untouched, sizeof(c));
		ck_assert_msg(why[0] && !strchr(why, '\n'), "no line");
	}
	return r;
}

static struct vaultconf sample(void)
{
	struct vaultconf c = {
		.name = "default", .id = { 1, 2, 3 }, .kek = "file:/etc/coffer/default.kek", .vault_record_len = 596
	};

	for (size_t i = 0; i < c.vault_record_len; i++)
		c.vault_record[i] = (uint8_t)(i * 7);
	return c;
}

static const char *const good[] = {
	GOOD,
	"# comment\n\n" GOOD "#\n",
	"format = 1\nvault_record = 00\nkek = passphrase:\nid = 000102030405060708090a0b0c0d0e0f\nname = a\n",
	"format = 1\nvault_record = 00\nkek = file:/schl\xc3\xbcssel/\xe9\x8d\xb5 \xf0\x9f\x94\x91\nid = "
	"000102030405060708090a0b0c0d0e0f\nname = 0-a\n",
	"format = 1\nvault_record = 00\nkek = file:/a = b\nid = 000102030405060708090a0b0c0d0e0f\nname = 0-a\n",
};

START_TEST(accepts)
{
	ck_assert_msg(parse(good[_i]) == 0, "%s", why);
}
END_TEST

#define BODY "id = 000102030405060708090a0b0c0d0e0f\nkek = passphrase:\nvault_record = 00\n"

static const struct {
	const char *text;
	int r;
} bad[] = {
	{ "", -EINVAL },
	{ "\n", -EINVAL },
	{ "format = 2\n" BODY, -EPROTONOSUPPORT },
	{ "format = 10\nnew_key = 1\n", -EPROTONOSUPPORT },
	{ "format = 0\nname = a\n" BODY, -EINVAL },
	{ "format = 01\nname = a\n" BODY, -EINVAL },
	{ "format = -1\nname = a\n" BODY, -EINVAL },
	{ "format = x\nname = a\n" BODY, -EINVAL },
	{ "format = \nname = a\n" BODY, -EINVAL },
	{ "name = a\nformat = 1\n" BODY, -EINVAL },
	{ "name = a\n" BODY, -EINVAL },
	{ "format = 1\n" BODY, -EINVAL },
	{ "format = 1\nname = a\nname = a\n" BODY, -EINVAL },
	{ "format = 1\nname = a\nformat = 1\n" BODY, -EINVAL },
	{ "format = 1\nname = a\nunknown = 1\n" BODY, -EINVAL },
	{ "format = 1\nname = A\n" BODY, -EINVAL },
	{ "format = 1\nname = -a\n" BODY, -EINVAL },
	{ "format = 1\nname = a/b\n" BODY, -EINVAL },
	{ "format = 1\nname = ..\n" BODY, -EINVAL },
	{ "format = 1\nname = \n" BODY, -EINVAL },
	{ "format = 1\nname =  a\n" BODY, -EINVAL },
	{ "format = 1\nname = a \n" BODY, -EINVAL },
	{ "format = 1\nname=a\n" BODY, -EINVAL },
	{ "format = 1\n name = a\n" BODY, -EINVAL },
	{ "format = 1\r\nname = a\r\n" BODY, -EINVAL },
	{ "format = 1\nname = a\tb\n" BODY, -EINVAL },
	{ "format = 1\nname = a\n# caf\xc3\xa9\n" BODY, -EINVAL },
	{ "format = 1\nname = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n" BODY, -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e\nkek = passphrase:\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0F\nkek = passphrase:\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = \nvault_record = 00\n", -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = file:/\xff"
	  "\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = file:/\xc0\xaf"
	  "\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = file:/\xc2\x9b"
	  "\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = file:/\xed\xa0\x80"
	  "\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = file:/\xf4\x90\x80\x80"
	  "\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = file:/\xe9\x8d"
	  "\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = file:/\x7f"
	  "\nvault_record = 00\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = passphrase:\nvault_record = 0\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = passphrase:\nvault_record = 0g\n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = passphrase:\nvault_record = \n",
	  -EINVAL },
	{ "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = passphrase:\nvault_record = 00",
	  -EINVAL },
};

START_TEST(refuses)
{
	int r = parse(bad[_i].text);

	ck_assert_msg(r == bad[_i].r, "%d for %s", r, bad[_i].text);
}
END_TEST

START_TEST(refuses_a_nul_and_too_long_values)
{
	static const char nul[] = "format = 1\nname = a\0\n" BODY;
	struct vaultconf c;
	char text[VAULTCONF_MAX], value[1400];

	ck_assert_int_eq(vaultconf_parse(nul, sizeof(nul) - 1, &c, why, sizeof(why)), -EINVAL);
	memset(value, '0', sizeof(value));
	value[1282] = '\0';
	snprintf(text, sizeof(text),
		 "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = passphrase:\nvault_record = %s\n",
		 value);
	ck_assert_int_eq(parse(text), -EINVAL);
	value[1280] = '\0';
	snprintf(text, sizeof(text),
		 "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = passphrase:\nvault_record = %s\n",
		 value);
	ck_assert_int_eq(parse(text), 0);
	value[1024] = '\0';
	snprintf(text, sizeof(text),
		 "format = 1\nname = a\nid = 000102030405060708090a0b0c0d0e0f\nkek = %s\nvault_record = 00\n", value);
	ck_assert_int_eq(parse(text), -EINVAL);
}
END_TEST

START_TEST(every_truncation_is_damage)
{
	for (size_t n = 0; n < sizeof(GOOD) - 1; n++) {
		struct vaultconf c;
		char *exact = malloc(n + 1);
		memcpy(exact, GOOD, n);
		ck_assert_int_eq(vaultconf_parse(exact, n, &c, why, sizeof(why)), -EINVAL);
		free(exact);
	}
}
END_TEST

START_TEST(reads_what_it_wrote)
{
	struct vaultconf c = sample(), back;
	int dir = open(test_dir, O_PATH | O_DIRECTORY);
	struct stat st;

	write_file("vault.conf.new", "left over", 9, 0600);
	ck_assert_int_eq(vaultconf_write(dir, &c), 0);
	strcpy(c.kek_params, "scrypt:ln=17,r=8,p=1,salt=00");
	ck_assert_int_eq(vaultconf_write(dir, &c), 0);
	ck_assert_int_eq(stat(path_of("vault.conf"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0644);
	ck_assert_int_eq(access(path_of("vault.conf.new"), F_OK), -1);
	ck_assert_int_eq(vaultconf_read(dir, &back, why, sizeof(why)), 0);
	ck_assert_str_eq(back.name, c.name);
	ck_assert_mem_eq(back.id, c.id, 16);
	ck_assert_str_eq(back.kek, c.kek);
	ck_assert_str_eq(back.kek_params, c.kek_params);
	ck_assert_uint_eq(back.vault_record_len, c.vault_record_len);
	ck_assert_mem_eq(back.vault_record, c.vault_record, c.vault_record_len);
	close(dir);
}
END_TEST

START_TEST(writes_nothing_that_it_would_not_read)
{
	struct vaultconf c = sample();
	int dir = open(test_dir, O_RDONLY | O_DIRECTORY);

	strcpy(c.kek, "file:/x\nname = other");
	ck_assert_int_eq(vaultconf_write(dir, &c), -EINVAL);
	c = sample();
	strcpy(c.name, "Not A Name");
	ck_assert_int_eq(vaultconf_write(dir, &c), -EINVAL);
	c = sample();
	c.vault_record_len = 0;
	ck_assert_int_eq(vaultconf_write(dir, &c), -EINVAL);
	c = sample();
	c.vault_record_len = WRAP_RECORD_MAX + 1;
	ck_assert_int_eq(vaultconf_write(dir, &c), -EINVAL);
	ck_assert_int_eq(access(path_of("vault.conf"), F_OK), -1);
	close(dir);
}
END_TEST

START_TEST(refuses_files_that_others_can_change)
{
	static const mode_t modes[] = { 0666, 0664, 0646, 0622 };
	struct vaultconf c;
	int dir = open(test_dir, O_RDONLY | O_DIRECTORY);

	ck_assert_int_eq(vaultconf_read(dir, &c, why, sizeof(why)), -ENOENT);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		write_file("vault.conf", GOOD, sizeof(GOOD) - 1, modes[i]);
		ck_assert_int_eq(vaultconf_read(dir, &c, why, sizeof(why)), -EACCES);
	}
	write_file("vault.conf", GOOD, sizeof(GOOD) - 1, 0644);
	ck_assert_int_eq(vaultconf_read(dir, &c, why, sizeof(why)), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(path_of("vault.conf"), 12345, 0), 0);
		ck_assert_int_eq(vaultconf_read(dir, &c, why, sizeof(why)), -EACCES);
	}
	ck_assert_int_eq(unlink(path_of("vault.conf")), 0);
	ck_assert_int_eq(symlink("link", path_of("vault.conf")), 0);
	ck_assert_int_eq(vaultconf_read(dir, &c, why, sizeof(why)), -EINVAL);
	ck_assert_int_eq(unlink(path_of("vault.conf")), 0);
	ck_assert_int_eq(mkfifo(path_of("vault.conf"), 0600), 0);
	ck_assert_int_eq(vaultconf_read(dir, &c, why, sizeof(why)), -EINVAL);
	close(dir);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vaultconf");
	TCase *t = tcase_create("vaultconf");

	tcase_add_checked_fixture(t, dir_setup, dir_teardown);
	tcase_add_loop_test(t, accepts, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(t, refuses, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(t, refuses_a_nul_and_too_long_values);
	tcase_add_test(t, every_truncation_is_damage);
	tcase_add_test(t, reads_what_it_wrote);
	tcase_add_test(t, writes_nothing_that_it_would_not_read);
	tcase_add_test(t, refuses_files_that_others_can_change);
	suite_add_tcase(s, t);
	return run_suite(s);
}
