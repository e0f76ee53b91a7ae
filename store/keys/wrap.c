/* The record around a wrapped key. Integers are big-endian.
 *
 *   offset  bytes
 *        0      4  "CFW1"
 *        4      1  type: 1 vault key, 2 data key, 3 signing key, 4 backup's file key
 *        5      1  algorithm: 1 AES-256-KW (RFC 3394), 2 RSA-OAEP with SHA-256 and MGF1-SHA-256 and no label (RFC 8017)
 *        6      2  n, the length of the wrapped seed: 40 for AES-KW, the modulus' for RSA (256 to 512)
 *        8     16  vault
 *       24      8  secret
 *       32      4  version
 *       36     16  id of the KEK
 *       52      n  the seed, 32 random bytes, wrapped by the KEK
 *     52+n     32  HMAC-SHA-256 of all bytes before it, under HKDF-SHA-256(seed, info "coffer record 1")
 *
 * The key that is handed out is HKDF-SHA-256(seed, info "coffer key 1"). Who lacks the KEK's private part can make an
 * RSA record of a seed of his own, but not one of a seed that is in use: a record proves its context to who holds its
 * key, and rows have MACs besides. */
#include "store/keys/wrap.h"

#include <errno.h>
#include <string.h>

#include "store/crypto/bytes.h"
#include "store/crypto/secbuf.h"

#define HEAD_LEN    52
#define RSA_LEN_MIN 256

_Static_assert(HEAD_LEN + KEK_WRAPPED_MAX + DIGEST_LEN <= WRAP_RECORD_MAX, "a record fits");

static const char magic[4] = { 'C', 'F', 'W', '1' };

struct record { /* borrowed from the bytes */
	const uint8_t *bytes;
	const uint8_t *wrapped;
	const uint8_t *mac;
	size_t wrapped_len;
};

static void put_head(uint8_t *p, const struct wrap_context *ctx, const struct kek *k, size_t wrapped_len)
{
	memcpy(p, magic, sizeof(magic));
	p[4] = (uint8_t)ctx->type;
	p[5] = (uint8_t)kek_alg(k);
	put_be16(p + 6, (uint16_t)wrapped_len);
	memcpy(p + 8, ctx->vault, 16);
	put_be64(p + 24, ctx->secret);
	put_be32(p + 32, ctx->version);
	kek_id(k, p + 36);
}

static int parse(const uint8_t *bytes, size_t len, struct record *ret)
{
	size_t n;

	if (len < HEAD_LEN + DIGEST_LEN || len > WRAP_RECORD_MAX || memcmp(bytes, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	n = get_be16(bytes + 6);
	if (len != HEAD_LEN + n + DIGEST_LEN)
		return -EBADMSG;
	if (bytes[5] == KEK_ALG_AES_KW ? n != KW_LEN
				       : bytes[5] != KEK_ALG_RSA_OAEP_256 || n < RSA_LEN_MIN || n > KEK_WRAPPED_MAX)
		return -EBADMSG;
	*ret = (struct record){ bytes, bytes + HEAD_LEN, bytes + HEAD_LEN + n, n };
	return 0;
}

static int record_mac(const uint8_t seed[KEY_LEN], const uint8_t *bytes, size_t len, uint8_t ret_mac[DIGEST_LEN])
{
	const struct bytes all = { bytes, len };
	uint8_t key[KEY_LEN];
	int r = hkdf256(seed, "coffer record 1", (struct bytes){ NULL, 0 }, key);

	if (r == 0)
		r = hmac256(key, &all, 1, ret_mac);
	secmem_wipe(key, sizeof(key));
	return r;
}

static int handed_out(const uint8_t seed[KEY_LEN], uint8_t ret_key[KEY_LEN])
{
	return hkdf256(seed, "coffer key 1", (struct bytes){ NULL, 0 }, ret_key);
}

/* A record of a seed; ret_key (may be NULL) gets the key that it stands for. */
static int make(struct kek *k, const struct wrap_context *ctx, const uint8_t seed[KEY_LEN], uint8_t *ret_key,
		uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len)
{
	uint8_t record[WRAP_RECORD_MAX];
	size_t n = 0;
	int r = kek_wrap(k, seed, record + HEAD_LEN, &n);

	if (r < 0)
		return r;
	put_head(record, ctx, k, n);
	r = record_mac(seed, record, HEAD_LEN + n, record + HEAD_LEN + n);
	if (r == 0 && ret_key)
		r = handed_out(seed, ret_key);
	if (r < 0)
		return r;
	memcpy(ret_record, record, HEAD_LEN + n + DIGEST_LEN);
	*ret_len = HEAD_LEN + n + DIGEST_LEN;
	return 0;
}

int wrap_new(struct kek *k, const struct wrap_context *ctx, uint8_t ret_key[KEY_LEN],
	     uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len)
{
	uint8_t seed[KEY_LEN];
	int r = random_bytes(seed, sizeof(seed));

	if (r == 0)
		r = make(k, ctx, seed, ret_key, ret_record, ret_len);
	secmem_wipe(seed, sizeof(seed));
	return r;
}

int wrap_seed(struct kek *k, const struct wrap_context *ctx, const uint8_t seed[KEY_LEN],
	      uint8_t ret_record[WRAP_RECORD_MAX], size_t *ret_len)
{
	return make(k, ctx, seed, NULL, ret_record, ret_len);
}

int wrap_open_seed(struct kek *k, const struct wrap_context *ctx, const uint8_t *record, size_t len,
		   uint8_t ret_seed[KEY_LEN])
{
	uint8_t expected[HEAD_LEN], seed[KEY_LEN], mac[DIGEST_LEN];
	struct record rec;
	int r = parse(record, len, &rec);

	if (r < 0)
		return r;
	/* Everything but the KEK's id and algorithm first: a record for something else is that, whoever's KEK it names.
	 */
	put_head(expected, ctx, k, rec.wrapped_len);
	if (record[4] != expected[4] || memcmp(record + 8, expected + 8, 36 - 8) != 0)
		return -EBADMSG;
	if (memcmp(record + 36, expected + 36, KEK_ID_LEN) != 0)
		return -ENOKEY;
	if (record[5] != expected[5])
		return -EBADMSG;
	r = kek_unwrap(k, rec.wrapped, rec.wrapped_len, seed);
	if (r == 0)
		r = record_mac(seed, record, HEAD_LEN + rec.wrapped_len, mac);
	if (r == 0 && secret_cmp(mac, rec.mac, DIGEST_LEN) != 0)
		r = -EBADMSG;
	if (r == 0)
		memcpy(ret_seed, seed, KEY_LEN);
	secmem_wipe(seed, sizeof(seed));
	secmem_wipe(mac, sizeof(mac));
	return r;
}

int wrap_open(struct kek *k, const struct wrap_context *ctx, const uint8_t *record, size_t len,
	      uint8_t ret_key[KEY_LEN])
{
	uint8_t seed[KEY_LEN];
	int r = wrap_open_seed(k, ctx, record, len, seed);

	if (r == 0)
		r = handed_out(seed, ret_key);
	secmem_wipe(seed, sizeof(seed));
	return r;
}

int wrap_kek_id(const uint8_t *record, size_t len, uint8_t ret_id[KEK_ID_LEN])
{
	struct record rec;
	int r = parse(record, len, &rec);

	if (r == 0)
		memcpy(ret_id, record + 36, KEK_ID_LEN);
	return r;
}
