#include "crypto_support.h"
#include "store/crypto/secbuf.h"
#include "store/keys/envelope.h"

static const uint8_t dek[KEY_LEN] = { 9, 8, 7 };
static const struct envelope_context ctx = { .vault = { 1, 2, 3 }, .secret = 0x0102030405060708, .version = 7 };

static uint8_t *seal(const void *plain, size_t len)
{
	uint8_t *sealed = malloc(len + ENVELOPE_OVERHEAD);

	ck_assert_ptr_nonnull(sealed);
	ck_assert_int_eq(envelope_seal(dek, &ctx, plain, len, sealed), 0);
	return sealed;
}

static void refuses(const struct envelope_context *c, const uint8_t *key, const uint8_t *sealed, size_t len,
		    struct secbuf *out)
{
	ck_assert_int_eq(secbuf_set_len(out, 0), 0);
	ck_assert_int_eq(envelope_open(key, c, sealed, len, out), -EBADMSG);
	ck_assert_uint_eq(secbuf_len(out), 0);
	for (size_t i = 0; i < secbuf_capacity(out) && i < 64; i++)
		ck_assert_uint_eq(secbuf_data(out)[i], 0);
}

static const size_t sizes[] = { 0, 1, 15, 16, 17, 255, 4096, 65536, VALUE_MAX };

START_TEST(opens_what_it_sealed)
{
	size_t len = sizes[_i];
	struct secbuf *out = NULL;
	uint8_t *plain = malloc(len + 1), *sealed;

	ck_assert_ptr_nonnull(plain);
	ck_assert_int_eq(random_bytes(plain, len), 0);
	sealed = seal(plain, len);
	ck_assert_int_eq(secbuf_new(len, &out), 0);
	ck_assert_int_eq(envelope_open(dek, &ctx, sealed, len + ENVELOPE_OVERHEAD, out), 0);
	ck_assert_uint_eq(secbuf_len(out), len);
	ck_assert(memcmp(secbuf_data(out), plain, len) == 0);
	if (len >= 16)
		ck_assert_ptr_null(memmem(sealed, len + ENVELOPE_OVERHEAD, plain, 16));
	secbuf_free(out);
	free(sealed);
	free(plain);
}
END_TEST

START_TEST(refuses_every_flipped_bit)
{
	static const char plain[] = "correct horse battery staple";
	size_t len = sizeof(plain) + ENVELOPE_OVERHEAD;
	uint8_t *sealed = seal(plain, sizeof(plain));
	struct secbuf *out = NULL;

	ck_assert_int_eq(secbuf_new(len, &out), 0);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refuses(&ctx, dek, sealed, len, out);
		sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_int_eq(envelope_open(dek, &ctx, sealed, len, out), 0);
	secbuf_free(out);
	free(sealed);
}
END_TEST

START_TEST(refuses_every_other_length)
{
	static const char plain[] = "correct horse battery staple";
	size_t len = sizeof(plain) + ENVELOPE_OVERHEAD;
	uint8_t *sealed = realloc(seal(plain, sizeof(plain)), len + 1), *huge;
	struct secbuf *out = NULL;

	sealed[len] = 0;
	ck_assert_int_eq(secbuf_new(len, &out), 0);
	for (size_t n = 0; n <= len + 1; n++)
		if (n != len)
			refuses(&ctx, dek, sealed, n, out);
	/* beyond the cap nothing is even tried */
	huge = calloc(1, VALUE_MAX + ENVELOPE_OVERHEAD + 1);
	memcpy(huge, sealed, len);
	refuses(&ctx, dek, huge, VALUE_MAX + ENVELOPE_OVERHEAD + 1, out);
	free(huge);
	secbuf_free(out);
	free(sealed);
}
END_TEST

