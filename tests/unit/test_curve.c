#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/crypto/curve.h"
#include "store/crypto/secbuf.h"
#include "store/keys/transport.h"

static void unhex(const char *text, uint8_t *ret, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned byte;
		ck_assert_int_eq(sscanf(text + 2 * i, "%2x", &byte), 1);
		ret[i] = (uint8_t)byte;
	}
}

/* RFC 7748 section 6.1, RFC 8032 section 7.1 test 1. */
START_TEST(agrees_with_the_standards)
{
	uint8_t private[CURVE_LEN], expected[CURVE_LEN], public[CURVE_LEN], signature[SIGNATURE_LEN],
		made[SIGNATURE_LEN];

	unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", private, CURVE_LEN);
	unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", expected, CURVE_LEN);
	ck_assert_int_eq(x25519_public(private, public), 0);
	ck_assert_mem_eq(public, expected, CURVE_LEN);
	unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", private, CURVE_LEN);
	unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", expected, CURVE_LEN);
	unhex("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0"
	      "595bbe24655141438e7a100b",
	      signature, SIGNATURE_LEN);
	ck_assert_int_eq(ed25519_public(private, public), 0);
	ck_assert_mem_eq(public, expected, CURVE_LEN);
	ck_assert_int_eq(ed25519_sign(private, "", 0, made), 0);
	ck_assert_mem_eq(made, signature, SIGNATURE_LEN);
	ck_assert_int_eq(ed25519_verify(public, "", 0, made), 0);
	ck_assert_int_eq(ed25519_verify(public, "x", 1, made), -EBADMSG);
}
END_TEST

START_TEST(a_box_opens_for_its_recipient_alone)
{
	uint8_t private[CURVE_LEN], other[CURVE_LEN], public[CURVE_LEN], key[KEY_LEN], out[KEY_LEN] = { 0 },
										       box[BOX_LEN];

	ck_assert_int_eq(random_bytes(private, CURVE_LEN), 0);
	ck_assert_int_eq(random_bytes(other, CURVE_LEN), 0);
	ck_assert_int_eq(random_bytes(key, KEY_LEN), 0);
	ck_assert_int_eq(x25519_public(private, public), 0);
	ck_assert_int_eq(box_seal("a", public, key, box), 0);
	ck_assert_int_eq(box_open("a", private, box, out), 0);
	ck_assert_mem_eq(out, key, KEY_LEN);
	ck_assert_int_eq(box_open("a", other, box, out), -EBADMSG);
	ck_assert_int_eq(box_open("b", private, box, out), -EBADMSG);
	/* The top bit of a public key is masked by X25519 itself, and is bound by the KDF all the same. */
	for (size_t bit = 0; bit < 8 * BOX_LEN; bit++) {
		box[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(box_open("a", private, box, out), -EBADMSG);
		box[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}
END_TEST

START_TEST(refuses_a_recipient_that_everybody_could_be)
{
	uint8_t zero[CURVE_LEN] = { 0 }, one[CURVE_LEN] = { 1 }, box[BOX_LEN];

	ck_assert_int_eq(box_seal("a", zero, one, box), -EBADMSG);
	ck_assert_int_eq(box_seal("a", one, one, box), -EBADMSG);
}
END_TEST

START_TEST(reads_the_keys_that_openssl_writes)
{
	static const char private_pem[] = "-----BEGIN PRIVATE "
					  "KEY-----\nMC4CAQAwBQYDK2VuBCIEINDdOY3pXzW/"
					  "GTn03YAVMVneVsk+bQ29AyxePSWeMsx1\n-----END PRIVATE KEY-----\n";
	static const char public_pem[] =
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEA0k72/uAOTwnGLdX1hrDgk0PR0uEEf4Y99IOAUioek0Y=\n-----END "
		"PUBLIC KEY-----\n";
	static const char ed_public[] =
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAhSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n-----END "
		"PUBLIC KEY-----\n";
	uint8_t private[CURVE_LEN], public[CURVE_LEN], read[CURVE_LEN];
	char text[CURVE_PEM_MAX];

	ck_assert_int_eq(x25519_pem_parse(private_pem, strlen(private_pem), true, private), 0);
	ck_assert_int_eq(x25519_pem_parse(public_pem, strlen(public_pem), false, read), 0);
	ck_assert_int_eq(x25519_public(private, public), 0);
	ck_assert_mem_eq(public, read, CURVE_LEN);
	ck_assert_uint_eq(x25519_pem_print(private, true, text), strlen(private_pem));
	ck_assert_str_eq(text, private_pem);
	ck_assert_uint_eq(x25519_pem_print(public, false, text), strlen(public_pem));
	ck_assert_str_eq(text, public_pem);
	ck_assert_int_eq(x25519_pem_parse(public_pem, strlen(public_pem), true, read), -EINVAL);
	ck_assert_int_eq(x25519_pem_parse(private_pem, strlen(private_pem), false, read), -EINVAL);
	ck_assert_int_eq(x25519_pem_parse(ed_public, strlen(ed_public), false, read), -EINVAL);
	for (size_t n = 0; n + 2 < strlen(public_pem); n++)
		ck_assert_int_eq(x25519_pem_parse(public_pem, n, false, read), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("curve");
	TCase *t = tcase_create("curve");
	SRunner *runner = srunner_create(s);
	int failed;

	if (secmem_init(1u << 20, SECMEM_AUTO) < 0 || crypto_init() < 0)
		return 1;
	srunner_set_fork_status(runner, CK_NOFORK); /* the arena is not inherited */
	tcase_add_test(t, agrees_with_the_standards);
	tcase_add_test(t, a_box_opens_for_its_recipient_alone);
	tcase_add_test(t, refuses_a_recipient_that_everybody_could_be);
	tcase_add_test(t, reads_the_keys_that_openssl_writes);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
