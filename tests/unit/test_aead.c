#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto_support.h"
#include "store/crypto/aead.h"
#include "store/crypto/secbuf.h"

/* The AES-256 cases with a 96-bit IV of McGrew and Viega's GCM specification, appendix B (13 to 16). */
static const struct {
	const char *key, *nonce, *aad, *plain, *cipher, *tag;
} gcm_vectors[] = {
	{ "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "", "",
	  "530f8afbc74536b9a963b4f1c4cb738b" },
	{ "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
	  "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919" },
	{ "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
	  "b094dac5d93471bdec1a502270e3cc6c" },
	{ "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	  "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
	  "76fc6ece0f4e1768cddf8853bb2d551b" },
};

START_TEST(gcm_agrees_with_published_vectors)
{
	uint8_t key[KEY_LEN], nonce[NONCE_LEN], aad[64], plain[64], cipher[64], tag[TAG_LEN], out[64], out_tag[TAG_LEN];
	size_t aad_len, len;

	unhex(gcm_vectors[_i].key, key, sizeof(key));
	unhex(gcm_vectors[_i].nonce, nonce, sizeof(nonce));
	aad_len = unhex(gcm_vectors[_i].aad, aad, sizeof(aad));
	len = unhex(gcm_vectors[_i].plain, plain, sizeof(plain));
	unhex(gcm_vectors[_i].cipher, cipher, sizeof(cipher));
	unhex(gcm_vectors[_i].tag, tag, sizeof(tag));
	/* twice: the thread's context goes from one direction and key to the other */
	for (int round = 0; round < 2; round++) {
		ck_assert_int_eq(aead_seal(key, nonce, (struct bytes){ aad, aad_len }, plain, len, out, out_tag), 0);
		ck_assert(memcmp(out, cipher, len) == 0);
		ck_assert_mem_eq(out_tag, tag, TAG_LEN);
		ck_assert_int_eq(aead_open(key, nonce, (struct bytes){ aad, aad_len }, cipher, len, tag, out), 0);
		ck_assert(memcmp(out, plain, len) == 0);
	}
}
END_TEST

