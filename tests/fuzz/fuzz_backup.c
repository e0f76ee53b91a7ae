/* Bytes that are no backup, and bytes laid over a true one: the parsers of the header, of frames and of records refuse
 * them without reading beyond what is there. Nothing but the true stream verifies. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/backup/reader.h"
#include "store/crypto/secbuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t stream[4096], key[KEY_LEN] = { 5 };
static size_t stream_len;

struct bytes_source {
	const uint8_t *data;
	size_t len;
};

static int read_bytes(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len)
{
	const struct bytes_source *b = arg;
	size_t n = offset < b->len ? b->len - (size_t)offset : 0;

	n = n < len ? n : len;
	if (n)
		memcpy(ret, b->data + offset, n);
	*ret_len = n;
	return 0;
}

/* A header and one frame with these records. */
static size_t make(const uint8_t *records, size_t len, uint8_t ret[4096])
{
	struct backup_header h = { .vault_name = "fuzz",
				   .recipient = { .kind = BACKUP_TO_KEY, .name = "safe" },
				   .all = true };
	static struct stream_cipher c;
	size_t n = 0;

	/* a key of somebody's: under one of small order, zeros are a signature of many things */
	if (ed25519_public(key, h.signer) < 0 || header_print(&h, ret, &n) < 0)
		abort();
	c = (struct stream_cipher){ 0 };
	memcpy(c.key, key, KEY_LEN);
	if (sha256(&(struct bytes){ ret, n }, 1, c.header_hash) < 0 || frame_seal(&c, records, len, true, ret + n) < 0)
		abort();
	n += len + FRAME_OVERHEAD;
	memset(ret + n, 0, SIGNATURE_LEN);
	return n + SIGNATURE_LEN;
}

static void walk(const uint8_t *data, size_t size, bool may_verify)
{
	struct bytes_source b = { data, size };
	const struct backup_source source = { .read = read_bytes, .arg = &b };
	struct backup_reader *r = NULL;
	enum record_type type;
	struct fields f;
	char why[256], text[256];

	if (reader_open(&source, &r, why, sizeof why) < 0)
		return;
	if (reader_verify(r, NULL, why, sizeof why) == 0 && !may_verify)
		abort();
	if (reader_rewind(r, key) < 0)
		abort();
	while (reader_record(r, &type, &f) > 0) {
		while (f.left > 0 && f.error == 0) {
			(void)field_text(&f, text, sizeof text);
			(void)field_u64(&f);
			(void)field_u8(&f);
		}
	}
	reader_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t settings[] = { RECORD_SETTINGS, 0, 0, 0, 10, 0, 0, 0, 90, 0, 0, 0, 16, 0, 0 };
	uint8_t mixed[4096];

	if (!stream_len) {
		(void)secmem_init((size_t)1 << 20, SECMEM_AUTO);
		if (crypto_init() != 0)
			abort();
		stream_len = make(settings, sizeof settings, stream);
	}
	walk(data, size, false);
	/* laid over a stream: pairs of place and change */
	memcpy(mixed, stream, stream_len);
	for (size_t i = 0; i + 2 < size && i < 30; i += 3)
		mixed[(size_t)(data[i] << 8 | data[i + 1]) % stream_len] ^= data[i + 2];
	walk(mixed, stream_len, false);
	/* as the records of a stream whose seals are right */
	size = size < 3000 ? size : 3000;
	walk(mixed, make(data, size, mixed), false);
	return 0;
}
