#include <check.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "store/crypto/aead.h"
#include "store/crypto/generate.h"
#include "store/crypto/secbuf.h"
#include "suite.h"

static void setup(void)
{
	ck_assert_int_eq(secmem_init(8 << 20, SECMEM_AUTO), 0);
	ck_assert_int_eq(crypto_init(), 0);
}

static struct secbuf *make(const char *text)
{
	struct secbuf *value = NULL;
	struct generator g;

	ck_assert_msg(generator_parse(text, &g) == 0, "%s", text);
	ck_assert_msg(generate(&g, &value) == 0, "%s", text);
	return value;
}

START_TEST(refuses_what_is_no_generator)
{
	static const char *const bad[] = {
		"",
		"random",
		"random:",
		"random:15",
		"random:65537",
		"random:032",
		"random:32:",
		"random:32:base65",
		"random:32:hexx",
		"random:-1",
		"random: 32",
		"random:99999999999999999999",
		"password:7",
		"password:1025",
		"password:12:",
		"password:12:letters",
		"password:12:lower+",
		"password:12:lower,upper",
		"password:12:lower+digitsx",
		"uuid:4",
		"UUID",
		"rsa:1024",
		"rsa:2048x",
		"rsa",
		"ec:p224",
		"ec:secp256k1",
		"ed25519 ",
		"ed448",
		"hook:/bin/true",
	};
	struct generator g;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(generator_parse(bad[i], &g) == -EINVAL, "\"%s\"", bad[i]);
}
END_TEST

