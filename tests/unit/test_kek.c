#include <openssl/ec.h>

#include "kek_support.h"
#include "store/crypto/secbuf.h"
#include "store/keys/kek.h"
#include "store/keys/kek_provider.h"

static char why[KEK_WHY_MAX], params[KEK_PARAMS_MAX];

static int try_open(const char *uri, const char *kek_params, const void *passphrase, size_t len)
{
	struct kek_source src = {
		.uri = uri, .params = kek_params, .fd = -1, .passphrase = passphrase, .passphrase_len = len
	};
	struct kek *k = NULL;
	size_t used = arena_used();
	int r;

	why[0] = '\0';
	r = kek_open(&src, &k, why, sizeof(why));
	if (r < 0) {
		ck_assert_ptr_null(k);
		ck_assert_msg(why[0] && !strchr(why, '\n'), "no line for %d", r);
		(void)used;
	}
	kek_close(k);
	return r;
}

static int try_create(const char *uri, const void *passphrase, size_t len, struct kek **ret_kek)
{
	struct kek_source src = { .uri = uri, .fd = -1, .passphrase = passphrase, .passphrase_len = len };

	why[0] = '\0';
	return kek_create(&src, params, ret_kek, why, sizeof(why));
}

static void works(struct kek *k)
{
	uint8_t key[KEY_LEN], back[KEY_LEN], wrapped[KEK_WRAPPED_MAX];
	size_t len = 0;

	ck_assert_int_eq(random_bytes(key, KEY_LEN), 0);
	ck_assert_int_eq(kek_wrap(k, key, wrapped, &len), 0);
	ck_assert_uint_eq(len, kek_alg(k) == KEK_ALG_AES_KW ? 40 : 256);
	ck_assert_int_eq(kek_unwrap(k, wrapped, len, back), 0);
	ck_assert_mem_eq(key, back, KEY_LEN);
	ck_assert_int_eq(kek_unwrap(k, wrapped, len - 1, back), -EBADMSG);
	wrapped[len - 1] ^= 1;
	ck_assert_int_eq(kek_unwrap(k, wrapped, len, back), -EBADMSG);
}

START_TEST(file_is_made_private_and_opens_again)
{
	struct kek *k = file_kek(), *again;
	uint8_t id[KEK_ID_LEN], id_again[KEK_ID_LEN];
	struct stat st;

	ck_assert_int_eq(stat(path_of("kek"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, 32);
	works(k);
	again = open_kek(uri_of("kek"), NULL, NULL);
	kek_id(k, id);
	kek_id(again, id_again);
	ck_assert_mem_eq(id, id_again, KEK_ID_LEN);
	ck_assert_str_eq(kek_provider(k), "file");
	kek_close(k);
	kek_close(again);
}
END_TEST

START_TEST(file_is_never_overwritten)
{
	struct kek *k = file_kek(), *other = NULL;
	uint8_t before[32], after[32];
	int fd = open(path_of("kek"), O_RDONLY);

	ck_assert_int_eq(read(fd, before, 32), 32);
	ck_assert_int_eq(try_create(uri_of("kek"), NULL, 0, &other), -EEXIST);
	ck_assert_ptr_null(other);
	ck_assert_int_eq(pread(fd, after, 32, 0), 32);
	ck_assert_mem_eq(before, after, 32);
	close(fd);
	kek_close(k);
}
END_TEST

START_TEST(file_that_others_can_use_is_refused)
{
	static const mode_t modes[] = { 0640, 0604, 0620, 0602, 0610, 0660, 0644 };
	uint8_t key[32] = { 1 };

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		write_file("kek", key, 32, modes[i]);
		ck_assert_int_eq(try_open(uri_of("kek"), NULL, NULL, 0), -EACCES);
		ck_assert_ptr_nonnull(strstr(why, "chmod 600 /"));
	}
	write_file("kek", key, 32, 0400);
	ck_assert_int_eq(try_open(uri_of("kek"), NULL, NULL, 0), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(path_of("kek"), 12345, 0), 0);
		ck_assert_int_eq(try_open(uri_of("kek"), NULL, NULL, 0), -EACCES);
		ck_assert_ptr_nonnull(strstr(why, "chown root /"));
	}
}
END_TEST

