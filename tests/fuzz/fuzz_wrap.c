/* No bytes but a record of this KEK and context open; lengths that the bytes claim are not believed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/crypto/secbuf.h"
#include "store/keys/wrap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct wrap_context ctx = { .type = WRAP_DEK, .vault = { 9 }, .secret = 1, .version = 1 };
static uint8_t key[KEY_LEN], record[WRAP_RECORD_MAX];
static size_t record_len;
static struct kek *kek;

static void start(void)
{
	static const uint8_t bytes[KEY_LEN] = { 4, 5, 6 };
	struct kek_source src = { .uri = "file:/nonexistent" };
	char why[KEK_WHY_MAX];

	(void)secmem_init((size_t)1 << 20, SECMEM_AUTO);
	src.fd = memfd_create("kek", MFD_CLOEXEC);
	if (crypto_init() != 0 || src.fd < 0 || fchmod(src.fd, 0600) < 0 || write(src.fd, bytes, KEY_LEN) != KEY_LEN ||
	    kek_open(&src, &kek, why, sizeof(why)) != 0 || wrap_new(kek, &ctx, key, record, &record_len) != 0)
		abort();
	close(src.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[KEY_LEN], id[KEK_ID_LEN], mixed[WRAP_RECORD_MAX];
	bool same = true;
	int r;

	if (!kek)
		start();
	(void)wrap_kek_id(data, size, id);
	r = wrap_open(kek, &ctx, data, size, out);
	if (r == 0 ? size != record_len || memcmp(data, record, size) != 0 : r != -EBADMSG && r != -ENOKEY)
		abort();

	/* the input laid over a true record: pairs of place and change */
	memcpy(mixed, record, record_len);
	for (size_t i = 0; i + 1 < size && i < 16; i += 2)
		mixed[data[i] % record_len] ^= data[i + 1];
	same = memcmp(mixed, record, record_len) == 0;
	r = wrap_open(kek, &ctx, mixed, record_len, out);
	if (same ? r != 0 || memcmp(out, key, KEY_LEN) != 0 : r != -EBADMSG && r != -ENOKEY)
		abort();
	return 0;
}
