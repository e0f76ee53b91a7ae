#include "kek_support.h"
#include "store/crypto/secbuf.h"
#include "store/keys/wrap.h"

static const struct wrap_context ctx = {
	.type = WRAP_DEK, .vault = { 0xaa, 0xbb }, .secret = 0x1122334455667788, .version = 3
};

static struct kek *k;
static uint8_t record[WRAP_RECORD_MAX], key[KEY_LEN];
static size_t len;

static void make(int rsa)
{
	k = rsa ? rsa_kek() : file_kek();
	ck_assert_int_eq(wrap_new(k, &ctx, key, record, &len), 0);
	ck_assert_uint_eq(len, rsa ? 84 + 256 : 84 + 40);
}

static void refuses(const struct wrap_context *c, const uint8_t *bytes, size_t n, int expected)
{
	uint8_t out[KEY_LEN] = { 0 }, zero[KEY_LEN] = { 0 };
	int r = wrap_open(k, c, bytes, n, out);

	ck_assert_int_eq(r, expected);
	ck_assert_mem_eq(out, zero, KEY_LEN);
}

START_TEST(opens_what_it_made)
{
	uint8_t out[KEY_LEN], id[KEK_ID_LEN], named[KEK_ID_LEN];

	make(_i);
	ck_assert_int_eq(wrap_open(k, &ctx, record, len, out), 0);
	ck_assert_mem_eq(out, key, KEY_LEN);
	kek_id(k, id);
	ck_assert_int_eq(wrap_kek_id(record, len, named), 0);
	ck_assert_mem_eq(id, named, KEK_ID_LEN);
	ck_assert_ptr_null(memmem(record, len, key, 8));
	kek_close(k);
}
END_TEST

START_TEST(refuses_every_flipped_bit)
{
	make(_i);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		bool names_kek = bit / 8 >= 36 && bit / 8 < 52;
		if (_i && bit > 8 * 60 && bit < 8 * (len - 33) && bit % 16)
			continue; /* an RSA decryption takes half a millisecond */
		record[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refuses(&ctx, record, len, names_kek ? -ENOKEY : -EBADMSG);
		record[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	kek_close(k);
}
END_TEST

START_TEST(refuses_every_other_length)
{
	uint8_t longer[WRAP_RECORD_MAX + 8] = { 0 }, id[KEK_ID_LEN];

	make(_i);
	memcpy(longer, record, len);
	for (size_t n = 0; n <= sizeof(longer); n++) {
		uint8_t *exact;
		if (n == len)
			continue;
		exact = malloc(n ? n : 1); /* so that ASan sees a byte too many */
		memcpy(exact, longer, n);
		refuses(&ctx, exact, n, -EBADMSG);
		ck_assert_int_eq(wrap_kek_id(exact, n, id), -EBADMSG);
		free(exact);
	}
	kek_close(k);
}
END_TEST

START_TEST(refuses_every_other_context)
{
	struct wrap_context c = ctx;

	make(_i);
	c.type = WRAP_VAULT_KEY;
	refuses(&c, record, len, -EBADMSG);
	for (unsigned bit = 0; bit < 128; bit++) {
		c = ctx;
		c.vault[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refuses(&c, record, len, -EBADMSG);
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		c = ctx;
		c.secret ^= (uint64_t)1 << bit;
		refuses(&c, record, len, -EBADMSG);
	}
	for (unsigned bit = 0; bit < 32; bit++) {
		c = ctx;
		c.version ^= 1u << bit;
		refuses(&c, record, len, -EBADMSG);
	}
	kek_close(k);
}
END_TEST

/* A record whose head was rewritten for another secret must not open as that one's: RSA-OAEP itself would not notice.
 */
START_TEST(refuses_a_record_moved_to_another_context)
{
	struct wrap_context c = ctx;

	make(_i);
	c.version = 4;
	record[35] = 4;
	refuses(&c, record, len, -EBADMSG);
	kek_close(k);
}
END_TEST

START_TEST(refuses_the_wrapped_seed_of_another_record)
{
	uint8_t other[WRAP_RECORD_MAX], other_key[KEY_LEN];
	size_t other_len;

	make(_i);
	ck_assert_int_eq(wrap_new(k, &ctx, other_key, other, &other_len), 0);
	ck_assert_mem_ne(key, other_key, KEY_LEN);
	memcpy(record + 52, other + 52, len - 52 - 32);
	refuses(&ctx, record, len, -EBADMSG);
	kek_close(k);
}
END_TEST

START_TEST(names_another_kek)
{
	struct kek *mine, *other;

	make(0);
	mine = k;
	other = rsa_kek();
	k = other;
	refuses(&ctx, record, len, -ENOKEY);
	kek_close(mine);
	kek_close(other);
}
END_TEST

/* A record that claims the other algorithm must not reach the KEK with a length that is not its own. */
START_TEST(refuses_the_other_algorithm)
{
	uint8_t forged[WRAP_RECORD_MAX] = { 0 };

	make(0);
	memcpy(forged, record, 52);
	forged[5] = KEK_ALG_RSA_OAEP_256;
	forged[6] = 1;
	forged[7] = 0;
	refuses(&ctx, forged, 84 + 256, -EBADMSG);
	kek_close(k);
}
END_TEST

START_TEST(leaves_no_seed_behind)
{
	uint8_t seed[KEY_LEN];

	make(_i);
	ck_assert_int_eq(kek_unwrap(k, record + 52, len - 84, seed), 0);
	ck_assert_int_eq(wrap_open(k, &ctx, record, len, key), 0);
	ck_assert(!secmem_contains(seed, 16));
	ck_assert(!secmem_contains(key, 16));
	kek_close(k);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wrap");
	TCase *t = tcase_create("wrap");

	tcase_add_checked_fixture(t, dir_setup, dir_teardown);
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, opens_what_it_made, 0, 2);
	tcase_add_loop_test(t, refuses_every_flipped_bit, 0, 2);
	tcase_add_loop_test(t, refuses_every_other_length, 0, 2);
	tcase_add_loop_test(t, refuses_every_other_context, 0, 2);
	tcase_add_loop_test(t, refuses_a_record_moved_to_another_context, 0, 2);
	tcase_add_loop_test(t, refuses_the_wrapped_seed_of_another_record, 0, 2);
	tcase_add_test(t, names_another_kek);
	tcase_add_test(t, refuses_the_other_algorithm);
	tcase_add_loop_test(t, leaves_no_seed_behind, 0, 2);
	suite_add_tcase(s, t);
	return run_suite(s);
}
