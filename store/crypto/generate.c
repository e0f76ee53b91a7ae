#include "store/crypto/generate.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <string.h>

#include "store/crypto/aead.h"
#include "store/crypto/secbuf.h"

#define RANDOM_MIN   16 /* 128 bits */
#define RANDOM_MAX   65536
#define PASSWORD_MIN 8
#define PASSWORD_MAX 1024

/* Symbols that neither a shell, a URL's user part nor an INI file reads as its own. */
static const struct {
	const char *name;
	unsigned bit;
	const char *alphabet;
} classes[] = {
	{ "lower", CLASS_LOWER, "abcdefghijklmnopqrstuvwxyz" },
	{ "upper", CLASS_UPPER, "ABCDEFGHIJKLMNOPQRSTUVWXYZ" },
	{ "digits", CLASS_DIGITS, "0123456789" },
	{ "symbols", CLASS_SYMBOLS, "-_.,+=^~" },
};
#define CLASSES (sizeof classes / sizeof classes[0])

/* ---- words ---- */

/* A number without sign, blanks or leading zeros, up to `end` or the text's end. */
static bool take_number(const char **text, uint32_t *ret)
{
	uint32_t n = 0;

	if (**text < '1' || **text > '9')
		return false;
	for (; **text >= '0' && **text <= '9'; (*text)++) {
		n = n * 10 + (uint32_t)(**text - '0');
		if (n > RANDOM_MAX)
			return false;
	}
	*ret = n;
	return true;
}

static bool take_word(const char **text, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*text, word, n) != 0)
		return false;
	*text += n;
	return true;
}

static bool parse_random(const char *text, struct generator *g)
{
	if (!take_number(&text, &g->n) || g->n < RANDOM_MIN)
		return false;
	if (!*text || !strcmp(text, ":base64"))
		return true;
	g->encoding = !strcmp(text, ":hex") ? GENERATOR_HEX : GENERATOR_RAW;
	return g->encoding == GENERATOR_HEX || !strcmp(text, ":raw");
}

static bool take_class(const char **text, unsigned *set)
{
	for (size_t i = 0; i < CLASSES; i++)
		if (take_word(text, classes[i].name)) {
			*set |= classes[i].bit;
			return true;
		}
	return false;
}

static bool parse_password(const char *text, struct generator *g)
{
	if (!take_number(&text, &g->n) || g->n < PASSWORD_MIN || g->n > PASSWORD_MAX)
		return false;
	if (!*text) {
		g->classes = CLASS_LOWER | CLASS_UPPER | CLASS_DIGITS;
		return true;
	}
	if (!take_word(&text, ":") || !take_class(&text, &g->classes))
		return false;
	while (*text)
		if (!take_word(&text, "+") || !take_class(&text, &g->classes))
			return false;
	return true;
}

static bool parse_key(const char *text, struct generator *g)
{
	static const struct {
		const char *text;
		enum generator_kind kind;
		uint32_t n;
	} keys[] = {
		{ "rsa:2048", GENERATOR_RSA, 2048 }, { "rsa:3072", GENERATOR_RSA, 3072 },
		{ "rsa:4096", GENERATOR_RSA, 4096 }, { "ec:p256", GENERATOR_EC, 256 },
		{ "ec:p384", GENERATOR_EC, 384 },    { "ec:p521", GENERATOR_EC, 521 },
		{ "ed25519", GENERATOR_ED25519, 0 }, { "uuid", GENERATOR_UUID, 0 },
	};

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (!strcmp(text, keys[i].text)) {
			g->kind = keys[i].kind;
			g->n = keys[i].n;
			return true;
		}
	return false;
}

int generator_parse(const char *text, struct generator *ret)
{
	struct generator g = { 0 };
	bool good;

	if (take_word(&text, "random:")) {
		g.kind = GENERATOR_RANDOM;
		good = parse_random(text, &g);
	} else if (take_word(&text, "password:")) {
		g.kind = GENERATOR_PASSWORD;
		good = parse_password(text, &g);
	} else {
		good = parse_key(text, &g);
	}
	if (!good)
		return -EINVAL;
	*ret = g;
	return 0;
}

/* ---- bytes and text ---- */

static const char hex_digits[] = "0123456789abcdef";

static void encode_hex(const uint8_t *in, size_t n, uint8_t *out)
{
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = (uint8_t)hex_digits[in[i] >> 4];
		out[2 * i + 1] = (uint8_t)hex_digits[in[i] & 15];
	}
}

/* RFC 4648 §4, with padding. By hand: EVP_EncodeBlock writes a NUL behind the end. */
static void encode_base64(const uint8_t *in, size_t n, uint8_t *out)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3, out += 4) {
		uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) |
			     (i + 2 < n ? in[i + 2] : 0);
		out[0] = (uint8_t)alphabet[v >> 18];
		out[1] = (uint8_t)alphabet[v >> 12 & 63];
		out[2] = i + 1 < n ? (uint8_t)alphabet[v >> 6 & 63] : '=';
		out[3] = i + 2 < n ? (uint8_t)alphabet[v & 63] : '=';
	}
}