START_TEST(file_of_another_form_is_refused)
{
	uint8_t key[64] = { 1 };
	char *big = calloc(1, 20000), bytes[32];

	for (size_t len = 0; len < 64; len++) {
		if (len == 32)
			continue;
		write_file("kek", key, len, 0600);
		ck_assert_int_eq(try_open(uri_of("kek"), NULL, NULL, 0), -EINVAL);
		snprintf(bytes, sizeof(bytes), "kek has %zu bytes", len);
		ck_assert_ptr_nonnull(strstr(why, bytes));
	}
	write_file("kek", big, 20000, 0600);
	ck_assert_int_eq(try_open(uri_of("kek"), NULL, NULL, 0), -EINVAL);
	ck_assert_int_eq(unlink(path_of("kek")), 0);
	ck_assert_int_eq(try_open(uri_of("kek"), NULL, NULL, 0), -ENOENT);
	ck_assert_int_eq(mkfifo(path_of("kek"), 0600), 0);
	ck_assert_int_eq(try_open(uri_of("kek"), NULL, NULL, 0), -EINVAL);
	ck_assert_int_eq(try_open("file:relative/kek", NULL, NULL, 0), -EINVAL);
	ck_assert_int_eq(try_open("file:", NULL, NULL, 0), -EINVAL);
	ck_assert_int_eq(try_open("file:/tmp", NULL, NULL, 0), -EINVAL);
	ck_assert_int_eq(try_open("files:/tmp/x", NULL, NULL, 0), -EPROTONOSUPPORT);
	ck_assert_int_eq(try_open("pkcs12:x", NULL, NULL, 0), -EPROTONOSUPPORT);
	ck_assert_int_eq(try_open("", NULL, NULL, 0), -EPROTONOSUPPORT);
	ck_assert_int_eq(try_open(NULL, NULL, NULL, 0), -EPROTONOSUPPORT);
	free(big);
}
END_TEST

START_TEST(file_is_read_from_a_descriptor_of_any_offset)
{
	struct kek *k = file_kek(), *by_fd = NULL;
	uint8_t id[KEK_ID_LEN], id_fd[KEK_ID_LEN];
	int fd = open(path_of("kek"), O_RDONLY);
	struct kek_source src = { .uri = "file:/nonexistent/kek", .fd = fd };

	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 32);
	ck_assert_int_eq(kek_open(&src, &by_fd, why, sizeof(why)), 0);
	kek_id(k, id);
	kek_id(by_fd, id_fd);
	ck_assert_mem_eq(id, id_fd, KEK_ID_LEN);
	kek_close(by_fd);
	ck_assert_int_eq(fchmod(fd, 0644), 0);
	ck_assert_int_eq(kek_open(&src, &by_fd, why, sizeof(why)), -EACCES);
	close(fd);
	kek_close(k);
}
END_TEST

START_TEST(file_key_stays_out_of_the_arena_when_closed)
{
	uint8_t key[32];
	struct kek *k;

	ck_assert_int_eq(random_bytes(key, 32), 0);
	write_file("kek", key, 32, 0600);
	k = open_kek(uri_of("kek"), NULL, NULL);
	works(k);
	ck_assert(secmem_contains(key, 32));
	kek_close(k);
	ck_assert(!secmem_contains(key, 16));
	ck_assert(!secmem_contains(key + 16, 16));
}
END_TEST