START_TEST(refuses_every_other_context)
{
	static const char plain[] = "correct horse battery staple";
	size_t len = sizeof(plain) + ENVELOPE_OVERHEAD;
	uint8_t *sealed = seal(plain, sizeof(plain)), other[KEY_LEN];
	struct secbuf *out = NULL;

	ck_assert_int_eq(secbuf_new(len, &out), 0);
	for (unsigned bit = 0; bit < 128; bit++) {
		struct envelope_context c = ctx;
		c.vault[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refuses(&c, dek, sealed, len, out);
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		struct envelope_context c = ctx;
		c.secret ^= (uint64_t)1 << bit;
		refuses(&c, dek, sealed, len, out);
	}
	for (unsigned bit = 0; bit < 32; bit++) {
		struct envelope_context c = ctx;
		c.version ^= 1u << bit;
		refuses(&c, dek, sealed, len, out);
	}
	for (unsigned bit = 0; bit < 256; bit++) {
		memcpy(other, dek, KEY_LEN);
		other[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refuses(&ctx, other, sealed, len, out);
	}
	secbuf_free(out);
	free(sealed);
}
END_TEST

START_TEST(never_repeats_a_nonce)
{
	uint8_t *a = seal("x", 1), *b = seal("x", 1);

	ck_assert_mem_ne(a + 4, b + 4, NONCE_LEN);
	free(a);
	free(b);
}
END_TEST

START_TEST(moved_envelope_opens_as_what_it_was_and_no_other)
{
	static const struct envelope_context was = { .vault = { 1, 2 }, .secret = 77, .version = 4 },
					     is = { .vault = { 9 }, .secret = 5, .version = 1 };
	static const char plain[] = "moved";
	uint8_t sealed[sizeof(plain) + ENVELOPE_OVERHEAD], moved[sizeof(plain) + ENVELOPE_OVERHEAD + ENVELOPE_ORIGIN],
		again[sizeof(moved)];
	struct envelope_context origin;
	struct secbuf *out = NULL;
	size_t len = 0;

	ck_assert_int_eq(secbuf_new(VALUE_MAX, &out), 0);
	ck_assert_int_eq(envelope_seal(dek, &was, plain, sizeof(plain), sealed), 0);
	ck_assert(!envelope_origin(sealed, &origin));
	ck_assert_uint_eq(envelope_keep_origin(sealed, sizeof(sealed), &was, moved), sizeof(moved));
	ck_assert(envelope_origin(moved, &origin));
	ck_assert(origin.secret == was.secret && origin.version == was.version &&
		  memcmp(origin.vault, was.vault, 16) == 0);
	ck_assert_int_eq(envelope_plain_len(moved, sizeof(moved), &len), 0);
	ck_assert_uint_eq(len, sizeof(plain));
	ck_assert_int_eq(envelope_open(dek, &is, moved, sizeof(moved), out), 0);
	ck_assert_mem_eq(secbuf_cdata(out), plain, sizeof(plain));
	/* Moved again it keeps its first origin. */
	ck_assert_uint_eq(envelope_keep_origin(moved, sizeof(moved), &is, again), sizeof(moved));
	ck_assert_mem_eq(moved, again, sizeof(moved));
	for (size_t bit = 0; bit < 8 * sizeof(moved); bit++) {
		moved[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(envelope_open(dek, &is, moved, sizeof(moved), out), -EBADMSG);
		moved[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t n = 0; n < sizeof(moved); n++)
		ck_assert_int_eq(envelope_open(dek, &is, moved, n, out), -EBADMSG);
	secbuf_free(out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("envelope");
	TCase *t = tcase_create("envelope");

	tcase_add_checked_fixture(t, crypto_setup, NULL);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, opens_what_it_sealed, 0, sizeof(sizes) / sizeof(sizes[0]));
	tcase_add_test(t, refuses_every_flipped_bit);
	tcase_add_test(t, refuses_every_other_length);
	tcase_add_test(t, refuses_every_other_context);
	tcase_add_test(t, never_repeats_a_nonce);
	tcase_add_test(t, moved_envelope_opens_as_what_it_was_and_no_other);
	suite_add_tcase(s, t);
	return run_suite(s);
}