START_TEST(random_bytes_in_each_encoding)
{
	static const struct {
		const char *text;
		size_t len;
		const char *alphabet;
	} cases[] = {
		{ "random:16", 24, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=" },
		{ "random:32:hex", 64, "0123456789abcdef" },
		{ "random:33:base64", 44, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" },
		{ "random:65536:raw", 65536, NULL },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct secbuf *a = make(cases[i].text), *b = make(cases[i].text);
		ck_assert_uint_eq(secbuf_len(a), cases[i].len);
		for (size_t k = 0; cases[i].alphabet && k < cases[i].len; k++)
			ck_assert_ptr_nonnull(memchr(cases[i].alphabet, secbuf_cdata(a)[k], strlen(cases[i].alphabet)));
		ck_assert_int_ne(memcmp(secbuf_cdata(a), secbuf_cdata(b), cases[i].len), 0);
		secbuf_free(a);
		secbuf_free(b);
	}
}
END_TEST

/* What another decoder makes of it is 32 bytes again. */
START_TEST(base64_is_that_of_rfc_4648)
{
	struct secbuf *a = make("random:32");
	unsigned char out[64];

	ck_assert_uint_eq(secbuf_len(a), 44);
	ck_assert_int_eq(EVP_DecodeBlock(out, secbuf_cdata(a), 44), 33);
	ck_assert_int_eq(secbuf_cdata(a)[43], '=');
	secbuf_free(a);
}
END_TEST

START_TEST(password_has_its_length_and_at_least_one_of_each_class)
{
	for (int i = 0; i < 300; i++) {
		struct secbuf *a = make("password:8:lower+upper+digits+symbols");
		unsigned seen = 0;
		ck_assert_uint_eq(secbuf_len(a), 8);
		for (size_t k = 0; k < 8; k++) {
			int c = secbuf_cdata(a)[k];
			seen |= islower(c) ? 1u : isupper(c) ? 2u : isdigit(c) ? 4u : 8u;
		}
		ck_assert_uint_eq(seen, 15);
		secbuf_free(a);
		a = make("password:12:digits");
		for (size_t k = 0; k < 12; k++)
			ck_assert(isdigit(secbuf_cdata(a)[k]));
		secbuf_free(a);
	}
}
END_TEST

/* 200,000 digits: each value within 6 standard deviations of a tenth. A modulus of a byte would put 0 to 5 eight of
 * them off. */
START_TEST(password_characters_are_equally_likely)
{
	unsigned counts[10] = { 0 };

	for (int i = 0; i < 200; i++) {
		struct secbuf *a = make("password:1000:digits");
		for (size_t k = 0; k < 1000; k++)
			counts[secbuf_cdata(a)[k] - '0']++;
		secbuf_free(a);
	}
	for (int i = 0; i < 10; i++)
		ck_assert_msg(counts[i] > 20000 - 6 * 134 && counts[i] < 20000 + 6 * 134, "%d: %u", i, counts[i]);
}
END_TEST

START_TEST(uuid_is_version_4)
{
	struct secbuf *a = make("uuid");
	const char *text = (const char *)secbuf_cdata(a);

	ck_assert_uint_eq(secbuf_len(a), 36);
	for (size_t i = 0; i < 36; i++)
		ck_assert(i == 8 || i == 13 || i == 18 || i == 23 ? text[i] == '-'
								  : isxdigit(text[i]) && !isupper(text[i]));
	ck_assert_int_eq(text[14], '4');
	ck_assert_ptr_nonnull(strchr("89ab", text[19]));
	secbuf_free(a);
}
END_TEST

START_TEST(keys_are_private_keys_in_pem_of_their_kind)
{
	static const struct {
		const char *text, *type, *group;
		int bits;
	} cases[] = {
		{ "rsa:2048", "RSA", NULL, 2048 },     { "rsa:3072", "RSA", NULL, 3072 },
		{ "rsa:4096", "RSA", NULL, 4096 },     { "ec:p256", "EC", "prime256v1", 256 },
		{ "ec:p384", "EC", "secp384r1", 384 }, { "ec:p521", "EC", "secp521r1", 521 },
		{ "ed25519", "ED25519", NULL, 256 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct secbuf *a = make(cases[i].text);
		BIO *in = BIO_new_mem_buf(secbuf_cdata(a), (int)secbuf_len(a));
		EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
		char group[32] = "";
		ck_assert_msg(key != NULL, "%s", cases[i].text);
		ck_assert(EVP_PKEY_is_a(key, cases[i].type));
		ck_assert_int_eq(EVP_PKEY_get_bits(key), cases[i].bits);
		if (cases[i].group) {
			ck_assert_int_eq(EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group,
									sizeof group, NULL),
					 1);
			ck_assert_str_eq(group, cases[i].group);
		}
		ck_assert_int_eq(memcmp(secbuf_cdata(a), "-----BEGIN PRIVATE KEY-----\n", 28), 0);
		ck_assert_int_eq(secbuf_cdata(a)[secbuf_len(a) - 1], '\n');
		EVP_PKEY_free(key);
		BIO_free(in);
		secbuf_free(a);
	}
}
END_TEST

START_TEST(wiped_value_stands_nowhere_in_the_arena)
{
	static const char *const texts[] = { "rsa:2048", "ed25519", "ec:p256", "password:64", "random:64:hex" };
	char middle[24];

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct secbuf *a = make(texts[i]);
		memcpy(middle, secbuf_cdata(a) + 36, sizeof middle); /* of the first line of PEM's body */
		ck_assert(secmem_contains(middle, sizeof middle));
		secbuf_free(a);
		ck_assert_msg(!secmem_contains(middle, sizeof middle), "%s", texts[i]);
	}
}
END_TEST

START_TEST(full_arena_is_an_error_and_no_value)
{
	struct generator g;
	struct secbuf *value = NULL;
	size_t used, before, total;

	secbuf_free(make("ed25519"));
	ck_assert_int_eq(generator_parse("ed25519", &g), 0);
	secmem_usage(&before, &total);
	for (unsigned long n = 1; n < 2000; n++) {
		secmem_fail_nth(n);
		int r = generate(&g, &value);
		secmem_fail_nth(0);
		if (r == 0)
			break;
		ck_assert_ptr_null(value);
	}
	ck_assert_ptr_nonnull(value);
	secbuf_free(value);
	secmem_usage(&used, &total);
	ck_assert_uint_le(used, before + 65536);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		refuses_what_is_no_generator,
		random_bytes_in_each_encoding,
		base64_is_that_of_rfc_4648,
		password_has_its_length_and_at_least_one_of_each_class,
		password_characters_are_equally_likely,
		uuid_is_version_4,
		keys_are_private_keys_in_pem_of_their_kind,
		wiped_value_stands_nowhere_in_the_arena,
		full_arena_is_an_error_and_no_value,
	};
	Suite *suite = suite_create("generate");
	TCase *t = tcase_create("generate");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_set_timeout(t, 120);
	for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