START_TEST(open_wipes_on_a_wrong_tag)
{
	uint8_t key[KEY_LEN] = { 1 }, nonce[NONCE_LEN] = { 2 }, tag[TAG_LEN], cipher[100], out[100], zero[100] = { 0 };

	ck_assert_int_eq(aead_seal(key, nonce, (struct bytes){ "a", 1 }, zero, 100, cipher, tag), 0);
	for (unsigned bit = 0; bit < 8 * TAG_LEN; bit++) {
		tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
		memset(out, 0xff, sizeof(out));
		ck_assert_int_eq(aead_open(key, nonce, (struct bytes){ "a", 1 }, cipher, 100, tag, out), -EBADMSG);
		ck_assert_mem_eq(out, zero, 100);
		tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_int_eq(aead_open(key, nonce, (struct bytes){ "b", 1 }, cipher, 100, tag, out), -EBADMSG);
	ck_assert_int_eq(aead_open(key, nonce, (struct bytes){ "a", 1 }, cipher, 100, tag, out), 0);
}
END_TEST

START_TEST(no_key_stays_in_the_context)
{
	uint8_t key[KEY_LEN], nonce[NONCE_LEN] = { 2 }, tag[TAG_LEN], buf[64] = { 0 };

	/* the first round keys of AES-256 are the key itself */
	ck_assert_int_eq(random_bytes(key, sizeof(key)), 0);
	ck_assert_int_eq(aead_seal(key, nonce, (struct bytes){ NULL, 0 }, buf, 64, buf, tag), 0);
	ck_assert(!secmem_contains(key, 16));
	ck_assert_int_eq(aead_open(key, nonce, (struct bytes){ NULL, 0 }, buf, 64, tag, buf), 0);
	ck_assert(!secmem_contains(key, 16));
	tag[0] ^= 1;
	ck_assert_int_eq(aead_open(key, nonce, (struct bytes){ NULL, 0 }, buf, 64, tag, buf), -EBADMSG);
	ck_assert(!secmem_contains(key, 16));
}
END_TEST

START_TEST(sha256_joins_its_parts)
{
	const struct bytes one[] = { { "abc", 3 } }, three[] = { { "a", 1 }, { NULL, 0 }, { "bc", 2 } };
	uint8_t expected[DIGEST_LEN], got[DIGEST_LEN];

	unhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", expected, sizeof(expected));
	ck_assert_int_eq(sha256(one, 1, got), 0);
	ck_assert_mem_eq(got, expected, DIGEST_LEN);
	ck_assert_int_eq(sha256(three, 3, got), 0);
	ck_assert_mem_eq(got, expected, DIGEST_LEN);
	unhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", expected, sizeof(expected));
	ck_assert_int_eq(sha256(NULL, 0, got), 0);
	ck_assert_mem_eq(got, expected, DIGEST_LEN);
}
END_TEST

/* RFC 4231 §4.2 to 4.5; HMAC pads a short key with zeros, so that they are keys of 32 bytes too. */
static const struct {
	const char *key, *data, *mac;
} hmac_vectors[] = {
	{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
	  "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
	{ "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
	  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
	{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	  "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
	  "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe" },
	{ "0102030405060708090a0b0c0d0e0f10111213141516171819",
	  "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
	  "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b" },
};

START_TEST(hmac_agrees_with_rfc_4231)
{
	uint8_t key[KEY_LEN] = { 0 }, data[64], mac[DIGEST_LEN], got[DIGEST_LEN];
	size_t len;

	unhex(hmac_vectors[_i].key, key, sizeof(key));
	len = unhex(hmac_vectors[_i].data, data, sizeof(data));
	unhex(hmac_vectors[_i].mac, mac, sizeof(mac));
	for (size_t cut = 0; cut <= len; cut++) {
		const struct bytes parts[] = { { data, cut }, { data + cut, len - cut } };
		ck_assert_int_eq(hmac256(key, parts, 2, got), 0);
		ck_assert_mem_eq(got, mac, DIGEST_LEN);
	}
}
END_TEST

START_TEST(hkdf_agrees_with_openssl)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	char digest[] = "SHA256", info[] = "coffer test 1context";
	uint8_t key[KEY_LEN], expected[KEY_LEN], got[KEY_LEN];

	for (int round = 0; round < 20; round++) {
		ck_assert_int_eq(random_bytes(key, sizeof(key)), 0);
		OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
					OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key, sizeof(key)),
					OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, strlen(info)),
					OSSL_PARAM_construct_end() };
		ck_assert_int_eq(EVP_KDF_derive(ctx, expected, sizeof(expected), params), 1);
		ck_assert_int_eq(hkdf256(key, "coffer test 1", (struct bytes){ "context", 7 }, got), 0);
		ck_assert_mem_eq(got, expected, KEY_LEN);
	}
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
}
END_TEST

