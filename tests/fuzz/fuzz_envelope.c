/* No bytes but a sealed envelope open, none reads beyond its end, and what does open is what was sealed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/crypto/secbuf.h"
#include "store/keys/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t dek[KEY_LEN] = { 1, 2, 3 };
	static const struct envelope_context ctx = { .vault = { 9 }, .secret = 1, .version = 1 };
	static uint8_t *sealed;
	static struct secbuf *out;
	size_t at, value = size < 200 ? size : 200;

	if (!sealed) {
		(void)secmem_init((size_t)4 << 20, SECMEM_AUTO);
		sealed = malloc(200 + ENVELOPE_OVERHEAD);
		if (!sealed || crypto_init() != 0 || secbuf_new(VALUE_MAX, &out) != 0)
			abort();
	}
	if (envelope_open(dek, &ctx, data, size, out) != -EBADMSG || secbuf_len(out) != 0)
		abort(); /* would be a forgery */

	/* and the same bytes as changes to a true envelope */
	if (envelope_seal(dek, &ctx, data, value, sealed) != 0)
		abort();
	at = size ? data[0] % (value + ENVELOPE_OVERHEAD) : 0;
	if (size > 1 && data[1]) {
		sealed[at] ^= data[1];
		if (envelope_open(dek, &ctx, sealed, value + ENVELOPE_OVERHEAD, out) != -EBADMSG)
			abort();
		sealed[at] ^= data[1];
	}
	if (envelope_open(dek, &ctx, sealed, value + ENVELOPE_OVERHEAD, out) != 0 || secbuf_len(out) != value ||
	    (value && memcmp(secbuf_data(out), data, value) != 0))
		abort();
	return 0;
}