START_TEST(rsa_wraps_with_oaep_sha256)
{
	struct kek *k = rsa_kek();
	uint8_t key[KEY_LEN] = { 42 }, wrapped[KEK_WRAPPED_MAX], out[512];
	size_t len = 0, n = sizeof(out);
	FILE *f = fopen(path_of("rsa"), "r");
	EVP_PKEY *pkey = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);

	fclose(f);
	ck_assert_int_eq(kek_alg(k), KEK_ALG_RSA_OAEP_256);
	works(k);
	ck_assert_int_eq(kek_wrap(k, key, wrapped, &len), 0);
	ck_assert_int_eq(EVP_PKEY_decrypt_init(ctx), 1);
	ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
	ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()), 1);
	ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()), 1);
	ck_assert_int_eq(EVP_PKEY_decrypt(ctx, out, &n, wrapped, len), 1);
	ck_assert_uint_eq(n, KEY_LEN);
	ck_assert_mem_eq(out, key, KEY_LEN);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	kek_close(k);
}
END_TEST

START_TEST(rsa_of_another_form_is_refused)
{
	static const char broken[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

	write_pem("rsa", EVP_RSA_gen(1024), NULL);
	ck_assert_int_eq(try_open(uri_of("rsa"), NULL, NULL, 0), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "1024 bits"));
	write_pem("rsa", EVP_RSA_gen(2048), "password");
	ck_assert_int_eq(try_open(uri_of("rsa"), NULL, NULL, 0), -EINVAL);
	write_pem("rsa", EVP_EC_gen("P-256"), NULL);
	ck_assert_int_eq(try_open(uri_of("rsa"), NULL, NULL, 0), -EINVAL);
	write_file("rsa", broken, sizeof(broken) - 1, 0600);
	ck_assert_int_eq(try_open(uri_of("rsa"), NULL, NULL, 0), -EINVAL);
}
END_TEST

START_TEST(rsa_key_is_not_in_ordinary_memory)
{
	struct kek *k = rsa_kek();
	size_t used = arena_used();

	/* The key's numbers are in the arena: it shrinks by more than our own structure when the key goes. */
	kek_close(k);
	ck_assert_uint_gt(used - arena_used(), 2048);
}
END_TEST

START_TEST(passphrase_opens_with_its_params_only)
{
	struct kek *k = NULL, *again, *other;
	uint8_t id[KEK_ID_LEN], id_again[KEK_ID_LEN];
	char salted[KEK_PARAMS_MAX];

	ck_assert_int_eq(try_create(CHEAP, "open sesame", 11, &k), 0);
	ck_assert_int_eq(strncmp(params, "scrypt:ln=15,r=8,p=1,salt=", 26), 0);
	ck_assert_uint_eq(strlen(params), 26 + 32);
	works(k);
	kek_id(k, id);
	again = open_kek(CHEAP, params, "open sesame");
	kek_id(again, id_again);
	ck_assert_mem_eq(id, id_again, KEK_ID_LEN);
	other = open_kek(CHEAP, params, "open sesamE");
	kek_id(other, id_again);
	ck_assert_mem_ne(id, id_again, KEK_ID_LEN);
	kek_close(other);
	strcpy(salted, params);
	salted[40] = salted[40] == 'a' ? 'b' : 'a';
	other = open_kek(CHEAP, salted, "open sesame");
	kek_id(other, id_again);
	ck_assert_mem_ne(id, id_again, KEK_ID_LEN);
	kek_close(other);
	kek_close(again);
	kek_close(k);
}
END_TEST

START_TEST(passphrase_must_be_there)
{
	static const char good[] = "scrypt:ln=15,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f";
	static char lengthy[PASSPHRASE_MAX + 1];
	struct kek *k = NULL;

	memset(lengthy, 'x', sizeof(lengthy));
	ck_assert_int_eq(try_create(CHEAP, NULL, 0, &k), -ENOKEY);
	ck_assert_int_eq(try_create(CHEAP, "", 0, &k), -ENOKEY);
	ck_assert_int_eq(try_create(CHEAP, lengthy, sizeof(lengthy), &k), -EINVAL);
	ck_assert_int_eq(try_open(CHEAP, good, NULL, 0), -ENOKEY);
	ck_assert_int_eq(try_open(CHEAP, good, "", 0), -ENOKEY);
	ck_assert_int_eq(try_open(CHEAP, good, lengthy, sizeof(lengthy)), -EINVAL);
	ck_assert_int_eq(try_open(CHEAP, good, lengthy, sizeof(lengthy) - 1), 0);
	ck_assert_ptr_null(k);
}
END_TEST