/* RFC 3394 §4.6 */
START_TEST(key_wrap_agrees_with_rfc_3394)
{
	uint8_t kek[KEY_LEN], key[KEY_LEN], wrapped[KW_LEN], got[KW_LEN];

	unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", kek, sizeof(kek));
	unhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f", key, sizeof(key));
	unhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21", wrapped,
	      sizeof(wrapped));
	ck_assert_int_eq(key_wrap(kek, key, got), 0);
	ck_assert_mem_eq(got, wrapped, KW_LEN);
	ck_assert_int_eq(key_unwrap(kek, wrapped, KW_LEN, got), 0);
	ck_assert_mem_eq(got, key, KEY_LEN);
	for (size_t len = 0; len < KW_LEN; len++)
		ck_assert_int_eq(key_unwrap(kek, wrapped, len, got), -EBADMSG);
	for (unsigned bit = 0; bit < 8 * KW_LEN; bit++) {
		wrapped[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(key_unwrap(kek, wrapped, KW_LEN, got), -EBADMSG);
		wrapped[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}
END_TEST

/* RFC 7914 §12: the first half of its 64 bytes; PBKDF2's first block does not depend on the length. */
START_TEST(scrypt_agrees_with_rfc_7914)
{
	uint8_t expected[KEY_LEN], got[KEY_LEN];

	unhex("77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442", expected, sizeof(expected));
	ck_assert_int_eq(scrypt256((struct bytes){ "", 0 }, (struct bytes){ "", 0 }, 4, 1, 1, got), 0);
	ck_assert_mem_eq(got, expected, KEY_LEN);
	unhex("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162", expected, sizeof(expected));
	ck_assert_int_eq(scrypt256((struct bytes){ "password", 8 }, (struct bytes){ "NaCl", 4 }, 10, 8, 16, got), 0);
	ck_assert_mem_eq(got, expected, KEY_LEN);
	ck_assert_int_eq(scrypt256((struct bytes){ "password", 8 }, (struct bytes){ "NaCl", 4 }, 24, 8, 1, got), -EIO);
}
END_TEST

/* Every allocation that a first call makes, failing: an error, and the next call works. */
START_TEST(short_of_locked_memory_is_an_error)
{
	uint8_t key[KEY_LEN] = { 1 }, nonce[NONCE_LEN] = { 0 }, tag[TAG_LEN], wrapped[KW_LEN], buf[16] = { 0 };
	int r = -1;

	for (unsigned long n = 1; r < 0; n++) {
		ck_assert_uint_lt(n, 100);
		secmem_fail_nth(n);
		r = aead_seal(key, nonce, (struct bytes){ NULL, 0 }, buf, 16, buf, tag);
		ck_assert(r == 0 || r == -ENOMEM);
	}
	r = -1;
	for (unsigned long n = 1; r < 0; n++) {
		ck_assert_uint_lt(n, 100);
		secmem_fail_nth(n);
		r = key_wrap(key, key, wrapped);
		ck_assert(r == 0 || r == -ENOMEM);
	}
	secmem_fail_nth(0);
}
END_TEST

static void *seal_in_thread(void *arg)
{
	uint8_t key[KEY_LEN] = { 1 }, nonce[NONCE_LEN] = { 0 }, tag[TAG_LEN], buf[1000] = { 0 };

	(void)arg;
	for (int i = 0; i < 200; i++) {
		nonce[0] = (uint8_t)i;
		if (aead_seal(key, nonce, (struct bytes){ NULL, 0 }, buf, sizeof(buf), buf, tag) != 0 ||
		    aead_open(key, nonce, (struct bytes){ NULL, 0 }, buf, sizeof(buf), tag, buf) != 0 || buf[999] != 0)
			return (void *)1;
	}
	return NULL;
}

START_TEST(threads_give_their_contexts_back)
{
	size_t before = 0;

	for (int round = 0; round < 3; round++) {
		pthread_t t[4];
		for (size_t i = 0; i < 4; i++)
			ck_assert_int_eq(pthread_create(&t[i], NULL, seal_in_thread, NULL), 0);
		for (size_t i = 0; i < 4; i++) {
			void *result;
			pthread_join(t[i], &result);
			ck_assert_ptr_null(result);
		}
		if (round == 0)
			before = arena_used();
		ck_assert_uint_eq(arena_used(), before);
	}
}
END_TEST

START_TEST(forked_child_starts_anew)
{
	uint8_t key[KEY_LEN] = { 1 }, nonce[NONCE_LEN] = { 0 }, tag[TAG_LEN], buf[16] = { 0 };
	int status;
	pid_t pid;

	ck_assert_int_eq(aead_seal(key, nonce, (struct bytes){ NULL, 0 }, buf, 16, buf, tag), 0);
	pid = fork();
	if (pid == 0) {
		if (secmem_init(ARENA, SECMEM_AUTO) != 0 || crypto_init() != 0)
			_exit(1);
		_exit(aead_open(key, nonce, (struct bytes){ NULL, 0 }, buf, 16, tag, buf) == 0 ? 0 : 2);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(needs_locked_memory_first)
{
	uint8_t key[KEY_LEN] = { 1 }, nonce[NONCE_LEN] = { 0 }, tag[TAG_LEN], buf[16] = { 0 };

	ck_assert_int_eq(crypto_init(), -ENOTSUP);
	ck_assert_int_eq(aead_seal(key, nonce, (struct bytes){ NULL, 0 }, buf, 16, buf, tag), -EIO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("aead");
	TCase *t = tcase_create("aead"), *bare = tcase_create("bare");

	tcase_add_checked_fixture(t, crypto_setup, NULL);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, gcm_agrees_with_published_vectors, 0, 4);
	tcase_add_test(t, open_wipes_on_a_wrong_tag);
	tcase_add_test(t, no_key_stays_in_the_context);
	tcase_add_test(t, sha256_joins_its_parts);
	tcase_add_loop_test(t, hmac_agrees_with_rfc_4231, 0, 4);
	tcase_add_test(t, hkdf_agrees_with_openssl);
	tcase_add_test(t, key_wrap_agrees_with_rfc_3394);
	tcase_add_test(t, scrypt_agrees_with_rfc_7914);
	tcase_add_test(t, short_of_locked_memory_is_an_error);
	tcase_add_test(t, threads_give_their_contexts_back);
	tcase_add_test(t, forked_child_starts_anew);
	tcase_add_test(bare, needs_locked_memory_first);
	suite_add_tcase(s, t);
	suite_add_tcase(s, bare);
	return run_suite(s);
}
