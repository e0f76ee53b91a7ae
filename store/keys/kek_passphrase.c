/* A KEK from a passphrase: scrypt (RFC 7914), then AES-KW. What is kept, in vault.conf:
 *
 *   scrypt:ln=17,r=8,p=1,salt=<32 hex digits>
 *
 * N = 2^ln; 2^17 takes 128 MiB and about half a second. The cost read back has a floor, so that who can edit vault.conf
 * cannot have the next vault made cheap to guess, and a ceiling, so that he cannot make the key holder take the
 * machine's memory. r and p are fixed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/crypto/bytes.h"
#include "store/crypto/secbuf.h"
#include "store/keys/kek_provider.h"

#define LN_DEFAULT 17u
#define LN_MIN     15u
#define LN_MAX     19u
#define SCRYPT_R   8u
#define SCRYPT_P   1u
#define SALT_LEN   16

struct kek_passphrase {
	struct kek base;
	uint8_t key[KEY_LEN];
};

/* Two digits in the range; they end at *end. */
static int parse_ln(const char *text, unsigned *ret_ln, const char **ret_end)
{
	unsigned ln;

	if (text[0] < '1' || text[0] > '9' || text[1] < '0' || text[1] > '9')
		return -EINVAL;
	ln = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
	if (ln < LN_MIN || ln > LN_MAX)
		return -EINVAL;
	*ret_ln = ln;
	*ret_end = text + 2;
	return 0;
}

/* "passphrase:" or "passphrase:?ln=N" */
static int parse_uri(const char *uri, unsigned *ret_ln)
{
	static const char plain[] = "passphrase:", cost[] = "passphrase:?ln=";
	const char *end;

	if (strcmp(uri, plain) == 0) {
		*ret_ln = LN_DEFAULT;
		return 0;
	}
	if (strncmp(uri, cost, sizeof(cost) - 1) != 0 || parse_ln(uri + sizeof(cost) - 1, ret_ln, &end) < 0 || *end)
		return -EINVAL;
	return 0;
}

static void print_params(unsigned ln, const uint8_t salt[SALT_LEN], char ret[KEK_PARAMS_MAX])
{
	char hex[2 * SALT_LEN + 1];

	hex_print(salt, SALT_LEN, hex);
	snprintf(ret, KEK_PARAMS_MAX, "scrypt:ln=%u,r=%u,p=%u,salt=%s", ln, SCRYPT_R, SCRYPT_P, hex);
}

static int parse_params(const char *text, unsigned *ret_ln, uint8_t ret_salt[SALT_LEN])
{
	static const char head[] = "scrypt:ln=", middle[] = ",r=8,p=1,salt=";
	const char *p;

	if (!text || strncmp(text, head, sizeof(head) - 1) != 0 || parse_ln(text + sizeof(head) - 1, ret_ln, &p) < 0)
		return -EINVAL;
	if (strncmp(p, middle, sizeof(middle) - 1) != 0)
		return -EINVAL;
	p += sizeof(middle) - 1;
	return hex_parse(p, strlen(p), ret_salt, SALT_LEN);
}

static int derive(const struct kek_source *src, unsigned ln, const uint8_t salt[SALT_LEN], struct kek **ret_kek,
		  char *why)
{
	struct kek_passphrase *k;
	int r;

	k = secmem_alloc(sizeof(*k));
	if (!k)
		return kek_why(-ENOMEM, why, "no locked memory left for the key");
	k->base.ops = &kek_passphrase_ops;
	k->base.alg = KEK_ALG_AES_KW;
	r = scrypt256((struct bytes){ src->passphrase, src->passphrase_len }, (struct bytes){ salt, SALT_LEN }, ln,
		      SCRYPT_R, SCRYPT_P, k->key);
	if (r == 0)
		r = kek_id_symmetric(k->key, k->base.id);
	if (r < 0) {
		secmem_free(k, sizeof(*k));
		return kek_why(r, why, "scrypt failed: it needs %u MiB of free memory", (128u * SCRYPT_R << ln) >> 20);
	}
	*ret_kek = &k->base;
	return 0;
}

static int check_passphrase(const struct kek_source *src, char *why)
{
	if (!src->passphrase || src->passphrase_len == 0)
		return kek_why(-ENOKEY, why, "a passphrase is needed, and an empty one is none");
	if (src->passphrase_len > PASSPHRASE_MAX)
		return kek_why(-EINVAL, why, "the passphrase is longer than %d bytes", PASSPHRASE_MAX);
	return 0;
}

static int passphrase_create(const struct kek_source *src, char ret_params[KEK_PARAMS_MAX], struct kek **ret_kek,
			     char *why)
{
	uint8_t salt[SALT_LEN];
	unsigned ln;
	int r;

	if (parse_uri(src->uri, &ln) < 0)
		return kek_why(-EINVAL, why, "write passphrase: or passphrase:?ln=N with N from %u to %u", LN_MIN,
			       LN_MAX);
	r = check_passphrase(src, why);
	if (r < 0)
		return r;
	r = random_bytes(salt, sizeof(salt));
	if (r == 0)
		r = derive(src, ln, salt, ret_kek, why);
	if (r == 0)
		print_params(ln, salt, ret_params);
	return r;
}

static int passphrase_open(const struct kek_source *src, struct kek **ret_kek, char *why)
{
	uint8_t salt[SALT_LEN];
	unsigned ln;
	int r;

	if (parse_uri(src->uri, &ln) < 0 || parse_params(src->params, &ln, salt) < 0)
		return kek_why(
			-EINVAL, why,
			"kek_params in vault.conf are damaged, or their cost is outside ln=%u..%u: restore vault.conf",
			LN_MIN, LN_MAX);
	r = check_passphrase(src, why);
	if (r < 0)
		return r;
	return derive(src, ln, salt, ret_kek, why);
}

static int passphrase_wrap(struct kek *base, const uint8_t key[KEY_LEN], uint8_t ret_wrapped[KEK_WRAPPED_MAX],
			   size_t *ret_len)
{
	struct kek_passphrase *k = (struct kek_passphrase *)base;
	int r = key_wrap(k->key, key, ret_wrapped);

	if (r == 0)
		*ret_len = KW_LEN;
	return r;
}

static int passphrase_unwrap(struct kek *base, const uint8_t *wrapped, size_t len, uint8_t ret_key[KEY_LEN])
{
	struct kek_passphrase *k = (struct kek_passphrase *)base;

	return key_unwrap(k->key, wrapped, len, ret_key);
}

static void passphrase_close(struct kek *base) { secmem_free(base, sizeof(struct kek_passphrase)); }

const struct kek_ops kek_passphrase_ops = {
	.scheme = "passphrase",
	.asks = KEK_ASKS_PASSPHRASE,
	.create = passphrase_create,
	.open = passphrase_open,
	.wrap = passphrase_wrap,
	.unwrap = passphrase_unwrap,
	.close = passphrase_close,
};
