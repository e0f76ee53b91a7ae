/* What parses prints, and what was printed parses to the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/keys/vaultconf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const char *text, size_t len)
{
	struct vaultconf c, back;
	char printed[VAULTCONF_MAX], why[256] = "";
	int n, r = vaultconf_parse(text, len, &c, why, sizeof(why));

	if (r != 0) {
		if ((r != -EINVAL && r != -EPROTONOSUPPORT) || !why[0])
			abort();
		return;
	}
	n = vaultconf_print(&c, printed);
	if (n < 0 || vaultconf_parse(printed, (size_t)n, &back, why, sizeof(why)) != 0 ||
	    memcmp(&c, &back, sizeof(c)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char good[] = "format = 1\nname = default\nid = 000102030405060708090a0b0c0d0e0f\nkek = "
				   "file:/etc/coffer/default.kek\n"
				   "kek_params = scrypt:x\nvault_record = 43465731\n";
	char mixed[sizeof(good)];

	round_trip((const char *)data, size);
	memcpy(mixed, good, sizeof(good));
	for (size_t i = 0; i + 1 < size && i < 8; i += 2)
		mixed[data[i] % (sizeof(good) - 1)] = (char)data[i + 1];
	round_trip(mixed, sizeof(good) - 1);
	return 0;
}
