#include "store/keys/envelope.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "store/crypto/bytes.h"
#include "store/crypto/secbuf.h"

static const char magic[4] = { 'C', 'F', 'E', '1' };
static const char moved_magic[4] = { 'C', 'F', 'E', '2' };
static const char label[] = "coffer envelope 1"; /* with its NUL */

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

int envelope_seal(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const void *plain, size_t len,
		  uint8_t *ret_sealed)
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

static bool is_moved(const uint8_t *sealed) { return memcmp(sealed, moved_magic, sizeof(moved_magic)) == 0; }

int envelope_plain_len(const uint8_t *sealed, size_t len, size_t *ret_len)
{
	size_t overhead = ENVELOPE_OVERHEAD;

	if (len < ENVELOPE_OVERHEAD)
		return -EBADMSG;
	if (is_moved(sealed))
		overhead += ENVELOPE_ORIGIN;
	else if (memcmp(sealed, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	if (len < overhead || len - overhead > VALUE_MAX)
		return -EBADMSG;
	*ret_len = len - overhead;
	return 0;
}

bool envelope_origin(const uint8_t *sealed, struct envelope_context *ret_origin)
{
	const uint8_t *p = sealed + sizeof(moved_magic);

	if (!is_moved(sealed))
		return false;
	memcpy(ret_origin->vault, p, sizeof(ret_origin->vault));
	ret_origin->secret = get_be64(p + 16);
	ret_origin->version = get_be32(p + 24);
	return true;
}

size_t envelope_keep_origin(const uint8_t *sealed, size_t len, const struct envelope_context *ctx, uint8_t *ret)
{
	uint8_t *p = ret + sizeof(moved_magic);

	if (is_moved(sealed)) {
		memcpy(ret, sealed, len);
		return len;
	}
	memcpy(ret, moved_magic, sizeof(moved_magic));
	memcpy(p, ctx->vault, sizeof(ctx->vault));
	put_be64(p + 16, ctx->secret);
	put_be32(p + 24, ctx->version);
	memcpy(p + ENVELOPE_ORIGIN, sealed + sizeof(magic), len - sizeof(magic));
	return len + ENVELOPE_ORIGIN;
}

int envelope_open_into(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const uint8_t *sealed,
		       size_t len, uint8_t *ret_plain, size_t room, size_t *ret_len)
{
	struct envelope_context origin;
	uint8_t aad[AAD_LEN];
	const uint8_t *nonce = sealed + sizeof(magic), *cipher;
	size_t plain_len = 0;
	int r = envelope_plain_len(sealed, len, &plain_len);

	if (r < 0)
		return r;
	if (plain_len > room)
		return -ENOBUFS;
	if (envelope_origin(sealed, &origin)) {
		ctx = &origin;
		nonce += ENVELOPE_ORIGIN;
	}
	cipher = nonce + NONCE_LEN;
	r = aead_open(dek, nonce, envelope_aad(ctx, plain_len, aad), cipher, plain_len, cipher + plain_len, ret_plain);
	if (r == 0)
		*ret_len = plain_len;
	return r;
}

int envelope_open(const uint8_t dek[KEY_LEN], const struct envelope_context *ctx, const uint8_t *sealed, size_t len,
		  struct secbuf *ret_plain)
{
	size_t plain_len;
	int r;

	(void)secbuf_set_len(ret_plain, 0);
	r = envelope_open_into(dek, ctx, sealed, len, secbuf_data(ret_plain), secbuf_capacity(ret_plain), &plain_len);
	assert(r != -ENOBUFS);
	return r == 0 ? secbuf_set_len(ret_plain, plain_len) : r;
}