START_TEST(passphrase_cost_stays_in_its_bounds)
{
	static const char *const bad[] = {
		"",
		"scrypt:",
		"scrypt:ln=14,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f",
		"scrypt:ln=1,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f",
		"scrypt:ln=20,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f",
		"scrypt:ln=015,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f",
		"scrypt:ln=15,r=9,p=1,salt=000102030405060708090a0b0c0d0e0f",
		"scrypt:ln=15,r=8,p=4,salt=000102030405060708090a0b0c0d0e0f",
		"scrypt:ln=15,r=8,p=1,salt=000102030405060708090a0b0c0d0e",
		"scrypt:ln=15,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f ",
		"scrypt:ln=15,r=8,p=1,salt=000102030405060708090A0B0C0D0E0F",
		"scrypt:ln=150,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f",
		"argon2:ln=15,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f",
		"scrypt:ln=-5,r=8,p=1,salt=000102030405060708090a0b0c0d0e0f",
	};
	static const char *const bad_uris[] = { "passphrase:x",       "passphrase:?",      "passphrase:?ln=",
						"passphrase:?ln=14",  "passphrase:?ln=20", "passphrase:?ln=150",
						"passphrase:?ln=15&", "passphrase:?ln=-1" };
	struct kek *k = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(try_open(CHEAP, bad[i], "x", 1) == -EINVAL, "accepts %s", bad[i]);
	ck_assert_int_eq(try_open(CHEAP, NULL, "x", 1), -EINVAL);
	for (size_t i = 0; i < sizeof(bad_uris) / sizeof(bad_uris[0]); i++)
		ck_assert_msg(try_create(bad_uris[i], "x", 1, &k) == -EINVAL, "accepts %s", bad_uris[i]);
}
END_TEST

/* For every n, the n-th allocation of locked memory fails: an error, and nothing stays behind. */
START_TEST(short_of_locked_memory_is_an_error)
{
	const char *uri = uri_of(_i ? "rsa" : "kek");
	struct kek_source src = { .uri = uri, .fd = -1 };
	struct kek *k = _i ? rsa_kek() : file_kek();
	size_t used;
	unsigned long n;
	int r = -1;

	kek_close(k);
	used = arena_used();
	for (n = 1; r < 0; n++) {
		ck_assert_uint_lt(n, 5000);
		k = NULL;
		secmem_fail_nth(n);
		r = kek_open(&src, &k, why, sizeof(why));
		secmem_fail_nth(0);
		ck_assert((r == 0) == (k != NULL));
		kek_close(k);
		ck_assert_msg(arena_used() <= used + 64, "n=%lu leaves %zu bytes", n, arena_used() - used);
	}
	ck_assert_uint_gt(n, 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kek");
	TCase *t = tcase_create("kek");

	tcase_add_checked_fixture(t, dir_setup, dir_teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, file_is_made_private_and_opens_again);
	tcase_add_test(t, file_is_never_overwritten);
	tcase_add_test(t, file_that_others_can_use_is_refused);
	tcase_add_test(t, file_of_another_form_is_refused);
	tcase_add_test(t, file_is_read_from_a_descriptor_of_any_offset);
	tcase_add_test(t, file_key_stays_out_of_the_arena_when_closed);
	tcase_add_test(t, rsa_wraps_with_oaep_sha256);
	tcase_add_test(t, rsa_of_another_form_is_refused);
	tcase_add_test(t, rsa_key_is_not_in_ordinary_memory);
	tcase_add_test(t, passphrase_opens_with_its_params_only);
	tcase_add_test(t, passphrase_must_be_there);
	tcase_add_test(t, passphrase_cost_stays_in_its_bounds);
	tcase_add_loop_test(t, short_of_locked_memory_is_an_error, 0, 2);
	suite_add_tcase(s, t);
	return run_suite(s);
}