static int make_random(const struct generator *g, struct secbuf **ret_value)
{
	size_t len = g->encoding == GENERATOR_RAW   ? g->n
		     : g->encoding == GENERATOR_HEX ? (size_t)2 * g->n
						    : ((size_t)g->n + 2) / 3 * 4;
	struct secbuf *raw = NULL, *value = NULL;
	int r = secbuf_new(g->n, &raw);

	if (r == 0)
		r = secbuf_new(len, &value);
	if (r == 0)
		r = random_bytes(secbuf_data(raw), g->n);
	if (r == 0)
		r = secbuf_set_len(value, len);
	if (r < 0)
		goto out;
	if (g->encoding == GENERATOR_RAW)
		memcpy(secbuf_data(value), secbuf_cdata(raw), len);
	else if (g->encoding == GENERATOR_HEX)
		encode_hex(secbuf_cdata(raw), g->n, secbuf_data(value));
	else
		encode_base64(secbuf_cdata(raw), g->n, secbuf_data(value));
	*ret_value = value;
	value = NULL;
out:
	secbuf_free(value);
	secbuf_free(raw);
	return r;
}

/* Fills with characters of the alphabet, each as likely as any other: bytes beyond the last whole round of the alphabet
 * are thrown away. */
static int fill(uint8_t *out, size_t n, const char *alphabet, size_t letters, uint8_t *pool, size_t pool_len)
{
	size_t at = pool_len, limit = 256 - 256 % letters;

	for (size_t i = 0; i < n; at++) {
		if (at >= pool_len) {
			int r = random_bytes(pool, pool_len);
			if (r < 0)
				return r;
			at = 0;
		}
		if (pool[at] < limit)
			out[i++] = (uint8_t)alphabet[pool[at] % letters];
	}
	return 0;
}

static bool has_every_class(const uint8_t *text, size_t n, unsigned set)
{
	unsigned found = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < CLASSES; k++)
			if (strchr(classes[k].alphabet, text[i]))
				found |= classes[k].bit;
	return (found & set) == set;
}

/* A password without one of its classes is thrown away as a whole: to force a character in somewhere would make some
 * passwords likelier than others. */
static int make_password(const struct generator *g, struct secbuf **ret_value)
{
	char alphabet[80] = "";
	struct secbuf *value = NULL, *pool = NULL;
	int r = secbuf_new(g->n, &value);

	for (size_t k = 0; k < CLASSES; k++)
		if (g->classes & classes[k].bit)
			strcat(alphabet, classes[k].alphabet);
	if (r == 0)
		r = secbuf_new(64, &pool);
	if (r == 0)
		r = secbuf_set_len(value, g->n);
	while (r == 0) {
		r = fill(secbuf_data(value), g->n, alphabet, strlen(alphabet), secbuf_data(pool), 64);
		if (r == 0 && has_every_class(secbuf_cdata(value), g->n, g->classes))
			break;
	}
	secbuf_free(pool);
	if (r < 0) {
		secbuf_free(value);
		return r;
	}
	*ret_value = value;
	return 0;
}

static int make_uuid(struct secbuf **ret_value)
{
	struct secbuf *raw = NULL, *value = NULL;
	uint8_t *in, *out;
	int r = secbuf_new(16, &raw);

	if (r == 0)
		r = secbuf_new(36, &value);
	if (r == 0)
		r = random_bytes(secbuf_data(raw), 16);
	if (r == 0)
		r = secbuf_set_len(value, 36);
	if (r < 0)
		goto out;
	in = secbuf_data(raw);
	out = secbuf_data(value);
	in[6] = (uint8_t)((in[6] & 0x0f) | 0x40); /* version 4 */
	in[8] = (uint8_t)((in[8] & 0x3f) | 0x80); /* variant */
	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		encode_hex(in + i, 1, out);
		out += 2;
	}
	*ret_value = value;
	value = NULL;
out:
	secbuf_free(value);
	secbuf_free(raw);
	return r;
}

/* ---- keys ---- */

static EVP_PKEY *new_key(const struct generator *g)
{
	if (g->kind == GENERATOR_RSA)
		return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)g->n);
	if (g->kind == GENERATOR_EC)
		return EVP_PKEY_Q_keygen(NULL, NULL, "EC", g->n == 256 ? "P-256" : g->n == 384 ? "P-384" : "P-521");
	return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

/* Everything that OpenSSL allocates meanwhile lies in locked memory, the PEM text too. */
static int make_key(const struct generator *g, struct secbuf **ret_value)
{
	struct secbuf *value = NULL;
	EVP_PKEY *key;
	BIO *out;
	char *text = NULL;
	long len;
	int r = -EIO;

	crypto_secret_begin();
	key = new_key(g);
	out = BIO_new(BIO_s_mem());
	if (!key || !out || PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1)
		goto out;
	len = BIO_get_mem_data(out, &text);
	if (len <= 0)
		goto out;
	r = secbuf_new((size_t)len, &value);
	if (r == 0)
		r = secbuf_set_len(value, (size_t)len);
	if (r < 0)
		goto out;
	memcpy(secbuf_data(value), text, (size_t)len);
	*ret_value = value;
	value = NULL;
out:
	secbuf_free(value);
	BIO_free(out);
	EVP_PKEY_free(key);
	crypto_secret_end();
	return r;
}

int generate(const struct generator *g, struct secbuf **ret_value)
{
	switch (g->kind) {
	case GENERATOR_RANDOM:
		return make_random(g, ret_value);
	case GENERATOR_PASSWORD:
		return make_password(g, ret_value);
	case GENERATOR_UUID:
		return make_uuid(ret_value);
	case GENERATOR_RSA:
	case GENERATOR_EC:
	case GENERATOR_ED25519:
		return make_key(g, ret_value);
	}
	return -EINVAL;
}
