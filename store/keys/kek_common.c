#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "store/crypto/secbuf.h"
#include "store/keys/kek.h"
#include "store/keys/kek_provider.h"

int kek_why(int r, char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, KEK_WHY_MAX, format, args);
	va_end(args);
	return r;
}

int kek_id_symmetric(const uint8_t key[KEY_LEN], uint8_t ret_id[KEK_ID_LEN])
{
	uint8_t long_id[KEY_LEN];
	int r = hkdf256(key, "coffer kek id 1", (struct bytes){ NULL, 0 }, long_id);

	if (r == 0)
		memcpy(ret_id, long_id, KEK_ID_LEN);
	secmem_wipe(long_id, sizeof(long_id));
	return r;
}

void kek_close(struct kek *k)
{
	if (k)
		k->ops->close(k);
}
