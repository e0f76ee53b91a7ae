#include "store/keys/transport.h"

#include <errno.h>
#include <string.h>

#include "store/crypto/bytes.h"
#include "store/crypto/secbuf.h"

const char box_label_recipient[] = "coffer backup key 1", box_label_holder[] = "coffer restore key 1";

static const uint8_t zero_nonce[NONCE_LEN];
static const struct bytes none;

/* ---- the file key ---- */

int transport_stream_key(const uint8_t file_key[KEY_LEN], uint8_t ret_key[KEY_LEN])
{
	return hkdf256(file_key, "coffer backup stream 1", none, ret_key);
}

static struct wrap_context ticket_context(const uint8_t vault[16])
{
	struct wrap_context ctx = { .type = WRAP_BACKUP };

	memcpy(ctx.vault, vault, sizeof ctx.vault);
	return ctx;
}

int transport_begin(struct kek *k, const uint8_t vault[16], const uint8_t recipient[CURVE_LEN],
		    struct transport_start *ret)
{
	const struct wrap_context ctx = ticket_context(vault);
	uint8_t file_key[KEY_LEN];
	int r = wrap_new(k, &ctx, file_key, ret->ticket, &ret->ticket_len);

	if (r == 0)
		r = box_seal(box_label_recipient, recipient, file_key, ret->box);
	if (r == 0)
		r = transport_stream_key(file_key, ret->stream_key);
	secmem_wipe(file_key, sizeof file_key);
	return r;
}

int transport_ticket(struct kek *k, const uint8_t vault[16], const uint8_t *ticket, size_t len,
		     uint8_t ret_file_key[KEY_LEN])
{
	const struct wrap_context ctx = ticket_context(vault);
	int r = wrap_open(k, &ctx, ticket, len, ret_file_key);

	return r == -ENOKEY ? -EBADMSG : r;
}

/* ---- seeds ---- */

static int seed_key(const uint8_t file_key[KEY_LEN], const struct wrap_context *was, uint8_t ret_key[KEY_LEN])
{
	uint8_t context[16 + 8 + 4];

	memcpy(context, was->vault, 16);
	put_be64(context + 16, was->secret);
	put_be32(context + 24, was->version);
	return hkdf256(file_key, "coffer backup seed 1", (struct bytes){ context, sizeof context }, ret_key);
}

int transport_export(struct kek *k, const uint8_t file_key[KEY_LEN], const struct wrap_context *was,
		     const uint8_t *record, size_t len, uint8_t ret_sealed[SEALED_SEED_LEN])
{
	uint8_t seed[KEY_LEN], key[KEY_LEN];
	int r = wrap_open_seed(k, was, record, len, seed);

	if (r == -ENOKEY) /* which is for a sealed vault */
		r = -EBADMSG;
	if (r == 0)
		r = seed_key(file_key, was, key);
	if (r == 0)
		r = aead_seal(key, zero_nonce, none, seed, KEY_LEN, ret_sealed, ret_sealed + KEY_LEN);
	secmem_wipe(seed, sizeof seed);
	secmem_wipe(key, sizeof key);
	return r;
}

int transport_import(struct kek *k, const uint8_t file_key[KEY_LEN], const struct wrap_context *was,
		     const uint8_t sealed[SEALED_SEED_LEN], const struct wrap_context *becomes,
		     uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len)
{
	uint8_t seed[KEY_LEN], key[KEY_LEN];
	int r = seed_key(file_key, was, key);

	if (r == 0)
		r = aead_open(key, zero_nonce, none, sealed, KEY_LEN, sealed + KEY_LEN, seed);
	if (r == 0)
		r = wrap_seed(k, becomes, seed, ret_record, ret_len);
	secmem_wipe(seed, sizeof seed);
	secmem_wipe(key, sizeof key);
	return r;
}

/* ---- signatures ---- */

static struct wrap_context signer_context(const uint8_t vault[16])
{
	struct wrap_context ctx = { .type = WRAP_SIGNER };

	memcpy(ctx.vault, vault, sizeof ctx.vault);
	return ctx;
}

int signer_new(struct kek *k, const uint8_t vault[16], uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len,
	       uint8_t ret_public[CURVE_LEN])
{
	const struct wrap_context ctx = signer_context(vault);
	uint8_t private[CURVE_LEN];
	int r = wrap_new(k, &ctx, private, ret_record, ret_len);

	if (r == 0)
		r = ed25519_public(private, ret_public);
	secmem_wipe(private, sizeof private);
	return r;
}

static const char signature_label[] = "coffer backup signature 1"; /* with its NUL */
#define SIGNED_LEN (sizeof signature_label + DIGEST_LEN)

static void signed_message(const uint8_t digest[DIGEST_LEN], uint8_t ret[SIGNED_LEN])
{
	memcpy(ret, signature_label, sizeof signature_label);
	memcpy(ret + sizeof signature_label, digest, DIGEST_LEN);
}

int signer_sign(struct kek *k, const uint8_t vault[16], const uint8_t *record, size_t len,
		const uint8_t digest[DIGEST_LEN], uint8_t ret_signature[SIGNATURE_LEN])
{
	const struct wrap_context ctx = signer_context(vault);
	uint8_t private[CURVE_LEN], message[SIGNED_LEN];
	int r = wrap_open(k, &ctx, record, len, private);

	if (r == -ENOKEY)
		r = -EBADMSG;
	signed_message(digest, message);
	if (r == 0)
		r = ed25519_sign(private, message, sizeof message, ret_signature);
	secmem_wipe(private, sizeof private);
	return r;
}

int signer_verify(const uint8_t public[CURVE_LEN], const uint8_t digest[DIGEST_LEN],
		  const uint8_t signature[SIGNATURE_LEN])
{
	uint8_t message[SIGNED_LEN];

	signed_message(digest, message);
	return ed25519_verify(public, message, sizeof message, signature);
}
