#include "store/crypto/curve.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "store/crypto/secbuf.h"

static const uint8_t zeros[KEY_LEN];

/* ---- OpenSSL's keys ---- */

static int raw_public(EVP_PKEY *key, uint8_t ret_public[CURVE_LEN])
{
	size_t len = CURVE_LEN;

	return EVP_PKEY_get_raw_public_key(key, ret_public, &len) == 1 && len == CURVE_LEN ? 0 : -EIO;
}

static int sign(EVP_PKEY *key, const void *message, size_t len, uint8_t ret_signature[SIGNATURE_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = SIGNATURE_LEN;
	int r = ctx && EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
				EVP_DigestSign(ctx, ret_signature, &n, message, len) == 1 && n == SIGNATURE_LEN
			? 0
			: -EIO;

	EVP_MD_CTX_free(ctx);
	return r;
}

static int verify(EVP_PKEY *key, const void *message, size_t len, const uint8_t signature[SIGNATURE_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int r = -EIO;

	if (ctx && EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) == 1)
		r = EVP_DigestVerify(ctx, signature, SIGNATURE_LEN, message, len) == 1 ? 0 : -EBADMSG;
	EVP_MD_CTX_free(ctx);
	return r;
}

/* Fails for a peer of small order: the shared secret would be zeros (RFC 7748 section 6.1). */
static int agree(EVP_PKEY *key, EVP_PKEY *peer, uint8_t ret_shared[KEY_LEN])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	size_t n = KEY_LEN;
	int r = -EIO;

	if (ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1)
		r = EVP_PKEY_derive(ctx, ret_shared, &n) == 1 && n == KEY_LEN &&
				    secret_cmp(ret_shared, zeros, KEY_LEN) != 0
			    ? 0
			    : -EBADMSG;
	EVP_PKEY_CTX_free(ctx);
	return r;
}

/* OpenSSL keeps what it looks up for an algorithm for good: let it do that once, in ordinary memory, with keys that are
 * none. */
static pthread_once_t warm_once = PTHREAD_ONCE_INIT;

static void warm(void)
{
	static const uint8_t nine[CURVE_LEN] = { 9 }; /* the base point */
	uint8_t out[SIGNATURE_LEN];
	EVP_PKEY *x = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, nine, CURVE_LEN);
	EVP_PKEY *peer = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, nine, CURVE_LEN);
	EVP_PKEY *ed = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, nine, CURVE_LEN);

	if (x && peer)
		(void)agree(x, peer, out);
	if (ed && sign(ed, "", 0, out) == 0)
		(void)verify(ed, "", 0, out);
	EVP_PKEY_free(x);
	EVP_PKEY_free(peer);
	EVP_PKEY_free(ed);
	ERR_clear_error();
}

static void begin(void)
{
	pthread_once(&warm_once, warm);
	crypto_secret_begin();
}

static int end(int r)
{
	crypto_secret_end();
	if (r < 0)
		ERR_clear_error();
	return r;
}

static EVP_PKEY *private_key(const char *type, const uint8_t key[CURVE_LEN])
{
	return EVP_PKEY_new_raw_private_key_ex(NULL, type, NULL, key, CURVE_LEN);
}

static int public_of(const char *type, const uint8_t private[CURVE_LEN], uint8_t ret_public[CURVE_LEN])
{
	EVP_PKEY *key;
	int r;

	begin();
	key = private_key(type, private);
	r = key ? raw_public(key, ret_public) : -ENOMEM;
	EVP_PKEY_free(key);
	return end(r);
}

int x25519_public(const uint8_t private[CURVE_LEN], uint8_t ret_public[CURVE_LEN])
{
	return public_of("X25519", private, ret_public);
}

int ed25519_public(const uint8_t private[CURVE_LEN], uint8_t ret_public[CURVE_LEN])
{
	return public_of("ED25519", private, ret_public);
}

int ed25519_sign(const uint8_t private[CURVE_LEN], const void *message, size_t len,
		 uint8_t ret_signature[SIGNATURE_LEN])
{
	EVP_PKEY *key;
	int r;

	begin();
	key = private_key("ED25519", private);
	r = key ? sign(key, message, len, ret_signature) : -ENOMEM;
	EVP_PKEY_free(key);
	return end(r);
}

int ed25519_verify(const uint8_t public[CURVE_LEN], const void *message, size_t len,
		   const uint8_t signature[SIGNATURE_LEN])
{
	EVP_PKEY *key;
	int r;

	begin();
	key = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, public, CURVE_LEN);
	r = key ? verify(key, message, len, signature) : -EBADMSG;
	EVP_PKEY_free(key);
	return end(r);
}

/* ---- boxes ---- */

