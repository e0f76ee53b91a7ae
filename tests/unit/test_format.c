/* Decodes the worked example of contrib/doc/FORMAT.md: the document says what the code does. */
#include <ctype.h>

#include "kek_support.h"
#include "store/crypto/secbuf.h"
#include "store/keys/envelope.h"
#include "store/keys/vaultconf.h"
#include "store/keys/wrap.h"

static char document[65536];

static void setup(void)
{
	FILE *f = fopen(FORMAT_MD, "r");
	size_t n;

	dir_setup();
	ck_assert_msg(f != NULL, "no " FORMAT_MD);
	n = fread(document, 1, sizeof(document) - 1, f);
	ck_assert_uint_lt(n, sizeof(document) - 1);
	document[n] = '\0';
	fclose(f);
}

/* The hex digits after "NAME:" at the beginning of a line, over following lines that are indented. */
static size_t example(const char *name, uint8_t *ret, size_t size)
{
	char head[64], digits[4096];
	const char *p;
	size_t n = 0;

	snprintf(head, sizeof(head), "\n%s:", name);
	p = strstr(document, head);
	ck_assert_msg(p != NULL, "FORMAT.md has no example of %s", name);
	for (p += strlen(head); *p && !(*p == '\n' && p[1] != ' '); p++)
		if (isxdigit((unsigned char)*p) && n < sizeof(digits) - 1)
			digits[n++] = *p;
	digits[n] = '\0';
	return unhex(digits, ret, size);
}

START_TEST(record_and_envelope_open)
{
	struct wrap_context wrap = { .type = WRAP_DEK, .secret = 42, .version = 3 };
	struct envelope_context env = { .secret = 42, .version = 3 };
	uint8_t kek_bytes[KEY_LEN], dek[KEY_LEN], expected[KEY_LEN], seed[KEY_LEN], record[WRAP_RECORD_MAX],
		sealed[256], value[64], id[KEK_ID_LEN], got_id[KEK_ID_LEN];
	size_t record_len, sealed_len, value_len;
	struct secbuf *plain = NULL;
	struct kek *k;

	ck_assert_uint_eq(example("kek", kek_bytes, sizeof(kek_bytes)), KEY_LEN);
	ck_assert_uint_eq(example("vault", wrap.vault, sizeof(wrap.vault)), 16);
	memcpy(env.vault, wrap.vault, 16);
	record_len = example("record", record, sizeof(record));
	ck_assert_uint_eq(example("data key", expected, sizeof(expected)), KEY_LEN);
	sealed_len = example("envelope", sealed, sizeof(sealed));
	value_len = example("value", value, sizeof(value));
	ck_assert_uint_eq(example("kek id", id, sizeof(id)), KEK_ID_LEN);

	write_file("kek", kek_bytes, KEY_LEN, 0600);
	k = open_kek(uri_of("kek"), NULL, NULL);
	kek_id(k, got_id);
	ck_assert_mem_eq(got_id, id, KEK_ID_LEN);
	ck_assert_int_eq(wrap_open(k, &wrap, record, record_len, dek), 0);
	ck_assert_mem_eq(dek, expected, KEY_LEN);
	ck_assert_uint_eq(example("seed", expected, sizeof(expected)), KEY_LEN);
	ck_assert_int_eq(kek_unwrap(k, record + 52, 40, seed), 0);
	ck_assert_mem_eq(seed, expected, KEY_LEN);
	ck_assert_int_eq(secbuf_new(sealed_len, &plain), 0);
	ck_assert_int_eq(envelope_open(dek, &env, sealed, sealed_len, plain), 0);
	ck_assert_uint_eq(secbuf_len(plain), value_len);
	ck_assert_mem_eq(secbuf_data(plain), value, value_len);
	secbuf_free(plain);
	kek_close(k);
}
END_TEST

START_TEST(vault_conf_reads_and_its_record_opens)
{
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	uint8_t kek_bytes[KEY_LEN], vault[16], key[KEY_LEN], expected[KEY_LEN];
	const char *begin = strstr(document, "\nformat = 1\n"), *end;
	struct vaultconf c;
	char why[256];
	struct kek *k;

	ck_assert_ptr_nonnull(begin);
	end = strstr(++begin, "\n```");
	ck_assert_ptr_nonnull(end);
	ck_assert_msg(vaultconf_parse(begin, (size_t)(end + 1 - begin), &c, why, sizeof(why)) == 0, "%s", why);
	example("vault", vault, sizeof(vault));
	ck_assert_mem_eq(c.id, vault, 16);
	memcpy(ctx.vault, vault, 16);
	example("kek", kek_bytes, sizeof(kek_bytes));
	write_file("kek", kek_bytes, KEY_LEN, 0600);
	k = open_kek(uri_of("kek"), NULL, NULL);
	ck_assert_int_eq(wrap_open(k, &ctx, c.vault_record, c.vault_record_len, key), 0);
	example("vault key", expected, sizeof(expected));
	ck_assert_mem_eq(key, expected, KEY_LEN);
	kek_close(k);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("format");
	TCase *t = tcase_create("format");

	tcase_add_checked_fixture(t, setup, dir_teardown);
	tcase_add_test(t, record_and_envelope_open);
	tcase_add_test(t, vault_conf_reads_and_its_record_opens);
	suite_add_tcase(s, t);
	return run_suite(s);
}
