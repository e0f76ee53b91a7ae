#include "store/envelope.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "store/bigendian.h"

static const char magic[4] = { 'C', 'F', 'E', '1' };
static const char label[] = "coffer envelope 1";	/* with its NUL */

#define AAD_LEN (sizeof(label) + 16 + 8 + 4 + 4)

static struct bytes envelope_aad(const struct envelope_context *ctx, size_t len, uint8_t ret[AAD_LEN])
{
	uint8_t *p = ret;

	memcpy(p, label, sizeof(label));
	p += sizeof(label);
	memcpy(p, ctx->vault, 16);
	p += 16;
	put_be64(p, ctx->secret);
	p += 8;
	put_be32(p, ctx->version);
	p += 4;
	put_be32(p, (uint32_t)len);
	return (struct bytes){ ret, AAD_LEN };
}

int envelope_seal(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const void *plain, size_t len, uint8_t *ret_sealed)
{
	uint8_t aad[AAD_LEN], *nonce = ret_sealed + sizeof(magic), *cipher = nonce + NONCE_LEN;
	int r;

	assert(len <= VALUE_MAX);
	memcpy(ret_sealed, magic, sizeof(magic));
	r = random_bytes(nonce, NONCE_LEN);
	if (r == 0)
		r = aead_seal(dek, nonce, envelope_aad(ctx, len, aad), plain, len, cipher, cipher + len);
	return r;
}

int envelope_open_into(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const uint8_t *sealed, size_t len, uint8_t *ret_plain, size_t room, size_t *ret_len)
{
	uint8_t aad[AAD_LEN];
	const uint8_t *nonce = sealed + sizeof(magic), *cipher = nonce + NONCE_LEN;
	size_t plain_len;
	int r;

	if (len < ENVELOPE_OVERHEAD || len - ENVELOPE_OVERHEAD > VALUE_MAX)
		return -EBADMSG;
	if (memcmp(sealed, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	plain_len = len - ENVELOPE_OVERHEAD;
	if (plain_len > room)
		return -ENOBUFS;
	r = aead_open(dek, nonce, envelope_aad(ctx, plain_len, aad), cipher, plain_len, cipher + plain_len, ret_plain);
	if (r == 0)
		*ret_len = plain_len;
	return r;
}

int envelope_open(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const uint8_t *sealed, size_t len, struct secbuf *ret_plain)
{
	size_t plain_len;
	int r;

	(void)secbuf_set_len(ret_plain, 0);
	r = envelope_open_into(dek, ctx, sealed, len, secbuf_data(ret_plain), secbuf_capacity(ret_plain), &plain_len);
	assert(r != -ENOBUFS);
	return r == 0 ? secbuf_set_len(ret_plain, plain_len) : r;
}