/* The key that both sides come to. ephemeral and recipient are the public halves. */
static int box_key(const char *label, const uint8_t private[CURVE_LEN], const uint8_t peer[CURVE_LEN],
		   const uint8_t ephemeral[CURVE_LEN], const uint8_t recipient[CURVE_LEN], uint8_t ret_key[KEY_LEN])
{
	uint8_t shared[KEY_LEN], context[2 * CURVE_LEN];
	EVP_PKEY *key, *other;
	int r;

	begin();
	key = private_key("X25519", private);
	other = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, peer, CURVE_LEN);
	r = key && other ? agree(key, other, shared) : -ENOMEM;
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	r = end(r);
	memcpy(context, ephemeral, CURVE_LEN);
	memcpy(context + CURVE_LEN, recipient, CURVE_LEN);
	if (r == 0)
		r = hkdf256(shared, label, (struct bytes){ context, sizeof context }, ret_key);
	secmem_wipe(shared, sizeof shared);
	return r;
}

int box_seal(const char *label, const uint8_t recipient[CURVE_LEN], const uint8_t key[KEY_LEN],
	     uint8_t ret_box[BOX_LEN])
{
	uint8_t private[CURVE_LEN], box[BOX_LEN], wrapping[KEY_LEN];
	int r = random_bytes(private, sizeof private);

	if (r == 0)
		r = x25519_public(private, box);
	if (r == 0)
		r = box_key(label, private, recipient, box, recipient, wrapping);
	if (r == 0)
		r = aead_seal(wrapping, zeros, (struct bytes){ NULL, 0 }, key, KEY_LEN, box + CURVE_LEN,
			      box + CURVE_LEN + KEY_LEN);
	if (r == 0)
		memcpy(ret_box, box, BOX_LEN);
	secmem_wipe(private, sizeof private);
	secmem_wipe(wrapping, sizeof wrapping);
	return r;
}

int box_open(const char *label, const uint8_t private[CURVE_LEN], const uint8_t box[BOX_LEN], uint8_t ret_key[KEY_LEN])
{
	uint8_t public[CURVE_LEN], wrapping[KEY_LEN], key[KEY_LEN];
	int r = x25519_public(private, public);

	if (r == 0)
		r = box_key(label, private, box, box, public, wrapping);
	if (r == 0)
		r = aead_open(wrapping, zeros, (struct bytes){ NULL, 0 }, box + CURVE_LEN, KEY_LEN,
			      box + CURVE_LEN + KEY_LEN, key);
	if (r == 0)
		memcpy(ret_key, key, KEY_LEN);
	secmem_wipe(wrapping, sizeof wrapping);
	secmem_wipe(key, sizeof key);
	return r;
}

/* ---- PEM ----
 *
 * RFC 8410 leaves no choice in the DER of a bare X25519 key: a fixed head, then the 32 bytes. So the codec is a
 * comparison, and no ASN.1 parser meets the file. */

static const struct form {
	const char *begin, *end;
	uint8_t head[16];
	size_t head_len;
} forms[2] = {
	{ "-----BEGIN PUBLIC KEY-----",
	  "-----END PUBLIC KEY-----",
	  { 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00 },
	  12 },
	{ "-----BEGIN PRIVATE KEY-----",
	  "-----END PRIVATE KEY-----",
	  { 0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20 },
	  16 },
};

#define DER_MAX    (16 + CURVE_LEN)
#define BASE64_MAX 64

int x25519_pem_parse(const char *text, size_t len, bool private, uint8_t ret_key[CURVE_LEN])
{
	const struct form *form = &forms[private];
	const char *from = memmem(text, len, form->begin, strlen(form->begin)), *to;
	char base64[BASE64_MAX];
	uint8_t der[DER_MAX];
	size_t n = 0;
	int r = -EINVAL;

	if (!from)
		return r;
	from += strlen(form->begin);
	to = memmem(from, len - (size_t)(from - text), form->end, strlen(form->end));
	for (; to && from < to; from++) {
		if (*from == '\n' || *from == '\r' || *from == ' ')
			continue;
		if (n == sizeof base64)
			goto out;
		base64[n++] = *from;
	}
	/* 44 bytes are 60 characters with one '=' of padding, 48 are 64 without any; EVP_DecodeBlock counts padding as
	 * zeros. */
	if (!to || n != (form->head_len + CURVE_LEN + 2) / 3 * 4 ||
	    EVP_DecodeBlock(der, (const unsigned char *)base64, (int)n) < 0)
		goto out;
	if (memcmp(der, form->head, form->head_len) != 0)
		goto out;
	memcpy(ret_key, der + form->head_len, CURVE_LEN);
	r = 0;
out:
	secmem_wipe(base64, sizeof base64);
	secmem_wipe(der, sizeof der);
	return r;
}

size_t x25519_pem_print(const uint8_t key[CURVE_LEN], bool private, char ret_text[CURVE_PEM_MAX])
{
	const struct form *form = &forms[private];
	uint8_t der[DER_MAX];
	unsigned char base64[BASE64_MAX + 1];
	int n;

	memcpy(der, form->head, form->head_len);
	memcpy(der + form->head_len, key, CURVE_LEN);
	EVP_EncodeBlock(base64, der, (int)(form->head_len + CURVE_LEN));
	n = snprintf(ret_text, CURVE_PEM_MAX, "%s\n%s\n%s\n", form->begin, (char *)base64, form->end);
	secmem_wipe(der, sizeof der);
	secmem_wipe(base64, sizeof base64);
	return (size_t)n;
}
